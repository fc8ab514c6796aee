"""Explanations put to the test on causes that are known, because they were planted.

  python benchmarks/explanations.py --checkpoint=data/demo/checkpoint.keras --statistics=data/demo/statistics.npz --data_dir=DATA \
    --dataset=stage_split1_dis --work_dir=WORK --json=explanations.json
  python benchmarks/explanations.py --stage_script=benchmarks/new_causes.json --start=data/demo/checkpoint.keras --work_dir=WORK2

For every cause of the stage script the first class' test clips are filmed again with that cause reversed: the factor follows the
distribution that it has in the other class, and everything else of the clip is as it was. Then `tbvis-explain`'s library is asked why
the clips, old and new, are taken for the other class, and the table says: which place the first probe that names the cause has among
the hypotheses (from stimuli, before any test clip was looked at), the same after the test clips, among those that they speak for, the
corrected p-value on these clips, and how the predictions moved when the cause was reversed.

Nulls: confused and right clips of those confusions exchanged inside their groups, and a class split by group into two labels, on which
a network is trained. Nothing may be supported there.

With another --stage_script the set is filmed and a network trained on it first. A second call goes on from what it finds in --work_dir.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
import time
from typing import Any
import zlib

from absl import flags

from benchmarks import planted
from tbvis import events, files
from tbvis.errors import UsageError
from tbvis.scripts import app, flag_values

_CHECKPOINT = flags.DEFINE_string("checkpoint", None, "The network; with --stage_script one is trained instead.")
_STATISTICS = flags.DEFINE_string("statistics", None, "statistics.npz of the network, for a_hat.")
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder of the prepared set that the network was trained on.")
_DATASET = flags.DEFINE_string("dataset", None, "Name of that set, as stage_split1_dis.")
_SCRIPT = flags.DEFINE_string("stage_script", None, "Script of other causes: its set is filmed, and a network trained on it.")
_START = flags.DEFINE_string("start", None, "With --stage_script and for split classes: a checkpoint whose layers training starts from.")
_GROUPS = flags.DEFINE_string("groups", "1-16,23-25", "With --stage_script: groups to film; 1-7 are tested, 23-25 held out.")
_STEPS = flags.DEFINE_list("train_steps", ["1500", "1200", "500"], "Steps of appearance, motion and fusion when a network is trained.")
_WORK = flags.DEFINE_string("work_dir", None, "Folder for films, stimuli and results; a second call goes on there.")
_CAUSES = flags.DEFINE_list("causes", [], "Causes to try, by factor or by factor_First_Second; all by default.")
_SPLIT_CLASSES = flags.DEFINE_list("split_classes", [], "Classes to split by group into two labels: a training and a null each.")
_NULLS = flags.DEFINE_integer("nulls", 20, "Nulls in all; those that --split_classes does not give are exchanged labels.", lower_bound=0)
_TOWER = flags.DEFINE_enum("tower", "fused", ["fused", "hybrid", "motion", "appearance"], "Whose predictions are explained.")
_SEEDS = flags.DEFINE_integer("seeds", 4, "Starts of each stimulus.", lower_bound=2)
_SEARCH_STEPS = flags.DEFINE_integer("steps", None, "Steps of the search; the library's default without it.", lower_bound=1)
_SNIPPETS = flags.DEFINE_integer("snippets", 3, "Snippets of each clip.", lower_bound=1)
_QUICK = flags.DEFINE_bool("quick", False, "One cause, two starts, half the steps.")
_DTYPE = app.define_dtype("Number format of the network; auto is bfloat16 where the hardware has it.")
_JSON = app.define_json()

_CHANGED = "~reversed"
# Exchanges of labels for each cause; --nulls are taken of them.
_DRAWS = 5


@dataclasses.dataclass(frozen=True)
class Bench:
  """What every cause is tried on.

  Attributes:
    checkpoint: the network.
    dataset: the set that it was trained on.
    a_hat: statistics of its units, or None.
    script: what is planted.
    work_dir: folder of the run.
  """

  checkpoint: Any
  dataset: Any
  a_hat: Any
  script: Any
  work_dir: pathlib.Path

  @property
  def config(self) -> Any:
    """How confusions are explained."""
    from tbvis.diagnostics.explanations import explain
    from tbvis.maximization.config import MaximizationConfig

    steps = _SEARCH_STEPS.value or MaximizationConfig().steps // (2 if _QUICK.value else 1)
    seeds = range(2 if _QUICK.value else _SEEDS.value)
    return explain.ExplainConfig(seeds=tuple(seeds), maximization=MaximizationConfig(steps=steps), snippets=_SNIPPETS.value, shown=0)


def train(dataset: Any, folder: pathlib.Path, start: Any, steps: list[int], groups: list[int], held_out: list[int], dtype: str) -> Any:
  """Trains a network of the stage recipe on a set, or returns the one that an earlier call has finished."""
  from tbvis.datasets import snippets
  from tbvis.models import checkpoint as checkpoint_lib
  from tbvis.training import recipe
  from tbvis.training import train as train_lib

  path = folder / "checkpoint.keras"
  if path.is_file():
    return checkpoint_lib.load_checkpoint(path, dtype=dtype)
  arguments = {k: v for k, v in start.arguments.items() if k != "classes"}
  made_of = {"dataset": dataset.name, "train_groups": groups, "validation_groups": held_out}
  made = checkpoint_lib.build(
    start.architecture, arguments, dataset.classes, dtype=dtype, **made_of, appearance_mean=list(start.appearance_mean)
  )
  checkpoint_lib.copy_weights({str(_START.value): start}, made)
  common: dict[str, Any] = {"batch_size": 32, "optimizer": "adam", "head_factor": 1.0, "weight_decay": 0.01}
  phases = (
    recipe.Phase("appearance", steps[0], learning_rate=5e-4, first_layer_factor=0.03, warmup_steps=100, **common),
    recipe.Phase("motion", steps[1], learning_rate=5e-4, first_layer_factor=0.1, warmup_steps=100, **common),
    recipe.Phase("fusion", steps[2], learning_rate=3e-4, cached_crops=4, **common),
  )
  augmentation = snippets.Augmentation(colour=0.1, noise={"appearance": 50.0, "motion": 6.0})
  for phase in phases:
    numbers = train_lib.train_phase(
      made, dataset, phase, train_groups=groups, validation_groups=held_out, augmentation=augmentation,
      output_dir=folder, logdir=None, seed=2,
    )  # fmt: skip
    print(f"  {phase.name}: " + ", ".join(f"{k} {v:.3g}" for k, v in numbers.items() if k.startswith("validation")), flush=True)
  checkpoint_lib.save_checkpoint(made, path)
  for phase in phases:
    train_lib.discard_backup(folder, phase)
  return made


def _statistics(checkpoint: Any, dataset: Any, path: pathlib.Path) -> Any:
  from tbvis.diagnostics import collection, statistics

  if not path.is_file():
    collection.collect(checkpoint, dataset, count=3).save(path)
  return statistics.UnitStatistics.load(path, classes=checkpoint.classes)


def _filmed_and_trained(work: pathlib.Path, dtype: str) -> tuple[Any, Any, Any]:
  """Films the set of --stage_script, prepares it and trains a network; returns network, set and statistics."""
  from tbvis.datasets import catalogue, preparation, reader
  from tbvis.datasets.stage import film
  from tbvis.models import checkpoint as checkpoint_lib

  start_path, script_path = flag_values.required_path(_START.value, "start"), flag_values.required_path(_SCRIPT.value, "stage_script")
  groups = catalogue.parse_numbers(_GROUPS.value, "groups")
  film.film_stage(work / "videos", groups=groups, script=script_path)
  clips = dataclasses.replace(film.stage_catalogue(work / "videos", groups=groups), dataset=script_path.stem)
  made = preparation.prepare(clips, work / "data", flow="dis")
  dataset = reader.open_dataset(work / "data", made.name)
  training = [g for g in dataset.groups("train") if g < 23]
  held_out = [g for g in dataset.groups("train") if g >= 23]
  start = checkpoint_lib.load_checkpoint(start_path)
  checkpoint = train(dataset, work / "network", start, [int(s) for s in _STEPS.value], training, held_out, dtype)
  return checkpoint, dataset, _statistics(checkpoint, dataset, work / "network" / "statistics.npz")


def _tested(bench: Bench, plant: planted.Plant, changed: Any) -> tuple[Any, Any]:
  """Returns the sets that a plant is tried on: the first class' test clips as they are and reversed, and both with held-out clips."""
  from tbvis.datasets import views

  classes = bench.dataset.classes
  first, second = (classes.index(name) for name in (plant.first, plant.second))
  place = changed.classes.index(plant.slug)
  again = views.Relabelled(changed, classes, lambda label, _: first if label == place else None, _CHANGED)
  only = views.Relabelled(bench.dataset, classes, lambda label, _: label if label == first else None)
  both = views.Relabelled(bench.dataset, classes, lambda label, _: label if label in (first, second) else None)
  return views.Joined(plant.slug, [(only, ("test",)), (again, ("test",))]), views.Joined(
    plant.slug, [(both, ("train", "test")), (again, ("test",))]
  )


