"""The page of a unit and that of a pair, in a real Chromium: what they draw, say and save is held against what was written."""

from __future__ import annotations

import dataclasses
import io
import re
import urllib.parse

import numpy as np
from PIL import Image
import pytest

from tbvis import summaries
from tbvis.diagnostics.selectivity import selectivity_index
from tbvis.rendering import animation
from tbvis.rendering.flow_color import PIXELS_PER_UNIT, flow_to_rgb, motion_frames
from tests.browser.looking import text as _text
from tests.tb_plugin import serving, synthetic

pytestmark = [pytest.mark.browser, pytest.mark.slow]

_ALL, _STILL, _ONE, _SPOILT = "conv5_fusion/f021", "conv3_3_appearance/f004", "conv4_3_motion/f036", "conv5_fusion/f004"
_SIZE = 32
_CHI_ACTIVATIONS = {0.0: 12.0, 1.0: 24.0, 10.0: 18.0}
_FLAGS = "# made\n--units=conv5_fusion/f021\n--chi=0.0\n--steps=200\n"
_STEPS = np.arange(0, 200, 20)
_MEANS = {f"Class{i:02d}": 9.0 - i for i in range(14)}
# The place that fired, in a frame of 100 x 60 pixels of the network's input.
_PLACE, _FRAME_SIZE, _FIRED = (30, 20), (100, 60), 4


def _unit(name):
  return next(unit for unit in synthetic.UNITS if unit[0] == name)


def _motion(chi):
  return synthetic.record(chi=chi, size=_SIZE).motion


def _snippet():
  """Ten frames with a white spot at the place, which alone moves."""
  (x, y), (width, height) = _PLACE, _FRAME_SIZE
  frames, flow = np.zeros((10, height, width, 3), np.uint8), np.zeros((10, height, width, 2), np.float32)
  frames[:, y - 2 : y + 3, x - 2 : x + 3] = 255
  # Of equal frames the file has one; these are three.
  frames[6:, :9, :9] = 200
  frames[9, :9, :9] = 100
  flow[:, y - 2 : y + 3, x - 2 : x + 3] = 6
  return animation.clip_thumbnail(frames, flow, height=120, quality=95)


def _write(logdir):
  rise = 1 - np.exp(-_STEPS / 60)
  broken = np.where(_STEPS == 100, np.nan, rise)
  terms = {"tv_motion": 10.0 ** (3 - _STEPS / 60), "activation": 12 * rise, "norm": broken, "constructor": -rise}
  with summaries.StimulusWriter(logdir, "stimuli") as writer:
    for chi, activation in _CHI_ACTIVATIONS.items():
      base = synthetic.record(_unit(_ALL), chi=chi, size=_SIZE)
      history = {name: values * (1 + chi) for name, values in terms.items() if name != "constructor" or chi}
      config = {**base.config, "checkpoint": "net.keras", "version": "9.8", **({"flagfile": _FLAGS} if not chi else {})}
      writer.write(dataclasses.replace(base, activation=activation, history=history, config=config))
      writer.write(dataclasses.replace(synthetic.record(_unit(_STILL), chi=chi, size=_SIZE), activation=-activation))
    smooth = {"activation": rise, "tv_motion": terms["tv_motion"], "norm": rise}
    writer.write(dataclasses.replace(synthetic.record(_unit(_ALL), kappa=3.0, chi=1.0, size=_SIZE), activation=5.0, history=smooth))
    writer.write(dataclasses.replace(synthetic.record(_unit(_ONE), chi=10.0, size=_SIZE), a_hat=None, history={}))
    for chi, more in ((0.0, {"activation": float("nan")}), (1.0, {})):
      record = synthetic.record(_unit(_SPOILT), chi=chi, size=_SIZE, error="it became NaN" if chi else None)
      writer.write(dataclasses.replace(record, **more))
    for unit in synthetic.UNITS[4:6]:
      writer.write(synthetic.record(unit, chi=0.0, size=_SIZE))
    x, y = _PLACE
    fired = {"clip": "v_first", "class": "Class00", "layer": "conv5_fusion", "value": 9.5, "frame": 54, "x": x, "y": y}
    shown = {"field": 24, "thumbnail": "top_first.webp", "frames": 10, "fired": _FIRED, "size": list(_FRAME_SIZE)}
    known = {"a_hat": 10.0, "class_means": _MEANS, "top_clips": [fired | shown, fired | {"clip": "v_second", "value": 3.0}]}
    old = {"a_hat": 10.0, "class_means": {"Class00": -1.0, "Class01": -2.0}, "top_clips": [fired]}
    writer.add_statistics({_ALL: known, _STILL: old, _SPOILT: {"a_hat": 10.0}}, {"top_first.webp": _snippet()})
  synthetic.write_evaluation(logdir, thumbnails=False)


