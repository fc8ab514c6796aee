"""Prepared sets under other labels, and several read as one."""

from __future__ import annotations

import pytest

from tbvis.datasets import views
from tbvis.diagnostics import evaluation
from tbvis.errors import UsageError
from tests.diagnostics.conftest import CLASSES


def _named(of, split="train", **arguments):
  return [(clip["clip"].numpy().decode(), int(clip["label"]), int(clip["group"])) for clip in of.clips(split, **arguments)]


def test_labels_follow_class_and_group_and_clips_can_be_left_out(dataset):
  halves = views.Relabelled(dataset, ("odd", "even"), lambda label, group: 1 - group % 2 if label == 1 else None, "~half")
  kept = {(f"{name}~half", 1 - group % 2, group) for name, label, group in _named(dataset) if label == 1}
  assert set(_named(halves)) == kept and {label for _, label, _ in kept} == {0, 1}
  assert {group for *_, group in _named(halves, groups=[9])} == {9}
  assert halves.name == f"{dataset.name}~half" and halves.groups("test") == dataset.groups("test")


def test_sets_are_read_one_after_the_other(dataset):
  first = views.Relabelled(dataset, CLASSES, lambda label, _: label if label == 0 else None)
  again = views.Relabelled(dataset, CLASSES, lambda label, _: 0 if label == 1 else None, "~again")
  joined = views.Joined("both", [(first, ("train", "test")), (again, ("test",))])
  assert _named(joined, "test") == _named(first, "test") + _named(again, "test")
  assert _named(joined) == _named(first) and joined.classes == CLASSES and joined.groups("test") == (1, 2)
  with pytest.raises(UsageError, match="validation"):
    joined.clips("validation")
  with pytest.raises(UsageError, match="same classes"):
    views.Joined("odd", [(first, ("test",)), (views.Relabelled(dataset, ("x",), lambda *_: 0), ("test",))])


@pytest.mark.slow
def test_a_view_is_scored_as_the_set_itself(dataset, checkpoint):
  same = views.Joined("same", [(views.Relabelled(dataset, CLASSES, lambda label, _: label), ("test",))])
  wanted = evaluation.evaluate(checkpoint, dataset, "test", count=1, flips=False)
  found = evaluation.evaluate(checkpoint, same, "test", count=1, flips=False)
  assert found.clips == wanted.clips and (found.labels == wanted.labels).all()
  assert all((found.scores[tower] == scores).all() for tower, scores in wanted.scores.items())
