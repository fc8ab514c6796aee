"""The number format by machine."""

import keras
import pytest
import tensorflow as tf

from tbvis.errors import UsageError
from tbvis.models import precision

WITH = "processor : 0\nflags : fpu avx2 avx512f avx512_bf16\n"
WITHOUT = "processor : 0\nflags : fpu avx2 avx512f\nbugs : avx512_bf16\n"


@pytest.mark.parametrize(("text", "expected"), [(WITH, True), (WITHOUT, False), ("flags : amx_bf16\n", True), ("", False)])
def test_the_processors_own_flags_decide(text, expected):
  assert precision.cpu_has_bfloat16(text) is expected


def machine(monkeypatch, cpu, gpus):
  monkeypatch.setattr(precision, "cpu_has_bfloat16", lambda: cpu)
  monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: list(range(len(gpus))) if kind == "GPU" else ["cpu"])
  monkeypatch.setattr(
    tf.config.experimental, "get_device_details", lambda index: {"compute_capability": gpus[index]} if gpus[index] else {}
  )


@pytest.mark.parametrize(
  ("cpu", "gpus", "expected"),
  [
    (True, [], "mixed_bfloat16"),
    (False, [], "float32"),
    # A GPU does the work where there is one: what the processor can do is of no account.
    (False, [(9, 0)], "mixed_bfloat16"),
    (True, [(7, 5)], "float32"),
    (True, [(9, 0), (7, 0)], "float32"),
    (True, [None], "float32"),
  ],
)
def test_the_best_format(monkeypatch, cpu, gpus, expected):
  machine(monkeypatch, cpu, gpus)
  assert precision.best_dtype() == expected
  assert precision.resolve_dtype("auto") == expected


@pytest.mark.parametrize("name", precision.DTYPES)
def test_every_name_is_a_policy_of_keras(name):
  policy = keras.dtype_policies.get(precision.resolve_dtype(name))
  assert policy.variable_dtype == "float32"


def test_another_name_is_refused():
  with pytest.raises(UsageError, match="--dtype: expected one of auto, float32, bfloat16, received 'float16'"):
    precision.resolve_dtype("float16")


@pytest.mark.parametrize(("frames", "layer"), [(1, None), (2, "conv"), (3, None)])
def test_a_kernel_over_more_frames_than_two_is_not_trained_in_bfloat16(frames, layer):
  def network(dtype):
    film = keras.Input((frames, 8, 8, 3), name="film")
    return keras.Model(film, keras.layers.Conv3D(4, 3, padding="same", name="conv", dtype=dtype)(film))

  assert precision.untrainable_layer(network("mixed_bfloat16")) == layer
  assert precision.untrainable_layer(network("float32")) is None
