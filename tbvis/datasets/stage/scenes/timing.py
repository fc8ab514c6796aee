"""Movements that are not strokes: way points in time, joined without jerks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Point = tuple[float, float]


def ease(u: float) -> float:
  """Returns a smooth rise from 0 to 1 while u goes from 0 to 1.

  >>> [ease(u) for u in (-1, 0, 0.5, 1, 2)]
  [0.0, 0.0, 0.5, 1.0, 1.0]
  """
  u = min(max(float(u), 0.0), 1.0)
  return u * u * (3 - 2 * u)


def way(u: float, times: Sequence[float], points: Sequence[Point]) -> Point:
  """Returns where something is at time u that eases from each way point to the next.

  >>> way(0.5, (0, 1), ((0, 0), (2, 4)))
  (1.0, 2.0)
  """
  k = min(max(int(np.searchsorted(times, u, side="right")) - 1, 0), len(times) - 2)
  share = ease((u - times[k]) / (times[k + 1] - times[k]))
  (x, y), (x_next, y_next) = points[k], points[k + 1]
  return x + (x_next - x) * share, y + (y_next - y) * share


def height(u: float, times: Sequence[float], values: Sequence[float]) -> float:
  """Returns a single number that eases from each of `values` to the next."""
  return way(u, times, [(v, 0.0) for v in values])[0]
