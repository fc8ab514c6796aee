"""Finds, by gradient ascent, the appearance and the motion that most excite units of a network, and writes them for TensorBoard."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
import dataclasses
import functools
import pathlib
import resource
import time
from typing import TYPE_CHECKING, Any

from absl import flags

from tbvis import files
from tbvis.errors import UsageError, present
from tbvis.maximization import config as config_lib
from tbvis.rendering import export
from tbvis.scripts import app, flag_values, networks

if TYPE_CHECKING:
  from tbvis import summaries
  from tbvis.datasets import reader
  from tbvis.maximization import measures, pipeline
  from tbvis.maximization.stimulus import Stimulus
  from tbvis.records import StimulusRecord

_NETWORK = networks.Network()
_STATISTICS = flags.DEFINE_string(
  "statistics", None, "statistics.npz of tbvis-evaluate, which has a_hat of every unit; without it 1 stands in, with a warning."
)
_DATA_DIR = flags.DEFINE_string(
  "data_dir", None, "Folder given to tbvis-prepare. With --dataset and --statistics, the clips that excite each unit most play on its page."
)
_DATASET = flags.DEFINE_string("dataset", None, "Name of the prepared set that the statistics are of, as stage_split1_dis.")
_UNITS = flags.DEFINE_list(
  "units",
  None,
  "Units, separated by commas: conv5_fusion/f021 (1-based), conv3_3/f001-f025, prediction/PlayingCello, prediction/* (all of a layer). "
  "A layer without its tower, as conv4_3/f036, names the unit in both towers, each found with its own input. A sum of units is one "
  "target, signs between spaces: 'prediction/PlayingViolin - prediction/PlayingPiano'. With --layers: units of each, as f001-f064.",
)
_LAYERS = flags.DEFINE_list("layers", [], "Layers whose --units are meant (all of theirs by default), as conv4_3_motion,conv5_fusion.")
_CHI = flags.DEFINE_list("chi", ["0", "1", "5", "10"], "Temporal weights of the motion's total variation: 0 leaves time free, 10 is slow.")
_KAPPA = flags.DEFINE_float("kappa", 1.0, "Its spatial weight beside --chi (the paper's is 1).", lower_bound=0)
_ISOTROPIC = flags.DEFINE_list("isotropic", [], "Values for kappa = chi, as 10,5,1; each gives one more stimulus a unit.")
_LOGDIR = flags.DEFINE_string("logdir", None, "TensorBoard's logdir: stimuli are written there as each batch ends.")
_RUN = flags.DEFINE_string("run", "stimuli", "Name of the run inside the logdir. A second run skips what is finished there.")
_PICTURES = flags.DEFINE_string(
  "pictures", None, "Folder for one PNG a unit: a row a setting (and chunk), appearance then flow frames as (u, v, |uv|)."
)
_FRAMES = flags.DEFINE_integer("frames", 5, "Flow frames, or frames of a video, in a row of --pictures.", lower_bound=1, upper_bound=1000)
_EXPORT = flags.DEFINE_string(
  "export", None, "Folder for each stimulus as files: PNG, GIF, WebP, MP4 and npz, with the configuration beside them."
)
_FORMATS = flags.DEFINE_list("formats", list(export.FORMATS), "Formats of --export; mp4 needs the extra, pip install 'tbvis[export]'.")
_PLAN_ONLY = flags.DEFINE_bool("plan_only", False, "Print the plan of work and stop.")
_SAVE_EVERY = flags.DEFINE_integer(
  "save_every",
  20,
  "Steps between two saved states of the batch that is being searched, in the logdir; the same command goes on from there. 0 saves none.",
  lower_bound=0,
)
_RUNNER = flags.DEFINE_string(
  "runner",
  None,
  "Searches as an Apache Beam pipeline on this runner (DirectRunner, FlinkRunner, SparkRunner, DataflowRunner, ...), batches side by side; "
  "Beam's own flags go with it, as --direct_num_workers=2. Needs the extra, pip install 'tbvis[beam]', and --logdir.",
)
_SEED = flags.DEFINE_integer("seed", 0, "Seed of the start noise and of the transforms.", lower_bound=0)
_PRESET = flags.DEFINE_enum(
  "preset",
  "default",
  config_lib.PRESETS,
  "default: constants that give clear stimuli; paper: those that section 3.4 of the paper prints; nnpreimage: those of the code it cites.",
)
_DTYPE = app.define_dtype(
  "Number format of the network; auto is bfloat16 where the hardware has it. Inputs and regularisers are float32 always."
)
_JSON = app.define_json()
# Of the summary: a table of short names keeps its columns.
_LAYER_WIDTH = 22


def _define_constants() -> dict[str, flags.FlagHolder[Any]]:
  """Defines a flag for every constant of the search; without it the preset's value holds."""
  holders: dict[str, flags.FlagHolder[Any]] = {}
  for name, field in config_lib.MaximizationConfig.constants().items():
    others = {preset: constants[name] for preset, constants in config_lib.PRESET_CONSTANTS.items() if name in constants}
    elsewhere = "".join(f"; {value} by --preset={preset}" for preset, value in others.items() if value != field.default)
    text = f"{field.metadata['help']} Default {field.default}{elsewhere}. Source: {field.metadata['source']}."
    low, high = field.metadata["low"], field.metadata["high"]
    if isinstance(field.default, bool):
      holders[name] = flags.DEFINE_bool(name, None, text)
    elif isinstance(field.default, int):
      holders[name] = flags.DEFINE_integer(name, None, text, lower_bound=int(low), upper_bound=int(high))
    elif isinstance(field.default, float):
      holders[name] = flags.DEFINE_float(name, None, text, lower_bound=low, upper_bound=high)
    elif field.metadata["choices"]:
      holders[name] = flags.DEFINE_enum(name, None, list(field.metadata["choices"]), text)
    else:
      holders[name] = flags.DEFINE_string(name, None, text)
  return holders


