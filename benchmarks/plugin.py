"""What the tab costs on logdirs of many stimuli: the list, the first pictures, frames a second, and memory.

  python benchmarks/plugin.py --work_dir=FOLDER --json=FILE

For each number of stimuli a logdir is generated (`logdirs.py`; kept in --work_dir for the next time), served by a real
`tensorboard` process and opened in a real Chromium. Measured are, once everything is loaded:

- the list of stimuli (GET of the route `contents`, as a browser asks for it): seconds, median of several, and bytes on the wire;
  and what asking again costs while nothing has changed;
- first pictures: from the list's arrival in the page until every cell in sight is drawn;
- frames a second while all cells play and the grid scrolls: the median of the seconds of a run, and the slowest second;
- memory of TensorBoard's processes together, when loaded and at its peak.

Chromium draws without a GPU here: the processor does all the work, and shares its cores with TensorBoard.
"""

from __future__ import annotations

import dataclasses
import http.client
import json
import os
import pathlib
import shutil
import statistics
import sys
import tempfile
import time
from typing import Any
import urllib.parse

from absl import flags
import logdirs
import processes

from tbvis.errors import UsageError
from tbvis.scripts import app, flag_values

_ROOT = pathlib.Path(__file__).resolve().parents[1]
# How the tests start TensorBoard, whether or not the project is installed.
sys.path.append(str(_ROOT))
from tests.tb_plugin import serving  # noqa: E402

_ITEMS = flags.DEFINE_list("items", ["1000", "10000", "70000"], f"Numbers of stimuli, up to {logdirs.LARGEST}.")
_WORK_DIR = flags.DEFINE_string("work_dir", None, "Folder in which logdirs are kept (2 GB at 70,000); a temporary one without it.")
_FAST = flags.DEFINE_bool("load_fast", True, "Whether TensorBoard's fast loader is measured, or its slow one.")
_TENSORFLOW = flags.DEFINE_bool("with_tensorflow", False, "Whether TensorBoard finds TensorFlow, which it needs for nothing here.")
_BROWSER = flags.DEFINE_bool("browser", True, "Whether the page is measured too, or the server alone.")
_PATIENCE = flags.DEFINE_integer("patience", 1800, "Seconds within which TensorBoard must have loaded a logdir.", lower_bound=1)
_QUICK = flags.DEFINE_bool("quick", False, "The smallest number alone, and a run of two seconds.")
_JSON = app.define_json()

_ASKED = 5
_SECONDS = 10
# At 96 pixels a picture, this window has at least 40 of the grid's cells in sight.
_WINDOW = 1920, 1200
_SIDE = 96
_CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
_ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]

# Notes when each cell was drawn, from the start of the page.
_WATCH = """
performance.setResourceTimingBufferSize(100000);
window.drawn = new Map();
addEventListener("ready", ({target}) => requestAnimationFrame((now) => drawn.has(target) || drawn.set(target, performance.now())), true);
"""
_SEEN = """() => {
  const inside = ({left, top, right, bottom}) => bottom > 0 && right > 0 && top < innerHeight && left < innerWidth && bottom > top;
  const cells = [...document.querySelectorAll("tbvis-units tbvis-stimulus")].filter((cell) => inside(cell.getBoundingClientRect()));
  const [list] = performance.getEntriesByType("resource").filter(({name}) => name.includes("/contents"));
  return {
    visible: cells.length,
    waiting: cells.filter((cell) => !drawn.has(cell)).length,
    decoded: drawn.size,
    seconds: (Math.max(...cells.map((cell) => drawn.get(cell))) - list.responseEnd) / 1000,
    list: (list.responseEnd - list.startTime) / 1000,
  };
}"""
# Scrolls as a steady hand does, up and down again, and returns the time of every frame; asks the page for nothing meanwhile.
_SCROLL = """async ([seconds, speed]) => {
  const grid = document.querySelector("tbvis-units");
  const end = grid.scrollHeight - grid.clientHeight;
  const times = [];
  let [before, at, down] = [null, 0, 1];
  await new Promise((resolve) => {
    const step = (now) => {
      if (before !== null) {
        at += (down * speed * Math.min(now - before, 100)) / 1000;
        if (at < 0 || at > end) [at, down] = [Math.min(Math.max(at, 0), end), -down];
        grid.scrollTop = at;
      }
      before = now;
      times.push(now);
      if (now - times[0] < 1000 * seconds) requestAnimationFrame(step);
      else resolve();
    };
    requestAnimationFrame(step);
  });
  return times;
}"""
_SPEED = 400


@dataclasses.dataclass(frozen=True)
class Answer:
  """One answer of the server: seconds until it was whole, its body on the wire, and what it is."""

  seconds: float
  body: bytes
  status: int
  headers: dict[str, str]


def _get(address: str, route: str, **headers: str) -> Answer:
  parts = urllib.parse.urlsplit(address)
  connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=120)
  started = time.perf_counter()
  try:
    connection.request("GET", f"/data/plugin/tbvis/{route}", headers=headers)
    response = connection.getresponse()
    body = response.read()
  finally:
    connection.close()
  return Answer(time.perf_counter() - started, body, response.status, {name.lower(): value for name, value in response.getheaders()})


def _count(text: bytes) -> int:
  runs = json.loads(text)["runs"]
  return sum(len(run["stimuli"]) for run in runs) if all(run["statistics"] or run["confusions"] for run in runs) else 0


