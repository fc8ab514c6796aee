"""Caffe's files by hand: bytes of the wire format, with field numbers of the public caffe.proto, and no protobuf library."""

from __future__ import annotations

from collections.abc import Sequence
import struct

import numpy as np

_V1_TYPES = {"Convolution": 4, "InnerProduct": 14, "Pooling": 17, "ReLU": 18}


def varint(number: int) -> bytes:
  """Returns a number in base 128."""
  parts = []
  while number > 0x7F:
    parts.append(number & 0x7F | 0x80)
    number >>= 7
  return bytes([*parts, number])


def field(number: int, content: bytes | str | int) -> bytes:
  """Returns a field: text and submessages by their length, numbers as varints."""
  if isinstance(content, int):
    return varint(number << 3) + varint(content)
  content = content.encode() if isinstance(content, str) else content
  return varint(number << 3 | 2) + varint(len(content)) + content


def blob(array: np.ndarray, legacy: bool = False, packed: bool = True, double: bool = False) -> bytes:
  """Returns a BlobProto: num 1, channels 2, height 3, width 4, data 5, shape 7, double_data 8."""
  values = np.asarray(array, "<f8" if double else "<f4")
  number = 8 if double else 5
  if packed:
    data = field(number, values.tobytes())
  else:
    tag, letter = varint(number << 3 | (1 if double else 5)), "d" if double else "f"
    data = b"".join(tag + struct.pack(f"<{letter}", value) for value in values.ravel())
  if legacy:
    sizes = (1,) * (4 - values.ndim) + values.shape
    return b"".join(field(axis + 1, size) for axis, size in enumerate(sizes)) + data
  # Behind the data, as numbers go.
  return data + field(7, field(1, b"".join(map(varint, values.shape))))


def layer(
  name: str, kind: str, blobs: Sequence[bytes] = (), bottom: str = "", top: str = "", settings: bytes = b"", v1: bool = False
) -> bytes:
  """Returns a layer of a network: `layer` 100, or the older `layers` 2."""
  if v1:
    content = field(2, bottom) + field(3, top or name) + field(4, name) + field(5, _V1_TYPES[kind])
    return field(2, content + b"".join(field(6, content) for content in blobs) + settings)
  content = field(1, name) + field(2, kind) + field(3, bottom) + field(4, top or name)
  return field(100, content + b"".join(field(7, content) for content in blobs) + settings)


def network(layers: Sequence[bytes], name: str = "net") -> bytes:
  """Returns a NetParameter: name 1."""
  return field(1, name) + b"".join(layers)


def tsn_name(name: str) -> str:
  """Returns the name in TSN's Caffe files of a layer of their PyTorch files, which have no "/"; Inception-v3's have none in either.

  >>> tsn_name("inception_3a_double_3x3_1"), tsn_name("conv1_7x7_s2"), tsn_name("mixed_1_conv_Conv2D")
  ('inception_3a/double_3x3_1', 'conv1/7x7_s2', 'mixed_1_conv_Conv2D')
  """
  if name.startswith("inception"):
    block, _, rest = name.removeprefix("inception_").partition("_")
    return f"inception_{block}/{rest}"
  return name.replace("_", "/", 1) if name.startswith(("conv1_7", "conv2_3")) else name
