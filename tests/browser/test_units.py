"""The grid of units in a real Chromium: rows of many units, filter, order, size, cells that are missing, and a sweep that goes on."""

from __future__ import annotations

import dataclasses
import json

import pytest

from tbvis import summaries
from tests.browser.looking import text as _text
from tests.tb_plugin import serving, synthetic

pytestmark = [pytest.mark.browser, pytest.mark.slow]

LAYERS = (("conv1", 150), ("conv2", 300))
UNITS = sum(units for _, units in LAYERS)
# By name of a class unit, its mean responses: the index of the second is the largest, of the last it is not defined.
MEANS = {"PlayingCello": [4.0, 1.0], "PlayingViolin": [9.0, 0.5], "BrushingTeeth": [-1.0, -2.0]}
# Places of all rows that are there, against what the page reckons with.
_MISPLACED = """() => { const grid = document.querySelector('tbvis-units'); const head = grid.querySelector('thead').offsetHeight;
  return [...grid.querySelectorAll('tbody tr:not(.gap)')].filter((row) => { const item = grid.items[row.getAttribute('aria-rowindex') - 2];
    return Math.abs(row.getBoundingClientRect().top - grid.querySelector('table').getBoundingClientRect().top - head - item.top) > 0.5
      || Math.abs(row.offsetHeight - item.height) > 0.5 || head !== 48; }).map((row) => row.textContent); }"""
# The unit of the row that has the focus, and the variant of the cell.
_FOCUSED = "((e) => [e.closest('tr')?.dataset.unit, e.closest('td')?.dataset.variant].filter(Boolean).join(' '))(document.activeElement)"
_NAMES = "(all) => all.map((e) => e.dataset.unit)"


@pytest.fixture(scope="module")
def logdir(tmp_path_factory):
  logdir = tmp_path_factory.mktemp("units") / "logdir"
  synthetic.write_many(logdir, LAYERS, chis=(10.0, 2.0), run="many")
  synthetic.write_many(logdir, (("conv1", 3),), kappas=(1.0, 0.5), chis=(10.0, 2.0), seeds=(0, 1), run="varied")
  with summaries.StimulusWriter(logdir, "known") as writer:
    base = synthetic.record(size=24)
    for channel, name in enumerate(MEANS):
      unit = {"unit": f"prediction/{name}", "layer": "prediction", "channel": channel, "class_name": name}
      for chi in (0.0, 5.0):
        # Of the last unit at chi 5 no activation is known.
        activation = {"PlayingCello": 8 - chi, "PlayingViolin": 4 + chi, "BrushingTeeth": float("nan")}[name]
        history = {"activation": base.history["activation"] * 0 + activation}
        writer.write(dataclasses.replace(base, **unit, chi=chi, history=history, activation=activation))
    writer.add_statistics(
      {f"prediction/{name}": {"a_hat": 2.0, "class_means": dict(zip(MEANS, means, strict=False))} for name, means in MEANS.items()}
    )
  synthetic.write_evaluation(logdir, thumbnails=False)
  return logdir


@pytest.fixture(scope="module")
def address(logdir, tmp_path_factory):
  with serving.tensorboard(logdir, tmp_path_factory.mktemp("served"), "--load_fast=true") as served:
    yield served


@pytest.fixture
def grid(address, open_tab):
  """Opens the grid at a choice: (page)."""

  def open_at(chosen="run=many", **window):
    page, _ = open_tab(address, chosen, **window)
    page.wait_for_selector("tr.unit canvas")
    return page

  return open_at


def _units(page):
  """Names of the units whose rows are there."""
  return page.eval_on_selector_all("tr.unit", _NAMES)


def _top(page, selector):
  return page.eval_on_selector(selector, "(e) => e.getBoundingClientRect().top")


def test_columns_say_what_varies_and_heads_stay(grid):
  page = grid("run=varied", width=900)
  heads = page.eval_on_selector_all("thead th[data-variant]", "(all) => all.map((e) => e.innerText.replace('\\n', ', '))")
  assert heads == [f"χ = {chi}, κ = {kappa}, seed {seed}" for kappa in (0.5, 1) for chi in (2, 10) for seed in (0, 1)]
  page.eval_on_selector("tbvis-units", "(e) => { e.scrollLeft = 300; }")
  left = "(e) => e.getBoundingClientRect().left"
  assert page.eval_on_selector("tr.unit th", left) == page.eval_on_selector("tbvis-units", left)
  page.select_option("#run", "many")
  page.wait_for_selector("tr[data-unit='conv1/f009']")
  assert page.eval_on_selector_all("thead th[data-variant]", "(all) => all.map((e) => e.innerText)") == ["χ = 2", "χ = 10"]
  page.eval_on_selector("tbvis-units", "(e) => { e.scrollTop = 94 * 200; }")
  page.wait_for_selector("tr[data-unit='conv2/f052']")
  top = _top(page, "tbvis-units")
  assert _top(page, "thead th") == top and _top(page, "tr.layer th") == top + 48
  assert _text(page, "tr.layer span") == "conv2300 units"


