"""The confusions view in a real Chromium: what is chosen there, what it shows then, and what is computed for it."""

from __future__ import annotations

import csv
import json
import subprocess
import sys

import numpy as np
import pytest

from tb_plugin import explanations
from tbvis import records, summaries
from tbvis.diagnostics import confusions
from tests.browser.looking import cell_colour, cell_place, click_cell, pixels, text, wait_for_change
from tests.tb_plugin import serving, synthetic

pytestmark = [pytest.mark.browser, pytest.mark.slow]

_CELLO, _VIOLIN = (synthetic.CLASSES.index(name) for name in ("PlayingCello", "PlayingViolin"))
_PAIR = "view=pair%3APlayingCello~PlayingViolin"
_MATRIX = "tbvis-matrix canvas"


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory):
  """What the synthetic evaluation holds, read back by the library."""
  folder = tmp_path_factory.mktemp("read")
  synthetic.write_evaluation(folder, thumbnails=False)
  return summaries.read_run(folder, "evaluation").confusions


@pytest.fixture(scope="module")
def counts(open_module):
  """Calls a function of counts.js with JSON arguments."""
  return lambda name, *arguments: open_module("counts", name, arguments)


@pytest.fixture(scope="module")
def open_module(browser, address):
  page = browser.new_page()
  page.goto(f"{address}/data/plugin_entry.html?name=tbvis")
  call = (
    "async ([file, name, given]) => { const found = (await import(`./static/${file}.js`))[name](...given);"
    " return found instanceof Set ? [...found] : found; }"
  )
  yield lambda file, name, arguments: page.evaluate(call, [file, name, list(arguments)])
  page.close()


def _shown(frame, expression):
  """What the matrix element holds."""
  frame.wait_for_selector(_MATRIX)
  return frame.eval_on_selector("tbvis-matrix", f"(m) => {expression}")


def _wait_shown(frame, expression):
  frame.wait_for_function(f"() => {{ const m = document.querySelector('tbvis-matrix'); return m?.order && ({expression}); }}")


def _names(frame):
  return _shown(frame, "m.order.map((i) => m.classes[i])")


def _download(page, selector):
  with page.expect_download() as started:
    page.click(selector)
  with open(started.value.path(), newline="", encoding="utf-8") as stream:
    return started.value.suggested_filename, list(csv.reader(stream))


# What is computed.


def test_orders_by_name_accuracy_and_support_with_ties_by_name(counts):
  classes = ["b", "a", "d", "c"]
  matrix = [[5, 5, 0, 0], [0, 10, 0, 0], [0, 0, 0, 0], [1, 0, 0, 1]]  # d has no clips; b and c are half right.
  order = lambda kind: [classes[i] for i in counts("classOrder", kind, classes, matrix)]  # noqa: E731
  assert order("az") == order("none such") == ["a", "b", "c", "d"]
  assert order("accuracy") == ["b", "c", "a", "d"]
  assert order("support") == ["a", "b", "c", "d"]


def test_clustering_finds_hidden_groups_and_is_the_same_every_time(counts):
  rng = np.random.default_rng(3)
  groups = rng.permutation(np.repeat(np.arange(6), 5))
  same = groups[:, None] == groups[None]
  matrix = np.where(same, rng.integers(1, 6, same.shape), 0)
  np.fill_diagonal(matrix, 40)
  order = counts("clusterOrder", matrix.tolist())
  assert sorted(order) == list(range(30)) and order == counts("clusterOrder", matrix.tolist())
  assert (np.diff(groups[order]) != 0).sum() == 5, "classes of a group stand together"
  assert counts("clusterOrder", np.diag([3] * 8).tolist()) == list(range(8)), "nothing is confused: nothing moves"


def test_clustering_takes_the_most_confused_pair_first_and_turns_groups_to_touch(counts):
  # 0 and 3 most; 1 and 2 next; of the two groups 0 and 2 a little: both are turned.
  matrix = [[10, 0, 1, 9], [0, 10, 6, 0], [0, 6, 10, 0], [9, 0, 0, 10]]
  assert counts("clusterOrder", matrix) == [3, 0, 2, 1]


