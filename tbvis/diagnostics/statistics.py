"""What every unit does on validation clips: its largest value (a_hat), its top clips, its mean response by class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import dataclasses
import os
from typing import Any

from absl import logging
import numpy as np

from tbvis import files
from tbvis.diagnostics import places
from tbvis.diagnostics import predictions as predictions_lib
from tbvis.errors import UsageError, unknown_name

TOP = 9
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
