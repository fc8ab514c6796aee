"""A sweep as an Apache Beam pipeline: the plan's batches are its elements, and each lands in the logdir whole or not at all.

Nothing passes between workers but numbers of batches: every worker opens the network itself, makes the same plan, and writes its
batch's stimuli as one event file. What is there is not made again, so an element may run twice.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
import contextlib
import dataclasses
import functools
import hashlib
import itertools
import pathlib
from typing import Any

from absl import logging

from tbvis import beam as beam_lib
from tbvis import files, plans, startup, summaries
from tbvis.diagnostics import statistics as statistics_lib
from tbvis.maximization import config as config_lib
from tbvis.maximization import planning, provenance, sweep
from tbvis.maximization.stimulus import Stimulus
from tbvis.records import StimulusRecord

# What is done with a stimulus before the logdir has it.
Keep = Callable[[Stimulus, StimulusRecord], None]
ATTEMPTS = 2
_FAILED = "failed"


@dataclasses.dataclass(frozen=True)
class Recipe:
  """All that a sweep is made of, small enough to be sent to a worker.

  Attributes:
    checkpoint: the network's file.
    statistics: of its units, or None.
    dtype: "auto", "float32" or "bfloat16".
    wanted: targets, as people write them.
    settings: kappa and chi of each stimulus of a target.
    config: the constants.
    seed: of start noise and transforms.
    logdir: TensorBoard's logdir, "" for none.
    run: the run's name in it.
    save_every: steps between two saved states.
    modules: Python modules that register layers of the network.
  """

  checkpoint: str
  statistics: str | None
  dtype: str
  wanted: tuple[str, ...]
  settings: tuple[planning.Setting, ...]
  config: config_lib.MaximizationConfig
  seed: int = 0
  logdir: str = ""
  run: str = "stimuli"
  save_every: int = 0
  modules: tuple[str, ...] = ()

  @property
  def state(self) -> pathlib.Path | None:
    """Folder of the states of unfinished batches."""
    return summaries.state_folder(self.logdir, self.run) if self.logdir else None

  @property
  def sweeps(self) -> pathlib.Path | None:
    """Folder of the plan, see `tbvis.plans`."""
    return self.state.parent / plans.FOLDER if self.state else None

  @property
  def name(self) -> str:
    """Tells the sweep from any other: 16 hexadecimal digits."""
    return hashlib.sha256(repr(self).encode()).hexdigest()[:16]

  def sign_of_life(self, worker: str) -> contextlib.AbstractContextManager[plans.SignOfLife | None]:
    """Returns what a process tells where it is; None without a logdir."""
    return plans.SignOfLife(self.sweeps, self.name, worker) if self.sweeps else contextlib.nullcontext()


@dataclasses.dataclass(frozen=True, eq=False)
class Opened:
  """A recipe with its network, its targets and its plan."""

  job: planning.Job
  targets: list[planning.Target]
  batches: list[planning.Batch]
  statistics: Any

  @functools.cached_property
  def starts(self) -> list[int]:
    """Place of each batch's first row among the rows of all batches."""
    return [0, *itertools.accumulate(len(batch.rows) for batch in self.batches)]


@functools.lru_cache(maxsize=1)
def open_recipe(recipe: Recipe) -> Opened:
  """Loads the network and makes the plan, which is the same wherever it is made.

  Raises:
    UsageError: for a missing file, an unknown unit, weights that are not finite, or statistics of another network.
  """
  from tbvis.maximization import api

  startup.import_modules(recipe.modules)
  job = api.make_job(recipe.checkpoint, recipe.config, dtype=recipe.dtype)
  statistics = statistics_lib.UnitStatistics.load(recipe.statistics, classes=job.classes) if recipe.statistics else None
  job, found, batches = planning.prepare(job, recipe.wanted, recipe.settings, statistics, seed=recipe.seed)
  return Opened(job, found, batches, statistics)


@contextlib.contextmanager
def planned(recipe: Recipe, finished: Container[Any]) -> Iterator[plans.SignOfLife | None]:
  """Writes down, for who looks on, what a sweep is going to find; forgets it when the block ends with all of it tried.

  Args:
    recipe: the sweep; without a logdir nothing is written.
    finished: keys of what need not be found.

  Yields:
    What this process tells where it is.
  """
  folder, opened = recipe.sweeps, open_recipe(recipe)
  clear_failures(recipe)
  rows = [row for batch in opened.batches for row in batch.rows]
  done = [index for index, row in enumerate(rows) if row.key in finished]
  if folder and len(done) < len(rows):
    order = planning.layer_order(opened.job.model)
    wanted = [row.target for row in rows[:: len(recipe.settings)]]
    targets = [(t.name, t.layer, order(t), t.channel, t.class_name) for t in wanted]
    settings = [dataclasses.astuple(setting) for setting in recipe.settings]
    plans.write(folder, recipe.name, targets, settings, seed=recipe.seed, steps=recipe.config.steps, finished=done)
  with recipe.sign_of_life("main") as life:
    yield life
  if folder and not failures(recipe):
    plans.remove(folder, recipe.name)


