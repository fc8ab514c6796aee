"""The plugin's routes, without a browser and without a running TensorBoard."""

from __future__ import annotations

import dataclasses
import json
import struct

import numpy as np
import pytest
from tensorboard.backend import application
from tensorboard.backend.event_processing import data_provider as multiplexer_provider
from tensorboard.backend.event_processing import plugin_event_multiplexer
from tensorboard.plugins import base_plugin
from werkzeug import test as werkzeug_test
from werkzeug import wrappers

from tb_plugin import checks, loader, measures, plugin, refusals, store
from tbvis import summaries
from tbvis.rendering import animation
from tests.tb_plugin import synthetic

ROOT = "/data/plugin/tbvis/"
TAG = "tbvis/stimulus/conv5_fusion/f021/chi=10"


def _client(logdir, /, **context) -> werkzeug_test.Client:
  multiplexer = plugin_event_multiplexer.EventMultiplexer(tensor_size_guidance={"tbvis": 10, "images": 10, "scalars": 100})

  def reload():
    multiplexer.AddRunsFromDirectory(str(logdir))
    multiplexer.Reload()

  reload()
  provider = multiplexer_provider.MultiplexerDataProvider(multiplexer, str(logdir))
  context = {"data_provider": provider, "logdir": str(logdir), **context}
  made = loader.Loader().load(base_plugin.TBContext(**context))
  client = werkzeug_test.Client(application.TensorBoardWSGI([made], data_provider=provider), wrappers.Response)
  client.reload = reload
  return client


@pytest.fixture(scope="module")
def logdir(tmp_path_factory):
  return synthetic.write_logdir(tmp_path_factory.mktemp("routes") / "logdir", size=40)


@pytest.fixture(scope="module")
def client(logdir):
  return _client(logdir)


def _get(client, route, code=200, **parameters):
  response = client.get(ROOT + route, query_string=parameters)
  assert response.status_code == code, response.get_data(as_text=True)
  return response


def _json(client, route, code=200, **parameters):
  return json.loads(_get(client, route, code, **parameters).get_data())


def test_the_tab_is_listed_with_its_module(client):
  listed = client.get("/data/plugins_listing").get_json()["tbvis"]
  assert listed["enabled"] and listed["tab_name"] == "tbvis"
  assert listed["loading_mechanism"] == {"type": "IFRAME", "module_path": "/data/plugin/tbvis/static/index.js"}


def test_contents_list_stimuli_in_the_networks_order_and_chi_as_numbers(client):
  contents = _json(client, "contents")
  runs = {run["name"]: run for run in contents["runs"]}
  assert set(runs) == {"evaluation", "stimuli"} and contents["seen"] is None
  assert runs["evaluation"]["confusions"] and not runs["evaluation"]["stimuli"] and runs["stimuli"]["confusions"] is None
  stimuli = runs["stimuli"]["stimuli"]
  assert len(stimuli) == len(synthetic.UNITS) * len(synthetic.CHIS)
  assert list(dict.fromkeys(s["layer"] for s in stimuli)) == ["conv3_3_appearance", "conv4_3_motion", "conv5_fusion", "prediction"]
  variants = [s["variant"] for s in stimuli if s["unit"] == "conv5_fusion/f021"]
  assert variants == ["chi=0", "chi=1", "chi=5", "chi=10", "isotropic=5"]


def test_the_list_is_sent_again_only_where_it_changed(tmp_path):
  client = _client(tmp_path)
  tags = []
  for chi in (0, 1, 1):
    with summaries.StimulusWriter(tmp_path, "stimuli") as writer:
      writer.write(synthetic.record(chi=chi, size=32))
    client.reload()
    changed = client.get(f"{ROOT}contents", headers={"If-None-Match": tags[-1] if tags else '"none"'})
    assert changed.status_code == 200 and len(changed.get_json()["runs"][0]["stimuli"]) == 1 + min(1, len(tags))
    tags.append(changed.headers["ETag"])
    again = client.get(f"{ROOT}contents", headers={"If-None-Match": tags[-1]})
    assert again.status_code == 304 and not again.get_data() and again.headers["ETag"] == tags[-1]
    assert again.headers["Content-Security-Policy"] == changed.headers["Content-Security-Policy"]
  # Written again, it has the same name and a later time.
  assert len(set(tags)) == 3


