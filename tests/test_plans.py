"""Plans and signs of life: written whole, renewed while a process lives, gone when it ends."""

import json
import threading

from tbvis import plans

SWEEP, OTHER = "0123456789abcdef", "fedcba9876543210"
TARGETS = [("conv5_fusion/f001", "conv5_fusion", 7, 0, None), ("prediction/PlayingCello", "prediction", 10, 4, "PlayingCello")]


def _write(folder, sweep=SWEEP, finished=()):
  plans.write(folder, sweep, TARGETS, [(1.0, 0.0, False), (5.0, 5.0, True)], seed=3, steps=120, finished=list(finished))


def test_a_plan_replaces_its_own_and_leaves_others(tmp_path):
  folder = tmp_path / "sweeps"
  _write(folder, OTHER)
  for left in (f"{SWEEP}.main.json", f".{SWEEP}.main-x1y2.json", f"{OTHER}.main.json"):
    (folder / left).write_text("half")
  _write(folder, finished=[1])
  assert sorted(path.name for path in folder.iterdir()) == [f"{SWEEP}.json", f"{OTHER}.json", f"{OTHER}.main.json"]
  found = json.loads((folder / f"{SWEEP}.json").read_text())
  assert [tuple(target) for target in found["targets"]] == TARGETS and found["finished"] == [1] and found["steps"] == 120
  plans.remove(folder, SWEEP)
  plans.remove(folder, OTHER)
  assert not folder.exists(), "an empty folder goes as well"
  plans.remove(folder, SWEEP)


def test_a_sign_of_life_is_renewed_without_a_step_and_goes_with_its_process(tmp_path):
  path = tmp_path / f"{SWEEP}.main.json"
  with plans.SignOfLife(tmp_path, SWEEP, every=0.02) as life:
    assert plans.SIGN_NAME.fullmatch(path.name)[1] == SWEEP and not plans.PLAN_NAME.fullmatch(path.name)
    life.begin(4, 8)
    first = json.loads(path.read_text())
    assert (first["rows"], first["step"]) == ([4, 8], 0)
    for _ in range(3):
      life.stepped()
    waited = threading.Event()
    while (found := json.loads(path.read_text()))["step"] < 3 or found["time"] <= first["time"]:
      waited.wait(0.01)
    assert found["rows"] == [4, 8]
    life.begin(8, 10)
    assert json.loads(path.read_text())["step"] == 0
  assert list(tmp_path.iterdir()) == []


def test_where_nothing_can_be_written_the_search_goes_on(tmp_path):
  (tmp_path / "sweeps").write_text("a file where a folder has to be")
  with plans.SignOfLife(tmp_path / "sweeps", SWEEP) as life:
    life.begin(0, 1)
