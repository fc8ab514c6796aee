import dataclasses
import json

import numpy as np
import pytest

from tbvis.datasets import snippets
from tbvis.diagnostics import evaluation, passes, thumbnails
from tbvis.diagnostics.predictions import Predictions
from tbvis.errors import UsageError
from tbvis.rendering import animation

# Every test passes clips through a network.
pytestmark = pytest.mark.slow


def _brute_force(checkpoint, clip, count, flips, blank=None):
  """Mean score of one clip by plain calls of the model, one snippet at a time."""
  inputs, frames = snippets.evaluation_snippets(
    clip, input_size=checkpoint.input_size, appearance_mean=checkpoint.appearance_mean, count=count, flips=flips
  )
  found = []
  for i in range(len(frames)):
    one = {name: inputs[name][i : i + 1].numpy() for name in ("appearance", "motion")}
    if blank:
      one[blank] = np.zeros_like(one[blank])
    found.append({name: np.asarray(v)[0] for name, v in checkpoint.model(one).items()})
  return {name: np.mean([f[name] for f in found], axis=0) for name in found[0]}


@pytest.mark.parametrize(("count", "flips", "blank"), [(3, True, None), (2, False, "motion"), (2, False, "appearance")])
def test_scores_are_means_over_snippets(checkpoint, dataset, count, flips, blank):
  found = evaluation.evaluate(checkpoint, dataset, groups=[2], count=count, flips=flips, blank=blank)
  assert found.clips == ("v_Bowing_g02_c01", "v_Brushing_g02_c01", "v_Rolling_g02_c01")
  assert found.labels.tolist() == [0, 1, 2]
  for row, clip in enumerate(dataset.clips("test", [2])):
    expected = _brute_force(checkpoint, clip, count, flips, blank)
    for tower in ("appearance", "hybrid", "motion"):
      np.testing.assert_allclose(found.scores[tower][row], expected[f"scores_{tower}"], rtol=2e-4, atol=2e-5)


def test_blank_streams_reach_only_their_towers(checkpoint, dataset):
  whole = evaluation.evaluate(checkpoint, dataset, groups=[1], count=2)
  still = evaluation.evaluate(checkpoint, dataset, groups=[1], count=2, blank="motion")
  dark = evaluation.evaluate(checkpoint, dataset, groups=[1], count=2, blank="appearance")
  assert np.array_equal(still.scores["appearance"], whole.scores["appearance"])
  assert np.array_equal(dark.scores["motion"], whole.scores["motion"])
  assert np.ptp(still.scores["motion"], axis=0).max() == 0
  assert np.ptp(dark.scores["appearance"], axis=0).max() == 0
  for other in (still, dark):
    assert not np.allclose(other.scores["hybrid"], whole.scores["hybrid"])


def test_small_batches_give_the_same(checkpoint, dataset, monkeypatch):
  whole = evaluation.evaluate(checkpoint, dataset, groups=[1], count=3)
  monkeypatch.setattr(passes, "_PIXELS", 73 * 86 * 2)
  parts = evaluation.evaluate(checkpoint, dataset, groups=[1], count=3)
  for tower in whole.towers:
    np.testing.assert_allclose(parts.scores[tower], whole.scores[tower], rtol=1e-4, atol=1e-5)


def test_an_interrupted_run_resumes_bit_by_bit(checkpoint, dataset, tmp_path, monkeypatch):
  whole = evaluation.evaluate(checkpoint, dataset, count=2)
  journal = tmp_path / "predictions.progress"

  class Interrupted(Exception):
    pass

  add = passes.Journal.add

  def fail_at_fourth(self, entry):
    if len(self.entries) == 3:
      raise Interrupted
    add(self, entry)

  with monkeypatch.context() as patch:
    patch.setattr(passes.Journal, "add", fail_at_fourth)
    with pytest.raises(Interrupted):
      evaluation.evaluate(checkpoint, dataset, count=2, journal=journal)
  lines = journal.read_bytes().splitlines(keepends=True)
  assert len(lines) == 4
  # The machine may stop in the middle of a line.
  journal.write_bytes(b"".join(lines[:-1]) + lines[-1][:30])

  passed = []
  stream = passes.clip_snippets
  monkeypatch.setattr(passes, "clip_snippets", lambda *a, **k: (passed.append(c.clip) or c for c in stream(*a, **k)))
  resumed = evaluation.evaluate(checkpoint, dataset, count=2, journal=journal)
  assert len(passed) == 4
  assert resumed.clips == whole.clips
  for tower in whole.towers:
    assert np.array_equal(resumed.scores[tower], whole.scores[tower])
  assert len(journal.read_bytes().splitlines()) == 7
  passed.clear()
  evaluation.evaluate(checkpoint, dataset, count=2, journal=journal)
  assert not passed


