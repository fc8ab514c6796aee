"""What TensorBoard's own tabs, Scalars and Images, get of stimuli: all of the first ones, the pictures of class units.

TensorBoard keeps every event in memory, and these tabs are of no use with tens of thousands of tags.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tbvis import events
from tbvis.records import StimulusRecord
from tbvis.rendering import animation
from tbvis.rendering.appearance import film_to_rgb
from tbvis.rendering.flow_color import flow_to_rgb, motion_frames

STIMULI = 200
_GIF = "R = u, G = v, B = |(u, v)|, one scale a clip, grey = 0"


class StockTabs:
  """Makes the events of one run's stimuli.

  Args:
    stimuli: of how many there are curves and pictures; of later ones there are pictures of class units.
    gifs: how many flows of units that are no class's are GIFs.
    before: identities of the stimuli that the run has already.
  """

  def __init__(self, stimuli: int, gifs: int, before: Sequence[Mapping[str, Any]]):
    self._left = stimuli - len(before)
    self._gifs_left = gifs - sum(not identity.get("class_name") for identity in before)

  def events(self, record: StimulusRecord, prefix: str, media: Mapping[str, bytes]) -> list[tuple[int, list[Any]]]:
    """Returns the (step, values) events of a stimulus.

    Args:
      record: the stimulus.
      prefix: of its tags.
      media: its full-size files by name.
    """
    whole, self._left = self._left > 0, self._left - 1
    if not whole and not record.class_name:
      return []
    steps = np.asarray(record.steps, int).tolist()
    curves = [
      (step, [events.scalar_value(f"{prefix}/{term}", float(values[i])) for term, values in record.history.items()])
      for i, step in enumerate(steps)
    ]
    return [*(curves if whole else ()), (steps[-1] if steps else 0, self._pictures(record, prefix, media))]

  def _pictures(self, record: StimulusRecord, prefix: str, media: Mapping[str, bytes]) -> list[Any]:
    values = []
    moves = record.motion is not None or record.film is not None
    plays = moves and bool(record.class_name or self._gifs_left > 0)
    self._gifs_left -= plays and not record.class_name
    if record.appearance is not None:
      height, width = record.appearance.shape[:2]
      # A film that does not play is its middle frame.
      gif = animation.encode_gif(film_to_rgb(record.film)) if plays and record.film is not None else None
      told = "the middle frame of a film" if record.film is not None and not gif else ""
      values.append(events.image_value(f"{prefix}/appearance", gif or media["appearance.png"], width, height, told))
    if record.motion is not None and plays:
      height, width = record.motion.shape[:2]
      gif = animation.encode_gif(flow_to_rgb(motion_frames(record.motion)))
      values.append(events.image_value(f"{prefix}/motion", gif, width, height, _GIF))
    return values
