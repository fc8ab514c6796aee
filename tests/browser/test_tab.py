"""The tab in a real Chromium, inside a real TensorBoard."""

from __future__ import annotations

import os
import pathlib
import re

import pytest

from tests.browser.looking import click_cell as _click_cell
from tests.browser.looking import pixels as _pixels
from tests.browser.looking import text as _text
from tests.browser.looking import wait_for_change as _wait_for_change
from tests.tb_plugin import serving, synthetic

pytestmark = [pytest.mark.browser, pytest.mark.slow]

_PLAYING = "tr[data-unit='conv5_fusion/f021'] td[data-variant='chi=0'] canvas.flow"
_PAIR = "view=pair%3APlayingCello~PlayingViolin"


def test_grid_has_units_by_layer_and_chi_in_order_with_missing_and_failed_cells(address, open_tab):
  _, frame = open_tab(address, hosted=True)
  frame.wait_for_selector(_PLAYING)
  layers = frame.eval_on_selector_all("tr.layer th span", "(all) => all.map((e) => e.firstChild.textContent)")
  assert layers == ["conv3_3_appearance", "conv4_3_motion", "conv5_fusion", "prediction"]
  heads = frame.eval_on_selector_all("thead th[data-variant]", "(all) => all.map((e) => e.dataset.variant)")
  assert heads == ["chi=0", "chi=1", "chi=5", "chi=10", "isotropic=5"]
  assert "isotropic" in _text(frame, "thead th[data-variant='isotropic=5']")
  row = "tr[data-unit='conv5_fusion/f004'] "
  # Once the list has stayed the same; before that it may be still loading.
  frame.wait_for_selector(row + "td[data-variant='chi=5'] .note:text-is('not run')")
  assert "activation became NaN at step 40" in _text(frame, row + "td[data-variant='chi=1'] .failed")
  assert _text(frame, "tr[data-unit='conv4_3_motion/f036'] td[data-variant='chi=0'] .absent") == "–"


def test_flow_plays_pauses_and_scrubs_in_step(address, open_tab):
  _, frame = open_tab(address)
  other = "tr[data-unit='prediction/PlayingCello'] td[data-variant='chi=0'] canvas.flow"
  first = _pixels(frame, _PLAYING)
  _wait_for_change(frame, _PLAYING, first)
  frame.click("#play")
  assert _text(frame, "#play") == "Play"
  still, frame_shown = _pixels(frame, _PLAYING), _text(frame, "output.count")
  frame.page.wait_for_timeout(500)
  assert _pixels(frame, _PLAYING) == still and _text(frame, "output.count") == frame_shown

  def scrub(value):
    frame.eval_on_selector("#frame", "(e, v) => { e.value = v; e.dispatchEvent(new Event('input')); }", value)
    return _pixels(frame, _PLAYING), _pixels(frame, other)

  a, b = scrub(7), scrub(2)
  assert a[0] != b[0] and a[1] != b[1] and scrub(7) == a, "one slider sets the frame of all"
  assert _text(frame, "output.count") == "8 / 10"


def test_flow_has_the_colours_of_the_rule(address, open_tab):
  """What the page draws is what the library's own rule gives for the same values."""
  import numpy as np

  from tbvis.rendering.flow_color import flow_to_rgb, motion_frames

  _, frame = open_tab(address)
  frame.wait_for_selector(_PLAYING)
  frame.click("#play")
  frame.eval_on_selector("#frame", "(e) => { e.value = 3; e.dispatchEvent(new Event('input')); }")
  shown = np.array(_pixels(frame, _PLAYING).split(","), int).reshape(48, 48, 4)[..., :3]
  expected = flow_to_rgb(motion_frames(synthetic.record(chi=0.0, size=48).motion))[3].astype(int)
  # The small pictures have 40 steps from zero to the largest value.
  assert np.abs(shown - expected).max() <= 6 and np.abs(shown - expected).mean() < 2


def test_a_shared_scale_dims_slower_stimuli_only_when_asked(address, open_tab):
  _, frame = open_tab(address)
  frame.wait_for_selector(_PLAYING)
  frame.click("#play")
  limits = "(all) => all.filter((e) => e.flow).map((e) => e.group.limit >= e.flow.largest)"
  assert all(frame.eval_on_selector_all("tr[data-unit='conv5_fusion/f021'] tbvis-stimulus", limits))
  frame.select_option("#scale", "unit")
  assert "p.tbvis.scale=unit" in frame.page.evaluate("location.hash")


