"""Bad files: how they are made out of a good one, and a child process that gives them to a reader."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
import importlib
import json
import os
import pathlib
import resource
import signal
import sys

import numpy as np

from tests import calls

# What a reader may take beside three times what a file declares; the samples here declare next to nothing.
MEMORY_MIB = 256
_SECONDS = 60
_HUGE = (0xFF, 0x7F, 0xFE, 0x80)


def corruptions(data: bytes, seed: int, count: int) -> Iterator[tuple[str, bytes]]:
  """Yields `count` damaged copies of a file, each with the name of what was done to it.

  Args:
    data: content of a good file.
    seed: of the choices.
    count: how many; the kinds take turns.

  >>> [name for name, _ in corruptions(bytes(100), 0, 4)]
  ['empty', 'truncated', 'random bytes', 'random after the first 16 bytes']
  """
  rng = np.random.default_rng(seed)
  size = len(data)

  def noise(length: int) -> bytes:
    return rng.integers(0, 256, length, np.uint8).tobytes()

  def overwritten(patch: bytes, end: int = size) -> bytes:
    at = int(rng.integers(0, max(1, end - len(patch))))
    return data[:at] + patch + data[at + len(patch) :]

  def flipped(bits: int, end: int = size) -> bytes:
    changed = bytearray(data)
    for at in rng.integers(0, end, bits):
      changed[at] ^= 1 << int(rng.integers(0, 8))
    return bytes(changed)

  def cut() -> bytes:
    start = int(rng.integers(0, size))
    return data[:start] + data[start + int(rng.integers(1, 65)) :]

  def swapped() -> bytes:
    one, two, three = sorted(int(at) for at in rng.integers(0, size, 3))
    return data[:one] + data[two:three] + data[one:two] + data[three:]

  head = min(size, 512)
  kinds = {
    "empty": lambda: b"",
    "truncated": lambda: data[: int(rng.integers(1, size))],
    "random bytes": lambda: noise(int(rng.integers(1, 4096))),
    "random after the first 16 bytes": lambda: data[:16] + noise(max(1, size - 16)),
    "one bit": lambda: flipped(1),
    "bits of the head": lambda: flipped(3, head),
    "many bits": lambda: flipped(64),
    "a huge number": lambda: overwritten(bytes([int(rng.choice(_HUGE))]) * int(rng.choice((2, 4, 8)))),
    "a huge number in the head": lambda: overwritten(bytes([int(rng.choice(_HUGE))]) * int(rng.choice((2, 4, 8))), head),
    "zeros": lambda: overwritten(bytes(int(rng.integers(1, 65)))),
    "noise inside": lambda: overwritten(noise(int(rng.integers(1, 65)))),
    "cut out": cut,
    "blocks swapped": swapped,
    "something inserted": lambda: data[: (at := int(rng.integers(0, size)))] + noise(8) + data[at:],
    "something appended": lambda: data + noise(int(rng.integers(1, 65))),
    "twice": lambda: data + data,
  }
  names = list(kinds)
  for index in range(count):
    name = names[index % len(names)]
    yield name, kinds[name]()


def outcomes(reader: str, sample: pathlib.Path, folder: pathlib.Path, *, count: int, seed: int = 0) -> dict[str, int]:
  """Gives damaged copies of a file to a reader in a child process.

  Args:
    reader: "module:function", called with a path; whatever it returns is dropped.
    sample: a good file, a few MB at most; the copies have its suffix.
    folder: where the copies are written.
    count: how many.
    seed: of the damage.

  Returns:
    How many copies were refused by one line naming the file ("refused"), and how many were read since the damage was harmless ("read").

  Raises:
    AssertionError: if another exception came, memory rose above `MEMORY_MIB`, or a copy took longer than 60 seconds.
  """
  done = calls.run("-m", "tests.weights.fuzz", reader, sample, folder, count, seed, env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"})
  assert done.returncode == 0, f"{reader}: {(done.stdout + done.stderr)[-3000:]}"
  return json.loads(done.stdout.splitlines()[-1])


def _peak_mib(field: str = "VmHWM") -> float:
  line = next(line for line in pathlib.Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
  return int(line.split()[1]) / 1024


def _child(arguments: Sequence[str]) -> None:
  from tbvis.errors import UsageError

  module, _, function = arguments[0].partition(":")
  read = getattr(importlib.import_module(module), function)
  sample, folder, count, seed = pathlib.Path(arguments[1]), pathlib.Path(arguments[2]), int(arguments[3]), int(arguments[4])
  read(sample)  # Imports what is imported lazily, and shows that the sample is good.
  _, hard = resource.getrlimit(resource.RLIMIT_CORE)
  resource.setrlimit(resource.RLIMIT_CORE, (0, hard))
  counts = {"refused": 0, "read": 0}
  for index, (name, content) in enumerate(corruptions(sample.read_bytes(), seed, count)):
    path = folder / f"bad{index}{sample.suffix}"
    path.write_bytes(content)
    pathlib.Path("/proc/self/clear_refs").write_text("5")  # The peak starts anew.
    before = _peak_mib("VmRSS")
    signal.alarm(_SECONDS)  # A hang ends the child by SIGALRM; the last line printed names the copy.
    print(index, name, path, flush=True)
    try:
      read(path)
      counts["read"] += 1
    except UsageError as error:
      assert path.name in str(error), f"copy {index} ({name}): the error does not name the file: {error}"
      counts["refused"] += 1
    signal.alarm(0)
    risen = _peak_mib() - before
    assert risen < MEMORY_MIB, f"copy {index} ({name}): memory rose by {risen:.0f} MiB"
    path.unlink()
  print(json.dumps(counts))


if __name__ == "__main__":
  _child(sys.argv[1:])
