"""A network as a drawing: its layers from left to right with their shapes, and where its streams join (Fig. 2 of the paper)."""

from __future__ import annotations

from collections.abc import Sequence
import dataclasses
import itertools
import math

from tbvis.rendering.charts import COLOURS, Drawing, Mark

_BOX, _STEP, _LANE, _LEFT, _TOP = 54, 67, 168, 20, 70
_TALLEST, _LEAST = 84, 18
_QUIET = "#767676"
_GRADIENT = COLOURS[1]
# By row: an input's own, what is joined, another input's own.
_LANES = (COLOURS[0], COLOURS[3], COLOURS[2])


@dataclasses.dataclass(frozen=True)
class Node:
  """A layer in the drawing.

  Attributes:
    name: of the layer.
    lane: row that it is drawn in, from 0.
    column: its place from the left.
    side: height and width of its map at the training crop.
    channels: number of channels.
    before: names of the nodes that it takes.
  """

  name: str
  lane: int
  column: int
  side: int
  channels: int
  before: tuple[str, ...] = ()


def draw(title: str, nodes: Sequence[Node], target: str, lanes: Sequence[str], gradient: bool = True) -> Drawing:
  """Draws a network and the search through it.

  Args:
    title: the head line.
    nodes: the layers.
    target: the layer of the unit that is maximised.
    lanes: what each row is, from above.
    gradient: whether the way of the gradient from the target back to the inputs is drawn.

  Returns:
    The drawing: a box a layer, as high as its map is large; lines to what a layer takes.
  """
  known = {node.name: node for node in nodes}
  largest = max(node.side for node in nodes)

  def height(node: Node) -> float:
    return max(_LEAST, _TALLEST * math.log2(node.side + 1) / math.log2(largest + 1))

  def left(node: Node) -> float:
    return _LEFT + node.column * _STEP

  def middle(node: Node) -> float:
    return _TOP + node.lane * _LANE + _LANE / 2

  marks = [Mark("text", 8, 18, text=title)]
  on_the_way = _ancestors(target, known)
  for node in nodes:
    for name in node.before:
      source = known[name]
      marks.append(Mark("line", left(source) + _BOX, middle(source), left(node), middle(node), colour=_QUIET, size=1.2))
      if gradient and name in on_the_way and node.name in on_the_way | {target}:
        # Under all boxes of a row, and between two columns from row to row.
        below, gap = _TALLEST / 2 + 10, left(node) - (_STEP - _BOX) / 2
        corners = [(left(source) + _BOX / 2, middle(source)), (gap, middle(source)), (gap, middle(node))]
        corners.append((left(node) + _BOX / 2, middle(node)))
        marks += [
          Mark("line", x, y + below, x2, y2 + below, colour=_GRADIENT, size=1.6) for (x, y), (x2, y2) in itertools.pairwise(corners)
        ]
  for node in nodes:
    x, y, tall = left(node), middle(node), height(node)
    colour = _GRADIENT if node.name == target else _LANES[node.lane % len(_LANES)]
    marks.append(Mark("box", x, y - tall / 2, x + _BOX, y + tall / 2, colour=colour))
    for line, text in enumerate((_short(node.name), f"{node.side}x{node.side}", f"x{node.channels}")):
      marks.append(Mark("text", x + _BOX / 2, y - _TALLEST / 2 - 31 + 13 * line, text=text, anchor="middle"))
  for lane, text in enumerate(lanes):
    marks.append(Mark("text", 8, _TOP + lane * _LANE - 4, text=text, colour=_QUIET))
  if gradient:
    said = f"Gradient of a unit of {target} back to the inputs, which change; the weights stay."
    marks.append(Mark("text", 8, 38, text=said, colour=_GRADIENT))
  width = _LEFT + _STEP * (max(node.column for node in nodes) + 1) + 10
  return Drawing(title, width, _TOP + _LANE * len(lanes), tuple(marks))


def _ancestors(target: str, known: dict[str, Node]) -> set[str]:
  found: set[str] = set()
  waiting = list(known[target].before)
  while waiting:
    name = waiting.pop()
    if name not in found:
      found.add(name)
      waiting += known[name].before
  return found


def _short(name: str) -> str:
  """Returns a layer's name without its tower, which the row says.

  >>> _short("conv4_3_motion"), _short("conv5_fusion"), _short("appearance")
  ('conv4_3', 'conv5_fusion', 'appearance')
  """
  for tower in ("_appearance", "_motion", "_hybrid"):
    name = name.removesuffix(tower)
  return name
