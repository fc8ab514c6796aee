"""C3D in PyTorch, by the paper's names."""

from __future__ import annotations

import numpy as np
import torch

NAMES = ("conv1a", "conv2a", "conv3a", "conv3b", "conv4a", "conv4b", "conv5a", "conv5b")
_FILTERS = {"1": 64, "2": 128, "3": 256, "4": 512, "5": 512}


class Network(torch.nn.Module):
  """C3D for films of one size.

  Args:
    classes: scores.
    width: factor on the channels, rounded to 4.
    fc_units: of fc6 and fc7.
    last: (frames, height, width) before fc6: 1, 4, 4 of 16 frames of 112 pixels.
  """

  def __init__(self, classes: int, width: float, fc_units: int, last: tuple[int, int, int]):
    super().__init__()
    before = 3
    for name in NAMES:
      filters = max(4, round(_FILTERS[name[4]] * width / 4) * 4)
      self.add_module(name, torch.nn.Conv3d(before, filters, 3, padding=1))
      before = filters
    self.fc6 = torch.nn.Conv3d(before, fc_units, last)
    self.fc7 = torch.nn.Conv3d(fc_units, fc_units, 1)
    self.prediction = torch.nn.Conv3d(fc_units, classes, 1)

  def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
    """Returns what every layer with weights gives for (N, 3, frames, H, W)."""
    found = {}
    for place, name in enumerate(NAMES):
      found[name] = getattr(self, name)(x)
      x = torch.relu(found[name])
      if place + 1 == len(NAMES) or NAMES[place + 1][4] != name[4]:
        window = (1, 2, 2) if name == "conv1a" else (2, 2, 2)
        x = torch.nn.functional.max_pool3d(x, window, ceil_mode=True)
    for name in ("fc6", "fc7", "prediction"):
      found[name] = getattr(self, name)(x)
      x = torch.relu(found[name])
    return found

  def outputs(self, film: np.ndarray) -> dict[str, np.ndarray]:
    """Returns the same for (N, frames, H, W, 3), channels last, by our names."""
    with torch.no_grad():
      found = self(torch.from_numpy(film.transpose(0, 4, 1, 2, 3).copy()))
    return {f"{name}_appearance": np.moveaxis(value.numpy(), 1, -1) for name, value in found.items()}
