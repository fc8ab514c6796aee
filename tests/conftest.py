"""Fixtures that every room's tests share."""

from __future__ import annotations

import os
import pathlib
import shutil

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

_BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="session")
def real_data() -> pathlib.Path:
  """Folder of real data; the test is skipped where TBVIS_REAL_DATA does not name one."""
  name = os.environ.get("TBVIS_REAL_DATA")
  if not name:
    pytest.skip("needs real data: TBVIS_REAL_DATA is not set")
  folder = pathlib.Path(name)
  # A variable that names nothing is a mistake, not a reason to skip.
  assert folder.is_dir(), f"TBVIS_REAL_DATA: expected a folder, found none at {folder}"
  return folder


@pytest.fixture(scope="session")
def chromium() -> str:
  """Path of a Chromium; without one the test is skipped, or fails where CI=true."""
  named = os.environ.get("CHROMIUM")
  found = next(filter(None, map(shutil.which, [named] if named else _BROWSERS)), None)
  if found is None:
    message = f"needs Chromium: found none of {', '.join([named] if named else _BROWSERS)}"
    if os.environ.get("CI") == "true":
      pytest.fail(message)
    pytest.skip(message)
  return found
