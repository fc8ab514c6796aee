"""Adam for the ascent: every element by itself, so that rows stay apart; no state but two moments."""

from __future__ import annotations

import math

import tensorflow as tf


def adam_step(
  x: tf.Tensor,
  gradient: tf.Tensor,
  moments: tuple[tf.Tensor, tf.Tensor],
  step: tf.Tensor,
  rate: tf.Tensor,
  *,
  beta1: float,
  beta2: float,
  epsilon: float,
) -> tuple[tf.Tensor, tuple[tf.Tensor, tf.Tensor]]:
  """Takes one descending step with bias correction (Kingma & Ba 2015, algorithm 1).

  Args:
    x: the inputs.
    gradient: of what is minimised, of x's shape.
    moments: means of the gradient and of its square.
    step: 1 for the first, float32.
    rate: learning rate, float32.
    beta1: decay of the first moment.
    beta2: decay of the second.
    epsilon: added to the root of the second.

  Returns:
    The inputs and the moments after the step.
  """
  mean = beta1 * moments[0] + (1 - beta1) * gradient
  square = beta2 * moments[1] + (1 - beta2) * tf.square(gradient)
  mean_hat = mean / (1 - tf.pow(beta1, step))
  square_hat = square / (1 - tf.pow(beta2, step))
  return x - rate * mean_hat / (tf.sqrt(square_hat) + epsilon), (mean, square)


def falling_rate(step: int, steps: int, final: float) -> float:
  """Returns the rate of a step (0-based) as a part of the first: a cosine from 1 to `final`.

  >>> falling_rate(0, 11, 0.1), round(falling_rate(5, 11, 0.1), 3), round(falling_rate(10, 11, 0.1), 3)
  (1.0, 0.55, 0.1)
  """
  done = step / max(steps - 1, 1)
  return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * done))
