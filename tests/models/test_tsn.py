"""TSN's networks: beside PyTorch, built from the released tables, and what importing and training them relies on."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from tbvis.diagnostics import places
from tbvis.maximization import streams
from tbvis.models import bn_inception, checkpoint, geometry, inception_v3, tsn

BUILDERS = {"tsn_bn_inception": bn_inception.tsn_bn_inception, "tsn_inception_v3": inception_v3.tsn_inception_v3}
CLASSES, WIDTH = 5, 0.0625
# Sizes whose last maps are 2 x 2, so that the last average counts; among them some at which pools round up.
SIZES = {"tsn_bn_inception": (64, (64, 64), (69, 67)), "tsn_inception_v3": (107, (107, 107), (104, 105))}
# PyTorch in float32 is 1.3e-4 from itself in float64 in the deepest layers of Inception-v3; a wrong detail is a hundred times more.
TOLERANCE = 5e-4


def network(name, stream=tsn.BOTH, **changed):
  return BUILDERS[name](CLASSES, stream, **{"width": WIDTH, "input_size": SIZES[name][0], **changed})


def image(size, channels, rows=2, seed=0):
  return np.random.default_rng(seed).normal(scale=30, size=(rows, *size, channels)).astype(np.float32)


@pytest.fixture(scope="module")
def bn_pair():
  """Both streams of the smaller network, over two segments."""
  return network("tsn_bn_inception", chunks=2)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "stream"), [("tsn_bn_inception", "motion"), ("tsn_inception_v3", "appearance")])
def test_every_layer_gives_what_pytorch_gives(name, stream):
  torch = pytest.importorskip("torch")
  from tests.torch_networks import compare
  from tests.torch_networks import tsn as torch_tsn

  channels = tsn.CHANNELS[stream]
  theirs = torch_tsn.Network(name, channels, CLASSES, WIDTH, last=2)
  compare.settle(theirs, torch.from_numpy(image(SIZES[name][1], channels, 4, seed=1).transpose(0, 3, 1, 2)))
  ours = network(name, stream)
  compare.to_keras(ours, theirs.by_our_names(stream))
  for size in SIZES[name][1:]:
    given = image(size, channels)
    differences = compare.largest_differences(ours, theirs.outputs(given, stream), **{stream: given})
    assert len(differences) > 230 and max(differences.values()) < TOLERANCE, max(differences.items(), key=lambda item: item[1])
  # The other way: our own start, in PyTorch.
  fresh = network(name, stream, seed=3)
  compare.to_torch(fresh, theirs.by_our_names(stream))
  differences = compare.largest_differences(fresh, theirs.outputs(given, stream), **{stream: given})
  assert max(differences.values()) < TOLERANCE, max(differences.items(), key=lambda item: item[1])


@pytest.mark.slow
@pytest.mark.parametrize(("name", "stream", "size"), [("tsn_bn_inception", "appearance", 224), ("tsn_inception_v3", "motion", 299)])
def test_the_network_as_released_gives_what_pytorch_gives(name, stream, size):
  torch = pytest.importorskip("torch")
  from tests.torch_networks import compare
  from tests.torch_networks import tsn as torch_tsn

  given = image((size, size), tsn.CHANNELS[stream], rows=1)
  theirs = torch_tsn.Network(name, tsn.CHANNELS[stream], 101)
  compare.settle(theirs, torch.from_numpy(given.transpose(0, 3, 1, 2)))
  ours = BUILDERS[name](101, stream)
  compare.to_keras(ours, theirs.by_our_names(stream))
  differences = compare.largest_differences(ours, theirs.outputs(given, stream), **{stream: given})
  assert max(differences.values()) < TOLERANCE, max(differences.items(), key=lambda item: item[1])
  assert ours.get_layer(f"prediction_{stream}").output.shape[1:] == (None, None, 101)


@pytest.mark.slow
def test_scores_are_means_over_segments_before_the_softmax(bn_pair):
  given = {name: np.stack([image((64, 64), tsn.CHANNELS[name], seed=seed) for seed in (1, 2)], axis=1) for name in tsn.CHANNELS}
  found = bn_pair(given, training=False)
  assert {name: tuple(value.shape) for name, value in found.items()} == {"scores_appearance": (2, 5), "scores_motion": (2, 5)}
  # A segment in the place of the other: the mean is the same, and that of one segment twice is another.
  turned = bn_pair({name: value[:, ::-1] for name, value in given.items()}, training=False)
  twice = bn_pair({name: value[:, [0, 0]] for name, value in given.items()}, training=False)
  for name, value in found.items():
    np.testing.assert_allclose(turned[name], value, rtol=1e-4, atol=1e-6)
    assert np.abs(np.asarray(twice[name]) - np.asarray(value)).max() > 1e-5


@pytest.mark.slow
def test_streams_and_sizes_are_those_of_the_search(bn_pair):
  found = streams.streams_of(bn_pair)
  assert [(s.name, s.frames, s.components, s.chunks) for s in found.values()] == [("appearance", 2, 3, 2), ("motion", 10, 2, 2)]
  table = geometry.layer_geometry(bn_pair)
  # 7/2, then 3/2: what follows adds two windows of its own stride in double_3x3, the most of any branch.
  fields = {"conv1_7x7_s2": (7, 2), "pool1_3x3_s2": (11, 4), "conv2_3x3": (19, 4), "pool2_3x3_s2": (27, 8), "inception_3a_output": (59, 8)}
  fields |= {"inception_3b_output": (91, 8), "inception_3c_output": (123, 16), "inception_4a_output": (187, 16)}
  for name, wanted in fields.items():
    assert (table[f"{name}_motion"].field, table[f"{name}_motion"].stride) == wanted, name
  # Padding moves no centre, the pools without it do: by one of their input's pixels.
  centres = places.centre_offsets(bn_pair)
  assert [centres[f"{name}_motion"] for name in ("conv1_7x7_s2", "pool1_3x3_s2", "pool2_3x3_s2", "inception_3c_output")] == [0, 2, 6, 6]
  assert table["inception_5b_output_motion"].stride == 32 and table["global_pool_motion"].streams == ("motion",)


def test_windows_of_unlike_sides_have_the_longer_field():
  x = keras.Input((None, None, 3), name="appearance")
  y = keras.layers.Conv2D(2, (1, 7), name="row")(keras.layers.MaxPooling2D(2, name="pool")(x))
  y = keras.layers.Conv2D(2, (7, 1), name="column")(y)
  table = geometry.layer_geometry(keras.Model(x, keras.layers.Conv2D(2, 3, name="square")(y)))
  assert [table[name].field for name in ("pool", "row", "column", "square")] == [2, 14, 14, 18]


@pytest.mark.slow
def test_normalisations_but_the_first_stay_in_training(bn_pair):
  for stream in tsn.CHANNELS:
    norms = [layer for layer in bn_pair.layers if isinstance(layer, keras.layers.BatchNormalization) and layer.name.endswith(stream)]
    assert [norm.name for norm in norms if norm.trainable] == [f"conv1_7x7_s2_bn_{stream}"]
    assert len(norms) == 69 and {norm.epsilon for norm in norms} == {1e-5}
  rates = {layer.name: layer.rate for layer in bn_pair.layers if isinstance(layer, keras.layers.Dropout)}
  assert rates == {"dropout_appearance": 0.8, "dropout_motion": 0.7}


@pytest.mark.slow
def test_a_checkpoint_comes_back_whole(tmp_path):
  arguments = {"stream": "motion", "width": WIDTH, "input_size": 64, "partial_batch_norm": True}
  made = checkpoint.build("tsn_bn_inception", arguments, tuple("abcde"))
  norm = made.model.get_layer("inception_4c_3x3_bn_motion")
  norm.moving_variance.assign(keras.ops.full(norm.moving_variance.shape, 3.0))
  checkpoint.save_checkpoint(made, tmp_path / "tsn.keras")
  again = checkpoint.load_checkpoint(tmp_path / "tsn.keras")
  assert (again.architecture, again.input_size) == ("tsn_bn_inception", 64)
  assert not again.model.get_layer("inception_4c_3x3_bn_motion").trainable
  given = {"motion": image((64, 64), 10)}
  np.testing.assert_array_equal(again.model(given)["scores_motion"], made.model(given)["scores_motion"])
  # Keras reads the file too, with the pools that are ours.
  np.testing.assert_array_equal(keras.saving.load_model(tmp_path / "tsn.keras")(given)["scores_motion"], made.model(given)["scores_motion"])


@pytest.mark.parametrize("name", BUILDERS)
@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"stream": "flow"}, "argument `stream`. Expected one of .*Received: stream='flow'"),
    ({"classes": 0}, "classes=0"),
    ({"width": 0}, "width=0"),
    ({"chunks": 0}, "chunks=0"),
    ({"input_size": 31}, r"argument `input_size`. Expected at least (32|69). Received: input_size=31"),
  ],
)
def test_arguments_out_of_range_are_named(name, change, message):
  with pytest.raises(ValueError, match=message):
    BUILDERS[name](**{"classes": 3, **change})


@pytest.mark.parametrize(("side", "size"), [(bn_inception.last_side, 224), (inception_v3.last_side, 299)])
def test_last_maps_are_those_of_the_published_pools(side, size):
  assert side(size) == {224: 7, 299: 8}[size]


def test_the_smallest_sizes_leave_a_last_map():
  assert bn_inception.last_side(32) == inception_v3.last_side(69) == 1
  assert inception_v3.last_side(68) < 1
