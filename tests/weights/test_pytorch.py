"""State dicts of PyTorch: parity with PyTorch itself, hostile and damaged files."""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
import re
import struct
import sys
import zipfile

import keras
import numpy as np
import pytest

from tbvis.errors import UsageError
from tbvis.weights import layouts, preprocessing, pytorch, transfer
from tests.weights import fuzz

torch = pytest.importorskip("torch")
from tests.torch_networks import tsn, vgg16  # noqa: E402 - it needs PyTorch

# Together they take a good part of a minute.
pytestmark = pytest.mark.slow

MEAN, STD = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, (vgg16.SIZE, vgg16.SIZE, 3)).astype(np.float32)
FLOW = np.clip(RNG.normal(128, 20, (vgg16.SIZE, vgg16.SIZE, 20)), 0, 255).round().astype(np.float32)


def read_and_target(path):
  """What the fuzzer calls: a file is refused by the reader, or by what says where its tensors go."""
  source = pytorch.read(path)
  return source, pytorch.targets(source, "appearance")


def save(path, content, kind):
  if kind == "safetensors":
    from safetensors.torch import save_file

    save_file({name: tensor.contiguous() for name, tensor in content.items()}, path)
  else:
    torch.save(content, path, _use_new_zipfile_serialization=kind == "zip")
  return path


def normalised(image):
  return ((image / 255 - MEAN) / STD).transpose(2, 0, 1)


@pytest.mark.parametrize("kind,suffix", [("zip", ".pth"), ("older", ".pt"), ("safetensors", ".safetensors")])
def test_a_torchvision_tower_gives_what_pytorch_gives(tmp_path, kind, suffix):
  tower = vgg16.Vgg16(3)
  source = pytorch.read(save(tmp_path / f"vgg{suffix}", tower.state_dict(), kind))
  assert source.info["preprocessing"] == "torchvision" and "0.485" in source.info["preprocessing_text"]
  model = vgg16.imported([(source, pytorch.targets(source, "appearance"))])
  mean = np.float32(source.info["appearance_mean"])
  vgg16.assert_same(model, "appearance", IMAGE - mean, tower, normalised(IMAGE), fused_head=True)


@pytest.mark.parametrize("prefixes", [("rgb.", "flow."), ("module.spatial.", "module.temporal."), ("appearance_net.", "motion_net.")])
def test_pairs_in_a_checkpoint_fill_the_whole_network(tmp_path, prefixes):
  pair = {"appearance": vgg16.Vgg16(3, seed=1), "motion": vgg16.Vgg16(20, seed=2)}
  state = {
    prefix + name: tensor for prefix, tower in zip(prefixes, pair.values(), strict=True) for name, tensor in tower.state_dict().items()
  }
  path = save(tmp_path / "pair.pth", {"epoch": 3, "preprocessing": "raw", "state_dict": state}, "zip")
  source = pytorch.read(path)
  model = vgg16.network()
  plan = transfer.make_plan(transfer.weight_shapes(model), [(source, transfer.with_fused_head(pytorch.targets(source, None)))])
  plan.check(str(path))
  assert not plan.missing and plan.initialised == ("conv5_fusion",)
  transfer.apply(plan, model)
  appearance = IMAGE - np.float32(source.info["appearance_mean"])
  vgg16.assert_same(model, "appearance", appearance, pair["appearance"], appearance.transpose(2, 0, 1), fused_head=True)
  vgg16.assert_same(model, "motion", FLOW - 128, pair["motion"], (FLOW - 128).transpose(2, 0, 1))
  assert {target.layer.rpartition("_")[2] for target in pytorch.targets(source, "motion")} == {"motion"}


def test_scaled_flow_is_the_same_but_where_windows_reach_the_padding(tmp_path):
  tower = vgg16.Vgg16(20)
  source = pytorch.read(save(tmp_path / "flow.pth", tower.state_dict(), "zip"))
  model = vgg16.imported([(source, pytorch.targets(source, "motion"))])
  wanted = tower.outputs(((FLOW / 255 - 0.5) / 0.226).transpose(2, 0, 1))["conv1_1"]
  layer = model.get_layer("conv1_1_motion")
  found = keras.ops.convert_to_numpy(layer(FLOW[None] - 128))[0]
  np.testing.assert_allclose(found[1:-1, 1:-1], wanted[1:-1, 1:-1], atol=1e-4 * np.abs(wanted).max())
  # 127.5 and 128 are told apart: without the bias's correction this would not hold.
  assert np.abs(found - wanted).max() > 1e-4 * np.abs(wanted).max()


