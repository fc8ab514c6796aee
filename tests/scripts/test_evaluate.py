"""tbvis-evaluate as a user calls it, on a really prepared set."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

from tbvis import summaries
from tbvis.diagnostics.predictions import Predictions
from tbvis.diagnostics.statistics import UnitStatistics
from tbvis.models import checkpoint as checkpoint_lib
from tests import calls
from tests.datasets.conftest import prepare_folder, write_video

# Every test starts programs or passes clips through a network.
pytestmark = pytest.mark.slow

CLASSES = ("Left", "Right")
NETWORK = {"width": 0.05, "input_size": 32, "fc_units": 4}


@pytest.fixture(scope="module")
def work(tmp_path_factory):
  """A folder with the prepared set moves_split1_dis under data/ and three networks."""
  folder = tmp_path_factory.mktemp("evaluate")
  for label, name in enumerate(CLASSES):
    for group in (1, 2, 8, 9):
      write_video(folder / "videos" / name / f"v_{name}_g{group:02d}_c01.avi", shift=3.0 if label else -3.0, seed=group)
  prepare_folder(folder / "videos", folder / "data", "moves")
  network = checkpoint_lib.build("two_stream_fusion_vgg16", NETWORK, CLASSES, validation_groups=[9])
  checkpoint_lib.save_checkpoint(network, folder / "net.keras")
  kernel = network.model.get_layer("conv1_1_motion").kernel
  kernel.assign(np.ones(kernel.shape))
  checkpoint_lib.save_checkpoint(network, folder / "still.keras")
  other = checkpoint_lib.build("two_stream_fusion_vgg16", NETWORK, ("Left", "Right", "Up"))
  checkpoint_lib.save_checkpoint(other, folder / "other.keras")
  return folder


def _run(*arguments):
  return calls.call("evaluate", *arguments)


def test_everything_is_written(work, tmp_path):
  common = (f"--data_dir={work / 'data'}", "--dataset=moves_split1_dis", "--snippets=2", "--dtype=float32")
  out = tmp_path / "out"
  done = _run(
    *common, f"--checkpoint={work / 'net.keras'}", f"--output_dir={out}", f"--logdir={tmp_path / 'logs'}", "--statistics_snippets=2",
    f"--json={tmp_path / 'numbers.json'}",
  )  # fmt: skip
  assert done.returncode == 0, done.stderr[-3000:]
  found = Predictions.load(out / "predictions.npz", classes=CLASSES)
  assert found.clips == ("v_Left_g01_c01", "v_Left_g02_c01", "v_Right_g01_c01", "v_Right_g02_c01")
  assert found.labels.tolist() == [0, 0, 1, 1]
  numbers = json.loads((tmp_path / "numbers.json").read_text())
  for tower in ("appearance", "hybrid", "motion", "fused"):
    assert numbers[f"accuracy_{tower}"] == pytest.approx(np.mean(np.argmax(found.scores[tower], axis=1) == found.labels))
    with (out / f"confusion_{tower}.csv").open() as stream:
      matrix = np.array([row[1:] for row in list(csv.reader(stream))[1:]], int)
    assert np.array_equal(matrix, found.confusion(tower))
  assert numbers["clips"] == 4 and numbers["seconds"] > 0 and numbers["peak_memory_mib"] > 50 and numbers["temporal_fraction"] > 0.9
  assert "conv1_1_motion" in done.stdout and "sees almost no motion" not in done.stderr
  statistics = UnitStatistics.load(out / "statistics.npz")
  assert sorted(statistics.clips) == ["v_Left_g09_c01", "v_Right_g09_c01"] and "groups 9" in statistics.source
  shown = summaries.read_run(tmp_path / "logs", "evaluation").confusions
  assert list(shown.clips) == list(found.clips) and np.array_equal(shown.scores["fused"], found.scores["fused"])
  assert len(list((tmp_path / "logs" / "evaluation" / "tbvis" / "clips").glob("*.webp"))) == 4


# One process for many calls: TensorFlow takes seconds to load.
_DRIVER = """
import json, sys
from absl import flags
from absl.testing import flagsaver
from tbvis.errors import UsageError
from tbvis.scripts import evaluate
said = []
for arguments in json.load(sys.stdin):
  with flagsaver.flagsaver():
    flags.FLAGS(["evaluate", *arguments])
    try:
      evaluate.main()
      said.append("")
    except UsageError as error:
      said.append(str(error))
