"""Which clips there are: official lists matched with what lies on disk, or a folder of the user's own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
import dataclasses
import pathlib
import re

from tbvis.datasets import lists as lists_lib
from tbvis.datasets import media
from tbvis.errors import UsageError

# Groups of UCF101's first test split, and how many in four other groups or clips are test clips.
_TEST_GROUPS = range(1, 8)
_EVERY = 4
# Of one range: Kinetics, the largest set, has some 300,000 groups.
_MOST_NUMBERS = 1_000_000
# `daria_walk.avi`: what stands before the last underscore is who, what stands after it is the class.
FLAT_PATTERN = r"(?P<group>.+)_(?P<class>[^_]+)"


@dataclasses.dataclass(frozen=True)
class Clip:
  """One clip.

  Attributes:
    name: as in the lists, without suffix: `v_Archery_g01_c04`.
    media: what it is made of.
    label: 0-based class.
    group: clips of one group share actor and place (UCF101), film (HMDB51) or video (Kinetics), 0 where unknown.
    split: "train" or "test".
  """

  name: str
  media: media.Media
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
    missing: names in the lists for which nothing was found.
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
    match = re.fullmatch(r"\s*(\d{1,9})\s*(?:-\s*(\d{1,9}))?\s*", part)
    # A range is written out: more groups than a data set has clips would only fill the memory.
    if not match or not 0 <= int(match[2] or match[1]) - int(match[1]) < _MOST_NUMBERS:
      raise UsageError(f"--{flag}: expected numbers and ranges such as 1-7,12; received {text!r}.")
    numbers.update(range(int(match[1]), int(match[2] or match[1]) + 1))
  return frozenset(numbers)


def match_lists(
  lists: lists_lib.Lists, found: Mapping[str, media.Media], *, allow_missing: bool = False, groups: Iterable[int] | None = None
) -> Catalogue:
  """Matches lists with the clips that were found.

  Classes without any clip are left out, so that a subset of the classes has a network of its own size.

  Args:
    lists: the official lists, or others of their form.
    found: clips by name without suffix (`inventory`).
    allow_missing: whether clips may be missing within the classes that are there.
    groups: groups to keep; all by default.

  Raises:
    UsageError: if nothing matches, or if listed clips are missing and may not be.
  """
  by_name = {name.lower(): clip for name, clip in found.items()} if lists.any_case else found
  wanted = None if groups is None else set(groups)
  present: list[tuple[lists_lib.Entry, media.Media]] = []
  absent: dict[str, list[str]] = {}
  for entry in lists.entries:
    if wanted is not None and entry.group not in wanted:
      continue
    names = (name.lower() for name in entry.names) if lists.any_case else entry.names
    clip = next((by_name[name] for name in names if name in by_name), None)
    if clip is None:
      absent.setdefault(entry.class_name, []).append(entry.names[0])
    else:
      present.append((entry, clip))
  if not present and wanted is not None:
    numbers = [entry.group for entry in lists.entries]
    listed = f"those of {lists.dataset}'s lists are {min(numbers)} to {max(numbers)}"
    raise UsageError(f"--groups: no clip found is of the groups {sorted(wanted)}; {listed}.")
  if not present:
    named = f"names clips such as {lists.entries[0].names[0]}" if lists.entries else "is empty"
    example = next(iter(found), None)
    raise UsageError(
      f"None of the {len(found)} clips found (such as {example}) is in the list of {lists.dataset} split {lists.split} ({lists.source}), "
      f"which {named}. For other videos use --dataset=folder."
    )
  there = {entry.class_name for entry, _ in present}
  missing = [name for class_name in sorted(there) for name in absent.get(class_name, [])]
  if missing and lists.complete and not allow_missing:
    raise UsageError(
      f"{len(missing)} clips of the lists of {lists.dataset} split {lists.split} are missing, the first {missing[0]}. "
      "Give the whole data set, or --allow_missing to go on with what is there."
    )
  classes = tuple(c for c in lists.classes if c in there)
  labels = {c: i for i, c in enumerate(classes)}
  clips = [Clip(entry.names[0], clip, labels[entry.class_name], entry.group, entry.split) for entry, clip in present]
  return Catalogue(lists.dataset, lists.split, classes, tuple(sorted(clips, key=lambda c: (c.split, c.name))), tuple(missing))


def _parse(path: pathlib.Path, root: pathlib.Path, pattern: str | None) -> tuple[str, str]:
  """Returns class and group, as texts, of a video under `root`."""
  in_folder = path.parent != root
  if pattern is None and in_folder:
    group = lists_lib.group_of(path.stem)
    return path.parent.name, str(group or "")
  try:
    match = re.fullmatch(pattern or FLAT_PATTERN, path.stem)
  except re.error as error:
    raise UsageError(f"--clip_pattern: expected a regular expression, received {pattern!r} ({error}).") from error
  if not match:
    raise UsageError(
      f"{path}: expected a name of the form {pattern or FLAT_PATTERN}, found {path.stem!r}. Put videos in a folder for each class, or "
      "give --clip_pattern with the groups (?P<class>...) and (?P<group>...)."
    )
  parts = match.groupdict()
  if not in_folder and "class" not in parts:
    raise UsageError(f"--clip_pattern: expected (?P<class>...) in it for videos that lie in no class folder, received {pattern!r}.")
  return parts.get("class") or path.parent.name, parts.get("group") or ""


def _test_members(keys: Sequence[str]) -> set[str]:
  """Returns which groups are for testing: UCF101's first seven where that leaves others, else every fourth in order."""
  ordered = sorted(keys, key=lambda key: (int(key), key) if key.isdigit() else (0, key))
  if all(key.isdigit() for key in ordered):
    first = {key for key in ordered if int(key) in _TEST_GROUPS}
    if 0 < len(first) < len(ordered):
      return first
  # One group alone is for training: a set without training clips is of no use.
  return set(ordered[::_EVERY]) if len(ordered) > 1 else set()


