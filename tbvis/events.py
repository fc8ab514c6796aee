"""Event files without TensorFlow: written with TensorBoard's own records and protos, read for what we wrote."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
import contextlib
import io
import itertools
import json
import math
import os
import pathlib
import re
import socket
import struct
import time
from typing import Any, BinaryIO
import zlib

from google.protobuf import message
from tensorboard.compat.proto import event_pb2, summary_pb2, tensor_pb2, tensor_shape_pb2, types_pb2
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c
from tensorboard.plugins.image import metadata as image_metadata
from tensorboard.plugins.scalar import metadata as scalar_metadata
from tensorboard.plugins.text import metadata as text_metadata
from tensorboard.summary.writer.record_writer import RecordWriter

from tbvis.errors import UsageError

_COUNTER = itertools.count()
# Before each record: its length, and the length's check sum. Another check sum of four bytes is behind it.
_RECORD = struct.Struct("<QI")
# The first byte of what zlib writes; no JSON begins so.
_DEFLATED = b"x"
_STAMP = re.compile(r"tfevents\.(\d{10})\.")
_LARGEST_STEP = 1 << 52


def _plain(value: Any) -> Any:
  # Browsers refuse NaN and infinity in JSON, and NumPy's scalars and arrays are not JSON at all.
  if isinstance(value, dict):
    return {str(k): _plain(v) for k, v in value.items()}
  if isinstance(value, (list, tuple, set, frozenset)):
    return [_plain(v) for v in value]
  if isinstance(value, os.PathLike):
    return os.fspath(value)
  if hasattr(value, "tolist"):
    if getattr(value, "dtype", None) == "float32":
      # The shortest digits that tell float32 values apart: as float64 they would have seventeen.
      value = value.astype(str).astype(float)
    return _plain(value.tolist())
  if isinstance(value, float) and not math.isfinite(value):
    return None
  return value


def to_json(content: Any) -> bytes:
  """Encodes `content` as compact JSON; NumPy values become plain ones, NaN and infinity become null.

  >>> to_json({"a": float("nan"), "b": (1, 2)})
  b'{"a":null,"b":[1,2]}'
  """
  return json.dumps(_plain(content), separators=(",", ":"), allow_nan=False, default=str).encode()


def packed_json(content: Any) -> bytes:
  """Returns `to_json` deflated: TensorBoard holds blobs in memory, and numbers deflate to a half."""
  return zlib.compress(to_json(content))


def unpacked_json(data: bytes, largest: int = 1 << 30) -> bytes:
  """Returns the JSON of a blob that `packed_json` or, in an older logdir, `to_json` made.

  Args:
    data: the blob.
    largest: bytes of JSON that are at most unpacked; of more, one byte more is returned.

  Raises:
    zlib.error: if the blob is damaged.

  >>> unpacked_json(packed_json({"a": 1})), unpacked_json(b'{"a":1}')
  (b'{"a":1}', b'{"a":1}')
  """
  if data[:1] != _DEFLATED:
    return data
  unpacker = zlib.decompressobj()
  unpacked = unpacker.decompress(data, largest + 1)
  if len(unpacked) <= largest and not unpacker.eof:
    raise zlib.error("cut short")
  return unpacked


def scalar_value(tag: str, value: float) -> summary_pb2.Summary.Value:
  """Returns a point of a curve in the Scalars tab."""
  metadata = scalar_metadata.create_summary_metadata(display_name="", description="")
  metadata.data_class = summary_pb2.DATA_CLASS_SCALAR
  tensor = tensor_pb2.TensorProto(dtype=types_pb2.DT_FLOAT, float_val=[value], tensor_shape=tensor_shape_pb2.TensorShapeProto())
  return summary_pb2.Summary.Value(tag=tag, tensor=tensor, metadata=metadata)


def _strings(parts: list[bytes]) -> tensor_pb2.TensorProto:
  # Rank 1: TensorBoard's fast loader drops blob sequences of any other rank without a word.
  shape = tensor_shape_pb2.TensorShapeProto(dim=[tensor_shape_pb2.TensorShapeProto.Dim(size=len(parts))])
  return tensor_pb2.TensorProto(dtype=types_pb2.DT_STRING, string_val=parts, tensor_shape=shape)


def image_value(tag: str, data: bytes, width: int, height: int, description: str = "") -> summary_pb2.Summary.Value:
  """Returns an encoded picture for the Images tab (PNG, or GIF: it plays there)."""
  metadata = image_metadata.create_summary_metadata(display_name="", description=description)
  metadata.data_class = summary_pb2.DATA_CLASS_BLOB_SEQUENCE
  return summary_pb2.Summary.Value(tag=tag, tensor=_strings([b"%d" % width, b"%d" % height, data]), metadata=metadata)


def text_value(tag: str, markdown: str) -> summary_pb2.Summary.Value:
  """Returns a page in Markdown for the Text tab."""
  metadata = text_metadata.create_summary_metadata(display_name="", description="")
  metadata.data_class = summary_pb2.DATA_CLASS_TENSOR
  tensor = tensor_pb2.TensorProto(
    dtype=types_pb2.DT_STRING, string_val=[markdown.encode()], tensor_shape=tensor_shape_pb2.TensorShapeProto()
  )
  return summary_pb2.Summary.Value(tag=tag, tensor=tensor, metadata=metadata)


def blobs_value(tag: str, blobs: list[bytes], plugin: str, content: Any) -> summary_pb2.Summary.Value:
  """Returns a sequence of blobs for `plugin`; of `content` TensorBoard keeps what the tag's first event has."""
  metadata = summary_pb2.SummaryMetadata(
    plugin_data=summary_pb2.SummaryMetadata.PluginData(plugin_name=plugin, content=to_json(content)),
    data_class=summary_pb2.DATA_CLASS_BLOB_SEQUENCE,
  )
  return summary_pb2.Summary.Value(tag=tag, tensor=_strings(blobs), metadata=metadata)


