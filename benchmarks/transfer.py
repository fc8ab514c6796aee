"""Stimuli judged by something that did not make them: a second network classifies the class stimuli of the first.

  python benchmarks/transfer.py --maker=A.keras --judge=B.keras --statistics=A_statistics.npz --json=transfer.json
  python benchmarks/transfer.py --maker=A.keras --judge=B.keras --stimuli_logdir=LOGDIR --run=stage

The judge must have been trained apart from the maker: another seed, another width. It is asked what class each
stimulus is of, given both inputs, the motion alone, and the appearance alone. Two controls: the share that is right
when labels change places, and the same for stimuli of networks of the maker's architecture that were never trained,
searched with the same settings.
"""

from __future__ import annotations

import resource
import time
from typing import Any

from absl import flags

from tbvis.datasets import catalogue
from tbvis.errors import UsageError, unknown_name
from tbvis.scripts import app, flag_values

_MAKER = flags.DEFINE_string("maker", None, "Checkpoint of the network whose stimuli are judged.")
_JUDGE = flags.DEFINE_string("judge", None, "Checkpoint of the network that judges, trained apart.")
_STATISTICS = flags.DEFINE_string("statistics", None, "statistics.npz of the maker (tbvis-evaluate), for a_hat; without it 1.")
_LOGDIR = flags.DEFINE_string("stimuli_logdir", None, "Logdir of stimuli that are there already; without it they are made.")
_RUN = flags.DEFINE_string("run", None, "Run of --stimuli_logdir.")
_STIMULI = flags.DEFINE_string("stimuli", None, "npz of stimuli that are there already: classes, appearance, motion [, variants, seeds].")
_CLASSES = flags.DEFINE_list("classes", [], "Classes to make stimuli of; all of the maker's by default.")
_CHI = flags.DEFINE_list("chi", ["0", "10"], "Temporal smoothness of the stimuli that are made.")
_SEEDS = flags.DEFINE_string("seeds", "0-2", "Seeds of the starts, as 0-2 or 0,5; of every class and chi one stimulus each.")
_UNTRAINED = flags.DEFINE_string("untrained_seeds", "100-102", "Seeds of the untrained networks; empty leaves this control out.")
_STEPS = flags.DEFINE_integer("steps", None, "Steps of the ascent; the search's default without it.", lower_bound=1)
_CANVAS = flags.DEFINE_integer("canvas", None, "Side of the stimuli in pixels; the search's rule without it.", lower_bound=32)
_PERMUTATIONS = flags.DEFINE_integer("permutations", 5000, "How often labels change places for the shuffled control.", lower_bound=1)
_DTYPE = app.define_dtype("Number format; auto is bfloat16 where the hardware has it.")
_QUICK = flags.DEFINE_bool("quick", False, "One seed, chi 10 only, at most 6 classes, one untrained network, half the steps.")
_JSON = app.define_json()


def _numbers(flag: str, text: str) -> list[int]:
  found = sorted(catalogue.parse_numbers(text, flag) or ())
  return found[:1] if _QUICK.value else found


def _chi() -> list[float]:
  """Returns the values of --chi, or its last one alone where --quick is given."""
  try:
    values = [float(c) for c in _CHI.value]
  except ValueError:
    values = [-1.0]
  if not values or min(values) < 0:
    raise UsageError(f"--chi: expected numbers of at least 0 with commas, received {','.join(_CHI.value)!r}.")
  return values[-1:] if _QUICK.value else values


def _make(checkpoint: Any, classes: list[str], seeds: list[int], a_hat: Any) -> list[Any]:
  """Searches stimuli of class units: every class and chi with every seed."""
  import tbvis
  from tbvis import progress
  from tbvis.diagnostics import transfer
  from tbvis.maximization.config import MaximizationConfig

  steps = _STEPS.value or MaximizationConfig().steps // (2 if _QUICK.value else 1)
  config = MaximizationConfig(steps=steps, canvas=_CANVAS.value or 0)
  units = [f"{transfer.CLASS_LAYER}/{name}" for name in classes]
  with progress.bar(total=len(units) * len(_chi()) * len(seeds), description="stimuli", unit="stimulus") as bar:
    arguments = {"chi": _chi(), "config": config, "a_hat": a_hat, "on_stimulus": lambda _: bar.update()}
    made = [tbvis.maximize(checkpoint, units, **arguments, seed=seed) for seed in seeds]
  return transfer.from_records([stimulus.to_record() for group in made for stimulus in group], "what was searched")


