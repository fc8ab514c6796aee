"""The stage script: what is planted is frozen, and mistakes get one helpful line."""

import copy
import hashlib
import json
import pathlib
import zipfile

import numpy as np
import pytest

from tbvis import resources
from tbvis.datasets.stage import script as stage_script
from tbvis.datasets.stage.factors import FACTORS, factor_table
from tbvis.datasets.stage.scenes import SCENES, shown_factors
from tbvis.errors import UsageError

# Networks are trained on what the script films: a change here asks for a new checkpoint, and for a reason.
FROZEN = "26e98c3b0463cf07bb99365e5b7c0ac0fd79bcd9298624d190a522a7c1794f0f"
# Clips of the first eight classes are those of the first network: more classes change none of them.
FIRST = ("ApplyEyeMakeup", "ApplyLipstick", "Billiards", "BrushingTeeth", "PlayingCello", "PlayingTabla", "PlayingViolin", "ShavingBeard")
FIRST_FROZEN = "de2df51c1afbf67841e592786ca209d5b7e9f23e982a3daf654b3b55906f1aa4"


def content():
  return json.loads(stage_script.default_path().read_text())


def cause(**changes):
  base = {
    "name": "level bows",
    "classes": ["PlayingCello"],
    "stream": "motion",
    "factor": "bow_axis",
    "distribution": {"PlayingCello": {"uniform": [-5, 5]}},
  }
  return {"classes": ["PlayingCello", "PlayingViolin"], "causes": [{**base, **changes}]}


def test_the_script_is_frozen():
  canonical = json.dumps(content(), sort_keys=True).encode()
  assert hashlib.sha256(canonical).hexdigest() == FROZEN


def test_what_decides_the_clips_of_the_first_classes_stays():
  script = stage_script.load_script()
  assert hashlib.sha256("".join(map(script.digest, FIRST)).encode()).hexdigest() == FIRST_FROZEN


def test_every_scene_is_filmed_and_the_flagfile_films_the_classes_of_the_network_that_comes_along():
  assert stage_script.load_script().classes == tuple(sorted(SCENES)) and len(SCENES) == 18
  flags = resources.flags_path("stage_prepare.flags").read_text().splitlines()
  listed = [line.partition("=")[2].split(",") for line in flags if line.startswith("--stage_classes=")]
  with zipfile.ZipFile(resources.data_path("demo", "checkpoint.keras")) as archive:
    metadata = json.loads(archive.read("tbvis.json"))
  assert (listed[0] if listed else sorted(SCENES)) == metadata["classes"]


def test_it_plants_at_least_ten_causes_that_clips_show():
  script = stage_script.load_script()
  assert len(script.causes) >= 10
  assert len({c.name for c in script.causes}) == len(script.causes)
  for planted in script.causes:
    for name in planted.classes:
      assert planted.factor in shown_factors(name), f"{planted.name}: {name} does not show {planted.factor}"


def test_nothing_of_the_setting_is_planted():
  assert not [c.name for c in stage_script.load_script().causes if FACTORS[c.factor].world]


def test_every_default_lies_in_its_range():
  for name, factor in FACTORS.items():
    stage_script.check_distribution(factor.default, name, "the defaults")


def test_readme_has_the_table_of_factors():
  readme = pathlib.Path(stage_script.__file__).with_name("README.md").read_text()
  assert factor_table({name: shown_factors(name) for name in SCENES}) in readme


