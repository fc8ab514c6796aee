"""Tells what a bug report needs: versions, devices, number formats, free disk, whether the plugin is found, and what a logdir holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
import importlib
import importlib.metadata
import json
import math
import os
import pathlib
import platform
import shutil
import subprocess
import sys
import tempfile
import types
from typing import Any

from absl import flags

import tbvis
from tbvis import datasets, limits
from tbvis.models import precision
from tbvis.scripts import app, flag_values

_LOGDIR = flags.DEFINE_string("logdir", None, "TensorBoard's logdir: what the plugin reads in it is told, and which files are damaged.")
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder given to tbvis-prepare: which prepared sets it holds is told.")
_JSON = app.define_json()

# What is needed, as its distribution and the module that must import, and what is an extra.
_NEEDED = {
  "numpy": "numpy", "pillow": "PIL", "absl-py": "absl", "protobuf": "google.protobuf", "h5py": "h5py", "tensorboard": "tensorboard",
}  # fmt: skip
_EXTRAS = {
  "apache-beam": ("beam", "sweeps and preparation on many processes or machines, --runner"),
  "imageio-ffmpeg": ("export", "MP4 files, --export of tbvis-maximize"),
  "torch": ("pytorch", "PyTorch's .pth weights, tbvis-import"),
  "safetensors": ("pytorch", "PyTorch's .safetensors weights, tbvis-import"),
}
# TensorFlow may abort where a processor lacks what it needs, or hang on a driver: it is tried in a process of its own.
_TENSORFLOW = """
import json
from tbvis import startup
startup.load_tensorflow()
import keras, tensorflow as tf, tensorflow_datasets
from tbvis.models import precision
gpus = tf.config.list_physical_devices("GPU")
print(json.dumps({
  "tensorflow": tf.__version__, "keras": keras.__version__, "keras_backend": keras.backend.backend(),
  "tensorflow_datasets": tensorflow_datasets.__version__,
  "gpus": [tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name) for gpu in gpus],
  "built_for_gpus": tf.test.is_built_with_gpu_support(), "auto_dtype": precision.best_dtype(),
}))
"""
_TENSORFLOW_SECONDS = 180
_GIB = 1 << 30
_LEAST_FREE = _GIB
_LARGE_LOGDIR = 50 << 20
# Of one folder or kind, so many are named.
_NAMED = 10


class Report:
  """What is told, and what is wrong."""

  def __init__(self) -> None:
    self.numbers: dict[str, Any] = {}
    self.problems: list[str] = []

  def tell(self, name: str, text: str) -> None:
    """Prints one line of a section."""
    print(f"  {name:<22} {text}".rstrip(), flush=True)

  def wrong(self, text: str) -> None:
    """Takes down a problem, as one line."""
    self.problems.append(" ".join(text.split()))

  def section(self, title: str, look: Callable[[Report], None]) -> None:
    """Looks at one thing; whatever fails is told, and the others are looked at all the same."""
    print(f"\n{title}", flush=True)
    try:
      look(self)
    except Exception as error:  # A doctor who falls ill helps nobody; the kind of error is what a report needs.
      self.wrong(f"{title}: {type(error).__name__}: {error}")
      self.tell("failed", f"{type(error).__name__}: {error}")


def _version(distribution: str) -> str | None:
  try:
    return importlib.metadata.version(distribution)
  except importlib.metadata.PackageNotFoundError:
    return None


def _versions(report: Report) -> None:
  report.numbers |= {"tbvis": tbvis.__version__, "python": platform.python_version(), "platform": platform.platform()}
  report.tell("tbvis", f"{tbvis.__version__}, {pathlib.Path(tbvis.__file__).parent}")
  report.tell("Python", f"{platform.python_version()}, {sys.executable}")
  report.tell("platform", platform.platform())
  for distribution, module in _NEEDED.items():
    version = _version(distribution)
    report.numbers[distribution] = version
    try:
      importlib.import_module(module)
      report.tell(distribution, version or "imports, of no known version")
    except Exception as error:  # A library of C code may fail in any way.
      report.wrong(f"{distribution} {version or 'is not installed'}: {type(error).__name__}: {error}")
      report.tell(distribution, f"{version or 'absent'}, DOES NOT IMPORT: {error}")


def _opencv(report: Report) -> None:
  try:
    cv2 = importlib.import_module("cv2")
  except Exception as error:
    report.wrong(f"OpenCV does not import: {error} (pip install opencv-contrib-python-headless).")
    report.tell("opencv", "DOES NOT IMPORT")
    return
  from tbvis.datasets import flow

  has_tvl1 = flow.has_tvl1()
  report.numbers |= {"opencv": cv2.__version__, "opencv_tvl1": has_tvl1}
  report.tell("opencv", f"{cv2.__version__}, TV-L1 {'present' if has_tvl1 else 'ABSENT'}")
  if not has_tvl1:
    report.wrong("OpenCV has no TV-L1 (--flow=tvl1): pip uninstall opencv-python, then pip install opencv-contrib-python-headless.")


def _tensorflow(report: Report) -> None:
  root = str(pathlib.Path(tbvis.__file__).resolve().parents[1])
  environment = {**os.environ, "PYTHONPATH": os.pathsep.join([root, *filter(None, sys.path)])}
  try:
    done = subprocess.run(
      [sys.executable, "-c", _TENSORFLOW], capture_output=True, text=True, timeout=_TENSORFLOW_SECONDS, env=environment, check=False
    )
    lines, status = done.stderr.strip().splitlines(), f"exit status {done.returncode}"
  except subprocess.TimeoutExpired:
    done, lines, status = None, [], f"no answer within {_TENSORFLOW_SECONDS} s"
  if done is None or done.returncode:
    # The last line has the reason of an error of Python's, an abort none.
    reason = next((line.strip() for line in reversed(lines) if line.strip()), status)
    report.numbers["tensorflow"] = None
    report.wrong(f"TensorFlow {_version('tensorflow') or _version('tensorflow-cpu') or ''} does not start ({status}): {reason}")
    report.tell("TensorFlow", f"DOES NOT START ({status}): {reason}")
    return
  found = json.loads(done.stdout.splitlines()[-1])
  report.numbers |= {**found, "gpus": len(found["gpus"])}
  report.tell("TensorFlow", found["tensorflow"])
  report.tell("Keras", f"{found['keras']}, backend {found['keras_backend']}")
  report.tell("TFDS", found["tensorflow_datasets"])
  lacking = "" if found["built_for_gpus"] else "; this TensorFlow is built without GPU support"
  report.tell("GPUs", (", ".join(found["gpus"]) or "none that TensorFlow sees") + lacking)
  report.tell("--dtype=auto", f"{found['auto_dtype']} (the Keras policy)")
  if found["keras_backend"] != "tensorflow":
    report.tell("note", f"On Keras' backend {found['keras_backend']} networks train; maximisation and evaluation need tensorflow.")


def _extras(report: Report) -> None:
  for distribution, (extra, purpose) in _EXTRAS.items():
    version = report.numbers[distribution] = _version(distribution)
    report.tell(distribution, f"{version or 'absent'}: {purpose}" + ("" if version else f" (pip install 'tbvis[{extra}]')"))


def _machine(report: Report) -> None:
  total, free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), limits.available_bytes()
  usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
  report.numbers |= {"cpus": usable, "memory_gib": round(total / _GIB, 1), "free_memory_gib": round(free / _GIB, 1)}
  report.tell("processors", f"{usable} usable of {os.cpu_count()}, {_processor()}")
  report.tell("memory", f"{free / _GIB:.1f} of {total / _GIB:.1f} GiB free")
  has = report.numbers["bfloat16_cpu"] = precision.cpu_has_bfloat16()
  report.tell("bfloat16", f"{'yes' if has else 'no'}, by the processor (avx512_bf16 or amx_bf16)")


def _processor() -> str:
  path = pathlib.Path("/proc/cpuinfo")
  lines = path.read_text(errors="replace").splitlines() if path.exists() else []
  return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _disk(report: Report) -> None:
  places = {"working": pathlib.Path.cwd(), "temporary": pathlib.Path(tempfile.gettempdir())}
  places |= {name: path for name, path in (("logdir", _logdir()), ("data_dir", _data_dir())) if path}
  for name, path in places.items():
    free = shutil.disk_usage(path).free
    report.numbers[f"free_{name}_gib"] = round(free / _GIB, 1)
    report.tell(name, f"{free / _GIB:.1f} GiB free, {path}" + ("" if os.access(path, os.W_OK) else " (cannot be written)"))
    if free < _LEAST_FREE:
      report.wrong(f"Only {free / _GIB:.2f} GiB are free for {path}.")


def _plugin(report: Report) -> None:
  points = [point for point in importlib.metadata.entry_points(group="tensorboard_plugins") if point.name == tbvis.__name__]
  report.numbers["plugin"] = bool(points)
  if not points:
    report.wrong("TensorBoard will show no tbvis tab: no installed package has its entry point. Install tbvis: pip install . (or -e .)")
    report.tell("entry point", "NOT FOUND")
  if len(points) > 1:
    report.wrong(f"{len(points)} installed packages have the entry point of the tab: {', '.join(_provider(point) for point in points)}.")
  for point in points:
    report.tell("entry point", f"{point.value}, of {_provider(point)}")
    loader = point.load()
    plugin = importlib.import_module("tb_plugin.plugin")
    report.tell("loads", f"{loader.__module__}, in {pathlib.Path(plugin.__file__ or '').parent}")


def _provider(point: importlib.metadata.EntryPoint) -> str:
  return f"{point.dist.name} {point.dist.version}" if point.dist else "an unknown package"


def _logdir() -> pathlib.Path | None:
  return flag_values.expand_path(_LOGDIR.value, "logdir")


def _data_dir() -> pathlib.Path | None:
  return flag_values.expand_path(_DATA_DIR.value, "data_dir")


def _runs(report: Report) -> None:
  """Tells what the plugin's own code reads of the logdir."""
  logdir = flag_values.required_path(_LOGDIR.value, "logdir")
  events = sorted(path for path in logdir.rglob("*tfevents*") if path.is_file())
  size = sum(path.stat().st_size for path in events)
  if size < _LARGE_LOGDIR or not report.numbers.get("tensorflow"):
    # With a module of this name TensorBoard does without TensorFlow, which may not start, and takes seconds to do so; it reads faster.
    sys.modules["tensorboard.compat.notf"] = types.ModuleType("tensorboard.compat.notf")
  from tensorboard import context as context_lib
  from tensorboard.backend.event_processing import data_provider, plugin_event_multiplexer

  from tb_plugin import store as store_lib
  from tbvis import events as events_lib

  spoilt = {path.relative_to(logdir): why for path in events if (why := events_lib.broken_record(path))}
  multiplexer = plugin_event_multiplexer.EventMultiplexer(size_guidance={"tensors": 0}, tensor_size_guidance={"tbvis": 0})
  multiplexer.AddRunsFromDirectory(str(logdir)).Reload()
  store = store_lib.Store(data_provider.MultiplexerDataProvider(multiplexer, str(logdir)), str(logdir))
  context = context_lib.RequestContext()
  contents = json.loads(store.contents(context, ""))
  damaged = [f"{record['run']}: {record['tag']}: {record['why']}" for record in contents["damaged"]]
  report.numbers |= {"runs": len(contents["runs"]), "event_files": len(events), "damaged": len(spoilt) + contents["damaged_count"]}
  report.tell("event files", f"{len(events)}, {size / 2**20:.1f} MiB")
  report.numbers["stimuli"] = sum(len(run["stimuli"]) for run in contents["runs"])
  for run in contents["runs"]:
    report.tell(run["name"], "; ".join(_of_run(store, context, run, logdir, damaged)))
  if not contents["runs"]:
    report.tell("runs", "none of tbvis")
  for path, why in list(spoilt.items())[:_NAMED]:
    report.wrong(f"{logdir / path}: {why}")
  for text in damaged[:_NAMED]:
    report.wrong(f"{logdir}: {text}")
  left = len(spoilt) + max(contents["damaged_count"], len(damaged)) - min(len(spoilt), _NAMED) - min(len(damaged), _NAMED)
  if left:
    report.wrong(f"{logdir}: {left} more files or records are damaged.")


