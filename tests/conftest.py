"""Fixtures that every room's tests share."""

from __future__ import annotations

import gc
import importlib.util
import os
import pathlib
import shutil

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# Written with PyTorch throughout; the tests that import them are skipped where it is not installed.
collect_ignore_glob = [] if importlib.util.find_spec("torch") else ["torch_networks/*.py", "weights/st_resnet_files.py"]


def pytest_collection_finish() -> None:
  # What was imported stays to the end: looked through at every collection of garbage, it took a twentieth of the fast tests' time.
  gc.freeze()


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


def _browser(variable: str, names: tuple[str, ...]) -> tuple[str | None, str]:
  """Path of a browser, or None, and what was looked for."""
  named = os.environ.get(variable)
  looked = [named] if named else list(names)
  return next(filter(None, map(shutil.which, looked)), None), ", ".join(looked)


@pytest.fixture(scope="session")
def chromium() -> str:
  """Path of a Chromium; without one the test is skipped, or fails where CI=true."""
  found, looked = _browser("CHROMIUM", ("chromium", "chromium-browser", "google-chrome"))
  if found is None:
    message = f"needs Chromium: found none of {looked}"
    if os.environ.get("CI") == "true":
      pytest.fail(message)
    pytest.skip(message)
  return found


@pytest.fixture(scope="session")
def firefox_esr() -> str:
  """Path of a Firefox; without one the test is skipped: scripts/test fails where CI=true and it could have been installed."""
  found, looked = _browser("FIREFOX", ("firefox-esr", "firefox"))
  if found is None:
    pytest.skip(f"needs Firefox: found none of {looked}")
  return found
