"""Preparations that are interrupted, that crash, that meet broken clips and disks."""

from __future__ import annotations

import csv
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import pytest

from tbvis import datasets
from tbvis.datasets import builder, catalogue, decoding, inventory, preparation, reader, workroom
from tbvis.errors import UsageError
from tests.datasets.conftest import prepare_folder, write_video

# Every one takes a second or more.
pytestmark = pytest.mark.slow


@pytest.fixture
def videos(tmp_path):
  for name in ("Left", "Right"):
    for group in (1, 2, 8, 9):
      write_video(tmp_path / "videos" / name / f"v_{name}_g{group:02d}_c01.avi", shift=2.0 if name == "Left" else -2.0, seed=group)
  return tmp_path / "videos"


def _clips(folder):
  with open(folder / preparation.CLIPS, newline="") as stream:
    return list(csv.DictReader(stream))


def test_what_is_told_of_a_set(videos, tmp_path):
  made = prepare_folder(videos, tmp_path / "data", "v")
  assert not made.existed and made.counts == {"train": 4, "test": 4}
  rows = _clips(made.folder)
  assert [row["clip"] for row in rows if row["split"] == "test"] == [f"v_{n}_g{g:02d}_c01" for n in ("Left", "Right") for g in (1, 2)]
  assert all(row["frames"] == "14" and pathlib.Path(row["source"]).is_file() for row in rows)
  assert made.report["frames"] == 8 * 14 and made.report["clips"] == 8 and made.report["bytes_per_clip"] > 10_000
  assert json.loads((made.folder / preparation.REPORT).read_text()) == made.report
  assert [p.suffix for p in (tmp_path / "data" / datasets.PREPARING_FOLDER).iterdir()] == [".lock"], "the work folder is taken away"
  again = prepare_folder(videos, tmp_path / "data", "v")
  assert again.existed and again.report == made.report
  write_video(videos / "Left" / "v_Left_g03_c01.avi")
  with pytest.raises(UsageError, match="from 8 clips, and this would be of 9, which differ in v_Left_g03_c01"):
    prepare_folder(videos, tmp_path / "data", "v")


def test_a_set_of_other_labels_is_not_taken_for_this_one(videos, tmp_path):
  prepare_folder(videos, tmp_path / "data", "v")
  (videos / "Left" / "v_Left_g02_c01.avi").rename(videos / "Right" / "v_Left_g02_c01.avi")
  with pytest.raises(UsageError, match="which differ in v_Left_g02_c01"):
    prepare_folder(videos, tmp_path / "data", "v")
  (videos / "Right" / "v_Left_g02_c01.avi").rename(videos / "Left" / "v_Left_g02_c01.avi")
  (videos / "Left").rename(videos / "Back")
  with pytest.raises(UsageError, match="of the classes Left, Right"):
    prepare_folder(videos, tmp_path / "data", "v")


def test_a_finished_clip_that_the_disk_spoilt_is_made_again(videos, tmp_path):
  found = catalogue.folder_catalogue(inventory.find_videos(videos), videos, dataset="v")
  room = tmp_path / "data" / datasets.PREPARING_FOLDER / "v_split1_dis" / "clips"
  room.mkdir(parents=True)
  tasks = workroom.plan(found.clips, "dis", room)
  for task in tasks[:4]:
    workroom.finish(task)
  pathlib.Path(tasks[0].path).write_bytes(b"")
  data = pathlib.Path(tasks[1].path).read_bytes()
  pathlib.Path(tasks[1].path).write_bytes(data[:-40])
  data = bytearray(pathlib.Path(tasks[2].path).read_bytes())
  data[5000] ^= 1  # Within a picture: only its checksum tells.
  pathlib.Path(tasks[2].path).write_bytes(data)
  with pytest.raises(UsageError, match=f"the finished clip {tasks[2].clip.name} was spoilt on the disk"):
    preparation.prepare(found, tmp_path / "data", processes=1)
  assert preparation.prepare(found, tmp_path / "data", processes=1).report["reused_clips"] == 7


def test_finished_clips_are_not_made_again(videos, tmp_path, monkeypatch):
  found = catalogue.folder_catalogue(inventory.find_videos(videos), videos, dataset="v")
  room = tmp_path / "data" / datasets.PREPARING_FOLDER / "v_split1_dis" / "clips"
  room.mkdir(parents=True)
  tasks = workroom.plan(found.clips, "dis", room)
  for task in tasks[:5]:
    assert not workroom.finish(task)
  made = []
  monkeypatch.setattr(decoding, "encode_clip", lambda *arguments: made.append(arguments))
  assert workroom.finish(tasks[0]) == "" and not made
  monkeypatch.undo()
  assert preparation.prepare(found, tmp_path / "data", processes=1).report["reused_clips"] == 5


def test_a_changed_clip_or_flow_is_made_anew(videos, tmp_path):
  found = catalogue.folder_catalogue(inventory.find_videos(videos), videos)
  before = [t.path for t in workroom.plan(found.clips, "dis", tmp_path)]
  assert not set(before) & {t.path for t in workroom.plan(found.clips, "tvl1", tmp_path)}
  write_video(pathlib.Path(found.clips[0].media.path), frames=15)
  after = [t.path for t in workroom.plan(found.clips, "dis", tmp_path)]
  assert after[0] != before[0] and after[1:] == before[1:]


