"""Any Keras model of others as a checkpoint of this project: a copy whose inputs and scores are called as ours are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import json
import os
import pathlib
from typing import Any

from absl import logging
import keras

from tbvis import limits
from tbvis.errors import UsageError, unknown_name
from tbvis.models import activations, geometry
from tbvis.models import adopted as adopted_lib
from tbvis.models import checkpoint as checkpoint_lib
from tbvis.models.adopted import PICTURE_RANK
from tbvis.models.sampling import OPEN_FRAMES
from tbvis.models.two_stream import STREAMS

# Grey in the middle of 0 to 255: what our inputs have as 0, so that scale and offset alone tell what a model wants.
MIDDLE_GREY = (127.5, 127.5, 127.5)
_COLOURS, _VECTOR = 3, 2
_COMPONENTS = {"appearance": _COLOURS, "motion": _VECTOR}
_WANTED = {
  "appearance": "(H, W, 3) of pictures or (T, H, W, 3) of films, colours last",
  "motion": "(H, W, 2 L) with channels u1 v1 u2 v2 ... or (T, H, W, 2)",
}
# By the inputs that an output sees: the layer of class units, as every network of ours calls it, and the scores.
_TOWERS = {
  frozenset(STREAMS): ("prediction", "scores_hybrid"),
  frozenset({"appearance"}): ("prediction_appearance", "scores_appearance"),
  frozenset({"motion"}): ("prediction_motion", "scores_motion"),
}
_MEANS = {3: keras.layers.GlobalAveragePooling1D, 4: keras.layers.GlobalAveragePooling2D, 5: keras.layers.GlobalAveragePooling3D}
# Operations that a model may have instead of a layer, which the rest of the project looks for.
_LAYERS_OF_OPERATIONS = {"Relu": keras.layers.ReLU, "ReLU": keras.layers.ReLU, "Softmax": keras.layers.Softmax}


@dataclasses.dataclass(frozen=True)
class InputSettings:
  """What a model's input is.

  Attributes:
    name: of the input; None where the model has one alone.
    scale: the model is given `scale * x + offset`, x in grey levels of 255 around 0 (a frame minus `appearance_mean`; a quantised flow
      minus 128, of which one is 40/255 pixel a frame). One number, or one for each colour.
    offset: see `scale`.
  """

  name: str | None = None
  scale: float | Sequence[float] = 1.0
  offset: float | Sequence[float] = 0.0


def adopt(
  model: keras.Model | str | os.PathLike[str],
  classes: Sequence[str] = (),
  *,
  appearance: InputSettings | None = None,
  motion: InputSettings | None = None,
  outputs: Sequence[str] = (),
  appearance_mean: Sequence[float] = MIDDLE_GREY,
  input_size: int | None = None,
  frames: int = OPEN_FRAMES,
  spacing: int = 1,
  is_film: bool = False,
) -> checkpoint_lib.Checkpoint:
  """Makes a checkpoint of a Keras model that is not ours.

  The model is left as it was. Its copy has inputs "appearance" and "motion", and behind them what makes of ours what the model wants;
  a layer for every call (models inside the model are opened, what is called twice is there twice); all layers under their own
  names; and its scores, before any softmax, as `scores_hybrid`, `scores_appearance` or `scores_motion` by the inputs that they
  see. Class units are prediction/CLASS, prediction_appearance/CLASS and prediction_motion/CLASS, as in every network of ours.

  Args:
    model: a Functional or a built Sequential model, or the file of one (.keras, .h5).
    classes: names in the order of its scores; class_1, class_2, ... by default.
    appearance: its input of pictures (N, H, W, 3) or films (N, T, H, W, 3), None where it has none.
    motion: its input of flow, (N, H, W, 2 L) with channels u1 v1 u2 v2 ... or (N, T, H, W, 2), None where it has none. Of a model with
      one input both may be left out: its channels tell what it is.
    outputs: names of the layers that give its scores; by default the model's outputs.
    appearance_mean: R, G, B taken off a frame before `scale` and `offset`.
    input_size: side in pixels of the crop that it was trained with, where its inputs leave that open; 224 by default.
    frames: length of a film, where its input leaves that open.
    spacing: frames of a clip from one frame of a film to the next.
    is_film: whether its appearance must be a film.

  Returns:
    A checkpoint, which can be saved.

  Raises:
    UsageError: for a file that is no model, inputs or outputs that are unknown or of another kind, or a layer that cannot be copied.

  >>> clip = keras.Input((8, 32, 32, 3), name="clip")
  >>> x = keras.layers.Conv3D(4, 3, name="conv")(clip)
  >>> x = keras.layers.Dense(2, name="logits")(keras.layers.GlobalAveragePooling3D()(x))
  >>> made = adopt(keras.Model(clip, x), ["Archery", "Bowling"], appearance=InputSettings("clip", scale=1 / 255, offset=0.5))
  >>> made.model.input["appearance"].shape, list(made.model.output)
  ((None, 8, None, None, 3), ['scores_appearance'])
  """
  where = f"model {getattr(model, 'name', type(model).__name__)!r}"
  if isinstance(model, (str, os.PathLike)):
    where, model = str(model), load_model(model)
  graph = _graph(model)
  if graph is None:
    raise UsageError(
      f"{where}: expected a Functional Keras model, or a Sequential one with known shapes, received {type(model).__name__}. A model "
      "of a class of its own becomes one by keras.Model(inputs, its_outputs_for(inputs))."
    )
  given = {stream: settings for stream, settings in (("appearance", appearance), ("motion", motion)) if settings}
  chosen = _choose_inputs(graph, given, where, is_film)
  if is_film and len(chosen["appearance"][0].shape) == PICTURE_RANK:
    raise UsageError(f"{where}: expected a film (T, H, W, 3), received an input {tuple(chosen['appearance'][0].shape[1:])}.")
  adapters = _Adapters.fit({stream: tensor.shape for stream, (tensor, _) in chosen.items()}, frames, where)
  inputs, towards = {}, {}
  for stream, (tensor, settings) in chosen.items():
    inputs[tensor.name], towards[stream] = adapters.begin(stream, settings)
  copier = _Copier()
  found = keras.tree.flatten(copier.copy(graph, [inputs[tensor.name] for tensor in graph.inputs]))
  copier.copy_weights()
  scores = _scores(copier, found, towards, outputs, where)
  made = keras.Model(towards, scores, name="adopted")
  count = int(next(iter(scores.values())).shape[-1])
  classes = tuple(classes) or tuple(f"class_{index + 1}" for index in range(count))
  if len(classes) != count or count < 2:
    raise UsageError(f"{where}: expected scores of {len(classes)} classes, at least 2, found {count}. Names of classes are one a score.")
  size = adapters.size or input_size or 224
  arguments = {"config": json.loads(made.to_json()), "input_size": int(size), "chunks": adapters.chunks, "classes": count}
  told = {stream: {"name": tensor.name, **dataclasses.asdict(settings)} for stream, (tensor, settings) in chosen.items()}
  metadata: dict[str, Any] = {"adopted": {"model": pathlib.Path(where).name, "inputs": told}}
  metadata |= {"appearance_mean": [float(value) for value in appearance_mean]}
  if adapters.chunks > 1:
    metadata["sampling"] = {"spacing": [spacing, spacing]}
  return checkpoint_lib.Checkpoint(made, classes, "adopted", arguments, metadata)


def load_model(path: str | os.PathLike[str]) -> keras.Model:
  """Reads a Keras model of others.

  Raises:
    UsageError: if there is none, or it has a layer whose code is not known.
  """
  path = pathlib.Path(path)
  if path.suffix not in (".keras", ".h5", ".hdf5"):
    raise UsageError(f"{path}: expected a Keras model (.keras or .h5). A SavedModel becomes one by model.save('model.keras').")
  limits.read_file(path, "a Keras model")
  if path.suffix == ".keras":
    with limits.open_zip(path, "a .keras model") as archive:
      limits.check_members(path, archive)
      if checkpoint_lib.MEMBER in archive.namelist():
        raise UsageError(f"{path} is a checkpoint of tbvis already: give it by --checkpoint.")
  try:
    return keras.saving.load_model(path, compile=False)
  except Exception as error:  # Keras, HDF5 and layers of others raise a dozen kinds.
    told = " ".join(str(error).split())[:300] or type(error).__name__
    raise UsageError(f"{path}: the model cannot be loaded: {adopted_lib.code_hint(error) or told}.") from error


def _graph(model: Any) -> Any:
  """Returns the Functional model of a layer that is one, or has one inside; None of others."""
  if isinstance(model, keras.Sequential):
    return model._functional
  return model if isinstance(model, keras.Model) and hasattr(model, "_run_through_graph") else None


def _choose_inputs(graph: Any, given: Mapping[str, InputSettings], where: str, is_film: bool) -> dict[str, tuple[Any, InputSettings]]:
  """Returns the model's inputs by our streams.

  Raises:
    UsageError: for an unknown name, or an input without a stream.
  """
  tensors = geometry.inputs_by_name(graph)
  shown = ", ".join(f"{name} {tuple(tensor.shape[1:])}" for name, tensor in tensors.items())
  if not given and len(tensors) == 1:
    (tensor,) = tensors.values()
    given = {"motion" if tensor.shape[-1] == _VECTOR else "appearance": InputSettings()}
  chosen = {}
  for stream, settings in given.items():
    flag = "--video_input" if is_film and stream == "appearance" else f"--{stream}_input"
    wanted = settings.name or (next(iter(tensors)) if len(tensors) == 1 else None)
    if wanted is None:
      raise UsageError(f"{where}: expected the name of its input for {stream} ({flag}), received none. It has {shown}.")
    if wanted not in tensors:
      raise unknown_name("input", wanted, tensors, f"{where} ({flag})")
    chosen[stream] = (tensors[wanted], dataclasses.replace(settings, name=wanted))
  taken = [tensor.name for tensor, _ in chosen.values()]
  if len(set(taken)) < len(tensors) or len(set(taken)) < len(taken):
    raise UsageError(
      f"{where}: expected each of its inputs to be the appearance or the motion (--appearance_input, --motion_input), it has {shown}; "
      f"received {', '.join(f'{stream}={tensor.name}' for stream, (tensor, _) in chosen.items()) or 'none'}."
    )
  return chosen


@dataclasses.dataclass(frozen=True)
class _Adapters:
  """What stands between our inputs and those of a model.

  Attributes:
    ours: shapes (H, W, C) or (T, H, W, C) of our inputs by stream, H and W None.
    frames: of the stream whose frames lie in our channels, but are an axis of the model's input (above 0), or the other way round (-1).
    sizes: (height, width) that the model's inputs have, None where they are open.
    chunks: frames of a film, 1 without.
  """

  ours: Mapping[str, tuple[int | None, ...]]
  frames: Mapping[str, int]
  sizes: Mapping[str, tuple[int, int] | None]
  chunks: int

  @property
  def size(self) -> int | None:
    """Side of the model's inputs, None where they are open."""
    return next((size[0] for size in self.sizes.values() if size), None)

  @classmethod
  def fit(cls, shapes: Mapping[str, Sequence[int | None]], frames: int, where: str) -> _Adapters:
    """Finds them by the shapes of a model's inputs.

    Raises:
      UsageError: for a shape that is neither of pictures nor of films, or shapes that do not go together.
    """
    times: dict[str, int] = {}
    channels: dict[str, int] = {}
    sizes: dict[str, tuple[int, int] | None] = {}
    for stream, shape in shapes.items():
      count, wanted = shape[-1], _COMPONENTS[stream]
      is_motion_stack = stream == "motion" and count is not None and count > 0 and count % wanted == 0
      if len(shape) not in (PICTURE_RANK, PICTURE_RANK + 1) or count is None or not (count == wanted or is_motion_stack):
        raise UsageError(f"{where}: expected an input of {stream} to be {_WANTED[stream]}; received {tuple(shape[1:])}.")
      times[stream] = (shape[1] or frames) if len(shape) > PICTURE_RANK else 0
      channels[stream] = int(count)
      height, width = shape[-3:-1]
      if height != width:
        raise UsageError(
          f"{where}: expected an input of {stream} that is square, or open in height and width (None), received {height} x {width}."
        )
      sizes[stream] = (int(height), int(width)) if height and width else None
    if len({size for size in sizes.values() if size}) > 1:
      raise UsageError(f"{where}: expected inputs of one size, received {' and '.join(str(size) for size in sizes.values())}.")
    film = times.get("appearance", 0) if times.get("appearance", 0) > 1 else 0
    ours: dict[str, tuple[int | None, ...]] = {}
    moved: dict[str, int] = {}
    for stream, time in times.items():
      count = channels[stream]
      if film and time == film:
        ours[stream], moved[stream] = (film, None, None, count), 0
      elif film:
        if time or count != _VECTOR * film:
          raise UsageError(
            f"{where}: its appearance is a film of {film} frames; expected a motion of as many, ({film}, H, W, 2) or "
            f"(H, W, {_VECTOR * film}), received {tuple(shapes[stream][1:])}."
          )
        ours[stream], moved[stream] = (film, None, None, _VECTOR), -1
      else:
        ours[stream], moved[stream] = (None, None, count * max(time, 1)), time
    return cls(ours, moved, sizes, film or 1)

  def begin(self, stream: str, settings: InputSettings) -> tuple[Any, Any]:
    """Returns what the model's input reads, and our input."""
    ours = keras.Input(self.ours[stream], name=stream, dtype="float32")
    x, size = ours, self.sizes[stream]
    if size:
      x = adopted_lib.CentralCrop(*size, name=f"crop_{stream}")(x)
    if self.frames[stream]:
      name, count = f"frames_{stream}", self.frames[stream]
      x = (adopted_lib.StackToFrames(count, name=name) if count > 0 else adopted_lib.FramesToStack(name=name))(x)
    plain = [value if isinstance(value, (int, float)) else [float(v) for v in value] for value in (settings.scale, settings.offset)]
    if plain != [1.0, 0.0]:
      x = keras.layers.Rescaling(*plain, name=f"scale_{stream}", dtype="float32")(x)
    return x, ours