def test_dense_inputs_are_in_the_order_channel_row_column():
  linear = torch.nn.Linear(3 * 2 * 2, 4)
  image = RNG.normal(size=(2, 2, 3)).astype(np.float32)
  wanted = linear(torch.from_numpy(image.transpose(2, 0, 1).ravel())).detach().numpy()
  kernel = linear.weight.detach().numpy().T
  found = np.tensordot(image, layouts.dense_as_convolution(kernel, 3), 3) + linear.bias.detach().numpy()
  # A sum of 12 products may cancel to anything near zero: what is left of rounding is judged by the size of the terms.
  np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
  in_our_order = np.tensordot(image, kernel.reshape(2, 2, 3, 4), 3) + linear.bias.detach().numpy()
  assert np.abs(in_our_order - wanted).max() > 0.01


def published_tensors(network, prefix=""):
  """State dict of one of TSN's networks, made from its published table; thin, but for the names."""
  tensors, layers = {}, {}
  for row in tsn.table(network):
    if row["op"] == "fc":
      tensors |= {f"{prefix}{row['name']}.weight": torch.ones(101, 6), f"{prefix}{row['name']}.bias": torch.ones(101)}
      layers["prediction"] = {"kernel": (1, 1, 6, 101), "bias": (101,)}
    if row["op"] != "conv":
      continue
    height, width = tsn.pair(row["kernel_hxw"])
    channels = 3 if row["input"] == "data" else 2
    name, normalised_name = row["name"], tsn.batch_norm_name(row["name"])
    tensors |= {f"{prefix}{name}.weight": torch.ones(4, channels, height, width), f"{prefix}{name}.bias": torch.ones(4)}
    layers[name] = {"kernel": (height, width, channels, 4), "bias": (4,)}
    tensors |= {f"{prefix}{normalised_name}.{weight}": torch.ones(4) for weight in ("weight", "bias", "running_mean", "running_var")}
    tensors[f"{prefix}{normalised_name}.num_batches_tracked"] = torch.tensor(7)
    layers[normalised_name] = {weight: (4,) for weight in ("gamma", "beta", "moving_mean", "moving_variance")}
  return tensors, layers


TSN = {"tsn_bn_inception": ("torch_tsn", "fc", 70), "tsn_inception_v3": ("half", "top_cls_fc", 95)}


@pytest.mark.parametrize("classifier", [None, "module.new_fc", "cls_head.fc_cls"])
@pytest.mark.parametrize("network", TSN)
def test_all_layers_of_tsn_networks_are_found_and_nothing_is_left_over(tmp_path, network, classifier):
  inputs, published_classifier, least = TSN[network]
  tensors, layers = published_tensors(network, "module.base_model.")
  if classifier:
    wrapped = f"module.base_model.{published_classifier}."
    tensors = {name.replace(wrapped, f"{classifier}."): tensor for name, tensor in tensors.items()}
  source = pytorch.read(save(tmp_path / "tsn.pth", {"state_dict": tensors}, "zip"))
  assert source.info["preprocessing"] == inputs
  shapes = {f"{layer}_appearance/{weight}": shape for layer, weights in layers.items() for weight, shape in weights.items()}
  plan = transfer.make_plan(shapes, [(source, pytorch.targets(source, "appearance"))])
  plan.check("tsn")
  assert len(layers) > least and not plan.missing and not plan.unused


