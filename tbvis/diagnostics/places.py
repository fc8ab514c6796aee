"""Where in the input a location of a layer looks."""

from __future__ import annotations

import keras
import numpy as np

from tbvis.errors import present
from tbvis.models import adopted, geometry


def _axis(value: int | tuple[int, ...]) -> int:
  # Height: the last axis but one of 2-D and 3-D layers alike.
  return int(value) if isinstance(value, int) else int(value[-2] if len(value) > 1 else value[0])


def centre_offsets(model: keras.Model) -> dict[str, float]:
  """Returns, by layer, the input pixel (0-based, along either axis) at the centre of location 0's receptive field.

  Location i is centred on `offset + i * stride`. Windows are square; an even pooling window is centred
  between pixels, so that offsets may be halves. Layers after a global pooling are left out.

  >>> from tbvis.models import two_stream
  >>> net = two_stream.two_stream_fusion_vgg16(3, width=0.1, fc_units=8)
  >>> offsets = centre_offsets(net)
  >>> offsets["conv1_2_motion"], offsets["conv2_1_motion"], offsets["conv5_fusion"], offsets["fc6"]
  (0.0, 0.5, 7.5, 111.5)
  """
  table = geometry.layer_geometry(model)
  by_tensor: dict[int, tuple[float, int]] = {}
  result: dict[str, float] = {}
  for layer in model.operations:
    if layer.name not in table:
      continue
    node, name = layer._inbound_nodes[0], layer.name
    layer = geometry.inner_layer(layer)
    before = [by_tensor[id(t)] for t in node.input_tensors if id(t) in by_tensor]
    offset, stride = before[0] if before else (0.0, 1)
    if isinstance(layer, keras.layers.ZeroPadding2D):
      offset -= layer.padding[0][0] * stride
    window = getattr(layer, "kernel_size", None) or getattr(layer, "pool_size", None)
    if window is not None:
      size = (_axis(window) - 1) * _axis(getattr(layer, "dilation_rate", 1)) + 1
      step = _axis(getattr(layer, "strides", None) or window)
      # "same" pads half of what the window overhangs, the smaller half first.
      padding = max(size - step, 0) // 2 if getattr(layer, "padding", "valid") == "same" else 0
      offset += ((size - 1) / 2 - padding) * stride
    result[name] = offset
    for tensor in node.output_tensors:
      by_tensor[id(tensor)] = offset, present(table[name].stride, f"the stride of layer {name}")
  return result


def crop_margin(model: keras.Model, height: int, width: int) -> np.ndarray:
  """Returns how many pixels above and left of a frame's middle a network does not see, int (2,); none where it takes any size."""
  crop = next((layer for layer in model.layers if isinstance(layer, adopted.CentralCrop)), None)
  return np.array(crop.margins(height, width) if crop else (0, 0))


def to_input(places: np.ndarray, offset: float | np.ndarray, stride: int) -> np.ndarray:
  """Returns the input pixels, rounded down, that locations of a layer are centred on.

  Args:
    places: int (..., 2), y and x in the layer's map.
    offset: of `centre_offsets`, behind the `crop_margin`; one for y and x, or (2,).
    stride: of `layer_geometry`.
  """
  return np.floor(np.asarray(places) * stride + offset).astype(np.int32)
