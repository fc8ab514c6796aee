"""HDF5 files of strangers: a child process reads them first, since the HDF5 library can hang or crash on damaged ones.

What the child has read without harm within its limits of time and memory is then read here.
"""

from __future__ import annotations

import atexit
import json
import os
import pathlib
import resource
import select
import subprocess
import sys
from typing import Any

import h5py
import numpy as np

from tbvis import limits
from tbvis.errors import UsageError, present

_SECONDS = 30
_BYTES_A_SECOND = 20e6
_CHILD_BYTES = 256 << 20
_MOST_OBJECTS = 100_000
_STATM = pathlib.Path("/proc/self/statm")  # Linux alone has it.
_child: subprocess.Popen[str] | None = None


def read_hdf5(path: pathlib.Path, shown: pathlib.Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
  """Reads the arrays of numbers of an HDF5 file.

  Args:
    path: the file.
    shown: the file that errors name; another one where `path` was unpacked from it.

  Returns:
    Arrays by path, and the attribute "name" of groups that have one as a text.

  Raises:
    UsageError: if it is none, is damaged, or cannot be read within the limits.
  """
  size = limits.read_file(path, "an HDF5 file")
  if not h5py.is_hdf5(path):
    raise UsageError(f"Expected an HDF5 file, but {shown} does not begin like one.")
  answer = _rehearse(path, _SECONDS + size / _BYTES_A_SECOND)
  if "error" in answer:
    raise UsageError(f"Expected an HDF5 file, but {shown} cannot be read as one: {answer['error']}.")
  limits.check_declared(shown, "it", answer["bytes"], size)
  try:
    return _walk(path, keep=True)[:2]
  except (OSError, ValueError, RuntimeError, KeyError) as error:  # It was changed in between.
    raise UsageError(f"Expected an HDF5 file, but {shown} cannot be read as one: {error}.") from error


def _rehearse(path: pathlib.Path, seconds: float) -> dict[str, Any]:
  """Lets the child read a file; returns {"bytes": declared size} or {"error": why not}."""
  global _child
  if _child is None or _child.poll() is not None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    _child = subprocess.Popen(
      [sys.executable, "-m", __name__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
    )
    atexit.register(_end, _child)
  asked, answers = present(_child.stdin, "the child's pipe"), present(_child.stdout, "the child's pipe")
  try:
    asked.write(json.dumps(str(path.absolute())) + "\n")
    asked.flush()
    ready, _, _ = select.select([answers], [], [], seconds)
    line = answers.readline() if ready else None
  except BrokenPipeError:
    line = ""
  except BaseException:
    _end(_child)  # Else its answer would be taken for that on the next file.
    raise
  if line:
    return json.loads(line)
  _end(_child)
  return {"error": f"reading it took more than {seconds:.0f} seconds" if line is None else "the HDF5 library failed on it"}


def _end(child: subprocess.Popen[str]) -> None:
  child.kill()
  child.communicate()


def _walk(path: pathlib.Path, keep: bool) -> tuple[dict[str, np.ndarray], dict[str, str], int]:
  """Reads every array and name of a file; without `keep` each is dropped again. Returns the declared bytes too."""
  arrays: dict[str, np.ndarray] = {}
  names: dict[str, str] = {}
  declared = objects = 0

  def visit(name: str, found: h5py.HLObject) -> None:
    nonlocal declared, objects
    objects += 1
    if objects > _MOST_OBJECTS:
      raise ValueError(f"it has more than {_MOST_OBJECTS:,} objects")
    if not isinstance(name, str):  # h5py gives bytes where a name is no UTF-8.
      raise ValueError(f"the name {name!r} is no text")
    if isinstance(found, h5py.Group):
      if "name" in found.attrs and found.attrs.get_id("name").shape == () and isinstance(text := found.attrs["name"], str):
        names[name] = text
    elif isinstance(found, h5py.Dataset) and found.dtype.kind in "fiu":
      if found.is_virtual or found.external:
        raise ValueError(f"the array {name} lies in another file")
      stored = found.id.get_storage_size()
      limits.check_declared(path, f"the array {name}", found.nbytes, stored)
      declared += found.nbytes
      value = found[()]
      if keep:
        arrays[name] = value

  with h5py.File(path, "r") as file:
    file.visititems(visit)
  return arrays, names, declared


def _serve() -> None:
  """The child: reads the files whose paths come in, one a line, and says how it went."""
  _, hard = resource.getrlimit(resource.RLIMIT_AS)
  resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
  for line in sys.stdin:
    path = pathlib.Path(json.loads(line))
    if _STATM.exists():
      used = int(_STATM.read_text().split()[0]) * resource.getpagesize()
      resource.setrlimit(resource.RLIMIT_AS, (used + _CHILD_BYTES + 3 * path.stat().st_size, hard))
    try:
      answer: dict[str, Any] = {"bytes": _walk(path, keep=False)[2]}
    except (MemoryError, Exception) as error:  # Damage makes the library raise anything; the words matter alone.
      answer = {"error": " ".join(str(error).split())[:300] or type(error).__name__}
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
  _serve()
