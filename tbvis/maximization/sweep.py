"""Searches a plan batch after batch, and tells what is wrong with a stimulus."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
import dataclasses
import functools
import hashlib
import json
import os
import pathlib
import time
from typing import Any
import weakref

from absl import logging
import numpy as np

from tbvis.maximization import ascent
from tbvis.maximization import config as config_lib
from tbvis.maximization.planning import Batch, Job, Row, Target, layer_order
from tbvis.maximization.programs import Term
from tbvis.maximization.snapshot import Snapshot
from tbvis.maximization.stimulus import Stimulus
from tbvis.models import activations

# Compiled searches kept for one network: each holds its graph in memory.
_KEPT = 4
# A regulariser this many times as large as the target, in a search that failed, is its likely cause.
_OUTWEIGHS = 3.0
# A stimulus with more of its pixels at the bound than this is held there by it.
_PINNED = 0.25


def identity(job: Job, batch: Batch) -> str:
  """Returns what tells a batch's search from any other: network, constants, rows, scale."""
  scale = [[program.scale for program in job.lower(row.target)] for row in batch.rows]
  dtypes = [str(job.model.get_layer(layer).compute_dtype) for layer in batch.layers]
  content = [
    dataclasses.asdict(job.config), job.weights_checksum, batch.layers, batch.canvas, [row.key for row in batch.rows], scale, dtypes,
    str(job.streams),
  ]  # fmt: skip
  return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


_ASCENTS: weakref.WeakKeyDictionary[Any, dict[Any, ascent.Ascent]] = weakref.WeakKeyDictionary()


def _ascent(job: Job, terms: tuple[Term, ...], side: int) -> ascent.Ascent:
  """Returns the compiled search of these terms, made once for a network."""
  kept = _ASCENTS.setdefault(job.model, {})
  dtypes = tuple(str(job.model.get_layer(tap.layer).compute_dtype) for term in terms for tap in term.taps)
  key = (terms, side, job.config, tuple(job.streams.values()), dtypes)
  found = kept.pop(key, None) or ascent.Ascent(job.model, terms, job.streams, side, job.config)
  kept[key] = found
  for old in list(kept)[:-_KEPT]:
    del kept[old]
  return found


def _tell(on_step: Callable[[Batch], None], batch: Batch, step: int) -> None:
  on_step(batch)


def search(
  job: Job, batches: Sequence[Batch], on_step: Callable[[Batch], None] | None = None, state: str | os.PathLike[str] | None = None,
  save_every: int = 0,
) -> Iterator[list[Stimulus]]:  # fmt: skip
  """Searches batch after batch, and yields the stimuli of each as it ends.

  Args:
    job: the network and the constants.
    batches: the plan.
    on_step: called with the batch after each of its steps.
    state: folder of the states of unfinished batches; a batch that has one there goes on from it.
    save_every: steps between two states, 0 for none.
  """
  order = layer_order(job.model)
  for batch in batches:
    programs = [job.lower(row.target) for row in batch.rows]
    terms = tuple(Term(program.form, program.taps) for program in programs[0])
    engine = _ascent(job, terms, batch.canvas)
    scale = np.array([[program.scale for program in row] for row in programs], np.float32)
    parameters = tuple(
      tuple(np.stack([row[term].parameters[i] for row in programs]) for i in range(len(programs[0][term].parameters)))
      for term in range(len(terms))
    )
    rows = ascent.Rows(
      [row.target.name for row in batch.rows],
      parameters,
      scale,
      [row.setting.kappa for row in batch.rows],
      [row.setting.chi for row in batch.rows],
      batch.rows[0].seed,
    )
    snapshot = None
    if state and save_every:
      name = identity(job, batch)
      snapshot = Snapshot(pathlib.Path(state) / f"{name}.npz", save_every, name)
    started = time.monotonic()
    found = engine.run(rows, on_step=functools.partial(_tell, on_step, batch) if on_step else None, snapshot=snapshot)
    seconds = (time.monotonic() - started) / len(batch.rows)
    made = {
      **dataclasses.asdict(job.config),
      "layers": list(batch.layers),
      "fields": [int(field) for field in engine.field],
      "fields_in_time": engine.times,
      "chunks": job.chunks,
      "canvas_pixels": batch.canvas,
      "jitter_pixels": engine.shifts - 1,
      "batch_rows": len(batch.rows),
      "dtype": str(job.model.get_layer(batch.layers[0]).compute_dtype),
      "term_factors": engine.term_factors(),
      "seconds": round(seconds, 3),
    }
    softmax = [
      tap.layer for term in terms for tap in term.taps if activations.is_softmax(job.model.get_layer(tap.layer), tap.after)
    ]  # fmt: skip
    yield [_stimulus(row, index, found, order, job, made, softmax) for index, row in enumerate(batch.rows)]
    # Only now: whoever takes the stimuli has kept them.
    if snapshot:
      snapshot.remove()


