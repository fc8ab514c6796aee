"""In which space the search takes its steps: pixels, or frequencies of space and time with decorrelated colours.

A parameterisation is a linear, invertible map from what Adam changes to what the network sees. Regularisers and the norm bound
always act on the pixels themselves.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import tensorflow as tf

from tbvis.errors import UsageError
from tbvis.maximization.streams import Stream

# Square root of the covariance of the colours of ImageNet's pixels, as published with lucid (Olah et al. 2017).
_COLOUR = np.array([[0.26, 0.09, 0.02], [0.27, 0.00, -0.05], [0.27, -0.09, 0.03]])


def real_fourier_basis(size: int) -> tuple[np.ndarray, np.ndarray]:
  """Returns an orthonormal basis of cosines and sines, and the frequency of each.

  Args:
    size: number of samples.

  Returns:
    float64 (size, size), a function a column, and (size,), cycles a sample.

  >>> basis, frequency = real_fourier_basis(5)
  >>> bool(np.allclose(basis.T @ basis, np.eye(5))), frequency.tolist()
  (True, [0.0, 0.2, 0.2, 0.4, 0.4])
  """
  if size < 1:
    raise UsageError(f"Invalid value for argument `size`. Expected at least 1. Received: size={size!r}.")
  place = np.arange(size)
  columns, frequencies = [np.full(size, 1 / np.sqrt(size))], [0.0]
  for cycles in range(1, size // 2 + 1):
    angle = 2 * np.pi * cycles * place / size
    last = 2 * cycles == size
    columns.append(np.cos(angle) * np.sqrt((1 if last else 2) / size))
    frequencies.append(cycles / size)
    if not last:
      columns.append(np.sin(angle) * np.sqrt(2 / size))
      frequencies.append(cycles / size)
  return np.stack(columns, axis=1), np.array(frequencies)


@dataclasses.dataclass(frozen=True)
class Fourier:
  """Frequencies of height, width and time (of each part of it by itself, see `Stream.parts`); low ones get the longer steps.

  A component of frequency f (cycles a pixel or a frame, at least one over the longest side) is weighted by f^-decay, and all
  weights together keep the mean square of white noise.

  Attributes:
    stream: of which the inputs are.
    side: height and width in pixels.
    frames: along time.
    decay: exponent; 1 is that of natural images, 0 leaves pixels and frequencies alike.
    decorrelate: whether the three components are colours, mixed as in natural images.

  >>> plain = Fourier(Stream("appearance"), side=4, frames=1, decay=1.0)
  >>> x = tf.random.stateless_normal((2, 4, 4, 1, 3), seed=[0, 1])
  >>> bool(tf.reduce_max(tf.abs(plain(plain.inverse(x)) - x)) < 1e-4)
  True
  """

  stream: Stream
  side: int
  frames: int
  decay: float = 1.0
  decorrelate: bool = False

  def _bases(self) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    space, frequency = real_fourier_basis(self.side)
    parts = self.stream.parts
    time, rate = real_fourier_basis(self.frames // parts)
    time, rate = np.kron(np.eye(parts), time), np.tile(rate, parts)
    radius = np.sqrt(frequency[:, None, None] ** 2 + frequency[None, :, None] ** 2 + rate[None, None, :] ** 2)
    weight = np.maximum(radius, 1 / max(self.side, self.frames)) ** -self.decay
    weight /= np.sqrt(np.mean(weight**2))
    return tf.constant(space, tf.float32), tf.constant(time, tf.float32), tf.constant(weight[..., None], tf.float32)

  def _colours(self) -> np.ndarray | None:
    if not (self.decorrelate and self.stream.components == 3):
      return None
    return _COLOUR / np.sqrt(np.mean(np.sum(_COLOUR**2, axis=1)))

  def __call__(self, z: tf.Tensor) -> tf.Tensor:
    """Returns pixels of coefficients, both float32 (rows, H, W, frames, components)."""
    space, time, weight = self._bases()
    x = tf.einsum("nhwtc,ih,jw,kt->nijkc", z * weight, space, space, time, optimize="greedy")
    colours = self._colours()
    return x if colours is None else tf.einsum("nijkc,dc->nijkd", x, tf.constant(colours, tf.float32))

  def inverse(self, x: tf.Tensor) -> tf.Tensor:
    """Returns the coefficients of pixels."""
    colours = self._colours()
    if colours is not None:
      x = tf.einsum("nijkd,cd->nijkc", x, tf.constant(np.linalg.inv(colours), tf.float32))
    space, time, weight = self._bases()
    return tf.einsum("nijkc,ih,jw,kt->nhwtc", x, space, space, time, optimize="greedy") / weight

  def pull_back(self, gradient: tf.Tensor) -> tf.Tensor:
    """Returns the gradient for coefficients of the gradient for pixels."""
    colours = self._colours()
    if colours is not None:
      gradient = tf.einsum("nijkd,dc->nijkc", gradient, tf.constant(colours, tf.float32))
    space, time, weight = self._bases()
    return tf.einsum("nijkc,ih,jw,kt->nhwtc", gradient, space, space, time, optimize="greedy") * weight
