"""The two-stream fusion VGG-16: names, shapes, initial weights, larger inputs, other backends."""

import importlib.util
import os
import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest

from tbvis.models import two_stream

SMALL = {"width": 0.0625, "input_size": 64, "fc_units": 8}


def inputs(batch=2, size=64, chunks=()):
  random = np.random.default_rng(0)
  return {
    "appearance": random.normal(0, 50, (batch, *chunks, size, size, 3)).astype("float32"),
    "motion": random.normal(0, 5, (batch, *chunks, size, size, 20)).astype("float32"),
  }


def scores(model, given):
  return {name: keras.ops.convert_to_numpy(value) for name, value in model(given, training=False).items()}


def test_layers_have_the_published_names():
  model = two_stream.two_stream_fusion_vgg16(3, **SMALL)
  names = {layer.name for layer in model.layers}
  convolutions = ["1_1", "1_2", "2_1", "2_2", "3_1", "3_2", "3_3", "4_1", "4_2", "4_3", "5_1", "5_2", "5_3"]
  expected = {f"{kind}{c}_{s}" for kind in ("conv", "relu") for c in convolutions for s in ("appearance", "motion")}
  expected |= {f"pool{i}_{s}" for i in range(1, 6) for s in ("appearance", "motion")}
  expected |= {"appearance", "motion", "conv5_fusion", "relu5_fusion", "pool5"}
  expected |= {f"{layer}{tower}" for layer in ("fc6", "fc7", "prediction") for tower in ("", "_motion", "_appearance")}
  assert expected <= names


def test_convolutions_are_linear_with_a_relu_after_each():
  model = two_stream.two_stream_fusion_vgg16(3, **SMALL)
  convolutions = [layer for layer in model.layers if isinstance(layer, (keras.layers.Conv2D, keras.layers.Conv3D))]
  assert len(convolutions) == 2 * 13 + 1 + 3 * 3
  for layer in convolutions:
    assert layer.activation is keras.activations.linear, layer.name
    followers = [node.operation for node in layer.output._keras_history.operation._outbound_nodes]
    wanted = keras.layers.GlobalAveragePooling2D if layer.name.startswith("prediction") else keras.layers.ReLU
    assert [type(f) for f in followers] == [wanted], layer.name


def test_the_width_of_the_paper():
  model = two_stream.two_stream_fusion_vgg16(101, fc_units=32)
  shapes = {layer.name: layer.kernel.shape for layer in model.layers if hasattr(layer, "kernel")}
  assert shapes["conv1_1_motion"] == (3, 3, 20, 64)
  assert shapes["conv5_3_appearance"] == (3, 3, 512, 512)
  assert shapes["conv5_fusion"] == (1, 1, 1024, 512)
  assert shapes["fc6"] == (7, 7, 512, 32)
  assert shapes["prediction"] == (1, 1, 32, 101)


@pytest.mark.parametrize("fusion", two_stream.FUSIONS)
@pytest.mark.parametrize("chunks", [1, 2])
def test_scores_have_one_column_a_class_and_are_not_squashed(fusion, chunks):
  model = two_stream.two_stream_fusion_vgg16(5, fusion, chunks=chunks, **SMALL)
  found = scores(model, inputs(chunks=(chunks,) if chunks > 1 else ()))
  assert {name: value.shape for name, value in found.items()} == dict.fromkeys(
    ("scores_hybrid", "scores_motion", "scores_appearance"), (2, 5)
  )
  # Before the softmax: neither positive nor summing to 1.
  assert (found["scores_hybrid"] < 0).any()
  assert not np.allclose(found["scores_hybrid"].sum(axis=1), 1)


def test_the_base_classifier_may_be_left_out():
  model = two_stream.two_stream_fusion_vgg16(5, base_classifier=False, **SMALL)
  assert set(model.output) == {"scores_hybrid", "scores_motion"}


def test_each_score_depends_on_its_own_streams():
  model = two_stream.two_stream_fusion_vgg16(5, **SMALL)
  given = inputs()
  before = scores(model, given)
  other = scores(model, {**given, "appearance": given["appearance"] + 40})
  np.testing.assert_array_equal(other["scores_motion"], before["scores_motion"])
  assert np.abs(other["scores_appearance"] - before["scores_appearance"]).max() > 0
  assert np.abs(other["scores_hybrid"] - before["scores_hybrid"]).max() > 0
  other = scores(model, {**given, "motion": given["motion"] * 2})
  np.testing.assert_array_equal(other["scores_appearance"], before["scores_appearance"])
  assert np.abs(other["scores_hybrid"] - before["scores_hybrid"]).max() > 0


def test_a_larger_input_gives_the_mean_over_its_locations():
  model = two_stream.two_stream_fusion_vgg16(5, **SMALL)
  given = inputs(size=128)
  pooled = scores(model, given)["scores_motion"]
  part = keras.Model(model.input, model.get_layer("prediction_motion").output)
  locations = keras.ops.convert_to_numpy(part(given, training=False))
  assert locations.shape == (2, 3, 3, 5)
  np.testing.assert_allclose(pooled, locations.mean(axis=(1, 2)), rtol=1e-4, atol=1e-6)


def test_seeds_decide_the_weights():
  one, same, other = (two_stream.two_stream_fusion_vgg16(3, seed=seed, **SMALL) for seed in (1, 1, 2))
  for a, b in zip(one.get_weights(), same.get_weights(), strict=True):
    np.testing.assert_array_equal(a, b)
  kernels = [m.get_layer("conv3_1_motion").get_weights()[0] for m in (one, other)]
  assert np.abs(kernels[0] - kernels[1]).max() > 0.01
  # No two layers of one network start alike.
  assert np.abs(one.get_layer("conv1_2_motion").get_weights()[0] - one.get_layer("conv1_2_appearance").get_weights()[0]).max() > 0.01


