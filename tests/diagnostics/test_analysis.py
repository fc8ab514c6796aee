"""The measures that the paper's findings are told by, on numbers whose answer is known."""

import csv
import io
import json

import numpy as np
import pytest
from scipy import stats

from tbvis.diagnostics.analysis import class_units, failures, invariance, report, responses, similarity, stimuli, trend
from tbvis.records import Confusions


def _texture(seed, size=24):
  return np.random.default_rng(seed).normal(size=(size, size, 3)).astype(np.float32)


def test_pictures_are_alike_up_to_the_shift_that_is_allowed():
  whole = _texture(0, 40)
  first, moved = whole[8:32, 8:32], whole[11:35, 6:30]
  assert similarity.picture_correlation(first, moved, reach=3) == pytest.approx(1, abs=1e-5)
  assert abs(similarity.picture_correlation(first, moved, reach=1)) < 0.2
  assert abs(similarity.picture_correlation(first, _texture(1), reach=2)) < 0.2
  assert similarity.picture_correlation(first, -first) == pytest.approx(-1)
  assert similarity.picture_correlation(first, np.zeros_like(first), reach=1) == 0


def test_directions_agree_where_both_move():
  film = np.zeros((4, 4, 10, 2))
  film[:2, ..., 0] = 1
  turned = np.zeros_like(film)
  turned[:2, ..., 1] = 5
  still_below = film.copy()
  still_below[2:, ..., 0] = -9  # The first film does not move there.
  assert similarity.flow_agreement(film, turned) == 0
  assert similarity.flow_agreement(film, still_below) == 1
  assert similarity.flow_agreement(film, np.zeros_like(film)) == 0
  swinging = film * np.array([1, -1] * 5)[:, None]
  assert similarity.flow_agreement(film, swinging) == 0  # Its mean flow is nothing.


def test_pairs_are_told_by_what_differs():
  unit = {(chi, seed): (chi, seed) for chi in (0.0, 10.0) for seed in (0, 1, 2)}
  seen = {}
  similarity.by_kind(unit, lambda a, b: seen.setdefault((a, b), 0.0))
  counted = similarity.by_kind(unit, lambda a, b: float(a[0] != b[0]) + 2 * float(a[1] != b[1]))
  assert counted == {"chi": 1, "seed": 2, "both": 3} and len(seen) == 15
  assert np.isnan(similarity.by_kind({(0.0, 0): 1, (10.0, 0): 2}, lambda a, b: 1.0)["seed"])


def test_units_are_compared_with_others_at_the_same_chi_from_another_start():
  pairs = []
  units = [{(chi, seed): (name, chi, seed) for chi in (0.0, 10.0) for seed in (0, 1)} for name in "abc"]
  assert similarity.between_units(units, lambda a, b: pairs.append((a, b)) or 0.5) == [0.5] * 3
  assert all(a[0] != b[0] and a[1] == b[1] and a[2] != b[2] for a, b in pairs)
  assert {(a[0], b[0]) for a, b in pairs} == {("a", "b"), ("b", "c"), ("c", "a")}
  assert similarity.between_units(units[:1], lambda a, b: 1.0) == []


def test_rank_correlation_is_that_of_scipy_and_its_p_counts_orders():
  rng = np.random.default_rng(0)
  depth = np.array([3.0, 7, 10, 13, 14, 15, 17])
  values = rng.normal(size=7)
  values[3] = values[1]
  found = trend.trend(depth, values)
  assert found.rho == pytest.approx(stats.spearmanr(depth, values).statistic)
  drawn = [stats.spearmanr(depth, rng.permutation(values)).statistic for _ in range(200)]
  assert found.p == pytest.approx(np.mean(np.abs(drawn) >= abs(found.rho) - 1e-9), abs=0.1)
  rising = trend.trend(np.arange(5), np.arange(5) ** 2)
  assert (rising.rho, rising.p) == (1, pytest.approx(2 / 120))
  many = trend.trend(np.arange(12), -np.arange(12.0))
  assert many.rho == pytest.approx(-1) and many.p == pytest.approx(1e-4)
  for few in ([1.0, 2.0], [1.0, np.nan, 2.0], [1.0, 1.0, 1.0]):
    assert np.isnan(trend.trend(np.arange(len(few)), np.array(few)).p)
  with pytest.raises(ValueError, match="one value a layer"):
    trend.trend(np.arange(3), np.arange(4))


def test_drops_are_of_the_clips_that_excite_a_unit():
  values = np.array([[1.0, -3.0], [4.0, -1.0], [2.0, -2.0]])
  without = np.array([[1.0, 0.0], [3.0, 0.0], [-2.0, 0.0]])
  found = responses.drops(values, without, top=2)
  assert found[0] == pytest.approx((0.25 + 2) / 2) and np.isnan(found[1])


