"""Hypotheses: the probes on which the stimuli of two classes differ beyond the spread across seeds."""

from __future__ import annotations

from collections.abc import Sequence
import dataclasses

import numpy as np

from tbvis.diagnostics.explanations import permutations
from tbvis.diagnostics.probes import Probe
from tbvis.errors import UsageError

# A difference that is small beside what clips differ by anyway says little, however well stimuli agree on it.
_LEAST_SPREAD = 0.25
_LEVEL = 0.05


@dataclasses.dataclass(frozen=True, eq=False)
class Hypothesis:
  """One probe on which two classes' stimuli were compared.

  Attributes:
    probe: the probe.
    values: its mean over the stimuli of the first and of the second class.
    spreads: standard deviation across seeds, likewise.
    effect: difference of the means (second minus first) over the spread across seeds, which counts as at least a quarter of the
      spread among clips.
    p: p-value of the difference, by exchanging both classes seed by seed, corrected over all probes.
    rank: 1 for the largest effect among all probes.
  """

  probe: Probe
  values: tuple[float, float]
  spreads: tuple[float, float]
  effect: float
  p: float
  rank: int

  @property
  def differs(self) -> bool:
    """Whether the difference lies beyond the spread across seeds."""
    return abs(self.effect) > 1 and self.p < _LEVEL

  def sentence(self, a: str, b: str) -> str:
    """Returns the hypothesis in plain words."""
    said = [f"{name}'s at {value:.3g} ± {spread:.2g}" for name, value, spread in zip((a, b), self.values, self.spreads, strict=True)]
    return f"Preferred {self.probe.stream}, {self.probe.name} ({self.probe.unit}): {said[0]}, {said[1]}."


def rank_hypotheses(
  probes: Sequence[Probe],
  first: np.ndarray,
  second: np.ndarray,
  clip_spread: np.ndarray,
  count: int = permutations.PERMUTATIONS,
) -> list[Hypothesis]:
  """Compares the stimuli of two classes on every probe.

  Args:
    probes: what was measured.
    first: float (conditions, seeds, probes), measurements of the first class' stimuli: a condition is a chi, or an objective
      (the unit itself, or its difference from the other). NaN where a probe has no value.
    second: likewise of the second class, under the same conditions.
    clip_spread: float (probes,), standard deviation among real clips of both classes.
    count: permutations.

  Returns:
    All probes that have values on both sides, the largest effect first.

  Raises:
    UsageError: if shapes disagree.

  >>> from tbvis.diagnostics import probes as all_probes
  >>> rng = np.random.default_rng(0)
  >>> a, b = rng.normal(0, 1, (2, 6, 2)), rng.normal([0, 8], 1, (2, 6, 2))
  >>> found = rank_hypotheses(all_probes.PROBES[:2], a, b, np.ones(2), count=199)
  >>> [(h.probe.name, h.differs) for h in found]
  [('agreement of lines', True), ('steepness of lines', False)]
  """
  first, second = np.asarray(first, float), np.asarray(second, float)
  if first.shape != second.shape or first.ndim != 3 or first.shape[2] != len(probes) or np.shape(clip_spread) != (len(probes),):
    raise UsageError(
      f"Expected measurements (conditions, seeds, {len(probes)} probes) of both classes and ({len(probes)},) of clips, "
      f"received {first.shape}, {second.shape} and {np.shape(clip_spread)}."
    )
  sides = [_by_condition(side) for side in (first, second)]
  spread = np.sqrt((sides[0][1] ** 2 + sides[1][1] ** 2) / 2)
  floor = _LEAST_SPREAD * np.nan_to_num(np.asarray(clip_spread, float))
  apart = sides[1][0] - sides[0][0]
  effect = apart / np.maximum(np.hypot(spread, floor), 1e-12)
  # Without regard to sign, so that one test serves both directions.
  p = _exchanged(first, second, count)
  known = np.flatnonzero(np.isfinite(effect))
  order = known[np.argsort(-np.abs(effect[known]), kind="stable")]
  return [
    Hypothesis(
      probes[i], tuple(float(side[0][i]) for side in sides), tuple(float(side[1][i]) for side in sides), float(effect[i]), float(p[i]), rank
    )
    for rank, i in enumerate(order, 1)
  ]


def _by_condition(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Returns the mean over all stimuli and the spread across seeds within a condition, float (probes,) each."""
  known = np.isfinite(values)
  count = known.sum((0, 1))
  mean = np.where(count > 0, np.nansum(values, (0, 1)) / np.maximum(count, 1), np.nan)
  of_condition = np.nansum(values, 1, keepdims=True) / np.maximum(known.sum(1, keepdims=True), 1)
  freedom = np.maximum(known.sum(1) - 1, 0).sum(0)
  spread = np.sqrt(np.nansum((values - of_condition) ** 2, (0, 1)) / np.maximum(freedom, 1))
  return mean, spread


def _exchanged(first: np.ndarray, second: np.ndarray, count: int) -> np.ndarray:
  """Returns corrected p-values of a difference between the classes, by exchanging them stimulus pair by stimulus pair."""
  apart = (second - first).reshape(-1, first.shape[2])
  both = np.concatenate([apart, -apart], axis=1)
  tested = permutations.sign_test(both, np.arange(len(apart)), count)
  corrected = tested.corrected.reshape(2, -1)
  # Both directions of every probe were among what was tried: the smaller of the two is corrected for that already.
  return np.fmin(corrected[0], corrected[1])