def test_the_1x1_fusion_starts_as_a_weighted_identity():
  kernel = np.asarray(two_stream.two_stream_fusion_vgg16(3, **SMALL).get_layer("conv5_fusion").get_weights()[0])
  channels = kernel.shape[-1]
  np.testing.assert_array_equal(kernel[0, 0, :channels], 0.25 * np.eye(channels, dtype="float32"))
  np.testing.assert_array_equal(kernel[0, 0, channels:], 0.75 * np.eye(channels, dtype="float32"))


def test_the_3x3x3_fusion_starts_as_a_gaussian_of_identities():
  kernel = np.asarray(two_stream.FusionInitializer()((3, 3, 3, 8, 4)))
  t, y, x = np.meshgrid(*[np.arange(-1, 2)] * 3, indexing="ij")
  gaussian = np.exp(-(t**2 + y**2 + x**2) / 2)
  gaussian /= gaussian.sum()
  identity = np.concatenate([0.25 * np.eye(4), 0.75 * np.eye(4)])
  np.testing.assert_allclose(kernel, np.einsum("tyx,io->tyxio", gaussian, identity), rtol=1e-6)
  # Equal towers over all the window give back themselves: the weights of each output sum to 1.
  np.testing.assert_allclose(kernel.sum(axis=(0, 1, 2, 3)), 1, rtol=1e-6)


def test_the_fusion_initializer_refuses_other_shapes():
  with pytest.raises(ValueError, match=r"Expected \(..., 2 \* channels, channels\). Received: shape=\(1, 1, 8, 8\)"):
    two_stream.FusionInitializer()((1, 1, 8, 8))


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"fusion": "sum"}, "argument `fusion`. Expected one of"),
    ({"classes": 0}, "classes=0"),
    ({"width": 0}, "width=0"),
    ({"input_size": 31}, "argument `input_size`. Expected at least 32. Received: input_size=31"),
  ],
)
def test_arguments_out_of_range_are_named(change, message):
  with pytest.raises(ValueError, match=message):
    two_stream.two_stream_fusion_vgg16(**{"classes": 3, **SMALL, **change})


@pytest.mark.parametrize(("fusion", "chunks"), [("conv1x1", 1), ("conv3x3x3", 2)])
def test_keras_saves_and_loads_it(tmp_path, fusion, chunks):
  model = two_stream.two_stream_fusion_vgg16(3, fusion, chunks=chunks, **SMALL)
  model.save(tmp_path / "model.keras")
  again = keras.saving.load_model(tmp_path / "model.keras")
  given = inputs(chunks=(chunks,) if chunks > 1 else ())
  for name, value in scores(model, given).items():
    np.testing.assert_array_equal(scores(again, given)[name], value)


def test_temporal_fraction_tells_copies_from_differences():
  random = np.random.default_rng(0)
  one_slice = random.normal(size=(3, 3, 1, 8))
  assert two_stream.temporal_fraction(np.repeat(one_slice, 20, axis=2)) == pytest.approx(0, abs=1e-12)
  difference = np.tile([1.0, -1.0], 10)[None, None, :, None] * np.ones((3, 3, 20, 8))
  assert two_stream.temporal_fraction(difference) == pytest.approx(1)
  # Independent slices: all but one twentieth of the energy deviates from the mean.
  assert two_stream.temporal_fraction(random.normal(size=(3, 3, 20, 4000))) == pytest.approx(np.sqrt(19 / 20), abs=0.01)
  assert two_stream.temporal_fraction(np.zeros((3, 3, 20, 4))) == 0


TRAINING = textwrap.dedent("""
    import sys
    import keras
    import numpy as np
    from tbvis.models import two_stream

    assert keras.backend.backend() == sys.argv[1]
    random = np.random.default_rng(0)
    labels = np.arange(8) % 2
    # Two classes that differ in brightness and in direction of motion.
    sign = (2 * labels - 1)[:, None, None, None]
    x = {"appearance": sign * 40 + random.normal(0, 10, (8, 32, 32, 3)), "motion": sign * 4 + random.normal(0, 1, (8, 32, 32, 20))}
    x = {name: value.astype("float32") for name, value in x.items()}
    model = two_stream.two_stream_fusion_vgg16(2, width=0.125, input_size=32, fc_units=16, dropout=0.0, base_classifier=False)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-3), loss={name: loss for name in model.output})
    targets = {name: labels for name in model.output}
    history = model.fit(x, targets, batch_size=8, epochs=12, verbose=0).history["loss"]
    assert history[-1] < 0.5 * history[0], history
    if sys.argv[1] != "tensorflow":
      assert "tensorflow" not in sys.modules, "the network needs TensorFlow"
    print("trained")
""")


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
def test_it_trains_on_every_backend_of_keras(backend, tmp_path):
  if importlib.util.find_spec(backend) is None:
    pytest.skip(f"{backend} is not installed")
  environment = {**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": os.pathsep.join(sys.path), "TF_CPP_MIN_LOG_LEVEL": "2"}
  done = subprocess.run([sys.executable, "-c", TRAINING, backend], capture_output=True, text=True, env=environment, cwd=tmp_path)
  assert done.stdout.endswith("trained\n"), done.stderr[-2000:]