def _wait(address: str, count: int, patience: float) -> None:
  """Waits until all stimuli are listed: the loaders bring them little by little."""
  deadline = time.monotonic() + patience
  while (found := _count(_get(address, "contents").body)) != count:
    if time.monotonic() > deadline:
      raise UsageError(f"--patience: expected {count} stimuli after {patience} s, found {found}.")
    time.sleep(0.5)


def _measure_list(address: str) -> dict[str, float]:
  first = _get(address, "contents", **{"Accept-Encoding": "gzip"})
  answers = [_get(address, "contents", **{"Accept-Encoding": "gzip"}) for _ in range(_ASKED)]
  plain = _get(address, "contents")
  again = _get(address, "contents", **{"Accept-Encoding": "gzip", "If-None-Match": first.headers.get("etag", '"none"')})
  return {
    "listing_first_seconds": first.seconds,
    "listing_seconds": statistics.median(answer.seconds for answer in answers),
    "listing_megabytes": len(first.body) / 1e6,
    "listing_plain_seconds": plain.seconds,
    "listing_plain_megabytes": len(plain.body) / 1e6,
    "listing_unchanged_seconds": again.seconds,
    "listing_unchanged_megabytes": len(again.body) / 1e6,
  }


def _frames_a_second(times: list[float]) -> list[int]:
  """Returns how many frames there were in each whole second of a run, from their times in milliseconds."""
  whole = int((times[-1] - times[0]) / 1000)
  counts = [0] * whole
  for moment in times[1:]:
    second = int((moment - times[0]) / 1000)
    if second < whole:
      counts[second] += 1
  return counts


def _chromium() -> str:
  named = os.environ.get("CHROMIUM")
  found = next(filter(None, map(shutil.which, [named] if named else _CHROMIUM)), None)
  if found is None:
    raise UsageError(f"Expected Chromium as one of {', '.join(_CHROMIUM)}, found none; --nobrowser measures the server alone.")
  return found


def _measure_page(address: str, seconds: int) -> dict[str, float]:
  from playwright import sync_api

  with sync_api.sync_playwright() as playwright:
    browser = playwright.chromium.launch(executable_path=_chromium(), args=_ARGUMENTS)
    width, height = _WINDOW
    page = browser.new_page(viewport={"width": width, "height": height})
    page.set_default_timeout(300_000)
    page.add_init_script(_WATCH)
    page.goto(f"{address}/data/plugin_entry.html?name=tbvis#tbvis&p.tbvis.size={_SIDE}")
    page.wait_for_selector("tbvis-units tbvis-stimulus")
    while (seen := page.evaluate(_SEEN))["waiting"]:
      time.sleep(0.2)
    first = dict(seen)
    times = page.evaluate(_SCROLL, [seconds, _SPEED])
    after = page.evaluate(_SEEN)
    browser.close()
  counts = _frames_a_second(times)
  return {
    "first_picture_seconds": first["seconds"],
    "page_listing_seconds": first["list"],
    "cells_visible": first["visible"],
    "cells_decoded_at_first": first["decoded"],
    "cells_decoded_after_scrolling": after["decoded"],
    "frames_per_second": statistics.median(counts),
    "frames_per_second_slowest": min(counts),
  }


def _measure(count: int, work_dir: pathlib.Path) -> dict[str, float]:
  started = time.monotonic()
  size = logdirs.write(work_dir / str(count), count)
  numbers: dict[str, float] = {"generating_seconds": time.monotonic() - started, "events_gigabytes": size / 1e9}
  arguments = [f"--load_fast={'true' if _FAST.value else 'false'}", "--reload_interval=5"]
  started = time.monotonic()
  with (
    tempfile.TemporaryDirectory() as room,
    serving.process(work_dir / str(count), pathlib.Path(room), *arguments, tensorflow=_TENSORFLOW.value) as (address, pid),
  ):
    _wait(address, count, _PATIENCE.value)
    numbers["loading_seconds"] = time.monotonic() - started
    numbers |= _measure_list(address)
    if _BROWSER.value:
      numbers |= _measure_page(address, 2 if _QUICK.value else _SECONDS)
    numbers |= {"resident_gib": processes.memory(pid) / 1024, "resident_peak_gib": processes.memory(pid, "VmHWM") / 1024}
  return numbers


def main() -> None:
  """Runs the benchmark."""
  try:
    items = sorted(int(text) for text in _ITEMS.value)
  except ValueError:
    raise UsageError(f"--items: expected whole numbers separated by commas, received {','.join(_ITEMS.value)!r}.") from None
  if not items or not 1 <= items[0] <= items[-1] <= logdirs.LARGEST:
    raise UsageError(f"--items: expected numbers from 1 to {logdirs.LARGEST}, received {','.join(_ITEMS.value)!r}.")
  named = flag_values.expand_path(_WORK_DIR.value, "work_dir")
  with tempfile.TemporaryDirectory() as temporary:
    found = {count: _measure(count, pathlib.Path(named or temporary)) for count in items[: 1 if _QUICK.value else None]}
  names = next(iter(found.values()))
  print(f"{'':<32}" + "".join(f"{count:>12,}" for count in found))
  for name in names:
    print(f"{name:<32}" + "".join(f"{numbers[name]:>12.4g}" for numbers in found.values()))
  numbers: dict[str, Any] = {f"{name}_{count}": round(value, 4) for count, of in found.items() for name, value in of.items()}
  # By themselves, these are of the largest logdir.
  largest = found[max(found)]
  numbers |= {name: round(largest[name], 4) for name in ("first_picture_seconds", "frames_per_second") if name in largest}
  app.report_json(_JSON.value, numbers)


if __name__ == "__main__":
  app.run(main)
