"""What the workers of benchmarks/maximization.py share: the networks, the clock, the memory, and how a worker is called.

A worker is a program of its own that is given the path of an order (JSON) and writes what it measured where the order says. It may
run in a library's own environment, so this module needs NumPy, and Keras where a network is built, and nothing of tbvis.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
import json
import os
import pathlib
import sys
import time
from typing import Any

import numpy as np

# (block, number of convolutions, channels at width 1), as keras.applications.VGG16 has them.
BLOCKS = ((1, 2, 64), (2, 2, 128), (3, 3, 256), (4, 3, 512), (5, 3, 512))
# Pixels around 0, as VGG-16 takes them: what every library that has a range is given, and what a score is measured within.
PIXEL_RANGE = (-127.5, 127.5)
# Amplitude of the start noise (standard deviation), and Adam's rate in grey levels, where a worker has to choose them.
NOISE_LEVEL = 30.0
LEARNING_RATE = 8.0


def scaled(channels: int, width: float) -> int:
  """Returns the channels of a layer at a width, a multiple of 4 and at least 4, as `tbvis.two_stream_fusion_vgg16` has them.

  >>> scaled(512, 1.0), scaled(512, 0.1), scaled(64, 0.01)
  (512, 52, 4)
  """
  return max(4, int(round(channels * width / 4)) * 4)


def random_weights(seed: int, width: float = 1.0) -> dict[str, np.ndarray]:
  """Draws Glorot-uniform kernels and zero biases of a VGG-16, keyed block1_conv1_W, block1_conv1_b, ...; the same with any library."""
  random = np.random.default_rng(seed)
  weights, before = {}, 3
  for block, depth, channels in BLOCKS:
    for index in range(1, depth + 1):
      after = scaled(channels, width)
      limit = np.sqrt(6.0 / (9 * (before + after)))
      weights[f"block{block}_conv{index}_W"] = random.uniform(-limit, limit, (3, 3, before, after)).astype(np.float32)
      weights[f"block{block}_conv{index}_b"] = np.zeros(after, np.float32)
      before = after
  return weights


def vgg16(weights: Mapping[str, np.ndarray], size: int | None = None, *, dtype: str = "float32", linear: str = "") -> Any:
  """Builds the convolutions of a VGG-16 with layers and names as keras.applications has them.

  Args:
    weights: arrays block1_conv1_W, block1_conv1_b, ...
    size: side of the input; None for any.
    dtype: Keras dtype policy.
    linear: layer whose activation is left out; the network ends there.

  Returns:
    A Keras model from (N, size, size, 3).
  """
  import keras

  x = inputs = keras.Input((size, size, 3), dtype="float32", name="image")
  for block, depth, _ in BLOCKS:
    for index in range(1, depth + 1):
      name = f"block{block}_conv{index}"
      kernel, bias = (weights[f"{name}_{part}"].astype(np.float32) for part in "Wb")
      activation = None if name == linear else "relu"
      layer = keras.layers.Conv2D(kernel.shape[3], 3, padding="same", activation=activation, name=name, dtype=dtype)
      x = layer(x)
      layer.set_weights([kernel, bias])
      if name == linear:
        return keras.Model(inputs, x, name="vgg16")
    x = keras.layers.MaxPooling2D(2, name=f"block{block}_pool", dtype=dtype)(x)
  return keras.Model(inputs, x, name="vgg16")


def load_weights(path: str) -> dict[str, np.ndarray]:
  """Reads an npz into memory."""
  with np.load(path) as arrays:
    return {name: arrays[name] for name in arrays.files}


def noise(seed: int, *shape: int) -> np.ndarray:
  """Returns float32 Gaussian start noise."""
  return np.random.default_rng(seed).normal(0, NOISE_LEVEL, shape).astype(np.float32)


def memory_mib(field: str = "VmHWM") -> float:
  """Returns this process' memory: VmHWM, the most that it ever held, or VmRSS, what it holds now.

  `getrusage` would not do: its peak is handed down from the program that started this one.
  """
  for line in pathlib.Path("/proc/self/status").read_text().splitlines():
    if line.startswith(f"{field}:"):
      return int(line.split()[1]) / 1024
  return float("nan")


class Others:
  """Tells what other programs used of the cores that this process may use."""

  def __init__(self):
    self._cores = os.sched_getaffinity(0)
    self._before = self._used()

  def _used(self) -> float:
    busy = 0
    for line in pathlib.Path("/proc/stat").read_text().splitlines():
      name, *ticks = line.split()
      if name.startswith("cpu") and name[3:].isdigit() and int(name[3:]) in self._cores:
        user, nice, system, _, _, *rest = map(int, ticks[:8])  # Idle and waiting are no work.
        busy += user + nice + system + sum(rest)
    return busy / os.sysconf("SC_CLK_TCK") - time.process_time()

  def seconds(self) -> float:
    """Returns the core-seconds that others used since the last call, to about 0.01 s a core."""
    before, self._before = self._before, self._used()
    return max(self._before - before, 0.0)


class Clock:
  """Times steps, standing still while a picture of the state is put away.

  Args:
    steps: how many there will be.
    every: steps between pictures, the first and the last are always kept; 0 keeps none.
    path: pictures are saved as PATH.STEP.npy.
    keep: gives the images of a step, (rows, H, W, 3).

  Attributes:
    seconds: of each step.
    others: core-seconds that other programs used meanwhile.
  """

  def __init__(self, steps: int, every: int = 0, path: str = "", keep: Callable[[], np.ndarray] | None = None):
    self._steps, self._every, self._path, self._keep = steps, every, path, keep
    self._watch = Others()
    self.seconds: list[float] = []
    self.others: list[float] = []
    self._last = time.perf_counter()

  def start(self) -> None:
    """Begins the first step; it has the library's own preparation and compilation in it."""
    self._watch.seconds()
    self._last = time.perf_counter()

  def tick(self) -> None:
    """Ends a step."""
    self.seconds.append(time.perf_counter() - self._last)
    self.others.append(self._watch.seconds())
    step = len(self.seconds) - 1
    if self._every and self._keep and (step % self._every == 0 or step == self._steps - 1):
      np.save(f"{self._path}.{step}.npy", np.asarray(self._keep(), np.float32))
    self.start()


