"""How motion is drawn, read and saved, in a real Chromium, held against NumPy on stimuli of known flow."""

from __future__ import annotations

import colorsys
import dataclasses
import io
import re
import shutil

import numpy as np
from PIL import Image, ImageSequence
import pytest

from tbvis import summaries
from tbvis.rendering.flow_color import PIXELS_PER_UNIT, flow_to_rgb, motion_frames
from tests.tb_plugin import serving, synthetic

pytestmark = [pytest.mark.browser, pytest.mark.slow]

_HEIGHT, _WIDTH, _FRAMES = 32, 40, 10
_UNIT = "conv5_fusion/f021"
_SPEEDS = {0.0: 48.0, 1.0: 24.0, 10.0: 6.0}
_VIEW = "view=unit%3Aconv5_fusion%2Ff021&p.tbvis.frame=4"
_FRAME = 3
_UNIFORM = 12.75  # Two pixels a frame.


def _motion(speed):
  """Flow that differs in every place and frame, and is not as negative as positive; float16 as it is stored."""
  y, x, t = np.meshgrid(np.arange(_HEIGHT), np.arange(_WIDTH), np.arange(_FRAMES), indexing="ij")
  u = speed * ((x - 12) / 28) * np.cos(0.2 * t)
  v = speed * ((y - 10) / 22) * np.sin(0.3 * t + 0.4)
  return np.stack([u, v], axis=-1).astype(np.float16).astype(np.float32)


def _record(unit, chi, motion):
  y, x = np.mgrid[0:_HEIGHT, 0:_WIDTH]
  appearance = np.stack([x * 5.0, y * 4.0, 0 * x], axis=-1).astype(np.float32) - 80
  return dataclasses.replace(synthetic.record(unit, chi=chi), appearance=appearance, motion=motion)


@pytest.fixture(scope="module")
def logdir(tmp_path_factory):
  folder = tmp_path_factory.mktemp("motion") / "logdir"
  uniform = np.zeros((_HEIGHT, _WIDTH, _FRAMES, 2), np.float32)
  uniform[..., 0] = _UNIFORM
  with summaries.StimulusWriter(folder, "stimuli") as writer:
    for chi, speed in _SPEEDS.items():
      writer.write(_record(synthetic.UNITS[3], chi, _motion(speed)))
    writer.write(_record(synthetic.UNITS[2], 0.0, uniform))
    for unit, speed in zip(synthetic.UNITS[4:6], (30.0, 15.0), strict=True):
      writer.write(_record(unit, 0.0, _motion(speed)))
  synthetic.write_evaluation(folder, thumbnails=False)
  return folder


@pytest.fixture(scope="module")
def address(logdir, tmp_path_factory):
  with serving.tensorboard(logdir, tmp_path_factory.mktemp("served"), "--load_fast=true") as served:
    yield served


def _player(chi):
  return f"tbvis-unit .large:nth-of-type({list(_SPEEDS).index(chi) + 1}) tbvis-stimulus"


def _wait_for_values(frame, selector="tbvis-stimulus.full"):
  """Until all players have their values; what they show before comes from thumbnails."""
  frame.wait_for_function(
    "(s) => { const all = [...document.querySelectorAll(s)]; return all.length && all.every((e) => e.flow && e.flow.step === 0); }",
    arg=selector,
  )


def _pixels(frame, selector):
  shape, data = frame.eval_on_selector(
    selector, "(c) => [[c.height, c.width, 4], [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]]"
  )
  return np.array(data).reshape(shape)


def _assert_near(shown, expected, most=1):
  assert shown.shape[:2] == expected.shape[:2]
  assert np.abs(shown[..., :3].astype(int) - expected.astype(int)).max() <= most


def _wheel(flow, rim):
  angle = np.arctan2(flow[..., 1], flow[..., 0]) / (2 * np.pi) % 1
  saturation = np.hypot(flow[..., 0], flow[..., 1]) / rim
  return np.rint(255 * np.stack(np.vectorize(colorsys.hsv_to_rgb)(angle, saturation, 1.0), axis=-1))


def _largest(motion):
  return float(np.hypot(motion[..., 0], motion[..., 1]).max())


