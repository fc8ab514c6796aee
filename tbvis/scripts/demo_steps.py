"""The demo as a list of single scripts: what is called, with what, and what is finished already."""

from __future__ import annotations

from collections.abc import Callable, Sequence
import dataclasses
import hashlib
import json
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import time
from typing import Any

import tbvis
from tbvis import datasets, files, resources
from tbvis.errors import UsageError, present

# Three of the seven test groups of UCF101's split 1: with all the demo would take half as long again as the ten minutes that it may.
TEST_GROUPS = "1-3"
# "import" cannot be a module's name in Python.
_MODULES = {"import": "import_weights"}
_ADDRESS = re.compile(r"https?://\S+:\d+/\S*")


@dataclasses.dataclass(frozen=True)
class Step:
  """One call of a single script.

  Attributes:
    name: short name, unique within a run of the demo.
    title: what it does, for people.
    verb: the script, as "prepare".
    arguments: its command line.
    inputs: files that decide its result; when one changes the step is done anew.
    outputs: files or folders that only it writes; when one is missing the step is done again.
    report: JSON file of the numbers it measured, if it writes one.
    keeps: whether the script itself goes on from what it finds, so that its outputs stay when the step is done anew.
  """

  name: str
  title: str
  verb: str
  arguments: tuple[str, ...]
  inputs: tuple[pathlib.Path, ...] = ()
  outputs: tuple[pathlib.Path, ...] = ()
  report: pathlib.Path | None = None
  keeps: bool = False

  @property
  def command(self) -> tuple[str, ...]:
    """The command as a user would type it."""
    return (f"tbvis-{self.verb}", *self.arguments)

  def fingerprint(self) -> str:
    """Returns a digest of the command, the version and the contents of the inputs, wherever these lie.

    >>> first, second = (Step("a", "", "prepare", (flag,)).fingerprint() for flag in ("--seed=1", "--seed=2"))
    >>> first == second
    False
    """
    command = shlex.join(self.command)
    for path in self.inputs:
      command = command.replace(str(path), path.name)
    digest = hashlib.sha256(f"{tbvis.__version__} {command}".encode())
    for path in self.inputs:
      digest.update(path.read_bytes() if path.is_file() else b"missing")
    return digest.hexdigest()


def demo_steps(data_dir: pathlib.Path, logdir: pathlib.Path, retrain: bool) -> list[Step]:
  """Returns the steps of the demo.

  Args:
    data_dir: folder for everything but the logdir.
    logdir: folder that TensorBoard shows.
    retrain: whether all groups are filmed and the network is trained from nothing: on some classes first, then on all.
  """
  # A set of the test groups only must not pass for the whole one, so it has a name of its own.
  name, suffix = ("stage", "_retrained") if retrain else ("stage_test", "")
  prepared = f"{name}_split1_dis"
  scores = data_dir / f"evaluation{suffix}"
  first, training = data_dir / "training_first", data_dir / "training"
  if retrain:
    checkpoint, statistics = training / "checkpoint.keras", scores / "statistics.npz"
  else:
    checkpoint, statistics = resources.data_path("demo", "checkpoint.keras"), resources.data_path("demo", "statistics.npz")

  def report(step_name: str) -> pathlib.Path:
    return data_dir / "reports" / f"{step_name}{suffix}.json"

  def step(
    step_name: str,
    title: str,
    verb: str,
    arguments: Sequence[str],
    inputs: Sequence[pathlib.Path],
    outputs: Sequence[pathlib.Path],
  ) -> Step:
    recipe = resources.flags_path(f"stage_{step_name}.flags")
    arguments = (f"--flagfile={recipe}", *arguments, f"--json={report(step_name)}")
    return Step(step_name, title, verb, arguments, (*inputs, recipe), tuple(outputs), report(step_name))

  of_set = (f"--data_dir={data_dir}", f"--dataset={prepared}")
  steps = [
    step(
      "prepare",
      "Film the stage set and prepare it: frames and optical flow",
      "prepare",
      (f"--name={name}", f"--data_dir={data_dir}", *(() if retrain else (f"--groups={TEST_GROUPS}",))),
      inputs=(resources.data_path("stage", "script.json"),),
      outputs=(data_dir / datasets.PREPARED_FOLDER / prepared,),
    )
  ]
  # The report of the preparation stands for the clips: it is written when they are made anew.
  clips = report("prepare")
  if retrain:
    start = first / "checkpoint.keras"
    steps += [
      step(
        "train_first",
        "Train a network of some of the classes, from nothing",
        "train",
        (*of_set, f"--output_dir={first}"),
        inputs=(clips,),
        outputs=(first,),
      ),
      step(
        "train",
        "Train the network of all classes, from that one",
        "train",
        (f"--start={start}", *of_set, f"--output_dir={training}"),
        inputs=(start, clips),
        outputs=(training,),
      ),
    ]
  steps.append(
    step(
      "evaluate",
      "Score the test clips: accuracies and confusions" + (", and take the statistics of all units" if retrain else ""),
      "evaluate",
      (
        f"--checkpoint={checkpoint}",
        *of_set,
        f"--output_dir={scores}",
        f"--logdir={logdir}",
        f"--run=stage_evaluation{suffix}",
        # The statistics of the network that comes along come along too.
        *(() if retrain else ("--statistics_snippets=0",)),
      ),
      inputs=(checkpoint, clips),
      outputs=(scores, logdir / f"stage_evaluation{suffix}"),
    )
  )
  for step_name, run, title in (
    ("maximize", "stimuli", "Find stimuli of units and classes, with fast and with slow motion (chi)"),
    ("isotropic", "isotropic", "Find a stimulus that is equally smooth in space and time"),
  ):
    run = f"stage_{run}{suffix}"
    steps.append(
      step(
        step_name,
        title,
        "maximize",
        # The clips of the statistics that come along are not filmed: of them the tab has names alone.
        (f"--checkpoint={checkpoint}", f"--statistics={statistics}", f"--logdir={logdir}", f"--run={run}", *(of_set if retrain else ())),
        inputs=(checkpoint, statistics),
        outputs=(logdir / run,),
      )
    )
  return steps


