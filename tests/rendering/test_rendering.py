"""Flow colours by the measured rule, pictures and animations decoded again, sheets and strips."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image
import pytest

from tbvis.errors import UsageError
from tbvis.rendering import animation, mosaic, planes
from tbvis.rendering.appearance import appearance_to_rgb
from tbvis.rendering.flow_color import flow_limits, flow_to_rgb, motion_frames


def _clip(seed=0, shape=(4, 6, 7)):
  return np.random.default_rng(seed).normal(size=(*shape, 2)).astype(np.float32) * 9


def test_flow_channels_are_u_v_and_magnitude_under_one_map():
  flow = _clip()
  for zero_centred in (True, False):
    low, high = flow_limits(flow, zero_centred)
    values = flow_to_rgb(flow, zero_centred).astype(float) * (high - low) / 255 + low
    step = (high - low) / 255
    assert np.abs(values[..., :2] - flow).max() <= 0.51 * step
    assert np.abs(values[..., 2] - np.hypot(flow[..., 0], flow[..., 1])).max() <= 0.51 * step


def test_true_min_max_uses_the_whole_range_over_all_frames():
  rgb = flow_to_rgb(_clip(), zero_centred=False)
  assert rgb.min() == 0 and rgb.max() == 255
  assert not all(frame.max() == 255 for frame in rgb), "frames were scaled apart"


def test_zero_flow_is_mid_grey_beside_motion_of_any_sign():
  flow = _clip()
  flow[0, 0, 0] = 0
  assert flow_to_rgb(flow)[0, 0, 0].tolist() == [128, 128, 128]
  assert np.unique(flow_to_rgb(np.zeros((2, 3, 3, 2)))).tolist() == [128]


def test_given_limits_are_kept():
  flow = np.full((1, 1, 2), 5.0)
  assert flow_to_rgb(flow, limits=(-10, 10))[0, 0, :2].tolist() == [191, 191]
  with pytest.raises(UsageError, match="low < high"):
    flow_to_rgb(flow, limits=(3, 3))


def test_bad_flow_is_named():
  with pytest.raises(UsageError, match=r"\(\.\.\., H, W, 2\), received \(4, 5, 3\)"):
    flow_to_rgb(np.zeros((4, 5, 3)))
  with pytest.raises(UsageError, match="NaN"):
    flow_to_rgb(np.full((2, 2, 2), np.nan))


def test_motion_frames_reads_both_layouts_alike():
  stack = np.arange(4 * 5 * 20, dtype=np.float32).reshape(4, 5, 20)
  frames = motion_frames(stack)
  np.testing.assert_array_equal(frames, motion_frames(stack.reshape(4, 5, 10, 2)))
  # u1 v1 u2 v2 ...: frame 3 is channels 6 and 7.
  np.testing.assert_array_equal(frames[3], stack[..., 6:8])


def test_appearance_is_one_affine_map_of_all_channels():
  x = np.random.default_rng(0).normal(size=(5, 6, 3)) * [1, 10, 100]
  rgb = appearance_to_rgb(x).astype(float)
  assert rgb.min() == 0 and rgb.max() == 255
  assert np.corrcoef(rgb.ravel(), x.ravel())[0, 1] > 0.999
  assert np.unique(appearance_to_rgb(np.zeros((2, 2, 3)))).tolist() == [128]


def test_png_and_lossless_webp_keep_every_value():
  image = np.random.default_rng(0).integers(0, 256, (9, 11, 3), np.uint8)
  np.testing.assert_array_equal(animation.decode(animation.encode_png(image))[0], image)
  np.testing.assert_array_equal(animation.decode(animation.encode_webp(image, lossless=True))[0], image)


@pytest.mark.parametrize("encode", [animation.encode_gif, animation.encode_webp])
def test_animations_keep_frames_time_and_order(encode):
  frames = np.stack([np.full((16, 24, 3), level, np.uint8) for level in range(0, 250, 25)])
  data = encode(frames, milliseconds=150)
  decoded = animation.decode(data)
  assert decoded.shape == frames.shape
  assert np.abs(decoded.astype(int) - frames).max() <= 6
  with Image.open(io.BytesIO(data)) as image:
    assert image.info.get("loop") == 0
    durations = []
    for index in range(image.n_frames):
      image.seek(index)
      image.load()
      durations.append(image.info["duration"])
  assert durations == [150] * 10


def test_a_gif_with_frames_that_repeat_lasts_as_long():
  frames = np.repeat(np.array([0, 120, 250], np.uint8), [4, 3, 3])[:, None, None, None] * np.ones((1, 8, 8, 3), np.uint8)
  with Image.open(io.BytesIO(animation.encode_gif(frames, milliseconds=150))) as image:
    total = 0
    for index in range(image.n_frames):
      image.seek(index)
      total += image.info["duration"]
  assert total == 1500


def test_gif_of_a_stimulus_stays_close_to_its_colours():
  flow = animation.resize_values(_clip(shape=(10, 6, 6)), 64, 64)
  rgb = flow_to_rgb(flow)
  assert np.abs(animation.decode(animation.encode_gif(rgb)).astype(int) - rgb).mean() < 8


def test_resize_values_averages_and_keeps_axes():
  flow = np.zeros((2, 4, 8, 2), np.float32)
  flow[1, :, 4:, 0] = 6
  small = animation.resize_values(flow, 2, 4)
  assert small.shape == (2, 2, 4, 2)
  np.testing.assert_allclose(small[1, :, :, 0], [[0, 0, 6, 6]] * 2)
  assert not small[..., 1].any() and not small[0].any()


def test_clip_thumbnail_has_frames_beside_flow():
  frames = np.full((3, 48, 64, 3), 200, np.uint8)
  data = animation.clip_thumbnail(frames, np.zeros((3, 24, 32, 2)), height=24, quality=95)
  decoded = animation.decode(data).astype(int)
  assert decoded.shape[1:] == (24, 64, 3)
  assert abs(decoded[:, :, :28].mean() - 200) < 4 and abs(decoded[:, :, 36:].mean() - 128) < 4
  with pytest.raises(UsageError, match="as many flow frames as frames"):
    animation.clip_thumbnail(frames, np.zeros((2, 24, 32, 2)))


@pytest.mark.parametrize("by_row", [False, True])
def test_planes_return_values_to_half_a_step_and_zero_exactly(by_row):
  flow = _clip()
  flow[2, 3, 3] = 0
  data, step = planes.encode_planes(flow, by_row=by_row)
  again = planes.decode_planes(data, step, frames=4, by_row=by_row)
  assert again.shape == flow.shape
  assert np.abs(again - flow).max() <= 0.5001 * step
  assert again[2, 3, 3].tolist() == [0, 0]
  data, step = planes.encode_planes(np.zeros((2, 3, 3, 2)))
  assert not planes.decode_planes(data, step, frames=2).any()


def test_planes_that_are_too_high_go_on_in_further_columns():
  flow = np.random.default_rng(0).normal(size=(5, 4000, 3, 2))
  data, step = planes.encode_planes(flow)
  assert animation.decode(data).shape == (1, 3 * 4000, 2 * 3, 3)
  assert np.abs(planes.decode_planes(data, step, frames=5, width=3) - flow).max() <= 0.5001 * step


def test_mosaic_puts_pictures_in_reading_order():
  images = [np.full((2, 3, 3), value, np.uint8) for value in (10, 20, 30)]
  sheet = mosaic.mosaic(images, columns=2, pad=1, background=255)
  assert sheet[1, 1, 0] == 10 and sheet[1, 5, 0] == 20 and sheet[4, 1, 0] == 30 and sheet[4, 5, 0] == 255
  with pytest.raises(UsageError, match="at least one picture"):
    mosaic.mosaic([], columns=2)


def test_strip_shows_appearance_then_first_to_last_flow():
  motion = np.zeros((4, 4, 10, 2), np.float32)
  motion[..., 0] = np.arange(10)
  strip = mosaic.stimulus_strip(np.random.default_rng(0).normal(size=(4, 4, 3)), motion, frames=4, pad=0)
  assert strip.shape == (4, 20, 3)
  reds = strip[0, 4::4, 0].astype(int)
  assert reds[0] == 128 and reds[-1] == 255 and (np.diff(reds) > 0).all()
  assert mosaic.stimulus_strip(None, motion, frames=4, pad=0).shape == (4, 16, 3)
  with pytest.raises(UsageError, match="neither"):
    mosaic.stimulus_strip(None, None)


def test_strip_has_a_row_for_each_chunk_with_its_own_appearance_and_flow():
  film = np.zeros((4, 4, 2, 3), np.float32)
  film[:, :, 1, 0] = 9.0
  motion = np.zeros((4, 4, 6, 2), np.float32)
  motion[..., 0] = np.arange(6)
  strip = mosaic.stimulus_strip(film, motion, frames=3, pad=0, chunks=2)
  assert strip.shape == (8, 16, 3)
  assert strip[0, 0].tolist() == [0, 0, 0] and strip[4, 0].tolist() == [255, 0, 0]
  reds = strip[::4, 4::4, 0].astype(int).ravel()
  assert reds[0] == 128 and reds[-1] == 255 and (np.diff(reds) > 0).all()
  # A video alone: as many of its frames as of flow, in one row.
  assert mosaic.stimulus_strip(np.zeros((4, 4, 16, 3)), None, frames=5, pad=0).shape == (4, 20, 3)
