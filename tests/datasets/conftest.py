from __future__ import annotations

import pathlib
from typing import Any

import cv2
import numpy as np
import pytest

from tbvis.datasets import catalogue, inventory, preparation


def write_video(
  path: pathlib.Path, frames: int = 14, size: tuple[int, int] = (96, 64), shift: float = 2.0, seed: int = 0, codec: str = "MJPG"
) -> pathlib.Path:
  """Writes a video of a smooth texture that moves `shift` pixels a frame to the right; size is (width, height)."""
  path.parent.mkdir(parents=True, exist_ok=True)
  width, height = size
  rng = np.random.default_rng(seed)
  texture = cv2.GaussianBlur(rng.uniform(0, 255, (height, width + 200, 3)).astype(np.float32), (0, 0), 3)
  texture = cv2.normalize(texture, None, 0, 255, cv2.NORM_MINMAX)
  writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), 25, size)
  assert writer.isOpened()
  for index in range(frames):
    move = np.float32([[1, 0, shift * index - 100], [0, 1, 0]])
    writer.write(cv2.warpAffine(texture, move, size).astype(np.uint8))
  writer.release()
  return path


def prepare_folder(videos: pathlib.Path, data_dir: pathlib.Path, name: str, **arguments: Any) -> preparation.Preparation:
  """Prepares a folder of videos by its folders, as tbvis-prepare does; a second process costs more than such clips take."""
  found = catalogue.folder_catalogue(inventory.find_videos(videos), videos, dataset=name)
  return preparation.prepare(found, data_dir, **{"processes": 1} | arguments)


@pytest.fixture(scope="session")
def video_folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
  """Two classes, groups 1 and 8, of UCF101's names; one clip a group."""
  folder = tmp_path_factory.mktemp("videos")
  for label, name in enumerate(("Archery", "YoYo")):
    for group in (1, 8):
      # The classes move in opposite directions.
      write_video(folder / name / f"v_{name}_g{group:02d}_c01.avi", shift=2.0 if label else -2.0, seed=group)
  return folder
