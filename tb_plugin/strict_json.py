"""JSON of strangers: decoded as strictly as a browser does it, and tests of what a value is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
import json
import math
from typing import Any, TypeGuard
import zlib

from tb_plugin.refusals import DamagedError, TooLargeError, short
from tbvis import events

_LONGEST_NAME = 1000
_LONGEST_TEXT = 20_000
_LARGEST_INTEGER = 1 << 52
_ENCODER = json.JSONEncoder(allow_nan=False, separators=(",", ":"))

Test = Callable[[Any], bool]


def is_integer(value: Any) -> TypeGuard[int]:
  """Whether it is a whole number that a double holds exactly; True is none."""
  return type(value) is int and abs(value) < _LARGEST_INTEGER


def is_number(value: Any) -> bool:
  """Whether it is a finite number."""
  return type(value) is float and math.isfinite(value) or is_integer(value)


def is_name(value: Any) -> bool:
  """Whether it is a text that names something."""
  return type(value) is str and 0 < len(value) <= _LONGEST_NAME


def is_text(value: Any) -> bool:
  """Whether it is a text of bearable length."""
  return type(value) is str and len(value) <= _LONGEST_TEXT


def is_boolean(value: Any) -> bool:
  """Whether it is true or false."""
  return type(value) is bool


def optional(test: Test) -> Test:
  """Returns a test that null passes too."""
  return lambda value: value is None or test(value)


def list_of(test: Test) -> Test:
  """Returns a test of lists, of their members."""
  return lambda value: type(value) is list and all(map(test, value))


def tuple_of(*tests: Test) -> Test:
  """Returns a test of lists of one length, of their members in turn."""
  return lambda value: type(value) is list and len(value) == len(tests) and all(test(v) for test, v in zip(tests, value, strict=True))


def table_of(test: Test) -> Test:
  """Returns a test of objects, of their values; keys are names."""
  return lambda value: type(value) is dict and all(map(is_name, value)) and all(map(test, value.values()))


def _constant(name: str) -> None:
  raise ValueError(f"{name} is no JSON")


def check_fields(found: Mapping[str, Any], fields: Mapping[str, tuple[Test, str]], what: str) -> None:
  """Checks an object's fields, each by its test; other fields may be there."""
  for name, (test, expected) in fields.items():
    if name not in found:
      raise DamagedError(f"{what}: expected {expected} as {name!r}, found none.")
    if not test(found[name]):
      raise DamagedError(f"{what}: expected {expected} as {name!r}, found {short(found[name])}.")


def unpacked(data: bytes, what: str, largest: int) -> bytes:
  """Returns a blob's JSON, deflated or not; of more than `largest` bytes, as many and one more."""
  try:
    return events.unpacked_json(data, largest)
  except zlib.error as error:
    raise DamagedError(f"{what}: expected deflated JSON, found {len(data):,} bytes that are not ({error}).") from None


def json_object(data: bytes, what: str, largest: int) -> dict[str, Any]:
  """Decodes a JSON object as strictly as a browser does: UTF-8, no NaN.

  >>> json_object(b'{"a": NaN}', "tag 'b'", 100)
  Traceback (most recent call last):
  tb_plugin.refusals.DamagedError: tag 'b': expected JSON, found 10 bytes that are not (NaN is no JSON).
  """
  if len(data) > largest:
    raise TooLargeError(f"{what}: expected at most {largest:,} bytes of JSON, found {len(data):,}.")
  try:
    found = json.loads(data.decode("utf-8"), parse_constant=_constant)
  except (ValueError, RecursionError) as error:
    reason = str(error)[:100]
    raise DamagedError(f"{what}: expected JSON, found {len(data):,} bytes that are not ({reason}).") from None
  if type(found) is not dict:
    raise DamagedError(f"{what}: expected a JSON object, found {short(found)}.")
  return found


def to_json(content: Any, what: str) -> bytes:
  """Encodes what is sent; numbers too large for JSON (1e999 was read as infinity) are refused."""
  try:
    return _ENCODER.encode(content).encode()
  except (ValueError, RecursionError):
    raise DamagedError(f"{what}: expected finite numbers, found others.") from None
