"""What a sweep is to find, fixed beforehand: targets under settings, as rows in batches that each fit the memory."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
import dataclasses
import functools
import os
from typing import TYPE_CHECKING, Any
import zlib

from absl import logging
import numpy as np
import tensorflow as tf

from tbvis import limits
from tbvis.diagnostics import statistics as statistics_lib
from tbvis.errors import UsageError
from tbvis.maximization import canvas, network, objectives, programs
from tbvis.maximization import config as config_lib
from tbvis.maximization.stimulus import kind
from tbvis.maximization.streams import Stream
from tbvis.models import geometry
from tbvis.records import INPUTS
from tbvis.units import Unit, channels_of, parse_units

if TYPE_CHECKING:
  import keras

# More rows do not make a step faster per row.
_MOST_ROWS = 48


@dataclasses.dataclass(frozen=True)
class Target:
  """What a stimulus is found for: a unit, or a sum of units.

  Attributes:
    name: "conv5_fusion/f021", "prediction/PlayingViolin - prediction/PlayingPiano".
    layer: name of the row of the grid that it belongs to.
    channel: 0-based; of a sum that of its first unit.
    class_name: the class of a class unit, else None.
    layers: the network's layers that it reads.
    parts: objectives, each with a data weight of its own: two for a unit of both towers, else one.
    is_unit: whether it is one unit, of which clips tell something.
  """

  name: str
  layer: str
  channel: int
  class_name: str | None
  layers: tuple[str, ...]
  parts: tuple[objectives.Objective, ...]
  is_unit: bool = False

  @classmethod
  def of_unit(cls, unit: Unit) -> Target:
    """Returns the target of one unit."""
    parts = tuple(objectives.unit(Unit(layer, unit.channel, unit.label)) for layer in unit.layers)
    return cls(unit.name, unit.layer, unit.channel, unit.class_name, unit.layers, parts, is_unit=True)

  @classmethod
  def of_objective(cls, objective: objectives.Objective, model: keras.Model, classes: Sequence[str]) -> Target:
    """Returns the target of an objective."""
    program = programs.lower(objective, model, classes=classes)
    layers = tuple(dict.fromkeys(tap.layer for tap in program.taps))
    channel = next((int(p) for p in program.parameters if p.dtype == np.int32), 0)
    name = objective.name if "/" in objective.name else f"{objective.name}/all"
    return cls(name, name.partition("/")[0].removeprefix("-").rpartition(" ")[2], channel, None, layers, (objective,))


def targets(
  wanted: str | Unit | objectives.Objective | Sequence[str | Unit | objectives.Objective], model: keras.Model, classes: Sequence[str] = ()
) -> list[Target]:
  """Finds what people ask for in a network.

  Args:
    wanted: units ("conv5_fusion/f021", ranges, "prediction/*"), sums of units ("a - b"), layers ("conv4_3_motion"), objectives,
      or a list of these.
    model: the network.
    classes: names of its classes.

  Returns:
    Targets in the order given, each once.

  Raises:
    UsageError: for an unknown name, with the nearest, or an empty list.
  """
  found: dict[str, Target] = {}
  for one in [wanted] if isinstance(wanted, (str, Unit, objectives.Objective)) else wanted:
    if isinstance(one, Unit):
      new = [Target.of_unit(one)]
    elif isinstance(one, objectives.Objective):
      new = [Target.of_objective(one, model, classes)]
    elif objectives.is_expression(one):
      new = [Target.of_objective(objectives.parse(one), model, classes)]
    elif "/" not in one and one in {layer.name for layer in model.layers}:
      new = [Target.of_objective(objectives.layer(one), model, classes)]
    else:
      new = [Target.of_unit(unit) for unit in parse_units([one], model, classes)]
    for target in new:
      found.setdefault(target.name, target)
  if not found:
    raise UsageError("Expected at least one unit, layer or objective, received none.")
  return list(found.values())


@dataclasses.dataclass(frozen=True)
class Setting:
  """How smooth the motion is to be: spatial weight kappa, temporal weight chi; isotropic where chi = kappa was asked for."""

  kappa: float
  chi: float
  isotropic: bool = False


@dataclasses.dataclass(frozen=True)
class Row:
  """One stimulus to find."""

  target: Target
  setting: Setting
  seed: int = 0

  @property
  def key(self) -> tuple[str, float, float, bool, int]:
    """(unit, kappa, chi, isotropic, seed), as `records.StimulusRecord.key`."""
    return self.target.name, float(self.setting.kappa), float(self.setting.chi), self.setting.isotropic, self.seed


@dataclasses.dataclass(frozen=True)
class Batch:
  """Rows searched together: same layers, same canvas."""

  layers: tuple[str, ...]
  canvas: int
  rows: tuple[Row, ...]

  def is_open(self, finished: Container[Any]) -> bool:
    """Tells whether a row is missing among the keys of `finished`."""
    return any(row.key not in finished for row in self.rows)


@dataclasses.dataclass(frozen=True)
class Job:
  """Everything that a plan is made of, besides the rows: it fixes what is found.

  Attributes:
    model: the network; it is left as it was.
    config: the constants.
    streams: the network's inputs.
    input_size: side of the network's training crop.
    a_hat: (units,) by layer, positive.
    classes: names of the network's classes.
  """

  model: keras.Model
  config: config_lib.MaximizationConfig
  streams: Mapping[str, Stream]
  input_size: int
  a_hat: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
  classes: Sequence[str] = ()

  @property
  def chunks(self) -> int:
    """Chunks of a clip in which all its inputs divide that have several frames."""
    found = max(stream.windows for stream in self.streams.values())
    return found if all(stream.frames % found == 0 for stream in self.streams.values() if stream.frames > 1) else 1

  @property
  def kinds(self) -> tuple[str, ...]:
    """What its inputs are shown as, of `records.INPUTS`."""
    found = {kind(stream.components) for stream in self.streams.values()}
    return tuple(name for name in INPUTS if name in found)

  @functools.cached_property
  def weights_checksum(self) -> int:
    """Tells the network from the same one with other weights."""
    checksum = 0
    for weight in self.model.weights:
      checksum = zlib.crc32(np.ascontiguousarray(np.asarray(weight)).view(np.uint8).data, checksum)
    return checksum

  def lower(self, target: Target) -> list[programs.Program]:
    """Returns the target's parts as found in the network."""
    return [
      programs.lower(
        part,
        self.model,
        classes=self.classes,
        location=self.config.location,
        after=self.config.after_relu,
        a_hat=self.a_hat,
      )
      for part in target.parts
    ]


