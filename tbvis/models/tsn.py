"""Temporal Segment Networks (Wang et al., ECCV 2016): one network a stream, scores averaged over segments before the softmax."""

from __future__ import annotations

from collections.abc import Callable
import itertools
from typing import Any

import keras

from tbvis.models.tower import Tower, check_arguments, stream_inputs
from tbvis.models.two_stream import APPEARANCE_CHANNELS, STREAMS

# u and v of 5 frames (METHOD 4.2).
CHANNELS = {"appearance": APPEARANCE_CHANNELS, "motion": 10}
BOTH = "both"
# Rates before the classifier (METHOD 4.2).
DROPOUT = {"appearance": 0.8, "motion": 0.7}


def segment_network(
  name: str,
  body: Callable[[Tower, Any], Any],
  side: int,
  pool: str,
  *,
  least_size: int,
  classes: int,
  stream: str,
  width: float,
  input_size: int,
  dropout: float | None,
  chunks: int,
  partial_batch_norm: bool,
  dtype: str,
  seed: int,
) -> keras.Model:
  """Builds a network of one stream or the pair of both.

  Args:
    name: of the model.
    body: makes the layers between an input and the last map.
    side: of that map at `input_size`.
    pool: published name of the pool over it.
    least_size: smallest `input_size`.
    classes: see the builders, as all that follow.
    stream: see there.
    width: see there.
    input_size: see there.
    dropout: see there.
    chunks: see there.
    partial_batch_norm: see there.
    dtype: see there.
    seed: see there.

  Raises:
    ValueError: for an argument out of its range.
  """
  check_arguments(least_size, classes=classes, chunks=chunks, width=width, input_size=input_size)
  if stream not in (*STREAMS, BOTH):
    raise ValueError(f"Invalid value for argument `stream`. Expected one of {(*STREAMS, BOTH)}. Received: stream={stream!r}")
  chosen = STREAMS if stream == BOTH else (stream,)
  seeds = itertools.count(seed * 1000)
  inputs, maps = stream_inputs({each: CHANNELS[each] for each in chosen}, chunks, dtype)
  outputs = {}
  for each in chosen:
    tower = Tower(each, width, dtype, seeds, partial_batch_norm)
    x = keras.layers.AveragePooling2D(side, 1, **tower.named(pool))(body(tower, maps[each]))
    rate = DROPOUT[each] if dropout is None else dropout
    outputs[f"scores_{each}"] = tower.scores(x, classes, chunks, rate, f"_{each}", f"scores_{each}")
  return keras.Model(inputs, outputs, name=name)
