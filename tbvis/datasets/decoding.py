"""From a video file to encoded frames and flow. Imports no TensorFlow: worker processes start quickly."""

from __future__ import annotations

import dataclasses
import os
import pathlib

import cv2
import numpy as np

from tbvis.datasets import flow as flow_lib

SHORT_SIDE = 256
# A snippet needs the 10 flow frames around its frame (METHOD 1.2).
MIN_FRAMES = 11
FRAME_QUALITY = 90
FLOW_QUALITY = 95


class BadVideo(Exception):
  """A video that cannot be used, with the reason in words."""


@dataclasses.dataclass(frozen=True)
class EncodedClip:
  """A whole clip, encoded.

  Attributes:
    frames: T JPEG pictures, RGB, short side 256.
    flow_u: T - 1 grey JPEG pictures of the quantised horizontal flow; n is the flow n -> n + 1.
    flow_v: the same of the vertical flow.
    clipped: fraction of flow values outside +-20 pixels.
  """

  frames: list[bytes]
  flow_u: list[bytes]
  flow_v: list[bytes]
  clipped: float


def scaled_size(height: int, width: int, short_side: int) -> tuple[int, int]:
  """Returns (height, width) scaled so that the shorter is `short_side` and both are even.

  >>> scaled_size(240, 320, 256)
  (256, 342)
  """
  factor = short_side / min(height, width)
  return tuple(max(2, 2 * round(side * factor / 2)) for side in (height, width))


def read_frames(path: str | pathlib.Path, short_side: int = SHORT_SIDE) -> np.ndarray:
  """Decodes a video.

  Returns:
    uint8 RGB (T, H, W, 3), scaled to the short side.

  Raises:
    BadVideo: if it cannot be opened or has no frame.
  """
  capture = cv2.VideoCapture(str(path))
  frames = []
  try:
    if not capture.isOpened():
      raise BadVideo("cannot be opened as a video")
    while True:
      ok, frame = capture.read()
      if not ok:
        break
      height, width = scaled_size(*frame.shape[:2], short_side)
      if frame.shape[:2] != (height, width):
        frame = cv2.resize(frame, (width, height), interpolation=cv2.INTER_CUBIC)
      frames.append(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
  finally:
    capture.release()
  if not frames:
    raise BadVideo("has no frame that can be decoded")
  return np.stack(frames)


def _jpeg(image: np.ndarray, quality: int) -> bytes:
  ok, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
  if not ok:
    raise BadVideo("has a frame that cannot be encoded")
  return data.tobytes()


def encode_clip(path: str | pathlib.Path, method: str) -> EncodedClip:
  """Decodes a video, computes its flow and encodes both.

  Raises:
    BadVideo: if it is broken, empty or shorter than `MIN_FRAMES`.
  """
  frames = read_frames(path)
  if len(frames) < MIN_FRAMES:
    raise BadVideo(f"has {len(frames)} frames, fewer than {MIN_FRAMES}")
  u, v, clipped = [], [], 0.0
  for field in flow_lib.compute_flows(frames, method):
    clipped += float(np.mean(np.abs(field) > flow_lib.BOUND))
    quantized = flow_lib.quantize(field)
    u.append(_jpeg(quantized[..., 0], FLOW_QUALITY))
    v.append(_jpeg(quantized[..., 1], FLOW_QUALITY))
  encoded = [_jpeg(cv2.cvtColor(f, cv2.COLOR_RGB2BGR), FRAME_QUALITY) for f in frames]
  return EncodedClip(encoded, u, v, clipped / (len(frames) - 1))


def encode_job(job: tuple[int, str, str]) -> tuple[int, EncodedClip | None, str]:
  """Worker of the builder's processes: (index, path, method) -> (index, clip or None, reason)."""
  index, path, method = job
  cv2.setNumThreads(1)
  # The same for a flow method by TensorFlow, which reads these when it is first used.
  os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
  os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
  try:
    return index, encode_clip(path, method), ""
  except BadVideo as error:
    return index, None, str(error)
  except cv2.error as error:
    return index, None, f"fails in OpenCV ({str(error).strip().splitlines()[-1]})"