def test_many_units_are_few_rows_which_the_keyboard_and_links_reach(grid, address):
  page = grid()
  assert page.get_attribute("table.grid", "aria-rowcount") == str(1 + len(LAYERS) + UNITS)
  for top in (0, 4321, 10**9, 94 * 150, 7):
    page.eval_on_selector("tbvis-units", "(e, top) => { e.scrollTop = top; }", top)
    page.wait_for_function("() => { const u = document.querySelector('tbvis-units'); return u.at.scrollTop === u.scrollTop && !u.pending }")
    assert 8 <= len(_units(page)) <= 20 and page.evaluate(_MISPLACED) == []
  # What was near but never in sight was not asked for.
  assert page.eval_on_selector_all("tbvis-stimulus[data-state=idle]", "(all) => all.length") > 0

  page.focus("tr[data-unit='conv1/f002'] .name")
  for key in ("ArrowRight", "ArrowDown", "End", "ArrowLeft"):
    page.keyboard.press(key)
  focused = f"() => {_FOCUSED}"
  assert page.evaluate(focused) == "conv1/f003 chi=2"
  page.eval_on_selector("tbvis-units", "(e) => { e.scrollTop = 20000; }")
  page.wait_for_selector("tr[data-unit='conv2/f070']")
  assert page.evaluate(focused) == "conv1/f003 chi=2", "the focus stays in a row that is out of sight"
  page.keyboard.press("PageDown")
  heads = page.eval_on_selector("tr.layer", "(e) => e.getBoundingClientRect().bottom")
  assert page.evaluate("() => document.activeElement.getBoundingClientRect().top") >= heads
  page.keyboard.press("Control+End")
  assert page.evaluate(focused) == "conv2/f300 chi=10" and page.evaluate(_MISPLACED) == []
  assert page.eval_on_selector_all("table.grid [tabindex='0']", "(all) => all.length") == 1

  # Into a unit's page and back to where it stands; these stimuli have no files of full size, which is not what is looked at.
  page.route("**/media*", lambda route: route.fulfill(body=b""))
  page.keyboard.press("Enter")
  assert _text(page, "tbvis-unit h2") == "conv2/f300"
  page.keyboard.press("Escape")
  page.wait_for_function(f"() => ({focused})() === 'conv2/f300 chi=10'")
  page.goto("about:blank")
  page.goto(f"{address}/data/plugin_entry.html?name=tbvis#tbvis&p.tbvis.run=many&p.tbvis.view=unit%3Aconv2%2Ff123")
  page.click("tbvis-unit .close")
  page.wait_for_function(f"() => ({focused})() === 'conv2/f123'")
  assert page.is_visible("tr[data-unit='conv2/f123']") and page.evaluate(_MISPLACED) == []


def test_the_filter_takes_words_and_expressions_for_units_and_classes(grid, address, open_tab):
  page = grid()

  def shown(filter_text, count):
    page.fill("#filter", filter_text)
    page.wait_for_function("(n) => document.querySelector('.corner').textContent.startsWith(`${n} of`)", arg=str(count))
    return _units(page)

  assert shown("F299", 1) == ["conv2/f299"] and shown("conv1 f01", 10)[0] == "conv1/f010"
  assert shown("^conv[2].*f00[37]$", 2) == ["conv2/f003", "conv2/f007"]
  # The grid stays as it is while an expression is typed.
  shown("conv2 f0", 99)
  page.eval_on_selector("tbvis-units", "(e) => { e.scrollTop = 500; }")
  page.fill("#filter", "conv2 f0(")
  assert _text(page, ".problem") and page.eval_on_selector("tbvis-units", "(e) => e.scrollTop") == 500
  shown("^conv[2].*f00[37]$", 2)
  page.fill("#filter", "^conv[2].*f00[37]$(")
  assert _text(page, ".problem").startswith("Not a regular expression: unterminated group")
  assert page.get_attribute("#filter", "aria-invalid") == "true" and _units(page) == ["conv2/f003", "conv2/f007"]
  assert "filter=%5Econv%5B2%5D.*f00%5B37%5D%24(" in page.evaluate("location.hash")
  page.fill("#filter", "")
  page.wait_for_function("() => document.querySelector('.problem').textContent === ''")
  page, _ = open_tab(address, "run=many&p.tbvis.filter=f%5B")
  assert "Not a regular expression" in _text(page, ".problem")
  page.wait_for_selector("tr[data-unit='conv1/f001']")
  page, _ = open_tab(address, "run=known&p.tbvis.filter=cello%7Cteeth")
  page.wait_for_selector("tr.unit")
  assert _units(page) == ["prediction/PlayingCello", "prediction/BrushingTeeth"] and page.input_value("#filter") == "cello|teeth"


