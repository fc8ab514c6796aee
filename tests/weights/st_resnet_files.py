"""ST-ResNet's files as MATLAB and Caffe write them (METHOD 1.6, 4.1), of a PyTorch network's layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import pathlib
from typing import Any

import numpy as np
import scipy.io
import torch

from tests.weights import caffe_files, exporter

# That of the file's blocks. MatConvNet divides by the deviations as they are stored, whatever it is.
_EPSILON = 1e-4


def arrays(module: torch.nn.Module) -> dict[str, np.ndarray]:
  """Returns a module's state as NumPy arrays."""
  return {name: value.detach().numpy() for name, value in module.state_dict().items() if value.ndim}


def flat(kernel: np.ndarray) -> np.ndarray:
  """Returns a kernel (out, in, time, h, w) as a base tower had it: over one frame, three times what three frames share."""
  return kernel.sum(axis=2)


def write_mat(
  path: pathlib.Path, layers: Mapping[str, torch.nn.Module], *, base: bool = False, time_pool: bool = False, **meta: Any
) -> None:
  """Writes a DagNN.

  Args:
    path: the file.
    layers: with weights, by MatConvNet's names; those of a base tower have no suffix.
    base: whether kernels over time become those of a base tower.
    time_pool: whether there is a pool over time.
    **meta: "mean" and "classes".
  """
  params: dict[str, np.ndarray] = {}
  rows: list[dict[str, Any]] = []

  def add(name: str, kind: str, inputs: Sequence[str], values: Mapping[str, np.ndarray], block: Mapping[str, Any]) -> None:
    suffix = next((s for s in (exporter.SPATIAL, exporter.TEMPORAL) if name.endswith(s)), "")
    names = [f"{name.removesuffix(suffix)}_{what}{suffix}" for what in values]
    params.update(zip(names, values.values(), strict=True))
    rows.append({
      "name": name, "type": f"dagnn.{kind}", "inputs": exporter.cell(inputs), "outputs": exporter.cell([name]),
      "params": exporter.cell(names), "block": dict(block),
    })  # fmt: skip

  for name, module in layers.items():
    state = arrays(module)
    if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
      sigma = np.sqrt(state["running_var"] + module.eps)
      values = {"mult": state["weight"][:, None], "bias": state["bias"][:, None]}
      values["moments"] = np.stack([state["running_mean"], sigma], axis=1)
      add(name, "BatchNorm", ["x"], values, {"numChannels": float(len(sigma)), "epsilon": _EPSILON})
      continue
    kernel = flat(state["weight"]) if base or state["weight"].shape[2] == 1 else state["weight"][..., 0].transpose(0, 1, 3, 2)
    kernel = kernel.transpose(2, 3, 1, 0)  # [kh kw in out], or [1 kt in out].
    over_time = kernel.shape[:2] == (1, 3)
    block = {"size": np.array([kernel.shape], float), "hasBias": "bias" in state, "pad": np.zeros((1, 4)), "stride": np.ones((1, 2))}
    values = {"filter": exporter.matlab(kernel)} | ({"bias": state["bias"][None]} if "bias" in state else {})
    add(name, "ConvTime" if over_time else "Conv", ["x"], values, block)
    if name.endswith("branch1" + exporter.SPATIAL):
      link = name.removesuffix("_branch1" + exporter.SPATIAL)
      add(f"{link}_relu_spatial_sum", "Sum", [f"{link}_relu_temporal", f"{link}_spatial"], {}, {"pickTemporalCentre": False})
  if time_pool:
    add("res5c_relu_pool_spatial", "PoolTime", ["x"], {}, {"method": "max", "poolSize": np.array([[1.0, 5]])})
  entries = [{"name": name, "value": value, "learningRate": 1.0, "weightDecay": 1.0} for name, value in params.items()]
  described = {"normalization": {"averageImage": np.asarray(meta.get("mean", np.zeros((0, 0))), np.float32)}}
  if "classes" in meta:
    described["classes"] = {"name": exporter.cell(meta["classes"]), "description": exporter.cell(meta["classes"])}
  net = {"params": exporter.struct_array(entries), "layers": exporter.struct_array(rows), "meta": described}
  scipy.io.savemat(path, {"net": net}, do_compression=True)


def write_caffe(path: pathlib.Path, layers: Mapping[str, torch.nn.Module]) -> None:
  """Writes a base tower: convolutions, BatchNorm and Scale as two layers in place, a dense classifier called after its data."""
  found = []
  for name, module in layers.items():
    state = arrays(module)
    if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
      # bn2a_branch1 stands behind res2a_branch1, bn_conv1 behind conv1.
      at = name.replace("bn_", "").replace("bn", "res")
      blobs = [state["running_mean"] * 2, state["running_var"] * 2, np.float32([2])]
      found.append(caffe_files.layer(name, "BatchNorm", [caffe_files.blob(blob) for blob in blobs], at, at))
      blobs = [state["weight"], state["bias"]]
      found.append(caffe_files.layer(name.replace("bn", "scale", 1), "Scale", [caffe_files.blob(blob) for blob in blobs], at, at))
    elif name == "prediction":
      blobs = [state["weight"][:, :, 0, 0, 0], state["bias"]]
      found.append(caffe_files.layer("fc1000", "InnerProduct", [caffe_files.blob(blob) for blob in blobs], "pool5"))
    else:
      blobs = [flat(state["weight"]), *([state["bias"]] if "bias" in state else [])]
      found.append(caffe_files.layer(name, "Convolution", [caffe_files.blob(blob) for blob in blobs], "x"))
  path.write_bytes(caffe_files.network(found))


def write_torch(path: pathlib.Path, layers: Mapping[str, torch.nn.Module]) -> None:
  """Writes a base tower as a state dict by Caffe's names; kernels over one frame have no axis of time."""
  state = {}
  for name, module in layers.items():
    for key, value in module.state_dict().items():
      tensor = value.sum(dim=2) if value.ndim == 5 else value
      state[f"{'fc' if name == 'prediction' else name}.{key}"] = tensor[:, :, 0, 0] if name == "prediction" and value.ndim == 5 else tensor
  torch.save({"state_dict": state}, path)
