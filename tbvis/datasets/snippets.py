"""Snippets: an RGB frame and the flow frames around it, one or several of them for a network."""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses

import tensorflow as tf

from tbvis.models.sampling import TWO_STREAM, Sampling

# Side of the crop that VGG-16 was published with, at a frame side of 256: other sizes scale with it.
PUBLISHED_SIZE = 224
SHORT_SIDE = 256
_ZERO_FLOW = 128.0


@dataclasses.dataclass(frozen=True)
class Augmentation:
  """How training crops are taken, in pixels of the 256-scaled frame (METHOD 1.3).

  Attributes:
    rule: "regular": sides are drawn from `sizes`, places are the four corners and the centre; "borders25": sides are drawn from
      224 times 0.75 to 1.25, places lie within a quarter of the room from the top left or the bottom right corner.
    sizes: sides from which width and height are drawn, each on its own ("regular").
    flip: whether half the crops are mirrored.
    colour: strength of random brightness and contrast of the appearance, 0 for none.
    noise: largest standard deviation of white noise on each input, in input units; drawn anew for every snippet.
      A network trained without it from nothing answers to patterns of single pixels, and its stimuli are made of them.
  """

  rule: str = "regular"
  sizes: tuple[int, ...] = (256, 224, 192, 168)
  flip: bool = True
  colour: float = 0.0
  noise: Mapping[str, float] = dataclasses.field(default_factory=dict)


def frame_range(frames: tf.Tensor, sampling: Sampling = TWO_STREAM) -> tuple[tf.Tensor, tf.Tensor]:
  """Returns the first and one past the last 0-based frame whose flow frames lie inside a clip of T frames.

  The stack of 10 of frame s (1-based) is the flow files s - 5 ... s + 4, so s is 6 ... T - 5 (METHOD 1.2);
  0-based, 5 ... T - 6. Without motion every frame serves.
  """
  if "motion" not in sampling.streams:
    return tf.constant(0), frames
  first = sampling.flow_before
  return tf.constant(first), tf.maximum(frames - sampling.flow_frames + first, first + 1)


def _spaced(first: tf.Tensor, end: tf.Tensor, spacing: tf.Tensor, chunks: int) -> tuple[tf.Tensor, tf.Tensor]:
  """Returns chunks' frames from the first one's on, (chunks,), closer in short clips, and one past the last frame for the first."""
  room = tf.cast(tf.maximum(end - first - 1, 0), tf.float32) / max(1, chunks - 1)
  offsets = tf.cast(tf.minimum(tf.cast(spacing, tf.float32), room) * tf.range(chunks, dtype=tf.float32), tf.int32)
  return offsets, end - offsets[-1]


def training_frames(frames: tf.Tensor, sampling: Sampling, seed: tf.Tensor) -> tf.Tensor:
  """Draws the 0-based frames, int32 (chunks,), of one look at a clip of T frames."""
  first, end = frame_range(frames, sampling)
  if sampling.spacing is None:
    bounds = first + (end - first) * tf.range(sampling.chunks + 1) // sampling.chunks
    length = tf.cast(bounds[1:] - bounds[:-1], tf.float32)
    inside = tf.random.stateless_uniform([sampling.chunks], seed) * length
    return tf.minimum(bounds[:-1] + tf.cast(inside, tf.int32), end - 1)
  if sampling.chunks == 1:
    return tf.random.stateless_uniform([1], seed, first, end, tf.int32)
  seeds = tf.random.split(seed, 2)
  least, most = sampling.spacing
  offsets, last = _spaced(first, end, tf.random.stateless_uniform([], seeds[0], least, most + 1, tf.int32), sampling.chunks)
  return tf.minimum(tf.random.stateless_uniform([], seeds[1], first, tf.maximum(last, first + 1), tf.int32) + offsets, end - 1)


