"""Caffe's networks: bytes written by hand, parity with PyTorch, damaged files."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from tbvis.errors import UsageError
from tbvis.weights import caffe, transfer
from tests.weights import caffe_files, fuzz

torch = pytest.importorskip("torch")
from tests.torch_networks import tsn, vgg16  # noqa: E402 - it needs PyTorch

# Together they take a good part of a minute.
pytestmark = pytest.mark.slow

RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, (vgg16.SIZE, vgg16.SIZE, 3)).astype(np.float32)
FLOW = np.clip(RNG.normal(128, 20, (vgg16.SIZE, vgg16.SIZE, 20)), 0, 255).round().astype(np.float32)
FORMS = {"current": {}, "legacy shapes": {"legacy": True}, "unpacked": {"packed": False}, "double": {"double": True}}
FORMS |= {"unpacked double": {"packed": False, "double": True}}


def read_and_target(path):
  """What the fuzzer calls."""
  source = caffe.read(path)
  return source, caffe.targets(source, "appearance")


def write(path, layers):
  path.write_bytes(caffe_files.network(layers))
  return path


def vgg16_file(tower, v1=False, classifier="fc8-101", **form):
  """The layers of a tower as Caffe has them: OIHW kernels, [out, in] matrices over C, H, W."""
  modules = [module for module in (*tower.features, *tower.classifier) if any(True for _ in module.parameters())]
  layers = []
  for name, module in zip(vgg16.NAMES, modules, strict=True):
    kind = "Convolution" if module.weight.ndim == 4 else "InnerProduct"
    blobs = [caffe_files.blob(tensor.detach().numpy(), **form) for tensor in (module.weight, module.bias)]
    layers.append(caffe_files.layer(classifier if name == "prediction" else name, kind, blobs, v1=v1))
  return layers


@pytest.mark.parametrize("v1", [False, True], ids=["layer", "layers"])
@pytest.mark.parametrize("form", FORMS)
def test_an_appearance_tower_gives_what_pytorch_gives(tmp_path, form, v1):
  tower = vgg16.Vgg16(3)
  source = caffe.read(write(tmp_path / "rgb.caffemodel", vgg16_file(tower, v1, **FORMS[form])))
  assert source.info["appearance_mean"] == (123.68, 116.779, 103.939)
  model = vgg16.imported([(source, caffe.targets(source, "appearance"))])
  # Caffe's network is given B, G, R.
  theirs = IMAGE[..., ::-1] - np.float32([103.939, 116.779, 123.68])
  ours = IMAGE - np.float32(source.info["appearance_mean"])
  vgg16.assert_same(model, "appearance", ours, tower, theirs.transpose(2, 0, 1), fused_head=True)


def test_flow_keeps_its_order(tmp_path):
  tower = vgg16.Vgg16(20)
  source = caffe.read(write(tmp_path / "flow.caffemodel", vgg16_file(tower)))
  model = vgg16.imported([(source, caffe.targets(source, "motion"))])
  vgg16.assert_same(model, "motion", FLOW - 128, tower, (FLOW - 128).transpose(2, 0, 1))


def test_red_and_blue_are_exchanged_for_pictures_alone(tmp_path):
  for stream, channels in vgg16.CHANNELS.items():
    kernel = np.zeros((1, channels, 1, 1), np.float32)
    kernel[0, 0] = 1
    layers = [caffe_files.layer("conv1_1", "Convolution", [caffe_files.blob(kernel)])]
    target = caffe.targets(caffe.read(write(tmp_path / f"{stream}.caffemodel", layers)), stream)[0]
    assert np.flatnonzero(target.value[0, 0, :, 0]).tolist() == [{"appearance": 2, "motion": 0}[stream]]


def test_convolutional_classifiers_are_taken_as_they_are(tmp_path):
  kernel = RNG.normal(size=(5, 4, 2, 2)).astype(np.float32)
  layers = [caffe_files.layer("conv1_1", "Convolution", [caffe_files.blob(np.ones((4, 3, 3, 3)))])]
  layers.append(caffe_files.layer("fc6", "Convolution", [caffe_files.blob(kernel)]))
  targets = caffe.targets(caffe.read(write(tmp_path / "dense.caffemodel", layers)), "appearance")
  assert {target.layer for target in targets} == {"conv1_1_appearance", "fc6_appearance"}
  np.testing.assert_array_equal(targets[1].value, kernel.transpose(2, 3, 1, 0))


def test_grouped_convolutions_give_what_pytorch_gives(tmp_path):
  conv = torch.nn.Conv2d(6, 8, 3, groups=2, padding=1)
  first = caffe_files.layer("conv1_1", "Convolution", [caffe_files.blob(np.ones((6, 3, 3, 3)))])
  settings = caffe_files.field(106, caffe_files.field(5, 2) + caffe_files.field(4, 3))
  blobs = [caffe_files.blob(conv.weight.detach().numpy()), caffe_files.blob(conv.bias.detach().numpy())]
  grouped = caffe_files.layer("conv1_2", "Convolution", blobs, settings=settings)
  source = caffe.read(write(tmp_path / "grouped.caffemodel", [first, grouped]))
  groups = source.info["layers"][1]["groups"]
  layer = keras.layers.Conv2D(8, 3, padding="same", groups=groups)
  layer.build((None, 5, 5, 6))
  values = {target.weight: target.value for target in caffe.targets(source, "appearance") if target.layer.startswith("conv1_2")}
  layer.set_weights([values["kernel"], values["bias"]])
  image = RNG.normal(size=(1, 5, 5, 6)).astype(np.float32)
  wanted = conv(torch.from_numpy(image.transpose(0, 3, 1, 2))).detach().numpy().transpose(0, 2, 3, 1)
  assert groups == 2
  np.testing.assert_allclose(layer(image), wanted, rtol=1e-4, atol=1e-5)


def normalised_tower(tmp_path, form):
  """A first convolution of BN-Inception, and a normalisation behind it in TSN's form or in that of BVLC's two layers."""
  mean, variance, gamma, beta = (RNG.uniform(0.5, 4, 3).astype(np.float32) for _ in range(4))
  layers = [caffe_files.layer("conv1/7x7_s2", "Convolution", [caffe_files.blob(np.ones((3, 3, 7, 7)))], "data")]
  if form == "BN":
    blobs = [caffe_files.blob(value.reshape(1, 3, 1, 1)) for value in (gamma, beta, mean, variance)]
    layers.append(caffe_files.layer("conv1/7x7_s2_bn", "BN", blobs, "conv1/7x7_s2"))
  else:
    blobs = [caffe_files.blob(value) for value in (mean * 999, variance * 999, np.float32([999]))]
    layers.append(caffe_files.layer("conv1/7x7_s2_bn", "BatchNorm", blobs, "conv1/7x7_s2", "conv1/7x7_s2"))
    blobs = [caffe_files.blob(value) for value in (gamma, beta)]
    layers.append(caffe_files.layer("conv1/7x7_s2_scale", "Scale", blobs, "conv1/7x7_s2", "conv1/7x7_s2"))
  return caffe.read(write(tmp_path / "bn.caffemodel", layers)), (mean, variance, gamma, beta)


@pytest.mark.parametrize("form", ["BN", "BatchNorm"])
def test_normalisations_give_what_pytorch_gives(tmp_path, form):
  source, (mean, variance, gamma, beta) = normalised_tower(tmp_path, form)
  layer = keras.layers.BatchNormalization(epsilon=source.info["layers"][1].get("epsilon", 1e-5))
  layer.build((None, 4, 4, 3))
  targets = caffe.targets(source, "appearance")
  values = {target.weight: target.value for target in targets if target.layer == "conv1_7x7_s2_bn_appearance"}
  layer.set_weights([values[variable.name] for variable in layer.weights])
  image = RNG.normal(size=(1, 4, 4, 3)).astype(np.float32)
  wanted = torch.nn.functional.batch_norm(
    torch.from_numpy(image.transpose(0, 3, 1, 2)), *(torch.from_numpy(value) for value in (mean, variance, gamma, beta)), eps=1e-5
  )
  np.testing.assert_allclose(layer(image, training=False), wanted.numpy().transpose(0, 2, 3, 1), rtol=1e-4, atol=1e-5)
  assert {name for target in targets for name in target.sources} == set(source.tensors)


@pytest.mark.parametrize(("network", "least"), [("tsn_bn_inception", 70), ("tsn_inception_v3", 95)])
def test_all_layers_of_tsn_networks_are_found_and_nothing_is_left_over(tmp_path, network, least):
  layers, shapes, suffix = [], {}, "_motion"
  four = [caffe_files.blob(np.ones((1, 4, 1, 1)))] * 4
  for row in tsn.table(network):
    if row["op"] != "conv":
      continue
    # Caffe's names have the block's name before a "/".
    name, bn = caffe_files.tsn_name(row["name"]), tsn.batch_norm_name(row["name"])
    height, width = tsn.pair(row["kernel_hxw"])
    channels = 10 if row["input"] == "data" else 2
    blobs = [caffe_files.blob(np.ones((4, channels, height, width))), caffe_files.blob(np.ones(4))]
    layers += [caffe_files.layer(name, "Convolution", blobs), caffe_files.layer(caffe_files.tsn_name(bn), "BN", four, name)]
    shapes |= {f"{row['name']}{suffix}/kernel": (height, width, channels, 4), f"{row['name']}{suffix}/bias": (4,)}
    shapes |= {f"{bn}{suffix}/{weight}": (4,) for weight in ("gamma", "beta", "moving_mean", "moving_variance")}
  layers.append(caffe_files.layer("fc-action", "InnerProduct", [caffe_files.blob(np.ones((101, 6))), caffe_files.blob(np.ones(101))]))
  shapes |= {f"prediction{suffix}/kernel": (1, 1, 6, 101), f"prediction{suffix}/bias": (101,)}
  source = caffe.read(write(tmp_path / "tsn.caffemodel", layers))
  plan = transfer.make_plan(shapes, [(source, caffe.targets(source, "motion"))])
  plan.check("tsn")
  assert source.info["preprocessing"] == "caffe_tsn" and len(layers) > least and not plan.missing and not plan.unused


PROTOTXT = """
name: "BN-Inception"
input: "data" input_dim: 1 input_dim: 3 input_dim: 224 input_dim: 224
layer { name: "data" type: "VideoData" top: "data" transform_param { mean_value: [104, 117, 123] from_flow: true }
  video_data_param { new_length: 1 } }
