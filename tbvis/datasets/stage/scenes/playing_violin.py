"""PlayingViolin: the instrument lies level at the chin, the bow strokes run steep."""

from __future__ import annotations

import math

from tbvis.datasets.stage import figure
from tbvis.datasets.stage.paint import Pen
from tbvis.datasets.stage.scenes.base import Scene, scene
from tbvis.datasets.stage.scenes.strings import draw_bow, instrument

CHIN_REST = (0.12, -0.06)
BODY = 1.3


@scene("PlayingViolin")
class PlayingViolin(Scene):
  """A violin of 1.3 heads body under the chin."""

  uses = ("instrument_angle", "bow_axis", "stroke_rate", "stroke_amplitude")

  def prepare(self) -> None:
    """Makes the violin."""
    self._violin = instrument(self.rng, length=BODY, width=0.76, neck=0.5)
    self._finger_rate, self._finger_phase = self.rng.uniform(0.8, 2.0), self.rng.uniform(0, 6)

  def draw(self, pen: Pen, t: float) -> None:
    """Draws player, violin and bow."""
    cast, pose = self.cast, self.pose(t)
    angle = self.number("instrument_angle")
    neckward = 90 - angle
    rest = (CHIN_REST[0] + pose.sway, CHIN_REST[1] + pose.lift)
    bridge = figure.along(rest, neckward, 0.42 * BODY)
    figure.draw_body(pen, cast, pose)
    slide = 0.07 * math.sin(2 * math.pi * self._finger_rate * t + self._finger_phase)
    on_neck = figure.along(bridge, neckward, 0.58 * BODY + 0.32 + slide)
    figure.draw_arm(pen, cast, pose, (on_neck[0], on_neck[1] + 0.08), 100, right=False)
    pen.at(*bridge, angle).sprite(self._violin)
    figure.draw_head(pen, cast, pose)
    contact = figure.along(bridge, neckward, 0.12)
    bow = self.number("bow_axis")
    position = min(1.95, max(0.15, 0.95 + self.number("stroke_amplitude") * self.stroke(t)))
    frog = draw_bow(pen, contact, bow, position)
    figure.draw_arm(pen, cast, pose, frog, bow - 25, right=True)
