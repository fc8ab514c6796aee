"""The ascent: one compiled step, over a batch of rows that do not know of each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
import dataclasses
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tbvis.errors import UsageError
from tbvis.maximization import adam, objectives, regularizers, transforms
from tbvis.maximization import config as config_lib
from tbvis.models import geometry

COMPONENTS = {"appearance": (1, 3), "motion": (10, 2)}
# Data weights stay inside this range of their first value: beyond it a unit is dead, or needs no data.
_WEIGHT_RANGE = np.log(1e8)
# An activation below this part of a_hat counts as off.
_OFF = 0.02
# Calibration: weight of the rate of change, and the part of the gain that stays while Adam's rate falls.
_DAMPING = 4.0
_LEAST_GAIN = 0.3


def _level(relative: tf.Tensor) -> tf.Tensor:
  """Returns the logarithm of activation over a_hat, of `_OFF` at least."""
  return tf.math.log(tf.maximum(relative, _OFF))


@dataclasses.dataclass(frozen=True, eq=False)
class Result:
  """What the ascent found for a batch.

  Attributes:
    inputs: float32 (rows, H, W, frames, components) by stream.
    activations: float32 (rows, layers), at the inputs.
    steps: int (logged,).
    history: float32 (logged, rows) by term.
    gradient: float32 (rows, layers): the largest mean absolute gradient of the target that a row's inputs ever had.
  """

  inputs: Mapping[str, np.ndarray]
  activations: np.ndarray
  steps: np.ndarray
  history: Mapping[str, np.ndarray]
  gradient: np.ndarray


class _LeakyGradient(keras.layers.Layer):
  """A ReLU that lets a part of the gradient through where it is off; its values are those of a ReLU."""

  def __init__(self, slope: float, **kwargs: Any):
    super().__init__(**kwargs)
    self._slope = slope

  def call(self, x: tf.Tensor) -> tf.Tensor:
    """Returns max(x, 0)."""

    @tf.custom_gradient
    def rectify(x: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
      return tf.nn.relu(x), lambda upstream: tf.where(x > 0, upstream, self._slope * upstream)

    return rectify(x)


def _is_relu(layer: keras.Layer) -> bool:
  return isinstance(layer, keras.layers.ReLU) or getattr(layer, "activation", None) is keras.activations.relu and not layer.weights


def leaky(net: keras.Model, slope: float, values: bool = False) -> keras.Model:
  """Returns the network with ReLUs that pass `slope` of the gradient where they are off; its weights are shared.

  A ReLU that is off hides everything below it from the search: a unit of a fused layer whose motion channel is off at the
  start noise would keep noise for its motion.

  Args:
    net: the network.
    slope: part of the gradient that passes; 0 leaves the network as it is.
    values: whether the values leak too, as in nnpreimage (METHOD 2.3); otherwise they are the network's own.
  """
  if not slope:
    return net

  rectifier = keras.layers.LeakyReLU if values else _LeakyGradient

  def shared(layer: keras.Layer) -> keras.Layer:
    return rectifier(slope, name=f"{layer.name}_leak", dtype=layer.dtype_policy) if _is_relu(layer) else layer

  return keras.models.clone_model(net, clone_function=shared)


def cut(model: keras.Model, layers: Sequence[str]) -> tuple[keras.Model, tuple[str, ...]]:
  """Cuts a network at layers, with the inputs that they need and no others; the network itself is left as it is.

  Returns:
    A model from a dict of inputs to a list of maps (N, h, w, units), and the names of its inputs.
  """
  table = geometry.layer_geometry(model)
  streams = tuple(s for s in COMPONENTS if any(s in table[layer].streams for layer in layers))
  by_name = {tensor.name.split(":")[0]: tensor for tensor in model.inputs}
  outputs = []
  for layer in layers:
    output = model.get_layer(layer).output
    if len(output.shape) != 4:
      # A convolution over chunks: (N, T, h, w, C) with T = 1.
      output = keras.ops.squeeze(output, axis=1)
    outputs.append(output)
  return keras.Model({stream: by_name[stream] for stream in streams}, outputs), streams


class Ascent:
  """Finds inputs that excite units of given layers; compiled once, used for any number of batches.

  Args:
    model: the network, Functional, inputs `appearance` (N, H, W, 3) and `motion` (N, H, W, 20).
    layers: layers whose values are summed, each of the same channel.
    canvas: side of the stimuli in pixels.
    config: the constants.
  """

  def __init__(self, model: keras.Model, layers: Sequence[str], canvas: int, config: config_lib.MaximizationConfig):
    table = geometry.layer_geometry(model)
    self.layers = tuple(layers)
    self.canvas = canvas
    self.config = config
    self.field = np.array([table[layer].field for layer in layers], np.float32)
    self.net, self.streams = cut(model, layers)
    self._leaky = leaky(self.net, config.relu_leak, config.leak_values)
    self.shifts = transforms.shift_range(config.jitter, max(table[layer].stride for layer in layers))
    self.side = canvas + self.shifts - 1
    # Fixed ranks and sizes, any number of rows: a last, smaller batch needs no second compilation.
    self._values_and_gradient = tf.function(self._forward_backward, reduce_retracing=True)
    self._step = tf.function(self._ascend, reduce_retracing=True)
    self._update = tf.function(self._regularised_update, jit_compile=True)

  def _values(self, net: keras.Model, inputs: Mapping[str, tf.Tensor], shift: tf.Tensor, channels: tf.Tensor) -> tf.Tensor:
    """Returns the target values (rows, layers) that a network has at the window at `shift`."""
    windows = {}
    for stream, x in inputs.items():
      frames, components = COMPONENTS[stream]
      x = tf.reshape(x, [-1, self.side, self.side, frames * components])
      windows[stream] = transforms.window(x, shift, self.canvas)
    maps = net(windows, training=False)
    maps = maps if isinstance(maps, list) else [maps]
    return tf.stack([objectives.unit_values(m, channels, self.config.location) for m in maps], axis=1)

  def _forward_backward(
    self, inputs: Mapping[str, tf.Tensor], shift: tf.Tensor, channels: tf.Tensor, scale: tf.Tensor
  ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    """Returns values (rows, layers) and the gradient by stream of the sum over rows of scale * value; rows never mix."""
    with tf.GradientTape(watch_accessed_variables=False) as tape:
      tape.watch(inputs)
      values = self._values(self._leaky, inputs, shift, channels)
      total = tf.reduce_sum(values * scale)
    return values, tape.gradient(total, inputs)

  def _penalties(self, stream: str, x: tf.Tensor, kappa: tf.Tensor, chi: tf.Tensor) -> dict[str, tf.Tensor]:
    """Returns both regularisers of one stream, weighted, (rows,) each (equations 2 and 3, section 3.4)."""
    config = self.config
    pixels = float(self.side**2)
    scale = config.energy_scale / 6.5
    frames = COMPONENTS[stream][0] if config.per_frame else 1
    energy = regularizers.LocalEnergy(config.energy_scale, config.exponent)(x) / (pixels * frames)
    if stream == "motion":
      variation = config.motion_weight * regularizers.TotalVariation(kappa, chi)(x) / frames
    else:
      variation = regularizers.TotalVariation()(x)
    return {f"energy_{stream}": energy, f"tv_{stream}": variation / (pixels * scale**2)}

  def _regularised_update(
    self,
    inputs: Mapping[str, tf.Tensor],
    moments: Mapping[str, Any],
    data_gradient: Mapping[str, tf.Tensor],
    kappa: tf.Tensor,
    chi: tf.Tensor,
    step: tf.Tensor,
    rate: tf.Tensor,
  ) -> tuple[dict[str, tf.Tensor], dict[str, Any], dict[str, tf.Tensor]]:
    """Adds the regularisers' gradients in float32, takes Adam's step and projects onto the norm bound."""
    config = self.config
    new_inputs, new_moments, terms = {}, {}, {}
    for stream, x in inputs.items():
      with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(x)
        penalties = self._penalties(stream, x, kappa, chi)
        total = tf.reduce_sum(tf.add_n(list(penalties.values())))
      gradient = tape.gradient(total, x) - data_gradient[stream]
      x, new_moments[stream] = adam.adam_step(
        x, gradient, moments[stream], step, rate, beta1=config.beta1, beta2=config.beta2, epsilon=config.epsilon
      )
      new_inputs[stream] = transforms.project(x, config.bound)
      terms |= penalties
      terms[f"contrast_{stream}"] = tf.math.reduce_std(new_inputs[stream], axis=(1, 2, 3, 4)) / transforms.NOISE_LEVEL
    return new_inputs, new_moments, terms

  def _balanced(self, gradient: Mapping[str, tf.Tensor]) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]:
    """Gives both inputs of a joint unit a target gradient of the same size, so that neither has to do all the work."""
    if not self.config.balance or len(self.layers) > 1 or len(gradient) < 2:
      return dict(gradient), {}
    sizes = {stream: tf.sqrt(tf.reduce_mean(tf.square(g), axis=(1, 2, 3, 4))) for stream, g in gradient.items()}
    common = tf.exp(tf.add_n([tf.math.log(tf.maximum(size, 1e-30)) for size in sizes.values()]) / len(sizes))
    most = tf.constant(self.config.balance, tf.float32)
    factors = {stream: tf.clip_by_value(common / tf.maximum(size, 1e-30), 1 / most, most) for stream, size in sizes.items()}
    balanced = {stream: g * factors[stream][:, None, None, None, None] for stream, g in gradient.items()}
    return balanced, {f"balance_{stream}": factor for stream, factor in factors.items()}

  def _ascend(
    self,
    inputs: Mapping[str, tf.Tensor],
    moments: Mapping[str, Any],
    weights: tf.Tensor,
    before: tf.Tensor,
    rows: Mapping[str, tf.Tensor],
    shift: tf.Tensor,
    step: tf.Tensor,
    fall: tf.Tensor,
  ) -> tuple[Any, ...]:
    """One step of the ascent for all rows."""
    config = self.config
    # Equation 1: the weight of <a, e_c> is data_weight / (rho^2 a_hat).
    scale = tf.exp(weights) / (self.field**2 * rows["a_hat"])
    values, gradient = self._values_and_gradient(inputs, shift, rows["channels"], scale)
    size = tf.add_n([tf.reduce_mean(tf.abs(g), axis=(1, 2, 3, 4)) for g in gradient.values()])[:, None] / scale
    gradient, shares = self._balanced(gradient)
    rate = tf.constant(config.learning_rate, tf.float32) * fall
    inputs, moments, terms = self._update(inputs, moments, gradient, rows["kappa"], rows["chi"], step, rate)
    relative = values / rows["a_hat"]
    terms |= shares
    terms["activation"] = tf.reduce_sum(values, axis=1)
    terms["activation_over_a_hat"] = tf.reduce_sum(values, axis=1) / tf.reduce_sum(rows["a_hat"], axis=1)
    terms["data"] = tf.reduce_sum(scale * values, axis=1)
    terms["data_weight"] = tf.exp(tf.reduce_mean(weights, axis=1))
    if config.calibrate:
      # Control of each row by itself, in logarithms: up while the unit is below its target, down while it is above, and held
      # back by how fast the unit rises already, since an activation follows its weight some steps later.
      level = _level(relative)
      error = tf.clip_by_value(np.log(config.target).astype(np.float32) - level, -1.0, 1.0)
      gain = config.calibration_rate * tf.maximum(fall, _LEAST_GAIN)
      weights = weights + gain * (error - _DAMPING * tf.clip_by_value(level - before, -0.5, 0.5))
      first = np.log(max(config.data_weight, 1e-30)).astype(np.float32)
      weights = tf.clip_by_value(weights, first - _WEIGHT_RANGE, first + _WEIGHT_RANGE)
    return inputs, moments, weights, _level(relative), size, terms

  def start(self, seed: int, units: Sequence[str]) -> dict[str, np.ndarray]:
    """Returns the start noise of rows, float32 (rows, side, side, frames, components) by stream."""
    amplitudes = {"appearance": self.config.start, "motion": self.config.motion_start}
    result = {}
    for stream in self.streams:
      shape = (self.side, self.side, *COMPONENTS[stream])
      drawn = {unit: transforms.noise_start(seed, unit, stream, shape, amplitudes[stream]) for unit in dict.fromkeys(units)}
      result[stream] = np.stack([drawn[unit] for unit in units])
    return result

  def gradient(self, inputs: Mapping[str, np.ndarray], channels: Sequence[int]) -> dict[str, np.ndarray]:
    """Returns the gradient of each row's own value at its inputs, without shift and weights: what the ascent follows."""
    tensors = {stream: tf.constant(x, tf.float32) for stream, x in inputs.items()}
    scale = tf.ones((len(channels), len(self.layers)))
    _, gradient = self._values_and_gradient(tensors, tf.zeros(2, tf.int32), tf.constant(channels, tf.int32), scale)
    return {stream: g.numpy() for stream, g in gradient.items()}

  def run(
    self,
    units: Sequence[str],
    channels: Sequence[int],
    a_hat: np.ndarray,
    kappa: Sequence[float],
    chi: Sequence[float],
    seed: int = 0,
    on_step: Callable[[int], None] | None = None,
  ) -> Result:
    """Searches all rows together.

    Args:
      units: names, from which each row's start noise is drawn.
      channels: 0-based, one a row.
      a_hat: (rows, layers), positive.
      kappa: spatial weight of each row's motion.
      chi: temporal weight of each row's motion.
      seed: of start noise and shifts.
      on_step: called with the 0-based step after each.

    Raises:
      UsageError: if a_hat is not positive.
    """
    a_hat = np.asarray(a_hat, np.float32)
    if a_hat.shape != (len(units), len(self.layers)) or not np.all(a_hat > 0):
      raise UsageError(f"Expected a positive a_hat for each of {len(units)} rows and {len(self.layers)} layers, received {a_hat.tolist()}.")
    config = self.config
    rows = {
      "channels": tf.constant(channels, tf.int32),
      "a_hat": tf.constant(a_hat),
      "kappa": tf.constant(kappa, tf.float32),
      "chi": tf.constant(chi, tf.float32),
    }
    inputs = {stream: tf.constant(x) for stream, x in self.start(seed, units).items()}
    moments = {stream: (tf.zeros_like(x), tf.zeros_like(x)) for stream, x in inputs.items()}
    weights = tf.fill(a_hat.shape, np.float32(np.log(max(config.data_weight, 1e-30))))
    level = tf.fill(a_hat.shape, np.float32(np.log(_OFF)))
    steps = int(config.steps)
    logged: list[int] = []
    history: dict[str, list[np.ndarray]] = {}
    largest = np.zeros(a_hat.shape, np.float32)
    for step, shift in enumerate(transforms.shifts(seed, steps, self.shifts)):
      fall = adam.falling_rate(step, steps, config.final_rate)
      inputs, moments, weights, level, size, terms = self._step(
        inputs, moments, weights, level, rows, tf.constant(shift), tf.constant(step + 1, tf.float32), tf.constant(fall, tf.float32)
      )
      if step % config.log_every == 0 or step == steps - 1:
        logged.append(step)
        largest = np.maximum(largest, size.numpy())
        for name, values in terms.items():
          history.setdefault(name, []).append(values.numpy())
      if on_step:
        on_step(step)
    margin = (self.shifts - 1) // 2
    activations = self._values(self.net, inputs, tf.fill((2,), margin), rows["channels"]).numpy()
    inside = slice(margin, margin + self.canvas)
    return Result(
      {stream: x.numpy()[:, inside, inside] for stream, x in inputs.items()},
      activations,
      np.array(logged),
      {name: np.stack(values) for name, values in history.items()},
      largest,
    )
