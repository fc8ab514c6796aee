"""Changes of real clips' inputs: what a clip would look like turned, slowed down, frozen or covered.

An intervention is asked of a network's own inputs: appearance (N, H, W, 3), RGB minus the mean, where zero is the mean frame, and
motion (N, H, W, 20), u1 v1 ... u10 v10 in units of 40/255 pixels a frame, where zero is no motion. v counts downwards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import dataclasses
import math
from typing import TypeAlias

import numpy as np
import tensorflow as tf

from tbvis.errors import UsageError, unknown_name
from tbvis.models import two_stream

Array: TypeAlias = np.ndarray | tf.Tensor
FILLS = ("mean", "surround")
# Stored flow ends here: 8 bits around 128.
_MOTION_LIMITS = (-128.0, 127.0)


def _check_streams(streams: Sequence[str]) -> None:
  if isinstance(streams, str) or not streams:
    raise UsageError(f"streams: expected one or more of {', '.join(two_stream.STREAMS)} in a tuple, received {streams!r}.")
  for stream in streams:
    if stream not in two_stream.STREAMS:
      raise unknown_name("stream", stream, two_stream.STREAMS)


def _and_appearance(streams: Sequence[str]) -> str:
  """Returns what a name has behind it where more than the motion is changed."""
  return "" if tuple(streams) == ("motion",) else f"_{'_'.join(streams)}"


def _flow(motion: tf.Tensor) -> tf.Tensor:
  """Returns motion (N, H, W, 2 T) as (N, H, W, T, 2)."""
  shape = tf.shape(motion)
  return tf.reshape(motion, tf.concat([shape[:3], [shape[3] // 2, 2]], axis=0))


def _stack(flow: tf.Tensor) -> tf.Tensor:
  """Returns flow (N, H, W, T, 2) as motion (N, H, W, 2 T)."""
  shape = tf.shape(flow)
  return tf.reshape(flow, tf.concat([shape[:3], [2 * shape[3]]], axis=0))


class Intervention:
  """Base of all: a change of some streams of a batch of inputs.

  Attributes:
    streams: what it changes.
    name: short and without spaces; differs with every setting.
    words: what is done, as it stands in a sentence.
  """

  @property
  def streams(self) -> tuple[str, ...]:
    """See the class."""
    return ("motion",)

  @property
  def name(self) -> str:
    """See the class."""
    return self._told()[0]

  @property
  def words(self) -> str:
    """See the class."""
    return self._told()[1]

  def _told(self) -> tuple[str, str]:
    """Returns name and words."""
    raise NotImplementedError

  def _change(self, stream: str, values: tf.Tensor) -> tf.Tensor:
    """Returns one stream's values (N, H, W, channels), float32, changed."""
    raise NotImplementedError

  def _change_film(self, stream: str, values: tf.Tensor) -> tf.Tensor:
    """Returns one stream's values (N, chunks, H, W, channels), float32, changed: each chunk by itself, where a change knows no better."""
    shape = tf.shape(values)
    return tf.reshape(self._change(stream, tf.reshape(values, tf.concat([[-1], shape[2:]], 0))), shape)

  def __call__(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Changes a batch.

    Args:
      inputs: float (N, [chunks,] H, W, channels) by stream, NumPy or TensorFlow.

    Returns:
      The same streams, float32, of the kind received; those that are not concerned are handed on as they are.

    Raises:
      UsageError: if a stream that should be changed is missing or has another shape.
    """
    found = dict(inputs)
    for stream in self.streams:
      if stream not in inputs:
        raise UsageError(f"{self.name}: expected inputs of stream {stream!r}, received those of {', '.join(inputs) or 'none'}.")
      values = tf.convert_to_tensor(inputs[stream], tf.float32)
      if values.shape.rank not in (4, 5) or (stream == "motion" and values.shape[-1] % 2):
        raise UsageError(f"{self.name}: expected {stream} of shape (N, [chunks,] H, W, channels), received {tuple(values.shape)}.")
      changed = self._change(stream, values) if values.shape.rank == 4 else self._change_film(stream, values)
      found[stream] = changed.numpy() if isinstance(inputs[stream], np.ndarray) else changed
    return found


@dataclasses.dataclass(frozen=True)
class Rotate(Intervention):
  """Turns the picture about its centre, counter-clockwise as it is seen; the vectors of a motion turn along.

  Values are interpolated between pixels; quarter turns of a square are exact. What comes in from outside is the picture mirrored at
  its border, which looks more like a picture than a grey corner does.
  """

  degrees: float
  streams: tuple[str, ...] = two_stream.STREAMS

  def __post_init__(self) -> None:
    _check_streams(self.streams)
    if not math.isfinite(self.degrees):
      raise UsageError(f"Rotate: expected a finite number of degrees, received {self.degrees!r}.")

  def _told(self) -> tuple[str, str]:
    way = "counter-clockwise" if self.degrees >= 0 else "clockwise"
    words = f"{' and '.join(self.streams)} turned by {abs(self.degrees):g} degrees {way}"
    return f"rotate_{self.degrees:g}_{'_'.join(self.streams)}", words

  def _change(self, stream: str, values: tf.Tensor) -> tf.Tensor:
    # Exact at quarter turns, where cos(pi / 2) is not quite 0.
    quarters = self.degrees / 90
    angle = math.radians(self.degrees)
    cos, sin = (round(f(angle)) if quarters == int(quarters) else f(angle) for f in (math.cos, math.sin))
    turned = _turned(values, cos, sin)
    if stream != "motion":
      return turned
    u, v = tf.unstack(_flow(turned), axis=-1)
    # v counts downwards, so that a flow to the right turns upwards to negative v.
    return _stack(tf.stack([cos * u + sin * v, cos * v - sin * u], axis=-1))


def _turned(values: tf.Tensor, cos: float, sin: float) -> tf.Tensor:
  """Returns pictures (N, H, W, C) turned counter-clockwise about their centre."""
  height, width = tf.shape(values)[1], tf.shape(values)[2]
  y, x = tf.meshgrid(tf.range(height), tf.range(width), indexing="ij")
  middle = (tf.cast(height - 1, tf.float32) / 2, tf.cast(width - 1, tf.float32) / 2)
  y, x = tf.cast(y, tf.float32) - middle[0], tf.cast(x, tf.float32) - middle[1]
  at = tf.stack([sin * x + cos * y + middle[0], cos * x - sin * y + middle[1]], axis=-1)
  low = tf.floor(at)
  part = at - low
  flat = tf.reshape(values, [tf.shape(values)[0], height * width, values.shape[-1]])
  total = tf.zeros_like(values)
  for down in (0, 1):
    for across in (0, 1):
      place = tf.cast(low, tf.int32) + [down, across]
      index = _mirrored(place[..., 0], height) * width + _mirrored(place[..., 1], width)
      weight = tf.abs(1 - down - part[..., 0]) * tf.abs(1 - across - part[..., 1])
      total += weight[None, ..., None] * tf.gather(flat, index, axis=1)
  return total


def _mirrored(index: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
  """Returns places beyond a border as those that a mirror on its last pixel shows."""
  period = tf.maximum(2 * (size - 1), 1)
  within = tf.math.floormod(index, period)
  return tf.minimum(within, period - within)


@dataclasses.dataclass(frozen=True)
class Shift(Intervention):
  """Moves the picture up or down by a part of its height; what comes in is the picture mirrored at its border.

  Attributes:
    up: part of the height, -1 to 1; downwards where negative.
    streams: which.
  """

  up: float
  streams: tuple[str, ...] = two_stream.STREAMS

  def __post_init__(self) -> None:
    _check_streams(self.streams)
    if not -1 <= self.up <= 1:
      raise UsageError(f"Shift: expected a part of the height from -1 to 1, received {self.up!r}.")

  def _told(self) -> tuple[str, str]:
    way = "up" if self.up >= 0 else "down"
    words = f"{' and '.join(self.streams)} moved {way} by {abs(self.up):g} of the height"
    return f"shift_{self.up:g}_{'_'.join(self.streams)}", words

  def _change(self, stream: str, values: tf.Tensor) -> tf.Tensor:
    height = tf.shape(values)[1]
    rows = tf.range(height) + tf.cast(tf.round(self.up * tf.cast(height, tf.float32)), tf.int32)
    return tf.gather(values, _mirrored(rows, height), axis=1)


@dataclasses.dataclass(frozen=True)
class Slow(Intervention):
  """Multiplies the flow by a factor: 0.5 is half the speed, 2 is twice, held within what stored flow can say (20 pixels a frame).

  Attributes:
    factor: at least 0.
    stretch: whether time runs at that speed too: each chunk is resampled about its middle, linear between frames, so that what swings
      swings slower. A faster one holds its first and last frames.
  """

  factor: float
  stretch: bool = False

  def __post_init__(self) -> None:
    if not (math.isfinite(self.factor) and self.factor >= 0):
      raise UsageError(f"Slow: expected a finite factor of at least 0, received {self.factor!r}.")

  def _told(self) -> tuple[str, str]:
    name, words = f"speed_{self.factor:g}", f"motion at {self.factor:g} times its speed"
    return (f"{name}_stretched", f"{words}, time stretched with it") if self.stretch else (name, words)

  def _change(self, stream: str, values: tf.Tensor) -> tf.Tensor:
    if self.stretch:
      frames = values.shape[-1] // 2
      at = np.clip((np.arange(frames) - (frames - 1) / 2) * self.factor + (frames - 1) / 2, 0, frames - 1)
      weights = np.maximum(0, 1 - np.abs(at[:, None] - np.arange(frames))).astype(np.float32)
      values = _stack(tf.einsum("nhwsc,ts->nhwtc", _flow(values), weights))
    return tf.clip_by_value(values * self.factor, *_MOTION_LIMITS)


@dataclasses.dataclass(frozen=True)
class Blank(Intervention):
  """Replaces a whole stream by zeros: the mean frame, or no motion."""

  stream: str

  def __post_init__(self) -> None:
    _check_streams((self.stream,))

  @property
  def streams(self) -> tuple[str, ...]:
    """The stream that is blanked."""
    return (self.stream,)

  def _told(self) -> tuple[str, str]:
    return f"blank_{self.stream}", "no motion anywhere" if self.stream == "motion" else "the mean frame instead of the appearance"

  def _change(self, stream: str, values: tf.Tensor) -> tf.Tensor:
    return tf.zeros_like(values)


@dataclasses.dataclass(frozen=True)
class Freeze(Intervention):
  """Stops the clip at the snippet's frame: nothing moves. For networks of single snippets that is a motion of zero.

  Attributes:
    streams: which; an appearance over chunks shows its middle one throughout.
  """

  streams: tuple[str, ...] = ("motion",)

  def __post_init__(self) -> None:
    _check_streams(self.streams)

  def _told(self) -> tuple[str, str]:
    return f"freeze{_and_appearance(self.streams)}", "the clip stopped at one frame"

  def _change(self, stream: str, values: tf.Tensor) -> tf.Tensor:
    return tf.zeros_like(values) if stream == "motion" else values

  def _change_film(self, stream: str, values: tf.Tensor) -> tf.Tensor:
    if stream == "motion":
      return tf.zeros_like(values)
    middle = values.shape[1] // 2
    return tf.repeat(values[:, middle : middle + 1], values.shape[1], axis=1)


@dataclasses.dataclass(frozen=True)
class FreezeInTime(Intervention):
  """Repeats the mean flow of the stack: what moves keeps its mean speed and way, and nothing changes from frame to frame."""

  def _told(self) -> tuple[str, str]:
    return "freeze_in_time", "motion without change over time, the mean flow of the snippet at every frame"

  def _change(self, stream: str, values: tf.Tensor) -> tf.Tensor:
    flow = _flow(values)
    return _stack(tf.broadcast_to(tf.reduce_mean(flow, axis=3, keepdims=True), tf.shape(flow)))

  def _change_film(self, stream: str, values: tf.Tensor) -> tf.Tensor:
    shape = tf.shape(values)
    flow = tf.reshape(values, tf.concat([shape[:-1], [shape[-1] // 2, 2]], axis=0))
    return tf.reshape(tf.broadcast_to(tf.reduce_mean(flow, axis=(1, 4), keepdims=True), tf.shape(flow)), shape)


@dataclasses.dataclass(frozen=True)
class Mirror(Intervention):
  """Exchanges left and right; u changes its sign with its side."""

  streams: tuple[str, ...] = two_stream.STREAMS

  def __post_init__(self) -> None:
    _check_streams(self.streams)

  def _told(self) -> tuple[str, str]:
    return f"mirror_{'_'.join(self.streams)}", f"{' and '.join(self.streams)} mirrored left to right"

  def _change(self, stream: str, values: tf.Tensor) -> tf.Tensor:
    mirrored = values[:, :, ::-1]
    return mirrored if stream != "motion" else _stack(_flow(mirrored) * [-1.0, 1.0])


@dataclasses.dataclass(frozen=True)
class Reverse(Intervention):
  """Plays a clip backwards: the last flow first, every vector the other way (where it starts rather than where it ends).

  Attributes:
    streams: which; chunks change places too, those of an appearance as well.
  """

  streams: tuple[str, ...] = ("motion",)

  def __post_init__(self) -> None:
    _check_streams(self.streams)

  def _told(self) -> tuple[str, str]:
    return f"reverse{_and_appearance(self.streams)}", f"{' and '.join(self.streams)} played backwards"

  def _change(self, stream: str, values: tf.Tensor) -> tf.Tensor:
    return _stack(-_flow(values)[..., ::-1, :]) if stream == "motion" else values

  def _change_film(self, stream: str, values: tf.Tensor) -> tf.Tensor:
    return super()._change_film(stream, values)[:, ::-1]


@dataclasses.dataclass(frozen=True, eq=False)
class BlankRegion(Intervention):
  """Replaces one region of a stream, and leaves the rest as it was.

  Attributes:
    stream: "appearance" or "motion".
    region: (top, left, bottom, right) as fractions of the picture, 0 to 1; or a map (h, w), 0 where the picture stays to 1 where it is
      replaced, of any size.
    label: what the region is called ("mouth"), for names.
    fill: "mean" is the mean frame or no motion; "surround" the mean of the same picture over what is left of it, which brings in no
      colour or speed of its own.
    edge: width of the soft edge of a box, as a fraction of the picture's shorter side; it lies inside the box.
  """

  stream: str
  region: tuple[float, float, float, float] | np.ndarray
  label: str = "region"
  fill: str = "mean"
  edge: float = 0.04

  def __post_init__(self) -> None:
    _check_streams((self.stream,))
    if self.fill not in FILLS:
      raise unknown_name("fill", self.fill, FILLS)
    region = np.asarray(self.region, np.float32)
    if region.ndim == 1:
      ordered = region.shape == (4,) and 0 <= region[0] < region[2] <= 1 and 0 <= region[1] < region[3] <= 1
    else:
      ordered = region.ndim == 2 and bool(np.all((region >= 0) & (region <= 1)))
    if not ordered:
      found = self.region if region.ndim == 1 else f"shape {region.shape}, {region.min(initial=0):g} to {region.max(initial=0):g}"
      raise UsageError(
        "BlankRegion: expected (top, left, bottom, right) as fractions of the picture, top < bottom and left < right, or a map (h, w) "
        f"of 0 to 1, received {found}."
      )
    if not 0 <= self.edge <= 1:
      raise UsageError(f"BlankRegion: expected an edge of 0 to 1, received {self.edge!r}.")

  @property
  def streams(self) -> tuple[str, ...]:
    """The stream that is changed."""
    return (self.stream,)

  def _told(self) -> tuple[str, str]:
    name, words = f"blank_{self.label.replace(' ', '_')}_of_{self.stream}", f"{self.label} of the {self.stream} replaced by"
    if self.fill == "surround":
      return f"{name}_surround", f"{words} the mean of the rest"
    return name, f"{words} {'the mean frame' if self.stream == 'appearance' else 'no motion'}"

  def mask(self, height: int, width: int) -> np.ndarray:
    """Returns how far each pixel is replaced, float32 (height, width), 0 to 1."""
    region = np.asarray(self.region, np.float32)
    if region.ndim == 2:
      return tf.image.resize(region[..., None], (height, width))[..., 0].numpy()
    along = []
    for size, first, last in ((height, region[0], region[2]), (width, region[1], region[3])):
      centres = np.arange(size) + 0.5
      inside = np.minimum(centres - first * size, last * size - centres)
      along.append(np.clip(inside / max(self.edge * min(height, width), 1e-6), 0, 1))
    return np.minimum(along[0][:, None], along[1][None]).astype(np.float32)

  def _change(self, stream: str, values: tf.Tensor) -> tf.Tensor:
    mask = self.mask(int(values.shape[1]), int(values.shape[2]))[None, ..., None]
    if self.fill == "mean":
      return values * (1 - mask)
    rest = tf.math.divide_no_nan(tf.reduce_sum(values * (1 - mask), axis=(1, 2), keepdims=True), float(np.sum(1 - mask)))
    return values * (1 - mask) + rest * mask
