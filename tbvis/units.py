"""Units of a network by the names that people write: `conv5_fusion/f021`, `prediction/PlayingCello`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
import dataclasses
import re
from typing import TYPE_CHECKING, Any

from tbvis.errors import UsageError, unknown_name
from tbvis.models import geometry

if TYPE_CHECKING:
  import keras

TOWERS = ("appearance", "motion")
# Layers whose channels are classes, and so may be named by one.
CLASS_LAYERS = ("prediction", "prediction_motion", "prediction_appearance")
_NUMBER = re.compile(r"f(\d+)")
_RANGE = re.compile(r"f(\d+)\s*-\s*f?(\d+)")


def number_label(channel: int) -> str:
  """Returns the 1-based label of a 0-based channel, as the paper writes it.

  >>> number_label(20)
  'f021'
  """
  return f"f{channel + 1:03d}"


@dataclasses.dataclass(frozen=True)
class Unit:
  """A channel of a layer, or the same channel of a layer of both towers.

  Attributes:
    layer: name as written: a layer of the network, or one without its tower ("conv4_3").
    channel: 0-based.
    label: "f021" (1-based), or the class of a class unit.
    layers: the network's layers that the unit is in: one, or two for a layer without its tower.
    class_name: the class of a class unit, else None.
  """

  layer: str
  channel: int
  label: str
  layers: tuple[str, ...] = ()
  class_name: str | None = None

  def __post_init__(self) -> None:
    if not self.layers:
      object.__setattr__(self, "layers", (self.layer,))

  @property
  def name(self) -> str:
    """ "conv5_fusion/f021", "prediction/PlayingCello"."""
    return f"{self.layer}/{self.label}"


def unit_layers(model: keras.Model) -> dict[str, tuple[str, ...]]:
  """Returns the layers that a unit may be named in, by the name to write: those of the network and those without a tower.

  A name without its tower stands for the layer in every tower that the network has: both, or the only one of a single stream.

  Args:
    model: a Functional network.

  Returns:
    The network's layers by name, in the order of the graph.

  >>> from tbvis.models import two_stream
  >>> unit_layers(two_stream.two_stream_fusion_vgg16(2, width=0.05, input_size=32, fc_units=4))["conv4_3"]
  ('conv4_3_appearance', 'conv4_3_motion')
  """
  inputs = geometry.inputs_by_name(model)
  names = [layer.name for layer in model.layers if layer.name not in inputs and _channels_or_none(layer)]
  table: dict[str, tuple[str, ...]] = {name: (name,) for name in names}
  towers = [tower for tower in TOWERS if tower in inputs]
  for name in names if towers else ():
    bare = name.removesuffix(f"_{towers[0]}")
    every = tuple(f"{bare}_{tower}" for tower in towers)
    # fc6 and prediction are the fused tower's own layers: their bare name is taken.
    if bare != name and bare not in table and all(layer in table for layer in every):
      table[bare] = every
  return table


def _channels_or_none(layer: Any) -> int | None:
  """Returns a layer's number of channels, None where it has no output of its own or leaves it open."""
  outputs = geometry.outputs_of(layer)
  if len(outputs) != 1:
    return None
  shape = outputs[0].shape
  return int(shape[-1]) if len(shape) > 1 and shape[-1] else None


def channels_of(model: keras.Model, layer: str) -> int:
  """Returns the number of units of a layer."""
  return int(_channels_or_none(model.get_layer(layer)) or 0)


def _numbered(text: str, layer: str, label: str, count: int) -> list[int]:
  """Returns the 0-based channels that "f021" or "f001-f025" names."""
  found = _NUMBER.fullmatch(label) or _RANGE.fullmatch(label)
  if found is None:
    raise UsageError(f"Unknown unit {text!r}. Expected {layer}/f001 to {layer}/{number_label(count - 1)}, or a range such as f001-f004.")
  first, last = int(found.group(1)), int(found.group(found.lastindex or 1))
  if not 1 <= first <= last <= count:
    raise UsageError(f"Unknown unit {text!r}. Layer {layer} has units {layer}/f001 to {layer}/{number_label(count - 1)}.")
  return list(range(first - 1, last))


def parse_units(texts: Iterable[str], model: keras.Model, classes: Sequence[str] = (), where: str = "the network") -> list[Unit]:
  """Finds the units that names stand for.

  Args:
    texts: names such as "conv5_fusion/f021" (1-based), "prediction/PlayingCello", "conv3_3/f001-f025" (a range) or
      "prediction/*" (all of a layer). A layer without its tower, as in "conv4_3/f036", names the unit in both towers.
    model: the network.
    classes: names of its classes, in the order of its scores.
    where: what an error says a name is unknown in.

  Returns:
    Units in the order given, each once.

  Raises:
    UsageError: if a layer, unit or class is unknown, with the nearest names.

  >>> from tbvis.models import two_stream
  >>> net = two_stream.two_stream_fusion_vgg16(2, width=0.05, input_size=32, fc_units=4)
  >>> [u.name for u in parse_units(["conv5_1/f002", "prediction/Archery"], net, ["Archery", "Bowling"])]
  ['conv5_1/f002', 'prediction/Archery']
  """
  table = unit_layers(model)
  units: dict[Unit, None] = {}
  for text in texts:
    layer, slash, label = text.strip().partition("/")
    if layer not in table:
      raise unknown_name("layer", layer, table, where)
    count = channels_of(model, table[layer][0])
    if not slash or not label:
      raise UsageError(f"Unknown unit {text!r}. Expected LAYER/UNIT, such as {layer}/f001.")
    named = len(classes) == count and (layer in CLASS_LAYERS or layer in model.output_names)
    if label == "*":
      channels = list(range(count))
    elif named and not (_NUMBER.fullmatch(label) or _RANGE.fullmatch(label)):
      if label not in classes:
        raise unknown_name("class", label, classes, where)
      channels = [list(classes).index(label)]
    else:
      channels = _numbered(text, layer, label, count)
    for channel in channels:
      name = classes[channel] if named else None
      units[Unit(layer, channel, name or number_label(channel), table[layer], name)] = None
  return list(units)