_CONSTANTS = _define_constants()


def _config() -> config_lib.MaximizationConfig:
  given = {name: holder.value for name, holder in _CONSTANTS.items() if holder.value is not None}
  try:
    return dataclasses.replace(config_lib.MaximizationConfig.preset(_PRESET.value), **given)
  except UsageError as error:  # Every constant is a flag of the same name.
    raise UsageError(str(error).replace("Invalid value for ", "Invalid value for --", 1)) from error


class _Pictures:
  """Gathers the strips of a unit, and writes its PNG anew whenever it has one more; a plan has the settings of a unit in a row."""

  def __init__(self, folder: pathlib.Path, frames: int):
    self._folder = files.ensure_writable(folder, "pictures")
    self._frames = frames
    self._unit = ""
    self._strips: list[Any] = []

  def add(self, stimulus: Stimulus) -> None:
    from tbvis.records import safe_name
    from tbvis.rendering import animation, mosaic

    if stimulus.error:
      return
    if stimulus.target.name != self._unit:
      self._unit, self._strips = stimulus.target.name, []
    record = stimulus.to_record()
    appearance = record.appearance if record.film is None else record.film
    self._strips.append(mosaic.stimulus_strip(appearance, record.motion, frames=self._frames, chunks=record.chunks))
    sheet = mosaic.mosaic(self._strips, columns=1, pad=0)
    files.write_bytes(self._folder / f"{safe_name(stimulus.target.name)}.png", animation.encode_png(sheet))


