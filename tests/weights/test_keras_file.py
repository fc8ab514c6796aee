"""Keras' files in every form, ImageNet's conventions, and bad ones."""

from __future__ import annotations

import h5py
import keras
import numpy as np
import pytest

from tbvis.errors import UsageError
from tbvis.models import checkpoint as checkpoint_lib
from tbvis.models import two_stream
from tbvis.weights import hdf5, inference, keras_file, transfer
from tests.weights import fuzz
from tests.weights.test_npz import SMALL

# Together they take a good part of a minute.
pytestmark = pytest.mark.slow

CLASSES = ("Archery", "Billiards", "YoYo")


@pytest.fixture(scope="module")
def vgg16():
  """keras.applications' VGG-16 with its top, thin: the same layer names, Dense layers behind a Flatten."""
  x = inputs = keras.Input((64, 64, 3))
  for (block, depth, _), width in zip(two_stream.BLOCKS, (4, 4, 4, 8, 8), strict=True):
    for index in range(1, depth + 1):
      x = keras.layers.Conv2D(width, 3, padding="same", activation="relu", name=f"block{block}_conv{index}")(x)
    x = keras.layers.MaxPooling2D(2, name=f"block{block}_pool")(x)
  x = keras.layers.Flatten(name="flatten")(x)
  x = keras.layers.Dense(6, activation="relu", name="fc1")(x)
  x = keras.layers.Dense(6, activation="relu", name="fc2")(x)
  return keras.Model(inputs, keras.layers.Dense(3, name="predictions")(x), name="vgg16")


def write(model, path):
  """Writes a model in the form that the file's name asks for; "released" is the form of keras.applications' own files."""
  if path.name == "released.h5":
    with h5py.File(path, "w") as file:
      for layer in model.layers:
        group = file.create_group(layer.name)
        for variable, letter in zip(layer.weights, "Wb", strict=False):
          group.create_dataset(f"{layer.name}_{letter}_1:0", data=variable.numpy())
        group.attrs["weight_names"] = [name.encode() for name in group]
  elif path.name.endswith(".weights.h5"):
    model.save_weights(path)
  else:
    model.save(path)


@pytest.mark.parametrize("name", ["released.h5", "a.h5", "a.weights.h5", "a.keras"])
def test_the_scores_of_keras_own_network_come_out(vgg16, tmp_path, name):
  write(vgg16, tmp_path / name)
  source = keras_file.read(tmp_path / name)
  targets = transfer.with_fused_head(keras_file.targets(source, "appearance"))
  arguments = inference.infer_arguments(targets, name, source.info.get("arguments", {}))
  assert arguments == {"width": 8 / 512, "input_size": 64, "fc_units": 6, "classes": 3}
  model = two_stream.two_stream_fusion_vgg16(**arguments)
  plan = transfer.make_plan(transfer.weight_shapes(model), [(source, targets)])
  assert not plan.errors and not plan.unused
  transfer.apply(plan, model)
  image = np.random.default_rng(0).normal(size=(2, 64, 64, 3)).astype(np.float32)
  ours = model({"appearance": image, "motion": np.zeros((2, 64, 64, 20), np.float32)})["scores_appearance"]
  # Keras' network takes B, G, R.
  expected = keras.ops.convert_to_numpy(vgg16(image[..., ::-1]))
  np.testing.assert_allclose(keras.ops.convert_to_numpy(ours), expected, rtol=1e-3, atol=1e-5 * np.abs(expected).max())
  assert np.abs(keras.ops.convert_to_numpy(vgg16(image)) - expected).max() > 0.01 * np.abs(expected).max()


