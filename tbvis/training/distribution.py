"""Training on several devices or machines (tf.distribute), by a loop of its own.

Keras 3's fit does not carry MultiWorkerMirroredStrategy (it gives a worker's own values to operations that take none), and under
MirroredStrategy it bounds the gradient of each replica where the gradient of the whole batch is meant. This loop does both: the sum of the
replicas' work on their parts of a batch is what one device does with the batch.
"""

from __future__ import annotations

from collections.abc import Callable
import contextlib
import json
import os
import pathlib
from typing import Any
import zipfile
import zlib

import keras
import numpy as np
import tensorflow as tf

from tbvis import files, progress
from tbvis.errors import UsageError
from tbvis.training.recipe import Phase

# Updates between two lines of a curve.
_LOG_STEPS = 10
# Beside the arrays of a backup.
_NUMBERS = "numbers"


def make_strategy(name: str) -> tf.distribute.Strategy | None:
  """Returns the strategy, None for "none". It must be made before TensorFlow does anything else.

  Args:
    name: "none", "mirrored" (all GPUs of this machine, else its CPUs) or "multiworker" (the machines that the environment
      variable TF_CONFIG names, one process each).

  Raises:
    UsageError: if Keras has another backend than TensorFlow, or TF_CONFIG does not name workers.
  """
  if name == "none":
    return None
  if keras.backend.backend() != "tensorflow":
    raise UsageError(f"--strategy={name} needs Keras on TensorFlow, received KERAS_BACKEND={keras.backend.backend()}.")
  if name == "mirrored":
    return tf.distribute.MirroredStrategy()
  text = os.environ.get("TF_CONFIG", "")
  try:
    content = json.loads(text)
    workers, index = content["cluster"]["worker"], content["task"]["index"]
    known = isinstance(workers, list) and content["task"]["type"] == "worker" and 0 <= index < len(workers)
  except (ValueError, KeyError, TypeError):
    known = False
  if not known:
    raise UsageError(
      'TF_CONFIG: expected JSON such as {"cluster": {"worker": ["host1:2222", "host2:2222"]}, "task": {"type": "worker", "index": 0}}, '
      f"received {text[:200]!r}."
    )
  return tf.distribute.MultiWorkerMirroredStrategy()


def is_chief(strategy: tf.distribute.Strategy | None) -> bool:
  """Returns whether this process writes files: the only one, or worker 0."""
  resolver = strategy and strategy.cluster_resolver
  return not resolver or not resolver.task_type or resolver.task_id == 0


def scope(strategy: tf.distribute.Strategy | None) -> contextlib.AbstractContextManager:
  """Returns the context in which networks are made."""
  return strategy.scope() if strategy else contextlib.nullcontext()


class Backup:
  """What an interrupted phase goes on from: weights, the optimiser's state and with it the number of updates.

  It stays when the last update is done, until the phase's checkpoint is on disk: validation comes between.

  Args:
    folder: the phase's backup.
    model: the trained part.
    optimizer: its optimiser, built.
    strategy: where they live; None for one device.
  """

  def __init__(
    self, folder: pathlib.Path, model: keras.Model, optimizer: keras.optimizers.Optimizer, strategy: tf.distribute.Strategy | None = None
  ):
    self._path = folder / "state.npz"
    # The statistics of normalisations that are trained belong to the state too.
    moving = [weight for layer in model._flatten_layers() if layer.trainable for weight in layer._non_trainable_variables]
    self._variables = [*model.trainable_variables, *moving, *optimizer.variables]
    self._strategy = strategy

  def restore(self) -> dict[str, float]:
    """Sets every worker's variables to what the chief's file holds; without one nothing changes.

    Returns:
      The numbers that were saved with it; of the chief alone.

    Raises:
      UsageError: if the file is damaged or of another network.
    """
    values = [np.array(variable) for variable in self._variables]
    numbers: dict[str, float] = {}
    if is_chief(self._strategy) and self._path.is_file():
      stored, numbers = self._read()
      if [v.shape for v in stored] != [v.shape for v in values]:
        raise UsageError(f"{self._path} is of another network or optimiser. Remove it, or choose another --output_dir.")
      values = stored
    # Workers may not see the chief's files: what counts is what it sends them.
    for variable, value in zip(self._variables, values, strict=True):
      variable.assign(_of_chief(self._strategy, value) if self._strategy else value)
    return numbers

  def _read(self) -> tuple[list[np.ndarray], dict[str, float]]:
    try:
      with np.load(self._path, allow_pickle=False) as archive:
        numbers = json.loads(str(archive[_NUMBERS])) if _NUMBERS in archive.files else {}
        return [archive[name] for name in archive.files if name != _NUMBERS], numbers
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
      raise UsageError(
        f"{self._path}: expected a phase's backup, found a damaged file ({error}). Remove it to begin the phase anew."
      ) from error

  def save(self, numbers: dict[str, float]) -> None:
    """Writes the state in one step, with losses and accuracies up to here, by the chief alone."""
    if is_chief(self._strategy):
      arrays = [np.array(variable) for variable in self._variables]
      with files.atomic_path(self._path) as temporary, open(temporary, "wb") as stream:
        np.savez(stream, *arrays, allow_pickle=False, **{_NUMBERS: np.array(json.dumps(numbers))})


