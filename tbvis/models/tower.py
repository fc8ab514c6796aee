"""What the towers of several networks are built of: a convolution with its normalisation and its ReLU, heads, inputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import keras

from tbvis.models.two_stream import INPUT_SPREAD, FoldChunks, UnfoldChunks, scaled_channels

# Of every normalisation: that of the published networks, not Keras' 1e-3 (METHOD 1.6, 4.2). Weights of others are made for it.
EPSILON = 1e-5
# Caffe's and PyTorch's; Keras' own, 0.99, is for longer training than a fine-tuning is.
_MOMENTUM = 0.9


class Tower:
  """Makes the layers of one stream under their published names, with the stream behind each.

  Args:
    stream: "appearance" or "motion".
    width: factor on the channels.
    dtype: Keras dtype policy.
    seeds: of initial weights, one after another.
    partial_batch_norm: whether every normalisation but the first keeps its statistics and factors in training.
  """

  def __init__(self, stream: str, width: float, dtype: str, seeds: Iterator[int], partial_batch_norm: bool = False):
    self.stream, self.width, self.dtype, self._seeds = stream, width, dtype, seeds
    self._partial, self._convolutions, self._normalisations = partial_batch_norm, 0, 0

  def named(self, name: str) -> dict[str, Any]:
    """Returns the arguments that every layer is given."""
    return {"name": f"{name}_{self.stream}", "dtype": self.dtype}

  def conv(
    self, x: Any, name: str, filters: int, kernel: int | tuple[int, int] = 1, *, stride: int = 1, padding: int | None = None, bias: bool
  ) -> Any:
    """Returns a linear convolution.

    Args:
      x: the map before it.
      name: published.
      filters: at width 1.
      kernel: side, or (height, width).
      stride: in pixels of `x`.
      padding: zeros on every side; by default half the kernel, so that at stride 1 the map keeps its size.
      bias: whether it has one.
    """
    sides = (kernel, kernel) if isinstance(kernel, int) else kernel
    around = tuple(side // 2 if padding is None else padding for side in sides)
    # Keras' "same" has other windows at a stride: it pads behind first.
    same = stride == 1 and around == tuple(side // 2 for side in sides)
    if not same and any(around):
      x = keras.layers.ZeroPadding2D(around, **self.named(f"{name}_pad"))(x)
    return keras.layers.Conv2D(
      scaled_channels(filters, self.width), sides, stride, "same" if same else "valid", use_bias=bias,
      kernel_initializer=self.initializer(), **self.named(name),
    )(x)  # fmt: skip

  def initializer(self) -> keras.initializers.Initializer:
    """Returns He et al.'s start of a kernel (2015); the first one is divided by the spread of the inputs."""
    spread = 1.0 if self._convolutions else INPUT_SPREAD[self.stream]
    self._convolutions += 1
    return keras.initializers.VarianceScaling(2.0 / spread**2, "fan_in", "truncated_normal", seed=next(self._seeds))

  def batch_norm(self, x: Any, name: str) -> Any:
    """Returns the normalised map."""
    trained = not (self._partial and self._normalisations)
    self._normalisations += 1
    return keras.layers.BatchNormalization(epsilon=EPSILON, momentum=_MOMENTUM, trainable=trained, **self.named(name))(x)

  def relu(self, x: Any, name: str) -> Any:
    """Returns max(x, 0)."""
    return keras.layers.ReLU(**self.named(name))(x)

  def padded_average(self, x: Any, name: str) -> Any:
    """Returns means of 3x3 windows that count the zeros around the map, as Caffe's and PyTorch's do; Keras' "same" leaves them out."""
    x = keras.layers.ZeroPadding2D(1, **self.named(f"{name}_pad"))(x)
    return keras.layers.AveragePooling2D(3, 1, **self.named(name))(x)

  def scores(self, x: Any, classes: int, chunks: int, dropout: float, suffix: str, output: str) -> Any:
    """Returns scores before the softmax: a dense layer at each place, and the mean over places and chunks (TSN's consensus).

    Args:
      x: the averaged map (N * chunks, h, w, channels).
      classes: number of classes.
      chunks: snippets a clip.
      dropout: rate before the dense layer.
      suffix: behind the layers' names.
      output: name of the scores.
    """
    x = keras.layers.Dropout(dropout, seed=next(self._seeds), name=f"dropout{suffix}", dtype=self.dtype)(x)
    # As TSN's classifiers start (METHOD 4.2).
    start = keras.initializers.RandomNormal(stddev=0.001, seed=next(self._seeds))
    x = keras.layers.Conv2D(classes, 1, kernel_initializer=start, name=f"prediction{suffix}", dtype=self.dtype)(x)
    if chunks == 1:
      return keras.layers.GlobalAveragePooling2D(name=output, dtype="float32")(x)
    x = UnfoldChunks(chunks, name=f"unfold_prediction{suffix}", dtype=self.dtype)(x)
    return keras.layers.GlobalAveragePooling3D(name=output, dtype="float32")(x)


def stream_inputs(channels: Mapping[str, int], chunks: int, dtype: str) -> tuple[dict[str, Any], dict[str, Any]]:
  """Returns the inputs of a network and the maps (N * chunks, H, W, channels) that its towers take, by stream.

  Args:
    channels: of the inputs, by stream.
    chunks: snippets seen together; above 1 the inputs have an axis of them after N.
    dtype: Keras dtype policy.
  """
  time = (chunks,) if chunks > 1 else ()
  inputs = {name: keras.Input((*time, None, None, count), name=name, dtype="float32") for name, count in channels.items()}
  folded = {name: FoldChunks(name=f"fold_{name}", dtype=dtype)(x) if time else x for name, x in inputs.items()}
  return inputs, folded


def check_arguments(least_size: int, **given: Any) -> None:
  """Checks what all builders take.

  Args:
    least_size: smallest `input_size`.
    **given: "classes", "chunks", "width", "input_size".

  Raises:
    ValueError: naming the argument that is out of its range.
  """
  for name, least in (("classes", 1), ("chunks", 1), ("input_size", least_size)):
    if given[name] < least:
      raise ValueError(f"Invalid value for argument `{name}`. Expected at least {least}. Received: {name}={given[name]}")
  if given["width"] <= 0:
    raise ValueError(f"Invalid value for argument `width`. Expected more than 0. Received: width={given['width']}")
