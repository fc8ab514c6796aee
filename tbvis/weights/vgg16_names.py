"""VGG-16 by the layer names of keras.applications and by our own: what npz and Keras files have in common."""

from __future__ import annotations

from collections.abc import Iterable
import math
import re

import numpy as np

from tbvis.models import two_stream
from tbvis.weights.source import Source, Target

_CONVOLUTION = re.compile(r"block(\d)_conv(\d)")
_TOP = {"fc1": "fc6", "fc2": "fc7", "predictions": "prediction"}
_TOWER = re.compile(r"conv1_1_(appearance|motion)")
_CHANNELS = 512


def vgg16_targets(source: Source, weights: Iterable[tuple[str, str, str]], stream: str | None) -> list[Target]:
  """Names the weights of our layers that tensors are.

  Args:
    source: the file.
    weights: layer, weight and tensor's name of each; layers are keras.applications' (block1_conv1, fc1, predictions), a base
      tower's (conv1_1, fc6) or ours (conv1_1_appearance, conv5_fusion).
    stream: of a base tower; None takes our own names alone.

  Returns:
    Kernels HWIO. Dense kernels became convolutions, and the first kernel of keras.applications, which takes B, G, R, is
    reversed.
  """
  numeric = [(layer, weight, name) for layer, weight, name in weights if source.tensors[name].dtype.kind in "fiu"]
  last = (source.tensors[name] for layer, weight, name in numeric if (layer, weight) == ("block5_conv3", "kernel"))
  channels = next((value.shape[-1] for value in last if value.ndim == 4), _CHANNELS)
  # Two towers, and fc6 is the fused one's; in a base tower it is the tower's own.
  whole = any(_TOWER.fullmatch(layer) for layer, _, _ in numeric)
  found = []
  for layer, weight, name in numeric:
    with np.errstate(over="ignore"):  # What becomes infinite is refused where values are checked.
      value = source.tensors[name].astype(np.float32, copy=False)
    if whole:
      if stream is None or layer.endswith(f"_{stream}"):
        found.append(Target(layer, weight, value, (name,)))
    elif stream is not None:
      found.append(Target(f"{_base(layer)}_{stream}", weight, _converted(layer, weight, value, channels), (name,)))
  return found


def _base(layer: str) -> str:
  block = _CONVOLUTION.fullmatch(layer)
  return f"conv{block[1]}_{block[2]}" if block else _TOP.get(layer, layer)


def _converted(layer: str, weight: str, value: np.ndarray, channels: int) -> np.ndarray:
  """Returns a weight of a base tower as ours has it."""
  if weight != "kernel":
    return value
  if value.ndim == 2:  # Dense: fc1 sees the flattened map, (height, width, channels) in C order.
    side = math.isqrt(value.shape[0] // max(1, channels)) if layer == "fc1" else 1
    flat = side * side * channels if layer == "fc1" else value.shape[0]
    return value.reshape(side, side, -1, value.shape[1]) if side and flat == value.shape[0] else value
  if layer == "block1_conv1" and value.ndim == 4 and value.shape[2] == two_stream.APPEARANCE_CHANNELS:
    return value[:, :, ::-1]
  return value
