"""Which number format a network computes in on this machine."""

from __future__ import annotations

import pathlib
from typing import TYPE_CHECKING

from tbvis.errors import UsageError

if TYPE_CHECKING:
  import keras

# Names that people type, and the Keras dtype policy that each stands for.
POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16"}
DTYPES = ("auto", *POLICIES)
_CPU_FLAGS = {"avx512_bf16", "amx_bf16"}
# The first compute capability whose tensor cores multiply bfloat16 (NVIDIA Ampere).
_GPU_CAPABILITY = (8, 0)
_WRONG_FRAMES = 2


def cpu_has_bfloat16(cpuinfo: str | None = None) -> bool:
  """Tells whether the processor multiplies bfloat16 itself.

  Args:
    cpuinfo: text of /proc/cpuinfo; read from the machine by default, empty where there is none.

  >>> cpu_has_bfloat16("flags : fpu avx2 avx512_bf16"), cpu_has_bfloat16("flags : fpu avx2")
  (True, False)
  """
  if cpuinfo is None:
    path = pathlib.Path("/proc/cpuinfo")
    cpuinfo = path.read_text(errors="replace") if path.exists() else ""
  flags = next((line for line in cpuinfo.splitlines() if line.startswith("flags")), "")
  return not _CPU_FLAGS.isdisjoint(flags.split())


def best_dtype() -> str:
  """Returns the Keras dtype policy that is fastest here without harm: "mixed_bfloat16" where hardware has it, else "float32"."""
  import tensorflow as tf  # Only asked for its devices; Keras may run on another backend.

  gpus = tf.config.list_physical_devices("GPU")
  if gpus:
    capabilities = [tf.config.experimental.get_device_details(gpu).get("compute_capability", (0, 0)) for gpu in gpus]
    return "mixed_bfloat16" if min(capabilities) >= _GPU_CAPABILITY else "float32"
  return "mixed_bfloat16" if cpu_has_bfloat16() else "float32"


def untrainable_layer(model: keras.Model) -> str | None:
  """Returns a layer that must not be trained in bfloat16 on this machine's processor, None where there is none.

  The gradient of a kernel over three frames of which the layer is given two holds memory that was never set: TensorFlow 2.21 with
  oneDNN, measured for one to five frames; values and the gradient of the input are right. Networks soon are not finite then.
  """
  import keras
  import tensorflow as tf

  if tf.config.list_physical_devices("GPU"):
    return None
  films = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv3D) and layer.compute_dtype == "bfloat16"]
  return next((layer.name for layer in films if layer.kernel_size[0] > layer.input.shape[1] == _WRONG_FRAMES), None)


def resolve_dtype(name: str, flag: str = "dtype") -> str:
  """Returns the Keras dtype policy for a value of --dtype.

  Raises:
    UsageError: if `name` is none of `DTYPES`.

  >>> resolve_dtype("bfloat16")
  'mixed_bfloat16'
  """
  if name == "auto":
    return best_dtype()
  if name not in POLICIES:
    raise UsageError(f"--{flag}: expected one of {', '.join(DTYPES)}, received {name!r}.")
  return POLICIES[name]