def try_plant(bench: Bench, plant: planted.Plant, changed: Any) -> dict[str, Any]:
  """Explains the confusion that a reversed cause makes; returns the row of the table, with nulls of its own."""
  import numpy as np

  from tbvis.diagnostics import collection, evaluation
  from tbvis.diagnostics.explanations import explain, record, verdicts

  started = time.monotonic()
  scored, explained = _tested(bench, plant, changed)
  predictions = evaluation.evaluate(bench.checkpoint, scored, "test", count=5, flips=False)
  first, second = (predictions.classes.index(name) for name in (plant.first, plant.second))
  predicted, scores = predictions.predicted(_TOWER.value), predictions.scores[_TOWER.value]
  margins = dict(zip(predictions.clips, scores[:, first] - scores[:, second], strict=True))
  is_changed = np.array([name.endswith(_CHANGED) for name in predictions.clips])
  # `v_Class_g01_c02~plant~reversed` is `v_Class_g01_c02` in all but the cause.
  pairs = [(name.partition("~")[0], name) for name in predictions.clips if name.endswith(_CHANGED)]
  groups = [int(name.rsplit("_", 2)[1].removeprefix("g")) for name, _ in pairs]
  moved = verdicts.judge_intervention(
    f"{plant.cause.name}: reversed", np.array([margins[a] for a, _ in pairs]), np.array([margins[b] for _, b in pairs]), groups
  )
  confusion = explain.confusion_of(predictions, plant.first, plant.second, _TOWER.value)
  found = explain.explain(
    bench.checkpoint, explained, confusion, bench.config, held_out=("train", collection.validation_groups(bench.checkpoint, None)),
    a_hat=bench.a_hat, folder=bench.work_dir / "stimuli",
  )  # fmt: skip
  told = record.to_json(found)
  row = {
    "cause": plant.cause.name, "factor": plant.cause.factor, "first": plant.first, "second": plant.second, "stream": plant.cause.stream,
    **places(told["hypotheses"], plant),
    "supported": [j.hypothesis.probe.name for j in found.supported],
    "confused_clips": len(confusion.confused), "right_clips": len(confusion.right),
    "confusion_rate": float(np.mean(predicted[~is_changed] == second)),
    "confusion_rate_reversed": float(np.mean(predicted[is_changed] == second)),
    "accuracy": float(np.mean(predicted[~is_changed] == first)),
    "accuracy_reversed": float(np.mean(predicted[is_changed] == first)),
    "margin": moved.before, "margin_change": moved.change, "margin_p": moved.p, "as_foretold": bool(moved.as_foretold),
    "nulls": exchanged_nulls(found.trial, zlib.crc32(plant.slug.encode())),
    "seconds": round(time.monotonic() - started, 1),
  }  # fmt: skip
  files.write_json(bench.work_dir / "explanations" / f"{plant.slug}.json", told)
  return row


