"""The ascent: one compiled step, over a batch of rows that do not know of each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
import contextlib
import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from tbvis.errors import UsageError
from tbvis.maximization import adam, kept, network, parameterizations, programs, regularizers, transforms
from tbvis.maximization import config as config_lib
from tbvis.maximization.snapshot import Snapshot
from tbvis.maximization.streams import Stream
from tbvis.models import geometry

if TYPE_CHECKING:
  import keras

# Data weights stay inside this range of their first value: beyond it a unit is dead, or needs no data.
_WEIGHT_RANGE = np.log(1e8)
# An activation below this part of a_hat counts as off.
_OFF = 0.02
# Calibration: weight of the rate of change, and the part of the gain that stays while Adam's rate falls.
_DAMPING = 4.0
_LEAST_GAIN = 0.3
# Field of a unit that sees the whole input of a network whose own stride and kernels do not tell it (fc6 to prediction of VGG-16).
_WHOLE_FIELD = 404
# Of a map with an axis of chunks that is not folded: rows, chunks, height, width, units.
_CHUNKS_RANK = 5


@contextlib.contextmanager
def _own_errors() -> Iterator[None]:
  """Raises a `UsageError` of the block as itself: while a graph is made, AutoGraph puts it into the text of an error of its own."""
  try:
    yield
  except Exception as error:
    _, mark, told = str(error).rpartition(f"{UsageError.__name__}: ")
    if isinstance(error, UsageError) or not mark:
      raise
    raise UsageError(told.strip()) from error


def _level(relative: tf.Tensor) -> tf.Tensor:
  """Returns the logarithm of activation over a_hat, of `_OFF` at least."""
  return tf.math.log(tf.maximum(relative, _OFF))


@dataclasses.dataclass(frozen=True, eq=False)
class Rows:
  """What a batch searches.

  Attributes:
    names: of each row's target, from which its start noise is drawn.
    parameters: by term, arrays (rows, ...) in the order of the term's form.
    scale: float32 (rows, terms), positive: a_hat of each target.
    kappa: spatial weights (rows,).
    chi: temporal weights (rows,).
    seed: of start noise and transforms.
  """

  names: Sequence[str]
  parameters: tuple[tuple[np.ndarray, ...], ...]
  scale: np.ndarray
  kappa: Sequence[float]
  chi: Sequence[float]
  seed: int = 0

  def __post_init__(self) -> None:
    scale = np.asarray(self.scale, np.float32)
    if scale.shape != (len(self.names), len(self.parameters)) or not np.all(scale > 0):
      raise UsageError(
        f"Expected a positive a_hat for each of {len(self.names)} rows and {len(self.parameters)} targets, received {scale.tolist()}."
      )
    object.__setattr__(self, "scale", scale)


@dataclasses.dataclass(frozen=True, eq=False)
class Result:
  """What the ascent found for a batch.

  Attributes:
    inputs: float32 (rows, H, W, frames, components) by stream.
    activations: float32 (rows, terms), of the network itself in float32, at the inputs.
    steps: int (logged,).
    history: float32 (logged, rows) by term.
    gradient: float32 (rows, terms): the largest mean absolute gradient of the target that a row's inputs ever had.
    natural: float32 (rows, terms): a_hat of each target, times the locations that it sums.
    kept_after: int (kept,): steps taken before each copy of the search.
    kept: float16 (kept, rows, h, w, frames, components) by stream, the copies; without streams where none was kept.
  """

  inputs: Mapping[str, np.ndarray]
  activations: np.ndarray
  steps: np.ndarray
  history: Mapping[str, np.ndarray]
  gradient: np.ndarray
  natural: np.ndarray
  kept_after: np.ndarray
  kept: Mapping[str, np.ndarray]


class Ascent:
  """Finds inputs that excite targets of given forms; compiled once, used for any number of batches.

  Args:
    model: the network, Functional; it is left as it was.
    terms: targets of a row, added up, each with a data weight of its own.
    streams: the network's inputs by name.
    canvas: side of the stimuli in pixels.
    config: the constants.
  """

  def __init__(
    self,
    model: keras.Model,
    terms: Sequence[programs.Term],
    streams: Mapping[str, Stream],
    canvas: int,
    config: config_lib.MaximizationConfig,
  ):
    table = geometry.layer_geometry(model, whole=True)
    self.terms = tuple(terms)
    self.canvas = canvas
    self.config = config
    layers = list(dict.fromkeys(tap.layer for term in self.terms for tap in term.taps))
    self.field = np.array([max(table[tap.layer].field or _WHOLE_FIELD for tap in term.taps) for term in self.terms], np.float32)
    self.times = [table[term.taps[0].layer].time for term in self.terms]
    self.net = network.CutNetwork(model, list(dict.fromkeys(tap for term in self.terms for tap in term.taps)))
    self.streams = {name: streams[name] for name in self.net.streams}
    stride = max(table[layer].stride or _whole_stride(table, table[layer].streams) for layer in layers)
    self.shifts = transforms.shift_range(config.jitter, stride)
    self.side = canvas + self.shifts - 1
    self._spaces = {name: self._space(stream) for name, stream in self.streams.items()}
    # How many locations each term sums: told by the maps, whose sizes are known once the step is traced.
    self._locations: list[int] = [1] * len(self.terms)
    self._folds = self._find_folds()
    self._compiled: dict[str, Any] | None = None

  def _shape(self, name: str) -> tuple[int, int, int, int]:
    """Returns (height, width, frames, components) of what is searched: room for every shift included."""
    return self.side, self.side, self._frames(name), self.streams[name].components

  def _frames(self, name: str) -> int:
    return self.streams[name].searched_frames(int(self.config.temporal_jitter))

  def _space(self, stream: Stream) -> parameterizations.Fourier | None:
    if self.config.parameterization == "pixels":
      return None
    return parameterizations.Fourier(stream, self.side, self._frames(stream.name), self.config.decay, self.config.decorrelate)

  def _compile(self, parameters: Any) -> dict[str, Any]:
    """Returns the compiled functions; `parameters` gives the structure of what rows differ in."""
    if self._compiled is None:
      # Any number of rows in one trace: a last, smaller batch needs no second compilation, and computes by the same graph.
      own = tf.nest.map_structure(lambda p: tf.TensorSpec((None, *p.shape[1:]), p.dtype), parameters)
      inputs = {name: tf.TensorSpec((None, *self._shape(name)), tf.float32) for name in self.streams}
      moments = {name: (spec, spec) for name, spec in inputs.items()}
      row, weights = tf.TensorSpec((None,), tf.float32), tf.TensorSpec((None, len(self.terms)), tf.float32)
      rows, scalar = {"scale": weights, "kappa": row, "chi": row}, tf.TensorSpec((), tf.float32)
      draw = tf.nest.map_structure(tf.TensorSpec.from_tensor, self._middle())
      self._update = tf.function(self._regularised_update, jit_compile=True)
      with _own_errors():
        self._values_and_gradient = tf.function(self._forward_backward).get_concrete_function(inputs, draw, own, weights)
        self._compiled = {
          "step": tf.function(self._ascend).get_concrete_function(inputs, moments, weights, weights, own, rows, draw, scalar, scalar),
          "own": tf.function(self._own_values).get_concrete_function(inputs, own),
        }
    return self._compiled

  def _windows(self, inputs: Mapping[str, tf.Tensor], draw: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Returns what the network sees of the searched inputs: transformed alike, in the model's own form."""
    config, result = self.config, {}
    for name, x in inputs.items():
      stream = self.streams[name]
      x = transforms.time_window(x, draw["time"], stream.frames, stream.parts)
      if config.zoom or config.rotation:
        x = transforms.turn(x, draw["plane"][0], draw["plane"][1])
      result[name] = stream.to_network(transforms.window(x, draw["shift"], self.canvas))
    return result

  def _find_folds(self) -> dict[network.Tap, int]:
    """Returns by tap how many chunks a network over several folds into the rows of a map there; found by trying it."""
    if all(stream.chunks < 2 for stream in self.streams.values()):
      return {}
    blank = {
      name: stream.to_network(tf.zeros((1, self.canvas, self.canvas, stream.frames, stream.components)))
      for name, stream in self.streams.items()
    }
    return {tap: int(values.shape[0]) for tap, values in self.net(blank).items()}

  def _values(self, maps: Mapping[network.Tap, tf.Tensor], parameters: Sequence[Sequence[tf.Tensor]]) -> tf.Tensor:
    """Returns the values of the targets (rows, terms)."""
    maps = {
      tap: tf.reshape(values, [-1, self._folds[tap], *values.shape[1:]]) if self._folds.get(tap, 1) > 1 else values
      for tap, values in maps.items()
    }
    self._locations = [_summed_locations(term.form, maps) for term in self.terms]
    chunked = self._chunked(maps)
    found = [programs.values(term.form, maps, own, chunked) for term, own in zip(self.terms, parameters, strict=True)]
    return tf.stack(found, axis=1)

  def _chunked(self, maps: Mapping[network.Tap, tf.Tensor]) -> frozenset[network.Tap]:
    """Returns the taps whose maps have an axis of chunks before their places: folded ones, and those of a convolution over chunks."""
    if all(stream.windows == 1 for stream in self.streams.values()):
      return frozenset()
    return frozenset(tap for tap, values in maps.items() if self._folds.get(tap, 1) > 1 or values.shape.rank == _CHUNKS_RANK)

  def _data_factors(self) -> np.ndarray:
    """Returns by what equation 1 divides a target besides a_hat: the field's area, or with `term_balance` the locations summed."""
    if self.config.term_balance:
      return 1 / np.array(self._locations, np.float32)
    return 1 / self.field**2

  def term_factors(self) -> dict[str, float]:
    """Returns what each term is multiplied by besides the printed constants: 1 / (rho^2 or locations) for targets, 1 / T for films."""
    spread = self.config.per_frame or self.config.term_balance
    factors = {f"data_{index}": float(factor) for index, factor in enumerate(self._data_factors())}
    return factors | {f"regularizers_{name}": 1 / self._frames(name) if spread else 1.0 for name in self.streams}

  def _forward_backward(
    self, inputs: Mapping[str, tf.Tensor], draw: Mapping[str, tf.Tensor], parameters: Any, weights: tf.Tensor
  ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    """Returns values (rows, terms) and the gradient by stream of the sum over rows of weighted values; rows never mix."""
    leak = network.Leak(self.config.relu_leak, self.config.leak_values)
    with tf.GradientTape(watch_accessed_variables=False) as tape:
      tape.watch(inputs)
      values = self._values(self.net(self._windows(inputs, draw), leak), parameters)
      total = tf.reduce_sum(values * weights * self._data_factors())
    return values, tape.gradient(total, inputs, unconnected_gradients=tf.UnconnectedGradients.ZERO)

  def _own_values(self, inputs: Mapping[str, tf.Tensor], parameters: Any) -> tf.Tensor:
    """Returns the targets' values at the middle of the searched inputs, by the network as it is, in float32."""
    return self._values(self.net(self._windows(inputs, self._middle()), float32=True), parameters)

  def _middle(self) -> dict[str, tf.Tensor]:
    margin = (self.shifts - 1) // 2
    return {
      "shift": tf.fill((2,), margin),
      "time": tf.constant(int(self.config.temporal_jitter) // 2, tf.int32),
      "plane": tf.constant([1.0, 0.0]),
    }

  def penalties(self, name: str, x: tf.Tensor, kappa: tf.Tensor, chi: tf.Tensor) -> dict[str, tf.Tensor]:
    """Returns both regularisers of one stream, weighted, (rows,) each (equations 2 and 3, section 3.4)."""
    config, stream = self.config, self.streams[name]
    pixels = float(self.side**2)
    scale = config.energy_scale / 6.5
    frames = self._frames(name) if config.per_frame or config.term_balance else 1
    energy = regularizers.LocalEnergy(config.energy_scale, config.exponent)(x) / (pixels * frames)
    if stream.frames > 1:
      # The appearances of several chunks are smooth in space as one appearance is; kappa is the motion's, or a film's.
      spatial = kappa if stream.is_flow or stream.windows == 1 else 1.0
      links = stream.time_weights(int(config.temporal_jitter))
      variation = regularizers.TotalVariation(spatial, chi, links)(x) * (config.motion_weight if stream.is_flow else 1.0) / frames
    elif stream.is_flow:
      variation = regularizers.TotalVariation(kappa)(x) * config.motion_weight / frames
    else:
      variation = regularizers.TotalVariation()(x)
    return {f"energy_{name}": energy, f"tv_{name}": variation / (pixels * scale**2)}

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
    new_inputs: dict[str, tf.Tensor] = {}
    new_moments: dict[str, Any] = {}
    terms: dict[str, tf.Tensor] = {}
    for name, x in inputs.items():
      with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(x)
        penalties = self.penalties(name, x, kappa, chi)
        total = tf.reduce_sum(tf.add_n(list(penalties.values())))
      gradient = tape.gradient(total, x) - data_gradient[name]
      space = self._spaces[name]
      z = x if space is None else space.inverse(x)
      gradient = gradient if space is None else space.pull_back(gradient)
      z, new_moments[name] = adam.adam_step(
        z, gradient, moments[name], step, rate, beta1=config.beta1, beta2=config.beta2, epsilon=config.epsilon
      )
      x = transforms.project(z if space is None else space(z), config.bound)
      new_inputs[name] = x
      terms |= penalties
      terms[f"contrast_{name}"] = tf.math.reduce_std(x, axis=(1, 2, 3, 4)) / transforms.NOISE_LEVEL
      terms[f"at_bound_{name}"] = transforms.at_bound(x, config.bound)
    return new_inputs, new_moments, terms

  def _balanced(self, gradient: Mapping[str, tf.Tensor]) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]:
    """Gives all inputs of a joint unit a target gradient of the same size, so that no one has to do all the work."""
    if not self.config.balance or len(self.terms) > 1 or len(gradient) < 2:
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
    parameters: Any,
    rows: Mapping[str, tf.Tensor],
    draw: Mapping[str, tf.Tensor],
    step: tf.Tensor,
    fall: tf.Tensor,
  ) -> tuple[Any, ...]:
    """One step of the ascent for all rows."""
    config = self.config
    # Equation 1: the weight of <a, e_c> is data_weight / (rho^2 a_hat).
    normal = tf.exp(weights) / rows["scale"]
    values, gradient = self._values_and_gradient(inputs, draw, parameters, normal)
    scale = normal * self._data_factors()
    size = tf.add_n([tf.reduce_mean(tf.abs(g), axis=(1, 2, 3, 4)) for g in gradient.values()])[:, None] / scale
    gradient, shares = self._balanced(gradient)
    rate = tf.constant(config.learning_rate, tf.float32) * fall
    inputs, moments, terms = self._update(inputs, moments, gradient, rows["kappa"], rows["chi"], step, rate)
    natural = rows["scale"] * np.array(self._locations, np.float32)
    relative = values / natural
    terms |= shares
    terms["activation"] = tf.reduce_sum(values, axis=1)
    terms["activation_over_a_hat"] = tf.reduce_sum(values, axis=1) / tf.reduce_sum(natural, axis=1)
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

  def start(self, seed: int, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Returns the start noise of rows, float32 (rows, side, side, frames, components) by stream."""
    result = {}
    for name, stream in self.streams.items():
      amplitude = self.config.motion_start if stream.is_flow else self.config.start
      drawn = {row: transforms.noise_start(seed, row, name, self._shape(name), amplitude) for row in dict.fromkeys(names)}
      noise = np.stack([drawn[row] for row in names])
      space = self._spaces[name]
      result[name] = noise if space is None else space(tf.constant(noise)).numpy()
    return result

  def gradient(self, inputs: Mapping[str, np.ndarray], parameters: Any) -> dict[str, np.ndarray]:
    """Returns the gradient of each row's own value at its inputs, without transforms and weights: what the ascent follows."""
    parameters = tf.nest.map_structure(tf.constant, parameters)
    self._compile(parameters)
    tensors = {stream: tf.constant(x, tf.float32) for stream, x in inputs.items()}
    rows = next(iter(tensors.values())).shape[0]
    # A weight of 1 on every value itself.
    ones = tf.ones((rows, len(self.terms)))
    _, gradient = self._values_and_gradient(tensors, self._middle(), parameters, ones / self._data_factors())
    return {stream: g.numpy() for stream, g in gradient.items()}

  def _draws(self, seed: int) -> list[dict[str, Any]]:
    """Returns the random transforms of every step."""
    config, steps = self.config, int(self.config.steps)
    shift = transforms.shifts(seed, steps, self.shifts)
    time = np.random.default_rng([seed, 0x71E]).integers(0, int(config.temporal_jitter) + 1, steps).astype(np.int32)
    plane = transforms.plane_draws(seed, steps, config.zoom, config.rotation)
    return [{"shift": tf.constant(s), "time": tf.constant(t), "plane": tf.constant(p)} for s, t, p in zip(shift, time, plane, strict=True)]

  def _begin(self, rows: Rows) -> dict[str, Any]:
    """Returns the state before the first step."""
    inputs = {name: tf.constant(x) for name, x in self.start(rows.seed, rows.names).items()}
    shape = rows.scale.shape
    return {
      "step": 0,
      "inputs": inputs,
      "moments": {name: (tf.zeros_like(x), tf.zeros_like(x)) for name, x in inputs.items()},
      "weights": tf.fill(shape, np.float32(np.log(max(self.config.data_weight, 1e-30)))),
      "level": tf.fill(shape, np.float32(np.log(_OFF))),
      "largest": np.zeros(shape, np.float32),
      "logged": [],
      "history": {},
      "kept": {},
    }

  def _pack(self, state: Mapping[str, Any]) -> dict[str, Any]:
    flat = {"step": state["step"], "weights": state["weights"], "level": state["level"], "largest": state["largest"]}
    flat |= {f"input_{name}": x for name, x in state["inputs"].items()}
    flat |= {f"moment{i}_{name}": pair[i] for name, pair in state["moments"].items() for i in (0, 1)}
    flat |= {f"history_{term}": np.stack(values) for term, values in state["history"].items()}
    flat |= {f"kept_{name}": np.stack(copies) for name, copies in state["kept"].items()}
    return {"logged": np.array(state["logged"], int), **{name: np.asarray(value) for name, value in flat.items()}}

  def _unpack(self, stored: Mapping[str, np.ndarray]) -> dict[str, Any]:
    history = {name.removeprefix("history_"): list(value) for name, value in stored.items() if name.startswith("history_")}
    return {
      "step": int(stored["step"]),
      "inputs": {name: tf.constant(stored[f"input_{name}"]) for name in self.streams},
      "moments": {name: tuple(tf.constant(stored[f"moment{i}_{name}"]) for i in (0, 1)) for name in self.streams},
      "weights": tf.constant(stored["weights"]),
      "level": tf.constant(stored["level"]),
      "largest": stored["largest"],
      "logged": stored["logged"].tolist(),
      "history": history,
      "kept": {name: list(stored[f"kept_{name}"]) for name in self.streams if f"kept_{name}" in stored},
    }

  def _central(self, name: str, x: tf.Tensor) -> tf.Tensor:
    """Returns what a stimulus is of the searched inputs of a stream: without the room for shifts."""
    margin, time, stream = (self.shifts - 1) // 2, int(self.config.temporal_jitter) // 2, self.streams[name]
    x = x[:, margin : margin + self.canvas, margin : margin + self.canvas]
    return transforms.time_window(x, tf.constant(time), stream.frames, stream.parts)

  def run(self, rows: Rows, on_step: Callable[[int], None] | None = None, snapshot: Snapshot | None = None) -> Result:
    """Searches all rows together.

    Args:
      rows: what to search.
      on_step: called with the 0-based step after each, those of an earlier run included.
      snapshot: where the state is kept between runs.
    """
    config, steps = self.config, int(self.config.steps)
    parameters = tf.nest.map_structure(tf.constant, rows.parameters)
    compiled = self._compile(parameters)
    fixed = {
      "scale": tf.constant(rows.scale),
      "kappa": tf.constant(rows.kappa, tf.float32),
      "chi": tf.constant(rows.chi, tf.float32),
    }
    kept_after = kept.kept_after(steps, config.kept_steps)
    largest = kept.largest_side(sum(stream.frames for stream in self.streams.values()))
    stored = snapshot.load() if snapshot else None
    state = self._unpack(stored) if stored else self._begin(rows)
    for step, draw in enumerate(self._draws(rows.seed)):
      if step >= state["step"]:
        if step in kept_after:
          for name, x in state["inputs"].items():
            state["kept"].setdefault(name, []).append(kept.small_copy(self._central(name, x), largest))
        fall = adam.falling_rate(step, steps, config.final_rate)
        state["inputs"], state["moments"], state["weights"], state["level"], size, terms = compiled["step"](
          state["inputs"], state["moments"], state["weights"], state["level"], parameters, fixed, draw,
          tf.constant(step + 1, tf.float32), tf.constant(fall, tf.float32),
        )  # fmt: skip
        state["step"] = step + 1
        if step % config.log_every == 0 or step == steps - 1:
          state["logged"].append(step)
          state["largest"] = np.maximum(state["largest"], size.numpy())
          for name, values in terms.items():
            state["history"].setdefault(name, []).append(values.numpy())
        if snapshot and snapshot.due(step):
          snapshot.save(self._pack(state))
      if on_step:
        on_step(step)
    activations = compiled["own"](state["inputs"], parameters).numpy()
    return Result(
      {name: self._central(name, x).numpy() for name, x in state["inputs"].items()},
      activations,
      np.array(state["logged"]),
      {name: np.stack(values) for name, values in state["history"].items()},
      state["largest"],
      rows.scale * np.array(self._locations, np.float32),
      np.array(kept_after, int),
      {name: np.stack(copies) for name, copies in state["kept"].items()},
    )


def _whole_stride(table: Mapping[str, geometry.LayerGeometry], streams: Sequence[str]) -> int:
  """Returns the stride of the last map before a layer that sees everything."""
  return max(g.stride for g in table.values() if g.stride and set(g.streams) <= set(streams))


def _summed_locations(form: programs.Form, maps: Mapping[network.Tap, tf.Tensor]) -> int:
  """Returns how many locations a form adds up, 1 where it takes one or their mean."""
  if form[0] in ("unit", "direction"):
    return int(np.prod(maps[form[1]].shape[1:-1], dtype=int)) if form[2] == "sum" else 1
  return max((_summed_locations(part, maps) for part in form[1:] if isinstance(part, tuple) and part), default=1)
