"""Permutation tests that keep clips of one group together, corrected over everything that was tried."""

from __future__ import annotations

from collections.abc import Callable
import dataclasses

import numpy as np

from tbvis.errors import UsageError

PERMUTATIONS = 4999
# What is called beyond chance.
LEVEL = 0.05


@dataclasses.dataclass(frozen=True)
class Tested:
  """Outcome of a test of several measurements at once.

  Attributes:
    effect: float (measurements,), the statistic as observed; NaN where nothing could be computed.
    p: float (measurements,), one-sided p-value of each by itself.
    corrected: float (measurements,), the same corrected for the number of measurements (Westfall and Young 1993, max-T).
  """

  effect: np.ndarray
  p: np.ndarray
  corrected: np.ndarray


def _compare(observed: np.ndarray, draw: Callable[[np.random.Generator], np.ndarray], count: int, seed: int) -> Tested:
  rng = np.random.default_rng(seed)
  drawn = np.stack([draw(rng) for _ in range(count)])
  known = np.isfinite(observed)
  tiny = 1e-9
  p = (1 + np.sum(drawn >= observed - tiny, axis=0)) / (count + 1)
  largest = np.max(np.where(np.isfinite(drawn) & known, drawn, -np.inf), axis=1, initial=-np.inf)
  corrected = (1 + np.sum(largest[:, None] >= observed - tiny, axis=0)) / (count + 1)
  return Tested(observed, np.where(known, p, np.nan), np.where(known, corrected, np.nan))


def mean_of_known(values: np.ndarray) -> np.ndarray:
  """Returns the mean of each column's finite values, NaN where it has none; float (rows, columns) -> (columns,).

  >>> mean_of_known(np.array([[1.0, np.nan], [3.0, np.nan]])).tolist()
  [2.0, nan]
  """
  known = np.isfinite(values)
  return np.where(known.any(0), np.where(known, values, 0).sum(0) / np.maximum(known.sum(0), 1), np.nan)


def standardised_difference(values: np.ndarray, chosen: np.ndarray) -> np.ndarray:
  """Returns by column the mean of the chosen rows minus that of the others, over their pooled standard deviation (Hedges' g).

  Args:
    values: float (rows, columns), NaN where there is no value.
    chosen: bool (rows,).

  Returns:
    float (columns,), NaN where either side has fewer than two values; the pooled deviation is at least 1e-6 of the values' size.

  >>> standardised_difference(np.array([[1.0], [3.0], [5.0], [7.0]]), np.array([False, False, True, True])).round(3).tolist()
  [1.616]
  """
  sides = [np.where(rows[:, None], values, np.nan) for rows in (chosen, ~chosen)]
  counts = [np.isfinite(side).sum(0) for side in sides]
  means = [np.nansum(side, 0) / np.maximum(count, 1) for side, count in zip(sides, counts, strict=True)]
  squares = sum(np.nansum((side - mean) ** 2, 0) for side, mean in zip(sides, means, strict=True))
  freedom = counts[0] + counts[1] - 2
  deviation = np.sqrt(squares / np.maximum(freedom, 1))
  floor = 1e-6 * np.nanmax(np.abs(values), axis=0, initial=1e-300)
  bias = 1 - 3 / np.maximum(4 * freedom - 1, 1)
  enough = (counts[0] >= 2) & (counts[1] >= 2)
  return np.where(enough, bias * (means[0] - means[1]) / np.maximum(deviation, floor), np.nan)


def label_test(values: np.ndarray, chosen: np.ndarray, groups: np.ndarray, count: int = PERMUTATIONS, seed: int = 0) -> Tested:
  """Tests whether the chosen clips have larger values than the others.

  Clips of a group resemble each other, and so do their labels: labels move from group to group in one piece, and change
  places inside their group besides.

  Args:
    values: float (clips, measurements), NaN where a clip has no value.
    chosen: bool (clips,).
    groups: (clips,), what each clip belongs to.
    count: permutations.
    seed: of their choice.

  Returns:
    The outcome; its effect is `standardised_difference`.

  Raises:
    UsageError: if lengths differ.
  """
  values, chosen, groups = np.asarray(values, float), np.asarray(chosen, bool), np.asarray(groups)
  if not len(values) == len(chosen) == len(groups):
    raise UsageError(f"Expected values, choices and groups of one length, received {len(values)}, {len(chosen)} and {len(groups)}.")
  order = np.argsort(groups, kind="stable")
  values, chosen, groups = values[order], chosen[order], groups[order]
  blocks = np.split(chosen, np.flatnonzero(groups[1:] != groups[:-1]) + 1)

  def draw(rng: np.random.Generator) -> np.ndarray:
    moved = [rng.permutation(blocks[i]) for i in rng.permutation(len(blocks))]
    return standardised_difference(values, np.concatenate(moved))

  return _compare(standardised_difference(values, chosen), draw, count, seed)


def _one_sample(values: np.ndarray) -> np.ndarray:
  count = np.isfinite(values).sum(0)
  mean = np.nansum(values, 0) / np.maximum(count, 1)
  deviation = np.sqrt(np.nansum((values - mean) ** 2, 0) / np.maximum(count - 1, 1))
  return np.where(count >= 2, mean / np.maximum(deviation, 1e-6 * np.maximum(np.abs(mean), 1e-300)), np.nan)


def sign_test(values: np.ndarray, groups: np.ndarray, count: int = PERMUTATIONS, seed: int = 0) -> Tested:
  """Tests whether paired changes are larger than 0; a group's changes turn their sign together.

  Args:
    values: float (pairs, measurements), NaN where there is none.
    groups: (pairs,), what each pair belongs to.
    count: sign changes drawn.
    seed: of their choice.

  Returns:
    The outcome; its effect is the mean over the standard deviation.
  """
  values, groups = np.asarray(values, float), np.asarray(groups)
  if len(values) != len(groups):
    raise UsageError(f"Expected values and groups of one length, received {len(values)} and {len(groups)}.")
  _, place = np.unique(groups, return_inverse=True)

  def draw(rng: np.random.Generator) -> np.ndarray:
    return _one_sample(values * rng.choice([-1.0, 1.0], place.max(initial=0) + 1)[place][:, None])

  return _compare(_one_sample(values), draw, count, seed)
