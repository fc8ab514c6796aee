"""Keras models of others as checkpoints: the same values under our names, whatever they are built of, and errors that help."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from tbvis.diagnostics import places
from tbvis.errors import UsageError
from tbvis.models import activations, adoption, checkpoint, geometry
from tbvis.models.adoption import InputSettings

layers = keras.layers
CLASSES = ("a", "b", "c")


def frames(*shape, seed=0):
  return np.random.default_rng(seed).uniform(-120, 120, shape).astype(np.float32)


def softmax(scores):
  return np.asarray(keras.ops.softmax(scores))


def last(model):
  return np.asarray(next(iter(model.values())))


@keras.saving.register_keras_serializable("test_adoption")
class Twice(layers.Layer):
  """A layer of somebody's own."""

  def call(self, inputs):
    return 2 * inputs


def two_inputs():
  """A model with another inside, a layer called twice, operations without layers, TimeDistributed and a fused softmax."""
  keras.utils.set_random_seed(1)
  inner = keras.Input((None, None, 3))
  x = layers.Conv2D(4, 3, activation="relu", name="conv")(inner)
  base = keras.Model(inner, layers.BatchNormalization(name="norm")(layers.MaxPooling2D(name="pool")(x)), name="base")
  rgb, flow = keras.Input((32, 32, 3), name="rgb"), keras.Input((6, 32, 32, 2), name="flow")
  shared = layers.Conv2D(4, 1, name="shared")
  seen = layers.TimeDistributed(layers.Conv2D(4, 3), name="each")(flow)
  seen = keras.ops.mean(layers.TimeDistributed(layers.MaxPooling2D(), name="smaller")(seen), axis=1)
  x = keras.activations.relu(shared(base(rgb, training=False)) + shared(seen))
  x = layers.Dense(8, activation="tanh", name="dense")(layers.Flatten(name="flat")(Twice(name="twice")(x)))
  return keras.Model([rgb, flow], layers.Dense(3, activation="softmax", name="classes")(x))


def test_a_model_of_many_kinds_gives_the_same_under_our_names(tmp_path, caplog):
  model = two_inputs()
  model.get_layer("base").get_layer("norm").set_weights([np.full(4, value, np.float32) for value in (0.5, 0.1, -3.0, 40.0)])
  before = model.get_config(), [len(operation._inbound_nodes) for operation in model.operations]
  settings = {"appearance": InputSettings("rgb", scale=1 / 255, offset=0.5), "motion": InputSettings("flow", scale=1 / 127.5)}
  made = adoption.adopt(model, CLASSES, **settings)
  assert "classes is a softmax" in caplog.text
  # The whole of it, which is square: the margins are cut off.
  appearance, motion = frames(2, 36, 43, 3), frames(2, 36, 43, 12, seed=1)
  inside = np.s_[:, 2:34, 5:37]
  theirs = [appearance[inside] / 255 + 0.5, motion[inside].reshape(2, 32, 32, 6, 2).transpose(0, 3, 1, 2, 4) / 127.5]
  given = {"appearance": appearance, "motion": motion}
  found = made.model(given, training=False)
  assert list(found) == ["scores_hybrid"]
  np.testing.assert_allclose(softmax(found["scores_hybrid"]), model(theirs, training=False), rtol=1e-4)
  # The model is as it was.
  assert before == (model.get_config(), [len(operation._inbound_nodes) for operation in model.operations])
  assert model.get_layer("classes").activation is keras.activations.softmax
  # Every layer has one call, under its own name where it can.
  assert all(len(operation._inbound_nodes) == 1 for operation in made.model.operations)
  names = {layer.name for layer in made.model.layers}
  assert {"conv", "pool", "norm", "shared", "shared_2", "each", "twice", "dense", "classes", "prediction"} <= names
  table = {place.name: place for place in geometry.list_layers(made.model)}
  assert (table["pool"].field, table["pool"].stride, table["pool"].streams) == (4, 2, ("appearance",))
  assert (table["smaller"].field, table["smaller"].stride, table["smaller"].streams) == (4, 2, ("motion",))
  assert set(table["twice"].streams) == {"appearance", "motion"} and table["dense"].field is None
  assert any(activations.is_relu(layer) for layer in made.model.layers)
  np.testing.assert_array_equal(places.crop_margin(made.model, 36, 43), (2, 5))
  sampling = made.sampling
  assert (sampling.streams, sampling.flow_frames, sampling.chunks) == (("appearance", "motion"), 6, 1)

  checkpoint.save_checkpoint(made, tmp_path / "made.keras")
  read = checkpoint.load_checkpoint(tmp_path / "made.keras", dtype="mixed_bfloat16")
  np.testing.assert_array_equal(read.model(given, training=False)["scores_hybrid"], found["scores_hybrid"])
  assert read.classes == CLASSES and read.input_size == 32 and read.appearance_mean == (127.5,) * 3
  model.save(tmp_path / "model.keras")
  again = adoption.adopt(tmp_path / "model.keras", CLASSES, **settings)
  np.testing.assert_array_equal(again.model(given, training=False)["scores_hybrid"], found["scores_hybrid"])


