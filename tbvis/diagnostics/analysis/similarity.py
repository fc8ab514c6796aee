"""How alike two stimuli are: pictures, the texture that a network sees in them, the direction of their flow."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
import itertools
from typing import TypeVar

import numpy as np

# What may differ between two stimuli of one unit.
KINDS = ("chi", "seed", "both")
_Found = TypeVar("_Found")


def picture_correlation(first: np.ndarray, second: np.ndarray, reach: int = 0) -> float:
  """Returns the largest correlation of two pictures over shifts of one against the other.

  A stimulus is found up to a shift: the search jitters its input, so where exactly a shape ends is chance. Only what lies
  over the other picture counts.

  Args:
    first: (H, W, C).
    second: the same shape.
    reach: largest shift, pixels; less than the picture's size.

  Returns:
    -1 to 1; 0 where one of them is constant.

  >>> picture = np.random.default_rng(0).normal(size=(16, 16, 3))
  >>> round(picture_correlation(picture[2:14, 2:14], picture[4:, 3:15], reach=2), 3)
  1.0
  """
  first, second = np.asarray(first, np.float32), np.asarray(second, np.float32)
  height, width = first.shape[:2]
  shifts = range(-reach, reach + 1)
  return max(
    _correlation(
      first[max(dy, 0) : height + min(dy, 0), max(dx, 0) : width + min(dx, 0)],
      second[max(-dy, 0) : height + min(-dy, 0), max(-dx, 0) : width + min(-dx, 0)],
    )
    for dy, dx in itertools.product(shifts, shifts)
  )


def _correlation(first: np.ndarray, second: np.ndarray) -> float:
  a, b = (x.ravel() - x.mean() for x in (first, second))
  size = float(np.sqrt((a @ a) * (b @ b)))
  return float(a @ b) / size if size > 0 else 0.0


def standardised(features: np.ndarray) -> np.ndarray:
  """Returns features (stimuli, features) without their mean over the stimuli, over their standard deviation; constant ones are 0."""
  features = np.asarray(features, np.float64)
  deviation = features.std(axis=0)
  return np.where(deviation > 0, (features - features.mean(axis=0)) / np.where(deviation > 0, deviation, 1), 0)


def feature_correlation(first: np.ndarray, second: np.ndarray) -> float:
  """Returns the correlation of two rows of `standardised` features, -1 to 1."""
  return _correlation(np.asarray(first, np.float64), np.asarray(second, np.float64))


def flow_agreement(first: np.ndarray, second: np.ndarray) -> float:
  """Returns the mean cosine between the mean flow of two films, each place weighted by how much moves there in both.

  Args:
    first: (H, W, T, 2).
    second: the same height and width.

  Returns:
    -1 (everywhere opposite) to 1 (everywhere the same direction); 0 where nothing moves in both.

  >>> right = np.tile([1.0, 0.0], (4, 4, 10, 1))
  >>> flow_agreement(right, 3 * right), flow_agreement(right, -right)
  (1.0, -1.0)
  """
  a, b = (np.asarray(film, np.float64).mean(axis=2) for film in (first, second))
  weight = float((np.hypot(a[..., 0], a[..., 1]) * np.hypot(b[..., 0], b[..., 1])).sum())
  return float((a * b).sum()) / weight if weight > 0 else 0.0


def by_kind(found: Mapping[tuple[float, int], _Found], measure: Callable[[_Found, _Found], float]) -> dict[str, float]:
  """Returns the mean of a measure over pairs of one unit's stimuli, by what differs between the two.

  Args:
    found: by (chi, seed).
    measure: of two.

  Returns:
    By "chi" (same seed), "seed" (same chi: two starts) and "both" (another chi from a start of its own); NaN without pairs.

  >>> by_kind({(0, 0): 1.0, (0, 1): 2.0, (10, 0): 5.0, (10, 1): 6.0}, lambda a, b: abs(a - b))
  {'chi': 4.0, 'seed': 1.0, 'both': 4.0}
  """
  values: dict[str, list[float]] = {kind: [] for kind in KINDS}
  for one, other in itertools.combinations(sorted(found), 2):
    kind = "seed" if one[0] == other[0] else "chi" if one[1] == other[1] else "both"
    values[kind].append(measure(found[one], found[other]))
  return {kind: float(np.mean(of_kind)) if of_kind else float("nan") for kind, of_kind in values.items()}


def between_units(
  units: Sequence[Mapping[tuple[float, int], _Found]], measure: Callable[[_Found, _Found], float]
) -> list[float]:  # fmt: skip
  """Returns the measure between each unit and the next one at the same chi from another start: what chance gives.

  Args:
    units: of each unit its stimuli by (chi, seed).
    measure: of two stimuli.

  Returns:
    A mean a unit; none of fewer than two units.
  """
  result = []
  for unit, following in zip(units, [*units[1:], *units[:1]], strict=True):
    if unit is following:
      continue
    pairs = [(a, b) for a in sorted(unit) for b in sorted(following) if a[0] == b[0] and a[1] != b[1]]
    # One pair a chi is enough: pictures take long to compare.
    chosen = {a[0]: (a, b) for a, b in reversed(pairs)}.values()
    values = [measure(unit[a], following[b]) for a, b in chosen]
    if values:
      result.append(float(np.mean(values)))
  return result


def told_apart(same: Sequence[float], other: Sequence[float]) -> float:
  """Returns how often a value of `same` is above one of `other`, ties half: 0.5 tells nothing, 1 always (the area under the ROC curve).

  >>> told_apart([0.9, 0.4], [0.1, 0.4])
  0.875
  """
  ours, theirs = (np.asarray([v for v in values if np.isfinite(v)], float) for values in (same, other))
  if not len(ours) or not len(theirs):
    return float("nan")
  return float(np.mean((ours[:, None] > theirs) + 0.5 * (ours[:, None] == theirs)))
