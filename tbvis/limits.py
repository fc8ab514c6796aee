"""What a file may make us allocate: sizes are judged before anything of that size is read."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import io
import os
import pathlib
import struct
import zipfile
import zlib

from tbvis.errors import UsageError

# Deflate cannot pack tighter (RFC 1951: 258 bytes in 2 bits); what declares more is damaged or a trap.
_DEFLATE_RATIO = 1032
_SLACK = 1 << 16
# Directory entries of about 100 bytes become objects of about 1000.
_DIRECTORY_BYTES = 1 << 24
_PIECE = 1 << 20
_CGROUP = pathlib.Path("/sys/fs/cgroup")


def available_bytes() -> int:
  """Returns how much memory this process may still take, the smaller of the machine's and its control group's."""
  found = []
  try:
    lines = pathlib.Path("/proc/meminfo").read_text().splitlines()
    found.append(next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable")))
  except (OSError, StopIteration):
    found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
  with contextlib.suppress(OSError, ValueError):  # "max" where there is no limit.
    found.append(int((_CGROUP / "memory.max").read_text()) - int((_CGROUP / "memory.current").read_text()))
  return min(found)


def check_declared(path: pathlib.Path, what: str, declared: int, stored: int) -> None:
  """Refuses a declared size that the stored bytes cannot hold, or that this machine cannot.

  Args:
    path: the file.
    what: the part of it that declares.
    declared: bytes after decompression.
    stored: bytes in the file.

  Raises:
    UsageError: naming the file, the part and both sizes.
  """
  if declared > stored * _DEFLATE_RATIO + _SLACK:
    raise UsageError(f"{path}: {what} declares {declared:,} bytes, more than its {stored:,} bytes can hold: the file is damaged.")
  free = available_bytes()
  if declared > free:
    raise UsageError(f"{path}: {what} declares {declared / 2**20:,.0f} MiB, and this machine has {free / 2**20:,.0f} MiB free.")


def read_file(path: pathlib.Path, expected: str) -> int:
  """Checks that a file is there, can be read and is not empty; returns its size in bytes.

  Args:
    path: the file.
    expected: what it should be, for the error.
  """
  try:
    with path.open("rb") as stream:
      size = os.fstat(stream.fileno()).st_size
  except OSError as error:
    raise UsageError(f"Expected {expected} at {path}: {error.strerror or error}.") from error
  if not size:
    raise UsageError(f"Expected {expected} at {path}, found an empty file.")
  return size


class _Opening(io.BufferedReader):
  """A file that refuses long reads while a zip file is opened: the one that could be long is that of its list of members.

  So what is judged is what `zipfile` goes by, whichever of its end records tells the length.
  """

  def __init__(self, path: pathlib.Path, most: int):
    super().__init__(io.FileIO(path))
    self.most: int | None = most

  def read(self, size: int | None = -1) -> bytes:
    if self.most is not None and size is not None and size > self.most:
      raise zipfile.BadZipFile(f"its list of members is given as {size:,} bytes, expected at most {self.most:,}")
    return super().read(size)


@contextlib.contextmanager
def open_zip(path: pathlib.Path, expected: str, most: int = _DIRECTORY_BYTES) -> Iterator[zipfile.ZipFile]:
  """Opens a zip file whose list of members has a bounded size.

  Args:
    path: the file.
    expected: what it should be, for the error.
    most: bytes that the list of members may have.

  Yields:
    The archive. Every failure of reading inside the block becomes a `UsageError`.
  """
  read_file(path, expected)
  try:
    with _Opening(path, most) as stream, zipfile.ZipFile(stream) as archive:
      stream.most = None
      yield archive
  except (
    zipfile.BadZipFile, zlib.error, struct.error, OSError, EOFError, NotImplementedError, ValueError, RuntimeError, OverflowError
  ) as error:  # fmt: skip
    if isinstance(error, UsageError):
      raise
    raise UsageError(f"Expected {expected}, but {path} cannot be read as one: {error}.") from error


def read_member(path: pathlib.Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
  """Reads one member of an archive, after its declared size was found possible."""
  _check_member(path, info)
  data = archive.read(info)
  if len(data) != info.file_size:
    raise UsageError(f"{path}: {info.filename!r} declares {info.file_size:,} bytes and has {len(data):,}: the file is damaged.")
  return data


def check_members(path: pathlib.Path, archive: zipfile.ZipFile) -> None:
  """Reads all members to their ends, in pieces, where their check sums are compared: who reads parts of them compares none.

  Raises:
    UsageError: if a declared size is impossible; inside `open_zip` also for a wrong check sum.
  """
  for info in archive.infolist():
    _check_member(path, info)
    with archive.open(info) as stream:
      while stream.read(_PIECE):
        pass


def _check_member(path: pathlib.Path, info: zipfile.ZipInfo) -> None:
  if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
    raise UsageError(f"{path}: {info.filename!r} is packed by method {info.compress_type}; expected stored or deflated members.")
  check_declared(path, repr(info.filename), info.file_size, info.compress_size)
