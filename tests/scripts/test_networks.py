"""The flags that name a network, as every script has them."""

from __future__ import annotations

import json
import os
import pathlib
import sys

import pytest

from tests import calls

# Starts programs that load TensorFlow.
pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).resolve().parents[2]
# One process for many calls.
_DRIVER = """
import json, pathlib, sys
from absl import flags
from absl.testing import flagsaver
from tbvis.errors import UsageError
from tbvis.scripts import networks

network = networks.Network()
flags.FLAGS(["driver"])
said = []
for arguments in json.loads(sys.argv[1]):
  with flagsaver.flagsaver():
    flags.FLAGS(["driver", *arguments])
    try:
      network.check()
      kept = [str(network.saved(pathlib.Path("kept"))) for _ in range(2)]
      assert network.saved(None).name == pathlib.Path(kept[0]).name and network.saved(None).is_file()
      made = network.open("float32")
      assert kept[0] == kept[1] and pathlib.Path(kept[0]).is_file()
      layers = [layer.get_config() for layer in made.model.layers if layer.name.startswith("scale_")]
      said.append([kept[0], list(made.classes), list(made.appearance_mean), made.input_size, made.sampling.chunks,
                   [[layer["scale"], layer["offset"]] for layer in layers]])
    except UsageError as error:
      said.append(str(error))
print(json.dumps(said))
"""
_MODELS = """
import keras
import my_layers

layers = keras.layers
film = keras.Input((None, None, None, 3), name="film")
x = my_layers.Twice()(layers.Conv3D(2, 3)(film))
keras.Model(film, layers.Dense(2)(layers.GlobalAveragePooling3D()(x))).save("film.keras")
picture = keras.Input((8, 8, 3), name="picture")
keras.Model(picture, layers.Dense(2)(layers.Flatten()(picture))).save("picture.keras")
"""
_LAYERS = """
import keras


@keras.saving.register_keras_serializable("test_networks")
class Twice(keras.layers.Layer):
  def call(self, inputs):
    return 2 * inputs
"""

CALLS = [
  ([], "--checkpoint is required, or --model"),
  (["--model=a.keras", "--checkpoint=b.keras"], "--checkpoint or --model, received both"),
  (["--checkpoint=b.keras", "--appearance_scale=2"], "--appearance_scale is for --model, which is not given"),
  (["--model=gone.keras"], "--model: expected a file, found none at gone.keras"),
  (["--model=picture.keras", "--appearance_scale=1,2"], "--appearance_scale: expected 1 or 3 numbers, received 2"),
  (["--model=picture.keras", "--motion_scale=1,2,3"], "--motion_scale: expected 1 numbers, received 3"),
  (["--model=picture.keras", "--appearance_mean=dark"], "--appearance_mean: expected numbers"),
  (["--model=picture.keras", "--appearance_input=picture", "--video_input=picture"], "expected one of them, received both"),
  (["--model=picture.keras", "--video_input=pictures"], "(--video_input). Nearest: picture"),
  (["--model=picture.keras", "--video_input=picture"], "expected a film (T, H, W, 3), received an input (8, 8, 3)"),
  (["--model=picture.keras", "--model_classes=a,b,a"], "expected names that differ, received 'a' twice"),
  (["--model=picture.keras", "--model_classes=gone.txt"], "--model_classes: expected a file, found none at gone.txt"),
  (["--model=picture.keras", "--model_classes=a,b,c"], "expected scores of 3 classes, at least 2, found 2"),
  (["--model=film.keras"], "--import=MODULE"),
  (["--model=film.keras", "--import=my_layer"], "--import: module 'my_layer' cannot be imported"),
  (
    ["--model=picture.keras", "--model_classes=names.txt", "--appearance_scale=0.5", "--appearance_offset=1,2,3", "--appearance_mean=7"],
    [["Boxing", "Playing a flute"], [7.0, 7.0, 7.0], 8, 1, [[0.5, [1.0, 2.0, 3.0]]]],
  ),
  (
    ["--model=film.keras", "--import=my_layers", "--video_input=film", "--model_frames=5", "--model_size=40", "--model_spacing=2"],
    [["class_1", "class_2"], [127.5, 127.5, 127.5], 40, 5, []],
  ),
]


def test_networks_are_read_and_kept_and_mistakes_are_told(tmp_path):
  (tmp_path / "my_layers.py").write_text(_LAYERS)
  (tmp_path / "names.txt").write_text("Boxing\n\nPlaying a flute\n")
  environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}

  def run(*arguments):
    done = calls.run(*arguments, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout

  (tmp_path / "models.py").write_text(_MODELS)
  run("models.py")
  (tmp_path / "elsewhere").mkdir()
  (tmp_path / "elsewhere" / "driver.py").write_text(_DRIVER)
  said = json.loads(run("elsewhere/driver.py", json.dumps([arguments for arguments, _ in CALLS])).splitlines()[-1])
  for (arguments, wanted), found in zip(CALLS, said, strict=True):
    if isinstance(wanted, str):
      assert wanted in found, arguments
    else:
      assert found[1:] == wanted, arguments