def search(
  recipe: Recipe,
  indices: Sequence[int],
  finished: Container[Any],
  on_step: Callable[[planning.Batch], None] | None = None,
  life: plans.SignOfLife | None = None,
) -> Iterator[tuple[Stimulus, StimulusRecord]]:
  """Searches batches of a recipe, and yields what is missing among the keys of `finished`, stimulus by stimulus.

  Args:
    recipe: the sweep.
    indices: of the batches in the plan.
    finished: keys of what is there.
    on_step: called with the batch after each of its steps.
    life: where this process tells which rows it searches, and at which step.
  """
  opened = open_recipe(recipe)

  def stepped(batch: planning.Batch) -> None:
    if life:
      life.stepped()
    if on_step:
      on_step(batch)

  for index in indices:
    if life:
      life.begin(*opened.starts[index : index + 2])
    for stimuli in sweep.search(opened.job, [opened.batches[index]], stepped, recipe.state, recipe.save_every):
      for stimulus in stimuli:
        record = stimulus.to_record()
        if record.key not in finished:
          yield stimulus, dataclasses.replace(record, config={**record.config, **provenance.provenance(recipe, record)})


def _search_batch(recipe: Recipe, index: int, keep: Keep | None) -> int:
  """Searches one batch and writes what is missing of it; returns how many stimuli that were."""
  batch = open_recipe(recipe).batches[index]
  finished = summaries.finished_stimuli(recipe.logdir, recipe.run)
  if not batch.is_open(finished):
    return 0
  written = 0
  worker = recipe.sign_of_life(f"batch_{index:05d}")
  with worker as life, summaries.StimulusWriter(recipe.logdir, recipe.run, at_once=True) as writer:
    for stimulus, record in search(recipe, [index], finished, life=life):
      if keep:
        keep(stimulus, record)
      writer.write(record)
      written += 1
  return written


def _failure_file(recipe: Recipe, index: int) -> pathlib.Path:
  return pathlib.Path(recipe.state or ".") / f"{_FAILED}_{index:05d}.json"


def search_batch(recipe: Recipe, index: int, keep: Keep | None = None, attempts: int = ATTEMPTS) -> int:
  """Searches one batch of a recipe, again if it fails; a batch that keeps failing is left behind with its reason.

  Args:
    recipe: the sweep.
    index: of the batch in the plan.
    keep: called with each stimulus and its record before it is written to the logdir.
    attempts: how often to try.

  Returns:
    How many stimuli were written.
  """
  for attempt in range(attempts):
    try:
      written = _search_batch(recipe, index, keep)
    except Exception as error:  # One batch, whatever happens to it, must not stop the others.
      logging.warning("Batch %d, attempt %d of %d: %s: %s", index + 1, attempt + 1, attempts, type(error).__name__, error)
      rows = [row.target.name for row in open_recipe(recipe).batches[index].rows]
      reason = " ".join(f"{type(error).__name__}: {error}".split())
      files.write_json(_failure_file(recipe, index), {"batch": index, "targets": list(dict.fromkeys(rows)), "reason": reason})
    else:
      _failure_file(recipe, index).unlink(missing_ok=True)
      return written
  return 0


def failures(recipe: Recipe) -> list[dict[str, Any]]:
  """Returns the batches that failed in the last run of a recipe, each with "batch", "targets" and "reason"."""
  import json

  folder = recipe.state
  if not folder or not folder.is_dir():
    return []
  return [json.loads(path.read_text()) for path in sorted(folder.glob(f"{_FAILED}_*.json"))]


def clear_failures(recipe: Recipe) -> None:
  """Forgets earlier failures: whatever fails now tells of itself."""
  if recipe.state and recipe.state.is_dir():
    for path in recipe.state.glob(f"{_FAILED}_*.json"):
      path.unlink()


def run(recipe: Recipe, indices: Sequence[int], runner: str, options: Sequence[str] = (), keep: Keep | None = None) -> None:
  """Runs batches of a recipe as a Beam pipeline, and waits for its end.

  Args:
    recipe: the sweep; its paths must be reachable from every worker.
    indices: of the batches.
    runner: of Beam: DirectRunner, FlinkRunner, SparkRunner, DataflowRunner, ...
    options: Beam's own flags, such as --direct_num_workers=2.
    keep: called with each stimulus and its record before it is written to the logdir; must be sent to workers.

  Raises:
    UsageError: if Beam is not installed, or refuses runner or options.
  """
  pipeline = beam_lib.pipeline(runner, options)
  import apache_beam as beam

  element = functools.partial(search_batch, recipe, keep=keep)
  pipeline | "Batches" >> beam.Create(list(indices)) | "Spread" >> beam.Reshuffle() | "Search" >> beam.Map(element)
  pipeline.run().wait_until_finish()


def unfinished(recipe: Recipe, finished: Container[Any]) -> Iterator[int]:
  """Returns the batches of a recipe that have a stimulus to find."""
  return (index for index, batch in enumerate(open_recipe(recipe).batches) if batch.is_open(finished))
