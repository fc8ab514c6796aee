"""Exported stimuli, decoded again: every frame, its time, its colours, and the values bit by bit."""

from __future__ import annotations

import importlib.util
import io
import json
import pathlib
import re
import subprocess
import sys

import cv2
import numpy as np
from PIL import Image
import pytest

from tbvis.errors import UsageError
from tbvis.rendering import export
from tbvis.rendering.appearance import appearance_to_rgb
from tbvis.rendering.flow_color import flow_to_rgb

ROOT = pathlib.Path(__file__).resolve().parents[2]
NAME = "prediction/PlayingCello/chi=10"
WITHOUT_MP4 = ("png", "gif", "webp", "npz")

needs_ffmpeg = pytest.mark.skipif(
  importlib.util.find_spec("imageio_ffmpeg") is None, reason="needs imageio-ffmpeg: pip install 'tbvis[export]'"
)


def values(height=16, width=24, frames=4, components=2, seed=0):
  """A smooth field, as stimuli are: float32 (H, W, frames, components)."""
  field = np.random.default_rng(seed).normal(size=(height, width, frames * components)).astype(np.float32)
  return (9 * cv2.GaussianBlur(field, (0, 0), 2.5)).reshape(height, width, frames, components)


def stimulus():
  return {"appearance": values(frames=1, components=3), "motion": values(frames=10)}


def read_film(path):
  """Returns uint8 RGB (T, H, W, 3) and the milliseconds of each frame, as Pillow reads them."""
  frames, times = [], []
  with Image.open(path) as image:
    assert image.info.get("loop") == 0
    for index in range(image.n_frames):
      image.seek(index)
      frames.append(np.asarray(image.convert("RGB")))
      times.append(image.info["duration"])
  return np.stack(frames), times


def read_png(path):
  with Image.open(path) as image:
    assert (image.format, image.mode) == ("PNG", "RGB")
    return np.asarray(image)


def read_mp4(path):
  """Returns uint8 RGB (T, H, W, 3), frames a second and the codec, as OpenCV reads them."""
  capture = cv2.VideoCapture(str(path))
  codec = int(capture.get(cv2.CAP_PROP_FOURCC)).to_bytes(4, "little").decode()
  rate, frames = capture.get(cv2.CAP_PROP_FPS), []
  while True:
    good, frame = capture.read()
    if not good:
      return np.stack(frames), rate, codec
    frames.append(frame[..., ::-1])


def difference(a, b):
  assert a.shape == b.shape
  return float(np.abs(a.astype(int) - b.astype(int)).mean())


def names(folder):
  return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_a_still_and_a_film_give_these_files_and_no_others(tmp_path):
  paths = export.export_stimulus(tmp_path, NAME, stimulus(), {"seed": 0}, WITHOUT_MP4)
  folder = tmp_path / "prediction" / "PlayingCello" / "chi=10"
  films = ["motion", "together"]
  expected = ["appearance.png", "config.json", "values.npz"] + [f"{film}.{kind}" for film in films for kind in ("png", "gif", "webp")]
  assert names(folder) == sorted(expected)
  assert sorted(paths) == sorted(folder / name for name in expected), "the files returned are not those written"
  assert names(tmp_path) == [f"{NAME}/{name}" for name in names(folder)]


def test_a_still_is_drawn_from_its_smallest_to_its_largest_value(tmp_path):
  inputs = stimulus()
  export.export_stimulus(tmp_path, "a", inputs, {}, ["png"])
  picture = read_png(tmp_path / "a" / "appearance.png")
  np.testing.assert_array_equal(picture, appearance_to_rgb(inputs["appearance"][:, :, 0]))
  assert (picture.min(), picture.max()) == (0, 255)


