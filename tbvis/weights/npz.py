"""NumPy's npz: ImageNet VGG-16 as block1_conv1_W and block1_conv1_b, or our own weights as "layer/weight"."""

from __future__ import annotations

import pathlib
import re
from typing import Any

from tbvis import npz
from tbvis.errors import UsageError
from tbvis.weights.source import Source, Target
from tbvis.weights.vgg16_names import vgg16_targets

_KEY = re.compile(r"(?P<layer>.+)(?:/(?P<weight>kernel|bias|gamma|beta|moving_mean|moving_variance)|_(?P<letter>[Wb]))")
_LETTERS = {"W": "kernel", "b": "bias"}


def read(path: pathlib.Path) -> Source:
  """Reads an npz.

  Args:
    path: arrays by name; texts under "classes" are taken as the classes' names.

  Raises:
    UsageError: if it is none, is damaged, or holds Python objects.
  """
  tensors = npz.read_arrays(path)
  info: dict[str, Any] = {}
  if "classes" in tensors and tensors["classes"].dtype.kind == "U":
    info["classes"] = tuple(map(str, tensors.pop("classes").reshape(-1)))
  if not tensors:
    raise UsageError(f"{path}: expected an npz file of weights, found no arrays in it.")
  return Source(path, "npz", tensors, info)


def targets(source: Source, stream: str | None) -> list[Target]:
  """Names the weights of our layers that the arrays are; see `vgg16_targets`."""
  weights = []
  for name in source.tensors:
    if key := _KEY.fullmatch(name):
      weights.append((key["layer"], key["weight"] or _LETTERS[key["letter"]], name))
  return vgg16_targets(source, weights, stream)
