"""Plans of sweeps and signs of life as a stranger might write them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import json
import os
import pathlib
from typing import Any

from tests.tb_plugin import hostile

_TEXTS = (b"", b"[]", b"null", b"<script>alert(1)</script>", b'{"version": 1, "time": 1.0, "set', b"[" * 100_000, b'{"kind": "\xff\xfe"}')


def _plans(good: dict[str, Any]) -> Iterator[Any]:
  yield from _TEXTS
  target, setting = ["a/f001", "a", 0, 0, None], [1.0, 0.0, False]
  wrong = {
    "version": [2, 0, "1", None, True],
    "time": ["now", None, float("nan"), []],
    "steps": [0, -1, "120", None],
    "seed": [None, 0.5],
    "settings": [[], [[1.0, 0.0]], [[1.0, "0", False]], [[1.0, 0.0, 0]], [[float("inf"), 0.0, False]], None, {}],
    "targets": [
      [[]],
      [target[:4]],
      [[*target, 1]],
      [["", *target[1:]]],
      [["x" * 3000, *target[1:]]],
      [[*target[:2], "0", 0, None]],
      None,
      "ab",
    ],  # fmt: skip
    "finished": [None, ["0"], [0.5], {}],
  }
  for name, values in wrong.items():
    yield {key: value for key, value in good.items() if key != name}
    for value in values:
      yield good | {name: value}
  yield good | {"settings": [setting] * 600, "targets": [target] * 600}
  yield json.dumps(good | {"time": 77}).replace("77", "1e999").encode()


def write(folder: pathlib.Path, outside: pathlib.Path) -> list[str]:
  """Writes plans and signs of life as nobody of ours does; returns their names as the list of what is damaged has them.

  One plan is good, and names nothing; its signs of life are spoilt. Names that are none of ours are passed over.
  """
  outside.mkdir(parents=True, exist_ok=True)
  (outside / "plan.json").write_bytes(b'{"secret": "' + hostile.SECRET + b'"}')
  folder.mkdir(parents=True)
  good = {"version": 1, "time": 1.0, "steps": 120, "seed": 0, "settings": [[1.0, 0.0, False]], "targets": [], "finished": []}
  spoilt = list(_plans(good))
  for number, content in enumerate(spoilt):
    (folder / f"{number:016x}.json").write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
  names = [f"{number:016x}" for number in range(len(spoilt))]

  def add(make: Callable[[pathlib.Path], Any], name: str) -> None:
    make(folder / f"{name}.json")
    names.append(name)

  odd = {
    "a" * 16: lambda path: path.symlink_to(outside / "plan.json"),
    "b" * 16: lambda path: path.symlink_to(path.name),
    "c" * 16: os.mkfifo,
    "d" * 16: lambda path: path.mkdir(),
    "e" * 16: lambda path: (path.touch(), os.truncate(path, 1 << 31)),
  }
  for name, make in odd.items():
    add(make, name)
  known = "f" * 16
  (folder / f"{known}.json").write_text(json.dumps(good))
  sign = {"version": 1, "time": 1.0, "rows": [0, 1], "step": 0}
  changed = (
    {"rows": [0]}, {"rows": None}, {"rows": ["0", 1]}, {"rows": [0, 10**400]}, {"step": -1}, {"step": "1"}, {"time": None}, {"version": 9}
  )  # fmt: skip
  for number, spoiling in enumerate(changed):
    add(lambda path, content=sign | spoiling: path.write_text(json.dumps(content)), f"{known}.w{number}")
  add(lambda path: path.write_bytes(b" " * 5000), f"{known}.large")
  add(lambda path: path.symlink_to(outside / "plan.json"), f"{known}.link")
  (folder / f"{known}.everything.json").write_text(json.dumps(sign | {"rows": [-(1 << 50), 1 << 50]}))
  for name in ("..json", "x.json", f"{known}.json.json.json", "<script>.json", f"{known[:-1]}.json"):
    (folder / name).write_bytes(b"x")
  return [f"sweeps/{name}.json" for name in names]
