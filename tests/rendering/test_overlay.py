"""Maps laid over frames."""

import numpy as np
import pytest

from tbvis.errors import UsageError
from tbvis.rendering import animation
from tbvis.rendering.overlay import heat_colours, overlay


def _lightness(colours):
  """CIE L*, 0 to 100, of sRGB 0 to 255."""
  values = np.asarray(colours, np.float64) / 255
  linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
  return 116 * np.cbrt(linear @ [0.2126, 0.7152, 0.0722]) - 16


def test_more_heat_is_lighter_over_any_frame():
  assert np.diff(_lightness(heat_colours())[::4]).min() > 0
  ramp = np.linspace(0, 1, 33)[None, None]
  for grey in (0, 60, 128, 200, 255):
    lightness = _lightness(overlay(np.full((1, 1, 33, 3), grey, np.uint8), ramp, peak=1)[0, 0])
    # Over white the least heat is as light as the frame.
    assert np.diff(lightness).min() > -0.5 and np.diff(lightness[8:]).min() > 0


def test_a_clip_has_one_scale_and_zero_leaves_the_frame():
  frames = np.random.default_rng(0).integers(0, 256, (3, 10, 12, 3), np.uint8)
  maps = np.zeros((3, 10, 12))
  none = overlay(frames, maps)
  assert np.corrcoef(_lightness(none).ravel(), _lightness(frames).ravel())[0, 1] > 0.95
  maps[0, 2:6, 3:8], maps[2, 2:6, 3:8] = 4.0, 2.0
  found = overlay(frames, maps)
  np.testing.assert_array_equal(found[:, 6:], none[:, 6:])
  np.testing.assert_array_equal(found[1], none[1])
  assert _lightness(found[0, 2:6, 3:8]).min() > _lightness(found[2, 2:6, 3:8]).mean()
  np.testing.assert_array_equal(found, overlay(frames, maps, peak=4.0))
  played = animation.decode(animation.encode_webp(found))
  assert played.shape == found.shape and np.abs(played.astype(int) - found).mean() < 20


def test_a_spotlight_keeps_the_colours_of_flow():
  flow = np.full((1, 4, 4, 3), (200, 100, 150), np.uint8)
  maps = np.zeros((1, 4, 4))
  maps[0, 1, 1] = 2.0
  found = overlay(flow, maps, spotlight=True)
  np.testing.assert_array_equal(found[0, 1, 1], flow[0, 1, 1])
  np.testing.assert_array_equal(found[0, 0, 0], [60, 30, 45])


@pytest.mark.parametrize("maps", [np.zeros((2, 4, 4)), -np.ones((1, 4, 4)), np.full((1, 4, 4), np.nan)])
def test_mistakes_are_told_in_a_line(maps):
  with pytest.raises(UsageError) as caught:
    overlay(np.zeros((1, 4, 4, 3), np.uint8), maps)
  assert "\n" not in str(caught.value)
