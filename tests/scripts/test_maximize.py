"""tbvis-maximize as a user calls it."""

import json

import numpy as np
import pytest

from tbvis import summaries
from tbvis.diagnostics import statistics as statistics_lib
from tbvis.models import checkpoint as checkpoint_lib
from tbvis.rendering import animation, export
from tests import calls

# Every test starts programs or passes clips through a network.
pytestmark = pytest.mark.slow

CLASSES = ("PlayingCello", "PlayingViolin")
QUICK = ("--steps=3", "--dtype=float32")


@pytest.fixture(scope="module")
def network(tmp_path_factory):
  path = tmp_path_factory.mktemp("maximize") / "net.keras"
  checkpoint_lib.save_checkpoint(
    checkpoint_lib.build("two_stream_fusion_vgg16", {"width": 0.05, "input_size": 32, "fc_units": 4}, CLASSES), path
  )
  return path


def _run(*arguments):
  return calls.call("maximize", *arguments)


def test_stimuli_are_written_and_a_second_run_skips_them(network, tmp_path):
  logs, report = tmp_path / "logs", tmp_path / "numbers.json"
  common = (f"--checkpoint={network}", f"--logdir={logs}", f"--json={report}", *QUICK)
  done = _run(*common, "--units=prediction/PlayingCello,conv2_2/f002", "--chi=0,10", f"--pictures={tmp_path / 'pictures'}")
  assert done.returncode == 0, done.stderr[-3000:]
  found = summaries.read_run(logs, "stimuli").stimuli
  assert [(s.unit, s.chi) for s in found] == [
    ("conv2_2/f002", 0), ("conv2_2/f002", 10), ("prediction/PlayingCello", 0), ("prediction/PlayingCello", 10),
  ]  # fmt: skip
  assert found[2].class_name == "PlayingCello" and found[2].appearance.shape == (32, 32, 3)
  numbers = json.loads(report.read_text())
  assert numbers["stimuli"] == 4 and numbers["peak_memory_mib"] > 0 and numbers["temporal_ratio_median_prediction_chi=0"] > 0
  assert sorted(p.name for p in (tmp_path / "pictures").iterdir()) == ["conv2_2_f002.png", "prediction_PlayingCello.png"]

  # Its own flags make a stimulus again, alone instead of among others.
  config = found[3].config
  assert (config["checkpoint"], config["statistics"], config["seed"], config["steps"]) == (str(network), None, 0, 3) and config["version"]
  (tmp_path / "own.flags").write_text(config["flagfile"])
  done = _run(f"--flagfile={tmp_path / 'own.flags'}", f"--logdir={tmp_path / 'again'}")
  assert done.returncode == 0, done.stderr[-3000:]
  (same,) = summaries.read_run(tmp_path / "again", "stimuli").stimuli
  assert same.key == found[3].key and same.config["flagfile"] == config["flagfile"]
  np.testing.assert_allclose(same.motion, found[3].motion, atol=0.05 * np.abs(found[3].motion).max())

  done = _run(*common, "--units=prediction/PlayingCello,conv2_2/f002", "--chi=0,10", "--isotropic=5")
  assert done.returncode == 0 and "4 stimuli are finished" in done.stdout
  numbers = json.loads(report.read_text())
  assert (numbers["stimuli"], numbers["stimuli_skipped"]) == (2, 4)
  again = {(s.unit, s.variant): s for s in summaries.read_run(logs, "stimuli").stimuli}
  assert len(again) == 6 and ("prediction/PlayingCello", "isotropic=5") in again
  np.testing.assert_array_equal(again["prediction/PlayingCello", "chi=0"].motion, found[2].motion)