def test_without_its_top_the_classifier_is_missing(vgg16, tmp_path):
  notop = keras.Model(vgg16.inputs, vgg16.get_layer("block5_pool").output)
  notop.save_weights(tmp_path / "notop.weights.h5")
  source = keras_file.read(tmp_path / "notop.weights.h5")
  targets = keras_file.targets(source, "appearance")
  both = [*targets, *transfer.cross_modality(targets)]
  shapes = transfer.weight_shapes(two_stream.two_stream_fusion_vgg16(3, **{**SMALL, "width": 8 / 512}))
  plan = transfer.make_plan(shapes, [(source, both)])
  assert len(plan.targets) == 52 and all(key.startswith(("fc6", "fc7", "prediction")) for key in plan.missing)
  with pytest.raises(UsageError, match=r"missing for 18 weights .*fc6.*--allow_partial"):
    plan.check("notop.weights.h5")
  motion = next(t.value for t in both if (t.layer, t.weight) == ("conv1_1_motion", "kernel"))
  first = vgg16.get_layer("block1_conv1").kernel.numpy()
  np.testing.assert_allclose(motion, np.repeat(first.mean(axis=2, keepdims=True), 20, axis=2), rtol=1e-5, atol=1e-7)


def test_our_own_checkpoint_is_a_source(tmp_path):
  network = checkpoint_lib.build("two_stream_fusion_vgg16", {**SMALL, "dropout": 0.3}, CLASSES, appearance_mean=[1.0, 2, 3])
  checkpoint_lib.save_checkpoint(network, tmp_path / "a.keras")
  source = keras_file.read(tmp_path / "a.keras")
  assert source.info["classes"] == CLASSES and source.info["appearance_mean"] == (1, 2, 3)
  targets = keras_file.targets(source, None)
  assert inference.infer_arguments(targets, "a", source.info["arguments"])["dropout"] == 0.3
  # Another number of classes: the classifiers are left out, and that must be asked for.
  other = two_stream.two_stream_fusion_vgg16(5, **SMALL)
  plan = transfer.make_plan(transfer.weight_shapes(other), [(source, targets)])
  with pytest.raises(UsageError, match=r"missing for 6 weights .*unused 6 tensors .*3 classes, the network has 5"):
    plan.check("a.keras")
  plan.check("a.keras", allow_partial=True)
  transfer.apply(plan, other)
  for layer in ("conv5_fusion", "fc6", "conv1_1_motion"):
    np.testing.assert_array_equal(other.get_layer(layer).get_weights()[0], network.model.get_layer(layer).get_weights()[0])


@pytest.mark.parametrize("mean", [[], [1, 2], [1, 2, float("nan")], "123", [1, 2, None], 7])
def test_a_mean_is_three_finite_numbers(tmp_path, mean):
  network = checkpoint_lib.build("two_stream_fusion_vgg16", SMALL, CLASSES, appearance_mean=mean)
  checkpoint_lib.save_checkpoint(network, tmp_path / "a.keras")
  with pytest.raises(UsageError, match=r"a\.keras: expected an appearance mean of three finite numbers"):
    keras_file.read(tmp_path / "a.keras")


def test_without_a_connection_the_file_is_asked_for(tmp_path, monkeypatch):
  def fails(**_):
    raise Exception("URL fetch failure")

  monkeypatch.setenv("KERAS_HOME", str(tmp_path))
  monkeypatch.setattr(keras.applications, "VGG16", fails)
  with pytest.raises(UsageError, match="keras.applications could not fetch VGG-16 .URL fetch failure.. Name a file"):
    keras_file.download()


def test_arrays_that_lie_in_another_file_are_refused(tmp_path):
  (tmp_path / "secret").write_bytes(bytes(64))
  with h5py.File(tmp_path / "a.h5", "w") as file:
    file.create_dataset("fc1/kernel", (16,), "f4", external=[(str(tmp_path / "secret"), 0, 64)])
  with pytest.raises(UsageError, match="a.h5 cannot be read as one: the array fc1/kernel lies in another file"):
    keras_file.read(tmp_path / "a.h5")


def test_names_that_are_no_text_are_refused(tmp_path):
  with h5py.File(tmp_path / "a.h5", "w") as file:
    file.create_dataset(b"fc\xff", data=np.zeros(3))
  with pytest.raises(UsageError, match="a.h5 cannot be read as one: the name .* is no text"):
    keras_file.read(tmp_path / "a.h5")


