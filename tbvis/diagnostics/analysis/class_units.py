"""Which units answer to one class and which to many: selectivity of every unit, against what chance gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import dataclasses

import numpy as np

from tbvis import units as units_lib
from tbvis.diagnostics.analysis import trend as trend_lib
from tbvis.diagnostics.analysis.report import Finding, Table
from tbvis.diagnostics.analysis.responses import Responses
from tbvis.diagnostics.explanations.permutations import LEVEL
from tbvis.diagnostics.selectivity import selectivity_index
from tbvis.rendering.charts import Strip, strip_chart

# A mean of one class at least 2 times that of the others, and one at most 1.5 times.
SPECIFIC, GENERAL = 1 / 3, 0.2
_PERMUTATIONS = 499
_NAMED = 16
# So many points of a layer are drawn: more only make a band.
_DRAWN = 150
KINDS = ("class-specific", "general", "in between", "silent")
_HOW = (
  "A clip's response is the unit's largest value before its ReLU over snippets and places. The index is (mu_max - mu_-max) / "
  "(mu_max + mu_-max) of mean responses by class (Morcos et al. 2018; negative means count as 0): 0 the same for all classes, 1 one "
  "class alone. Entropy is that of the means as shares, over its largest value: 1 all classes alike, 0 one class. Class-specific: "
  "index of 1/3 or more, which is a class at twice the mean of the others. General: index of 0.2 or less, at most 1.5 times. Both "
  "thresholds are ours."
)
_CHANCE = (
  " Chance: labels are permuted over whole groups of clips, as clips of a group resemble each other; p is how often the largest class mean "
  "is then as far above the others, of each unit by itself, and a class-specific unit has a p of "
  f"{LEVEL:g} or less besides. The index by chance is high where units are positive on few clips."
)
_NO_CHANCE = (
  " Without the clips (--data_dir, --dataset) there is no test against chance: with few clips a class, indices above 0 are partly chance."
)


@dataclasses.dataclass(frozen=True, eq=False)
class LayerSelectivity:
  """Selectivity of one layer's units.

  Attributes:
    index: (units,), NaN for silent ones.
    entropy: (units,), likewise.
    best: int (units,), the class of the largest mean.
    chance: (units,), median index under permuted labels; None without clips.
    p: (units,), of a class as far above the others under permuted labels; None without clips.
  """

  index: np.ndarray
  entropy: np.ndarray
  best: np.ndarray
  chance: np.ndarray | None = None
  p: np.ndarray | None = None

  @property
  def kinds(self) -> np.ndarray:
    """Returns str (units,), of `KINDS`."""
    beyond = self.p <= LEVEL if self.p is not None else np.ones(len(self.index), bool)
    kinds = np.full(len(self.index), KINDS[2], dtype=object)
    kinds[(self.index >= SPECIFIC) & beyond] = KINDS[0]
    kinds[self.index <= GENERAL] = KINDS[1]
    kinds[np.isnan(self.index)] = KINDS[3]
    return kinds


def class_entropy(class_means: np.ndarray) -> np.ndarray:
  """Returns the entropy of class means taken as shares, over that of equal shares: 1 all classes alike, 0 one class alone.

  Args:
    class_means: (classes, ...); negative means count as 0, NaN (a class without clips) not at all.

  Returns:
    float64 (...); NaN with fewer than two classes, or without a positive mean.

  >>> class_entropy(np.array([[2.0, 1.0, -1.0], [2.0, -3.0, -1.0]])).tolist()
  [1.0, 0.0, nan]
  """
  means = np.asarray(class_means, np.float64)
  known = np.isfinite(means)
  positive = np.where(known, np.maximum(means, 0), 0)
  total, count = positive.sum(axis=0), known.sum(axis=0)
  share = positive / np.where(total > 0, total, 1)
  entropy = -(share * np.log(np.where(share > 0, share, 1))).sum(axis=0)
  return np.where((total > 0) & (count > 1), entropy / np.log(np.maximum(count, 2)), np.nan) + 0.0


def class_means(values: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
  """Returns the mean of values (clips, units) by class, (classes, units); NaN for a class without clips."""
  member = (np.arange(classes)[:, None] == labels).astype(float)
  counts = member.sum(axis=1, keepdims=True)
  return np.where(counts > 0, member @ values / np.maximum(counts, 1), np.nan)


def of_means(means: np.ndarray) -> LayerSelectivity:
  """Returns selectivity from class means (classes, units) alone."""
  return LayerSelectivity(selectivity_index(means), class_entropy(means), np.nan_to_num(means, nan=-np.inf).argmax(axis=0))


def _largest_apart(means: np.ndarray) -> np.ndarray:
  """Returns the largest class mean less the mean of the others, (units,): what is tested.

  The index itself would not do: of a unit that is positive on few clips any class with one of them has an index of 1.
  """
  known = np.isfinite(means)
  largest = np.where(known, means, -np.inf).max(axis=0)
  return largest - (np.where(known, means, 0).sum(axis=0) - largest) / np.maximum(known.sum(axis=0) - 1, 1)


def of_clips(values: np.ndarray, labels: np.ndarray, blocks: np.ndarray, classes: int, count: int = _PERMUTATIONS) -> LayerSelectivity:
  """Returns selectivity with its test against chance.

  Args:
    values: (clips, units).
    labels: int (clips,).
    blocks: int (clips,), see `Responses.blocks`: clips of a block keep a common label.
    classes: how many there are.
    count: permutations.
  """
  means = class_means(values, labels, classes)
  plain, apart = of_means(means), _largest_apart(means)
  names, first, place = np.unique(blocks, return_index=True, return_inverse=True)
  of_block = labels[first]
  rng = np.random.default_rng(0)
  drawn = [class_means(values, of_block[rng.permutation(len(names))][place], classes) for _ in range(count)]
  indices = np.stack([selectivity_index(of_draw) for of_draw in drawn])
  p = (1 + sum(_largest_apart(of_draw) >= apart - 1e-9 * np.abs(apart) for of_draw in drawn)) / (count + 1)
  known = np.isfinite(plain.index)
  chance = np.full(len(p), np.nan)
  chance[known] = np.nanmedian(indices[:, known], axis=0)
  return dataclasses.replace(plain, chance=chance, p=np.where(known, p, np.nan))


def measure(clips: Responses, classes: int) -> dict[str, LayerSelectivity]:
  """Returns the selectivity of every layer that clips were passed to."""
  blocks = clips.blocks()
  return {layer: of_clips(np.asarray(values, float), clips.labels, blocks, classes) for layer, values in clips.values.items()}


def _drawn(index: np.ndarray) -> np.ndarray:
  """Returns which units are drawn: all, or evenly over their ranks, so that spread and median are those of all."""
  order = np.argsort(index, kind="stable")[: int(np.isfinite(index).sum())]
  return order[np.unique(np.linspace(0, len(order) - 1, min(len(order), _DRAWN)).astype(int))] if len(order) else order


def _median(values: np.ndarray) -> float:
  known = values[np.isfinite(values)]
  return float(np.median(known)) if len(known) else float("nan")


def _label(layer: str, channel: int, classes: Sequence[str]) -> str:
  return classes[channel] if layer in units_lib.CLASS_LAYERS else units_lib.number_label(channel)


def finding(layers: Mapping[str, LayerSelectivity], depths: Mapping[str, int], classes: Sequence[str], source: str) -> Finding:
  """Tells which units are class-specific and which are general.

  Args:
    layers: by name, in the order of the network.
    depths: by layer.
    classes: names.
    source: which clips the responses are to.
  """
  # With clips, both are known of every layer.
  chance = {layer: _median(found.chance) for layer, found in layers.items() if found.chance is not None}
  beyond = sum(int(np.sum(found.p <= LEVEL)) for found in layers.values() if found.p is not None)
  tested = len(chance) == len(layers)
  medians = {layer: _median(found.index) for layer, found in layers.items()}
  counts = {layer: {kind: int(np.sum(found.kinds == kind)) for kind in KINDS} for layer, found in layers.items()}
  total = {kind: sum(of_layer[kind] for of_layer in counts.values()) for kind in KINDS}
  depth = np.array([depths[layer] for layer in layers])
  trends = {"index": trend_lib.trend(depth, np.array(list(medians.values())))}
  said = [
    f"Responses to {source}.",
    f"Of {sum(total.values())} units in {len(layers)} layers " + ", ".join(f"{count} are {kind}" for kind, count in total.items()) + ".",
  ]
  if tested:
    trends["excess"] = trend_lib.trend(depth, np.array([medians[layer] - chance[layer] for layer in layers]))
    low, high = min(chance.values()), max(chance.values())
    said.append(
      f"{beyond} units tell classes apart beyond chance (p of {LEVEL:g} or less; chance alone gives about "
      f"{round(LEVEL * sum(total.values()))}). By chance the median index of a layer is {low:.2f} to {high:.2f}."
    )
  said.append(f"The median index of a layer: {trends['index']}.")
  if tested:
    said.append(f"The same less what chance gives in the layer, where units that are mostly silent have more: {trends['excess']}.")
  head = ("layer", "depth", "units", "index, median", "index by chance, median", "entropy, median", *KINDS)
  rows = tuple(
    (
      layer, depths[layer], len(found.index), medians[layer], chance.get(layer) if tested else None, _median(found.entropy),
      *(counts[layer][kind] for kind in KINDS),
    )
    for layer, found in layers.items()
  )  # fmt: skip
  numbers: dict[str, float | None] = {f"units_{kind.replace(' ', '_').replace('-', '_')}": count for kind, count in total.items()}
  numbers |= {f"selectivity_index_median_{layer}": value for layer, value in medians.items()}
  for name, found in trends.items():
    numbers |= {f"selectivity_{name}_trend_rho": found.rho, f"selectivity_{name}_trend_p": found.p}
  chart = strip_chart(
    "Class selectivity of units, layer by layer (a point a unit)",
    [
      Strip(layer, found.index[chosen], [f"{layer}/{_label(layer, c, classes)}" for c in chosen])
      for layer, found in layers.items()
      for chosen in (_drawn(found.index),)
    ],
    "selectivity index (0 all classes alike, 1 one class alone; the line is at 1/3)",
    limits=(0.0, 1.0),
    reference=SPECIFIC,
  )
  return Finding(
    "selectivity",
    "Class-specific and general units",
    _HOW + (_CHANCE if tested else _NO_CHANCE) + f" At most {_DRAWN} units a layer are drawn, evenly over their ranks.",
    tuple(said),
    (
      Table("selectivity_layers", "Layers", head, rows),
      Table(
        "selectivity_lists",
        "Units of each kind",
        ("layer", "kind", "count", "units, most selective or most general first"),
        _lists(layers, classes),
      ),
      Table(
        "selectivity_units",
        "Every unit",
        ("unit", "kind", "index", "entropy", "class of the largest mean", "p"),
        _every(layers, classes),
        False,
      ),
    ),
    {"selectivity": chart},
    numbers,
  )


def _lists(layers: Mapping[str, LayerSelectivity], classes: Sequence[str]) -> tuple[tuple[str, str, int, str], ...]:
  rows = []
  for layer, found in layers.items():
    kinds = found.kinds
    for kind, sign in ((KINDS[0], -1), (KINDS[1], 1)):
      channels = np.flatnonzero(kinds == kind)
      channels = channels[np.argsort(sign * found.index[channels], kind="stable")]
      specific = kind == KINDS[0] and layer not in units_lib.CLASS_LAYERS
      named = [_label(layer, c, classes) + (f" ({classes[found.best[c]]})" if specific else "") for c in channels[:_NAMED]]
      if len(channels):
        rows.append((layer, kind, len(channels), ", ".join(named) + (", ..." if len(channels) > _NAMED else "")))
  return tuple(rows)


def _every(layers: Mapping[str, LayerSelectivity], classes: Sequence[str]) -> tuple[tuple[str, str, float, float, str, float | None], ...]:
  return tuple(
    (
      f"{layer}/{_label(layer, c, classes)}", str(kind), float(found.index[c]), float(found.entropy[c]), classes[found.best[c]],
      float(found.p[c]) if found.p is not None else None,
    )
    for layer, found in layers.items()
    for c, kind in enumerate(found.kinds)
  )  # fmt: skip
