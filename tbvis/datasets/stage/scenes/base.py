"""What all actions share: the actor's posture over time, strokes, and the list of scenes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
import math
from typing import ClassVar

import numpy as np

from tbvis.datasets.stage.factors import FACTORS
from tbvis.datasets.stage.figure import Cast, Pose
from tbvis.datasets.stage.paint import Pen

Values = Mapping[str, float | str]

SCENES: dict[str, type[Scene]] = {}

#: The factors that every action shows, since posture and face are everybody's.
COMMON = ("foam", "makeup", "eye_motion", "mouth_motion", "head_tilt", "head_motion", "body_sway", "mirror")


def scene(name: str) -> Callable[[type[Scene]], type[Scene]]:
  """Registers a scene as the action of class `name`."""

  def register(cls: type[Scene]) -> type[Scene]:
    SCENES[name] = cls
    return cls

  return register


def shown_factors(class_name: str) -> tuple[str, ...]:
  """Returns the factors that can be seen in clips of a class: those of its action, of posture and face, and of the setting.

  >>> "bow_axis" in shown_factors("PlayingCello"), "bow_axis" in shown_factors("Billiards")
  (True, False)
  """
  shown = {*SCENES[class_name].uses, *COMMON}
  return tuple(name for name, factor in FACTORS.items() if factor.world or name in shown)


class Scene:
  """One action of one clip.

  Args:
    values: the value of every factor in this clip.
    cast: who acts.
    rng: for phases and details of the props.
  """

  #: The factors, besides those of posture and face, that this action shows.
  uses: ClassVar[tuple[str, ...]] = ()

  def __init__(self, values: Values, cast: Cast, rng: np.random.Generator):
    self.values = values
    self.cast = cast
    self.rng = rng
    self._phases = rng.uniform(0, 2 * math.pi, 8)
    self._wobble = rng.uniform(0.06, 0.18)
    self.prepare()

  def prepare(self) -> None:
    """Makes props once per clip."""

  def draw(self, pen: Pen, t: float) -> None:
    """Draws actor and props at time t (seconds)."""
    raise NotImplementedError

  def number(self, factor: str) -> float:
    """Returns the value of a numeric factor."""
    return float(self.values[factor])

  def cycle(self, t: float, phase: float = 0.0) -> float:
    """Returns the phase of the stroke at time t in cycles: it advances by stroke_rate, not quite evenly."""
    rate = self.number("stroke_rate")
    uneven = self._wobble * math.sin(2 * math.pi * 0.37 * t + self._phases[0])
    return rate * t + self._phases[1] / (2 * math.pi) + uneven + phase

  def stroke(self, t: float, phase: float = 0.0) -> float:
    """Returns the position of the stroke in [-1, 1]."""
    return math.sin(2 * math.pi * self.cycle(t, phase))

  def pose(self, t: float) -> Pose:
    """Returns body and face at time t."""
    p = self._phases
    eyes, mouth = self.number("eye_motion"), self.number("mouth_motion")
    gaze = (
      eyes * math.tanh(2.5 * math.sin(2 * math.pi * 1.4 * t + p[2]) + math.sin(2 * math.pi * 0.6 * t + p[5])),
      eyes * math.sin(2 * math.pi * 0.9 * t + p[3]),
    )
    blink = eyes * max(0.0, math.sin(2 * math.pi * 1.1 * t + p[4])) ** 4
    return Pose(
      sway=self.number("body_sway") * math.sin(2 * math.pi * 0.45 * t + p[3]),
      lift=0.02 * math.sin(2 * math.pi * 0.8 * t + p[2]),
      head_tilt=self.number("head_tilt") + self.number("head_motion") * math.sin(2 * math.pi * 0.55 * t + p[6]),
      gaze=gaze,
      blink=blink,
      brows=eyes * math.sin(2 * math.pi * 1.1 * t + p[4]),
      mouth=mouth * (0.5 + 0.5 * math.sin(2 * math.pi * 1.2 * t + p[7])),
      foam=self.number("foam"),
      makeup=self.number("makeup"),
    )
