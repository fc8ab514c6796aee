"""tbvis-explain as a user calls it, on a tiny network and a really prepared set."""

import json

import numpy as np
import pytest

from tb_plugin import explanations
from tbvis import summaries
from tbvis.diagnostics import predictions as predictions_lib
from tbvis.models import checkpoint as checkpoint_lib
from tests import calls
from tests.datasets.conftest import prepare_folder, write_video

# Every test starts programs that load TensorFlow.
pytestmark = pytest.mark.slow

CLASSES = ("Left", "Right")
# Two test clips and two held-out ones a class.
GROUPS = (1, 2, 8, 9)


def _run(*arguments):
  return calls.call("explain", *arguments)


@pytest.fixture(scope="module")
def given(tmp_path_factory):
  """Arguments that every call has, and the folder of everything."""
  folder = tmp_path_factory.mktemp("explain")
  size = {"width": 0.05, "input_size": 32, "fc_units": 4}
  made = checkpoint_lib.build("two_stream_fusion_vgg16", size, CLASSES, validation_groups=[8, 9])
  checkpoint_lib.save_checkpoint(made, folder / "net.keras")
  for seed, (name, group) in enumerate((name, group) for name in CLASSES for group in GROUPS):
    write_video(folder / "videos" / name / f"v_{name}_g{group:02d}_c01.avi", shift=3.0, seed=seed)
  prepare_folder(folder / "videos", folder / "data", "moves")
  clips = [f"v_{name}_g{group:02d}_c01" for name in CLASSES for group in (1, 2)]
  scores = np.array([[2.0, 1.0], [1.0, 2.0], [1.0, 2.0], [1.0, 3.0]])
  summaries.write_confusions(folder / "logs", "evaluation", classes=CLASSES, labels=[0, 0, 1, 1], scores={"fused": scores}, clips=clips)
  predictions_lib.Predictions(tuple(clips), np.array([0, 0, 1, 1]), CLASSES, {"fused": scores}).save(folder / "predictions.npz")
  arguments = [f"--checkpoint={folder / 'net.keras'}", f"--data_dir={folder / 'data'}", "--dataset=moves_split1_dis", "--dtype=float32"]
  return folder, arguments


QUICK = ("--steps=3", "--seeds=2", "--snippets=1", "--permutations=99", "--shown=1", "--chi=0")


def test_the_most_confused_pair_is_explained_for_the_tab_and_as_a_page(given):
  folder, arguments = given
  done = _run(*arguments, *QUICK, "--top=1", f"--logdir={folder / 'logs'}", f"--json={folder / 'numbers.json'}")
  assert done.returncode == 0, done.stderr[-3000:]
  assert "Left taken for Right: 1 of 2 clips of Left were taken for Right (fused)" in done.stdout and "too few clips" in done.stdout
  shown = folder / "logs" / "evaluation" / "tbvis" / "explanations"
  found = explanations.parse((shown / "0000_0001_fused.json").read_bytes(), "Left", "Right", "fused")
  assert "too few clips" in found["evidence"][0]["title"] and "0000_0001_fused.html" in found["source"]
  page = (shown / "0000_0001_fused.html").read_text()
  assert "Why Left is taken for Right" in page and page.count("data:image/webp") >= 4
  (numbers,) = json.loads((folder / "numbers.json").read_text())["pairs"]
  assert (numbers["confused"], numbers["total"]) == (1, 2) and len(numbers["interventions"]) == 9
  assert {h["verdict"] for h in numbers["hypotheses"]} == {"too few clips"}


# One process for many calls: TensorFlow takes seconds to load.
_DRIVER = """
import json, sys
from absl import flags
from absl.testing import flagsaver
from tbvis.errors import UsageError
from tbvis.scripts import explain
said = []
for arguments in json.load(sys.stdin):
  with flagsaver.flagsaver():
    flags.FLAGS(["explain", *arguments])
    try:
      explain.main()
      said.append("nothing")
    except UsageError as error:
      said.append(str(error))
print(json.dumps(said))
"""


def test_what_the_clips_and_the_network_do_not_have_is_told_before_the_search(given):
  folder, arguments = given
  always = [*map(str, arguments), f"--predictions={folder / 'predictions.npz'}", "--steps=1000000"]
  cases = {
    ("--pair=Left,Up",): "Unknown class 'Up'",
    ("--pair=Left,Right", "--tower=motion"): "Unknown tower 'motion'",
    ("--pair=Left,Right", "--held_out_groups=77"): "--held_out_groups: expected groups of the train clips of",
    ("--pair=Left,Right", "--layer=conv9"): "--layer: Unknown layer 'conv9'",
    ("--pair=Left,Right", "--dataset=others"): "Unknown prepared set 'others'",
  }
  texts = json.dumps([[*always, *more] for more in cases])
  done = calls.run("-c", _DRIVER, input=texts)
  assert done.returncode == 0, done.stderr[-3000:]
  for (more, told), said in zip(cases.items(), json.loads(done.stdout.splitlines()[-1]), strict=True):
    assert told in said, (more, said)
