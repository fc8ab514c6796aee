"""benchmarks/plugin.py as a user calls it, on a logdir of a few stimuli."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys

import pytest

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "benchmarks" / "plugin.py"


def _run(*arguments):
  environment = {**os.environ, "PYTHONPATH": str(SCRIPT.parents[1])}
  return subprocess.run([sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True, check=False, env=environment)


@pytest.mark.slow
@pytest.mark.browser
def test_the_tab_is_measured_on_a_generated_logdir(chromium, tmp_path):
  done = _run("--quick", "--items=60", f"--work_dir={tmp_path / 'kept'}", f"--json={tmp_path / 'out.json'}")
  assert done.returncode == 0, done.stderr[-3000:]
  numbers = json.loads((tmp_path / "out.json").read_text())
  asked = ("listing_seconds", "listing_megabytes", "resident_gib", "first_picture_seconds", "frames_per_second")
  assert all(numbers[f"{name}_60"] > 0 for name in asked) and numbers["frames_per_second"] == numbers["frames_per_second_60"]
  assert numbers["listing_unchanged_megabytes_60"] == 0 < numbers["listing_megabytes_60"] < numbers["listing_plain_megabytes_60"]
  assert 0 < numbers["cells_visible_60"] <= numbers["cells_decoded_at_first_60"] <= 60

  # What was generated is the real thing, and is kept.
  before = {path: path.stat().st_mtime_ns for path in (tmp_path / "kept").rglob("*tfevents*")}
  assert len(before) == 3
  sys.path.insert(0, str(SCRIPT.parent))
  try:
    import logdirs
  finally:
    sys.path.remove(str(SCRIPT.parent))
  from tbvis import summaries

  logdirs.write(tmp_path / "kept" / "60", 60)
  assert {path: path.stat().st_mtime_ns for path in before} == before
  run = summaries.read_run(tmp_path / "kept" / "60", logdirs.RUN)
  assert len(run.stimuli) == logdirs.MADE and run.stimuli[0].motion.shape[2:] == (10, 2)
  assert {stimulus.unit for stimulus in run.stimuli} <= set(run.statistics)


def test_numbers_of_stimuli_that_make_no_sense_are_refused():
  done = _run("--items=0")
  assert done.returncode == 2 and "--items" in done.stderr and "Traceback" not in done.stderr
