"""Pooling as Caffe does it: sizes rounded up, and the padding that gives Keras the same windows.

For TSN's BN-Inception and Inception-v3, whose weights `tbvis.weights` reads (METHOD 1.7). Neither network is built here yet, and
the maps that VGG-16 pools at 224 are even, so nothing in the package calls this module; tests hold it beside PyTorch.
"""

from __future__ import annotations


def pooled_size(size: int, kernel: int, stride: int, pad: int = 0) -> int:
  """Returns the size of Caffe's pooled output along one axis, which rounds up where others round down.

  A window that would begin in the padding behind the input is left out (Caffe's pooling layer; PyTorch's ceil_mode).

  Args:
    size: input size, pixels.
    kernel: window, pixels.
    stride: distance of windows, pixels.
    pad: padding before and after, pixels.

  >>> [pooled_size(size, 3, 2) for size in (112, 56, 28, 14)]
  [56, 28, 14, 7]
  """
  outputs = -((size + 2 * pad - kernel) // -stride) + 1
  if pad and (outputs - 1) * stride >= size + pad:
    outputs -= 1
  return outputs


def ceil_padding(size: int, kernel: int, stride: int, pad: int = 0) -> tuple[int, int]:
  """Returns the padding before and after an axis with which a "valid" pooling has Caffe's windows.

  Maxima need padding that never wins (minus infinity, or zero behind a ReLU). Averages: Caffe counts padding of `pad`
  pixels in the divisor, but not what lies beyond it.

  Args:
    size: input size, pixels.
    kernel: window, pixels.
    stride: distance of windows, pixels.
    pad: padding before and after that the layer declares, pixels.

  >>> ceil_padding(112, 3, 2)
  (0, 1)
  """
  covered = (pooled_size(size, kernel, stride, pad) - 1) * stride + kernel
  return pad, max(0, covered - size - pad)
