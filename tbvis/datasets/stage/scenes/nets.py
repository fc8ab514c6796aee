"""Nets across the frame, which what is behind them shines through."""

from __future__ import annotations

import numpy as np

from tbvis.datasets.stage.paint import Color, Sprite, SpriteCanvas, cloud


def net(rng: np.random.Generator, half: float, tall: float, mesh: float, color: Color) -> Sprite:
  """Returns a net from x = -half to half and y = -tall to 0.

  Its meshes are uneven and its cords soft: an even, sharp grid looks the same when it has moved by a mesh, and optical flow
  then finds motion in a net that hangs still.

  Args:
    rng: for the unevenness.
    half: half its width, heads.
    tall: its height.
    mesh: the mean width of a mesh.
    color: of the cords.
  """
  canvas = SpriteCanvas((-half, -tall, half, 0.0), 60)
  pen = canvas.pen
  for x in np.arange(-half, half, mesh).tolist():
    top, bottom = x + rng.normal(0, 0.2 * mesh, 2)
    pen.line([(top, -tall), (bottom, 0)], color)
  for y in np.arange(-tall, 0, mesh).tolist():
    ways = [(x, y + rng.normal(0, 0.15 * mesh)) for x in np.linspace(-half, half, 9).tolist()]
    pen.line(ways, color)
  # Where there is no cord, a haze of it, in uneven density.
  haze = 70 + 30 * cloud(rng, canvas.mask.shape, 40)
  canvas.image[:] = color
  canvas.mask[:] = np.clip(np.maximum(haze, 0.55 * canvas.mask), 0, 255).astype(np.uint8)
  return canvas.sprite()
