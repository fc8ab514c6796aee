"""The recipes in flags/: what they say, that every script takes them, and the one command that runs a whole one."""

from __future__ import annotations

import json
import math
import pathlib
import re
import shutil

import pytest

from tbvis import resources, summaries
from tbvis.datasets import lists
from tbvis.datasets.stage import script as stage_script
from tbvis.diagnostics.predictions import Predictions
from tbvis.errors import UsageError
from tbvis.models import checkpoint as checkpoint_lib
from tbvis.scripts import demo_steps, recipe_steps
from tbvis.training import recipe as recipe_lib
from tests import calls
from tests.datasets.conftest import write_video

SPLIT1 = "ucf101_split1.flags"
# Epochs, passes an epoch and batch of the released code (METHOD 1.3, 1.4).
EPOCHS = {"appearance": (12, 10, 128), "motion": (16, 100, 128), "fusion": (5, 10, 96)}
CLIPS = {"ucf101": 9537, "hmdb51": 3570}

# Two scripts define flags of one name, so each is asked in a process of its own.
_PARSE = """
import importlib, json, sys
from absl import flags
module = importlib.import_module("tbvis.scripts." + sys.argv[1])
flags.FLAGS([sys.argv[1], *sys.argv[2:]])
known = flags.FLAGS.flags_by_module_dict()[module.__name__]
print(json.dumps({flag.name: flag.value for flag in known}))
"""


def _flags(verb, *names):
  arguments = [f"--flagfile={resources.flags_path(name)}" for name in names]
  done = calls.run("-c", _PARSE, verb, *arguments)
  assert done.returncode == 0, done.stderr[-2000:]
  return json.loads(done.stdout)


def test_the_demo_network_is_trained_on_some_classes_and_then_on_all():
  first, then = _flags("train", "stage_train_first.flags"), _flags("train", "stage_train.flags")
  classes = stage_script.load_script().classes
  assert 2 <= len(first["classes"]) < len(classes) == 18 and set(first["classes"]) < set(classes)
  assert then["classes"] == [] and first["phases"] == then["phases"] == []
  assert (first["storage"], then["storage"]) == ("float32", "float16")
  # Otherwise the second could not start from the first.
  for name in ("seed", "width", "input_size", "fc_units", "dropout", "fusion", "validation_groups"):
    assert first[name] == then[name], name
  assert not _flags("prepare", "stage_prepare.flags")["stage_classes"]


@pytest.mark.parametrize("dataset", ["ucf101", "hmdb51"])
def test_the_stages_are_the_released_settings(dataset):
  for phase, (epochs, passes, batch) in EPOCHS.items():
    said = _flags("train", f"{dataset}_{phase}.flags")
    assert said["phases"] == [phase] and said["dataset"] == f"{dataset}_split1_tvl1"
    assert (said["input_size"], said["fc_units"], said["width"], said["fusion"]) == (224, 4096, 1.0, None)
    own = {name.removeprefix(f"{phase}_"): value for name, value in said.items() if name.startswith(f"{phase}_")}
    assert own["steps"] == pytest.approx(epochs * passes * CLIPS[dataset] / batch, rel=2e-3) and own["batch_size"] == batch
    assert (own["optimizer"], own["momentum"], own["weight_decay"], own["bias_factor"], own["clip_norm"]) == ("sgd", 0.9, 5e-4, 2, 0)
    assert own["dropout"] == {"appearance": 0.85, "motion": 0.9, "fusion": 0.85}[phase]
    assert own["crops"] == {"appearance": "borders25", "motion": "regular", "fusion": "borders25"}[phase]
    parts = recipe_lib.parse_rates(own["rates"], epochs)  # A step is an epoch.
    by_epoch = [(next(part.rate for part in parts if epoch < part.end)) for epoch in range(epochs)]
    assert (
      by_epoch
      == {
        "appearance": [1e-3] * 3 + [5e-4] * 5 + [5e-5] * 2 + [5e-6] * 2,
        "motion": [5e-4] * 10 + [5e-5] * 5 + [5e-6],
        "fusion": [1e-3] * 2 + [1e-4, 1e-5, 1e-6],
      }[phase]
    )
    assert [part.end for part in parts if part.head_only] == ([3] if phase == "appearance" else [])
  if dataset == "ucf101":
    assert len(lists.read_split_list(resources.data_path("ucf101", "trainlist01.txt"))) == CLIPS[dataset]


