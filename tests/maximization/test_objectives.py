"""Objectives: values and gradients against NumPy, arithmetic, names, and an ascent on each."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

import tbvis
from tbvis import objectives
from tbvis.errors import UsageError
from tbvis.maximization import programs
from tbvis.maximization.config import MaximizationConfig
from tbvis.maximization.network import Tap

TAP = Tap("conv2_1_motion")
QUICK = MaximizationConfig(steps=8, log_every=1, calibrate=False, data_weight=1e9, relu_leak=0.0, balance=0.0, jitter=0.0)


def _value(network, objective, maps, **options):
  """Values of one objective on maps of TAP, by the form and the parameters that the search uses, and their gradient."""
  program = programs.lower(objective, network, **options)
  parameters = [tf.constant(np.stack([p] * len(maps))) for p in program.parameters]
  x = tf.constant(maps)
  with tf.GradientTape() as tape:
    tape.watch(x)
    values = programs.values(program.form, {TAP: x}, parameters)
    total = tf.reduce_sum(values)
  return values.numpy(), tape.gradient(total, x).numpy(), program


@pytest.fixture
def maps():
  return np.random.default_rng(2).normal(size=(3, 5, 5, 8)).astype(np.float32)


def test_units_are_taken_and_combined_as_numpy_does(network, maps):
  a, b = (objectives.unit(f"conv2_1_motion/f00{i}") for i in (2, 5))
  at = maps[:, 2, 2]
  for objective, expected in (
    (a, at[:, 1]),
    (a - b, at[:, 1] - at[:, 4]),
    (a + b, at[:, 1] + at[:, 4]),
    (2 * a + 3 * b, 2 * at[:, 1] + 3 * at[:, 4]),
    (a * b, at[:, 1] * at[:, 4]),
    (-a * 0.5, -0.5 * at[:, 1]),
    (objectives.total([a, "conv2_1_motion/f005", a]), 2 * at[:, 1] + at[:, 4]),
    (objectives.unit("conv2_1_motion/f001", location="sum"), maps[..., 0].sum(axis=(1, 2))),
    (objectives.layer("conv2_1_motion"), (maps**2).mean(axis=(1, 2, 3))),
    (objectives.direction("conv2_1_motion", [3, 0, 0, 0, 4, 0, 0, 0]), 0.6 * at[:, 0] + 0.8 * at[:, 4]),
  ):
    np.testing.assert_allclose(_value(network, objective, maps)[0], expected, rtol=1e-4, err_msg=objective.name)


def test_gradients_are_those_of_numpy(network, maps):
  a, b = (objectives.unit(f"conv2_1_motion/f00{i}") for i in (2, 5))
  expected = np.zeros_like(maps)
  expected[:, 2, 2, 1], expected[:, 2, 2, 4] = 1, -1
  np.testing.assert_allclose(_value(network, a - b, maps)[1], expected)
  expected[:, 2, 2, 1], expected[:, 2, 2, 4] = maps[:, 2, 2, 4], maps[:, 2, 2, 1]
  np.testing.assert_allclose(_value(network, a * b, maps)[1], expected, rtol=1e-5)
  np.testing.assert_allclose(_value(network, objectives.layer("conv2_1_motion"), maps)[1], 2 * maps / maps[0].size, rtol=1e-5)
  mean = np.zeros_like(maps)
  mean[..., 1] = 1 / 25
  np.testing.assert_allclose(_value(network, objectives.unit("conv2_1_motion/f002", "mean"), maps)[1], mean, rtol=1e-5)


def test_rows_never_mix(network, maps):
  together = _value(network, objectives.layer("conv2_1_motion"), maps)[0]
  alone = [_value(network, objectives.layer("conv2_1_motion"), maps[i : i + 1])[0][0] for i in range(3)]
  np.testing.assert_allclose(together, alone, rtol=1e-6)


def test_operators_return_new_objectives_with_names_that_read():
  a, b = objectives.unit("c/f001"), objectives.unit("c/f002")
  double = a * 2.0
  assert a.name == "c/f001" and double is not a and double.name == "2 * c/f001"
  assert (a - b).name == "c/f001 - c/f002" and (a - (a + b)).name == "c/f001 - (c/f001 + c/f002)"
  assert (a - 0.5 * b).name == "c/f001 - 0.5 * c/f002" and ((a + b) * b).name == "(c/f001 + c/f002) * c/f002"
  assert (-a).name == "-c/f001" and str(a + b) == "c/f001 + c/f002"
  assert a + b == objectives.unit("c/f001") + objectives.unit("c/f002") and hash(a) == hash(objectives.unit("c/f001"))


def test_what_is_written_is_read_back():
  for text in ("c/f001 - c/f002", "2 * c/f001 + c/f002", "prediction/Hand-Stand - 0.5 * prediction/Archery"):
    assert objectives.is_expression(text) and objectives.parse(text).name == text
  assert not objectives.is_expression("conv3_3/f001-f025") and not objectives.is_expression("prediction/*")


def test_the_scale_is_that_of_the_units_largest_values(network):
  a_hat = {"conv2_1_motion": np.arange(1.0, 9.0)}
  one, two = objectives.unit("conv2_1_motion/f003"), objectives.unit("conv2_1_motion/f005")
  for objective, expected in ((one, 3.0), (one - two, 8.0), (2 * one, 6.0), (one * two, 15.0)):
    assert programs.lower(objective, network, a_hat=a_hat).scale == pytest.approx(expected)


def test_after_the_relu_is_the_relu_layer_that_follows(network):
  program = programs.lower(objectives.unit("conv2_1_motion/f001", after=True), network)
  assert program.taps == (Tap("relu2_1_motion", after=True),)


@pytest.mark.parametrize(
  ("make", "words"),
  [
    (lambda n: programs.lower(objectives.unit("conv2_9/f001"), n), "Unknown layer.*Nearest: conv2_2"),
    (lambda n: programs.lower(objectives.layer("conv2_9"), n), "Unknown layer"),
    (lambda n: programs.lower(objectives.layer("conv2_1"), n), "one tower, one of conv2_1_appearance, conv2_1_motion"),
    (lambda n: programs.lower(objectives.direction("conv2_1_motion", [1, 2]), n), "vector of 8 units"),
    (lambda n: programs.lower(objectives.unit("conv2_1_motion/f001-f003"), n), "expected one unit.*names 3"),
    (lambda n: objectives.direction("conv2_1_motion", [0, 0]), "not all zero"),
    (lambda n: objectives.total([]), "at least one"),
    (lambda n: objectives.unit("a/f001") + 3, "Expected an objective"),
    (lambda n: objectives.unit("a/f001") * "b", "finite number"),
    (lambda n: objectives.unit("a/f001", location="top"), "center, mean, sum"),
    (lambda n: objectives.parse("x * conv2_1/f001 + a/f001"), "Unknown layer|Expected|unit"),
    (lambda n: _value(n, objectives.unit("conv2_1_motion/f001", location="9,9"), np.zeros((1, 5, 5, 8), np.float32)), "map of 5 x 5"),
  ],
)
def test_bad_objectives_are_refused(network, make, words):
  with pytest.raises(UsageError, match=words):
    found = make(network)
    if isinstance(found, objectives.Objective):
      programs.lower(found, network)


@pytest.mark.slow
@pytest.mark.parametrize(
  "wanted",
  [
    "conv2_1/f001",
    "conv2_1_motion",
    objectives.unit("conv2_1_motion/f002", location="sum"),
    objectives.unit("conv2_1_motion/f002", location="1,1"),
    objectives.unit("conv2_1_motion/f003", after=True),
    objectives.direction("conv2_1_motion", np.arange(8) - 3.0),
    "prediction/f001 - prediction/f002",
    objectives.class_logit("f002"),
    objectives.unit("conv2_1_motion/f002") * objectives.unit("conv2_1_motion/f003") + objectives.layer("conv3_1_motion"),
  ],
  ids=str,
)
def test_every_objective_climbs(network, wanted):
  (found,) = tbvis.maximize(network, wanted, chi=[0], config=QUICK)
  assert found.error is None and found.history["activation"][-1] > found.history["activation"][0]
  again = tbvis.maximize(network, wanted, chi=[0], config=dataclasses.replace(QUICK, steps=1))[0]
  np.testing.assert_allclose(again.history["activation"][0], found.history["activation"][0], rtol=1e-4)
