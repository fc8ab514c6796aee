from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from tbvis.errors import UsageError
from tbvis.models import checkpoint as checkpoint_lib
from tbvis.training import optimizers, train
from tbvis.training.recipe import Phase


def _network():
  return checkpoint_lib.build("two_stream_fusion_vgg16", {"width": 0.1, "fc_units": 8, "input_size": 32}, ("a", "b"))


def _fit(cut, phase, size=32):
  shapes = [(4, *[size if d is None else d for d in t.shape[1:]]) for t in tf.nest.flatten(cut.trained.input)]
  rng = np.random.default_rng(0)
  values = [rng.normal(size=s).astype(np.float32) for s in shapes]
  x = dict(zip(cut.streams, values, strict=True)) if isinstance(cut.trained.input, dict) else tuple(values)
  names = list(cut.trained.output)
  cut.trained.compile(
    optimizer=optimizers.make_optimizer(cut.trained, phase),
    loss={n: keras.losses.SparseCategoricalCrossentropy(from_logits=True) for n in names},
  )
  data = tf.data.Dataset.from_tensors((x, dict.fromkeys(names, np.array([0, 1, 0, 1])))).repeat(phase.steps)
  cut.trained.fit(data, verbose=0)


def _snapshot(model):
  return {w.path: np.array(w) for w in model.trainable_weights}


@pytest.mark.parametrize(
  ("phase", "size", "changed"),
  [
    (Phase("motion", 2), 32, ("_motion",)),
    (
      Phase("appearance", 2, train_from="conv5_1"),
      2,
      ("conv5_1_appearance", "conv5_2_appearance", "conv5_3_appearance", "fc", "prediction"),
    ),
    (Phase("fusion", 2, optimizer="sgd"), 2, ("conv5_fusion", "fc6", "fc7", "prediction")),
  ],
)
@pytest.mark.slow
def test_a_phase_changes_its_own_layers_alone(phase, size, changed):
  network = _network()
  before = _snapshot(network.model)
  _fit(train.cut_for_phase(network.model, phase), phase, size)
  moved = {path for path, value in _snapshot(network.model).items() if not np.array_equal(value, before[path])}
  assert moved
  for path in moved:
    assert any(part in path for part in changed), path
  if phase.name == "motion":
    assert any("conv1_1_motion/kernel" in p for p in moved) and not any("appearance" in p for p in moved)


@pytest.mark.slow
def test_a_layer_factor_scales_its_update():
  moves = {}
  for factor in (1.0, 10.0):
    network = _network()
    phase = Phase("motion", 1, optimizer="sgd", warmup_steps=0, clip_norm=1e9, first_layer_factor=factor)
    before = _snapshot(network.model)
    _fit(train.cut_for_phase(network.model, phase), phase)
    after = _snapshot(network.model)
    moves[factor] = {
      p: np.linalg.norm(after[p] - before[p]) for p in before if "conv1_1_motion/kernel" in p or "conv1_2_motion/kernel" in p
    }
  first, second = sorted(moves[1.0])
  assert moves[10.0][first] == pytest.approx(10 * moves[1.0][first], rel=1e-2)
  assert moves[10.0][second] == pytest.approx(moves[1.0][second], rel=1e-2)


def test_rate_rises_and_falls():
  rate = optimizers.WarmupCosine(1.0, 100, 10)
  values = [float(rate(s)) for s in (0, 9, 55, 100)]
  np.testing.assert_allclose(values, [0.1, 1.0, 0.505, 0.01], atol=1e-3)


def test_unknown_layer_to_train_from_is_refused():
  with pytest.raises(UsageError, match="conv9_1"):
    train.cut_for_phase(_network().model, Phase("motion", 1, train_from="conv9_1"))
