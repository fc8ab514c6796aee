"""Films the stage set: real .avi files in UCF101's layout, names and split lists, on all cores, picking up where it stopped."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
import concurrent.futures
import concurrent.futures.process
import contextlib
import dataclasses
import hashlib
import json
import multiprocessing
import os
import pathlib
import sys
import time
from typing import Any

from tbvis import files, progress
from tbvis.datasets import catalogue as catalogue_lib
from tbvis.datasets import inventory
from tbvis.datasets import lists as lists_lib
from tbvis.datasets.stage.script import Script, load_script
from tbvis.errors import UsageError, unknown_name

GROUPS = tuple(range(1, 26))
CLIPS = (1, 2, 3, 4)
TEST_GROUPS = tuple(range(1, 8))
#: Part of every clip's key: raised whenever the same script would give other pictures.
RENDERER = 1
MANIFEST = "stage.json"
# Between two writings of the list while clips are filmed.
_LIST_SECONDS = 1.0


@dataclasses.dataclass(frozen=True)
class StageReport:
  """What `film_stage` did.

  Attributes:
    output_dir: the folder with videos/, splits/ and the manifest.
    classes: the classes in the order of their labels.
    groups: the groups asked for.
    filmed: clips filmed by this call.
    reused: clips that were there already, from the same script and seed.
    seconds: wall-clock time.
    size: bytes of the clips asked for.
  """

  output_dir: pathlib.Path
  classes: tuple[str, ...]
  groups: tuple[int, ...]
  filmed: int
  reused: int
  seconds: float
  size: int


def clip_name(class_name: str, group: int, clip: int) -> str:
  """Returns UCF101's name of a clip, without suffix.

  >>> clip_name("PlayingCello", 3, 1)
  'v_PlayingCello_g03_c01'
  """
  return f"v_{class_name}_g{group:02d}_c{clip:02d}"


def film_stage(
  output_dir: str | os.PathLike[str],
  *,
  classes: Sequence[str] | None = None,
  groups: Iterable[int] | None = None,
  seed: int = 0,
  script: str | os.PathLike[str] | Mapping[str, Any] | None = None,
  processes: int | None = None,
  mask_action: bool = False,
) -> StageReport:
  """Films the stage set, or a part of it, into `output_dir`.

  Writes `videos/<Class>/v_<Class>_gNN_cMM.avi` (320x240, 25 fps, 60 frames, XVID) and `splits/{classInd,trainlist01,testlist01}.txt`
  (test = groups 1 to 7; lists name the clips that are there). Clips that are there from the same script, seed and mask are kept.

  Args:
    output_dir: the folder to write.
    classes: some of the script's classes; None for all.
    groups: some of 1 to 25; None for all.
    seed: of everything that is random; the same seed gives the same bytes.
    script: a stage script (file or content); None for the project's own.
    processes: how many to film with; None for one a core.
    mask_action: leave actor and props out: background, clutter and camera only.

  Returns:
    What was filmed.

  Raises:
    UsageError: for unknown classes or groups, a bad script or a folder that cannot be written.
  """
  start = time.perf_counter()
  parsed = load_script(script)
  chosen = _check_classes(classes, parsed)
  numbers = _check_groups(groups)
  if not isinstance(seed, int) or seed < 0:
    raise UsageError(f"Expected a seed of 0 or more, received {seed!r}.")
  if processes is not None and processes < 1:
    raise UsageError(f"Expected at least one process, received {processes}.")
  root = files.ensure_writable(output_dir, "output_dir")
  keys = {name: _key(parsed, name, seed, mask_action) for name in parsed.classes}
  manifest = _read_manifest(root)
  wanted = [(name, group, clip) for group in numbers for name in chosen for clip in CLIPS]
  missing = [w for w in wanted if manifest.get(clip_name(*w)) != keys[w[0]] or not video_path(root, *w).is_file()]
  _film(root, parsed, missing, seed, mask_action, processes, keys, manifest)
  _write_splits(root, parsed, chosen, keys, manifest)
  size = sum(video_path(root, *w).stat().st_size for w in wanted)
  seconds = time.perf_counter() - start
  return StageReport(root, chosen, numbers, len(missing), len(wanted) - len(missing), seconds, size)


def stage_catalogue(root: pathlib.Path, split: int = 1, groups: Iterable[int] | None = None) -> catalogue_lib.Catalogue:
  """Catalogues what `film_stage` has filmed into `root`, as UCF101's videos are."""
  listed = lists_lib.ucf101(split, root / "splits", "stage")
  found = inventory.videos_by_name(inventory.find_videos(root / "videos"))
  return catalogue_lib.match_lists(listed, found, allow_missing=True, groups=groups)


def video_path(root: pathlib.Path, class_name: str, group: int, clip: int) -> pathlib.Path:
  """Returns where a clip lies."""
  return root / "videos" / class_name / f"{clip_name(class_name, group, clip)}.avi"


