"""What a stimulus is like, in numbers: how fast it changes, how strong it is."""

from __future__ import annotations

import numpy as np

from tbvis.maximization.transforms import NOISE_LEVEL


def temporal_ratio(motion: np.ndarray) -> float:
  """Returns the mean |difference between frames| of (u, v) over the mean |difference between neighbouring pixels| (METHOD 2.8).

  It proves nothing by itself (noise has a high one): look at contrast and at activation over a_hat beside it.

  Args:
    motion: (H, W, T, 2).

  Returns:
    The ratio; 0 for one frame or a constant input.

  >>> still = np.repeat(np.random.default_rng(0).normal(size=(8, 8, 1, 2)), 10, axis=2)
  >>> temporal_ratio(still)
  0.0
  """
  motion = np.asarray(motion, np.float64)
  if motion.shape[2] < 2:
    return 0.0
  space = np.mean([np.abs(np.diff(motion, axis=axis)).mean() for axis in (0, 1)])
  return float(np.abs(np.diff(motion, axis=2)).mean() / space) if space > 0 else 0.0


def contrast(x: np.ndarray) -> float:
  """Returns the standard deviation of an input over that of the start noise of METHOD 2.3 (1: as strong as the start).

  >>> contrast(np.zeros((4, 4, 3)))
  0.0
  """
  return float(np.std(np.asarray(x, np.float64)) / NOISE_LEVEL)
