"""What preparing clips costs: frames a second and core by flow, bytes a clip, and what UCF101 would take.

  python benchmarks/preparation.py --videos=UCF101/videos --clips=12 --json=FILE

Whole clips are decoded, flowed by DIS and encoded, by one process and by all cores; the slow methods of flow are timed on some
frame pairs of the same clips and stand in for DIS in the projection. A released archive is made of the same clips and read back,
which needs no flow. The projection is UCF101's 13,320 clips at the mean length of the clips measured.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import multiprocessing
import os
import pathlib
import statistics
import tempfile
import time

from absl import flags
import cv2
import numpy as np

from tbvis.datasets import decoding, inventory, media, workroom
from tbvis.datasets import flow as flow_lib
from tbvis.scripts import app, flag_values

_VIDEOS = flags.DEFINE_string("videos", None, "Folder of videos.")
_CLIPS = flags.DEFINE_integer("clips", 12, "How many of them, evenly over the folder.", lower_bound=2)
_PAIRS = flags.DEFINE_integer("pairs", 6, "Frame pairs on which each slow method is timed.", lower_bound=1)
_PROJECTED = flags.DEFINE_list("projected_cores", ["2", "64"], "Numbers of cores to project for.")
_JSON = app.define_json()

_UCF101_CLIPS = 13320


@dataclasses.dataclass(frozen=True)
class Timed:
  """Seconds, and what was done in them."""

  seconds: float
  frames: int
  clips: int


def _encode(path: str) -> tuple[int, int]:
  cv2.setNumThreads(1)
  encoded = decoding.encode_clip(media.Video(path), "dis")
  return len(encoded.frames), sum(map(len, encoded.frames + encoded.flow_u + encoded.flow_v))


def _time_clips(paths: list[str], processes: int) -> tuple[Timed, float]:
  """Encodes clips by processes that are running already; returns the time and the mean bytes a clip."""
  context = multiprocessing.get_context("spawn")
  with concurrent.futures.ProcessPoolExecutor(processes, mp_context=context) as pool:
    list(pool.map(_encode, paths[:1] * processes))
    started = time.perf_counter()
    done = list(pool.map(_encode, paths))
    seconds = time.perf_counter() - started
  return Timed(seconds, sum(f for f, _ in done), len(done)), statistics.mean(size for _, size in done)


def _time_pairs(paths: list[str], method: str, count: int) -> float:
  """Returns the median seconds of a frame pair on one core, of pairs in the middle of clips, after a first one."""
  seconds = []
  cv2.setNumThreads(1)
  os.environ["TF_NUM_INTRAOP_THREADS"] = "1"
  for path in [paths[0], *(paths * count)[:count]]:
    frames = media.read_video(path)
    first, second = (cv2.cvtColor(f, cv2.COLOR_RGB2GRAY) for f in frames[len(frames) // 2 :][:2])
    started = time.perf_counter()
    flow_lib.compute_flow(first, second, method)
    seconds.append(time.perf_counter() - started)
  return statistics.median(seconds[1:])


def _time_archive(paths: list[str]) -> Timed:
  """Writes clips as released pictures and times what preparing those takes on one core."""
  with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    clips = []
    for path in paths:
      encoded = decoding.encode_clip(media.Video(path), "dis")
      parts = [folder / part / pathlib.Path(path).stem for part in ("frames", "u", "v")]
      for part, pictures in zip(parts, (encoded.frames, encoded.flow_u, encoded.flow_v), strict=True):
        part.mkdir(parents=True)
        for number, data in enumerate(pictures, 1):
          (part / f"frame{number:06d}.jpg").write_bytes(data)
      clips.append(media.Pictures(*map(str, parts)))
    started = time.perf_counter()
    frames = 0
    for number, clip in enumerate(clips):
      encoded = decoding.encode_clip(clip, "tvl1")
      workroom.write_clip(str(folder / f"{number}.zip"), encoded)
      frames += len(encoded.frames)
    return Timed(time.perf_counter() - started, frames, len(clips))


def main() -> None:
  """Runs the benchmark."""
  files = inventory.find_videos(flag_values.required_path(_VIDEOS.value, "videos"))
  paths = [str(files[i]) for i in np.linspace(0, len(files) - 1, min(_CLIPS.value, len(files))).astype(int)]
  cores = len(os.sched_getaffinity(0))
  one, size = _time_clips(paths, 1)
  everyone, _ = _time_clips(paths, cores)
  archive = _time_archive(paths[: max(2, len(paths) // 3)])
  mean_frames = one.frames / one.clips
  seconds = {"dis": one.seconds / one.clips, "archive": archive.seconds / archive.clips}
  per_pair = {method: _time_pairs(paths, method, _PAIRS.value) for method in flow_lib.METHODS}
  for method in set(flow_lib.METHODS) - {"dis"}:
    # Everything but the flow takes as long whatever its method.
    seconds[method] = seconds["dis"] + (mean_frames - 1) * (per_pair[method] - per_pair["dis"])
  numbers = {
    "clips": one.clips,
    "frames_per_clip": round(mean_frames, 1),
    "cores": cores,
    "bytes_per_clip": round(size),
    "dis_parallel_speedup": round(one.seconds / everyone.seconds, 2),
    "ucf101_gigabytes": round(_UCF101_CLIPS * size / 1e9, 1),
  }
  for method, value in per_pair.items():
    numbers[f"{method}_seconds_per_pair"] = round(value, 4)
  for method, value in seconds.items():
    numbers[f"{method}_clips_per_second_per_core"] = round(1 / value, 4)
    for projected in map(int, _PROJECTED.value):
      numbers[f"ucf101_{method}_hours_on_{projected}_cores"] = round(_UCF101_CLIPS * value / projected / 3600, 2)
  for key, value in numbers.items():
    print(f"{key:<44} {value}")
  app.report_json(_JSON.value, numbers)


if __name__ == "__main__":
  app.run(main)
