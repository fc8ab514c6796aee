"""What is written is read back; nothing half-written is taken for finished; TensorBoard sees the stock tags."""

from __future__ import annotations

import dataclasses
import io
import json
import pathlib
import struct
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from tensorboard.backend.event_processing import plugin_event_multiplexer
from tensorboard.compat.proto import event_pb2

from tb_plugin import checks
from tbvis import events, summaries
from tbvis.errors import UsageError
from tbvis.rendering import animation, planes
from tbvis.rendering.appearance import appearance_to_rgb
from tests.tb_plugin import synthetic

_FILES = ["appearance.png", "flow.webp", "steps.webp", "stimulus.json", "values.npz"]


def _write(logdir, *records, run="stimuli", **options):
  with summaries.StimulusWriter(logdir, run, **options) as writer:
    for record in records:
      writer.write(record)
    return writer.finished()


def _multiplexer(logdir):
  multiplexer = plugin_event_multiplexer.EventMultiplexer(tensor_size_guidance={"scalars": 1000, "images": 10, "tbvis": 10})
  multiplexer.AddRunsFromDirectory(str(logdir))
  multiplexer.Reload()
  return multiplexer


def _only_event_file(folder: pathlib.Path) -> pathlib.Path:
  (path,) = folder.glob("*tfevents*")
  return path


def _assert_kept(given, read):
  """Held against what is stored: 20 levels from zero to the largest value of a copy's motion, 255 between the limits of its picture."""
  np.testing.assert_array_equal(given.steps, read.steps)
  for name, levels in (("appearance", 255), ("motion", 20)):
    before, after = getattr(given, name), getattr(read, name)
    assert (before is None) == (after is None) and (before is None or before.shape == after.shape), name
    for copy, again in [] if before is None else zip(before, after, strict=True):
      span = np.abs(copy).max() if name == "motion" else np.ptp(copy)
      assert np.abs(copy - again).max() <= 0.501 * span / levels, name


def test_a_run_is_read_back_as_it_was_written(tmp_path):
  unit = synthetic.UNITS[3]
  records = [
    synthetic.record(unit, chi=0, seed=2),
    synthetic.record(unit, chi=10),
    synthetic.record(synthetic.UNITS[0], chi=10),
    synthetic.record(synthetic.UNITS[1], chi=10),
    synthetic.record(unit, kappa=5, chi=5, isotropic=True),
    synthetic.chunked(synthetic.UNITS[4]),
    synthetic.video(),
  ]
  _write(tmp_path, *records)
  found = summaries.read_run(tmp_path, "stimuli").stimuli
  order = (6, 2, 3, 0, 1, 4, 5)
  assert [r.key for r in found] == [records[i].key for i in order], "not in the order of layers, units, chi"
  for record, again in zip((records[i] for i in order), found, strict=True):
    for field in dataclasses.fields(record):
      given, read = getattr(record, field.name), getattr(again, field.name)
      if field.name == "kept":
        _assert_kept(given, read)
      elif field.name in ("appearance", "film", "motion"):
        assert (given is None) == (read is None), field.name
        if given is not None:
          assert read.dtype == np.float32
          np.testing.assert_allclose(read, given, rtol=2**-11, atol=1e-4)
      elif field.name == "history":
        assert given.keys() == read.keys()
        for term in given:
          np.testing.assert_array_equal(given[term], read[term])
      else:
        assert np.array_equal(given, read) and json.dumps(record.config) == json.dumps(again.config), field.name


def test_small_and_full_pictures_show_the_same_values(tmp_path):
  record = synthetic.record(size=160)
  _write(tmp_path, record)
  folder = tmp_path / "stimuli/tbvis/stimuli/conv5_fusion/f021/chi=10"
  assert sorted(path.name for path in folder.iterdir()) == _FILES
  np.testing.assert_array_equal(animation.decode((folder / "appearance.png").read_bytes())[0], appearance_to_rgb(record.appearance))
  meta = json.loads((folder / "stimulus.json").read_text())
  ((_, _, _, blobs),) = events.read_values(tmp_path / "stimuli", "tbvis")
  assert json.loads(events.unpacked_json(blobs[2])) == meta
  small, full = animation.decode(blobs[1])[0], animation.decode((folder / "flow.webp").read_bytes())[0]
  assert small.shape == (10 * 96, 96, 3) and full.shape == (10 * 160, 160, 3)
  values = planes.decode_planes(blobs[1], meta["motion"]["small_step"], frames=10, by_row=meta["motion"]["small_by_row"])[0, ..., 0]
  expected = animation.resize_values(record.motion[:, :, 0][None], 96, 96)[0, ..., 0]
  assert np.abs(values - expected).max() <= 0.51 * meta["motion"]["small_step"]


