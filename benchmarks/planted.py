"""What is planted in a stage script, how it is reversed, and which probes would name it (for benchmarks/explanations.py)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
import dataclasses
import hashlib
import json
import pathlib
from typing import Any

from tbvis.datasets import catalogue as catalogue_lib
from tbvis.datasets import inventory
from tbvis.datasets.stage import film
from tbvis.datasets.stage.scenes import shown_factors
from tbvis.datasets.stage.script import Cause, Script
from tbvis.errors import unknown_name

TEST_GROUPS = tuple(range(1, 8))
# A probe of a place that the stimuli themselves show, whatever it is called.
REGION = "motion where"
# By factor: the probes whose being named counts as naming it. Written down before the first run; a factor that is not here has none.
NAMED_BY: dict[str, tuple[str, ...]] = {
  "instrument_angle": ("steepness of lines",),
  "aim_angle": ("steepness of lines",),
  "body_angle": ("steepness of lines", "steepness of moving shapes", "height of structure"),
  "bar_angle": ("steepness of lines", "steepness of moving shapes"),
  "head_tilt": ("steepness of lines",),
  "bow_axis": ("steepness of motion", "steepness of moving shapes"),
  "stroke_axis": ("steepness of motion",),
  "swing_axis": ("steepness of motion", "steepness of moving shapes"),
  "ball_axis": ("steepness of motion", "steepness of moving shapes", "rise"),
  "swing_roundness": ("straightness of motion", "rotation"),
  "swing_size": ("spread of motion", "speed", "amount of motion"),
  "stroke_rate": ("temporal frequency", "speed", "amount of motion"),
  "stroke_amplitude": ("speed", "amount of motion", "spread of motion"),
  "ball_speed": ("speed", "amount of motion"),
  "scatter_speed": ("speed", "amount of motion"),
  "crawl_speed": ("speed", "amount of motion", "one-way motion"),
  "bar_travel": ("speed", "amount of motion", "spread of motion", "height of motion"),
  "bar_shake": ("temporal frequency", "rotation"),
  "head_motion": ("rotation", "amount of motion", "speed", "spread of motion", "temporal frequency"),
  "body_sway": ("amount of motion", "speed", "spread of motion", "one-way motion"),
  "camera_drift": ("one-way motion", "amount of motion", "speed", "spread of motion"),
  "eye_motion": (REGION, "height of motion"),
  "hand_height": ("height of motion", "height of structure", REGION),
  "hand_reach": ("offset of motion", "offset of structure", REGION),
  "jump_height": ("height of motion", "rise", "amount of motion"),
  "ground_depth": ("height of structure", "height of motion"),
  "tool_length": ("spread of structure", "spread of motion", "offset of structure", "offset of motion", REGION),
  "tool_shape": ("spatial frequency", "agreement of lines", "spread of structure"),
  "tool_color": ("lightness", "redness", "yellowness"),
  "makeup": ("lightness", "redness", "yellowness"),
  "foam": ("lightness",),
  "backdrop_tint": ("redness", "yellowness"),
  "ball_size": ("amount of motion", "spread of motion", "spatial frequency", "agreement of moving shapes"),
  "figure_scale": ("spread of structure", "spread of motion", "spatial frequency", "amount of motion", "speed"),
}


@dataclasses.dataclass(frozen=True)
class Plant:
  """One planted difference between two classes.

  Attributes:
    cause: as planted.
    first: the class whose test clips are filmed again with the factor as the second class has it.
    second: that class.
  """

  cause: Cause
  first: str
  second: str

  @property
  def slug(self) -> str:
    """Name in file names and keys."""
    return f"{self.cause.factor}_{self.first}_{self.second}"

  def is_named_by(self, probe: str) -> bool:
    """Whether a probe names the cause."""
    return any(probe == name or (name == REGION and probe.startswith(REGION)) for name in NAMED_BY.get(self.cause.factor, ()))


def _differences(script: Script, a: str, b: str) -> int:
  """Returns in how many factors two classes differ: those that one of them does not show count as well."""
  shown = (set(shown_factors(a)), set(shown_factors(b)))
  return sum(f not in shown[0] & shown[1] or script.distribution(a, f) != script.distribution(b, f) for f in shown[0] | shown[1])


def find_plants(script: Script, wanted: Sequence[str] = ()) -> tuple[list[Plant], list[Cause]]:
  """Returns for every cause the pair of classes in which it is tried, twins first, and the causes for which there is none.

  The pair is the one whose classes share the most and differ in the cause's factor; both are of the cause's own classes where they can be.

  Args:
    script: what is planted.
    wanted: factors or slugs to keep; all by default.

  Raises:
    UsageError: for one that there is not.
  """
  plants: list[Plant] = []
  left = []
  for cause in script.causes:
    pairs = [
      (second not in cause.classes, _differences(script, first, second), first, second)
      for first in cause.classes
      for second in (*cause.classes, *(c for c in script.classes if c not in cause.classes))
      if first != second
      and all(cause.factor in shown_factors(name) for name in (first, second))
      and script.distribution(first, cause.factor) != script.distribution(second, cause.factor)
    ]
    # Ties: in the order of the script.
    best = min(pairs, key=lambda pair: pair[:2], default=None)
    if best is None:
      left.append(cause)
    elif not any((p.cause.factor, p.first, p.second) == (cause.factor, *best[2:]) for p in plants):
      plants.append(Plant(cause, *best[2:]))
  for name in wanted:
    if not any(name in (p.slug, p.cause.factor) for p in plants):
      raise unknown_name("cause", name, sorted({n for p in plants for n in (p.slug, p.cause.factor)}), "--causes")
  chosen = [p for p in plants if not wanted or p.slug in wanted or p.cause.factor in wanted]
  return sorted(chosen, key=lambda p: p.second not in p.cause.classes), left


def reversed_script(script: Script, plant: Plant) -> dict[str, Any]:
  """Returns the content of a script in which the first class has the factor as the second has it, and all else as it was.

  >>> from tbvis.datasets.stage.script import load_script, parse_script
  >>> script = load_script()
  >>> plant = next(p for p in find_plants(script)[0] if p.cause.factor == "eye_motion")
  >>> plant.first, plant.second
  ('ApplyLipstick', 'ApplyEyeMakeup')
  >>> changed = parse_script(reversed_script(script, plant), "changed")
  >>> changed.distribution(plant.first, "eye_motion") == script.distribution(plant.second, "eye_motion")
  True
  """
  causes = []
  for cause in script.causes:
    distribution = {name: dict(of) for name, of in cause.distribution.items()}
    if cause.factor == plant.cause.factor:
      distribution.pop(plant.first, None)
    if distribution:
      classes = [name for name in cause.classes if name in distribution]
      causes.append({"name": cause.name, "classes": classes, "stream": cause.stream, "factor": cause.factor, "distribution": distribution})
  causes.append(
    {
      "name": f"reversed: {plant.cause.name}", "classes": [plant.first], "stream": plant.cause.stream, "factor": plant.cause.factor,
      "distribution": {plant.first: dict(script.distribution(plant.second, plant.cause.factor))},
    }
  )  # fmt: skip
  return {"version": 1, "classes": list(script.classes), "causes": causes}


def film_reversed(plants: Iterable[Plant], script: Script, folder: pathlib.Path) -> catalogue_lib.Catalogue:
  """Films the first class' test groups once for every plant, with its cause reversed; everything else is drawn as it was.

  Args:
    plants: what to reverse.
    script: what is planted.
    folder: for the videos; what is there is kept.

  Returns:
    A catalogue with a class a plant, named by its slug, all of it test clips.
  """
  plants = sorted(plants, key=lambda p: p.slug)
  clips = []
  for label, plant in enumerate(plants):
    root = folder / plant.slug
    film.film_stage(root, classes=[plant.first], groups=TEST_GROUPS, script=reversed_script(script, plant))
    for name, media in inventory.videos_by_name(inventory.find_videos(root / "videos")).items():
      group = int(name.rsplit("_", 2)[1].removeprefix("g"))
      clips.append(catalogue_lib.Clip(f"{name}~{plant.slug}", media, label, group, "test"))
  # A prepared set that is there is kept: one of other plants must have another name.
  digest = hashlib.sha256(json.dumps([reversed_script(script, plant) for plant in plants], sort_keys=True).encode()).hexdigest()[:8]
  return catalogue_lib.Catalogue(f"reversed_{digest}", 1, tuple(p.slug for p in plants), tuple(sorted(clips, key=lambda c: c.name)))
