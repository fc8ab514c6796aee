"""Where clips lie: video files, the released archives of pictures and flow, prepared sets of TFDS. Clips by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
import pathlib
from typing import Any

from tbvis.datasets import media
from tbvis.errors import UsageError, nearest

VIDEO_SUFFIXES = (".avi", ".mp4", ".webm", ".mkv", ".mov")


def _folder(path: pathlib.Path, flag: str) -> pathlib.Path:
  if not path.is_dir():
    near = nearest(path.name, [p.name for p in path.parent.iterdir() if p.is_dir()]) if path.parent.is_dir() else []
    raise UsageError(f"--{flag}: expected a folder, found none at {path}." + (f" Nearest: {', '.join(near)}." if near else ""))
  return path


def find_videos(folder: pathlib.Path) -> list[pathlib.Path]:
  """Returns every video file under `folder`, sorted.

  Raises:
    UsageError: if the folder is missing or holds no video.
  """
  files = [p for p in _folder(folder, "videos").rglob("*") if p.is_file() and not p.name.startswith(".")]
  found = sorted(p for p in files if p.suffix.lower() in VIDEO_SUFFIXES)
  if not found:
    others = sorted({p.suffix for p in files})[:6]
    raise UsageError(
      f"--videos: expected video files ({', '.join(VIDEO_SUFFIXES)}) under {folder}, found none"
      + (f"; files there end in {', '.join(others)}." if others else ".")
    )
  return found


def videos_by_name(files: Iterable[pathlib.Path]) -> dict[str, media.Media]:
  """Returns video files by their name without suffix; of two of one name the first."""
  found: dict[str, media.Media] = {}
  for path in files:
    found.setdefault(path.stem, media.Video(str(path)))
  return found


def _subfolders(folder: pathlib.Path) -> dict[str, pathlib.Path]:
  return {path.name: path for path in sorted(folder.iterdir()) if path.is_dir()}


def pictures_by_name(frames_dir: pathlib.Path, flow_dir: pathlib.Path | None) -> dict[str, media.Media]:
  """Returns the clips of released archives.

  Two layouts are known: `jpegs_256/<clip>/frame%06d.jpg` with `tvl1_flow/u/<clip>/frame%06d.jpg` and `tvl1_flow/v/...`
  (Feichtenhofer et al.), and `<clip>/img_%05d.jpg`, `flow_x_%05d.jpg`, `flow_y_%05d.jpg` together (Wang et al.), for which
  `flow_dir` is `frames_dir`.

  Args:
    frames_dir: folder of a folder of frames for each clip.
    flow_dir: folder of u/ and v/; None where flow is to be computed.

  Raises:
    UsageError: if a folder is missing, empty or of another layout.
  """
  frames = _subfolders(_folder(frames_dir, "frames_dir"))
  if not frames:
    raise UsageError(f"--frames_dir: expected a folder of pictures for each clip in {frames_dir}, found none.")
  if flow_dir is None:
    return {name: media.Pictures(str(path)) for name, path in frames.items()}
  if flow_dir == frames_dir:
    return {name: media.Pictures(str(path), str(path), str(path)) for name, path in frames.items()}
  _folder(flow_dir, "flow_dir")
  if not ((flow_dir / "u").is_dir() and (flow_dir / "v").is_dir()):
    there = ", ".join(sorted(p.name for p in flow_dir.iterdir())[:4])
    raise UsageError(f"--flow_dir: expected the folders u and v in {flow_dir}, found {there or 'nothing'}.")
  u, v = ({name.lower(): path for name, path in _subfolders(flow_dir / part).items()} for part in ("u", "v"))
  return {
    name: media.Pictures(str(path), str(u[name.lower()]), str(v[name.lower()]))
    for name, path in frames.items()
    if name.lower() in u and name.lower() in v
  }


def _tfds_set(name: str, data_dir: pathlib.Path | None, download: bool) -> Any:
  import tensorflow_datasets as tfds

  try:
    if not download and data_dir is not None:
      ready = sorted((data_dir / name).glob("*/dataset_info.json"))
      if ready:
        return tfds.builder_from_directory(str(ready[-1].parent))
    builder = tfds.builder(name, data_dir=str(data_dir) if data_dir else None)
    if download:
      builder.download_and_prepare()
  except UsageError:
    raise
  except Exception as error:  # TFDS and what it calls raise of every kind: no network, no ffmpeg, a wrong name, no room.
    reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
    raise UsageError(f"--tfds={name}: TFDS cannot provide it: {reason}") from error
  if not builder.info.splits:
    raise UsageError(f"--tfds={name}: expected a set prepared in {builder.data_path}, found none. Give --tfds_dir, or --download.")
  return builder


def tfds_by_name(
  name: str, keys: Mapping[str, Iterable[str]], data_dir: pathlib.Path | None = None, download: bool = False
) -> dict[str, media.Media]:
  """Returns the clips of a TFDS set of videos by the names of the official list.

  TFDS keeps no names: it orders the examples of a split by a hash of their file names. The names of the list, hashed the same
  way, are therefore in the order of the examples, if all of them are there.

  Args:
    name: of the set, as "ucf101/ucf101_1".
    keys: names without suffix, in the list's spelling, by split ("train", "test").
    data_dir: where TFDS keeps its sets; its own default otherwise.
    download: whether TFDS may download and prepare it (needs a network and ffmpeg).

  Raises:
    UsageError: if the set cannot be had, or does not hold the clips of the list.
  """
  from tensorflow_datasets.core import hashing

  builder = _tfds_set(name, data_dir, download)
  found: dict[str, media.Media] = {}
  for split, names in keys.items():
    if split not in builder.info.splits:
      raise UsageError(f"--tfds={name}: expected a split {split!r}, found {', '.join(builder.info.splits)}.")
    names = list(names)
    count = builder.info.splits[split].num_examples
    if count != len(names):
      raise UsageError(f"--tfds={name}: expected the {len(names)} {split} clips of the list, found {count}; is --split that of the set?")
    hasher = hashing.Hasher(split)
    # TFDS spells one class as its videos do, not as one of the lists does.
    files = {f"{n}.avi".replace("HandStandPushups", "HandstandPushups"): n for n in names}
    for position, file in enumerate(sorted(files, key=hasher.hash_key)):
      found[files[file]] = media.Record(str(builder.data_path), split, position)
  return found


def check_labels(found: Mapping[str, media.Media], class_of: Mapping[str, str]) -> None:
  """Checks that the examples of a TFDS set have the classes that the list gives their names.

  Args:
    found: of `tfds_by_name`.
    class_of: class by clip name.

  Raises:
    UsageError: for the first that has another, which means that the set was ordered in another way.
  """
  import tensorflow_datasets as tfds

  records: dict[tuple[str, str], dict[int, str]] = {}
  for name, clip in found.items():
    if isinstance(clip, media.Record):
      records.setdefault((clip.directory, clip.split), {})[clip.position] = name
  for (directory, split), names in records.items():
    builder = tfds.builder_from_directory(directory)
    labels = builder.info.features["label"]
    only = tfds.decode.PartialDecoding({"label": True})
    data = builder.as_dataset(split=split, decoders=only, read_config=tfds.ReadConfig(try_autocache=False, interleave_cycle_length=1))
    for position, example in enumerate(data.as_numpy_iterator()):
      class_name = labels.int2str(int(example["label"]))
      expected = class_of[names[position]]
      if class_name.lower() != expected.lower():
        raise UsageError(
          f"{directory}: {split} example {position} is of class {class_name!r}; by the list it should be {names[position]}, of class "
          f"{expected!r}. The set was made from another list or by another version of TFDS; prepare from its videos (--videos)."
        )
