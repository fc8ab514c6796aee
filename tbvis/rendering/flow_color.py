"""Flow as colours, by the rule measured on the authors' pictures: R = u, G = v, B = sqrt(u^2 + v^2)."""

from __future__ import annotations

import numpy as np

from tbvis.errors import UsageError

# One unit of a network's motion input is this many pixels a frame (8-bit storage of flow clipped to +-20).
PIXELS_PER_UNIT = 40.0 / 255.0


def motion_frames(motion: np.ndarray) -> np.ndarray:
  """Returns a motion stack (H, W, T, 2) or (H, W, 2 T) as flow frames (T, H, W, 2), in the same units.

  >>> motion_frames(np.zeros((4, 5, 20), np.float32)).shape
  (10, 4, 5, 2)

  Raises:
    UsageError: if the shape is neither.
  """
  motion = np.asarray(motion)
  if motion.ndim == 3 and motion.shape[-1] % 2 == 0:
    motion = motion.reshape(*motion.shape[:2], -1, 2)
  if motion.ndim != 4 or motion.shape[-1] != 2:
    raise UsageError(f"Expected motion of shape (H, W, T, 2) or (H, W, 2 T), received {motion.shape}.")
  return motion.transpose(2, 0, 1, 3)


def flow_limits(flow: np.ndarray, zero_centred: bool = True) -> tuple[float, float]:
  """Returns the values drawn as 0 and as 255 when a clip is shown on its own scale.

  Args:
    flow: (..., 2), (u, v) in any unit.
    zero_centred: whether zero is put in the middle: (-m, m) where m is the clip's largest magnitude.
      Otherwise the smallest and the largest of all u, v and magnitudes.

  Returns:
    (low, high), low < high; (-1, 1) where all flow is zero.

  >>> flow_limits(np.array([[3.0, -4.0]]))
  (-5.0, 5.0)
  >>> flow_limits(np.array([[3.0, -4.0]]), zero_centred=False)
  (-4.0, 5.0)
  """
  flow = np.asarray(flow, np.float32)
  magnitude = float(np.hypot(flow[..., 0], flow[..., 1]).max(initial=0.0))
  if magnitude == 0.0:
    return -1.0, 1.0
  return (-magnitude, magnitude) if zero_centred else (float(flow.min()), magnitude)


def flow_to_rgb(flow: np.ndarray, zero_centred: bool = True, limits: tuple[float, float] | None = None) -> np.ndarray:
  """Colours flow: R = u, G = v, B = sqrt(u^2 + v^2), under one affine map for all channels and frames.

  Zero flow is mid-grey in all three channels (exactly so when `zero_centred`).

  Args:
    flow: (..., H, W, 2), (u, v) in any unit; one clip, whose frames share the map.
    zero_centred: see `flow_limits`.
    limits: (low, high) drawn as 0 and 255; those of the clip by default.

  Returns:
    uint8 (..., H, W, 3).

  Raises:
    UsageError: if the last axis is not (u, v), a value is not finite, or the limits are not in order.

  >>> flow_to_rgb(np.array([[[0.0, 0.0], [2.0, 0.0]]]))
  array([[[128, 128, 128], [255, 128, 255]]], dtype=uint8)
  """
  flow = np.asarray(flow, np.float32)
  if flow.ndim < 3 or flow.shape[-1] != 2:
    raise UsageError(f"Expected flow of shape (..., H, W, 2), received {flow.shape}.")
  if not np.isfinite(flow).all():
    raise UsageError("Expected finite flow to colour, found NaN or infinity.")
  low, high = flow_limits(flow, zero_centred) if limits is None else limits
  if not low < high:
    raise UsageError(f"Expected flow limits (low, high) with low < high, received ({low}, {high}).")
  channels = np.concatenate([flow, np.hypot(flow[..., :1], flow[..., 1:])], axis=-1)
  return np.floor(np.clip((channels - low) * (255.0 / (high - low)), 0, 255) + 0.5).astype(np.uint8)
