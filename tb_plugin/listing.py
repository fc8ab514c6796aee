"""The list of a logdir's runs and stimuli, made of what TensorBoard lists of our tags, and kept until that changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import dataclasses
import itertools
import math
import operator
from typing import Any

from tensorboard.data import provider as provider_lib

from tb_plugin import checks, strict_json
from tb_plugin.refusals import DamagedError, RefusedError, TooLargeError
from tbvis import summaries

LONGEST_TAG = 1000
# So many names are shown of what there is too much of.
NAMED = 50
# By kind: how many blobs an event has.
PARTS = {"stimulus": 3, "confusions": 2, "unit_statistics": 1}

# Of tags and identities, before they become the list that the page asks for; 70,000 stimuli have 20 million.
_LARGEST_LIST = 1 << 27
# Stimuli whose blobs are looked for together.
_BLOCK = 64
_SHOWN_TAG = 160


@dataclasses.dataclass(frozen=True)
class Run:
  """What is listed of a run: its fields, each of its stimuli as JSON, and the place of each by its tag."""

  known: dict[str, Any]
  stimuli: list[bytes]
  places: dict[str, int]


@dataclasses.dataclass(frozen=True)
class Kept:
  """What was made of one state of TensorBoard's list, for whoever asks again before it changes, and keys of blobs by run and tag."""

  experiment: str
  state: int
  runs: list[Run]
  damaged: Damaged
  keys: dict[tuple[str, str], list[str]] = dataclasses.field(default_factory=dict)

  def near(self, experiment: str, run: str, tag: str) -> list[str]:
    """Returns the tags of stimuli listed around one, which a page is likely to ask for next; none where it is not listed."""
    places = next((of.places for of in self.runs if of.known["name"] == run), {}) if experiment == self.experiment else {}
    if tag not in places:
      return []
    first = places[tag] // _BLOCK * _BLOCK
    return list(itertools.islice(places, first, first + _BLOCK))


class Damaged:
  """Records that could not be listed: the first by name, the others by number."""

  def __init__(self) -> None:
    self.named: list[dict[str, str]] = []
    self.count = 0
    self._left = _LARGEST_LIST

  def add(self, run: str, tag: str, why: RefusedError) -> None:
    """Takes down a record and why it could not be listed."""
    self.count += 1
    if len(self.named) < NAMED:
      shown = tag if len(tag) <= _SHOWN_TAG else f"{tag[:_SHOWN_TAG]}…"
      self.named.append({"run": run[:LONGEST_TAG], "tag": shown, "why": str(why)})

  def copy(self) -> Damaged:
    """Returns another that goes on from here."""
    other = Damaged()
    other.named, other.count, other._left = list(self.named), self.count, self._left
    return other

  def take(self, size: int) -> None:
    """Counts what goes into the list, and refuses what would make it too long."""
    if size > self._left:
      raise TooLargeError(f"Expected at most {_LARGEST_LIST:,} bytes of names in one logdir, found more: this one is left out.")
    self._left -= size


def kind_of(tag: str) -> str:
  """Returns what a tag is of.

  Raises:
    DamagedError: if it is none of ours.
  """
  for kind, own in (("confusions", summaries.CONFUSIONS_TAG), ("unit_statistics", summaries.STATISTICS_TAG)):
    if tag == own:
      return kind
  if tag.startswith(summaries.STIMULUS_PREFIX):
    return "stimulus"
  own = f"{summaries.STIMULUS_PREFIX}..., {summaries.CONFUSIONS_TAG} or {summaries.STATISTICS_TAG}"
  raise DamagedError(f"Expected a tag {own}, found another.")


def check(series: provider_lib.BlobSequenceTimeSeries, kind: str, what: str) -> dict[str, Any]:
  """Returns the content of a tag's metadata, after a look at how much the tag's events say they hold."""
  if series.max_length != PARTS[kind]:
    raise DamagedError(f"{what}: expected {PARTS[kind]} blobs in an event of kind {kind!r}, found {series.max_length}.")
  return checks.identity(series.plugin_content, what) if kind == "stimulus" else checks.kind(series.plugin_content, kind, what)


def run_of(name: str, tags: Mapping[str, provider_lib.BlobSequenceTimeSeries], damaged: Damaged) -> Run:
  """Returns a run with its stimuli in the network's order; tells `damaged` what cannot be listed."""
  stimuli = []
  others: dict[str, float | None] = {"confusions": None, "unit_statistics": None}
  for tag, series in tags.items():
    try:
      damaged.take(len(tag) + len(series.plugin_content))
      if len(tag) > LONGEST_TAG:
        raise TooLargeError(f"Expected a tag of at most {LONGEST_TAG} characters, found {len(tag):,}.")
      kind = kind_of(tag)
      content = check(series, kind, "Its metadata")
      if kind == "stimulus":
        # As text at once: 70,000 of them as objects would take a hundred megabytes, which Python then keeps.
        stimuli.append((_order(content), tag, strict_json.to_json(_listed(tag, content, series), "list of runs")))
      else:
        others[kind] = _version(series)
    except RefusedError as error:
      damaged.add(name, tag, error)
  stimuli.sort(key=operator.itemgetter(0))
  known = {"name": name, "confusions": others["confusions"], "statistics": others["unit_statistics"]}
  return Run(known, [text for _, _, text in stimuli], {tag: place for place, (_, tag, _) in enumerate(stimuli)})


def state(experiment: str, listed: Mapping[str, Mapping[str, provider_lib.BlobSequenceTimeSeries]]) -> int:
  """Tells one list of TensorBoard's from another; the fast loader's order says nothing."""
  every = ((run, tag, series) for run, tags in listed.items() for tag, series in tags.items())
  return hash((experiment, frozenset((run, tag, of.plugin_content, of.max_length, of.max_wall_time) for run, tag, of in every)))


def _order(identity: Mapping[str, Any]) -> tuple[Any, ...]:
  return tuple(identity[name] for name in ("layer_index", "channel", "unit", "isotropic", "kappa", "chi", "seed"))


def joined(fields: Mapping[str, Any], name: str, texts: Sequence[bytes]) -> bytes:
  """Returns a JSON object of some fields and one list whose members are JSON already."""
  return b'%s,"%s":[%s]}' % (strict_json.to_json(fields, "list of runs")[:-1], name.encode(), b",".join(texts))


def _version(series: provider_lib.BlobSequenceTimeSeries) -> float:
  # Only to tell one writing from another; a spoilt time must not spoil the list.
  time = series.max_wall_time
  return time if time and math.isfinite(time) else 1


def told_activation(series: provider_lib.BlobSequenceTimeSeries) -> float | None:
  """Returns a stimulus' activation, None where it was written again: what is listed is of the first."""
  try:
    identity = checks.identity(series.plugin_content, "Its metadata")
  except RefusedError:
    return None
  return identity["activation"] if identity["step"] == series.max_step else None


def _listed(tag: str, identity: dict[str, Any], series: provider_lib.BlobSequenceTimeSeries) -> dict[str, Any]:
  variant = summaries.variant_name(identity["kappa"], identity["chi"], identity["isotropic"], identity["seed"])
  # Of a stimulus that was written again the activation is not known without reading it.
  activation = identity["activation"] if identity["step"] == series.max_step else None
  known = {name: value for name, value in identity.items() if name != "step"} | {"activation": activation}
  return known | {"variant": variant, "tag": tag, "v": _version(series)}
