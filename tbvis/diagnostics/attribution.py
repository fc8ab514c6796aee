"""Where a network looked: maps over each stream's picture, for a score or any unit, taken at the inputs or at any layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
import dataclasses
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tbvis.diagnostics import excitation, places
from tbvis.errors import UsageError, unknown_name
from tbvis.maximization import network, objectives, programs
from tbvis.models import activations, geometry
from tbvis.records import INPUTS, TOWERS, fusion_weights
from tbvis.units import Unit, unit_layers

# Convolutions that stand for dense layers, with their ReLUs.
_DENSE = ("fc6", "relu6", "fc7", "relu7", "prediction", "scores")
METHODS = ("gradient_times_input", "grad_cam", "excitation_backprop")


def class_score(class_name: str, tower: str = "fused", towers: Sequence[str] = ("hybrid", "motion")) -> objectives.Objective:
  """Returns the score of a class before the softmax, as an objective; "fused" is the sum by `records.fusion_weights`.

  Differences tell what speaks for one class rather than another: `class_score("a") - class_score("b")`.

  Args:
    class_name: the class.
    tower: whose score.
    towers: those of the network, of which "fused" is made.

  >>> class_score("PlayingCello", "hybrid").name
  'scores_hybrid/PlayingCello'
  """
  if tower not in TOWERS:
    raise unknown_name("tower", tower, TOWERS)
  if tower == "fused":
    first, *others = (weight * class_score(class_name, name) for name, weight in fusion_weights(towers).items())
    return sum(others, first)
  return objectives.unit(f"scores_{tower}/{class_name}")


def last_layer(model: keras.Model, wanted: str = "conv5_3") -> str:
  """Returns a layer at whose places a network may be asked where it looked: the one that is wanted, or else the last one with a map.

  That is what goes into the pool before the classifiers: in a network of branches where they are joined, and of several towers
  the name without a tower, which is each one's own.

  Raises:
    UsageError: if the network has no map of several places.
  """
  named = unit_layers(model)
  if wanted in named:
    return wanted
  found = [name for name in geometry.layer_geometry(model) if name in named and _is_map(model, name)]
  if not found:
    raise UsageError(f"Expected a network with convolutions, or --layer, found neither {wanted} nor any other.")
  bare = next((found[-1].removesuffix(f"_{stream}") for stream in INPUTS if found[-1].endswith(f"_{stream}")), found[-1])
  return bare if bare in named else found[-1]


def _is_map(model: keras.Model, name: str) -> bool:
  """Tells whether a layer's values are of places, rather than of the pool, the dense layers or the classifiers at the end."""
  kinds = (keras.layers.Conv2D, keras.layers.Conv3D, keras.layers.ReLU, keras.layers.Activation, keras.layers.Concatenate, keras.layers.Add)
  layer = model.get_layer(name)
  return isinstance(geometry.inner_layer(layer), kinds) and not name.startswith(_DENSE)


@dataclasses.dataclass(frozen=True, eq=False)
class Attribution:
  """Where a network looked.

  Attributes:
    values: float32 (N,), the target's value, before the softmax.
    maps: by stream, float32 (N[, T], H, W), non-negative: what speaks for the target.
    signed: by stream, the same with what speaks against it below zero.
    totals: by stream, float32 (N,): the sum of the signed contributions over all places of the layer.
  """

  values: np.ndarray
  maps: dict[str, np.ndarray]
  signed: dict[str, np.ndarray]
  totals: dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class _Place:
  """A layer that is looked at: `tap` of None is a stream's input."""

  tap: network.Tap | None
  streams: tuple[str, ...]
  offset: float = 0.0
  stride: int = 1


