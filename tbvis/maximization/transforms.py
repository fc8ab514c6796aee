"""The start of the search, the random transforms of all inputs together, and the bound on every pixel."""

from __future__ import annotations

import zlib

import numpy as np
import tensorflow as tf

from tbvis.errors import UsageError

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


def time_window(x: tf.Tensor, shift: tf.Tensor, frames: int, parts: int = 1) -> tf.Tensor:
  """Cuts `frames` frames from frame `shift` on out of (rows, height, width, frames + ..., components), with a gradient.

  Of several parts, which lie one behind the other in x, each is cut alike.
  """
  height, width, there, components = x.shape[1:]
  if there == frames:
    return x
  # Parts stand in front of the components, so that time is one axis again.
  apart = tf.reshape(x, [-1, height, width, parts, there // parts, components])
  cut = tf.slice(apart, tf.stack([0, 0, 0, 0, shift, 0]), [-1, height, width, parts, frames // parts, components])
  return tf.ensure_shape(tf.reshape(cut, [-1, height, width, frames, components]), [None, height, width, frames, components])


def plane_draws(seed: int, steps: int, zoom: float, rotation: float) -> np.ndarray:
  """Returns the zoom and the angle (radians) of every step, float32 (steps, 2); zoom lies in 1 / (1 + zoom) to 1 + zoom.

  Args:
    seed: of the run.
    steps: number of steps.
    zoom: largest enlargement, 0 for none.
    rotation: largest angle in degrees, 0 for none.
  """
  random = np.random.default_rng([seed, 0x2007]).uniform(-1, 1, (steps, 2))
  return np.stack([np.exp(np.log1p(zoom) * random[:, 0]), np.deg2rad(rotation) * random[:, 1]], axis=1).astype(np.float32)


def turn(x: tf.Tensor, zoom: tf.Tensor, angle: tf.Tensor) -> tf.Tensor:
  """Enlarges and turns what an input shows about its centre, in the image plane, with a gradient (bilinear).

  Every frame is treated alike: time is never mixed with space. A flow (2 components) is turned as the thing it shows would be: its
  vectors turn and grow along. What comes in from outside is 0.

  Args:
    x: float32 (rows, height, width, frames, components).
    zoom: float32 scalar, above 1 enlarges.
    angle: float32 scalar in radians, counter-clockwise as seen with y downwards.

  Returns:
    Of x's shape.

  Raises:
    UsageError: if x has another rank.
  """
  if len(x.shape) != 5:
    raise UsageError(f"Expected an input of shape (rows, height, width, frames, components), received {tuple(x.shape)}.")
  height, width, frames, components = x.shape[1:]
  cos, sin = tf.cos(angle), tf.sin(angle)
  centre_x, centre_y = (width - 1) / 2, (height - 1) / 2
  # The operation wants, for every pixel of the result, where it comes from.
  a, b = cos / zoom, -sin / zoom
  row_x = [a, b, centre_x - a * centre_x - b * centre_y]
  row_y = [-b, a, centre_y + b * centre_x - a * centre_y]
  matrix = tf.stack([*row_x, *row_y, 0.0, 0.0])[None]
  flat = tf.reshape(x, [-1, height, width, frames * components])
  turned = tf.raw_ops.ImageProjectiveTransformV3(
    images=flat, transforms=matrix, output_shape=[height, width], fill_value=0.0, interpolation="BILINEAR", fill_mode="CONSTANT"
  )
  turned = tf.reshape(turned, [-1, height, width, frames, components])
  if components != 2:
    return turned
  u, v = turned[..., 0], turned[..., 1]
  return zoom * tf.stack([cos * u + sin * v, -sin * u + cos * v], axis=-1)


def at_bound(x: tf.Tensor, bound: float) -> tf.Tensor:
  """Returns which part of each row's pixels has reached the bound, (rows,)."""
  reached = tf.reduce_sum(tf.square(x), axis=-1) >= (0.999 * bound) ** 2
  return tf.reduce_mean(tf.cast(reached, tf.float32), axis=list(range(1, len(x.shape) - 1)))


def project(x: tf.Tensor, bound: float) -> tf.Tensor:
  """Shortens every pixel (last axis) to a norm of at most `bound`, keeping its direction (equation 2).

  >>> project(tf.constant([[30.0, 40.0], [3.0, 4.0]]), 10.0).numpy().round(3).tolist()
  [[6.0, 8.0], [3.0, 4.0]]
  """
  squares = tf.reduce_sum(tf.square(x), axis=-1, keepdims=True)
  return x * tf.minimum(1.0, bound * tf.math.rsqrt(tf.maximum(squares, 1e-20)))
