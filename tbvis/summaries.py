"""What is written to a logdir, and how it is read back. Neither TensorFlow nor OpenCV is imported here.

A run's folder `<logdir>/<run>` has an event file and, beside it, `tbvis/`:

    events.out.tfevents...                            stock Images and Scalars, and the plugin's own tags
    tbvis/stimuli/<layer>/<unit>/<variant>/           one stimulus: appearance.png, flow.webp, values.npz, steps.webp, stimulus.json
    tbvis/clips/<clip>.webp                           real clips, small, frames and flow side by side; top_...: snippets that excite units
    tbvis/sweeps/                                     what is going to be found, see `tbvis.plans`
    tbvis/explanations/<true>_<predicted>_<tower>.json  evidence for a confusion; form in tb_plugin/explanations.py

The plugin's tags are `tbvis/stimulus/<unit>/<variant>` with blobs [appearance WebP, flow planes WebP, JSON] (small
pictures, empty where a stream has none), `tbvis/confusions` [JSON, float32 scores] and `tbvis/unit_statistics` [JSON];
JSON of stimuli and statistics is deflated. TensorBoard holds all of it in memory: about 22 KB a stimulus.
A stimulus is finished when its event is there, and the event is written last.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import io
import json
import math
import os
import pathlib
from types import TracebackType
from typing import Any

import numpy as np

from tbvis import events, files, limits, stock_tabs
from tbvis.errors import UsageError, unknown_name
from tbvis.records import INPUTS, PLUGIN_NAME, TOWERS, Confusions, KeptSteps, Key, Run, StimulusRecord, safe_name, variant_name
from tbvis.rendering import animation
from tbvis.rendering.appearance import appearance_limits, appearance_to_rgb, film_to_rgb
from tbvis.rendering.flow_color import motion_frames
from tbvis.rendering.planes import encode_planes
from tbvis.rendering.steps import decode_steps, encode_steps

__all__ = [
  "CONFUSIONS_TAG",
  "MEDIA_FOLDER",
  "PLUGIN_NAME",
  "STATISTICS_TAG",
  "STIMULUS_PREFIX",
  "TOWERS",
  "Confusions",
  "KeptSteps",
  "Run",
  "StimulusRecord",
  "StimulusWriter",
  "finished_stimuli",
  "read_run",
  "run_names",
  "state_folder",
  "variant_name",
  "write_confusions",
]

STIMULUS_PREFIX = "tbvis/stimulus/"
CONFUSIONS_TAG = "tbvis/confusions"
STATISTICS_TAG = "tbvis/unit_statistics"
MEDIA_FOLDER = "tbvis"
_VERSION = 1
_PICTURE_RANK = 3
_THUMBNAIL = 96
# Of the small flow as many levels are kept as fit: TensorBoard holds all events in memory, and two gigabytes are to hold 70,000.
# Smooth flow, where an eye would see steps, has most.
_THUMBNAIL_LEVELS = (10, 12, 16, 20, 28, 40)
_THUMBNAIL_BYTES = 14_000
# Of more frames than these the small pictures are smaller, so that all of them take no more room.
_THUMBNAIL_FRAMES = 20


def _run_folder(logdir: str | os.PathLike[str], run: str) -> pathlib.Path:
  parts = pathlib.PurePosixPath(run).parts
  if not run or run.startswith("/") or ".." in parts:
    raise UsageError(f"Expected the name of a run inside the logdir, received {run!r}.")
  return pathlib.Path(logdir, *parts)


def state_folder(logdir: str | os.PathLike[str], run: str) -> pathlib.Path:
  """Returns the folder in which a run keeps the states of unfinished searches."""
  return _run_folder(logdir, run) / MEDIA_FOLDER / "state"


def _small(shape: tuple[int, ...], frames: int = 1) -> tuple[int, int]:
  side = _THUMBNAIL * min(1.0, math.sqrt(_THUMBNAIL_FRAMES / frames))
  scale = min(1.0, side / max(shape[:2]))
  return max(1, round(shape[0] * scale)), max(1, round(shape[1] * scale))


class StimulusWriter:
  """Writes stimuli into one run, each whole or not at all; the run may have some already.

  Args:
    logdir: TensorBoard's logdir.
    run: the run's name inside it.
    stock_gifs: flow GIFs (half a megabyte each, kept in TensorBoard's memory) for the Images tab, besides those
      of class units, which always have one.
    stock: stimuli whose curves and appearance the tabs Scalars and Images get (up to 150 KB each in TensorBoard's memory);
      of later class units they get the pictures, of other later ones nothing. The plugin's own tab shows all of all.
    at_once: whether all that is written is finished together when the writer is closed, for writers of one run beside others.

  Raises:
    UsageError: if the folder cannot be written.
  """

  def __init__(
    self, logdir: str | os.PathLike[str], run: str, stock_gifs: int = 48, stock: int = stock_tabs.STIMULI, at_once: bool = False
  ):
    self._folder = files.ensure_writable(_run_folder(logdir, run), "logdir")
    self._events = events.EventFile(self._folder, at_once)
    self._stock = stock_tabs.StockTabs(stock, stock_gifs, [content for content, _ in _stimuli(self._folder).values()])

  def __enter__(self) -> StimulusWriter:
    return self

  def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
    self.close()

  def close(self) -> None:
    """Closes the event file."""
    self._events.close()

  def finished(self) -> set[Key]:
    """Returns (unit, kappa, chi, isotropic, seed) of the run's complete stimuli; failed ones are not finished."""
    return _finished(self._folder)

  def write(self, record: StimulusRecord) -> None:
    """Writes one stimulus; when this returns it is in the logdir, and before that nothing shows it."""
    layer, _, label = record.unit.partition("/")
    place = "/".join([MEDIA_FOLDER, "stimuli", safe_name(layer), safe_name(label), safe_name(record.variant)])
    identity = {
      "kind": "stimulus",
      "version": _VERSION,
      **{name: getattr(record, name) for name in _IDENTITY},
      "folder": place,
    }
    media, small, meta = _encode(record)
    for name, data in media.items():
      files.write_bytes(self._folder / place / name, data)
    meta |= identity | {"files": {name: len(data) for name, data in media.items()}}
    files.write_bytes(self._folder / place / "stimulus.json", events.to_json(meta))

    prefix = f"{record.unit}/{record.variant}"
    # Where it is written again, TensorBoard goes on to show what was told of the first: the step says of which this is.
    step = self._events.step()
    told = identity | {"activation": record.activation, "step": step}
    own = events.blobs_value(f"{STIMULUS_PREFIX}{prefix}", [*small, events.packed_json(meta)], PLUGIN_NAME, told)
    self._events.add([*self._stock.events(record, prefix, media), (step, [own])])

  def statistics(self) -> dict[str, Any]:
    """Returns what the run says of units from clips, as `add_statistics` took it."""
    return _latest(self._folder).get(STATISTICS_TAG, {})

  def add_statistics(self, statistics: Mapping[str, Any], pictures: Mapping[str, bytes] | None = None) -> None:
    """Writes what is known of units from clips, shown beside their stimuli; other units keep what was written before.

    The first call writes also where nothing is known: TensorBoard lists the run then, before it has a stimulus.

    Args:
      statistics: by unit, any of {"a_hat": float, "class_means": {class: mean response}, "top_clips": [{"clip": name,
        "class": name, "layer": name, "value": float, "frame": int, "x": int, "y": int}, ...]}. A top clip may also have "field" (side of
        the receptive field in input pixels, None for all), and where there is an animation of its snippet "thumbnail" (its file),
        "frames" (how many it has), "fired" (the one of them that the value is of) and "size" (width and height in which x, y and
        field are counted).
      pictures: animated WebP by the file names of "thumbnail".
    """
    for name, data in (pictures or {}).items():
      files.write_bytes(self._folder / MEDIA_FOLDER / "clips" / safe_name(name), data)
    before = _latest(self._folder).get(STATISTICS_TAG)
    known = {**(before or {}), **statistics}
    if known != before:
      content = {"kind": "unit_statistics", "version": _VERSION}
      value = events.blobs_value(STATISTICS_TAG, [events.packed_json(known)], PLUGIN_NAME, content)
      self._events.add([(self._events.step(), [value])])


def finished_stimuli(logdir: str | os.PathLike[str], run: str) -> set[Key]:
  """Returns what `StimulusWriter.finished` does, for who only looks; nothing where there is no such run."""
  return _finished(_run_folder(logdir, run))


def _finished(folder: pathlib.Path) -> set[Key]:
  return {_key(content) for content, meta in _stimuli(folder).values() if meta["error"] is None and _complete(folder, content, meta)}


_IDENTITY = ("unit", "layer", "layer_index", "channel", "class_name", "kappa", "chi", "isotropic", "seed")


def _key(content: Mapping[str, Any]) -> Key:
  return content["unit"], float(content["kappa"]), float(content["chi"]), bool(content["isotropic"]), int(content["seed"])


def _encode(record: StimulusRecord) -> tuple[dict[str, bytes], list[bytes], dict[str, Any]]:
  """Returns full-size files by name, the two small pictures of the event, and the JSON about both."""
  media: dict[str, bytes] = {}
  small = [b"", b""]
  meta: dict[str, Any] = {
    "activation": record.activation,
    "a_hat": record.a_hat,
    "config": record.config,
    "error": record.error,
    "steps": np.asarray(record.steps, int),
    "history": record.history,
    "appearance": None,
    "motion": None,
    "kept": None,
    "chunks": record.chunks,
    "inputs": record.inputs,
  }
  values: dict[str, Any] = {}
  if record.appearance is not None:
    shown = record.appearance if record.film is None else record.film
    limits, film = appearance_limits(shown), film_to_rgb(shown)
    size, small_size = film.shape[1:3], _small(film.shape[1:3], len(film))
    # Of a film the picture that stands for it; all its frames are in the values.
    media["appearance.png"] = animation.encode_png(appearance_to_rgb(record.appearance, limits))
    small[0] = animation.encode_webp(np.concatenate([animation.resize(frame, *small_size) for frame in film]), quality=85)
    meta["appearance"] = {"size": size, "small": small_size, "limits": limits, "frames": len(film)}
    values["appearance"] = np.asarray(shown, np.float16)
  if record.motion is not None:
    flow = motion_frames(record.motion).astype(np.float32)
    if not np.isfinite(flow).all():
      raise UsageError(f"Stimulus of {record.unit}: expected finite motion, found NaN or infinity.")
    size = _small(flow.shape[1:3], len(flow))
    media["flow.webp"], step = encode_planes(flow)
    small[1], read = _small_planes(animation.resize_values(flow, *size))
    meta["motion"] = {"size": flow.shape[1:3], "small": size, "frames": len(flow), "step": step, **read}
    values["motion"] = np.asarray(record.motion, np.float16)
  if record.kept:
    media["steps.webp"], known = encode_steps(record.kept.appearance, record.kept.motion)
    meta["kept"] = {"steps": record.kept.steps, **known}
  if values:
    stream = io.BytesIO()
    np.savez_compressed(stream, **values)
    media["values.npz"] = stream.getvalue()
  return media, small, meta


def _small_planes(flow: np.ndarray) -> tuple[bytes, dict[str, Any]]:
  """Returns `encode_planes` of a small flow with the most levels that fit, or the fewest, and how it is to be read."""
  # Smooth in time it is much smaller by rows, else a little larger.
  tried = {by_row: encode_planes(flow, _THUMBNAIL_LEVELS[0], by_row) for by_row in (False, True)}
  by_row = min(tried, key=lambda order: len(tried[order][0]))
  best = tried[by_row]
  for levels in _THUMBNAIL_LEVELS[1:]:
    finer = encode_planes(flow, levels, by_row)
    if len(finer[0]) > _THUMBNAIL_BYTES:
      break
    best = finer
  return best[0], {"small_step": best[1], "small_by_row": by_row}


def _unpacked(blob: bytes) -> dict[str, Any]:
  return json.loads(events.unpacked_json(blob))


def _stimuli(folder: pathlib.Path) -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
  """Returns (identity, metadata) by tag; of a stimulus written twice, the later."""
  return {
    tag: (content, _unpacked(blobs[-1]))
    for tag, _, content, blobs in events.read_values(folder, PLUGIN_NAME)
    if tag.startswith(STIMULUS_PREFIX)
  }


def _complete(folder: pathlib.Path, content: Mapping[str, Any], meta: Mapping[str, Any]) -> bool:
  place = folder / content["folder"]
  return all((place / name).is_file() and (place / name).stat().st_size == size for name, size in meta["files"].items())


def read_run(logdir: str | os.PathLike[str], run: str) -> Run:
  """Reads a run back: its complete stimuli in the order of layers, units and chi, confusions and statistics.

  Stimulus values are stored as float16 (relative error at most 1/2048) and returned as float32. Kept steps are
  small pictures of fewer levels, see `rendering.steps`.

  Raises:
    UsageError: if the run has no folder, naming those there are, or if an event or stored values are damaged.
  """
  folder = _run_folder(logdir, run)
  if not folder.is_dir():
    raise unknown_name("run", run, run_names(logdir), where=str(logdir))
  stimuli = [_read_stimulus(folder, content, meta) for content, meta in _stimuli(folder).values() if _complete(folder, content, meta)]
  stimuli.sort(key=lambda r: (r.layer_index, r.channel, r.unit, r.isotropic, r.kappa, r.chi, r.seed))
  latest = _latest(folder)
  return Run(stimuli, latest.get(CONFUSIONS_TAG), latest.get(STATISTICS_TAG))


def _latest(folder: pathlib.Path) -> dict[str, Any]:
  """Returns by tag what was written last of a run's confusions and statistics, in one pass over its events."""
  readers = {CONFUSIONS_TAG: _read_confusions, STATISTICS_TAG: lambda blobs: _unpacked(blobs[0])}
  found = {tag: blobs for tag, _, _, blobs in events.read_values(folder, PLUGIN_NAME) if tag in readers}
  return {tag: readers[tag](blobs) for tag, blobs in found.items()}


def run_names(logdir: str | os.PathLike[str]) -> list[str]:
  """Returns the names of a logdir's runs, those that have event files."""
  root = pathlib.Path(logdir)
  return sorted({path.parent.relative_to(root).as_posix() for path in root.rglob("*tfevents*")}) if root.is_dir() else []


def _read_values(path: pathlib.Path) -> dict[str, np.ndarray]:
  # Logdirs are handed around: sizes are judged before they are believed, and nothing is unpickled.
  with limits.open_zip(path, "values of a stimulus") as archive:
    members = {info.filename.removesuffix(".npy"): limits.read_member(path, archive, info) for info in archive.infolist()}
    try:
      return {name: np.load(io.BytesIO(data), allow_pickle=False).astype(np.float32) for name, data in members.items()}
    except MemoryError:
      raise UsageError(f"{path}: an array declares more values than this machine can hold: the file is damaged.") from None


def _read_stimulus(folder: pathlib.Path, content: Mapping[str, Any], meta: Mapping[str, Any]) -> StimulusRecord:
  place, kept = folder / content["folder"], meta.get("kept")  # An older logdir has kept no steps.
  path = place / "values.npz"
  arrays = _read_values(path) if path.is_file() else {}
  shown = arrays.get("appearance")
  film = shown if shown is not None and shown.ndim > _PICTURE_RANK else None
  nan = float("nan")
  return StimulusRecord(
    **{name: content[name] for name in _IDENTITY},
    appearance=shown if film is None else film[:, :, film.shape[2] // 2],
    motion=arrays.get("motion"),
    steps=np.asarray(meta["steps"], int),
    history={term: np.asarray([nan if v is None else v for v in values]) for term, values in meta["history"].items()},
    activation=nan if meta["activation"] is None else meta["activation"],
    a_hat=meta["a_hat"],
    config=meta["config"],
    error=meta["error"],
    kept=KeptSteps(np.asarray(kept["steps"], int), *decode_steps((place / "steps.webp").read_bytes(), kept)) if kept else None,
    film=film,
    # An older logdir has one chunk of both.
    chunks=meta.get("chunks", 1),
    inputs=tuple(meta.get("inputs", INPUTS)),
  )


def write_confusions(
  logdir: str | os.PathLike[str],
  run: str,
  *,
  classes: Sequence[str],
  labels: Sequence[int] | np.ndarray,
  scores: Mapping[str, np.ndarray],
  clips: Sequence[str],
  thumbnails: Mapping[str, bytes] | None = None,
  split: str = "",
  checkpoint: str = "",
  meanings: Mapping[str, str] | None = None,
) -> None:
  """Writes what the confusion view needs; a later call on the same run replaces what it shows.

  Args:
    logdir: TensorBoard's logdir.
    run: the run's name inside it.
    classes: the C class names, by index.
    labels: int (N,), the true class of each clip.
    scores: pre-softmax scores float (N, C) by tower, of `TOWERS`.
    clips: N names, none twice.
    thumbnails: short animated WebP by clip (see `animation.clip_thumbnail`); clips without one show their name alone.
    split: which clips these are, for people.
    checkpoint: which network this is, for people.
    meanings: by tower, one line on what its scores are; without one they are our own network's, which the tab knows.

  Raises:
    UsageError: if shapes disagree, a label is no class, or a tower is unknown.
  """
  folder = files.ensure_writable(_run_folder(logdir, run), "logdir")
  labels = np.asarray(labels, int)
  thumbnails = thumbnails or {}
  _check_confusions(classes, labels, scores, clips, thumbnails)
  names = {}
  for index, clip in enumerate(clips):
    if clip in thumbnails:
      # The index keeps names apart that differ only in characters unfit for files.
      names[clip] = f"{index:05d}_{safe_name(clip.rsplit('/', 1)[-1])}.webp"
      files.write_bytes(folder / MEDIA_FOLDER / "clips" / names[clip], thumbnails[clip])
  towers = [tower for tower in TOWERS if tower in scores]
  arrays = {tower: np.asarray(scores[tower], np.float32) for tower in towers}
  kept = Confusions(list(classes), labels, arrays, list(clips), split, checkpoint, dict(meanings or {}))
  content = {
    "version": _VERSION,
    "classes": kept.classes,
    "labels": labels,
    "clips": kept.clips,
    "thumbnails": [names.get(clip) for clip in clips],
    "split": split,
    "checkpoint": checkpoint,
    "meanings": kept.meanings,
    "towers": towers,
    "matrices": {tower: kept.matrix(tower) for tower in towers},
    "accuracies": {tower: kept.accuracy(tower) for tower in towers},
  }
  data = np.stack([kept.scores[tower] for tower in towers]).astype("<f4").tobytes()
  value = events.blobs_value(CONFUSIONS_TAG, [events.to_json(content), data], PLUGIN_NAME, {"kind": "confusions", "version": _VERSION})
  _write_once(folder, value)


def _check_confusions(
  classes: Sequence[str], labels: np.ndarray, scores: Mapping[str, np.ndarray], clips: Sequence[str], thumbnails: Mapping[str, bytes]
) -> None:
  if not scores:
    raise UsageError(f"Expected scores of at least one tower of {', '.join(TOWERS)}, received none.")
  for tower, values in scores.items():
    if tower not in TOWERS:
      raise unknown_name("tower", tower, TOWERS)
    if np.shape(values) != (len(clips), len(classes)):
      raise UsageError(f"Expected {tower} scores of shape ({len(clips)} clips, {len(classes)} classes), received {np.shape(values)}.")
  if labels.shape != (len(clips),):
    raise UsageError(f"Expected one label a clip ({len(clips)}), received {labels.shape}.")
  if len(labels) and not 0 <= labels.min() <= labels.max() < len(classes):
    raise UsageError(f"Expected labels 0 to {len(classes) - 1}, received {labels.min()} to {labels.max()}.")
  if len(set(clips)) < len(clips):
    raise UsageError("Expected clip names that differ, received one twice.")
  for clip in thumbnails:
    if clip not in set(clips):
      raise unknown_name("clip", clip, clips, where="thumbnails")


def _read_confusions(blobs: Sequence[bytes]) -> Confusions:
  content = json.loads(blobs[0])
  labels, towers = np.asarray(content["labels"], int), content["towers"]
  scores = np.frombuffer(blobs[1], "<f4").reshape(len(towers), len(labels), len(content["classes"]))
  by_tower = dict(zip(towers, scores, strict=True))
  told = (content["split"], content["checkpoint"], content.get("meanings", {}))  # An older logdir tells no meanings.
  return Confusions(content["classes"], labels, by_tower, content["clips"], *told)


def _write_once(folder: pathlib.Path, value: Any) -> None:
  written = events.EventFile(folder)
  try:
    written.add([(written.step(), [value])])
  finally:
    written.close()
