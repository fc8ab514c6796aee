"""Stimuli of two classes and of their difference, and what probes say of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
import dataclasses
import pathlib
from typing import Any

import numpy as np

from tbvis import files, npz
from tbvis.diagnostics import passes
from tbvis.diagnostics import probes as probes_lib
from tbvis.errors import UsageError, unknown_name
from tbvis.maximization import api
from tbvis.maximization import config as config_lib
from tbvis.maximization.stimulus import Stimulus
from tbvis.models import checkpoint as checkpoint_lib
from tbvis.models import sampling as sampling_lib
from tbvis.records import fusion_weights

# By tower: the layer whose class units are its scores.
_LAYERS = {"hybrid": "prediction", "motion": "prediction_motion", "appearance": "prediction_appearance"}
OBJECTIVES = ("alone", "against the other")
# How much of the picture is "where a stimulus moves".
_REGION = 0.15


def motion_map(motions: Sequence[np.ndarray]) -> np.ndarray:
  """Returns where stimuli (H, W, T, 2) of one size move: their mean speed over time, each of sum 1, float (H, W)."""
  speeds = [np.hypot(m[..., 0], m[..., 1]).mean(-1) for m in motions]
  return sum(s / max(float(s.sum()), 1e-12) for s in speeds) / len(speeds)


def regions_apart(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Returns where the first of two motion maps exceeds the second most, and the other way round: bool (H, W), 15 % of the picture."""
  return tuple(apart >= np.quantile(apart, 1 - _REGION) for apart in (first - second, second - first))


def objective(tower: str, name: str, other: str | None = None, towers: Sequence[str] = ("hybrid", "motion")) -> str:
  """Returns the objective of a class in a tower, against another where it is given, as `tbvis.maximize` reads it.

  Args:
    tower: whose score; "fused" for that of all, each by its weight.
    name: the class.
    other: another class.
    towers: those of the network.

  Raises:
    UsageError: for a tower that the network lacks.

  >>> objective("fused", "Cello"), objective("motion", "Cello", "Violin")
  ('prediction/Cello + prediction_motion/Cello', 'prediction_motion/Cello - prediction_motion/Violin')
  >>> objective("fused", "Cello", towers=("appearance", "motion"))
  'prediction_appearance/Cello + 1.5 * prediction_motion/Cello'
  """
  if tower != "fused" and tower not in towers:
    raise unknown_name("tower", tower, [*towers, "fused"], "--tower")
  weights = fusion_weights(towers) if tower == "fused" else {tower: 1.0}
  # The first counts 1: what a factor on all would change is the size of the sum alone.
  least = next(iter(weights.values()))
  factors = {_LAYERS[each]: f"{weight / least:g} * " if weight != least else "" for each, weight in weights.items()}
  parts = " + ".join(f"{factor}{layer}/{name}" for layer, factor in factors.items())
  return parts + "".join(f" - {factor}{layer}/{other}" for layer, factor in factors.items()) if other else parts


@dataclasses.dataclass(frozen=True, eq=False)
class Found:
  """What was found from one start.

  Attributes:
    appearance: float32 (H, W, 3), in the network's units; None where the tower has none.
    motion: float32 (H, W, T, 2), in the network's units; None where the tower has none.
  """

  appearance: np.ndarray | None
  motion: np.ndarray | None


@dataclasses.dataclass(frozen=True, eq=False)
class PairStimuli:
  """Stimuli of two classes.

  Attributes:
    classes: the first and the second.
    tower: whose scores they excite.
    chi: temporal weights of total variation, slow ones large.
    seeds: of the starts.
    stimuli: `Found` by (class, objective, chi, seed), objectives in the order of `OBJECTIVES`.
  """

  classes: tuple[str, str]
  tower: str
  chi: tuple[float, ...]
  seeds: tuple[int, ...]
  stimuli: np.ndarray

  def motion_maps(self, seeds: Sequence[int]) -> np.ndarray | None:
    """Returns where each class' stimuli move, float (2, H, W) of sum 1 each, over some seeds (indices); None without motion."""
    maps = []
    for side in self.stimuli:
      found = [s.motion for s in side[..., list(seeds)].ravel() if s.motion is not None]
      if not found:
        return None
      maps.append(motion_map(found))
    return np.stack(maps)

  def regions(self, seeds: Sequence[int]) -> tuple[probes_lib.RegionMotion, ...]:
    """Returns a probe for where each class' stimuli move more than the other's; () without motion."""
    maps = self.motion_maps(seeds)
    if maps is None:
      return ()
    masks = regions_apart(*maps)
    return tuple(probes_lib.RegionMotion(mask, f"where {name}'s stimuli move") for mask, name in zip(masks, self.classes, strict=True))

  def measure(self, probes: Sequence[probes_lib.Probe], mean: Sequence[float], pixel: float) -> np.ndarray:
    """Returns what probes say of every stimulus, those of regions included.

    Regions are found on every other seed and measured on the rest, in turn: on its own stimuli a region would always tell
    the classes apart.

    Args:
      probes: probes that need no region.
      mean: of the appearance, R, G, B.
      pixel: see `probes.Media`.

    Returns:
      float (2, objectives, chi, seeds, probes and then the two regions; without motion no regions).
    """
    media = np.vectorize(lambda s: probes_lib.from_inputs(s.appearance, s.motion, mean, pixel=pixel), otypes=[object])(self.stimuli)
    measured = [np.vectorize(probe, otypes=[float])(media) for probe in probes]
    count = len(self.seeds)
    halves = [range(0, count, 2), range(1, count, 2)]
    if len(halves[1]) and self.motion_maps(range(count)) is not None:
      of_regions = np.full((2, *media.shape), np.nan)
      for found_on, measured_on in (halves, halves[::-1]):
        for place, region in enumerate(self.regions(found_on)):
          of_regions[place][..., list(measured_on)] = np.vectorize(region, otypes=[float])(media[..., list(measured_on)])
      measured.extend(of_regions)
    return np.stack(measured, axis=-1)