def test_a_sequential_film_model_and_numbers_for_each_colour():
  keras.utils.set_random_seed(2)
  model = keras.Sequential([
    keras.Input((None, 24, 24, 3), name="film"), layers.Normalization(axis=-1, name="known"), layers.Conv3D(4, 3, name="conv"),
    layers.TimeDistributed(layers.GlobalMaxPooling2D(), name="each"), layers.Dense(3, name="scores"), layers.Softmax(name="shares"),
  ])  # fmt: skip
  model.get_layer("known").adapt(frames(8, 6, 24, 24, 3))
  scale, offset = (0.01, 0.02, 0.03), (0.1, 0.2, 0.3)
  appearance = InputSettings("film", scale, offset)
  made = adoption.adopt(model, CLASSES, appearance=appearance, frames=6, spacing=4, is_film=True, appearance_mean=(1, 2, 3))
  film = frames(2, 6, 24, 24, 3)
  shares = np.asarray(model(film * np.array(scale, np.float32) + np.array(offset, np.float32)))
  scores = keras.Model(made.model.input, made.model.get_layer("scores").output)({"appearance": film})
  np.testing.assert_allclose(softmax(scores), shares, rtol=1e-4)
  # Scores of each frame: their mean over time is the clip's.
  np.testing.assert_allclose(last(made.model({"appearance": film})), np.mean(scores, axis=1), rtol=1e-5)
  assert made.towers == ("appearance",) and made.appearance_mean == (1.0, 2.0, 3.0)
  assert (made.sampling.chunks, made.sampling.spacing) == (6, (4, 4))


def test_maps_of_scores_and_several_outputs():
  rgb, flow = keras.Input((None, None, 3), name="rgb"), keras.Input((None, None, 4), name="flow")
  one, other = layers.Conv2D(3, 3, name="one")(rgb), layers.Conv2D(3, 5, name="prediction_motion")(flow)
  features = layers.Conv2D(7, 3, name="features")(rgb)
  inputs = {"appearance": InputSettings("rgb"), "motion": InputSettings("flow")}
  made = adoption.adopt(keras.Model({"rgb": rgb, "flow": flow}, [one, other]), CLASSES, **inputs, input_size=40)
  given = {"appearance": frames(2, 9, 9, 3), "motion": frames(2, 9, 9, 4)}
  found = made.model(given)
  assert set(found) == {"scores_appearance", "scores_motion"} and made.input_size == 40
  np.testing.assert_allclose(found["scores_motion"], np.mean(keras.Model(flow, other)(given["motion"]), axis=(1, 2)), rtol=1e-4, atol=1e-4)
  assert made.model.get_layer("prediction_appearance").output.shape == (None, None, None, 3)
  several = keras.Model([rgb, flow], [one, other, features])
  with pytest.raises(UsageError, match="one output that sees appearance, found one and features. Choose by --model_outputs"):
    adoption.adopt(several, CLASSES, **inputs)
  with pytest.raises(UsageError, match="of the same classes, found features 7, prediction_motion 3"):
    adoption.adopt(several, CLASSES, **inputs, outputs=["features", "prediction_motion"])
  with pytest.raises(UsageError, match="Unknown layer 'prediction'.*Nearest: prediction_motion"):
    adoption.adopt(several, CLASSES, **inputs, outputs=["prediction"])
  assert adoption.adopt(several, (), **inputs, outputs=["features"]).classes[:2] == ("class_1", "class_2")


@pytest.mark.parametrize(
  ("appearance", "motion", "ours", "chunks"),
  [
    (None, (5, None, None, 2), {"motion": (None, None, 10)}, 1),
    ((None, None, 3), (5, None, None, 2), {"appearance": (None, None, 3), "motion": (None, None, 10)}, 1),
    ((4, None, None, 3), (4, None, None, 2), {"appearance": (4, None, None, 3), "motion": (4, None, None, 2)}, 4),
    ((4, None, None, 3), (None, None, 8), {"appearance": (4, None, None, 3), "motion": (4, None, None, 2)}, 4),
    ((1, None, None, 3), None, {"appearance": (None, None, 3)}, 1),
  ],
)
def test_frames_lie_where_our_clips_have_them(appearance, motion, ours, chunks):
  shapes = {"appearance": appearance, "motion": motion}
  theirs = {stream: keras.Input(shape, name=f"their_{stream}") for stream, shape in shapes.items() if shape}
  # Sums over places of every frame and component, each with a weight of its own.
  flat = [keras.ops.sum(x, axis=(-3, -2)) for x in theirs.values()]
  flat = [layers.Reshape((int(np.prod(x.shape[1:])),))(x) for x in flat]
  joined = layers.Concatenate()(flat) if len(flat) > 1 else flat[0]
  model = keras.Model(list(theirs.values()), layers.Dense(2, name="scores")(joined))
  made = adoption.adopt(model, ("a", "b"), **{stream: InputSettings(f"their_{stream}") for stream in theirs})
  assert {name: tensor.shape[1:] for name, tensor in made.model.input.items()} == ours
  assert made.sampling.chunks == chunks and made.sampling.shapes(None) == ours
  given = {name: frames(1, *(size or 3 for size in shape)) for name, shape in ours.items()}
  wanted = []
  for stream, shape in shapes.items():
    if shape:
      x = given[stream]
      if x.ndim == 4 and len(shape) == 4:
        x = x.reshape(1, 3, 3, shape[0], -1).transpose(0, 3, 1, 2, 4)
      elif x.ndim == 5 and len(shape) == 3:
        x = x.transpose(0, 2, 3, 1, 4).reshape(1, 3, 3, -1)
      wanted.append(x)
  np.testing.assert_allclose(last(made.model(given)), model(wanted), rtol=1e-4, atol=1e-2)


