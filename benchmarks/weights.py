"""How long published weights take to import, and in how much memory: files of full width, written here with random values.

  python benchmarks/weights.py --json=FILE

A VGG-16 tower of 101 classes as .caffemodel, .pth and .safetensors, and a fusion network of two such towers as MatConvNet's .mat
(packed, as MATLAB saves it). Each is read alone, and imported by tbvis-import, in processes of their own. Runs in a checkout with the
extra [test] and PyTorch, since the tests' writers of these formats are taken.
"""

from __future__ import annotations

from collections.abc import Callable
import json
import os
import pathlib
import subprocess
import sys
import tempfile
from typing import Any

from absl import flags

from tbvis import weights
from tbvis.errors import UsageError
from tbvis.scripts import app

_ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.append(str(_ROOT))  # For the tests' writers.

_FORMATS = flags.DEFINE_list("formats", ["caffemodel", "pth", "safetensors", "mat"], "Endings of the files that are tried.")
_WIDTH = flags.DEFINE_float("width", 1.0, "Factor on the channels of the convolutions.", lower_bound=0.01)
_UNITS = flags.DEFINE_integer("units", 4096, "Channels of fc6 and fc7.", lower_bound=1)
_JSON = app.define_json()

_CLASSES = 101
_FORMAT_OF = {"caffemodel": "caffe", "pth": "pytorch", "safetensors": "pytorch", "mat": "matconvnet"}
# A process of its own: its largest memory is that of the reader, beside what the imports take. Not by getrusage, whose largest is at
# least that of the process that started it.
_READ = """
import importlib, json, pathlib, re, sys, time
module = importlib.import_module(sys.argv[1])
peak = lambda: int(re.search("VmHWM:\\s*(\\d+)", pathlib.Path("/proc/self/status").read_text())[1]) / 1024
before, started = peak(), time.monotonic()
source = module.read(pathlib.Path(sys.argv[2]))
module.targets(source, sys.argv[3] or None)
print(json.dumps({"seconds": time.monotonic() - started, "mib": peak() - before}))
"""


def _tower(first: int) -> dict[str, Any]:
  from tests.weights import exporter

  channels = [round(_WIDTH.value * width) for width in (64, 128, 256, 512, 512)]
  return exporter.tower(first, channels=channels, first=first, units=_UNITS.value, classes=_CLASSES, side=7)


def _write_mat(path: pathlib.Path) -> None:
  from tests.weights import exporter

  exporter.write_dagnn(path, exporter.fused(_tower(3), _tower(20), three_d=False))


def _oihw() -> dict[str, tuple[Any, Any]]:
  """Returns kernels, as other libraries lay them out, and biases of an appearance tower, by the layers' names."""
  tower = _tower(3)
  found = {}
  for name in dict.fromkeys(name[:-1] for name in tower):
    kernel = tower[f"{name}f"].transpose(3, 2, 0, 1)
    flat = name.startswith(("fc", "layer"))
    found[name] = (kernel.reshape(len(kernel), -1) if flat else kernel, tower[f"{name}b"].ravel())
  return found


def _write_caffe(path: pathlib.Path) -> None:
  from tests.weights import caffe_files

  layers = []
  for name, arrays in _oihw().items():
    kind = "Convolution" if arrays[0].ndim == 4 else "InnerProduct"
    layers.append(caffe_files.layer(name.replace("layer38", "fc8-101"), kind, [caffe_files.blob(array) for array in arrays]))
  path.write_bytes(caffe_files.network(layers))


def _write_pytorch(path: pathlib.Path) -> None:
  import torch

  # torchvision's places of the convolutions and dense layers.
  places = [f"features.{i}" for i in (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)] + [f"classifier.{i}" for i in (0, 3, 6)]
  state: dict[str, Any] = {}
  for place, (kernel, bias) in zip(places, _oihw().values(), strict=True):
    state |= {f"{place}.weight": torch.from_numpy(kernel.copy()), f"{place}.bias": torch.from_numpy(bias.copy())}
  if path.suffix == ".safetensors":
    from safetensors.torch import save_file

    save_file(state, path)
  else:
    torch.save(state, path)


_WRITERS: dict[str, Callable[[pathlib.Path], None]] = {
  "caffemodel": _write_caffe, "pth": _write_pytorch, "safetensors": _write_pytorch, "mat": _write_mat,
}  # fmt: skip


def _run(*arguments: str) -> str:
  # This checkout first, and not what may be installed.
  environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(_ROOT), os.environ.get("PYTHONPATH", "")])}
  done = subprocess.run([sys.executable, *arguments], cwd=_ROOT, capture_output=True, text=True, env=environment, check=False)
  if done.returncode:
    raise RuntimeError(f"{' '.join(arguments[:3])}: {done.stderr[-2000:]}")
  return done.stdout


def _measure(ending: str, folder: pathlib.Path) -> dict[str, float]:
  """Writes a file, reads it and imports it, and takes both away."""
  path, out, report = folder / f"network.{ending}", folder / "net.keras", folder / "report.json"
  _WRITERS[ending](path)
  kind, stream = _FORMAT_OF[ending], "" if ending == "mat" else "appearance"
  read = json.loads(_run("-c", _READ, weights.FORMATS[kind], str(path), stream).splitlines()[-1])
  # A tower alone lacks the other stream: what keeps its random start is allowed.
  more = [f"--stream={stream}", "--allow_partial"] if stream else []
  _run("-m", "tbvis.scripts.import_weights", f"--format={kind}", f"--weights={path}", f"--out={out}", f"--json={report}", *more)
  imported = json.loads(report.read_text())
  size = path.stat().st_size / 2**20
  path.unlink()
  out.unlink()
  return {
    "file_mib": size, "read_seconds": read["seconds"], "read_mib": read["mib"],
    "import_seconds": imported["seconds"], "import_peak_mib": imported["peak_memory_mib"],
  }  # fmt: skip


def main() -> None:
  """Runs the benchmark."""
  for ending in _FORMATS.value:
    if ending not in _WRITERS:
      raise UsageError(f"--formats: expected endings of {', '.join(_WRITERS)}, received {ending!r}.")
  numbers: dict[str, float] = {}
  print(f"{'file':<14}{'MiB':>8}{'read, s':>10}{'MiB':>8}{'import, s':>11}{'peak MiB':>10}")
  for ending in _FORMATS.value:
    with tempfile.TemporaryDirectory() as folder:
      found = _measure(ending, pathlib.Path(folder))
    numbers |= {f"{ending}_{name}": round(value, 2) for name, value in found.items()}
    size, seconds, mib, whole, peak = found.values()
    print(f"{'.' + ending:<14}{size:>8.0f}{seconds:>10.1f}{mib:>8.0f}{whole:>11.1f}{peak:>10.0f}", flush=True)
  app.report_json(_JSON.value, numbers)


if __name__ == "__main__":
  app.run(main)