def make(
  checkpoint: checkpoint_lib.Checkpoint,
  a: str,
  b: str,
  tower: str = "fused",
  *,
  chi: Sequence[float] = (10.0, 0.0),
  seeds: Sequence[int] = (0, 1, 2, 3),
  config: config_lib.MaximizationConfig | None = None,
  a_hat: Any = None,
  folder: pathlib.Path | None = None,
  on_step: Callable[[Any], None] | None = None,
) -> PairStimuli:
  """Searches the stimuli of two classes, each by itself and against the other.

  Args:
    checkpoint: the network.
    a: the first class.
    b: the second.
    tower: whose scores: "fused", "hybrid", "motion" or "appearance".
    chi: temporal weights.
    seeds: of the starts, at least two.
    config: constants of the search.
    a_hat: see `tbvis.maximize`.
    folder: where the stimuli of each seed are kept, and taken from by a later call with the same network and settings.
    on_step: called after each step.

  Raises:
    UsageError: for an unknown class or tower, equal classes, or fewer than two seeds.
  """
  for name in (a, b):
    if name not in checkpoint.classes:
      raise unknown_name("class", name, checkpoint.classes)
  if a == b or len(set(seeds)) < 2 or not chi:
    raise UsageError(f"Expected two classes, two seeds or more and a chi, received {a!r}, {b!r}, {len(set(seeds))} seeds, {len(chi)} chi.")
  targets = [objective(tower, of, against, towers=checkpoint.towers) for of, against in ((a, None), (a, b), (b, None), (b, a))]
  config = config or config_lib.MaximizationConfig()
  identity = passes.network_key(checkpoint, targets=targets, chi=list(chi), config=dataclasses.asdict(config))
  stimuli = np.empty((2, len(OBJECTIVES), len(chi), len(seeds)), object)
  for place, seed in enumerate(seeds):
    path = folder / f"stimuli_{identity}_seed{seed}.npz" if folder else None
    found = _load(path) if path and path.is_file() else None
    if found is None:
      made = api.maximize(checkpoint, targets, chi=chi, config=config, a_hat=a_hat, seed=seed, on_step=on_step)
      broken = next((stimulus for stimulus in made if stimulus.error), None)
      if broken:
        raise UsageError(f"{broken.target.name}: no stimulus was found: {broken.error}")
      found = [Found(*_middle(stimulus, checkpoint.sampling)) for stimulus in made]
      if path:
        _save(path, found)
    for index, stimulus in zip(np.ndindex(stimuli.shape[:-1]), found, strict=True):
      cell = *index, place
      stimuli[cell] = stimulus
  return PairStimuli((a, b), tower, tuple(map(float, chi)), tuple(seeds), stimuli)


def _middle(stimulus: Stimulus, sampling: sampling_lib.Sampling) -> tuple[np.ndarray | None, np.ndarray | None]:
  """Returns appearance and motion of the chunk that probes see of clips, too."""
  motion, first = stimulus.motion, sampling.middle() * sampling.flow_frames
  if motion is not None and sampling.chunks > 1:
    motion = motion[:, :, first : first + sampling.flow_frames]
  return stimulus.appearance, motion


def _save(path: pathlib.Path, found: Sequence[Found]) -> None:
  arrays = {f"{name}_{i}": getattr(one, name) for i, one in enumerate(found) for name in ("appearance", "motion")}
  files.write_npz(path, count=np.array(len(found)), **{name: value for name, value in arrays.items() if value is not None})


def _load(path: pathlib.Path) -> list[Found]:
  arrays = npz.read_arrays(path, "an npz file of stimuli")
  return [Found(arrays.get(f"appearance_{i}"), arrays.get(f"motion_{i}")) for i in range(int(arrays["count"]))]
