import dataclasses
import types

import keras
import numpy as np
import pytest

from tbvis.diagnostics import transfer
from tbvis.errors import UsageError
from tbvis.models import checkpoint as checkpoint_lib

CLASSES = ("Bowing", "Brushing", "Rolling")


def _judge(base_classifier=True, input_size=64, **metadata):
  """A network of which each tower says the class whose colour channel (or direction of flow) is strongest."""
  arguments = {"width": 0.05, "input_size": input_size, "fc_units": 4, "base_classifier": base_classifier}
  made = checkpoint_lib.build("two_stream_fusion_vgg16", arguments, CLASSES, **metadata)
  inputs = made.model.inputs
  by_name = {tensor.name: tensor for tensor in inputs}
  colour = keras.layers.GlobalAveragePooling2D()(by_name["appearance"])
  flow = keras.layers.GlobalAveragePooling2D()(by_name["motion"])[:, :3]
  outputs = {"scores_hybrid": colour + 0.1 * flow, "scores_motion": flow}
  if base_classifier:
    outputs["scores_appearance"] = colour
  return dataclasses.replace(made, model=keras.Model(by_name, outputs))


def _stimulus(label, colour, flow, side=64):
  appearance, motion = np.zeros((side, side, 3), np.float32), np.zeros((side, side, 10, 2), np.float32)
  appearance[..., colour] = 10
  motion.reshape(side, side, 20)[..., flow] = 8
  return transfer.ClassStimulus(CLASSES[label], appearance, motion)


def test_each_view_is_judged_by_its_own_score():
  stimuli = [_stimulus(0, 0, 0), _stimulus(1, 1, 2), _stimulus(2, 0, 2), _stimulus(1, 2, 0)]
  found = transfer.judge_stimuli(_judge(), stimuli)
  assert found.labels.tolist() == [0, 1, 2, 1]
  assert found.said["appearance"].tolist() == [0, 1, 0, 2]
  assert found.said["motion"].tolist() == [0, 2, 2, 0]
  # (colour + 0.1 flow + flow) / 2: 10 against 8.8.
  assert found.said["together"].tolist() == [0, 1, 0, 2]
  assert (found.rate("motion").count, found.rate("motion").total) == (2, 4)
  assert found.rate("together").fraction == 0.5
  assert found.only([False, False, True, False]).rate("motion").fraction == 1


def test_without_an_appearance_tower_the_hybrid_sees_zero_motion():
  # With its motion the hybrid would say class 2.
  stimulus = _stimulus(1, 1, 2)
  stimulus.motion[...] *= 100
  found = transfer.judge_stimuli(_judge(base_classifier=False), [stimulus])
  assert found.said["appearance"].tolist() == [1] and found.said["together"].tolist() == [2]


def test_scale_and_mean_of_the_maker_are_translated():
  maker, judge = _judge(input_size=32, appearance_mean=[100, 100, 100]), _judge(input_size=64, appearance_mean=[100, 130, 90])
  stimulus = _stimulus(0, 0, 0, side=36)
  appearance, motion = transfer._inputs(stimulus, judge, maker).values()
  assert appearance.shape == (1, 72, 72, 3) and motion.shape == (1, 72, 72, 20)
  np.testing.assert_allclose(appearance[0, 5, 5], [10, -30, 10], atol=1e-4)
  assert float(motion[0, 9, 9, 0]) == pytest.approx(8)
  same = transfer._inputs(_stimulus(0, 0, 0, side=80), judge, None)["appearance"]
  assert same.shape == (1, 80, 80, 3)
  # Too small for the judge's first classifier layer: enlarged.
  enlarged = transfer._inputs(_stimulus(0, 0, 0, side=40), judge, None)["appearance"]
  assert enlarged.shape == (1, 64, 64, 3)


@pytest.mark.slow
def test_a_judge_must_be_one_that_can_be_shown_the_stimuli():
  other = checkpoint_lib.build("tsn_bn_inception", {"width": 0.02, "input_size": 32}, ("a", "b", "c"))
  with pytest.raises(UsageError, match="20 channels of motion"):
    transfer.judge_stimuli(other, [_stimulus(0, 0, 0)])


def test_shuffled_share_is_the_expected_one():
  labels = np.array([0, 0, 0, 1, 1, 2])
  said = np.array([0, 0, 1, 1, 2, 2])
  verdicts = transfer.Verdicts(labels, {"together": said}, {"together": np.zeros((6, 3))})
  expected = sum(np.mean(labels == c) * np.mean(said == c) for c in range(3))
  assert verdicts.shuffled("together", permutations=20000) == pytest.approx(expected, abs=0.005)


def test_an_unknown_class_is_named():
  stimulus = transfer.ClassStimulus("Bowling", np.zeros((64, 64, 3), np.float32), np.zeros((64, 64, 10, 2), np.float32))
  with pytest.raises(UsageError, match="Unknown class 'Bowling'.*Bowing"):
    transfer.judge_stimuli(_judge(), [stimulus])


def test_records_of_class_units_are_picked():
  def record(layer, class_name, motion=True):
    return types.SimpleNamespace(
      layer=layer, class_name=class_name, appearance=np.zeros((4, 4, 3)), motion=np.zeros((4, 4, 10, 2)) if motion else None,
      kappa=1.0, chi=10.0, isotropic=False, seed=3,
    )  # fmt: skip

  found = transfer.from_records([record("prediction", "Bowing"), record("prediction_motion", "Bowing"), record("fc6", None)], "run")
  assert [(s.class_name, s.variant, s.seed) for s in found] == [("Bowing", "chi=10", 3)]
  with pytest.raises(UsageError, match="class units .* in run 'x', found none"):
    transfer.from_records([record("prediction", "Bowing", motion=False)], "run 'x'")


def test_npz_of_stimuli(tmp_path):
  path = tmp_path / "stimuli.npz"
  np.savez(path, classes=["Bowing", "Rolling"], appearance=np.ones((2, 5, 6, 3)), motion=np.ones((2, 5, 6, 10, 2)), seeds=[1, 2])
  found = transfer.load_npz(path)
  assert [(s.class_name, s.seed, s.motion.shape) for s in found] == [("Bowing", 1, (5, 6, 10, 2)), ("Rolling", 2, (5, 6, 10, 2))]
  np.savez(path, classes=["Bowing"], appearance=np.ones((2, 5, 6, 3)), motion=np.ones((2, 5, 6, 10, 2)))
  with pytest.raises(UsageError, match=r"received shapes \(1,\)"):
    transfer.load_npz(path)
