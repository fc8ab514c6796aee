"""MatConvNet's networks: .mat files of a DagNN or a SimpleNN, one tower or two (METHOD 1.1, 1.4, 1.6)."""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
import math
import pathlib
import re
from typing import Any

import numpy as np

from tbvis.errors import UsageError
from tbvis.models import checkpoint
from tbvis.models.tower import EPSILON
from tbvis.weights import matfile
from tbvis.weights.source import Source, Target

_SUFFIXES = {"_spatial": "appearance", "_temporal": "motion"}
_HEAD = ("fc6", "fc7", "prediction")
# The classifier is new in every fine-tuned tower and has no name of its own there (METHOD 1.1).
_CLASSIFIER = re.compile(r"fc8\w*|fc\d{3,}|prediction|layer\d+")
_FUSION = re.compile(r"conv5?3D5?|conv_?fusion(_\d+)?|conv5_fusion")
# Of ST-ResNet: the motion that the appearance is given, or the other way round.
_LINK = re.compile(r"res\d[a-f]_relu_(spatial|temporal)_sum")
# Parameters in the order in which a block lists them.
_KERNEL_AXES = {"Conv": 4, "Conv3D": 5, "ConvTime": 4}
_PARAMETERS = {**dict.fromkeys(_KERNEL_AXES, ("kernel", "bias")), "BatchNorm": ("mult", "bias", "moments")}
# Of a SimpleNN: the block, and the letters that fromSimpleNN puts behind the layer's name.
_SIMPLE = {"conv": ("Conv", "fb"), "bnorm": ("BatchNorm", "mbx")}
# What ST-ResNet's second stage has, and the number of chunks it was published with (METHOD 4.1).
_TIME_POOL = ("PoolTime", {"time_pool": True, "chunks": 11})


@dataclasses.dataclass(frozen=True)
class _Layer:
  """A layer of the file: its name, its block's type without "dagnn.", inputs, parameters' names, and its block's size."""

  name: str
  type: str
  inputs: tuple[str, ...]
  params: tuple[str, ...]
  size: tuple[int, ...]


def read(path: pathlib.Path) -> Source:
  """Reads a network.

  Args:
    path: .mat of v6 or v7: a DagNN (fields under `net` or at top level) or a SimpleNN (`layers` is a cell).

  Returns:
    Parameters by their names (of a SimpleNN by those that MatConvNet's fromSimpleNN gives: conv1_1f, conv1_1b; of
    layers that are neither conv nor bnorm numbered: up_1), in MATLAB's layout; info has "layers", and "classes",
    "appearance_mean" and "arguments" of the network where the file tells them.

  Raises:
    UsageError: if the file is none, or is damaged.
  """
  variables = matfile.read_mat(path)
  net = _struct(variables["net"]) if "net" in variables else variables
  if net is None:
    raise UsageError(f"{path}: its `net` is a MATLAB object. Expected a struct: save net.saveobj() instead of net.")
  if "layers" not in net:
    found = ", ".join(sorted(map(str, net))[:8]) or "nothing"
    raise UsageError(f"{path}: expected a MatConvNet network with `layers`, at top level or under `net`, found {found}.")
  layers, tensors = _simple(path, net["layers"]) if _is_simple(net["layers"]) else _dag(path, net)
  if not tensors:
    raise UsageError(f"{path}: expected a MatConvNet network with parameters, found {len(layers)} layers and none.")
  told = {"arguments": dict(_TIME_POOL[1])} if any(layer.type == _TIME_POOL[0] for layer in layers) else {}
  return Source(path, "matconvnet", tensors, {"layers": tuple(layers), **told, **_description(path, net)})


def targets(source: Source, stream: str | None) -> list[Target]:
  """Names the weights of our layers that the parameters are (METHOD 1.6: correlation, nothing is flipped).

  Args:
    source: what `read` returned.
    stream: of a base tower; None for a network of two towers (names in _spatial and _temporal).

  Returns:
    Kernels HWIO or DHWIO. BatchNorm's second moment is a standard deviation, whatever epsilon was once added to it: the variance is its
    square less the epsilon that our layer will add.

  Raises:
    UsageError: if a parameter's shape is none of its layer, or two towers are fused in another order.
  """
  layers: tuple[_Layer, ...] = source.info["layers"]
  fused = stream is None and any(_FUSION.fullmatch(_base(layer.name)[0]) or _LINK.fullmatch(layer.name) for layer in layers)
  if fused:
    _check_order(source, layers)
  found = []
  for layer in layers:
    name = _published(layer.name, stream, fused)
    if name is None or layer.type not in _PARAMETERS:
      continue
    if layer.type == "BatchNorm":
      found += _batch_norm(source, layer, name)
      continue
    bias = source.tensors.get(layer.params[1]) if len(layer.params) > 1 else None
    for weight, param in zip(_PARAMETERS[layer.type], layer.params, strict=False):
      if param in source.tensors:
        value = source.tensors[param]
        value = _kernel(source, layer, value, bias) if weight == "kernel" else value.reshape(-1)
        found.append(Target(name, weight, _float32(value), (param,)))
  return found


