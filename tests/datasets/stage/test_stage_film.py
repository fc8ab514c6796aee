"""Filming: UCF101's layout and lists, the same bytes however it is filmed, and picking up where it stopped."""

import json

import cv2
import pytest

from tbvis.datasets.stage import clip as stage_clip
from tbvis.datasets.stage import film_stage, load_script, worker
from tbvis.datasets.stage.contact_sheet import contact_sheet, sample_frames, write_contact_sheet
from tbvis.errors import UsageError

CLASSES = ["PlayingViolin", "ApplyLipstick"]


@pytest.fixture
def short(monkeypatch):
  """Clips of four frames, for what does not depend on their length; reaches filming in this process only."""
  monkeypatch.setattr(stage_clip, "FRAMES", 4)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
  """Four whole clips, filmed by two processes."""
  folder = tmp_path_factory.mktemp("whole")
  film_stage(folder, classes=["ApplyLipstick"], groups=[8], processes=2)
  return folder


def videos(folder):
  return {path.name: path.read_bytes() for path in folder.glob("videos/*/*.avi")}


def test_layout_and_lists(short, tmp_path):
  report = film_stage(tmp_path, classes=CLASSES, groups=[7, 8], processes=1)
  assert report.classes == ("ApplyLipstick", "PlayingViolin")  # The script's order, not the caller's.
  assert (report.filmed, report.reused) == (16, 0)
  assert report.size == sum(map(len, videos(tmp_path).values()))
  read = {path.name: path.read_text().splitlines() for path in (tmp_path / "splits").iterdir()}
  assert sorted(read) == ["classInd.txt", "testlist01.txt", "trainlist01.txt"]
  assert read["classInd.txt"] == ["1 ApplyLipstick", "2 PlayingViolin"]
  assert read["testlist01.txt"][0] == "ApplyLipstick/v_ApplyLipstick_g07_c01.avi"
  assert read["trainlist01.txt"][-1] == "PlayingViolin/v_PlayingViolin_g08_c04.avi 2"
  assert [len(read[name]) for name in ("testlist01.txt", "trainlist01.txt")] == [8, 8]
  for line in read["testlist01.txt"] + read["trainlist01.txt"]:
    assert (tmp_path / "videos" / line.split()[0]).is_file()
  assert not list(tmp_path.glob("**/.*"))
  # A later call for a part leaves the rest of the lists as it was.
  film_stage(tmp_path, classes=["PlayingViolin"], groups=[7], processes=1)
  assert (tmp_path / "splits/trainlist01.txt").read_text().splitlines() == read["trainlist01.txt"]


def test_format_of_a_clip(whole):
  capture = cv2.VideoCapture(str(whole / "videos/ApplyLipstick/v_ApplyLipstick_g08_c02.avi"))
  size = [capture.get(p) for p in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FPS)]
  count = 0
  while capture.read()[0]:
    count += 1
  assert (size, count) == ([320, 240, 25], 60)


def test_the_same_bytes_in_one_process_or_two(whole, tmp_path):
  alone = tmp_path / "alone.avi"
  worker.film_clip((str(alone), load_script(), "ApplyLipstick", 8, 3, 0, False))
  assert alone.read_bytes() == videos(whole)["v_ApplyLipstick_g08_c03.avi"]


def test_the_same_bytes_whatever_else_is_filmed(short, tmp_path):
  film_stage(tmp_path / "one", classes=["ApplyLipstick"], groups=[8], processes=1)
  film_stage(tmp_path / "more", classes=CLASSES, groups=[2, 8], processes=1)
  one, more = videos(tmp_path / "one"), videos(tmp_path / "more")
  assert len(one) == 4 and len(more) == 16
  assert all(more[name] == data for name, data in one.items())


def test_another_seed_gives_other_clips(short, tmp_path):
  for seed in (0, 1):
    film_stage(tmp_path / str(seed), classes=["ApplyLipstick"], groups=[8], seed=seed, processes=1)
  first, second = videos(tmp_path / "0"), videos(tmp_path / "1")
  assert all(first[name] != data for name, data in second.items())


def test_masked_clips_never_pass_for_whole_ones(short, tmp_path):
  settings = {"classes": ["ApplyLipstick"], "groups": [8], "processes": 1}
  assert film_stage(tmp_path, **settings).filmed == 4
  assert film_stage(tmp_path, mask_action=True, **settings).filmed == 4


