"""TV-L1 flow (Zach, Pock, Bischof 2007) of many frame pairs at once, in TensorFlow and compiled by XLA, with OpenCV's conventions.

The flow u minimises the sum of |grad u| and lambda |I1(x + u) - I0|. On each level of a pyramid of both images, coarse to fine,
I1 is warped by the flow so far and its residual taken to be linear around it; then u, an auxiliary v close to it and the dual
variable p of |grad u| take turns. What the paper leaves open is done as in OpenCV's DualTVL1OpticalFlow, so that one may stand in
for the other: steps of the pyramid, cubic interpolation, borders, the test of convergence, and the median filter.

Importing this module loads TensorFlow. Processes that compute no flow, or another one, must not import it.

Inside, a field is float32 (2, N, H, W): horizontal and vertical component of N pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
import functools
from typing import TypeVar

import numpy as np
import tensorflow as tf

from tbvis.datasets.flow import Tvl1Settings

# Bound on the memory of one call of the compiled function; pairs beyond it wait for the next call.
MEMORY_BYTES = 512 << 20
# What a pixel of a pair needs at most: XLA counts 193 bytes on a processor, inputs and result included.
_BYTES_PER_PIXEL = 256
# The caches of a processor hold the state of one pair, and a batch takes as many steps as its slowest pair: 4 at once are slower.
_PAIRS_ON_CPU = 1
# OpenCV stops the pyramid at the last level whose sides are at least this.
_LEAST_SIDE = 16
_T = TypeVar("_T")
_Loop = tuple[tf.Tensor, tf.Tensor, tf.Tensor, list[tf.Tensor]]  # Count, which pairs are active, flow and dual variables.
# A difference needs a neighbour on either side.
_LEAST_FRAME = 3
# Of Keys' cubic kernel, as OpenCV sets it.
_CUBIC = -0.75
# Rings of zeros around an image, so that the 4 x 4 taps around any place up to just outside fall on something.
_RING = 4
# Steepness below which a pixel says nothing of the motion.
_EPSILON = float(np.finfo(np.float32).eps)


def _along(axis: int, value: _T, other: _T) -> tuple[_T, _T]:
  """Returns (other, value) for the last axis and (value, other) for the one before."""
  return (other, value) if axis == -1 else (value, other)


def _cut(values: tf.Tensor, axis: int, start: int | None, stop: int | None) -> tf.Tensor:
  part = ..., *_along(axis, slice(start, stop), slice(None))
  return values[part]


def _pad(values: tf.Tensor, rows: tuple[int, int], columns: tuple[int, int], mode: str = "CONSTANT") -> tf.Tensor:
  return tf.pad(values, [(0, 0)] * (values.shape.rank - 2) + [rows, columns], mode)


def _repeat_edges(values: tf.Tensor, times: int) -> tf.Tensor:
  for _ in range(times):
    values = _pad(values, (1, 1), (1, 1), "SYMMETRIC")
  return values


def central_difference(images: tf.Tensor, axis: int) -> tf.Tensor:
  """Returns half the difference of both neighbours along axis -1 or -2; an edge counts as its own neighbour."""
  padded = _cut(_repeat_edges(images, 1), -1 if axis == -2 else -2, 1, -1)
  return 0.5 * (_cut(padded, axis, 2, None) - _cut(padded, axis, None, -2))


def forward_difference(values: tf.Tensor, axis: int) -> tf.Tensor:
  """Returns next minus this along axis -1 or -2; zero at the last."""
  return _pad(_cut(values, axis, 1, None) - _cut(values, axis, None, -1), *_along(axis, (0, 1), (0, 0)))


def divergence(horizontal: tf.Tensor, vertical: tf.Tensor) -> tf.Tensor:
  """Returns the negative adjoint of `forward_difference` in both directions: this minus previous, which is zero before the first."""
  previous = [_pad(_cut(values, axis, None, -1), *_along(axis, (1, 0), (0, 0))) for values, axis in ((horizontal, -1), (vertical, -2))]
  return horizontal - previous[0] + vertical - previous[1]


def resize(values: tf.Tensor, size: tuple[int, int], step: float | None = None) -> tf.Tensor:
  """Resizes the last two axes by linear interpolation between pixel centres, without smoothing, edges repeated.

  Args:
    values: float32 (..., H, W).
    size: height and width of the result.
    step: pixels of `values` between neighbours of the result; without it what makes both images end together.
  """
  # Not by products with matrices of weights: TensorFlow's round differently for batches of another size.
  for axis, new in ((-2, size[0]), (-1, size[1])):
    old = values.shape[axis]
    place = (np.arange(new) + 0.5) * (step or old / new) - 0.5
    first = np.floor(place).astype(np.int32)
    near, far = (tf.gather(values, np.clip(index, 0, old - 1), axis=axis) for index in (first, first + 1))
    share = (place - first).astype(np.float32).reshape([-1] + [1] * (-1 - axis))
    values = near * (1 - share) + far * share
  return values


def _cubic_weights(fraction: tf.Tensor) -> list[tf.Tensor]:
  """Returns the weights of the 4 samples at -1, 0, 1, 2 for a place between 0 and 1 (Keys 1981)."""
  a = _CUBIC

  def near(d: tf.Tensor) -> tf.Tensor:
    return ((a + 2) * d - (a + 3)) * d * d + 1

  def far(d: tf.Tensor) -> tf.Tensor:
    return ((a * d - 5 * a) * d + 8 * a) * d - 4 * a

  return [far(fraction + 1), near(fraction), near(1 - fraction), far(2 - fraction)]


def warp(images: Sequence[tf.Tensor], flow: tf.Tensor) -> list[tf.Tensor]:
  """Samples images at x + flow(x) by cubic interpolation; what lies outside is zero.

  Args:
    images: float32 (N, H, W) each.
    flow: float32 (2, N, H, W), in pixels.
  """
  count, height, width = images[0].shape
  # Beyond these limits all taps lie outside.
  x = tf.clip_by_value(flow[0] + np.arange(width, dtype=np.float32), -3.0, width + 1.0)
  y = tf.clip_by_value(flow[1] + np.arange(height, dtype=np.float32)[:, None], -3.0, height + 1.0)
  left, top = tf.floor(x), tf.floor(y)
  across, down = _cubic_weights(x - left), _cubic_weights(y - top)
  stride = width + 2 * _RING
  start = np.arange(count, dtype=np.int32)[:, None, None] * (height + 2 * _RING) * stride
  # One flat index for all images: XLA makes faster code of it than of a gather with a batch axis.
  first = start + (tf.cast(top, tf.int32) + _RING - 1) * stride + tf.cast(left, tf.int32) + _RING - 1
  flat = [tf.reshape(_pad(image, (_RING, _RING), (_RING, _RING)), [-1]) for image in images]

  def row(pixels: tf.Tensor, j: int) -> tf.Tensor:
    return tf.add_n([weight * tf.gather(pixels, first + (j * stride + i)) for i, weight in enumerate(across)])

  return [tf.add_n([weight * row(pixels, j) for j, weight in enumerate(down)]) for pixels in flat]


def _sorted(values: Sequence[tf.Tensor]) -> list[tf.Tensor]:
  """Sorts tensors element by element, by Batcher's network (Knuth, volume 3, algorithm 5.2.2 M)."""
  values = list(values)
  top = 1 << max(0, (len(values) - 1).bit_length() - 1)
  p = top
  while p:
    q, r, d = top, 0, p
    while d:
      for i in range(len(values) - d):
        if i & p == r:
          values[i], values[i + d] = tf.minimum(values[i], values[i + d]), tf.maximum(values[i], values[i + d])
      d, q, r = q - p, q >> 1, p
    p >>= 1
  return values


