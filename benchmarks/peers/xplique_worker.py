"""Worker: xplique's `optimize` with its own defaults, on images of the network's input size."""

from __future__ import annotations

from typing import Any

import common
import keras
import numpy as np
from xplique import features_visualizations
from xplique.features_visualizations import preconditioning


def ascend(order: dict[str, Any]) -> dict[str, Any]:
  """Runs the steps of an order: all units in one batch, the mean of each channel after its ReLU."""
  side = order["canvas"]
  net = common.vgg16(common.load_weights(order["weights"]), side)
  shape = (len(order["rows"]), side, side, 3)

  class Timed(keras.optimizers.Adam):
    """The library's default optimiser; it tells the clock of each step, which nothing else in the library does."""

    last: Any = None

    def apply_gradients(self, grads_and_vars: Any, **kwargs: Any) -> Any:
      pairs = list(grads_and_vars)
      done = super().apply_gradients(pairs, **kwargs)
      Timed.last = pairs[0][1]
      clock.tick()
      return done

  def images() -> np.ndarray:
    scale = preconditioning.get_fft_scale(side, side, decay_power=0.85)
    found = preconditioning.fft_to_rgb(shape, Timed.last, scale)
    return preconditioning.to_valid_rgb(found, "sigmoid", common.PIXEL_RANGE).numpy()

  clock = common.clock_of(order, images)
  clock.start()
  objective = features_visualizations.Objective.channel(net, order["layer"], list(order["rows"]))
  features_visualizations.optimize(
    objective, optimizer=Timed(0.05), nb_steps=order["steps"], values_range=common.PIXEL_RANGE, custom_shape=(side, side)
  )
  return common.answer(clock, side, "float32", "xplique", "tensorflow-cpu", "tensorflow", "keras")


if __name__ == "__main__":
  common.run({"ascend": ascend})