def test_filter_narrows_units_and_says_when_none_is_left(address, open_tab):
  _, frame = open_tab(address)
  frame.wait_for_selector(_PLAYING)
  frame.fill("#filter", "cello")
  frame.wait_for_function("() => document.querySelectorAll('tr.unit').length === 1")
  assert _text(frame, "tr.unit .name") == "PlayingCello"
  frame.fill("#filter", "nothing like it")
  assert "No unit matches" in _text(frame, "tbvis-units h2")


def test_a_cell_of_the_matrix_brings_both_classes_and_the_clips(address, open_tab):
  page, frame = open_tab(address)
  _click_cell(frame, synthetic.CLASSES.index("PlayingCello"), synthetic.CLASSES.index("PlayingViolin"))
  assert _text(frame, "tbvis-pair h2") == "PlayingCello taken for PlayingViolin"
  row = "tbvis-pair tr[data-variant='chi=0'] "
  cello, violin = (_pixels(frame, f"{row}td[data-class='{name}'] canvas.flow") for name in ("PlayingCello", "PlayingViolin"))
  assert cello != violin
  clip = "ul[data-kind='confused'] tbvis-clip canvas"
  _wait_for_change(frame, clip, _pixels(frame, clip))
  assert frame.locator("ul[data-kind='confused'] li").count() == 3
  assert re.search(r"Fused\s+\d+ %\s+\d+ %", _text(frame, "ul[data-kind='confused'] .scores"))
  assert "p.tbvis.view=pair%3APlayingCello~PlayingViolin" in page.evaluate("location.hash")
  frame.click(".reverse")
  assert _text(frame, "tbvis-pair h2") == "PlayingViolin taken for PlayingCello"
  frame.click(".close")
  frame.wait_for_selector(_PLAYING)


def test_the_list_and_the_tower_switch_lead_to_pairs(address, open_tab):
  _, frame = open_tab(address)
  frame.wait_for_selector(".most li")
  assert _text(frame, ".most li .pair") == "PlayingCello → PlayingViolin"
  fused = frame.locator(".most li").count()
  frame.click(".towers [data-value=motion]")
  frame.wait_for_function("(n) => document.querySelectorAll('.most li').length > n", arg=fused)
  frame.click(".most li button")
  assert "taken for" in _text(frame, "tbvis-pair h2")
  assert "Motion scores" in _text(frame, ".counted")


def test_the_matrix_is_walked_with_the_keyboard(address, open_tab):
  page, frame = open_tab(address)
  frame.focus("tbvis-matrix canvas")
  for _ in range(2):
    page.keyboard.press("ArrowDown")
  page.keyboard.press("ArrowRight")
  assert _text(frame, ".tip").startswith("Billiards taken for ApplyLipstick: 0 of 10")
  page.keyboard.press("Enter")
  assert _text(frame, "tbvis-pair h2") == "Billiards taken for ApplyLipstick"
  assert "no stimulus of prediction/Billiards" in _text(frame, "tbvis-pair .message")
  page.keyboard.press("Escape")
  frame.wait_for_selector(_PLAYING)


def test_a_link_opens_what_it_names_and_the_address_follows(address, open_tab):
  page, frame = open_tab(address, _PAIR, hosted=True)
  assert _text(frame, "tbvis-pair h2") == "PlayingCello taken for PlayingViolin"
  page.evaluate("location.hash = '#tbvis&p.tbvis.view=unit%3Aconv5_fusion%2Ff004'")
  assert _text(frame, "tbvis-unit h2") == "conv5_fusion/f004"


def test_dark_mode_follows_tensorboard(address, open_tab):
  page, frame = open_tab(address, hosted=True)
  background = "() => getComputedStyle(document.body).backgroundColor"
  frame.wait_for_selector("tbvis-toolbar")
  assert frame.evaluate(background) == "rgb(255, 255, 255)"
  page.evaluate("document.body.classList.add('dark-mode')")
  frame.wait_for_function(f"() => ({background})() === 'rgb(48, 48, 48)'")


