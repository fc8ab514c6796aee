"""The stage script: which factor is planted in which class, with which distribution; read, checked and sampled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import dataclasses
import hashlib
import json
import os
import pathlib
import statistics
from typing import Any
import zlib

import numpy as np

from tbvis.datasets.stage.factors import FACTORS, Factor
from tbvis.errors import UsageError, nearest, unknown_name
from tbvis.resources import data_path

KINDS = ("constant", "uniform", "normal", "choice", "mixture")
STREAMS = ("appearance", "motion", "both")

Value = float | str


@dataclasses.dataclass(frozen=True)
class Cause:
  """One planted cause: in these classes the factor follows these distributions."""

  name: str
  classes: tuple[str, ...]
  stream: str
  factor: str
  distribution: Mapping[str, Mapping[str, Any]]


@dataclasses.dataclass(frozen=True)
class Script:
  """A checked script.

  Attributes:
    classes: the classes it films, in the order of their labels.
    causes: what is planted.
    source: the file it was read from, for messages.
  """

  classes: tuple[str, ...]
  causes: tuple[Cause, ...]
  source: str

  def distribution(self, class_name: str, factor: str) -> Mapping[str, Any]:
    """Returns the distribution that `factor` follows in a class: the planted one or the factor's default."""
    for cause in self.causes:
      if cause.factor == factor and class_name in cause.distribution:
        return cause.distribution[class_name]
    return FACTORS[factor].default

  def digest(self, class_name: str) -> str:
    """Returns a checksum of all that decides the clips of one class, defaults included.

    Factors that the class does not show are left out: they may come and go without its clips being filmed again.
    """
    from tbvis.datasets.stage.scenes import shown_factors  # Here, since scenes import factors.

    content = json.dumps({factor: self.distribution(class_name, factor) for factor in shown_factors(class_name)}, sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()

  def sample(self, class_name: str, group: int, clip: int, seed: int = 0) -> dict[str, Value]:
    """Returns the value of every factor in one clip.

    Each factor has a random stream of its own, so changing the distribution of one leaves all others as they were. Factors of the
    setting draw the same number in every class, so the setting of group g, clip c is the same whatever the action.
    """
    values: dict[str, Value] = {}
    for name, factor in FACTORS.items():
      salt = "" if factor.world else class_name
      key = zlib.crc32(f"{name}/{salt}".encode())
      rng = np.random.default_rng([seed, key, group, clip])
      values[name] = draw(self.distribution(class_name, name), factor, rng)
    return values


def draw(distribution: Mapping[str, Any], factor: Factor, rng: np.random.Generator) -> Value:
  """Draws one value; numbers are clipped to the factor's range."""
  if "mixture" in distribution:
    parts = distribution["mixture"]
    weights = np.array([part["p"] for part in parts], np.float64)
    part = parts[int(np.searchsorted(np.cumsum(weights / weights.sum()), rng.random()))]
    return draw({k: v for k, v in part.items() if k != "p"}, factor, rng)
  u = float(rng.random())
  if "constant" in distribution:
    value = distribution["constant"]
  elif "uniform" in distribution:
    low, high = distribution["uniform"]
    value = low + (high - low) * u
  elif "normal" in distribution:
    mean, deviation = distribution["normal"]
    value = mean if deviation == 0 else statistics.NormalDist(mean, deviation).inv_cdf(min(max(u, 1e-6), 1 - 1e-6))
  else:
    choices = distribution["choice"]
    weights = np.asarray(distribution.get("p") or [1.0] * len(choices), np.float64)
    value = choices[min(int(np.searchsorted(np.cumsum(weights / weights.sum()), u)), len(choices) - 1)]
  if factor.names:
    return str(value)
  return float(min(max(float(value), factor.low), factor.high))


def default_path() -> pathlib.Path:
  """Returns the script that comes with the project."""
  return data_path("stage", "script.json")


def load_script(source: str | os.PathLike[str] | Mapping[str, Any] | None = None) -> Script:
  """Reads and checks a script.

  Args:
    source: a JSON file, the content of one, or None for the project's own.

  Raises:
    UsageError: if it is not a valid script; names the cause and the nearest valid names.
  """
  if isinstance(source, Mapping):
    return parse_script(source, "script")
  path = pathlib.Path(source) if source is not None else default_path()
  try:
    content = json.loads(path.read_text(encoding="utf-8"))
  except OSError as error:
    raise UsageError(f"Expected a stage script at {path}, found none that can be read ({error.strerror}).") from error
  except ValueError as error:
    raise UsageError(f"Expected JSON in {path}, found an error: {error}.") from error
  return parse_script(content, str(path))


def parse_script(content: Any, source: str) -> Script:
  """Checks the content of a script (see README.md beside this file for the format).

  Raises:
    UsageError: naming what is wrong and where.
  """
  from tbvis.datasets.stage.scenes import SCENES  # Here, since scenes import factors.

  if not isinstance(content, Mapping):
    raise UsageError(f"Expected an object with 'classes' and 'causes' in {source}, found {type(content).__name__}.")
  for key in content:
    if key not in ("version", "note", "classes", "causes"):
      raise unknown_name("key", str(key), ("version", "note", "classes", "causes"), source)
  classes = _names(content.get("classes"), "classes", source)
  for name in classes:
    if name not in SCENES:
      raise unknown_name("class", name, SCENES, source)
  causes = content.get("causes")
  if not isinstance(causes, list):
    raise UsageError(f"Expected a list of causes in {source}, found {type(causes).__name__}.")
  planted: dict[tuple[str, str], str] = {}
  parsed = tuple(_parse_cause(cause, index, classes, planted, source) for index, cause in enumerate(causes, 1))
  return Script(classes, parsed, source)


def _names(value: Any, what: str, where: str) -> tuple[str, ...]:
  if not isinstance(value, Sequence) or isinstance(value, str) or not value or not all(isinstance(v, str) for v in value):
    raise UsageError(f"Expected a list of names as {what} in {where}, found {json.dumps(value)}.")
  if len(set(value)) != len(value):
    raise UsageError(f"Expected each name once in {what} in {where}, found {json.dumps(value)}.")
  return tuple(value)


def _parse_cause(cause: Any, index: int, classes: Sequence[str], planted: dict[tuple[str, str], str], source: str) -> Cause:
  keys = ("name", "classes", "stream", "factor", "distribution", "note")
  if not isinstance(cause, Mapping):
    raise UsageError(f"Expected an object as cause {index} in {source}, found {type(cause).__name__}.")
  name = cause.get("name")
  where = f"cause {name!r} of {source}" if isinstance(name, str) else f"cause {index} of {source}"
  for key in cause:
    if key not in keys:
      raise unknown_name("key", str(key), keys, where)
  for key in keys[:5]:
    if key not in cause:
      raise UsageError(f"Expected {key!r} in {where}, found {', '.join(map(str, cause)) or 'nothing'}.")
  factor = cause["factor"]
  if factor not in FACTORS:
    raise unknown_name("factor", str(factor), FACTORS, where)
  if cause["stream"] not in STREAMS:
    raise unknown_name("stream", str(cause["stream"]), STREAMS, where)
  of_cause = _names(cause["classes"], "classes", where)
  distributions = cause["distribution"]
  if not isinstance(distributions, Mapping):
    raise UsageError(f"Expected one distribution per class in {where}, found {json.dumps(distributions)}.")
  for class_name in [*of_cause, *distributions]:
    if class_name not in classes:
      raise unknown_name("class", str(class_name), classes, where)
  if set(of_cause) != set(distributions):
    raise UsageError(f"Expected a distribution for {', '.join(of_cause)} in {where}, found them for {', '.join(distributions) or 'none'}.")
  for class_name, distribution in distributions.items():
    if (class_name, factor) in planted:
      other = planted[class_name, factor]
      raise UsageError(f"Expected one cause for {factor} in {class_name}, found {other!r} and {name!r} in {source}.")
    planted[class_name, factor] = str(name)
    check_distribution(distribution, factor, f"{class_name}, {where}")
  return Cause(str(name), of_cause, cause["stream"], factor, distributions)


def check_distribution(distribution: Any, factor_name: str, where: str, nested: bool = False) -> None:
  """Checks one distribution against the range of its factor.

  Raises:
    UsageError: if it is malformed or leaves the range.
  """
  factor = FACTORS[factor_name]
  kinds = [k for k in KINDS if isinstance(distribution, Mapping) and k in distribution]
  if not isinstance(distribution, Mapping) or len(kinds) != 1:
    found = json.dumps(distribution)
    close = nearest(next(iter(distribution), ""), KINDS, 1) if isinstance(distribution, Mapping) else []
    hint = f" Nearest: {close[0]}." if close else ""
    raise UsageError(f"Expected one of {', '.join(KINDS)} for {factor_name} in {where}, found {found}.{hint}")
  kind = kinds[0]
  allowed = {kind} | ({"p"} if kind == "choice" or nested else set())
  for key in distribution:
    if key not in allowed:
      raise unknown_name("key", str(key), sorted(allowed), f"the distribution of {factor_name} in {where}")
  content = distribution[kind]
  if kind == "mixture":
    if (
      nested or not isinstance(content, list) or not content or not all(isinstance(p, Mapping) and _is_number(p.get("p")) for p in content)
    ):
      raise UsageError(
        f"Expected a list of distributions, each with its share 'p', for {factor_name} in {where}, found {json.dumps(content)}."
      )
    _check_shares([p["p"] for p in content], len(content), factor_name, where)
    for part in content:
      check_distribution(part, factor_name, where, nested=True)
    return
  if factor.names and kind not in ("constant", "choice"):
    raise UsageError(f"Expected constant or choice for {factor_name} in {where}, since its values are names; found {kind}.")
  if kind in ("uniform", "normal") and not (isinstance(content, list) and len(content) == 2 and all(map(_is_number, content))):
    raise UsageError(f"Expected two numbers for {kind} of {factor_name} in {where}, found {json.dumps(content)}.")
  if kind == "choice" and not (isinstance(content, list) and content):
    raise UsageError(f"Expected a list for choice of {factor_name} in {where}, found {json.dumps(content)}.")
  if kind == "choice" and not nested and distribution.get("p") is not None:
    _check_shares(distribution["p"], len(content), factor_name, where)
  if kind == "uniform" and content[1] < content[0]:
    raise UsageError(f"Expected [low, high] for uniform of {factor_name} in {where}, found {content}.")
  if kind == "normal" and content[1] < 0:
    raise UsageError(f"Expected a deviation of at least 0 for normal of {factor_name} in {where}, found {content[1]}.")
  for value in {"constant": lambda c: [c], "normal": lambda c: c[:1]}.get(kind, list)(content):
    _check_value(value, factor, factor_name, where)


def _is_number(value: Any) -> bool:
  return isinstance(value, (int, float)) and not isinstance(value, bool) and np.isfinite(value)


def _check_shares(shares: Any, count: int, factor_name: str, where: str) -> None:
  good = isinstance(shares, list) and len(shares) == count and all(_is_number(s) and s >= 0 for s in shares) and sum(shares) > 0
  if not good:
    raise UsageError(f"Expected {count} shares 'p' of at least 0 for {factor_name} in {where}, found {json.dumps(shares)}.")


def _check_value(value: Any, factor: Factor, factor_name: str, where: str) -> None:
  if factor.names:
    if value not in factor.names:
      raise unknown_name(factor_name, str(value), factor.names, where)
  elif not _is_number(value) or not factor.low <= value <= factor.high:
    raise UsageError(
      f"Expected {factor_name} within {factor.low:g} to {factor.high:g} {factor.unit} in {where}, found {json.dumps(value)}."
    )
