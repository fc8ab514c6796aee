"""The faults: each disturbs a piece of work, gives the same command again, and tells what was lost, spoilt or said unclearly."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import contextlib
import dataclasses
import os
import pathlib
import random
import shutil
import signal
import subprocess
from typing import Any

from tbvis import progress
from tests.faults import programs
from tests.faults.programs import Ended
from tests.faults.work import State, Work, World

DAY = 86400.0


@dataclasses.dataclass
class Tally:
  """What came of a fault.

  Attributes:
    fault: what was done.
    work: to which work.
    times: how often.
    lost: things that were finished and are so no more, or work that went back.
    corrupt: things taken for whole that are not what an undisturbed run makes.
    unclear: what was said instead of one clear line.
    recovered: how the work came to its end, each way once.
  """

  fault: str
  work: str
  times: int = 0
  lost: list[str] = dataclasses.field(default_factory=list)
  corrupt: list[str] = dataclasses.field(default_factory=list)
  unclear: list[str] = dataclasses.field(default_factory=list)
  recovered: list[str] = dataclasses.field(default_factory=list)

  @property
  def is_good(self) -> bool:
    """Whether nothing was lost, spoilt or unclear."""
    return not (self.lost or self.corrupt or self.unclear)

  def how(self, text: str) -> None:
    """Notes a way in which the work recovered."""
    if text not in self.recovered:
      self.recovered.append(text)

  def heard(self, ended: Ended) -> None:
    """Judges what a program said at its end."""
    if not ended.is_clear:
      self.unclear.append(f"status {ended.status}: {ended.message[:300]}")


def _compare(tally: Tally, work: Work, out: pathlib.Path, before: State, whole: State) -> State:
  """Reads what there is now, and notes what was lost since `before` and what differs from an undisturbed run's."""
  try:
    now = work.state(out)
  except Exception as error:  # Whatever it is, something was taken for whole that cannot be read.
    tally.corrupt.append(f"{type(error).__name__}: {error}"[:300])
    return before
  tally.lost += [name for name, digest in before.finished.items() if now.finished.get(name) != digest]
  tally.lost += [f"progress {before.progress:g} -> {now.progress:g}"] if now.progress < before.progress else []
  tally.corrupt += [name for name, digest in now.finished.items() if whole.finished.get(name) != digest]
  return now


def _finish(tally: Tally, world: World, work: Work, out: pathlib.Path, before: State, whole: State) -> None:
  """Gives the command again, undisturbed, and compares the end with that of a run that was never disturbed."""
  ended = world.run(work, out)
  tally.heard(ended)
  now = _compare(tally, work, out, before, whole)
  if ended.status or now != whole:
    missing = sorted(set(whole.finished) - set(now.finished))
    tally.lost += missing or ([] if now == whole else ["the end differs"])
  else:
    tally.how("the same command goes on")


def kills(world: World, work: Work, dice: random.Random, count: int) -> Tally:
  """Kills a program at random moments of its work, every second time amid its writing, until it was killed `count` times."""
  tally = Tally("kill -9", work.name)
  whole, undisturbed = world.whole(work)
  bar = progress.bar(total=count, description=f"Killed {work.name}", unit="kill")
  while tally.times < count:
    out, before = world.fresh(), State({}, 0.0)
    while tally.times < count:
      amid = dice.random() < 0.5
      harm = programs.kill_at_change(out, dice.randint(1, 12), dice) if amid else programs.kill_after(dice.uniform(0, undisturbed.seconds))
      ended = world.run(work, out, began=work.began, disturb=harm)
      tally.heard(ended)
      tally.times += ended.status == -signal.SIGKILL
      bar.update(tally.times - bar.n)
      before = _compare(tally, work, out, before, whole)
      if ended.status != -signal.SIGKILL:
        break
    _finish(tally, world, work, out, before, whole)
  bar.close()
  return tally


# How often each of the other faults is tried on each piece of work.
_TIMES = 3


@contextlib.contextmanager
def small_disk(folder: pathlib.Path, size: int) -> Iterator[Callable[[str], None]]:
  """Mounts a file system of so many bytes in a folder; yields what mounts it anew with other options, as "ro" or "size=9m".

  Raises:
    PermissionError: where mounting is not allowed.
  """
  folder.mkdir(parents=True, exist_ok=True)

  def mount(options: str) -> None:
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True, text=True, check=False)
    if done.returncode:
      raise PermissionError(done.stderr.strip())

  mount(f"size={size}")
  try:
    yield lambda options: mount(f"remount,{options}")
  finally:
    subprocess.run(["umount", "-l", str(folder)], check=True)


def _size(folder: pathlib.Path) -> int:
  return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def full_disk(world: World, work: Work, dice: random.Random, times: int = _TIMES) -> Tally:
  """Lets the disk fill up at some part of the work, and gives the command again on a larger one."""
  tally = Tally("full disk", work.name)
  whole, _ = world.whole(work)
  needed = _size(world.folder_of(work))
  for _ in range(times):
    with small_disk(world.fresh() / "disk", max(4096, int(needed * dice.uniform(0.1, 0.8)))) as mount:
      out = world.last / "disk"
      ended = world.run(work, out)
      tally.times += 1
      tally.heard(ended)
      before = _compare(tally, work, out, State({}, 0.0), whole)
      if ended.status == 0 and before != whole:
        tally.unclear.append("status 0, though the work is not whole")
      mount("size=1g")
      _finish(tally, world, work, out, before, whole)
  return tally


