"""BabyCrawling: a baby on hands and knees crosses the frame near the ground."""

from __future__ import annotations

import dataclasses
import math

from tbvis.datasets.stage import figure
from tbvis.datasets.stage.paint import Color, Pen, hsv, shade
from tbvis.datasets.stage.scenes.base import Scene, scene

HIPS, SHOULDERS = (-0.75, -1.0), (0.55, -1.08)  # Above the ground, from the baby's middle.
MIDDLE = 1.2  # Seconds: when it is in the middle of the frame.


@scene("BabyCrawling")
class BabyCrawling(Scene):
  """The baby is seen from the side, its face turned to the viewer."""

  uses = ("stroke_rate", "stroke_amplitude", "alternation", "crawl_speed", "ground_depth")

  def prepare(self) -> None:
    """Makes the baby: the group's person with a baby's hair."""
    style = "cap" if self.cast.hair_style == "cap" else "short"
    self._baby = dataclasses.replace(self.cast, hair_style=style)
    self._nappy = hsv(self.rng.uniform(0, 360), self.rng.uniform(0.0, 0.25), self.rng.uniform(0.85, 1.0))

  def limb_at(self, t: float, phase: float) -> tuple[float, float]:
    """Returns how far forward (heads) and how high (heads) a hand or knee is: it slides back on the ground and swings forward above it."""
    u = self.cycle(t, phase) % 1.0
    step = self.number("stroke_amplitude")
    if u < 0.6:
      return step * (1 - 2 * u / 0.6), 0.0
    swing = (u - 0.6) / 0.4
    return -step * math.cos(math.pi * swing), 0.9 * step * math.sin(math.pi * swing)

  def draw(self, pen: Pen, t: float) -> None:
    """Draws the baby."""
    baby = self._baby
    pose = self.pose(t)
    x = self.number("crawl_speed") * (t - MIDDLE) + pose.sway * 0.5
    ground = pen.at(x, self.number("ground_depth"))
    bob = 0.04 * math.sin(4 * math.pi * self.cycle(t))
    ground.ellipse(0.0, 0.02, 1.7, 0.14, (46, 40, 36))
    other = self.number("alternation")
    suit = baby.shirt
    # The far limbs first, darker; each knee goes with the hand of the other side.
    self._leg(ground, t, other + 0.5, 0.72, bob)
    self._arm(ground, t, other, 0.72, bob)
    trunk = [(HIPS[0], HIPS[1] + bob), (SHOULDERS[0], SHOULDERS[1] - bob)]
    ground.limb(trunk[0], trunk[1], 1.0, 0.86, suit, shade(suit, 0.45))
    for k in range(5):
      stripe = HIPS[0] + 0.3 + 0.24 * k
      ground.limb((stripe, HIPS[1] - 0.36 + bob), (stripe + 0.05, HIPS[1] + 0.36 + bob), 0.07, 0.07, shade(suit, 0.72))
    ground.limb((HIPS[0] - 0.12, HIPS[1] + bob), (HIPS[0] + 0.2, HIPS[1] + bob), 1.02, 1.04, self._nappy, shade(self._nappy, 0.6))
    self._leg(ground, t, 0.5, 1.0, bob)
    self._arm(ground, t, 0.0, 1.0, bob)
    head = ground.at(SHOULDERS[0] + 0.5, SHOULDERS[1] - 0.3 - 1.6 * bob, 8.0, 1.08)
    figure.draw_head(head.at(-pose.sway - figure.HEAD_CENTER[0], -pose.lift - figure.HEAD_CENTER[1]), baby, pose)

  def _leg(self, ground: Pen, t: float, phase: float, light: float, bob: float) -> None:
    forward, high = self.limb_at(t, phase)
    knee = (HIPS[0] + 0.12 + forward, -0.16 - 0.5 * high)
    foot = (knee[0] - 0.85, -0.12 - 0.3 * high)
    skin: Color = shade(self._baby.skin, light)
    edge = shade(skin, 0.5)
    ground.limb(knee, foot, 0.36, 0.24, skin, edge)
    ground.ellipse(foot[0] - 0.06, foot[1] - 0.06, 0.14, 0.2, skin, outline=edge)
    ground.limb((HIPS[0], HIPS[1] + 0.15 + bob), knee, 0.62, 0.4, skin, edge)

  def _arm(self, ground: Pen, t: float, phase: float, light: float, bob: float) -> None:
    forward, high = self.limb_at(t, phase)
    hand = (SHOULDERS[0] + 0.12 + forward, -0.1 - high)
    shoulder = (SHOULDERS[0], SHOULDERS[1] + 0.1 - bob)
    elbow = ((shoulder[0] + hand[0]) / 2 - 0.1, (shoulder[1] + hand[1]) / 2)
    sleeve, skin = shade(self._baby.shirt, light), shade(self._baby.skin, light)
    ground.limb(elbow, hand, 0.28, 0.22, skin, shade(skin, 0.5))
    ground.limb(shoulder, elbow, 0.42, 0.32, sleeve, shade(sleeve, 0.45))
    ground.ellipse(hand[0] + 0.07, hand[1] + 0.03, 0.19, 0.11, skin, outline=shade(skin, 0.5))
