"""For everyone: what axe-core finds on each view, and each view operated with the keyboard alone."""

from __future__ import annotations

import json

import pytest

from tests.browser import axe
from tests.browser.looking import pixels, text
from tests.tb_plugin import serving, synthetic

pytestmark = [pytest.mark.browser, pytest.mark.slow]

_UNIT = "view=unit%3Aconv5_fusion%2Ff021"
_PAIR = "view=pair%3APlayingCello~PlayingViolin"
_MATRIX = "tbvis-matrix canvas"
_LISTED = {"run": "stimuli", "tag": "tbvis/stimulus/x", "why": "Expected JSON, received something else."}
# The grid is one stop: its cells are reached by arrow keys from there.
_OPERABLE = ":is(button, input, select, textarea, summary, a[href]):not([tabindex='-1']), [tabindex='0']"


@pytest.fixture(scope="module")
def address(tmp_path_factory):
  """As elsewhere, and a second, small run to choose."""
  folder = tmp_path_factory.mktemp("access")
  logdir = synthetic.write_logdir(folder / "logdir", size=48)
  with synthetic.summaries.StimulusWriter(logdir, "second") as writer:
    writer.write(synthetic.record(chi=1.0, size=48))
  with serving.tensorboard(logdir, folder, "--load_fast=true") as served:
    yield served


def _settled(frame):
  """Until nothing in sight waits for its pictures: what is not there yet cannot be looked at."""
  frame.wait_for_function(
    "() => ![...document.querySelectorAll('tbvis-stimulus[data-state=loading], tbvis-clip .clip-wait')]"
    ".some((e) => e.getBoundingClientRect().top < innerHeight && e.checkVisibility())"
  )


def _look_everywhere(page, frame, script):
  """Findings of the page as it is in both themes, wide and narrow."""
  found = []
  for width in (1600, 700):
    page.set_viewport_size({"width": width, "height": 1000})
    for theme in ("light", "dark"):
      page.emulate_media(color_scheme=theme)
      frame.wait_for_selector(f"html[data-theme={theme}]")
      _settled(frame)
      found += [f"{width} {theme}: {line}" for line in axe.findings(frame, script)]
  return found


@pytest.mark.parametrize(
  ("chosen", "ready", "opened"),
  [
    ("", "tr.unit canvas.flow", "tbvis-confusions summary"),
    (_UNIT, "tbvis-unit .curves svg", "tbvis-unit summary"),
    ("pane=confusions", ".most li", "tbvis-confusions summary"),
    (_PAIR, "ul[data-kind=confused] canvas", None),
  ],
  ids=["units", "unit", "confusions", "pair"],
)
def test_axe_finds_nothing_on_a_view(address, open_tab, axe_script, chosen, ready, opened):
  page, frame = open_tab(address, chosen)
  frame.wait_for_selector(ready, state="attached")
  if opened:
    frame.click(opened)
  assert not _look_everywhere(page, frame, axe_script)


def test_axe_finds_nothing_where_there_is_nothing_or_something_is_wrong(address, open_tab, axe_script):
  page, frame = open_tab(address)
  answer = {"status": 200}
  page.route("**/contents", lambda route: route.fulfill(**answer))
  seen = {"runs": ["a", "b"], "run_count": 40, "tags": [f"tag {i}" for i in range(12)], "tag_count": 12, "logdir_exists": True}
  empty = {"logdir": "/logs", "runs": [], "seen": seen, "damaged": [_LISTED] * 9, "damaged_count": 30}
  for body, shown in ((json.dumps(empty), ".message.empty"), ("no JSON", ".message.error")):
    answer["body"] = body
    page.reload()
    frame.wait_for_selector(shown)
    if frame.locator("summary").count():
      frame.click("summary")
    assert not _look_everywhere(page, frame, axe_script)
  # Damaged records among good ones, and a server that has stopped since.
  page.unroute("**/contents")
  whole = json.loads(serving.fetch(f"{address}/data/plugin/tbvis/contents"))
  answer["body"] = json.dumps(whole | {"damaged": [_LISTED] * 9, "damaged_count": 9})
  page.route("**/contents", lambda route: route.fulfill(**answer))
  page.reload()
  frame.click(".damaged summary")
  frame.wait_for_selector("tr.unit canvas.flow")
  assert not _look_everywhere(page, frame, axe_script)