def test_units_are_ordered_within_and_across_layers(grid):
  page = grid()

  def first():
    return page.eval_on_selector("tr.unit .measure", "(e) => [e.closest('tr').dataset.unit, e.textContent]")

  assert page.is_disabled("#sort option[value=selectivity]")
  assert page.text_content("#sort option[value=selectivity]") == "selectivity (no statistics of units in this run)"
  page.select_option("#sort", "activation")
  page.wait_for_function("() => document.querySelector('.measure').textContent !== ''")
  assert first() == ["conv1/f150", "150, χ = 10"] and "sorted by activation itself" in _text(page, ".note-line")
  page.select_option("#at", "chi=2")
  page.wait_for_function("() => document.querySelector('.measure').textContent === '75, χ = 2'")
  page.check("#across")
  page.wait_for_function("() => document.querySelector('tr.unit').dataset.unit === 'conv2/f300'")
  assert not page.locator("tr.layer").count() and "conv2" in _text(page, "tr.unit th") and page.evaluate(_MISPLACED) == []
  assert "sort=activation&p.tbvis.at=chi%3D2&p.tbvis.across=yes" in page.evaluate("location.hash")
  page.select_option("#sort", "name")
  page.wait_for_function("() => document.querySelector('tr.unit').dataset.unit === 'conv1/f001'")
  assert _units(page)[:4] == ["conv1/f001", "conv2/f001", "conv1/f002", "conv2/f002"]
  page.focus("tr[data-unit='conv2/f002'] .name")
  page.evaluate("async () => (await import('./static/state.js')).state.set({sort: 'activation', at: 'no such'})")
  page.wait_for_function("() => document.querySelector('tr.unit').dataset.unit === 'conv2/f300'")
  assert page.evaluate(f"() => {_FOCUSED}") == "conv2/f002" and page.evaluate(_MISPLACED) == []
  assert page.input_value("#at") == ""

  page = grid("run=known&p.tbvis.sort=selectivity")
  page.wait_for_function("() => document.querySelector('.measure').textContent !== ''")
  # (9 - 0.5) / (9 + 0.5) and (4 - 1) / (4 + 1); negative means have no index.
  measures = page.eval_on_selector_all(".measure", "(all) => all.map((e) => e.textContent)")
  assert measures == ["0.89 PlayingCello", "0.6 PlayingCello", "no selectivity known"]
  assert _units(page) == [f"prediction/{name}" for name in ("PlayingViolin", "PlayingCello", "BrushingTeeth")]
  page.select_option("#sort", "activation")
  page.wait_for_function("() => document.querySelector('.measure').textContent === '4.5 â, χ = 5'")
  assert page.eval_on_selector_all(".measure", "(all) => all.map((e) => e.textContent)")[1:] == ["4 â, χ = 0", "no activation known"]


def test_the_size_of_pictures_is_set_in_pixels(grid):
  page = grid("run=many&p.tbvis.size=s")
  width = "(e) => e.getBoundingClientRect().width"
  assert page.eval_on_selector("tr.unit canvas.tile", width) == 56 and _text(page, ".pixels") == "56 px"
  page.eval_on_selector("tbvis-units", "(e) => { e.scrollTop = 70 * 100 + 32; }")
  page.wait_for_selector("tr[data-unit='conv1/f101']")
  before = _top(page, "tr[data-unit='conv1/f101']")
  page.focus("#size")
  page.keyboard.press("End")
  page.wait_for_selector("tr[data-unit='conv1/f101'] canvas.tile")
  assert page.eval_on_selector("tr.unit canvas.tile", width) == 224 and "size=224" in page.evaluate("location.hash")
  assert _top(page, "tr[data-unit='conv1/f101']") == before and page.evaluate(_MISPLACED) == []
  page.keyboard.press("Home")
  page.wait_for_function("() => document.querySelector('.pixels').textContent === '48 px'")
  page.wait_for_function(f"() => ({_MISPLACED})().length === 0")
  assert "size=48" in page.evaluate("location.hash")


