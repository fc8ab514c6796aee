import csv

import numpy as np
import pytest

from tbvis.diagnostics import confusions
from tbvis.errors import UsageError

CLASSES = ("Cello", "Piano", "Violin")
MATRIX = np.array([[8, 0, 2], [0, 5, 0], [1, 3, 10]])


@pytest.mark.parametrize(
  ("count", "total", "low", "high"),
  # Newcombe (1998), Statistics in Medicine 17, table I, method 3: 81/263, 15/148, 0/20, 1/29.
  [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_against_published_values(count, total, low, high):
  assert confusions.wilson_interval(count, total) == pytest.approx((low, high), abs=5e-5)


def test_wilson_solves_its_equation():
  # Its ends are the shares p whose own normal interval ends at the observed share.
  for count, total in ((1, 7), (30, 84), (83, 84)):
    for p in confusions.wilson_interval(count, total):
      assert abs(count / total - p) == pytest.approx(1.959963984540054 * np.sqrt(p * (1 - p) / total), rel=1e-9)


def test_wilson_edges():
  assert confusions.wilson_interval(0, 0) == (0.0, 1.0)
  assert confusions.wilson_interval(5, 5)[1] == 1.0
  with pytest.raises(ValueError, match="Expected 0 to 3"):
    confusions.wilson_interval(4, 3)


def test_per_class_counts_right_precision_and_worst():
  rows = confusions.per_class(MATRIX, CLASSES)
  assert [(r.recall.count, r.recall.total) for r in rows] == [(8, 10), (5, 5), (10, 14)]
  assert [(r.precision.count, r.precision.total) for r in rows] == [(8, 9), (5, 8), (10, 12)]
  assert [(r.taken_for, r.taken_count) for r in rows] == [("Violin", 2), ("", 0), ("Piano", 3)]
  text = confusions.format_per_class(rows)
  assert "Piano (3)" in text and len(text.splitlines()) == 4


def test_class_without_clips_has_no_rate():
  rows = confusions.per_class(np.array([[2, 0], [0, 0]]), ("a", "b"))
  assert "no clips" in confusions.format_per_class(rows)
  assert np.isnan(rows[1].recall.fraction)


def test_confused_pairs_by_rate():
  pairs = confusions.confused_pairs(MATRIX, CLASSES)
  assert [(p.actual, p.predicted, p.rate.count, p.rate.total) for p in pairs] == [
    ("Violin", "Piano", 3, 14),
    ("Cello", "Violin", 2, 10),
    ("Violin", "Cello", 1, 14),
  ]
  assert confusions.confused_pairs(MATRIX, CLASSES, top=1) == pairs[:1]


def test_confusion_csv_round_trip(tmp_path):
  path = tmp_path / "confusion.csv"
  confusions.write_confusion_csv(path, MATRIX, CLASSES)
  rows = list(csv.reader(path.open()))
  assert rows[0][1:] == list(CLASSES)
  assert [row[0] for row in rows[1:]] == list(CLASSES)
  assert np.array_equal(np.array([row[1:] for row in rows[1:]], int), MATRIX)


def test_matrix_of_other_classes_is_refused(tmp_path):
  with pytest.raises(UsageError, match="2 by 2 classes"):
    confusions.write_confusion_csv(tmp_path / "x.csv", MATRIX, ("a", "b"))
