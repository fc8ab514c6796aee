"""NumPy's npz files, read within bounds: sizes are judged before anything of that size is read, and nothing is evaluated."""

from __future__ import annotations

import math
import pathlib
import re
import struct

import numpy as np

from tbvis import limits
from tbvis.errors import UsageError

_MAGIC = b"\x93NUMPY"
# The one form in which NumPy writes a header; evaluating it as Python would be more than is needed.
_HEADER = re.compile(
  r"\{'descr': '([<>|=])([fiubcSU])(\d{1,6})', 'fortran_order': (True|False), 'shape': \(((?:\d{1,18}, ?)*(?:\d{1,18})?)\),? ?\}\s*"
)
_MOST_AXES = 32


def read_arrays(path: pathlib.Path, expected: str = "an npz file") -> dict[str, np.ndarray]:
  """Reads all arrays of an npz.

  Args:
    path: the file.
    expected: what it should be, for the error.

  Returns:
    Arrays of numbers or texts by name; they cannot be written to.

  Raises:
    UsageError: if it is none, is damaged, or holds Python objects.
  """
  arrays: dict[str, np.ndarray] = {}
  with limits.open_zip(path, expected) as archive:
    for member in archive.infolist():
      name = member.filename.removesuffix(".npy")
      if name in arrays:
        raise UsageError(f"{path}: two arrays are named {name!r}.")
      arrays[name] = _array(path, name, limits.read_member(path, archive, member))
  return arrays


def _array(path: pathlib.Path, name: str, data: bytes) -> np.ndarray:
  """Returns the array of one .npy file, a view of its bytes."""
  if not data.startswith(_MAGIC) or len(data) < 12 or data[6] not in (1, 2, 3):
    raise UsageError(f"{path}: expected an array under {name!r}, found {len(data):,} bytes of something else.")
  size, begin = (struct.unpack_from("<H", data, 8)[0], 10) if data[6] == 1 else (struct.unpack_from("<I", data, 8)[0], 12)
  header = _HEADER.fullmatch(data[begin : begin + min(size, 1 << 16)].decode("latin-1"))
  if not header:
    raise UsageError(f"{path}: the array {name!r} has a header that is not NumPy's for numbers or texts (or it holds Python objects).")
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
