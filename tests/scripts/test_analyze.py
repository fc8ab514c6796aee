"""tbvis-analyze as a user calls it, on a tiny network and a really prepared set."""

import json

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tbvis import summaries
from tbvis.diagnostics import statistics
from tbvis.models import checkpoint as checkpoint_lib
from tests import calls
from tests.datasets.conftest import prepare_folder, write_video

# Every test starts programs that pass clips through a network.
pytestmark = pytest.mark.slow

CLASSES = ("Left", "Right")


def _run(*arguments):
  return calls.call("analyze", *arguments)


@pytest.fixture(scope="module")
def network(tmp_path_factory):
  path = tmp_path_factory.mktemp("analyze") / "net.keras"
  made = checkpoint_lib.build("two_stream_fusion_vgg16", {"width": 0.05, "input_size": 32, "fc_units": 4}, CLASSES, validation_groups=[9])
  kernel = made.model.get_layer("conv5_fusion").kernel
  kernel.assign(np.asarray(kernel) * 1.5)
  checkpoint_lib.save_checkpoint(made, path)
  return path


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
  folder = tmp_path_factory.mktemp("clips")
  for seed, (name, group) in enumerate((name, group) for name in CLASSES for group in (8, 9)):
    write_video(folder / "videos" / name / f"v_{name}_g{group:02d}_c01.avi", shift=3.0, seed=seed)
  prepare_folder(folder / "videos", folder / "data", "moves")
  return folder / "data"


def test_findings_are_written_and_stimuli_are_found_once(network, clips, tmp_path):
  scores = np.array([[2.0, 1.0], [2.0, 1.0]])
  summaries.write_confusions(tmp_path, "evaluation", classes=CLASSES, labels=[0, 1], scores={"fused": scores}, clips=["a", "b"])
  arguments = (
    f"--checkpoint={network}", f"--data_dir={clips}", "--dataset=moves_split1_dis", f"--logdir={tmp_path}", "--steps=3", "--chi=10,0",
    "--units=conv3_1_motion/f001-f002,conv5_fusion/f001-f002", "--snippets=1", "--dtype=float32",
    f"--json={tmp_path / 'numbers.json'}",
  )  # fmt: skip
  done = _run(*arguments)
  assert done.returncode == 0, done.stderr[-3000:]
  numbers = json.loads((tmp_path / "numbers.json").read_text())
  assert numbers["fusion_moved"] == pytest.approx(0.5)
  for name in ("trained", "fusion_as_initialised"):
    assert numbers[f"fusion_{name}_units"] == 2 and numbers[f"fusion_{name}_value_deviation"] < 0.02
  assert numbers["failures_fused_accuracy"] == 0.5
  assert "Right -> Left: 100.0 %" in done.stdout and "invariance_motion_untrained_quotient_median_conv3_1_motion" in numbers
  folder = tmp_path / "analysis" / "tbvis" / "analysis"
  page = (folder / "report.html").read_text()
  assert all(title in page for title in ("Fusion learns", "Class-specific", "Invariance", "Failure cases")) and page.count("<svg") == 7
  assert {path.name for path in folder.glob("*.csv")} == {
    "fusion_units.csv", "selectivity_layers.csv", "selectivity_lists.csv", "selectivity_units.csv",
    "invariance_layers.csv", "invariance_trends.csv", "invariance_units.csv", "failures.csv",
  }  # fmt: skip
  # Controls see the held-out clips that the network is measured on, and those alone.
  for path in folder.glob("responses_*.progress"):
    assert [json.loads(line)["group"] for line in path.read_text().splitlines()[1:]] == [9, 9]

  shown = EventAccumulator(str(tmp_path / "analysis"), size_guidance={"tensors": 0})
  shown.Reload()
  texts = [tag for tag in shown.Tags()["tensors"] if tag.startswith("analysis/") and tag.count("/") == 1]
  assert set(texts) == {f"analysis/{name}" for name in ("fusion", "selectivity", "invariance", "failures")}
  words = shown.Tensors("analysis/fusion")[-1].tensor_proto.string_val[0].decode()
  assert words.startswith("## Fusion learns joint features") and "| conv5\\_fusion/f001 | trained |" in words

  before = {run: len(summaries.read_run(tmp_path, run).stimuli) for run in summaries.run_names(tmp_path)}
  assert before == {"analysis": 16, "analysis_fusion_as_initialised": 8, "analysis_motion_untrained": 16, "evaluation": 0}
  done = _run(*arguments, "--findings=fusion", "--plan_only")
  assert done.returncode == 0 and "conv5_fusion                                       2       8     8" in done.stdout, done.stdout
  done = _run(*arguments, "--findings=invariance", "--nocontrols")
  assert done.returncode == 0, done.stderr[-3000:]
  assert json.loads((tmp_path / "numbers.json").read_text())["seconds"] > 0
  assert {run: len(summaries.read_run(tmp_path, run).stimuli) for run in before} == before


def test_statistics_alone_tell_selectivity(network, tmp_path):
  empty = statistics.LayerStatistics.empty(2, 2)
  best = {"value": np.array([8.0, 1.0], np.float32), "frame": np.zeros(2, np.int32), "yx": np.zeros((2, 2), np.int32)}
  other = {**best, "value": np.array([1.0, 1.0], np.float32)}
  layer = empty.with_clip(0, 0, best, 0.5, 1).with_clip(1, 1, other, 0.5, 1)
  known = statistics.UnitStatistics(CLASSES, ("a", "b"), np.array([0, 1]), {"prediction": layer}, source="two clips")
  known.save(tmp_path / "statistics.npz")
  done = _run(
    f"--checkpoint={network}", f"--statistics={tmp_path / 'statistics.npz'}", f"--logdir={tmp_path}", "--findings=selectivity,failures"
  )
  assert done.returncode == 0, done.stderr[-3000:]
  assert "no controls, no top clips" in done.stderr and "No failure cases" in done.stderr
  rows = (tmp_path / "analysis" / "tbvis" / "analysis" / "selectivity_units.csv").read_text().splitlines()
  assert rows[1].startswith("prediction/Left,class-specific,0.777") and rows[2].startswith("prediction/Right,general,0.0,1.0")


@pytest.mark.parametrize(
  ("arguments", "words"),
  [
    (["--findings=fussion"], "Nearest: fusion"),
    (["--chi=3"], "--chi: expected at least two"),
    (["--seeds=1"], "--seeds: expected at least two"),
    (["--data_dir=/tmp"], "expected both or neither"),
    (["--units=conv5_fusion/f900"], "has units"),
  ],
)
def test_mistakes_get_one_line_and_status_2(network, tmp_path, arguments, words):
  done = _run(f"--checkpoint={network}", f"--logdir={tmp_path / 'logs'}", *arguments)
  lines = [line for line in done.stderr.splitlines() if "error:" in line]
  assert done.returncode == 2 and len(lines) == 1 and words in lines[0], done.stderr[-2000:]
  assert "Traceback" not in done.stderr and not list((tmp_path / "logs").rglob("*"))