layer { name: "conv1/7x7_s2" type: "Convolution" bottom: "data" top: "conv1/7x7_s2"
  param { lr_mult: 1 } convolution_param { num_output: 3 pad: 3 kernel_size: 7 stride: 2 weight_filler { type: "xavier" } } }
layer { name: "conv1/7x7_s2_bn" type: "BN" bottom: "conv1/7x7_s2" top: "conv1/7x7_s2_bn" bn_param { frozen: true eps: 0.001 } }
layer { name: "pool1/3x3_s2" type: "Pooling" bottom: "conv1/7x7_s2_bn" top: "pool1" pooling_param { pool: MAX kernel_size: 3 stride: 2 } }
layer { name: "pool2" type: "Pooling" bottom: "pool1" top: "pool2"
  pooling_param { pool: AVE kernel_h: 3 kernel_w: 5 pad_h: 1 global_pooling: true } }
"""


@pytest.mark.parametrize("beside", [True, False])
def test_the_text_tells_of_pools_and_means(tmp_path, beside):
  source, (_, variance, *_) = normalised_tower(tmp_path, "BN")
  text = tmp_path / ("bn.prototxt" if beside else "deploy.prototxt")
  text.write_text(PROTOTXT)
  source = caffe.read(source.path, None if beside else text)
  layers = {layer["name"]: layer for layer in source.info["layers"]}
  window = {"kernel": (3, 3), "stride": (2, 2), "pad": (0, 0), "method": "max", "global": False, "rounding": "ceil"}
  assert {key: layers["pool1/3x3_s2"][key] for key in window} == window
  assert (layers["pool2"]["kernel"], layers["pool2"]["pad"], layers["pool2"]["method"]) == ((3, 5), (1, 0), "average")
  assert layers["pool2"]["global"] and layers["conv1/7x7_s2"]["stride"] == (2, 2)
  assert layers["conv1/7x7_s2_bn"]["epsilon"] == pytest.approx(1e-3)
  assert source.info["appearance_mean"] == (123, 117, 104)  # R, G, B.
  assert not caffe.targets(source, None)  # One tower is no whole network.
  targets = caffe.targets(source, "appearance")
  assert {target.layer for target in targets} == {"conv1_7x7_s2_appearance", "conv1_7x7_s2_bn_appearance"}
  # Our layers add 1e-5 where this file's add 1e-3.
  (found,) = (target.value for target in targets if target.weight == "moving_variance")
  np.testing.assert_allclose(found, variance + 1e-3 - 1e-5, rtol=1e-6)


@pytest.mark.parametrize("values,mean", [("[120]", (120, 120, 120)), ("[104, 117]", None), ("[1, nan, 3]", None), ("[1, 2, inf]", None)])
def test_a_mean_is_three_finite_numbers(tmp_path, values, mean):
  source, _ = normalised_tower(tmp_path, "BN")
  (tmp_path / "bn.prototxt").write_text(PROTOTXT.replace("[104, 117, 123]", values))
  if mean:
    assert caffe.read(source.path).info["appearance_mean"] == mean
    return
  with pytest.raises(UsageError, match=r"bn\.caffemodel or its text: expected an appearance mean of three finite numbers"):
    caffe.read(source.path)


def test_older_layers_tell_of_pools_too(tmp_path):
  settings = caffe_files.field(19, b"".join(caffe_files.field(number, value) for number, value in ((1, 1), (2, 3), (3, 2))))
  layers = vgg16_file(vgg16.Vgg16(3), v1=True)
  layers.insert(0, caffe_files.layer("pool1", "Pooling", settings=settings, v1=True))
  pool = caffe.read(write(tmp_path / "old.caffemodel", layers)).info["layers"][0]
  assert (pool["type"], pool["method"], pool["kernel"], pool["stride"]) == ("Pooling", "average", (3, 3), (2, 2))
  text = 'layers { name: "pool1" type: POOLING pooling_param { pool: MAX kernel_size: 2 } } layers { name: "fc6" type: INNER_PRODUCT }'
  (tmp_path / "old.prototxt").write_text(text)
  layers = {layer["name"]: layer for layer in caffe.read(tmp_path / "old.caffemodel").info["layers"]}
  assert (layers["pool1"]["method"], layers["pool1"]["kernel"], layers["fc6"]["type"]) == ("max", (2, 2), "InnerProduct")


@pytest.mark.parametrize(
  "text,message",
  [
    ('layer { name: "conv1/7x7_s3" type: "Convolution" }', r"Unknown layer 'conv1/7x7_s3' in .*Nearest: conv1/7x7_s2"),
    ("layer { name: ", "expected the text of a Caffe network"),
    ("layer {" * 5000, "expected the text of a Caffe network"),
    ('layer { pooling_param { pool: "MOST" } }', "expected the text of a Caffe network"),
    ("", "found an empty file"),
    (b"\xff\xfe\x00", "expected the text of a Caffe network"),
  ],
)
def test_bad_texts_are_refused(tmp_path, text, message):
  source, _ = normalised_tower(tmp_path, "BN")
  (tmp_path / "bad.prototxt").write_bytes(text if isinstance(text, bytes) else text.encode())
  with pytest.raises(UsageError, match=message) as refused:
    caffe.read(source.path, tmp_path / "bad.prototxt")
  assert "bad.prototxt" in str(refused.value) and "\n" not in str(refused.value)


def good():
  return caffe_files.layer("conv1_1", "Convolution", [caffe_files.blob(np.ones((2, 3, 3, 3)))])


FIELD, BLOB = caffe_files.field, caffe_files.blob(np.ones(4))
GIGANTIC = caffe_files.varint(100 << 3 | 2) + caffe_files.varint(1 << 31)
BAD = {
  "two gigabytes declared": (GIGANTIC + b"abc", "2,147,483,648 bytes is declared where 3"),
  "more than a number may have": (GIGANTIC[:2] + b"\xff" * 20, "a number has no end"),
  "no layers": (FIELD(1, "net"), "no layer with weights"),
  "layers without weights": (caffe_files.layer("relu1", "ReLU"), "no layer with weights"),
  "values that do not fit": (
    caffe_files.layer("a", "Convolution", [BLOB + FIELD(7, FIELD(1, b"\x05"))]),
    r"\[5\] does not fit 4 values",
  ),
  "huge shape": (caffe_files.layer("a", "Convolution", [FIELD(7, FIELD(1, caffe_files.varint(1 << 62)))]), "does not fit 0 values"),
  "many dimensions": (caffe_files.layer("a", "Convolution", [FIELD(7, FIELD(1, b"\x01" * 99)) + FIELD(5, bytes(4))]), "does not fit"),
  "odd bytes": (caffe_files.layer("a", "Convolution", [FIELD(5, bytes(5))]), "a.0."),
  "one name twice": (good() + good(), "two layers are called 'conv1_1'"),
  "many layers": (FIELD(100, b"") * 20_000, "more than 10,000 layers"),
  "many blobs": (caffe_files.layer("a", "Convolution", [BLOB] * 99), "more than 16 blobs"),
  "many fields": (FIELD(3, "") * 200_000, "more than 100,000 fields"),
  "no text": (caffe_files.field(100, FIELD(1, b"\xff\xfe") + FIELD(7, BLOB)), "damaged"),
  "a type that is no text": (caffe_files.field(100, FIELD(1, "a") + FIELD(2, b"\xff") + FIELD(7, BLOB)), "a name that is no text"),
  "group": (good() + b"\x0b", "wire type 3"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_are_refused(tmp_path, case):
  content, message = BAD[case]
  (tmp_path / "bad.caffemodel").write_bytes(content)
  with pytest.raises(UsageError, match=rf"bad\.caffemodel: expected a Caffe network.*{message}") as refused:
    caffe.read(tmp_path / "bad.caffemodel")
  assert "\n" not in str(refused.value)


def test_renamed_and_other_networks_are_refused(tmp_path):
  torch.save({"a": torch.ones(3)}, tmp_path / "torch.caffemodel")
  (tmp_path / "text.caffemodel").write_text(PROTOTXT)
  for path in (tmp_path / "torch.caffemodel", tmp_path / "text.caffemodel", tmp_path / "missing.caffemodel", tmp_path):
    with pytest.raises(UsageError, match=rf"{path}") as refused:
      caffe.read(path)
    assert "a Caffe network" in str(refused.value)
  with (tmp_path / "sparse.caffemodel").open("wb") as stream:
    stream.truncate(1 << 43)
  with pytest.raises(UsageError, match="MiB free"):
    caffe.read(tmp_path / "sparse.caffemodel")
  source = caffe.read(
    write(tmp_path / "alexnet.caffemodel", [caffe_files.layer("conv1", "Convolution", [caffe_files.blob(np.ones((4, 3, 11, 11)))])])
  )
  with pytest.raises(UsageError, match="expected layers of VGG-16.*found 'conv1'"):
    caffe.targets(source, "appearance")
  layers = [caffe_files.layer("conv1_1", "Convolution", [caffe_files.blob(np.full((4, 3, 3, 3), np.nan))])]
  source = caffe.read(write(tmp_path / "nan.caffemodel", layers))
  plan = transfer.make_plan(transfer.weight_shapes(vgg16.network()), [(source, caffe.targets(source, "appearance"))])
  with pytest.raises(UsageError, match=r"conv1_1\[0\] holds values that are not finite"):
    plan.check(str(source.path), allow_partial=True)


@pytest.mark.slow
@pytest.mark.parametrize("v1,form", [(False, "current"), (True, "unpacked")])
def test_damaged_files_are_refused_in_one_line(tmp_path, v1, form):
  sample = write(tmp_path / "sample.caffemodel", vgg16_file(vgg16.Vgg16(3), v1, **FORMS[form]))
  counts = fuzz.outcomes("tests.weights.test_caffe:read_and_target", sample, tmp_path, count=500)
  assert sum(counts.values()) == 500 and counts["refused"] > 200, counts
