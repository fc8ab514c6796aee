"""Checkpoints: an ordinary `.keras` file that also knows its classes and how it was made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
import contextlib
import dataclasses
import inspect
import io
import json
import math
import os
import pathlib
from typing import Any
import zipfile

import h5py
import keras
import numpy as np

from tbvis import files, limits
from tbvis.errors import UsageError, unknown_name
from tbvis.models import adopted, bn_inception, c3d, inception_v3, st_resnet, two_stream
from tbvis.models import sampling as sampling_lib

MEMBER = "tbvis.json"
# Keras' own name for it.
_WEIGHTS = "model.weights.h5"
FORMAT = 1
STORAGES = ("float32", "float16")
_DESCRIPTION = {"format": int, "architecture": str, "arguments": dict, "classes": list, "metadata": dict}
BUILDERS: dict[str, Callable[..., keras.Model]] = {
  "two_stream_fusion_vgg16": two_stream.two_stream_fusion_vgg16,
  "st_resnet50": st_resnet.st_resnet50,
  "tsn_bn_inception": bn_inception.tsn_bn_inception,
  "tsn_inception_v3": inception_v3.tsn_inception_v3,
  "c3d": c3d.c3d,
  "adopted": adopted.adopted,
}
# How networks look at a clip where it is not with `Sampling`'s own values: flow that follows the frame and segments (METHOD 4.2), chunks
# a random way apart (METHOD 1.4, 4.1).
_SAMPLING: dict[str, dict[str, Any]] = {
  "two_stream_fusion_vgg16": {"spacing": (1, 10)},
  "st_resnet50": {"spacing": (5, 15)},
  "tsn_bn_inception": {"flow_before": 0, "spacing": None},
  "tsn_inception_v3": {"flow_before": 0, "spacing": None},
}
_MOST_FRAMES = 10_000
# R, G, B means of ImageNet as VGG-16 was trained (Simonyan & Zisserman 2015).
IMAGENET_MEAN = (123.68, 116.779, 103.939)


@dataclasses.dataclass(frozen=True)
class Checkpoint:
  """A network and what is known of it.

  Attributes:
    model: the Keras model.
    classes: names in the order of its scores.
    architecture: name of the builder in `BUILDERS`.
    arguments: keyword arguments of the builder (without `dtype`).
    metadata: anything else, JSON: "appearance_mean" (R, G, B), "sampling" (what differs from its architecture's `sampling`: "flow_before",
      "spacing"), "dataset", "training", "storage" (of the file that it was read from), ...
  """

  model: keras.Model
  classes: tuple[str, ...]
  architecture: str
  arguments: dict[str, Any]
  metadata: dict[str, Any]

  @property
  def input_size(self) -> int:
    """Side of the training crop in pixels."""
    return int(self.arguments["input_size"])

  @property
  def appearance_mean(self) -> tuple[float, float, float]:
    """R, G, B values subtracted from a frame."""
    return tuple(self.metadata.get("appearance_mean", IMAGENET_MEAN))

  @property
  def sampling(self) -> sampling_lib.Sampling:
    """What of a clip the network is shown at once."""
    shapes = {name: tensor.shape for name, tensor in self.model.input.items()}
    about = {**_SAMPLING.get(self.architecture, {}), **self.metadata.get("sampling", {})}
    if "motion" in shapes:
      frames = shapes["motion"][-1] // 2
      about = {"flow_frames": frames, "flow_before": frames // 2, **about}
    if about.get("spacing"):
      about["spacing"] = tuple(about["spacing"])
    time = next(iter(shapes.values()))[1:-3]
    return sampling_lib.Sampling(tuple(shapes), chunks=time[0] if time else 1, **about)

  @property
  def towers(self) -> tuple[str, ...]:
    """Towers that have scores of their own, as the network names them."""
    return tuple(name.removeprefix("scores_") for name in self.model.output)


def build(architecture: str, arguments: dict[str, Any], classes: tuple[str, ...], *, dtype: str = "float32", **metadata: Any) -> Checkpoint:
  """Builds a new network, ready to be trained and saved."""
  arguments = {**arguments, "classes": len(classes)}
  model = BUILDERS[architecture](**arguments, dtype=dtype)
  return Checkpoint(model, tuple(classes), architecture, arguments, metadata)


def complete_arguments(architecture: str, given: dict[str, Any]) -> dict[str, Any]:
  """Returns arguments of a builder with the defaults of those that are not given, without classes and dtype.

  >>> complete_arguments("tsn_bn_inception", {"width": 0.25})["input_size"]
  224
  """
  parameters = inspect.signature(BUILDERS[architecture]).parameters
  known = {name: parameter.default for name, parameter in parameters.items() if name not in ("classes", "dtype")}
  defaults = {name: default for name, default in known.items() if default is not inspect.Parameter.empty}
  return {**defaults, **given}


def save_checkpoint(checkpoint: Checkpoint, path: str | os.PathLike[str], storage: str = "float32") -> None:
  """Writes a checkpoint in one step; `keras.saving.load_model` reads the file too.

  A checkpoint in half precision has half the size. Loaded, its variables are float32 again and hold the rounded weights.
  To make one of another:

      save_checkpoint(load_checkpoint("large.keras"), "small.keras", storage="float16")

  Args:
    checkpoint: what is written; it is not changed (`round_weights` does that).
    path: a `.keras` file.
    storage: number format of the weights in the file, of `STORAGES`; it is noted in the file's metadata.

  Raises:
    UsageError: for another storage, a weight beyond the range of float16 (naming its layer), or a folder that cannot be written.
  """
  if storage not in STORAGES:
    raise unknown_name("storage", storage, STORAGES)
  with files.atomic_path(path) as temporary:
    checkpoint.model.save(temporary)
    if storage == "float16":
      _store_halves(temporary)
    info = {
      "format": FORMAT,
      "architecture": checkpoint.architecture,
      "arguments": checkpoint.arguments,
      "classes": checkpoint.classes,
      "metadata": {**checkpoint.metadata, "storage": storage},
    }
    with zipfile.ZipFile(temporary, "a") as archive:
      archive.writestr(MEMBER, json.dumps(info, indent=1))


def round_weights(model: keras.Model, storage: str) -> None:
  """Sets every weight of a model to what a checkpoint of that storage keeps of it.

  Raises:
    UsageError: for a weight beyond the range of float16 (naming its layer).
  """
  if storage != "float16":
    return
  for layer in model.layers:
    for variable in layer.weights:
      value = keras.ops.convert_to_numpy(variable)
      if value.dtype == np.float32:
        variable.assign(_half(value, layer.name).astype(np.float32))


def _half(value: np.ndarray, layer: str) -> np.ndarray:
  """Rounds float32 weights to float16; the smallest ones, below 3e-8, become 0."""
  with np.errstate(over="ignore"):
    half = value.astype(np.float16)
  if not np.isfinite(half).all():
    raise UsageError(
      f"Layer {layer}: expected weights of at most {np.finfo(np.float16).max:,.0f} for storage in float16, found {np.abs(value).max():g}. "
      "Store the network in float32."
    )
  return half


def _store_halves(path: pathlib.Path) -> None:
  """Writes a `.keras` file anew with its float32 arrays in float16.

  The members stay as Keras stores them, not packed: packed weights would be smaller by another seventh, but Keras' load_weights, which
  jumps to and fro in them, would take seven times as long.
  """
  with zipfile.ZipFile(path) as archive:
    members = {info.filename: archive.read(info) for info in archive.infolist()}
  halves = io.BytesIO()
  with h5py.File(io.BytesIO(members[_WEIGHTS]), "r") as old, h5py.File(halves, "w") as new:

    def copy(name: str, found: h5py.HLObject) -> None:
      if isinstance(found, h5py.Group):
        made = new.create_group(name)
      else:
        value = found[()]
        is_single = found.dtype == np.float32
        made = new.create_dataset(name, data=_half(value, found.parent.attrs.get("name", name)) if is_single else value)
      made.attrs.update(found.attrs)

    new.attrs.update(old.attrs)
    old.visititems(copy)
  with zipfile.ZipFile(path, "w") as archive:
    for name, content in {**members, _WEIGHTS: halves.getvalue()}.items():
      archive.writestr(name, content)


def load_checkpoint(path: str | os.PathLike[str], *, dtype: str = "float32") -> Checkpoint:
  """Reads a checkpoint written by `save_checkpoint`.

  Args:
    path: a `.keras` file.
    dtype: Keras dtype policy of the network that is built, whatever it was trained in.

  Raises:
    UsageError: if the file is missing or damaged, is no checkpoint of this project, or is of another format.
  """
  path = pathlib.Path(path)
  if not path.is_file():
    near = ", ".join(sorted(p.name for p in path.parent.glob("*.keras"))[:5]) if path.parent.is_dir() else ""
    raise UsageError(f"Expected a checkpoint file, found nothing at {path}." + (f" Beside it: {near}." if near else ""))
  with limits.open_zip(path, "a .keras checkpoint") as archive:
    # HDF5 and Keras read parts of the weights straight out of the archive, past all check sums.
    limits.check_members(path, archive)
    if MEMBER not in archive.namelist():
      raise UsageError(f"{path} is a Keras model without tbvis' description ({MEMBER}). Expected a file written by tbvis-train.")
    info = json.loads(limits.read_member(path, archive, archive.getinfo(MEMBER)))
  _check_description(path, info)
  try:
    checkpoint = build(info["architecture"], info["arguments"], tuple(info["classes"]), dtype=dtype)
  except (ValueError, TypeError, OverflowError) as error:
    raise UsageError(f"{path}: no network can be built of the arguments in {MEMBER} ({_line(error)}).") from error
  # Keras checks names and shapes; the archive's own weights file is what load_weights expects.
  try:
    checkpoint.model.load_weights(path)
  except Exception as error:  # Keras and HDF5 raise a dozen kinds, and each means that the file is wrong.
    raise UsageError(f"{path}: the weights do not fit its own description ({_line(error)}).") from error
  return dataclasses.replace(checkpoint, metadata=info["metadata"])


def checked_mean(values: Any, where: str) -> tuple[float, float, float]:
  """Returns an appearance mean that a file tells.

  Args:
    values: R, G, B.
    where: the file, for the error.

  Raises:
    UsageError: if they are not three finite numbers.

  >>> checked_mean([123, 117.5, 104], "a.keras")
  (123.0, 117.5, 104.0)
  """
  with contextlib.suppress(TypeError, ValueError, OverflowError):
    if not isinstance(values, str):
      red, green, blue = (float(value) for value in values)
      if all(map(math.isfinite, (red, green, blue))):
        return red, green, blue
  raise UsageError(f"{where}: expected an appearance mean of three finite numbers (R, G, B), found {str(values)[:100]}.")


def _check_description(path: pathlib.Path, info: Any) -> None:
  """Raises a UsageError if what a checkpoint says of itself lacks something or has it in another form."""
  found = info if isinstance(info, dict) else {}
  wrong = [name for name, kind in _DESCRIPTION.items() if not isinstance(found.get(name), kind)]
  if wrong:
    raise UsageError(
      f"{path}: expected its description {MEMBER} to have {', '.join(f'{name} ({_DESCRIPTION[name].__name__})' for name in wrong)}, "
      f"found {', '.join(f'{name} ({type(value).__name__})' for name, value in list(found.items())[:8]) or type(info).__name__}."
    )
  if info["format"] != FORMAT or info["architecture"] not in BUILDERS:
    raise UsageError(
      f"{path}: expected format {FORMAT} and an architecture of {sorted(BUILDERS)}, "
      f"found format {info['format']} and {info['architecture']!r}."
    )
  classes = info["classes"]
  if not classes or not all(isinstance(name, str) for name in classes) or not isinstance(info["arguments"].get("input_size"), int):
    raise UsageError(f"{path}: expected names of classes and an input_size in its description {MEMBER}.")
  if "appearance_mean" in info["metadata"]:
    checked_mean(info["metadata"]["appearance_mean"], str(path))
  if not _is_sampling(info["metadata"].get("sampling", {})):
    raise UsageError(
      f"{path}: expected its sampling to have flow_before (frames) and spacing (fewest and most frames) at most, "
      f"found {str(info['metadata']['sampling'])[:100]}."
    )


def _is_sampling(found: Any) -> bool:
  """Tells whether metadata say of a network's look at clips what `Checkpoint.sampling` can use."""
  if not isinstance(found, dict) or set(found) - {"flow_before", "spacing"}:
    return False
  before, spacing = found.get("flow_before", 0), found.get("spacing")
  numbers = [before, *(spacing if isinstance(spacing, list) and len(spacing) == 2 else [])]
  if any(type(number) is not int for number in numbers) or not 0 <= before <= _MOST_FRAMES:
    return False
  return spacing is None or (len(numbers) == 3 and 1 <= spacing[0] <= spacing[1] <= _MOST_FRAMES)