def test_values_of_cells_and_classes_of_most_confusions(counts):
  matrix = [[8, 2, 0], [0, 0, 0], [0, 6, 4]]
  assert counts("cellValues", matrix, "count") == matrix
  assert counts("cellValues", matrix, "row") == [[0.8, 0.2, 0], [0, 0, 0], [0, 0.6, 0.4]]
  assert counts("cellValues", matrix, "column") == [[1, 0.25, 0], [0, 0, 0], [0, 0.75, 1]]
  assert counts("mostConfusedClasses", matrix, 2) == [1, 2]


def test_pairs_are_those_of_the_library(counts, evaluation):
  for tower in evaluation.scores:
    matrix = evaluation.matrix(tower)
    found = counts("mostConfused", matrix.tolist(), "rate")
    expected = confusions.confused_pairs(matrix, evaluation.classes)
    pairs = [(evaluation.classes[p["row"]], evaluation.classes[p["column"]], p["count"], p["total"]) for p in found]
    assert pairs == [(p.actual, p.predicted, p.rate.count, p.rate.total) for p in expected]
    by_count = [p["count"] for p in counts("mostConfused", matrix.tolist(), "count")]
    assert by_count == sorted(by_count, reverse=True)


def test_csv_survives_names_of_strangers(counts, tmp_path):
  rows = [['say "no"', "a,b", "two\nlines", "plain"], ["=1+1", "@x", 3, -0.5]]
  path = tmp_path / "file.csv"
  path.write_text(counts("csv", rows), newline="")
  with open(path, newline="") as stream:
    assert list(csv.reader(stream)) == [rows[0], ["'=1+1", "'@x", "3", "-0.5"]]


def test_pair_addresses_hold_any_name(open_module):
  for a, b in (("PlayingCello", "PlayingViolin"), ("a~b", "~"), ("100%", "%7E"), ("x & y = z", "<b>")):
    assert open_module("state", "parseView", [open_module("state", "pairView", [a, b])]) == {"kind": "pair", "true": a, "predicted": b}
  broken = "#tbvis&p.tbvis.tower=motion&p.tbvis.view=%E0%A4%A&p.tbvis.constructor=x"
  assert open_module("state", "parseHash", [broken]) == {"tower": "motion", "view": "%E0%A4%A"}


# What is clicked.


def test_cells_show_shares_of_either_class_or_clips_and_the_diagonal_only_when_asked(address, open_tab):
  page, frame = open_tab(address)
  empty, confused = cell_colour(frame, 0, 2), cell_colour(frame, _CELLO, _VIOLIN)
  background = [255, 255, 255]
  assert cell_colour(frame, 0, 0) == background and confused != empty != background
  assert _shown(frame, f"m.values[{_CELLO}][{_VIOLIN}]") == pytest.approx(0.3)
  frame.select_option("#cells", "column")
  _wait_shown(frame, f"Math.abs(m.values[{_CELLO}][{_VIOLIN}] - 3 / 13) < 1e-9")
  before = pixels(frame, _MATRIX)
  frame.select_option("#cells", "count")
  _wait_shown(frame, f"m.values[{_CELLO}][{_VIOLIN}] === 3")
  assert pixels(frame, _MATRIX) != before, "the numbers in the cells are others"
  assert text(frame, ".scale-bar").split() == ["0", "0.75", "3"]
  frame.check("#diagonal")
  _wait_shown(frame, "m.diagonal")
  assert cell_colour(frame, 0, 0) not in (background, empty, confused)
  assert "p.tbvis.cells=count" in page.evaluate("location.hash") and "p.tbvis.diagonal=shown" in page.evaluate("location.hash")


