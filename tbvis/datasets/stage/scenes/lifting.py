"""A barbell is lifted, by a body that stands or lies: CleanAndJerk and BenchPress."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from tbvis.datasets.stage import figure
from tbvis.datasets.stage.paint import Pen, direction, hsv, shade
from tbvis.datasets.stage.scenes.base import Scene, scene
from tbvis.datasets.stage.scenes.timing import ease, height

Point = tuple[float, float]

ARMS = 1.93  # How far above the shoulders the bar is at the top of a lift, heads.
GRIP = 0.86  # From the middle of the bar to each hand.
SHEAR = 52.0  # Degrees by which the line of the shoulders of a lying body rises: it is seen from the side and a little from above.


class LiftScene(Scene):
  """Body and bar for any lean of the body between standing and lying."""

  uses = ("stroke_rate", "body_angle", "bar_travel", "bar_angle", "bar_shake")

  def prepare(self) -> None:
    """Chooses the plates' colours."""
    rng = self.rng
    self._plate = hsv(rng.choice([0, 0, 45, 140, 215, 215]), rng.uniform(0.1, 0.85), rng.uniform(0.2, 0.8))
    self._plates = int(rng.integers(1, 3))

  @property
  def lean(self) -> float:
    """How far the body lies: 0 stands, 1 lies."""
    return math.sin(math.radians(self.number("body_angle")))

  def lift(self, t: float) -> float:
    """Returns how high the bar is, from 0 (down) to 1 (up)."""
    raise NotImplementedError

  def dip(self, t: float) -> float:
    """Returns how far the body goes into its knees, heads."""
    return 0.0

  def body_pen(self, pen: Pen, dip: float) -> Pen:
    """Returns the pen of the leaning body, whose origin is between the shoulders."""
    lean, angle = self.lean, self.number("body_angle")
    local = pen.at(-0.85 * lean, 1.05 * (1 - lean) + 1.35 * lean + dip)
    across = direction(SHEAR * angle / 90) * (1 - 0.28 * lean)
    down = direction(angle - 90)
    local.matrix = local.matrix @ np.array([[across[0], down[0], 0.0], [across[1], down[1], 0.0], [0.0, 0.0, 1.0]])
    return local

  def draw(self, pen: Pen, t: float) -> None:
    """Draws lifter, bench and bar."""
    cast, lean = self.cast, self.lean
    pose = dataclasses.replace(self.pose(t), lift=0.0)
    dip = self.dip(t) * (1 - lean)
    body = self.body_pen(pen, dip)
    to_heads = np.linalg.inv(pen.matrix) @ body.matrix
    self.draw_bench(pen)
    figure.draw_body(body, cast, pose, knees=0.5 + 0.3 * (1 - lean))
    if lean > 0.5:
      self._shins(pen, body, to_heads)
    # The face is turned to the viewer, so the head is turned with the body, not slanted.
    origin = to_heads[:2, 2]
    figure.draw_head(pen.at(float(origin[0]), float(origin[1]), -0.9 * self.number("body_angle")), cast, pose)
    chest = (to_heads @ (0, 0.16, 1))[:2]
    up = self.lift(t)
    bar = (float(chest[0]) + 0.6 * lean, float(chest[1]) - dip - ARMS + 0.3 * lean + self.number("bar_travel") * (1 - up))
    rock = self.number("bar_shake") * math.sin(2 * math.pi * 3.0 * t + self._phases[2])
    degrees = self.number("bar_angle") + rock
    reach = 1 - 0.35 * lean
    hands = [figure.along(bar, degrees, side * GRIP * reach) for side in (-1, 1)]
    shoulders = [tuple((to_heads @ (*figure.shoulder_of(pose, cast, right), 1))[:2]) for right in (True, False)]
    self._far_plates(pen, bar, degrees, lean)
    # The far arm is hidden by the bar, the near one holds it.
    figure.draw_arm(pen, cast, pose, hands[1], 90, right=False, shoulder=shoulders[1])
    bar_half = 2.05 * reach
    pen.limb(figure.along(bar, degrees, -bar_half), figure.along(bar, degrees, bar_half), 0.09, 0.09, (186, 190, 198), (60, 62, 68))
    self._near_plates(pen, bar, degrees, lean)
    figure.draw_arm(pen, cast, pose, hands[0], 90, right=True, shoulder=shoulders[0])

  def draw_bench(self, pen: Pen) -> None:
    """Draws what the body lies on, if anything."""

  def _shins(self, pen: Pen, body: Pen, to_heads: np.ndarray) -> None:
    trousers = self.cast.trousers
    for side in (1, -1):
      knee = (to_heads @ (side * 0.5, 3.1, 1))[:2]
      foot = (float(knee[0]) + 0.1, float(knee[1]) + 1.15)
      pen.limb(tuple(knee), foot, 0.5, 0.34, trousers, shade(trousers, 0.5))
      pen.limb((foot[0] - 0.05, foot[1]), (foot[0] + 0.3, foot[1] + 0.05), 0.26, 0.2, (50, 48, 52), (20, 20, 20))

  def _far_plates(self, pen: Pen, bar: Point, degrees: float, lean: float) -> None:
    for k in range(self._plates):
      self._disc(pen, bar, degrees, lean, (1.5 + 0.2 * k) * (1 - 0.35 * lean), 0.62 - 0.08 * k)

  def _near_plates(self, pen: Pen, bar: Point, degrees: float, lean: float) -> None:
    for k in reversed(range(self._plates)) if lean < 0.5 else range(self._plates):
      self._disc(pen, bar, degrees, lean, -(1.5 + 0.2 * k) * (1 - 0.35 * lean), 0.62 - 0.08 * k)

  def _disc(self, pen: Pen, bar: Point, degrees: float, lean: float, place: float, radius: float) -> None:
    x, y = figure.along(bar, degrees, place)
    local = pen.at(x, y, -degrees)
    dark = shade(self._plate, 0.4)
    # A disc across the bar: edge-on when the bar lies in the plane of the frame, rounder when it points at the viewer.
    half = 0.1 + radius * 0.5 * lean
    local.ellipse(0.07, 0, half, radius, dark)
    local.ellipse(-0.03, 0, half, radius, self._plate, outline=dark)
    local.ellipse(-0.03, 0, half * 0.6, radius * 0.6, shade(self._plate, 1.3), outline=dark)
    local.ellipse(-0.03, 0, half * 0.3, radius * 0.2, (186, 190, 198), outline=(60, 62, 68))


