"""SoccerJuggling: a ball is kept in the air with both thighs in turn."""

from __future__ import annotations

import math

from tbvis.datasets.stage import figure
from tbvis.datasets.stage.paint import Pen, hsv, shade
from tbvis.datasets.stage.scenes.balls import draw_patched_ball, thrown
from tbvis.datasets.stage.scenes.base import Scene, scene

THIGH = (0.5, 1.5)  # Top of a lifted thigh.


@scene("SoccerJuggling")
class SoccerJuggling(Scene):
  """A ball with patches goes up from one thigh and comes down on the other."""

  uses = ("stroke_rate", "ball_speed", "ball_size", "ball_axis")

  def prepare(self) -> None:
    """Chooses ball and socks."""
    self._patch = hsv(self.rng.uniform(0, 360), self.rng.choice([0.0, 0.0, 0.8]), self.rng.uniform(0.1, 0.35))
    self._sock = hsv(self.rng.uniform(0, 360), self.rng.uniform(0.2, 0.8), self.rng.uniform(0.4, 0.95))

  def place(self, t: float) -> tuple[float, float]:
    """Returns where the ball's middle is at time t."""
    cycle = self.cycle(t)
    touch, u = math.floor(cycle), cycle % 1.0
    radius = self.number("ball_size")
    x_from, x_to = (THIGH[0] * (1 if (touch + k) % 2 else -1) for k in (0, 1))
    start = (x_from + (x_to - x_from) * u, THIGH[1] - radius)
    period = 1 / self.number("stroke_rate")
    return thrown(start, self.number("ball_axis"), self.number("ball_speed"), u * period, period)

  def draw(self, pen: Pen, t: float) -> None:
    """Draws player and ball."""
    cast, pose = self.cast, self.pose(t)
    cycle = self.cycle(t)
    figure.draw_body(pen, cast, pose, knees=0.42)
    figure.draw_head(pen, cast, pose)
    beat = math.sin(math.pi * cycle)
    for right in (True, False):
      side = -1.0 if right else 1.0
      hand = (side * (1.72 + 0.08 * beat), 1.4 + 0.18 * side * beat)
      figure.draw_arm(pen, cast, pose, hand, -30 if not right else -150, right=right)
    for leg, side in ((0, -1.0), (1, 1.0)):
      # Each thigh is up when the ball is on it: at every second touch.
      near = math.cos(math.pi * (cycle - leg))
      self._leg(pen, side, max(0.0, near) ** 1.5 if near > 0 else 0.0)
    draw_patched_ball(pen, self.place(t), self.number("ball_size"), (240, 240, 236), self._patch, 220 * t)

  def _leg(self, pen: Pen, side: float, lifted: float) -> None:
    if lifted < 0.05:
      return
    cast = self.cast
    trousers, skin = cast.trousers, cast.skin
    hip, knee = (side * 0.34, 2.2), (side * (0.42 + 0.2 * lifted), 2.7 - 0.85 * lifted)
    foot = (knee[0] - side * 0.1, knee[1] + 1.7)
    pen.limb(knee, foot, 0.5, 0.36, self._sock, shade(self._sock, 0.5))
    pen.limb(hip, knee, 0.74, 0.62, trousers, shade(trousers, 0.5))
    pen.ellipse(knee[0], knee[1] + 0.02, 0.27, 0.25, skin, outline=shade(skin, 0.5))
