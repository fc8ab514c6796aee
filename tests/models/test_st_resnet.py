"""The spatiotemporal ResNet-50: beside PyTorch, its published receptive fields, links and kernels over time."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from tbvis.models import checkpoint, geometry, st_resnet

CLASSES, WIDTH, SIDE = 5, 0.0625, 64
CHANNELS = {"appearance": 3, "motion": 20}
# Rounding grows through fifty normalised layers of random weights, between PyTorch in float32 and in float64 as much; a wrong detail is
# a hundred times more.
TOLERANCE = 5e-4


def clip(chunks, size, rows=2, seed=0):
  rng = np.random.default_rng(seed)
  return {name: rng.normal(scale=30, size=(rows, chunks, *size, count)).astype(np.float32) for name, count in CHANNELS.items()}


def torch_inputs(torch, given):
  return [torch.from_numpy(given[name].transpose(0, 4, 1, 2, 3).copy()) for name in CHANNELS]


@pytest.fixture(scope="module")
def small():
  return st_resnet.st_resnet50(CLASSES, 3, width=WIDTH, input_size=SIDE)


@pytest.mark.slow
@pytest.mark.parametrize(("chunks", "time_pool"), [(1, False), (7, True)])
def test_every_layer_gives_what_pytorch_gives(chunks, time_pool):
  torch = pytest.importorskip("torch")
  from tests.torch_networks import compare
  from tests.torch_networks import st_resnet as torch_st_resnet

  theirs = torch_st_resnet.Network(CLASSES, WIDTH, last=2, time_pool=time_pool)
  compare.settle(theirs, *torch_inputs(torch, clip(chunks, (64, 64), 3, seed=1)))
  ours = st_resnet.st_resnet50(CLASSES, chunks, width=WIDTH, input_size=SIDE, time_pool=time_pool)
  compare.to_keras(ours, theirs.by_our_names())
  for size in ((64, 64), (69, 61)):
    given = clip(chunks, size)
    inputs = given if chunks > 1 else {name: value[:, 0] for name, value in given.items()}
    differences = compare.largest_differences(ours, theirs.outputs(**given), **inputs)
    assert len(differences) > 330 and max(differences.values()) < TOLERANCE, max(differences.items(), key=lambda item: item[1])
  if chunks > 1:  # Time the other way round is another network.
    kernel = theirs.layers["res4b_branch2a_temporal"].weight
    with torch.no_grad():
      kernel.copy_(kernel.flip(2))
    wrong = {name: value for name, value in theirs.outputs(**given).items() if name == "res4b_branch2a_motion"}
    assert compare.largest_differences(ours, wrong, **inputs)["res4b_branch2a_motion"] > 0.05
  fresh = st_resnet.st_resnet50(CLASSES, chunks, width=WIDTH, input_size=SIDE, time_pool=time_pool, seed=3)
  compare.to_torch(fresh, theirs.by_our_names())
  differences = compare.largest_differences(fresh, theirs.outputs(**given), **inputs)
  assert max(differences.values()) < TOLERANCE, max(differences.items(), key=lambda item: item[1])


@pytest.mark.slow
def test_the_network_as_published_gives_what_pytorch_gives():
  torch = pytest.importorskip("torch")
  from tests.torch_networks import compare
  from tests.torch_networks import st_resnet as torch_st_resnet

  given = clip(2, (224, 224), rows=1)
  theirs = torch_st_resnet.Network(101)
  compare.settle(theirs, *torch_inputs(torch, given))
  ours = st_resnet.st_resnet50(101, 2)
  compare.to_keras(ours, theirs.by_our_names())
  differences = compare.largest_differences(ours, theirs.outputs(**given), **given)
  assert max(differences.values()) < TOLERANCE, max(differences.items(), key=lambda item: item[1])


@pytest.mark.parametrize(
  ("layer", "field", "time", "stride"),
  [("conv1", 7, 1, 2), ("res2c", 35, 5, 4), ("res3d", 99, 9, 8), ("res4f", 291, 13, 16), ("res5c", 483, 17, 32)],
)
def test_fields_are_those_of_the_published_table(small, layer, field, time, stride):
  table = geometry.layer_geometry(small)
  for stream in CHANNELS:
    place = table[f"{layer}_{stream}"]
    assert (place.field, place.time, place.stride) == (field, time, stride)


def test_motion_reaches_the_appearance_and_not_the_other_way(small):
  table = geometry.layer_geometry(small, whole=True)
  assert table["res2a_relu_appearance"].streams == ("appearance",)
  assert set(table["res2b_branch2a_appearance"].streams) == set(table["prediction"].streams) == {"appearance", "motion"}
  assert table["prediction_motion"].streams == ("motion",)
  # The sum takes the appearance before its ReLU and enters the branch alone, not the shortcut.
  for stage in "2345":
    total = small.get_layer(f"res{stage}a_relu_appearance_sum")
    assert {t._keras_history.operation.name for t in total.input} == {f"res{stage}a_relu_motion", f"res{stage}a_appearance"}
    assert [node.operation.name for node in total._outbound_nodes] == [f"res{stage}b_branch2a_unfold_appearance"]


def test_sixteen_kernels_go_over_three_chunks(small):
  over_time = [layer for layer in small.layers if isinstance(layer, keras.layers.Conv3D)]
  assert len(over_time) == 16 and {layer.kernel_size for layer in over_time} == {(3, 1, 1)}
  kernel = np.asarray(over_time[0].kernel)
  np.testing.assert_array_equal(kernel[0], kernel[1])
  np.testing.assert_array_equal(kernel[0], kernel[2])
  assert np.abs(kernel).max() > 0


@pytest.mark.slow
def test_a_checkpoint_comes_back_whole(tmp_path):
  made = checkpoint.build("st_resnet50", {"chunks": 2, "width": WIDTH, "input_size": SIDE}, tuple("abcde"))
  checkpoint.save_checkpoint(made, tmp_path / "net.keras")
  again = checkpoint.load_checkpoint(tmp_path / "net.keras")
  given = clip(2, (64, 64))
  wanted = made.model(given, training=False)
  for model in (again.model, keras.saving.load_model(tmp_path / "net.keras")):
    for name, value in model(given, training=False).items():
      np.testing.assert_array_equal(value, wanted[name])
  assert set(wanted) == {"scores_hybrid", "scores_motion"} and wanted["scores_hybrid"].shape == (2, 5)


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"chunks": 0}, "chunks=0"),
    ({"chunks": 4, "time_pool": True}, "argument `chunks`. Expected at least 5 with a pool over time. Received: chunks=4"),
    ({"input_size": 31}, "input_size=31"),
    ({"width": -1}, "width=-1"),
  ],
)
def test_arguments_out_of_range_are_named(change, message):
  with pytest.raises(ValueError, match=message):
    st_resnet.st_resnet50(**{"classes": 3, **change})
