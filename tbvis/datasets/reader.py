"""Reading prepared sets."""

from __future__ import annotations

from collections.abc import Iterable
import dataclasses
import functools
import pathlib
from typing import Protocol

import tensorflow as tf
import tensorflow_datasets as tfds

from tbvis import datasets
from tbvis.datasets import builder as builder_lib
from tbvis.errors import UsageError, unknown_name

_ENCODED = {key: tfds.decode.SkipDecoding() for key in ("frames", "flow_u", "flow_v")}


class ClipSet(Protocol):
  """What is read as a prepared set: one on disk, or a view of such sets (`views`)."""

  @property
  def name(self) -> str:
    """As `ucf101_split1_dis`."""

  @property
  def classes(self) -> tuple[str, ...]:
    """Names in the order of the labels."""

  def groups(self, split: str) -> tuple[int, ...]:
    """Returns the groups of a split, sorted."""

  def clips(self, split: str, groups: Iterable[int] | None = None, shuffle_seed: int | None = None) -> tf.data.Dataset:
    """Reads whole clips, still encoded; see `PreparedDataset.clips`."""


@dataclasses.dataclass(frozen=True)
class PreparedDataset:
  """A prepared set on disk.

  Attributes:
    name: as `ucf101_split1_dis`.
    classes: names in the order of the labels.
    splits: number of clips by split.
    builder: the TFDS builder that reads it.
    kept: for each of the classes its label on disk, where not all are kept (see `of_classes`); None for all.
  """

  name: str
  classes: tuple[str, ...]
  splits: dict[str, int]
  builder: tfds.core.DatasetBuilder
  kept: tuple[int, ...] | None = None

  def of_classes(self, names: Iterable[str]) -> PreparedDataset:
    """Returns the clips of some classes as a set of its own: in the order that they have here, with labels counted anew.

    Args:
      names: classes to keep, in any order.

    Raises:
      UsageError: for a class that the set does not have.
    """
    wanted = set(names)
    for name in sorted(wanted - set(self.classes)):
      raise unknown_name("class", name, self.classes, f"prepared set {self.name!r}")
    stored = range(len(self.classes)) if self.kept is None else self.kept
    chosen = [(name, label) for name, label in zip(self.classes, stored, strict=True) if name in wanted]
    kept = tuple(label for _, label in chosen)
    splits = {split: sum(int(clip["label"]) in kept for clip in self._numbers(split, "label")) for split in self.splits}
    return dataclasses.replace(self, classes=tuple(name for name, _ in chosen), splits=splits, kept=kept)

  def clips(self, split: str, groups: Iterable[int] | None = None, shuffle_seed: int | None = None) -> tf.data.Dataset:
    """Reads whole clips, still encoded.

    Args:
      split: "train" or "test".
      groups: groups to keep; all by default.
      shuffle_seed: seed of the order of the files and of a small buffer; None keeps the order on disk.

    Returns:
      Elements {"clip": string, "label", "group": int64, "frames": string (T,), "flow_u", "flow_v": string (T - 1,)}.

    Raises:
      UsageError: for a split that the set does not have.
    """
    if split not in self.splits:
      raise unknown_name("split", split, self.splits, f"prepared set {self.name!r}")
    config = tfds.ReadConfig(shuffle_seed=shuffle_seed, try_autocache=False, interleave_cycle_length=1 if shuffle_seed is None else 4)
    with builder_lib.quiet():
      data = self.builder.as_dataset(split=split, decoders=_ENCODED, read_config=config, shuffle_files=shuffle_seed is not None)
    if groups is not None:
      wanted = tf.constant(sorted(groups), tf.int64)
      data = data.filter(lambda clip: tf.reduce_any(clip["group"] == wanted))
    if self.kept is not None:
      kept = tf.constant(self.kept, tf.int64)
      data = data.filter(lambda clip: tf.reduce_any(clip["label"] == kept))
      data = data.map(lambda clip: {**clip, "label": tf.argmax(tf.cast(clip["label"] == kept, tf.int32))})
    return data

  def groups(self, split: str) -> tuple[int, ...]:
    """Returns the groups of a split, sorted."""
    if split not in self._groups:
      clips = self._numbers(split, "label", "group")
      found = {int(clip["group"]) for clip in clips if self.kept is None or int(clip["label"]) in self.kept}
      self._groups[split] = tuple(sorted(found))
    return self._groups[split]

  @functools.cached_property
  def _groups(self) -> dict[str, tuple[int, ...]]:
    """Groups by split, of those asked for: to find them a whole split is read."""
    return {}

  def _numbers(self, split: str, *keys: str) -> tf.data.Dataset:
    """Reads a few numbers of every clip on disk, and no pictures."""
    only = tfds.decode.PartialDecoding(dict.fromkeys(keys, True))
    with builder_lib.quiet():
      return self.builder.as_dataset(split=split, decoders=only)


def prepared_names(data_dir: str | pathlib.Path) -> list[str]:
  """Returns the names of the sets prepared under a folder."""
  return sorted({p.parent.parent.name for p in pathlib.Path(data_dir).glob(f"{datasets.PREPARED_FOLDER}/*/*/dataset_info.json")})


def open_dataset(data_dir: str | pathlib.Path, name: str) -> PreparedDataset:
  """Opens a prepared set.

  Args:
    data_dir: the folder given to tbvis-prepare.
    name: as `stage_split1_dis`.

  Raises:
    UsageError: if there is none of that name, or it was prepared by another version.
  """
  folder = pathlib.Path(data_dir) / datasets.PREPARED_FOLDER / name
  ready = sorted(p.parent for p in folder.glob("*/dataset_info.json"))
  if not ready:
    names = prepared_names(data_dir)
    if not names:
      raise UsageError(f"--data_dir: no prepared set under {data_dir}. Make one with tbvis-prepare.")
    raise unknown_name("prepared set", name, names, str(data_dir))
  current = folder / builder_lib.CURRENT_VERSION
  if current not in ready:
    raise UsageError(
      f"{folder} holds version {', '.join(p.name for p in ready)}, expected {builder_lib.CURRENT_VERSION}. "
      "Prepare it again with tbvis-prepare."
    )
  builder = tfds.builder_from_directory(str(current))
  classes = tuple(builder.info.features["label"].names)
  return PreparedDataset(name, classes, {s: i.num_examples for s, i in builder.info.splits.items()}, builder)
