"""From a hypothesis, clips and interventions to a verdict that says no more than the numbers carry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import dataclasses
import enum

import numpy as np

from tbvis.diagnostics.explanations import permutations
from tbvis.diagnostics.explanations.hypotheses import Hypothesis

# Fewer confused or right clips than this decide nothing; nor do they where they come from one or two groups.
LEAST_CLIPS = 10
LEAST_GROUPS = 3


class Verdict(enum.Enum):
  """What clips say of a hypothesis."""

  SUPPORTED = "supported"
  NOT_SUPPORTED = "not supported"
  TOO_FEW = "too few clips"


@dataclasses.dataclass(frozen=True)
class ClipTest:
  """Whether confused clips lie, on one probe, towards the class that they were taken for, as the stimuli of both classes say where that is.

  Attributes:
    confused: number of clips of the first class that were taken for the second and have a value.
    right: number of clips of the first class that were recognised and have one.
    groups: number of groups that both together come from.
    centers: the probe's mean over held-out clips of the first and of the second class.
    means: its mean over confused and over right clips.
    effect: difference of these means over the spread (Hedges' g), positive where confused clips lie towards the second class.
    p: one-sided p-value by permutation, corrected over all probes that were tried.
  """

  confused: int
  right: int
  groups: int
  centers: tuple[float, float]
  means: tuple[float, float]
  effect: float
  p: float

  @property
  def enough(self) -> bool:
    """Whether there are clips enough to decide."""
    return min(self.confused, self.right) >= LEAST_CLIPS and self.groups >= LEAST_GROUPS


@dataclasses.dataclass(frozen=True)
class InterventionTest:
  """How an intervention moved the margin between the scores of two classes.

  Attributes:
    name: the intervention, in words.
    clips: how many clips it was tried on.
    before: mean margin (first minus second class' score) of the clips as they are.
    change: mean change of that margin.
    share: share of clips whose margin fell.
    p: one-sided p-value that it falls, by turning the signs of whole groups.
  """

  name: str
  clips: int
  before: float
  change: float
  share: float
  p: float

  @property
  def as_foretold(self) -> bool:
    """Whether margins fall, beyond chance."""
    return self.change < 0 and self.p < permutations.LEVEL


@dataclasses.dataclass(frozen=True, eq=False)
class Judged:
  """A hypothesis, and what clips say of it.

  Attributes:
    hypothesis: from stimuli.
    clips: the test on confused and right clips.
    intervention: what happens to right clips of the first class when the probe is moved to where the second class has it;
      None where no intervention moves this probe.
  """

  hypothesis: Hypothesis
  clips: ClipTest
  intervention: InterventionTest | None

  @property
  def verdict(self) -> Verdict:
    """The verdict: supported where every test that could be made speaks for it, and stimuli differ in the first place."""
    if not self.clips.enough:
      return Verdict.TOO_FEW
    agrees = self.hypothesis.differs and self.clips.effect > 0 and self.clips.p < permutations.LEVEL
    moved = self.intervention is None or self.intervention.as_foretold
    return Verdict.SUPPORTED if agrees and moved else Verdict.NOT_SUPPORTED

  @property
  def weight(self) -> float:
    """How much speaks for it: geometric mean of its effects on stimuli and on clips; 0 where either is against it."""
    effect = self.clips.effect if self.hypothesis.differs and np.isfinite(self.clips.effect) else 0.0
    return float(np.sqrt(abs(self.hypothesis.effect) * max(effect, 0.0)))

  @property
  def reason(self) -> str:
    """Why the verdict is what it is, in a sentence."""
    tested, moved = self.clips, self.intervention
    counts = f"{tested.confused} confused and {tested.right} right clips of {tested.groups} groups"
    if not tested.enough:
      why = f"{counts}; a verdict needs {LEAST_CLIPS} of each, of {LEAST_GROUPS} groups."
    elif not self.hypothesis.differs:
      why = "The stimuli do not differ beyond the spread across seeds."
    elif not (tested.effect > 0 and tested.p < permutations.LEVEL):
      why = f"Confused clips do not lie towards the other class (g = {tested.effect:.2f}, corrected p = {tested.p:.2g}; {counts})."
    else:
      why = f"Confused clips lie towards the other class (g = {tested.effect:.2f}, corrected p = {tested.p:.2g}; {counts})."
    if moved is None:
      return f"{why} No intervention moves this probe."
    done = "moves the margin as foretold" if moved.as_foretold else "does not move the margin as foretold"
    return f"{why} {moved.name} {done} ({moved.change:+.2f} of {moved.before:.2f} in {moved.clips} clips, p = {moved.p:.2g})."


@dataclasses.dataclass(frozen=True, eq=False)
class Measurements:
  """What probes say of the clips that are tested, under one way of weighting places.

  Attributes:
    values: float (clips, hypotheses).
    centers: float (hypotheses,) of each class, from other clips, weighted alike.
  """

  values: np.ndarray
  centers: tuple[np.ndarray, np.ndarray]


@dataclasses.dataclass(frozen=True, eq=False)
class Trial:
  """All that clips say of the hypotheses on one confusion, ready to be judged, also under other labels.

  Attributes:
    hypotheses: from stimuli, the strongest first.
    names: of the clips of the first class.
    groups: int (clips,).
    confused: bool (clips,), those that were taken for the second class.
    measured: what each hypothesis' probe says of each clip: weighted by where the network looked in it, and by where it usually looks.
      Where it looks moves with what it decides, so that alone would let a confused clip seem to differ in places that are the same.
    foretold: by hypothesis' probe name, what happens when the probe is moved to where the second class has it.
    permutations: of every test.
  """

  hypotheses: tuple[Hypothesis, ...]
  names: tuple[str, ...]
  groups: np.ndarray
  confused: np.ndarray
  measured: tuple[Measurements, ...]
  foretold: Mapping[str, InterventionTest]
  permutations: int = permutations.PERMUTATIONS

  def judge(self) -> tuple[Judged, ...]:
    """Returns every hypothesis with its verdict: those first for which most speaks, then in their order on stimuli.

    Of the ways of weighting, the one that speaks least for a hypothesis counts.
    """
    directions = np.sign([h.effect for h in self.hypotheses])
    ways = [judge_clips(way.values, self.confused, self.groups, directions, way.centers, self.permutations) for way in self.measured]
    tests = [max(tests, key=lambda test: (np.nan_to_num(test.p, nan=1.0), -test.effect)) for tests in zip(*ways, strict=True)]
    judged = [Judged(h, test, self.foretold.get(h.probe.name)) for h, test in zip(self.hypotheses, tests, strict=True)]
    return tuple(sorted(judged, key=lambda one: (-one.weight, one.hypothesis.rank)))

  def exchanged(self, rng: np.random.Generator) -> Trial:
    """Returns the same with confused and right clips exchanged at random inside their groups: nothing is left to explain."""
    mixed = self.confused.copy()
    for group in np.unique(self.groups):
      mixed[self.groups == group] = rng.permutation(self.confused[self.groups == group])
    return dataclasses.replace(self, confused=mixed)


def judge_clips(
  values: np.ndarray,
  confused: np.ndarray,
  groups: np.ndarray,
  directions: np.ndarray,
  centers: tuple[np.ndarray, np.ndarray],
  count: int = permutations.PERMUTATIONS,
) -> list[ClipTest]:
  """Tests on every probe whether confused clips of a class lie towards the other class, from where the right ones lie.

  Stimuli say which way that is, and not clips of the other class: these differ in other things too, which can hide on a probe what
  the network looks for (lips and eyes may move at one height, each for a reason of its own).

  Args:
    values: float (clips, probes), measurements of clips of the first class, confused and right.
    confused: bool (clips,).
    groups: (clips,).
    directions: float (probes,), 1 where stimuli of the second class have larger values, -1 where smaller; 0 tells nothing.
    centers: float (probes,) of each class, from other clips; they are told beside the test.
    count: permutations.

  Returns:
    One test a probe; p-values are corrected over all of them.

  >>> values = np.array([[1.0, 5.0], [2.0, 4.0], [8.0, 5.0], [9.0, 4.0]])
  >>> tests = judge_clips(values, [False, False, True, True], [1, 2, 1, 2], np.array([1.0, -1.0]), (values[0], values[3]), count=99)
  >>> [round(test.effect, 1) for test in tests]
  [5.7, 0.0]
  """
  confused, groups = np.asarray(confused, bool), np.asarray(groups)
  towards = np.where(np.asarray(directions) == 0, np.nan, np.asarray(values, float) * np.asarray(directions))
  tested = permutations.label_test(towards, confused, groups, count)
  found = []
  for i, column in enumerate(np.asarray(values, float).T):
    known = np.isfinite(towards[:, i])
    sides = [column[known & confused], column[known & ~confused]]
    means = [float(side.mean()) if len(side) else float("nan") for side in sides]
    found.append(
      ClipTest(
        len(sides[0]), len(sides[1]), len(np.unique(groups[known])), (float(centers[0][i]), float(centers[1][i])),
        (means[0], means[1]), float(tested.effect[i]), float(tested.corrected[i]),
      )
    )  # fmt: skip
  return found


def judge_intervention(
  name: str, before: np.ndarray, after: np.ndarray, groups: Sequence[int] | np.ndarray, count: int = permutations.PERMUTATIONS
) -> InterventionTest:
  """Tests whether an intervention lowers the margin between two classes' scores.

  Args:
    name: the intervention, in words.
    before: float (clips,), margins of the clips as they are.
    after: float (clips,), margins under the intervention.
    groups: (clips,).
    count: sign changes drawn.

  >>> judge_intervention("Blank", np.array([2.0, 3.0, 2.5]), np.array([1.0, 1.0, 1.5]), [1, 2, 3]).change.__round__(2)
  -1.33
  """
  before, after = np.asarray(before, float), np.asarray(after, float)
  if not len(before):
    return InterventionTest(name, 0, float("nan"), float("nan"), float("nan"), float("nan"))
  fall = before - after
  tested = permutations.sign_test(fall[:, None], np.asarray(groups), count)
  return InterventionTest(name, len(before), float(before.mean()), float(-fall.mean()), float(np.mean(fall > 0)), float(tested.p[0]))
