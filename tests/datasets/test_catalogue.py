from __future__ import annotations

import pytest

from tbvis import resources
from tbvis.datasets import catalogue, inventory, lists
from tbvis.errors import UsageError


def test_official_lists_have_the_published_sizes():
  folder = resources.data_path("ucf101")
  sizes = [tuple(len(lists.read_split_list(folder / f"{w}list0{n}.txt")) for w in ("train", "test")) for n in (1, 2, 3)]
  assert sizes == [(9537, 3783), (9586, 3734), (9624, 3696)]
  assert len(lists.read_classes(folder / "classInd.txt")) == 101


def _ucf101(folder, allow_missing=False, **arguments):
  found = inventory.videos_by_name(inventory.find_videos(folder))
  return catalogue.match_lists(lists.ucf101(1), found, allow_missing=allow_missing, **arguments)


def _folder(folder, **arguments):
  return catalogue.folder_catalogue(inventory.find_videos(folder), folder, **arguments)


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
  found = _ucf101(tmp_path, True)
  assert found.classes == ("Archery", "HandstandPushups", "YoYo")
  assert {(c.name, c.split, c.group) for c in found.clips} == {
    ("v_YoYo_g08_c01", "train", 8),
    ("v_Archery_g01_c01", "test", 1),
    ("v_HandstandPushups_g01_c01", "test", 1),
    ("v_HandstandPushups_g09_c01", "train", 9),
  }
  assert all(found.classes[c.label].lower() in c.name.lower() for c in found.clips)


def test_missing_clips_of_a_list_are_refused_unless_allowed(tmp_path):
  _touch(tmp_path, "YoYo/v_YoYo_g08_c01.avi")
  with pytest.raises(UsageError, match="missing.*--allow_missing"):
    _ucf101(tmp_path)
  assert len(_ucf101(tmp_path, True).missing) == 127


def test_a_folder_without_videos_says_what_is_there(tmp_path):
  _touch(tmp_path, "YoYo/readme.txt")
  with pytest.raises(UsageError, match=r"\.avi.*found none; files there end in \.txt"):
    inventory.find_videos(tmp_path)
  with pytest.raises(UsageError, match="Nearest: YoYo"):
    inventory.find_videos(tmp_path / "YoyO_")


def test_videos_of_no_list_are_refused(tmp_path):
  _touch(tmp_path, "Walking/daria_walk.avi")
  with pytest.raises(UsageError, match="--dataset=folder"):
    _ucf101(tmp_path)


def test_any_folder_is_split_by_group_or_by_every_fourth(tmp_path):
  _touch(tmp_path, *(f"Run/r{i}.mp4" for i in range(8)), "Walk/v_Walk_g02_c01.webm", "Walk/v_Walk_g09_c01.webm")
  found = _folder(tmp_path)
  assert found.classes == ("Run", "Walk")
  tests = {c.name for c in found.clips if c.split == "test"}
  assert tests == {"r0", "r4", "v_Walk_g02_c01"}
  with pytest.raises(UsageError, match="a folder for each class"):
    _folder(tmp_path / "Run")


def test_a_flat_folder_is_read_by_who_and_class(tmp_path):
  people = ["daria", "denis", "eli", "ido", "lena_a"]
  _touch(tmp_path, *(f"{who}_{what}.avi" for who in people for what in ("run", "wave1")))
  found = _folder(tmp_path)
  assert found.classes == ("run", "wave1") and {c.group for c in found.clips} == {1, 2, 3, 4, 5}
  # Whole people go to testing, every fourth of them.
  assert {c.name for c in found.clips if c.split == "test"} == {"daria_run", "daria_wave1", "lena_a_run", "lena_a_wave1"}
  assert {c.name for c in _folder(tmp_path, groups=[2]).clips} == {"denis_run", "denis_wave1"}
  _touch(tmp_path, "nobody.avi")
  with pytest.raises(UsageError, match="--clip_pattern"):
    _folder(tmp_path)


def test_numbered_groups_leave_clips_on_both_sides(tmp_path):
  for first in (1, 10):
    folder = tmp_path / str(first)
    _touch(folder, *(f"{c}/v_{c}_g{first + n:02d}_c01.avi" for c in ("Run", "Walk") for n in range(5)))
    assert {c.group for c in _folder(folder).clips if c.split == "test"} == {first, first + 4}


def test_one_group_alone_is_for_training(tmp_path):
  _touch(tmp_path, "Run/v_Run_g09_c01.avi", "Walk/v_Walk_g09_c01.avi")
  assert {c.split for c in _folder(tmp_path).clips} == {"train"}


def test_groups_that_no_clip_has_are_named(tmp_path):
  _touch(tmp_path, "YoYo/v_YoYo_g08_c01.avi")
  with pytest.raises(UsageError, match=r"--groups: no clip found is of the groups \[99\]; those of ucf101's lists are 1 to 25"):
    _ucf101(tmp_path, True, groups=[99])


@pytest.mark.parametrize("line", ["A/", "./x.avi", "/x.avi", "A/.avi/b", "A"])
def test_lines_that_name_no_clip(tmp_path, line):
  (tmp_path / "list.txt").write_text(f"Archery/v_Archery_g01_c01.avi\n{line}\n")
  with pytest.raises(UsageError, match="list.txt: line 2: expected 'Class/video.avi"):
    lists.read_split_list(tmp_path / "list.txt")


def test_names_of_another_form_are_read_by_a_pattern(tmp_path):
  _touch(tmp_path, "person01_boxing_d1.avi", "person02_boxing_d1.avi", "person01_running_d2.avi")
  found = _folder(tmp_path, pattern=r"(?P<group>person\d+)_(?P<class>[a-z]+)_d\d")
  assert found.classes == ("boxing", "running") and {c.name: c.group for c in found.clips}["person02_boxing_d1"] == 2
  for bad, text in (("(", "regular expression"), ("(?P<group>person.*)", "P<class>")):
    with pytest.raises(UsageError, match=text):
      _folder(tmp_path, pattern=bad)