def test_a_cell_carries_both_pictures_and_what_is_written_below_them(client):
  data = _get(client, "cell", run="stimuli", tag=TAG).get_data()
  (length,) = struct.unpack("<I", data[:4])
  header = json.loads(data[4 : 4 + length])
  first, second = header["lengths"]
  assert len(data) == 4 + length + first + second
  assert animation.decode(data[4 + length : 4 + length + first]).shape == (1, 40, 40, 3)
  assert animation.decode(data[4 + length + first :]).shape == (1, 400, 40, 3)
  assert header["meta"]["motion"]["frames"] == 10 and header["meta"]["a_hat"] == 10
  assert "history" not in header["meta"] and "config" not in header["meta"]


def test_a_unit_of_one_tower_has_one_picture(client):
  data = _get(client, "cell", run="stimuli", tag="tbvis/stimulus/conv4_3_motion/f036/chi=0").get_data()
  header = json.loads(data[4 : 4 + struct.unpack("<I", data[:4])[0]])
  assert header["lengths"][0] == 0 < header["lengths"][1] and header["meta"]["appearance"] is None


def test_meta_has_curves_and_settings(client):
  meta = _json(client, "meta", run="stimuli", tag=TAG)
  assert len(meta["history"]["activation"]) == len(meta["steps"]) == 10 and meta["config"]["nested"] == {"jitter": [4, 8]}


def test_full_size_files_come_from_beside_the_events(client, logdir):
  folder = logdir / "stimuli/tbvis/stimuli/conv5_fusion/f021/chi=10"
  for name, kind in (("appearance.png", "image/png"), ("flow.webp", "image/webp"), ("values.npz", "application/octet-stream")):
    response = _get(client, "media", run="stimuli", tag=TAG, name=name)
    assert response.get_data() == (folder / name).read_bytes() and response.mimetype == kind
    assert "max-age=3600" in response.headers["Cache-Control"]


@pytest.mark.parametrize(
  "name",
  ["../chi=0/appearance.png", "../../../../../secret.png", "/etc/passwd", "..", ".", "stimulus.json/", "none.png", "%2e%2e/secret.png"],
)
def test_media_names_cannot_leave_their_folder(client, logdir, name):
  (logdir / "secret.png").write_bytes(b"secret")
  assert "secret" not in _get(client, "media", 404, run="stimuli", tag=TAG, name=name).get_data(as_text=True).replace(name, "")


@pytest.mark.parametrize("run", ["../logdir/stimuli", "..", "/etc", "stimuli/../stimuli", "none"])
def test_runs_that_tensorboard_does_not_show_are_refused(client, run):
  assert "found none" in _json(client, "media", 404, run=run, tag=TAG, name="appearance.png")["error"]
  assert "found none" in _json(client, "clip", 404, run=run, name="a.webp")["error"]


def test_a_link_out_of_the_media_folder_is_not_followed(client, logdir, tmp_path):
  secret = tmp_path / "secret.webp"
  secret.write_bytes(b"secret")
  (logdir / "evaluation/tbvis/clips/link.webp").symlink_to(secret)
  _get(client, "clip", 404, run="evaluation", name="link.webp")
  (logdir / "evaluation/tbvis/clips/link.webp").unlink()


def test_static_files_are_those_of_the_folder_and_no_others(client):
  assert _get(client, "static/index.js").mimetype == "text/javascript"
  assert _get(client, "static/base.css").mimetype == "text/css"
  for path in ("../plugin.py", "%2e%2e/plugin.py", "..%2fplugin.py", "none.js", "", "index.js/.."):
    assert client.get(f"{ROOT}static/{path}").status_code == 404, path
  script_policy = client.get("/data/plugin_entry.html?name=tbvis").headers["Content-Security-Policy"]
  assert "script-src 'self'" in script_policy


