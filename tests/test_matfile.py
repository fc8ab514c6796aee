"""The .mat reader against SciPy's writer and reader, and against damage."""

from __future__ import annotations

import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest

from tbvis import matfile, memory
from tbvis.errors import UsageError
from tests.weights import fuzz

scipy_io = pytest.importorskip("scipy.io")


def _layers():
  layers = np.zeros((1, 2), [("name", object), ("inputs", object), ("block", object)])
  for i, name in enumerate(("conv1", "pool5")):
    cell = np.empty((1, 2), object)
    cell[0, 0], cell[0, 1] = "input", "x1"
    layers[0, i] = (name, cell, {"size": np.array([[3.0, 3, 20, 64]]), "hasBias": True})
  return layers


@pytest.mark.parametrize("compressed", [False, True])
def test_what_scipy_writes_is_read(tmp_path, compressed):
  rng = np.random.default_rng(0)
  content = {
    "kernel": rng.normal(size=(3, 2, 4, 5, 6)).astype(np.float32),
    "scores": rng.normal(size=(7, 5)),
    "bytes": rng.integers(0, 255, (2, 3), np.uint8),
    "negative": rng.integers(-9, 9, (4, 1)).astype(np.int16),
    "waves": rng.normal(size=(2, 2)) + 1j,
    "flag": np.array([[True, False]]),
    "nothing": np.zeros((0, 3)),
  }
  path = tmp_path / "all.mat"
  scipy_io.savemat(path, {**content, "title": "Größe 3", "lines": np.array(["ab", "cd"]), "layers": _layers()}, do_compression=compressed)
  found = matfile.load(path)
  for name, value in content.items():
    np.testing.assert_array_equal(found[name], value)
    assert found[name].dtype == value.dtype, name
  assert found["title"] == "Größe 3"
  assert found["lines"].tolist() == [["a", "b"], ["c", "d"]]
  layers = found["layers"]
  assert layers["name"].shape == (1, 2) and layers["name"][0].tolist() == ["conv1", "pool5"]
  assert layers["inputs"][0, 1].shape == (1, 2) and layers["inputs"][0, 1][0].tolist() == ["input", "x1"]
  assert layers["block"][0, 0]["size"][0, 0].tolist() == [[3, 3, 20, 64]]


def test_whole_numbers_in_small_types_keep_their_class(tmp_path):
  # MATLAB stores a double array of small whole numbers as bytes; SciPy's writer does not, so this is by hand.
  def element(kind, data):
    return struct.pack("<II", kind, len(data)) + data + bytes(-len(data) % 8)

  body = element(6, struct.pack("<II", 6, 0)) + element(5, struct.pack("<ii", 2, 3)) + element(1, b"scores") + element(2, bytes(range(6)))
  header = b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM"
  path = tmp_path / "small.mat"
  path.write_bytes(header + element(14, body))
  found = matfile.load(path)["scores"]
  assert found.dtype == np.float64 and found.tolist() == [[0, 2, 4], [1, 3, 5]]
  np.testing.assert_array_equal(found, scipy_io.loadmat(path)["scores"])


def test_sparse_arrays_are_said_to_be_unread(tmp_path):
  sparse = pytest.importorskip("scipy.sparse")
  scipy_io.savemat(tmp_path / "s.mat", {"s": sparse.eye(3).tocsc(), "after": np.ones((1, 1))})
  found = matfile.load(tmp_path / "s.mat")
  assert found["s"] == matfile.Unread("a sparse array") and found["after"] == 1


@pytest.mark.parametrize(
  ("content", "expected"),
  [
    (b"", "expected a MATLAB file of version 5 (save -v7); it is empty"),
    (b"hello" * 100, "it begins with b'hellohellohelloh'"),
    (b"MATLAB 7.3 MAT-file".ljust(512) + b"\x89HDF\r\n\x1a\n", "-v7"),
    (b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM" + b"\x0f\0\0\0\xff\xff\xff\x7f", "2147483647 bytes by its tag, but 0 follow"),
  ],
)
def test_other_files_are_named(tmp_path, content, expected):
  path = tmp_path / "bad.mat"
  path.write_bytes(content)
  with pytest.raises(UsageError) as caught:
    matfile.load(path)
  assert expected in str(caught.value) and str(path) in str(caught.value)
  with pytest.raises(UsageError, match="No such file"):
    matfile.load(tmp_path / "none.mat")


def test_what_the_machine_cannot_hold_is_refused_before_it_is_read(tmp_path, monkeypatch):
  monkeypatch.setattr(memory, "available_bytes", lambda: 1 << 30)
  stream = zlib.compress(struct.pack("<II", 14, 0x7FFFFFF0) + bytes(64))
  path = tmp_path / "big.mat"
  path.write_bytes(b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM" + struct.pack("<II", 15, len(stream)) + stream)
  with pytest.raises(UsageError, match=r"big\.mat.*2047 MiB, for which this machine has no room"):
    matfile.load(path)


def test_a_stream_longer_than_it_declares_is_not_unpacked(tmp_path):
  # A hundred MB of zeros in 100 kB, declared as 16 bytes: read under a limit of memory that they would break.
  stream = zlib.compress(struct.pack("<II", 14, 16) + bytes(100 << 20))
  path = tmp_path / "bomb.mat"
  path.write_bytes(b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM" + struct.pack("<II", 15, len(stream)) + stream)
  program = (
    "import resource, sys\nfrom tbvis import matfile, errors\n"
    "used = int(open('/proc/self/statm').read().split()[0]) * 4096\n"
    "resource.setrlimit(resource.RLIMIT_AS, (used + (32 << 20), -1))\n"
    "try:\n  matfile.load(sys.argv[1])\nexcept errors.UsageError as error:\n  print(error)"
  )
  done = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=False)
  assert "declares 24 bytes and has more" in done.stdout, done.stderr[-2000:]


@pytest.mark.slow
@pytest.mark.parametrize("compressed", [False, True])
def test_damaged_files_are_refused_in_one_line(tmp_path, compressed):
  path = tmp_path / "good.mat"
  scipy_io.savemat(path, {"layers": _layers(), "scores": np.arange(600.0).reshape(30, 20)}, do_compression=compressed)
  counts = fuzz.outcomes("tbvis.matfile:load", path, tmp_path, count=600, seed=int(compressed))
  assert counts["refused"] > 300, counts
