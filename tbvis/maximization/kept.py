"""What a search had on its way: small copies of its inputs at a few steps, for people to see how a stimulus came about."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tbvis.rendering.animation import LARGEST_SIDE as LARGEST_PICTURE

# Largest side of a copy in pixels. 32 rows of two inputs of 223 px take 36 MB in 6 copies, where the search's own state takes 0.44 GB.
LARGEST_SIDE = 64


def kept_after(steps: int, count: int) -> tuple[int, ...]:
  """Returns after how many steps a search is copied: `count` times from 0, its start, to shortly before its end.

  They lie as squares do, since more happens early (evenly in the logarithm, half of them would show noise). The end is the stimulus itself,
  and not among them.

  >>> kept_after(120, 6), kept_after(3, 8), kept_after(120, 0)
  ((0, 3, 13, 30, 53, 83), (0, 1, 2), ())
  """
  found = np.rint(steps * np.linspace(0.0, 1.0, count + 1)[:-1] ** 2)
  return tuple(dict.fromkeys(int(step) for step in found if step < steps))


def largest_side(frames: int) -> int:
  """Returns the largest side of copies of so many frames, which lie one below the other in one picture."""
  return max(1, min(LARGEST_SIDE, LARGEST_PICTURE // frames))


def _boxes(size: int, small: int) -> np.ndarray:
  """Returns float32 (small, size): what each of `size` pixels gives to each of `small` that divide the same length."""
  edges = np.arange(small + 1) * (size / small)
  pixels = np.arange(size)
  overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
  return (np.maximum(overlap, 0) * (small / size)).astype(np.float32)


def small_copy(x: tf.Tensor, largest: int = LARGEST_SIDE) -> np.ndarray:
  """Returns float32 inputs (rows, H, W, frames, components) averaged over boxes: float16 (rows, h, w, frames, components).

  Args:
    x: the inputs, wherever they lie: only the small copy leaves the device.
    largest: side that neither h nor w exceeds; inputs that are as small already stay as they are.
  """
  height, width = (int(side) for side in x.shape[1:3])
  scale = min(1.0, largest / max(height, width))
  for size, equation in ((height, "sh,nhwtc->nswtc"), (width, "sw,nhwtc->nhstc")):
    small = max(1, round(size * scale))
    if small < size:
      x = tf.einsum(equation, tf.constant(_boxes(size, small)), x)
  return x.numpy().astype(np.float16)
