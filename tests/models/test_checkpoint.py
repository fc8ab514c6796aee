"""Checkpoints come back as they went, and say what is wrong with a file that is none."""

import json
import pathlib
import shutil
import zipfile

import h5py
import keras
import numpy as np
import pytest

from tbvis.errors import UsageError
from tbvis.models import checkpoint as checkpoint_lib
from tbvis.training import recipe
from tbvis.weights import keras_file
from tests.weights import fuzz

ARGUMENTS = {"width": 0.0625, "input_size": 64, "fc_units": 8, "fusion": "conv1x1"}
CLASSES = ("PlayingCello", "PlayingViolin")


@pytest.fixture(scope="module")
def checkpoint():
  return checkpoint_lib.build(
    "two_stream_fusion_vgg16", ARGUMENTS, CLASSES, dataset="stage_split1_dis", appearance_mean=[100.0, 101.0, 102.0]
  )


@pytest.fixture(scope="module")
def saved(checkpoint, tmp_path_factory):
  path = tmp_path_factory.mktemp("saved") / "demo.keras"
  checkpoint_lib.save_checkpoint(checkpoint, path)
  return path


@pytest.fixture
def path(saved, tmp_path):
  """A copy that a test may change."""
  return pathlib.Path(shutil.copy(saved, tmp_path))


def rewrite(source, target, change):
  """Copies a checkpoint with a changed description (None leaves it out, a list has another whole)."""
  with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
    for member in old.namelist():
      content = old.read(member)
      if member == "tbvis.json":
        if change is None:
          continue
        content = json.dumps({**json.loads(content), **change} if isinstance(change, dict) else change[0])
      new.writestr(member, content)


def test_it_comes_back_whole(checkpoint, path):
  again = checkpoint_lib.load_checkpoint(path)
  assert again.classes == CLASSES
  assert again.architecture == "two_stream_fusion_vgg16"
  assert again.arguments == {**ARGUMENTS, "classes": 2}
  assert again.input_size == 64
  assert again.appearance_mean == (100.0, 101.0, 102.0)
  assert again.metadata["dataset"] == "stage_split1_dis"
  for one, two in zip(checkpoint.model.get_weights(), again.model.get_weights(), strict=True):
    np.testing.assert_array_equal(one, two)


def test_keras_itself_reads_the_file(checkpoint, path):
  model = keras.saving.load_model(path)
  for one, two in zip(checkpoint.model.get_weights(), model.get_weights(), strict=True):
    np.testing.assert_array_equal(one, two)


@pytest.fixture(scope="module")
def halved(checkpoint, tmp_path_factory):
  path = tmp_path_factory.mktemp("halved") / "half.keras"
  checkpoint_lib.save_checkpoint(checkpoint, path, storage="float16")
  return path


def test_half_precision_halves_the_file_and_keeps_the_rounded_weights(checkpoint, halved, path):
  with zipfile.ZipFile(halved) as small, zipfile.ZipFile(path) as large:
    sizes = [archive.getinfo("model.weights.h5").file_size for archive in (small, large)]
    assert small.namelist() == large.namelist()
    with h5py.File(small.open("model.weights.h5")) as weights:
      kinds = {str(found.dtype) for found in map(weights.get, _paths(weights)) if isinstance(found, h5py.Dataset)}
  numbers = sum(w.size for w in checkpoint.model.get_weights())
  # HDF5 pads its arrays.
  assert sizes[1] - sizes[0] > 1.9 * numbers
  assert "float16" in kinds and "float32" not in kinds
  rounded = [w.astype(np.float16).astype(np.float32) for w in checkpoint.model.get_weights()]
  again = checkpoint_lib.load_checkpoint(halved)
  assert (again.metadata["storage"], checkpoint_lib.load_checkpoint(path).metadata["storage"]) == ("float16", "float32")
  for model in (again.model, keras.saving.load_model(halved)):
    assert {v.dtype for v in model.weights} == {"float32"}
    for one, two in zip(rounded, model.get_weights(), strict=True):
      np.testing.assert_array_equal(one, two)
  # The network that was written is as it was, until it is rounded itself.
  assert any(not np.array_equal(one, two) for one, two in zip(rounded, checkpoint.model.get_weights(), strict=True))
  mine = checkpoint_lib.load_checkpoint(path).model
  checkpoint_lib.round_weights(mine, "float16")
  for one, two in zip(rounded, mine.get_weights(), strict=True):
    np.testing.assert_array_equal(one, two)


