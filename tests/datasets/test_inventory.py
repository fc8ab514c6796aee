"""Clips from released pictures and from sets of TFDS."""

from __future__ import annotations

import shutil

import cv2
import numpy as np
import pytest
import tensorflow_datasets as tfds
from tensorflow_datasets.core import registered

from tbvis.datasets import catalogue, decoding, flow, inventory, lists, media, preparation, reader
from tbvis.errors import UsageError
from tests.datasets.conftest import write_video

# Together they take a good part of a minute.
pytestmark = pytest.mark.slow

NAMES = {"train": ("v_Archery_g08_c01", "v_YoYo_g08_c01"), "test": ("v_Archery_g01_c01", "v_YoYo_g01_c01")}


def write_archives(folder, videos, width=256):
  """Writes videos as jpegs_256/<clip>/frame%06d.jpg and tvl1_flow/{u,v}/<clip>/frame%06d.jpg."""
  for path in sorted(videos.rglob("*.avi")):
    frames = media.read_video(path, width)
    fields = [flow.quantize(f) for f in (flow.compute_flow(a, b) for a, b in zip(frames[:-1], frames[1:], strict=True))]
    series = {
      "jpegs_256": [f[..., ::-1] for f in frames],
      "tvl1_flow/u": [f[..., 0] for f in fields],
      "tvl1_flow/v": [f[..., 1] for f in fields],
    }
    for kind, pictures in series.items():
      (folder / kind / path.stem).mkdir(parents=True)
      for number, picture in enumerate(pictures, 1):
        cv2.imwrite(str(folder / kind / path.stem / f"frame{number:06d}.jpg"), picture)


@pytest.fixture
def archives(video_folder, tmp_path):
  write_archives(tmp_path, video_folder)
  return tmp_path


def _found(folder, flow_dir="tvl1_flow"):
  return inventory.pictures_by_name(folder / "jpegs_256", folder / flow_dir if flow_dir else None)


def test_released_pictures_are_kept_bit_by_bit(archives):
  made = catalogue.match_lists(lists.ucf101(1), _found(archives), allow_missing=True)
  assert {s: {c.name for c in made.clips if c.split == s} for s in NAMES} == {s: set(n) for s, n in NAMES.items()}
  done = preparation.prepare(made, archives / "data", flow="tvl1", processes=2)
  assert done.name == "ucf101_split1_tvl1" and not done.skipped and "clipped_fraction" not in done.report
  clip = next(iter(reader.open_dataset(archives / "data", done.name).clips("test")))
  name = clip["clip"].numpy().decode()
  for key, folder in (("frames", "jpegs_256"), ("flow_u", "tvl1_flow/u"), ("flow_v", "tvl1_flow/v")):
    files = sorted((archives / folder / name).iterdir())
    assert [data.numpy() for data in clip[key]] == [path.read_bytes() for path in files], key


def test_pictures_without_flow_get_theirs(archives):
  clip = _found(archives, flow_dir=None)["v_YoYo_g01_c01"]
  encoded = decoding.encode_clip(clip, "dis")
  assert encoded.frames[3] == (archives / "jpegs_256" / "v_YoYo_g01_c01" / "frame000004.jpg").read_bytes()
  u = cv2.imdecode(np.frombuffer(encoded.flow_u[6], np.uint8), cv2.IMREAD_GRAYSCALE)
  # 2 pixels a frame at 64 rows are 8 at 256.
  assert np.median(flow.dequantize(u[64:-64, 64:-64])) == pytest.approx(8, abs=0.5)


