"""Excitation backpropagation (Zhang, Lin, Brandt, Shen & Sclaroff, "Top-down Neural Attention by Excitation Backprop", ECCV 2016).

A unit's probability of winning is handed down to the units that excite it, each by its share: of a linear layer with weights w
and non-negative inputs a, P(a_j) = sum_i a_j w+_ij P_i / sum_k a_k w+_ik, w+ = max(w, 0). For any layer whose values grow
with its inputs that is P_in = a * d f+(a)/da * (P_out / f+(a)), f+ the layer without its bias and negative weights.

`Rules` puts that in the place of the gradient of every layer, so that TensorFlow's tape walks the graph. What the paper leaves open:

- Inputs have both signs. A value x counts as two units max(x, 0) and max(-x, 0) with weights w and -w: a share goes to where
  w x > 0, and a stream of zeros gets none.
- A batch normalisation reads one unit each and hands on all it has; a convolution read by nothing else has its weights turned in
  sign where the normalisation does.
- Class scores that are averaged over a map may be negative: places share by what excites them, which is the rule for
  convolution and mean taken as one linear layer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from tbvis.errors import UsageError
from tbvis.maximization import network
from tbvis.models import activations, adopted, two_stream

_KERNELS = (keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D, keras.layers.Dense)
_GLOBAL_MEANS = (keras.layers.GlobalAveragePooling1D, keras.layers.GlobalAveragePooling2D, keras.layers.GlobalAveragePooling3D)
_MEANS = (keras.layers.AveragePooling1D, keras.layers.AveragePooling2D, keras.layers.AveragePooling3D, *_GLOBAL_MEANS)
_SUMS = (*_MEANS, keras.layers.Add, keras.layers.Average)
# One unit reads one unit: it hands on all it has.
_SINGLE = (keras.layers.BatchNormalization, keras.layers.Rescaling, keras.layers.Normalization)
# Their own gradient is the rule: a value is moved, or the largest wins.
_MOVES = (
  keras.layers.InputLayer, keras.layers.Flatten, keras.layers.Reshape, keras.layers.Permute, keras.layers.Dropout,
  keras.layers.ZeroPadding1D, keras.layers.ZeroPadding2D, keras.layers.ZeroPadding3D, keras.layers.Cropping1D,
  keras.layers.Cropping2D, keras.layers.Cropping3D, keras.layers.Concatenate, keras.layers.Identity,
  keras.layers.MaxPooling1D, keras.layers.MaxPooling2D, keras.layers.MaxPooling3D, keras.layers.GlobalMaxPooling1D,
  keras.layers.GlobalMaxPooling2D, keras.layers.GlobalMaxPooling3D, two_stream.FoldChunks, two_stream.UnfoldChunks,
  adopted.CentralCrop, adopted.StackToFrames, adopted.FramesToStack,
)  # fmt: skip


def check(layers: Sequence[Any]) -> None:
  """Checks that there is a rule for every layer.

  Args:
    layers: those between the inputs and the target.

  Raises:
    UsageError: naming the first for which there is none.
  """
  for layer in layers:
    function = activations.fused_activation(layer)
    linear_or_relu = function is None or function in (keras.activations.relu, keras.activations.softmax)
    if not (activations.is_relu(layer) or isinstance(layer, _KERNELS + _SUMS + _SINGLE + _MOVES)) or not linear_or_relu:
      told = f"with activation {getattr(function, '__name__', function)}" if not linear_or_relu else type(layer).__name__
      raise UsageError(
        f"excitation_backprop: expected linear layers, ReLU, pools, Add, Concatenate or BatchNormalization, "
        f"found layer {layer.name!r} ({told}). Use gradient_times_input or grad_cam."
      )


def _shares(function: Callable[..., tf.Tensor], parts: Sequence[tf.Tensor], upstream: tf.Tensor) -> list[tf.Tensor]:
  """Returns a * d f(a)/da * (P / f(a)) of non-negative `parts` of the sum `function`; nothing is handed on where nothing excites."""
  with tf.GradientTape() as tape:
    tape.watch(parts)
    total = function(*parts)
  gradients = tape.gradient(total, parts, output_gradients=tf.math.divide_no_nan(upstream, total))
  return [part * gradient for part, gradient in zip(parts, gradients, strict=True)]


class Rules:
  """The backward rules of a network for one pass; `CutNetwork` takes it as `around`.

  Args:
    model: the whole network, whose layers' readers are looked at.

  Attributes:
    excitation: by convolution whose map is only averaged, what excites each of its places: f+(a), non-negative.
  """

  def __init__(self, model: keras.Model):
    self.excitation: dict[str, tf.Tensor] = {}
    # Layers whose inputs have both signs: they see the network's inputs, moved or scaled at most.
    self._signed: set[str] = set()
    # Normalisations by the convolution that nothing else reads, and such convolutions by the mean that alone reads them.
    self._normalised: dict[str, Any] = {}
    self._averages: dict[str, str] = {}
    for layer in model.layers:
      readers = network.consumers(model, layer.name)
      if isinstance(layer, keras.layers.InputLayer) or (layer.name in self._signed and isinstance(layer, _SUMS + _SINGLE + _MOVES)):
        self._signed |= {reader.name for reader in readers}
      if isinstance(layer, _KERNELS) and len(readers) == 1 and activations.fused_activation(layer) is None:
        if isinstance(readers[0], keras.layers.BatchNormalization) and readers[0].scale:
          self._normalised[layer.name] = readers[0]
        if isinstance(readers[0], _MEANS):
          self._averages[readers[0].name] = layer.name

  def __call__(self, layer: Any, args: tuple[Any, ...], outputs: tf.Tensor) -> tf.Tensor:
    """Returns `outputs`, whose gradient is the rule of `layer`."""
    tensors = tf.nest.flatten(args)
    if isinstance(layer, _KERNELS):
      parts = self._parts(layer, tensors[0])
      if layer.name in self._averages.values():
        self.excitation[layer.name] = self._excite(layer, *parts)
      return _with_rule(outputs, tensors, lambda p: [tf.add_n(_shares(lambda *x: self._excite(layer, *x), parts, p))])
    if isinstance(layer, _SUMS):
      return _with_rule(outputs, tensors, lambda p: self._sum_shares(layer, args, tensors, p))
    if isinstance(layer, _SINGLE):
      return _with_rule(outputs, tensors, lambda p: [p * self._passes(layer)])
    return outputs

  def _parts(self, layer: Any, values: tf.Tensor) -> list[tf.Tensor]:
    """Returns a layer's inputs as non-negative values: those above zero, and those below it where there may be any."""
    return [tf.nn.relu(values), tf.nn.relu(-values)] if layer.name in self._signed else [tf.nn.relu(values)]

  def _excite(self, layer: Any, *parts: tf.Tensor) -> tf.Tensor:
    """Returns f+: what positive weights make of the values above zero, and negative ones of those below."""
    turn = tf.sign(self._normalised[layer.name].gamma) if layer.name in self._normalised else 1.0

    def clipped(weights: Sequence[Any], sign: float) -> list[tf.Tensor]:
      # The kernel has its output units last; what has one axis is the bias.
      return [tf.nn.relu(sign * turn * tf.cast(w, tf.float32)) if len(w.shape) > 1 else tf.zeros(w.shape) for w in weights]

    found = []
    for part, sign in zip(parts, (1.0, -1.0), strict=False):
      weights = clipped(layer.trainable_variables, sign), clipped(layer.non_trainable_variables, sign)
      with network.replaced(layer, activation=keras.activations.linear, dtype_policy="float32"):
        found.append(layer.stateless_call(*weights, part)[0])
    return tf.add_n(found)

  def _sum_shares(self, layer: Any, args: tuple[Any, ...], tensors: Sequence[tf.Tensor], upstream: tf.Tensor) -> list[tf.Tensor]:
    """Returns the shares of what a mean or a sum reads."""
    positive = tf.abs if layer.name in self._signed else tf.nn.relu
    parts = [self.excitation[self._averages[layer.name]]] if layer.name in self._averages else [positive(x) for x in tensors]

    def total(*values: tf.Tensor) -> tf.Tensor:
      with network.replaced(layer, dtype_policy="float32"):
        return layer(*tf.nest.pack_sequence_as(args, list(values)))

    return _shares(total, parts, upstream)

  def _passes(self, layer: Any) -> Any:
    """Returns 1 where a layer's scale is positive, or its sign is taken care of, and 0 elsewhere."""
    if not isinstance(layer, keras.layers.BatchNormalization) or not layer.scale or layer.name in self._signed:
      return 1.0
    return 1.0 if layer in self._normalised.values() else tf.cast(layer.gamma > 0, tf.float32)


def _with_rule(outputs: tf.Tensor, tensors: Sequence[tf.Tensor], rule: Callable[[tf.Tensor], list[tf.Tensor]]) -> tf.Tensor:
  """Returns `outputs`, whose gradient with respect to `tensors` is what `rule` makes of the gradient above."""

  @tf.custom_gradient
  def linked(values: tf.Tensor, *_: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], Any]]:
    return tf.identity(values), lambda upstream: (None, *rule(upstream))

  return linked(tf.stop_gradient(outputs), *tensors)
