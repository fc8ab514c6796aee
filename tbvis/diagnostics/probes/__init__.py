"""Probes: named measurements of an appearance or a motion, the same of stimuli and of clips.

Their list is frozen: benchmarks/explanations.py plants causes that they were not made for.
"""

from __future__ import annotations

from tbvis.diagnostics.probes.appearance import (
  AppearanceHeight,
  AppearanceSide,
  AppearanceSpread,
  Lightness,
  LineCoherence,
  LineSteepness,
  Redness,
  SpatialFrequency,
  Yellowness,
)
from tbvis.diagnostics.probes.base import Probe
from tbvis.diagnostics.probes.media import Media, from_inputs
from tbvis.diagnostics.probes.motion import (
  Divergence,
  MotionAmount,
  MotionAxiality,
  MotionHeight,
  MotionRise,
  MotionSide,
  MotionSpread,
  MotionSteepness,
  MovingShapeCoherence,
  MovingShapeSteepness,
  OneWay,
  RegionMotion,
  Rotation,
  Speed,
  TemporalFrequency,
)

__all__ = ["PROBES", "Media", "Probe", "RegionMotion", "from_inputs"]

PROBES: tuple[Probe, ...] = (
  LineSteepness(),
  LineCoherence(),
  SpatialFrequency(),
  Lightness(),
  Redness(),
  Yellowness(),
  AppearanceHeight(),
  AppearanceSide(),
  AppearanceSpread(),
  Speed(),
  MotionAmount(),
  TemporalFrequency(),
  MotionSteepness(),
  MotionAxiality(),
  MovingShapeSteepness(),
  MovingShapeCoherence(),
  MotionRise(),
  OneWay(),
  Divergence(),
  Rotation(),
  MotionHeight(),
  MotionSide(),
  MotionSpread(),
)
