"""Explains why clips of one class are taken for another: hypotheses from stimuli, tested on clips that made none of them."""

from __future__ import annotations

import pathlib
import time
from typing import TYPE_CHECKING, Any

from absl import flags

from tbvis import files
from tbvis.datasets import catalogue
from tbvis.errors import UsageError
from tbvis.scripts import app, flag_values, networks

if TYPE_CHECKING:
  from tbvis.diagnostics.explanations.record import Explanation
  from tbvis.diagnostics.predictions import Predictions

_NETWORK = networks.Network()
_STATISTICS = flags.DEFINE_string("statistics", None, "statistics.npz of tbvis-evaluate, which has a_hat of every unit; without it 1.")
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder given to tbvis-prepare.")
_DATASET = flags.DEFINE_string("dataset", None, "Name of the prepared set, as stage_split1_dis.")
_SPLIT = flags.DEFINE_string("split", "test", "Where the confused clips are.")
_PREDICTIONS = flags.DEFINE_string("predictions", None, "predictions.npz of tbvis-evaluate on these clips; by default those of --run.")
_PAIR = flags.DEFINE_list("pair", [], "The clips' class and the one they are taken for, as PlayingViolin,PlayingPiano.")
_TOP = flags.DEFINE_integer("top", 0, "Instead of --pair: so many of the most confused pairs, by the share of clips.", lower_bound=0)
_TOWER = flags.DEFINE_enum("tower", "fused", ["fused", "hybrid", "motion", "appearance"], "Whose predictions are explained.")
_LOGDIR = flags.DEFINE_string("logdir", None, "TensorBoard's logdir: the explanation is shown on the pair's page there.")
_RUN = flags.DEFINE_string("run", "evaluation", "Run of --logdir that has the confusions (tbvis-evaluate --run).")
_OUTPUT_DIR = flags.DEFINE_string(
  "output_dir", None, "Folder for the page (HTML), its numbers (JSON) and finished stimuli; by default inside the run of --logdir."
)
_CHI = flags.DEFINE_list("chi", ["10", "0"], "Temporal weights of the stimuli: slow ones large.")
_SEEDS = flags.DEFINE_integer(
  "seeds", 4, "Starts of each stimulus: classes must differ by more than these do.", lower_bound=2, upper_bound=1000
)
_PRESET = flags.DEFINE_enum("preset", "default", ["default", "paper", "nnpreimage"], "Constants of the search, see tbvis-maximize.")
_STEPS = flags.DEFINE_integer("steps", None, "Steps of the search; the preset's by default.", lower_bound=1, upper_bound=10_000_000)
_SNIPPETS = flags.DEFINE_integer("snippets", 3, "Snippets of each clip that are measured.", lower_bound=1, upper_bound=10_000)
_HELD_OUT = flags.DEFINE_string(
  "held_out_groups", None, "Training groups, as 23-25, that tell how clips of both classes differ; by default those that the checkpoint "
  "says were held out."
)  # fmt: skip
_PERMUTATIONS = flags.DEFINE_integer("permutations", 4999, "Permutations of every test.", lower_bound=99, upper_bound=1_000_000)
_SHOWN = flags.DEFINE_integer("shown", 4, "Clips of each kind that the page plays.", lower_bound=0)
_LAYER = flags.DEFINE_string(
  "layer", None, "Where attribution is taken for them; by default conv5_3 of each stream, or else the last convolution."
)
_DTYPE = app.define_dtype("Number format of the network; auto is bfloat16 where the hardware has it.")
_JSON = app.define_json()


def _predictions(logdir: pathlib.Path | None, classes: tuple[str, ...]) -> Predictions:
  """Reads the predictions of --predictions or of the run in --logdir."""
  from tbvis import summaries
  from tbvis.diagnostics import predictions as predictions_lib

  if _PREDICTIONS.value:
    return predictions_lib.Predictions.load(flag_values.required_path(_PREDICTIONS.value, "predictions"), classes=classes)
  found = summaries.read_run(flag_values.given(logdir, "logdir"), _RUN.value).confusions
  if found is None:
    raise UsageError(f"--run: expected a run with confusions, but {_RUN.value!r} of {logdir} has none (tbvis-evaluate --logdir).")
  predictions_lib.check_classes(classes, "the checkpoint", found.classes, f"run {_RUN.value!r}")
  return predictions_lib.Predictions(tuple(found.clips), found.labels, tuple(found.classes), dict(found.scores))


def _pairs(predictions: Predictions) -> list[tuple[str, str]]:
  from tbvis.diagnostics import confusions

  if _PAIR.value:
    actual, predicted = _PAIR.value
    return [(actual, predicted)]
  found = confusions.confused_pairs(predictions.confusion(_TOWER.value), predictions.classes, top=_TOP.value)
  if not found:
    raise UsageError(f"--top: no clip is taken for another class by {_TOWER.value}: there is nothing to explain.")
  return [(pair.actual, pair.predicted) for pair in found]


