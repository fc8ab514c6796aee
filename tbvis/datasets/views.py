"""Prepared sets under other labels, and several read as one; nothing is copied on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
import dataclasses

import numpy as np
import tensorflow as tf

from tbvis.datasets.reader import ClipSet
from tbvis.errors import UsageError, unknown_name

# No data set's groups are numbered beyond this: UCF101 has 25, HMDB51 and Kinetics number films.
_LARGEST_GROUP = 1 << 20


@dataclasses.dataclass(frozen=True, eq=False)
class Relabelled:
  """A set whose clips bear other labels.

  Attributes:
    base: the set.
    classes: names in the order of the new labels.
    labels: of a clip's label and group its new label, or None where the clip is left out.
    suffix: put behind the clips' names, so that clips of one name in two sets can be told apart.
  """

  base: ClipSet
  classes: tuple[str, ...]
  labels: Callable[[int, int], int | None]
  suffix: str = ""

  @property
  def name(self) -> str:
    """Name of the set."""
    return f"{self.base.name}{self.suffix}"

  def groups(self, split: str) -> tuple[int, ...]:
    """Returns the groups of a split, sorted; those of clips that are left out too."""
    return self.base.groups(split)

  def clips(self, split: str, groups: Iterable[int] | None = None, shuffle_seed: int | None = None) -> tf.data.Dataset:
    """Reads clips as `PreparedDataset.clips` does.

    Raises:
      UsageError: for a split that the set does not have.
    """
    found = self.base.groups(split)
    if found and found[-1] > _LARGEST_GROUP:
      raise UsageError(f"Expected groups of {self.base.name!r} up to {_LARGEST_GROUP}, found {found[-1]}.")
    table = np.full((len(self.base.classes), (found[-1] if found else 0) + 1), -1, np.int64)
    for label in range(len(table)):
      for group in found:
        new = self.labels(label, group)
        table[label, group] = -1 if new is None else new
    table = tf.constant(table)

    def new_label(clip: dict[str, tf.Tensor]) -> tf.Tensor:
      return tf.gather_nd(table, tf.stack([clip["label"], clip["group"]]))

    kept = self.base.clips(split, groups, shuffle_seed).filter(lambda clip: new_label(clip) >= 0)
    return kept.map(lambda clip: {**clip, "label": new_label(clip), "clip": clip["clip"] + self.suffix})


@dataclasses.dataclass(frozen=True, eq=False)
class Joined:
  """Several sets of the same classes, read one after the other.

  Attributes:
    name: what the whole is called.
    sets: each with the splits that it has.
  """

  name: str
  sets: Sequence[tuple[ClipSet, tuple[str, ...]]]

  def __post_init__(self) -> None:
    if not self.sets or len({of.classes for of, _ in self.sets}) != 1:
      raise UsageError(f"Expected sets of the same classes, received {[of.classes for of, _ in self.sets]}.")

  @property
  def classes(self) -> tuple[str, ...]:
    """Names in the order of the labels."""
    return self.sets[0][0].classes

  def _of(self, split: str) -> list[ClipSet]:
    found = [of for of, splits in self.sets if split in splits]
    if not found:
      raise unknown_name("split", split, sorted({s for _, splits in self.sets for s in splits}), self.name)
    return found

  def groups(self, split: str) -> tuple[int, ...]:
    """Returns the groups of a split, sorted."""
    return tuple(sorted({group for of in self._of(split) for group in of.groups(split)}))

  def clips(self, split: str, groups: Iterable[int] | None = None, shuffle_seed: int | None = None) -> tf.data.Dataset:
    """Reads clips as `PreparedDataset.clips` does, set after set."""
    wanted = None if groups is None else tuple(groups)
    first, *others = (of.clips(split, wanted, shuffle_seed) for of in self._of(split))
    for other in others:
      first = first.concatenate(other)
    return first
