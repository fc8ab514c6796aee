"""The documented factors: everything a script may plant, with its unit, range and what every class gets by default."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

TOOL_SHAPES = ("toothbrush", "razor", "brush", "lipstick")
TOOL_COLORS = ("white", "red", "pink", "blue", "green", "yellow", "violet", "black", "steel", "wood")


@dataclasses.dataclass(frozen=True)
class Factor:
  """One thing that can be planted.

  Attributes:
    unit: the unit of its values ("name" where values are words).
    low: the smallest value, for numbers.
    high: the largest value, for numbers.
    default: the distribution of every class that a script does not mention.
    meaning: one line for the table of factors.
    names: the words it may take; empty for numbers.
    world: True where it belongs to setting and camera: its draw is then shared by all classes of a group and clip.
  """

  unit: str
  low: float
  high: float
  default: dict[str, Any]
  meaning: str
  names: tuple[str, ...] = ()
  world: bool = False


def _number(unit: str, low: float, high: float, default: dict[str, Any], meaning: str, world: bool = False) -> Factor:
  return Factor(unit, low, high, default, meaning, world=world)


def _word(names: tuple[str, ...], default: str, meaning: str) -> Factor:
  return Factor("name", 0, 0, {"constant": default}, meaning, names=names)


FACTORS: dict[str, Factor] = {
  # What the hands hold.
  "instrument_angle": _number("degrees", -120, 120, {"constant": 0}, "long axis of cello, violin or flute, from upright (0) to level (90)"),
  "bow_axis": _number("degrees", -90, 90, {"constant": 0}, "line along which the bow moves, from level (0) to upright (90)"),
  "tool_length": _number("heads", 0.2, 1.6, {"constant": 0.8}, "length of the tool held at the face"),
  "tool_color": _word(TOOL_COLORS, "white", "colour of the tool held at the face"),
  "tool_shape": _word(TOOL_SHAPES, "toothbrush", "what the tool held at the face is"),
  "tool_angle": _number("degrees", -90, 90, {"normal": [15, 14]}, "rise of the tool towards the face, from level"),
  # How they move.
  "stroke_rate": _number(
    "Hz", 0.2, 6, {"uniform": [0.9, 1.8]}, "strokes a second: of bow, tool, cue, each drumming hand, or of what the action repeats"
  ),
  "stroke_amplitude": _number("heads", 0, 1, {"uniform": [0.1, 0.2]}, "half the way of a stroke (height of a drum stroke or a step)"),
  "stroke_axis": _number("degrees", -90, 90, {"normal": [0, 25]}, "line along which a tool moves on the face, from level"),
  "alternation": _number(
    "fraction", 0, 0.5, {"constant": 0.5}, "phase between the two drumming or crawling hands: 0 together, 0.5 in turn"
  ),
  # What circles at the hand.
  "swing_axis": _number(
    "degrees", -90, 90, {"constant": 90}, "long axis of the ellipse in which it circles, from level (0) to upright (90)"
  ),
  "swing_roundness": _number(
    "fraction", 0, 1, {"uniform": [0.2, 0.8]}, "short axis of that ellipse over the long one: 0 to and fro, 1 round"
  ),
  "swing_size": _number("heads", 0.2, 1.2, {"uniform": [0.6, 0.8]}, "half the long axis of that ellipse"),
  # Body, bow and bar.
  "body_angle": _number("degrees", 0, 90, {"constant": 0}, "lean of the lifter's body, from standing (0) to lying (90)"),
  "bar_travel": _number("heads", 0, 3.4, {"uniform": [1.0, 2.0]}, "height of one lift of the barbell"),
  "bar_angle": _number("degrees", -60, 60, {"constant": 0}, "slant of the barbell on the frame, from level"),
  "bar_shake": _number("degrees", 0, 15, {"uniform": [0.0, 1.0]}, "half the way that the barbell rocks, three times a second"),
  "draw_length": _number("heads", 0, 2, {"uniform": [0.8, 1.2]}, "how far the archer draws the string"),
  "aim_angle": _number("degrees", -45, 45, {"constant": 0}, "rise of the arrow, from level"),
  "jump_height": _number("heads", 0, 1.2, {"constant": 0}, "height of the jump"),
  "crawl_speed": _number("heads/s", 0, 1.2, {"uniform": [0.2, 0.5]}, "speed at which the baby crosses the frame"),
  "ground_depth": _number(
    "heads", 0.8, 2.6, {"normal": [2.2, 0.1]}, "how far the ground lies below the place of a sitting player's shoulders"
  ),
  # The face.
  "hand_height": _number("heads", -0.3, 1.2, {"normal": [0.24, 0.04]}, "height of the tool's tip above the chin (mouth 0.24, eyes 0.55)"),
  "hand_reach": _number("heads", -0.6, 0.6, {"uniform": [-0.2, 0.0]}, "place of the tool's tip to the side of the face's middle"),
  "eye_motion": _number("fraction", 0, 1, {"uniform": [0.0, 0.25]}, "how far the eyes roam and how far the lids close"),
  "mouth_motion": _number("fraction", 0, 1, {"uniform": [0.0, 0.35]}, "how far the mouth opens and closes"),
  "foam": _number("fraction", 0, 1, {"constant": 0}, "foam around the mouth"),
  "makeup": _number("fraction", 0, 1, {"constant": 0}, "strength of eye shadow and lip colour"),
  "head_tilt": _number("degrees", -35, 35, {"normal": [0, 4]}, "lean of the head towards the shoulder"),
  "head_motion": _number("degrees", 0, 20, {"uniform": [1, 4]}, "half the way that the head nods from side to side"),
  "body_sway": _number("heads", 0, 0.6, {"uniform": [0.02, 0.08]}, "half the way that the body sways"),
  # The ball in the air.
  "ball_size": _number("heads", 0.04, 0.5, {"constant": 0.2}, "radius of the ball that is juggled, spiked or hit over the table"),
  "ball_axis": _number("degrees", -90, 90, {"constant": 0}, "line along which that ball leaves, from level (0) up (90) or down (-90)"),
  # The table.
  "ball_speed": _number(
    "heads/s", 0, 8, {"uniform": [0.5, 0.9]}, "speed of the rolling balls before the break; of a ball in the air as it leaves"
  ),
  "scatter_speed": _number("heads/s", 0, 16, {"uniform": [4.0, 6.5]}, "speed of the fastest ball right after the break"),
  "scatter_time": _number("s", 0, 2.4, {"uniform": [0.7, 1.3]}, "when the balls scatter"),
  "ball_count": _number("balls", 3, 15, {"uniform": [7, 11]}, "how many balls lie together"),
  # Setting and camera: the same for every class unless a script says otherwise.
  "backdrop_tint": _number("fraction", -1, 1, {"normal": [0, 0.35]}, "light from cold (-1) to warm (1)", world=True),
  "backdrop_motion": _number("fraction", 0, 3, {"uniform": [0.4, 1.2]}, "speed of passers-by and other background motion", world=True),
  "camera_drift": _number("heads/s", 0, 2, {"uniform": [0.0, 0.18]}, "speed at which the camera pans", world=True),
  "camera_shake": _number("heads", 0, 0.5, {"uniform": [0.005, 0.03]}, "size of the camera's shake", world=True),
  "figure_scale": _number("pixels", 36, 76, {"normal": [60, 3]}, "height of the head on the frame (one head)", world=True),
  "mirror": _number("fraction", 0, 1, {"choice": [0, 1]}, "1 where the person is left-handed (the action mirrored)", world=True),
}


def factor_table(shown: dict[str, tuple[str, ...]]) -> str:
  """Returns the table of factors of README.md, in Markdown.

  Args:
    shown: the factors that the clips of each class show.
  """
  lines = ["| factor | unit | range | default | shown by | meaning |", "|---|---|---|---|---|---|"]
  for name, factor in FACTORS.items():
    classes = [c for c, names in shown.items() if name in names]
    who = "all" if len(classes) == len(shown) else ", ".join(sorted(classes))
    span = ", ".join(factor.names) if factor.names else f"{factor.low:g} to {factor.high:g}"
    default = json.dumps(factor.default).strip("{}").replace('"', "")
    lines.append(f"| `{name}` | {factor.unit} | {span} | {default} | {who} | {factor.meaning} |")
  return "\n".join(lines) + "\n"
