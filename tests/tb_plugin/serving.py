"""A real TensorBoard process that finds the plugin through its entry point."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import importlib.metadata
import os
import pathlib
import socket
import sys
import time
import urllib.request

from tests import processes

_ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


def _free_port() -> int:
  with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    return probe.getsockname()[1]


def _search_path(folder: pathlib.Path) -> list[str]:
  """Folders for PYTHONPATH; where the project is not installed, one says what an installed one would."""
  paths = [str(_ROOT)]
  if not any(point.name == "tbvis" for point in importlib.metadata.entry_points(group="tensorboard_plugins")):
    info = folder / "tbvis_checkout-0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tbvis-checkout\nVersion: 0\n")
    (info / "entry_points.txt").write_text("[tensorboard_plugins]\ntbvis = tb_plugin.loader:Loader\n")
    paths.append(str(folder))
  return paths


def fetch(address: str) -> bytes:
  """Returns what the address answers."""
  with urllib.request.urlopen(address, timeout=20) as response:
    return response.read()


@contextlib.contextmanager
def tensorboard(logdir: pathlib.Path, folder: pathlib.Path, *arguments: str, seconds: float = 60) -> Iterator[str]:
  """Starts TensorBoard without TensorFlow, and yields its address; see `process`."""
  with process(logdir, folder, *arguments, seconds=seconds) as (address, _):
    yield address


@contextlib.contextmanager
def process(
  logdir: pathlib.Path, folder: pathlib.Path, *arguments: str, seconds: float = 60, tensorflow: bool = False
) -> Iterator[tuple[str, int]]:
  """Starts TensorBoard on a free port and yields its address once it answers, and its process' number.

  Args:
    logdir: the logdir.
    folder: for its log and the entry point of a project that is not installed.
    *arguments: more flags of TensorBoard.
    seconds: how long it may take to start.
    tensorflow: whether it may import TensorFlow, which is not needed, and takes seconds to import.
  """
  port = _free_port()
  (folder / "bare").mkdir(parents=True, exist_ok=True)
  if not tensorflow:
    (folder / "bare" / "tensorflow.py").write_text("raise ImportError('left out by the tests')\n")
  paths = [str(folder / "bare"), *_search_path(folder / "entry"), os.environ.get("PYTHONPATH", "")]
  command = [sys.executable, "-m", "tensorboard.main", f"--logdir={logdir}", f"--port={port}", "--reload_interval=1", *arguments]
  address = f"http://localhost:{port}"
  environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
  with processes.running(command, folder / "log.txt", environment) as server:
    deadline = time.monotonic() + seconds
    while True:
      try:
        fetch(f"{address}/data/plugins_listing")
        break
      except OSError:
        if server.poll() is not None or time.monotonic() > deadline:
          raise AssertionError(f"TensorBoard did not start:\n{(folder / 'log.txt').read_text()}") from None
        time.sleep(0.2)
    yield address, server.pid
