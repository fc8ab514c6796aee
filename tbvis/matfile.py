"""MATLAB's .mat files of version 5 (`save` and `save -v7`), read without trusting a number in them.

Format: "MAT-File Format", The MathWorks. A file is a header of 128 bytes and a row of elements, one a variable; an element is a tag
(type, bytes) and its data; a compressed one holds another in a zlib stream. Every length is checked against what encloses it before
anything is made of that size, so that a damaged file costs no more than its own content.
"""

from __future__ import annotations

import dataclasses
import math
import os
import pathlib
import struct
from typing import Any
import zlib

import numpy as np

from tbvis import memory
from tbvis.errors import UsageError

_MATRIX, _COMPRESSED = 14, 15
_HEADER = 128
# Numbers as they are stored, by element type; MATLAB stores whole numbers in the smallest type that holds them.
_STORED = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_TEXT = {1: "utf-8", 2: "utf-8", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}
# What MATLAB shows them as, by array class.
_CELL, _STRUCT, _CHAR, _OPAQUE = 1, 2, 4, 17
_NUMERIC = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}
_UNREAD = {3: "an object", 5: "a sparse array", 16: "a function handle", _OPAQUE: "an object"}
# Far more than any network's struct has; a damaged file must not reach Python's own limit.
_DEPTH = 16
_EMPTY = np.zeros((0, 0))


@dataclasses.dataclass(frozen=True)
class Unread:
  """Stands for a value of a kind that is not read.

  Attributes:
    kind: as "a sparse array".
  """

  kind: str


