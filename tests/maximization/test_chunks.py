"""Chunks of a clip in the search: what is near in time, what is shifted, what counts; and films, whose frames follow each other."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

import tbvis
from tbvis.errors import UsageError
from tbvis.maximization import measures, parameterizations, programs, regularizers, streams, transforms
from tbvis.maximization.config import MaximizationConfig
from tbvis.maximization.network import Tap
from tbvis.maximization.streams import Stream
from tbvis.models import bn_inception
from tbvis.units import parse_units

PAIR = {"appearance": Stream("appearance", 3, 3, 3), "motion": Stream("motion", 30, 2, 3)}


def _inputs(**shapes):
  made = [keras.Input(shape, name=name) for name, shape in shapes.items()]
  return keras.Model(made, made)


def test_steps_of_several_frames_are_chunks_and_others_a_film():
  pair = streams.streams_of(_inputs(appearance=(3, None, None, 3), motion=(3, None, None, 20)))
  assert [(s.windows, s.gap, s.parts) for s in pair.values()] == [(3, math.inf, 3)] * 2
  film = streams.streams_of(_inputs(clip=(16, None, None, 3)))["clip"]
  assert (film.windows, film.gap, film.parts, film.frames) == (1, 1.0, 1, 16)
  still = streams.streams_of(_inputs(appearance=(None, None, 3), motion=(None, None, 20)))
  assert [(s.windows, s.parts) for s in still.values()] == [(1, 1)] * 2
  near = streams.streams_of(_inputs(motion=(3, None, None, 20)), {"motion": {"gap": 4}})["motion"]
  assert (near.windows, near.gap) == (3, 4.0)
  with pytest.raises(UsageError, match="gap of at least 1 frame, received 0"):
    streams.streams_of(_inputs(motion=(3, None, None, 20)), {"motion": {"gap": 0}})


@pytest.mark.parametrize(
  ("spacing", "appearance", "motion"),
  [((5, 25), (3, 15.0), (3, 6.0)), ((5, 15), (3, 10.0), (3, 1.0)), ((1, 1), (1, 1.0), (3, 1.0)), (None, (3, math.inf), (3, math.inf))],
)
def test_the_distance_of_chunks_is_that_of_the_sampling(spacing, appearance, motion):
  found = streams.sampled(PAIR, 3, spacing)
  assert [(s.windows, s.gap) for s in found.values()] == [appearance, motion]
  assert streams.sampled(PAIR, 1, spacing) == PAIR


def test_a_change_between_chunks_counts_as_that_of_the_frames_between_them_at_its_least():
  stream = Stream("motion", 6, 2, 2, windows=2, gap=4.0)
  assert stream.time_weights() == (1.0, 1.0, 0.25, 1.0, 1.0)
  x = np.random.default_rng(0).normal(size=(1, 3, 3, 6, 2)).astype(np.float32)
  # The missing frames on straight lines: as good as any choice of them.
  missing = [x[:, :, :, 2] + (x[:, :, :, 3] - x[:, :, :, 2]) * part for part in (0.25, 0.5, 0.75)]
  whole = np.concatenate([x[:, :, :, :3], np.stack(missing, axis=3), x[:, :, :, 3:]], axis=3)
  found = regularizers.TotalVariation(0.0, 2.0, stream.time_weights())(tf.constant(x))
  np.testing.assert_allclose(found, regularizers.TotalVariation(0.0, 2.0)(tf.constant(whole)), rtol=1e-5)
  # Where nobody knows the distance, chunks are apart; a film and chunks that follow each other have no seam.
  apart = regularizers.TotalVariation(0.0, 2.0, Stream("m", 6, 2, 2, windows=2, gap=math.inf).time_weights())(tf.constant(x))
  parts = [regularizers.TotalVariation(0.0, 2.0)(tf.constant(part)) for part in (x[:, :, :, :3], x[:, :, :, 3:])]
  np.testing.assert_allclose(apart, parts[0] + parts[1], rtol=1e-5)
  assert set(Stream("m", 6, 2, 2, windows=2).time_weights()) == set(Stream("clip", 6).time_weights()) == {1.0}


def test_room_for_shifts_is_in_every_chunk_and_single_frames_have_none():
  stream = Stream("motion", 6, 2, 2, windows=2, gap=4.0)
  assert (stream.searched_frames(2), Stream("appearance", 2, 3, 2, windows=2, gap=4.0).searched_frames(2)) == (10, 2)
  assert stream.time_weights(2) == (1.0, 1.0, 1.0, 1.0, 0.5, 1.0, 1.0, 1.0, 1.0)
  x = np.arange(10, dtype=np.float32).reshape(1, 1, 1, 10, 1) * np.ones((1, 2, 2, 1, 2), np.float32)
  found = transforms.time_window(tf.constant(x), tf.constant(1), 6, 2).numpy()
  np.testing.assert_array_equal(found[0, 1, 0, :, 1], [1, 2, 3, 6, 7, 8])


def test_frequencies_of_time_end_with_their_chunk():
  space = parameterizations.Fourier(Stream("motion", 6, 2, 2, windows=2, gap=9.0), 4, 6)
  z = np.zeros((1, 4, 4, 6, 2), np.float32)
  z[:, :, :, :3] = np.random.default_rng(0).normal(size=(1, 4, 4, 3, 2))
  x = space(tf.constant(z)).numpy()
  assert np.abs(x[:, :, :, :3]).max() > 0.1 and np.abs(x[:, :, :, 3:]).max() == 0
  np.testing.assert_allclose(space.inverse(tf.constant(x)), z, atol=1e-4)


def test_the_value_of_a_unit_is_the_mean_over_chunks_and_a_named_one_its_own():
  tap, maps = Tap("conv"), np.random.default_rng(0).normal(size=(2, 3, 5, 5, 4)).astype(np.float32)

  def value(location, chunked=(tap,)):
    return programs.values(("unit", tap, location), {tap: tf.constant(maps)}, [tf.constant([1, 2])], chunked).numpy()

  rows, units = np.arange(2), [1, 2]
  np.testing.assert_allclose(value("center"), maps[:, :, 2, 2][rows, :, units].mean(axis=1), rtol=1e-5)
  np.testing.assert_allclose(value("0,4"), maps[:, :, 0, 4][rows, :, units].mean(axis=1), rtol=1e-5)
  np.testing.assert_allclose(value("2,0,4"), maps[:, 2, 0, 4][rows, units], rtol=1e-5)
  np.testing.assert_allclose(value("sum"), maps[rows, ..., units].sum(axis=(1, 2, 3)), rtol=1e-4)
  # Along the time axis of a film it is one place as any.
  np.testing.assert_allclose(value("center", ()), maps[:, 1, 2, 2][rows, units], rtol=1e-5)


def test_what_changes_between_chunks_is_no_speed():
  still = np.repeat(np.random.default_rng(0).normal(size=(6, 6, 2, 2)), 5, axis=2)
  assert measures.temporal_ratio(still, chunks=2) == 0 and measures.temporal_ratio(still) > 0
  assert measures.temporal_ratio(still[:, :, ::5], chunks=2) == 0


@pytest.mark.slow
def test_a_bare_name_stands_for_all_towers_that_a_network_has():
  for stream, layers in (("both", ("prediction_appearance", "prediction_motion")), ("motion", ("prediction_motion",))):
    net = bn_inception.tsn_bn_inception(2, stream, width=0.0625, input_size=64)
    (unit,) = parse_units(["prediction/Bowling"], net, ("Archery", "Bowling"))
    assert unit.layers == layers and (unit.name, unit.class_name) == ("prediction/Bowling", "Bowling")


def _two_chunks():
  """A flow and an appearance of two chunks, folded; nothing joins the chunks but the mean at the end."""
  keras.utils.set_random_seed(4)
  inputs = {"appearance": keras.Input((2, 24, 24, 3), name="appearance"), "motion": keras.Input((2, 24, 24, 6), name="motion")}
  towers = [keras.layers.TimeDistributed(keras.layers.Conv2D(4, 5, strides=2), name=f"conv_{name}")(x) for name, x in inputs.items()]
  pooled = keras.layers.GlobalAveragePooling3D(name="pool")(keras.layers.Concatenate(name="both")(towers))
  return keras.Model(inputs, keras.layers.Dense(3, name="scores")(pooled))


@pytest.mark.slow
def test_every_chunk_is_found_and_chi_stills_the_motion_inside_them_alone():
  config = MaximizationConfig(steps=60, log_every=10, temporal_jitter=1)
  slow, fast = tbvis.maximize(_two_chunks(), "scores/f002", chi=[10, 0], config=config)
  assert (slow.film.shape[2:], slow.motion.shape[2:], slow.chunks) == ((2, 3), (6, 2), 2)
  record = slow.to_record()
  assert record.chunks == 2 and record.inputs == ("appearance", "motion")
  assert record.kept.appearance.shape[3:] == (2, 3) and record.kept.motion.shape[3:] == (6, 2)
  for stimulus in (slow, fast):
    parts = np.split(stimulus.motion, 2, axis=2)
    contrasts = [measures.contrast(part) for part in parts]
    assert min(contrasts) > 0.5 * max(contrasts) > 0
  assert fast.temporal_ratio > 2 * slow.temporal_ratio
  # Unlinked: the seam is not smoother than it would be of two searches.
  seam = np.abs(slow.motion[:, :, 3] - slow.motion[:, :, 2]).mean()
  inside = np.abs(np.diff(slow.motion.reshape(24, 24, 2, 3, 2), axis=3)).mean()
  assert seam > 2 * inside


def test_a_film_stays_a_film_whatever_lies_between_its_frames():
  film = {"clip": Stream("clip", 16, 3, 16)}
  assert streams.sampled(film, 16, (1, 1)) == streams.sampled(film, 16, (2, 2))
  assert streams.sampled(film, 16, (2, 2))["clip"].windows == 1
