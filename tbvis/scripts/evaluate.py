"""Scores the clips of a prepared set with a network, and takes the statistics of its units; or reads published scores from files."""

from __future__ import annotations

from collections.abc import Sequence
import pathlib
import resource
import time
from typing import TYPE_CHECKING, Any

from absl import flags, logging

from tbvis import records
from tbvis.datasets import catalogue
from tbvis.errors import UsageError
from tbvis.scripts import app, flag_values, networks

if TYPE_CHECKING:
  from tbvis.diagnostics import predictions as predictions_lib

_NETWORK = networks.Network()
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder given to tbvis-prepare.")
_DATASET = flags.DEFINE_string(
  "dataset", None, "Name of the prepared set, as stage_split1_dis (tbvis-prepare prints it); with --predictions that of the official list."
)
_SPLIT = flags.DEFINE_string("split", "test", "Which clips are scored: test or train; with --predictions the official split's number.")
_PREDICTIONS = flags.DEFINE_list(
  "predictions", [],
  "Instead of a network: files of scores (.mat, .npz, .csv), clips x classes or turned, in the order of the data set's official test list "
  "where they name no clips. One that tbvis-evaluate wrote (.npz), alone, is shown as it is.",
)  # fmt: skip
_LISTS = flags.DEFINE_string("lists", None, "With --predictions, folder of the lists, as for tbvis-prepare; ucf101's come along.")
_PREDICTION_TOWERS = flags.DEFINE_list(
  "prediction_towers", [], "What the files of --predictions are scores of; by default appearance, motion, hybrid in this order."
)
_PREDICTION_WEIGHTS = flags.DEFINE_list(
  "prediction_weights", [], "Weights of the files of --predictions in the fused scores; equal by default."
)
_NORMALISE = flags.DEFINE_bool("normalise", False, "Divide the scores of each clip by their norm before they are fused (--predictions).")
_NORM = flags.DEFINE_enum(
  "norm", "l2", ["l2", "l1"], "Which norm --normalise divides by: root of the sum of squares, or sum of magnitudes."
)
_GROUPS = flags.DEFINE_string("groups", None, "Groups of that split to score, as 8-10,12; all by default.")
_OUTPUT_DIR = flags.DEFINE_string(
  "output_dir",
  None,
  "Folder for predictions.npz, predictions.csv, confusion_<tower>.csv and statistics.npz; without it none are kept.",
)
_LOGDIR = flags.DEFINE_string("logdir", None, "TensorBoard's logdir: the confusions are written there for the tbvis tab.")
_RUN = flags.DEFINE_string("run", "evaluation", "Name of the run inside the logdir.")
_THUMBNAILS = flags.DEFINE_integer(
  "thumbnails", 120, "Most clips that get a small animation in the logdir: wrong ones first, then some right ones.", lower_bound=0
)
_SNIPPETS = flags.DEFINE_integer(
  "snippets", 25, "Snippets a clip, evenly over its length (METHOD 1.3: 25).", lower_bound=1, upper_bound=10_000
)
_FLIPS = flags.DEFINE_bool("flips", True, "Whether every snippet is also scored mirrored.")
_BLANK = flags.DEFINE_enum(
  "blank", None, ["appearance", "motion"],
  "Takes zeros for one input, to see what the other does alone; files and the run are named ..._without_<input>, no statistics are taken.",
)  # fmt: skip
_STATISTICS_SNIPPETS = flags.DEFINE_integer(
  "statistics_snippets",
  5,
  "Snippets a clip for the unit statistics (a_hat, top clips, responses by class); 0 takes none.",
  lower_bound=0,
  upper_bound=10_000,
)
_STATISTICS_GROUPS = flags.DEFINE_string(
  "statistics_groups", None, "Training groups for the unit statistics, as 8-10; by default those that the checkpoint says were held out."
)
_DTYPE = app.define_dtype("Number format; auto is bfloat16 where the hardware has it.")
_JSON = app.define_json()


def _report(predictions: predictions_lib.Predictions) -> None:
  """Prints accuracies, the per-class table and the most confused pairs."""
  from tbvis.diagnostics import confusions

  print("Accuracy:")
  for tower, rate in predictions.accuracies().items():
    print(f"  {tower:<10} {rate}")
  matrix = predictions.confusion("fused")
  print("\nBy class (fused):")
  print(confusions.format_per_class(confusions.per_class(matrix, predictions.classes)))
  pairs = confusions.confused_pairs(matrix, predictions.classes, top=5)
  if pairs:
    print("\nMost confused (fused):")
    for pair in pairs:
      print(f"  {pair}")
  print()


