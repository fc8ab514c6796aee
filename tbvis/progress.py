"""Progress bars with a rate and a remaining time."""

from __future__ import annotations

from collections.abc import Iterable
import sys
from typing import Any

import tqdm


def bar(
  iterable: Iterable[Any] | None = None, *, total: int | None = None, description: str = "", unit: str = "it", hidden: bool = False
) -> tqdm.tqdm:
  """Returns a progress bar on standard error that shows count, rate and time left, or a hidden one.

  Where standard error is not a terminal a line is printed every 15 seconds at most.
  """
  interactive = sys.stderr.isatty()
  return tqdm.tqdm(
    iterable,
    total=total,
    desc=description,
    unit=unit,
    mininterval=0.2 if interactive else 15,
    maxinterval=1 if interactive else 30,
    dynamic_ncols=interactive,
    ascii=not interactive,
    disable=hidden,
  )
