"""TSN's networks in PyTorch, made row by row from the tables of their released definitions, by their released names."""

from __future__ import annotations

import csv
import pathlib

import numpy as np
import torch

TABLES = {"tsn_bn_inception": "bn_inception_layers.csv", "tsn_inception_v3": "inceptionv3_tsn_layers.csv"}
_CLASSIFIERS = ("fc", "top_cls_fc")


def table(network: str) -> list[dict[str, str]]:
  """Returns the rows of a network's table."""
  return list(csv.DictReader((pathlib.Path(__file__).parents[1] / "weights" / TABLES[network]).open()))


def pair(text: str) -> tuple[int, int]:
  """Returns (height, width) of "3x1"."""
  height, width = text.split("x")
  return int(height), int(width)


def batch_norm_name(name: str) -> str:
  """Returns the name of the normalisation behind a convolution."""
  return name.replace("_Conv2D", "_batchnorm") if name.endswith("_Conv2D") else f"{name}_bn"


def rectified_name(name: str) -> str:
  """Returns the name of the ReLU behind a convolution's normalisation."""
  if name.endswith("_Conv2D"):
    return name.removesuffix("_Conv2D")
  # Of the block: conv1_relu_7x7, conv2_relu_3x3_reduce, inception_3a_relu_1x1.
  parts = 2 if name.startswith("inception") else 1
  block, rest = "_".join(name.split("_")[:parts]), "_".join(name.split("_")[parts:])
  return f"{block}_relu_{rest.removesuffix('_s2')}"


class Network(torch.nn.Module):
  """A network of one stream; its modules have the released names.

  Args:
    network: "tsn_bn_inception" or "tsn_inception_v3".
    channels: of the input.
    classes: scores.
    width: factor on the channels, rounded to 4.
    last: side of the last average's window, 7 and 8 as released.
  """

  def __init__(self, network: str, channels: int, classes: int, width: float = 1.0, last: int | None = None):
    super().__init__()
    self.rows = table(network)
    self.last = last
    sizes = {"data": channels}
    for row in self.rows:
      name = row["name"]
      if row["op"] == "conv":
        filters = max(4, round(int(row["out_ch"]) * width / 4) * 4)
        kernel, stride, pad = (pair(row[key]) for key in ("kernel_hxw", "stride_hxw", "pad_hxw"))
        self.add_module(name, torch.nn.Conv2d(sizes[row["input"]], filters, kernel, stride, pad))
        self.add_module(batch_norm_name(name), torch.nn.BatchNorm2d(filters))
        sizes[self._passed_on(name)] = filters
      elif row["op"] == "concat":
        sizes[name] = sum(sizes[part] for part in row["input"].split("+"))
      elif row["op"] == "fc":
        self.add_module(name, torch.nn.Linear(sizes["pooled"], classes))
      else:
        # The dense layer reads the last pool, which one table calls otherwise there.
        sizes[name] = sizes["pooled"] = sizes[row["input"]]
    self.values: dict[str, torch.Tensor] = {}

  @staticmethod
  def _passed_on(name: str) -> str:
    # In Caffe the ReLU works in place, under the normalisation's name.
    return rectified_name(name) if name.endswith("_Conv2D") else batch_norm_name(name)

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    """Returns scores of (N, channels, H, W); what every layer gave is kept in `values`."""
    flowing, self.values = {"data": x}, {}
    for row in self.rows:
      name, op = row["name"], row["op"]
      if op == "concat":
        flowing[name] = torch.cat([flowing[part] for part in row["input"].split("+")], dim=1)
      elif op == "conv":
        self.values[name] = getattr(self, name)(flowing[row["input"]])
        self.values[batch_norm_name(name)] = getattr(self, batch_norm_name(name))(self.values[name])
        self.values[rectified_name(name)] = flowing[self._passed_on(name)] = torch.relu(self.values[batch_norm_name(name)])
        continue
      elif op == "fc":
        # Of a larger image: the mean over places, before or behind the dense layer.
        self.values["scores"] = getattr(self, name)(flowing["pooled"].mean(dim=(2, 3)))
        return self.values["scores"]
      else:
        kernel, stride, pad = (pair(row[key]) for key in ("kernel_hxw", "stride_hxw", "pad_hxw"))
        if name in ("global_pool", "top_cls_pool"):
          kernel = (self.last or kernel[0],) * 2
        make = torch.nn.MaxPool2d if op == "maxpool" else torch.nn.AvgPool2d
        flowing[name] = flowing["pooled"] = make(kernel, stride, pad, ceil_mode=True)(flowing[row["input"]])
      self.values[name] = flowing[name]
    raise AssertionError("a table without a classifier")

  def outputs(self, image: np.ndarray, stream: str) -> dict[str, np.ndarray]:
    """Returns every layer's values, channels last, by our names, for (N, H, W, channels)."""
    with torch.no_grad():
      self(torch.from_numpy(np.ascontiguousarray(image.transpose(0, 3, 1, 2))))
    found = {name: value.numpy() for name, value in self.values.items()}
    return {f"{name}_{stream}": value.transpose(0, 2, 3, 1) if value.ndim == 4 else value for name, value in found.items()}

  def by_our_names(self, stream: str) -> dict[str, torch.nn.Module]:
    """Returns modules with weights by the names of our layers."""
    ours = {name: "prediction" if name in _CLASSIFIERS else name for name, _ in self.named_children()}
    return {f"{ours[name]}_{stream}": module for name, module in self.named_children()}
