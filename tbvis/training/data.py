"""Batches of augmented snippets for training."""

from __future__ import annotations

from collections.abc import Iterable

import tensorflow as tf

from tbvis.datasets import reader, snippets
from tbvis.models import sampling as sampling_lib

_BUFFER_CLIPS = 48


def training_batches(
  dataset: reader.PreparedDataset,
  groups: Iterable[int] | None,
  *,
  batch_size: int,
  input_size: int,
  appearance_mean: tuple[float, float, float],
  augmentation: snippets.Augmentation,
  sampling: sampling_lib.Sampling,
  seed: int,
  repeat: bool = True,
) -> tf.data.Dataset:
  """Draws one random snippet of every clip, pass after pass.

  Args:
    dataset: a prepared set; its "train" split is read.
    groups: groups to keep; all by default.
    batch_size: snippets a batch.
    input_size: side of the crops in pixels.
    appearance_mean: R, G, B.
    augmentation: how crops are taken.
    sampling: what of a clip is shown at once, and which of its streams.
    seed: the same seed draws the same snippets.
    repeat: whether to go on without end; otherwise one pass, the last batch smaller.

  Returns:
    Elements ({stream: float32 (N, [chunks,] S, S, C)}, int64 (N,) labels).
  """
  clips = dataset.clips("train", groups, shuffle_seed=seed)
  if repeat:
    clips = clips.repeat()
  clips = clips.shuffle(_BUFFER_CLIPS, seed=seed)

  def draw(index: tf.Tensor, clip: dict[str, tf.Tensor]) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
    snippet = snippets.training_snippet(
      clip,
      tf.stack([tf.constant(seed, tf.int32), tf.cast(index, tf.int32)]),
      input_size=input_size,
      appearance_mean=appearance_mean,
      augmentation=augmentation,
      sampling=sampling,
    )
    return snippet, clip["label"]

  batches = clips.enumerate().map(draw, num_parallel_calls=tf.data.AUTOTUNE).batch(batch_size, drop_remainder=repeat)
  return batches.prefetch(2)