def _paths(weights):
  found = []
  weights.visit(found.append)
  return found


def test_a_weight_beyond_half_precision_is_refused_with_its_layer(path, tmp_path):
  large = checkpoint_lib.load_checkpoint(path)
  bias = large.model.get_layer("fc7_motion").bias
  message = "Layer fc7_motion: expected weights of at most 65,504 for storage in float16, found 70000"
  bias.assign(np.full(bias.shape, 65504.0))
  checkpoint_lib.save_checkpoint(large, tmp_path / "most.keras", storage="float16")
  bias.assign(np.full(bias.shape, -70000.0))
  with pytest.raises(UsageError, match=message):
    checkpoint_lib.save_checkpoint(large, tmp_path / "a.keras", storage="float16")
  with pytest.raises(UsageError, match=message):
    checkpoint_lib.round_weights(large.model, "float16")
  with pytest.raises(UsageError, match="Unknown storage 'float8'. Nearest: float"):
    checkpoint_lib.save_checkpoint(large, tmp_path / "a.keras", storage="float8")
  assert sorted(p.name for p in tmp_path.iterdir()) == ["demo.keras", "most.keras"]


def test_weights_in_half_precision_can_be_imported(checkpoint, halved):
  source = keras_file.read(halved)
  kernel = next(t.value for t in keras_file.targets(source, None) if (t.layer, t.weight) == ("fc7_motion", "kernel"))
  np.testing.assert_array_equal(kernel, checkpoint.model.get_layer("fc7_motion").get_weights()[0].astype(np.float16))


def test_it_can_be_loaded_in_another_number_format(checkpoint, path):
  again = checkpoint_lib.load_checkpoint(path, dtype="mixed_bfloat16")
  layer = again.model.get_layer("conv3_1_motion")
  assert (layer.compute_dtype, layer.variable_dtype) == ("bfloat16", "float32")
  np.testing.assert_array_equal(layer.get_weights()[0], checkpoint.model.get_layer("conv3_1_motion").get_weights()[0])


def test_the_mean_defaults_to_that_of_imagenet(checkpoint):
  bare = checkpoint_lib.Checkpoint(checkpoint.model, CLASSES, checkpoint.architecture, checkpoint.arguments, {})
  assert bare.appearance_mean == pytest.approx((123.68, 116.779, 103.939))


def test_saving_leaves_one_file(saved):
  assert [p.name for p in saved.parent.iterdir()] == ["demo.keras"]


def test_a_missing_file_names_its_neighbours(path):
  with pytest.raises(UsageError, match=r"Expected a checkpoint file, found nothing at .*demos.keras. Beside it: demo.keras"):
    checkpoint_lib.load_checkpoint(path.parent / "demos.keras")


def test_a_missing_folder_is_said_too(tmp_path):
  with pytest.raises(UsageError, match=r"found nothing at .*nowhere/demo.keras\.$"):
    checkpoint_lib.load_checkpoint(tmp_path / "nowhere" / "demo.keras")


def test_a_file_of_another_kind_is_refused(tmp_path):
  (tmp_path / "a.keras").write_bytes(b"these are not weights")
  with pytest.raises(UsageError, match="Expected a .keras checkpoint, but .*a.keras cannot be read as one"):
    checkpoint_lib.load_checkpoint(tmp_path / "a.keras")


