"""The folder in which a set is prepared: finished clips, one file each, until the whole set is written and checked."""

from __future__ import annotations

from collections.abc import Sequence
import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import zipfile
import zlib

import cv2

from tbvis import files
from tbvis.datasets import catalogue as catalogue_lib
from tbvis.datasets import decoding
from tbvis.errors import UsageError

# Part of a finished clip's name: another form of the file is made anew.
_FORM = 1
# What reading a spoilt file may raise.
SPOILT = (OSError, zipfile.BadZipFile, zlib.error, EOFError, KeyError, ValueError, TypeError)
_PARTS = ("frames", "flow_u", "flow_v")


@dataclasses.dataclass(frozen=True)
class Task:
  """A clip to encode, and the file that takes it.

  Attributes:
    clip: the clip.
    flow: method of the flow.
    path: the finished clip, a zip of JPEG files; beside it `.json` tells why a clip could not be used.
  """

  clip: catalogue_lib.Clip
  flow: str
  path: str

  @property
  def is_finished(self) -> bool:
    """Whether the clip is encoded."""
    return pathlib.Path(self.path).exists()

  @property
  def refusal(self) -> pathlib.Path:
    """The file that tells why the clip could not be used."""
    return pathlib.Path(self.path).with_suffix(".json")


@dataclasses.dataclass(frozen=True)
class Summary:
  """What is kept in mind of a finished clip.

  Attributes:
    frames: number of frames.
    checksum: of all its pictures.
    size: bytes of all its pictures.
    clipped: fraction of flow values outside +-20 pixels, None where the flow came with the clip.
  """

  frames: int
  checksum: int
  size: int
  clipped: float | None


def checksum(parts: Sequence[Sequence[bytes]]) -> int:
  """Returns the CRC-32 of the pictures of a clip, in order.

  >>> checksum([[b"ab"], [b"c"]]) == checksum([[b"a", b"b"], [b"c"]])
  True
  """
  value = 0
  for part in parts:
    for data in part:
      value = zlib.crc32(data, value)
  return value


def plan(clips: Sequence[catalogue_lib.Clip], flow: str, folder: pathlib.Path) -> list[Task]:
  """Returns a task for each clip. A file's name changes with the clip and the flow, so that nothing stale is taken for finished."""
  tasks = []
  for clip in clips:
    try:
      identity = json.dumps([_FORM, clip.name, flow, clip.media.identity()])
    except OSError as error:
      raise UsageError(f"{clip.media.where}: expected a clip that can be read; {error.strerror or error}.") from error
    tasks.append(Task(clip, flow, str(folder / f"{hashlib.sha256(identity.encode()).hexdigest()[:24]}.zip")))
  return tasks


def write_clip(path: str, encoded: decoding.EncodedClip) -> None:
  """Writes a finished clip in one step."""
  parts = [getattr(encoded, part) for part in _PARTS]
  summary = Summary(len(encoded.frames), checksum(parts), sum(len(data) for part in parts for data in part), encoded.clipped)
  with files.atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
    archive.comment = json.dumps(dataclasses.asdict(summary)).encode()
    for part in _PARTS:
      for number, data in enumerate(getattr(encoded, part), 1):
        archive.writestr(f"{part}/frame{number:06d}.jpg", data)


def read_clip(path: str) -> decoding.EncodedClip:
  """Reads a finished clip; the archive checks every picture's checksum.

  Raises:
    One of `SPOILT`: if the disk has spoilt it.
  """
  with zipfile.ZipFile(path) as archive:
    parts = {part: [archive.read(name) for name in archive.namelist() if name.startswith(f"{part}/")] for part in _PARTS}
    return decoding.EncodedClip(**parts, clipped=json.loads(archive.comment)["clipped"])


def read_summary(path: str) -> Summary:
  """Reads what is kept in mind of a finished clip, without its pictures."""
  with zipfile.ZipFile(path) as archive:
    return Summary(**json.loads(archive.comment))


def drop_if_spoilt(task: Task) -> None:
  """Removes a finished clip whose file a crash or the disk has spoilt, as far as its directory tells."""
  if task.is_finished:
    try:
      read_summary(task.path)
    except SPOILT:
      pathlib.Path(task.path).unlink()


def finish(task: Task) -> str:
  """Encodes a clip unless that is done; the worker of processes and of Beam.

  Returns:
    Why the clip cannot be used; empty where it can.

  Raises:
    OSError: if there is no room for it.
  """
  if task.is_finished:
    return ""
  # The other cores have clips of their own, for a flow by TensorFlow too, which reads these when it is first used.
  cv2.setNumThreads(1)
  os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
  os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
  try:
    encoded = decoding.encode_clip(task.clip.media, task.flow)
  except decoding.BadClip as error:
    reason = str(error)
  except cv2.error as error:
    reason = f"fails in OpenCV ({str(error).strip().splitlines()[-1]})"
  else:
    write_clip(task.path, encoded)
    return ""
  refuse(task, reason)
  return reason


def refuse(task: Task, reason: str) -> None:
  """Notes why a clip cannot be used."""
  files.write_json(task.refusal, {"clip": task.clip.name, "reason": reason})


def refusals(tasks: Sequence[Task]) -> dict[str, str]:
  """Returns the clips that cannot be used, with the reasons."""
  return {t.clip.name: json.loads(t.refusal.read_text())["reason"] for t in tasks if t.refusal.exists()}


def locked(folder: pathlib.Path, name: str) -> contextlib.AbstractContextManager[None]:
  """Keeps a second process from preparing the same set at the same time, see `files.locked`."""
  # Beside the folder, which is removed while the lock is held.
  held = f"Another process is preparing {name} in {folder.parent.parent}; wait for it, or give another --name."
  return files.locked(folder.parent / f"{folder.name}.lock", held)
