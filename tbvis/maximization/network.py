"""The network as the search runs it: cut at the layers that it needs, at any size, ReLUs that leak; the model itself is not touched."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
import contextlib
import dataclasses
from typing import Any

import keras
import tensorflow as tf

from tbvis.errors import UsageError
from tbvis.models import geometry
from tbvis.models.activations import fused_activation, is_relu


@dataclasses.dataclass(frozen=True, order=True)
class Tap:
  """Where a value is taken: a layer, before or after its activation function."""

  layer: str
  after: bool = False


@dataclasses.dataclass(frozen=True)
class Leak:
  """How much passes a ReLU that is off; `values` tells whether its values leak too, or its gradient alone."""

  slope: float = 0.0
  values: bool = False

  def __call__(self, x: tf.Tensor) -> tf.Tensor:
    """Returns max(x, 0) in value, unless `values`."""
    if not self.slope:
      return tf.nn.relu(x)
    if self.values:
      return tf.nn.leaky_relu(x, self.slope)

    @tf.custom_gradient
    def rectify(x: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
      # One fused operation: the maps are large, and every pass over them is felt.
      return tf.nn.relu(x), lambda upstream: tf.raw_ops.LeakyReluGrad(gradients=upstream, features=x, alpha=self.slope)

    return rectify(x)


def consumers(model: keras.Model, layer: str) -> list[Any]:
  """Returns the layers and operations that read a layer's output."""
  tensors = {id(tensor) for tensor in geometry.outputs_of(model.get_layer(layer))}
  others = (other for other in model.operations if other._inbound_nodes)
  return [other for other in others if any(id(t) in tensors for t in other._inbound_nodes[0].input_tensors)]


def rectifier_after(model: keras.Model, layer: str) -> str | None:
  """Returns the name of the ReLU layer that alone reads a linear layer's output, None where there is none."""
  readers = consumers(model, layer)
  return readers[0].name if len(readers) == 1 and is_relu(readers[0]) else None


def rectified_by(model: keras.Model, layer: str) -> str | None:
  """Returns the layer that a ReLU layer reads, None where `layer` is no ReLU: its largest values are the same."""
  found = model.get_layer(layer)
  if not is_relu(found):
    return None
  read = {id(tensor) for tensor in found._inbound_nodes[0].input_tensors}
  return next((other.name for other in model.layers if any(id(t) in read for t in geometry.outputs_of(other))), None)


@contextlib.contextmanager
def replaced(layer: Any, **attributes: Any) -> Iterator[None]:
  """Gives a layer other attributes while it is traced, and its own back whatever happens."""
  before = {name: getattr(layer, name) for name in attributes}
  try:
    for name, value in attributes.items():
      setattr(layer, name, value)
    yield
  finally:
    for name, value in before.items():
      setattr(layer, name, value)


class CutNetwork:
  """A network from its inputs to the values at some taps, and to nothing beyond.

  The user's model is only read: its layers are called as they stand, with plain tensors.

  Args:
    model: a Functional Keras model.
    taps: where values are taken.

  Attributes:
    taps: as given.
    streams: names of the inputs that the taps depend on, in the model's order.
    layers: the model's layers and operations between them.
  """

  def __init__(self, model: keras.Model, taps: Sequence[Tap]):
    self.taps = tuple(taps)
    found = {}
    for tap in self.taps:
      tensors = geometry.outputs_of(model.get_layer(tap.layer))
      if len(tensors) > 1:
        raise UsageError(f"Layer {tap.layer}: expected one output, found {len(tensors)}.")
      found[tap.layer] = tensors[0]
    by_name = geometry.inputs_by_name(model)
    seen = geometry.input_names(model, list(found))
    self.streams = tuple(name for name in by_name if name in seen)
    self._net = keras.Model({name: by_name[name] for name in self.streams}, list(found.values()))
    # A flat dict's values, in the order in which Keras keeps them.
    self._order = list(geometry.inputs_by_name(self._net))
    self.layers = list(self._net.operations)

  def __call__(
    self,
    inputs: Mapping[str, tf.Tensor],
    leak: Leak = Leak(),
    float32: bool = False,
    around: Callable[[Any, tuple[Any, ...], Any], Any] | None = None,
  ) -> dict[Tap, tf.Tensor]:
    """Runs the network, in inference mode.

    Args:
      inputs: by stream, as the model takes them; the size in space may be any that its layers take.
      leak: what passes a ReLU that is off.
      float32: whether every layer computes in float32, whatever its own number format.
      around: given a layer that is no plain ReLU, its arguments and its values before its activation function, returns what is
        passed on in their place; attribution puts a backward pass of its own there.

    Returns:
      (rows, ..., units) by tap.
    """
    taken: dict[Tap, tf.Tensor] = {}
    wanted = set(self.taps)

    def operation(layer: Any) -> Callable[..., Any]:
      def call(*args: Any, **kwargs: Any) -> Any:
        if getattr(layer, "_call_has_training_arg", False):
          kwargs["training"] = False
        plain, own = Tap(layer.name), Tap(layer.name, after=True)
        function = fused_activation(layer)
        swap: dict[str, Any] = {"dtype_policy": "float32"} if float32 and isinstance(layer, keras.Layer) else {}
        if is_relu(layer):
          outputs = leak(args[0])
        elif function is None:
          with replaced(layer, **swap):
            outputs = layer(*args, **kwargs)
          outputs = around(layer, args, outputs) if around else outputs
        else:
          with replaced(layer, activation=keras.activations.linear, **swap):
            before = layer(*args, **kwargs)
          before = around(layer, args, before) if around else before
          if plain in wanted:
            taken[plain] = before
          outputs = leak(before) if function is keras.activations.relu else function(before)
        for tap in (plain, own):
          if tap in wanted:
            taken.setdefault(tap, outputs)
        return outputs

      return call

    self._net._run_through_graph([inputs[name] for name in self._order], operation_fn=operation)
    return taken
