"""VGG-16 in PyTorch: thin towers by torchvision's names, and the fused pair by MatConvNet's."""

from __future__ import annotations

from collections.abc import Mapping

import keras
import numpy as np
import torch
import torch.nn.functional as F

from tbvis.models import two_stream
from tbvis.weights import layouts, transfer
from tests.weights.exporter import BLOCKS

SIZE, CLASSES = 64, 5  # pool5 is 2 x 2 then, so that the order of fc6's inputs counts.
WIDTH, FC_UNITS = 0.0625, 16
CHANNELS = {"appearance": two_stream.APPEARANCE_CHANNELS, "motion": two_stream.MOTION_CHANNELS}
NAMES = (*layouts.CONVOLUTIONS, "fc6", "fc7", "prediction")


class Vgg16(torch.nn.Module):
  """torchvision's VGG-16, thin: its modules and their places are the published ones."""

  def __init__(self, channels: int, seed: int = 0):
    super().__init__()
    features = []
    for _, depth, width in two_stream.BLOCKS:
      filters = two_stream.scaled_channels(width, WIDTH)
      for _ in range(depth):
        features += [torch.nn.Conv2d(channels, filters, 3, padding=1), torch.nn.ReLU()]
        channels = filters
      features.append(torch.nn.MaxPool2d(2))
    self.features = torch.nn.Sequential(*features)
    side = SIZE // 32
    dense = [torch.nn.Linear(channels * side * side, FC_UNITS), torch.nn.ReLU(), torch.nn.Dropout()]
    dense += [torch.nn.Linear(FC_UNITS, FC_UNITS), torch.nn.ReLU(), torch.nn.Dropout(), torch.nn.Linear(FC_UNITS, CLASSES)]
    self.classifier = torch.nn.Sequential(*dense)
    self.eval()
    generator = torch.Generator().manual_seed(seed)
    for parameter in self.parameters():
      fan_in = parameter[0].numel()
      torch.nn.init.normal_(parameter, std=(2 / fan_in) ** 0.5 if parameter.ndim > 1 else 0.2, generator=generator)

  def outputs(self, image: np.ndarray) -> dict[str, np.ndarray]:
    """Returns what each layer with weights gives, (H, W, C), for an input (C, H, W)."""
    modules = [module for module in (*self.features, *self.classifier) if any(True for _ in module.parameters())]
    given, x = {}, torch.from_numpy(np.ascontiguousarray(image, np.float32))[None]
    with torch.no_grad():
      for module in (*self.features, torch.nn.Flatten(), *self.classifier):
        x = module(x)
        if module in modules:
          given[NAMES[len(given)]] = x[0].numpy().transpose(1, 2, 0) if x.ndim == 4 else x[0].numpy()[None, None]
    return given


def network() -> keras.Model:
  """Returns our network, as thin."""
  return two_stream.two_stream_fusion_vgg16(CLASSES, width=WIDTH, input_size=SIZE, fc_units=FC_UNITS, dropout=0)


def imported(parts) -> keras.Model:
  """Returns our network with the weights of (source, targets) and the fused head that they start; nothing may be left over but
  what the other tower needs."""
  model = network()
  plan = transfer.make_plan(transfer.weight_shapes(model), [(source, transfer.with_fused_head(targets)) for source, targets in parts])
  assert not plan.errors and not plan.unused, (plan.errors, plan.unused)
  transfer.apply(plan, model)
  return model


def assert_same(model: keras.Model, stream: str, ours: np.ndarray, tower: Vgg16, theirs: np.ndarray, fused_head: bool = False) -> None:
  """Compares all layers of a tower, ours given (H, W, C) and theirs (C, H, W): at most 1e-4 of a layer's largest value apart."""
  wanted = tower.outputs(theirs)
  inputs = {name: np.zeros((1, SIZE, SIZE, channels), np.float32) for name, channels in CHANNELS.items()} | {stream: ours[None]}
  outputs = keras.Model(model.inputs, [model.get_layer(f"{name}_{stream}").output for name in NAMES])
  found = outputs([inputs[tensor.name] for tensor in model.inputs])
  for name, ours_of_layer in zip(NAMES, found, strict=True):
    difference = np.abs(keras.ops.convert_to_numpy(ours_of_layer)[0] - wanted[name]).max() / np.abs(wanted[name]).max()
    assert difference < 1e-4, f"{name}_{stream}: {difference}"
  for name in NAMES[-3:] if fused_head else ():
    for one, other in zip(model.get_layer(name).get_weights(), model.get_layer(f"{name}_{stream}").get_weights(), strict=True):
      np.testing.assert_array_equal(one, other)


def convolve(x: torch.Tensor, kernel: np.ndarray, bias: np.ndarray, padding: int = 0) -> torch.Tensor:
  """Convolves (N, C, H, W) with a kernel [kh kw cin cout], as PyTorch does (a correlation)."""
  weight = torch.tensor(np.transpose(kernel, (3, 2, 0, 1)).copy())
  return F.conv2d(x, weight, torch.tensor(bias.reshape(-1)), padding=padding)


def run_fused(params: Mapping[str, np.ndarray], appearance: np.ndarray, motion: np.ndarray) -> dict[str, np.ndarray]:
  """Returns every convolution's output of the fused pair before its ReLU, channels last, by our layers' names.

  Args:
    params: of `exporter.fused`.
    appearance: (N, H, W, 3).
    motion: (N, H, W, 20).
  """
  found: dict[str, torch.Tensor] = {}
  ends: dict[str, torch.Tensor] = {}
  for stream, suffix, value in (("appearance", "_spatial", appearance), ("motion", "_temporal", motion)):
    x = torch.tensor(np.transpose(value, (0, 3, 1, 2)).copy())
    for block, depth in BLOCKS:
      x = F.max_pool2d(x, 2) if block > 1 else x
      for index in range(1, depth + 1):
        name = f"conv{block}_{index}"
        found[f"{name}_{stream}"] = convolve(x, params[f"{name}f{suffix}"], params[f"{name}b{suffix}"], padding=1)
        x = F.relu(found[f"{name}_{stream}"])
    ends[stream] = x
  both = torch.cat([ends["appearance"], ends["motion"]], dim=1)
  if "conv3Df" in params:
    # [kh kw kt cin cout] -> (cout, cin, kt, kh, kw); one snippet is one step in time, padded by zeros.
    weight = torch.tensor(np.transpose(params["conv3Df"], (4, 3, 2, 0, 1)).copy())
    found["conv5_fusion"] = F.conv3d(both[:, :, None], weight, torch.tensor(params["conv3Db"].reshape(-1)), padding=1)[:, :, 0]
  else:
    found["conv5_fusion"] = convolve(both, params["conv_fusion_1f"], params["conv_fusion_1b"])
  for ours, suffix, x in (("", "_spatial", F.relu(found["conv5_fusion"])), ("_motion", "_temporal", ends["motion"])):
    x = F.max_pool2d(x, 2)
    for name in ("fc6", "fc7", "prediction"):
      found[f"{name}{ours}"] = convolve(x, params[f"{name}f{suffix}"], params[f"{name}b{suffix}"])
      x = F.relu(found[f"{name}{ours}"])
  return {name: np.transpose(value.numpy(), (0, 2, 3, 1)) for name, value in found.items()}
