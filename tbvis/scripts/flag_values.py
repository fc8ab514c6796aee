"""What flags are given: paths, names and numbers, checked by the name of the flag."""

from __future__ import annotations

from collections.abc import Sequence
import contextlib
import math
import os
import pathlib
import re
from typing import TypeVar

from tbvis import files
from tbvis.errors import UsageError, nearest, unknown_name

# No setting is meant to be larger. What libraries do with larger ones is seldom told: they abort, overflow or never end.
LARGEST_WHOLE, LARGEST = 2**31 - 1, 1e9
_PAIR = 2
_SPLITS = ("test", "train")
# File systems take 255 bytes; what is written adds endings, and numbers of splits.
_LONGEST_NAME = 200
_OF_STREAM = re.compile(r"(?:appearance|motion)=")
_T = TypeVar("_T")


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
  return given(expand_path(value, flag), flag)


def given(value: _T | None, flag: str) -> _T:
  """Returns the value of a flag that must be given.

  Raises:
    UsageError: if it is not.
  """
  if value is None:
    raise UsageError(f"--{flag} is required. See --help.")
  return value


def required(value: str | None, flag: str) -> str:
  """Like `given`, for text that must not be empty."""
  return given(value or None, flag)


def existing_path(value: str | None, flag: str, kind: str = "file") -> pathlib.Path | None:
  """Returns what a flag names, which must be there; None where it names nothing.

  Args:
    value: of the flag.
    flag: its name.
    kind: what is expected, a word with "file" or "folder" in it.

  Raises:
    UsageError: if it is not there, with the nearest names beside it.
  """
  path = expand_path(value, flag)
  if path is None:
    return None
  near: list[str] = []
  with contextlib.suppress(OSError):  # A name that is too long, or a folder that may not be read.
    if ("file" in kind and path.is_file()) or ("folder" in kind and path.is_dir()):
      return path
    near = nearest(path.name, [entry.name for entry in path.parent.iterdir()])
  raise UsageError(f"--{flag}: expected a {kind}, found none at {path}." + (f" Nearest: {', '.join(near)}." if near else ""))


def output_file(value: str | None, flag: str) -> pathlib.Path | None:
  """Returns the file that a flag names, whose folder is made and tried: what is measured in hours is written at the end.

  Raises:
    UsageError: if it cannot be written.
  """
  path = expand_path(value, flag)
  if path is not None:
    files.ensure_writable(path.parent, flag)
    check_name(path.name, flag)
    if path.is_dir():
      raise UsageError(f"--{flag}: expected a file, found a folder at {path}.")
  return path


def check_name(name: str, flag: str) -> None:
  """Checks that a file or folder can have a name.

  Raises:
    UsageError: if it is too long.
  """
  if len(name.encode()) > _LONGEST_NAME:
    raise UsageError(f"--{flag}: expected a name of at most {_LONGEST_NAME} bytes, received {name[:80]!r}...")


def output_folder(value: str | None, flag: str) -> pathlib.Path | None:
  """Like `output_file`, for a folder."""
  path = expand_path(value, flag)
  return path if path is None else files.ensure_writable(path, flag)


def check_run(name: str, flag: str = "run") -> None:
  """Checks the name of a run inside a logdir.

  Raises:
    UsageError: if it leads elsewhere, or no folder can have it.
  """
  from tbvis import summaries

  try:
    summaries.state_folder("logdir", name)
  except UsageError as error:
    raise UsageError(f"--{flag}: {error}") from error
  for part in name.split("/"):
    check_name(part, flag)


def check_split(split: str, flag: str = "split") -> None:
  """Checks the name of a split of a prepared set.

  Raises:
    UsageError: if no such set has it.
  """
  if split not in _SPLITS:
    raise unknown_name("split", split, _SPLITS, f"--{flag}")


def check_pair(pair: Sequence[str], flag: str = "pair") -> None:
  """Checks that none or two different classes are named.

  Raises:
    UsageError: otherwise.
  """
  if pair and (len(pair) != _PAIR or pair[0] == pair[1]):
    raise UsageError(f"--{flag}: expected two classes separated by a comma, received {','.join(pair)!r}.")


def weight_files(text: str) -> dict[str | None, str]:
  """Splits --weights, which names one file, or one for each stream.

  Returns:
    Files by stream; by None where the stream is not said.

  Raises:
    UsageError: if a stream comes twice or without a file.

  >>> weight_files("motion=a,b.mat,appearance=c.mat")
  {'motion': 'a,b.mat', 'appearance': 'c.mat'}
  >>> weight_files("both.mat")
  {None: 'both.mat'}
  """
  if not _OF_STREAM.match(text):
    return {None: text}
  found: dict[str | None, str] = {}
  for part in re.split(rf",(?={_OF_STREAM.pattern})", text):
    stream, _, name = part.partition("=")
    if stream in found or not name:
      raise UsageError(f"--weights: expected one file for {stream}, received {text!r}.")
    found[stream] = name
  return found


def parse_floats(texts: Sequence[str], flag: str, low: float = -math.inf) -> list[float]:
  """Reads the values of a list flag.

  Args:
    texts: the values.
    flag: its name.
    low: the least that is meant.

  Raises:
    UsageError: if one is no number, too small or far too large, naming `flag`.
  """
  try:
    values = [float(text) for text in texts]
  except ValueError:
    raise UsageError(f"--{flag}: expected numbers separated by commas, received {','.join(texts)!r}.") from None
  if not all(low <= value and abs(value) <= LARGEST for value in values):
    within = f"{-LARGEST:g}" if low == -math.inf else f"{low:g}"
    raise UsageError(f"--{flag}: expected numbers of {within} to {LARGEST:g}, received {','.join(texts)!r}.")
  return values
