"""What a sweep plans to find and how far it is: small files beside the events, for who looks on. No TensorFlow.

    <run>/tbvis/sweeps/<sweep>.json            the plan, written when the sweep begins and removed when all of it was tried
    <run>/tbvis/sweeps/<sweep>.<worker>.json   a sign of life of one process: which rows it searches, and at which step

A sweep is told by 16 hexadecimal digits of what it is made of, so that the same command writes the same file; several sweeps into one run
lie side by side. A process that is killed leaves its sign of life, which grows old; what it had planned is interrupted then.
"""

from __future__ import annotations

from collections.abc import Sequence
import contextlib
import json
import pathlib
import re
import threading
import time
from types import TracebackType
from typing import Any

from tbvis import files
from tbvis.errors import UsageError

FOLDER = "sweeps"
PLAN_NAME = re.compile(r"[0-9a-f]{16}\.json")
SIGN_NAME = re.compile(r"([0-9a-f]{16})\.[a-z0-9_]{1,40}\.json")
VERSION = 1
# A sign of life that is older tells of a process that is there no more: it writes twelve of them in that time.
OLD_SECONDS = 60.0
_EVERY_SECONDS = 5.0

# (unit, layer, layer_index, channel, class_name) and (kappa, chi, isotropic), as in `records.StimulusRecord`.
Target = tuple[str, str, int, int, str | None]
Setting = tuple[float, float, bool]


def write(
  folder: pathlib.Path,
  sweep: str,
  targets: Sequence[Target],
  settings: Sequence[Setting],
  *,
  seed: int,
  steps: int,
  finished: Sequence[int],
) -> None:
  """Writes a plan; row r is target r // len(settings) under setting r % len(settings).

  Args:
    folder: the run's folder of sweeps.
    sweep: its name.
    targets: in the order in which they are searched.
    settings: of every target.
    seed: of every row.
    steps: of a search.
    finished: rows, ascending, that need not be made.
  """
  remove(folder, sweep)
  content = {
    "version": VERSION, "time": time.time(), "steps": steps, "seed": seed, "settings": settings, "targets": targets, "finished": finished
  }  # fmt: skip
  # Another process of the same sweep may tidy up just now: who looks on learns less, but nothing is lost.
  with contextlib.suppress(FileNotFoundError):
    files.write_bytes(folder / f"{sweep}.json", json.dumps(content, separators=(",", ":")).encode())


def remove(folder: pathlib.Path, sweep: str) -> None:
  """Removes a plan, and what killed processes left beside it."""
  for path in [folder / f"{sweep}.json", *folder.glob(f"{sweep}.*.json"), *folder.glob(f".{sweep}*")]:
    path.unlink(missing_ok=True)
  with contextlib.suppress(OSError):  # Another sweep's files are there, or there is no such folder.
    folder.rmdir()


class SignOfLife:
  """Writes every few seconds, from a thread of its own, where a process is: a step may take minutes.

  Args:
    folder: the run's folder of sweeps.
    sweep: its name.
    worker: letters, digits and _ that tell the process from others of the sweep.
    every: seconds between two signs.
  """

  def __init__(self, folder: pathlib.Path, sweep: str, worker: str = "main", every: float = _EVERY_SECONDS):
    self._path = folder / f"{sweep}.{worker}.json"
    self._every = every
    self._state: dict[str, Any] = {"rows": [0, 0], "step": 0}
    self._over = threading.Event()
    self._thread = threading.Thread(target=self._go_on, name="sign of life", daemon=True)

  def __enter__(self) -> SignOfLife:
    self._write()
    self._thread.start()
    return self

  def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
    self._over.set()
    self._thread.join()
    with contextlib.suppress(OSError):  # It could not be written, or the whole sweep was forgotten.
      self._path.unlink()

  def begin(self, first: int, stop: int) -> None:
    """Says that rows `first` to `stop` - 1 of the plan are searched from now on."""
    self._state = {"rows": [first, stop], "step": 0}
    self._write()

  def stepped(self) -> None:
    """Counts a step; the next sign tells of it."""
    self._state = {**self._state, "step": self._state["step"] + 1}

  def _go_on(self) -> None:
    while not self._over.wait(self._every):
      self._write()

  def _write(self) -> None:
    content = {"version": VERSION, "time": time.time(), **self._state}
    # Who looks on learns less, but nothing is lost where this cannot be written.
    with contextlib.suppress(OSError, UsageError):
      files.write_bytes(self._path, json.dumps(content).encode())