def settings(chi: Sequence[float], kappa: float, isotropic: Sequence[float] = ()) -> list[Setting]:
  """Returns the settings asked for: kappa with each chi, then each isotropic value.

  Raises:
    UsageError: if there is none, or one is negative or not finite.

  >>> [(s.kappa, s.chi) for s in settings([0, 10], 1.0, [5])]
  [(1.0, 0.0), (1.0, 10.0), (5.0, 5.0)]
  """
  for name, values in (("chi", chi), ("kappa", [kappa]), ("isotropic", isotropic)):
    bad = [value for value in values if not (np.isfinite(value) and value >= 0)]
    if bad:
      raise UsageError(f"Invalid value for {name}. Expected numbers of at least 0. Received: {', '.join(map(str, bad))}.")
  found = [Setting(float(kappa), float(c)) for c in chi] + [Setting(float(k), float(k), True) for k in isotropic]
  if not found:
    raise UsageError("Expected at least one value of chi or isotropic, received none.")
  return list(dict.fromkeys(found))


def plan(job: Job, wanted: Sequence[Target], settings: Sequence[Setting], seed: int = 0) -> list[Batch]:
  """Divides a run into batches by layer; who shares a batch depends on these arguments alone.

  Args:
    job: the network and the constants.
    wanted: targets in order; those that share a compiled step are gathered.
    settings: settings of every target.
    seed: of the run.

  Raises:
    UsageError: if a batch is more than this machine can hold.
  """
  table = geometry.layer_geometry(job.model, whole=True)
  by_form: dict[Any, list[Row]] = {}
  sides: dict[Any, int] = {}
  for target in wanted:
    key = tuple(programs.Term(program.form, program.taps) for program in job.lower(target))
    tapped = [tap.layer for term in key for tap in term.taps]
    largest = max(tapped, key=lambda layer: table[layer].field or float("inf"))
    sides[key] = canvas.canvas_size(table[largest], job.config, job.input_size)
    by_form.setdefault(key, []).extend(Row(target, setting, seed) for setting in settings)
  batches = []
  for key, rows in by_form.items():
    layers = tuple(dict.fromkeys(tap.layer for term in key for tap in term.taps))
    value_bytes = 2 if "bfloat16" in str(job.model.get_layer(layers[0]).compute_dtype) else 4
    each = canvas.bytes_per_row(table, layers, sides[key], value_bytes, job.streams)
    fitting = job.config.batch_memory * 2**20 // each
    count = int(job.config.batch_size or min(max(fitting, 1), _MOST_ROWS))
    if not job.config.batch_size and count > len(settings):
      # Targets whole, so that all settings of a target are there at once.
      count -= count % len(settings)
    _check_memory(min(count, len(rows)) * each, min(count, len(rows)), layers[0], sides[key], job.config.batch_memory)
    batches += [Batch(layers, sides[key], tuple(rows[i : i + count])) for i in range(0, len(rows), count)]
  return batches


