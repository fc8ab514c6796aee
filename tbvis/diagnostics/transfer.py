"""Stimuli judged by something that did not make them: does a second network see the class in them?"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
import dataclasses
import os

import numpy as np
import tensorflow as tf

from tbvis.diagnostics import confusions, passes
from tbvis.diagnostics import predictions as predictions_lib
from tbvis.errors import UsageError, unknown_name
from tbvis.models import checkpoint as checkpoint_lib
from tbvis.records import StimulusRecord, fusion_weights, variant_name

CLASS_LAYER = "prediction"
# What the judge is shown, and which of its scores answer.
VIEWS = ("together", "motion", "appearance")


@dataclasses.dataclass(frozen=True)
class ClassStimulus:
  """A stimulus of a class unit.

  Attributes:
    class_name: the class that it was made for.
    appearance: float32 (H, W, 3), RGB minus the maker's mean.
    motion: float32 (H, W, 10, 2) or (H, W, 20), in units of the model input.
    variant: how it was made, as "chi=10".
    seed: of its start.
  """

  class_name: str
  appearance: np.ndarray
  motion: np.ndarray
  variant: str = ""
  seed: int = 0


@dataclasses.dataclass(frozen=True)
class Verdicts:
  """What a judge says of stimuli.

  Attributes:
    labels: int64 (stimuli,), the classes they were made for, in the judge's numbering.
    said: by view, int64 (stimuli,): the judge's class for both inputs (its fused scores), for the motion alone (those of its tower
      "motion"), and for the appearance alone (of "appearance", or of "hybrid" with zero motion where the judge has no such tower).
    scores: by view, float32 (stimuli, classes).
  """

  labels: np.ndarray
  said: dict[str, np.ndarray]
  scores: dict[str, np.ndarray]

  def rate(self, view: str) -> confusions.Rate:
    """Returns how many stimuli the judge calls by their own class."""
    return confusions.Rate(int(np.sum(self.said[view] == self.labels)), len(self.labels))

  def shuffled(self, view: str, permutations: int = 2000, seed: int = 0) -> float:
    """Returns the mean share that is right when the stimuli's labels change places."""
    rng = np.random.default_rng(seed)
    return float(np.mean([np.mean(rng.permutation(self.labels) == self.said[view]) for _ in range(permutations)]))

  def only(self, keep: Iterable[bool]) -> Verdicts:
    """Returns the verdicts on some of the stimuli."""
    kept = np.flatnonzero(list(keep))
    return Verdicts(self.labels[kept], {v: s[kept] for v, s in self.said.items()}, {v: s[kept] for v, s in self.scores.items()})


def from_records(records: Iterable[StimulusRecord], where: str) -> list[ClassStimulus]:
  """Picks the class stimuli with both inputs from records of a run (`summaries.read_run`, `tbvis.maximize`).

  Raises:
    UsageError: if there are none.
  """
  found = [
    ClassStimulus(r.class_name, r.appearance, r.motion, variant_name(r.kappa, r.chi, r.isotropic), r.seed)
    for r in records
    if r.class_name and r.layer == CLASS_LAYER and r.appearance is not None and r.motion is not None
  ]
  if not found:
    raise UsageError(f"Expected stimuli of class units ({CLASS_LAYER}/<class>) with both inputs in {where}, found none.")
  return found


def load_npz(path: str | os.PathLike[str]) -> list[ClassStimulus]:
  """Reads stimuli from an npz.

  It has classes (N,), appearance (N, H, W, 3), motion (N, H, W, 10, 2), and may have variants and seeds (N,).

  Raises:
    UsageError: if the file is missing or of another form.
  """
  arrays = predictions_lib.load_arrays(path, ("classes", "appearance", "motion"), "class stimuli")
  names, appearance, motion = arrays["classes"], arrays["appearance"], arrays["motion"]
  if not (len(names) == len(appearance) == len(motion)) or appearance.ndim != 4 or motion.ndim not in (4, 5):
    raise UsageError(f"{path}: expected classes (N,), appearance (N, H, W, 3), motion (N, H, W, 10, 2); received shapes "
                     f"{names.shape}, {appearance.shape}, {motion.shape}.")  # fmt: skip
  variants = arrays.get("variants", np.full(len(names), ""))
  seeds = arrays.get("seeds", np.zeros(len(names), int))
  rows = zip(names, appearance, motion, variants, seeds, strict=True)
  return [ClassStimulus(str(n), a.astype(np.float32), m.astype(np.float32), str(v), int(s)) for n, a, m, v, s in rows]