def test_orders_and_towers_change_what_is_drawn(address, open_tab, evaluation):
  _, frame = open_tab(address)
  assert _names(frame) == sorted(synthetic.CLASSES)
  for tower in ("appearance", "hybrid", "motion", "fused"):
    frame.click(f".towers [data-value={tower}]")
    _wait_shown(frame, f"JSON.stringify(m.counts) === '{json.dumps(evaluation.matrix(tower).tolist(), separators=(',', ':'))}'")
    assert frame.get_attribute(f".towers [data-value={tower}]", "aria-pressed") == "true"
    assert frame.locator(".towers [aria-pressed=true]").count() == 1
  before = pixels(frame, _MATRIX)
  frame.select_option("#order", "accuracy")
  wait_for_change(frame, _MATRIX, before)
  assert _names(frame)[0] == "PlayingCello"
  frame.select_option("#order", "cluster")
  _wait_shown(frame, f"Math.abs(m.order.indexOf({_CELLO}) - m.order.indexOf({_VIOLIN})) === 1 && m.order[0] !== 0")


def test_the_most_confused_classes_alone(address, open_tab):
  _, frame = open_tab(address)
  frame.select_option("#top", "5")
  _wait_shown(frame, "m.order.length === 5")
  assert {"PlayingCello", "PlayingViolin"} < set(_names(frame))
  click_cell(frame, _names(frame).index("PlayingCello"), _names(frame).index("PlayingViolin"))
  assert text(frame, "tbvis-pair h2") == "PlayingCello taken for PlayingViolin"


def test_csv_of_the_matrix_as_shown_and_of_all_pairs(address, open_tab, evaluation):
  page, frame = open_tab(address, "tower=motion")
  classes, matrix = evaluation.classes, evaluation.matrix("motion")
  frame.select_option("#cells", "count")
  frame.check("#diagonal")
  name, rows = _download(page, "#matrix-csv")
  assert name == "confusions_evaluation_motion_count_az_diagonal.csv"
  assert rows[0] == ["true \\ predicted", *classes, "clips"] and [row[0] for row in rows[1:]] == list(classes)
  assert np.array([row[1:-1] for row in rows[1:]], int).tolist() == matrix.tolist()
  assert [row[-1] for row in rows[1:]] == ["10"] * 8
  frame.uncheck("#diagonal")
  frame.select_option("#cells", "row")
  frame.select_option("#order", "accuracy")
  frame.select_option("#top", "5")
  name, rows = _download(page, "#matrix-csv")
  assert name == "confusions_evaluation_motion_row_accuracy_top5.csv" and rows[0][1:-1] == _names(frame) and len(rows) == 6
  assert all(rows[i][i] == "" for i in range(1, 6)), "the diagonal is hidden"
  a, b = (classes.index(rows[0][i]) for i in (1, 2))
  assert float(rows[1][2]) == pytest.approx(matrix[a, b] / 10)
  _, rows = _download(page, "#pairs-csv")
  assert rows[0] == ["true", "predicted", "count", "n", "rate"] and len(rows) - 1 == ((matrix > 0).sum() - (np.diag(matrix) > 0).sum())


def test_the_list_says_counts_rates_and_n_and_is_ordered_by_either(address, open_tab, evaluation):
  _, frame = open_tab(address, "tower=motion")
  first = confusions.confused_pairs(evaluation.matrix("motion"), evaluation.classes)[0]
  assert text(frame, ".most li .pair") == f"{first.actual} → {first.predicted}"
  assert text(frame, ".most li .count") == f"{first.rate.count} of {first.rate.total}"
  assert text(frame, ".most li .rate") == f"{100 * first.rate.fraction:.0f} %"
  frame.select_option("#pairs", "count")
  listed = [int(t.split()[0]) for t in frame.locator(".most li .count").all_inner_texts()]
  assert listed == sorted(listed, reverse=True)
  frame.click(".most li:nth-child(2) button")
  frame.wait_for_selector(".most li:nth-child(2) button[aria-current=true]")
  assert frame.evaluate("document.activeElement.closest('li') === document.querySelectorAll('.most li')[1]"), "the focus stays"


