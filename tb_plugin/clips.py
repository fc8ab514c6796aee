"""Which clips of one class were taken for another, and how sure each tower was."""

from __future__ import annotations

import json
from typing import Any

import numpy as np


def _softmax(scores: np.ndarray) -> np.ndarray:
  powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
  return powers / powers.sum(axis=-1, keepdims=True)


def clips_of_pair(blobs: list[bytes], tower: str, true: str, predicted: str, limit: int = 24) -> dict[str, Any]:
  """Lists the clips behind one cell of a confusion matrix, and right ones to compare them with.

  Args:
    blobs: of the confusions' tag (see `tbvis.summaries.write_confusions`).
    tower: whose predictions count.
    true: the clips' class.
    predicted: the class they were taken for.
    limit: clips listed of each kind.

  Returns:
    {"confused": [...], "true": [...], "predicted": [...]}: clips of `true` taken for `predicted`, and clips of each
    class that were recognised; the surest first. Each has clip, thumbnail and, by tower, the softmax probability of
    both classes and the best class. "counts" has the lengths before the limit.

  Raises:
    KeyError: if the tower or a class is not there.
  """
  content = json.loads(blobs[0])
  classes, towers, labels = content["classes"], content["towers"], np.asarray(content["labels"], int)
  if tower not in towers or true not in classes or predicted not in classes:
    raise KeyError(f"Expected a tower of {', '.join(towers)} and two classes, received {tower!r}, {true!r}, {predicted!r}.")
  a, b = classes.index(true), classes.index(predicted)
  scores = np.frombuffer(blobs[1], "<f4").reshape(len(towers), len(labels), len(classes))
  probabilities = _softmax(scores[:, (labels == a) | (labels == b)])
  indices = np.flatnonzero((labels == a) | (labels == b))
  best = probabilities.argmax(axis=-1)
  chosen = towers.index(tower)

  def rows(label: int, answer: int) -> list[dict[str, Any]]:
    found = np.flatnonzero((labels[indices] == label) & (best[chosen] == answer))
    found = found[np.argsort(-probabilities[chosen, found, answer], kind="stable")]
    return [
      {
        "clip": content["clips"][indices[i]],
        "thumbnail": content["thumbnails"][indices[i]],
        "towers": {
          name: {"true": float(probabilities[t, i, a]), "predicted": float(probabilities[t, i, b]), "best": classes[best[t, i]]}
          for t, name in enumerate(towers)
        },
      }
      for i in found
    ]

  lists = {"confused": rows(a, b) if a != b else [], "true": rows(a, a), "predicted": rows(b, b) if a != b else []}
  return {"counts": {key: len(value) for key, value in lists.items()}, **{key: value[:limit] for key, value in lists.items()}}