def _resized(x: np.ndarray, factor: float) -> tf.Tensor:
  size = [int(np.ceil(side * factor - 1e-6)) for side in x.shape[:2]]
  return tf.constant(x[None]) if size == list(x.shape[:2]) else tf.image.resize(x[None], size, antialias=True)


def _inputs(stimulus: ClassStimulus, judge: checkpoint_lib.Checkpoint, maker: checkpoint_lib.Checkpoint | None) -> dict[str, tf.Tensor]:
  """Returns a stimulus as the judge's inputs by stream, (1, H, W, channels), at the judge's scale and mean."""
  appearance = np.asarray(stimulus.appearance, np.float32)
  motion = np.asarray(stimulus.motion, np.float32).reshape(*appearance.shape[:2], -1)
  factor = 1.0
  if maker is not None:
    appearance = appearance + np.asarray(maker.appearance_mean, np.float32) - np.asarray(judge.appearance_mean, np.float32)
    factor = judge.input_size / maker.input_size
  # The judge's first classifier layer needs a full crop.
  factor = max(factor, judge.input_size / min(appearance.shape[:2]))
  # Flow counts pixels of the 256-scaled frame, whatever the size of the input: its values stay.
  return {"appearance": _resized(appearance, factor), "motion": _resized(motion, factor)}


def judge_stimuli(
  judge: checkpoint_lib.Checkpoint, stimuli: Sequence[ClassStimulus], maker: checkpoint_lib.Checkpoint | None = None
) -> Verdicts:
  """Lets a network classify stimuli that another one made.

  Args:
    judge: the second network.
    stimuli: of the first.
    maker: the first, for its mean and the scale of its inputs; without it those of the judge are presumed.

  Raises:
    UsageError: if a stimulus is of a class that the judge does not know, or the judge cannot be shown both of its inputs.
  """
  passes.check_backend()
  wanted = {name: tuple(tensor.shape[3:]) for name, tensor in judge.model.input.items()}
  shown = {"appearance": (3,), "motion": (int(np.prod(stimuli[0].motion.shape[2:])),)} if stimuli else wanted
  if wanted != shown or "motion" not in judge.towers:
    raise UsageError(
      f"Expected a judge of one frame and {shown['motion'][0]} channels of motion, as the stimuli are, with scores of the motion alone; "
      f"received one of {wanted} with scores of {', '.join(judge.towers)}."
    )
  for stimulus in stimuli:
    if stimulus.class_name not in judge.classes:
      raise unknown_name("class", stimulus.class_name, judge.classes, "the judge's classes")
  forward = passes.scores(judge)
  weights = fusion_weights(judge.towers)
  scores: dict[str, list[np.ndarray]] = {view: [] for view in VIEWS}
  for stimulus in stimuli:
    inputs = _inputs(stimulus, judge, maker)
    both = {name: value.numpy()[0] for name, value in forward(inputs).items()}
    scores["together"].append(sum(np.float32(weight) * both[tower] for tower, weight in weights.items()))
    scores["motion"].append(both["motion"])
    if "appearance" not in both:
      both["appearance"] = forward({**inputs, "motion": tf.zeros_like(inputs["motion"])})["hybrid"].numpy()[0]
    scores["appearance"].append(both["appearance"])
  stacked = {view: np.stack(values) for view, values in scores.items()}
  labels = np.array([judge.classes.index(s.class_name) for s in stimuli], np.int64)
  return Verdicts(labels, {view: values.argmax(axis=1).astype(np.int64) for view, values in stacked.items()}, stacked)


def score_scale(checkpoint: checkpoint_lib.Checkpoint, stimuli: Sequence[ClassStimulus]) -> float:
  """Returns the largest score of `prediction` over stimuli: what stands in for a_hat in a network that never saw a clip.

  Without any positive score the largest magnitude is returned, or 1.
  """
  model = checkpoint.model
  largest = []
  for stimulus in stimuli:
    largest.append(np.asarray(model(_inputs(stimulus, checkpoint, None), training=False)["scores_hybrid"], np.float32))
  scores = np.concatenate(largest)
  return float(scores.max()) if scores.max() > 0 else float(np.abs(scores).max()) or 1.0
