"""Permutation tests and hypotheses on numbers whose answer is known."""

import numpy as np
import pytest

from tbvis.diagnostics import probes
from tbvis.diagnostics.explanations import hypotheses, permutations
from tbvis.errors import UsageError

GROUPS = np.repeat(np.arange(8), 4)


def test_a_real_difference_is_found_and_others_are_not():
  rng = np.random.default_rng(0)
  chosen = rng.random(32) < 0.5
  values = rng.normal(size=(32, 10))
  values[:, 3] += 2 * chosen
  found = permutations.label_test(values, chosen, GROUPS, count=999)
  assert np.argmax(found.effect) == 3 and found.corrected[3] < 0.02
  assert np.all(found.corrected >= found.p) and np.sum(found.corrected < 0.05) == 1


def test_effect_is_hedges_g_by_hand():
  values = np.array([1.0, 2.0, 3.0, 6.0, 8.0, np.nan])[:, None]
  chosen = np.array([False, False, False, True, True, True])
  pooled = np.sqrt((2 + 2) / 3)
  assert permutations.standardised_difference(values, chosen)[0] == pytest.approx((7 - 2) / pooled * (1 - 3 / 11))
  assert np.isnan(permutations.standardised_difference(values[:4], chosen[:4])[0])


@pytest.mark.slow
@pytest.mark.parametrize("clustered", [False, True])
def test_rate_of_false_alarms(clustered):
  """Without any difference, 5 % of corrected p-values of a whole table lie below 0.05, however groups cluster."""
  rng = np.random.default_rng(1)
  alarms = 0
  for trial in range(200):
    values = rng.normal(size=(32, 5)) + (2 * rng.normal(size=(8, 5))[GROUPS] if clustered else 0)
    chosen = rng.random(32) < (np.where(rng.random(8) < 0.5, 0.15, 0.85)[GROUPS] if clustered else 0.4)
    alarms += np.nanmin(permutations.label_test(values, chosen, GROUPS, count=99, seed=trial).corrected) < 0.05
  assert alarms <= 20


@pytest.mark.slow
def test_labels_that_ignored_groups_would_raise_false_alarms():
  """What keeping groups together is for: with every clip on its own the same data alarm far too often."""
  rng = np.random.default_rng(1)
  alarms = 0
  for trial in range(100):
    values = 3 * rng.normal(size=(8, 5))[GROUPS] + rng.normal(size=(32, 5))
    chosen = (rng.random(8) < 0.5)[GROUPS]
    if 0 < chosen.sum() < 32:
      alarms += np.nanmin(permutations.label_test(values, chosen, np.arange(32), count=99, seed=trial).corrected) < 0.05
  assert alarms > 30


def test_signs():
  rng = np.random.default_rng(2)
  values = rng.normal(size=(16, 4))
  values[:, 1] += 1.5
  found = permutations.sign_test(values, np.arange(16), count=999)
  assert found.corrected[1] < 0.05 < min(found.corrected[[0, 2, 3]])
  # Two groups can turn their signs in four ways only: no p-value below a quarter or so.
  assert permutations.sign_test(values, np.repeat([0, 1], 8), count=999).p[1] > 0.2


def test_lengths_must_agree():
  with pytest.raises(UsageError, match="one length"):
    permutations.label_test(np.zeros((3, 2)), np.ones(3, bool), np.arange(2))
  with pytest.raises(UsageError, match="one length"):
    permutations.sign_test(np.zeros((3, 2)), np.arange(2))


def _measured(shift, noise=1.0, seed=0):
  return np.random.default_rng(seed).normal(shift, noise, (2, 2, 5, 4))


def _ranked(first, second, clip_shift=None, clip_noise=1.0):
  """Hypotheses of four probes, with clips that differ as the stimuli do unless told otherwise."""
  shift = np.nanmean(second - first, (0, 1, 2)) if clip_shift is None else np.asarray(clip_shift, float)
  rng = np.random.default_rng(9)
  clips = rng.normal(0, clip_noise, (20, 4)), rng.normal(shift, clip_noise, (20, 4))
  return hypotheses.rank_hypotheses(CHOSEN, first, second, clips)


CHOSEN = probes.PROBES[:4]


def test_ranks_follow_the_spread_across_seeds():
  first, second = _measured([0, 0, 0, 0]), _measured([0, 3, 9, 0], seed=1)
  found = _ranked(first, second)
  assert [h.probe for h in found[:2]] == [CHOSEN[2], CHOSEN[1]] and [h.rank for h in found] == [1, 2, 3, 4]
  assert found[0].differs and found[1].differs and not found[3].differs
  assert found[0].effect > 0 > _ranked(second, first)[0].effect
  assert found[0].values[1] == pytest.approx(9, abs=1)


def test_clips_that_differ_the_other_way_are_told_and_decide_nothing():
  first, second = _measured(0), _measured([9, 3, 0, 0], seed=1)
  found = _ranked(first, second, clip_shift=[-2, 2, 0, 0])
  assert found[0].probe is CHOSEN[0] and found[0].differs and found[0].separation < -1 < 1 < found[1].separation


def test_what_is_small_beside_clips_counts_little():
  first, second = _measured(0, 0.001), _measured([0.01, 0, 0, 0], 0.001, seed=1)
  found = {h.probe: h for h in _ranked(first, second, clip_noise=np.array([10.0, 0.001, 0.001, 0.001]))}
  assert abs(found[CHOSEN[0]].effect) < 0.01 and not found[CHOSEN[0]].differs


def test_conditions_may_lie_apart_and_values_may_be_missing():
  first, second = _measured(0), _measured([4, 0, 0, 0], seed=1)
  slow_and_fast = np.array([0, 100.0])[:, None, None]
  found = _ranked(first + slow_and_fast, second + slow_and_fast)
  assert found[0].probe is CHOSEN[0] and found[0].spreads[0] < 3
  first[..., 3] = np.nan
  assert [h.probe for h in _ranked(first, second, clip_shift=[4, 0, 0, 0])].count(CHOSEN[3]) == 0
  assert "Cello's at" in found[0].sentence("Cello", "Violin") and "Violin's at" in found[0].sentence("Cello", "Violin")


def test_shapes_must_agree():
  with pytest.raises(UsageError, match="Expected measurements"):
    hypotheses.rank_hypotheses(CHOSEN, _measured(0), _measured(0)[:1], (np.zeros((3, 4)), np.zeros((3, 4))))