def test_a_journal_of_another_network_or_setting_is_not_used(checkpoint, dataset, tmp_path):
  journal = tmp_path / "progress"
  evaluation.evaluate(checkpoint, dataset, groups=[1], count=1, journal=journal)
  before = journal.read_bytes()
  bias = checkpoint.model.get_layer("prediction").bias
  kept = bias.numpy()
  bias.assign(kept + 1)
  try:
    shifted = evaluation.evaluate(checkpoint, dataset, groups=[1], count=1, journal=journal)
  finally:
    bias.assign(kept)
  entries = [json.loads(line) for line in before.splitlines()[1:]]
  by_name = {entry["clip"]: entry["hybrid"] for entry in entries}
  for name, score in zip(shifted.clips, shifted.scores["hybrid"], strict=True):
    np.testing.assert_allclose(score, np.array(by_name[name]) + 1, rtol=1e-4, atol=1e-4)
  assert journal.read_bytes().splitlines()[0] != before.splitlines()[0]


def test_the_key_follows_weights_and_settings(checkpoint):
  key = passes.network_key(checkpoint, count=25)
  assert key == passes.network_key(checkpoint, count=25)
  assert key != passes.network_key(checkpoint, count=24)
  assert key != passes.network_key(dataclasses.replace(checkpoint, metadata={"appearance_mean": [0, 0, 0]}), count=25)


def test_wrong_input_is_named(checkpoint, dataset):
  other = dataclasses.replace(dataset, classes=("Bowing", "Flute"))
  with pytest.raises(
    UsageError, match=r"3 classes \(Bowing, Brushing, Rolling\) and prepared set 'memory' has 2 classes \(Bowing, Flute\)"
  ):
    evaluation.evaluate(checkpoint, other)
  with pytest.raises(UsageError, match=r"groups 5, 6 of split 'test'.*its groups are 1, 2"):
    evaluation.evaluate(checkpoint, dataset, groups=[5, 6])
  with pytest.raises(UsageError, match=r"Unknown stream 'motions'.*motion"):
    evaluation.evaluate(checkpoint, dataset, blank="motions")
  with pytest.raises(UsageError, match="--snippets"):
    evaluation.evaluate(checkpoint, dataset, count=0)


def test_thumbnails_show_wrong_clips_first(dataset):
  right = np.eye(3, dtype=np.float32)[[0, 1, 2, 0, 1, 2]] * 2
  wrong = right.copy()
  wrong[4] = [5, 0, 0]
  motion = right.copy()
  motion[2] = [1, 0, 0]
  names = [clip["clip"] for clip in dataset.content["test"]]
  found = Predictions.create(names, [0, 1, 2, 0, 1, 2], dataset.classes, {"hybrid": wrong, "motion": motion})
  chosen = thumbnails.choose_clips(found, 4)
  assert chosen == [names[4], names[2], names[0], names[1]]
  made = thumbnails.clip_thumbnails(dataset, "test", chosen[:2])
  assert set(made) == {names[4], names[2]}
  frames = animation.decode(made[names[4]])
  assert frames.shape == (13, 96, 224, 3)
  # The first of the middle frames is on the left.
  clip = dataset.content["test"][4]
  expected = animation.resize(animation.decode(clip["frames"][0])[0], 96, 112)
  assert np.abs(frames[0][:, :105].astype(int) - expected[:, :105]).mean() < 6
