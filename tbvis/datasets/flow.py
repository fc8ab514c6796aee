"""Optical flow between neighbouring frames, and its 8-bit form."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
import dataclasses
import functools

import cv2
import numpy as np

from tbvis import startup
from tbvis.errors import UsageError, unknown_name

BOUND = 20.0
METHODS = ("dis", "tvl1", "tvl1_tf")


@dataclasses.dataclass(frozen=True)
class Tvl1Settings:
  """Settings of TV-L1 flow: OpenCV's defaults, which METHOD section 6 lists; given in full so that a new default changes nothing.

  Attributes:
    tau: length of a step of the dual variable.
    lambda_: weight of the difference between the images.
    theta: how loosely the auxiliary flow is tied to the flow.
    scales: levels of the pyramid at most.
    warps: warps a level.
    epsilon: change of the flow in pixels, root of the mean square, below which a warp is finished.
    inner: steps a round at most.
    outer: rounds a warp at most; each begins with the median filter.
    scale_step: size of a level relative to the finer one.
    median: side of the median filter; none at 1.
  """

  tau: float = 0.25
  lambda_: float = 0.15
  theta: float = 0.3
  scales: int = 5
  warps: int = 5
  epsilon: float = 0.01
  inner: int = 30
  outer: int = 10
  scale_step: float = 0.8
  median: int = 5


@functools.cache
def _dis() -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
  solver = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
  return lambda first, second: _calc(solver, first, second)


def _calc(solver: cv2.DenseOpticalFlow, first: np.ndarray, second: np.ndarray) -> np.ndarray:
  return solver.calc(first, second, None)  # type: ignore[call-overload]  # OpenCV's annotations do not know None: no flow to begin with.


def has_tvl1() -> bool:
  """Returns whether this OpenCV has TV-L1: only its contrib packages do."""
  return hasattr(getattr(cv2, "optflow", None), "DualTVL1OpticalFlow")


@functools.cache
def _tvl1() -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
  if not has_tvl1():
    # All of OpenCV's packages write the same folder cv2, and the last one installed is the one that is there.
    raise UsageError(
      f"--flow=tvl1 needs OpenCV's contrib modules, and the cv2 {cv2.__version__} at {cv2.__file__} has none. Take the other OpenCV "
      "packages away: pip uninstall opencv-python opencv-python-headless opencv-contrib-python opencv-contrib-python-headless, "
      "then pip install opencv-contrib-python-headless. Or take --flow=dis."
    )
  settings = Tvl1Settings()
  solver = cv2.optflow.DualTVL1OpticalFlow.create(
    tau=settings.tau,
    lambda_=settings.lambda_,
    theta=settings.theta,
    nscales=settings.scales,
    warps=settings.warps,
    epsilon=settings.epsilon,
    innnerIterations=settings.inner,
    outerIterations=settings.outer,
    scaleStep=settings.scale_step,
    gamma=0.0,
    medianFiltering=settings.median,
    useInitialFlow=False,
  )

  def solve(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    # Frames too small for all levels would leave OpenCV's solver with fewer, for later frames too.
    solver.setScalesNumber(settings.scales)
    return _calc(solver, first, second)

  return solve


def compute_flows(frames: np.ndarray, method: str = "dis") -> Iterator[np.ndarray]:
  """Computes the flow from each frame of a clip to the next, as they are asked for: those of a long clip would fill the memory.

  Args:
    frames: uint8 RGB (T, H, W, 3) or grey (T, H, W).
    method: "tvl1" (Zach et al. 2007, OpenCV's settings), "tvl1_tf" (the same by TensorFlow, on a GPU where there is one) or "dis"
      (Kroeger et al. 2016, medium preset).

  Yields:
    T - 1 times float32 (H, W, 2): u to the right and v downwards, in pixels a frame.

  Raises:
    UsageError: for an unknown method, or TV-L1 with an OpenCV that lacks it.
    ValueError: for frames of another shape.
  """
  if method not in METHODS:
    raise unknown_name("flow method", method, METHODS, "--flow")
  if not (frames.ndim == 3 or (frames.ndim == 4 and frames.shape[-1] == 3)):
    raise ValueError(f"expected frames (T, H, W) or (T, H, W, 3), received {frames.shape}.")
  grey: Sequence[np.ndarray] = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames] if frames.ndim == 4 else list(frames)
  if method == "tvl1_tf":
    # Not before it is asked for: TensorFlow takes seconds and memory that no other method needs.
    startup.load_tensorflow()
    from tbvis.datasets import tvl1

    size = tvl1.batch_size(*frames.shape[1:3])
    for start in range(0, len(frames) - 1, size):
      batch = np.stack(grey[start : start + size + 1])
      yield from tvl1.compute_flows(batch[:-1], batch[1:], pairs_at_once=size)
    return
  solve = _dis() if method == "dis" else _tvl1()
  for first, second in zip(grey[:-1], grey[1:], strict=True):
    yield solve(first, second)


def compute_flow(first: np.ndarray, second: np.ndarray, method: str = "dis") -> np.ndarray:
  """Computes the flow from `first` to `second`: `compute_flows` of two frames.

  Returns:
    float32 (H, W, 2): u to the right and v downwards, in pixels.
  """
  return next(compute_flows(np.stack([first, second]), method))


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
