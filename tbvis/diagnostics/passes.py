"""Passing whole clips through a network: snippets in, one tensor program, finished clips remembered."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
import dataclasses
import hashlib
import json
import math
import os
import pathlib
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tbvis.datasets import reader as reader_lib
from tbvis.datasets import snippets as snippets_lib
from tbvis.errors import UsageError, unknown_name
from tbvis.models import checkpoint as checkpoint_lib

# Largest number of input pixels passed at once: the first block of a full-width VGG-16 then takes
# about 1 GB. Speed no longer grows with it.
_PIXELS = 400_000


def check_backend() -> None:
  """Checks that networks can be run by what this file compiles.

  Raises:
    UsageError: if Keras does not run on TensorFlow.
  """
  if keras.backend.backend() != "tensorflow":
    raise UsageError(f"Expected KERAS_BACKEND=tensorflow for evaluation and statistics, found {keras.backend.backend()!r}.")


def check_blank(blank: str | None, streams: Sequence[str]) -> None:
  """Checks the name of a stream to leave out.

  Raises:
    UsageError: if it is neither empty nor a stream of the network.
  """
  if blank and blank not in streams:
    raise unknown_name("stream", blank, streams, "--blank")


def network_key(checkpoint: checkpoint_lib.Checkpoint, **settings: Any) -> str:
  """Returns 12 hex digits that change with any weight of the network, its classes, its look at clips, its number format or a setting."""
  digest = hashlib.sha256()
  about: dict[str, Any] = {"architecture": checkpoint.architecture, "arguments": checkpoint.arguments, "classes": list(checkpoint.classes)}
  about["mean"] = list(checkpoint.appearance_mean)
  about["sampling"] = dataclasses.asdict(checkpoint.sampling)
  about["dtypes"] = sorted({layer.compute_dtype for layer in checkpoint.model.layers})
  digest.update(json.dumps({**about, **settings}, sort_keys=True, default=str).encode())
  for variable in checkpoint.model.weights:
    digest.update(variable.path.encode())
    digest.update(np.ascontiguousarray(keras.ops.convert_to_numpy(variable)).tobytes())
  return digest.hexdigest()[:12]


@dataclasses.dataclass(frozen=True)
class ClipSnippets:
  """One clip's snippets, ready for a network.

  Attributes:
    clip: name.
    label: class number in the data set.
    group: group number.
    inputs: float32 (S, [chunks,] H, W, channels) by stream.
    frames: int (S, chunks), the 0-based frame of each chunk.
  """

  clip: str
  label: int
  group: int
  inputs: dict[str, tf.Tensor]
  frames: np.ndarray

  def batches(self) -> Iterator[tuple[dict[str, tf.Tensor], np.ndarray]]:
    """Yields inputs and frames of a few snippets, as many at once as their size allows."""
    count, *pixels = next(iter(self.inputs.values())).shape[:-1]
    size = min(count, max(1, _PIXELS // math.prod(pixels)))
    # Equal parts: a last batch of one snippet would cost as much as several.
    size = -(-count // -(-count // size))
    for start in range(0, count, size):
      part = slice(start, start + size)
      yield {stream: values[part] for stream, values in self.inputs.items()}, self.frames[part]


def clip_snippets(
  checkpoint: checkpoint_lib.Checkpoint,
  dataset: reader_lib.ClipSet,
  split: str,
  *,
  groups: Iterable[int] | None = None,
  count: int = 25,
  flips: bool = True,
  blank: str | None = None,
  finished: Iterable[str] = (),
  labels: Iterable[int] | None = None,
) -> Iterator[ClipSnippets]:
  """Reads the snippets of every clip that is not finished; the next clip is decoded while one is used.

  Args:
    checkpoint: gives the size of the inputs and the mean.
    dataset: the prepared set.
    split: its split.
    groups: groups to keep; all by default.
    count: snippets a clip.
    flips: whether mirrored snippets follow.
    blank: a stream: that input is replaced by zeros (the mean frame, no motion).
    finished: names of clips to leave out.
    labels: class numbers to keep; all by default.

  Yields:
    Clips in the order on disk.
  """
  check_blank(blank, checkpoint.sampling.streams)
  done = tf.constant(sorted(finished), tf.string)

  def prepare(clip: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    inputs, frames = snippets_lib.evaluation_snippets(
      clip, input_size=checkpoint.input_size, appearance_mean=checkpoint.appearance_mean, count=count, flips=flips,
      sampling=checkpoint.sampling,
    )  # fmt: skip
    if blank:
      inputs = {**inputs, blank: tf.zeros_like(inputs[blank])}
    return {"inputs": inputs, "frames": frames, "clip": clip["clip"], "label": clip["label"], "group": clip["group"]}

  data = dataset.clips(split, groups)
  data = data.filter(lambda clip: tf.logical_not(tf.reduce_any(clip["clip"] == done)))
  if labels is not None:
    kept = tf.constant(sorted(labels), tf.int64)
    data = data.filter(lambda clip: tf.reduce_any(clip["label"] == kept))
  for item in data.map(prepare).prefetch(1):
    yield ClipSnippets(
      clip=item["clip"].numpy().decode(),
      label=int(item["label"]),
      group=int(item["group"]),
      inputs=item["inputs"],
      frames=item["frames"].numpy(),
    )


def clip_count(dataset: reader_lib.ClipSet, split: str, groups: Iterable[int] | None) -> int:
  """Returns the number of clips of a split and groups.

  Raises:
    UsageError: if there are none.
  """
  data = dataset.clips(split, groups)
  total = getattr(dataset, "splits", {}).get(split) if groups is None else None
  if total is None:
    total = sum(1 for _ in data.map(lambda clip: clip["group"]))
  if not total:
    named = f" in groups {', '.join(map(str, sorted(groups)))}" if groups is not None else ""
    there = ", ".join(map(str, dataset.groups(split))) or "none"
    raise UsageError(f"Expected clips{named} of split {split!r} of prepared set {dataset.name!r}, found none; its groups are {there}.")
  return int(total)


def program(model: keras.Model, outputs: Callable[[dict[str, tf.Tensor]], Any]) -> Callable[[dict[str, tf.Tensor]], Any]:
  """Compiles a function of a network's inputs by stream, once for snippets of any number and size."""
  specs = {name: tf.TensorSpec(tensor.shape, tf.float32, name=name) for name, tensor in model.input.items()}
  return tf.function(outputs, input_signature=[specs])


