"""benchmarks/load.py: its slopes, and preparation watched as a user calls it."""

from __future__ import annotations

import json
import os
import pathlib

import pytest

from benchmarks import processes
from tbvis.errors import UsageError
from tests import calls

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "benchmarks" / "load.py"


def run(*arguments):
  environment = {**os.environ, "PYTHONPATH": str(SCRIPT.parents[1])}
  return calls.run(SCRIPT, *arguments, env=environment)


@pytest.mark.slow
def test_a_preparation_is_watched_from_its_start_to_its_end(tmp_path):
  out = tmp_path / "out.json"
  done = run("--units=0", "--clips=40", "--filmed=3", "--every=0.2", f"--work_dir={tmp_path / 'work'}", f"--json={out}")
  assert done.returncode == 0, done.stderr[-3000:]
  numbers = json.loads(out.read_text())
  assert numbers["prepare_clips"] == 40 and numbers["prepare_skipped"] == 0
  assert numbers["prepare_peak_mib"] > 50 and numbers["prepare_most_open_files"] > 3 and numbers["prepare_seconds_per_item_late"] > 0
  done = run("--units=0", "--clips=40", f"--work_dir={tmp_path / 'work'}")
  assert done.returncode == 2 and "expected an empty folder" in done.stderr and "Traceback" not in done.stderr


def test_what_grows_is_told_from_what_stays():
  # A program that loads 300 MiB at its start, leaks 2 MiB and a file an item, and slows down to half its speed.
  leaking = [processes.Look(float(i if i < 50 else 50 + 2 * (i - 50)), i, 300.0 * (i > 5) + 2 * i, 4 + i) for i in range(101)]
  found = processes.slopes(leaking, 100)
  assert found["mib_per_1000_items"] == pytest.approx(2000) and found["open_files_per_1000_items"] == pytest.approx(1000)
  assert found["seconds_per_item_late"] / found["seconds_per_item_early"] > 1.4
  flat = processes.slopes([processes.Look(float(i), i, 300.0 * (i > 5), 4) for i in range(101)], 100)
  assert abs(flat["mib_per_1000_items"]) < 1e-6 and flat["open_files_per_1000_items"] == pytest.approx(0)
  with pytest.raises(UsageError, match="four looks"):
    processes.slopes(leaking[:22], 100)
