"""What of a clip a network is shown at once."""

from __future__ import annotations

import dataclasses

# Of the two-stream networks; half of them lie before the snippet's frame.
FLOW_FRAMES = 10
# Of a film whose model leaves their number open.
OPEN_FRAMES = 16


@dataclasses.dataclass(frozen=True)
class Sampling:
  """What of a clip a network is shown at once: chunks, each a frame and the flow frames around it.

  Attributes:
    streams: the inputs that are read.
    flow_frames: flow frames of a chunk.
    flow_before: how many of them begin before the chunk's frame: half of them where they are centred on it, 0 where they follow it.
    chunks: how many chunks there are.
    spacing: fewest and most frames from one chunk to the next; None where each comes from its own of as many equal parts of the clip
      (TSN's segments).

  >>> Sampling().shapes(4)
  {'appearance': (4, 4, 3), 'motion': (4, 4, 20)}
  >>> Sampling(("appearance",), chunks=16, spacing=(1, 1)).shapes(4)
  {'appearance': (16, 4, 4, 3)}
  """

  streams: tuple[str, ...] = ("appearance", "motion")
  flow_frames: int = FLOW_FRAMES
  flow_before: int = FLOW_FRAMES // 2
  chunks: int = 1
  spacing: tuple[int, int] | None = (1, 1)

  def shapes(self, side: int | None) -> dict[str, tuple[int | None, ...]]:
    """Returns the shape of each input for frames of this side; a chunk axis comes first where there are several chunks."""
    channels = {"appearance": 3, "motion": 2 * self.flow_frames}
    time = (self.chunks,) if self.chunks > 1 else ()
    return {stream: (*time, side, side, channels[stream]) for stream in self.streams}

  def middle(self) -> int:
    """Returns the chunk that stands for all where one frame is shown."""
    return self.chunks // 2


# A frame with ten flow frames around it, as the two-stream networks are shown.
TWO_STREAM = Sampling()
