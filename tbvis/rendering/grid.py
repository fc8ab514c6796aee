"""Figures: labelled cells in rows and columns, as one still picture, as one film, and as a page on which every cell plays."""

from __future__ import annotations

import base64
from collections.abc import Sequence
import dataclasses
import functools
import html

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from tbvis.errors import UsageError, present
from tbvis.rendering import animation

# Frames of the film of a whole figure: as many as a stimulus has.
FILM_FRAMES = 10
MILLISECONDS = 150
_MARGIN, _GAP = 12, 6
_TITLE, _HEAD, _BELOW = 18, 14, 12
_INK, _QUIET, _PAPER = (36, 41, 47), (100, 104, 110), (255, 255, 255)
_STYLE = """
:root { color-scheme: light dark; --line: #8886; --quiet: #767676; }
body { font: 15px/1.45 system-ui, sans-serif; margin: 1.2rem; }
h1 { font-size: 1.3rem; } p { max-width: 60rem; } .scroll { overflow-x: auto; }
table { border-collapse: collapse; margin-bottom: 1.2rem; } th, td { padding: .2rem .3rem; text-align: center; vertical-align: top; }
th { font-weight: 600; font-size: .85rem; } th[scope=row] { text-align: left; vertical-align: middle; max-width: 11rem; }
small { display: block; color: var(--quiet); font-size: .75rem; } img { display: block; margin: auto; }
svg { max-width: 100%; height: auto; }
.none { color: var(--quiet); font-size: .8rem; max-width: 8rem; } li { max-width: 60rem; }
@media (prefers-color-scheme: dark) { :root { --quiet: #9a9a9a; } }
"""


@dataclasses.dataclass(frozen=True, eq=False)
class Cell:
  """One picture or film of a figure.

  Attributes:
    frames: uint8 RGB (T, H, W, 3), one frame for a picture; None where there is nothing to show.
    alt: what it shows, for those who cannot see it; the words of a cell without frames.
    below: a short line under it.
    still: the frame that stands for a film where it cannot play; None for its middle.
  """

  frames: np.ndarray | None
  alt: str
  below: str = ""
  still: int | None = None

  def __post_init__(self) -> None:
    if self.frames is not None and (self.frames.dtype != np.uint8 or self.frames.ndim != 4 or self.frames.shape[-1] != 3):
      raise UsageError(f"Expected uint8 RGB frames (T, H, W, 3), received {self.frames.dtype} {self.frames.shape}.")

  @property
  def moves(self) -> bool:
    """Whether it is a film."""
    return self.length > 1

  @property
  def length(self) -> int:
    """How many frames it has."""
    return 0 if self.frames is None else len(self.frames)


@dataclasses.dataclass(frozen=True)
class Row:
  """A row of cells with its label, whose lines are separated by line ends."""

  label: str
  cells: tuple[Cell, ...]


@dataclasses.dataclass(frozen=True)
class Block:
  """Rows under common column heads; a figure has one, or a second one for sample clips.

  Attributes:
    heads: of the columns, lines separated by line ends.
    rows: from above.
    strip: how many frames of a film the still picture shows side by side.
    moments: frames of its longest stimulus.
  """

  heads: tuple[str, ...]
  rows: tuple[Row, ...]
  strip: int = 1
  moments: int = 1

  def __post_init__(self) -> None:
    for row in self.rows:
      if len(row.cells) != len(self.heads):
        raise UsageError(f"Expected {len(self.heads)} cells in row {row.label!r}, received {len(row.cells)}.")


@dataclasses.dataclass(frozen=True)
class Place:
  """Where a cell lies in the drawn figure, in pixels: its top left corner, the size of one frame, and how many lie side by side."""

  x: int
  y: int
  width: int
  height: int
  frames: int
  cell: Cell


@dataclasses.dataclass(frozen=True)
class Words:
  """A line of text in the drawn figure: its left edge or its middle, its base line, and how it is set."""

  x: int
  y: int
  text: str
  size: int
  middle: bool = False
  quiet: bool = False


@functools.cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
  return ImageFont.load_default(size)