def _write_predictions(predictions: predictions_lib.Predictions, folder: pathlib.Path, suffix: str) -> None:
  from tbvis.diagnostics import confusions

  predictions.save(folder / f"predictions{suffix}.npz")
  predictions.write_csv(folder / f"predictions{suffix}.csv")
  for tower in predictions.towers:
    confusions.write_confusion_csv(folder / f"confusion_{tower}{suffix}.csv", predictions.confusion(tower), predictions.classes)


def _accuracy_numbers(predictions: predictions_lib.Predictions) -> dict[str, Any]:
  numbers: dict[str, Any] = {f"accuracy_{tower}": None for tower in records.TOWERS}
  for tower, rate in predictions.accuracies().items():
    numbers[f"accuracy_{tower}"] = rate.fraction
    numbers[f"accuracy_{tower}_low"], numbers[f"accuracy_{tower}_high"] = rate.interval
  return numbers | {"clips": len(predictions.clips)}


def _refuse(holders: Sequence[flags.FlagHolder], meant_for: str) -> None:
  """Refuses flags that would change nothing.

  Raises:
    UsageError: naming the first that is given.
  """
  for holder in holders:
    if holder.value:
      raise UsageError(f"--{holder.name} is for {meant_for}, which is not given.")


def _show(predictions: predictions_lib.Predictions, logdir: pathlib.Path, suffix: str = "", **told: Any) -> None:
  """Writes the confusions for the tab, `suffix` behind the run's name; `told` is what else `summaries.write_confusions` takes."""
  from tbvis import summaries

  own = {name: getattr(predictions, name) for name in ("classes", "labels", "scores", "clips")}
  summaries.write_confusions(logdir, _RUN.value + suffix, **own, **told)


def _show_files() -> None:
  """The script where scores come from files: no network, and no TensorFlow."""
  from tbvis.diagnostics import score_files

  output_dir, logdir = flag_values.expand_path(_OUTPUT_DIR.value, "output_dir"), flag_values.expand_path(_LOGDIR.value, "logdir")
  paths = [flag_values.required_path(name, "predictions") for name in _PREDICTIONS.value]
  predictions, source, meanings = score_files.read_files(
    paths,
    towers=_PREDICTION_TOWERS.value,
    weights=flag_values.parse_floats(_PREDICTION_WEIGHTS.value, "prediction_weights"),
    norm=_NORM.value if _NORMALISE.value else None,
    dataset=_DATASET.value,
    split=_SPLIT.value if flags.FLAGS["split"].present else None,
    folder=flag_values.expand_path(_LISTS.value, "lists"),
  )
  print(f"{source}:")
  for tower, meaning in meanings.items():
    print(f"  {tower:<10} {meaning}")
  _report(predictions)
  if output_dir:
    _write_predictions(predictions, output_dir, "")
  if logdir:
    _show(predictions, logdir, split=source, checkpoint=", ".join(path.name for path in paths), meanings=meanings)
  app.report_json(_JSON.value, _accuracy_numbers(predictions))


def _check_sources() -> None:
  """Refuses flags of a network beside score files, and of these beside a network."""
  if _PREDICTIONS.value:
    if _NETWORK.is_given:
      raise UsageError(f"Expected --{_NETWORK.flag} or --predictions, received both.")
    _refuse((_DATA_DIR, _GROUPS, _BLANK, _STATISTICS_GROUPS), "--checkpoint")
    _NETWORK.refuse_stray()
    for name in _PREDICTIONS.value:
      flag_values.existing_path(name, "predictions")
    flag_values.parse_floats(_PREDICTION_WEIGHTS.value, "prediction_weights", low=0)
    flag_values.existing_path(_LISTS.value, "lists", "folder")
    return
  # --lists may stand in a flagfile that tbvis-prepare has too.
  _refuse((_PREDICTION_TOWERS, _PREDICTION_WEIGHTS, _NORMALISE), "--predictions")
  _NETWORK.check()
  flag_values.existing_path(flag_values.required(_DATA_DIR.value, "data_dir"), "data_dir", "folder")
  flag_values.required(_DATASET.value, "dataset")
  flag_values.check_split(_SPLIT.value)


