"""The evidence for why one class is taken for another, where a run has some; the place and form of its file are defined here.

A run's explanation of one cell of a tower's confusion matrix lies beside its events, in

    <run>/tbvis/explanations/<true>_<predicted>_<tower>.json      0004_0006_fused.json

with the four-digit indices of both classes in the run's confusions. It holds plain text and numbers:

    {"version": 1, "true": "PlayingCello", "predicted": "PlayingViolin", "tower": "fused",
     "summary": "What speaks for the wrong class, in a sentence or two.",
     "evidence": [{"title": "Units that both classes share", "text": "What was done, and what came out.",
                   "values": [{"label": "conv5_fusion/f021", "value": 0.42, "unit": "of the score"}],
                   "units": ["conv5_fusion/f021"]}],
     "source": "how it was made, so that it can be made again"}

`true`, `predicted` and `tower` say again what the name says: a file of other confusions is not shown. Of an item of
`evidence` only `title` is required; `units` become links to their pages. A pair without a file has no such section.
"""

from __future__ import annotations

import json
import re
from typing import Any

FOLDER = "explanations"
_VERSION = 1
_NAME = re.compile(r"(\d{4,})_(\d{4,})_(.+)\.json", re.ASCII)
# Far within what a page can read; NaN fails the comparison as well.
_LARGEST = 1e300


def file_name(true: int, predicted: int, tower: str) -> str:
  """Returns the name of the file, of the indices of both classes and the tower.

  >>> file_name(4, 6, "fused")
  '0004_0006_fused.json'
  """
  return f"{true:04d}_{predicted:04d}_{tower}.json"


def pair_of(name: str) -> tuple[int, int, str] | None:
  """Returns the indices of both classes and the tower of a file's name, None of another name.

  >>> pair_of("0004_0006_fused.json"), pair_of("notes.json")
  ((4, 6, 'fused'), None)
  """
  found = _NAME.fullmatch(name)
  return (int(found[1]), int(found[2]), found[3]) if found else None


def parse(data: bytes, true: str, predicted: str, tower: str) -> dict[str, Any]:
  """Returns what the page shows of a file: {"summary", "evidence": [{"title", "text", "values", "units"}], "source"}.

  Raises:
    ValueError: saying what is wrong with the file.
  """
  try:
    content = json.loads(data)
  except (ValueError, RecursionError) as error:
    raise ValueError("Expected JSON, found something else (it may be unfinished).") from error
  if not isinstance(content, dict) or content.get("version") != _VERSION:
    raise ValueError(f"Expected an explanation of version {_VERSION}, found another.")
  for name, wanted in (("true", true), ("predicted", predicted), ("tower", tower)):
    if content.get(name) != wanted:
      raise ValueError(f"Expected {name} to be {wanted!r}, found another: it belongs to other confusions.")
  items = _list(content, "evidence")
  return {"summary": _text(content, "summary"), "evidence": [_item(item) for item in items], "source": _text(content, "source")}


def _item(item: Any) -> dict[str, Any]:
  if not isinstance(item, dict) or not _text(item, "title"):
    raise ValueError("Expected items of evidence with a title.")
  units = _list(item, "units")
  if not all(isinstance(unit, str) for unit in units):
    raise ValueError("Expected names of units.")
  return {"title": _text(item, "title"), "text": _text(item, "text"), "values": [_value(v) for v in _list(item, "values")], "units": units}


def _value(item: Any) -> dict[str, Any]:
  number = item.get("value") if isinstance(item, dict) else None
  if isinstance(number, bool) or not isinstance(number, int | float) or not abs(number) < _LARGEST:
    raise ValueError("Expected values that are numbers.")
  return {"label": _text(item, "label"), "value": number, "unit": _text(item, "unit")}


def _text(item: dict[str, Any], name: str) -> str:
  text = item.get(name, "")
  if not isinstance(text, str):
    raise ValueError(f"Expected {name} to be text.")
  return text


def _list(item: dict[str, Any], name: str) -> list[Any]:
  found = item.get(name, [])
  if not isinstance(found, list):
    raise ValueError(f"Expected {name} to be a list.")
  return found
