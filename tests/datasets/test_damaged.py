"""Damaged videos, pictures and lists: each is refused in one line, or read as far as it goes."""

from __future__ import annotations

import pathlib
import shutil
import tempfile

import cv2
import numpy as np
import pytest

from tbvis import limits
from tbvis.datasets import lists, media
from tbvis.errors import UsageError
from tests.datasets.conftest import write_video
from tests.weights import fuzz

CODECS = {".avi": "MJPG", ".mp4": "mp4v", ".webm": "VP80", ".mkv": "XVID"}


def read_video(path):
  try:
    media.read_video(path)
  except media.BadClip as error:
    raise UsageError(f"{path}: {error}") from error  # The clip's name is told by whoever skips it.


def read_picture(path):
  with tempfile.TemporaryDirectory(dir=path.parent) as name:
    (pathlib.Path(name) / "frame000001.jpg").symlink_to(path)
    try:
      media.read_pictures(media.Pictures(name))
    except media.BadClip as error:
      raise UsageError(f"{path}: {error}") from error


def _in_folder(path, name, read):
  with tempfile.TemporaryDirectory(dir=path.parent) as folder:
    shutil.copy(path, pathlib.Path(folder) / name)
    try:
      read(pathlib.Path(folder))
    except UsageError as error:
      raise UsageError(str(error).replace(name, path.name)) from error


def read_hmdb51(path):
  _in_folder(path, "wave_test_split1.txt", lambda folder: lists.hmdb51(1, folder))


def read_kinetics(path):
  _in_folder(path, "train.csv", lambda folder: lists.kinetics400(1, folder))


def read_ucf101(path):
  lists.read_split_list(path)


@pytest.mark.parametrize("suffix", CODECS)
def test_videos_of_every_suffix_are_read(tmp_path, suffix):
  path = write_video(tmp_path / f"a{suffix}", codec=CODECS[suffix])
  frames = media.read_video(path)
  assert frames.shape == (14, 256, 384, 3)
  # The texture moves to the right; a decoder that turned colours or rows around would not find it where it was filmed.
  first = media.read_video(write_video(tmp_path / "b.avi"))
  assert np.corrcoef(frames.ravel().astype(float), first.ravel().astype(float))[0, 1] > 0.95


@pytest.mark.slow
@pytest.mark.parametrize("suffix", (".avi", ".mp4", ".webm"))
def test_damaged_videos(tmp_path, suffix):
  path = write_video(tmp_path / f"a{suffix}", codec=CODECS[suffix], frames=11)
  counts = fuzz.outcomes("tests.datasets.test_damaged:read_video", path, tmp_path, count=500)
  assert counts["refused"] > 50 and sum(counts.values()) == 500


@pytest.mark.slow
def test_damaged_pictures(tmp_path):
  image = cv2.GaussianBlur(np.random.default_rng(0).uniform(0, 255, (256, 340, 3)).astype(np.float32), (0, 0), 4)
  cv2.imwrite(str(tmp_path / "a.jpg"), cv2.normalize(image, None, 0, 255, cv2.NORM_MINMAX))
  counts = fuzz.outcomes("tests.datasets.test_damaged:read_picture", tmp_path / "a.jpg", tmp_path, count=500)
  assert counts["refused"] > 50 and sum(counts.values()) == 500


@pytest.mark.parametrize(
  ("reader", "text"),
  [
    ("read_ucf101", "".join(f"Archery/v_Archery_g{g:02d}_c01.avi {g}\n" for g in range(1, 26))),
    ("read_hmdb51", "".join(f"Some_film_{n}_wave_f_nm_np1_fr_goo_{n}.avi {n % 3} \n" for n in range(20))),
    ("read_kinetics", "label,youtube_id,time_start,time_end,split\n" + "".join(f"zumba,id{n},1,11,train\n" for n in range(20))),
  ],
)
@pytest.mark.slow
def test_damaged_lists(tmp_path, reader, text):
  path = tmp_path / "list.txt"
  path.write_text(text)
  counts = fuzz.outcomes(f"tests.datasets.test_damaged:{reader}", path, tmp_path, count=500)
  assert counts["refused"] > 50 and sum(counts.values()) == 500


def test_a_video_that_breaks_off_is_not_taken_for_a_shorter_one(tmp_path):
  path = write_video(tmp_path / "a.avi", frames=40)
  data = path.read_bytes()
  path.write_bytes(data[: len(data) * 6 // 10])
  with pytest.raises(media.BadClip, match=r"breaks off: of 40 frames that it declares 2\d can be decoded"):
    media.read_video(path)


def test_a_video_that_does_not_fit_into_memory_is_refused_before_it_is_read(tmp_path, monkeypatch):
  path = write_video(tmp_path / "a.avi", frames=14)
  monkeypatch.setattr(limits, "available_bytes", lambda: 5 << 20)
  monkeypatch.setattr(media._Capture, "read", lambda self: pytest.fail("read"))
  with pytest.raises(media.BadClip, match="declares 14 frames, which take 4 MiB; half of what is free is 2 MiB"):
    media.read_video(path)


def test_a_video_that_declares_too_little_is_refused_when_memory_ends(tmp_path, monkeypatch):
  path = write_video(tmp_path / "a.avi", frames=14)
  monkeypatch.setattr(limits, "available_bytes", lambda: 5 << 20)
  monkeypatch.setattr(media._Capture, "check_declared", lambda *arguments: None)
  with pytest.raises(media.BadClip, match="9 frames take 3 MiB"):
    media.read_video(path)
