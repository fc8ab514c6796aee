"""benchmarks/transfer.py as a user calls it, on tiny networks."""

from __future__ import annotations

import json
import os
import pathlib

import numpy as np
import pytest

from tbvis.models import checkpoint as checkpoint_lib
from tests import calls

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "benchmarks" / "transfer.py"
CLASSES = ("Left", "Right")


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
  folder = tmp_path_factory.mktemp("networks")
  for name, seed in (("maker", 0), ("judge", 1)):
    arguments = {"width": 0.05, "input_size": 32, "fc_units": 4, "seed": seed}
    network = checkpoint_lib.build("two_stream_fusion_vgg16", arguments, CLASSES)
    if name == "judge":
      # It calls everything "Right".
      for layer in ("prediction", "prediction_motion", "prediction_appearance"):
        network.model.get_layer(layer).bias.assign([0.0, 1e6])
    checkpoint_lib.save_checkpoint(network, folder / f"{name}.keras")
  return folder


def _run(*arguments):
  # In a checkout that is not installed the project is found all the same.
  environment = {**os.environ, "PYTHONPATH": str(SCRIPT.parents[1])}
  done = calls.run(SCRIPT, *arguments, env=environment)
  assert "Traceback" not in done.stderr, done.stderr[-3000:]
  return done


@pytest.mark.slow
def test_stimuli_that_are_there_are_judged(networks, tmp_path):
  rng = np.random.default_rng(0)
  np.savez(
    tmp_path / "stimuli.npz", classes=["Left", "Right", "Right", "Right"], variants=["chi=0", "chi=0", "chi=10", "chi=10"],
    appearance=rng.normal(size=(4, 40, 40, 3)) * 40, motion=rng.normal(size=(4, 40, 40, 10, 2)) * 40,
  )  # fmt: skip
  done = _run(f"--judge={networks / 'judge.keras'}", f"--stimuli={tmp_path / 'stimuli.npz'}", f"--json={tmp_path / 'out.json'}")
  assert done.returncode == 0, done.stderr[-3000:]
  numbers = json.loads((tmp_path / "out.json").read_text())
  for view in ("", "motion_", "appearance_"):
    assert numbers[f"transfer_{view}top1"] == 0.75
    assert numbers[f"transfer_shuffled_{view}top1"] == pytest.approx(0.75)
    assert (numbers[f"transfer_{view}top1_chi0"], numbers[f"transfer_{view}top1_chi10"]) == (0.5, 1.0)
  assert numbers["transfer_stimuli"] == 4 and numbers["classes"] == 2
  assert "transfer_untrained_top1" not in numbers and "needs --maker" in done.stdout


@pytest.mark.slow
def test_stimuli_are_made_and_compared_with_untrained_ones(networks, tmp_path):
  done = _run(
    f"--judge={networks / 'judge.keras'}", f"--maker={networks / 'maker.keras'}", "--quick", "--steps=2", "--dtype=float32",
    f"--json={tmp_path / 'out.json'}",
  )  # fmt: skip
  assert done.returncode == 0, done.stderr[-3000:]
  numbers = json.loads((tmp_path / "out.json").read_text())
  assert numbers["transfer_stimuli"] == numbers["transfer_untrained_stimuli"] == 2
  assert numbers["transfer_top1"] == numbers["transfer_untrained_top1"] == numbers["transfer_untrained_motion_top1"] == 0.5


@pytest.mark.slow
def test_mistakes_are_one_line(networks, tmp_path):
  for arguments, expected in (
    ((), "--judge is required"),
    (("--judge=x",), "Expected --maker"),
    (("--judge=x", "--maker=y", "--chi=fast"), "--chi: expected numbers"),
    (("--judge=x", f"--stimuli_logdir={tmp_path}"), "--run is required"),
  ):
    done = _run(*arguments)
    assert done.returncode == 2 and expected in done.stderr and len(done.stderr.strip().splitlines()) == 1, done.stderr
