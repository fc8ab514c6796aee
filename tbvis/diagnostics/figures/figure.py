"""From what a figure is described by to its cells: units, stimuli at each setting, sample clips, numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
import dataclasses
from typing import Any

import numpy as np

from tbvis.datasets import reader as reader_lib
from tbvis.diagnostics import confusions
from tbvis.diagnostics import predictions as predictions_lib
from tbvis.diagnostics import statistics as statistics_lib
from tbvis.diagnostics.figures import clips as clips_lib
from tbvis.diagnostics.figures import stimuli as stimuli_lib
from tbvis.diagnostics.figures import units as units_lib
from tbvis.errors import UsageError
from tbvis.maximization import planning
from tbvis.models import checkpoint as checkpoint_lib
from tbvis.rendering import grid, mosaic
from tbvis.rendering.flow_color import PIXELS_PER_UNIT, flow_to_rgb, motion_frames

LAYOUTS = ("rows", "settings", "line")
OWN = "own"
# The words of the paper's captions for its four values of chi.
_SPEEDS = {10.0: "slowest", 5.0: "slow", 1.0: "fast", 0.0: "fastest"}


@dataclasses.dataclass(frozen=True)
class Description:
  """What a flagfile says of a figure.

  Attributes:
    layout: "rows": a row of units, a column a setting; "settings": a row a setting of one unit; "line": one row of everything.
    units: rows, see `units.parse_wish`.
    settings: kappa and chi.
    clips: classes of sample clips; "own" for the class that a row's unit is of or was chosen for, beside it.
    clips_each: clips of each class.
    pair: two classes whose confusions are told; () for none.
    regions: whether the motion of the pair's clips is measured where their stimuli move.
    strip: how many frames of a film beside the stimuli the still picture shows.
  """

  layout: str
  units: tuple[units_lib.Wish, ...]
  settings: tuple[planning.Setting, ...]
  clips: tuple[str, ...] = ()
  clips_each: int = 1
  pair: tuple[str, ...] = ()
  regions: bool = False
  strip: int = 1


@dataclasses.dataclass(frozen=True, eq=False)
class Sources:
  """What a figure is made of.

  Attributes:
    checkpoint: the network.
    statistics: its unit statistics, if known.
    predictions: of the clips, if known.
    dataset: the prepared set of the clips, if there is one.
    split: of the set.
    by_paper: whether units have the paper's numbers.
  """

  checkpoint: checkpoint_lib.Checkpoint
  statistics: statistics_lib.UnitStatistics | None = None
  predictions: predictions_lib.Predictions | None = None
  dataset: reader_lib.PreparedDataset | None = None
  split: str = "test"
  by_paper: bool = False


@dataclasses.dataclass(frozen=True, eq=False)
class Made:
  """A figure.

  Attributes:
    blocks: its cells.
    said: sentences for the caption: units, confusions, measurements, clips, what is left out.
    numbers: the same for machines.
  """

  blocks: tuple[grid.Block, ...]
  said: tuple[str, ...]
  numbers: dict[str, Any]


def setting_name(setting: planning.Setting) -> str:
  """Returns a column head.

  >>> setting_name(planning.Setting(1.0, 10.0)), setting_name(planning.Setting(5.0, 5.0, True))
  ('kappa = 1, chi = 10\\nslowest', 'kappa = chi = 5\\nisotropic')
  """
  if setting.isotropic:
    return f"kappa = chi = {setting.kappa:g}\nisotropic"
  speed = _SPEEDS.get(setting.chi)
  return f"kappa = {setting.kappa:g}, chi = {setting.chi:g}" + (f"\n{speed}" if speed else "")


def speed(motion: np.ndarray) -> float:
  """Returns the mean speed of a stimulus (H, W, T, 2), averaged by speed itself: pixels a frame. Still surroundings do not count.

  >>> round(speed(np.array([[[[51.0, 0.0]], [[0.0, 0.0]]]])), 2)
  8.0
  """
  sizes = np.hypot(motion[..., 0], motion[..., 1])
  total = float(sizes.sum())
  return PIXELS_PER_UNIT * float((sizes**2).sum()) / total if total > 0 else 0.0


def choose_units(wishes: Sequence[units_lib.Wish], sources: Sources) -> tuple[list[units_lib.Chosen], list[str]]:
  """Returns the units of every row, and a note on every row that the network has nothing for.

  Raises:
    UsageError: if no row is left.
  """
  rows: list[units_lib.Chosen] = []
  notes = []
  taken: set[str] = set()
  for wish in wishes:
    try:
      chosen = units_lib.choose(wish, sources.checkpoint, sources.statistics, sources.by_paper, taken)
    except units_lib.Lacking as error:
      notes.append(f"The row {wish.layer}/{wish.other} is left out: {error}.")
      continue
    taken |= {unit.name for unit in chosen.units}
    rows.append(chosen)
  if not rows:
    raise UsageError(f"The network has nothing to show here. {' '.join(notes)}")
  return rows, notes


class _Assembly:
  """Gathers cells and sentences while a figure is put together."""

  def __init__(self, description: Description, sources: Sources):
    self.description, self.sources = description, sources
    self.rows, self.notes = choose_units(description.units, sources)
    self.found: Mapping[tuple[str, planning.Setting], stimuli_lib.Found] = {}
    self.samples: dict[str, list[clips_lib.Sample]] = {}

  @property
  def unit_names(self) -> list[str]:
    """The units of all rows, each once."""
    return list(dict.fromkeys(unit.name for row in self.rows for unit in row.units))

  def read_clips(self) -> None:
    """Reads the sample clips, or notes why there are none."""
    names = [name for name in self.description.clips if name != OWN]
    if OWN in self.description.clips:
      names += [name for row in self.rows for name in row.classes]
    names = list(dict.fromkeys(names))
    if not names:
      return
    if self.sources.dataset is None:
      self.notes.append(f"No prepared set of clips was given: sample clips of {', '.join(names)} are left out.")
      return
    pair = self.description.pair
    taken_for = dict(zip(pair, pair[::-1], strict=True))
    wanted = dict.fromkeys(names, self.description.clips_each)
    self.samples = clips_lib.read(self.sources.dataset, self.sources.split, wanted, self.sources.predictions, taken_for)
    lacking = [name for name in names if not self.samples.get(name)]
    if lacking:
      self.notes.append(f"The prepared set {self.sources.dataset.name!r} has no {self.sources.split} clips of {', '.join(lacking)}.")

  def appearance(self, row: units_lib.Chosen, setting: planning.Setting) -> grid.Cell:
    """Returns the cell of a row's appearances."""
    pictures = [(unit, self.found[unit.name, setting]) for unit in row.units]
    drawn = [found.played() for _, found in pictures if found.appearance is not None]
    return self._cell(row, setting, "appearance", drawn, pictures)

  @property
  def has_motion(self) -> bool:
    """Whether any stimulus has one: a network of videos or of pictures alone has none."""
    return any(found.motion is not None for found in self.found.values())

  def stimulus(self, row: units_lib.Chosen, setting: planning.Setting) -> tuple[grid.Cell, ...]:
    """Returns the cells of a row's stimuli under a setting: appearance and motion, or the appearance alone."""
    return (self.appearance(row, setting), *((self.motion(row, setting),) if self.has_motion else ()))

  @property
  def heads(self) -> tuple[str, ...]:
    """What `stimulus` gives."""
    return ("appearance", "motion") if self.has_motion else ("appearance",)

  def motion(self, row: units_lib.Chosen, setting: planning.Setting) -> grid.Cell:
    """Returns the cell of a row's motions, each film on a scale of its own."""
    pictures = [(unit, self.found[unit.name, setting]) for unit in row.units]
    drawn = [flow_to_rgb(motion_frames(found.motion)) for _, found in pictures if found.motion is not None]
    cell = self._cell(row, setting, "motion", drawn, pictures)
    motions = [found.motion for _, found in pictures if found.motion is not None]
    if not motions:
      return cell
    # Slow motion may swing through nothing half-way: the still shows where most moves.
    amounts = [np.hypot(motion[..., 0], motion[..., 1]).mean(axis=(0, 1)) for motion in motions]
    still = int(np.argmax(sum(amount / max(float(amount.max()), 1e-12) for amount in amounts)))
    below = f"{cell.below}, {speed(motions[0]):.1f} px" if len(motions) == 1 else cell.below
    return dataclasses.replace(cell, below=below, still=still)

  def _cell(
    self,
    row: units_lib.Chosen,
    setting: planning.Setting,
    stream: str,
    drawn: list[np.ndarray],
    pictures: Sequence[tuple[Any, stimuli_lib.Found]],
  ) -> grid.Cell:
    alt = f"{stream} of {row.name} at {setting_name(setting).splitlines()[0]}"
    if not drawn:
      errors = [found.error for _, found in pictures if found.error]
      if errors:
        self.notes.append(f"{row.name}: no stimulus at {setting_name(setting).splitlines()[0]}: {errors[0]}.")
      return grid.Cell(None, "no stimulus" if errors else f"no {stream}")
    below = f"{pictures[0][1].activation_over_a_hat:.1f} a_hat" if len(pictures) == 1 else ""
    if len(drawn) == 1:
      return grid.Cell(drawn[0], alt, below)
    columns = int(np.ceil(np.sqrt(len(drawn))))
    return grid.Cell(np.stack([mosaic.mosaic(moment, columns, pad=1) for moment in zip(*drawn, strict=True)]), alt, below)

  def clip_cells(self, sample: clips_lib.Sample | None) -> tuple[grid.Cell, grid.Cell]:
    """Returns the cells of a clip's frames and of its flow."""
    if sample is None:
      return grid.Cell(None, "no clip"), grid.Cell(None, "")
    said = f"taken for {sample.said}" if sample.said and sample.said != sample.class_name else "recognised" if sample.said else ""
    return grid.Cell(sample.frames, f"clip {sample.name}", said), grid.Cell(flow_to_rgb(sample.flow), f"flow of clip {sample.name}")

  def samples_of(self, row: units_lib.Chosen) -> list[clips_lib.Sample]:
    """Returns the clips that stand beside a row."""
    return [sample for name in row.classes for sample in self.samples.get(name, ())][: self.description.clips_each]

  @property
  def beside(self) -> bool:
    """Whether clips stand beside the rows."""
    return OWN in self.description.clips and bool(self.samples)


