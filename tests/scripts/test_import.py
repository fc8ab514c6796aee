"""tbvis-import as a user calls it, and the other programs on what it wrote."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tbvis.models import checkpoint as checkpoint_lib
from tests import calls
from tests.weights import exporter

# Every test starts programs.
pytestmark = pytest.mark.slow

NAMES = ("Archery", "Billiards", "CleanAndJerk", "PlayingCello", "YoYo")


@pytest.fixture(scope="module")
def work(tmp_path_factory):
  """A folder with two base towers and a fusion network of MatConvNet."""
  folder = tmp_path_factory.mktemp("import")
  spatial, temporal = exporter.tower(1), exporter.tower(2, first=20)
  exporter.write_simplenn(folder / "img.mat", spatial, classes=NAMES, mean=np.array([[[90.0, 91, 92]]]))
  exporter.write_dagnn(folder / "flow.mat", temporal, mean=np.full((1, 1, 20), 128.0))
  exporter.write_dagnn(
    folder / "fusion.mat",
    exporter.fused(spatial, temporal, three_d=False),
    classes=NAMES,
    mean=np.r_[np.full(20, 128.0), 1, 2, 3][None, None],
  )
  return folder


def call(script, *arguments):
  return calls.call(script, *arguments)


def test_two_unfused_towers_in_one_file_start_the_fused_head(tmp_path):
  model = checkpoint_lib.build("two_stream_fusion_vgg16", {"width": 0.05, "input_size": 32, "fc_units": 4}, NAMES).model
  towers = [layer for layer in model.layers if layer.name.endswith(("_appearance", "_motion"))]
  np.savez(tmp_path / "pair.npz", **{f"{layer.name}/{v.name}": v.numpy() for layer in towers for v in layer.weights})
  out = tmp_path / "net.keras"
  done = call(
    "import_weights", "--format=npz", f"--weights={tmp_path / 'pair.npz'}", f"--out={out}", f"--classes={_names(tmp_path)}",
    "--input_size=40",
  )  # fmt: skip
  assert done.returncode == 0, done.stderr[-3000:]
  assert "0 missing, 0 tensors unused; conv5_fusion initialised." in done.stdout
  checkpoint = checkpoint_lib.load_checkpoint(out)
  assert (checkpoint.input_size, checkpoint.arguments["fc_units"], checkpoint.arguments["fusion"]) == (40, 4, "conv1x1")
  for name in ("fc6", "fc7", "prediction"):
    np.testing.assert_array_equal(checkpoint.model.get_layer(name).get_weights()[0], model.get_layer(f"{name}_appearance").get_weights()[0])


def _names(folder):
  (folder / "names.txt").write_text("\n".join(NAMES))
  return folder / "names.txt"


def test_a_fusion_network_goes_from_file_to_stimuli(work, tmp_path):
  out = tmp_path / "net.keras"
  done = call("import_weights", "--format=matconvnet", f"--weights={work / 'fusion.mat'}", f"--out={out}", f"--json={tmp_path / 'n.json'}")
  assert done.returncode == 0, done.stderr[-3000:]
  assert "conv_fusion_1f" in done.stdout and "-> conv5_fusion/kernel" in " ".join(done.stdout.split())
  assert "66 weights set, 0 missing, 0 tensors unused." in done.stdout
  assert json.loads((tmp_path / "n.json").read_text())["weights_set"] == 66
  checkpoint = checkpoint_lib.load_checkpoint(out)
  assert checkpoint.classes == NAMES and checkpoint.appearance_mean == (1, 2, 3)
  (origin,) = checkpoint.metadata["sources"]
  assert (origin["file"], origin["format"], len(origin["sha256"])) == ("fusion.mat", "matconvnet", 64)
  maximize = call(
    "maximize", f"--checkpoint={out}", "--units=conv3_1_appearance/f001,prediction/YoYo", "--chi=1", "--steps=4",
    f"--logdir={tmp_path / 'logs'}", "--dtype=float32",
  )  # fmt: skip
  assert maximize.returncode == 0, maximize.stderr[-3000:]
  assert list((tmp_path / "logs").rglob("events.out.*"))


def test_two_towers_make_one_network(work, tmp_path):
  out = tmp_path / "net.keras"
  done = call(
    "import_weights", "--format=matconvnet", f"--weights=appearance={work / 'img.mat'},motion={work / 'flow.mat'}", f"--out={out}"
  )
  assert done.returncode == 0, done.stderr[-3000:]
  assert "initialised  conv5_fusion" in done.stdout and "0 missing" in done.stdout
  checkpoint = checkpoint_lib.load_checkpoint(out)
  assert checkpoint.classes == NAMES and checkpoint.appearance_mean == (90, 91, 92)
  assert [source["stream"] for source in checkpoint.metadata["sources"]] == ["appearance", "motion"]


# One process for many calls: TensorFlow takes seconds to load.
_DRIVER = """
import json, sys
from absl import flags
from absl.testing import flagsaver
from tbvis.errors import UsageError
from tbvis.scripts import import_weights
said = []
for arguments in json.load(sys.stdin):
  with flagsaver.flagsaver():
    try:
      flags.FLAGS(["import", *arguments])
      import_weights.main()
      said.append("")
    except (UsageError, flags.Error) as error:
      said.append(str(error))
