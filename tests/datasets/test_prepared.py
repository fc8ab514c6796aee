"""Videos are prepared, read back and sampled: the whole data path on real files."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tbvis import datasets
from tbvis.datasets import media, reader, snippets
from tbvis.errors import UsageError
from tbvis.models import sampling as sampling_lib
from tests.datasets.conftest import prepare_folder, write_video

MEAN = (123.68, 116.779, 103.939)


@pytest.fixture(scope="module")
def prepared(video_folder, tmp_path_factory):
  # One broken file, one too short: skipped by name.

  extra = [video_folder / "YoYo" / "v_YoYo_g09_c01.avi", video_folder / "YoYo" / "v_YoYo_g10_c01.avi"]
  extra[0].write_bytes(b"no video")
  write_video(extra[1], frames=6)
  data_dir = tmp_path_factory.mktemp("data")
  made = prepare_folder(video_folder, data_dir, "tiny")
  for path in extra:
    path.unlink()
  return data_dir, made


def test_bad_videos_are_named_and_counted(prepared):
  _, made = prepared
  reasons = dict(made.skipped)
  assert set(reasons) == {"v_YoYo_g09_c01", "v_YoYo_g10_c01"}
  assert "cannot be opened" in reasons["v_YoYo_g09_c01"] and "6 frames, fewer than 11" in reasons["v_YoYo_g10_c01"]


def test_reading_back(prepared):
  data_dir, _ = prepared
  data = reader.open_dataset(data_dir, "tiny_split1_dis")
  assert data.classes == ("Archery", "YoYo") and data.splits == {"train": 2, "test": 2}
  clip = next(iter(data.clips("test")))
  assert clip["frames"].shape == (14,) and clip["flow_u"].shape == (13,)
  picture = tf.io.decode_jpeg(clip["frames"][0])
  assert picture.shape == (256, 384, 3)
  assert data.groups("train") == (8,)
  assert not list(data.clips("train", groups=[3]))
  with pytest.raises(UsageError, match="'tests'.*test"):
    data.clips("tests")


def test_some_classes_are_a_set_with_labels_of_its_own(prepared):
  whole = reader.open_dataset(prepared[0], "tiny_split1_dis")
  data = whole.of_classes(["YoYo"])
  assert data.classes == ("YoYo",) and data.splits == {"train": 1, "test": 1}
  assert [(c["clip"].numpy().decode(), int(c["label"])) for c in data.clips("test")] == [("v_YoYo_g01_c01", 0)]
  assert data.groups("train") == (8,) and not list(data.clips("train", groups=[1]))
  # The order is that of the set, however the classes are given.
  both = whole.of_classes(["YoYo", "Archery"])
  assert both.classes == whole.classes
  labels = {c["clip"].numpy().decode(): int(c["label"]) for c in both.clips("test")}
  assert labels == {"v_Archery_g01_c01": 0, "v_YoYo_g01_c01": 1}
  # A choice among those chosen.
  assert [int(c["label"]) for c in both.of_classes(["YoYo"]).clips("test")] == [0]
  with pytest.raises(UsageError, match="Unknown class 'YoYos' in prepared set 'tiny_split1_dis'. Nearest: YoYo"):
    whole.of_classes(["Archery", "YoYos"])


def test_second_preparation_reuses_the_first(prepared, video_folder):
  data_dir, _ = prepared

  # The two clips that were refused are gone since; the set is still of what is there.
  with pytest.raises(UsageError, match="from 6 clips, and this would be of 4"):
    prepare_folder(video_folder, data_dir, "tiny")


def test_names_that_do_not_exist(prepared, tmp_path):
  data_dir, _ = prepared
  with pytest.raises(UsageError, match="Nearest: tiny_split1_dis"):
    reader.open_dataset(data_dir, "tiny_split1_tvl1")
  with pytest.raises(UsageError, match="tbvis-prepare"):
    reader.open_dataset(tmp_path, "tiny_split1_dis")


def test_another_version_is_refused(prepared, tmp_path):
  data_dir, made = prepared
  old = tmp_path / datasets.PREPARED_FOLDER / "tiny_split1_dis" / "0.9.0"
  old.mkdir(parents=True)
  (old / "dataset_info.json").write_text("{}")
  with pytest.raises(UsageError, match="version 0.9.0, expected 1.0.0"):
    reader.open_dataset(tmp_path, "tiny_split1_dis")


def _clip(prepared, name):
  data = reader.open_dataset(prepared[0], "tiny_split1_dis")
  return next(c for c in data.clips("test") if name in c["clip"].numpy().decode())


def test_flow_of_a_clip_has_the_direction_filmed(prepared):
  # 2 pixels a frame at 64 rows are 8 at 256.
  for name, expected in (("YoYo", 8.0), ("Archery", -8.0)):
    planes = snippets.read_snippet(_clip(prepared, name), tf.constant(6))["motion"]
    u = (np.median(planes[64:-64, 64:-64, 0::2]) - 128) * 40 / 255
    v = (np.median(planes[64:-64, 64:-64, 1::2]) - 128) * 40 / 255
    assert u == pytest.approx(expected, abs=0.5) and v == pytest.approx(0, abs=0.3)


def test_the_stack_is_centred_on_the_frame(prepared):
  clip = _clip(prepared, "YoYo")
  numbered = {**clip, "flow_u": tf.stack([tf.io.encode_jpeg(tf.fill([16, 16, 1], tf.cast(8 * i, tf.uint8))) for i in range(13)])}
  numbered["flow_v"] = numbered["flow_u"]
  planes = snippets.read_snippet(numbered, tf.constant(7))["motion"]
  # 0-based frame s has flow s - 5 ... s + 4, u and v in turn (METHOD 1.2).
  np.testing.assert_array_equal(planes[0, 0], np.repeat(8 * np.arange(2, 12), 2))
  # TSN's five follow it (METHOD 4.2).
  planes = snippets.read_snippet(numbered, tf.constant(7), sampling=sampling_lib.Sampling(flow_frames=5, flow_before=0))["motion"]
  np.testing.assert_array_equal(planes[0, 0], np.repeat(8 * np.arange(7, 12), 2))


def test_flip_mirrors_pictures_and_negates_u():
  picture = tf.constant(np.arange(12, dtype=np.uint8).reshape(1, 4, 3))
  planes = tf.constant(np.tile(np.array([100, 128, 130, 255], np.uint8)[None, :, None], (1, 1, 20)))
  found = {"appearance": picture, "motion": planes}
  plain = snippets.to_inputs(found, tf.constant(False), MEAN)
  flipped = snippets.to_inputs(found, tf.constant(True), MEAN)
  np.testing.assert_allclose(flipped["appearance"], plain["appearance"][:, ::-1])
  np.testing.assert_allclose(flipped["motion"][0, :, 1], plain["motion"][0, ::-1, 1])
  np.testing.assert_allclose(flipped["motion"][0, :, 0], -1 - plain["motion"][0, ::-1, 0])


def _drawing(clip, size, augmentation):
  """Returns a function from a seed to a training snippet, traced once as where it is trained on."""
  return tf.function(lambda seed: snippets.training_snippet(clip, seed, input_size=size, appearance_mean=MEAN, augmentation=augmentation))


def test_training_snippets_are_seeded_and_differ(prepared):
  clip = _clip(prepared, "YoYo")

  def draw(seed):
    return snippets.training_snippet(
      clip, tf.constant([0, seed]), input_size=48, appearance_mean=MEAN, augmentation=snippets.Augmentation()
    )

  first, again, other = draw(1), draw(1), draw(2)
  assert first["appearance"].shape == (48, 48, 3) and first["motion"].shape == (48, 48, 20)
  np.testing.assert_array_equal(first["motion"], again["motion"])
  assert not np.array_equal(first["appearance"], other["appearance"])


@pytest.mark.parametrize("ratio", [1, 2])
def test_borders25_crops_lie_near_two_corners(ratio):
  rule = snippets.Augmentation("borders25")

  @tf.function
  def draw():
    kinds = (tf.int32, tf.float32)
    return tf.map_fn(lambda i: snippets._crop(rule, tf.stack([1, i]), tf.stack([2, i]), ratio), tf.range(400), fn_output_signature=kinds)

  sides, places = (drawn.numpy() for drawn in draw())
  sides = sides * ratio
  assert sides.min() >= 168 and sides.max() <= 280 and len(np.unique(sides[:, 0])) > 40
  assert abs(sides.mean() - 224) < 5 and abs(np.corrcoef(sides.T)[0, 1]) < 0.15
  far = places[:, 0] > 0.5
  assert np.array_equal(far, places[:, 1] > 0.5) and 0.4 < far.mean() < 0.6
  assert ((places <= 0.25) | (places >= 0.75)).all() and places.min() >= 0 and places.max() <= 1
  assert abs(np.corrcoef(places[far].T)[0, 1]) < 0.2


def test_crops_of_both_rules_fit_into_the_frame(prepared):
  clip = _clip(prepared, "YoYo")  # 256 x 384: a side of 280 does not fit.
  for rule in ("regular", "borders25"):
    draw = _drawing(clip, 32, snippets.Augmentation(rule))
    for seed in range(20):
      drawn = draw(tf.constant([3, seed]))
      assert drawn["appearance"].shape == (32, 32, 3) and np.isfinite(drawn["appearance"]).all()
  with pytest.raises(ValueError, match="borders26"):
    snippets._crop(snippets.Augmentation("borders26"), tf.constant([0, 0]), tf.constant([0, 0]), 1)


@pytest.mark.slow
def test_noise_is_white_up_to_its_bound_and_each_input_has_its_own(prepared):
  clip = _clip(prepared, "YoYo")

  noises = ({}, {"appearance": 40.0, "motion": 8.0}, {"motion": 8.0})
  draws = [_drawing(clip, 48, snippets.Augmentation(noise=noise)) for noise in noises]
  levels = []
  for seed in range(12):
    plain, noisy, moved = (draw(tf.constant([0, seed])) for draw in draws)
    added = {stream: (noisy[stream] - plain[stream]).numpy() for stream in plain}
    appearance, motion = added["appearance"].std() / 40, added["motion"].std() / 8
    assert abs(appearance - motion) < 0.05 and abs(added["motion"].mean()) < 0.5, "one level a snippet, of mean zero"
    assert abs(np.corrcoef(added["appearance"][..., 0].ravel(), added["motion"][..., 0].ravel())[0, 1]) < 0.1
    np.testing.assert_array_equal(moved["appearance"], plain["appearance"])
    levels.append(appearance)
  assert min(levels) < 0.35 and 0.6 < max(levels) < 1.05


def test_evaluation_snippets_span_the_clip_and_mirror(prepared):
  found, frames = snippets.evaluation_snippets(_clip(prepared, "YoYo"), input_size=56, appearance_mean=MEAN, count=3)
  np.testing.assert_array_equal(frames[:, 0], [5, 6, 8, 5, 6, 8])
  assert found["appearance"].shape == (6, 64, 96, 3) and found["motion"].shape == (6, 64, 96, 20)
  np.testing.assert_allclose(found["appearance"][3], found["appearance"][0][:, ::-1], atol=1e-4)


def test_a_video_is_scaled_and_kept_in_rgb(video_folder):
  frames = media.read_video(video_folder / "YoYo" / "v_YoYo_g08_c01.avi")
  assert frames.shape == (14, 256, 384, 3) and frames.dtype == np.uint8
  with pytest.raises(media.BadClip, match="cannot be opened"):
    media.read_video(video_folder / "none.avi")


@pytest.mark.real
def test_real_xvid_clip_decodes_to_its_length(real_data):
  frames = media.read_video(real_data / "ucf101" / "videos" / "Archery" / "v_Archery_g01_c06.avi")
  assert frames.shape == (108, 256, 342, 3)