_CHOSEN = "&p.tbvis.".join(["tower=motion", "order=cluster", "cells=column", "top=5", "diagonal=shown", "pairs=count", _PAIR])


def _assert_chosen(frame):
  assert text(frame, "tbvis-pair h2") == "PlayingCello taken for PlayingViolin"
  _wait_shown(frame, "m.order.length === 5 && m.diagonal && m.cells === 'column' && m.chosen !== null")
  assert frame.locator(".towers [aria-pressed=true]").get_attribute("data-value") == "motion"
  values = {name: frame.eval_on_selector(f"#{name}", "(e) => e.value") for name in ("order", "cells", "top", "pairs")}
  assert values == {"order": "cluster", "cells": "column", "top": "5", "pairs": "count"}


def test_a_link_survives_reload_and_another_tab(address, open_tab):
  page, frame = open_tab(address, _CHOSEN, hosted=True)
  _assert_chosen(frame)
  linked = sorted(page.evaluate("location.hash.slice(1).split('&')"))
  page.evaluate("location.hash = '#scalars'")
  frame.wait_for_function("() => innerHeight === 0")
  page.evaluate("location.hash = '#tbvis'")
  page.wait_for_function("(linked) => location.hash.slice(1).split('&').sort().join() === linked.join()", arg=linked)
  _assert_chosen(frame)
  page.reload()
  page.wait_for_function("() => [...document.querySelectorAll('iframe')].some((f) => f.contentDocument?.querySelector('tbvis-pair'))")
  (frame,) = (f for f in page.frames if "plugin_entry" in f.url)
  _assert_chosen(frame)


def test_a_link_that_asks_for_what_there_is_not_shows_what_there_is(address, open_tab):
  _, frame = open_tab(address, "tower=none&p.tbvis.order=none&p.tbvis.top=7&p.tbvis.cells=none&p.tbvis.view=pair%3Anobody~PlayingCello")
  _wait_shown(frame, "m.order.length === 8 && m.cells === 'row' && m.chosen === null")
  assert frame.locator(".towers [aria-pressed=true]").get_attribute("data-value") == "fused"
  assert "These confusions have no class nobody" in text(frame, "tbvis-pair .clips .message")


def test_the_keyboard_moves_over_the_matrix_and_opens_a_pair(address, open_tab):
  page, frame = open_tab(address)
  frame.wait_for_selector(".most li")
  unfocused = pixels(frame, _MATRIX)
  frame.focus(_MATRIX)
  first = pixels(frame, _MATRIX)
  assert first != unfocused, "the focus is seen"
  page.keyboard.press("ArrowDown")
  assert pixels(frame, _MATRIX) not in (first, unfocused)
  assert text(frame, ".tip").startswith("ApplyLipstick taken for ApplyEyeMakeup: 0 of 10 clips (0.0 %)")
  for key in ("End", "ArrowRight"):
    page.keyboard.press(key)
  assert text(frame, ".tip").startswith("ApplyLipstick taken for ShavingBeard")
  page.keyboard.press("Home")
  for _ in range(_CELLO - 1):
    page.keyboard.press("ArrowDown")
  for _ in range(_VIOLIN):
    page.keyboard.press("ArrowRight")
  assert "3 of 10 clips (30.0 %)" in text(frame, ".tip b") and "23.1 % of the 13 clips called PlayingViolin" in text(frame, ".tip span")
  page.keyboard.press("Enter")
  assert text(frame, "tbvis-pair h2") == "PlayingCello taken for PlayingViolin"
  page.keyboard.press("ArrowLeft")
  assert text(frame, ".tip").startswith("PlayingCello taken for PlayingTabla"), "the keyboard stays in the matrix"
  frame.focus("#order")
  page.keyboard.press("ArrowDown")
  frame.wait_for_function("() => document.activeElement.id === 'order' && document.activeElement.value === 'accuracy'")


