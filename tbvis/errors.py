"""Errors for people: what was expected, what was found, and the nearest valid names."""

from __future__ import annotations

from collections.abc import Iterable
import difflib
from typing import TypeVar

_T = TypeVar("_T")


class UsageError(ValueError):
  """A mistake in what the user gave; scripts print its one line and exit with status 2."""


def present(value: _T | None, what: str) -> _T:
  """Returns a value that has to be there; where it is not, this is a bug of ours and no mistake of the user.

  Raises:
    TypeError: saying what is missing.

  >>> present(3, "a count")
  3
  """
  if value is None:
    raise TypeError(f"Expected {what}, received None.")
  return value


def nearest(name: str, valid: Iterable[str], count: int = 3) -> list[str]:
  """Returns up to `count` valid names that resemble `name`, best first (case is ignored).

  >>> nearest("PlayingChello", ["Archery", "PlayingCello", "PlayingViolin"], count=1)
  ['PlayingCello']
  """
  by_lower = {v.lower(): v for v in valid}
  found = difflib.get_close_matches(name.lower(), list(by_lower), n=count, cutoff=0.4)
  return [by_lower[f] for f in found]


def unknown_name(kind: str, name: str, valid: Iterable[str], where: str = "") -> UsageError:
  """Returns the error for a name that does not exist.

  Args:
    kind: what was named ("class", "layer", "unit", "stream", ...).
    name: the name received.
    valid: all valid names.
    where: the file, flag or model in which it was looked up.

  Returns:
    A `UsageError` that names the nearest valid names.
  """
  valid = list(valid)
  close = nearest(name, valid)
  if close:
    hint = f"Nearest: {', '.join(close)}."
  else:
    shown = ", ".join(valid[:8]) + (", ..." if len(valid) > 8 else "")
    hint = f"Expected one of: {shown}." if valid else "There are none."
  place = f" in {where}" if where else ""
  return UsageError(f"Unknown {kind} {name!r}{place}. {hint}")
