"""How fast the search is, beside tf-keras-vis, xplique and the least that any engine has to do: a bare float32 tf.function.

  python benchmarks/maximization.py --json=FILE
  python benchmarks/maximization.py --quick --nopeers
  python benchmarks/maximization.py --weights=VGG.npz --markdown

Every library runs in a process of its own, on the same cores, with the same weights, several times in alternating order. The work:
8 units of conv3_3, conv4_3 and conv5_3 of an image VGG-16, each library at the canvas that it takes for them (ours: the rule of
METHOD 2.5 with factor 1.1; the others: 224) and ours and the floor at 224 too; and 2 units with 4 values of chi of conv5_fusion and
prediction of the two-stream network, which no other library can do; and, where --works names them, a class unit with 2 values of chi of
the other networks, as published: st_resnet50 (5 chunks), tsn_bn_inception, tsn_inception_v3 (the motion's), c3d (16 frames). Everything
runs on the processor: a GPU is hidden.

- s per unit-iteration: the median step without the first two, over 8 rows; then the median over repeats, whose largest over
  smallest is "spread". "First step" has preparation and compilation in it.
- % of matmul: multiply-adds of the convolutions, forward and again for the gradient of the input, against the fastest matrix
  product that TensorFlow does here in that number format, measured in the same run.
- s to score: preparation and compilation included, until the mean over units of the score is reached for good. The score is one for
  all: the largest value of the unit over its map, before its ReLU, that a float32 network has for the images clipped to VGG's range
  (xplique's at the magnification at which its transforms show them to the network). "Common" is 90 % of the lowest that a library
  which rose at all ends with, "ours" 90 % of what ours ends with. Each library maximises what it does by default: ours and the
  floor the unit at the centre, the others the mean over the map; the floor alone knows no natural image.
- Steps in which other programs used the cores are left out where enough others remain; what is said of the rest is no measure.

Ratios are theirs over ours: above 1 where ours is faster. ratio_vs_floor_* is the floor's time over ours, ratio_vs_floor_fusion that at
conv5_fusion. overhead_percent is what a whole step takes beyond the bare network there and back, of that network's own time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
import dataclasses
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

from absl import flags, logging
import numpy as np
from peers import common, environments, report

from tbvis.datasets import catalogue
from tbvis.errors import UsageError, unknown_name
from tbvis.scripts import app, flag_values

_ROOT = pathlib.Path(__file__).resolve().parents[1]
_WORKERS = pathlib.Path(__file__).resolve().parent / "peers"
_UNITS = range(10, 18)
_CHI = (0.0, 1.0, 5.0, 10.0)
_CLASSES = 101
_FUSION = "two_stream_fusion_vgg16"
# The one library beside which --quick measures ours: the fastest.
_PEER_IN_QUICK = "xplique"
# The one work whose images --quick scores: the cheapest.
_SCORED_IN_QUICK = "conv3_3"
# Canvases below this side have steps of some hundredths of a second.
_SMALL = 112
# Seconds of a look at what other programs do.
_GLANCE = 0.5


@dataclasses.dataclass(frozen=True)
class Work:
  """Units of a layer: of the image network, or of a network of clips, which takes no library but ours.

  Attributes:
    name: in the paper's way of writing.
    layer: name of the layer.
    canvas: side that ours takes for it.
    network: "vgg16", the image network, or a name of `checkpoint.BUILDERS`.
    arguments: what its builder is given beside the classes.
    units: how many units are searched, each with every chi, of a network of clips.
    chi: which.
  """

  name: str
  layer: str
  canvas: int
  network: str = "vgg16"
  arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict, hash=False)
  units: int = 2
  chi: tuple[float, ...] = _CHI

  @property
  def image(self) -> bool:
    """Whether it is of the image network."""
    return self.network == "vgg16"


_WORKS = {
  work.name: work
  for work in (
    Work("conv3_3", "block3_conv3", report.natural_canvas(40, 4)),
    Work("conv4_3", "block4_conv3", report.natural_canvas(92, 8)),
    Work("conv5_3", "block5_conv3", report.natural_canvas(196, 16)),
    Work("conv5_fusion", "conv5_fusion", report.natural_canvas(196, 16), _FUSION, {"base_classifier": False}),
    Work("prediction", "prediction", 224, _FUSION, {"base_classifier": False}),
    Work("st_resnet50", "prediction", 224, "st_resnet50", {"chunks": 5}, 1, (0.0, 10.0)),
    Work("tsn_bn_inception", "prediction_motion", 224, "tsn_bn_inception", {"stream": "motion"}, 1, (0.0, 10.0)),
    Work("tsn_inception_v3", "prediction_motion", 299, "tsn_inception_v3", {"stream": "motion"}, 1, (0.0, 10.0)),
    Work("c3d", "prediction_appearance", 128, "c3d", {}, 1, (0.0, 10.0)),
  )
}
_BY_DEFAULT = [work.name for work in _WORKS.values() if work.network in ("vgg16", _FUSION)]

_NAMES = flags.DEFINE_list(
  "works", _BY_DEFAULT, f"What is measured, of {', '.join(_WORKS)}; --quick leaves prediction out unless it is named."
)
_STEPS = flags.DEFINE_integer("steps", None, "Steps of a scored search: 40, or 10 with --quick.", lower_bound=3)
_REPEATS = flags.DEFINE_integer("repeats", None, "How often each library does each work: 3, or 1 with --quick.", lower_bound=1)
_WEIGHTS = flags.DEFINE_string("weights", None, "npz of ImageNet VGG-16 weights in Keras' layout; random ones without it.")
_SEED = flags.DEFINE_integer("seed", 4, "Seed of the random weights.", lower_bound=0)
_WIDTH = flags.DEFINE_float("width", 1.0, "Factor on the channels of both networks, for a trial; 1 is VGG-16.", lower_bound=0.08)
_A_HAT = flags.DEFINE_float("a_hat", None, "a_hat of every unit for our search; without it the largest value on noise.")
_DTYPE = app.define_dtype("Ours; auto is bfloat16 where the hardware has it.")
_CORES = flags.DEFINE_string("cores", None, "Cores that everything is pinned to, as 0-1 or 0,2; all that this process may use without it.")
_CACHE = flags.DEFINE_string("cache", "~/.cache/tbvis-benchmarks", "Folder in which the other libraries are installed, once.")
_PEERS = flags.DEFINE_bool("peers", True, "Whether the other libraries are measured.")
_GROWTH = flags.DEFINE_integer("growth_units", None, "Units swept for the growth of memory: 500, or none with --quick.", lower_bound=0)
_PATIENCE = flags.DEFINE_float("patience", None, "Seconds to wait for idle cores before each process: 60, 5 with --quick.", lower_bound=0)
_MARKDOWN = flags.DEFINE_bool("markdown", False, "Print tables as Markdown.")
_QUICK = flags.DEFINE_bool("quick", False, "Minutes: few steps, one repeat, fewer canvases, no tf-keras-vis; only conv3_3 is scored.")
_JSON = app.define_json()


@dataclasses.dataclass(frozen=True)
class Job:
  """One library on one work at one canvas."""

  work: Work
  engine: str
  canvas: int

  @property
  def key(self) -> str:
    """Name in the JSON."""
    return f"{self.engine.replace('-', '_')}_{self.work.name}_{self.canvas}"


def jobs_of(works: Iterable[Work], peers: Sequence[str], quick: bool) -> list[Job]:
  """Returns what is measured, in the order of the tables."""
  jobs = []
  for work in works:
    canvases = [work.canvas]
    if work.image and (not quick or work.name == "conv5_3"):
      canvases.append(224)
    for canvas in canvases:
      jobs.append(Job(work, "tbvis", canvas))
      if not quick or not work.image or canvas == 224:
        jobs.append(Job(work, "floor", canvas))
    if work.image:
      jobs += [Job(work, peer, 224) for peer in peers]
  return jobs


class Machine:
  """Runs workers, each when other programs leave the cores alone.

  Args:
    folder: for orders and answers.
    pythons: interpreters by library, this one for those that have none.
    patience: seconds to wait at most for quiet.
  """

  def __init__(self, folder: pathlib.Path, pythons: Mapping[str, pathlib.Path], patience: float):
    self._folder, self._pythons, self._patience = folder, pythons, patience
    self._count = 0

  def await_quiet(self) -> None:
    """Waits until other programs leave the cores alone, as long as patience lasts."""
    watch, end = common.Others(), time.monotonic() + self._patience
    while time.monotonic() < end:
      watch.seconds()
      time.sleep(_GLANCE)
      if watch.seconds() < 0.1 * _GLANCE:
        return

  def run(self, library: str, order: dict[str, Any]) -> dict[str, Any]:
    """Lets a worker carry out an order; the answer has the path of the pictures as "result".

    Raises:
      UsageError: if it fails, with the last line that it wrote.
    """
    self._count += 1
    path, result = self._folder / f"{self._count}_order.json", self._folder / f"{self._count}_result.json"
    path.write_text(json.dumps({**order, "result": str(result)}))
    peer = next((p for p in environments.PEERS if p.name == library), None)
    worker = peer.worker if peer else {"tbvis": "engine.py", "floor": "floor.py"}[library]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1", "KERAS_BACKEND": "tensorflow"}
    environment["PYTHONPATH"] = "" if peer else os.pathsep.join([str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    self.await_quiet()
    command = [str(self._pythons.get(library, sys.executable)), str(_WORKERS / worker), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode or not result.exists():
      lines = [line for line in done.stderr.splitlines() if line.strip()]
      raise UsageError(f"{library} failed at {order['layer']}: {lines[-1].strip() if lines else f'status {done.returncode}'}")
    return {**json.loads(result.read_text()), "result": str(result)}


def matmul_peak(dtype: str, seconds: float, sizes: Sequence[int] = (1024, 2048)) -> float:
  """Returns the operations a second of the fastest of many matrix products of several sizes."""
  import tensorflow as tf

  product, highest = tf.function(lambda a, b: tf.matmul(a, b)), 0.0
  for size in sizes:
    a, b = (tf.cast(tf.random.stateless_normal((size, size), (seed, 0)), dtype) for seed in (0, 1))
    product(a, b)
    end = time.perf_counter() + seconds / len(sizes)
    while time.perf_counter() < end:
      began = time.perf_counter()
      product(a, b)
      highest = max(highest, 2 * size**3 / (time.perf_counter() - began))
  return highest


class Scorer:
  """The float32 network of one layer that scores every library's images alike."""

  def __init__(self, weights: Mapping[str, np.ndarray], layer: str, units: Sequence[int]):
    import tensorflow as tf

    net = common.vgg16(weights, linear=layer)

    @tf.function(reduce_retracing=True)
    def values(images: tf.Tensor) -> tf.Tensor:
      maps = net(tf.clip_by_value(images, *common.PIXEL_RANGE), training=False)
      return tf.gather(tf.reduce_max(maps, axis=(1, 2)), list(units), axis=1)

    self._values = values

  def __call__(self, images: np.ndarray) -> float:
    """Returns the mean score of images (rows, H, W, 3), a unit each."""
    return float(np.mean(np.diagonal(self._values(np.asarray(images, np.float32)).numpy())))

  def on_noise(self, side: int, count: int = 4) -> np.ndarray:
    """Returns the largest value of each unit on images of noise."""
    return self._values(common.noise(0, count, side, side, 3)).numpy().max(axis=0)


