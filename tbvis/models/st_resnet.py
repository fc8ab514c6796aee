"""The spatiotemporal residual network with ResNet-50 streams (Feichtenhofer, Pinz & Wildes, NIPS 2016; METHOD 4.1)."""

from __future__ import annotations

import itertools
from typing import Any

import keras

from tbvis.models.pooling import CeilMaxPooling2D, windows
from tbvis.models.tower import Tower, check_arguments, stream_inputs
from tbvis.models.two_stream import APPEARANCE_CHANNELS, MOTION_CHANNELS, FoldChunks, UnfoldChunks, scaled_channels

# (stage, its blocks, channels at width 1 of the first two convolutions of a block; the third has four times as many)
STAGES = (("2", "abc", 64), ("3", "abcd", 128), ("4", "abcdef", 256), ("5", "abc", 512))
_EXPANSION = 4
# Of each stage: the block whose 1x1 convolutions see three chunks, and the one whose motion the appearance is given.
_TEMPORAL_BLOCK, _LINKED_BLOCK = "b", "a"
_LEAST_SIZE = 32
# Largest values over time before pool5, of the second stage of training: chunks, and chunks between two (METHOD 4.1).
_TIME_POOL = (5, 2)


@keras.saving.register_keras_serializable("tbvis")
class TemporalInitializer(keras.initializers.Initializer):
  """A kernel over one chunk, a third of it at each of three (METHOD 4.1): at first the mean over neighbours.

  Args:
    spatial: initialises a kernel (1, 1, channels, filters).
  """

  def __init__(self, spatial: keras.initializers.Initializer | dict[str, Any]):
    self.spatial = keras.initializers.get(spatial)

  def __call__(self, shape: tuple[int, ...], dtype: Any = None) -> Any:
    """Returns a kernel of `shape` (chunks, 1, 1, channels, filters)."""
    one = self.spatial(shape[1:], dtype=dtype)
    return keras.ops.repeat(one[None] / shape[0], shape[0], axis=0)

  def get_config(self) -> dict[str, Any]:
    """Returns the arguments of the constructor."""
    return {"spatial": keras.saving.serialize_keras_object(self.spatial)}


def st_resnet50(
  classes: int,
  chunks: int = 5,
  *,
  width: float = 1.0,
  input_size: int = 224,
  dropout: float = 0.0,
  time_pool: bool = False,
  dtype: str = "float32",
  seed: int = 0,
) -> keras.Model:
  """Builds the spatiotemporal ResNet-50 as a Keras Functional model.

  Two ResNet-50 of Caffe's kind (strides in the first 1x1 convolution of a block). In the second block of each stage the 1x1
  convolutions go over three chunks. After the first block of each stage the appearance is given the motion: what enters the next
  block's branch is the sum `resXa_relu_appearance_sum` of the motion behind its ReLU and the appearance before its own; the block's
  shortcut carries the appearance alone. Names are the published ones with the stream in the place of _spatial and _temporal; the
  classifiers are `prediction`, of the tower that sees both streams, and `prediction_motion`. Scores are means over chunks
  and places.

  Args:
    classes: number of classes.
    chunks: snippets seen together: 5, and 11 with `time_pool`, as published.
    width: factor on the channels of every convolution.
    input_size: side in pixels of the training crop, at least 32.
    dropout: rate before the classifiers; published without.
    time_pool: whether largest values over 5 chunks, 2 apart, are taken before pool5 (ST-ResNet*, the second stage).
    dtype: Keras dtype policy, such as "float32" or "mixed_bfloat16".
    seed: seed of the initial weights.

  Returns:
    A model from {"appearance": (N, chunks, H, W, 3), "motion": (N, chunks, H, W, 20)} (without the chunk axis where `chunks` is
    1) to {"scores_hybrid", "scores_motion"}: float32 (N, classes), before the softmax.

  Raises:
    ValueError: for an argument out of its range.

  >>> model = st_resnet50(6, 2, width=0.0625, input_size=64)
  >>> model.get_layer("res4b_branch2a_motion").kernel_size
  (3, 1, 1)
  """
  least = _TIME_POOL[0] if time_pool else 1
  check_arguments(_LEAST_SIZE, classes=classes, chunks=chunks, width=width, input_size=input_size)
  if chunks < least:
    raise ValueError(f"Invalid value for argument `chunks`. Expected at least {least} with a pool over time. Received: chunks={chunks}")
  seeds = itertools.count(seed * 1000)
  inputs, maps = stream_inputs({"appearance": APPEARANCE_CHANNELS, "motion": MOTION_CHANNELS}, chunks, dtype)
  network = {stream: _Stream(Tower(stream, width, dtype, seeds), chunks) for stream in inputs}
  # The motion goes first: the appearance takes its maps.
  motion, links = network["motion"].body(maps["motion"], {})
  hybrid, _ = network["appearance"].body(maps["appearance"], links)
  outputs = {}
  for stream, x, suffix, output in (("appearance", hybrid, "", "scores_hybrid"), ("motion", motion, "_motion", "scores_motion")):
    tower, left = network[stream].tower, chunks
    if time_pool:
      x, left = network[stream].pool_time(x)
    x = keras.layers.AveragePooling2D(last_side(input_size), 1, **tower.named("pool5"))(x)
    outputs[output] = tower.scores(x, classes, left, dropout, suffix, output)
  return keras.Model(inputs, outputs, name="st_resnet50")


