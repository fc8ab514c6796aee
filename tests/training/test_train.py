from __future__ import annotations

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from tbvis.errors import UsageError
from tbvis.models import checkpoint as checkpoint_lib
from tbvis.training import optimizers, recipe, train
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


def test_what_never_trains_stays_so_behind_a_phase():
  x = keras.Input((4, 4, 2), name="motion")
  norms = [keras.layers.BatchNormalization(trainable=trained, name=name) for name, trained in (("first", True), ("second", False))]
  below = keras.Model(x, norms[1](norms[0](x)))
  cut = train.Cut(("motion",), below, keras.Model(below.output, keras.layers.Flatten()(below.output)))
  with train._prepared_layers(cut, Phase("motion", 2)):
    assert [norm.trainable for norm in norms] == [False, False]
  assert [norm.trainable for norm in norms] == [True, False]


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


def test_a_staircase_of_rates_shares_the_steps():
  # METHOD 1.3, appearance: epochs of 745 updates.
  parts = recipe.parse_rates("prediction:1e-3x3,5e-4x5,5e-5x2,5e-6x2", 8940)
  assert [(p.rate, p.end, p.head_only) for p in parts] == [
    (1e-3, 2235, True),
    (5e-4, 5960, False),
    (5e-5, 7450, False),
    (5e-6, 8940, False),
  ]
  rate = optimizers.Staircase([p.rate for p in parts], [p.end for p in parts])
  found = [float(rate(step)) for step in (0, 2234, 2235, 5959, 5960, 7450, 8939, 9999)]
  np.testing.assert_allclose(found, [1e-3, 1e-3, 5e-4, 5e-4, 5e-5, 5e-6, 5e-6, 5e-6], rtol=1e-6)
  assert keras.optimizers.schedules.deserialize(keras.optimizers.schedules.serialize(rate)).ends == rate.ends
  for text in ("", "1e-3x", "1e-3x0", "0x3", "-1e-3", "head:1e-3", "1e-3,,1e-4", "1e-3 1e-4", "1e999"):
    with pytest.raises(UsageError, match="--motion_rates: expected learning rates with lengths"):
      recipe.parse_rates(text, 10, "motion_rates")


@pytest.mark.parametrize("text", ["1e-3x3,prediction:1e-4", "prediction:1e-3,1e-3,prediction:1e-4x2"])
def test_layers_that_were_trained_do_not_rest_again(text):
  with pytest.raises(UsageError, match="--fusion_rates: expected prediction: at the first rates alone"):
    recipe.parse_rates(text, 10, "fusion_rates")
  assert [p.head_only for p in recipe.parse_rates("prediction:1e-3,prediction:1e-4,1e-5", 9)] == [True, True, False]


def test_a_decay_that_reaches_resting_layers_is_refused():
  phase = Phase("motion", 6, optimizer="adam", rates="prediction:1e-3x3,1e-4", weight_decay=0.01)
  with pytest.raises(UsageError, match="--motion_weight_decay=0 with adam"):
    phase.parts()
  for fine in ({"optimizer": "sgd"}, {"weight_decay": 0.0}, {"rates": "1e-3x3,1e-4"}):
    assert len(dataclasses.replace(phase, **fine).parts()) == 2


def test_a_phase_does_its_steps_and_no_more(tmp_path):
  # Two epochs of 27 would be 54.
  phase = Phase("motion", 53, batch_size=2, optimizer="sgd")
  given = keras.Input((3,))
  model = keras.Model(given, {"scores_motion": keras.layers.Dense(2, name="prediction")(given)})
  batches = tf.data.Dataset.from_tensors((np.ones((2, 3), np.float32), np.array([0, 1]))).repeat()
  optimizer = optimizers.make_optimizer(model, phase)
  found = train._fit(model, optimizer, phase, batches, tmp_path / "backup", None)
  assert int(optimizer.iterations) == 53 and np.isfinite(found["loss"])


