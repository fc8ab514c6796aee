"""A night's worth of work in small: whether memory, open files and the time an item takes stay flat.

  python benchmarks/load.py --work_dir=FOLDER --json=FILE

- sweep: `tbvis-maximize` of 500 units at 4 values of chi of a thin network of random weights, while a real TensorBoard reads what is
  being written and is asked for its list every few seconds: the list must never shrink and never fail;
- preparation: `tbvis-prepare` of 5,000 short clips of the stage set: some are filmed, the others are the same files by other names.

Memory and open files are those of the process and all its children, looked at every --every seconds together with how many items
are finished. The first fifth of the items is left out of the slopes: programs load and compile meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable
import http.client
import itertools
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import time
from typing import Any
import urllib.error

from absl import flags
import processes

from tbvis import datasets
from tbvis.errors import UsageError
from tbvis.scripts import app, flag_values

_ROOT = pathlib.Path(__file__).resolve().parents[1]
# How the tests start TensorBoard, whether or not the project is installed.
sys.path.append(str(_ROOT))
from tests.tb_plugin import serving  # noqa: E402

_UNITS = flags.DEFINE_integer(
  "units", 500, "Units that get stimuli, at 4 values of chi each; 0 leaves the sweep out.", lower_bound=0, upper_bound=4 * 128
)
_CLIPS = flags.DEFINE_integer("clips", 5000, "Clips to prepare; 0 leaves preparation out.", lower_bound=0)
_FILMED = flags.DEFINE_integer("filmed", 72, "How many of them are filmed.", lower_bound=1)
_FRAMES = flags.DEFINE_integer("frames", 12, "Frames of a clip.", lower_bound=11)
_STEPS = flags.DEFINE_integer("steps", 20, "Steps of a search.", lower_bound=1)
_WORK_DIR = flags.DEFINE_string(
  "work_dir", None, "Folder for the clips, the set and the logdir (left there; about 6 GB for 5,000 clips); a temporary one without it."
)
_EVERY = flags.DEFINE_float("every", 3.0, "Seconds from one look at memory to the next.", lower_bound=0.2)
_JSON = app.define_json()

_CHI = 4
# Layers of 128 units at this width, all in one sweep.
_LAYERS, _WIDTH = ("conv4_1_motion", "conv4_2_motion", "conv4_3_motion", "conv5_1_motion"), 0.25
# Ends of a sweep that were written may take this long to be listed.
_PATIENCE = 120


def _watch(command: list[str], log: pathlib.Path, finished: Callable[[], int]) -> list[processes.Look]:
  """Runs a command and looks at it until it ends.

  Raises:
    UsageError: if it fails.
  """
  looks: list[processes.Look] = []
  started = time.monotonic()
  with log.open("wb") as out, subprocess.Popen(command, stdout=out, stderr=out, env={**os.environ, "PYTHONPATH": str(_ROOT)}) as process:
    while process.poll() is None:
      looks.append(processes.look(started, finished(), process.pid))
      time.sleep(_EVERY.value)
  if process.returncode:
    raise UsageError(f"{command[2]} ended with {process.returncode}; its last words: {log.read_text(errors='replace')[-500:]}")
  return looks


class _Reader:
  """Asks a TensorBoard for its list again and again, as a page that is open does."""

  def __init__(self, address: str, pid: int):
    self._address, self._pid = address, pid
    self.listed, self.asked, self.failed, self.shrunk = 0, 0, 0, 0
    self.looks: list[processes.Look] = []
    self._stop, self._started = threading.Event(), time.monotonic()
    self._thread = threading.Thread(target=self._run, daemon=True)

  def ask(self) -> int:
    """Returns how many stimuli are listed now."""
    self.asked += 1
    try:
      runs = json.loads(serving.fetch(f"{self._address}/data/plugin/tbvis/contents"))["runs"]
    except (OSError, urllib.error.URLError, http.client.HTTPException, ValueError, KeyError):
      self.failed += 1
      return self.listed
    found = sum(len(run["stimuli"]) for run in runs)
    self.shrunk += found < self.listed
    self.listed = found
    self.looks.append(processes.look(self._started, found, self._pid))
    return found

  def _run(self) -> None:
    while not self._stop.wait(_EVERY.value):
      self.ask()

  def __enter__(self) -> _Reader:
    self._thread.start()
    return self

  def __exit__(self, *unused: Any) -> None:
    self._stop.set()
    self._thread.join()


def _sweep(room: pathlib.Path, units: int) -> dict[str, float]:
  app.load_tensorflow()
  from tbvis.models import checkpoint as checkpoint_lib

  made = checkpoint_lib.build("two_stream_fusion_vgg16", {"width": _WIDTH, "input_size": 64, "fc_units": 16}, ("a", "b", "c"))
  checkpoint_lib.save_checkpoint(made, room / "net.keras")
  del made
  shares = [len(range(first, units, len(_LAYERS))) for first in range(len(_LAYERS))]
  wanted = ",".join(f"{layer}/f001-f{share:03d}" for layer, share in zip(_LAYERS, shares, strict=True) if share)
  count = units * _CHI
  logdir = room / "logdir"
  logdir.mkdir()
  command = [
    sys.executable, "-m", "tbvis.scripts.maximize", f"--checkpoint={room / 'net.keras'}", f"--units={wanted}", "--chi=0,1,5,10",
    f"--steps={_STEPS.value}", "--canvas=48", "--batch_size=16", f"--logdir={logdir}", "--run=night",
  ]  # fmt: skip
  with (
    serving.process(logdir, room / "serving", "--reload_interval=2") as (address, pid),
    _Reader(address, pid) as reader,
  ):
    looks = _watch(command, room / "maximize.log", lambda: reader.listed)
    deadline = time.monotonic() + _PATIENCE
    while reader.listed < count and time.monotonic() < deadline:
      time.sleep(1)
  numbers = {f"sweep_{name}": value for name, value in processes.slopes(looks, count).items()}
  numbers |= {f"tensorboard_{name}": value for name, value in processes.slopes(reader.looks, count).items() if "seconds" not in name}
  return {
    "sweep_stimuli": count, "sweep_seconds": looks[-1].seconds, **numbers, "tensorboard_asked": reader.asked,
    "tensorboard_failed": reader.failed, "tensorboard_shrunk": reader.shrunk, "tensorboard_missing": count - reader.listed,
  }  # fmt: skip


def _film(folder: pathlib.Path, clips: int) -> None:
  """Films some clips and gives them as many names as are asked for."""
  from tbvis.datasets.stage import worker
  from tbvis.datasets.stage.clip import render_clip
  from tbvis.datasets.stage.script import load_script

  script = load_script()
  names = list(script.classes)
  filmed: list[pathlib.Path] = []
  for number in range(clips):
    name, group = names[number % len(names)], number // len(names)
    # 4 clips a group, and groups of two digits and more.
    path = folder / name / f"v_{name}_g{group // 4 + 1:02d}_c{group % 4 + 1:02d}.avi"
    path.parent.mkdir(parents=True, exist_ok=True)
    if number < _FILMED.value:
      worker.write_video(path, itertools.islice(render_clip(script, name, group + 1, 1), _FRAMES.value))
      filmed.append(path)
    else:
      path.hardlink_to(filmed[number % len(filmed)])


def _prepare(room: pathlib.Path, clips: int) -> dict[str, float]:
  _film(room / "videos", clips)
  data = room / "data"
  command = [
    sys.executable, "-m", "tbvis.scripts.prepare", "--dataset=folder", f"--videos={room / 'videos'}", f"--data_dir={data}", "--name=load",
    f"--json={room / 'prepare.json'}",
  ]  # fmt: skip

  def finished() -> int:
    rooms = data / datasets.PREPARING_FOLDER
    return sum(name.endswith(".zip") for _, _, names in os.walk(rooms) for name in names)

  looks = _watch(command, room / "prepare.log", finished)
  told = json.loads((room / "prepare.json").read_text())
  # The finished clips' files are there until the set is written.
  encoding = list(itertools.takewhile(lambda pair: pair[1].items >= pair[0].items, itertools.pairwise(looks)))
  numbers = {f"prepare_{name}": value for name, value in processes.slopes([pair[1] for pair in encoding], clips).items()}
  whole = max(look.mib for look in looks)
  return {
    "prepare_clips": told["clips"], "prepare_skipped": told["skipped"], "prepare_seconds": told["seconds"], **numbers,
    "prepare_write_seconds": told["write_seconds"], "prepare_verify_seconds": told["verify_seconds"], "prepare_whole_peak_mib": whole,
  }  # fmt: skip


def main() -> None:
  """Runs the benchmark."""
  if not (_UNITS.value or _CLIPS.value):
    raise UsageError("Expected --units or --clips above 0, received 0 for both.")
  named = flag_values.expand_path(_WORK_DIR.value, "work_dir")
  with tempfile.TemporaryDirectory() as temporary:
    room = pathlib.Path(named or temporary)
    room.mkdir(parents=True, exist_ok=True)
    if any(room.iterdir()):
      raise UsageError(f"--work_dir: expected an empty folder, found files in {room}.")
    numbers: dict[str, float] = {}
    for measure, count in ((_sweep, _UNITS.value), (_prepare, _CLIPS.value)):
      if count:
        found = measure(room, count)
        for name, value in found.items():
          print(f"{name:<40}{value:>12.4g}", flush=True)
        numbers |= found
        # After each: the other may fail an hour later.
        app.report_json(_JSON.value, {name: round(value, 4) for name, value in numbers.items()})


if __name__ == "__main__":
  app.run(main)