def last_side(size: int) -> int:
  """Returns the side of the last map for an input of this side.

  >>> last_side(224)
  7
  """
  # conv1, pool1, and the first block of stages 3 to 5.
  for kernel, padding in ((7, 6), (3, 1), (1, 0), (1, 0), (1, 0)):
    size = windows(size, kernel, 2, padding)
  return size


class _Stream:
  """The residual blocks of one stream.

  Args:
    tower: makes its layers.
    chunks: snippets seen together.
  """

  def __init__(self, tower: Tower, chunks: int):
    self.tower, self._chunks = tower, chunks

  def body(self, x: Any, links: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Returns the last map, and what each linked block gives to another stream: its values behind the ReLU, by its name.

    Args:
      x: the input (N * chunks, H, W, channels).
      links: what another stream gives to the blocks of these names.
    """
    tower, given = self.tower, {}
    x = tower.conv(x, "conv1", 64, 7, stride=2, bias=True)
    x = tower.relu(tower.batch_norm(x, "bn_conv1"), "conv1_relu")
    x = CeilMaxPooling2D(3, 2, **tower.named("pool1"))(x)
    # What enters a block's branch is not always what its shortcut carries.
    enters = x
    for stage, blocks, filters in STAGES:
      for block in blocks:
        name = f"res{stage}{block}"
        summed = self._block(x, enters, stage, block, filters)
        enters = x = tower.relu(summed, f"{name}_relu")
        if block == _LINKED_BLOCK:
          given[name] = x
        if name in links:
          total = f"{name}_relu_{tower.stream}_sum"
          enters = keras.layers.Add(name=total, dtype=tower.dtype)([links[name], summed])
    return x, given

  def _block(self, x: Any, enters: Any, stage: str, block: str, filters: int) -> Any:
    """Returns the sum of a block's branch and its shortcut, before the ReLU."""
    tower, name, temporal = self.tower, f"res{stage}{block}", block == _TEMPORAL_BLOCK
    stride = 2 if block == "a" and stage != "2" else 1

    def normalised(y: Any, branch: str) -> Any:
      return tower.batch_norm(y, f"bn{stage}{block}_{branch}")

    def one_by_one(y: Any, branch: str, filters: int, stride: int = 1) -> Any:
      convolution = f"{name}_{branch}"
      if temporal:
        return normalised(self._over_time(y, convolution, filters), branch)
      return normalised(tower.conv(y, convolution, filters, stride=stride, bias=False), branch)

    shortcut = one_by_one(x, "branch1", _EXPANSION * filters, stride) if block == "a" else x
    y = tower.relu(one_by_one(enters, "branch2a", filters, stride), f"{name}_branch2a_relu")
    y = normalised(tower.conv(y, f"{name}_branch2b", filters, 3, bias=False), "branch2b")
    y = tower.relu(y, f"{name}_branch2b_relu")
    y = one_by_one(y, "branch2c", _EXPANSION * filters)
    return keras.layers.Add(**tower.named(name))([shortcut, y])

  def _over_time(self, x: Any, name: str, filters: int) -> Any:
    """Returns a 1x1 convolution over three chunks, with zeros before the first and behind the last."""
    tower = self.tower
    x = UnfoldChunks(self._chunks, **tower.named(f"{name}_unfold"))(x)
    x = keras.layers.Conv3D(
      scaled_channels(filters, tower.width), (3, 1, 1), padding="same", use_bias=False,
      kernel_initializer=TemporalInitializer(tower.initializer()), **tower.named(name),
    )(x)  # fmt: skip
    return FoldChunks(**tower.named(f"{name}_fold"))(x)

  def pool_time(self, x: Any) -> tuple[Any, int]:
    """Returns the largest values over windows of chunks, and how many windows there are."""
    size, stride = _TIME_POOL
    x = UnfoldChunks(self._chunks, **self.tower.named("res5c_relu_unfold"))(x)
    x = keras.layers.MaxPooling3D((size, 1, 1), (stride, 1, 1), **self.tower.named("res5c_relu_pool"))(x)
    return FoldChunks(**self.tower.named("res5c_relu_fold"))(x), windows(self._chunks, size, stride)
