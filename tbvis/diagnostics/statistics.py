"""What every unit does on validation clips: its largest value (a_hat), its top clips, its mean response by class."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
import dataclasses
import os
import pathlib
import time
from typing import Any

from absl import logging
import keras
import numpy as np
import tensorflow as tf

from tbvis import files, progress
from tbvis.datasets import reader as reader_lib
from tbvis.diagnostics import passes, places
from tbvis.diagnostics import predictions as predictions_lib
from tbvis.errors import UsageError, unknown_name
from tbvis.models import checkpoint as checkpoint_lib
from tbvis.models import geometry
from tbvis.units import CLASS_LAYERS

TOP = 9
_WITH_UNITS = (
  keras.layers.Conv2D, keras.layers.Conv3D, keras.layers.DepthwiseConv2D, keras.layers.SeparableConv2D, keras.layers.Dense,
)  # fmt: skip
_SAVE_EVERY_S = 60
_FIELDS = ("values", "clips", "frames", "map_yx", "input_yx", "class_sums")


@dataclasses.dataclass(frozen=True)
class TopClip:
  """One of the clips that excite a unit most.

  Attributes:
    clip: name.
    label: class number.
    value: the unit's largest pre-ReLU value on it.
    frame: 0-based frame of the snippet it was found in.
    map_yx: where, in the layer's map.
    input_yx: where, in pixels of the input (the centre of the receptive field).
  """

  clip: str
  label: int
  value: float
  frame: int
  map_yx: tuple[int, int]
  input_yx: tuple[int, int]


@dataclasses.dataclass(frozen=True)
class LayerStatistics:
  """Statistics of the units of one layer; ranks without a clip hold -inf and -1.

  Attributes:
    values: float32 (units, TOP), largest pre-ReLU values of the top clips, largest first.
    clips: int32 (units, TOP), their places in `UnitStatistics.clips`.
    frames: int32 (units, TOP).
    map_yx: int32 (units, TOP, 2).
    input_yx: int32 (units, TOP, 2).
    class_sums: float64 (classes, units), sums over clips of the largest value.
  """

  values: np.ndarray
  clips: np.ndarray
  frames: np.ndarray
  map_yx: np.ndarray
  input_yx: np.ndarray
  class_sums: np.ndarray

  @classmethod
  def empty(cls, units: int, classes: int) -> LayerStatistics:
    """Returns the statistics of no clips."""
    none = np.full((units, TOP), -1, np.int32)
    place = np.full((units, TOP, 2), -1, np.int32)
    return cls(np.full((units, TOP), -np.inf, np.float32), none, none.copy(), place, place.copy(), np.zeros((classes, units)))

  def with_clip(self, clip: int, label: int, best: Mapping[str, np.ndarray], offset: float | np.ndarray, stride: int) -> LayerStatistics:
    """Returns the statistics with one clip more.

    Args:
      clip: its number.
      label: its class.
      best: its largest value (units,), with "frame" and "yx" (units, 2).
      offset: of the layer, see `places.centre_offsets`; one for y and x, or (2,).
      stride: of the layer; 0 where it has one place.
    """
    new = {
      "values": best["value"],
      "clips": np.full(len(best["value"]), clip, np.int32),
      "frames": best["frame"],
      "map_yx": best["yx"],
      "input_yx": places.to_input(best["yx"], offset, stride),
    }
    joined = {name: np.concatenate([getattr(self, name), value[:, None]], axis=1) for name, value in new.items()}
    # Stable: of equal values the earlier clip stays ahead.
    order = np.argsort(-joined["values"], axis=1, kind="stable")[:, :TOP]
    rows = np.arange(len(order))[:, None]
    sums = self.class_sums.copy()
    sums[label] += best["value"]
    return LayerStatistics(**{name: value[rows, order] for name, value in joined.items()}, class_sums=sums)


@dataclasses.dataclass(frozen=True)
class UnitStatistics:
  """Statistics of all units of a network over validation clips.

  Attributes:
    classes: class names.
    clips: names of the clips.
    labels: int64 (clips,).
    layers: statistics by layer name.
    source: the prepared set, split and groups that the clips are from.
    key: digits of the network and settings, see `passes.network_key`.
  """

  classes: tuple[str, ...]
  clips: tuple[str, ...]
  labels: np.ndarray
  layers: Mapping[str, LayerStatistics]
  source: str = ""
  key: str = ""

  def _layer(self, layer: str) -> LayerStatistics:
    if layer not in self.layers:
      raise unknown_name("layer", layer, self.layers, "the unit statistics")
    return self.layers[layer]

  def largest(self, layer: str) -> np.ndarray:
    """Returns the largest pre-ReLU value of each unit as measured, float32 (units,); it may be negative."""
    return self._layer(layer).values[:, 0].copy()

  def a_hat(self, layer: str, units: int | None = None) -> np.ndarray:
    """Returns a_hat of each unit: its largest pre-ReLU value over the validation clips (METHOD 2.3).

    Where that is not positive, or the layer is absent, the median of the layer's positive ones stands in, or 1
    where there is none; a warning says so.

    Args:
      layer: layer name.
      units: number of units, for a layer that is absent here.

    Returns:
      float32 (units,), all positive.

    Raises:
      UsageError: if the layer is absent and `units` is not given.
    """
    if layer not in self.layers and units is not None:
      logging.warning("a_hat: no statistics of layer %s; 1 is used for its %d units.", layer, units)
      return np.ones(units, np.float32)
    return positive_a_hat(self.largest(layer), layer)

  def top_clips(self, layer: str, channel: int) -> tuple[TopClip, ...]:
    """Returns the clips that excite a unit most, best first, at most `TOP`.

    Args:
      layer: layer name.
      channel: 0-based.
    """
    found = self._layer(layer)
    if not 0 <= channel < len(found.values):
      raise UsageError(f"Expected a channel of 0 to {len(found.values) - 1} of layer {layer!r}, received {channel}.")
    return tuple(
      TopClip(
        clip=self.clips[found.clips[channel, rank]],
        label=int(self.labels[found.clips[channel, rank]]),
        value=float(found.values[channel, rank]),
        frame=int(found.frames[channel, rank]),
        map_yx=tuple(found.map_yx[channel, rank].tolist()),
        input_yx=tuple(found.input_yx[channel, rank].tolist()),
      )
      for rank in range(TOP)
      if found.clips[channel, rank] >= 0
    )

  def class_means(self, layer: str) -> np.ndarray:
    """Returns the mean over the clips of each class of a unit's largest value, float32 (classes, units); NaN without clips."""
    counts = np.bincount(self.labels, minlength=len(self.classes)).astype(np.float64)
    with np.errstate(invalid="ignore"):
      return (self._layer(layer).class_sums / np.where(counts > 0, counts, np.nan)[:, None]).astype(np.float32)

  def describe(self, layers: Sequence[str], channel: int) -> dict[str, Any]:
    """Returns what is known of a unit, as `summaries.StimulusWriter.add_statistics` takes it.

    Args:
      layers: the layers that the unit is of: one, or both towers', whose values add up.
      channel: 0-based.

    Returns:
      {"a_hat": float, "class_means": {class: mean response, of classes with clips}, "top_clips": [{"clip", "class", "layer",
      "value", "frame", "x", "y"}, ...]}: the clips best first, by their value over the layer's a_hat.
    """
    a_hat = {layer: float(self.a_hat(layer)[channel]) for layer in layers}
    # float32, written with its own few digits: a layer has hundreds of units, and each a mean of every class.
    means = np.sum([self.class_means(layer)[:, channel] for layer in layers], axis=0)
    top = [(layer, clip) for layer in layers for clip in self.top_clips(layer, channel)]
    top.sort(key=lambda found: -found[1].value / a_hat[found[0]])
    return {
      "a_hat": sum(a_hat.values()),
      "class_means": {name: float(str(mean)) for name, mean in zip(self.classes, means, strict=True) if np.isfinite(mean)},
      "top_clips": [
        {
          "clip": clip.clip, "class": self.classes[clip.label], "layer": layer, "value": clip.value,
          "frame": clip.frame, "x": clip.input_yx[1], "y": clip.input_yx[0],
        }
        for layer, clip in top[:TOP]
      ],
    }  # fmt: skip

  def save(self, path: str | os.PathLike[str]) -> None:
    """Writes the npz: clips, labels, classes, layers, source, key, and <layer>/<field> of every layer."""
    arrays: dict[str, Any] = {
      "clips": np.array(self.clips, str),
      "labels": self.labels,
      "classes": np.array(self.classes, str),
      "layers": np.array(list(self.layers), str),
      "source": np.array(self.source),
      "key": np.array(self.key),
    }
    for name, layer in self.layers.items():
      arrays.update({f"{name}/{field}": getattr(layer, field) for field in _FIELDS})
    files.write_npz(path, **arrays)

  @classmethod
  def load(cls, path: str | os.PathLike[str], *, classes: Sequence[str] | None = None) -> UnitStatistics:
    """Reads what `save` wrote.

    Args:
      path: the npz.
      classes: if given, the classes that it must have.

    Raises:
      UsageError: if the file is missing, is not such a file, or has other classes.
    """
    arrays = predictions_lib.load_arrays(path, ("clips", "labels", "classes", "layers", "source", "key"), "unit statistics")
    names = [str(name) for name in arrays["layers"]]
    lacking = [f"{name}/{field}" for name in names for field in _FIELDS if f"{name}/{field}" not in arrays]
    if lacking:
      raise UsageError(f"Expected an npz file of unit statistics, but {path} lacks {', '.join(lacking[:3])}.")
    found = tuple(str(name) for name in arrays["classes"])
    if classes is not None:
      predictions_lib.check_classes(classes, "the network", found, str(path))
    layers = {name: LayerStatistics(**{field: arrays[f"{name}/{field}"] for field in _FIELDS}) for name in names}
    return cls(found, tuple(map(str, arrays["clips"])), arrays["labels"], layers, str(arrays["source"]), str(arrays["key"]))


def positive_a_hat(largest: np.ndarray, layer: str) -> np.ndarray:
  """Replaces what is not positive by the median of the positive ones, or 1, with a warning.

  >>> positive_a_hat(np.array([1.0, 3.0, -2.0], np.float32), "conv1_1_motion").tolist()
  [1.0, 3.0, 2.0]
  """
  good = np.isfinite(largest) & (largest > 0)
  if good.all():
    return largest.astype(np.float32)
  stand_in = float(np.median(largest[good])) if good.any() else 1.0
  which = "the median of the others" if good.any() else "as no unit of the layer is"
  bad = np.flatnonzero(~good)
  shown = ", ".join(f"f{channel + 1:03d}" for channel in bad[:6]) + (", ..." if len(bad) > 6 else "")
  logging.warning("a_hat: %d unit(s) of %s are never positive (%s); %.4g is used, %s.", len(bad), layer, shown, stand_in, which)
  return np.where(good, largest, np.float32(stand_in)).astype(np.float32)


def unit_layers(model: keras.Model) -> list[str]:
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
  layers = unit_layers(model)
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
