"""Official class lists and splits: UCF101, HMDB51, Kinetics."""

from __future__ import annotations

import csv
import dataclasses
import pathlib
import re

from tbvis import resources
from tbvis.errors import UsageError, nearest

_GROUP = re.compile(r"_g(\d+)_c(\d+)$", re.IGNORECASE)
# An HMDB51 name ends in _<class>_<body>_<camera>_<people>_<view>_<quality>_<number>.
_HMDB51_END = r"_{}_[a-z]_[a-z]+_np\d+_[a-z]+_[a-z]+_\d+$"
_KINETICS_SPLITS = {"train": "train", "training": "train", "val": "test", "validate": "test", "validation": "test"}


@dataclasses.dataclass(frozen=True)
class Entry:
  """A clip that a list names.

  Attributes:
    names: the names that its file may have, without suffix, the likeliest first.
    class_name: its class.
    group: clips of one group share people, place or film, 0 where unknown.
    split: "train" or "test".
  """

  names: tuple[str, ...]
  class_name: str
  group: int
  split: str


@dataclasses.dataclass(frozen=True)
class Lists:
  """The lists of one split of a data set.

  Attributes:
    dataset: name of the data set.
    split: number of the split.
    source: folder or file that they were read from.
    classes: all classes in the order of the labels.
    entries: the clips.
    any_case: whether names are matched without regard to case.
    complete: whether a clip without a file is a mistake.
  """

  dataset: str
  split: int
  source: pathlib.Path
  classes: tuple[str, ...]
  entries: tuple[Entry, ...]
  any_case: bool = True
  complete: bool = True


def group_of(name: str) -> int:
  """Returns the group in a clip's name (`..._g01_c04` -> 1), 0 where the name has none."""
  match = _GROUP.search(name)
  return int(match[1]) if match else 0


def _lines(path: pathlib.Path) -> list[str]:
  try:
    return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
  except (OSError, UnicodeDecodeError) as error:
    raise UsageError(f"Expected a list in text form at {path}: {error}.") from error


def read_classes(path: pathlib.Path) -> tuple[str, ...]:
  """Reads a classInd.txt: lines of a 1-based number and a name.

  Raises:
    UsageError: for a line of another form.
  """
  names = []
  for number, line in enumerate(_lines(path), 1):
    parts = line.split(maxsplit=1)
    if len(parts) != 2 or not parts[0].isdigit() or int(parts[0]) != number:
      raise UsageError(f"{path}: line {number}: expected '{number} ClassName', found {line!r}.")
    names.append(parts[1])
  return tuple(names)


def read_split_list(path: pathlib.Path) -> tuple[str, ...]:
  """Reads UCF101's trainlist or testlist; returns `Class/clip` names without suffix and label."""
  names = []
  for number, line in enumerate(_lines(path), 1):
    class_name, _, video = line.split()[0].replace("\\", "/").partition("/")
    name = pathlib.PurePosixPath(video).stem
    if class_name in ("", ".", "..") or not name or "/" in video:
      raise UsageError(f"{path}: line {number}: expected 'Class/video.avi [label]', found {line!r}.")
    names.append(f"{class_name}/{name}")
  return tuple(names)


def _check_split(dataset: str, split: int, last: int) -> None:
  if not 1 <= split <= last:
    raise UsageError(f"--split: expected {f'1 to {last}' if last > 1 else '1'} for {dataset}, received {split}.")


def ucf101(split: int, folder: pathlib.Path | None = None, dataset: str = "ucf101") -> Lists:
  """Reads classInd.txt, trainlist0N.txt and testlist0N.txt, the official ones by default.

  Raises:
    UsageError: for a file of another form, or a class that classInd.txt does not list.
  """
  _check_split(dataset, split, 3)
  folder = folder or resources.data_path("ucf101")
  classes = read_classes(folder / "classInd.txt")
  by_lower = {c.lower(): c for c in classes}
  entries = []
  for which in ("train", "test"):
    for entry in read_split_list(folder / f"{which}list0{split}.txt"):
      class_name, name = entry.split("/")
      if class_name.lower() not in by_lower:
        raise UsageError(f"{folder}/{which}list0{split}.txt names class {class_name!r}, which classInd.txt does not list.")
      entries.append(Entry((name,), by_lower[class_name.lower()], group_of(name), which))
  return Lists(dataset, split, folder, classes, tuple(entries))


