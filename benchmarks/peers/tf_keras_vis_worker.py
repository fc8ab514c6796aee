"""Worker: tf-keras-vis' `ActivationMaximization` with its own defaults, on images of the network's input size."""

from __future__ import annotations

from typing import Any

import common
import numpy as np
from tf_keras_vis import activation_maximization
from tf_keras_vis.activation_maximization import callbacks
from tf_keras_vis.utils import model_modifiers, scores


def ascend(order: dict[str, Any]) -> dict[str, Any]:
  """Runs the steps of an order: all units in one batch, the mean of each channel before its ReLU, as the library's guide has it."""
  side = order["canvas"]
  net = common.vgg16(common.load_weights(order["weights"]), side)
  last: list[np.ndarray] = []

  class Timed(callbacks.Callback):
    """Tells the clock of each step."""

    def __call__(self, step: int, values: Any, *args: Any, **kwargs: Any) -> None:
      last[:] = [values[0]]
      clock.tick()

  clock = common.clock_of(order, lambda: np.asarray(last[0]))
  low, high = common.PIXEL_RANGE
  start = np.random.default_rng(0).uniform(low, high, (len(order["rows"]), side, side, 3)).astype(np.float32)
  clock.start()
  modifiers = [model_modifiers.ExtractIntermediateLayer(order["layer"]), model_modifiers.ReplaceToLinear()]
  search = activation_maximization.ActivationMaximization(net, model_modifier=modifiers, clone=True)
  search(
    scores.CategoricalScore(list(order["rows"])),
    seed_input=start,
    input_range=common.PIXEL_RANGE,
    steps=order["steps"],
    callbacks=[Timed()],
  )
  return common.answer(clock, side, "float32", "tf-keras-vis", "tensorflow-cpu", "tensorflow", "keras")


if __name__ == "__main__":
  common.run({"ascend": ascend})