def test_half_a_file_is_refused(path):
  data = path.read_bytes()
  path.write_bytes(data[: len(data) // 2])
  with pytest.raises(UsageError, match="cannot be read as one"):
    checkpoint_lib.load_checkpoint(path)


def test_a_keras_model_of_someone_else_is_refused(path, tmp_path):
  rewrite(path, tmp_path / "other.keras", None)
  with pytest.raises(UsageError, match="is a Keras model without tbvis' description .* Expected a file written by tbvis-train"):
    checkpoint_lib.load_checkpoint(tmp_path / "other.keras")


@pytest.mark.parametrize("change", [{"format": 99}, {"architecture": "resnet"}])
def test_another_format_or_network_is_refused(path, tmp_path, change):
  rewrite(path, tmp_path / "other.keras", change)
  with pytest.raises(UsageError, match=f"expected format 1 and an architecture of .*, found .*{next(iter(change.values()))}"):
    checkpoint_lib.load_checkpoint(tmp_path / "other.keras")


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ([{}], r"to have format \(int\), architecture \(str\), .*, metadata \(dict\), found dict"),
    ([[]], "found list"),
    ([None], "found NoneType"),
    ({"format": "1"}, r"to have format \(int\), found format \(str\)"),
    ({"architecture": ["two_stream_fusion_vgg16"]}, r"to have architecture \(str\)"),
    ({"arguments": [1]}, r"to have arguments \(dict\)"),
    ({"metadata": None}, r"to have metadata \(dict\)"),
    ({"classes": "ab"}, r"to have classes \(list\)"),
    ({"classes": []}, "expected names of classes and an input_size"),
    ({"classes": [1, 2]}, "expected names of classes and an input_size"),
    ({"arguments": {}}, "expected names of classes and an input_size"),
    ({"arguments": {**ARGUMENTS, "width": "wide"}}, "no network can be built of the arguments"),
    ({"arguments": {**ARGUMENTS, "dtype": "float32"}}, "no network can be built of the arguments"),
    ({"arguments": {**ARGUMENTS, "fusion": "sum"}}, "no network can be built of the arguments"),
    ({"metadata": {"appearance_mean": [1, 2]}}, r"appearance mean of three finite numbers .*found \[1, 2\]"),
    ({"metadata": {"appearance_mean": [1, 2, float("nan")]}}, "appearance mean of three finite numbers"),
    ({"metadata": {"appearance_mean": "123"}}, "appearance mean of three finite numbers"),
    ({"metadata": {"appearance_mean": [1, 2, 10**400]}}, "appearance mean of three finite numbers"),
  ],
)
def test_a_damaged_description_is_refused(path, tmp_path, change, message):
  rewrite(path, tmp_path / "other.keras", change)
  with pytest.raises(UsageError, match=rf"other\.keras.*{message}") as refused:
    checkpoint_lib.load_checkpoint(tmp_path / "other.keras")
  assert "\n" not in str(refused.value)


