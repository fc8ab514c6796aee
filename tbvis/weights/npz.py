"""NumPy's npz: ImageNet VGG-16 as block1_conv1_W and block1_conv1_b, or our own weights as "layer/weight"."""

from __future__ import annotations

import math
import pathlib
import re
import struct
from typing import Any

import numpy as np

from tbvis import limits
from tbvis.errors import UsageError
from tbvis.weights.source import Source, Target
from tbvis.weights.vgg16_names import vgg16_targets

_MAGIC = b"\x93NUMPY"
# The one form in which NumPy writes a header; evaluating it as Python would be more than is needed.
_HEADER = re.compile(
  r"\{'descr': '([<>|=])([fiub]|U)(\d{1,6})', 'fortran_order': (True|False), 'shape': \(((?:\d{1,18}, ?)*(?:\d{1,18})?)\),? ?\}\s*"
)
_MOST_AXES = 32
_KEY = re.compile(r"(?P<layer>.+)(?:/(?P<weight>kernel|bias|gamma|beta|moving_mean|moving_variance)|_(?P<letter>[Wb]))")
_LETTERS = {"W": "kernel", "b": "bias"}


def read(path: pathlib.Path) -> Source:
  """Reads an npz.

  Args:
    path: arrays by name; texts under "classes" are taken as the classes' names.

  Raises:
    UsageError: if it is none, is damaged, or holds Python objects.
  """
  tensors: dict[str, np.ndarray] = {}
  info: dict[str, Any] = {}
  with limits.open_zip(path, "an npz file") as archive:
    for member in archive.infolist():
      name = member.filename.removesuffix(".npy")
      if name in tensors:
        raise UsageError(f"{path}: two arrays are named {name!r}.")
      tensors[name] = _array(path, name, limits.read_member(path, archive, member))
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


def _array(path: pathlib.Path, name: str, data: bytes) -> np.ndarray:
  """Returns the array of one .npy file, a view of its bytes."""
  if not data.startswith(_MAGIC) or len(data) < 12 or data[6] not in (1, 2, 3):
    raise UsageError(f"{path}: expected an array under {name!r}, found {len(data):,} bytes of something else.")
  size, begin = (struct.unpack_from("<H", data, 8)[0], 10) if data[6] == 1 else (struct.unpack_from("<I", data, 8)[0], 12)
  header = _HEADER.fullmatch(data[begin : begin + min(size, 1 << 16)].decode("latin-1"))
  if not header:
    raise UsageError(f"{path}: the array {name!r} has a header that is not NumPy's for numbers (or it holds Python objects).")
  order, kind, width, fortran, axes = header.groups()
  shape = tuple(int(size) for size in axes.replace(" ", "").split(",") if size)
  try:
    dtype = np.dtype(f"{order}{kind}{width}")
  except TypeError:
    raise UsageError(f"{path}: the array {name!r} has the unknown number type {kind}{width}.") from None
  declared = math.prod(shape) * dtype.itemsize
  if len(shape) > _MOST_AXES or declared != len(data) - begin - size or not dtype.itemsize:
    raise UsageError(f"{path}: the array {name!r} declares shape {shape[:8]}, {declared:,} bytes, and has {len(data) - begin - size:,}.")
  values = np.frombuffer(data, dtype, offset=begin + size)
  return values.reshape(shape, order="F" if fortran == "True" else "C")
