"""What units answer to each clip, one value a clip and unit; and what is left of it when one stream is blanked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
import dataclasses
import os
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tbvis import progress
from tbvis.datasets import reader as reader_lib
from tbvis.diagnostics import collection, passes, statistics
from tbvis.diagnostics import predictions as predictions_lib
from tbvis.models import checkpoint as checkpoint_lib


@dataclasses.dataclass(frozen=True, eq=False)
class Responses:
  """Largest pre-ReLU values of units on clips.

  Attributes:
    clips: names.
    labels: int (clips,), class numbers.
    groups: int (clips,), group numbers.
    values: float32 (clips, units) by layer: the largest over snippets and locations.
    without: by stream that was blanked and by layer, the values at the very same snippet and location.
    source: which clips these are, for people.
  """

  clips: tuple[str, ...]
  labels: np.ndarray
  groups: np.ndarray
  values: Mapping[str, np.ndarray]
  without: Mapping[str, Mapping[str, np.ndarray]]
  source: str

  def a_hat(self, layer: str) -> np.ndarray:
    """Returns the largest value of each unit, made positive as `statistics.positive_a_hat` does, float32 (units,)."""
    return statistics.positive_a_hat(self.values[layer].max(axis=0), layer)

  def blocks(self) -> np.ndarray:
    """Returns int (clips,): a number for each class and group; clips of one resemble each other."""
    return np.unique(np.stack([self.labels, self.groups], axis=1), axis=0, return_inverse=True)[1].reshape(-1)


def drops(values: np.ndarray, without: np.ndarray, top: int) -> np.ndarray:
  """Returns the median part of a unit's value that is lost by a blanked stream, over the clips that excite it most.

  Args:
    values: (clips, units).
    without: (clips, units), at the same places.
    top: how many clips.

  Returns:
    (units,): 0 nothing is lost, 1 all; above 1 the unit falls below zero. NaN for a unit with no positive value.

  >>> drops(np.array([[4.0], [2.0], [-1.0]]), np.array([[1.0], [1.0], [5.0]]), top=2).tolist()
  [0.625]
  """
  order = np.argsort(-values, axis=0, kind="stable")[:top]
  best, rest = np.take_along_axis(values, order, 0), np.take_along_axis(without, order, 0)
  lost = np.where(best > 0, (best - rest) / np.where(best > 0, best, 1), np.nan)
  alive = (best > 0).any(axis=0)
  result = np.full(lost.shape[1], np.nan)
  result[alive] = np.nanmedian(lost[:, alive], axis=0)
  return result


def _at(values: tf.Tensor, number: tf.Tensor, yx: tf.Tensor) -> tf.Tensor:
  """Returns float32 (C,): of values as `collection.as_maps` takes them each channel's at its own map (C,) and place (C, 2)."""
  values = collection.as_maps(values)
  channel = tf.range(tf.shape(values)[-1])
  return tf.cast(tf.gather_nd(values, tf.stack([number, yx[:, 0], yx[:, 1], channel], axis=1)), tf.float32)


def _program(model: keras.Model, layers: Sequence[str], blanked: Sequence[str]) -> Any:
  probe = keras.Model(model.input, {name: model.get_layer(name).output for name in layers})
  rest = keras.Model(model.input, {name: model.get_layer(name).output for name in blanked}) if blanked else None

  def outputs(inputs: dict[str, tf.Tensor]) -> dict[str, dict[str, Any]]:
    best = {name: collection.location_maxima(value) for name, value in probe(inputs, training=False).items()}
    if rest is not None:
      for stream in inputs:
        without = {**inputs, stream: tf.zeros_like(inputs[stream])}
        for name, value in rest(without, training=False).items():
          best[name][stream] = _at(value, best[name]["map"], best[name]["yx"])
    return {name: {key: value for key, value in found.items() if key not in ("map", "maps", "yx")} for name, found in best.items()}

  return passes.program(model, outputs)


def _joined(best: dict[str, np.ndarray] | None, new: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
  """Joins two batches of one clip: whatever belongs to the larger value."""
  if best is None:
    return new
  wins = new["value"] > best["value"]
  return {name: np.where(wins, value, best[name]) for name, value in new.items()}


def collect(
  checkpoint: checkpoint_lib.Checkpoint,
  dataset: reader_lib.PreparedDataset,
  layers: Sequence[str],
  *,
  blanked: Sequence[str] = (),
  groups: Iterable[int] | None = None,
  count: int = 5,
  journal: str | os.PathLike[str] | None = None,
  description: str = "responses",
) -> Responses:
  """Passes the training clips that were held out by group through a network; test clips are never used.

  Args:
    checkpoint: the network.
    dataset: the prepared set.
    layers: names.
    blanked: those of them that are also measured with either stream replaced by zeros (the mean frame, no motion).
    groups: groups of the training split; by default those that the checkpoint says were held out.
    count: snippets a clip.
    journal: file of finished clips, from which an interrupted pass goes on.
    description: of the progress bar.

  Raises:
    UsageError: for other classes or groups without training clips.
  """
  passes.check_backend()
  predictions_lib.check_classes(checkpoint.classes, "the checkpoint", dataset.classes, f"prepared set {dataset.name!r}")
  groups = collection.validation_groups(checkpoint, groups)
  total = passes.clip_count(dataset, "train", groups)
  identity = passes.dataset_identity(dataset, "train")
  key = passes.network_key(
    checkpoint, dataset=identity, groups=groups, count=count, kind="responses", layers=list(layers), blanked=list(blanked)
  )
  kept = passes.Journal(journal, key)
  forward = _program(checkpoint.model, layers, blanked)
  with progress.bar(total=total, description=description, unit="clip", initial=len(kept.entries)) as bar:
    finished = [entry["clip"] for entry in kept.entries]
    # Finding out that no clip is left would read them all.
    clips = passes.clip_snippets(checkpoint, dataset, "train", groups=groups, count=count, flips=False, finished=finished)
    for clip in clips if len(finished) < total else ():
      best: dict[str, dict[str, np.ndarray]] = {}
      for inputs, _ in clip.batches():
        for name, new in tf.nest.map_structure(lambda t: t.numpy(), forward(inputs)).items():
          best[name] = _joined(best.get(name), new)
      values = {name: {key: passes.as_list(value) for key, value in found.items()} for name, found in best.items()}
      kept.add({"clip": clip.clip, "label": clip.label, "group": clip.group, "values": values})
      bar.update()
  source = f"{dataset.name} train, " + (f"groups {', '.join(map(str, groups))}" if groups else "all groups") + f", {count} snippets a clip"
  return _read(kept.entries, layers, blanked, checkpoint.sampling.streams, source)


def _read(
  entries: Sequence[Mapping[str, Any]], layers: Sequence[str], blanked: Sequence[str], streams: Sequence[str], source: str
) -> Responses:
  def stack(layer: str, field: str) -> np.ndarray:
    return np.array([entry["values"][layer][field] for entry in entries], np.float32)

  return Responses(
    tuple(entry["clip"] for entry in entries),
    np.array([entry["label"] for entry in entries], int),
    np.array([entry["group"] for entry in entries], int),
    {layer: stack(layer, "value") for layer in layers},
    {stream: {layer: stack(layer, stream) for layer in blanked} for stream in (streams if blanked else ())},
    source,
  )