@pytest.fixture(scope="module")
def page(browser, tmp_path_factory):
  """One page for all tests; at the end it may have logged no error."""
  folder = tmp_path_factory.mktemp("unit")
  _write(folder / "logdir")
  with serving.tensorboard(folder / "logdir", folder, "--load_fast=true") as address:
    opened = browser.new_page(viewport={"width": 1600, "height": 1000})
    opened.set_default_timeout(60_000)
    problems = []
    opened.on("console", lambda m: problems.append(m.text) if m.type == "error" and "favicon" not in m.location.get("url", "") else None)
    opened.on("pageerror", lambda error: problems.append(str(error)))
    opened.context.grant_permissions(["clipboard-read", "clipboard-write"])
    opened.goto(f"{address}/data/plugin_entry.html?name=tbvis#tbvis")
    opened.wait_for_selector("tr.unit")
    yield opened
    opened.close()
  assert not problems


def _open(page, view, more=""):
  page.evaluate("(hash) => { location.hash = hash; }", f"#tbvis&p.tbvis.view={urllib.parse.quote(view, safe='~')}{more}")
  name = view.split(":")[1].split("~")[0]
  page.wait_for_function("(name) => document.querySelector('.focus h2')?.textContent.startsWith(name)", arg=name)


def _unit_page(page, name, more=""):
  _open(page, f"unit:{name}", more)
  page.wait_for_selector("tbvis-unit .settings details", state="attached")


def _all_texts(page, selector):
  return page.eval_on_selector_all(selector, "(all) => all.map((e) => e.textContent)")


def test_all_chi_stand_side_by_side_with_activations_warnings_and_what_was_not_run(page):
  page.click(f"tr[data-unit='{_ALL}'] .cell")
  assert _text(page, "tbvis-unit h2") == _ALL
  assert _all_texts(page, "tbvis-unit .large figcaption b") == ["χ = 0", "χ = 1", "χ = 10", "χ = 1"]
  page.wait_for_function("() => document.querySelectorAll('tbvis-unit .notes').length === 4")
  assert "activation 12 = 1.2 â" in _text(page, "tbvis-unit .notes")
  assert _text(page, "tbvis-unit .notes .warning") == synthetic.WARNING
  tops = page.eval_on_selector_all(".large", "(all) => all.map((e) => Math.round(e.getBoundingClientRect().top))")
  assert len(set(tops)) == 1, "one row"
  _unit_page(page, _STILL)
  assert "Not run for this unit: χ = 1, κ = 3" in _text(page, ".lacking") and f"--units={_STILL}" in _text(page, ".lacking")


