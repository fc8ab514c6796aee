"""What a program and its children take of the machine, as /proc tells."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import dataclasses
import os
import pathlib
import time

import numpy as np

from tbvis.errors import UsageError

# Programs load and compile at first.
_WARM = 0.2


def _family(pid: int) -> Iterator[pathlib.Path]:
  """Yields the /proc folders of a process and its children."""
  folder = pathlib.Path(f"/proc/{pid}")
  yield folder
  # Either may end meanwhile.
  with contextlib.suppress(OSError):
    for task in (folder / "task").iterdir():
      for child in (task / "children").read_text().split():
        yield from _family(int(child))


def memory(pid: int, field: str = "VmRSS") -> float:
  """Returns MiB of a process and its children by a field of /proc/PID/status (VmRSS, VmHWM); pages that they share count twice."""
  total = 0
  for folder in _family(pid):
    with contextlib.suppress(OSError):
      total += sum(int(line.split()[1]) for line in (folder / "status").read_text().splitlines() if line.startswith(f"{field}:"))
  return total / 1024


def open_files(pid: int) -> int:
  """Returns how many files a process and its children have open."""
  total = 0
  for folder in _family(pid):
    with contextlib.suppress(OSError):
      total += len(os.listdir(folder / "fd"))
  return total


@dataclasses.dataclass(frozen=True)
class Look:
  """What a look at running programs saw.

  Attributes:
    seconds: since the start.
    items: finished.
    mib: resident memory of the program and its children; pages that they share count twice.
    files: their open files.
  """

  seconds: float
  items: int
  mib: float
  files: int


def look(started: float, items: int, pid: int) -> Look:
  """Looks at a process now, `started` being the time (monotonic) that seconds are counted from."""
  return Look(time.monotonic() - started, items, memory(pid), open_files(pid))


def slopes(looks: list[Look], total: int) -> dict[str, float]:
  """Returns how memory, open files and the time of an item change from the first fifth of the items to the last of them.

  Args:
    looks: in order of time.
    total: how many items there are.

  >>> looks = [Look(2.0 * i, i, 100 + 0.5 * i, 7) for i in range(11)]
  >>> {name: round(value, 3) for name, value in slopes(looks, 10).items()}  # doctest: +NORMALIZE_WHITESPACE
  {'mib_per_1000_items': 500.0, 'open_files_per_1000_items': 0.0, 'seconds_per_item_early': 2.0, 'seconds_per_item_late': 2.0,
   'peak_mib': 105.0, 'most_open_files': 7.0}
  """
  warm = [look for look in looks if _WARM * total <= look.items < total]
  if len(warm) < 4 or len({look.items for look in warm}) < 4:
    raise UsageError("Expected at least four looks at unfinished work; take more items, or a smaller --every.")
  items = np.array([look.items for look in warm], float)
  numbers = {
    f"{name}_per_1000_items": 1000 * float(np.polyfit(items, [getattr(look, field) for look in warm], 1)[0])
    for name, field in (("mib", "mib"), ("open_files", "files"))
  }
  half = len(warm) // 2
  for name, part in (("early", warm[: half + 1]), ("late", warm[half:])):
    numbers[f"seconds_per_item_{name}"] = (part[-1].seconds - part[0].seconds) / max(part[-1].items - part[0].items, 1)
  return {**numbers, "peak_mib": max(look.mib for look in looks), "most_open_files": float(max(look.files for look in looks))}
