"""benchmarks/study.py as a user calls it, on a tiny network."""

from __future__ import annotations

import json
import os
import pathlib

import numpy as np
import pytest

from tbvis.diagnostics import statistics
from tbvis.models import checkpoint as checkpoint_lib
from tbvis.rendering import animation
from tests import calls

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "benchmarks" / "study.py"


@pytest.mark.slow
def test_variants_are_drawn_and_told(tmp_path):
  classes = ("Left", "Right")
  network = checkpoint_lib.build("two_stream_fusion_vgg16", {"width": 0.05, "input_size": 32, "fc_units": 4}, classes)
  checkpoint_lib.save_checkpoint(network, tmp_path / "net.keras")
  best = {"value": np.arange(1, 9, dtype=np.float32), "frame": np.full(8, 9, np.int32), "yx": np.full((8, 2), 3, np.int32)}
  layer = statistics.LayerStatistics.empty(8, 2).with_clip(0, 1, best, offset=0.5, stride=2)
  statistics.UnitStatistics(classes, ("v_Right_g08_c01",), np.array([1]), {"conv2_2_motion": layer}).save(tmp_path / "statistics.npz")

  def run(*more):
    environment = {**os.environ, "PYTHONPATH": str(SCRIPT.parents[1])}
    given = (f"--checkpoint={tmp_path / 'net.keras'}", f"--statistics={tmp_path / 'statistics.npz'}")
    return calls.run(SCRIPT, *given, *more, env=environment)

  pictures = tmp_path / "pictures"
  done = run("--quick", "--units=conv2_2_motion/f003", "--dtype=float32", f"--pictures={pictures}", f"--json={tmp_path / 'out.json'}")
  assert done.returncode == 0, done.stderr[-3000:]
  numbers = json.loads((tmp_path / "out.json").read_text())
  for preset in ("default", "paper", "nnpreimage"):
    assert numbers[f"{preset}_change_smallest_chi_conv2_2_motion"] > 0 and f"{preset}_activation_over_a_hat_conv2_2_motion" in numbers
  sheet = animation.decode((pictures / "conv2_2_motion_f003.png").read_bytes())[0]
  assert sheet.shape[0] > 3 * 31 and (pictures / "rows.txt").read_text().count("row ") == 3
  done = run("--variants=defualt", f"--pictures={pictures}")
  assert done.returncode == 2 and "Nearest: default" in done.stderr and "Traceback" not in done.stderr
