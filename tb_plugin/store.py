"""Reads the plugin's data through TensorBoard's data provider (either loader), and media files beside the events."""

from __future__ import annotations

import json
import os
import pathlib
import re
import struct
from typing import Any

from tensorboard import context as context_lib
from tensorboard.data import provider as provider_lib

from tb_plugin import explanations
from tbvis import summaries

_EVERYTHING = 1_000_000
_FILE_NAME = re.compile(r"[A-Za-z0-9_.,=-]+\.(?:png|webp|npz|json)")
_IMAGE_PLUGIN, _SCALAR_PLUGIN = "images", "scalars"


class NotFoundError(LookupError):
  """What was asked for is not (or not yet) in the logdir; the message is shown in the tab."""


class Store:
  """The logdir as the tab sees it.

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

  def contents(self, ctx: context_lib.RequestContext, experiment: str) -> dict[str, Any]:
    """Returns every run of ours with its stimuli (in the network's order), and what else there is if there is none."""
    listed = self._provider.list_blob_sequences(ctx, experiment_id=experiment, plugin_name=summaries.PLUGIN_NAME)
    runs = [self._run(name, tags) for name, tags in sorted(listed.items())]
    contents = {"logdir": str(self._logdir or ""), "runs": runs, "seen": None}
    if not any(run["stimuli"] or run["confusions"] for run in runs):
      contents["seen"] = self._seen(ctx, experiment)
    return contents

  def _run(self, name: str, tags: dict[str, Any]) -> dict[str, Any]:
    stimuli = []
    for tag, series in tags.items():
      if tag.startswith(summaries.STIMULUS_PREFIX):
        identity = json.loads(series.plugin_content)
        variant = summaries.variant_name(identity["kappa"], identity["chi"], identity["isotropic"], identity["seed"])
        kept = {key: value for key, value in identity.items() if key not in ("kind", "version", "folder")}
        stimuli.append(kept | {"variant": variant, "tag": tag, "v": series.max_wall_time})
    stimuli.sort(key=lambda s: (s["layer_index"], s["channel"], s["unit"], s["isotropic"], s["kappa"], s["chi"], s["seed"]))
    versions = {tag: series.max_wall_time for tag, series in tags.items()}
    return {
      "name": name,
      "stimuli": stimuli,
      "confusions": versions.get(summaries.CONFUSIONS_TAG),
      "statistics": versions.get(summaries.STATISTICS_TAG),
    }

  def _seen(self, ctx: context_lib.RequestContext, experiment: str) -> dict[str, Any]:
    scalars = self._provider.list_scalars(ctx, experiment_id=experiment, plugin_name=_SCALAR_PLUGIN)
    images = self._provider.list_blob_sequences(ctx, experiment_id=experiment, plugin_name=_IMAGE_PLUGIN)
    runs = sorted({run.run_name for run in self._provider.list_runs(ctx, experiment_id=experiment)})
    tags = sorted({tag for listed in (scalars, images) for of_run in listed.values() for tag in of_run})
    exists = self._logdir is None or self._logdir.is_dir()
    return {"runs": runs[:50], "run_count": len(runs), "tags": tags[:50], "tag_count": len(tags), "logdir_exists": exists}

  def blobs(self, ctx: context_lib.RequestContext, experiment: str, run: str, tag: str) -> list[bytes]:
    """Returns the blobs of the tag's last event.

    Raises:
      NotFoundError: if the run has no such tag.
    """
    _, keys = self._last(ctx, experiment, run, tag)
    return [self._provider.read_blob(ctx, blob_key=key) for key in keys]

  def require(self, ctx: context_lib.RequestContext, experiment: str, run: str, tag: str) -> None:
    """Raises NotFoundError if the run has no such tag."""
    self._last(ctx, experiment, run, tag)

  def _last(self, ctx: context_lib.RequestContext, experiment: str, run: str, tag: str) -> tuple[float, list[str]]:
    read = self._provider.read_blob_sequences(
      ctx,
      experiment_id=experiment,
      plugin_name=summaries.PLUGIN_NAME,
      downsample=self._downsample,
      run_tag_filter=provider_lib.RunTagFilter(runs=[run], tags=[tag]),
    )
    data = read.get(run, {}).get(tag, [])
    if not data:
      raise NotFoundError(f"Expected tag {tag!r} in run {run!r}, found none (it may still be loading).")
    # Of a stimulus made again, the later counts.
    last = max(data, key=lambda datum: datum.step)
    return last.wall_time, [value.blob_key for value in last.values]

  def cell(self, ctx: context_lib.RequestContext, experiment: str, run: str, tag: str) -> bytes:
    """Returns all that a cell of the grid draws, in one piece.

    Layout: uint32 (little-endian) length of a JSON header; the header, {"meta": ..., "lengths": [appearance, flow]};
    the small appearance picture; the small flow planes (either may be empty).
    """
    *pictures, meta = self.blobs(ctx, experiment, run, tag)
    known = json.loads(meta)
    kept = {key: value for key, value in known.items() if key not in ("config", "history", "steps", "files")}
    kept["warnings"] = known["config"].get("warnings", [])
    header = json.dumps({"meta": kept, "lengths": [len(p) for p in pictures]}).encode()
    return struct.pack("<I", len(header)) + header + b"".join(pictures)

  def media(self, ctx: context_lib.RequestContext, experiment: str, run: str, tag: str, name: str) -> bytes:
    """Returns a full-size file of a stimulus.

    Raises:
      NotFoundError: if there is none, or no logdir to look in.
    """
    meta = json.loads(self.blobs(ctx, experiment, run, tag)[-1])
    return self._read(run, [*meta["folder"].split("/"), name])

  def clip(self, run: str, name: str) -> bytes:
    """Returns the small animation of a real clip.

    Raises:
      NotFoundError: if there is none, or no logdir to look in.
    """
    return self._read(run, [summaries.MEDIA_FOLDER, "clips", name])

  def explanation(self, run: str, name: str) -> bytes:
    """Returns the file of an explanation (see `tb_plugin.explanations`).

    Raises:
      NotFoundError: if there is none, or no logdir to look in.
    """
    return self._read(run, [summaries.MEDIA_FOLDER, explanations.FOLDER, name])

  def _read(self, run: str, parts: list[str]) -> bytes:
    name = parts[-1]
    missing = NotFoundError(f"Expected {'/'.join(parts)} beside the events of run {run!r}, found none.")
    if self._logdir is None or not _FILE_NAME.fullmatch(name):
      raise missing
    root = (self._logdir / run / summaries.MEDIA_FOLDER).resolve()
    path = (self._logdir / run).joinpath(*parts).resolve()
    # Both names come from a request or an event file: neither may lead out of the logdir, nor out of the run's media.
    if not root.is_relative_to(self._logdir.resolve()) or not path.is_relative_to(root) or not path.is_file():
      raise missing
    return path.read_bytes()
