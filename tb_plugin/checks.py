"""What an event file holds is checked before it reaches the page: strangers may have written it.

Every function names what it looked at (`what`) in its errors, and raises `refusals.DamagedError` for content that is not
as `tbvis.summaries` writes it and `refusals.TooLargeError` for more than `largest` bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
import math
import re
from typing import Any

import numpy as np

from tb_plugin.refusals import DamagedError, TooLargeError, short
from tb_plugin.strict_json import (
  Test,
  check_fields,
  is_boolean,
  is_integer,
  is_name,
  is_number,
  is_text,
  json_object,
  list_of,
  optional,
  table_of,
  tuple_of,
  unpacked,
)
from tbvis import plans, records, summaries
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
# Of rows of a plan: fewer than 70,000 are meant.
_MOST_PLANNED = 1 << 18
_MOST_FRAMES = 1000
_LARGEST_SIDE = 1 << 14


def _is_side(value: Any) -> bool:
  return is_integer(value) and 0 < value <= _LARGEST_SIDE


def _is_size(value: Any) -> bool:
  return type(value) is list and len(value) == 2 and all(map(_is_side, value))


def _is_frames(value: Any) -> bool:
  return is_integer(value) and 0 < value <= _MOST_FRAMES


def _is_limits(value: Any) -> bool:
  return list_of(is_number)(value) and len(value) == 2


_NUMBERS = list_of(optional(is_number))
_IDENTITY: dict[str, tuple[Test, str]] = {
  "unit": (is_name, "a name"),
  "layer": (is_name, "a name"),
  "layer_index": (is_integer, "an integer"),
  "channel": (is_integer, "an integer"),
  "class_name": (optional(is_name), "a name or null"),
  "kappa": (is_number, "a finite number"),
  "chi": (is_number, "a finite number"),
  "isotropic": (is_boolean, "true or false"),
  "seed": (is_integer, "an integer"),
}
# Of a stimulus when it was first written, at this step.
_TOLD: dict[str, tuple[Test, str]] = {
  "activation": (optional(is_number), "a number or null"),
  "step": (optional(is_integer), "an integer or null"),
}
_META: dict[str, tuple[Test, str]] = _IDENTITY | {
  "activation": (optional(is_number), "a number or null"),
  "a_hat": (optional(is_number), "a number or null"),
  "error": (optional(is_text), "a text or null"),
  "config": (lambda value: type(value) is dict, "an object"),
  "steps": (list_of(is_integer), "a list of integers"),
  "history": (table_of(_NUMBERS), "a list of numbers by name"),
  "folder": (is_name, "a name"),
  "files": (table_of(is_integer), "sizes by name"),
  "appearance": (optional(lambda value: type(value) is dict), "an object or null"),
  "motion": (optional(lambda value: type(value) is dict), "an object or null"),
  "chunks": (_is_frames, f"1 to {_MOST_FRAMES}"),
  "inputs": (lambda value: value in [list(records.INPUTS), *([name] for name in records.INPUTS)], "names of inputs"),
}
# What an older logdir does not tell.
_OLDER: dict[str, Any] = {"kept": None, "chunks": 1, "inputs": list(records.INPUTS)}
_PICTURE: dict[str, tuple[Test, str]] = {"size": (_is_size, "two sides"), "small": (_is_size, "two sides")}
_FILM: dict[str, tuple[Test, str]] = _PICTURE | {"frames": (_is_frames, f"1 to {_MOST_FRAMES}")}
_MOTION: dict[str, tuple[Test, str]] = _PICTURE | {
  "frames": (_is_frames, f"1 to {_MOST_FRAMES}"),
  "step": (is_number, "a finite number"),
  "small_step": (is_number, "a finite number"),
  "small_by_row": (is_boolean, "true or false"),
}
_KEPT: dict[str, tuple[Test, str]] = {
  "steps": (lambda value: list_of(is_integer)(value) and value == sorted({*value}) and len(value) > 0 <= value[0], "ascending steps"),
  "size": (_is_size, "two sides"),
  "frames": (lambda value: value == 0 or _is_frames(value), f"0 to {_MOST_FRAMES}"),
  "scales": (optional(list_of(is_number)), "numbers or null"),
  "limits": (optional(list_of(_is_limits)), "pairs of numbers or null"),
}
_CONFUSIONS: dict[str, tuple[Test, str]] = {
  "classes": (list_of(is_name), "a list of names"),
  "labels": (list_of(is_integer), "a list of integers"),
  "clips": (list_of(is_name), "a list of names"),
  "thumbnails": (list_of(optional(is_name)), "a list of file names"),
  "split": (is_text, "a text"),
  "checkpoint": (is_text, "a text"),
  "towers": (list_of(is_name), "a list of names"),
  "matrices": (table_of(list_of(list_of(is_integer))), "a matrix by tower"),
  "accuracies": (table_of(optional(is_number)), "a number by tower"),
}
_TOP_CLIP: dict[str, tuple[Test, str]] = {
  "clip": (is_name, "a name"),
  "value": (optional(is_number), "a number"),
  "frame": (is_number, "a number"),
  "x": (is_number, "a number"),
  "y": (is_number, "a number"),
}
# An older logdir has none of these.
_TOP_CLIP_PICTURE: dict[str, tuple[Test, str]] = {
  "class": (is_name, "a name"),
  "layer": (is_name, "a name"),
  "field": (optional(_is_side), "a side in pixels or null"),
  "thumbnail": (is_name, "a file name"),
  "frames": (_is_frames, f"1 to {_MOST_FRAMES}"),
  "fired": (lambda value: is_integer(value) and 0 <= value < _MOST_FRAMES, f"0 to {_MOST_FRAMES - 1}"),
  "size": (_is_size, "two sides"),
}


_IS_TARGET = tuple_of(is_name, is_name, is_integer, is_integer, optional(is_name))
_PLAN: dict[str, tuple[Test, str]] = {
  "time": (is_number, "a finite number"),
  "steps": (lambda value: is_integer(value) and value > 0, "a number of steps"),
  "seed": (is_integer, "an integer"),
  "settings": (lambda value: list_of(tuple_of(is_number, is_number, is_boolean))(value) and len(value) > 0, "kappa, chi and isotropic"),
  "targets": (list_of(_IS_TARGET), "unit, layer, layer's place, channel and class of each target"),
  "finished": (list_of(is_integer), "a list of rows"),
}
_SIGN: dict[str, tuple[Test, str]] = {
  "time": (is_number, "a finite number"),
  "rows": (tuple_of(is_integer, is_integer), "the first row and the one after the last"),
  "step": (lambda value: is_integer(value) and value >= 0, "a step"),
}


def kind(content: bytes, expected: str, what: str) -> dict[str, Any]:
  """Returns the content of a tag's metadata, of the expected kind and of a version that is known."""
  found = json_object(content, what, LARGEST_IDENTITY)
  if found.get("kind") != expected:
    raise DamagedError(f"{what}: expected kind {expected!r}, found {short(found.get('kind'))}.")
  version = found.get("version")
  if not is_integer(version) or version < 1:
    raise DamagedError(f"{what}: expected a version, found {short(version)}.")
  if version > _VERSION:
    raise DamagedError(f"{what}: expected version {_VERSION}, found {version}: a later tbvis wrote it, this one cannot read it.")
  return found