def _row_label(row: units_lib.Chosen) -> str:
  layer, _, label = row.name.partition("/")
  named = f"\n{' + '.join(row.classes)}" if row.classes and label not in row.classes else ""
  return f"{layer}\n{label}{named}"


def _rows(made: _Assembly) -> list[grid.Block]:
  settings = made.description.settings
  first = settings[0]
  alone = made.heads[-1]
  heads = ["appearance\n" + setting_name(first).split("\n")[0]] if made.has_motion else []
  heads += [f"{alone}\n{setting_name(setting)}" for setting in settings]
  each = made.description.clips_each if made.beside else 0
  heads += ["clip", "its flow"] * each
  rows = []
  for row in made.rows:
    cells = [made.appearance(row, first)] if made.has_motion else []
    cells += [made.stimulus(row, setting)[-1] for setting in settings]
    shown = [*made.samples_of(row), *[None] * each][:each]
    cells += [cell for sample in shown for cell in made.clip_cells(sample)]
    rows.append(grid.Row(_row_label(row), tuple(cells)))
  return [grid.Block(tuple(heads), tuple(rows), made.description.strip, stimuli_lib.longest(made.found.values()))]


def _settings(made: _Assembly) -> list[grid.Block]:
  (row,) = made.rows
  rows = [grid.Row(setting_name(s), made.stimulus(row, s)) for s in made.description.settings]
  heads = tuple(f"{head}\n{row.name}" for head in made.heads)
  return [grid.Block(heads, tuple(rows), made.description.strip, stimuli_lib.longest(made.found.values()))]


