"""Contact sheets and strips."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tbvis.errors import UsageError
from tbvis.rendering.appearance import film_to_rgb
from tbvis.rendering.flow_color import flow_to_rgb, motion_frames


def mosaic(images: Sequence[np.ndarray], columns: int, pad: int = 2, background: int = 255) -> np.ndarray:
  """Lays pictures out in rows.

  Args:
    images: uint8 RGB (H, W, 3) each; smaller ones are put at the top left of their cell.
    columns: pictures a row.
    pad: pixels between neighbours and around the sheet.
    background: grey level of gaps and empty cells.

  Returns:
    uint8 (rows * (H + pad) + pad, columns * (W + pad) + pad, 3).

  Raises:
    UsageError: if there is no picture or no column.

  >>> mosaic([np.zeros((4, 6, 3), np.uint8)] * 3, columns=2, pad=1).shape
  (11, 15, 3)
  """
  if not len(images) or columns < 1:
    raise UsageError(f"Expected at least one picture and one column, received {len(images)} and {columns}.")
  height, width = (max(image.shape[axis] for image in images) for axis in (0, 1))
  columns = min(columns, len(images))
  rows = -(-len(images) // columns)
  sheet = np.full((rows * (height + pad) + pad, columns * (width + pad) + pad, 3), background, np.uint8)
  for index, image in enumerate(images):
    top, left = (pad + (index // columns) * (height + pad), pad + (index % columns) * (width + pad))
    sheet[top : top + image.shape[0], left : left + image.shape[1]] = image
  return sheet


def stimulus_strip(
  appearance: np.ndarray | None,
  motion: np.ndarray | None,
  frames: int = 5,
  pad: int = 2,
  limits: tuple[float, float] | None = None,
  chunks: int = 1,
) -> np.ndarray:
  """Draws a stimulus in one row: its appearance, then `frames` of its flow, evenly spaced from first to last; a row for each chunk.

  Args:
    appearance: float (H, W, 3) in network units, of a film (H, W, F, 3), or None. As many of a film's frames are shown as of flow,
      all of a chunk under one map.
    motion: float (H, W, T, 2) in network units, or None.
    frames: flow frames shown, in each chunk.
    pad: pixels between pictures.
    limits: flow values drawn as 0 and 255 (see `flow_to_rgb`); the clip's own by default.
    chunks: of a clip in which the frames divide.

  Returns:
    uint8 RGB (chunks (H + pad) + pad, ..., 3).

  Raises:
    UsageError: if both are None.
  """
  films = [] if appearance is None else [film_to_rgb(appearance)]
  if motion is not None:
    films.append(flow_to_rgb(motion_frames(motion), limits=limits))
  if not films:
    raise UsageError("Expected an appearance or a motion to draw, received neither.")
  tiles = [
    part[moment]
    for chunk in range(chunks)
    for film in films
    for part in (film if len(film) == 1 else np.split(film, chunks)[chunk],)
    for moment in np.linspace(0, len(part) - 1, min(frames, len(part))).round().astype(int)
  ]
  return mosaic(tiles, columns=len(tiles) // chunks, pad=pad)
