"""How much chi slows a network's stimuli down, by layer, and the control: its motion tower as it was before training.

  python benchmarks/chi.py --checkpoint=A.keras --data_dir=DATA --dataset=ucf101_subset_split1_dis --imagenet_weights=VGG.npz --json=FILE

"Change" is the mean |difference between frames| of (u, v) over the mean |difference between neighbouring pixels| (METHOD 2.8).
A high one proves nothing by itself, noise has it too: activation over a_hat and contrast stand beside it, and how far the
changes found from two start noises agree, which is what the network asked for and not what was left of the start. Each
network is measured against its own a_hat, taken over the held-out training groups.
"""

from __future__ import annotations

import resource
import time
from typing import Any

from absl import flags
import numpy as np

from tbvis.datasets import catalogue
from tbvis.errors import UsageError
from tbvis.scripts import app, flag_values

_CHECKPOINT = flags.DEFINE_string("checkpoint", None, "The trained network.")
_STATISTICS = flags.DEFINE_string("statistics", None, "Its statistics.npz (tbvis-evaluate); taken anew without it.")
_IMAGENET = flags.DEFINE_string("imagenet_weights", None, "Weights that its training began from; random ones without them.")
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder given to tbvis-prepare.")
_DATASET = flags.DEFINE_string("dataset", None, "Name of the prepared set, for a_hat.")
_UNITS = flags.DEFINE_list(
  "units", ["conv3_3/f001-f008", "conv4_3/f001-f008", "conv5_fusion/f001-f008", "prediction/*"], "Units, as for tbvis-maximize."
)
_CHI = flags.DEFINE_list("chi", ["0", "10"], "Temporal weights: the smallest and the largest are compared.")
_TRAINED = flags.DEFINE_bool("trained", True, "Whether the trained network is measured too, or the control alone.")
_SEEDS = flags.DEFINE_string(
  "seeds",
  "0-1",
  "Seeds of the start noise. Speeds are the first one's; changes of the first two are correlated, which tells structure from noise.",
)
_STEPS = flags.DEFINE_integer("steps", None, "Steps of the ascent; the search's default without it.", lower_bound=1)
_DTYPE = app.define_dtype("Number format; auto is bfloat16 where the hardware has it.")
_QUICK = flags.DEFINE_bool("quick", False, "A third of the steps, one seed, and one snippet a clip for a_hat.")
_JSON = app.define_json()


def _agreement(stimuli: list[Any], again: list[Any]) -> dict[tuple[str, float], float]:
  """Returns by layer and chi the median over units of how far two seeds' stimuli change alike."""
  from tbvis.maximization import measures

  values: dict[tuple[str, float], list[float]] = {}
  for first, second in zip(stimuli, again, strict=True):
    if not (first.error or second.error or first.motion is None):
      values.setdefault((first.target.layer, first.chi), []).append(measures.change_agreement(first.motion, second.motion))
  return {key: float(np.median(found)) for key, found in values.items()}


def _report(name: str, runs: list[list[Any]]) -> dict[str, Any]:
  """Prints a line a layer, and returns its numbers; `runs` has a list of stimuli for each seed."""
  from tbvis.maximization import measures

  numbers: dict[str, Any] = {}
  if len(runs) > 1:
    for (layer, chi), value in _agreement(*runs[:2]).items():
      print(f"{name} {layer} chi = {chi:g}: changes from two seeds correlate by {value:.2f} (median)")
      numbers[f"{name}_change_agreement_median_{layer}_chi={chi:g}"] = value
  for layer, found in measures.speeds(measures.speed(stimulus.to_record()) for stimulus in runs[0]).items():
    print(f"{name} {layer}: {found}")
    numbers |= {
      f"{name}_units_{layer}": len(found.ratios),
      f"{name}_units_three_times_faster_{layer}": found.passed,
      f"{name}_quotient_median_{layer}": float(np.median(found.quotients)),
    }
    for end, side in enumerate(("smallest_chi", "largest_chi")):
      numbers |= {
        f"{name}_change_median_{layer}_{side}": float(np.median(found.ratios[:, end])),
        f"{name}_activation_over_a_hat_median_{layer}_{side}": float(np.median(found.activations[:, end])),
        f"{name}_contrast_motion_median_{layer}_{side}": float(np.median(found.contrasts[:, end])),
      }
  return numbers


def main() -> None:
  """Runs the benchmark."""
  path = flag_values.required_path(_CHECKPOINT.value, "checkpoint")
  data_dir = flag_values.required_path(_DATA_DIR.value, "data_dir")
  statistics_path, weights = (
    flag_values.expand_path(_STATISTICS.value, "statistics"),
    flag_values.expand_path(_IMAGENET.value, "imagenet_weights"),
  )
  if not _DATASET.value:
    raise UsageError("--dataset is required. See --help.")
  chi = flag_values.parse_floats(_CHI.value, "chi")
  if len(set(chi)) < 2:
    raise UsageError(f"--chi: expected at least two different numbers, received {','.join(_CHI.value)!r}.")

  seeds = sorted(catalogue.parse_numbers(_SEEDS.value, "seeds") or ())[: 1 if _QUICK.value else None]
  if not seeds:
    raise UsageError("--seeds: expected at least one seed, received none.")

  # After the flags are known to be good: TensorFlow takes seconds to load.
  app.load_tensorflow()
  import tbvis
  from tbvis import progress, units
  from tbvis.datasets import reader
  from tbvis.diagnostics import collection, controls, statistics
  from tbvis.maximization.config import MaximizationConfig
  from tbvis.models import checkpoint as checkpoint_lib
  from tbvis.models import precision

  started = time.monotonic()
  dtype = precision.resolve_dtype(_DTYPE.value)
  dataset = reader.open_dataset(data_dir, _DATASET.value)
  trained = checkpoint_lib.load_checkpoint(path, dtype=dtype)
  control = controls.untrained_motion(trained, weights, dtype)
  groups = trained.metadata.get("validation_groups")
  steps = _STEPS.value or MaximizationConfig().steps // (3 if _QUICK.value else 1)
  config = MaximizationConfig(steps=steps)
  numbers: dict[str, Any] = {}
  for name, network in (("trained", trained), ("control", control)):
    if name == "trained" and not _TRAINED.value:
      continue
    if name == "trained" and statistics_path:
      known = statistics.UnitStatistics.load(statistics_path, classes=network.classes)
    else:
      known = collection.collect(network, dataset, groups=groups, count=1 if _QUICK.value else 5)
    total = len(units.parse_units(_UNITS.value, network.model, network.classes)) * len(set(chi)) * len(seeds)
    with progress.bar(total=total, description=f"stimuli of {name}", unit="stimulus") as bar:
      arguments = {"chi": chi, "config": config, "a_hat": known, "on_stimulus": lambda _, bar=bar: bar.update()}
      runs = [tbvis.maximize(network, _UNITS.value, **arguments, seed=seed) for seed in seeds]
    numbers |= _report(name, runs)
  numbers |= {
    "seconds": round(time.monotonic() - started, 1),
    "peak_memory_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
  }
  app.report_json(_JSON.value, numbers)


if __name__ == "__main__":
  app.run(main)
