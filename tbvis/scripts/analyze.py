"""Measures the findings of the paper on a network: joint features of its fusion, class-specific units, invariance to speed, failures."""

from __future__ import annotations

from collections.abc import Sequence
import dataclasses
import math
import pathlib
import resource
import time
from typing import TYPE_CHECKING, Any

from absl import flags, logging

from tbvis import files
from tbvis.datasets import catalogue
from tbvis.errors import UsageError, unknown_name
from tbvis.scripts import app, flag_values, networks

if TYPE_CHECKING:
  from tbvis.diagnostics import statistics as statistics_lib
  from tbvis.diagnostics.analysis.report import Finding
  from tbvis.diagnostics.analysis.responses import Responses
  from tbvis.diagnostics.analysis.stimuli import Found, Study
  from tbvis.models.checkpoint import Checkpoint

FINDINGS = ("fusion", "selectivity", "invariance", "failures")
_TRAINED, _START, _UNTRAINED = "trained", "fusion as initialised", "motion untrained"
_MOST_SEEDS = 1000

_NETWORK = networks.Network()
_STATISTICS = flags.DEFINE_string(
  "statistics", None, "statistics.npz of tbvis-evaluate: a_hat of every unit, and its response by class where no clips are given."
)
_DATA_DIR = flags.DEFINE_string(
  "data_dir", None, "Folder given to tbvis-prepare: with it units are measured on held-out training clips too."
)
_DATASET = flags.DEFINE_string("dataset", None, "Name of the prepared set, as stage_split1_dis (tbvis-prepare prints it).")
_SNIPPETS = flags.DEFINE_integer("snippets", 5, "Snippets a clip of those.", lower_bound=1, upper_bound=10_000)
_FINDINGS = flags.DEFINE_list("findings", list(FINDINGS), "Which findings are measured.")
_LAYERS = flags.DEFINE_list(
  "layers", [], "Layers whose units get stimuli, for invariance; of conv5_fusion's fusion is told. By default eight of those "
  "that see time, from the second to the class units; of the fusion VGG-16 one of each size, the fusion and what follows."
)  # fmt: skip
_PER_LAYER = flags.DEFINE_integer("per_layer", 8, "Units of each of --layers, the first that are not silent on clips.", lower_bound=1)
_UNITS = flags.DEFINE_list("units", [], "Instead of --layers and --per_layer: units by name, as for tbvis-maximize.")
_CHI = flags.DEFINE_list("chi", ["10", "5", "1", "0"], "Temporal weights of the motion's total variation: 0 leaves time free, 10 is slow.")
_SEEDS = flags.DEFINE_string("seeds", "0-1", "Starts of each stimulus, two at least: what differs between starts is no finding.")
_STEPS = flags.DEFINE_integer("steps", None, "Steps of the ascent; the search's default without it.", lower_bound=1, upper_bound=10_000_000)
_CONTROLS = flags.DEFINE_bool(
  "controls", True, "Whether the fusion as initialised and a motion tower without training are measured beside the network; needs clips."
)
_IMAGENET = flags.DEFINE_string("imagenet_weights", None, "Weights that the training of the motion tower began from; random ones without.")
_EVALUATION_RUN = flags.DEFINE_string("evaluation_run", "evaluation", "Run of the logdir that tbvis-evaluate wrote, for failure cases.")
_TOP = flags.DEFINE_integer("top", 5, "Most confused pairs of each tower.", lower_bound=1)
_LOGDIR = flags.DEFINE_string("logdir", None, "TensorBoard's logdir: stimuli, tables, plots and the report are written there.")
_RUN = flags.DEFINE_string(
  "run", "analysis", "Name of the run inside the logdir; controls have runs of their own beside it. What is finished there is used again."
)
_PLAN_ONLY = flags.DEFINE_bool("plan_only", False, "Print the plan of work and stop.")
_DTYPE = app.define_dtype("Number format of the search and of clips; auto is bfloat16 where the hardware has it. Values told are float32.")
_JSON = app.define_json()


def _asked() -> tuple[list[str], list[float], list[int]]:
  """Returns findings, chi and seeds as asked for.

  Raises:
    UsageError: for an unknown finding, or fewer than two of the others.
  """
  wanted = [name.strip() for name in _FINDINGS.value]
  for name in wanted:
    if name not in FINDINGS:
      raise unknown_name("finding", name, FINDINGS, "--findings")
  chi = list(dict.fromkeys(flag_values.parse_floats(_CHI.value, "chi", low=0)))
  seeds = sorted(catalogue.parse_numbers(_SEEDS.value, "seeds") or ())
  if len(chi) < 2:
    raise UsageError(f"--chi: expected at least two different numbers, received {','.join(_CHI.value)!r}.")
  if not 2 <= len(seeds) <= _MOST_SEEDS:
    raise UsageError(f"--seeds: expected at least two and at most {_MOST_SEEDS}, as 0-1, received {_SEEDS.value!r}.")
  return wanted, chi, seeds


