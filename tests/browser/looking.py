"""What tests read from the page, and how they point at its matrix."""

from __future__ import annotations


def pixels(frame, selector):
  """The canvas' values as text: two that differ show different pictures."""
  frame.wait_for_selector(selector)
  return frame.eval_on_selector(selector, "(c) => c.getContext('2d').getImageData(0, 0, c.width, c.height).data.join()")


def wait_for_change(frame, selector, before):
  """Waits until the canvas shows something else."""
  frame.wait_for_function(
    "([selector, before]) => { const c = document.querySelector(selector);"
    " return c.getContext('2d').getImageData(0, 0, c.width, c.height).data.join() !== before; }",
    arg=[selector, before],
  )


def text(frame, selector):
  """The text of an element once it is there."""
  frame.wait_for_selector(selector)
  return frame.inner_text(selector)


def cell_place(frame, row, column):
  """The middle of a cell of the matrix on its canvas, by the place that its own layout gives; counted as shown."""
  frame.wait_for_selector("tbvis-matrix canvas")
  x, y = frame.eval_on_selector(
    "tbvis-matrix",
    "(m, [r, c]) => [m.place.left + (c + 0.5) * m.place.cell, m.place.top + (r + 0.5) * m.place.cell]",
    [row, column],
  )
  return {"x": x, "y": y}


def click_cell(frame, row, column):
  """Clicks a cell of the matrix."""
  frame.click("tbvis-matrix canvas", position=cell_place(frame, row, column))


def cell_colour(frame, row, column):
  """The colour near the left upper corner of a cell, where no number is written."""
  frame.wait_for_selector("tbvis-matrix canvas")
  return frame.eval_on_selector(
    "tbvis-matrix",
    "(m, [r, c]) => [...m.canvas.getContext('2d').getImageData(m.place.left + (c + 0.2) * m.place.cell,"
    " m.place.top + (r + 0.2) * m.place.cell, 1, 1).data.slice(0, 3)]",
    [row, column],
  )
