"""Flow values as a lossless picture: the tab reads u and v from it and colours them itself."""

from __future__ import annotations

import numpy as np

from tbvis.rendering.animation import decode, encode_webp


def encode_planes(flow: np.ndarray, levels: int = 127, by_row: bool = False) -> tuple[bytes, float]:
  """Stores flow frames as a lossless WebP of R = q(u), G = q(v), B = 0, frames one below the other.

  q(x) = 128 + round(levels x / scale) and scale = max |u|, |v| of the clip, so that zero is exactly 128.

  Args:
    flow: float (T, H, W, 2), any unit.
    levels: steps from zero to the largest value, at most 127; fewer compress better.
    by_row: whether the first rows of all frames come first, then all second rows, and so on: the compressor then predicts a
      pixel from the frame before, which takes a tenth to a half off.

  Returns:
    (bytes, step): the picture (T H, W), and the value of one step: x = (q - 128) step.

  >>> data, step = encode_planes(np.array([[[[1.0, -2.0]]]]))
  >>> [f"{x:.2f}" for x in decode_planes(data, step, frames=1).ravel()]
  ['1.01', '-2.00']
  """
  flow = np.asarray(flow, np.float32)
  step = float(np.abs(flow).max(initial=0.0)) / levels or 1.0
  frames, height, width, _ = flow.shape
  picture = np.zeros((frames * height, width, 3), np.uint8)
  values = (128 + np.rint(flow / step)).astype(np.uint8)
  picture[..., :2] = (values.swapaxes(0, 1) if by_row else values).reshape(frames * height, width, 2)
  return encode_webp(picture, lossless=True), step


def decode_planes(data: bytes, step: float, frames: int, by_row: bool = False) -> np.ndarray:
  """Reads `encode_planes` back: float32 (T, H, W, 2)."""
  picture = decode(data)[0]
  planes = (picture[..., :2].astype(np.float32) - 128.0) * step
  if by_row:
    return planes.reshape(-1, frames, picture.shape[1], 2).swapaxes(0, 1)
  return planes.reshape(frames, -1, picture.shape[1], 2)
