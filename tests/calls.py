"""Scripts called as a user calls them: each in a process of its own, with its own flags, exit status and output.

What all of them load first (TensorFlow takes seconds) is loaded once in a server, of which every call is a fork. Nothing of the
project is loaded in it, and TensorFlow has done nothing yet. What is about the start itself starts a program of its own instead.
"""

from __future__ import annotations

import atexit
from collections.abc import Iterator, Mapping, Sequence
import functools
import gc
import importlib
import json
import os
import pathlib
import runpy
import subprocess
import sys
import tempfile
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parents[1]
_LOADED = ("tensorflow", "keras", "tensorflow_datasets", "cv2")


@functools.cache
def _server() -> subprocess.Popen[str]:
  command = [sys.executable, "-m", "tests.calls"]
  # TensorFlow reads its level once. Forks say no more of missing GPUs than a script does that sets it for itself.
  environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
  pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
  server = subprocess.Popen(command, text=True, cwd=ROOT, env=environment, **pipes)
  atexit.register(server.kill)
  return server


def run(
  *command: object, input: str = "", cwd: pathlib.Path | str | None = None, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
  """Does what `subprocess.run([sys.executable, *command], capture_output=True, text=True)` does, and starts sooner.

  Args:
    *command: "-m" and a module's name, or "-c" and a program, or a path, and the arguments.
    input: what stands on standard input.
    cwd: the current folder there.
    env: the whole environment there; it comes after TensorFlow has read its own.
  """
  words = [str(word) for word in command]
  with tempfile.TemporaryDirectory() as name:
    streams = [os.path.join(name, stream) for stream in ("stdin", "stdout", "stderr")]
    pathlib.Path(streams[0]).write_text(input)
    order = {"command": words, "streams": streams, "cwd": str(cwd or os.getcwd()), "env": dict(os.environ if env is None else env)}
    server = _server()
    assert server.stdin and server.stdout
    server.stdin.write(json.dumps(order) + "\n")
    server.stdin.flush()
    status = server.stdout.readline()
    assert status, f"the server of calls ended with {server.wait()}"
    # Not by `text=True`'s rule for new lines: nothing here writes other ones.
    said = [pathlib.Path(stream).read_text(errors="replace") for stream in streams[1:]]
  return subprocess.CompletedProcess([sys.executable, *words], int(status), *said)


def call(verb: str, *arguments: object, **there: Any) -> subprocess.CompletedProcess[str]:
  """Calls `tbvis-<verb>`, by the name of its module."""
  return run("-m", f"tbvis.scripts.{verb}", *arguments, **there)


def _orders() -> Iterator[dict[str, Any]]:
  """Serves until a fork gets its order, which it yields there alone."""
  for line in sys.stdin:
    child = os.fork()
    if not child:
      yield json.loads(line)
      return
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os.write(1, f"{status}\n".encode())


def _become(order: Mapping[str, Any]) -> None:
  """Makes this process the one that was asked for, and runs it."""
  for number, (stream, mode) in enumerate(zip(order["streams"], (os.O_RDONLY, *[os.O_WRONLY | os.O_CREAT] * 2), strict=True)):
    os.dup2(os.open(stream, mode), number)
  sys.stdin = open(0, closefd=False)
  os.environ.clear()
  os.environ.update(order["env"])
  os.chdir(order["cwd"])
  command: Sequence[str] = order["command"]
  first, *rest = command
  # As Python itself sets them.
  if first in ("-m", "-c"):
    sys.path[0] = os.getcwd() if first == "-m" else ""
    sys.argv = ["-m" if first == "-m" else "-c", *rest[1:]]
  else:
    sys.path[0] = str(pathlib.Path(first).resolve().parent)
    sys.argv = [first, *rest]
  sys.path[1:1] = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path and path not in sys.path]
  if first == "-m":
    runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
  elif first == "-c":
    exec(compile(rest[0], "<string>", "exec"), {"__name__": "__main__"})
  else:
    runpy.run_path(first, run_name="__main__")


if __name__ == "__main__":
  for _name in _LOADED:
    importlib.import_module(_name)
  # Forks share these pages, and no collection needs to look at them.
  gc.freeze()
  for _order in _orders():
    _become(_order)