def test_declared_sizes_beyond_the_file_are_refused(tmp_path):
  with h5py.File(tmp_path / "a.h5", "w") as file:
    file.create_dataset("fc1/kernel", (1 << 20, 1 << 20), "f4", chunks=(1024, 1024), compression="gzip")
  with pytest.raises(UsageError, match="a.h5.*the array fc1/kernel declares 4,398,046,511,104 bytes"):
    keras_file.read(tmp_path / "a.h5")


def test_a_reader_that_hangs_or_dies_is_an_error_and_the_next_file_is_read(vgg16, tmp_path, monkeypatch):
  write(vgg16, tmp_path / "a.weights.h5")
  keras_file.read(tmp_path / "a.weights.h5")
  monkeypatch.setattr(hdf5, "_SECONDS", 0)
  monkeypatch.setattr(hdf5, "_BYTES_A_SECOND", 1e15)
  with pytest.raises(UsageError, match="a.weights.h5 cannot be read as one: reading it took more than"):
    keras_file.read(tmp_path / "a.weights.h5")
  monkeypatch.undo()
  assert keras_file.read(tmp_path / "a.weights.h5").tensors
  hdf5._child.kill()
  hdf5._child.wait()
  assert keras_file.read(tmp_path / "a.weights.h5").tensors


@pytest.mark.parametrize("content", [b"", b"no HDF5" * 100, b"\x89HDF\r\n\x1a\n" + bytes(500)])
def test_files_of_another_kind_are_refused(tmp_path, content):
  for name in ("a.h5", "a.keras"):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=name):
      keras_file.read(tmp_path / name)


_SHAPES: dict[str, tuple[int, ...]] = {}


def import_like_the_script(path):
  """Everything between a file and a network; for `fuzz`, whose first call is with the good file."""
  source = keras_file.read(path)
  targets = transfer.with_fused_head(keras_file.targets(source, "appearance"))
  inference.infer_arguments(targets, str(path), source.info.get("arguments", {}))
  if not _SHAPES:
    _SHAPES.update({f"{t.layer}/{t.weight}": t.value.shape for t in targets})
  transfer.make_plan(_SHAPES, [(source, targets)]).check(str(path), allow_partial=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["released.h5", "a.weights.h5", "a.keras"])
def test_damaged_files_are_one_error(vgg16, tmp_path, name):
  write(vgg16, tmp_path / name)
  found = fuzz.outcomes("tests.weights.test_keras_file:import_like_the_script", tmp_path / name, tmp_path, count=240)
  # HDF5 has no check sums: what falls on a weight changes a number. A .keras file is a zip file, which has.
  assert found["refused"] > (150 if name == "a.keras" else 100), found


def test_wrong_networks_and_values_are_one_error(vgg16, tmp_path):
  write(vgg16, tmp_path / "released.h5")
  rng, layers = np.random.default_rng(0), [layer.name for layer in vgg16.layers if layer.weights]
  shapes = {f"{t.layer}/{t.weight}": t.value.shape for t in keras_file.targets(keras_file.read(tmp_path / "released.h5"), "appearance")}
  for case in range(60):
    path = tmp_path / f"bad{case}.h5"
    path.write_bytes((tmp_path / "released.h5").read_bytes())
    with h5py.File(path, "a") as file:
      layer = layers[rng.integers(len(layers))]
      name = f"{layer}/{layer}_W_1:0"
      if case % 3 == 0:
        file[name][...] = (np.nan, np.inf)[case % 2]
      elif case % 3 == 1:
        value = file[name][()]
        del file[name]
        file[name] = np.repeat(value, 2, axis=-1)
      else:
        for old in list(file):
          file.move(old, f"x{old}")
    with pytest.raises(UsageError, match=path.name):
      source = keras_file.read(path)
      transfer.make_plan(shapes, [(source, keras_file.targets(source, "appearance"))]).check(str(path), allow_partial=False)
    path.unlink()
