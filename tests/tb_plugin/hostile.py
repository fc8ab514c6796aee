"""A logdir as a stranger might write it: spoilt records and files among good ones, and ways out of the folder."""

from __future__ import annotations

from collections.abc import Iterator
import io
import json
import os
import pathlib
import pickle
import struct
import time
from typing import Any

import numpy as np
from tensorboard.compat.proto import event_pb2, summary_pb2, tensor_pb2, tensor_shape_pb2, types_pb2
from tensorboard.summary.writer.record_writer import RecordWriter

from tbvis import events, plans, summaries
from tbvis.rendering import animation
from tests.tb_plugin import synthetic

SECRET = b"SECRET-5f1c-outside-of-the-logdir"
GOOD, GOOD_TAG = "good", "tbvis/stimulus/conv5_fusion/f021/chi=10"
SPOILT = "spoilt"
_FLOAT, _STRING = types_pb2.DT_FLOAT, types_pb2.DT_STRING


def _append(folder: pathlib.Path, *protos: event_pb2.Event, tail: bytes = b"", spoil: bool = False) -> None:
  """Writes an event file of its own: TensorBoard goes on to the next where one is damaged."""
  folder.mkdir(parents=True, exist_ok=True)
  stream = io.BytesIO()
  writer = RecordWriter(stream)
  writer.write(event_pb2.Event(wall_time=1.0, file_version="brain.Event:2").SerializeToString())
  for proto in protos:
    writer.write(proto.SerializeToString())
  data = bytearray(stream.getvalue())
  if spoil:
    data[-40] ^= 0xFF
  (folder / f"events.out.tfevents.{len(list(folder.iterdir())):010d}.stranger").write_bytes(bytes(data) + tail)


