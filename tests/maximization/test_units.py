"""Units by the names that people write."""

import pytest

from tbvis.errors import UsageError
from tbvis.units import Unit, parse_units

CLASSES = ("PlayingCello", "PlayingViolin")


def test_labels_are_one_based_and_channels_zero_based(network):
  assert parse_units(["conv5_fusion/f021"], network, CLASSES) == [Unit("conv5_fusion", 20, "f021")]
  assert parse_units(["conv5_fusion/f21"], network, CLASSES)[0].name == "conv5_fusion/f021"


def test_a_bare_layer_names_both_towers(network):
  unit = parse_units(["conv4_3/f003"], network, CLASSES)[0]
  assert unit.layers == ("conv4_3_appearance", "conv4_3_motion") and unit.channel == 2 and unit.name == "conv4_3/f003"
  assert parse_units(["conv4_3_motion/f003"], network, CLASSES)[0].layers == ("conv4_3_motion",)


def test_class_units_have_their_class_name_however_written(network):
  for text in ("prediction/PlayingViolin", "prediction/f002", "prediction/f2-f2"):
    assert parse_units([text], network, CLASSES) == [Unit("prediction", 1, "PlayingViolin", ("prediction",), "PlayingViolin")]
  assert [u.class_name for u in parse_units(["prediction_motion/*"], network, CLASSES)] == list(CLASSES)


def test_ranges_are_inclusive_and_doubles_are_dropped(network):
  found = parse_units(["conv3_3/f001-f004", "conv3_3/f004-6"], network, CLASSES)
  assert [u.channel for u in found] == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(
  ("text", "words"),
  [
    ("conv5_fushion/f001", "Unknown layer.*Nearest: conv5_fusion"),
    ("relu4_9_motion/f001", "Unknown layer.*Nearest: relu4_3_motion"),
    ("prediction/PlayingChello", "Unknown class.*Nearest: PlayingCello"),
    ("conv5_fusion/f999", "has units conv5_fusion/f001 to conv5_fusion/f024"),
    ("conv5_fusion/f000", "has units"),
    ("conv5_fusion/f004-f002", "has units"),
    ("conv5_fusion/21", "Expected conv5_fusion/f001"),
    ("conv5_fusion", "Expected LAYER/UNIT"),
    ("", "Unknown layer"),
  ],
)
def test_unknown_names_are_refused_with_the_nearest(network, text, words):
  with pytest.raises(UsageError, match=words):
    parse_units([text], network, CLASSES)
