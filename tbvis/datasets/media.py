"""What a clip is made of: a video file, folders of extracted pictures, or a record of another TFDS set. Imports no TensorFlow."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import pathlib
import re
from typing import Any

import cv2
import numpy as np

from tbvis import limits

SHORT_SIDE = 256
# By how many pictures the flow of a released archive may be longer or shorter than its frames ask for.
_SPARE_PICTURES = 2
# 8K in both directions; what declares more is damaged.
_MOST_PIXELS = 8192 * 8192
# What of the declared frames must be there; headers are often one or two off.
_LEAST_DECODED = 0.9
# `frame000001.jpg` (Feichtenhofer et al.), `img_00001.jpg` and `flow_x_00001.jpg` (Wang et al.).
_NUMBERED = re.compile(r"^.*?(\d+)\.jpe?g$", re.IGNORECASE)


class BadClip(Exception):
  """A clip that cannot be used, with the reason in words."""


@dataclasses.dataclass(frozen=True)
class Video:
  """A video file."""

  path: str

  @property
  def where(self) -> str:
    """The file, for messages."""
    return self.path

  def identity(self) -> list[Any]:
    """Returns what changes when the clip changes."""
    status = os.stat(self.path)
    return ["video", self.path, status.st_size, status.st_mtime_ns]


@dataclasses.dataclass(frozen=True)
class Pictures:
  """Folders of numbered JPEG pictures, as the authors of the two-stream networks released them.

  Attributes:
    frames: folder of the frames.
    flow_u: folder of the horizontal flow in 8 bits; None where flow is still to be computed.
    flow_v: folder of the vertical flow; may be `flow_u`, where files are told apart by "_x_" and "_y_".
  """

  frames: str
  flow_u: str | None = None
  flow_v: str | None = None

  @property
  def where(self) -> str:
    """The folder, for messages."""
    return self.frames

  def identity(self) -> list[Any]:
    """Returns what changes when the clip changes."""
    folders = [f for f in (self.frames, self.flow_u, self.flow_v) if f]
    return ["pictures", *([f, os.stat(f).st_mtime_ns] for f in folders)]


@dataclasses.dataclass(frozen=True)
class Record:
  """An example of another TFDS set that holds decoded or encoded videos.

  Attributes:
    directory: of the set, with its dataset_info.json.
    split: of the set.
    position: number of the example in the split.
    feature: name of the video's feature.
  """

  directory: str
  split: str
  position: int
  feature: str = "video"

  @property
  def where(self) -> str:
    """The example, for messages."""
    return f"{self.directory}, {self.split} example {self.position}"

  def identity(self) -> list[Any]:
    """Returns what changes when the clip changes."""
    return ["record", self.directory, self.split, self.position]


Media = Video | Pictures | Record


def scaled_size(height: int, width: int, short_side: int) -> tuple[int, int]:
  """Returns (height, width) scaled so that the shorter is `short_side` and both are even.

  >>> scaled_size(240, 320, 256)
  (256, 342)
  """
  factor = short_side / min(height, width)
  rows, columns = (max(2, 2 * round(side * factor / 2)) for side in (height, width))
  return rows, columns


def scaled(frame: np.ndarray, short_side: int = SHORT_SIDE) -> np.ndarray:
  """Returns a frame scaled to the short side, itself where it is of that size."""
  height, width = scaled_size(frame.shape[0], frame.shape[1], short_side)
  return frame if frame.shape[:2] == (height, width) else cv2.resize(frame, (width, height), interpolation=cv2.INTER_CUBIC)


class _Capture:
  """OpenCV's reader of a video, of which a damaged file can make it fail anywhere."""

  def __init__(self, path: str | pathlib.Path):
    self._capture = cv2.VideoCapture(str(path))
    if not self._capture.isOpened():
      raise BadClip("cannot be opened as a video")

  @property
  def declared(self) -> float:
    """How many frames the header declares, 0 or less where it tells none."""
    return self._capture.get(cv2.CAP_PROP_FRAME_COUNT)

  def check_declared(self, short_side: int, most: int) -> None:
    """Refuses a video whose header declares frames that cannot be meant, or more of them than there is memory for."""
    height, width = (self._capture.get(name) for name in (cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FRAME_WIDTH))
    if not (0 < height and 0 < width and height * width <= _MOST_PIXELS):
      raise BadClip(f"declares frames of {width:.0f}x{height:.0f}, expected at most {_MOST_PIXELS:,} pixels")
    rows, columns = scaled_size(int(height), int(width), short_side)
    needed = max(0.0, self.declared) * rows * columns * 3
    if needed > most:
      raise BadClip(
        f"declares {self.declared:.0f} frames, which take {needed / 2**20:,.0f} MiB; half of what is free is {most / 2**20:,.0f} MiB"
      )

  def read(self) -> np.ndarray | None:
    """Returns the next frame in B, G, R; None at the end."""
    ok, frame = self._capture.read()
    return frame if ok else None

  def close(self) -> None:
    """Closes the file."""
    self._capture.release()


def read_video(path: str | pathlib.Path, short_side: int = SHORT_SIDE) -> np.ndarray:
  """Decodes a video.

  Returns:
    uint8 RGB (T, H, W, 3), scaled to the short side.

  Raises:
    BadClip: if it cannot be opened, has no frame, breaks off, or does not fit into memory.
  """
  frames = []
  with contextlib.closing(_Capture(path)) as capture:
    # All frames, and once more while they are put together.
    most = limits.available_bytes() // 2
    capture.check_declared(short_side, most)
    size = 0
    while (frame := capture.read()) is not None:
      frames.append(cv2.cvtColor(scaled(frame, short_side), cv2.COLOR_BGR2RGB))
      size += frames[-1].nbytes
      if size > most:
        raise BadClip(f"does not fit into memory: {len(frames)} frames take {size / 2**20:,.0f} MiB, half of what is free")
      if frames[-1].shape != frames[0].shape:
        raise BadClip(f"has frames of several sizes, number {len(frames)} another than the first")
    declared = capture.declared
  if not frames:
    raise BadClip("has no frame that can be decoded")
  if len(frames) < _LEAST_DECODED * declared - 2:
    raise BadClip(f"breaks off: of {declared:.0f} frames that it declares {len(frames)} can be decoded")
  return np.stack(frames)


