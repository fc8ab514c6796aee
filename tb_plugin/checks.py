"""What an event file holds is checked before it reaches the page: strangers may have written it.

Every function names what it looked at (`what`) in its errors, and raises `refusals.DamagedError` for content that is not
as `tbvis.summaries` writes it and `refusals.TooLargeError` for more than `largest` bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
import json
import math
import re
from typing import Any
import zlib

import numpy as np

from tb_plugin.refusals import DamagedError, TooLargeError, short
from tbvis import events, plans, records, summaries
from tbvis.diagnostics import selectivity

LARGEST_IDENTITY = 1 << 13
LARGEST_META = 4 << 20
LARGEST_JSON = 32 << 20
# Of 12,000 units and 101 classes there are 37 million bytes.
LARGEST_STATISTICS = 128 << 20
LARGEST_SCORES = 256 << 20
LARGEST_PLAN = 8 << 20
LARGEST_SIGN = 1 << 12

# What `tbvis.summaries` writes; a file of any other name is not asked for.
FILE_NAME = re.compile(r"[A-Za-z0-9_.,=-]{1,200}\.(?:png|webp|npz)")
_VERSION = 1
_LONGEST_NAME = 1000
_LONGEST_TEXT = 20_000
# Of rows of a plan: fewer than 70,000 are meant.
_MOST_PLANNED = 1 << 18
_MOST_FRAMES = 1000
_LARGEST_SIDE = 1 << 14
_LARGEST_INTEGER = 1 << 52

_ENCODER = json.JSONEncoder(allow_nan=False, separators=(",", ":"))

Test = Callable[[Any], bool]


def _is_integer(value: Any) -> bool:
  return type(value) is int and abs(value) < _LARGEST_INTEGER


def _is_number(value: Any) -> bool:
  return type(value) is float and math.isfinite(value) or _is_integer(value)


def _is_name(value: Any) -> bool:
  return type(value) is str and 0 < len(value) <= _LONGEST_NAME


def _is_text(value: Any) -> bool:
  return type(value) is str and len(value) <= _LONGEST_TEXT


def _optional(test: Test) -> Test:
  return lambda value: value is None or test(value)


def _list(test: Test) -> Test:
  return lambda value: type(value) is list and all(map(test, value))


def _tuple(*tests: Test) -> Test:
  return lambda value: type(value) is list and len(value) == len(tests) and all(test(v) for test, v in zip(tests, value, strict=True))


def _table(test: Test) -> Test:
  return lambda value: type(value) is dict and all(map(_is_name, value)) and all(map(test, value.values()))


def _is_side(value: Any) -> bool:
  return _is_integer(value) and 0 < value <= _LARGEST_SIDE


def _is_size(value: Any) -> bool:
  return type(value) is list and len(value) == 2 and all(map(_is_side, value))


def _is_boolean(value: Any) -> bool:
  return type(value) is bool


def _is_frames(value: Any) -> bool:
  return _is_integer(value) and 0 < value <= _MOST_FRAMES


def _is_limits(value: Any) -> bool:
  return _list(_is_number)(value) and len(value) == 2


_NUMBERS = _list(_optional(_is_number))
_IDENTITY: dict[str, tuple[Test, str]] = {
  "unit": (_is_name, "a name"),
  "layer": (_is_name, "a name"),
  "layer_index": (_is_integer, "an integer"),
  "channel": (_is_integer, "an integer"),
  "class_name": (_optional(_is_name), "a name or null"),
  "kappa": (_is_number, "a finite number"),
  "chi": (_is_number, "a finite number"),
  "isotropic": (_is_boolean, "true or false"),
  "seed": (_is_integer, "an integer"),
}
# Of a stimulus when it was first written, at this step.
_TOLD: dict[str, tuple[Test, str]] = {
  "activation": (_optional(_is_number), "a number or null"),
  "step": (_optional(_is_integer), "an integer or null"),
}
_META: dict[str, tuple[Test, str]] = _IDENTITY | {
  "activation": (_optional(_is_number), "a number or null"),
  "a_hat": (_optional(_is_number), "a number or null"),
  "error": (_optional(_is_text), "a text or null"),
  "config": (lambda value: type(value) is dict, "an object"),
  "steps": (_list(_is_integer), "a list of integers"),
  "history": (_table(_NUMBERS), "a list of numbers by name"),
  "folder": (_is_name, "a name"),
  "files": (_table(_is_integer), "sizes by name"),
  "appearance": (_optional(lambda value: type(value) is dict), "an object or null"),
  "motion": (_optional(lambda value: type(value) is dict), "an object or null"),
  "chunks": (_is_frames, f"1 to {_MOST_FRAMES}"),
  "inputs": (lambda value: value in [list(records.INPUTS), *([name] for name in records.INPUTS)], "names of inputs"),
}
# What an older logdir does not tell.
_OLDER: dict[str, Any] = {"kept": None, "chunks": 1, "inputs": list(records.INPUTS)}
_PICTURE: dict[str, tuple[Test, str]] = {"size": (_is_size, "two sides"), "small": (_is_size, "two sides")}
_FILM: dict[str, tuple[Test, str]] = _PICTURE | {"frames": (_is_frames, f"1 to {_MOST_FRAMES}")}
_MOTION: dict[str, tuple[Test, str]] = _PICTURE | {
  "frames": (_is_frames, f"1 to {_MOST_FRAMES}"),
  "step": (_is_number, "a finite number"),
  "small_step": (_is_number, "a finite number"),
  "small_by_row": (_is_boolean, "true or false"),
}
_KEPT: dict[str, tuple[Test, str]] = {
  "steps": (lambda value: _list(_is_integer)(value) and value == sorted({*value}) and len(value) > 0 <= value[0], "ascending steps"),
  "size": (_is_size, "two sides"),
  "frames": (lambda value: value == 0 or _is_frames(value), f"0 to {_MOST_FRAMES}"),
  "scales": (_optional(_list(_is_number)), "numbers or null"),
  "limits": (_optional(_list(_is_limits)), "pairs of numbers or null"),
}
_CONFUSIONS: dict[str, tuple[Test, str]] = {
  "classes": (_list(_is_name), "a list of names"),
  "labels": (_list(_is_integer), "a list of integers"),
  "clips": (_list(_is_name), "a list of names"),
  "thumbnails": (_list(_optional(_is_name)), "a list of file names"),
  "split": (_is_text, "a text"),
  "checkpoint": (_is_text, "a text"),
  "towers": (_list(_is_name), "a list of names"),
  "matrices": (_table(_list(_list(_is_integer))), "a matrix by tower"),
  "accuracies": (_table(_optional(_is_number)), "a number by tower"),
}
_TOP_CLIP: dict[str, tuple[Test, str]] = {
  "clip": (_is_name, "a name"),
  "value": (_optional(_is_number), "a number"),
  "frame": (_is_number, "a number"),
  "x": (_is_number, "a number"),
  "y": (_is_number, "a number"),
}
# An older logdir has none of these.
_TOP_CLIP_PICTURE: dict[str, tuple[Test, str]] = {
  "class": (_is_name, "a name"),
  "layer": (_is_name, "a name"),
  "field": (_optional(_is_side), "a side in pixels or null"),
  "thumbnail": (_is_name, "a file name"),
  "frames": (_is_frames, f"1 to {_MOST_FRAMES}"),
  "fired": (lambda value: _is_integer(value) and 0 <= value < _MOST_FRAMES, f"0 to {_MOST_FRAMES - 1}"),
  "size": (_is_size, "two sides"),
}


_IS_TARGET = _tuple(_is_name, _is_name, _is_integer, _is_integer, _optional(_is_name))
_PLAN: dict[str, tuple[Test, str]] = {
  "time": (_is_number, "a finite number"),
  "steps": (lambda value: _is_integer(value) and value > 0, "a number of steps"),
  "seed": (_is_integer, "an integer"),
  "settings": (lambda value: _list(_tuple(_is_number, _is_number, _is_boolean))(value) and len(value) > 0, "kappa, chi and isotropic"),
  "targets": (_list(_IS_TARGET), "unit, layer, layer's place, channel and class of each target"),
  "finished": (_list(_is_integer), "a list of rows"),
}
_SIGN: dict[str, tuple[Test, str]] = {
  "time": (_is_number, "a finite number"),
  "rows": (_tuple(_is_integer, _is_integer), "the first row and the one after the last"),
  "step": (lambda value: _is_integer(value) and value >= 0, "a step"),
}


def _constant(name: str) -> None:
  raise ValueError(f"{name} is no JSON")


def _fields(found: Mapping[str, Any], fields: Mapping[str, tuple[Test, str]], what: str) -> None:
  for name, (test, expected) in fields.items():
    if name not in found:
      raise DamagedError(f"{what}: expected {expected} as {name!r}, found none.")
    if not test(found[name]):
      raise DamagedError(f"{what}: expected {expected} as {name!r}, found {short(found[name])}.")


def unpacked(data: bytes, what: str, largest: int) -> bytes:
  """Returns a blob's JSON, deflated or not; of more than `largest` bytes, as many and one more."""
  try:
    return events.unpacked_json(data, largest)
  except zlib.error as error:
    raise DamagedError(f"{what}: expected deflated JSON, found {len(data):,} bytes that are not ({error}).") from None


