"""Which clips of one class were taken for another, and how sure each tower was."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tb_plugin.refusals import BadRequestError, DamagedError, short


def _softmax(scores: np.ndarray) -> np.ndarray:
  # Scores of strangers may be infinite; what comes of that is looked at by the caller.
  with np.errstate(all="ignore"):
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True, initial=-np.inf))
    return powers / powers.sum(axis=-1, keepdims=True)


def clips_of_pair(content: Mapping[str, Any], scores: np.ndarray, tower: str, true: str, predicted: str, limit: int = 24) -> dict[str, Any]:
  """Lists the clips behind one cell of a confusion matrix, and right ones to compare them with.

  Args:
    content: of the confusions' tag, checked (see `tbvis.summaries.write_confusions`).
    scores: float32 (towers, clips, classes), before the softmax.
    tower: whose predictions count.
    true: the clips' class.
    predicted: the class they were taken for.
    limit: clips listed of each kind.

  Returns:
    {"confused": [...], "true": [...], "predicted": [...]}: clips of `true` taken for `predicted`, and clips of each
    class that were recognised; the surest first. Each has clip, thumbnail and, by tower, the softmax probability of
    both classes and the best class. "counts" has the lengths before the limit.

  Raises:
    BadRequestError: if the tower or a class is not there.
    DamagedError: if scores of these clips are no numbers.
  """
  classes, towers, labels = content["classes"], content["towers"], np.asarray(content["labels"], int)
  if tower not in towers or true not in classes or predicted not in classes:
    names = ", ".join(map(short, (tower, true, predicted)))
    raise BadRequestError(f"Expected a tower of {', '.join(towers)} and two classes, received {names}.")
  a, b = classes.index(true), classes.index(predicted)
  indices = np.flatnonzero((labels == a) | (labels == b))
  probabilities = _softmax(scores[:, indices])
  if not np.isfinite(probabilities).all():
    raise DamagedError(f"Expected finite scores of the clips of {short(true)} and {short(predicted)}, found others.")
  best = probabilities.argmax(axis=-1)
  chosen = towers.index(tower)

  def rows(label: int, answer: int) -> list[int]:
    found = np.flatnonzero((labels[indices] == label) & (best[chosen] == answer))
    return found[np.argsort(-probabilities[chosen, found, answer], kind="stable")].tolist()

  def described(i: int) -> dict[str, Any]:
    return {
      "clip": content["clips"][indices[i]],
      "thumbnail": content["thumbnails"][indices[i]],
      "towers": {
        name: {"true": float(probabilities[t, i, a]), "predicted": float(probabilities[t, i, b]), "best": classes[best[t, i]]}
        for t, name in enumerate(towers)
      },
    }

  lists = {"confused": rows(a, b) if a != b else [], "true": rows(a, a), "predicted": rows(b, b) if a != b else []}
  shown = {key: [described(i) for i in found[:limit]] for key, found in lists.items()}
  return {"counts": {key: len(found) for key, found in lists.items()}, **shown}
