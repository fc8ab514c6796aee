"""How near our TV-L1 flow is to OpenCV's and to the truth, and how fast it is beside OpenCV's TV-L1 and DIS.

  python benchmarks/flow.py --middlebury=FOLDER --videos=A.avi,B.avi --json=FILE

"Difference" is the mean length in pixels of what is between our flow and that of OpenCV's TV-L1; "error" the mean length of what is
between a flow and the truth, where that is known. Beside the difference on clips stands how far OpenCV's own flow moves when grey
values change by up to 0.0001, which no 8-bit picture shows: no other implementation can come nearer than that.

Speeds are of one process a core, as tbvis-prepare works: each is pinned to its core, all of them do the same pairs at the same time,
the methods take turns, and the frames per second of the processes, from the median over pairs and repeats, are added up. Seconds of
the processor stand beside them; they tell little of what other programs did meanwhile. The first call is timed by itself: ours
compiles in it.
"""

from __future__ import annotations

import multiprocessing
import os
import pathlib
import resource
import statistics
import time
from typing import Any

from absl import flags
import cv2
import numpy as np

from tbvis.datasets import flow as flow_lib
from tbvis.datasets import media
from tbvis.errors import UsageError
from tbvis.scripts import app, flag_values

_MIDDLEBURY = flags.DEFINE_string("middlebury", None, "Folder of Middlebury's rubberwhale1.png, rubberwhale2.png and flow10.flo.")
_VIDEOS = flags.DEFINE_list("videos", [], "Video files; pairs are taken evenly from each, at short side 256.")
_PAIRS = flags.DEFINE_integer("pairs", 4, "Pairs of each video; 2 with --quick.", lower_bound=1)
_REPEATS = flags.DEFINE_integer("repeats", 3, "How often each pair is timed; once with --quick.", lower_bound=1)
_CORES = flags.DEFINE_list("cores", [], "Numbers of processes to time, as 1,2; without it 1 and as many as there are cores.")
_QUICK = flags.DEFINE_bool("quick", False, "Few pairs, timed once on one core.")
_JSON = app.define_json()
_SMALL_CHANGE = 1e-4
# Values from here on say in a .flo file that the truth is not known.
_UNKNOWN = 1e9

# Set in each process that takes times: what they wait for, to run at once.
_together: Any = None

Pair = tuple[np.ndarray, np.ndarray]


def _read_truth(path: pathlib.Path) -> np.ndarray:
  """Returns the flow of a .flo file: float32 (H, W, 2)."""
  data = path.read_bytes()
  if data[:4] != b"PIEH":
    raise UsageError(f"--middlebury: expected a .flo file, which begins with PIEH; {path} begins with {data[:4]!r}.")
  width, height = np.frombuffer(data, "<i4", 2, offset=4)
  return np.frombuffer(data, "<f4", offset=12).reshape(height, width, 2)


def _distance(one: np.ndarray, other: np.ndarray) -> np.ndarray:
  return np.linalg.norm(one - other, axis=-1)


def _rubberwhale(folder: pathlib.Path) -> dict[str, float]:
  """Returns our difference from OpenCV and every method's error on RubberWhale."""
  for name in ("rubberwhale1.png", "rubberwhale2.png", "flow10.flo"):
    if not (folder / name).is_file():
      raise UsageError(f"--middlebury: expected {name} in {folder}, found none.")
  first, second = (media.decoded((folder / f"rubberwhale{i}.png").read_bytes()) for i in (1, 2))
  truth = _read_truth(folder / "flow10.flo")
  known = np.all(np.abs(truth) < _UNKNOWN, axis=-1)
  fields = {method: flow_lib.compute_flow(first, second, method) for method in flow_lib.METHODS}
  numbers = {"rubberwhale_difference_px": float(_distance(fields["tvl1_tf"], fields["tvl1"]).mean())}
  return numbers | {f"rubberwhale_error_{method}_px": float(_distance(field, truth)[known].mean()) for method, field in fields.items()}


def _read_pairs(path: pathlib.Path, count: int) -> list[Pair]:
  """Returns `count` pairs of neighbouring grey frames, evenly from the whole clip."""
  try:
    frames = media.read_video(path)
  except media.BadClip as error:
    raise UsageError(f"--videos: {path} {error}.") from None
  if len(frames) < 2:
    raise UsageError(f"--videos: expected at least 2 frames in {path}, found {len(frames)}.")
  places = np.linspace(0, len(frames) - 2, count).astype(int)
  return [(_grey(frames[place]), _grey(frames[place + 1])) for place in places]


def _grey(frame: np.ndarray) -> np.ndarray:
  return cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)


def _noisy(frame: np.ndarray, rng: np.random.Generator) -> np.ndarray:
  # OpenCV takes float frames as 0..1.
  return ((frame + rng.uniform(-_SMALL_CHANGE, _SMALL_CHANGE, frame.shape)) / 255).astype(np.float32)