def json_object(data: bytes, what: str, largest: int) -> dict[str, Any]:
  """Decodes a JSON object as strictly as a browser does: UTF-8, no NaN.

  >>> json_object(b'{"a": NaN}', "tag 'b'", 100)
  Traceback (most recent call last):
  tb_plugin.refusals.DamagedError: tag 'b': expected JSON, found 10 bytes that are not (NaN is no JSON).
  """
  if len(data) > largest:
    raise TooLargeError(f"{what}: expected at most {largest:,} bytes of JSON, found {len(data):,}.")
  try:
    found = json.loads(data.decode("utf-8"), parse_constant=_constant)
  except (ValueError, RecursionError) as error:
    reason = str(error)[:100]
    raise DamagedError(f"{what}: expected JSON, found {len(data):,} bytes that are not ({reason}).") from None
  if type(found) is not dict:
    raise DamagedError(f"{what}: expected a JSON object, found {short(found)}.")
  return found


def to_json(content: Any, what: str) -> bytes:
  """Encodes what is sent; numbers too large for JSON (1e999 was read as infinity) are refused."""
  try:
    return _ENCODER.encode(content).encode()
  except (ValueError, RecursionError):
    raise DamagedError(f"{what}: expected finite numbers, found others.") from None


def kind(content: bytes, expected: str, what: str) -> dict[str, Any]:
  """Returns the content of a tag's metadata, of the expected kind and of a version that is known."""
  found = json_object(content, what, LARGEST_IDENTITY)
  if found.get("kind") != expected:
    raise DamagedError(f"{what}: expected kind {expected!r}, found {short(found.get('kind'))}.")
  version = found.get("version")
  if not _is_integer(version) or version < 1:
    raise DamagedError(f"{what}: expected a version, found {short(version)}.")
  if version > _VERSION:
    raise DamagedError(f"{what}: expected version {_VERSION}, found {version}: a later tbvis wrote it, this one cannot read it.")
  return found


