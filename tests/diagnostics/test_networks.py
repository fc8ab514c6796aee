"""Scores, statistics, attribution and changed clips of networks that look at clips in other ways than the VGG-16 does."""

import dataclasses
import functools

import numpy as np
import pytest

from tbvis.datasets import snippets
from tbvis.diagnostics import attribution, collection, effects, evaluation, interventions, passes
from tbvis.diagnostics import probes as probes_lib
from tbvis.diagnostics.analysis import responses
from tbvis.diagnostics.explanations import clips as clips_lib
from tbvis.diagnostics.explanations import films, trials
from tbvis.diagnostics.predictions import Predictions
from tbvis.errors import UsageError
from tbvis.models import checkpoint as checkpoint_lib
from tbvis.models import sampling as sampling_lib

pytestmark = pytest.mark.slow

CLASSES = ("Bowing", "Brushing", "Rolling")
NETWORKS = {
  "pair": ("tsn_bn_inception", {"width": 0.07, "input_size": 48}),
  "segments": ("tsn_bn_inception", {"stream": "motion", "chunks": 3, "width": 0.07, "input_size": 48}),
  "chunks": ("st_resnet50", {"chunks": 3, "width": 0.07, "input_size": 48}),
}


# The pair is twice what one of its streams is, and costs as much: its scores alone are looked at.
@pytest.fixture(scope="module", params=["segments", "chunks"])
def network(request):
  return _network(request.param)


@functools.cache
def _network(name):
  architecture, arguments = NETWORKS[name]
  made = checkpoint_lib.build(architecture, arguments, CLASSES, validation_groups=[8, 9])
  # As they start, classifiers of TSN's kind say next to nothing.
  rng = np.random.default_rng(1)
  for layer in made.model.layers:
    if layer.name.startswith("prediction"):
      layer.set_weights([rng.normal(size=w.shape).astype(np.float32) for w in layer.get_weights()])
  return made


def _looks(network, clip, count, flips=False):
  """The inputs of a clip, one look at a time."""
  inputs, frames = snippets.evaluation_snippets(
    clip, input_size=network.input_size, appearance_mean=network.appearance_mean, count=count, flips=flips, sampling=network.sampling
  )
  return [{name: values[i : i + 1].numpy() for name, values in inputs.items()} for i in range(len(frames))], frames.numpy()


def test_how_each_looks_at_a_clip():
  found = {name: _network(name).sampling for name in NETWORKS}
  both = ("appearance", "motion")
  assert found["pair"] == sampling_lib.Sampling(both, flow_frames=5, flow_before=0, spacing=None)
  assert found["segments"] == sampling_lib.Sampling(("motion",), flow_frames=5, flow_before=0, chunks=3, spacing=None)
  assert found["chunks"] == sampling_lib.Sampling(both, chunks=3, spacing=(5, 15))
  given = dataclasses.replace(_network("chunks"), metadata={"sampling": {"spacing": [1, 2]}}).sampling
  assert given == sampling_lib.Sampling(both, chunks=3, spacing=(1, 2))


@pytest.mark.parametrize("name", list(NETWORKS))
def test_scores_are_means_over_looks(name, dataset):
  network = _network(name)
  found = evaluation.evaluate(network, dataset, groups=[2], count=2)
  assert set(found.towers) == {*network.towers, "fused"}
  for row, clip in enumerate(dataset.clips("test", [2])):
    outputs = [network.model(look) for look in _looks(network, clip, 2, flips=True)[0]]
    for tower in network.towers:
      expected = np.mean([np.asarray(o[f"scores_{tower}"])[0] for o in outputs], axis=0)
      np.testing.assert_allclose(found.scores[tower][row], expected, rtol=1e-3, atol=1e-4)
  fused = found.scores["fused"]
  if network.towers == ("appearance", "motion"):
    np.testing.assert_allclose(fused, 0.4 * found.scores["appearance"] + 0.6 * found.scores["motion"], rtol=1e-5)
  elif network.towers == ("motion",):
    np.testing.assert_array_equal(fused, found.scores["motion"])
  else:
    np.testing.assert_allclose(fused, (found.scores["hybrid"] + found.scores["motion"]) / 2, rtol=1e-5, atol=1e-6)