# The keyboard.


def _press(page, *keys):
  for key in keys:
    page.keyboard.press(key)


def _tab_to(page, selector, key="Tab"):
  """Presses a key until an element has the focus; of several that are meant, the first that is come to."""
  focused = page.locator(f"{selector}:focus")
  for _ in range(200):
    if focused.count():
      return
    page.keyboard.press(key)
  raise AssertionError(f"{key} never came to {selector}")


_FOCUSED = """() => {
  const e = document.activeElement;
  if (e === document.body) return null;
  const box = e.getBoundingClientRect();
  const style = getComputedStyle(e);
  const inside = [Math.max(box.left, 0) + Math.min(box.right, innerWidth), Math.max(box.top, 0) + Math.min(box.bottom, innerHeight)];
  const top = document.elementFromPoint(inside[0] / 2, inside[1] / 2);
  window.reached ??= new Set();
  const before = window.reached.size;
  window.reached.add(e);
  const name = `${e.tagName}${e.id && '#' + e.id}.${e.className} ${(e.ariaLabel ?? e.textContent).slice(0, 40)}`;
  return {name, again: before === window.reached.size, covered: !(e.contains(top) || top?.contains(e)),
    ring: style.outlineStyle === 'solid' && parseFloat(style.outlineWidth) >= 2 && e.matches(':focus-visible')};
}"""


@pytest.mark.parametrize(
  ("chosen", "width", "ready"),
  [("", 1600, ".most li"), ("", 700, "tr.unit canvas.flow"), (_UNIT, 1600, ".curves svg"), (_PAIR, 700, "tbvis-clip canvas")],
  ids=["wide", "narrow", "unit", "pair"],
)
def test_tab_comes_to_everything_and_is_seen_where_it_is(address, open_tab, chosen, width, ready):
  page, frame = open_tab(address, chosen, width=width)
  frame.wait_for_selector(ready)
  # A player gets its canvases when it has its pictures, and new ones with the large ones: all that Tab is to come to is to be there.
  for player in frame.query_selector_all("tbvis-stimulus.full"):
    player.scroll_into_view_if_needed()
    frame.wait_for_function("(e) => ['ready', 'failed'].includes(e.dataset.state)", arg=player)
  frame.click("#play")
  frame.focus("#play")
  for key in ("Tab", "Shift+Tab"):
    page.evaluate("() => { window.reached = new Set(); }")
    for _ in range(200):
      page.keyboard.press(key)
      found = page.evaluate(_FOCUSED)
      if found is None:
        continue  # Between the last and the first the browser's own parts have their turn.
      if found["again"]:
        break
      assert found["ring"], f"{key}: no ring around {found['name']}"
      assert not found["covered"], f"{key}: something lies over {found['name']}"
    left = page.evaluate(
      "(all) => [...document.querySelectorAll(all)].filter((e) => !e.disabled && e.checkVisibility()"
      " && !window.reached.has(e)).map((e) => e.outerHTML.slice(0, 120))",
      _OPERABLE,
    )
    assert not left, f"{key} never came to these"