def identity(content: bytes, what: str) -> dict[str, Any]:
  """Returns which stimulus a tag is of, by fields of `tbvis.summaries.StimulusRecord`, and the activation that it had at "step"."""
  found = {"activation": None, "step": None} | kind(content, "stimulus", what)  # An older logdir does not tell these.
  check_fields(found, _IDENTITY | _TOLD, what)
  return {name: found[name] for name in (*_IDENTITY, *_TOLD)}


def meta(data: bytes, what: str) -> dict[str, Any]:
  """Returns what is known of a stimulus."""
  found = _OLDER | json_object(unpacked(data, what, LARGEST_META), what, LARGEST_META)
  check_fields(found, _META, what)
  if found["motion"] is not None:
    # In an older logdir frames are one below the other.
    found["motion"].setdefault("small_by_row", False)
  if found["appearance"] is not None:
    found["appearance"].setdefault("frames", 1)
  for name, fields in (("appearance", _FILM), ("motion", _MOTION)):
    if found[name] is not None:
      check_fields(found[name], fields, f"{what}, {name}")
      _divides(found[name], found["chunks"], f"{what}, {name}")
  if found["kept"] is not None:
    _kept(found, f"{what}, kept steps")
  for name, values in found["history"].items():
    if len(values) != len(found["steps"]):
      raise DamagedError(f"{what}: expected {len(found['steps'])} values of {short(name)}, found {len(values)}.")
  config = found["config"]
  if not list_of(is_text)(config.get("warnings", [])):
    raise DamagedError(f"{what}: expected a list of texts as warnings, found {short(config['warnings'])}.")
  if not is_text(config.get("flagfile", "")):
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
  check_fields(kept, _KEPT, what)
  pictures = meta["appearance"]["frames"] if meta["appearance"] else 0
  # An older logdir has no films.
  if not is_integer(kept.setdefault("pictures", min(pictures, 1))) or kept["pictures"] not in (pictures, min(pictures, 1)):
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
  check_fields(found, _CONFUSIONS, what)
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
  if not table_of(is_text)(found.setdefault("meanings", {})):
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
  check_fields(found, _PLAN, what)
  rows = len(found["targets"]) * len(found["settings"])
  if rows > _MOST_PLANNED:
    raise TooLargeError(f"{what}: expected at most {_MOST_PLANNED:,} planned stimuli, found {rows:,}.")
  return found