def median(values: tf.Tensor, size: int = 5) -> tf.Tensor:
  """Median of size x size pixels around each of the last two axes, edges repeated; `size` is odd."""
  height, width = values.shape[-2:]
  padded = _repeat_edges(values, size // 2)
  rows = _sorted([_cut(padded, -2, i, i + height) for i in range(size)])
  rows = [_sorted([_cut(row, -1, j, j + width) for j in range(size)]) for row in rows]
  # Once columns and rows are sorted, (i + 1)(j + 1) - 1 values are known not to be larger than the one at (i, j), and as many not to be
  # smaller than its mirror image: only those that can be the middle one are left, as many below it gone as above.
  half = size * size // 2 + 1
  left = [rows[i][j] for i in range(size) for j in range(size) if max((i + 1) * (j + 1), (size - i) * (size - j)) <= half]
  return _sorted(left)[len(left) // 2]


def _level_sizes(height: int, width: int, settings: Tvl1Settings) -> list[tuple[int, int]]:
  """Returns height and width of each level of the pyramid, the finest first."""
  sizes = [(height, width)]
  while len(sizes) < settings.scales:
    height, width = (int(np.rint(side * settings.scale_step)) for side in sizes[-1])
    if min(height, width) < _LEAST_SIDE:
      break
    sizes.append((height, width))
  return sizes


def _refine(first: tf.Tensor, second: tf.Tensor, flow: tf.Tensor, settings: Tvl1Settings) -> tf.Tensor:
  """Takes the flow (2, N, H, W) of one level from its start to its end."""
  pairs, height, width = first.shape
  slopes = [central_difference(second, axis) for axis in (-1, -2)]
  limit = settings.epsilon**2 * height * width

  def by_warp(number: tf.Tensor, flow: tf.Tensor, dual: list[tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor, list[tf.Tensor]]:
    warped, *slope = warp([second, *slopes], flow)
    slope = tf.stack(slope)
    steepness = slope[0] ** 2 + slope[1] ** 2
    inverse = tf.where(steepness > _EPSILON, 1 / steepness, 0.0)
    constant = warped - slope[0] * flow[0] - slope[1] * flow[1] - first

    def by_step(number: tf.Tensor, active: tf.Tensor, flow: tf.Tensor, dual: list[tf.Tensor]) -> _Loop:
      # A pair that has converged goes on in steps of no length: it stays as it is, whatever the others of its batch need.
      length = tf.cast(active, tf.float32)[:, None, None]
      reach, theta, rate = (length * value for value in (settings.lambda_ * settings.theta, settings.theta, settings.tau / settings.theta))
      residual = constant + slope[0] * flow[0] + slope[1] * flow[1]
      auxiliary = flow + tf.clip_by_value(-residual * inverse, -reach, reach) * slope
      moved = auxiliary + theta * divergence(*dual)
      change = moved - flow
      error = tf.reduce_sum(change[0] ** 2 + change[1] ** 2, axis=[1, 2])
      gradient = [forward_difference(moved, axis) for axis in (-1, -2)]
      shrink = 1 / (1 + rate * tf.sqrt(gradient[0] ** 2 + gradient[1] ** 2))
      dual = [(p + rate * g) * shrink for p, g in zip(dual, gradient, strict=True)]
      return number + 1, active & (error > limit), moved, dual

    def by_round(number: tf.Tensor, active: tf.Tensor, flow: tf.Tensor, dual: list[tf.Tensor]) -> _Loop:
      if settings.median > 1:
        flow = tf.where(active[:, None, None], median(flow, settings.median), flow)
      _, active, flow, dual = _while(by_step, settings.inner, active, flow, dual)
      return number + 1, active, flow, dual

    _, _, flow, dual = _while(by_round, settings.outer, tf.ones([pairs], tf.bool), flow, dual)
    return number + 1, flow, dual

  dual = [tf.zeros_like(flow)] * 2
  return tf.while_loop(lambda number, *_: number < settings.warps, by_warp, [0, flow, dual])[1]


def _while(body: Callable[..., _Loop], count: int, active: tf.Tensor, flow: tf.Tensor, dual: list[tf.Tensor]) -> _Loop:
  """Repeats `body` at most `count` times, as long as a pair is active."""
  return tf.while_loop(lambda number, active, *_: (number < count) & tf.reduce_any(active), body, [0, active, flow, dual])


@functools.cache
def _compiled(settings: Tvl1Settings) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
  def solve(first: tf.Tensor, second: tf.Tensor) -> tf.Tensor:
    pairs, height, width = first.shape
    sizes = _level_sizes(height, width, settings)
    levels = [(first, second)]
    for size in sizes[1:]:
      levels.append(tuple(resize(image, size, 1 / settings.scale_step) for image in levels[-1]))
    flow = tf.zeros([2, pairs, *sizes[-1]])
    for size, (before, after) in zip(reversed(sizes), reversed(levels), strict=True):
      if flow.shape[2:] != size:
        flow = resize(flow, size) / settings.scale_step
      flow = _refine(before, after, flow, settings)
    return tf.transpose(flow, [1, 2, 3, 0])

  return tf.function(solve, jit_compile=True, autograph=False)


def batch_size(height: int, width: int, memory_bytes: int = MEMORY_BYTES) -> int:
  """Returns how many pairs one call takes: 1 on a processor; as many as the bound on memory allows, at least 1, on a GPU."""
  if not tf.config.list_logical_devices("GPU"):
    return _PAIRS_ON_CPU
  return max(1, memory_bytes // (height * width * _BYTES_PER_PIXEL))


def compute_flows(
  first: np.ndarray, second: np.ndarray, settings: Tvl1Settings | None = None, pairs_at_once: int | None = None
) -> np.ndarray:
  """Computes the flow of each pair from its first to its second frame, on a GPU where TensorFlow has one.

  The first call with frames of a new size compiles for some seconds.

  Args:
    first: uint8 or float32 (N, H, W), grey 0..255, at least 3 x 3.
    second: of the same shape.
    settings: OpenCV's defaults without them.
    pairs_at_once: pairs a call of the compiled function; `batch_size` without it. The result is the same.

  Returns:
    float32 (N, H, W, 2): u to the right and v downwards, in pixels.

  Raises:
    ValueError: if the frames have other shapes.
  """
  if first.shape != second.shape or first.ndim != 3 or min(first.shape[1:]) < _LEAST_FRAME:
    raise ValueError(
      f"expected two arrays of grey frames of one shape (N, H, W), H and W at least {_LEAST_FRAME}; "
      f"received {first.shape} and {second.shape}."
    )
  count, height, width = first.shape
  size = pairs_at_once or batch_size(height, width)
  solve = _compiled(settings or Tvl1Settings())
  flows = np.empty((count, height, width, 2), np.float32)
  for start in range(0, count, size):
    taken = min(size, count - start)
    # Every call has the same number of pairs, or it would be compiled again; empty ones converge at once.
    pair = [np.zeros((size, height, width), np.float32) for _ in range(2)]
    for padded, frames in zip(pair, (first, second), strict=True):
      padded[:taken] = frames[start : start + taken]
    flows[start : start + taken] = solve(*map(tf.constant, pair))[:taken].numpy()
  return flows
