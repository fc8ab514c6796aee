"""A plan says everything before it changes anything."""

from __future__ import annotations

import pathlib

import keras
import numpy as np
import pytest

from tbvis import limits
from tbvis.errors import UsageError
from tbvis.models import two_stream
from tbvis.weights import inference, transfer
from tbvis.weights.source import Source, Target

SHAPES = {"conv1_1_appearance/kernel": (3, 3, 3, 4), "conv1_1_appearance/bias": (4,), "prediction/kernel": (1, 1, 4, 2)}


def target(key, shape, *, source="a", value=1.0):
  layer, weight = key.split("/")
  return Target(layer, weight, np.full(shape, value, np.float32), (source,))


def plan(*targets, names=None):
  names = names or sorted({name for t in targets for name in t.sources})
  source = Source(pathlib.Path("w.mat"), "matconvnet", {name: np.zeros((2, 3)) for name in names})
  return transfer.make_plan(SHAPES, [(source, targets)])


def full():
  return [target(key, shape, source=key) for key, shape in SHAPES.items()]


def test_a_whole_plan_passes_and_is_shown():
  made = plan(*full())
  made.check("w.mat")
  table = made.table().splitlines()
  assert table[1].split() == ["conv1_1_appearance/kernel", "(2,", "3)", "->", "conv1_1_appearance/kernel", "(3,", "3,", "3,", "4)"]
  assert table[-1] == "3 weights set, 0 missing, 0 tensors unused."


@pytest.mark.parametrize(
  ("change", "message"),
  [
    (lambda found: [*found[1:], target("conv1_1_appearance/kernel", (3, 3, 3, 5))], r"a makes .*/kernel of shape \(3, 3, 3, 5\), expected"),
    (lambda found: [*found[1:], target("conv1_1_appearance/kernel", (3, 3, 3, 4), value=np.nan)], "a holds values that are not finite"),
    (lambda found: [*found[1:], target("conv1_1_appearance/kernel", (3, 3, 3, 4), value=np.inf)], "a holds values that are not finite"),
    (lambda found: [*found, target("conv1_1_appearance/bias", (4,))], "bias is given twice, by conv1_1_appearance/bias and a"),
  ],
)
def test_what_is_wrong_is_never_allowed(change, message):
  made = plan(*change(full()))
  with pytest.raises(UsageError, match=f"w.mat: .*{message}"):
    made.check("w.mat", allow_partial=True)


@pytest.mark.parametrize(
  ("made", "message"),
  [
    (lambda: plan(*full()[1:]), "missing for 1 weights of the network: conv1_1_appearance/kernel"),
    (lambda: plan(*full(), names=[*SHAPES, "spare"]), r"unused 1 tensors of the file: spare \(no such layer\)"),
    (lambda: plan(*full(), target("conv9/kernel", (1,))), r"unused 1 tensors of the file: a \(the network has no conv9/kernel\)"),
    (lambda: plan(*full()[:2], target("prediction/kernel", (1, 1, 4, 1000))), "1000 classes, the network has 2"),
  ],
)
def test_what_is_left_over_must_be_allowed(made, message):
  with pytest.raises(UsageError, match=f"w.mat: .*{message}.*--allow_partial accepts this"):
    made().check("w.mat")
  made().check("w.mat", allow_partial=True)


def test_a_file_of_another_network_is_refused_even_in_part():
  source = Source(pathlib.Path("w.mat"), "matconvnet", {"conv1": np.zeros(3), "res2a": np.zeros(3)})
  with pytest.raises(UsageError, match="w.mat: none of 2 tensors is a weight of the network .conv1"):
    transfer.make_plan(SHAPES, [(source, [])]).check("w.mat", allow_partial=True)


def test_the_motion_tower_starts_as_the_mean():
  rng = np.random.default_rng(0)
  targets = [
    Target(f"{name}_appearance", "kernel", rng.normal(size=(3, 3, 3, 4)).astype("f4"), (name,)) for name in ("conv1_1", "fc6", "prediction")
  ]
  first, second = transfer.cross_modality(targets)
  assert (first.layer, second.layer) == ("conv1_1_motion", "fc6_motion")
  np.testing.assert_array_equal(second.value, targets[1].value)
  for channel in range(20):
    np.testing.assert_allclose(first.value[:, :, channel], targets[0].value.mean(axis=2), rtol=1e-6)


def test_the_motion_tower_of_a_residual_network_starts_mirrored():
  kernel = np.random.default_rng(0).normal(size=(7, 7, 3, 4)).astype("f4")
  (found,) = transfer.cross_modality([Target("conv1_appearance", "kernel", kernel, ("a",))], "conv1", 20, mirrored=True)
  assert found.layer == "conv1_motion" and found.value.shape == (7, 7, 20, 4)
  for channel, taken in enumerate([0, 1, 2, 2, 1, 0, 0, 1, 2, 2, 1, 0, 0, 1, 2, 2, 1, 0, 0, 1]):
    np.testing.assert_array_equal(found.value[:, :, channel], kernel[:, :, taken])


def test_files_are_fitted_to_kernels_over_time_and_to_biases_before_a_normalisation():
  x = keras.Input((4, 8, 8, 2), name="motion")
  y = keras.layers.Conv3D(3, (3, 1, 1), use_bias=False, name="over_time")(x)
  y = keras.layers.Conv3D(3, (1, 3, 3), name="biased")(keras.layers.BatchNormalization(name="norm")(y))
  y = keras.layers.BatchNormalization(name="norm_2")(y)
  model = keras.Model(x, keras.layers.Conv3D(5, 1, name="prediction")(y))
  one, plain = target("over_time/kernel", (1, 1, 2, 3), value=6.0), target("biased/kernel", (1, 3, 3, 3, 3))
  last = target("prediction/kernel", (1,))
  first, second, bias, third = transfer.fitted([one, plain, last], model)
  np.testing.assert_array_equal(first.value, np.full((3, 1, 1, 2, 3), 2.0))
  assert (second, third) == (plain, last)  # A classifier without its bias is one that lacks something.
  assert (bias.layer, bias.weight, bias.value.tolist()) == ("biased", "bias", [0, 0, 0])
  given = target("biased/bias", (3,))
  assert transfer.fitted([plain, given], model) == [plain, given]


