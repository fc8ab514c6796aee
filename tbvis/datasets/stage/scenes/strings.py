"""Bowed instruments: the body as a sprite, the bow, and where they meet."""

from __future__ import annotations

import numpy as np

from tbvis.datasets.stage.figure import along
from tbvis.datasets.stage.paint import Color, Pen, Sprite, SpriteCanvas, cloud, hsv, shade

BOW_LENGTH = 2.1


def wood(rng: np.random.Generator) -> Color:
  """Returns a varnish."""
  return hsv(rng.uniform(14, 32), rng.uniform(0.62, 0.9), rng.uniform(0.45, 0.75))


def instrument(rng: np.random.Generator, length: float, width: float, neck: float) -> Sprite:
  """Returns an instrument of the violin family: origin at the bridge, the neck upwards, the body `length` heads long.

  The end button lies at y = 0.42 * length, the scroll at about y = -(0.58 * length + neck).
  """
  color = wood(rng)
  edge = shade(color, 0.35)
  top, bottom = -0.58 * length, 0.42 * length
  w = width / 2
  reach_up = top - neck - 0.3 * width
  canvas = SpriteCanvas((-w * 1.15, reach_up, w * 1.15, bottom + 0.15), 96)
  pen = canvas.pen
  right = [(0.12, top), (0.55, top + 0.03 * length), (0.8, top + 0.12 * length), (0.82, top + 0.24 * length), (0.66, top + 0.33 * length)]
  right += [(0.56, top + 0.42 * length), (0.58, top + 0.5 * length), (0.74, top + 0.57 * length), (0.96, top + 0.66 * length)]
  right += [(1.0, top + 0.78 * length), (0.9, top + 0.9 * length), (0.6, bottom - 0.02 * length), (0.2, bottom)]
  outline = np.array([(x * w, y) for x, y in right] + [(-x * w, y) for x, y in reversed(right)])
  pen.polygon(outline, color, edge)
  pen.polygon(outline * (0.9, 0.93), shade(color, 1.12))
  canvas.texture(cloud(rng, canvas.mask.shape, 40), 0.14)
  pen.line(outline, edge, closed=True)
  pen.line(outline * (0.93, 0.95), edge, closed=True)
  for side in (-1, 1):
    x = side * 0.33 * w
    for shift in (-0.004, 0.004):
      pen.line([(x + shift - side * 0.06 * w, -0.11 * length), (x + shift, 0.0), (x + shift + side * 0.08 * w, 0.1 * length)], (20, 12, 8))
    pen.ellipse(x - side * 0.06 * w, -0.11 * length, 0.05 * w, 0.05 * w, (20, 12, 8))
    pen.ellipse(x + side * 0.08 * w, 0.1 * length, 0.06 * w, 0.06 * w, (20, 12, 8))
  black = (32, 28, 28)
  pen.polygon([(-0.13 * w, 0.16 * length), (0.13 * w, 0.16 * length), (0.08 * w, bottom), (-0.08 * w, bottom)], black)
  nut = top - neck
  pen.polygon([(-0.11 * w, nut), (0.11 * w, nut), (0.16 * w, -0.25 * length), (-0.16 * w, -0.25 * length)], black)
  pen.polygon([(-0.1 * w, nut - 0.16 * width), (0.1 * w, nut - 0.16 * width), (0.12 * w, nut), (-0.12 * w, nut)], color, edge)
  pen.ellipse(0, nut - 0.2 * width, 0.14 * w, 0.1 * width, color, outline=edge)
  for k in (-1, 1):
    pen.limb((0, nut - 0.08 * width), (k * 0.24 * w, nut - 0.1 * width), 0.05, 0.06, black)
  pen.limb((-0.24 * w, 0), (0.24 * w, 0), 0.04, 0.04, (226, 196, 140))
  for string in (-0.15, -0.05, 0.05, 0.15):
    pen.line([(string * 0.5 * w, nut), (string * w, 0), (string * 0.5 * w, 0.18 * length)], (230, 226, 214))
  return canvas.sprite()


def draw_bow(pen: Pen, contact: tuple[float, float], degrees: float, position: float) -> tuple[float, float]:
  """Draws a bow and returns its frog, where the hand holds it.

  Args:
    pen: the figure's pen.
    contact: where the bow touches the strings.
    degrees: the line of the bow from frog to tip, above level to the right.
    position: how far the contact is from the frog, in heads.
  """
  frog = along(contact, degrees, -position)
  tip = along(frog, degrees, BOW_LENGTH)
  up = degrees + 90
  pen.limb(along(frog, up, -0.02), along(tip, up, -0.02), 0.06, 0.05, (236, 232, 220), (150, 140, 120))
  pen.limb(along(frog, up, 0.08), along(tip, up, 0.05), 0.075, 0.05, (96, 44, 22), (40, 18, 8))
  pen.limb(tip, along(tip, up, 0.07), 0.08, 0.05, (240, 236, 226))
  pen.limb(along(frog, degrees, 0.05), along(frog, degrees, 0.2), 0.15, 0.13, (24, 20, 20))
  return along(frog, degrees, 0.1)
