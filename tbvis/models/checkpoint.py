"""Checkpoints: an ordinary `.keras` file that also knows its classes and how it was made."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
from typing import Any
import zipfile

import keras

from tbvis import files
from tbvis.errors import UsageError
from tbvis.models import two_stream

_MEMBER = "tbvis.json"
FORMAT = 1
BUILDERS = {"two_stream_fusion_vgg16": two_stream.two_stream_fusion_vgg16}
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
    metadata: anything else, JSON: "appearance_mean" (R, G, B), "dataset", "training", ...
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


def build(architecture: str, arguments: dict[str, Any], classes: tuple[str, ...], *, dtype: str = "float32", **metadata: Any) -> Checkpoint:
  """Builds a new network, ready to be trained and saved."""
  arguments = {**arguments, "classes": len(classes)}
  model = BUILDERS[architecture](**arguments, dtype=dtype)
  return Checkpoint(model, tuple(classes), architecture, arguments, metadata)


def save_checkpoint(checkpoint: Checkpoint, path: str | os.PathLike[str]) -> None:
  """Writes a checkpoint in one step; `keras.saving.load_model` reads the file too."""
  with files.atomic_path(path) as temporary:
    checkpoint.model.save(temporary)
    info = {
      "format": FORMAT,
      "architecture": checkpoint.architecture,
      "arguments": checkpoint.arguments,
      "classes": checkpoint.classes,
      "metadata": checkpoint.metadata,
    }
    with zipfile.ZipFile(temporary, "a") as archive:
      archive.writestr(_MEMBER, json.dumps(info, indent=1))


def load_checkpoint(path: str | os.PathLike[str], *, dtype: str = "float32") -> Checkpoint:
  """Reads a checkpoint written by `save_checkpoint`.

  Args:
    path: a `.keras` file.
    dtype: Keras dtype policy of the network that is built, whatever it was trained in.

  Raises:
    UsageError: if the file is missing, is no checkpoint of this project, or is of another format.
  """
  path = pathlib.Path(path)
  if not path.is_file():
    near = ", ".join(sorted(p.name for p in path.parent.glob("*.keras"))[:5]) if path.parent.is_dir() else ""
    raise UsageError(f"Expected a checkpoint file, found nothing at {path}." + (f" Beside it: {near}." if near else ""))
  try:
    with zipfile.ZipFile(path) as archive:
      info = json.loads(archive.read(_MEMBER)) if _MEMBER in archive.namelist() else None
  except (zipfile.BadZipFile, json.JSONDecodeError) as error:
    raise UsageError(f"Expected a .keras checkpoint, but {path} cannot be read as one ({error}).") from error
  if info is None:
    raise UsageError(f"{path} is a Keras model without tbvis' description ({_MEMBER}). Expected a file written by tbvis-train.")
  if info["format"] != FORMAT or info["architecture"] not in BUILDERS:
    raise UsageError(
      f"{path}: expected format {FORMAT} and an architecture of {sorted(BUILDERS)}, "
      f"found format {info['format']} and {info['architecture']!r}."
    )
  checkpoint = build(info["architecture"], info["arguments"], tuple(info["classes"]), dtype=dtype)
  # Keras checks names and shapes; the archive's own weights file is what load_weights expects.
  try:
    checkpoint.model.load_weights(path)
  except (ValueError, OSError, KeyError) as error:
    raise UsageError(f"{path}: the weights do not fit its own description ({error}).") from error
  return dataclasses.replace(checkpoint, metadata=info["metadata"])


def copy_weights(source: Checkpoint, target: Checkpoint, where: str) -> list[str]:
  """Copies every layer of one network that another has too; a classifier of other classes is left as it is.

  Args:
    source: the network that gives.
    target: the network that takes.
    where: the file that `source` comes from, for the message.

  Returns:
    Names of the layers set.

  Raises:
    UsageError: if a layer below the classifiers is missing in `source` or has another shape there.
  """
  given = {layer.name: layer for layer in source.model.layers}
  done = []
  for layer in target.model.layers:
    if not layer.weights:
      continue
    wanted = [tuple(w.shape) for w in layer.weights]
    found = [tuple(w.shape) for w in given[layer.name].weights] if layer.name in given else None
    same = found == wanted and (not layer.name.startswith("prediction") or source.classes == target.classes)
    if same:
      layer.set_weights(given[layer.name].get_weights())
      done.append(layer.name)
    elif not layer.name.startswith("prediction"):
      raise UsageError(f"{where}: expected a network whose layer {layer.name} has weights of {wanted}, found {found or 'no such layer'}.")
  return done