def _of_run(store: Any, context: Any, run: dict[str, Any], logdir: pathlib.Path, damaged: list[str]) -> Iterator[str]:
  """Yields what a run has, in words; appends to `damaged` what cannot be read."""
  from tb_plugin import explanations
  from tb_plugin.refusals import RefusedError
  from tbvis import summaries

  stimuli = run["stimuli"]
  if stimuli:
    units, layers, chi = ({stimulus[name] for stimulus in stimuli} for name in ("unit", "layer", "chi"))
    yield f"{len(stimuli)} stimuli of {len(units)} units in {len(layers)} layers, chi {', '.join(f'{value:g}' for value in sorted(chi))}"
  states = Counter(stimulus["state"] for stimulus in run["planned"])
  if states:
    yield "sweep: " + ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
  if run["statistics"]:
    yield "statistics of units"
  if not run["confusions"]:
    return
  try:
    known = store.confusions(context, "", run["name"])
  except RefusedError as error:
    damaged.append(f"{run['name']}: confusions: {error}")
    return
  yield f"confusions of {len(known['classes'])} classes, {len(known['clips'])} clips, {', '.join(known['towers'])}"
  shown = []
  for path in sorted((logdir / run["name"] / summaries.MEDIA_FOLDER / explanations.FOLDER).glob("*.json")):
    true, predicted, tower = explanations.pair_of(path.name) or (math.inf, math.inf, "")
    if max(true, predicted) < len(known["classes"]) and tower in known["towers"]:
      shown.append(store.explanation(context, "", run["name"], tower, known["classes"][true], known["classes"][predicted]))
  damaged += [f"{run['name']}: {explanation['error']}" for explanation in shown if "error" in explanation]
  if shown:
    yield f"{len(shown)} explanations"


