"""Logdirs of any number of stimuli, as sweeps over whole layers leave them, in minutes instead of weeks.

The first stimuli are made up, and written by `tbvis.summaries` with their media; the others repeat the events of these under
names of their own, record by record what the writer would have written, and have no media beside them.
"""

from __future__ import annotations

from collections.abc import Iterator
import hashlib
import itertools
import json
import pathlib
import shutil
import time
from typing import Any

import numpy as np

from tbvis import events, files, stock_tabs, summaries
from tbvis.datasets import lists
from tbvis.rendering import animation, planes
from tbvis.units import number_label

RUN, EVALUATION = "stimuli", "evaluation"
CHI = (0.0, 0.5, 1.0, 2.5, 5.0, 10.0)
# Of the two-stream network on VGG-16: name, place in the network's order, units; a bare name stands for both towers'.
LAYERS = (
  ("conv1_1", 4, 64), ("conv1_2", 8, 64), ("conv2_1", 13, 128), ("conv2_2", 17, 128), ("conv3_1", 22, 256), ("conv3_2", 26, 256),
  ("conv3_3", 30, 256), ("conv4_1", 35, 512), ("conv4_2", 39, 512), ("conv4_3", 43, 512), ("conv5_1", 48, 512), ("conv5_2", 52, 512),
  ("conv5_3", 56, 512), ("conv5_fusion", 60, 512), ("fc6", 72, 4096), ("fc7", 78, 4096), ("prediction", 87, 101),
)  # fmt: skip
LARGEST = len(CHI) * sum(count for _, _, count in LAYERS)
MADE = 50
_SIDE, _FRAMES, _CLIP_PICTURES, _TOP_CLIPS = 112, 10, 40, 9
_STEPS = np.append(np.arange(0, 120, 5), 119)
_TERMS = ("energy", "tv", "contrast", "at_bound", "data", "weight")
_WHOLE = "whole.json"

Identity = dict[str, Any]


def identities(count: int, classes: tuple[str, ...]) -> Iterator[Identity]:
  """Yields which stimuli a logdir of `count` has: every chi of units spread evenly over the layers."""
  share = count / LARGEST
  chosen = []
  for layer, index, size in LAYERS:
    taken = np.unique(np.linspace(0, size - 1, max(1, round(size * share))).astype(int))
    chosen += [(layer, index, int(channel)) for channel in taken]
  # Rounding may leave some out: units of the largest layer that were not taken stand in.
  known = set(chosen)
  chosen += [unit for unit in (("fc6", 72, channel) for channel in range(4096)) if unit not in known]
  every = itertools.product(chosen, CHI)
  for (layer, index, channel), chi in itertools.islice(every, count):
    class_name = classes[channel] if layer == "prediction" else None
    yield {
      "unit": f"{layer}/{class_name or number_label(channel)}", "layer": layer, "layer_index": index, "channel": channel,
      "class_name": class_name, "kappa": 1.0, "chi": chi, "isotropic": False, "seed": 0,
    }  # fmt: skip


def _texture(rng: np.random.Generator, frames: int, fine: float, slow: float, channels: int) -> np.ndarray:
  """Noise of frequencies up to `fine` a pixel that changes the less from frame to frame the larger `slow` is: (H, W, T, C)."""
  across, along = np.fft.fftfreq(_SIDE), np.fft.fftfreq(frames)
  radius = np.hypot(across[:, None], across)
  band = np.exp(-((radius / fine) ** 2)) * (1 - np.exp(-((radius / 0.02) ** 2)))
  spectrum = np.fft.fftn(rng.standard_normal((channels, frames, _SIDE, _SIDE)), axes=(1, 2, 3))
  noise = np.fft.ifftn(spectrum * (np.exp(-((along * slow) ** 2))[:, None, None] * band), axes=(1, 2, 3)).real
  return np.moveaxis(noise / noise.std(), (0, 1), (3, 2))


