"""From labels and predictions to rates with their uncertainty, tables and confused pairs."""

from __future__ import annotations

from collections.abc import Sequence
import csv
import dataclasses
import math
import os

import numpy as np

from tbvis import files
from tbvis.errors import UsageError

_Z95 = 1.959963984540054


def wilson_interval(count: int, total: int, z: float = _Z95) -> tuple[float, float]:
  """Returns the Wilson score interval of a share (Wilson 1927), 95 % by default.

  Args:
    count: successes, 0 to `total`.
    total: trials; without any the interval is 0 to 1.
    z: quantile of the normal distribution.

  Raises:
    ValueError: if `count` lies outside 0 to `total`.

  >>> [round(x, 4) for x in wilson_interval(8, 10)]
  [0.4902, 0.9433]
  """
  if not 0 <= count <= total:
    raise ValueError(f"Invalid value for argument `count`. Expected 0 to {total}. Received: count={count}")
  if total == 0:
    return 0.0, 1.0
  share = count / total
  centre = share + z * z / (2 * total)
  half = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
  scale = 1 + z * z / total
  # Rounding may leave 1e-17 outside of what is possible.
  return max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale)


@dataclasses.dataclass(frozen=True)
class Rate:
  """A share of clips.

  Attributes:
    count: clips that it holds for.
    total: clips asked about.
  """

  count: int
  total: int

  @property
  def fraction(self) -> float:
    """The share, 0 to 1 (NaN of no clips)."""
    return self.count / self.total if self.total else math.nan

  @property
  def interval(self) -> tuple[float, float]:
    """Its Wilson 95 % interval."""
    return wilson_interval(self.count, self.total)

  def __str__(self) -> str:
    low, high = self.interval
    return f"{100 * self.fraction:.1f} % ({self.count} of {self.total}; 95 %: {100 * low:.1f} to {100 * high:.1f})"


@dataclasses.dataclass(frozen=True)
class ClassRow:
  """One class of the per-class table.

  Attributes:
    name: the class.
    recall: its clips that were called by its name.
    precision: clips called by its name that are of it.
    taken_for: the class that its other clips were most often taken for, "" where there is none.
    taken_count: how many of them.
  """

  name: str
  recall: Rate
  precision: Rate
  taken_for: str
  taken_count: int


@dataclasses.dataclass(frozen=True)
class ConfusedPair:
  """Clips of one class taken for another.

  Attributes:
    actual: the true class.
    predicted: what they were taken for.
    rate: how many, of all clips of the true class.
  """

  actual: str
  predicted: str
  rate: Rate

  def __str__(self) -> str:
    return f"{self.actual} -> {self.predicted}: {self.rate}"


def confusion_matrix(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
  """Counts clips by true and predicted class.

  Args:
    labels: int (clips,).
    predicted: int (clips,).
    classes: number of classes.

  Returns:
    int64 (classes, classes), rows by true class.

  >>> confusion_matrix(np.array([0, 0, 1]), np.array([0, 1, 1]), 2).tolist()
  [[1, 1], [0, 1]]
  """
  matrix = np.zeros((classes, classes), np.int64)
  np.add.at(matrix, (np.asarray(labels, np.int64), np.asarray(predicted, np.int64)), 1)
  return matrix


def _check(matrix: np.ndarray, classes: Sequence[str]) -> None:
  if matrix.shape != (len(classes), len(classes)):
    raise UsageError(f"Expected a confusion matrix of {len(classes)} by {len(classes)} classes, received shape {matrix.shape}.")


def per_class(matrix: np.ndarray, classes: Sequence[str]) -> list[ClassRow]:
  """Returns the per-class table of a confusion matrix, in the order of the classes."""
  _check(matrix, classes)
  rows = []
  for index, name in enumerate(classes):
    others = matrix[index].copy()
    others[index] = 0
    worst = int(np.argmax(others))
    rows.append(
      ClassRow(
        name=name,
        recall=Rate(int(matrix[index, index]), int(matrix[index].sum())),
        precision=Rate(int(matrix[index, index]), int(matrix[:, index].sum())),
        taken_for=classes[worst] if others[worst] else "",
        taken_count=int(others[worst]),
      )
    )
  return rows


def confused_pairs(matrix: np.ndarray, classes: Sequence[str], top: int | None = None) -> list[ConfusedPair]:
  """Returns the pairs of classes that are confused, highest rate first (then most clips, then the classes' order).

  >>> [str(p) for p in confused_pairs(np.array([[3, 1], [0, 2]]), ["Cello", "Violin"])]
  ['Cello -> Violin: 25.0 % (1 of 4; 95 %: 4.6 to 69.9)']
  """
  _check(matrix, classes)
  pairs = [
    ConfusedPair(classes[i], classes[j], Rate(int(matrix[i, j]), int(matrix[i].sum())))
    for i in range(len(classes))
    for j in range(len(classes))
    if i != j and matrix[i, j]
  ]
  pairs.sort(key=lambda pair: (-pair.rate.fraction, -pair.rate.count))
  return pairs[:top]


def write_confusion_csv(path: str | os.PathLike[str], matrix: np.ndarray, classes: Sequence[str]) -> None:
  """Writes a confusion matrix: a header of predicted classes, then one row of counts a true class."""
  _check(matrix, classes)
  with files.atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as stream:
    writer = csv.writer(stream)
    writer.writerow(["actual \\ predicted", *classes])
    for name, row in zip(classes, matrix.tolist(), strict=True):
      writer.writerow([name, *row])


def format_per_class(rows: Sequence[ClassRow]) -> str:
  """Returns the per-class table as aligned text."""
  width = max([5, *(len(row.name) for row in rows)])
  lines = [f"{'class':<{width}}  right of    recall (95 %)          precision  most often taken for"]
  for row in rows:
    low, high = row.recall.interval
    recall = f"{100 * row.recall.fraction:5.1f} % ({100 * low:.1f} to {100 * high:.1f})" if row.recall.total else "no clips"
    precision = f"{100 * row.precision.fraction:5.1f} %" if row.precision.total else "never said"
    taken = f"{row.taken_for} ({row.taken_count})" if row.taken_count else "-"
    lines.append(f"{row.name:<{width}}  {row.recall.count:>5} {row.recall.total:<4}  {recall:<21}  {precision:<9}  {taken}")
  return "\n".join(lines)
