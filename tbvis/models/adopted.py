"""Networks of others as this project keeps them: what stands between our inputs and theirs, and how they are built again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import re
from typing import Any

import keras

# (N, H, W, C); a film has an axis more.
PICTURE_RANK = 4
# As Keras says it, of its own format and of HDF5.
_MISSING = re.compile(r"(?:Could not locate \w+ |Unknown layer: )'([^']+)'")


@keras.saving.register_keras_serializable("tbvis")
class CentralCrop(keras.layers.Layer):
  """The middle of frames that are larger than a network takes; smaller ones are left as they are, for layers that need no more.

  Args:
    height: pixels of (..., height, width, channels) that are kept.
    width: likewise.
    **kwargs: of keras.layers.Layer.
  """

  def __init__(self, height: int, width: int, **kwargs: Any):
    super().__init__(**kwargs)
    self.height, self.width = int(height), int(width)

  def call(self, inputs: Any) -> Any:
    """Returns the middle."""
    shape = keras.ops.shape(inputs)
    top, left = (_margin(size, kept) for size, kept in ((shape[-3], self.height), (shape[-2], self.width)))
    cut = inputs[..., top : top + self.height, left : left + self.width, :]
    if isinstance(shape[-3], int) and isinstance(shape[-2], int):
      return cut
    # Sizes known at run time alone are those of whole frames, which are large enough; layers behind may ask for a size.
    return keras.ops.reshape(cut, (-1, *inputs.shape[1:-3], self.height, self.width, inputs.shape[-1]))

  def margins(self, height: int, width: int) -> tuple[int, int]:
    """Returns how many pixels above and left of the middle of a frame are cut off."""
    return _margin(height, self.height), _margin(width, self.width)

  def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[int | None, ...]:
    """Returns the shape of a frame that is large enough."""
    return (*input_shape[:-3], self.height, self.width, input_shape[-1])

  def get_config(self) -> dict[str, Any]:
    """Returns the arguments of the constructor."""
    return {**super().get_config(), "height": self.height, "width": self.width}


def _margin(size: Any, kept: int) -> Any:
  return max(size - kept, 0) // 2 if isinstance(size, int) else keras.ops.maximum(size - kept, 0) // 2


@keras.saving.register_keras_serializable("tbvis")
class StackToFrames(keras.layers.Layer):
  """Frames that lie in the channels as an axis of their own: (N, H, W, frames * C) -> (N, frames, H, W, C).

  Args:
    frames: how many there are.
    **kwargs: of keras.layers.Layer.
  """

  def __init__(self, frames: int, **kwargs: Any):
    super().__init__(**kwargs)
    self.frames = int(frames)

  def call(self, inputs: Any) -> Any:
    """Returns the film."""
    shape = keras.ops.shape(inputs)
    x = keras.ops.reshape(inputs, (-1, shape[1], shape[2], self.frames, inputs.shape[3] // self.frames))
    return keras.ops.transpose(x, (0, 3, 1, 2, 4))

  def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[int | None, ...]:
    """Returns the shape of the film."""
    rows, height, width, channels = input_shape
    return rows, self.frames, height, width, None if channels is None else channels // self.frames

  def get_config(self) -> dict[str, Any]:
    """Returns the arguments of the constructor."""
    return {**super().get_config(), "frames": self.frames}


@keras.saving.register_keras_serializable("tbvis")
class FramesToStack(keras.layers.Layer):
  """The other way: (N, frames, H, W, C) -> (N, H, W, frames * C)."""

  def call(self, inputs: Any) -> Any:
    """Returns the stack."""
    shape = keras.ops.shape(inputs)
    x = keras.ops.transpose(inputs, (0, 2, 3, 1, 4))
    return keras.ops.reshape(x, (-1, shape[2], shape[3], inputs.shape[1] * inputs.shape[4]))

  def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[int | None, ...]:
    """Returns the shape of the stack."""
    rows, frames, height, width, channels = input_shape
    return rows, height, width, None if frames is None or channels is None else frames * channels


def code_hint(error: Exception) -> str | None:
  """Returns what to do about a model that cannot be read for want of somebody's code; None where that is not the reason."""
  text = " ".join(str(error).split())
  if "Lambda" in text:
    return "its Lambda layer is code in a file, which is not run. Write it as a layer class in a module, and give --import=MODULE"
  missing = _MISSING.search(text)
  if missing:
    return (
      f"the code of {missing.group(1)} is not known. Decorate it with @keras.saving.register_keras_serializable() in a module, and give "
      "--import=MODULE"
    )
  return None


def adopted(classes: int, config: Mapping[str, Any], *, input_size: int, chunks: int = 1, dtype: str = "float32") -> keras.Model:
  """Builds a network of others again, with new weights: see `adoption.adopt`, which makes the arguments.

  Args:
    classes: number of classes.
    config: of the Functional model, as Keras serialises it.
    input_size: side in pixels of the training crop.
    chunks: frames of a film that the network sees at once; 1 where it sees single pictures.
    dtype: not used: the network computes in the number formats that it was made with.

  Raises:
    ValueError: if the model cannot be built, or does not fit the other arguments.
  """
  del input_size, dtype
  try:
    model = keras.saving.deserialize_keras_object(config)
  except TypeError as error:
    raise ValueError(code_hint(error) or error) from error
  if not isinstance(model, keras.Model) or not isinstance(model.input, dict) or not isinstance(model.output, dict):
    raise ValueError(f"expected a Functional model of named inputs and outputs, found {type(model).__name__}")
  wanted = {tuple(output.shape[1:]) for output in model.outputs}
  if wanted != {(classes,)}:
    raise ValueError(f"expected scores of {classes} classes, found outputs of shape {sorted(wanted)}")
  if any(tensor.shape[1] != chunks for tensor in model.inputs if len(tensor.shape) > PICTURE_RANK):
    raise ValueError(f"expected films of {chunks} frames, found inputs of shape {[tuple(tensor.shape) for tensor in model.inputs]}")
  return model
