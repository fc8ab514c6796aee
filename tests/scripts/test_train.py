"""tbvis-train: what it goes on from, and what it starts from."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tbvis.datasets import reader
from tbvis.diagnostics.predictions import Predictions
from tbvis.models import checkpoint as checkpoint_lib
from tbvis.training import train
from tests import calls
from tests.datasets.conftest import prepare_folder, write_video

# One process for many calls: TensorFlow takes seconds to load.
_DRIVER = """
import contextlib, io, json, sys
from absl import flags
from absl.testing import flagsaver
from tbvis.errors import UsageError
from tbvis.scripts import train
said = []
for arguments in json.load(sys.stdin):
  with flagsaver.flagsaver(), contextlib.redirect_stdout(io.StringIO()) as printed:
    flags.FLAGS(["train", *arguments])
    try:
      train.main()
      said.append(printed.getvalue())
    except UsageError as error:
      said.append("error: " + str(error))
print(json.dumps(said))
"""
_NETWORK = {"width": 0.05, "input_size": 32, "fc_units": 4}


def _call(cases):
  texts = json.dumps([[str(argument) for argument in arguments] for arguments, *_ in cases])
  done = calls.run("-c", _DRIVER, input=texts)
  assert done.returncode == 0, done.stderr[-3000:]
  said = json.loads(done.stdout.splitlines()[-1])
  for text, (arguments, *expected) in zip(said, cases, strict=True):
    for part in expected:
      assert part in text, (arguments, text)
    assert text.startswith("error: ") == expected[0].startswith("error: "), (arguments, text)


def test_two_starts_are_refused_before_anything_is_made(tmp_path):
  both = [f"--output_dir={tmp_path / 'out'}", "--start=a.keras", "--imagenet_weights=b.npz"]
  _call([(both, "error: Expected --start or --imagenet_weights, received both.")])
  assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_network_of_other_clips_or_settings_is_not_gone_on_with(tmp_path):
  for label, name in enumerate(("Left", "Right")):
    for group in (1, 8, 9, 23):
      write_video(tmp_path / "videos" / name / f"v_{name}_g{group:02d}_c01.avi", shift=3.0 if label else -3.0, seed=group)
  for name in ("moves", "others"):
    prepare_folder(tmp_path / "videos", tmp_path / "data", name)
  # A mean of its own, as that of weights whose frames were scaled otherwise.
  start = tmp_path / "start.keras"
  made = checkpoint_lib.build("two_stream_fusion_vgg16", _NETWORK, ("x", "y"), appearance_mean=[1.0, 2.0, 3.0])
  checkpoint_lib.save_checkpoint(made, start)
  out = tmp_path / "out"
  settings = {
    **_NETWORK, "data_dir": tmp_path / "data", "dataset": "moves_split1_dis", "output_dir": out, "dtype": "float32", "start": start,
    "validation_groups": "23", "phases": "appearance", "appearance_steps": 2, "appearance_batch_size": 2, "motion_steps": 1,
    "motion_batch_size": 2,
  }  # fmt: skip

  def given(**change):
    return [f"--{name}={value}" for name, value in {**settings, **change}.items()]

  refused = f"error: {out / 'checkpoint.keras'} is of another network: "
  _call([
    (given(), "layers start as in"),
    (given(), "--start is not used", "Phase appearance is finished already."),
    (given(dataset="others_split1_dis"), refused + "dataset moves_split1_dis (expected others_split1_dis). Choose another --output_dir"),
    (given(validation_groups="9"), refused + "train_groups differ in 9, 23, validation_groups differ in 9, 23. "),
    (given(appearance_steps=3), refused + "appearance_steps 2 (expected 3). "),
    (given(width=0.1), refused + "width 0.05 (expected 0.1). "),
    # A phase that is not asked for has no say.
    (given(phases="motion", appearance_steps=3), "Phase motion: "),
  ])  # fmt: skip
  assert checkpoint_lib.load_checkpoint(out / "checkpoint.keras").appearance_mean == (1.0, 2.0, 3.0)


@pytest.mark.slow
def test_some_classes_first_and_then_all(tmp_path):
  for index, name in enumerate(("Left", "Right", "Still")):
    for group in (1, 8, 23):
      write_video(tmp_path / "videos" / name / f"v_{name}_g{group:02d}_c01.avi", shift=3.0 * (index - 1), seed=group, frames=12)
  prepare_folder(tmp_path / "videos", tmp_path / "data", "moves")
  first, then = tmp_path / "first", tmp_path / "then"
  settings = {
    **_NETWORK, "data_dir": tmp_path / "data", "dataset": "moves_split1_dis", "output_dir": first, "dtype": "float32", "seed": 3,
    "validation_groups": "23", "classes": "Still,Left", "phases": "appearance,motion", "storage": "float16",
    "dropout": 0, "appearance_learning_rate": 0.3, "motion_learning_rate": 0.3,
    **{f"{phase}_{name}": 2 for phase in ("appearance", "motion", "fusion") for name in ("steps", "batch_size")}, "fusion_cached_crops": 1,
  }  # fmt: skip

  def given(**change):
    return [f"--{name}={value}" for name, value in {**settings, **change}.items()]

  refused = f"error: {first / 'checkpoint.keras'} is of another network: "
  _call([
    (given(classes="Left,Stil"), "error: Unknown class 'Stil' in prepared set 'moves_split1_dis'. Nearest: Still"),
    (given(classes="Left,Left"), "error: --classes: expected at least two classes of moves_split1_dis, received Left alone."),
    (given(), "Phase appearance: ", "Phase motion: "),
    (given(classes="Left,Right"), refused + "left_out_classes differ in Right, Still. Choose another --output_dir"),
    (given(classes=""), refused + "classes 2 (expected 3), left_out_classes differ in Right. "),
    (given(storage="float32"), refused + "storage float16 (expected float32). "),
    (given(classes="", start=first / "checkpoint.keras", output_dir=then, phases="fusion", fusion_learning_rate=0), "layers start as in"),
    # A layer that the last phase does not know is told before the first.
    (given(classes="", output_dir=tmp_path / "new", fusion_train_from="conv9", phases="appearance,fusion"), "error: Unknown layer 'conv9'"),
    # A network beyond any memory is not built.
    (given(classes="", output_dir=tmp_path / "new", width=4, fc_units=65536, input_size=2048), "error: --network="),
    # Features of several chunks, each in a row of its own.
    (given(classes="", output_dir=tmp_path / "new", phases="fusion", chunks=2), "Phase fusion: "),
  ])  # fmt: skip
  start, end = (checkpoint_lib.load_checkpoint(folder / "checkpoint.keras") for folder in (first, then))
  assert (start.classes, start.metadata["left_out_classes"]) == (("Left", "Still"), ["Right"])
  assert (end.classes, end.metadata["left_out_classes"]) == (("Left", "Right", "Still"), [])
  # The towers are those of the first stage; the fused head, which it left alone, is that of a new network of this seed.
  fresh = checkpoint_lib.build(start.architecture, {**_NETWORK, "seed": 3}, start.classes)
  checkpoint_lib.round_weights(fresh.model, "float16")
  for layer, is_trained in (("conv3_1_appearance", True), ("conv5_fusion", False), ("fc6", False), ("fc7", False)):
    values = [network.model.get_layer(layer).get_weights()[0] for network in (end, start, fresh)]
    assert np.array_equal(values[0], values[1]), layer
    assert np.array_equal(values[1], values[2]) != is_trained, layer
  # A tower of so few channels may be dead from the start; its classifier's bias is not.
  assert np.any(start.model.get_layer("prediction_motion").get_weights()[1])
  # What was printed and noted is of the network that was stored.
  chosen = reader.open_dataset(tmp_path / "data", "moves_split1_dis").of_classes(start.classes)
  found = train.validate(start, chosen, [23], ("motion",))
  assert found["validation_accuracy_motion"] == start.metadata["training"]["validation_accuracy_motion"]
  # A network of some classes is scored on the clips of these, of a set that has more.
  done = calls.call(
    "evaluate", f"--checkpoint={first / 'checkpoint.keras'}", "--statistics_snippets=0", "--snippets=1",
    f"--data_dir={tmp_path / 'data'}", "--dataset=moves_split1_dis", f"--output_dir={tmp_path / 'scores'}",
  )  # fmt: skip
  assert done.returncode == 0, done.stderr[-2000:]
  assert "The network knows 2 of the 3 classes of moves_split1_dis; the others are left out." in done.stdout
  scored = Predictions.load(tmp_path / "scores" / "predictions.npz")
  assert scored.classes == ("Left", "Still") and len(scored.clips) == 2