def test_a_fused_head_of_its_own_stays():
  whole = [target("conv5_fusion/kernel", (1, 1, 8, 4)), target("fc6_appearance/kernel", (1, 1, 4, 4))]
  assert transfer.with_fused_head(whole) == whole
  tower = [target("fc6_appearance/kernel", (1, 1, 4, 4)), target("fc6_motion/kernel", (1, 1, 4, 4))]
  assert [t.layer for t in transfer.with_fused_head(tower)] == ["fc6_appearance", "fc6_motion", "fc6"]


def kernels(**shapes):
  return [Target(layer, "kernel", np.zeros(shape, np.float32), (layer,)) for layer, shape in shapes.items()]


@pytest.mark.parametrize("width", [0.05, 0.0625, 0.1875, 0.33, 1.0, 1.5])
def test_the_width_is_found_whatever_was_rounded(width):
  channels = [two_stream.scaled_channels(base, width) for _, _, base in two_stream.BLOCKS]
  targets = kernels(**{f"conv{block}_1_motion": (3, 3, 1, filters) for block, filters in enumerate(channels, 1)})
  found = inference.infer_arguments(targets, "w", {})
  assert [two_stream.scaled_channels(base, found["width"]) for _, _, base in two_stream.BLOCKS] == channels


def test_a_fusion_network_is_told_by_its_kernels():
  targets = kernels(conv5_fusion=(3, 3, 3, 8, 4), fc6=(7, 7, 4, 16), fc7=(1, 1, 16, 16), prediction=(1, 1, 16, 101))
  told = {"fusion": "conv3x3x3", "base_classifier": False, "input_size": 224, "fc_units": 16, "classes": 101}
  assert inference.infer_arguments(targets, "w", {}) == told
  assert inference.infer_arguments(targets, "w", {"input_size": 240})["input_size"] == 240
  assert inference.infer_arguments(targets, "w", {"input_size": 112})["input_size"] == 224


@pytest.mark.parametrize(
  ("targets", "message"),
  [
    (kernels(conv1_1_motion=(3, 3, 20, 64), conv2_1_motion=(3, 3, 64, 64)), r"64, 128, 256, 512, 512 times a width, found \[64, 64\]"),
    (kernels(fc6=(7, 6, 4, 16)), "one square size"),
    (kernels(fc6=(7, 7, 4, 16), fc7=(1, 1, 16, 4096)), "one square size"),
    (kernels(prediction=(1, 1, 4, 51), prediction_motion=(1, 1, 4, 101)), r"classifiers of \[51, 101\] classes"),
  ],
)
def test_kernels_of_no_vgg16_are_refused(targets, message):
  with pytest.raises(UsageError, match=f"w: .*{message}"):
    inference.infer_arguments(targets, "w", {})


def test_a_network_that_the_machine_cannot_hold_is_refused(monkeypatch):
  monkeypatch.setattr(limits, "available_bytes", lambda: 1 << 30)
  with pytest.raises(UsageError, match="w: the network needs .* MiB, and this machine has 1,024 MiB free"):
    inference.check_memory({"width": 1.0, "input_size": 224, "fc_units": 4096}, 101, "w")
  inference.check_memory({"width": 0.25, "input_size": 224, "fc_units": 256}, 101, "w")


def test_the_memory_told_is_that_of_the_network():
  arguments = {"width": 0.25, "input_size": 64, "fc_units": 32, "fusion": "conv3x3x3"}
  with pytest.MonkeyPatch.context() as patch:
    bytes_needed = 4 * two_stream.two_stream_fusion_vgg16(7, **arguments).count_params()
    patch.setattr(limits, "available_bytes", lambda: 0.98 * bytes_needed)
    with pytest.raises(UsageError):
      inference.check_memory(arguments, 7, "w")
    patch.setattr(limits, "available_bytes", lambda: 1.02 * bytes_needed)
    inference.check_memory(arguments, 7, "w")


def test_classes_are_named_by_flag_file_or_number(tmp_path):
  (tmp_path / "names.txt").write_text("One\nTwo words\n")
  assert inference.find_classes(str(tmp_path / "names.txt"), None, 2)[0] == ("One", "Two words")
  (tmp_path / "classInd.txt").write_text("1 One\n2 Two\n")
  assert inference.find_classes(str(tmp_path / "classInd.txt"), ("a", "b"), 2)[0] == ("One", "Two")
  assert inference.find_classes(None, ("a", "b"), 2) == (("a", "b"), "the file")
  # ImageNet's names in a network that was trained further on 101 classes.
  names, who = inference.find_classes(None, ("a",) * 1000, 101)
  assert names[0] == "ApplyEyeMakeup" and "ucf101" in who
  assert inference.find_classes("ucf101", None, None)[0][-1] == "YoYo"
  for flag, count, message in (
    ("ucf110", 101, "Nearest: ucf101"),
    (None, 7, "--classes is required: the file has 7 scores"),
    (None, None, "no classifier"),
  ):
    with pytest.raises(UsageError, match=message):
      inference.find_classes(flag, None, count)
  (tmp_path / "bad.txt").write_text("One\nOne\n")
  with pytest.raises(UsageError, match="different names in .*bad.txt"):
    inference.find_classes(str(tmp_path / "bad.txt"), None, 2)
