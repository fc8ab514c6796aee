"""The two-stream fusion VGG-16 (Feichtenhofer et al., CVPR 2016), as the CVPR 2018 paper visualises it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

APPEARANCE_CHANNELS = 3
MOTION_FRAMES = 10
MOTION_CHANNELS = 2 * MOTION_FRAMES
STREAMS = ("appearance", "motion")
FUSIONS = ("conv1x1", "conv3x3x3")
# Typical spread of an input: new first kernels are divided by it, so that activations start near 1 and biases count.
INPUT_SPREAD = {"appearance": 64.0, "motion": 16.0}
# (block, number of convolutions, channels at width 1)
BLOCKS = ((1, 2, 64), (2, 2, 128), (3, 3, 256), (4, 3, 512), (5, 3, 512))


@keras.saving.register_keras_serializable("tbvis")
class FoldChunks(keras.layers.Layer):
  """Folds the chunk axis into the batch: (N, T, H, W, C) -> (N * T, H, W, C)."""

  def call(self, inputs: Any) -> Any:
    """Returns the folded tensor."""
    shape = keras.ops.shape(inputs)
    return keras.ops.reshape(inputs, (-1, shape[2], shape[3], inputs.shape[4]))

  def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[int | None, ...]:
    """Returns the shape after folding."""
    return (None, *input_shape[2:])


@keras.saving.register_keras_serializable("tbvis")
class UnfoldChunks(keras.layers.Layer):
  """Restores the chunk axis: (N * T, H, W, C) -> (N, T, H, W, C)."""

  def __init__(self, chunks: int, **kwargs: Any):
    super().__init__(**kwargs)
    self.chunks = chunks

  def call(self, inputs: Any) -> Any:
    """Returns the unfolded tensor."""
    shape = keras.ops.shape(inputs)
    return keras.ops.reshape(inputs, (-1, self.chunks, shape[1], shape[2], inputs.shape[3]))

  def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[int | None, ...]:
    """Returns the shape after unfolding."""
    return (None, self.chunks, *input_shape[1:])

  def get_config(self) -> dict[str, Any]:
    """Returns the arguments of the constructor."""
    return {**super().get_config(), "chunks": self.chunks}


@keras.saving.register_keras_serializable("tbvis")
class FusionInitializer(keras.initializers.Initializer):
  """Identity initialisation of the fusion: 0.25 I for appearance, 0.75 I for motion (CVPR 2016, released code).

  For a 3x3x3 kernel each identity is spread by a Gaussian of sigma 1, normalised to sum 1.
  """

  def __init__(self, appearance: float = 0.25, motion: float = 0.75):
    self.appearance = appearance
    self.motion = motion

  def __call__(self, shape: Sequence[int], dtype: Any = None) -> Any:
    """Returns a kernel of `shape` (..., 2 * channels, channels)."""
    *spatial, fan_in, channels = shape
    if fan_in != 2 * channels:
      raise ValueError(f"Invalid value for argument `shape`. Expected (..., 2 * channels, channels). Received: shape={tuple(shape)}")
    identity = np.concatenate([self.appearance * np.eye(channels), self.motion * np.eye(channels)])
    axes = [np.exp(-0.5 * (np.arange(size) - (size - 1) / 2) ** 2) for size in spatial]
    blur = np.ones(())
    for axis in axes:
      blur = np.multiply.outer(blur, axis)
    blur = blur / blur.sum()
    return keras.ops.convert_to_tensor(np.multiply.outer(blur, identity).astype("float32"), dtype=dtype)

  def get_config(self) -> dict[str, Any]:
    """Returns the arguments of the constructor."""
    return {"appearance": self.appearance, "motion": self.motion}


def scaled_channels(channels: int, width: float) -> int:
  """Returns the channels of a layer at a width, a multiple of 4 and at least 4."""
  return max(4, int(round(channels * width / 4)) * 4)


def two_stream_fusion_vgg16(
  classes: int,
  fusion: str = "conv1x1",
  *,
  width: float = 1.0,
  input_size: int = 224,
  fc_units: int = 4096,
  dropout: float = 0.85,
  chunks: int = 1,
  base_classifier: bool = True,
  dtype: str = "float32",
  seed: int = 0,
) -> keras.Model:
  """Builds the two-stream fusion VGG-16 as a Keras Functional model.

  The motion tower keeps its own classifier; the fused tower continues the appearance tower
  (METHOD 1.4). Every convolution is linear and its ReLU a layer of its own. fc6 is a valid
  convolution of kernel `input_size // 32`, so that larger inputs give a map of scores, whose
  mean over locations is returned.

  Args:
    classes: number of classes.
    fusion: "conv1x1" or "conv3x3x3" (a convolution over space and chunks).
    width: factor on the channels of every convolution.
    input_size: side in pixels of the training crop, at least 32.
    fc_units: channels of fc6 and fc7.
    dropout: rate after relu6 and relu7.
    chunks: number of snippets T seen together; 1 for single-snippet networks.
    base_classifier: whether the appearance tower keeps a classifier of its own, as the base tower
      before fusion has it (`prediction_appearance`).
    dtype: Keras dtype policy, such as "float32" or "mixed_bfloat16".
    seed: seed of the initial weights.

  Returns:
    A model from {"appearance": (N, H, W, 3), "motion": (N, H, W, 20)} (with a chunk axis after N
    where `chunks` > 1) to {"scores_hybrid", "scores_motion"[, "scores_appearance"]}: float32
    (N, classes), before the softmax.

  Raises:
    ValueError: for an argument out of its range.

  >>> model = two_stream_fusion_vgg16(6, width=0.125, input_size=64, fc_units=16)
  >>> model.get_layer("conv4_3_motion").filters
  64
  """
  if fusion not in FUSIONS:
    raise ValueError(f"Invalid value for argument `fusion`. Expected one of {FUSIONS}. Received: fusion={fusion!r}")
  if classes < 1 or chunks < 1 or fc_units < 1 or width <= 0:
    raise ValueError(
      "Invalid value for argument. Expected classes, chunks, fc_units >= 1 and width > 0. "
      f"Received: classes={classes}, chunks={chunks}, fc_units={fc_units}, width={width}"
    )
  if input_size < 32:
    raise ValueError(f"Invalid value for argument `input_size`. Expected at least 32. Received: input_size={input_size}")
  seeds = iter(range(seed * 1000, seed * 1000 + 1000))
  layers = keras.layers

  def conv(x: Any, name: str, filters: int, kernel: int, padding: str = "same", stddev: float | None = None, spread: float = 1.0) -> Any:
    if stddev:
      initializer = keras.initializers.RandomNormal(stddev=stddev, seed=next(seeds))
    else:  # He et al. 2015.
      initializer = keras.initializers.VarianceScaling(2.0 / spread**2, "fan_in", "truncated_normal", seed=next(seeds))
    return layers.Conv2D(filters, kernel, padding=padding, kernel_initializer=initializer, name=name, dtype=dtype)(x)

  def relu(x: Any, name: str) -> Any:
    return layers.ReLU(name=name, dtype=dtype)(x)

  def tower(x: Any, stream: str) -> Any:
    for block, depth, channels in BLOCKS:
      if block > 1:
        x = layers.MaxPooling2D(2, name=f"pool{block - 1}_{stream}", dtype=dtype)(x)
      for index in range(1, depth + 1):
        spread = INPUT_SPREAD[stream] if (block, index) == (1, 1) else 1.0
        x = conv(x, f"conv{block}_{index}_{stream}", scaled_channels(channels, width), 3, spread=spread)
        x = relu(x, f"relu{block}_{index}_{stream}")
    return x

  def classifier(x: Any, suffix: str, scores: str) -> Any:
    x = relu(conv(x, f"fc6{suffix}", fc_units, input_size // 32, "valid"), f"relu6{suffix}")
    x = layers.Dropout(dropout, seed=next(seeds), name=f"dropout6{suffix}", dtype=dtype)(x)
    x = relu(conv(x, f"fc7{suffix}", fc_units, 1), f"relu7{suffix}")
    x = layers.Dropout(dropout, seed=next(seeds), name=f"dropout7{suffix}", dtype=dtype)(x)
    x = conv(x, f"prediction{suffix}", classes, 1, stddev=0.01)
    return layers.GlobalAveragePooling2D(name=scores, dtype="float32")(x)

  def pool5(x: Any, name: str) -> Any:
    # A 3-D pool over all chunks leaves one map a clip (METHOD 1.4: 2x2x5 at T = 5).
    if chunks == 1:
      return layers.MaxPooling2D(2, name=name, dtype=dtype)(x)
    x = layers.MaxPooling3D((chunks, 2, 2), name=name, dtype=dtype)(x)
    return FoldChunks(name=f"{name}_fold", dtype=dtype)(x)

  def unfold(x: Any, name: str) -> Any:
    return UnfoldChunks(chunks, name=name, dtype=dtype)(x)

  time = (chunks,) if chunks > 1 else ()
  inputs, towers = {}, {}
  for stream, channels in (("appearance", APPEARANCE_CHANNELS), ("motion", MOTION_CHANNELS)):
    inputs[stream] = keras.Input((*time, None, None, channels), name=stream, dtype="float32")
    x = inputs[stream]
    if chunks > 1:
      x = FoldChunks(name=f"fold_{stream}", dtype=dtype)(x)
    towers[stream] = tower(x, stream)

  width5 = scaled_channels(BLOCKS[-1][2], width)
  fused = layers.Concatenate(name="concat5", dtype=dtype)([towers["appearance"], towers["motion"]])
  if fusion == "conv1x1":
    fused = layers.Conv2D(width5, 1, kernel_initializer=FusionInitializer(), name="conv5_fusion", dtype=dtype)(fused)
    fused = relu(fused, "relu5_fusion")
    if chunks > 1:
      fused = unfold(fused, "unfold_fusion")
  else:
    fused = unfold(fused, "unfold_fusion")
    fused = layers.Conv3D(width5, 3, padding="same", kernel_initializer=FusionInitializer(), name="conv5_fusion", dtype=dtype)(fused)
    fused = relu(fused, "relu5_fusion")
    if chunks == 1:
      fused = FoldChunks(name="fold_fusion", dtype=dtype)(fused)

  outputs = {
    "scores_hybrid": classifier(pool5(fused, "pool5"), "", "scores_hybrid"),
    "scores_motion": classifier(
      pool5(unfold(towers["motion"], "unfold_motion") if chunks > 1 else towers["motion"], "pool5_motion"), "_motion", "scores_motion"
    ),
  }
  if base_classifier:
    base = unfold(towers["appearance"], "unfold_appearance") if chunks > 1 else towers["appearance"]
    outputs["scores_appearance"] = classifier(pool5(base, "pool5_appearance"), "_appearance", "scores_appearance")
  return keras.Model(inputs, outputs, name="two_stream_fusion_vgg16")


def temporal_fraction(kernel: np.ndarray) -> float:
  """Returns how far a motion layer's first kernel is from seeing ten equal frames: |W - mean| / |W|.

  Args:
    kernel: float (kh, kw, 20, filters), channels u1 v1 ... u10 v10.

  Returns:
    The Frobenius norm of the deviation from the mean over all channels, as a fraction of the
    kernel's own norm, 0 to 1.

  >>> temporal_fraction(np.ones((3, 3, 20, 4)))
  0.0
  """
  kernel = np.asarray(kernel, np.float64)
  norm = np.linalg.norm(kernel)
  if norm == 0:
    return 0.0
  return float(np.linalg.norm(kernel - kernel.mean(axis=2, keepdims=True)) / norm)