print(json.dumps(said))
"""


def test_mistakes_are_named_and_nothing_is_written(work, tmp_path):
  (tmp_path / "empty.mat").write_bytes(b"")
  np.savez(tmp_path / "resnet.npz", **{"res2a/kernel": np.zeros((3, 3, 4, 4))})
  img, flow, out = work / "img.mat", work / "flow.mat", f"--out={tmp_path / 'never.keras'}"
  matconvnet = "--format=matconvnet"
  cases = [
    ([f"--weights={img}", out], "--format is required"),
    ([matconvnet, out], "--weights is required"),
    ([matconvnet, f"--weights={img}"], "--out is required"),
    ([matconvnet, f"--weights={img}", "--out=a.h5"], "ends in .keras, received 'a.h5'"),
    ([matconvnet, f"--weights={work / 'imgs.mat'}", out], "--weights: expected a file, found none at"),
    ([matconvnet, f"--weights={tmp_path / 'empty.mat'}", out], "empty.mat, found an empty file"),
    ([matconvnet, f"--weights={img}", out, "--model=vgg"], "flag --model=vgg: value should be one of <two_stream_fusion_vgg16"),
    ([matconvnet, f"--weights=appearance={img},appearance={flow}", out], "one file for appearance"),
    ([matconvnet, f"--weights=appearance={img},motion={flow}", "--stream=motion", out], "--stream is for one base tower"),
    ([matconvnet, f"--weights={img}", out], "missing for 32 weights of the network: conv1_1_motion/kernel"),
    ([matconvnet, f"--weights={flow}", out], "--classes is required: the file has 5 scores"),
    ([matconvnet, f"--weights={img}", "--cross_modality", out], "missing for 2 weights of the network: prediction_motion/kernel"),
    ([matconvnet, f"--weights={work / 'fusion.mat'}", "--cross_modality", out], "--cross_modality: expected one base tower of appearance"),
    ([matconvnet, f"--weights=appearance={flow},motion={img}", out], "conv1_1f makes conv1_1_appearance/kernel of shape (3, 3, 20, 4)"),
    ([matconvnet, f"--weights={work / 'fusion.mat'}", "--classes=ucf101", out], "5 classes, the network has 101"),
    ([matconvnet, f"--weights={work / 'fusion.mat'}", "--fusion=conv3x3x3", out], "conv_fusion_1f makes conv5_fusion/kernel of shape"),
    (
      [matconvnet, f"--weights={work / 'fusion.mat'}", "--width=0.5", out],
      "makes conv1_1_appearance/kernel of shape (3, 3, 3, 4), expected",
    ),
    (
      ["--format=npz", f"--weights={tmp_path / 'resnet.npz'}", out],
      "resnet.npz: expected a VGG-16, found no conv1_1 among 1 tensors (res2a",
    ),
    (["--format=npz", f"--weights={img}", out], "img.mat cannot be read as one: File is not a zip file"),
    # No mistakes: what is missing is accepted, and nothing is written.
    ([matconvnet, f"--weights={img}", "--cross_modality", "--allow_partial", "--dry_run"], ""),
    ([matconvnet, f"--weights={work / 'fusion.mat'}", "--dry_run", "--chunks=2"], ""),
  ]
  driven = calls.run("-c", _DRIVER, input=json.dumps([arguments for arguments, _ in cases]))
  assert driven.returncode == 0, driven.stderr[-3000:]
  said = json.loads(driven.stdout.splitlines()[-1])
  for message, (arguments, expected) in zip(said, cases, strict=True):
    assert expected in message and bool(expected) == bool(message) and "\n" not in message, (arguments, message)
  assert not (tmp_path / "never.keras").exists()
  assert "flow.mat: a base tower of motion, its first kernel takes 20 channels." in driven.stdout


def test_a_mistake_is_one_line_and_status_2(work):
  done = call("import_weights", "--format=matlab", f"--weights={work / 'img.mat'}")
  assert done.returncode == 2
  assert len(done.stderr.strip().splitlines()) == 1 and "matconvnet, caffe, pytorch, keras, npz" in done.stderr


def test_two_towers_of_pytorch_and_what_is_assumed_of_their_inputs(tmp_path):
  torch = pytest.importorskip("torch")
  from tests.torch_networks import vgg16

  pairs = {"rgb": vgg16.Vgg16(3), "flow": vgg16.Vgg16(20, seed=1)}
  state = {f"{name}.{key}": value for name, tower in pairs.items() for key, value in tower.state_dict().items()}
  torch.save({"state_dict": state}, tmp_path / "net.pth")
  (tmp_path / "names.txt").write_text("\n".join(NAMES))
  common = ["--format=pytorch", f"--weights={tmp_path / 'net.pth'}", f"--classes={tmp_path / 'names.txt'}"]
  means = []
  for number, flags in enumerate(([], ["--preprocessing=raw"])):
    out = tmp_path / f"{number}.keras"
    done = call("import_weights", *common, f"--out={out}", *flags)
    assert done.returncode == 0, done.stderr[-3000:]
    assert ("inputs of the network (raw): R, G, B bytes less" in done.stdout) == bool(flags)
    network = checkpoint_lib.load_checkpoint(out)
    means.append(np.array(network.appearance_mean))
    kernel = state["rgb.features.0.weight"].numpy().transpose(2, 3, 1, 0)
    scale = 1.0 if flags else 255 * np.array([0.229, 0.224, 0.225])[:, None]
    np.testing.assert_allclose(network.model.get_layer("conv1_1_appearance").get_weights()[0], kernel / scale, rtol=1e-5)
  assert np.abs(means[0] - means[1]).max() > 0.05
  for flags, text in (
    (["--preprocessing=rwa"], "Nearest: raw"),
    ([f"--prototxt={tmp_path / 'names.txt'}"], "--prototxt: expected --format=caffe and one file"),
  ):
    done = call("import_weights", *common, f"--out={tmp_path / 'x.keras'}", *flags)
    assert done.returncode == 2 and text in done.stderr and done.stderr.startswith("tbvis-import: error:"), done.stderr


def test_the_files_tell_which_network_they_are_of(tmp_path):
  torch = pytest.importorskip("torch")
  from tests.torch_networks import tsn

  theirs = tsn.Network("tsn_bn_inception", 10, len(NAMES), 0.0625, last=2)
  torch.save({"state_dict": {f"base_model.{name}": value for name, value in theirs.state_dict().items()}}, tmp_path / "flow.pth")
  common = ["--format=pytorch", f"--weights={tmp_path / 'flow.pth'}", f"--classes={_names(tmp_path)}", "--input_size=64"]
  done = call("import_weights", *common, f"--out={tmp_path / 'net.keras'}")
  assert done.returncode == 0, done.stderr[-3000:]
  assert "flow.pth: a base tower of motion, its first kernel takes 10 channels." in done.stdout
  assert "0 missing, 0 tensors unused." in done.stdout and "conv1_7x7_s2_motion: |W - mean over channels| / |W|" in done.stdout
  found = checkpoint_lib.load_checkpoint(tmp_path / "net.keras")
  wanted = {"width": 0.0625, "classes": len(NAMES), "stream": "motion", "input_size": 64}
  assert (found.architecture, found.arguments) == ("tsn_bn_inception", wanted)
  done = call("import_weights", *common, f"--out={tmp_path / 'no.keras'}", "--fc_units=8")
  assert done.returncode == 2 and "--fc_units: tsn_bn_inception has no such argument." in done.stderr
