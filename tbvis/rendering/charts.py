"""Small plots of our own: one row of points a line, as SVG for pages and as PNG for TensorBoard."""

from __future__ import annotations

from collections.abc import Callable, Sequence
import dataclasses
import html
import math

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from tbvis.rendering import animation

# Told apart by most colour-blind people, and readable on white and on black.
COLOURS = ("#1f77b4", "#d55e00", "#2a9d62", "#8a6fbf")
_INK, _QUIET, _PAPER = "#24292f", "#9a9a9a", "#ffffff"
_SCALE = 2
_FONT = 12
# Mean width of a letter over the font's size: generous, as nothing measures text in SVG.
_LETTER = 0.58
_WIDTH, _ROW, _RIGHT = 860, 26, 24
# Points of a row are spread over its height by this sequence, so that equal ones are seen; it never repeats.
_GOLDEN = 0.6180339887498949
_TICKS = 6


@dataclasses.dataclass(frozen=True)
class Strip:
  """One row of a strip chart.

  Attributes:
    label: of the row; rows that follow one another under one label are drawn as a group.
    values: the points; those that are not finite are left out.
    names: of the points, shown where the mouse is; none or one each.
    series: number of the series, which gives the colour.
    interval: a line drawn behind the points, or None.
  """

  label: str
  values: Sequence[float] | np.ndarray
  names: Sequence[str] = ()
  series: int = 0
  interval: tuple[float, float] | None = None


@dataclasses.dataclass(frozen=True)
class Mark:
  """A part of a drawing: "line" (x, y, x2, y2), "dot" (x, y and its radius as size), "box" (two corners, seen through) or "text" (x, y, its
  words and where they end)."""

  kind: str
  x: float
  y: float
  x2: float = 0.0
  y2: float = 0.0
  colour: str = _INK
  size: float = 1.0
  text: str = ""
  anchor: str = "start"


@dataclasses.dataclass(frozen=True)
class Drawing:
  """Marks on paper.

  Attributes:
    title: what it shows, for those who cannot see it.
    width: pixels.
    height: pixels.
    marks: in the order in which they are drawn.
  """

  title: str
  width: int
  height: int
  marks: tuple[Mark, ...]

  def svg(self) -> str:
    """Returns the drawing as SVG; ink has the colour of the text around it."""
    parts = "".join(map(_svg, self.marks))
    return (
      f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}" width="{self.width}" role="img" '
      f'aria-label="{html.escape(self.title)}" font-family="system-ui, sans-serif" font-size="{_FONT}">{parts}</svg>'
    )

  def png(self) -> bytes:
    """Returns the drawing as PNG on white, twice its size."""
    image = Image.new("RGB", (self.width * _SCALE, self.height * _SCALE), _PAPER)
    canvas = ImageDraw.Draw(image, "RGBA")
    font = ImageFont.load_default(_FONT * _SCALE)
    for mark in self.marks:
      x, y = mark.x * _SCALE, mark.y * _SCALE
      if mark.kind == "line":
        canvas.line((x, y, mark.x2 * _SCALE, mark.y2 * _SCALE), fill=mark.colour, width=max(1, round(mark.size * _SCALE)))
      elif mark.kind == "dot":
        r = mark.size * _SCALE
        canvas.ellipse((x - r, y - r, x + r, y + r), fill=f"{mark.colour}88")
      elif mark.kind == "box":
        canvas.rectangle((x, y, mark.x2 * _SCALE, mark.y2 * _SCALE), fill=f"{mark.colour}33", outline=mark.colour, width=_SCALE)
      else:
        canvas.text((x, y), mark.text, fill=mark.colour, font=font, anchor={"start": "ls", "middle": "ms", "end": "rs"}[mark.anchor])
    return animation.encode_png(np.asarray(image))


def _svg(mark: Mark) -> str:
  colour = "currentColor" if mark.colour == _INK else mark.colour
  if mark.kind == "line":
    ends = f'x1="{mark.x:.1f}" y1="{mark.y:.1f}" x2="{mark.x2:.1f}" y2="{mark.y2:.1f}"'
    return f'<line {ends} stroke="{colour}" stroke-width="{mark.size:g}"/>'
  if mark.kind == "dot":
    said = f"<title>{html.escape(mark.text)}</title>" if mark.text else ""
    return f'<circle cx="{mark.x:.1f}" cy="{mark.y:.1f}" r="{mark.size:g}" fill="{colour}" fill-opacity="0.53">{said}</circle>'
  if mark.kind == "box":
    corner, size = f'x="{mark.x:.1f}" y="{mark.y:.1f}"', f'width="{mark.x2 - mark.x:.1f}" height="{mark.y2 - mark.y:.1f}"'
    return f'<rect {corner} {size} fill="{colour}" fill-opacity="0.2" stroke="{colour}"/>'
  return f'<text x="{mark.x:.1f}" y="{mark.y:.1f}" fill="{colour}" text-anchor="{mark.anchor}">{html.escape(mark.text)}</text>'


