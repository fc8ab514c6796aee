"""Starts our programs by forking from one process that has TensorFlow already, which takes seconds to load.

A line of JSON on standard input starts a program as often as it names logs, side by side, and is answered by the numbers of the processes;
when all have ended, their statuses follow (negative: the signal that killed it).
"""

from __future__ import annotations

import importlib
import itertools
import json
import os
import resource
import sys
import time
import traceback
from typing import Any


def _limit_memory(more: int) -> None:
  """Lets this process have so many bytes of addresses more than it has now."""
  with open("/proc/self/statm") as stream:
    held = int(stream.read().split()[0]) * resource.getpagesize()
  resource.setrlimit(resource.RLIMIT_AS, (held + more, held + more))


def _set_clock(offsets: list[float]) -> None:
  """Makes Python's clock jump: each time that it is read the next of `offsets`, in seconds, is added, in turn."""
  real, turn = time.time, itertools.cycle(offsets)
  time.time = lambda: real() + next(turn)
  time.time_ns = lambda: int(time.time() * 1e9)


def _become(wanted: dict[str, Any], log: str) -> None:
  """Runs the program in this process, which ends with it."""
  os.setsid()  # So that the workers which it starts can be killed with it.
  written = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
  for stream in (1, 2):
    os.dup2(written, stream)
  os.environ.update(wanted.get("environment", {}))
  if wanted.get("clock"):
    _set_clock(wanted["clock"])
  sys.argv = [f"tbvis-{wanted['verb']}", *wanted["arguments"]]
  status = 1
  try:
    program = importlib.import_module(f"tbvis.scripts.{wanted['verb']}")
    if wanted.get("memory"):
      _limit_memory(wanted["memory"])
    program.entry()
    status = 0
  except SystemExit as error:
    status = error.code if isinstance(error.code, int) else int(error.code is not None)
  except BaseException:
    traceback.print_exc()
  finally:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def main() -> None:
  """Serves until standard input ends."""
  from tbvis import startup

  startup.load_tensorflow()
  importlib.import_module("tensorflow_datasets")
  print(json.dumps("ready"), flush=True)
  for line in sys.stdin:
    wanted, processes = json.loads(line), []
    for log in wanted["logs"]:
      processes.append(os.fork())
      if processes[-1] == 0:
        _become(wanted, log)
    print(json.dumps(processes), flush=True)
    print(json.dumps([os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) for process in processes]), flush=True)


if __name__ == "__main__":
  main()
