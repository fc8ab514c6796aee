"""Networks that are not ours: one input or several, images or films, any size, any number of channels; and left as they were."""

import dataclasses
import gc
import weakref

import keras
import numpy as np
import pytest

import tbvis
from tbvis.errors import UsageError
from tbvis.maximization import sweep
from tbvis.maximization.config import MaximizationConfig

# Every test compiles a search of its own.
pytestmark = pytest.mark.slow

SHORT = MaximizationConfig(steps=6, log_every=1)


def _image_classifier(softmax=True):
  keras.utils.set_random_seed(1)
  image = keras.Input((24, 24, 3), name="image")
  x = keras.layers.Conv2D(6, 3, activation="relu", name="conv1")(image)
  x = keras.layers.BatchNormalization(name="norm")(x)
  x = keras.layers.MaxPooling2D(name="pool")(x)
  x = keras.layers.Conv2D(8, 3, activation="relu", name="conv2")(x)
  x = keras.layers.Flatten(name="flat")(x)
  return keras.Model(image, keras.layers.Dense(4, activation="softmax" if softmax else None, name="scores")(x))


def _video_network():
  keras.utils.set_random_seed(1)
  clip = keras.Input((6, None, None, 3), name="clip")
  x = keras.layers.Conv3D(5, 3, padding="same", activation="relu", name="conv3d")(clip)
  x = keras.layers.GlobalAveragePooling3D(name="pool")(x)
  return keras.Model(clip, keras.layers.Dense(3, name="scores")(x))


def test_a_fixed_size_image_network_is_searched_at_what_the_unit_sees():
  net = _image_classifier()
  small, whole = tbvis.maximize(net, ["conv2/f003", "scores/f002"], config=SHORT)
  assert small.appearance.shape[0] < 24 and whole.appearance.shape == (24, 24, 3)
  assert small.motion is None and small.chi == 0.0
  # Fused activations: the target is the value before them.
  taken = keras.Model(net.inputs, net.get_layer("flat").output)(whole.inputs["image"][None, :, :, 0])
  kernel, bias = (np.asarray(w) for w in net.get_layer("scores").weights)
  assert whole.activation == pytest.approx(float((np.asarray(taken) @ kernel + bias)[0, 1]), rel=1e-3)


def test_a_video_network_and_its_film():
  found = tbvis.maximize(_video_network(), ["conv3d/f001", "scores/f003"], chi=[0, 10], config=SHORT)
  assert [s.inputs["clip"].shape[2:] for s in found] == [(6, 3)] * 4
  assert all(s.temporal_ratio > 0 for s in found) and found[0].appearance.shape[2] == 3
  assert found[0].to_record().motion is None and "tv_clip" in found[0].history


