"""Networks of others and of films on clips: scores, statistics of dense layers, and places behind a crop."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from tbvis.diagnostics import attribution, collection, evaluation
from tbvis.models import adoption, checkpoint
from tests.diagnostics.conftest import CLASSES

layers = keras.layers
SIDE = 40


@pytest.fixture(scope="module")
def adopted():
  """A model of pictures of one size with an odd layer between, and a dense head."""
  keras.utils.set_random_seed(3)
  picture = keras.Input((SIDE, SIDE, 3), name="picture")
  x = layers.Conv2D(4, 3, strides=2, activation="relu", name="conv")(picture)
  x = layers.Dense(5, activation="relu", name="dense")(layers.Flatten(name="flat")(x * 0.5))
  model = keras.Model(picture, layers.Dense(3, name="scores")(x))
  return adoption.adopt(model, CLASSES, appearance=adoption.InputSettings("picture", scale=1 / 255, offset=0.5))


def clip_of(made, dataset, split, name, count):
  from tbvis.diagnostics import passes

  found = passes.clip_snippets(made, dataset, split, count=count, flips=False)
  return next(clip for clip in found if clip.clip == name)


@pytest.mark.slow
def test_scores_and_statistics_are_those_of_the_middle_of_frames(adopted, dataset):
  predictions = evaluation.evaluate(adopted, dataset, count=2, flips=False)
  assert predictions.towers == ("appearance", "fused")
  stats = collection.collect(adopted, dataset, groups=[8], count=2)
  assert list(stats.layers) == ["conv", "dense", "scores", "prediction_appearance"]
  name = stats.clips[0]
  clip = clip_of(adopted, dataset, "train", name, 2)
  frames = clip.inputs["appearance"].numpy()
  # 256 x 300 pixels by 40 / 224, of which the middle is seen.
  assert frames.shape[1:3] == (46, 54)
  seen = {"appearance": frames[:, 3:43, 7:47]}
  model = adopted.model
  every = keras.Model(model.input, {layer: model.get_layer(layer).output for layer in stats.layers})(seen)
  here = np.flatnonzero(stats.layers["conv"].clips[:, 0] == 0)
  for layer, values in every.items():
    own = np.asarray(values).reshape(-1, values.shape[-1]).max(axis=0)
    found = stats.layers[layer]
    mine = np.where(found.clips == 0)
    np.testing.assert_allclose(found.values[mine], own[mine[0]], rtol=1e-4, atol=1e-6)
  # A 3 x 3 window that starts at twice its number has its middle one pixel on.
  yx = stats.layers["conv"].map_yx[here, 0]
  np.testing.assert_array_equal(stats.layers["conv"].input_yx[here, 0], yx * 2 + 1 + np.array([3, 7]))
  assert (stats.layers["dense"].input_yx[0, 0] == [22, 26]).all()
  assert stats.a_hat("prediction_appearance", 3).shape == (3,)


@pytest.mark.slow
def test_where_it_looked_lies_where_it_is_in_the_frame(adopted):
  frame = np.full((1, 46, 54, 3), -127.5, np.float32)
  frame[0, 20:23, 30:33] = 127.5
  for method in ("gradient_times_input", "grad_cam"):
    look = attribution.Attributor(adopted.model, method, "conv" if method == "grad_cam" else None, classes=CLASSES)
    signed = look({"appearance": frame}, attribution.class_score(CLASSES[0], "appearance")).signed["appearance"][0]
    if method == "grad_cam":
      assert signed[21, 31] != pytest.approx(signed[5, 9]) and np.ptp(signed[5:12, 9:20]) < 1e-6
    else:
      assert not signed[:3].any() and not signed[:, 47:].any() and signed[3:43, 7:47].any()
  assert attribution.last_layer(adopted.model) == "conv"


@pytest.mark.slow
def test_a_film_network_goes_through_evaluation_and_statistics(dataset):
  made = checkpoint.build("c3d", {"chunks": 4, "width": 0.0625, "input_size": 32, "fc_units": 8}, CLASSES)
  predictions = evaluation.evaluate(made, dataset, count=2, flips=False)
  name = predictions.clips[0]
  clip = clip_of(made, dataset, "test", name, 2)
  assert clip.inputs["appearance"].shape[:2] == (2, 4) and np.diff(clip.frames, axis=1).tolist() == [[1] * 3] * 2
  wanted = made.model(clip.inputs, training=False)["scores_appearance"].numpy().mean(axis=0)
  np.testing.assert_allclose(predictions.scores["fused"][0], wanted, rtol=1e-4, atol=1e-7)
  stats = collection.collect(made, dataset, groups=[8], count=1)
  assert "conv5b_appearance" in stats.layers and attribution.last_layer(made.model) == "relu5b"
  assert stats.layers["conv2a_appearance"].frames[:, 0].min() >= 0
