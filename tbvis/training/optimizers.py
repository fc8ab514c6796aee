"""Optimisers with a learning rate of its own for some layers, on any Keras backend."""

from __future__ import annotations

import math
from typing import Any

import keras

from tbvis.training.recipe import Phase


def _layerwise(base: type[keras.optimizers.Optimizer]) -> type[keras.optimizers.Optimizer]:
  class Layerwise(base):
    """`base` with a factor on the learning rate by variable path."""

    def __init__(self, factors: dict[str, float], **kwargs: Any):
      super().__init__(**kwargs)
      self._factors = factors

    def build(self, variables: Any) -> None:
      # The TensorFlow backend hands update_step its own variables, which know no path: keep factors by index.
      self._factor_by_index = [self._factors.get(v.path.split("/")[-2], 1.0) for v in variables]
      super().build(variables)

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
      factor = self._factor_by_index[self._get_variable_index(variable)]
      super().update_step(gradient, variable, learning_rate * factor)

  return Layerwise


@keras.saving.register_keras_serializable("tbvis")
class WarmupCosine(keras.optimizers.schedules.LearningRateSchedule):
  """A linear rise, then a cosine fall to a hundredth."""

  def __init__(self, peak: float, steps: int, warmup: int):
    super().__init__()
    self.peak, self.steps, self.warmup = peak, steps, warmup

  def __call__(self, step: Any) -> Any:
    """Returns the rate at a step."""
    step = keras.ops.cast(step, "float32")
    rise = keras.ops.minimum(1.0, (step + 1.0) / max(1, self.warmup))
    done = keras.ops.clip((step - self.warmup) / max(1, self.steps - self.warmup), 0.0, 1.0)
    return self.peak * rise * (0.01 + 0.99 * 0.5 * (1.0 + keras.ops.cos(math.pi * done)))

  def get_config(self) -> dict[str, Any]:
    """Returns the arguments of the constructor."""
    return {"peak": self.peak, "steps": self.steps, "warmup": self.warmup}


def layer_factors(model: keras.Model, phase: Phase) -> dict[str, float]:
  """Returns the factor on the learning rate of every layer whose factor is not 1."""
  factors = {}
  for layer in model.layers:
    if layer.name.startswith(("fc6", "fc7", "prediction")):
      factors[layer.name] = phase.head_factor
    elif layer.name.startswith("conv1_1"):
      factors[layer.name] = phase.first_layer_factor
  return factors


def make_optimizer(model: keras.Model, phase: Phase) -> keras.optimizers.Optimizer:
  """Returns the optimiser of a phase.

  Raises:
    ValueError: for an unknown optimiser.
  """
  shared = {
    "factors": layer_factors(model, phase),
    "learning_rate": WarmupCosine(phase.learning_rate, phase.steps, phase.warmup_steps),
    "global_clipnorm": phase.clip_norm,
    "weight_decay": phase.weight_decay or None,
  }
  if phase.optimizer == "sgd":
    optimizer = _layerwise(keras.optimizers.SGD)(momentum=phase.momentum, **shared)
  elif phase.optimizer == "adam":
    optimizer = _layerwise(keras.optimizers.Adam)(beta_1=phase.momentum, **shared)
  else:
    raise ValueError(f"Invalid value for argument `optimizer`. Expected 'sgd' or 'adam'. Received: optimizer={phase.optimizer!r}")
  if phase.weight_decay:
    optimizer.exclude_from_weight_decay(var_names=["bias"])
  return optimizer