def places(told: list[dict[str, Any]], plant: planted.Plant) -> dict[str, Any]:
  """Returns where the probes that name a cause stand among an explanation's hypotheses, on stimuli alone and after the clips."""
  naming = [h for h in told if plant.is_named_by(h["probe"])]
  on_stimuli = min(naming, key=lambda h: h["rank"], default=None)
  # Those that clips speak against have no place.
  after = [h for h in told if h["weight"] > 0]
  return {
    "rank": on_stimuli["rank"] if on_stimuli else None,
    "rank_by_clips": next((i for i, h in enumerate(after, 1) if h in naming), None),
    "named_by": naming[0]["probe"] if naming else None,
    "named_first": next((h["probe"] for h in told if h["rank"] == 1), None),
    "named_first_by_clips": after[0]["probe"] if after else None,
    "p": naming[0]["clips"]["p"] if naming else None,
    "verdict": naming[0]["verdict"] if naming else None,
  }


def exchanged_nulls(trial: Any, seed: int) -> list[list[str]]:
  """Returns what is called supported when confused and right clips are exchanged, a list a draw; no draw where clips are too few."""
  import numpy as np

  from tbvis.diagnostics.explanations import verdicts

  if min(trial.confused.sum(), (~trial.confused).sum()) < verdicts.LEAST_CLIPS:
    return []
  draws = [trial.exchanged(np.random.default_rng([seed, draw])).judge() for draw in range(_DRAWS)]
  return [[j.hypothesis.probe.name for j in judged if j.verdict is verdicts.Verdict.SUPPORTED] for judged in draws]