def test_no_page_file_loads_anything_from_elsewhere():
  for name, path in plugin._static_files().items():
    text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
    assert "http://" not in text and "https://" not in text and "//cdn" not in text, name
    assert "innerHTML" not in text and "eval(" not in text, name


def test_confusions_and_the_clips_behind_a_cell(client):
  confusions = _json(client, "confusions", run="evaluation")
  assert confusions["towers"] == ["appearance", "hybrid", "motion", "fused"] and confusions["split"] == synthetic.SPLIT
  found = _json(client, "clips", run="evaluation", tower="fused", true="PlayingCello", predicted="PlayingViolin")
  assert found["counts"] == {"confused": 3, "true": 7, "predicted": 10}
  sureness = [row["towers"]["fused"]["predicted"] for row in found["confused"]]
  assert sureness == sorted(sureness, reverse=True) and all(
    p > row["towers"]["fused"]["true"] for p, row in zip(sureness, found["confused"], strict=True)
  )
  assert all(row["clip"].startswith("v_PlayingCello") and row["towers"]["fused"]["best"] == "PlayingViolin" for row in found["confused"])
  reverse = _json(client, "clips", run="evaluation", tower="fused", true="PlayingViolin", predicted="PlayingCello")
  assert reverse["counts"] == {"confused": 0, "true": 10, "predicted": 7}
  alone = _json(client, "clips", run="evaluation", tower="fused", true="PlayingCello", predicted="PlayingCello")
  assert alone["counts"] == {"confused": 0, "true": 7, "predicted": 0}
  thumbnail = _get(client, "clip", run="evaluation", name=found["confused"][0]["thumbnail"])
  assert thumbnail.mimetype == "image/webp" and animation.decode(thumbnail.get_data()).shape == (8, 72, 192, 3)


def test_two_networks_have_no_hybrid_and_say_what_they_are(tmp_path):
  scores = {"appearance": [[2.0, 0.0], [1.0, 0.0]], "motion": [[0.0, 1.0], [0.0, 1.0]], "fused": [[1.0, 0.5], [0.5, 0.6]]}
  told = {"classes": ("a", "b"), "labels": [0, 1], "clips": ("x", "y"), "meanings": {"fused": "weighted mean"}}
  summaries.write_confusions(tmp_path, "two", scores={tower: np.array(values) for tower, values in scores.items()}, **told)
  client = _client(tmp_path)
  confusions = _json(client, "confusions", run="two")
  assert confusions["towers"] == ["appearance", "motion", "fused"] and confusions["meanings"] == {"fused": "weighted mean"}
  found = _json(client, "clips", run="two", tower="appearance", true="b", predicted="a")
  assert found["counts"] == {"confused": 1, "true": 0, "predicted": 1} and set(found["confused"][0]["towers"]) == set(scores)


def test_the_matrix_agrees_with_the_lists_of_clips(client):
  confusions = _json(client, "confusions", run="evaluation")
  for tower in confusions["towers"]:
    for row, true in enumerate(confusions["classes"]):
      for column, predicted in enumerate(confusions["classes"]):
        if row != column and confusions["matrices"][tower][row][column]:
          found = _json(client, "clips", run="evaluation", tower=tower, true=true, predicted=predicted)
          assert found["counts"]["confused"] == confusions["matrices"][tower][row][column]
          assert found["counts"]["true"] == confusions["matrices"][tower][row][row]


def test_statistics_of_units(client):
  known = _json(client, "statistics", run="stimuli")["conv5_fusion/f021"]
  means = list(known["class_means"].values())
  others = (sum(means) - 8) / (len(means) - 1)
  assert max(means) == 8 and known["selectivity"] == pytest.approx((8 - others) / (8 + others))


