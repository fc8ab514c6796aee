"""The whole path on the embedded stage set: film, prepare, evaluate, maximise, look. With --recipe on real clips instead.

Each step is one of the single scripts with a flagfile, run as a process of its own, so that its memory is given
back and the printed command is one that can be copied.
"""

from __future__ import annotations

from collections.abc import Sequence
import pathlib
import resource
import time
from typing import Any

from absl import flags

from tbvis import weights
from tbvis.errors import UsageError
from tbvis.scripts import app, demo_steps, flag_values, recipe_steps

_DATA_DIR = flags.DEFINE_string("data_dir", "demo/data", "Folder for films, prepared clips, scores and the retrained network.")
_LOGDIR = flags.DEFINE_string("logdir", "demo/logdir", "Folder that TensorBoard shows.")
_TENSORBOARD = flags.DEFINE_bool("tensorboard", True, "Start TensorBoard at the end; --notensorboard only writes the logdir.")
_RETRAIN = flags.DEFINE_bool(
  "retrain", False, "Film all groups and train the network from nothing, instead of taking the one that comes along."
)
_RECIPE = flags.DEFINE_string(
  "recipe", None, "Flagfile of all scripts, as flags/ucf101_split1.flags: prepares, trains (or imports), evaluates and maximises by it."
)
_VIDEOS = flags.DEFINE_string("videos", None, "With --recipe: folder of videos; without it the set must be prepared in --data_dir already.")
_SPLIT = flags.DEFINE_integer("split", 1, "With --recipe: number of the official split.", lower_bound=1, upper_bound=3)
_CHECKPOINT = flags.DEFINE_string("checkpoint", None, "With --recipe: a network to show instead of training one, as tbvis-import made it.")
_WEIGHTS = flags.DEFINE_string("weights", None, "With --recipe: published weights to import and show instead of training (tbvis-import).")
_FORMAT = flags.DEFINE_enum("format", None, list(weights.FORMATS), "Format of --weights (tbvis-import).")
_START = flags.DEFINE_string("start", None, "With --recipe: the checkpoint that the training starts from, as ImageNet's (tbvis-import).")
_HOST = flags.DEFINE_string("host", "localhost", "Address that TensorBoard listens at; 0.0.0.0 lets other machines in.")
_PORT = flags.DEFINE_integer(
  "port", None, "Port of TensorBoard; the first free one from 6006 by default, 0 for any free one.", lower_bound=0, upper_bound=65535
)
_JSON = app.define_json()


def _existing(value: str, flag: str, kind: str = "file") -> pathlib.Path:
  """Returns the whole path of what is there."""
  return flag_values.given(flag_values.existing_path(value, flag, kind), flag).resolve()


def _existing_if_given(value: str | None, flag: str, kind: str = "file") -> pathlib.Path | None:
  return _existing(value, flag, kind) if value else None


def _import_flags() -> tuple[tuple[str, ...], list[pathlib.Path]]:
  """Returns what tbvis-import is called with, and the files that decide what it makes."""
  if not _WEIGHTS.value:
    return (), []
  named: list[str] = []
  inputs: list[pathlib.Path] = []
  for stream, name in flag_values.weight_files(_WEIGHTS.value).items():
    # The one name that is no file: tbvis-import fetches it.
    if (_FORMAT.value, name) != ("keras", "imagenet"):
      path = _existing(name, "weights")
      # Caffe's text form is read where it lies beside.
      inputs += [path, path.with_suffix(".prototxt")] if _FORMAT.value == "caffe" else [path]
      name = str(path)
    named.append(f"{stream}={name}" if stream else name)
  return (f"--weights={','.join(named)}", f"--format={_FORMAT.value}"), inputs


def _recipe_plan(data_dir: pathlib.Path, logdir: pathlib.Path) -> tuple[recipe_steps.Recipe, recipe_steps.Plan]:
  recipe = recipe_steps.read_recipe(_existing(flag_values.required(_RECIPE.value, "recipe"), "recipe", "flagfile"))
  imported, weights = _import_flags()
  plan = recipe_steps.recipe_steps(
    recipe,
    data_dir,
    logdir,
    videos=_existing_if_given(_VIDEOS.value, "videos", "folder"),
    split=_SPLIT.value,
    checkpoint=_existing_if_given(_CHECKPOINT.value, "checkpoint"),
    imported=imported,
    weights=weights,
    start=_existing_if_given(_START.value, "start"),
  )
  return recipe, plan


