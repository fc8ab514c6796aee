"""What a run of tbvis in a logdir holds: stimuli, the confusions of a network, statistics of its units."""

from __future__ import annotations

from collections.abc import Iterable
import dataclasses
import re
from typing import Any

import numpy as np

from tbvis.errors import UsageError

PLUGIN_NAME = "tbvis"
TOWERS = ("appearance", "hybrid", "motion", "fused")
# What a stimulus may have.
INPUTS = ("appearance", "motion")
# Of two networks that share nothing: TSN's (METHOD 4.2).
_SEPARATE = {"appearance": 0.4, "motion": 0.6}


def fusion_weights(towers: Iterable[str]) -> dict[str, float]:
  """Returns how much each of a network's towers counts in its fused scores: what sees both streams and the motion count alike.

  >>> fusion_weights(["hybrid", "motion", "appearance"]), fusion_weights(["appearance", "motion"]), fusion_weights(["motion"])
  ({'hybrid': 0.5, 'motion': 0.5}, {'appearance': 0.4, 'motion': 0.6}, {'motion': 1.0})
  """
  known = set(towers)
  own = [tower for tower in TOWERS if tower in known and tower != "fused"]
  if "hybrid" in own:
    own = [tower for tower in own if tower != "appearance"]
  return {tower: _SEPARATE[tower] for tower in own} if tuple(own) == tuple(_SEPARATE) else {tower: 1 / len(own) for tower in own}


# A stimulus is told from all others of a run by this.
Key = tuple[str, float, float, bool, int]


def variant_name(kappa: float, chi: float, isotropic: bool, seed: int = 0) -> str:
  """Names one way of maximising a unit, as tags, folders and column heads have it.

  >>> variant_name(1, 10, False), variant_name(5, 5, True), variant_name(3, 0, False, seed=2)
  ('chi=10', 'isotropic=5', 'kappa=3,chi=0,seed=2')
  """
  if isotropic:
    name = f"isotropic={kappa:g}"
  else:
    name = f"chi={chi:g}" if kappa == 1 else f"kappa={kappa:g},chi={chi:g}"
  return name if seed == 0 else f"{name},seed={seed}"


def safe_name(name: str) -> str:
  """Returns `name` as one file name: other characters than letters, digits and .,=_- become _.

  >>> safe_name("../a b"), safe_name("..")
  ('.._a_b', '_')
  """
  name = re.sub(r"[^A-Za-z0-9_.,=-]", "_", name)
  return name if name.strip(".") else "_"


@dataclasses.dataclass(frozen=True, eq=False)
class KeptSteps:
  """What the search for a stimulus had on its way, in small copies.

  Attributes:
    steps: int (K,), ascending: optimisation steps taken before each; 0 is the start noise.
    appearance: float (K, h, w, 3) in network units, of a film (K, h, w, F, 3), or None.
    motion: float (K, h, w, T, 2) in network units, or None.
  """

  steps: np.ndarray
  appearance: np.ndarray | None
  motion: np.ndarray | None

  def __post_init__(self) -> None:
    for name, values, ranks in (("appearance", self.appearance, (4, 5)), ("motion", self.motion, (5,))):
      if values is not None and (np.ndim(values) not in ranks or len(values) != len(self.steps)):
        rank = " or ".join(map(str, ranks))
        raise UsageError(f"Kept steps: expected {name} of rank {rank} at {len(self.steps)} steps, received {np.shape(values)}.")
    if not len(self.steps) or np.any(np.diff(self.steps) <= 0):
      raise UsageError(f"Kept steps: expected ascending steps, received {list(self.steps)}.")


