"""`tbvis.maximize`: the search as one call."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
import os
from typing import TYPE_CHECKING, Any

from tbvis.errors import UsageError
from tbvis.maximization import config as config_lib
from tbvis.maximization import planning, streams, sweep
from tbvis.maximization.objectives import Objective
from tbvis.maximization.stimulus import Stimulus
from tbvis.models import checkpoint as checkpoint_lib
from tbvis.models import precision
from tbvis.units import Unit

if TYPE_CHECKING:
  import keras


def crop_size(model: keras.Model) -> int:
  """Returns the side of the training crop of a network of which nothing else is known: 32 times the kernel of fc6."""
  names = {layer.name for layer in model.layers}
  for name in ("fc6", "fc6_motion", "fc6_appearance"):
    if name in names:
      return 32 * int(model.get_layer(name).kernel_size[-1])
  return 224


def make_job(
  model: keras.Model | checkpoint_lib.Checkpoint | str | os.PathLike[str],
  config: config_lib.MaximizationConfig | None = None,
  *,
  dtype: str = "auto",
  inputs: Mapping[str, Mapping[str, Any]] | None = None,
  classes: Sequence[str] = (),
) -> planning.Job:
  """Returns what a search needs to know of a network: see `maximize` for the arguments.

  Raises:
    UsageError: if the model is no Functional one, or `inputs` does not fit it.
  """
  import keras

  if isinstance(model, (str, os.PathLike)):
    model = checkpoint_lib.load_checkpoint(model, dtype=precision.resolve_dtype(dtype))
  sampling, given, input_size = None, inputs or {}, None
  if isinstance(model, checkpoint_lib.Checkpoint):
    sampling, given = model.sampling, {}
    classes, input_size, model = model.classes, model.input_size, model.model
  if not isinstance(model, keras.Model) or not getattr(model, "inputs", None) or not hasattr(model, "output_names"):
    raise UsageError(f"Expected a Functional Keras model, one with named inputs and layers, received {type(model).__name__}.")
  found = streams.streams_of(model, given)
  if sampling:
    found = streams.sampled(found, sampling.chunks, sampling.spacing)
  sizes = [size for stream in found.values() for size in stream.size or ()]
  return planning.Job(
    model, config or config_lib.MaximizationConfig(), found, input_size or min(sizes, default=crop_size(model)), {}, classes
  )


def maximize(
  model: keras.Model | checkpoint_lib.Checkpoint | str | os.PathLike[str],
  targets: Sequence[str | Unit | Objective] | str | Unit | Objective,
  *,
  chi: Sequence[float] | None = None,
  kappa: float = 1.0,
  isotropic: Sequence[float] = (),
  config: config_lib.MaximizationConfig | None = None,
  a_hat: Any = None,
  seed: int = 0,
  dtype: str = "auto",
  inputs: Mapping[str, Mapping[str, Any]] | None = None,
  classes: Sequence[str] = (),
  on_stimulus: Callable[[Stimulus], None] | None = None,
  on_step: Callable[[Any], None] | None = None,
) -> list[Stimulus]:
  """Finds the inputs that units prefer, by gradient ascent on all inputs of a network (section 3 of the paper).

  Args:
    model: a Functional Keras model with one or several inputs (N, H, W, C) or (N, T, H, W, C), a checkpoint, or the file of
      one. It is left as it was.
    targets: a unit such as "conv5_fusion/f021" (1-based) or "prediction/PlayingCello", several ("conv3_3/f001-f025",
      "prediction/*"), a sum ("prediction/PlayingViolin - prediction/PlayingPiano"), a layer ("conv4_3_motion"), an objective
      of `tbvis.objectives`, or a list of these. `tbvis.list_layers` tells what a model has.
    chi: temporal weights of the total variation of inputs with frames; each gives a stimulus a target. 0 leaves time free, 10 is
      slow. (0, 1, 5, 10) by default, (0,) where no input has frames.
    kappa: its spatial weight beside these.
    isotropic: values for chi = kappa; each gives one more stimulus a target.
    config: constants, `MaximizationConfig()` by default; `MaximizationConfig.preset("paper")` has those printed.
    a_hat: the units' largest values on validation clips: statistics of `tbvis-evaluate` or the path of theirs, or a dict
      from layer to array (units,). Without it 1 stands in, with a warning.
    seed: of the start noise and the transforms. The same call with the same seed gives the same stimuli.
    dtype: number format in which a checkpoint's file is loaded: "auto", "float32" or "bfloat16". Regularisers, the inputs
      themselves and the reported activation are always float32.
    inputs: by input of a model, any of "frames" and "components" (how its channels divide), "scale" and "offset" (the search
      works in grey levels of 255 around 0; the model sees scale * x + offset), and "gap" (frames of the clip from one chunk's last to
      the next one's first, where its time steps are chunks of several frames; chi holds chunks together by 1 / gap, and not at all
      without it).
    classes: names of the model's classes, for its units to be named by.
    on_stimulus: called with each stimulus as its batch ends.
    on_step: called with the batch after each step.

  Returns:
    Stimuli target by target, chi by chi, as given.

  Raises:
    UsageError: for an unknown unit or layer, a file that is no checkpoint, weights that are not finite, or a value out of range.

  >>> import tbvis
  >>> network = tbvis.two_stream_fusion_vgg16(2, width=0.05, input_size=32, fc_units=8)
  >>> stimuli = tbvis.maximize(network, "prediction/f001", chi=[0, 10], a_hat={"prediction": [1, 1]}, config=MaximizationConfig(steps=2))
  >>> [(s.target.name, s.chi) for s in stimuli]
  [('prediction/f001', 0.0), ('prediction/f001', 10.0)]
  >>> stimuli[0].appearance.shape, stimuli[0].motion.shape
  ((32, 32, 3), (32, 32, 10, 2))
  """
  job = make_job(model, config, dtype=dtype, inputs=inputs, classes=classes)
  if chi is None:
    chi = (0, 1, 5, 10) if any(stream.frames > 1 for stream in job.streams.values()) else (0,)
  wanted = planning.settings(chi, kappa, isotropic)
  known = isinstance(model, (checkpoint_lib.Checkpoint, str, os.PathLike))
  job, found, batches = planning.prepare(job, targets, wanted, a_hat, classes=job.classes if known else None, seed=seed)
  stimuli: dict[tuple[Any, ...], Stimulus] = {}
  for batch, made in zip(batches, sweep.search(job, batches, on_step), strict=True):
    for row, stimulus in zip(batch.rows, made, strict=True):
      stimuli[row.key] = stimulus
      if on_stimulus:
        on_stimulus(stimulus)
  return [stimuli[planning.Row(target, setting, seed).key] for target in found for setting in wanted]


MaximizationConfig = config_lib.MaximizationConfig