def picture_files(folder: str | pathlib.Path, holding: str = "") -> list[pathlib.Path]:
  """Returns the numbered pictures of a folder in order.

  Args:
    folder: the folder.
    holding: part of the file names that are meant, as "flow_x".

  Raises:
    BadClip: if there are none, or a number is left out.
  """
  found: dict[int, pathlib.Path] = {}
  for path in pathlib.Path(folder).iterdir():
    match = _NUMBERED.match(path.name)
    if not match or holding not in path.name:
      continue
    number = int(match[1])
    if number in found:
      raise BadClip(f"has two pictures of number {number}, {found[number].name} and {path.name}, in {folder}")
    found[number] = path
  if not found:
    raise BadClip(f"has no numbered pictures (frame000001.jpg or img_00001.jpg) in {folder}")
  first = min(found)
  missing = next((n for n in range(first, first + len(found)) if n not in found), None)
  if missing is not None or first > 1:
    raise BadClip(f"lacks picture number {missing if first <= 1 else 1} in {folder}")
  return [found[n] for n in sorted(found)]


def decoded(data: bytes) -> np.ndarray:
  """Returns an encoded picture as uint8 RGB (H, W, 3)."""
  picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
  if picture is None:
    raise BadClip("has a picture that cannot be decoded")
  return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)


def _checked(path: pathlib.Path, size: tuple[int, int] | None) -> tuple[bytes, tuple[int, int]]:
  data = path.read_bytes()
  # An eighth is enough to know that it is a whole picture, and takes a fifth of the time.
  small = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_REDUCED_GRAYSCALE_8) if data else None
  if small is None or b"\xff\xd9" not in data[-64:]:
    raise BadClip(f"has a picture that is cut short or broken, {path}")
  if size is not None and small.shape != size:
    raise BadClip(f"has pictures of several sizes, one of them {path}")
  return data, small.shape


def read_pictures(clip: Pictures) -> tuple[list[bytes], list[bytes], list[bytes]]:
  """Reads released pictures as they are, encoded.

  Returns:
    T frames, and T - 1 pictures of u and of v; the latter two empty where the clip has no flow.

  Raises:
    BadClip: if pictures are missing, broken, of several sizes, or not of a short side of 256.
  """
  # Where flow lies beside the frames, they are told apart by their names.
  named = "img" if next(pathlib.Path(clip.frames).glob("img_*"), None) else ""
  frames = [_checked(path, None) for path in picture_files(clip.frames, named)]
  size = frames[0][1]
  if any(shape != size for _, shape in frames):
    raise BadClip(f"has frames of several sizes in {clip.frames}")
  if not clip.flow_u or not clip.flow_v:
    return [data for data, _ in frames], [], []
  height, width = decoded(frames[0][0]).shape[:2]
  if min(height, width) != SHORT_SIDE:
    raise BadClip(f"has pictures of {width}x{height}; where flow is given its pixels are those of a short side of {SHORT_SIDE}")
  together = clip.flow_u == clip.flow_v
  flows = []
  for folder, mark in ((clip.flow_u, "_x_"), (clip.flow_v, "_y_")):
    flows.append([_checked(path, size)[0] for path in picture_files(folder, mark if together else "")])
  for part, pictures in zip("uv", flows, strict=True):
    # Sizes were compared at an eighth until here.
    flow_height, flow_width = decoded(pictures[0]).shape[:2]
    if (flow_height, flow_width) != (height, width):
      raise BadClip(f"has frames of {width}x{height} and pictures of {part} of {flow_width}x{flow_height}")
  if len(flows[0]) != len(flows[1]):
    raise BadClip(f"has {len(flows[0])} pictures of u and {len(flows[1])} of v")
  # Released flow is sometimes one longer (the last repeated) or shorter (another decoder) than the frames.
  length = min(len(frames), len(flows[0]) + 1)
  if abs(len(frames) - 1 - len(flows[0])) > _SPARE_PICTURES:
    raise BadClip(f"has {len(frames)} frames and {len(flows[0])} flow pictures, expected {len(frames) - 1}")
  return [data for data, _ in frames[:length]], flows[0][: length - 1], flows[1][: length - 1]


@functools.lru_cache(maxsize=4)
def _set(directory: str) -> Any:
  import tensorflow_datasets as tfds  # Only clips of this kind need it, and it takes seconds to load.

  return tfds.builder_from_directory(directory)


def read_record(clip: Record, short_side: int = SHORT_SIDE) -> np.ndarray:
  """Reads the frames of a TFDS example; uint8 RGB (T, H, W, 3), scaled to the short side.

  Raises:
    BadClip: if it is no video.
  """
  import tensorflow_datasets as tfds

  config = tfds.ReadConfig(try_autocache=False)
  data = _set(clip.directory).as_dataset(split=f"{clip.split}[{clip.position}:{clip.position + 1}]", read_config=config)
  frames = next(iter(data))[clip.feature].numpy()
  if frames.ndim != 4 or frames.shape[-1] != 3 or not len(frames):
    raise BadClip(f"has a feature {clip.feature!r} of shape {frames.shape}, expected (frames, height, width, 3)")
  return np.stack([scaled(frame, short_side) for frame in frames])
