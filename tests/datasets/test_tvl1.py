from __future__ import annotations

import cv2
import numpy as np
import pytest
import tensorflow as tf

from tbvis.datasets import decoding, flow, media, tvl1
from tbvis.datasets.flow import Tvl1Settings
from tests.datasets.conftest import write_video

# Few levels and warps: each level is compiled by itself.
SMALL = Tvl1Settings(scales=2, warps=2)

# Every one takes a second or more.
pytestmark = pytest.mark.slow


def _opencv(first, second, settings):
  solver = cv2.optflow.DualTVL1OpticalFlow_create(
    nscales=settings.scales,
    warps=settings.warps,
    medianFiltering=settings.median,
    innnerIterations=settings.inner,
    outerIterations=settings.outer,
    scaleStep=settings.scale_step,
  )
  return np.stack([solver.calc(one, other, None) for one, other in zip(first, second, strict=True)])


def _pairs(moves, size=(61, 83)):
  """Frames of a texture, and the same moved by (u, v) pixels."""
  rng = np.random.default_rng(0)
  first, second = [], []
  for u, v in moves:
    texture = cv2.GaussianBlur(rng.uniform(0, 255, (size[0] + 40, size[1] + 40)).astype(np.float32), (0, 0), 2)
    texture = cv2.normalize(texture, None, 0, 255, cv2.NORM_MINMAX)
    moved = cv2.warpAffine(texture, np.float32([[1, 0, u], [0, 1, v]]), texture.shape[::-1], flags=cv2.INTER_CUBIC)
    for frames, image in ((first, texture), (second, moved)):
      frames.append(np.clip(image, 0, 255)[20:-20, 20:-20].astype(np.uint8))
  return np.stack(first), np.stack(second)


def _noise(*shape, scale=50.0):
  return np.random.default_rng(1).normal(0, scale, shape).astype(np.float32)


def _distance(one, other):
  return np.linalg.norm(one - other, axis=-1).mean(axis=(1, 2))


def test_central_difference_halves_at_the_edges():
  image = _noise(2, 7, 9)
  across, down = (tvl1.central_difference(tf.constant(image), axis).numpy() for axis in (-1, -2))
  # NumPy's edges are one-sided over one pixel; these are half of that.
  for found, axis in ((across, 2), (down, 1)):
    expected = np.gradient(image, axis=axis)
    edges = np.moveaxis(expected, axis, 0)
    edges[[0, -1]] /= 2
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_divergence_is_the_negative_adjoint_of_the_gradient():
  values, dual = _noise(2, 3, 8, 11), [_noise(2, 3, 8, 11)[::-1], _noise(2, 3, 8, 11)]
  gradient = [tvl1.forward_difference(tf.constant(values), axis).numpy() for axis in (-1, -2)]
  np.testing.assert_array_equal(gradient[0][..., :-1], np.diff(values, axis=-1))
  np.testing.assert_array_equal(gradient[1][..., :-1, :], np.diff(values, axis=-2))
  assert not gradient[0][..., -1].any() and not gradient[1][..., -1, :].any()
  # As everywhere in the solver, the dual variable is zero where the gradient always is.
  dual = [np.where(np.diff(values, axis=axis, append=np.inf) < np.inf, p, 0) for p, axis in zip(dual, (-1, -2), strict=True)]
  inner = sum((p * g).sum(dtype=np.float64) for p, g in zip(dual, gradient, strict=True))
  divergence = tvl1.divergence(*map(tf.constant, dual)).numpy()
  assert inner == pytest.approx(-(values * divergence).sum(dtype=np.float64), rel=1e-4)


def test_warp_is_opencvs_cubic_remap_and_zero_outside():
  images, motion = [_noise(2, 20, 27), _noise(2, 20, 27, scale=9.0)], _noise(2, 2, 20, 27, scale=6.0)
  motion = np.round(motion * 32) / 32  # Older releases of OpenCV round places so.
  motion[:, 0, 3, 4] = 1e6
  motion[:, 1, 5, 6] = -1e6
  x, y = np.meshgrid(np.arange(27, dtype=np.float32), np.arange(20, dtype=np.float32))
  found = [warped.numpy() for warped in tvl1.warp([tf.constant(image) for image in images], tf.constant(motion))]
  for image, warped in zip(images, found, strict=True):
    for k in range(2):
      expected = cv2.remap(image[k], x + motion[0, k], y + motion[1, k], cv2.INTER_CUBIC)
      np.testing.assert_allclose(warped[k], expected, atol=1e-3)
  assert found[0][0, 3, 4] == found[0][1, 5, 6] == 0
  still = tvl1.warp([tf.constant(images[0])], tf.zeros([2, 2, 20, 27]))[0]
  np.testing.assert_array_equal(still, images[0])


@pytest.mark.parametrize("size", [3, 5])
def test_median_is_opencvs(size):
  values = _noise(2, 3, 14, 17)
  found = tvl1.median(tf.constant(values), size).numpy()
  for index in np.ndindex(2, 3):
    np.testing.assert_array_equal(found[index], cv2.medianBlur(values[index], size))


