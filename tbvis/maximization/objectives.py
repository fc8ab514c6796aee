"""What is maximised: the value of one channel a row, before its ReLU, at the centre of its map or over all of it."""

from __future__ import annotations

import tensorflow as tf

from tbvis.errors import unknown_name
from tbvis.maximization import config


def unit_values(maps: tf.Tensor, channels: tf.Tensor, location: str = "centre") -> tf.Tensor:
  """Returns the value that each row maximises; rows never mix.

  Args:
    maps: (rows, height, width, units), outputs of a layer.
    channels: int (rows,), the unit of each row.
    location: "centre", "mean" or "sum" over locations.

  Returns:
    float32 (rows,).

  >>> maps = tf.reshape(tf.range(18.0), (1, 3, 3, 2))
  >>> float(unit_values(maps, tf.constant([1]))[0]), float(unit_values(maps, tf.constant([0]), "sum")[0])
  (9.0, 72.0)
  """
  if location not in config.LOCATIONS:
    raise unknown_name("location", location, config.LOCATIONS)
  if location == "centre":
    height, width = maps.shape[1], maps.shape[2]
    maps = maps[:, height // 2 : height // 2 + 1, width // 2 : width // 2 + 1]
  values = _pick(maps, channels)
  return tf.reduce_mean(values, axis=(1, 2)) if location == "mean" else tf.reduce_sum(values, axis=(1, 2))


def _pick(maps: tf.Tensor, channels: tf.Tensor) -> tf.Tensor:
  """Returns float32 (rows, height, width): each row's own channel."""
  chosen = tf.one_hot(channels, maps.shape[3], dtype=maps.dtype)
  return tf.cast(tf.einsum("nhwc,nc->nhw", maps, chosen), tf.float32)
