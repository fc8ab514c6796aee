"""How long a plan of work will take, from the multiplications of its networks and the speed of this machine."""

from __future__ import annotations

from collections.abc import Container, Sequence
import dataclasses
import math
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from tbvis.maximization import canvas as canvas_lib
from tbvis.models import geometry

if TYPE_CHECKING:
  from tbvis.maximization.planning import Batch, Job

_MATRIX = 1024
_SECONDS = 0.2
# What the search reaches of a matrix product's speed (docs/PERFORMANCE.md).
_EFFICIENCY = 0.8
# Tracing and compiling the step of one canvas: for each layer of the network up to the one that is searched. 6 s for the 50 of VGG-16.
COMPILATION_SECONDS = 0.12


def multiplications(job: Job, layers: tuple[str, ...], canvas: int) -> float:
  """Returns the multiplications of one step of one row: the convolutions up to `layers`, forward and back to the inputs.

  Args:
    job: the network.
    layers: at which it is cut.
    canvas: side of the inputs in pixels.
  """
  total = 0.0
  # Additions of two tensors and the like are no layers.
  operations = {operation.name: operation for operation in job.model.operations}
  for place in geometry.up_to(geometry.layer_geometry(job.model, whole=True), layers):
    locations = (max(canvas // place.stride, 1)) ** 2 if place.stride else 1
    total += _weights(operations[place.name]) * locations * canvas_lib.maps_of(place, job.streams)
  return 2 * total


def _weights(layer: Any) -> float:
  layer = geometry.inner_layer(layer)
  return float(math.prod(layer.kernel.shape)) if getattr(layer, "kernel", None) is not None else 0.0


def multiplications_per_second(job: Job) -> float:
  """Measures, for a moment, how fast this machine multiplies matrices in the network's number format, and returns what a search reaches."""
  bfloat16 = any("bfloat16" in str(layer.compute_dtype) for layer in job.model.layers)
  matrix = tf.cast(np.random.default_rng(0).normal(size=(_MATRIX, _MATRIX)), tf.bfloat16 if bfloat16 else tf.float32)
  tf.linalg.matmul(matrix, matrix).numpy()
  started, products = time.perf_counter(), 0
  while time.perf_counter() - started < _SECONDS:
    tf.linalg.matmul(matrix, matrix).numpy()
    products += 1
  return _EFFICIENCY * products * _MATRIX**3 / (time.perf_counter() - started)


def _duration(seconds: float) -> str:
  minutes = round(seconds / 60)
  return f"{round(seconds)} s" if seconds < 90 else f"{minutes} min" if minutes < 90 else f"{seconds / 3600:.1f} h"


@dataclasses.dataclass(frozen=True)
class Part:
  """The batches of a plan that are of one kind.

  Attributes:
    layers: at which the network is cut.
    canvas: side of the inputs in pixels.
    batches: how many there are.
    stimuli: of all of them.
    finished: stimuli that are done already.
    seconds: that the rest takes, about.
  """

  layers: tuple[str, ...]
  canvas: int
  batches: int
  stimuli: int
  finished: int
  seconds: float


def plan_parts(job: Job, batches: Sequence[Batch], finished: Container[Any]) -> list[Part]:
  """Returns the kinds of batches of a plan, in its order.

  Args:
    job: the network and the constants.
    batches: the plan.
    finished: keys of stimuli that are done.
  """
  rate, table = multiplications_per_second(job), geometry.layer_geometry(job.model, whole=True)
  groups: dict[tuple[Any, ...], list[Batch]] = {}
  for batch in batches:
    groups.setdefault((batch.layers, batch.canvas), []).append(batch)
  parts = []
  for (layers, canvas), group in groups.items():
    rows = [row for batch in group for row in batch.rows]
    left = [batch for batch in group if batch.is_open(finished)]
    seconds = multiplications(job, layers, canvas) * job.config.steps * sum(len(batch.rows) for batch in left) / rate
    seconds += COMPILATION_SECONDS * len(geometry.up_to(table, layers)) if left else 0.0
    parts.append(Part(layers, canvas, len(group), len(rows), sum(row.key in finished for row in rows), seconds))
  return parts


def plan_text(parts: Sequence[Part]) -> str:
  """Returns a plan as people read it: a line for each part, and the sum.

  >>> print(plan_text([Part(("conv5_1",), 114, 2, 8, 3, 100.0)]))
  layers                                       batches stimuli  done  canvas    about
  conv5_1                                            2       8     3     114    2 min
  Plan: 8 stimuli in 2 batches, about 2 min on this machine.
  """
  lines = [f"{'layers':<44}{'batches':>8}{'stimuli':>8}{'done':>6}{'canvas':>8}{'about':>9}"]
  for part in parts:
    name = ", ".join(part.layers)
    shown = name if len(name) < 43 else name[:40] + "..."
    lines.append(f"{shown:<44}{part.batches:>8}{part.stimuli:>8}{part.finished:>6}{part.canvas:>8}{_duration(part.seconds):>9}")
  stimuli, batches, seconds = (sum(getattr(part, name) for part in parts) for name in ("stimuli", "batches", "seconds"))
  return "\n".join([*lines, f"Plan: {stimuli} stimuli in {batches} batches, about {_duration(seconds)} on this machine."])
