"""How fast training snippets are read, beside how fast the full network takes them.

  python benchmarks/reading.py --data_dir=DATA --dataset=ucf101_subset_split1_dis --json=FILE

Reading: whole clips from disk, one random snippet of each decoded (a frame and 20 flow pictures), cropped, resized, mirrored, as
tbvis-train does. Step: the two-stream fusion VGG-16 of full width, forward, backward and update of all layers, and of the motion
tower alone. Both with all cores, one after the other, in one run.
"""

from __future__ import annotations

import os
import resource
import statistics
import time
from typing import Any

from absl import flags

from tbvis.scripts import app, flag_values

_DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder given to tbvis-prepare.")
_DATASET = flags.DEFINE_string("dataset", None, "Name of the prepared set.")
_INPUT_SIZE = flags.DEFINE_integer("input_size", 224, "Side of the crops in pixels.", lower_bound=32)
_BATCH = flags.DEFINE_integer("batch_size", 8, "Snippets a step.", lower_bound=1)
_WIDTH = flags.DEFINE_float("width", 1.0, "Width of the network.", lower_bound=0.01)
_FC_UNITS = flags.DEFINE_integer("fc_units", 4096, "Channels of fc6 and fc7.", lower_bound=1)
_STEPS = flags.DEFINE_integer("steps", 5, "Steps of training that are timed.", lower_bound=1)
_BATCHES = flags.DEFINE_integer("batches", 40, "Batches that are read, in rounds.", lower_bound=5)
_DTYPE = app.define_dtype("Number format; auto is bfloat16 where the hardware has it.")
_JSON = app.define_json()

_ROUNDS = 5


def _time_reading(batches: Any) -> float:
  """Returns snippets a second, the median of some rounds after a first one."""
  rates, iterator = [], iter(batches)
  for _ in range(_ROUNDS + 1):
    started = time.perf_counter()
    for _ in range(_BATCHES.value // _ROUNDS):
      next(iterator)
    rates.append(_BATCHES.value // _ROUNDS * _BATCH.value / (time.perf_counter() - started))
  return statistics.median(rates[1:])


def _time_steps(model: Any, scores: list[str], inputs: Any, labels: Any) -> float:
  """Returns snippets a second of training steps of the layers that lead to `scores`."""
  import keras
  import tensorflow as tf

  part = keras.Model({k: model.input[k] for k in inputs}, {k: model.output[k] for k in scores})
  optimizer = keras.optimizers.SGD(1e-6, momentum=0.9)
  optimizer.build(part.trainable_variables)
  loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

  @tf.function
  def step() -> None:
    with tf.GradientTape() as tape:
      total = tf.add_n([loss(labels, value) for value in part(inputs, training=True).values()])
    optimizer.apply(tape.gradient(total, part.trainable_variables), part.trainable_variables)

  step()
  seconds = []
  for _ in range(_STEPS.value):
    started = time.perf_counter()
    step()
    seconds.append(time.perf_counter() - started)
  return _BATCH.value / statistics.median(seconds)


def main() -> None:
  """Runs the benchmark."""
  app.load_tensorflow()
  from tbvis.datasets import reader, snippets
  from tbvis.models import checkpoint, precision, two_stream
  from tbvis.models import sampling as sampling_lib
  from tbvis.training import data

  dataset = reader.open_dataset(flag_values.required_path(_DATA_DIR.value, "data_dir"), _DATASET.value or "")

  def batches(streams: tuple[str, ...]) -> Any:
    return data.training_batches(
      dataset,
      None,
      batch_size=_BATCH.value,
      input_size=_INPUT_SIZE.value,
      appearance_mean=checkpoint.IMAGENET_MEAN,
      augmentation=snippets.Augmentation(),
      sampling=sampling_lib.Sampling(streams),
      seed=0,
    )

  reading = {"both": _time_reading(batches(two_stream.STREAMS)), "motion": _time_reading(batches(("motion",)))}
  dtype = precision.resolve_dtype(_DTYPE.value)
  model = two_stream.two_stream_fusion_vgg16(
    len(dataset.classes), width=_WIDTH.value, input_size=_INPUT_SIZE.value, fc_units=_FC_UNITS.value, dtype=dtype
  )
  inputs, labels = next(iter(batches(two_stream.STREAMS)))
  step = {
    "both": _time_steps(model, ["scores_hybrid", "scores_motion"], inputs, labels),
    "motion": _time_steps(model, ["scores_motion"], {"motion": inputs["motion"]}, labels),
  }
  numbers: dict[str, Any] = {}
  for name in reading:
    numbers[f"reading_{name}_snippets_per_second"] = round(reading[name], 2)
    numbers[f"step_{name}_snippets_per_second"] = round(step[name], 2)
    numbers[f"reading_over_step_{name}"] = round(reading[name] / step[name], 1)
  numbers |= {"input_size": _INPUT_SIZE.value, "batch_size": _BATCH.value, "dtype": dtype, "cores": len(os.sched_getaffinity(0))}
  numbers["peak_memory_mib"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
  for key, value in numbers.items():
    print(f"{key:<44} {value}")
  app.report_json(_JSON.value, numbers)


if __name__ == "__main__":
  app.run(main)