def test_the_grid_and_the_toolbar_are_operated_by_keys(address, open_tab):
  page, frame = open_tab(address)
  frame.wait_for_selector("tr.unit canvas.flow")
  _tab_to(page, "#run")
  _press(page, "Home")
  frame.wait_for_function("() => document.querySelectorAll('tr.unit').length === 1")
  assert page.evaluate("document.activeElement.value") == "second", "the focus stays with the choice"
  _press(page, "End")
  frame.wait_for_function("() => document.querySelectorAll('tr.unit').length === 7")
  _tab_to(page, "#filter")
  page.keyboard.type("cello")
  frame.wait_for_function("() => document.querySelectorAll('tr.unit').length === 1")
  _press(page, "Control+a", "Delete")
  frame.wait_for_function("() => document.querySelectorAll('tr.unit').length === 7")
  _tab_to(page, "#size")
  _press(page, "End")
  frame.wait_for_function("() => document.querySelector('tr.unit .tile')?.getBoundingClientRect().width > 200")
  assert page.evaluate("document.activeElement.id") == "size"
  _press(page, "Home")
  _tab_to(page, "#sort")
  page.keyboard.type("Name")
  frame.wait_for_function("() => document.querySelector('#sort').value === 'name'")
  assert "p.tbvis.sort=name" in page.evaluate("location.hash")
  page.keyboard.type("Net")
  _tab_to(page, "#play")
  _press(page, "Space")
  assert text(frame, "#play") == "Play"
  _tab_to(page, "#frame")
  _press(page, "Home", "ArrowRight", "ArrowRight")
  assert text(frame, "output.count") == "3 / 10" and page.evaluate("document.activeElement.ariaValueText") == "3 of 10"
  before = pixels(frame, "tr.unit canvas.flow")
  _press(page, "ArrowRight")
  assert pixels(frame, "tr.unit canvas.flow") != before
  _tab_to(page, "#speed")
  _press(page, "ArrowUp")
  assert frame.evaluate("async () => (await import('./static/clock.js')).clock.speed") == 0.5
  _tab_to(page, "[data-value=wheel]")
  _press(page, "Space")
  frame.wait_for_selector("canvas.flow[data-mode=wheel]")
  _tab_to(page, "#scale")
  _press(page, "ArrowDown")
  assert "p.tbvis.scale=paper" in page.evaluate("location.hash")
  _tab_to(page, "tr.unit button")
  _press(page, "Control+Home")
  _tab_to(page, "tr[data-unit='conv5_fusion/f004'] button", "ArrowDown")
  _tab_to(page, "tr[data-unit='conv5_fusion/f004'] td[data-variant='chi=1'] .cell", "ArrowRight")
  said = page.locator("tr[data-unit='conv5_fusion/f004'] td[data-variant='chi=1']")
  assert said.get_by_role("button", name="conv5_fusion/f004, chi=1: failed, activation became NaN at step 40").count() == 1
  _press(page, "Enter")
  assert text(frame, "tbvis-unit h2") == "conv5_fusion/f004"
  assert page.evaluate("document.activeElement.tagName") == "H2", "the keyboard goes into what opened"
  assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid", "and is seen there"
  assert frame.get_attribute("section.focus", "aria-label") == "conv5_fusion/f004"
  _press(page, "Escape")
  frame.wait_for_selector("tbvis-unit", state="detached")
  back = "() => [document.activeElement.className, document.activeElement.closest('td').dataset.variant]"
  assert page.evaluate(back) == ["cell", "chi=1"], "and back to what opened it"


def test_the_units_page_is_operated_by_keys(address, open_tab):
  page, frame = open_tab(address, f"{_UNIT}&p.tbvis.frame=4")
  frame.wait_for_function("() => document.querySelector('tbvis-stimulus.full')?.flow?.step === 0")
  _tab_to(page, ".zoom [data-value='3']")
  _press(page, "Enter")
  shown = "(e) => Math.round(e.getBoundingClientRect().width * devicePixelRatio)"
  assert frame.eval_on_selector("tbvis-unit canvas.flow", shown) == 3 * 48
  _tab_to(page, "tbvis-unit canvas.flow")
  _press(page, "ArrowLeft", "ArrowUp")
  assert text(frame, "tbvis-unit .reading").startswith("x 23, y 23, frame 4: u ")
  for name, file in (("PNG", "frame4.png"), ("GIF", ".gif"), ("values.npz", ".npz")):
    _tab_to(page, f":text-is('{name}')")
    with page.expect_download() as started:
      page.keyboard.press("Enter")
    assert started.value.suggested_filename.endswith(file)
  _tab_to(page, "tbvis-unit summary")
  _press(page, "Enter")
  frame.wait_for_selector(".config", state="visible")
  _tab_to(page, ":text-is('Next ›')", "Shift+Tab")
  for name in ("BrushingTeeth", "PlayingCello"):
    _press(page, "Enter")
    frame.wait_for_function("(name) => document.querySelector('tbvis-unit h2').textContent === `prediction/${name}`", arg=name)
    assert page.evaluate("document.activeElement.textContent") == "Next ›", "the next one is one key away"
  _tab_to(page, ".close")
  _press(page, "Enter")
  frame.wait_for_selector("tbvis-units tr.unit", state="visible")
  assert page.evaluate("document.activeElement.closest('tbvis-units') !== null")


