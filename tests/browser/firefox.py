"""A real Firefox, driven over its own WebDriver BiDi socket: no driver program between."""

from __future__ import annotations

import base64
from collections.abc import Iterator
import contextlib
import json
import pathlib
import re
import time
from typing import Any

from tests import processes

# The machine may be busy; nothing here measures speed.
_SECONDS = 60
# W3C WebDriver's names of keys that are no characters.
_KEYS = {"Backspace": "\ue003", "Tab": "\ue004", "Enter": "\ue007", "Escape": "\ue00c", "Space": " ", "End": "\ue010", "Home": "\ue011"} | {
  f"Arrow{name}": chr(0xE012 + i) for i, name in enumerate(("Left", "Up", "Right", "Down"))
}
_LISTENING = re.compile(r"WebDriver BiDi listening on (ws://\S+)")


def _is_ours(entry: dict[str, Any]) -> bool:
  # TensorBoard's own page may be left before its fonts have come.
  return entry["level"] == "error" and not entry["text"].startswith("downloadable font")


class Firefox:
  """A running Firefox; `problems` gathers what its pages logged as errors, `downloads` is where its files go."""

  def __init__(self, socket: Any, downloads: pathlib.Path):
    self._socket = socket
    self.downloads = downloads
    self._count = 0
    self.problems: list[str] = []
    self.call("session.new", capabilities={})
    self.call("session.subscribe", events=["log.entryAdded"])

  def call(self, method: str, **parameters: Any) -> dict[str, Any]:
    """Sends a command and returns its result.

    Raises:
      AssertionError: if Firefox answers with an error, or not within a minute.
    """
    self._count += 1
    self._socket.send(json.dumps({"id": self._count, "method": method, "params": parameters}))
    while True:
      message = json.loads(self._socket.recv(timeout=_SECONDS))
      if message.get("method") == "log.entryAdded" and _is_ours(message["params"]):
        self.problems.append(message["params"]["text"])
      if message.get("id") == self._count:
        assert message["type"] == "success", f"{method}: {message.get('message')}"
        return message["result"]

  def open(self, address: str, width: int = 1600, height: int = 1000) -> Page:
    """Opens an address in a tab of its own, with the size of its viewport in CSS pixels."""
    page = Page(self, self.call("browsingContext.create", type="tab")["context"])
    self.call("browsingContext.setViewport", context=page.context, viewport={"width": width, "height": height})
    page.go(address)
    return page


class Page:
  """A tab, or a frame inside one."""

  def __init__(self, firefox: Firefox, context: str):
    self._firefox = firefox
    self.context = context

  def go(self, address: str) -> None:
    """Loads an address."""
    self._firefox.call("browsingContext.navigate", context=self.context, url=address, wait="complete")

  def reload(self) -> None:
    """Loads the same address anew."""
    self._firefox.call("browsingContext.reload", context=self.context, wait="complete")

  def close(self) -> None:
    """Closes the tab."""
    self._firefox.call("browsingContext.close", context=self.context)

  def child(self, part: str) -> Page:
    """The frame whose address contains `part`; TensorBoard may make a second one while it starts, and the last one stays."""

    def frames() -> list[str]:
      (tree,) = self._firefox.call("browsingContext.getTree", root=self.context)["contexts"]
      return [child["context"] for child in tree["children"] if part in child["url"]]

    before: list[str] = []
    for _ in range(_SECONDS):
      now = frames()
      if len(now) == 1 and now == before:
        return Page(self._firefox, now[0])
      before = now
      time.sleep(1)
    raise AssertionError(f"expected one frame of {part} that stays, found {before}")

  def evaluate(self, expression: str) -> Any:
    """The value of an expression, awaited, as JSON can hold it."""
    answer = self._firefox.call(
      "script.evaluate",
      expression=f"(async () => JSON.stringify((await ({expression})) ?? null))()",
      target={"context": self.context},
      awaitPromise=True,
      userActivation=True,
    )
    assert answer["type"] == "success", answer["exceptionDetails"]["text"]
    return json.loads(answer["result"]["value"])

  def wait(self, expression: str) -> Any:
    """Waits until an expression is true, and returns its value."""
    deadline = time.monotonic() + _SECONDS
    while not (value := self.evaluate(expression)):
      assert time.monotonic() < deadline, f"never true: {expression}"
      time.sleep(0.05)
    return value

  def text(self, selector: str) -> str:
    """The text of an element once it is there."""
    return self.wait(f"document.querySelector({json.dumps(selector)})?.innerText")

  def click(self, selector: str, place: tuple[float, float] | None = None) -> None:
    """Clicks an element's middle, or a place in it from its left upper corner."""
    named = json.dumps(selector)
    self.wait(f"document.querySelector({named}) !== null")
    inside = f"[{place[0]}, {place[1]}]" if place else "[b.width / 2, b.height / 2]"
    x, y = self.evaluate(
      f"(() => {{ const e = document.querySelector({named}); e.scrollIntoView({{block: 'center'}});"
      f" const b = e.getBoundingClientRect(); const [x, y] = {inside}; return [b.left + x, b.top + y].map(Math.round); }})()"
    )
    steps = [{"type": "pointerMove", "x": x, "y": y}, {"type": "pointerDown", "button": 0}, {"type": "pointerUp", "button": 0}]
    self._act({"type": "pointer", "id": "mouse", "actions": steps})

  def press(self, *keys: str) -> None:
    """Types keys one after another: characters, or names like "ArrowDown"."""
    typed = [_KEYS.get(key, key) for key in keys]
    self._act({"type": "key", "id": "keys", "actions": [{"type": kind, "value": key} for key in typed for kind in ("keyDown", "keyUp")]})

  def _act(self, source: dict[str, Any]) -> None:
    self._firefox.call("input.performActions", context=self.context, actions=[source])

  def screenshot(self, path: pathlib.Path) -> None:
    """Writes what is seen as a PNG file."""
    answer = self._firefox.call("browsingContext.captureScreenshot", context=self.context)
    path.write_bytes(base64.b64decode(answer["data"]))


@contextlib.contextmanager
def running(path: str, folder: pathlib.Path) -> Iterator[Firefox]:
  """Starts Firefox without a window, with a profile and downloads of its own in `folder`; needs the package `websockets`."""
  from websockets.sync.client import connect

  profile, downloads = folder / "profile", folder / "downloads"
  for made in (profile, downloads):
    made.mkdir()
  settings = {
    "browser.download.folderList": 2,
    "browser.download.dir": str(downloads),
    "browser.download.always_ask_before_handling_new_types": False,
  }
  (profile / "user.js").write_text("".join(f"user_pref({json.dumps(name)}, {json.dumps(value)});\n" for name, value in settings.items()))
  command = [path, "--headless", "--no-remote", "--profile", str(profile), "--remote-debugging-port=0", "about:blank"]
  log = folder / "firefox.txt"
  with processes.running(command, log) as process:
    deadline = time.monotonic() + _SECONDS
    while not (found := _LISTENING.search(log.read_text(errors="replace"))):
      assert process.poll() is None and time.monotonic() < deadline, f"Firefox did not start:\n{log.read_text(errors='replace')}"
      time.sleep(0.05)
    with connect(f"{found[1]}/session", max_size=None, open_timeout=_SECONDS) as socket:
      yield Firefox(socket, downloads)