# Of the other networks' recipes: what METHOD 4.1 and 4.2 tell of a phase. Updates, batch, rates by update, bound on the gradient, dropout.
_TSN = {
  "appearance": (3500, 128, [(0, 1e-3), (1500, 1e-4), (3000, 1e-5)], 40, 0.8),
  "motion": (18000, 128, [(0, 5e-3), (10000, 5e-4), (16000, 5e-5)], 20, 0.7),
}
_ST = {
  "motion": (40000, 256, [(0, 1e-2), (30000, 1e-3)], 0, None),
  "fusion": (80000, 128, [(0, 1e-3), (30000, 1e-4), (60000, 1e-5)], 0, None),
}
_ST_FINAL = {"fusion": (4000, 128, [(0, 1e-4), (2000, 1e-5)], 0, None)}
_OTHERS = {
  "tsn_bn_inception": (_TSN, {"network": "tsn_bn_inception", "chunks": 3, "input_size": 224, "partial_batch_norm": True}),
  "tsn_inception_v3": (_TSN, {"network": "tsn_inception_v3", "chunks": 3, "input_size": 299, "partial_batch_norm": True}),
  "st_resnet50": (_ST, {"network": "st_resnet50", "chunks": 5, "spacing": ["5", "15"], "input_size": 224}),
  "st_resnet50_final": (_ST_FINAL, {"network": "st_resnet50", "chunks": 11, "spacing": ["1", "15"], "time_pool": True}),
}


@pytest.mark.parametrize("stem", list(_OTHERS))
@pytest.mark.parametrize("dataset", ["ucf101", "hmdb51", "kinetics"])
def test_the_other_networks_recipes_are_the_published_settings(dataset, stem):
  name = f"{dataset}_{stem}.flags"
  if dataset == "kinetics" and stem.startswith("st_"):
    pytest.skip("ST-ResNet was not trained on Kinetics")
  phases, arguments = _OTHERS[stem]
  said = _flags("train", name)
  assert {key: said[key] for key in arguments} == arguments
  assert said["dataset"] == {"kinetics": "kinetics400_split1_tvl1"}.get(dataset, f"{dataset}_split1_tvl1") and said["width"] == 1
  # Whether the network takes what the flags say is asked of it itself.
  given = {key: said[key] for key in ("chunks", "time_pool", "partial_batch_norm") if said[key] is not None}
  assert set(given) <= set(checkpoint_lib.complete_arguments(said["network"], {}))
  for phase, (steps, batch, rates, clip, dropout) in phases.items():
    # Kinetics has more clips and as many passes.
    factor = said[f"{phase}_steps"] / steps
    assert factor == pytest.approx(1 if dataset != "kinetics" else 246535 / CLIPS["ucf101"], rel=0.02)
    assert (said[f"{phase}_batch_size"], said[f"{phase}_clip_norm"], said[f"{phase}_dropout"]) == (batch, clip, dropout)
    assert (said[f"{phase}_optimizer"], said[f"{phase}_momentum"], said[f"{phase}_weight_decay"]) == ("sgd", 0.9, 5e-4)
    parts = recipe_lib.parse_rates(said[f"{phase}_rates"], steps)
    assert [(end, part.rate) for end, part in zip([0, *(part.end for part in parts)], parts, strict=False)] == rates
  if stem.startswith("tsn"):
    assert (said["motion_first_layer_factor"], said["motion_bias_factor"], said["appearance_bias_factor"]) == (5, 2, 2)


def test_one_flagfile_serves_every_script_and_says_what_its_stages_say():
  whole = _flags("train", SPLIT1)
  for phase in EPOCHS:
    alone = _flags("train", f"ucf101_{phase}.flags")
    same = {name for name in alone if name.startswith(phase) or name in ("input_size", "fc_units", "dropout", "crop_sizes")}
    assert {name: whole[name] for name in same} == {name: alone[name] for name in same}
  assert whole["phases"] == []
  prepare = _flags("prepare", SPLIT1)
  assert (prepare["name"], prepare["flow"], prepare["split"]) == ("ucf101", "tvl1", 1)
  assert _flags("evaluate", SPLIT1)["statistics_groups"] == "23-25"
  maximize = _flags("maximize", SPLIT1)
  assert maximize["units"] == ["prediction/PlayingCello", "prediction/PlayingViolin"] and maximize["chi"] == ["0", "10"]


