"""Names that are markup, in every place where a name reaches the page: they are shown as text and nothing of them runs."""

from __future__ import annotations

import dataclasses

import pytest

from tbvis import summaries
from tests.tb_plugin import serving, synthetic

pytestmark = [pytest.mark.browser, pytest.mark.slow]

_ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]
_PATIENCE = 60_000
# Each would set `hit` if any of it ran, or leave an element of class `hit` if any of it became one.
SCRIPT = "<script class=hit>top.hit=window.hit=1</script>"
IMAGE = '"><img class=hit src=x onerror="top.hit=window.hit=1">'
SVG = "'><svg class=hit onload=top.hit=window.hit=1>"
ENTITY = "&lt;img class=hit onerror=hit=1&gt;</option></select></title></textarea><i class=hit>"
TEMPLATE = "${hit=1}{{hit=1}}`-hit-`\\u003ci class=hit\\u003e javascript:hit=1"
ALL = SCRIPT + IMAGE + SVG + ENTITY + TEMPLATE
LAYER = f"layer{SCRIPT}"
UNIT = f"{LAYER}/{IMAGE}{TEMPLATE}"
CLASSES = (f"A{IMAGE}", f"B{SCRIPT}", f"C{ENTITY}", f"D{SVG}", f"E{TEMPLATE}")
RUN = IMAGE.replace("/", "")
EVALUATION = SVG.replace("/", "")


def _is_ours(message) -> bool:
  # Chromium itself asks for an icon where the tab's page is opened alone.
  return message.type in ("error", "warning") and not message.location.get("url", "").endswith("/favicon.ico")


def _write(logdir) -> None:
  """Stimuli and an evaluation whose every text is markup."""
  base = synthetic.record(size=24)
  config = {"warnings": [f"warning {ALL}"], f"setting {ALL}": f"value {ALL}", "nested": {ALL: [ALL]}, "__proto__": {"hit": 1}}
  odd = {"layer": LAYER, "config": config, "history": base.history | {f"term {ALL}": base.history["norm"]}}
  with summaries.StimulusWriter(logdir, RUN) as writer:
    for chi in (0.0, 1.0):
      writer.write(dataclasses.replace(base, unit=UNIT, chi=chi, **odd))
      for index in (0, 1):
        name = CLASSES[index]
        failed = {"appearance": None, "motion": None, "kept": None, "error": f"error {ALL}"} if chi and index else {}
        unit = {"unit": f"{LAYER}/{name}", "class_name": name, "channel": index, "chi": chi}
        writer.write(dataclasses.replace(base, **odd, **unit, **failed))
    writer.write(dataclasses.replace(base, unit="__proto__/constructor", layer="__proto__"))
    top = [{"clip": f"clip {ALL}", "class": ALL, "layer": ALL, "frame": 1, "x": 2, "y": 3, "value": 4.0}]
    known = {"a_hat": 10.0, "class_means": {f"{index}{ALL}": index for index in range(3)}, "top_clips": top}
    writer.add_statistics({UNIT: known, "__proto__/constructor": {"a_hat": ALL}})
  labels = [0, 0, 0, 1, 1, 2, 3, 4]
  clips = [f"clip{index}{ALL}" for index in range(len(labels))]
  scores = synthetic.np.eye(len(CLASSES))[[1, 1, 0, 1, 0, 2, 3, 4]] * 3
  for run, others in ((EVALUATION, {}), (f"second {EVALUATION}", {"meanings": {"motion": f"meaning {ALL}", "fused": ALL}})):
    summaries.write_confusions(
      logdir,
      run,
      classes=CLASSES,
      labels=labels,
      scores={"motion": scores, "fused": scores},
      clips=clips,
      thumbnails={clips[0]: synthetic.clip_animation(0)},
      split=f"split {ALL}",
      checkpoint=f"checkpoint {ALL}",
      **others,
    )


