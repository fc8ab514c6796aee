"""Networks to compare with: the same architecture without what training gave it, whole, in the motion tower or in the fusion."""

from __future__ import annotations

import os

import keras
import numpy as np

from tbvis.errors import unknown_name
from tbvis.models import checkpoint as checkpoint_lib
from tbvis.models import two_stream
from tbvis.weights import imagenet

FUSION = "conv5_fusion"


def untrained(checkpoint: checkpoint_lib.Checkpoint, seed: int, dtype: str = "float32") -> checkpoint_lib.Checkpoint:
  """Returns a freshly initialised network of the same architecture, classes and mean."""
  arguments = {**checkpoint.arguments, "seed": seed}
  return checkpoint_lib.build(
    checkpoint.architecture, arguments, checkpoint.classes, dtype=dtype, appearance_mean=list(checkpoint.appearance_mean)
  )


def untrained_motion(
  checkpoint: checkpoint_lib.Checkpoint, imagenet_weights: str | os.PathLike[str] | None = None, dtype: str = "float32"
) -> checkpoint_lib.Checkpoint:
  """Returns the network with the convolutions of its motion tower as they were before training; all else as trained.

  Args:
    checkpoint: a trained network.
    imagenet_weights: npz that training began from, where it did (METHOD 1.2); random kernels otherwise.
    dtype: dtype policy of the result.

  Raises:
    UsageError: if the weights do not fit.
  """
  fresh = untrained(checkpoint, int(checkpoint.arguments.get("seed", 0)), dtype)
  if imagenet_weights:
    imagenet.load_imagenet_vgg16(fresh.model, imagenet_weights)
  start = {f"conv{block}_{index}_motion" for block, depth, _ in two_stream.BLOCKS for index in range(1, depth + 1)}
  for layer in checkpoint.model.layers:
    if layer.weights and layer.name not in start:
      fresh.model.get_layer(layer.name).set_weights(layer.get_weights())
  return fresh


def initialised_fusion(checkpoint: checkpoint_lib.Checkpoint, dtype: str = "float32") -> checkpoint_lib.Checkpoint:
  """Returns the network with its fusion as initialised: 0.25 I of appearance, 0.75 I of motion, no bias; all else as trained.

  Raises:
    UsageError: if the network has no layer conv5_fusion.
  """
  start = untrained(checkpoint, int(checkpoint.arguments.get("seed", 0)), dtype)
  _fusion(checkpoint.model)
  for layer in checkpoint.model.layers:
    if layer.weights and layer.name != FUSION:
      start.model.get_layer(layer.name).set_weights(layer.get_weights())
  return start


def fusion_change(model: keras.Model) -> float:
  """Returns |W - W0| / |W0| of the fusion's kernel, W0 being what `two_stream.FusionInitializer` makes: how far training moved it.

  Raises:
    UsageError: if the network has no layer conv5_fusion.
  """
  kernel = np.asarray(keras.ops.convert_to_numpy(_fusion(model).kernel), np.float64)
  start = np.asarray(keras.ops.convert_to_numpy(two_stream.FusionInitializer()(kernel.shape)), np.float64)
  return float(np.linalg.norm(kernel - start) / np.linalg.norm(start))


def _fusion(model: keras.Model) -> keras.Layer:
  names = [layer.name for layer in model.layers]
  if FUSION not in names:
    raise unknown_name("layer", FUSION, names, "the network")
  return model.get_layer(FUSION)
