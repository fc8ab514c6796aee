"""Receptive fields and strides, against the published table of VGG-16 and against gradients."""

import csv
import pathlib

import keras
import numpy as np
import pytest

from tbvis.errors import UsageError
from tbvis.models import geometry, two_stream

TABLE = list(csv.DictReader((pathlib.Path(__file__).parent / "vgg16_geometry.csv").open()))


@pytest.fixture(scope="module")
def small():
  return two_stream.two_stream_fusion_vgg16(3, width=0.0625, fc_units=8)


def names_of(row):
  """Names in the two-stream network of a layer of VGG-16."""
  layer = row["layer"]
  if layer == "conv5_fusion":
    return [layer]
  streams = ["", "_motion", "_appearance"] if layer in ("pool5", "fc6", "fc7") else ["_appearance", "_motion"]
  return [layer + stream for stream in streams]


@pytest.mark.parametrize("row", TABLE, ids=[r["layer"] for r in TABLE])
def test_field_and_stride_equal_the_table(small, row):
  table = geometry.layer_geometry(small)
  for name in names_of(row):
    assert (table[name].field, table[name].stride) == (int(row["field"]), int(row["stride"])), name


@pytest.mark.parametrize("fusion", two_stream.FUSIONS)
@pytest.mark.parametrize("chunks", [1, 5])
def test_the_table_holds_over_chunks(fusion, chunks):
  model = two_stream.two_stream_fusion_vgg16(3, fusion, width=0.0625, fc_units=8, chunks=chunks)
  table = geometry.layer_geometry(model)
  assert (table["conv5_3_motion"].field, table["conv5_3_motion"].stride) == (196, 16)
  # A 3x3x3 fusion sees one more row and column on each side.
  assert table["conv5_fusion"].field == (196 if fusion == "conv1x1" else 196 + 2 * 16)
  assert (table["fc6"].stride, table["pool5"].stride) == (32, 32)


def test_channels_at_full_width():
  model = two_stream.two_stream_fusion_vgg16(101, fc_units=16)
  table = geometry.layer_geometry(model)
  for row in TABLE:
    if row["layer"].startswith("conv"):
      assert {table[name].channels for name in names_of(row)} == {int(row["channels"])}


def test_streams_say_which_inputs_a_layer_sees(small):
  table = geometry.layer_geometry(small)
  assert table["conv4_3_motion"].streams == ("motion",)
  assert table["conv4_3_appearance"].streams == ("appearance",)
  assert set(table["conv5_fusion"].streams) == {"appearance", "motion"}
  assert set(table["prediction"].streams) == {"appearance", "motion"}
  assert table["prediction_motion"].streams == ("motion",)


@pytest.mark.parametrize("layer", ["conv2_2_motion", "conv3_3_motion"])
def test_the_gradient_of_a_location_reaches_exactly_the_field(layer):
  tf = pytest.importorskip("tensorflow")
  model = two_stream.two_stream_fusion_vgg16(3, width=0.0625, fc_units=8)
  # All-positive weights keep every path open, so the gradient is non-zero wherever the location sees.
  for each in model.layers:
    if isinstance(each, keras.layers.Conv2D):
      each.set_weights([np.full(w.shape, 0.1, np.float32) for w in each.get_weights()])
  expected = geometry.geometry_of(model, layer)
  part = keras.Model(model.input["motion"], model.get_layer(layer).output)
  size = 4 * expected.stride + 2 * expected.field
  middle = size // expected.stride // 2

  def seen(location, seed):
    """Rows of the input that one location's value depends on."""
    motion = tf.constant(np.random.default_rng(seed).uniform(0.5, 1, (1, size, size, 20)).astype("float32"))
    with tf.GradientTape() as tape:
      tape.watch(motion)
      value = part(motion)[0, location, location, 0]
    return np.flatnonzero(np.abs(tape.gradient(value, motion)).sum(axis=(0, 2, 3)) > 0)

  # A max pool hands the gradient to one of its four inputs, so a single draw may miss the outermost rows.
  rows = np.concatenate([seen(middle, seed) for seed in range(8)])
  assert rows.max() - rows.min() + 1 == expected.field
  neighbour = np.concatenate([seen(middle + 1, seed) for seed in range(8)])
  assert neighbour.min() - rows.min() == expected.stride
  assert neighbour.max() - rows.max() == expected.stride


def test_an_unknown_layer_gets_the_nearest(small):
  with pytest.raises(UsageError, match="Unknown layer 'conv4_3_moton' in model 'two_stream_fusion_vgg16'. Nearest: conv4_3_motion"):
    geometry.geometry_of(small, "conv4_3_moton")


def test_list_layers_is_in_the_order_of_the_graph(small):
  names = [layer.name for layer in geometry.list_layers(small)]
  order = ["conv1_1_motion", "conv3_3_motion", "conv5_3_motion", "conv5_fusion", "fc6", "prediction"]
  assert sorted(order, key=names.index) == order
