"""npz files: ImageNet's VGG-16, our own names, and bad ones."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest

from tbvis.errors import UsageError
from tbvis.models import two_stream
from tbvis.weights import inference, npz, transfer
from tests.weights import fuzz

SMALL = {"width": 0.0625, "input_size": 32, "fc_units": 4}


def vgg16(channels=(4, 4, 8, 8, 8), seed=0):
  """Returns the convolutions of a VGG-16 by keras.applications' names."""
  rng = np.random.default_rng(seed)
  arrays, before = {}, 3
  for (block, depth, _), width in zip(two_stream.BLOCKS, channels, strict=True):
    for index in range(1, depth + 1):
      arrays[f"block{block}_conv{index}_W"] = rng.normal(size=(3, 3, before, width)).astype(np.float16)
      arrays[f"block{block}_conv{index}_b"] = rng.normal(size=width).astype(np.float16)
      before = width
  return arrays


def test_the_first_kernel_is_reversed(tmp_path):
  arrays = vgg16()
  np.savez_compressed(tmp_path / "vgg.npz", **arrays)
  source = npz.read(tmp_path / "vgg.npz")
  assert npz.targets(source, None) == []
  found = {(t.layer, t.weight): t.value for t in npz.targets(source, "appearance")}
  np.testing.assert_array_equal(found["conv1_1_appearance", "kernel"], arrays["block1_conv1_W"].astype("f4")[:, :, ::-1])
  np.testing.assert_array_equal(found["conv5_3_appearance", "kernel"], arrays["block5_conv3_W"].astype("f4"))
  assert len(found) == 26 and found["conv5_3_appearance", "bias"].dtype == np.float32


def test_a_network_written_by_its_own_names_comes_back(tmp_path):
  model = two_stream.two_stream_fusion_vgg16(3, **SMALL)
  weights = {f"{layer.name}/{v.name}": v.numpy() for layer in model.layers for v in layer.weights}
  np.savez(tmp_path / "a.npz", classes=np.array(["Archery", "Billiards", "YoYo"]), **weights)
  source = npz.read(tmp_path / "a.npz")
  assert source.info["classes"] == ("Archery", "Billiards", "YoYo")
  again = two_stream.two_stream_fusion_vgg16(3, **SMALL, seed=1)
  plan = transfer.make_plan(transfer.weight_shapes(again), [(source, npz.targets(source, None))])
  plan.check("a.npz")
  transfer.apply(plan, again)
  for one, two in zip(model.get_weights(), again.get_weights(), strict=True):
    np.testing.assert_array_equal(one, two)
  # One tower of it: the fused classifier is none of the tower's.
  assert len(npz.targets(source, "motion")) == 32 and {t.layer.rpartition("_")[2] for t in npz.targets(source, "motion")} == {"motion"}


def test_arrays_of_any_order_and_number_come_back(tmp_path):
  arrays = {"f/kernel": np.asfortranarray(np.arange(6.0).reshape(2, 3)), "big": np.arange(3, dtype=">i4"), "scalar": np.float64(2)}
  np.savez(tmp_path / "a.npz", **arrays)
  found = npz.read(tmp_path / "a.npz").tensors
  for name, value in arrays.items():
    np.testing.assert_array_equal(found[name], value)


def _archive(path, members):
  with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
    for name, content in members:
      archive.writestr(name, content)


def _npy(shape, data=b"", descr="<f4"):
  stream = io.BytesIO()
  np.lib.format.write_array_header_1_0(stream, {"descr": descr, "fortran_order": False, "shape": shape})
  return stream.getvalue() + data


@pytest.mark.parametrize(
  ("members", "message"),
  [
    ([("a.npy", _npy((10**9, 10**9)))], r"declares shape \(1000000000, 1000000000\).* and has 0"),
    ([("a.npy", _npy((3,), bytes(8)))], "12 bytes, and has 8"),
    ([("a.npy", b"text")], "expected an array under 'a', found 4 bytes of something else"),
    ([("a.npy", _npy((1,), b"x" * 8, "|O"))], "not NumPy's for numbers or texts .or it holds Python objects"),
    ([("a.npy", _npy((1,), bytes(4))), ("a", _npy((1,), bytes(4)))], "two arrays are named 'a'"),
    ([], "found no arrays"),
  ],
)
def test_what_is_no_array_is_refused(tmp_path, members, message):
  _archive(tmp_path / "bad.npz", members)
  with pytest.raises(UsageError, match=f"bad.npz.*{message}"):
    npz.read(tmp_path / "bad.npz")


def test_a_pickle_runs_nothing(tmp_path):
  np.savez(tmp_path / "bad.npz", a=np.array([{"an": "object"}], object))
  with pytest.raises(UsageError, match="bad.npz.*Python objects"):
    npz.read(tmp_path / "bad.npz")


def test_a_declared_size_beyond_its_bytes_is_refused(tmp_path):
  _archive(tmp_path / "bad.npz", [("a.npy", _npy((4,), bytes(16)))])
  data = bytearray((tmp_path / "bad.npz").read_bytes())
  at = data.index(b"PK\1\2") + 24  # The member's size in the list of members.
  data[at : at + 4] = (0xFFFFFFF0).to_bytes(4, "little")
  (tmp_path / "bad.npz").write_bytes(data)
  with pytest.raises(UsageError, match="bad.npz: 'a.npy' declares 4,294,967,280 bytes, more than its"):
    npz.read(tmp_path / "bad.npz")


def import_like_the_script(path):
  """Everything between a file and a network; for `fuzz`."""
  source = npz.read(path)
  targets = npz.targets(source, "appearance")
  inference.infer_arguments(targets, str(path), {})
  shapes = {f"{t.layer}/{t.weight}": t.value.shape for t in _good_targets()}
  transfer.make_plan(shapes, [(source, targets)]).check(str(path), allow_partial=True)


def _good_targets():
  from tbvis.weights.source import Source

  source = Source(None, "npz", vgg16((4, 4, 4, 4, 4)))
  return npz.targets(source, "appearance")


@pytest.mark.slow
@pytest.mark.parametrize("compressed", [True, False])
def test_damaged_files_are_one_error(tmp_path, compressed):
  (np.savez_compressed if compressed else np.savez)(tmp_path / "vgg.npz", **vgg16((4, 4, 4, 4, 4)))
  found = fuzz.outcomes("tests.weights.test_npz:import_like_the_script", tmp_path / "vgg.npz", tmp_path, count=320)
  assert found["refused"] > 200, found


def test_wrong_networks_and_values_are_one_error(tmp_path):
  rng, refused = np.random.default_rng(0), 0
  names = list(vgg16((4, 4, 4, 4, 4)))
  for case in range(60):
    arrays = vgg16((4, 4, 4, 4, 4))
    name = names[rng.integers(len(names))]
    if case % 3 == 0:
      arrays[name] = np.full_like(arrays[name], (np.nan, np.inf)[case % 2])
    elif case % 3 == 1:
      arrays[name] = np.repeat(arrays[name], 2, axis=-1)
    else:
      arrays = {f"layer{place}": value for place, value in enumerate(arrays.values())}
    path = tmp_path / f"bad{case}.npz"
    np.savez(path, **arrays)
    with pytest.raises(UsageError, match=path.name):
      import_like_the_script(path)
    refused += 1
  assert refused == 60
