"""What a file may make us allocate: sizes are judged before anything of that size is read."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import os
import pathlib
import zipfile
import zlib

from tbvis.errors import UsageError

# Deflate cannot pack tighter (RFC 1951: 258 bytes in 2 bits); what declares more is damaged or a trap.
_DEFLATE_RATIO = 1032
_SLACK = 1 << 16
# Directory entries of about 100 bytes become objects of about 1000.
_DIRECTORY_BYTES = 1 << 24
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


@contextlib.contextmanager
def open_zip(path: pathlib.Path, expected: str) -> Iterator[zipfile.ZipFile]:
  """Opens a zip file whose list of members has a bounded size.

  Args:
    path: the file.
    expected: what it should be, for the error.

  Yields:
    The archive. Every failure of reading inside the block becomes a `UsageError`.
  """
  size = read_file(path, expected)
  try:
    with path.open("rb") as stream:
      stream.seek(max(0, size - (1 << 16) - 64))
      tail = stream.read()
      end = tail.rfind(b"PK\5\6")
      directory = int.from_bytes(tail[end + 12 : end + 16], "little")
      if end < 0 or min(directory, size) > _DIRECTORY_BYTES or tail[max(0, end - 20) : end].startswith(b"PK\6\7"):
        raise UsageError(f"Expected {expected} at {path}, found no zip file with a list of members of a usual size.")
    with zipfile.ZipFile(path) as archive:
      yield archive
  except (zipfile.BadZipFile, zlib.error, OSError, EOFError, NotImplementedError, ValueError, RuntimeError, OverflowError) as error:
    if isinstance(error, UsageError):
      raise
    raise UsageError(f"Expected {expected}, but {path} cannot be read as one: {error}.") from error


def read_member(path: pathlib.Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
  """Reads one member of an archive, after its declared size was found possible."""
  if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
    raise UsageError(f"{path}: {info.filename!r} is packed by method {info.compress_type}; expected stored or deflated members.")
  check_declared(path, repr(info.filename), info.file_size, info.compress_size)
  data = archive.read(info)
  if len(data) != info.file_size:
    raise UsageError(f"{path}: {info.filename!r} declares {info.file_size:,} bytes and has {len(data):,}: the file is damaged.")
  return data