def _length(text: str, size: int) -> int:
  return int(np.ceil(_font(size).getlength(text)))


def _frame_width(cell: Cell, height: int) -> int:
  return height if cell.frames is None else max(1, round(height * cell.frames.shape[2] / cell.frames.shape[1]))


def place(title: str, blocks: Sequence[Block], side: int = 128, plays: bool = False) -> tuple[tuple[int, int], list[Place], list[Words]]:
  """Lays a figure out.

  Args:
    title: its head line.
    blocks: from above.
    side: height of every cell, in pixels.
    plays: whether films play, so that no strips are needed.

  Returns:
    (height, width) of the whole, the places of all cells that have frames, and the words; no two of the places overlap.
  """
  places: list[Place] = []
  words = [Words(_MARGIN, _MARGIN + _TITLE, title, _TITLE)]
  right = _MARGIN + _length(title, _TITLE)
  y = _MARGIN + _TITLE + 14
  for block in blocks:
    strip = 1 if plays else block.strip
    labels = [line for row in block.rows for line in row.label.split("\n")]
    left = _MARGIN + max((_length(line, _HEAD) for line in labels), default=0) + 2 * _GAP
    widths = []
    for column, head in enumerate(block.heads):
      cells = [row.cells[column] for row in block.rows]
      pictures = max((_span(cell, side, strip) for cell in cells), default=side)
      below = max((_length(cell.below, _BELOW) for cell in cells), default=0)
      widths.append(max(pictures, below, *(_length(line, _HEAD) for line in head.split("\n"))))
    lines = max((head.count("\n") + 1 for head in block.heads), default=1)
    lefts = [left + sum(widths[:column]) + 2 * _GAP * column for column in range(len(widths))]
    for head, x, width in zip(block.heads, lefts, widths, strict=True):
      words += [Words(x + width // 2, y + (_HEAD + 3) * (n + 1), t, _HEAD, middle=True) for n, t in enumerate(head.split("\n"))]
    y += (_HEAD + 3) * lines + _GAP
    for row in block.rows:
      label = row.label.split("\n")
      # A label of many lines may be higher than small cells.
      tall = max(side, (_HEAD + 3) * len(label))
      top = y + tall // 2 - (len(label) - 1) * (_HEAD + 3) // 2 + _HEAD // 3
      words += [Words(_MARGIN, top + (_HEAD + 3) * n, line, _HEAD, quiet=n > 0) for n, line in enumerate(label)]
      for cell, x, width in zip(row.cells, lefts, widths, strict=True):
        span = _span(cell, side, strip)
        at = x + (width - span) // 2
        if cell.frames is None:
          words += [Words(x + width // 2, y + side // 2, cell.alt, _BELOW, middle=True, quiet=True)] if cell.alt else []
        else:
          count = min(strip, len(cell.frames))
          places.append(Place(at, y, _frame_width(cell, side), side, count, cell))
        if cell.below:
          words.append(Words(x + width // 2, y + side + _BELOW + 1, cell.below, _BELOW, middle=True, quiet=True))
      y += tall + (_BELOW + 5 if any(cell.below for cell in row.cells) else 0) + _GAP
    right = max(right, lefts[-1] + widths[-1] if lefts else left)
    y += _GAP
  return (y + _MARGIN - _GAP, right + _MARGIN), places, words


def _span(cell: Cell, side: int, strip: int) -> int:
  """Returns the width of a cell: of its frames side by side, a pixel apart."""
  count = 1 if cell.frames is None else min(strip, len(cell.frames))
  return count * _frame_width(cell, side) + count - 1


def _paper(size: tuple[int, int], words: Sequence[Words]) -> np.ndarray:
  image = Image.new("RGB", size[::-1], _PAPER)
  canvas = ImageDraw.Draw(image)
  for line in words:
    colour, anchor = _QUIET if line.quiet else _INK, "ms" if line.middle else "ls"
    canvas.text((line.x, line.y), line.text, fill=colour, font=_font(line.size), anchor=anchor)
  return np.array(image)


def _put(sheet: np.ndarray, spot: Place, frames: Sequence[int]) -> None:
  film = present(spot.cell.frames, "a cell with frames")
  for number, index in enumerate(frames):
    x = spot.x + number * (spot.width + 1)
    sheet[spot.y : spot.y + spot.height, x : x + spot.width] = animation.resize(film[index], spot.height, spot.width)


def picture(title: str, blocks: Sequence[Block], side: int = 128) -> np.ndarray:
  """Draws a figure as a still picture, uint8 RGB (H, W, 3): of a film one frame, or a strip from its first to its last.

  >>> cell = Cell(np.zeros((10, 8, 8, 3), np.uint8), "a film")
  >>> picture("Fig. 0", [Block(("motion",), (Row("f001", (cell,)),))], side=16).ndim
  3
  """
  size, places, words = place(title, blocks, side)
  sheet = _paper(size, words)
  for spot in places:
    count = spot.cell.length
    still = count // 2 if spot.cell.still is None else spot.cell.still
    chosen = [still] if spot.frames == 1 else np.linspace(0, count - 1, spot.frames).round().astype(int).tolist()
    _put(sheet, spot, chosen)
  return sheet


def film(title: str, blocks: Sequence[Block], side: int = 96) -> np.ndarray:
  """Draws a figure as a film, uint8 RGB (T, H, W, 3): `FILM_FRAMES` frames, more of longer stimuli, or one where nothing moves."""
  size, places, words = place(title, blocks, side, plays=True)
  paper = _paper(size, words)
  frames = []
  length = max(FILM_FRAMES, *(block.moments for block in blocks)) if any(spot.cell.moves for spot in places) else 1
  for moment in range(length):
    sheet = paper.copy()
    for spot in places:
      _put(sheet, spot, [moment % spot.cell.length])
    frames.append(sheet)
  return np.stack(frames)


def page(title: str, blocks: Sequence[Block], caption: Sequence[str], drawings: Sequence[str] = (), side: int = 128) -> str:
  """Returns a figure as one self-contained HTML page: no script, no address outside of it.

  Args:
    title: its head line.
    blocks: from above.
    caption: its paragraphs.
    drawings: SVG put above the blocks.
    side: height of every cell, in pixels.
  """
  said = "".join(f"<p>{html.escape(text)}</p>" for text in caption)
  body = "".join(f"<div class=scroll>{svg}</div>" for svg in drawings) + "".join(_table(block, side) for block in blocks)
  name = html.escape(title)
  head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{name}</title><style>{_STYLE}</style>'
  return f'<!doctype html><html lang="en"><head>{head}</head><body><main><h1>{name}</h1>{body}{said}</main></body></html>\n'


def _table(block: Block, side: int) -> str:
  def lines(text: str) -> str:
    first, *rest = text.split("\n")
    return html.escape(first) + "".join(f"<small>{html.escape(line)}</small>" for line in rest)

  heads = "".join(f"<th scope=col>{lines(head)}</th>" for head in block.heads)
  rows = "".join(
    f"<tr><th scope=row>{lines(row.label)}</th>{''.join(f'<td>{_cell(cell, side)}</td>' for cell in row.cells)}</tr>" for row in block.rows
  )
  return f"<div class=scroll><table><thead><tr><td></td>{heads}</tr></thead><tbody>{rows}</tbody></table></div>"


def _cell(cell: Cell, side: int) -> str:
  below = f"<small>{html.escape(cell.below)}</small>" if cell.below else ""
  if cell.frames is None:
    return f"<div class=none>{html.escape(cell.alt)}</div>{below}"
  width = _frame_width(cell, side)
  if cell.moves:
    # Larger than shown helps no one, and a page of forty films adds up.
    shrink = cell.frames.shape[1] > side
    frames = np.stack([animation.resize(frame, side, width) for frame in cell.frames]) if shrink else cell.frames
    kind, data = "webp", animation.encode_webp(frames, MILLISECONDS)
  else:
    kind, data = "png", animation.encode_png(cell.frames[0])
  source = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
  return f'<img src="{source}" alt="{html.escape(cell.alt)}" width="{width}" height="{side}">{below}'
