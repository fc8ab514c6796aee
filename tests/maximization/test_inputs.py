"""Streams, parameterisations, and transforms of the plane and of time: shapes, adjoints, and what they do to known inputs."""

import numpy as np
import pytest
import tensorflow as tf

from tbvis.errors import UsageError
from tbvis.maximization import parameterizations, transforms
from tbvis.maximization.config import MaximizationConfig
from tbvis.maximization.streams import Stream


@pytest.mark.parametrize(
  ("stream", "shape"),
  [
    (Stream("motion", 10, 2), (2, 6, 5, 20)),
    (Stream("image", 1, 3), (2, 6, 5, 3)),
    (Stream("clip", 4, 3, chunks=4), (2, 4, 6, 5, 3)),
    (Stream("flow", 20, 2, chunks=2), (2, 2, 6, 5, 20)),
    (Stream("one", 10, 2, chunks=1), (2, 1, 6, 5, 20)),
  ],
)
def test_a_stream_reaches_the_network_in_its_own_form(stream, shape):
  x = np.random.default_rng(0).normal(size=(2, 6, 5, stream.frames, stream.components)).astype(np.float32)
  found = stream.to_network(tf.constant(x)).numpy()
  assert found.shape == shape
  if stream.chunks:
    each = stream.frames // stream.chunks
    for chunk in range(stream.chunks):
      np.testing.assert_array_equal(found[:, chunk], x[:, :, :, chunk * each : (chunk + 1) * each].reshape(2, 6, 5, -1))
  else:
    # u1 v1 u2 v2 ...: the same memory.
    np.testing.assert_array_equal(found.ravel(), x.ravel())


def test_scale_and_offset_are_what_the_network_sees():
  x = tf.ones((1, 2, 2, 1, 3)) * 127.5
  np.testing.assert_allclose(Stream("image", scale=1 / 255, offset=0.5).to_network(x), np.ones((1, 2, 2, 3)))


