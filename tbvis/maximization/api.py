"""`tbvis.maximize`: the search as one call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
import os
from typing import TYPE_CHECKING, Any

from tbvis.maximization import config as config_lib
from tbvis.maximization import sweep
from tbvis.maximization.stimulus import Stimulus
from tbvis.models import checkpoint as checkpoint_lib
from tbvis.models import precision
from tbvis.units import Unit, parse_units

if TYPE_CHECKING:
  import keras


def crop_size(model: keras.Model) -> int:
  """Returns the side of the training crop of a network of which nothing else is known: 32 times the kernel of fc6."""
  names = {layer.name for layer in model.layers}
  for name in ("fc6", "fc6_motion", "fc6_appearance"):
    if name in names:
      return 32 * int(model.get_layer(name).kernel_size[0])
  return 224


def maximize(
  model: keras.Model | checkpoint_lib.Checkpoint | str | os.PathLike[str],
  units: Sequence[str | Unit] | str,
  *,
  chi: Sequence[float] = (0, 1, 5, 10),
  kappa: float = 1.0,
  isotropic: Sequence[float] = (),
  config: config_lib.MaximizationConfig | None = None,
  a_hat: Any = None,
  seed: int = 0,
  dtype: str = "auto",
  on_stimulus: Callable[[Stimulus], None] | None = None,
) -> list[Stimulus]:
  """Finds the appearance and the motion that units prefer, by gradient ascent on both inputs (section 3 of the paper).

  Args:
    model: a network, a checkpoint, or the file of one. It is left as it was.
    units: names such as "conv5_fusion/f021" (1-based), "prediction/PlayingCello", "conv3_3/f001-f025", or `Unit`s.
    chi: temporal weights of the motion's total variation; each gives a stimulus a unit. 0 leaves time free, 10 is slow.
    kappa: its spatial weight beside these.
    isotropic: values for chi = kappa; each gives one more stimulus a unit.
    config: constants, `MaximizationConfig()` by default; `MaximizationConfig.preset("paper")` has those printed.
    a_hat: the units' largest values on validation clips: statistics of `tbvis-evaluate` or the path of theirs, or a dict
      from layer to array (units,). Without it 1 stands in, with a warning.
    seed: of the start noise and the shifts. The same call with the same seed gives the same stimuli.
    dtype: number format in which a checkpoint's file is loaded: "auto", "float32" or "bfloat16". Regularisers and
      the inputs themselves are always float32.
    on_stimulus: called with each stimulus as its batch ends.

  Returns:
    Stimuli unit by unit, chi by chi, as given.

  Raises:
    UsageError: for an unknown unit, a file that is no checkpoint, or a value out of range.

  >>> import tbvis
  >>> network = tbvis.two_stream_fusion_vgg16(2, width=0.05, input_size=32, fc_units=8)
  >>> stimuli = tbvis.maximize(
  ...   network, ["prediction/f001", "conv2_2_motion/f002"], chi=[0, 10], a_hat={"prediction": [1, 1]},
  ...   config=MaximizationConfig(steps=3))
  >>> [(s.unit.name, s.chi) for s in stimuli]
  [('prediction/f001', 0.0), ('prediction/f001', 10.0), ('conv2_2_motion/f002', 0.0), ('conv2_2_motion/f002', 10.0)]
  >>> stimuli[0].appearance.shape, stimuli[0].motion.shape, stimuli[2].appearance
  ((32, 32, 3), (32, 32, 10, 2), None)
  """
  config = config or config_lib.MaximizationConfig()
  if isinstance(model, (str, os.PathLike)):
    model = checkpoint_lib.load_checkpoint(model, dtype=precision.resolve_dtype(dtype))
  classes: Sequence[str] = ()
  known = isinstance(model, checkpoint_lib.Checkpoint)
  if known:
    classes, input_size, model = model.classes, model.input_size, model.model
  else:
    input_size = crop_size(model)
  wanted = sweep.settings(chi, kappa, isotropic)
  found: list[Unit] = []
  for unit in [units] if isinstance(units, (str, Unit)) else units:
    found += [unit] if isinstance(unit, Unit) else parse_units([unit], model, classes)
  found = list(dict.fromkeys(found))
  batches = sweep.plan(model, found, wanted, config, input_size, seed)
  layers = list(dict.fromkeys(layer for unit in found for layer in unit.layers))
  scale = sweep.a_hat_by_layer(a_hat, model, layers, classes if known else None)
  stimuli: dict[tuple[Any, ...], Stimulus] = {}
  for batch, made in zip(batches, sweep.search(model, batches, config, scale), strict=True):
    for row, stimulus in zip(batch.rows, made, strict=True):
      stimuli[row.key] = stimulus
      if on_stimulus:
        on_stimulus(stimulus)
  return [stimuli[sweep.Row(unit, setting, seed).key] for unit in found for setting in wanted]


MaximizationConfig = config_lib.MaximizationConfig