def small(shape=(8, 8, 3), name="picture", head=()):
  x = picture = keras.Input(shape, name=name)
  for layer in head or (layers.GlobalAveragePooling2D(), layers.Dense(3)):
    x = layer(x)
  return keras.Model(picture, x)


class Unbuilt(keras.Model):
  def call(self, inputs):
    return inputs


@pytest.mark.parametrize(
  ("model", "arguments", "told"),
  [
    (Unbuilt, {}, "expected a Functional Keras model.*received Unbuilt"),
    (lambda: keras.Sequential([layers.Dense(3)]), {}, "a Sequential one with known shapes"),
    (small, {"appearance": InputSettings("pictures")}, r"Unknown input 'pictures'.*--appearance_input\). Nearest: picture"),
    (lambda: small((8, 8, 5)), {}, r"appearance to be \(H, W, 3\) of pictures or .*received \(8, 8, 5\)"),
    (lambda: small((3, 8, 8)), {}, "colours last"),
    (lambda: small((8, 9, 3)), {}, "square, or open.*received 8 x 9"),
    (small, {"motion": InputSettings("picture")}, "u1 v1 u2 v2"),
    (small, {"is_film": True}, r"expected a film \(T, H, W, 3\), received an input \(8, 8, 3\)"),
    (two_inputs, {}, r"each of its inputs to be the appearance or the motion.*it has rgb \(32, 32, 3\), flow .*received none"),
    (two_inputs, {"appearance": InputSettings("rgb")}, "received appearance=rgb"),
    (two_inputs, {"appearance": InputSettings("rgb"), "motion": InputSettings()}, "name of its input for motion"),
    (small, {"classes": ("a", "b")}, "expected scores of 2 classes, at least 2, found 3"),
    (lambda: small(head=(layers.Flatten(), layers.Lambda(lambda x: x, name="odd"), layers.Dense(3))), {}, "Layer odd .Lambda.: expected"),
  ],
)  # fmt: skip
def test_what_cannot_be_adopted_says_why(model, arguments, told):
  with pytest.raises(UsageError, match=told):
    adoption.adopt(model(), **{"classes": CLASSES, **arguments})


def test_a_layer_in_the_way_of_the_classes_is_told():
  x = layers.Dense(4, name="prediction_appearance")(layers.Flatten()(picture := keras.Input((4, 4, 3))))
  with pytest.raises(UsageError, match="layer prediction_appearance to give the scores of scores, which is another one's"):
    adoption.adopt(keras.Model(picture, layers.Dense(3, name="scores")(x)), CLASSES)


def test_files_that_are_no_models_of_others(tmp_path):
  for name, content, told in (
    ("model.pb", b"x", "expected a Keras model .*model.save"),
    ("gone.keras", None, "Expected a Keras model"),
    ("broken.keras", b"PK nothing", "cannot be read as one"),
    ("broken.h5", b"nothing", "the model cannot be loaded"),
  ):
    if content is not None:
      (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=told):
      adoption.load_model(tmp_path / name)
  checkpoint.save_checkpoint(adoption.adopt(small(), CLASSES), tmp_path / "ours.keras")
  with pytest.raises(UsageError, match="is a checkpoint of tbvis already: give it by --checkpoint"):
    adoption.load_model(tmp_path / "ours.keras")
  small(head=(layers.Flatten(), layers.Lambda(lambda x: x), layers.Dense(3))).save(tmp_path / "lambda.keras")
  with pytest.raises(UsageError, match="Lambda layer is code in a file"):
    adoption.load_model(tmp_path / "lambda.keras")
  small(head=(layers.Flatten(), layers.Dense(3))).save(tmp_path / "plain.h5")
  assert adoption.adopt(tmp_path / "plain.h5", CLASSES).towers == ("appearance",)


def test_a_layer_whose_code_is_not_known_is_told_with_the_flag(tmp_path):
  @keras.saving.register_keras_serializable("test_adoption")
  class Gone(layers.Layer):
    def call(self, inputs):
      return inputs

  model = small(head=(layers.Flatten(), Gone(), layers.Dense(3)))
  model.save(tmp_path / "model.keras")
  checkpoint.save_checkpoint(adoption.adopt(model, CLASSES), tmp_path / "made.keras")
  del keras.saving.get_custom_objects()["test_adoption>Gone"]
  for read, path in ((adoption.load_model, "model.keras"), (checkpoint.load_checkpoint, "made.keras")):
    with pytest.raises(UsageError, match="Gone.*--import=MODULE"):
      read(tmp_path / path)
