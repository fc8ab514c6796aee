"""What the search returns."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from tbvis.maximization import measures

if TYPE_CHECKING:
  from tbvis.records import StimulusRecord
  from tbvis.units import Unit


@dataclasses.dataclass(frozen=True, eq=False)
class Stimulus:
  """The input that a unit prefers, under one smoothness.

  Attributes:
    unit: the unit.
    layer_index: the layer's place in the network's order.
    appearance: float32 (H, W, 3), RGB in network units (mean subtracted), or None where the unit does not see it.
    motion: float32 (H, W, 10, 2), (u, v) in network units (40/255 pixel a frame), or None.
    activation: the unit's value at these inputs, before its ReLU; for a unit in both towers the sum of the two.
    a_hat: its largest value on the validation clips, likewise.
    kappa: spatial weight of the motion's total variation.
    chi: its temporal weight.
    isotropic: whether chi = kappa was asked for.
    seed: of the start noise and the shifts.
    steps: int (logged,).
    history: float32 (logged,) by term: activation, data, energy_motion, tv_motion, ...
    config: every constant, as JSON.
    error: why there is no stimulus (both inputs are None then), else None.
  """

  unit: Unit
  layer_index: int
  appearance: np.ndarray | None
  motion: np.ndarray | None
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

  @property
  def activation_over_a_hat(self) -> float:
    """Activation in parts of a_hat."""
    return self.activation / self.a_hat

  @property
  def temporal_ratio(self) -> float | None:
    """Change from frame to frame over change from pixel to pixel, see `measures.temporal_ratio`."""
    return None if self.motion is None else measures.temporal_ratio(self.motion)

  @property
  def contrasts(self) -> dict[str, float]:
    """Contrast by stream, see `measures.contrast`."""
    streams = {"appearance": self.appearance, "motion": self.motion}
    return {name: measures.contrast(x) for name, x in streams.items() if x is not None}

  def to_record(self) -> StimulusRecord:
    """Returns what `tbvis.summaries.StimulusWriter` writes."""
    from tbvis.records import StimulusRecord

    measured = {f"contrast_{name}": value for name, value in self.contrasts.items()}
    if self.motion is not None:
      measured["temporal_ratio"] = self.temporal_ratio
    return StimulusRecord(
      unit=self.unit.name,
      layer=self.unit.layer,
      layer_index=self.layer_index,
      channel=self.unit.channel,
      class_name=self.unit.class_name,
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
    )
