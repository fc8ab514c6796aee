"""What a filming process runs: renders one clip and encodes it. Imports NumPy and OpenCV only, so that processes start fast."""

from __future__ import annotations

from collections.abc import Iterable
import pathlib

import cv2
import numpy as np

from tbvis import files
from tbvis.datasets.stage.clip import FPS, render_clip
from tbvis.datasets.stage.script import Script
from tbvis.datasets.stage.world import HEIGHT, WIDTH
from tbvis.errors import UsageError


def film_clip(job: tuple[str, Script, str, int, int, int, bool]) -> tuple[str, int, int]:
  """Films one clip; `job` is (path, script, class, group, clip, seed, mask_action). Returns class, group and clip."""
  path, script, class_name, group, clip, seed, mask_action = job
  cv2.setNumThreads(1)  # The processes share the cores already.
  with files.atomic_path(path) as temporary:
    write_video(temporary, render_clip(script, class_name, group, clip, seed=seed, mask_action=mask_action))
  return class_name, group, clip


def write_video(path: pathlib.Path, frames: Iterable[np.ndarray]) -> None:
  """Encodes uint8 RGB frames (240, 320, 3) as an XVID .avi.

  Raises:
    UsageError: if OpenCV has no encoder for it.
  """
  writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"XVID"), FPS, (WIDTH, HEIGHT))
  if not writer.isOpened():
    raise UsageError(f"Expected OpenCV to encode XVID .avi files, it refused {path}. Install opencv-contrib-python-headless again.")
  try:
    for frame in frames:
      writer.write(np.ascontiguousarray(frame[:, :, ::-1]))
  finally:
    writer.release()
