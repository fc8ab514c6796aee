"""From a clip to encoded frames and flow. Imports no TensorFlow: worker processes start quickly."""

from __future__ import annotations

from collections.abc import Sized
import dataclasses

import cv2
import numpy as np

from tbvis.datasets import flow as flow_lib
from tbvis.datasets import media as media_lib
from tbvis.datasets.media import BadClip

# A snippet needs the 10 flow frames around its frame (METHOD 1.2).
MIN_FRAMES = 11
FRAME_QUALITY = 90
FLOW_QUALITY = 95


@dataclasses.dataclass(frozen=True)
class EncodedClip:
  """A whole clip, encoded.

  Attributes:
    frames: T JPEG pictures, RGB, short side 256.
    flow_u: T - 1 grey JPEG pictures of the quantised horizontal flow; n is the flow n -> n + 1.
    flow_v: the same of the vertical flow.
    clipped: fraction of flow values outside +-20 pixels; None where the flow came with the clip.
  """

  frames: list[bytes]
  flow_u: list[bytes]
  flow_v: list[bytes]
  clipped: float | None


def _jpeg(image: np.ndarray, quality: int) -> bytes:
  ok, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
  if not ok:
    raise BadClip("has a frame that cannot be encoded")
  return data.tobytes()


def _with_flow(frames: np.ndarray, encoded: list[bytes], method: str) -> EncodedClip:
  u, v, clipped = [], [], 0.0
  for field in flow_lib.compute_flows(frames, method):
    clipped += float(np.mean(np.abs(field) > flow_lib.BOUND))
    quantized = flow_lib.quantize(field)
    u.append(_jpeg(quantized[..., 0], FLOW_QUALITY))
    v.append(_jpeg(quantized[..., 1], FLOW_QUALITY))
  return EncodedClip(encoded, u, v, clipped / (len(frames) - 1))


def _check_length(frames: Sized) -> None:
  if len(frames) < MIN_FRAMES:
    raise BadClip(f"has {len(frames)} frames, fewer than {MIN_FRAMES}")


def encode_clip(clip: media_lib.Media, method: str) -> EncodedClip:
  """Reads a clip, computes its flow where it brings none, and encodes both.

  Pictures that are encoded already, at the right size, are kept bit by bit.

  Raises:
    BadClip: if it is broken, empty or shorter than `MIN_FRAMES`.
  """
  encoded: list[bytes] = []
  if isinstance(clip, media_lib.Pictures):
    encoded, u, v = media_lib.read_pictures(clip)
    _check_length(encoded)
    if u:
      return EncodedClip(encoded, u, v, None)
    original = [media_lib.decoded(data) for data in encoded]
    frames = np.stack([media_lib.scaled(frame) for frame in original])
    if frames.shape[1:] != original[0].shape:
      encoded = []
  else:
    frames = media_lib.read_video(clip.path) if isinstance(clip, media_lib.Video) else media_lib.read_record(clip)
    _check_length(frames)
  return _with_flow(frames, encoded or [_jpeg(cv2.cvtColor(f, cv2.COLOR_RGB2BGR), FRAME_QUALITY) for f in frames], method)