class _Copier:
  """Copies models layer by layer onto other inputs, so that no layer is called twice and none has others inside."""

  def __init__(self) -> None:
    self.tensors: dict[str, Any] = {}
    self._pairs: list[tuple[Any, Any]] = []

  def copy(self, graph: Any, inputs: Sequence[Any], prefix: str = "") -> Any:
    """Returns the outputs of a copy of a Functional model, in its structure."""
    return graph._run_through_graph(list(inputs), operation_fn=lambda layer: self._call(layer, prefix))

  def copy_weights(self) -> None:
    """Gives the copies the weights of the layers that they are of."""
    for layer, copy in self._pairs:
      copy.set_weights(layer.get_weights())
      if hasattr(copy, "finalize_state"):  # A Normalization reckons with numbers made of its weights.
        copy.finalize_state()

  def _call(self, layer: Any, prefix: str) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
      inside = _graph(layer)
      if inside is not None:
        return self.copy(inside, keras.tree.flatten(args), f"{prefix}{layer.name}_")
      kwargs = {name: value for name, value in kwargs.items() if name != "training"}
      copy = self._copied(layer, prefix)
      values = copy(*args, **kwargs)
      if getattr(layer, "weights", None):
        self._pairs.append((layer, copy))
      self.tensors[copy.name] = values
      return values

    return call

  def _copied(self, layer: Any, prefix: str) -> Any:
    name = self._free(layer.name, prefix)
    if not isinstance(layer, keras.Layer) and type(layer).__name__ in _LAYERS_OF_OPERATIONS:
      return _LAYERS_OF_OPERATIONS[type(layer).__name__](name=name)
    try:
      return type(layer).from_config({**layer.get_config(), "name": name})
    except Exception as error:  # Layers of others raise anything.
      told = " ".join(str(error).split())[:200]
      raise UsageError(
        f"Layer {layer.name} ({type(layer).__name__}): expected one that its get_config() makes again; {told or type(error).__name__}"
      ) from error

  def _free(self, name: str, prefix: str) -> str:
    """Returns a layer's own name, or where that is taken one beside it."""
    taken = {*self.tensors, *STREAMS}
    candidates = [name, f"{prefix}{name}", *(f"{prefix}{name}_{number}" for number in range(2, len(taken) + 3))]
    return next(candidate for candidate in candidates if candidate not in taken)


