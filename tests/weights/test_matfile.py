"""MAT-files as SciPy writes them come back; declared sizes are judged before they are read."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest

from tbvis import limits
from tbvis.errors import UsageError
from tbvis.weights import matfile
from tests.weights import exporter

scipy_io = pytest.importorskip("scipy.io")


@pytest.mark.parametrize("compressed", [False, True])
def test_everything_comes_back(tmp_path, compressed):
  rng = np.random.default_rng(0)
  arrays = {kind: (100 * rng.normal(size=(2, 3, 4))).astype(kind) for kind in ("f4", "f8", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8")}
  rows = [{"name": "one", "value": rng.normal(size=(2, 2))}, {"name": "zwölf", "value": exporter.cell(["a", np.zeros((0, 0))])}]
  content = {"net": {"rows": exporter.struct_array(rows), "inner": {"text": "hello", "none": exporter.cell([])}}, **arrays}
  scipy_io.savemat(tmp_path / "a.mat", content, do_compression=compressed)
  found = matfile.read_mat(tmp_path / "a.mat")
  for name, value in arrays.items():
    np.testing.assert_array_equal(found[name], value)
  (net,) = found["net"]
  assert net["inner"] == [{"text": "hello", "none": ()}]
  one, two = net["rows"]
  assert (one["name"], two["name"], two["value"][0]) == ("one", "zwölf", "a") and two["value"][1].shape == (0, 0)
  np.testing.assert_array_equal(one["value"], rows[0]["value"])


def test_what_is_no_number_text_cell_or_struct_is_none(tmp_path):
  scipy = pytest.importorskip("scipy.sparse")
  scipy_io.savemat(tmp_path / "a.mat", {"sparse": scipy.eye(3).tocsc(), "after": 1.0})
  found = matfile.read_mat(tmp_path / "a.mat")
  assert found["sparse"] is None and found["after"] == 1


def _compressed(declared, content):
  packed = zlib.compress(struct.pack("<II", 14, declared) + content)
  return b"MATLAB 5.0 MAT-file".ljust(124) + b"\0\1IM" + struct.pack("<II", 15, len(packed)) + packed


@pytest.mark.parametrize(
  ("declared", "content", "message"),
  [
    (0xFFFFFFF8, b"", "declares 4,294,967,288 bytes, more than its"),
    (64, bytes(8), "ends too early"),
    (8, bytes(1 << 20), "longer than it declares"),
    (16, struct.pack("<IIII", 6, 0x7FFFFFF8, 0, 0), "declares 2,147,483,640 bytes where"),
  ],
)
def test_declared_sizes_are_judged_before_they_are_read(tmp_path, declared, content, message):
  (tmp_path / "a.mat").write_bytes(_compressed(declared, content))
  with pytest.raises(UsageError, match=f"a.mat.*{message}"):
    matfile.read_mat(tmp_path / "a.mat")


def test_more_than_the_machine_has_is_refused(tmp_path, monkeypatch):
  scipy_io.savemat(tmp_path / "a.mat", {"a": np.zeros((100, 100))}, do_compression=True)
  monkeypatch.setattr(limits, "available_bytes", lambda: 50_000)
  with pytest.raises(UsageError, match=r"a.mat: a variable declares 0 MiB, and this machine has 0 MiB free"):
    matfile.read_mat(tmp_path / "a.mat")


def test_deep_nesting_is_refused(tmp_path):
  nested = np.zeros((1, 1))
  for _ in range(50):
    nested = exporter.cell([nested])
  scipy_io.savemat(tmp_path / "a.mat", {"a": nested})
  with pytest.raises(UsageError, match="a.mat is damaged: its variables are nested more than 32 deep"):
    matfile.read_mat(tmp_path / "a.mat")
