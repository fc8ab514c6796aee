"""Optical flow between neighbouring frames, and its 8-bit form."""

from __future__ import annotations

from collections.abc import Callable
import functools

import cv2
import numpy as np

from tbvis.errors import UsageError, unknown_name

BOUND = 20.0
METHODS = ("dis", "tvl1")


@functools.cache
def _dis() -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
  solver = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
  return lambda first, second: solver.calc(first, second, None)


@functools.cache
def _tvl1() -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
  if not hasattr(getattr(cv2, "optflow", None), "DualTVL1OpticalFlow_create"):
    # All of OpenCV's packages write the same folder cv2, and the last one installed is the one that is there.
    raise UsageError(
      f"--flow=tvl1 needs OpenCV's contrib modules, and the cv2 {cv2.__version__} at {cv2.__file__} has none. Take the other OpenCV "
      "packages away: pip uninstall opencv-python opencv-python-headless opencv-contrib-python opencv-contrib-python-headless, "
      "then pip install opencv-contrib-python-headless. Or take --flow=dis."
    )
  # OpenCV's defaults, which METHOD section 6 lists; given in full so that a new default changes nothing.
  solver = cv2.optflow.DualTVL1OpticalFlow_create(
    tau=0.25,
    lambda_=0.15,
    theta=0.3,
    nscales=5,
    warps=5,
    epsilon=0.01,
    innnerIterations=30,
    outerIterations=10,
    scaleStep=0.8,
    gamma=0.0,
    medianFiltering=5,
    useInitialFlow=False,
  )
  return lambda first, second: solver.calc(first, second, None)


def compute_flow(first: np.ndarray, second: np.ndarray, method: str = "dis") -> np.ndarray:
  """Computes the flow from `first` to `second`.

  Args:
    first: uint8 RGB (H, W, 3) or grey (H, W).
    second: of the same shape.
    method: "tvl1" (Zach et al. 2007, OpenCV's settings) or "dis" (Kroeger et al. 2016, medium preset).

  Returns:
    float32 (H, W, 2): u to the right and v downwards, in pixels a frame.

  Raises:
    UsageError: for an unknown method, or TV-L1 with an OpenCV that lacks it.
  """
  if method not in METHODS:
    raise unknown_name("flow method", method, METHODS, "--flow")
  grey = [cv2.cvtColor(f, cv2.COLOR_RGB2GRAY) if f.ndim == 3 else f for f in (first, second)]
  return (_dis() if method == "dis" else _tvl1())(*grey)


def quantize(flow: np.ndarray) -> np.ndarray:
  """Maps flow to 8 bits: q = round(255 (clip(f, +-20) + 20) / 40) (METHOD 1.2); zero becomes 128.

  >>> quantize(np.array([-30.0, 0.0, 20.0]))
  array([  0, 128, 255], dtype=uint8)
  """
  clipped = np.clip(flow, -BOUND, BOUND)
  # floor(x + 0.5) rounds halves up, as the published files do (a zero is 127.5).
  return np.floor(255.0 * (clipped + BOUND) / (2 * BOUND) + 0.5).astype(np.uint8)


def dequantize(values: np.ndarray) -> np.ndarray:
  """Returns flow in pixels a frame from its 8-bit form, zero at 128: (q - 128) 40 / 255."""
  return (values.astype(np.float32) - 128.0) * (2 * BOUND / 255.0)
