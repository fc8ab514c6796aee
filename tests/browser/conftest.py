"""A real Chromium, and the tab in it."""

from __future__ import annotations

import pytest

_ARGUMENTS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
]
# The machine may be busy; nothing here measures speed.
_PATIENCE = 60_000


@pytest.fixture(scope="session")
def browser(chromium):
  sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
  with sync_api.sync_playwright() as playwright:
    launched = playwright.chromium.launch(executable_path=chromium, args=_ARGUMENTS)
    yield launched
    launched.close()


def _is_ours(message, missing):
  # Chromium itself asks for an icon where the tab's page is opened alone.
  asked = message.location.get("url", "")
  return message.type == "error" and not asked.endswith("/favicon.ico") and not (missing and "/media?" in asked)


@pytest.fixture
def open_tab(browser):
  """Opens the tab and returns (page, frame); at the end no page may have logged an error.

  `hosted` opens TensorBoard's own page, which takes seconds, and the tab in it; otherwise the tab's page alone.
  `missing` says that files beside the events are, which the browser logs.
  """
  pages, problems = [], []

  def open_at(address, chosen="", width=1600, height=1000, hosted=False, missing=False):
    page = browser.new_page(viewport={"width": width, "height": height})
    pages.append(page)
    page.set_default_timeout(_PATIENCE)
    page.on("console", lambda message: problems.append(message.text) if _is_ours(message, missing) else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    fragment = f"#tbvis{'&p.tbvis.' + chosen if chosen else ''}"
    if not hosted:
      page.goto(f"{address}/data/plugin_entry.html?name=tbvis{fragment}")
      page.wait_for_selector(".page")
      return page, page.main_frame
    page.goto(f"{address}/{fragment}")
    page.wait_for_selector("iframe[src*=plugin_entry]", state="attached")
    page.wait_for_function("() => [...document.querySelectorAll('iframe')].some((f) => f.contentDocument?.querySelector('.page'))")
    (frame,) = (f for f in page.frames if "plugin_entry" in f.url)
    return page, frame

  yield open_at
  for page in pages:
    page.close()
  assert not problems
