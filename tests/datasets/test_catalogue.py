from __future__ import annotations

import pytest

from tbvis.datasets import catalogue
from tbvis.errors import UsageError


def test_official_lists_have_the_published_sizes():
  lists = catalogue.resources.data_path("ucf101")
  sizes = [tuple(len(catalogue.read_split_list(lists / f"{w}list0{n}.txt")) for w in ("train", "test")) for n in (1, 2, 3)]
  assert sizes == [(9537, 3783), (9586, 3734), (9624, 3696)]
  assert len(catalogue.read_classes(lists / "classInd.txt")) == 101


def _touch(folder, *names):
  for name in names:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def test_ucf101_subset_keeps_official_order_and_ignores_case(tmp_path):
  _touch(
    tmp_path,
    "YoYo/v_YoYo_g08_c01.avi",
    "Archery/v_Archery_g01_c01.avi",
    "HandstandPushups/v_HandStandPushups_g01_c01.avi",
    "HandstandPushups/v_HandStandPushups_g09_c01.avi",
  )
  found = catalogue.ucf101_catalogue(tmp_path, 1, allow_missing=True)
  assert found.classes == ("Archery", "HandstandPushups", "YoYo")
  assert {(c.name, c.split, c.group) for c in found.clips} == {
    ("v_YoYo_g08_c01", "train", 8),
    ("v_Archery_g01_c01", "test", 1),
    ("v_HandStandPushups_g01_c01", "test", 1),
    ("v_HandStandPushups_g09_c01", "train", 9),
  }
  assert all(found.classes[c.label].lower() in c.name.lower() for c in found.clips)


def test_missing_clips_of_a_list_are_refused_unless_allowed(tmp_path):
  _touch(tmp_path, "YoYo/v_YoYo_g08_c01.avi")
  with pytest.raises(UsageError, match="missing.*--allow_missing"):
    catalogue.ucf101_catalogue(tmp_path, 1)
  assert len(catalogue.ucf101_catalogue(tmp_path, 1, allow_missing=True).missing) == 127


def test_a_folder_without_videos_says_what_is_there(tmp_path):
  _touch(tmp_path, "YoYo/readme.txt")
  with pytest.raises(UsageError, match=r"\.avi.*found none; files there end in \.txt"):
    catalogue.find_videos(tmp_path)
  with pytest.raises(UsageError, match="Nearest: YoYo"):
    catalogue.find_videos(tmp_path / "YoyO_")


def test_videos_of_no_list_are_refused(tmp_path):
  _touch(tmp_path, "Walking/daria_walk.avi")
  with pytest.raises(UsageError, match="--dataset=folder"):
    catalogue.ucf101_catalogue(tmp_path, 1)


def test_any_folder_is_split_by_group_or_by_every_fourth(tmp_path):
  _touch(tmp_path, *(f"Run/r{i}.mp4" for i in range(8)), "Walk/v_Walk_g02_c01.webm", "Walk/v_Walk_g09_c01.webm")
  found = catalogue.folder_catalogue(tmp_path)
  assert found.classes == ("Run", "Walk")
  tests = {c.name for c in found.clips if c.split == "test"}
  assert tests == {"r0", "r4", "v_Walk_g02_c01"}
  with pytest.raises(UsageError, match="at least two class folders"):
    catalogue.folder_catalogue(tmp_path / "Run")


def test_groups_are_parsed_or_refused():
  assert catalogue.parse_numbers("1-3,7", "groups") == {1, 2, 3, 7}
  assert catalogue.parse_numbers("", "groups") is None
  for bad in ("x", "3-1", "1-", "-2"):
    with pytest.raises(UsageError, match="--groups"):
      catalogue.parse_numbers(bad, "groups")


def test_two_clips_of_one_name_are_refused(tmp_path):
  _touch(tmp_path, "A/v.avi", "B/v.avi")
  with pytest.raises(UsageError, match="Two clips"):
    catalogue.check_unique(catalogue.folder_catalogue(tmp_path).clips)


@pytest.mark.real
def test_the_real_subset_is_six_classes_in_official_order(real_data):
  found = catalogue.ucf101_catalogue(real_data / "ucf101" / "videos", 1, allow_missing=True)
  assert found.classes == ("Archery", "BasketballDunk", "HorseRace", "PlayingPiano", "PlayingViolin", "Surfing")
  assert [sum(c.split == s for c in found.clips) for s in ("train", "test")] == [280, 84]