def test_a_flow_has_the_flow_colours_under_one_scale_in_every_format(tmp_path):
  motion = values(frames=10) * np.linspace(0.1, 1, 10, dtype=np.float32)[:, None]
  export.export_stimulus(tmp_path, "a", {"motion": motion}, {}, WITHOUT_MP4)
  expected = flow_to_rgb(motion.transpose(2, 0, 1, 3))
  webp, times = read_film(tmp_path / "a" / "motion.webp")
  np.testing.assert_array_equal(webp, expected)
  assert times == [150] * 10
  gif, times = read_film(tmp_path / "a" / "motion.gif")
  assert difference(gif, expected) < 4
  assert times == [150] * 10
  strip = read_png(tmp_path / "a" / "motion.png")
  assert strip.shape == (16 + 4, 10 * (24 + 2) + 2, 3)
  for index, frame in enumerate(expected):
    np.testing.assert_array_equal(strip[2:18, 2 + 26 * index : 26 + 26 * index], frame)
  assert (strip[:2] == 255).all() and (strip[:, 26:28] == 255).all()


def test_several_streams_are_filmed_side_by_side_and_a_still_one_stays(tmp_path):
  inputs = stimulus()
  export.export_stimulus(tmp_path, "a", inputs, {}, WITHOUT_MP4)
  film, times = read_film(tmp_path / "a" / "together.webp")
  assert film.shape == (10, 20, 2 * 26 + 2, 3) and times == [150] * 10
  still, flow = appearance_to_rgb(inputs["appearance"][:, :, 0]), flow_to_rgb(inputs["motion"].transpose(2, 0, 1, 3))
  for index, frame in enumerate(film):
    np.testing.assert_array_equal(frame[2:18, 2:26], still)
    np.testing.assert_array_equal(frame[2:18, 28:52], flow[index])
  assert difference(read_film(tmp_path / "a" / "together.gif")[0], film) < 6
  # In the PNG the still is once, then all frames of the flow.
  strip = read_png(tmp_path / "a" / "together.png")
  assert strip.shape == (20, 11 * 26 + 2, 3)
  np.testing.assert_array_equal(strip[2:18, 2:26], still)
  np.testing.assert_array_equal(strip[2:18, 2 + 26 * 10 : 26 + 26 * 10], flow[9])


def test_streams_of_other_sizes_and_lengths_go_together(tmp_path):
  inputs = {"short": values(9, 7, frames=2, components=1), "long": values(5, 11, frames=5, components=3)}
  export.export_stimulus(tmp_path, "a", inputs, {}, ["webp"])
  film, _ = read_film(tmp_path / "a" / "together.webp")
  short, _ = read_film(tmp_path / "a" / "short.webp")
  assert film.shape == (5, 13, 7 + 11 + 6, 3) and len(short) == 2
  for index, frame in enumerate(film):
    np.testing.assert_array_equal(frame[2:11, 2:9], short[min(index, 1)])
  assert (film[:, 7:, 11:] == 255).all(), "below the lower stream is white"


def test_each_chunk_has_its_own_appearance_beside_its_flow_and_a_row_in_the_pictures(tmp_path):
  inputs = {"appearance": values(frames=2, components=3), "motion": values(frames=6, seed=1)}
  export.export_stimulus(tmp_path, "a", inputs, {}, WITHOUT_MP4, chunks=2)
  flow = flow_to_rgb(inputs["motion"].transpose(2, 0, 1, 3))
  together, (appearances, _) = read_film(tmp_path / "a" / "together.webp")[0], read_film(tmp_path / "a" / "appearance.webp")
  assert len(together) == 6 and len(appearances) == 2 and np.any(appearances[0] != appearances[1])
  rows = np.split(read_png(tmp_path / "a" / "together.png"), 2)
  for moment, frame in enumerate(together):
    chunk, inside = divmod(moment, 3)
    np.testing.assert_array_equal(frame[2:18, 2:26], appearances[chunk])
    np.testing.assert_array_equal(frame[2:18, 28:52], flow[moment])
    np.testing.assert_array_equal(rows[chunk][2:18, 2:26], appearances[chunk])
    np.testing.assert_array_equal(rows[chunk][2:18, 28 + 26 * inside : 52 + 26 * inside], flow[moment])
  assert read_png(tmp_path / "a" / "motion.png").shape == (2 * 20, 3 * 26 + 2, 3)
  with pytest.raises(UsageError, match="'motion': expected frames in 4 equal chunks, received 6"):
    export.export_stimulus(tmp_path, "b", {"motion": inputs["motion"]}, {}, WITHOUT_MP4, chunks=4)


