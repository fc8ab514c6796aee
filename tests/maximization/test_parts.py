"""Regularisers, objectives, transforms, canvas, Adam and measures, each against NumPy or a number worked out by hand."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tbvis.errors import UsageError
from tbvis.maximization import adam, canvas, measures, programs, regularizers, transforms
from tbvis.maximization.config import PAPER, MaximizationConfig
from tbvis.maximization.network import Tap
from tbvis.models.geometry import LayerGeometry
from tbvis.records import StimulusRecord


@pytest.fixture
def x():
  return np.random.default_rng(0).normal(size=(2, 5, 6, 4, 2)).astype(np.float32)


def test_total_variation_is_equation_3(x):
  kappa, chi = np.array([2.0, 0.0], np.float32), np.array([0.5, 10.0], np.float32)
  expected = []
  for row, k, c in zip(x, kappa, chi, strict=True):
    space = np.sum(np.diff(row, axis=0) ** 2) + np.sum(np.diff(row, axis=1) ** 2)
    expected.append(k * space + c * np.sum(np.diff(row, axis=2) ** 2))
  np.testing.assert_allclose(regularizers.TotalVariation(kappa, chi)(tf.constant(x)), expected, rtol=1e-5)


def test_total_variation_of_a_constant_is_zero_and_of_one_frame_has_no_time(x):
  assert regularizers.TotalVariation(1.0, 5.0)(tf.ones((1, 4, 4, 3, 2))).numpy() == 0
  one = tf.constant(x[:, :, :, :1])
  np.testing.assert_allclose(regularizers.TotalVariation(1.0, 5.0)(one), regularizers.TotalVariation(1.0, 0.0)(one))


@pytest.mark.parametrize("exponent", [3.0, 6.0])
def test_local_energy_is_equation_2(x, exponent):
  expected = np.sum(np.linalg.norm(x / 1.5, axis=-1) ** exponent, axis=(1, 2, 3))
  np.testing.assert_allclose(regularizers.LocalEnergy(1.5, exponent)(tf.constant(x)), expected, rtol=1e-4)


def _gradient(regularizer, x):
  values = tf.constant(x)
  with tf.GradientTape() as tape:
    tape.watch(values)
    total = tf.reduce_sum(regularizer(values))
  return tape.gradient(total, values).numpy()


def test_the_gradient_of_total_variation_is_numpys(x):
  expected = np.zeros_like(x)
  for axis, weight in ((1, 2.0), (2, 2.0), (3, 0.5)):
    ends = np.diff(x, axis=axis)
    pad = [(0, 0)] * x.ndim
    pad[axis] = (1, 1)
    # Each value is the end of one difference and the start of the next; outside there is none.
    expected += 2 * weight * -np.diff(np.pad(ends, pad), axis=axis)
  np.testing.assert_allclose(_gradient(regularizers.TotalVariation(2.0, 0.5), x), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("exponent", [2.0, 3.0, 6.0])
def test_the_gradient_of_local_energy_is_numpys(x, exponent):
  norms = np.linalg.norm(x, axis=-1, keepdims=True)
  expected = exponent * x * norms ** (exponent - 2) / 1.5**exponent
  np.testing.assert_allclose(_gradient(regularizers.LocalEnergy(1.5, exponent), x), expected, rtol=1e-3, atol=1e-4)


def test_regularizers_take_any_number_of_components():
  for components in (1, 3, 7):
    one = np.random.default_rng(0).normal(size=(2, 4, 4, 3, components)).astype(np.float32)
    assert regularizers.LocalEnergy()(tf.constant(one)).shape == (2,) == regularizers.TotalVariation(1.0, 2.0)(tf.constant(one)).shape


def test_local_energy_has_a_finite_gradient_at_zero():
  zero = tf.zeros((1, 2, 2, 1, 2))
  with tf.GradientTape() as tape:
    tape.watch(zero)
    value = tf.reduce_sum(regularizers.LocalEnergy(80.0, 3.0)(zero))
  assert not np.any(tape.gradient(value, zero))


@pytest.mark.parametrize(
  "make",
  [
    lambda: regularizers.TotalVariation(spatial=-1.0),
    lambda: regularizers.TotalVariation(temporal=float("nan")),
    lambda: regularizers.LocalEnergy(bound=0.0),
    lambda: regularizers.LocalEnergy(exponent=0.5),
    lambda: regularizers.TotalVariation()(tf.zeros((2, 3, 3, 2))),
    lambda: MaximizationConfig(location="corner"),
    lambda: MaximizationConfig(steps=0),
    lambda: MaximizationConfig(beta1=1.0),
    lambda: MaximizationConfig(learning_rate=float("nan")),
    lambda: MaximizationConfig.preset("papre"),
  ],
)
def test_bad_arguments_are_refused(make):
  with pytest.raises(UsageError, match="xpected|Nearest"):
    make()


@pytest.mark.parametrize("location", ["center", "mean", "sum", "1,4", "-1,-2"])
def test_unit_values_take_each_rows_own_channel(location):
  maps = np.random.default_rng(1).normal(size=(3, 5, 5, 4)).astype(np.float32)
  own = np.stack([maps[row, :, :, channel] for row, channel in enumerate((2, 0, 3))])
  expected = {
    "center": own[:, 2, 2], "mean": own.mean(axis=(1, 2)), "sum": own.sum(axis=(1, 2)), "1,4": own[:, 1, 4], "-1,-2": own[:, 4, 3],
  }[location]  # fmt: skip
  found = programs.values(("unit", Tap("conv"), location), {Tap("conv"): tf.constant(maps)}, [tf.constant([2, 0, 3])])
  np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_noise_start_is_that_of_nnpreimage_and_depends_on_the_unit_alone():
  noise = transforms.noise_start(0, "conv4_3/f001", "motion", (100, 100), 46.2)
  assert np.abs(noise).max() == pytest.approx(51.3, rel=0.02)
  assert noise.std() == pytest.approx(transforms.NOISE_LEVEL, rel=0.02)
  np.testing.assert_array_equal(noise, transforms.noise_start(0, "conv4_3/f001", "motion", (100, 100), 46.2))
  for other in ((1, "conv4_3/f001", "motion"), (0, "conv4_3/f002", "motion"), (0, "conv4_3/f001", "appearance")):
    assert np.any(noise != transforms.noise_start(*other, (100, 100), 46.2))


def test_window_shifts_both_axes_and_gives_the_gradient_back():
  x = tf.reshape(tf.range(2.0 * 6 * 6 * 3), (2, 6, 6, 3))
  with tf.GradientTape() as tape:
    tape.watch(x)
    cut = transforms.window(x, tf.constant([1, 2]), 4)
    total = tf.reduce_sum(cut)
  np.testing.assert_array_equal(cut, x[:, 1:5, 2:6])
  gradient = tape.gradient(total, x).numpy()
  assert gradient.sum() == 2 * 4 * 4 * 3 and np.all(gradient[:, 1:5, 2:6] == 1)


def test_shifts_cover_their_range_and_no_more():
  drawn = transforms.shifts(0, 200, 4)
  assert set(map(tuple, drawn)) == {(y, x) for y in range(4) for x in range(4)}


@pytest.mark.parametrize(
  ("field", "stride", "side"),
  # METHOD 2.5: cells of the authors' mosaics (2x2 mosaics of 2 n locations: side = 2 * n * stride + stride - 1), and conv5_fusion's 223.
  [(40, 4, 21 * 4 + 3), (92, 8, 23 * 8 + 7), (196, 16, 223)],
)
def test_canvas_follows_the_authors_rule(field, stride, side):
  assert canvas.canvas_size(LayerGeometry("layer", 8, field, stride, ("motion",)), MaximizationConfig()) == side


def test_canvas_of_whole_layers_is_the_crop_and_small_ones_are_refused():
  fc6 = LayerGeometry("fc6", 8, 404, 32, ("motion",))
  assert canvas.canvas_size(fc6, MaximizationConfig(), 112) == 112
  assert canvas.canvas_size(fc6, MaximizationConfig(canvas=192), 112) == 192
  with pytest.raises(UsageError, match="at least 112 pixels for layer fc6, received 64"):
    canvas.canvas_size(fc6, MaximizationConfig(canvas=64), 112)


def test_adam_takes_a_full_step_at_gradients_of_any_size():
  x, gradient = tf.zeros(2), tf.constant([1e-9, -4.0])
  moved, _ = adam.adam_step(
    x, gradient, (tf.zeros(2), tf.zeros(2)), tf.constant(1.0), tf.constant(8.0), beta1=0.9, beta2=0.9, epsilon=1e-14
  )
  np.testing.assert_allclose(moved, [-8.0, 8.0], rtol=1e-3)


def test_adam_follows_the_published_recursion():
  random = np.random.default_rng(2)
  x, mean, square = np.ones(3), np.zeros(3), np.zeros(3)
  tensor, moments = tf.ones(3), (tf.zeros(3), tf.zeros(3))
  for step in range(1, 5):
    gradient = random.normal(size=3)
    mean, square = 0.8 * mean + 0.2 * gradient, 0.9 * square + 0.1 * gradient**2
    x = x - 0.5 * (mean / (1 - 0.8**step)) / (np.sqrt(square / (1 - 0.9**step)) + 1e-8)
    tensor, moments = adam.adam_step(
      tensor, tf.constant(gradient, tf.float32), moments, tf.constant(float(step)), tf.constant(0.5), beta1=0.8, beta2=0.9, epsilon=1e-8
    )
  np.testing.assert_allclose(tensor, x, rtol=1e-4)


def test_temporal_ratio_tells_a_moving_pattern_from_a_still_one():
  wave = np.sin(np.arange(40) * 0.5)
  moving = np.stack([np.tile(np.roll(wave, shift)[None, :, None], (40, 1, 2)) for shift in range(10)], axis=2)
  # It moves one pixel a frame along x and is constant along y: dt = dx, and space is the mean of dx and 0.
  assert measures.temporal_ratio(moving) == pytest.approx(2.0, rel=0.1)
  assert measures.temporal_ratio(np.repeat(moving[:, :, :1], 10, axis=2)) == 0
  assert measures.temporal_ratio(np.zeros((4, 4, 10, 2))) == 0


def test_contrast_of_the_start_noise_is_one():
  assert measures.contrast(transforms.noise_start(0, "u", "motion", (64, 64, 2), 46.2)) == pytest.approx(1.0, rel=0.02)


def test_the_paper_preset_has_the_printed_constants():
  paper = MaximizationConfig.preset("paper")
  assert (paper.exponent, paper.energy_scale, paper.bound) == (3.0, 160.0, 160.0)
  assert (paper.motion_weight, paper.data_weight, paper.jitter, paper.location) == (10.0, 1.0, 1.0, "sum")
  assert not paper.calibrate and not paper.per_frame
  assert dataclasses.replace(MaximizationConfig(), **PAPER) == paper


def test_every_constant_says_what_it_is_and_where_it_comes_from():
  for name, field in MaximizationConfig.constants().items():
    assert len(field.metadata["help"]) > 10 and field.metadata["source"], name


def test_speeds_compare_the_ends_of_chi_unit_by_unit():
  def record(unit, chi, step, activation=2.0, isotropic=False, error=None):
    still = np.random.default_rng(0).normal(size=(8, 8, 1, 2))
    motion = still + step * np.arange(10).reshape(1, 1, 10, 1)
    return StimulusRecord(
      unit=f"conv3_3/{unit}", layer="conv3_3", layer_index=5, channel=0, class_name=None, kappa=1.0, chi=chi, isotropic=isotropic, seed=0,
      appearance=None, motion=None if error else motion, steps=np.array([0]), history={"activation": np.array([1.0])},
      activation=activation, a_hat=2.0, config={}, error=error,
    )  # fmt: skip

  found = measures.speeds(
    measures.speed(one) for one in [
      record("f001", 0, 8), record("f001", 5, 4), record("f001", 10, 1), record("f001", 9, 1, isotropic=True),
      record("f002", 10, 1), record("f002", 0, 2), record("f003", 0, 9, activation=0.8), record("f003", 10, 1),
      record("f004", 0, 9), record("f004", 10, 1, error="dead"), record("f005", 0, 9),
    ]
  )  # fmt: skip
  assert list(found) == ["conv3_3"]
  np.testing.assert_allclose(found["conv3_3"].quotients, [8, 2, 9])
  np.testing.assert_allclose(found["conv3_3"].activations, [[1, 1], [1, 1], [0.4, 1]])
  assert found["conv3_3"].passed == 1 and "3 units" in str(found["conv3_3"]) and "1 of 3" in str(found["conv3_3"])