class _Summary:
  """Gathers the numbers of stimuli by layer and setting, and keeps no stimulus: a night's worth of them fills the memory."""

  def __init__(self) -> None:
    self.count = 0
    self.failed = 0
    self._groups: dict[tuple[str, str], list[dict[str, float | None]]] = {}
    self._speeds: list[measures.Speed] = []

  def add(self, stimulus: Stimulus, record: StimulusRecord) -> None:
    """Measures a stimulus."""
    from tbvis.maximization import measures
    from tbvis.records import variant_name

    self.count += 1
    if stimulus.error:
      self.failed += 1
      return
    appearance = stimulus.appearance if stimulus.film is None else stimulus.film
    contrasts = [None if x is None else measures.contrast(x) for x in (appearance, stimulus.motion)]
    numbers = {
      "activation_over_a_hat_median": stimulus.activation_over_a_hat,
      "temporal_ratio_median": stimulus.temporal_ratio,
      "contrast_appearance_median": contrasts[0],
      "contrast_motion_median": contrasts[1],
      "seconds_per_stimulus": stimulus.config["seconds"],
    }
    variant = variant_name(stimulus.kappa, stimulus.chi, stimulus.isotropic)
    self._groups.setdefault((record.layer, variant), []).append(numbers)
    speed = measures.speed(record)
    if speed:
      self._speeds.append(speed)

  def show(self) -> dict[str, Any]:
    """Prints medians by layer and setting, and returns them as flat numbers."""
    from tbvis.maximization import measures

    numbers: dict[str, Any] = {}
    wide = max([_LAYER_WIDTH, *(len(layer) + 2 for layer, _ in self._groups)])
    print(f"{'layer':<{wide}}{'setting':<16}{'units':>6}{'a/a_hat':>9}{'dt/dxy':>8}{'contrast':>10}{'motion':>8}{'seconds':>9}   (medians)")
    for (layer, variant), group in self._groups.items():
      values = {name: _median(one[name] for one in group) for name in group[0]}
      cells = ["-" if value is None else f"{value:.2f}" for value in values.values()]
      print(f"{layer:<{wide}}{variant:<16}{len(group):>6}{cells[0]:>9}{cells[1]:>8}{cells[2]:>10}{cells[3]:>8}{cells[4]:>9}")
      numbers |= {f"{name}_{layer}_{variant}": value for name, value in ({"units": len(group)} | values).items()}
    for layer, speeds in measures.speeds(self._speeds).items():
      print(f"{layer}: smallest and largest chi, {speeds}.")
      numbers[f"units_three_times_faster_{layer}"] = speeds.passed
    return numbers


def _median(values: Iterable[float | None]) -> float | None:
  """Returns the median; None where the stimuli have no such value."""
  import numpy as np

  known = [value for value in values if value is not None]
  return float(np.median(known)) if known else None


def _wanted() -> list[str]:
  """Returns what --units and --layers ask for, as units by name.

  Raises:
    UsageError: if they ask for nothing, or --units does not go with --layers.
  """
  units = [text.strip() for text in _UNITS.value or []]
  if not _LAYERS.value:
    if not units:
      raise UsageError("--units is required, such as --units=conv5_fusion/f021,prediction/PlayingCello, or --layers. See --help.")
    return units
  full = next((text for text in units if "/" in text), None)
  if full:
    raise UsageError(f"--units: expected units without a layer beside --layers, such as f001-f064, received {full!r}.")
  return [f"{layer.strip()}/{text}" for layer in _LAYERS.value for text in units or ["*"]]


def _keep_files(stimulus: Stimulus, record: StimulusRecord, folder: str, formats: Sequence[str]) -> None:
  """Writes a stimulus as files (--export)."""
  if not stimulus.error:
    layer, _, label = stimulus.target.name.partition("/")
    # One folder a target, also where a sum of units has more slashes.
    name = f"{layer}/{label.replace('/', '_')}/{record.variant}"
    export.export_stimulus(folder, name, stimulus.inputs, record.config, formats, chunks=record.chunks)


