"""Finds, by gradient ascent, the appearance and the motion that most excite units of a network, and writes them for TensorBoard."""

from __future__ import annotations

from collections.abc import Sequence
import dataclasses
import pathlib
import resource
import time
from typing import TYPE_CHECKING, Any

from absl import flags

from tbvis import files
from tbvis.errors import UsageError
from tbvis.maximization import config as config_lib
from tbvis.scripts import app

if TYPE_CHECKING:
  from tbvis.maximization.stimulus import Stimulus

_CHECKPOINT = flags.DEFINE_string("checkpoint", None, "The network: a .keras file of tbvis-train. May name environment variables.")
_STATISTICS = flags.DEFINE_string(
  "statistics", None, "statistics.npz of tbvis-evaluate, which has a_hat of every unit; without it 1 stands in, with a warning."
)
_UNITS = flags.DEFINE_list(
  "units",
  None,
  "Units, separated by commas: conv5_fusion/f021 (1-based), conv3_3/f001-f025, prediction/PlayingCello, prediction/* (all classes). "
  "A layer without its tower, as conv4_3/f036, names the unit in both towers, each found with its own input.",
)
_CHI = flags.DEFINE_list("chi", ["0", "1", "5", "10"], "Temporal weights of the motion's total variation: 0 leaves time free, 10 is slow.")
_KAPPA = flags.DEFINE_float("kappa", 1.0, "Its spatial weight beside --chi (the paper's is 1).", lower_bound=0)
_ISOTROPIC = flags.DEFINE_list("isotropic", [], "Values for kappa = chi, as 10,5,1; each gives one more stimulus a unit.")
_LOGDIR = flags.DEFINE_string("logdir", None, "TensorBoard's logdir: stimuli are written there as each batch ends.")
_RUN = flags.DEFINE_string("run", "stimuli", "Name of the run inside the logdir. A second run skips what is finished there.")
_PICTURES = flags.DEFINE_string(
  "pictures", None, "Folder for one PNG a unit: a row a setting, appearance then flow frames as (u, v, |uv|)."
)
_FRAMES = flags.DEFINE_integer("frames", 5, "Flow frames in a row of --pictures.", lower_bound=1)
_SEED = flags.DEFINE_integer("seed", 0, "Seed of the start noise and of the shifts.", lower_bound=0)
_PRESET = flags.DEFINE_enum(
  "preset",
  "default",
  config_lib.PRESETS,
  "default: constants that give clear stimuli; paper: those that section 3.4 of the paper prints; nnpreimage: those of the code it cites.",
)
_DTYPE = flags.DEFINE_enum(
  "dtype", "auto", ["auto", "float32", "bfloat16"],
  "Number format of the network; auto is bfloat16 where the hardware has it. Inputs and regularisers are float32 always.",
)  # fmt: skip
_JSON = app.define_json()


def _define_constants() -> dict[str, flags.FlagHolder[Any]]:
  """Defines a flag for every constant of the search; without it the preset's value holds."""
  holders: dict[str, flags.FlagHolder[Any]] = {}
  for name, field in config_lib.MaximizationConfig.constants().items():
    others = {preset: constants[name] for preset, constants in config_lib.PRESET_CONSTANTS.items() if name in constants}
    elsewhere = "".join(f"; {value} by --preset={preset}" for preset, value in others.items() if value != field.default)
    text = f"{field.metadata['help']} Default {field.default}{elsewhere}. Source: {field.metadata['source']}."
    low = field.metadata["low"]
    if isinstance(field.default, bool):
      holders[name] = flags.DEFINE_bool(name, None, text)
    elif isinstance(field.default, int):
      holders[name] = flags.DEFINE_integer(name, None, text, lower_bound=int(low))
    elif isinstance(field.default, float):
      holders[name] = flags.DEFINE_float(name, None, text, lower_bound=low)
    else:
      holders[name] = flags.DEFINE_enum(name, None, list(field.metadata["choices"]), text)
  return holders


_CONSTANTS = _define_constants()


def _config() -> config_lib.MaximizationConfig:
  given = {name: holder.value for name, holder in _CONSTANTS.items() if holder.value is not None}
  return dataclasses.replace(config_lib.MaximizationConfig.preset(_PRESET.value), **given)


class _Pictures:
  """Gathers strips, and writes a unit's PNG anew whenever it has one more."""

  def __init__(self, folder: pathlib.Path, frames: int):
    self._folder = files.ensure_writable(folder, "pictures")
    self._frames = frames
    self._strips: dict[str, list[Any]] = {}

  def add(self, stimulus: Stimulus) -> None:
    from tbvis.records import safe_name
    from tbvis.rendering import animation, mosaic

    if stimulus.error:
      return
    strips = self._strips.setdefault(stimulus.unit.name, [])
    strips.append(mosaic.stimulus_strip(stimulus.appearance, stimulus.motion, frames=self._frames))
    sheet = mosaic.mosaic(strips, columns=1, pad=0)
    files.write_bytes(self._folder / f"{safe_name(stimulus.unit.name)}.png", animation.encode_png(sheet))


