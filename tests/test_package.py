"""What `import tbvis` gives, and what it costs."""

import subprocess
import sys

import pytest

import tbvis

HEAVY = ("tensorflow", "keras", "cv2", "tensorflow_datasets", "numpy")


def test_importing_the_package_loads_nothing_heavy():
  # TensorBoard imports the plugin, which imports this package, in environments without TensorFlow or OpenCV.
  code = f"import sys, tbvis, tbvis.errors, tbvis.files, tbvis.resources; print([m for m in {HEAVY!r} if m in sys.modules])"
  done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
  assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", [n for n in tbvis.__all__ if n not in ("__version__", "objectives")])
def test_every_exported_name_can_be_used(name):
  assert callable(getattr(tbvis, name))


def test_an_unknown_name_is_an_attribute_error():
  with pytest.raises(AttributeError, match="no attribute 'maximise'"):
    _ = tbvis.maximise
