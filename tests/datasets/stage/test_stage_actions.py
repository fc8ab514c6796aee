"""The factors of the actions beyond the first: each is planted at two values and measured in the pixels."""

import numpy as np
import pytest

from tbvis.datasets.stage import script as stage_script
from tbvis.datasets.stage.factors import FACTORS
from tbvis.datasets.stage.scenes import SCENES
from tests.datasets.stage.acting import SCALE, actor, axis_of, pixels_of, planted, track

STEEL = (186, 190, 198)  # The barbell.
EYES = (246, 246, 242)
BALLS = {"SoccerJuggling": (240, 240, 236), "VolleyballSpiking": (244, 240, 226), "TableTennisShot": (248, 246, 236)}
PROPS = {"YoYo": (236, 230, 214), "Nunchucks": (226, 190, 80)}  # The yo-yo's axle, the ring of the whirling stick.
CALM = {"eye_motion": 0, "mouth_motion": 0, "head_motion": 0, "head_tilt": 0, "body_sway": 0}
FRAMES = np.arange(0, 2.4, 0.04)


def ball_track(class_name, **factors):
  return track(planted(class_name, **CALM, **factors), class_name, BALLS[class_name], FRAMES)


def extent(points, axis):
  return np.nanmax(points[:, axis]) - np.nanmin(points[:, axis])


@pytest.mark.parametrize("class_name", sorted(SCENES))
def test_every_factor_that_a_class_lists_changes_its_frames(class_name):
  script = stage_script.load_script()
  times = (0.1, 0.5, 1.2, 2.0)
  for name in SCENES[class_name].uses:
    factor = FACTORS[name]
    values = factor.names[:2] if factor.names else (factor.low + 0.2 * (factor.high - factor.low), factor.high)
    pictures = []
    for value in values:
      other = [
        {"name": f, "classes": [class_name], "stream": "both", "factor": f, "distribution": {class_name: {"constant": v}}}
        for f, v in {**script.sample(class_name, 9, 1), name: value}.items()
      ]
      # All other factors as the project's script has them.
      parsed = stage_script.load_script({"classes": [class_name], "causes": other})
      pictures.append(np.stack([image for image, _ in actor(parsed, class_name, times)]).astype(int))
    assert (np.abs(pictures[0] - pictures[1]).max(axis=3) > 30).sum() > 60, f"{name} does not show"


@pytest.mark.parametrize("class_name", ["YoYo", "Nunchucks"])
@pytest.mark.parametrize("axis, roundness", [(90, 0.1), (0, 0.1), (40, 0.9)])
def test_what_circles_follows_its_ellipse(class_name, axis, roundness):
  factors = {"swing_axis": axis, "swing_roundness": roundness, "swing_size": 0.8, "stroke_rate": 1, "stroke_amplitude": 0}
  points = track(planted(class_name, **CALM, **factors), class_name, PROPS[class_name], FRAMES[:25])
  points = points[~np.isnan(points).any(axis=1)]
  assert len(points) > 18
  spread = np.linalg.svd(points - points.mean(axis=0), compute_uv=False)
  if roundness > 0.5:
    assert spread[1] / spread[0] > 0.6
  else:
    assert spread[1] / spread[0] < 0.4
    assert abs((axis_of(points) - axis + 90) % 180 - 90) < 14


@pytest.mark.parametrize("class_name", ["YoYo", "Nunchucks"])
def test_what_circles_goes_as_far_as_planted(class_name):
  def reach(size):
    factors = {"swing_axis": 90, "swing_roundness": 0, "swing_size": size, "stroke_rate": 1, "stroke_amplitude": 0}
    return extent(track(planted(class_name, **CALM, **factors), class_name, PROPS[class_name], FRAMES[:25]), 1)

  assert 1.6 < reach(0.8) / reach(0.4) < 2.4


def test_a_juggled_ball_rises_as_its_speed_says():
  rise = [extent(ball_track("SoccerJuggling", ball_size=0.3, ball_axis=90, ball_speed=v, stroke_rate=1), 1) for v in (3, 6)]
  assert abs(rise[1] - 6 / 4 * SCALE) < 16 and abs(rise[0] - 3 / 4 * SCALE) < 16
  flat = ball_track("SoccerJuggling", ball_size=0.3, ball_axis=0, ball_speed=6, stroke_rate=1)
  assert extent(flat, 1) < 20 and extent(flat, 0) > rise[1]


def test_a_shot_runs_along_its_axis_at_its_speed():
  for axis in (-35, 0):
    points = ball_track("TableTennisShot", ball_size=0.15, ball_axis=axis, ball_speed=5, stroke_rate=1.25)
    points = points[~np.isnan(points).any(axis=1)]
    assert abs(axis_of(points) - axis) < 10
  slow = ball_track("TableTennisShot", ball_size=0.15, ball_axis=0, ball_speed=2.5, stroke_rate=1.25)
  assert 1.5 < extent(points, 0) / extent(slow, 0) < 2.5


def test_a_spike_leaves_along_its_axis_at_its_speed():
  for axis, speed in ((-60, 4), (-30, 8)):
    points = ball_track("VolleyballSpiking", ball_size=0.3, ball_axis=axis, ball_speed=speed, stroke_rate=0.7, jump_height=0.6)
    steps = np.diff(points, axis=0)
    spiked = steps[steps[:, 0] > 1]  # The set comes from the other side.
    step = np.median(spiked, axis=0)
    assert abs(np.degrees(np.arctan2(-step[1], step[0])) - axis) < 8
    assert abs(np.hypot(*step) - speed * 0.04 * SCALE) < 0.25 * speed * 0.04 * SCALE


