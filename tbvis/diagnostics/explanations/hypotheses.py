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


@dataclasses.dataclass(frozen=True, eq=False)
class Hypothesis:
  """One probe on which two classes' stimuli were compared.

  Attributes:
    probe: the probe.
    values: its mean over the stimuli of the first and of the second class.
    spreads: standard deviation across seeds, likewise.
    effect: difference of the means (second minus first) over the spread across seeds, which counts as at least a quarter of the
      spread among clips.
    p: two-sided p-value of the difference, by exchanging both classes start by start. It is not corrected for the number of
      probes: few starts could never reach that, and what a hypothesis is worth is decided on clips, where p-values are.
    separation: the same difference between held-out clips of both classes, over their spread. It decides nothing: other things that the
      classes differ in can hide in clips what the network looks for.
    rank: 1 for the largest `effect`, whatever its sign, among all probes.
  """

  probe: Probe
  values: tuple[float, float]
  spreads: tuple[float, float]
  effect: float
  p: float
  separation: float
  rank: int

  @property
  def differs(self) -> bool:
    """Whether the stimuli's difference lies beyond the spread across seeds."""
    return abs(self.effect) > 1

  def sentence(self, a: str, b: str) -> str:
    """Returns the hypothesis in plain words."""
    said = [f"{name}'s at {value:.3g} ± {spread:.2g}" for name, value, spread in zip((a, b), self.values, self.spreads, strict=True)]
    return f"Preferred {self.probe.stream}, {self.probe.name} ({self.probe.unit}): {said[0]}, {said[1]}."


def rank_hypotheses(
  probes: Sequence[Probe],
  first: np.ndarray,
  second: np.ndarray,
  clips: tuple[np.ndarray, np.ndarray],
  count: int = permutations.PERMUTATIONS,
) -> list[Hypothesis]:
  """Compares the stimuli of two classes on every probe.

  Args:
    probes: what was measured.
    first: float (objectives, chi, seeds, probes), measurements of the first class' stimuli, NaN where a probe has no value. The
      objective is the unit itself, or its difference from the other class'; stimuli of one objective and seed share their start.
    second: likewise of the second class.
    clips: float (clips, probes) of each class, measurements of held-out clips, weighted by where the network looked.
    count: permutations.

  Returns:
    All probes that have values on both sides, the largest effect first.

  Raises:
    UsageError: if shapes disagree.

  >>> from tbvis.diagnostics import probes as all_probes
  >>> rng = np.random.default_rng(0)
  >>> a, b = rng.normal(0, 1, (2, 1, 6, 2)), rng.normal([0, 8], 1, (2, 1, 6, 2))
  >>> found = rank_hypotheses(all_probes.PROBES[:2], a, b, (a[0, 0], b[0, 0]), count=199)
  >>> [(h.probe.name, h.differs) for h in found]
  [('agreement of lines', True), ('steepness of lines', False)]
  """
  first, second = np.asarray(first, float), np.asarray(second, float)
  if first.shape != second.shape or first.ndim != 4 or first.shape[3] != len(probes) or any(c.shape[1:] != (len(probes),) for c in clips):
    raise UsageError(
      f"Expected measurements (objectives, chi, seeds, {len(probes)} probes) of both classes and (clips, {len(probes)}) of clips, "
      f"received {first.shape}, {second.shape} and {[c.shape for c in clips]}."
    )
  sides = [_by_condition(side) for side in (first, second)]
  spread = np.sqrt((sides[0][1] ** 2 + sides[1][1] ** 2) / 2)
  separation, clip_spread = _separated(*clips)
  floor = _LEAST_SPREAD * np.nan_to_num(clip_spread)
  apart = sides[1][0] - sides[0][0]
  effect = apart / np.maximum(np.hypot(spread, floor), 1e-12)
  # Without regard to sign, so that one test serves both directions.
  p = _exchanged(first, second, count)
  found = [
    Hypothesis(
      probes[i], (float(sides[0][0][i]), float(sides[1][0][i])), (float(sides[0][1][i]), float(sides[1][1][i])), float(effect[i]),
      float(p[i]), float(separation[i]), 0,
    )
    for i in np.flatnonzero(np.isfinite(effect)).tolist()
  ]  # fmt: skip
  found.sort(key=lambda h: -abs(h.effect))
  return [dataclasses.replace(h, rank=rank) for rank, h in enumerate(found, 1)]


def _separated(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Returns the difference of two classes' clips (second minus first) over their spread, and that spread, float (probes,) each."""
  both = np.concatenate([np.asarray(first, float), np.asarray(second, float)])
  of_second = np.arange(len(both)) >= len(first)
  apart = permutations.standardised_difference(both, of_second)
  centred = both - np.where(of_second[:, None], permutations.mean_of_known(both[of_second]), permutations.mean_of_known(both[~of_second]))
  return np.nan_to_num(apart), np.sqrt(permutations.mean_of_known(centred**2))


def _by_condition(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Returns the mean over all stimuli and the spread across seeds under one objective and chi, float (probes,) each."""
  known = np.isfinite(values)
  mean = permutations.mean_of_known(values.reshape(-1, values.shape[-1]))
  of_seeds = np.nansum(values, 2, keepdims=True) / np.maximum(known.sum(2, keepdims=True), 1)
  freedom = np.maximum(known.sum(2) - 1, 0).sum((0, 1))
  spread = np.sqrt(np.nansum((values - of_seeds) ** 2, (0, 1, 2)) / np.maximum(freedom, 1))
  return mean, spread


def _exchanged(first: np.ndarray, second: np.ndarray, count: int) -> np.ndarray:
  """Returns two-sided p-values of a difference between the classes, by exchanging them start by start."""
  objectives, chi, seeds, probes = first.shape
  apart = (second - first).reshape(-1, probes)
  starts = np.broadcast_to(np.arange(objectives)[:, None, None] * seeds + np.arange(seeds), (objectives, chi, seeds)).ravel()
  tested = permutations.sign_test(np.concatenate([apart, -apart], axis=1), starts, count)
  return np.minimum(1.0, 2 * np.fmin(*tested.p.reshape(2, -1)))
