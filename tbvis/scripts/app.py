"""What every script shares: absl start-up, one-line errors with exit status 2, JSON reports."""

from __future__ import annotations

from collections.abc import Callable, Sequence
import errno
import json
import math
import os
import pathlib
import re
import sys
from typing import Any
import unicodedata

from absl import app, flags, logging

from tbvis import files, progress
from tbvis.errors import UsageError, nearest
from tbvis.models import precision
from tbvis.scripts import flag_values
from tbvis.startup import load_tensorflow as load_tensorflow

# A flag defined by a function of this module belongs to the script that calls it.
flags.disclaim_key_flags()
# Below this the first motion layer sees ten nearly equal frames (METHOD 1.2).
_LEAST_TEMPORAL_FRACTION = 0.10
# u and v of one frame.
_VECTOR = 2
_PASSED_ON: list[str] = []
# Control characters, and what Python makes of bytes that are no UTF-8.
_NO_TEXT = ("Cc", "Cs")
_MAY_BE_EMPTY: set[str] = set()
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_LOCKED = (errno.EROFS, errno.EACCES, errno.EPERM)
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
  if isinstance(value, float) and not (abs(value) <= flag_values.LARGEST or (bounded and not math.isnan(value))):
    raise UsageError(
      f"--{name}: expected a number{_bounds(flag.parser) if bounded else f' of at most {flag_values.LARGEST:g}'}, received {value:g}."
    )
  if isinstance(value, int) and abs(value) > flag_values.LARGEST_WHOLE:
    raise UsageError(f"--{name}: expected a whole number of at most {flag_values.LARGEST_WHOLE}, received {str(value)[:40]}.")
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


def define_dtype(text: str) -> flags.FlagHolder:
  """Defines --dtype, the number format of a network, with `text` as its help."""
  return flags.DEFINE_enum("dtype", "auto", list(precision.DTYPES), text)


def define_json() -> flags.FlagHolder:
  """Defines --json, which every script that measures takes."""
  return flags.DEFINE_string("json", None, "File to which the measured numbers are written as flat JSON, with units in the key names.")


def report_json(path: str | None, numbers: dict[str, Any]) -> None:
  """Writes measured numbers where --json was given."""
  if path:
    files.write_json(flag_values.required_path(path, "json"), json.loads(json.dumps(numbers)))


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