def identity(content: bytes, what: str) -> dict[str, Any]:
  """Returns which stimulus a tag is of, by fields of `tbvis.summaries.StimulusRecord`, and the activation that it had at "step"."""
  found = {"activation": None, "step": None} | kind(content, "stimulus", what)  # An older logdir does not tell these.
  _fields(found, _IDENTITY | _TOLD, what)
  return {name: found[name] for name in (*_IDENTITY, *_TOLD)}


def meta(data: bytes, what: str) -> dict[str, Any]:
  """Returns what is known of a stimulus."""
  found = _OLDER | json_object(unpacked(data, what, LARGEST_META), what, LARGEST_META)
  _fields(found, _META, what)
  if found["motion"] is not None:
    # In an older logdir frames are one below the other.
    found["motion"].setdefault("small_by_row", False)
  if found["appearance"] is not None:
    found["appearance"].setdefault("frames", 1)
  for name, fields in (("appearance", _FILM), ("motion", _MOTION)):
    if found[name] is not None:
      _fields(found[name], fields, f"{what}, {name}")
      _divides(found[name], found["chunks"], f"{what}, {name}")
  if found["kept"] is not None:
    _kept(found, f"{what}, kept steps")
  for name, values in found["history"].items():
    if len(values) != len(found["steps"]):
      raise DamagedError(f"{what}: expected {len(found['steps'])} values of {short(name)}, found {len(values)}.")
  config = found["config"]
  if not _list(_is_text)(config.get("warnings", [])):
    raise DamagedError(f"{what}: expected a list of texts as warnings, found {short(config['warnings'])}.")
  if not _is_text(config.get("flagfile", "")):
    raise DamagedError(f"{what}: expected a text as flagfile, found {short(config['flagfile'])}.")
  return found


