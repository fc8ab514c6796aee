"""Actions at the face, one movement with four tools: BrushingTeeth, ShavingBeard, ApplyEyeMakeup, ApplyLipstick."""

from __future__ import annotations

from tbvis.datasets.stage import figure
from tbvis.datasets.stage.paint import Color, Pen, shade
from tbvis.datasets.stage.scenes.base import Scene, scene

COLORS: dict[str, Color] = {
  "white": (238, 238, 236),
  "red": (206, 36, 40),
  "pink": (236, 120, 170),
  "blue": (36, 96, 214),
  "green": (40, 160, 80),
  "yellow": (238, 206, 50),
  "violet": (130, 60, 170),
  "black": (34, 32, 36),
  "steel": (164, 172, 182),
  "wood": (150, 96, 50),
}


@scene("BrushingTeeth")
@scene("ShavingBeard")
@scene("ApplyEyeMakeup")
@scene("ApplyLipstick")
class FaceScene(Scene):
  """A hand works on the face with a tool; tool, place and rhythm are all factors."""

  uses = (
    "tool_length",
    "tool_color",
    "tool_shape",
    "tool_angle",
    "hand_height",
    "hand_reach",
    "stroke_rate",
    "stroke_amplitude",
    "stroke_axis",
  )

  def draw(self, pen: Pen, t: float) -> None:
    """Draws person and tool."""
    cast, pose = self.cast, self.pose(t)
    figure.draw_body(pen, cast, pose)
    figure.rest_arm(pen, cast, pose, right=False)
    figure.draw_head(pen, cast, pose)
    target = figure.face_point(pose, self.number("hand_reach"), figure.CHIN_Y - self.number("hand_height"))
    tip = figure.along(target, self.number("stroke_axis"), self.number("stroke_amplitude") * self.stroke(t))
    angle, length = self.number("tool_angle"), self.number("tool_length")
    hand = figure.along(tip, angle, -length)
    draw_tool(pen, str(self.values["tool_shape"]), COLORS[str(self.values["tool_color"])], tip, angle, length)
    # The elbow hangs before the trunk and follows the hand a little.
    elbow = (-1.12 + 0.3 * (hand[0] + 0.8), 0.95 + 0.3 * (hand[1] + 0.2))
    figure.draw_arm(pen, cast, pose, hand, angle, right=True, elbow=elbow)


def draw_tool(pen: Pen, shape: str, color: Color, tip: tuple[float, float], degrees: float, length: float) -> None:
  """Draws a tool whose working end is at `tip` and whose hand end lies `length` heads behind it.

  Args:
    pen: the figure's pen.
    shape: one of factors.TOOL_SHAPES.
    color: of its handle.
    tip: where it touches.
    degrees: direction from hand to tip, above level to the right.
    length: in heads.
  """
  hand = figure.along(tip, degrees, -length)
  edge = shade(color, 0.4)
  local = pen.at(tip[0], tip[1], -degrees)
  if shape == "toothbrush":
    pen.limb(hand, tip, 0.12, 0.09, color, edge)
    local.polygon([(-0.3, -0.2), (0.02, -0.2), (0.02, -0.03), (-0.3, -0.03)], (244, 246, 250), (110, 130, 160))
    for x in (-0.22, -0.14, -0.06):
      local.line([(x, -0.19), (x, -0.04)], (90, 150, 210))
  elif shape == "razor":
    pen.limb(hand, tip, 0.12, 0.09, color, edge)
    local.polygon([(-0.08, -0.22), (0.06, -0.22), (0.06, 0.22), (-0.08, 0.22)], (70, 76, 88), (20, 22, 28))
    local.polygon([(-0.02, -0.2), (0.03, -0.2), (0.03, 0.2), (-0.02, 0.2)], (220, 226, 236))
  elif shape == "lipstick":
    local.limb((-length, 0), (-0.28, 0), 0.2, 0.2, color, edge)
    local.polygon([(-0.3, -0.08), (-0.17, -0.08), (-0.17, 0.08), (-0.3, 0.08)], (222, 186, 84), (120, 90, 30))
    local.polygon([(-0.17, -0.065), (-0.03, -0.065), (0.02, 0.03), (-0.02, 0.065), (-0.17, 0.065)], (214, 20, 50), (110, 6, 20))
  else:
    pen.limb(hand, figure.along(tip, degrees, -0.16), 0.07, 0.06, color, edge)
    local.polygon([(-0.24, -0.045), (-0.16, -0.045), (-0.16, 0.045), (-0.24, 0.045)], (206, 206, 210), (90, 90, 96))
    local.polygon([(-0.16, -0.05), (-0.07, -0.075), (0.02, 0.0), (-0.07, 0.075), (-0.16, 0.05)], (92, 52, 110), (40, 20, 50))