def _summary(stimuli: Sequence[Stimulus]) -> dict[str, Any]:
  """Prints medians by layer and setting, and returns them as flat numbers."""
  import numpy as np

  from tbvis.maximization import measures
  from tbvis.records import variant_name

  groups: dict[tuple[str, str], list[Stimulus]] = {}
  for stimulus in stimuli:
    if not stimulus.error:
      variant = variant_name(stimulus.kappa, stimulus.chi, stimulus.isotropic)
      groups.setdefault((stimulus.unit.layer, variant), []).append(stimulus)
  numbers: dict[str, Any] = {}
  print(f"{'layer':<22}{'setting':<16}{'units':>6}{'a/a_hat':>9}{'dt/dxy':>8}{'contrast':>10}{'motion':>8}{'seconds':>9}   (medians)")
  for (layer, variant), group in groups.items():
    values = {
      "units": len(group),
      "activation_over_a_hat_median": float(np.median([s.activation_over_a_hat for s in group])),
      "temporal_ratio_median": None if group[0].motion is None else float(np.median([s.temporal_ratio for s in group])),
      "contrast_appearance_median": None if group[0].appearance is None else float(np.median([s.contrasts["appearance"] for s in group])),
      "contrast_motion_median": None if group[0].motion is None else float(np.median([s.contrasts["motion"] for s in group])),
      "seconds_per_stimulus": float(np.median([s.config["seconds"] for s in group])),
    }
    cells = ["-" if value is None else f"{value:.2f}" for value in list(values.values())[1:]]
    print(f"{layer:<22}{variant:<16}{len(group):>6}{cells[0]:>9}{cells[1]:>8}{cells[2]:>10}{cells[3]:>8}{cells[4]:>9}")
    numbers |= {f"{name}_{layer}_{variant}": value for name, value in values.items()}
  for layer, speeds in measures.speeds(stimulus.to_record() for stimulus in stimuli).items():
    print(f"{layer}: smallest and largest chi, {speeds}.")
    numbers[f"units_three_times_faster_{layer}"] = speeds.passed
  return numbers


def main() -> None:
  """Runs the script."""
  checkpoint_path = app.required_path(_CHECKPOINT.value, "checkpoint")
  statistics_path = app.expand_path(_STATISTICS.value, "statistics")
  logdir, pictures = app.expand_path(_LOGDIR.value, "logdir"), app.expand_path(_PICTURES.value, "pictures")
  if not _UNITS.value:
    raise UsageError("--units is required, such as --units=conv5_fusion/f021,prediction/PlayingCello. See --help.")
  if not logdir and not pictures:
    raise UsageError("--logdir or --pictures is required, for the stimuli to be kept. See --help.")
  config = _config()
  chi, isotropic = app.parse_numbers(_CHI.value, "chi"), app.parse_numbers(_ISOTROPIC.value, "isotropic")

  # After the flags are known to be good: TensorFlow takes seconds to load.
  app.load_tensorflow()
  from tbvis import progress, summaries
  from tbvis.diagnostics import statistics as statistics_lib
  from tbvis.maximization import sweep
  from tbvis.models import checkpoint as checkpoint_lib
  from tbvis.models import precision
  from tbvis.units import parse_units

  wanted = sweep.settings(chi, _KAPPA.value, isotropic)
  checkpoint = checkpoint_lib.load_checkpoint(checkpoint_path, dtype=precision.resolve_dtype(_DTYPE.value))
  model = checkpoint.model
  units = parse_units(_UNITS.value, model, checkpoint.classes)
  layers = list(dict.fromkeys(layer for unit in units for layer in unit.layers))
  statistics = statistics_lib.UnitStatistics.load(statistics_path, classes=checkpoint.classes) if statistics_path else None
  a_hat = sweep.a_hat_by_layer(statistics, model, layers, checkpoint.classes)
  batches = sweep.plan(model, units, wanted, config, checkpoint.input_size, _SEED.value)
  sheets = _Pictures(pictures, _FRAMES.value) if pictures else None

  started = time.monotonic()
  made: list[Stimulus] = []
  writer = summaries.StimulusWriter(logdir, _RUN.value) if logdir else None
  finished = writer.finished() if writer else set()
  if writer and statistics:
    writer.add_statistics(
      {unit.name: statistics.describe(unit.layers, unit.channel) for unit in units if set(unit.layers) <= set(statistics.layers)}
    )
  # A batch keeps its members, so that who shared it never depends on an interruption.
  open_batches = [batch for batch in batches if any(row.key not in finished for row in batch.rows)]
  skipped = sum(row.key in finished for batch in batches for row in batch.rows)
  if skipped:
    print(f"{skipped} stimuli are finished in {logdir}/{_RUN.value} and are skipped.")
  try:
    total = sum(len(batch.rows) for batch in open_batches) * config.steps
    with progress.bar(total=total, description="Maximising", unit="step") as bar:
      for stimuli in sweep.search(model, open_batches, config, a_hat, on_step=lambda batch: bar.update(len(batch.rows))):
        for stimulus in stimuli:
          record = stimulus.to_record()
          if record.key in finished:
            continue
          if writer:
            writer.write(record)
          if sheets:
            sheets.add(stimulus)
          made.append(stimulus)
  finally:
    if writer:
      writer.close()
  seconds = time.monotonic() - started
  numbers = _summary(made) if made else {}
  numbers |= {
    "stimuli": len(made),
    "stimuli_skipped": skipped,
    "stimuli_failed": sum(stimulus.error is not None for stimulus in made),
    "seconds": round(seconds, 2),
    "seconds_per_stimulus": round(seconds / len(made), 3) if made else None,
    "peak_memory_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
  }
  print(f"{len(made)} stimuli in {seconds:.1f} s; {numbers['peak_memory_mib']} MiB at most.")
  app.report_json(_JSON.value, numbers)


def entry() -> None:
  """Console script."""
  app.run(main)


if __name__ == "__main__":
  entry()