class EventFile:
  """An event file, opened at the first write; each `add` reaches the file in one piece.

  Args:
    folder: the run's folder.
    at_once: whether the file is only seen when it is closed, with all that was added: for writers beside others.
  """

  def __init__(self, folder: str | os.PathLike[str], at_once: bool = False):
    self._folder = pathlib.Path(folder)
    self._stream: io.BufferedIOBase | None = None
    self._at_once = at_once
    self._last_step: int | None = None

  def step(self) -> int:
    """Returns a step for what may be written again: milliseconds, as TensorBoard tells blobs of a tag by step alone.

    Each is later than those before it, in this file and in those that the folder had at first, also where the clock was set back:
    of two values the one of the larger step is shown.
    """
    if self._last_step is None:
      self._last_step = _last_step(self._folder)
    self._last_step = max(time.time_ns() // 1_000_000, self._last_step + 1)
    return self._last_step

  def add(self, events: Iterable[tuple[int, list[summary_pb2.Summary.Value]]]) -> None:
    """Appends (step, values) events and flushes them."""
    now = time.time()
    protos = [event_pb2.Event(step=step, wall_time=now, summary=summary_pb2.Summary(value=values)) for step, values in events]
    if self._stream is None:
      self._folder.mkdir(parents=True, exist_ok=True)
      self._stream = io.BytesIO() if self._at_once else open(self._folder / _file_name(self._folder, now), "xb")
      protos.insert(0, event_pb2.Event(wall_time=now, file_version="brain.Event:2"))
    records = io.BytesIO()
    writer = RecordWriter(records)
    for proto in protos:
      writer.write(proto.SerializeToString())
    self._stream.write(records.getvalue())
    self._stream.flush()

  def close(self) -> None:
    """Closes the file, if there is one."""
    if self._stream is not None:
      if isinstance(self._stream, io.BytesIO):
        # Under a name that no reader takes for an event file, until it is whole.
        part = self._folder / f".part-{os.getpid()}-{next(_COUNTER)}"
        try:
          part.write_bytes(self._stream.getvalue())
          os.replace(part, self._folder / _file_name(self._folder, time.time()))
        finally:
          part.unlink(missing_ok=True)
      self._stream.close()
      self._stream = None


def _files(folder: pathlib.Path) -> list[pathlib.Path]:
  return sorted(folder.glob("*tfevents*"))


def _stamp(path: pathlib.Path) -> int:
  """Returns the seconds in an event file's name."""
  found = _STAMP.search(path.name)
  return int(found[1]) if found else 0


def _last_step(folder: pathlib.Path) -> int:
  """Returns the largest step in a folder where something there is from the future; 0 where the clock is enough to tell what is later."""
  paths, now = _files(folder), time.time()
  last = 0
  if any(_stamp(path) > now or path.stat().st_mtime > now for path in paths):
    for path in paths:
      with contextlib.suppress(UsageError):  # Of a damaged file what stands before the damage counts.
        for event in _read_events(path):
          # What browsers cannot tell apart was not written by us.
          last = max(last, event.step if event.step < _LARGEST_STEP else 0)
  return last


def _file_name(folder: pathlib.Path, now: float) -> str:
  # Readers go through a folder's files by name and never back: a new file's comes last, also where the clock was set back.
  last = max(map(_stamp, _files(folder)), default=0)
  return f"events.out.tfevents.{max(int(now), last + 1):010d}.{socket.gethostname()}.{os.getpid()}.{next(_COUNTER):03d}.tbvis"


def read_values(folder: str | os.PathLike[str], plugin: str) -> Iterator[tuple[str, int, Any, list[bytes]]]:
  """Reads the blob sequences of `plugin` from the event files of one folder, in the order of writing.

  Args:
    folder: the run's folder; a missing one has none.
    plugin: the name in the values' metadata.

  Yields:
    (tag, step, content, blobs). A record cut short (a writer was killed) ends its file quietly.
  """
  for path in _files(pathlib.Path(folder)):
    for event in _read_events(path):
      for value in event.summary.value:
        if value.metadata.plugin_data.plugin_name == plugin:
          yield value.tag, event.step, json.loads(value.metadata.plugin_data.content), list(value.tensor.string_val)


def _records(stream: BinaryIO) -> Iterator[tuple[int, int | None, bool]]:
  """Yields where each record of an event file begins, the bytes of its event, and whether they agree with their check sum.

  The stream is then at the event. There are None bytes where the file ends within the length itself; nothing is behind.
  """
  position = 0
  while header := stream.read(_RECORD.size):
    if len(header) < _RECORD.size:
      yield position, None, False
      return
    length, check = _RECORD.unpack(header)
    yield position, length, masked_crc32c(header[:8]) == check
    position += _RECORD.size + length + 4
    stream.seek(position)


def _read_events(path: pathlib.Path) -> Iterator[event_pb2.Event]:
  """Reads an event file up to its end, or up to a record that is cut short."""
  with open(path, "rb") as stream:
    size = os.fstat(stream.fileno()).st_size
    for _, length, _ in _records(stream):
      # Judged before it is read: a spoilt length may ask for any amount of memory.
      if length is None or length + 4 > size - stream.tell():
        break
      data = stream.read(length)
      try:
        yield event_pb2.Event.FromString(data)
      except message.DecodeError:
        raise UsageError(f"{path}: expected an event of {length:,} bytes, found something else: the file is damaged.") from None


def broken_record(path: pathlib.Path) -> str | None:
  """Returns where an event file is cut short or is none, None of a whole one.

  Lengths are followed and their check sums compared; what lies between them is read, and judged, by TensorBoard.
  """
  size = path.stat().st_size
  with path.open("rb") as stream:
    for position, length, is_sound in _records(stream):
      if length is None:
        return f"is cut short after {position:,} of {size:,} bytes (a writer was stopped, or writes just now); what is before is shown."
      if not is_sound:
        return f"is damaged at byte {position:,} of {size:,}: TensorBoard reads nothing behind."
      lacking = stream.tell() + length + 4 - size
      if lacking > 0:
        return f"is cut short: its last record lacks {lacking:,} bytes (a writer was stopped, or writes just now)."
  return None
