"""A search that is interrupted, at whatever moment, goes on and ends with the same bits."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest

from tb_plugin import store, sweeps
from tbvis import files, summaries
from tbvis.maximization import api, pipeline, planning, sweep
from tbvis.maximization.config import MaximizationConfig
from tbvis.maximization.snapshot import Snapshot
from tbvis.models import checkpoint as checkpoint_lib
from tests import calls

CONFIG = MaximizationConfig(steps=9, log_every=2, temporal_jitter=2)


def _plan(network, config=CONFIG):
  job = api.make_job(network, config)
  return job, planning.plan(job, planning.targets(["conv2_2/f001-f002", "conv3_1_motion/f001"], network), planning.settings([0, 5], 1.0))


class _Stop(Exception):
  pass


@pytest.mark.slow
def test_a_broken_search_ends_as_an_unbroken_one_bit_for_bit(network, tmp_path):
  job, batches = _plan(network)
  whole = [stimulus for made in sweep.search(job, batches) for stimulus in made]
  for after in (1, 4, 7, 9, 13):
    steps = []

    def stop(_, after=after, steps=steps):
      steps.append(1)
      if len(steps) == after:
        raise _Stop

    # As in a new process: nothing compiled is kept.
    sweep._ASCENTS.clear()
    made = []
    with pytest.raises(_Stop):
      made += [s for found in sweep.search(job, batches, stop, state=tmp_path, save_every=2) for s in found]
    resumed = [s for found in sweep.search(job, batches, state=tmp_path, save_every=2) for s in found]
    assert not list(tmp_path.iterdir())
    for one, other in zip(whole, resumed, strict=True):
      assert one.target == other.target and one.activation == other.activation
      for stream in one.inputs:
        np.testing.assert_array_equal(one.inputs[stream], other.inputs[stream])
      np.testing.assert_array_equal(one.steps, other.steps)
      for term in one.history:
        np.testing.assert_array_equal(one.history[term], other.history[term])
      assert one.kept_after.tolist() == other.kept_after.tolist() == [0, 1, 2, 4, 6]
      for stream in one.inputs:
        np.testing.assert_array_equal(one.kept[stream], other.kept[stream])


@pytest.mark.slow
def test_the_state_of_another_search_is_not_taken_up(network, tmp_path):
  job, batches = _plan(network)
  identity = sweep.identity(job, batches[0])
  assert identity == sweep.identity(*(lambda j, b: (j, b[0]))(*_plan(network)))
  others = [
    sweep.identity(job, batches[1]),
    sweep.identity(*(lambda j, b: (j, b[0]))(*_plan(network, dataclasses.replace(CONFIG, steps=10)))),
    sweep.identity(dataclasses.replace(job, a_hat={"conv2_2_motion": np.full(8, 2.0)}), batches[0]),
  ]
  assert identity not in others
  snapshot = Snapshot(tmp_path / "a.npz", 1, identity)
  snapshot.save({"step": np.array(3)})
  assert int(snapshot.load()["step"]) == 3
  assert Snapshot(tmp_path / "a.npz", 1, "other").load() is None
  (tmp_path / "a.npz").write_bytes(b"PK cut short")
  assert snapshot.load() is None
  # A process killed while it saved leaves its temporary file; another search's is not ours to remove.
  for name in (".a-x1y2.npz", ".b-x1y2.npz"):
    (tmp_path / name).write_bytes(b"half")
  snapshot.remove()
  assert [path.name for path in tmp_path.iterdir()] == [".b-x1y2.npz"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
  path = tmp_path_factory.mktemp("resume") / "net.keras"
  made = checkpoint_lib.build("two_stream_fusion_vgg16", {"width": 0.05, "input_size": 32, "fc_units": 4}, ("Left", "Right"))
  checkpoint_lib.save_checkpoint(made, path)
  return path


def _command(checkpoint, logdir, *more):
  return [
    sys.executable, "-m", "tbvis.scripts.maximize", f"--checkpoint={checkpoint}", f"--logdir={logdir}", "--dtype=float32",
    "--units=conv2_2/f001-f003,prediction/*", "--chi=0,10", "--steps=150", "--batch_size=4", *more,
  ]  # fmt: skip


def _found(logdir):
  run = summaries.read_run(logdir, "stimuli").stimuli
  return {s.key: (s.activation, *(x.tobytes() for x in (s.appearance, s.motion, s.history["activation"], s.kept.motion))) for s in run}


@pytest.mark.slow
def test_who_looks_on_is_told_what_is_planned_running_and_interrupted(checkpoint, tmp_path):
  recipe = _recipe(checkpoint, tmp_path, wanted=("prediction/*",), config=MaximizationConfig(steps=5, batch_size=3))
  states = []

  def listed():
    return sweeps.planned(recipe.sweeps, store._file, [], lambda size: None, lambda tag, error: pytest.fail(f"{tag}: {error}"))

  def look(_):
    states.append([row["state"] for row in listed()])

  records = {}
  with pytest.raises(_Stop), pipeline.planned(recipe, set()) as life:
    for _, record in pipeline.search(recipe, [0, 1], set(), look, life):
      records[record.key] = record
    told = {sweeps._KEY(row): row for row in listed()}
    raise _Stop
  assert len(states) == 2 * 5 and len(records) == 4
  assert states[0] == ["running"] * 3 + ["planned"] and states[5] == ["planned"] * 3 + ["running"]
  assert told.keys() == records.keys()
  for key, row in told.items():
    fields = ("layer", "layer_index", "channel", "class_name", "variant")
    assert [row[name] for name in fields] == [getattr(records[key], name) for name in fields] and row["steps"] == 5
  assert [row["state"] for row in listed()] == ["interrupted"] * 4, "a sweep that ended without its rows"
  with pipeline.planned(recipe, set(list(records)[:3])):
    assert [(row["unit"], row["chi"], row["state"]) for row in listed()] == [("prediction/Right", 10, "planned")]
  assert not recipe.sweeps.exists()


def _recipe(checkpoint, logdir, **changed):
  recipe = pipeline.Recipe(
    str(checkpoint), None, "float32", ("conv2_2/f001-f003", "prediction/*"), tuple(planning.settings([0, 10], 1.0)),
    MaximizationConfig(steps=5, batch_size=4), logdir=str(logdir), save_every=2,
  )  # fmt: skip
  return dataclasses.replace(recipe, **changed)


@pytest.mark.slow
def test_a_batch_is_tried_again_and_then_told_by_name(checkpoint, tmp_path, monkeypatch):
  recipe = _recipe(checkpoint, tmp_path)
  tries = []
  real = sweep.search

  def sometimes(job, batches, *args, **options):
    tries.append(1)
    if len(tries) == 1:
      raise RuntimeError("a worker's bad day")
    return real(job, batches, *args, **options)

  monkeypatch.setattr(sweep, "search", sometimes)
  assert pipeline.search_batch(recipe, 0) == 4 and len(tries) == 2 and not pipeline.failures(recipe)
  assert pipeline.search_batch(recipe, 0) == 0 and len(tries) == 2  # Idempotent.
  monkeypatch.setattr(sweep, "search", lambda *args, **options: (_ for _ in ()).throw(RuntimeError("no good")))
  assert pipeline.search_batch(recipe, 1) == 0
  (failure,) = pipeline.failures(recipe)
  assert failure["targets"] == ["conv2_2/f003"] and "no good" in failure["reason"]
  monkeypatch.setattr(sweep, "search", real)
  assert pipeline.search_batch(recipe, 1) == 2 and not pipeline.failures(recipe)
  assert len(summaries.read_run(tmp_path, "stimuli").stimuli) == 6


@pytest.mark.slow
def test_beam_finds_what_one_process_finds_and_goes_on_past_a_failure(checkpoint, tmp_path):
  pytest.importorskip("apache_beam", reason="Apache Beam (the extra `beam`) is not installed")
  parallel = ("--runner=DirectRunner", "--direct_num_workers=2")
  steps = "--steps=20"
  done = calls.run(*_command(checkpoint, tmp_path / "one", steps)[1:])
  assert done.returncode == 0, done.stderr[-2000:]
  # A file where a folder has to be: this stimulus cannot be written.
  files.write_bytes(tmp_path / "beam" / "stimuli" / "tbvis" / "stimuli" / "prediction", b"")
  command = _command(checkpoint, tmp_path / "beam", steps, *parallel, f"--json={tmp_path / 'out.json'}")
  done = subprocess.run(command, capture_output=True, text=True, check=False)
  assert done.returncode == 2 and "Failed: prediction/Left, prediction/Right" in done.stdout, done.stderr[-3000:]
  assert [path.suffix for path in (tmp_path / "beam/stimuli/tbvis/sweeps").iterdir()] == [".json"], "the plan stays, nobody lives"
  assert json.loads((tmp_path / "out.json").read_text())["batches_failed"] == 1
  (tmp_path / "beam" / "stimuli" / "tbvis" / "stimuli" / "prediction").unlink()
  done = subprocess.run(command, capture_output=True, text=True, check=False)
  assert done.returncode == 0 and "6 stimuli are finished" in done.stdout, done.stderr[-3000:]
  assert _found(tmp_path / "beam") == _found(tmp_path / "one")
  assert not (tmp_path / "beam/stimuli/tbvis/sweeps").exists()


@pytest.mark.parametrize("flag", ["--runner=DirectRunner", "--unknown_flag=3"])
def test_beam_needs_a_logdir_and_flags_are_checked_without_it(flag):
  done = calls.call("maximize", "--checkpoint=x", "--units=a/f001", flag)
  assert done.returncode == 2 and "Traceback" not in done.stderr
  assert ("--logdir, --pictures or --export" if "runner" in flag else "unknown flag") in done.stderr