def _sets(report: Report) -> None:
  """Tells the prepared sets, by TFDS' own description of each, without TensorFlow."""
  data_dir = flag_values.required_path(_DATA_DIR.value, "data_dir")
  found = sorted(data_dir.glob(f"{datasets.PREPARED_FOLDER}/*/*/dataset_info.json"))
  report.numbers["prepared_sets"] = len(found)
  for path in found:
    name = f"{path.parents[1].name} {path.parent.name}"
    try:
      splits = json.loads(path.read_text(encoding="utf-8"))["splits"]
      classes = (path.parent / "label.labels.txt").read_text(encoding="utf-8").split("\n")
      clips = {split["name"]: sum(map(int, split["shardLengths"])) for split in splits}
      shards = {
        split["name"]: (len(list(path.parent.glob(f"*-{split['name']}.tfrecord-*"))), len(split["shardLengths"])) for split in splits
      }
    except (OSError, ValueError, KeyError, TypeError) as error:
      report.wrong(f"{path}: cannot be read: {type(error).__name__}: {error}")
      continue
    report.tell(
      name, f"{len([c for c in classes if c])} classes, " + ", ".join(f"{count} {split}" for split, count in clips.items()) + " clips"
    )
    for split, (there, expected) in shards.items():
      if there != expected:
        report.wrong(f"{path.parent}: expected {expected} files of {split} clips, found {there}: prepare it again.")
  unfinished = sorted(path.name for path in (data_dir / datasets.PREPARING_FOLDER).glob("*") if (path / "clips").is_dir())
  if unfinished:
    report.tell("unfinished", f"{', '.join(unfinished[:_NAMED])}: the same command of tbvis-prepare goes on")
  if not found:
    report.wrong(f"--data_dir: no prepared set under {data_dir}. Make one with tbvis-prepare.")


