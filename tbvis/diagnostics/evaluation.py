"""Scoring the clips of a split: 25 snippets and their mirror images, mean of the pre-softmax scores (METHOD 1.3)."""

from __future__ import annotations

from collections.abc import Iterable
import os

import numpy as np

from tbvis import progress
from tbvis.datasets import reader as reader_lib
from tbvis.diagnostics import passes
from tbvis.diagnostics import predictions as predictions_lib
from tbvis.errors import UsageError
from tbvis.models import checkpoint as checkpoint_lib


def evaluate(
  checkpoint: checkpoint_lib.Checkpoint,
  dataset: reader_lib.ClipSet,
  split: str = "test",
  groups: Iterable[int] | None = None,
  count: int = 25,
  flips: bool = True,
  *,
  blank: str | None = None,
  journal: str | os.PathLike[str] | None = None,
) -> predictions_lib.Predictions:
  """Scores every clip of a split.

  Args:
    checkpoint: the network; its classes must be those of the set.
    dataset: the prepared set.
    split: "test" or "train".
    groups: groups to keep; all by default.
    count: snippets a clip, evenly over its length.
    flips: whether each snippet is also passed mirrored.
    blank: a stream of the network: that input is replaced by zeros, to see what the other does alone.
    journal: file of finished clips. Clips that it holds from a run of the same network and settings are
      not passed again; the result is the same bit by bit.

  Returns:
    Predictions of all clips, in the order of their names.

  Raises:
    UsageError: for other classes, an unknown split, groups without clips, or scores that are not finite.
  """
  passes.check_backend()
  passes.check_blank(blank, checkpoint.sampling.streams)
  if count < 1:
    raise UsageError(f"--snippets: expected at least 1, received {count}.")
  predictions_lib.check_classes(checkpoint.classes, "the checkpoint", dataset.classes, f"prepared set {dataset.name!r}")
  groups = None if groups is None else sorted({int(g) for g in groups})
  total = passes.clip_count(dataset, split, groups)
  key = passes.network_key(checkpoint, dataset=passes.dataset_identity(dataset, split), count=count, flips=flips, blank=blank)
  finished = passes.Journal(journal, key)
  # A journal may come from a run over other groups of the same split: only its clips that belong here count.
  known = {entry["clip"]: entry for entry in finished.entries if groups is None or entry["group"] in groups}

  forward = passes.scores(checkpoint)
  with progress.bar(total=total, description=f"{dataset.name} {split}", unit="clip") as bar:
    bar.update(len(known))
    stream = passes.clip_snippets(checkpoint, dataset, split, groups=groups, count=count, flips=flips, blank=blank, finished=known)
    for clip in stream:
      parts = [{name: value.numpy() for name, value in forward(inputs).items()} for inputs, _ in clip.batches()]
      entry = {"clip": clip.clip, "label": clip.label, "group": clip.group}
      for tower in parts[0]:
        mean = np.concatenate([part[tower] for part in parts]).astype(np.float64).mean(axis=0)
        if not np.isfinite(mean).all():
          raise UsageError(f"Expected finite scores, but the network gives others for clip {clip.clip!r} ({tower}). Train it again.")
        entry[tower] = passes.as_list(mean)
      finished.add(entry)
      known[clip.clip] = entry
      bar.update()
  # By name: the same order whichever run passed a clip.
  order = sorted(known)
  entries = [known[name] for name in order]
  towers = [name for name in entries[0] if name in predictions_lib.TOWERS]
  scores = {tower: np.array([entry[tower] for entry in entries], np.float32) for tower in towers}
  return predictions_lib.Predictions.create(order, [entry["label"] for entry in entries], dataset.classes, scores)
