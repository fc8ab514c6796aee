"""Published scores of clips x classes, read from .mat, .npz and .csv files in the order of an official list, and fused.

A file has one row a clip and one column a class or the other way round. Where it names its clips or classes they are put in the
list's order; otherwise the list's order is taken to be its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import csv
import dataclasses
import math
import os
import pathlib

import numpy as np

from tbvis.datasets import lists
from tbvis.diagnostics import predictions as predictions_lib
from tbvis.errors import UsageError, unknown_name
from tbvis.weights import matfile

# What files stand for, in the order they are given.
FILE_TOWERS = ("appearance", "motion", "hybrid")
NORMS = {"l2": 2, "l1": 1}
_SUFFIXES = (".mat", ".npz", ".csv")
_OWN = ("clips", "classes")


@dataclasses.dataclass(frozen=True)
class OfficialList:
  """The test clips of a split.

  Attributes:
    name: as "ucf101 test split 1".
    clips: names in the list's order.
    labels: int64 (clips,), 0-based.
    classes: names in the order of the labels.
  """

  name: str
  clips: tuple[str, ...]
  labels: np.ndarray
  classes: tuple[str, ...]

  @property
  def shape(self) -> tuple[int, int]:
    """(clips, classes)."""
    return len(self.clips), len(self.classes)


def official_list(dataset: str, split: int, folder: pathlib.Path | None = None) -> OfficialList:
  """Returns the test list of a data set's official split.

  Args:
    dataset: ucf101, hmdb51 or kinetics400.
    split: its number.
    folder: of the lists, where they are not part of tbvis or others are meant.

  Raises:
    UsageError: for another data set, or lists that are missing or not of their form.

  >>> official_list("ucf101", 1).shape
  (3783, 101)
  """
  if dataset not in lists.READERS:
    raise unknown_name("data set", dataset, lists.READERS, "--dataset (official lists)")
  found = lists.READERS[dataset](split, folder)
  label = {name: index for index, name in enumerate(found.classes)}
  entries = [entry for entry in found.entries if entry.split == "test"]
  labels = np.array([label[entry.class_name] for entry in entries], np.int64)
  return OfficialList(f"{dataset} test split {split}", tuple(entry.names[0] for entry in entries), labels, found.classes)


def read_scores(path: str | os.PathLike[str], tower: str, wanted: OfficialList) -> np.ndarray:
  """Reads the scores of a file.

  Args:
    path: a .mat, .npz or .csv file.
    tower: which scores are meant where the file is one of tbvis-evaluate, which has those of several towers.
    wanted: what rows and columns shall be.

  Returns:
    float64 (clips, classes) in the order of `wanted`.

  Raises:
    UsageError: naming the file, if it cannot be read, has other clips or classes, or scores that are not finite.
  """
  path = pathlib.Path(path)
  readers = {".mat": _read_mat, ".npz": _read_npz, ".csv": _read_csv}
  if path.suffix.lower() not in readers:
    raise UsageError(f"--predictions: expected files that end in {', '.join(_SUFFIXES)}, received {path}.")
  if not path.is_file():
    near = ", ".join(sorted(p.name for p in path.parent.glob("*") if p.suffix in _SUFFIXES)[:5]) if path.parent.is_dir() else ""
    raise UsageError(f"--predictions: expected a file of scores, found none at {path}." + (f" Beside it: {near}." if near else ""))
  values = readers[path.suffix.lower()](path, tower, wanted)
  wrong = np.flatnonzero(~np.isfinite(values).all(axis=1))
  if len(wrong):
    raise UsageError(f"{path}: expected finite scores, but those of {wanted.clips[wrong[0]]} and {len(wrong) - 1} more clips have others.")
  return values


def _read_mat(path: pathlib.Path, tower: str, wanted: OfficialList) -> np.ndarray:
  del tower
  return _only_table(path, matfile.read_mat(path), wanted)


def _read_npz(path: pathlib.Path, tower: str, wanted: OfficialList) -> np.ndarray:
  arrays = predictions_lib.load_arrays(path, (), "scores")
  towers = [name.removeprefix("scores_") for name in arrays if name.startswith("scores_")]
  if not (towers and all(name in arrays for name in _OWN)):
    return _only_table(path, arrays, wanted)
  if tower not in towers:
    raise unknown_name("tower", tower, towers, str(path))
  clips, classes = ([str(name) for name in arrays[of].ravel()] for of in _OWN)
  return _named(path, arrays[f"scores_{tower}"], clips, classes, wanted)


def _only_table(path: pathlib.Path, arrays: Mapping[str, object], wanted: OfficialList) -> np.ndarray:
  """Returns the one array of a file that has the shape of `wanted`, or its transpose."""
  tables = {
    name: array for name, array in arrays.items() if isinstance(array, np.ndarray) and array.ndim == 2 and array.dtype.kind in "fiu"
  }
  fitting = [name for name, array in tables.items() if array.shape in (wanted.shape, wanted.shape[::-1])]
  if len(fitting) != 1:
    found = ", ".join(f"{name} {array.shape[0]} x {array.shape[1]}" for name, array in list(tables.items())[:6]) or "no table of numbers"
    raise UsageError(f"{path}: expected one table of {_shown(wanted)}, found {found}.")
  return _named(path, tables[fitting[0]], None, None, wanted)


def _shown(wanted: OfficialList) -> str:
  return f"{wanted.shape[0]} clips x {wanted.shape[1]} classes ({wanted.name})"


def _named(
  path: pathlib.Path, values: np.ndarray, rows: Sequence[str] | None, columns: Sequence[str] | None, wanted: OfficialList
) -> np.ndarray:
  """Returns a table in the order of `wanted`, by the names of its rows and columns where it has them."""
  if values.shape == wanted.shape[::-1] != wanted.shape:
    values, rows, columns = values.T, columns, rows
  if values.shape != wanted.shape or values.dtype.kind not in "fiu":
    found = f"{' x '.join(map(str, values.shape)) or 'one'} of {values.dtype.name}"
    raise UsageError(f"{path}: expected scores of {_shown(wanted)}, found {found}.")
  for axis, (names, expected, kind) in enumerate(((rows, wanted.clips, "clip"), (columns, wanted.classes, "class"))):
    if names is not None:
      values = values.take(_order(path, names, expected, kind), axis=axis)
  return np.asarray(values, np.float64)


def _order(path: pathlib.Path, names: Sequence[str], expected: Sequence[str], kind: str) -> list[int]:
  """Returns the place of each expected name among `names`; case, folders and a video's suffix do not count."""

  def key(name: str) -> str:
    return pathlib.PurePosixPath(name.strip().replace("\\", "/")).name.lower().removesuffix(".avi")

  places: dict[str, int] = {}
  for place, name in enumerate(names):
    if key(name) in places:
      raise UsageError(f"{path}: expected each {kind} once, found {name!r} again.")
    places[key(name)] = place
  known = {key(name) for name in expected}
  for name in names:
    if key(name) not in known:
      raise unknown_name(kind, name, expected, str(path))
  if len(names) != len(expected):
    absent = next(name for name in expected if key(name) not in places)
    raise UsageError(f"{path}: expected all {len(expected)} {kind} names of the list, {absent} is not among its {len(names)}.")
  return [places[key(name)] for name in expected]


