"""The inputs of a network as the search sees them: space, frames and components apart, in grey levels of 255."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import dataclasses
import math
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from tbvis.errors import UsageError, unknown_name
from tbvis.models import geometry
from tbvis.models.sampling import OPEN_FRAMES

if TYPE_CHECKING:
  import keras

_CLIP_RANK = 5
_FLOW_NAMES = ("motion", "flow")
SETTABLE = ("frames", "components", "scale", "offset", "gap")


@dataclasses.dataclass(frozen=True)
class Stream:
  """One input of a network. A row of it is searched as (height, width, frames, components).

  Attributes:
    name: of the input.
    frames: frames along time, over all chunks.
    components: values of a pixel of one frame: 3 of a colour image, 2 (u, v) of a flow.
    chunks: length of the model's time axis, 0 where its input has none: (N, H, W, C) or (N, chunks, H, W, C).
    size: (height, width) where the model fixes them, else None.
    scale: the network sees `scale * x + offset`, x in grey levels of 255 around 0.
    offset: see `scale`.
    windows: chunks of a longer clip that the frames come from, as many each; 1 where all frames follow each other.
    gap: frames of the clip from a window's last one to the next window's first: 1 where they follow each other, infinite where
      nobody knows.

  >>> Stream("motion", frames=10, components=2).channels
  20
  >>> Stream("motion", frames=50, components=2, chunks=5, windows=5, gap=6.0).parts
  5
  """

  name: str
  frames: int = 1
  components: int = 3
  chunks: int = 0
  size: tuple[int, int] | None = None
  scale: float = 1.0
  offset: float = 0.0
  windows: int = 1
  gap: float = 1.0

  def __post_init__(self) -> None:
    for field in ("frames", "components", "windows"):
      if getattr(self, field) < 1:
        raise UsageError(f"Input {self.name}: expected {field} of at least 1, received {getattr(self, field)!r}.")
    if self.chunks and self.frames % self.chunks:
      raise UsageError(f"Input {self.name}: expected frames in {self.chunks} equal chunks, received {self.frames}.")
    if self.frames % self.windows:
      raise UsageError(f"Input {self.name}: expected frames in {self.windows} equal windows, received {self.frames}.")
    if not self.scale:
      raise UsageError(f"Input {self.name}: expected a scale other than 0.")
    if not self.gap >= 1:
      raise UsageError(f"Input {self.name}: expected a gap of at least 1 frame, received {self.gap!r}.")

  @property
  def channels(self) -> int:
    """Channels of the model's input."""
    return self.frames * self.components // max(self.chunks, 1)

  @property
  def parts(self) -> int:
    """Windows between which frames of the clip are missing; 1 where all frames follow each other."""
    return self.windows if self.gap > 1 else 1

  def searched_frames(self, jitter: int) -> int:
    """Returns how many frames are searched so that those of every part can be shifted by up to `jitter`; single frames are not."""
    return self.frames + self.parts * jitter if self.frames > self.parts else self.frames

  def time_weights(self, jitter: int = 0) -> tuple[float, ...]:
    """Returns how much the change from each searched frame to the next counts, (frames - 1,): 1 inside a part.

    The paper adds up the squared changes of a motion stack whose frames follow each other. Of frames that lie `gap` apart the ones
    between are not seen; the sum over them is least where they lie on the straight line, and is then the squared change over `gap`.
    So a spaced chunk is held to its neighbour the less, the farther it lies, and not at all where its distance is not known.
    """
    frames = self.searched_frames(jitter)
    each = frames // self.parts
    # Room for shifts reaches into what lies between.
    between = 1 / max(self.gap - (jitter if each > 1 else 0), 1)
    return tuple(between if (frame + 1) % each == 0 else 1.0 for frame in range(frames - 1))

  @property
  def is_flow(self) -> bool:
    """Whether its pixels are vectors in the image plane."""
    return self.components == 2

  def to_network(self, x: tf.Tensor) -> tf.Tensor:
    """Returns (rows, H, W, frames, components) as the model takes it: (rows[, chunks], H, W, channels)."""
    height, width = x.shape[1:3]
    if self.chunks > 1:
      x = tf.reshape(x, [-1, height, width, self.chunks, self.channels])
      x = tf.transpose(x, [0, 3, 1, 2, 4])
    else:
      x = tf.reshape(x, [-1, *([1] * self.chunks), height, width, self.channels])
    return x if self.scale == 1.0 and self.offset == 0.0 else self.scale * x + self.offset


def _named_as_flow(name: str) -> bool:
  return any(word in name.lower() for word in _FLOW_NAMES)