def _write(found: Explanation, predictions: Predictions, folder: pathlib.Path | None, logdir: pathlib.Path | None) -> dict[str, Any]:
  """Writes the page, its numbers, and what the tab shows; returns the numbers."""
  from tb_plugin import explanations
  from tbvis import summaries
  from tbvis.diagnostics.explanations import page, record

  numbers = record.to_json(found)
  actual, predicted = (predictions.classes.index(of) for of in found.classes)
  name = explanations.file_name(actual, predicted, found.tower).removesuffix(".json")
  if folder:
    files.write_bytes(folder / f"{name}.html", page.page(found).encode())
    files.write_json(folder / f"{name}_numbers.json", numbers)
    print(f"  {folder / name}.html")
  if logdir:
    shown = logdir / _RUN.value / summaries.MEDIA_FOLDER / explanations.FOLDER
    files.write_json(shown / f"{name}.json", record.to_evidence(found, f"{name}.html"))
  return numbers


def _report(found: Explanation) -> None:
  print(f"\n{found.classes[0]} taken for {found.classes[1]}: {found.summary}")
  for place, judged in enumerate(found.judged[:5], 1):
    print(f"  {place}. {judged.hypothesis.sentence(*found.classes)}\n     {judged.verdict.value}: {judged.reason}")


def check_flags() -> None:
  """Refuses what can be refused before TensorFlow is loaded, which takes seconds.

  Raises:
    UsageError: naming the flag.
  """
  _NETWORK.check()
  flag_values.existing_path(flag_values.required(_DATA_DIR.value, "data_dir"), "data_dir", "folder")
  flag_values.required(_DATASET.value, "dataset")
  flag_values.check_split(_SPLIT.value)
  if bool(_PAIR.value) == bool(_TOP.value):
    raise UsageError("Expected --pair=TRUE,PREDICTED or --top=N, received both or neither.")
  flag_values.check_pair(_PAIR.value)
  if not (_PREDICTIONS.value or _LOGDIR.value):
    raise UsageError("Expected --logdir with the confusions of tbvis-evaluate, or --predictions, received neither.")
  flag_values.existing_path(_PREDICTIONS.value, "predictions")
  flag_values.existing_path(_STATISTICS.value, "statistics")
  if not flag_values.parse_floats(_CHI.value, "chi", low=0):
    raise UsageError("--chi: expected at least one number, received none.")
  catalogue.parse_numbers(_HELD_OUT.value, "held_out_groups")
  flag_values.check_run(_RUN.value)
  flag_values.output_folder(_LOGDIR.value, "logdir")
  flag_values.output_folder(_OUTPUT_DIR.value, "output_dir")
  flag_values.output_file(_JSON.value, "json")


def main() -> None:
  """Runs the script."""
  check_flags()
  data_dir = flag_values.required_path(_DATA_DIR.value, "data_dir")
  chi = tuple(flag_values.parse_floats(_CHI.value, "chi"))
  groups = catalogue.parse_numbers(_HELD_OUT.value, "held_out_groups")
  logdir, folder = flag_values.expand_path(_LOGDIR.value, "logdir"), flag_values.expand_path(_OUTPUT_DIR.value, "output_dir")
  app.load_tensorflow()
  import dataclasses

  from tb_plugin import explanations
  from tbvis import summaries
  from tbvis.diagnostics import attribution, collection, statistics
  from tbvis.diagnostics import predictions as predictions_lib
  from tbvis.diagnostics.explanations import explain
  from tbvis.maximization.config import MaximizationConfig
  from tbvis.models import precision

  checkpoint = _NETWORK.open(precision.resolve_dtype(_DTYPE.value))
  dataset = networks.open_clips(data_dir, flag_values.required(_DATASET.value, "dataset"), checkpoint)
  predictions_lib.check_classes(checkpoint.classes, str(_NETWORK.path()), dataset.classes, f"prepared set {dataset.name!r}")
  networks.check_groups(dataset, "train", groups, "held_out_groups")
  if _LAYER.value:
    try:
      attribution.Attributor(checkpoint.model, "grad_cam", _LAYER.value, classes=checkpoint.classes)
    except UsageError as error:  # Before the stimuli are searched, which takes minutes.
      raise UsageError(f"--layer: {error}") from error
  predictions = _predictions(logdir, dataset.classes)
  pairs = _pairs(predictions)
  if folder is None and logdir is not None:
    folder = logdir / _RUN.value / summaries.MEDIA_FOLDER / explanations.FOLDER
  if folder:
    files.ensure_writable(folder, "output_dir")
  path = flag_values.expand_path(_STATISTICS.value, "statistics")
  a_hat = statistics.UnitStatistics.load(path, classes=checkpoint.classes) if path else None
  search = MaximizationConfig.preset(_PRESET.value)
  config = explain.ExplainConfig(
    chi=chi,
    seeds=tuple(range(_SEEDS.value)),
    maximization=dataclasses.replace(search, steps=_STEPS.value) if _STEPS.value else search,
    snippets=_SNIPPETS.value,
    permutations=_PERMUTATIONS.value,
    shown=_SHOWN.value,
    layer=_LAYER.value or attribution.last_layer(checkpoint.model),
  )
  held_out = ("train", collection.validation_groups(checkpoint, groups))
  numbers = []
  for a, b in pairs:
    started = time.monotonic()
    confusion = explain.confusion_of(predictions, a, b, _TOWER.value)
    found = explain.explain(checkpoint, dataset, confusion, config, split=_SPLIT.value, held_out=held_out, a_hat=a_hat, folder=folder)
    _report(found)
    numbers.append(_write(found, predictions, folder, logdir) | {"seconds": round(time.monotonic() - started, 1)})
  app.report_json(_JSON.value, {"pairs": numbers})


def entry() -> None:
  """Console script."""
  app.run(main)


if __name__ == "__main__":
  entry()
