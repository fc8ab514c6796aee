"""MatConvNet networks: their structure as METHOD 1.6 has it, their conventions beside PyTorch and SciPy, and bad files."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from tbvis.errors import UsageError
from tbvis.models import two_stream
from tbvis.models.tower import EPSILON
from tbvis.weights import inference, matconvnet, transfer
from tests.weights import exporter, fuzz

torch = pytest.importorskip("torch")
scipy_signal = pytest.importorskip("scipy.signal")

# Together they take a good part of a minute.
pytestmark = pytest.mark.slow

NAMES = ("Archery", "Billiards", "CleanAndJerk", "PlayingCello", "YoYo")
CHANNELS = (4, 8, 16, 32, 32)
TOLERANCE = 1e-4


def inputs(side, seed=0):
  rng = np.random.default_rng(seed)
  return rng.normal(size=(2, side, side, 3)).astype(np.float32), rng.normal(size=(2, side, side, 20)).astype(np.float32)


def towers(**more):
  return exporter.tower(1, **more), exporter.tower(2, first=20, **more)


def network(targets, path):
  arguments = inference.infer_arguments(targets, str(path), {})
  return two_stream.two_stream_fusion_vgg16(**arguments)


def imported(path, stream=None):
  source = matconvnet.read(path)
  targets = matconvnet.targets(source, stream)
  model = network(targets, path)
  plan = transfer.make_plan(transfer.weight_shapes(model), [(source, targets)])
  plan.check(str(path))
  transfer.apply(plan, model)
  return model


@pytest.mark.parametrize("form", [{}, {"under_net": False}, {"squeezed": True}, {"compressed": False}], ids=str)
@pytest.mark.parametrize("three_d", [False, True], ids=["2-D", "3-D"])
def test_a_fusion_network_computes_what_pytorch_computes(tmp_path, three_d, form):
  from tests.torch_networks import compare, vgg16

  params = exporter.fused(*towers(), three_d=three_d)
  exporter.write_dagnn(tmp_path / "net.mat", params, **form)
  model = imported(tmp_path / "net.mat")
  appearance, motion = inputs(64)
  differences = compare.largest_differences(model, vgg16.run_fused(params, appearance, motion), appearance=appearance, motion=motion)
  assert len(differences) == 33
  assert max(differences.values()) < TOLERANCE, differences


@pytest.mark.slow
def test_full_width_computes_what_pytorch_computes(tmp_path):
  from tests.torch_networks import compare, vgg16

  # All channels of the published towers; fc6 and fc7 smaller, at a crop of 64.
  params = exporter.fused(*towers(channels=(64, 128, 256, 512, 512), units=256, classes=101), three_d=False)
  exporter.write_dagnn(tmp_path / "net.mat", params, compressed=False)
  model = imported(tmp_path / "net.mat")
  appearance, motion = inputs(64)
  differences = compare.largest_differences(model, vgg16.run_fused(params, appearance, motion), appearance=appearance, motion=motion)
  assert max(differences.values()) < TOLERANCE, differences


@pytest.mark.parametrize("mutate", ["flip", "transpose", "time"])
def test_another_convention_would_be_seen(tmp_path, mutate):
  from tests.torch_networks import compare, vgg16

  params = exporter.fused(*towers(), three_d=mutate == "time")
  exporter.write_dagnn(tmp_path / "net.mat", params)
  model = imported(tmp_path / "net.mat")
  if mutate == "time":  # Time taken for height.
    wrong = {**params, "conv3Df": params["conv3Df"].transpose(2, 0, 1, 3, 4)}
  else:
    change = (lambda k: k[::-1, ::-1]) if mutate == "flip" else (lambda k: k.transpose(1, 0, 2, 3))
    wrong = {**params, "conv1_1f_spatial": change(params["conv1_1f_spatial"])}
  appearance, motion = inputs(64)
  differences = compare.largest_differences(model, vgg16.run_fused(wrong, appearance, motion), appearance=appearance, motion=motion)
  assert differences["conv5_fusion" if mutate == "time" else "conv1_1_appearance"] > 0.01


def test_a_convolution_is_scipys_correlation(tmp_path):
  params = exporter.fused(*towers(), three_d=True)
  exporter.write_dagnn(tmp_path / "net.mat", params)
  source = matconvnet.read(tmp_path / "net.mat")
  targets = {(t.layer, t.weight): t.value for t in matconvnet.targets(source, None)}
  rng = np.random.default_rng(0)
  # 2-D: MatConvNet's [kh kw cin cout], no kernel flipped.
  x = rng.normal(size=(7, 6, 3))
  kernel, ours = params["conv1_1f_spatial"], targets["conv1_1_appearance", "kernel"]
  expected = sum(scipy_signal.correlate(x[:, :, c], kernel[:, :, c, 2], mode="same") for c in range(3))
  found = keras.ops.convert_to_numpy(keras.ops.conv(x[None].astype("float32"), ours, padding="same"))[0, :, :, 2]
  np.testing.assert_allclose(found, expected, atol=1e-4)
  assert np.abs(found - sum(scipy_signal.convolve(x[:, :, c], kernel[:, :, c, 2], mode="same") for c in range(3))).max() > 0.1
  # 3-D: [kh kw kt cin cout] over (H, W, T); ours is over (T, H, W).
  kernel, ours = params["conv3Df"], targets["conv5_fusion", "kernel"]
  x = rng.normal(size=(5, 6, 4, kernel.shape[3]))
  expected = sum(scipy_signal.correlate(x[..., c], kernel[..., c, 1], mode="same") for c in range(x.shape[3]))
  found = keras.ops.conv(x.transpose(2, 0, 1, 3)[None].astype("float32"), ours, padding="same")
  np.testing.assert_allclose(keras.ops.convert_to_numpy(found)[0, ..., 1].transpose(1, 2, 0), expected, atol=1e-4)


@pytest.mark.parametrize("old", [False, True], ids=["weights", "filters and biases"])
def test_a_simplenn_is_the_same_tower(tmp_path, old):
  spatial, _ = towers()
  exporter.write_simplenn(tmp_path / "simple.mat", spatial, old=old, classes=NAMES, mean=np.full((4, 5, 3), [1.0, 2, 3]))
  exporter.write_dagnn(tmp_path / "dag.mat", spatial)
  simple, dag = (matconvnet.read(tmp_path / name) for name in ("simple.mat", "dag.mat"))
  assert simple.info["classes"] == NAMES and simple.info["appearance_mean"] == (1, 2, 3)
  assert list(simple.tensors) == list(dag.tensors)
  one, two = (matconvnet.targets(source, "appearance") for source in (simple, dag))
  assert [(t.layer, t.weight) for t in one] == [(t.layer, t.weight) for t in two]
  assert one[-2].layer == "prediction_appearance" and one[0].layer == "conv1_1_appearance"
  for left, right in zip(one, two, strict=True):
    np.testing.assert_array_equal(left.value, right.value)


def test_one_filter_keeps_its_axis(tmp_path):
  spatial, _ = towers(classes=1)
  for name, write in (("dag.mat", exporter.write_dagnn), ("simple.mat", exporter.write_simplenn)):
    write(tmp_path / name, spatial)
    kernel = {t.layer: t for t in matconvnet.targets(matconvnet.read(tmp_path / name), "appearance") if t.weight == "kernel"}
    assert kernel["prediction_appearance"].value.shape == (1, 1, 12, 1)


@pytest.mark.parametrize(
  ("image", "mean"),
  [
    (np.arange(3.0).reshape(1, 1, 3), (0, 1, 2)),
    (np.r_[np.full(20, 128.0), 7, 8, 9].reshape(1, 1, 23), (7, 8, 9)),
    (np.full((1, 1, 20), 128.0), None),
    (np.arange(3.0), (0, 1, 2)),
    (None, None),
  ],
  ids=["RGB", "flow and RGB", "flow", "squeezed", "none"],
)
def test_the_mean_is_found_in_every_form(tmp_path, image, mean):
  exporter.write_dagnn(tmp_path / "net.mat", towers()[0], mean=image)
  assert matconvnet.read(tmp_path / "net.mat").info.get("appearance_mean") == mean


def test_a_mean_that_is_no_number_is_refused(tmp_path):
  exporter.write_dagnn(tmp_path / "net.mat", towers()[0], mean=np.array([1, np.nan, 3]).reshape(1, 1, 3))
  with pytest.raises(UsageError, match=r"net\.mat: expected an appearance mean of three finite numbers"):
    matconvnet.read(tmp_path / "net.mat")


def _with_batch_norm(path, epsilon):
  rng = np.random.default_rng(4)
  mult, bias, mean = (rng.normal(size=6).astype(np.float32) for _ in range(3))
  variance = rng.uniform(0.5, 2, 6).astype(np.float32)
  params = {"bn_conv1_mult": mult[:, None], "bn_conv1_bias": bias[:, None]}
  params["bn_conv1_moments"] = np.stack([mean, np.sqrt(variance + epsilon)], axis=1)
  block = {"numChannels": 6.0, "epsilon": epsilon, "opts": exporter.cell([])}
  layer = {"name": "bn_conv1", "type": "dagnn.BatchNorm", "inputs": exporter.cell(["x"]), "outputs": exporter.cell(["y"]),
           "params": exporter.cell(list(params)), "block": block}  # fmt: skip
  rows = [{"name": name, "value": value, "learningRate": 1.0, "weightDecay": 1.0} for name, value in params.items()]
  import scipy.io

  scipy.io.savemat(path, {"net": {"params": exporter.struct_array(rows), "layers": exporter.struct_array([layer])}})
  return torch.tensor(mean), torch.tensor(variance), torch.tensor(mult), torch.tensor(bias)


def test_batch_norms_second_moment_is_a_standard_deviation(tmp_path):
  epsilon = 1e-2
  mean, variance, mult, bias = _with_batch_norm(tmp_path / "bn.mat", epsilon)
  targets = {t.weight: t.value for t in matconvnet.targets(matconvnet.read(tmp_path / "bn.mat"), "appearance")}
  x = np.random.default_rng(5).normal(size=(8, 6)).astype(np.float32)
  expected = torch.nn.functional.batch_norm(torch.tensor(x), mean, variance, mult, bias, eps=epsilon).numpy()

  def ours(**changed):
    layer = keras.layers.BatchNormalization(epsilon=EPSILON)
    layer.build((None, 6))
    layer.set_weights([{**targets, **changed}[name] for name in ("gamma", "beta", "moving_mean", "moving_variance")])
    return keras.ops.convert_to_numpy(layer(x))

  np.testing.assert_allclose(ours(), expected, rtol=1e-4, atol=1e-5)
  # Both mistakes that this could be: the deviation taken for a variance, and the file's epsilon taken for ours.
  sigma = np.sqrt(targets["moving_variance"] + EPSILON)
  assert np.abs(ours(moving_variance=sigma) - expected).max() > 1e-2
  assert np.abs(ours(moving_variance=sigma**2 - epsilon) - expected).max() > 1e-3


def test_two_towers_make_one_network_and_the_fused_head_starts_as_the_appearances(tmp_path):
  spatial, temporal = towers()
  exporter.write_dagnn(tmp_path / "img.mat", spatial)
  exporter.write_simplenn(tmp_path / "flow.mat", temporal)
  parts = []
  for name, stream in (("img.mat", "appearance"), ("flow.mat", "motion")):
    source = matconvnet.read(tmp_path / name)
    parts.append((source, transfer.with_fused_head(matconvnet.targets(source, stream))))
  model = network([target for _, targets in parts for target in targets], tmp_path)
  plan = transfer.make_plan(transfer.weight_shapes(model), parts)
  plan.check("both")
  assert plan.initialised == ("conv5_fusion",) and "initialised  conv5_fusion" in plan.table()
  transfer.apply(plan, model)
  for head, layer in (("fc6", "fc6"), ("fc7", "fc7"), ("prediction", "layer38")):
    for suffix, tower in (("", spatial), ("_appearance", spatial), ("_motion", temporal)):
      np.testing.assert_array_equal(model.get_layer(f"{head}{suffix}").get_weights()[0], tower[f"{layer}f"])
  identity = keras.ops.convert_to_numpy(model.get_layer("conv5_fusion").kernel)[0, 0]
  np.testing.assert_array_equal(identity, np.concatenate([0.25 * np.eye(32), 0.75 * np.eye(32)]))


def test_a_network_fused_into_its_temporal_tower_is_refused(tmp_path):
  exporter.write_dagnn(tmp_path / "net.mat", exporter.fused(*towers(), three_d=False), fuse_into=exporter.TEMPORAL)
  with pytest.raises(UsageError, match="net.mat: layer relu5_3_concat joins the temporal tower before the spatial one"):
    matconvnet.targets(matconvnet.read(tmp_path / "net.mat"), None)


def test_what_is_left_over_is_named(tmp_path):
  spatial, _ = towers()
  exporter.write_dagnn(tmp_path / "net.mat", spatial, extra={"lost": np.zeros((2, 3), np.float32)})
  source = matconvnet.read(tmp_path / "net.mat")
  targets = transfer.with_fused_head(matconvnet.targets(source, "appearance"))
  plan = transfer.make_plan(transfer.weight_shapes(network(targets, "net")), [(source, targets)])
  with pytest.raises(
    UsageError, match=r"net.mat: missing for 32 weights .*conv1_1_motion/kernel.*unused 1 tensors .*: lost \(no such layer\)"
  ):
    plan.check(str(tmp_path / "net.mat"))
  plan.check("net.mat", allow_partial=True)


def test_a_simplenns_other_weights_are_left_over_and_named(tmp_path):
  spatial, _ = towers()
  moments = np.array([[1.0, 2], [3, 4]], np.float32)
  norm = {"name": "bn1", "type": "bnorm", "weights": exporter.cell([np.ones(2), np.zeros(2), moments]), "epsilon": 0.5}
  up = {"name": "up", "type": "convt", "weights": exporter.cell([np.ones((2, 2, 3)), np.zeros((0, 0))])}
  bare = {"type": "custom", "weights": exporter.cell([np.ones(5)])}
  exporter.write_simplenn(tmp_path / "net.mat", spatial, extra=[norm, up, bare])
  source = matconvnet.read(tmp_path / "net.mat")
  extra = ["bn1m", "bn1b", "bn1x", "up_1", "layer42_1"]
  assert list(source.tensors)[-5:] == extra and len(source.tensors) == len(spatial) + 5
  targets = transfer.with_fused_head(matconvnet.targets(source, "appearance"))
  norms = {t.weight: t.value.tolist() for t in targets if t.layer == "bn1_appearance"}
  # Deviations of 2 and 4, whatever epsilon was under their root: the variance is for ours.
  variance = norms.pop("moving_variance")
  assert norms == {"gamma": [1, 1], "beta": [0, 0], "moving_mean": [1, 3]}
  assert variance == pytest.approx([4 - EPSILON, 16 - EPSILON], rel=1e-6)
  plan = transfer.make_plan(transfer.weight_shapes(network(targets, "net")), [(source, targets)])
  assert [name for _, name, _ in plan.unused] == extra
  with pytest.raises(UsageError, match=r"unused 5 tensors .*bn1m \(the network has no bn1_appearance/gamma\)"):
    plan.check("net.mat")


def test_a_simplenns_layers_of_one_name_go_by_their_numbers(tmp_path):
  spatial, _ = towers()
  exporter.write_simplenn(tmp_path / "net.mat", spatial, extra=[{"name": "fc6", "type": "conv", "weights": exporter.cell([np.ones(2)])}])
  assert list(matconvnet.read(tmp_path / "net.mat").tensors)[-1] == "layer40f"
  names = [{"name": name, "type": "conv", "weights": exporter.cell([np.ones(2)])} for name in ("layer41", "layer41")]
  exporter.write_simplenn(tmp_path / "net.mat", spatial, extra=names)
  with pytest.raises(UsageError, match="net.mat: layer 41 has parameters of the name of another layer's, 'layer41'"):
    matconvnet.read(tmp_path / "net.mat")


@pytest.mark.parametrize(
  ("content", "message"),
  [
    (b"", "found an empty file"),
    (b"MATLAB 7.3 MAT-file, Platform: GLNXA64" + bytes(600), "v7.3 .HDF5.. Expected v7: save it again"),
    (b"\x89HDF\r\n\x1a\n" + bytes(600), "v7.3"),
    (bytes(200), "or one of v4"),
    (b"not a network" * 20, "does not begin like one"),
  ],
)
def test_files_of_another_kind_are_refused(tmp_path, content, message):
  (tmp_path / "a.mat").write_bytes(content)
  with pytest.raises(UsageError, match=f"a.mat.*{message}|{message}.*a.mat"):
    matconvnet.read(tmp_path / "a.mat")


def test_networks_of_another_kind_are_refused(tmp_path):
  import scipy.io

  scipy.io.savemat(tmp_path / "a.mat", {"scores": np.zeros((3, 4))})
  with pytest.raises(UsageError, match="a.mat: expected a MatConvNet network with `layers`.*found scores"):
    matconvnet.read(tmp_path / "a.mat")
  scipy.io.savemat(tmp_path / "a.mat", {"net": {"layers": np.zeros(3), "params": 1.0}})
  with pytest.raises(UsageError, match="a.mat: expected struct arrays `layers` and `params`"):
    matconvnet.read(tmp_path / "a.mat")


SAMPLE = {"channels": (4, 4, 4, 4, 4), "units": 4, "classes": 3, "side": 1}


def import_like_the_script(path):
  """Everything between a file and a network; for `fuzz`."""
  source = matconvnet.read(path)
  targets = transfer.with_fused_head(matconvnet.targets(source, "appearance"))
  inference.infer_arguments(targets, str(path), {})
  transfer.make_plan(_shapes(), [(source, targets)]).check(str(path), allow_partial=True)


def _shapes():
  tower = exporter.tower(1, **SAMPLE)
  shapes = {
    f"{name[:-1]}_appearance/{'kernel' if name[-1] == 'f' else 'bias'}": v.shape if v.ndim == 4 else v.shape[1:]
    for name, v in tower.items()
  }
  return {name.replace("layer38", "prediction"): shape for name, shape in shapes.items()}


@pytest.mark.slow
@pytest.mark.parametrize("compressed", [True, False], ids=["v7", "v6"])
def test_damaged_files_are_one_error(tmp_path, compressed):
  exporter.write_dagnn(tmp_path / "net.mat", exporter.tower(1, **SAMPLE), compressed=compressed)
  found = fuzz.outcomes("tests.weights.test_matconvnet:import_like_the_script", tmp_path / "net.mat", tmp_path, count=320)
  assert found["refused"] > (280 if compressed else 130), found


def test_wrong_networks_and_values_are_one_error(tmp_path):
  rng = np.random.default_rng(0)
  good, refused = exporter.tower(1, **SAMPLE), 0
  names = [name for name in good if name.endswith("f")]
  for case in range(100):
    params = {name: value.copy() for name, value in good.items()}
    name = names[rng.integers(len(names))]
    kind = case % 5
    if kind == 0:
      params[name].reshape(-1)[rng.integers(params[name].size)] = rng.choice([np.nan, np.inf])
    elif kind == 1:
      params[name] = np.full_like(params[name], np.nan)
    elif kind == 2:
      params[name] = np.repeat(params[name], 2, axis=int(rng.integers(4)))
    elif kind == 3:
      params[name] = params[name].astype(np.float64) * 1e300
    else:
      params[name] = params[name].transpose(rng.permutation(4))[:, :1]
    path = tmp_path / f"bad{case}.mat"
    exporter.write_simplenn(path, params)
    try:
      import_like_the_script(path)
    except UsageError as error:
      assert path.name in str(error)
      refused += 1
    path.unlink()
  # Among the transposed ones some kernels of one size are left as they were.
  assert refused >= 85
