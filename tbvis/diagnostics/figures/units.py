"""The units of a figure: the paper's own by number, or those of another network that answer to the class that the paper names."""

from __future__ import annotations

from collections.abc import Container, Sequence
import dataclasses
import re

import numpy as np

from tbvis.diagnostics import statistics as statistics_lib
from tbvis.errors import UsageError, nearest
from tbvis.models import checkpoint as checkpoint_lib
from tbvis.units import CLASS_LAYERS, Unit, channels_of, number_label, parse_units

_NUMBERS = re.compile(r"f\d+(\s*-\s*f?\d+)?")
# A unit that hardly answers to any class may do so to one alone by chance: it must reach this part of the layer's median a_hat.
_LEAST = 0.25
# Where the authors' own networks come from, and what they are.
_AUTHORS_FORMAT, _AUTHORS_CLASSES = "matconvnet", 101


@dataclasses.dataclass(frozen=True)
class Wish:
  """The units of one row, as a flagfile asks for them.

  Attributes:
    layer: name of the layer.
    paper: the paper's units, "f021" or "f001-f036"; "" where it prints no number.
    other: for any other network: classes, "YoYo+Nunchucks", or numbers likewise.
  """

  layer: str
  paper: str
  other: str

  @property
  def classes(self) -> tuple[str, ...]:
    """The classes that are named; () where numbers are."""
    return () if not self.other or _NUMBERS.fullmatch(self.other) else tuple(name.strip() for name in self.other.split("+"))


@dataclasses.dataclass(frozen=True)
class Chosen:
  """The units of one row of a figure.

  Attributes:
    layer: as written.
    units: the units; several make a mosaic.
    how: how they were chosen, for the caption.
    classes: the classes that the paper names with them, as far as the network has them.
  """

  layer: str
  units: tuple[Unit, ...]
  how: str
  classes: tuple[str, ...] = ()

  @property
  def name(self) -> str:
    """ "conv5_fusion/f021", "conv4_3/f001-f036"."""
    first, last = self.units[0], self.units[-1]
    return first.name if first == last else f"{first.name}-{last.label}"


class Lacking(UsageError):
  """The network has nothing for a row: its class or its numbers are missing, or nothing is known to choose by."""


def parse_wish(text: str) -> Wish:
  """Reads a row: LAYER/PAPER|OTHER, or LAYER/BOTH where other networks take the same, or a class to choose a unit by.

  Raises:
    UsageError: for anything else.

  >>> parse_wish("conv5_fusion/f021|Billiards")
  Wish(layer='conv5_fusion', paper='f021', other='Billiards')
  >>> parse_wish("fc6/PlayingFlute"), parse_wish("conv5_fusion/f001").other
  (Wish(layer='fc6', paper='', other='PlayingFlute'), 'f001')
  """
  layer, slash, label = text.strip().partition("/")
  paper, bar, other = (part.strip() for part in label.partition("|"))
  if not layer or not slash or not paper or (bar and (not other or not _NUMBERS.fullmatch(paper))):
    raise UsageError(f"--units: expected LAYER/f021, LAYER/CLASS or LAYER/f021|CLASS, received {text!r}.")
  if bar:
    return Wish(layer, paper, other)
  return Wish(layer, paper if _NUMBERS.fullmatch(paper) else "", paper)


def is_authors(checkpoint: checkpoint_lib.Checkpoint) -> bool:
  """Tells whether a checkpoint is the authors' own network: imported from MatConvNet, of full width, with the 101 classes of UCF101."""
  sources = checkpoint.metadata.get("sources") or ()
  full = float(checkpoint.arguments.get("width", 1.0)) == 1.0
  return full and len(checkpoint.classes) == _AUTHORS_CLASSES and any(source.get("format") == _AUTHORS_FORMAT for source in sources)


def preference(class_means: np.ndarray, labels: Sequence[int]) -> np.ndarray:
  """Returns how much more units answer to some classes than to the others: (least of these - mean of the others) over their sum.

  For one class this is the selectivity index of `selectivity.selectivity_index` wherever that class is the unit's first.

  Args:
    class_means: (classes, units), mean response to each class; NaN where a class has no clips, and it does not count.
    labels: of the classes.

  Returns:
    float64 (units,), -1 to 1; -inf where a class has no clips or nothing is positive.

  >>> preference(np.array([[3.0, 1.0], [1.0, 1.0], [1.0, 4.0]]), [0]).round(2).tolist()
  [0.5, -0.43]
  >>> preference(np.array([[3.0, 1.0], [3.0, 1.0], [0.0, 4.0]]), [0, 1]).round(2).tolist()
  [1.0, -0.6]
  """
  means = np.asarray(class_means, np.float64)
  known = np.isfinite(means)
  positive = np.where(known, np.maximum(means, 0), 0)
  rest = [label for label in range(len(means)) if label not in set(labels)]
  least = positive[list(labels)].min(axis=0)
  others = positive[rest].sum(axis=0) / np.maximum(known[rest].sum(axis=0), 1)
  total = least + others
  sound = known[list(labels)].all(axis=0) & (total > 0)
  return np.where(sound, (least - others) / np.where(sound, total, 1), -np.inf)


