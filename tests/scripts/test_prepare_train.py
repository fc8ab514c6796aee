"""tbvis-prepare and tbvis-train as a user calls them."""

from __future__ import annotations

import json

import pytest

from tbvis.models import checkpoint as checkpoint_lib
from tests import calls
from tests.datasets.conftest import write_video

# Every test starts programs or passes clips through a network.
pytestmark = pytest.mark.slow


def _run(verb, *arguments, check=None):
  done = calls.call(verb, *arguments)
  if check is not None:
    assert done.returncode == check, done.stderr[-3000:]
  return done


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
  folder = tmp_path_factory.mktemp("videos")
  for label, name in enumerate(("Left", "Right")):
    for group in (1, 8, 9, 23):
      write_video(folder / name / f"v_{name}_g{group:02d}_c01.avi", shift=3.0 if label else -3.0, seed=group)
  return folder


def _one_line(done):
  lines = done.stderr.strip().splitlines()
  assert "Traceback" not in done.stderr
  return lines[-1]


def test_prepare_and_train_then_go_on(videos, tmp_path):
  data, out = tmp_path / "data", tmp_path / "out"
  done = _run("prepare", f"--videos={videos}", "--name=moves", f"--data_dir={data}", f"--json={tmp_path / 'prepare.json'}", check=0)
  assert "6 train, 2 test" in done.stdout
  assert json.loads((tmp_path / "prepare.json").read_text())["clips"] == 8
  flags = [
    f"--data_dir={data}", "--dataset=moves_split1_dis", f"--output_dir={out}", "--width=0.1", "--fc_units=16", "--input_size=32",
    "--dropout=0", "--dtype=float32", "--validation_groups=23", "--appearance_train_from=conv5_1", "--appearance_cached_crops=2",
    "--fusion_cached_crops=2", "--motion_first_layer_factor=20",
    *(f"--{p}_{k}={v}" for p in ("appearance", "motion", "fusion") for k, v in (("steps", 3), ("batch_size", 4))),
  ]  # fmt: skip
  first = _run("train", *flags, "--phases=appearance,motion", check=0)
  assert "conv1_1_motion: |W - mean over channels|" in first.stdout
  second = _run("train", *flags, f"--json={tmp_path / 'train.json'}", check=0)
  assert "Phase motion is finished already." in second.stdout
  numbers = json.loads((tmp_path / "train.json").read_text())
  assert numbers["fusion_seconds"] > 0 and 0 <= numbers["validation_accuracy_hybrid"] <= 1 and 0 < numbers["temporal_fraction"] < 1
  network = checkpoint_lib.load_checkpoint(out / "checkpoint.keras")
  assert network.classes == ("Left", "Right")
  assert network.metadata["train_groups"] == [8, 9] and network.metadata["validation_groups"] == [23]
  other = _run("train", *flags, "--width=0.2", check=2)
  assert "another network" in _one_line(other) and "width 0.1 (expected 0.2)" in _one_line(other)


@pytest.mark.parametrize(
  ("verb", "arguments", "expected"),
  [
    ("prepare", ["--videos=/nowhere/at/all"], "--videos: expected a folder"),
    ("prepare", [], "Expected one of --videos, --frames_dir or --tfds, received none"),
    ("prepare", ["--dataset=hmdb51", "--videos=."], "--lists is required for hmdb51"),
    ("prepare", ["--dataset=hmdb51", "--tfds=ucf101/ucf101_1"], "--tfds is for --dataset=ucf101"),
    ("prepare", ["--videos=.", "--split=2"], "a folder has one split"),
    ("prepare", ["--videos=.", "--name=../up"], "--name: expected letters"),
    ("prepare", ["--videos=.", "--download"], "--download: expected --tfds with it"),
    ("prepare", ["--videos=.", "--lists=."], "--lists is for --dataset=ucf101"),
    ("prepare", ["--dataset=ucf101", "--videos=.", "--clip_pattern=x"], "--clip_pattern is for --dataset=folder"),
    ("prepare", ["--videos=.", "--flow_dir=."], "--flow_dir is for --dataset=ucf101"),
    ("prepare", ["--dataset=ucf101", "--videos=.", "--flow_dir=."], "--flow_dir: expected --frames_dir"),
    ("prepare", ["--videos=$NO_SUCH_VARIABLE/x"], "environment variable that is not set"),
    ("prepare", ["--videos=.", "--flow=farneback"], "farneback"),
    ("prepare", ["--videos=.", "--grups=1"], "Nearest: --groups"),
    ("prepare", ["--videos=.", "--groups=z"], "--groups: expected numbers"),
    ("train", ["--output_dir=OUT", "--dataset=x"], "--data_dir: expected a folder, found none at"),
    ("train", ["--output_dir=OUT", "--dataset=x", "--data_dir=docs"], "no prepared set under"),
    ("train", ["--output_dir=OUT", "--phases=movement"], "Unknown phase 'movement'"),
    ("train", ["--output_dir=OUT", "--crop_sizes=12"], "--crop_sizes: expected sides"),
    ("train", ["--output_dir=/proc/nothing", "--dataset=x", "--data_dir=docs"], "expected a folder that can be written"),
  ],
)  # fmt: skip
def test_bad_input_is_one_line_and_status_2(tmp_path, verb, arguments, expected):
  done = _run(verb, f"--data_dir={tmp_path / 'data'}", *[a.replace("OUT", str(tmp_path / "out")) for a in arguments], check=2)
  assert expected in _one_line(done)


def test_strict_fails_on_a_broken_video_and_names_it(videos, tmp_path):
  broken = videos / "Left" / "v_Left_g11_c01.avi"
  broken.write_bytes(b"no video")
  try:
    arguments = (f"--videos={videos}", f"--data_dir={tmp_path}", "--name=strict")
    done = _run("prepare", *arguments, "--strict", check=1)
    assert "skipped v_Left_g11_c01: it cannot be opened" in done.stdout
    nothing = _run("prepare", f"--videos={videos}", f"--data_dir={tmp_path}", "--name=none", "--groups=1,11", check=2)
    assert "None of the 1 train clips can be used; the first, v_Left_g11_c01, cannot be opened" in _one_line(nothing)
  finally:
    broken.unlink()
