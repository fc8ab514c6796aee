"""The tab in a real Firefox: every view once, with what a browser of another make could do otherwise."""

from __future__ import annotations

import base64
import io
import json
import re
import time
import urllib.parse

import numpy as np
from PIL import Image, ImageSequence
import pytest

from tbvis import summaries
from tbvis.rendering.flow_color import PIXELS_PER_UNIT, flow_to_rgb, motion_frames
from tests.tb_plugin import serving, synthetic

pytestmark = [pytest.mark.browser, pytest.mark.slow]

_SIZE = 48
_CELL = "tr[data-unit='conv5_fusion/f021'] td[data-variant='chi=0'] canvas.flow"
_CELLO, _VIOLIN = (synthetic.CLASSES.index(name) for name in ("PlayingCello", "PlayingViolin"))


def _open(fox, address, chosen="", **size):
  page = fox.open(f"{address}/data/plugin_entry.html?name=tbvis#tbvis{'&p.tbvis.' + chosen if chosen else ''}", **size)
  page.wait("document.querySelector('.page') !== null")
  return page


def _pixels(page, selector):
  data = page.wait(
    f"(() => {{ const c = document.querySelector({json.dumps(selector)});"
    " return c && [c.height, c.width, ...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]; })()"
  )
  return np.array(data[2:]).reshape(data[0], data[1], 4)


def _wait_for_change(page, selector, before):
  deadline = time.monotonic() + 60
  while np.array_equal(_pixels(page, selector), before):
    assert time.monotonic() < deadline, f"{selector} stands still"


def test_the_grid_in_tensorboard_plays_is_filtered_goes_dark_and_comes_back_after_a_reload(fox, address):
  host = fox.open(f"{address}/#tbvis")
  host.wait("[...document.querySelectorAll('iframe')].some((f) => f.contentDocument?.querySelector('tr.unit canvas.flow'))")
  page = host.child("plugin_entry")
  first = _pixels(page, _CELL)
  assert first[..., :3].std() > 10 and (first[..., 3] == 255).all(), "a picture, and no blank"
  _wait_for_change(page, _CELL, first)
  page.click("#play")
  assert page.text("#play") == "Play"
  page.evaluate("(async () => (await import('./static/clock.js')).clock.seek(3))()")
  expected = flow_to_rgb(motion_frames(synthetic.record(chi=0.0, size=_SIZE).motion))[3].astype(int)
  # The small pictures have 40 steps from zero to the largest value.
  assert np.abs(_pixels(page, _CELL)[..., :3] - expected).max() <= 6
  page.click("#filter")
  page.press(*"cello")
  page.wait("document.querySelectorAll('tr.unit').length === 1")
  assert page.text("tr.unit .name") == "PlayingCello"
  background = "getComputedStyle(document.body).backgroundColor"
  assert page.evaluate(background) == "rgb(255, 255, 255)"
  host.evaluate("document.body.classList.add('dark-mode')")
  page.wait(f"{background} === 'rgb(48, 48, 48)'")
  page.click("tr.unit .name")
  assert page.text("tbvis-unit h2") == "prediction/PlayingCello"
  host.evaluate("location.hash = '#scalars'")
  page.wait("(async () => !(await import('./static/clock.js')).clock.shown)()")
  host.evaluate("location.hash = '#tbvis'")
  host.wait("location.hash.includes('p.tbvis.view=unit%3Aprediction%2FPlayingCello') && location.hash.includes('filter=cello')")
  host.reload()
  host.wait("[...document.querySelectorAll('iframe')].some((f) => f.contentDocument?.querySelector('tbvis-unit h2'))")
  page = host.child("plugin_entry")
  assert page.text("tbvis-unit h2") == "prediction/PlayingCello" and page.evaluate("document.querySelector('#filter').value") == "cello"
  page.press("Escape")
  host.close()


def test_the_units_page_has_the_stored_values_to_the_last_bit(fox, address):
  page = _open(fox, address, "view=unit%3Aconv5_fusion%2Ff021&p.tbvis.frame=4")
  page.wait("document.querySelector('tbvis-stimulus.full')?.flow?.step === 0")
  motion = synthetic.record(chi=0.0, size=_SIZE).motion.astype(np.float16).astype(np.float32)
  held = page.evaluate("[...document.querySelector('tbvis-stimulus.full').flow.values]")
  np.testing.assert_array_equal(np.reshape(held, (10, _SIZE, _SIZE, 2)), motion_frames(motion))
  # The planes are lossless pictures, which a browser may not colour, premultiply or round.
  query = {"run": "stimuli", "tag": f"{summaries.STIMULUS_PREFIX}conv5_fusion/f021/chi=0", "name": "flow.webp"}
  route = f"media?{urllib.parse.urlencode(query)}"
  stored = np.asarray(Image.open(io.BytesIO(serving.fetch(f"{address}/data/plugin/tbvis/{route}"))).convert("RGB"))
  decoded = page.evaluate(
    f"(async () => [...(await (await import('./static/flow.js')).pixels(await (await fetch('./{route}')).blob())).data])()"
  )
  np.testing.assert_array_equal(np.reshape(decoded, (*stored.shape[:2], 4))[..., :3], stored)
  page.click(".zoom [data-value='3']")
  width = "Math.round(document.querySelector('tbvis-unit canvas.flow').getBoundingClientRect().width * devicePixelRatio)"
  page.wait(f"{width} === {3 * _SIZE}")
  page.click("tbvis-unit canvas.flow", place=(30.5 * 3, 5.5 * 3))
  numbers = r"x (\d+), y (\d+), frame (\d+): u ([+−][\d.]+), v ([+−][\d.]+)"
  for x, y, keys in ((30, 5, []), (29, 6, ["ArrowLeft", "ArrowDown"])):
    page.press(*keys)
    found = [float(n.replace("−", "-")) for n in re.search(numbers, page.text("tbvis-unit .reading")).groups()]
    assert found == pytest.approx([x, y, 4, *(motion[y, x, 3] * PIXELS_PER_UNIT)], abs=0.0051)
  for name, kind in (("PNG", b"\x89PNG"), ("GIF", b"GIF89a"), ("values.npz", b"PK\3\4")):
    before = set(fox.downloads.iterdir())
    page.evaluate(f"[...document.querySelector('.links').children].find((e) => e.textContent === '{name}').click()")
    deadline = time.monotonic() + 60
    while not any(path.read_bytes().startswith(kind) for path in set(fox.downloads.iterdir()) - before):
      assert time.monotonic() < deadline, f"no {name} was saved: {sorted(fox.downloads.iterdir())}"
      time.sleep(0.1)
  assert page.evaluate("document.querySelectorAll('.curve polyline').length") > 0
  page.close()


