"""Receptive field and stride of every layer, computed from the graph of a Keras model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
import dataclasses
from typing import TYPE_CHECKING, Any

from tbvis.errors import unknown_name

if TYPE_CHECKING:
  import keras

# (N, H, W, C); what has less is the same for all places.
_MAP_RANK = 4
_AXES_WITH_TIME = 3


@dataclasses.dataclass(frozen=True)
class LayerGeometry:
  """What a location of a layer sees.

  Attributes:
    name: the layer's name.
    channels: number of channels.
    field: side of the receptive field in input pixels (rho in the paper), the longer one where they differ, None for the whole input.
    stride: input pixels between neighbouring locations, None where there is one location.
    streams: names of the model inputs that the layer depends on.
    shape: of the layer's output, None where the model leaves a size open.
    time: steps of the inputs' time axis, chunks or frames of a video, that convolutions and pools over it let a location see; 1 where
      none goes over it, more than there are where the field reaches beyond both ends, None for the whole input.
  """

  name: str
  channels: int
  field: int | None
  stride: int | None
  streams: tuple[str, ...]
  shape: tuple[int | None, ...] = ()
  time: int | None = 1


def window_in_time(layer: keras.Layer) -> tuple[int, int]:
  """Returns how many steps of time a window of a layer spans beyond the first, and its stride: (0, 1) of layers that do not see time."""
  kernel = getattr(layer, "kernel_size", None) or getattr(layer, "pool_size", None)
  if not isinstance(kernel, tuple) or len(kernel) < _AXES_WITH_TIME:
    return 0, 1
  dilation = getattr(layer, "dilation_rate", None) or (1,) * len(kernel)
  return (int(kernel[0]) - 1) * int(dilation[0]), int((getattr(layer, "strides", None) or kernel)[0])


def inner_layer(layer: Any) -> Any:
  """Returns the layer that a wrapper such as TimeDistributed applies to every frame; any other as it is."""
  return getattr(layer, "layer", layer)


def window(layer: keras.Layer) -> tuple[tuple[int, int], int]:
  """Returns how many pixels of its input a window of a layer spans beyond the first, (height, width), and its stride."""
  layer = inner_layer(layer)
  kernel = getattr(layer, "kernel_size", None) or getattr(layer, "pool_size", None)
  if kernel is None:
    return (0, 0), 1
  strides = getattr(layer, "strides", None) or kernel
  dilation = getattr(layer, "dilation_rate", 1)

  # The last two axes of 2-D and 3-D layers alike are height and width.
  def axes(value: int | tuple[int, ...]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (int(value[max(0, len(value) - 2)]), int(value[-1]))

  height, width = ((side - 1) * step for side, step in zip(axes(kernel), axes(dilation), strict=True))
  return (height, width), axes(strides)[0]


def layer_geometry(model: keras.Model, whole: bool = False) -> dict[str, LayerGeometry]:
  """Computes receptive fields and strides.

  Where branches of different fields meet, the largest counts.

  Args:
    model: a Functional Keras model, whose windows may have unlike sides, but equal strides along both.
    whole: whether layers after a global pooling or a Flatten are told too: their field is the whole input.

  Returns:
    Geometry by layer name, in the order of the graph.

  >>> from tbvis.models import two_stream
  >>> net = two_stream.two_stream_fusion_vgg16(3, width=0.1, fc_units=8)
  >>> layer_geometry(net)["conv5_fusion"].field
  196
  """
  import keras  # Takes seconds; what only asks for a canvas does without.

  result: dict[str, LayerGeometry] = {}
  by_tensor: dict[int, tuple[LayerGeometry, tuple[int, int], int]] = {}
  # Operations without a layer too, such as a sum written with +.
  for layer in model.operations:
    outputs = outputs_of(layer)
    if not outputs:
      continue
    shape, sides, step = tuple(outputs[0].shape), (1, 1), 1
    if isinstance(layer, keras.layers.InputLayer):
      here = LayerGeometry(layer.name, shape[-1], 1, 1, (layer.name,), shape)
    else:
      found = [by_tensor[id(t)] for t in layer._inbound_nodes[0].input_tensors if id(t) in by_tensor]
      if not found:
        continue
      before = [geometry for geometry, *_ in found]
      streams = tuple(dict.fromkeys(s for g in before for s in g.streams))
      ends = len(shape) < _MAP_RANK or "Global" in type(layer).__name__ or isinstance(layer, (keras.layers.Flatten, keras.layers.Reshape))
      reached = [(g.stride, g.time, seen, each) for g, seen, each in found if g.stride is not None and g.time is not None]
      if ends or len(reached) < len(found):
        here = LayerGeometry(layer.name, shape[-1], None, None, streams, shape, None)
      else:
        spans, stride = window(layer)
        height, width = (max(seen[axis] + spans[axis] * coarse for coarse, _, seen, _ in reached) for axis in (0, 1))
        sides = height, width
        later, steps = window_in_time(layer)
        time = max(frames + later * each for _, frames, _, each in reached)
        step = steps * max(each for *_, each in reached)
        here = LayerGeometry(layer.name, shape[-1], max(sides), max(coarse for coarse, *_ in reached) * stride, streams, shape, time)
    for tensor in outputs:
      by_tensor[id(tensor)] = here, sides, step
    result[layer.name] = here
  return result if whole else {name: found for name, found in result.items() if found.field is not None}


def inputs_by_name(model: keras.Model) -> dict[str, Any]:
  """Returns the symbolic inputs of a model by name, in its order."""
  return {tensor.name.split(":")[0]: tensor for tensor in model.inputs}


def outputs_of(layer: keras.Layer) -> list[Any]:
  """Returns the symbolic outputs of a layer, none where it is part of no graph."""
  return list(layer._inbound_nodes[0].output_tensors) if layer._inbound_nodes else []


def up_to(table: Mapping[str, LayerGeometry], layers: Iterable[str]) -> list[LayerGeometry]:
  """Returns what comes before `layers` in a table of the whole graph and sees their inputs alone, themselves included."""
  layers = list(layers)
  streams = {stream for layer in layers for stream in table[layer].streams}
  last = max(list(table).index(layer) for layer in layers)
  return [place for place in list(table.values())[: last + 1] if set(place.streams) <= streams]


def input_names(model: keras.Model, layers: Iterable[str]) -> set[str]:
  """Returns the inputs that layers depend on."""
  table = layer_geometry(model, whole=True)
  return {stream for layer in layers for stream in table[layer].streams}


def geometry_of(model: keras.Model, layer: str) -> LayerGeometry:
  """Returns the geometry of one layer.

  Raises:
    UsageError: if there is no such layer, with the nearest names.
  """
  table = layer_geometry(model, whole=True)
  if layer not in table:
    raise unknown_name("layer", layer, table, f"model {model.name!r}")
  return table[layer]


def list_layers(model: keras.Model) -> list[LayerGeometry]:
  """Returns name, channels, receptive field, stride, streams and shape of every layer, in the order of the graph.

  >>> import keras
  >>> image = keras.Input((32, 32, 3), name="image")
  >>> x = keras.layers.Conv2D(4, 3, name="conv")(image)
  >>> net = keras.Model(image, keras.layers.Dense(2, name="scores")(keras.layers.Flatten(name="flat")(x)))
  >>> [(g.name, g.channels, g.field, g.shape) for g in list_layers(net)][1::2]
  [('conv', 4, 3, (None, 30, 30, 4)), ('scores', 2, None, (None, 2))]
  """
  return list(layer_geometry(model, whole=True).values())
