"""Appearance stimuli as pictures: min-max over the image, as on the authors' pictures."""

from __future__ import annotations

import numpy as np

from tbvis.errors import UsageError


def appearance_limits(x: np.ndarray) -> tuple[float, float]:
  """Returns the values of `x` drawn as 0 and as 255: its smallest and largest ((-1, 1) around a constant).

  >>> appearance_limits(np.array([-3.0, 5.0]))
  (-3.0, 5.0)
  """
  low, high = float(np.min(x)), float(np.max(x))
  return (low, high) if low < high else (low - 1.0, low + 1.0)


def appearance_to_rgb(x: np.ndarray, limits: tuple[float, float] | None = None) -> np.ndarray:
  """Draws an appearance stimulus by one affine map of all its channels (black: smallest, white: largest).

  Args:
    x: float (H, W, 3), RGB in network units (the dataset mean subtracted).
    limits: (low, high) drawn as 0 and 255; `appearance_limits` by default.

  Returns:
    uint8 (H, W, 3).

  Raises:
    UsageError: if the shape is another or a value is not finite.

  >>> appearance_to_rgb(np.array([[[0.0, 0.0, 0.0], [10.0, 5.0, 0.0]]]))
  array([[[  0,   0,   0], [255, 128,   0]]], dtype=uint8)
  """
  x = np.asarray(x, np.float32)
  if x.ndim != 3 or x.shape[-1] != 3:
    raise UsageError(f"Expected appearance of shape (H, W, 3), received {x.shape}.")
  if not np.isfinite(x).all():
    raise UsageError("Expected a finite appearance to draw, found NaN or infinity.")
  low, high = appearance_limits(x) if limits is None else limits
  return np.floor(np.clip((x - low) * (255.0 / (high - low)), 0, 255) + 0.5).astype(np.uint8)


def film_frames(x: np.ndarray) -> np.ndarray:
  """Returns the frames of an appearance float (H, W, 3), which has one, or of a film (H, W, F, 3): (F, H, W, 3).

  >>> film_frames(np.zeros((4, 6, 3))).shape, film_frames(np.zeros((4, 6, 5, 3))).shape
  ((1, 4, 6, 3), (5, 4, 6, 3))
  """
  x = np.asarray(x)
  return x[None] if x.ndim == 3 else np.moveaxis(x, 2, 0)


def film_to_rgb(x: np.ndarray) -> np.ndarray:
  """Draws an appearance (H, W, 3) or a film (H, W, F, 3) by one map for all its frames: uint8 (F, H, W, 3).

  Raises:
    UsageError: as `appearance_to_rgb`.
  """
  return np.stack([appearance_to_rgb(frame, appearance_limits(x)) for frame in film_frames(x)])
