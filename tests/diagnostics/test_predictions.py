import csv
import io
import zipfile

import numpy as np
import pytest

from tbvis.diagnostics.predictions import Predictions, check_classes
from tbvis.errors import UsageError

CLASSES = ("Cello", "Piano", "Violin")


@pytest.fixture
def predictions():
  rng = np.random.default_rng(0)
  scores = {tower: rng.normal(size=(5, 3)).astype(np.float32) for tower in ("appearance", "hybrid", "motion")}
  return Predictions.create([f"v_{i}" for i in range(5)], [0, 1, 2, 0, 1], CLASSES, scores)


def test_fused_is_the_mean_of_hybrid_and_motion(predictions):
  expected = np.mean([predictions.scores["hybrid"], predictions.scores["motion"]], axis=0)
  np.testing.assert_allclose(predictions.scores["fused"], expected, rtol=1e-6)
  assert predictions.towers == ("appearance", "hybrid", "motion", "fused")


def test_accuracy_and_confusion_agree(predictions):
  for tower, rate in predictions.accuracies().items():
    expected = sum(int(np.argmax(row) == label) for row, label in zip(predictions.scores[tower], predictions.labels, strict=True))
    assert (rate.count, rate.total) == (expected, 5)
    assert np.trace(predictions.confusion(tower)) == expected
    assert predictions.confusion(tower).sum(axis=1).tolist() == [2, 2, 1]


def test_npz_has_the_agreed_arrays(predictions, tmp_path):
  path = tmp_path / "new" / "predictions.npz"
  predictions.save(path)
  with np.load(path) as archive:
    assert set(archive.files) == {
      "clips", "labels", "classes", "scores_appearance", "scores_hybrid", "scores_motion", "scores_fused",
    }  # fmt: skip
  back = Predictions.load(path, classes=CLASSES)
  assert (back.clips, back.classes) == (predictions.clips, predictions.classes)
  assert np.array_equal(back.labels, predictions.labels)
  assert all(np.array_equal(back.scores[t], predictions.scores[t]) for t in predictions.towers)


def test_without_base_classifier_there_is_no_appearance(predictions, tmp_path):
  scores = {t: predictions.scores[t] for t in ("hybrid", "motion")}
  short = Predictions.create(predictions.clips, predictions.labels, CLASSES, scores)
  short.save(tmp_path / "p.npz")
  assert Predictions.load(tmp_path / "p.npz").towers == ("hybrid", "motion", "fused")


def test_csv_names_what_each_tower_says(predictions, tmp_path):
  predictions.write_csv(tmp_path / "p.csv")
  rows = list(csv.DictReader((tmp_path / "p.csv").open()))
  assert [row["clip"] for row in rows] == list(predictions.clips)
  for row, label in zip(rows, predictions.labels, strict=True):
    assert row["class"] == CLASSES[label]
    assert row["predicted_fused"] == max(CLASSES, key=lambda c: float(row[f"score_fused_{c}"]))


def test_file_of_other_classes_is_refused(predictions, tmp_path):
  predictions.save(tmp_path / "p.npz")
  with pytest.raises(UsageError, match=r"p\.npz was trained on 3 classes .*Cello.* has 2 classes"):
    Predictions.load(tmp_path / "p.npz", classes=("Cello", "Flute"))


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"labels": np.array([0, 1, 2, 0, 3])}, "labels of 0 to 2, received 0 to 3"),
    ({"labels": np.array([0, 1])}, "label for each of 5 clips"),
    ({"clips": ("a", "b", "c", "a", "d")}, "each clip once, received 'a'"),
    ({"scores": {"hybrid": np.zeros((5, 3)), "motion": np.zeros((5, 3))}}, "expected scores of fused"),
  ],
)
def test_inconsistent_predictions_are_refused(predictions, change, message):
  content = {"clips": predictions.clips, "labels": predictions.labels, "classes": CLASSES, "scores": predictions.scores} | change
  with pytest.raises(UsageError, match=message):
    Predictions(**content)


def test_scores_of_wrong_shape_or_not_finite_are_refused(predictions):
  with pytest.raises(UsageError, match=r"scores_motion of shape \(5, 3\).*received \(5, 2\)"):
    Predictions(predictions.clips, predictions.labels, CLASSES, {**predictions.scores, "motion": np.zeros((5, 2))})
  bad = predictions.scores["hybrid"].copy()
  bad[3, 1] = np.nan
  with pytest.raises(UsageError, match="scores_hybrid of clip 'v_3'"):
    Predictions(predictions.clips, predictions.labels, CLASSES, {**predictions.scores, "hybrid": bad})


def test_files_that_are_no_predictions(tmp_path):
  with pytest.raises(UsageError, match="found nothing at"):
    Predictions.load(tmp_path / "none.npz")
  (tmp_path / "text.npz").write_text("hello")
  with pytest.raises(UsageError, match="cannot be read"):
    Predictions.load(tmp_path / "text.npz")
  np.savez(tmp_path / "other.npz", weights=np.zeros(3))
  with pytest.raises(UsageError, match="lacks clips.*it has weights"):
    Predictions.load(tmp_path / "other.npz")
  np.save(tmp_path / "array.npy", np.zeros(3))
  with pytest.raises(UsageError, match="cannot be read"):
    Predictions.load(tmp_path / "array.npy")


def test_arrays_are_read_within_bounds(predictions, tmp_path):
  predictions.save(tmp_path / "p.npz")
  header = io.BytesIO()
  np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (10**6, 10**6)})
  with zipfile.ZipFile(tmp_path / "p.npz", "a") as archive:
    archive.writestr("scores_extra.npy", header.getvalue())
  with pytest.raises(UsageError, match=r"p\.npz: the array 'scores_extra' declares shape \(1000000, 1000000\), .* and has 0"):
    Predictions.load(tmp_path / "p.npz")
  np.savez(tmp_path / "object.npz", clips=np.array([{}], object))
  with pytest.raises(UsageError, match=r"object\.npz: the array 'clips' has a header that is not NumPy's .*Python objects"):
    Predictions.load(tmp_path / "object.npz")


def test_check_classes_names_both_and_order():
  check_classes(["a", "b"], "net", ["a", "b"], "set")
  with pytest.raises(UsageError, match="differ first at number 1: 'b' and 'a'"):
    check_classes(["a", "b"], "net", ["b", "a"], "set")
  with pytest.raises(UsageError, match=r"net was trained on 2 classes \(a, b\) and set has 1 classes \(a\)"):
    check_classes(["a", "b"], "net", ["a"], "set")
  with pytest.raises(UsageError, match=r"all 9 classes of set, but net was trained on 2 of them; it does not know c, d, .*h, \.\.\."):
    check_classes(["a", "b"], "net", list("abcdefghi"), "set")