def _add_statistics(opened: pipeline.Opened, writer: summaries.StimulusWriter, dataset: reader.PreparedDataset | None) -> None:
  """Writes what clips say of the units, with the snippets that excite them most where their prepared set is given."""
  from tbvis.diagnostics import top_clips
  from tbvis.models import geometry

  layers = opened.statistics.layers if opened.statistics else {}
  known = [t for t in opened.targets if t.is_unit and set(t.layers) <= set(layers)]
  described = {target.name: opened.statistics.describe(target.layers, target.channel) for target in known}
  if described:
    described = top_clips.with_fields(described, geometry.layer_geometry(opened.job.model, whole=True))
  described, pictures = top_clips.kept_pictures(described, writer.statistics()), None
  if dataset:
    described, pictures = top_clips.with_pictures(described, dataset, opened.job.input_size)
  writer.add_statistics(described, pictures)


def _search(recipe: pipeline.Recipe, sheets: _Pictures | None, keep: Any, writer: Any, finished: set[Any], life: Any) -> _Summary:
  """Searches all that is not finished, in this process, and returns its numbers."""
  from tbvis import progress
  from tbvis.maximization import pipeline

  # A batch keeps its members, so that who shared it never depends on an interruption.
  indices = list(pipeline.unfinished(recipe, finished))
  summary = _Summary()
  total = sum(len(pipeline.open_recipe(recipe).batches[index].rows) for index in indices) * recipe.config.steps
  with progress.bar(total=total, description="Maximising", unit="step") as bar:
    for stimulus, record in pipeline.search(recipe, indices, finished, lambda batch: bar.update(len(batch.rows)), life):
      if keep:
        keep(stimulus, record)
      if sheets:
        sheets.add(stimulus)
      # Last: what the logdir has is not made again.
      if writer:
        writer.write(record)
      summary.add(stimulus, record)
  return summary


def _search_by_beam(recipe: pipeline.Recipe, keep: Any, finished: set[Any]) -> None:
  """Searches all that is not finished on a Beam runner; a bar counts what lands in the logdir."""
  from tbvis import progress, summaries
  from tbvis.maximization import pipeline

  indices = list(pipeline.unfinished(recipe, finished))
  batches = pipeline.open_recipe(recipe).batches
  total = sum(row.key not in finished for index in indices for row in batches[index].rows)

  def found() -> int:
    return len(summaries.finished_stimuli(recipe.logdir, recipe.run) - finished)

  with progress.watch(found, total=total, description="Maximising", unit="stimulus"):
    pipeline.run(recipe, indices, flag_values.given(_RUNNER.value, "runner"), app.passed_on(), keep)


def check_flags() -> None:
  """Refuses what can be refused before TensorFlow is loaded, which takes seconds.

  Raises:
    UsageError: naming the flag.
  """
  _wanted()
  if not (_LOGDIR.value or _PICTURES.value or _EXPORT.value or _PLAN_ONLY.value):
    raise UsageError("--logdir, --pictures or --export is required, for the stimuli to be kept. See --help.")
  if _RUNNER.value and (_PICTURES.value or not _LOGDIR.value):
    raise UsageError("--runner: expected --logdir, and no --pictures, which one process draws; --export goes with it.")
  if bool(_DATA_DIR.value) != bool(_DATASET.value) or (_DATA_DIR.value and not _STATISTICS.value):
    raise UsageError("--data_dir, --dataset and --statistics are given together, or --statistics alone, or none of them. See --help.")
  _NETWORK.check()
  flag_values.existing_path(_STATISTICS.value, "statistics")
  flag_values.existing_path(_DATA_DIR.value, "data_dir", "folder")
  _config()
  if not flag_values.parse_floats(_CHI.value, "chi", low=0) + flag_values.parse_floats(_ISOTROPIC.value, "isotropic", low=0):
    raise UsageError("--chi: expected at least one value of --chi or --isotropic, received none.")
  if _EXPORT.value or flags.FLAGS["formats"].present:
    try:
      export.check_formats(_FORMATS.value)
    except UsageError as error:
      raise UsageError(f"--formats: {error}") from error
  flag_values.check_run(_RUN.value)
  if not _PLAN_ONLY.value:
    for holder in (_LOGDIR, _PICTURES, _EXPORT):
      flag_values.output_folder(holder.value, holder.name)
  flag_values.output_file(_JSON.value, "json")


