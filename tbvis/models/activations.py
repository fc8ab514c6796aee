"""What layers do besides what their weights do: ReLUs and softmaxes, of their own or fused into another layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

# Layers that apply their activation function last. Others, such as LSTM, use theirs somewhere inside.
_FUSING = (
  keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D, keras.layers.Conv1DTranspose, keras.layers.Conv2DTranspose,
  keras.layers.Conv3DTranspose, keras.layers.SeparableConv1D, keras.layers.SeparableConv2D, keras.layers.DepthwiseConv1D,
  keras.layers.DepthwiseConv2D, keras.layers.Dense, keras.layers.EinsumDense,
)  # fmt: skip


def fused_activation(layer: Any) -> Callable[[Any], Any] | None:
  """Returns the activation function that a layer with weights of its own applies to what they give, None where it is linear."""
  function = layer.activation if isinstance(layer, _FUSING) else None
  return None if function is keras.activations.linear else function


def is_relu(layer: Any) -> bool:
  """Tells whether a layer is a plain ReLU and nothing else."""
  if isinstance(layer, keras.layers.ReLU):
    return layer.max_value is None and not layer.negative_slope and not layer.threshold
  return isinstance(layer, keras.layers.Activation) and layer.activation is keras.activations.relu


def is_softmax(layer: Any, after: bool = True) -> bool:
  """Tells whether a layer's values are probabilities: a softmax of its own, or a fused one that is asked for."""
  if isinstance(layer, keras.layers.Softmax):
    return True
  softmax = getattr(layer, "activation", None) is keras.activations.softmax
  return softmax and (after or not getattr(layer, "weights", None))
