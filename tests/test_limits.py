"""Zip files are opened within bounds, whichever of their end records tells how long the list of members is."""

from __future__ import annotations

import struct
import zipfile

import pytest

from tbvis import limits
from tbvis.errors import UsageError


def _zip(path, members):
  with zipfile.ZipFile(path, "w") as archive:
    for name in members:
      archive.writestr(name, name)
  return path


def _larger(path):
  """Puts the end records of large files before the usual one, as PyTorch does."""
  data = path.read_bytes()
  end = data.rfind(b"PK\5\6")
  count, length, start = struct.unpack_from("<HII", data, end + 10)
  record = struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, 0, 0, count, count, length, start)
  locator = struct.pack("<4sIQI", b"PK\6\7", 0, end, 1)
  path.write_bytes(
    data[:end] + record + locator + data[end:-22] + struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, *[0xFFFF] * 2, *[0xFFFFFFFF] * 2, 0)
  )


@pytest.mark.parametrize("larger", [False, True])
def test_the_list_of_members_is_bounded(tmp_path, larger):
  path = _zip(tmp_path / "a.zip", [f"member{number}" for number in range(100)])
  if larger:
    _larger(path)
  with limits.open_zip(path, "a zip file") as archive:
    assert len(archive.infolist()) == 100
    assert limits.read_member(path, archive, archive.getinfo("member99")) == b"member99"
  with pytest.raises(
    UsageError, match=r"Expected a zip file, but .*a\.zip cannot be read as one: its list of members is given as .* at most 1,000"
  ):
    with limits.open_zip(path, "a zip file", 1000):
      pass


def test_an_end_record_inside_another_hides_nothing(tmp_path):
  path = _zip(tmp_path / "a.zip", [f"member{number}" for number in range(100)])
  data = bytearray(path.read_bytes())
  data[-6:-2] = b"PK\5\6"  # Where the usual record has the list's place, which zipfile takes as it is.
  path.write_bytes(data)
  with pytest.raises(UsageError, match=r"its list of members is given as"):
    with limits.open_zip(path, "a zip file", 1000):
      pass


def test_members_are_read_to_their_check_sums(tmp_path):
  path = _zip(tmp_path / "a.zip", ["one", "two"])
  with limits.open_zip(path, "a zip file") as archive:
    limits.check_members(path, archive)
  path.write_bytes(path.read_bytes().replace(b"two", b"tow", 2).replace(b"tow", b"two", 1))
  with pytest.raises(UsageError, match=r"a\.zip cannot be read as one: Bad CRC-32 for file 'two'"):
    with limits.open_zip(path, "a zip file") as archive:
      limits.check_members(path, archive)