def _check_memory(needed: int, rows: int, layer: str, side: int, meant: int) -> None:
  """Refuses a batch that is larger than what is meant (MiB) and than what is free, before it is compiled for minutes.

  On a GPU, whose memory is its own, TensorFlow tells.
  """
  free = limits.available_bytes()
  # The ascent's graph holds about as much again.
  if needed > meant * 2**20 and 2 * needed > free and not tf.config.list_physical_devices("GPU"):
    raise UsageError(
      f"--canvas, --batch_size: {rows} stimuli of {side} x {side} pixels for layer {layer} need about {2 * needed / 2**20:,.0f} MiB at "
      f"once, and this machine has {free / 2**20:,.0f} MiB free."
    )


def a_hat_by_layer(source: Any, model: keras.Model, layers: Sequence[str], classes: Sequence[str] | None = None) -> dict[str, np.ndarray]:
  """Returns a_hat (units,) of layers, all positive.

  Args:
    source: unit statistics or the path of theirs, a dict from layer to array, or None, where 1 stands in with a warning.
    model: the network.
    layers: names.
    classes: classes that statistics on disk must have.

  Raises:
    UsageError: if an array's length is not the layer's number of units.
  """
  if isinstance(source, (str, os.PathLike)):
    source = statistics_lib.UnitStatistics.load(source, classes=classes)
  result = {}
  for layer in layers:
    units = channels_of(model, layer)
    below = network.rectified_by(model, layer)
    known = layer if below is None or _knows(source, layer) else below
    if source is None:
      logging.warning("a_hat: no statistics were given; 1 is used for the %d units of %s. tbvis-evaluate measures it.", units, layer)
      values = np.ones(units, np.float32)
    elif isinstance(source, Mapping):
      if known in source:
        values = statistics_lib.positive_a_hat(np.asarray(source[known], np.float32), layer)
      else:
        logging.warning("a_hat: no value for layer %s was given; 1 is used for its %d units.", layer, units)
        values = np.ones(units, np.float32)
    else:
      values = source.a_hat(known, units)
    if np.shape(values) != (units,):
      raise UsageError(f"a_hat: expected {units} values for layer {layer}, received {np.shape(values)}. Is it of another network?")
    result[layer] = values
  return result


def _knows(source: Any, layer: str) -> bool:
  return layer in (source if isinstance(source, Mapping) else getattr(source, "layers", ()))


def check_weights(model: keras.Model, layers: Iterable[str]) -> None:
  """Checks that what a search would pass through is finite.

  Raises:
    UsageError: if a weight is NaN or infinite, naming the first layer that has one.
  """
  for layer in network.CutNetwork(model, [network.Tap(layer) for layer in layers]).layers:
    if not all(np.isfinite(np.asarray(weight)).all() for weight in getattr(layer, "weights", ())):
      raise UsageError(f"Layer {layer.name}: expected finite weights, found NaN or infinity. Did its training diverge?")


def prepare(
  job: Job,
  wanted: str | Unit | objectives.Objective | Sequence[str | Unit | objectives.Objective],
  settings: Sequence[Setting],
  a_hat: Any = None,
  *,
  classes: Sequence[str] | None = None,
  seed: int = 0,
) -> tuple[Job, list[Target], list[Batch]]:
  """Finds targets, checks the network on the way to them, and plans their search.

  Args:
    job: the network and the constants; its a_hat is replaced.
    wanted: as for `targets`.
    settings: settings of every target.
    a_hat: source of a_hat, as for `a_hat_by_layer`.
    classes: classes that statistics on disk must have.
    seed: of the run.

  Returns:
    The job with a_hat of the layers, the targets, and the plan.

  Raises:
    UsageError: for an unknown target, weights that are not finite, or an a_hat of another network.
  """
  found = targets(wanted, job.model, job.classes)
  layers = list(dict.fromkeys(layer for target in found for layer in target.layers))
  check_weights(job.model, layers)
  job = dataclasses.replace(job, a_hat=a_hat_by_layer(a_hat, job.model, layers, classes))
  return job, found, plan(job, found, settings, seed)


def layer_order(model: keras.Model) -> Callable[[Target], int]:
  """Returns what gives a target's place in the network's order: that of the first layer it reads."""
  order = {layer: place for place, layer in enumerate(geometry.layer_geometry(model, whole=True))}
  return lambda target: min(order[layer] for layer in target.layers)
