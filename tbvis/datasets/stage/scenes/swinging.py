"""What circles at the hand, one movement with two props: YoYo and Nunchucks."""

from __future__ import annotations

import math

import numpy as np

from tbvis.datasets.stage import figure
from tbvis.datasets.stage.paint import Pen, direction, hsv, shade
from tbvis.datasets.stage.scenes.base import Scene, scene

Point = tuple[float, float]


class SwingScene(Scene):
  """A hand before the body swings a prop; the prop's path on the frame is an ellipse."""

  uses = ("stroke_rate", "stroke_amplitude", "swing_axis", "swing_roundness", "swing_size")

  def prepare(self) -> None:
    """Chooses the prop's colours and the way of the circling."""
    self._color = hsv(self.rng.uniform(0, 360), self.rng.uniform(0.6, 0.95), self.rng.uniform(0.45, 0.9))
    self._way = float(self.rng.choice([-1, 1]))

  def orbit(self, t: float) -> np.ndarray:
    """Returns where on its ellipse the prop is at time t, (2,) in heads from the ellipse's middle."""
    phase = 2 * math.pi * self.cycle(t)
    axis = self.number("swing_axis")
    long, short = math.cos(phase), self._way * self.number("swing_roundness") * math.sin(phase)
    return self.number("swing_size") * (long * direction(axis) + short * direction(axis + 90))

  def hand(self, t: float) -> Point:
    """Returns where the swinging hand is: it follows the stroke up and down, and drifts before the body."""
    drift = 0.16 * math.sin(2 * math.pi * 0.31 * t + self._phases[5])
    return -0.85 + drift, 0.72 + self.number("stroke_amplitude") * math.cos(2 * math.pi * self.cycle(t))

  def draw(self, pen: Pen, t: float) -> None:
    """Draws player and prop."""
    cast, pose = self.cast, self.pose(t)
    figure.draw_body(pen, cast, pose)
    figure.draw_head(pen, cast, pose)
    figure.draw_arm(pen, cast, pose, (0.72, 1.05 + 0.05 * self.stroke(t)), 120, right=False, elbow=(1.2, 1.05))
    hand = self.hand(t)
    elbow = (-1.3 + 0.3 * (hand[0] + 0.85), 1.0 + 0.3 * (hand[1] - 0.72))
    self.draw_prop(pen, hand, self.orbit(t), t, before=False)
    figure.draw_arm(pen, cast, pose, hand, 20, right=True, elbow=elbow)
    self.draw_prop(pen, hand, self.orbit(t), t, before=True)

  def draw_prop(self, pen: Pen, hand: Point, orbit: np.ndarray, t: float, before: bool) -> None:
    """Draws what is held: what lies behind the hand, then what lies before it."""
    raise NotImplementedError


@scene("YoYo")
class YoYo(SwingScene):
  """A yo-yo on its string: it runs away from the hand and back."""

  def draw_prop(self, pen: Pen, hand: Point, orbit: np.ndarray, t: float, before: bool) -> None:
    """Draws string and yo-yo; the ellipse hangs from the hand by the end of its long axis."""
    if not before:
      return
    finger = np.array([hand[0] + 0.12, hand[1] + 0.08])
    axis = direction(self.number("swing_axis"))
    # From an axis of either sign the ellipse lies on the side that is lower.
    away = -axis if axis[1] <= 0 else axis
    place = finger + away * (self.number("swing_size") + 0.2) + orbit
    pen.limb(tuple(finger), tuple(place), 0.035, 0.035, (240, 240, 232), (150, 150, 150))
    local = pen.at(float(place[0]), float(place[1]), 900 * t)
    dark = shade(self._color, 0.4)
    local.ellipse(0, 0, 0.25, 0.25, self._color, outline=dark)
    local.ellipse(0, 0, 0.17, 0.17, shade(self._color, 1.45))
    for k in range(3):
      angle = math.radians(120 * k)
      local.limb((0, 0), (0.2 * math.cos(angle), 0.2 * math.sin(angle)), 0.07, 0.07, dark)
    local.ellipse(0, 0, 0.07, 0.07, (236, 230, 214), outline=dark)


@scene("Nunchucks")
class Nunchucks(SwingScene):
  """Two sticks on a chain: one is held, the other whirls."""

  def draw_prop(self, pen: Pen, hand: Point, orbit: np.ndarray, t: float, before: bool) -> None:
    """Draws the held stick behind the fist, chain and whirling stick before it."""
    pivot = np.array([hand[0] + 0.06, hand[1] - 0.36])
    wood, dark = shade(self._color, 0.6), shade(self._color, 0.25)
    if not before:
      pen.limb((hand[0] - 0.1, hand[1] + 0.6), tuple(pivot), 0.22, 0.17, wood, dark)
      return
    tip = pivot + orbit * 1.7
    root = pivot + orbit * 0.5
    pen.limb(tuple(pivot), tuple(root), 0.06, 0.06, (206, 210, 216), (70, 74, 80))
    for share in (0.0, 0.33, 0.66, 1.0):
      x, y = pivot + (root - pivot) * share
      pen.ellipse(x, y, 0.055, 0.055, (186, 190, 198), outline=(60, 62, 68))
    pen.limb(tuple(root), tuple(tip), 0.17, 0.23, wood, dark)
    pen.limb(tuple(root + (tip - root) * 0.8), tuple(root + (tip - root) * 0.86), 0.21, 0.22, (226, 190, 80))
