"""What a file of weights holds, before anything is said of layers, and where its tensors shall go."""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
import pathlib
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Source:
  """A file of weights, read.

  Attributes:
    path: the file.
    format: name of the format, as "matconvnet".
    tensors: arrays by the file's own names, in the file's own layout and number type.
    info: what else the file tells: "classes" (names), "appearance_mean" (R, G, B), "layers" (name, type, ...), ...
  """

  path: pathlib.Path
  format: str
  tensors: Mapping[str, np.ndarray]
  info: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Target:
  """A value for one weight of one layer.

  Attributes:
    layer: name of the Keras layer.
    weight: "kernel", "bias", "gamma", "beta", "moving_mean" or "moving_variance".
    value: float32, in Keras' layout (kernels HWIO or DHWIO).
    sources: names of the file's tensors that it was made of.
  """

  layer: str
  weight: str
  value: np.ndarray
  sources: tuple[str, ...]