def read_only(world: World, work: Work, dice: random.Random, times: int = 1) -> Tally:
  """Lets a folder of outputs become read-only after a kill, gives the command, and then again when it can be written."""
  tally = Tally("read-only folder", work.name)
  whole, undisturbed = world.whole(work)
  for _ in range(times):
    with small_disk(world.fresh() / "disk", 1 << 30) as mount:
      out = world.last / "disk"
      world.run(work, out, began=work.began, disturb=programs.kill_after(dice.uniform(0, undisturbed.seconds)))
      before = _compare(tally, work, out, State({}, 0.0), whole)
      mount("ro")
      ended = world.run(work, out)
      tally.times += 1
      tally.heard(ended)
      if ended.status == 0 and before != whole:
        tally.unclear.append("status 0, though nothing could be written")
      mount("rw")
      _finish(tally, world, work, out, before, whole)
  return tally


def second_process(world: World, work: Work, dice: random.Random, times: int = _TIMES) -> Tally:
  """Gives one command to two processes at once."""
  tally = Tally("second process", work.name)
  whole, _ = world.whole(work)
  for _ in range(times):
    out = world.fresh()
    both = world.run_twice(work, out)
    tally.times += 1
    for ended in both:
      tally.heard(ended)
      if ended.status == 2:
        tally.how("the second is told of the first")
    if all(ended.status == 0 for ended in both):
      tally.how("both end whole")
    if not any(ended.status == 0 for ended in both):
      tally.lost.append("neither came to its end")
    before = _compare(tally, work, out, State({}, 0.0), whole)
    _finish(tally, world, work, out, before, whole)
  return tally


def _disturbed(fault: str, world: World, work: Work, times: int, runs: Callable[[int], list[dict[str, Any]]]) -> Tally:
  """Gives the command under each of the disturbances that `runs` has for a try, and then in peace; they are arguments of `World.run`."""
  tally = Tally(fault, work.name)
  whole, _ = world.whole(work)
  for number in range(times):
    out, before = world.fresh(), State({}, 0.0)
    tally.times += 1
    for disturbance in runs(number):
      tally.heard(world.run(work, out, **disturbance))
      before = _compare(tally, work, out, before, whole)
    _finish(tally, world, work, out, before, whole)
  return tally


def jumping_clock(world: World, work: Work, dice: random.Random, times: int = 1) -> Tally:
  """Lets the clock jump while it works, kills it, and goes on a day earlier."""
  _, undisturbed = world.whole(work)

  def runs(number: int) -> list[dict[str, Any]]:
    harm = programs.kill_after(dice.uniform(0.3, 0.9) * undisturbed.seconds)
    return [{"began": work.began, "disturb": harm, "clock": [DAY, DAY - 3600.0, 3 * DAY]}, {"clock": [0.0, -DAY, 60.0]}]

  return _disturbed("clock that jumps", world, work, times, runs)


def missing_gpu(world: World, work: Work, dice: random.Random, times: int = 1) -> Tally:
  """Names a GPU that is not there, as a queue of jobs may, and asks a training for all GPUs there are."""
  names = ("7", "", "GPU-none")
  return _disturbed("missing GPU", world, work, times, lambda number: [{"environment": {"CUDA_VISIBLE_DEVICES": names[number % 3]}}])


def little_memory(world: World, work: Work, dice: random.Random, times: int = _TIMES) -> Tally:
  """Lets the program have a few megabytes more than what it holds when its libraries are loaded."""
  return _disturbed("out of memory", world, work, times, lambda number: [{"memory": int(2 ** dice.uniform(24, 29))}])


def truncated_events(world: World, work: Work, dice: random.Random, times: int = 6) -> Tally:
  """Cuts the event file of a finished sweep somewhere: what is left is read, and the same command finds the rest again."""
  tally = Tally("truncated event file", work.name)
  whole, _ = world.whole(work)
  for _ in range(times):
    out = world.fresh()
    shutil.copytree(world.folder_of(work), out, dirs_exist_ok=True)
    (path,) = (out / "stimuli").glob("*tfevents*")
    os.truncate(path, dice.randrange(path.stat().st_size))
    tally.times += 1
    before = _compare(tally, work, out, State({}, 0.0), whole)
    _finish(tally, world, work, out, before, whole)
  return tally


def _kill_all(world: World, dice: random.Random, counts: dict[str, int]) -> Iterator[Tally]:
  for name, count in counts.items():
    yield kills(world, getattr(world, name)(), dice, count)


def _all_work(fault: Callable[..., Tally]) -> Callable[[World, random.Random, dict[str, int]], Iterator[Tally]]:
  """Returns what disturbs a piece of work of each verb by a fault."""
  return lambda world, dice, counts: (fault(world, work, dice) for work in world.all())


# By name, what disturbs all kinds of work: from the world, dice and the number of kills by kind of work to tallies.
FAULTS: dict[str, Callable[[World, random.Random, dict[str, int]], Iterator[Tally]]] = {
  "kill": _kill_all,
  "full_disk": _all_work(full_disk),
  "read_only": _all_work(read_only),
  "second_process": _all_work(second_process),
  "clock": _all_work(jumping_clock),
  "events": lambda world, dice, counts: iter([truncated_events(world, world.sweeping(), dice)]),
  "gpu": _all_work(missing_gpu),
  "memory": _all_work(little_memory),
}