def _line(made: _Assembly) -> list[grid.Block]:
  heads, rows = [], []
  for setting in made.description.settings:
    heads += [f"{head}\n{setting_name(setting)}" for head in made.heads]
  each = made.description.clips_each if made.beside else 0
  heads += ["clip", "its flow"] * each
  for row in made.rows:
    cells = [cell for setting in made.description.settings for cell in made.stimulus(row, setting)]
    shown = [*made.samples_of(row), *[None] * each][:each]
    cells += [cell for sample in shown for cell in made.clip_cells(sample)]
    rows.append(grid.Row(_row_label(row), tuple(cells)))
  marked = [f"({chr(ord('a') + number)}) {head}" for number, head in enumerate(heads)]
  return [grid.Block(tuple(marked), tuple(rows), made.description.strip, stimuli_lib.longest(made.found.values()))]


def _below(made: _Assembly) -> list[grid.Block]:
  """Returns the block of sample clips under the rows: a row a class, clip and flow side by side."""
  names = [name for name in made.description.clips if name != OWN and made.samples.get(name)]
  if not names:
    return []
  each = max(len(made.samples[name]) for name in names)
  rows = []
  for name in names:
    shown = [*made.samples[name], *[None] * each][:each]
    rows.append(grid.Row(f"sample clips\n{name}", tuple(cell for sample in shown for cell in made.clip_cells(sample))))
  return [grid.Block(("clip", "its flow") * each, tuple(rows))]


