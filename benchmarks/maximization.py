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

from collections.abc import Mapping, Sequence
import os
import pathlib
import statistics
import tempfile
import time
from typing import Any

from absl import flags, logging
from machine import Machine, Scorer, matmul_peak
import numpy as np
from peers import common, environments, report
from works import FUSION, WORKS, Job, Work, jobs_of

from tbvis.datasets import catalogue
from tbvis.errors import UsageError, unknown_name
from tbvis.scripts import app, flag_values

_UNITS = range(10, 18)
_CLASSES = 101
# The one library beside which --quick measures ours: the fastest.
_PEER_IN_QUICK = "xplique"
# The one work whose images --quick scores: the cheapest.
_SCORED_IN_QUICK = "conv3_3"
# Canvases below this side have steps of some hundredths of a second.
_SMALL = 112


_BY_DEFAULT = [work.name for work in WORKS.values() if work.network in ("vgg16", FUSION)]

_NAMES = flags.DEFINE_list(
  "works", _BY_DEFAULT, f"What is measured, of {', '.join(WORKS)}; --quick leaves prediction out unless it is named."
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
  if work.network in (FUSION, "c3d"):
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
    if name not in WORKS:
      raise unknown_name("work", name, WORKS, "--works")
  named = flags.FLAGS["works"].present
  return [work for name, work in WORKS.items() if name in _NAMES.value and (named or not _QUICK.value or name != "prediction")]


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
  for work in WORKS.values():
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
  fusion = WORKS["conv5_fusion"]
  image = next((work for work in (WORKS["conv4_3"], *works) if work in works and work.image), None)
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
