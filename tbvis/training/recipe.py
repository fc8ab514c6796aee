"""What a training is: phases and their settings."""

from __future__ import annotations

import dataclasses
import math
import re

from tbvis.errors import UsageError

PHASES = ("appearance", "motion", "fusion")
# Of `checkpoint.BUILDERS`, which cannot be asked without loading Keras.
NETWORKS = ("two_stream_fusion_vgg16", "st_resnet50", "tsn_bn_inception", "tsn_inception_v3", "c3d")
CROPS = ("regular", "borders25")
STRATEGIES = ("none", "mirrored", "multiworker")
_PART = re.compile(r"(prediction:)?([0-9.eE+-]+)(?:x([0-9.]+))?")


@dataclasses.dataclass(frozen=True)
class Part:
  """A stretch of training at one learning rate.

  Attributes:
    rate: the learning rate.
    end: the update before which it ends.
    head_only: whether `prediction` alone is trained.
  """

  rate: float
  end: int
  head_only: bool


def parse_rates(text: str, steps: int, flag: str = "rates") -> tuple[Part, ...]:
  """Parses a staircase of learning rates, as "prediction:1e-3x3,5e-4x5,5e-5x2".

  Args:
    text: rates in their order, each with its length after an "x" (1 by default) in any unit, and "prediction:" before the first ones
      where the layers below the classifier rest.
    steps: updates that the lengths share.
    flag: for the message.

  Raises:
    UsageError: for another form, or where layers that were trained already shall rest.

  >>> [(part.rate, part.end, part.head_only) for part in parse_rates("prediction:1e-3x3,1e-4", 8)]
  [(0.001, 6, True), (0.0001, 8, False)]
  """
  found = [_PART.fullmatch(part.strip()) for part in text.split(",")]
  try:
    values = [(float(m[2]), float(m[3] or 1), bool(m[1])) for m in found if m]
  except ValueError:
    values = []
  if len(values) < len(found) or not all(rate > 0 and math.isfinite(rate) and 0 < length < math.inf for rate, length, _ in values):
    raise UsageError(f"--{flag}: expected learning rates with lengths such as 1e-3x3,1e-4x1, received {text!r}.")
  heads = [head_only for _, _, head_only in values]
  if heads != sorted(heads, reverse=True):
    raise UsageError(f"--{flag}: expected prediction: at the first rates alone, found it after a rate of all layers in {text!r}.")
  total, parts, done = sum(length for _, length, _ in values), [], 0.0
  for rate, length, head_only in values:
    done += length
    parts.append(Part(rate, round(steps * done / total), head_only))
  return tuple(parts)


@dataclasses.dataclass(frozen=True)
class Phase:
  """Settings of one phase of training.

  The phases are those of the paper's network: each tower on its own, then the fusion
  (METHOD 1.3, 1.4).

  Attributes:
    name: "appearance", "motion" or "fusion".
    steps: updates.
    batch_size: snippets an update.
    optimizer: "sgd" (momentum) or "adam".
    learning_rate: peak rate of the convolutions, after `warmup_steps` and before a cosine fall.
    rates: a staircase of rates instead, shared out over `steps` (see `parse_rates`); empty for none.
    head_factor: factor on it for the classifiers: fc6, fc7 and prediction.
    first_layer_factor: factor on it for the tower's first convolution.
    bias_factor: factor on it for biases, which never decay.
    warmup_steps: updates over which the rate rises linearly; it falls by a cosine after them.
    momentum: of SGD, and beta_1 of Adam.
    weight_decay: on kernels; part of SGD's gradient, so that its momentum carries it (as in the released code), and apart from Adam's.
    clip_norm: bound on the gradient's global norm; 0 for none.
    dropout: rate of every dropout in this phase; None for the network's own.
    crops: "regular" (sides from a list, at corners and centre) or "borders25" (any side of 168 to 280, near a corner).
    train_from: first layer of the towers that is trained, without the stream's name ("conv4_1", "fc6"); empty for all of a tower, and for
      what is behind the place where the streams meet in the fusion phase.
    cached_crops: crops a clip whose features below `train_from` are computed once and kept in
      memory; 0 computes them anew for every snippet.
  """

  name: str
  steps: int
  batch_size: int = 24
  optimizer: str = "adam"
  learning_rate: float = 5e-5
  rates: str = ""
  head_factor: float = 10.0
  first_layer_factor: float = 1.0
  bias_factor: float = 1.0
  warmup_steps: int = 20
  momentum: float = 0.9
  weight_decay: float = 0.0
  clip_norm: float = 10.0
  dropout: float | None = None
  crops: str = "regular"
  train_from: str = ""
  cached_crops: int = 0

  def parts(self) -> tuple[Part, ...]:
    """Returns the staircase of `rates`, empty where the rate follows `learning_rate`.

    Raises:
      UsageError: for rates of another form, or with a decay that would reach resting layers.
    """
    parts = parse_rates(self.rates, self.steps, f"{self.name}_rates") if self.rates else ()
    # Keras' decay apart from the gradient takes every variable, by the rate that no factor has made smaller.
    if self.optimizer == "adam" and self.weight_decay and any(part.head_only for part in parts):
      raise UsageError(
        f"--{self.name}_rates: prediction: expected --{self.name}_weight_decay=0 with adam, whose decay takes resting layers too; "
        f"received {self.weight_decay:g}. sgd's decay lets them rest."
      )
    return parts
