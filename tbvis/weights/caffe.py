"""Caffe's networks: .caffemodel, with the .prototxt where there is one; Caffe itself is not needed (METHOD 1.7)."""

from __future__ import annotations

import pathlib
from typing import Any

from google.protobuf import text_format
from google.protobuf.message import DecodeError
import numpy as np

from tbvis import limits
from tbvis.errors import UsageError, unknown_name
from tbvis.models import checkpoint
from tbvis.models.tower import EPSILON
from tbvis.weights import caffe_proto, layouts, preprocessing
from tbvis.weights.layouts import Value
from tbvis.weights.source import Source, Target

_EXPECTED = "a Caffe network (.caffemodel)"
_MOST_LAYERS = 10_000
_MOST_BLOBS = 16
_MOST_SETTINGS = 1 << 23  # Bytes; TSN's have some 0.1 MiB.
# Of the older `layers`, whose types are an enumeration.
_V1_NAMES = {"CONVOLUTION": "Convolution", "INNER_PRODUCT": "InnerProduct", "POOLING": "Pooling", "RELU": "ReLU"}
_DEFAULT_EPSILON = 1e-5
_CONVOLUTION, _INNER_PRODUCT = "Convolution", "InnerProduct"
# Weights of a layer in the order of its blobs. BN is that of TSN's Caffe: slope, bias, mean, variance (not its root).
_WEIGHTS = {
  _CONVOLUTION: ("kernel", "bias"),
  _INNER_PRODUCT: ("kernel", "bias"),
  "BN": ("gamma", "beta", "moving_mean", "moving_variance"),
  "Scale": ("gamma", "beta"),
}


def read(path: pathlib.Path, prototxt: pathlib.Path | None = None) -> Source:
  """Reads a network.

  Args:
    path: .caffemodel, of the current `layer` messages or the older `layers`.
    prototxt: its text; None takes the file of the same name with .prototxt beside `path`, where there is one.

  Returns:
    Blobs as "<layer>[<index>]" in Caffe's layout, float32 or float64. info has "layers": name, type, bottoms, tops, shapes of the
    blobs, and of convolutions and pools "kernel", "stride", "pad" (height, width), of pools "method", "global" and "rounding", of
    normalisations "epsilon", the text's word going first; "appearance_mean" (R, G, B), of the text where it has one;
    "preprocessing", what is assumed of the network's inputs, and "preprocessing_text", the same in words.

  Raises:
    UsageError: if a file is none, is damaged, has a mean of two values or not finite, or the text belongs to another network.
  """
  path = pathlib.Path(path)
  size = limits.read_file(path, _EXPECTED)
  limits.check_declared(path, "the file", size, size)
  try:
    layers, tensors = _parse(memoryview(path.read_bytes()))
  except (ValueError, OSError, DecodeError) as error:
    raise UsageError(f"{path}: expected {_EXPECTED}, found something else or a damaged one: {error}.") from error
  info: dict[str, Any] = {"layers": layers}
  text = pathlib.Path(prototxt) if prototxt else path.with_suffix(".prototxt")
  if prototxt or text.is_file():
    info["layers"] = _with_text(path, layers, text)
  network = layouts.network_of(layouts.published(layer["name"]) for layer in layers)
  info["preprocessing"] = "caffe" if network in ("vgg16", "resnet50", None) else "caffe_tsn"
  info["preprocessing_text"] = preprocessing.PREPROCESSINGS[info["preprocessing"]].text
  info["appearance_mean"] = preprocessing.PREPROCESSINGS[info["preprocessing"]].appearance_mean
  if means := next((layer["mean_values"] for layer in info["layers"] if layer.get("mean_values")), None):
    # One value is that of every channel; stacks of flow may give one for each of their channels.
    info["appearance_mean"] = checkpoint.checked_mean(means * 3 if len(means) == 1 else means[2::-1], f"{path} or its text")
  return Source(path, "caffe", tensors, info)


