"""How much more a unit answers to one class than to the others. NumPy alone: the tab's server uses it too."""

from __future__ import annotations

import numpy as np

_LEAST_CLASSES = 2


def selectivity_index(class_means: np.ndarray) -> np.ndarray:
  """Returns (mu_max - mu_-max) / (mu_max + mu_-max), the class selectivity of Morcos et al. 2018 (On the importance of single directions).

  mu_max is the largest mean response to a class, mu_-max the mean over all other classes: 0 is a unit that answers to all classes alike,
  1 one that answers to a single class. Theirs are responses after the ReLU; of means before it, negative ones count as 0 here, so that
  the index stays between 0 and 1.

  Args:
    class_means: (classes, ...), mean response to each class; NaN where a class has no clips, and it does not count.

  Returns:
    float64 (...); NaN with fewer than two classes, or without a positive mean.

  >>> selectivity_index(np.array([[9.0, 2.0, -1.0], [1.0, 2.0, -2.0], [-4.0, 2.0, -3.0]])).round(3).tolist()
  [0.895, 0.0, nan]
  """
  means = np.asarray(class_means, np.float64)
  known = np.isfinite(means)
  positive = np.where(known, np.maximum(means, 0), 0)
  largest = positive.max(axis=0, initial=0)
  count = known.sum(axis=0)
  others = (positive.sum(axis=0) - largest) / np.maximum(count - 1, 1)
  total = largest + others
  sound = (count >= _LEAST_CLASSES) & (total > 0)
  return np.where(sound, (largest - others) / np.where(sound, total, 1), np.nan)
