"""A reader never meets half a file; a folder that cannot be written is said in one line."""

import json
import os
import stat

import numpy as np
import pytest

from tbvis import files
from tbvis.errors import UsageError


def test_a_file_appears_whole_with_its_folder_and_ordinary_rights(tmp_path):
  path = tmp_path / "new" / "folder" / "a.json"
  files.write_json(path, {"accuracy": 0.5})
  assert json.loads(path.read_text()) == {"accuracy": 0.5}
  assert [p.name for p in path.parent.iterdir()] == ["a.json"]
  assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_a_failure_keeps_the_old_file_and_leaves_no_other(tmp_path):
  path = tmp_path / "a.txt"
  files.write_bytes(path, b"old")
  with pytest.raises(RuntimeError, match="halfway"), files.atomic_path(path) as temporary:
    temporary.write_bytes(b"ne")
    raise RuntimeError("halfway")
  assert path.read_bytes() == b"old"
  assert os.listdir(tmp_path) == ["a.txt"]


def test_the_temporary_file_has_the_suffix_and_the_folder_of_the_real_one(tmp_path):
  with files.atomic_path(tmp_path / "model.keras") as temporary:
    assert temporary.suffix == ".keras"
    assert temporary.parent == tmp_path
    assert not (tmp_path / "model.keras").exists()


def test_arrays_come_back_as_they_went(tmp_path):
  path = tmp_path / "a.npz"
  scores = np.arange(6, dtype=np.float32).reshape(2, 3)
  files.write_npz(path, scores=scores, classes=np.array(["Archery", "Billiards"]))
  with np.load(path) as read:
    np.testing.assert_array_equal(read["scores"], scores)
    assert read["scores"].dtype == np.float32
    assert read["classes"].tolist() == ["Archery", "Billiards"]


def test_arrays_are_compressed(tmp_path):
  files.write_npz(tmp_path / "small.npz", zeros=np.zeros(100_000))
  assert (tmp_path / "small.npz").stat().st_size < 10_000


# A plain file stands where a folder is needed: that fails for root too, whom permissions do not stop.
def test_a_folder_that_cannot_be_made_names_the_flag(tmp_path):
  blocker = tmp_path / "blocker"
  blocker.write_text("")
  with pytest.raises(UsageError, match=r"^--logdir: expected a folder that can be written, received '.*blocker/runs'") as raised:
    files.ensure_writable(blocker / "runs", "logdir")
  assert "\n" not in str(raised.value)


def test_a_file_in_a_folder_that_cannot_be_made_is_a_usage_error(tmp_path):
  blocker = tmp_path / "blocker"
  blocker.write_text("")
  with pytest.raises(UsageError, match="Expected a folder that can be written for .*a.json"):
    files.write_json(blocker / "a.json", {})


def test_ensure_writable_makes_the_folder_and_leaves_it_empty(tmp_path):
  folder = files.ensure_writable(tmp_path / "a" / "b", "logdir")
  assert folder.is_dir()
  assert list(folder.iterdir()) == []


def test_a_lock_holds_until_its_block_ends(tmp_path):
  with files.locked(tmp_path / "a" / "lock", "Another process is at it."):
    with pytest.raises(UsageError, match="^Another process is at it.$"), files.locked(tmp_path / "a" / "lock", "Another process is at it."):
      pass
  with files.locked(tmp_path / "a" / "lock", "nobody"):
    pass
