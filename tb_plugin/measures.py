"""What units can be ordered by: how strongly each stimulus excites its unit, and how selective the unit is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
import math
from typing import Any

from tb_plugin.refusals import DamagedError

# One request to the fast loader carries so many tags; each answers within the messages' limit.
BATCH = 8000
# Curves that cannot be read are left out one by one; a logdir with more of them is not searched for the rest.
_MOST_DAMAGED = 20

Read = Callable[[Sequence[str]], Mapping[str, float]]


def last_values(read: Read, tags: Sequence[str]) -> dict[str, float]:
  """Returns the finite numbers that `read` has for tags, in batches; what of them cannot be read is left out.

  Args:
    read: returns numbers by tag; may raise anything if one of the tags is spoilt.
    tags: whose numbers are asked for.

  Raises:
    DamagedError: if more are spoilt than can be left out one by one.
  """
  found: dict[str, float] = {}
  parts = [list(tags[start : start + BATCH]) for start in range(0, len(tags), BATCH)]
  failed = 0
  while parts:
    part = parts.pop()
    try:
      found |= read(part)
    except Exception:  # The loader's own failure on a value of another shape or type, of whatever kind.
      failed += len(part) == 1
      if failed > _MOST_DAMAGED:
        raise DamagedError(f"Expected curves of activations, found more than {_MOST_DAMAGED} that TensorBoard cannot read.") from None
      half = len(part) // 2
      parts += [part[:half], part[half:]] if half else []
  return {tag: value for tag, value in found.items() if math.isfinite(value)}


def of_units(statistics: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, float | str | None]]:
  """Returns {"a_hat": largest value on clips, "selectivity": index, "class": of the largest mean response} by unit.

  Args:
    statistics: checked, see `checks.statistics`; of damaged entries nothing is known.
  """
  described = {}
  for unit, entry in statistics.items():
    means = {name: mean for name, mean in entry.get("class_means", {}).items() if mean is not None}
    best = max(means, key=means.__getitem__, default=None)
    described[unit] = {"a_hat": entry.get("a_hat"), "selectivity": entry.get("selectivity"), "class": best}
  return described