def _read_csv(path: pathlib.Path, tower: str, wanted: OfficialList) -> np.ndarray:
  rows = _csv_rows(path, limit=max(wanted.shape) + 1)
  header = rows.pop(0) if rows and _number(rows[0][-1]) is None else None
  # A file of tbvis-evaluate: clip, class, predictions, and the scores of each tower.
  if header and header[:2] == ["clip", "class"]:
    towers = list(dict.fromkeys(name.split("_")[1] for name in header if name.startswith("score_")))
    if tower not in towers:
      raise unknown_name("tower", tower, towers, str(path))
    kept = [i for i, name in enumerate(header) if name.startswith(f"score_{tower}_")]
    rows = [[row[0], *(row[i] for i in kept)] if len(row) == len(header) else row for row in rows]
    header = ["clip", *(header[i].removeprefix(f"score_{tower}_") for i in kept)]
  names = [row[0] for row in rows] if rows and _number(rows[0][0]) is None else None
  width = len(rows[0]) if rows else 0
  values = np.zeros((len(rows), max(0, width - bool(names))))
  for number, row in enumerate(rows):
    cells = [_number(cell) for cell in row[bool(names) :]]
    if len(row) != width or None in cells:
      line = number + 1 + bool(header)
      found = f"{len(row)} cells" if len(row) != width else repr(row[bool(names) + cells.index(None)])
      raise UsageError(f"{path}: line {line}: expected {width} cells of scores, found {found}.")
    values[number] = cells
  columns = header[len(header) - values.shape[1] :] if header else None
  return _named(path, values, names, columns, wanted)


def _csv_rows(path: pathlib.Path, limit: int) -> list[list[str]]:
  try:
    with path.open(newline="", encoding="utf-8") as stream:
      rows = []
      for row in csv.reader(stream, strict=True):
        if row:
          rows.append(row)
        if len(rows) > limit:
          raise UsageError(f"{path}: expected {limit} lines at most, found more.")
      return rows
  except (UnicodeDecodeError, csv.Error) as error:
    raise UsageError(f"{path}: expected a table of scores in text form; {error}.") from error


def _number(cell: str) -> float | None:
  try:
    return float(cell)
  except ValueError:
    return None


def normalised(scores: np.ndarray, norm: str) -> np.ndarray:
  """Divides the scores of each clip by their norm, so that no network outweighs another by the size of its numbers.

  Args:
    scores: float (clips, classes).
    norm: of `NORMS`.

  >>> normalised(np.array([[3.0, -4.0]]), "l2").tolist()
  [[0.6, -0.8]]
  """
  size = np.linalg.norm(scores, NORMS[norm], axis=1, keepdims=True)
  return scores / np.where(size > 0, size, 1)


