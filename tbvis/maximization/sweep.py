"""Many units under many settings: a plan of batches, fixed beforehand, searched one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
import dataclasses
import os
import time
from typing import TYPE_CHECKING, Any

from absl import logging
import numpy as np

from tbvis.errors import UsageError
from tbvis.maximization import ascent, canvas
from tbvis.maximization import config as config_lib
from tbvis.maximization.stimulus import Stimulus
from tbvis.models import geometry
from tbvis.units import Unit

if TYPE_CHECKING:
  import keras

# More rows do not make a step faster per row.
_MOST_ROWS = 48


@dataclasses.dataclass(frozen=True)
class Setting:
  """How smooth the motion is to be: spatial weight kappa, temporal weight chi; isotropic where chi = kappa was asked for."""

  kappa: float
  chi: float
  isotropic: bool = False


@dataclasses.dataclass(frozen=True)
class Row:
  """One stimulus to find."""

  unit: Unit
  setting: Setting
  seed: int = 0

  @property
  def key(self) -> tuple[str, float, float, bool, int]:
    """(unit, kappa, chi, isotropic, seed), as `records.StimulusRecord.key`."""
    return self.unit.name, float(self.setting.kappa), float(self.setting.chi), self.setting.isotropic, self.seed


@dataclasses.dataclass(frozen=True)
class Batch:
  """Rows searched together: same layers, same canvas."""

  layers: tuple[str, ...]
  canvas: int
  rows: tuple[Row, ...]


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


def plan(
  model: keras.Model,
  units: Sequence[Unit],
  wanted: Sequence[Setting],
  config: config_lib.MaximizationConfig,
  input_size: int,
  seed: int = 0,
) -> list[Batch]:
  """Divides a run into batches by layer; who shares a batch depends on these arguments alone.

  Args:
    model: the network.
    units: units in order; those of one layer are gathered.
    wanted: settings of every unit.
    config: the constants.
    input_size: side of the network's training crop.
    seed: of the run.
  """
  table = geometry.layer_geometry(model)
  by_layers: dict[tuple[str, ...], list[Row]] = {}
  for unit in units:
    by_layers.setdefault(unit.layers, []).extend(Row(unit, setting, seed) for setting in wanted)
  batches = []
  for layers, rows in by_layers.items():
    largest = max(layers, key=lambda layer: table[layer].field)
    side = canvas.canvas_size(table[largest], config, input_size)
    value_bytes = 2 if "bfloat16" in str(model.get_layer(layers[0]).compute_dtype) else 4
    fitting = config.batch_memory * 2**20 // canvas.bytes_per_row(table, layers, side, value_bytes)
    count = int(config.batch_size or min(max(fitting, 1), _MOST_ROWS))
    if not config.batch_size and count > len(wanted):
      # Units whole, so that all settings of a unit are there at once.
      count -= count % len(wanted)
    batches += [Batch(layers, side, tuple(rows[i : i + count])) for i in range(0, len(rows), count)]
  return batches


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
    units = int(model.get_layer(layer).filters)
    if source is None:
      logging.warning("a_hat: no statistics were given; 1 is used for the %d units of %s. tbvis-evaluate measures it.", units, layer)
      values = np.ones(units, np.float32)
    elif isinstance(source, Mapping):
      if layer in source:
        values = statistics_lib.positive_a_hat(np.asarray(source[layer], np.float32), layer)
      else:
        logging.warning("a_hat: no value for layer %s was given; 1 is used for its %d units.", layer, units)
        values = np.ones(units, np.float32)
    else:
      values = source.a_hat(layer, units)
    if np.shape(values) != (units,):
      raise UsageError(f"a_hat: expected {units} values for layer {layer}, received {np.shape(values)}. Is it of another network?")
    result[layer] = values
  return result


def search(
  model: keras.Model,
  batches: Sequence[Batch],
  config: config_lib.MaximizationConfig,
  a_hat: Mapping[str, np.ndarray],
  on_step: Callable[[Batch], None] | None = None,
) -> Iterator[list[Stimulus]]:
  """Searches batch after batch, and yields the stimuli of each as it ends.

  Args:
    model: the network; it is left as it was.
    batches: the plan.
    config: the constants.
    a_hat: (units,) by layer.
    on_step: called with the batch after each of its steps.
  """
  order = list(geometry.layer_geometry(model))
  last: tuple[Any, ascent.Ascent] | None = None
  for batch in batches:
    key = (batch.layers, batch.canvas)
    # One compilation a layer: the plan gathers its batches.
    if last is None or last[0] != key:
      last = (key, ascent.Ascent(model, batch.layers, batch.canvas, config))
    channels = [row.unit.channel for row in batch.rows]
    scale = np.stack([a_hat[layer][channels] for layer in batch.layers], axis=1)
    started = time.monotonic()
    found = last[1].run(
      [row.unit.name for row in batch.rows],
      channels,
      scale,
      [row.setting.kappa for row in batch.rows],
      [row.setting.chi for row in batch.rows],
      batch.rows[0].seed,
      on_step=(lambda step, batch=batch: on_step(batch)) if on_step else None,
    )
    seconds = (time.monotonic() - started) / len(batch.rows)
    made = {
      **dataclasses.asdict(config),
      "layers": list(batch.layers),
      "fields": [int(field) for field in last[1].field],
      "canvas_pixels": batch.canvas,
      "jitter_pixels": last[1].shifts - 1,
      "batch_rows": len(batch.rows),
      "dtype": str(model.get_layer(batch.layers[0]).compute_dtype),
      "seconds": round(seconds, 3),
    }
    yield [_stimulus(row, index, found, scale[index], order, config, made) for index, row in enumerate(batch.rows)]


def _stimulus(
  row: Row,
  index: int,
  found: ascent.Result,
  scale: np.ndarray,
  order: list[str],
  config: config_lib.MaximizationConfig,
  made: Mapping[str, Any],
) -> Stimulus:
  """Takes one row out of a batch's result, and warns where it cannot be a stimulus."""
  inputs = {stream: values[index] for stream, values in found.inputs.items()}
  activation, a_hat = float(found.activations[index].sum()), float(scale.sum())
  dead = [layer for layer, size in zip(row.unit.layers, found.gradient[index], strict=True) if not size > 0]
  error = None
  if dead:
    error = f"no gradient reached the input from {', '.join(dead)} at any logged step: the unit does not depend on its input there"
  elif not all(np.isfinite(values).all() for values in inputs.values()):
    error = "the search left the finite numbers; a lower --learning_rate or --dtype=float32 may help"
  if error:
    logging.warning("%s: %s.", row.unit.name, error)
  elif config.calibrate and activation < 0.5 * config.target * a_hat:
    logging.warning(
      "%s at kappa = %g, chi = %g reached %.2f of its a_hat: more --steps, or a larger --data_weight, may wake it.",
      row.unit.name, row.setting.kappa, row.setting.chi, activation / a_hat,
    )  # fmt: skip
  appearance, motion = inputs.get("appearance"), inputs.get("motion")
  return Stimulus(
    unit=row.unit,
    layer_index=min(order.index(layer) for layer in row.unit.layers),
    appearance=None if error or appearance is None else appearance[:, :, 0],
    motion=None if error or motion is None else motion,
    activation=activation,
    a_hat=a_hat,
    kappa=row.setting.kappa,
    chi=row.setting.chi,
    isotropic=row.setting.isotropic,
    seed=row.seed,
    steps=found.steps,
    history={term: values[:, index] for term, values in found.history.items()},
    config={**made, "a_hat_by_layer": [float(value) for value in scale]},
    error=error,
  )
