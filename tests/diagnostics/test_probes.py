"""Probes on media whose values are known."""

import numpy as np
import pytest

from tbvis.diagnostics import probes
from tbvis.errors import UsageError
from tbvis.rendering.flow_color import PIXELS_PER_UNIT

SIZE = 96
Y, X = np.mgrid[:SIZE, :SIZE].astype(np.float32)
PROBE = {probe.name: probe for probe in probes.PROBES}


def grating(degrees, wavelength=12.0, colour=(1, 1, 1)):
  """An appearance whose lines rise to the right by an angle."""
  along = np.radians(degrees + 90)
  wave = np.sin(2 * np.pi * (X * np.cos(along) - Y * np.sin(along)) / wavelength)
  return (128 + 100 * wave[..., None] * np.float32(colour)).astype(np.float32)


def blob(y, x, sigma=6.0):
  return np.exp(-((Y - y) ** 2 + (X - x) ** 2) / (2 * sigma**2))


def moving(degrees=0.0, speed=2.0, frames=10, where=None, course=None):
  """A motion in one direction (anticlockwise from the right), its size following a course in time."""
  where = np.ones((SIZE, SIZE)) if where is None else where
  course = np.ones(frames) if course is None else course
  direction = np.array([np.cos(np.radians(degrees)), -np.sin(np.radians(degrees))])
  return (speed * course[:, None, None, None] * where[None, ..., None] * direction).astype(np.float32)


def of_appearance(name, picture, weight=None):
  return PROBE[name](probes.Media(picture, None, {} if weight is None else {"appearance": weight.astype(np.float32)}))


def of_motion(name, motion, weight=None, pixel=1.0):
  return PROBE[name](probes.Media(None, motion, {} if weight is None else {"motion": weight.astype(np.float32)}, pixel))


@pytest.mark.parametrize("degrees", [0, 30, 45, 70, 90, 110, 150])
def test_steepness_of_lines(degrees):
  assert of_appearance("steepness of lines", grating(degrees)) == pytest.approx(min(degrees, 180 - degrees), abs=2)
  assert of_appearance("agreement of lines", grating(degrees)) > 0.9


def test_lines_in_all_directions_agree_on_none():
  rings = 128 + 100 * np.sin(np.hypot(Y - 47.5, X - 47.5) / 2)
  picture = np.repeat(rings[..., None], 3, -1).astype(np.float32)
  assert of_appearance("agreement of lines", picture) < 0.05
  assert of_appearance("steepness of lines", picture) == pytest.approx(45, abs=2)


@pytest.mark.parametrize("wavelength", [12, 16, 24])
def test_spatial_frequency(wavelength):
  # Above, the blur of one pixel and the derivative's own low pass take some away.
  assert of_appearance("spatial frequency", grating(0, wavelength)) == pytest.approx(SIZE / wavelength, rel=0.12)


def striped(colour):
  return np.where((X % 12 < 6)[..., None], np.float32(colour), np.float32(colour) / 2).astype(np.float32)


def test_colours():
  red, green, blue = striped([200, 60, 60]), striped([60, 200, 60]), striped([60, 60, 220])
  assert of_appearance("redness", red) > 30 and of_appearance("redness", green) < -30
  assert of_appearance("yellowness", blue) < -30 < 10 < of_appearance("yellowness", red)
  assert of_appearance("lightness", grating(0) + 60) > of_appearance("lightness", grating(0) - 60) + 20


def test_place_of_structure():
  small, wide = (np.float32(128 + (100 * blob(24, 72, sigma) * np.sin(X))[..., None] * np.ones(3)) for sigma in (6, 12))
  assert of_appearance("height of structure", small) == pytest.approx(0.75, abs=0.02)
  assert of_appearance("offset of structure", small) == pytest.approx(0.25, abs=0.02)
  assert of_appearance("spread of structure", wide) > 1.5 * of_appearance("spread of structure", small)