def read_json(path: pathlib.Path | None) -> dict[str, Any]:
  """Returns the content of a JSON file, empty where there is none that can be read."""
  try:
    return json.loads(path.read_text()) if path else {}
  except (OSError, json.JSONDecodeError):
    return {}


def execute(step: Step) -> int:
  """Runs a step as a process of its own and returns its exit status."""
  try:
    module = f"tbvis.scripts.{_MODULES.get(step.verb, step.verb)}"
    return subprocess.run([sys.executable, "-m", module, *step.arguments], check=False).returncode
  except KeyboardInterrupt:
    # The script has had the same signal and said so itself.
    raise SystemExit(130) from None


def _remove(path: pathlib.Path) -> None:
  if path.is_dir():
    shutil.rmtree(path)
  else:
    path.unlink(missing_ok=True)


def run_steps(steps: Sequence[Step], state_file: pathlib.Path, execute: Callable[[Step], int] = execute) -> dict[str, float]:
  """Runs the steps that are not finished yet, in order.

  Args:
    steps: what to do.
    state_file: JSON of what was begun and what is finished, by step.
    execute: runs a step and returns its exit status.

  Returns:
    Seconds by name of the steps that ran.

  Raises:
    SystemExit: with the status of the first step that fails; finished steps stay finished.
  """
  state = read_json(state_file)
  seconds: dict[str, float] = {}
  for index, step in enumerate(steps, start=1):
    print(f"\n[{index}/{len(steps)}] {step.title}", flush=True)
    # Of inputs as they are now: an earlier step of this run may have made them.
    now = {"fingerprint": step.fingerprint(), "outputs": [str(path) for path in step.outputs]}
    before = state.get(step.name, {})
    if before == {**now, "finished": True} and all(path.exists() for path in step.outputs):
      print("  finished by an earlier run.", flush=True)
      continue
    # Work that was begun is gone on with; work of other settings is not. Nothing but the demo's own is removed.
    if before.get("outputs") == now["outputs"] and before["fingerprint"] != now["fingerprint"] and not step.keeps:
      print("  made with other settings or by another version before: made anew.", flush=True)
      for path in step.outputs:
        _remove(path)
    print(f"  {shlex.join(step.command)}", flush=True)
    files.write_json(state_file, state := {**state, step.name: {**now, "finished": False}})
    started = time.monotonic()
    status = execute(step)
    if status:
      sys.stderr.write(f"tbvis-demo: step {step.name} ended with status {status}. Run the demo again to go on from there.\n")
      raise SystemExit(status)
    seconds[step.name] = round(time.monotonic() - started, 1)
    print(f"  {seconds[step.name]} s", flush=True)
    files.write_json(state_file, state := {**state, step.name: {**now, "finished": True}})
  return seconds


def serve(logdir: pathlib.Path, host: str = "localhost", port: int | None = None, view: str = "") -> None:
  """Starts TensorBoard, prints the address of the tab once it answers, and waits until it ends or is interrupted.

  Args:
    logdir: what it shows.
    host: address that it listens at.
    port: its port; the first free one from 6006 if None, any free one if 0.
    view: what the tab shows at first, as it stands in its address.

  Raises:
    UsageError: if it does not start, with its own reason.
  """
  # A process of its own: TensorBoard's command line and absl's flags would both want --logdir.
  command = [sys.executable, "-m", "tensorboard.main", f"--logdir={logdir}", f"--host={host}"]
  command += [] if port is None else [f"--port={port}"]
  said: list[str] = []
  with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as board:
    lines = present(board.stderr, "TensorBoard's messages")
    try:
      for line in lines:
        said.append(line.strip())
        if address := _ADDRESS.search(line):
          print(f"\nTensorBoard: {address.group()}#tbvis{view} (stop it with Ctrl-C)", flush=True)
          break
      for line in lines:
        sys.stderr.write(line)
      board.wait()
    except KeyboardInterrupt:
      # TensorBoard has had the same signal; a terminal sends it to both, kill only to one.
      board.terminate()
      print("TensorBoard stopped.")
      return
  if not any(map(_ADDRESS.search, said)):
    reason = next((line for line in reversed(said) if line), f"status {board.returncode}")
    raise UsageError(f"--host, --port: TensorBoard does not start at {host}:{'6006' if port is None else port}; it says: {reason}")
