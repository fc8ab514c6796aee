"""Training of a network, phase by phase, so that it can be interrupted anywhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
import contextlib
import dataclasses
import functools
import pathlib
import shutil
import time
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tbvis import files, progress
from tbvis.datasets import reader, snippets
from tbvis.diagnostics import evaluation
from tbvis.errors import UsageError, unknown_name
from tbvis.models import checkpoint as checkpoint_lib
from tbvis.models import geometry
from tbvis.records import fusion_weights
from tbvis.training import data, distribution, optimizers, recipe
from tbvis.training.recipe import Phase

# Updates between two backups: what an interruption may cost.
BACKUP_STEPS = 50


@dataclasses.dataclass(frozen=True)
class Cut:
  """A phase's network, in the part below the first trained layer and the part from it on.

  Attributes:
    streams: inputs of the phase.
    below: from the inputs to a list of the tensors that enter the trained part, one a stream; None
      where all is trained.
    trained: from those tensors (or the inputs) to the scores.
  """

  streams: tuple[str, ...]
  below: keras.Model | None
  trained: keras.Model


def phases_of(model: keras.Model) -> tuple[str, ...]:
  """Returns the phases that a network can be trained in, in the usual order: each stream that has scores of its own, then all together.

  >>> from tbvis.models import c3d, two_stream
  >>> phases_of(two_stream.two_stream_fusion_vgg16(2, width=0.02, input_size=32, fc_units=4))
  ('appearance', 'motion', 'fusion')
  >>> phases_of(c3d.c3d(2, 16, width=0.02, input_size=64, fc_units=4))
  ('appearance',)
  """
  table = geometry.layer_geometry(model, whole=True)
  made_by = {id(tensor): layer.name for layer in model.layers for tensor in geometry.outputs_of(layer)}
  seen = {name: table[made_by[id(tensor)]].streams for name, tensor in model.output.items()}
  alone = [phase for phase in recipe.PHASES if seen.get(f"scores_{phase}") == (phase,)]
  together = any(len(streams) > 1 for streams in seen.values())
  return (*alone, *(("fusion",) if together else ()))


def cut_for_phase(model: keras.Model, phase: Phase) -> Cut:
  """Cuts a network at the first layer that a phase trains.

  Raises:
    UsageError: if the network has no such phase, or `phase.train_from` names no layer of its towers.
  """
  known = phases_of(model)
  if phase.name not in known:
    raise unknown_name("phase", phase.name, known, f"--phases, for {model.name}")
  inputs, outputs, joint = model.input, model.output, phase.name == "fusion"
  streams = tuple(inputs) if joint else (phase.name,)
  # The appearance before the fusion is no part of it.
  towers = fusion_weights(name.removeprefix("scores_") for name in outputs) if joint else (phase.name,)
  scores = {f"scores_{tower}": outputs[f"scores_{tower}"] for tower in towers}
  if phase.train_from:
    boundary = [_layer_of(model, phase, stream).input for stream in streams]
  elif joint and set(streams) < set(known):
    boundary = _meeting(model)
  else:
    boundary = []
  below = keras.Model({s: inputs[s] for s in streams}, boundary) if boundary else None
  if below is None or not below.weights:
    return Cut(streams, None, keras.Model({s: inputs[s] for s in streams}, scores))
  try:
    return Cut(streams, below, keras.Model(boundary, scores))
  except ValueError as error:
    raise UsageError(
      f"--{phase.name}_train_from: expected a layer through which all of a tower goes, received {phase.train_from!r}, which others bypass."
    ) from error


def _layer_of(model: keras.Model, phase: Phase, stream: str) -> keras.Layer:
  """Returns the layer of a tower that `phase.train_from` names."""
  ending = f"_{stream}"
  names = [layer.name.removesuffix(ending) for layer in model.layers if layer.name.endswith(ending) and layer.weights]
  if phase.train_from not in names:
    raise unknown_name("layer", phase.train_from, names, f"--{phase.name}_train_from: the {stream} tower")
  return model.get_layer(phase.train_from + ending)


def _meeting(model: keras.Model) -> list[Any]:
  """Returns the tensors that the first layer of several streams reads."""
  table = geometry.layer_geometry(model, whole=True)
  first = next(name for name, place in table.items() if len(place.streams) > 1)
  return list(model.get_layer(first)._inbound_nodes[0].input_tensors)


def _features(frozen: keras.Model, batches: tf.data.Dataset, total: int, description: str) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
  """Runs the frozen part once over `batches`; returns float16 features, one array a stream, and labels."""
  features: list[list[np.ndarray]] = [[] for _ in frozen.outputs]
  labels = []
  forward = tf.function(lambda x: frozen(x, training=False), reduce_retracing=True)
  for inputs, label in progress.bar(batches, total=total, description=description, unit="batch"):
    for kept, out in zip(features, tf.nest.flatten(forward(inputs)), strict=True):
      kept.append(tf.cast(out, tf.float16).numpy())
    labels.append(label.numpy())
  return tuple(np.concatenate(f) for f in features), np.concatenate(labels)


class _Bar(keras.callbacks.Callback):
  """A progress bar over all steps of a phase, with the running loss and accuracy; it ends the phase at its last step.

  Keras knows epochs of equal length alone, and these need not add up to the steps.
  """

  def __init__(self, phase: Phase):
    super().__init__()
    self._steps = phase.steps
    self._bar = progress.bar(total=phase.steps, description=f"{phase.name} training", unit="step")

  def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
    """Advances the bar, and stops after the last step."""
    done = int(self.model.optimizer.iterations)
    self._bar.update(done - self._bar.n)
    self._bar.set_postfix({k: f"{v:.3f}" for k, v in (logs or {}).items() if k == "loss" or k.endswith("accuracy")}, refresh=False)
    if done >= self._steps:
      self.model.stop_training = True

  def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
    """Closes the bar."""
    self._bar.close()


def _backup(output_dir: pathlib.Path, phase: Phase) -> pathlib.Path:
  return output_dir / f"backup_{phase.name}"


def discard_backup(output_dir: pathlib.Path, phase: Phase) -> None:
  """Removes the backup of a phase that is finished and saved."""
  shutil.rmtree(_backup(output_dir, phase), ignore_errors=True)


def _batches(
  checkpoint: checkpoint_lib.Checkpoint,
  cut: Cut,
  phase: Phase,
  dataset: reader.PreparedDataset,
  groups: Sequence[int],
  augmentation: snippets.Augmentation,
  seed: int,
) -> tf.data.Dataset:
  """Returns the batches of a phase without end, of snippets or of cached features: ({input or tuple}, int64 labels)."""
  snippets_of = functools.partial(
    data.training_batches,
    dataset,
    groups,
    input_size=checkpoint.input_size,
    appearance_mean=checkpoint.appearance_mean,
    sampling=dataclasses.replace(checkpoint.sampling, streams=cut.streams),
    batch_size=phase.batch_size,
    augmentation=augmentation,
  )
  frozen = _run_once(cut, phase)
  if frozen is None:
    return snippets_of(seed=seed)
  clips = sum(1 for _ in dataset.clips("train", groups))
  passes = [snippets_of(seed=seed + i, repeat=False) for i in range(phase.cached_crops)]
  batches = passes[0]
  for more in passes[1:]:
    batches = batches.concatenate(more)
  total = phase.cached_crops * -(-clips // phase.batch_size)
  features, labels = _features(frozen, batches, total, f"{phase.name} features")
  # Where chunks are folded into the rows, a snippet has as many rows as chunks.
  features = tuple(f.reshape(len(labels), -1, *f.shape[1:]) for f in features)
  order = np.random.default_rng(seed)

  def stream_batches() -> Iterator[tuple[tuple[np.ndarray, ...], np.ndarray]]:
    while True:
      for rows in np.array_split(order.permutation(len(labels)), max(1, len(labels) // phase.batch_size)):
        rows = rows[: phase.batch_size]
        yield tuple(f[rows].reshape(-1, *f.shape[2:]).astype(np.float32) for f in features), labels[rows]

  signature = (
    tuple(tf.TensorSpec((None, *f.shape[2:]), tf.float32) for f in features),
    tf.TensorSpec((None,), tf.int64),
  )
  return tf.data.Dataset.from_generator(stream_batches, output_signature=signature).prefetch(2)


def _run_once(cut: Cut, phase: Phase) -> keras.Model | None:
  """Returns the part of the network whose outputs are kept, None where it is run anew in every step."""
  return cut.below if phase.cached_crops > 0 else None


@contextlib.contextmanager
def _prepared_layers(cut: Cut, phase: Phase) -> Iterator[None]:
  """Freezes what the phase does not train and sets its dropout, for as long as it lasts."""
  trained = set() if _run_once(cut, phase) is not None else {layer.name for layer in cut.trained.layers}
  below = cut.below.layers if cut.below is not None else ()
  # What never trains, as most normalisations of TSN's networks, stays so.
  frozen = [layer for layer in below if layer.name not in trained and layer.trainable]
  rates = {layer: layer.rate for layer in cut.trained.layers if isinstance(layer, keras.layers.Dropout)}
  for layer in frozen:
    layer.trainable = False
  for layer in rates if phase.dropout is not None else ():
    layer.rate = phase.dropout
  try:
    yield
  finally:
    for layer in frozen:
      layer.trainable = True
    for layer, rate in rates.items():
      layer.rate = rate


class _Keep(keras.callbacks.Callback):
  """Writes a backup after every epoch, unless the phase has diverged.

  Keras' own BackupAndRestore writes into the file that it would restore, and takes it away with the last update: what was trained would
  be lost while it is validated.
  """

  def __init__(self, state: distribution.Backup):
    super().__init__()
    self._state = state

  def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
    """Writes the state."""
    numbers = {name: float(value) for name, value in (logs or {}).items()}
    if all(map(np.isfinite, numbers.values())):
      self._state.save(numbers)


def _fit(
  model: keras.Model, optimizer: keras.optimizers.Optimizer, phase: Phase, batches: tf.data.Dataset, backup: pathlib.Path, logs: str | None
) -> dict[str, float]:
  """Trains by Keras' own loop, on any backend, for the updates of a phase; returns the numbers of the last epoch."""
  epochs = -(-phase.steps // BACKUP_STEPS)
  each = -(-phase.steps // epochs)
  names = list(model.output)
  model.compile(
    optimizer=optimizer,
    loss={n: keras.losses.SparseCategoricalCrossentropy(from_logits=True) for n in names},
    jit_compile=False,  # XLA is slower than oneDNN on a CPU, and three times so in bfloat16.
    metrics={n: [keras.metrics.SparseCategoricalAccuracy(name="accuracy")] for n in names},
  )
  optimizer.build(model.trainable_variables)
  state = distribution.Backup(backup, model, optimizer)
  numbers = state.restore()
  done = int(optimizer.iterations)
  if done >= phase.steps:
    return numbers
  callbacks: list[keras.callbacks.Callback] = [_Keep(state), _Bar(phase), keras.callbacks.TerminateOnNaN()]
  if logs:
    callbacks.append(keras.callbacks.TensorBoard(logs, write_graph=False, update_freq=10))
  batches = batches.map(lambda x, y: (x, dict.fromkeys(names, y)))
  history = model.fit(
    batches, epochs=epochs, initial_epoch=done // each, steps_per_epoch=each, callbacks=callbacks, verbose=0, shuffle=False
  )
  return {name: float(values[-1]) for name, values in history.history.items()}


def train_phase(
  checkpoint: checkpoint_lib.Checkpoint,
  dataset: reader.PreparedDataset,
  phase: Phase,
  *,
  train_groups: Sequence[int],
  validation_groups: Sequence[int],
  augmentation: snippets.Augmentation,
  output_dir: pathlib.Path,
  logdir: pathlib.Path | None,
  seed: int,
  strategy: tf.distribute.Strategy | None = None,
  storage: str = "float32",
) -> dict[str, float]:
  """Trains one phase in place and returns its numbers (losses, accuracies, seconds).

  An interrupted phase goes on from its last backup in `output_dir`; `discard_backup` is for the caller,
  once the phase's checkpoint is on disk. With a strategy, in whose scope the network was made, every worker
  calls this, and the chief alone validates and writes. What is validated is the network that a checkpoint of `storage` keeps:
  after the phase its weights are rounded; the backups are not.
  """
  started = time.monotonic()
  cut = cut_for_phase(checkpoint.model, phase)
  backup = _backup(output_dir, phase)
  logs = str(logdir / f"training_{phase.name}") if logdir is not None else None
  with distribution.scope(strategy), _prepared_layers(cut, phase):
    model = cut.trained
    if cut.below is not None and _run_once(cut, phase) is None:
      model = keras.Model(cut.below.input, cut.trained(cut.below.output))
    optimizer = optimizers.make_optimizer(cut.trained, phase, clip=strategy is None)

    def batches(draws: int) -> tf.data.Dataset:
      # Another attempt draws other snippets than those it was interrupted in.
      return _batches(checkpoint, cut, phase, dataset, train_groups, augmentation, seed + 1000 * draws)

    if strategy is None:
      attempt = len(list(backup.glob("attempt_*")))
      files.write_bytes(backup / f"attempt_{attempt}", b"")
      found = _fit(model, optimizer, phase, batches(attempt), backup, logs)
    else:
      found = distribution.fit(model, optimizer, phase, batches, strategy, backup=backup, backup_steps=BACKUP_STEPS, logs=logs)
  numbers = {f"{phase.name}_{name}": value for name, value in found.items()}
  if not all(np.isfinite(v) for v in numbers.values()):
    if distribution.is_chief(strategy):
      discard_backup(output_dir, phase)
    raise UsageError(f"Phase {phase.name} diverged (loss not finite). Lower --{phase.name}_learning_rate.")
  with distribution.scope(strategy):
    checkpoint_lib.round_weights(checkpoint.model, storage)
  numbers[f"{phase.name}_seconds"] = round(time.monotonic() - started, 1)
  if validation_groups and distribution.is_chief(strategy):
    numbers |= validate(checkpoint, dataset, validation_groups, cut.streams)
  return numbers


def validate(
  checkpoint: checkpoint_lib.Checkpoint, dataset: reader.PreparedDataset, groups: Sequence[int], streams: Sequence[str], count: int = 5
) -> dict[str, float]:
  """Scores the held-out training groups by the mean over `count` snippets a clip.

  Returns:
    {"validation_accuracy_<tower>": fraction} for the towers that a phase over `streams` has trained.
  """
  found = evaluation.evaluate(checkpoint, dataset, "train", groups, count, flips=False).accuracies()
  towers = streams if len(streams) == 1 else found
  return {f"validation_accuracy_{tower}": found[tower].fraction for tower in towers}
