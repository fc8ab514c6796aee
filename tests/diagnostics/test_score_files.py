"""Score files of others: read in any form, aligned with the official list, fused; and refused in one line."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from tbvis.diagnostics import score_files
from tbvis.diagnostics.predictions import Predictions
from tbvis.errors import UsageError
from tests.weights import fuzz

CLASSES = tuple(f"Class{i:02d}" for i in range(20))
CLIPS = tuple(f"v_{CLASSES[i % 20]}_g{i // 20 + 1:02d}_c01" for i in range(30))
WANTED = score_files.OfficialList("made-up list", CLIPS, np.arange(30) % 20, CLASSES)
SCORES = np.random.default_rng(0).normal(size=(30, 20)).round(4)


def test_lists_of_other_sets_are_given(tmp_path):
  (tmp_path / "wave_test_split2.txt").write_text("A_wave_f_nm_np1_fr_goo_1.avi 2\nB_wave_f_nm_np1_fr_goo_2.avi 1\n")
  found = score_files.official_list("hmdb51", 2, tmp_path)
  assert found.shape == (1, 51) and found.classes[found.labels[0]] == "wave"
  with pytest.raises(UsageError, match="--lists is required for hmdb51"):
    score_files.official_list("hmdb51", 1)
  with pytest.raises(UsageError, match="Nearest: ucf101"):
    score_files.official_list("ucf-101", 1)


def read_made_up(path):
  """What the fuzzer's child process calls."""
  return score_files.read_scores(path, "motion", WANTED)


def _savemat(path, **arrays):
  pytest.importorskip("scipy.io").savemat(path, arrays, do_compression=True)


def _write_csv(path, values, names=None, header=None):
  with path.open("w", newline="") as stream:
    writer = csv.writer(stream)
    if header:
      writer.writerow(header)
    for i, row in enumerate(values.tolist()):
      writer.writerow([names[i], *row] if names else row)


def _own(order=range(30)):
  order = list(order)
  scores = {"motion": SCORES[order], "hybrid": -SCORES[order]}
  return Predictions.create([CLIPS[i] for i in order], [i % 20 for i in order], CLASSES, scores)


@pytest.mark.parametrize("turned", [False, True])
def test_mat_files_are_read_either_way_round(tmp_path, turned):
  _savemat(tmp_path / "s.mat", prediction=SCORES.T if turned else SCORES, note="text", rate=np.ones((1, 1)))
  np.testing.assert_array_equal(read_made_up(tmp_path / "s.mat"), SCORES)


def test_npz_and_csv_are_read_by_their_names_or_in_the_lists_order(tmp_path):
  np.savez(tmp_path / "plain.npz", scores=SCORES.T, other=np.zeros(3))
  np.testing.assert_array_equal(read_made_up(tmp_path / "plain.npz"), SCORES)
  _write_csv(tmp_path / "plain.csv", SCORES)
  np.testing.assert_array_equal(read_made_up(tmp_path / "plain.csv"), SCORES)
  turned = np.random.default_rng(1).permutation(30)
  classes = np.random.default_rng(2).permutation(20)
  shuffled = SCORES[turned][:, classes]
  names, header = [f"Class/{CLIPS[i].upper()}.avi" for i in turned], ["clip", *(CLASSES[i] for i in classes)]
  _write_csv(tmp_path / "named.csv", shuffled, names, header)
  np.testing.assert_array_equal(read_made_up(tmp_path / "named.csv"), SCORES)
  _write_csv(tmp_path / "turned.csv", shuffled.T, header[1:], ["", *names])
  np.testing.assert_array_equal(read_made_up(tmp_path / "turned.csv"), SCORES)


def test_files_of_our_own_are_read_by_tower_and_clip(tmp_path):
  own = _own(np.random.default_rng(3).permutation(30))
  own.save(tmp_path / "own.npz")
  own.write_csv(tmp_path / "own.csv")
  for name in ("own.npz", "own.csv"):
    np.testing.assert_allclose(score_files.read_scores(tmp_path / name, "motion", WANTED), SCORES, rtol=1e-5)
    np.testing.assert_allclose(score_files.read_scores(tmp_path / name, "hybrid", WANTED), -SCORES, rtol=1e-5)
    with pytest.raises(UsageError, match="Unknown tower 'appearance'"):
      score_files.read_scores(tmp_path / name, "appearance", WANTED)