def _record(rng: np.random.Generator, identity: Identity) -> summaries.StimulusRecord:
  """Makes up a stimulus whose pictures are about as hard to compress as those of a network trained on UCF101."""
  y, x = np.mgrid[0:_SIDE, 0:_SIDE] / _SIDE - rng.uniform(0.35, 0.65, 2)[:, None, None]
  window = np.exp(-rng.uniform(4, 10) * (x**2 + y**2))[..., None]
  fine = rng.uniform(0.04, 0.08)
  motion = _texture(rng, _FRAMES, fine, identity["chi"], 2)
  motion = 25 * window[..., None] * np.sign(motion) * np.abs(motion) ** 1.5
  appearance = 40 * window * _texture(rng, 1, fine, 0, 3)[:, :, 0]
  rise = 1 - np.exp(-_STEPS / rng.uniform(20, 60))
  terms = {f"{term}_{stream}": rng.uniform(0.5, 5) * rise for term in _TERMS for stream in ("appearance", "motion")}
  history = {"activation": 60 * rise} | terms
  return summaries.StimulusRecord(
    **identity,
    appearance=appearance.astype(np.float32),
    motion=motion.astype(np.float32),
    steps=_STEPS,
    history={term: (values + rng.normal(0, 0.01, len(values))).astype(np.float32) for term, values in history.items()},
    activation=float(np.float32(60 * rise[-1])),
    a_hat=float(np.float32(rng.uniform(10, 40))),
    # As many constants as a search notes down.
    config={f"constant_{i:02d}": float(i) for i in range(45)} | {"steps": 120, "warnings": []},
  )


def _statistics(rng: np.random.Generator, units: list[str], classes: tuple[str, ...], clips: list[str]) -> dict[str, Any]:
  """What `tbvis-evaluate` finds of units, in the form of `UnitStatistics.describe`."""
  means = rng.gamma(2.0, 4.0, (len(units), len(classes))).astype(np.float32)
  return {
    unit: {
      "a_hat": float(row.max()),
      "class_means": dict(zip(classes, map(float, row.astype(str)), strict=True)),
      "top_clips": [
        {"clip": clips[i], "class": classes[0], "layer": unit.split("/")[0], "value": float(row.max()), "frame": 9, "x": 80, "y": 90}
        for i in rng.integers(0, len(clips), _TOP_CLIPS)
      ],
    }
    for unit, row in zip(units, means, strict=True)
  }


def _write_evaluation(folder: pathlib.Path, rng: np.random.Generator, classes: tuple[str, ...], clips: list[str]) -> None:
  """One confusion of 101 classes over the official test clips, a few of which have their picture."""
  labels = np.array([classes.index(clip.split("_")[1]) for clip in clips])
  scores = {tower: rng.normal(0, 2, (len(clips), len(classes))) + 8 * np.eye(len(classes))[labels] for tower in summaries.TOWERS}
  picture = animation.clip_thumbnail(rng.integers(0, 255, (8, 96, 128, 3), np.uint8), rng.normal(size=(8, 96, 128, 2)))
  summaries.write_confusions(
    folder, EVALUATION, classes=classes, labels=labels, scores=scores, clips=clips,
    thumbnails=dict.fromkeys(clips[:_CLIP_PICTURES], picture), split="made-up scores", checkpoint="made-up.keras",
  )  # fmt: skip


def _read_events(path: pathlib.Path) -> Iterator[Any]:
  import tensorflow as tf

  for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
    yield tf.compat.v1.Event.FromString(record)


def _patterns(path: pathlib.Path, made: list[Identity]) -> list[list[Any]]:
  """Returns the events of each of the stimuli that were written, each ending with the plugin's own."""
  patterns, gathered = [], []
  for event in _read_events(path):
    if event.summary.value:
      gathered.append(event)
      if event.summary.value[0].tag.startswith(summaries.STIMULUS_PREFIX):
        patterns.append(gathered)
        gathered = []
  assert len(patterns) == len(made)
  return patterns