def test_tsn_layout(archives):
  folder = archives / "tsn" / "v_YoYo_g01_c01"
  folder.mkdir(parents=True)
  for kind, name in (("jpegs_256", "img"), ("tvl1_flow/u", "flow_x"), ("tvl1_flow/v", "flow_y")):
    for path in (archives / kind / "v_YoYo_g01_c01").iterdir():
      shutil.copy(path, folder / f"{name}_{int(path.stem[5:]):05d}.jpg")
  (clip,) = inventory.pictures_by_name(archives / "tsn", archives / "tsn").values()
  found, expected = decoding.encode_clip(clip, "tvl1"), decoding.encode_clip(_found(archives)["v_YoYo_g01_c01"], "tvl1")
  assert (found.frames, found.flow_u, found.flow_v) == (expected.frames, expected.flow_u, expected.flow_v)
  assert found.flow_u != found.flow_v
  # Flow that lies there and is not asked for is not taken for frames.
  (clip,) = inventory.pictures_by_name(archives / "tsn", None).values()
  assert decoding.encode_clip(clip, "dis").frames == expected.frames


def _spoil_missing(folder):
  (folder / "jpegs_256/v_YoYo_g01_c01/frame000004.jpg").unlink()


def _spoil_first(folder):
  (folder / "tvl1_flow/u/v_YoYo_g01_c01/frame000001.jpg").unlink()


def _spoil_short(folder):
  path = folder / "tvl1_flow/v/v_YoYo_g01_c01/frame000005.jpg"
  path.write_bytes(path.read_bytes()[:-300])


def _spoil_empty(folder):
  (folder / "jpegs_256/v_YoYo_g01_c01/frame000004.jpg").write_bytes(b"")


def _spoil_size(folder):
  cv2.imwrite(str(folder / "tvl1_flow/v/v_YoYo_g01_c01/frame000005.jpg"), np.zeros((32, 48), np.uint8))


def _spoil_flow(folder):
  for part in "uv":
    for number in range(8, 14):
      (folder / f"tvl1_flow/{part}/v_YoYo_g01_c01/frame{number:06d}.jpg").unlink()


@pytest.mark.parametrize(
  ("spoil", "reason"),
  [
    (_spoil_missing, "lacks picture number 4"),
    (_spoil_first, "lacks picture number 1"),
    (_spoil_short, "cut short or broken.*frame000005"),
    (_spoil_empty, "cut short or broken.*frame000004"),
    (_spoil_size, "several sizes.*frame000005"),
    (_spoil_flow, "14 frames and 7 flow pictures, expected 13"),
  ],
)
def test_spoilt_pictures_are_refused_by_name(archives, spoil, reason):
  spoil(archives)
  with pytest.raises(media.BadClip, match=reason):
    decoding.encode_clip(_found(archives)["v_YoYo_g01_c01"], "tvl1")


def test_flow_of_another_size_is_refused(video_folder, tmp_path):
  write_archives(tmp_path, video_folder, 128)
  with pytest.raises(media.BadClip, match="192x128.*short side of 256"):
    decoding.encode_clip(_found(tmp_path)["v_YoYo_g01_c01"], "tvl1")


def test_flow_of_nearly_the_frames_size_is_refused(archives):
  for part in "uv":
    for path in (archives / "tvl1_flow" / part / "v_YoYo_g01_c01").iterdir():
      cv2.imwrite(str(path), cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)[:, :-4])
  with pytest.raises(media.BadClip, match="frames of 384x256 and pictures of u of 380x256"):
    decoding.encode_clip(_found(archives)["v_YoYo_g01_c01"], "tvl1")


def test_pictures_of_one_number_are_not_mixed(archives):
  folder = archives / "jpegs_256" / "v_YoYo_g01_c01"
  shutil.copy(folder / "frame000003.jpg", folder / "other_3.jpg")
  with pytest.raises(media.BadClip, match="two pictures of number 3"):
    decoding.encode_clip(_found(archives, flow_dir=None)["v_YoYo_g01_c01"], "dis")


def test_folders_of_another_layout_are_refused(archives):
  (archives / "flat").mkdir()
  for frames, flow_dir, text in (
    ("jpegs_265", "tvl1_flow", "Nearest: jpegs_256"),
    ("flat", "tvl1_flow", "a folder of pictures for each clip"),
    ("jpegs_256", "flat", "the folders u and v in .*found nothing"),
  ):
    with pytest.raises(UsageError, match=text):
      inventory.pictures_by_name(archives / frames, archives / flow_dir)


