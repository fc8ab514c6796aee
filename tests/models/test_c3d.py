"""C3D: beside PyTorch, its published sizes, and stimuli of it."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from tbvis.maximization import api
from tbvis.models import c3d, checkpoint, geometry

CLASSES, WIDTH, FC_UNITS = 4, 0.0625, 8


def film(chunks, size, rows=2, seed=0):
  return np.random.default_rng(seed).normal(scale=30, size=(rows, chunks, *size, 3)).astype(np.float32)


def network(chunks=16, input_size=48, **changed):
  return c3d.c3d(CLASSES, chunks, width=WIDTH, input_size=input_size, fc_units=FC_UNITS, **changed)


# 48 pixels become 24, 12, 6, 3 and, rounded up, 2; 5 frames become 3, 2, 1.
@pytest.mark.slow
@pytest.mark.parametrize(("chunks", "last"), [(16, (1, 2, 2)), (5, (1, 2, 2)), (40, (3, 2, 2))])
def test_every_layer_gives_what_pytorch_gives(chunks, last):
  torch = pytest.importorskip("torch")
  from tests.torch_networks import c3d as torch_c3d
  from tests.torch_networks import compare

  theirs = torch_c3d.Network(CLASSES, WIDTH, FC_UNITS, last)
  compare.settle(theirs, torch.zeros(1, 3, chunks, 48, 48))
  modules = {f"{name}_appearance": module for name, module in theirs.named_children()}
  ours = network(chunks)
  assert ours.get_layer("fc6_appearance").kernel_size == last
  given = film(chunks, (48, 48))
  compare.to_keras(ours, modules)
  differences = compare.largest_differences(ours, theirs.outputs(given), appearance=given)
  assert len(differences) == 11 and max(differences.values()) < 2e-5, differences
  turned = compare.largest_differences(ours, theirs.outputs(given[:, ::-1]), appearance=given)
  assert turned["conv2a_appearance"] > 0.05
  fresh = network(chunks, seed=3)
  compare.to_torch(fresh, modules)
  differences = compare.largest_differences(fresh, theirs.outputs(given), appearance=given)
  assert max(differences.values()) < 2e-5, differences


@pytest.mark.slow
def test_the_network_as_published():
  model = c3d.c3d(487)
  assert sum(int(np.prod(w.shape)) for w in model.weights) == 79_991_015
  shapes = {f"pool{i}": model.get_layer(f"pool{i}_appearance").output.shape[1] for i in range(1, 6)}
  assert shapes == {"pool1": 16, "pool2": 8, "pool3": 4, "pool4": 2, "pool5": 1}
  assert model.get_layer("fc6_appearance").kernel.shape == (1, 4, 4, 512, 4096)
  table = geometry.layer_geometry(model)
  # Convolutions of 3 and pools of 2: 3, 8, 18 and 26, 46 and 62, 102 and 134 pixels.
  fields = {name: table[f"{name}_appearance"].field for name in ("conv1a", "conv2a", "conv3a", "conv3b", "conv4b", "conv5b")}
  assert fields == {"conv1a": 3, "conv2a": 8, "conv3a": 18, "conv3b": 26, "conv4b": 62, "conv5b": 134}


@pytest.mark.slow
def test_scores_of_larger_films_are_means_over_places(tmp_path):
  made = checkpoint.build("c3d", {"chunks": 6, "width": WIDTH, "input_size": 32, "fc_units": FC_UNITS}, ("a", "b", "c", "d"))
  model = made.model
  model.get_layer("prediction_appearance").kernel.assign(np.random.default_rng(0).normal(size=(1, 1, 1, FC_UNITS, CLASSES)))
  given = film(6, (70, 41))
  places = keras.Model(model.inputs, model.get_layer("prediction_appearance").output)({"appearance": given})
  assert places.shape == (2, 1, 3, 2, 4)
  scores = model({"appearance": given}, training=False)
  assert set(scores) == {"scores_appearance"}
  np.testing.assert_allclose(scores["scores_appearance"], np.mean(places, axis=(1, 2, 3)), rtol=1e-4, atol=1e-6)
  checkpoint.save_checkpoint(made, tmp_path / "c3d.keras")
  read = checkpoint.load_checkpoint(tmp_path / "c3d.keras")
  np.testing.assert_array_equal(read.model({"appearance": given}, training=False)["scores_appearance"], scores["scores_appearance"])


def test_normalisations_stand_behind_convolutions_and_are_trained():
  model = network(chunks=4, input_size=32, batch_norm=True)
  made = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
  blocks = ["1a", "2a", "3a", "3b", "4a", "4b", "5a", "5b"]
  assert [layer.name for layer in made] == [f"bn{block}_appearance" for block in blocks] and all(layer.trainable for layer in made)
  for block in blocks:
    assert model.get_layer(f"bn{block}_appearance").input is model.get_layer(f"conv{block}_appearance").output
    assert model.get_layer(f"relu{block}_appearance").input is model.get_layer(f"bn{block}_appearance").output


@pytest.mark.parametrize("wrong", [{"chunks": 1}, {"input_size": 16}, {"width": 0}, {"classes": 0}, {"fc_units": 0}])
def test_arguments_out_of_range_are_refused(wrong):
  with pytest.raises(ValueError, match=next(iter(wrong))):
    c3d.c3d(**{"classes": 2, **wrong})


@pytest.mark.slow
def test_a_film_is_found_and_chi_acts_on_its_time():
  made = checkpoint.build("c3d", {"chunks": 8, "width": WIDTH, "input_size": 32, "fc_units": FC_UNITS}, ("a", "b", "c", "d"))
  fast, slow = api.maximize(made, "conv3a_appearance/f002", chi=[0, 10], config=api.MaximizationConfig(steps=40))
  assert fast.error is None and fast.inputs["appearance"].shape[2:] == (8, 3)
  assert fast.temporal_ratio > 1.5 * slow.temporal_ratio > 0
