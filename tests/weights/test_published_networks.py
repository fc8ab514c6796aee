"""TSN's networks and ST-ResNet from files of the released naming: every layer gives what the network that wrote them gives in PyTorch."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tbvis.errors import UsageError
from tbvis.models import checkpoint, tsn
from tbvis.weights import caffe, inference, matconvnet, preprocessing, pytorch, transfer
from tbvis.weights.source import Target

torch = pytest.importorskip("torch")
from tests.torch_networks import compare, st_resnet  # noqa: E402 - they need PyTorch
from tests.torch_networks import tsn as torch_tsn  # noqa: E402
from tests.weights import caffe_files, st_resnet_files  # noqa: E402

# Networks of hundreds of layers are built.
pytestmark = pytest.mark.slow

CLASSES, WIDTH = 5, 0.0625
# Rounding grows through dozens of normalised layers of random weights; a wrong detail is a hundred times more.
TOLERANCE = 5e-4
SIZES = {"tsn_bn_inception": 64, "tsn_inception_v3": 107}
RNG = np.random.default_rng(0)
RGB_ON_CAFFE, RGB_ON_TORCH = np.float32([123, 117, 104]), np.float32([128, 117, 104])


def shown(differences):
  return max(differences.items(), key=lambda item: item[1])


def put(model, *parts):
  """Sets a model's weights from (source, targets) and returns the plan."""
  plan = transfer.make_plan(transfer.weight_shapes(model), [(source, transfer.fitted(targets, model)) for source, targets in parts])
  plan.check("the files")
  transfer.apply(plan, model)
  return plan


def tsn_inputs(network):
  size = SIZES[network]
  frames = RNG.integers(0, 256, (2, size, size, 3)).astype(np.float32)
  flow = np.clip(RNG.normal(128, 20, (2, size, size, 10)), 0, 255).round().astype(np.float32)
  return frames, flow


def in_caffe(frames, flow):
  """What TSN's Caffe networks are given."""
  return {"appearance": frames[..., ::-1] - RGB_ON_CAFFE[::-1], "motion": flow - 128}


def in_torch(network, frames, flow):
  """What TSN's PyTorch networks are given."""
  if network == "tsn_inception_v3":
    return {"appearance": (frames / 255 - 0.5) / 0.5, "motion": (flow / 255 - 0.5) / 0.5}
  return {"appearance": frames[..., ::-1] - RGB_ON_TORCH[::-1], "motion": flow - 128}


def write_caffe(path, theirs):
  """TSN's Caffe file: BN of four blobs, "/" in BN-Inception's names, the classifier called after its use."""
  layers = []
  for name, module in theirs.named_children():
    state = {key: value.numpy() for key, value in module.state_dict().items()}
    if isinstance(module, torch.nn.BatchNorm2d):
      four = [state[key].reshape(1, -1, 1, 1) for key in ("weight", "bias", "running_mean", "running_var")]
      layers.append(caffe_files.layer(caffe_files.tsn_name(name), "BN", [caffe_files.blob(value) for value in four]))
    else:
      kind = "InnerProduct" if isinstance(module, torch.nn.Linear) else "Convolution"
      called = "fc-action" if kind == "InnerProduct" else caffe_files.tsn_name(name)
      layers.append(caffe_files.layer(called, kind, [caffe_files.blob(state["weight"]), caffe_files.blob(state["bias"])]))
  path.write_bytes(caffe_files.network(layers))


def write_torch(path, theirs):
  """TSN's PyTorch checkpoint: the network inside a wrapper, its classifier beside it."""
  classifier = next(name for name, module in theirs.named_children() if isinstance(module, torch.nn.Linear))
  state = {f"module.base_model.{key}".replace(f"base_model.{classifier}.", "new_fc."): value for key, value in theirs.state_dict().items()}
  torch.save({"epoch": 3, "state_dict": state}, path)


@pytest.mark.parametrize("network", SIZES)
def test_a_pair_from_files_of_two_formats_gives_what_pytorch_gives(tmp_path, network):
  frames, flow = tsn_inputs(network)
  formats = {"caffe": (caffe, write_caffe, "x.caffemodel", in_caffe(frames, flow))}
  formats["pytorch"] = (pytorch, write_torch, "x.pth", in_torch(network, frames, flow))
  model = None
  # Either stream from either format.
  for chosen in (("caffe", "pytorch"), ("pytorch", "caffe")):
    parts, expected, ours = [], {}, {"motion": flow - 128}
    for stream, kind in zip(tsn.CHANNELS, chosen, strict=True):
      module, write, name, given = formats[kind]
      theirs = torch_tsn.Network(network, tsn.CHANNELS[stream], CLASSES, WIDTH, last=2)
      compare.settle(theirs, torch.from_numpy(given[stream].transpose(0, 3, 1, 2).copy()), seed=len(stream))
      write(tmp_path / name, theirs)
      source = module.read(tmp_path / name)
      parts.append((source, module.targets(source, stream)))
      expected |= theirs.outputs(given[stream], stream)
      if stream == "appearance":
        ours["appearance"] = frames - np.float32(source.info["appearance_mean"])
    everything = [target for _, targets in parts for target in targets]
    arguments = inference.infer_arguments(everything, "w", {}, inference.find_network(everything))
    assert arguments == {"width": pytest.approx(WIDTH), "classes": CLASSES, "stream": "both"}
    model = model or checkpoint.BUILDERS[inference.find_network(everything)](**arguments, input_size=SIZES[network])
    plan = put(model, *parts)
    assert not plan.missing and not plan.unused
    differences = compare.largest_differences(model, expected, **ours)
    assert max(differences.values()) < TOLERANCE, (chosen, shown(differences))


