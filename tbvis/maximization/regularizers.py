"""What natural inputs are like: bounded local energy, and little variation over space and time.

A regulariser is a frozen dataclass called with a tensor (rows, height, width, frames, components), float32, that
returns one value a row; rows never mix.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf

from tbvis.errors import UsageError


def _check_weight(name: str, value: Any) -> None:
  if isinstance(value, tf.Tensor):
    return
  if np.ndim(value) > 1 or not np.all(np.isfinite(value)) or np.any(np.asarray(value) < 0):
    raise UsageError(f"Invalid value for argument `{name}`. Expected a number, or one a row, of at least 0. Received: {name}={value!r}.")


def _check_rank(x: Any) -> None:
  if len(x.shape) != 5:
    raise UsageError(f"Expected an input of shape (rows, height, width, frames, components), received {tuple(x.shape)}.")


def _squares(difference: tf.Tensor) -> tf.Tensor:
  return tf.reduce_sum(tf.square(difference), axis=(1, 2, 3, 4))


@dataclasses.dataclass(frozen=True, eq=False)
class TotalVariation:
  """Squared differences between neighbours in space and in time, `sum spatial (dx^2 + dy^2) + temporal dt^2` (equation 3).

  Forward differences; the last row, column and frame have none (METHOD 2.3).

  Attributes:
    spatial: kappa, one for all rows or (rows,).
    temporal: chi, one for all rows or (rows,).
    links: how much each change from a frame to the next counts, (frames - 1,); 1 without.

  >>> ramp = tf.reshape(tf.range(4.0), (1, 1, 4, 1, 1))
  >>> float(TotalVariation(spatial=2.0)(ramp)[0])
  6.0
  """

  spatial: Any = 1.0
  temporal: Any = 0.0
  links: tuple[float, ...] = ()

  def __post_init__(self) -> None:
    _check_weight("spatial", self.spatial)
    _check_weight("temporal", self.temporal)

  def __call__(self, x: tf.Tensor) -> tf.Tensor:
    """Returns (rows,) for x (rows, height, width, frames, components).

    Raises:
      UsageError: if x has another rank.
    """
    _check_rank(x)
    space = _squares(x[:, 1:] - x[:, :-1]) + _squares(x[:, :, 1:] - x[:, :, :-1])
    if x.shape[3] == 1:
      return self.spatial * space
    changes = x[:, :, :, 1:] - x[:, :, :, :-1]
    if any(link != 1 for link in self.links):
      changes *= tf.sqrt(tf.constant(self.links, x.dtype))[:, None]
    return self.spatial * space + self.temporal * _squares(changes)


@dataclasses.dataclass(frozen=True)
class LocalEnergy:
  """Norms of pixels to a power, `sum (sum_d x_d^2 / bound^2)^(exponent / 2)`, which is N_B / B^alpha of equation 2.

  Attributes:
    bound: B, the norm at which a pixel counts 1.
    exponent: alpha.

  >>> float(LocalEnergy(bound=5.0, exponent=3.0)(tf.reshape([3.0, 4.0], (1, 1, 1, 1, 2)))[0])
  1.0
  """

  bound: float = 80.0
  exponent: float = 6.0

  def __post_init__(self) -> None:
    if not self.bound > 0:
      raise UsageError(f"Invalid value for argument `bound`. Expected a number above 0. Received: bound={self.bound!r}.")
    if not self.exponent >= 1:
      raise UsageError(f"Invalid value for argument `exponent`. Expected a number of at least 1. Received: exponent={self.exponent!r}.")

  def __call__(self, x: tf.Tensor) -> tf.Tensor:
    """Returns (rows,) for x (rows, height, width, frames, components).

    Raises:
      UsageError: if x has another rank.
    """
    _check_rank(x)
    norms = tf.reduce_sum(tf.square(x / self.bound), axis=-1)
    half = self.exponent / 2
    # An even exponent needs no logarithm, which is most of the time of a regulariser.
    powers = norms ** int(half) if half == int(half) else tf.pow(tf.maximum(norms, 1e-12), half)
    return tf.reduce_sum(powers, axis=(1, 2, 3))