def folder_catalogue(
  videos: Iterable[pathlib.Path],
  root: pathlib.Path,
  *,
  dataset: str = "folder",
  pattern: str | None = None,
  groups: Iterable[int] | None = None,
) -> Catalogue:
  """Catalogues videos of the user's own: class folders, or a flat folder of names that tell the class.

  Whole groups go to training or to testing. Where names carry UCF101's groups, groups 1-7 are the test clips; where the names
  have groups of another kind, every fourth group; otherwise every fourth clip of a class.

  Args:
    videos: the files.
    root: the folder that they lie in.
    dataset: name of the data set.
    pattern: regular expression with the groups "class" and "group" for a whole file name without suffix; `FLAT_PATTERN` for
      videos that lie in `root` itself.
    groups: groups to keep; all by default.

  Raises:
    UsageError: if there are fewer than two classes, or a name does not match.
  """
  rows = [(path, *_parse(path, root, pattern)) for path in videos]
  classes = tuple(sorted({class_name for _, class_name, _ in rows}))
  if len(classes) < 2:
    raise UsageError(f"--videos: expected at least two class folders of videos under {root}, found {len(classes)}.")
  named = sorted({group for _, _, group in rows if group})
  test_groups = _test_members(named)
  # A clip without a group counts within its class.
  alone = {c: sorted(path for path, name, group in rows if name == c and not group) for c in classes}
  test_clips = {path for paths in alone.values() for path in paths[::_EVERY]}
  own_numbers = all(group.isdigit() for group in named)
  numbers = {group: int(group) if own_numbers else i for i, group in enumerate(named, 1)}
  wanted = None if groups is None else set(groups)
  clips = []
  for path, class_name, group in rows:
    number = numbers.get(group, 0)
    if wanted is None or number in wanted:
      test = group in test_groups if group else path in test_clips
      clips.append(Clip(path.stem, media.Video(str(path)), classes.index(class_name), number, "test" if test else "train"))
  if not clips:
    raise UsageError(f"--groups: no video under {root} is of the groups {sorted(wanted or [])}; there are {sorted(set(numbers.values()))}.")
  return Catalogue(dataset, 1, classes, tuple(sorted(clips, key=lambda c: (c.split, c.name))))


def check_unique(clips: Sequence[Clip]) -> None:
  """Refuses two clips of one name, which a prepared set could not tell apart.

  Raises:
    UsageError: naming both.
  """
  seen: dict[str, Clip] = {}
  for clip in clips:
    if clip.name in seen:
      raise UsageError(f"Two clips are named {clip.name!r}: {seen[clip.name].media.where} and {clip.media.where}.")
    seen[clip.name] = clip
