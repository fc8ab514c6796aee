"""TSN's BN-Inception (Ioffe & Szegedy 2015, as in the networks that Wang et al. released)."""

from __future__ import annotations

from typing import Any

import keras

from tbvis.models import tsn
from tbvis.models.pooling import CeilMaxPooling2D, windows
from tbvis.models.tower import Tower

# Of each block, channels at width 1: 1x1; 3x3_reduce, 3x3; double_3x3_reduce, both double_3x3; pool_proj behind which pool.
# Blocks without 1x1 and pool_proj halve the map.
BLOCKS = (
  ("3a", 64, 64, 64, 64, 96, 32, "average"),
  ("3b", 64, 64, 96, 64, 96, 64, "average"),
  ("3c", 0, 128, 160, 64, 96, 0, "max"),
  ("4a", 224, 64, 96, 96, 128, 128, "average"),
  ("4b", 192, 96, 128, 96, 128, 128, "average"),
  ("4c", 160, 128, 160, 128, 160, 128, "average"),
  ("4d", 96, 128, 192, 160, 192, 128, "average"),
  ("4e", 0, 128, 192, 192, 256, 0, "max"),
  ("5a", 352, 192, 320, 160, 224, 128, "average"),
  ("5b", 352, 192, 320, 192, 224, 128, "max"),
)
_LEAST_SIZE = 32


def tsn_bn_inception(
  classes: int,
  stream: str = tsn.BOTH,
  *,
  width: float = 1.0,
  input_size: int = 224,
  dropout: float | None = None,
  chunks: int = 1,
  partial_batch_norm: bool = True,
  dtype: str = "float32",
  seed: int = 0,
) -> keras.Model:
  """Builds TSN's BN-Inception as a Keras Functional model.

  Every convolution has a bias and is followed by a normalisation and a ReLU, layers of their own. Names are those of the released
  networks, "/" being "_", with the stream behind them: `inception_3a_double_3x3_1_motion`. The classifier, which is called
  after its data set in every release, is `prediction_<stream>`. Inputs larger than `input_size` give a map of scores, whose mean
  over locations is returned.

  Args:
    classes: number of classes.
    stream: "appearance", "motion" or "both", the pair of two networks that share nothing.
    width: factor on the channels of every convolution.
    input_size: side in pixels of the training crop, at least 32.
    dropout: rate before the classifier; by default 0.8 for appearance and 0.7 for motion, as released.
    chunks: segments seen together; their scores are averaged.
    partial_batch_norm: whether every normalisation but a tower's first stays as it is in training, as released.
    dtype: Keras dtype policy, such as "float32" or "mixed_bfloat16".
    seed: seed of the initial weights.

  Returns:
    A model from {"appearance": (N, H, W, 3), "motion": (N, H, W, 10)}, or one of them (with a chunk axis after N where
    `chunks` > 1), to {"scores_appearance", "scores_motion"}, or one of them: float32 (N, classes), before the softmax.

  Raises:
    ValueError: for an argument out of its range.

  >>> model = tsn_bn_inception(6, "motion", width=0.125)
  >>> model.get_layer("inception_5b_pool_proj_motion").filters
  16
  """
  return tsn.segment_network(
    "tsn_bn_inception", _body, last_side(input_size), "global_pool", least_size=_LEAST_SIZE, classes=classes, stream=stream, width=width,
    input_size=input_size, dropout=dropout, chunks=chunks, partial_batch_norm=partial_batch_norm, dtype=dtype, seed=seed,
  )  # fmt: skip


def last_side(size: int) -> int:
  """Returns the side of the last map for an input of this side.

  >>> last_side(224)
  7
  """
  # conv1, the pools behind conv1 and conv2, 3c, 4e.
  for kernel, padding in ((7, 6), (3, 1), (3, 1), (3, 2), (3, 2)):
    size = windows(size, kernel, 2, padding)
  return size


def _unit(tower: Tower, x: Any, block: str, name: str, filters: int, kernel: int = 1, stride: int = 1, relu: str = "") -> Any:
  x = tower.conv(x, f"{block}_{name}", filters, kernel, stride=stride, bias=True)
  return tower.relu(tower.batch_norm(x, f"{block}_{name}_bn"), f"{block}_relu_{relu or name}")


def _body(tower: Tower, x: Any) -> Any:
  x = _unit(tower, x, "conv1", "7x7_s2", 64, 7, 2, relu="7x7")
  x = CeilMaxPooling2D(3, 2, **tower.named("pool1_3x3_s2"))(x)
  x = _unit(tower, x, "conv2", "3x3_reduce", 64)
  x = _unit(tower, x, "conv2", "3x3", 192, 3)
  x = CeilMaxPooling2D(3, 2, **tower.named("pool2_3x3_s2"))(x)
  for block in BLOCKS:
    x = _inception(tower, x, *block)
  return x


def _inception(
  tower: Tower, x: Any, name: str, one: int, reduce: int, three: int, double_reduce: int, double: int, proj: int, pool: str
) -> Any:
  block, stride = f"inception_{name}", 1 if one else 2
  branches = [_unit(tower, x, block, "1x1", one)] if one else []
  y = _unit(tower, x, block, "3x3_reduce", reduce)
  branches.append(_unit(tower, y, block, "3x3", three, 3, stride))
  y = _unit(tower, x, block, "double_3x3_reduce", double_reduce)
  y = _unit(tower, y, block, "double_3x3_1", double, 3)
  branches.append(_unit(tower, y, block, "double_3x3_2", double, 3, stride))
  branches.append(_pooled(tower, x, block, proj, pool))
  return keras.layers.Concatenate(**tower.named(f"{block}_output"))(branches)


def _pooled(tower: Tower, x: Any, block: str, proj: int, pool: str) -> Any:
  if not proj:
    # On maps of odd sides the published pool has a place less than the convolutions beside it: nothing could be joined.
    return CeilMaxPooling2D(3, 2, beyond=2, **tower.named(f"{block}_pool"))(x)
  if pool == "max":
    y = keras.layers.MaxPooling2D(3, 1, "same", **tower.named(f"{block}_pool"))(x)
  else:
    y = tower.padded_average(x, f"{block}_pool")
  return _unit(tower, y, block, "pool_proj", proj)
