"""Reads the plugin's data through TensorBoard's data provider (either loader), and media files beside the events.

Names, numbers and files in a logdir may be anybody's: whatever leaves this module was checked (see `tb_plugin.checks`), and
what is damaged is refused by name while the rest is served.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
import functools
import json
import logging
import os
import pathlib
import re
import stat
import struct
from typing import Any

from tensorboard import context as context_lib
from tensorboard.data import provider as provider_lib

from tb_plugin import checks, clips, explanations, listing, measures, pictures, strict_json, sweeps
from tb_plugin.refusals import BadRequestError, DamagedError, NotFoundError, RefusedError, TooLargeError, short
from tbvis import plans, summaries

_EVERYTHING = 1_000_000
_IMAGE_PLUGIN, _SCALAR_PLUGIN = "images", "scalars"
_LARGEST_SMALL = 4 << 20
_LARGEST_FILE = 128 << 20
# The fast loader refuses its own keys of blobs where JSON has to escape a character of the names.
_ESCAPED = re.compile(r'["\\\x00-\x1f]')

_log = logging.getLogger(__name__)


class Store:
  """The logdir as the tab sees it.

  Every method raises a `tb_plugin.refusals.RefusedError` for what is missing, damaged or too large.

  Args:
    provider: TensorBoard's data provider.
    logdir: the folder given to TensorBoard, where media files lie beside the events; None or "" where there is
      none (several logdirs, a remote one): the small pictures of the events are all there is then.
    downsample: points kept of a tag (`--samples_per_plugin`); None or 0 keep all.
  """

  def __init__(self, provider: provider_lib.DataProvider, logdir: str | None, downsample: int | None = None):
    self._provider = provider
    self._logdir = pathlib.Path(os.path.expanduser(logdir)) if logdir else None
    self._downsample = downsample or _EVERYTHING
    self._kept: listing.Kept | None = None

  def contents(self, ctx: context_lib.RequestContext, experiment: str) -> bytes:
    """Returns, as JSON, every run of ours with its stimuli (in the network's order), and what else there is if there is none.

    "planned" lists what a sweep has announced and not yet written, see `tb_plugin.sweeps`.
    "damaged" lists the first records that could not be read, each with run, tag and why; "damaged_count" counts all.
    """
    listed = self._provider.list_blob_sequences(ctx, experiment_id=experiment, plugin_name=summaries.PLUGIN_NAME)
    kept, state = self._kept, listing.state(experiment, listed)
    if kept is None or kept.state != state:
      damaged = listing.Damaged()
      runs = [listing.run_of(name, tags, damaged) for name, tags in sorted(listed.items())]
      kept = self._kept = listing.Kept(experiment, state, runs, damaged)
    # Plans lie beside the events and change without them.
    damaged = kept.damaged.copy()
    planned = [self._planned(run, damaged) for run in kept.runs]
    shown = any(planned) or any(run.stimuli or run.known["confusions"] for run in kept.runs)
    contents: dict[str, Any] = {"logdir": str(self._logdir or ""), "seen": None if shown else self._seen(ctx, experiment)}
    contents |= {"damaged": damaged.named, "damaged_count": damaged.count}
    texts = [listing.joined({**run.known, "planned": rows}, "stimuli", run.stimuli) for run, rows in zip(kept.runs, planned, strict=True)]
    return listing.joined(contents, "runs", texts)

  def _planned(self, run: listing.Run, damaged: listing.Damaged) -> list[dict[str, Any]]:
    """Returns what a run's sweeps are still going to find, see `sweeps.planned`."""
    name = run.known["name"]
    return sweeps.planned(self._sweeps(name), _file, map(json.loads, run.stimuli), damaged.take, functools.partial(damaged.add, name))

  def _sweeps(self, run: str) -> pathlib.Path | None:
    """Returns the folder of a run's plans; None where it would lie outside of the logdir."""
    if self._logdir is None:
      return None
    try:
      logdir = self._logdir.resolve()
      folder = logdir.joinpath(run, summaries.MEDIA_FOLDER, plans.FOLDER).resolve()
    except (OSError, ValueError, RuntimeError):
      return None
    return folder if folder.is_relative_to(logdir) else None

  def _seen(self, ctx: context_lib.RequestContext, experiment: str) -> dict[str, Any]:
    scalars = self._provider.list_scalars(ctx, experiment_id=experiment, plugin_name=_SCALAR_PLUGIN)
    images = self._provider.list_blob_sequences(ctx, experiment_id=experiment, plugin_name=_IMAGE_PLUGIN)
    runs = sorted({run.run_name for run in self._provider.list_runs(ctx, experiment_id=experiment)})
    tags = sorted({tag for listed in (scalars, images) for of_run in listed.values() for tag in of_run})
    exists = self._logdir is None or self._logdir.is_dir()
    return {
      "runs": [run[: listing.LONGEST_TAG] for run in runs[: listing.NAMED]],
      "run_count": len(runs),
      "tags": [tag[: listing.LONGEST_TAG] for tag in tags[: listing.NAMED]],
      "tag_count": len(tags),
      "logdir_exists": exists,
    }

  def _keys(self, ctx: context_lib.RequestContext, experiment: str, run: str, tag: str) -> list[str]:
    """Returns the provider's keys of the blobs of a tag's last event."""
    kind = listing.kind_of(tag)
    kept = self._kept
    near = kept.near(experiment, run, tag) if kept else []
    missing = NotFoundError(f"Expected tag {short(tag)} in run {short(run)}, found none (it may still be loading).")
    if not near:
      chosen = self._chosen(experiment, run, [tag])
      series = self._provider.list_blob_sequences(ctx, **chosen).get(run, {}).get(tag)
      if series is None:
        raise missing
      # Before anything is read: an event may declare more blobs than fit into memory, and the slow loader would name each.
      listing.check(series, kind, f"Tag {short(tag)}")
    elif kept and (run, tag) in kept.keys:
      return kept.keys[run, tag]
    # To find one of 70,000 tags takes the fast loader as long as to find fifty: it looks at each.
    found = self._provider.read_blob_sequences(ctx, downsample=self._downsample, **self._chosen(experiment, run, near or [tag]))
    # Of a stimulus made again, the later counts.
    last = {name: max(data, key=lambda datum: datum.step).values for name, data in found.get(run, {}).items() if data}
    if kept and near:
      whole = {name: values for name, values in last.items() if len(values) == listing.PARTS[kind]}
      kept.keys.update({(run, name): [value.blob_key for value in values] for name, values in whole.items()})
    if tag not in last:
      raise missing
    if len(last[tag]) != listing.PARTS[kind]:
      raise DamagedError(f"Tag {short(tag)}: expected {listing.PARTS[kind]} blobs, found {len(last[tag])}.")
    return [value.blob_key for value in last[tag]]

  def _chosen(self, experiment: str, run: str, tags: Sequence[str]) -> dict[str, Any]:
    return {
      "experiment_id": experiment,
      "plugin_name": summaries.PLUGIN_NAME,
      "run_tag_filter": provider_lib.RunTagFilter(runs=[run], tags=tags),
    }

  def _blobs(self, ctx: context_lib.RequestContext, experiment: str, run: str, tag: str) -> Callable[[int], bytes]:
    """Returns a function that reads one blob of the tag's last event, by index."""
    keys = self._keys(ctx, experiment, run, tag)

    def read(index: int) -> bytes:
      try:
        blob = self._provider.read_blob(ctx, blob_key=keys[index])
      except Exception as error:  # The loader's own failure on a tensor of another shape or type, of whatever kind.
        _log.warning("tbvis: tag %s of run %s could not be read: %r", short(tag), short(run), error)
        blob = None
      if not isinstance(blob, bytes):
        hint = "; its fast loader cannot read names with quotes or backslashes: start it with --load_fast=false"
        odd = hint if _ESCAPED.search(run + tag) else ""
        raise DamagedError(f"Tag {short(tag)}: expected blobs, found what TensorBoard cannot read as such{odd}.")
      return blob

    return read

  def meta(self, ctx: context_lib.RequestContext, experiment: str, run: str, tag: str) -> dict[str, Any]:
    """Returns everything known of a stimulus but its pictures."""
    return checks.meta(self._blobs(ctx, experiment, run, tag)(2), f"Tag {short(tag)}")

  def cell(self, ctx: context_lib.RequestContext, experiment: str, run: str, tag: str) -> bytes:
    """Returns all that a cell of the grid draws, in one piece.

    Layout: uint32 (little-endian) length of a JSON header; the header, {"meta": ..., "lengths": [appearance, flow]};
    the small appearance picture; the small flow planes (either may be empty).
    """
    read = self._blobs(ctx, experiment, run, tag)
    what = f"Tag {short(tag)}"
    known = checks.meta(read(2), what)
    small = [_small(read(index), name, known[name], what) for index, name in enumerate(("appearance", "motion"))]
    kept = {key: value for key, value in known.items() if key not in ("config", "history", "steps", "files")}
    kept["warnings"] = known["config"].get("warnings", [])
    header = strict_json.to_json({"meta": kept, "lengths": [len(picture) for picture in small]}, what)
    return struct.pack("<I", len(header)) + header + b"".join(small)

  def media(self, ctx: context_lib.RequestContext, experiment: str, run: str, tag: str, name: str) -> tuple[bytes, str]:
    """Returns a full-size file of a stimulus and its type."""
    meta = self.meta(ctx, experiment, run, tag)
    data, kind = self._read(run, "stimuli", meta["folder"], name)
    if len(data) != meta["files"].get(name):
      raise DamagedError(f"Expected {short(name)} as it was written with {short(tag)}, found another (it may be made again).")
    return data, kind

  def confusions(self, ctx: context_lib.RequestContext, experiment: str, run: str) -> dict[str, Any]:
    """Returns classes, clips and matrices of an evaluation."""
    return self._evaluation(self._blobs(ctx, experiment, run, summaries.CONFUSIONS_TAG), run)

  def clips(self, ctx: context_lib.RequestContext, experiment: str, run: str, tower: str, true: str, predicted: str) -> dict[str, Any]:
    """Returns the clips behind a cell of the matrix, see `clips.clips_of_pair`."""
    read = self._blobs(ctx, experiment, run, summaries.CONFUSIONS_TAG)
    content = self._evaluation(read, run)
    scores = checks.scores(read(1), content, f"Confusions of run {short(run)}")
    return clips.clips_of_pair(content, scores, tower, true, predicted)

  def _evaluation(self, read: Callable[[int], bytes], run: str) -> dict[str, Any]:
    return checks.confusions(read(0), f"Confusions of run {short(run)}")

  def explanation(
    self, ctx: context_lib.RequestContext, experiment: str, run: str, tower: str, true: str, predicted: str
  ) -> dict[str, Any] | None:
    """Returns the explanation of a cell of the matrix (see `tb_plugin.explanations`), {"error": why} of a spoilt one, None without one."""
    known = self.confusions(ctx, experiment, run)
    if tower not in known["towers"] or not {true, predicted} <= {*known["classes"]}:
      received = ", ".join(map(short, (true, predicted, tower)))
      raise BadRequestError(f"Expected two classes and a tower of the confusions, received {received}.")
    name = explanations.file_name(known["classes"].index(true), known["classes"].index(predicted), tower)
    try:
      data = self._bytes(run, explanations.FOLDER, f"{summaries.MEDIA_FOLDER}/{explanations.FOLDER}", name)
      if len(data) > checks.LARGEST_META:
        raise TooLargeError(f"Expected at most {checks.LARGEST_META:,} bytes, found {len(data):,}.")
      return explanations.parse(data, true, predicted, tower)
    except NotFoundError:
      return None
    except (ValueError, TooLargeError) as error:
      return {"error": f"{name}: {error}"}

  def clip(self, ctx: context_lib.RequestContext, experiment: str, run: str, name: str) -> tuple[bytes, str]:
    """Returns the small animation of a real clip and its type."""
    # The run must be one that TensorBoard shows, and one that has clips: those behind confusions, or those that excite units.
    try:
      self._blobs(ctx, experiment, run, summaries.CONFUSIONS_TAG)
    except NotFoundError:
      self._blobs(ctx, experiment, run, summaries.STATISTICS_TAG)
    return self._read(run, "clips", f"{summaries.MEDIA_FOLDER}/clips", name)

  def statistics(self, ctx: context_lib.RequestContext, experiment: str, run: str) -> dict[str, Any]:
    """Returns what is known of units from real clips, by unit."""
    read = self._blobs(ctx, experiment, run, summaries.STATISTICS_TAG)
    return checks.statistics(read(0), f"Statistics of run {short(run)}")

  def measures(self, ctx: context_lib.RequestContext, experiment: str, run: str) -> dict[str, Any]:
    """Returns what the units of a run can be ordered by.

    Returns:
      {"activations": by stimulus' tag, its activation at the last step that was logged, "units": by unit, see
      `measures.of_units` (empty without statistics), "error": why there are no units, or None}. What is not known is left out.
    """
    listed = self._provider.list_blob_sequences(
      ctx, experiment_id=experiment, plugin_name=summaries.PLUGIN_NAME, run_tag_filter=provider_lib.RunTagFilter(runs=[run])
    ).get(run)
    if listed is None:
      raise NotFoundError(f"Expected run {short(run)}, found none (it may still be loading).")
    # An older logdir, or a stimulus that was written again: their curves tell, where there are any.
    activations, curves = {}, {}
    for tag, series in listed.items():
      if tag.startswith(summaries.STIMULUS_PREFIX) and len(tag) <= listing.LONGEST_TAG:
        activations[tag] = listing.told_activation(series)
        if activations[tag] is None:
          curves[f"{tag.removeprefix(summaries.STIMULUS_PREFIX)}/activation"] = tag

    def read(tags: Sequence[str]) -> dict[str, float]:
      chosen = provider_lib.RunTagFilter(runs=[run], tags=tags)
      found = self._provider.read_last_scalars(ctx, experiment_id=experiment, plugin_name=_SCALAR_PLUGIN, run_tag_filter=chosen)
      return {tag: float(datum.value) for tag, datum in found.get(run, {}).items()}

    activations |= {curves[curve]: value for curve, value in measures.last_values(read, list(curves)).items()}
    known = {tag: value for tag, value in activations.items() if value is not None}
    answer: dict[str, Any] = {"activations": known, "units": {}, "error": None}
    if summaries.STATISTICS_TAG in listed:
      try:
        answer["units"] = measures.of_units(self.statistics(ctx, experiment, run))
      except RefusedError as error:
        answer["error"] = str(error)
    return answer

  def _read(self, run: str, room: str, folder: str, name: str) -> tuple[bytes, str]:
    """Returns a picture or the values beside the events, and its type."""
    if not checks.FILE_NAME.fullmatch(name):
      raise self._missing(run, folder, name)
    data = self._bytes(run, room, folder, name)
    return data, pictures.checked_type(data, name, f"Run {short(run)}")

  def _missing(self, run: str, folder: str, name: str) -> NotFoundError:
    return NotFoundError(f"Expected {short(f'{folder}/{name}')} beside the events of run {short(run)}, found none.")

  def _bytes(self, run: str, room: str, folder: str, name: str) -> bytes:
    missing = self._missing(run, folder, name)
    if self._logdir is None:
      raise missing
    try:
      logdir = self._logdir.resolve()
      root = (logdir / run / summaries.MEDIA_FOLDER / room).resolve()
      path = (logdir / run).joinpath(*folder.split("/"), name).resolve()
      # All three names come from a request or an event file: none may lead out of the logdir, nor out of the run's media.
      if not root.is_relative_to(logdir) or not path.is_relative_to(root):
        raise missing
      data = _file(path)
    except (OSError, ValueError, RuntimeError):  # No such file, a NUL, a name too long, links in a circle, no permission.
      raise missing from None
    if data is None:
      raise TooLargeError(f"Expected {short(name)} of at most {_LARGEST_FILE:,} bytes beside the events of run {short(run)}, found more.")
    return data


def _small(data: bytes, name: str, described: Mapping[str, Any] | None, what: str) -> bytes:
  if len(data) > _LARGEST_SMALL:
    raise TooLargeError(f"{what}: expected at most {_LARGEST_SMALL:,} bytes of small {name}, found {len(data):,}.")
  if bool(data) != bool(described):
    raise DamagedError(f"{what}: expected {'a' if described else 'no'} small {name}, found {len(data):,} bytes.")
  if data:
    pictures.checked_type(data, f"small {name}.webp", what)
  return data


def _file(path: pathlib.Path) -> bytes | None:
  """Returns an ordinary file's bytes; None if it is too large. A pipe or a link in its place raises OSError."""
  flags = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
  with open(path, "rb", opener=lambda name, given: os.open(name, given | flags)) as stream:
    found = os.fstat(stream.fileno())
    if not stat.S_ISREG(found.st_mode):
      raise OSError("no ordinary file")
    data = stream.read(_LARGEST_FILE + 1) if found.st_size <= _LARGEST_FILE else b""
  return data if found.st_size <= _LARGEST_FILE >= len(data) else None
