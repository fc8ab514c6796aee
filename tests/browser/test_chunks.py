"""Stimuli of several chunks and films of networks without motion, as the page plays and saves them; held against what was written."""

from __future__ import annotations

import dataclasses
import io

import numpy as np
from PIL import Image
import pytest

from tbvis import summaries
from tbvis.rendering.appearance import film_to_rgb
from tbvis.rendering.flow_color import flow_to_rgb, motion_frames
from tests.browser.looking import text as _text
from tests.tb_plugin import serving, synthetic

pytestmark = [pytest.mark.browser, pytest.mark.slow]

# Larger than small pictures are, so that both can be told apart.
_CHUNKS, _EACH, _FRAMES, _SIZE, _SMALL = 3, 4, 16, 112, 96
_CHUNKED, _VIDEO = "conv5_fusion/f021", "conv3d/f002"


@pytest.fixture(scope="module")
def page(browser, tmp_path_factory):
  folder = tmp_path_factory.mktemp("chunks")
  logdir = folder / "logdir"
  with summaries.StimulusWriter(logdir, "chunks") as writer:
    for chi in (0.0, 10.0):
      writer.write(synthetic.chunked(chunks=_CHUNKS, each=_EACH, size=_SIZE, chi=chi))
    # A unit of one tower of this network, whose other input is not missing by mistake.
    alone = synthetic.chunked(synthetic.UNITS[0], chunks=_CHUNKS, each=_EACH, size=_SIZE)
    kept = dataclasses.replace(alone.kept, motion=None)
    writer.write(dataclasses.replace(alone, motion=None, kept=kept))
  with summaries.StimulusWriter(logdir, "video") as writer:
    writer.write(synthetic.video(frames=_FRAMES, size=_SIZE))
  with serving.tensorboard(logdir, folder, "--load_fast=true") as address:
    opened = browser.new_page(viewport={"width": 1600, "height": 1000})
    opened.set_default_timeout(60_000)
    problems = []
    opened.on("console", lambda m: problems.append(m.text) if m.type == "error" and "favicon" not in m.location.get("url", "") else None)
    opened.on("pageerror", lambda error: problems.append(str(error)))
    opened.goto(f"{address}/data/plugin_entry.html?name=tbvis#tbvis&p.tbvis.run=chunks")
    opened.wait_for_selector("tr.unit")
    yield opened
    opened.close()
  assert not problems


def _go(page, run, view, frame, more=""):
  """Opens a unit's page at a frame of the clock, counted from 1, and waits for the full-size values."""
  page.evaluate("(hash) => { location.hash = hash; }", f"#tbvis&p.tbvis.run={run}&p.tbvis.view=unit:{view}&p.tbvis.frame={frame}{more}")
  page.wait_for_function("(name) => document.querySelector('.focus h2')?.textContent === name", arg=view)
  page.wait_for_function(
    "(size) => { const all = [...document.querySelectorAll('tbvis-unit tbvis-stimulus')];"
    " return all.length && all.every((s) => s.end?.film.width === size); }",
    arg=_SIZE,
  )


def _shown(page, selector):
  data, width = page.eval_on_selector(selector, "(c) => [[...c.getContext('2d').getImageData(0, 0, c.width, c.height).data], c.width]")
  return np.array(data, int).reshape(-1, width, 4)[..., :3]


def _saved(page, name):
  with page.expect_download() as download:
    page.click(f"tbvis-unit .large p.links >> text={name}")
  return download.value.suggested_filename, download.value.path().read_bytes()


def _player(variant):
  return f"tbvis-unit figure:has(b:text-is('{variant}')) tbvis-stimulus"