def _base(name: str) -> tuple[str, str | None]:
  """Splits a layer's name into its name in a base tower and its stream."""
  for suffix, stream in _SUFFIXES.items():
    if name.endswith(suffix):
      return name.removesuffix(suffix), stream
  return name, None


def _published(name: str, stream: str | None, fused: bool) -> str | None:
  base, own = _base(name)
  if stream is None:
    if _FUSION.fullmatch(base):
      return "conv5_fusion"
    stream = own
  elif own is not None:
    return None
  if stream is None:
    return None
  base = "prediction" if _CLASSIFIER.fullmatch(base) else base
  # The spatial tower goes on behind the fusion (METHOD 1.4).
  return base if fused and stream == "appearance" and base in _HEAD else f"{base}_{stream}"


def _check_order(source: Source, layers: tuple[_Layer, ...]) -> None:
  """Refuses a network that fuses into the temporal tower: the halves of its kernel lie the other way round, or its sums in that tower."""
  for layer in layers:
    streams = [_base(name)[1] for name in layer.inputs]
    if (link := _LINK.fullmatch(layer.name)) and link[1] == "temporal":
      raise UsageError(
        f"{source.path}: layer {layer.name} gives the temporal tower what the spatial one sees. "
        "Expected motion given to the appearance, as the released script does it."
      )
    if layer.type == "Concat" and streams == ["motion", "appearance"]:
      raise UsageError(
        f"{source.path}: layer {layer.name} joins the temporal tower before the spatial one. "
        "Expected a network fused into its spatial tower, as the released script makes it."
      )


def _kernel(source: Source, layer: _Layer, value: np.ndarray, bias: np.ndarray | None) -> np.ndarray:
  axes = _KERNEL_AXES[layer.type]
  same = [size for size in layer.size if size != 1] == [size for size in value.shape if size != 1]
  shape = layer.size if len(layer.size) == axes and same else value.shape
  while len(shape) < axes:
    # Squeezed kernels lose leading ones (1x1 convolutions), MATLAB itself only trailing ones (one filter).
    squeezed = bias is not None and bias.size > 1 and shape[-1] == bias.size
    shape = (1, *shape) if squeezed else (*shape, 1)
  if len(shape) != axes:
    raise UsageError(f"{source.path}: {layer.params[0]} has shape {value.shape}; expected {axes} axes ({layer.type} {layer.name}).")
  value = value.reshape(shape)
  if layer.type == "Conv3D":
    return value.transpose(2, 0, 1, 3, 4)
  if layer.type == "ConvTime":  # [1 kt in out]
    return value.transpose(1, 0, 2, 3)[:, :, None]
  return value


def _batch_norm(source: Source, layer: _Layer, name: str) -> list[Target]:
  found = []
  for weight, param in zip(_PARAMETERS["BatchNorm"], layer.params, strict=False):
    if param not in source.tensors:
      continue
    value = source.tensors[param]
    if weight != "moments":
      found.append(Target(name, {"mult": "gamma", "bias": "beta"}[weight], _float32(value.reshape(-1)), (param,)))
      continue
    if value.ndim != 2 or value.shape[1] != 2:
      raise UsageError(f"{source.path}: {param} has shape {value.shape}; expected (channels, 2): means and standard deviations.")
    mean, sigma = _float32(value[:, 0]), _float32(value[:, 1])
    found.append(Target(name, "moving_mean", mean, (param,)))
    found.append(Target(name, "moving_variance", np.maximum(np.square(sigma) - np.float32(EPSILON), 0), (param,)))
  return found


def _float32(value: np.ndarray) -> np.ndarray:
  with np.errstate(over="ignore", invalid="ignore"):  # What becomes infinite is refused where values are checked.
    return value.astype(np.float32, copy=False)


# What MATLAB's structs look like, squeezed or not.


def _struct(value: Any) -> dict[str, Any] | None:
  return value[0] if isinstance(value, list) and len(value) == 1 else None


