"""The plugin in a real TensorBoard, under both of its loaders, found through the entry point."""

from __future__ import annotations

import json
import math
import shutil
import time
import urllib.error
import urllib.parse

import pytest

from tests.tb_plugin import serving, synthetic

_STIMULI = len(synthetic.UNITS) * len(synthetic.CHIS)


@pytest.fixture(scope="module")
def logdir(tmp_path_factory):
  return synthetic.write_logdir(tmp_path_factory.mktemp("served") / "logdir", size=32)


def _loaded(address, expected=_STIMULI):
  """Contents once all stimuli are there: the loaders bring them little by little."""
  deadline = time.monotonic() + 30
  while True:
    contents = json.loads(serving.fetch(f"{address}/data/plugin/tbvis/contents"))
    count = sum(len(run["stimuli"]) for run in contents["runs"])
    if count == expected and any(run["statistics"] for run in contents["runs"]):
      return contents
    assert time.monotonic() < deadline, f"{count} of {expected} stimuli after 30 s"
    time.sleep(0.2)


@pytest.mark.slow
@pytest.mark.parametrize("fast", ["true", "false"])
def test_both_loaders_serve_everything(logdir, tmp_path, fast):
  with serving.tensorboard(logdir, tmp_path, f"--load_fast={fast}") as address:
    contents = _loaded(address)
    # Nowhere in the process: TensorBoard says so itself.
    assert "TensorFlow installation not found" in (tmp_path / "log.txt").read_text()
    listed = json.loads(serving.fetch(f"{address}/data/plugins_listing"))
    assert listed["tbvis"]["enabled"] and listed["images"]["enabled"] and listed["scalars"]["enabled"]

    def get(route, **parameters):
      return serving.fetch(f"{address}/data/plugin/tbvis/{route}?{urllib.parse.urlencode(parameters)}")

    for stimulus in next(run for run in contents["runs"] if run["name"] == "stimuli")["stimuli"]:
      assert len(get("cell", run="stimuli", tag=stimulus["tag"])) > 100
    tag = "tbvis/stimulus/prediction/PlayingCello/chi=10"
    assert get("media", run="stimuli", tag=tag, name="flow.webp")[:4] == b"RIFF"
    assert json.loads(get("confusions", run="evaluation"))["accuracies"]["fused"] == pytest.approx(77 / 80)
    measures = json.loads(get("measures", run="stimuli"))
    # The failed one has a curve too, and it is of numbers.
    assert len(measures["activations"]) == len(synthetic.UNITS) * len(synthetic.CHIS)
    assert measures["activations"][tag] == pytest.approx(12 * (1 - math.exp(-3)), abs=1e-5)
    assert measures["units"]["conv5_fusion/f021"]["class"] == "PlayingCello"
    found = json.loads(get("clips", run="evaluation", tower="fused", true="PlayingCello", predicted="PlayingViolin"))
    assert found["counts"]["confused"] == 3
    assert get("clip", run="evaluation", name=found["confused"][0]["thumbnail"])[:4] == b"RIFF"
    images = json.loads(serving.fetch(f"{address}/data/plugin/images/tags"))["stimuli"]
    assert "prediction/PlayingCello/chi=10/motion" in images
    scalars = json.loads(serving.fetch(f"{address}/data/plugin/scalars/tags"))["stimuli"]
    assert "conv5_fusion/f021/chi=10/activation" in scalars


@pytest.mark.slow
@pytest.mark.parametrize("fast", ["true", "false"])
def test_copies_read_only_or_without_media_are_shown(logdir, tmp_path, fast):
  root = tmp_path / "copies"
  shutil.copytree(logdir, root / "whole")
  # What lies beside the events may be left out of a copy.
  shutil.copytree(logdir / "stimuli", root / "bare", ignore=shutil.ignore_patterns("tbvis"))
  for path in (*root.rglob("*"), root):
    path.chmod(0o555 if path.is_dir() else 0o444)
  before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
  tag = "tbvis/stimulus/prediction/PlayingCello/chi=10"
  with serving.tensorboard(root, tmp_path, f"--load_fast={fast}") as address:
    _loaded(address, 2 * _STIMULI)

    def get(route, **parameters):
      return serving.fetch(f"{address}/data/plugin/tbvis/{route}?{urllib.parse.urlencode(parameters)}")

    small = [get("cell", run=run, tag=tag) for run in ("whole/stimuli", "bare")]
    assert small[0] == small[1] and len(small[0]) > 1000
    assert json.loads(get("meta", run="bare", tag=tag))["history"]["activation"]
    assert get("media", run="whole/stimuli", tag=tag, name="flow.webp")[:4] == b"RIFF"
    with pytest.raises(urllib.error.HTTPError) as refused:
      get("media", run="bare", tag=tag, name="flow.webp")
    message = json.loads(refused.value.read())["error"]
    assert refused.value.code == 404 and "tbvis/stimuli/prediction/PlayingCello/chi=10/flow.webp' beside the events" in message
  # Nothing is ever written beside the events; a privileged user's copy is not protected from that.
  assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before
  for path in (root, *root.rglob("*")):
    if path.is_dir():
      path.chmod(0o755)  # For whoever tidies up.
