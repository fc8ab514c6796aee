"""Whether this machine can hold what a file declares, asked before anything of that size is made."""

from __future__ import annotations

import pathlib


def available_bytes() -> int | None:
  """Returns the memory that is free for use, None where the system does not tell."""
  try:
    lines = pathlib.Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
  except (OSError, StopIteration):
    return None


def require_room(size: int, what: str) -> None:
  """Refuses what does not fit: reading takes up to three times the declared size for a moment.

  Args:
    size: declared bytes.
    what: what declares them.

  Raises:
    ValueError: if three times `size` is more than is free.
  """
  free = available_bytes()
  if free is not None and 3 * size > free:
    raise ValueError(f"{what} takes {size >> 20} MiB, for which this machine has no room ({free >> 20} MiB free)")
