"""PlayingTabla: two drums before the knees, struck in turn."""

from __future__ import annotations

import math

from tbvis.datasets.stage import figure
from tbvis.datasets.stage.paint import Pen, hsv, shade
from tbvis.datasets.stage.scenes.base import Scene, scene


@scene("PlayingTabla")
class PlayingTabla(Scene):
  """A wide metal drum (bayan) and a narrow wooden one (dayan)."""

  uses = ("stroke_rate", "stroke_amplitude", "alternation")

  def prepare(self) -> None:
    """Chooses the drums' colours."""
    self._metal = hsv(self.rng.uniform(20, 50), self.rng.uniform(0.1, 0.45), self.rng.uniform(0.55, 0.8))
    self._wood = hsv(self.rng.uniform(14, 30), 0.75, self.rng.uniform(0.3, 0.5))

  def draw(self, pen: Pen, t: float) -> None:
    """Draws player and drums."""
    cast, pose = self.cast, self.pose(t)
    figure.draw_body(pen, cast, pose, knees=1.5)
    figure.draw_head(pen, cast, pose)
    _drum(pen, 0.66, 1.98, 0.62, 0.56, self._metal, round_body=True)
    _drum(pen, -0.66, 1.9, 0.5, 0.6, self._wood, round_body=False)
    for right, x, top, phase in ((True, -0.66, 1.9, 0.0), (False, 0.66, 1.98, self.number("alternation"))):
      lift, swing = self._lift(t, phase)
      hand = (x + (0.12 if right else -0.12) * swing, top - 0.14 - self.number("stroke_amplitude") * 1.6 * lift)
      side = -1.0 if right else 1.0
      figure.draw_arm(pen, cast, pose, hand, -90 + side * (-20 - 30 * lift), right=right)

  def _lift(self, t: float, phase: float) -> tuple[float, float]:
    # A quick fall, a rebound and a slower rise: the shape of a drum stroke.
    cycle = self.cycle(t, phase) % 1.0
    return abs(math.sin(math.pi * cycle**0.8)), math.cos(2 * math.pi * cycle)


def _drum(pen: Pen, x: float, top: float, radius: float, body: float, color: tuple[int, int, int], round_body: bool) -> None:
  bottom = top + 1.0
  flat = 0.4 * radius
  if round_body:
    profile = [(-radius, top), (-radius * 1.12, top + 0.35), (-radius * 0.85, top + 0.8), (-radius * 0.5, bottom)]
  else:
    profile = [(-radius, top), (-radius * 1.25, top + 0.7), (-radius * 1.1, bottom)]
  points = [(x + dx, y) for dx, y in profile] + [(x - dx, y) for dx, y in reversed(profile)]
  edge = shade(color, 0.4)
  pen.polygon(points, color, edge)
  pen.polygon([(px * 0.55 + x * 0.45 - 0.2 * radius, py) for px, py in points], shade(color, 1.2))
  for k in range(-3, 4):
    pen.line([(x + k * radius / 3.2, top + flat * 0.8), (x + (k + 0.5) * radius / 3.0, top + body)], (236, 214, 170))
  pen.ellipse(x, top + 0.05, radius * 1.08, flat * 1.08, (120, 84, 50), outline=(50, 32, 20))
  pen.ellipse(x, top, radius, flat, (236, 224, 200), outline=(110, 90, 70))
  pen.ellipse(x, top, radius * 0.78, flat * 0.78, (214, 198, 168), outline=(170, 150, 120))
  pen.ellipse(x, top, radius * 0.42, flat * 0.42, (26, 24, 26))