def test_every_term_has_a_chart_and_a_shared_step_is_read_by_pointing_and_by_keys(page):
  _unit_page(page, _ALL)
  terms = page.eval_on_selector_all(".curves figure", "(all) => all.map((e) => e.dataset.term)")
  assert terms[0] == "activation" and set(terms) == {"activation", "tv_motion", "norm", "constructor"}
  captions = dict(zip(terms, _all_texts(page, ".curves figcaption"), strict=True))
  assert captions["tv_motion"] == "tv_motion log scale" and captions["activation"] == "activation"
  assert "total variation" in page.get_attribute("[data-term=tv_motion] figcaption", "title")
  assert page.locator("[data-term=activation] polyline").count() == 4
  # A value that is no number breaks the three lines that have it; the term that one stimulus lacks has a line less.
  assert page.locator("[data-term=norm] polyline").count() == 3 * 2 + 1 and page.locator("[data-term=constructor] polyline").count() == 2

  def first(term):
    return page.eval_on_selector(f"[data-term={term}] .values li", "(e) => e.textContent")

  assert _text(page, ".step output") == "180"
  assert first("activation") == f"χ = 0, κ = 1: {12 * (1 - np.exp(-3)):.3g}" and first("tv_motion") == "χ = 0, κ = 1: 1"
  page.focus(".step input")
  for _ in range(4):
    page.keyboard.press("ArrowLeft")
  assert _text(page, ".step output") == "100" and first("norm") == "χ = 0, κ = 1: no number"
  assert first("tv_motion") == f"χ = 0, κ = 1: {float(f'{10 ** (3 - 100 / 60):.3g}'):g}"
  assert page.get_attribute(".step input", "aria-valuetext") == "step 100"
  box = page.locator("[data-term=norm] svg").bounding_box()
  page.mouse.move(box["x"] + box["width"] * 0.99, box["y"] + 20)
  assert _text(page, ".step output") == "180" and first("norm").startswith("χ = 0, κ = 1: 0.95")


def test_the_response_across_chi_stands_beside_the_speeds(page):
  _unit_page(page, _ALL)
  # Exact values come from values.npz, after the small pictures.
  page.wait_for_function("() => !document.querySelector('.response table').textContent.match(/[≈–]/)")
  rows = [row.split("\t") for row in _text(page, ".response tbody").split("\n")]
  found = {(float(row[0]), float(row[1])): [float(value) for value in row[3:]] for row in rows}
  for (chi, kappa), (response, speed, change) in found.items():
    assert response == pytest.approx((_CHI_ACTIVATIONS[chi] if kappa == 1 else 5) / 10)
    motion = motion_frames(_motion(chi).astype(np.float16).astype(np.float64)) * PIXELS_PER_UNIT
    assert speed == pytest.approx(np.hypot(*np.moveaxis(motion, -1, 0)).mean(), rel=6e-3)
    assert change == pytest.approx(np.hypot(*np.moveaxis(np.diff(motion, axis=0), -1, 0)).mean(), rel=6e-3)
  assert len(found) == 4 and page.locator(".response circle[data-panel=response]").count() == 4
  said = _text(page, ".sentence")
  assert said.startswith("κ = 1: largest response over smallest: 2 (largest 2.4 â at χ = 1, smallest 1.2 â at χ = 0)")
  changes = [found[chi, 1.0][2] for chi in _CHI_ACTIVATIONS]
  stated = float(re.search(r"changes from frame to frame differ ([\d.]+) times", said)[1])
  assert stated == pytest.approx(max(changes) / min(changes), rel=0.02)
  heights = page.eval_on_selector_all("circle.line-0[data-panel=response]", "(all) => all.map((e) => Number(e.getAttribute('cy')))")
  assert heights[1] < heights[2] < heights[0], "the larger the higher"


