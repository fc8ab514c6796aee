"""The place and form of an explanation's evidence."""

from __future__ import annotations

import json

import pytest

from tb_plugin import explanations
from tests.tb_plugin import synthetic
from tests.tb_plugin.test_routes import _client, _json

_PAIR = ("PlayingCello", "PlayingViolin", "fused")
_WHOLE = {
  "version": 1,
  "true": "PlayingCello",
  "predicted": "PlayingViolin",
  "tower": "fused",
  "summary": "A bow.",
  "evidence": [{"title": "Shared units", "values": [{"label": "f021", "value": 1, "unit": "a_hat"}], "units": ["conv5_fusion/f021"]}],
}


def test_what_is_left_out_is_empty_and_what_is_not_known_is_not_passed_on():
  found = explanations.parse(json.dumps(_WHOLE | {"more": 1}).encode(), *_PAIR)
  assert set(found) == {"summary", "evidence", "source"} and found["summary"] == "A bow." and found["source"] == ""
  assert found["evidence"] == [{**_WHOLE["evidence"][0], "text": ""}]


@pytest.mark.parametrize(
  ("data", "message"),
  [
    (b"{", "Expected JSON"),
    (b"\xff\xfe", "Expected JSON"),
    (b"[" * 100_000, "Expected JSON"),
    (b"[]", "version 1"),
    (_WHOLE | {"version": 2}, "version 1"),
    (_WHOLE | {"predicted": "PlayingTabla"}, "predicted to be 'PlayingViolin'"),
    (_WHOLE | {"tower": "motion"}, "tower to be 'fused'"),
    (_WHOLE | {"summary": ["no"]}, "summary to be text"),
    (_WHOLE | {"evidence": {}}, "evidence to be a list"),
    (_WHOLE | {"evidence": [{"text": "no title"}]}, "with a title"),
    (_WHOLE | {"evidence": [{"title": "t", "units": [3]}]}, "names of units"),
    (_WHOLE | {"evidence": [{"title": "t", "values": ["x"]}]}, "numbers"),
    (_WHOLE | {"evidence": [{"title": "t", "values": [{"value": float("nan")}]}]}, "numbers"),
    (_WHOLE | {"evidence": [{"title": "t", "values": [{"value": 10**400}]}]}, "numbers"),
    (_WHOLE | {"evidence": [{"title": "t", "values": [{"value": True}]}]}, "numbers"),
  ],
)
def test_files_of_another_form_are_named_not_shown(data, message):
  with pytest.raises(ValueError, match=message):
    explanations.parse(data if isinstance(data, bytes) else json.dumps(data).encode(), *_PAIR)


def test_the_route_finds_the_file_of_a_pair_and_answers_null_without_one(tmp_path):
  synthetic.write_evaluation(tmp_path, thumbnails=False)
  client = _client(tmp_path)
  asked = {"run": "evaluation", "true": "PlayingCello", "predicted": "PlayingViolin", "tower": "fused"}
  assert _json(client, "explanation", **asked) is None
  folder = tmp_path / "evaluation" / "tbvis" / explanations.FOLDER
  folder.mkdir(parents=True)
  path = folder / "0004_0006_fused.json"
  path.write_text(json.dumps(_WHOLE))
  assert _json(client, "explanation", **asked)["summary"] == "A bow."
  assert _json(client, "explanation", **asked | {"tower": "motion"}) is None
  path.write_text("{")
  assert _json(client, "explanation", **asked)["error"].startswith("0004_0006_fused.json: Expected JSON")
  assert "Expected two classes and a tower" in _json(client, "explanation", 400, **asked | {"true": "../x"})["error"]
  assert "found none" in _json(client, "explanation", 404, **asked | {"run": "other"})["error"]
