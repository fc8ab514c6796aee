"""What a run's sweeps still have to find, as the list of contents tells it."""

from __future__ import annotations

import json
import time

import pytest

from tb_plugin import checks, listing, sweeps
from tbvis import plans, summaries
from tests.tb_plugin import hostile, hostile_sweeps, synthetic
from tests.tb_plugin.test_routes import _client, _json

SWEEP, LATER = "0123456789abcdef", "fedcba9876543210"
UNITS = synthetic.UNITS[3], synthetic.UNITS[4]
TARGETS = [(name, name.split("/")[0], index, channel, class_name) for name, index, channel, class_name in UNITS]
SETTINGS = [(1.0, 0.0, False), (1.0, 10.0, False), (5.0, 5.0, True)]


def _write(logdir, *records, statistics=None):
  with summaries.StimulusWriter(logdir, "stimuli") as writer:
    writer.add_statistics(statistics or {})
    for record in records:
      writer.write(record)


def _folder(logdir):
  return logdir / "stimuli/tbvis/sweeps"


def _plan(logdir, sweep=SWEEP, targets=TARGETS, finished=(), seed=0):
  plans.write(_folder(logdir), sweep, targets, SETTINGS, seed=seed, steps=120, finished=list(finished))


def _sign(logdir, rows, step, age=0.0, sweep=SWEEP, worker="main"):
  content = {"version": 1, "time": time.time() - age, "rows": rows, "step": step}
  (_folder(logdir) / f"{sweep}.{worker}.json").write_text(json.dumps(content))


def _planned(logdir):
  (run,) = _json(_client(logdir), "contents")["runs"]
  return [(row["unit"].split("/")[1], row["variant"], row["state"], row["step"]) for row in run["planned"]]


def test_a_sweep_is_listed_before_its_first_stimulus_and_row_by_row(tmp_path):
  _write(tmp_path)
  assert _json(_client(tmp_path), "contents")["seen"], "a run with nothing to show and nothing planned is an empty logdir"
  _plan(tmp_path, seed=2)
  contents = _json(_client(tmp_path), "contents")
  (run,) = contents["runs"]
  assert contents["seen"] is None and run["stimuli"] == []
  name, index, channel, class_name = UNITS[1]
  assert run["planned"][-1] == {
    "unit": name, "layer": "prediction", "layer_index": index, "channel": channel, "class_name": class_name, "kappa": 5.0, "chi": 5.0,
    "isotropic": True, "seed": 2, "variant": "isotropic=5,seed=2", "state": "interrupted", "step": 0, "steps": 120,
  }  # fmt: skip
  assert [row["variant"] for row in run["planned"][:3]] == ["chi=0,seed=2", "chi=10,seed=2", "isotropic=5,seed=2"]


def test_running_planned_interrupted_and_finished(tmp_path):
  _write(tmp_path, synthetic.record(UNITS[0], chi=0))
  _plan(tmp_path, finished=[0])
  _sign(tmp_path, [0, 3], 17)
  running = [("f021", "chi=10", "running", 17), ("f021", "isotropic=5", "running", 17)]
  others = [("PlayingCello", "chi=0"), ("PlayingCello", "chi=10"), ("PlayingCello", "isotropic=5")]
  assert _planned(tmp_path) == [*running, *((*other, "planned", 0) for other in others)]
  # A process that shows no sign for a minute was killed; another of the same sweep may go on.
  _sign(tmp_path, [0, 3], 17, age=61)
  stopped = [(unit, variant, "interrupted", step) for unit, variant, _, step in running]
  assert _planned(tmp_path) == [*stopped, *((*other, "interrupted", 0) for other in others)]
  _sign(tmp_path, [3, 6], 4, worker="batch_00001")
  assert _planned(tmp_path) == [*stopped, *((*other, "running", 4) for other in others)]
  # Nor is anybody there who wrote before the clock was set back.
  _sign(tmp_path, [3, 6], 4, worker="batch_00001", age=-3600)
  assert _planned(tmp_path) == [*stopped, *((*other, "interrupted", 4) for other in others)]
  # What is written since, failed or not, is planned no more; what failed before the plan is to be made again.
  _write(tmp_path, synthetic.record(UNITS[0], chi=10), synthetic.record(UNITS[1], chi=0, error="NaN at step 3"))
  assert [row[:2] for row in _planned(tmp_path)] == [("f021", "isotropic=5"), *others[1:]]
  _plan(tmp_path, finished=[0, 1])
  assert [row[:2] for row in _planned(tmp_path)] == [("f021", "isotropic=5"), *others]
  assert all(row[2] == "interrupted" for row in _planned(tmp_path))


