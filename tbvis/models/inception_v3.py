"""TSN's Inception-v3 (Szegedy et al. 2016, as in the networks that Wang et al. released)."""

from __future__ import annotations

from typing import Any

import keras

from tbvis.models import tsn
from tbvis.models.pooling import CeilMaxPooling2D, windows
from tbvis.models.tower import Tower

# A smaller one leaves nothing behind mixed_8.
_LEAST_SIZE = 69
# Channels of the pool's branch in the first three blocks, and inside the towers of the next four.
_PROJECTIONS = {"mixed": 32, "mixed_1": 64, "mixed_2": 64}
_NARROW = {"mixed_4": 128, "mixed_5": 160, "mixed_6": 160, "mixed_7": 192}


def tsn_inception_v3(
  classes: int,
  stream: str = tsn.BOTH,
  *,
  width: float = 1.0,
  input_size: int = 299,
  dropout: float | None = None,
  chunks: int = 1,
  partial_batch_norm: bool = True,
  dtype: str = "float32",
  seed: int = 0,
) -> keras.Model:
  """Builds TSN's Inception-v3 as a Keras Functional model.

  Every convolution has a bias and is followed by a normalisation and a ReLU, layers of their own: `mixed_4_tower_conv_1_Conv2D`,
  `mixed_4_tower_conv_1_batchnorm`, `mixed_4_tower_conv_1`, with the stream behind them. It is not that of keras.applications:
  the pool of `mixed_10` takes the largest value, and means at the border count the zeros beyond it. The classifier is
  `prediction_<stream>`. Inputs larger than `input_size` give a map of scores, whose mean over locations is returned.

  Args:
    classes: number of classes.
    stream: "appearance", "motion" or "both", the pair of two networks that share nothing.
    width: factor on the channels of every convolution.
    input_size: side in pixels of the training crop, at least 69.
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

  >>> model = tsn_inception_v3(6, "appearance", width=0.125, input_size=107)
  >>> model.get_layer("mixed_10_tower_2_conv_Conv2D_appearance").filters
  24
  """
  return tsn.segment_network(
    "tsn_inception_v3", _body, last_side(input_size), "top_cls_pool", least_size=_LEAST_SIZE, classes=classes, stream=stream, width=width,
    input_size=input_size, dropout=dropout, chunks=chunks, partial_batch_norm=partial_batch_norm, dtype=dtype, seed=seed,
  )  # fmt: skip


def last_side(size: int) -> int:
  """Returns the side of the last map for an input of this side.

  >>> last_side(299)
  8
  """
  # conv, conv_1, pool, conv_4, pool_1, mixed_3, mixed_8.
  for stride, padding in ((2, 0), (1, 0), (2, 1), (1, 0), (2, 1), (2, 0), (2, 0)):
    size = windows(size, 3, stride, padding)
  return size


def _unit(
  tower: Tower, x: Any, name: str, filters: int, kernel: int | tuple[int, int] = 1, stride: int = 1, padding: int | None = None
) -> Any:
  x = tower.conv(x, f"{name}_Conv2D", filters, kernel, stride=stride, padding=padding, bias=True)
  return tower.relu(tower.batch_norm(x, f"{name}_batchnorm"), name)


def _body(tower: Tower, x: Any) -> Any:
  x = _unit(tower, x, "conv", 32, 3, 2, padding=0)
  x = _unit(tower, x, "conv_1", 32, 3, padding=0)
  x = _unit(tower, x, "conv_2", 64, 3)
  x = CeilMaxPooling2D(3, 2, **tower.named("pool"))(x)
  x = _unit(tower, x, "conv_3", 80)
  x = _unit(tower, x, "conv_4", 192, 3, padding=0)
  x = CeilMaxPooling2D(3, 2, **tower.named("pool_1"))(x)
  for block, channels in _PROJECTIONS.items():
    x = _square(tower, x, block, channels)
  x = _first_halving(tower, x, "mixed_3")
  for block, channels in _NARROW.items():
    x = _factorised(tower, x, block, channels)
  x = _second_halving(tower, x, "mixed_8")
  x = _widened(tower, x, "mixed_9", "average")
  return _widened(tower, x, "mixed_10", "max")


