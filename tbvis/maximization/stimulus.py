"""What the search returns."""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from tbvis.maximization import measures
from tbvis.records import INPUTS

if TYPE_CHECKING:
  from tbvis.maximization.planning import Target
  from tbvis.records import KeptSteps, StimulusRecord


_COLOURS = 3
_VECTOR = 2


@dataclasses.dataclass(frozen=True, eq=False)
class Stimulus:
  """The input that a unit prefers, under one smoothness.

  Attributes:
    target: the unit, or the objective.
    layer_index: the layer's place in the network's order.
    inputs: float32 (H, W, frames, components) by stream, in grey levels of 255 around 0; empty where there is an `error`.
    activation: the target's value at these inputs in float32, before its ReLU; for a unit in both towers the sum of the two.
    a_hat: its largest value on the validation clips, likewise; with a sum over locations, times their number.
    kappa: spatial weight of the motion's total variation.
    chi: its temporal weight.
    isotropic: whether chi = kappa was asked for.
    seed: of the start noise and the shifts.
    steps: int (logged,).
    history: float32 (logged,) by term: activation, data, energy_motion, tv_motion, ...
    config: every constant, as JSON.
    error: why there is no stimulus, else None.
    kept_after: int (kept,): steps taken before each small copy of the search.
    kept: float16 (kept, h, w, frames, components) by stream, the copies; without streams where none was kept.
    chunks: of a clip in which the frames divide, see `Stream.windows`.
    network_inputs: what the network has, of "appearance" and "motion".
  """

  target: Target
  layer_index: int
  inputs: Mapping[str, np.ndarray]
  activation: float
  a_hat: float
  kappa: float
  chi: float
  isotropic: bool
  seed: int
  steps: np.ndarray
  history: dict[str, np.ndarray]
  config: dict[str, Any]
  error: str | None = None
  kept_after: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0, int))
  kept: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
  chunks: int = 1
  network_inputs: tuple[str, ...] = INPUTS

  @property
  def appearance(self) -> np.ndarray | None:
    """float32 (H, W, 3), the picture: of an input of colours (of a film its middle frame), or None."""
    return _still(_colours(self.inputs))

  @property
  def film(self) -> np.ndarray | None:
    """float32 (H, W, F, 3), all frames of an input of colours that has several, else None."""
    found = _colours(self.inputs)
    return found if found is not None and found.shape[2] > 1 else None

  @property
  def motion(self) -> np.ndarray | None:
    """float32 (H, W, T, 2), the flow (u, v) in network units (40/255 pixel a frame), or None."""
    return _flow(self.inputs)

  @property
  def activation_over_a_hat(self) -> float:
    """Activation in parts of a_hat."""
    return self.activation / self.a_hat

  @property
  def temporal_ratio(self) -> float | None:
    """Change from frame to frame over change from pixel to pixel, see `measures.temporal_ratio`; None for inputs of one frame a chunk."""
    moving = self.motion
    if moving is None:
      moving = next((x for x in self.inputs.values() if x.shape[2] > self.chunks), None)
    return None if moving is None else measures.temporal_ratio(moving, self.chunks)

  @property
  def contrasts(self) -> dict[str, float]:
    """Contrast by stream, see `measures.contrast`."""
    return {name: measures.contrast(x) for name, x in self.inputs.items()}

  def to_record(self) -> StimulusRecord:
    """Returns what `tbvis.summaries.StimulusWriter` writes.

    Raises:
      UsageError: if no input is a picture, a film or a flow.
    """
    from tbvis.records import StimulusRecord

    measured = {f"contrast_{name}": value for name, value in self.contrasts.items()}
    ratio = self.temporal_ratio
    if ratio is not None:
      measured["temporal_ratio"] = ratio
    return StimulusRecord(
      unit=self.target.name,
      layer=self.target.layer,
      layer_index=self.layer_index,
      channel=self.target.channel,
      class_name=self.target.class_name,
      kappa=self.kappa,
      chi=self.chi,
      isotropic=self.isotropic,
      seed=self.seed,
      appearance=self.appearance,
      motion=self.motion,
      steps=self.steps,
      history=self.history,
      activation=self.activation,
      a_hat=self.a_hat,
      config={**self.config, "measured": measured},
      error=self.error,
      kept=self._kept_steps(),
      film=self.film,
      chunks=self.chunks,
      inputs=self.network_inputs,
    )

  def _kept_steps(self) -> KeptSteps | None:
    from tbvis.records import KeptSteps

    if not self.kept:
      return None
    colours = _colours(self.kept)
    return KeptSteps(self.kept_after, _still(colours) if self.film is None else colours, _flow(self.kept))


def kind(components: int) -> str | None:
  """Returns what an input of so many components is shown as, of `records.INPUTS`; None for what no picture shows."""
  return "appearance" if components in (1, _COLOURS) else "motion" if components == _VECTOR else None


def _colours(inputs: Mapping[str, np.ndarray]) -> np.ndarray | None:
  """Returns (..., H, W, frames, 3) of the first input (..., H, W, frames, components) that is a picture or a film."""
  found = next((x for x in inputs.values() if kind(x.shape[-1]) == "appearance"), None)
  return None if found is None else np.broadcast_to(found, (*found.shape[:-1], _COLOURS))


def _still(colours: np.ndarray | None) -> np.ndarray | None:
  """Returns the frame that stands for all, the middle one."""
  return None if colours is None else colours[..., colours.shape[-2] // 2, :]


def _flow(inputs: Mapping[str, np.ndarray]) -> np.ndarray | None:
  """Returns the first input (..., H, W, frames, 2)."""
  return next((x for x in inputs.values() if kind(x.shape[-1]) == "motion"), None)