def _units(checkpoint: Checkpoint, statistics: statistics_lib.UnitStatistics | None) -> list[Any]:
  """Returns the units that get stimuli.

  Raises:
    UsageError: for an unknown unit or layer.
  """
  import numpy as np

  from tbvis import units as units_lib
  from tbvis.diagnostics.analysis import invariance

  if _UNITS.value:
    return units_lib.parse_units(_UNITS.value, checkpoint.model, checkpoint.classes, "the network (--units)")
  found = []
  for layer in _LAYERS.value or invariance.default_layers(checkpoint):
    of_layer = units_lib.parse_units([f"{layer.strip()}/*"], checkpoint.model, checkpoint.classes)
    if statistics and all(name in statistics.layers for name in of_layer[0].layers):
      alive = np.min([statistics.largest(name) for name in of_layer[0].layers], axis=0) > 0
      of_layer = [unit for unit in of_layer if alive[unit.channel]]
    found += of_layer[: _PER_LAYER.value]
  return found


@dataclasses.dataclass
class _Work:
  """What is asked for, the networks, and what has been measured so far."""

  logdir: pathlib.Path
  run: str
  wanted: Sequence[str]
  chi: Sequence[float]
  seeds: Sequence[int]
  networks: dict[str, Checkpoint]
  units: list[Any]
  statistics: statistics_lib.UnitStatistics | None
  dataset: Any
  config: Any
  responses: dict[str, Responses] = dataclasses.field(default_factory=dict)
  # What was measured once: a unit that is never positive is told of once too.
  _a_hat: dict[tuple[str, str], Any] = dataclasses.field(default_factory=dict)

  @property
  def folder(self) -> pathlib.Path:
    """Where files of the analysis lie."""
    return self.logdir / self.run / "tbvis" / "analysis"

  def own_units(self, name: str) -> list[Any]:
    """Returns the units of which a network's stimuli are wanted: of the fusion's control those of the fusion alone."""
    from tbvis.diagnostics.controls import FUSION

    if name == _START:
      return [unit for unit in self.units if unit.layer == FUSION] if "fusion" in self.wanted else []
    if "invariance" in self.wanted:
      return self.units
    return [unit for unit in self.units if unit.layer == FUSION] if "fusion" in self.wanted and name == _TRAINED else []

  def study(self, name: str) -> Study | None:
    """Returns the stimuli that are wanted of a network, None if there are none; a_hat is 1 until clips were passed."""
    import numpy as np

    from tbvis import units as units_lib
    from tbvis.diagnostics.analysis import stimuli

    chosen = self.own_units(name)
    if not chosen:
      return None
    checkpoint = self.networks[name]
    a_hat = {}
    for layer in dict.fromkeys(layer for unit in chosen for layer in unit.layers):
      count = units_lib.channels_of(checkpoint.model, layer)
      known = (name, layer) in self._a_hat
      if not known and name == _TRAINED and self.statistics:
        self._a_hat[name, layer] = self.statistics.a_hat(layer, count)
      elif not known and name in self.responses:
        self._a_hat[name, layer] = self.responses[name].a_hat(layer)
      a_hat[layer] = self._a_hat.get((name, layer), np.ones(count, np.float32))
    run = self.run if name == _TRAINED else f"{self.run}_{name.replace(' ', '_')}"
    names = tuple(unit.name for unit in chosen)
    return stimuli.Study(name, run, checkpoint, names, tuple(self.chi), tuple(self.seeds), a_hat, self.config)

  def pass_clips(self) -> None:
    """Passes held-out clips through the networks, for what is asked."""
    from tbvis.diagnostics import collection
    from tbvis.diagnostics.analysis import responses
    from tbvis.diagnostics.controls import FUSION

    if self.dataset is None:
      return
    # Of the trained network: controls know of no training, and must see the same clips.
    groups = collection.validation_groups(self.networks[_TRAINED])
    for name, checkpoint in self.networks.items():
      chosen = self.own_units(name)
      layers = list(dict.fromkeys(layer for unit in chosen for layer in unit.layers))
      if name == _TRAINED and "selectivity" in self.wanted:
        layers = collection.layers_with_units(checkpoint.model)
      blanked = [FUSION] if FUSION in layers and "fusion" in self.wanted and name != _UNTRAINED else []
      needed = name != _TRAINED or blanked or "selectivity" in self.wanted or not self.statistics
      if layers and needed:
        journal = self.folder / f"responses_{name.replace(' ', '_')}.progress"
        self.responses[name] = responses.collect(
          checkpoint,
          self.dataset,
          layers,
          blanked=blanked,
          groups=groups,
          count=_SNIPPETS.value,
          journal=journal,
          description=f"clips, {name}",
        )