def test_class_means_have_bars_an_index_and_all_classes_on_demand(page):
  _unit_page(page, _ALL)
  page.wait_for_selector(".means li")
  assert page.locator(".means li").count() == 12
  expected = float(selectivity_index(np.array(list(_MEANS.values()))))
  assert _text(page, ".selectivity") == f"Selectivity index {expected:.2f}" and "Morcos" in page.get_attribute(".selectivity", "title")
  assert "negative means count as 0" in _text(page, ".class-means")
  page.click(".class-means button")
  assert page.locator(".means li").count() == 14 and page.get_attribute(".class-means button", "aria-expanded") == "true"
  bars = page.eval_on_selector_all(
    ".means .bar",
    "(all) => all.map((e) => { const [b, z] = [e.firstChild, e.lastChild].map((c) => c.getBoundingClientRect());"
    " return [b.width, b.left >= z.left - 1, b.right <= z.left + 1]; })",
  )
  widths = np.array([bar[0] for bar in bars])
  np.testing.assert_allclose(widths / widths[0], np.abs(list(_MEANS.values())) / 9, atol=0.02)
  assert all(bar[1] for bar in bars[:9]) and all(bar[2] for bar in bars[10:]), "negative means lie left of zero"
  _unit_page(page, _STILL)
  assert "none: no class has a positive mean" in _text(page, ".selectivity")


def test_top_clips_play_with_the_place_that_fired(page):
  _unit_page(page, _ALL)
  page.eval_on_selector(".top", "(e) => e.scrollIntoView()")
  page.wait_for_selector(".top canvas")
  under = page.eval_on_selector_all(
    ".top .fired",
    "(all) => all.map((e) => { const c = document.querySelector('.top canvas');"
    " const [b, o] = [e, c].map((n) => n.getBoundingClientRect());"
    " const at = [(b.left + b.width / 2 - o.left) / o.width * c.width, (b.top + b.height / 2 - o.top) / o.height * c.height];"
    " return [at, [...c.getContext('2d').getImageData(...at.map(Math.floor), 1, 1).data]]; })",
  )
  (first, white), (second, coloured) = under
  # A pixel's middle, twice as large in the animation; the flow lies right of the frames.
  assert first == pytest.approx([61, 41], abs=1) and second == pytest.approx([261, 41], abs=1)
  assert min(white[:3]) > 200 and max(coloured[:3]) - min(coloured[:3]) + abs(coloured[2] - 128) > 60
  sees = page.eval_on_selector(".top .sees", "(e) => [e.style.width, e.style.height]")
  assert sees == ["24%", "40%"], "24 of 100 x 60 pixels"
  page.click(".top .stop")
  page.wait_for_selector(".top tbvis-clip.now")
  assert _text(page, "#play") == "Play" and _text(page, "output.count") == f"{_FIRED + 1} / 10"
  page.keyboard.press(".")
  page.wait_for_selector(".top tbvis-clip:not(.now)")
  corner = "(c) => c.getContext('2d').getImageData(8, 8, 1, 1).data[0]"
  page.keyboard.press(".")
  assert page.eval_on_selector(".top canvas", corner) > 150, "the seventh of ten frames"
  assert "no picture of this clip was written" in _text(page, ".top li:nth-child(2)") and "v_second" in _text(page, ".top li:nth-child(2)")
  page.click(".enlarge")
  page.wait_for_selector("dialog canvas")
  assert "sees 24 × 24 of 100 × 60 px" in _text(page, "dialog p")
  wide = [page.locator(selector).bounding_box()["width"] for selector in ("dialog canvas", ".top canvas")]
  assert wide[0] > 1.5 * wide[1]
  page.keyboard.press("Escape")
  page.wait_for_selector("dialog", state="detached")
  assert _text(page, "tbvis-unit h2") == _ALL, "Escape closes the clip alone"


def test_settings_are_whole_and_the_flags_are_copied(page):
  _unit_page(page, _ALL)
  page.click("summary")
  rows = dict(row.split("\t", 1) for row in _text(page, ".config tbody >> nth=-1").split("\n"))
  assert {"activation", "kappa", "chi", "isotropic", "seed", "checkpoint", "version", "iterations", "nested.jitter"} <= set(rows)
  assert rows["checkpoint"].split("\t")[0] == '"net.keras"' and "flagfile" not in rows
  buttons = page.locator(".flags button")
  assert buttons.count() == 1
  buttons.click()
  page.wait_for_function("() => document.querySelector('.flags output').textContent")
  assert page.evaluate("() => navigator.clipboard.readText()") == _FLAGS and page.input_value(".flagfile") == _FLAGS
  _unit_page(page, _STILL)
  page.click("summary")
  assert "were not kept" in _text(page, ".settings details")


