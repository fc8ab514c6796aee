import dataclasses

from absl import logging
import keras
import numpy as np
import pytest
import tensorflow as tf

from tbvis.datasets import snippets
from tbvis.diagnostics import collection, passes, places, statistics
from tbvis.errors import UsageError
from tbvis.models import geometry, two_stream

# Every test passes clips through a network.
pytestmark = pytest.mark.slow

COUNT = 2


@pytest.fixture(scope="module")
def found(checkpoint, dataset):
  return collection.collect(checkpoint, dataset, count=COUNT)


@pytest.fixture(scope="module")
def outputs(checkpoint, dataset):
  """Pre-ReLU values by layer and clip, and frames by clip, by plain calls of the model."""
  layers = collection.layers_with_units(checkpoint.model)
  probe = keras.Model(checkpoint.model.inputs, [checkpoint.model.get_layer(n).output for n in layers])
  values, frames = {name: [] for name in layers}, []
  for clip in dataset.clips("train", [8, 9]):
    inputs, of_frames = snippets.evaluation_snippets(
      clip, input_size=checkpoint.input_size, appearance_mean=checkpoint.appearance_mean, count=COUNT, flips=False
    )
    frames.append(of_frames.numpy()[:, 0])
    for name, value in zip(layers, probe([inputs["appearance"], inputs["motion"]]), strict=True):
      values[name].append(np.asarray(value))
  return values, frames


def test_every_convolution_is_there(checkpoint, found):
  names = list(found.layers)
  assert "conv1_1_appearance" in names and "conv5_fusion" in names and "prediction_motion" in names and "fc7" in names
  assert len(names) == 13 * 2 + 1 + 3 * 3
  assert len(found.clips) == 9 and found.labels.tolist().count(1) == 3


def test_statistics_equal_brute_force(dataset, found, outputs):
  values, frames = outputs
  clips = [clip["clip"] for clip in dataset.content["train"] if clip["group"] in (8, 9)]
  labels = np.array([clip["label"] for clip in dataset.content["train"] if clip["group"] in (8, 9)])
  assert list(found.clips) == clips
  for layer, by_clip in values.items():
    largest = np.array([v.max(axis=(0, 1, 2)) for v in by_clip])
    np.testing.assert_allclose(found.largest(layer), largest.max(axis=0), rtol=1e-4, atol=1e-4)
    for label in range(3):
      np.testing.assert_allclose(found.class_means(layer)[label], largest[labels == label].mean(axis=0), rtol=1e-4, atol=1e-3)
    for channel in range(largest.shape[1]):
      top = found.top_clips(layer, channel)
      order = np.argsort(-largest[:, channel], kind="stable")
      np.testing.assert_allclose([t.value for t in top], largest[order, channel], rtol=1e-4, atol=1e-3)
      assert [t.value for t in top] == sorted([t.value for t in top], reverse=True)
      for rank in (0, 4):
        # The place and frame must hold that very value, whatever ties there are.
        clip = clips.index(top[rank].clip)
        y, x = top[rank].map_yx
        at_place = by_clip[clip][frames[clip].tolist().index(top[rank].frame), y, x, channel]
        assert at_place == pytest.approx(top[rank].value, rel=1e-4, abs=1e-3)
        assert top[rank].label == labels[clip]


def test_values_are_taken_before_the_relu(found, outputs):
  values, _ = outputs
  assert any(v.min() < 0 for v in values["conv3_3_motion"])
  never_on = [name for name in found.layers if (found.largest(name) < 0).any()]
  assert never_on, "expected some unit of a random network that never exceeds zero"


