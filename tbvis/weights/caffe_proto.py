"""The part of Caffe's public message definition that weights and layer settings are in, and a reader of its wire format.

Blobs are cut out of the file as they stand there: parsed messages of a network would be several times its size.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
import numpy as np

# Field numbers as in Caffe's caffe.proto; those above 1 of layers' settings differ between `layer` and the older `layers`.
NET_LAYERS, NET_LAYER = 2, 100
BLOBS = {NET_LAYER: 7, NET_LAYERS: 6}
_BLOB_DATA, _BLOB_SHAPE, _BLOB_DOUBLE_DATA = 5, 7, 8
# No network has more; a file of nothing but empty fields would otherwise grow a hundredfold in memory.
_MOST_FIELDS = 100_000
_MOST_PIECES = 16
_MOST_DIMENSIONS = 8

_Type = descriptor_pb2.FieldDescriptorProto
_SIMPLE = {"string": _Type.TYPE_STRING, "uint32": _Type.TYPE_UINT32, "bool": _Type.TYPE_BOOL}
_SIMPLE["float"] = _Type.TYPE_FLOAT

_V1_TYPES = {
  "NONE": 0, "ACCURACY": 1, "BNLL": 2, "CONCAT": 3, "CONVOLUTION": 4, "DATA": 5, "DROPOUT": 6, "EUCLIDEAN_LOSS": 7, "FLATTEN": 8,
  "HDF5_DATA": 9, "HDF5_OUTPUT": 10, "IM2COL": 11, "IMAGE_DATA": 12, "INFOGAIN_LOSS": 13, "INNER_PRODUCT": 14, "LRN": 15,
  "MULTINOMIAL_LOGISTIC_LOSS": 16, "POOLING": 17, "RELU": 18, "SIGMOID": 19, "SOFTMAX": 20, "SOFTMAX_LOSS": 21, "SPLIT": 22,
  "TANH": 23, "WINDOW_DATA": 24, "ELTWISE": 25, "POWER": 26, "SIGMOID_CROSS_ENTROPY_LOSS": 27, "HINGE_LOSS": 28, "MEMORY_DATA": 29,
  "ARGMAX": 30, "THRESHOLD": 31, "DUMMY_DATA": 32, "SLICE": 33, "MVN": 34, "ABSVAL": 35, "SILENCE": 36, "CONTRASTIVE_LOSS": 37,
  "EXP": 38, "DECONVOLUTION": 39,
}  # fmt: skip
_ENUMS = {"V1Type": _V1_TYPES, "PoolMethod": {"MAX": 0, "AVE": 1, "STOCHASTIC": 2}, "RoundMode": {"CEIL": 0, "FLOOR": 1}}
# Message: field: (number, type); a list holds repeated fields' type. Blobs are absent: text has none, and binaries are cut.
_MESSAGES: dict[str, dict[str, tuple[int, Any]]] = {
  "Transform": {"mean_value": (5, ["float"])},
  "Normalisation": {"eps": (3, "float")},
  "TsnNormalisation": {"eps": (4, "float")},
  "Convolution": {
    "pad": (3, ["uint32"]), "kernel_size": (4, ["uint32"]), "group": (5, "uint32"),
    "stride": (6, ["uint32"]), "pad_h": (9, "uint32"), "pad_w": (10, "uint32"), "kernel_h": (11, "uint32"),
    "kernel_w": (12, "uint32"), "stride_h": (13, "uint32"), "stride_w": (14, "uint32"),
  },
  "Pooling": {
    "pool": (1, "PoolMethod"), "kernel_size": (2, "uint32"), "stride": (3, "uint32"), "pad": (4, "uint32"), "kernel_h": (5, "uint32"),
    "kernel_w": (6, "uint32"), "stride_h": (7, "uint32"), "stride_w": (8, "uint32"), "pad_h": (9, "uint32"), "pad_w": (10, "uint32"),
    "global_pooling": (12, "bool"), "round_mode": (13, "RoundMode"),
  },
  "Layer": {
    "name": (1, "string"), "type": (2, "string"), "bottom": (3, ["string"]), "top": (4, ["string"]),
    "transform_param": (100, "Transform"), "convolution_param": (106, "Convolution"), "pooling_param": (121, "Pooling"),
    "bn_param": (137, "TsnNormalisation"), "batch_norm_param": (139, "Normalisation"),
  },
  "V1Layer": {
    "bottom": (2, ["string"]), "top": (3, ["string"]), "name": (4, "string"), "type": (5, "V1Type"),
    "convolution_param": (10, "Convolution"), "pooling_param": (19, "Pooling"), "transform_param": (36, "Transform"),
  },
  "Net": {"layers": (NET_LAYERS, ["V1Layer"]), "layer": (NET_LAYER, ["Layer"])},
}  # fmt: skip


def _define() -> dict[str, Any]:
  package = "tbvis.caffe"
  file = descriptor_pb2.FileDescriptorProto(name="tbvis/caffe.proto", package=package, syntax="proto2")
  for name, values in _ENUMS.items():
    # An enumeration's values share the package's namespace, so each gets a message around it.
    enum = file.message_type.add(name=f"{name}Of").enum_type.add(name=name)
    for label, number in values.items():
      enum.value.add(name=label, number=number)
  for name, fields in _MESSAGES.items():
    message = file.message_type.add(name=name)
    for field, (number, kind) in fields.items():
      label = _Type.LABEL_REPEATED if isinstance(kind, list) else _Type.LABEL_OPTIONAL
      kind = kind[0] if isinstance(kind, list) else kind
      added = message.field.add(name=field, number=number, label=label)
      if kind in _SIMPLE:
        added.type = _SIMPLE[kind]
      elif kind in _ENUMS:
        added.type, added.type_name = _Type.TYPE_ENUM, f".{package}.{kind}Of.{kind}"
      else:
        added.type, added.type_name = _Type.TYPE_MESSAGE, f".{package}.{kind}"
  pool = descriptor_pool.DescriptorPool()
  pool.Add(file)
  return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{name}")) for name in _MESSAGES}


_CLASSES = _define()
Net, Layer, V1Layer = _CLASSES["Net"], _CLASSES["Layer"], _CLASSES["V1Layer"]


def split(data: memoryview, wanted: Collection[int]) -> tuple[bytes, list[tuple[int, memoryview]]]:
  """Cuts the wanted submessages out of a message.

  Args:
    data: the message.
    wanted: their field numbers.

  Returns:
    The message without them; and (field number, submessage) in the order of the file.

  Raises:
    ValueError: if it is no message.
  """
  rest, found = bytearray(), []
  for number, wire, value, raw in _fields(data):
    if number in wanted and wire == 2:
      found.append((number, value))
    else:
      rest += raw
  return bytes(rest), found


def blob(data: memoryview) -> np.ndarray:
  """Returns the array of a BlobProto, float32 or float64, of the declared shape; a view of `data` where the values are in one piece.

  Raises:
    ValueError: if it is none, or its shape is not that of its values.
  """
  shape: list[int] | None = None
  legacy, pieces = {}, []
  for number, wire, value, _ in _fields(data):
    if number in (_BLOB_DATA, _BLOB_DOUBLE_DATA):
      # All values in one field, or each in its own: then the value is a run of them.
      pieces.append(np.frombuffer(value, "<f4" if number == _BLOB_DATA else "<f8") if wire == 2 else np.asarray(value))
      if len(pieces) > _MOST_PIECES:
        raise ValueError("the values are scattered")
    elif number == _BLOB_SHAPE and wire == 2:
      shape = _dimensions(value)
    elif number <= 4 and wire == 0:
      legacy[number] = value
  values = pieces[0] if len(pieces) == 1 else np.concatenate(pieces) if pieces else np.zeros(0, np.float32)
  if shape is None:
    shape = [legacy.get(axis, 1) for axis in (1, 2, 3, 4)] if legacy else [values.size]
  count = 1
  for size in shape:
    count *= size
  if count != values.size or len(shape) > _MOST_DIMENSIONS:
    raise ValueError(f"the shape {shape[:_MOST_DIMENSIONS]} does not fit {values.size} values")
  return values.reshape(shape)


def _dimensions(data: memoryview) -> list[int]:
  sizes = []
  for number, wire, value, _ in _fields(data):
    if number == 1 and wire == 0:
      sizes.append(value)
    elif number == 1 and wire == 2:
      at = 0
      while at < len(value) and len(sizes) <= _MOST_DIMENSIONS:
        size, at = _varint(value, at)
        sizes.append(size)
  return sizes


def _varint(data: memoryview, at: int) -> tuple[int, int]:
  """Returns the number that begins at `at`, and where it ends."""
  number = 0
  for index, byte in enumerate(data[at : at + 10]):
    number |= (byte & 0x7F) << 7 * index
    if byte < 0x80:
      return number, at + index + 1
  raise ValueError("a number has no end")


def _fields(data: memoryview) -> Iterator[tuple[int, int, Any, memoryview]]:
  """Yields (number, wire type, value, field as it stands) of a message; fixed-width fields that repeat come as one array."""
  at = 0
  for _ in range(_MOST_FIELDS):
    if at >= len(data):
      return
    start = at
    tag, at = _varint(data, at)
    number, wire = tag >> 3, tag & 7
    value: Any
    if wire == 0:
      value, at = _varint(data, at)
    elif wire == 2:
      length, at = _varint(data, at)
      if length > len(data) - at:
        raise ValueError(f"a part of {length:,} bytes is declared where {len(data) - at:,} are left")
      value, at = data[at : at + length], at + length
    elif wire in (1, 5) and number < 16:
      value = _run(data, start, "<f8" if wire == 1 else "<f4")
      at = start + len(value) * (value.itemsize + 1)
    elif wire in (1, 5):
      value, at = None, at + (8 if wire == 1 else 4)
    else:
      raise ValueError(f"a field has the wire type {wire}")
    if number == 0 or at > len(data):
      raise ValueError("a field has no end" if number else "a field has the number 0")
    yield number, wire, value, data[start:at]
  raise ValueError(f"a message has more than {_MOST_FIELDS:,} fields")


def _run(data: memoryview, at: int, kind: str) -> np.ndarray:
  """Returns the values of the fields of one tag that follow each other from `at` on."""
  record = np.dtype([("tag", "u1"), ("value", kind)])
  records = np.frombuffer(data, record, (len(data) - at) // record.itemsize, at)
  if not len(records):
    raise ValueError("a field has no end")
  count, block = 1, 64
  while count < len(records):
    same = records["tag"][count : count + block] == records["tag"][0]
    if not same.all():
      count += int(same.argmin())
      break
    count, block = count + len(same), 2 * block
  return records["value"][:count].copy()
