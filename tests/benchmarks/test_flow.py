"""benchmarks/flow.py as a user calls it, on a small picture and a short clip."""

from __future__ import annotations

import json
import os
import pathlib

import cv2
import numpy as np
import pytest

from tests import calls
from tests.datasets.conftest import write_video

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "benchmarks" / "flow.py"
MOTION = (1.0, -0.5)


def _write_rubberwhale(folder: pathlib.Path) -> pathlib.Path:
  """A texture that moves by `MOTION`; its truth is not known at the edges."""
  texture = cv2.GaussianBlur(np.random.default_rng(0).uniform(0, 255, (80, 100, 3)).astype(np.float32), (0, 0), 2)
  texture = cv2.normalize(texture, None, 0, 255, cv2.NORM_MINMAX)
  moved = cv2.warpAffine(texture, np.float32([[1, 0, MOTION[0]], [0, 1, MOTION[1]]]), (100, 80))
  truth = np.full((60, 80, 2), 1e10, np.float32)
  truth[8:-8, 8:-8] = MOTION
  folder.mkdir()
  for index, image in enumerate((texture, moved), start=1):
    cv2.imwrite(str(folder / f"rubberwhale{index}.png"), image[10:-10, 10:-10])
  (folder / "flow10.flo").write_bytes(b"PIEH" + np.array([80, 60], "<i4").tobytes() + truth.tobytes())
  return folder


def _run(*arguments):
  environment = {**os.environ, "PYTHONPATH": str(SCRIPT.parents[1])}
  return calls.run(SCRIPT, *arguments, env=environment)


@pytest.mark.slow
def test_differences_errors_and_speeds(tmp_path):
  folder = _write_rubberwhale(tmp_path / "middlebury")
  video = write_video(tmp_path / "clip.avi", size=(64, 64))
  done = _run("--quick", f"--middlebury={folder}", f"--videos={video}", f"--json={tmp_path / 'out.json'}")
  assert done.returncode == 0, done.stderr[-3000:]
  numbers = json.loads((tmp_path / "out.json").read_text())
  assert numbers["rubberwhale_difference_px"] < 0.02
  for method in ("tvl1_tf", "tvl1", "dis"):
    assert numbers[f"rubberwhale_error_{method}_px"] < 0.3 * np.hypot(*MOTION)
    assert numbers[f"{method}_frames_per_second"] > 0 and numbers[f"{method}_processor_seconds_per_frame"] > 0
  assert numbers["clip_pairs"] == 2 and (numbers["frame_height_px"], numbers["frame_width_px"]) == (256, 256)
  assert numbers["clip_flow_mean_px"] > 1 and numbers["clip_difference_px"] < 0.1


@pytest.mark.slow
def test_mistakes_are_told_in_one_line(tmp_path):
  for arguments, said in (
    ((), "--middlebury, --videos or both"),
    ((f"--middlebury={tmp_path}",), f"rubberwhale1.png in {tmp_path}"),
    ((f"--middlebury={tmp_path}", "--cores=0"), "--cores: expected numbers from 1"),
  ):
    done = _run(*arguments)
    assert done.returncode == 2 and said in done.stderr and "Traceback" not in done.stderr