def test_everything_has_a_role_and_a_name(address, open_tab):
  _, frame = open_tab(address)
  frame.wait_for_selector(".most li")
  view = frame.locator("tbvis-confusions")
  for role, name in (
    ("group", "Tower"), ("combobox", "Cells"), ("combobox", "Order"), ("combobox", "Classes"), ("checkbox", "Diagonal"),
    ("button", "Matrix CSV"), ("button", "Pairs CSV"), ("application", "Confusion matrix"), ("region", "Most confused pairs"),
  ):  # fmt: skip
    assert view.get_by_role(role, name=name).count() == 1, (role, name)


def test_the_mouse_gets_names_and_numbers_of_a_cell(address, open_tab):
  _, frame = open_tab(address)
  frame.wait_for_selector(".most li")
  before = pixels(frame, _MATRIX)
  frame.hover(_MATRIX, position=cell_place(frame, _CELLO, _VIOLIN))
  assert text(frame, ".tip b") == "PlayingCello taken for PlayingViolin: 3 of 10 clips (30.0 %)"
  assert pixels(frame, _MATRIX) != before, "lines lead to the names"
  frame.hover(_MATRIX, position=cell_place(frame, _CELLO, _CELLO))
  frame.wait_for_function("() => document.querySelector('.tip b').textContent === 'PlayingCello recognised: 7 of 10 clips (70.0 %)'")
  frame.hover("h2")
  frame.wait_for_selector(".tip", state="hidden")


def test_a_pair_shows_its_part_of_the_grid_and_what_each_tower_made_of_each_clip(address, open_tab, evaluation):
  _, frame = open_tab(address)
  click_cell(frame, _CELLO, _VIOLIN)
  frame.wait_for_selector("tbvis-pair tr.unit")
  rows = frame.eval_on_selector_all("tr.unit", "(all) => all.filter((e) => e.offsetParent).map((e) => e.dataset.unit)")
  assert rows == ["prediction/PlayingCello", "prediction/PlayingViolin"], "the grid has this pair alone"
  large = "tbvis-pair table.versus tr[data-variant='chi=5'] td"
  assert frame.eval_on_selector_all(large, "(all) => all.map((e) => e.dataset.class)") == ["PlayingCello", "PlayingViolin"]
  frame.wait_for_selector("ul[data-kind=confused] li")
  scores = evaluation.scores
  for name, shown in frame.eval_on_selector_all(
    "ul[data-kind=confused] li",
    "(all) => all.map((e) => [e.querySelector('.clip-name').textContent,"
    " [...e.querySelectorAll('tbody tr')].map((r) => [r.dataset.tower, ...[...r.children].slice(1).map((c) => c.textContent)])])",
  ):
    clip = evaluation.clips.index(name)
    expected = []
    for tower in records.TOWERS:
      powers = np.exp(scores[tower][clip] - scores[tower][clip].max())
      expected.append([tower, *(f"{100 * powers[i] / powers.sum():.0f} %" for i in (_CELLO, _VIOLIN))])
    assert shown == expected
  frame.click(".reverse")
  frame.wait_for_function("() => document.querySelector('tbvis-pair h2').textContent === 'PlayingViolin taken for PlayingCello'")
  _wait_shown(frame, f"m.chosen[0] === {_VIOLIN} && m.chosen[1] === {_CELLO}")
  rows = frame.eval_on_selector_all("tbvis-pair tr.unit", "(all) => all.map((e) => e.dataset.unit)")
  assert rows == ["prediction/PlayingViolin", "prediction/PlayingCello"]


def test_dark_mode_repaints_the_matrix(address, open_tab):
  page, frame = open_tab(address, hosted=True)
  light = [cell_colour(frame, *place) for place in ((0, 0), (0, 2), (_CELLO, _VIOLIN))]
  before = pixels(frame, _MATRIX)
  page.evaluate("document.body.classList.add('dark-mode')")
  wait_for_change(frame, _MATRIX, before)
  dark = [cell_colour(frame, *place) for place in ((0, 0), (0, 2), (_CELLO, _VIOLIN))]
  assert all(a != b for a, b in zip(light, dark, strict=True)) and dark[0] == [48, 48, 48]


