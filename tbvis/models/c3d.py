"""C3D (Tran, Bourdev, Fergus, Torresani & Paluri, ICCV 2015): one network of 3-D convolutions over the frames of a film, without flow."""

from __future__ import annotations

import itertools
from typing import Any

import keras

from tbvis.models.tower import Tower, check_arguments
from tbvis.models.two_stream import APPEARANCE_CHANNELS, scaled_channels

STREAM = "appearance"
# Each block's convolutions, channels at width 1, and the window of the pool behind it: (frames, height, width).
BLOCKS = (("a", 64, (1, 2, 2)), ("a", 128, (2, 2, 2)), ("ab", 256, (2, 2, 2)), ("ab", 512, (2, 2, 2)), ("ab", 512, (2, 2, 2)))
_LEAST_SIZE, _LEAST_CHUNKS = 32, 2


def c3d(
  classes: int,
  chunks: int = 16,
  *,
  width: float = 1.0,
  input_size: int = 112,
  fc_units: int = 4096,
  batch_norm: bool = False,
  dropout: float = 0.5,
  dtype: str = "float32",
  seed: int = 0,
) -> keras.Model:
  """Builds C3D as a Keras Functional model.

  Every convolution is 3x3x3 and linear, its ReLU a layer of its own. Layers have the paper's names with _appearance behind. Pools
  round up, as in the released network: 112 pixels leave 4 before fc6, and any number of frames will do. fc6 and fc7 are
  convolutions, so that larger inputs give a map of scores, whose mean over places is returned.

  Args:
    classes: number of classes.
    chunks: frames seen together, at least 2; published with 16.
    width: factor on the channels of every convolution.
    input_size: side in pixels of the training crop, at least 32.
    fc_units: channels of fc6 and fc7.
    batch_norm: whether a normalisation stands behind every convolution below fc6. The published network has none; with them it
      learns from nothing.
    dropout: rate after relu6 and relu7.
    dtype: Keras dtype policy, such as "float32" or "mixed_bfloat16".
    seed: seed of the initial weights.

  Returns:
    A model from {"appearance": (N, chunks, H, W, 3)} to {"scores_appearance"}: float32 (N, classes), before the softmax.

  Raises:
    ValueError: for an argument out of its range.

  >>> model = c3d(6, 8, width=0.0625, input_size=64, fc_units=8)
  >>> model.get_layer("conv5b_appearance").filters, model.get_layer("fc6_appearance").kernel_size
  (32, (1, 2, 2))
  """
  check_arguments(_LEAST_SIZE, classes=classes, chunks=chunks, width=width, input_size=input_size)
  if chunks < _LEAST_CHUNKS or fc_units < 1:
    raise ValueError(
      f"Invalid value for argument. Expected chunks >= {_LEAST_CHUNKS} and fc_units >= 1. Received: chunks={chunks}, fc_units={fc_units}"
    )
  seeds = itertools.count(seed * 1000)
  tower = Tower(STREAM, width, dtype, seeds)

  def conv(x: Any, name: str, filters: int, kernel: int | tuple[int, ...], padding: str) -> Any:
    return keras.layers.Conv3D(filters, kernel, padding=padding, kernel_initializer=tower.initializer(), **tower.named(name))(x)

  film = keras.Input((chunks, None, None, APPEARANCE_CHANNELS), name=STREAM, dtype="float32")
  x = film
  left: tuple[int, ...] = (chunks, input_size, input_size)
  for block, (convolutions, filters, window) in enumerate(BLOCKS, start=1):
    for letter in convolutions:
      x = conv(x, f"conv{block}{letter}", scaled_channels(filters, width), 3, "same")
      if batch_norm:
        x = tower.batch_norm(x, f"bn{block}{letter}")
      x = tower.relu(x, f"relu{block}{letter}")
    # Of windows as long as their distance, "same" is Caffe's rounding up: what is beyond the map never wins.
    x = keras.layers.MaxPooling3D(window, padding="same", **tower.named(f"pool{block}"))(x)
    left = tuple(-(-size // step) for size, step in zip(left, window, strict=True))
  for number, kernel in (("6", left), ("7", (1, 1, 1))):
    x = tower.relu(conv(x, f"fc{number}", fc_units, kernel, "valid"), f"relu{number}")
    x = keras.layers.Dropout(dropout, seed=next(seeds), **tower.named(f"dropout{number}"))(x)
  # As the two-stream networks' classifiers start.
  start = keras.initializers.RandomNormal(stddev=0.01, seed=next(seeds))
  x = keras.layers.Conv3D(classes, 1, kernel_initializer=start, **tower.named("prediction"))(x)
  scores = keras.layers.GlobalAveragePooling3D(name=f"scores_{STREAM}", dtype="float32")(x)
  return keras.Model({STREAM: film}, {f"scores_{STREAM}": scores}, name="c3d")
