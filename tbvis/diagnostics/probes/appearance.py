"""Probes of an appearance: lines, frequency, colour, place."""

from __future__ import annotations

import cv2
import numpy as np

from tbvis.diagnostics.probes.base import Probe, share, steepness
from tbvis.diagnostics.probes.media import Media


def _line_moments(media: Media) -> tuple[float, float, float]:
  """Returns the structure tensor's doubled-angle moments of lines (cosine, sine) and its energy.

  Lines run across the gradient; y is turned up, so that 45 degrees rise to the right.
  """
  right, down = media.edges
  weight = media.weight("appearance")
  along = np.sum(weight * (right**2 - down**2), dtype=np.float64)
  across = np.sum(weight * 2 * right * -down, dtype=np.float64)
  # A quarter turn from the gradient to its line is half a turn of the doubled angle.
  return -along, -across, np.sum(media.contrast_energy, dtype=np.float64)


class LineSteepness(Probe):
  """Lean of lines and edges, from level (0) to upright (90); structure tensor (Bigun and Granlund 1987).

  Lines that lean to the left and to the right alike count alike.
  """

  name, stream, unit = "steepness of lines", "appearance", "degrees"
  words = "lines rise from level by"

  def measure(self, media: Media) -> float:
    """Returns degrees from the mean of cos(2 angle), averaged by squared contrast."""
    cosine, _, energy = _line_moments(media)
    return steepness(cosine / energy) if energy > 0 else float("nan")


class LineCoherence(Probe):
  """How far lines agree on one direction: 0 none, 1 all parallel (structure tensor)."""

  name, stream, unit = "agreement of lines", "appearance", "0 to 1"
  words = "agreement of lines is"

  def measure(self, media: Media) -> float:
    """Returns the length of the mean doubled angle."""
    cosine, sine, energy = _line_moments(media)
    return float(np.hypot(cosine, sine)) / energy if energy > 0 else float("nan")


class SpatialFrequency(Probe):
  """Fineness of the pattern: root mean square frequency, from derivatives (Parseval)."""

  name, stream, unit = "spatial frequency", "appearance", "cycles a picture height"
  words = "its pattern has"

  def measure(self, media: Media) -> float:
    """Returns sqrt(sum |grad|^2 / sum (Y - mean)^2) / 2 pi, times the height in pixels."""
    weight = media.weight("appearance")
    mean = np.sum(weight * media.luma)
    squared = share(media.contrast_energy, weight * (media.luma - mean) ** 2)
    return np.sqrt(squared) / (2 * np.pi) * media.luma.shape[0]


class _Lab(Probe):
  """Mean of a CIE L*a*b* coordinate where there is structure."""

  channel = 0
  stream = "appearance"

  def measure(self, media: Media) -> float:
    """Returns the coordinate averaged by squared contrast and weight."""
    lab = cv2.cvtColor(np.ascontiguousarray(media.appearance, np.float32) / 255, cv2.COLOR_RGB2Lab)
    return share(lab[..., self.channel] * media.contrast_energy, media.contrast_energy)


class Lightness(_Lab):
  """CIE L* where there is structure."""

  name, unit, words = "lightness", "L*, 0 to 100", "lightness is"


class Redness(_Lab):
  """CIE a* where there is structure."""

  name, unit, words, channel = "redness", "a*, green below 0, red above", "redness is", 1


class Yellowness(_Lab):
  """CIE b* where there is structure."""

  name, unit, words, channel = "yellowness", "b*, blue below 0, yellow above", "yellowness is", 2


class AppearanceHeight(Probe):
  """How high the structure lies."""

  name, stream, unit = "height of structure", "appearance", "of the picture, from 0 bottom to 1 top"
  words = "its structure lies at a height of"

  def measure(self, media: Media) -> float:
    """Returns the centroid of squared contrast."""
    rows = 1 - (np.arange(len(media.luma)) + 0.5) / len(media.luma)
    return share(media.contrast_energy * rows[:, None], media.contrast_energy)


class AppearanceSide(Probe):
  """How far to the side of the middle the structure lies; left or right do not count, since training mirrors."""

  name, stream, unit = "offset of structure", "appearance", "of the picture's width"
  words = "its structure lies off the middle by"

  def measure(self, media: Media) -> float:
    """Returns the distance of the centroid of squared contrast from the vertical midline."""
    columns = (np.arange(media.luma.shape[1]) + 0.5) / media.luma.shape[1] - 0.5
    return abs(share(media.contrast_energy * columns, media.contrast_energy))


class AppearanceSpread(Probe):
  """How wide the structure spreads around its centre."""

  name, stream, unit = "spread of structure", "appearance", "of the picture's height"
  words = "its structure spreads over"

  def measure(self, media: Media) -> float:
    """Returns the root mean square distance from the centroid of squared contrast."""
    return spread_of(media.contrast_energy)


def spread_of(energy: np.ndarray) -> float:
  """Returns the root mean square distance of energy (H, W) from its centroid, in heights; NaN where there is none."""
  height, width = energy.shape
  y, x = np.mgrid[:height, :width] / height
  cy, cx = share(y * energy, energy), share(x * energy, energy)
  return float(np.sqrt(share(((y - cy) ** 2 + (x - cx) ** 2) * energy, energy)))