def main() -> None:
  """Runs the benchmark."""
  judge_path = flag_values.required_path(_JUDGE.value, "judge")
  maker_path, statistics_path = flag_values.expand_path(_MAKER.value, "maker"), flag_values.expand_path(_STATISTICS.value, "statistics")
  logdir, npz = flag_values.expand_path(_LOGDIR.value, "stimuli_logdir"), flag_values.expand_path(_STIMULI.value, "stimuli")
  if maker_path is None and logdir is None and npz is None:
    raise UsageError("Expected --maker (stimuli are made), or stimuli in --stimuli_logdir with --run or in --stimuli. See --help.")
  if logdir is not None and not _RUN.value:
    raise UsageError("--run is required with --stimuli_logdir. See --help.")
  seeds, untrained_seeds = _numbers("seeds", _SEEDS.value), _numbers("untrained_seeds", _UNTRAINED.value)
  _chi()
  if not seeds:
    raise UsageError("--seeds: expected at least one seed, received none.")

  # After the flags are known to be good: TensorFlow takes seconds to load.
  app.load_tensorflow()
  from tbvis import summaries
  from tbvis.diagnostics import controls, statistics, transfer
  from tbvis.models import checkpoint as checkpoint_lib
  from tbvis.models import precision

  dtype = precision.resolve_dtype(_DTYPE.value)
  judge = checkpoint_lib.load_checkpoint(judge_path, dtype=dtype)
  maker = checkpoint_lib.load_checkpoint(maker_path, dtype=dtype) if maker_path else None
  started = time.monotonic()
  if logdir is not None:
    stimuli = transfer.from_records(
      summaries.read_run(logdir, flag_values.given(_RUN.value, "run")).stimuli, f"run {_RUN.value!r} of {logdir}"
    )
  elif npz is not None:
    stimuli = transfer.load_npz(npz)
  elif maker is not None:
    classes = _CLASSES.value or list(maker.classes)
    for name in classes:
      if name not in maker.classes:
        raise unknown_name("class", name, maker.classes, f"{maker_path} (--classes)")
    a_hat = statistics.UnitStatistics.load(statistics_path, classes=maker.classes) if statistics_path else None
    stimuli = _make(maker, classes[:6] if _QUICK.value else classes, seeds, a_hat)
  made = time.monotonic()

  verdicts = transfer.judge_stimuli(judge, stimuli, maker)
  numbers = report("transfer", verdicts, _PERMUTATIONS.value)
  for variant in sorted({s.variant for s in stimuli}):
    part = verdicts.only(s.variant == variant for s in stimuli)
    for view in transfer.VIEWS:
      numbers[f"{_key('transfer', view)}_{variant.replace('=', '')}"] = part.rate(view).fraction
      print(f"  {variant:<14} {view:<11} {part.rate(view)}")
  for stimulus, *said in zip(stimuli, *(verdicts.said[view] for view in transfer.VIEWS), strict=True):
    names = ", ".join(f"{view} {judge.classes[s]}" for view, s in zip(transfer.VIEWS, said, strict=True))
    print(f"    {stimulus.class_name} {stimulus.variant} seed {stimulus.seed}: {names}")

  if maker is not None and untrained_seeds:
    shown = sorted({s.class_name for s in stimuli})
    for name in shown:
      if name not in maker.classes:
        raise unknown_name("class", name, maker.classes, f"{maker_path} (--maker)")
    control = []
    for seed in untrained_seeds:
      fresh = controls.untrained(maker, seed, dtype)
      scale = transfer.score_scale(fresh, stimuli)
      control += _make(fresh, shown, seeds[:1], {transfer.CLASS_LAYER: [scale] * len(maker.classes)})
    numbers |= report("transfer_untrained", transfer.judge_stimuli(judge, control, maker), _PERMUTATIONS.value)
  elif untrained_seeds:
    print("No untrained control: it needs --maker.")
  numbers |= {
    "seeds": len({s.seed for s in stimuli}),
    "classes": len({s.class_name for s in stimuli}),
    "making_seconds": round(made - started, 1),
    "seconds": round(time.monotonic() - started, 1),
    "peak_memory_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
  }
  app.report_json(_JSON.value, numbers)


def _key(prefix: str, view: str) -> str:
  return f"{prefix}_top1" if view == "together" else f"{prefix}_{view}_top1"


def report(prefix: str, verdicts: Any, permutations: int) -> dict[str, float]:
  """Prints and returns top-1 of each view, its Wilson interval and the shuffled control; keys begin with `prefix`."""
  numbers: dict[str, float] = {f"{prefix}_stimuli": len(verdicts.labels)}
  print(f"{prefix}: {len(verdicts.labels)} stimuli (those of one class are not independent of each other)")
  for view in verdicts.said:
    rate, key = verdicts.rate(view), _key(prefix, view)
    numbers[key] = rate.fraction
    numbers[f"{key}_low"], numbers[f"{key}_high"] = rate.interval
    shuffled = verdicts.shuffled(view, permutations)
    numbers[_key(f"{prefix}_shuffled", view)] = shuffled
    print(f"  {view:<11} {rate}; labels shuffled {100 * shuffled:.1f} %")
  return numbers


if __name__ == "__main__":
  app.run(main)
