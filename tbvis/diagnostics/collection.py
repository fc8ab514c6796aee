"""Takes the statistics of every unit: passes held-out clips through a network and keeps what excites each unit most."""

from __future__ import annotations

from collections.abc import Iterable
import os
import pathlib
import time
from typing import Any

from absl import logging
import keras
import numpy as np
import tensorflow as tf

from tbvis import progress
from tbvis.datasets import reader as reader_lib
from tbvis.diagnostics import passes, places
from tbvis.diagnostics import predictions as predictions_lib
from tbvis.diagnostics.statistics import LayerStatistics, UnitStatistics
from tbvis.errors import UsageError
from tbvis.models import checkpoint as checkpoint_lib
from tbvis.models import geometry
from tbvis.units import CLASS_LAYERS

_WITH_UNITS = (
  keras.layers.Conv2D, keras.layers.Conv3D, keras.layers.DepthwiseConv2D, keras.layers.SeparableConv2D, keras.layers.Dense,
)  # fmt: skip
_SAVE_EVERY_S = 60


def layers_with_units(model: keras.Model) -> list[str]:
  """Returns the layers whose channels are units: every convolution and dense layer, and class units, in the order of the graph."""

  def has_units(layer: Any) -> bool:
    return layer.name in CLASS_LAYERS or isinstance(geometry.inner_layer(layer), _WITH_UNITS)

  return [layer.name for layer in model.layers if has_units(layer)]


def as_maps(values: tf.Tensor) -> tf.Tensor:
  """Returns a layer's values for S snippets as (maps, h, w, C), in the graph; what has no places has one.

  Args:
    values: (S, h, w, C), (S, T, h, w, C), (S, C) or (S, T, C).
  """
  shape = tf.shape(values)
  sides = [shape[-3], shape[-2]] if values.shape.rank > 3 else [1, 1]
  return tf.reshape(values, [-1, *sides, values.shape[-1]])


def location_maxima(values: tf.Tensor) -> dict[str, tf.Tensor]:
  """Finds the largest value of every channel over maps and locations, in the graph.

  Args:
    values: as `as_maps` takes them.

  Returns:
    "value": float32 (C,); "map": int32 (C,); "yx": int32 (C, 2); "maps": int32, how many there are. The first of equal ones, map by
    map, row by row.
  """
  values = as_maps(values)
  # Maxima by axis are far quicker than one argmax over all locations; indices are then sought in what is small.
  rows = tf.reduce_max(values, axis=2)
  largest = tf.cast(tf.reduce_max(rows, axis=1), tf.float32)
  best = tf.argmax(largest, axis=0, output_type=tf.int32)
  channel = tf.range(tf.shape(values)[3])
  own_rows = tf.gather_nd(tf.transpose(rows, [0, 2, 1]), tf.stack([best, channel], axis=1))
  y = tf.argmax(tf.cast(own_rows, tf.float32), axis=1, output_type=tf.int32)
  columns = tf.range(tf.shape(values)[2])
  each = tf.stack([tf.repeat(v[:, None], tf.size(columns), axis=1) for v in (best, y)], axis=-1)
  where = tf.concat([each, tf.stack(tf.meshgrid(columns, channel), axis=-1)], axis=-1)
  own_columns = tf.cast(tf.gather_nd(values, where), tf.float32)
  x = tf.argmax(own_columns, axis=1, output_type=tf.int32)
  return {"value": tf.reduce_max(largest, axis=0), "map": best, "yx": tf.stack([y, x], axis=1), "maps": tf.shape(values)[0]}