def evaluation_frames(frames: tf.Tensor, count: int, sampling: Sampling = TWO_STREAM) -> tf.Tensor:
  """Returns the 0-based frames, int32 (count, chunks), of looks spread evenly over a clip of T frames.

  Chunks lie as far apart as in the middle of `Sampling.spacing`; a look at segments takes the same place in each.
  """
  first, end = frame_range(frames, sampling)
  if sampling.spacing is None:
    # In halves of a look's part, so that whole numbers do.
    halves = 2 * count * tf.range(sampling.chunks)[None] + 2 * tf.range(count)[:, None] + 1
    return first + halves * (end - first) // (2 * count * sampling.chunks)
  offsets, last = _spaced(first, end, tf.constant((sum(sampling.spacing) + 1) // 2), sampling.chunks)
  low, high = tf.cast(first, tf.float32), tf.cast(last - 1, tf.float32)
  starts = tf.linspace(low, high, count) if count > 1 else tf.stack([(low + high) / 2])
  return tf.cast(tf.round(starts), tf.int32)[:, None] + offsets


def decode_ratio(input_size: int) -> int:
  """Returns by how much pictures may be reduced while they are decoded (1, 2 or 4), which saves most of the time.

  >>> decode_ratio(112), decode_ratio(224)
  (2, 1)
  """
  return max(r for r in (1, 2, 4) if input_size * r <= PUBLISHED_SIZE or r == 1)


def read_snippet(clip: Mapping[str, tf.Tensor], frame: tf.Tensor, ratio: int = 1, sampling: Sampling = TWO_STREAM) -> dict[str, tf.Tensor]:
  """Decodes one chunk.

  Args:
    clip: an element of `PreparedDataset.clips`.
    frame: 0-based frame of `frame_range`.
    ratio: 1, 2 or 4, by which the pictures are reduced. Flow values stay in pixels of the full frame.
    sampling: what is read.

  Returns:
    By stream: uint8 RGB (H, W, 3), and uint8 flow (H, W, 2 * flow frames) as u1 v1 u2 v2 ...
  """
  found = {}
  if "appearance" in sampling.streams:
    found["appearance"] = tf.io.decode_jpeg(clip["frames"][frame], channels=3, ratio=ratio)
  if "motion" in sampling.streams:
    # A clip with fewer flow frames than a chunk has holds its last one.
    wanted = tf.minimum(frame - sampling.flow_before + tf.range(sampling.flow_frames), tf.shape(clip["flow_u"])[0] - 1)
    pairs = [tf.gather(clip[name], wanted) for name in ("flow_u", "flow_v")]
    encoded = tf.reshape(tf.stack(pairs, axis=1), [2 * sampling.flow_frames])
    planes = tf.map_fn(
      lambda x: tf.io.decode_jpeg(x, channels=1, ratio=ratio)[..., 0], encoded, fn_output_signature=tf.TensorSpec([None, None], tf.uint8)
    )
    found["motion"] = tf.transpose(planes, [1, 2, 0])
  return found


def to_inputs(found: Mapping[str, tf.Tensor], flip: tf.Tensor, appearance_mean: tuple[float, float, float]) -> dict[str, tf.Tensor]:
  """Makes the model's inputs of pictures of equal size.

  A mirrored u is 255 - u, so that a zero becomes -1 after the mean is taken off, as in the
  released networks (METHOD 1.2).

  Args:
    found: by stream: "appearance" (..., H, W, 3) RGB, 0 to 255; "motion" (..., H, W, 2 * flow frames) quantised flow, 0 to 255.
    flip: scalar bool.
    appearance_mean: R, G, B.

  Returns:
    float32 by stream, in the same shapes.
  """
  inputs = {stream: tf.cast(values, tf.float32) for stream, values in found.items()}
  for stream, values in inputs.items():
    mirrored = tf.reverse(values, [-2])
    if stream == "motion":
      is_u = tf.range(tf.shape(values)[-1]) % 2 == 0
      mirrored = tf.where(is_u, 255.0 - mirrored, mirrored)
    origin = tf.constant(appearance_mean, tf.float32) if stream == "appearance" else _ZERO_FLOW
    inputs[stream] = tf.where(flip, mirrored, values) - origin
  return inputs


def _resize(image: tf.Tensor, height: int, width: int) -> tf.Tensor:
  return tf.image.resize(tf.cast(image, tf.float32), [height, width])


def _crop(augmentation: Augmentation, side_seed: tf.Tensor, place_seed: tf.Tensor, ratio: int) -> tuple[tf.Tensor, tf.Tensor]:
  """Draws a crop: int32 (height, width) in pixels of a frame reduced by `ratio`, and its place, 0 to 1 of the room that is left."""
  if augmentation.rule == "regular":
    sizes = tf.constant([size // ratio for size in augmentation.sizes])
    side = tf.gather(sizes, tf.random.stateless_uniform([2], side_seed, 0, len(augmentation.sizes), tf.int32))
    corner = tf.random.stateless_uniform([], place_seed, 0, 5, tf.int32)
    return side, tf.gather([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0], [0.5, 0.5]], corner)
  if augmentation.rule == "borders25":
    side = tf.round(tf.random.stateless_uniform([2], side_seed, 0.75, 1.25) * (PUBLISHED_SIZE / ratio))
    seeds = tf.random.split(place_seed, 2)
    # The released code draws both places from 0 to 0.25 or both from 0.75 to 1: two of the corners. Mirroring makes up for it.
    far = tf.cast(tf.random.stateless_uniform([], seeds[0]) < 0.5, tf.float32)
    return tf.cast(side, tf.int32), 0.75 * far + tf.random.stateless_uniform([2], seeds[1], 0.0, 0.25)
  raise ValueError(f"Invalid value for argument `rule`. Expected 'regular' or 'borders25'. Received: rule={augmentation.rule!r}")


def training_snippet(
  clip: Mapping[str, tf.Tensor],
  seed: tf.Tensor,
  *,
  input_size: int,
  appearance_mean: tuple[float, float, float],
  augmentation: Augmentation,
  sampling: Sampling = TWO_STREAM,
) -> dict[str, tf.Tensor]:
  """Draws a random snippet and crop of a clip.

  Width and height of the crop are drawn on their own and its place too, by the rule of
  `augmentation`, and resized to `input_size`; the same crop for all frames and flow frames.

  Args:
    clip: an element of `PreparedDataset.clips`.
    seed: int32 (2,).
    input_size: side of the result in pixels.
    appearance_mean: R, G, B.
    augmentation: how crops are taken.
    sampling: what the network is shown.

  Returns:
    float32 by stream, in the shapes of `sampling.shapes(input_size)`.
  """
  seeds = tf.random.split(seed, 8)
  frames = training_frames(tf.shape(clip["frames"])[0], sampling, seeds[0])
  ratio = decode_ratio(input_size)
  chunks = [read_snippet(clip, frames[index], ratio, sampling) for index in range(sampling.chunks)]
  found = {stream: tf.stack([chunk[stream] for chunk in chunks]) for stream in sampling.streams}
  size = tf.shape(found[sampling.streams[0]])[1:3]
  side, place = _crop(augmentation, seeds[1], seeds[2], ratio)
  side = tf.minimum(side, size)
  top = tf.cast(tf.cast(size - side, tf.float32) * place, tf.int32)
  for stream, values in found.items():
    found[stream] = _resize(values[:, top[0] : top[0] + side[0], top[1] : top[1] + side[1]], input_size, input_size)
  if augmentation.colour and "appearance" in found:
    gain = tf.random.stateless_uniform([1, 1, 3], seeds[3], 1 - augmentation.colour, 1 + augmentation.colour)
    offset = tf.random.stateless_uniform([1, 1, 3], seeds[4], -1.0, 1.0) * 128 * augmentation.colour
    found["appearance"] = tf.clip_by_value(found["appearance"] * gain + offset, 0.0, 255.0)
  flip = tf.logical_and(augmentation.flip, tf.random.stateless_uniform([], seeds[5]) < 0.5)
  inputs = to_inputs(found, flip, appearance_mean)
  level = tf.random.stateless_uniform([], seeds[6])
  for stream, largest in augmentation.noise.items():
    if largest and stream in inputs:
      own = tf.random.experimental.stateless_fold_in(seeds[7], TWO_STREAM.streams.index(stream))
      inputs[stream] += level * largest * tf.random.stateless_normal(tf.shape(inputs[stream]), own)
  shapes = sampling.shapes(input_size)
  return {stream: tf.reshape(values, shapes[stream]) for stream, values in inputs.items()}


def evaluation_snippets(
  clip: Mapping[str, tf.Tensor],
  *,
  input_size: int,
  appearance_mean: tuple[float, float, float],
  count: int = 25,
  flips: bool = True,
  sampling: Sampling = TWO_STREAM,
) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
  """Takes full frames at even distances over a clip (25 and their mirror images in the paper).

  Args:
    clip: an element of `PreparedDataset.clips`.
    input_size: the network's training crop; frames are scaled by `input_size` / 224.
    appearance_mean: R, G, B.
    count: number of snippets.
    flips: whether the mirrored snippets follow, so that S = 2 * count.
    sampling: what the network is shown.

  Returns:
    Inputs by stream, float32 (S, [chunks,] H, W, channels), and their frames, int32 (S, chunks).
  """
  looks = evaluation_frames(tf.shape(clip["frames"])[0], count, sampling)
  # All clips of one aspect get one size; it is set by the first frame.
  shape = tf.shape(tf.io.decode_jpeg(clip["frames"][0], channels=3))[:2]
  factor = tf.cast(input_size, tf.float32) / PUBLISHED_SIZE
  size = tf.cast(tf.round(tf.cast(shape, tf.float32) * factor), tf.int32)

  def one(frame: tf.Tensor) -> dict[str, tf.Tensor]:
    found = read_snippet(clip, frame, decode_ratio(input_size), sampling)
    return {stream: _resize(values, size[0], size[1]) for stream, values in found.items()}

  # Looks of several chunks share frames: each is decoded once.
  single = sampling.shapes(None)
  frames, places = tf.unique(tf.reshape(looks, [-1]))
  found = tf.map_fn(one, frames, fn_output_signature={s: tf.TensorSpec([None, None, single[s][-1]], tf.float32) for s in sampling.streams})
  axes = (-1,) if sampling.chunks == 1 else (-1, sampling.chunks)
  result = {}
  for stream, values in found.items():
    parts = [to_inputs({stream: values}, tf.constant(flip), appearance_mean)[stream] for flip in ((False, True) if flips else (False,))]
    parts = [tf.reshape(tf.gather(part, places), [*axes, size[0], size[1], single[stream][-1]]) for part in parts]
    result[stream] = tf.concat(parts, 0)
  return result, tf.tile(looks, [2 if flips else 1, 1])