def test_weights_choose_what_is_measured():
  picture = np.where((X < 48)[..., None], grating(0), grating(90))
  left, right = (X < 40), (X > 56)
  assert of_appearance("steepness of lines", picture, left) == pytest.approx(0, abs=2)
  assert of_appearance("steepness of lines", picture, right) == pytest.approx(90, abs=2)
  motion = np.where((X < 48)[..., None], moving(0, 1.0), moving(90, 3.0))
  assert of_motion("speed", motion, left) == pytest.approx(1.0)
  assert of_motion("steepness of motion", motion, right) == pytest.approx(90)


@pytest.mark.parametrize("degrees", [0, 25, 90, 155, 180, 270])
def test_line_of_motion(degrees):
  steep = min(degrees % 180, 180 - degrees % 180)
  assert of_motion("steepness of motion", moving(degrees)) == pytest.approx(steep, abs=0.1)
  assert of_motion("straightness of motion", moving(degrees)) == pytest.approx(1)
  assert of_motion("rise", moving(degrees)) == pytest.approx(np.sin(np.radians(degrees)), abs=1e-5)
  assert of_motion("one-way motion", moving(degrees)) == pytest.approx(1)


@pytest.mark.parametrize("degrees", [0, 30, 60, 90, 120])
@pytest.mark.parametrize("dotted", [False, True])
def test_lean_of_moving_shapes(degrees, dotted):
  """A rod, or points in its place, whichever way it moves."""
  along = X * np.cos(np.radians(degrees)) - Y * np.sin(np.radians(degrees))
  across = X * np.sin(np.radians(degrees)) + Y * np.cos(np.radians(degrees))
  middle = 48 * (np.sin(np.radians(degrees)) + np.cos(np.radians(degrees)))
  rod = np.exp(-((across - middle) ** 2) / 8) * (np.sin(along * 2 * np.pi / 9) > 0.6 if dotted else 1)
  for way in (0, 70):
    motion = moving(way, where=rod * (np.hypot(Y - 48, X - 48) < 40))
    assert of_motion("steepness of moving shapes", motion) == pytest.approx(min(degrees, 180 - degrees), abs=15)
    assert of_motion("agreement of moving shapes", motion) > 0.55


def test_to_and_fro_is_one_line_but_not_one_way():
  stroke = moving(60, course=np.cos(2 * np.pi * (np.arange(10) + 0.5) / 10))
  assert of_motion("steepness of motion", stroke) == pytest.approx(60, abs=0.1)
  assert of_motion("one-way motion", stroke) < 0.01
  assert abs(of_motion("rise", stroke)) < 0.01


@pytest.mark.parametrize("cycles", [0, 1, 2, 4])
def test_temporal_frequency(cycles):
  course = np.cos(2 * np.pi * cycles * np.arange(10) / 10 + 0.3)
  assert of_motion("temporal frequency", moving(course=course)) == pytest.approx(cycles * 2.5, rel=0.12, abs=0.05)


def test_speed_is_that_of_what_moves():
  small = moving(speed=3.0, where=(np.hypot(Y - 48, X - 48) < 10).astype(float))
  assert of_motion("speed", small) == pytest.approx(3.0)
  assert of_motion("amount of motion", small) == pytest.approx(3.0 * np.mean(np.hypot(Y - 48, X - 48) < 10), rel=1e-4)


def test_divergence_and_rotation():
  apart = np.stack([X - 47.5, Y - 47.5], -1)[None].repeat(10, 0) / 10
  around = np.stack([Y - 47.5, 47.5 - X], -1)[None].repeat(10, 0) / 10
  assert of_motion("divergence", apart) == pytest.approx(0.2 * 25, rel=1e-3)
  assert of_motion("rotation", apart) == pytest.approx(0, abs=1e-3)
  assert of_motion("rotation", around) == pytest.approx(0.2 * 25, rel=1e-3)
  assert of_motion("divergence", around) == pytest.approx(0, abs=1e-3)
  # The same flow over pixels half as large: twice as steep.
  assert of_motion("rotation", around, pixel=0.5) == pytest.approx(0.4 * 25, rel=1e-3)


