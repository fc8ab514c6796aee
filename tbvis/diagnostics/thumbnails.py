"""Small animations of real clips, frames and flow side by side, for the confusion view."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tbvis import progress
from tbvis.datasets import reader as reader_lib
from tbvis.diagnostics import predictions as predictions_lib
from tbvis.rendering import animation

FRAMES = 16
# Every third frame of 25 a second, shown for 120 ms, plays at the clip's own speed.
STEP = 3
MILLISECONDS = 120


def choose_clips(predictions: predictions_lib.Predictions, limit: int) -> list[str]:
  """Returns the clips worth showing: those that the fused score gets wrong, then other towers' errors, then right ones.

  Right ones come by turns of class, so that every class has some.
  """
  wrong = {tower: predictions.predicted(tower) != predictions.labels for tower in predictions.towers}
  right_before = np.zeros(len(predictions.classes), int)
  ranks = []
  for row, label in enumerate(predictions.labels):
    if wrong["fused"][row]:
      rank = (0, 0)
    elif any(wrong[tower][row] for tower in wrong):
      rank = (1, 0)
    else:
      rank = (2, int(right_before[label]))
      right_before[label] += 1
    ranks.append((*rank, row))
  return [predictions.clips[row] for *_, row in sorted(ranks)[: max(0, limit)]]


def _thumbnail(clip: dict[str, np.ndarray]) -> bytes:
  total = len(clip["flow_u"])
  step = min(STEP, max(1, total // FRAMES))
  count = min(FRAMES, total // step)
  first = (total - count * step) // 2
  chosen = range(first, first + count * step, step)
  frames = np.stack([animation.decode(clip["frames"][i])[0] for i in chosen])
  planes = [np.stack([animation.decode(clip[name][i])[0][..., 0] for i in chosen]) for name in ("flow_u", "flow_v")]
  return animation.clip_thumbnail(frames, np.stack(planes, axis=-1).astype(np.float32) - 128, milliseconds=MILLISECONDS)


def clip_thumbnails(dataset: reader_lib.PreparedDataset, split: str, clips: Sequence[str]) -> dict[str, bytes]:
  """Makes the thumbnails of named clips.

  Args:
    dataset: the prepared set.
    split: the split that they are in.
    clips: their names; those that the split does not have are left out.

  Returns:
    Animated WebP by clip: `FRAMES` frames or fewer from the middle of the clip.
  """
  if not clips:
    return {}
  wanted = tf.constant(sorted(clips), tf.string)
  data = dataset.clips(split).filter(lambda clip: tf.reduce_any(clip["clip"] == wanted))
  with progress.bar(data.as_numpy_iterator(), total=len(clips), description="thumbnails", unit="clip") as items:
    return {item["clip"].decode(): _thumbnail(item) for item in items}
