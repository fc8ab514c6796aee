"""Programs that run beside a test for as long as it needs them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
import contextlib
import pathlib
import subprocess

# Within which a program that is asked to end has to.
_SECONDS = 10


@contextlib.contextmanager
def running(command: Sequence[str], log: pathlib.Path, env: Mapping[str, str] | None = None) -> Iterator[subprocess.Popen]:
  """Runs a program whose output goes to a file, and ends it."""
  with open(log, "wb") as stream:
    process = subprocess.Popen(command, stdout=stream, stderr=stream, env=env)
  try:
    yield process
  finally:
    process.terminate()
    try:
      process.wait(_SECONDS)
    except subprocess.TimeoutExpired:
      process.kill()
      process.wait()