def test_only_stills_give_no_film(tmp_path):
  inputs = {"left": values(frames=1, components=3), "right": values(frames=1, components=2)}
  paths = export.export_stimulus(tmp_path, "a", inputs, {}, WITHOUT_MP4)
  assert [path.name for path in paths] == ["left.png", "right.png", "together.png", "values.npz", "config.json"]
  np.testing.assert_array_equal(read_png(paths[1]), flow_to_rgb(inputs["right"][:, :, 0]))


@pytest.mark.parametrize("frames", [1, 3])
def test_one_component_is_grey(tmp_path, frames):
  grey = values(frames=frames, components=1)
  export.export_stimulus(tmp_path, "a", {"x": grey}, {}, ["png", "webp"])
  picture = read_png(tmp_path / "a" / "x.png") if frames == 1 else read_film(tmp_path / "a" / "x.webp")[0]
  assert (picture[..., 0] == picture[..., 1]).all() and (picture[..., 0] == picture[..., 2]).all()
  levels = picture[..., 0].reshape(frames, 16, 24)
  expected = (grey - grey.min()) * (255 / np.ptp(grey))
  assert np.abs(levels - expected[..., 0].transpose(2, 0, 1)).max() <= 0.501


@pytest.mark.parametrize("components, rows, columns", [(4, 2, 2), (5, 2, 3), (20, 4, 5)])
def test_any_other_number_of_components_is_a_grid_of_greys_under_one_map(tmp_path, components, rows, columns):
  many = values(7, 5, frames=1, components=components) * np.arange(1, components + 1, dtype=np.float32)
  export.export_stimulus(tmp_path, "a", {"x": many}, {}, ["png"])
  picture = read_png(tmp_path / "a" / "x.png")
  assert picture.shape == (rows * 9 + 2, columns * 7 + 2, 3)
  for index in range(components):
    top, left = 2 + 9 * (index // columns), 2 + 7 * (index % columns)
    expected = (many[:, :, 0, index] - many.min()) * (255 / np.ptp(many))
    assert np.abs(picture[top : top + 7, left : left + 5, 0] - expected).max() <= 0.501


def test_a_film_of_twenty_components_has_its_frames(tmp_path):
  export.export_stimulus(tmp_path, "a", {"x": values(7, 5, frames=3, components=20)}, {}, ["gif", "webp"])
  for kind in ("gif", "webp"):
    assert read_film(tmp_path / "a" / f"x.{kind}")[0].shape == (3, 38, 37, 3)


@pytest.mark.parametrize("kind", ["gif", "webp"])
@pytest.mark.parametrize("repeats", [(4, 1, 3), (1, 1, 6)])
def test_frames_that_repeat_last_longer(tmp_path, kind, repeats):
  motion = np.repeat(values(15, 9, frames=len(repeats)), repeats, axis=2)
  export.export_stimulus(tmp_path, "a", {"motion": motion}, {}, [kind], milliseconds=90)
  film, times = read_film(tmp_path / "a" / f"motion.{kind}")
  # Pillow joins frames that are equal, and shows them as long as all of them.
  assert sum(times) == 90 * sum(repeats)
  film = np.repeat(film, [time // 90 for time in times], axis=0)
  assert difference(film, flow_to_rgb(motion.transpose(2, 0, 1, 3))) < 4


def test_a_small_change_is_filmed_where_it_is(tmp_path):
  frames = np.zeros((12, 13, 4, 3), np.float32)
  frames[0, 0, :] = 1
  for index in range(1, 4):
    frames[2 * index + 1, 3 * index, index] = 1
  export.export_stimulus(tmp_path, "a", {"x": frames}, {}, ["gif", "webp"])
  for kind in ("gif", "webp"):
    np.testing.assert_array_equal(read_film(tmp_path / "a" / f"x.{kind}")[0], 255 * frames.transpose(2, 0, 1, 3).astype(np.uint8))


@pytest.mark.parametrize("asked, gif, webp", [(20, 20, 20), (155, 160, 155), (np.int64(1000), 1000, 1000)])
def test_the_time_of_a_frame_is_the_one_asked_for(tmp_path, asked, gif, webp):
  export.export_stimulus(tmp_path, "a", {"x": values()}, {}, ["gif", "webp"], milliseconds=asked)
  assert read_film(tmp_path / "a" / "x.gif")[1] == [gif] * 4
  assert read_film(tmp_path / "a" / "x.webp")[1] == [webp] * 4


@needs_ffmpeg
@pytest.mark.parametrize(
  "shape, size",
  [
    ((48, 48, 10, 2), (288, 288)),
    ((37, 23, 3, 3), (296, 184)),
    ((225, 227, 2, 1), (226, 228)),
    ((1, 1, 3, 2), (320, 320)),
    ((2, 1001, 2, 3), (2, 1002)),
  ],
)
def test_mp4_has_the_frames_the_colours_and_even_sides(tmp_path, shape, size):
  x = values(*shape)
  export.export_stimulus(tmp_path, "a", {"x": x}, {}, ["mp4"])
  film, rate, codec = read_mp4(tmp_path / "a" / "x.mp4")
  assert codec in ("h264", "avc1")
  assert film.shape == (shape[2], *size, 3)
  assert rate == pytest.approx(1000 / 150, rel=1e-4)
  # One pixel in height or so leaves no whole sample of colour to each pixel.
  assert difference(film, export.enlarged(export.draw(x))) < (3 if min(shape[:2]) != 2 else 12)


def test_mp4_enlarges_pixels_to_squares_and_completes_odd_sides_by_repeating():
  frames = np.random.default_rng(0).integers(0, 256, (2, 53, 31, 3), np.uint8)
  large = export.enlarged(frames)
  assert large.shape == (2, 6 * 53, 6 * 31, 3)
  np.testing.assert_array_equal(large, np.kron(frames, np.ones((1, 6, 6, 1), np.uint8)))
  odd = np.random.default_rng(0).integers(0, 256, (1, 301, 203, 3), np.uint8)
  padded = export.enlarged(odd)
  assert padded.shape == (1, 302, 204, 3)
  np.testing.assert_array_equal(padded[:, :301, :203], odd)
  np.testing.assert_array_equal(padded[:, 301, :203], odd[:, 300])
  np.testing.assert_array_equal(padded[:, :, 203], padded[:, :, 202])
  assert export.enlarged(np.zeros((1, 20, 400, 3), np.uint8)).shape == (1, 80, 1600, 3), "wider than players take"


@needs_ffmpeg
def test_mp4_keeps_frames_that_repeat_and_shows_streams_together(tmp_path):
  inputs = stimulus()
  inputs["motion"] = np.repeat(inputs["motion"][:, :, :3], [4, 1, 3], axis=2)
  export.export_stimulus(tmp_path, "a", inputs, {}, ["webp", "mp4"], milliseconds=40)
  film, rate, _ = read_mp4(tmp_path / "a" / "together.mp4")
  expected, times = read_film(tmp_path / "a" / "together.webp")
  expected = np.repeat(expected, [time // 40 for time in times], axis=0)
  assert rate == pytest.approx(25)
  assert len(film) == 8
  assert difference(film, export.enlarged(expected)) < 3


@needs_ffmpeg
def test_mp4_is_made_for_browsers_and_is_the_same_each_time(tmp_path):
  # A folder that could be taken for an option or a protocol.
  folder = tmp_path / "-f:x"
  (path, _), (again, _) = (export.export_stimulus(folder, n, {"x": values()}, {}, ["mp4"]) for n in "ab")
  data = path.read_bytes()
  assert data == again.read_bytes()
  assert data.index(b"moov") < data.index(b"mdat"), "the index is not in front"
  said = subprocess.run([export._ffmpeg(), "-hide_banner", "-i", str(path)], capture_output=True, text=True).stderr
  assert re.search(r"Video: h264.*yuv420p\(tv, smpte170m/bt709/iec61966-2-1", said), said
  assert "Duration: 00:00:00.60" in said and "Audio" not in said


@pytest.mark.parametrize("components", [1, 2, 3, 20])
def test_values_come_back_bit_by_bit(tmp_path, components):
  inputs = {"x": values(components=components), "file": values(9, 7, frames=1, components=components, seed=1)}
  inputs["x"][0, 0, 0, 0] = -0.0
  inputs["x"][0, 1, 0, 0] = np.nextafter(np.float32(0), np.float32(1))
  config = {"layer": "prediction", "kappa": np.float32(0.5), "steps": np.int64(3), "sizes": (1, 2), "a_hat": None, "unit": "é"}
  export.export_stimulus(tmp_path, NAME, inputs, config, ["npz"])
  again, read = export.read_exported(tmp_path / NAME)
  assert list(again) == ["x", "file"]
  for name, array in inputs.items():
    assert again[name].dtype == np.float32 and again[name].shape == array.shape
    assert again[name].tobytes() == np.ascontiguousarray(array).tobytes()
  assert read == {"layer": "prediction", "kappa": 0.5, "steps": 3, "sizes": [1, 2], "a_hat": None, "unit": "é"}


def test_the_config_lies_beside_as_json_with_plain_values(tmp_path):
  config = {"mean": np.array([[1.5, 2]]), "nan": np.float32("nan"), "flag": np.bool_(True), "where": pathlib.Path("a")}
  export.export_stimulus(tmp_path, "a", {"x": values()}, config, ["png"])
  text = (tmp_path / "a" / "config.json").read_text()
  assert json.loads(text) == {"mean": [[1.5, 2.0]], "nan": None, "flag": True, "where": "a"}
  assert "NaN" not in text


def test_values_are_read_by_numpy_alone(tmp_path):
  export.export_stimulus(tmp_path, "a", {"x": values()}, {"seed": 3}, ["npz"])
  with np.load(tmp_path / "a" / "values.npz") as archive:
    assert sorted(archive.files) == ["config", "x"]
    assert json.loads(archive["config"].item()) == {"seed": 3}


def test_a_missing_or_damaged_file_of_values_is_named(tmp_path):
  with pytest.raises(UsageError, match="found none"):
    export.read_exported(tmp_path)
  whole = io.BytesIO()
  np.savez(whole, x=np.zeros(3))
  plain = io.BytesIO()
  np.save(plain, np.zeros(3))
  for data in (b"", b"PK\x03\x04 and no more", whole.getvalue(), whole.getvalue()[:-9], plain.getvalue()):
    (tmp_path / "values.npz").write_bytes(data)
    with pytest.raises(UsageError, match="values.npz: expected the values of an exported stimulus"):
      export.read_exported(tmp_path)


@pytest.mark.parametrize(
  "name, inside",
  [
    ("a/b c/chi=10", "a/b_c/chi=10"),
    ("../../a", "_/_/a"),
    ("/etc/./x", "etc/_/x"),
    ("a//b/", "a/b"),
    ("a\\..\\b", "a_.._b"),
    ("...", "_"),
  ],
)
def test_no_name_leaves_the_folder(tmp_path, name, inside):
  folder = tmp_path / "deep" / "er"
  export.export_stimulus(folder, name, {"../x": values(frames=1)}, {}, ["png"])
  assert names(tmp_path) == [f"deep/er/{inside}/.._x.png", f"deep/er/{inside}/config.json"]


def test_a_stimulus_needs_a_name(tmp_path):
  with pytest.raises(UsageError, match="Expected a name .* received '//'"):
    export.export_stimulus(tmp_path, "//", {"x": values()}, {}, ["png"])


def test_a_second_export_takes_the_place_of_the_first(tmp_path):
  export.export_stimulus(tmp_path, "a", {"x": values(seed=0)}, {"seed": 0}, WITHOUT_MP4)
  export.export_stimulus(tmp_path, "a", {"x": values(seed=1)}, {"seed": 1}, WITHOUT_MP4)
  inputs, config = export.read_exported(tmp_path / "a")
  np.testing.assert_array_equal(inputs["x"], values(seed=1))
  assert config == {"seed": 1}
  assert names(tmp_path / "a") == ["config.json", "values.npz", "x.gif", "x.png", "x.webp"]


@pytest.mark.parametrize(
  "array, message",
  [
    (np.zeros((4, 5, 3)), r"Stream 'x': expected numbers \(H, W, frames, components\).*float64 \(4, 5, 3\)"),
    (np.zeros((4, 5, 0, 3)), r"received float64 \(4, 5, 0, 3\)"),
    (np.zeros((1, 1, 1, 1), complex), "received complex128"),
    (np.full((1, 1, 1, 1), "a"), "received <U1"),
    (np.array([1, np.nan, np.inf, 2]).reshape(2, 2, 1, 1), "Stream 'x': expected finite values, found NaN or infinity at 2 of 4"),
    (np.full((1, 1, 1, 1), 1e300), "infinity at 1 of 1"),
  ],
)
def test_what_cannot_be_drawn_is_refused_by_the_name_of_its_stream(tmp_path, array, message):
  with pytest.raises(UsageError, match=message):
    export.export_stimulus(tmp_path, "a", {"good": values(), "x": array}, {}, ["png"])
  assert not names(tmp_path), "something was written before"


@pytest.mark.parametrize("components", [1, 2, 3, 5])
@pytest.mark.parametrize("scale", [0, 1e-45, 1e-38, 1e37, 3e38])
def test_the_ends_of_float32_are_drawn_like_its_middle(components, scale):
  pattern = np.linspace(-1, 1, 6 * components).reshape(3, 2, 1, components).astype(np.float32)
  with np.errstate(all="raise", under="ignore"):
    drawn = export.draw((pattern * scale).astype(np.float32))
  if scale > 1e-40:
    assert np.abs(drawn.astype(int) - export.draw(pattern)).max() <= 1
  elif scale == 0 and components != 5:
    assert (drawn == 128).all()


@pytest.mark.parametrize(
  "streams, message",
  [
    ([], "at least one stream"),
    (["a b", "a_b"], "Stream 'a_b': expected a file name of its own, but 'a_b' is that of stream 'a b'"),
    (["RGB", "rgb"], "is that of stream 'RGB'"),
    (["together", "x"], "is that of the film of all streams"),
    (["config"], "is that of the config"),
  ],
)
def test_streams_have_file_names_of_their_own(tmp_path, streams, message):
  with pytest.raises(UsageError, match=message):
    export.export_stimulus(tmp_path, "a", {stream: values() for stream in streams}, {}, ["png"])


@pytest.mark.parametrize("milliseconds", [0, 19, 10_001, 150.0, "150", -150])
def test_a_time_that_is_none_is_refused(tmp_path, milliseconds):
  with pytest.raises(UsageError, match="from 20 to 10000, received"):
    export.export_stimulus(tmp_path, "a", {"x": values()}, {}, ["gif"], milliseconds=milliseconds)


def test_unknown_formats_are_refused_with_the_nearest(tmp_path):
  with pytest.raises(UsageError, match="Unknown export format 'mp3'. Nearest: mp4"):
    export.check_formats(["png", "mp3"])
  with pytest.raises(UsageError, match="Expected one of: png, gif, webp, mp4, npz"):
    export.export_stimulus(tmp_path, "a", {"x": values()}, {}, ["svq"])
  with pytest.raises(UsageError, match="at least one export format"):
    export.check_formats([])
  assert not names(tmp_path)


def test_mp4_without_its_package_is_one_line_that_says_what_to_install(tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
  for call in (lambda: export.check_formats(["mp4"]), lambda: export.export_stimulus(tmp_path, "a", {"x": values()}, {})):
    with pytest.raises(UsageError, match=r"pip install 'tbvis\[export\]'") as caught:
      call()
    assert "\n" not in str(caught.value)
  assert not names(tmp_path)
  export.check_formats(WITHOUT_MP4)


@needs_ffmpeg
@pytest.mark.parametrize(
  "program, message",
  [
    (None, "expected a program at .*No such file"),
    ("echo 'Unknown encoder libx264' >&2; exit 8", "could not encode H.264 of 16x16 pixels; Unknown encoder libx264"),
    ("exit 3", "it ended with status 3"),
  ],
)
def test_a_program_that_cannot_encode_is_found_beforehand(tmp_path, monkeypatch, program, message):
  path = tmp_path / "ffmpeg"
  if program is not None:
    path.write_text(f"#!/bin/sh\ncat > /dev/null\n{program}\n")
    path.chmod(0o755)
  monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(path))
  with pytest.raises(UsageError, match=message):
    export.check_formats(["mp4"])


@needs_ffmpeg
def test_a_failure_while_filming_leaves_no_part_of_a_film(tmp_path, monkeypatch):
  # Passes when it is tried out, then writes some of the film and fails.
  program = tmp_path / "ffmpeg"
  parts = 'for last; do :; done; [ "$last" = - ] && exit 0; echo part > "${last#file:}"; echo No space left >&2; exit 1'
  program.write_text(f"#!/bin/sh\ncat > /dev/null\n{parts}\n")
  program.chmod(0o755)
  monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(program))
  with pytest.raises(UsageError, match="could not encode H.264 of 480x320 pixels; No space left"):
    export.export_stimulus(tmp_path / "out", "a", {"x": values(frames=2, height=16)}, {}, ["mp4"])
  assert not names(tmp_path / "out")


def test_a_film_larger_than_its_formats_allow_is_refused_before_anything_is_written(tmp_path):
  inputs = {"small": values(), "x": np.zeros((1, 16_384, 2, 1), np.float32)}
  with pytest.raises(UsageError, match="Film 'x': expected at most 16383 pixels a side, received 16384 x 1"):
    export.export_stimulus(tmp_path, "a", inputs, {}, ["png", "gif"])
  assert not names(tmp_path)
  export.export_stimulus(tmp_path, "a", inputs, {}, ["png"])


def test_a_place_that_cannot_be_written_is_named(tmp_path):
  (tmp_path / "file").write_text("")
  with pytest.raises(UsageError, match="can be written for .*x.png"):
    export.export_stimulus(tmp_path / "file", "a", {"x": values()}, {}, ["png"])
  (tmp_path / "a" / "values.npz").mkdir(parents=True)
  with pytest.raises(UsageError, match="Expected to write .*values.npz; Is a directory"):
    export.export_stimulus(tmp_path, "a", {"x": values()}, {}, ["npz"])
  assert not [name for name in names(tmp_path) if "/." in name], "a temporary file was left"


def test_the_extra_is_declared_with_its_reason():
  text = (ROOT / "setup.py").read_text()
  block = re.search(r'"export": \[\n(.*?)\n  \]', text, re.DOTALL).group(1)
  assert re.search(r'^\s+#.*MP4.*\n(\s+#.*\n)*\s+"imageio-ffmpeg>=[\d.]+",$', block, re.MULTILINE)
