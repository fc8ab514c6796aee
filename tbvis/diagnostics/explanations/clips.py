"""Real clips of a pair of classes, as probes see them: their middle, weighted by where the network looked."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
import dataclasses

import cv2
import numpy as np

from tbvis import progress
from tbvis.datasets import reader as reader_lib
from tbvis.datasets.snippets import PUBLISHED_SIZE
from tbvis.diagnostics import attribution, passes
from tbvis.diagnostics import probes as probes_lib
from tbvis.diagnostics.explanations import permutations
from tbvis.models import checkpoint as checkpoint_lib
from tbvis.models.sampling import Sampling

# Contributions are those of single pixels: probes need places. A thirtieth of the picture is about a hand.
_SMOOTHING = 1 / 30


def read(
  checkpoint: checkpoint_lib.Checkpoint,
  dataset: reader_lib.ClipSet,
  split: str,
  labels: Iterable[int],
  groups: Iterable[int] | None = None,
  count: int = 3,
  names: Container[str] | None = None,
) -> Iterator[passes.ClipSnippets]:
  """Reads the clips of some classes, cut to the square in their middle that stimuli fill.

  Args:
    checkpoint: gives the size of the inputs and the mean.
    dataset: the prepared set.
    split: its split.
    labels: class numbers.
    groups: groups to keep; all by default.
    count: snippets a clip, evenly over its length.
    names: of clips to keep; all by default.
  """
  size = checkpoint.input_size
  for clip in passes.clip_snippets(checkpoint, dataset, split, groups=groups, count=count, flips=False, labels=labels):
    if names is None or clip.clip in names:
      top, left = (max(0, (side - size) // 2) for side in next(iter(clip.inputs.values())).shape[-3:-1])
      cut = {stream: values[..., top : top + size, left : left + size, :] for stream, values in clip.inputs.items()}
      yield dataclasses.replace(clip, inputs=cut)


def inputs_of(clip: passes.ClipSnippets) -> dict[str, np.ndarray]:
  """Returns a clip's snippets by stream, as the network takes them."""
  return {stream: values.numpy() for stream, values in clip.inputs.items()}


def middle(values: Mapping[str, np.ndarray], sampling: Sampling) -> dict[str, np.ndarray]:
  """Returns of values by stream (S, [chunks,] ...) those of the chunk that probes and films see, (S, ...)."""
  return {stream: each[:, sampling.middle()] if sampling.chunks > 1 else each for stream, each in values.items()}


class Measurer:
  """Measures clips by probes, weighted by where the network looked.

  Args:
    checkpoint: the network.
    a: a class.
    b: another: places count by how much they speak for either rather than the other (gradient times input, without sign).
    tower: whose scores.
    probes: what is measured.

  Attributes:
    usual: by stream float32 (H, W), where the network usually looks; see `learn_usual`.
  """

  def __init__(self, checkpoint: checkpoint_lib.Checkpoint, a: str, b: str, tower: str, probes: Sequence[probes_lib.Probe]):
    self.probes = tuple(probes)
    self.usual: dict[str, np.ndarray] = {}
    self._mean = checkpoint.appearance_mean
    self._pixel = PUBLISHED_SIZE / checkpoint.input_size
    first, second = (attribution.class_score(name, tower, checkpoint.towers) for name in (a, b))
    self._target, self._sampling = first - second, checkpoint.sampling
    self._attribute = attribution.Attributor(checkpoint.model, classes=checkpoint.classes)

  def weights(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns how much each place counts, by stream float32 (snippets, H, W), in the middle chunk."""
    found = self._attribute(inputs, self._target)
    return {name: _smooth(np.abs(maps)) for name, maps in middle(found.signed, self._sampling).items()}

  def learn_usual(self, clips: Iterable[passes.ClipSnippets]) -> None:
    """Sets `usual` to the mean of the weights of some clips, each snippet's of sum 1."""
    maps: dict[str, list[np.ndarray]] = {}
    for clip in clips:
      for name, found in self.weights(inputs_of(clip)).items():
        maps.setdefault(name, []).extend(one / max(float(one.sum()), 1e-12) for one in found)
    self.usual = {name: np.mean(found, axis=0) for name, found in maps.items()}

  def __call__(self, clip: passes.ClipSnippets) -> np.ndarray:
    """Returns float (2, probes), means over the snippets that have a value: weighted by where the network looked, and usually looks."""
    inputs = inputs_of(clip)
    weights = self.weights(inputs)
    shown = middle(inputs, self._sampling)
    values = []
    for i in range(len(clip.frames)):
      one = {stream: shown[stream][i] if stream in shown else None for stream in ("appearance", "motion")}
      for of_snippet in ({name: maps[i] for name, maps in weights.items()}, self.usual):
        media = probes_lib.from_inputs(one["appearance"], one["motion"], self._mean, of_snippet, self._pixel)
        values.append([probe(media) for probe in self.probes])
    return np.stack([permutations.mean_of_known(np.array(values[place::2])) for place in range(2)])


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
    values: float (clips, probes), weighted by where the network looked in the clip; NaN where a probe has no value.
    usual: float (clips, probes), likewise by where it usually looks, whatever it made of this clip.
  """

  names: tuple[str, ...]
  labels: np.ndarray
  groups: np.ndarray
  values: np.ndarray
  usual: np.ndarray


def measure(clips: Iterable[passes.ClipSnippets], measurer: Measurer, description: str, total: int | None = None) -> Measured:
  """Measures clips one after the other, so that one is in memory at a time.

  Args:
    clips: see `read`.
    measurer: what measures.
    description: of the progress bar.
    total: number of clips, where it is known.
  """
  with progress.bar(clips, total=total, description=description, unit="clip") as bar:
    found = [(clip.clip, clip.label, clip.group, measurer(clip)) for clip in bar]
  names, labels, groups, values = zip(*found, strict=True) if found else ((), (), (), ())
  own, usual = np.moveaxis(np.array(values, float).reshape(len(names), 2, len(measurer.probes)), 1, 0)
  return Measured(tuple(names), np.array(labels, int), np.array(groups, int), own, usual)
