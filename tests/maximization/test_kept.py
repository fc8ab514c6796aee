"""What is kept of a search on its way: when, how small, and that it is the search's own inputs."""

import dataclasses
import doctest

import numpy as np
import pytest
import tensorflow as tf

from tbvis.maximization import api, kept
from tbvis.maximization.config import MaximizationConfig
from tbvis.rendering import animation, steps


def test_examples():
  for module in (kept, steps):
    assert doctest.testmod(module).failed == 0


def test_a_small_copy_is_the_mean_over_boxes():
  x = np.random.default_rng(0).normal(size=(2, 12, 12, 3, 2)).astype(np.float32)
  small = kept.small_copy(tf.constant(x), largest=4)
  assert small.dtype == np.float16
  np.testing.assert_allclose(small, x.reshape(2, 4, 3, 4, 3, 3, 2).mean(axis=(2, 4)), atol=1e-3)
  # Boxes that cut pixels: every pixel counts as much as any other.
  odd = kept.small_copy(tf.constant(x), largest=5)
  assert odd.shape == (2, 5, 5, 3, 2)
  np.testing.assert_allclose(odd.mean(axis=(1, 2)), x.mean(axis=(1, 2)), atol=2e-3)
  np.testing.assert_array_equal(kept.small_copy(tf.constant(x), largest=12), x.astype(np.float16))


@pytest.mark.slow
def test_what_is_kept_of_a_step_is_that_of_a_search_that_ends_there(network):
  config = MaximizationConfig(steps=4, log_every=1, kept_steps=4, canvas=24, final_rate=1.0)
  (whole,) = api.maximize(network, "conv3_1_motion/f001", chi=[0], config=config)
  assert whole.kept_after.tolist() == [0, 1, 2] and set(whole.kept) == {"motion"}
  record = whole.to_record().kept
  assert record.appearance is None and record.motion.shape == (3, *whole.motion.shape)
  # With a rate that does not fall, a shorter search is the beginning of a longer one.
  (shorter,) = api.maximize(network, "conv3_1_motion/f001", chi=[0], config=dataclasses.replace(config, steps=2))
  assert shorter.kept_after.tolist() == [0, 1]
  np.testing.assert_array_equal(whole.kept["motion"][:2], shorter.kept["motion"])
  np.testing.assert_allclose(whole.kept["motion"][2], shorter.inputs["motion"], atol=0.06)
  (none,) = api.maximize(network, "conv3_1_motion/f001", chi=[0], config=dataclasses.replace(config, kept_steps=0))
  assert not none.kept and none.to_record().kept is None
  np.testing.assert_array_equal(none.motion, whole.motion)


def test_copies_of_flow_and_picture_come_back_each_on_its_own_scale():
  rng = np.random.default_rng(0)
  sizes = np.array([1.0, 30.0])
  motion = rng.uniform(-1, 1, (2, 6, 8, 3, 2)) * sizes[:, None, None, None, None]
  still = rng.uniform(-1, 1, (2, 6, 8, 3)) * sizes[:, None, None, None]
  data, known = steps.encode_steps(still, motion)
  assert animation.decode(data).shape == (1, 4 * 6, 2 * 8, 3)
  for given, read, error in zip((still, motion), steps.decode_steps(data, known), (2 / 510, 1 / 40), strict=True):
    for size, copy, again in zip(sizes, given, read, strict=True):
      assert np.abs(copy - again).max() <= 1.01 * error * size
  films = rng.uniform(-1, 1, (2, 6, 8, 4, 3))
  data, known = steps.encode_steps(films, None)
  assert (known["pictures"], animation.decode(data).shape) == (4, (1, 4 * 6, 2 * 8, 3))
  assert np.abs(steps.decode_steps(data, known)[0] - films).max() <= 1.01 / 255
  with pytest.raises(Exception, match="fewer --kept_steps"):
    steps.encode_steps(np.zeros((200, 2, 90, 3)), None)
  with pytest.raises(Exception, match="NaN"):
    steps.encode_steps(None, np.full((1, 2, 2, 1, 2), np.nan))
