"""The state of an unfinished search on disk."""

from __future__ import annotations

from collections.abc import Mapping
import contextlib
import os
import pathlib
from typing import Any
import zipfile

from absl import logging
import numpy as np

from tbvis import files


class Snapshot:
  """The state of an ascent on disk, from which it goes on bit for bit.

  Args:
    path: an npz, written in one step.
    every: steps between two of them.
    identity: what the ascent is of; a state of another one is not taken up.
  """

  def __init__(self, path: str | os.PathLike[str], every: int, identity: str):
    self._path = pathlib.Path(path)
    self._every = every
    self._identity = identity

  def due(self, step: int) -> bool:
    """Tells whether the state after the 0-based `step` is to be kept."""
    return self._every > 0 and (step + 1) % self._every == 0

  def save(self, state: Mapping[str, Any]) -> None:
    """Writes the state."""
    # Another process that has just ended the same search takes away what it finds of it.
    with contextlib.suppress(FileNotFoundError), files.atomic_path(self._path) as temporary, open(temporary, "wb") as stream:
      np.savez(stream, identity=self._identity, **state)

  def load(self) -> dict[str, np.ndarray] | None:
    """Returns the state, None where there is none of this ascent."""
    if not self._path.exists():
      return None
    try:
      with np.load(self._path) as stored:
        state = {name: stored[name] for name in stored.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
      logging.warning("%s: expected the state of a search, found %s; the search starts anew.", self._path, error)
      return None
    return state if str(state.pop("identity", "")) == self._identity else None

  def remove(self) -> None:
    """Removes the state of an ascent whose results are kept elsewhere, and what a killed process left of one."""
    self._path.unlink(missing_ok=True)
    for part in self._path.parent.glob(f".{self._path.stem}-*"):
      part.unlink(missing_ok=True)
