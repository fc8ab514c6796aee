"""What another OpenCV package in the same environment does."""

import types

import cv2
import numpy as np
import pytest

from tbvis.datasets import flow
from tbvis.errors import UsageError

PICTURE = np.zeros((32, 32), np.uint8)


# What is left of cv2.optflow after opencv-python was installed over the contrib package: an empty module, or none.
@pytest.mark.parametrize("left", [types.SimpleNamespace(), None])
def test_an_opencv_without_contrib_is_said_with_the_way_out(monkeypatch, left):
  monkeypatch.setattr(cv2, "optflow", left)
  flow._tvl1.cache_clear()
  with pytest.raises(UsageError, match="--flow=tvl1 needs OpenCV.s contrib modules.*pip install .*--flow=dis"):
    flow.compute_flow(PICTURE, PICTURE, "tvl1")
  assert flow.compute_flow(PICTURE, PICTURE, "dis").shape == (32, 32, 2)


def test_the_declared_package_has_all_that_is_used():
  assert hasattr(cv2.optflow, "DualTVL1OpticalFlow_create")
  assert hasattr(cv2, "DISOpticalFlow_create")
  # No window system: libGL is not needed.
  gui = next(line for line in cv2.getBuildInformation().splitlines() if line.strip().startswith("GUI"))
  assert gui.split(":")[1].strip() == "NONE"
