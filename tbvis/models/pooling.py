"""Pooling as Caffe does it: sizes rounded up, which Keras' "valid" and "same" do not know."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras


@keras.saving.register_keras_serializable("tbvis")
class CeilMaxPooling2D(keras.layers.MaxPooling2D):
  """Maxima of square windows without padding before them, as many as Caffe (and PyTorch's ceil_mode) has: sizes are rounded up.

  What the last windows see beyond the map never wins, whatever the sign of the values.

  Args:
    pool_size: side of the windows.
    strides: distance of the windows.
    beyond: how far a window may reach behind the last row and column; by default as Caffe has it, strides - 1. pool_size - 1 has
      as many windows as a convolution of that side with half its side as padding, where the maps of both are joined.
    **kwargs: of keras.layers.Layer.
  """

  def __init__(self, pool_size: int, strides: int, beyond: int | None = None, **kwargs: Any):
    super().__init__(pool_size, strides, "valid", data_format="channels_last", **kwargs)
    self.beyond = strides - 1 if beyond is None else beyond

  def call(self, inputs: Any) -> Any:
    """Returns the maxima."""
    behind = (0, self.beyond)
    return super().call(keras.ops.pad(inputs, ((0, 0), behind, behind, (0, 0)), constant_values=float("-inf")))

  def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[int | None, ...]:
    """Returns the shape after pooling."""
    rows, height, width, channels = input_shape
    padded = [None if side is None else side + self.beyond for side in (height, width)]
    return super().compute_output_shape((rows, *padded, channels))

  def get_config(self) -> dict[str, Any]:
    """Returns the arguments of the constructor."""
    base = {name: value for name, value in super().get_config().items() if name not in ("padding", "data_format")}
    return {**base, "pool_size": self.pool_size[0], "strides": self.strides[0], "beyond": self.beyond}


def windows(size: int, kernel: int, stride: int, padding: int = 0) -> int:
  """Returns how many windows fit along an axis.

  Args:
    size: of the axis, pixels.
    kernel: of a window, pixels.
    stride: distance of windows, pixels.
    padding: before and behind together, pixels; stride - 1 for a pool that rounds up.

  >>> [windows(size, 3, 2, 1) for size in (112, 56, 28, 14)]
  [56, 28, 14, 7]
  """
  return (size + padding - kernel) // stride + 1
