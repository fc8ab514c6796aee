"""Caffe's pooling, against PyTorch's ceil_mode."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from tbvis.models import pooling

torch = pytest.importorskip("torch")


@pytest.mark.parametrize("kernel,stride,pad", [(3, 2, 0), (3, 2, 1), (2, 2, 0), (2, 2, 1), (3, 1, 1), (3, 3, 1), (5, 3, 2), (7, 1, 0)])
def test_sizes_and_values_equal_those_of_ceil_mode(kernel, stride, pad):
  rng = np.random.default_rng(0)
  rounded = 0
  for size in range(7, 40):
    # Below zero everywhere: a padding that takes part in the maximum would win.
    image = rng.normal(size=(1, 2, size, size)).astype(np.float32) - 10
    wanted = torch.nn.functional.max_pool2d(torch.from_numpy(image), kernel, stride, pad, ceil_mode=True).numpy()
    assert pooling.pooled_size(size, kernel, stride, pad) == wanted.shape[-1]
    rounded += wanted.shape[-1] != (size + 2 * pad - kernel) // stride + 1

    padding = pooling.ceil_padding(size, kernel, stride, pad)
    padded = np.pad(image, [(0, 0), (0, 0), padding, padding], constant_values=-np.inf).transpose(0, 2, 3, 1)
    found = keras.ops.convert_to_numpy(keras.ops.max_pool(padded, kernel, stride, "valid"))
    np.testing.assert_array_equal(found.transpose(0, 3, 1, 2), wanted)
  # Rounding down would be wrong for some sizes of every strided pooling, but where the odd window lies in the padding.
  assert bool(rounded) == (stride > 1 and (kernel, stride, pad) != (2, 2, 1))


@pytest.mark.parametrize("size", [112, 56, 28, 14])
def test_pools_of_bn_inception_are_those_of_same_padding(size):
  image = np.random.default_rng(1).normal(size=(1, size, size, 2)).astype(np.float32)
  padding = pooling.ceil_padding(size, 3, 2)
  padded = np.pad(image, [(0, 0), padding, padding, (0, 0)], constant_values=-np.inf)
  same = keras.ops.max_pool(image, 3, 2, "same")
  np.testing.assert_array_equal(keras.ops.max_pool(padded, 3, 2, "valid"), same)
  assert same.shape[1] == pooling.pooled_size(size, 3, 2)
