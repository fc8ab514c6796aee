"""Progress bars with a rate and a remaining time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
import contextlib
import sys
import threading
from typing import Any

import tqdm

_WATCH_SECONDS = 5.0


def bar(
  iterable: Iterable[Any] | None = None,
  *,
  total: int | None = None,
  description: str = "",
  unit: str = "it",
  initial: int = 0,
  hidden: bool = False,
) -> tqdm.tqdm:
  """Returns a progress bar on standard error that shows count, rate and time left, from `initial` on, or a hidden one.

  Where standard error is not a terminal a line is printed every 15 seconds at most.
  """
  interactive = sys.stderr.isatty()
  return tqdm.tqdm(
    iterable,
    total=total,
    initial=initial,
    desc=description,
    unit=unit,
    mininterval=0.2 if interactive else 15,
    maxinterval=1 if interactive else 30,
    dynamic_ncols=interactive,
    ascii=not interactive,
    disable=hidden,
  )


def end_all() -> None:
  """Ends bars that an error has left open, so that what is said next has a line of its own."""
  # tqdm's own list, which it keeps for placing several bars.
  for shown in list(getattr(tqdm.tqdm, "_instances", ())):
    shown.close()


@contextlib.contextmanager
def watch(count: Callable[[], int], *, total: int, description: str, unit: str) -> Iterator[None]:
  """Shows the progress of work that others do, while the block runs.

  Args:
    count: returns how many are done; called every few seconds.
    total: how many there will be.
    description: what stands before the bar.
    unit: of what is counted.
  """
  done = threading.Event()
  with bar(total=total, description=description, unit=unit, initial=count()) as shown:

    def follow() -> None:
      while not done.wait(_WATCH_SECONDS):
        shown.update(count() - shown.n)

    watcher = threading.Thread(target=follow, daemon=True)
    watcher.start()
    try:
      yield
    finally:
      done.set()
      watcher.join()
      shown.update(count() - shown.n)
