"""docs/YOUR_MODEL.md, done: its models are made and its commands are run, and what they write is looked at."""

from __future__ import annotations

import os
import pathlib
import re
import shlex
import sys

import numpy as np
import pytest

from tbvis import summaries
from tbvis.rendering import export
from tests import calls
from tests.datasets.conftest import prepare_folder, write_video

# Starts a program a command.
pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).resolve().parent.parent
TEXT = (ROOT / "docs" / "YOUR_MODEL.md").read_text()


def blocks(kind):
  """Returns (what stands behind the kind, content) of the text's code blocks of a kind."""
  return re.findall(rf"^```{kind}([^\n]*)\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)


def run(folder, *command):
  environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
  done = calls.run(*command, cwd=folder, env=environment)
  assert done.returncode == 0, f"{command}\n{done.stderr[-3000:]}"
  return done


def command(text):
  verb, *arguments = shlex.split(text)
  return ["-m", f"tbvis.scripts.{verb.removeprefix('tbvis-')}", *arguments]


@pytest.fixture(scope="module")
def done(tmp_path_factory):
  """The folder in which everything was done, and what each command said, by verb and model."""
  folder = tmp_path_factory.mktemp("your_model")
  # What the first command makes takes minutes: a set of its name and classes stands in.
  for seed, (name, group) in enumerate((name, group) for name in ("PlayingViolin", "YoYo") for group in (1, 2, 8, 9)):
    write_video(folder / "videos" / name / f"v_{name}_g{group:02d}_c01.avi", shift=3.0 if name == "YoYo" else -1.0, seed=seed)
  prepare_folder(folder / "videos", folder / "data", "stage")
  first, *commands = [line for _, content in blocks("bash") for line in content.splitlines()]
  assert first.startswith("tbvis-prepare ") and len(commands) == 5
  for name, content in blocks("flags"):
    (folder / name.strip()).write_text(content)
  models, adopting = [content for _, content in blocks("python")]
  said = {"models": run(folder, "-c", models)}

  def one_model(name):
    own = [text for text in commands if f"--flagfile={name}.flags" in text]
    return {(text.split()[0], name): run(folder, *command(text)) for text in own}

  said |= one_model("two_inputs") | one_model("film")
  assert len(said) == 1 + len(commands)
  said["adopting"] = run(folder, "-c", adopting)
  return folder, said


def test_scores_and_statistics_of_both(done):
  from tbvis.diagnostics.predictions import Predictions
  from tbvis.diagnostics.statistics import UnitStatistics

  folder, said = done
  assert "Layer classes is a softmax" in said["tbvis-evaluate", "two_inputs"].stderr
  for name, tower, layers in (
    ("two_inputs", "hybrid", {"conv1_rgb", "conv2_flow", "fusion", "dense", "prediction"}),
    ("film", "appearance", {"conv1", "conv2", "logits", "prediction_appearance"}),
  ):
    found = Predictions.load(folder / name / "predictions.npz", classes=("PlayingViolin", "YoYo"))
    assert found.towers == (tower, "fused") and len(found.clips) == 4
    np.testing.assert_array_equal(found.scores[tower], found.scores["fused"])
    assert layers <= set(UnitStatistics.load(folder / name / "statistics.npz").layers)
    assert summaries.read_run(folder / "logs" / name, "evaluation").confusions.split == "stage_split1_dis test"


def test_stimuli_of_both(done):
  folder, _ = done
  found = {s.unit: s for s in summaries.read_run(folder / "logs" / "two_inputs", "stimuli").stimuli if s.chi == 0}
  assert set(found) == {"prediction/YoYo", "fusion/f003", "conv2_flow/f001"}
  assert found["prediction/YoYo"].class_name == "YoYo"
  assert found["prediction/YoYo"].appearance.shape == (64, 64, 3) and found["prediction/YoYo"].motion.shape == (64, 64, 10, 2)
  assert found["conv2_flow/f001"].appearance is None and found["conv2_flow/f001"].a_hat > 0
  # chi acts on the time of a film.
  for unit in ("prediction_appearance/YoYo", "conv2/f002"):
    ratios = []
    for variant in ("chi=0", "chi=10"):
      inputs, _ = export.read_exported(folder / "film" / "stimuli" / unit / variant)
      assert inputs["appearance"].shape[2:] == (8, 3)
      space = np.abs(np.diff(inputs["appearance"], axis=0)).mean()
      ratios.append(np.abs(np.diff(inputs["appearance"], axis=2)).mean() / space)
    assert ratios[0] > 1.3 * ratios[1] > 0, unit


def test_an_explanation(done):
  folder, said = done
  assert re.search(r"\w+ taken for \w+: \d of 2 clips", said["tbvis-explain", "two_inputs"].stdout)
  (page,) = (folder / "logs" / "two_inputs" / "evaluation" / "tbvis" / "explanations").glob("*.html")
  # Both ways of asking where the network looked, on both streams.
  assert page.read_text().count("data:image/webp") >= 4


def test_what_was_kept_is_a_checkpoint(done):
  from tbvis.models import checkpoint

  folder, said = done
  assert said["adopting"].stdout.split("\n")[0] == "('hybrid',) ('appearance', 'motion') 10"
  (kept,) = (folder / "logs" / "two_inputs").glob("two_inputs_*.keras")
  one, other = checkpoint.load_checkpoint(kept), checkpoint.load_checkpoint(folder / "two_inputs_adopted.keras")
  rng = np.random.default_rng(0)
  inputs = {"appearance": rng.uniform(-100, 100, (2, 70, 90, 3)), "motion": rng.normal(size=(2, 70, 90, 20))}
  scores = [made.model(inputs, training=False)["scores_hybrid"] for made in (one, other)]
  np.testing.assert_allclose(*scores, rtol=1e-4, atol=1e-5)
