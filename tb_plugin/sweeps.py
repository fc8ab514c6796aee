"""What a run's sweeps are still going to find, from their plans and signs of life (see `tbvis.plans`)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
import functools
import itertools
import operator
import os
import pathlib
import time
from typing import Any

from tb_plugin import checks
from tb_plugin.refusals import DamagedError, RefusedError, TooLargeError
from tbvis import plans, summaries

Reader = Callable[[pathlib.Path], bytes | None]

_MOST_FILES = 2000
_KEPT_PLANS = 4
# Of one planned stimulus in the list besides its names.
_ROW_BYTES = 220
# The later counts, where two sweeps plan the same stimulus.
_STATES = ("interrupted", "planned", "running")
_ORDER = operator.itemgetter("layer_index", "channel", "unit", "isotropic", "kappa", "chi", "seed")
_KEY = operator.itemgetter("unit", "kappa", "chi", "isotropic", "seed")


def planned(
  folder: pathlib.Path | None,
  read: Reader,
  stimuli: Iterable[Mapping[str, Any]],
  take: Callable[[int], None],
  damaged: Callable[[str, RefusedError], None],
  now: float | None = None,
) -> list[dict[str, Any]]:
  """Lists what has no finished stimulus yet, in the network's order.

  Args:
    folder: of the run's sweeps, in the logdir; None or missing where there are none.
    read: returns an ordinary file's bytes, None if it is too large, and raises OSError if it is none.
    stimuli: those of the run that are there, as they are listed, gone through where there is a plan; one that was written before a
      plan is made again by it.
    take: is told how large a part of the list will be, and raises TooLargeError where it is too large.
    damaged: is told which file cannot be used, and why.
    now: the time in seconds, of this machine's clock by default.

  Returns:
    [{"unit", "layer", "layer_index", "channel", "class_name", "kappa", "chi", "isotropic", "seed", "variant", "state", "step",
    "steps"}, ...]: "state" is "running", "planned" (its sweep is at work on others), or "interrupted" (nothing of its sweep has shown a
    sign of life for a minute); "step" is the last that was told, of "steps".
  """
  now = time.time() if now is None else now
  written: dict[Any, float] | None = None
  found: dict[Any, dict[str, Any]] = {}
  if folder is None:
    return []
  names = _names(folder, damaged)
  for name in filter(plans.PLAN_NAME.fullmatch, names):
    try:
      plan = _plan(folder / name, read, take)
      if written is None:
        written = {_KEY(stimulus): stimulus["v"] for stimulus in stimuli}
      count = len(plan["settings"])
      take(sum(count * (len(unit) + 2 * len(layer) + _ROW_BYTES) for unit, layer, *_ in plan["targets"]))
      for row in _rows(plan, _signs(folder, name.partition(".")[0], names, read, damaged), now):
        key = _KEY(row)
        known = found.get(key)
        if written.get(key, 0) < plan["time"] and (known is None or _STATES.index(row["state"]) > _STATES.index(known["state"])):
          found[key] = row
    except RefusedError as error:
      damaged(f"{plans.FOLDER}/{name}", error)
  return sorted(found.values(), key=_ORDER)


def _names(folder: pathlib.Path, damaged: Callable[[str, RefusedError], None]) -> list[str]:
  try:
    with os.scandir(folder) as entries:
      names = [entry.name for entry in itertools.islice(entries, _MOST_FILES + 1)]
  except OSError:  # No sweep was ever begun here, or no folder.
    return []
  if len(names) > _MOST_FILES:
    damaged(plans.FOLDER, TooLargeError(f"Expected at most {_MOST_FILES:,} files of sweeps, found more: some are left out."))
  return sorted(names[:_MOST_FILES])


def _contents(path: pathlib.Path, read: Reader) -> bytes:
  try:
    data = read(path)
  except (OSError, ValueError) as error:
    raise DamagedError(f"Expected a file, found none that can be read ({type(error).__name__}).") from None
  if data is None:
    raise TooLargeError("Expected a small file, found a large one.")
  return data


def _plan(path: pathlib.Path, read: Reader, take: Callable[[int], None]) -> dict[str, Any]:
  """Returns a plan, read again only where its file has changed."""
  try:
    found = path.lstat()
  except OSError as error:
    raise DamagedError(f"Expected a file, found none that can be read ({type(error).__name__}).") from None
  if found.st_size > checks.LARGEST_PLAN:
    raise TooLargeError(f"Expected at most {checks.LARGEST_PLAN:,} bytes, found {found.st_size:,}.")
  take(found.st_size)
  plan = _parsed(path, read, found.st_mtime_ns, found.st_size, found.st_ino)
  if isinstance(plan, RefusedError):
    raise plan
  return plan


@functools.lru_cache(maxsize=_KEPT_PLANS)
def _parsed(path: pathlib.Path, read: Reader, *_: int) -> dict[str, Any] | RefusedError:
  # A file that is damaged is as dear to read as any other: its refusal is kept as well.
  try:
    return checks.plan(_contents(path, read), "Plan")
  except RefusedError as error:
    return error


def _signs(
  folder: pathlib.Path, sweep: str, names: Sequence[str], read: Reader, damaged: Callable[[str, RefusedError], None]
) -> Iterator[dict[str, Any]]:
  for name in names:
    match = plans.SIGN_NAME.fullmatch(name)
    if match and match[1] == sweep:
      try:
        yield checks.sign_of_life(_contents(folder / name, read), "Sign of life")
      except RefusedError as error:
        # A process that has just ended has taken its own away.
        if (folder / name).exists():
          damaged(f"{plans.FOLDER}/{name}", error)


def _rows(plan: Mapping[str, Any], signs: Iterator[Mapping[str, Any]], now: float) -> Iterator[dict[str, Any]]:
  """Yields the rows of a plan that it does not name as finished, each with its state."""
  settings, steps = plan["settings"], plan["steps"]
  size = len(plan["targets"]) * len(settings)
  searched: dict[int, tuple[str, int]] = {}
  # Several processes may search the same rows; that more than a few do is made up.
  left = 4 * size
  others = "interrupted"
  for sign in signs:
    # A sign from the future was written before a clock was set back: it is as old as one can tell.
    alive = abs(now - sign["time"]) < plans.OLD_SECONDS
    if alive:
      others = "planned"
    first, stop = max(0, sign["rows"][0]), min(size, sign["rows"][1])
    left -= max(0, stop - first)
    if left < 0:
      break
    shown = ("running" if alive else "interrupted", min(sign["step"], steps))
    for row in range(first, stop):
      searched[row] = max(searched.get(row, shown), shown)
  variants = [summaries.variant_name(kappa, chi, isotropic, plan["seed"]) for kappa, chi, isotropic in settings]
  finished = set(plan["finished"])
  for row in range(size):
    if row in finished:
      continue
    unit, layer, layer_index, channel, class_name = plan["targets"][row // len(settings)]
    kappa, chi, isotropic = settings[row % len(settings)]
    state, step = searched.get(row, (others, 0))
    yield {
      "unit": unit, "layer": layer, "layer_index": layer_index, "channel": channel, "class_name": class_name, "kappa": kappa, "chi": chi,
      "isotropic": isotropic, "seed": plan["seed"], "variant": variants[row % len(settings)], "state": state, "step": step, "steps": steps,
    }  # fmt: skip
