"""benchmarks/weights.py writes files that are read and imported, and tells what that took."""

import json
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_each_file_is_read_and_imported(tmp_path):
  pytest.importorskip("scipy", reason="writes MATLAB's files")
  arguments = ["--formats=caffemodel,mat", "--width=0.0625", "--units=16", f"--json={tmp_path / 'numbers.json'}"]
  done = subprocess.run([sys.executable, "benchmarks/weights.py", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
  assert done.returncode == 0, done.stderr[-3000:]
  numbers = json.loads((tmp_path / "numbers.json").read_text())
  for ending in ("caffemodel", "mat"):
    assert 0 <= numbers[f"{ending}_read_seconds"] < numbers[f"{ending}_import_seconds"]
    assert numbers[f"{ending}_import_peak_mib"] > numbers[f"{ending}_file_mib"] > 0
