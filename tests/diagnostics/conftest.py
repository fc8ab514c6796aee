"""A small prepared set in memory, and a tiny network for it."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import pytest
import tensorflow as tf

from tbvis.models import checkpoint as checkpoint_lib

CLASSES = ("Bowing", "Brushing", "Rolling")
FRAMES = 14


def _smooth(rng: np.random.Generator, channels: int) -> np.ndarray:
  coarse = rng.integers(0, 256, (8, 10, channels)).astype(np.uint8)
  return cv2.resize(coarse, (300, 256), interpolation=cv2.INTER_CUBIC).reshape(256, 300, channels)


def _jpeg(image: np.ndarray) -> bytes:
  return cv2.imencode(".jpg", image)[1].tobytes()


@dataclasses.dataclass
class MemoryDataset:
  """What diagnostics use of a PreparedDataset; counts the clips that were read."""

  name: str
  classes: tuple[str, ...]
  content: dict[str, list[dict]]

  @property
  def splits(self) -> dict[str, int]:
    return {split: len(clips) for split, clips in self.content.items()}

  def clips(self, split, groups=None, shuffle_seed=None):
    chosen = [clip for clip in self.content[split] if groups is None or clip["group"] in groups]
    signature = {
      "clip": tf.TensorSpec([], tf.string),
      "label": tf.TensorSpec([], tf.int64),
      "group": tf.TensorSpec([], tf.int64),
      "frames": tf.TensorSpec([None], tf.string),
      "flow_u": tf.TensorSpec([None], tf.string),
      "flow_v": tf.TensorSpec([None], tf.string),
    }
    return tf.data.Dataset.from_generator(lambda: iter(chosen), output_signature=signature)

  def groups(self, split):
    return tuple(sorted({clip["group"] for clip in self.content[split]}))


def _clip(seed: int, name: str, label: int, group: int) -> dict:
  rng = np.random.default_rng(seed)
  return {
    "clip": name,
    "label": label,
    "group": group,
    "frames": [_jpeg(_smooth(rng, 3)) for _ in range(FRAMES)],
    "flow_u": [_jpeg(_smooth(rng, 1)) for _ in range(FRAMES - 1)],
    "flow_v": [_jpeg(_smooth(rng, 1)) for _ in range(FRAMES - 1)],
  }


@pytest.fixture(scope="session")
def dataset() -> MemoryDataset:
  content = {"test": [], "train": []}
  seed = 0
  for group, split in ((1, "test"), (2, "test"), (8, "train"), (9, "train"), (10, "train")):
    for label, name in enumerate(CLASSES):
      for index in range(2 if group == 9 else 1):
        content[split].append(_clip(seed, f"v_{name}_g{group:02d}_c{index + 1:02d}", label, group))
        seed += 1
  return MemoryDataset("memory", CLASSES, content)


@pytest.fixture(scope="session")
def checkpoint() -> checkpoint_lib.Checkpoint:
  arguments = {"width": 0.05, "input_size": 64, "fc_units": 8}
  made = checkpoint_lib.build("two_stream_fusion_vgg16", arguments, CLASSES, validation_groups=[8, 9])
  rng = np.random.default_rng(3)
  for layer in made.model.layers:
    if layer.name.startswith("prediction"):
      # Fresh classifiers are near zero; scores that differ make the comparisons mean something.
      layer.kernel.assign(rng.normal(size=layer.kernel.shape))
    if layer.weights:
      layer.bias.assign(rng.normal(size=layer.bias.shape))
  return made