def test_several_sweeps_into_one_run_add_up(tmp_path):
  _write(tmp_path)
  _plan(tmp_path, targets=TARGETS[:1])
  _plan(tmp_path, sweep=LATER)
  _sign(tmp_path, [0, 1], 5, age=1000)
  _sign(tmp_path, [1, 2], 9, sweep=LATER)
  found = _planned(tmp_path)
  assert len(found) == 6 and found[:3] == [
    ("f021", "chi=0", "planned", 0),
    ("f021", "chi=10", "running", 9),
    ("f021", "isotropic=5", "planned", 0),
  ]


def test_a_plan_is_read_again_only_when_its_file_changed(tmp_path, monkeypatch):
  _write(tmp_path)
  _plan(tmp_path)
  client, read = _client(tmp_path), []
  real = checks.plan
  monkeypatch.setattr(checks, "plan", lambda data, what: read.append(what) or real(data, what))
  for _ in range(3):
    assert len(_json(client, "contents")["runs"][0]["planned"]) == 6
  assert len(read) == 1
  _plan(tmp_path, finished=[0])
  assert len(_json(client, "contents")["runs"][0]["planned"]) == 5 and len(read) == 2
  assert _json(_client(tmp_path, logdir=""), "contents")["runs"][0]["planned"] == []


def test_seventy_thousand_planned_stimuli_fit(tmp_path):
  _write(tmp_path)
  targets = [(f"conv5_fusion/f{i:05d}", "conv5_fusion", 7, i, None) for i in range(23_400)]
  _plan(tmp_path, targets=targets, finished=range(100))
  contents = _json(_client(tmp_path), "contents")
  assert len(contents["runs"][0]["planned"]) == 70_100 and not contents["damaged"]
  assert len(json.dumps(contents["runs"][0]["planned"][0])) < sweeps._ROW_BYTES + len("conv5_fusion/f00000") + 2 * len("conv5_fusion")


@pytest.mark.parametrize("limit", ["_LARGEST_LIST", "LARGEST_PLAN", "_MOST_PLANNED"])
def test_what_is_too_large_is_left_out_by_name(tmp_path, monkeypatch, limit):
  _write(tmp_path, synthetic.record(UNITS[0], size=16))
  _plan(tmp_path)
  monkeypatch.setattr(
    listing if limit == "_LARGEST_LIST" else checks, limit, {"_LARGEST_LIST": 1500, "LARGEST_PLAN": 100, "_MOST_PLANNED": 5}[limit]
  )
  contents = _json(_client(tmp_path), "contents")
  assert [(record["tag"], "at most" in record["why"]) for record in contents["damaged"]] == [(f"sweeps/{SWEEP}.json", True)]
  assert contents["runs"][0]["planned"] == [] and len(contents["runs"][0]["stimuli"]) == 1


def test_spoilt_plans_and_signs_are_named_and_the_rest_is_listed(tmp_path):
  _write(tmp_path, synthetic.record(UNITS[0], size=16))
  names = hostile_sweeps.write(_folder(tmp_path), tmp_path / "outside")
  _plan(tmp_path)
  _sign(tmp_path, [0, 1], 1)
  contents = _json(_client(tmp_path), "contents")
  named = {record["tag"] for record in contents["damaged"]}
  assert contents["damaged_count"] == len(names) > 40 and named <= set(names)
  assert len(contents["runs"][0]["planned"]) == 6 and hostile.SECRET.decode() not in json.dumps(contents)