def test_it_picks_up_where_it_stopped(short, tmp_path):
  film_stage(tmp_path, classes=["ApplyLipstick"], groups=[1], processes=1)
  kept, gone = (tmp_path / f"videos/ApplyLipstick/v_ApplyLipstick_g01_c0{k}.avi" for k in (1, 2))
  before, time = gone.read_bytes(), kept.stat().st_mtime_ns
  gone.unlink()
  report = film_stage(tmp_path, classes=["ApplyLipstick"], groups=[1], processes=1)
  assert (report.filmed, report.reused) == (1, 3)
  assert gone.read_bytes() == before and kept.stat().st_mtime_ns == time
  (tmp_path / "stage.json").write_text("{")  # Half a manifest: nothing is known, so all is filmed again.
  assert film_stage(tmp_path, classes=["ApplyLipstick"], groups=[1], processes=1).filmed == 4
  assert len(json.loads((tmp_path / "stage.json").read_text())["clips"]) == 4


def test_what_was_filmed_before_an_interruption_is_kept(short, tmp_path, monkeypatch):
  film, calls = worker.film_clip, []

  def interrupted(job):
    calls.append(job)
    if len(calls) == 3:
      raise KeyboardInterrupt
    return film(job)

  monkeypatch.setattr(worker, "film_clip", interrupted)
  with pytest.raises(KeyboardInterrupt):
    film_stage(tmp_path, classes=["ApplyLipstick"], groups=[1], processes=1)
  report = film_stage(tmp_path, classes=["ApplyLipstick"], groups=[1], processes=1)
  assert (report.filmed, report.reused) == (2, 2)


def test_a_changed_cause_films_its_class_again_and_stale_clips_leave_the_lists(short, tmp_path):
  def script(tilt):
    cause = {"name": "lean", "classes": ["ApplyLipstick"], "stream": "both", "factor": "head_tilt", "distribution": {"ApplyLipstick": tilt}}
    return {"classes": CLASSES, "causes": [cause]}

  film_stage(tmp_path, groups=[1], script=script({"constant": 0}), processes=1)
  before = videos(tmp_path)
  report = film_stage(tmp_path, classes=["PlayingViolin"], groups=[1], script=script({"constant": 9}), processes=1)
  assert (report.filmed, report.reused) == (0, 4)
  assert (tmp_path / "splits/testlist01.txt").read_text().count("ApplyLipstick") == 0
  report = film_stage(tmp_path, groups=[1], script=script({"constant": 9}), processes=1)
  assert (report.filmed, report.reused) == (4, 4)
  after = videos(tmp_path)
  assert {name for name in after if after[name] != before[name]} == {f"v_ApplyLipstick_g01_c0{k}.avi" for k in (1, 2, 3, 4)}


@pytest.mark.parametrize(
  "settings, words",
  [
    ({"classes": ["PlayingViolins"]}, "Nearest: PlayingViolin"),
    ({"classes": []}, "list of classes"),
    ({"groups": [0, 3]}, "groups within 1 to 25, received 0"),
    ({"groups": []}, "received none"),
    ({"seed": -1}, "seed of 0 or more"),
    ({"processes": 0}, "at least one process"),
    ({"script": "nowhere.json"}, "nowhere.json"),
  ],
)
def test_bad_settings_are_refused_before_filming(tmp_path, settings, words):
  with pytest.raises(UsageError, match=words) as caught:
    film_stage(tmp_path / "out", **settings)
  assert "\n" not in str(caught.value)
  assert not (tmp_path / "out" / "videos").exists()


def test_a_folder_that_cannot_be_written(tmp_path):
  (tmp_path / "file").write_text("")
  with pytest.raises(UsageError, match="can be written"):
    film_stage(tmp_path / "file")


def test_contact_sheet(whole, tmp_path):
  clips = sorted(whole.glob("videos/*/*.avi"))[:4]
  write_contact_sheet(clips, tmp_path / "sheet.png", frames=2, columns=4)
  assert cv2.imread(str(tmp_path / "sheet.png")).shape == (2 * 244 + 4, 4 * 324 + 4, 3)
  (tmp_path / "broken.avi").write_bytes(b"RIFF")
  with pytest.raises(UsageError, match="broken.avi"):
    sample_frames(tmp_path / "broken.avi", 2)
  with pytest.raises(UsageError, match="0 frames"):
    contact_sheet([], 2)