def _causes(
  row: Row, found: Mapping[str, np.ndarray], over_a_hat: float, config: config_lib.MaximizationConfig, softmax: Sequence[str]
) -> list[str]:
  """Returns what is wrong with a stimulus, each with its likely cause; `found` has the terms at the last step."""
  causes = []
  if softmax:
    causes.append(
      f"{', '.join(dict.fromkeys(softmax))} is a softmax: its gradient vanishes where a class is certain, and it can rise by lowering "
      "the others; take the scores before it"
    )
  reached = over_a_hat >= 0.5 * (config.target if config.calibrate else 1.0)
  penalties = {name: float(value) for name, value in found.items() if name.startswith(("tv_", "energy_"))}
  worst = max(penalties, key=lambda name: penalties[name])
  data = max(float(found["data"]), 0.0)
  if not reached and penalties[worst] > _OUTWEIGHS * data:
    causes.append(
      f"{worst} ({penalties[worst]:.3g}) outweighs the target ({data:.3g}), which reached {over_a_hat:.2f} of its a_hat: "
      + ("a larger --data_weight may help" if config.per_frame or config.term_balance else "--per_frame or a larger --data_weight may help")
    )
  elif config.calibrate and not reached:
    causes.append(f"it reached {over_a_hat:.2f} of its a_hat: more --steps, or a larger --data_weight, may wake it")
  pinned = {name.removeprefix("at_bound_"): float(value) for name, value in found.items() if name.startswith("at_bound_")}
  for stream, part in pinned.items():
    if part > _PINNED:
      causes.append(
        f"{part:.0%} of its {stream} is pinned at the bound of {config.bound:g}: the regularisers are too weak for this target; "
        "a smaller --data_weight or --target may help"
      )
  return causes


def _stimulus(
  row: Row,
  index: int,
  found: ascent.Result,
  order: Callable[[Target], int],
  job: Job,
  made: Mapping[str, Any],
  softmax: Sequence[str],
) -> Stimulus:
  """Takes one row out of a batch's result, and warns where it cannot be a stimulus."""
  config = job.config
  inputs = {stream: values[index] for stream, values in found.inputs.items()}
  scale = found.natural[index]
  activation, a_hat = float(found.activations[index].sum()), float(scale.sum())
  history = {term: values[:, index] for term, values in found.history.items()}
  dead = [part.name for part, size in zip(row.target.parts, found.gradient[index], strict=True) if not size > 0]
  error, causes = None, []
  if dead:
    error = (
      f"no gradient reached the input from {', '.join(dead)} at any logged step: it does not depend on its input there, "
      "or is off behind a ReLU (--relu_leak lets a little through)"
    )
  elif not all(np.isfinite(values).all() for values in inputs.values()):
    error = "the search left the finite numbers; a lower --learning_rate or --dtype=float32 may help"
  else:
    causes = _causes(row, {term: values[-1] for term, values in history.items()}, activation / a_hat, config, softmax)
  for cause in [error] if error else causes:
    logging.warning("%s at kappa = %g, chi = %g: %s.", row.target.name, row.setting.kappa, row.setting.chi, cause)
  return Stimulus(
    target=row.target,
    layer_index=order(row.target),
    inputs={} if error else inputs,
    activation=activation,
    a_hat=a_hat,
    kappa=row.setting.kappa,
    chi=row.setting.chi,
    isotropic=row.setting.isotropic,
    seed=row.seed,
    steps=found.steps,
    history=history,
    config={**made, "a_hat_by_layer": [float(value) for value in scale], "warnings": causes},
    error=error,
    kept_after=found.kept_after,
    kept={} if error else {stream: copies[:, index] for stream, copies in found.kept.items()},
    chunks=job.chunks,
    network_inputs=job.kinds,
  )
