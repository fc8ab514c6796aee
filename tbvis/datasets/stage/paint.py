"""Drawing with an affine pen: shapes given in heads (figure units), painted antialiased into uint8 RGB frames."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
import dataclasses
import math

import cv2
import numpy as np

Color = tuple[int, int, int]
Point = tuple[float, float]

_SHIFT = 4
_ONE = 1 << _SHIFT
_CIRCLE = np.stack([np.cos(np.linspace(0, 2 * np.pi, 24, endpoint=False)), np.sin(np.linspace(0, 2 * np.pi, 24, endpoint=False))], axis=1)
_HALF = _CIRCLE[:13]


def as_color(parts: Iterable[int]) -> Color:
  """Returns three numbers, R, G and B, as a colour."""
  red, green, blue = parts
  return red, green, blue


def shade(color: Color, factor: float) -> Color:
  """Returns `color` made darker (factor below 1) or lighter (above 1).

  >>> shade((100, 50, 200), 0.5)
  (50, 25, 100)
  """
  return as_color(int(min(255, max(0, round(c * factor)))) for c in color)


def hsv(hue: float, saturation: float, value: float) -> Color:
  """Returns the RGB colour of a hue in degrees and a saturation and value in [0, 1].

  >>> hsv(0, 1, 1)
  (255, 0, 0)
  """
  pixel = np.array([[[hue % 360, saturation, value]]], np.float32)
  return as_color(int(round(float(c) * 255)) for c in cv2.cvtColor(pixel, cv2.COLOR_HSV2RGB)[0, 0])


def direction(degrees: float) -> np.ndarray:
  """Returns the unit vector that rises `degrees` above level to the right (y points down)."""
  angle = math.radians(degrees)
  return np.array([math.cos(angle), -math.sin(angle)])


def similarity(scale: float, degrees: float, x: float, y: float, mirror: bool = False) -> np.ndarray:
  """Returns the 3x3 matrix that scales, turns (clockwise on screen) and moves; `mirror` flips x first."""
  angle = math.radians(degrees)
  c, s = math.cos(angle) * scale, math.sin(angle) * scale
  flip = -1.0 if mirror else 1.0
  return np.array([[c * flip, -s, x], [s * flip, c, y], [0.0, 0.0, 1.0]])


@dataclasses.dataclass(frozen=True)
class Sprite:
  """A picture that is drawn turned and scaled.

  Attributes:
    color: uint8 (h, w, 3), premultiplied by alpha.
    alpha: uint8 (h, w, 3), the opacity three times, since OpenCV multiplies planes of one shape.
    matrix: 3x3, from pixels of the sprite to its own units.
  """

  color: np.ndarray
  alpha: np.ndarray
  matrix: np.ndarray

  @classmethod
  def from_canvas(cls, image: np.ndarray, mask: np.ndarray, matrix: np.ndarray) -> Sprite:
    """Makes a sprite of an RGB image, a uint8 opacity (h, w) and the matrix from its pixels to its units."""
    alpha = np.repeat(mask[:, :, None], 3, axis=2)
    return cls(cv2.multiply(image, alpha, scale=1 / 255), alpha, matrix)


class Pen:
  """Paints on one frame through an affine map from figure units to pixels.

  Args:
    image: uint8 (H, W, 3), painted in place.
    matrix: 3x3, from units to pixels.
    mask: uint8 (H, W) that gets 255 wherever something opaque is painted, or None.
  """

  def __init__(self, image: np.ndarray, matrix: np.ndarray, mask: np.ndarray | None = None):
    self.image = image
    self.matrix = matrix
    self.mask = mask
    self.scale = float(np.sqrt(abs(np.linalg.det(matrix[:2, :2]))))

  def at(self, x: float, y: float, degrees: float = 0.0, scale: float = 1.0) -> Pen:
    """Returns a pen whose origin is at (x, y) of this one, turned clockwise by `degrees`."""
    return Pen(self.image, self.matrix @ similarity(scale, degrees, x, y), self.mask)

  def pixels(self, points: Sequence[Point] | np.ndarray) -> np.ndarray:
    """Returns points (n, 2) in pixels, float64."""
    points = np.asarray(points, np.float64)
    return points @ self.matrix[:2, :2].T + self.matrix[:2, 2]

  def polygon(self, points: Sequence[Point] | np.ndarray, color: Color, outline: Color | None = None) -> None:
    """Fills a polygon (n, 2)."""
    fixed = [np.round(self.pixels(points) * _ONE).astype(np.int32)]
    cv2.fillPoly(self.image, fixed, color, cv2.LINE_AA, _SHIFT)
    if outline is not None:
      cv2.polylines(self.image, fixed, True, outline, 1, cv2.LINE_AA, _SHIFT)
    if self.mask is not None:
      cv2.fillPoly(self.mask, fixed, (255,), cv2.LINE_AA, _SHIFT)

  def ellipse(self, x: float, y: float, rx: float, ry: float, color: Color, degrees: float = 0.0, outline: Color | None = None) -> None:
    """Fills an ellipse of half axes rx, ry, turned clockwise by `degrees`."""
    points = _CIRCLE * (rx, ry)
    if degrees:
      turn = similarity(1.0, degrees, 0, 0)[:2, :2]
      points = points @ turn.T
    self.polygon(points + (x, y), color, outline)

  def line(self, points: Sequence[Point] | np.ndarray, color: Color, closed: bool = False) -> None:
    """Draws a line one pixel wide through points (n, 2)."""
    fixed = [np.round(self.pixels(points) * _ONE).astype(np.int32)]
    cv2.polylines(self.image, fixed, closed, color, 1, cv2.LINE_AA, _SHIFT)
    if self.mask is not None:
      cv2.polylines(self.mask, fixed, closed, (255,), 1, cv2.LINE_AA, _SHIFT)

  def limb(self, p: Point, q: Point, start: float, end: float, color: Color, outline: Color | None = None) -> None:
    """Fills a rounded limb from p to q that is `start` wide at p and `end` wide at q."""
    self.polygon(limb_outline(p, q, start, end), color, outline)

  def sprite(self, sprite: Sprite) -> None:
    """Paints a sprite with its own units laid on the pen's."""
    matrix = self.matrix @ sprite.matrix
    height, width = sprite.color.shape[:2]
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]]) @ matrix[:2, :2].T + matrix[:2, 2]
    rows, columns = self.image.shape[:2]
    left, top = np.maximum(np.floor(corners.min(axis=0)).astype(int) - 1, 0)
    right, bottom = np.minimum(np.ceil(corners.max(axis=0)).astype(int) + 1, (columns, rows))
    if right <= left or bottom <= top:
      return
    local = matrix[:2].copy()
    local[:, 2] -= (left, top)
    size = (int(right - left), int(bottom - top))
    color = cv2.warpAffine(sprite.color, local, size, flags=cv2.INTER_LINEAR)
    alpha = cv2.warpAffine(sprite.alpha, local, size, flags=cv2.INTER_LINEAR)
    window = self.image[top:bottom, left:right]
    window[:] = cv2.add(color, cv2.multiply(window, cv2.bitwise_not(alpha), scale=1 / 255))
    if self.mask is not None:
      part = self.mask[top:bottom, left:right]
      np.maximum(part, alpha[:, :, 0], out=part)


