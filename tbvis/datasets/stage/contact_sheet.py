"""Contact sheets: unlabelled frames of clips side by side, to be looked at with fresh eyes."""

from __future__ import annotations

from collections.abc import Sequence
import os
import pathlib

import cv2
import numpy as np

from tbvis import files
from tbvis.errors import UsageError


def contact_sheet(frames: Sequence[np.ndarray], columns: int, gap: int = 4) -> np.ndarray:
  """Returns frames (uint8 RGB, one size) laid out row by row on white, uint8 (H, W, 3).

  >>> contact_sheet([np.zeros((10, 20, 3), np.uint8)] * 3, columns=2).shape
  (32, 52, 3)
  """
  if not frames or columns < 1:
    raise UsageError(f"Expected frames and at least one column for a contact sheet, received {len(frames)} frames, {columns} columns.")
  height, width = frames[0].shape[:2]
  rows = -(-len(frames) // columns)
  sheet = np.full((gap + rows * (height + gap), gap + columns * (width + gap), 3), 255, np.uint8)
  for k, frame in enumerate(frames):
    y, x = gap + (k // columns) * (height + gap), gap + (k % columns) * (width + gap)
    sheet[y : y + height, x : x + width] = frame
  return sheet


def sample_frames(video: str | os.PathLike[str], count: int) -> list[np.ndarray]:
  """Returns `count` evenly spaced frames of a video file, uint8 RGB.

  Raises:
    UsageError: if the file cannot be decoded.
  """
  capture = cv2.VideoCapture(str(video))
  frames = []
  while True:
    good, frame = capture.read()
    if not good:
      break
    frames.append(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
  capture.release()
  if not frames:
    raise UsageError(f"Expected a video that can be decoded, found none in {video}.")
  picks = np.linspace(0, len(frames) - 1, count + 2)[1:-1] if count < len(frames) else np.arange(len(frames))
  return [frames[round(p)] for p in picks]


def write_contact_sheet(
  videos: Sequence[str | os.PathLike[str]], path: str | os.PathLike[str], *, frames: int = 3, columns: int = 6
) -> None:
  """Writes a PNG that shows `frames` frames of every video, without any label.

  Args:
    videos: clips, in the order in which they are shown.
    path: the PNG to write.
    frames: frames of each clip, side by side.
    columns: frames in a row, best a multiple of `frames`.
  """
  tiles = [frame for video in videos for frame in sample_frames(video, frames)]
  good, png = cv2.imencode(".png", cv2.cvtColor(contact_sheet(tiles, columns), cv2.COLOR_RGB2BGR))
  if not good:
    raise UsageError(f"Expected to write a PNG at {pathlib.Path(path)}, the encoder refused.")
  files.write_bytes(path, png.tobytes())
