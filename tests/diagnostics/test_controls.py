"""Networks to compare with."""

import numpy as np
import pytest

from tbvis.diagnostics import controls, transfer
from tbvis.models import checkpoint as checkpoint_lib

CLASSES = ("Bowing", "Rolling", "Brushing")


@pytest.fixture(scope="module")
def maker():
  network = checkpoint_lib.build(
    "two_stream_fusion_vgg16", {"width": 0.05, "input_size": 32, "fc_units": 4}, CLASSES, appearance_mean=[1, 2, 3]
  )
  for weight in network.model.weights:
    weight.assign(np.random.default_rng(0).normal(size=weight.shape))
  return network


def test_an_untrained_network_is_of_the_same_kind_and_its_own_start(maker):
  first, second = controls.untrained(maker, 1), controls.untrained(maker, 2)
  assert first.classes == maker.classes and first.appearance_mean == (1, 2, 3)
  assert first.arguments == {**maker.arguments, "seed": 1}
  kernels = [c.model.get_layer("conv3_1_motion").kernel.numpy() for c in (maker, first, second)]
  assert kernels[0].shape == kernels[1].shape and not np.allclose(kernels[1], kernels[2])
  stimulus = transfer.ClassStimulus("Bowing", np.ones((32, 32, 3), np.float32), np.ones((32, 32, 20), np.float32))
  assert transfer.score_scale(first, [stimulus]) > 0


def test_only_the_motion_towers_convolutions_go_back_to_their_start(maker):
  control = controls.untrained_motion(maker)
  start = controls.untrained(maker, maker.arguments.get("seed", 0))
  for layer in maker.model.layers:
    if not layer.weights:
      continue
    source = start if layer.name.startswith("conv") and layer.name.endswith("_motion") else maker
    for found, expected in zip(
      control.model.get_layer(layer.name).get_weights(), source.model.get_layer(layer.name).get_weights(), strict=True
    ):
      np.testing.assert_array_equal(found, expected, err_msg=layer.name)