def _of_chief(strategy: tf.distribute.Strategy, value: np.ndarray) -> tf.Tensor:
  """Returns the value that the chief has: the sum over replicas of which all but its first give zero."""

  @tf.function
  def mine() -> tf.Tensor:
    is_first = tf.equal(tf.distribute.get_replica_context().replica_id_in_sync_group, 0)
    return tf.where(is_first, value, np.zeros_like(value))

  return strategy.reduce(tf.distribute.ReduceOp.SUM, strategy.run(mine), axis=None)


def wait_for_all(strategy: tf.distribute.Strategy | None) -> None:
  """Returns once every worker has called this: one that ended earlier would be taken for one that failed."""
  if strategy:
    np.array(_of_chief(strategy, np.zeros(1, np.float32)))


def _update_function(model: keras.Model, optimizer: keras.optimizers.Optimizer, phase: Phase, strategy: tf.distribute.Strategy) -> Any:
  """Returns the tf.function that does one update and returns losses and accuracies of the whole batch."""
  names, replicas = list(model.output), strategy.num_replicas_in_sync

  def on_replica(inputs: Any, labels: tf.Tensor) -> dict[str, tf.Tensor]:
    with tf.GradientTape() as tape:
      scores = model(inputs, training=True)
      entropies = {name: tf.nn.sparse_softmax_cross_entropy_with_logits(labels, scores[name]) for name in names}
      losses = {name: tf.reduce_sum(values) / phase.batch_size for name, values in entropies.items()}
      loss = tf.add_n(list(losses.values()))
    gradients = tape.gradient(loss, [variable.value for variable in model.trainable_variables])
    if phase.clip_norm:
      # The bound is on the gradient of the batch. The optimiser will sum over replicas once more.
      gradients = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, gradients)
      gradients = [gradient / replicas for gradient in tf.clip_by_global_norm(gradients, phase.clip_norm)[0]]
    optimizer.apply(gradients, model.trainable_variables)
    right = {name: tf.reduce_sum(tf.cast(tf.argmax(scores[name], 1) == labels, tf.float32)) / phase.batch_size for name in names}
    # Named as Keras names them: one output's without its name.
    if len(names) == 1:
      return {"loss": loss, "accuracy": right[names[0]]}
    found = {"loss": loss} | {f"{name}_loss": value for name, value in losses.items()}
    return found | {f"{name}_accuracy": share for name, share in right.items()}

  @tf.function
  def update(inputs: Any, labels: tf.Tensor) -> dict[str, tf.Tensor]:
    found = strategy.run(on_replica, args=(inputs, labels))
    return {name: strategy.reduce(tf.distribute.ReduceOp.SUM, value, axis=None) for name, value in found.items()}

  return update


def fit(
  model: keras.Model,
  optimizer: keras.optimizers.Optimizer,
  phase: Phase,
  batches: Callable[[int], tf.data.Dataset],
  strategy: tf.distribute.Strategy,
  *,
  backup: pathlib.Path,
  backup_steps: int,
  logs: str | None,
) -> dict[str, float]:
  """Trains a model for the updates of a phase, going on from a backup.

  Args:
    model: from the batches' inputs to scores by name, made in the strategy's scope; its trainable variables are trained.
    optimizer: made there too, without a bound on the gradient.
    phase: settings.
    batches: called with the number of updates done already, returns batches (inputs, int64 labels) of `phase.batch_size` without
      end, the same ones on every worker, each of which takes its part.
    strategy: where.
    backup: folder of the state, written by the chief.
    backup_steps: updates between two backups.
    logs: folder of curves, written by the chief.

  Returns:
    Means over the last `backup_steps` updates at most: losses and accuracies.

  Raises:
    UsageError: if a batch cannot be shared out.
  """
  replicas = strategy.num_replicas_in_sync
  if phase.batch_size % replicas:
    raise UsageError(f"--{phase.name}_batch_size: expected a multiple of the {replicas} replicas, received {phase.batch_size}.")
  with strategy.scope():
    optimizer.build(model.trainable_variables)
  state = Backup(backup, model, optimizer, strategy)
  found = state.restore()
  done = int(np.array(optimizer.iterations))
  options = tf.data.Options()
  # Each worker makes all batches and takes its part of each: files are shared out unevenly.
  options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
  stream = iter(strategy.experimental_distribute_dataset(batches(done).with_options(options)))
  update = _update_function(model, optimizer, phase, strategy)
  chief = is_chief(strategy)
  writer = tf.summary.create_file_writer(logs) if chief and logs else tf.summary.create_noop_writer()
  recent: list[dict[str, float]] = []
  with writer.as_default(), progress.bar(total=phase.steps, description=f"{phase.name} training", unit="step", hidden=not chief) as bar:
    bar.update(done)
    for step in range(done, phase.steps):
      recent = [*recent[-backup_steps + 1 :], {name: float(value) for name, value in update(*next(stream)).items()}]
      if not np.isfinite(recent[-1]["loss"]):
        break
      bar.update()
      if (step + 1) % _LOG_STEPS == 0 or step + 1 == phase.steps:
        for name, value in recent[-1].items():
          tf.summary.scalar(name, value, step=step + 1)
      if (step + 1) % backup_steps == 0 or step + 1 == phase.steps:
        found = _means(recent)
        state.save(found)
  return _means(recent) if recent else found


def _means(recent: list[dict[str, float]]) -> dict[str, float]:
  return {name: float(np.mean([values[name] for values in recent])) for name in recent[0]}
