"""The cast: articulated people with a body, two-link arms, hands and a face, drawn in heads.

The origin is the middle between the shoulders, x runs to the right of the frame, y down, one unit is the height of the head.
"Right" means the right-hand side of the person, which is on the left of the frame.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from tbvis.datasets.stage.paint import Color, Pen, Sprite, SpriteCanvas, as_color, cloud, direction, hsv, limb_outline, shade, similarity

HEAD_CENTER = (0.0, -0.66)
CHIN_Y = 0.46  # In the head's own frame, whose origin is its centre.
EYE = (0.175, -0.09)
MOUTH_Y = 0.22
SHOULDER = (0.78, 0.16)
UPPER_ARM, FOREARM = 1.02, 0.98

_SKINS = ((242, 205, 178), (228, 180, 145), (205, 150, 110), (172, 118, 80), (128, 84, 56), (96, 62, 44))
_HAIRS = ((28, 22, 20), (70, 44, 26), (120, 82, 44), (190, 150, 84), (110, 108, 106), (140, 60, 30))


@dataclasses.dataclass(frozen=True)
class Cast:
  """One person: looks that belong to the group."""

  skin: Color
  hair: Color
  hair_style: str
  shirt: Color
  trousers: Color
  sleeve: float
  fabric: Sprite
  iris: Color
  width: float


def make_cast(rng: np.random.Generator, tint: np.random.Generator) -> Cast:
  """Returns the person of a group (`rng`), with the small differences of one clip (`tint`)."""
  skin = _SKINS[rng.integers(len(_SKINS))]
  hair = _HAIRS[rng.integers(len(_HAIRS))]
  shirt = hsv(rng.uniform(0, 360) + tint.normal(0, 6), rng.uniform(0.15, 0.75), rng.uniform(0.35, 0.95))
  trousers = hsv(rng.uniform(0, 360), rng.uniform(0.1, 0.5), rng.uniform(0.2, 0.6))
  pattern = str(rng.choice(["plain", "stripes", "bands", "plaid", "dots"]))
  second = hsv(rng.uniform(0, 360), rng.uniform(0.1, 0.7), rng.uniform(0.3, 1.0))
  lightness = float(np.clip(tint.normal(1, 0.04), 0.9, 1.1))
  return Cast(
    skin=shade(skin, lightness),
    hair=hair,
    hair_style=str(rng.choice(["short", "long", "bun", "cap", "curly", "side"])),
    shirt=shirt,
    trousers=trousers,
    sleeve=float(rng.choice([0.45, 1.0, 1.0])),
    fabric=_fabric(rng, shirt, second, pattern),
    iris=hsv(rng.choice([25, 30, 210, 120]), rng.uniform(0.4, 0.8), rng.uniform(0.15, 0.5)),
    width=float(rng.uniform(0.92, 1.1)),
  )


_TORSO = np.array(
  [(-0.2, -0.1), (-0.62, 0.0), (-0.86, 0.12), (-0.9, 0.4), (-0.66, 0.75), (-0.58, 1.3), (-0.62, 2.0), (-0.66, 2.3)]
  + [(0.66, 2.3), (0.62, 2.0), (0.58, 1.3), (0.66, 0.75), (0.9, 0.4), (0.86, 0.12), (0.62, 0.0), (0.2, -0.1)]
)


def _fabric(rng: np.random.Generator, color: Color, second: Color, pattern: str) -> Sprite:
  canvas = SpriteCanvas((-1.0, -0.2, 1.0, 2.4))
  canvas.pen.polygon(_TORSO, color)
  shape = canvas.mask.copy()
  step = rng.uniform(0.14, 0.3)
  if pattern in ("stripes", "plaid"):
    for x in np.arange(-1, 1, step).tolist():
      canvas.pen.polygon([(x, -0.2), (x + step * 0.4, -0.2), (x + step * 0.4, 2.4), (x, 2.4)], second)
  if pattern in ("bands", "plaid"):
    for y in np.arange(-0.2, 2.4, step).tolist():
      canvas.pen.polygon([(-1, y), (1, y), (1, y + step * 0.35), (-1, y + step * 0.35)], shade(second, 0.85))
  if pattern == "dots":
    for row, y in enumerate(np.arange(-0.2, 2.4, step).tolist()):
      for x in np.arange(-1 + (row % 2) * step / 2, 1, step).tolist():
        canvas.pen.ellipse(x, y, step * 0.22, step * 0.22, second)
  canvas.mask[:] = shape
  canvas.texture(cloud(rng, canvas.mask.shape, 30), 0.16)
  # Darker towards the sides, so that the trunk reads as round.
  height, width = shape.shape
  fall = 1 - 0.35 * np.abs(np.linspace(-1, 1, width)) ** 2.5
  canvas.image[:] = (canvas.image * fall[None, :, None]).astype(np.uint8)
  dark = shade(color, 0.45)
  canvas.pen.mask = None
  canvas.pen.line(_TORSO, dark, closed=True)
  canvas.pen.line([(-0.24, -0.08), (0, 0.14), (0.24, -0.08)], dark)
  return canvas.sprite()


@dataclasses.dataclass(frozen=True)
class Pose:
  """What the body and the face do at one moment; angles in degrees, lengths in heads."""

  sway: float = 0.0
  lift: float = 0.0
  head_tilt: float = 0.0
  head_shift: float = 0.0
  gaze: tuple[float, float] = (0.0, 0.0)
  blink: float = 0.0
  brows: float = 0.0
  mouth: float = 0.0
  foam: float = 0.0
  makeup: float = 0.0


def reach(shoulder: tuple[float, float], hand: tuple[float, float], right: bool) -> tuple[tuple[float, float], tuple[float, float]]:
  """Returns elbow and hand of a two-link arm; of the two possible elbows the one that lies more outward and lower.

  Args:
    shoulder: where the arm starts.
    hand: where the hand should be; moved onto the arm's reach if it is too far or too near.
    right: whether it is the person's right arm (left on the frame).

  >>> elbow, hand = reach((0, 0), (0, 5), right=False)
  >>> round(hand[1], 2)
  1.98
  """
  d = np.subtract(hand, shoulder)
  distance = float(np.hypot(*d)) or 1e-6
  far, near = (UPPER_ARM + FOREARM) * 0.99, abs(UPPER_ARM - FOREARM) + 0.25
  clipped = min(max(distance, near), far)
  d = d / distance * clipped
  # Law of cosines: how far along the line shoulder-hand the elbow's foot lies.
  along = (UPPER_ARM**2 - FOREARM**2 + clipped**2) / (2 * clipped)
  height = math.sqrt(max(0.0, UPPER_ARM**2 - along**2))
  unit = d / clipped
  outward = (-1.0 if right else 1.0, 0.7)
  across = height * np.array([-unit[1], unit[0]])
  if float(np.dot(across, outward)) < 0:
    across = -across
  elbow = np.asarray(shoulder) + unit * along + across
  return (float(elbow[0]), float(elbow[1])), (float(shoulder[0] + d[0]), float(shoulder[1] + d[1]))


def head_pen(pen: Pen, pose: Pose) -> Pen:
  """Returns the pen of the head: origin at its centre, turned by the head's tilt about the neck."""
  return pen.at(pose.sway, pose.lift).at(0, -0.15, pose.head_tilt).at(HEAD_CENTER[0] + pose.head_shift, HEAD_CENTER[1] + 0.15)


