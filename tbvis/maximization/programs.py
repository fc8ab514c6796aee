"""Objectives found in a network: `lower` finds the layers and channels, `values` what each row maximises.

A program has a form, which is compiled once, and parameters, which are one set a row: all units of a layer share one compiled step.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from tbvis.errors import UsageError, unknown_name
from tbvis.maximization import config, network, objectives
from tbvis.units import Unit, channels_of, parse_units, unit_layers

if TYPE_CHECKING:
  import keras

# Mean square of a layer's values on natural clips, in parts of the mean square of its units' largest values.
_LAYER_LEVEL = 1 / 16

Form = tuple[Any, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Program:
  """An objective found in a network.

  Attributes:
    form: its structure; rows of equal forms share a compiled step.
    taps: where it takes values.
    parameters: what differs between rows of one form, in the order of the form.
    scale: its value on natural inputs: a_hat of a unit.
  """

  form: Form
  taps: tuple[network.Tap, ...]
  parameters: tuple[np.ndarray, ...]
  scale: float


@dataclasses.dataclass(frozen=True)
class Term:
  """One target of a row, with a data weight of its own: its form and the places in the network that it reads."""

  form: Form
  taps: tuple[network.Tap, ...]


def lower(
  objective: objectives.Objective,
  model: keras.Model,
  *,
  classes: Sequence[str] = (),
  location: str = "center",
  after: bool = False,
  a_hat: Mapping[str, np.ndarray] | None = None,
) -> Program:
  """Finds an objective's layers and channels in a network.

  Args:
    objective: what to maximise.
    model: the network.
    classes: names of its classes.
    location: of units that do not say theirs.
    after: whether units that do not say so count after their ReLU.
    a_hat: (units,) by layer, positive; 1 without it.

  Raises:
    UsageError: for an unknown layer or unit, with the nearest names, or a vector of another length.
  """
  taps: dict[network.Tap, None] = {}
  parameters: list[np.ndarray] = []

  def tap(name: str, own: bool | None) -> network.Tap:
    wants_after = after if own is None else own
    if wants_after:
      rectifier = network.rectifier_after(model, name)
      found = network.Tap(rectifier or name, after=True)
    else:
      found = network.Tap(name)
    taps[found] = None
    return found

  def largest(name: str) -> np.ndarray:
    return np.asarray((a_hat or {}).get(name, np.ones(channels_of(model, name))), np.float64)

  def walk(part: objectives.Objective) -> tuple[Form, float]:
    if isinstance(part, objectives.UnitValue):
      found = [part.unit] if isinstance(part.unit, Unit) else parse_units([part.unit], model, classes)
      if len(found) != 1:
        raise UsageError(f"Objective {objective.name!r}: expected one unit, {part.name} names {len(found)}.")
      forms, scale = [], 0.0
      for name in found[0].layers:
        parameters.append(np.asarray(found[0].channel, np.int32))
        forms.append(("unit", tap(name, part.after), part.location or location))
        scale += float(largest(name)[found[0].channel])
      return _joined(forms), scale
    if isinstance(part, (objectives.LayerEnergy, objectives.Direction)):
      table = unit_layers(model)
      if part.layer not in table:
        raise unknown_name("layer", part.layer, table, f"model {model.name!r}")
      if len(table[part.layer]) > 1:
        raise UsageError(f"Objective {objective.name!r}: expected a layer of one tower, one of {', '.join(table[part.layer])}.")
      sizes = largest(part.layer)
      if isinstance(part, objectives.LayerEnergy):
        return ("layer", tap(part.layer, part.after)), float(np.mean(sizes**2) * _LAYER_LEVEL)
      vector = np.asarray(part.vector, np.float32)
      if len(vector) != len(sizes):
        raise UsageError(f"Objective {objective.name!r}: expected a vector of {len(sizes)} units of {part.layer}, received {len(vector)}.")
      vector /= np.linalg.norm(vector)
      parameters.append(vector)
      return ("direction", tap(part.layer, None), part.location or location), float(np.linalg.norm(vector * sizes))
    if isinstance(part, objectives.Scaled):
      parameters.append(np.asarray(part.factor, np.float32))
      form, scale = walk(part.part)
      return ("scaled", form), abs(part.factor) * scale
    if isinstance(part, (objectives.Sum, objectives.Product)):
      left, right = walk(part.left), walk(part.right)
      if isinstance(part, objectives.Sum):
        return ("sum", left[0], right[0]), left[1] + right[1]
      return ("product", left[0], right[0]), left[1] * right[1]
    raise UsageError(f"Expected an objective of tbvis.objectives, received {part!r}.")

  form, scale = walk(objective)
  return Program(form, tuple(taps), tuple(parameters), max(scale, 1e-30))


def _joined(forms: Sequence[Form]) -> Form:
  found = forms[0]
  for form in forms[1:]:
    found = ("sum", found, form)
  return found


def values(
  form: Form, maps: Mapping[network.Tap, tf.Tensor], parameters: Sequence[tf.Tensor], chunked: Container[network.Tap] = ()
) -> tf.Tensor:
  """Returns the value that each row maximises, float32 (rows,); rows never mix.

  Args:
    form: of a `Program`.
    maps: (rows, ..., units) by tap.
    parameters: as in the program, each with a leading axis of rows.
    chunked: taps whose maps have an axis of chunks behind that of rows. A unit has a value a chunk; the mean over them counts
      wherever no chunk is named, as in the network's own scores: the centre alone would leave the other chunks without a target
      where nothing in the network joins them.

  >>> maps = {network.Tap("conv"): tf.reshape(tf.range(18.0), (1, 3, 3, 2))}
  >>> [float(values(("unit", network.Tap("conv"), where), maps, [tf.constant([1])])[0]) for where in ("center", "sum", "0,2")]
  [9.0, 81.0, 5.0]
  """
  return _evaluate(form, maps, iter(parameters), chunked)


def _evaluate(
  form: Form, maps: Mapping[network.Tap, tf.Tensor], parameters: Iterator[tf.Tensor], chunked: Container[network.Tap]
) -> tf.Tensor:
  kind = form[0]
  if kind == "unit":
    chosen = tf.one_hot(next(parameters), maps[form[1]].shape[-1])
    return _located(maps[form[1]], form[2], lambda m: tf.einsum("npc,nc->np", m, tf.cast(chosen, m.dtype)), form[1] in chunked)
  if kind == "direction":
    vectors = next(parameters)
    return _located(maps[form[1]], form[2], lambda m: tf.einsum("npc,nc->np", tf.cast(m, tf.float32), vectors), form[1] in chunked)
  if kind == "layer":
    found = tf.cast(maps[form[1]], tf.float32)
    return tf.reduce_mean(tf.square(found), axis=list(range(1, found.shape.rank)))
  if kind == "scaled":
    factors = next(parameters)
    return factors * _evaluate(form[1], maps, parameters, chunked)
  left = _evaluate(form[1], maps, parameters, chunked)
  right = _evaluate(form[2], maps, parameters, chunked)
  return left + right if kind == "sum" else left * right


def _located(maps: tf.Tensor, location: str, pick: Callable[[tf.Tensor], tf.Tensor], chunked: bool) -> tf.Tensor:
  """Returns (rows,): what `pick` takes from (rows, places, units), summed, averaged, or at one place; there the mean over chunks."""
  named = location.count(",") + 1 if location not in config.LOCATIONS else 0
  if chunked and location not in ("mean", "sum") and named < maps.shape.rank - 2:
    # `pick` is linear: the mean of the values is the value of the mean.
    maps = tf.reduce_mean(tf.cast(maps, tf.float32), axis=1)
  places = [int(size) for size in maps.shape[1:-1]]
  units = int(maps.shape[-1])
  if location in ("mean", "sum"):
    found = tf.cast(pick(tf.reshape(maps, [-1, int(np.prod(places, dtype=int)), units])), tf.float32)
    return tf.reduce_sum(found, axis=1) if location == "sum" else tf.reduce_mean(found, axis=1)
  if location == "center":
    index = [size // 2 for size in places]
  else:
    index = [int(number) for number in location.split(",")]
    # A convolution over a film has a time axis that a place on the map need not name.
    index = [size // 2 for size in places[: max(len(places) - len(index), 0)]] + index
    if len(index) != len(places) or not all(-size <= i < size for i, size in zip(index, places, strict=True)):
      raise UsageError(f"--location: expected a place on a map of {' x '.join(map(str, places))}, received {location!r}.")
  flat = int(np.ravel_multi_index([i % size for i, size in zip(index, places, strict=True)], places)) if places else 0
  maps = tf.reshape(maps, [-1, int(np.prod(places, dtype=int)), units])[:, flat : flat + 1]
  return tf.cast(pick(maps), tf.float32)[:, 0]
