"""The spatiotemporal ResNet-50 in PyTorch: everything over (N, channels, chunks, H, W), by MatConvNet's names."""

from __future__ import annotations

import numpy as np
import torch

BLOCKS = {"2": "abc", "3": "abcd", "4": "abcdef", "5": "abc"}
SUFFIXES = {"appearance": "_spatial", "motion": "_temporal"}
_CHANNELS = {"2": 64, "3": 128, "4": 256, "5": 512}


class Network(torch.nn.Module):
  """Both streams.

  Args:
    classes: scores of each.
    width: factor on the channels, rounded to 4.
    last: side of pool5's window, 7 as published.
    time_pool: whether maxima over time go before pool5.
  """

  def __init__(self, classes: int, width: float = 1.0, last: int = 7, time_pool: bool = False):
    super().__init__()
    self.last, self.time_pool, self.values = last, time_pool, {}
    self.layers = torch.nn.ModuleDict()
    for stream, channels in (("appearance", 3), ("motion", 20)):
      self.stream = stream
      before = self._conv("conv1", channels, self._scaled(64, width), (1, 7, 7), 2, (0, 3, 3), bias=True)
      self._norm("bn_conv1", before)
      for stage, blocks in BLOCKS.items():
        narrow, wide = self._scaled(_CHANNELS[stage], width), self._scaled(4 * _CHANNELS[stage], width)
        for block in blocks:
          name, time = f"{stage}{block}", 3 if block == "b" else 1
          stride = 2 if block == "a" and stage != "2" else 1
          if block == "a":
            self._conv(f"res{name}_branch1", before, wide, (1, 1, 1), stride, (0, 0, 0))
            self._norm(f"bn{name}_branch1", wide)
          self._conv(f"res{name}_branch2a", before, narrow, (time, 1, 1), stride, (time // 2, 0, 0))
          self._conv(f"res{name}_branch2b", narrow, narrow, (1, 3, 3), 1, (0, 1, 1))
          self._conv(f"res{name}_branch2c", narrow, wide, (time, 1, 1), 1, (time // 2, 0, 0))
          for branch, size in (("branch2a", narrow), ("branch2b", narrow), ("branch2c", wide)):
            self._norm(f"bn{name}_{branch}", size)
          before = wide
      self.layers[self._named("prediction")] = torch.nn.Conv3d(before, classes, 1)

  @staticmethod
  def _scaled(channels: int, width: float) -> int:
    return max(4, round(channels * width / 4) * 4)

  def _named(self, name: str) -> str:
    return name + SUFFIXES[self.stream]

  def _conv(self, name, before, after, kernel, stride, padding, bias=False) -> int:
    self.layers[self._named(name)] = torch.nn.Conv3d(before, after, kernel, (1, stride, stride), padding, bias=bias)
    return after

  def _norm(self, name: str, channels: int) -> None:
    self.layers[self._named(name)] = torch.nn.BatchNorm3d(channels)

  def forward(self, appearance: torch.Tensor, motion: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns scores of the hybrid and of the motion for (N, channels, chunks, H, W); `values` keeps what every layer gave."""
    self.values, given = {}, {}
    scores = {}
    for self.stream, x in (("motion", motion), ("appearance", appearance)):
      x = torch.relu(self._run("bn_conv1", self._run("conv1", x)))
      x = self._keep("pool1", torch.nn.MaxPool3d((1, 3, 3), (1, 2, 2), ceil_mode=True)(self._keep("conv1_relu", x)))
      branch_input = x
      for stage, blocks in BLOCKS.items():
        for block in blocks:
          name = f"{stage}{block}"
          shortcut = x if block != "a" else self._run(f"bn{name}_branch1", self._run(f"res{name}_branch1", x))
          y = branch_input
          for branch in ("branch2a", "branch2b", "branch2c"):
            y = self._run(f"bn{name}_{branch}", self._run(f"res{name}_{branch}", y))
            y = y if branch == "branch2c" else self._keep(f"res{name}_{branch}_relu", torch.relu(y))
          before_relu = self._keep(f"res{name}", shortcut + y)
          x = branch_input = self._keep(f"res{name}_relu", torch.relu(before_relu))
          if block == "a":
            if self.stream == "motion":
              given[name] = x
            else:
              branch_input = given[name] + before_relu
              self.values[f"res{name}_relu_appearance_sum"] = branch_input
      if self.time_pool:
        x = self._keep("res5c_relu_pool", torch.nn.MaxPool3d((5, 1, 1), (2, 1, 1))(x))
      x = self._keep("pool5", torch.nn.AvgPool3d((1, self.last, self.last), 1)(x))
      places = self.layers[self._named("prediction")](x)
      self.values["prediction" if self.stream == "appearance" else "prediction_motion"] = places
      scores[self.stream] = places.mean(dim=(2, 3, 4))
    return scores["appearance"], scores["motion"]

  def _run(self, name: str, x: torch.Tensor) -> torch.Tensor:
    return self._keep(name, self.layers[self._named(name)](x))

  def _keep(self, name: str, x: torch.Tensor) -> torch.Tensor:
    self.values[f"{name}_{self.stream}"] = x
    return x

  def outputs(self, appearance: np.ndarray, motion: np.ndarray) -> dict[str, np.ndarray]:
    """Returns every layer's values (N, chunks, h, w, channels) by our names, for inputs (N, chunks, H, W, channels)."""
    with torch.no_grad():
      scores = self(*(torch.from_numpy(np.ascontiguousarray(x.transpose(0, 4, 1, 2, 3))) for x in (appearance, motion)))
    found = {name: value.numpy().transpose(0, 2, 3, 4, 1) for name, value in self.values.items()}
    return found | {"scores_hybrid": scores[0].numpy(), "scores_motion": scores[1].numpy()}

  def by_our_names(self) -> dict[str, torch.nn.Module]:
    """Returns modules with weights by the names of our layers."""
    found = {}
    for name, module in self.layers.items():
      for stream, suffix in SUFFIXES.items():
        if name.endswith(suffix):
          base = name.removesuffix(suffix)
          found["prediction" if (base, stream) == ("prediction", "appearance") else f"{base}_{stream}"] = module
    return found
