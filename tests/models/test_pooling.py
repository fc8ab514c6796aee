"""Caffe's pooling, against PyTorch's ceil_mode."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from tbvis.models import pooling

torch = pytest.importorskip("torch")


def pooled(layer, image):
  return keras.ops.convert_to_numpy(layer(image.transpose(0, 2, 3, 1))).transpose(0, 3, 1, 2)


@pytest.mark.parametrize(("kernel", "stride"), [(3, 2), (2, 2), (3, 3), (3, 1), (5, 3)])
def test_sizes_and_values_equal_those_of_ceil_mode(kernel, stride):
  rng = np.random.default_rng(0)
  layer = pooling.CeilMaxPooling2D(kernel, stride)
  rounded = 0
  for size in range(7, 20):
    # Below zero everywhere: a padding that takes part in the maximum would win.
    image = rng.normal(size=(1, 2, size, size + 1)).astype(np.float32) - 10
    wanted = torch.nn.functional.max_pool2d(torch.from_numpy(image), kernel, stride, ceil_mode=True).numpy()
    np.testing.assert_array_equal(pooled(layer, image), wanted)
    assert layer.compute_output_shape((None, size, size + 1, 2)) == (None, *wanted.shape[2:], 2)
    assert pooling.windows(size, kernel, stride, stride - 1) == wanted.shape[2]
    rounded += wanted.shape[2] != (size - kernel) // stride + 1
  # Rounding down would be wrong for some sizes of every strided pooling.
  assert bool(rounded) == (stride > 1)


@pytest.mark.parametrize("size", range(6, 12))
def test_pools_beside_convolutions_have_as_many_places(size):
  image = np.random.default_rng(1).normal(size=(1, 2, size, size)).astype(np.float32)
  found = pooled(pooling.CeilMaxPooling2D(3, 2, beyond=2), image)
  assert found.shape[2] == torch.nn.functional.conv2d(torch.from_numpy(image), torch.ones(2, 2, 3, 3), stride=2, padding=1).shape[2]
  wanted = torch.nn.functional.max_pool2d(torch.from_numpy(image), 3, 2, ceil_mode=True).numpy()
  # On maps of even sides, such as the released networks', it is the same pool.
  np.testing.assert_array_equal(found[:, :, : wanted.shape[2], : wanted.shape[3]], wanted)
  assert (found.shape == wanted.shape) == (size % 2 == 0)


def test_it_comes_back_from_its_configuration():
  layer = pooling.CeilMaxPooling2D(3, 2, beyond=2, name="pool", dtype="mixed_bfloat16")
  again = pooling.CeilMaxPooling2D.from_config(layer.get_config())
  assert again.get_config() == layer.get_config() and (again.beyond, again.pool_size, again.name) == (2, (3, 3), "pool")
