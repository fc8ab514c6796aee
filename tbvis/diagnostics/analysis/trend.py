"""Whether a quantity rises or falls with depth: rank correlation, and how likely chance makes one as large."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np

from tbvis.errors import UsageError

# Orders of so many values are all tried (40,320); of more, so many are drawn.
_EXACT = 8
_DRAWN = 9999
_LEAST = 3


def ranks(values: np.ndarray) -> np.ndarray:
  """Returns ranks from 1, of equal values their mean.

  >>> ranks(np.array([10.0, 30.0, 10.0])).tolist()
  [1.5, 3.0, 1.5]
  """
  values = np.asarray(values, float)
  below = (values[None, :] < values[:, None]).sum(axis=1)
  return below + ((values[None, :] == values[:, None]).sum(axis=1) + 1) / 2


@dataclasses.dataclass(frozen=True)
class Trend:
  """A rank correlation with depth.

  Attributes:
    rho: Spearman's, -1 to 1; NaN of fewer than three layers or where one side is constant.
    p: two-sided, of a permutation test over layers; NaN likewise.
    layers: how many layers it is of.
  """

  rho: float
  p: float
  layers: int

  def __str__(self) -> str:
    if math.isnan(self.rho):
      return f"no trend can be told of {self.layers} layers"
    return f"rank correlation with depth {self.rho:+.2f} (p = {self.p:.2g}, {self.layers} layers)"


def trend(depth: np.ndarray, values: np.ndarray, seed: int = 0) -> Trend:
  """Tests whether values, one a layer, go with depth.

  Layers are what is permuted, not units: units of a layer are no independent witnesses of depth. All orders are tried of up to
  8 layers; of n layers p is then at least about 2 / n!, so three layers never give one below 0.33.

  Args:
    depth: (layers,).
    values: (layers,); layers without a finite value are left out.
    seed: of the orders drawn.

  Raises:
    UsageError: if lengths differ.
  """
  depth, values = np.asarray(depth, float), np.asarray(values, float)
  if depth.shape != values.shape or depth.ndim != 1:
    raise UsageError(f"Expected one value a layer, received {values.shape} for {depth.shape}.")
  known = np.isfinite(values)
  depth, values = depth[known], values[known]
  count = len(values)
  if count < _LEAST or np.ptp(depth) == 0 or np.ptp(values) == 0:
    return Trend(float("nan"), float("nan"), count)
  a, b = (r - r.mean() for r in (ranks(depth), ranks(values)))
  size = np.sqrt((a @ a) * (b @ b))
  rho = float(a @ b / size)
  tiny = 1e-9
  if count <= _EXACT:
    drawn = np.array([a @ b[list(order)] for order in itertools.permutations(range(count))]) / size
    return Trend(rho, float(np.mean(np.abs(drawn) >= abs(rho) - tiny)), count)
  rng = np.random.default_rng(seed)
  drawn = np.array([a @ rng.permutation(b) for _ in range(_DRAWN)]) / size
  return Trend(rho, float((1 + np.sum(np.abs(drawn) >= abs(rho) - tiny)) / (_DRAWN + 1)), count)