class Attributor:
  """Attributes targets of one network to places, by one method at one layer.

  What is compiled serves all targets of one form (such as the fused scores of all classes) and all batches of one size.

  - "gradient_times_input": a * df/da summed over channels (Shrikumar et al., arXiv 1605.01713). Over the inputs of a network
    without biases and with ReLUs it adds up to the score itself.
  - "grad_cam": sum_k alpha_k A_k, alpha_k the mean over places of df/dA_k (Selvaraju et al., ICCV 2017), its positive part being
    the map. Needs a layer.
  - "excitation_backprop": see `tbvis.diagnostics.excitation`. The target's places share 1 by how active they are (evenly where none
    is), a sum of units by its factors; of a difference the maps are what is left of the first when the second is taken off, as in the
    paper's contrastive variant with another class in the place of the negated one. Through several dense layers the maps of all
    classes become one (Sixt, Granz & Landgraf, "When Explanations Lie", ICML 2020): they tell where a network looked, and
    little of what for. Take a difference, or another method, for what tells two classes apart.

  A layer stands for its values after its ReLU. A layer of one stream gives that stream's map, one without its tower ("conv5_3")
  each stream's own, and one that several streams reach ("conv5_fusion") the same map for each. Maps of a layer are drawn at the
  input's size, linear between the centres of its receptive fields.

  Args:
    model: a Functional network; it is only read.
    method: one of `METHODS`.
    layer: where to look; None is the inputs.
    classes: names of the network's classes.
    location: where on the map a unit counts that does not say so: "mean", "sum", "center" or "y,x".

  Raises:
    UsageError: for an unknown method or layer, or a layer without places.

  >>> from tbvis.models import two_stream
  >>> net = two_stream.two_stream_fusion_vgg16(2, width=0.05, input_size=32, fc_units=4)
  >>> look = Attributor(net, "grad_cam", "conv5_3", classes=["Archery", "Bowling"])
  >>> found = look({"appearance": np.ones((1, 33, 40, 3)), "motion": np.ones((1, 33, 40, 20))}, class_score("Archery"))
  >>> {stream: values.shape for stream, values in found.maps.items()}
  {'appearance': (1, 33, 40), 'motion': (1, 33, 40)}
  """

  def __init__(
    self,
    model: keras.Model,
    method: str = "gradient_times_input",
    layer: str | None = None,
    *,
    classes: Sequence[str] = (),
    location: str = "mean",
  ):
    if method not in METHODS:
      raise unknown_name("method", method, METHODS)
    if method == "grad_cam" and layer is None:
      raise UsageError("grad_cam: expected a layer, such as conv5_fusion or conv5_3, received none; it has no meaning at the inputs.")
    self.model, self.method, self.layer = model, method, layer
    self._classes, self._location = tuple(classes), location
    self._inputs = geometry.inputs_by_name(model)
    self._places = _places(model, layer)
    self._compiled: dict[Any, Callable[..., Any]] = {}

  def __call__(self, inputs: Mapping[str, np.ndarray | tf.Tensor], target: str | Unit | objectives.Objective) -> Attribution:
    """Attributes a target for a batch.

    Args:
      inputs: as the model takes them: "appearance" (N, H, W, 3) and "motion" (N, H, W, 20), with a chunk axis after N where it has one.
      target: a unit ("conv5_fusion/f021"), an output and a class ("scores_hybrid/PlayingCello"), a sum of such
        ("scores_motion/A - scores_motion/B"), a `Unit` or an `Objective` such as `class_score` gives. Units count after their ReLU.

    Raises:
      UsageError: for a stream that is missing or unknown, or has another shape, an unknown unit, or one that the layer is not before.
    """
    tensors = self._checked(inputs)
    program = _lowered(target, self.model, self._classes, self._location)
    parameters = [tf.constant(value) for value in program.parameters]
    key = program.form, tuple((name, tuple(tensor.shape[1:])) for name, tensor in tensors.items())
    if key not in self._compiled:
      self._compiled[key] = self._compile(program, tensors, parameters)
    values, *parts = self._compiled[key](tensors, parameters)
    return Attribution(values.numpy(), *({name: x.numpy() for name, x in part.items()} for part in parts))

  def _checked(self, inputs: Mapping[str, np.ndarray | tf.Tensor]) -> dict[str, tf.Tensor]:
    for name in inputs:
      if name not in self._inputs:
        raise unknown_name("stream", name, self._inputs, f"model {self.model.name!r}")
    tensors = {}
    for name, wanted in self._inputs.items():
      if name not in inputs:
        raise UsageError(f"Stream {name!r}: expected its inputs, received those of {', '.join(inputs) or 'none'}.")
      tensors[name] = tf.convert_to_tensor(inputs[name], tf.float32)
      if not _fits(wanted.shape, tensors[name].shape):
        raise UsageError(f"Stream {name!r}: expected inputs of shape {tuple(wanted.shape)}, received {tuple(tensors[name].shape)}.")
    rows = {name: int(tensor.shape[0]) for name, tensor in tensors.items()}
    if len(set(rows.values())) > 1:
      raise UsageError(f"Expected as many inputs of every stream, received {rows}.")
    return tensors

  def _compile(self, program: programs.Program, tensors: Mapping[str, tf.Tensor], parameters: Sequence[tf.Tensor]) -> Callable[..., Any]:
    """Returns the function of inputs and parameters for all targets of a form and any number of rows.

    Raises:
      UsageError: if no target depends on the layer, or a layer between has no rule.
    """
    targets = [tap.layer for tap in program.taps]
    own = [place.tap for place in self._places if place.tap]
    leading = {source.name for source in network.CutNetwork(self.model, program.taps).layers}
    if own and not any(tap.layer in leading for tap in own):
      raise UsageError(f"Layer {self.layer!r}: expected a layer that the target depends on, but {', '.join(targets)} does not.")
    net = network.CutNetwork(self.model, list(dict.fromkeys([*program.taps, *own])))
    if self.method == "excitation_backprop":
      excitation.check(net.layers)

    def run(inputs: dict[str, tf.Tensor], values: list[tf.Tensor]) -> tuple[tf.Tensor, ...]:
      return self._run(net, program, inputs, values)

    specs = {name: tf.TensorSpec((None, *tensor.shape[1:]), tf.float32, name=name) for name, tensor in tensors.items()}
    return tf.function(run, autograph=False).get_concrete_function(specs, [tf.TensorSpec.from_tensor(x) for x in parameters])

  def _run(
    self, net: network.CutNetwork, program: programs.Program, inputs: dict[str, tf.Tensor], parameters: Sequence[tf.Tensor]
  ) -> tuple[tf.Tensor, dict[str, tf.Tensor], dict[str, tf.Tensor], dict[str, tf.Tensor]]:
    rules = excitation.Rules(self.model) if self.method == "excitation_backprop" else None
    rows = tf.shape(next(iter(inputs.values())))[0]
    with tf.GradientTape() as tape:
      tape.watch(inputs)
      taken = net(inputs, float32=True, around=rules)
    targets = {tap: taken[tap] for tap in program.taps}
    values, seeds = _seeds(program, targets, [tf.repeat(value[None], rows, axis=0) for value in parameters])
    if rules:
      seeds = {tap: _prior(seed, rules.excitation.get(tap.layer, targets[tap])) for tap, seed in seeds.items()}
    sources = [taken[place.tap] if place.tap else inputs[place.streams[0]] for place in self._places]
    gradients = tape.gradient(
      list(targets.values()), sources, output_gradients=list(seeds.values()), unconnected_gradients=tf.UnconnectedGradients.ZERO
    )
    maps, signed, totals = {}, {}, {}
    for place, source, gradient in zip(self._places, sources, gradients, strict=True):
      found = _contributions(self.method, source, gradient)
      for stream in place.streams:
        shape = inputs[stream].shape
        margin = places.crop_margin(self.model, *shape[-3:-1])
        maps[stream] = _drawn(tf.nn.relu(found), place, shape, rows, margin)
        signed[stream] = _drawn(found, place, shape, rows, margin)
        totals[stream] = tf.reduce_sum(tf.reshape(found, (rows, -1)), axis=1)
    return values, maps, signed, totals


