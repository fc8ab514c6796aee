"""Why a request is refused: each reason has the status that the page gets, and a message for people."""

from __future__ import annotations

_SHOWN = 160


class RefusedError(Exception):
  """Whatever is refused by name; everything else that is raised would be a mistake of ours."""

  status = 400


class BadRequestError(RefusedError):
  """A parameter is missing or makes no sense."""


class NotFoundError(RefusedError):
  """What was asked for is not (or not yet) in the logdir."""

  status = 404


class MethodError(RefusedError):
  """The page only reads."""

  status = 405


class TooLargeError(RefusedError):
  """What is in the logdir is larger than one request may return, or than the server reads into memory."""

  status = 413


class DamagedError(RefusedError):
  """What is in the logdir is not what we write: half-written, spoilt, of another kind or of a later version."""

  status = 422


def short(value: object) -> str:
  """Returns `value` for a message, its middle left out where it is long.

  >>> short("x"), len(short("x" * 5000))
  ("'x'", 161)
  """
  # A long text is cut before it is quoted, which may make ten characters of one.
  if isinstance(value, str) and len(value) > _SHOWN:
    value = f"{value[:_SHOWN]}{value[-_SHOWN:]}"
  text = repr(value)
  return text if len(text) <= _SHOWN else f"{text[: _SHOWN // 2]}…{text[-_SHOWN // 2 :]}"