@pytest.mark.parametrize(
  "changes, words",
  [
    ({"factor": "bow_axes"}, ["Unknown factor 'bow_axes'", "bow_axis", "level bows"]),
    ({"classes": ["PlayingChello"], "distribution": {"PlayingChello": {"constant": 0}}}, ["Unknown class", "Nearest: PlayingCello"]),
    ({"stream": "movement"}, ["Unknown stream"]),
    ({"distribution": {"PlayingCello": {"unifrom": [0, 1]}}}, ["bow_axis", "Nearest: uniform"]),
    ({"distribution": {"PlayingCello": {"uniform": [0, 400]}}}, ["-90 to 90 degrees", "found 400"]),
    ({"distribution": {"PlayingCello": {"uniform": [5, -5]}}}, ["[low, high]"]),
    ({"distribution": {"PlayingCello": {"normal": [0, -1]}}}, ["at least 0"]),
    ({"distribution": {"PlayingCello": {"normal": ["0", 1]}}}, ["two numbers"]),
    ({"distribution": {"PlayingCello": {"choice": [0, 1], "p": [1]}}}, ["2 shares"]),
    ({"distribution": {"PlayingCello": {"choice": []}}}, ["a list for choice"]),
    ({"distribution": {"PlayingCello": {"constant": True}}}, ["found true"]),
    ({"distribution": {"PlayingCello": {"mixture": [{"normal": [0, 1]}]}}}, ["share 'p'"]),
    ({"distribution": {"PlayingCello": {"constant": 0, "uniform": [0, 1]}}}, ["Expected one of constant"]),
    ({"distribution": {"PlayingCello": {"constant": 0, "shift": 1}}}, ["Unknown key 'shift'"]),
    ({"distribution": {"PlayingViolin": {"constant": 0}}}, ["PlayingCello", "found them for PlayingViolin"]),
    ({"factor": "tool_shape", "distribution": {"PlayingCello": {"constant": "razr"}}}, ["Unknown tool_shape", "Nearest: razor"]),
    ({"factor": "tool_shape", "distribution": {"PlayingCello": {"uniform": [0, 1]}}}, ["names"]),
    ({"speed": 3}, ["Unknown key 'speed'"]),
  ],
)
def test_bad_causes_are_refused_in_one_line(changes, words):
  with pytest.raises(UsageError) as caught:
    stage_script.load_script(cause(**changes))
  message = str(caught.value)
  assert "\n" not in message
  for word in words:
    assert word in message


def test_two_causes_for_one_factor_and_class_are_refused():
  twice = cause()
  twice["causes"].append({**copy.deepcopy(twice["causes"][0]), "name": "again"})
  with pytest.raises(UsageError, match="one cause for bow_axis in PlayingCello, found 'level bows' and 'again'"):
    stage_script.load_script(twice)


@pytest.mark.parametrize(
  "text, words", [("{", "Expected JSON"), ("[]", "an object with 'classes'"), ('{"classes": [], "causes": []}', "list of names")]
)
def test_bad_files_are_refused(tmp_path, text, words):
  path = tmp_path / "script.json"
  path.write_text(text)
  with pytest.raises(UsageError, match=words) as caught:
    stage_script.load_script(path)
  assert str(path) in str(caught.value)
  with pytest.raises(UsageError, match="found none that can be read"):
    stage_script.load_script(tmp_path / "nothing.json")


def draws(distribution, factor="bow_axis", count=400):
  return [stage_script.draw(distribution, FACTORS[factor], np.random.default_rng(k)) for k in range(count)]


def test_draws_follow_their_distributions():
  assert set(draws({"constant": 7})) == {7.0}
  uniform = draws({"uniform": [10, 20]})
  assert 10 <= min(uniform) < 10.5 and 19.5 < max(uniform) <= 20 and abs(np.mean(uniform) - 15) < 0.6
  normal = draws({"normal": [30, 4]})
  assert abs(np.mean(normal) - 30) < 0.8 and abs(np.std(normal) - 4) < 0.6
  assert max(draws({"normal": [85, 20]})) == 90  # Clipped to the range.
  shares = draws({"choice": ["razor", "brush"], "p": [0.9, 0.1]}, "tool_shape")
  assert 0.84 < shares.count("razor") / 400 < 0.96
  mixture = np.array(draws({"mixture": [{"p": 1, "constant": 0}, {"p": 3, "uniform": [40, 50]}]}))
  assert 0.68 < np.mean(mixture >= 40) < 0.82 and set(mixture[mixture < 40]) == {0.0}


def test_one_cause_changes_only_its_factor_and_the_setting_ignores_the_class():
  plain, other = stage_script.load_script(cause()), stage_script.load_script(cause(distribution={"PlayingCello": {"constant": 60}}))
  a, b = plain.sample("PlayingCello", 4, 2), other.sample("PlayingCello", 4, 2)
  assert {name for name in a if a[name] != b[name]} == {"bow_axis"}
  violin = plain.sample("PlayingViolin", 4, 2)
  assert all(a[name] == violin[name] for name, factor in FACTORS.items() if factor.world)
  assert plain.sample("PlayingCello", 4, 3)["camera_drift"] != a["camera_drift"]
