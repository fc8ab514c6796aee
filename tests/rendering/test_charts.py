"""Plots: the same marks as SVG and as PNG."""

import xml.etree.ElementTree as ET

import numpy as np
import pytest

from tbvis.rendering import animation, charts

SPACE = "{http://www.w3.org/2000/svg}"


def _chart(**more):
  strips = [
    charts.Strip("conv5_fusion", [0.0, 0.5, 1.0, float("nan")], ["a<b", "f2", "f3", "f4"]),
    charts.Strip("conv5_fusion", [0.25], series=1, interval=(0.1, 0.6)),
    charts.Strip("prediction", []),
  ]
  return charts.strip_chart("Units & layers", strips, "share", ("trained", "untrained"), **more)


def test_points_stand_where_their_values_are():
  drawn = ET.fromstring(_chart(limits=(0.0, 1.0)).svg())
  dots = [(dot, dot.find(f"{SPACE}title")) for dot in drawn.iter(f"{SPACE}circle")]
  named = {title.text: float(dot.get("cx")) for dot, title in dots if title is not None}
  assert set(named) == {"a<b: 0", "f2: 0.5", "f3: 1", "0.25"}  # NaN is no point.
  low, middle, high = named["a<b: 0"], named["f2: 0.5"], named["f3: 1"]
  assert middle == pytest.approx((low + high) / 2, abs=0.1) and named["0.25"] == pytest.approx(low + (high - low) / 4, abs=0.1)
  assert high <= float(drawn.get("width")) and all(low <= x <= high for x in named.values())
  words = [text.text for text in drawn.iter(f"{SPACE}text")]
  assert words.count("conv5_fusion") == 1 and {"Units & layers", "share", "trained", "untrained", "prediction", "0.2"} <= set(words)


def test_the_png_is_the_same_drawing_at_twice_the_size():
  chart = _chart()
  image = animation.decode(chart.png())[0]
  assert image.shape == (2 * chart.height, 2 * chart.width, 3)
  ink = image.min(axis=2) < 200
  assert ink.any() and not ink[:2].any() and not ink[:, -2:].any()
  points = np.abs(image.astype(int) - (136, 183, 215)).sum(axis=2) < 12  # The first colour, seen through.
  assert points.sum() > 60


def test_without_values_there_is_still_an_axis():
  svg = charts.strip_chart("Nothing", [charts.Strip("conv1_1", [])], "share").svg()
  assert "conv1_1" in svg and "nan" not in svg


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-1, 1), (0.013, 0.017), (3, 250), (-1e-9, 2e-9)])
def test_ticks_are_few_round_and_inside(low, high):
  found = charts.ticks(low, high)
  assert 2 <= len(found) <= 7 and all(low - 1e-12 <= tick <= high + 1e-12 for tick in found)
  assert np.allclose(np.diff(found), found[1] - found[0])
