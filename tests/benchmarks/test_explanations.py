"""benchmarks/explanations.py: what is reversed, what counts as named, and the table."""

from __future__ import annotations

from absl import flags
import cv2
import numpy as np
import pytest

from benchmarks import explanations, planted
from tbvis.datasets.stage import film
from tbvis.datasets.stage.factors import FACTORS
from tbvis.datasets.stage.script import load_script, parse_script
from tbvis.diagnostics import probes
from tbvis.errors import UsageError
from tbvis.resources import data_path

NEW = data_path("stage", "script.json").parents[2] / "benchmarks" / "new_causes.json"


def test_every_accepted_name_is_that_of_a_probe_and_every_key_that_of_a_factor():
  names = {probe.name for probe in probes.PROBES} | {planted.REGION}
  assert set(planted.NAMED_BY) <= set(FACTORS)
  assert {name for accepted in planted.NAMED_BY.values() for name in accepted} <= names
  region = probes.RegionMotion(np.ones((4, 4), bool), "where Brushing's stimuli move")
  assert region.name.startswith(planted.REGION)


@pytest.mark.parametrize(("script", "least"), [(None, 20), (NEW, 5)])
def test_causes_are_tried_on_twins_that_differ_in_them(script, least):
  script = load_script(script)
  plants, left = planted.find_plants(script)
  assert len(plants) >= least and len({p.slug for p in plants}) == len(plants)
  for plant in plants:
    factor = plant.cause.factor
    changed = parse_script(planted.reversed_script(script, plant), "changed")
    assert script.distribution(plant.first, factor) != script.distribution(plant.second, factor)
    for name in script.classes:
      same = changed.digest(name) == script.digest(name)
      assert same == (name != plant.first), f"{plant.slug}: {name}"
    assert changed.distribution(plant.first, factor) == script.distribution(plant.second, factor)
  assert not {c.name for c in left} & {p.cause.name for p in plants}


def test_new_causes_are_new():
  known = {cause.factor for cause in load_script().causes}
  plants, _ = planted.find_plants(load_script(NEW))
  assert len(plants) == 5 and not {plant.cause.factor for plant in plants} & known


def test_a_cause_that_there_is_not():
  with pytest.raises(UsageError, match="bow_axis"):
    planted.find_plants(load_script(), ["bow_axes"])


@pytest.mark.slow
def test_only_the_cause_changes_in_the_films(tmp_path, monkeypatch):
  monkeypatch.setattr(planted, "TEST_GROUPS", (1,))
  script = load_script()
  plants, _ = planted.find_plants(script, ["bow_axis"])
  catalogue = planted.film_reversed(plants, script, tmp_path / "reversed")
  assert catalogue.classes == (plants[0].slug,) and len(catalogue.clips) == len(film.CLIPS)
  assert {clip.split for clip in catalogue.clips} == {"test"} and {clip.group for clip in catalogue.clips} == {1}
  film.film_stage(tmp_path / "as_it_was", classes=[plants[0].first], groups=(1,))
  names = (film.video_path(tmp_path / "as_it_was", plants[0].first, 1, 1), tmp_path / "reversed" / plants[0].slug / "videos")
  found = [cv2.VideoCapture(str(path)).read()[1] for path in (names[0], next(names[1].rglob("*_c01.avi")))]
  apart = np.abs(found[0].astype(int) - found[1]).max(-1) > 24
  # The bow and the arm that holds it, but neither the room nor the player.
  assert 0.001 < apart.mean() < 0.25


def test_places_on_stimuli_and_after_the_clips():
  def hypothesis(probe, rank, weight):
    return {"probe": probe, "rank": rank, "weight": weight, "clips": {"p": rank / 100}, "verdict": "supported"}

  script = load_script()
  plant = planted.find_plants(script, ["bow_axis"])[0][0]
  told = [hypothesis("speed", 2, 3.0), hypothesis("steepness of motion", 4, 2.0), hypothesis("rise", 1, 0.0)]
  told.append(hypothesis("steepness of moving shapes", 3, 0.0))
  found = explanations.places(told, plant)
  assert (found["rank"], found["rank_by_clips"], found["named_first"], found["named_first_by_clips"]) == (3, 2, "rise", "speed")
  assert (found["named_by"], found["p"]) == ("steepness of motion", 0.04)
  assert explanations.places(told[:1], plant)["rank"] is None


def _row(**changes):
  row = {
    "cause": "bow strokes run level or steep", "factor": "bow_axis", "first": "A", "second": "B", "rank": 1, "rank_by_clips": 2,
    "named_first": "speed", "p": 0.01, "verdict": "supported", "confusion_rate": 0.0, "confusion_rate_reversed": 0.5, "margin": 2.0,
    "margin_change": -1.0, "margin_p": 0.01, "as_foretold": True, "nulls": [[], ["speed"], [], [], []],
  }  # fmt: skip
  return row | changes


def test_the_table_counts_what_was_found(capsys):
  flags.FLAGS(["explanations"]) if not flags.FLAGS.is_parsed() else None
  rows = [_row(), _row(first="C", rank=3, verdict="not supported", as_foretold=False, p=None, nulls=[])]
  nulls = explanations.chosen_nulls(rows, 3)
  assert [null["supported"] for null in nulls] == [[], ["speed"], []]
  numbers = explanations.report(rows, nulls, [])
  assert (numbers["causes"], numbers["rank1"], numbers["rank1_by_clips"], numbers["supported"]) == (2, 1, 0, 1)
  assert numbers["false_supported_of_20"] == 1 and numbers["cause_bow_axis_C_B"]["rank"] == 3
  assert "0.00 -> 0.50" in capsys.readouterr().out
