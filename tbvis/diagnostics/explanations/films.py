"""Clips of the report, playing, with where the network looked laid over both streams."""

from __future__ import annotations

from collections.abc import Sequence
import dataclasses

from absl import logging
import numpy as np

from tbvis import progress
from tbvis.datasets import reader as reader_lib
from tbvis.diagnostics import attribution
from tbvis.diagnostics.explanations import clips as clips_lib
from tbvis.diagnostics.explanations.record import ShownClip
from tbvis.errors import UsageError
from tbvis.models import checkpoint as checkpoint_lib
from tbvis.rendering import animation
from tbvis.rendering.flow_color import flow_to_rgb
from tbvis.rendering.overlay import overlay

# Snippets a film, spread over the clip.
FRAMES = 12
_MILLISECONDS = 160


@dataclasses.dataclass(frozen=True)
class Wanted:
  """A clip to play.

  Attributes:
    name: of the clip.
    kind: what it is, for the report.
    class_name: the class whose score is attributed: the one that the clip was called.
  """

  name: str
  kind: str
  class_name: str


def play(
  checkpoint: checkpoint_lib.Checkpoint,
  dataset: reader_lib.ClipSet,
  split: str,
  label: int,
  wanted: Sequence[Wanted],
  tower: str,
  layer: str,
) -> tuple[ShownClip, ...]:
  """Makes the films of some clips of a class.

  Args:
    checkpoint: the network.
    dataset: the prepared set.
    split: its split.
    label: class number of the clips.
    wanted: which clips.
    tower: whose score is attributed.
    layer: where Grad-CAM is taken, as "conv5_fusion" or "conv5_3" (each stream's own).

  Returns:
    The clips in the order of `wanted`; each has a film a stream and method.
  """
  by_name = {clip.name: clip for clip in wanted}
  if not by_name:
    return ()
  attributors = {
    title: attribution.Attributor(checkpoint.model, method, layer, classes=checkpoint.classes)
    for method, title in (("grad_cam", "Grad-CAM"), ("excitation_backprop", "excitation backpropagation"))
  }
  found, sampling = {}, checkpoint.sampling
  clips = clips_lib.read(checkpoint, dataset, split, [label], None, FRAMES, by_name)
  with progress.bar(clips, total=len(by_name), description="films", unit="clip") as bar:
    for clip in bar:
      chosen, inputs = by_name[clip.clip], clips_lib.inputs_of(clip)
      films: dict[str, bytes] = {}
      for title, attribute in list(attributors.items()):
        try:
          maps = attribute(inputs, attribution.class_score(chosen.class_name, tower, checkpoint.towers)).maps
        except UsageError as error:  # A network of others may have layers without a rule.
          logging.warning("No films of %s: %s", title, error)
          del attributors[title]
          continue
        shown, maps = (clips_lib.middle(values, sampling) for values in (inputs, maps))
        films |= {f"{stream}: {title} at {layer}": data for stream, data in _films(shown, maps, checkpoint.appearance_mean).items()}
      found[clip.clip] = ShownClip(clip.clip, chosen.kind, films)
  return tuple(found[clip.name] for clip in wanted if clip.name in found)


def _films(inputs: dict[str, np.ndarray], maps: dict[str, np.ndarray], mean: Sequence[float]) -> dict[str, bytes]:
  """Returns a looping WebP by stream: a frame a snippet."""
  shown = {}
  if "appearance" in inputs:
    shown["appearance"] = np.clip(inputs["appearance"] + np.asarray(mean, np.float32), 0, 255).astype(np.uint8), False
  if "motion" in inputs:
    frames = inputs["motion"].shape[-1] // 2
    stacks = inputs["motion"].reshape(*inputs["motion"].shape[:3], frames, 2)
    shown["motion"] = flow_to_rgb(stacks[..., frames // 2, :]), True
  # A stream that the score does not depend on has no map, or an empty one.
  drawn = {stream: overlay(frames, maps[stream], spotlight=spot) for stream, (frames, spot) in shown.items() if stream in maps}
  return {stream: animation.encode_webp(frames, _MILLISECONDS) for stream, frames in drawn.items()}
