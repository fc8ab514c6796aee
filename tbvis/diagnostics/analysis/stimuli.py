"""The stimuli that findings are read from: every chi from every seed, searched once and kept in a run of the logdir."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
import dataclasses
import os
from typing import Any

import numpy as np
import tensorflow as tf

from tbvis import summaries
from tbvis.errors import UsageError
from tbvis.maximization import api, network, planning, sweep
from tbvis.maximization import config as config_lib
from tbvis.maximization.planning import Batch, Job
from tbvis.models import checkpoint as checkpoint_lib
from tbvis.models import geometry, two_stream
from tbvis.records import StimulusRecord

# Stimuli of one unit by (chi, seed).
Found = dict[tuple[float, int], StimulusRecord]
_SAME = 1e-4
_SAVE_EVERY = 20
# Stimuli passed through a network at once.
_ROWS = 16


@dataclasses.dataclass(frozen=True, eq=False)
class Study:
  """One network and the stimuli that are wanted of it: every unit at every chi from every seed.

  Attributes:
    name: of the network, for people: "trained", "fusion as initialised", ...
    run: of the logdir in which its stimuli are kept.
    checkpoint: the network.
    units: names.
    chi: temporal weights.
    seeds: of the starts.
    a_hat: (units,) by layer.
    config: constants of the search.
  """

  name: str
  run: str
  checkpoint: checkpoint_lib.Checkpoint
  units: tuple[str, ...]
  chi: tuple[float, ...]
  seeds: tuple[int, ...]
  a_hat: Mapping[str, np.ndarray]
  config: config_lib.MaximizationConfig

  def plan(self) -> tuple[Job, list[Batch]]:
    """Returns the network as the search takes it, and its batches over all seeds."""
    job = api.make_job(self.checkpoint, self.config)
    batches = []
    for seed in self.seeds:
      job, _, of_seed = planning.prepare(job, list(self.units), planning.settings(self.chi, 1.0), self.a_hat, seed=seed)
      batches += of_seed
    return job, batches

  def keys(self) -> set[Any]:
    """Returns the keys of all its stimuli."""
    return {(unit, 1.0, float(chi), False, seed) for unit in self.units for chi in self.chi for seed in self.seeds}


def search(study: Study, logdir: str | os.PathLike[str], on_step: Callable[[Batch], None] | None = None) -> None:
  """Searches what the run does not have yet, and writes it there; an interrupted search goes on where it stopped.

  Raises:
    UsageError: if the run holds stimuli of another network or other constants.
  """
  check(study, logdir)
  with summaries.StimulusWriter(logdir, study.run) as writer:
    finished = writer.finished()
    job, batches = study.plan()
    missing = [batch for batch in batches if batch.is_open(finished)]
    state = summaries.state_folder(logdir, study.run)
    for stimuli in sweep.search(job, missing, on_step, state, _SAVE_EVERY):
      for record in (stimulus.to_record() for stimulus in stimuli):
        if record.key not in finished:
          writer.write(record)


def read(study: Study, logdir: str | os.PathLike[str]) -> dict[str, Found]:
  """Returns the stimuli of a study that its run has, by unit in the order of the study; failed ones are left out."""
  if study.run not in summaries.run_names(logdir):
    return {}
  wanted = study.keys()
  by_unit: dict[str, Found] = {unit: {} for unit in study.units}
  for record in summaries.read_run(logdir, study.run).stimuli:
    if record.key in wanted and record.error is None:
      by_unit[record.unit][record.chi, record.seed] = record
  return {unit: found for unit, found in by_unit.items() if found}


def check(study: Study, logdir: str | os.PathLike[str]) -> None:
  """Checks that what a run already has is of the study's network and constants.

  A unit's a_hat, measured on clips, tells networks apart as a signature would.

  Raises:
    UsageError: naming the first stimulus that is not.
  """
  constants = dataclasses.asdict(study.config)
  for unit, found in read(study, logdir).items():
    for record in found.values():
      layer = record.layer
      a_hat = sum(float(study.a_hat[name][record.channel]) for name in record.config["layers"])
      other = [name for name, value in constants.items() if record.config.get(name, value) != value]
      if abs((record.a_hat or 0) - a_hat) > _SAME * a_hat:
        raise UsageError(
          f"Run {study.run!r} holds a stimulus of {unit} at an a_hat of {record.a_hat:.4g}, expected {a_hat:.4g}: it is of another network "
          f"or other statistics of {layer}. Give another --run."
        )
      if other:
        raise UsageError(f"Run {study.run!r} holds a stimulus of {unit} made with another {other[0]} than asked for. Give another --run.")


def depths(checkpoint: checkpoint_lib.Checkpoint) -> dict[str, int]:
  """Returns by layer how many layers with weights lie on the longest way from an input to it, itself included.

  >>> net = checkpoint_lib.build("two_stream_fusion_vgg16", {"width": 0.05, "input_size": 32, "fc_units": 4}, ("a", "b"))
  >>> [depths(net)[name] for name in ("conv1_1_motion", "conv5_3_appearance", "conv5_fusion", "prediction")]
  [1, 13, 14, 17]
  """
  by_tensor: dict[int, int] = {}
  result = {}
  for layer in checkpoint.model.operations:
    before = [by_tensor.get(id(tensor), 0) for tensor in (layer._inbound_nodes[0].input_tensors if layer._inbound_nodes else ())]
    result[layer.name] = max(before, default=0) + bool(getattr(layer, "weights", ()))
    for tensor in geometry.outputs_of(layer):
      by_tensor[id(tensor)] = result[layer.name]
  return result


class Activations:
  """A unit's value at inputs of one size, in float32, before its ReLU, at the middle of its map: where stimuli are searched.

  Args:
    checkpoint: the network.
    layer: of the unit.
  """

  def __init__(self, checkpoint: checkpoint_lib.Checkpoint, layer: str):
    self._tap = network.Tap(layer)
    self._net = network.CutNetwork(checkpoint.model, [self._tap])
    self.streams = self._net.streams

  def __call__(self, inputs: Mapping[str, np.ndarray], channels: Sequence[int]) -> np.ndarray:
    """Returns float32 (rows,).

    Args:
      inputs: by stream, float32 (rows, H, W, C), those of `streams` at least.
      channels: each row's unit, 0-based.
    """
    found = []
    for start in range(0, len(channels), _ROWS):
      part = {name: tf.constant(np.asarray(inputs[name][start : start + _ROWS], np.float32)) for name in self.streams}
      # Not compiled: a few calls, each of another size.
      maps = self._net(part, float32=True)[self._tap].numpy()
      maps = maps.reshape(len(maps), -1, *maps.shape[-3:])[:, 0] if maps.ndim > 4 else maps
      middle = maps[:, maps.shape[1] // 2, maps.shape[2] // 2]
      found += [row[channel] for row, channel in zip(middle, channels[start : start + _ROWS], strict=True)]
    return np.array(found, np.float32)


def inputs_of(records: Iterable[StimulusRecord]) -> dict[str, np.ndarray]:
  """Returns the inputs of stimuli of one size, as networks take them: by stream float32 (rows, H, W, C)."""
  records = list(records)
  found = {}
  for stream in two_stream.STREAMS:
    arrays = [getattr(record, stream) for record in records]
    if all(array is not None for array in arrays):
      stacked = np.stack(arrays).astype(np.float32)
      found[stream] = stacked.reshape(*stacked.shape[:3], -1)
  return found


def at_equal_contrast(inputs: np.ndarray) -> np.ndarray:
  """Returns inputs (N, H, W, C) scaled to the geometric mean of their root mean squares; those without anything stay as they are."""
  inputs = np.asarray(inputs, np.float32)
  size = np.sqrt((inputs.astype(np.float64) ** 2).mean(axis=(1, 2, 3)))
  strong = size > 0
  if not strong.any():
    return inputs
  common = np.exp(np.log(size[strong]).mean())
  return inputs * np.where(strong, common / np.where(strong, size, 1), 1).astype(np.float32)[:, None, None, None]
