"""Whether fusion learns joint features: what chi of the motion does to the appearance, and what a unit is without one stream."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import functools
from typing import Any

import numpy as np
import tensorflow as tf

from tbvis.diagnostics.analysis import responses as responses_lib
from tbvis.diagnostics.analysis import similarity
from tbvis.diagnostics.analysis import stimuli as stimuli_lib
from tbvis.diagnostics.analysis.report import Finding, Table
from tbvis.diagnostics.controls import FUSION
from tbvis.diagnostics.explanations import permutations
from tbvis.errors import present
from tbvis.maximization import network
from tbvis.models import checkpoint as checkpoint_lib
from tbvis.models import two_stream
from tbvis.records import StimulusRecord
from tbvis.rendering.charts import Strip, strip_chart

# The appearance tower's layer in whose channels textures are compared: parts of objects, not yet classes.
FEATURES = "relu4_3_appearance"
TOP_CLIPS = 5
# A unit that loses less than this without a stream does not use it.
_USES = 0.1
_PAIR = 2
_HOW = (
  "Appearance change is 1 - correlation of two stimuli's pictures after the best shift within the search's own jitter (0: the "
  "same, 1: unrelated), between stimuli that differ in chi of the motion alone (same start noise), in the start alone, and in "
  "both. What chi adds is the change with both less the change with the start alone. The same in the appearance tower's eyes: "
  f"correlation of mean channel values of {FEATURES}, pictures at equal contrast, standardised over all stimuli of the network: it "
  "does not ask where a texture lies. 'Told apart' is how often two starts of one unit are more alike than two units (0.5: the "
  "measure tells nothing). Drop is the part of the unit's value before its ReLU, in float32, that is lost when one stream is "
  f"replaced by zeros (the mean frame, no motion): at its stimuli (median over them), and at its own {TOP_CLIPS} best held-out "
  "clips, at the place that fired. Before the ReLU a 1x1 fusion is a sum of what both towers give, so that both drops add up to 1 "
  "but for the biases. As initialised (0.25 I of appearance, 0.75 I of motion) the same towers are fused without training: what "
  "it shows too is no evidence of learning."
)


@dataclasses.dataclass(frozen=True, eq=False)
class FusionMeasures:
  """What is measured of one network's fusion units.

  Attributes:
    units: names.
    changes: by measure ("picture", "features") and kind (see `similarity.KINDS`), 1 - correlation (units,).
    told_apart: by measure, see `similarity.told_apart`.
    stimulus_drops: by blanked stream (units,).
    clip_drops: by blanked stream (units,); empty without clips.
    deviation: largest relative difference between the value of a stimulus here and as the search told it.
  """

  units: tuple[str, ...]
  changes: Mapping[str, Mapping[str, np.ndarray]]
  told_apart: Mapping[str, float]
  stimulus_drops: Mapping[str, np.ndarray]
  clip_drops: Mapping[str, np.ndarray]
  deviation: float

  def added(self, measure: str) -> np.ndarray:
    """Returns (units,): the change from chi and start together less that from the start alone."""
    return self.changes[measure]["both"] - self.changes[measure]["seed"]


def channel_means(checkpoint: checkpoint_lib.Checkpoint, records: Sequence[StimulusRecord]) -> np.ndarray:
  """Returns what the appearance tower has in its channels, float32 (stimuli, channels), means over places at `FEATURES`.

  Pictures are brought to one contrast first: how strong a stimulus ended is the search's doing.
  """
  tap = network.Tap(FEATURES)
  net = network.CutNetwork(checkpoint.model, [tap])
  pictures = stimuli_lib.at_equal_contrast(np.stack([_picture(record) for record in records]))
  maps = [net({"appearance": tf.constant(picture[None])}, float32=True)[tap].numpy() for picture in pictures]
  return np.stack([of_picture.mean(axis=(0, 1, 2)) for of_picture in maps])


def _picture(record: StimulusRecord) -> np.ndarray:
  return present(record.appearance, "a stimulus with an appearance")


def measure(
  checkpoint: checkpoint_lib.Checkpoint, found: Mapping[str, stimuli_lib.Found], clips: responses_lib.Responses | None
) -> FusionMeasures:
  """Measures the fusion units of a network.

  Args:
    checkpoint: the network.
    found: stimuli by unit of conv5_fusion, each by (chi, seed).
    clips: responses of conv5_fusion to clips, with either stream blanked; None without.
  """
  records = [record for of_unit in found.values() for record in of_unit.values()]
  features = iter(similarity.standardised(channel_means(checkpoint, records)))
  vectors = [{key: next(features) for key in of_unit} for of_unit in found.values()]
  reach = max(int(record.config.get("jitter_pixels", 0)) for record in records)

  def alike(first: StimulusRecord, second: StimulusRecord) -> float:
    return similarity.picture_correlation(_picture(first), _picture(second), reach)

  compared: dict[str, tuple[Sequence[Mapping[tuple[float, int], Any]], Callable[[Any, Any], float]]] = {
    "picture": (list(found.values()), alike),
    "features": (vectors, similarity.feature_correlation),
  }
  changes, apart = {}, {}
  for name, (units, measured) in compared.items():
    kinds = [similarity.by_kind(of_unit, measured) for of_unit in units]
    changes[name] = {kind: np.array([1 - of_unit[kind] for of_unit in kinds]) for kind in similarity.KINDS}
    apart[name] = similarity.told_apart([of_unit["seed"] for of_unit in kinds], similarity.between_units(units, measured))
  at_stimuli, deviation = _stimulus_drops(checkpoint, found)
  channels = [next(iter(of_unit.values())).channel for of_unit in found.values()]
  at_clips = {}
  if clips is not None:
    at_clips = {
      stream: responses_lib.drops(clips.values[FUSION], clips.without[stream][FUSION], TOP_CLIPS)[channels] for stream in two_stream.STREAMS
    }
  return FusionMeasures(tuple(found), changes, apart, at_stimuli, at_clips, deviation)


def _stimulus_drops(
  checkpoint: checkpoint_lib.Checkpoint, found: Mapping[str, stimuli_lib.Found]
) -> tuple[dict[str, np.ndarray], float]:  # fmt: skip
  value = stimuli_lib.Activations(checkpoint, FUSION)
  drops: dict[str, list[float]] = {stream: [] for stream in two_stream.STREAMS}
  deviation = 0.0
  for of_unit in found.values():
    records = list(of_unit.values())
    channels = [record.channel for record in records]
    inputs = stimuli_lib.inputs_of(records)
    whole = value(inputs, channels)
    told = np.array([record.activation for record in records])
    deviation = max(deviation, float(np.max(np.abs(whole - told) / np.maximum(np.abs(told), 1e-9))))
    for stream, lost in drops.items():
      rest = value({**inputs, stream: np.zeros_like(inputs[stream])}, channels)
      lost.append(float(np.median((whole - rest) / np.maximum(np.abs(whole), 1e-9))))
  return {stream: np.array(lost) for stream, lost in drops.items()}, deviation


def _median(values: np.ndarray) -> float:
  values = np.asarray(values, float)
  return float(np.median(values[np.isfinite(values)])) if np.isfinite(values).any() else float("nan")


def _smaller(drops: Mapping[str, np.ndarray]) -> np.ndarray:
  """Returns (units,) the smaller of a unit's two drops: 0 where one stream does all the work, 0.5 where both do as much."""
  return np.min([drops[stream] for stream in two_stream.STREAMS], axis=0)


