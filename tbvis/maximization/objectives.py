"""What is maximised: units, layers, directions, and sums, differences and products of them. One value a row; rows never mix.

An objective is a description. `lower` finds its layers and channels in a network, and gives a form, which is compiled once, and
parameters, which are one set a row: all units of a layer share one compiled step.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
import dataclasses
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from tbvis.errors import UsageError, unknown_name
from tbvis.maximization import config, network
from tbvis.units import Unit, channels_of, parse_units, unit_layers

if TYPE_CHECKING:
  import keras

# Mean square of a layer's values on natural clips, in parts of the mean square of its units' largest values.
_LAYER_LEVEL = 1 / 16

Form = tuple[Any, ...]


class Objective:
  """Base of all objectives: `+`, `-` and `*` give new ones with a readable name.

  >>> pair = unit("prediction/PlayingCello") - 0.5 * unit("prediction/PlayingViolin")
  >>> pair.name
  'prediction/PlayingCello - 0.5 * prediction/PlayingViolin'
  """

  @property
  def name(self) -> str:
    """How people write it."""
    raise NotImplementedError

  def __add__(self, other: Objective) -> Objective:
    return _Sum(self, _checked(other))

  def __sub__(self, other: Objective) -> Objective:
    return _Sum(self, _Scaled(-1.0, _checked(other)))

  def __mul__(self, other: Objective | float) -> Objective:
    return _Product(self, other) if isinstance(other, Objective) else _Scaled(_number(other), self)

  def __rmul__(self, other: float) -> Objective:
    return _Scaled(_number(other), self)

  def __neg__(self) -> Objective:
    return _Scaled(-1.0, self)

  def __str__(self) -> str:
    return self.name


def _checked(other: Any) -> Objective:
  if not isinstance(other, Objective):
    raise UsageError(f"Expected an objective, received {other!r}.")
  return other


def _number(value: Any) -> float:
  if not isinstance(value, (int, float, np.number)) or not np.isfinite(value):
    raise UsageError(f"Expected an objective or a finite number to multiply with, received {value!r}.")
  return float(value)


@dataclasses.dataclass(frozen=True)
class _UnitValue(Objective):
  unit: str | Unit
  location: str | None = None
  after: bool | None = None

  @property
  def name(self) -> str:
    written = self.unit if isinstance(self.unit, str) else self.unit.name
    return f"{written}{_at(self.location)}{' after ReLU' if self.after else ''}"


@dataclasses.dataclass(frozen=True)
class _LayerEnergy(Objective):
  layer: str
  after: bool | None = None

  @property
  def name(self) -> str:
    return self.layer


@dataclasses.dataclass(frozen=True)
class _Direction(Objective):
  layer: str
  vector: tuple[float, ...]
  location: str | None = None
  label: str = "direction"

  @property
  def name(self) -> str:
    return f"{self.layer}/{self.label}{_at(self.location)}"


@dataclasses.dataclass(frozen=True)
class _Sum(Objective):
  left: Objective
  right: Objective

  @property
  def name(self) -> str:
    right = self.right
    if isinstance(right, _Scaled) and right.factor < 0:
      return f"{self.left.name} - {_bracketed(right.part) if right.factor == -1 else _Scaled(-right.factor, right.part).name}"
    return f"{self.left.name} + {right.name}"


@dataclasses.dataclass(frozen=True)
class _Scaled(Objective):
  factor: float
  part: Objective

  @property
  def name(self) -> str:
    factor = "-" if self.factor == -1 else f"{self.factor:g} * "
    return f"{factor}{_bracketed(self.part)}"


@dataclasses.dataclass(frozen=True)
class _Product(Objective):
  left: Objective
  right: Objective

  @property
  def name(self) -> str:
    return f"{_bracketed(self.left)} * {_bracketed(self.right)}"


def _bracketed(part: Objective) -> str:
  return f"({part.name})" if isinstance(part, _Sum) else part.name


def _at(location: str | None) -> str:
  return "" if location is None else f"@{location}"


def unit(name: str | Unit, location: str | None = None, after: bool | None = None) -> Objective:
  """Returns the value of a unit, `<a, e_c>` of equation 1.

  Args:
    name: such as "conv5_fusion/f021" or "prediction/PlayingCello".
    location: "center", "mean", "sum" or "y,x" on the map; by default that of the configuration.
    after: whether its value after the ReLU counts; by default as the configuration says.
  """
  return _UnitValue(name, None if location is None else config.check_location(location), after)


def class_logit(name: str, layer: str = "prediction") -> Objective:
  """Returns the score of a class before the softmax.

  >>> class_logit("PlayingCello").name
  'prediction/PlayingCello'
  """
  return _UnitValue(f"{layer}/{name}")


def layer(name: str, after: bool | None = None) -> Objective:
  """Returns the mean square of all values of a layer (DeepDream's objective)."""
  return _LayerEnergy(name, after)


def direction(name: str, vector: Sequence[float] | np.ndarray, location: str | None = None, label: str = "direction") -> Objective:
  """Returns the part of a layer's values along a vector, `<a, v> / |v|`.

  Args:
    name: the layer.
    vector: (units,), not all zero.
    location: as for `unit`.
    label: how it is called in names and folders.

  Raises:
    UsageError: if the vector has another rank, or no length.
  """
  values = np.asarray(vector, np.float64)
  if values.ndim != 1 or not np.all(np.isfinite(values)) or not np.any(values):
    raise UsageError(f"Invalid value for argument `vector`. Expected (units,), finite, not all zero. Received shape {values.shape}.")
  return _Direction(name, tuple(values.tolist()), None if location is None else config.check_location(location), label)


def difference(first: str | Unit, second: str | Unit, location: str | None = None) -> Objective:
  """Returns what tells one unit from another, the question that a confused pair asks.

  >>> difference("prediction/PlayingViolin", "prediction/PlayingPiano").name
  'prediction/PlayingViolin - prediction/PlayingPiano'
  """
  return unit(first, location) - unit(second, location)


def total(objectives: Sequence[Objective | str]) -> Objective:
  """Returns the sum of objectives or units.

  Raises:
    UsageError: if there is none.
  """
  parts = [unit(part) if isinstance(part, str) else part for part in objectives]
  if not parts:
    raise UsageError("Expected at least one objective to sum, received none.")
  found = parts[0]
  for part in parts[1:]:
    found = found + part
  return found


_TERM = re.compile(r"\s+([+-])\s+")
_FACTOR = re.compile(r"([0-9.eE+-]+)\s*\*\s*(.+)")


def parse(text: str) -> Objective:
  """Reads a sum of units as people write it: "2 * a + b - c". Signs stand between spaces, since names may have hyphens.

  Raises:
    UsageError: for a factor that is no number, or an empty part.

  >>> parse("prediction/PlayingViolin - 0.5 * prediction/PlayingPiano").name
  'prediction/PlayingViolin - 0.5 * prediction/PlayingPiano'
  """
  first, *rest = _TERM.split(text.strip())
  found = _parse_term(first, text)
  for sign, piece in zip(rest[::2], rest[1::2], strict=True):
    part = _parse_term(piece, text)
    found = found + part if sign == "+" else found - part
  return found


def _parse_term(piece: str, text: str) -> Objective:
  matched = _FACTOR.fullmatch(piece)
  try:
    return float(matched.group(1)) * unit(matched.group(2)) if matched else unit(piece)
  except ValueError as error:
    raise UsageError(f"Objective {text!r}: {piece!r} is neither a unit nor a number times one.") from error


def is_expression(text: str) -> bool:
  """Tells whether a text is a sum of units rather than the name of one."""
  return bool(_TERM.search(text) or _FACTOR.fullmatch(text.strip()))


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


def lower(
  objective: Objective,
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

  def walk(part: Objective) -> tuple[Form, float]:
    if isinstance(part, _UnitValue):
      found = [part.unit] if isinstance(part.unit, Unit) else parse_units([part.unit], model, classes)
      if len(found) != 1:
        raise UsageError(f"Objective {objective.name!r}: expected one unit, {part.name} names {len(found)}.")
      forms, scale = [], 0.0
      for name in found[0].layers:
        parameters.append(np.asarray(found[0].channel, np.int32))
        forms.append(("unit", tap(name, part.after), part.location or location))
        scale += float(largest(name)[found[0].channel])
      return _joined(forms), scale
    if isinstance(part, (_LayerEnergy, _Direction)):
      table = unit_layers(model)
      if part.layer not in table:
        raise unknown_name("layer", part.layer, table, f"model {model.name!r}")
      if len(table[part.layer]) > 1:
        raise UsageError(f"Objective {objective.name!r}: expected a layer of one tower, one of {', '.join(table[part.layer])}.")
      sizes = largest(part.layer)
      if isinstance(part, _LayerEnergy):
        return ("layer", tap(part.layer, part.after)), float(np.mean(sizes**2) * _LAYER_LEVEL)
      vector = np.asarray(part.vector, np.float32)
      if len(vector) != len(sizes):
        raise UsageError(f"Objective {objective.name!r}: expected a vector of {len(sizes)} units of {part.layer}, received {len(vector)}.")
      vector /= np.linalg.norm(vector)
      parameters.append(vector)
      return ("direction", tap(part.layer, None), part.location or location), float(np.linalg.norm(vector * sizes))
    if isinstance(part, _Scaled):
      parameters.append(np.asarray(part.factor, np.float32))
      form, scale = walk(part.part)
      return ("scaled", form), abs(part.factor) * scale
    if isinstance(part, (_Sum, _Product)):
      left, right = walk(part.left), walk(part.right)
      if isinstance(part, _Sum):
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
