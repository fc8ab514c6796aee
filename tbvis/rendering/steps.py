"""Small copies of a search on its way as one lossless picture, from which the tab draws them as it draws the stimulus."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tbvis.errors import UsageError
from tbvis.rendering.animation import LARGEST_SIDE, decode, encode_webp
from tbvis.rendering.appearance import appearance_limits, film_to_rgb
from tbvis.rendering.flow_color import motion_frames

# Steps from zero to a copy's largest value. Noise is what compresses worst, and most of a search is: 40 levels took half as much again.
_LEVELS = 20


def encode_steps(appearance: np.ndarray | None, motion: np.ndarray | None) -> tuple[bytes, dict[str, Any]]:
  """Stores K copies as a WebP of K columns: in each its flow frames one below the other, R = q(u), G = q(v), B = 0, then its appearances.

  q(x) = 128 + round(x / step), each copy with a step of its own: a search may begin ten times as fast as it ends.

  Args:
    appearance: float (K, h, w, 3), of films (K, h, w, F, 3), or None.
    motion: float (K, h, w, T, 2), or None; not both.

  Returns:
    (bytes, known): the picture ((T + F) h, K w, 3), F being 1 for a still appearance and 0 for none; and, with which it is read,
    {"size": (h, w), "frames": T (0 without motion), "pictures": F, "scales": K steps of flow or None, "limits": K pairs of the values
    drawn as 0 and as 255, or None}.

  Raises:
    UsageError: if a value is not finite, or the picture would be larger than a WebP can be.

  >>> data, known = encode_steps(None, np.ones((2, 4, 4, 3, 2)))
  >>> known["size"], known["frames"], decode(data).shape, decode_steps(data, known)[1].shape
  ((4, 4), 3, (1, 12, 8, 3), (2, 4, 4, 3, 2))
  """
  rows, scales, limits = [], None, None
  if motion is not None:
    flow = np.stack([motion_frames(copy) for copy in motion]).astype(np.float32)
    if not np.isfinite(flow).all():
      raise UsageError("Expected finite motion at all kept steps, found NaN or infinity.")
    scales = [float(np.abs(copy).max(initial=0.0)) / _LEVELS or 1.0 for copy in flow]
    planes = (128 + np.rint(flow / np.reshape(scales, (-1, 1, 1, 1, 1)))).astype(np.uint8)
    rows.append(np.concatenate([planes, np.zeros_like(planes[..., :1])], axis=-1))
  frames = rows[0].shape[1] if rows else 0
  if appearance is not None:
    limits = [appearance_limits(copy) for copy in appearance]
    rows.append(np.stack([film_to_rgb(copy) for copy in appearance]))
  copies = np.concatenate(rows, axis=1)
  count, below, height, width, _ = copies.shape
  if max(below * height, count * width) > LARGEST_SIDE:
    raise UsageError(
      f"Expected {count} kept steps of {frames} frames to fit into a picture of {LARGEST_SIDE:,} pixels a side, "
      f"received {count * width:,} x {below * height:,}; fewer --kept_steps take less."
    )
  picture = copies.transpose(1, 2, 0, 3, 4).reshape(below * height, count * width, 3)
  known = {"size": (height, width), "frames": frames, "pictures": below - frames, "scales": scales, "limits": limits}
  return encode_webp(picture, lossless=True), known


def decode_steps(data: bytes, known: Mapping[str, Any]) -> tuple[np.ndarray | None, np.ndarray | None]:
  """Reads `encode_steps` back.

  Args:
    data: the picture.
    known: as `encode_steps` returned it.

  Returns:
    Appearance float32 (K, h, w, 3) or (K, h, w, F, 3), in 255 levels between its limits, and motion float32 (K, h, w, T, 2), in whole
    steps; None where there is none.

  Raises:
    UsageError: if the picture is not made of such copies.
  """
  picture, (height, width), frames, limits = decode(data)[0], known["size"], known["frames"], known["limits"]
  pictures = known.get("pictures", int(bool(limits)))  # Older ones have no films.
  (below, rest), (count, beside) = divmod(picture.shape[0], height), divmod(picture.shape[1], width)
  if rest or beside or below != frames + pictures or count != len(limits or known["scales"]):
    raise UsageError(f"Expected copies of {width} x {height} pixels and {frames} frames, found {picture.shape[1]} x {picture.shape[0]}.")
  copies = picture.reshape(below, height, count, width, 3).transpose(2, 0, 1, 3, 4).astype(np.float32)
  appearance = motion = None
  if frames:
    motion = np.moveaxis((copies[:, :frames, ..., :2] - 128.0) * np.asarray(known["scales"], np.float32)[:, None, None, None, None], 1, 3)
  if limits:
    low, high = np.asarray(limits, np.float32).T[..., None, None, None, None]
    film = np.moveaxis(low + copies[:, frames:] * ((high - low) / 255), 1, 3)
    appearance = film[..., 0, :] if pictures == 1 else film
  return appearance, motion