def main() -> None:
  """Runs the script."""
  check_flags()
  statistics_path = flag_values.expand_path(_STATISTICS.value, "statistics")
  logdir, pictures = flag_values.expand_path(_LOGDIR.value, "logdir"), flag_values.expand_path(_PICTURES.value, "pictures")
  exported, data_dir = flag_values.expand_path(_EXPORT.value, "export"), flag_values.expand_path(_DATA_DIR.value, "data_dir")
  chi, isotropic = flag_values.parse_floats(_CHI.value, "chi"), flag_values.parse_floats(_ISOTROPIC.value, "isotropic")
  app.load_tensorflow()
  from tbvis import summaries
  from tbvis.maximization import estimate, pipeline, planning

  dataset = None
  if data_dir:
    from tbvis.datasets import reader

    dataset = reader.open_dataset(data_dir, flag_values.given(_DATASET.value, "dataset"))
  recipe = pipeline.Recipe(
    checkpoint=str(_NETWORK.saved(None if _PLAN_ONLY.value else logdir or exported or pictures)),
    modules=_NETWORK.modules,
    statistics=str(statistics_path) if statistics_path else None,
    dtype=_DTYPE.value,
    wanted=tuple(_wanted()),
    settings=tuple(planning.settings(chi, _KAPPA.value, isotropic)),
    config=_config(),
    seed=_SEED.value,
    logdir=str(logdir or ""),
    run=_RUN.value,
    save_every=_SAVE_EVERY.value,
  )
  opened = pipeline.open_recipe(recipe)
  started = time.monotonic()
  writer = summaries.StimulusWriter(logdir, _RUN.value) if logdir and not _PLAN_ONLY.value else None
  finished = writer.finished() if writer else set()
  parts = estimate.plan_parts(opened.job, opened.batches, finished)
  print(estimate.plan_text(parts), flush=True)
  if _PLAN_ONLY.value:
    app.report_json(_JSON.value, {"plan": [dataclasses.asdict(part) for part in parts]})
    return
  skipped = sum(row.key in finished for batch in opened.batches for row in batch.rows)
  if skipped:
    print(f"{skipped} stimuli are finished in {logdir}/{_RUN.value} and are skipped.")
  keep = functools.partial(_keep_files, folder=str(exported), formats=tuple(_FORMATS.value)) if exported else None
  summary = _Summary()
  failed: list[dict[str, Any]] = []
  try:
    if writer:
      # Also where nothing is known of any unit: TensorBoard lists the run then, before it has a stimulus.
      _add_statistics(opened, writer, dataset)
    with pipeline.planned(recipe, finished) as life:
      if _RUNNER.value:
        _search_by_beam(recipe, keep, finished)
        failed = pipeline.failures(recipe)
        count = len(present(writer, "a run to write to").finished() - finished)
      else:
        summary = _search(recipe, _Pictures(pictures, _FRAMES.value) if pictures else None, keep, writer, finished, life)
        count = summary.count
  finally:
    if writer:
      writer.close()
  seconds = time.monotonic() - started
  numbers = summary.show() if summary.count else {}
  numbers |= {
    "stimuli": count,
    "stimuli_skipped": skipped,
    "stimuli_failed": summary.failed,
    "batches_failed": len(failed),
    "seconds": round(seconds, 2),
    "seconds_per_stimulus": round(seconds / count, 3) if count else None,
    "peak_memory_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
  }
  print(f"{count} stimuli in {seconds:.1f} s; {numbers['peak_memory_mib']} MiB at most.")
  app.report_json(_JSON.value, numbers)
  for failure in failed:
    print(f"Failed: {', '.join(failure['targets'])}: {failure['reason']}")
  if failed:
    raise UsageError(
      f"{len(failed)} of {len(opened.batches)} batches failed (above); the others are in {logdir}. The same command tries again."
    )


def entry() -> None:
  """Console script."""
  app.run(main, passing="runner")


if __name__ == "__main__":
  entry()