def check_flags() -> None:
  """Refuses what can be refused before TensorFlow is loaded, which takes seconds.

  Raises:
    UsageError: naming the flag.
  """
  _check_sources()
  if flags.FLAGS["norm"].present and not _NORMALISE.value:
    raise UsageError("--norm is for --normalise, which is not given.")
  catalogue.parse_numbers(_GROUPS.value, "groups")
  catalogue.parse_numbers(_STATISTICS_GROUPS.value, "statistics_groups")
  flag_values.check_run(_RUN.value)
  flag_values.output_folder(_OUTPUT_DIR.value, "output_dir")
  flag_values.output_folder(_LOGDIR.value, "logdir")
  flag_values.output_file(_JSON.value, "json")


def main() -> None:
  """Runs the script."""
  check_flags()
  if _PREDICTIONS.value:
    return _show_files()
  data_dir = flag_values.required_path(_DATA_DIR.value, "data_dir")
  groups = catalogue.parse_numbers(_GROUPS.value, "groups")
  statistics_groups = catalogue.parse_numbers(_STATISTICS_GROUPS.value, "statistics_groups")
  output_dir, logdir = flag_values.expand_path(_OUTPUT_DIR.value, "output_dir"), flag_values.expand_path(_LOGDIR.value, "logdir")
  app.load_tensorflow()
  from tbvis.diagnostics import evaluation, thumbnails
  from tbvis.diagnostics import predictions as predictions_lib
  from tbvis.errors import unknown_name
  from tbvis.models import precision

  checkpoint = _NETWORK.open(precision.resolve_dtype(_DTYPE.value))
  dataset = networks.open_clips(data_dir, flag_values.required(_DATASET.value, "dataset"), checkpoint)
  if _SPLIT.value not in dataset.splits:
    raise unknown_name("split", _SPLIT.value, dataset.splits, f"prepared set {dataset.name!r} (--split)")
  predictions_lib.check_classes(checkpoint.classes, str(_NETWORK.path()), dataset.classes, f"prepared set {dataset.name!r}")
  networks.check_groups(dataset, _SPLIT.value, groups, "groups")
  if "train" in dataset.splits:
    networks.check_groups(dataset, "train", statistics_groups, "statistics_groups")
  fraction = app.report_temporal_fraction(checkpoint.model)

  suffix = f"_without_{_BLANK.value}" if _BLANK.value else ""
  started = time.monotonic()
  predictions = evaluation.evaluate(
    checkpoint,
    dataset,
    _SPLIT.value,
    groups,
    _SNIPPETS.value,
    _FLIPS.value,
    blank=_BLANK.value,
    journal=output_dir / f"predictions{suffix}.progress" if output_dir else None,
  )
  seconds = time.monotonic() - started
  _report(predictions)
  if output_dir:
    _write_predictions(predictions, output_dir, suffix)
  if logdir:
    chosen = thumbnails.choose_clips(predictions, _THUMBNAILS.value)
    pictures = thumbnails.clip_thumbnails(dataset, _SPLIT.value, chosen)
    _show(predictions, logdir, suffix, thumbnails=pictures, split=f"{dataset.name} {_SPLIT.value}", checkpoint=_NETWORK.path().name)

  numbers = _accuracy_numbers(predictions)
  numbers |= {"snippets": _SNIPPETS.value, "seconds": round(seconds, 2), "temporal_fraction": fraction}
  numbers["statistics_clips"] = 0
  if _STATISTICS_SNIPPETS.value and output_dir and not _BLANK.value:
    numbers |= _take_statistics(checkpoint, dataset, statistics_groups, output_dir / "statistics.npz")
  numbers["peak_memory_mib"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
  print(f"{numbers['clips']} clips scored in {numbers['seconds']:.1f} s; {numbers['peak_memory_mib']} MiB at most.")
  app.report_json(_JSON.value, numbers)


def _take_statistics(checkpoint: Any, dataset: Any, groups: frozenset[int] | None, path: pathlib.Path) -> dict[str, Any]:
  """Takes the unit statistics, or says why there are none; the predictions are on disk already."""
  from tbvis.diagnostics import collection

  if "train" not in dataset.splits:
    logging.warning("No unit statistics: prepared set %s has no training clips, and test clips are never used for them.", dataset.name)
    return {}
  started = time.monotonic()
  found = collection.collect(checkpoint, dataset, groups=groups, count=_STATISTICS_SNIPPETS.value, partial=path)
  print(f"Unit statistics of {len(found.layers)} layers over {len(found.clips)} clips ({found.source}).")
  return {"statistics_clips": len(found.clips), "statistics_seconds": round(time.monotonic() - started, 2)}


def entry() -> None:
  """Console script."""
  app.run(main)


if __name__ == "__main__":
  entry()