def test_what_is_missing_is_said_with_the_command_that_makes_it(page):
  _unit_page(page, _ONE)
  assert "statistics of this run do not have" in _text(page, ".facts") and "--statistics" in _text(page, ".facts")
  assert "â of this unit was not measured" in _text(page, ".response") and "one χ only (χ = 10)" in _text(page, ".response")
  assert "No curve was written" in _text(page, ".charts")
  _unit_page(page, _SPOILT)
  assert "it became NaN" in _text(page, ".large:nth-of-type(2)") and "tries it again" in _text(page, ".large:nth-of-type(2)")
  assert "its activation is no number" in _text(page, ".large:nth-of-type(1) .notes")
  assert "No stimulus of this unit has an activation" in _text(page, ".response")
  assert "No means by class" in _text(page, ".class-means") and "No clips were written" in _text(page, ".tops")
  _unit_page(page, _STILL)
  assert [page.locator(f".response circle[data-panel={name}]").count() for name in ("response", "speed")] == [3, 0]
  assert "not positive" in _text(page, ".sentence")
  assert "No pictures of these clips were written" in _text(page, ".tops") and "--data_dir" in _text(page, ".tops")
  assert page.locator(".tops tbvis-clip").count() == 0 and "v_first" in _text(page, ".top")


def _download(page, selector):
  with page.expect_download() as started:
    page.click(selector)
  with open(started.value.path(), "rb") as file:
    return started.value.suggested_filename, np.asarray(Image.open(io.BytesIO(file.read())).convert("RGB")).astype(int)


def test_a_strip_has_the_appearance_and_every_frame(page):
  _unit_page(page, _ALL, "&p.tbvis.zoom=2")
  page.wait_for_function("() => document.querySelector('.large tbvis-stimulus')?.flow?.step === 0")
  name, strip = _download(page, ".large .links :text-is('Strip')")
  assert name == "conv5_fusion_f021_chi=0_colours_clip_strip.png" and strip.shape == (2 * _SIZE, 11 * 2 * _SIZE, 3)
  frames = flow_to_rgb(motion_frames(_motion(0.0).astype(np.float16).astype(np.float32)))
  expected = np.concatenate(list(frames), axis=1).repeat(2, 0).repeat(2, 1)
  assert np.abs(strip[:, 2 * _SIZE :] - expected).max() <= 1
  _unit_page(page, _STILL)
  page.wait_for_selector(".large .links")
  assert _all_texts(page, ".large:nth-of-type(1) .links > *") == ["PNG", "GIF", "values.npz"]


def test_a_pair_has_the_zoom_and_the_downloads_of_a_unit(page):
  _open(page, "pair:PlayingCello~PlayingViolin", "&p.tbvis.zoom=3")
  page.wait_for_function("() => [...document.querySelectorAll('.versus tbvis-stimulus')].filter((e) => e.flow?.step === 0).length === 2")
  sizes = page.eval_on_selector_all(".versus canvas.flow", "(all) => all.map((e) => e.getBoundingClientRect().width * devicePixelRatio)")
  assert sizes == [3 * _SIZE, 3 * _SIZE]
  assert _all_texts(page, ".versus .notes") == ["activation 1.14 â", "activation 1.14 â"]
  name, picture = _download(page, ".versus td:last-child .links :text-is('PNG')")
  assert name.startswith("prediction_PlayingViolin_chi=0_") and picture.shape == (3 * _SIZE, 6 * _SIZE, 3)
  page.click(".zoom [data-value='1']")
  assert page.eval_on_selector(".versus canvas.flow", "(e) => e.getBoundingClientRect().width * devicePixelRatio") == _SIZE
