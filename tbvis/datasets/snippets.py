"""Snippets: one RGB frame and the 10 flow frames centred on it."""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses

import tensorflow as tf

FLOW_FRAMES = 10
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


def frame_range(frames: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
  """Returns the first and one past the last 0-based frame whose 10 flow frames lie inside a clip of T frames.

  The stack of frame s (1-based) is the flow files s - 5 ... s + 4, so s is 6 ... T - 5 (METHOD 1.2);
  0-based, 5 ... T - 6.
  """
  return tf.constant(5), tf.maximum(frames - 5, 6)


def decode_ratio(input_size: int) -> int:
  """Returns by how much pictures may be reduced while they are decoded (1, 2 or 4), which saves most of the time.

  >>> decode_ratio(112), decode_ratio(224)
  (2, 1)
  """
  return max(r for r in (1, 2, 4) if input_size * r <= PUBLISHED_SIZE or r == 1)


def read_snippet(clip: dict[str, tf.Tensor], frame: tf.Tensor, ratio: int = 1) -> tuple[tf.Tensor, tf.Tensor]:
  """Decodes one snippet.

  Args:
    clip: an element of `PreparedDataset.clips`.
    frame: 0-based frame, 5 ... T - 6.
    ratio: 1, 2 or 4, by which the pictures are reduced. Flow values stay in pixels of the full frame.

  Returns:
    uint8 RGB (H, W, 3), and uint8 flow (H, W, 20) as u1 v1 ... u10 v10.
  """
  picture = tf.io.decode_jpeg(clip["frames"][frame], channels=3, ratio=ratio)
  u = clip["flow_u"][frame - 5 : frame + 5]
  v = clip["flow_v"][frame - 5 : frame + 5]
  encoded = tf.reshape(tf.stack([u, v], axis=1), [2 * FLOW_FRAMES])
  planes = tf.map_fn(
    lambda x: tf.io.decode_jpeg(x, channels=1, ratio=ratio)[..., 0], encoded, fn_output_signature=tf.TensorSpec([None, None], tf.uint8)
  )
  return picture, tf.transpose(planes, [1, 2, 0])


def to_inputs(picture: tf.Tensor, planes: tf.Tensor, flip: tf.Tensor, appearance_mean: tuple[float, float, float]) -> dict[str, tf.Tensor]:
  """Makes the model's inputs of pictures of equal size.

  A mirrored u is 255 - u, so that a zero becomes -1 after the mean is taken off, as in the
  released networks (METHOD 1.2).

  Args:
    picture: (H, W, 3) RGB, 0 to 255.
    planes: (H, W, 20) quantised flow, 0 to 255.
    flip: scalar bool.
    appearance_mean: R, G, B.

  Returns:
    {"appearance": float32 (H, W, 3), "motion": float32 (H, W, 20)}.
  """
  picture = tf.cast(picture, tf.float32)
  planes = tf.cast(planes, tf.float32)
  is_u = tf.constant([True, False] * FLOW_FRAMES)
  picture = tf.where(flip, picture[:, ::-1], picture)
  mirrored = planes[:, ::-1]
  planes = tf.where(flip, tf.where(is_u, 255.0 - mirrored, mirrored), planes)
  return {"appearance": picture - tf.constant(appearance_mean, tf.float32), "motion": planes - _ZERO_FLOW}


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
  clip: dict[str, tf.Tensor],
  seed: tf.Tensor,
  *,
  input_size: int,
  appearance_mean: tuple[float, float, float],
  augmentation: Augmentation,
) -> dict[str, tf.Tensor]:
  """Draws a random snippet and crop of a clip.

  Width and height of the crop are drawn on their own and its place too, by the rule of
  `augmentation`, and resized to `input_size`; the same crop for the frame and all its flow frames.

  Args:
    clip: an element of `PreparedDataset.clips`.
    seed: int32 (2,).
    input_size: side of the result in pixels.
    appearance_mean: R, G, B.
    augmentation: how crops are taken.

  Returns:
    {"appearance": float32 (S, S, 3), "motion": float32 (S, S, 20)}.
  """
  seeds = tf.random.split(seed, 8)
  first, end = frame_range(tf.shape(clip["frames"])[0])
  frame = tf.random.stateless_uniform([], seeds[0], first, end, tf.int32)
  ratio = decode_ratio(input_size)
  picture, planes = read_snippet(clip, frame, ratio)
  height, width = tf.shape(picture)[0], tf.shape(picture)[1]
  side, place = _crop(augmentation, seeds[1], seeds[2], ratio)
  side = tf.minimum(side, [height, width])
  room = tf.stack([height, width]) - side
  top = tf.cast(tf.cast(room, tf.float32) * place, tf.int32)
  picture = _resize(picture[top[0] : top[0] + side[0], top[1] : top[1] + side[1]], input_size, input_size)
  planes = _resize(planes[top[0] : top[0] + side[0], top[1] : top[1] + side[1]], input_size, input_size)
  if augmentation.colour:
    gain = tf.random.stateless_uniform([1, 1, 3], seeds[3], 1 - augmentation.colour, 1 + augmentation.colour)
    offset = tf.random.stateless_uniform([1, 1, 3], seeds[4], -1.0, 1.0) * 128 * augmentation.colour
    picture = tf.clip_by_value(picture * gain + offset, 0.0, 255.0)
  flip = tf.logical_and(augmentation.flip, tf.random.stateless_uniform([], seeds[5]) < 0.5)
  inputs = to_inputs(picture, planes, flip, appearance_mean)
  level = tf.random.stateless_uniform([], seeds[6])
  for stream, largest in augmentation.noise.items():
    if largest:
      own = tf.random.experimental.stateless_fold_in(seeds[7], sorted(inputs).index(stream))
      inputs[stream] += level * largest * tf.random.stateless_normal(tf.shape(inputs[stream]), own)
  return {
    "appearance": tf.ensure_shape(inputs["appearance"], [input_size, input_size, 3]),
    "motion": tf.ensure_shape(inputs["motion"], [input_size, input_size, 2 * FLOW_FRAMES]),
  }