@pytest.fixture(scope="module")
def tab(chromium, tmp_path_factory):
  """A function that opens the tab at a state, what its page reported, what it asked for, and TensorBoard's address.

  The slow loader is asked: the fast one does not read runs and tags with quotes in their names.
  """
  sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
  folder = tmp_path_factory.mktemp("names")
  _write(folder / "logdir")
  with serving.tensorboard(folder / "logdir", folder, "--load_fast=false") as address, sync_api.sync_playwright() as playwright:
    browser = playwright.chromium.launch(executable_path=chromium, args=_ARGUMENTS)
    page = browser.new_page(viewport={"width": 1600, "height": 1000})
    page.set_default_timeout(_PATIENCE)
    problems, asked = [], []
    # What the page's policy blocks is reported here too, though nothing should get that far.
    page.on("console", lambda message: problems.append(message.text) if _is_ours(message) else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("dialog", lambda dialog: (problems.append("a dialog"), dialog.dismiss()))
    page.on("request", lambda request: asked.append(request.url))

    def open_at(**state):
      page.goto("about:blank")
      chosen = page.evaluate(
        "(s) => Object.entries(s).map(([k, v]) => `&p.tbvis.${k}=${encodeURIComponent(v)}`).join('')", {"run": RUN, **state}
      )
      page.goto(f"{address}/data/plugin_entry.html?name=tbvis#tbvis{chosen}")
      page.wait_for_selector("tbvis-matrix canvas")
      return page

    yield open_at, problems, asked, address
    browser.close()


def _text(page, selector):
  page.wait_for_selector(selector, state="attached")
  return page.eval_on_selector_all(selector, "(all) => all.map((e) => e.textContent + (e.title ?? '')).join('\\n')")


def _is_safe(page):
  page.wait_for_timeout(300)
  found = page.evaluate(
    "() => ({hit: window.hit ?? top.hit ?? Object.prototype.hit ?? null,"
    " made: document.querySelectorAll('.hit, script[src*=hit], main script, main img, main svg[onload], [onerror], [onload]').length,"
    " handlers: [...document.body.querySelectorAll('*')].flatMap((e) => [...e.attributes])"
    "   .filter((a) => a.name.startsWith('on') || /^\\s*javascript:/i.test(a.value)).length})"
  )
  assert found == {"hit": None, "made": 0, "handlers": 0}


def test_the_grid_shows_markup_as_text(tab):
  open_at, *_ = tab
  page = open_at()
  page.wait_for_selector("canvas.flow")
  assert IMAGE + TEMPLATE in _text(page, "tr.unit .name") and LAYER in _text(page, "tr.layer th")
  assert CLASSES[0] in _text(page, "tr.unit .name")
  assert f"error {ALL}" in _text(page, "td .failed")
  assert RUN in _text(page, "tbvis-toolbar option") + RUN and EVALUATION in _text(page, "tbvis-toolbar option")
  _is_safe(page)


def test_the_confusions_show_markup_as_text(tab):
  open_at, *_ = tab
  page = open_at(evaluation=f"second {EVALUATION}")
  assert f"{CLASSES[0]} → {CLASSES[1]}" in _text(page, ".most li .pair")
  assert f"split {ALL}" in _text(page, ".source") and f"checkpoint {ALL}" in _text(page, ".source")
  assert f"meaning {ALL}" in _text(page, ".towers [data-value=motion]")
  page.hover("tbvis-matrix canvas", position={"x": 300, "y": 250})
  _is_safe(page)


def test_a_pair_and_its_clips_show_markup_as_text(tab):
  open_at, *_ = tab
  page = open_at(view=f"pair:{CLASSES[0]}~{CLASSES[1]}")
  assert _text(page, "tbvis-pair h2").startswith(f"{CLASSES[0]} taken for {CLASSES[1]}")
  assert f"clip0{ALL}" in _text(page, "ul.clip-list .clip-name")
  page.wait_for_selector("tbvis-clip canvas")
  assert f"error {ALL}" in _text(page, "tbvis-pair .failed")
  _is_safe(page)


def test_a_units_page_shows_markup_as_text(tab):
  open_at, *_ = tab
  page = open_at(view=f"unit:{UNIT}")
  assert _text(page, "tbvis-unit h2") == UNIT
  assert f"warning {ALL}" in _text(page, "tbvis-unit .warning")
  assert f"clip {ALL}" in _text(page, ".top li") and f"2{ALL}" in _text(page, ".means li")
  config = _text(page, "table.config")
  assert f"setting {ALL}" in config and f"nested.{ALL}" in config and "value <script class=hit>" in config
  link = page.get_attribute("tbvis-unit .links a", "href")
  assert link.startswith("./media?") and "<" not in link
  _is_safe(page)


def test_a_damaged_entry_and_names_of_javascripts_own(tab):
  open_at, *_ = tab
  page = open_at(view="unit:__proto__/constructor")
  assert _text(page, "tbvis-unit h2") == "__proto__/constructor"
  assert "expected a number as 'a_hat'" in _text(page, "tbvis-unit .known")
  _is_safe(page)


@pytest.mark.parametrize(
  "fragment",
  [
    "&p.tbvis.view=%E0%A4%A",
    "&p.tbvis.%=%",
    "&p.tbvis.__proto__=x&p.tbvis.constructor=y&p.tbvis.toString=z",
    f"&p.tbvis.run={SCRIPT}&p.tbvis.view=unit:{IMAGE}",
  ],
)
def test_a_spoilt_link_opens_the_tab(tab, fragment):
  open_at, _, _, address = tab
  page = open_at()
  page.goto("about:blank")
  page.goto(f"{address}/data/plugin_entry.html?name=tbvis#tbvis{fragment}")
  page.wait_for_selector("tbvis-matrix canvas")
  _is_safe(page)


def test_nothing_was_blocked_reported_or_asked_for_elsewhere(tab):
  open_at, problems, asked, address = tab
  open_at()
  assert not problems
  assert asked and all(url.startswith((address, "blob:", "about:")) for url in asked)