def limb_outline(p: Point, q: Point, start: float, end: float) -> np.ndarray:
  """Returns the outline (26, 2) of a rounded limb of widths `start` and `end`."""
  first, last = np.asarray(p, np.float64), np.asarray(q, np.float64)
  angle = math.atan2(last[1] - first[1], last[0] - first[0])
  c, s = math.cos(angle), math.sin(angle)
  # The half circle runs from +90 to -90 degrees behind p, then the other half around q.
  around = np.stack([-_HALF[:, 1], _HALF[:, 0]], axis=1)
  turn = np.array([[c, -s], [s, c]])
  return np.concatenate([first + (around * (start / 2)) @ turn.T, last + (-around * (end / 2)) @ turn.T])


class SpriteCanvas:
  """A canvas on which a sprite is painted once, in its own units.

  Args:
    box: (left, top, right, bottom) in units.
    resolution: pixels per unit.
  """

  def __init__(self, box: tuple[float, float, float, float], resolution: float = 72.0):
    left, top, right, bottom = box
    size = (int(math.ceil((bottom - top) * resolution)), int(math.ceil((right - left) * resolution)))
    self.image = np.zeros((*size, 3), np.uint8)
    self.mask = np.zeros(size, np.uint8)
    to_pixels = similarity(resolution, 0, -left * resolution, -top * resolution)
    self.pen = Pen(self.image, to_pixels, self.mask)
    self._matrix = np.linalg.inv(to_pixels)

  def texture(self, field: np.ndarray, strength: float) -> None:
    """Multiplies what is painted by 1 + strength * field; field is float (h, w) in about [-1, 1]."""
    height, width = self.mask.shape
    gain = 1 + strength * cv2.resize(field.astype(np.float32), (width, height))
    self.image[:] = np.clip(self.image * gain[:, :, None], 0, 255).astype(np.uint8)

  def sprite(self) -> Sprite:
    """Returns what was painted."""
    return Sprite.from_canvas(self.image, self.mask, self._matrix)


def cloud(rng: np.random.Generator, shape: tuple[int, int], cell: float = 24.0, octaves: int = 4) -> np.ndarray:
  """Returns smooth noise, float32 (h, w), in [-1, 1], whose largest lumps are `cell` pixels wide."""
  height, width = shape
  total = np.zeros(shape, np.float32)
  weight = 1.0
  for _ in range(octaves):
    rows, columns = max(2, int(height / cell) + 2), max(2, int(width / cell) + 2)
    grid = rng.standard_normal((rows, columns)).astype(np.float32)
    total += weight * cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
    weight *= 0.6
    cell = max(2.0, cell / 2)
  return total / max(1e-6, float(np.abs(total).max()))
