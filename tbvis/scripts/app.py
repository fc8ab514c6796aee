"""What every script shares: absl start-up, one-line errors with exit status 2, paths, JSON reports."""

from __future__ import annotations

from collections.abc import Callable, Sequence
import contextlib
import errno
import json
import math
import os
import pathlib
import re
import sys
from typing import Any, TypeVar
import unicodedata

from absl import app, flags, logging

from tbvis import files, progress
from tbvis.errors import UsageError, nearest, unknown_name
from tbvis.models import precision
from tbvis.startup import load_tensorflow as load_tensorflow

# A flag defined by a function of this module belongs to the script that calls it.
flags.disclaim_key_flags()
# Below this the first motion layer sees ten nearly equal frames (METHOD 1.2).
_LEAST_TEMPORAL_FRACTION = 0.10
_PAIR = 2
_SPLITS = ("test", "train")
# u and v of one frame.
_VECTOR = 2
_T = TypeVar("_T")
_PASSED_ON: list[str] = []
# No setting is meant to be larger. What libraries do with larger ones is seldom told: they abort, overflow or never end.
_LARGEST_WHOLE, _LARGEST = 2**31 - 1, 1e9
# Control characters, and what Python makes of bytes that are no UTF-8.
_NO_TEXT = ("Cc", "Cs")
_MAY_BE_EMPTY: set[str] = set()
# File systems take 255 bytes; what is written adds endings, and numbers of splits.
_LONGEST_NAME = 200
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_LOCKED = (errno.EROFS, errno.EACCES, errno.EPERM)
_OF_STREAM = re.compile(r"(?:appearance|motion)=")
# A received value may be anything.
_SHOWN = 120
_LONG_WORD = re.compile(r"[^\s/]{300,}")
_HELP = {"--help", "-help", "-h", "-?", "--helpshort"}


def _program() -> str:
  path = pathlib.Path(sys.argv[0])
  # `python -m tbvis.scripts.train` is the same program as the console script.
  # Its module's name is longer than the verb where that is a word of Python's.
  return f"tbvis-{path.stem.partition('_')[0]}" if path.parent.name == "scripts" and path.suffix == ".py" else path.name.removesuffix(".py")


def _fail(message: str) -> None:
  shown = _LONG_WORD.sub(lambda word: f"{word[0][:_SHOWN]}...", message)
  progress.end_all()
  sys.stderr.write(f"{_program()}: error: {shown}\n")
  raise SystemExit(2)


def _trouble(error: Exception) -> str:
  """Returns what to say of an error that the machine has made, not we; "" for others."""
  text = " ".join(str(error).split())
  # HDF5 tells the number in its text alone, TensorFlow the reason.
  known = isinstance(error, OSError) or type(error).__module__.startswith("tensorflow.")
  number = getattr(error, "errno", None) or next((code for code in (*_NO_ROOM, *_LOCKED) if known and os.strerror(code) in text), None)
  where = f" for {error.filename}" if isinstance(error, OSError) and error.filename else ""
  if isinstance(error, OSError) and number in _LOCKED:
    return f"expected leave to write{where}; {os.strerror(number)}. What was finished is kept."
  if known and number in _NO_ROOM:
    return f"expected room to write{where}; {os.strerror(number)}. What was finished is kept: make room and give the same command again."
  if isinstance(error, MemoryError) or number == errno.ENOMEM or type(error).__name__ == "ResourceExhaustedError":
    return f"expected more memory than there is ({text[:200] or 'none is left'}). What was finished is kept: the same command goes on."
  return ""


def _print_help(module: str) -> None:
  # absl's own --help shows the flags of the program's file only, and a console script defines none.
  purpose = (sys.modules[module].__doc__ or "").strip()
  listed = flags.FLAGS.module_help(module).strip().partition("\n")[2]  # Without the module's name.
  sys.stdout.write(f"{purpose}\n\nUsage: {_program()} [--flagfile=FILE] [flags]\n\n{listed}\n\n")
  sys.stdout.write("--flagfile=FILE reads flags from a file, one a line. --helpfull shows the flags of every library too.\n")
  raise SystemExit(0)


