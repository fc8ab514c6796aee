"""Every constant of the search, with its default, its meaning and its source."""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
import re
from typing import Any

from tbvis.errors import UsageError, unknown_name

LOCATIONS = ("center", "mean", "sum")
PARAMETERIZATIONS = ("pixels", "fourier")
_PLACE = re.compile(r"-?\d+(,-?\d+)*")
# What is far beyond any use: float32 overflows soon behind it.
_LARGEST = 1e9
PRESETS = ("default", "paper", "nnpreimage")


def _constant(
  default: Any, help_text: str, source: str, *, low: float | None = None, high: float = _LARGEST, choices: tuple[str, ...] = ()
) -> Any:
  return dataclasses.field(default=default, metadata={"help": help_text, "source": source, "low": low, "high": high, "choices": choices})


def check_location(location: str) -> str:
  """Returns `location` if it is "center", "mean", "sum" or indices such as "3,5".

  Raises:
    UsageError: otherwise.
  """
  if location not in LOCATIONS and not _PLACE.fullmatch(str(location)):
    raise UsageError(f"Invalid value for location. Expected one of {', '.join(LOCATIONS)}, or y,x on the map. Received: {location!r}.")
  return location


@dataclasses.dataclass(frozen=True)
class MaximizationConfig:
  """Constants of the search; `constants()` lists them with help and source. Units are those of the network's inputs.

  >>> MaximizationConfig().steps == MaximizationConfig.preset("paper").steps
  True
  """

  steps: int = _constant(120, "Steps of the ascent.", "not published; chosen by eye", low=1, high=10_000_000)
  learning_rate: float = _constant(
    8.0, "Adam's rate at the first step, grey levels of 255.", "not published; METHOD 2.3 gives 1-3, 8 with 120 steps by eye", low=0
  )
  final_rate: float = _constant(
    0.02, "Rate of the last step, as a part of the first; it falls by a cosine.", "'adaptively decreasing' (3.4); by eye", low=0
  )
  beta1: float = _constant(0.9, "Adam's decay of the mean gradient.", "nnpreimage's momentum (METHOD 2.3)", low=0)
  beta2: float = _constant(0.9, "Adam's decay of the mean squared gradient.", "nnpreimage's forgetting (METHOD 2.3)", low=0)
  epsilon: float = _constant(1e-14, "Adam's epsilon; gradients are about 1e-7, so it must be far smaller.", "measured", low=0)
  exponent: float = _constant(6.0, "Exponent alpha of the energy (equation 2).", "nnpreimage; the paper prints 3", low=1, high=50)
  energy_scale: float = _constant(
    80.0,
    "B in the weight 1/(H W B^alpha) of the energy and, by V = B / 6.5, of total variation.",
    "nnpreimage; the paper prints 160",
    low=1e-6,
  )
  bound: float = _constant(
    160.0, "Largest norm of a pixel, kept by projection after each step (equation 2).", "the paper's B = 160", low=1e-6, high=1e4
  )
  motion_weight: float = _constant(10.0, "Weight of the motion's total variation over the appearance's.", "the paper, 3.4", low=0)
  per_frame: bool = _constant(
    True, "Divide the motion's regularisers by its frames (1/T); without it they drown the target.", "measured; the paper has no 1/T"
  )
  data_weight: float = _constant(
    1e4,
    "Weight of the target before calibration, times 1/(rho^2 a_hat).",
    "nnpreimage; the paper prints none, which is 1",
    low=0,
    high=1e15,
  )
  calibrate: bool = _constant(
    True, "Adapt each row's data weight during the ascent, so that its activation ends near `target` times a_hat.", "ours; FEASIBILITY"
  )
  target: float = _constant(
    2.0,
    "Activation sought by the calibration, in parts of a_hat; with a sum or mean over locations, at each of them.",
    "ours, by eye: 1 is natural but soft, 3 crisp",
    low=1e-6,
  )
  calibration_rate: float = _constant(
    0.15, "Largest change a step of the logarithm of a data weight; it falls with Adam's rate.", "ours; by eye", low=0
  )
  term_balance: bool = _constant(
    False,
    "Weigh each term so that it is about 1 at natural amplitude: the target at a_hat, whatever the layer's field and the locations "
    "summed; the motion's regularisers whatever its frames.",
    "the paper, 3.4: factors are chosen 'to provide similar weights for the different terms'",
  )
  location: str = _constant(
    "center", "Which locations of the map are summed: center, mean, sum, or the y,x of one.",
    "the authors' pictures show the centre (METHOD 2.4); the paper's words are 'summed over all locations'",
  )  # fmt: skip
  after_relu: bool = _constant(
    False,
    "Take values after the ReLU instead of before it; a unit that is off at the start then has no gradient.",
    "FEASIBILITY",
  )
  relu_leak: float = _constant(
    0.05,
    "Part of the gradient that passes a ReLU that is off, in the search only.",
    "nnpreimage (METHOD 2.3)",
    low=0,
  )
  leak_values: bool = _constant(
    False,
    "Whether the leak changes the values that the search sees, too; reported activations are the network's own.",
    "nnpreimage does so",
  )
  balance: float = _constant(
    10.0,
    "Largest factor by which the target's gradients on a joint unit's two inputs are brought to the same size; 0 leaves them as they are.",
    "ours: without it one input does all the work while the other fades",
    low=0,
  )
  jitter: float = _constant(
    0.25,
    "Range of the random shift of both inputs, in parts of the layer's stride.",
    "nnpreimage has 1/4, the paper the whole stride",
    low=0,
    high=100,
  )
  temporal_jitter: int = _constant(
    0,
    "Largest random shift in time of inputs with frames; what is searched is so many frames longer.",
    "ours; not in the paper",
    low=0,
    high=100,
  )
  zoom: float = _constant(
    0.0,
    "Largest random enlargement of all inputs together about their centre: 0.1 is 1/1.1 to 1.1.",
    "lucid; not in the paper",
    low=0,
    high=10,
  )
  rotation: float = _constant(
    0.0,
    "Largest random turn of all inputs together in the image plane, degrees; flow vectors turn along.",
    "lucid; not in the paper",
    low=0,
    high=360,
  )
  parameterization: str = _constant(
    "pixels",
    "What Adam changes: pixels, or fourier, the frequencies of space and time. An image prior of its own: opt-in, never in the figures.",
    "Olah et al. 2017; not in the paper",
    choices=PARAMETERIZATIONS,
  )
  decay: float = _constant(
    1.0, "With fourier, frequency f is weighted by f^-decay.", "natural images have 1 (Olah et al. 2017)", low=0, high=10
  )
  decorrelate: bool = _constant(
    False, "With fourier, mix the three colours of an appearance as natural images do.", "Olah et al. 2017; not in the paper"
  )
  start: float = _constant(
    46.2,
    "Amplitude of the appearance's uniform start noise, over its 95 % quantile.",
    "nnpreimage: 80 / sqrt(3) (METHOD 2.3)",
    low=0,
    high=1e4,
  )
  motion_start: float = _constant(46.2, "The same for motion.", "nnpreimage, as for appearance", low=0, high=1e4)
  canvas: int = _constant(
    0, "Side of the stimulus in pixels; 0 takes the rule of METHOD 2.5, and the training crop from fc6 on.", "ours", low=0, high=4096
  )
  whole_canvas: bool = _constant(
    False,
    "Make every stimulus as large as the training crop, whatever its unit sees.",
    "the authors' 401 x 401 canvas for late layers",
  )
  canvas_factor: float = _constant(
    0.0,
    "Side of the stimulus in receptive fields; 0 takes the rule's 2.0 up to a field of 100 px, 1.1 beyond.",
    "METHOD 2.5",
    low=0,
    high=100,
  )
  batch_size: int = _constant(
    0, "Rows (unit and chi) searched together; 0 takes as many as fit about `batch_memory`.", "ours", low=0, high=4096
  )
  batch_memory: int = _constant(1000, "MiB of network values that a batch may take.", "ours", low=1)
  log_every: int = _constant(5, "Steps between logged values.", "ours", low=1)
  kept_steps: int = _constant(
    6,
    "How many small copies (at most 64 px) of the search are kept on its way: after 0 optimisation steps (the start noise), 3, 13, 30, 53 "
    "and 83 of 120; of a short search fewer. 0 keeps none.",
    "ours",
    low=0,
    high=100,
  )

  def __post_init__(self) -> None:
    for name, field in self.constants().items():
      value, low, choices = getattr(self, name), field.metadata["low"], field.metadata["choices"]
      if choices and value not in choices:
        raise UsageError(f"Invalid value for {name}. Expected one of {', '.join(choices)}. Received: {value!r}.")
      if low is not None and not (isinstance(value, (int, float)) and low <= value <= field.metadata["high"]):
        raise UsageError(f"Invalid value for {name}. Expected a number of {low:g} to {field.metadata['high']:g}. Received: {value!r}.")
    check_location(self.location)
    if self.decorrelate and self.parameterization != "fourier":
      raise UsageError("Invalid value for decorrelate. Expected parameterization fourier with it. Received: pixels.")
    for name in ("beta1", "beta2"):
      if getattr(self, name) >= 1:
        raise UsageError(f"Invalid value for {name}. Expected a number below 1. Received: {getattr(self, name)!r}.")

  @classmethod
  def constants(cls) -> Mapping[str, dataclasses.Field[Any]]:
    """Returns all constants by name, each with "help" and "source" in its metadata."""
    return {field.name: field for field in dataclasses.fields(cls)}

  @classmethod
  def preset(cls, name: str) -> MaximizationConfig:
    """Returns the constants of a preset.

    Args:
      name: "default", whose stimuli are clear; "paper", as section 3.4 of the paper prints them; "nnpreimage", those of the
        code that the paper builds on.

    Raises:
      UsageError: for another name.
    """
    if name not in PRESETS:
      raise unknown_name("preset", name, PRESETS)
    return cls(**PRESET_CONSTANTS[name])


# Section 3.4 as printed. What it does not print (rate, steps, Adam's decays) stays as in the default.
PAPER: Mapping[str, Any] = {
  "exponent": 3.0,
  "energy_scale": 160.0,
  "bound": 160.0,
  "motion_weight": 10.0,
  "per_frame": False,
  "data_weight": 1.0,
  "calibrate": False,
  "term_balance": True,
  "location": "sum",
  "relu_leak": 0.0,
  "balance": 0.0,
  "jitter": 1.0,
}

# The code that the paper cites, as coded (METHOD 2.3): AdaGrad with forgetting and momentum is Adam's step at a constant rate.
NNPREIMAGE: Mapping[str, Any] = {
  "steps": 300,
  "learning_rate": 2.0,
  "final_rate": 1.0,
  "exponent": 6.0,
  "energy_scale": 80.0,
  "bound": 160.0,
  "data_weight": 1e4,
  "calibrate": False,
  "location": "center",
  "jitter": 0.25,
  "relu_leak": 0.05,
  "leak_values": True,
  "balance": 0.0,
}

PRESET_CONSTANTS: Mapping[str, Mapping[str, Any]] = {"default": {}, "paper": PAPER, "nnpreimage": NNPREIMAGE}