def test_cells_without_a_stimulus_say_why(address, open_tab):
  """What is planned comes with the list of a run; here it is put there, so that each state is seen."""
  page, _ = open_tab(address)

  def plan(unit, chi, state, step=0, **others):
    named = {"unit": unit, "layer": unit.split("/")[0], "layer_index": 7, "channel": 0, "class_name": None, **others}
    variant = {"kappa": 1.0, "chi": chi, "isotropic": False, "seed": 0, "variant": f"chi={chi}"}
    return named | variant | {"state": state, "step": step, "steps": 200}

  planned = [
    plan("prediction/PlayingCello", 10, "running", 120),
    plan("prediction/PlayingViolin", 10, "planned"),
    # Finished meanwhile, and of a unit that has nothing yet.
    plan("prediction/PlayingViolin", 5, "running", 9),
    plan("conv1/f002", 0, "planned", layer_index=0),
    plan("conv1/f002", 5, "interrupted", 40, layer_index=0),
    plan("conv1/f002", 10, "interrupted", layer_index=0),
  ]

  def with_plan(route):
    contents = json.loads(serving.fetch(f"{address}/data/plugin/tbvis/contents"))
    for run in contents["runs"]:
      if run["name"] == "known":
        run["planned"] = planned
    route.fulfill(json=contents)

  page.route("**/contents*", with_plan)
  page.goto("about:blank")
  page.goto(f"{address}/data/plugin_entry.html?name=tbvis#tbvis&p.tbvis.run=known")
  page.wait_for_selector("tr.unit canvas")

  def said(unit, chi):
    return _text(page, f"tr[data-unit='{unit}'] td[data-variant='chi={chi}'] .note")

  assert _units(page)[0] == "conv1/f002" and said("conv1/f002", 0) == "planned"
  assert said("conv1/f002", 5) == "interrupted at step 40 of 200" and said("conv1/f002", 10) == "not run: interrupted"
  assert said("prediction/PlayingCello", 10) == "step 120 of 200" and said("prediction/PlayingViolin", 10) == "planned"
  page.wait_for_selector("tr[data-unit='prediction/PlayingViolin'] td[data-variant='chi=5'] canvas.flow")
  assert said("prediction/BrushingTeeth", 10) in ("still loading", "not run")
  page.focus("tr[data-unit='prediction/BrushingTeeth'] td[data-variant='chi=10'] .note")
  planned[0]["step"] = 160
  page.wait_for_selector("tr[data-unit='prediction/PlayingCello'] .note:text-is('step 160 of 200')")
  page.wait_for_selector("tr[data-unit='prediction/BrushingTeeth'] .note:text-is('not run')")
  assert page.evaluate("() => document.activeElement.textContent") == "not run"


def test_a_sweep_that_goes_on_fills_the_grid_without_losing_the_place(logdir, address, open_tab):
  run = "sweep"

  def write(channels, chis, layer="conv1", index=0):
    with summaries.StimulusWriter(logdir, run, stock_gifs=0) as writer:
      for channel in channels:
        for chi in chis:
          writer.write(synthetic.record((f"{layer}/f{channel + 1:03d}", index, channel, None), chi=chi, size=24))

  write(range(20, 45), (1.0,))
  page, _ = open_tab(address, f"run={run}")
  # The run may come with a later look at the logdir.
  page.wait_for_selector("tr[data-unit='conv1/f021'] canvas")
  page.wait_for_function("() => document.querySelector('.corner').textContent.startsWith('25 units')")
  page.evaluate("() => { window.same = document.querySelector('tbvis-units'); same.scrollTop = 900; }")
  page.focus("tr[data-unit='conv1/f034'] button.cell")
  page.evaluate("() => { window.player = document.activeElement.firstChild; }")
  before = _top(page, "tr[data-unit='conv1/f034']")
  # Units that come before all others, and another chi of the one in view.
  write(range(3), (1.0,))
  write((33,), (0.0,))
  page.wait_for_selector("tr[data-unit='conv1/f034'] td[data-variant='chi=0'] canvas.flow")
  page.wait_for_function("() => document.querySelector('.corner').textContent.startsWith('28 units')")
  assert page.evaluate(f"() => {_FOCUSED}") == "conv1/f034 chi=1"
  assert page.evaluate("() => window.same.isConnected && window.player.isConnected && window.player.flow !== null")
  assert _top(page, "tr[data-unit='conv1/f034']") == before and page.evaluate(_MISPLACED) == []
  assert page.eval_on_selector("tbvis-units", "(e) => e.scrollTop") == 900 + 3 * 94
  page.eval_on_selector("tbvis-units", "(e) => { e.scrollTop = 0; }")
  page.wait_for_selector("tr[data-unit='conv1/f002'] canvas.flow")
