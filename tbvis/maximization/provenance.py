"""What made a stimulus, as a flagfile that makes it again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import tbvis
from tbvis.maximization import config as config_lib
from tbvis.records import variant_name

if TYPE_CHECKING:
  from tbvis.maximization import pipeline
  from tbvis.records import StimulusRecord


def provenance(recipe: pipeline.Recipe, record: StimulusRecord) -> dict[str, Any]:
  """Returns what a record's configuration lacks to make its stimulus again.

  Args:
    recipe: the sweep that the stimulus is of.
    record: the stimulus; its configuration has every constant of the search.

  Returns:
    {"version", "checkpoint", "statistics": as they were given, None without, "seed", "flagfile": flags of tbvis-maximize, one a line}.
    Every constant stands in the flagfile, so that defaults of another version do not count. What is found is the same up to the rounding
    of the number format, which may depend on how many stimuli are searched together.
  """
  constants = {name: record.config[name] for name in config_lib.MaximizationConfig.constants() if name in record.config}
  setting = {"chi": "", "isotropic": record.kappa} if record.isotropic else {"chi": record.chi, "kappa": record.kappa}
  statistics = {"statistics": recipe.statistics} if recipe.statistics else {}
  modules = {"import": ",".join(recipe.modules)} if recipe.modules else {}
  given = {"checkpoint": recipe.checkpoint, **modules, **statistics, "units": record.unit, **setting, "seed": record.seed}
  variant = variant_name(record.kappa, record.chi, record.isotropic, record.seed)
  lines = [f"# tbvis-maximize {tbvis.__version__}: {record.unit}, {variant}. Give --logdir or --pictures with it."]
  lines += [f"--{name}={value}" for name, value in {**given, "dtype": record.config["dtype"], **constants}.items()]
  return {
    "version": tbvis.__version__,
    "checkpoint": recipe.checkpoint,
    "statistics": recipe.statistics,
    "seed": record.seed,
    "flagfile": "\n".join(lines) + "\n",
  }