def _divides(shown: Mapping[str, Any], chunks: int, what: str) -> None:
  """Checks that frames divide into chunks, and that a film tells the values that are drawn black and white."""
  frames = shown["frames"]
  if frames > 1 and frames % chunks:
    raise DamagedError(f"{what}: expected frames in {chunks} equal chunks, found {frames}.")
  if "step" not in shown and frames > 1 and not _is_limits(shown.get("limits")):
    raise DamagedError(f"{what}: expected two numbers as 'limits', found {short(shown.get('limits'))}.")


def _kept(meta: Mapping[str, Any], what: str) -> None:
  """Checks what is said of small copies of a search: as many of everything as steps, for the inputs that the stimulus has."""
  kept = meta["kept"]
  if type(kept) is not dict:
    raise DamagedError(f"{what}: expected an object, found {short(kept)}.")
  _fields(kept, _KEPT, what)
  pictures = meta["appearance"]["frames"] if meta["appearance"] else 0
  # An older logdir has no films.
  if not _is_integer(kept.setdefault("pictures", min(pictures, 1))) or kept["pictures"] not in (pictures, min(pictures, 1)):
    raise DamagedError(f"{what}: expected {pictures} pictures of a copy, found {short(kept['pictures'])}.")
  for name, there in (("scales", meta["motion"]), ("limits", meta["appearance"])):
    expected = len(kept["steps"]) if there else 0
    if len(kept[name] or ()) != expected:
      raise DamagedError(f"{what}: expected {expected} {name}, found {len(kept[name] or ())}.")
  if bool(kept["frames"]) != bool(meta["motion"]):
    raise DamagedError(f"{what}: expected {'frames' if meta['motion'] else 'no frames'} of motion, found {kept['frames']}.")


def confusions(data: bytes, what: str) -> dict[str, Any]:
  """Returns classes, clips and matrices whose sizes and indices agree."""
  found = json_object(data, what, LARGEST_JSON)
  _fields(found, _CONFUSIONS, what)
  size, clips, towers = len(found["classes"]), len(found["clips"]), found["towers"]
  if not towers or len(set(towers)) < len(towers) or not set(towers) <= set(summaries.TOWERS):
    raise DamagedError(f"{what}: expected towers of {', '.join(summaries.TOWERS)}, found {short(towers)}.")
  if len(found["labels"]) != clips or len(found["thumbnails"]) != clips:
    raise DamagedError(
      f"{what}: expected a label and a thumbnail (or null) for each of {clips} clips, "
      f"found {len(found['labels'])} and {len(found['thumbnails'])}."
    )
  if not all(0 <= label < size for label in found["labels"]):
    raise DamagedError(f"{what}: expected labels 0 to {size - 1}, found others.")
  for tower in towers:
    rows = found["matrices"].get(tower)
    if rows is None or len(rows) != size or any(len(row) != size or min(row) < 0 for row in rows):
      raise DamagedError(f"{what}: expected {size} x {size} counts of {tower}, found others.")
    if tower not in found["accuracies"]:
      raise DamagedError(f"{what}: expected an accuracy of {tower}, found none.")
  # An older logdir tells no meanings.
  if not _table(_is_text)(found.setdefault("meanings", {})):
    raise DamagedError(f"{what}: expected a text by tower as meanings, found {short(found['meanings'])}.")
  return found