def face_point(pose: Pose, x: float, y: float) -> tuple[float, float]:
  """Returns a point of the head's own frame in figure units."""
  matrix = similarity(1, 0, pose.sway, pose.lift) @ similarity(1, pose.head_tilt, 0, -0.15)
  point = matrix @ (HEAD_CENTER[0] + pose.head_shift + x, HEAD_CENTER[1] + 0.15 + y, 1)
  return float(point[0]), float(point[1])


def shoulder_of(pose: Pose, cast: Cast, right: bool) -> tuple[float, float]:
  """Returns the shoulder of the person's right (left on the frame) or left side."""
  side = -1.0 if right else 1.0
  return side * SHOULDER[0] * cast.width + pose.sway, SHOULDER[1] + pose.lift


def draw_body(pen: Pen, cast: Cast, pose: Pose, knees: float = 0.5) -> None:
  """Draws hair that hangs behind, legs, trunk and neck; `knees` is how far apart the knees are."""
  head = head_pen(pen, pose)
  if cast.hair_style == "long":
    head.ellipse(0, 0.2, 0.52, 0.78, shade(cast.hair, 0.8))
  for side in (-1, 1):
    hip = (side * 0.32 + pose.sway * 0.5, 2.15 + pose.lift)
    knee = (side * knees, 3.1)
    pen.limb(hip, knee, 0.68, 0.6, cast.trousers, shade(cast.trousers, 0.5))
  body = pen.at(pose.sway, pose.lift)
  body.matrix = body.matrix @ np.diag([cast.width, 1.0, 1.0])
  body.limb((0, -0.4), (0, 0.05), 0.36, 0.42, shade(cast.skin, 0.8))
  body.sprite(cast.fabric)