def test_selectivity_is_tested_by_whole_groups():
  rng = np.random.default_rng(0)
  labels = np.repeat(np.arange(4), 24)
  blocks = np.repeat(np.arange(16), 6)  # Four groups a class.
  noise = rng.normal(size=(96, 40)) * 0.3 + 5
  specific = np.where(labels == 2, 9.0, 1.0)[:, None] + rng.normal(size=(96, 1)) * 0.1
  one_group = np.where(blocks == 3, 40.0, 1.0)[:, None]  # One group of clips, whatever its class: no evidence of a class.
  values = np.concatenate([specific, one_group, -np.ones((96, 1)), noise], axis=1)
  found = class_units.of_clips(values, labels, blocks, 4, count=199)
  assert found.best[0] == 2 and found.index[0] == pytest.approx(0.8, abs=0.02)
  assert list(found.kinds[:3]) == ["class-specific", "in between", "silent"] and found.index[1] > 0.7
  assert set(found.kinds[3:]) == {"general"} and np.mean(found.p[3:] <= 0.05) < 0.2
  assert found.entropy[0] < 0.8 < found.entropy[3] and np.isnan(found.entropy[2])
  # Positive on two groups of one class alone: whatever the labels, a class of them has an index near 1, yet two in one class are rare.
  rare = np.where((blocks == 4) | (blocks == 5), 5.0, -3.0)[:, None]
  assert class_units.of_clips(rare, labels, blocks, 4, count=499).p[0] == pytest.approx(3 / 15, abs=0.06)
  without = class_units.of_means(class_units.class_means(values, labels, 4))
  assert without.p is None and without.kinds[1] == "class-specific"  # Without the test it would pass.


def test_a_class_without_clips_takes_no_part():
  means = class_units.class_means(np.array([[4.0], [2.0]]), np.array([0, 2]), 3)
  assert np.isnan(means[1]) and class_units.class_entropy(means)[0] == pytest.approx(
    -(2 / 3 * np.log(2 / 3) + np.log(1 / 3) / 3) / np.log(2)
  )


def test_films_are_brought_to_one_contrast():
  films = np.stack([np.full((2, 2, 20), 8.0), np.full((2, 2, 20), -2.0), np.zeros((2, 2, 20))])
  np.testing.assert_allclose(stimuli.at_equal_contrast(films)[:, 0, 0, 0], [4, -4, 0], rtol=1e-6)
  assert np.isnan(invariance.evenness(np.array([[-1.0, -2.0]]))[0])


def test_tables_are_told_in_full_or_in_part():
  table = report.Table("t", "Units", ("unit", "value"), (("a|b_c", 0.123456789), ("<b>", None), ("f003", float("nan"))))
  rows = list(csv.reader(io.StringIO(table.csv().decode())))
  assert rows == [["unit", "value"], ["a|b_c", "0.123456789"], ["<b>", ""], ["f003", ""]]
  assert "a\\|b\\_c" in table.markdown() and "\\<b\\>" in table.markdown()
  assert "(2 more rows are in t.csv)" in table.text(1) and "0.123" in table.text(1) and "f003" not in table.text(1)
  assert "&lt;b&gt;" in table.html() and "<b>" not in table.html()


def test_the_report_stands_alone(tmp_path):
  table = report.Table("t", "Units", ("unit",), (("<script>alert(1)</script>",),))
  found = report.Finding("fusion", "A & B", "How <it> was made", ("Said <b>so</b>.",), (table,))
  place = report.write_files(tmp_path, "What <x> has learned", [("seed", 0)], [found])
  page = place.read_text()
  assert "<script" not in page and "http" not in page.replace("http://www.w3.org", "") and "Said &lt;b&gt;so" in page
  assert (tmp_path / "t.csv").read_text().startswith("unit\n")


def test_failures_name_their_explanations(tmp_path):
  scores = np.array([[1, 0, 0], [0, 1, 0], [0, 1, 0], [0, 0, 1.0]])
  found = Confusions(["Cello", "Violin", "Flute"], np.array([0, 0, 1, 2]), {"motion": scores, "fused": scores}, list("abcd"), "test", "net")
  place = tmp_path / "evaluation" / "tbvis" / "explanations" / "0000_0001_fused.json"
  place.parent.mkdir(parents=True)
  place.write_text(json.dumps({"version": 1}))
  told = failures.finding(found, tmp_path, "evaluation", top=5)
  rows = {row[0]: row for row in told.tables[0].rows}
  assert rows["fused"][1:6] == ("Cello", "Violin", 1, 2, 0.5) and rows["fused"][-1] == str(place)
  assert rows["motion"][-1] == "none" and "75.0% of 4 clips" in told.said[0] and str(place) in told.said[1]
  assert told.numbers["failures_fused_accuracy"] == 0.75 and "failures" in told.charts
