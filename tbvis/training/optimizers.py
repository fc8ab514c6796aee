"""Optimisers with a learning rate of its own for some layers and biases, on any Keras backend."""

from __future__ import annotations

from collections.abc import Sequence
import math
from typing import Any

import keras

from tbvis.models import geometry
from tbvis.training.recipe import Phase

# A normalisation's factors and shifts are no kernels either.
_NEVER_DECAY = ("bias", "gamma", "beta")


def _layerwise(base: type[keras.optimizers.Optimizer]) -> type[keras.optimizers.Optimizer]:
  class Layerwise(base):
    """`base` with a factor on the learning rate by layer, and one for biases.

    Args:
      factors: by layer name; 1 for the others.
      bias_factor: factor for biases, besides their layer's.
      decay: weight decay of kernels, added to their gradients.
      head_steps: updates before which every layer but the classifiers rests.
    """

    def __init__(self, factors: dict[str, float], bias_factor: float = 1.0, decay: float = 0.0, head_steps: int = 0, **kwargs: Any):
      super().__init__(**kwargs)
      self._factors, self._bias_factor = factors, bias_factor
      self._decay, self._head_steps = decay, head_steps

    def build(self, variables: Any) -> None:
      # The TensorFlow backend hands update_step its own variables, which know no path: keep what is theirs by index.
      names = [v.path.split("/")[-2:] for v in variables]
      self._factor_by_index = [self._factors.get(layer, 1.0) * (self._bias_factor if weight == "bias" else 1.0) for layer, weight in names]
      self._decay_by_index = [self._decay if weight == "kernel" else 0.0 for _, weight in names]
      self._is_head_by_index = [layer.startswith("prediction") for layer, _ in names]
      super().build(variables)

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
      index = self._get_variable_index(variable)
      if self._decay_by_index[index]:
        gradient = gradient + self._decay_by_index[index] * keras.ops.cast(variable, gradient.dtype)
      factor = self._factor_by_index[index]
      if self._head_steps and not self._is_head_by_index[index]:
        factor = factor * keras.ops.cast(self.iterations >= self._head_steps, learning_rate.dtype)
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


@keras.saving.register_keras_serializable("tbvis")
class Staircase(keras.optimizers.schedules.LearningRateSchedule):
  """Rates that hold until the update at which each ends; the last one goes on."""

  def __init__(self, rates: Sequence[float], ends: Sequence[int]):
    super().__init__()
    self.rates, self.ends = tuple(rates), tuple(ends)

  def __call__(self, step: Any) -> Any:
    """Returns the rate at a step."""
    step = keras.ops.cast(step, "float32")
    rate = keras.ops.convert_to_tensor(self.rates[-1], "float32")
    for value, end in zip(self.rates[-2::-1], self.ends[-2::-1], strict=True):
      rate = keras.ops.where(step < end, value, rate)
    return rate

  def get_config(self) -> dict[str, Any]:
    """Returns the arguments of the constructor."""
    return {"rates": self.rates, "ends": self.ends}


def layer_factors(model: keras.Model, phase: Phase) -> dict[str, float]:
  """Returns the factor on the learning rate of every layer whose factor is not 1."""
  factors = {}
  first = _first_layers(model) if phase.first_layer_factor != 1 else set()
  for layer in model.layers:
    if layer.name.startswith(("fc6", "fc7", "prediction")):
      factors[layer.name] = phase.head_factor
    elif layer.name in first:
      factors[layer.name] = phase.first_layer_factor
  return factors


def _first_layers(model: keras.Model) -> set[str]:
  """Returns the first layer with weights behind each input, where the model has it."""
  found: dict[tuple[str, ...], str] = {}
  for name, place in geometry.layer_geometry(model, whole=True).items():
    if model.get_layer(name).weights:
      found.setdefault(place.streams, name)
  return {name for streams, name in found.items() if len(streams) == 1}


def make_optimizer(model: keras.Model, phase: Phase, clip: bool = True) -> keras.optimizers.Optimizer:
  """Returns the optimiser of a phase; with `clip` it bounds the gradient itself.

  Raises:
    ValueError: for an unknown optimiser.
    UsageError: for a staircase of rates that `Phase.parts` refuses.
  """
  parts = phase.parts()
  if parts:
    rate: Any = Staircase([part.rate for part in parts], [part.end for part in parts])
  else:
    rate = WarmupCosine(phase.learning_rate, phase.steps, phase.warmup_steps)
  shared = {
    "factors": layer_factors(model, phase),
    "bias_factor": phase.bias_factor,
    "head_steps": max((part.end for part in parts if part.head_only), default=0),
    "learning_rate": rate,
    "global_clipnorm": (phase.clip_norm if clip else 0) or None,
  }
  if phase.optimizer == "sgd":
    return _layerwise(keras.optimizers.SGD)(momentum=phase.momentum, decay=phase.weight_decay, **shared)
  if phase.optimizer == "adam":
    optimizer = _layerwise(keras.optimizers.Adam)(beta_1=phase.momentum, weight_decay=phase.weight_decay or None, **shared)
    if phase.weight_decay:
      optimizer.exclude_from_weight_decay(var_names=list(_NEVER_DECAY))
    return optimizer
  raise ValueError(f"Invalid value for argument `optimizer`. Expected 'sgd' or 'adam'. Received: optimizer={phase.optimizer!r}")
