"""benchmarks/chi.py as a user calls it, on a tiny network and a really prepared set."""

from __future__ import annotations

import json
import os
import pathlib

import pytest

from tbvis.models import checkpoint as checkpoint_lib
from tests import calls
from tests.datasets.conftest import prepare_folder, write_video

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "benchmarks" / "chi.py"


@pytest.mark.slow
def test_the_network_and_its_control_are_measured(tmp_path):
  for name in ("Left", "Right"):
    write_video(tmp_path / "videos" / name / f"v_{name}_g08_c01.avi", shift=3.0, seed=1)
  prepare_folder(tmp_path / "videos", tmp_path / "data", "moves")
  network = checkpoint_lib.build(
    "two_stream_fusion_vgg16", {"width": 0.05, "input_size": 32, "fc_units": 4}, ("Left", "Right"), validation_groups=[8]
  )
  checkpoint_lib.save_checkpoint(network, tmp_path / "net.keras")
  environment = {**os.environ, "PYTHONPATH": str(SCRIPT.parents[1])}
  arguments = [f"--checkpoint={tmp_path / 'net.keras'}", f"--data_dir={tmp_path / 'data'}", f"--json={tmp_path / 'out.json'}"]

  def run(*more):
    return calls.run(SCRIPT, *arguments, *more, env=environment)

  done = run("--dataset=moves_split1_dis", "--units=conv2_2/f001-f002,prediction/*", "--steps=10")
  assert done.returncode == 0, done.stderr[-3000:]
  numbers = json.loads((tmp_path / "out.json").read_text())
  for name in ("trained", "control"):
    assert numbers[f"{name}_units_conv2_2"] == 2 and numbers[f"{name}_units_prediction"] == 2
    assert numbers[f"{name}_change_median_conv2_2_smallest_chi"] > numbers[f"{name}_change_median_conv2_2_largest_chi"]
    assert -1 <= numbers[f"{name}_change_agreement_median_conv2_2_chi=0"] <= 1
  done = run("--dataset=moves_split1_dis", "--chi=3", "--quick")
  assert done.returncode == 2 and "at least two different numbers" in done.stderr and "Traceback" not in done.stderr
