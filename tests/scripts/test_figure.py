"""tbvis-figure as a user calls it, on a tiny network and a really prepared set."""

import json
import pathlib

import pytest

from tbvis.models import checkpoint as checkpoint_lib
from tbvis.rendering import animation
from tests import calls
from tests.datasets.conftest import prepare_folder, write_video

# Every test starts programs that load TensorFlow.
pytestmark = pytest.mark.slow

FLAGFILES = pathlib.Path(__file__).resolve().parents[2] / "flags" / "figures"
CLASSES = ("PlayingCello", "PlayingTabla")


def _run(folder, *arguments):
  return calls.call("figure", f"--output_dir={folder / 'figures'}", "--steps=2", *arguments)


@pytest.fixture(scope="module")
def given(tmp_path_factory):
  """A folder with a network of two classes and a set with clips of both."""
  folder = tmp_path_factory.mktemp("figure")
  made = checkpoint_lib.build("two_stream_fusion_vgg16", {"width": 0.05, "input_size": 32, "fc_units": 4}, CLASSES)
  checkpoint_lib.save_checkpoint(made, folder / "net.keras")
  for seed, (name, group) in enumerate((name, group) for name in CLASSES for group in (1, 8)):
    write_video(folder / "videos" / name / f"v_{name}_g{group:02d}_c01.avi", shift=3.0, seed=seed)
  prepare_folder(folder / "videos", folder / "data", "moves")
  return folder, [f"--checkpoint={folder / 'net.keras'}", f"--data_dir={folder / 'data'}", "--dataset=moves_split1_dis"]


def test_a_figure_is_made_with_clips_told_what_it_lacks_and_not_made_twice(given):
  folder, arguments = given
  call = [*arguments, f"--flagfile={FLAGFILES / 'fig12.flags'}", "--dtype=float32"]
  done = _run(folder, *call)
  assert done.returncode == 0, done.stderr[-3000:]
  made = folder / "figures"
  told = json.loads((made / "fig12.json").read_text())
  assert [unit["unit"] for unit in told["units"]] == ["prediction/PlayingCello"]
  caption = (made / "fig12.txt").read_text()
  assert "The row prediction/PlayingViolin is left out: the network has no class PlayingViolin (nearest: PlayingTabla)." in caption
  assert "chi = 10; kappa = 1, chi = 0; 2 steps, preset default, seed 0" in caption and "net.keras" in caption
  assert told["clips"] == ["v_PlayingCello_g01_c01"] and "no predictions of clips were given" in caption
  page = (made / "fig12.html").read_text()
  # Two motions, a clip and its flow.
  assert page.count("data:image/webp") == 4 and page.count("data:image/png") == 1 and "Fig. 12: PlayingCello and PlayingViolin" in page
  assert len(animation.decode((made / "fig12.gif").read_bytes())) == 10
  assert animation.decode((made / "fig12.png").read_bytes()).ndim == 4
  # All is there: nothing is loaded. With one file gone it is made again, of stimuli that are kept.
  again = _run(folder, *call)
  assert "fig12: finished by an earlier run" in again.stdout and "TensorFlow" not in again.stderr
  (made / "fig12.gif").unlink()
  kept = {path: path.stat().st_mtime_ns for path in (made / "stimuli").rglob("*.npz")}
  assert len(kept) == 2 and _run(folder, *call).returncode == 0 and (made / "fig12.gif").is_file()
  assert {path: path.stat().st_mtime_ns for path in (made / "stimuli").rglob("*.npz")} == kept


def test_the_schematic_and_mistakes(given):
  folder, arguments = given
  done = _run(folder, *arguments[:1], f"--flagfile={FLAGFILES / 'fig02.flags'}")
  assert done.returncode == 0, done.stderr[-3000:]
  assert "<svg" in (folder / "figures" / "fig02.html").read_text() and (folder / "figures" / "fig02.png").is_file()
  for more, said in (
    ([*arguments[:1], f"--flagfile={FLAGFILES / 'fig13.flags'}"], "The network has nothing to show here."),
    ([f"--flagfile={FLAGFILES / 'fig12.flags'}", "--pair=PlayingCello"], "--pair: expected two classes"),
    (["--units=prediction/f001"], "--figure: expected a name such as fig11"),
    (["--figure=fig01", "--data_dir=here"], "--dataset: expected the name of a prepared set"),
  ):
    done = _run(folder, *more)
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr[-2000:]
    assert said in done.stderr.splitlines()[-1]
