"""MATLAB's MAT-files of level 5 (v6, v7), read with every size bounded by the bytes that are there.

SciPy's reader allocates by what a file declares; files of strangers need the opposite. The format is MathWorks'
"MAT-File Format": a head of 128 bytes, then elements of an 8-byte tag (type, bytes) and content, compressed in v7.
"""

from __future__ import annotations

from collections.abc import Iterator
import math
import pathlib
import struct
from typing import Any, BinaryIO, Literal
import zlib

import numpy as np

from tbvis import limits
from tbvis.errors import UsageError

_HEAD = 128
_HDF5 = b"\x89HDF\r\n\x1a\n"
_MATRIX, _COMPRESSED = 14, 15
_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_TEXTS = {1: "latin-1", 2: "latin-1", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}
_CELL, _STRUCT, _CHAR = 1, 2, 4
_NUMERIC_CLASSES = range(6, 16)
# A network has thousands of them; each becomes an object of some hundred bytes.
_MOST_ELEMENTS, _MOST_FIELDS, _MOST_AXES, _MOST_DEEP = 500_000, 10_000, 16, 32
_PIECE = 1 << 22
_Order = Literal["<", ">"]  # Of the bytes of a number.


class _Damaged(Exception):
  """What is wrong with the bytes, in words."""


def read_mat(path: pathlib.Path) -> dict[str, Any]:
  """Reads the variables of a MAT-file.

  Args:
    path: a file of level 5, compressed (v7) or not (v6).

  Returns:
    Variables by name. Numbers are arrays in MATLAB's shape and in the number type in which they are stored, texts are
    strings, cells are tuples, struct arrays are lists of dictionaries (a struct is a list of one), and what is none of
    these (objects, functions, sparse matrices) is None.

  Raises:
    UsageError: if it is no such file, or is damaged.
  """
  size = limits.read_file(path, "a MATLAB file (.mat)")
  with path.open("rb") as stream:
    head = stream.read(_HEAD)
    if head.startswith(b"MATLAB 7.3") or head.startswith(_HDF5):
      raise UsageError(f"{path} is a MATLAB file of v7.3 (HDF5). Expected v7: save it again in MATLAB with save(..., '-v7').")
    if len(head) == _HEAD and 0 in head[:4]:
      raise UsageError(f"{path}: expected a MATLAB file of v7, found none, or one of v4, which cannot hold a network.")
    if len(head) < _HEAD or head[126:] not in (b"IM", b"MI"):
      raise UsageError(f"Expected a MATLAB file of v7, but {path} does not begin like one.")
    order: _Order = "<" if head[126:] == b"IM" else ">"
    variables: dict[str, Any] = {}
    try:
      for content in _top_elements(path, stream, order, size):
        name, value = _Reader(content, order).matrix(0, len(content), 0)
        if name in variables:
          raise _Damaged(f"it has two variables {name!r}")
        variables[name] = value
    except (_Damaged, struct.error, zlib.error, UnicodeDecodeError) as error:
      raise UsageError(f"Expected a MATLAB file of v7, but {path} is damaged: {error}.") from error
  return variables


def _top_elements(path: pathlib.Path, stream: BinaryIO, order: _Order, size: int) -> Iterator[memoryview]:
  """Yields the content of every matrix of the file, decompressed."""
  at = _HEAD
  while at < size:
    kind, length = struct.unpack(order + "II", stream.read(8))
    at += 8 + length
    if at > size:
      raise _Damaged(f"an element declares {length:,} bytes, {at - size:,} more than there are")
    if kind == _MATRIX:
      limits.check_declared(path, "a variable", length, length)
      yield memoryview(stream.read(length))
    elif kind == _COMPRESSED:
      yield _inflate(path, stream, order, length)
    else:
      raise _Damaged(f"it has an element of type {kind} where a variable should be")


def _inflate(path: pathlib.Path, stream: BinaryIO, order: _Order, length: int) -> memoryview:
  """Returns the content of one compressed matrix; nothing is allocated before its size was judged."""
  inflate = zlib.decompressobj()
  left = length
  buffer: np.ndarray | None = None
  done, tag = 0, b""
  while left and not inflate.eof:
    piece = stream.read(min(left, _PIECE))
    left -= len(piece)
    while piece and not inflate.eof:
      if buffer is None:
        tag += inflate.decompress(piece, 8 - len(tag))
        if len(tag) == 8:
          kind, declared = struct.unpack(order + "II", tag)
          if kind != _MATRIX:
            raise _Damaged(f"it has a compressed element of type {kind} where a variable should be")
          limits.check_declared(path, "a variable", declared, length)
          buffer = np.empty(declared, np.uint8)
      else:
        out = inflate.decompress(piece, min(_PIECE, max(1, len(buffer) - done)))
        if done + len(out) > len(buffer):
          raise _Damaged("a variable is longer than it declares")
        buffer[done : done + len(out)] = np.frombuffer(out, np.uint8)
        done += len(out)
      piece = inflate.unconsumed_tail
  if buffer is None or done != len(buffer) or not inflate.eof:
    raise _Damaged("a variable ends too early")
  stream.seek(left, 1)
  return buffer.data


