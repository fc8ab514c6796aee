"""Writes MatConvNet networks as MATLAB saves them (METHOD 1.1, 1.4, 1.6), with SciPy, for the importer's tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import pathlib
from typing import Any

import numpy as np
import scipy.io

BLOCKS = ((1, 2), (2, 2), (3, 3), (4, 3), (5, 3))
SPATIAL, TEMPORAL = "_spatial", "_temporal"


def tower(
  seed: int, *, channels: Sequence[int] = (4, 8, 16, 32, 32), first: int = 3, units: int = 12, classes: int = 5, side: int = 2
) -> dict:
  """Returns the parameters of a base tower by MatConvNet's names: kernels [kh kw cin cout], biases [1 cout]."""
  rng = np.random.default_rng(seed)
  params: dict[str, np.ndarray] = {}

  def add(name: str, *shape: int) -> None:
    params[f"{name}f"] = rng.normal(scale=np.sqrt(2 / np.prod(shape[:3])), size=shape).astype(np.float32)
    params[f"{name}b"] = rng.normal(scale=0.1, size=(1, shape[3])).astype(np.float32)

  before = first
  for (block, depth), width in zip(BLOCKS, channels, strict=True):
    for index in range(1, depth + 1):
      add(f"conv{block}_{index}", 3, 3, before, width)
      before = width
  add("fc6", side, side, before, units)
  add("fc7", 1, 1, units, units)
  add("layer38", 1, 1, units, classes)
  return params


def fused(spatial: Mapping[str, np.ndarray], temporal: Mapping[str, np.ndarray], *, three_d: bool, seed: int = 9) -> dict[str, np.ndarray]:
  """Returns the parameters of a fusion network: both towers with suffixes, `prediction`, and the fusion's."""
  params = {
    f"{name.replace('layer38', 'prediction')[:-1]}{name[-1]}{suffix}": value
    for suffix, tower in ((SPATIAL, spatial), (TEMPORAL, temporal))
    for name, value in tower.items()
  }
  width = spatial["conv5_3b"].shape[1]
  rng = np.random.default_rng(seed)
  shape = (3, 3, 3, 2 * width, width) if three_d else (1, 1, 2 * width, width)
  name = "conv3D" if three_d else "conv_fusion_1"
  params[f"{name}f"] = rng.normal(scale=0.1, size=shape).astype(np.float32)
  params[f"{name}b"] = rng.normal(scale=0.1, size=(1, width)).astype(np.float32)
  return params


def write_simplenn(
  path: pathlib.Path,
  params: Mapping[str, np.ndarray],
  *,
  old: bool = False,
  classes: Sequence[str] = (),
  mean: Any = None,
  extra: Sequence[Mapping[str, Any]] = (),
) -> None:
  """Writes a base tower as a SimpleNN; `old` has filters and biases as fields, and normalization beside the layers.

  `extra` are further layers' fields.
  """
  cells = []
  for layer in _sequence(params):
    fields: dict[str, Any] = {"name": layer["name"], "type": layer["simple"]}
    if layer["name"] == "layer38":
      del fields["name"]  # The new classifier has none.
    if layer["params"]:
      pair = [params[name] for name in layer["params"]]
      fields |= {"filters": pair[0], "biases": pair[1]} if old else {"weights": cell(pair)}
      fields |= {"stride": 1.0, "pad": 1.0 if layer["name"].startswith("conv") else 0.0}
    cells.append(fields)
  net = {"layers": cell([*cells, *extra])}
  described = {"normalization": _normalization(mean), "classes": _classes(classes)}
  scipy.io.savemat(path, {**net, **described} if old else {"net": {**net, "meta": described}}, do_compression=True)


def write_dagnn(
  path: pathlib.Path,
  params: Mapping[str, np.ndarray],
  *,
  classes: Sequence[str] = (),
  mean: Any = None,
  under_net: bool = True,
  squeezed: bool = False,
  compressed: bool = True,
  fuse_into: str = SPATIAL,
  extra: Mapping[str, np.ndarray] | None = None,
) -> None:
  """Writes a base tower or a fusion network (told by the parameters' names) as a DagNN.

  Args:
    path: the file.
    params: of `tower` or `fused`.
    classes: names, in meta.classes.
    mean: meta.normalization.averageImage.
    under_net: whether the fields lie under `net`, beside `stats` and `opts`, or at top level.
    squeezed: whether axes of size 1 are gone, cells of one are bare texts, and empty cells are [].
    compressed: v7, else v6.
    fuse_into: the tower that goes on behind the fusion.
    extra: parameters that no layer refers to.
  """
  layers = _fusion_layers(params, fuse_into) if any(name.endswith(SPATIAL) for name in params) else _sequence(params)

  def strings(names: Sequence[str]) -> Any:
    if squeezed:
      return names[0] if len(names) == 1 else (cell(names).ravel() if names else np.zeros((0, 0)))
    return cell(names)

  rows = [
    {
      "name": layer["name"],
      "type": f"dagnn.{layer['type']}",
      **{key: strings(layer[key]) for key in ("inputs", "outputs", "params")},
      "block": layer["block"],
    }
    for layer in layers
  ]
  values = {**params, **(extra or {})}
  entries = [
    {"name": name, "value": np.squeeze(value) if squeezed else matlab(value), "learningRate": 1.0, "weightDecay": 1.0}
    for name, value in values.items()
  ]
  variables = list(dict.fromkeys(name for l in layers for name in (*l["inputs"], *l["outputs"])))
  net = {
    "vars": struct_array([{"name": name, "precious": False} for name in variables]),
    "params": struct_array(entries),
    "layers": struct_array(rows),
    "meta": {"normalization": _normalization(mean), "classes": _classes(classes)},
  }
  content = {"net": net, "stats": {"train": {"objective": np.arange(3.0)}}, "opts": {"batchSize": 96.0}} if under_net else net
  scipy.io.savemat(path, content, do_compression=compressed)


