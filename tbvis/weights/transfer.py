"""From tensors of a file to weights of a network: everything is checked and shown before anything is changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
import dataclasses
import math

import keras
import numpy as np

from tbvis.errors import UsageError, nearest
from tbvis.models import two_stream
from tbvis.weights.source import Source, Target

_HEAD = ("fc6", "fc7", "prediction")
# Starts as 0.25 I and 0.75 I where no file has it, as the released fusion script does (METHOD 1.4).
_INITIALISED = "conv5_fusion"
_SHOWN = 4


@dataclasses.dataclass(frozen=True)
class Plan:
  """What an import would do.

  Attributes:
    targets: values that fit, with the sources that they come from.
    initialised: layers that keep their published initialisation.
    missing: weights ("layer/weight") that no file has; they keep their random start.
    unused: tensors of the files that go nowhere, as (source, name, reason).
    errors: what is wrong whatever is allowed: shapes, values that are no numbers, weights given twice.
    shapes: of the network's weights.
  """

  targets: tuple[tuple[Source, Target], ...]
  initialised: tuple[str, ...]
  missing: tuple[str, ...]
  unused: tuple[tuple[Source, str, str], ...]
  errors: tuple[str, ...]
  shapes: Mapping[str, tuple[int, ...]]

  def table(self) -> str:
    """Returns the plan for people: source tensor -> weight, then what is left over on both sides."""
    rows = [("tensor", "shape", "", "weight", "shape")]
    for source, target in self.targets:
      shapes = " ".join(str(tuple(source.tensors[name].shape)) for name in target.sources)
      key = f"{target.layer}/{target.weight}"
      rows.append((" + ".join(target.sources), shapes, "->", key, str(self.shapes[key])))
    rows += [("(its identity 0.25 I, 0.75 I)", "", "initialised", layer, str(self.shapes[f"{layer}/kernel"])) for layer in self.initialised]
    rows += [("(nothing: a random start)", "", "missing", key, str(self.shapes[key])) for key in self.missing]
    rows += [(name, str(tuple(source.tensors[name].shape)), "unused", reason, "") for source, name, reason in self.unused]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = ["  ".join([*(text.ljust(width) for text, width in zip(row, widths, strict=False)), row[4]]).rstrip() for row in rows]
    summary = f"{len(self.targets)} weights set, {len(self.missing)} missing, {len(self.unused)} tensors unused"
    return "\n".join([*lines, summary + (f"; {', '.join(self.initialised)} initialised." if self.initialised else ".")])

  def check(self, where: str, allow_partial: bool = False) -> None:
    """Refuses a plan that would leave something over.

    Args:
      where: the file or files, for the error.
      allow_partial: whether missing weights and unused tensors are accepted; other errors never are.

    Raises:
      UsageError: naming what is wrong.
    """
    if self.errors:
      raise UsageError(f"{where}: {_listed(self.errors, '; ')}.")
    if not self.targets:
      tensors = [name for _, name, _ in self.unused]
      close = nearest("conv1_1", tensors) if tensors else []
      raise UsageError(f"{where}: none of {len(tensors)} tensors is a weight of the network ({_listed(close or tensors)}).")
    left = []
    if self.missing:
      left.append(f"missing for {len(self.missing)} weights of the network: {_listed(self.missing)}")
    if self.unused:
      left.append(f"unused {len(self.unused)} tensors of the file: {_listed([f'{name} ({reason})' for _, name, reason in self.unused])}")
    if left and not allow_partial:
      raise UsageError(f"{where}: {'; '.join(left)}. --allow_partial accepts this.")


def _listed(names: Sequence[str], separator: str = ", ") -> str:
  return separator.join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def weight_shapes(model: keras.Model) -> dict[str, tuple[int, ...]]:
  """Returns the shapes of a model's weights by "layer/weight"."""
  return {f"{layer.name}/{variable.name}": tuple(variable.shape) for layer in model.layers for variable in layer.weights}


def make_plan(shapes: Mapping[str, tuple[int, ...]], parts: Iterable[tuple[Source, Sequence[Target]]]) -> Plan:
  """Compares what files give with what a network has.

  A classifier of another number of classes is left out rather than wrong: ImageNet's is of no use here.

  Args:
    shapes: of the network's weights, by "layer/weight" (`weight_shapes`).
    parts: files, each with its targets.
  """
  kept: list[tuple[Source, Target]] = []
  unused: list[tuple[Source, str, str]] = []
  errors: list[str] = []
  given: dict[str, str] = {}
  for source, targets in parts:
    used: set[str] = set()
    reasons: dict[str, str] = {}
    for target in targets:
      key, names = f"{target.layer}/{target.weight}", " + ".join(target.sources)
      if key not in shapes:
        reasons |= dict.fromkeys(target.sources, f"the network has no {key}")
        continue
      if target.layer.startswith("prediction") and target.value.shape[-1] != shapes[key][-1]:
        reasons |= dict.fromkeys(target.sources, f"{target.value.shape[-1]} classes, the network has {shapes[key][-1]}")
        continue
      used |= set(target.sources)
      kept.append((source, target))
      if key in given:
        errors.append(f"{key} is given twice, by {given[key]} and {names}")
      elif target.value.shape != shapes[key]:
        errors.append(f"{names} makes {key} of shape {target.value.shape}, expected {shapes[key]}")
      elif not _all_finite(target.value):
        errors.append(f"{names} holds values that are not finite (NaN or infinity)")
      given[key] = names
    unused += [(source, name, reasons.get(name, "no such layer")) for name in source.tensors if name not in used]
  order = {key: place for place, key in enumerate(shapes)}
  kept.sort(key=lambda pair: order[f"{pair[1].layer}/{pair[1].weight}"])
  without = [key for key in shapes if key not in given]
  initialised = (_INITIALISED,) if {f"{_INITIALISED}/kernel", f"{_INITIALISED}/bias"} <= set(without) else ()
  missing = [key for key in without if key.partition("/")[0] not in initialised]
  return Plan(tuple(kept), initialised, tuple(missing), tuple(unused), tuple(errors), shapes)