@scene("CleanAndJerk")
class CleanAndJerk(LiftScene):
  """The bar goes from the hips to the shoulders, rests, and goes over the head, where it is balanced."""

  def lift(self, t: float) -> float:
    """Two quick pulls with a rest at the shoulders, a hold, and a quick way down."""
    u = (self.cycle(t)) % 1.0
    return height(u, (0.0, 0.02, 0.24, 0.36, 0.5, 0.72, 1.0), (0.0, 0.0, 0.58, 0.58, 1.0, 1.0, 0.0))

  def dip(self, t: float) -> float:
    """The body dips under the bar at the end of each pull."""
    u = self.cycle(t) % 1.0
    bump = lambda start, end: math.sin(math.pi * min(max((u - start) / (end - start), 0.0), 1.0))  # noqa: E731
    return 0.35 * bump(0.14, 0.36) + 0.25 * bump(0.36, 0.5)


@scene("BenchPress")
class BenchPress(LiftScene):
  """The bar goes between the chest and stretched arms, over a bench."""

  def lift(self, t: float) -> float:
    """Up and down at one pace, with a short rest at each end."""
    u = self.cycle(t) % 1.0
    return ease(1.1 * (1 - abs(2 * u - 1)) - 0.05)

  def draw_bench(self, pen: Pen) -> None:
    """Draws a padded bench with its rack."""
    pad = (54, 50, 58)
    for x in (-1.3, 1.0):
      pen.limb((x, 1.8), (x, 2.9), 0.14, 0.14, (150, 154, 160), (60, 62, 68))
    pen.limb((-1.95, 2.45), (1.4, 2.45), 0.12, 0.12, (150, 154, 160), (60, 62, 68))
    pen.polygon([(-2.3, 1.78), (1.25, 1.78), (1.6, 1.3), (-1.9, 1.3)], shade(pad, 1.4), (20, 20, 20))
    pen.polygon([(-2.3, 1.78), (1.25, 1.78), (1.25, 2.02), (-2.3, 2.02)], pad, (20, 20, 20))