def _open(wanted: Sequence[str], chi: Sequence[float], seeds: Sequence[int], logdir: pathlib.Path) -> _Work:
  """Loads networks, statistics and clips."""
  from tbvis.diagnostics import controls
  from tbvis.diagnostics import statistics as statistics_lib
  from tbvis.maximization.config import MaximizationConfig
  from tbvis.models import precision

  statistics_path, data_dir = flag_values.expand_path(_STATISTICS.value, "statistics"), flag_values.expand_path(_DATA_DIR.value, "data_dir")
  dtype = precision.resolve_dtype(_DTYPE.value)
  trained = _NETWORK.open(dtype)
  statistics = statistics_lib.UnitStatistics.load(statistics_path, classes=trained.classes) if statistics_path else None
  dataset = networks.open_clips(data_dir, flag_values.given(_DATASET.value, "dataset"), trained) if data_dir else None
  compared = {_TRAINED: trained}
  has_fusion = controls.FUSION in {layer.name for layer in trained.model.layers}
  if not has_fusion:
    logging.warning("No finding on the fusion and no controls: the network has no layer %s.", controls.FUSION)
    wanted = [name for name in wanted if name != "fusion"]
  if dataset is None:
    logging.warning("Without --data_dir and --dataset there are no controls, no top clips and no test of selectivity against chance.")
  elif _CONTROLS.value and has_fusion:
    if "fusion" in wanted:
      compared[_START] = controls.initialised_fusion(trained, dtype)
    if "invariance" in wanted:
      compared[_UNTRAINED] = controls.untrained_motion(trained, flag_values.expand_path(_IMAGENET.value, "imagenet_weights"), dtype)
  config = MaximizationConfig(steps=_STEPS.value) if _STEPS.value else MaximizationConfig()
  return _Work(logdir, _RUN.value, wanted, chi, seeds, compared, _units(trained, statistics), statistics, dataset, config)


def _print_plan(work: _Work) -> None:
  """Prints what will be done, network by network."""
  from tbvis import summaries
  from tbvis.maximization import estimate

  if work.dataset is not None:
    print(f"Held-out training clips of {work.dataset.name} through {', '.join(work.networks)}.")
  for name in work.networks:
    study = work.study(name)
    if study:
      print(f"Stimuli of {name}, run {study.run}:")
      print(estimate.plan_text(estimate.plan_parts(*study.plan(), summaries.finished_stimuli(work.logdir, study.run))), flush=True)


def _search(work: _Work) -> dict[str, dict[str, Found]]:
  """Finds all stimuli, and returns them by network and unit."""
  from tbvis import progress, summaries
  from tbvis.diagnostics.analysis import stimuli

  studies = [study for name in work.networks if (study := work.study(name))]
  for study in studies:
    stimuli.check(study, work.logdir)
  if not studies:
    return {}
  finished = {study.run: summaries.finished_stimuli(work.logdir, study.run) for study in studies}
  left = [len(batch.rows) for study in studies for batch in study.plan()[1] if batch.is_open(finished[study.run])]
  with progress.bar(total=sum(left) * work.config.steps, description="Maximising", unit="step") as bar:
    for study in studies:
      stimuli.search(study, work.logdir, lambda batch: bar.update(len(batch.rows)))
  return {study.name: stimuli.read(study, work.logdir) for study in studies}


def _measure(work: _Work, found: dict[str, dict[str, Found]]) -> list[Finding]:
  """Measures the findings that are asked for, and for which there is what they need."""
  findings = []
  for name, make in (("fusion", _fusion), ("selectivity", _selectivity), ("invariance", _invariance), ("failures", _failures)):
    if name in work.wanted:
      made = make(work, found)
      if made:
        findings.append(made)
  return findings


def _fusion(work: _Work, found: dict[str, dict[str, Found]]) -> Finding | None:
  from tbvis.diagnostics import controls
  from tbvis.diagnostics.analysis import fusion

  measured = {}
  for name in (_TRAINED, _START):
    units = {unit: of_unit for unit, of_unit in found.get(name, {}).items() if unit.startswith(f"{controls.FUSION}/")}
    if units:
      measured[name] = fusion.measure(work.networks[name], units, work.responses.get(name))
  if not measured:
    logging.warning("No finding on the fusion: none of the units is one of %s.", controls.FUSION)
    return None
  return fusion.finding(measured, controls.fusion_change(work.networks[_TRAINED].model))