def _all_finite(value: np.ndarray) -> bool:
  # Two passes without a mask of the array's size; a NaN makes both NaN.
  return not value.size or (math.isfinite(value.min()) and math.isfinite(value.max()))


def apply(plan: Plan, model: keras.Model) -> None:
  """Sets the weights of a checked plan."""
  for _, target in plan.targets:
    variable = next(found for found in model.get_layer(target.layer).weights if found.name == target.weight)
    variable.assign(target.value)


def with_fused_head(targets: Sequence[Target]) -> list[Target]:
  """Adds the classifier of a base appearance tower as the start of the fused one (METHOD 1.4).

  Targets that hold a fusion already, or name the fused classifier, are returned as they are.
  """
  layers = {target.layer for target in targets}
  if _INITIALISED in layers or not layers.isdisjoint(_HEAD):
    return list(targets)
  fused = [dataclasses.replace(t, layer=t.layer.removesuffix("_appearance")) for t in targets if t.layer.startswith(_HEAD)]
  return [*targets, *(target for target in fused if target.layer in _HEAD)]


def fitted(targets: Sequence[Target], model: keras.Model) -> list[Target]:
  """Returns targets as the layers of a network want them where files leave something out.

  A kernel of one place becomes a third of it at each of three chunks where the layer goes over time (METHOD 4.1). A convolution
  before a normalisation that has no bias in the file has one of zeros.

  Args:
    targets: of one file.
    model: the network.
  """
  layers = {layer.name: layer for layer in model.layers if layer.weights}
  given = {(target.layer, target.weight) for target in targets}
  result = []
  for target in targets:
    layer = layers.get(target.layer)
    if layer is None or target.weight != "kernel":
      result.append(target)
      continue
    shape = tuple(layer.kernel.shape)
    if target.value.ndim == 4 and shape[1:] == target.value.shape:
      target = dataclasses.replace(target, value=np.repeat(target.value[None] / shape[0], shape[0], axis=0))
    result.append(target)
    normalised = any(isinstance(node.operation, keras.layers.BatchNormalization) for node in layer._outbound_nodes)
    if normalised and getattr(layer, "bias", None) is not None and (target.layer, "bias") not in given:
      result.append(Target(target.layer, "bias", np.zeros(shape[-1], np.float32), target.sources))
  return result


def cross_modality(
  targets: Sequence[Target], first: str = "conv1_1", channels: int = two_stream.MOTION_CHANNELS, mirrored: bool = False
) -> list[Target]:
  """Returns the start of the motion tower from an appearance tower (METHOD 1.2, 4.2).

  The first kernel is made for the flow's channels; the other layers are the same. The classifier is left out: it is new
  in the authors' towers.

  Args:
    targets: of an appearance tower.
    first: name of its first layer, without the stream.
    channels: of the motion input.
    mirrored: whether R, G, B are mirrored until they are as many, as for ResNet-50; else their mean is repeated.
  """
  result = []
  for target in targets:
    base = target.layer.removesuffix("_appearance")
    if base == target.layer or base == "prediction":
      continue
    value = target.value
    if (base, target.weight) == (first, "kernel"):
      value = mirrored_channels(value, channels) if mirrored else repeated_mean(value, channels)
    result.append(dataclasses.replace(target, layer=f"{base}_motion", value=value))
  return result


def repeated_mean(kernel: np.ndarray, channels: int) -> np.ndarray:
  """Returns a kernel for `channels` flow channels: the mean over the input channels, repeated (METHOD 1.2).

  >>> repeated_mean(np.ones((3, 3, 3, 64)), 20).shape
  (3, 3, 20, 64)
  """
  return np.repeat(kernel.mean(axis=2, keepdims=True), channels, axis=2)


def mirrored_channels(kernel: np.ndarray, channels: int) -> np.ndarray:
  """Returns a kernel for `channels` flow channels: R, G, B, B, G, R, R, ... (METHOD 1.2).

  >>> mirrored_channels(np.array([1, 2, 3]).reshape(1, 1, 3, 1), 8).ravel()
  array([1, 2, 3, 3, 2, 1, 1, 2])
  """
  return np.pad(kernel, ((0, 0), (0, 0), (0, channels - kernel.shape[2]), (0, 0)), mode="symmetric")