def check_flags() -> None:
  """Refuses what can be refused before anything is looked at.

  Raises:
    UsageError: naming the flag.
  """
  flag_values.existing_path(_LOGDIR.value, "logdir", "folder")
  flag_values.existing_path(_DATA_DIR.value, "data_dir", "folder")
  flag_values.output_file(_JSON.value, "json")


def main() -> None:
  """Runs the script."""
  check_flags()
  report = Report()
  for title, look in (
    ("Versions", _versions),
    ("OpenCV", _opencv),
    ("TensorFlow", _tensorflow),
    ("Extras", _extras),
    ("Machine", _machine),
    ("Free disk", _disk),
    ("TensorBoard's plugin", _plugin),
  ):
    report.section(title, look)
  if _LOGDIR.value:
    report.section(f"Logdir {_logdir()}", _runs)
  if _DATA_DIR.value:
    report.section(f"Prepared sets in {_data_dir()}", _sets)
  print()
  for problem in report.problems:
    print(f"PROBLEM: {problem}")
  print(f"{len(report.problems)} problems." if report.problems else "Everything that is needed works.")
  app.report_json(_JSON.value, report.numbers | {"problems": report.problems})
  if report.problems:
    raise SystemExit(1)


def entry() -> None:
  """Console script."""
  app.run(main)


if __name__ == "__main__":
  entry()
