"""Writing files so that a reader never meets half of one."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import fcntl
import json
import os
import pathlib
import re
import tempfile
from typing import Any

from tbvis.errors import UsageError

# What a user may name that becomes a part of file names: it can lead nowhere else.
PART_OF_NAME = re.compile(r"\w[\w.-]*")


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[pathlib.Path]:
  """Yields a temporary path beside `path`, renamed to `path` when the block succeeds.

  Args:
    path: the file to write; its folder is made where it is missing.

  Yields:
    A path with the same suffix in the same folder.

  Raises:
    UsageError: if the folder cannot be written.
  """
  path = pathlib.Path(path)
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent)
  except OSError as error:
    raise UsageError(f"Expected a folder that can be written for {path}; {error.strerror or error}.") from error
  os.close(handle)
  temporary = pathlib.Path(name)
  try:
    yield temporary
    os.chmod(temporary, 0o644)
    os.replace(temporary, path)
  finally:
    temporary.unlink(missing_ok=True)


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
  """Writes `data` to `path` in one step."""
  with atomic_path(path) as temporary:
    temporary.write_bytes(data)


def write_json(path: str | os.PathLike[str], content: Any) -> None:
  """Writes `content` as indented JSON to `path` in one step."""
  write_bytes(path, (json.dumps(content, indent=2) + "\n").encode())


def write_npz(path: str | os.PathLike[str], **arrays: Any) -> None:
  """Writes arrays to a compressed npz in one step."""
  import numpy as np  # Kept out of the module: the plugin imports this package without needing arrays.

  with atomic_path(path) as temporary, open(temporary, "wb") as stream:
    np.savez_compressed(stream, **arrays)


def ensure_writable(folder: str | os.PathLike[str], flag: str) -> pathlib.Path:
  """Makes `folder` and checks that files can be written in it.

  Raises:
    UsageError: if they cannot, naming `flag`.
  """
  folder = pathlib.Path(folder)
  try:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
      pass
  except OSError as error:
    raise UsageError(f"--{flag}: expected a folder that can be written, received {str(folder)!r}; {error.strerror or error}.") from error
  return folder


@contextlib.contextmanager
def locked(path: str | os.PathLike[str], held: str) -> Iterator[None]:
  """Keeps a second process from doing the same at the same time; the lock goes with the process, however it ends.

  Args:
    path: the lock's file, which stays: one that is removed would lock nobody out.
    held: what a second process is told.

  Raises:
    UsageError: if another process holds it.
  """
  path = pathlib.Path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  with open(path, "w") as stream:
    try:
      fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      raise UsageError(held) from None
    except OSError:  # A file system that has no locks.
      pass
    yield