def test_a_film_is_a_picture_for_who_has_no_player_and_all_its_frames_for_who_has(tmp_path):
  record = synthetic.chunked(size=64)
  _write(tmp_path, record)
  folder = tmp_path / "stimuli/tbvis/stimuli/conv5_fusion/f021/chi=10"
  assert sorted(path.name for path in folder.iterdir()) == _FILES
  still = animation.decode((folder / "appearance.png").read_bytes())[0]
  # One map for all frames: the middle one, green.
  assert still.shape == (64, 64, 3) and (still == [0, 255, 0]).all()
  meta = json.loads((folder / "stimulus.json").read_text())
  assert (meta["chunks"], meta["inputs"], meta["appearance"]["frames"], meta["kept"]["pictures"]) == (3, ["appearance", "motion"], 3, 3)
  found = {tag: blobs for tag, _, _, blobs in events.read_values(tmp_path / "stimuli", "tbvis")}
  small = animation.decode(found["tbvis/stimulus/conv5_fusion/f021/chi=10"][0])[0]
  assert small.shape == (3 * 64, 64, 3)
  assert np.abs(small[32::64, 32].astype(int) - 255 * np.eye(3)).max() < 12
  images = _multiplexer(tmp_path).Tensors("stimuli", "conv5_fusion/f021/chi=10/appearance")[0].tensor_proto.string_val
  assert animation.decode(images[2]).shape == (3, 64, 64, 3)


def test_an_older_logdir_tells_of_no_chunks(tmp_path):
  _write(tmp_path, synthetic.record())
  (path,) = tmp_path.rglob("*tfevents*")
  ((_, _, content, blobs),) = list(events.read_values(tmp_path / "stimuli", "tbvis"))
  meta = json.loads(events.unpacked_json(blobs[2]))
  for name in ("chunks", "inputs"):
    del meta[name]
  del meta["appearance"]["frames"], meta["kept"]["pictures"]
  path.unlink()
  older, tag = events.EventFile(tmp_path / "stimuli"), "tbvis/stimulus/conv5_fusion/f021/chi=10"
  older.add([(1, [events.blobs_value(tag, [*blobs[:2], events.packed_json(meta)], "tbvis", content)])])
  older.close()
  (found,) = summaries.read_run(tmp_path, "stimuli").stimuli
  assert (found.film, found.chunks, found.inputs) == (None, 1, ("appearance", "motion"))
  assert found.kept.appearance.shape == (3, 32, 32, 3)
  known = checks.meta(events.packed_json(meta), "it")
  assert (known["chunks"], known["inputs"], known["appearance"]["frames"], known["kept"]["pictures"]) == (1, ["appearance", "motion"], 1, 1)


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"chunks": 5}, "film in 5 equal chunks"),
    ({"chunks": 0}, "film in 0 equal chunks"),
    ({"film": np.zeros((8, 8, 3, 3))}, "a film .H, W, frames, 3. of its appearance"),
    ({"film": np.zeros((32, 32, 1, 3))}, "a film .H, W, frames, 3. of its appearance"),
    ({"appearance": None}, "a film .H, W, frames, 3. of its appearance"),
  ],
)
def test_films_and_chunks_that_do_not_fit_are_refused(change, message):
  with pytest.raises(UsageError, match=message):
    dataclasses.replace(synthetic.chunked(), **change)


def test_without_kept_steps_nothing_of_them_is_written_and_an_older_logdir_is_read(tmp_path):
  _write(tmp_path, synthetic.record(with_steps=False))
  (path,) = tmp_path.rglob("stimulus.json")
  assert sorted(other.name for other in path.parent.iterdir()) == [name for name in _FILES if name != "steps.webp"]
  assert json.loads(path.read_text())["kept"] is None
  assert [r.kept for r in summaries.read_run(tmp_path, "stimuli").stimuli] == [None]
  good = synthetic.record()
  for steps, message in (([0, 3], "expected appearance of rank 4 or 5 at 2 steps"), ([0, 3, 3], "ascending steps")):
    with pytest.raises(UsageError, match=message):
      dataclasses.replace(good.kept, steps=np.array(steps))
  with pytest.raises(UsageError, match="kept steps of the inputs that it has"):
    dataclasses.replace(good, appearance=None)


