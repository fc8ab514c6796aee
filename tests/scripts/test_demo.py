"""The demo's plan: what is called, what is reused, what a failure leaves."""

import functools
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import urllib.request

import pytest

from tbvis.errors import UsageError
from tbvis.scripts import demo_steps
from tbvis.scripts.demo_steps import Step, run_steps


@pytest.fixture
def project(tmp_path, monkeypatch):
  """A project folder with every file that the demo takes from it."""
  root = tmp_path / "project"
  for name in ("prepare", "train_first", "train", "evaluate", "maximize", "isotropic"):
    path = root / "flags" / f"stage_{name}.flags"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"# {name}\n")
  for parts in (("stage", "script.json"), ("demo", "checkpoint.keras"), ("demo", "statistics.npz")):
    path = root.joinpath("data", *parts)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("first")
  monkeypatch.setattr(demo_steps.resources, "_PACKAGE", root / "tbvis")
  return root


class Script:
  """Stands for the single scripts: writes what they would and remembers the calls."""

  def __init__(self, fail=None):
    self.calls = []
    self.fail = fail

  def __call__(self, step):
    self.calls.append(step.name)
    if step.name == self.fail:
      return 3
    for path in step.outputs:
      path.mkdir(parents=True, exist_ok=True)
      (path / "content").write_text(step.name)
    if step.report:
      step.report.parent.mkdir(parents=True, exist_ok=True)
      step.report.write_text(json.dumps({"seconds": len(self.calls)}))
    return 0


def plan(tmp_path, retrain=False, logdir="logdir"):
  return demo_steps.demo_steps(tmp_path / "data", tmp_path / logdir, retrain)


def call(tmp_path, script, **kwargs):
  return run_steps(plan(tmp_path, **kwargs), tmp_path / "data" / "steps.json", script)


def flag(step, name):
  (value,) = [a.partition("=")[2] for a in step.arguments if a.startswith(f"--{name}=")]
  return value


def test_the_demo_films_the_test_groups_only_and_takes_the_network_that_comes_along(project, tmp_path):
  prepare, evaluate, maximize, isotropic = plan(tmp_path)
  assert (flag(prepare, "groups"), flag(prepare, "name")) == ("1-3", "stage_test")
  assert flag(evaluate, "dataset") == "stage_test_split1_dis"
  for step in (evaluate, maximize, isotropic):
    assert flag(step, "checkpoint") == str(project / "data" / "demo" / "checkpoint.keras")
  assert flag(maximize, "statistics") == str(project / "data" / "demo" / "statistics.npz")


def test_retraining_films_everything_and_uses_what_it_trained(project, tmp_path):
  prepare, first, train, evaluate, maximize, _ = plan(tmp_path, retrain=True)
  assert not any(a.startswith("--groups") for a in prepare.arguments)
  # Two trainings by a flagfile each, on one set: the second goes on from the first one's towers, and is done anew when these change.
  start = pathlib.Path(flag(first, "output_dir")) / "checkpoint.keras"
  assert (first.verb, train.verb, flag(train, "start")) == ("train", "train", str(start)) and start in train.inputs
  assert flag(first, "output_dir") != flag(train, "output_dir")
  assert [pathlib.Path(flag(step, "flagfile")).name for step in (first, train)] == ["stage_train_first.flags", "stage_train.flags"]
  assert flag(first, "dataset") == flag(train, "dataset") == flag(evaluate, "dataset") == f"{flag(prepare, 'name')}_split1_dis"
  trained = str(pathlib.Path(flag(train, "output_dir")) / "checkpoint.keras")
  assert flag(evaluate, "checkpoint") == flag(maximize, "checkpoint") == trained
  assert flag(maximize, "statistics") == str(pathlib.Path(flag(evaluate, "output_dir")) / "statistics.npz")
  assert flag(maximize, "dataset") == flag(evaluate, "dataset"), "the clips that excite units most are taken from it"


def test_the_two_ways_share_neither_folders_nor_runs(project, tmp_path):
  one = {path for step in plan(tmp_path) for path in step.outputs}
  two = {path for step in plan(tmp_path, retrain=True) for path in step.outputs}
  assert not one & two


def test_everything_is_written_where_the_flags_say(project, tmp_path):
  for retrain in (False, True):
    for step in plan(tmp_path, retrain):
      for path in (*step.outputs, step.report):
        assert path.is_relative_to(tmp_path / "data") or path.is_relative_to(tmp_path / "logdir")


def test_a_second_run_does_nothing_again(project, tmp_path, capsys):
  first, second = Script(), Script()
  seconds = call(tmp_path, first)
  assert first.calls == list(seconds) == ["prepare", "evaluate", "maximize", "isotropic"]
  assert call(tmp_path, second) == {}
  assert second.calls == []
  assert capsys.readouterr().out.count("finished by an earlier run") == 4