def test_what_clips_say_of_the_units_is_written_beside_them(network, tmp_path):
  layers = {}
  for layer, units in (("conv2_2_appearance", 8), ("conv2_2_motion", 8)):
    found = statistics_lib.LayerStatistics.empty(units, 2)
    best = {
      "value": np.arange(1, units + 1, dtype=np.float32),
      "frame": np.full(units, 9, np.int32),
      "yx": np.full((units, 2), 3, np.int32),
    }
    layers[layer] = found.with_clip(0, 1, best, offset=0.5, stride=2)
  path = tmp_path / "statistics.npz"
  statistics_lib.UnitStatistics(CLASSES, ("v_PlayingViolin_g08_c01",), np.array([1]), layers).save(path)
  done = _run(f"--checkpoint={network}", f"--logdir={tmp_path}", f"--statistics={path}", *QUICK, "--units=conv2_2/f002", "--chi=0")
  assert done.returncode == 0, done.stderr[-3000:]
  known = summaries.read_run(tmp_path, "stimuli").statistics["conv2_2/f002"]
  assert known["a_hat"] == 4 and known["class_means"] == {"PlayingViolin": 4}
  assert [(top["clip"], top["layer"], top["frame"], top["value"], top["field"]) for top in known["top_clips"]] == [
    ("v_PlayingViolin_g08_c01", "conv2_2_appearance", 9, 2, 14), ("v_PlayingViolin_g08_c01", "conv2_2_motion", 9, 2, 14),
  ]  # fmt: skip
  done = _run(f"--checkpoint={network}", f"--logdir={tmp_path}", "--data_dir=DATA", "--dataset=stage_split1_dis", "--units=conv2_2/f002")
  assert done.returncode == 2 and "--data_dir, --dataset and --statistics are given together" in done.stderr


LAYERS = ("conv2_2_motion", "conv3_1_motion")


def test_layers_times_units_sums_and_a_plan(network, tmp_path):
  common = (f"--checkpoint={network}", f"--logdir={tmp_path / 'logs'}", *QUICK)
  done = _run(*common, f"--layers={','.join(LAYERS)}", "--units=f001-f003", "--chi=0,10", "--plan_only", f"--json={tmp_path / 'plan.json'}")
  assert done.returncode == 0, done.stderr[-3000:]
  assert "Plan: 12 stimuli in 2 batches, about" in done.stdout and "conv3_1_motion" in done.stdout
  assert not (tmp_path / "logs").exists()
  plan = json.loads((tmp_path / "plan.json").read_text())["plan"]
  assert [(part["layers"], part["stimuli"], part["finished"]) for part in plan] == [([layer], 6, 0) for layer in LAYERS]
  assert all(part["seconds"] > 0 for part in plan)
  done = _run(
    *common, "--units=prediction/PlayingCello - prediction/PlayingViolin,conv2_2_motion", "--chi=0",
    f"--export={tmp_path / 'files'}", "--formats=png,npz", "--location=sum",
  )  # fmt: skip
  assert done.returncode == 0, done.stderr[-3000:]
  found = {s.unit: s for s in summaries.read_run(tmp_path / "logs", "stimuli").stimuli}
  assert set(found) == {"prediction/PlayingCello - prediction/PlayingViolin", "conv2_2_motion/all"}
  folder = tmp_path / "files" / "prediction" / "PlayingCello_-_prediction_PlayingViolin" / "chi=0"
  inputs, config = export.read_exported(folder)
  assert config["location"] == "sum" and inputs["motion"].shape == (32, 32, 10, 2) and (folder / "together.png").is_file()
  np.testing.assert_allclose(inputs["motion"], found["prediction/PlayingCello - prediction/PlayingViolin"].motion, atol=0.1)


# The script, with weak references kept to all that its search yields.
_WATCHED = """
import gc, json, sys, weakref
from absl import flags
from tbvis.maximization import pipeline
from tbvis.scripts import maximize

search, yielded, alive = pipeline.search, [], []

def there():
  gc.collect()
  return len({id(ref()) for ref in yielded if ref() is not None})

def watched(*arguments):
  for stimulus, record in search(*arguments):
    # The rows of a batch are parts of one array.
    yielded.extend(weakref.ref(one) for one in (stimulus, record, stimulus.inputs["motion"].base))
    alive.append(there())
    yield stimulus, record

pipeline.search = watched
flags.FLAGS(sys.argv)
maximize.main()
print(json.dumps({"alive": alive, "left": there()}))
"""