def _selectivity(work: _Work, found: dict[str, dict[str, Found]]) -> Finding | None:
  del found
  from tbvis.diagnostics.analysis import class_units, stimuli

  trained = work.networks[_TRAINED]
  if _TRAINED in work.responses:
    clips = work.responses[_TRAINED]
    layers, source = class_units.measure(clips, len(trained.classes)), f"{len(clips.clips)} clips ({clips.source})"
  elif work.statistics:
    layers = {layer: class_units.of_means(work.statistics.class_means(layer)) for layer in work.statistics.layers}
    source = f"{len(work.statistics.clips)} clips ({work.statistics.source})"
  else:
    logging.warning("No finding on selectivity: it needs --statistics, or --data_dir and --dataset.")
    return None
  return class_units.finding(layers, stimuli.depths(trained), trained.classes, source)


def _invariance(work: _Work, found: dict[str, dict[str, Found]]) -> Finding | None:
  from tbvis.diagnostics.analysis import invariance, stimuli

  measured = {name: invariance.measure(work.networks[name], found[name]) for name in (_TRAINED, _UNTRAINED) if name in found}
  measured = {name: layers for name, layers in measured.items() if layers}
  if not measured:
    logging.warning("No finding on invariance: none of the units has motion and belongs to one layer.")
    return None
  return invariance.finding(measured, stimuli.depths(work.networks[_TRAINED]))


def _failures(work: _Work, found: dict[str, dict[str, Found]]) -> Finding | None:
  del found
  from tbvis import summaries
  from tbvis.diagnostics.analysis import failures

  names = summaries.run_names(work.logdir)
  confusions = summaries.read_run(work.logdir, _EVALUATION_RUN.value).confusions if _EVALUATION_RUN.value in names else None
  if confusions is None:
    logging.warning(
      "No failure cases: run %r of %s has no confusions (--evaluation_run; tbvis-evaluate --logdir writes them). Its runs: %s.",
      _EVALUATION_RUN.value, work.logdir, ", ".join(names) or "none",
    )  # fmt: skip
    return None
  return failures.finding(confusions, work.logdir, _EVALUATION_RUN.value, _TOP.value)


def check_flags() -> None:
  """Refuses what can be refused before TensorFlow is loaded, which takes seconds.

  Raises:
    UsageError: naming the flag.
  """
  _asked()
  flag_values.given(_LOGDIR.value, "logdir")
  _NETWORK.check()
  if not _FINDINGS.value:
    raise UsageError(f"--findings: expected some of {', '.join(FINDINGS)}, received none.")
  if bool(_DATA_DIR.value) != bool(_DATASET.value):
    raise UsageError("--data_dir and --dataset: expected both or neither.")
  for name in ("layers", "per_layer"):
    if _UNITS.value and flags.FLAGS[name].present:
      raise UsageError(f"Expected --units or --{name}, received both.")
  flag_values.existing_path(_STATISTICS.value, "statistics")
  flag_values.existing_path(_DATA_DIR.value, "data_dir", "folder")
  flag_values.existing_path(_IMAGENET.value, "imagenet_weights")
  flag_values.check_run(_RUN.value)
  flag_values.check_run(_EVALUATION_RUN.value, "evaluation_run")
  if not _PLAN_ONLY.value:
    flag_values.output_folder(_LOGDIR.value, "logdir")
  flag_values.output_file(_JSON.value, "json")


def main() -> None:
  """Runs the script."""
  check_flags()
  wanted, chi, seeds = _asked()
  logdir = flag_values.required_path(_LOGDIR.value, "logdir")
  app.load_tensorflow()
  from tbvis.diagnostics.analysis import report

  started = time.monotonic()
  work = _open(wanted, chi, seeds, logdir)
  _print_plan(work)
  if _PLAN_ONLY.value:
    return
  files.ensure_writable(work.folder, "logdir")
  work.pass_clips()
  findings = _measure(work, _search(work))
  for finding in findings:
    print(finding.text())
  about = [
    ("network", str(_NETWORK.path())), ("statistics", _STATISTICS.value), ("clips", _DATASET.value),
    ("chi", ", ".join(f"{c:g}" for c in chi)),
    ("starts", ", ".join(map(str, seeds))), ("steps", work.config.steps), ("dtype", _DTYPE.value),
    ("runs", ", ".join(study.run for name in work.networks if (study := work.study(name)))),
  ]  # fmt: skip
  place = report.write_files(work.folder, f"What {_NETWORK.path().name} has learned", about, findings)
  report.write_events(logdir / _RUN.value, findings)
  numbers = {key: value for finding in findings for key, value in finding.numbers.items() if value is not None and math.isfinite(value)}
  numbers |= {
    "seconds": round(time.monotonic() - started, 1),
    "peak_memory_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
  }
  print(f"The report is {place}, its tables and plots beside it; Text and Images of run {_RUN.value!r} have them in TensorBoard.")
  app.report_json(_JSON.value, numbers)


def entry() -> None:
  """Console script."""
  app.run(main)


if __name__ == "__main__":
  entry()