def matlab(value: np.ndarray) -> np.ndarray:
  """Returns an array as MATLAB keeps it: trailing axes of size 1 are gone."""
  shape = value.shape
  while len(shape) > 2 and shape[-1] == 1:
    shape = shape[:-1]
  return value.reshape(shape)


def cell(items: Sequence[Any]) -> np.ndarray:
  """Returns a 1xN cell."""
  array = np.empty((1, len(items)), object)
  for place, item in enumerate(items):
    array[0, place] = item
  return array


def struct_array(rows: Sequence[Mapping[str, Any]]) -> np.ndarray:
  """Returns a 1xN struct array."""
  array = np.empty((1, len(rows)), [(name, object) for name in rows[0]])
  for place, row in enumerate(rows):
    for name, value in row.items():
      array[0, place][name] = value
  return array


def _normalization(mean: Any) -> dict[str, Any]:
  image = np.zeros((0, 0)) if mean is None else np.asarray(mean, np.float32)
  return {"imageSize": np.array([[64.0, 64, 3]]), "averageImage": image, "border": np.array([[32.0, 32]]), "interpolation": "bilinear"}


def _classes(names: Sequence[str]) -> dict[str, Any]:
  return {"name": cell([f"n{number:08d}" for number, _ in enumerate(names)]), "description": cell(list(names))}


def _layer(
  name: str, kind: str, inputs: Sequence[str], output: str, params: Sequence[str] = (), block: Mapping[str, Any] | None = None
) -> dict:
  simple = {"Conv": "conv", "ReLU": "relu", "Pooling": "pool", "DropOut": "dropout", "Loss": "softmaxloss"}.get(kind, "")
  return {
    "name": name,
    "type": kind,
    "simple": simple,
    "inputs": list(inputs),
    "outputs": [output],
    "params": list(params),
    "block": dict(block or {"opts": cell(["cuDNN"])}),
  }


def _conv(name: str, kernel: np.ndarray, inputs: Sequence[str], output: str, params: Sequence[str]) -> dict:
  three_d = kernel.ndim == 5
  pad = [1.0] * (6 if three_d else 4) if kernel.shape[0] == 3 else [0.0] * 4
  block = {"size": np.array([kernel.shape], float), "hasBias": True, "opts": cell(["cuDNN"]), "pad": np.array([pad]),
           "stride": np.ones((1, 3 if three_d else 2))}  # fmt: skip
  return _layer(name, "Conv3D" if three_d else "Conv", inputs, output, params, block)


def _sequence(params: Mapping[str, np.ndarray], suffix: str = "", variable: str = "input") -> list[dict]:
  """Returns the layers of one tower in MatConvNet's order and names."""
  layers: list[dict] = []
  count = 0

  def add(name: str, kind: str, **more: Any) -> None:
    nonlocal variable, count
    count += 1
    output = f"x{count}{suffix}"
    if kind == "Conv":
      names = [f"{name}f{suffix}", f"{name}b{suffix}"]
      layers.append(_conv(f"{name}{suffix}", params[names[0]], [variable], output, names))
    else:
      layers.append(_layer(f"{name}{suffix}", kind, [variable], output, block=more))
    variable = output

  for block, depth in BLOCKS:
    for index in range(1, depth + 1):
      add(f"conv{block}_{index}", "Conv")
      add(f"relu{block}_{index}", "ReLU", useShortCircuit=True, leak=0.0)
    add(f"pool{block}", "Pooling", method="max", poolSize=np.array([[2.0, 2]]), stride=np.array([[2.0, 2]]), pad=np.zeros((1, 4)))
  for number, dropout in ((6, 34), (7, 37)):
    add(f"fc{number}", "Conv")
    add(f"relu{number}", "ReLU", useShortCircuit=True, leak=0.0)
    add(f"layer{dropout}", "DropOut", rate=0.85, frozen=False)
  add("prediction" if suffix else "layer38", "Conv")
  layers.append(_layer(f"loss39{suffix}", "Loss", [variable, "label"], f"objective{suffix}", block={"loss": "softmaxlog"}))
  return layers


def _fusion_layers(params: Mapping[str, np.ndarray], fuse_into: str) -> list[dict]:
  layers = [*_sequence(params, SPATIAL, "input"), *_sequence(params, TEMPORAL, "input_flow")]
  name, layer = ("conv3D", "conv53D") if "conv3Df" in params else ("conv_fusion_1", "conv_fusion_1")
  towers = (SPATIAL, TEMPORAL) if fuse_into == SPATIAL else (TEMPORAL, SPATIAL)
  joined = _layer("relu5_3_concat", "Concat", [f"x30{suffix}" for suffix in towers], "x_concat", block={"dim": 3.0})
  fusion = _conv(layer, params[f"{name}f"], ["x_concat"], f"x_{name}", [f"{name}f", f"{name}b"])
  relu = _layer("relu3D5" if name == "conv3D" else "relu_fusion_1", "ReLU", [f"x_{name}"], "x_fused")
  for pool in layers:
    if pool["name"] == f"pool5{fuse_into}":
      pool["inputs"] = ["x_fused"]
  at = next(place for place, found in enumerate(layers) if found["name"] == f"pool5{fuse_into}")
  return [*layers[:at], joined, fusion, relu, *layers[at:]]