def test_the_appearance_of_a_chunk_is_shown_while_its_own_flow_plays(page):
  record = synthetic.chunked(chunks=_CHUNKS, each=_EACH, size=_SIZE)
  pictures, flow = film_to_rgb(record.film), flow_to_rgb(motion_frames(record.motion))
  for moment, chunk, inside in ((0, 1, 1), (3, 1, 4), (6, 2, 3), (11, 3, 4)):
    said = f"chunk {chunk} of 3, frame {inside}"
    _go(page, "chunks", _CHUNKED, moment + 1)
    player = _player("χ = 10")
    page.wait_for_function("([s, said]) => document.querySelector(s)?.textContent === said", arg=["tbvis-unit .time-text", said])
    assert np.abs(_shown(page, f"{player} canvas.appearance") - pictures[moment // _EACH]).max() <= 1
    assert np.abs(_shown(page, f"{player} canvas.flow") - flow[moment]).max() <= 1
    page.mouse.move(0, 0)  # A pointer that stays where it is moves over no new picture.
    page.hover(f"{player} canvas.flow")
    assert f", {said}: u " in _text(page, f"{player} output.reading")
  assert page.get_attribute(player, "aria-label") == f"{_CHUNKED}, chi=10: appearance and flow of 3 chunks"
  assert _text(page, "#frame + output").startswith("12 / ")


def test_every_chunk_is_saved(page):
  _go(page, "chunks", _CHUNKED, 6)
  name, data = _saved(page, "GIF")
  assert name == "conv5_fusion_f021_chi=0_colours_clip.gif"
  with Image.open(io.BytesIO(data)) as gif:
    colours = []
    for frame in range(gif.n_frames):
      gif.seek(frame)
      colours.append(np.asarray(gif.convert("RGB"))[_SIZE // 2, _SIZE // 2].astype(int))
  expected = film_to_rgb(synthetic.chunked(chunks=_CHUNKS, each=_EACH, size=_SIZE).film)[:, 0, 0].astype(int)
  assert len(colours) == _CHUNKS * _EACH
  assert np.abs(np.array(colours) - np.repeat(expected, _EACH, axis=0)).max() <= 16
  name, data = _saved(page, "Strip")
  with Image.open(io.BytesIO(data)) as strip:
    assert strip.size == ((1 + _EACH) * _SIZE, _CHUNKS * _SIZE)
    assert [strip.convert("RGB").getpixel((4, 4 + chunk * _SIZE)) for chunk in range(_CHUNKS)] == [tuple(c) for c in expected.tolist()]
  name, data = _saved(page, "PNG")
  assert name.endswith("_frame6.png")
  with Image.open(io.BytesIO(data)) as png:
    assert png.convert("RGB").getpixel((4, 4)) == tuple(expected[1])
  with np.load(io.BytesIO(_saved(page, "values.npz")[1])) as stored:
    assert stored["appearance"].shape == (_SIZE, _SIZE, _CHUNKS, 3) and stored["motion"].shape == (_SIZE, _SIZE, _CHUNKS * _EACH, 2)


def test_kept_steps_have_all_chunks(page):
  copies = synthetic.chunked(chunks=_CHUNKS, each=_EACH, size=_SIZE).kept
  _go(page, "chunks", _CHUNKED, 10, "&p.tbvis.step=3")
  canvas = f"{_player('χ = 10')} canvas.appearance"
  page.locator(f"{canvas}[width='{_SIZE // 2}']").wait_for()
  assert np.abs(_shown(page, canvas) - film_to_rgb(copies.appearance[1])[2]).max() <= 1
  page.evaluate("() => { location.hash = location.hash.replace('&p.tbvis.step=3', ''); }")


def test_a_unit_of_one_tower_has_pictures_that_stay_beside_an_empty_pane(page):
  _go(page, "chunks", "conv3_3_appearance/f004", 6)
  assert _text(page, "tbvis-unit .time-text") == "chunk 2 of 3"
  assert page.locator("tbvis-unit .absent").count() == 1
  assert (_shown(page, "tbvis-unit canvas.appearance") == [0, 255, 0]).all()


def test_a_network_of_videos_alone_has_films_and_no_empty_pane(page):
  page.evaluate("() => { location.hash = '#tbvis&p.tbvis.run=video&p.tbvis.frame=4'; }")
  page.wait_for_selector(f"tr.unit[data-unit='{_VIDEO}'] tbvis-stimulus[data-state=ready]")
  assert page.locator("tr.unit .tile").count() == 1
  film = film_to_rgb(synthetic.video(frames=_FRAMES, size=_SIZE).film)
  small = _shown(page, "tr.unit canvas.appearance")
  # The bar of the fourth frame.
  assert small.shape == (_SMALL, _SMALL, 3) and np.flatnonzero(small[_SMALL // 2, :, 0] > 128).tolist() == list(range(18, 24))
  _go(page, "video", _VIDEO, 13)
  assert _text(page, "tbvis-unit .time-text") == "frame 13 of 16"
  assert page.locator("tbvis-unit .tile canvas").count() == 1 and page.locator("tbvis-unit .absent").count() == 0
  assert np.abs(_shown(page, "tbvis-unit canvas.appearance") - film[12]).max() <= 1
  name, data = _saved(page, "GIF")
  with Image.open(io.BytesIO(data)) as gif:
    assert gif.n_frames == _FRAMES
  name, data = _saved(page, "Strip")
  assert name == "conv3d_f002_chi=10_strip.png"
  with Image.open(io.BytesIO(data)) as strip:
    assert strip.size == (_FRAMES * _SIZE, _SIZE)
