"""The plugin's routes, under /data/plugin/tbvis/."""

from __future__ import annotations

from collections.abc import Callable
import json
import mimetypes
import pathlib
from typing import Any

from tensorboard import plugin_util
from tensorboard.backend import http_util
from tensorboard.plugins import base_plugin
from werkzeug import wrappers

from tb_plugin import clips, explanations, store
from tbvis import summaries

_STATIC = pathlib.Path(__file__).resolve().parent / "static"
_TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".webp": "image/webp", ".png": "image/png"}
# Addresses of pictures carry the time of writing, so that a browser may keep what it has.
_KEEP_SECONDS = 3600

Answer = tuple[bytes, str, int]


class BadRequestError(ValueError):
  """A parameter is missing or makes no sense."""


def _static_files() -> dict[str, pathlib.Path]:
  # A list made from the folder: no path of a request ever reaches the file system.
  return {f"/static/{path.relative_to(_STATIC).as_posix()}": path for path in _STATIC.rglob("*") if path.is_file()}


class Plugin(base_plugin.TBPlugin):
  """Serves the static page, the list of stimuli, pictures, and clips behind confusions."""

  plugin_name = summaries.PLUGIN_NAME

  def __init__(self, context: base_plugin.TBContext):
    hints = context.sampling_hints or {}
    self._store = store.Store(context.data_provider, context.logdir, hints.get(self.plugin_name))
    self._static = _static_files()

  def is_active(self) -> bool:
    """False: TensorBoard asks only where it has seen none of our data."""
    return False

  def frontend_metadata(self) -> base_plugin.FrontendMetadata:
    """Says where the page's entry is, and what the tab is called."""
    return base_plugin.FrontendMetadata(es_module_path="/static/index.js", tab_name="tbvis")

  def get_plugin_apps(self) -> dict[str, Callable[..., Any]]:
    """Returns the routes."""
    routes = {
      "/contents": self._contents,
      "/cell": self._cell,
      "/meta": self._meta,
      "/media": self._media,
      "/confusions": self._confusions,
      "/clips": self._clips,
      "/clip": self._clip,
      "/explanation": self._explanation,
      "/statistics": self._statistics,
    }
    return {path: self._application(route) for path, route in routes.items()} | {"/static/*": self._serve_static}

  def _application(self, route: Callable[[wrappers.Request], Answer]) -> Callable[..., Any]:
    @wrappers.Request.application
    def serve(request: wrappers.Request) -> wrappers.Response:
      try:
        content, kind, keep = route(request)
        return http_util.Respond(request, content, kind, expires=keep)
      except store.NotFoundError as error:
        return self._fail(request, str(error), 404)
      except BadRequestError as error:
        return self._fail(request, str(error), 400)

    return serve

  def _fail(self, request: wrappers.Request, message: str, code: int) -> wrappers.Response:
    return http_util.Respond(request, json.dumps({"error": message}), "application/json", code=code)

  @wrappers.Request.application
  def _serve_static(self, request: wrappers.Request) -> wrappers.Response:
    path = self._static.get("/static/" + request.path.partition("/static/")[2])
    if path is None:
      return self._fail(request, f"Expected a file of the page, received {request.path!r}.", 404)
    kind = _TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return http_util.Respond(request, path.read_bytes(), kind)

  def _where(self, request: wrappers.Request) -> tuple[Any, str]:
    return plugin_util.context(request.environ), plugin_util.experiment_id(request.environ)

  def _blobs(self, request: wrappers.Request, tag: str) -> list[bytes]:
    return self._store.blobs(*self._where(request), _parameter(request, "run"), tag)

  def _contents(self, request: wrappers.Request) -> Answer:
    return json.dumps(self._store.contents(*self._where(request))).encode(), "application/json", 0

  def _cell(self, request: wrappers.Request) -> Answer:
    content = self._store.cell(*self._where(request), _parameter(request, "run"), _stimulus_tag(request))
    return content, "application/octet-stream", _KEEP_SECONDS

  def _meta(self, request: wrappers.Request) -> Answer:
    return self._blobs(request, _stimulus_tag(request))[-1], "application/json", _KEEP_SECONDS

  def _media(self, request: wrappers.Request) -> Answer:
    name = _parameter(request, "name")
    data = self._store.media(*self._where(request), _parameter(request, "run"), _stimulus_tag(request), name)
    return data, _TYPES.get(pathlib.PurePath(name).suffix, "application/octet-stream"), _KEEP_SECONDS

  def _confusions(self, request: wrappers.Request) -> Answer:
    return self._blobs(request, summaries.CONFUSIONS_TAG)[0], "application/json", _KEEP_SECONDS

  def _clips(self, request: wrappers.Request) -> Answer:
    names = [_parameter(request, name) for name in ("tower", "true", "predicted")]
    try:
      found = clips.clips_of_pair(self._blobs(request, summaries.CONFUSIONS_TAG), *names)
    except KeyError as error:
      raise BadRequestError(error.args[0]) from error
    return json.dumps(found).encode(), "application/json", _KEEP_SECONDS

  def _clip(self, request: wrappers.Request) -> Answer:
    name = _parameter(request, "name")
    # The run must be one that TensorBoard shows; the file's place is checked by the store.
    run = _parameter(request, "run")
    self._store.require(*self._where(request), run, summaries.CONFUSIONS_TAG)
    return self._store.clip(run, name), "image/webp", _KEEP_SECONDS

  def _explanation(self, request: wrappers.Request) -> Answer:
    run, *names = (_parameter(request, name) for name in ("run", "true", "predicted", "tower"))
    known = json.loads(self._blobs(request, summaries.CONFUSIONS_TAG)[0])
    if names[2] not in known["towers"] or not {*names[:2]} <= {*known["classes"]}:
      raise BadRequestError(f"Expected two classes and a tower of the confusions, received {', '.join(map(repr, names))}.")
    name = explanations.file_name(*(known["classes"].index(of) for of in names[:2]), names[2])
    try:
      found = explanations.parse(self._store.explanation(run, name), *names)
    except store.NotFoundError:
      found = None
    except ValueError as error:
      found = {"error": f"{name}: {error}"}
    return json.dumps(found).encode(), "application/json", 0

  def _statistics(self, request: wrappers.Request) -> Answer:
    return self._blobs(request, summaries.STATISTICS_TAG)[0], "application/json", _KEEP_SECONDS


def _parameter(request: wrappers.Request, name: str) -> str:
  value = request.args.get(name)
  if not value:
    raise BadRequestError(f"Expected parameter {name!r}, received none.")
  return value


def _stimulus_tag(request: wrappers.Request) -> str:
  tag = _parameter(request, "tag")
  if not tag.startswith(summaries.STIMULUS_PREFIX):
    raise BadRequestError(f"Expected a tag {summaries.STIMULUS_PREFIX}..., received {tag!r}.")
  return tag