class _Reader:
  """Reads nested elements out of one variable's bytes."""

  def __init__(self, content: memoryview, order: _Order):
    self._content = content
    self._order = order
    self._elements = 0

  def _element(self, at: int, end: int) -> tuple[int, int, int, int]:
    """Returns type, begin and end of an element's content, and where the next one begins."""
    self._elements += 1
    if self._elements > _MOST_ELEMENTS:
      raise _Damaged(f"a variable has more than {_MOST_ELEMENTS:,} elements")
    if at + 8 > end:
      raise _Damaged("an element begins behind the end of what holds it")
    kind, length = struct.unpack_from(self._order + "II", self._content, at)
    if kind >> 16:  # The small form: length and type share the first word, up to 4 bytes of content the second.
      kind, length = kind & 0xFFFF, kind >> 16
      if length > 4:
        raise _Damaged(f"a small element declares {length} bytes")
      return kind, at + 4, at + 4 + length, at + 8
    begin = at + 8
    if begin + length > end:
      raise _Damaged(f"an element declares {length:,} bytes where {end - begin:,} are left")
    return kind, begin, begin + length, min(end, begin + (length + 7) // 8 * 8)

  def _numbers(self, at: int, end: int) -> tuple[np.ndarray, int]:
    kind, begin, stop, after = self._element(at, end)
    if kind not in _NUMBERS:
      raise _Damaged(f"it has an element of type {kind} where numbers should be")
    dtype = np.dtype(_NUMBERS[kind]).newbyteorder(self._order)
    if (stop - begin) % dtype.itemsize:
      raise _Damaged(f"{stop - begin} bytes are no whole count of {dtype.name}")
    return np.frombuffer(self._content[begin:stop], dtype), after

  def _text(self, at: int, end: int) -> tuple[str, int]:
    kind, begin, stop, after = self._element(at, end)
    if kind not in _TEXTS:
      raise _Damaged(f"it has an element of type {kind} where a text should be")
    code = _TEXTS[kind] + ({"<": "-le", ">": "-be"}[self._order] if kind in (4, 17, 18) else "")
    return bytes(self._content[begin:stop]).decode(code), after

  def matrix(self, at: int, end: int, depth: int) -> tuple[str, Any]:
    """Returns name and value of a matrix whose content lies from `at` to `end`."""
    if at == end:
      return "", np.zeros((0, 0))  # MATLAB's short form of [].
    if depth > _MOST_DEEP:
      raise _Damaged(f"its variables are nested more than {_MOST_DEEP} deep")
    flags, at = self._numbers(at, end)
    if not len(flags):
      raise _Damaged("a matrix has no class")
    matrix_class = int(flags[0]) & 0xFF
    if matrix_class not in (_CELL, _STRUCT, _CHAR) and matrix_class not in _NUMERIC_CLASSES:
      return self._opaque_name(at, end), None
    dims, at = self._numbers(at, end)
    shape = tuple(int(size) for size in dims[: _MOST_AXES + 1])
    if not 2 <= len(shape) <= _MOST_AXES or min(shape) < 0:
      raise _Damaged(f"a matrix has the shape {shape}")
    name, at = self._text(at, end)
    count = math.prod(shape)
    if matrix_class == _CHAR:
      return name, self._text(at, end)[0] if count else ""
    if matrix_class == _CELL:
      return name, tuple(self._members(at, end, count, depth))
    if matrix_class == _STRUCT:
      return name, self._structs(at, end, count, depth)
    values, _ = self._numbers(at, end)
    if len(values) != count:
      raise _Damaged(f"a matrix of shape {shape} has {len(values):,} numbers")
    return name, values.reshape(shape, order="F")

  def _opaque_name(self, at: int, end: int) -> str:
    """Returns the name of an object's variable, which follows its class at once or after the shape."""
    for _ in range(2):
      kind, begin, stop, at = self._element(at, end)
      if kind == 1:
        return bytes(self._content[begin:stop]).decode("latin-1")
    return ""

  def _members(self, at: int, end: int, count: int, depth: int) -> list[Any]:
    if count * 8 > end - at:
      raise _Damaged(f"{count:,} members are declared where {end - at:,} bytes are left")
    values = []
    for _ in range(count):
      kind, begin, stop, at = self._element(at, end)
      if kind != _MATRIX:
        raise _Damaged(f"it has an element of type {kind} where a matrix should be")
      values.append(self.matrix(begin, stop, depth + 1)[1])
    return values

  def _structs(self, at: int, end: int, count: int, depth: int) -> list[dict[str, Any]]:
    lengths, at = self._numbers(at, end)
    text, at = self._text(at, end)
    if not len(lengths) or not 1 <= int(lengths[0]) <= max(1, len(text)) or len(text) % int(lengths[0]):
      raise _Damaged("the names of a struct's fields cannot be told apart")
    length = int(lengths[0])
    if len(text) > length * _MOST_FIELDS:
      raise _Damaged(f"a struct has more than {_MOST_FIELDS:,} fields")
    names = [text[start : start + length].split("\0")[0] for start in range(0, len(text), length)]
    if not names:
      return [{} for _ in range(min(count, 1))]
    values = self._members(at, end, count * len(names), depth)
    return [dict(zip(names, values[start : start + len(names)], strict=True)) for start in range(0, len(values), len(names))]
