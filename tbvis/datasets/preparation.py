"""The steps of a preparation: encode, write, read back and compare, put in place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import concurrent.futures
import contextlib
import csv
import dataclasses
import errno
import functools
import json
import multiprocessing
import os
import pathlib
import shutil
import time
from typing import Any

from absl import logging
import tensorflow as tf
import tensorflow_datasets as tfds

from tbvis import beam as beam_lib
from tbvis import datasets, files, progress
from tbvis.datasets import builder as builder_lib
from tbvis.datasets import catalogue as catalogue_lib
from tbvis.datasets import workroom
from tbvis.errors import UsageError

REPORT = "preparation.json"
CLIPS = "clips.csv"
SKIPPED = "skipped.csv"
_COLUMNS = ("clip", "split", "label", "group", "frames", "bytes", "crc32", "source")
_SKIPPED_COLUMNS = ("clip", "reason", "source")
# TFDS orders a split of more than this on disk, where it then stands twice for a while.
_TFDS_MEMORY = 1000 << 20


@dataclasses.dataclass(frozen=True)
class Preparation:
  """A prepared set and what its making took.

  Attributes:
    name: of the set.
    folder: where it is.
    counts: clips by split.
    skipped: names of the clips that could not be used, and why.
    report: numbers, with units in their names; those of the first time where the set was there already.
    existed: whether it was there already.
  """

  name: str
  folder: pathlib.Path
  counts: dict[str, int]
  skipped: tuple[tuple[str, str], ...]
  report: dict[str, Any]
  existed: bool = False


def _encode_together(tasks: Sequence[workroom.Task], processes: int, bar: Any) -> list[workroom.Task]:
  """Encodes clips by parallel processes; returns those that are left when one of the processes dies."""
  # Spawned, not forked: TensorFlow's threads do not survive a fork.
  context = multiprocessing.get_context("spawn")
  left = []
  with concurrent.futures.ProcessPoolExecutor(min(processes, len(tasks)), mp_context=context) as pool:
    waiting = {pool.submit(workroom.finish, task): task for task in tasks}
    try:
      for future in concurrent.futures.as_completed(waiting):
        task = waiting[future]
        try:
          reason = future.result()
        except concurrent.futures.process.BrokenProcessPool:
          left.append(task)
          continue
        if reason:
          logging.warning("Skipped %s: it %s.", task.clip.media.where, reason)
        bar.update()
    except BaseException:
      pool.shutdown(cancel_futures=True)
      raise
  order = {task.path: number for number, task in enumerate(tasks)}
  return sorted(left, key=lambda task: order[task.path])


def _encode(tasks: Sequence[workroom.Task], processes: int) -> int:
  """Encodes all clips that are not done, and returns their number; a clip that kills the process that reads it is refused."""
  todo = [t for t in tasks if not t.is_finished]
  with progress.bar(total=len(tasks), description="Clips", unit="clip", initial=len(tasks) - len(todo)) as bar:
    left = _encode_together(todo, processes, bar) if todo else []
    while left:
      # The one that did it was running, so it is among the first: each of those alone, then the others together again.
      suspects, left = left[: 2 * processes + 1], left[2 * processes + 1 :]
      for task in suspects:
        if _encode_together([task], 1, bar):
          workroom.refuse(task, "ends the process that reads it")
          bar.update()
      left = _encode_together(left, processes, bar) if left else []
  return len(todo)


def _check_usable(tasks: Sequence[workroom.Task]) -> None:
  reasons = workroom.refusals(tasks)
  for split in builder_lib.SPLITS:
    names = [t.clip.name for t in tasks if t.clip.split == split]
    if names and all(name in reasons for name in names):
      raise UsageError(f"None of the {len(names)} {split} clips can be used; the first, {names[0]}, {reasons[names[0]]}.")


def _check_room(tasks: Sequence[workroom.Task], data_dir: pathlib.Path) -> None:
  """Refuses to begin writing a set for which there is no room."""
  needed = 0
  for split in builder_lib.SPLITS:
    size = sum(os.path.getsize(t.path) for t in tasks if t.clip.split == split and t.is_finished)
    needed += size * (2 if size > _TFDS_MEMORY else 1)
  free = shutil.disk_usage(data_dir).free
  if free < needed:
    raise UsageError(
      f"Expected {needed / 1e9:.1f} GB of room in {data_dir} to write the set, found {free / 1e9:.1f} GB. "
      "The clips are kept: make room and give the same command again."
    )


def _told(clip: catalogue_lib.Clip, summary: workroom.Summary) -> tuple[str, int, int, int, int]:
  """Returns what a written clip has to agree with."""
  return clip.split, clip.label, clip.group, summary.frames, summary.checksum


def _verify(folder: pathlib.Path, tasks: Sequence[workroom.Task], finished: Mapping[str, workroom.Summary]) -> list[dict[str, Any]]:
  """Reads a written set back and compares every clip with what was encoded.

  Args:
    folder: of the set.
    tasks: all clips.
    finished: what is kept in mind of those that are encoded, by name.

  Returns:
    A row of `_COLUMNS` for each clip, in the order of the tasks.

  Raises:
    UsageError: naming the first clip that differs.
  """
  summaries = {t.clip.name: (t.clip, finished[t.clip.name]) for t in tasks if t.clip.name in finished}
  rows: dict[str, dict[str, Any]] = {}
  built = tfds.builder_from_directory(str(folder))
  raw = {key: tfds.decode.SkipDecoding() for key in ("frames", "flow_u", "flow_v")}
  with progress.bar(total=len(summaries), description="Checking", unit="clip") as bar:
    for split in built.info.splits:
      with builder_lib.quiet():
        data = built.as_dataset(split=split, decoders=raw, read_config=tfds.ReadConfig(try_autocache=False))
      for example in data.as_numpy_iterator():
        name = example["clip"].decode()
        parts = [list(example[key]) for key in ("frames", "flow_u", "flow_v")]
        encoded = summaries.get(name)
        found = (split, int(example["label"]), int(example["group"]), len(parts[0]), workroom.checksum(parts))
        if encoded is None or found != _told(*encoded) or name in rows:
          raise UsageError(f"{folder}: clip {name} was not written as it was encoded; give the same command again, and check the disk.")
        clip, summary = encoded
        values = (name, split, clip.label, clip.group, summary.frames, summary.size, f"{summary.checksum:08x}", clip.media.where)
        rows[name] = dict(zip(_COLUMNS, values, strict=True))
        bar.update()
  lost = summaries.keys() - rows.keys()
  if lost:
    raise UsageError(f"{folder}: {len(lost)} clips are missing from what was written, the first {min(lost)}; give the same command again.")
  return [rows[t.clip.name] for t in tasks if t.clip.name in rows]


def _write_csv(path: pathlib.Path, columns: Sequence[str], rows: Sequence[dict[str, Any]]) -> None:
  with files.atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as stream:
    writer = csv.DictWriter(stream, columns)
    writer.writeheader()
    writer.writerows(rows)


def _existing(catalogue: catalogue_lib.Catalogue, name: str, folder: pathlib.Path) -> Preparation:
  """Returns a set that was prepared before.

  Raises:
    UsageError: if it is of other clips than the catalogue's.
  """
  skipped = _read_csv(folder / SKIPPED)
  info = tfds.builder_from_directory(str(folder)).info
  if (folder / CLIPS).is_file():
    refused = {row["clip"] for row in skipped}
    there = {(row["clip"], row["split"], int(row["label"]), int(row["group"])) for row in _read_csv(folder / CLIPS)}
    wanted = {(clip.name, clip.split, clip.label, clip.group) for clip in catalogue.clips}
    names = {clip.name for clip in catalogue.clips}
    different = sorted({row[0] for row in there ^ wanted if row[0] not in refused} | (refused - names))
    classes = tuple(info.features["label"].names)
    if different or classes != catalogue.classes:
      shown = f"which differ in {different[0]}" if different else f"of the classes {', '.join(classes[:4])}"
      raise UsageError(
        f"{name} in {folder.parents[2]} is prepared already, from {len(there) + len(refused)} clips, and this would be of {len(wanted)}, "
        f"{shown} (its class, split or group, or whether it is there). Give another --name, or remove {folder}."
      )
  report = json.loads((folder / REPORT).read_text()) if (folder / REPORT).is_file() else {}
  reasons = tuple((row["clip"], row["reason"]) for row in skipped)
  return Preparation(name, folder, {s: i.num_examples for s, i in info.splits.items()}, reasons, report, existed=True)


def _read_csv(path: pathlib.Path) -> list[dict[str, str]]:
  if not path.is_file():
    return []
  with open(path, newline="", encoding="utf-8") as stream:
    return list(csv.DictReader(stream))


def _count(folder: pathlib.Path) -> int:
  return sum(1 for path in folder.glob("*.*") if not path.name.startswith("."))


def _build(
  name: str, classes: Sequence[str], tasks: Sequence[workroom.Task], room: pathlib.Path, runner: str | None, flags: Sequence[str]
) -> pathlib.Path:
  """Writes the set in the work folder through TFDS; returns its folder there."""
  shutil.rmtree(room / "tfds", ignore_errors=True)  # What an interrupted attempt has left.
  tfds.disable_progress_bar()  # Ours shows the clips; TFDS' would interleave with it.
  usable = tasks if runner else [t for t in tasks if t.is_finished]
  builder = builder_lib.ActionClips(set_name=name, classes=classes, tasks=usable, beam=bool(runner), data_dir=str(room / "tfds"))
  config = tfds.download.DownloadConfig(beam_options=beam_lib.options(runner, flags)) if runner else None
  try:
    # Beam's workers tell nothing: the bar counts what they finish.
    done = functools.partial(_count, room / "clips")
    with progress.watch(done, total=len(tasks), description="Clips", unit="clip") if runner else contextlib.nullcontext():
      builder.download_and_prepare(download_config=config, file_format="tfrecord")
  except tf.errors.ResourceExhaustedError as error:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(room)) from error
  except Exception:
    _check_usable(tasks)  # TFDS cannot write a split without examples.
    raise
  return pathlib.Path(builder.data_dir)


def _numbers(
  catalogue: catalogue_lib.Catalogue, finished: Mapping[str, workroom.Summary], rows: Sequence[dict[str, Any]], folder: pathlib.Path
) -> dict[str, Any]:
  """Returns what is told of a written set: counts, sizes, and the share of flow that was clipped where we computed it."""
  size = sum(path.stat().st_size for path in folder.iterdir())
  numbers = {
    "clips": len(rows),
    "skipped": len(catalogue.clips) - len(rows),
    "missing": len(catalogue.missing),
    "frames": sum(row["frames"] for row in rows),
    "bytes_per_clip": round(size / len(rows)),
    "megabytes": round(size / 1e6, 1),
  }
  clipped = [summary.clipped for summary in finished.values() if summary.clipped is not None]
  return numbers | ({"clipped_fraction": sum(clipped) / len(clipped)} if clipped else {})


def prepare(
  catalogue: catalogue_lib.Catalogue,
  data_dir: str | pathlib.Path,
  *,
  flow: str = "dis",
  processes: int | None = None,
  runner: str | None = None,
  beam_flags: Sequence[str] = (),
) -> Preparation:
  """Prepares a catalogue under `data_dir`/action_clips/<name>; a set that is there already is kept.

  Everything happens in `data_dir`/.preparing/<name>: clips are encoded into a file each, written through TFDS, read back and
  compared, and the finished set is renamed to its place, so a reader never meets a part of one. Interrupted at any moment, the
  next call goes on with the clips that are not encoded.

  Args:
    catalogue: the clips.
    data_dir: folder of prepared sets.
    flow: method of the flow; of clips that bring their flow, its name.
    processes: parallel processes; all cores by default.
    runner: of Apache Beam, which then encodes and writes.
    beam_flags: Beam's own flags.

  Raises:
    UsageError: if clips share a name, none can be used, there is no room, or another process prepares the set.
  """
  catalogue_lib.check_unique(catalogue.clips)
  data_dir = pathlib.Path(data_dir)
  processes = processes or os.cpu_count() or 1
  name = builder_lib.dataset_name(catalogue.dataset, catalogue.split, flow)
  final = data_dir / datasets.PREPARED_FOLDER / name / builder_lib.CURRENT_VERSION
  room = data_dir / datasets.PREPARING_FOLDER / name
  with workroom.locked(room, name):
    if (final / "dataset_info.json").is_file():
      shutil.rmtree(room, ignore_errors=True)
      return _existing(catalogue, name, final)
    print(f"Preparing {name} in {data_dir}")
    started = time.monotonic()
    tasks = workroom.plan(catalogue.clips, flow, room / "clips")
    for task in tasks:
      task.refusal.unlink(missing_ok=True)
      workroom.drop_if_spoilt(task)
    reused = sum(t.is_finished for t in tasks)
    if not runner:
      _encode(tasks, processes)
      _check_usable(tasks)
      _check_room(tasks, data_dir)
    encoded = time.monotonic()
    folder = _build(name, catalogue.classes, tasks, room, runner, beam_flags)
    written = time.monotonic()
    finished = {t.clip.name: workroom.read_summary(t.path) for t in tasks if t.is_finished}
    rows = _verify(folder, tasks, finished)
    report = _numbers(catalogue, finished, rows, folder) | {
      "reused_clips": reused,
      "processes": processes,
      "seconds": round(time.monotonic() - started, 1),
      "encode_seconds": round((written if runner else encoded) - started, 1),
      "write_seconds": round(written - encoded, 1),
      "verify_seconds": round(time.monotonic() - written, 1),
    }
    report["clips_per_second"] = round((len(tasks) - reused) / max(report["encode_seconds"], 0.1), 3)
    reasons = workroom.refusals(tasks)
    skipped = [{"clip": t.clip.name, "reason": reasons[t.clip.name], "source": t.clip.media.where} for t in tasks if t.clip.name in reasons]
    _write_csv(folder / CLIPS, _COLUMNS, rows)
    _write_csv(folder / SKIPPED, _SKIPPED_COLUMNS, skipped)
    files.write_json(folder / REPORT, report)
    final.parent.mkdir(parents=True, exist_ok=True)
    os.replace(folder, final)
    shutil.rmtree(room)
  return dataclasses.replace(_existing(catalogue, name, final), existed=False)