def confusion_sentences(predictions: predictions_lib.Predictions, pair: Sequence[str]) -> list[str]:
  """Tells how often each of two classes is recognised, taken for the other, and taken for what else, by the fused scores.

  Raises:
    UsageError: if the predictions do not have a class.
  """
  matrix = predictions.confusion("fused")
  index = [predictions.classes.index(name) for name in pair]
  sentences = []
  for name, here, other, there in ((pair[0], index[0], pair[1], index[1]), (pair[1], index[1], pair[0], index[0])):
    total = int(matrix[here].sum())
    right, taken = (confusions.Rate(int(matrix[here, column]), total) for column in (here, there))
    rest = [(int(n), predictions.classes[i]) for i, n in enumerate(matrix[here]) if n and i not in (here, there)]
    others = ", ".join(f"{who} {n}" for n, who in sorted(rest, key=lambda found: (-found[0], found[1])))
    sentences.append(f"{name}: right {right}; taken for {other} {taken}" + (f"; for others: {others}." if others else "."))
  return sentences


def make(
  description: Description,
  sources: Sources,
  cabinet: stimuli_lib.Cabinet,
  progress: Callable[[int], Callable[[int], Any]],
) -> Made:
  """Makes a figure.

  Args:
    description: what it shows.
    sources: what it is made of.
    cabinet: where its stimuli are, or are put.
    progress: see `Cabinet.get`.

  Raises:
    UsageError: if the network has nothing for any row, or a unit is unknown.
  """
  assembly = _Assembly(description, sources)
  assembly.found = cabinet.get(assembly.unit_names, description.settings, progress)
  assembly.read_clips()
  layouts = {"rows": _rows, "settings": _settings, "line": _line}
  blocks = [*layouts[description.layout](assembly), *_below(assembly)]
  said = [f"Units: {'; '.join(f'{row.name}: {row.how}' for row in assembly.rows)}."]
  numbers: dict[str, Any] = {
    "units": [{"unit": row.name, "how": row.how, "classes": list(row.classes)} for row in assembly.rows],
    "seconds_of_search": round(sum(found.seconds for found in assembly.found.values()), 1),
    "stimuli": len(assembly.found),
  }
  if description.pair:
    numbers["confusions"] = _tell_pair(assembly, said)
  if description.regions:
    numbers["regions"] = _tell_regions(assembly, said)
  shown = [sample.name for found in assembly.samples.values() for sample in found]
  if shown and sources.dataset is not None:
    said.append(f"Clips of the {sources.split} split of {sources.dataset.name}: {', '.join(shown)}.")
  said += assembly.notes
  numbers |= {"clips": shown, "notes": assembly.notes}
  return Made(tuple(blocks), tuple(said), numbers)


def _tell_pair(made: _Assembly, said: list[str]) -> list[str]:
  predictions, pair = made.sources.predictions, made.description.pair
  lacking = [name for name in pair if predictions is not None and name not in predictions.classes]
  if predictions is None or lacking:
    why = f"predictions have no class {', '.join(lacking)}" if lacking else "no predictions of clips were given (--predictions)"
    made.notes.append(f"Confusions of {' and '.join(pair)} are not told: {why}.")
    return []
  sentences = confusion_sentences(predictions, pair)
  said.append("Confusions of the fused scores: " + " ".join(sentences))
  return sentences


def _tell_regions(made: _Assembly, said: list[str]) -> dict[str, Any]:
  dataset, pair = made.sources.dataset, made.description.pair
  motions = {
    name: [
      found.motion
      for row in made.rows
      for unit in row.units
      for setting in made.description.settings
      if unit.class_name == name and (found := made.found[unit.name, setting]).motion is not None
    ]
    for name in pair
  }
  why = "stimuli of both classes are needed" if not all(motions.values()) else ""
  if dataset is None or not set(pair) <= set(dataset.classes):
    why = f"clips of {' and '.join(pair)} are needed"
  if dataset is None or why:
    made.notes.append(f"Motion where the stimuli of {' or '.join(pair)} move is not measured: {why}.")
    return {}
  shares = clips_lib.region_shares(made.sources.checkpoint, dataset, made.sources.split, motions)
  said.append(
    "Measured in clips, " + "; ".join(map(str, shares)) + ". The region is fixed on the picture and knows nothing of faces: it says where "
    "this network's stimuli differ, not where eyes are."
  )
  return {
    share.where: {
      "effect": share.effect,
      "share_of_motion_mean": {name: float(np.nanmean(values)) for name, values in share.shares.items()},
      "clips": {name: len(values) for name, values in share.shares.items()},
    }
    for share in shares
  }
