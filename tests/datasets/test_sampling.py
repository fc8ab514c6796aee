"""What networks are shown of a clip: frames, chunks, flow."""

import cv2
import numpy as np
import pytest
import tensorflow as tf

from tbvis.datasets import snippets
from tbvis.models.sampling import Sampling

FILM = Sampling(("appearance",), chunks=16, spacing=(1, 1))
SEGMENTS = Sampling(flow_frames=5, flow_before=0, chunks=3, spacing=None)
SPACED = Sampling(chunks=5, spacing=(5, 15))


def _frames(sampling, length, draws=200):
  def draw(number):
    return snippets.training_frames(tf.constant(length), sampling, tf.stack([7, number]))

  return tf.function(lambda: tf.map_fn(draw, tf.range(draws), fn_output_signature=tf.int32))().numpy()


@pytest.mark.parametrize("length", [14, 40, 120])
@pytest.mark.parametrize("sampling", [Sampling(), FILM, SEGMENTS, SPACED])
def test_every_frame_has_its_flow_in_the_clip(sampling, length):
  before, after = (sampling.flow_before, sampling.flow_frames - sampling.flow_before) if "motion" in sampling.streams else (0, 1)
  drawn = _frames(sampling, length)
  looks = snippets.evaluation_frames(tf.constant(length), 4, sampling).numpy()
  for frames in (drawn, looks):
    assert frames.shape[1] == sampling.chunks
    # A clip of T frames has T - 1 flows.
    assert frames.min() - before >= 0 and frames.max() + after <= length - (1 if "motion" in sampling.streams else 0)
  # The whole of what fits is drawn from.
  assert drawn.min() <= before + 4 and drawn.max() >= length - after - 6


def test_chunks_are_as_far_apart_as_asked_for_and_closer_in_short_clips():
  steps = np.diff(_frames(SPACED, 200), axis=1)
  assert (steps == steps[:, :1]).all() and set(steps[:, 0]) == set(range(5, 16))
  # 35 places for a frame: four steps of 8.5 at most.
  steps = np.diff(_frames(SPACED, 45), axis=1)
  assert np.ptp(steps, axis=1).max() == 1 and set(steps.ravel()) == {5, 6, 7, 8, 9}
  assert not np.diff(_frames(SPACED, 11), axis=1).any()
  assert (np.diff(_frames(FILM, 60), axis=1) == 1).all()
  # A clip of 14 frames cannot fill a film of 16: two of them are seen twice.
  assert np.bincount(_frames(FILM, 14, 1)[0], minlength=14).max() == 2 and set(_frames(FILM, 14, 1)[0]) == set(range(14))
  looks = snippets.evaluation_frames(tf.constant(200), 3, SPACED).numpy()
  np.testing.assert_array_equal(looks, np.array([[5], [80], [154]]) + 10 * np.arange(5))


def test_segments_share_the_clip_out():
  # Frames 0 to 89 have five flows behind them.
  drawn = _frames(SEGMENTS, 95, draws=400)
  for part in range(3):
    assert drawn[:, part].min() < 30 * part + 3 and drawn[:, part].max() > 30 * part + 26
    assert (drawn[:, part] // 30 == part).all()
  assert abs(np.corrcoef(drawn.T)[0, 1]) < 0.15
  looks = snippets.evaluation_frames(tf.constant(95), 3, SEGMENTS).numpy()
  np.testing.assert_array_equal(looks, [[5, 35, 65], [15, 45, 75], [25, 55, 85]])


@pytest.fixture(scope="module")
def counted():
  """A clip whose frames and flow are all one number: 4 t, 4 t + 1, 4 t + 2 by frame t."""

  def coded(first):
    return tf.constant([cv2.imencode(".png", np.full((64, 80), first + 4 * t, np.uint8))[1].tobytes() for t in range(60)])

  return {"frames": coded(0), "flow_u": coded(1)[:59], "flow_v": coded(2)[:59]}


def _shown(inputs):
  return {stream: values.numpy()[..., 8, 8, :] for stream, values in inputs.items()}


def test_inputs_are_those_of_their_frames(counted, monkeypatch):
  # Numbers must come through unchanged: PNG in the place of JPEG.
  monkeypatch.setattr(tf.io, "decode_jpeg", lambda data, channels, ratio=1: tf.io.decode_png(data, channels))
  looks = {"input_size": 32, "appearance_mean": (0.0, 0.0, 0.0), "count": 2}
  for sampling in (Sampling(), SEGMENTS, SPACED, FILM):
    inputs, frames = snippets.evaluation_snippets(counted, **looks, sampling=sampling, flips=False)
    assert {stream: tuple(values.shape[1:]) for stream, values in inputs.items()} == {
      stream: (*shape[:-3], 9, 11, shape[-1]) for stream, shape in sampling.shapes(32).items()
    }
    shown = _shown(inputs)
    frames = frames.numpy() if sampling.chunks > 1 else frames.numpy()[:, 0]
    np.testing.assert_allclose(shown["appearance"], np.repeat(4.0 * frames[..., None], 3, -1), atol=1e-3)
    if "motion" in shown:
      first = frames - sampling.flow_before
      flow = np.concatenate([[4 * (first + i) + 1, 4 * (first + i) + 2] for i in range(sampling.flow_frames)]) - 128.0
      np.testing.assert_allclose(shown["motion"], np.moveaxis(flow, 0, -1), atol=1e-3)
    drawn = snippets.training_snippet(
      counted, tf.constant([1, 2]), input_size=32, appearance_mean=(0.0, 0.0, 0.0), augmentation=snippets.Augmentation(flip=False),
      sampling=sampling,
    )  # fmt: skip
    assert {stream: tuple(values.shape) for stream, values in drawn.items()} == sampling.shapes(32)
    values = _shown(drawn)
    if "motion" in values:
      # The first u of each chunk tells its frame.
      np.testing.assert_allclose(values["motion"][..., 0] + 128 - 1 + 4 * sampling.flow_before, values["appearance"][..., 0], atol=1e-3)


def test_a_clip_of_less_flow_than_a_chunk_holds_its_last(counted, monkeypatch):
  monkeypatch.setattr(tf.io, "decode_jpeg", lambda data, channels, ratio=1: tf.io.decode_png(data, channels))
  short = {"frames": counted["frames"][:12], "flow_u": counted["flow_u"][:11], "flow_v": counted["flow_v"][:11]}
  sampling = Sampling(("motion",), flow_frames=15, flow_before=7)
  inputs, frames = snippets.evaluation_snippets(
    short, input_size=32, appearance_mean=(0.0, 0.0, 0.0), count=1, flips=False, sampling=sampling
  )
  first = int(frames[0, 0]) - 7
  expected = [4 * min(first + i, 10) + 1 - 128 for i in range(15)]
  np.testing.assert_allclose(inputs["motion"][0, 4, 4, 0::2], expected, atol=1e-3)
