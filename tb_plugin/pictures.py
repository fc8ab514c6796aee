"""Which file of which type a browser is sent: told by the bytes' own headers, without decoding anything.

A picture that is cut short, is another type than its name says, or would take more memory than a stimulus ever does when
it is decoded, is refused here: the browser would have to find out by trying.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
import pathlib
import struct

from tb_plugin.refusals import DamagedError, TooLargeError

# All frames of an animation counted; a flow of 100 frames of 512 x 512 has 26 million.
LARGEST_PIXELS = 1 << 26

_PNG = b"\x89PNG\r\n\x1a\n"
_NPZ = b"PK\3\4"


def _png_pixels(data: bytes) -> int:
  if not data.startswith(_PNG) or data[12:16] != b"IHDR" or b"IEND" not in data[-12:]:
    raise ValueError
  width, height = struct.unpack(">II", data[16:24])
  return width * height


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
  at = 12
  while at + 8 <= len(data):
    (size,) = struct.unpack("<I", data[at + 4 : at + 8])
    yield data[at : at + 4], data[at + 8 : at + 26]
    at += 8 + size + size % 2


def _webp_pixels(data: bytes) -> int:
  """Sizes of the first chunk (RFC 9649), times the frames of an animation."""
  if data[:4] != b"RIFF" or data[8:12] != b"WEBP" or struct.unpack("<I", data[4:8])[0] + 8 > len(data):
    raise ValueError
  found = list(_chunks(data))
  name, head = found[0]
  if name == b"VP8X":
    width, height = (int.from_bytes(head[at : at + 3], "little") + 1 for at in (4, 7))
  elif name == b"VP8L" and head[0] == 0x2F:
    bits = int.from_bytes(head[1:5], "little")
    width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
  elif name == b"VP8 " and head[3:6] == b"\x9d\x01\x2a":
    width, height = (side & 0x3FFF for side in struct.unpack("<HH", head[6:10]))
  else:
    raise ValueError
  return width * height * max(1, sum(name == b"ANMF" for name, _ in found))


def _npz_pixels(data: bytes) -> int:
  if not data.startswith(_NPZ):
    raise ValueError
  return 0


_TYPES: dict[str, tuple[str, Callable[[bytes], int]]] = {
  ".png": ("image/png", _png_pixels),
  ".webp": ("image/webp", _webp_pixels),
  ".npz": ("application/octet-stream", _npz_pixels),
}


def checked_type(data: bytes, name: str, what: str) -> str:
  """Returns the content type of a file by its name, after a look at whether it is one.

  Args:
    data: the whole file.
    name: its name, for its suffix (.png, .webp, .npz) and for messages.
    what: where it was found, for messages.

  Raises:
    DamagedError: if the bytes are no such file, or only its first part.
    TooLargeError: if the picture has more than LARGEST_PIXELS pixels.
  """
  kind, pixels = _TYPES[pathlib.PurePath(name).suffix]
  try:
    count = pixels(data)
  except (ValueError, IndexError, struct.error):
    raise DamagedError(f"{what}: expected {name} to be a whole {kind} file, found {len(data):,} bytes that are not.") from None
  if count > LARGEST_PIXELS:
    raise TooLargeError(f"{what}: expected at most {LARGEST_PIXELS:,} pixels in {name}, found {count:,}.")
  return kind
