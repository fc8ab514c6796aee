"""The search on a small network: it climbs, rows stay apart, chi slows, and the network is left as it was."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

import tbvis
from tbvis import limits
from tbvis.errors import UsageError
from tbvis.maximization import api, ascent, planning, programs, streams, sweep
from tbvis.maximization.config import MaximizationConfig
from tbvis.maximization.network import CutNetwork, Leak, Tap
from tbvis.records import StimulusRecord

SHORT = MaximizationConfig(steps=12, log_every=1)


def _a_hat(network, *layers, value=1.0):
  return {layer: np.full(network.get_layer(layer).filters, value, np.float32) for layer in layers}


def _ascent(network, layer, canvas, config):
  term = programs.Term(("unit", Tap(layer), config.location), (Tap(layer),))
  return ascent.Ascent(network, [term], streams.streams_of(network), canvas, config)


def _rows(names, channels, a_hat, chi):
  return ascent.Rows(names, ((np.array(channels, np.int32),),), np.array(a_hat)[:, None], [1.0] * len(names), chi)


def _values_at(network, layer, channel, **inputs):
  """The value of a unit at the centre of its map, by the network itself."""
  net = keras.Model({name: tensor for name, tensor in network.input.items() if name in inputs}, network.get_layer(layer).output)
  maps = net({name: x[None].reshape(1, *x.shape[:2], -1) for name, x in inputs.items()}, training=False)
  return float(maps[0, maps.shape[1] // 2, maps.shape[2] // 2, channel])


@pytest.fixture(scope="module")
def search(network):
  return _ascent(network, "conv3_3_motion", 47, SHORT)


@pytest.fixture(scope="module")
def climbed(network):
  """A unit of one tower, searched with the settings of this file."""
  return tbvis.maximize(network, "conv3_3_motion/f002", chi=[0], a_hat=_a_hat(network, "conv3_3_motion"), config=SHORT)[0]


@pytest.mark.slow
def test_a_rows_gradient_does_not_depend_on_who_shares_the_batch(search):
  starts = search.start(0, ["a", "b", "c", "d"])
  together = search.gradient(starts, ((np.array([0, 5, 2, 0], np.int32),),))
  for row, channel in enumerate([0, 5, 2, 0]):
    alone = search.gradient({stream: x[row : row + 1] for stream, x in starts.items()}, ((np.array([channel], np.int32),),))
    for stream, gradient in alone.items():
      difference = np.linalg.norm(together[stream][row] - gradient[0])
      assert np.linalg.norm(gradient) > 0 and difference <= 1e-5 * np.linalg.norm(gradient)


@pytest.mark.slow
def test_rows_have_their_own_weights_and_settings(search):
  # A mate with another a_hat, chi and channel changes nothing (to rounding) in the first steps of a row.
  def first(units, channels, a_hat, chi):
    return search.run(_rows(units, channels, a_hat, chi)).history["data_weight"][:, 0]

  alone = first(["a"], [1], [1.0], [0.0])
  shared = first(["a", "b"], [1, 4], [1.0, 50.0], [0.0, 10.0])
  np.testing.assert_allclose(shared[:4], alone[:4], rtol=1e-3)


def test_the_ascent_raises_the_activation(climbed):
  assert climbed.history["activation"][-1] > climbed.history["activation"][0] + 0.1
  assert climbed.activation == pytest.approx(climbed.history["activation"][-1], rel=0.5)
  assert set(climbed.history) >= {
    "activation", "activation_over_a_hat", "data", "data_weight", "energy_motion", "tv_motion", "contrast_motion",
  }  # fmt: skip


@pytest.mark.slow
def test_chi_slows_the_motion_down(network):
  config = dataclasses.replace(SHORT, steps=80)
  # About what this network gives to inputs of natural strength; at a_hat = 1 nothing but the start noise's rest is left.
  a_hat = _a_hat(network, "conv3_3_motion", value=200.0)
  fast, slow = tbvis.maximize(network, ["conv3_3_motion/f002"], chi=[0, 10], a_hat=a_hat, config=config)
  assert fast.temporal_ratio > 2 * slow.temporal_ratio
  assert min(fast.activation_over_a_hat, slow.activation_over_a_hat) > 0.5


def test_calibration_turns_each_data_weight_towards_the_target(network):
  layer = "conv3_3_appearance"
  found = tbvis.maximize(network, [f"{layer}/f001-f004"], chi=[0], a_hat=_a_hat(network, layer, value=200.0), config=SHORT)
  for stimulus in found:
    below = stimulus.history["activation_over_a_hat"][:-1] < SHORT.target
    rises = np.diff(stimulus.history["data_weight"]) > 0
    np.testing.assert_array_equal(rises, below)


@pytest.mark.slow
def test_calibration_reaches_the_target(network):
  layer = "conv3_3_motion"
  a_hat = _a_hat(network, layer, value=200.0)
  found = tbvis.maximize(network, [f"{layer}/f001-f004"], chi=[0], a_hat=a_hat, config=MaximizationConfig(steps=100))
  for stimulus in found:
    assert 0.6 < stimulus.activation_over_a_hat / MaximizationConfig().target < 1.6, stimulus.target.name


@pytest.mark.slow
def test_both_inputs_of_a_joint_unit_are_pulled_alike(network):
  # One input weighs a thousandth of the other in the fusion: only balancing lets the target reach it.
  model = keras.models.clone_model(network)
  model.set_weights(network.get_weights())
  fusion = model.get_layer("conv5_fusion")
  kernel = fusion.kernel.numpy()
  kernel[..., kernel.shape[2] // 2 :, :] *= 1e-3
  fusion.kernel.assign(kernel)
  shares = {}
  for balance in (0.0, 1e6):
    found = _ascent(model, "conv5_fusion", 31, dataclasses.replace(SHORT, balance=balance, steps=1)).run(
      _rows(["a", "b"], [0, 1], [1.0, 1.0], [0.0, 0.0])
    )
    shares[balance] = found.history
  assert not any(name.startswith("balance") for name in shares[0.0])
  one, other = shares[1e6]["balance_appearance"], shares[1e6]["balance_motion"]
  assert np.all(other / one > 100) and np.allclose(one * other, 1, rtol=1e-4)


def test_what_the_leak_lets_through_a_relu_that_is_off():
  x = keras.Input((1, 1, 3), name="appearance")
  hidden = keras.layers.Dense(2, kernel_initializer="ones", bias_initializer=keras.initializers.Constant(-10), name="hidden")(x)
  fused = keras.layers.Dense(
    2, kernel_initializer="ones", bias_initializer=keras.initializers.Constant(-10), activation="relu", name="fused"
  )(x)
  for rectified in (keras.layers.ReLU(name="relu")(hidden), keras.layers.Activation("relu", name="activation")(hidden), fused):
    net = keras.Model(x, keras.layers.Dense(1, kernel_initializer="ones", name="sum")(rectified))
    cut = CutNetwork(net, [Tap("sum")])
    start = tf.ones((1, 1, 1, 3))
    for slope, values, expected in ((0.0, False, 0.0), (0.05, False, 0.1), (0.05, True, 0.1)):
      with tf.GradientTape() as tape:
        tape.watch(start)
        value = cut({"appearance": start}, Leak(slope, values))[Tap("sum")]
      np.testing.assert_allclose(tape.gradient(value, start).numpy().ravel(), np.full(3, expected), rtol=1e-6)
      # Two hidden values of 3 - 10, off: the network's own value is 0.
      np.testing.assert_allclose(value.numpy().ravel(), [-0.7 if values else 0.0], rtol=1e-6)


def test_reported_activations_are_the_networks_own(network):
  config = dataclasses.replace(SHORT, relu_leak=0.5, leak_values=True)
  found = tbvis.maximize(network, "conv3_3_motion/f002", chi=[0], a_hat=_a_hat(network, "conv3_3_motion"), config=config)[0]
  own = _values_at(network, "conv3_3_motion", 1, motion=found.motion)
  assert found.activation == pytest.approx(own, rel=1e-4) and found.history["activation"][-1] != pytest.approx(own, rel=0.01)


@pytest.mark.slow
def test_no_pixel_leaves_the_bound(network):
  config = dataclasses.replace(SHORT, bound=20.0, calibrate=False, data_weight=1e8)
  stimulus = tbvis.maximize(network, ["conv2_2/f001"], chi=[0], a_hat=_a_hat(network), config=config)[0]
  for x in (stimulus.appearance, stimulus.motion):
    largest = np.linalg.norm(x, axis=-1).max()
    assert 19.9 < largest <= 20.0 * (1 + 1e-5)


@pytest.mark.slow
def test_the_network_is_left_as_it_was(network):
  before = [w.numpy().copy() for w in network.weights]
  flags = [layer.trainable for layer in network.layers]
  tbvis.maximize(network, ["prediction/f001"], chi=[0], a_hat=_a_hat(network, "prediction"), config=dataclasses.replace(SHORT, steps=2))
  for old, new in zip(before, network.weights, strict=True):
    np.testing.assert_array_equal(old, new.numpy())
  assert flags == [layer.trainable for layer in network.layers]
  assert {layer.compute_dtype for layer in network.layers} == {"float32"}


@pytest.mark.slow
def test_the_same_seed_gives_the_same_stimulus_and_another_another(network):
  def find(seed):
    return tbvis.maximize(network, ["conv2_2/f001"], chi=[1], a_hat=_a_hat(network), config=dataclasses.replace(SHORT, steps=3), seed=seed)[
      0
    ]

  first, again, other = find(0), find(0), find(1)
  np.testing.assert_array_equal(first.motion, again.motion)
  np.testing.assert_array_equal(first.appearance, again.appearance)
  assert np.any(first.motion != other.motion)


@pytest.mark.slow
def test_a_unit_in_both_towers_is_the_sum_of_the_two(network):
  layers = ("conv2_2_appearance", "conv2_2_motion")
  a_hat = _a_hat(network, *layers)
  both = tbvis.maximize(network, ["conv2_2/f003"], chi=[0], a_hat=a_hat, config=SHORT)[0]
  alone = [
    _values_at(network, layers[0], 2, appearance=both.appearance),
    _values_at(network, layers[1], 2, motion=both.motion),
  ]
  assert both.activation == pytest.approx(sum(alone), rel=1e-4)
  assert both.a_hat == 2.0


def test_a_unit_of_one_tower_has_one_input(climbed):
  assert climbed.appearance is None and climbed.motion.shape[2:] == (10, 2)


@pytest.mark.slow
def test_a_dead_unit_is_an_error_record_with_its_cause(network):
  from tbvis.models import two_stream

  dead = two_stream.two_stream_fusion_vgg16(2, width=0.05, input_size=32, fc_units=8)
  dead.get_layer("conv2_1_motion").kernel.assign(np.zeros(dead.get_layer("conv2_1_motion").kernel.shape))
  with pytest.MonkeyPatch.context() as patch:
    said = []
    patch.setattr(sweep.logging, "warning", lambda text, *args: said.append(text % args))
    stimulus = tbvis.maximize(dead, ["conv2_2_motion/f001"], chi=[0], a_hat=_a_hat(dead, "conv2_2_motion"), config=SHORT)[0]
  assert stimulus.motion is None and "no gradient reached the input from conv2_2_motion" in stimulus.error
  assert any("no gradient reached" in text for text in said)
  assert stimulus.to_record().error == stimulus.error


@pytest.mark.slow
def test_isotropic_settings_and_records(network):
  found = tbvis.maximize(
    network, ["conv2_1/f001"], chi=[0], isotropic=[5], a_hat=_a_hat(network), config=dataclasses.replace(SHORT, steps=2)
  )
  assert [(s.kappa, s.chi, s.isotropic) for s in found] == [(1.0, 0.0, False), (5.0, 5.0, True)]
  record = found[1].to_record()
  assert isinstance(record, StimulusRecord) and record.variant == "isotropic=5" and record.unit == "conv2_1/f001"
  assert record.config["steps"] == 2 and record.config["layers"] == ["conv2_1_appearance", "conv2_1_motion"]
  assert record.config["measured"]["temporal_ratio"] > 0


def test_the_plan_keeps_targets_whole_and_layers_together(network):
  job = api.make_job(network, MaximizationConfig(batch_size=6))
  found = planning.targets(["conv5_fusion/f001-f005", "prediction/f001"], network)
  wanted = planning.settings([0, 1, 10], 1.0)
  batches = planning.plan(job, found, wanted)
  assert [len(batch.rows) for batch in batches] == [6, 6, 3, 3]
  assert [batch.layers for batch in batches][-1] == ("prediction",)
  assert planning.plan(job, found, wanted) == batches


def test_a_batch_that_does_not_fit_into_memory_is_refused_before_it_is_compiled(network, monkeypatch):
  job = api.make_job(network, MaximizationConfig(canvas=64, batch_size=2, batch_memory=1))
  arguments = planning.targets(["conv2_1_motion/f001-f002"], network), planning.settings([0], 1.0)
  assert len(planning.plan(job, *arguments)) == 1
  monkeypatch.setattr(limits, "available_bytes", lambda: 1 << 20)
  with pytest.raises(UsageError, match=r"--canvas, --batch_size: 2 stimuli of 64 x 64 pixels for layer conv2_1_motion need about"):
    planning.plan(job, *arguments)


def test_a_place_beyond_the_map_is_told_as_a_mistake_of_the_user(network):
  with pytest.raises(UsageError, match="^--location: expected a place on a map of .* received '99,99'"):
    tbvis.maximize(network, ["conv2_1_motion/f001"], chi=[0], config=dataclasses.replace(SHORT, location="99,99"))


@pytest.mark.parametrize(
  "arguments", [{"chi": [-1]}, {"chi": []}, {"chi": [0], "kappa": float("nan")}, {"chi": [0], "a_hat": {"conv2_1_motion": [1, 2]}}]
)
def test_bad_calls_are_refused(network, arguments):
  with pytest.raises(UsageError, match="xpected"):
    tbvis.maximize(network, ["conv2_1_motion/f001"], config=SHORT, **arguments)