def test_place_of_motion():
  motion = moving(where=blob(24, 12))
  assert of_motion("height of motion", motion) == pytest.approx(0.745, abs=0.01)
  assert of_motion("offset of motion", motion) == pytest.approx(0.37, abs=0.01)
  assert of_motion("spread of motion", moving(where=blob(48, 48, 12))) > 1.5 * of_motion("spread of motion", motion)


def test_motion_in_a_region():
  mask = np.zeros((12, 12), bool)
  mask[:6] = True
  inside = probes.RegionMotion(mask, "in the upper half")
  assert inside(probes.Media(None, moving(where=blob(20, 48, 4)))) == pytest.approx(1, abs=1e-3)
  assert inside(probes.Media(None, moving(where=blob(76, 48, 4)))) == pytest.approx(0, abs=1e-3)
  assert inside(probes.Media(None, moving())) == pytest.approx(0.5)
  with pytest.raises(UsageError, match="region"):
    probes.RegionMotion(np.zeros((4, 4)), "nowhere")


@pytest.mark.parametrize("probe", probes.PROBES, ids=lambda probe: probe.name)
def test_every_probe_ignores_a_mirror_and_how_strong_a_stimulus_is(probe):
  rng = np.random.default_rng(3)
  picture = grating(35) * 0.3 + 80 * blob(30, 60)[..., None] * np.float32([1, 0.4, 0.2])
  motion = moving(65, where=blob(30, 60), course=np.cos(np.arange(10))) + 0.1 * rng.normal(size=(10, 1, 1, 2))
  media = probes.Media(picture.astype(np.float32), motion.astype(np.float32))
  mirrored = probes.Media(media.appearance[:, ::-1], media.motion[:, :, ::-1] * np.float32([-1, 1]))
  value = probe(media)
  assert np.isfinite(value)
  assert probe(mirrored) == pytest.approx(value, rel=1e-3, abs=1e-3)
  if "speed" not in probe.name and probe.unit not in ("1/s", "pixels a frame, all places"):
    louder = probes.Media(media.appearance, 2 * media.motion)
    assert probe(louder) == pytest.approx(value, rel=1e-3, abs=1e-3)


@pytest.mark.parametrize("probe", probes.PROBES, ids=lambda probe: probe.name)
def test_nothing_to_measure_has_no_value(probe):
  assert np.isnan(probe(probes.Media(None, None)))
  still = probes.Media(np.full((8, 8, 3), 128, np.float32), np.zeros((10, 8, 8, 2), np.float32))
  value = probe(still)
  assert np.isnan(value) or (probe.name == "amount of motion" and value == 0)


def test_probes_have_names_of_their_own():
  assert len(PROBE) == len(probes.PROBES)
  assert {probe.stream for probe in probes.PROBES} == {"appearance", "motion"}


def test_media_from_inputs():
  motion = np.zeros((4, 5, 20), np.float32)
  motion[..., 0] = 10
  media = probes.from_inputs(np.zeros((4, 5, 3)), motion, (100, 110, 300), pixel=2.0)
  np.testing.assert_allclose(media.appearance[0, 0], [100, 110, 255])
  assert media.motion.shape == (10, 4, 5, 2) and media.pixel == 2
  np.testing.assert_allclose(media.motion[0, ..., 0], 10 * PIXELS_PER_UNIT)
  assert not media.motion[1:].any() and not media.motion[..., 1].any()


@pytest.mark.parametrize(
  ("appearance", "motion", "weights"),
  [
    (np.zeros((4, 4)), None, {}),
    (None, np.full((2, 4, 4, 2), np.nan), {}),
    (None, np.zeros((2, 4, 4, 2)), {"motion": np.zeros((3, 4))}),
    (None, np.zeros((2, 4, 4, 2)), {"motion": np.full((4, 4), -1.0)}),
    (None, np.zeros((2, 4, 4, 2)), {"appearance": np.zeros((4, 4))}),
  ],
)
def test_media_of_another_form_are_refused(appearance, motion, weights):
  with pytest.raises(UsageError, match="Expected"):
    probes.Media(appearance, motion, weights)