def _seeds(
  program: programs.Program, targets: Mapping[network.Tap, tf.Tensor], parameters: Sequence[tf.Tensor]
) -> tuple[tf.Tensor, dict[network.Tap, tf.Tensor]]:
  """Returns the target's values, and their gradient with respect to what is tapped."""
  targets = {tap: tf.stop_gradient(tensor) for tap, tensor in targets.items()}
  with tf.GradientTape() as tape:
    tape.watch(targets)
    values = programs.values(program.form, targets, parameters)
  return values, tape.gradient(values, targets)


def _fits(wanted: Sequence[int | None], received: Sequence[int]) -> bool:
  return len(wanted) == len(received) and all(w in (None, r) for w, r in zip(wanted, received, strict=True))


def _lowered(target: str | Unit | objectives.Objective, model: keras.Model, classes: Sequence[str], location: str) -> programs.Program:
  """Finds a target in a network: after its ReLU, but before any softmax."""
  if isinstance(target, str):
    target = objectives.parse(target)
  elif isinstance(target, Unit):
    target = objectives.unit(target)

  def lower(after: bool) -> programs.Program:
    return programs.lower(target, model, classes=classes, location=location, after=after)

  def softmaxes(program: programs.Program) -> list[str]:
    return [tap.layer for tap in program.taps if activations.is_softmax(model.get_layer(tap.layer), tap.after)]

  program = lower(after=True)
  if softmaxes(program):
    program = lower(after=False)
  if softmaxes(program):
    raise UsageError(f"Target {target.name!r}: expected values before the softmax, but {softmaxes(program)[0]!r} is one.")
  return program


