"""Units of ST-ResNet and of TSN's networks are searched as those of the two-stream VGG-16 are, with all their chunks."""

from __future__ import annotations

import numpy as np
import pytest

from tbvis.maximization import api
from tbvis.models import checkpoint

# Networks of hundreds of layers are traced.
pytestmark = pytest.mark.slow

# Canvases: a whole crop for a class, and 11 places 4 pixels apart for a field of 19.
CASES = [
  (
    "st_resnet50",
    {"chunks": 2, "input_size": 64},
    {
      "prediction/b": {"appearance": (64, 64, 2, 3), "motion": (64, 64, 20, 2)},
      "res2b_branch2a_motion/f002": {"motion": (47, 47, 20, 2)},
    },
    {},
  ),
  ("tsn_bn_inception", {"input_size": 64}, {"prediction/b": {"appearance": (64, 64, 1, 3), "motion": (64, 64, 5, 2)}}, {}),
  # Its scores are so near 0 before it is trained that the regularisers would outweigh them.
  (
    "tsn_inception_v3",
    {"input_size": 107, "stream": "motion"},
    {"prediction_motion/b": {"motion": (107, 107, 5, 2)}},
    {"data_weight": 1e12},
  ),
]


@pytest.mark.parametrize(("name", "arguments", "units", "constants"), CASES, ids=[name for name, *_ in CASES])
def test_units_are_found(name, arguments, units, constants):
  made = checkpoint.build(name, {"width": 0.0625, **arguments}, ("a", "b", "c"))
  stimuli = api.maximize(made, list(units), chi=[1], config=api.MaximizationConfig(steps=6, **constants))
  for stimulus, shapes in zip(stimuli, units.values(), strict=True):
    assert stimulus.error is None
    assert {stream: x.shape for stream, x in stimulus.inputs.items()} == shapes
    assert all(np.isfinite(x).all() and np.ptp(x) > 0 for x in stimulus.inputs.values())
    assert stimulus.history["activation"][-1] > stimulus.history["activation"][0]
