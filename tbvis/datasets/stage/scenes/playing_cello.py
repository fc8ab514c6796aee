"""PlayingCello: the instrument stands between the knees, the bow strokes run level."""

from __future__ import annotations

import math

from tbvis.datasets.stage import figure
from tbvis.datasets.stage.paint import Pen
from tbvis.datasets.stage.scenes.base import Scene, scene
from tbvis.datasets.stage.scenes.strings import draw_bow, instrument

BRIDGE = (0.16, 1.62)


@scene("PlayingCello")
class PlayingCello(Scene):
  """A cello of 2.3 heads body, its bow drawn between bridge and fingerboard."""

  uses = ("instrument_angle", "bow_axis", "stroke_rate", "stroke_amplitude")

  def prepare(self) -> None:
    """Makes the cello."""
    self._cello = instrument(self.rng, length=2.3, width=1.42, neck=0.85)
    self._finger_rate, self._finger_phase = self.rng.uniform(0.6, 1.6), self.rng.uniform(0, 6)

  def draw(self, pen: Pen, t: float) -> None:
    """Draws player, cello and bow."""
    cast, pose = self.cast, self.pose(t)
    angle = self.number("instrument_angle")
    bridge = (BRIDGE[0] + 0.5 * pose.sway, BRIDGE[1])
    figure.draw_body(pen, cast, pose, knees=1.25)
    figure.draw_head(pen, cast, pose)
    pen.at(*bridge, angle).sprite(self._cello)
    upright = 90 - angle
    contact = figure.along(bridge, upright, 0.22)
    bow = self.number("bow_axis")
    middle = 0.95
    position = min(1.95, max(0.15, middle + self.number("stroke_amplitude") * self.stroke(t)))
    frog = draw_bow(pen, contact, bow, position)
    slide = 0.14 * math.sin(2 * math.pi * self._finger_rate * t + self._finger_phase)
    on_neck = figure.along(bridge, upright, 1.72 + slide)
    elbow = (1.22 + 0.3 * (on_neck[0] - 0.45), 0.78 + 0.3 * (on_neck[1] + 0.1))
    figure.draw_arm(pen, cast, pose, on_neck, 180, right=False, elbow=elbow)
    figure.draw_arm(pen, cast, pose, frog, bow - 15, right=True)
