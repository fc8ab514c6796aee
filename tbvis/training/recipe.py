"""What a training is: phases and their settings."""

from __future__ import annotations

import dataclasses

PHASES = ("appearance", "motion", "fusion")


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
    learning_rate: peak rate of the convolutions.
    head_factor: factor on it for fc6, fc7 and prediction.
    first_layer_factor: factor on it for the tower's first convolution.
    warmup_steps: updates over which the rate rises linearly; it falls by a cosine after them.
    momentum: of SGD, and beta_1 of Adam.
    weight_decay: decoupled, on kernels.
    clip_norm: bound on the gradient's global norm.
    train_from: first convolution that is trained ("conv1_1" ... "conv5_3", "fc6"); the fusion phase
      always begins at conv5_fusion.
    cached_crops: crops a clip whose features below `train_from` are computed once and kept in
      memory; 0 computes them anew for every snippet.
  """

  name: str
  steps: int
  batch_size: int = 24
  optimizer: str = "adam"
  learning_rate: float = 5e-5
  head_factor: float = 10.0
  first_layer_factor: float = 1.0
  warmup_steps: int = 20
  momentum: float = 0.9
  weight_decay: float = 0.0
  clip_norm: float = 10.0
  train_from: str = "conv1_1"
  cached_crops: int = 0