def test_small_flow_has_as_many_levels_as_fit(tmp_path):
  rough, smooth = synthetic.record(size=96), synthetic.record(size=24)
  levels = []
  for index, record in enumerate((smooth, rough)):
    _write(tmp_path / str(index), record)
    ((_, _, _, blobs),) = events.read_values(tmp_path / str(index) / "stimuli", "tbvis")
    step = json.loads(events.unpacked_json(blobs[2]))["motion"]["small_step"]
    levels.append(round(float(np.abs(record.motion).max()) / step))
  assert levels == [40, 10]


def test_stock_dashboards_get_curves_a_png_and_a_gif_that_moves(tmp_path):
  record = synthetic.record(chi=1)
  _write(tmp_path, record)
  multiplexer = _multiplexer(tmp_path)
  points = multiplexer.Tensors("stimuli", "conv5_fusion/f021/chi=1/activation")
  assert [point.step for point in points] == record.steps.tolist()
  np.testing.assert_allclose([point.tensor_proto.float_val[0] for point in points], record.history["activation"], rtol=1e-6)
  tags = multiplexer.PluginRunToTagToContent("images")["stimuli"]
  assert sorted(tags) == ["conv5_fusion/f021/chi=1/appearance", "conv5_fusion/f021/chi=1/motion"]
  width, height, gif = multiplexer.Tensors("stimuli", "conv5_fusion/f021/chi=1/motion")[0].tensor_proto.string_val
  frames = animation.decode(gif)
  assert gif[:4] == b"GIF8" and frames.shape == (10, int(height), int(width), 3)
  assert np.abs(np.diff(frames.astype(int), axis=0)).mean() > 1
  assert multiplexer.Tensors("stimuli", "conv5_fusion/f021/chi=1/appearance")[0].tensor_proto.string_val[2][:4] == b"\x89PNG"


def test_gifs_are_capped_but_for_class_units(tmp_path):
  general = [synthetic.record(chi=chi) for chi in (0, 1, 5)]
  classes = [synthetic.record(synthetic.UNITS[4], chi=chi) for chi in (0, 1)]
  _write(tmp_path, general[0], stock_gifs=2)
  _write(tmp_path, *general[1:], *classes, stock_gifs=2)  # The cap holds over a resumed run.
  tags = _multiplexer(tmp_path).PluginRunToTagToContent("images")["stimuli"]
  motion = [tag for tag in tags if tag.endswith("/motion")]
  assert len([tag for tag in motion if tag.startswith("conv5_fusion")]) == 2
  assert len([tag for tag in motion if tag.startswith("prediction")]) == 2


def test_later_stimuli_leave_the_stock_tabs_little(tmp_path):
  general = [synthetic.record(chi=chi) for chi in (0, 1, 5)]
  class_unit = synthetic.record(synthetic.UNITS[4], chi=0)
  _write(tmp_path, general[0], stock=2)
  _write(tmp_path, *general[1:], class_unit, stock=2)
  multiplexer = _multiplexer(tmp_path)
  tags = multiplexer.PluginRunToTagToContent("scalars")["stimuli"]
  curves = {chi: sorted(tag.rsplit("/", 1)[1] for tag in tags if f"f021/chi={chi}/" in tag) for chi in (0, 1, 5)}
  assert curves == {0: sorted(class_unit.history), 1: sorted(class_unit.history), 5: []}
  pictures = multiplexer.PluginRunToTagToContent("images")["stimuli"]
  assert not any("f021/chi=5" in tag for tag in pictures)
  assert {"prediction/PlayingCello/chi=0/appearance", "prediction/PlayingCello/chi=0/motion"} <= set(pictures)
  assert len(multiplexer.PluginRunToTagToContent("tbvis")["stimuli"]) == 4


def test_finished_names_whole_stimuli_only(tmp_path):
  whole, torn, failed = synthetic.record(chi=0), synthetic.record(chi=1), synthetic.record(chi=5, error="NaN at step 3")
  assert _write(tmp_path, whole, torn, failed) == {whole.key, torn.key}
  media = tmp_path / "stimuli/tbvis/stimuli/conv5_fusion/f021/chi=1/values.npz"
  media.write_bytes(media.read_bytes()[:-5])
  with summaries.StimulusWriter(tmp_path, "stimuli") as writer:
    assert writer.finished() == {whole.key}
    assert [r.key for r in summaries.read_run(tmp_path, "stimuli").stimuli if r.error is None] == [whole.key]
    writer.write(torn)
    assert writer.finished() == {whole.key, torn.key}
  # One of the two that were written twice, not both.
  assert len(summaries.read_run(tmp_path, "stimuli").stimuli) == 3