def _plan(tmp_path, **given):
  recipe = recipe_steps.read_recipe(resources.flags_path(SPLIT1))
  return recipe_steps.recipe_steps(recipe, tmp_path / "data", tmp_path / "logdir", **{"videos": "videos", **given})


def _flag(step, name):
  return [a.partition("=")[2] for a in step.arguments if a.startswith(f"--{name}=")]


def test_a_recipe_trains_or_shows_what_it_is_given(tmp_path):
  prepare, train, evaluate, maximize = _plan(tmp_path, start="start.keras", split=2).steps
  assert _flag(prepare, "dataset") == ["ucf101"] and _flag(train, "dataset") == _flag(evaluate, "dataset") == ["ucf101_split2_tvl1"]
  assert _flag(train, "start") == ["start.keras"]
  trained = [str(pathlib.Path(_flag(train, "output_dir")[0]) / "checkpoint.keras")]
  assert _flag(evaluate, "checkpoint") == _flag(maximize, "checkpoint") == trained
  assert _flag(maximize, "statistics") == [str(pathlib.Path(_flag(evaluate, "output_dir")[0]) / "statistics.npz")]
  assert _flag(maximize, "dataset") == _flag(evaluate, "dataset") and _flag(maximize, "data_dir") == _flag(evaluate, "data_dir")
  _, evaluate, maximize = _plan(tmp_path, checkpoint=tmp_path / "mine.keras").steps
  assert _flag(evaluate, "checkpoint") == _flag(maximize, "checkpoint") == [str(tmp_path / "mine.keras")]
  _, imported, evaluate, _ = _plan(tmp_path, imported=("--weights=appearance=A.mat,motion=B.mat", "--format=matconvnet")).steps
  assert imported.command[0] == "tbvis-import" and _flag(imported, "out") == _flag(evaluate, "checkpoint")
  assert [step.name for step in _plan(tmp_path, videos=None).steps] == ["train", "evaluate", "maximize"]
  with pytest.raises(UsageError, match="one of --checkpoint, --weights and --start"):
    _plan(tmp_path, checkpoint=tmp_path / "mine.keras", start="start.keras")


class _Scripts:
  """Stand for the single scripts: write what they would, into what they find, and remember the calls."""

  def __init__(self):
    self.calls = []

  def __call__(self, step):
    self.calls.append(step.name)
    for path in step.outputs:
      if path.suffix:
        path.write_text("imported")
        continue
      path.mkdir(parents=True, exist_ok=True)
      (path / "content").write_text("")
    step.report.parent.mkdir(parents=True, exist_ok=True)
    step.report.write_text("{}")
    return 0


def _do(tmp_path, **given):
  plan, scripts = _plan(tmp_path, **given), _Scripts()
  demo_steps.run_steps(plan.steps, plan.state, scripts)
  return plan, scripts.calls


def test_stimuli_of_another_network_do_not_stay_beside_its_confusions(tmp_path):
  plan, calls = _do(tmp_path)
  assert calls == ["prepare", "train", "evaluate", "maximize"] and _do(tmp_path)[1] == []
  of_hours = [tmp_path / "data" / "action_clips" / "ucf101_split1_tvl1", plan.checkpoint.parent, plan.predictions.parent]
  for folder in (*of_hours, tmp_path / "logdir" / plan.stimuli_run):
    (folder / "of the first").write_text("")
  (tmp_path / "net.keras").write_text("another network")
  second, calls = _do(tmp_path, checkpoint=tmp_path / "net.keras")
  assert calls == ["evaluate", "maximize"] and second.stimuli_run == plan.stimuli_run
  assert not (tmp_path / "logdir" / plan.stimuli_run / "of the first").exists()
  assert all((folder / "of the first").exists() for folder in of_hours)
  (tmp_path / "net.keras").write_text("a third of the same name")
  assert _do(tmp_path, checkpoint=tmp_path / "net.keras")[1] == ["evaluate", "maximize"]


