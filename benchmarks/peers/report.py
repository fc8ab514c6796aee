"""The arithmetic of benchmarks/maximization.py: work in multiplications, medians, the common score, tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
import dataclasses
import math
import statistics
from typing import Any

import numpy as np

from tbvis.maximization import canvas as canvas_lib
from tbvis.maximization import config
from tbvis.models import geometry

from .common import BLOCKS, scaled

FC_UNITS = 4096
# Steps left out of a median: the first compiles, the second still allocates.
WARM_UP = 2
# A step counts where other programs used no more core-seconds than this part of it, and this many seconds.
_OTHERS, _OTHERS_LEAST, _FEWEST = 0.06, 0.03, 3
# The common score is this part of the lowest that a library ends with.
LEVEL = 0.9


def natural_canvas(field: int, stride: int, factor: float = 1.1) -> int:
  """Returns the side of a stimulus by the canvas rule (METHOD 2.5) at a factor.

  >>> natural_canvas(40, 4), natural_canvas(92, 8), natural_canvas(196, 16)
  (47, 111, 223)
  """
  place = geometry.LayerGeometry("a layer", 0, field, stride, ())
  return canvas_lib.canvas_size(place, config.MaximizationConfig(canvas_factor=factor))


def tower_macs(canvas: int, inputs: int, last: tuple[int, int], width: float = 1.0) -> int:
  """Counts the multiply-adds of one image through a VGG-16's convolutions.

  Args:
    canvas: side of the image.
    inputs: channels of the image.
    last: block and number of the last convolution that counts, such as (4, 3).
    width: factor on the channels.

  >>> tower_macs(224, 3, (5, 3))
  15346630656
  """
  side, before, total = canvas, inputs, 0
  for block, depth, channels in BLOCKS:
    for index in range(1, depth + 1):
      after = scaled(channels, width)
      total += side * side * 9 * before * after
      before = after
      if (block, index) == last:
        return total
    side //= 2
  return total


def image_macs(layer: str, canvas: int, width: float = 1.0) -> int:
  """Counts the multiply-adds of one image up to a layer such as "block4_conv3"."""
  return tower_macs(canvas, 3, (int(layer[5]), int(layer[-1])), width)


def network_macs(model: Any, layer: str, canvas: int) -> int:
  """Counts the multiply-adds of the convolutions of a Keras network of one row, of all its inputs, up to a layer.

  Args:
    model: a Functional network whose inputs are named.
    layer: name.
    canvas: side of the inputs.
  """
  import keras

  cut = keras.Model(model.input, model.get_layer(layer).output)
  found = [each for each in cut.layers if isinstance(each, (keras.layers.Conv2D, keras.layers.Conv3D))]
  probe = keras.Model(model.input, [each.output for each in found])
  # Symbolic inputs would not tell how many chunks were folded into the rows.
  maps = probe({name: np.zeros([1, *(side or canvas for side in x.shape[1:])], np.float32) for name, x in model.input.items()})
  # All but the channels: chunks folded into the rows are places, too.
  places = [math.prod(x.shape[:-1]) for x in (maps if isinstance(maps, list) else [maps])]
  return sum(count * math.prod(each.kernel.shape) for count, each in zip(places, found, strict=True))


def flops(macs: int) -> int:
  """Returns the operations of a unit-iteration: forward, and as many for the gradient of the input, two to a multiply-add."""
  return 4 * macs


def undisturbed(timed: Mapping[str, Sequence[float]]) -> list[float]:
  """Returns the steps after the warm-up in which other programs hardly used the cores.

  Args:
    timed: "seconds" of each step, and core-seconds that "others" used meanwhile.

  >>> undisturbed({"seconds": [9, 9, 1.0, 3.0, 1.1], "others": [0, 0, 0.0, 2.0, 0.05]})
  [1.0, 1.1]
  """
  steps = list(zip(timed["seconds"], timed["others"], strict=True))[WARM_UP:]
  return [second for second, other in steps if other <= _OTHERS * second + _OTHERS_LEAST]


def is_quiet(timed: Mapping[str, Sequence[float]]) -> bool:
  """Tells whether enough steps were undisturbed for their median to be a measure."""
  return len(undisturbed(timed)) >= min(_FEWEST, max(len(timed["seconds"]) - WARM_UP, 1))


def steady(timed: Mapping[str, Sequence[float]]) -> float:
  """Returns the median of the undisturbed steps; of all after the warm-up, or after the first, where these are too few."""
  seconds = timed["seconds"]
  return statistics.median(undisturbed(timed) if is_quiet(timed) else seconds[WARM_UP:] or seconds[1:] or seconds)


def ratio(theirs: float | None, ours: float | None) -> float | None:
  """Returns theirs over ours: above 1 where ours is faster; None where one was not measured."""
  return theirs / ours if theirs and ours else None


def overhead_percent(whole: float, network: float) -> float:
  """Returns by how many percent something takes longer than the network alone."""
  return 100 * (whole / network - 1)


def common_level(scores: Iterable[Sequence[float]]) -> float | None:
  """Returns the score to which libraries are timed: `LEVEL` times the lowest end of those that rose at all.

  Args:
    scores: of each library, in the order of the steps.

  >>> round(common_level([[0.0, 5.0, 10.0], [1.0, 20.0], [3.0, 2.0]]), 3)
  9.0
  """
  ends = [found[-1] for found in scores if len(found) > 1 and found[-1] > max(found[0], 0)]
  return LEVEL * min(ends) if ends else None


def steps_to(level: float, steps: Sequence[int], scores: Sequence[float]) -> float | None:
  """Returns how many steps it took until a score was reached and kept, between two scored steps on a straight line.

  Args:
    level: the score.
    steps: how many steps had been taken at each score, rising.
    scores: the scores.

  >>> steps_to(5.0, [1, 3, 5], [0.0, 4.0, 6.0])
  4.0
  """
  below = [index for index, score in enumerate(scores) if score < level]
  if not below:
    return float(steps[0])
  last = below[-1]
  if last == len(scores) - 1:
    return None
  part = (level - scores[last]) / (scores[last + 1] - scores[last])
  return steps[last] + part * (steps[last + 1] - steps[last])


def seconds_to(count: float | None, first: float, step: float) -> float | None:
  """Returns the time of a number of steps, of which the first takes `first` and every other one `step`."""
  return None if count is None else first + (count - 1) * step


def growth_mib(memory: Sequence[float]) -> float:
  """Returns by how much memory grew: the median of the last tenth over that of the second, since the first allocates.

  >>> growth_mib([0.0] * 10 + [100.0] * 80 + [103.0] * 10)
  3.0
  """
  tenth = max(len(memory) // 10, 1)
  return statistics.median(memory[-tenth:]) - statistics.median(memory[tenth : 2 * tenth] or memory)


@dataclasses.dataclass(frozen=True)
class Measured:
  """What was measured of one library on one work.

  Attributes:
    work: name of the work.
    engine: name of the library, or the floor.
    canvas: side in pixels.
    dtype: number format.
    seconds: per unit-iteration.
    first: seconds of the first step.
    memory: peak, MiB.
    peak_percent: of the machine's matrix product in that number format.
    to_common: seconds to the score that all reach; None where it was not reached or not asked for.
    to_ours: seconds to the score that ours reaches, likewise.
    spread: largest over smallest of the repeats' medians.
  """

  work: str
  engine: str
  canvas: int
  dtype: str
  seconds: float
  first: float
  memory: float
  peak_percent: float
  to_common: float | None = None
  to_ours: float | None = None
  spread: float = 1.0

  def cells(self) -> list[str]:
    """Returns the row of a table."""
    to_score = ["-" if value is None else f"{value:.1f}" for value in (self.to_common, self.to_ours)]
    return [
      self.work, self.engine, str(self.canvas), self.dtype, f"{self.seconds:.4f}", f"{self.spread:.2f}", f"{self.first:.1f}",
      f"{self.memory:.0f}", f"{self.peak_percent:.0f}", *to_score,
    ]  # fmt: skip


HEADER = (
  "work", "library", "canvas", "format", "s per unit-iteration", "spread", "first step, s", "peak MiB", "% of matmul",
  "s to common score", "s to our score",
)  # fmt: skip


def table(header: Sequence[str], rows: Sequence[Sequence[str]], markdown: bool = False) -> str:
  """Returns rows under a header, aligned, with bars as Markdown has them where asked for.

  >>> print(table(["a", "n"], [["x", "10"], ["yy", "1"]]))
  a    n
  x   10
  yy   1
  >>> print(table(["a", "n"], [["x", "10"]], markdown=True))
  | a |  n |
  | --- | ---: |
  | x | 10 |
  """
  widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
  numbers = [all(row[column][:1].isdigit() or row[column] in ("", "-") for row in rows) for column in range(len(header))]
  lines = []
  for row in [header, *rows]:
    cells = [cell.rjust(w) if number else cell.ljust(w) for cell, w, number in zip(row, widths, numbers, strict=True)]
    lines.append(f"| {' | '.join(cells)} |" if markdown else "  ".join(cells).rstrip())
  if markdown:
    lines.insert(1, f"| {' | '.join('---:' if number else '---' for number in numbers)} |")
  return "\n".join(lines)