def test_batch_norm_has_the_variance_not_its_root(tmp_path):
  norm = torch.nn.BatchNorm2d(3).eval()
  for name, parameter in norm.state_dict().items():
    if name != "num_batches_tracked":
      parameter.copy_(torch.from_numpy(RNG.uniform(0.5, 4, 3)))
  state = {"conv1_7x7_s2.weight": torch.ones(3, 3, 7, 7)} | {f"conv1_7x7_s2_bn.{key}": value for key, value in norm.state_dict().items()}
  source = pytorch.read(save(tmp_path / "bn.pth", state, "zip"))
  layer = keras.layers.BatchNormalization(epsilon=1e-5)
  layer.build((None, 4, 4, 3))
  targets = pytorch.targets(source, "appearance")
  values = {target.weight: target.value for target in targets if target.layer == "conv1_7x7_s2_bn_appearance"}
  layer.set_weights([values[variable.name] for variable in layer.weights])
  image = RNG.normal(size=(1, 4, 4, 3)).astype(np.float32)
  wanted = norm(torch.from_numpy(image.transpose(0, 3, 1, 2))).detach().numpy().transpose(0, 2, 3, 1)
  np.testing.assert_allclose(layer(image, training=False), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("order", ["torchvision", "torch_tsn"])
def test_first_kernels_take_red_first(order):
  # A kernel that sees its first input channel only answers to red, or to blue where the network takes B, G, R.
  kernel = np.zeros((1, 1, 3, 1), np.float32)
  kernel[0, 0, 0] = 1
  folded, _ = preprocessing.fold(kernel, None, preprocessing.PREPROCESSINGS[order])
  assert np.flatnonzero(folded.ravel()).tolist() == [{"torchvision": 0, "torch_tsn": 2}[order]]


def test_bfloat16_is_read_in_every_format(tmp_path):
  value = torch.tensor([[1.5, -2.25], [3e30, 0]], dtype=torch.bfloat16)
  for kind, suffix in (("zip", ".pth"), ("older", ".pth"), ("safetensors", ".safetensors")):
    source = pytorch.read(save(tmp_path / f"b{suffix}", {"features.0.weight": value}, kind))
    np.testing.assert_array_equal(source.tensors["features.0.weight"], value.float().numpy())


class Hostile:
  def __init__(self, path):
    self.path = path

  def __reduce__(self):
    return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("kind", ["zip", "older", "bare"])
def test_a_hostile_pickle_runs_nothing(tmp_path, kind):
  created = tmp_path / "created"
  path = tmp_path / "hostile.pth"
  if kind == "bare":
    path.write_bytes(pickle.dumps({"x": Hostile(created)}, protocol=2))
  else:
    save(path, {"features.0.weight": torch.ones(1), "x": Hostile(created)}, kind)
  with pytest.raises(UsageError, match=r"hostile\.pth.*posix\.mkdir.*nothing of it was run") as refused:
    pytorch.read(path)
  assert "\n" not in str(refused.value)
  assert not created.exists()
  # The file is what it claims to be: who trusts it finds the folder made.
  torch.load(path, weights_only=False) if kind != "bare" else pickle.loads(path.read_bytes())
  assert created.exists()


def test_a_few_bytes_do_not_allocate_gigabytes(tmp_path):
  class Bomb:
    def __reduce__(self):
      return bytearray, (1 << 34,)

  with pytest.raises(UsageError, match="bytearray"):
    pytorch.read(save(tmp_path / "bomb.pth", {"a": Bomb()}, "zip"))
  wide = torch.ones(1).expand(1 << 17)
  with pytest.raises(UsageError, match="more than the values stored"):
    pytorch.read(save(tmp_path / "wide.pth", {"features.0.weight": wide}, "zip"))
  wider = torch.ones(1).expand(1 << 42)
  with pytest.raises(UsageError, match="can hold"):
    pytorch.read(save(tmp_path / "wider.pth", {"features.0.weight": wider}, "zip"))


def safetensors_file(path, header, data=b""):
  text = json.dumps(header).encode()
  path.write_bytes(struct.pack("<Q", len(text)) + text + data)
  return path


def test_gigantic_headers_are_refused(tmp_path):
  path = tmp_path / "big.safetensors"
  path.write_bytes(struct.pack("<Q", 1 << 60) + b"{}" + bytes(100))
  with pytest.raises(UsageError, match=r"big\.safetensors: expected a header of at most"):
    pytorch.read(path)
  for offsets in ([0, 1 << 60], [1 << 40, (1 << 40) + 4], [8, 4], [0, 8]):
    with pytest.raises(UsageError, match=r"far\.safetensors"):
      pytorch.read(safetensors_file(tmp_path / "far.safetensors", {"a": {"dtype": "F32", "shape": [1], "data_offsets": offsets}}, bytes(4)))

  whole = save(tmp_path / "good.pth", {"features.0.weight": torch.ones(4)}, "zip").read_bytes()
  at = whole.rfind(b"PK\1\2")
  sizes = whole[: at + 20] + struct.pack("<II", 0xFFFFFFF0, 0xFFFFFFF0) + whole[at + 28 :]
  (tmp_path / "sizes.pth").write_bytes(sizes)
  with pytest.raises(UsageError, match=r"sizes\.pth"):
    pytorch.read(tmp_path / "sizes.pth")
  with zipfile.ZipFile(tmp_path / "packed.pth", "w", zipfile.ZIP_DEFLATED) as archive:
    archive.writestr("archive/data.pkl", bytes(1 << 24))
  with pytest.raises(UsageError, match=r"packed\.pth: expected members stored as they are"):
    pytorch.read(tmp_path / "packed.pth")


def test_a_file_larger_than_the_machine_is_refused_unread(tmp_path):
  path = tmp_path / "sparse.pth"
  with path.open("wb") as stream:
    stream.write(b"\x80\x02")
    stream.truncate(1 << 43)
  with pytest.raises(UsageError, match=r"sparse\.pth.*MiB free"):
    pytorch.read(path)


def test_what_is_no_network_of_ours_is_said(tmp_path):
  source = pytorch.read(save(tmp_path / "resnet.pth", {"conv1.weight": torch.ones(4, 3, 7, 7), "fc.weight": torch.ones(2, 4)}, "zip"))
  with pytest.raises(UsageError, match=r"resnet\.pth: expected layers of VGG-16.*found 'conv1', 'fc'"):
    pytorch.targets(source, "appearance")
  source = pytorch.read(save(tmp_path / "vgg.pth", vgg16.Vgg16(3).state_dict(), "zip"))
  assert not pytorch.targets(source, None)  # One tower is no whole network.
  with pytest.raises(UsageError, match="Unknown preprocessing 'torchvison'.*Nearest: torchvision"):
    pytorch.read(save(tmp_path / "typo.pth", {"preprocessing": "torchvison", "state_dict": vgg16.Vgg16(3).state_dict()}, "zip"))
  state = vgg16.Vgg16(3).state_dict()
  state["classifier.0.weight"] = torch.ones(16, 99)
  source = pytorch.read(save(tmp_path / "fc6.pth", state, "zip"))
  with pytest.raises(UsageError, match=r"'classifier.0.weight' to take 32 channels of a square map, found 99"):
    pytorch.targets(source, "appearance")
  state = vgg16.Vgg16(3).state_dict() | {"features.0.weight": torch.full((4, 3, 3, 3), float("nan"))}
  source = pytorch.read(save(tmp_path / "nan.pth", state, "zip"))
  plan = transfer.make_plan(transfer.weight_shapes(vgg16.network()), [(source, pytorch.targets(source, "appearance"))])
  with pytest.raises(UsageError, match=r"features\.0\.weight holds values that are not finite"):
    plan.check(str(source.path), allow_partial=True)


def test_preprocessing_may_be_said_by_the_caller(tmp_path):
  tower = vgg16.Vgg16(3)
  source = pytorch.read(save(tmp_path / "vgg.pth", tower.state_dict(), "zip"))
  source = dataclasses.replace(source, info={**source.info, "preprocessing": "torch_tsn"})
  model = vgg16.imported([(source, pytorch.targets(source, "appearance"))])
  mean = np.float32(preprocessing.PREPROCESSINGS["torch_tsn"].appearance_mean)
  reversed_bytes = IMAGE[..., ::-1] - np.float32([104, 117, 128])
  vgg16.assert_same(model, "appearance", IMAGE - mean, tower, reversed_bytes.transpose(2, 0, 1))


@pytest.mark.parametrize("module,kind,suffix", [("torch", "zip", ".pth"), ("safetensors", "safetensors", ".safetensors")])
def test_a_missing_library_is_named(tmp_path, monkeypatch, module, kind, suffix):
  path = save(tmp_path / f"a{suffix}", {"features.0.weight": torch.ones(2)}, kind)
  other = save(tmp_path / f"b{suffix}", {"features.0.weight": torch.ones(2)}, "safetensors")
  monkeypatch.setitem(sys.modules, module, None)
  with pytest.raises(UsageError, match=re.escape("pip install 'tbvis[pytorch]'")):
    pytorch.read(path)
  if module == "torch":  # Its other format does without.
    assert pytorch.read(other).tensors


@pytest.mark.slow
@pytest.mark.parametrize("kind,suffix", [("zip", ".pth"), ("older", ".pth"), ("safetensors", ".safetensors")])
def test_damaged_files_are_refused_in_one_line(tmp_path, kind, suffix):
  sample = save(tmp_path / f"sample{suffix}", vgg16.Vgg16(3).half().state_dict(), kind)
  counts = fuzz.outcomes("tests.weights.test_pytorch:read_and_target", sample, tmp_path, count=500)
  assert sum(counts.values()) == 500 and counts["refused"] > 200, counts


@pytest.mark.parametrize("content", [b"", b"x", b"PK\3\4", b"\x80\x02.", b"\x80\x02]q\x00.", bytes(1000), b"PK\5\6" + bytes(18)])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_what_is_no_state_dict_is_refused(tmp_path, content, suffix):
  path = tmp_path / f"no{suffix}"
  path.write_bytes(content)
  with pytest.raises(UsageError, match=f"no{suffix}"):
    pytorch.read(path)
  with pytest.raises(UsageError, match="missing"):
    pytorch.read(tmp_path / f"missing{suffix}")
  with pytest.raises(UsageError, match="expected a PyTorch state dict|Expected a PyTorch state dict"):
    pytorch.read(tmp_path)
