"""Which clips there are: class lists, splits and video files in UCF101's layout."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
import dataclasses
import pathlib
import re

from tbvis import resources
from tbvis.errors import UsageError, nearest

VIDEO_SUFFIXES = (".avi", ".mp4", ".webm", ".mkv", ".mov")
_GROUP = re.compile(r"_g(\d+)_c(\d+)$", re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class Clip:
  """One video file.

  Attributes:
    name: file name without suffix, as `v_Archery_g01_c04`.
    path: the file.
    label: 0-based class.
    group: UCF101's group (clips of one group share actor and place), 0 where unknown.
    split: "train" or "test".
  """

  name: str
  path: pathlib.Path
  label: int
  group: int
  split: str


@dataclasses.dataclass(frozen=True)
class Catalogue:
  """The clips of one split of a data set.

  Attributes:
    dataset: name, as "ucf101".
    split: number of the official split.
    classes: names in the order of the labels.
    clips: the clips found, sorted by split and name.
    missing: names in the lists for which no file was found.
  """

  dataset: str
  split: int
  classes: tuple[str, ...]
  clips: tuple[Clip, ...]
  missing: tuple[str, ...] = ()


def parse_numbers(text: str | None, flag: str) -> frozenset[int] | None:
  """Parses "1-7,12" to a set of numbers; None for an empty text.

  >>> sorted(parse_numbers("1-3,7", "groups"))
  [1, 2, 3, 7]
  """
  if not text:
    return None
  numbers: set[int] = set()
  for part in text.split(","):
    match = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+))?\s*", part)
    if not match or int(match[2] or match[1]) < int(match[1]):
      raise UsageError(f"--{flag}: expected numbers and ranges such as 1-7,12; received {text!r}.")
    numbers.update(range(int(match[1]), int(match[2] or match[1]) + 1))
  return frozenset(numbers)


def group_of(name: str) -> int:
  """Returns the group in a clip's name (`..._g01_c04` -> 1), 0 where the name has none."""
  match = _GROUP.search(name)
  return int(match[1]) if match else 0


def read_classes(path: pathlib.Path) -> tuple[str, ...]:
  """Reads a classInd.txt: lines of a 1-based number and a name.

  Raises:
    UsageError: for a line of another form.
  """
  names = []
  for number, line in enumerate(_lines(path), 1):
    parts = line.split()
    if len(parts) != 2 or not parts[0].isdigit() or int(parts[0]) != number:
      raise UsageError(f"{path}: line {number}: expected '{number} ClassName', found {line!r}.")
    names.append(parts[1])
  return tuple(names)


def read_split_list(path: pathlib.Path) -> tuple[str, ...]:
  """Reads a trainlist or testlist; returns `Class/clip` names without suffix and label."""
  names = []
  for number, line in enumerate(_lines(path), 1):
    entry = line.split()[0].replace("\\", "/")
    if entry.count("/") != 1:
      raise UsageError(f"{path}: line {number}: expected 'Class/video.avi [label]', found {line!r}.")
    names.append(str(pathlib.PurePosixPath(entry).with_suffix("")))
  return tuple(names)


def _lines(path: pathlib.Path) -> list[str]:
  try:
    return [line.strip() for line in path.read_text().splitlines() if line.strip()]
  except (OSError, UnicodeDecodeError) as error:
    raise UsageError(f"Expected a list in text form at {path}: {error}.") from error


def find_videos(folder: pathlib.Path) -> list[pathlib.Path]:
  """Returns every video file under `folder`, sorted.

  Raises:
    UsageError: if the folder is missing or holds no video.
  """
  if not folder.is_dir():
    near = nearest(folder.name, [p.name for p in folder.parent.iterdir() if p.is_dir()]) if folder.parent.is_dir() else []
    raise UsageError(f"--videos: expected a folder, found none at {folder}." + (f" Nearest: {', '.join(near)}." if near else ""))
  found = sorted(p for p in folder.rglob("*") if p.suffix.lower() in VIDEO_SUFFIXES and not p.name.startswith("."))
  if not found:
    others = sorted({p.suffix for p in folder.rglob("*") if p.is_file()})[:6]
    raise UsageError(
      f"--videos: expected video files ({', '.join(VIDEO_SUFFIXES)}) under {folder}, found none"
      + (f"; files there end in {', '.join(others)}." if others else ".")
    )
  return found


