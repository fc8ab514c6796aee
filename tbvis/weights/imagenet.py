"""ImageNet VGG-16 weights in Keras' layout, for the start of both towers."""

from __future__ import annotations

import pathlib

import keras
import numpy as np

from tbvis.errors import UsageError
from tbvis.models import two_stream


def load_imagenet_vgg16(model: keras.Model, path: str | pathlib.Path) -> list[str]:
  """Copies the 13 convolutions into the appearance tower, and into the motion tower across modalities.

  The file's first kernel takes B, G, R and ours R, G, B, so its input channels are reversed. The
  motion tower's first kernel is the mean over the three channels, repeated 20 times (METHOD 1.2).

  Args:
    model: a `two_stream_fusion_vgg16` of width 1.
    path: npz of block1_conv1_W (HWIO), block1_conv1_b, ...

  Returns:
    Names of the layers set.

  Raises:
    UsageError: if the file is missing, is not of this layout, or does not fit the model.
  """
  path = pathlib.Path(path)
  try:
    arrays = np.load(path)
  except (OSError, ValueError) as error:
    raise UsageError(f"--imagenet_weights: expected an npz of VGG-16 weights at {path}: {error}.") from error
  done = []
  for block, depth, _ in two_stream.BLOCKS:
    for index in range(1, depth + 1):
      key = f"block{block}_conv{index}"
      if f"{key}_W" not in arrays:
        raise UsageError(f"{path}: expected the key {key}_W (Keras' layout), found {', '.join(sorted(arrays)[:4])}, ...")
      kernel, bias = arrays[f"{key}_W"].astype(np.float32), arrays[f"{key}_b"].astype(np.float32)
      for stream in two_stream.STREAMS:
        layer = model.get_layer(f"conv{block}_{index}_{stream}")
        value = kernel
        if (block, index) == (1, 1):
          value = kernel[:, :, ::-1] if stream == "appearance" else cross_modality(kernel, layer.kernel.shape[2])
        if tuple(layer.kernel.shape) != value.shape:
          raise UsageError(
            f"{path}: {key}_W has shape {value.shape}, layer {layer.name} expects {tuple(layer.kernel.shape)}; width 1 is needed."
          )
        layer.set_weights([value, bias])
        done.append(layer.name)
  return done


def cross_modality(kernel: np.ndarray, channels: int) -> np.ndarray:
  """Returns a kernel for `channels` flow channels: the mean over the input channels, repeated (METHOD 1.2).

  >>> cross_modality(np.ones((3, 3, 3, 64)), 20).shape
  (3, 3, 20, 64)
  """
  return np.repeat(kernel.mean(axis=2, keepdims=True), channels, axis=2)