def test_a_changed_weight_is_refused(path):
  data = bytearray(path.read_bytes())
  data[len(data) // 2] ^= 1
  path.write_bytes(data)
  with pytest.raises(UsageError, match=r"demo\.keras cannot be read as one: Bad CRC-32"):
    checkpoint_lib.load_checkpoint(path)


def load(path):
  """For `fuzz`."""
  checkpoint = checkpoint_lib.load_checkpoint(path)
  keras.backend.clear_session()
  return checkpoint.input_size, checkpoint.appearance_mean


@pytest.mark.slow
def test_damaged_files_are_one_error(tmp_path):
  # Of few layers: each copy is made a network as far as it goes.
  thin = checkpoint_lib.build("c3d", {"width": 0.01, "input_size": 64, "fc_units": 4}, CLASSES)
  checkpoint_lib.save_checkpoint(thin, tmp_path / "thin.keras")
  found = fuzz.outcomes("tests.models.test_checkpoint:load", tmp_path / "thin.keras", tmp_path, count=500)
  assert sum(found.values()) == 500 and found["refused"] > 350, found


def test_weights_that_do_not_fit_the_description_are_refused(path, tmp_path):
  rewrite(path, tmp_path / "other.keras", {"arguments": {**ARGUMENTS, "fc_units": 12}})
  with pytest.raises(UsageError, match="the weights do not fit its own description"):
    checkpoint_lib.load_checkpoint(tmp_path / "other.keras")


def test_weights_are_copied_and_other_classes_keep_their_own_classifier():
  arguments = {"width": 0.05, "input_size": 32, "fc_units": 4}
  source = checkpoint_lib.build("two_stream_fusion_vgg16", {**arguments, "seed": 1}, ("a", "b"))

  def copied(classes, **changed):
    target = checkpoint_lib.build("two_stream_fusion_vgg16", {**arguments, **changed}, classes)
    return target, checkpoint_lib.copy_weights({"start.keras": source}, target)

  target, layers = copied(("a", "b"))
  assert "prediction" in layers and "conv5_fusion" in layers
  for ours, theirs in zip(target.model.get_weights(), source.model.get_weights(), strict=True):
    np.testing.assert_array_equal(ours, theirs)
  for classes in (("a", "b", "c"), ("b", "a")):
    target, layers = copied(classes)
    assert not any(name.startswith("prediction") for name in layers) and "fc7_motion" in layers
    kernels = [network.model.get_layer("prediction").get_weights()[0][..., :2] for network in (target, source)]
    assert not np.array_equal(*kernels)
  with pytest.raises(UsageError, match=r"start\.keras: expected a network whose layer conv1_1_appearance has weights of .*found"):
    copied(("a", "b"), width=0.1)


@pytest.mark.slow
def test_towers_of_their_own_files_are_paired():
  arguments = {"width": 0.02, "input_size": 32}
  towers = {
    f"{stream}.keras": checkpoint_lib.build("tsn_bn_inception", {**arguments, "stream": stream, "seed": seed}, ("a", "b"))
    for seed, stream in enumerate(("appearance", "motion"), start=1)
  }
  pair = checkpoint_lib.build("tsn_bn_inception", arguments, ("a", "b"))
  before = {layer.name: layer.get_weights() for layer in pair.model.layers if layer.weights}
  assert set(checkpoint_lib.copy_weights(towers, pair)) == set(before)
  for name, source in towers.items():
    for layer in source.model.layers:
      for ours, theirs in zip(pair.model.get_layer(layer.name).get_weights(), layer.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs, err_msg=f"{name}: {layer.name}")
  # A stream that no file has starts from nothing.
  pair = checkpoint_lib.build("tsn_bn_inception", arguments, ("a", "b"))
  done = checkpoint_lib.copy_weights({"motion.keras": towers["motion.keras"]}, pair)
  assert done and all("motion" in name for name in done)
  for name in set(before) - set(done):
    for ours, theirs in zip(pair.model.get_layer(name).get_weights(), before[name], strict=True):
      np.testing.assert_array_equal(ours, theirs)


def test_every_network_but_those_of_others_can_be_trained():
  assert set(recipe.NETWORKS) == set(checkpoint_lib.BUILDERS) - {"adopted"}


@pytest.mark.parametrize(
  "sampling", [3, {"bogus": 1}, {"spacing": "x"}, {"spacing": [1]}, {"spacing": [5, 1]}, {"flow_before": -1}, {"flow_before": True}]
)
def test_a_look_at_clips_that_cannot_be_is_refused(path, tmp_path, sampling):
  rewrite(path, tmp_path / "other.keras", {"metadata": {"sampling": sampling}})
  with pytest.raises(UsageError, match="sampling"):
    checkpoint_lib.load_checkpoint(tmp_path / "other.keras")
