"""VolleyballSpiking: a jump behind the net, a swing of the arm, and the ball goes down steeply."""

from __future__ import annotations

import dataclasses
import math

from tbvis.datasets.stage import figure
from tbvis.datasets.stage.paint import Pen, hsv
from tbvis.datasets.stage.scenes.balls import draw_panelled_ball
from tbvis.datasets.stage.scenes.base import Scene, scene
from tbvis.datasets.stage.scenes.nets import net
from tbvis.datasets.stage.scenes.timing import way

CONTACT = 0.5  # Share of a cycle at which the hand meets the ball.
STANDS = 1.35  # How far the player's shoulders are below those of a sitting one, heads.
TAPE, FOOT, HALF = 1.32, 2.3, 3.2  # Upper and lower edge of the net, half its width.


@scene("VolleyballSpiking")
class VolleyballSpiking(Scene):
  """The ball is set from the side, met at the top of the jump and beaten over the net."""

  uses = ("stroke_rate", "jump_height", "ball_speed", "ball_size", "ball_axis")

  def prepare(self) -> None:
    """Chooses ball and net."""
    rng = self.rng
    self._net = net(rng, HALF, FOOT - TAPE, 0.2, (36, 38, 42))
    self._ball = (244, 240, 226)
    self._patch = hsv(rng.choice([45, 50, 215, 220, 0]), rng.uniform(0.5, 0.9), rng.uniform(0.6, 0.9))

  def rise(self, t: float) -> float:
    """Returns how high the jump is at time t, heads; the top is just before the hand meets the ball."""
    u = self.cycle(t) % 1.0
    return self.number("jump_height") * math.sin(math.pi * min(max((u - 0.22) / 0.5, 0.0), 1.0))

  def meeting(self) -> tuple[float, float]:
    """Returns where hand and ball meet."""
    return -0.72, STANDS - 0.98 * self.number("jump_height") + 0.16 - 1.78

  def place(self, t: float) -> tuple[float, float]:
    """Returns where the ball is at time t."""
    u = self.cycle(t) % 1.0
    seconds = (u - CONTACT) / self.number("stroke_rate")
    x, y = self.meeting()
    y -= self.number("ball_size") * 0.6
    if seconds >= 0:
      return figure.along((x, y), self.number("ball_axis"), self.number("ball_speed") * seconds)
    # The set: in from the right in an arc that ends here.
    return x - 2.6 * seconds, y + 2.2 * seconds + 5.0 * seconds**2

  def draw(self, pen: Pen, t: float) -> None:
    """Draws player, net and ball."""
    cast = self.cast
    u = self.cycle(t) % 1.0
    down = STANDS - self.rise(t)
    pose = dataclasses.replace(self.pose(t), lift=down)
    figure.draw_body(pen, cast, pose, knees=0.5)
    figure.draw_head(pen, cast, pose)
    times = (0.0, 0.25, 0.4, CONTACT, 0.62, 0.78, 1.0)
    striking = ((-1.05, 1.3), (-1.3, 1.1), (-1.45, -0.75), (-0.72, -1.62), (-0.1, 0.6), (-0.7, 1.2), (-1.05, 1.3))
    other = ((1.0, 1.3), (1.25, 1.1), (0.75, -1.4), (1.1, -0.2), (1.15, 0.9), (1.1, 1.3), (1.0, 1.3))
    x, y = way(u, times, other)
    figure.draw_arm(pen, cast, pose, (x + pose.sway, y + down), 70, right=False)
    x, y = way(u, times, striking)
    figure.draw_arm(pen, cast, pose, (x + pose.sway, y + down), 80, right=True)
    place = self.place(t)
    if u < CONTACT:
      draw_panelled_ball(pen, place, self.number("ball_size"), self._ball, self._patch, 200 * t)
    self._draw_net(pen)
    if u >= CONTACT:  # It has come over the net, towards the viewer.
      draw_panelled_ball(pen, place, self.number("ball_size"), self._ball, self._patch, 500 * t)

  def _draw_net(self, pen: Pen) -> None:
    pen.at(0, FOOT).sprite(self._net)
    pen.limb((-HALF, TAPE), (HALF, TAPE), 0.14, 0.14, (244, 244, 240), (130, 130, 130))
    pen.limb((-HALF, FOOT), (HALF, FOOT), 0.08, 0.08, (232, 232, 228), (130, 130, 130))
