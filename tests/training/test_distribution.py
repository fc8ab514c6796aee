"""Two workers on one machine, and two devices in one process, do what one does."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys

import numpy as np
import pytest

from tbvis.errors import UsageError
from tbvis.models import checkpoint as checkpoint_lib
from tbvis.training import distribution
from tests import calls
from tests.datasets.conftest import prepare_folder, write_video

# Trains a small model on fixed batches: strategy, steps, result, backup, "normalised" or "plain". Two logical CPUs stand for two devices.
_CHILD = """
import pathlib, sys
import tensorflow as tf
name, steps, result, backup = sys.argv[1], int(sys.argv[2]), sys.argv[3], pathlib.Path(sys.argv[4])
tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2)
import keras
import numpy as np
from tbvis.training import distribution, optimizers, train
from tbvis.training.recipe import Phase

phase = Phase("motion", 6, batch_size=8, optimizer="sgd", rates="prediction:0.5x1,0.3x2", head_factor=2, bias_factor=2, weight_decay=0.01,
              clip_norm=0.1)
strategy = distribution.make_strategy(name)
rng = np.random.default_rng(0)
values, labels = rng.normal(size=(48, 4)).astype("f"), rng.integers(0, 3, 48)

def batches(done):
  def rows():
    for start in range(8 * done, 48, 8):
      if start >= 8 * steps:
        raise RuntimeError("the power fails")
      yield values[start : start + 8], labels[start : start + 8]
  return tf.data.Dataset.from_generator(rows, output_signature=(tf.TensorSpec((None, 4)), tf.TensorSpec((None,), tf.int64)))

with distribution.scope(strategy):
  keras.utils.set_random_seed(0)
  given = keras.Input((4,))
  hidden = keras.layers.Dense(5, activation="relu", name="fc7")(given)
  if sys.argv[5] == "normalised":
    hidden = keras.layers.BatchNormalization(momentum=0.5, name="norm")(hidden)
  model = keras.Model(given, {"scores_motion": keras.layers.Dense(3, name="prediction")(hidden)})
  optimizer = optimizers.make_optimizer(model, phase, clip=strategy is None)
if strategy is None:
  found = train._fit(model, optimizer, phase, batches(0), backup, None)
else:
  assert strategy.num_replicas_in_sync == 2
  found = distribution.fit(model, optimizer, phase, batches, strategy, backup=backup, backup_steps=2, logs=None)
