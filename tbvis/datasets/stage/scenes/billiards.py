"""Billiards: balls roll slowly over a table, then scatter; the player stands behind it with the cue."""

from __future__ import annotations

import math

import numpy as np

from tbvis.datasets.stage import figure
from tbvis.datasets.stage.paint import Pen, hsv, shade
from tbvis.datasets.stage.scenes.base import Scene, scene

FAR, NEAR = 1.3, 2.75  # Far and near edge of the cloth, heads below the shoulders.
HALF_FAR, HALF_NEAR = 2.1, 2.75
RADIUS = 0.13
FRICTION = 1.1  # Per second.
ROLLERS = 3


@scene("Billiards")
class Billiards(Scene):
  """A table in perspective. Places on it are (x, y) with x in [-2, 2] and y in [0, 2], in heads on the cloth."""

  uses = ("ball_speed", "scatter_speed", "scatter_time", "ball_count", "stroke_rate", "stroke_amplitude")

  def prepare(self) -> None:
    """Chooses cloth and balls and where everything rolls."""
    rng = self.rng
    self._cloth = hsv(rng.choice([130, 145, 150, 210, 350]), rng.uniform(0.6, 0.85), rng.uniform(0.35, 0.6))
    self._rail = hsv(rng.uniform(12, 30), rng.uniform(0.6, 0.85), rng.uniform(0.25, 0.45))
    count = int(round(self.number("ball_count")))
    self._colors = [(244, 242, 234)] + [hsv(rng.uniform(0, 360), 0.85, rng.uniform(0.5, 0.95)) for _ in range(count - 1)]
    heart = np.array([rng.uniform(-0.3, 0.6), rng.uniform(0.8, 1.2)])
    ring = rng.uniform(0, 2 * math.pi) + np.arange(count) * 2 * math.pi / count
    spread = np.where(np.arange(count) % 2 == 0, 1.0, 0.55)[:, None]
    self._at_break = heart + 0.36 * spread * np.stack([np.cos(ring), np.sin(ring)], axis=1)
    approach = rng.uniform(0, 2 * math.pi, ROLLERS)
    self._approach = np.stack([np.cos(approach), np.sin(approach)], axis=1)
    outward = self._at_break - heart + rng.normal(0, 0.12, (count, 2))
    outward /= np.linalg.norm(outward, axis=1, keepdims=True)
    self._burst = outward * rng.uniform(0.45, 1.0, (count, 1))

  def places(self, t: float) -> np.ndarray:
    """Returns where the balls are at time t, (balls, 2)."""
    scatter = self.number("scatter_time")
    places = self._at_break.copy()
    if t < scatter:
      places[:ROLLERS] -= self._approach * self.number("ball_speed") * (scatter - t)
    else:
      way = self.number("scatter_speed") * (1 - math.exp(-FRICTION * (t - scatter))) / FRICTION
      places += self._burst * way
    return np.stack([_bounce(places[:, 0], -1.9, 1.9), _bounce(places[:, 1], 0.12, 1.88)], axis=1)

  def draw(self, pen: Pen, t: float) -> None:
    """Draws player, table, balls and cue."""
    cast, pose = self.cast, self.pose(t)
    figure.draw_body(pen, cast, pose)
    figure.draw_head(pen, cast, pose)
    _table(pen, self._cloth, self._rail)
    places = self.places(t)
    for k in np.argsort(places[:, 1]):
      _ball(pen, places[k], self._colors[k])
    aim = self.number("stroke_amplitude") * self.stroke(t)
    bridge, butt = (0.72, 1.42), (-0.86, 1.05)
    angle = math.degrees(math.atan2(butt[1] - bridge[1], bridge[0] - butt[0]))
    back = figure.along(butt, angle, -0.7 + aim)
    pen.limb(back, figure.along(back, angle, 3.1), 0.12, 0.05, (176, 120, 62), (70, 40, 18))
    pen.limb(back, figure.along(back, angle, 0.8), 0.13, 0.11, (40, 30, 34))
    figure.draw_arm(pen, cast, pose, bridge, -60, right=False)
    figure.draw_arm(pen, cast, pose, figure.along(butt, angle, aim), -70, right=True)


def _bounce(x: np.ndarray, low: float, high: float) -> np.ndarray:
  span = high - low
  folded = np.mod(x - low, 2 * span)
  return low + np.minimum(folded, 2 * span - folded)


def _on_frame(x: float, y: float) -> tuple[float, float, float]:
  depth = (y / 2) ** 1.15
  half = HALF_FAR + (HALF_NEAR - HALF_FAR) * depth
  return x / 2 * half, FAR + (NEAR - FAR) * depth, 0.85 + 0.3 * depth


def _table(pen: Pen, cloth: tuple[int, int, int], rail: tuple[int, int, int]) -> None:
  edge = 0.2
  outer = [(-HALF_FAR - edge, FAR - 0.14), (HALF_FAR + edge, FAR - 0.14), (HALF_NEAR + 0.5, NEAR + 0.3), (-HALF_NEAR - 0.5, NEAR + 0.3)]
  pen.polygon(outer, rail, shade(rail, 0.4))
  pen.polygon([(-HALF_FAR, FAR), (HALF_FAR, FAR), (HALF_NEAR, NEAR), (-HALF_NEAR, NEAR)], cloth, shade(cloth, 0.5))
  for x, y in ((-2, 0), (0, 0), (2, 0), (-2, 2), (2, 2)):
    px, py, size = _on_frame(x, y)
    pen.ellipse(px, py, 0.2 * size, 0.12 * size, (16, 14, 14))


def _ball(pen: Pen, place: np.ndarray, color: tuple[int, int, int]) -> None:
  x, y, size = _on_frame(float(place[0]), float(place[1]))
  r = RADIUS * size
  pen.ellipse(x + 0.05, y + 0.02, r * 1.1, r * 0.6, (20, 30, 24))
  pen.ellipse(x, y - r * 0.6, r, r, color, outline=shade(color, 0.4))
  pen.ellipse(x - r * 0.3, y - r * 0.95, r * 0.28, r * 0.28, (255, 255, 255))