def test_an_event_cut_short_is_not_finished_and_harms_nobody(tmp_path):
  first, second = synthetic.record(chi=0), synthetic.record(chi=1)
  _write(tmp_path, first, second)
  path = _only_event_file(tmp_path / "stimuli")
  path.write_bytes(path.read_bytes()[:-100])
  with summaries.StimulusWriter(tmp_path, "stimuli") as writer:
    assert writer.finished() == {first.key}
    writer.write(second)
  assert len(summaries.read_run(tmp_path, "stimuli").stimuli) == 2


def test_a_spoilt_length_is_not_believed(tmp_path):
  _write(tmp_path, synthetic.record())
  path = _only_event_file(tmp_path / "stimuli")
  path.write_bytes(path.read_bytes() + struct.pack("<QI", 1 << 60, 0) + b"x" * 100)
  assert len(summaries.read_run(tmp_path, "stimuli").stimuli) == 1
  path.write_bytes(struct.pack("<QI", 4, 0) + b"\xff" * 8)
  with pytest.raises(UsageError, match="the file is damaged"):
    summaries.read_run(tmp_path, "stimuli")


class _Touch:
  def __init__(self, path):
    self._path = path

  def __reduce__(self):
    return pathlib.Path.touch, (self._path,)


def _npz(header: dict, values: bytes) -> bytes:
  member, stream = io.BytesIO(), io.BytesIO()
  np.lib.format.write_array_header_1_0(member, header)
  with zipfile.ZipFile(stream, "w") as archive:
    archive.writestr("motion.npy", member.getvalue() + values)
  return stream.getvalue()


@pytest.mark.parametrize("what", ["pickle", "giant", "text", "noise", "half"])
def test_stored_values_of_strangers_are_refused_in_one_line(tmp_path, what):
  _write(tmp_path, synthetic.record())
  (path,) = tmp_path.rglob("values.npz")
  whole = path.read_bytes()
  pickled = io.BytesIO()
  np.savez(pickled, motion=np.array([_Touch(tmp_path / "touched")], object))
  spoilt = {
    "pickle": pickled.getvalue(),
    "giant": _npz({"descr": "<f8", "fortran_order": False, "shape": (1 << 44,)}, b"x" * 80),
    "text": _npz({"descr": "<U2", "fortran_order": False, "shape": (1,)}, "no".encode("utf-32-le")),
    "noise": b"PK\3\4" + b"\xff" * 100,
    "half": whole[: len(whole) // 2],
  }[what]
  # Of the size that was written, or it would be passed over as unfinished.
  path.write_bytes(spoilt.rjust(len(whole), b"\0"))
  with pytest.raises(UsageError, match="values.npz"):
    summaries.read_run(tmp_path, "stimuli")
  assert not (tmp_path / "touched").exists()


def test_the_event_comes_after_its_files(tmp_path, monkeypatch):
  seen = []
  monkeypatch.setattr(
    events.EventFile, "add", lambda self, added: seen.extend(path.name for path in tmp_path.rglob("*") if path.is_file()) or list(added)
  )
  _write(tmp_path, synthetic.record())
  assert sorted(seen) == _FILES


def test_a_writer_with_nothing_to_do_leaves_no_event_file(tmp_path):
  assert _write(tmp_path) == set()
  assert not list(tmp_path.rglob("*tfevents*"))


def test_nan_becomes_null_in_json_and_nan_again(tmp_path):
  record = dataclasses.replace(synthetic.record(), activation=float("nan"), history={"activation": np.full(10, np.nan)})
  _write(tmp_path, record)
  (again,) = summaries.read_run(tmp_path, "stimuli").stimuli
  assert np.isnan(again.activation) and np.isnan(again.history["activation"]).all()


def test_confusions_come_back_with_their_matrices(tmp_path):
  synthetic.write_evaluation(tmp_path)
  run = summaries.read_run(tmp_path, "evaluation")
  found = run.confusions
  assert list(found.scores) == list(summaries.TOWERS) and found.split == synthetic.SPLIT
  matrix = found.matrix("fused")
  cello, violin = synthetic.CLASSES.index("PlayingCello"), synthetic.CLASSES.index("PlayingViolin")
  assert matrix[cello, violin] == 3 and matrix[violin, cello] == 0, "true classes are rows"
  assert matrix.sum() == 80 and found.accuracy("fused") == pytest.approx(77 / 80)
  assert len(list((tmp_path / "evaluation/tbvis/clips").glob("*.webp"))) == 80


def test_statistics_of_units_add_up_over_writers(tmp_path):
  for known in ({"conv3_1/f001": {"a_hat": 1.0}, "conv3_1/f002": {"a_hat": 2.0}}, {"conv3_1/f002": {"a_hat": 3.0}}):
    with summaries.StimulusWriter(tmp_path, "stimuli") as writer:
      writer.add_statistics(known)
  files = list((tmp_path / "stimuli").glob("*tfevents*"))
  with summaries.StimulusWriter(tmp_path, "stimuli") as writer:
    writer.add_statistics({"conv3_1/f001": {"a_hat": 1.0}})
  assert list((tmp_path / "stimuli").glob("*tfevents*")) == files, "nothing new: nothing written"
  assert summaries.read_run(tmp_path, "stimuli").statistics == {"conv3_1/f001": {"a_hat": 1.0}, "conv3_1/f002": {"a_hat": 3.0}}


def test_a_later_evaluation_replaces_the_earlier(tmp_path):
  synthetic.write_evaluation(tmp_path, thumbnails=False)
  summaries.write_confusions(tmp_path, "evaluation", classes=["a", "b"], labels=[1], scores={"fused": np.array([[0.0, 1.0]])}, clips=["x"])
  assert summaries.read_run(tmp_path, "evaluation").confusions.classes == ["a", "b"]


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"labels": [0, 2]}, "labels 0 to 1, received 0 to 2"),
    ({"labels": [0]}, "one label a clip"),
    ({"scores": {"fused": np.zeros((2, 3))}}, r"\(2 clips, 2 classes\), received \(2, 3\)"),
    ({"scores": {"fusd": np.zeros((2, 2))}}, "Unknown tower 'fusd'.*Nearest: fused"),
    ({"scores": {}}, "at least one tower"),
    ({"clips": ["x", "x"]}, "one twice"),
    ({"thumbnails": {"z": b""}}, "Unknown clip 'z' in thumbnails"),
  ],
)
def test_wrong_confusions_are_named(tmp_path, change, message):
  given = {"classes": ["a", "b"], "labels": [0, 1], "scores": {"fused": np.zeros((2, 2))}, "clips": ["x", "y"]}
  with pytest.raises(UsageError, match=message):
    summaries.write_confusions(tmp_path, "r", **(given | change))
  assert not list(tmp_path.rglob("*tfevents*"))


