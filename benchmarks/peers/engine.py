"""Worker: this project's `tbvis.maximize`, in the number format that is best on this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import contextlib
import time
from typing import Any

import common
import keras
import numpy as np
import tensorflow as tf

import tbvis
from tbvis.maximization import ascent
from tbvis.maximization import config as config_lib
from tbvis.models import checkpoint, precision


def _network(order: dict[str, Any]) -> tuple[keras.Model, str]:
  """Returns the whole network of an order and its dtype policy."""
  dtype = precision.resolve_dtype(order.get("dtype", "auto"))
  if order["network"] == "vgg16":
    return common.vgg16(common.load_weights(order["weights"]), dtype=dtype), dtype
  return checkpoint.BUILDERS[order["network"]](**order["arguments"], dtype=dtype, seed=order["seed"]), dtype


def _maximize(
  model: keras.Model, order: dict[str, Any], units: list[int], steps: int, on_step: Callable[[Any], None] | None = None, **arguments: Any
) -> list[Any]:
  """Calls the engine: units (0-based) with every chi of the order, in batches of the order's rows."""
  config = config_lib.MaximizationConfig(
    steps=steps, canvas=order["canvas"], canvas_factor=order["canvas_factor"], batch_size=arguments.pop("batch_size", len(order["rows"]))
  )
  layer = order["layer"]
  a_hat = {layer: np.full(model.get_layer(layer).filters, order["a_hat"], np.float32)}
  names = [f"{layer}/f{unit + 1:03d}" for unit in units]
  return tbvis.maximize(model, names, chi=order["chi"], config=config, a_hat=a_hat, on_step=on_step, **arguments)


@contextlib.contextmanager
def _last_step() -> Iterator[list[Any]]:
  """Keeps what each step was given and the inputs that it returned; the engine itself gives stimuli at the end only."""
  last: list[Any] = []
  compiled = ascent.Ascent._compile

  def watched(self: Any, parameters: Any) -> dict[str, Any]:
    found = compiled(self, parameters)

    def noted(*values: Any) -> Any:
      state = found["step"](*values)
      last[:] = [self, state[0], values]
      return state

    return {**found, "step": noted}

  ascent.Ascent._compile = watched
  try:
    yield last
  finally:
    ascent.Ascent._compile = compiled


def _images(last: list[Any]) -> np.ndarray:
  """Returns the stimuli (rows, H, W, 3) of an image network as they are, without the border of the shifts."""
  engine, inputs, _ = last
  (x,) = inputs.values()
  margin = (engine.shifts - 1) // 2
  inside = slice(margin, margin + engine.canvas)
  return x.numpy()[:, inside, inside].reshape(len(x), engine.canvas, engine.canvas, -1)


def _side(stimuli: list[Any]) -> int:
  return int(stimuli[0].config["canvas_pixels"])


def _units(order: dict[str, Any]) -> list[int]:
  return list(dict.fromkeys(order["rows"]))


def ascend(order: dict[str, Any]) -> dict[str, Any]:
  """Runs the steps of an order."""
  model, dtype = _network(order)
  with _last_step() as last:
    clock = common.clock_of(order, lambda: _images(last))
    clock.start()
    stimuli = _maximize(model, order, _units(order), order["steps"], lambda _: clock.tick())
  return common.answer(clock, _side(stimuli), dtype.removeprefix("mixed_"), "tensorflow-cpu", "tensorflow", "keras")


def overhead(order: dict[str, Any]) -> dict[str, Any]:
  """Times in turn whole steps, the bare network there and back, and the network as the search has it, with shifts and leak."""
  model, _ = _network(order)
  layer, side, channels = order["layer"], order["canvas"], tf.constant(order["rows"])
  net = keras.Model(model.inputs, model.get_layer(layer).output)
  inputs = [tf.constant(common.noise(index, len(order["rows"]), side, side, x.shape[-1])) for index, x in enumerate(net.inputs)]

  @tf.function
  def alone() -> tuple[tf.Tensor, Any]:
    with tf.GradientTape(watch_accessed_variables=False) as tape:
      tape.watch(inputs)
      maps = net(inputs if len(inputs) > 1 else inputs[0], training=False)
      values = tf.gather(maps[:, maps.shape[1] // 2, maps.shape[2] // 2], channels, axis=1, batch_dims=1)
    return values, tape.gradient(values, inputs)

  kinds = ("step", "network", "leaky")
  times: dict[str, dict[str, list[float]]] = {kind: {"seconds": [], "others": []} for kind in kinds}
  watch, began = common.Others(), 0.0

  def lap(kind: str) -> None:
    nonlocal began
    times[kind]["seconds"].append(time.perf_counter() - began)
    times[kind]["others"].append(watch.seconds())
    began = time.perf_counter()

  with _last_step() as last:

    def timed(_: Any) -> None:
      nonlocal began
      lap("step")
      alone()
      lap("network")
      engine, searched, (_, _, weights, _, parameters, _, draw, *_) = last
      began = time.perf_counter()
      engine._values_and_gradient(searched, draw, parameters, tf.exp(weights))
      lap("leaky")

    began = time.perf_counter()
    _maximize(model, order, _units(order), order["steps"], timed)
  return times


def rows(order: dict[str, Any]) -> dict[str, Any]:
  """Times batches of several sizes in turn."""
  model, _ = _network(order)
  found: dict[int, list[dict[str, list[float]]]] = {count: [] for count in order["counts"]}
  for _ in range(order["rounds"]):
    for count in order["counts"]:
      clock = common.Clock(order["steps"])
      clock.start()
      _maximize(model, order, list(range(count)), order["steps"], lambda _, clock=clock: clock.tick(), batch_size=count)
      found[count].append({"seconds": clock.seconds, "others": clock.others})
  return {str(count): clocks for count, clocks in found.items()}


def growth(order: dict[str, Any]) -> dict[str, Any]:
  """Searches many units in one sweep, and tells the memory after each without the stimuli that are handed out."""
  model, _ = _network(order)
  total = model.get_layer(order["layer"]).filters
  handed, memory = 0.0, []

  def note(stimulus: Any) -> None:
    nonlocal handed
    handed += sum(x.nbytes for x in (stimulus.appearance, stimulus.motion) if x is not None) / 2**20
    memory.append(common.memory_mib("VmRSS") - handed)

  # A layer has fewer units than are asked for: it is swept again, with another seed.
  wanted, seed = order["growth_units"], 0
  while wanted > 0:
    count = min(wanted, total)
    _maximize(model, order, list(range(count)), order["steps"], on_stimulus=note, seed=seed)
    wanted, seed = wanted - count, seed + 1
  return {"memory_mib": memory}


if __name__ == "__main__":
  common.run({"ascend": ascend, "overhead": overhead, "rows": rows, "growth": growth})
