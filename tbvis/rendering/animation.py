"""Pictures and animations as bytes, encoded and decoded by Pillow alone."""

from __future__ import annotations

from collections.abc import Sequence
import io
from typing import Any

import numpy as np
from PIL import Image, ImageSequence

from tbvis.errors import UsageError
from tbvis.rendering.flow_color import flow_to_rgb

# Of a WebP (RFC 9649).
LARGEST_SIDE = 16383


def _image(array: np.ndarray) -> Image.Image:
  array = np.asarray(array)
  if array.dtype != np.uint8 or array.ndim != 3 or array.shape[-1] != 3:
    raise UsageError(f"Expected a uint8 RGB picture (H, W, 3), received {array.dtype} {array.shape}.")
  return Image.fromarray(np.ascontiguousarray(array))


def _images(frames: np.ndarray | Sequence[np.ndarray]) -> list[Image.Image]:
  images = [_image(frame) for frame in frames]
  if not images:
    raise UsageError("Expected at least one frame to animate, received none.")
  return images


def _save(image: Image.Image, **options: Any) -> bytes:
  stream = io.BytesIO()
  image.save(stream, **options)
  return stream.getvalue()


def encode_png(image: np.ndarray) -> bytes:
  """Encodes uint8 RGB (H, W, 3) as PNG."""
  return _save(_image(image), format="PNG", optimize=False)


def encode_gif(frames: np.ndarray | Sequence[np.ndarray], milliseconds: int = 150) -> bytes:
  """Encodes uint8 RGB frames (T, H, W, 3) as a looping GIF.

  Frames that repeat are kept as frames, so that the time axis stays true.

  Args:
    frames: the frames; all share one palette, so that nothing flickers that does not change.
    milliseconds: time of each frame, in multiples of 10 (the authors' GIFs have 150).

  Returns:
    The file's bytes.
  """
  images = _images(frames)
  # A palette from all frames at once: per-frame palettes shimmer. Every second pixel of a large clip tells as much.
  pixels = np.concatenate([np.asarray(image) for image in images], axis=0)
  sheet = Image.fromarray(np.ascontiguousarray(pixels[::2, ::2]) if pixels.size > 300_000 else pixels)
  palette = sheet.quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
  indexed = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
  # Pillow merges equal neighbours; it keeps a list of durations in step with what it wrote.
  return _save(
    indexed[0], format="GIF", save_all=True, append_images=indexed[1:], duration=[milliseconds] * len(indexed), loop=0, optimize=False
  )


def encode_webp(frames: np.ndarray, milliseconds: int = 150, quality: int = 85, lossless: bool = False) -> bytes:
  """Encodes uint8 RGB frames (T, H, W, 3), or one picture (H, W, 3), as a looping WebP.

  Args:
    frames: the frames.
    milliseconds: time of each frame.
    quality: 0 to 100; of the compression's effort where `lossless`.
    lossless: whether every value is kept.

  Returns:
    The file's bytes.
  """
  frames = np.asarray(frames)
  images = _images(frames[None] if frames.ndim == 3 else frames)
  options = {"format": "WEBP", "quality": 50 if lossless else quality, "lossless": lossless, "method": 2 if lossless else 4}
  if len(images) > 1:
    options |= {"save_all": True, "append_images": images[1:], "duration": milliseconds, "loop": 0, "minimize_size": False}
  return _save(images[0], **options)


def decode(data: bytes) -> np.ndarray:
  """Decodes a picture or an animation into uint8 RGB frames (T, H, W, 3).

  >>> decode(encode_png(np.zeros((2, 3, 3), np.uint8))).shape
  (1, 2, 3, 3)
  """
  with Image.open(io.BytesIO(data)) as image:
    return np.stack([np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(image)])


def resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
  """Resizes uint8 RGB (H, W, 3), averaging where it shrinks."""
  return np.asarray(_image(image).resize((width, height), Image.Resampling.BOX if height < image.shape[0] else Image.Resampling.BICUBIC))


def resize_values(values: np.ndarray, height: int, width: int) -> np.ndarray:
  """Resizes float frames (..., H, W, C) to float32 (..., height, width, C), averaging where it shrinks."""
  values = np.asarray(values, np.float32)
  method = Image.Resampling.BOX if height < values.shape[-3] else Image.Resampling.BILINEAR
  planes = np.moveaxis(values, -1, -3).reshape(-1, *values.shape[-3:-1])
  scaled = np.stack([np.asarray(Image.fromarray(plane).resize((width, height), method)) for plane in planes])
  return np.moveaxis(scaled.reshape(*values.shape[:-3], values.shape[-1], height, width), -3, -1)


def clip_thumbnail(frames: np.ndarray, flow: np.ndarray, height: int = 96, milliseconds: int = 150, quality: int = 70) -> bytes:
  """Makes the small animation of a real clip that the tab plays: frames on the left, coloured flow on the right.

  Args:
    frames: uint8 RGB (T, H, W, 3).
    flow: float (T, H', W', 2) in any unit; frame t goes with flow t. Zero is mid-grey, one scale a clip.
    height: of the animation, in pixels.
    milliseconds: time of each frame.
    quality: of the WebP, 0 to 100.

  Returns:
    A looping WebP of T frames, (height, 2 * width).

  Raises:
    UsageError: if the two differ in length.
  """
  if len(frames) != len(flow):
    raise UsageError(f"Expected as many flow frames as frames, received {len(flow)} and {len(frames)}.")
  width = max(1, round(height * frames.shape[2] / frames.shape[1]))
  coloured = flow_to_rgb(resize_values(flow, height, width))
  pictures = [np.concatenate([resize(frame, height, width), colour], axis=1) for frame, colour in zip(frames, coloured, strict=True)]
  return encode_webp(np.stack(pictures), milliseconds, quality)