def test_the_printed_command_can_be_copied(project, tmp_path, capsys):
  call(tmp_path, Script(), logdir="with a space")
  lines = [line.strip() for line in capsys.readouterr().out.splitlines() if line.startswith("  tbvis-")]
  assert lines[0].startswith(f"tbvis-prepare --flagfile={project / 'flags' / 'stage_prepare.flags'} --name=stage_test")
  assert f"'--logdir={tmp_path / 'with a space'}'" in lines[1]


def test_a_failure_ends_the_demo_with_its_status_and_keeps_what_is_finished(project, tmp_path, capsys):
  with pytest.raises(SystemExit) as raised:
    call(tmp_path, Script(fail="maximize"))
  assert raised.value.code == 3
  assert "step maximize ended with status 3" in capsys.readouterr().err
  again = Script()
  call(tmp_path, again)
  assert again.calls == ["maximize", "isotropic"]


def test_interrupted_work_is_gone_on_with(project, tmp_path):
  def interrupted(step):
    step.outputs[0].mkdir(parents=True)
    (step.outputs[0] / "half").write_text("")
    raise SystemExit(130)

  with pytest.raises(SystemExit):
    call(tmp_path, interrupted)
  call(tmp_path, Script())
  assert (tmp_path / "data" / "action_clips" / "stage_test_split1_dis" / "half").exists()


def test_another_network_is_evaluated_and_maximised_anew(project, tmp_path):
  call(tmp_path, Script())
  (tmp_path / "logdir" / "stage_stimuli" / "old").write_text("of the first network")
  (project / "data" / "demo" / "checkpoint.keras").write_text("second")
  again = Script()
  call(tmp_path, again)
  assert again.calls == ["evaluate", "maximize", "isotropic"]
  assert not (tmp_path / "logdir" / "stage_stimuli" / "old").exists()


def test_another_stage_script_makes_clips_and_scores_anew(project, tmp_path):
  call(tmp_path, Script())
  (project / "data" / "stage" / "script.json").write_text("second")
  again = Script()
  # The report of the second preparation differs from that of the first.
  again.calls.append("earlier")
  call(tmp_path, again)
  assert again.calls[1:] == ["prepare", "evaluate"]


def test_a_lost_logdir_is_written_again(project, tmp_path):
  call(tmp_path, Script())
  (tmp_path / "logdir" / "stage_stimuli" / "content").unlink()
  (tmp_path / "logdir" / "stage_stimuli").rmdir()
  again = Script()
  call(tmp_path, again)
  assert again.calls == ["maximize"]


def test_a_folder_that_the_demo_did_not_write_is_never_removed(project, tmp_path):
  call(tmp_path, Script())
  mine = tmp_path / "elsewhere" / "stage_stimuli" / "mine"
  mine.parent.mkdir(parents=True)
  mine.write_text("of the user")
  call(tmp_path, Script(), logdir="elsewhere")
  assert mine.read_text() == "of the user"


def test_a_project_elsewhere_with_the_same_files_is_the_same(tmp_path):
  prints = []
  for name in ("a", "b"):
    path = tmp_path / name / "demo.flags"
    path.parent.mkdir()
    path.write_text("--seed=1")
    prints.append(Step("s", "", "prepare", (f"--flagfile={path}",), inputs=(path,)).fingerprint())
  assert prints[0] == prints[1]


def test_an_unreadable_state_is_no_state(project, tmp_path):
  (tmp_path / "data").mkdir()
  (tmp_path / "data" / "steps.json").write_text("{half")
  script = Script()
  call(tmp_path, script)
  assert len(script.calls) == 4


@pytest.mark.slow
def test_tensorboard_answers_at_the_printed_address_until_interrupted(tmp_path):
  environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
  code = f"from pathlib import Path; from tbvis.scripts import demo_steps; demo_steps.serve(Path({str(tmp_path)!r}), port=0)"
  # A suite that was itself started in the background has SIGINT ignored, and so would have its children.
  heed = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
  command = [sys.executable, "-c", code]
  with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=tmp_path, preexec_fn=heed) as demo:
    line = next(line for line in demo.stdout if line.strip())
    found = re.fullmatch(r"TensorBoard: (http://localhost:\d+/)#tbvis \(stop it with Ctrl-C\)\n", line)
    assert found, line
    environment = json.load(urllib.request.urlopen(found.group(1) + "data/environment"))
    assert environment["data_location"] == str(tmp_path)
    demo.send_signal(signal.SIGINT)
    assert demo.stdout.read() == "TensorBoard stopped.\n"
    assert demo.wait(30) == 0
  # Nothing listens there any more.
  with pytest.raises(OSError):
    urllib.request.urlopen(found.group(1), timeout=5)


@pytest.mark.slow
def test_a_port_in_use_is_said(tmp_path):
  with socket.socket() as taken:
    taken.bind(("localhost", 0))
    taken.listen()
    port = taken.getsockname()[1]
    with pytest.raises(UsageError, match=rf"TensorBoard does not start at localhost:{port}; it says: .*{port}"):
      demo_steps.serve(tmp_path, port=port)