def _scores(copier: _Copier, found: Sequence[Any], inputs: Mapping[str, Any], wanted: Sequence[str], where: str) -> dict[str, Any]:
  """Returns the scores before the softmax by their names in our networks.

  Raises:
    UsageError: for an unknown layer, two outputs that see the same inputs, or outputs of other forms.
  """
  for name in wanted:
    if name not in copier.tensors:
      raise unknown_name("layer", name, copier.tensors, f"{where} (--model_outputs)")
  found = [copier.tensors[name] for name in wanted] or list(found)
  scores: dict[str, Any] = {}
  names: dict[str, str] = {}
  for tensor in (_before_softmax(tensor) for tensor in found):
    own = tensor._keras_history.operation.name
    probe = keras.Model(dict(inputs), tensor)
    layer, key = _TOWERS[frozenset(geometry.input_names(probe, [own]))]
    if key in scores:
      raise UsageError(
        f"{where}: expected one output that sees {' and '.join(geometry.input_names(probe, [own]))}, found {names[key]} and {own}. "
        "Choose by --model_outputs."
      )
    if len(tensor.shape) not in (2, *_MEANS) or not tensor.shape[-1]:
      raise UsageError(f"{where}: expected scores (N, classes) of layer {own}, found shape {tuple(tensor.shape)}.")
    if own != layer:
      if layer in copier.tensors:
        raise UsageError(f"{where}: expected layer {layer} to give the scores of {own}, which is another one's: give it another name.")
      tensor = copier.tensors[layer] = keras.layers.Identity(name=layer, dtype="float32")(tensor)
    last = _MEANS.get(len(tensor.shape), keras.layers.Identity)
    scores[key], names[key] = last(name=key, dtype="float32")(tensor), own
  if len({tensor.shape[-1] for tensor in scores.values()}) > 1:
    counts = ", ".join(f"{names[key]} {tensor.shape[-1]}" for key, tensor in scores.items())
    raise UsageError(f"{where}: expected outputs of the same classes, found {counts} scores. Choose by --model_outputs.")
  return scores


def _before_softmax(tensor: Any) -> Any:
  """Returns what a softmax at the end of a copy reads, with a warning; a fused one is taken away."""
  layer = tensor._keras_history.operation
  if not activations.is_softmax(layer):
    return tensor
  logging.warning("Layer %s is a softmax: scores are taken before it.", layer.name)
  if activations.fused_activation(layer) is None:
    return _before_softmax(layer._inbound_nodes[0].input_tensors[0])
  layer.activation = keras.activations.linear
  return tensor