@pytest.mark.parametrize(("scale", "centred"), [("clip", True), ("paper", False)])
def test_colours_are_the_librarys_own_for_each_sequence(address, open_tab, scale, centred):
  _, frame = open_tab(address, f"{_VIEW}&p.tbvis.scale={scale}")
  _wait_for_values(frame)
  for chi, speed in _SPEEDS.items():
    expected = flow_to_rgb(motion_frames(_motion(speed)), zero_centred=centred)[_FRAME]
    _assert_near(_pixels(frame, f"{_player(chi)} canvas.flow"), expected)
  said = frame.inner_text(f"{_player(10.0)} .scale-text")
  motion = _motion(6.0) * PIXELS_PER_UNIT
  low = -_largest(motion) if centred else motion.min()
  numbers = [float(n) for n in re.findall(r"-?\d+\.?\d*", said.split("=")[1])[:2]]
  assert numbers == pytest.approx([low, _largest(motion)], rel=6e-3) and "this sequence's" in said
  assert ("as the paper" in said) != centred


def test_a_wheel_has_direction_as_hue_and_speed_as_saturation(address, open_tab):
  _, frame = open_tab(address, f"{_VIEW}&p.tbvis.motion=wheel")
  _wait_for_values(frame)
  for chi, speed in _SPEEDS.items():
    flow = motion_frames(_motion(speed))
    _assert_near(_pixels(frame, f"{_player(chi)} canvas.flow"), _wheel(flow[_FRAME], _largest(flow)))
    rim = float(re.search(r"rim ([\d.]+) px/frame", frame.inner_text(f"{_player(chi)} .scale-text"))[1])
    assert rim == pytest.approx(_largest(flow) * PIXELS_PER_UNIT, rel=6e-3)
  legend = _pixels(frame, f"{_player(0.0)} .below .wheel")
  side = len(legend) - 1
  y, x = np.mgrid[0 : side + 1, 0 : side + 1]
  disc = np.stack([2 * x / side - 1, 2 * y / side - 1], axis=-1)
  inside = np.hypot(disc[..., 0], disc[..., 1]) <= 0.99
  _assert_near(legend[inside][None], _wheel(disc, 1.0)[inside][None])


@pytest.mark.parametrize("height", [1000, 260])
def test_a_shared_scale_compares_speeds_even_with_those_out_of_sight(address, open_tab, height):
  _, frame = open_tab(address, f"{_VIEW}&p.tbvis.scale=unit", width=700, height=height)
  _wait_for_values(frame)
  limit = _largest(_motion(48.0))
  for chi, speed in _SPEEDS.items():
    frame.eval_on_selector(_player(chi), "(e) => e.scrollIntoView()")
    frame.wait_for_function("(s) => document.querySelector(s).near", arg=_player(chi))
    expected = flow_to_rgb(motion_frames(_motion(speed)), limits=(-limit, limit))[_FRAME]
    _assert_near(_pixels(frame, f"{_player(chi)} canvas.flow"), expected)
    said = frame.inner_text(f"{_player(chi)} .scale-text")
    assert "shared by 3 sequences" in said and f"{limit * PIXELS_PER_UNIT:.3g} px/frame" in said


