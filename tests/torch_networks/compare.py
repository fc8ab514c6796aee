"""The same network in Keras and in PyTorch: weights go either way, and every layer's values are held beside each other."""

from __future__ import annotations

from collections.abc import Mapping

import keras
import numpy as np
import torch

_BATCH_NORM = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}


def settle(network: torch.nn.Module, *inputs: torch.Tensor, seed: int = 0) -> None:
  """Gives a network random weights and its normalisations the statistics that `inputs` have there, as training would have left them.

  Args:
    network: every normalisation of it is passed once by a call with `inputs`.
    *inputs: of the call.
    seed: of the weights.
  """
  generator = torch.Generator().manual_seed(seed)
  norms = [module for module in network.modules() if isinstance(module, torch.nn.modules.batchnorm._BatchNorm)]
  own = {id(parameter) for norm in norms for parameter in norm.parameters()}
  with torch.no_grad():
    for parameter in network.parameters():
      if id(parameter) not in own:
        std = (2 / parameter[0].numel()) ** 0.5 if parameter.ndim > 1 else 0.2
        parameter.copy_(torch.randn(parameter.shape, generator=generator) * std)
    for norm in norms:
      norm.momentum = 1.0  # The statistics of this call, and nothing of the start.
      norm.weight.copy_(0.5 + torch.rand(norm.weight.shape, generator=generator))
      # Also below zero: a layer without its ReLU, or one too many, would show.
      norm.bias.copy_(0.5 * torch.randn(norm.bias.shape, generator=generator))
    network.train()
    network(*inputs)
    network.eval()
    for norm in norms:
      # Few values tell a variance badly: a small one by chance would multiply rounding in layer after layer.
      norm.running_var.clamp_(min=0.2 * float(norm.running_var.mean()))


def to_torch(model: keras.Model, modules: Mapping[str, torch.nn.Module]) -> None:
  """Copies the weights of a Keras model.

  Args:
    model: the giver.
    modules: takers by the Keras layers' names.
  """
  for name, module in modules.items():
    for variable in model.get_layer(name).weights:
      value = keras.ops.convert_to_numpy(variable)
      if variable.name == "kernel":
        value = np.moveaxis(value, (-1, -2), (0, 1))  # (*window, in, out) to (out, in, *window).
      taker = _parameter(module, variable.name)
      with torch.no_grad():
        # What is dense in PyTorch, or has no axis of time in Keras, has windows of one there.
        taker.copy_(torch.tensor(np.ascontiguousarray(value)).reshape(taker.shape))


def to_keras(model: keras.Model, modules: Mapping[str, torch.nn.Module]) -> None:
  """Copies weights into a Keras model.

  Args:
    model: the taker.
    modules: givers by the Keras layers' names; they must be those of all weights.
  """
  assert {layer.name for layer in model.layers if layer.weights} == set(modules)
  for name, module in modules.items():
    for variable in model.get_layer(name).weights:
      value = _parameter(module, variable.name).detach().numpy()
      if variable.name == "kernel":
        window = tuple(variable.shape[:-2])
        value = np.moveaxis(value.reshape(*value.shape[:2], *window), (0, 1), (-1, -2))
      assert value.shape == tuple(variable.shape), f"{name}/{variable.name}: {value.shape} and {tuple(variable.shape)}"
      variable.assign(value)


def _parameter(module: torch.nn.Module, weight: str) -> torch.Tensor:
  return getattr(module, "weight" if weight == "kernel" else _BATCH_NORM.get(weight, weight))


def largest_differences(model: keras.Model, expected: Mapping[str, np.ndarray], **inputs: np.ndarray) -> dict[str, float]:
  """Returns, by layer, the largest difference of a Keras model's outputs from `expected`, relative to the layer's largest value.

  Args:
    model: the model.
    expected: values by our layers' names, channels last.
    **inputs: by stream.
  """
  given = dict(inputs)
  # A chunk axis may lie folded in the rows on either side: the values are the same.
  found = keras.Model(model.inputs, {name: model.get_layer(name).output for name in expected})(given)
  differences = {}
  for name, value in expected.items():
    ours = keras.ops.convert_to_numpy(found[name])
    assert ours.shape[-1] == value.shape[-1] and ours.size == value.size, f"{name}: {ours.shape} and {value.shape}"
    differences[name] = float(np.abs(ours.reshape(value.shape) - value).max() / max(np.abs(value).max(), 1e-6))
  return differences
