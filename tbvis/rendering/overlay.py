"""Maps laid over frames: where a network looked, over the clip it saw."""

from __future__ import annotations

import functools

import numpy as np

from tbvis.errors import UsageError

# Of the heat: lightness, chroma and hue (OKLCh; Ottosson, "A perceptual color space for image processing", 2020) from none to most,
# violet over red to yellow. Lightness rises evenly, so that order is read without colour vision too.
_LIGHTNESS = (0.52, 0.96)
_CHROMA = 0.17
_HUE = (305.0, 455.0)
# What is left of a frame's colour and brightness, and how much heat hides of it at most. A frame's white is no lighter than the least
# heat, so that more heat is lighter over any frame.
_SATURATION = 0.25
_BRIGHTNESS = 0.4
_OPACITY = 0.85
# What is left of the brightness outside a spotlight.
_SHADE = 0.3


@functools.cache
def heat_colours(levels: int = 256) -> np.ndarray:
  """Returns the colours of the heat from none to most, uint8 (levels, 3), lightness rising evenly.

  >>> heat_colours()[[0, 128, 255]].tolist()
  [[128, 72, 182], [255, 121, 125], [255, 242, 155]]
  """
  t = np.linspace(0.0, 1.0, levels)
  lightness = _LIGHTNESS[0] + (_LIGHTNESS[1] - _LIGHTNESS[0]) * t
  hue = np.deg2rad(_HUE[0] + (_HUE[1] - _HUE[0]) * t)
  # Dark and light colours of full chroma lie outside what screens show.
  chroma = _CHROMA * np.minimum(1.0, (1.12 - lightness) / 0.25)
  lab = np.stack([lightness, chroma * np.cos(hue), chroma * np.sin(hue)], axis=-1)
  to_lms = np.array([[1, 0.3963377774, 0.2158037573], [1, -0.1055613458, -0.0638541728], [1, -0.0894841775, -1.2914855480]])
  to_rgb = np.array([[4.07674166, -3.30771159, 0.23096993], [-1.26843800, 2.60975740, -0.34131940], [-0.00419609, -0.70341861, 1.70761470]])
  linear = np.clip((lab @ to_lms.T) ** 3 @ to_rgb.T, 0, 1)
  encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
  return np.round(255 * encoded).astype(np.uint8)


def overlay(frames: np.ndarray, maps: np.ndarray, peak: float | None = None, spotlight: bool = False) -> np.ndarray:
  """Lays maps over frames, under one scale for all frames, so that a clip does not flicker.

  Args:
    frames: uint8 RGB (T, H, W, 3).
    maps: float (T, H, W), non-negative.
    peak: the value drawn as most; by default the maps' 99.5th percentile, so that a few pixels do not darken all others.
    spotlight: instead of heat over a paled picture, leaves the picture's own colours bright where the maps are high and darkens the
      rest. For coloured flow, whose colours tell its direction.

  Returns:
    uint8 RGB (T, H, W, 3); `rendering.animation` encodes it.

  Raises:
    UsageError: for other shapes, or values that are negative or not finite.

  >>> overlay(np.full((2, 4, 5, 3), 128, np.uint8), np.zeros((2, 4, 5))).shape
  (2, 4, 5, 3)
  """
  frames, maps = np.asarray(frames), np.asarray(maps, np.float32)
  if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3 or maps.shape != frames.shape[:3]:
    raise UsageError(
      f"Expected uint8 frames (T, H, W, 3) and maps (T, H, W) of one size, received {frames.dtype} {frames.shape} and {maps.shape}."
    )
  if not np.isfinite(maps).all() or maps.min(initial=0) < 0:
    raise UsageError("Expected maps of finite numbers, none below 0.")
  peak = float(np.percentile(maps, 99.5)) or float(maps.max(initial=0)) if peak is None else peak
  strength = np.clip(maps / peak if peak > 0 else maps, 0, 1)[..., None]
  if spotlight:
    return np.round(frames * (_SHADE + (1 - _SHADE) * strength)).astype(np.uint8)
  grey = frames @ np.array([0.299, 0.587, 0.114], np.float32)
  pale = _BRIGHTNESS * (grey[..., None] + _SATURATION * (frames - grey[..., None]))
  heat = heat_colours()[np.round(255 * strength[..., 0]).astype(int)]
  opacity = _OPACITY * strength
  return np.round(np.clip((1 - opacity) * pale + opacity * heat, 0, 255)).astype(np.uint8)