def _line(error: Exception) -> str:
  return (" ".join(str(error).split()) or type(error).__name__)[:300]


def copy_weights(sources: Mapping[str, Checkpoint], target: Checkpoint) -> list[str]:
  """Copies every layer that networks have too into another; a classifier of other classes is left as it is.

  Of networks of different streams each gives its own tower; a tower that none of them has is left as it is. Of two that have a layer
  the first gives it.

  Args:
    sources: the networks that give, by the file that each comes from.
    target: the network that takes.

  Returns:
    Names of the layers set.

  Raises:
    UsageError: if a layer below the classifiers has another shape, or is missing though its stream is there.
  """
  layers = {where: {layer.name: layer for layer in source.model.layers} for where, source in sources.items()}
  missing = set(target.model.input).difference(*(source.model.input for source in sources.values()))
  own = tuple(f"_{stream}" for stream in missing)
  done = []
  for layer in target.model.layers:
    if not layer.weights:
      continue
    classifier = layer.name.startswith("prediction")
    wanted = [tuple(w.shape) for w in layer.weights]
    where = next((where for where in sources if layer.name in layers[where]), None)
    found = [tuple(w.shape) for w in layers[where][layer.name].weights] if where else None
    if where and found == wanted and not (classifier and sources[where].classes != target.classes):
      layer.set_weights(layers[where][layer.name].get_weights())
      done.append(layer.name)
    elif not classifier and (found or not layer.name.endswith(own)):
      raise UsageError(
        f"{where or ', '.join(sources)}: expected a network whose layer {layer.name} has weights of {wanted}, "
        f"found {found or 'no such layer'}."
      )
  return done
