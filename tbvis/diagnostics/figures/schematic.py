"""The layers of a network as a drawing has them, read from its own graph."""

from __future__ import annotations

import dataclasses

import keras

from tbvis.diagnostics import controls
from tbvis.models import checkpoint as checkpoint_lib
from tbvis.models import geometry
from tbvis.rendering import charts, schematic
from tbvis.units import CLASS_LAYERS

_LANES = ("appearance", "both streams", "motion")
_MAP_AXES = 4
# Layers that change neither shape nor channels: drawn as a part of the layer before.
_PASSED = (keras.layers.ReLU, keras.layers.Dropout, keras.layers.Activation)


def nodes(checkpoint: checkpoint_lib.Checkpoint) -> list[schematic.Node]:
  """Returns the layers of a two-stream network: a row for each stream, and one for where they are joined.

  A layer's column is the longest way to it; ReLUs and dropout are left out.

  >>> net = checkpoint_lib.build("two_stream_fusion_vgg16", {"width": 0.05, "input_size": 32, "fc_units": 4}, ("a", "b"))
  >>> [(n.lane, n.side, n.channels, n.before) for n in nodes(net) if n.name == "concat5"]
  [(1, 2, 48, ('conv5_3_appearance', 'conv5_3_motion'))]
  """
  model, size = checkpoint.model, checkpoint.input_size
  table = geometry.layer_geometry(model, whole=True)
  lanes = {frozenset({"appearance"}): 0, frozenset({"motion"}): 2}
  shown: dict[str, schematic.Node] = {}
  # By tensor the node that stands for it.
  source: dict[int, str] = {}
  for layer in model.operations:
    inbound = layer._inbound_nodes[0].input_tensors if layer._inbound_nodes else ()
    before = tuple(dict.fromkeys(source[id(tensor)] for tensor in inbound if id(tensor) in source))
    outputs = geometry.outputs_of(layer)
    if isinstance(layer, _PASSED) and len(before) == 1:
      source |= {id(tensor): before[0] for tensor in outputs}
      continue
    here = table[layer.name]
    column = max((shown[name].column + 1 for name in before), default=0)
    side = size if not before else _side(layer, shown[before[0]].side, len(outputs[0].shape))
    shown[layer.name] = schematic.Node(layer.name, lanes.get(frozenset(here.streams), 1), column, side, here.channels, before)
    source |= {id(tensor): layer.name for tensor in outputs}
  return list(shown.values())


def _side(layer: keras.Layer, side: int, axes: int) -> int:
  """Returns the height of a layer's map, of that of the map before."""
  if axes < _MAP_AXES:
    return 1
  (span, _), stride = geometry.window(layer)
  layer = geometry.inner_layer(layer)
  return -(-side // stride) if getattr(layer, "padding", "same") == "same" else max(1, (side - 1 - span) // stride + 1)


def drawings(checkpoint: checkpoint_lib.Checkpoint, title: str) -> tuple[charts.Drawing, charts.Drawing]:
  """Returns the network alone, and with the way of the gradient from a unit of the fusion, or of a class where there is none."""
  found = nodes(checkpoint)
  names = {node.name for node in found}
  target = next(name for name in (controls.FUSION, *CLASS_LAYERS) if name in names)
  # A network of one stream has one row.
  rows = sorted({node.lane for node in found})
  found = [dataclasses.replace(node, lane=rows.index(node.lane)) for node in found]
  alone, traced = (schematic.draw(title, found, target, [_LANES[row] for row in rows], gradient) for gradient in (False, True))
  return alone, traced
