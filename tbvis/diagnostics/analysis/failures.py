"""Failure cases: the pairs of classes that are confused most, and where an explanation of each is."""

from __future__ import annotations

import os
import pathlib

from tbvis.diagnostics import confusions as confusions_lib
from tbvis.diagnostics.analysis.report import Finding, Table
from tbvis.records import Confusions
from tbvis.rendering.charts import Strip, strip_chart

_HOW = (
  "Pairs of a class and what its test clips were taken for, largest share first, with Wilson's 95 % interval. An explanation is what "
  "tbvis-explain has written for the pair and the tower; `tbvis-explain --pair=TRUE,PREDICTED` makes a missing one."
)


def explanations(logdir: str | os.PathLike[str], run: str, true: int, predicted: int) -> list[pathlib.Path]:
  """Returns the explanations of a pair of classes that a run has, of any tower.

  Args:
    logdir: TensorBoard's logdir.
    run: the run with the confusions.
    true: class number.
    predicted: likewise.
  """
  folder = pathlib.Path(logdir, run, "tbvis", "explanations")
  return sorted(folder.glob(f"{true:04d}_{predicted:04d}_*.json"))


def finding(found: Confusions, logdir: str | os.PathLike[str], run: str, top: int) -> Finding:
  """Tells what is confused most, by each tower, with the explanations there are.

  Args:
    found: confusions of a network.
    logdir: TensorBoard's logdir.
    run: the run that has them.
    top: how many pairs a tower.
  """
  rows, strips, said = [], [], []
  numbers: dict[str, float] = {}
  main = "fused" if "fused" in found.scores else next(iter(found.scores))
  for tower in found.scores:
    pairs = confusions_lib.confused_pairs(found.matrix(tower), found.classes, top=top)
    numbers |= {f"failures_{tower}_pairs": len(pairs), f"failures_{tower}_accuracy": found.accuracy(tower)}
    for pair in pairs:
      places = explanations(logdir, run, found.classes.index(pair.actual), found.classes.index(pair.predicted))
      own = next((path for path in places if path.stem.endswith(f"_{tower}")), None)
      low, high = pair.rate.interval
      rows.append((tower, pair.actual, pair.predicted, pair.rate.count, pair.rate.total, pair.rate.fraction, low, high, str(own or "none")))
      if tower == main:
        strips.append(Strip(f"{pair.actual} -> {pair.predicted}", [pair.rate.fraction], [str(pair.rate)], 1, (low, high)))
        said.append(f"{pair}; explanation: {own or 'none yet'}.")
  head = f"{main}: {found.accuracy(main):.1%} of {len(found.labels)} clips are right ({found.split})."
  columns = ("tower", "true", "predicted", "clips", "of", "share", "share, low", "share, high", "explanation")
  chart = strip_chart(f"What is confused most ({main})", strips, "share of the class' clips, with its 95 % interval", limits=(0.0, 1.0))
  return Finding(
    "failures",
    "Failure cases",
    _HOW,
    (head, *said),
    (Table("failures", "Most confused pairs", columns, tuple(rows)),),
    {"failures": chart} if strips else {},
    numbers,
  )