@pytest.mark.parametrize("shape", [(1, 1, 1, 3), (2, 5, 7, 4), (3, 1, 6, 2)])
@pytest.mark.parametrize("dtype", [tf.float32, tf.bfloat16])
def test_location_maxima_against_argmax(shape, dtype):
  # Few distinct values, so that there are ties.
  array = np.random.default_rng(1).integers(-3, 3, shape).astype(np.float32)
  best = {k: v.numpy() for k, v in collection.location_maxima(tf.cast(array, dtype)).items()}
  flat = array.reshape(-1, shape[-1])
  number, y, x = np.unravel_index(flat.argmax(axis=0), shape[:-1])
  assert np.array_equal(best["value"], flat.max(axis=0))
  assert np.array_equal(best["map"], number)
  assert np.array_equal(best["yx"], np.stack([y, x], axis=1))


@pytest.mark.parametrize("layer", ["conv1_2_motion", "conv2_1_motion", "conv3_3_appearance", "conv5_fusion", "fc6"])
def test_place_in_the_input_is_the_centre_of_what_the_location_sees(layer):
  # With mean pools and positive weights the gradient reaches every pixel of the receptive field.
  def mean_pool(each):
    if isinstance(each, keras.layers.MaxPooling2D):
      return keras.layers.AveragePooling2D(each.pool_size, name=each.name)
    return type(each).from_config(each.get_config())

  model = two_stream.two_stream_fusion_vgg16(2, width=0.05, input_size=64, fc_units=4)
  geometries, offsets = geometry.layer_geometry(model), places.centre_offsets(model)
  linear = keras.models.clone_model(model, clone_function=mean_pool)
  for name in collection.layers_with_units(linear):
    kernel = linear.get_layer(name).kernel
    kernel.assign(np.full(kernel.shape, 0.1))
  stream, side = geometries[layer].streams[0], 288
  probe = keras.Model(linear.inputs, linear.get_layer(layer).output)
  inputs = {"appearance": tf.ones([1, side, side, 3]), "motion": tf.ones([1, side, side, 20])}
  location = int((side / 2 - offsets[layer]) // geometries[layer].stride)
  with tf.GradientTape() as tape:
    tape.watch(inputs[stream])
    target = tf.reduce_sum(probe([inputs["appearance"], inputs["motion"]])[:, location, location])
  seen = np.abs(tape.gradient(target, inputs[stream]).numpy()[0]).sum(axis=-1) > 0
  rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
  assert len(rows) == len(columns) == geometries[layer].field
  centre = places.to_input(np.array([location, location]), offsets[layer], geometries[layer].stride)
  assert centre.tolist() == [(rows[0] + rows[-1]) // 2, (columns[0] + columns[-1]) // 2]


def test_top_places_lie_inside_the_frame(found):
  for name, layer in found.layers.items():
    assert (layer.input_yx >= 0).all() and (layer.input_yx[..., 0] < 73).all() and (layer.input_yx[..., 1] < 86).all(), name


def test_a_hat_falls_back_with_a_warning(found, monkeypatch):
  said = []
  monkeypatch.setattr(logging, "warning", lambda text, *values: said.append(text % values))
  layer = found.layers["conv1_1_motion"]
  values = layer.values.copy()
  values[:, 0] = [4.0, -1.0, 2.0, 3.0]
  edited = dataclasses.replace(found, layers={"conv1_1_motion": dataclasses.replace(layer, values=values)})
  assert edited.a_hat("conv1_1_motion").tolist() == [4.0, 3.0, 2.0, 3.0]
  assert len(said) == 1 and "conv1_1_motion" in said[0] and "f002" in said[0]
  values[:, 0] = [-4.0, -1.0, -2.0, -3.0]
  assert edited.a_hat("conv1_1_motion").tolist() == [1.0] * 4
  assert edited.a_hat("conv9", units=2).tolist() == [1.0, 1.0]
  assert len(said) == 3
  with pytest.raises(UsageError, match="Unknown layer 'conv1_1_motions'.*conv1_1_motion"):
    edited.a_hat("conv1_1_motions")


def test_ranks_beyond_the_clips_are_empty():
  layer = statistics.LayerStatistics.empty(2, 1)
  best = {"value": np.array([1.0, -2.0], np.float32), "frame": np.array([5, 6]), "yx": np.array([[0, 1], [1, 0]])}
  stats = statistics.UnitStatistics(("a",), ("clip",), np.array([0]), {"l": layer.with_clip(0, 0, best, 0.5, 2)})
  assert len(stats.top_clips("l", 1)) == 1
  assert stats.top_clips("l", 0)[0].input_yx == (0, 2)
  with pytest.raises(UsageError, match="channel of 0 to 1"):
    stats.top_clips("l", 2)


def test_only_the_nine_best_are_kept_earlier_first():
  layer = statistics.LayerStatistics.empty(1, 2)
  order = [3, 7, 1, 7, 9, 0, 5, 2, 8, 4, 6]
  for clip, value in enumerate(order):
    best = {"value": np.array([value], np.float32), "frame": np.array([clip]), "yx": np.array([[clip, 0]])}
    layer = layer.with_clip(clip, clip % 2, best, 0.0, 1)
  assert layer.values[0].tolist() == [9, 8, 7, 7, 6, 5, 4, 3, 2]
  assert layer.clips[0].tolist() == [4, 8, 1, 3, 10, 6, 9, 0, 7]
  assert np.array_equal(layer.frames, layer.clips) and np.array_equal(layer.map_yx[0, :, 0], layer.clips[0])
  assert layer.class_sums[:, 0].tolist() == [3 + 1 + 9 + 5 + 8 + 6, 7 + 7 + 0 + 2 + 4]


def test_save_load_and_resume_are_equal(checkpoint, dataset, found, tmp_path, monkeypatch):
  path = tmp_path / "statistics.npz"
  monkeypatch.setattr(collection, "_SAVE_EVERY_S", 0)
  save, calls = statistics.UnitStatistics.save, []
  # Both runs share one compiled program, only to save time.
  program, compiled = passes.program, []
  monkeypatch.setattr(passes, "program", lambda *about: (compiled or compiled.append(program(*about)) or compiled)[0])

  class Interrupted(Exception):
    pass

  def fail_after_four(self, target):
    save(self, target)
    calls.append(len(self.clips))
    if len(calls) == 4:
      raise Interrupted

  with monkeypatch.context() as patch:
    patch.setattr(statistics.UnitStatistics, "save", fail_after_four)
    with pytest.raises(Interrupted):
      collection.collect(checkpoint, dataset, count=COUNT, partial=path)
  assert len(statistics.UnitStatistics.load(path).clips) == 4
  resumed = collection.collect(checkpoint, dataset, count=COUNT, partial=path)
  for back in (resumed, statistics.UnitStatistics.load(path, classes=checkpoint.classes)):
    assert (back.clips, back.classes, back.source, back.key) == (found.clips, found.classes, found.source, found.key)
    for name, layer in found.layers.items():
      for field in dataclasses.fields(layer):
        assert np.array_equal(getattr(back.layers[name], field.name), getattr(layer, field.name)), (name, field.name)
  with pytest.raises(UsageError, match="2 classes"):
    statistics.UnitStatistics.load(path, classes=("a", "b"))


def test_never_test_clips(checkpoint, dataset, found):
  tested = {clip["clip"] for clip in dataset.content["test"]}
  assert not tested & set(found.clips)
  with pytest.raises(UsageError, match=r"groups 1, 2 of split 'train'.*its groups are 8, 9, 10"):
    collection.collect(checkpoint, dataset, groups=[1, 2])


def test_without_held_out_groups_all_training_clips_count_and_it_says_so(checkpoint, monkeypatch):
  said = []
  monkeypatch.setattr(logging, "warning", lambda text, *values: said.append(text))
  assert collection.validation_groups(dataclasses.replace(checkpoint, metadata={})) is None
  assert len(said) == 1
  assert collection.validation_groups(checkpoint) == [8, 9]
  assert collection.validation_groups(checkpoint, [10]) == [10]
