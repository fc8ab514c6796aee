"""What every script shares: absl start-up, one-line errors with exit status 2, paths, JSON reports."""

from __future__ import annotations

from collections.abc import Callable, Sequence
import errno
import json
import os
import pathlib
import re
import sys
from typing import Any

from absl import app, flags, logging

from tbvis import files
from tbvis.errors import UsageError, nearest
from tbvis.models import precision
from tbvis.startup import load_tensorflow as load_tensorflow

# A flag defined by a function of this module belongs to the script that calls it.
flags.disclaim_key_flags()
# Below this the first motion layer sees ten nearly equal frames (METHOD 1.2).
_LEAST_TEMPORAL_FRACTION = 0.10
# u and v of one frame.
_VECTOR = 2
_PASSED_ON: list[str] = []
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_OF_STREAM = re.compile(r"(?:appearance|motion)=")
_HELP = {"--help", "-help", "-h", "-?", "--helpshort"}


def _program() -> str:
  path = pathlib.Path(sys.argv[0])
  # `python -m tbvis.scripts.train` is the same program as the console script.
  # Its module's name is longer than the verb where that is a word of Python's.
  return f"tbvis-{path.stem.partition('_')[0]}" if path.parent.name == "scripts" and path.suffix == ".py" else path.name.removesuffix(".py")


def _fail(message: str) -> None:
  sys.stderr.write(f"{_program()}: error: {message}\n")
  raise SystemExit(2)


def _print_help(module: str) -> None:
  # absl's own --help shows the flags of the program's file only, and a console script defines none.
  purpose = (sys.modules[module].__doc__ or "").strip()
  listed = flags.FLAGS.module_help(module).strip().partition("\n")[2]  # Without the module's name.
  sys.stdout.write(f"{purpose}\n\nUsage: {_program()} [--flagfile=FILE] [flags]\n\n{listed}\n\n")
  sys.stdout.write("--flagfile=FILE reads flags from a file, one a line. --helpfull shows the flags of every library too.\n")
  raise SystemExit(0)


def _parse(argv: Sequence[str], module: str, passing: str | None = None) -> list[str]:
  if not _HELP.isdisjoint(argv[1:]):
    _print_help(module)
  passes = passing is not None and any(text.split("=")[0].lstrip("-") == passing for text in argv[1:] if text.startswith("-"))
  try:
    rest = flags.FLAGS(argv, known_only=passes)
    if passes:
      _PASSED_ON[:] = [text for text in rest[1:] if text.startswith("--")]
      rest = [text for text in rest if text not in _PASSED_ON]
  except flags.UnrecognizedFlagError as error:
    close = nearest(error.flagname, list(flags.FLAGS))
    _fail(f"unknown flag --{error.flagname}." + (f" Nearest: {', '.join('--' + c for c in close)}." if close else " See --help."))
  except flags.Error as error:
    _fail(" ".join(str(error).split()))
  if len(rest) > 1:
    _fail(f"expected flags only, received {rest[1]!r}. See --help.")
  return rest


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
    except OSError as error:
      if error.errno not in _NO_ROOM:
        raise
      where = f" for {error.filename}" if error.filename else ""
      _fail(f"expected room to write{where}; {error.strerror}. What was finished is kept: make room and give the same command again.")
    except KeyboardInterrupt:
      sys.stderr.write(f"{_program()}: interrupted; what was finished is kept.\n")
      raise SystemExit(130) from None

  app.run(call, flags_parser=lambda argv: _parse(argv, main.__module__, passing))


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
    files.write_json(expand_path(path, "json"), json.loads(json.dumps(numbers)))


def parse_floats(texts: Sequence[str], flag: str) -> list[float]:
  """Reads the values of a list flag.

  Raises:
    UsageError: if one is no number, naming `flag`.
  """
  try:
    return [float(text) for text in texts]
  except ValueError:
    raise UsageError(f"--{flag}: expected numbers separated by commas, received {','.join(texts)!r}.") from None


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
  is_stack = isinstance(first, keras.layers.Conv2D) and first.kernel.shape[2] == inputs["motion"].shape[-1] > _VECTOR
  if not is_stack:
    return None
  fraction = two_stream.temporal_fraction(keras.ops.convert_to_numpy(first.kernel))
  print(f"{first.name}: |W - mean over channels| / |W| = {fraction:.1%}")
  if fraction < _LEAST_TEMPORAL_FRACTION:
    logging.warning(
      "The motion stream's first layer sees ten nearly equal frames (%.1f %%, expected at least %d %%): its stimuli will not move. "
      "Train it longer or raise --motion_first_layer_factor.", 100 * fraction, 100 * _LEAST_TEMPORAL_FRACTION,
    )  # fmt: skip
  return fraction