def ucf101_catalogue(
  videos: pathlib.Path,
  split: int,
  *,
  lists: pathlib.Path | None = None,
  dataset: str = "ucf101",
  allow_missing: bool = False,
  groups: Iterable[int] | None = None,
) -> Catalogue:
  """Catalogues a folder of videos by UCF101's lists.

  Files are matched without regard to case (the lists and the videos spell HandstandPushups
  differently). Classes without any file are left out, so that a subset of the classes has a
  network of its own size.

  Args:
    videos: folder of class folders of videos (a flat folder works too).
    split: 1 to 3.
    lists: folder of classInd.txt, trainlist0N.txt, testlist0N.txt; the official ones by default.
    dataset: name of the data set.
    allow_missing: whether clips of the lists may be missing within the classes that are there.
    groups: groups to keep; all by default.

  Raises:
    UsageError: if nothing matches, or if listed clips are missing and `allow_missing` is not set.
  """
  lists = lists or resources.data_path("ucf101")
  files = {p.stem.lower(): p for p in find_videos(videos)}
  names = {which: read_split_list(lists / f"{which}list0{split}.txt") for which in ("train", "test")}
  all_classes = read_classes(lists / "classInd.txt")
  by_lower = {c.lower(): c for c in all_classes}
  wanted = None if groups is None else set(groups)

  found: list[tuple[str, str, pathlib.Path]] = []
  absent: dict[str, list[str]] = {}
  for which, entries in names.items():
    for entry in entries:
      folder, name = entry.split("/")
      if folder.lower() not in by_lower:
        raise UsageError(f"{lists}/{which}list0{split}.txt names class {folder!r}, which classInd.txt does not list.")
      if wanted is not None and group_of(name) not in wanted:
        continue
      class_name = by_lower[folder.lower()]
      if name.lower() in files:
        found.append((which, class_name, files[name.lower()]))
      else:
        absent.setdefault(class_name, []).append(name)
  present = {class_name for _, class_name, _ in found}
  if not found:
    raise UsageError(
      f"None of the {len(files)} videos under {videos} is in the lists of {dataset} split {split}, which name videos such as "
      f"{names['train'][0]}. For other videos use --dataset=folder."
    )
  missing = [name for class_name in sorted(present) for name in absent.get(class_name, [])]
  if missing and not allow_missing:
    raise UsageError(
      f"{len(missing)} clips of the lists of split {split} are missing under {videos}, the first {missing[0]}. "
      "Give the whole data set, or --allow_missing to go on with what is there."
    )
  classes = tuple(c for c in all_classes if c in present)
  labels = {c: i for i, c in enumerate(classes)}
  clips = [Clip(path.stem, path, labels[c], group_of(path.stem), which) for which, c, path in found]
  return Catalogue(dataset, split, classes, tuple(sorted(clips, key=lambda c: (c.split, c.name))), tuple(missing))


def folder_catalogue(videos: pathlib.Path, *, dataset: str = "folder", groups: Iterable[int] | None = None) -> Catalogue:
  """Catalogues any folder of class folders of videos.

  A split of whole groups: where names carry UCF101's groups, groups 1-7 are the test clips;
  otherwise every fourth clip of a class by name.

  Raises:
    UsageError: if videos do not lie in at least two class folders.
  """
  by_class: dict[str, list[pathlib.Path]] = {}
  for path in find_videos(videos):
    if path.parent != videos:
      by_class.setdefault(path.parent.name, []).append(path)
  if len(by_class) < 2:
    raise UsageError(f"--videos: expected at least two class folders of videos under {videos}, found {len(by_class)}.")
  wanted = None if groups is None else set(groups)
  classes = tuple(sorted(by_class))
  clips = []
  for label, name in enumerate(classes):
    for index, path in enumerate(by_class[name]):
      group = group_of(path.stem)
      test = 1 <= group <= 7 if group else index % 4 == 0
      if wanted is None or group in wanted:
        clips.append(Clip(path.stem, path, label, group, "test" if test else "train"))
  if not clips:
    raise UsageError(f"--groups: no video under {videos} is of the groups {sorted(wanted or [])}.")
  return Catalogue(dataset, 1, classes, tuple(sorted(clips, key=lambda c: (c.split, c.name))))


def check_unique(clips: Sequence[Clip]) -> None:
  """Refuses two clips of one name, which a prepared set could not tell apart.

  Raises:
    UsageError: naming both files.
  """
  seen: dict[str, Clip] = {}
  for clip in clips:
    if clip.name in seen:
      raise UsageError(f"Two clips are named {clip.name!r}: {seen[clip.name].path} and {clip.path}.")
    seen[clip.name] = clip