def test_a_run_of_stimuli_serves_the_animations_that_its_statistics_name(tmp_path):
  picture = synthetic.clip_animation(1)
  with summaries.StimulusWriter(tmp_path, "stimuli") as writer:
    writer.add_statistics({"conv1/f001": {"a_hat": 1.0}}, {"top_a.webp": picture})
  assert _get(_client(tmp_path), "clip", run="stimuli", name="top_a.webp").get_data() == picture
  assert "found none" in _json(_client(tmp_path), "clip", 404, run="stimuli", name="top_b.webp")["error"]


def test_measures_of_units(client):
  found = _json(client, "measures", run="stimuli")
  assert found["activations"][TAG] == pytest.approx(12 * (1 - np.exp(-3)), abs=1e-5) and found["error"] is None
  (unit,) = found["units"].values()
  # Means 1 + i / 8, but 8 for the cello, the fifth.
  others = np.mean([1 + i / 8 for i in range(8) if i != 4])
  assert unit == {"a_hat": 10, "class": "PlayingCello", "selectivity": pytest.approx((8 - others) / (8 + others))}
  assert _json(client, "measures", run="evaluation") == {"activations": {}, "units": {}, "error": None}
  assert "found none" in _json(client, "measures", 404, run="none")["error"]


def test_measures_are_read_in_parts_and_without_what_is_spoilt():
  asked = []

  def read(tags):
    asked.append(len(tags))
    if spoilt & {*tags}:
      raise ValueError("no scalar")
    return {tag: float("nan") if tag == "t7" else 1.0 for tag in tags}

  tags, spoilt = [f"t{i}" for i in range(2 * measures.BATCH + 5)], {"t3", "t9000"}
  found = measures.last_values(read, tags)
  assert set(tags) - set(found) == {"t3", "t9000", "t7"} and max(asked) == measures.BATCH and len(asked) < 70
  spoilt = {*tags}
  with pytest.raises(refusals.DamagedError, match="cannot read"):
    measures.last_values(read, tags)


@pytest.mark.parametrize(
  ("route", "parameters", "message"),
  [
    ("cell", {"tag": TAG}, "Expected parameter 'run'"),
    ("cell", {"run": "stimuli", "tag": "tbvis/confusions"}, "Expected a tag tbvis/stimulus/"),
    ("clips", {"run": "evaluation", "tower": "none", "true": "a", "predicted": "b"}, "Expected a tower of appearance, hybrid"),
  ],
)
def test_bad_requests_are_named(client, route, parameters, message):
  assert message in _json(client, route, 400, **parameters)["error"]


def test_what_is_too_large_is_refused_and_the_rest_is_served(client, monkeypatch):
  monkeypatch.setattr(store, "_LARGEST_LIST", 2000)
  monkeypatch.setattr(store, "_state", lambda *_: object())  # Nothing that was listed before.
  contents = _json(client, "contents")
  listed = sum(len(run["stimuli"]) for run in contents["runs"])
  # Two tags more are those of statistics and confusions.
  assert 0 < listed < 10 and contents["damaged_count"] >= len(synthetic.UNITS) * len(synthetic.CHIS) - listed
  assert all("names in one logdir" in record["why"] for record in contents["damaged"])
  monkeypatch.setattr(checks, "LARGEST_META", 100)
  assert "at most 100 bytes" in _json(client, "meta", 413, run="stimuli", tag=TAG)["error"]
  monkeypatch.setattr(store, "_LARGEST_FILE", 100)
  name = _json(client, "confusions", run="evaluation")["thumbnails"][0]
  assert "at most 100 bytes" in _json(client, "clip", 413, run="evaluation", name=name)["error"]
  monkeypatch.setattr(plugin, "_LARGEST_ANSWER", 100)
  assert "at most 100 bytes" in _json(client, "confusions", 413, run="evaluation")["error"]
  assert _json(client, "statistics", 413, run="stimuli")["error"]


def test_a_mistake_of_ours_is_a_sentence_and_its_traceback_stays_in_the_log(client, monkeypatch, caplog):
  def fails(*_):
    raise RuntimeError("<script>secret</script>")

  monkeypatch.setattr(store.Store, "meta", fails)
  assert "log says where" in (error := _json(client, "meta", 500, run="stimuli", tag=TAG)["error"]) and "secret" not in error
  assert "RuntimeError" in caplog.text


