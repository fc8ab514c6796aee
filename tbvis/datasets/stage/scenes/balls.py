"""Balls in the air, and where a ball is that leaves along a line and comes back."""

from __future__ import annotations

import math

from tbvis.datasets.stage.figure import along
from tbvis.datasets.stage.paint import Color, Pen, shade

Point = tuple[float, float]


def thrown(start: Point, degrees: float, speed: float, seconds: float, period: float) -> Point:
  """Returns where a ball is that leaves `start` at `speed` and is pulled back so that it returns after `period`.

  Args:
    start: where it leaves, heads.
    degrees: the line along which it leaves, above level to the right.
    speed: at which it leaves, heads a second.
    seconds: since then.
    period: until it is back, seconds.

  >>> thrown((0, 0), 90, 6, 0.5, 1.0)
  (0.0, -1.5)
  """
  x, y = along(start, degrees, speed * seconds * (1 - seconds / period))
  return round(x, 6), round(y, 6)


def draw_ball(pen: Pen, place: Point, radius: float, color: Color) -> None:
  """Draws a plain ball with a highlight, `radius` in heads."""
  pen.ellipse(*place, radius, radius, color, outline=shade(color, 0.4))
  pen.ellipse(place[0] - 0.32 * radius, place[1] - 0.38 * radius, 0.18 * radius, 0.14 * radius, (255, 255, 255))


def draw_patched_ball(pen: Pen, place: Point, radius: float, color: Color, patch: Color, turn: float) -> None:
  """Draws a football: pentagons that are turned by `turn` degrees."""
  draw_ball(pen, place, radius, color)
  local = pen.at(*place, turn)
  local.polygon(_pentagon(0, 0, 0.36 * radius, 0), patch)
  for k in range(5):
    angle = 2 * math.pi * k / 5 + math.pi / 5
    x, y = 0.78 * radius * math.cos(angle), 0.78 * radius * math.sin(angle)
    local.polygon(_pentagon(x, y, 0.22 * radius, angle), patch)
    local.line([(0.36 * x, 0.36 * y), (0.8 * x, 0.8 * y)], shade(color, 0.4))


def draw_panelled_ball(pen: Pen, place: Point, radius: float, color: Color, patch: Color, turn: float) -> None:
  """Draws a volleyball: three bands that whirl around its middle, turned by `turn` degrees."""
  draw_ball(pen, place, radius, color)
  local = pen.at(*place, turn)
  for k in range(3):
    third = 2 * math.pi * k / 3
    inner = [_polar(0.12 * radius + 0.8 * radius * s, third + 0.9 * s) for s in (0, 0.35, 0.7, 1.0)]
    outer = [_polar(0.12 * radius + 0.8 * radius * s, third + 0.55 + 1.0 * s) for s in (1.0, 0.7, 0.35, 0)]
    local.polygon(inner + outer, patch, shade(patch, 0.5))
    local.line([_polar(radius * s, third + 1.4 + 0.9 * s) for s in (0.1, 0.4, 0.7, 0.95)], shade(color, 0.45))


def _polar(radius: float, angle: float) -> Point:
  return radius * math.cos(angle), radius * math.sin(angle)


def _pentagon(x: float, y: float, radius: float, turn: float) -> list[Point]:
  return [(x + radius * math.cos(turn + k * 1.2566), y + radius * math.sin(turn + k * 1.2566)) for k in range(5)]
