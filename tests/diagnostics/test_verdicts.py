"""Verdicts on clips whose cause is known."""

import dataclasses

import numpy as np
import pytest

from tbvis.diagnostics import probes
from tbvis.diagnostics.explanations import hypotheses, verdicts
from tbvis.diagnostics.explanations.verdicts import Verdict

GROUPS = np.repeat(np.arange(8), 4)
CENTERS = np.array([0.0, 0.0, 0.0]), np.array([10.0, 10.0, 0.0])
DIRECTIONS = np.array([1.0, 1.0, 0.0])
HYPOTHESIS = hypotheses.Hypothesis(probes.PROBES[0], (10.0, 80.0), (2.0, 3.0), 20.0, 0.001, 5.0, 1)


def _clips(shift, rng_seed=0):
  rng = np.random.default_rng(rng_seed)
  confused = np.tile([True, True, False, False], 8)
  values = rng.normal(2, 1.5, (32, 3))
  values[:, 0] += shift * confused
  return values, confused


def _judged(shift, intervention=None, hypothesis=HYPOTHESIS, rows=slice(None)):
  values, confused = _clips(shift)
  tests = verdicts.judge_clips(values[rows], confused[rows], GROUPS[rows], DIRECTIONS, CENTERS, count=999)
  return verdicts.Judged(hypothesis, tests[0], intervention)


def test_confused_clips_that_lie_towards_the_other_class_support_a_hypothesis():
  judged = _judged(5)
  assert judged.verdict is Verdict.SUPPORTED and judged.clips.effect > 1 and judged.clips.p < 0.01
  assert judged.clips.means[0] > judged.clips.means[1] + 4 and (judged.clips.confused, judged.clips.right) == (16, 16)
  assert "No intervention" in judged.reason and "16 confused and 16 right" in judged.reason


@pytest.mark.parametrize("shift", [0, -3])
def test_others_do_not(shift):
  judged = _judged(shift)
  assert judged.verdict is Verdict.NOT_SUPPORTED and "do not lie towards" in judged.reason


def test_few_clips_decide_nothing_however_clear():
  judged = _judged(50, rows=slice(0, 16))
  assert judged.verdict is Verdict.TOO_FEW and "needs 10 of each" in judged.reason
  two_groups = verdicts.judge_clips(*_clips(50), np.repeat([0, 1], 16), DIRECTIONS, CENTERS, count=99)[0]
  assert not two_groups.enough


def test_an_intervention_that_fails_takes_the_support_away():
  groups = np.arange(12)
  before = np.linspace(1, 3, 12)
  works = verdicts.judge_intervention("Rotate", before, before - 0.5 - 0.1 * (groups % 3), groups)
  fails = verdicts.judge_intervention("Rotate", before, before + 0.1 * (-1.0) ** groups, groups)
  assert works.as_foretold and works.share == 1 and works.change == pytest.approx(-0.6)
  assert not fails.as_foretold
  assert _judged(5, works).verdict is Verdict.SUPPORTED
  failed = _judged(5, fails)
  assert failed.verdict is Verdict.NOT_SUPPORTED and "does not move" in failed.reason


def test_stimuli_that_do_not_differ_support_nothing():
  same = dataclasses.replace(HYPOTHESIS, effect=0.5)
  nothing = _judged(5, hypothesis=same)
  assert nothing.verdict is Verdict.NOT_SUPPORTED and nothing.weight == 0 < _judged(5).weight


def test_the_way_is_that_of_the_stimuli():
  values, confused = _clips(5)
  tests = verdicts.judge_clips(values, confused, GROUPS, -DIRECTIONS, CENTERS)
  assert tests[0].effect < -1 and tests[0].p > 0.9
  assert np.isnan(tests[2].effect) and tests[2].confused == 0 and not tests[2].enough


def _trial(first, second):
  hypothesis = dataclasses.replace(HYPOTHESIS, effect=-3.0)
  hypotheses_ = (HYPOTHESIS, dataclasses.replace(hypothesis, probe=probes.PROBES[1], rank=2))
  confused = np.tile([True, True, False, False], 8)
  ways = tuple(verdicts.Measurements(np.stack([way, -way], 1), CENTERS) for way in (first, second))
  return verdicts.Trial(hypotheses_, tuple(map(str, range(32))), GROUPS, confused, ways, {}, 499)


def test_both_ways_of_weighting_must_say_it():
  rng = np.random.default_rng(3)
  apart, same = rng.normal(size=32) + np.tile([4, 4, 0, 0], 8), rng.normal(size=32)
  for ways in ((apart, same), (same, apart)):
    assert [j.verdict for j in _trial(*ways).judge()] == [Verdict.NOT_SUPPORTED] * 2
  assert [j.verdict for j in _trial(apart, apart).judge()] == [Verdict.SUPPORTED] * 2
  # Of two that are supported, that comes first for which more speaks.
  assert [j.hypothesis.rank for j in _trial(apart, apart).judge()] == [1, 2]


def test_nothing_to_try_an_intervention_on():
  assert not verdicts.judge_intervention("Rotate", np.array([]), np.array([]), []).as_foretold