def targets(source: Source, stream: str | None) -> list[Target]:
  """Returns where the tensors of a network go; see `layouts.targets`.

  Args:
    source: what `read` returned.
    stream: "appearance" or "motion"; None for published names without a suffix.

  Raises:
    UsageError: if the network is none of those known, or a blob does not fit its layer.
  """
  parts: dict[str, dict[str, Value]] = {}
  normalised: dict[str, str] = {}  # By the blob that a BatchNorm writes: its name, for the Scale that follows.
  for layer in source.info["layers"]:
    blobs = [(f"{layer['name']}[{index}]", source.tensors[f"{layer['name']}[{index}]"]) for index in range(len(layer.get("shapes", ())))]
    name = layouts.published(layer["name"])
    if not blobs:
      continue
    if layer["type"] == "BatchNorm":
      parts[name] = _running_statistics(source, layer["name"], blobs)
      normalised.update({top: name for top in layer["tops"]})
    elif layer["type"] in _WEIGHTS:
      if layer["type"] == "Scale":
        name = next((normalised.pop(bottom) for bottom in layer["bottoms"] if bottom in normalised), name)
      part = parts.setdefault(name, {})
      part.update({weight: _value(layer["type"], weight, *blob) for weight, blob in zip(_WEIGHTS[layer["type"]], blobs, strict=False)})
    if "moving_variance" in parts.get(name, {}) and "epsilon" in layer:
      # What the network's own epsilon adds to the variance must come to the same.
      variance = parts[name]["moving_variance"]
      parts[name]["moving_variance"] = variance._replace(tensor=variance.tensor + (layer["epsilon"] - EPSILON))
  return layouts.targets(source.path, parts, stream, source.info["preprocessing"])


def _value(kind: str, weight: str, name: str, blob: np.ndarray) -> Value:
  if weight != "kernel":
    return Value(blob.ravel(), (name,))
  if kind == _CONVOLUTION:
    return Value(layouts.convolution(blob) if blob.ndim == 4 else blob, (name,))
  # Older files pad shapes to four dimensions with ones.
  dense = blob.ndim >= 2 and blob.size == blob.shape[-2] * blob.shape[-1]
  return Value(blob.reshape(blob.shape[-2:]).T if dense else blob, (name,))


def _running_statistics(source: Source, layer: str, blobs: list[tuple[str, np.ndarray]]) -> dict[str, Value]:
  """Returns mean and variance of a BatchNorm, whose third blob is what both were multiplied by."""
  if len(blobs) != 3 or blobs[2][1].size != 1:
    raise UsageError(f"{source.path}: expected mean, variance and one factor in {layer!r}, found {len(blobs)} blobs.")
  factor_name, factor = blobs[2]
  scale = 1 / factor.item() if factor.item() else 0.0
  return {
    weight: Value(blob.ravel() * scale, (name, factor_name))
    for weight, (name, blob) in zip(("moving_mean", "moving_variance"), blobs, strict=False)
  }


def _parse(data: memoryview) -> tuple[list[dict[str, Any]], dict[str, np.ndarray]]:
  rest, found = caffe_proto.split(data, caffe_proto.BLOBS)
  if len(found) > _MOST_LAYERS or len(rest) > _MOST_SETTINGS:
    raise ValueError(f"more than {_MOST_LAYERS:,} layers or {_MOST_SETTINGS:,} bytes of settings")
  layers, tensors, left = [], {}, _MOST_SETTINGS - len(rest)
  for field, message in found:
    settings, blobs = caffe_proto.split(message, (caffe_proto.BLOBS[field],))
    left -= len(settings)
    if len(blobs) > _MOST_BLOBS or left < 0:
      raise ValueError(f"a layer of more than {_MOST_BLOBS} blobs, or more than {_MOST_SETTINGS:,} bytes of settings")
    kind = caffe_proto.Layer if field == caffe_proto.NET_LAYER else caffe_proto.V1Layer
    layer = _settings(kind.FromString(settings))
    for index, (_, blob) in enumerate(blobs):
      name = f"{layer['name']}[{index}]"
      if name in tensors:
        raise ValueError(f"two layers are called {layer['name']!r}")
      try:
        tensors[name] = caffe_proto.blob(blob)
      except ValueError as error:
        raise ValueError(f"{name!r}: {error}") from error
    layers.append({**layer, "shapes": [tensors[f"{layer['name']}[{index}]"].shape for index in range(len(blobs))]})
  if not tensors:
    raise ValueError("no layer with weights")
  return layers, tensors