with registered.skip_registration():  # TFDS' own set of that name stays what it is.

  class Ucf101(tfds.core.GeneratorBasedBuilder):
    """Videos in the form of TFDS' own UCF101: its features, its keys, no names."""

    VERSION = tfds.core.Version("2.0.0")
    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name="ucf101_1", description="")]
    videos = {}

    def _info(self):
      names = list(lists.read_classes(lists.resources.data_path("ucf101", "classInd.txt")))
      video = tfds.features.Video((None, None, None, 3), encoding_format="jpeg")
      return tfds.core.DatasetInfo(
        builder=self, features=tfds.features.FeaturesDict({"video": video, "label": tfds.features.ClassLabel(names=names)})
      )

    def _split_generators(self, dl_manager):
      return {split: self._generate_examples(names) for split, names in self.videos.items()}

    def _generate_examples(self, names):
      for name, path in names.items():
        frames = media.read_video(path, 64)
        yield (
          f"{name}.avi".replace("HandStand", "Handstand"),
          {"video": frames, "label": name.split("_")[1].replace("HandStand", "Handstand")},
        )


@pytest.fixture(scope="module")
def tfds_dir(tmp_path_factory):
  folder = tmp_path_factory.mktemp("tfds")
  keys = {
    "train": [f"v_{c}_g{g:02d}_c01" for c in ("Archery", "HandstandPushups", "YoYo") for g in (8, 9, 10)],
    "test": list(NAMES["test"]),
  }
  Ucf101.videos = {}
  for split, names in keys.items():
    for number, name in enumerate(names):
      write_video(folder / "videos" / f"{name}.avi", seed=number, frames=12 + number)
    Ucf101.videos[split] = {name: folder / "videos" / f"{name}.avi" for name in names}
  Ucf101(config="ucf101_1", data_dir=str(folder / "sets")).download_and_prepare()
  return folder, keys


def test_clips_of_tfds_get_their_names_back(tfds_dir):
  folder, keys = tfds_dir
  found = inventory.tfds_by_name("ucf101/ucf101_1", keys, folder / "sets")
  inventory.check_labels(found, {n: n.split("_")[1] for names in keys.values() for n in names})
  for split, names in keys.items():
    for number, name in enumerate(names):
      # Each was written with a length of its own.
      assert len(media.read_record(found[name])) == 12 + number, (split, name)
  frames = media.read_record(found["v_YoYo_g10_c01"])
  assert frames.shape == (20, 256, 384, 3)
  original = media.read_video(folder / "videos" / "v_YoYo_g10_c01.avi")
  assert np.abs(frames.astype(int) - original).mean() < 6


def test_a_tfds_set_of_other_clips_is_refused(tfds_dir):
  folder, keys = tfds_dir
  with pytest.raises(UsageError, match="expected the 1 train clips of the list, found 9"):
    inventory.tfds_by_name("ucf101/ucf101_1", {"train": ["v_YoYo_g08_c01"]}, folder / "sets")
  others = {"train": [f"v_Other_g{g:02d}_c01" for g in range(9)]}
  found = inventory.tfds_by_name("ucf101/ucf101_1", others, folder / "sets")
  with pytest.raises(UsageError, match="is of class .*; by the list it should be"):
    inventory.check_labels(found, dict.fromkeys(others["train"], "Archery"))
  with pytest.raises(UsageError, match="--tfds=ucf101/ucf101_9"):
    inventory.tfds_by_name("ucf101/ucf101_9", keys, folder / "sets")
  with pytest.raises(UsageError, match="Give --tfds_dir, or --download"):
    inventory.tfds_by_name("ucf101/ucf101_2", keys, folder / "sets")