@dataclasses.dataclass(frozen=True, eq=False)
class StimulusRecord:
  """One stimulus: what the search found for one unit under one smoothness, and how.

  Attributes:
    unit: "conv5_fusion/f021" (1-based label) or "prediction/PlayingCello".
    layer: the layer's name.
    layer_index: the layer's place in the network's order.
    channel: the unit's channel, 0-based.
    class_name: the class of a class unit, else None.
    kappa: spatial weight of total variation.
    chi: temporal weight of total variation.
    isotropic: whether chi = kappa was asked for as one setting.
    seed: of the start.
    appearance: float32 (H, W, 3), RGB in network units, or None (a unit of the motion tower); of a film the frame that stands for it.
    motion: float32 (H, W, T, 2), (u, v) in network units (40/255 pixel a frame), or None (a unit of the appearance tower).
    steps: int (S,), the logged steps.
    history: float (S,) for each term at these steps; "activation" among them.
    activation: of the unit at the stimulus.
    a_hat: the unit's largest value on the validation clips, or None where it was not measured.
    config: everything that made the stimulus, as JSON.
    error: why there is no stimulus (both inputs are None then), else None.
    kept: what the search had on its way, of the inputs that the stimulus has; None where nothing was kept.
    film: float32 (H, W, F, 3), all frames of an appearance that has several, one a chunk or a video's own; None where it has one.
    chunks: in how many chunks of a clip the frames of film and motion divide, as many each; 1 where all follow each other.
    inputs: what the network has, of "appearance" and "motion", whether or not the unit sees it.
  """

  unit: str
  layer: str
  layer_index: int
  channel: int
  class_name: str | None
  kappa: float
  chi: float
  isotropic: bool
  seed: int
  appearance: np.ndarray | None
  motion: np.ndarray | None
  steps: np.ndarray
  history: dict[str, np.ndarray]
  activation: float
  a_hat: float | None
  config: dict[str, Any]
  error: str | None = None
  kept: KeptSteps | None = None
  film: np.ndarray | None = None
  chunks: int = 1
  inputs: tuple[str, ...] = INPUTS

  def __post_init__(self) -> None:
    where = f"Stimulus of {self.unit}"
    if self.error is None and self.appearance is None and self.motion is None:
      raise UsageError(f"{where}: expected an appearance, a motion or an error, received none.")
    if self.appearance is not None and (np.ndim(self.appearance) != 3 or np.shape(self.appearance)[-1] != 3):
      raise UsageError(f"{where}: expected appearance (H, W, 3), received {np.shape(self.appearance)}.")
    if self.motion is not None and (np.ndim(self.motion) != 4 or np.shape(self.motion)[-1] != 2):
      raise UsageError(f"{where}: expected motion (H, W, T, 2), received {np.shape(self.motion)}.")
    if self.film is not None:
      picture = () if self.appearance is None else np.shape(self.appearance)
      if np.ndim(self.film) != 4 or (*np.shape(self.film)[:2], np.shape(self.film)[3]) != picture or np.shape(self.film)[2] < 2:
        raise UsageError(f"{where}: expected a film (H, W, frames, 3) of its appearance {picture}, received {np.shape(self.film)}.")
    for name, values in (("film", self.film), ("motion", self.motion)):
      shape = () if values is None else np.shape(values)
      if self.chunks < 1 or (shape and shape[2] % self.chunks):
        raise UsageError(f"{where}: expected {name} in {self.chunks} equal chunks, received {shape}.")
    if self.kept and any((getattr(self, name) is None) != (getattr(self.kept, name) is None) for name in ("appearance", "motion")):
      raise UsageError(f"{where}: expected kept steps of the inputs that it has, received others.")
    for name, values in self.history.items():
      if np.shape(values) != np.shape(self.steps):
        raise UsageError(f"{where}: expected {len(self.steps)} values of {name!r}, received {np.shape(values)}.")

  @property
  def key(self) -> Key:
    """(unit, kappa, chi, isotropic, seed)."""
    return self.unit, float(self.kappa), float(self.chi), bool(self.isotropic), int(self.seed)

  @property
  def variant(self) -> str:
    """ "chi=10", "isotropic=5", ...: see `variant_name`."""
    return variant_name(self.kappa, self.chi, self.isotropic, self.seed)


@dataclasses.dataclass(frozen=True, eq=False)
class Confusions:
  """Predictions of a network's towers on labelled clips.

  Attributes:
    classes: class names, by index.
    labels: int (N,), the true class of each clip.
    scores: pre-softmax scores float32 (N, C) by tower: appearance, hybrid, motion, fused.
    clips: N names.
    split: which clips these are ("UCF101 test split 1").
    checkpoint: the network's name or file.
    meanings: what the scores of a tower are, for people, where they are not our own network's.
  """

  classes: list[str]
  labels: np.ndarray
  scores: dict[str, np.ndarray]
  clips: list[str]
  split: str
  checkpoint: str
  meanings: dict[str, str] = dataclasses.field(default_factory=dict)

  def matrix(self, tower: str) -> np.ndarray:
    """Returns counts int (C, C): true class in rows, predicted class in columns."""
    matrix = np.zeros((len(self.classes), len(self.classes)), int)
    np.add.at(matrix, (self.labels, self.scores[tower].argmax(axis=1)), 1)
    return matrix

  def accuracy(self, tower: str) -> float:
    """Returns the fraction of clips whose largest score is the true class."""
    return float(np.mean(self.scores[tower].argmax(axis=1) == self.labels))


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
  """All that `summaries.read_run` finds in a run."""

  stimuli: list[StimulusRecord]
  confusions: Confusions | None
  statistics: dict[str, Any] | None
