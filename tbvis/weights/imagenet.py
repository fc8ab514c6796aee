"""ImageNet VGG-16 for the start of both towers."""

from __future__ import annotations

import os
import pathlib

import keras

from tbvis.errors import UsageError
from tbvis.weights import keras_file, npz, transfer


def load_imagenet_vgg16(model: keras.Model, path: str | os.PathLike[str]) -> list[str]:
  """Copies the 13 convolutions into the appearance tower, and into the motion tower across modalities (METHOD 1.2).

  Args:
    model: a `two_stream_fusion_vgg16` of width 1.
    path: npz of block1_conv1_W (HWIO, B, G, R), block1_conv1_b, ..., or an .h5 or .keras file of keras.applications.

  Returns:
    Names of the layers set.

  Raises:
    UsageError: if the file is missing, is not of this layout, or does not fit the model; the model is unchanged then.
  """
  path = pathlib.Path(path)
  reader = npz if path.suffix == ".npz" else keras_file
  source = reader.read(path)
  appearance = [target for target in reader.targets(source, "appearance") if target.layer.startswith("conv")]
  shapes = transfer.weight_shapes(model)
  plan = transfer.make_plan(shapes, [(source, [*appearance, *transfer.cross_modality(appearance)])])
  without = [key for key in plan.missing if key.startswith("conv") and not key.startswith("conv5_fusion")]
  if without:
    found = ", ".join(list(source.tensors)[:4])
    raise UsageError(f"{path}: expected VGG-16's convolutions (block1_conv1_W, ...), found nothing for {without[0]}; it has {found}, ...")
  plan.check(str(path), allow_partial=True)
  transfer.apply(plan, model)
  return list(dict.fromkeys(target.layer for _, target in plan.targets))