def _hmdb51_lists(folder):
  folder.mkdir()
  (folder / "wave_test_split2.txt").write_text(
    "A_FILM_wave_f_nm_np1_fr_goo_37.avi 1 \nA_FILM_wave_u_cm_np1_fr_med_0.avi 1 \nOther_one_wave_u_cm_np2_fr_med_3.avi 2 \n"
    "Left_out_wave_u_cm_np1_fr_med_9.avi 0 \n"
  )
  (folder / "kick_ball_test_split2.txt").write_text("A_FILM_kick_ball_f_cm_np1_ri_bad_1.avi 2\n")
  return folder


def test_hmdb51_split_files(tmp_path):
  found = lists.hmdb51(2, _hmdb51_lists(tmp_path / "splits"))
  assert len(found.classes) == 51 and found.classes.index("kick_ball") < found.classes.index("kick"), "the authors' order"
  rows = {e.names[0]: (e.class_name, e.split, e.group) for e in found.entries}
  assert rows["A_FILM_wave_f_nm_np1_fr_goo_37"] == ("wave", "train", 1)
  # Left_out is the second film: who is left out of a split changes no number.
  assert rows["Other_one_wave_u_cm_np2_fr_med_3"][1:] == ("test", 3)
  assert rows["A_FILM_kick_ball_f_cm_np1_ri_bad_1"] == ("kick_ball", "test", 1), "the group is the film"
  assert len(rows) == 4
  with pytest.raises(UsageError, match="--lists is required for hmdb51"):
    lists.hmdb51(1, None)
  with pytest.raises(UsageError, match="brush_hair_test_split1.txt.*found kick_ball_test_split2.txt"):
    lists.hmdb51(1, tmp_path / "splits")
  (tmp_path / "splits" / "wave_test_split2.txt").write_text("a.avi train\n")
  with pytest.raises(UsageError, match="wave_test_split2.txt: line 1"):
    lists.hmdb51(2, tmp_path / "splits")


def test_kinetics_lists_match_either_name_and_miss_what_is_gone(tmp_path):
  splits = tmp_path / "lists"
  splits.mkdir()
  header = "label,youtube_id,time_start,time_end,split\n"
  (splits / "kinetics_train.csv").write_text(header + "playing cello,AbC-1_xyZ,3,13,train\nplaying violin,abC-1_xyZ,8,18,train\n")
  (splits / "val.csv").write_text(header + "playing cello,SOX5yA1l24A,1,11,val\nzumba,gone,1,11,val\n")
  _touch(tmp_path / "v", "playing_cello/AbC-1_xyZ_000003_000013.mp4", "x/abC-1_xyZ.webm", "SOX5yA1l24A.mp4")
  found = inventory.videos_by_name(inventory.find_videos(tmp_path / "v"))
  made = catalogue.match_lists(lists.kinetics400(1, splits), found)
  # Ids differ by their case alone; the class that has no video is left out, and its clip is not missed.
  assert made.classes == ("playing cello", "playing violin") and made.missing == ()
  where = {c.name: (c.media.where.rpartition("/")[2], c.label, c.split) for c in made.clips}
  assert where["AbC-1_xyZ_000003_000013"] == ("AbC-1_xyZ_000003_000013.mp4", 0, "train")
  assert where["abC-1_xyZ_000008_000018"] == ("abC-1_xyZ.webm", 1, "train")
  assert where["SOX5yA1l24A_000001_000011"] == ("SOX5yA1l24A.mp4", 0, "test")
  (splits / "val.csv").write_text(header + "playing chello,a,1,11,val\n")
  with pytest.raises(UsageError, match="Nearest: playing cello"):
    lists.kinetics400(1, splits)
  (splits / "val.csv").write_text("name,id\n")
  with pytest.raises(UsageError, match="label, youtube_id is missing"):
    lists.kinetics400(1, splits)


def test_class_lists_of_the_other_sets():
  for name, count in (("hmdb51", 51), ("kinetics400", 400)):
    classes = lists.read_classes(resources.data_path(name, "classInd.txt"))
    assert len(classes) == len(set(classes)) == count
  assert "passing American football (in game)" in classes


def test_groups_are_parsed_or_refused():
  assert catalogue.parse_numbers("1-3,7", "groups") == {1, 2, 3, 7}
  assert catalogue.parse_numbers("", "groups") is None
  for bad in ("x", "3-1", "1-", "-2"):
    with pytest.raises(UsageError, match="--groups"):
      catalogue.parse_numbers(bad, "groups")


def test_two_clips_of_one_name_are_refused(tmp_path):
  _touch(tmp_path, "A/v.avi", "B/v.avi")
  with pytest.raises(UsageError, match="Two clips"):
    catalogue.check_unique(_folder(tmp_path).clips)


@pytest.mark.real
def test_the_real_folders_of_other_sets(real_data):
  found = _folder(real_data / "weizmann")
  assert len(found.clips) == 90 and len(found.classes) == 10 and {c.group for c in found.clips} == set(range(1, 10))


@pytest.mark.real
def test_the_real_subset_is_six_classes_in_official_order(real_data):
  found = _ucf101(real_data / "ucf101" / "videos", True)
  assert found.classes == ("Archery", "BasketballDunk", "HorseRace", "PlayingPiano", "PlayingViolin", "Surfing")
  assert [sum(c.split == s for c in found.clips) for s in ("train", "test")] == [280, 84]
