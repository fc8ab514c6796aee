"""Keras' files: .h5 of keras.applications' VGG-16, .weights.h5 and .keras of any model, our checkpoints among them."""

from __future__ import annotations

from collections.abc import Mapping
import json
import os
import pathlib
import re
import shutil
import tempfile
from typing import Any

import numpy as np

from tbvis import limits
from tbvis.errors import UsageError
from tbvis.models import checkpoint as checkpoint_lib
from tbvis.weights import hdf5
from tbvis.weights.source import Source, Target
from tbvis.weights.vgg16_names import vgg16_targets

_WEIGHTS, _OURS = "model.weights.h5", "tbvis.json"
_MOST_TEXT = 1 << 24
_CACHED = "vgg16_weights_tf_dim_ordering_tf_kernels.h5"
# The last part of an array's path: kernel:0, kernel, block1_conv1_W_1:0.
_LAST = re.compile(r"(?:.*_)?(kernel|bias|gamma|beta|moving_mean|moving_variance|W|b)(?:_1)?(?::0)?")
_LETTERS = {"W": "kernel", "b": "bias"}
# Keras 3 counts a layer's variables instead of naming them.
_COUNTED = {1: ("kernel",), 2: ("kernel", "bias"), 4: ("gamma", "beta", "moving_mean", "moving_variance")}
_NO_WEIGHTS = re.compile(r"(?:optimizer|seed_generator)")


def read(path: pathlib.Path) -> Source:
  """Reads a file of weights or a whole model.

  Args:
    path: .h5, .weights.h5 or .keras.

  Returns:
    Arrays by their paths in the file; info has "weights" (layer, weight, array) and, of our checkpoints, "classes",
    "arguments" (input_size, dropout) and "appearance_mean".

  Raises:
    UsageError: if it is none, is damaged, or holds no weights.
  """
  if path.suffix == ".keras":
    with limits.open_zip(path, "a .keras file") as archive, tempfile.TemporaryDirectory() as folder:
      members = {member.filename: member for member in archive.infolist()}
      if _WEIGHTS not in members:
        raise UsageError(f"{path}: expected a .keras file with {_WEIGHTS}, found {', '.join(sorted(members)[:4]) or 'nothing'}.")
      limits.check_declared(path, _WEIGHTS, members[_WEIGHTS].file_size, members[_WEIGHTS].compress_size)
      unpacked = pathlib.Path(folder) / _WEIGHTS
      with archive.open(members[_WEIGHTS]) as packed, unpacked.open("wb") as stream:
        shutil.copyfileobj(packed, stream)
      text = b"{}"
      if _OURS in members and members[_OURS].file_size <= _MOST_TEXT:
        text = limits.read_member(path, archive, members[_OURS])
      arrays, names = hdf5.read_hdf5(unpacked, path)
    info = _description(path, text)
  else:
    limits.read_file(path, "a Keras file (.h5, .keras)")
    arrays, names = hdf5.read_hdf5(path, path)
    info = {}
  tensors = {name: value for name, value in arrays.items() if not _NO_WEIGHTS.search(name)}
  if not tensors:
    raise UsageError(f"{path}: expected a Keras file with weights, found none in it.")
  return Source(path, "keras", tensors, {"weights": tuple(_weights(tensors, names)), **info})


def targets(source: Source, stream: str | None) -> list[Target]:
  """Names the weights of our layers that the arrays are; see `vgg16_targets`."""
  return vgg16_targets(source, source.info["weights"], stream)


def download() -> pathlib.Path:
  """Fetches ImageNet VGG-16 by keras.applications, once; returns the file in Keras' cache.

  Raises:
    UsageError: where there is no connection.
  """
  import keras

  path = pathlib.Path(os.environ.get("KERAS_HOME") or pathlib.Path.home() / ".keras") / "models" / _CACHED
  if not path.is_file():
    try:
      keras.applications.VGG16(weights="imagenet")
    except Exception as error:  # Keras raises a bare Exception where the connection fails.
      raise UsageError(f"--weights=imagenet: keras.applications could not fetch VGG-16 ({error}). Name a file: --weights=FILE.") from error
  return path


def _weights(tensors: Mapping[str, np.ndarray], names: Mapping[str, str]) -> list[tuple[str, str, str]]:
  """Returns layer, weight and array's path of each array whose path tells them."""
  found = []
  for path in tensors:
    group, _, last = path.rpartition("/")
    layer = names.get(group) or group.removesuffix("/vars").rpartition("/")[2]
    if last.isdecimal():
      counted = _COUNTED.get(sum(other.rpartition("/")[0] == group for other in tensors), ())
      if int(last) < len(counted):
        found.append((layer, counted[int(last)], path))
    elif match := _LAST.fullmatch(last):
      found.append((layer, _LETTERS.get(match[1], match[1]), path))
  return found


def _description(path: pathlib.Path, text: bytes) -> dict[str, Any]:
  """Returns what our checkpoints tell of themselves."""
  try:
    content = json.loads(text)
    info: dict[str, Any] = {}
    if content.get("classes"):
      info["classes"] = tuple(map(str, content["classes"]))
    arguments = content.get("arguments", {})
    info["arguments"] = {
      name: kind(arguments[name]) for name, kind, most in (("input_size", int, 4096), ("dropout", float, 0.99))
      if isinstance(arguments.get(name), (int, float)) and 0 <= arguments[name] <= most
    }  # fmt: skip
    if (mean := content.get("metadata", {}).get("appearance_mean")) is not None:
      info["appearance_mean"] = checkpoint_lib.checked_mean(mean, str(path))
  except (ValueError, TypeError, AttributeError, RecursionError) as error:
    if isinstance(error, UsageError):
      raise
    raise UsageError(f"{path}: its description {_OURS} is damaged: {error}.") from error
  return info
