"""Sample clips of figures, and how much of their motion lies where one class' stimuli move and another's do not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import dataclasses

import numpy as np
import tensorflow as tf

from tbvis import progress
from tbvis.datasets import reader as reader_lib
from tbvis.datasets.snippets import PUBLISHED_SIZE
from tbvis.diagnostics import predictions as predictions_lib
from tbvis.diagnostics import probes as probes_lib
from tbvis.diagnostics.explanations import clips as clips_lib
from tbvis.diagnostics.explanations import permutations
from tbvis.diagnostics.explanations import stimuli as stimuli_lib
from tbvis.models import checkpoint as checkpoint_lib
from tbvis.rendering import animation

# As the paper's figures have: 15 frames. Every third of 25 a second.
FRAMES, STEP = 15, 3
# Enough for a cell, and small.
_HEIGHT = 128
_SNIPPETS = 3


@dataclasses.dataclass(frozen=True, eq=False)
class Sample:
  """A clip to show.

  Attributes:
    name: of the clip.
    class_name: its class.
    said: what the network called it, "" where that is not known.
    frames: uint8 (T, H, W, 3).
    flow: float32 (T, H, W, 2), in units of 40/255 pixel a frame.
  """

  name: str
  class_name: str
  said: str
  frames: np.ndarray
  flow: np.ndarray


def choose_names(
  names: Mapping[str, int], class_name: str, count: int, predictions: predictions_lib.Predictions | None, taken_for: str | None
) -> dict[str, str]:
  """Chooses clips of a class by name, from as many groups as there are, and tells what each was called.

  Args:
    names: of all clips of the class, with their groups: clips of a group look alike.
    class_name: the class.
    count: how many.
    predictions: of the clips, where they are known.
    taken_for: a class that clips taken for it come first for; None for none.

  Returns:
    What the fused scores called them, by name: "" where that is not known. Without predictions the first of each group.
  """
  said = dict.fromkeys(names, "")
  if predictions is not None:
    called = predictions.predicted("fused")
    said |= {n: predictions.classes[called[i]] for i, n in enumerate(predictions.clips) if n in said}

  before: dict[tuple[bool, int], int] = {}

  def rank(name: str) -> tuple[bool, int, str]:
    kind = said[name] != taken_for
    before[kind, names[name]] = before.get((kind, names[name]), 0) + 1
    return kind, before[kind, names[name]], name

  # Keys are made in the order given: by name.
  chosen = sorted(sorted(names), key=rank)[:count]
  if taken_for and count > 1 and all(said[name] == taken_for for name in chosen):
    # Beside those taken for the other class one that was recognised.
    right = next((name for name in sorted(names) if said[name] == class_name), None)
    chosen = [*chosen[:-1], right] if right else chosen
  return {name: said[name] for name in chosen}


def read(
  dataset: reader_lib.ClipSet,
  split: str,
  wanted: Mapping[str, int],
  predictions: predictions_lib.Predictions | None = None,
  taken_for: Mapping[str, str] | None = None,
) -> dict[str, list[Sample]]:
  """Reads sample clips.

  Args:
    dataset: the prepared set.
    split: its split.
    wanted: how many by class; classes that the set does not have are left out.
    predictions: of the split's clips.
    taken_for: by class the one that shown clips should be taken for, if there are such.

  Returns:
    Clips by class, `FRAMES` frames or fewer from the middle of each.
  """
  labels = [dataset.classes.index(name) for name in wanted if name in dataset.classes]
  if not labels:
    return {}
  kept = tf.constant(labels, tf.int64)
  data = dataset.clips(split).filter(lambda clip: tf.reduce_any(clip["label"] == kept))
  # Names first, without the clips themselves.
  names: dict[str, dict[str, int]] = {}
  for clip, label, group in data.map(lambda clip: (clip["clip"], clip["label"], clip["group"])).as_numpy_iterator():
    names.setdefault(dataset.classes[int(label)], {})[clip.decode()] = int(group)
  chosen = {
    class_name: choose_names(found, class_name, wanted[class_name], predictions, (taken_for or {}).get(class_name))
    for class_name, found in names.items()
  }
  every = tf.constant([name for found in chosen.values() for name in found], tf.string)
  samples: dict[str, Sample] = {}
  for item in data.filter(lambda clip: tf.reduce_any(clip["clip"] == every)).as_numpy_iterator():
    name, class_name = item["clip"].decode(), dataset.classes[int(item["label"])]
    samples[name] = _sample(item, name, class_name, chosen[class_name][name])
  return {class_name: [samples[name] for name in found] for class_name, found in chosen.items()}


def _sample(item: Mapping[str, np.ndarray], name: str, class_name: str, said: str) -> Sample:
  total = len(item["flow_u"])
  step = min(STEP, max(1, total // FRAMES))
  count = min(FRAMES, total // step)
  first = (total - count * step) // 2
  chosen = range(first, first + count * step, step)
  frames = [animation.decode(item["frames"][i])[0] for i in chosen]
  width = max(1, round(_HEIGHT * frames[0].shape[1] / frames[0].shape[0]))
  planes = [np.stack([animation.decode(item[key][i])[0][..., 0] for i in chosen]) for key in ("flow_u", "flow_v")]
  flow = animation.resize_values(np.stack(planes, axis=-1).astype(np.float32) - 128, _HEIGHT, width)
  return Sample(name, class_name, said, np.stack([animation.resize(frame, _HEIGHT, width) for frame in frames]), flow)


@dataclasses.dataclass(frozen=True, eq=False)
class RegionShare:
  """How much of clips' motion lies in a region.

  Attributes:
    where: the class whose stimuli move there more than the other's.
    mask: bool (H, W).
    shares: float (clips,) by class, the share of all motion, 0 to 1.
  """

  where: str
  mask: np.ndarray
  shares: Mapping[str, np.ndarray]

  @property
  def effect(self) -> float:
    """How far the first class' clips exceed the second's: difference of the means over the pooled standard deviation."""
    a, b = (values[np.isfinite(values)] for values in self.shares.values())
    if min(len(a), len(b)) < 2:
      return float("nan")
    pooled = np.sqrt(((len(a) - 1) * a.var(ddof=1) + (len(b) - 1) * b.var(ddof=1)) / (len(a) + len(b) - 2))
    return float((a.mean() - b.mean()) / pooled) if pooled > 0 else float("nan")

  def __str__(self) -> str:
    found = [f"{name} {100 * np.nanmean(values):.1f} % ({len(values)} clips)" for name, values in self.shares.items()]
    return f"share of the clips' motion where the stimuli of {self.where} move more: {', '.join(found)}; effect {self.effect:+.2f}"


def regions(motions: Mapping[str, Sequence[np.ndarray]]) -> dict[str, np.ndarray]:
  """Returns where each of two classes' stimuli move more than the other's, bool (H, W), as explanations find it.

  Args:
    motions: by class its stimuli, float (H, W, T, 2), of one size.
  """
  masks = stimuli_lib.regions_apart(*map(stimuli_lib.motion_map, motions.values()))
  return dict(zip(motions, masks, strict=True))


def region_shares(
  checkpoint: checkpoint_lib.Checkpoint,
  dataset: reader_lib.ClipSet,
  split: str,
  motions: Mapping[str, Sequence[np.ndarray]],
) -> list[RegionShare]:
  """Measures in clips the regions that stimuli tell.

  Args:
    checkpoint: gives the size of the inputs.
    dataset: the prepared set, which has both classes.
    split: its split.
    motions: see `regions`.
  """
  names = list(motions)
  probes = [probes_lib.RegionMotion(mask, f"where the stimuli of {where} move") for where, mask in regions(motions).items()]
  labels = {dataset.classes.index(name): name for name in names}
  values: dict[str, list[np.ndarray]] = {name: [] for name in names}
  clips = clips_lib.read(checkpoint, dataset, split, labels, None, _SNIPPETS)
  with progress.bar(clips, description="motion in regions", unit="clip") as bar:
    for clip in bar:
      media = [
        probes_lib.from_inputs(None, motion, checkpoint.appearance_mean, pixel=PUBLISHED_SIZE / checkpoint.input_size)
        for motion in clips_lib.middle(clips_lib.inputs_of(clip), checkpoint.sampling)["motion"]
      ]
      values[labels[clip.label]].append(permutations.mean_of_known(np.array([[probe(m) for probe in probes] for m in media])))
  return [
    RegionShare(where, probe.mask, {name: np.array([row[i] for row in found]) for name, found in values.items()})
    for i, (where, probe) in enumerate(zip(names, probes, strict=True))
  ]
