"""A network small enough to be maximised in a test."""

import pytest

from tbvis.models import two_stream


@pytest.fixture(scope="package")
def network():
  """Two classes, 4 to 24 channels a layer, crops of 32 pixels; float32."""
  return two_stream.two_stream_fusion_vgg16(2, width=0.05, input_size=32, fc_units=8, seed=3)
