"""TableTennisShot: a small ball goes to and fro over a table with a net; the player swings a bat."""

from __future__ import annotations

import math

import numpy as np

from tbvis.datasets.stage import figure
from tbvis.datasets.stage.paint import Color, Pen, Sprite, SpriteCanvas, cloud, hsv, shade
from tbvis.datasets.stage.scenes.balls import draw_ball
from tbvis.datasets.stage.scenes.base import Scene, scene
from tbvis.datasets.stage.scenes.nets import net

FAR, NEAR, HALF_FAR, HALF_NEAR = 1.42, 2.75, 1.9, 2.9
NET, NET_HIGH, NET_HALF = 2.1, 0.3, 2.55


@scene("TableTennisShot")
class TableTennisShot(Scene):
  """The player stands behind the table; the ball leaves the bat at each stroke and is back for the next."""

  uses = ("stroke_rate", "stroke_amplitude", "ball_speed", "ball_size", "ball_axis")

  def prepare(self) -> None:
    """Chooses table, net, bat and ball."""
    rng = self.rng
    self._net = net(rng, NET_HALF, NET_HIGH, 0.1, (60, 66, 72))
    color = hsv(rng.choice([140, 150, 205, 215, 225]), rng.uniform(0.5, 0.8), rng.uniform(0.3, 0.55))
    self._top = _top(rng, color)
    self._bat = hsv(rng.choice([0, 0, 5, 230]), rng.uniform(0.7, 0.9), rng.uniform(0.35, 0.8))
    self._ball = (248, 246, 236) if rng.random() < 0.6 else (250, 160, 40)

  def bat(self, t: float) -> tuple[float, float]:
    """Returns where the hand with the bat is: it moves fastest when it meets the ball."""
    return figure.along((-0.7, 1.0), 38, self.number("stroke_amplitude") * self.stroke(t))

  def place(self, t: float) -> tuple[float, float]:
    """Returns where the ball is at time t: away and back along one line, in low arcs."""
    u = self.cycle(t) % 1.0
    period = 1 / self.number("stroke_rate")
    away = self.number("ball_speed") * period * (0.5 - abs(u - 0.5))
    x, y = figure.along((-0.35, 0.82), self.number("ball_axis"), away)
    return x, y - 0.22 * abs(math.sin(3 * math.pi * u))

  def draw(self, pen: Pen, t: float) -> None:
    """Draws player, table, ball and bat."""
    cast, pose = self.cast, self.pose(t)
    figure.draw_body(pen, cast, pose)
    figure.draw_head(pen, cast, pose)
    figure.draw_arm(pen, cast, pose, (1.0, 1.2 - 0.1 * self.stroke(t)), 20, right=False)
    self._draw_table(pen)
    hand, swing = self.bat(t), self.stroke(t)
    lean = 60 + 35 * swing
    local = pen.at(*figure.along(hand, lean, 0.5), 90 - lean)
    local.limb((0, 0.55), (0, 0.2), 0.13, 0.13, (196, 150, 96), (90, 60, 30))
    local.ellipse(0, 0, 0.36, 0.4, (196, 150, 96), outline=(60, 40, 20))
    local.ellipse(0, -0.03, 0.33, 0.36, self._bat, outline=shade(self._bat, 0.4))
    figure.draw_arm(pen, cast, pose, hand, lean, right=True)
    x, y = self.place(t)
    depth = min(1.0, max(0.0, (y - 0.6) / 1.6))
    draw_ball(pen, (x, y), self.number("ball_size") * (1 + 0.3 * depth), self._ball)
    self._draw_net(pen)

  def _draw_table(self, pen: Pen) -> None:
    for x in (-1.5, 1.5):
      pen.limb((x, FAR + 0.3), (x, FAR + 1.5), 0.12, 0.12, (70, 70, 74))
    pen.sprite(self._top)

  def _draw_net(self, pen: Pen) -> None:
    pen.at(0, NET).sprite(self._net)
    pen.limb((-NET_HALF, NET - NET_HIGH), (NET_HALF, NET - NET_HIGH), 0.08, 0.08, (244, 244, 244), (150, 150, 150))
    for side in (-NET_HALF, NET_HALF):
      pen.limb((side, NET - NET_HIGH - 0.04), (side, NET + 0.1), 0.1, 0.1, (40, 40, 44))


def _top(rng: np.random.Generator, color: Color) -> Sprite:
  # Worn, not plain: on a plain surface with level lines optical flow finds motion along the lines.
  canvas = SpriteCanvas((-HALF_NEAR, FAR - 0.05, HALF_NEAR, NEAR + 0.05), 60)
  pen, white = canvas.pen, (222, 226, 230)
  pen.polygon([(-HALF_FAR, FAR), (HALF_FAR, FAR), (HALF_NEAR, NEAR), (-HALF_NEAR, NEAR)], color)
  pen.polygon([(-HALF_FAR, FAR), (HALF_FAR, FAR), (HALF_FAR, FAR + 0.06), (-HALF_FAR, FAR + 0.06)], white)
  for side in (-1, 1):
    far, near = side * HALF_FAR, side * HALF_NEAR
    pen.polygon([(far, FAR), (far - side * 0.09, FAR), (near - side * 0.13, NEAR), (near, NEAR)], white)
  pen.polygon([(-0.025, FAR), (0.025, FAR), (0.04, NEAR), (-0.04, NEAR)], white)
  canvas.texture(cloud(rng, canvas.mask.shape, 24, 4), 0.45)
  return canvas.sprite()