def fuse(
  scores: Mapping[str, np.ndarray], weights: Mapping[str, float], wanted: OfficialList, norm: str | None = None
) -> predictions_lib.Predictions:
  """Fuses the scores of several networks by their weighted mean.

  Args:
    scores: float (clips, classes) by tower.
    weights: by tower, none negative.
    wanted: clips, labels and classes.
    norm: what each clip's scores are divided by before; None leaves them as they are. The fused scores are then brought back to the
      common size of the networks' by one factor, which changes no order: the tab shows their softmax.

  Raises:
    UsageError: if weights do not fit.

  >>> wanted = OfficialList("two", ("a", "b"), np.array([0, 1]), ("x", "y"))
  >>> fuse({"appearance": np.eye(2), "motion": 3 - 3 * np.eye(2)}, {"appearance": 3, "motion": 1.5}, wanted, "l2").accuracy().count
  2
  """
  total = sum(weights.values())
  if any(not math.isfinite(w) or w < 0 for w in weights.values()) or total <= 0:
    raise UsageError(f"--prediction_weights: expected weights of 0 and more, not all 0; received {', '.join(map(str, weights.values()))}.")
  parts = {tower: normalised(values, norm) if norm else values for tower, values in scores.items()}
  fused = np.sum([weights[tower] / total * part for tower, part in parts.items()], axis=0)
  if norm:
    sizes = {tower: np.linalg.norm(values, NORMS[norm], axis=1).mean() for tower, values in scores.items()}
    fused = fused * sum(weights[tower] / total * size for tower, size in sizes.items())
  arrays = {tower: values.astype(np.float32) for tower, values in {**scores, "fused": fused}.items()}
  return predictions_lib.Predictions(wanted.clips, wanted.labels, wanted.classes, arrays)


def read_files(
  paths: Sequence[pathlib.Path],
  *,
  towers: Sequence[str] = (),
  weights: Sequence[float] = (),
  norm: str | None = None,
  dataset: str | None,
  split: str | None,
  folder: pathlib.Path | None = None,
) -> tuple[predictions_lib.Predictions, str, dict[str, str]]:
  """Reads and fuses files of scores; see the flags of tbvis-evaluate.

  Args:
    paths: the files, one a network.
    towers: what each is, of `FILE_TOWERS`; in their order where none are given.
    weights: one a file; equal where none are given.
    norm: of `NORMS`, or None.
    dataset: name of the official list.
    split: its number; None for the first.
    folder: of the lists, where they are not part of tbvis or others are meant.

  Returns:
    The predictions, which clips they are of, and in one line a tower what its scores are (nothing for our own predictions.npz).

  Raises:
    UsageError: if numbers of files, towers and weights differ, one comes twice, or a file does not fit the list.
  """
  if len(paths) == 1 and paths[0].suffix == ".npz" and not (dataset or towers or weights or norm or split or folder):
    return predictions_lib.Predictions.load(paths[0]), str(paths[0]), {}
  if not dataset:
    raise UsageError("--dataset is required: the official list that the rows of --predictions follow, as ucf101. See --help.")
  split = split or "1"
  if not split.isdigit():
    raise UsageError(f"--split: expected the number of the official split where --predictions is given, received {split!r}.")
  if not towers and len(paths) > len(FILE_TOWERS):
    raise UsageError(f"--predictions: expected {len(FILE_TOWERS)} files at most, received {len(paths)}.")
  towers = towers or FILE_TOWERS[: len(paths)]
  weights = weights or [1.0] * len(paths)
  for count, flag in ((len(towers), "prediction_towers"), (len(weights), "prediction_weights")):
    if count != len(paths):
      raise UsageError(f"--{flag}: expected one for each of the {len(paths)} files, received {count}.")
  for values, flag in (([str(path.resolve()) for path in paths], "predictions"), (towers, "prediction_towers")):
    if twice := [value for i, value in enumerate(values) if value in values[:i]]:
      raise UsageError(f"--{flag}: expected each once, received {twice[0]} again.")
  for tower in towers:
    if tower not in FILE_TOWERS:
      raise unknown_name("tower", tower, FILE_TOWERS, "--prediction_towers")
  wanted = official_list(dataset, int(split), folder)
  scores = {tower: read_scores(path, tower, wanted) for tower, path in zip(towers, paths, strict=True)}
  by_tower = dict(zip(towers, weights, strict=True))
  meanings = {tower: f"scores of {path.name}" for tower, path in zip(towers, paths, strict=True)}
  how = f", the scores of each clip divided by their {norm.upper()} norm" if norm else ""
  meanings["fused"] = "weighted mean, " + " + ".join(f"{weight:g} {tower}" for tower, weight in by_tower.items()) + how
  return fuse(scores, by_tower, wanted, norm), wanted.name, meanings
