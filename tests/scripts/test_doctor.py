"""tbvis-doctor as a user calls it: where all is well, and where it is not."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

from tb_plugin import explanations
from tbvis import events
from tests.tb_plugin import synthetic

ROOT = pathlib.Path(__file__).resolve().parents[2]


def _ask(folder, *arguments, tensorflow=None, installed=True):
  """Calls the doctor; `tensorflow` is Python code that stands for the library, `installed` whether the entry point is found."""
  paths = [str(ROOT)]
  if tensorflow is not None:
    (folder / "bare").mkdir(exist_ok=True)
    (folder / "bare" / "tensorflow.py").write_text(tensorflow)
    paths.insert(0, str(folder / "bare"))
  if installed:
    info = folder / "entry" / "tbvis_checkout-0.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tbvis-checkout\nVersion: 0\n")
    (info / "entry_points.txt").write_text("[tensorboard_plugins]\ntbvis = tb_plugin.loader:Loader\n")
    paths.append(str(folder / "entry"))
  command = [sys.executable, "-m", "tbvis.scripts.doctor", f"--json={folder / 'told.json'}", *map(str, arguments)]
  environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*paths, os.environ.get("PYTHONPATH", "")])}
  done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=folder)
  assert "Traceback" not in done.stdout + done.stderr, done.stderr[-3000:]
  return done, json.loads((folder / "told.json").read_text())


@pytest.fixture(scope="module")
def written(tmp_path_factory):
  return synthetic.write_logdir(tmp_path_factory.mktemp("doctor") / "logdir", size=40)


@pytest.fixture
def logdir(tmp_path, written):
  return pathlib.Path(shutil.copytree(written, tmp_path / "logdir"))


def _prepared(data_dir):
  """Writes what a prepared set of two classes has beside its clips, which are not looked at; returns its folder."""
  folder = data_dir / "action_clips" / "moves_split1_dis" / "1.0.0"
  folder.mkdir(parents=True)
  splits = [{"name": "train", "shardLengths": ["2", "1"]}, {"name": "test", "shardLengths": ["2"]}]
  (folder / "dataset_info.json").write_text(json.dumps({"splits": splits}))
  (folder / "label.labels.txt").write_text("Left\nRight\n")
  for name in ("train.tfrecord-00000-of-00002", "train.tfrecord-00001-of-00002", "test.tfrecord-00000-of-00001"):
    (folder / f"action_clips-{name}").touch()
  return folder


def _events(logdir):
  return sorted(logdir.rglob("*tfevents*"))


@pytest.mark.slow
def test_all_that_is_needed_works(tmp_path, logdir):
  _prepared(tmp_path / "data")
  done, told = _ask(tmp_path, f"--logdir={logdir}", f"--data_dir={tmp_path / 'data'}")
  # A checkout that is installed beside has the entry point twice, which is a problem indeed.
  twice = [problem for problem in told["problems"] if "installed packages have the entry point" in problem]
  assert (done.returncode, told["problems"]) == (int(bool(twice)), twice), done.stdout
  assert told["tensorflow"] and told["keras_backend"] == "tensorflow" and told["opencv_tvl1"] and told["plugin"]
  assert told["auto_dtype"] in ("float32", "mixed_bfloat16") and told["memory_gib"] >= told["free_memory_gib"] > 0
  assert told["stimuli"] == len(synthetic.UNITS) * len(synthetic.CHIS) and told["damaged"] == 0 and told["prepared_sets"] == 1
  assert "moves_split1_dis 1.0.0" in done.stdout and "2 classes, 3 train, 2 test clips" in done.stdout
  assert f"{told['stimuli']} stimuli of {len(synthetic.UNITS)} units" in done.stdout and "confusions of" in done.stdout
  assert twice or done.stdout.endswith("Everything that is needed works.\n")


@pytest.mark.slow
@pytest.mark.parametrize("code", ["raise ImportError('libcudart is missing')", "import os; os.abort()"])
def test_a_tensorflow_that_does_not_start_is_told_and_the_rest_as_well(tmp_path, logdir, code):
  whole = _events(logdir)[-1]
  whole.write_bytes(whole.read_bytes()[:-7])
  folder = next(logdir.rglob("clips")).parent / explanations.FOLDER
  folder.mkdir(exist_ok=True)
  (folder / explanations.file_name(0, 1, "fused")).write_text("{")
  (_prepared(tmp_path / "data") / "action_clips-train.tfrecord-00001-of-00002").unlink()
  done, told = _ask(tmp_path, f"--logdir={logdir}", f"--data_dir={tmp_path / 'data'}", tensorflow=code, installed=False)
  assert done.returncode == 1
  assert told["tensorflow"] is None and told["numpy"] and told["stimuli"] > 0
  problems = "\n".join(told["problems"])
  assert "does not start (exit status" in problems and ("libcudart is missing" in problems or "abort" in code)
  assert f"{whole}: is cut short: its last record lacks 7 bytes" in problems
  assert "Expected JSON, found something else" in problems
  assert "expected 2 files of train clips, found 1" in problems
  # Where the suite runs, tbvis may be installed or not.
  assert told["plugin"] or "TensorBoard will show no tbvis tab" in problems
  assert all(f"PROBLEM: {problem}" in done.stdout for problem in told["problems"])


@pytest.mark.slow
def test_event_files_are_followed_record_by_record(logdir):
  whole = _events(logdir)[-1]
  data = whole.read_bytes()
  assert events.broken_record(whole) is None
  whole.write_bytes(data[:-7])
  assert "lacks 7 bytes" in events.broken_record(whole)
  whole.write_bytes(data + data[:5])
  assert f"is cut short after {len(data):,} of" in events.broken_record(whole)
  whole.write_bytes(data[:3] + b"\xff" + data[4:])
  assert "damaged at byte 0" in events.broken_record(whole)
  whole.write_bytes(b"")
  assert events.broken_record(whole) is None


def test_a_folder_that_is_not_there_is_one_line(tmp_path):
  done = subprocess.run(
    [sys.executable, "-m", "tbvis.scripts.doctor", f"--logdir={tmp_path / 'logs'}"], capture_output=True, text=True, check=False, cwd=ROOT
  )
  assert (done.returncode, done.stdout) == (2, "")
  assert done.stderr == f"tbvis-doctor: error: --logdir: expected a folder, found none at {tmp_path / 'logs'}.\n"
