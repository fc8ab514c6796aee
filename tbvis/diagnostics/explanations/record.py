"""What an explanation consists of, as JSON for machines and as evidence for the tab."""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
import json
import math
from typing import Any

import numpy as np

from tbvis import events
from tbvis.diagnostics.explanations.stimuli import PairStimuli
from tbvis.diagnostics.explanations.verdicts import InterventionTest, Judged, Trial, Verdict

_VERSION = 1
# The tab shows the strongest; the page and the JSON have all.
_SHOWN = 6


@dataclasses.dataclass(frozen=True)
class ShownClip:
  """A clip of the report.

  Attributes:
    name: of the clip.
    kind: "confused" or "right".
    animations: looping WebP by what it shows, such as "appearance, Grad-CAM at conv5_fusion".
  """

  name: str
  kind: str
  animations: Mapping[str, bytes]


@dataclasses.dataclass(frozen=True, eq=False)
class Explanation:
  """Why clips of one class are taken for another.

  Attributes:
    classes: the clips' class, and the one they were taken for.
    tower: whose predictions these are.
    confused: how many clips were.
    total: of how many.
    stimuli: of both classes.
    trial: what was measured on the clips that were tested.
    judged: every hypothesis with what clips say of it, those first for which most speaks.
    interventions: what a fixed list of interventions does to the right clips.
    measured: by probe name, values by kind: "stimuli of A", "clips of A", "confused", "right", ...
    clips: those that the report plays.
    settings: everything that it was made with.
  """

  classes: tuple[str, str]
  tower: str
  confused: int
  total: int
  stimuli: PairStimuli
  trial: Trial
  judged: tuple[Judged, ...]
  interventions: tuple[InterventionTest, ...]
  measured: Mapping[str, Mapping[str, np.ndarray]]
  clips: tuple[ShownClip, ...]
  settings: Mapping[str, Any]

  @property
  def supported(self) -> tuple[Judged, ...]:
    """Hypotheses that clips support, those for which most speaks first."""
    return tuple(j for j in self.judged if j.verdict is Verdict.SUPPORTED)

  @property
  def summary(self) -> str:
    """What can be said in a sentence or two."""
    a, b = self.classes
    counted = f"{self.confused} of {self.total} clips of {a} were taken for {b} ({self.tower})."
    if self.supported:
      names = ", ".join(j.hypothesis.probe.name for j in self.supported)
      return f"{counted} Supported by stimuli and clips: {names}."
    differing = sorted((j for j in self.judged if j.hypothesis.differs), key=lambda j: j.hypothesis.rank)
    if not differing:
      return f"{counted} No probe tells the stimuli of the two classes apart: there is no hypothesis to test."
    names = ", ".join(j.hypothesis.probe.name for j in differing[:3])
    if all(j.verdict is Verdict.TOO_FEW for j in differing):
      return f"{counted} Stimuli suggest {names}; too few clips to decide."
    return f"{counted} Stimuli suggest {names}; the confused clips do not support it."


def to_json(found: Explanation) -> dict[str, Any]:
  """Returns everything but pictures, of JSON's types; numbers that are none are null."""
  told = events.to_json(
    {
      "version": _VERSION,
      "true": found.classes[0],
      "predicted": found.classes[1],
      "tower": found.tower,
      "confused": found.confused,
      "total": found.total,
      "summary": found.summary,
      "hypotheses": [_hypothesis(judged, found.classes) for judged in found.judged],
      "interventions": [dataclasses.asdict(test) | {"as_foretold": test.as_foretold} for test in found.interventions],
      "measured": found.measured,
      "settings": found.settings,
    }
  )
  return json.loads(told)


def _hypothesis(judged: Judged, classes: tuple[str, str]) -> dict[str, Any]:
  hypothesis = judged.hypothesis
  return {
    "probe": hypothesis.probe.name,
    "stream": hypothesis.probe.stream,
    "unit": hypothesis.probe.unit,
    "sentence": hypothesis.sentence(*classes),
    "verdict": judged.verdict.value,
    "reason": judged.reason,
    "rank": hypothesis.rank,
    "weight": judged.weight,
    "stimuli": {"values": hypothesis.values, "spreads": hypothesis.spreads, "effect": hypothesis.effect, "p": hypothesis.p},
    "differs": hypothesis.differs,
    "separation": hypothesis.separation,
    "clips": dataclasses.asdict(judged.clips),
    "intervention": dataclasses.asdict(judged.intervention) if judged.intervention else None,
  }


def to_evidence(found: Explanation, report: str) -> dict[str, Any]:
  """Returns what the tab shows on the pair's page; `tb_plugin.explanations` defines its form.

  Args:
    found: the explanation.
    report: name of the page with all of it.
  """
  a, b = found.classes
  items = []
  for place, judged in enumerate(found.judged[:_SHOWN], 1):
    hypothesis, tested = judged.hypothesis, judged.clips
    values = [
      _value(f"stimuli of {a}", hypothesis.values[0], hypothesis.probe.unit),
      _value(f"stimuli of {b}", hypothesis.values[1], hypothesis.probe.unit),
      _value(f"clips of {a}", tested.centers[0], hypothesis.probe.unit),
      _value(f"clips of {b}", tested.centers[1], hypothesis.probe.unit),
      _value("confused clips", tested.means[0], hypothesis.probe.unit),
      _value("right clips", tested.means[1], hypothesis.probe.unit),
      _value("corrected p", tested.p, ""),
    ]
    title = f"{place}. {hypothesis.probe.stream}: {hypothesis.probe.name}: {judged.verdict.value}"
    items.append({"title": title, "text": f"{hypothesis.sentence(a, b)} {judged.reason}", "values": [v for v in values if v], "units": []})
  if found.interventions:
    moved = [_value(test.name, test.change, f"of {test.before:.2f}, p = {test.p:.2g}") for test in found.interventions]
    text = f"Change of the margin between the scores of {a} and {b} in {found.interventions[0].clips} right clips of {a}."
    items.append({"title": "Interventions", "text": text, "values": [v for v in moved if v], "units": []})
  return {
    "version": 1,
    "true": a,
    "predicted": b,
    "tower": found.tower,
    "summary": found.summary,
    "evidence": items,
    "source": f"tbvis-explain; the whole of it with stimuli and clips is in {report} beside this file.",
  }


def _value(label: str, value: float, unit: str) -> dict[str, Any] | None:
  return {"label": label, "value": float(value), "unit": unit} if math.isfinite(value) else None