print(json.dumps(said))
"""


def test_mistakes_are_named_and_a_blank_stream_is_left_out(work, tmp_path):
  (tmp_path / "file").write_text("not a folder")
  net, data, name = f"--checkpoint={work / 'net.keras'}", f"--data_dir={work / 'data'}", "--dataset=moves_split1_dis"
  cases = [
    ([data, name], "--checkpoint is required"),
    ([net, name], "--data_dir is required"),
    ([net, data], "--dataset is required"),
    ([net, data, "--dataset=move_split1_dis"], "moves_split1_dis"),
    ([net, f"--data_dir={tmp_path}", name], "no prepared set under"),
    ([net, data, name, "--split=tests"], "Unknown split 'tests' in --split. Nearest: test"),
    ([net, data, name, "--groups=1-x"], "--groups: expected numbers and ranges"),
    ([net, data, name, "--groups=5"], "--groups: expected groups of the test clips of 'moves_split1_dis' ("),
    ([net, data, name, f"--output_dir={tmp_path / 'file' / 'out'}"], "--output_dir: expected a folder that can be written"),
    ([net, data, name, "--logdir=$NO_SUCH_VARIABLE"], "--logdir: '$NO_SUCH_VARIABLE' names an environment variable that is not set"),
    ([f"--checkpoint={work / 'nets.keras'}", data, name], "--checkpoint: expected a file, found none at"),
    (
      [f"--checkpoint={work / 'other.keras'}", data, name],
      "other.keras was trained on 3 classes (Left, Right, Up) and prepared set 'moves_split1_dis' has 2 classes (Left, Right)",
    ),
    # No mistake: one stream blank, and a network that sees no motion.
    (
      [
        f"--checkpoint={work / 'still.keras'}",
        data,
        name,
        "--blank=motion",
        "--snippets=1",
        "--noflips",
        f"--output_dir={tmp_path / 'out'}",
        f"--logdir={tmp_path / 'logdir'}",
      ],
      "",
    ),
  ]
  done = calls.run("-c", _DRIVER, input=json.dumps([arguments for arguments, _ in cases]))
  assert done.returncode == 0, done.stderr[-3000:]
  said = json.loads(done.stdout.splitlines()[-1])
  for message, (arguments, expected) in zip(said, cases, strict=True):
    assert expected in message and bool(expected) == bool(message) and "\n" not in message, arguments
  assert "sees ten nearly equal frames (0.0 %, expected at least 10 %)" in done.stderr
  assert not (tmp_path / "out" / "predictions.npz").exists() and not (tmp_path / "out" / "statistics.npz").exists()
  blank = Predictions.load(tmp_path / "out" / "predictions_without_motion.npz")
  assert np.ptp(blank.scores["motion"], axis=0).max() == 0
  assert [path.name for path in (tmp_path / "logdir").iterdir()] == ["evaluation_without_motion"]


def test_a_mistake_is_one_line_and_status_2(work):
  done = _run(f"--checkpoint={work / 'net.keras'}", "--blank=sound")
  assert done.returncode == 2
  assert len(done.stderr.strip().splitlines()) == 1 and "expected one of appearance, motion, received" in done.stderr


def test_score_files_need_no_network(tmp_path):
  rng = np.random.default_rng(0)
  for name in ("a", "b"):
    np.savez(tmp_path / f"{name}.npz", scores=rng.normal(size=(101, 3734)))
  logs, out = tmp_path / "logs", tmp_path / "out"
  files = f"--predictions={tmp_path / 'a.npz'},{tmp_path / 'b.npz'}"
  common = ("--prediction_weights=1,1.5", "--normalise", "--dataset=ucf101", "--split=2")
  done = _run(files, *common, f"--logdir={logs}", f"--output_dir={out}", f"--json={tmp_path / 'n.json'}")
  assert done.returncode == 0, done.stderr[-3000:]
  assert "1 appearance + 1.5 motion, the scores of each clip divided by their L2 norm" in done.stdout
  numbers, found = json.loads((tmp_path / "n.json").read_text()), Predictions.load(out / "predictions.npz")
  assert found.towers == ("appearance", "motion", "fused") and numbers["clips"] == 3734 and numbers["accuracy_hybrid"] is None
  assert numbers["accuracy_fused"] == found.accuracy("fused").fraction and (out / "confusion_motion.csv").is_file()
  shown = summaries.read_run(logs, "evaluation").confusions
  assert list(shown.scores) == ["appearance", "motion", "fused"] and shown.split == "ucf101 test split 2"
  assert shown.meanings["motion"] == "scores of b.npz" and np.array_equal(shown.scores["fused"], found.scores["fused"])
  for arguments, expected in (
    (
      (files, "--dataset=ucf101", "--split=1"),
      "expected one table of 3783 clips x 101 classes (ucf101 test split 1), found scores 101 x 3734",
    ),
    ((files, *common, "--checkpoint=net.keras"), "Expected --checkpoint or --predictions, received both"),
    ((files, *common, "--groups=8"), "--groups is for --checkpoint, which is not given."),
    ((files, *common, "--blank=motion"), "--blank is for --checkpoint"),
    ((files, *common, "--data_dir=data"), "--data_dir is for --checkpoint"),
    (("--checkpoint=net.keras", "--normalise"), "--normalise is for --predictions, which is not given."),
    (("--checkpoint=net.keras", "--prediction_weights=1"), "--prediction_weights is for --predictions"),
    (("--checkpoint=net.keras", "--prediction_towers=motion"), "--prediction_towers is for --predictions"),
    ((files, *common, "--prediction_weights=1,x"), "--prediction_weights: expected numbers separated by commas, received '1,x'"),
  ):
    done = _run(*arguments)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1 and expected in done.stderr