def _clips(pairs: list[Pair]) -> dict[str, float]:
  """Returns our difference from OpenCV on pairs of clips, and OpenCV's from itself."""
  rng = np.random.default_rng(0)
  ours, its_own, length = [], [], []
  for first, second in pairs:
    expected = flow_lib.compute_flow(first, second, "tvl1")
    ours.append(_distance(flow_lib.compute_flow(first, second, "tvl1_tf"), expected).mean())
    its_own.append(_distance(flow_lib.compute_flow(_noisy(first, rng), _noisy(second, rng), "tvl1"), expected).mean())
    length.append(np.linalg.norm(expected, axis=-1).mean())
  return {
    "clip_pairs": len(pairs),
    "clip_flow_mean_px": float(np.mean(length)),
    "clip_difference_px": float(np.mean(ours)),
    "clip_difference_median_px": float(np.median(ours)),
    "clip_difference_largest_pair_px": float(np.max(ours)),
    "clip_difference_tvl1_from_itself_px": float(np.mean(its_own)),
    "clip_difference_tvl1_from_itself_largest_pair_px": float(np.max(its_own)),
  }


def _start(barrier: Any) -> None:
  global _together
  _together = barrier


def _time_on(job: tuple[int, list[Pair], int]) -> dict[str, float]:
  """Times every method on one core, in a process of its own and at the same time as the others'."""
  core, pairs, repeats = job
  os.sched_setaffinity(0, [core])
  cv2.setNumThreads(1)
  os.environ["TF_NUM_INTRAOP_THREADS"] = "1"
  app.load_tensorflow()
  numbers: dict[str, float] = {}
  wall: dict[str, list[float]] = {method: [] for method in flow_lib.METHODS}
  processor: dict[str, list[float]] = {method: [] for method in flow_lib.METHODS}
  for method in flow_lib.METHODS:
    started = time.perf_counter()
    flow_lib.compute_flow(pairs[0][0], pairs[0][1], method)
    numbers[f"{method}_first_call_seconds"] = time.perf_counter() - started
  for _ in range(repeats):
    for method in flow_lib.METHODS:
      _together.wait()
      for first, second in pairs:
        started, used = time.perf_counter(), time.process_time()
        flow_lib.compute_flow(first, second, method)
        wall[method].append(time.perf_counter() - started)
        processor[method].append(time.process_time() - used)
  for method in flow_lib.METHODS:
    numbers[f"{method}_frames_per_second"] = 1 / statistics.median(wall[method])
    numbers[f"{method}_processor_seconds_per_frame"] = statistics.median(processor[method])
  return numbers | {"peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def _speeds(pairs: list[Pair], processes: int, repeats: int) -> dict[str, float]:
  """Times `processes` processes at once: adds up their speeds, and takes the median of what else each measured."""
  context = multiprocessing.get_context("spawn")
  cores = sorted(os.sched_getaffinity(0))[:processes]
  with context.Pool(processes, _start, (context.Barrier(processes),)) as pool:
    # A process waits for the others in its job, so that each takes one.
    found = pool.map(_time_on, [(core, pairs, repeats) for core in cores], chunksize=1)
  return {key: (sum if key.endswith("frames_per_second") else statistics.median)([each[key] for each in found]) for key in found[0]}


def main() -> None:
  """Runs the benchmark."""
  folder = flag_values.expand_path(_MIDDLEBURY.value, "middlebury")
  videos = [flag_values.required_path(video, "videos") for video in _VIDEOS.value]
  if folder is None and not videos:
    raise UsageError("Expected --middlebury, --videos or both. See --help.")
  available = len(os.sched_getaffinity(0))
  wanted = flag_values.parse_floats(_CORES.value, "cores") or ([1] if _QUICK.value else sorted({1, available}))
  if any(number not in range(1, available + 1) for number in wanted):
    raise UsageError(f"--cores: expected numbers from 1 to {available}, received {','.join(_CORES.value)!r}.")

  app.load_tensorflow()
  numbers: dict[str, Any] = {}
  if folder:
    numbers |= _rubberwhale(folder)
  if videos:
    pairs = [pair for video in videos for pair in _read_pairs(video, 2 if _QUICK.value else _PAIRS.value)]
    numbers |= _clips(pairs)
    # Frames of another size would be compiled for within what is timed.
    alike = [pair for pair in pairs if pair[0].shape == pairs[0][0].shape]
    numbers |= {"frame_height_px": pairs[0][0].shape[0], "frame_width_px": pairs[0][0].shape[1]}
    for count in map(int, wanted):
      suffix = "" if count == 1 else f"_{count}_cores"
      numbers |= {key + suffix: value for key, value in _speeds(alike, count, 1 if _QUICK.value else _REPEATS.value).items()}
  for key, value in numbers.items():
    print(f"{key}: {value:.5g}")
  app.report_json(_JSON.value, numbers)


if __name__ == "__main__":
  app.run(main)
