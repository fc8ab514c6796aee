"""What a network says of every clip: pre-softmax scores of each tower, their accuracy, and the files they are kept in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import csv
import dataclasses
import os
import pathlib

import numpy as np

from tbvis import files, npz
from tbvis.diagnostics import confusions
from tbvis.errors import UsageError, unknown_name

# The base tower before fusion (where there is one), `prediction`, `prediction_motion`, and the score that counts for the clip.
from tbvis.records import TOWERS, fusion_weights

_ARRAYS = ("clips", "labels", "classes", "scores_fused")


def check_classes(network: Sequence[str], network_name: str, data: Sequence[str], data_name: str) -> None:
  """Checks that a network's scores and a data set's labels count the same classes in the same order.

  Raises:
    UsageError: if they do not, naming both.
  """
  network, data = list(network), list(data)
  if network == data:
    return

  def shown(names: list[str]) -> str:
    return f"{len(names)} classes ({', '.join(names[:6])}{', ...' if len(names) > 6 else ''})"

  if sorted(network) == sorted(data):
    first = next(i for i, (a, b) in enumerate(zip(network, data, strict=True)) if a != b)
    raise UsageError(
      f"Expected {data_name} to list its classes in the order of {network_name}; they differ first at number {first + 1}: "
      f"{data[first]!r} and {network[first]!r}."
    )
  if set(network) < set(data):
    unknown = [name for name in data if name not in network]
    raise UsageError(
      f"Expected a network of all {len(data)} classes of {data_name}, but {network_name} was trained on {len(network)} of them; "
      f"it does not know {', '.join(unknown[:6])}{', ...' if len(unknown) > 6 else ''}."
    )
  raise UsageError(f"Expected one set of classes, but {network_name} was trained on {shown(network)} and {data_name} has {shown(data)}.")


@dataclasses.dataclass(frozen=True)
class Predictions:
  """Scores of clips.

  Attributes:
    clips: names of the clips, each once.
    labels: int64 (clips,), the true class of each.
    classes: names in the order of the scores.
    scores: float32 (clips, classes) by tower, before the softmax: "fused" always, and those of "appearance", "hybrid" and
      "motion" that are known. Our own network has a hybrid; two separate networks have an appearance and a motion only.
  """

  clips: tuple[str, ...]
  labels: np.ndarray
  classes: tuple[str, ...]
  scores: Mapping[str, np.ndarray]

  def __post_init__(self) -> None:
    if self.labels.shape != (len(self.clips),):
      raise UsageError(f"Predictions: expected a label for each of {len(self.clips)} clips, received shape {self.labels.shape}.")
    if len(set(self.clips)) != len(self.clips):
      twice = next(name for i, name in enumerate(self.clips) if name in self.clips[:i])
      raise UsageError(f"Predictions: expected each clip once, received {twice!r} again.")
    if self.labels.size and not 0 <= self.labels.min() <= self.labels.max() < len(self.classes):
      raise UsageError(
        f"Predictions: expected labels of 0 to {len(self.classes) - 1}, received {self.labels.min()} to {self.labels.max()}."
      )
    if "fused" not in self.scores:
      raise UsageError(f"Predictions: expected scores of fused, received those of {', '.join(self.scores) or 'none'}.")
    for tower, values in self.scores.items():
      if tower not in TOWERS:
        raise unknown_name("tower", tower, TOWERS, "predictions")
      if values.shape != (len(self.clips), len(self.classes)):
        raise UsageError(
          f"Predictions: expected scores_{tower} of shape {(len(self.clips), len(self.classes))} (clips, classes), received {values.shape}."
        )
      if not np.isfinite(values).all():
        clip = self.clips[int(np.argmin(np.isfinite(values).all(axis=1)))]
        raise UsageError(f"Predictions: expected finite numbers, but scores_{tower} of clip {clip!r} has others.")

  @classmethod
  def create(
    cls, clips: Sequence[str], labels: Sequence[int] | np.ndarray, classes: Sequence[str], scores: Mapping[str, np.ndarray]
  ) -> Predictions:
    """Builds predictions from the scores of the network's own towers; "fused" is their sum by `records.fusion_weights`.

    >>> p = Predictions.create(["a"], [1], ["x", "y"], {"hybrid": np.array([[0.0, 2.0]]), "motion": np.array([[3.0, 0.0]])})
    >>> p.scores["fused"].tolist(), p.accuracy("fused").fraction, p.accuracy("hybrid").fraction
    ([[1.5, 1.0]], 0.0, 1.0)
    """
    arrays = {tower: np.asarray(scores[tower], np.float32) for tower in TOWERS if tower in scores and tower != "fused"}
    if not arrays:
      raise UsageError(f"Predictions: expected scores of appearance, hybrid or motion, received those of {', '.join(scores) or 'none'}.")
    arrays["fused"] = np.sum([np.float32(weight) * arrays[tower] for tower, weight in fusion_weights(arrays).items()], axis=0)
    return cls(tuple(map(str, clips)), np.asarray(labels, np.int64).reshape(-1), tuple(map(str, classes)), arrays)

  @property
  def towers(self) -> tuple[str, ...]:
    """Towers that have scores, in the order of `TOWERS`."""
    return tuple(tower for tower in TOWERS if tower in self.scores)

  def predicted(self, tower: str = "fused") -> np.ndarray:
    """Returns the class of the highest score of each clip, int64 (clips,)."""
    if tower not in self.scores:
      raise unknown_name("tower", tower, self.towers, "predictions")
    return np.argmax(self.scores[tower], axis=1).astype(np.int64)

  def accuracy(self, tower: str = "fused") -> confusions.Rate:
    """Returns the share of clips whose highest score is their own class."""
    return confusions.Rate(int(np.sum(self.predicted(tower) == self.labels)), len(self.clips))

  def accuracies(self) -> dict[str, confusions.Rate]:
    """Returns the accuracy by tower, in the order of `TOWERS`."""
    return {tower: self.accuracy(tower) for tower in self.towers}

  def confusion(self, tower: str = "fused") -> np.ndarray:
    """Returns counts, int64 (classes, classes), rows by true class."""
    return confusions.confusion_matrix(self.labels, self.predicted(tower), len(self.classes))

  def save(self, path: str | os.PathLike[str]) -> None:
    """Writes the npz: clips, labels, classes, scores_<tower>."""
    arrays = {f"scores_{tower}": self.scores[tower] for tower in self.towers}
    files.write_npz(path, clips=np.array(self.clips, str), labels=self.labels, classes=np.array(self.classes, str), **arrays)

  @classmethod
  def load(cls, path: str | os.PathLike[str], *, classes: Sequence[str] | None = None) -> Predictions:
    """Reads the npz that `save` wrote.

    Args:
      path: the file.
      classes: if given, the classes that the file must have.

    Raises:
      UsageError: if the file is missing, is not such a file, or has other classes.
    """
    arrays = load_arrays(path, _ARRAYS, "predictions")
    try:
      scores = {tower: arrays[f"scores_{tower}"].astype(np.float32) for tower in TOWERS if f"scores_{tower}" in arrays}
      names = tuple(map(str, arrays["classes"]))
      result = cls(tuple(map(str, arrays["clips"])), arrays["labels"].astype(np.int64), names, scores)
    except UsageError as error:
      raise UsageError(f"{path}: {error}") from error
    if classes is not None:
      check_classes(result.classes, str(path), classes, "the network or data set it is used with")
    return result

  def write_csv(self, path: str | os.PathLike[str]) -> None:
    """Writes one row a clip: clip, class, what each tower predicts, and every score."""
    predicted = {tower: self.predicted(tower) for tower in self.towers}
    with files.atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as stream:
      writer = csv.writer(stream)
      score_names = [f"score_{tower}_{name}" for tower in self.towers for name in self.classes]
      writer.writerow(["clip", "class", *(f"predicted_{tower}" for tower in self.towers), *score_names])
      for row, clip in enumerate(self.clips):
        said = [self.classes[predicted[tower][row]] for tower in self.towers]
        values = [f"{value:.6g}" for tower in self.towers for value in self.scores[tower][row]]
        writer.writerow([clip, self.classes[self.labels[row]], *said, *values])


def load_arrays(path: str | os.PathLike[str], required: Sequence[str], kind: str) -> dict[str, np.ndarray]:
  """Reads all arrays of an npz.

  Args:
    path: the file.
    required: names that must be in it.
    kind: what the file should be, for the message ("predictions", "unit statistics").

  Raises:
    UsageError: if it is missing, cannot be read, or lacks an array.
  """
  path = pathlib.Path(path)
  if not path.is_file():
    near = ", ".join(sorted(p.name for p in path.parent.glob("*.npz"))[:5]) if path.parent.is_dir() else ""
    raise UsageError(f"Expected a file of {kind}, found nothing at {path}." + (f" Beside it: {near}." if near else ""))
  arrays = npz.read_arrays(path, f"an npz file of {kind}")
  lacking = [name for name in required if name not in arrays]
  if lacking:
    raise UsageError(
      f"Expected an npz file of {kind}, but {path} lacks {', '.join(lacking)}; it has {', '.join(list(arrays)[:8]) or 'nothing'}."
    )
  return arrays
