"""Worker: the least that any engine has to do. Pixels, Adam, the network up to the layer in float32, one tf.function.

No regulariser, no transform, no gradient of weights, nothing logged.
"""

from __future__ import annotations

from typing import Any

import common
import keras
import numpy as np
import tensorflow as tf


def cut(order: dict[str, Any]) -> tuple[Any, list[tuple[int, ...]]]:
  """Returns the network of an order up to its layer, before any ReLU, and the shapes of the inputs without rows."""
  side = order["canvas"]
  if order["network"] == "vgg16":
    return common.vgg16(common.load_weights(order["weights"]), side, linear=order["layer"]), [(side, side, 3)]
  from tbvis.models import checkpoint

  model = checkpoint.BUILDERS[order["network"]](**order["arguments"], dtype="float32", seed=order["seed"])
  net = keras.Model(model.inputs, model.get_layer(order["layer"]).output)
  return net, [tuple(length or side for length in x.shape[1:]) for x in net.inputs]


def ascend(order: dict[str, Any]) -> dict[str, Any]:
  """Runs the steps of an order."""
  net, shapes = cut(order)
  rows = len(order["rows"])
  inputs = [tf.Variable(common.noise(index, rows, *shape)) for index, shape in enumerate(shapes)]
  moments = [(tf.Variable(tf.zeros_like(x)), tf.Variable(tf.zeros_like(x))) for x in inputs]
  count = tf.Variable(0.0)
  chosen = np.array([[index, channel] for index, channel in enumerate(order["rows"])])

  @tf.function
  def step() -> None:
    with tf.GradientTape(watch_accessed_variables=False) as tape:
      for x in inputs:
        tape.watch(x)
      maps = net(inputs if len(inputs) > 1 else inputs[0], training=False)
      # Of a network over chunks every one of them counts.
      maps = tf.reduce_sum(tf.reshape(maps, (rows, -1, *maps.shape[-3:])), axis=1)
      centre = maps[:, maps.shape[1] // 2, maps.shape[2] // 2]
      value = tf.reduce_sum(tf.gather_nd(centre, chosen))
    count.assign_add(1.0)
    for x, gradient, (mean, square) in zip(inputs, tape.gradient(value, inputs), moments, strict=True):
      mean.assign(0.9 * mean + 0.1 * gradient)
      square.assign(0.9 * square + 0.1 * gradient**2)
      root = tf.sqrt(square / (1 - 0.9**count)) + 1e-14
      x.assign_add(common.LEARNING_RATE * mean / (1 - 0.9**count) / root)

  clock = common.clock_of(order, lambda: inputs[0].numpy())
  clock.start()
  for _ in range(order["steps"]):
    step()
    clock.tick()
  return common.answer(clock, order["canvas"], "float32", "tensorflow-cpu", "tensorflow", "keras")


if __name__ == "__main__":
  common.run({"ascend": ascend})
