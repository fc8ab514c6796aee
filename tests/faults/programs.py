"""Running tbvis' programs so that they can be disturbed: killed, starved of memory, told a wrong time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
import contextlib
import dataclasses
import os
import pathlib
import random
import re
import signal
import time
from typing import Any

from tests import forks

# What a person may be shown when a program ends otherwise than it should: one line of the program's own.
_OWN_LINE = re.compile(r"tbvis-\w+: error: \S.{20,1200}")
_POLL_SECONDS = 0.003


@dataclasses.dataclass(frozen=True)
class Ended:
  """How a program ended.

  Attributes:
    status: 0, an exit status, or minus the signal that killed it.
    log: what it wrote.
    seconds: from the first sign of work to the end.
  """

  status: int
  log: str
  seconds: float

  @property
  def message(self) -> str:
    """The last line that it wrote, progress bars left out."""
    lines = [line for line in self.log.replace("\r", "\n").splitlines() if line.strip()]
    return lines[-1] if lines else ""

  @property
  def is_clear(self) -> bool:
    """Whether it was killed from outside, ended well, or said in one line of its own why it did not."""
    if self.status in (0, -signal.SIGKILL):
      return True
    return self.status == 2 and "Traceback" not in self.log and bool(_OWN_LINE.fullmatch(self.message))


class Programs:
  """Starts programs one after another, each a process of its own (see `forks`); use it in a `with`."""

  def __enter__(self) -> Programs:
    self._server = forks.Server()
    return self

  def __exit__(self, *_: Any) -> None:
    self._server.close()

  def run(
    self, verb: str, arguments: Sequence[str], log: pathlib.Path, began: str = "", disturb: Callable[[int], None] | None = None, **how: Any
  ) -> Ended:
    """Runs a program to its end.

    Args:
      verb: which.
      arguments: its flags.
      log: file that takes what it writes.
      began: what it writes when its work begins.
      disturb: called with its process' number once it has begun; returns when it has done its harm.
      **how: see `forks`: "memory" (bytes), "clock" (offsets in seconds); "environment" is added to this one's.
    """
    (process,) = self._start(verb, arguments, [log], **how)
    while began and is_running(process) and not (log.exists() and began in log.read_text(errors="replace")):
      time.sleep(_POLL_SECONDS)
    started = time.monotonic()
    if disturb:
      disturb(process)
    (status,) = self._server.wait()
    return Ended(status, log.read_text(errors="replace"), time.monotonic() - started)

  def run_twice(self, verb: str, arguments: Sequence[str], log: pathlib.Path) -> list[Ended]:
    """Runs one command in two processes at once."""
    logs = [log, log.with_suffix(".second.txt")]
    self._start(verb, arguments, logs)
    started = time.monotonic()
    statuses = self._server.wait()
    return [Ended(status, log.read_text(errors="replace"), time.monotonic() - started) for status, log in zip(statuses, logs, strict=True)]

  def _start(
    self, verb: str, arguments: Sequence[str], logs: Sequence[pathlib.Path], environment: Mapping[str, str] | None = None, **how: Any
  ) -> list[int]:
    for log in logs:
      log.unlink(missing_ok=True)
    streams = [(os.devnull, log, log) for log in logs]
    env = {**os.environ, **(environment or {})}
    return self._server.start(["-m", f"tbvis.scripts.{verb}", *arguments], streams, forks.ROOT, env, alone=True, **how)


def is_running(process: int) -> bool:
  """Tells whether a process is there and no zombie."""
  try:
    return pathlib.Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
  except OSError:
    return False


def kill(process: int) -> None:
  """Kills a program and the workers that it has started."""
  with contextlib.suppress(ProcessLookupError):
    os.killpg(process, signal.SIGKILL)


def kill_after(seconds: float) -> Callable[[int], None]:
  """Returns what kills a program so long after its work began, if it still runs."""

  def disturb(process: int) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
      if not is_running(process):
        return
      time.sleep(_POLL_SECONDS)
    kill(process)

  return disturb


def _names(folder: pathlib.Path) -> frozenset[str]:
  return frozenset(os.path.join(place, name) for place, _, names in os.walk(folder) for name in names)


def kill_at_change(folder: pathlib.Path, count: int, dice: random.Random) -> Callable[[int], None]:
  """Returns what kills a program just when files of a folder come or go for the `count`th time: amid its writing."""

  def disturb(process: int) -> None:
    before, left = _names(folder), count
    while is_running(process):
      now = _names(folder)
      if now != before:
        before, left = now, left - 1
        if left <= 0:
          time.sleep(dice.uniform(0, 0.004))
          kill(process)
          return
      time.sleep(_POLL_SECONDS / 3)

  return disturb
