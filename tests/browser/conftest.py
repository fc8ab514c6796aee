"""A real Chromium and a real Firefox, and the tab in them."""

from __future__ import annotations

import os
import shutil

import pytest

from tests.browser import axe, firefox
from tests.tb_plugin import serving, synthetic

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


@pytest.fixture(scope="module")
def browser(chromium):
  sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
  with sync_api.sync_playwright() as playwright:
    launched = playwright.chromium.launch(executable_path=chromium, args=_ARGUMENTS)
    _slow_down(launched, float(os.environ.get("TBVIS_SLOW_BROWSER", "1")))
    yield launched
    launched.close()


def _slow_down(launched, times):
  """Has every page compute `times` as slowly, and wait for every answer: that brings out what a test does not wait for."""
  if times == 1:
    return
  new_page = launched.new_page

  def new_slow_page(**options):
    page = new_page(**options)
    session = page.context.new_cdp_session(page)
    session.send("Emulation.setCPUThrottlingRate", {"rate": times})
    session.send("Network.enable")
    limits = {"offline": False, "latency": 100 * times, "downloadThroughput": -1, "uploadThroughput": -1}
    session.send("Network.emulateNetworkConditions", limits)
    return page

  launched.new_page = new_slow_page


@pytest.fixture(scope="module")
def fox(firefox_esr, tmp_path_factory):
  """A running Firefox; at the end no page of it may have logged an error."""
  pytest.importorskip("websockets.sync.client", reason="needs websockets: pip install websockets")
  with firefox.running(firefox_esr, tmp_path_factory.mktemp("firefox")) as started:
    yield started
    assert not started.problems


@pytest.fixture(scope="session")
def axe_script(request):
  """The text of axe-core; without it the test is skipped, or fails where CI=true and npm is there to fetch it."""
  try:
    return axe.source(request.config.cache.mkdir("axe-core"))
  except axe.MissingError as error:
    if os.environ.get("CI") == "true" and shutil.which("npm"):
      pytest.fail(str(error))
    pytest.skip(str(error))


@pytest.fixture(scope="session")
def address(tmp_path_factory):
  """Of a TensorBoard that all modules read from; who writes starts one of their own."""
  folder = tmp_path_factory.mktemp("browser")
  with serving.tensorboard(synthetic.write_logdir(folder / "logdir", size=48), folder, "--load_fast=true") as served:
    yield served


def _is_ours(message):
  # Chromium itself asks for an icon where the tab's page is opened alone.
  return message.type == "error" and not message.location.get("url", "").endswith("/favicon.ico")


@pytest.fixture
def open_tab(browser):
  """Opens the tab and returns (page, frame); at the end no page may have logged an error.

  `hosted` opens TensorBoard's own page, which takes seconds, and the tab in it; otherwise the tab's page alone.
  """
  pages, problems = [], []

  def open_at(address, chosen="", width=1600, height=1000, hosted=False):
    page = browser.new_page(viewport={"width": width, "height": height})
    pages.append(page)
    page.set_default_timeout(_PATIENCE)
    page.on("console", lambda message: problems.append(message.text) if _is_ours(message) else None)
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