def evaluation_frames(frames: tf.Tensor, count: int) -> tf.Tensor:
  """Returns `count` 0-based frames spread evenly over the valid frames of a clip of T frames."""
  first, end = frame_range(frames)
  places = (
    tf.linspace(tf.cast(first, tf.float32), tf.cast(end - 1, tf.float32), count)
    if count > 1
    else [tf.cast(first + end - 1, tf.float32) / 2]
  )
  return tf.cast(tf.round(places), tf.int32)


def evaluation_snippets(
  clip: dict[str, tf.Tensor],
  *,
  input_size: int,
  appearance_mean: tuple[float, float, float],
  count: int = 25,
  flips: bool = True,
) -> dict[str, tf.Tensor]:
  """Takes full frames at even distances over a clip (25 and their mirror images in the paper).

  Args:
    clip: an element of `PreparedDataset.clips`.
    input_size: the network's training crop; frames are scaled by `input_size` / 224.
    appearance_mean: R, G, B.
    count: number of snippets.
    flips: whether the mirrored snippets follow, so that S = 2 * count.

  Returns:
    {"appearance": float32 (S, H, W, 3), "motion": float32 (S, H, W, 20), "frame": int32 (S,)}.
  """
  frames = evaluation_frames(tf.shape(clip["frames"])[0], count)
  # All clips of one aspect get one size; it is set by the first frame.
  shape = tf.shape(tf.io.decode_jpeg(clip["frames"][0], channels=3))[:2]
  factor = tf.cast(input_size, tf.float32) / PUBLISHED_SIZE
  size = tf.cast(tf.round(tf.cast(shape, tf.float32) * factor), tf.int32)

  def one(frame: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    picture, planes = read_snippet(clip, frame, decode_ratio(input_size))
    return _resize(picture, size[0], size[1]), _resize(planes, size[0], size[1])

  pictures, planes = tf.map_fn(
    one,
    frames,
    fn_output_signature=(tf.TensorSpec([None, None, 3], tf.float32), tf.TensorSpec([None, None, 2 * FLOW_FRAMES], tf.float32)),
  )
  parts = []
  for flip in (False, True) if flips else (False,):
    parts.append(
      tf.map_fn(
        lambda x, f=flip: to_inputs(x[0], x[1], tf.constant(f), appearance_mean),
        (pictures, planes),
        fn_output_signature={"appearance": tf.float32, "motion": tf.float32},
      )
    )
  return {
    "appearance": tf.concat([p["appearance"] for p in parts], 0),
    "motion": tf.concat([p["motion"] for p in parts], 0),
    "frame": tf.tile(frames, [len(parts)]),
  }
