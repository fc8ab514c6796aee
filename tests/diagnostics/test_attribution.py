"""Attribution on networks whose answer is known."""

import keras
import numpy as np
import pytest

from tbvis.diagnostics.attribution import METHODS, Attributor, class_score, last_layer
from tbvis.errors import UsageError
from tbvis.models import bn_inception, st_resnet, two_stream
from tbvis.units import parse_units

layers = keras.layers
CLASSES = ("Bowing", "Rolling")
HEIGHT, WIDTH = 6, 9


def _inputs(seed=0, rows=2, height=HEIGHT, width=WIDTH):
  rng = np.random.default_rng(seed)
  return {
    "appearance": rng.normal(size=(rows, height, width, 3)).astype(np.float32),
    "motion": rng.normal(size=(rows, height, width, 20)).astype(np.float32),
  }


def _corners(**options):
  """Class 0 reads the first pixel of the appearance and the last of the motion, both rectified; class 1 all of them."""
  inputs = {"appearance": keras.Input((HEIGHT, WIDTH, 3), name="appearance"), "motion": keras.Input((HEIGHT, WIDTH, 20), name="motion")}
  flat = []
  for name, tensor in inputs.items():
    x = layers.Conv2D(1, 1, use_bias=False, kernel_initializer="ones", name=f"conv_{name}")(tensor)
    flat.append(layers.Flatten(name=f"flat_{name}")(layers.ReLU(name=f"relu_{name}")(x)))
  scores = layers.Dense(2, name="scores", use_bias=False, **options)(layers.Concatenate(name="both")(flat))
  model = keras.Model(inputs, scores)
  weights = np.ones((2 * HEIGHT * WIDTH, 2), np.float32)
  weights[1:-1, 0] = 0
  model.get_layer("scores").set_weights([weights])
  return model