def test_the_clock_stops_behind_another_tab(address, open_tab):
  page, frame = open_tab(address, hosted=True)
  _wait_for_change(frame, _PLAYING, _pixels(frame, _PLAYING))
  page.evaluate("location.hash = '#scalars'")
  frame.wait_for_function("async () => !(await import('./static/clock.js')).clock.shown", polling=100)
  before = frame.evaluate("async () => (await import('./static/clock.js')).clock.time")
  page.wait_for_timeout(400)
  assert frame.evaluate("async () => (await import('./static/clock.js')).clock.time") == before
  page.evaluate("location.hash = '#tbvis'")
  frame.wait_for_function("async () => (await import('./static/clock.js')).clock.shown", polling=100)
  _wait_for_change(frame, _PLAYING, _pixels(frame, _PLAYING))


def test_wide_windows_have_both_side_by_side_and_narrow_ones_two_views(address, open_tab):
  _, frame = open_tab(address)
  frame.wait_for_selector(_PLAYING)
  frame.wait_for_selector("tbvis-matrix canvas")
  units, confusions = (
    frame.eval_on_selector(name, "(e) => { const b = e.getBoundingClientRect(); return [b.left, b.right]; }")
    for name in ("tbvis-units", "tbvis-confusions")
  )
  assert confusions[0] >= units[1] - 1 and not frame.is_visible(".narrow")
  _, frame = open_tab(address, width=700)
  frame.wait_for_selector(_PLAYING)
  for shown, hidden in (("confusions", "units"), ("units", "confusions")):
    frame.click(f".narrow [data-value={shown}]")
    frame.wait_for_selector(f"tbvis-{shown}")
    assert not frame.is_visible(f"tbvis-{hidden}")
    assert frame.evaluate("() => document.documentElement.scrollWidth <= innerWidth"), "the page scrolls sideways"


def test_a_pair_chosen_far_below_on_a_narrow_window_comes_into_view(address, open_tab):
  _, frame = open_tab(address, "pane=confusions", width=700)
  frame.wait_for_selector(".most li button")
  frame.click(".most li button")
  frame.wait_for_selector("tbvis-pair h2")
  frame.wait_for_function(
    "() => { const top = document.querySelector('tbvis-pair h2').getBoundingClientRect().top; return top >= 0 && top < innerHeight / 2; }"
  )


def test_an_empty_logdir_says_what_was_looked_for_then_fills(open_tab, tmp_path):
  logdir = tmp_path / "logdir"
  logdir.mkdir()
  with serving.tensorboard(logdir, tmp_path, "--load_fast=true") as served:
    page, frame = open_tab(served)
    message = _text(frame, ".message.empty")
    for part in ("No stimuli and no confusions here", str(logdir), "tbvis/stimulus/", "tbvis/confusions", "no runs at all"):
      assert part in message
    synthetic.write_evaluation(logdir, thumbnails=False)
    frame.wait_for_selector("tbvis-matrix canvas")
    # Before the server stops: a page goes on asking it.
    page.close()


def _screenshot(frame, path):
  """Takes a picture once every player in sight is ready."""
  frame.wait_for_function(
    "() => ![...document.querySelectorAll('tbvis-stimulus')].some((e) => e.dataset.state === 'loading')"
    " && document.querySelectorAll('canvas.flow').length > 3 && document.querySelector('.most li')"
  )
  frame.page.wait_for_timeout(1500)
  frame.page.screenshot(path=path)


@pytest.mark.skipif("TBVIS_SCREENSHOT" not in os.environ, reason="writes pictures only where TBVIS_SCREENSHOT names a folder")
def test_write_the_pictures_of_the_documentation(open_tab, tmp_path):
  """TBVIS_SCREENSHOT names the folder; TBVIS_SCREENSHOT_LOGDIR a logdir of results, else made-up ones are shown."""
  given = os.environ.get("TBVIS_SCREENSHOT_LOGDIR")
  logdir = pathlib.Path(given) if given else synthetic.write_logdir(tmp_path / "logdir", size=96)
  folder = pathlib.Path(os.environ["TBVIS_SCREENSHOT"])
  folder.mkdir(parents=True, exist_ok=True)
  with serving.tensorboard(logdir, tmp_path, "--load_fast=true") as served:
    _, frame = open_tab(served, os.environ.get("TBVIS_SCREENSHOT_VIEW", ""), hosted=True)
    _screenshot(frame, folder / "tab.png")
    frame.click(".most li button")
    frame.wait_for_selector("tbvis-clip canvas, tbvis-pair .message")
    _screenshot(frame, folder / "pair.png")