@pytest.mark.parametrize("size", [1, 2, 5, 8])
def test_the_real_fourier_basis_spans_what_the_fft_spans(size):
  basis, frequency = parameterizations.real_fourier_basis(size)
  np.testing.assert_allclose(basis.T @ basis, np.eye(size), atol=1e-12)
  x = np.random.default_rng(0).normal(size=size)
  power = np.abs(np.fft.rfft(x, norm="ortho")) ** 2
  power[1 : (size + 1) // 2] *= 2  # The negative frequencies.
  ours = [(np.square(basis.T @ x))[np.isclose(frequency, k / size)].sum() for k in range(size // 2 + 1)]
  np.testing.assert_allclose(ours, power, atol=1e-12)


@pytest.mark.parametrize(("components", "frames", "decorrelate"), [(3, 1, True), (3, 4, True), (2, 5, False), (1, 3, False)])
def test_fourier_is_invertible_and_pulls_gradients_back(components, frames, decorrelate):
  space = parameterizations.Fourier(Stream("x", frames, components), 6, frames, 1.0, decorrelate)
  random = np.random.default_rng(1)
  z, g = (tf.constant(random.normal(size=(2, 6, 6, frames, components)).astype(np.float32)) for _ in range(2))
  np.testing.assert_allclose(space.inverse(space(z)), z, atol=2e-3)
  with tf.GradientTape() as tape:
    tape.watch(z)
    value = tf.reduce_sum(space(z) * g)
  np.testing.assert_allclose(space.pull_back(g), tape.gradient(value, z), atol=1e-3)


def test_fourier_starts_smooth_and_as_strong_as_white_noise():
  space = parameterizations.Fourier(Stream("motion", 10, 2), 32, 10, 1.0)
  noise = np.random.default_rng(0).normal(size=(16, 32, 32, 10, 2)).astype(np.float32)
  x = space(tf.constant(noise)).numpy()
  # A few slow waves carry most of it: the mean over starts is what is fixed.
  assert np.sqrt(np.mean(x**2)) == pytest.approx(1.0, rel=0.15)
  rough = np.abs(np.diff(x, axis=1)).mean() / np.abs(x).mean()
  assert rough < 0.8 * np.abs(np.diff(noise, axis=1)).mean() / np.abs(noise).mean()


def test_turning_by_a_right_angle_moves_pixels_and_flow_together():
  picture = np.random.default_rng(0).normal(size=(1, 7, 7, 2, 3)).astype(np.float32)
  turned = transforms.turn(tf.constant(picture), tf.constant(1.0), tf.constant(np.pi / 2, tf.float32)).numpy()
  np.testing.assert_allclose(turned, np.rot90(picture, axes=(1, 2)), atol=1e-4)
  # A flow to the right becomes one upwards (v < 0), wherever it goes.
  flow = np.zeros((1, 7, 7, 3, 2), np.float32)
  flow[..., 0] = 2.0
  up = transforms.turn(tf.constant(flow), tf.constant(1.0), tf.constant(np.pi / 2, tf.float32)).numpy()
  np.testing.assert_allclose(up[:, 1:-1, 1:-1, :, 1], -2.0, atol=1e-4)
  np.testing.assert_allclose(up[:, 1:-1, 1:-1, :, 0], 0.0, atol=1e-4)


def test_an_expanding_flow_stays_so_when_turned_and_grows_when_enlarged():
  y, x = np.mgrid[-8:9, -8:9].astype(np.float32)
  flow = np.stack([x, y], axis=-1)[None, :, :, None, :]
  inside = (slice(None), slice(5, 12), slice(5, 12))
  turned = transforms.turn(tf.constant(flow), tf.constant(1.0), tf.constant(0.4)).numpy()
  np.testing.assert_allclose(turned[inside], flow[inside], atol=1e-3)
  # Twice as large and twice as fast: at a place, what was at half the distance, doubled.
  larger = transforms.turn(tf.constant(flow), tf.constant(2.0), tf.constant(0.0)).numpy()
  np.testing.assert_allclose(larger[inside], flow[inside], atol=1e-3)


def test_turning_mixes_no_frames_and_has_a_gradient():
  x = np.zeros((1, 9, 9, 4, 2), np.float32)
  x[:, :, :, 2] = 1.0
  with tf.GradientTape() as tape:
    source = tf.constant(x)
    tape.watch(source)
    turned = transforms.turn(source, tf.constant(1.1), tf.constant(0.3))
    total = tf.reduce_sum(turned[..., 0])
  assert not np.any(turned.numpy()[:, :, :, [0, 1, 3]]) and np.any(turned.numpy()[:, :, :, 2])
  gradient = tape.gradient(total, source).numpy()
  assert np.isfinite(gradient).all() and np.any(gradient)


def test_time_windows_shift_frames_alone():
  x = np.arange(6, dtype=np.float32).reshape(1, 1, 1, 6, 1) * np.ones((1, 2, 2, 1, 2), np.float32)
  found = transforms.time_window(tf.constant(x), tf.constant(2), 4).numpy()
  np.testing.assert_array_equal(found[0, 0, 0, :, 0], [2, 3, 4, 5])
  same = tf.constant(x)
  assert transforms.time_window(same, tf.constant(0), 6) is same


def test_draws_stay_in_their_range_and_come_from_the_seed():
  draws = transforms.plane_draws(3, 500, 0.25, 10.0)
  assert 0.79 < draws[:, 0].min() < 0.83 and 1.2 < draws[:, 0].max() <= 1.25
  assert np.abs(draws[:, 1]).max() <= np.deg2rad(10) and np.abs(draws[:, 1]).max() > np.deg2rad(9)
  np.testing.assert_array_equal(draws, transforms.plane_draws(3, 500, 0.25, 10.0))
  np.testing.assert_array_equal(transforms.plane_draws(0, 5, 0.0, 0.0), np.array([[1, 0]] * 5, np.float32))


def test_the_part_at_the_bound():
  x = np.zeros((2, 4, 4, 1, 3), np.float32)
  x[0, :2, :, 0, 0] = 160.0
  np.testing.assert_allclose(transforms.at_bound(tf.constant(x), 160.0), [0.5, 0.0])


@pytest.mark.parametrize(
  "make",
  [
    lambda: Stream("x", frames=0),
    lambda: Stream("x", frames=5, chunks=2),
    lambda: Stream("x", scale=0.0),
    lambda: parameterizations.real_fourier_basis(0),
    lambda: transforms.turn(tf.zeros((2, 3, 3, 2)), tf.constant(1.0), tf.constant(0.0)),
    lambda: MaximizationConfig(decorrelate=True),
    lambda: MaximizationConfig(parameterization="wavelets"),
    lambda: MaximizationConfig(temporal_jitter=-1),
  ],
)
def test_bad_arguments_are_refused(make):
  with pytest.raises(UsageError, match="xpected"):
    make()