def _check_classes(classes: Sequence[str] | None, script: Script) -> tuple[str, ...]:
  if classes is None:
    return script.classes
  if isinstance(classes, str) or not classes:
    raise UsageError(f"Expected a list of classes, received {classes!r}.")
  for name in classes:
    if name not in script.classes:
      raise unknown_name("class", str(name), script.classes, script.source)
  return tuple(name for name in script.classes if name in classes)


def _check_groups(groups: Iterable[int] | None) -> tuple[int, ...]:
  numbers = GROUPS if groups is None else tuple(sorted(set(groups)))
  wrong = [g for g in numbers if g not in GROUPS]
  if wrong or not numbers:
    raise UsageError(f"--groups: expected groups within 1 to {GROUPS[-1]}, received {', '.join(map(str, wrong)) or 'none'}.")
  return numbers


def _key(script: Script, class_name: str, seed: int, mask_action: bool) -> str:
  content = f"{RENDERER} {script.digest(class_name)} {seed} {mask_action}"
  return hashlib.sha256(content.encode()).hexdigest()[:16]


def _read_manifest(root: pathlib.Path) -> dict[str, str]:
  try:
    content = json.loads((root / MANIFEST).read_text(encoding="utf-8"))
    clips = content["clips"]
  except (OSError, ValueError, KeyError, TypeError):
    # Without a readable list nothing is known of the clips, so they are filmed again.
    return {}
  return {str(k): str(v) for k, v in clips.items()} if isinstance(clips, dict) else {}


def _write_manifest(root: pathlib.Path, manifest: Mapping[str, str]) -> None:
  files.write_json(root / MANIFEST, {"renderer": RENDERER, "clips": dict(sorted(manifest.items()))})


def _film(
  root: pathlib.Path,
  script: Script,
  missing: Sequence[tuple[str, int, int]],
  seed: int,
  mask_action: bool,
  processes: int | None,
  keys: Mapping[str, str],
  manifest: dict[str, str],
) -> None:
  if not missing:
    return
  jobs = [(str(video_path(root, *m)), script, *m, seed, mask_action) for m in missing]
  count, listed = min(processes or _cores(), len(jobs)), 0.0
  with progress.bar(total=len(jobs), description="Filming the stage set", unit="clip") as bar:
    try:
      for name, group, clip in _run(jobs, count):
        manifest[clip_name(name, group, clip)] = keys[name]
        bar.update()
        # A clip that is not on the list is filmed again: a killed process loses a second's work.
        if time.monotonic() - listed > _LIST_SECONDS:
          _write_manifest(root, manifest)
          listed = time.monotonic()
    finally:
      _write_manifest(root, manifest)


def _cores() -> int:
  return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _run(jobs: Sequence[tuple], processes: int) -> Iterable[tuple[str, int, int]]:
  from tbvis.datasets.stage import worker

  if processes == 1:
    yield from map(worker.film_clip, jobs)
    return
  # Spawned, not forked: the caller may hold TensorFlow's threads.
  context = multiprocessing.get_context("spawn")
  with _without_main(), concurrent.futures.ProcessPoolExecutor(processes, mp_context=context) as pool:
    futures = [pool.submit(worker.film_clip, job) for job in jobs]
    try:
      for future in concurrent.futures.as_completed(futures):
        yield future.result()
    except BaseException as error:
      pool.shutdown(wait=False, cancel_futures=True)
      if isinstance(error, concurrent.futures.process.BrokenProcessPool):
        raise UsageError(
          "A filming process ended before its clip was done (out of memory?). Run again: finished clips are kept."
        ) from error
      raise


@contextlib.contextmanager
def _without_main() -> Iterator[None]:
  """Keeps spawned processes from running the caller's main module again: a script without a main guard would film for ever."""
  main = sys.modules["__main__"]
  file, spec = getattr(main, "__file__", None), getattr(main, "__spec__", None)
  main.__spec__ = None
  if file is not None:
    del main.__file__
  try:
    yield
  finally:
    main.__spec__ = spec
    if file is not None:
      main.__file__ = file


def _write_splits(root: pathlib.Path, script: Script, chosen: Sequence[str], keys: Mapping[str, str], manifest: Mapping[str, str]) -> None:
  there = {
    (name, group, clip)
    for name in script.classes
    for group in GROUPS
    for clip in CLIPS
    if manifest.get(clip_name(name, group, clip)) == keys[name] and video_path(root, name, group, clip).is_file()
  }
  listed = [name for name in script.classes if name in chosen or any(t[0] == name for t in there)]
  train, test = [], []
  for label, name in enumerate(listed, 1):
    for group in GROUPS:
      for clip in CLIPS:
        if (name, group, clip) in there:
          line = f"{name}/{clip_name(name, group, clip)}.avi"
          if group in TEST_GROUPS:
            test.append(line)
          else:
            train.append(f"{line} {label}")
  splits = root / "splits"
  files.write_bytes(splits / "classInd.txt", "".join(f"{k} {name}\n" for k, name in enumerate(listed, 1)).encode())
  files.write_bytes(splits / "trainlist01.txt", "".join(f"{line}\n" for line in train).encode())
  files.write_bytes(splits / "testlist01.txt", "".join(f"{line}\n" for line in test).encode())