def frame_of(frames: np.ndarray, maps: np.ndarray, count: int) -> np.ndarray:
  """Returns the 0-based frames that maps are of, int32.

  Args:
    frames: int (S, chunks), of each chunk of each snippet.
    maps: int (C,), numbers of maps.
    count: how many maps the layer has: one a chunk, or fewer where chunks were joined, whose middle counts.

  >>> frame_of(np.array([[5, 10, 15], [6, 11, 16]]), np.array([0, 2, 4]), 6)
  array([ 5, 15, 11], dtype=int32)
  >>> frame_of(np.array([[5, 10, 15], [6, 11, 16]]), np.array([0, 1]), 2)
  array([10, 11], dtype=int32)
  """
  chunks = frames.shape[1]
  each = count // len(frames)
  chunk = np.minimum(((maps % each + 0.5) * chunks / each).astype(int), chunks - 1)
  return frames[maps // each, chunk].astype(np.int32)


def _better(best: dict[str, np.ndarray] | None, new: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
  """Joins the maxima of two batches of one clip."""
  if best is None:
    return new
  wins = new["value"] > best["value"]
  return {name: np.where(wins[:, None] if value.ndim == 2 else wins, value, best[name]) for name, value in new.items()}


def validation_groups(checkpoint: checkpoint_lib.Checkpoint, override: Iterable[int] | None = None) -> list[int] | None:
  """Returns the training groups that were held out, or None (with a warning) where the checkpoint names none."""
  groups = override if override is not None else checkpoint.metadata.get("validation_groups")
  if groups:
    return sorted({int(g) for g in groups})
  logging.warning("The checkpoint names no training groups held out; unit statistics are taken over all training clips.")
  return None


def collect(
  checkpoint: checkpoint_lib.Checkpoint,
  dataset: reader_lib.ClipSet,
  *,
  groups: Iterable[int] | None = None,
  count: int = 5,
  partial: str | os.PathLike[str] | None = None,
) -> UnitStatistics:
  """Takes the statistics of all units over training clips held out by group, never over test clips.

  Args:
    checkpoint: the network.
    dataset: the prepared set.
    groups: groups of the training split; by default those that the checkpoint says were held out.
    count: snippets a clip, not mirrored.
    partial: file kept every minute, from which an interrupted run of the same network and settings goes on.

  Returns:
    The statistics.

  Raises:
    UsageError: for other classes or groups without training clips.
  """
  passes.check_backend()
  if count < 1:
    raise UsageError(f"--statistics_snippets: expected at least 1, received {count}.")
  predictions_lib.check_classes(checkpoint.classes, "the checkpoint", dataset.classes, f"prepared set {dataset.name!r}")
  groups = validation_groups(checkpoint, groups)
  total = passes.clip_count(dataset, "train", groups)
  key = passes.network_key(checkpoint, dataset=passes.dataset_identity(dataset, "train"), groups=groups, count=count, kind="statistics")
  model = checkpoint.model
  layers = layers_with_units(model)
  table, offsets = geometry.layer_geometry(model, whole=True), places.centre_offsets(model)
  probe = keras.Model(model.input, {name: model.get_layer(name).output for name in layers})

  def maxima(inputs: dict[str, tf.Tensor]) -> dict[str, dict[str, tf.Tensor]]:
    return {name: location_maxima(value) for name, value in probe(inputs, training=False).items()}

  forward = passes.program(model, maxima)
  classes = checkpoint.classes
  source = f"{dataset.name} train, " + (f"groups {', '.join(map(str, groups))}" if groups else "all groups") + f", {count} snippets a clip"
  state = _resume(partial, key)
  clips, labels, found = (list(state.clips), list(state.labels), dict(state.layers)) if state else ([], [], {})
  if not found:
    found = {name: LayerStatistics.empty(table[name].channels, len(classes)) for name in layers}

  def result() -> UnitStatistics:
    return UnitStatistics(classes, tuple(clips), np.array(labels, np.int64), dict(found), source, key)

  saved = time.monotonic()
  with progress.bar(total=total, description="unit statistics", unit="clip") as bar:
    bar.update(len(clips))
    for clip in passes.clip_snippets(checkpoint, dataset, "train", groups=groups, count=count, flips=False, finished=clips):
      best: dict[str, dict[str, np.ndarray]] = {}
      frame_size = next(iter(clip.inputs.values())).shape[-3:-1]
      # Units that see everything are shown in the middle.
      margin, middle = places.crop_margin(model, *frame_size), (np.array(frame_size) - 1) / 2
      for inputs, frames in clip.batches():
        for name, new in tf.nest.map_structure(lambda t: t.numpy(), forward(inputs)).items():
          here = {"value": new["value"], "frame": frame_of(frames, new["map"], int(new["maps"])), "yx": new["yx"]}
          best[name] = _better(best.get(name), here)
      for name in layers:
        offset = margin + offsets[name] if name in offsets else middle
        found[name] = found[name].with_clip(len(clips), clip.label, best[name], offset, table[name].stride or 0)
      clips.append(clip.clip)
      labels.append(clip.label)
      bar.update()
      if partial and time.monotonic() - saved > _SAVE_EVERY_S:
        result().save(partial)
        saved = time.monotonic()
  if partial:
    result().save(partial)
  return result()


def _resume(partial: str | os.PathLike[str] | None, key: str) -> UnitStatistics | None:
  if not partial or not pathlib.Path(partial).exists():
    return None
  try:
    state = UnitStatistics.load(partial)
  except UsageError:
    return None
  return state if state.key == key else None