def chosen_nulls(rows: list[dict[str, Any]], count: int) -> list[dict[str, Any]]:
  """Returns so many nulls of exchanged labels, taking turns among the causes that have them."""
  found = [
    {"null": "labels exchanged", "of": f"{row['factor']}: {row['first']} -> {row['second']}", "draw": draw, "supported": row["nulls"][draw]}
    for draw in range(_DRAWS)
    for row in rows
    if draw < len(row["nulls"])
  ]
  return found[:count]


def split_null(bench: Bench, name: str, dtype: str) -> dict[str, Any]:
  """Trains on a class whose odd and even groups bear two labels, and asks why clips of one are taken for the other."""
  from tbvis.datasets import views
  from tbvis.diagnostics import collection, evaluation
  from tbvis.diagnostics.explanations import explain
  from tbvis.models import checkpoint as checkpoint_lib

  classes = bench.dataset.classes
  split = classes.index(name)
  others = [i for i in range(len(classes)) if i != split][:: max(1, (len(classes) - 1) // 3)][:3]
  labels = {label: 2 + i for i, label in enumerate(others)}
  halves = (f"{name}Odd", f"{name}Even")

  def halved(label: int, group: int) -> int | None:
    return (1 - group % 2) if label == split else labels.get(label)

  # Test clips are all called odd: which half they belong to is a matter of the label alone.
  training = views.Relabelled(bench.dataset, (*halves, *(classes[i] for i in others)), halved)
  testing = views.Relabelled(bench.dataset, training.classes, lambda label, _: 0 if label == split else None)
  both = views.Joined(f"{name} split", [(training, ("train",)), (testing, ("test",))])
  held_out = list(collection.validation_groups(bench.checkpoint, None) or bench.dataset.groups("train")[-4:])
  groups = [g for g in bench.dataset.groups("train") if g not in held_out]
  folder = bench.work_dir / f"split_{name}"
  start = checkpoint_lib.load_checkpoint(flag_values.required_path(_START.value or _CHECKPOINT.value, "start"))
  steps = [max(1, int(s) // 3) for s in _STEPS.value]
  network = train(both, folder, start, steps, groups, held_out, dtype)
  predictions = evaluation.evaluate(network, both, "test", count=5, flips=False)
  confusion = explain.confusion_of(predictions, *halves, _TOWER.value)
  a_hat = _statistics(network, both, folder / "statistics.npz")
  found = explain.explain(network, both, confusion, bench.config, held_out=("train", held_out), a_hat=a_hat, folder=folder)
  return {
    "null": "class split by group", "of": name, "confused_clips": len(confusion.confused), "right_clips": len(confusion.right),
    "supported": [j.hypothesis.probe.name for j in found.supported],
  }  # fmt: skip


def report(rows: list[dict[str, Any]], nulls: list[dict[str, Any]], left: list[Any]) -> dict[str, Any]:
  """Prints the tables and returns the numbers."""

  def told(value: float | None, form: str = ".3g") -> str:
    return "-" if value is None else format(value, form)

  print("\ncause | pair | rank (by clips) | named first | p | verdict | taken for the other, as filmed -> reversed | margin")
  for row in rows:
    print(
      f"{row['cause']} | {row['first']} -> {row['second']} | {told(row['rank'])} ({told(row['rank_by_clips'])}) | {row['named_first']} | "
      f"{told(row['p'])} | {row['verdict'] or '-'} | {row['confusion_rate']:.2f} -> {row['confusion_rate_reversed']:.2f} | "
      f"{row['margin']:+.2f} {row['margin_change']:+.2f} (p = {told(row['margin_p'], '.2g')})"
    )
  for cause in left:
    print(f"{cause.name} | not tried: no class shows {cause.factor} in another way")
  false = [null for null in nulls if null["supported"]]
  print(f"\nNulls: {len(nulls)}, of which {len(false)} support something" + "".join(f"\n  {null}" for null in false))
  numbers = {
    "causes": len(rows),
    "rank1": sum(row["rank"] == 1 for row in rows),
    "rank1_by_clips": sum(row["rank_by_clips"] == 1 for row in rows),
    "supported": sum(row["verdict"] == "supported" for row in rows),
    "margin_fell_as_foretold": sum(row["as_foretold"] for row in rows),
    "nulls": len(nulls),
    f"false_supported_of_{_NULLS.value}": len(false),
    "not_tried": [cause.name for cause in left],
    "null_results": nulls,
  }
  print({k: v for k, v in numbers.items() if not isinstance(v, list)})
  return numbers | {f"cause_{row['factor']}_{row['first']}_{row['second']}": row for row in rows}


def _kept(path: pathlib.Path, make: Any) -> dict[str, Any]:
  """Returns what an earlier call has written, or makes it and writes it."""
  if path.is_file():
    return json.loads(path.read_text())
  files.write_json(path, found := make())
  return found


def main() -> None:
  """Runs the benchmark."""
  work = files.ensure_writable(flag_values.required_path(_WORK.value, "work_dir"), "work_dir")
  app.load_tensorflow()
  from tbvis.datasets import preparation, reader
  from tbvis.datasets.stage.script import load_script
  from tbvis.diagnostics import statistics
  from tbvis.models import checkpoint as checkpoint_lib
  from tbvis.models import precision

  script = load_script(flag_values.expand_path(_SCRIPT.value, "stage_script"))
  plants, left = planted.find_plants(script, _CAUSES.value)
  plants = plants[:1] if _QUICK.value else plants
  dtype = precision.resolve_dtype(_DTYPE.value)
  if _SCRIPT.value:
    checkpoint, dataset, a_hat = _filmed_and_trained(work, dtype)
  else:
    checkpoint = checkpoint_lib.load_checkpoint(flag_values.required_path(_CHECKPOINT.value, "checkpoint"), dtype=dtype)
    dataset = reader.open_dataset(flag_values.required_path(_DATA_DIR.value, "data_dir"), _DATASET.value or "")
    path = flag_values.expand_path(_STATISTICS.value, "statistics")
    a_hat = statistics.UnitStatistics.load(path, classes=checkpoint.classes) if path else None
  missing = [name for name in script.classes if name not in checkpoint.classes]
  if missing:
    raise UsageError(f"Expected a network of all classes of {script.source}, but it lacks {', '.join(missing)}.")
  bench = Bench(checkpoint, dataset, a_hat, script, work)

  paths = {plant.slug: work / "causes" / f"{plant.slug}.json" for plant in plants}
  waiting = [plant for plant in plants if not paths[plant.slug].is_file()]
  if waiting:
    made = preparation.prepare(planted.film_reversed(waiting, script, work / "reversed"), work / "reversed_data", flow="dis")
    changed = reader.open_dataset(work / "reversed_data", made.name)
  for number, plant in enumerate(waiting, 1):
    print(f"\n[{number}/{len(waiting)}] {plant.cause.name}: {plant.first} and {plant.second}", flush=True)
    files.write_bytes(paths[plant.slug], events.to_json(try_plant(bench, plant, changed)))
  rows = [json.loads(path.read_text(), parse_constant=lambda _: None) for path in paths.values()]
  split = [_kept(work / f"split_{name}.json", lambda name=name: split_null(bench, name, dtype)) for name in _SPLIT_CLASSES.value]
  nulls = split + chosen_nulls(rows, max(0, _NULLS.value - len(split)))
  app.report_json(_JSON.value, report(rows, nulls, left))


if __name__ == "__main__":
  app.run(main)