@pytest.fixture(scope="module")
def clips():
  chunks, size = 2, 64
  frames = RNG.integers(0, 256, (2, chunks, size, size, 3)).astype(np.float32)
  flow = np.clip(RNG.normal(128, 20, (2, chunks, size, size, 20)), 0, 255).round().astype(np.float32)
  return frames, flow - 128


def settled(frames, motion, **changed):
  theirs = st_resnet.Network(CLASSES, WIDTH, last=2, **changed)
  compare.settle(theirs, *(torch.from_numpy(x.transpose(0, 4, 1, 2, 3).copy()) for x in (frames, motion)))
  return theirs


@pytest.fixture(scope="module")
def resnet():
  return checkpoint.BUILDERS["st_resnet50"](CLASSES, 2, width=WIDTH, input_size=64)


def test_a_spatiotemporal_network_of_matconvnet_gives_what_pytorch_gives(tmp_path, clips, resnet):
  frames, motion = clips
  theirs = settled(frames - 100, motion)
  st_resnet_files.write_mat(tmp_path / "net.mat", theirs.layers, mean=np.r_[np.full(20, 128.0), 101, 102, 103].reshape(1, 1, 23))
  source = matconvnet.read(tmp_path / "net.mat")
  targets = matconvnet.targets(source, None)
  assert inference.find_network(targets) == "st_resnet50" and source.info["appearance_mean"] == (101, 102, 103)
  assert inference.infer_arguments(targets, "w", {}, "st_resnet50") == {"width": WIDTH, "classes": CLASSES}
  plan = put(resnet, (source, targets))
  assert not plan.missing and not plan.unused
  appearance = frames - np.float32(source.info["appearance_mean"])
  differences = compare.largest_differences(resnet, theirs.outputs(appearance, motion), appearance=appearance, motion=motion)
  assert max(differences.values()) < TOLERANCE, shown(differences)


@pytest.mark.parametrize(("appearance_format", "motion_format"), [("caffe", "matconvnet"), ("pytorch", "caffe"), ("matconvnet", "pytorch")])
def test_base_towers_of_any_format_start_the_spatiotemporal_network(tmp_path, clips, resnet, appearance_format, motion_format):
  frames, motion = clips
  theirs = settled(frames - 100, motion)
  with torch.no_grad():
    for module in theirs.layers.values():
      if module.weight.ndim == 5 and module.weight.shape[2] == 3:
        module.weight.copy_(module.weight[:, :, 1:2].expand(module.weight.shape))  # What a tower over one frame becomes.
  writers = {"caffe": st_resnet_files.write_caffe, "pytorch": st_resnet_files.write_torch}
  writers["matconvnet"] = lambda path, layers: st_resnet_files.write_mat(path, layers, base=True)
  modules = {"caffe": (caffe, "x.caffemodel"), "pytorch": (pytorch, "x.pth"), "matconvnet": (matconvnet, "x.mat")}
  parts = []
  for stream, kind in (("appearance", appearance_format), ("motion", motion_format)):
    suffix = st_resnet.SUFFIXES[stream]
    layers = {name.removesuffix(suffix): module for name, module in theirs.layers.items() if name.endswith(suffix)}
    module, name = modules[kind]
    writers[kind](tmp_path / name, layers)
    source = module.read(tmp_path / name)
    if "preprocessing" in source.info:
      source = preprocessing.assume(source, "raw")  # The channels' order is another test's.
    parts.append((source, transfer.with_fused_head(module.targets(source, stream))))
  plan = put(resnet, *parts)
  assert not plan.missing
  appearance = frames - 100
  differences = compare.largest_differences(resnet, theirs.outputs(appearance, motion), appearance=appearance, motion=motion)
  assert max(differences.values()) < TOLERANCE, shown(differences)


def test_a_pool_over_time_is_told_and_the_wrong_direction_refused(tmp_path):
  theirs = st_resnet.Network(CLASSES, WIDTH, last=2)
  st_resnet_files.write_mat(tmp_path / "final.mat", theirs.layers, time_pool=True)
  source = matconvnet.read(tmp_path / "final.mat")
  told = inference.infer_arguments(matconvnet.targets(source, None), "w", source.info["arguments"], "st_resnet50")
  assert told["time_pool"] is True and told["chunks"] == 11
  layers = [dataclasses.replace(layer, name=layer.name.replace("_spatial_sum", "_temporal_sum")) for layer in source.info["layers"]]
  turned = dataclasses.replace(source, info={**source.info, "layers": tuple(layers)})
  with pytest.raises(UsageError, match=r"final\.mat: layer res2a_relu_temporal_sum .*Expected motion given to the appearance"):
    matconvnet.targets(turned, None)


def test_widths_are_told_by_the_channels():
  kernels = {"conv1_7x7_s2": (7, 7, 10, 64), "conv2_3x3": (3, 3, 64, 192), "inception_4a_1x1": (1, 1, 576, 224)}
  targets = [Target(f"{name}_motion", "kernel", np.zeros(shape, np.float32), ("a",)) for name, shape in kernels.items()]
  assert inference.infer_arguments(targets, "w", {}, "tsn_bn_inception") == {"width": 1.0, "stream": "motion"}
  targets[1] = Target("conv2_3x3_motion", "kernel", np.zeros((3, 3, 64, 96), np.float32), ("a",))
  with pytest.raises(UsageError, match=r"channels of a BN-Inception, 32, 64, .*352 times a width, found \[64, 96, 224\]"):
    inference.infer_arguments(targets, "w", {}, "tsn_bn_inception")