def test_resize_is_opencvs():
  image = _noise(1, 61, 83)
  down = tvl1.resize(tf.constant(image), (49, 66), 1.25).numpy()
  expected = cv2.resize(image[0], None, fx=0.8, fy=0.8, interpolation=cv2.INTER_LINEAR)
  np.testing.assert_allclose(down[0], expected, atol=1e-3)
  up = tvl1.resize(tf.constant(down), (61, 83)).numpy()
  np.testing.assert_allclose(up[0], cv2.resize(expected, (83, 61), interpolation=cv2.INTER_LINEAR), atol=1e-3)


def test_flow_of_a_texture_is_opencvs_and_the_motion():
  moves = [(1.5, -1.0), (0.0, 0.0), (-0.5, 2.0)]
  first, second = _pairs(moves)
  flows = tvl1.compute_flows(first, second, SMALL)
  assert flows.shape == (3, 61, 83, 2) and flows.dtype == np.float32
  assert _distance(flows, _opencv(first, second, SMALL)).max() < 0.02
  np.testing.assert_allclose(np.median(flows, axis=(1, 2)), moves, atol=0.1)


def test_nothing_moves_nothing():
  first, _ = _pairs([(1.0, 1.0)])
  for frames in (first, np.zeros_like(first), first.astype(np.float32)):
    assert not tvl1.compute_flows(frames, frames, SMALL).any()


def test_a_batch_is_its_pairs_one_by_one():
  # They need different numbers of steps, and the last call of two holds one pair only.
  first, second = _pairs([(3.0, 0.0), (0.0, 0.0), (0.2, 0.1), (-1.0, 2.0), (8.0, -8.0)])
  flows = tvl1.compute_flows(first, second, SMALL, pairs_at_once=1)
  np.testing.assert_array_equal(tvl1.compute_flows(first, second, SMALL, pairs_at_once=2), flows)
  assert tvl1.compute_flows(first[:0], second[:0], SMALL).shape == (0, 61, 83, 2)


def test_a_pair_stops_when_it_has_converged():
  first, second = _pairs([(0.5, 0.0), (6.0, -6.0)])
  bounded = [Tvl1Settings(scales=1, warps=1, epsilon=0.1, median=1, outer=1, inner=steps) for steps in (5, 10)]
  # More steps change the second pair only: the first had converged.
  few, more = (tvl1.compute_flows(first, second, settings, pairs_at_once=2) for settings in bounded)
  assert (few[0] == more[0]).all() and (few[1] != more[1]).any()


@pytest.mark.parametrize("size", [(3, 3), (17, 19)])
def test_small_and_odd_frames(size):
  first, second = _pairs([(1.0, 0.0)], size)
  settings = Tvl1Settings(scales=2, warps=1, outer=2)
  flows = tvl1.compute_flows(first, second, settings)
  assert flows.shape == (1, *size, 2)
  assert _distance(flows, _opencv(first, second, settings)).max() < 0.02


@pytest.mark.parametrize("shapes", [((2, 20, 20), (3, 20, 20)), ((20, 20), (20, 20)), ((1, 20, 2), (1, 20, 2)), ((1, 9, 9, 3),) * 2])
def test_other_shapes_are_refused_with_what_was_expected(shapes):
  with pytest.raises(ValueError, match=r"one shape \(N, H, W\).*at least 3; received") as error:
    tvl1.compute_flows(*(np.zeros(shape, np.uint8) for shape in shapes))
  assert str(shapes[0]) in str(error.value)


def test_a_gpu_takes_what_the_bound_on_memory_allows(monkeypatch):
  assert tvl1.batch_size(256, 342) == 1
  monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: ["a GPU"])
  pairs = tvl1.batch_size(256, 342)
  # XLA counts 193 bytes a pixel.
  assert pairs > 8 and pairs * 256 * 342 * 193 <= tvl1.MEMORY_BYTES
  assert tvl1.batch_size(256, 342, memory_bytes=1) == 1


@pytest.mark.slow
def test_a_clip_is_encoded_with_it(tmp_path):
  path = write_video(tmp_path / "clip.avi", frames=decoding.MIN_FRAMES, size=(64, 64), shift=3.0)
  clip, expected = (decoding.encode_clip(media.Video(str(path)), method) for method in ("tvl1_tf", "tvl1"))
  for found, reference in zip(clip.flow_u + clip.flow_v, expected.flow_u + expected.flow_v, strict=True):
    images = [cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE).astype(float) for data in (found, reference)]
    assert np.abs(images[0] - images[1]).mean() < 0.5


@pytest.mark.slow
@pytest.mark.real
def test_difference_from_opencv_on_real_frames(real_data):
  frames = media.read_video(sorted((real_data / "ucf101" / "videos").glob("*/*.avi"))[0])[:3]
  # OpenCV is about 0.01 from itself where grey values change by 0.0001 (benchmarks/flow.py).
  fields, expected = (np.stack(list(flow.compute_flows(frames, method))) for method in ("tvl1_tf", "tvl1"))
  assert _distance(fields, expected).max() < 0.05
