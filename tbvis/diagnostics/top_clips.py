"""The snippets that excite units most, as small animations, and what of their frame a unit sees."""

from __future__ import annotations

from collections.abc import Mapping
import hashlib
from typing import Any

from absl import logging
import numpy as np
import tensorflow as tf

from tbvis import progress
from tbvis.datasets import reader as reader_lib
from tbvis.datasets import snippets as snippets_lib
from tbvis.models import geometry
from tbvis.models import sampling as sampling_lib
from tbvis.records import safe_name
from tbvis.rendering import animation

# Half of a frame of full size: enough to see what is done, and a few kilobytes a frame.
HEIGHT = 128
# The frame that fired among the ten shown; they are those that a two-stream network sees.
FIRED = sampling_lib.FLOW_FRAMES // 2

Described = dict[str, dict[str, Any]]


def with_fields(described: Mapping[str, Mapping[str, Any]], table: Mapping[str, geometry.LayerGeometry]) -> Described:
  """Adds to every top clip the receptive field of the layer that it excites.

  Args:
    described: by unit, what `statistics.UnitStatistics.describe` returns.
    table: of `geometry.layer_geometry`.

  Returns:
    The same with "field", side in pixels of the network's input, or None where a unit sees all of it.
  """
  return _changed(described, lambda clip: {"field": table[clip["layer"]].field if clip["layer"] in table else None})


def kept_pictures(described: Mapping[str, Mapping[str, Any]], before: Mapping[str, Any]) -> Described:
  """Takes over the pictures of snippets that a run has from an earlier call.

  Args:
    described: by unit.
    before: what the run says of its units now.
  """
  old = {_snippet(clip): clip for entry in before.values() for clip in entry.get("top_clips", []) if clip.get("thumbnail")}
  names = ("thumbnail", "frames", "fired", "size")
  return _changed(described, lambda clip: {name: old[_snippet(clip)][name] for name in names} if _snippet(clip) in old else {})


def with_pictures(
  described: Mapping[str, Mapping[str, Any]], dataset: reader_lib.PreparedDataset, input_size: int
) -> tuple[Described, dict[str, bytes]]:
  """Makes the animations that are missing: ten frames around the one that fired, whole frames beside their flow.

  Args:
    described: by unit; clips that have a "thumbnail" are left alone.
    dataset: the prepared set whose training clips the statistics are of.
    input_size: of the network, which scales the frames in which "x" and "y" are counted.

  Returns:
    `described` with, for every top clip that the set has, "thumbnail" (file name), "frames" (how many the animation has), "fired" (the one
    of them, from 0, that is the snippet's own) and "size" (width and height of the frame in pixels of the network's input); and animated
    WebP by file name.
  """
  clips = [clip for entry in described.values() for clip in entry.get("top_clips", [])]
  wanted: dict[str, set[int]] = {}
  for clip in clips:
    if not clip.get("thumbnail"):
      wanted.setdefault(clip["clip"], set()).add(clip["frame"])
  made: dict[tuple[str, int], dict[str, Any]] = {}
  pictures: dict[str, bytes] = {}
  if wanted and "train" in dataset.splits:
    names = tf.constant(sorted(wanted), tf.string)
    data = dataset.clips("train").filter(lambda clip: tf.reduce_any(clip["clip"] == names))
    with progress.bar(data.as_numpy_iterator(), total=len(wanted), description="top clips", unit="clip") as items:
      for item in items:
        name = item["clip"].decode()
        for frame in sorted(wanted.pop(name, ())):
          file, data_of, known = _animation(item, name, frame, input_size)
          pictures[file] = data_of
          made[name, frame] = known
  if wanted:
    logging.warning(
      "%d clip(s) that excite units most are not among the training clips of prepared set %s (%s): the tab shows their names alone.",
      len(wanted), dataset.name, ", ".join(sorted(wanted)[:3]) + (", ..." if len(wanted) > 3 else ""),
    )  # fmt: skip
  return _changed(described, lambda clip: made.get((clip["clip"], clip["frame"]), {})), pictures


def _snippet(clip: Mapping[str, Any]) -> tuple[str, int]:
  return clip["clip"], clip["frame"]


def _changed(described: Mapping[str, Mapping[str, Any]], more: Any) -> Described:
  return {
    unit: {**entry, "top_clips": [{**clip, **more(clip)} for clip in entry.get("top_clips", [])]} for unit, entry in described.items()
  }


def _animation(item: Mapping[str, Any], name: str, frame: int, input_size: int) -> tuple[str, bytes, dict[str, Any]]:
  """Returns file name, WebP and what is said of one snippet."""
  first = min(max(frame - FIRED, 0), max(len(item["flow_u"]) - sampling_lib.FLOW_FRAMES, 0))
  chosen = range(first, min(first + sampling_lib.FLOW_FRAMES, len(item["flow_u"])))
  frames = np.stack([animation.decode(item["frames"][i])[0] for i in chosen])
  planes = [np.stack([animation.decode(item[key][i])[0][..., 0] for i in chosen]) for key in ("flow_u", "flow_v")]
  data = animation.clip_thumbnail(frames, np.stack(planes, axis=-1).astype(np.float32) - 128, height=HEIGHT)
  # As `snippets.evaluation_snippets` scales them.
  height, width = np.round(np.array(frames.shape[1:3]) * input_size / snippets_lib.PUBLISHED_SIZE).astype(int).tolist()
  # The digest keeps names apart that differ only in characters unfit for files.
  digest = hashlib.sha256(name.encode()).hexdigest()[:8]
  file = f"top_{safe_name(name.rsplit('/', 1)[-1])[:120]}_{digest}_{frame:05d}.webp"
  return file, data, {"thumbnail": file, "frames": len(chosen), "fired": min(frame - first, len(chosen) - 1), "size": [width, height]}