def finding(measured: Mapping[str, FusionMeasures], moved: float) -> Finding:
  """Tells whether fusion has learned joint features.

  Args:
    measured: by network, "trained" first.
    moved: |W - W0| / |W0| of the trained fusion.
  """
  said = [f"Training moved the fusion by |W - W0| / |W0| = {moved:.1%}."]
  numbers: dict[str, float | None] = {"fusion_moved": moved}
  for name, found in measured.items():
    said += _said(name, found)
    numbers |= _numbers(name, found)
  said += _against(measured)
  charts = {
    "fusion_appearance": strip_chart(
      "What chi of the motion alone does to the appearance, beside another start (a point a unit)",
      [
        Strip(_KIND_NAMES[kind], found.changes["picture"][kind], found.units, number)
        for kind in similarity.KINDS
        for number, found in enumerate(measured.values())
      ],
      "change of the picture, 1 - correlation after the best shift (0 the same, 1 unrelated)",
      tuple(measured),
    ),
    "fusion_blanking": strip_chart(
      "What a unit loses without one stream (a point a unit)",
      [
        Strip(f"without {stream}, {where}", drops[stream], found.units, number)
        for where, kind in (("stimuli", "stimulus_drops"), ("clips", "clip_drops"))
        for stream in two_stream.STREAMS
        for number, found in enumerate(measured.values())
        if (drops := getattr(found, kind))
      ],
      "part of the value that is lost (1: all of it)",
      tuple(measured),
      reference=0.0,
    ),
  }
  return Finding("fusion", "Fusion learns joint features", _HOW, tuple(said), (_table(measured),), charts, numbers)


_KIND_NAMES = {"chi": "chi alone", "seed": "start alone", "both": "chi and start"}