np.savez(result, *model.get_weights(), **found)
"""


def _child(name, tmp_path, label, steps=6, backup=None, check=True, kind="plain"):
  result = tmp_path / f"{label}.npz"
  done = calls.run("-c", _CHILD, name, steps, result, tmp_path / (backup or f"backup_{label}"), kind)
  if not check:
    return done
  assert done.returncode == 0, done.stderr[-3000:]
  return np.load(result)


def _assert_same(one, two, tolerance=1e-5):
  for name in [name for name in one.files if name.startswith("arr_")]:
    np.testing.assert_allclose(two[name], one[name], rtol=tolerance, atol=tolerance)


@pytest.mark.slow
def test_two_devices_do_what_one_does_and_go_on_after_an_interruption(tmp_path):
  one = _child("none", tmp_path, "one")
  two = _child("mirrored", tmp_path, "two")
  _assert_same(one, two)
  # Mean over the updates: of two in the loop of its own, of all in Keras' epoch.
  assert 0 <= two["accuracy"] <= 1 and np.isfinite(two["loss"]) and 0 <= one["accuracy"] <= 1
  failed = _child("mirrored", tmp_path, "resumed", steps=3, check=False)
  assert failed.returncode != 0 and "the power fails" in failed.stderr
  assert (tmp_path / "backup_resumed" / "state.npz").is_file()
  resumed = _child("mirrored", tmp_path, "resumed")
  _assert_same(two, resumed, tolerance=1e-6)
  np.testing.assert_allclose(resumed["loss"], two["loss"], rtol=1e-5)


@pytest.mark.slow
def test_normalisations_are_gone_on_with_too(tmp_path):
  # Each device normalises its own part of a batch, as the published networks did: two are not one, but goes on as if nothing were.
  whole = _child("mirrored", tmp_path, "whole", kind="normalised")
  failed = _child("mirrored", tmp_path, "resumed", steps=3, check=False, kind="normalised")
  assert failed.returncode != 0 and "the power fails" in failed.stderr
  resumed = _child("mirrored", tmp_path, "resumed", kind="normalised")
  _assert_same(whole, resumed, tolerance=1e-6)
  # Moving mean and variance have left their starts.
  moving = [whole[f"arr_{index}"] for index in (4, 5)]
  assert moving[0].any() and not np.allclose(moving[1], 1)


def _free_ports(count):
  with contextlib.ExitStack() as stack:
    sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
    for one in sockets:
      one.bind(("localhost", 0))
    return [one.getsockname()[1] for one in sockets]


@pytest.mark.slow
def test_two_workers_train_the_network_of_one(tmp_path):
  for label, name in enumerate(("Left", "Right")):
    for group in (1, 8, 9, 10, 23):
      write_video(tmp_path / "videos" / name / f"v_{name}_g{group:02d}_c01.avi", shift=3.0 if label else -3.0, seed=group, frames=12)
  prepare_folder(tmp_path / "videos", tmp_path / "data", "moves")
  # Appearance from frozen features of conv5_1 on, motion all through, fusion on cached features.
  flags = [
    f"--data_dir={tmp_path / 'data'}", "--dataset=moves_split1_dis", "--width=0.05", "--fc_units=8", "--input_size=32", "--dropout=0",
    "--dtype=float32", "--validation_groups=23", "--appearance_train_from=conv5_1", "--fusion_cached_crops=2",
    *(f"--{p}_{k}={v}" for p in ("appearance", "motion", "fusion") for k, v in (("steps", 3), ("batch_size", 4), ("learning_rate", 0.01))),
  ]  # fmt: skip

  def start(output, config):
    command = [sys.executable, "-m", "tbvis.scripts.train", *flags, f"--output_dir={output}", "--strategy=multiworker"]
    environment = {**os.environ, "TF_CONFIG": json.dumps(config)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)

  def finish(processes):
    said = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes), "\n".join(error[-3000:] for _, error in said)
    return [out for out, _ in said]

  done = calls.call("train", *flags, f"--output_dir={tmp_path / 'one'}", "--strategy=none")
  assert done.returncode == 0, done.stderr[-3000:]
  workers = [f"localhost:{port}" for port in _free_ports(2)]
  # The second worker's own folder shows that it writes nothing.
  folders = [tmp_path / "two", tmp_path / "other"]
  configs = [{"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}} for index in range(2)]
  chief, other = finish([start(folder, config) for folder, config in zip(folders, configs, strict=True)])
  assert "Phase fusion:" in chief and "validation_accuracy_fused" in chief and "the chief has written" in other
  assert not any(folders[1].rglob("*"))
  one, two = (checkpoint_lib.load_checkpoint(tmp_path / name / "checkpoint.keras") for name in ("one", "two"))
  moved = 0
  fresh = checkpoint_lib.build(one.architecture, {k: v for k, v in one.arguments.items() if k != "classes"}, one.classes)
  for first, second, start_value in zip(one.model.weights, two.model.weights, fresh.model.weights, strict=True):
    np.testing.assert_allclose(np.array(second), np.array(first), rtol=1e-3, atol=1e-5, err_msg=first.path)
    moved += not np.array_equal(np.array(first), np.array(start_value))
  assert moved > 30
  assert set(two.metadata["training"]) == set(one.metadata["training"])
  again = calls.call("train", *flags, f"--output_dir={folders[0]}", "--strategy=mirrored")
  assert again.returncode == 0 and again.stdout.count("is finished already") == 3, again.stderr[-3000:]


@pytest.mark.parametrize(
  ("config", "expected"),
  [
    (None, "TF_CONFIG: expected JSON such as"),
    ("{half", "received '{half'"),
    ('{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}', "TF_CONFIG: expected JSON"),
    ('{"cluster": {"worker": ["a:1"]}, "task": {"type": "ps", "index": 0}}', "TF_CONFIG: expected JSON"),
    ("[]", "TF_CONFIG: expected JSON"),
  ],
)
def test_clusters_that_are_none(monkeypatch, config, expected):
  monkeypatch.setenv("TF_CONFIG", config) if config else monkeypatch.delenv("TF_CONFIG", raising=False)
  with pytest.raises(UsageError) as caught:
    distribution.make_strategy("multiworker")
  assert expected in str(caught.value)


def test_without_a_strategy_this_process_is_the_chief():
  assert distribution.make_strategy("none") is None and distribution.is_chief(None)
