"""Scripts called as a user calls them: each in a process of its own, with its own flags, exit status and output.

They start without the seconds that TensorFlow takes to load (see `forks`). What is about the start itself starts a program instead.
"""

from __future__ import annotations

import atexit
from collections.abc import Mapping
import functools
import pathlib
import subprocess
import sys
import tempfile
from typing import Any

from tests import forks

ROOT = forks.ROOT


@functools.cache
def _server() -> forks.Server:
  server = forks.Server()
  atexit.register(server.close)
  return server


def run(
  *command: object, input: str = "", cwd: pathlib.Path | str | None = None, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
  """Does what `subprocess.run([sys.executable, *command], capture_output=True, text=True)` does, and starts sooner.

  Args:
    *command: "-m" and a module's name, or "-c" and a program, or a path, and the arguments.
    input: what stands on standard input.
    cwd: the current folder there.
    env: the whole environment there.
  """
  with tempfile.TemporaryDirectory() as name:
    streams = [pathlib.Path(name, stream) for stream in ("stdin", "stdout", "stderr")]
    streams[0].write_text(input)
    _server().start(command, [streams], cwd, env)
    (status,) = _server().wait()
    # Not by `text=True`'s rule for new lines: nothing here writes other ones.
    said = [stream.read_text(errors="replace") for stream in streams[1:]]
  return subprocess.CompletedProcess([sys.executable, *map(str, command)], status, *said)


def call(verb: str, *arguments: object, **there: Any) -> subprocess.CompletedProcess[str]:
  """Calls `tbvis-<verb>`, by the name of its module."""
  return run("-m", f"tbvis.scripts.{verb}", *arguments, **there)
