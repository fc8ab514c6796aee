"""tbvis: see what a two-stream video network has learned.

Names are imported on first use, so that `import tbvis` (and the TensorBoard plugin, which imports
`tbvis.summaries`) needs neither TensorFlow nor OpenCV.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "1.0.0"

_EXPORTS = {
  "maximize": "tbvis.maximization.api",
  "MaximizationConfig": "tbvis.maximization.config",
  "list_layers": "tbvis.models.geometry",
  "load_checkpoint": "tbvis.models.checkpoint",
  "save_checkpoint": "tbvis.models.checkpoint",
  "two_stream_fusion_vgg16": "tbvis.models.two_stream",
  "st_resnet50": "tbvis.models.st_resnet",
  "tsn_bn_inception": "tbvis.models.bn_inception",
  "tsn_inception_v3": "tbvis.models.inception_v3",
}

__all__ = ["__version__"]
__all__ += ["objectives"]
__all__ += list(_EXPORTS)


def __getattr__(name: str) -> Any:
  if name == "objectives":
    return importlib.import_module("tbvis.maximization.objectives")
  if name in _EXPORTS:
    return getattr(importlib.import_module(_EXPORTS[name]), name)
  raise AttributeError(f"module 'tbvis' has no attribute {name!r}")
