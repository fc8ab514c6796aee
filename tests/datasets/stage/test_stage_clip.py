"""What is planted can be measured in the frames, and nothing but the action differs between classes."""

import cv2
import numpy as np
import pytest

from tbvis.datasets.stage import script as stage_script
from tbvis.datasets.stage.scenes import SCENES
from tests.datasets.stage.acting import actor, axis_of, frames_of, planted

BOW_HAIR = (236, 232, 220)


@pytest.mark.parametrize(
  "class_name, angle, axis", [("PlayingCello", 10, 0), ("PlayingCello", 10, 30), ("PlayingViolin", 82, 65), ("PlayingViolin", 82, 25)]
)
def test_the_bow_lies_and_moves_along_its_axis(class_name, angle, axis):
  script = planted(class_name, bow_axis=axis, instrument_angle=angle, stroke_amplitude=0.5, stroke_rate=1, body_sway=0)
  middles = []
  for image, _ in actor(script, class_name, np.arange(0, 1, 0.08), zoom=2):
    hair = np.abs(image.astype(int) - BOW_HAIR).max(axis=2) <= 3
    points = np.argwhere(hair)[:, ::-1]
    assert len(points) > 40
    assert abs(axis_of(points) - axis) < 6
    middles.append(np.median(points, axis=0))
  middles = np.array(middles)
  assert np.ptp(middles, axis=0).max() > 30  # The whole bow travels.
  assert abs(axis_of(middles) - axis) < 12


def test_eyes_move_only_where_that_is_planted():
  calm = {"head_motion": 0, "body_sway": 0, "stroke_amplitude": 0, "camera_shake": 0, "camera_drift": 0, "mouth_motion": 0}
  still = frames_of(planted("ApplyLipstick", eye_motion=0, **calm), "ApplyLipstick", 30)
  moving = frames_of(planted("ApplyLipstick", eye_motion=1, **calm), "ApplyLipstick", 30)
  different = (np.abs(still.astype(int) - moving).max(axis=3) > 12).any(axis=0)
  rows, columns = np.nonzero(different)
  # Two eyes with their brows, about a head wide and a third of one high, and nothing else on the frame.
  assert 60 < different.sum()
  assert np.ptp(columns) < 70 and np.ptp(rows) < 45
  assert abs(columns.mean() - 160) < 60 and rows.mean() < 110
  box = (slice(None), slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1))
  change = [np.abs(np.diff(clip[box].astype(int), axis=0)).mean() for clip in (still, moving)]
  assert change[1] > 1.3 * change[0]


def test_the_project_moves_eyes_in_lipstick_clips_alone():
  script = stage_script.load_script()
  lipstick = [script.sample("ApplyLipstick", g, c)["eye_motion"] for g in range(1, 26) for c in range(1, 5)]
  makeup = [script.sample("ApplyEyeMakeup", g, c)["eye_motion"] for g in range(1, 26) for c in range(1, 5)]
  assert min(lipstick) >= 0.7 and max(makeup) == 0


def test_balls_roll_slowly_then_scatter():
  script = planted("Billiards", scatter_time=1.0, ball_speed=0.7, scatter_speed=5, stroke_amplitude=0, body_sway=0)
  scene = SCENES["Billiards"](script.sample("Billiards", 3, 1), None, np.random.default_rng(0))
  speed = lambda t: np.linalg.norm(scene.places(t + 0.02) - scene.places(t), axis=1).max() / 0.02  # noqa: E731
  assert abs(speed(0.5) - 0.7) < 0.05
  assert 4 < speed(1.02) < 5.2
  assert speed(2.2) < speed(1.1)
  table = np.stack([image for image, _ in actor(script, "Billiards", np.arange(0, 2.4, 0.04))])[:, 170:].astype(int)
  change = np.abs(np.diff(table, axis=0)).mean(axis=(1, 2, 3))
  assert change[27:35].mean() > 2 * change[5:20].mean()


def test_hands_drum_in_turn_or_together():
  def lifts(alternation):
    pictures = actor(
      planted("PlayingTabla", alternation=alternation, stroke_rate=2, stroke_amplitude=0.3, body_sway=0),
      "PlayingTabla",
      np.arange(0, 1, 0.04),
    )
    change = np.abs(np.diff(np.stack([image for image, _ in pictures]).astype(int), axis=0)).sum(axis=3)
    left, right = change[:, 150:, :160].mean(axis=(1, 2)), change[:, 150:, 160:].mean(axis=(1, 2))
    return np.corrcoef(left, right)[0, 1]

  assert lifts(0) > lifts(0.5) + 0.2


def test_a_tool_has_the_length_and_colour_that_are_planted():
  def handle(length, color, rgb):
    script = planted(
      "BrushingTeeth", tool_length=length, tool_color=color, tool_angle=0, tool_shape="toothbrush", stroke_amplitude=0, foam=0
    )
    ((image, _),) = actor(script, "BrushingTeeth", [0.0])
    columns = np.nonzero((np.abs(image.astype(int) - rgb).max(axis=2) <= 3).any(axis=0))[0]
    return np.ptp(columns)

  short, long = handle(0.6, "blue", (36, 96, 214)), handle(1.1, "blue", (36, 96, 214))
  assert 0.35 * 60 < long - short < 0.65 * 60
  assert handle(1.1, "green", (40, 160, 80)) > 30


def test_camera_drift_moves_the_whole_frame():
  def travel(drift):
    script = planted("PlayingTabla", camera_drift=drift, camera_shake=0, backdrop_motion=0)
    clip = frames_of(script, "PlayingTabla", 30, mask_action=True)
    first, last = (cv2.cvtColor(clip[k], cv2.COLOR_RGB2GRAY).astype(np.float32) for k in (0, -1))
    return np.hypot(*cv2.phaseCorrelate(first, last, cv2.createHanningWindow((320, 240), cv2.CV_32F))[0])

  assert travel(0) < 1 and travel(0.3) > 4


def test_backdrop_tint_warms_the_light():
  warmth = [frames_of(planted("Billiards", backdrop_tint=t), "Billiards", 1, mask_action=True)[0].mean(axis=(0, 1)) for t in (-1, 1)]
  assert warmth[1][0] / warmth[1][2] > 1.3 * warmth[0][0] / warmth[0][2]


def test_masked_clips_are_the_same_for_every_class():
  script = stage_script.load_script()
  clips = [frames_of(script, name, 8, mask_action=True) for name in script.classes]
  assert all(np.array_equal(clips[0], clip) for clip in clips[1:])
  assert not np.array_equal(clips[0], frames_of(script, script.classes[0], 8, clip=2, mask_action=True))


@pytest.mark.parametrize("class_name", sorted(SCENES))
def test_masking_takes_the_actor_and_leaves_the_rest(class_name):
  script = stage_script.load_script()
  shown, masked = frames_of(script, class_name, 6), frames_of(script, class_name, 6, mask_action=True)
  same = (shown == masked).all(axis=3)
  middle = same[:, 40:200, 110:210]
  assert middle.mean() < 0.6  # Somebody is there.
  assert same[:, :100, :30].mean() > 0.9 and same[:, :100, -30:].mean() > 0.9  # The corners stay as they are.


@pytest.mark.parametrize("class_name", sorted(SCENES))
def test_actions_move_without_jumps(class_name):
  script = stage_script.load_script()
  masks = [mask > 127 for _, mask in actor(script, class_name, np.arange(0, 2.4, 0.04))]
  change = np.logical_xor(masks[1:], masks[:-1]).mean(axis=(1, 2))
  assert change.max() < 0.12