def test_answers_are_no_pages(client):
  for route in ("contents", "confusions?run=evaluation", f"cell?run=stimuli&tag={TAG}", "confusions?run=none", "static/none"):
    headers = client.get(ROOT + route).headers
    assert headers["X-Content-Type-Options"] == "nosniff" and "html" not in headers["Content-Type"]
    assert headers["Content-Security-Policy"] == "default-src 'none'; sandbox"
  assert client.post(f"{ROOT}contents").status_code == 405


def test_a_missing_tag_is_named(client):
  assert "may still be loading" in _json(client, "cell", 404, run="stimuli", tag="tbvis/stimulus/none/f001/chi=1")["error"]


def test_an_empty_logdir_says_what_was_looked_for_and_what_there_is(tmp_path):
  from tbvis import events

  seen = _json(_client(tmp_path), "contents")["seen"]
  assert seen == {"runs": [], "run_count": 0, "tags": [], "tag_count": 0, "logdir_exists": True}
  other = events.EventFile(tmp_path / "training")
  other.add([(0, [events.scalar_value("loss", 1.0)])])
  other.close()
  seen = _json(_client(tmp_path), "contents")["seen"]
  assert seen["runs"] == ["training"] and seen["tags"] == ["loss"]


@pytest.mark.parametrize("hints", [None, {}, {"tbvis": 0}, {"tbvis": 3}])
def test_any_sampling_hint_shows_the_last_of_each(logdir, hints):
  assert _get(_client(logdir, sampling_hints=hints), "cell", run="stimuli", tag=TAG).get_data()


def test_without_a_logdir_small_pictures_are_there_and_files_are_not(logdir):
  client = _client(logdir, logdir="")
  assert _get(client, "cell", run="stimuli", tag=TAG).get_data()
  assert "found none" in _json(client, "media", 404, run="stimuli", tag=TAG, name="appearance.png")["error"]


def test_a_stimulus_made_again_shows_the_later_one(tmp_path):
  from tbvis import summaries

  for activation in (5.0, 7.0):
    with summaries.StimulusWriter(tmp_path, "stimuli") as writer:
      writer.write(dataclasses.replace(synthetic.record(size=32), activation=activation))
    client = _client(tmp_path)
    ((stimulus,),) = (run["stimuli"] for run in _json(client, "contents")["runs"])
    # What TensorBoard lists is told of the first; the later's is read.
    assert stimulus["activation"] == (5 if activation == 5 else None)
    assert _json(client, "meta", run="stimuli", tag=TAG)["activation"] == activation


def test_blobs_of_stimuli_listed_together_are_looked_for_once(tmp_path, monkeypatch):
  provider = multiplexer_provider.MultiplexerDataProvider
  looked, read = [], provider.read_blob_sequences

  def counted(self, *args, **keywords):
    looked.append(keywords["run_tag_filter"].tags)
    return read(self, *args, **keywords)

  monkeypatch.setattr(provider, "read_blob_sequences", counted)
  with summaries.StimulusWriter(tmp_path, "stimuli") as writer:
    for chi in range(3):
      writer.write(synthetic.record(chi=chi, size=32))
  client = _client(tmp_path)
  alone = [_get(client, "cell", run="stimuli", tag=f"{TAG[:-2]}{chi}").get_data() for chi in range(3)]
  assert len(looked) == 3
  _json(client, "contents")
  assert [_get(client, "cell", run="stimuli", tag=f"{TAG[:-2]}{chi}").get_data() for chi in range(3)] == alone
  assert len(looked) == 4 and len(looked[-1]) == 3
  # What is written again is looked for again, once the list has it.
  with summaries.StimulusWriter(tmp_path, "stimuli") as writer:
    writer.write(dataclasses.replace(synthetic.record(chi=1, size=32), activation=7.0))
  client.reload()
  _json(client, "contents")
  assert _json(client, "meta", run="stimuli", tag=f"{TAG[:-2]}1")["activation"] == 7 and len(looked) == 5
