"""The two-stream fusion VGG-16 in PyTorch, from MatConvNet's tensors: the independent runtime of the parity tests."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F

from tests.weights.exporter import BLOCKS


def convolve(x: torch.Tensor, kernel: np.ndarray, bias: np.ndarray, padding: int = 0) -> torch.Tensor:
  """Convolves (N, C, H, W) with a kernel [kh kw cin cout], as PyTorch does (a correlation)."""
  weight = torch.tensor(np.transpose(kernel, (3, 2, 0, 1)).copy())
  return F.conv2d(x, weight, torch.tensor(bias.reshape(-1)), padding=padding)


def run(params: Mapping[str, np.ndarray], appearance: np.ndarray, motion: np.ndarray) -> dict[str, np.ndarray]:
  """Returns every convolution's output before its ReLU, channels last, by our layers' names.

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


def largest_difference(model, expected: Mapping[str, np.ndarray], appearance: np.ndarray, motion: np.ndarray) -> dict[str, float]:
  """Returns, by layer, the largest difference of a Keras model's outputs from `expected`, relative to the layer's largest value."""
  import keras

  outputs = {name: model.get_layer(name).output for name in expected}
  found = keras.Model(model.inputs, outputs)({"appearance": appearance, "motion": motion})
  return {
    name: float(np.abs(keras.ops.convert_to_numpy(found[name]).reshape(value.shape) - value).max() / np.abs(value).max())
    for name, value in expected.items()
  }