@dataclasses.dataclass
class _Elements:
  """A row of elements, and the place of the next.

  Attributes:
    data: the bytes.
    order: "<" or ">".
    at: offset of the next element.
  """

  data: memoryview
  order: str
  at: int = 0

  def next(self) -> tuple[int, memoryview]:
    """Returns type and data of the next element, and steps over it and its padding."""
    if self.at + 8 > len(self.data):
      raise ValueError("it ends within a tag")
    kind, size = struct.unpack_from(f"{self.order}II", self.data, self.at)
    start = self.at + 8
    if kind >> 16:  # A small element has its data in the tag.
      kind, size, start = kind & 0xFFFF, kind >> 16, self.at + 4
      if size > 4:
        raise ValueError(f"a small element has {size} bytes")
    if start + size > len(self.data):
      raise ValueError(f"an element has {size} bytes by its tag, but {len(self.data) - start} follow")
    end = start + size
    self.at = end if kind == _COMPRESSED else -(-end // 8) * 8  # Compressed ones are not padded.
    return kind, self.data[start:end]

  def numbers(self, what: str) -> np.ndarray:
    """Returns the next element as numbers."""
    kind, data = self.next()
    if kind not in _STORED:
      raise ValueError(f"its {what} are of type {kind}, which is no number")
    dtype = np.dtype(_STORED[kind]).newbyteorder(self.order)
    if len(data) % dtype.itemsize:
      raise ValueError(f"its {what} end within a number")
    return np.frombuffer(data, dtype)

  def name(self) -> str:
    """Returns the next element as a name."""
    return self.numbers("names").tobytes().decode("ascii", errors="replace")

  def matrix(self, depth: int = 0) -> tuple[str, Any]:
    """Returns name and value of the next element, which must be a matrix."""
    kind, data = self.next()
    if kind != _MATRIX:
      raise ValueError(f"an element of type {kind} stands where a matrix is expected")
    if depth > _DEPTH:
      raise ValueError(f"its values lie more than {_DEPTH} deep in each other")
    # An empty cell is written as nothing at all.
    return _Elements(data, self.order)._parts(depth) if len(data) else ("", _EMPTY)

  def _parts(self, depth: int) -> tuple[str, Any]:
    flags = self.numbers("array flags")
    if len(flags) != 2 or flags.dtype.itemsize != 4:
      raise ValueError("its array flags are not two numbers of 32 bits")
    kind, is_logical, is_complex = int(flags[0]) & 0xFF, bool(int(flags[0]) & 0x200), bool(int(flags[0]) & 0x800)
    shape = () if kind == _OPAQUE else tuple(int(size) for size in self.numbers("dimensions"))
    name = self.name()
    if kind in _UNREAD:
      return name, Unread(_UNREAD[kind])
    if not 2 <= len(shape) <= 32 or min(shape) < 0:
      raise ValueError(f"its dimensions are {' x '.join(map(str, shape[:8]))}")
    if kind == _CELL:
      return name, self._cells(shape, depth)
    if kind == _STRUCT:
      return name, self._fields(shape, depth)
    if kind == _CHAR:
      return name, self._text(shape)
    if kind not in _NUMERIC:
      raise ValueError(f"a matrix is of class {kind}, which is none")
    values = self._values(shape).astype(bool if is_logical else _NUMERIC[kind])
    return name, values + 1j * self._values(shape) if is_complex else values

  def _values(self, shape: tuple[int, ...]) -> np.ndarray:
    values = self.numbers("values")
    if len(values) != math.prod(shape):
      raise ValueError(f"an array of {' x '.join(map(str, shape))} has {len(values)} values")
    return values.reshape(shape, order="F")

  def _objects(self, shape: tuple[int, ...], each: int = 1) -> np.ndarray:
    """Returns an empty array of objects, if `each` elements for every one of them can follow at all."""
    count = math.prod(shape)
    if count * each > (len(self.data) - self.at) // 8:
      raise ValueError(f"an array of {' x '.join(map(str, shape))} lies in {len(self.data) - self.at} bytes")
    return np.empty(count, object)

  def _cells(self, shape: tuple[int, ...], depth: int) -> np.ndarray:
    array = self._objects(shape)
    for i in range(len(array)):
      array[i] = self.matrix(depth + 1)[1]
    return array.reshape(shape, order="F")

  def _fields(self, shape: tuple[int, ...], depth: int) -> dict[str, np.ndarray]:
    lengths, packed = self.numbers("lengths of field names"), self.numbers("field names").tobytes()
    if len(lengths) != 1 or lengths[0] < 1 or len(packed) % int(lengths[0]):
      raise ValueError("its field names have no common length")
    length = int(lengths[0])
    names = [packed[i : i + length].split(b"\0")[0].decode("ascii", errors="replace") for i in range(0, len(packed), length)]
    if len(set(names)) < len(names):
      raise ValueError("it has one field name twice")
    arrays = {name: self._objects(shape, len(names)) for name in names}
    for i in range(math.prod(shape) if names else 0):
      for name in names:
        arrays[name][i] = self.matrix(depth + 1)[1]
    return {name: array.reshape(shape, order="F") for name, array in arrays.items()}

  def _text(self, shape: tuple[int, ...]) -> str | np.ndarray:
    kind, data = self.next()
    if kind not in _TEXT:
      raise ValueError(f"its text is of type {kind}")
    encoding = _TEXT[kind] if _TEXT[kind] == "utf-8" else _TEXT[kind] + ("-le" if self.order == "<" else "-be")
    text = str(data, encoding, errors="replace")
    if len(text) != math.prod(shape):
      raise ValueError(f"a text of {' x '.join(map(str, shape))} has {len(text)} characters")
    if len(shape) == 2 and shape[0] <= 1:
      return text
    return np.frombuffer(text.encode("utf-32-le"), "<U1").reshape(shape, order="F")


def _inflate(data: memoryview, order: str) -> memoryview:
  """Returns the element in a compressed one, no more of it than its own tag declares."""
  head = zlib.decompressobj().decompress(data, 8)
  if len(head) < 8:
    raise ValueError("a compressed element holds none")
  declared = 8 + struct.unpack(f"{order}II", head)[1]
  memory.require_room(declared, "a variable")
  stream = zlib.decompressobj()
  content = stream.decompress(data, declared)
  # Only the end of the stream has its checksum.
  more = stream.decompress(stream.unconsumed_tail, 1)
  if len(content) < declared or more or not stream.eof:
    raise ValueError(f"a compressed element declares {declared} bytes and has {'more' if more else 'fewer'}")
  return memoryview(content)


def load(path: str | os.PathLike[str]) -> dict[str, Any]:
  """Reads all variables of a .mat file of version 5, compressed or not.

  Args:
    path: the file.

  Returns:
    By variable: numbers and logicals as arrays of MATLAB's shape (two axes at least) and class; a text of one line as str, others as an
    array of characters; a cell as an array of objects; a struct as a dictionary of arrays of objects, one a field, all of the
    struct's shape; `Unread` for objects, sparse arrays and function handles.

  Raises:
    UsageError: if the file is missing, is no such file or of another version, is damaged, or does not fit into memory.
  """
  path = pathlib.Path(path)
  try:
    data = path.read_bytes()
  except OSError as error:
    raise UsageError(f"Expected a MATLAB file at {path}; {error.strerror or error}.") from error
  if data.startswith(b"MATLAB 7.3") or data[:8] == b"\x89HDF\r\n\x1a\n":
    raise UsageError(f"{path}: a MATLAB file of version 7.3 (HDF5) is not read; save it again in MATLAB with save('name.mat', '-v7').")
  order = {b"IM": "<", b"MI": ">"}.get(data[126:128])
  if order is None or struct.unpack(f"{order}H", data[124:126])[0] != 0x0100:
    found = "it is empty" if not data else f"it begins with {data[:16]!r}"
    raise UsageError(f"{path}: expected a MATLAB file of version 5 (save -v7); {found}.")
  found: dict[str, Any] = {}
  elements = _Elements(memoryview(data), order, _HEADER)
  try:
    while elements.at < len(data):
      start = elements.at
      kind, content = elements.next()
      if kind == _COMPRESSED:
        name, value = _Elements(_inflate(content, order), order).matrix()
      else:
        elements.at = start
        name, value = elements.matrix()
      found[name] = value
  except (ValueError, OverflowError, zlib.error) as error:
    raise UsageError(f"{path}: expected a whole MATLAB file; {error}.") from error
  except MemoryError as error:
    raise UsageError(f"{path}: expected a file that fits into memory; this machine has no room for it.") from error
  return found