def _said(name: str, found: FusionMeasures) -> list[str]:
  lines = []
  for measure, words in (("picture", "pictures"), ("features", "texture in the appearance tower")):
    kinds = {kind: f"{_median(values):.2f}" for kind, values in found.changes[measure].items()}
    added = found.added(measure)
    p = permutations.sign_test(added[:, None], np.arange(len(added))).p[0]
    lines.append(
      f"{name}, {words}: changes by {kinds['chi']} with chi alone, {kinds['seed']} with another start, {kinds['both']} with both; "
      f"chi adds {_median(added):+.3f} (p = {p:.2g}, {len(added)} units, medians); told apart {found.told_apart[measure]:.2f}."
    )
  for where, drops in (("stimuli", found.stimulus_drops), ("best clips", found.clip_drops)):
    if drops:
      lost = {stream: f"{_median(values):.0%}" for stream, values in drops.items()}
      smaller = _smaller(drops)
      uses = int(np.sum(smaller >= _USES))
      lines.append(
        f"{name}, at {where}: without appearance a unit loses {lost['appearance']}, without motion {lost['motion']} (medians); "
        f"{uses} of {len(smaller)} lose {_USES:.0%} or more without either, the smaller loss is {_median(smaller):.0%} (median)."
      )
  return lines


def _against(measured: Mapping[str, FusionMeasures]) -> list[str]:
  """Says what the first network has more of than the second, unit by unit; nothing of one network alone."""
  if len(measured) < _PAIR:
    return []
  (name, first), (other, second) = list(measured.items())[:_PAIR]
  common = [unit for unit in first.units if unit in second.units]
  own, others = ([found.units.index(unit) for unit in common] for found in (first, second))
  pairs = {f"what chi adds to {measure}": (first.added(measure), second.added(measure)) for measure in first.changes}
  for where, kind in (("stimuli", "stimulus_drops"), ("best clips", "clip_drops")):
    if getattr(first, kind) and getattr(second, kind):
      pairs[f"the smaller loss at {where}"] = (_smaller(getattr(first, kind)), _smaller(getattr(second, kind)))
  lines = []
  for words, (a, b) in pairs.items():
    more = a[own] - b[others]
    p = permutations.sign_test(more[:, None], np.arange(len(more))).p[0]
    lines.append(f"{name} less {other}: {words} {_median(more):+.3f} (median of {len(common)} units; p = {p:.2g} that it is more).")
  return lines


def _numbers(name: str, found: FusionMeasures) -> dict[str, float | None]:
  key = name.replace(" ", "_")
  numbers: dict[str, float | None] = {f"fusion_{key}_units": len(found.units), f"fusion_{key}_value_deviation": found.deviation}
  for measure, kinds in found.changes.items():
    numbers |= {f"fusion_{key}_{measure}_change_{kind}_median": _median(values) for kind, values in kinds.items()}
    numbers[f"fusion_{key}_{measure}_change_added_by_chi_median"] = _median(found.added(measure))
    numbers[f"fusion_{key}_{measure}_told_apart"] = found.told_apart[measure]
  for where, drops in (("stimuli", found.stimulus_drops), ("clips", found.clip_drops)):
    numbers |= {f"fusion_{key}_drop_without_{stream}_{where}_median": _median(values) for stream, values in drops.items()}
    if drops:
      numbers[f"fusion_{key}_smaller_drop_{where}_median"] = _median(_smaller(drops))
  return numbers


def _change(measure: str, kind: str, found: FusionMeasures, unit: int) -> float:
  return float(found.changes[measure][kind][unit])


def _drop(where: str, stream: str, found: FusionMeasures, unit: int) -> float:
  drops = getattr(found, where)
  return float(drops[stream][unit]) if drops else float("nan")


def _table(measured: Mapping[str, FusionMeasures]) -> Table:
  columns: dict[str, Callable[[FusionMeasures, int], float]] = {}
  for measure in ("picture", "features"):
    for kind in similarity.KINDS:
      columns[f"{measure} change: {_KIND_NAMES[kind]}"] = functools.partial(_change, measure, kind)
  for where, kind in (("stimuli", "stimulus_drops"), ("clips", "clip_drops")):
    for stream in two_stream.STREAMS:
      columns[f"drop without {stream}, {where}"] = functools.partial(_drop, kind, stream)
  rows = [
    (unit, name, *(value(found, i) for value in columns.values())) for name, found in measured.items() for i, unit in enumerate(found.units)
  ]
  return Table("fusion_units", "Units of the fusion", ("unit", "network", *columns), tuple(rows))
