"""PlayingFlute: a tube across the mouth that bobs a little, fingers that move on it."""

from __future__ import annotations

from collections.abc import Callable
import math

from tbvis.datasets.stage import figure
from tbvis.datasets.stage.paint import Color, Pen, Point, hsv, shade
from tbvis.datasets.stage.scenes.base import Scene, scene

LENGTH = 2.35  # From the mouth to the open end, heads.
HANDS = (0.85, 1.6)  # Where the hands hold it.


@scene("PlayingFlute")
class PlayingFlute(Scene):
  """A flute held level to the player's right; the open end goes up and down by the stroke's amplitude."""

  uses = ("instrument_angle", "stroke_rate", "stroke_amplitude")

  def prepare(self) -> None:
    """Chooses metal or wood."""
    rng = self.rng
    silver = hsv(rng.uniform(200, 230), rng.uniform(0.02, 0.12), rng.uniform(0.75, 0.9))
    wooden = hsv(rng.uniform(14, 34), rng.uniform(0.5, 0.8), rng.uniform(0.35, 0.6))
    self._tube = silver if rng.random() < 0.7 else wooden
    self._rates = rng.uniform(2.0, 4.0, 8)

  def draw(self, pen: Pen, t: float) -> None:
    """Draws player and flute."""
    cast, pose = self.cast, self.pose(t)
    bob = math.degrees(math.atan2(self.number("stroke_amplitude") * self.stroke(t), LENGTH))
    outward = 90 - self.number("instrument_angle") + bob
    lips = figure.face_point(pose, 0.0, figure.MOUTH_Y + 0.09)
    figure.draw_body(pen, cast, pose)
    figure.draw_head(pen, cast, pose)

    def at(distance: float, above: float = 0.0) -> Point:
      return figure.along(figure.along(lips, outward, distance), 90, above)

    edge = shade(self._tube, 0.4)
    for right, distance in ((False, HANDS[0]), (True, HANDS[1])):
      hand = at(distance, -0.16)
      elbow = (0.95, 1.0) if not right else None
      if right:
        elbow = (min(-1.45, hand[0] - 0.1), 0.95 + 0.2 * hand[1])
      figure.draw_arm(pen, cast, pose, hand, 100, right=right, elbow=elbow)
    pen.limb(at(-0.42), at(LENGTH), 0.13, 0.12, self._tube, edge)
    pen.limb(at(-0.36, 0.03), at(LENGTH - 0.08, 0.03), 0.035, 0.035, shade(self._tube, 1.35))
    pen.limb(at(-0.12), at(0.16), 0.17, 0.17, shade(self._tube, 0.9), edge)
    for k in range(12):
      place = at(0.5 + 0.14 * k, 0.02)
      pen.ellipse(*place, 0.05, 0.05, shade(self._tube, 0.75), outline=edge)
    self._fingers(pen, at, cast.skin, t)

  def _fingers(self, pen: Pen, at: Callable[[float, float], Point], skin: Color, t: float) -> None:
    edge = shade(skin, 0.5)
    for k, rate in enumerate(self._rates):
      hand = HANDS[k // 4]
      distance = hand - 0.18 + 0.12 * (k % 4)
      pressed = max(0.0, math.sin(2 * math.pi * rate * t + self._phases[k]))
      pen.limb(at(distance, -0.14), at(distance + 0.02, 0.07 + 0.16 * (1 - pressed)), 0.1, 0.08, skin, edge)