def _name(identity: Identity) -> str:
  variant = summaries.variant_name(identity["kappa"], identity["chi"], identity["isotropic"], identity["seed"])
  return f"{identity['unit']}/{variant}"


def _repeat(pattern: list[Any], before: Identity, identity: Identity, wall_time: float, stock: bool) -> Iterator[Any]:
  """Yields the events of a stimulus that differs from the one of `pattern` in its identity alone.

  Args:
    pattern: events of one that was written.
    before: its identity.
    identity: the new one.
    wall_time: of the events.
    stock: whether the stock tabs get all of it, see `tbvis.stock_tabs`.
  """
  old, new = _name(before), _name(identity)
  # Last come the pictures and the plugin's own.
  for event in pattern if stock else pattern[-2:] if identity["class_name"] else pattern[-1:]:
    copy = type(event)()
    copy.CopyFrom(event)
    copy.wall_time = wall_time
    for value in list(copy.summary.value):
      if event is pattern[-2] and value.tag.endswith("/motion") and not identity["class_name"]:
        copy.summary.value.remove(value)
      value.tag = value.tag.replace(old, new)
    if event is pattern[-1]:
      own = copy.summary.value[0]
      content = json.loads(own.metadata.plugin_data.content) | identity
      content["folder"] = f"{summaries.MEDIA_FOLDER}/stimuli/{new}"
      meta = json.loads(events.unpacked_json(own.tensor.string_val[2])) | content
      own.metadata.plugin_data.content = json.dumps(content, separators=(",", ":")).encode()
      own.tensor.string_val[2] = events.packed_json(meta)
    yield copy


def write(folder: pathlib.Path, count: int) -> int:
  """Writes a logdir of `count` stimuli and one confusion, unless it is there already.

  Args:
    folder: the logdir.
    count: stimuli, up to LARGEST.

  Returns:
    Bytes of its event files.
  """
  known = folder / _WHOLE
  asked = {"count": count, "source": _source()}
  if not known.is_file() or json.loads(known.read_text()) != asked:
    shutil.rmtree(folder, ignore_errors=True)
    _write(folder, count)
    files.write_json(known, asked)
  return sum(path.stat().st_size for path in folder.glob("*/*tfevents*"))


def _source() -> str:
  """Tells logdirs apart that were written by other code."""
  sources = map(pathlib.Path, (__file__, summaries.__file__, stock_tabs.__file__, events.__file__, planes.__file__))
  return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()


def _write(folder: pathlib.Path, count: int) -> None:
  import tensorflow as tf

  rng = np.random.default_rng(0)
  found = lists.ucf101(1)
  classes = tuple(found.classes)
  every = list(identities(count, classes))
  made = every[:MADE]
  clips = [pathlib.PurePath(name).stem for entry in found.entries if entry.split == "test" for name in entry.names[:1]]
  with summaries.StimulusWriter(folder, RUN) as writer:
    for identity in made:
      writer.write(_record(rng, identity))
    writer.add_statistics(_statistics(rng, list(dict.fromkeys(identity["unit"] for identity in every)), classes, clips))
  (written,) = (folder / RUN).glob("*tfevents*")
  patterns = _patterns(written, made)
  # In C++, and so a hundred times faster than by the writer; a name that sorts after the first file's.
  with tf.io.TFRecordWriter(str(written.with_name(f"{written.name}.more"))) as more:
    more.write(type(patterns[0][0])(wall_time=time.time(), file_version="brain.Event:2").SerializeToString())
    for index, identity in enumerate(every[MADE:], MADE):
      which = index % len(made)
      for event in _repeat(patterns[which], made[which], identity, time.time(), index < stock_tabs.STIMULI):
        more.write(event.SerializeToString())
  _write_evaluation(folder, rng, classes, clips)