def test_a_stimulus_that_is_written_leaves_the_memory(network, tmp_path):
  done = calls.run(
    "-c", _WATCHED, f"--checkpoint={network}", f"--pictures={tmp_path / 'pictures'}", "--dtype=float32", "--steps=1", "--batch_size=2",
    "--units=conv2_2_motion/f001-f006", "--chi=0,10",
  )  # fmt: skip
  assert done.returncode == 0, done.stderr[-3000:]
  found = json.loads(done.stdout.splitlines()[-1])
  assert len(found["alive"]) == 12 and "12 stimuli in" in done.stdout
  # No more of the sixth batch and the one before it than of the second and the first.
  assert max(found["alive"][4:]) <= max(found["alive"][:4]) <= 6, found
  assert found["left"] == 0


@pytest.mark.parametrize(
  ("arguments", "words"),
  [
    (["--layers=conv2_2", "--units=conv2_1/f001"], "expected units without a layer beside --layers"),
    (["--layers=conv2_3"], "Unknown layer 'conv2_3'"),
    (["--units=conv2_2/f001", "--location=corner"], "center, mean, sum"),
    (["--units=conv2_2/f001", "--export=x", "--formats=wepb"], "Nearest: webp"),
    (["--units=conv5_fushion/f001"], "Nearest: conv5_fusion"),
    (["--units=prediction/PlayingChello"], "Nearest: PlayingCello"),
    (["--units=conv2_2/f900"], "has units"),
    (["--units=conv2_2/f001", "--chi=fast"], "--chi: expected numbers"),
    (["--units=conv2_2/f001", "--chi=-1"], "--chi: expected numbers of 0 to"),
    (["--units=conv2_2/f001", "--statistics=/no/such.npz"], "/no/such.npz"),
    (["--units=conv2_2/f001", "--canvas=1"], "--canvas: expected at least"),
    ([], "--units is required"),
  ],
)
def test_mistakes_get_one_line_and_status_2(network, tmp_path, arguments, words):
  done = _run(f"--checkpoint={network}", f"--logdir={tmp_path / 'logs'}", *QUICK, *arguments)
  lines = [line for line in done.stderr.splitlines() if "error:" in line]
  assert done.returncode == 2 and len(lines) == 1 and words in lines[0], done.stderr[-2000:]
  assert "Traceback" not in done.stderr


def test_an_unknown_checkpoint_names_its_neighbours(network):
  done = _run(f"--checkpoint={network.with_name('net2.keras')}", "--units=conv2_2/f001", f"--logdir={network.parent / 'x'}")
  assert done.returncode == 2 and "Nearest: net.keras" in done.stderr and "Traceback" not in done.stderr


def test_a_network_of_chunks_has_them_in_everything_that_is_written(tmp_path):
  made = checkpoint_lib.build("two_stream_fusion_vgg16", {"width": 0.05, "input_size": 32, "fc_units": 4, "chunks": 3}, CLASSES)
  checkpoint_lib.save_checkpoint(made, tmp_path / "net.keras")
  done = _run(
    f"--checkpoint={tmp_path / 'net.keras'}", f"--logdir={tmp_path / 'logs'}", f"--pictures={tmp_path / 'pictures'}", *QUICK,
    f"--export={tmp_path / 'export'}", "--formats=png,gif,npz", "--units=conv5_fusion/f002", "--chi=0,10",
  )  # fmt: skip
  assert done.returncode == 0, done.stderr[-3000:]
  found = summaries.read_run(tmp_path / "logs", "stimuli").stimuli
  assert [(s.chi, s.film.shape[2:], s.motion.shape[2:], s.chunks) for s in found] == [(chi, (3, 3), (30, 2), 3) for chi in (0, 10)]
  assert found[0].kept.appearance.shape[3:] == (3, 3) and found[0].config["fields_in_time"] == [1]
  side = found[0].appearance.shape[0]
  pictures = animation.decode((tmp_path / "pictures/conv5_fusion_f002.png").read_bytes())[0]
  # Both settings, a row a chunk: an appearance and five frames of flow.
  assert pictures.shape == (2 * (3 * (side + 2) + 2), 6 * (side + 2) + 2, 3)
  folder = tmp_path / "export/conv5_fusion/f002/chi=0"
  assert len(animation.decode((folder / "together.gif").read_bytes())) == 30
  assert export.read_exported(folder)[0]["appearance"].shape == (side, side, 3, 3)
