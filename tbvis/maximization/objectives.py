"""What is maximised: units, layers, directions, and sums, differences and products of them. One value a row; rows never mix.

An objective is a description; `programs.lower` finds it in a network.
"""

from __future__ import annotations

from collections.abc import Sequence
import dataclasses
import re
from typing import Any

import numpy as np

from tbvis.errors import UsageError
from tbvis.maximization import config
from tbvis.units import Unit


class Objective:
  """Base of all objectives: `+`, `-` and `*` give new ones with a readable name.

  >>> pair = unit("prediction/PlayingCello") - 0.5 * unit("prediction/PlayingViolin")
  >>> pair.name
  'prediction/PlayingCello - 0.5 * prediction/PlayingViolin'
  """

  @property
  def name(self) -> str:
    """How people write it."""
    return self._written()

  def _written(self) -> str:
    raise NotImplementedError

  def __add__(self, other: Objective) -> Objective:
    return Sum(self, _checked(other))

  def __sub__(self, other: Objective) -> Objective:
    return Sum(self, Scaled(-1.0, _checked(other)))

  def __mul__(self, other: Objective | float) -> Objective:
    return Product(self, other) if isinstance(other, Objective) else Scaled(_number(other), self)

  def __rmul__(self, other: float) -> Objective:
    return Scaled(_number(other), self)

  def __neg__(self) -> Objective:
    return Scaled(-1.0, self)

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
class UnitValue(Objective):
  """The value of a unit, see `unit`."""

  unit: str | Unit
  location: str | None = None
  after: bool | None = None

  def _written(self) -> str:
    written = self.unit if isinstance(self.unit, str) else self.unit.name
    return f"{written}{_at(self.location)}{' after ReLU' if self.after else ''}"


@dataclasses.dataclass(frozen=True)
class LayerEnergy(Objective):
  """The mean square of a layer's values, see `layer`."""

  layer: str
  after: bool | None = None

  def _written(self) -> str:
    return self.layer


@dataclasses.dataclass(frozen=True)
class Direction(Objective):
  """The part of a layer's values along a vector, see `direction`."""

  layer: str
  vector: tuple[float, ...]
  location: str | None = None
  label: str = "direction"

  def _written(self) -> str:
    return f"{self.layer}/{self.label}{_at(self.location)}"


@dataclasses.dataclass(frozen=True)
class Sum(Objective):
  """The sum of two."""

  left: Objective
  right: Objective

  def _written(self) -> str:
    right = self.right
    if isinstance(right, Scaled) and right.factor < 0:
      return f"{self.left.name} - {_bracketed(right.part) if right.factor == -1 else Scaled(-right.factor, right.part).name}"
    return f"{self.left.name} + {right.name}"


@dataclasses.dataclass(frozen=True)
class Scaled(Objective):
  """One times a number."""

  factor: float
  part: Objective

  def _written(self) -> str:
    factor = "-" if self.factor == -1 else f"{self.factor:g} * "
    return f"{factor}{_bracketed(self.part)}"


@dataclasses.dataclass(frozen=True)
class Product(Objective):
  """The product of two."""

  left: Objective
  right: Objective

  def _written(self) -> str:
    return f"{_bracketed(self.left)} * {_bracketed(self.right)}"


def _bracketed(part: Objective) -> str:
  return f"({part.name})" if isinstance(part, Sum) else part.name


def _at(location: str | None) -> str:
  return "" if location is None else f"@{location}"


def unit(name: str | Unit, location: str | None = None, after: bool | None = None) -> Objective:
  """Returns the value of a unit, `<a, e_c>` of equation 1.

  Args:
    name: such as "conv5_fusion/f021" or "prediction/PlayingCello".
    location: "center", "mean", "sum" or "y,x" on the map; by default that of the configuration.
    after: whether its value after the ReLU counts; by default as the configuration says.
  """
  return UnitValue(name, None if location is None else config.check_location(location), after)


def class_logit(name: str, layer: str = "prediction") -> Objective:
  """Returns the score of a class before the softmax.

  >>> class_logit("PlayingCello").name
  'prediction/PlayingCello'
  """
  return UnitValue(f"{layer}/{name}")


def layer(name: str, after: bool | None = None) -> Objective:
  """Returns the mean square of all values of a layer (DeepDream's objective)."""
  return LayerEnergy(name, after)


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
  return Direction(name, tuple(values.tolist()), None if location is None else config.check_location(location), label)


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
