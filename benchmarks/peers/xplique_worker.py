"""Worker: xplique's `optimize` with its own defaults, on images of the network's input size."""

from __future__ import annotations

from typing import Any

import common
import keras
import numpy as np
import tensorflow as tf
from xplique import features_visualizations
from xplique.features_visualizations import preconditioning


def _shown(side: int) -> int:
  """Returns how much of an image the standard transforms leave: they pad by 4 parts of 16, crop 16 parts, shrink, and crop 2 more."""
  part = side // 16
  return round(side - 8 * part - 2 * part / 0.94)


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
    """Returns the middle of the images as the library's transforms show it to the network, without what is random of them."""
    scale = preconditioning.get_fft_scale(side, side, decay_power=0.85)
    found = preconditioning.fft_to_rgb(shape, Timed.last, scale)
    found = preconditioning.to_valid_rgb(found, "sigmoid", common.PIXEL_RANGE)
    return tf.image.resize(tf.image.central_crop(found, _shown(side) / side), (side, side)).numpy()

  clock = common.clock_of(order, images)
  clock.start()
  objective = features_visualizations.Objective.channel(net, order["layer"], list(order["rows"]))
  features_visualizations.optimize(
    objective, optimizer=Timed(0.05), nb_steps=order["steps"], values_range=common.PIXEL_RANGE, custom_shape=(side, side)
  )
  return common.answer(clock, side, "float32", "xplique", "tensorflow-cpu", "tensorflow", "keras")


if __name__ == "__main__":
  common.run({"ascend": ascend})