def _stream(name: str, shape: Sequence[int | None], given: Mapping[str, Any]) -> Stream:
  """Reads a stream off an input's shape (None, H, W, C) or (None, T, H, W, C)."""
  unknown = [key for key in given if key not in SETTABLE]
  if unknown:
    raise unknown_name("setting", unknown[0], SETTABLE, f"input {name}")
  if len(shape) not in (_CLIP_RANK - 1, _CLIP_RANK) or shape[-1] is None:
    raise UsageError(f"Input {name}: expected shape (N, H, W, C) or (N, T, H, W, C), received {tuple(shape)}.")
  channels, (height, width) = int(shape[-1]), shape[-3:-1]
  size = None if height is None or width is None else (int(height), int(width))
  chunks = 0
  if len(shape) == _CLIP_RANK:
    chunks = int(shape[1] or given.get("frames", OPEN_FRAMES * max(1, channels // int(given.get("components", channels)))))
  each = max(chunks, 1)
  if "components" in given:
    components = int(given["components"])
  elif "frames" in given and not chunks:
    components = channels // int(given["frames"])
  else:
    # u and v of consecutive frames, as the field stacks them.
    components = 2 if _named_as_flow(name) and channels % 2 == 0 else channels
  frames = channels // max(components, 1) * each
  if frames * components != channels * each or given.get("frames", frames) != frames:
    raise UsageError(
      f"Input {name}: expected frames x components to be its {channels * each} channels, "
      f"received {given.get('frames', frames)} x {components}."
    )
  scale, offset, gap = (float(given.get(key, default)) for key, default in (("scale", 1.0), ("offset", 0.0), ("gap", math.inf)))
  return Stream(name, frames, components, chunks, size, scale, offset, gap=gap)


def _windowed(found: dict[str, Stream]) -> dict[str, Stream]:
  """Tells chunks from films: an input with several frames at a time step has windows of a longer clip, and so have those beside it."""
  windows = {stream.chunks for stream in found.values() if 1 < stream.chunks < stream.frames}
  return {
    name: dataclasses.replace(stream, windows=stream.chunks) if stream.chunks in windows else dataclasses.replace(stream, gap=1.0)
    for name, stream in found.items()
  }


def sampled(found: Mapping[str, Stream], chunks: int, spacing: tuple[int, int] | None) -> dict[str, Stream]:
  """Returns the inputs of a network of which it is known how its chunks are taken from a clip.

  Args:
    found: its inputs.
    chunks: how many it sees at once.
    spacing: fewest and most frames from one chunk's first to the next one's; None where they are spread over the clip.

  >>> both = sampled({s.name: s for s in (Stream("appearance", 5, 3, 5), Stream("motion", 50, 2, 5))}, 5, (5, 25))
  >>> [(stream.windows, stream.gap) for stream in both.values()]
  [(5, 15.0), (5, 6.0)]
  """

  # Single frames at steps of their own are a film, as any video is, whatever lies between two of them.
  video = spacing is not None and all(stream.frames == stream.chunks for stream in found.values())

  def of(stream: Stream) -> Stream:
    if chunks < 2 or stream.chunks != chunks:
      return stream
    # Chunks that overlap are searched as if the one began where the other ends: their common frames are the network's, twice.
    gap = math.inf if spacing is None else max(sum(spacing) / 2 - (stream.frames // chunks - 1), 1.0)
    film = video or (stream.frames == chunks and gap == 1)
    return dataclasses.replace(stream, windows=1 if film else chunks, gap=1.0 if film else gap)

  return {name: of(stream) for name, stream in found.items()}


def streams_of(model: keras.Model, given: Mapping[str, Mapping[str, Any]] | None = None) -> dict[str, Stream]:
  """Returns the inputs of a Functional model by name, in its order.

  An input named after motion or flow whose channels are even is a stack of (u, v); any other has one frame a time step
  and all its channels as components. `given` says otherwise. Where an input has several frames at a time step, steps are taken for
  chunks of a longer clip, `gap` frames apart; others are films.

  Args:
    model: the model.
    given: by input, any of "frames", "components", "scale", "offset", "gap" (see `Stream`).

  Raises:
    UsageError: for an input that is neither image nor video, or `given` that does not fit.

  >>> import keras
  >>> clip, flow = keras.Input((8, 64, 64, 3), name="clip"), keras.Input((None, None, 20), name="flow")
  >>> net = keras.Model([clip, flow], [clip, flow])
  >>> [(s.frames, s.components, s.size) for s in streams_of(net).values()]
  [(8, 3, (64, 64)), (10, 2, None)]
  """
  given = dict(given or {})
  inputs = geometry.inputs_by_name(model)
  for name in given:
    if name not in inputs:
      raise unknown_name("input", name, inputs, f"model {model.name!r}")
  return _windowed({name: _stream(name, tensor.shape, given.get(name, {})) for name, tensor in inputs.items()})
