"""The machine as a benchmark of several libraries uses it: a process for each, when others are quiet, and one measure for all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import json
import os
import pathlib
import subprocess
import sys
import time
from typing import Any

import numpy as np
from peers import common, environments

from tbvis.errors import UsageError

_ROOT = pathlib.Path(__file__).resolve().parents[1]
_WORKERS = pathlib.Path(__file__).resolve().parent / "peers"
# Seconds of a look at what other programs do.
_GLANCE = 0.5


class Machine:
  """Runs workers, each when other programs leave the cores alone.

  Args:
    folder: for orders and answers.
    pythons: interpreters by library, this one for those that have none.
    patience: seconds to wait at most for quiet.
  """

  def __init__(self, folder: pathlib.Path, pythons: Mapping[str, pathlib.Path], patience: float):
    self._folder, self._pythons, self._patience = folder, pythons, patience
    self._count = 0

  def await_quiet(self) -> None:
    """Waits until other programs leave the cores alone, as long as patience lasts."""
    watch, end = common.Others(), time.monotonic() + self._patience
    while time.monotonic() < end:
      watch.seconds()
      time.sleep(_GLANCE)
      if watch.seconds() < 0.1 * _GLANCE:
        return

  def run(self, library: str, order: dict[str, Any]) -> dict[str, Any]:
    """Lets a worker carry out an order; the answer has the path of the pictures as "result".

    Raises:
      UsageError: if it fails, with the last line that it wrote.
    """
    self._count += 1
    path, result = self._folder / f"{self._count}_order.json", self._folder / f"{self._count}_result.json"
    path.write_text(json.dumps({**order, "result": str(result)}))
    peer = next((p for p in environments.PEERS if p.name == library), None)
    worker = peer.worker if peer else {"tbvis": "engine.py", "floor": "floor.py"}[library]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1", "KERAS_BACKEND": "tensorflow"}
    environment["PYTHONPATH"] = "" if peer else os.pathsep.join([str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    self.await_quiet()
    command = [str(self._pythons.get(library, sys.executable)), str(_WORKERS / worker), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode or not result.exists():
      lines = [line for line in done.stderr.splitlines() if line.strip()]
      raise UsageError(f"{library} failed at {order['layer']}: {lines[-1].strip() if lines else f'status {done.returncode}'}")
    return {**json.loads(result.read_text()), "result": str(result)}


def matmul_peak(dtype: str, seconds: float, sizes: Sequence[int] = (1024, 2048)) -> float:
  """Returns the operations a second of the fastest of many matrix products of several sizes."""
  import tensorflow as tf

  product, highest = tf.function(lambda a, b: tf.matmul(a, b)), 0.0
  for size in sizes:
    a, b = (tf.cast(tf.random.stateless_normal((size, size), (seed, 0)), dtype) for seed in (0, 1))
    product(a, b)
    end = time.perf_counter() + seconds / len(sizes)
    while time.perf_counter() < end:
      began = time.perf_counter()
      product(a, b)
      highest = max(highest, 2 * size**3 / (time.perf_counter() - began))
  return highest


class Scorer:
  """The float32 network of one layer that scores every library's images alike."""

  def __init__(self, weights: Mapping[str, np.ndarray], layer: str, units: Sequence[int]):
    import tensorflow as tf

    net = common.vgg16(weights, linear=layer)

    @tf.function(reduce_retracing=True)
    def values(images: tf.Tensor) -> tf.Tensor:
      maps = net(tf.clip_by_value(images, *common.PIXEL_RANGE), training=False)
      return tf.gather(tf.reduce_max(maps, axis=(1, 2)), list(units), axis=1)

    self._values = values

  def __call__(self, images: np.ndarray) -> float:
    """Returns the mean score of images (rows, H, W, 3), a unit each."""
    return float(np.mean(np.diagonal(self._values(np.asarray(images, np.float32)).numpy())))

  def on_noise(self, side: int, count: int = 4) -> np.ndarray:
    """Returns the largest value of each unit on images of noise."""
    return self._values(common.noise(0, count, side, side, 3)).numpy().max(axis=0)