def hmdb51(split: int, folder: pathlib.Path | None = None) -> Lists:
  """Reads HMDB51's split files, `<class>_test_split<N>.txt`, with lines of a video and 1 (train), 2 (test) or 0 (neither).

  A clip's group is the film or video it was cut from, which its name begins with. Films are numbered in the order of their names, over
  the clips that a split leaves out too, so that a film has the same number in every split.

  Raises:
    UsageError: if the folder is not given or holds no such file, or a file is of another form.
  """
  _check_split("hmdb51", split, 3)
  classes = read_classes(resources.data_path("hmdb51", "classInd.txt"))
  if folder is None:
    raise UsageError(
      "--lists is required for hmdb51: the folder of its split files (testTrainMulti_7030_splits, files such as "
      f"wave_test_split{split}.txt), which are not part of tbvis."
    )
  found = [(c, folder / f"{c}_test_split{split}.txt") for c in classes]
  if not any(path.is_file() for _, path in found):
    there = ", ".join(sorted(p.name for p in folder.glob("*.txt"))[:3]) if folder.is_dir() else ""
    raise UsageError(f"--lists: expected files such as {found[0][1].name} in {folder}, found {there or 'none'}.")
  rows: list[tuple[str, str, str]] = []
  for class_name, path in found:
    if not path.is_file():
      continue
    for number, line in enumerate(_lines(path), 1):
      name, _, which = line.rpartition(" ")
      if which not in ("0", "1", "2") or not name:
        raise UsageError(f"{path}: line {number}: expected 'video.avi 1' (1 train, 2 test, 0 neither), found {line!r}.")
      rows.append((pathlib.PurePosixPath(name.strip()).stem, class_name, which))
  films = [re.sub(_HMDB51_END.format(re.escape(c)), "", name, flags=re.IGNORECASE) for name, c, _ in rows]
  groups = {film: i for i, film in enumerate(sorted(set(films)), 1)}
  entries = [
    Entry((name, f"hmdb51_{name}"), class_name, groups[film], "train" if which == "1" else "test")
    for (name, class_name, which), film in zip(rows, films, strict=True)
    if which != "0"
  ]
  return Lists("hmdb51", split, folder, classes, tuple(entries))


def _read_csv(path: pathlib.Path) -> list[dict[str, str]]:
  try:
    with open(path, newline="", encoding="utf-8") as stream:
      rows = csv.DictReader(stream)
      lacking = {"label", "youtube_id"} - set(rows.fieldnames or ())
      if lacking:
        raise UsageError(f"{path}: expected the columns label, youtube_id, time_start, time_end; {', '.join(sorted(lacking))} is missing.")
      return list(rows)
  except (OSError, UnicodeDecodeError, csv.Error) as error:
    raise UsageError(f"Expected a csv list at {path}: {error}.") from error


def kinetics400(split: int, folder: pathlib.Path | None = None) -> Lists:
  """Reads Kinetics' csv lists: train.csv, and val.csv or validate.csv, whose clips are the test clips here.

  A video is looked for as `<id>_<start>_<end>` with six digits, as most downloads are named, and as `<id>`. Clips that are
  gone from where they were published are no mistake. Each video is a group of its own.

  Raises:
    UsageError: for another split, if the folder is not given or holds no such file, or a file lacks a column or names an unknown class.
  """
  _check_split("kinetics400", split, 1)
  classes = read_classes(resources.data_path("kinetics400", "classInd.txt"))
  if folder is None:
    raise UsageError("--lists is required for kinetics400: the folder of train.csv and val.csv, which are not part of tbvis.")
  by_lower = {c.lower(): c for c in classes}
  files = sorted(p for p in folder.glob("*.csv")) if folder.is_dir() else []
  wanted = {p: _KINETICS_SPLITS.get(re.split(r"[_.-]", p.stem)[-1].lower()) for p in files}
  if not any(wanted.values()):
    raise UsageError(f"--lists: expected train.csv and val.csv in {folder}, found {', '.join(p.name for p in files[:4]) or 'no csv file'}.")
  entries: list[Entry] = []
  for path, which in wanted.items():
    if which is None:
      continue
    for number, row in enumerate(_read_csv(path), 2):
      name = (row["label"] or "").replace("_", " ").strip().lower()
      if name not in by_lower:
        near = nearest(name, classes, 1)
        raise UsageError(f"{path}: line {number}: unknown class {row['label']!r}." + (f" Nearest: {near[0]}." if near else ""))
      if not row["youtube_id"]:
        raise UsageError(f"{path}: line {number}: expected a youtube_id, found none.")
      try:
        timed = f"{row['youtube_id']}_{int(row['time_start']):06d}_{int(row['time_end']):06d}"
      except (KeyError, TypeError, ValueError):
        timed = row["youtube_id"]
      entries.append(Entry(tuple(dict.fromkeys([timed, row["youtube_id"]])), by_lower[name], len(entries) + 1, which))
  return Lists("kinetics400", 1, folder, classes, tuple(entries), any_case=False, complete=False)


READERS = {"ucf101": ucf101, "hmdb51": hmdb51, "kinetics400": kinetics400}