def parse(argv: Sequence[str], module: str, passing: str | None = None) -> list[str]:
  """Parses a script's command line, and refuses values that no script could use; what they mean together its `check_flags` judges.

  Args:
    argv: program and flags.
    module: that defines the flags.
    passing: see `run`.

  Returns:
    The program alone.

  Raises:
    SystemExit: with status 2 after one line for a mistake, with 0 after --help.
  """
  if not _HELP.isdisjoint(argv[1:]):
    _print_help(module)
  passes = passing is not None and any(text.split("=")[0].lstrip("-") == passing for text in argv[1:] if text.startswith("-"))
  try:
    rest = flags.FLAGS(argv, known_only=passes)
    if passes:
      _PASSED_ON[:] = [text for text in rest[1:] if text.startswith("--")]
      rest = [text for text in rest if text not in _PASSED_ON]
    for flag in flags.FLAGS.get_key_flags_for_module(module):
      _check_value(flag)
  except flags.UnrecognizedFlagError as error:
    close = nearest(error.flagname, list(flags.FLAGS))
    _fail(f"unknown flag --{error.flagname}." + (f" Nearest: {', '.join('--' + c for c in close)}." if close else " See --help."))
  except flags.IllegalFlagValueError as error:
    _fail(_illegal(error))
  except flags.Error as error:
    _fail(" ".join(str(error).split()))
  except UnicodeDecodeError as error:
    _fail(f"--flagfile: expected a text file with a flag a line, found bytes that are no UTF-8 ({error.reason}).")
  except UsageError as error:
    _fail(str(error))
  if len(rest) > 1:
    _fail(f"expected flags only, received {rest[1]!r}. See --help.")
  return rest


def _illegal(error: flags.IllegalFlagValueError) -> str:
  """Returns what was expected and received instead of absl's own words, which do not always tell both."""
  said = str(error)
  found = re.match(r"flag --(\w+)=", said)
  if not found or found[1] not in flags.FLAGS or error.__context__ is None:
    return " ".join(said.split())
  name, received = found[1], said[found.end() :].removesuffix(f": {error.__context__}")
  parser = flags.FLAGS[name].parser
  if isinstance(parser, flags.EnumParser):
    near = nearest(received, parser.enum_values, count=1)
    return f"--{name}: expected one of {', '.join(parser.enum_values)}, received {received!r}." + (f" Nearest: {near[0]}." if near else "")
  kinds = {flags.BooleanParser: "true or false", flags.IntegerParser: "a whole number", flags.FloatParser: "a number"}
  kind = next((text for of, text in kinds.items() if isinstance(parser, of)), "names or numbers separated by commas")
  return f"--{name}: expected {kind}{_bounds(parser)}, received {received!r}."


def _bounds(parser: Any) -> str:
  low, high = (getattr(parser, name, None) for name in ("lower_bound", "upper_bound"))
  if low is not None and high is not None:
    return f" of {low:g} to {high:g}" if isinstance(parser, flags.FloatParser) else f" of {low} to {high}"
  return f" of at least {low}" if low is not None else f" of at most {high}" if high is not None else ""


def _check_value(flag: flags.Flag) -> None:
  """Refuses a value that absl lets through and nobody can mean: no number, far too large, empty, or no text.

  Raises:
    UsageError: naming the flag.
  """
  name, value = flag.name, flag.value
  # absl has compared with the bounds that a flag has; of these NaN is on no side.
  bounded = getattr(flag.parser, "upper_bound", None) is not None
  if isinstance(value, float) and not (abs(value) <= _LARGEST or (bounded and not math.isnan(value))):
    raise UsageError(f"--{name}: expected a number{_bounds(flag.parser) if bounded else f' of at most {_LARGEST:g}'}, received {value:g}.")
  if isinstance(value, int) and abs(value) > _LARGEST_WHOLE:
    raise UsageError(f"--{name}: expected a whole number of at most {_LARGEST_WHOLE}, received {str(value)[:40]}.")
  texts = value if isinstance(value, list) else [value] if isinstance(value, str) else []
  for text in texts:
    # Bytes of a command line that are no UTF-8 could be neither printed nor written to a logdir.
    if any(unicodedata.category(character) in _NO_TEXT for character in text):
      raise UsageError(f"--{name}: expected text without control characters, in UTF-8, received {text[:80]!a}.")
  if isinstance(value, list) and not all(text.strip() for text in value):
    raise UsageError(f"--{name}: expected names or numbers separated by commas, received an empty one in {','.join(value)!r}.")
  if flag.present and value == "" and flag.default != "" and name not in _MAY_BE_EMPTY:
    raise UsageError(f"--{name}: expected a value, received none (is a variable of the command line empty?). Leave the flag out instead.")


