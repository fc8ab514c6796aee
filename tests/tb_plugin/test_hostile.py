"""Hostile requests to a real TensorBoard on a hostile logdir: all are refused by name, and everything else is still served."""

from __future__ import annotations

import dataclasses
import http.client
import json
import socket
import time
import urllib.parse

import pytest

from tests.tb_plugin import hostile, hostile_sweeps, serving

pytestmark = pytest.mark.slow

ROOT = "/data/plugin/tbvis/"
REFUSED = {400, 404, 405, 413, 422}
TYPES = {"application/json", "application/octet-stream", "image/png", "image/webp", "text/javascript", "text/css"}
_LARGEST_REFUSAL = 5000
# Stimuli of that run, less the two whose times are no numbers.
_PLACES = 31

# Spellings of a way out, as a name of a file.
NAMES = (
  "../secret.json", "../../outside/a.webp", "../../../outside/a.webp", "../../../../../../../../../../etc/passwd", "/etc/passwd",
  "/etc/passwd\0.png", "a.webp\0", "\0", "a\0.webp", "..", ".", "...", "....//....//outside/a.webp", "..\\..\\outside\\a.webp",
  "\\\\host\\share\\a.webp", "C:\\a.webp", "c:a.webp", "file:///etc/passwd", "http://localhost/a.webp", "~/a.webp", "$HOME/a.webp",
  "%2e%2e/a.webp", "%252e%252e%252fa.webp", "..%2f..%2fa.webp", "..%c0%afa.webp", "．．/a.webp", "‥/a.webp", "a.webp/", "a.webp/.",
  "a.webp ", " a.webp", "a.webp.", "a.webp\n", "a.webp\r\nX-Evil: 1", "a.WEBP", "a.svg", "a.html", "a.js", "a.json", "stimulus.json", "a",
  ".webp", "*.webp", "a.webp;b", "a.webp?x", "a.webp#x", "x" * 300 + ".webp", "x" * 5000, "é.webp", "\u202ea.webp", "\ufeffa.webp",
  "<script>alert(1)</script>.webp", "'\"><img src=x onerror=alert(1)>.webp", "{{7*7}}.webp", "${7*7}.webp", "`id`.webp", "|id.webp",
)  # fmt: skip
RUNS = (
  "..", "../outside", "../logdir/good", "/", "/etc", ".", "./good", "good/", "good/.", "good/../good", "good\0", "GOOD", "good ",
  "linked_run", "%2e%2e", "..%2foutside", "x" * 5000, "<script>alert(1)</script>", "good\r\nX-Evil: 1", "*", "linked_media/tbvis",
  "\ud7ff", "__proto__",
)  # fmt: skip
TAGS = (
  "tbvis/stimulus/", "tbvis/stimulus/../..", "tbvis/stimulus/conv5_fusion/f021/chi=10/../chi=10", "tbvis/stimulus/\0",
  "tbvis/stimulus/" + "x" * 9000, "tbvis/stimulus/<script>alert(1)</script>", "tbvis/confusions", "loss", "/etc/passwd",
  "tbvis/stimulus/%2e%2e", "tbvis/stimulus/conv5_fusion/f021/chi=10\n",
)  # fmt: skip
# Raw paths below the plugin's own, and spellings that try to leave it.
PATHS = (
  "static/../plugin.py", "static/..%2fplugin.py", "static/%2e%2e/plugin.py", "static/%2e%2e%2fplugin.py", "static/%252e%252e/plugin.py",
  "static/..%5cplugin.py", "static/..\\plugin.py", "static//etc/passwd", "static/%2fetc%2fpasswd", "static/index.js%00",
  "static/index.js%00.css", "static/index.js/..", "static/./index.js", "static/", "static", "static/.", "static/x/../index.js",
  "static/INDEX.JS", "static/" + "a/" * 5000, "static/%ff%fe", "static/index.js%0d%0aX-Evil:1", "static/static/index.js",
  "static/" + "%2e%2e%2f" * 50 + "etc/passwd", "static/x/static/../../plugin.py",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Reply:
  status: int
  headers: http.client.HTTPMessage
  body: bytes

  @property
  def kind(self) -> str:
    return self.headers.get_content_type()


class Server:
  """Sends requests as they are, and looks at every answer."""

  def __init__(self, address: str):
    self._place = urllib.parse.urlsplit(address)
    self.sent = 0

  def raw(self, path: str, method: str = "GET") -> Reply:
    with socket.create_connection((self._place.hostname, self._place.port), timeout=60) as connection:
      connection.sendall(f"{method} {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
      response = http.client.HTTPResponse(connection, method=method)
      response.begin()
      reply = Reply(response.status, response.headers, response.read())
    self.sent += 1
    assert hostile.SECRET not in reply.body, path
    assert b"Traceback" not in reply.body and b"X-Evil" not in str(reply.headers).encode(), path
    assert reply.headers["X-Content-Type-Options"] == "nosniff", path
    return reply

  def get(self, route: str, method: str = "GET", **parameters: str) -> Reply:
    return self.ours(f"{ROOT}{route}?{urllib.parse.urlencode(parameters)}", method)

  def ours(self, path: str, method: str = "GET") -> Reply:
    """A reply of the plugin itself: of a type that no browser takes for a page."""
    reply = self.raw(path, method)
    assert reply.kind in TYPES, (path, reply.kind)
    if "/static/" not in path or reply.status != 200:
      assert reply.headers["Content-Security-Policy"] == "default-src 'none'; sandbox", path
      assert reply.headers["Cross-Origin-Resource-Policy"] == "same-origin", path
    return reply

  def refused(self, route: str, status: set[int] = REFUSED, method: str = "GET", **parameters: str) -> str:
    return _message(self.get(route, method, **parameters), f"{route} {parameters}"[:300], status)


def _message(reply: Reply, what: str, status: set[int] = REFUSED) -> str:
  """The sentence of a refusal."""
  assert reply.status in status, (what, reply.status, reply.body[:300])
  assert reply.kind == "application/json" and len(reply.body) < _LARGEST_REFUSAL, what
  (message,) = json.loads(reply.body).values()
  assert message.startswith(("Expected", "Tag", "Run", "Confusions", "Statistics")), message
  return message


def _strict(data: bytes):
  def refuse(name):
    raise AssertionError(f"{name} is no JSON for a browser")

  return json.loads(data, parse_constant=refuse)


def _loaded(server: Server) -> dict:
  deadline = time.monotonic() + 60
  while True:
    contents = _strict(server.get("contents").body)
    runs = {run["name"]: run for run in contents["runs"]}
    complete = {hostile.GOOD, "places", "broken_half", "linked_clip"} <= set(runs) and contents["damaged_count"] > 40
    if complete and runs[hostile.GOOD]["statistics"] and len(runs["places"]["stimuli"]) >= _PLACES:
      return contents
    assert time.monotonic() < deadline, (sorted(runs), contents["damaged_count"])
    time.sleep(0.3)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
  root = tmp_path_factory.mktemp("hostile")
  made = hostile.write(root)
  hostile_sweeps.write(root / "logdir" / hostile.GOOD / "tbvis/sweeps", root / "outside")
  return root / "logdir", made


@pytest.fixture(scope="module", params=["auto", "false"])
def served(made, tmp_path_factory, request):
  """(server, what was written, the first list) on each loader; in the end everything good is still served."""
  folder = tmp_path_factory.mktemp("log")
  with serving.tensorboard(made[0], folder, f"--load_fast={request.param}") as address:
    server = Server(address)
    contents = _loaded(server)
    _good_is_served(server)
    yield server, made[1], contents
    _good_is_served(server)
    assert not made[1]["pickled"].exists(), "something was unpickled"
    log = (folder / "log.txt").read_text()
    assert "tbvis: request for" not in log, log


def _good_is_served(server: Server) -> None:
  run, tag = hostile.GOOD, hostile.GOOD_TAG
  kinds = {
    server.get("contents"): "application/json",
    server.get("cell", run=run, tag=tag): "application/octet-stream",
    server.get("meta", run=run, tag=tag): "application/json",
    server.get("media", run=run, tag=tag, name="appearance.png"): "image/png",
    server.get("media", run=run, tag=tag, name="flow.webp"): "image/webp",
    server.get("media", run=run, tag=tag, name="values.npz"): "application/octet-stream",
    server.get("confusions", run=run): "application/json",
    server.get("clips", run=run, tower="fused", true="PlayingCello", predicted="PlayingViolin"): "application/json",
    server.get("statistics", run=run): "application/json",
    server.get("measures", run=run): "application/json",
    server.ours(f"{ROOT}static/index.js"): "text/javascript",
    server.ours(f"{ROOT}static/base.css"): "text/css",
  }
  for reply, kind in kinds.items():
    assert (reply.status, reply.kind) == (200, kind), reply
  thumbnail = json.loads(server.get("confusions", run=run).body)["thumbnails"][0]
  assert server.get("clip", run=run, name=thumbnail).kind == "image/webp"


def test_the_list_is_json_for_a_browser_and_names_what_is_damaged(served):
  _, made, contents = served
  (places,) = (run for run in contents["runs"] if run["name"] == "places")
  listed = {stimulus["tag"]: stimulus["v"] for stimulus in places["stimuli"]}
  assert set(listed) >= {made["fine"][what] for what in ("pickled", "time 0", "before time")}
  # The fast loader leaves out events whose times are no numbers; the slow one passes them on.
  assert all(listed.values()), "a spoilt time is no time of writing"
  whys = {record["tag"]: record["why"] for record in contents["damaged"]}
  assert len(contents["damaged"]) <= 50 < contents["damaged_count"] and all(why.strip() for why in whys.values())
  spoilt = {tag for what, tag in made["stimuli"].items() if what.startswith("identity")}
  assert not spoilt & {stimulus["tag"] for run in contents["runs"] for stimulus in run["stimuli"]}


def test_every_spoilt_stimulus_is_refused_by_name(served):
  server, made, _ = served
  for what, tag in made["stimuli"].items():
    if what == "a negative size":  # The fast loader counts the blobs itself, and they are good.
      assert server.get("cell", run=hostile.SPOILT, tag=tag).status in {200, 422}
      continue
    assert tag in server.refused("cell", run=hostile.SPOILT, tag=tag), what
    # The slow loader takes one string for three, which makes three times its JSON: good JSON, and no picture.
    if not what.startswith("picture") and what != "one for three":
      server.refused("meta", run=hostile.SPOILT, tag=tag)
      server.refused("media", run=hostile.SPOILT, tag=tag, name="flow.webp")
  later = server.refused("cell", {422}, run=hostile.SPOILT, tag=made["stimuli"]["identity: version '2'"])
  assert "a later tbvis wrote it" in later


def test_curves_that_are_none_are_left_out(served):
  server, made, _ = served
  reply = server.get("measures", run=hostile.SPOILT)
  assert reply.status == 200
  assert _strict(reply.body)["activations"] == {list(made["stimuli"].values())[hostile.CURVE_OF]: hostile.CURVE}


def test_every_spoilt_evaluation_is_refused_and_the_others_are_shown(served):
  server, made, _ = served
  asked = {"tower": "fused", "true": "PlayingCello", "predicted": "PlayingViolin"}
  for what, run in made["confusions"].items():
    assert server.refused("clips", {413, 422}, run=run, **asked), what
    if not what.startswith("scores"):
      server.refused("confusions", {413, 422}, run=run)
  for tower, true, predicted in (("none", "Billiards", "Billiards"), ("fused", "<b>", "Billiards"), ("fused", "x" * 9000, "\0")):
    server.refused("clips", {400}, run=hostile.GOOD, tower=tower, true=true, predicted=predicted)


def test_every_spoilt_entry_of_the_statistics_is_named_and_the_others_are_shown(served):
  server, _, _ = served
  found = json.loads(server.get("statistics", run=hostile.GOOD).body)
  assert found["conv5_fusion/f021"]["class_means"] == {"PlayingCello": 2.0} and found["conv5_fusion/f021"]["selectivity"] is None
  for what in hostile.statistics():
    assert "expected" in found[f"spoilt/{what}"]["error"], what


def test_no_name_of_a_file_leads_out_of_the_run(served):
  server, _, _ = served
  for name in NAMES:
    server.refused("media", {404}, run=hostile.GOOD, tag=hostile.GOOD_TAG, name=name)
    server.refused("clip", {404}, run=hostile.GOOD, name=name)
  for run in ("linked_media", "linked_clips", "linked_clip"):
    server.refused("clip", {404}, run=run, name="a.webp")
    server.refused("clip", {404}, run=run, name="appearance.png")


def test_no_stored_folder_and_no_file_in_it_leads_out(served):
  server, made, _ = served
  for tag in made["folders"].values():
    for name in (*hostile.MEDIA, "a.webp", "secret.json", "passwd"):
      server.refused("media", {404}, run="places", tag=tag, name=name)
  for what, tag in made["files"].items():
    for name in hostile.MEDIA:
      server.refused("media", {"giants": {413}}.get(what, {404, 422}), run="places", tag=tag, name=name)
    assert server.get("cell", run="places", tag=tag).status == 200, "its small pictures are in the events"
  for what, tag in made["fine"].items():
    known = {200, 404} if what in ("no time", "the end of time") else {200}
    assert server.get("cell", run="places", tag=tag).status in known, what


def test_an_npz_is_handed_over_unread(served):
  server, made, _ = served
  reply = server.get("media", run="places", tag=made["fine"]["pickled"], name="values.npz")
  assert reply.status == 200 and reply.headers["Content-Disposition"] == "attachment"


def test_no_run_or_tag_that_tensorboard_does_not_show(served):
  server, _, _ = served
  for run in RUNS:
    server.refused("cell", {404}, run=run, tag=hostile.GOOD_TAG)
    server.refused("media", {404}, run=run, tag=hostile.GOOD_TAG, name="flow.webp")
    for route in ("confusions", "statistics", "measures"):
      server.refused(route, {404}, run=run)
    server.refused("clip", {404}, run=run, name="a.webp")
  for tag in TAGS:
    for route in ("cell", "meta"):
      server.refused(route, {400, 404}, run=hostile.GOOD, tag=tag)


def test_no_path_leaves_the_pages_own_files(served):
  server, _, _ = served
  for path in PATHS:
    reply = server.raw(ROOT + path)
    assert reply.status in (400, 404) and reply.kind in ("application/json", "text/plain"), (path, reply)
  for path in ("/etc/passwd", "//etc/passwd", "/data/plugin/tbvis/../../../../etc/passwd", "/data/plugin/..%2f..%2fetc/passwd"):
    assert server.raw(path).status in (400, 404), path


def test_methods_and_parameters_that_make_no_sense(served):
  server, _, _ = served
  routes = ("contents", "cell", "meta", "media", "confusions", "clips", "clip", "statistics", "measures")
  for route in routes:
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"):
      server.refused(route, {405}, method, run=hostile.GOOD, tag=hostile.GOOD_TAG)
  for route in routes[1:]:
    server.refused(route, {400})
    server.refused(route, {400}, run="")
    if route not in ("confusions", "statistics", "measures"):  # These want no more than a run.
      server.refused(route, {400, 404}, run=hostile.GOOD, **{"tag[]": "x", "__proto__": "x"})
    for query in ("run", "run=%", "run=%zz&tag=%ff", "&&&===", "run=good&run=..", "run=" + "%00" * 5000):
      path = f"{ROOT}{route}?{query}"
      reply = server.ours(path)
      # What asks for nothing but a run is answered where the first of two is a good one.
      assert reply.status in REFUSED or (reply.status == 200 and query == "run=good&run=.."), (path[:200], reply)


def test_at_least_two_hundred_requests_were_made(served):
  server, _, _ = served
  assert server.sent > 200, server.sent
