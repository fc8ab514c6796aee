"""Archery: the string is drawn to the chin, held, and let go."""

from __future__ import annotations

import dataclasses

import numpy as np

from tbvis.datasets.stage import figure
from tbvis.datasets.stage.paint import Pen, hsv, shade
from tbvis.datasets.stage.scenes.base import Scene, scene
from tbvis.datasets.stage.scenes.timing import height

REACH = 1.45  # From the shoulder to the hand that holds the bow.
CHIN = 0.26  # How far the arrow lies above the shoulders, heads.
BRACE = 0.42  # From the bow to its string at rest.
HALF = 1.36  # Half the bow's length.
RELEASE = 0.66  # Share of a cycle at which the arrow goes.
ARROW, ARROW_SPEED = 2.1, 22.0  # Heads, heads a second.


@scene("Archery")
class Archery(Scene):
  """The archer aims to the right of the frame with a tall bow."""

  uses = ("stroke_rate", "draw_length", "aim_angle")

  def prepare(self) -> None:
    """Chooses bow and feathers."""
    rng = self.rng
    self._bow = hsv(rng.choice([15, 25, 30, 0, 220]), rng.uniform(0.5, 0.9), rng.uniform(0.3, 0.7))
    self._feather = hsv(rng.uniform(0, 360), 0.85, rng.uniform(0.6, 0.95))

  def drawn(self, t: float) -> float:
    """Returns how far the string is drawn at time t, heads."""
    u = self.cycle(t) % 1.0
    return self.number("draw_length") * height(u, (0.0, 0.08, 0.5, RELEASE, RELEASE + 0.015, 1.0), (0.0, 0.0, 1.0, 1.0, 0.0, 0.0))

  def draw(self, pen: Pen, t: float) -> None:
    """Draws archer, bow and arrow."""
    cast = self.cast
    pose = self.pose(t)
    # The archer looks along the arrow.
    pose = dataclasses.replace(pose, gaze=(0.8 + 0.2 * pose.gaze[0], 0.3 * pose.gaze[1]), head_shift=0.08)
    u, aim = self.cycle(t) % 1.0, self.number("aim_angle")
    pen = pen.at(-0.4, 0)
    figure.draw_body(pen, cast, pose)
    shoulder = figure.shoulder_of(pose, cast, right=False)
    grip = figure.along((shoulder[0], shoulder[1] - CHIN), aim, REACH)
    back = self.drawn(t)
    nock = figure.along(grip, aim, -BRACE - back)
    figure.draw_head(pen, cast, pose)
    middle = ((shoulder[0] + grip[0]) / 2, (shoulder[1] + grip[1]) / 2 + 0.08)
    figure.draw_arm(pen, cast, pose, grip, aim, right=False, elbow=middle)
    self._draw_bow(pen, grip, nock, aim, back)
    after = (u - RELEASE) / self.number("stroke_rate")
    if after < 0 or u > 0.97:
      self._draw_arrow(pen, nock, aim)
    else:
      self._draw_arrow(pen, figure.along(nock, aim, ARROW_SPEED * after), aim)
    hand = self._drawing_hand(u, nock, aim)
    elbow = (-1.15 + 0.3 * hand[0], 0.12 + 0.4 * hand[1])
    figure.draw_arm(pen, cast, pose, hand, aim, right=True, elbow=elbow)

  def _drawing_hand(self, u: float, nock: tuple[float, float], aim: float) -> tuple[float, float]:
    if u < RELEASE:
      return nock
    # After the shot the hand stays behind, then goes back to the string.
    loose = figure.along(nock, aim, -self.number("draw_length") - 0.15)
    share = height(u, (RELEASE, 0.76, 1.0), (0.0, 0.0, 1.0))
    return tuple(np.add(loose, np.subtract(nock, loose) * share))

  def _draw_bow(self, pen: Pen, grip: tuple[float, float], nock: tuple[float, float], aim: float, back: float) -> None:
    local = pen.at(*grip, -aim)
    bend = 0.42 + 0.22 * back
    tall = HALF * (1 - 0.07 * back)
    # Each limb is an arc from the grip to its tip, which bends towards the archer.
    share = np.linspace(0, 1, 8)
    for side in (-1, 1):
      points = np.stack([0.1 - bend * share**2.2 - 0.02, side * tall * share], axis=1)
      for k in range(7):
        wide = 0.17 - 0.014 * k
        local.limb(tuple(points[k]), tuple(points[k + 1]), wide, wide - 0.014, self._bow, shade(self._bow, 0.4))
      local.limb(tuple(points[-1]), (points[-1][0] + 0.06, points[-1][1] + side * 0.07), 0.07, 0.05, self._bow)
    local.limb((0.08, -0.26), (0.08, 0.26), 0.2, 0.2, shade(self._bow, 0.5))
    tip = 0.08 - bend
    to_local = np.array([-BRACE - back, 0.0])
    for side in (-1, 1):
      local.line([(tip, side * tall), tuple(to_local)], (244, 244, 236))
      local.line([(tip + 0.012, side * tall), tuple(to_local + (0.012, 0))], (90, 90, 90))

  def _draw_arrow(self, pen: Pen, nock: tuple[float, float], aim: float) -> None:
    local = pen.at(*nock, -aim)
    local.limb((0, 0), (ARROW, 0), 0.05, 0.05, (214, 180, 120), (80, 60, 30))
    local.polygon([(ARROW, -0.07), (ARROW + 0.2, 0), (ARROW, 0.07)], (170, 176, 184), (50, 52, 58))
    for side in (-1, 1):
      local.polygon([(0.04, 0), (0.1, side * 0.11), (0.34, side * 0.11), (0.42, 0)], self._feather, shade(self._feather, 0.5))