def test_wrong_records_are_named():
  good = synthetic.record()
  with pytest.raises(UsageError, match=r"expected motion \(H, W, T, 2\), received \(4, 4, 20\)"):
    dataclasses.replace(good, motion=np.zeros((4, 4, 20)))
  with pytest.raises(UsageError, match="expected 10 values of 'activation'"):
    dataclasses.replace(good, history={"activation": np.zeros(3)})
  with pytest.raises(UsageError, match="received none"):
    dataclasses.replace(good, appearance=None, motion=None)


def test_wrong_places_are_named(tmp_path):
  _write(tmp_path, synthetic.record())
  with pytest.raises(UsageError, match="Unknown run 'stimulli'.*Nearest: stimuli"):
    summaries.read_run(tmp_path, "stimulli")
  for run in ("../elsewhere", "/absolute", ""):
    with pytest.raises(UsageError, match="name of a run inside the logdir"):
      summaries.StimulusWriter(tmp_path, run)
  (tmp_path / "file").write_text("")
  with pytest.raises(UsageError, match="--logdir"):
    summaries.StimulusWriter(tmp_path / "file", "run")


def test_records_are_what_tensorboard_checks(tmp_path):
  """The checksums of our records satisfy TensorBoard's strict reader."""
  from tensorboard.compat.tensorflow_stub import pywrap_tensorflow

  _write(tmp_path, synthetic.record())
  reader = pywrap_tensorflow.PyRecordReader_New(str(_only_event_file(tmp_path / "stimuli")))
  steps = []
  while True:
    try:
      reader.GetNext()
    except Exception as error:
      assert type(error).__name__ == "OutOfRangeError", error
      break
    steps.append(event_pb2.Event.FromString(reader.record()).step)
  assert steps[:-1] == [0, *range(0, 200, 20), 180] and steps[-1] > 1e12


def test_neither_tensorflow_nor_opencv_is_needed(tmp_path):
  program = f"""
import sys
sys.modules["tensorflow"] = sys.modules["cv2"] = sys.modules["keras"] = None
from tests.tb_plugin import synthetic
from tbvis import summaries
import tb_plugin.loader, tb_plugin.plugin
synthetic.write_logdir({str(tmp_path)!r}, size=16)
print(len(summaries.read_run({str(tmp_path)!r}, "stimuli").stimuli))
"""
  root = pathlib.Path(__file__).resolve().parent.parent
  done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True)
  assert done.returncode == 0, done.stderr
  assert int(done.stdout) == len(synthetic.UNITS) * len(synthetic.CHIS)