class Benchmark:
  """What is measured, and what came out.

  Args:
    machine: runs the workers.
    jobs: what is measured.
    weights: path of the image network's weights.
    steps: of a scored search.
    quick: whether steps are few.
  """

  def __init__(self, machine: Machine, jobs: Sequence[Job], weights: pathlib.Path, steps: int, quick: bool):
    self._machine, self._weights, self._steps, self._quick = machine, weights, steps, quick
    self._jobs = list(jobs)
    self._arrays = common.load_weights(str(weights))
    self._units = list(_UNITS)
    self._a_hat: dict[str, float] = {}
    self._scorers: dict[str, Scorer] = {}
    self.answers: dict[Job, list[dict[str, Any]]] = {job: [] for job in jobs}
    self.scores: dict[Job, tuple[list[int], list[float]]] = {}

  def scorer(self, work: Work) -> Scorer:
    """Returns the scorer of an image work, and finds a_hat with it."""
    if work.layer not in self._scorers:
      self._scorers[work.layer] = scorer = Scorer(self._arrays, work.layer, self._units)
      noise = scorer.on_noise(work.canvas)
      self._a_hat[work.layer] = _A_HAT.value or float(max(noise.max(), 1e-6))
      if (noise <= 0).any():
        dead = ", ".join(f"f{self._units[index] + 1:03d}" for index in np.flatnonzero(noise <= 0))
        logging.warning("%s: %s are nowhere on at noise, where tf-keras-vis and xplique start; another --seed has others.", work.name, dead)
    return self._scorers[work.layer]

  def channels(self, work: Work) -> int:
    """Returns how many units an image work's layer has."""
    return len(self._arrays[f"{work.layer}_b"])

  def order(self, work: Work, **more: Any) -> dict[str, Any]:
    """Returns an order about a work."""
    common_part = {"task": "ascend", "layer": work.layer, "dtype": _DTYPE.value, "canvas_factor": 1.1, "seed": _SEED.value}
    if work.image:
      self.scorer(work)
      own = {"network": "vgg16", "weights": str(self._weights), "rows": self._units, "chi": [0.0], "a_hat": self._a_hat[work.layer]}
    else:
      rows = [unit for unit in range(work.units) for _ in work.chi]
      own = {
        "network": work.network, "arguments": arguments_of(work), "rows": rows, "chi": list(work.chi), "a_hat": _A_HAT.value or 1.0
      }  # fmt: skip
    return {**common_part, **own, **more}

  def repeat(self, number: int, bar: Any) -> None:
    """Measures every job once, in the other direction every other time; the first time images are kept and scored."""
    for job in self._jobs if number % 2 == 0 else reversed(self._jobs):
      bar.set_postfix_str(f"{job.work.name} {job.engine} {job.canvas}")
      scored = job.work.image and number == 0 and (not self._quick or job.work.name == _SCORED_IN_QUICK)
      # A median of short steps needs more of them, and they are soon done.
      enough = (5 if self._quick else 12) * (3 if job.canvas < _SMALL else 1)
      steps = self._steps if scored else min(self._steps, enough)
      every = max(self._steps // 10, 1) if scored else 0
      # Ours finds its own canvas where it is the rule's.
      canvas = 0 if job.engine == "tbvis" and job.canvas == job.work.canvas and job.work.image else job.canvas
      answer = self._machine.run(job.engine, self.order(job.work, canvas=canvas, steps=steps, every=every))
      if answer["canvas"] != job.canvas:
        raise UsageError(f"{job.engine} took a canvas of {answer['canvas']} px for {job.work.name}, expected {job.canvas}.")
      if scored:
        self.scores[job] = self._score(job, answer["result"])
      self.answers[job].append(answer)
      bar.update()

  def _score(self, job: Job, result: str) -> tuple[list[int], list[float]]:
    paths = {int(path.suffixes[-2][1:]): path for path in pathlib.Path(result).parent.glob(f"{pathlib.Path(result).name}.*.npy")}
    steps, scores = [], []
    for step, path in sorted(paths.items()):
      steps.append(step + 1)
      scores.append(self.scorer(job.work)(np.load(path)))
      path.unlink()
    return steps, scores

  def measured(self, peaks: Mapping[str, float]) -> dict[Job, report.Measured]:
    """Returns what came out of each job."""
    from tbvis.models import checkpoint as checkpoint_lib

    levels = {work: self.levels(work) for work in {job.work for job in self._jobs}}
    result = {}
    for job, answers in self.answers.items():
      medians = [report.steady(answer) for answer in answers]
      step, first = statistics.median(medians), statistics.median(answer["seconds"][0] for answer in answers)
      rows = len(self.order(job.work)["rows"])
      to_scores = [
        None if level is None or job not in self.scores else report.seconds_to(report.steps_to(level, *self.scores[job]), first, step)
        for level in levels[job.work]
      ]
      if job.work.image:
        macs = report.image_macs(job.work.layer, job.canvas, _WIDTH.value)
      else:
        macs = report.network_macs(checkpoint_lib.BUILDERS[job.work.network](**arguments_of(job.work)), job.work.layer, job.canvas)
      dtype = answers[0]["dtype"]
      result[job] = report.Measured(
        job.work.name, job.engine, job.canvas, dtype, step / rows, first, min(answer["peak_memory_mib"] for answer in answers),
        100 * report.flops(macs) * rows / step / peaks[dtype], *to_scores, max(medians) / min(medians),
      )  # fmt: skip
    return result

  def levels(self, work: Work) -> tuple[float | None, float | None]:
    """Returns the scores that libraries are timed to: one that all reach, and ours."""
    scores = {job: found for job, (_, found) in self.scores.items() if job.work == work}
    ours = [found for job, found in scores.items() if job.engine == "tbvis" and job.canvas == work.canvas]
    return report.common_level(scores.values()), report.common_level(ours)


def arguments_of(work: Work) -> dict[str, Any]:
  """Returns what the builder of a network of clips is given."""
  found = {"classes": _CLASSES, "width": _WIDTH.value, **work.arguments}
  if work.network in (_FUSION, "c3d"):
    found["fc_units"] = max(int(round(report.FC_UNITS * _WIDTH.value)), 4)
  return found


def _cores() -> list[int]:
  allowed = os.sched_getaffinity(0)
  if not _CORES.value:
    return sorted(allowed)
  wanted = sorted(catalogue.parse_numbers(_CORES.value, "cores") or ())
  if not wanted or not allowed.issuperset(wanted):
    raise UsageError(f"--cores: expected some of {', '.join(map(str, sorted(allowed)))}, received {_CORES.value!r}.")
  return wanted


def _works() -> list[Work]:
  for name in _NAMES.value:
    if name not in _WORKS:
      raise unknown_name("work", name, _WORKS, "--works")
  named = flags.FLAGS["works"].present
  return [work for name, work in _WORKS.items() if name in _NAMES.value and (named or not _QUICK.value or name != "prediction")]


def _given_weights(path: pathlib.Path) -> dict[str, np.ndarray]:
  try:
    weights = common.load_weights(str(path))
  except (OSError, ValueError) as error:
    raise UsageError(f"--weights: expected an npz of VGG-16 weights at {path}: {error}.") from error
  expected = common.random_weights(0, 0.01)
  missing = [name for name in expected if name not in weights]
  if missing:
    raise UsageError(f"--weights: {path} has no {missing[0]}; expected Keras' names, block1_conv1_W and so on.")
  return {name: np.asarray(weights[name], np.float32) for name in expected}


def _percent(value: float | None) -> str:
  return "-" if value is None else f"{value:.1f} %"


def _times(value: float | None) -> str:
  return "-" if value is None else f"{value:.2f}"


def _ratios(found: Mapping[Job, report.Measured]) -> dict[str, float | None]:
  """Returns theirs over ours, per unit-iteration, by the names of the JSON."""
  seconds = {(job.work.name, job.engine, job.canvas): measured.seconds for job, measured in found.items()}
  ratios: dict[str, float | None] = {}
  for work in _WORKS.values():
    if not work.image:
      name = "fusion" if work.name == "conv5_fusion" else work.name
      ratios[f"ratio_vs_floor_{name}"] = report.ratio(
        seconds.get((work.name, "floor", work.canvas)), seconds.get((work.name, "tbvis", work.canvas))
      )
      continue
    ours = seconds.get((work.name, "tbvis", work.canvas))
    for peer in environments.PEERS:
      ratios[f"ratio_vs_{peer.name.replace('-', '_')}_{work.name}"] = report.ratio(seconds.get((work.name, peer.name, 224)), ours)
    for canvas in (work.canvas, 224):
      ratios[f"ratio_vs_floor_{work.name}_{canvas}"] = report.ratio(
        seconds.get((work.name, "floor", canvas)), seconds.get((work.name, "tbvis", canvas))
      )
  return ratios


def _print_scores(benchmark: Benchmark) -> None:
  for work in dict.fromkeys(job.work for job in benchmark.scores):
    ends = [
      f"{job.engine} {job.canvas} px {scores[0]:.3g} to {scores[-1]:.3g} in {steps[-1]} steps"
      for job, (steps, scores) in benchmark.scores.items() if job.work == work
    ]  # fmt: skip
    common_level, ours = ("none, nothing rose" if level is None else f"{level:.3g}" for level in benchmark.levels(work))
    print(f"{work.name}: common score {common_level}, ours {ours}; {'; '.join(ends)}")


def _print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
  print(report.table(header, rows, _MARKDOWN.value), end="\n\n")


def main() -> None:
  """Runs the benchmark."""
  works, cores = _works(), _cores()
  weights_path, cache = flag_values.expand_path(_WEIGHTS.value, "weights"), flag_values.required_path(_CACHE.value, "cache")
  quick = _QUICK.value
  arrays = _given_weights(weights_path) if weights_path else common.random_weights(_SEED.value, _WIDTH.value)
  if arrays["block3_conv3_b"].size <= max(_UNITS):
    raise UsageError(f"--width: {_WIDTH.value:g} leaves conv3_3 without unit f{max(_UNITS) + 1:03d}; expected at least 0.08.")
  peers = [peer for peer in environments.PEERS if _PEERS.value and any(work.image for work in works)]
  peers = [peer for peer in peers if not quick or peer.name == _PEER_IN_QUICK]
  pythons = {peer.name: environments.python_of(peer, cache) for peer in peers}
  os.sched_setaffinity(0, cores)
  os.environ["CUDA_VISIBLE_DEVICES"] = "-1"

  # After the flags are known to be good: TensorFlow takes seconds to load.
  app.load_tensorflow()
  from tbvis import progress
  from tbvis.models import precision

  started = time.monotonic()
  with tempfile.TemporaryDirectory(prefix="tbvis-benchmark-") as name:
    folder = pathlib.Path(name)
    np.savez(folder / "weights.npz", **arrays)
    patience = _PATIENCE.value if _PATIENCE.value is not None else (5 if quick else 60)
    machine = Machine(folder, pythons, patience)
    jobs = jobs_of(works, [peer.name for peer in peers], quick)
    benchmark = Benchmark(machine, jobs, folder / "weights.npz", _STEPS.value or (10 if quick else 40), quick)
    span = 1.0 if quick else 3.0
    machine.await_quiet()
    peaks = {dtype: matmul_peak(dtype, span) for dtype in ("float32", "bfloat16")}
    repeats = _REPEATS.value or (1 if quick else 3)
    with progress.bar(total=repeats * len(jobs), description="searches", unit="search") as bar:
      for number in range(repeats):
        benchmark.repeat(number, bar)
    extras = _extras(benchmark, machine, works, quick)
    # Again, since a neighbour may have slowed the first one down.
    peaks = {dtype: max(peak, matmul_peak(dtype, span)) for dtype, peak in peaks.items()}

  found = benchmark.measured(peaks)
  has_bfloat16 = precision.cpu_has_bfloat16()
  print(f"{len(cores)} cores, AVX512_BF16 or AMX {'yes' if has_bfloat16 else 'no'}; matrix product, GFLOP/s: ", end="")
  print(", ".join(f"{dtype} {peak / 1e9:.0f}" for dtype, peak in peaks.items()))
  for library in dict.fromkeys(job.engine for job in jobs):
    print(f"{library}: {next(a[0]['versions'] for job, a in benchmark.answers.items() if job.engine == library)}")
  print()
  _print_table(report.HEADER, [measured.cells() for measured in found.values()])
  _print_scores(benchmark)
  ratios = _ratios(found)
  print()
  _print_table(("theirs over ours, per unit-iteration", ""), [(key, _times(value)) for key, value in ratios.items() if value])
  for line in extras.pop("lines"):
    print(line)
  disturbed, searches = sum(not report.is_quiet(a) for answers in benchmark.answers.values() for a in answers), repeats * len(jobs)
  print(f"{disturbed} of {searches} searches had too few steps in which other programs left the cores alone.")
  if disturbed:
    logging.warning("Other programs used the cores: what was measured meanwhile is no measure. Run it again on an idle machine.")
  numbers: dict[str, Any] = {**ratios, **extras, "has_bfloat16": has_bfloat16, "cores": len(cores), "repeats": repeats}
  for job, measured in found.items():
    numbers |= {
      f"{job.key}_seconds_per_unit_iteration": measured.seconds,
      f"{job.key}_first_step_seconds": measured.first,
      f"{job.key}_peak_memory_mib": measured.memory,
      f"{job.key}_percent_of_matmul_peak": measured.peak_percent,
      f"{job.key}_spread": measured.spread,
    }
    if job in benchmark.scores:
      numbers[f"{job.key}_final_score"] = benchmark.scores[job][1][-1]
      numbers[f"{job.key}_seconds_to_common_score"] = measured.to_common
      numbers[f"{job.key}_seconds_to_our_score"] = measured.to_ours
  numbers |= {f"matmul_{dtype}_gflops": peak / 1e9 for dtype, peak in peaks.items()}
  numbers |= {"disturbed_searches": disturbed, "searches": searches, "seconds": round(time.monotonic() - started, 1)}
  app.report_json(_JSON.value, numbers)


def _extras(benchmark: Benchmark, machine: Machine, works: Sequence[Work], quick: bool) -> dict[str, Any]:
  """Measures the overhead, how time goes with rows, and how memory goes with units: numbers by key, and "lines" to print."""
  result: dict[str, Any] = {"overhead_percent": None, "lines": []}
  fusion = _WORKS["conv5_fusion"]
  image = next((work for work in (_WORKS["conv4_3"], *works) if work in works and work.image), None)
  if fusion in works:
    steps = 5 if quick else 24
    answer = machine.run("tbvis", benchmark.order(fusion, task="overhead", canvas=fusion.canvas, steps=steps))
    step, network, leaky = (report.steady(answer[kind]) for kind in ("step", "network", "leaky"))
    percent, leak = report.overhead_percent(step, network), report.overhead_percent(leaky, network)
    result |= {"overhead_percent": percent, "overhead_leak_percent": leak, "network_seconds_conv5_fusion": network}
    result["lines"].append(
      f"Overhead of a step at {fusion.name}, {fusion.canvas} px, 8 rows: {percent:.1f} % of the bare network's own "
      f"{network:.3f} s there and back: {leak:.1f} % shifts and leaking ReLUs, the rest regularisers, balance and Adam "
      f"({steps} of each in turn)."
    )
  if image is not None:
    counts = tuple(count for count in (8, 16, 32) if count <= benchmark.channels(image))
    order = benchmark.order(image, task="rows", canvas=0, steps=5 if quick else 8, counts=counts, rounds=1 if quick else 3)
    answer = machine.run("tbvis", order)
    medians = {}
    for count in counts:
      medians[count] = statistics.median(report.steady(clock) for clock in answer[str(count)]) / count
      result[f"seconds_per_unit_iteration_{image.name}_{count}_rows"] = medians[count]
    told = ", ".join(f"{count} rows {1000 * value:.2f} ms" for count, value in medians.items())
    result["lines"].append(f"Time per unit-iteration at {image.name}: {told}.")
  units = _GROWTH.value if _GROWTH.value is not None else (0 if quick else 500)
  if image is not None and units:
    order = benchmark.order(image, task="growth", canvas=0, steps=3, growth_units=units)
    memory = machine.run("tbvis", order)["memory_mib"]
    result |= {"memory_growth_mib": report.growth_mib(memory), "memory_growth_units": len(memory)}
    result["lines"].append(f"Memory over {len(memory)} units of {image.name}: {result['memory_growth_mib']:+.0f} MiB, stimuli left out.")
  return result


if __name__ == "__main__":
  app.run(main)