def _texts(value: Any) -> tuple[str, ...]:
  """Returns the texts of a cell; a squeezed cell of one is a bare text, an empty one an empty array."""
  if isinstance(value, str):
    return (value,) if value else ()
  return tuple(item for item in value if isinstance(item, str)) if isinstance(value, tuple) else ()


def _numbers(value: Any) -> tuple[float, ...]:
  return tuple(float(item) for item in value.reshape(-1)[:8]) if isinstance(value, np.ndarray) else ()


def _sizes(value: Any) -> tuple[int, ...]:
  numbers = _numbers(value)
  return tuple(int(number) for number in numbers) if all(math.isfinite(number) and number >= 0 for number in numbers) else ()


def _is_simple(layers: Any) -> bool:
  return isinstance(layers, tuple)


def _dag(path: pathlib.Path, net: Mapping[str, Any]) -> tuple[list[_Layer], dict[str, np.ndarray]]:
  tensors: dict[str, np.ndarray] = {}
  params, entries = net.get("params"), net["layers"]
  if not isinstance(params, list) or not isinstance(entries, list):
    raise UsageError(f"{path}: expected struct arrays `layers` and `params` of a MatConvNet DagNN.")
  for param in params:
    name, value = param.get("name"), param.get("value")
    if not isinstance(name, str) or not isinstance(value, np.ndarray):
      raise UsageError(f"{path}: expected every entry of `params` to have a name and an array of numbers (not on a GPU), found {name!r}.")
    if name in tensors:
      raise UsageError(f"{path}: two entries of `params` are named {name!r}.")
    tensors[name] = value
  layers = []
  for entry in entries:
    block = _struct(entry.get("block")) or {}
    kind = entry.get("type") if isinstance(entry.get("type"), str) else ""
    layers.append(
      _Layer(
        entry.get("name") if isinstance(entry.get("name"), str) else "",
        kind.rpartition(".")[2],
        _texts(entry.get("inputs")),
        _texts(entry.get("params")) if kind.rpartition(".")[2] in _PARAMETERS else (),
        _sizes(block.get("size")),
      )
    )
  return layers, tensors


def _simple(path: pathlib.Path, cell: tuple[Any, ...]) -> tuple[list[_Layer], dict[str, np.ndarray]]:
  layers, tensors = [], {}
  for number, entry in enumerate(cell, 1):
    fields = _struct(entry) or {}
    weights = fields.get("weights", (fields.get("filters"), fields.get("biases")))
    weights = weights if isinstance(weights, tuple) else (weights,)
    kind = fields["type"] if isinstance(fields.get("type"), str) else ""
    kind, letters = _SIMPLE.get(kind, (kind, ""))
    endings = [letters[place : place + 1] or f"_{place + 1}" for place in range(len(weights))]
    arrays = {ending: value for ending, value in zip(endings, weights, strict=True) if isinstance(value, np.ndarray) and value.size}
    told = fields.get("name")
    # Two layers may be called the same; MatConvNet itself goes by their numbers.
    names = [told, f"layer{number}"] if isinstance(told, str) and told else [f"layer{number}"]
    name = next((name for name in names if not any(f"{name}{ending}" in tensors for ending in arrays)), None)
    if name is None:
      raise UsageError(f"{path}: layer {number} has parameters of the name of another layer's, {names[0]!r}.")
    tensors.update({f"{name}{ending}": value for ending, value in arrays.items()})
    params = tuple(f"{name}{ending}" for ending in endings) if kind in _PARAMETERS else ()
    layers.append(_Layer(name, kind, (), params, ()))
  return layers, tensors


def _description(path: pathlib.Path, net: Mapping[str, Any]) -> dict[str, Any]:
  """Returns "classes" and "appearance_mean", where the file has them in `meta` or, as older ones, beside the layers."""
  meta = _struct(net.get("meta")) or {}
  info: dict[str, Any] = {}
  classes = _struct(meta.get("classes")) or _struct(net.get("classes")) or {}
  names = _texts(classes.get("description")) or _texts(classes.get("name"))
  if names:
    info["classes"] = names
  normalization = _struct(meta.get("normalization")) or _struct(net.get("normalization")) or {}
  image = normalization.get("averageImage")
  # 1x1x3, 1x1x23 (20 of flow, then R, G, B), a whole mean image, or three bare numbers; 1x1x20 is flow alone.
  if isinstance(image, np.ndarray) and image.size:
    by_channel = image.reshape(-1) if image.size in (3, 20, 23) else image.mean(axis=(0, 1)) if image.ndim == 3 else np.zeros(0)
    if len(by_channel) in (3, 23):
      info["appearance_mean"] = checkpoint.checked_mean(by_channel[-3:].tolist(), str(path))
  return info
