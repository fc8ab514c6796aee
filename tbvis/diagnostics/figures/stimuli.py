"""Stimuli of figures: searched once, kept one file each, shared by all figures of a network."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
import dataclasses
import hashlib
import json
import pathlib
from typing import Any

import numpy as np

from tbvis import files, npz
from tbvis.diagnostics import passes
from tbvis.errors import present
from tbvis.maximization import api, planning, sweep
from tbvis.maximization import config as config_lib
from tbvis.maximization.stimulus import Stimulus
from tbvis.models import checkpoint as checkpoint_lib
from tbvis.records import safe_name, variant_name
from tbvis.rendering.appearance import appearance_to_rgb, film_to_rgb

_SAVE_EVERY = 20
_ARRAYS = ("appearance", "motion", "film")


@dataclasses.dataclass(frozen=True, eq=False)
class Found:
  """A stimulus as figures show it.

  Attributes:
    appearance: float32 (H, W, 3), in the network's units; None where the unit has none.
    motion: float32 (H, W, T, 2), in the network's units; None where the unit has none.
    activation_over_a_hat: the unit's value in parts of its largest on validation clips.
    seconds: of search.
    error: why there is none, "" where there is one.
    film: float32 (H, W, F, 3), all frames of an appearance that has several; else None.
  """

  appearance: np.ndarray | None
  motion: np.ndarray | None
  activation_over_a_hat: float
  seconds: float
  error: str = ""
  film: np.ndarray | None = None

  def played(self) -> np.ndarray:
    """Returns the appearance's frames, uint8 RGB (T, H, W, 3), each for as long as its chunk's motion."""
    if self.film is None:
      return appearance_to_rgb(present(self.appearance, "a stimulus with an appearance"))[None]
    frames = film_to_rgb(self.film)
    return frames if self.motion is None else np.repeat(frames, max(1, self.motion.shape[2] // len(frames)), axis=0)


def longest(stimuli: Iterable[Found]) -> int:
  """Returns the frames of the longest stimulus, 1 where none moves."""
  return max((x.shape[2] for found in stimuli for x in (found.motion, found.film) if x is not None), default=1)


class Cabinet:
  """The stimuli of one network under one set of constants, in a folder.

  Args:
    checkpoint: the network.
    config: constants of the search.
    a_hat: see `tbvis.maximize`.
    folder: where stimuli are kept, each as soon as its batch ends; searches that were cut short go on from their last state.
    seed: of the starts.
  """

  def __init__(
    self, checkpoint: checkpoint_lib.Checkpoint, config: config_lib.MaximizationConfig, a_hat: Any, folder: pathlib.Path, seed: int = 0
  ):
    self._job = api.make_job(checkpoint, config)
    self._classes = checkpoint.classes
    self._a_hat, self._seed = a_hat, seed
    self.network = passes.network_key(checkpoint)
    self.folder = folder / self.network
    self._constants = json.dumps(dataclasses.asdict(config), sort_keys=True)

  def get(
    self, units: Sequence[str], settings: Sequence[planning.Setting], progress: Callable[[int], Callable[[int], Any]]
  ) -> dict[tuple[str, planning.Setting], Found]:
    """Returns the stimuli of units, and searches those that are missing.

    Args:
      units: names.
      settings: kappa and chi.
      progress: called with the number of steps to come, if any; what it returns is called with the steps that each step makes.

    Returns:
      Stimuli by unit and setting.

    Raises:
      UsageError: for an unknown unit, or an a_hat of another network.
    """
    # Checks the units and the network, and knows a_hat.
    job, targets, _ = planning.prepare(self._job, list(units), list(settings), self._a_hat, classes=self._classes, seed=self._seed)
    paths = {(target.name, setting): self._path(job, target, setting) for target in targets for setting in settings}
    # Targets that miss the same settings are searched together.
    groups: dict[tuple[planning.Setting, ...], list[planning.Target]] = {}
    for target in targets:
      missing = tuple(setting for setting in settings if not paths[target.name, setting].is_file())
      if missing:
        groups.setdefault(missing, []).append(target)
    batches = [batch for missing, wanted in groups.items() for batch in planning.plan(job, wanted, missing, self._seed)]
    if batches:
      advance = progress(sum(len(batch.rows) for batch in batches) * job.config.steps)
      made = sweep.search(job, batches, lambda batch: advance(len(batch.rows)), self.folder / "unfinished", _SAVE_EVERY)
      for batch, stimuli in zip(batches, made, strict=True):
        for row, stimulus in zip(batch.rows, stimuli, strict=True):
          _write(paths[row.target.name, row.setting], stimulus)
    return {key: _read(path) for key, path in paths.items()}

  def _path(self, job: planning.Job, target: planning.Target, setting: planning.Setting) -> pathlib.Path:
    scale = [program.scale for program in job.lower(target)]
    dtypes = [str(job.model.get_layer(layer).compute_dtype) for layer in target.layers]
    digest = hashlib.sha256(json.dumps([self._constants, target.name, scale, dtypes]).encode()).hexdigest()[:8]
    variant = variant_name(setting.kappa, setting.chi, setting.isotropic, self._seed)
    return self.folder / f"{safe_name(target.name)}_{safe_name(variant)}_{digest}.npz"


def _write(path: pathlib.Path, stimulus: Stimulus) -> None:
  # Half floats: a thousandth of the largest value is far below what a picture of 255 levels shows.
  arrays = {name: getattr(stimulus, name) for name in _ARRAYS} if not stimulus.error else {}
  kept = {name: value.astype(np.float16) for name, value in arrays.items() if value is not None}
  numbers = np.array([stimulus.activation_over_a_hat, stimulus.config["seconds"]])
  files.write_npz(path, numbers=numbers, error=np.array(stimulus.error or ""), **kept)


def _read(path: pathlib.Path) -> Found:
  arrays = npz.read_arrays(path, "an npz file of a stimulus")
  appearance, motion, film = (arrays[name].astype(np.float32) if name in arrays else None for name in _ARRAYS)
  activation, seconds = arrays["numbers"].tolist()
  return Found(appearance, motion, activation, seconds, str(arrays["error"]), film)
