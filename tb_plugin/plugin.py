"""The plugin's routes, under /data/plugin/tbvis/."""

from __future__ import annotations

from collections.abc import Callable
import hashlib
import json
import logging
import mimetypes
import pathlib
import threading
from typing import Any

from tensorboard import plugin_util
from tensorboard.backend import http_util
from tensorboard.plugins import base_plugin
from werkzeug import wrappers

from tb_plugin import store, strict_json
from tb_plugin.refusals import BadRequestError, MethodError, NotFoundError, RefusedError, TooLargeError, short
from tbvis import summaries

_STATIC = pathlib.Path(__file__).resolve().parent / "static"
_TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".webp": "image/webp", ".png": "image/png"}
_JSON = "application/json"
_BYTES = "application/octet-stream"
# Addresses of pictures carry the time of writing, so that a browser may keep what it has.
_KEEP_SECONDS = 3600
_LARGEST_ANSWER = 1 << 27
# Requests at work at one time: together they hold no more than so many of the largest records.
_AT_ONCE = 4
# Opened by itself an answer is no page: it may run, load and frame nothing; no page from elsewhere may embed it.
_HEADERS = [("Content-Security-Policy", "default-src 'none'; sandbox"), ("Cross-Origin-Resource-Policy", "same-origin")]

Answer = tuple[bytes, str, int]

_log = logging.getLogger(__name__)


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
    self._slots = threading.BoundedSemaphore(_AT_ONCE)

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
      "/measures": self._measures,
    }
    return {path: self._application(route) for path, route in routes.items()} | {"/static/*": self._serve_static}

  def _application(self, route: Callable[[wrappers.Request], Answer]) -> Callable[..., Any]:
    @wrappers.Request.application
    def serve(request: wrappers.Request) -> wrappers.Response:
      try:
        if request.method not in ("GET", "HEAD"):
          raise MethodError(f"Expected GET or HEAD, received {short(request.method)}.")
        with self._slots:
          content, kind, keep = route(request)
        if len(content) > _LARGEST_ANSWER:
          raise TooLargeError(f"Expected an answer of at most {_LARGEST_ANSWER:,} bytes, it has {len(content):,}.")
      except RefusedError as error:
        return self._fail(request, str(error), error.status)
      except Exception:
        # A mistake of ours or of TensorBoard's: its log has the traceback, the page a sentence.
        _log.exception("tbvis: request for %s failed", short(request.path))
        return self._fail(request, "The plugin failed at this request; TensorBoard's log says where.", 500)
      headers = [*_HEADERS, ("Content-Disposition", "attachment")] if kind == _BYTES else [*_HEADERS]
      if not keep:
        # What is asked for again and again is sent again only where it changed.
        tag = hashlib.blake2b(content, digest_size=16).hexdigest()
        headers += [("ETag", f'W/"{tag}"')]
        if request.if_none_match.contains_weak(tag):
          return wrappers.Response(status=304, headers=[*headers, ("Cache-Control", "no-cache, must-revalidate")])
      return http_util.Respond(request, content, kind, expires=keep, headers=headers)

    return serve

  def _fail(self, request: wrappers.Request, message: str, code: int) -> wrappers.Response:
    headers = [*_HEADERS, ("Allow", "GET, HEAD")] if code == MethodError.status else _HEADERS
    return http_util.Respond(request, json.dumps({"error": message}), _JSON, code=code, headers=headers)

  @wrappers.Request.application  # type: ignore[arg-type]  # Werkzeug's annotations know functions alone; its code takes methods too.
  def _serve_static(self, request: wrappers.Request) -> wrappers.Response:
    path = self._static.get("/static/" + request.path.partition("/static/")[2])
    if path is None:
      return self._fail(request, f"Expected a file of the page, received {short(request.path)}.", NotFoundError.status)
    kind = _TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or _BYTES
    return http_util.Respond(request, path.read_bytes(), kind)

  def _where(self, request: wrappers.Request) -> tuple[Any, str]:
    return plugin_util.context(request.environ), plugin_util.experiment_id(request.environ)

  def _run(self, request: wrappers.Request) -> tuple[Any, str, str]:
    return *self._where(request), _parameter(request, "run")

  def _contents(self, request: wrappers.Request) -> Answer:
    return self._store.contents(*self._where(request)), _JSON, 0

  def _cell(self, request: wrappers.Request) -> Answer:
    return self._store.cell(*self._run(request), _stimulus_tag(request)), _BYTES, _KEEP_SECONDS

  def _meta(self, request: wrappers.Request) -> Answer:
    return _json(self._store.meta(*self._run(request), _stimulus_tag(request)))

  def _media(self, request: wrappers.Request) -> Answer:
    return *self._store.media(*self._run(request), _stimulus_tag(request), _parameter(request, "name")), _KEEP_SECONDS

  def _confusions(self, request: wrappers.Request) -> Answer:
    return _json(self._store.confusions(*self._run(request)))

  def _clips(self, request: wrappers.Request) -> Answer:
    return _json(self._store.clips(*self._run(request), *(_parameter(request, name) for name in ("tower", "true", "predicted"))))

  def _clip(self, request: wrappers.Request) -> Answer:
    return *self._store.clip(*self._run(request), _parameter(request, "name")), _KEEP_SECONDS

  def _explanation(self, request: wrappers.Request) -> Answer:
    found = self._store.explanation(*self._run(request), *(_parameter(request, name) for name in ("tower", "true", "predicted")))
    return json.dumps(found).encode(), _JSON, 0

  def _statistics(self, request: wrappers.Request) -> Answer:
    return _json(self._store.statistics(*self._run(request)))

  def _measures(self, request: wrappers.Request) -> Answer:
    return strict_json.to_json(self._store.measures(*self._run(request)), "what was asked for"), _JSON, 0


def _json(content: dict[str, Any]) -> Answer:
  return strict_json.to_json(content, "what was asked for"), _JSON, _KEEP_SECONDS


def _parameter(request: wrappers.Request, name: str) -> str:
  value = request.args.get(name)
  if not value:
    raise BadRequestError(f"Expected parameter {name!r}, received none.")
  return value


def _stimulus_tag(request: wrappers.Request) -> str:
  tag = _parameter(request, "tag")
  if not tag.startswith(summaries.STIMULUS_PREFIX):
    raise BadRequestError(f"Expected a tag {summaries.STIMULUS_PREFIX}..., received {short(tag)}.")
  return tag