def draw_head(pen: Pen, cast: Cast, pose: Pose) -> None:
  """Draws head, hair and face."""
  head = head_pen(pen, pose)
  edge = shade(cast.skin, 0.55)
  for side in (-1, 1):
    head.ellipse(side * 0.4, 0.0, 0.075, 0.12, shade(cast.skin, 0.85), outline=edge)
  if cast.hair_style in ("short", "side", "bun", "long", "curly"):
    head.ellipse(0, -0.12, 0.46, 0.46, cast.hair)
  if cast.hair_style == "bun":
    head.ellipse(0, -0.58, 0.2, 0.17, cast.hair)
  if cast.hair_style == "curly":
    for k in range(9):
      angle = math.radians(180 + k * 22.5)
      head.ellipse(0.42 * math.cos(angle), -0.12 + 0.42 * math.sin(angle), 0.15, 0.15, cast.hair)
  head.polygon(_FACE, cast.skin, edge)
  head.ellipse(0.2, 0.1, 0.1, 0.08, shade(cast.skin, 0.94))
  head.ellipse(-0.2, 0.1, 0.1, 0.08, shade(cast.skin, 0.94))
  _draw_hair_front(head, cast)
  _draw_eyes(head, cast, pose)
  head.line([(0.0, -0.06), (-0.05, 0.09), (0.03, 0.11)], edge)
  _draw_mouth(head, cast, pose)


_FACE = np.array(
  [(-0.39, -0.15), (-0.38, 0.08), (-0.31, 0.28), (-0.17, 0.43), (0, 0.47), (0.17, 0.43), (0.31, 0.28), (0.38, 0.08), (0.39, -0.15)]
  + [(0.3, -0.4), (0.12, -0.49), (-0.12, -0.49), (-0.3, -0.4)]
)


def _draw_hair_front(head: Pen, cast: Cast) -> None:
  hair = cast.hair
  if cast.hair_style == "cap":
    band = shade(cast.trousers, 1.25)
    head.polygon([(-0.42, -0.2), (-0.36, -0.46), (-0.12, -0.58), (0.12, -0.58), (0.36, -0.46), (0.42, -0.2)], band, shade(band, 0.5))
    head.limb((-0.4, -0.2), (0.46, -0.2), 0.07, 0.07, shade(band, 0.7))
    return
  fringe = {
    "side": [(-0.43, -0.05), (-0.42, -0.35), (-0.2, -0.56), (0.2, -0.56), (0.42, -0.35), (0.43, -0.08), (0.3, -0.3), (-0.1, -0.36)],
    "long": [
      (-0.45, 0.1),
      (-0.43, -0.35),
      (-0.2, -0.56),
      (0.2, -0.56),
      (0.43, -0.35),
      (0.45, 0.1),
      (0.34, -0.25),
      (0, -0.4),
      (-0.34, -0.25),
    ],
  }.get(
    cast.hair_style,
    [(-0.41, -0.14), (-0.4, -0.38), (-0.18, -0.56), (0.18, -0.56), (0.4, -0.38), (0.41, -0.14), (0.28, -0.33), (-0.28, -0.33)],
  )
  head.polygon(fringe, hair)
  head.line([(-0.25, -0.45), (0.05, -0.51), (0.25, -0.44)], shade(hair, 1.6))


def _draw_eyes(head: Pen, cast: Cast, pose: Pose) -> None:
  lid = shade(cast.skin, 0.9)
  shadow = as_color(int(round(a + (b - a) * 0.8 * pose.makeup)) for a, b in zip(lid, (120, 70, 150), strict=True))
  for side in (-1, 1):
    x, y = side * EYE[0], EYE[1]
    head.ellipse(x, y - 0.02, 0.135, 0.105, shadow)
    head.ellipse(x, y, 0.12, 0.075, (246, 246, 242), outline=(60, 45, 40))
    gx, gy = x + 0.07 * pose.gaze[0], y + 0.03 * pose.gaze[1]
    head.ellipse(gx, gy, 0.062, 0.066, cast.iris)
    head.ellipse(gx, gy, 0.032, 0.034, (10, 8, 8))
    if pose.blink > 0.05:
      # The lid is the part of the eye's outline above a falling edge.
      edge = y - 0.09 + 0.165 * min(1.0, pose.blink)
      head.polygon([(x - 0.13, y - 0.085), (x + 0.13, y - 0.085), (x + 0.13, edge), (x - 0.13, edge)], shadow)
      head.line([(x - 0.13, edge), (x + 0.13, edge)], (50, 36, 32))
    brow = y - 0.16 - 0.05 * pose.brows
    head.limb((x - 0.12, brow + 0.01), (x + 0.12, brow), 0.04, 0.04, shade(cast.hair, 0.8))