@pytest.mark.parametrize("method", ["gradient_times_input", "excitation_backprop"])
@pytest.mark.parametrize("layer", [None, "conv"])
def test_a_network_that_reads_two_corners_looked_there(method, layer):
  inputs = _inputs()
  inputs["appearance"][:, 0, 0] = 2.0
  inputs["motion"][:, -1, -1] = 1.5
  found = Attributor(_corners(), method, layer, classes=CLASSES)(inputs, "scores/Bowing")
  np.testing.assert_allclose(found.values, [36, 36], rtol=1e-6)
  for stream, (y, x), share in (("appearance", (0, 0), 6 / 36), ("motion", (-1, -1), 30 / 36)):
    expected = np.zeros((2, HEIGHT, WIDTH), np.float32)
    expected[:, y, x] = share * (1 if method == "excitation_backprop" else 36)
    np.testing.assert_allclose(found.maps[stream], expected, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(found.totals[stream], expected.sum((1, 2)), rtol=1e-5)
    assert found.maps[stream].dtype == np.float32


def test_grad_cam_is_the_published_formula():
  rng = np.random.default_rng(2)
  image = keras.Input((None, None, 3), name="appearance")
  x = layers.Conv2D(4, 3, padding="same", name="conv")(image)
  pooled = layers.GlobalAveragePooling2D(name="mean")(layers.ReLU(name="relu")(x))
  model = keras.Model(image, layers.Dense(2, name="scores")(pooled))
  for layer in model.layers:
    layer.set_weights([rng.normal(size=w.shape) for w in layer.get_weights()])
  picture = {"appearance": rng.normal(size=(3, 7, 5, 3)).astype(np.float32)}
  found = Attributor(model, "grad_cam", "conv")(picture, "scores/f002")
  maps = np.asarray(keras.Model(image, model.get_layer("relu").output)(picture["appearance"]))
  # d score / d A is the class weight over the number of places, everywhere.
  expected = (maps * model.get_layer("scores").get_weights()[0][:, 1] / 35).sum(-1)
  np.testing.assert_allclose(found.signed["appearance"], expected, rtol=1e-4, atol=1e-6)
  np.testing.assert_allclose(found.maps["appearance"], np.maximum(expected, 0), rtol=1e-4, atol=1e-6)
  assert expected.min() < -1e-3 and found.maps["appearance"].min() >= 0


def _without_biases(fusion="conv1x1", chunks=1):
  net = two_stream.two_stream_fusion_vgg16(2, fusion, width=0.05, input_size=32, fc_units=6, chunks=chunks, seed=5)
  rng = np.random.default_rng(1)
  for layer in net.layers:
    if layer.name.startswith("prediction"):
      layer.kernel.assign(rng.normal(size=layer.kernel.shape))
  return net


@pytest.fixture(scope="module")
def network():
  return _without_biases()


@pytest.fixture(scope="module")
def snippets():
  # Sizes that no stride divides, and more than one row.
  found = _inputs(3, rows=2, height=35, width=45)
  return {"appearance": 50 * found["appearance"], "motion": 10 * found["motion"]}


@pytest.mark.slow
def test_gradient_times_input_adds_up_to_the_score_of_a_network_without_biases(network, snippets):
  scores = {name: np.asarray(value) for name, value in network(snippets).items()}
  look = Attributor(network, classes=CLASSES)
  for tower in ("motion", "fused"):
    expected = (scores["scores_hybrid"] + scores["scores_motion"]) / 2 if tower == "fused" else scores[f"scores_{tower}"]
    found = look(snippets, class_score("Rolling", tower))
    np.testing.assert_allclose(found.values, expected[:, 1], rtol=1e-4, atol=1e-6)
    whole = sum(signed.sum((1, 2)) for signed in found.signed.values())
    np.testing.assert_allclose(whole, expected[:, 1], rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(sum(found.totals.values()), expected[:, 1], rtol=1e-3, atol=1e-5)
    assert found.maps["appearance"].any() == (tower == "fused"), "a tower that does not see a stream looked nowhere in it"


@pytest.mark.slow
def test_excitation_adds_up_to_one_at_every_layer_of_our_network(network, snippets):
  for layer in (None, "conv3_1"):
    look = Attributor(network, "excitation_backprop", layer, classes=CLASSES)
    found = look(snippets, class_score("Bowing"))
    np.testing.assert_allclose(sum(found.totals.values()), [1, 1], rtol=1e-4)
    assert all(values.min() >= 0 for values in found.totals.values()) and len(found.totals) == 2
    assert found.maps["motion"].shape == (2, 35, 45)
  shared = Attributor(network, "excitation_backprop", "conv5_fusion", classes=CLASSES)(snippets, "scores_hybrid/Bowing")
  np.testing.assert_allclose(shared.totals["appearance"], [1, 1], rtol=1e-4)
  np.testing.assert_array_equal(shared.maps["appearance"], shared.maps["motion"])
  between = look(snippets, class_score("Bowing") - class_score("Rolling"))
  np.testing.assert_allclose(sum(between.totals.values()), [0, 0], atol=1e-4)
  np.testing.assert_allclose(between.maps["motion"], np.maximum(between.signed["motion"], 0), atol=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_a_blanked_stream_gets_nothing(method):
  blanked = {**_inputs(), "appearance": np.zeros((2, HEIGHT, WIDTH, 3))}
  found = Attributor(_corners(), method, "conv" if method == "grad_cam" else None, classes=CLASSES)(blanked, "scores/Rolling")
  assert not found.maps["appearance"].any() and found.maps["motion"].any()


def _winning(inputs, weights, winner):
  """The published rule in NumPy: marginal winning probabilities of a network of dense layers and ReLUs."""
  values = [inputs]
  for weight, bias in weights[:-1]:
    values.append(np.maximum(values[-1] @ weight + bias, 0))
  share = np.eye(weights[-1][0].shape[1])[winner]
  for (weight, _), below in zip(reversed(weights), reversed(values), strict=True):
    positive = np.maximum(weight, 0)
    norm = below @ positive
    share = below * (positive @ np.divide(share, norm, out=np.zeros_like(norm), where=norm > 0))
  return share


def test_excitation_is_the_published_rule():
  rng = np.random.default_rng(4)
  inputs = keras.Input((2, 3, 1), name="appearance")
  x = layers.Flatten(name="flat")(inputs)
  for index, units in enumerate((7, 5)):
    # A ReLU of its own, and one inside the layer.
    x = layers.Dense(units, activation="relu" if index else None, name=f"fc{index}")(x)
    x = x if index else layers.ReLU(name="relu0")(x)
  # The softmax is left out of the target.
  model = keras.Model(inputs, layers.Dense(3, activation="softmax", name="scores")(x))
  for layer in model.layers:
    layer.set_weights([rng.normal(size=w.shape).astype(np.float32) for w in layer.get_weights()])
  weights = [model.get_layer(name).get_weights() for name in ("fc0", "fc1", "scores")]
  pictures = rng.uniform(0.1, 1, (4, 2, 3, 1)).astype(np.float32)
  found = Attributor(model, "excitation_backprop")({"appearance": pictures}, "scores/f003")
  expected = np.stack([_winning(picture.ravel(), weights, 2).reshape(2, 3) for picture in pictures])
  np.testing.assert_allclose(found.maps["appearance"], expected, rtol=1e-4, atol=1e-6)
  assert expected.sum() > 1
  logits = pictures.reshape(4, 6)
  for index, (weight, bias) in enumerate(weights):
    logits = logits @ weight + bias
    logits = logits if index == 2 else np.maximum(logits, 0)
  np.testing.assert_allclose(found.values, logits[:, 2], rtol=1e-4)


def test_excitation_of_inputs_of_both_signs_goes_to_what_agrees_with_the_weights():
  inputs = keras.Input((1, 4, 1), name="motion")
  model = keras.Model(inputs, layers.Dense(1, use_bias=False, name="scores")(layers.Flatten(name="flat")(inputs)))
  model.get_layer("scores").set_weights([np.array([[2.0], [-1.0], [-3.0], [1.0]], np.float32)])
  values = np.array([1.0, 2.0, -2.0, -5.0]).reshape(1, 1, 4, 1)
  found = Attributor(model, "excitation_backprop")({"motion": values}, "scores/f001")
  np.testing.assert_allclose(found.maps["motion"].ravel(), [0.25, 0, 0.75, 0], rtol=1e-6)


def test_excitation_takes_normalised_convolutions_as_one_layer():
  rng = np.random.default_rng(6)

  def build(normalised):
    image = keras.Input((6, 7, 3), name="appearance")
    x = layers.Conv2D(4, 3, padding="same", name="conv")(image)
    x = layers.BatchNormalization(name="norm")(x) if normalised else x
    x = layers.ReLU(name="relu")(x)
    x = layers.Add(name="add")([layers.AveragePooling2D(3, strides=1, padding="same", name="mean")(x), x])
    return keras.Model(image, layers.GlobalAveragePooling2D(name="scores")(layers.MaxPooling2D(2, padding="same", name="pool")(x)))

  norm, plain = build(True), build(False)
  gamma, beta, mean, variance = np.array([1.5, -2, -0.5, 1]), rng.normal(size=4), rng.normal(size=4), rng.uniform(1, 2, 4)
  kernel = rng.normal(size=(3, 3, 3, 4))
  norm.get_layer("conv").set_weights([kernel, np.zeros(4)])
  norm.get_layer("norm").set_weights([gamma, beta, mean, variance])
  scale = gamma / np.sqrt(variance + norm.get_layer("norm").epsilon)
  plain.get_layer("conv").set_weights([kernel * scale, beta - mean * scale])
  picture = {"appearance": rng.normal(size=(2, 6, 7, 3)).astype(np.float32)}
  first, second = (Attributor(net, "excitation_backprop") for net in (norm, plain))
  for channel in range(4):
    a, b = (look(picture, f"scores/f{channel + 1:03d}") for look in (first, second))
    np.testing.assert_allclose(a.values, b.values, rtol=1e-4)
    np.testing.assert_allclose(a.maps["appearance"], b.maps["appearance"], rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(a.totals["appearance"], [1, 1], rtol=1e-4)


def test_excitation_shares_a_sum_by_what_its_parts_hold():
  parts = [keras.Input((1, 1, 1), name=name) for name in ("appearance", "motion")]
  x = layers.Add(name="add")([layers.ReLU(name=f"relu_{part.name}")(part) for part in parts])
  model = keras.Model(parts, layers.Flatten(name="scores")(x))
  inputs = {"appearance": np.full((1, 1, 1, 1), 3.0), "motion": np.ones((1, 1, 1, 1))}
  found = Attributor(model, "excitation_backprop")(inputs, "scores/f001")
  assert found.totals["appearance"][0] == pytest.approx(0.75) and found.totals["motion"][0] == pytest.approx(0.25)


@pytest.mark.parametrize("method", METHODS)
def test_a_unit_of_a_middle_layer_looked_within_its_receptive_field(network, snippets, method):
  # Location 1,1 of conv2_1 sees 10 pixels, 2 * 1 + 0.5 being their centre.
  (unit,) = parse_units(["conv2_1_motion/f002"], network)
  layer = "conv1_2_motion" if method == "grad_cam" else None
  look = Attributor(network, method, layer, location="1,1")
  found = look(snippets, unit)
  assert set(found.maps) == ({"motion"} if layer else {"appearance", "motion"})
  rows, columns = np.nonzero(found.maps["motion"].any(axis=0))
  if method != "grad_cam":  # Its weights are means over all places.
    assert rows.size and rows.max() <= 7 and columns.max() <= 7 and not found.maps["appearance"].any()
  # Another number of rows, or another unit of the layer, runs the same program.
  again = look({name: values[:1] for name, values in snippets.items()}, unit)
  look(snippets, "conv2_1_motion/f003")
  np.testing.assert_allclose(again.maps["motion"], found.maps["motion"][:1], rtol=1e-4, atol=1e-7)
  assert len(look._compiled) == 1


def test_maps_of_a_layer_lie_on_the_centres_of_its_receptive_fields():
  image = keras.Input((None, None, 1), name="appearance")
  x = layers.MaxPooling2D(4, name="pool")(image)
  model = keras.Model(image, layers.GlobalAveragePooling2D(name="scores")(x))
  picture = np.zeros((1, 15, 13, 1), np.float32)
  picture[0, 5, 9] = 1.0
  found = Attributor(model, layer="pool")({"appearance": picture}, "scores/f001").maps["appearance"][0]
  # Of 3 x 3 locations, centred on pixels 1.5, 5.5 and 9.5, one holds it: the middle row's last. Between two it falls evenly.
  down, across = np.array([0, 1, 0]), np.array([0, 0, 1])
  expected = np.outer(np.interp(np.arange(15), [1.5, 5.5, 9.5], down), np.interp(np.arange(13), [1.5, 5.5, 9.5], across)) / 9
  np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.slow
def test_chunks_have_maps_of_their_own():
  for fusion in two_stream.FUSIONS:
    net = _without_biases(fusion, chunks=2)
    rng = np.random.default_rng(0)
    clips = {name: 50 * rng.normal(size=(2, 2, 33, 32, c)).astype(np.float32) for name, c in (("appearance", 3), ("motion", 20))}
    for layer in (None, "conv5_fusion" if fusion == "conv1x1" else "fc6"):
      found = Attributor(net, "excitation_backprop", layer, classes=CLASSES)(clips, class_score("Bowing", "hybrid"))
      assert {values.shape for values in found.maps.values()} == {(2, 2, 33, 32)}
      whole = found.totals["motion"] if layer else sum(found.totals.values())
      np.testing.assert_allclose(whole, [1, 1], rtol=1e-4)


@pytest.mark.slow
def test_a_network_in_half_precision_is_attributed_in_full_and_left_as_it_was():
  full = _without_biases()
  half = two_stream.two_stream_fusion_vgg16(2, width=0.05, input_size=32, fc_units=6, dtype="mixed_bfloat16")
  half.set_weights(full.get_weights())
  config = half.get_config()
  inputs = _inputs(rows=1, height=32, width=32)
  for method in ("excitation_backprop", "grad_cam"):
    a, b = (Attributor(net, method, "conv4_2", classes=CLASSES)(inputs, class_score("Bowing")) for net in (full, half))
    np.testing.assert_allclose(a.maps["motion"], b.maps["motion"], rtol=1e-3, atol=1e-7)
  assert half.get_config() == config
  for old, new in zip(full.get_weights(), half.get_weights(), strict=True):
    np.testing.assert_array_equal(old, new)


def test_mistakes_are_told_in_a_line(network, snippets):
  def line(call):
    with pytest.raises(UsageError) as caught:
      call()
    assert "\n" not in str(caught.value)
    return str(caught.value)

  assert "grad_cam" in line(lambda: Attributor(network, "gradcam"))
  assert "conv5_fusion" in line(lambda: Attributor(network, "grad_cam", "conv5_fusio"))
  assert "expected a layer" in line(lambda: Attributor(network, "grad_cam"))
  assert "whole input" in line(lambda: Attributor(network, layer="scores_motion"))
  assert "hybrid" in line(lambda: class_score("Bowing", "hybird"))
  assert "does not" in line(lambda: Attributor(network, "grad_cam", "conv5_fusion")(snippets, "scores_motion/f001"))
  look = Attributor(network, classes=CLASSES)
  target = class_score("Bowing")
  assert "Bowing" in line(lambda: look(snippets, class_score("Bowin")))
  assert "appearance" in line(lambda: look({"appearence": snippets["appearance"], "motion": snippets["motion"]}, target))
  assert "'motion'" in line(lambda: look({"appearance": snippets["appearance"]}, target))
  assert "(2, 35, 45, 3)" in line(lambda: look({"appearance": snippets["appearance"], "motion": snippets["appearance"]}, target))
  assert "as many" in line(lambda: look({**snippets, "motion": snippets["motion"][:1]}, target))
  image = keras.Input((8, 8, 3), name="image")
  odd = keras.Model(image, layers.Flatten(name="scores")(layers.Conv2D(1, 3, activation="gelu", name="curved")(image)))
  assert "'curved'" in line(lambda: Attributor(odd, "excitation_backprop")({"image": np.zeros((1, 8, 8, 3))}, "scores/f001"))
  probabilities = keras.Model(image, layers.Softmax(name="chances")(layers.Flatten(name="flat")(image)))
  assert "'chances'" in line(lambda: Attributor(probabilities)({"image": np.zeros((1, 8, 8, 3))}, "chances/f001"))


@pytest.mark.slow
@pytest.mark.parametrize(
  ("network", "layer"),
  [
    (lambda: st_resnet.st_resnet50(2, 1, width=0.02, input_size=32), "res5c_relu"),
    (lambda: bn_inception.tsn_bn_inception(2, width=0.02, input_size=32), "inception_5b_output"),
    (lambda: two_stream.two_stream_fusion_vgg16(2, width=0.02, input_size=32, fc_units=4), "conv5_3"),
  ],
)
def test_by_default_every_stream_is_looked_at_where_its_branches_are_joined(network, layer):
  assert last_layer(network()) == layer