def scores(checkpoint: checkpoint_lib.Checkpoint) -> Callable[[dict[str, tf.Tensor]], dict[str, tf.Tensor]]:
  """Compiles the network's scores before the softmax, float32 (S, classes) by tower, of snippets of any number and size."""
  model = checkpoint.model

  def outputs(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    found = model(inputs, training=False)
    return {name.removeprefix("scores_"): tf.cast(value, tf.float32) for name, value in found.items()}

  return program(model, outputs)


def dataset_identity(dataset: reader_lib.ClipSet, split: str) -> list[Any]:
  """Returns what tells a prepared split from another of the same name: its name, clips and bytes on disk."""
  builder = getattr(dataset, "builder", None)
  if builder is None:
    return [dataset.name, split]
  info = builder.info.splits[split]
  return [dataset.name, split, info.num_examples, info.num_bytes]


class Journal:
  """Finished clips in a text file, one line each, so that an interrupted run goes on where it stopped.

  A file whose first line names another key, or a last line that is cut short, is not used.
  """

  def __init__(self, path: str | os.PathLike[str] | None, key: str):
    self.path = pathlib.Path(path) if path else None
    self.entries: list[dict[str, Any]] = []
    if self.path is None:
      return
    valid = 0
    if self.path.exists():
      lines = self.path.read_bytes().splitlines(keepends=True)
      for number, line in enumerate(lines):
        try:
          entry = json.loads(line)
        except ValueError:
          break
        if not line.endswith(b"\n") or (number == 0 and entry != {"key": key}):
          break
        valid += len(line)
        if number:
          self.entries.append(entry)
    try:
      self.path.parent.mkdir(parents=True, exist_ok=True)
      with open(self.path, "ab") as stream:
        stream.truncate(valid)
        if not valid:
          stream.write(json.dumps({"key": key}).encode() + b"\n")
    except OSError as error:
      raise UsageError(f"Expected a folder that can be written for {self.path}; {error.strerror or error}.") from error

  def add(self, entry: dict[str, Any]) -> None:
    """Remembers a finished clip; it is on disk when this returns."""
    self.entries.append(entry)
    if self.path is not None:
      with open(self.path, "ab") as stream:
        stream.write(json.dumps(entry).encode() + b"\n")


def as_list(values: Sequence[float] | np.ndarray) -> list[float]:
  """Returns float32 values as Python floats, which JSON keeps bit by bit."""
  return np.asarray(values, np.float32).astype(np.float64).tolist()
