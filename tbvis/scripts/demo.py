"""The whole path on the embedded stage set: film, prepare, evaluate, maximise, look.

Each step is one of the single scripts with a flagfile, run as a process of its own, so that its memory is given
back and the printed command is one that can be copied.
"""

from __future__ import annotations

import resource
import time
from typing import Any

from absl import flags

from tbvis import files
from tbvis.scripts import app, demo_steps

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


def main() -> None:
  """Runs the script."""
  data_dir = files.ensure_writable(app.required_path(_DATA_DIR.value, "data_dir"), "data_dir").resolve()
  logdir = files.ensure_writable(app.required_path(_LOGDIR.value, "logdir"), "logdir").resolve()
  print("The stage set is synthetic: figures drawn by this program, whose causes are known. No real video is used.")
  started = time.monotonic()
  steps = demo_steps.demo_steps(data_dir, logdir, _RETRAIN.value)
  seconds = demo_steps.run_steps(steps, data_dir / ("steps_retrained.json" if _RETRAIN.value else "steps.json"))
  reports = {step.name: demo_steps.read_json(step.report) for step in steps}
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
    demo_steps.serve(logdir, _HOST.value, _PORT.value)


def entry() -> None:
  """Console script."""
  app.run(main)


if __name__ == "__main__":
  entry()
