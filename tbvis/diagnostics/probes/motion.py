"""Probes of a motion: speed, time, direction, deformation, place, and motion in a given region."""

from __future__ import annotations

import dataclasses

import numpy as np

from tbvis.diagnostics.probes.appearance import spread_of
from tbvis.diagnostics.probes.base import Probe, check_mask, share, steepness
from tbvis.diagnostics.probes.media import FRAMES_PER_SECOND, Media


class Speed(Probe):
  """Speed of what moves."""

  name, stream, unit = "speed", "motion", "pixels a frame"
  words = "what moves has a speed of"

  def measure(self, media: Media) -> float:
    """Returns the mean speed, averaged by speed itself: still surroundings do not count."""
    return share(media.motion_energy, media.speed * media.weight("motion"))


class MotionAmount(Probe):
  """How much moves: speed over all places, still ones included."""

  name, stream, unit = "amount of motion", "motion", "pixels a frame, all places"
  words = "the amount of motion is"

  def measure(self, media: Media) -> float:
    """Returns the mean speed."""
    return float(np.mean(np.sum(media.speed * media.weight("motion"), axis=(1, 2))))


class TemporalFrequency(Probe):
  """How fast motion changes: 0 for a steady one; a stroke to and fro has the rate of its strokes."""

  name, stream, unit = "temporal frequency", "motion", "Hz"
  words = "motion changes at"

  def measure(self, media: Media) -> float:
    """Returns the frequency at which a sinusoid would change as much from frame to frame: asin(sqrt(D / 4 E)) / pi a frame."""
    if len(media.flow) < 2:
      return float("nan")
    changes = np.sum(np.diff(media.flow, axis=0) ** 2, axis=-1) * media.weight("motion")
    energy = media.motion_energy
    relative = share(changes, (energy[1:] + energy[:-1]) / 2)
    return np.arcsin(np.sqrt(min(relative / 4, 1.0))) / np.pi * FRAMES_PER_SECOND


def _axis_moments(media: Media) -> tuple[float, float, float]:
  u, v = media.flow[..., 0], -media.flow[..., 1]
  weight = media.weight("motion")
  lying, leaning, whole = (float(np.sum(weight * part, dtype=np.float64)) for part in (u**2 - v**2, 2 * u * v, u**2 + v**2))
  return lying, leaning, whole


class MotionSteepness(Probe):
  """The line along which things move, to or fro alike: from level (0) to upright (90)."""

  name, stream, unit = "steepness of motion", "motion", "degrees"
  words = "things move along a line that rises from level by"

  def measure(self, media: Media) -> float:
    """Returns degrees from the mean of cos(2 angle), averaged by squared speed."""
    cosine, _, energy = _axis_moments(media)
    return steepness(cosine / energy) if energy > 0 else float("nan")


class MotionAxiality(Probe):
  """How far motion keeps to one line: 0 for all directions alike (circling, scatter), 1 for one line."""

  name, stream, unit = "straightness of motion", "motion", "0 to 1"
  words = "straightness of motion is"

  def measure(self, media: Media) -> float:
    """Returns the length of the mean doubled angle, averaged by squared speed."""
    cosine, sine, energy = _axis_moments(media)
    return float(np.hypot(cosine, sine)) / energy if energy > 0 else float("nan")


class MovingShapeSteepness(Probe):
  """Lean of the lines along which moving places lie (a bow, an arm, a row of points): level (0) to upright (90)."""

  name, stream, unit = "steepness of moving shapes", "motion", "degrees"
  words = "moving places lie along lines that rise from level by"

  def measure(self, media: Media) -> float:
    """Returns degrees from the mean of cos(2 angle) of the autocorrelation of speed, see `Media.motion_shape`."""
    return steepness(media.motion_shape[0])


class MovingShapeCoherence(Probe):
  """How far the lines along which moving places lie agree on one direction: 0 none, 1 all parallel."""

  name, stream, unit = "agreement of moving shapes", "motion", "0 to 1"
  words = "agreement of the lines along which moving places lie is"

  def measure(self, media: Media) -> float:
    """Returns the length of the mean doubled angle of the autocorrelation of speed, see `Media.motion_shape`."""
    return float(np.hypot(*media.motion_shape))


class MotionRise(Probe):
  """Whether things rise or fall: the vertical part of the mean direction. To the side, training mirrors."""

  name, stream, unit = "rise", "motion", "from -1 falling to 1 rising"
  words = "rise is"

  def measure(self, media: Media) -> float:
    """Returns -v over the speed, averaged by squared speed."""
    return share(-media.flow[..., 1] * media.speed * media.weight("motion"), media.motion_energy)