def test_the_confusions_are_operated_by_keys(address, open_tab):
  page, frame = open_tab(address)
  frame.wait_for_selector(".most li")
  _tab_to(page, ".towers [data-value=motion]")
  _press(page, "Enter")
  frame.wait_for_function("() => document.querySelectorAll('.most li').length > 1")
  _press(page, "Tab", "Enter")
  frame.wait_for_function("() => document.querySelectorAll('.most li').length === 1")
  for selector, keys, expected in (("#cells", ["End"], "count"), ("#order", ["End"], "cluster"), ("#top", ["ArrowDown"], "5")):
    _tab_to(page, selector)
    _press(page, *keys)
    assert page.evaluate("document.activeElement.value") == expected
  _tab_to(page, "#diagonal")
  _press(page, "Space")
  _tab_to(page, "#matrix-csv")
  with page.expect_download() as started:
    page.keyboard.press("Enter")
  assert started.value.suggested_filename == "confusions_evaluation_fused_count_cluster_top5_diagonal.csv"
  _tab_to(page, _MATRIX)
  unmoved = pixels(frame, _MATRIX)
  _press(page, "ArrowDown", "End")
  assert pixels(frame, _MATRIX) != unmoved and "clips" in text(frame, ".tip")
  _press(page, "Tab", "Enter")
  matrix = frame.eval_on_selector("tbvis-matrix", "(m) => m.order.map((i) => m.order.map((j) => String(m.counts[i][j])))")
  rows = "(all) => all.map((row) => [...row.children].slice(1, -1).map((cell) => cell.textContent))"
  frame.wait_for_selector(".matrix-table tbody tr")  # It is filled once it is open, which the browser tells a moment later.
  assert frame.eval_on_selector_all(".matrix-table tbody tr", rows) == matrix, "the table has what the picture has"
  _tab_to(page, "#pairs")
  _press(page, "ArrowDown")
  assert "p.tbvis.pairs=count" in page.evaluate("location.hash")
  _tab_to(page, ".most li button")
  _press(page, "Enter")
  assert text(frame, "tbvis-pair h2") == "PlayingCello taken for PlayingViolin"
  assert page.evaluate("document.activeElement.closest('.most') !== null"), "the list stays where it is"
  _press(page, "Escape")
  frame.wait_for_selector("tbvis-pair", state="detached")


def test_a_pair_on_a_narrow_window_is_operated_by_keys(address, open_tab):
  page, frame = open_tab(address, width=700)
  frame.wait_for_selector("tr.unit canvas.flow")
  _tab_to(page, ".narrow [data-value=confusions]")
  _press(page, "Enter")
  _tab_to(page, ".most li button")
  _press(page, "Enter")
  assert text(frame, "tbvis-pair h2") == "PlayingCello taken for PlayingViolin"
  _tab_to(page, ".reverse")
  _press(page, "Enter")
  frame.wait_for_function("() => document.querySelector('tbvis-pair h2').textContent === 'PlayingViolin taken for PlayingCello'")
  assert page.evaluate("document.activeElement.className") == "plain reverse", "there and back with one key"
  _press(page, "Enter")
  frame.wait_for_selector("ul[data-kind=confused] canvas")
  _tab_to(page, "ul[data-kind=confused]")
  _press(page, "ArrowRight")
  frame.wait_for_function("() => document.querySelector('ul[data-kind=confused]').scrollLeft > 0")
  _tab_to(page, ".versus .name")
  _press(page, "Enter")
  assert text(frame, "tbvis-unit h2") == "prediction/PlayingCello"
  _press(page, "Escape")
  frame.wait_for_selector("tbvis-units tr.unit", state="visible")