def test_files_that_do_not_fit_are_refused(tmp_path):
  holes = SCORES.copy()
  holes[[3, 5], 2] = np.nan
  cases = {}
  _savemat(tmp_path / "holes.mat", a=holes)
  cases["holes.mat"] = f"expected finite scores, but those of {CLIPS[3]} and 1 more"
  _savemat(tmp_path / "short.mat", a=SCORES[:29])
  cases["short.mat"] = "expected one table of 30 clips x 20 classes (made-up list), found a 29 x 20"
  _savemat(tmp_path / "two.mat", a=SCORES, b=SCORES)
  cases["two.mat"] = "found a 30 x 20, b 30 x 20"
  _savemat(tmp_path / "text.mat", a="hello")
  cases["text.mat"] = "found no table of numbers"
  np.savez(tmp_path / "wide.npz", a=np.zeros((30, 21)))
  cases["wide.npz"] = "found a 30 x 21"
  Predictions.create(CLIPS[:29], WANTED.labels[:29], CLASSES, {"motion": SCORES[:29], "hybrid": SCORES[:29]}).save(tmp_path / "less.npz")
  cases["less.npz"] = "found 29 x 20 of float32"
  _write_csv(tmp_path / "twice.csv", SCORES, [CLIPS[0], CLIPS[0], *CLIPS[2:]])
  cases["twice.csv"] = f"expected each clip once, found {CLIPS[0]!r} again"
  _write_csv(tmp_path / "other.csv", SCORES, ["v_Clas00_g01_c01", *CLIPS[1:]])
  cases["other.csv"] = f"Unknown clip 'v_Clas00_g01_c01' in {tmp_path / 'other.csv'}. Nearest: v_Class00_g01_c01"
  (tmp_path / "ragged.csv").write_text("1,2,3\n1,2\n")
  cases["ragged.csv"] = "line 2: expected 3 cells of scores, found 2 cells"
  (tmp_path / "words.csv").write_text("1,2\n1,two\n")
  cases["words.csv"] = "line 2: expected 2 cells of scores, found 'two'"
  (tmp_path / "long.csv").write_text("1\n" * 1000)
  cases["long.csv"] = "expected 31 lines at most"
  (tmp_path / "empty.csv").write_text("")
  cases["empty.csv"] = "found 0 x 0"
  (tmp_path / "scores.txt").write_text("1")
  cases["scores.txt"] = "expected files that end in .mat, .npz, .csv"
  cases["absent.mat"] = "Beside it: "
  for name, expected in cases.items():
    with pytest.raises(UsageError) as caught:
      read_made_up(tmp_path / name)
    assert expected in str(caught.value) and name in str(caught.value), name


def test_fusion_weighs_and_normalises():
  # The second network shouts; divided by their norms both count alike.
  quiet, loud = np.eye(3), 100 * np.roll(np.eye(3), 1, axis=1)
  wanted = score_files.OfficialList("three", ("a", "b", "c"), np.arange(3), ("x", "y", "z"))

  def right(norm, weight):
    return score_files.fuse({"appearance": quiet, "motion": loud}, {"appearance": weight, "motion": 1.0}, wanted, norm).accuracy().count

  assert [right(None, 1.5), right("l2", 1.5), right("l1", 1.5), right("l2", 0.5), right(None, 200.0)] == [0, 3, 3, 0, 3]
  plain = score_files.fuse({"appearance": quiet, "motion": loud}, {"appearance": 3.0, "motion": 1.0}, wanted)
  np.testing.assert_allclose(plain.scores["fused"], 0.75 * quiet + 0.25 * loud)
  assert plain.towers == ("appearance", "motion", "fused")
  for weights in ((-1.0, 1.0), (0.0, 0.0), (float("nan"), 1.0)):
    with pytest.raises(UsageError, match="--prediction_weights: expected weights of 0 and more"):
      score_files.fuse({"appearance": quiet, "motion": loud}, dict(zip(("appearance", "motion"), weights, strict=True)), wanted)


@pytest.mark.parametrize(
  ("change", "expected"),
  [
    ({"dataset": None}, "--dataset is required"),
    ({"dataset": "ucf11"}, "Unknown data set 'ucf11'"),
    ({"split": "4"}, "--split: expected 1 to 3 for ucf101, received 4"),
    ({"split": "test"}, "--split: expected the number of the official split"),
    ({"weights": [1.0]}, "--prediction_weights: expected one for each of the 2 files, received 1"),
    ({"towers": ["appearance", "appearance"]}, "--prediction_towers: expected each once"),
    ({"towers": ["appearance", "movement"]}, "Unknown tower 'movement'"),
    ({"paths": ["a.mat", "a.mat"]}, "--predictions: expected each once"),
    ({"paths": ["a.mat", "b.mat", "c.mat", "d.mat"]}, "expected 3 files at most"),
    ({}, "found none at"),
  ],
)
def test_wrong_flags_are_named(tmp_path, change, expected):
  given = {"paths": ["a.mat", "b.mat"], "dataset": "ucf101", "split": "1"} | change
  paths = [tmp_path / name for name in given.pop("paths")]
  with pytest.raises(UsageError) as caught:
    score_files.read_files(paths, **given)
  assert expected in str(caught.value) and "\n" not in str(caught.value)