class OneWay(Probe):
  """How far everything goes one way, as under a panning camera: 0 for to and fro or scatter, 1 for one direction."""

  name, stream, unit = "one-way motion", "motion", "0 to 1"
  words = "one-way motion is"

  def measure(self, media: Media) -> float:
    """Returns |sum of f |f|| / sum of |f|^2."""
    weighted = media.motion * (media.speed * media.weight("motion"))[..., None]
    total = np.sum(media.motion_energy, dtype=np.float64)
    return float(np.linalg.norm(np.sum(weighted, axis=(0, 1, 2), dtype=np.float64))) / total if total > 0 else float("nan")


def _derivatives(media: Media) -> tuple[np.ndarray, np.ndarray]:
  """Returns divergence and rotation (T, H, W), a second; rotation is positive anticlockwise."""
  per_second = FRAMES_PER_SECOND / media.pixel
  u, v = media.flow[..., 0], -media.flow[..., 1]
  u_down, u_right = np.gradient(u, axis=(1, 2))
  v_down, v_right = np.gradient(v, axis=(1, 2))
  # y is up: a derivative upwards is minus that downwards.
  return (u_right - v_down) * per_second, (v_right + u_down) * per_second


class Divergence(Probe):
  """How strongly flow spreads or gathers where things move, without sign."""

  name, stream, unit = "divergence", "motion", "1/s"
  words = "flow spreads or gathers by"

  def measure(self, media: Media) -> float:
    """Returns the mean absolute divergence, averaged by speed."""
    return share(np.abs(_derivatives(media)[0]) * media.speed * media.weight("motion"), media.speed * media.weight("motion"))


class Rotation(Probe):
  """How strongly flow turns where things move, without sign: training mirrors."""

  name, stream, unit = "rotation", "motion", "1/s"
  words = "flow turns by"

  def measure(self, media: Media) -> float:
    """Returns the mean absolute rotation (curl), averaged by speed."""
    return share(np.abs(_derivatives(media)[1]) * media.speed * media.weight("motion"), media.speed * media.weight("motion"))


class MotionHeight(Probe):
  """How high motion lies."""

  name, stream, unit = "height of motion", "motion", "of the picture, from 0 bottom to 1 top"
  words = "motion lies at a height of"

  def measure(self, media: Media) -> float:
    """Returns the centroid of squared speed."""
    height = media.flow.shape[1]
    rows = 1 - (np.arange(height) + 0.5) / height
    return share(media.motion_energy * rows[:, None], media.motion_energy)


class MotionSide(Probe):
  """How far to the side of the middle motion lies; left or right do not count, since training mirrors."""

  name, stream, unit = "offset of motion", "motion", "of the picture's width"
  words = "motion lies off the middle by"

  def measure(self, media: Media) -> float:
    """Returns the distance of the centroid of squared speed from the vertical midline."""
    width = media.flow.shape[2]
    columns = (np.arange(width) + 0.5) / width - 0.5
    return abs(share(media.motion_energy * columns, media.motion_energy))


class MotionSpread(Probe):
  """How wide motion spreads around its centre."""

  name, stream, unit = "spread of motion", "motion", "of the picture's height"
  words = "motion spreads over"

  def measure(self, media: Media) -> float:
    """Returns the root mean square distance from the centroid of squared speed."""
    return spread_of(media.motion_energy.sum(axis=0))


@dataclasses.dataclass(frozen=True, eq=False)
class RegionMotion(Probe):
  """Share of all motion that lies in a region, such as where one class' stimulus moves and the other's does not.

  Attributes:
    mask: bool (H, W), the region; it is scaled to the media.
    where: what the region is, in words.
  """

  mask: np.ndarray
  where: str

  stream, unit = "motion", "of all motion"
  words = "of all motion lies there"

  def __post_init__(self) -> None:
    object.__setattr__(self, "mask", check_mask(self.mask))
    # Each region is a probe of its own.
    object.__setattr__(self, "name", f"motion {self.where}")
    object.__setattr__(self, "words", f"the share of motion {self.where} is")

  def measure(self, media: Media) -> float:
    """Returns the part of speed inside the region."""
    height, width = media.flow.shape[1:3]
    rows = np.arange(height) * len(self.mask) // height
    columns = np.arange(width) * self.mask.shape[1] // width
    amount = media.speed * media.weight("motion")
    return share(amount * self.mask[np.ix_(rows, columns)], amount)
