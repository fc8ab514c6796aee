"""Many targets under many settings: a plan of batches, fixed beforehand, searched one after the other."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
import dataclasses
import functools
import hashlib
import json
import os
import pathlib
import time
from typing import TYPE_CHECKING, Any
import weakref
import zlib

from absl import logging
import numpy as np
import tensorflow as tf

from tbvis import limits
from tbvis.errors import UsageError
from tbvis.maximization import ascent, canvas, network, objectives
from tbvis.maximization import config as config_lib
from tbvis.maximization.stimulus import Stimulus, kind
from tbvis.maximization.streams import Stream
from tbvis.models import activations, geometry
from tbvis.records import INPUTS
from tbvis.units import Unit, channels_of, parse_units

if TYPE_CHECKING:
  import keras

# More rows do not make a step faster per row.
_MOST_ROWS = 48
# Compiled searches kept for one network: each holds its graph in memory.
_KEPT = 4
# A regulariser this many times as large as the target, in a search that failed, is its likely cause.
_OUTWEIGHS = 3.0
# A stimulus with more of its pixels at the bound than this is held there by it.
_PINNED = 0.25


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
    program = objectives.lower(objective, model, classes=classes)
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

  def lower(self, target: Target) -> list[objectives.Program]:
    """Returns the target's parts as found in the network."""
    return [
      objectives.lower(
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
    key = tuple(ascent.Term(program.form, program.taps) for program in job.lower(target))
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
  from tbvis.diagnostics import statistics as statistics_lib  # Reads data sets, which nothing else here needs.

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


def identity(job: Job, batch: Batch) -> str:
  """Returns what tells a batch's search from any other: network, constants, rows, scale."""
  scale = [[program.scale for program in job.lower(row.target)] for row in batch.rows]
  dtypes = [str(job.model.get_layer(layer).compute_dtype) for layer in batch.layers]
  content = [
    dataclasses.asdict(job.config), job.weights_checksum, batch.layers, batch.canvas, [row.key for row in batch.rows], scale, dtypes,
    str(job.streams),
  ]  # fmt: skip
  return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


_ASCENTS: weakref.WeakKeyDictionary[Any, dict[Any, ascent.Ascent]] = weakref.WeakKeyDictionary()


def _ascent(job: Job, terms: tuple[ascent.Term, ...], side: int) -> ascent.Ascent:
  """Returns the compiled search of these terms, made once for a network."""
  kept = _ASCENTS.setdefault(job.model, {})
  dtypes = tuple(str(job.model.get_layer(tap.layer).compute_dtype) for term in terms for tap in term.taps)
  key = (terms, side, job.config, tuple(job.streams.values()), dtypes)
  found = kept.pop(key, None) or ascent.Ascent(job.model, terms, job.streams, side, job.config)
  kept[key] = found
  for old in list(kept)[:-_KEPT]:
    del kept[old]
  return found


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


def _tell(on_step: Callable[[Batch], None], batch: Batch, step: int) -> None:
  on_step(batch)


def search(
  job: Job, batches: Sequence[Batch], on_step: Callable[[Batch], None] | None = None, state: str | os.PathLike[str] | None = None,
  save_every: int = 0,
) -> Iterator[list[Stimulus]]:  # fmt: skip
  """Searches batch after batch, and yields the stimuli of each as it ends.

  Args:
    job: the network and the constants.
    batches: the plan.
    on_step: called with the batch after each of its steps.
    state: folder of the states of unfinished batches; a batch that has one there goes on from it.
    save_every: steps between two states, 0 for none.
  """
  order = layer_order(job.model)
  for batch in batches:
    programs = [job.lower(row.target) for row in batch.rows]
    terms = tuple(ascent.Term(program.form, program.taps) for program in programs[0])
    engine = _ascent(job, terms, batch.canvas)
    scale = np.array([[program.scale for program in row] for row in programs], np.float32)
    parameters = tuple(
      tuple(np.stack([row[term].parameters[i] for row in programs]) for i in range(len(programs[0][term].parameters)))
      for term in range(len(terms))
    )
    rows = ascent.Rows(
      [row.target.name for row in batch.rows],
      parameters,
      scale,
      [row.setting.kappa for row in batch.rows],
      [row.setting.chi for row in batch.rows],
      batch.rows[0].seed,
    )
    snapshot = None
    if state and save_every:
      name = identity(job, batch)
      snapshot = ascent.Snapshot(pathlib.Path(state) / f"{name}.npz", save_every, name)
    started = time.monotonic()
    found = engine.run(rows, on_step=functools.partial(_tell, on_step, batch) if on_step else None, snapshot=snapshot)
    seconds = (time.monotonic() - started) / len(batch.rows)
    made = {
      **dataclasses.asdict(job.config),
      "layers": list(batch.layers),
      "fields": [int(field) for field in engine.field],
      "fields_in_time": engine.times,
      "chunks": job.chunks,
      "canvas_pixels": batch.canvas,
      "jitter_pixels": engine.shifts - 1,
      "batch_rows": len(batch.rows),
      "dtype": str(job.model.get_layer(batch.layers[0]).compute_dtype),
      "term_factors": engine.term_factors(),
      "seconds": round(seconds, 3),
    }
    softmax = [
      tap.layer for term in terms for tap in term.taps if activations.is_softmax(job.model.get_layer(tap.layer), tap.after)
    ]  # fmt: skip
    yield [_stimulus(row, index, found, order, job, made, softmax) for index, row in enumerate(batch.rows)]
    # Only now: whoever takes the stimuli has kept them.
    if snapshot:
      snapshot.remove()


def _causes(
  row: Row, found: Mapping[str, np.ndarray], over_a_hat: float, config: config_lib.MaximizationConfig, softmax: Sequence[str]
) -> list[str]:
  """Returns what is wrong with a stimulus, each with its likely cause; `found` has the terms at the last step."""
  causes = []
  if softmax:
    causes.append(
      f"{', '.join(dict.fromkeys(softmax))} is a softmax: its gradient vanishes where a class is certain, and it can rise by lowering "
      "the others; take the scores before it"
    )
  reached = over_a_hat >= 0.5 * (config.target if config.calibrate else 1.0)
  penalties = {name: float(value) for name, value in found.items() if name.startswith(("tv_", "energy_"))}
  worst = max(penalties, key=lambda name: penalties[name])
  data = max(float(found["data"]), 0.0)
  if not reached and penalties[worst] > _OUTWEIGHS * data:
    causes.append(
      f"{worst} ({penalties[worst]:.3g}) outweighs the target ({data:.3g}), which reached {over_a_hat:.2f} of its a_hat: "
      + ("a larger --data_weight may help" if config.per_frame or config.term_balance else "--per_frame or a larger --data_weight may help")
    )
  elif config.calibrate and not reached:
    causes.append(f"it reached {over_a_hat:.2f} of its a_hat: more --steps, or a larger --data_weight, may wake it")
  pinned = {name.removeprefix("at_bound_"): float(value) for name, value in found.items() if name.startswith("at_bound_")}
  for stream, part in pinned.items():
    if part > _PINNED:
      causes.append(
        f"{part:.0%} of its {stream} is pinned at the bound of {config.bound:g}: the regularisers are too weak for this target; "
        "a smaller --data_weight or --target may help"
      )
  return causes


def _stimulus(
  row: Row,
  index: int,
  found: ascent.Result,
  order: Callable[[Target], int],
  job: Job,
  made: Mapping[str, Any],
  softmax: Sequence[str],
) -> Stimulus:
  """Takes one row out of a batch's result, and warns where it cannot be a stimulus."""
  config = job.config
  inputs = {stream: values[index] for stream, values in found.inputs.items()}
  scale = found.natural[index]
  activation, a_hat = float(found.activations[index].sum()), float(scale.sum())
  history = {term: values[:, index] for term, values in found.history.items()}
  dead = [part.name for part, size in zip(row.target.parts, found.gradient[index], strict=True) if not size > 0]
  error, causes = None, []
  if dead:
    error = (
      f"no gradient reached the input from {', '.join(dead)} at any logged step: it does not depend on its input there, "
      "or is off behind a ReLU (--relu_leak lets a little through)"
    )
  elif not all(np.isfinite(values).all() for values in inputs.values()):
    error = "the search left the finite numbers; a lower --learning_rate or --dtype=float32 may help"
  else:
    causes = _causes(row, {term: values[-1] for term, values in history.items()}, activation / a_hat, config, softmax)
  for cause in [error] if error else causes:
    logging.warning("%s at kappa = %g, chi = %g: %s.", row.target.name, row.setting.kappa, row.setting.chi, cause)
  return Stimulus(
    target=row.target,
    layer_index=order(row.target),
    inputs={} if error else inputs,
    activation=activation,
    a_hat=a_hat,
    kappa=row.setting.kappa,
    chi=row.setting.chi,
    isotropic=row.setting.isotropic,
    seed=row.seed,
    steps=found.steps,
    history=history,
    config={**made, "a_hat_by_layer": [float(value) for value in scale], "warnings": causes},
    error=error,
    kept_after=found.kept_after,
    kept={} if error else {stream: copies[:, index] for stream, copies in found.kept.items()},
    chunks=job.chunks,
    network_inputs=job.kinds,
  )