def _draw_mouth(head: Pen, cast: Cast, pose: Pose) -> None:
  if pose.foam > 0:
    for k in range(8):
      angle = k * math.pi / 4 + 0.3
      radius = 0.05 + 0.07 * pose.foam * (0.7 + 0.3 * math.sin(5 * k))
      head.ellipse(0.17 * math.cos(angle), MOUTH_Y + 0.015 + 0.1 * math.sin(angle), radius, radius * 0.85, (238, 242, 244))
  lips = as_color(int(round(a + (b - a) * pose.makeup)) for a, b in zip(shade(cast.skin, 0.72), (200, 24, 44), strict=True))
  opening = 0.02 + 0.1 * pose.mouth
  head.ellipse(0, MOUTH_Y, 0.135, 0.035 + opening, lips)
  head.ellipse(0, MOUTH_Y, 0.1, opening * 0.8, (70, 20, 24))
  if pose.mouth > 0.35:
    head.limb((-0.06, MOUTH_Y - opening * 0.45), (0.06, MOUTH_Y - opening * 0.45), 0.03, 0.03, (240, 238, 230))


def draw_arm(
  pen: Pen,
  cast: Cast,
  pose: Pose,
  hand: tuple[float, float],
  grip: float = 0.0,
  *,
  right: bool,
  elbow: tuple[float, float] | None = None,
  shoulder: tuple[float, float] | None = None,
) -> tuple[float, float]:
  """Draws an arm and its hand; returns where the hand came to lie.

  Args:
    pen: the figure's pen.
    cast: whose arm.
    pose: of the body.
    hand: its end.
    grip: the direction of the fingers, degrees above level to the right.
    right: whether it is the person's right arm (left on the frame).
    elbow: where the elbow is, for arms that point at the viewer and so look shorter; None for an arm in the plane of the frame.
    shoulder: where the arm starts; None for the shoulder of an upright body.
  """
  shoulder = shoulder or shoulder_of(pose, cast, right)
  if elbow is None:
    elbow, hand = reach(shoulder, hand, right)
  sleeve, dark = cast.shirt, shade(cast.shirt, 0.45)
  pen.limb(shoulder, elbow, 0.42, 0.33, sleeve, dark)
  pen.limb(elbow, hand, 0.3, 0.2, cast.skin, shade(cast.skin, 0.5))
  if cast.sleeve > 0.5:
    cuff = tuple(np.add(elbow, np.subtract(hand, elbow) * 0.78))
    pen.polygon(limb_outline(elbow, cuff, 0.33, 0.27), sleeve, dark)
    for share in (0.25, 0.5, 0.75):
      _band(pen, elbow, cuff, share, 0.3, shade(cast.shirt, 0.68))
  for share in (0.3, 0.6):
    _band(pen, shoulder, elbow, share, 0.36, shade(cast.shirt, 0.68))
  draw_hand(pen, cast, hand, grip)
  return hand


def _band(pen: Pen, p: tuple[float, float], q: tuple[float, float], share: float, width: float, color: Color) -> None:
  d = np.subtract(q, p)
  unit = d / (np.hypot(*d) or 1.0)
  middle = np.asarray(p) + d * share
  across = np.array([-unit[1], unit[0]]) * width * 0.5
  pen.line(np.stack([middle - across, middle + across * 0.2 + unit * 0.03, middle + across]), color)


def draw_hand(pen: Pen, cast: Cast, hand: tuple[float, float], grip: float) -> None:
  """Draws a fist with fingers and thumb; `grip` is the direction of the fingers."""
  edge = shade(cast.skin, 0.5)
  local = pen.at(hand[0], hand[1], -grip)
  local.ellipse(0, 0, 0.16, 0.15, cast.skin, outline=edge)
  for k in range(4):
    y = -0.115 + k * 0.075
    local.limb((0.03, y), (0.17, y), 0.085, 0.08, cast.skin, edge)
  local.limb((-0.04, -0.1), (0.1, -0.17), 0.09, 0.08, cast.skin, edge)


def rest_arm(pen: Pen, cast: Cast, pose: Pose, right: bool) -> None:
  """Draws an arm that rests on the thigh."""
  side = -1.0 if right else 1.0
  draw_arm(pen, cast, pose, (side * 0.72 + pose.sway * 0.5, 1.98), -70 if right else -110, right=right)


def along(point: tuple[float, float], degrees: float, distance: float) -> tuple[float, float]:
  """Returns the point that lies `distance` from `point` in a direction (degrees above level to the right)."""
  moved = np.asarray(point) + direction(degrees) * distance
  return float(moved[0]), float(moved[1])
