"""Whatever happens to a program, nothing finished is lost, nothing half-written is taken for whole, and what it says is clear.

`benchmarks/faults.py` does the same for longer, and tells all of it.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import time

import pytest

from tbvis import summaries
from tests.faults import faults
from tests.faults.programs import Ended, Programs
from tests.faults.work import World
from tests.tb_plugin import serving

# A search for a flaw takes more of them.
KILLS = int(os.environ.get("TBVIS_KILLS", "2"))


@pytest.fixture(scope="module")
def world(tmp_path_factory):
  with Programs() as programs:
    yield World(tmp_path_factory.mktemp("faults"), programs)


def _assert_good(tally):
  assert tally.is_good and tally.times and tally.recovered, tally


@pytest.mark.slow
@pytest.mark.parametrize(("work", "times"), [("preparing", KILLS), ("training", KILLS), ("sweeping", KILLS), ("explaining", KILLS // 2)])
def test_killed_at_random_moments_it_goes_on(world, work, times):
  _assert_good(faults.kills(world, getattr(world, work)(), random.Random(5), times))


@pytest.fixture(scope="module")
def disks(tmp_path_factory):
  try:
    with faults.small_disk(tmp_path_factory.mktemp("disk"), 1 << 20):
      pass
  except OSError as error:
    pytest.skip(f"needs leave to mount a small file system: {error}")


@pytest.mark.slow
@pytest.mark.parametrize(
  ("fault", "work"),
  [
    ("full_disk", "preparing"),
    ("full_disk", "training"),
    ("full_disk", "sweeping"),
    ("read_only", "sweeping"),
    ("read_only", "explaining"),
  ],
)
def test_a_disk_that_takes_nothing_is_said_in_one_line(world, disks, fault, work):
  _assert_good(getattr(faults, fault)(world, getattr(world, work)(), random.Random(1), 1))


@pytest.mark.slow
@pytest.mark.parametrize(
  ("fault", "work"),
  [
    ("second_process", "preparing"),
    ("second_process", "training"),
    ("second_process", "sweeping"),
    ("jumping_clock", "sweeping"),
    ("missing_gpu", "sweeping"),
  ],
)
def test_it_ends_in_a_clear_line_or_goes_on_by_itself(world, fault, work):
  _assert_good(getattr(faults, fault)(world, getattr(world, work)(), random.Random(3), 1))


@pytest.mark.slow
def test_without_memory_nothing_is_lost(world):
  # Under a limit of addresses C++ may abort where Python would raise; what Python raises is told.
  tally = faults.little_memory(world, world.preparing(), random.Random(3), 1)
  assert all(said.startswith("status -") for said in tally.unclear), tally.unclear
  assert tally.times and tally.recovered and not tally.lost and not tally.corrupt, tally


@pytest.mark.slow
def test_of_a_cut_event_file_all_that_is_whole_is_shown_and_the_rest_found_again(world, tmp_path):
  work = world.sweeping()
  _assert_good(faults.truncated_events(world, work, random.Random(2), 1))
  # TensorBoard reads such files too: one run a cut, all in one logdir.
  (whole,) = (world.folder_of(work) / "stimuli").glob("*tfevents*")
  wanted = {}
  for cut in (0, 30, whole.stat().st_size // 2, whole.stat().st_size - 1, whole.stat().st_size):
    run = f"cut{cut}"
    shutil.copytree(whole.parent, tmp_path / "logdir" / run)
    os.truncate(tmp_path / "logdir" / run / whole.name, cut)
    wanted[run] = {f"{s.unit} {s.variant}" for s in summaries.read_run(tmp_path / "logdir", run).stimuli}
  assert sorted(map(len, wanted.values()))[0] == 0 and 4 in map(len, wanted.values()) and len(set(map(len, wanted.values()))) > 2
  with serving.tensorboard(tmp_path / "logdir", tmp_path) as address:
    deadline = time.monotonic() + 30
    while True:
      contents = json.loads(serving.fetch(f"{address}/data/plugin/tbvis/contents"))
      shown = {run["name"]: {f"{s['unit']} {s['variant']}" for s in run["stimuli"]} for run in contents["runs"]}
      if {name: keys for name, keys in shown.items() if keys} == {name: keys for name, keys in wanted.items() if keys}:
        break
      assert time.monotonic() < deadline, (shown, wanted)
      time.sleep(0.2)


def test_what_is_clear_and_what_is_not():
  line = "tbvis-train: error: --logdir: expected a folder that can be written, received '/x'; Read-only file system.\n"
  assert Ended(2, f"50%|###\r{line}", 1.0).is_clear and Ended(-signal.SIGKILL, "Traceback", 1.0).is_clear
  for status, log in ((1, line), (2, f"Traceback\n{line}"), (2, "No space left on device"), (-6, line), (2, "")):
    assert not Ended(status, log, 1.0).is_clear, (status, log)


def test_what_was_lost_or_spoilt_is_counted(tmp_path):
  whole = faults.State({"a": "1", "b": "2"}, 2)
  now = faults.State({"a": "x", "c": "3"}, 1)
  work = faults.Work("made up", "train", lambda out: [], "", lambda out: now)
  tally = faults.Tally("none", "made up")
  faults._compare(tally, work, tmp_path, whole, whole)
  assert tally.lost == ["a", "b", "progress 2 -> 1"] and tally.corrupt == ["a", "c"] and not tally.is_good
