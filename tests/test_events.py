"""Event files where the clock was set back: what was written last is still what is shown."""

from __future__ import annotations

import os
import time

import numpy as np
import pytest

from tbvis import events, summaries


@pytest.fixture
def clock(monkeypatch):
  """Sets the time, in seconds from now."""
  real = time.time

  def set_clock(offset):
    monkeypatch.setattr(time, "time", lambda: real() + offset)
    monkeypatch.setattr(time, "time_ns", lambda: int((real() + offset) * 1e9))

  return set_clock


def _steps(folder):
  return [step for _, step, _, _ in events.read_values(folder, summaries.PLUGIN_NAME)]


def test_the_last_evaluation_counts_though_the_clock_was_set_back(tmp_path, clock):
  for offset, score in ((86400, 1.0), (0, 2.0), (-3600, 3.0)):
    clock(offset)
    summaries.write_confusions(tmp_path, "e", classes=["a", "b"], labels=[0], scores={"fused": np.array([[score, 0.0]])}, clips=["c"])
    os.utime(max((tmp_path / "e").iterdir()), times=(time.time(), time.time()))
  assert summaries.read_run(tmp_path, "e").confusions.scores["fused"][0, 0] == 3.0
  steps = _steps(tmp_path / "e")
  assert len(steps) == 3 and sorted(set(steps)) == steps


def test_steps_rise_within_a_file(tmp_path, clock):
  written = events.EventFile(tmp_path)
  steps = []
  for offset in (0, -60, 60, 0):
    clock(offset)
    steps.append(written.step())
  assert sorted(set(steps)) == steps
  # A sane clock is believed.
  assert abs(steps[0] / 1000 - time.time()) < 60


def test_a_file_comes_behind_those_that_are_there_by_its_name(tmp_path, clock):
  for offset in (0, -5, 3000, 0, 0):
    clock(offset)
    written = events.EventFile(tmp_path, at_once=offset == 3000)
    written.add([(1, [events.scalar_value(f"after{len(list(tmp_path.iterdir()))}", 1.0)])])
    written.close()
  by_age = sorted(tmp_path.iterdir(), key=lambda path: path.stat().st_mtime_ns)
  assert len(by_age) == 5 and sorted(by_age) == by_age