def test_arrows_stand_at_pixels_and_are_as_long_as_their_speed(address, open_tab):
  _, frame = open_tab(address, "view=unit%3Aconv5_fusion%2Ff004&p.tbvis.motion=arrows&p.tbvis.frame=1")
  _wait_for_values(frame)
  shown = _pixels(frame, "tbvis-unit canvas.flow")[..., :3]
  zoom, spacing = len(shown) // _HEIGHT, 3
  appearance = _pixels(frame, "tbvis-unit canvas.appearance")[..., :3].repeat(zoom, 0).repeat(zoom, 1)
  length = 1.5 * spacing * zoom
  # Of flow that is everywhere the same, an arrow stands in the middle of each block.
  for y in range(spacing // 2, _HEIGHT - spacing, spacing):
    row = int((y + 0.5) * zoom)
    for x in range(spacing // 2, _WIDTH - 2 * spacing, spacing):
      foot = (x + 0.5) * zoom
      assert shown[row, int(foot) : int(foot + length) - 1].min() > 200, "white from the foot to just short of the tip"
    between = row - 3 * zoom // 2
    assert (shown[between] == appearance[between]).all(), "the appearance is as it is between the rows"
  assert f"longest arrow {_UNIFORM * PIXELS_PER_UNIT:.3g} px/frame" in frame.inner_text("tbvis-unit .scale-text")


def test_an_arrow_points_where_its_pixel_moves_and_stands_at_the_fastest(address, open_tab):
  _, frame = open_tab(address, f"{_VIEW}&p.tbvis.motion=arrows")
  _wait_for_values(frame)
  shown = _pixels(frame, f"{_player(0.0)} canvas.flow")[..., :3]
  motion = _motion(48.0)
  fastest = np.hypot(motion[..., 0], motion[..., 1]).max(axis=2)[15:18, 24:27]
  y, x = np.unravel_index(fastest.argmax(), fastest.shape)
  x, y = x + 24, y + 15
  zoom, step = len(shown) // _HEIGHT, motion[y, x, _FRAME] / _largest(motion) * 1.5 * 3
  foot = np.array([x + 0.5, y + 0.5]) * zoom
  along = [foot + part * step * zoom for part in np.linspace(0.05, 0.8, 12)]
  assert all(shown[int(point[1]), int(point[0])].min() > 200 for point in along), "white along the arrow of NumPy"


def _numbers(text):
  found = re.search(r"x (\d+), y (\d+), frame (\d+): u ([+−][\d.]+), v ([+−][\d.]+), speed ([\d.]+) px/frame, direction (\d+)°", text)
  assert found, text
  return [float(n.replace("−", "-")) for n in found.groups()]


def _expected(chi, x, y, frame=_FRAME):
  u, v = (float(value) * PIXELS_PER_UNIT for value in _motion(_SPEEDS[chi])[y, x, frame])
  return [x, y, frame + 1, u, v, float(np.hypot(u, v)), float(np.degrees(np.arctan2(-v, u)) % 360)]


def _assert_reads(frame, chi, x, y, shown=_FRAME):
  got, wanted = _numbers(frame.inner_text(f"{_player(chi)} .reading")), _expected(chi, x, y, shown)
  assert got[:3] == wanted[:3] and got[3:6] == pytest.approx(wanted[3:6], abs=0.006)
  assert got[6] == pytest.approx(wanted[6], abs=0.51)


def test_a_pixel_is_read_with_the_mouse_and_the_keys_in_all_chi_at_once(address, open_tab):
  page, frame = open_tab(address, _VIEW)
  _wait_for_values(frame)
  canvas = frame.locator(f"{_player(0.0)} canvas.flow")
  box = canvas.bounding_box()
  canvas.hover(position={"x": 30.4 / _WIDTH * box["width"], "y": 5.4 / _HEIGHT * box["height"]})
  for chi in _SPEEDS:
    _assert_reads(frame, chi, 30, 5)
  canvas.focus()
  assert frame.evaluate("() => getComputedStyle(document.activeElement).outlineStyle") == "solid"
  for key in ("ArrowLeft", "ArrowDown", "ArrowDown", "Shift+ArrowLeft"):
    page.keyboard.press(key)
  _assert_reads(frame, 0.0, 19, 7)
  for _ in range(8):
    page.keyboard.press("Shift+ArrowRight")
  _assert_reads(frame, 0.0, _WIDTH - 1, 7)  # The edge holds.
  page.keyboard.press(".")
  _assert_reads(frame, 0.0, _WIDTH - 1, 7, _FRAME + 1)  # The next frame is read too.
  live = [frame.get_attribute(f"{_player(chi)} .reading", "aria-live") for chi in _SPEEDS]
  assert live == ["polite", "off", "off"], "only the player with the focus speaks"


def test_cells_of_the_grid_take_up_the_form_and_are_read_beside_the_pointer(address, open_tab):
  _, frame = open_tab(address, "motion=wheel&p.tbvis.frame=4")
  cell = f"tr[data-unit='{_UNIT}'] td[data-variant='chi=0'] canvas.flow"
  frame.wait_for_selector(cell + "[data-mode=wheel]")
  flow = motion_frames(_motion(48.0))
  # The small pictures have 40 steps from zero to the largest value.
  _assert_near(_pixels(frame, cell), _wheel(flow[_FRAME], _largest(flow)), most=20)
  box = frame.locator(cell).bounding_box()
  frame.hover(cell, position={"x": 30.5 / _WIDTH * box["width"], "y": 5.5 / _HEIGHT * box["height"]})
  tip = frame.inner_text(".flow-tip")
  assert _numbers(tip)[:6] == pytest.approx(_expected(0.0, 30, 5)[:6], abs=0.15)
  assert "thumbnail" in tip and "rounded" in tip
  frame.select_option("#scale", "unit")
  rim = f"tr[data-unit='{_UNIT}'] small.rim"
  frame.wait_for_function("(s) => document.querySelector(s)?.textContent", arg=rim)
  stated = float(re.search(r"([\d.]+) px/frame", frame.inner_text(rim))[1])
  assert stated == pytest.approx(_largest(flow) * PIXELS_PER_UNIT, rel=0.03)


def test_a_pair_shares_the_choices(address, open_tab):
  _, frame = open_tab(address, "view=pair%3APlayingCello~PlayingViolin&p.tbvis.motion=wheel&p.tbvis.scale=unit&p.tbvis.frame=4")
  _wait_for_values(frame, "tbvis-pair tbvis-stimulus.full")
  rim = _largest(_motion(30.0))
  for name, speed in (("PlayingCello", 30.0), ("PlayingViolin", 15.0)):
    shown = _pixels(frame, f"tbvis-pair td[data-class={name}] canvas.flow")
    _assert_near(shown, _wheel(motion_frames(_motion(speed))[_FRAME], rim))


def test_all_choices_survive_a_reload(address, open_tab):
  page, frame = open_tab(address, "view=unit%3Aconv5_fusion%2Ff021")
  frame.wait_for_selector("tbvis-unit canvas.flow")
  frame.focus(".legend [data-value=wheel]")
  page.keyboard.press("Enter")
  frame.select_option("#scale", "paper")
  frame.click(".zoom [data-value='3']")
  frame.click("#play")
  frame.eval_on_selector("#frame", "(e) => { e.value = 6; e.dispatchEvent(new Event('input')); }")
  for part in ("motion=wheel", "scale=paper", "zoom=3", "frame=7"):
    assert f"p.tbvis.{part}" in page.evaluate("location.hash")
  page.reload()
  _wait_for_values(frame)
  assert frame.inner_text("output.count") == "7 / 10" and frame.inner_text("#play") == "Play"
  assert frame.get_attribute(".legend [data-value=wheel]", "aria-pressed") == "true"
  assert frame.get_attribute(".zoom [data-value='3']", "aria-pressed") == "true" and frame.input_value("#scale") == "paper"
  size = "(c) => [c.getBoundingClientRect().width * devicePixelRatio, getComputedStyle(c).imageRendering]"
  for kind in ("flow", "appearance"):
    assert frame.eval_on_selector(f"{_player(0.0)} canvas.{kind}", size) == [3 * _WIDTH, "pixelated"]
  _assert_near(_pixels(frame, f"{_player(0.0)} canvas.flow"), _wheel(motion_frames(_motion(48.0))[6], _largest(_motion(48.0))))


def test_a_made_up_choice_in_an_address_is_the_default(address, open_tab):
  _, frame = open_tab(address, f"{_VIEW}&p.tbvis.motion=nonsense&p.tbvis.scale=constructor&p.tbvis.zoom=-1")
  _wait_for_values(frame)
  _assert_near(_pixels(frame, f"{_player(0.0)} canvas.flow"), flow_to_rgb(motion_frames(_motion(48.0)))[_FRAME])


def test_downloads_hold_what_is_shown_and_the_values(address, open_tab):
  page, frame = open_tab(address, f"{_VIEW}&p.tbvis.zoom=2")
  _wait_for_values(frame)
  figure = "tbvis-unit .large:nth-of-type(3)"
  motion = _motion(6.0)
  coloured = flow_to_rgb(motion_frames(motion))
  still = _pixels(frame, f"{figure} canvas.appearance")[..., :3]

  def download(name):
    with page.expect_download() as started:
      page.click(f"{figure} .links :text-is('{name}')")
    with open(started.value.path(), "rb") as file:
      return started.value.suggested_filename, io.BytesIO(file.read())

  name, png = download("PNG")
  assert name == "conv5_fusion_f021_chi=10_colours_clip_frame4.png"
  expected = np.concatenate([still, coloured[_FRAME]], axis=1).repeat(2, 0).repeat(2, 1)
  _assert_near(np.asarray(Image.open(png).convert("RGB")), expected)

  name, gif = download("GIF")
  image = Image.open(gif)
  frames = [np.asarray(part.convert("RGB")).astype(int) for part in ImageSequence.Iterator(image)]
  assert name == "conv5_fusion_f021_chi=10_colours_clip.gif" and len(frames) == _FRAMES
  assert image.info["duration"] == 150 and image.info["loop"] == 0
  for shown, colours in zip(frames, coloured, strict=True):
    difference = np.abs(shown - np.concatenate([still, colours], axis=1))
    assert difference.mean() < 5 and difference.max() < 40, "256 colours for all frames"

  name, values = download("values.npz")
  assert name == "conv5_fusion_f021_chi=10.npz"
  with np.load(values) as stored:
    np.testing.assert_array_equal(stored["motion"].astype(np.float32), motion)
    assert stored["appearance"].shape == (_HEIGHT, _WIDTH, 3)


@pytest.mark.parametrize(("missing", "rounding"), [(["values.npz"], 48 / 127 / 2), (["values.npz", "flow.webp"], 48 / 40 / 2)])
def test_without_values_less_exact_ones_are_shown_and_said_to_be(logdir, browser, tmp_path, missing, rounding):
  copied = tmp_path / "logdir"
  shutil.copytree(logdir, copied)
  for name in missing:
    (copied / "stimuli/tbvis/stimuli/conv5_fusion/f021/chi=0" / name).unlink()
  with serving.tensorboard(copied, tmp_path, "--load_fast=true") as served:
    # Not by open_tab: the browser logs that the files are missing.
    page = browser.new_page()
    page.goto(f"{served}/data/plugin_entry.html?name=tbvis#tbvis&p.tbvis.{_VIEW}")
    frame = page.main_frame
    small = len(missing) > 1
    step = 2 * rounding
    frame.wait_for_function(
      "([s, step]) => Math.abs((document.querySelector(s)?.flow?.step ?? 0) - step) < 0.1 * step", arg=[_player(0.0), step]
    )
    frame.focus(f"{_player(0.0)} canvas.flow")
    page.keyboard.press("ArrowLeft")
    said = frame.inner_text(f"{_player(0.0)} .reading")
    stated = float(re.search(r"rounded: ±([\d.]+)", said)[1])
    assert stated == pytest.approx(rounding * PIXELS_PER_UNIT, rel=0.1)
    assert _numbers(said)[3:5] == pytest.approx(_expected(0.0, _WIDTH // 2 - 1, _HEIGHT // 2)[3:5], abs=stated + 0.006)
    if small:
      frame.wait_for_selector(f"{_player(0.0)}[data-small][title*='not found beside the events']")
    else:
      assert frame.get_attribute(_player(0.0), "data-small") is None
    page.close()


def test_cells_out_of_sight_are_not_decoded(address, open_tab):
  _, frame = open_tab(address, "scale=unit", height=280)
  states = "() => Object.fromEntries([...document.querySelectorAll('tr.unit')].map((r) => [r.dataset.unit,"
  states += " [...r.querySelectorAll('tbvis-stimulus')].map((e) => e.dataset.state)]))"
  frame.wait_for_function("() => document.querySelectorAll('tr.unit tbvis-stimulus[data-state=ready]').length >= 1")
  last = "prediction/PlayingViolin"
  assert frame.evaluate(states)[last] == ["idle"]
  frame.eval_on_selector(f"tr[data-unit='{last}']", "(e) => e.scrollIntoView()")
  frame.wait_for_selector(f"tr[data-unit='{last}'] tbvis-stimulus[data-state=ready]")