def test_a_second_split_shares_nothing_with_the_first(tmp_path):
  imported = {"imported": ("--weights=a.mat", "--format=matconvnet")}
  for given in ({}, imported):
    one, two = _plan(tmp_path, **given), _plan(tmp_path, split=2, **given)
    made = [{plan.state, plan.checkpoint, *(p for s in plan.steps for p in (*s.outputs, s.report))} for plan in (one, two)]
    assert not made[0] & made[1]


def test_a_lost_logdir_gets_its_confusions_again(tmp_path):
  plan, _ = _do(tmp_path)
  shutil.rmtree(tmp_path / "logdir")
  assert _do(tmp_path)[1] == ["evaluate", "maximize"] and (tmp_path / "logdir" / plan.evaluation_run).is_dir()


def test_new_content_of_a_start_or_of_weights_is_noticed(tmp_path):
  file = tmp_path / "file"
  for given, step in (({"start": file}, "train"), ({"imported": (f"--weights={file}",), "weights": [file]}, "import")):
    file.write_text("first")
    assert step in _do(tmp_path, **given)[1] and step not in _do(tmp_path, **given)[1]
    file.write_text("second")
    assert step in _do(tmp_path, **given)[1]


def test_what_a_recipe_made_is_kept_when_its_settings_change(tmp_path):
  made = tmp_path / "set"
  recipe = tmp_path / "r.flags"
  done = []

  def run(text):
    recipe.write_text(text)
    step = demo_steps.Step("prepare", "", "prepare", (), (recipe,), (made,), keeps=True)
    demo_steps.run_steps([step], tmp_path / "state.json", lambda s: done.append(text) or made.mkdir(exist_ok=True) or 0)

  run("--chi=0")
  (made / "of hours").write_text("")
  run("--chi=0")
  run("--chi=10")
  assert done == ["--chi=0", "--chi=10"] and (made / "of hours").exists()


@pytest.mark.parametrize(
  ("content", "expected"),
  [
    (None, "expected a flagfile, found none"),
    ("--name=ucf101\n", "to have --flow, which name the prepared set"),
    ("--name=../mine\n--flow=dis\n", "--name: expected a part of file names .*received '../mine'"),
    ("--name=mine\n--flow=a/b\n", "--flow: expected a part of file names"),
    ("--flagfile=none.flags\n", "cannot be read as a flagfile"),
  ],
)
def test_files_that_are_no_recipe(tmp_path, content, expected):
  path = tmp_path / "my.flags"
  if content:
    path.write_text(content)
  with pytest.raises(UsageError, match=expected):
    recipe_steps.read_recipe(path)


def test_a_recipe_names_its_pair_and_data_set(tmp_path):
  path = tmp_path / "my.flags"
  path.write_text("--units=conv5_fusion/f001,prediction/*,prediction/a,prediction/b,prediction/c\n--name=mine\n--flow=dis\n")
  found = recipe_steps.read_recipe(path)
  assert found.pair == ("a", "b") and found.kind == "folder" and found.view == "&p.tbvis.view=pair%3Aa~b"
  path.write_text("--units=prediction/a\n--name=hmdb51_part\n--flow=dis\n")
  found = recipe_steps.read_recipe(path)
  assert found.pair == () and found.kind == "hmdb51" and found.view == ""


# A thin network, few updates, tiny clips: nothing of it can be right but the path. What the rehearsal adds no other script knows.
_REHEARSAL = """
--undefok=allow_missing,width,dtype,steps
--name=ucf101_rehearsal
--flow=dis
--allow_missing
--width=0.05
--input_size=32
--fc_units=8
--dtype=float32
--validation_groups=23
--statistics_groups=23
--appearance_steps=4
--motion_steps=3
--fusion_steps=5
--appearance_batch_size=8
--motion_batch_size=8
--fusion_batch_size=8
--snippets=1
--noflips
--steps=12
"""


def _begun_sooner(step):
  done = calls.call(step.verb, *step.arguments)
  assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
  return done.returncode


