"""The whole path on the embedded stage set: film, prepare, evaluate, maximise, look.

Each step is one of the single scripts with a flagfile, run as a process of its own, so that its memory is given
back and the printed command is one that can be copied.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
import dataclasses
import hashlib
import json
import pathlib
import resource
import shlex
import subprocess
import sys
import time
from typing import Any

from absl import flags

import tbvis
from tbvis import files, resources
from tbvis.errors import UsageError
from tbvis.scripts import app

_DATA_DIR = flags.DEFINE_string("data_dir", "demo/data", "Folder for films, prepared clips, scores and the retrained network.")
_LOGDIR = flags.DEFINE_string("logdir", "demo/logdir", "Folder that TensorBoard shows.")
_TENSORBOARD = flags.DEFINE_bool("tensorboard", True, "Start TensorBoard at the end; --notensorboard only writes the logdir.")
_RETRAIN = flags.DEFINE_bool(
  "retrain", False, "Film all groups and train the network from nothing, instead of taking the one that comes along."
)
_HOST = flags.DEFINE_string("host", "localhost", "Address that TensorBoard listens at; 0.0.0.0 lets other machines in.")
_PORT = flags.DEFINE_integer(
  "port", None, "Port of TensorBoard; the first free one from 6006 by default, 0 for any free one.", lower_bound=0, upper_bound=65535
)
_JSON = app.define_json()

# Test groups of the stage set, as in UCF101's split 1; the demo scores these and needs no others.
TEST_GROUPS = "1-7"
_FINISHED = "finished.json"


@dataclasses.dataclass(frozen=True)
class Step:
  """One call of a single script.

  Attributes:
    name: short name, unique within a run of the demo.
    title: what it does, for people.
    verb: the script, as "prepare".
    arguments: its command line.
    inputs: files that decide its result; when one changes the step is done again.
    outputs: files or folders that it leaves; when one is missing the step is done again.
    report: JSON file of the numbers it measured, if it writes one.
  """

  name: str
  title: str
  verb: str
  arguments: tuple[str, ...]
  inputs: tuple[pathlib.Path, ...] = ()
  outputs: tuple[pathlib.Path, ...] = ()
  report: pathlib.Path | None = None

  @property
  def command(self) -> tuple[str, ...]:
    """The command as a user would type it."""
    return (f"tbvis-{self.verb}", *self.arguments)

  def fingerprint(self) -> str:
    """Returns a digest of the command, the version and the contents of the inputs.

    >>> first, second = (Step("a", "", "prepare", (flag,)).fingerprint() for flag in ("--seed=1", "--seed=2"))
    >>> first == second
    False
    """
    digest = hashlib.sha256(json.dumps([tbvis.__version__, self.command]).encode())
    for path in self.inputs:
      digest.update(path.read_bytes() if path.is_file() else b"missing")
    return digest.hexdigest()


def _flagfile(name: str) -> str:
  return f"--flagfile={resources.flags_path(name)}"


def demo_steps(data_dir: pathlib.Path, logdir: pathlib.Path, retrain: bool) -> list[Step]:
  """Returns the steps of the demo.

  Args:
    data_dir: folder for everything but the logdir.
    logdir: folder that TensorBoard shows.
    retrain: whether all groups are filmed and the network is trained from nothing.
  """
  # A set of the test groups only must not pass for the whole one, so it has a name of its own.
  name = "stage" if retrain else "stage_test"
  prepared = f"{name}_split1_dis"
  scores = data_dir / ("retrained" if retrain else "evaluation")
  checkpoint = scores / "checkpoint.keras" if retrain else resources.data_path("demo", "checkpoint.keras")
  statistics = scores / "statistics.npz" if retrain else resources.data_path("demo", "statistics.npz")
  network = (checkpoint, statistics)
  reports = data_dir / "reports"

  def step(step_name: str, title: str, verb: str, arguments: Sequence[str], flagfile: str, **kwargs: Any) -> Step:
    report = reports / f"{step_name}{'_retrained' if retrain else ''}.json"
    inputs = (*kwargs.pop("inputs", ()), resources.flags_path(flagfile))
    return Step(step_name, title, verb, (_flagfile(flagfile), *arguments, f"--json={report}"), inputs=inputs, report=report, **kwargs)

  groups = () if retrain else (f"--groups={TEST_GROUPS}",)
  steps = [
    step(
      "prepare",
      "Film the stage set and prepare it: frames and optical flow",
      "prepare",
      (f"--name={name}", f"--data_dir={data_dir}", *groups),
      "stage_prepare.flags",
      inputs=(resources.data_path("stage", "script.json"),),
      outputs=(data_dir / "action_clips" / prepared,),
    )
  ]
  if retrain:
    steps.append(
      step(
        "train",
        "Train the network from nothing",
        "train",
        (f"--data_dir={data_dir}", f"--dataset={prepared}", f"--output_dir={scores}"),
        "stage_train.flags",
        outputs=(checkpoint,),
      )
    )
  steps.append(
    step(
      "evaluate",
      "Score the test clips: accuracies, confusions",
      "evaluate",
      (
        f"--checkpoint={checkpoint}",
        f"--data_dir={data_dir}",
        f"--dataset={prepared}",
        f"--output_dir={scores}",
        f"--logdir={logdir}",
        # The statistics of the network that comes along come along too.
        *(() if retrain else ("--statistics_snippets=0",)),
      ),
      "stage_evaluate.flags",
      inputs=(checkpoint,),
      outputs=(scores / "predictions.npz", logdir / "evaluation", *((statistics,) if retrain else ())),
    )
  )
  for step_name, title, flagfile in (
    ("maximize", "Find stimuli of units and classes, from free to slow motion (chi)", "stage_maximize.flags"),
    ("maximize_isotropic", "Find stimuli under equal smoothness in space and time", "stage_isotropic.flags"),
  ):
    steps.append(
      step(
        step_name,
        title,
        "maximize",
        (f"--checkpoint={checkpoint}", f"--statistics={statistics}", f"--logdir={logdir}", f"--run={step_name}"),
        flagfile,
        inputs=network,
        outputs=(logdir / step_name,),
      )
    )
  return steps


def _read_json(path: pathlib.Path | None) -> dict[str, Any]:
  try:
    return json.loads(path.read_text()) if path else {}
  except (OSError, json.JSONDecodeError):
    return {}


def run_steps(steps: Sequence[Step], finished_file: pathlib.Path, execute: Callable[[Step], int]) -> dict[str, float]:
  """Runs the steps that are not finished yet, in order.

  Args:
    steps: what to do.
    finished_file: JSON of the fingerprints of finished steps; written after each.
    execute: runs a step and returns its exit status.

  Returns:
    Seconds by name of the steps that ran.

  Raises:
    SystemExit: with the status of the first step that fails; finished steps stay finished.
  """
  finished = _read_json(finished_file)
  seconds: dict[str, float] = {}
  for index, step in enumerate(steps, start=1):
    print(f"\n[{index}/{len(steps)}] {step.title}", flush=True)
    # Of inputs as they are now: an earlier step of this run may have made them.
    if finished.get(step.name) == step.fingerprint() and all(path.exists() for path in step.outputs):
      print("  finished by an earlier run.", flush=True)
      continue
    print(f"  {shlex.join(step.command)}", flush=True)
    started = time.monotonic()
    status = execute(step)
    if status:
      sys.stderr.write(f"tbvis-demo: step {step.name} ended with status {status}. Run the demo again to go on from there.\n")
      raise SystemExit(status)
    seconds[step.name] = round(time.monotonic() - started, 1)
    print(f"  {seconds[step.name]} s", flush=True)
    finished[step.name] = step.fingerprint()
    files.write_json(finished_file, finished)
  return seconds


def _execute(step: Step) -> int:
  try:
    return subprocess.run([sys.executable, "-m", f"tbvis.scripts.{step.verb}", *step.arguments], check=False).returncode
  except KeyboardInterrupt:
    # The script has had the same signal and said so itself.
    raise SystemExit(130) from None


def serve(logdir: pathlib.Path, host: str, port: int | None) -> None:
  """Starts TensorBoard, prints the address of the tab and waits until interrupted.

  Raises:
    UsageError: if it cannot listen there.
  """
  from tensorboard import program  # Only where it is wanted: it takes seconds to load.

  board = program.TensorBoard()
  board.configure(argv=[None, f"--logdir={logdir}", f"--host={host}", *([] if port is None else [f"--port={port}"])])
  try:
    url = board.launch()
  except program.TensorBoardServerException as error:
    raise UsageError(f"--port, --host: expected an address that is free, received {host}:{port or 6006}; {error.msg}") from error
  print(f"\nTensorBoard: {url}#tbvis (stop it with Ctrl-C)", flush=True)
  try:
    while True:
      time.sleep(3600)
  except KeyboardInterrupt:
    print("TensorBoard stopped.")


def main() -> None:
  """Runs the script."""
  data_dir = files.ensure_writable(app.required_path(_DATA_DIR.value, "data_dir"), "data_dir").resolve()
  logdir = files.ensure_writable(app.required_path(_LOGDIR.value, "logdir"), "logdir").resolve()
  print("The stage set is synthetic: figures drawn by this program, whose causes are known. No real video is used.")
  started = time.monotonic()
  steps = demo_steps(data_dir, logdir, _RETRAIN.value)
  seconds = run_steps(steps, data_dir / f"{'retrained_' if _RETRAIN.value else ''}{_FINISHED}", _execute)
  reports = {step.name: _read_json(step.report) for step in steps}
  numbers: dict[str, Any] = {f"{name}_seconds": value for name, value in seconds.items()}
  numbers["seconds"] = round(time.monotonic() - started, 1)
  # Of the largest process among the steps and their helpers.
  numbers["peak_memory_mib"] = round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)
  numbers |= {key: value for key, value in reports["evaluate"].items() if key.startswith("accuracy_") or key == "clips"}
  accuracies = ", ".join(f"{tower} {numbers[f'accuracy_{tower}']:.1%}" for tower in ("appearance", "hybrid", "motion", "fused")
                         if numbers.get(f"accuracy_{tower}") is not None)  # fmt: skip
  print(f"\nAccuracy on {numbers.get('clips')} synthetic test clips: {accuracies}.")
  print(f"All steps: {numbers['seconds']} s. The logdir is {logdir}.", flush=True)
  app.report_json(_JSON.value, numbers)
  if _TENSORBOARD.value:
    serve(logdir, _HOST.value, _PORT.value)


def entry() -> None:
  """Console script."""
  app.run(main)


if __name__ == "__main__":
  entry()
