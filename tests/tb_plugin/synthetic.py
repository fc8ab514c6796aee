"""A logdir with made-up stimuli that move, for tests of what writes, serves and shows them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
import dataclasses
import itertools
import json
import os
import pathlib
import tempfile

import numpy as np

from tbvis import events, summaries
from tbvis.rendering import animation

CLASSES = ("ApplyEyeMakeup", "ApplyLipstick", "Billiards", "BrushingTeeth", "PlayingCello", "PlayingTabla", "PlayingViolin", "ShavingBeard")
CHIS = (10.0, 0.0, 5.0, 1.0)
UNITS = (
  ("conv3_3_appearance/f004", 2, 3, None),
  ("conv4_3_motion/f036", 6, 35, None),
  ("conv5_fusion/f004", 7, 3, None),
  ("conv5_fusion/f021", 7, 20, None),
  ("prediction/PlayingCello", 10, 4, "PlayingCello"),
  ("prediction/PlayingViolin", 10, 6, "PlayingViolin"),
  ("prediction/BrushingTeeth", 10, 3, "BrushingTeeth"),
)
SPLIT = "made-up test clips"
WARNED, WARNING = "conv5_fusion/f021", "31% of its motion is pinned at the bound of 160"


def kept(appearance, motion, steps=(0, 3, 40)) -> summaries.KeptSteps:
  """Copies of a search that comes from noise: at each step the part step / 80 is there, of every second pixel."""
  rng = np.random.default_rng(1)

  def copies(values):
    if values is None:
      return None
    small = values[::2, ::2]
    return np.stack([step / 80 * small + (1 - step / 80) * rng.uniform(-20, 20, small.shape) for step in steps])

  return summaries.KeptSteps(np.array(steps), copies(appearance), copies(motion))


def record(
  unit=UNITS[3], *, kappa=1.0, chi=10.0, isotropic=False, seed=0, size=64, error=None, with_steps=True
) -> summaries.StimulusRecord:  # fmt: skip
  """A stimulus whose waves run the faster the smaller chi is."""
  name, index, channel, class_name = unit
  rng = np.random.default_rng([channel, index])
  y, x = np.mgrid[0:size, 0:size].astype(np.float32) / size - 0.5
  angle, waves = rng.uniform(0, np.pi), 2 + rng.integers(3)
  phase = 2 * np.pi * waves * (np.cos(angle) * x + np.sin(angle) * y)
  window = np.exp(-6 * (x**2 + y**2))[..., None]
  times = np.arange(10) * 2.4 / (1 + chi)
  motion = np.stack([[30 * np.cos(phase + t), 30 * np.sin(1.3 * phase + t)] for t in times]).transpose(2, 3, 0, 1)
  appearance = window * 80 * np.stack([np.cos(phase), np.sin(phase * 1.5), np.cos(phase + angle)], axis=-1)
  layer = name.split("/")[0]
  steps = np.arange(0, 200, 20)
  rise = 1 - np.exp(-steps / 60)
  appearance = None if error or layer.endswith("_motion") else appearance.astype(np.float32)
  motion = None if error or layer.endswith("_appearance") else (window[..., None] * motion).astype(np.float32)
  return summaries.StimulusRecord(
    unit=name,
    layer=layer,
    layer_index=index,
    channel=channel,
    class_name=class_name,
    kappa=kappa,
    chi=chi,
    isotropic=isotropic,
    seed=seed,
    appearance=appearance,
    motion=motion,
    steps=steps,
    history={"activation": 12 * rise, "tv_motion": 3 * rise, "norm": 0.1 * rise},
    activation=float("nan") if error else float(12 * rise[-1]),
    a_hat=10.0,
    config={"iterations": 200, "learning_rate": 4.0, "nested": {"jitter": [4, 8]}, "warnings": [WARNING] if name == WARNED else []},
    error=error,
    kept=kept(appearance, motion) if with_steps and not error else None,
  )


def chunked(unit=UNITS[3], *, chunks=3, each=4, size=32, chi=10.0) -> summaries.StimulusRecord:
  """A stimulus of several chunks: in chunk k its appearance is of one colour, the k-th, and its flow turns from frame to frame."""
  base = record(unit, chi=chi, size=size)
  colours = 60 * np.eye(3, dtype=np.float32)[np.arange(chunks) % 3]
  film = np.ones((size, size, 1, 1), np.float32) * colours
  angle = np.arange(chunks * each) * 2 * np.pi / (chunks * each)
  flow = 30 * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
  motion = np.ones((size, size, 1, 1), np.float32) * flow.astype(np.float32)
  steps = np.array([0, 3, 40])
  copies = summaries.KeptSteps(steps, np.stack([film[::2, ::2] * (s + 1) for s in steps]), np.stack([motion[::2, ::2]] * len(steps)))
  return dataclasses.replace(base, appearance=film[:, :, chunks // 2], film=film, motion=motion, chunks=chunks, kept=copies)


def video(unit=("conv3d/f002", 1, 1, None), *, frames=16, size=32, chi=10.0) -> summaries.StimulusRecord:
  """A stimulus of a network that takes a video alone: a bar goes from left to right."""
  base = record(unit, chi=chi, size=size)
  film = np.full((size, size, frames, 3), -40, np.float32)
  for frame in range(frames):
    film[:, frame * size // frames : (frame + 1) * size // frames, frame] = 80
  steps = np.array([0, 3, 40])
  copies = summaries.KeptSteps(steps, np.stack([film[::2, ::2]] * len(steps)), None)
  return dataclasses.replace(base, appearance=film[:, :, frames // 2], film=film, motion=None, kept=copies, inputs=("appearance",))


def clip_animation(seed: int) -> bytes:
  """A small clip: a square crosses the picture, and its flow."""
  frames = np.full((8, 48, 64, 3), 90, np.uint8)
  flow = np.zeros((8, 48, 64, 2), np.float32)
  for t in range(8):
    left = 4 + 5 * t
    frames[t, 12 + seed % 12 : 30 + seed % 12, left : left + 14] = (230, 180 - 9 * (seed % 15), 60)
    flow[t, 12 + seed % 12 : 30 + seed % 12, left : left + 14] = (5.0, 1.0)
  return animation.clip_thumbnail(frames, flow, height=72)


def write_evaluation(logdir: str | os.PathLike[str], run: str = "evaluation", thumbnails: bool = True) -> None:
  """Predictions in which PlayingCello is taken for PlayingViolin in 3 of 10 clips (fused)."""
  rng = np.random.default_rng(5)
  labels = np.repeat(np.arange(len(CLASSES)), 10)
  clips = [f"v_{CLASSES[label]}_g{i % 10 // 4 + 1:02d}_c{i % 4 + 1:02d}_{i:03d}" for i, label in enumerate(labels)]
  clean = 6.0 * np.eye(len(CLASSES))[labels] + rng.normal(size=(len(labels), len(CLASSES)))
  clean[40:43, [4, 6]] = [[3.0, 6.0], [2.0, 5.5], [4.0, 4.6]]
  scores = {
    tower: clean + rng.normal(scale=noise, size=clean.shape) for tower, noise in (("appearance", 2), ("hybrid", 1.5), ("motion", 3))
  }
  scores["fused"] = clean
  pictures = {clip: clip_animation(i) for i, clip in enumerate(clips)} if thumbnails else None
  summaries.write_confusions(
    logdir, run, classes=CLASSES, labels=labels, scores=scores, clips=clips, thumbnails=pictures, split=SPLIT, checkpoint="made-up.keras"
  )


def write_logdir(logdir: str | os.PathLike[str], size: int = 64) -> pathlib.Path:
  """Stimuli at four chi (one cell never run, one failed, one isotropic) and an evaluation."""
  with summaries.StimulusWriter(logdir, "stimuli") as writer:
    for unit in UNITS:
      for chi in CHIS:
        missing = unit[0] == "conv5_fusion/f004" and chi == 5
        if not missing:
          failed = unit[0] == "conv5_fusion/f004" and chi == 1
          writer.write(record(unit, chi=chi, size=size, error="activation became NaN at step 40" if failed else None))
    writer.write(record(UNITS[3], kappa=5.0, chi=5.0, isotropic=True, size=size))
    means = {name: 8.0 if name == "PlayingCello" else 1.0 + i / 8 for i, name in enumerate(CLASSES)}
    top = [
      {"clip": "v_PlayingCello_g01_c01", "class": "PlayingCello", "layer": "conv5_fusion", "frame": 12, "x": 30, "y": 20, "value": 9.5}
    ]
    writer.add_statistics({"conv5_fusion/f021": {"a_hat": 10.0, "class_means": means, "top_clips": top}})
  write_evaluation(logdir)
  return pathlib.Path(logdir)


def _patterns(size: int, count: int = 5) -> Iterator[tuple[dict, list[bytes]]]:
  """The metadata and the blobs of a few stimuli that differ, as they stand in an event."""
  with tempfile.TemporaryDirectory() as folder:
    with summaries.StimulusWriter(folder, "patterns") as writer:
      for channel in range(count):
        writer.write(record((f"pattern/f{channel + 1:03d}", 0, channel, None), chi=2.0 * channel, size=size))
    for _, _, _, blobs in events.read_values(pathlib.Path(folder) / "patterns", summaries.PLUGIN_NAME):
      yield json.loads(events.unpacked_json(blobs[2])), blobs[:2]


def write_many(
  logdir: str | os.PathLike[str],
  layers: Sequence[tuple[str, int]],
  kappas: Sequence[float] = (1.0,),
  chis: Sequence[float] = CHIS,
  seeds: Sequence[int] = (0,),
  run: str = "many",
  size: int = 24,
) -> int:
  """Writes small stimuli of all units of the layers (name, units), in events alone: no files beside them.

  The activation of the n-th unit of a layer is n at the first variant, less at the others. Returns the number of stimuli.
  """
  file = events.EventFile(pathlib.Path(logdir) / run)
  patterns = list(_patterns(size))
  variants = list(itertools.product(kappas, chis, seeds))
  written = 0
  for index, (layer, units) in enumerate(layers):
    for channel in range(units):
      values = []
      for number, (kappa, chi, seed) in enumerate(variants):
        meta, pictures = patterns[(channel + number) % len(patterns)]
        unit, variant = f"{layer}/f{channel + 1:03d}", summaries.variant_name(kappa, chi, False, seed)
        identity = {
          "kind": "stimulus", "version": 1, "unit": unit, "layer": layer, "layer_index": index, "channel": channel, "class_name": None,
          "kappa": kappa, "chi": chi, "isotropic": False, "seed": seed,
        }  # fmt: skip
        activation = (channel + 1) / (number + 1)
        blobs = [*pictures, events.to_json(meta | identity | {"activation": activation})]
        prefix = f"{unit}/{variant}"
        values += [
          events.scalar_value(f"{prefix}/activation", activation),
          events.blobs_value(f"{summaries.STIMULUS_PREFIX}{prefix}", blobs, summaries.PLUGIN_NAME, identity),
        ]
      file.add([(1, values)])
      written += len(variants)
  file.close()
  return written


if __name__ == "__main__":
  import sys

  write_logdir(sys.argv[1], size=128)