def _animation(**options):
  """Frames with holes, of which each changes a part: what an animation may say of transparency and places, it says."""
  y, x = np.mgrid[0:40, 0:50]
  frames = [
    Image.fromarray(np.dstack([5 * x, 6 * y, 0 * x + 40 * i, np.where((x + y) % 17 < 8 + i, 255, 0)]).astype(np.uint8)) for i in range(5)
  ]
  stream = io.BytesIO()
  frames[0].save(stream, "WEBP", save_all=True, append_images=frames[1:], duration=100, **options)
  return stream.getvalue()


@pytest.mark.parametrize(
  "data", [_animation(quality=60), _animation(lossless=True), synthetic.clip_animation(3)], ids=["lossy", "lossless", "clip"]
)
def test_both_browsers_step_through_an_animation_as_pillow_does(fox, browser, address, data):
  expected = np.stack([np.asarray(part.convert("RGBA")) for part in ImageSequence.Iterator(Image.open(io.BytesIO(data)))]).astype(int)
  # As text: lists of numbers take the drivers seconds.
  decode = """(async () => {
    const {decodeFrames} = await import('./static/webp.js');
    const frames = await decodeFrames(Uint8Array.from(atob('DATA'), (c) => c.charCodeAt(0)).buffer);
    return frames.map((image) => {
      const canvas = document.createElement('canvas');
      [canvas.width, canvas.height] = [image.width, image.height];
      const context = canvas.getContext('2d');
      context.drawImage(image, 0, 0);
      return btoa(Array.from(context.getImageData(0, 0, canvas.width, canvas.height).data, (v) => String.fromCharCode(v)).join(''));
    });
  })()""".replace("DATA", base64.b64encode(data).decode())
  chromium = browser.new_page()
  chromium.goto(f"{address}/data/plugin_entry.html?name=tbvis")
  firefox = _open(fox, address)
  for page in (chromium, firefox):
    shown = np.frombuffer(b"".join(map(base64.b64decode, page.evaluate(decode))), np.uint8).reshape(expected.shape).astype(int)
    np.testing.assert_array_equal(shown[..., 3], expected[..., 3])
    seen = expected[..., 3] > 0
    assert np.abs(shown - expected)[seen].max() <= 1
    page.close()


def test_the_matrix_is_drawn_and_a_cell_opens_a_pair_whose_clips_play(fox, address):
  page = _open(fox, address)
  page.wait("document.querySelector('.most li') !== null")
  assert _pixels(page, "tbvis-matrix canvas")[..., :3].std() > 5
  left, top, cell = page.evaluate("(({left, top, cell}) => [left, top, cell])(document.querySelector('tbvis-matrix').place)")
  place = (left + (_VIOLIN + 0.5) * cell, top + (_CELLO + 0.5) * cell)
  page.click("tbvis-matrix canvas", place=place)
  assert page.text("tbvis-pair h2") == "PlayingCello taken for PlayingViolin"
  clip = "ul[data-kind=confused] tbvis-clip canvas"
  _wait_for_change(page, clip, _pixels(page, clip))
  large = "tbvis-pair .versus tr[data-variant='chi=0'] td[data-class=PlayingCello] canvas.flow"
  page.evaluate(f"document.querySelector({json.dumps(large.removesuffix(' canvas.flow'))}).scrollIntoView()")
  assert _pixels(page, large)[..., :3].std() > 10
  page.press("ArrowUp", "ArrowLeft", "Enter")
  assert page.wait(
    "document.querySelector('tbvis-pair h2').textContent.startsWith('BrushingTeeth') && document.querySelector('.tip').innerText"
  )
  assert page.text("tbvis-pair h2") == "BrushingTeeth taken for PlayingTabla"
  page.press("Tab", "Enter")
  page.wait("document.querySelectorAll('.matrix-table tbody tr').length === 8")
  page.press("Escape")
  page.wait("document.querySelector('tbvis-pair') === null")
  page.close()
  narrow = _open(fox, address, "pane=confusions", width=700)
  narrow.click(".most li button")
  assert narrow.text("tbvis-pair h2") == "PlayingCello taken for PlayingViolin"
  assert narrow.evaluate("document.documentElement.scrollWidth <= innerWidth"), "the page scrolls sideways"
  narrow.close()
