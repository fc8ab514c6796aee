"""Flow values as a lossless picture: the tab reads u and v from it and colours them itself."""

from __future__ import annotations

import numpy as np

from tbvis.rendering.animation import LARGEST_SIDE, decode, encode_webp


def encode_planes(flow: np.ndarray, levels: int = 127, by_row: bool = False) -> tuple[bytes, float]:
  """Stores flow frames as a lossless WebP of R = q(u), G = q(v), B = 0, frames one below the other.

  Where these are more than a picture can be high, they go on in further columns, as many frames in each (but the last).

  q(x) = 128 + round(levels x / scale) and scale = max |u|, |v| of the clip, so that zero is exactly 128.

  Args:
    flow: float (T, H, W, 2), any unit.
    levels: steps from zero to the largest value, at most 127; fewer compress better.
    by_row: whether the first rows of all frames come first, then all second rows, and so on: the compressor then predicts a
      pixel from the frame before, which takes a tenth to a half off.

  Returns:
    (bytes, step): the picture (T H, W), or of n columns (ceil(T / n) H, n W), and the value of one step: x = (q - 128) step.

  >>> data, step = encode_planes(np.array([[[[1.0, -2.0]]]]))
  >>> [f"{x:.2f}" for x in decode_planes(data, step, frames=1).ravel()]
  ['1.01', '-2.00']
  """
  flow = np.asarray(flow, np.float32)
  step = float(np.abs(flow).max(initial=0.0)) / levels or 1.0
  frames, height, width, _ = flow.shape
  columns = -(-frames * height // LARGEST_SIDE)
  each = -(-frames // columns)
  values = np.full((each * columns, height, width, 3), 128, np.uint8)
  values[:frames, ..., :2] = 128 + np.rint(flow / step)
  values[..., 2] = 0
  if by_row:
    return encode_webp(values[:frames].swapaxes(0, 1).reshape(frames * height, width, 3), lossless=True), step
  picture = values.reshape(columns, each * height, width, 3).swapaxes(0, 1).reshape(each * height, columns * width, 3)
  return encode_webp(picture, lossless=True), step


def decode_planes(data: bytes, step: float, frames: int, by_row: bool = False, width: int | None = None) -> np.ndarray:
  """Reads `encode_planes` back: float32 (T, H, W, 2); `width` is W, by default that of a picture of one column."""
  picture = decode(data)[0]
  planes = (picture[..., :2].astype(np.float32) - 128.0) * step
  if by_row:
    return planes.reshape(-1, frames, picture.shape[1], 2).swapaxes(0, 1)
  width = width or picture.shape[1]
  columns = picture.shape[1] // width
  each = -(-frames // columns)
  return planes.reshape(each, -1, columns, width, 2).transpose(2, 0, 1, 3, 4).reshape(columns * each, -1, width, 2)[:frames]
