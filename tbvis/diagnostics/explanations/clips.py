"""Real clips of a pair of classes, as probes see them: their middle, weighted by where the network looked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
import dataclasses

import cv2
import numpy as np

from tbvis import progress
from tbvis.datasets import reader as reader_lib
from tbvis.datasets.snippets import PUBLISHED_SIZE
from tbvis.diagnostics import attribution, passes
from tbvis.diagnostics import probes as probes_lib
from tbvis.models import checkpoint as checkpoint_lib

# Contributions are those of single pixels: probes need places. A thirtieth of the picture is about a hand.
_SMOOTHING = 1 / 30


@dataclasses.dataclass(frozen=True, eq=False)
class ClipInputs:
  """A few snippets of a clip, cut to the square in its middle that stimuli fill.

  Attributes:
    name: of the clip.
    label: class number.
    group: group number.
    inputs: by stream, float32 (snippets, S, S, C), as the network takes them.
  """

  name: str
  label: int
  group: int
  inputs: dict[str, np.ndarray]


def read(
  checkpoint: checkpoint_lib.Checkpoint,
  dataset: reader_lib.PreparedDataset,
  split: str,
  labels: Iterable[int],
  groups: Iterable[int] | None = None,
  count: int = 3,
) -> Iterator[ClipInputs]:
  """Reads the clips of some classes.

  Args:
    checkpoint: gives the size of the inputs and the mean.
    dataset: the prepared set.
    split: its split.
    labels: class numbers.
    groups: groups to keep; all by default.
    count: snippets a clip, evenly over its length.
  """
  size = checkpoint.input_size
  found = passes.clip_snippets(checkpoint, dataset, split, groups=groups, count=count, flips=False, labels=labels)
  for clip in found:
    top, left = (max(0, (side - size) // 2) for side in clip.appearance.shape[1:3])
    middle = {name: getattr(clip, name).numpy()[:, top : top + size, left : left + size] for name in ("appearance", "motion")}
    yield ClipInputs(clip.clip, clip.label, clip.group, middle)


class Measurer:
  """Measures clips by probes, weighted by where the network looked.

  Args:
    checkpoint: the network.
    a: a class.
    b: another: places count by how much they speak for either rather than the other (gradient times input, without sign).
    tower: whose scores.
    probes: what is measured.
  """

  def __init__(self, checkpoint: checkpoint_lib.Checkpoint, a: str, b: str, tower: str, probes: Sequence[probes_lib.Probe]):
    self.probes = tuple(probes)
    self._mean = checkpoint.appearance_mean
    self._pixel = PUBLISHED_SIZE / checkpoint.input_size
    target = attribution.class_score(a, tower) - attribution.class_score(b, tower)
    self._attribute = attribution.Attributor(checkpoint.model, target, classes=checkpoint.classes)

  def weights(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns how much each place counts, by stream float32 (snippets, H, W)."""
    found = self._attribute(inputs)
    return {name: _smooth(np.abs(maps)) for name, maps in found.signed.items()}

  def __call__(self, clip: ClipInputs) -> np.ndarray:
    """Returns float (probes,), the mean over snippets that have a value."""
    weights = self.weights(clip.inputs)
    values = []
    for i in range(len(clip.inputs["appearance"])):
      of_snippet = {name: maps[i] for name, maps in weights.items()}
      media = probes_lib.from_inputs(clip.inputs["appearance"][i], clip.inputs["motion"][i], self._mean, of_snippet, self._pixel)
      values.append([probe(media) for probe in self.probes])
    values = np.array(values)
    known = np.isfinite(values)
    return np.where(known.any(0), np.where(known, values, 0).sum(0) / np.maximum(known.sum(0), 1), np.nan)


def _smooth(maps: np.ndarray) -> np.ndarray:
  """Blurs maps (N, H, W); what is nowhere stays so."""
  sigma = max(1.0, _SMOOTHING * maps.shape[1])
  return np.stack([cv2.GaussianBlur(np.ascontiguousarray(m, np.float32), (0, 0), sigma) for m in maps])


@dataclasses.dataclass(frozen=True, eq=False)
class Measured:
  """Clips and what was measured on them.

  Attributes:
    names: of the clips.
    labels: int (clips,), class numbers.
    groups: int (clips,), group numbers.
    values: float (clips, probes), NaN where a probe has no value.
  """

  names: tuple[str, ...]
  labels: np.ndarray
  groups: np.ndarray
  values: np.ndarray

  def of_class(self, label: int) -> np.ndarray:
    """Returns the values of the clips of a class, float (its clips, probes)."""
    return self.values[self.labels == label]


def measure(
  clips: Iterable[ClipInputs], measurer: Measurer, description: str, also: Callable[[ClipInputs], None] | None = None
) -> Measured:
  """Measures clips one after the other, so that one is in memory at a time.

  Args:
    clips: see `read`.
    measurer: what measures.
    description: of the progress bar.
    also: called with each clip.
  """
  found = []
  with progress.bar(clips, description=description, unit="clip") as bar:
    for clip in bar:
      found.append((clip.name, clip.label, clip.group, measurer(clip)))
      if also:
        also(clip)
  names, labels, groups, values = zip(*found, strict=True) if found else ((), (), (), ())
  return Measured(tuple(names), np.array(labels, int), np.array(groups, int), np.array(values).reshape(len(names), len(measurer.probes)))