def _with_text(path: pathlib.Path, layers: list[dict[str, Any]], text: pathlib.Path) -> list[dict[str, Any]]:
  """Returns the layers with the settings that the text gives, and the text's further layers before them."""
  expected = "the text of a Caffe network (.prototxt)"
  if limits.read_file(text, expected) > _MOST_SETTINGS:
    raise UsageError(f"{text}: expected {expected} of at most {_MOST_SETTINGS:,} bytes.")
  try:
    net = text_format.Parse(text.read_text(encoding="utf-8"), caffe_proto.Net(), allow_unknown_field=True)
  except (ValueError, OSError, RecursionError, text_format.ParseError) as error:
    raise UsageError(f"{text}: expected {expected}; {' '.join(str(error).split())}.") from error
  told = {layer["name"]: layer for layer in map(_settings, [*net.layer, *net.layers])}
  names = [layer["name"] for layer in layers if layer["shapes"]]
  for name, layer in told.items():
    if layer["type"] in (_CONVOLUTION, _INNER_PRODUCT) and name not in names:
      raise unknown_name("layer", name, names, f"{path}, which {text} is to describe")
  described = [{**layer, **told.get(layer["name"], {})} for layer in layers]
  known = {layer["name"] for layer in layers}
  return [layer for name, layer in told.items() if name not in known] + described


def _settings(message: Any) -> dict[str, Any]:
  """Returns what a layer says of itself."""
  kind = message.type
  if isinstance(kind, int):
    kind = message.DESCRIPTOR.fields_by_name["type"].enum_type.values_by_number[kind].name
    kind = _V1_NAMES.get(kind, kind)
  layer = {"name": message.name, "type": kind, "bottoms": list(message.bottom), "tops": list(message.top)}
  # Protobuf hands over text that is none as bytes.
  if not all(isinstance(text, str) for text in (message.name, kind, *message.bottom, *message.top)):
    raise ValueError("a name that is no text")
  if message.HasField("convolution_param"):
    layer |= _windows(message.convolution_param) | {"groups": message.convolution_param.group or 1}
  if message.HasField("pooling_param"):
    pooling = message.pooling_param
    layer |= _windows(pooling) | {"method": ("max", "average", "stochastic")[pooling.pool], "global": pooling.global_pooling}
    layer |= {"rounding": ("ceil", "floor")[pooling.round_mode]}
  if message.HasField("transform_param"):
    layer["mean_values"] = tuple(message.transform_param.mean_value)
  for field in ("bn_param", "batch_norm_param"):
    if kind in ("BN", "BatchNorm") and field in message.DESCRIPTOR.fields_by_name:
      settings = getattr(message, field)
      layer["epsilon"] = settings.eps if settings.HasField("eps") else layer.get("epsilon", _DEFAULT_EPSILON)
  return layer


def _windows(message: Any) -> dict[str, tuple[int, int]]:
  """Returns (height, width) of kernel, stride and pad, which Caffe gives once, by axis, or by name of the axis."""

  def pair(field: str, short: str, default: int) -> tuple[int, int]:
    told = getattr(message, field)
    told = list(told)[:2] if not isinstance(told, int) else [told] if message.HasField(field) else []
    axes = [getattr(message, f"{short}_{axis}") if message.HasField(f"{short}_{axis}") else None for axis in "hw"]
    both = [told[0], told[-1]] if told else [default, default]
    height, width = (given if axis is None else axis for axis, given in zip(axes, both, strict=True))
    return height, width

  return {"kernel": pair("kernel_size", "kernel", 0), "stride": pair("stride", "stride", 1), "pad": pair("pad", "pad", 0)}