def clock_of(order: Mapping[str, Any], keep: Callable[[], np.ndarray]) -> Clock:
  """Returns the clock that an order asks for."""
  return Clock(order["steps"], order.get("every", 0), order["result"], keep)


def answer(clock: Clock, canvas: int, dtype: str, *packages: str) -> dict[str, Any]:
  """Returns what a worker says of a search."""
  return {"seconds": clock.seconds, "others": clock.others, "canvas": canvas, "dtype": dtype, "versions": versions(*packages)}


def versions(*packages: str) -> str:
  """Returns "name version, ..." of packages that are installed."""
  from importlib import metadata

  found = []
  for package in packages:
    try:
      found.append(f"{package} {metadata.version(package)}")
    except metadata.PackageNotFoundError:
      continue
  return ", ".join(found)


def run(tasks: Mapping[str, Callable[[dict[str, Any]], dict[str, Any]]], argv: Sequence[str] = ()) -> None:
  """Carries out the order that the command line names, and writes what the task returns with the peak memory."""
  path = (argv or sys.argv)[1]
  order = json.loads(pathlib.Path(path).read_text())
  answer = tasks[order["task"]](order)
  answer["peak_memory_mib"] = memory_mib()
  # What is there is whole: the reader waits for the end of this program.
  pathlib.Path(order["result"]).write_text(json.dumps(answer))
  sys.stdout.flush()
  # TensorFlow takes its time to tidy up, and there is nothing to tidy.
  os._exit(0)
