"""From named tensors of a foreign file to weights of our layers: which network it is, layouts, names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
import pathlib
import re
from typing import NamedTuple

import numpy as np

from tbvis.errors import UsageError
from tbvis.models import two_stream
from tbvis.weights import preprocessing as preprocessing_lib
from tbvis.weights.source import Target

CONVOLUTIONS = tuple(f"conv{block}_{index}" for block, depth, _ in two_stream.BLOCKS for index in range(1, depth + 1))
CLASSIFIER = "prediction"
# First layer, one more that tells, and all layers before the classifier of other networks by their published names, "/" and "-" being "_".
_PUBLISHED = {
  "bn_inception": ("conv1_7x7_s2", "conv1_7x7_s2", re.compile(r"conv[12]_|inception_[345][a-e]_")),
  "inception_v3": ("conv_Conv2D", "conv_Conv2D", re.compile(r"conv_|mixed_")),
  "resnet50": ("conv1", "res2a_branch2a", re.compile(r"(bn_)?conv1|(res|bn)[2-5][a-f]_branch")),
}


class Value(NamedTuple):
  """A tensor in Keras' layout, and the names of those in the file that it was made of; a dense kernel is (in, out)."""

  tensor: np.ndarray
  sources: tuple[str, ...]


# By layer, then by weight ("kernel", "bias", "gamma", "beta", "moving_mean", "moving_variance").
Parts = Mapping[str, Mapping[str, Value]]


def published(name: str) -> str:
  """Returns a layer's name as our layers have it.

  >>> published("inception_3a/double_3x3_1")
  'inception_3a_double_3x3_1'
  """
  return re.sub(r"[/.-]", "_", name)


def network_of(names: Iterable[str]) -> str | None:
  """Returns which network has layers of these names: "vgg16", "bn_inception", "inception_v3" or "resnet50"; None if none of them.

  >>> network_of(["conv1_1", "conv1_2", "fc6"])
  'vgg16'
  """
  names = set(names)
  if names & set(CONVOLUTIONS):
    return "vgg16"
  return next((network for network, (_, telling, _) in _PUBLISHED.items() if telling in names), None)


def convolution(kernel: np.ndarray) -> np.ndarray:
  """Returns a kernel (filters, channels, kh, kw) as (kh, kw, channels, filters); of a grouped layer alike."""
  return kernel.transpose(2, 3, 1, 0)


def dense_as_convolution(kernel: np.ndarray, channels: int) -> np.ndarray | None:
  """Returns a dense kernel over a square map as the convolution over it, or None where no square map has as many inputs.

  Args:
    kernel: (channels * s * s, out), its inputs in the order channel, row, column.
    channels: of the map.

  Returns:
    (s, s, channels, out).

  >>> dense_as_convolution(np.zeros((512 * 7 * 7, 16)), 512).shape
  (7, 7, 512, 16)
  """
  side = round((kernel.shape[0] / channels) ** 0.5)
  if side * side * channels != kernel.shape[0]:
    return None
  return kernel.reshape(channels, side, side, -1).transpose(1, 2, 0, 3)


def targets(path: pathlib.Path, parts: Parts, stream: str | None, preprocessing: str) -> list[Target]:
  """Returns where the parts of one tower go.

  That is the published name and `_<stream>`: `conv1_1_<stream>` ... `prediction_<stream>`, as the classifier is called whatever its
  name in the file. Without a stream a tower goes nowhere.

  Args:
    path: of the file, for messages.
    parts: the file's layers by the names CONVOLUTIONS, "fc6", "fc7", "prediction", or by the other networks' published names.
    stream: "appearance", "motion", or None.
    preprocessing: name of what was done to the network's inputs.

  Raises:
    UsageError: if they are of no network known, or a tensor has not the dimensions of its layer.
  """
  network = network_of(parts)
  if network is None:
    raise UsageError(
      f"{path}: expected layers of VGG-16 (conv1_1 or features.0, ...), TSN's BN-Inception (conv1_7x7_s2, ...) or Inception-v3 "
      f"(conv_Conv2D, ...), or Caffe's ResNet-50 (res2a_branch2a, ...), found {shown(parts)}."
    )
  inputs = preprocessing_lib.by_name(preprocessing, path)
  if stream is None:
    return []
  with np.errstate(all="ignore"):  # What is or becomes no number is refused where values are checked.
    if network == "vgg16":
      return _vgg16(path, parts, stream, inputs)
    return _published_tower(path, parts, network, stream, inputs)


