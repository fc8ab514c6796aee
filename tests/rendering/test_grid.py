"""Figures: cells stand where they should, and the page and the film have all of them."""

import numpy as np
import pytest

from tbvis.errors import UsageError
from tbvis.rendering import animation, grid

SIDE = 24


def _film(level, frames=10, height=12, width=12):
  return np.stack([np.full((height, width, 3), level + i, np.uint8) for i in range(frames)])


def _blocks(strip=1):
  picture, film = grid.Cell(_film(40, 1), "a picture"), grid.Cell(_film(80), "a film", "2.0 a_hat")
  clip = grid.Cell(_film(120, 15, 12, 16), "a clip")
  nothing = grid.Cell(None, "no stimulus")
  rows = (grid.Row("conv5_fusion\nf021", (picture, film)), grid.Row("fc6", (nothing, film)))
  return [grid.Block(("appearance", "motion\nchi = 10"), rows, strip), grid.Block(("clip",), (grid.Row("YoYo", (clip,)),))]


def test_cells_lie_in_rows_and_columns_and_never_over_one_another():
  (height, width), places, words = grid.place("Fig. 1", _blocks(), SIDE)
  first, second, third, clip = places
  assert [p.cell.alt for p in places] == ["a picture", "a film", "a film", "a clip"]
  assert first.y == second.y < third.y < clip.y and first.x < second.x == third.x
  assert (clip.width, clip.height) == (32, SIDE)  # As wide as the clip is.
  taken = np.zeros((height, width), int)
  for p in places:
    taken[p.y : p.y + p.height, p.x : p.x + p.width] += 1
  assert taken.max() == 1 and taken.sum() == sum(p.width * p.height for p in places)
  # Words lie inside, those of a row beside its cells, heads above their column.
  by_text = {word.text: word for word in words}
  assert all(0 <= word.x < width and 0 < word.y < height for word in words)
  assert {"Fig. 1", "appearance", "chi = 10", "conv5_fusion", "f021", "no stimulus", "2.0 a_hat", "YoYo"} <= set(by_text)
  assert by_text["motion"].y < by_text["chi = 10"].y < second.y and abs(by_text["motion"].x - (second.x + SIDE // 2)) <= 1
  assert by_text["f021"].x < first.x and second.y < by_text["conv5_fusion"].y < by_text["f021"].y < third.y


def test_the_picture_shows_one_frame_or_a_strip_and_the_film_all_frames():
  blocks = _blocks()
  _, places, _ = grid.place("Fig. 1", blocks, SIDE)
  still, film = grid.picture("Fig. 1", blocks, SIDE), grid.film("Fig. 1", blocks, SIDE)
  spot = places[1]
  inside = (slice(spot.y, spot.y + SIDE), slice(spot.x, spot.x + SIDE))
  assert (still[inside] == 85).all()
  assert film.shape[0] == 10 and [int(frame[inside].mean()) for frame in film] == list(range(80, 90))
  _, (_, spot, _, clip), _ = grid.place("Fig. 1", _blocks(3), SIDE)
  strip = grid.picture("Fig. 1", _blocks(3), SIDE)
  columns = [strip[spot.y, spot.x + (SIDE + 1) * i + SIDE // 2, 0] for i in range(3)]
  assert (spot.frames, clip.frames) == (3, 1) and columns == [80, 84, 89]
  assert grid.film("Fig. 1", _blocks(3), SIDE).shape == film.shape  # What plays needs no strip.
  assert len(grid.film("", [grid.Block(("a",), (grid.Row("b", (grid.Cell(_film(1, 1), "c"),)),))])) == 1  # Nothing moves.


def test_the_page_plays_every_cell_and_escapes_what_it_is_told():
  page = grid.page("Fig. <1>", _blocks(), ["a < b"], ["<svg></svg>"])
  assert page.count("data:image/webp") == 3 and page.count("data:image/png") == 1 and page.count("<svg>") == 1
  assert "Fig. &lt;1&gt;" in page and "a &lt; b" in page and "no stimulus" in page
  assert "http" not in page and "<script" not in page


def test_the_frame_that_stands_for_a_film_can_be_chosen():
  cell = grid.Cell(_film(10), "a film", still=7)
  blocks = [grid.Block(("a",), (grid.Row("", (cell,)),))]
  _, (spot,), _ = grid.place("", blocks, SIDE)
  assert (grid.picture("", blocks, SIDE)[spot.y : spot.y + SIDE, spot.x : spot.x + SIDE] == 17).all()


def test_a_row_of_another_length_is_refused():
  with pytest.raises(UsageError, match="Expected 2 cells in row 'fc6', received 1"):
    grid.Block(("a", "b"), (grid.Row("fc6", (grid.Cell(None, ""),)),))
  with pytest.raises(UsageError, match="uint8 RGB frames"):
    grid.Cell(np.zeros((2, 3, 3)), "a")


def test_a_strip_of_a_short_film_has_its_frames():
  cell = grid.Cell(_film(10, frames=2), "short")
  _, (spot,), _ = grid.place("", [grid.Block(("a",), (grid.Row("", (cell,)),), 5)], SIDE)
  assert spot.frames == 2
  assert animation.encode_gif(grid.film("", [grid.Block(("a",), (grid.Row("", (cell,)),))])).startswith(b"GIF")