def test_a_file_of_our_own_alone_is_shown_as_it_is(tmp_path):
  _own(range(5)).save(tmp_path / "own.npz")
  found, source, meanings = score_files.read_files([tmp_path / "own.npz"], dataset=None, split=None)
  assert found.towers == ("hybrid", "motion", "fused") and len(found.clips) == 5 and source.endswith("own.npz") and not meanings
  # Whoever asks for more than that needs the list.
  for asked in ({"norm": "l2"}, {"split": "7"}, {"folder": tmp_path}):
    with pytest.raises(UsageError, match="--dataset is required"):
      score_files.read_files([tmp_path / "own.npz"], **{"dataset": None, "split": None, **asked})


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".mat", ".npz", ".csv"])
def test_damaged_files_are_refused_in_one_line(tmp_path, suffix):
  path = tmp_path / f"good{suffix}"
  if suffix == ".mat":
    _savemat(path, prediction=SCORES)
  elif suffix == ".npz":
    np.savez_compressed(path, scores=SCORES)
  else:
    _write_csv(path, SCORES, CLIPS, ["clip", *CLASSES])
  counts = fuzz.outcomes("tests.diagnostics.test_score_files:read_made_up", path, tmp_path, count=600)
  assert counts["refused"] > 300, counts


@pytest.fixture(scope="module")
def published(real_data):
  """The published scores of two networks on UCF101's split 1, fused as the published matrix is."""
  folder = real_data / "ucf101_scores"
  paths = [folder / "spatial_quality100_split01.mat", folder / "temporal_tvl1_split01.mat"]
  return {
    norm: score_files.read_files(paths, weights=[1.0, 1.5], norm=norm, dataset="ucf101", split="1")[0] for norm in ("l2", "l1")
  }, folder


def _matrix(path):
  with path.open() as stream:
    return np.array(list(csv.reader(stream))[1:], int)


@pytest.mark.real
def test_published_accuracies_and_confusions(published):
  found, folder = published[0]["l2"], published[1]
  assert found.classes[19] == "BrushingTeeth" and found.classes[58] == "PlayingCello"
  counts = {tower: rate.count for tower, rate in found.accuracies().items()}
  # 80.97, 85.80 and 91.30 %.
  assert counts == {"appearance": 3063, "motion": 3246, "fused": 3454}
  matrix = found.confusion("fused")
  pair = {(a, b): matrix[found.classes.index(a), found.classes.index(b)] for a, b in
          (("BrushingTeeth", "ShavingBeard"), ("PlayingCello", "PlayingViolin"))}  # fmt: skip
  assert pair == {("BrushingTeeth", "ShavingBeard"): 13, ("PlayingCello", "PlayingViolin"): 4}
  assert matrix[19].sum() == 36 and matrix[58].sum() == 44
  np.testing.assert_array_equal(found.confusion("appearance"), _matrix(folder / "confusion_spatial_split1.csv"))
  np.testing.assert_array_equal(found.confusion("motion"), _matrix(folder / "confusion_tvl1_split1.csv"))
  rows = list(csv.DictReader((folder / "per_class_accuracy_split1.csv").open()))
  for tower, column in (("appearance", "spatial"), ("motion", "tvl1")):
    recall = np.diag(found.confusion(tower)) / found.confusion(tower).sum(axis=1)
    np.testing.assert_allclose(recall, [float(row[column]) for row in rows], atol=5.1e-5)


@pytest.mark.real
def test_published_fusion_is_the_l1_norms_up_to_one_clip(published):
  scores, folder = published
  expected = _matrix(folder / "confusion_fusion_split1.csv")
  # Sum of differences over 2: how many clips another class was said for. L2, the flag's default, differs in more cells and has the
  # same accuracy.
  differ = {norm: np.abs(found.confusion("fused") - expected).sum() // 2 for norm, found in scores.items()}
  assert differ == {"l2": 13, "l1": 1}