def shown(names: Iterable[str]) -> str:
  """Returns the first few names, for a message."""
  names = [repr(name) for name in names]
  return ", ".join(names[:4]) + (", ..." if len(names) > 4 else "") if names else "none"


def _vgg16(path: pathlib.Path, parts: Parts, stream: str, inputs: preprocessing_lib.Preprocessing) -> list[Target]:
  parts = _with_classifier(parts, lambda name: name in (*CONVOLUTIONS, "fc6", "fc7"), CLASSIFIER)
  last = parts.get(CONVOLUTIONS[-1], {}).get("kernel")
  found = []
  for name in (*CONVOLUTIONS, "fc6", "fc7", CLASSIFIER):
    part = dict(parts.get(name, {}))
    kernel = part.get("kernel")
    if kernel is not None and name not in CONVOLUTIONS and kernel.tensor.ndim == 2:
      channels = kernel.tensor.shape[0]
      if name == "fc6":
        channels = last.tensor.shape[-1] if last is not None else two_stream.BLOCKS[-1][2]
      over_map = dense_as_convolution(kernel.tensor, channels)
      if over_map is None:
        raise UsageError(
          f"{path}: expected {kernel.sources[0]!r} to take {channels} channels of a square map, found {kernel.tensor.shape[0]} inputs."
        )
      part["kernel"] = Value(over_map, kernel.sources)
    if name == CONVOLUTIONS[0]:
      part = _folded(path, part, inputs)
    found += _of_layer(path, f"{name}_{stream}", part, kernel_dimensions=(4,))
  return found


def _published_tower(path: pathlib.Path, parts: Parts, network: str, stream: str, inputs: preprocessing_lib.Preprocessing) -> list[Target]:
  first, _, layers = _PUBLISHED[network]
  found = []
  for name, part in _with_classifier(parts, layers.match, CLASSIFIER).items():
    if name == CLASSIFIER and "kernel" in part and part["kernel"].tensor.ndim == 2:
      part = {**part, "kernel": part["kernel"]._replace(tensor=part["kernel"].tensor[None, None])}
    if layers.match(name) or name == CLASSIFIER:
      found += _of_layer(path, f"{name}_{stream}", _folded(path, part, inputs) if name == first else part, kernel_dimensions=(4,))
  return found


def _with_classifier(parts: Parts, known: Callable[[str], object], classifier: str) -> Parts:
  """Gives the only dense layer outside the network's body, whatever it is called after its data set, the classifier's name."""
  others = [name for name, part in parts.items() if not known(name) and "kernel" in part and part["kernel"].tensor.ndim == 2]
  if classifier in parts or len(others) != 1:
    return parts
  return {classifier if name == others[0] else name: part for name, part in parts.items()}


def _folded(path: pathlib.Path, part: Mapping[str, Value], inputs: preprocessing_lib.Preprocessing) -> dict[str, Value]:
  part = dict(part)
  if "kernel" in part:
    kernel, bias = part["kernel"], part.get("bias")
    _check(path, kernel, (4,))
    folded, shifted = preprocessing_lib.fold(kernel.tensor, None if bias is None else bias.tensor.ravel(), inputs)
    part["kernel"] = Value(folded, kernel.sources)
    if bias is not None and shifted is not None:
      part["bias"] = Value(shifted, bias.sources)
  return part


def _of_layer(path: pathlib.Path, layer: str, part: Mapping[str, Value], kernel_dimensions: tuple[int, ...]) -> list[Target]:
  for weight, value in part.items():
    _check(path, value, kernel_dimensions if weight == "kernel" else (1,))
  return [Target(layer, weight, np.ascontiguousarray(value.tensor, np.float32), value.sources) for weight, value in part.items()]


def _check(path: pathlib.Path, value: Value, dimensions: tuple[int, ...]) -> None:
  if value.tensor.ndim not in dimensions:
    wanted = " or ".join(map(str, dimensions))
    raise UsageError(f"{path}: expected {wanted} dimensions in {value.sources[0]!r}, found {value.tensor.ndim}: {value.tensor.shape}.")