def test_narrow_windows_show_the_pair_in_place_of_the_matrix(address, open_tab):
  _, frame = open_tab(address, "pane=confusions", width=700)
  assert not frame.is_visible(".left")
  frame.click(".most li button")
  frame.wait_for_selector("tbvis-pair h2")
  assert not frame.is_visible("tbvis-confusions")
  frame.click(".narrow [data-value=confusions]")
  frame.click(".most li button")
  frame.wait_for_selector("tbvis-pair h2")
  frame.click(".close")
  frame.wait_for_selector("tbvis-units tr.unit")


def test_an_explanation_is_shown_where_there_is_one_and_nothing_where_there_is_none(open_tab, tmp_path):
  logdir = synthetic.write_logdir(tmp_path / "logdir", size=32)
  folder = logdir / "evaluation" / "tbvis" / explanations.FOLDER
  folder.mkdir()
  content = {
    "version": 1,
    "true": "PlayingCello",
    "predicted": "PlayingViolin",
    "tower": "fused",
    "summary": "A bow moves <b>sideways</b> in both.",
    "evidence": [
      {"title": "Shared", "values": [{"label": "f021", "value": 0.4213, "unit": "of the score"}], "units": ["conv5_fusion/f021", "x/y"]}
    ],
    "source": "tbvis-explain --pair",
  }
  name = explanations.file_name(_CELLO, _VIOLIN, "fused")
  with serving.tensorboard(logdir, tmp_path, "--load_fast=true") as served:
    page, frame = open_tab(served, _PAIR)
    frame.wait_for_selector("ul[data-kind=confused] li")
    assert not frame.is_visible(".evidence")
    (folder / name).write_text(json.dumps(content))
    page.reload()
    shown = text(frame, ".evidence")
    for part in ("Why PlayingCello is taken for PlayingViolin", content["summary"], "Shared", "0.421 of the score"):
      assert part in shown
    assert frame.is_disabled(".evidence .units button:nth-child(2)")
    frame.click(".evidence .units button")
    assert text(frame, "tbvis-unit h2") == "conv5_fusion/f021"
    (folder / name).write_text("{")
    frame.evaluate("async (pair) => (await import('./static/state.js')).state.set({view: pair})", "pair:PlayingCello~PlayingViolin")
    assert f"It could not be shown. {name}: Expected JSON" in text(frame, ".evidence")
    # Before the server stops: a page goes on asking it.
    page.close()


def test_class_names_of_strangers_are_text(open_tab, tmp_path):
  classes = ["<img src=x onerror=alert(1)>", "a~b & c=d", "100% 'quoted' \"twice\""]
  scores = np.array([[1, 2, 0], [0, 3, 1], [2, 0, 1.0]])
  summaries.write_confusions(
    tmp_path / "logdir", "run", classes=classes, labels=[0, 1, 2], clips=["<i>0", "1", "2"], scores={"fused": scores}
  )
  with serving.tensorboard(tmp_path / "logdir", tmp_path, "--load_fast=true") as served:
    page, frame = open_tab(served)
    frame.click(".most li button >> nth=0")
    shown = text(frame, "tbvis-pair h2")
    assert shown.split(" taken for ")[0] in classes and shown.split(" taken for ")[1] in classes
    frame.wait_for_selector("ul[data-kind=confused] li")
    page.reload()
    assert text(frame, "tbvis-pair h2") == shown and frame.locator("img").count() == 0
    page.close()


# Many classes.