@pytest.mark.slow
def test_rehearsal_of_the_whole_command(tmp_path):
  """All 101 class names, two or three clips each of a moving texture: a rehearsal, no result."""
  classes = lists.read_classes(resources.data_path("ucf101", "classInd.txt"))
  for index, name in enumerate(classes):
    held_out = (23,) if name.startswith("Playing") else ()
    for group in (1, 8, *held_out):
      path = tmp_path / "videos" / name / f"v_{name}_g{group:02d}_c01.avi"
      write_video(path, frames=11, size=(32, 32), shift=math.cos(index), seed=index)
  text = resources.flags_path(SPLIT1).read_text()
  recipe = tmp_path / "rehearsal.flags"
  recipe.write_text(text + _REHEARSAL)
  data, logs = tmp_path / "data", tmp_path / "logs"
  plan = recipe_steps.recipe_steps(recipe_steps.read_recipe(recipe), data, logs, videos=tmp_path / "videos")
  assert [step.verb for step in plan.steps] == ["prepare", "train", "evaluate", "maximize"]
  # The steps as the command does them, each begun sooner; the second command below begins its own.
  demo_steps.run_steps(plan.steps, plan.state, _begun_sooner)
  given = [f"--recipe={recipe}", f"--data_dir={data}", "--notensorboard"]
  done = calls.call("demo", *given, f"--videos={tmp_path / 'videos'}", f"--logdir={logs}", f"--json={tmp_path / 'n.json'}")
  assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
  assert done.stdout.count("finished by an earlier run") == 4
  network = checkpoint_lib.load_checkpoint(plan.checkpoint)
  assert network.classes == classes and network.metadata["validation_groups"] == [23]
  assert network.metadata["recipe"]["motion"]["dropout"] == 0.9
  found = Predictions.load(plan.predictions, classes=classes)
  assert len(found.clips) == 101 and json.loads((tmp_path / "n.json").read_text())["clips"] == 101
  assert re.search(r"^PlayingCello -> PlayingViolin: .* \([01] of 1;", done.stdout, re.MULTILINE)
  shown = summaries.read_run(logs, plan.evaluation_run).confusions
  assert list(shown.clips) == list(found.clips)
  stimuli = summaries.read_run(logs, plan.stimuli_run).stimuli
  assert {(s.unit, s.chi) for s in stimuli} == {(f"prediction/{c}", chi) for c in ("PlayingCello", "PlayingViolin") for chi in (0.0, 10.0)}
  assert all(s.a_hat for s in stimuli)
  # The same clips, and weights from elsewhere: what was trained stands for them.
  elsewhere = tmp_path / "published.keras"
  elsewhere.write_bytes(plan.checkpoint.read_bytes())
  done = calls.call("demo", *given, f"--logdir={tmp_path / 'imported'}", f"--weights={elsewhere}", "--format=keras")
  assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
  assert "[1/3] Import the weights" in done.stdout and "PlayingCello -> PlayingViolin: " in done.stdout
  assert len(summaries.read_run(tmp_path / "imported", plan.stimuli_run).stimuli) == 4


@pytest.mark.parametrize(
  ("arguments", "expected"),
  [
    (["--recipe=NONE"], "--recipe: expected a flagfile"),
    (["--recipe=RECIPE", "--videos=NONE"], "--videos: expected a folder, found none at"),
    (
      ["--recipe=RECIPE", "--weights=appearance=RECIPE,motion=NONE", "--format=npz"],
      "--weights: expected a file, found none at",
    ),
    (["--recipe=RECIPE", "--weights=a.mat"], "--weights and --format: expected both or none"),
    (["--recipe=RECIPE", "--checkpoint=RECIPE", "--start=RECIPE"], "one of --checkpoint, --weights and --start"),
    (["--recipe=RECIPE", "--retrain"], "--retrain is for the stage set"),
  ],
)
def test_mistakes_are_one_line_and_status_2(tmp_path, arguments, expected):
  places = {"NONE": str(tmp_path / "none"), "RECIPE": str(resources.flags_path(SPLIT1))}
  given = [re.sub("NONE|RECIPE", lambda m: places[m[0]], a) for a in arguments]
  done = calls.call("demo", *given, f"--data_dir={tmp_path / 'data'}", f"--logdir={tmp_path / 'logdir'}")
  assert done.returncode == 2 and len(done.stderr.splitlines()) == 1 and expected in done.stderr