def _show_pair(recipe: recipe_steps.Recipe, predictions: pathlib.Path) -> None:
  """Prints how often each class of the recipe's pair is taken for the other."""
  from tbvis.diagnostics import confusions
  from tbvis.diagnostics import predictions as predictions_lib

  found = predictions_lib.Predictions.load(predictions)
  matrix = found.confusion("fused")
  for actual, predicted in (recipe.pair, recipe.pair[::-1]):
    row, column = found.classes.index(actual), found.classes.index(predicted)
    print(confusions.ConfusedPair(actual, predicted, confusions.Rate(int(matrix[row, column]), int(matrix[row].sum()))))


def check_flags() -> None:
  """Refuses what can be refused before the first step.

  Raises:
    UsageError: naming the flag.
  """
  of_recipe = (_VIDEOS, _CHECKPOINT, _WEIGHTS, _FORMAT, _START)
  given = [holder.name for holder in of_recipe if holder.value] + (["split"] if flags.FLAGS["split"].present else [])
  if given and not _RECIPE.value:
    raise UsageError(f"--{given[0]} is for --recipe, which is not given.")
  if _RECIPE.value and _RETRAIN.value:
    raise UsageError("--retrain is for the stage set; a recipe trains unless it is given --checkpoint or --weights.")
  if bool(_WEIGHTS.value) != bool(_FORMAT.value):
    raise UsageError("--weights and --format: expected both or none.")
  flag_values.required(_HOST.value, "host")
  data_dir, logdir = flag_values.required_path(_DATA_DIR.value, "data_dir"), flag_values.required_path(_LOGDIR.value, "logdir")
  if _RECIPE.value:
    _recipe_plan(data_dir, logdir)
  flag_values.output_folder(_DATA_DIR.value, "data_dir")
  flag_values.output_folder(_LOGDIR.value, "logdir")
  flag_values.output_file(_JSON.value, "json")


def main() -> None:
  """Runs the script."""
  check_flags()
  data_dir, logdir = (
    flag_values.required_path(_DATA_DIR.value, "data_dir").resolve(),
    flag_values.required_path(_LOGDIR.value, "logdir").resolve(),
  )
  started = time.monotonic()
  recipe = plan = None
  steps: Sequence[recipe_steps.Step]
  if _RECIPE.value:
    recipe, plan = _recipe_plan(data_dir, logdir)
    steps, state, clips = plan.steps, plan.state, "test clips"
  else:
    print("The stage set is synthetic: figures drawn by this program, whose causes are known. No real video is used.")
    steps = demo_steps.demo_steps(data_dir, logdir, _RETRAIN.value)
    state, clips = data_dir / ("steps_retrained.json" if _RETRAIN.value else "steps.json"), "synthetic test clips"
  seconds = demo_steps.run_steps(steps, state)
  reports = {step.name: demo_steps.read_json(step.report) for step in steps}
  numbers: dict[str, Any] = {f"{name}_seconds": value for name, value in seconds.items()}
  numbers["seconds"] = round(time.monotonic() - started, 1)
  # Of the largest process among the steps and their helpers.
  numbers["peak_memory_mib"] = round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)
  numbers |= {key: value for key, value in reports["evaluate"].items() if key.startswith("accuracy_") or key == "clips"}
  accuracies = ", ".join(f"{tower} {numbers[f'accuracy_{tower}']:.1%}" for tower in ("appearance", "hybrid", "motion", "fused")
                         if numbers.get(f"accuracy_{tower}") is not None)  # fmt: skip
  print(f"\nAccuracy on {numbers.get('clips')} {clips}: {accuracies}.")
  if recipe and plan and recipe.pair:
    _show_pair(recipe, plan.predictions)
  print(f"All steps: {numbers['seconds']} s. The logdir is {logdir}.", flush=True)
  app.report_json(_JSON.value, numbers)
  if _TENSORBOARD.value:
    demo_steps.serve(logdir, _HOST.value, _PORT.value, recipe.view if recipe else "")


def entry() -> None:
  """Console script."""
  app.run(main)


if __name__ == "__main__":
  entry()
