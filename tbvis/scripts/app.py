"""What every script shares: absl start-up, one-line errors with exit status 2, paths, JSON reports."""

from __future__ import annotations

from collections.abc import Callable, Sequence
import json
import os
import pathlib
import sys
from typing import Any

from absl import app, flags

from tbvis import files
from tbvis.errors import UsageError, nearest

# TensorFlow's start-up lines would bury our own; the user may still set the variable.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")


def _program() -> str:
  return pathlib.Path(sys.argv[0]).name.removesuffix(".py")


def _fail(message: str) -> None:
  sys.stderr.write(f"{_program()}: error: {message}\n")
  raise SystemExit(2)


def _parse(argv: Sequence[str]) -> list[str]:
  try:
    rest = flags.FLAGS(argv)
  except flags.UnrecognizedFlagError as error:
    close = nearest(error.flagname, list(flags.FLAGS))
    _fail(f"unknown flag --{error.flagname}." + (f" Nearest: {', '.join('--' + c for c in close)}." if close else " See --help."))
  except flags.Error as error:
    _fail(" ".join(str(error).split()))
  if flags.FLAGS["help"].value or flags.FLAGS["helpfull"].value or flags.FLAGS["helpshort"].value:
    return rest
  if len(rest) > 1:
    _fail(f"expected flags only, received {rest[1]!r}. See --help.")
  return rest


def run(main: Callable[[], None]) -> None:
  """Runs `main` as an absl program; a `UsageError` prints one line and exits with status 2."""

  def call(argv: Sequence[str]) -> None:
    del argv
    try:
      main()
    except UsageError as error:
      _fail(" ".join(str(error).split()))
    except KeyboardInterrupt:
      sys.stderr.write(f"{_program()}: interrupted; what was finished is kept.\n")
      raise SystemExit(130) from None

  app.run(call, flags_parser=_parse)


def expand_path(value: str | None, flag: str) -> pathlib.Path | None:
  """Expands ~ and $VARIABLES of a path given by a flag.

  Raises:
    UsageError: if a variable is not set.
  """
  if not value:
    return None
  expanded = os.path.expanduser(os.path.expandvars(value))
  if "$" in expanded:
    raise UsageError(f"--{flag}: {value!r} names an environment variable that is not set.")
  return pathlib.Path(expanded)


def required_path(value: str | None, flag: str) -> pathlib.Path:
  """Like `expand_path`, for a flag that must be given."""
  path = expand_path(value, flag)
  if path is None:
    raise UsageError(f"--{flag} is required. See --help.")
  return path


def define_json() -> flags.FlagHolder:
  """Defines --json, which every script that measures takes."""
  return flags.DEFINE_string("json", None, "File to which the measured numbers are written as flat JSON, with units in the key names.")


def report_json(path: str | None, numbers: dict[str, Any]) -> None:
  """Writes measured numbers where --json was given."""
  if path:
    files.write_json(expand_path(path, "json"), json.loads(json.dumps(numbers)))