def test_a_network_over_chunks_of_snippets():
  from tbvis.models import two_stream

  net = two_stream.two_stream_fusion_vgg16(2, "conv3x3x3", width=0.05, input_size=32, fc_units=8, seed=3, chunks=2)
  # conv3_3 folds its chunks into the rows, conv5_fusion has them as an axis, prediction has pooled them.
  found = tbvis.maximize(net, ["conv3_3_motion/f001", "conv5_fusion/f001", "prediction/f002"], chi=[0], config=SHORT)
  assert [s.motion.shape[2:] for s in found] == [(20, 2)] * 3
  assert [s.inputs["appearance"].shape[2:] for s in found[1:]] == [(2, 3)] * 2
  # Each chunk counts: the unit's value is the mean over them, at the centre in space.
  one = keras.Model(net.input["motion"], net.get_layer("conv3_3_motion").output)
  maps = np.asarray(one(np.moveaxis(found[0].motion.reshape(*found[0].motion.shape[:2], 2, 20), 2, 0)[None]))
  assert maps.shape[0] == 2
  assert found[0].activation == pytest.approx(float(maps[:, maps.shape[1] // 2, maps.shape[2] // 2, 0].mean()), rel=1e-3)
  assert found[0].film is None and found[1].film.shape[2] == 2 and {s.chunks for s in found} == {2}


def test_inputs_with_settings_of_their_own():
  keras.utils.set_random_seed(2)
  rgb, stack = keras.Input((16, 16, 3), name="rgb"), keras.Input((16, 16, 6), name="stack")
  both = keras.layers.Concatenate(name="both")([rgb, stack])
  net = keras.Model([rgb, stack], keras.layers.Conv2D(4, 3, name="conv")(both))
  given = {"stack": {"components": 2}, "rgb": {"scale": 1 / 127.5}}
  (found,) = tbvis.maximize(net, "conv/f001", chi=[0], inputs=given, config=SHORT)
  assert found.motion.shape[2:] == (3, 2) and found.appearance.shape[2] == 3
  for bad, words in (
    ({"stak": {}}, "Unknown input.*Nearest: stack"),
    ({"stack": {"components": 4}}, "frames x components"),
    ({"stack": {"gain": 4}}, "Unknown setting"),
  ):
    with pytest.raises(UsageError, match=words):
      tbvis.maximize(net, "conv/f001", inputs=bad, config=SHORT)


def test_a_softmax_head_is_told_and_a_fused_one_is_passed_by(monkeypatch):
  said = []
  monkeypatch.setattr(sweep.logging, "warning", lambda text, *args: said.append(text % args))
  tbvis.maximize(_image_classifier(), "scores/f001", config=SHORT)
  assert not any("softmax" in text for text in said)
  tbvis.maximize(_image_classifier(), "scores/f001", config=dataclasses.replace(SHORT, after_relu=True))
  assert any("scores is a softmax" in text for text in said)
  said.clear()
  image = keras.Input((8, 8, 3), name="image")
  net = keras.Model(image, keras.layers.Softmax(name="own")(keras.layers.Conv2D(3, 8, name="c")(image)))
  tbvis.maximize(net, "own/f001", config=SHORT)
  assert any("own is a softmax" in text for text in said)


def test_a_regulariser_that_outweighs_and_a_bound_that_holds_are_told(network, monkeypatch):
  said = []
  monkeypatch.setattr(sweep.logging, "warning", lambda text, *args: said.append(text % args))
  a_hat = {"conv3_3_motion": np.full(network.get_layer("conv3_3_motion").filters, 1e4, np.float32)}
  weak = dataclasses.replace(SHORT, calibrate=False, data_weight=1e-6)
  found = tbvis.maximize(network, "conv3_3_motion/f002", chi=[0], a_hat=a_hat, config=weak)[0]
  assert any("tv_motion" in text and "outweighs" in text for text in said)
  assert found.config["warnings"] and "outweighs" in found.config["warnings"][0]
  strong = dataclasses.replace(SHORT, calibrate=False, data_weight=1e12, bound=10.0, steps=20, location="sum")
  tbvis.maximize(network, "conv2_1_motion/f002", chi=[0], config=strong)
  assert any("pinned at the bound" in text for text in said)


def test_the_hand_solvable_network_gives_the_known_input():
  # A linear unit w x under the energy alone, with exponent 2: data_weight w / rho^2 = 2 x / (B^2 pixels) at the best x.
  flow = keras.Input((None, None, 2), name="flow")
  net = keras.Model(flow, keras.layers.Conv2D(1, 3, use_bias=False, name="c")(flow))
  kernel = np.random.default_rng(0).normal(size=(3, 3, 2, 1)).astype(np.float32)
  net.get_layer("c").set_weights([kernel])
  config = MaximizationConfig(
    steps=400, canvas=3, jitter=0, calibrate=False, data_weight=0.01, exponent=2.0, energy_scale=80.0, learning_rate=2.0,
    final_rate=1e-3, beta2=0.99, relu_leak=0.0,
  )  # fmt: skip
  (found,) = tbvis.maximize(net, "c/f001", chi=[0], kappa=0.0, config=config)
  expected = 0.01 * kernel[..., 0] / 3**2 * 80.0**2 * 3**2 / 2
  np.testing.assert_allclose(found.inputs["flow"][:, :, 0], expected, atol=0.5)
  assert found.activation == pytest.approx(float(np.sum(expected * kernel[..., 0])), rel=0.01)


def test_under_the_bound_alone_every_pixel_ends_on_it():
  image = keras.Input((None, None, 3), name="image")
  net = keras.Model(image, keras.layers.Conv2D(1, 3, use_bias=False, name="c")(image))
  config = MaximizationConfig(steps=60, canvas=3, jitter=0, calibrate=False, data_weight=1e9, bound=50.0)
  (found,) = tbvis.maximize(net, "c/f001", config=config)
  np.testing.assert_allclose(np.linalg.norm(found.inputs["image"], axis=-1), 50.0, rtol=1e-4)


def test_chi_damps_each_frequency_of_time_as_equation_3_says():
  # A linear unit that reads one frequency of time with weight w, under the regulariser of equation 3 alone: the best input is
  # w over (kappa times its spatial and chi times its temporal eigenvalue), which a small network can be held to.
  frames, side = 8, 5
  image = keras.Input((frames, None, None, 2), name="flow")
  net = keras.Model(image, keras.layers.Conv3D(1, (frames, side, side), use_bias=False, name="c")(image))
  rng = np.random.default_rng(0)
  # The cosine transform diagonalises forward differences without a border term.
  modes = np.cos(np.pi * (np.arange(frames)[:, None] + 0.5) * np.arange(frames) / frames)
  space = np.cos(np.pi * (np.arange(side) + 0.5) * 2 / side)
  pattern = np.multiply.outer(space, space)
  amplitude = rng.uniform(0.5, 1.0, frames)
  kernel = np.einsum("tk,k,yx->tyx", modes, amplitude, pattern)[..., None, None] * np.array([1.0, 0.0]).reshape(1, 1, 1, 2, 1)
  net.get_layer("c").set_weights([kernel.astype(np.float32)])
  config = MaximizationConfig(
    steps=1500, canvas=side, jitter=0, calibrate=False, data_weight=0.2, exponent=6.0, start=0.0,
    motion_start=0.0, learning_rate=0.05, final_rate=1e-3, beta2=0.999, epsilon=1e-8, relu_leak=0.0,
  )  # fmt: skip
  kappa_eigen = 2 * (2 - 2 * np.cos(np.pi * 2 / side))
  time_eigen = 2 - 2 * np.cos(np.pi * np.arange(frames) / frames)
  found = {}
  for chi in (0.0, 3.0):
    (stimulus,) = tbvis.maximize(net, "c/f001", chi=[chi], config=config)
    film = stimulus.inputs["flow"][..., 0]
    seen = np.einsum("yxt,tk,yx->k", film, modes, pattern) / np.einsum("tk,tk->k", modes, modes) / np.sum(pattern**2)
    expected = amplitude / (kappa_eigen + chi * time_eigen)
    np.testing.assert_allclose(seen / seen[0], expected / expected[0], rtol=0.05)
    found[chi] = np.abs(seen)
  assert np.all(np.diff(found[3.0] / found[0.0]) < 0)


def test_the_users_model_is_left_as_it_was():
  net = _image_classifier()
  net.get_layer("conv1").trainable = False
  before = net.get_config()
  weights = [np.asarray(w).copy() for w in net.weights]
  nodes = [len(layer._inbound_nodes) for layer in net.layers]
  tbvis.maximize(net, ["conv2/f001", "scores/f001 - scores/f002"], config=SHORT)
  assert net.get_config() == before
  assert [len(layer._inbound_nodes) for layer in net.layers] == nodes
  for old, new in zip(weights, net.weights, strict=True):
    np.testing.assert_array_equal(old, np.asarray(new))
  assert net.get_layer("conv1").activation is keras.activations.relu
  assert [layer.trainable for layer in net.layers][1] is False and {layer.dtype_policy.name for layer in net.layers} == {"float32"}


def test_a_bfloat16_network_keeps_its_policy_and_reports_float32():
  from tbvis.models import two_stream

  half = two_stream.two_stream_fusion_vgg16(2, width=0.05, input_size=32, fc_units=8, seed=3, dtype="mixed_bfloat16")
  full = two_stream.two_stream_fusion_vgg16(2, width=0.05, input_size=32, fc_units=8, seed=3)
  full.set_weights(half.get_weights())
  policies = [layer.dtype_policy.name for layer in half.layers]
  (found,) = tbvis.maximize(half, "conv3_3_motion/f002", chi=[0], config=SHORT)
  assert [layer.dtype_policy.name for layer in half.layers] == policies
  maps = keras.Model(full.input["motion"], full.get_layer("conv3_3_motion").output)(
    found.motion[None].reshape(1, *found.motion.shape[:2], 20)
  )
  own = float(maps[0, maps.shape[1] // 2, maps.shape[2] // 2, 1])
  assert found.activation == pytest.approx(own, rel=1e-4) and found.history["activation"][-1] != pytest.approx(own, rel=1e-4)


def test_the_first_gradient_is_the_same_alone_and_in_a_batch_of_objectives(network):
  config = dataclasses.replace(SHORT, steps=1)
  alone = tbvis.maximize(network, "conv2_2_motion/f002 - conv2_2_motion/f003", chi=[0], config=config)[0]
  many = tbvis.maximize(
    network, ["conv2_2_motion/f004 - conv2_2_motion/f001", "conv2_2_motion/f002 - conv2_2_motion/f003"], chi=[0], config=config
  )[1]
  assert many.config["batch_rows"] == 2
  np.testing.assert_allclose(many.history["activation"], alone.history["activation"], rtol=1e-5)


def test_compiled_steps_are_kept_for_a_network_and_go_with_it(network):
  tbvis.maximize(network, "conv2_1_motion/f001", chi=[0], config=SHORT)
  kept = sweep._ASCENTS[network]
  first = list(kept.values())[-1]
  tbvis.maximize(network, "conv2_1_motion/f003", chi=[5], config=SHORT)
  assert list(sweep._ASCENTS[network].values())[-1] is first and len(kept) <= 4
  net = _video_network()
  tbvis.maximize(net, "conv3d/f001", chi=[0], config=SHORT)
  gone = weakref.ref(net)
  del net
  gc.collect()
  assert gone() is None


def test_weights_that_are_not_finite_name_their_layer():
  net = _image_classifier()
  bad = [np.asarray(w).copy() for w in net.get_layer("conv1").weights]
  bad[0][0, 0, 0, 0] = np.nan
  net.get_layer("conv1").set_weights(bad)
  with pytest.raises(UsageError, match="Layer conv1: expected finite weights"):
    tbvis.maximize(net, "conv2/f001", config=SHORT)


@pytest.mark.parametrize(
  ("wanted", "words"),
  [
    ("conv3/f001", "Unknown layer.*Nearest: conv"),
    ("conv2/f099", "has units"),
    ([], "at least one unit"),
    ("conv2/f001 - conv9/f001", "Unknown layer"),
  ],
)
def test_unknown_targets_are_refused_with_the_nearest(wanted, words):
  with pytest.raises(UsageError, match=words):
    tbvis.maximize(_image_classifier(), wanted, config=SHORT)


def test_a_model_that_is_not_functional_is_refused():
  with pytest.raises(UsageError, match="Functional Keras model"):
    tbvis.maximize(keras.layers.Dense(2), "a/f001")


def test_list_layers_tells_shapes_fields_and_strides():
  table = {layer.name: layer for layer in tbvis.list_layers(_image_classifier())}
  assert (table["conv2"].field, table["conv2"].stride, table["conv2"].shape) == (8, 2, (None, 9, 9, 8))
  assert table["scores"].field is None and table["scores"].shape == (None, 4)