def _places(model: keras.Model, layer: str | None) -> list[_Place]:
  """Returns where to look: the inputs, or a layer of each stream.

  Raises:
    UsageError: for an unknown layer, or one without places.
  """
  if layer is None:
    return [_Place(None, (name,)) for name in geometry.inputs_by_name(model)]
  table = unit_layers(model)
  if layer not in table:
    raise unknown_name("layer", layer, table, f"model {model.name!r}")
  grid, offsets = geometry.layer_geometry(model), places.centre_offsets(model)
  found = []
  for name in table[layer]:
    stride = grid[name].stride if name in grid else None
    if stride is None:
      raise UsageError(f"Layer {name!r}: expected a layer whose values have places, such as a convolution; it sees the whole input.")
    tap = network.Tap(network.rectifier_after(model, name) or name, after=True)
    found.append(_Place(tap, grid[name].streams, offsets[name], stride))
  return found


def _prior(seed: tf.Tensor, active: tf.Tensor) -> tf.Tensor:
  """Hands each unit's weight in the target out over its places, by how active they are."""
  axes = list(range(1, seed.shape.rank - 1))
  share = tf.abs(seed) * tf.nn.relu(active)
  total = tf.reduce_sum(share, axes, keepdims=True)
  share = tf.where(total > 0, share, tf.abs(seed))
  return tf.reduce_sum(seed, axes, keepdims=True) * tf.math.divide_no_nan(share, tf.reduce_sum(share, axes, keepdims=True))


def _contributions(method: str, values: tf.Tensor, gradient: tf.Tensor) -> tf.Tensor:
  """Returns signed contributions by place, (M, ..., h, w), of values (M, ..., h, w, channels)."""
  if method == "excitation_backprop":
    return tf.reduce_sum(gradient, axis=-1)
  if method == "grad_cam":
    gradient = tf.reduce_mean(gradient, axis=list(range(1, gradient.shape.rank - 1)), keepdims=True)
  return tf.reduce_sum(tf.cast(values, tf.float32) * gradient, axis=-1)


def _drawn(found: tf.Tensor, place: _Place, shape: tf.TensorShape, rows: tf.Tensor, margin: np.ndarray) -> tf.Tensor:
  """Returns contributions (M[, t], h, w) at the size of a stream's input (rows[, T], H, W, channels), `margin` behind its corner."""
  if place.tap is None:
    return found
  *chunks, height, width = shape.as_list()[1:-1]
  down = _weights(height, found.shape[-2], place, margin[0])
  across = _weights(width, found.shape[-1], place, margin[1])
  drawn = tf.einsum("yh,mhw,xw->myx", down, tf.reshape(found, (-1, *found.shape[-2:])), across)
  drawn = tf.reshape(drawn, (rows, -1, height, width))
  # Chunks that a pool has joined share one map.
  return tf.broadcast_to(drawn, (rows, chunks[0], height, width)) if chunks else drawn[:, 0]


def _weights(size: int, count: int, place: _Place, margin: int) -> np.ndarray:
  """Returns float32 (size, count): by which pixels lie between the centres of locations; beyond the last its value is kept."""
  at = np.clip((np.arange(size) - margin - place.offset) / place.stride, 0, count - 1)
  return np.maximum(0, 1 - np.abs(at[:, None] - np.arange(count))).astype(np.float32)