def test_a_blank_must_be_a_stream_of_the_network(network, dataset):
  if network.sampling.streams == ("motion",):
    with pytest.raises(UsageError, match="appearance.*motion"):
      evaluation.evaluate(network, dataset, groups=[2], count=1, blank="appearance")


def test_statistics_equal_brute_force(network, dataset):
  found = collection.collect(network, dataset, count=2)
  layers = [name for name in collection.layers_with_units(network.model)]
  assert list(found.layers) == layers
  import keras

  probe = keras.Model(network.model.input, {name: network.model.get_layer(name).output for name in layers})
  by_clip = []
  frames = {}
  for clip in dataset.clips("train", [8, 9]):
    looks, frames[clip["clip"].numpy().decode()] = _looks(network, clip, 2)
    by_clip.append([{name: np.asarray(value) for name, value in probe(look).items()} for look in looks])
  chunks = network.sampling.chunks
  for name in layers:
    channels = by_clip[0][0][name].shape[-1]
    values = np.array([[look[name].reshape(-1, channels).max(0) for look in looks] for looks in by_clip])
    np.testing.assert_allclose(found.largest(name), values.max(axis=(0, 1)), rtol=1e-3, atol=1e-3)
    top = found.top_clips(name, 0)[0]
    clip = found.clips.index(top.clip)
    look = int(values[clip, :, 0].argmax())
    maps = by_clip[clip][look][name]
    maps = maps.reshape(-1, *maps.shape[-3:])[..., 0]
    best = int(maps.reshape(len(maps), -1).max(1).argmax())
    expected = frames[top.clip][look]
    assert top.frame == expected[best if len(maps) == chunks else min(int((best + 0.5) * chunks / len(maps)), chunks - 1)], name


def test_where_it_looked_and_what_changes_do(network, dataset):
  target = attribution.class_score("Bowing", "fused", network.towers)
  attribute = attribution.Attributor(network.model, classes=network.classes)
  clips = list(passes.clip_snippets(network, dataset, "test", groups=[1], count=2, flips=False))
  changes = trials.always(network.sampling)
  found = effects.effect(network, clips, "Rolling", "Bowing", changes)
  assert set(found.after) == {change.name for change in changes}
  streams = network.sampling.streams
  for row, clip in enumerate(clips):
    inputs = clips_lib.inputs_of(clip)
    looked = attribute(inputs, target)
    assert {stream: maps.shape for stream, maps in looked.maps.items()} == {stream: x.shape[:-1] for stream, x in inputs.items()}
    outputs = network.model(interventions.Mirror(streams)(inputs))
    predicted = Predictions.create(
      ["a"], [0], CLASSES, {t: np.asarray(outputs[f"scores_{t}"]).mean(0, keepdims=True) for t in network.towers}
    )
    expected = predicted.scores["fused"][0, 2] - predicted.scores["fused"][0, 0]
    name = next(change.name for change in changes if change.name.startswith("mirror"))
    assert found.margins(name)[row] == pytest.approx(expected, rel=1e-2, abs=1e-2)


def test_clips_are_measured_and_played(network, dataset):
  probes = [probe for probe in probes_lib.PROBES if probe.stream in network.sampling.streams]
  measurer = clips_lib.Measurer(network, "Bowing", "Rolling", "fused", probes)
  found = clips_lib.measure(clips_lib.read(network, dataset, "test", [0, 2], [1], 2), measurer, "measured")
  assert found.values.shape == (2, len(probes)) and np.isfinite(found.values).mean() > 0.5
  layer = "res4a" if network.architecture == "st_resnet50" else "inception_4a_output"
  wanted = [films.Wanted("v_Bowing_g01_c01", "right", "Bowing")]
  shown = films.play(network, dataset, "test", 0, wanted, "fused", layer if len(network.sampling.streams) > 1 else f"{layer}_motion")
  assert len(shown) == 1 and len(shown[0].animations) == 2 * len(network.sampling.streams)


def test_responses_with_a_stream_blank(network, dataset):
  layer = next(name for name in collection.layers_with_units(network.model)[::-1] if name.startswith("prediction"))
  found = responses.collect(network, dataset, [layer], blanked=[layer], count=1)
  assert set(found.without) == set(network.sampling.streams)
  for values in (found.values, *found.without.values()):
    assert values[layer].shape == (9, 3) and np.isfinite(values[layer]).all()