def ticks(low: float, high: float) -> list[float]:
  """Returns round numbers from `low` to `high`, at most seven.

  >>> ticks(0.0, 1.0)
  [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
  """
  span = high - low
  power = 10.0 ** math.floor(math.log10(span / _TICKS))
  step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if span / (power * factor) <= _TICKS)
  first = math.ceil(low / step - 1e-9)
  return [round(step * i, 12) + 0.0 for i in range(first, math.floor(high / step + 1e-9) + 1)]


def _limits(strips: Sequence[Strip], given: tuple[float, float] | None, reference: float | None) -> tuple[float, float]:
  if given:
    return given
  values = [v for strip in strips for v in (*strip.values, *(strip.interval or ())) if math.isfinite(v)]
  values += [reference] if reference is not None else []
  low, high = (min(values), max(values)) if values else (0.0, 1.0)
  room = 0.04 * (high - low) or 0.5
  return low - room, high + room


def strip_chart(
  title: str,
  strips: Sequence[Strip],
  axis: str,
  series: Sequence[str] = (),
  *,
  limits: tuple[float, float] | None = None,
  reference: float | None = None,
) -> Drawing:
  """Draws rows of points along one axis, each with a bar at its median.

  Args:
    title: what it shows.
    strips: the rows, from above.
    axis: what the axis measures, with its unit.
    series: names of the series, for the legend; none, no legend.
    limits: of the axis; by default those of the values. Points beyond are drawn at the edge.
    reference: a value at which a line is drawn.
  """
  left = 16 + _LETTER * _FONT * max((len(strip.label) for strip in strips), default=0)
  low, high = _limits(strips, limits, reference)

  def x(value: float) -> float:
    return left + (_WIDTH - left - _RIGHT) * (min(max(value, low), high) - low) / (high - low)

  marks = [Mark("text", 8, 18, text=title)]
  top = 30.0
  if series:
    at = 8.0
    for number, name in enumerate(series):
      marks += [Mark("dot", at + 5, top + 8, size=5, colour=COLOURS[number]), Mark("text", at + 15, top + 12, text=name)]
      at += 32 + _LETTER * _FONT * len(name)
    top += 26
  bottom = top + _ROW * len(strips) + 8
  for tick in ticks(low, high):
    marks += [
      Mark("line", x(tick), top, x(tick), bottom, colour=_QUIET, size=0.4),
      Mark("text", x(tick), bottom + 15, text=f"{tick:g}", anchor="middle"),
    ]
  if reference is not None:
    marks.append(Mark("line", x(reference), top, x(reference), bottom, size=1.2))
  marks.append(Mark("text", (left + _WIDTH - _RIGHT) / 2, bottom + 33, text=axis, anchor="middle"))
  before = None
  for place, strip in enumerate(strips):
    y = top + _ROW * (place + 0.5)
    if strip.label != before:
      marks.append(Mark("text", 8, y + 4, text=strip.label))
      if place:
        marks.append(Mark("line", 8, y - _ROW / 2, _WIDTH - _RIGHT, y - _ROW / 2, colour=_QUIET, size=0.6))
      before = strip.label
    marks += _points(strip, x, y)
  return Drawing(title, _WIDTH, math.ceil(bottom + 44), tuple(marks))


def _points(strip: Strip, x: Callable[[float], float], y: float) -> list[Mark]:
  colour = COLOURS[strip.series]
  marks = [Mark("line", x(strip.interval[0]), y, x(strip.interval[1]), y, colour=colour, size=2)] if strip.interval else []
  names = strip.names or [""] * len(strip.values)
  points = [(value, name) for value, name in zip(strip.values, names, strict=True) if math.isfinite(value)]
  single = len(points) == 1
  for number, (value, name) in enumerate(points):
    spread = 0.0 if single else ((number * _GOLDEN) % 1 - 0.5) * (_ROW - 12)
    said = f"{name}: {value:.3g}" if name else f"{value:.3g}"
    marks.append(Mark("dot", x(value), y + spread, size=3.2, colour=colour, text=said))
  if points and not single:
    middle = x(float(np.median([value for value, _ in points])))
    marks.append(Mark("line", middle, y - _ROW / 2 + 3, middle, y + _ROW / 2 - 3, size=2.6))
  return marks