def scores(data: bytes, content: Mapping[str, Any], what: str) -> np.ndarray:
  """Returns scores float32 (towers, clips, classes), a view of `data`."""
  shape = (len(content["towers"]), len(content["clips"]), len(content["classes"]))
  if len(data) > LARGEST_SCORES:
    raise TooLargeError(f"{what}: expected at most {LARGEST_SCORES:,} bytes of scores, found {len(data):,}.")
  if len(data) != 4 * math.prod(shape):
    raise DamagedError(f"{what}: expected {4 * math.prod(shape):,} bytes of scores, found {len(data):,}.")
  return np.frombuffer(data, "<f4").reshape(shape)


def statistics(data: bytes, what: str) -> dict[str, Any]:
  """Returns what is known of units, by name; of a unit whose entry is damaged, {"error": why}.

  "selectivity" of each is the index of its class means (see `tbvis.diagnostics.selectivity`), None where it has none.
  """
  found = json_object(unpacked(data, what, LARGEST_STATISTICS), what, LARGEST_STATISTICS)
  kept = {}
  for unit, entry in found.items():
    try:
      kept[unit] = _unit_statistics(entry, f"{what}, {short(unit)}")
    except DamagedError as error:
      kept[unit] = {"error": str(error)}
  return kept


def plan(data: bytes, what: str) -> dict[str, Any]:
  """Returns what a sweep is going to find, see `tbvis.plans`."""
  found = _versioned(data, what, LARGEST_PLAN)
  _fields(found, _PLAN, what)
  rows = len(found["targets"]) * len(found["settings"])
  if rows > _MOST_PLANNED:
    raise TooLargeError(f"{what}: expected at most {_MOST_PLANNED:,} planned stimuli, found {rows:,}.")
  return found


def sign_of_life(data: bytes, what: str) -> dict[str, Any]:
  """Returns where a process is, see `tbvis.plans`."""
  found = _versioned(data, what, LARGEST_SIGN)
  _fields(found, _SIGN, what)
  return found


def _versioned(data: bytes, what: str, largest: int) -> dict[str, Any]:
  found = json_object(data, what, largest)
  if not _is_integer(found.get("version")) or found["version"] != plans.VERSION:
    raise DamagedError(f"{what}: expected version {plans.VERSION}, found {short(found.get('version'))}.")
  return found


def _unit_statistics(entry: Any, what: str) -> dict[str, Any]:
  if type(entry) is not dict:
    raise DamagedError(f"{what}: expected an object, found {short(entry)}.")
  if not _optional(_is_number)(entry.get("a_hat")):
    raise DamagedError(f"{what}: expected a number as 'a_hat', found {short(entry['a_hat'])}.")
  if not _table(_optional(_is_number))(entry.get("class_means", {})):
    raise DamagedError(f"{what}: expected a number by class as 'class_means', found {short(entry['class_means'])}.")
  top = entry.get("top_clips", [])
  if not _list(lambda clip: type(clip) is dict)(top):
    raise DamagedError(f"{what}: expected a list of clips as 'top_clips', found {short(top)}.")
  for clip in top:
    _fields(clip, _TOP_CLIP, what)
    _fields(clip, {name: test for name, test in _TOP_CLIP_PICTURE.items() if name in clip}, what)
    if "thumbnail" in clip and not {"frames", "fired", "size"} <= set(clip):
      raise DamagedError(f"{what}: expected 'frames', 'fired' and 'size' with the thumbnail of {short(clip['clip'])}, found not all.")
  return {**entry, "selectivity": _selectivity(entry.get("class_means", {}))}


def _selectivity(class_means: Mapping[str, float | None]) -> float | None:
  """Returns the index of `selectivity.selectivity_index`, None where there is none."""
  found = float(selectivity.selectivity_index(np.array([np.nan if mean is None else mean for mean in class_means.values()], float)))
  return found if math.isfinite(found) else None