def _event(tag: str, content: Any, blobs: list[bytes], wall_time: float | None = None, **tensor: Any) -> event_pb2.Event:
  metadata = summary_pb2.SummaryMetadata(
    plugin_data=summary_pb2.SummaryMetadata.PluginData(
      plugin_name="tbvis", content=content if isinstance(content, bytes) else json.dumps(content).encode()
    ),
    data_class=summary_pb2.DATA_CLASS_BLOB_SEQUENCE,
  )
  tensor = {"dtype": _STRING, "string_val": blobs, "dims": [len(blobs)], **tensor}
  shape = tensor_shape_pb2.TensorShapeProto(dim=[tensor_shape_pb2.TensorShapeProto.Dim(size=size) for size in tensor.pop("dims")])
  value = summary_pb2.Summary.Value(tag=tag, metadata=metadata, tensor=tensor_pb2.TensorProto(tensor_shape=shape, **tensor))
  moment = time.time() if wall_time is None else wall_time
  return event_pb2.Event(step=time.time_ns() // 1_000_000, wall_time=moment, summary=summary_pb2.Summary(value=[value]))


def _without(content: dict[str, Any], name: str) -> dict[str, Any]:
  return {key: value for key, value in content.items() if key != name}


_TEXTS = {
  "nothing": b"",
  "no JSON": b"<script>alert(1)</script>",
  "half": b'{"kind": "stimulus", "version": 1, "unit": "conv5',
  "a list": b"[]",
  "null": b"null",
  "nested": b"[" * 100_000,
  "utf-16": '{"kind": "stimulus"}'.encode("utf-16"),
  "no utf-8": b'{"kind": "\xff\xfe"}',
  "digits": b'{"version": ' + b"9" * 100_000 + b"}",
}


def _identities(good: dict[str, Any]) -> Iterator[tuple[str, Any]]:
  yield from _TEXTS.items()
  for name in ("unit", "layer", "layer_index", "kappa", "chi", "isotropic", "seed", "class_name", "version", "kind"):
    yield f"without {name}", _without(good, name)
  wrong = {
    "unit": [7, "", ["a"], "x" * 3000],
    "layer_index": ["7", None, 10**400, 1.5],
    "kappa": [float("nan"), float("inf"), "1", None, {}],
    "chi": [float("-inf"), [], True],
    "isotropic": ["false", 0],
    "seed": [0.5, "0"],
    "class_name": [["PlayingCello"], 3],
    "version": [2, 10**6, 0, "1", None],
    "kind": ["confusions", None, 1],
    "activation": ["12", float("inf"), [1], 10**400],
    "step": ["0", 0.5, {}],
  }
  for name, values in wrong.items():
    for value in values:
      yield f"{name} {str(value)[:20]!r}", good | {name: value}
  yield "chi 1e999", json.dumps(good | {"chi": 77}).replace("77", "1e999").encode()
  yield "much", good | {"more": "x" * 100_000}


def _metas(good: dict[str, Any]) -> Iterator[tuple[str, Any]]:
  yield from _TEXTS.items()
  for name in ("unit", "config", "history", "steps", "folder", "files", "motion", "error"):
    yield f"without {name}", _without(good, name)
  wrong = {
    "activation": ["12", float("nan"), []],
    "error": [5, ["no"]],
    "config": [None, [], "x", {"warnings": "x"}, {"warnings": [{}]}, {"flagfile": 3}, {"flagfile": "x" * 30_000}],
    "steps": [None, ["0"], [0]],
    "history": [None, [], {"activation": [1]}, {"activation": 3}, {"activation": ["x"] * 10}],
    "motion": [[], 1, {}, *(good["motion"] | {"frames": frames} for frames in (0, -1, 10**9, "10", None))],
    "appearance": [
      *("x", {"size": [10**9, 10**9], "small": [1, 1]}, {"size": None, "small": None}),
      *(good["appearance"] | {"frames": frames} for frames in (0, -1, 10**9, "3", None)),
      *(good["appearance"] | {"frames": 5, "limits": limits} for limits in (None, [1], ["0", "1"], [0, float("nan")], {"low": 0})),
    ],
    "files": [None, [], {"flow.webp": "many"}],
    "chunks": [0, -1, 1.5, "2", None, True, 10**9, 7],
    "inputs": [None, "motion", [], ["<b>"], ["motion", "appearance"], [["motion"]], {"appearance": 1}],
    "kept": [
      *([], 1, {}),
      *(good["kept"] | {"steps": steps} for steps in ([], [3, 0, 40], [0, 0, 40], [-1, 3, 40], [0, 3, 10**400], None, [0, 3])),
      *(good["kept"] | {"size": size} for size in ([0, 4], [10**9] * 2)),
      *(good["kept"] | {"frames": frames} for frames in (0, -1, 10**9)),
      *(good["kept"] | {"pictures": pictures} for pictures in (0, -1, 2, 10**9, "1", None, True)),
      *(good["kept"] | {"scales": scales} for scales in (None, [1.0, 1.0], ["1"] * 3, [float("nan")] * 3)),
      *(good["kept"] | {"limits": limits} for limits in (None, [[0, 1]], [[0]] * 3, [0, 1, 2])),
    ],
  }
  for name, values in wrong.items():
    for value in values:
      yield f"{name} {str(value)[:24]!r}", good | {name: value}
  yield "activation 1e999", json.dumps(good | {"activation": 77.5}).replace("77.5", "1e999").encode()
  yield "much", good | {"more": "x" * (5 << 20)}
  yield "deflated, much", events.packed_json(good | {"more": "x" * (200 << 20)})
  yield "deflated, half", events.packed_json(good)[:-20]
  yield "deflated, no JSON", events.packed_json(good)[:2] + b"<script>"


def _pictures(good: bytes) -> Iterator[tuple[str, bytes]]:
  yield "half", good[: len(good) // 2]
  yield "empty", b""
  yield "html", b"<html><script>alert(1)</script></html>"
  yield "png", animation.encode_png(np.zeros((4, 4, 3), np.uint8))
  yield "header alone", good[:12]
  yield "no size", b"RIFF" + struct.pack("<I", 4) + b"WEBP"
  side = 16383
  head = b"VP8L" + struct.pack("<I", 6) + b"\x2f" + struct.pack("<I", side | side << 14) + b"\0"
  yield "a giant", b"RIFF" + struct.pack("<I", 4 + len(head)) + b"WEBP" + head
  yield "much", good + b"\0" * (5 << 20)


FOLDERS = (
  "..", "../..", "../../..", "/", "/etc", "tbvis/../../..", "tbvis/stimuli/../../../..", "tbvis/stimuli/\0", "x" * 990, "tbvis\\..\\..",
  "%2e%2e/%2e%2e", "tbvis/stimuli/\ud800", "tbvis/state", "tbvis/stimuli/out", "tbvis/stimuli/circle", "~", "//", ".",
)  # fmt: skip


def _confusions(good: dict[str, Any]) -> Iterator[tuple[str, Any]]:
  yield from _TEXTS.items()
  for name in ("classes", "labels", "clips", "thumbnails", "towers", "matrices", "accuracies", "split"):
    yield f"without {name}", _without(good, name)
  size = len(good["classes"])
  wrong = {
    "classes": [None, list(range(size)), [], ["x"] * (size - 1)],
    "labels": [good["labels"][1:], ["0"] * len(good["labels"]), [-1] * len(good["labels"]), [size] * len(good["labels"])],
    "clips": [good["clips"][1:], [None] * len(good["clips"])],
    "thumbnails": [[], [1] * len(good["clips"])],
    "towers": [[], ["fused", "fused"], ["<b>"], "fused", good["towers"][1:] + ["__proto__"]],
    "matrices": [{}, {"fused": 1}, {tower: [[-1] * size] * size for tower in good["towers"]}, {t: [[1]] for t in good["towers"]}],
    "accuracies": [{}, {tower: "1" for tower in good["towers"]}],
    "meanings": [[], {"fused": 1}],
    "split": [1, ["a"]],
  }
  for name, values in wrong.items():
    for number, value in enumerate(values):
      yield f"{name} {number}", good | {name: value}


def statistics() -> dict[str, Any]:
  """What a run may say of units, by what is wrong with it."""
  clip = {"clip": "a", "value": 1.0, "frame": 3, "x": 1, "y": 2}
  shown = {"field": 8, "thumbnail": "a.webp", "frames": 10, "fired": 5, "size": [20, 10]}
  wrong = {
    "class": [1, ["a"]],
    "layer": [{}, ""],
    "field": [0, -1, "8", 10**9, [8]],
    "thumbnail": [None, 7, "x" * 3000],
    "frames": [0, 10**9, "10"],
    "fired": [-1, 0.5, None, 10**9],
    "size": [None, 20, [20], [0, 10], ["20", 10], [10**9, 10]],
    "x": ["1", None],
  }
  found: dict[str, Any] = {"list": [], "means": {"class_means": {"a": "1"}}, "clips": {"top_clips": [1]}, "a_hat": {"a_hat": "x"}}
  for name, values in wrong.items():
    for number, value in enumerate(values):
      found[f"{name} {number}"] = {"top_clips": [clip | shown | {name: value}]}
  for name in ("frames", "fired", "size"):
    found[f"without {name}"] = {"top_clips": [_without(clip | shown, name)]}
  for name in clip:
    found[f"without {name}"] = {"top_clips": [_without(clip, name)]}
  return found


def _with_secret(name: str) -> bytes:
  """A whole picture or npz that holds the secret: only its place can be a reason to refuse it."""
  pixels = np.zeros((4, 4, 3), np.uint8)
  if name.endswith(".png"):
    data = animation.encode_png(pixels)
    return data[:-12] + struct.pack(">I", len(SECRET)) + b"tEXt" + SECRET + b"\0\0\0\0" + data[-12:]
  if name.endswith(".webp"):
    data = animation.encode_webp(pixels, quality=80)
    chunk = b"SECR" + struct.pack("<I", len(SECRET)) + SECRET + b"\0" * (len(SECRET) % 2)
    return b"RIFF" + struct.pack("<I", len(data) - 8 + len(chunk)) + data[8:] + chunk
  stream = io.BytesIO()
  np.savez(stream, secret=np.frombuffer(SECRET, np.uint8))
  return stream.getvalue()


class _Touch:
  """Unpickled, it leaves a file: the sign that somebody did."""

  def __init__(self, path: pathlib.Path):
    self._path = path

  def __reduce__(self):
    return pathlib.Path.touch, (self._path,)


MEDIA = ("appearance.png", "flow.webp", "values.npz")


def write(root: pathlib.Path) -> dict[str, Any]:
  """Writes `root/logdir` and, outside of it, `root/outside` with the secret.

  Returns:
    {"stimuli": tags of the run SPOILT by what is wrong with each, "confusions": runs by what is wrong, "folders": tags by
    the folder they name, "files": tags by what is wrong with their files, "fine": tags that are served although odd,
    "pickled": the file that is there once somebody has unpickled}.
  """
  logdir, outside = root / "logdir", root / "outside"
  outside.mkdir(parents=True)
  for name in (*MEDIA, "a.webp"):
    for place in (".", "stimuli/x", "clips"):
      (outside / place).mkdir(parents=True, exist_ok=True)
      (outside / place / name).write_bytes(_with_secret(name))
  (outside / "secret.json").write_bytes(b'{"secret": "' + SECRET + b'"}')

  with summaries.StimulusWriter(logdir, GOOD) as writer:
    writer.write(synthetic.record(size=24))
    means = {"PlayingCello": 2.0}
    known = {"a_hat": 10.0, "class_means": means, "top_clips": []}
    writer.add_statistics({"conv5_fusion/f021": known} | {f"spoilt/{what}": entry for what, entry in statistics().items()})
  synthetic.write_evaluation(logdir, GOOD)
  found = {tag: (content, blobs) for tag, _, content, blobs in events.read_values(logdir / GOOD, "tbvis")}
  made = {
    "stimuli": _write_stimuli(logdir / SPOILT, *found[GOOD_TAG]),
    "confusions": _write_evaluations(logdir, *found[summaries.CONFUSIONS_TAG]),
    **_write_places(logdir / "places", outside, *found[GOOD_TAG]),
    "pickled": root / "pickled",
  }
  _write_ways_out(logdir, outside, found[summaries.CONFUSIONS_TAG])
  _write_broken_files(logdir, found[GOOD_TAG])
  return made


def _write_stimuli(folder: pathlib.Path, content: dict[str, Any], blobs: list[bytes]) -> dict[str, str]:
  appearance, flow, meta = blobs
  tags, protos = {}, []

  def add(what: str, content: Any = content, blobs: list[bytes] = blobs, **more: Any) -> None:
    tags[what] = f"{summaries.STIMULUS_PREFIX}spoilt/{len(tags):03d}"
    protos.append(_event(tags[what], content, blobs, **more))

  for what, spoilt in _identities(content):
    add(f"identity: {what}", spoilt)
  for what, spoilt in _metas(json.loads(events.unpacked_json(meta))):
    data = spoilt if isinstance(spoilt, bytes) else json.dumps(spoilt).encode()
    add(f"meta: {what}", blobs=[appearance, flow, data])
  for what, spoilt in _pictures(flow):
    add(f"picture: {what}", blobs=[appearance, spoilt, meta])
  add("no blobs", blobs=[])
  add("one blob", blobs=[meta])
  add("two blobs", blobs=[flow, meta])
  add("many blobs", blobs=[b""] * 100_000)
  add("rank 0", blobs=[meta], dims=[])
  add("rank 2", dims=[3, 1])
  add("numbers", blobs=[], dtype=_FLOAT, float_val=[1.0, 2.0, 3.0], dims=[3])
  add("one for three", blobs=[meta], dims=[3])
  add("no strings", blobs=[], dims=[3])
  add("a declared giant", blobs=[meta], dims=[1 << 40])
  add("declared giants", blobs=[meta], dims=[1 << 31, 1 << 31])
  add("a negative size", dims=[-3])
  add("unknown type", dtype=99)
  _append(folder, *protos, *_curves([tag.removeprefix(summaries.STIMULUS_PREFIX) for tag in tags.values()]))
  return tags


# Of the run SPOILT: the one curve that can be read, and the number of its stimulus, behind those whose curves are spoilt.
CURVE, CURVE_OF = 0.25, 7


def _curves(units: list[str]) -> Iterator[event_pb2.Event]:
  """Curves of activations of which none but the last can be read."""
  spoilt = (
    {"dtype": _FLOAT, "float_val": [float("nan")]},
    {"dtype": _FLOAT, "float_val": [float("inf")]},
    {"dtype": _FLOAT, "float_val": [1.0, 2.0], "dims": [2]},
    {"dtype": _FLOAT, "float_val": [], "dims": [0]},
    {"dtype": _FLOAT, "float_val": [1.0], "dims": [1 << 40]},
    {"dtype": _STRING, "string_val": [b"<script>"]},
    {"dtype": 99, "float_val": [1.0]},
  )
  for unit, tensor in zip(units, (*spoilt, {"dtype": _FLOAT, "float_val": [CURVE]}), strict=False):
    value = events.scalar_value(f"{unit}/activation", 0.0)
    shape = tensor_shape_pb2.TensorShapeProto(dim=[tensor_shape_pb2.TensorShapeProto.Dim(size=size) for size in tensor.pop("dims", [])])
    value.tensor.CopyFrom(tensor_pb2.TensorProto(tensor_shape=shape, **tensor))
    yield event_pb2.Event(step=1, wall_time=time.time(), summary=summary_pb2.Summary(value=[value]))


def _write_evaluations(logdir: pathlib.Path, content: dict[str, Any], blobs: list[bytes]) -> dict[str, str]:
  runs = {}
  good = json.loads(blobs[0])

  def add(what: str, content: Any = content, blobs: list[bytes] = blobs) -> None:
    runs[what] = f"evaluation{len(runs):03d}"
    _append(logdir / runs[what], _event(summaries.CONFUSIONS_TAG, content, blobs))

  for what, spoilt in _confusions(good):
    add(f"content: {what}", blobs=[spoilt if isinstance(spoilt, bytes) else json.dumps(spoilt).encode(), blobs[1]])
  add("scores: half", blobs=[blobs[0], blobs[1][: len(blobs[1]) // 2]])
  add("scores: none", blobs=[blobs[0], b""])
  add("scores: more", blobs=[blobs[0], blobs[1] * 2])
  add("scores: NaN", blobs=[blobs[0], np.full(len(blobs[1]) // 4, np.nan, "<f4").tobytes()])
  add("scores: infinite", blobs=[blobs[0], np.full(len(blobs[1]) // 4, np.inf, "<f4").tobytes()])
  add("one blob", blobs=blobs[:1])
  add("later version", {"kind": "confusions", "version": 9})
  add("other kind", {"kind": "stimulus", "version": 1})
  return runs


def _write_places(run: pathlib.Path, outside: pathlib.Path, content: dict[str, Any], blobs: list[bytes]) -> dict[str, Any]:
  """Stimuli that are fine but for where their files are said to lie, or what lies there."""
  good = json.loads(events.unpacked_json(blobs[2]))
  folders, spoilt, fine = {}, {}, {}

  def add(kept: dict[str, str], what: str, tag: str, wall_time: float | None = None, **changes: Any) -> None:
    kept[what] = f"{summaries.STIMULUS_PREFIX}{tag}"
    meta = json.dumps(good | {"files": {name: len(_with_secret(name)) for name in MEDIA}} | changes).encode()
    # Each in a file of its own: the fast loader leaves a file whose times are no numbers.
    _append(run, _event(kept[what], content, [*blobs[:2], meta], wall_time))

  for number, folder in enumerate(FOLDERS):
    add(folders, folder, f"folder/{number:03d}", folder=folder)
  stimuli = run / "tbvis" / "stimuli"
  makers = {
    "links": lambda path: path.symlink_to(outside / path.name),
    "relative links": lambda path: path.symlink_to(os.path.relpath(outside / path.name, path.parent)),
    "circles": lambda path: path.symlink_to(path.name),
    "pipes": os.mkfifo,
    "folders": lambda path: path.mkdir(),
    "half": lambda path: path.write_bytes(_with_secret(path.name)[:20]),
    "html": lambda path: path.write_bytes(b"<html><script>alert(1)</script>".ljust(len(_with_secret(path.name)))),
    "nothing": lambda path: path.write_bytes(b""),
    "locked": lambda path: (path.write_bytes(b"x"), path.chmod(0)),
  }
  for what, make in makers.items():
    place = stimuli / what.replace(" ", "_")
    place.mkdir(parents=True)
    for name in MEDIA:
      make(place / name)
    add(spoilt, what, f"files/{place.name}", folder=f"tbvis/stimuli/{place.name}")
  (stimuli / "out").symlink_to(outside)
  (stimuli / "circle").symlink_to("circle")
  state = run / "tbvis" / "state"
  state.mkdir()
  giant = stimuli / "giant"
  giant.mkdir()
  for name in MEDIA:
    (state / name).write_bytes(_with_secret(name))
    with open(giant / name, "wb") as stream:
      stream.truncate(1 << 31)
  add(spoilt, "giants", "files/giant", folder="tbvis/stimuli/giant", files=dict.fromkeys(MEDIA, 1 << 31))

  pickled = stimuli / "pickled"
  pickled.mkdir()
  stream = io.BytesIO()
  np.savez(stream, values=np.array([_Touch(run.parent.parent / "pickled")], object))
  assert b"touch" in pickle.dumps(_Touch(run)) and b"touch" in stream.getvalue()
  (pickled / "values.npz").write_bytes(stream.getvalue())
  add(fine, "pickled", "fine/pickled", folder="tbvis/stimuli/pickled", files={"values.npz": len(stream.getvalue())})
  for what, wall_time in (("no time", float("nan")), ("the end of time", float("inf")), ("time 0", 0.0), ("before time", -1e300)):
    add(fine, what, f"fine/{what}", wall_time)
  return {"folders": folders, "files": spoilt, "fine": fine}


def _write_ways_out(logdir: pathlib.Path, outside: pathlib.Path, evaluation: tuple[dict[str, Any], list[bytes]]) -> None:
  """Runs whose folder of media, or of clips, or a clip, is a link to the outside."""
  for run in ("linked_media", "linked_clips", "linked_clip"):
    _append(logdir / run, _event(summaries.CONFUSIONS_TAG, *evaluation))
  (logdir / "linked_media/tbvis").symlink_to(outside)
  (logdir / "linked_clips/tbvis").mkdir()
  (logdir / "linked_clips/tbvis/clips").symlink_to(outside)
  (logdir / "linked_clip/tbvis/clips").mkdir(parents=True)
  (logdir / "linked_clip/tbvis/clips/a.webp").symlink_to(outside / "a.webp")
  hidden = [[SECRET.decode(), "outside", 0, 0, None]]
  plans.write(outside, "0" * 16, hidden, [(1.0, 0.0, False)], seed=0, steps=1, finished=[])
  (logdir / "linked_clip/tbvis/sweeps").symlink_to(outside)
  (logdir / "linked_run").symlink_to(outside)
  (logdir / "linked_events").mkdir()
  (logdir / "linked_events/events.out.tfevents.1.x").symlink_to(outside / "secret.json")


def _write_broken_files(logdir: pathlib.Path, stimulus: tuple[dict[str, Any], list[bytes]]) -> None:
  """Event files cut short, spoilt, or no event files, in runs of their own."""
  event = _event("tbvis/stimulus/broken/f001", *stimulus)
  whole = event.SerializeToString()
  _append(logdir / "broken_half", event, tail=struct.pack("<QI", 1000, 0)[:7])
  _append(logdir / "broken_length", event, tail=struct.pack("<QI", 1 << 60, 0) + b"x" * 100)
  _append(logdir / "broken_spoilt", event, spoil=True)
  for name, data in (("empty", b""), ("noise", bytes(range(256)) * 40), ("bare", whole)):
    folder = logdir / f"broken_{name}"
    folder.mkdir()
    (folder / "events.out.tfevents.0000000001.stranger").write_bytes(data)
  other = _event("tbvis/other", *stimulus)
  long = _event("tbvis/stimulus/" + "<i>" * 5000, *stimulus)
  numbers = summary_pb2.Summary.Value(tag="loss", simple_value=float("nan"))
  _append(logdir / "broken_tags", other, long, event_pb2.Event(wall_time=2.0, summary=summary_pb2.Summary(value=[numbers])))
