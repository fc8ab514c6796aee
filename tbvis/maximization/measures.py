"""What a stimulus is like, in numbers: how fast it changes, how strong it is."""

from __future__ import annotations

from collections.abc import Iterable
import dataclasses

import numpy as np

from tbvis.maximization.transforms import NOISE_LEVEL
from tbvis.records import StimulusRecord

# What a unit has to show for chi to count as working on it: the paper's own pictures have quotients of 6 to 8.
LEAST_QUOTIENT = 3.0
LEAST_ACTIVATION = 0.5


def temporal_ratio(motion: np.ndarray, chunks: int = 1) -> float:
  """Returns the mean |difference between frames| of (u, v) over the mean |difference between neighbouring pixels| (METHOD 2.8).

  It proves nothing by itself (noise has a high one): look at contrast and at activation over a_hat beside it.

  Args:
    motion: (H, W, T, 2).
    chunks: of a clip in which the frames divide; what changes between two of them does not count.

  Returns:
    The ratio; 0 for one frame a chunk or a constant input.

  >>> still = np.repeat(np.random.default_rng(0).normal(size=(8, 8, 1, 2)), 10, axis=2)
  >>> temporal_ratio(still)
  0.0
  """
  motion = np.asarray(motion, np.float64)
  if motion.shape[2] <= chunks:
    return 0.0
  space = np.mean([np.abs(np.diff(motion, axis=axis)).mean() for axis in (0, 1)])
  apart = motion.reshape(*motion.shape[:2], chunks, motion.shape[2] // chunks, motion.shape[3])
  return float(np.abs(np.diff(apart, axis=3)).mean() / space) if space > 0 else 0.0


def contrast(x: np.ndarray) -> float:
  """Returns the standard deviation of an input over that of the start noise of METHOD 2.3 (1: as strong as the start).

  >>> contrast(np.zeros((4, 4, 3)))
  0.0
  """
  return float(np.std(np.asarray(x, np.float64)) / NOISE_LEVEL)


def change_agreement(first: np.ndarray, second: np.ndarray) -> float:
  """Returns the correlation of two stimuli's changes from frame to frame: found from two start noises, it tells structure from noise.

  What the network asks for comes back from another start; what is left of the start does not.

  Args:
    first: (H, W, T, 2).
    second: the same unit under the same setting, from another seed.

  Returns:
    -1 to 1; 0 where one of them does not change.

  >>> moving = np.random.default_rng(0).normal(size=(8, 8, 10, 2))
  >>> round(change_agreement(moving, 3 * moving), 3)
  1.0
  """
  one, other = (np.diff(np.asarray(motion, np.float64), axis=2).ravel() for motion in (first, second))
  if min(np.std(one), np.std(other)) == 0:
    return 0.0
  return float(np.corrcoef(one, other)[0, 1])


@dataclasses.dataclass(frozen=True)
class Speeds:
  """How fast stimuli of the units of one layer change at the smallest and at the largest chi, smallest first.

  Attributes:
    ratios: (units, 2), `temporal_ratio`.
    activations: (units, 2), over a_hat.
    contrasts: (units, 2), of the motion.
  """

  ratios: np.ndarray
  activations: np.ndarray
  contrasts: np.ndarray

  @property
  def quotients(self) -> np.ndarray:
    """(units,): how many times as fast a stimulus changes at the smallest chi as at the largest."""
    return self.ratios[:, 0] / np.maximum(self.ratios[:, 1], 1e-12)

  @property
  def passed(self) -> int:
    """Number of units whose quotient and both activations are large enough for it to mean something."""
    return int(np.sum((self.quotients >= LEAST_QUOTIENT) & (self.activations.min(axis=1) >= LEAST_ACTIVATION)))

  def __str__(self) -> str:
    middle = [np.median(values, axis=0) for values in (self.ratios, self.activations, self.contrasts)]
    fast, slow = zip(*middle, strict=True)
    return (
      f"{len(self.ratios)} units: change {fast[0]:.2f} and {slow[0]:.2f}, quotient {np.median(self.quotients):.1f}, "
      f"activation / a_hat {fast[1]:.2f} and {slow[1]:.2f}, contrast {fast[2]:.3f} and {slow[2]:.3f} (medians); "
      f"{self.passed} of {len(self.ratios)} with a quotient of {LEAST_QUOTIENT:g} or more at {LEAST_ACTIVATION:g} a_hat or more"
    )


@dataclasses.dataclass(frozen=True)
class Speed:
  """How fast the motion of one stimulus changes: the numbers alone, so that the stimulus itself need not be kept.

  Attributes:
    layer: of the unit.
    unit: name.
    chi: temporal weight that it was found under.
    ratio: `temporal_ratio`.
    activation: over a_hat.
    contrast: of the motion.
  """

  layer: str
  unit: str
  chi: float
  ratio: float
  activation: float
  contrast: float


def speed(record: StimulusRecord) -> Speed | None:
  """Measures a stimulus for `speeds`; None for one that is isotropic, failed or without motion."""
  if record.error is not None or record.motion is None or record.isotropic:
    return None
  ratio = temporal_ratio(record.motion, record.chunks)
  return Speed(record.layer, record.unit, record.chi, ratio, record.activation / (record.a_hat or 1.0), contrast(record.motion))


def speeds(measured: Iterable[Speed | None]) -> dict[str, Speeds]:
  """Compares each unit's motion at its smallest chi with that at its largest, by layer; units with one chi only are left out."""
  by_unit: dict[tuple[str, str], dict[float, Speed]] = {}
  for found in measured:
    if found:
      by_unit.setdefault((found.layer, found.unit), {})[found.chi] = found
  rows: dict[str, list[np.ndarray]] = {}
  for (layer, _), by_chi in by_unit.items():
    if len(by_chi) > 1:
      ends = by_chi[min(by_chi)], by_chi[max(by_chi)]
      rows.setdefault(layer, []).append(np.array([(end.ratio, end.activation, end.contrast) for end in ends]).T)
  return {layer: Speeds(*np.stack(values, axis=1)) for layer, values in rows.items()}