@pytest.mark.parametrize("class_name", sorted(BALLS))
def test_a_ball_has_its_size(class_name):
  def area(size):
    script = planted(class_name, **CALM, ball_size=size, ball_axis=-20, ball_speed=2, stroke_rate=1)
    return np.median([len(pixels_of(image, BALLS[class_name])) for image, _ in actor(script, class_name, FRAMES[::4])])

  # The square of 1.5, and more where outline and pattern take less of a bigger ball.
  assert 1.8 < area(0.36) / area(0.24) < 4


def test_the_spiker_jumps_as_high_as_planted():
  for jump in (0.3, 0.9):
    eyes = track(
      planted("VolleyballSpiking", **CALM, jump_height=jump, stroke_rate=0.8, ball_size=0.04), "VolleyballSpiking", EYES, FRAMES, 1
    )
    assert abs(extent(eyes, 1) - jump * SCALE) < 10


def bar(class_name, times=FRAMES[::2], **factors):
  """Middle (n, 2) and angle (n,) of the steel bar."""
  pictures = actor(planted(class_name, **CALM, **factors), class_name, times)
  points = [pixels_of(image, STEEL) for image, _ in pictures]
  return np.array([(p.min(axis=0) + p.max(axis=0)) / 2 for p in points]), np.array([axis_of(p) for p in points])


@pytest.mark.parametrize("class_name, body", [("CleanAndJerk", 0), ("BenchPress", 90), ("BenchPress", 0)])
def test_the_bar_travels_and_slants_as_planted(class_name, body):
  for travel, angle in ((0.8, 0), (1.6, 25)):
    middles, angles = bar(class_name, body_angle=body, bar_travel=travel, bar_angle=angle, bar_shake=0, stroke_rate=0.8)
    assert abs(extent(middles, 1) - travel * SCALE) < 0.3 * SCALE
    assert abs(np.median(angles) - angle) < 4


def test_the_bar_shakes_as_planted():
  shaken = [np.ptp(bar("CleanAndJerk", FRAMES[:10], bar_shake=s, bar_travel=0, stroke_rate=0.4)[1]) for s in (0, 6)]
  assert shaken[0] < 2 and shaken[1] > 8


@pytest.mark.parametrize("class_name", ["CleanAndJerk", "BenchPress"])
def test_the_body_stands_or_lies(class_name):
  def eyes(angle):
    script = planted(class_name, **CALM, body_angle=angle, bar_travel=0, bar_angle=0, stroke_rate=0.5)
    ((image, _),) = actor(script, class_name, [0.0])
    return pixels_of(image, EYES, 1)

  assert abs(axis_of(eyes(0))) < 12 and abs(axis_of(eyes(90))) > 60
  assert eyes(0)[:, 0].mean() - eyes(90)[:, 0].mean() > SCALE


def test_a_flute_points_where_its_angle_says():
  def ends(angle):
    ((_, mask),) = actor(planted("PlayingFlute", **CALM, instrument_angle=angle, stroke_amplitude=0), "PlayingFlute", [0.0])
    left, right = mask[:110, :50] > 127, mask[:110, -50:] > 127
    return left.sum(), right.sum(), np.nonzero(left)[0].mean() if left.any() else None

  level, rising, other = ends(-90), ends(-75), ends(90)
  assert level[0] > 60 and level[1] == 0
  assert other[1] > 60 and other[0] == 0
  assert 15 < level[2] - rising[2] < 50


def test_the_archer_draws_and_aims_as_planted():
  head = (170, 176, 184)

  def furthest_back(draw):
    script = planted("Archery", **CALM, draw_length=draw, aim_angle=0, stroke_rate=0.5)
    return np.nanmin(track(script, "Archery", head, FRAMES[::2])[:, 0])

  assert abs(furthest_back(1.2) - furthest_back(1.6) - 0.4 * SCALE) < 8
  for aim in (-20, 0, 20):
    script = planted("Archery", **CALM, draw_length=1.2, aim_angle=aim, stroke_rate=0.5)
    # Some frames show no arrow: it has been shot.
    shafts = [pixels_of(image, (214, 180, 120)) for image, _ in actor(script, "Archery", FRAMES[::6], zoom=2)]
    assert abs(np.median([axis_of(p) for p in shafts if len(p) > 40]) - aim) < 5


def test_the_baby_crosses_the_frame_near_its_ground():
  def middles(**factors):
    script = planted("BabyCrawling", **CALM, stroke_rate=1.5, **factors)
    masks = [mask > 127 for _, mask in actor(script, "BabyCrawling", FRAMES[10:50])]
    return np.array([np.argwhere(m).mean(axis=0)[::-1] for m in masks])

  for speed in (0.0, 0.6):
    points = middles(crawl_speed=speed, ground_depth=2.1)
    assert abs(points[-1, 0] - points[0, 0] - speed * 39 * 0.04 * SCALE) < 12
  assert (
    abs(middles(crawl_speed=0, ground_depth=2.1)[:, 1].mean() - middles(crawl_speed=0, ground_depth=1.6)[:, 1].mean() - 0.5 * SCALE) < 5
  )


def test_hands_and_knees_step_as_planted():
  def moving(**factors):
    script = planted("BabyCrawling", **CALM, crawl_speed=0, ground_depth=2.1, **factors)
    pictures = np.stack([image for image, _ in actor(script, "BabyCrawling", FRAMES)]).astype(int)
    return (np.abs(np.diff(pictures[:, 170:], axis=0)).max(axis=3) > 12).mean(axis=(1, 2))

  still, steps = moving(stroke_rate=1.5, stroke_amplitude=0), moving(stroke_rate=1.5, stroke_amplitude=0.3)
  assert steps.mean() > 3 * still.mean()
  assert moving(stroke_rate=3, stroke_amplitude=0.3).mean() > 1.3 * steps.mean()