def test_a_clip_comes_back_as_it_was_written(videos, tmp_path):
  encoded = decoding.encode_clip(catalogue.folder_catalogue(inventory.find_videos(videos), videos).clips[0].media, "dis")
  workroom.write_clip(str(tmp_path / "a.zip"), encoded)
  assert workroom.read_clip(str(tmp_path / "a.zip")) == encoded
  summary = workroom.read_summary(str(tmp_path / "a.zip"))
  assert summary.frames == 14 and summary.size == sum(map(len, encoded.frames + encoded.flow_u + encoded.flow_v))


def test_what_the_disk_spoilt_is_found(videos, tmp_path, monkeypatch):
  build = preparation._build

  def spoil(*arguments):
    folder = build(*arguments)
    (path,) = folder.glob("*test.tfrecord*")
    # A reader of TFRecords checks a record's own checksum, so the whole record is written anew with one picture changed.
    import tensorflow as tf

    records = [r.numpy() for r in tf.data.TFRecordDataset(str(path))]
    at = records[1].rindex(b"\xff\xd8") + 400
    records[1] = records[1][:at] + bytes([records[1][at] ^ 1]) + records[1][at + 1 :]
    with tf.io.TFRecordWriter(str(path)) as writer:
      for record in records:
        writer.write(record)
    return folder

  monkeypatch.setattr(preparation, "_build", spoil)
  with pytest.raises(UsageError, match="was not written as it was encoded"):
    prepare_folder(videos, tmp_path / "data", "v")
  assert not reader.prepared_names(tmp_path / "data")
  monkeypatch.undo()
  assert prepare_folder(videos, tmp_path / "data", "v").report["reused_clips"] == 8


def test_two_processes_do_not_prepare_one_set(videos, tmp_path):
  room = tmp_path / "data" / datasets.PREPARING_FOLDER / "v_split1_dis"
  with workroom.locked(room, "v_split1_dis"), pytest.raises(UsageError, match="Another process is preparing v_split1_dis"):
    prepare_folder(videos, tmp_path / "data", "v")
  assert prepare_folder(videos, tmp_path / "data", "v").counts == {"train": 4, "test": 4}


def test_without_room_nothing_is_begun(videos, tmp_path, monkeypatch):
  monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9, 1000))
  with pytest.raises(UsageError, match="GB of room .*found 0.0 GB. The clips are kept"):
    prepare_folder(videos, tmp_path / "data", "v")


def test_no_clip_of_a_split_can_be_used(videos, tmp_path):
  for path in videos.rglob("*_g0[12]_*.avi"):
    path.write_bytes(b"no video")
  with pytest.raises(UsageError, match="None of the 4 test clips can be used; the first, v_Left_g01_c01, cannot be opened"):
    prepare_folder(videos, tmp_path / "data", "v")


@pytest.mark.slow
def test_a_clip_that_ends_its_process_is_refused_and_the_others_go_on(videos, tmp_path):
  # The workers are processes of their own, so what they call is changed where they find it: in a file that they import.
  hook = tmp_path / "hook"
  hook.mkdir()
  (hook / "sitecustomize.py").write_text(
    "import os, signal, sys\n"
    "import importlib.abc, importlib.util\n"
    "class Finder(importlib.abc.MetaPathFinder):\n"
    "  def find_spec(self, name, path, target=None):\n"
    "    if name != 'tbvis.datasets.decoding':\n"
    "      return None\n"
    "    sys.meta_path.remove(self)\n"
    "    spec = importlib.util.find_spec(name)\n"
    "    run = spec.loader.exec_module\n"
    "    def exec_module(module):\n"
    "      run(module)\n"
    "      encode = module.encode_clip\n"
    "      def dying(clip, method):\n"
    "        if 'Left_g02' in clip.where:\n"
    "          os.kill(os.getpid(), signal.SIGKILL)\n"
    "        return encode(clip, method)\n"
    "      module.encode_clip = dying\n"
    "    spec.loader.exec_module = exec_module\n"
    "    return spec\n"
    "sys.meta_path.insert(0, Finder())\n"
  )
  command = [sys.executable, "-m", "tbvis.scripts.prepare", f"--videos={videos}", "--name=v", f"--data_dir={tmp_path / 'data'}"]
  environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(hook), os.getcwd()])}
  done = subprocess.run(command, env=environment, capture_output=True, text=True)
  assert done.returncode == 0, done.stderr
  assert "skipped v_Left_g02_c01: it ends the process that reads it" in done.stdout and "4 train, 3 test" in done.stdout


@pytest.mark.slow
def test_beam_makes_the_same_set_and_goes_on(videos, tmp_path):
  pytest.importorskip("apache_beam")
  write_video(videos / "Left" / "v_Left_g10_c01.avi", frames=5)
  alone = prepare_folder(videos, tmp_path / "alone", "v")
  data = tmp_path / "data"
  common = [sys.executable, "-m", "tbvis.scripts.prepare", f"--videos={videos}", "--name=v", f"--data_dir={data}"]
  command = [*common, "--runner=DirectRunner", "--direct_num_workers=2"]
  process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
  clips = data / datasets.PREPARING_FOLDER / "v_split1_dis" / "clips"
  while process.poll() is None and len(list(clips.glob("*.zip"))) < 2:
    time.sleep(0.05)
  if process.poll() is None:
    os.killpg(process.pid, signal.SIGKILL)
  process.communicate()
  done = subprocess.run(command, capture_output=True, text=True)
  assert done.returncode == 0, done.stderr
  assert "skipped v_Left_g10_c01: it has 5 frames, fewer than 11" in done.stdout
  made = reader.open_dataset(data, "v_split1_dis")
  assert made.splits == alone.counts
  assert _clips(data / datasets.PREPARED_FOLDER / "v_split1_dis" / builder.CURRENT_VERSION) == _clips(alone.folder)
