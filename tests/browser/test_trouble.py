"""What goes wrong is said in words, wherever it goes wrong: never a blank tab."""

from __future__ import annotations

import pytest

from tests.browser.looking import text

pytestmark = [pytest.mark.browser, pytest.mark.slow]

_UNIT = "view=unit%3Aconv5_fusion%2Ff021"
_PAIR = "view=pair%3APlayingCello~PlayingViolin"
_REFUSED = {"status": 500, "content_type": "application/json", "body": '{"error": "The plugin failed at this request."}'}
_GARBLED = {"status": 200, "content_type": "application/json", "body": '{"runs": ['}


@pytest.fixture(scope="module")
def page(browser):
  """One for all: not by open_tab, as the browser logs every request that fails."""
  opened = browser.new_page(viewport={"width": 1600, "height": 1000})
  opened.set_default_timeout(60_000)
  yield opened
  opened.close()


@pytest.fixture
def spoil(page):
  """Answers requests for a part of the page otherwise than the server would; None: not at all."""
  spoilt = []

  def answer_with(part, answer):
    spoilt.append(f"**/tbvis/{part}")
    page.route(spoilt[-1], lambda route: route.fulfill(**answer) if answer else route.abort())

  yield answer_with
  for part in spoilt:
    page.unroute(part)


def _open(page, address, chosen=""):
  # A blank page first: a change of the fragment alone would load nothing.
  page.goto("about:blank")
  page.goto(f"{address}/data/plugin_entry.html?name=tbvis#tbvis{'&p.tbvis.' + chosen if chosen else ''}")


@pytest.mark.parametrize("name", ["app.js", "dom.js", "matrix.js"])
@pytest.mark.parametrize("answer", [{"status": 500}, {"content_type": "text/javascript", "body": "}"}], ids=["500", "garbled"])
def test_a_broken_module(address, page, spoil, name, answer):
  spoil(f"static/{name}", answer)
  _open(page, address)
  assert text(page, "main.message h1") == "The tbvis tab could not be shown"
  assert "start it again and reload this page" in text(page, "main.message")


def test_a_style_sheet_that_is_missing_takes_only_the_looks(address, page, spoil):
  spoil("static/grid.css", {"status": 500})
  _open(page, address)
  assert "Failed to load: grid.css" in text(page, "main.message")
  page.wait_for_selector("tr.unit canvas.flow")


@pytest.mark.parametrize(
  ("answer", "words"),
  [
    (_REFUSED, "The plugin failed at this request."),
    (_GARBLED, "Expected a list of runs as JSON from contents"),
    (_GARBLED | {"body": '{"runs": 5}'}, "Expected a list of runs as JSON from contents"),
    (None, "TensorBoard does not answer."),
  ],
  ids=["500", "garbled", "other JSON", "no answer"],
)
def test_a_list_that_fails(address, page, spoil, answer, words):
  spoil("contents", answer)
  _open(page, address)
  assert words in text(page, "main.message.error")


def test_a_server_that_stops_and_comes_back(address, page, spoil):
  _open(page, address)
  page.wait_for_selector("tr.unit canvas.flow")
  refresh = "async () => (await import('./static/model.js')).model.refresh()"
  spoil("contents", None)
  page.evaluate(refresh)
  assert text(page, ".trouble") == "What is shown may be old: the list of stimuli could not be read again. TensorBoard does not answer."
  assert page.locator("tr.unit").count() == 7, "what was read stays"
  page.unroute("**/tbvis/contents")
  page.evaluate(refresh)
  page.wait_for_selector(".trouble", state="detached")


@pytest.mark.parametrize(
  ("route", "chosen", "place", "words"),
  [
    ("cell", "", "tr.unit .note.failed", "not readable"),
    ("confusions", "", "tbvis-confusions .message", "Confusions failed to load"),
    ("meta", _UNIT, "tbvis-unit .notes:has-text('failed to load')", "Its curve and settings failed to load"),
    ("statistics", _UNIT, ".known", "Statistics of units failed to load"),
    ("media", _UNIT, ".scale-text:has-text('could not be read')", "Small picture: the full-size file could not be read"),
    ("clips", _PAIR, "tbvis-pair .clips .message", "Clips failed to load"),
    ("clip", _PAIR, "tbvis-clip .note.failed", ""),
    ("explanation", _PAIR, ".evidence", "It failed to load"),
  ],
)
def test_a_route_that_fails_or_is_garbled(address, page, spoil, route, chosen, place, words):
  for answer, why in ((_GARBLED, "xpected"), (_REFUSED, "The plugin failed at this request.")):
    spoil(f"{route}?**", answer)
    _open(page, address, chosen)
    said = text(page, place)
    assert words in said and (why in said or route == "media")


def test_a_browser_that_alters_what_is_read_shows_no_noise_for_values(address, browser):
  altering = browser.new_page()
  altering.add_init_script(
    "const read = CanvasRenderingContext2D.prototype.getImageData; CanvasRenderingContext2D.prototype.getImageData = function (...given)"
    " { const found = read.apply(this, given); found.data[0] ^= 1; return found; };"
  )
  _open(altering, address)
  assert "This browser alters pictures that a page reads" in text(altering, "tr.unit .note.failed:has-text('browser')")
  altering.close()


def test_an_error_of_the_page_itself(address, page):
  _open(page, address)
  page.wait_for_selector("tr.unit canvas.flow")
  page.evaluate("() => { setTimeout(() => { throw new Error('a mistake of ours'); }); }")
  assert "Something on this page failed" in text(page, ".trouble") and "a mistake of ours" in text(page, ".trouble code")
