"""Files of the project are found in a checkout; from a wheel see test_packaging."""

import pytest

from tbvis import resources
from tbvis.errors import UsageError


def test_data_and_flagfiles_of_the_checkout_are_found():
  assert "PlayingCello" in resources.data_path("ucf101", "classInd.txt").read_text()
  assert resources.flags_path("stage_prepare.flags").is_file()


def test_what_is_not_there_is_named():
  with pytest.raises(UsageError, match="Expected data/demo/nothing.keras to be installed"):
    resources.data_path("demo", "nothing.keras")


def test_a_folder_inside_the_package_comes_first(tmp_path, monkeypatch):
  (tmp_path / "tbvis" / "data").mkdir(parents=True)
  (tmp_path / "tbvis" / "data" / "a.txt").write_text("wheel")
  (tmp_path / "data").mkdir()
  (tmp_path / "data" / "a.txt").write_text("checkout")
  monkeypatch.setattr(resources, "_PACKAGE", tmp_path / "tbvis")
  assert resources.data_path("a.txt").read_text() == "wheel"
  (tmp_path / "tbvis" / "data" / "a.txt").unlink()
  assert resources.data_path("a.txt").read_text() == "checkout"