def may_be_empty(holder: flags.FlagHolder) -> flags.FlagHolder:
  """Lets a flag of text be given without a value; others are refused so, since an unset variable of the shell looks the same."""
  _MAY_BE_EMPTY.add(holder.name)
  return holder


def passed_on() -> list[str]:
  """Returns the flags that are not ours, where the program takes such (see `run`)."""
  return list(_PASSED_ON)


def run(main: Callable[[], None], passing: str | None = None) -> None:
  """Runs `main` as an absl program; a `UsageError` prints one line and exits with status 2.

  Args:
    main: the program.
    passing: a flag with which unknown ones are let through, for another program's library (`passed_on`).
  """

  def call(argv: Sequence[str]) -> None:
    del argv
    if not flags.FLAGS["verbosity"].present:
      logging.set_verbosity(logging.WARNING)  # TFDS tells of every file that it opens.
    try:
      main()
    except UsageError as error:
      _fail(" ".join(str(error).split()))
    except Exception as error:
      message = _trouble(error)
      if not message:
        raise
      _fail(message)
    except KeyboardInterrupt:
      sys.stderr.write(f"{_program()}: interrupted; what was finished is kept.\n")
      raise SystemExit(130) from None

  app.run(call, flags_parser=lambda argv: parse(argv, main.__module__, passing))


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


def define_dtype(text: str) -> flags.FlagHolder:
  """Defines --dtype, the number format of a network, with `text` as its help."""
  return flags.DEFINE_enum("dtype", "auto", list(precision.DTYPES), text)


def define_json() -> flags.FlagHolder:
  """Defines --json, which every script that measures takes."""
  return flags.DEFINE_string("json", None, "File to which the measured numbers are written as flat JSON, with units in the key names.")


def report_json(path: str | None, numbers: dict[str, Any]) -> None:
  """Writes measured numbers where --json was given."""
  if path:
    files.write_json(required_path(path, "json"), json.loads(json.dumps(numbers)))


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
  if not all(low <= value and abs(value) <= _LARGEST for value in values):
    within = f"{-_LARGEST:g}" if low == -math.inf else f"{low:g}"
    raise UsageError(f"--{flag}: expected numbers of {within} to {_LARGEST:g}, received {','.join(texts)!r}.")
  return values


def report_temporal_fraction(model: Any) -> float | None:
  """Prints how temporal the motion stream's first layer is, with a warning where it is blind to time.

  Args:
    model: a network.

  Returns:
    |W - mean over channels| / |W| of that layer (METHOD 1.2); None where the network sees no motion, or not as a stack in its channels.
  """
  import keras

  from tbvis.models import geometry, two_stream

  table, inputs = geometry.layer_geometry(model), geometry.inputs_by_name(model)
  see_motion = (layer for layer in model.layers if layer.name in table and table[layer.name].streams == ("motion",))
  first = next((layer for layer in see_motion if layer.weights), None)
  if first is None or not isinstance(first, keras.layers.Conv2D) or not first.kernel.shape[2] == inputs["motion"].shape[-1] > _VECTOR:
    return None
  fraction = two_stream.temporal_fraction(keras.ops.convert_to_numpy(first.kernel))
  print(f"{first.name}: |W - mean over channels| / |W| = {fraction:.1%}")
  if fraction < _LEAST_TEMPORAL_FRACTION:
    logging.warning(
      "The motion stream's first layer sees ten nearly equal frames (%.1f %%, expected at least %d %%): its stimuli will not move. "
      "Train it longer or raise --motion_first_layer_factor.", 100 * fraction, 100 * _LEAST_TEMPORAL_FRACTION,
    )  # fmt: skip
  return fraction
