"""The start of the search, the random shift of both inputs together, and the bound on every pixel."""

from __future__ import annotations

import zlib

import numpy as np
import tensorflow as tf

# Standard deviation of the start noise of METHOD 2.3, the unit in which contrast is told.
NOISE_LEVEL = 46.2 / 0.9 / np.sqrt(3)


def noise_start(seed: int, unit: str, stream: str, shape: tuple[int, ...], amplitude: float) -> np.ndarray:
  """Draws the start: uniform noise over its own 95 % quantile, times `amplitude` (METHOD 2.3).

  It depends on seed, unit and stream alone: neither on chi nor on who shares the batch.

  Args:
    seed: of the run.
    unit: name of the unit.
    stream: name of the input.
    shape: of the result.
    amplitude: in network units.

  Returns:
    float32, of `shape`.
  """
  random = np.random.default_rng([seed, zlib.crc32(unit.encode()), zlib.crc32(stream.encode())])
  noise = random.uniform(-1.0, 1.0, shape).astype(np.float32)
  return noise * np.float32(amplitude / np.quantile(noise, 0.95))


def shift_range(jitter: float, stride: int) -> int:
  """Returns the number J of shifts along a side, 1 for none; the searched canvas is J - 1 pixels larger.

  >>> shift_range(0.25, 16), shift_range(1.0, 16), shift_range(0.25, 2)
  (4, 16, 1)
  """
  return max(int(round(jitter * stride)), 1)


def shifts(seed: int, steps: int, count: int) -> np.ndarray:
  """Returns the shift (y, x) of every step, int32 (steps, 2) in 0..count-1, the same for all rows."""
  return np.random.default_rng([seed, 0x5117F7]).integers(0, count, (steps, 2)).astype(np.int32)


def window(x: tf.Tensor, shift: tf.Tensor, size: int) -> tf.Tensor:
  """Cuts the window of `size` pixels at `shift` out of (rows, height, width, ...), with a gradient."""
  trailing = x.shape.as_list()[3:]
  begin = tf.concat([[0], shift, tf.zeros(len(trailing), tf.int32)], axis=0)
  cut = tf.slice(x, begin, [-1, size, size, *trailing])
  return tf.ensure_shape(cut, [None, size, size, *trailing])


def project(x: tf.Tensor, bound: float) -> tf.Tensor:
  """Shortens every pixel (last axis) to a norm of at most `bound`, keeping its direction (equation 2).

  >>> project(tf.constant([[30.0, 40.0], [3.0, 4.0]]), 10.0).numpy().round(3).tolist()
  [[6.0, 8.0], [3.0, 4.0]]
  """
  squares = tf.reduce_sum(tf.square(x), axis=-1, keepdims=True)
  return x * tf.minimum(1.0, bound * tf.math.rsqrt(tf.maximum(squares, 1e-20)))
