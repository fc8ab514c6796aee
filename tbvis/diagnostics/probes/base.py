"""What a probe is, and the arithmetic that probes share."""

from __future__ import annotations

import abc
import dataclasses
from typing import ClassVar

import numpy as np

from tbvis.diagnostics.probes.media import Media
from tbvis.errors import UsageError


@dataclasses.dataclass(frozen=True)
class Probe(abc.ABC):
  """A named measurement of an appearance or of a motion, that a mirror leaves as it is: training mirrors clips.

  Attributes:
    name: short, in code and on pages.
    stream: "appearance" or "motion".
    unit: of the value.
    words: what is measured, before its value in a sentence.
  """

  name: ClassVar[str]
  stream: ClassVar[str]
  unit: ClassVar[str]
  words: ClassVar[str]

  @abc.abstractmethod
  def measure(self, media: Media) -> float:
    """Returns the value, NaN where it has none (no structure, no motion)."""

  def __call__(self, media: Media) -> float:
    """Returns `measure`, NaN where the stream is missing."""
    return float("nan") if getattr(media, self.stream) is None else float(self.measure(media))


def share(part: np.ndarray, whole: np.ndarray) -> float:
  """Returns sum(part) / sum(whole), NaN where the whole is nothing."""
  total = float(np.sum(whole, dtype=np.float64))
  return float(np.sum(part, dtype=np.float64)) / total if total > 0 else float("nan")


def steepness(cosine: float) -> float:
  """Returns the angle from level in degrees, 0 to 90, of the mean cos(2 angle) of lines; 45 where no direction prevails.

  >>> steepness(1.0), steepness(-1.0), round(steepness(0.5), 3)
  (0.0, 90.0, 30.0)
  """
  return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))) / 2)


def check_mask(mask: np.ndarray) -> np.ndarray:
  """Returns a region as bool (H, W).

  Raises:
    UsageError: if it is no region, or empty.
  """
  mask = np.asarray(mask)
  if mask.ndim != 2 or not mask.astype(bool).any():
    raise UsageError(f"Expected a region (H, W) that is not empty, received shape {mask.shape}.")
  return mask.astype(bool)
