"""What networks of others do to pixels before their first layer, and how that layer is made to take our inputs instead."""

from __future__ import annotations

import dataclasses
import pathlib

import numpy as np

from tbvis.errors import UsageError, unknown_name
from tbvis.weights.source import Source

# Our motion input is the stored byte less this (METHOD 1.2).
_OUR_MOTION_MEAN = 128.0


@dataclasses.dataclass(frozen=True)
class Preprocessing:
  """A network's input is (bytes - mean) / std.

  Attributes:
    text: the same in words, for people.
    reversed_channels: whether the network takes B, G, R.
    appearance_mean: of R, G, B, in bytes.
    appearance_std: of R, G, B, in bytes.
    motion_mean: of the stored flow, in bytes.
    motion_std: of the stored flow, in bytes.
  """

  text: str
  reversed_channels: bool
  appearance_mean: tuple[float, float, float]
  appearance_std: tuple[float, float, float] = (1.0, 1.0, 1.0)
  motion_mean: float = _OUR_MOTION_MEAN
  motion_std: float = 1.0


# The means of VGG-16 are those of ImageNet; TSN's Caffe and PyTorch networks differ in the third (METHOD 1.1).
PREPROCESSINGS = {
  "caffe": Preprocessing("B, G, R bytes less (103.939, 116.779, 123.68); flow bytes less 128", True, (123.68, 116.779, 103.939)),
  "caffe_tsn": Preprocessing("B, G, R bytes less (104, 117, 123); flow bytes less 128", True, (123.0, 117.0, 104.0)),
  "torch_tsn": Preprocessing("B, G, R bytes less (104, 117, 128); flow bytes less 128", True, (128.0, 117.0, 104.0)),
  "raw": Preprocessing("R, G, B bytes less (123.68, 116.779, 103.939); flow bytes less 128", False, (123.68, 116.779, 103.939)),
  "torchvision": Preprocessing(
    "R, G, B / 255 less (0.485, 0.456, 0.406), by (0.229, 0.224, 0.225); flow / 255 less 0.5, by 0.226",
    False,
    (0.485 * 255, 0.456 * 255, 0.406 * 255),
    (0.229 * 255, 0.224 * 255, 0.225 * 255),
    0.5 * 255,
    0.226 * 255,
  ),
  "half": Preprocessing(
    "R, G, B and flow / 255 less 0.5, by 0.5", False, (127.5, 127.5, 127.5), (127.5, 127.5, 127.5), motion_mean=127.5, motion_std=127.5
  ),
}


def by_name(name: str, path: pathlib.Path) -> Preprocessing:
  """Returns a preprocessing by its name.

  Raises:
    UsageError: if there is none of that name.
  """
  if name not in PREPROCESSINGS:
    raise unknown_name("preprocessing", name, PREPROCESSINGS, str(path))
  return PREPROCESSINGS[name]


def assume(source: Source, name: str) -> Source:
  """Returns a source of Caffe or PyTorch whose network was trained with another preprocessing than its file says.

  Raises:
    UsageError: if there is none of that name, or the format knows none.
  """
  chosen = by_name(name, source.path)
  if "preprocessing" not in source.info:
    raise UsageError(f"--preprocessing is for networks of Caffe and PyTorch; files of {source.format} say it or have one only.")
  told = {"preprocessing": name, "preprocessing_text": chosen.text, "appearance_mean": chosen.appearance_mean}
  return dataclasses.replace(source, info={**source.info, **told})


def fold(kernel: np.ndarray, bias: np.ndarray | None, preprocessing: Preprocessing) -> tuple[np.ndarray, np.ndarray | None]:
  """Returns a first kernel and bias that take our inputs: R, G, B bytes less the network's own mean, or flow bytes less 128.

  The appearance mean stays the network's, so that zero padding means the same on both sides; of the motion mean's
  difference from 128 the bias takes account, exactly but for windows that reach into the padding.

  Args:
    kernel: float (kh, kw, channels, filters), of 3 channels for appearance and any other number for motion.
    bias: float (filters,), or None; without one, motion means other than 128 stay uncorrected.
    preprocessing: what the network was trained with.

  >>> kernel, _ = fold(np.array([1.0, 2.0, 3.0]).reshape(1, 1, 3, 1), None, PREPROCESSINGS["caffe"])
  >>> kernel.ravel()
  array([3., 2., 1.])
  """
  if kernel.shape[2] == 3:
    kernel = kernel[:, :, ::-1] if preprocessing.reversed_channels else kernel
    return kernel / np.asarray(preprocessing.appearance_std, kernel.dtype)[:, None], bias
  kernel = kernel / np.asarray(preprocessing.motion_std, kernel.dtype)
  if bias is not None:
    bias = bias + kernel.sum(axis=(0, 1, 2)) * np.asarray(_OUR_MOTION_MEAN - preprocessing.motion_mean, kernel.dtype)
  return kernel, bias
