"""What a probe measures: one appearance and one motion, of a stimulus or of a clip, in physical units."""

from __future__ import annotations

from collections.abc import Sequence
import dataclasses
import functools

import cv2
import numpy as np

from tbvis.errors import UsageError, present
from tbvis.rendering.flow_color import PIXELS_PER_UNIT, motion_frames

FRAMES_PER_SECOND = 25.0
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
# Derivatives are taken after this blur, in pixels: JPEG's and a search's single pixels are no structure.
_BLUR = 1.0


@dataclasses.dataclass(frozen=True, eq=False)
class Media:
  """One appearance and one motion with what is needed to speak of them in degrees, pixels, seconds.

  Attributes:
    appearance: float32 (H, W, 3), RGB 0 to 255; None where there is none.
    motion: float32 (T, H, W, 2), (u, v) in pixels of the 256-scaled frame a frame, v down; None where there is none.
    weights: by stream, float32 (H, W) of at least 0: how much each place counts; a stream without counts everywhere alike.
    pixel: side of one pixel, in pixels of the 256-scaled frame.
  """

  appearance: np.ndarray | None
  motion: np.ndarray | None
  weights: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
  pixel: float = 1.0

  def __post_init__(self) -> None:
    for stream, axes in (("appearance", 3), ("motion", 4)):
      values = getattr(self, stream)
      if values is not None and (values.ndim != axes or not np.isfinite(values).all()):
        raise UsageError(f"Expected a finite {stream} of {axes} axes, received shape {values.shape}.")
      weight = self.weights.get(stream)
      if weight is not None and (values is None or weight.shape != values.shape[-3:-1] or not (weight >= 0).all()):
        raise UsageError(f"Expected weights of {stream} of at least 0 and of its height and width, received shape {weight.shape}.")

  def weight(self, stream: str) -> np.ndarray:
    """Returns float32 (H, W) of sum 1: how much each place of a stream counts."""
    shape = getattr(self, stream).shape[-3:-1]
    weight = self.weights.get(stream)
    if weight is None or not weight.sum() > 0:
      weight = np.ones(shape, np.float32)
    return (weight / weight.sum()).astype(np.float32)

  @property
  def picture(self) -> np.ndarray:
    """The appearance, of media that have one."""
    return present(self.appearance, "media with an appearance")

  @property
  def flow(self) -> np.ndarray:
    """The motion, of media that have one."""
    return present(self.motion, "media with a motion")

  @functools.cached_property
  def luma(self) -> np.ndarray:
    """Brightness float32 (H, W), 0 to 255, blurred by a pixel."""
    return cv2.GaussianBlur(self.picture @ _LUMA, (0, 0), _BLUR)

  @functools.cached_property
  def edges(self) -> tuple[np.ndarray, np.ndarray]:
    """Derivatives of `luma` to the right and downwards, float32 (H, W), grey levels a pixel."""
    down, right = np.gradient(self.luma)
    return right, down

  @functools.cached_property
  def contrast_energy(self) -> np.ndarray:
    """Where the appearance's structure is: float32 (H, W), squared edges times the weight."""
    right, down = self.edges
    return (right**2 + down**2) * self.weight("appearance")

  @functools.cached_property
  def speed(self) -> np.ndarray:
    """Speed float32 (T, H, W), pixels a frame."""
    return np.hypot(self.flow[..., 0], self.flow[..., 1])

  @functools.cached_property
  def motion_energy(self) -> np.ndarray:
    """Where motion is: float32 (T, H, W), squared speed times the weight."""
    return self.speed**2 * self.weight("motion")

  @functools.cached_property
  def motion_shape(self) -> tuple[float, float]:
    """The lines along which moving places lie: mean cosine and sine of their doubled angle (y up); NaN without motion.

    From the autocorrelation of speed at distances of a twentieth to a quarter of the picture's height: single points in a row
    make a line. Each frame's surroundings (speed blurred by an eighth of the height) are taken off first.
    """
    _, height, width = self.speed.shape
    size = (2 * height, 2 * width)
    total = np.zeros(size)
    for speed in self.speed * self.weight("motion"):
      fine = cv2.GaussianBlur(speed, (0, 0), _BLUR) - cv2.GaussianBlur(speed, (0, 0), height / 8)
      total = total + np.fft.irfft2(np.abs(np.fft.rfft2(fine, size)) ** 2, size)
    y = -np.fft.fftfreq(size[0], 1 / size[0])[:, None]
    x = np.fft.fftfreq(size[1], 1 / size[1])[None]
    distance = np.hypot(y, x) / height
    near = np.where((distance > 1 / 20) & (distance < 1 / 4), np.maximum(total, 0), 0)
    if not near.sum() > 0:
      return float("nan"), float("nan")
    doubled = 2 * np.arctan2(y, x)
    return float(np.sum(near * np.cos(doubled)) / near.sum()), float(np.sum(near * np.sin(doubled)) / near.sum())


def from_inputs(
  appearance: np.ndarray | None,
  motion: np.ndarray | None,
  appearance_mean: Sequence[float],
  weights: dict[str, np.ndarray] | None = None,
  pixel: float = 1.0,
) -> Media:
  """Makes media of a network's inputs.

  Args:
    appearance: float (H, W, 3), RGB minus the mean; None for none.
    motion: float (H, W, 20) or (H, W, T, 2), in units of 40/255 pixel a frame; None for none.
    appearance_mean: R, G, B.
    weights: see `Media`.
    pixel: see `Media`; 224 over the network's training crop, as frames are scaled for it.

  Returns:
    The same in physical units; colours beyond black and white are cut there, as on a screen.

  >>> media = from_inputs(None, np.full((4, 4, 20), 51.0), (0, 0, 0))
  >>> media.motion.shape, round(float(media.speed.max()), 2)
  ((10, 4, 4, 2), 11.31)
  """
  if appearance is not None:
    appearance = np.clip(np.asarray(appearance, np.float32) + np.asarray(appearance_mean, np.float32), 0, 255)
  if motion is not None:
    motion = (motion_frames(motion) * PIXELS_PER_UNIT).astype(np.float32)
  return Media(appearance, motion, weights or {}, pixel)
