"""tbvis-explain's library on a network whose cause is known: it tells level motion from upright motion, and nothing else."""

from __future__ import annotations

import dataclasses
import json

import cv2
import keras
import numpy as np
import pytest
import tensorflow as tf

from tb_plugin import explanations
from tbvis.diagnostics import evaluation, passes
from tbvis.diagnostics.explanations import clips, explain, page, record
from tbvis.diagnostics.explanations import stimuli as stimuli_lib
from tbvis.diagnostics.explanations.verdicts import Verdict
from tbvis.errors import UsageError
from tbvis.maximization.config import MaximizationConfig
from tbvis.models import checkpoint as checkpoint_lib
from tests.diagnostics.conftest import MemoryDataset

pytestmark = pytest.mark.slow

CLASSES = ("Level", "Upright")
FRAMES = 11
SIZE = 32


def _jpeg(image):
  # Frames have a short side of 256 or so; the network sees them at a seventh of that.
  image = cv2.resize(np.asarray(image, np.float32), (300, 240), interpolation=cv2.INTER_LINEAR)
  return cv2.imencode(".jpg", np.clip(image, 0, 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()


def _clip(rng, name, label, group, degrees):
  """A patch that swings along a line, over a coloured picture that says nothing."""
  picture = cv2.resize(rng.integers(0, 256, (5, 6, 3)).astype(np.uint8), (80, 64), interpolation=cv2.INTER_CUBIC)
  y, x = np.mgrid[:64, :80]
  where = np.exp(-((y - rng.uniform(20, 44)) ** 2 + (x - rng.uniform(25, 55)) ** 2) / (2 * rng.uniform(7, 11) ** 2))
  along = np.radians(degrees) * rng.choice([-1, 1])
  swing = 60 * rng.uniform(0.8, 1.2) * np.cos(2 * np.pi * rng.uniform(0.08, 0.16) * np.arange(FRAMES - 1) + rng.uniform(0, 6))
  return {
    "clip": name, "label": label, "group": group, "frames": [_jpeg(picture)] * FRAMES,
    "flow_u": [_jpeg(128 + s * where * np.cos(along)) for s in swing], "flow_v": [_jpeg(128 - s * where * np.sin(along)) for s in swing],
  }  # fmt: skip


@pytest.fixture(scope="module")
def moves():
  rng = np.random.default_rng(0)
  content = {"train": [], "test": []}
  for group in range(1, 19):
    split = "test" if group <= 6 else "train"
    for label, name in enumerate(CLASSES):
      for index in range(6):
        # In the test groups every second level clip is steep, and will be confused.
        steep = label == 1 or (split == "test" and index % 2)
        degrees = rng.uniform(65, 90) if steep else rng.uniform(0, 25)
        content[split].append(_clip(rng, f"v_{name}_g{group:02d}_c{index + 1:02d}", label, group, degrees))
  return MemoryDataset("moves", CLASSES, content)


@pytest.fixture(scope="module")
def network(moves):
  made = checkpoint_lib.build(
    "two_stream_fusion_vgg16", {"width": 0.1, "input_size": SIZE, "fc_units": 16, "dropout": 0.0}, CLASSES, validation_groups=[16, 17, 18]
  )
  read = list(passes.clip_snippets(made, moves, "train", groups=range(7, 16), count=1, flips=True))
  inputs = {name: np.concatenate([clip.inputs[name] for clip in read]) for name in ("appearance", "motion")}
  labels = np.repeat([clip.label for clip in read], 2)
  loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
  made.model.compile(keras.optimizers.Adam(1e-3), {name: loss for name in made.model.output_names})
  keras.utils.set_random_seed(1)
  made.model.fit(inputs, {name: labels for name in made.model.output_names}, epochs=12, batch_size=18, verbose=0)
  return made


@pytest.fixture(scope="module")
def predictions(network, moves):
  return evaluation.evaluate(network, moves, "test", count=1, flips=False)


CONFIG = explain.ExplainConfig(
  chi=(10.0, 0.0), seeds=(0, 1, 2, 3), maximization=MaximizationConfig(steps=60), snippets=1, permutations=999, shown=1
)


@pytest.fixture(scope="module")
def found(network, moves, predictions, tmp_path_factory):
  confusion = explain.confusion_of(predictions, "Level", "Upright", "motion")
  assert len(confusion.confused) >= 10 and len(confusion.right) >= 10, "the network did not learn what it should"
  folder = tmp_path_factory.mktemp("kept")
  made = explain.explain(network, moves, confusion, CONFIG, held_out=("train", [16, 17, 18]), folder=folder)
  assert len(list(folder.glob("stimuli_*.npz"))) == 4
  return made


def test_the_known_cause_is_named_first_and_supported(found):
  first = found.judged[0]
  assert first.hypothesis.probe.name == "steepness of motion", [(j.hypothesis.probe.name, j.hypothesis.strength) for j in found.judged[:4]]
  assert first.hypothesis.values[0] < first.hypothesis.values[1] and first.hypothesis.differs
  assert first.verdict is Verdict.SUPPORTED, first.reason
  assert first.clips.centers[0] < 30 < 60 < first.clips.centers[1]
  assert first.intervention.as_foretold and "Motion turned" in first.intervention.name
  assert "steepness of motion" in found.summary
  assert all(j.hypothesis.probe.stream == "motion" for j in found.supported)


def test_interventions_tell_what_matters(found):
  by_name = {test.name: test for test in found.interventions}
  turned = by_name["Motion turned by 90 degrees counter-clockwise"]
  assert turned.as_foretold and turned.share > 0.9
  # The motion tower does not see the appearance at all.
  assert by_name["The mean frame instead of the appearance"].change == pytest.approx(0, abs=1e-5)


def test_what_is_written_can_be_read(found, predictions):
  numbers = json.loads(json.dumps(record.to_json(found), allow_nan=False))
  assert numbers["hypotheses"][0]["verdict"] == "supported" and len(numbers["hypotheses"]) == len(found.judged)
  shown = json.dumps(record.to_evidence(found, "page.html"), allow_nan=False).encode()
  parsed = explanations.parse(shown, "Level", "Upright", "motion")
  assert "supported" in parsed["evidence"][0]["title"] and "Interventions" in parsed["evidence"][-1]["title"]
  written = page.page(dataclasses.replace(found, settings=found.settings | {"odd": "<script>alert(1)</script>"}))
  assert "<script" not in written and "&lt;script&gt;" in written
  assert "http" not in written.replace("http-equiv", "") and written.count("data:image/webp") >= 8
  for name in ("Level", "Upright", "steepness of motion", "Grad-CAM"):
    assert name in written


def test_stimuli_are_kept_and_taken_up_again(found, network, tmp_path):
  settings = {"chi": (0.0,), "seeds": (0, 1), "config": MaximizationConfig(steps=3), "folder": tmp_path}
  once = stimuli_lib.make(network, *CLASSES, "motion", **settings)
  asked = []
  again = stimuli_lib.make(network, *CLASSES, "motion", **settings, on_step=asked.append)
  assert not asked
  for one, other in zip(once.stimuli.ravel(), again.stimuli.ravel(), strict=True):
    np.testing.assert_array_equal(one.motion, other.motion)
  stimuli_lib.make(network, *CLASSES, "motion", **settings | {"chi": (1.0,)}, on_step=asked.append)
  assert asked


def test_a_trial_is_judged_again_under_other_labels(found):
  assert len(found.trial.measured) == 2 and not np.array_equal(*(way.values for way in found.trial.measured))
  assert [j.verdict for j in found.trial.judge()] == [j.verdict for j in found.judged]
  assert found.supported[0].weight == max(j.weight for j in found.supported) > 0
  mixed = found.trial.exchanged(np.random.default_rng(0))
  assert mixed.confused.sum() == found.trial.confused.sum() and (mixed.confused != found.trial.confused).any()
  for group in np.unique(mixed.groups):
    assert mixed.confused[mixed.groups == group].sum() == found.trial.confused[mixed.groups == group].sum()
  assert not any(j.verdict is Verdict.SUPPORTED for j in mixed.judge())


def test_labels_that_mean_nothing_are_not_explained(network, moves, predictions):
  """Confused and right clips changed places at random inside their groups."""
  confusion = explain.confusion_of(predictions, "Level", "Upright", "motion")
  names = np.array(sorted(confusion.confused | confusion.right))
  groups = np.array([name.rsplit("_", 2)[1] for name in names])
  was = np.array([name in confusion.confused for name in names])
  rng = np.random.default_rng(5)
  mixed = was.copy()
  for group in np.unique(groups):
    mixed[groups == group] = rng.permutation(was[groups == group])
  null = dataclasses.replace(confusion, confused=frozenset(names[mixed]), right=frozenset(names[~mixed]))
  quick = dataclasses.replace(CONFIG, maximization=MaximizationConfig(steps=20), shown=0, seeds=(0, 1))
  assert not explain.explain(network, moves, null, quick, held_out=("train", [16, 17, 18])).supported


@pytest.mark.parametrize(
  ("arguments", "told"),
  [
    (("Level", "Sideways", "fused"), "Sideways"),
    (("Level", "Upright", "both"), "both"),
  ],
)
def test_mistakes_name_what_there_is(predictions, arguments, told):
  with pytest.raises(UsageError, match=told):
    explain.confusion_of(predictions, *arguments)


def test_stimuli_need_two_classes_and_two_seeds(network):
  with pytest.raises(UsageError, match="two seeds"):
    stimuli_lib.make(network, *CLASSES, seeds=(0,))
  with pytest.raises(UsageError, match="two classes"):
    stimuli_lib.make(network, "Level", "Level")


def test_tensors_of_the_middle_are_square(network, moves):
  clip = next(clips.read(network, moves, "test", [0], count=1))
  assert clip.appearance.shape == (1, SIZE, SIZE, 3) and clip.motion.shape == (1, SIZE, SIZE, 20)
  assert isinstance(clip.appearance, tf.Tensor) and clip.label == 0
