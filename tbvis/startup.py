"""TensorFlow's start without the lines that would bury our own, and modules of others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
import contextlib
import importlib
import os
import pathlib
import sys
import tempfile

from tbvis.errors import UsageError

# TensorFlow's start-up lines would bury our own; the user may still set the variable. Where there is no GPU's driver
# it calls that an error (level 2), and a reader would take it for one.
_GPU_DRIVERS = ("/dev/nvidiactl", "/dev/dxg")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2" if any(map(os.path.exists, _GPU_DRIVERS)) else "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")


@contextlib.contextmanager
def held_back() -> Iterator[None]:
  """Keeps what is written to standard error, also by C++ code, and shows it only if the block fails."""
  sys.stderr.flush()
  terminal = os.dup(2)
  with tempfile.TemporaryFile() as kept:
    os.dup2(kept.fileno(), 2)
    try:
      yield
    except BaseException:
      kept.seek(0)
      os.write(terminal, kept.read())
      raise
    finally:
      os.dup2(terminal, 2)
      os.close(terminal)


def load_tensorflow() -> None:
  """Imports TensorFlow without the lines that it writes at start-up whatever the log level says.

  They are shown to whoever sets TF_CPP_MIN_LOG_LEVEL to 0 or 1, and where the processor lacks AVX: there TensorFlow says so and
  aborts, and nothing could show it afterwards.
  """
  processor = pathlib.Path("/proc/cpuinfo")
  hold = os.environ["TF_CPP_MIN_LOG_LEVEL"] not in ("0", "1") and processor.exists() and " avx " in processor.read_text(errors="replace")
  with held_back() if hold else contextlib.nullcontext():
    import tensorflow  # noqa: F401 -- Imported for what it does; takes seconds.


def import_modules(names: Iterable[str]) -> None:
  """Imports modules that register something, also from the current folder.

  Raises:
    UsageError: if one cannot be imported.
  """
  for name in names:
    here = os.getcwd()
    if here not in sys.path:
      sys.path.append(here)
    try:
      importlib.import_module(name)
    except Exception as error:  # It is the code of others.
      raise UsageError(f"--import: module {name!r} cannot be imported: {type(error).__name__}: {error}.") from error
