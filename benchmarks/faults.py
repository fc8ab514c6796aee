"""Whether faults lose, spoil or hide anything: kills at random moments, full and read-only disks, two processes, clocks, memory.

  python benchmarks/faults.py --kills=100 --json=FILE

Every verb does a small piece of work (`tests/faults/work.py`), is disturbed (`tests/faults/faults.py`), and is given the same command
again; the end is compared with that of a run that nobody disturbed.
"""

from __future__ import annotations

import pathlib
import random
import sys
import tempfile
import time

from absl import flags

from tbvis.errors import unknown_name
from tbvis.scripts import app, flag_values

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from tests.faults import faults, programs, work

_KILLS = flags.DEFINE_integer("kills", 100, "How often programs are killed, in all.", lower_bound=1)
_FAULTS = flags.DEFINE_list("faults", list(faults.FAULTS), "Which faults; all by default.")
_SEED = flags.DEFINE_integer("seed", 0, "Seed of the moments.")
_FOLDER = flags.DEFINE_string("folder", None, "Folder for all that is written; a temporary one by default.")
_JSON = app.define_json()

# Shares of the kills: of what is done most quickly most.
_SHARES = {"preparing": 12, "filming": 2, "training": 3, "sweeping": 3, "explaining": 2}


def _shared(kills: int) -> dict[str, int]:
  """Returns so many kills by kind of work, at least so many in all."""
  return {name: -(-kills * share // sum(_SHARES.values())) for name, share in _SHARES.items()}


def _report(tallies: list[faults.Tally]) -> None:
  print(f"{'fault':<24}{'work':<12}{'times':>6}{'lost':>6}{'corrupt':>9}{'unclear':>9}   how it recovered")
  for tally in tallies:
    counts = f"{tally.times:>6}{len(tally.lost):>6}{len(tally.corrupt):>9}{len(tally.unclear):>9}"
    print(f"{tally.fault:<24}{tally.work:<12}{counts}   {'; '.join(tally.recovered) or '-'}")
  for tally in tallies:
    for kind in ("lost", "corrupt", "unclear"):
      for text in dict.fromkeys(getattr(tally, kind)):
        print(f"{kind}: {tally.fault}, {tally.work}: {text}")


def _run(folder: pathlib.Path) -> list[faults.Tally]:
  dice, tallies = random.Random(_SEED.value), []
  with programs.Programs() as started:
    world = work.World(folder, started)
    for name in _FAULTS.value:
      for tally in faults.FAULTS[name](world, dice, _shared(_KILLS.value)):
        tallies.append(tally)
        print(f"{tally.fault}, {tally.work}: {tally.times} times, {'good' if tally.is_good else 'NOT GOOD'}", flush=True)
  return tallies


def main() -> None:
  """Runs the benchmark."""
  for name in _FAULTS.value:
    if name not in faults.FAULTS:
      raise unknown_name("fault", name, faults.FAULTS, "--faults")
  started = time.monotonic()
  folder = flag_values.expand_path(_FOLDER.value, "folder")
  if folder:
    folder.mkdir(parents=True, exist_ok=True)
    tallies = _run(folder)
  else:
    with tempfile.TemporaryDirectory() as name:
      tallies = _run(pathlib.Path(name))
  _report(tallies)
  numbers = {
    "kills": sum(tally.times for tally in tallies if tally.fault == "kill -9"),
    "faults": sum(tally.times for tally in tallies),
    "lost": sum(len(tally.lost) for tally in tallies),
    "corrupt": sum(len(tally.corrupt) for tally in tallies),
    "unclear_messages": sum(len(tally.unclear) for tally in tallies),
    "seconds": round(time.monotonic() - started),
  }
  print(", ".join(f"{name} {value}" for name, value in numbers.items()))
  app.report_json(_JSON.value, numbers)


if __name__ == "__main__":
  app.run(main)