def sign_of_life(data: bytes, what: str) -> dict[str, Any]:
  """Returns where a process is, see `tbvis.plans`."""
  found = _versioned(data, what, LARGEST_SIGN)
  check_fields(found, _SIGN, what)
  return found


def _versioned(data: bytes, what: str, largest: int) -> dict[str, Any]:
  found = json_object(data, what, largest)
  if not is_integer(found.get("version")) or found["version"] != plans.VERSION:
    raise DamagedError(f"{what}: expected version {plans.VERSION}, found {short(found.get('version'))}.")
  return found


def _unit_statistics(entry: Any, what: str) -> dict[str, Any]:
  if type(entry) is not dict:
    raise DamagedError(f"{what}: expected an object, found {short(entry)}.")
  if not optional(is_number)(entry.get("a_hat")):
    raise DamagedError(f"{what}: expected a number as 'a_hat', found {short(entry['a_hat'])}.")
  if not table_of(optional(is_number))(entry.get("class_means", {})):
    raise DamagedError(f"{what}: expected a number by class as 'class_means', found {short(entry['class_means'])}.")
  top = entry.get("top_clips", [])
  if not list_of(lambda clip: type(clip) is dict)(top):
    raise DamagedError(f"{what}: expected a list of clips as 'top_clips', found {short(top)}.")
  for clip in top:
    check_fields(clip, _TOP_CLIP, what)
    check_fields(clip, {name: test for name, test in _TOP_CLIP_PICTURE.items() if name in clip}, what)
    if "thumbnail" in clip and not {"frames", "fired", "size"} <= set(clip):
      raise DamagedError(f"{what}: expected 'frames', 'fired' and 'size' with the thumbnail of {short(clip['clip'])}, found not all.")
  return {**entry, "selectivity": _selectivity(entry.get("class_means", {}))}


def _selectivity(class_means: Mapping[str, float | None]) -> float | None:
  """Returns the index of `selectivity.selectivity_index`, None where there is none."""
  found = float(selectivity.selectivity_index(np.array([np.nan if mean is None else mean for mean in class_means.values()], float)))
  return found if math.isfinite(found) else None