def best_unit(statistics: statistics_lib.UnitStatistics, layer: str, classes: Sequence[str], taken: Container[int] = ()) -> tuple[int, str]:
  """Chooses the unit of a layer that answers most to some classes rather than to others.

  Units whose largest mean responses are to these very classes come first; of them the one of the largest `preference`.

  Args:
    statistics: of the layer, over held-out training clips.
    layer: name.
    classes: which; several ask for a unit that serves all of them.
    taken: channels already in the figure.

  Returns:
    0-based channel, and a sentence on how it was chosen.

  Raises:
    Lacking: if the statistics have no such layer or no clips of a class.
  """
  if layer not in statistics.layers:
    raise Lacking(f"the unit statistics have no layer {layer}")
  means = np.asarray(statistics.class_means(layer), np.float64)
  labels = [statistics.classes.index(name) for name in classes]
  index = preference(means, labels)
  largest = statistics.largest(layer)
  typical = float(np.median(largest[largest > 0])) if (largest > 0).any() else 0.0
  strong = (np.nan_to_num(means[labels], nan=-np.inf).min(axis=0) >= _LEAST * typical) & np.isfinite(index)
  free = np.array([channel not in taken for channel in range(len(index))])
  if not (np.isfinite(index) & free).any():
    raise Lacking(f"no unit of {layer} answers to {' and '.join(classes)} on the validation clips")
  others = np.delete(means, labels, axis=0)
  highest = np.nanmax(others, axis=0, initial=-np.inf) if len(others) else np.full(len(index), -np.inf)
  first = means[labels].min(axis=0) >= highest
  order = np.lexsort((-index, ~first, ~strong, ~free))
  channel = int(order[0])
  said = f"of {len(index)} units of {layer} the one that answers most to {' and '.join(classes)} rather than to other classes"
  said += f" (selectivity {index[channel]:.2f})"
  if not first[channel]:
    stronger = statistics.classes[int(np.nanargmax(np.where(np.isin(np.arange(len(means)), labels), -np.inf, means[:, channel])))]
    said += f"; its largest mean response is to {stronger}"
  return channel, said


def _known_classes(wish: Wish, checkpoint: checkpoint_lib.Checkpoint) -> tuple[tuple[str, ...], str]:
  """Returns the classes of a row that the network has, and a note on the others.

  Raises:
    Lacking: if it has none of them.
  """
  known = tuple(name for name in wish.classes if name in checkpoint.classes)
  lacking = [name for name in wish.classes if name not in checkpoint.classes]
  near = [close for name in lacking for close in nearest(name, checkpoint.classes, 1)]
  said = f"the network has no class {' or '.join(lacking)}" + (f" (nearest: {', '.join(dict.fromkeys(near))})" if near else "")
  if lacking and not known:
    raise Lacking(said)
  return known, said if lacking else ""


def choose(
  wish: Wish,
  checkpoint: checkpoint_lib.Checkpoint,
  statistics: statistics_lib.UnitStatistics | None,
  by_paper: bool,
  taken: Container[str] = (),
) -> Chosen:
  """Finds the units of a row in a network.

  Args:
    wish: what is asked for.
    checkpoint: the network.
    statistics: its units' responses by class, for those that are chosen by a class; None where they are not known.
    by_paper: whether the paper's numbers are taken where it prints them.
    taken: names of units that the figure has already.

  Raises:
    Lacking: if the network lacks the class, or nothing is known to choose by.
    UsageError: for an unknown layer, or a number beyond the layer.
  """
  model, layer = checkpoint.model, wish.layer
  if by_paper and wish.paper:
    named = tuple(name for name in wish.classes if name in checkpoint.classes)
    return Chosen(layer, tuple(parse_units([f"{layer}/{wish.paper}"], model)), "the paper's number", named)
  if not wish.classes:
    same = "the number that the paper shows, in another network" if wish.other == wish.paper else "by number"
    return Chosen(layer, tuple(parse_units([f"{layer}/{wish.other}"], model)), same)
  classes, note = _known_classes(wish, checkpoint)
  if layer in CLASS_LAYERS:
    units = parse_units([f"{layer}/{name}" for name in classes], model, checkpoint.classes)
    return Chosen(layer, tuple(units), "the class' own unit" + (f"; {note}" if note else ""), classes)
  if statistics is None:
    raise Lacking(f"no unit statistics to choose a unit of {layer} for {' and '.join(classes)} by (--statistics)")
  # Asked for by name first, so that an unknown layer is told with the nearest ones.
  (probe,) = parse_units([f"{layer}/f001"], model)
  if len(probe.layers) != 1:
    raise UsageError(f"--units: expected one layer to choose by class in, received {layer}, which stands for {', '.join(probe.layers)}.")
  busy = {channel for channel in range(channels_of(model, layer)) if f"{layer}/{number_label(channel)}" in taken}
  channel, how = best_unit(statistics, layer, classes, busy)
  return Chosen(layer, (Unit(layer, channel, number_label(channel)),), how + (f"; {note}" if note else ""), classes)
