"""How a stimulus came about, in a real Chromium: the slider over optimisation steps, held against NumPy."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tbvis import summaries
from tbvis.rendering.appearance import appearance_to_rgb
from tbvis.rendering.flow_color import flow_to_rgb, motion_frames
from tests.tb_plugin import serving, synthetic

pytestmark = [pytest.mark.browser, pytest.mark.slow]

_UNIT = "conv5_fusion/f021"
_FRAME = 3
_READY = "() => document.querySelectorAll('tbvis-units tbvis-stimulus[data-state=ready]').length === 5"


@pytest.fixture(scope="module")
def logdir(tmp_path_factory):
  """One unit whose copies are of steps 0, 3, 40, one of 0, 10, one motion alone, one without, and one whose picture is gone."""
  folder = tmp_path_factory.mktemp("steps") / "logdir"
  other = synthetic.record(synthetic.UNITS[4], size=40)
  records = [
    synthetic.record(size=40),
    synthetic.record(synthetic.UNITS[1], size=40),
    dataclasses.replace(other, kept=synthetic.kept(other.appearance, other.motion, (0, 10))),
    synthetic.record(synthetic.UNITS[5], size=40, with_steps=False),
    synthetic.record(synthetic.UNITS[6], size=40),
  ]
  with summaries.StimulusWriter(folder, "stimuli") as writer:
    for record in records:
      writer.write(record)
  (folder / "stimuli/tbvis/stimuli/prediction/BrushingTeeth/chi=10/steps.webp").unlink()
  return folder


@pytest.fixture(scope="module")
def kept(logdir):
  return {record.unit: record.kept for record in summaries.read_run(logdir, "stimuli").stimuli}


@pytest.fixture(scope="module")
def address(logdir, tmp_path_factory):
  with serving.tensorboard(logdir, tmp_path_factory.mktemp("served"), "--load_fast=true") as served:
    yield served


def _pixels(frame, selector):
  shape, data = frame.eval_on_selector(
    selector, "(c) => [[c.height, c.width, 4], [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]]"
  )
  return np.array(data).reshape(shape)[..., :3]


def _cell(unit):
  return f"tr[data-unit='{unit}'] tbvis-stimulus"


def _wait_for_step(frame, step, selector):
  frame.wait_for_function("([s, step]) => document.querySelector(s)?.step === step", arg=[selector, step])


def _assert_shows(frame, selector, kept, index):
  """Flow and picture of a copy, each on its own scale as the stimulus itself."""
  expected = flow_to_rgb(motion_frames(kept.motion[index]))[_FRAME]
  assert np.abs(_pixels(frame, f"{selector} canvas.flow") - expected.astype(int)).max() <= 1
  if kept.appearance is not None:
    still = appearance_to_rgb(kept.appearance[index])
    assert np.abs(_pixels(frame, f"{selector} canvas.appearance") - still.astype(int)).max() <= 1


def test_the_slider_goes_through_the_search_of_all_stimuli_at_once(browser, address, kept):
  # Not by open_tab: the browser logs that a file is missing.
  page = browser.new_page(viewport={"width": 1600, "height": 1000})
  asked = []
  page.on("request", lambda request: asked.append(request.url) if "steps.webp" in request.url else None)
  page.goto(f"{address}/data/plugin_entry.html?name=tbvis#tbvis&p.tbvis.frame=4")
  page.wait_for_function(_READY)
  assert not asked, "nothing is asked for while the end is shown"
  slider = page.locator("#step")
  assert slider.get_attribute("aria-valuetext") == "end" and page.inner_text(".steps output") == "end"
  end = _pixels(page, f"{_cell(_UNIT)} canvas.flow")

  # From the end back to 40, 10, 3, 0.
  slider.focus()
  page.keyboard.press("ArrowLeft")
  _wait_for_step(page, 40, _cell(_UNIT))
  assert "p.tbvis.step=40" in page.evaluate("location.hash") and slider.get_attribute("aria-valuetext") == "40"
  _assert_shows(page, _cell(_UNIT), kept[_UNIT], 2)
  _wait_for_step(page, 40, _cell("conv4_3_motion/f036"))
  _assert_shows(page, _cell("conv4_3_motion/f036"), kept["conv4_3_motion/f036"], 2)
  _wait_for_step(page, 10, _cell("prediction/PlayingCello"))
  _assert_shows(page, _cell("prediction/PlayingCello"), kept["prediction/PlayingCello"], 1)
  page.wait_for_selector(f"{_cell('prediction/BrushingTeeth')} .step-note:not([hidden])")
  notes = {unit: f"{_cell(unit)} .step-note" for unit, *_ in synthetic.UNITS}
  assert {unit: page.inner_text(note) for unit, note in notes.items() if page.is_visible(note)} == {
    "prediction/PlayingCello": "step 10",
    "prediction/PlayingViolin": "only the end was kept",
    "prediction/BrushingTeeth": "only the end: its steps failed to load",
  }
  assert "found none" in page.get_attribute(f"{_cell('prediction/BrushingTeeth')} .step-note", "title")
  assert page.get_attribute(_cell("prediction/PlayingViolin"), "aria-label").endswith("only the end was kept")
  assert len(asked) == 4, "one request a stimulus that has copies"
  for step in (10, 3, 0):
    page.keyboard.press("ArrowLeft")
    assert slider.get_attribute("aria-valuetext") == str(step)
  _wait_for_step(page, 0, _cell("prediction/PlayingCello"))
  _wait_for_step(page, 0, _cell(_UNIT))
  _assert_shows(page, _cell(_UNIT), kept[_UNIT], 0)
  assert len([url for url in asked if "BrushingTeeth" not in url]) == 3, "what was loaded stays"
  page.keyboard.press("End")
  _wait_for_step(page, None, _cell(_UNIT))
  assert (_pixels(page, f"{_cell(_UNIT)} canvas.flow") == end).all()
  assert "step=" not in page.evaluate("location.hash")
  page.wait_for_function("() => ![...document.querySelectorAll('.step-note')].some((e) => e.checkVisibility())")
  page.close()


def test_the_large_players_follow_and_a_link_holds_the_step(address, open_tab, kept):
  page, frame = open_tab(address, f"view=unit%3A{_UNIT.replace('/', '%2F')}&p.tbvis.step=7&p.tbvis.frame=4&p.tbvis.zoom=3")
  player = "tbvis-unit tbvis-stimulus.full"
  frame.wait_for_function("(s) => document.querySelector(s)?.end?.flow.step === 0", arg=player)
  _wait_for_step(frame, 3, player)
  _assert_shows(frame, player, kept[_UNIT], 1)
  assert frame.inner_text(f"{player} .step-note") == "step 3"
  assert "copy of 20 × 20 px of step 3" in frame.inner_text(f"{player} .scale-text")
  width = frame.eval_on_selector(f"{player} canvas.flow", "(c) => c.getBoundingClientRect().width * devicePixelRatio")
  assert width == 3 * 40, "a copy is as large on the screen as the stimulus"
  # What is pointed at stays where it is, whatever has how many pixels.
  frame.focus(f"{player} canvas.flow")
  page.keyboard.press("ArrowRight")
  assert frame.inner_text(f"{player} .reading").startswith("x 11, y 10, frame 4:")
  motion = kept[_UNIT].motion[1][10, 11, _FRAME] * 40 / 255
  assert f"speed {np.hypot(*motion):.2f} px/frame" in frame.inner_text(f"{player} .reading")
  with page.expect_download() as started:
    page.click("tbvis-unit .links :text-is('PNG')")
  assert started.value.suggested_filename == "conv5_fusion_f021_chi=10_step3_colours_clip_frame4.png"
  frame.focus("#step")
  page.keyboard.press("End")
  _wait_for_step(frame, None, player)
  assert frame.inner_text(f"{player} .reading").startswith("x 23, y 21, frame 4:")
  # A scale that is shared is that of what is shown.
  frame.select_option("#scale", "unit")
  frame.eval_on_selector("#step", "(e) => { e.value = 0; e.dispatchEvent(new Event('input')); }")
  _wait_for_step(frame, 0, player)
  largest = np.hypot(kept[_UNIT].motion[0][..., 0], kept[_UNIT].motion[0][..., 1]).max() * 40 / 255
  assert f"… {largest:.3g} px/frame" in frame.inner_text(f"{player} .scale-text")
  page.reload()
  _wait_for_step(frame, 0, player)
  assert frame.inner_text(".steps output") == "0"


def test_a_made_up_step_is_the_end(address, open_tab):
  _, frame = open_tab(address, "step=-1e9")
  frame.wait_for_function(_READY)
  assert frame.inner_text(".steps output") == "end" and frame.evaluate("() => document.querySelector('tbvis-stimulus').step") is None