@pytest.fixture(scope="module")
def published(real_data, tmp_path_factory):
  """The published scores of two networks for 3783 clips and 101 classes, imported and served."""
  folder = tmp_path_factory.mktemp("published")
  files = ",".join(str(real_data / "ucf101_scores" / name) for name in ("spatial_quality100_split01.mat", "temporal_tvl1_split01.mat"))
  command = [sys.executable, "-m", "tbvis.scripts.evaluate", f"--predictions={files}", "--prediction_weights=1,1.5", "--normalise"]
  subprocess.run([*command, "--dataset=ucf101", "--split=1", f"--logdir={folder / 'logdir'}"], check=True, capture_output=True)
  with serving.tensorboard(folder / "logdir", folder, "--load_fast=true") as served:
    yield served


@pytest.mark.real
def test_published_scores_of_two_networks_fill_the_matrix(open_tab, published):
  _, frame = open_tab(published, _PAIR)
  assert text(frame, ".counted") == "Fused scores: 4 of 44 clips (9.1 %)"
  towers = [shown.split() for shown in frame.locator(".towers button").all_inner_texts()]
  assert [(name, rate) for name, rate, *_ in towers] == [("Appearance", "81.0"), ("Motion", "85.8"), ("Fused", "91.3")]
  assert "1 appearance + 1.5 motion" in frame.get_attribute(".towers [data-value=fused]", "title")
  assert text(frame, ".most li .pair") == "BrushingTeeth → ShavingBeard" and text(frame, ".most li .count") == "13 of 36"
  assert "3783 clips · 101 classes" in text(frame, ".source")
  frame.wait_for_selector("ul[data-kind=confused] li")
  assert frame.locator("ul[data-kind=confused] li").count() == 4 and frame.locator("tbvis-clip").count() == 0, "there are no pictures"


@pytest.mark.real
def test_clustering_brings_classes_of_published_confusions_together(open_tab, published, counts):
  _, frame = open_tab(published, "order=cluster")
  matrix, order, names = _shown(frame, "m.counts"), _shown(frame, "m.order"), _names(frame)
  alike = np.array(counts("confusability", matrix))
  together = lambda order: float(sum(alike[a, b] for a, b in zip(order, order[1:], strict=False)))  # noqa: E731
  others = [together(counts("classOrder", kind, names, matrix)) for kind in ("az", "accuracy", "support")]
  assert sorted(order) == list(range(101)) and together(order) > 2 * max(others)
  assert abs(names.index("BrushingTeeth") - names.index("ShavingBeard")) == 1


@pytest.mark.real
def test_a_hundred_classes_are_pointed_at_narrowed_and_saved(open_tab, published):
  page, frame = open_tab(published)
  frame.wait_for_selector(".most li")
  names = _names(frame)
  row, column = names.index("BrushingTeeth"), names.index("ShavingBeard")
  frame.hover(_MATRIX, position=cell_place(frame, row, column))
  assert text(frame, ".tip b") == "BrushingTeeth taken for ShavingBeard: 13 of 36 clips (36.1 %)"
  assert frame.locator(".most li").count() == 15
  frame.click(".most .more")
  frame.wait_for_function("() => document.querySelectorAll('.most li').length === 135")
  assert frame.evaluate("document.activeElement.className") == "plain more"
  name, rows = _download(page, "#matrix-csv")
  assert len(rows) == 102 and all(len(line) == 103 for line in rows) and sum(int(line[-1]) for line in rows[1:]) == 3783
  assert float(rows[1 + row][1 + column]) == pytest.approx(13 / 36, abs=1e-6)
  frame.select_option("#top", "20")
  _wait_shown(frame, "m.order.length === 20")
  assert {"BrushingTeeth", "ShavingBeard"} < set(_names(frame))
  names = _names(frame)
  click_cell(frame, names.index("BrushingTeeth"), names.index("ShavingBeard"))
  assert text(frame, "tbvis-pair h2") == "BrushingTeeth taken for ShavingBeard"
  assert "no stimulus of prediction/BrushingTeeth or prediction/ShavingBeard" in text(frame, "tbvis-pair .message")