def _chain(tower: Tower, x: Any, name: str, *steps: tuple[int, int | tuple[int, int]]) -> Any:
  """Returns convolutions one behind the other: NAME_conv, NAME_conv_1, ... of (channels, kernel)."""
  for index, (filters, kernel) in enumerate(steps):
    x = _unit(tower, x, f"{name}_conv" + (f"_{index}" if index else ""), filters, kernel)
  return x


def _projected(tower: Tower, x: Any, block: str, channels: int, pool: str = "average") -> Any:
  name = f"{block}_tower_2_pool"
  y = keras.layers.MaxPooling2D(3, 1, "same", **tower.named(name))(x) if pool == "max" else tower.padded_average(x, name)
  return _unit(tower, y, f"{block}_tower_2_conv", channels)


def _joined(tower: Tower, block: str, branches: list[Any]) -> Any:
  return keras.layers.Concatenate(**tower.named(f"{block}_join"))(branches)


def _halved(tower: Tower, x: Any, block: str) -> Any:
  # Without the round-up: on maps of even sides it would have a place more than the convolutions beside it.
  return keras.layers.MaxPooling2D(3, 2, **tower.named(f"{block}_pool"))(x)


def _square(tower: Tower, x: Any, block: str, projection: int) -> Any:
  branches = [
    _unit(tower, x, f"{block}_conv", 64),
    _chain(tower, x, f"{block}_tower", (48, 1), (64, 5)),
    _chain(tower, x, f"{block}_tower_1", (64, 1), (96, 3), (96, 3)),
    _projected(tower, x, block, projection),
  ]
  return _joined(tower, block, branches)


def _first_halving(tower: Tower, x: Any, block: str) -> Any:
  y = _chain(tower, x, f"{block}_tower", (64, 1), (96, 3))
  branches = [
    _unit(tower, x, f"{block}_conv", 384, 3, 2, padding=0),
    _unit(tower, y, f"{block}_tower_conv_2", 96, 3, 2, padding=0),
    _halved(tower, x, block),
  ]
  return _joined(tower, block, branches)


def _factorised(tower: Tower, x: Any, block: str, narrow: int) -> Any:
  rows, columns = (7, 1), (1, 7)
  branches = [
    _unit(tower, x, f"{block}_conv", 192),
    _chain(tower, x, f"{block}_tower", (narrow, 1), (narrow, rows), (192, columns)),
    _chain(tower, x, f"{block}_tower_1", (narrow, 1), (narrow, columns), (narrow, rows), (narrow, columns), (192, rows)),
    _projected(tower, x, block, 192),
  ]
  return _joined(tower, block, branches)


def _second_halving(tower: Tower, x: Any, block: str) -> Any:
  y = _unit(tower, x, f"{block}_tower_conv", 192)
  z = _chain(tower, x, f"{block}_tower_1", (192, 1), (192, (7, 1)), (192, (1, 7)))
  branches = [
    _unit(tower, y, f"{block}_tower_conv_1", 320, 3, 2, padding=0),
    _unit(tower, z, f"{block}_tower_1_conv_3", 192, 3, 2, padding=0),
    _halved(tower, x, block),
  ]
  return _joined(tower, block, branches)


def _widened(tower: Tower, x: Any, block: str, pool: str) -> Any:
  branches = [_unit(tower, x, f"{block}_conv", 320)]
  for name, steps in (("tower", ((384, 1),)), ("tower_1", ((448, 1), (384, 3)))):
    y = _chain(tower, x, f"{block}_{name}", *steps)
    branches.append(_unit(tower, y, f"{block}_{name}_mixed_conv", 384, (3, 1)))
    branches.append(_unit(tower, y, f"{block}_{name}_mixed_conv_1", 384, (1, 3)))
  branches.append(_projected(tower, x, block, 192, pool))
  return _joined(tower, block, branches)
