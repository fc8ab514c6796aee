"""Whether units come to accept any speed with depth: their stimuli from slow to fast, each from a start of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import dataclasses

import numpy as np

from tbvis.diagnostics import collection
from tbvis.diagnostics.analysis import similarity
from tbvis.diagnostics.analysis import stimuli as stimuli_lib
from tbvis.diagnostics.analysis import trend as trend_lib
from tbvis.diagnostics.analysis.report import Finding, Table
from tbvis.diagnostics.explanations import permutations
from tbvis.errors import present
from tbvis.maximization import measures
from tbvis.models import checkpoint as checkpoint_lib
from tbvis.models import geometry
from tbvis.records import StimulusRecord
from tbvis.rendering.charts import Strip, strip_chart

# Two starts that agree by less have no common direction that chi could change.
_TELLING = 0.1
_PAIR = 2
# Of the fusion VGG-16.
_PATH = (
  "conv2_2_motion", "conv3_3_motion", "conv4_3_motion", "conv5_3_motion", "conv5_fusion", "fc6", "fc7", "prediction",
)  # fmt: skip
# What is measured of a unit, and its words.
FIELDS = {
  "evenness": "activation at the worst chi over the best, as found",
  "evenness_at_equal_contrast": "activation at the worst chi over the best, motion at equal contrast",
  "across_chi": "direction agreement across chi, from two starts",
  "between_starts": "direction agreement of two starts at one chi",
  "lost_to_chi": "direction agreement lost to chi",
  "between_units": "direction agreement of two units at one chi",
  "quotient": "speed ratio, fast to slow",
}
_HOW = (
  "Every chi is searched from every start by itself (no warm starts), and films of different chi are compared only where their "
  "starts differ too. Activation is relative to a_hat. The search adapts each stimulus' data weight until it comes to about twice "
  "a_hat (--calibrate), so that evenness as found says mostly that it succeeds; at equal contrast the films of a unit are first "
  "scaled to one root mean square, appearances as they are, and the activation at the worst chi is divided by that at the best: 1 "
  "is a unit that likes all its speeds alike. Direction agreement is the mean cosine of the mean flow, places weighted by how "
  "much moves in both films (1 the same direction, 0 unrelated, -1 opposite); between two starts at one chi it is what could be "
  "reached at best, and what is less across chi is lost to chi; between two units it is what chance gives. Speed is the mean "
  "change from frame to frame over that from pixel to pixel; the ratio is that at the smallest chi over that at the largest (6 to "
  "8 in the authors' published pictures), and noise has a high one too: the control shows how high. The trend is Spearman's rank "
  "correlation of the layers' medians with depth (layers with weights on the way from the input), its p-value from permutations "
  "of the layers. The control is the network with the convolutions of its motion tower as they were before training, at an a_hat "
  "of its own."
)


def default_layers(checkpoint: checkpoint_lib.Checkpoint) -> list[str]:
  """Returns eight layers (or as many as there are) along a network, on which chi acts: those that see flow, or the frames of a film.

  They lie evenly from the second such layer to the class units; of the fusion VGG-16 they are those of its units that the paper shows.
  """
  if {*_PATH} <= {layer.name for layer in checkpoint.model.layers}:
    return list(_PATH)
  table = geometry.layer_geometry(checkpoint.model, whole=True)
  stream = "motion" if "motion" in checkpoint.sampling.streams else "appearance"
  names = [name for name in collection.layers_with_units(checkpoint.model) if name in table and stream in table[name].streams]
  places = np.linspace(min(1, len(names) - 1), len(names) - 1, num=min(len(_PATH), len(names)))
  return [names[place] for place in dict.fromkeys(places.round().astype(int))]


@dataclasses.dataclass(frozen=True, eq=False)
class LayerInvariance:
  """What is measured of the units of one layer.

  Attributes:
    units: names.
    chi: the temporal weights, ascending.
    activations: (units, chi), over a_hat, means over starts.
    values: by name of `FIELDS`, (units,).
  """

  units: tuple[str, ...]
  chi: tuple[float, ...]
  activations: np.ndarray
  values: Mapping[str, np.ndarray]

  def median(self, field: str) -> float:
    """Returns the median over units that have a value, NaN where none has."""
    values = self.values[field][np.isfinite(self.values[field])]
    return float(np.median(values)) if len(values) else float("nan")


def evenness(activations: np.ndarray) -> np.ndarray:
  """Returns the smallest over the largest of activations (units, chi), at least 0; NaN where none is positive.

  >>> evenness(np.array([[2.0, 1.0], [-1.0, 4.0]])).tolist()
  [0.5, 0.0]
  """
  largest = activations.max(axis=1)
  return np.where(largest > 0, np.maximum(activations.min(axis=1), 0) / np.where(largest > 0, largest, 1), np.nan)


def measure(checkpoint: checkpoint_lib.Checkpoint, found: Mapping[str, stimuli_lib.Found]) -> dict[str, LayerInvariance]:
  """Measures units layer by layer.

  Args:
    checkpoint: the network.
    found: stimuli by unit, each by (chi, seed); units without motion, and those that lack one of the stimuli, are left out.
  """
  whole = max((len(of_unit) for of_unit in found.values()), default=0)
  by_layer: dict[str, dict[str, stimuli_lib.Found]] = {}
  for unit, of_unit in found.items():
    record = next(iter(of_unit.values()))
    if len(of_unit) == whole and record.motion is not None and len(record.config["layers"]) == 1:
      by_layer.setdefault(record.layer, {})[unit] = of_unit
  return {layer: _layer(checkpoint, layer, units) for layer, units in by_layer.items()}


def _layer(checkpoint: checkpoint_lib.Checkpoint, layer: str, units: Mapping[str, stimuli_lib.Found]) -> LayerInvariance:
  chi = tuple(sorted({key[0] for of_unit in units.values() for key in of_unit}))
  value = stimuli_lib.Activations(checkpoint, layer)
  as_found, equal = [], []
  for of_unit in units.values():
    keys, records = list(of_unit), list(of_unit.values())
    inputs = stimuli_lib.inputs_of(records)
    inputs["motion"] = stimuli_lib.at_equal_contrast(inputs["motion"])
    scaled = value(inputs, [record.channel for record in records])
    of_largest = [record.activation / present(record.a_hat, "a unit with a_hat") for record in records]
    as_found.append([np.mean([v for (c, _), v in zip(keys, of_largest, strict=True) if c == one]) for one in chi])
    equal.append([np.mean([v for (c, _), v in zip(keys, scaled, strict=True) if c == one]) for one in chi])
  kinds = [similarity.by_kind(of_unit, _agreement) for of_unit in units.values()]
  chance = similarity.between_units(list(units.values()), _agreement)
  seeds = sorted({key[1] for of_unit in units.values() for key in of_unit})
  by_seed = [
    measures.speeds(measures.speed(r) for of_unit in units.values() for (_, s), r in of_unit.items() if s == seed) for seed in seeds
  ]
  speeds = [found[layer].quotients for found in by_seed if layer in found]
  count = len(units)
  return LayerInvariance(
    tuple(units),
    chi,
    np.array(as_found),
    {
      "evenness": evenness(np.array(as_found)),
      "evenness_at_equal_contrast": evenness(np.array(equal)),
      "across_chi": np.array([of_unit["both"] for of_unit in kinds]),
      "between_starts": np.array([of_unit["seed"] for of_unit in kinds]),
      "lost_to_chi": np.array([of_unit["seed"] - of_unit["both"] for of_unit in kinds]),
      "between_units": np.array(chance) if len(chance) == count else np.full(count, np.nan),
      "quotient": np.median(speeds, axis=0) if speeds else np.full(count, np.nan),
    },
  )


def _agreement(first: StimulusRecord, second: StimulusRecord) -> float:
  return similarity.flow_agreement(*(present(record.motion, "a stimulus with motion") for record in (first, second)))


def finding(measured: Mapping[str, Mapping[str, LayerInvariance]], depths: Mapping[str, int]) -> Finding:
  """Tells whether invariance grows with depth.

  Args:
    measured: by network, "trained" first, then by layer.
    depths: by layer.
  """
  layers = sorted({layer for of_network in measured.values() for layer in of_network}, key=lambda layer: (depths[layer], layer))
  said: list[str] = []
  numbers: dict[str, float] = {}
  trends: list[tuple[str, str, float, float, int]] = []
  for name, found in measured.items():
    own = [layer for layer in layers if layer in found]
    key = name.replace(" ", "_")
    parts = []
    for field, words in FIELDS.items():
      values = np.array([found[layer].median(field) for layer in own])
      with_depth = trend_lib.trend(np.array([depths[layer] for layer in own]), values)
      trends.append((name, words, with_depth.rho, with_depth.p, with_depth.layers))
      numbers |= {f"invariance_{key}_{field}_trend_rho": with_depth.rho, f"invariance_{key}_{field}_trend_p": with_depth.p}
      numbers |= {f"invariance_{key}_{field}_median_{layer}": value for layer, value in zip(own, values.tolist(), strict=True)}
      if field in ("evenness_at_equal_contrast", "across_chi", "lost_to_chi"):
        parts.append(f"{words}: {with_depth}")
    said += [f"{name}, {part}." for part in parts]
    unsure = [layer for layer in own if not found[layer].median("between_starts") >= _TELLING]
    if unsure:
      said.append(
        f"{name}: in {', '.join(unsure)} two starts at one chi agree by less than {_TELLING:g} already, so what chi does to direction "
        "cannot be told there."
      )
    quotients = np.concatenate([found[layer].values["quotient"] for layer in own]) if own else np.array([np.nan])
    if np.isfinite(quotients).any():
      low, middle, high = np.nanpercentile(quotients, [25, 50, 75])
      said.append(
        f"{name}: the fast stimuli change {middle:.1f} times as much as the slow ones (median; half of the units {low:.1f} to {high:.1f})."
      )
  said += _against(measured)
  charts = {
    f"invariance_{field}": strip_chart(
      f"{FIELDS[field][0].upper()}{FIELDS[field][1:]} (a point a unit, the input above)",
      [
        Strip(layer, found[layer].values[field], found[layer].units, number)
        for layer in layers
        for number, found in enumerate(measured.values())
        if layer in found
      ],
      axis,
      tuple(measured),
      reference=reference,
    )
    for field, axis, reference in (
      ("evenness_at_equal_contrast", "activation at the worst chi over that at the best", 1.0),
      ("across_chi", "mean cosine of mean flow (1 the same direction, 0 unrelated)", 0.0),
      ("quotient", "change at the smallest chi over change at the largest", 1.0),
    )
  }  # fmt: skip
  head = ("network", "what", "rank correlation with depth", "p", "layers")
  tables = (
    _layers(measured, layers, depths), Table("invariance_trends", "Trends with depth", head, tuple(trends)), _units(measured, layers)
  )  # fmt: skip
  return Finding("invariance", "Invariance to speed with depth", _HOW, tuple(said), tables, charts, numbers)


def _against(measured: Mapping[str, Mapping[str, LayerInvariance]]) -> list[str]:
  """Says how much more even the first network's units are than the second's, unit by unit; nothing of one network alone."""
  if len(measured) < _PAIR:
    return []
  field = "evenness_at_equal_contrast"
  (name, first), (other, second) = list(measured.items())[:_PAIR]
  by_unit = [
    {unit: value for of_layer in found.values() for unit, value in zip(of_layer.units, of_layer.values[field], strict=True)}
    for found in (first, second)
  ]
  more = np.array([value - by_unit[1][unit] for unit, value in by_unit[0].items() if unit in by_unit[1]])
  more = more[np.isfinite(more)]
  if not len(more):
    return []
  p = permutations.sign_test(more[:, None], np.arange(len(more))).p[0]
  return [f"{name} less {other}, {FIELDS[field]}: {np.median(more):+.3f} (median of {len(more)} units; p = {p:.2g} that it is more)."]


def _settings(measured: Mapping[str, Mapping[str, LayerInvariance]]) -> Sequence[float]:
  return next((layer.chi for found in measured.values() for layer in found.values()), ())


def _layers(measured: Mapping[str, Mapping[str, LayerInvariance]], layers: Sequence[str], depths: Mapping[str, int]) -> Table:
  chi = _settings(measured)
  rows = [
    (
      layer,
      depths[layer],
      name,
      len(found[layer].units),
      *map(float, np.median(found[layer].activations, axis=0)),
      *map(found[layer].median, FIELDS),
    )
    for layer in layers
    for name, found in measured.items()
    if layer in found
  ]
  columns = ("layer", "depth", "network", "units", *(f"a / a_hat, chi = {c:g}" for c in chi), *FIELDS.values())
  return Table("invariance_layers", "Layers (medians over units)", columns, tuple(rows))


def _units(measured: Mapping[str, Mapping[str, LayerInvariance]], layers: Sequence[str]) -> Table:
  chi = _settings(measured)
  rows = [
    (unit, name, *map(float, found[layer].activations[i]), *(float(found[layer].values[field][i]) for field in FIELDS))
    for layer in layers
    for name, found in measured.items()
    if layer in found
    for i, unit in enumerate(found[layer].units)
  ]
  return Table("invariance_units", "Units", ("unit", "network", *(f"a / a_hat, chi = {c:g}" for c in chi), *FIELDS.values()), tuple(rows))