def test_what_was_trained_is_kept_until_its_backup_is_discarded(tmp_path):
  phase = Phase("motion", 53, batch_size=2, optimizer="sgd")
  batches = tf.data.Dataset.from_tensors((np.ones((2, 3), np.float32), np.array([0, 1]))).repeat()

  def fit():
    given = keras.Input((3,))
    model = keras.Model(given, {"scores_motion": keras.layers.Dense(2, name="prediction")(given)})
    # Of the first fit's end alone the second one's weights can be.
    return model, train._fit(model, optimizers.make_optimizer(model, phase), phase, batches, tmp_path, None)

  (model, numbers), (again, same) = fit(), fit()
  assert numbers == same and "loss" in numbers
  for one, other in zip(model.get_weights(), again.get_weights(), strict=True):
    np.testing.assert_array_equal(one, other)
  whole = (tmp_path / "state.npz").read_bytes()
  for cut in (0, 100, len(whole) // 2):
    (tmp_path / "state.npz").write_bytes(whole[:cut])
    with pytest.raises(UsageError, match="state.npz: expected a phase's backup, found a damaged file"):
      fit()


def test_what_is_validated_is_what_half_precision_keeps(monkeypatch, tmp_path):
  network, validated = _network(), []
  monkeypatch.setattr(train, "_batches", lambda *_: None)
  monkeypatch.setattr(train, "_fit", lambda *_: {"loss": 1.0})
  monkeypatch.setattr(train, "validate", lambda checkpoint, *_: validated.append(checkpoint.model.get_weights()) or {})
  trained = network.model.get_weights()
  for storage in ("float32", "float16"):
    train.train_phase(
      network, None, Phase("motion", 1), train_groups=[1], validation_groups=[2], augmentation=None,
      output_dir=tmp_path, logdir=None, seed=0, storage=storage,
    )  # fmt: skip
  for value, whole, rounded in zip(trained, *validated, strict=True):
    np.testing.assert_array_equal(whole, value)
    np.testing.assert_array_equal(rounded, value.astype(np.float16).astype(np.float32))


def test_sgd_follows_the_released_rule():
  """w += lr m, m = 0.9 m - wd w - g; biases twice as fast and without decay; the classifier alone at first (METHOD 1.3)."""
  x = keras.Input((3,))
  hidden = keras.layers.Dense(2, name="fc7", bias_initializer="ones")(x)
  model = keras.Model(x, keras.layers.Dense(2, name="prediction", bias_initializer="ones")(hidden))
  phase = Phase("motion", 6, optimizer="sgd", rates="prediction:0.1x2,0.01x4", head_factor=1, bias_factor=2, weight_decay=0.3, clip_norm=0)
  optimizer = optimizers.make_optimizer(model, phase)
  rng = np.random.default_rng(0)
  values = {v.path: np.array(v) for v in model.trainable_variables}
  momentum = {path: np.zeros_like(value) for path, value in values.items()}
  before = dict(values)
  for step in range(6):
    rate = 0.1 if step < 2 else 0.01
    gradients = {path: rng.normal(size=value.shape).astype(np.float32) for path, value in values.items()}
    optimizer.apply([keras.ops.convert_to_tensor(gradients[v.path]) for v in model.trainable_variables], model.trainable_variables)
    for path, value in values.items():
      if step < 2 and "fc7" in path:
        continue
      own = rate * (2 if "bias" in path else 1)
      decay = 0 if "bias" in path else 0.3
      # Keras keeps the rate inside the momentum: the same rule while the rate holds.
      momentum[path] = 0.9 * momentum[path] - own * (gradients[path] + decay * value)
      values[path] = value + momentum[path]
    for variable in model.trainable_variables:
      np.testing.assert_allclose(np.array(variable), values[variable.path], rtol=1e-5, atol=1e-6)
    if step == 1:
      assert all(np.array_equal(np.array(v), before[v.path]) == ("fc7" in v.path) for v in model.trainable_variables)


def test_unknown_layer_to_train_from_is_refused():
  with pytest.raises(UsageError, match="conv9_1"):
    train.cut_for_phase(_network().model, Phase("motion", 1, train_from="conv9_1"))


def _other(architecture, **arguments):
  return checkpoint_lib.build(architecture, {"width": 0.03, "input_size": 32, **arguments}, ("a", "b"))


@pytest.mark.slow
@pytest.mark.parametrize(
  ("network", "phases"),
  [
    (lambda: _network(), ("appearance", "motion", "fusion")),
    (lambda: _other("st_resnet50", chunks=2), ("motion", "fusion")),
    (lambda: _other("tsn_bn_inception"), ("appearance", "motion")),
    (lambda: _other("tsn_bn_inception", stream="motion", chunks=3), ("motion",)),
  ],
)
def test_every_network_has_its_phases(network, phases):
  model = network().model
  assert train.phases_of(model) == phases
  for name in recipe.PHASES:
    if name in phases:
      cut = train.cut_for_phase(model, Phase(name, 1))
      # What was trained alone before rests below the place where streams meet; otherwise all is trained.
      assert (cut.below is not None) == (name == "fusion" and len(phases) == 3)
      assert set(cut.streams) == (set(model.input) if name == "fusion" else {name})
    else:
      with pytest.raises(UsageError, match=f"phase '{name}'"):
        train.cut_for_phase(model, Phase(name, 1))


@pytest.mark.slow
def test_a_phase_of_chunks_trains_every_layer_of_its_streams_and_their_statistics():
  network = _other("st_resnet50", chunks=2)
  moving = {v.path: np.array(v) for layer in network.model.layers for v in layer.non_trainable_weights}
  before = _snapshot(network.model)
  phase = Phase("motion", 2, warmup_steps=0, learning_rate=1e-2)
  _fit(train.cut_for_phase(network.model, phase), phase, 32)
  after = _snapshot(network.model)
  moved = {path for path, value in after.items() if not np.array_equal(value, before[path])}
  # A convolution in front of a normalisation has a gradient of nearly zero along its own bias.
  assert moved >= {path for path in before if "motion" in path and "bias" not in path} and not any("appearance" in path for path in moved)
  now = {v.path: np.array(v) for layer in network.model.layers for v in layer.non_trainable_weights}
  changed = {path for path, value in now.items() if not np.array_equal(value, moving[path])}
  assert changed and all("_motion/moving" in path for path in changed)
  with pytest.raises(UsageError, match="res4a_branch2b.*bypass"):
    train.cut_for_phase(network.model, Phase("fusion", 2, train_from="res4a_branch2b"))
