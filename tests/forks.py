"""Programs started as forks of one process that has TensorFlow loaded, which takes seconds.

Nothing of the project is loaded in that process, and TensorFlow has done nothing yet. A line of JSON on its standard input starts a program
as often as it names streams, side by side, and is answered by the numbers of the processes; when all have ended, their statuses follow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import gc
import importlib
import itertools
import json
import os
import pathlib
import resource
import runpy
import subprocess
import sys
import time
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parents[1]
_LOADED = ("tensorflow", "keras", "tensorflow_datasets", "cv2")


class Server:
  """The process that the others are forks of."""

  def __init__(self) -> None:
    # TensorFlow reads its level once. Forks say no more of missing GPUs than a script does that sets it for itself.
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    self._process = subprocess.Popen(
      [sys.executable, "-m", "tests.forks"],
      stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT, env=environment,
    )  # fmt: skip

  def start(
    self,
    command: Sequence[object],
    streams: Sequence[Sequence[object]],
    cwd: object = None,
    env: Mapping[str, str] | None = None,
    **how: Any,
  ) -> list[int]:
    """Starts a program and returns the numbers of its processes; the one before must have ended.

    Args:
      command: "-m" and a module's name, or "-c" and a program, or a path, and the arguments.
      streams: of each process the paths of what it reads, and of what its output and its errors are added to.
      cwd: the current folder there.
      env: the whole environment there; it comes after TensorFlow has read its own.
      **how: "alone" (in a process group of its own, so that what it starts can be killed with it), "memory" (it may have so many bytes
        of addresses more than it starts with), "clock" (seconds by which its clock jumps, in turn, each time that it is read).
    """
    order = {"command": list(map(str, command)), "streams": [list(map(str, names)) for names in streams]}
    order |= {"cwd": str(cwd or os.getcwd()), "env": dict(os.environ if env is None else env), **how}
    assert self._process.stdin
    self._process.stdin.write(json.dumps(order) + "\n")
    self._process.stdin.flush()
    return self._answer()

  def wait(self) -> list[int]:
    """Returns the status of each process that was started last, when all have ended; negative is the signal that killed it."""
    return self._answer()

  def _answer(self) -> list[int]:
    assert self._process.stdout
    line = self._process.stdout.readline()
    assert line, f"the process that starts the others ended with {self._process.wait()}"
    return json.loads(line)

  def close(self) -> None:
    """Ends it, and waits for its end."""
    self._process.kill()
    self._process.wait()
    for pipe in (self._process.stdin, self._process.stdout):
      if pipe:
        pipe.close()


def _limit_memory(more: int) -> None:
  """Lets this process have so many bytes of addresses more than it has now."""
  with open("/proc/self/statm") as stream:
    held = int(stream.read().split()[0]) * resource.getpagesize()
  resource.setrlimit(resource.RLIMIT_AS, (held + more, held + more))


def _set_clock(offsets: Sequence[float]) -> None:
  """Makes Python's clock jump: each time that it is read the next of `offsets`, in seconds, is added, in turn."""
  real, turn = time.time, itertools.cycle(offsets)
  time.time = lambda: real() + next(turn)
  time.time_ns = lambda: int(time.time() * 1e9)


def _become(order: Mapping[str, Any], streams: Sequence[str]) -> None:
  """Makes this process the one that was asked for, and runs it."""
  if order.get("alone"):
    os.setsid()
  # Output and errors may be one file.
  for number, (stream, mode) in enumerate(zip(streams, (os.O_RDONLY, *[os.O_WRONLY | os.O_CREAT | os.O_APPEND] * 2), strict=True)):
    os.dup2(os.open(stream, mode, 0o644), number)
  sys.stdin = open(0, closefd=False)
  os.environ.clear()
  os.environ.update(order["env"])
  os.chdir(order["cwd"])
  first, *rest = order["command"]
  # As Python itself sets them.
  if first in ("-m", "-c"):
    sys.path[0] = os.getcwd() if first == "-m" else ""
    sys.argv = ["-m" if first == "-m" else "-c", *rest[1:]]
  else:
    sys.path[0] = str(pathlib.Path(first).resolve().parent)
    sys.argv = [first, *rest]
  sys.path[1:1] = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path and path not in sys.path]
  if order.get("clock"):
    _set_clock(order["clock"])
  if order.get("memory"):
    # Not what loading takes, but what the work takes.
    program = importlib.import_module(rest[0])
    sys.argv[0] = str(program.__file__)
    _limit_memory(order["memory"])
    program.entry()
  elif first == "-m":
    runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
  elif first == "-c":
    exec(compile(rest[0], "<string>", "exec"), {"__name__": "__main__"})
  else:
    runpy.run_path(first, run_name="__main__")


def _serve() -> tuple[Mapping[str, Any], Sequence[str]] | None:
  """Serves until standard input ends, and returns None; in a fork it returns at once what the fork is to do."""
  for line in sys.stdin:
    order, processes = json.loads(line), []
    for streams in order["streams"]:
      processes.append(os.fork())
      if not processes[-1]:
        return order, streams
    os.write(1, f"{json.dumps(processes)}\n".encode())
    statuses = [os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) for process in processes]
    os.write(1, f"{json.dumps(statuses)}\n".encode())
  return None


if __name__ == "__main__":
  for _name in _LOADED:
    importlib.import_module(_name)
  # Forks share these pages, and no collection needs to look at them.
  gc.freeze()
  if _wanted := _serve():
    _become(*_wanted)
