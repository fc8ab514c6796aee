"""How the scores of two classes move when clips are changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
import dataclasses

import numpy as np

from tbvis import progress
from tbvis.diagnostics import interventions as interventions_lib
from tbvis.diagnostics import passes
from tbvis.diagnostics import predictions as predictions_lib
from tbvis.errors import UsageError, unknown_name
from tbvis.models import checkpoint as checkpoint_lib


@dataclasses.dataclass(frozen=True, eq=False)
class Effect:
  """How the scores of two classes moved.

  Attributes:
    first: name of the class whose score counts positively.
    second: name of the other.
    before: predictions of the clips as they are.
    after: predictions of the same clips under each intervention, by its name.
  """

  first: str
  second: str
  before: predictions_lib.Predictions
  after: Mapping[str, predictions_lib.Predictions]

  def margins(self, name: str | None = None, tower: str = "fused") -> np.ndarray:
    """Returns score_first - score_second of each clip, float32 (clips,): under an intervention, or before where `name` is None."""
    if name is not None and name not in self.after:
      raise unknown_name("intervention", name, self.after)
    found = self.before if name is None else self.after[name]
    if tower not in found.scores:
      raise unknown_name("tower", tower, found.towers)
    a, b = (found.classes.index(class_name) for class_name in (self.first, self.second))
    return found.scores[tower][:, a] - found.scores[tower][:, b]

  def changes(self, name: str, tower: str = "fused") -> np.ndarray:
    """Returns by how much each clip's margin grew, float32 (clips,)."""
    return self.margins(name, tower) - self.margins(None, tower)

  def mean_change(self, name: str, tower: str = "fused") -> float:
    """Returns the mean of `changes`: positive where the intervention speaks for the first class."""
    return float(np.mean(self.changes(name, tower)))

  def signs(self, name: str, tower: str = "fused") -> tuple[int, int]:
    """Returns the numbers of clips whose margin grew and fell, for a sign test."""
    changes = self.changes(name, tower)
    return int(np.sum(changes > 0)), int(np.sum(changes < 0))


def effect(
  checkpoint: checkpoint_lib.Checkpoint,
  clips: Iterable[passes.ClipSnippets],
  first: str,
  second: str,
  interventions: Sequence[interventions_lib.Intervention],
) -> Effect:
  """Scores clips as they are and under each intervention; the network is compiled once.

  Args:
    checkpoint: the network.
    clips: their snippets, such as `passes.clip_snippets` yields; a clip's score is the mean over its snippets.
    first: a class.
    second: another.
    interventions: each with a name of its own.

  Raises:
    UsageError: for an unknown class, interventions of one name, or no clips.
  """
  passes.check_backend()
  for wanted in (first, second):
    if wanted not in checkpoint.classes:
      raise unknown_name("class", wanted, checkpoint.classes, "the network")
  names = [intervention.name for intervention in interventions]
  if len(set(names)) != len(names):
    raise UsageError(f"Expected interventions of different names, received {', '.join(names)}.")
  forward = passes.scores(checkpoint)
  found: dict[str | None, dict[str, list[np.ndarray]]] = {name: {} for name in (None, *names)}
  clip_names, labels = [], []
  for clip in progress.bar(clips, total=None, description="interventions", unit="clip"):
    clip_names.append(clip.clip)
    labels.append(clip.label)
    parts: dict[str | None, dict[str, list[np.ndarray]]] = {name: {} for name in found}
    for inputs, _ in clip.batches():
      for name, intervention in zip(found, (None, *interventions), strict=True):
        changed = intervention(inputs) if intervention else inputs
        for tower, values in forward(changed).items():
          parts[name].setdefault(tower, []).append(values.numpy())
    for name, towers in parts.items():
      for tower, values in towers.items():
        found[name].setdefault(tower, []).append(np.concatenate(values).astype(np.float64).mean(axis=0))
  if not clip_names:
    raise UsageError("Expected clips to intervene in, received none.")

  def predictions(name: str | None) -> predictions_lib.Predictions:
    scores = {tower: np.stack(values) for tower, values in found[name].items()}
    return predictions_lib.Predictions.create(clip_names, labels, checkpoint.classes, scores)

  return Effect(first, second, predictions(None), {name: predictions(name) for name in names})
