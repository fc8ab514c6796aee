"""Trains a network on a prepared data set, phase by phase."""

from __future__ import annotations

from collections.abc import Callable, Sequence
import dataclasses
import inspect
import json
import pathlib
import re
import resource
import time
from typing import TYPE_CHECKING, Any

from absl import flags

from tbvis import files
from tbvis.datasets import catalogue as catalogue_lib
from tbvis.errors import UsageError, unknown_name
from tbvis.scripts import app, flag_values
from tbvis.training import recipe

if TYPE_CHECKING:
  from tbvis.datasets import reader
  from tbvis.models import checkpoint as checkpoint_lib

_DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder given to tbvis-prepare.")
_DATASET = flags.DEFINE_string("dataset", None, "Name of the prepared set, such as stage_split1_dis.")
_CLASSES = flags.DEFINE_list(
  "classes", [], "Classes of the set to train on, at least two; the network knows these alone, in the order of the set. All by default."
)
_OUTPUT_DIR = flags.DEFINE_string(
  "output_dir", None, "Folder of the checkpoint and the backups; a second run goes on from what it finds there."
)
_LOGDIR = flags.DEFINE_string("logdir", None, "TensorBoard folder for losses and accuracies; --output_dir by default.")
_PHASES = flags.DEFINE_list(
  "phases", [], "Phases to train, of appearance, motion, fusion; by default all that the network has: a stream's own where it has scores "
  "of its own, and fusion where streams meet."
)  # fmt: skip
_NETWORK = flags.DEFINE_enum("network", "two_stream_fusion_vgg16", list(recipe.NETWORKS), "What is trained.")
_SPACING = flags.DEFINE_list(
  "spacing", None, "Fewest and most frames from one chunk to the next, as 5,15, of a network that sees several; as published by default."
)
# Arguments of networks; where one is not given, the network's own default holds.
_ARGUMENTS: dict[str, flags.FlagHolder] = {
  "fusion": flags.DEFINE_enum("fusion", None, ["conv1x1", "conv3x3x3"], "Kernel of the fusion (METHOD 1.4); conv1x1 by default."),
  "stream": flags.DEFINE_enum("stream", None, ["appearance", "motion", "both"], "Streams of TSN's networks; both by default."),
  "chunks": flags.DEFINE_integer(
    "chunks", None, "Snippets seen together: segments of TSN, chunks, frames of a film.", lower_bound=1, upper_bound=1000
  ),
  "time_pool": flags.DEFINE_bool("time_pool", None, "ST-ResNet's second stage: a pool over chunks before pool5."),
  "width": flags.DEFINE_float("width", 1.0, "Factor on the channels of every convolution.", lower_bound=0.01, upper_bound=4),
  "input_size": flags.DEFINE_integer(
    "input_size", None, "Side of the training crop in pixels, the published one by default; frames are scaled with it.",
    lower_bound=32, upper_bound=2048,
  ),
  "fc_units": flags.DEFINE_integer("fc_units", None, "Channels of fc6 and fc7; 4096 by default.", lower_bound=1, upper_bound=65536),
  "dropout": flags.DEFINE_float(
    "dropout", None, "Dropout before classifiers; by default the network's own (VGG-16: 0.85, as its released appearance tower).",
    lower_bound=0, upper_bound=0.99,
  ),
  "batch_norm": flags.DEFINE_bool("batch_norm", None, "C3D: a normalisation behind every convolution; the published network has none."),
  "partial_batch_norm": flags.DEFINE_bool(
    "partial_batch_norm", None, "TSN: every normalisation but the first stays as it is, as published; no for a training from nothing."
  ),
}  # fmt: skip
_IMAGENET = flags.DEFINE_string("imagenet_weights", None, "npz of ImageNet VGG-16 (Keras layout) to start from; from nothing by default.")
_START = flags.DEFINE_list(
  "start", [], "A checkpoint to start from, of a network of this shape: one of tbvis-import, as released towers. Classes may differ. Or "
  "several, as of networks of one stream each: every layer is that of the first which has it; a stream of none starts from nothing."
)  # fmt: skip
_VALIDATION = app.may_be_empty(
  flags.DEFINE_string(
    "validation_groups", "23-25", "Training groups held out for choosing settings and for unit statistics; empty for none."
  )
)
_CROPS = flags.DEFINE_list("crop_sizes", ["256", "224", "192", "168"], "Sides of the crops in pixels of the 256-scaled frame (METHOD 1.3).")
_COLOUR = flags.DEFINE_float("colour", 0.0, "Strength of random brightness and colour; 0 as in the paper.", lower_bound=0, upper_bound=0.9)
_NOISE = {
  stream: flags.DEFINE_float(
    f"{stream}_noise", 0.0, f"Largest standard deviation of white noise on {stream} inputs, {unit}; 0 as in the paper.", lower_bound=0
  )
  for stream, unit in (("appearance", "grey levels of 255"), ("motion", "units of 40/255 pixel a frame"))
}
_SEED = _ARGUMENTS["seed"] = flags.DEFINE_integer("seed", 0, "Seed of weights, order and crops.", lower_bound=0)
_STRATEGY = flags.DEFINE_enum(
  "strategy", "none", list(recipe.STRATEGIES),
  "none: one device. mirrored: all GPUs of this machine (or its logical CPUs). multiworker: the machines of the environment variable "
  "TF_CONFIG; start the same command on each, with an --output_dir that all can reach. Batches are shared out: results are those of one.",
)  # fmt: skip
_STORAGE = flags.DEFINE_enum(
  "storage", "float32", ["float32", "float16"],
  "Number format of the checkpoint's weights. float16 halves the file: after each phase the network is rounded to it, then validated "
  "and saved. Backups within a phase are float32.",
)  # fmt: skip
_DTYPE = app.define_dtype("Number format of the network; auto takes bfloat16 where the hardware has it.")
_JSON = app.define_json()

# The published settings (METHOD 1.3, 1.4) are SGD with momentum 0.9 and weight decay 5e-4; `flags/` has recipes.
_DEFAULTS = {
  "appearance": recipe.Phase("appearance", 2000, optimizer="sgd", learning_rate=1e-3, head_factor=1, weight_decay=5e-4),
  "motion": recipe.Phase("motion", 4000, optimizer="sgd", learning_rate=1e-3, head_factor=1, weight_decay=5e-4),
  "fusion": recipe.Phase("fusion", 1000, optimizer="sgd", learning_rate=1e-3, head_factor=1, weight_decay=5e-4, cached_crops=8),
}
_HELP = {
  "steps": "updates",
  "batch_size": "snippets an update",
  "optimizer": "sgd or adam",
  "learning_rate": "peak learning rate of the convolutions, which rises over warmup_steps and falls by a cosine",
  "rates": "learning rates one after another instead, with lengths that share all steps, as 1e-3x3,1e-4x1; prediction:1e-3x3 trains "
  "the classifier alone",
  "head_factor": "factor on the rate for the classifiers: fc6, fc7 and prediction",
  "first_layer_factor": "factor on the rate for the first convolution",
  "bias_factor": "factor on the rate for biases, which never decay",
  "warmup_steps": "updates over which the rate rises",
  "momentum": "momentum (sgd) or beta 1 (adam)",
  "weight_decay": "weight decay of kernels, in the gradient (sgd) or apart from it (adam)",
  "clip_norm": "bound on the gradient's norm; 0 for none",
  "dropout": "dropout in this phase; --dropout by default",
  "crops": "regular (sides of --crop_sizes, at corners and centre) or borders25 (any side of 168 to 280, near a corner)",
  "train_from": "first layer of the towers that is trained, as conv5_1; by default the whole tower, and in the fusion phase what is behind "
  "the place where the streams meet (all, where they were not trained alone)",
  "cached_crops": "crops a clip whose features below train_from are computed once; 0 computes them for every snippet",
}
_UPPER = {"dropout": 0.99, "momentum": 0.9999}
# Batches and cached crops lie in memory.
_MOST = {"steps": 100_000_000, "batch_size": 4096, "cached_crops": 1000}
_CHOICES = {"optimizer": ["sgd", "adam"], "crops": list(recipe.CROPS)}


def _define_phase_flags() -> dict[tuple[str, str], flags.FlagHolder]:
  """Defines --<phase>_<setting> for every setting of every phase."""
  holders: dict[tuple[str, str], flags.FlagHolder] = {}
  for phase, defaults in _DEFAULTS.items():
    for field in dataclasses.fields(recipe.Phase):
      if field.name == "name":
        continue
      name, default, text = f"{phase}_{field.name}", getattr(defaults, field.name), f"Phase {phase}: {_HELP[field.name]}."
      if field.name in _CHOICES:
        holders[phase, field.name] = flags.DEFINE_enum(name, default, _CHOICES[field.name], text)
      elif isinstance(default, str):
        holders[phase, field.name] = flags.DEFINE_string(name, default, text)
      elif isinstance(default, int) and field.type == "int":
        low = 0 if field.name in ("cached_crops", "warmup_steps") else 1
        holders[phase, field.name] = flags.DEFINE_integer(name, default, text, lower_bound=low, upper_bound=_MOST.get(field.name))
      else:
        holders[phase, field.name] = flags.DEFINE_float(name, default, text, lower_bound=0, upper_bound=_UPPER.get(field.name))
  return holders


_PHASE_FLAGS = _define_phase_flags()


def _phase(name: str) -> recipe.Phase:
  return recipe.Phase(name, **{field: holder.value for (phase, field), holder in _PHASE_FLAGS.items() if phase == name})


def _arguments() -> dict[str, Any]:
  """Returns the arguments of the network.

  Raises:
    UsageError: for one that it does not take.
  """
  from tbvis.models import checkpoint as checkpoint_lib

  known = checkpoint_lib.complete_arguments(_NETWORK.value, {})
  given = {name: holder.value for name, holder in _ARGUMENTS.items() if holder.value is not None}
  strange = next((name for name in given if name not in known), None)
  if strange:
    fitting = [name for name, builder in checkpoint_lib.BUILDERS.items() if strange in inspect.signature(builder).parameters]
    raise UsageError(f"--{strange}: expected a network that takes it ({', '.join(fitting)}), received --network={_NETWORK.value}.")
  return {name: given.get(name, known[name]) for name in known if name in _ARGUMENTS}


def _sampling() -> dict[str, Any]:
  """Returns what --spacing says, as the metadata have it.

  Raises:
    UsageError: unless it is two numbers of frames in their order.
  """
  if _SPACING.value is None:
    return {"sampling": {}}
  values = _spacing(_SPACING.value)
  if (_arguments().get("chunks") or 1) < 2:
    raise UsageError("--spacing: expected a network that sees several chunks (--chunks), received one that sees one.")
  return {"sampling": {"spacing": values}}


def _spacing(texts: Sequence[str]) -> list[int]:
  values = [_whole(text) for text in texts]
  if len(values) != 2 or not 1 <= values[0] <= values[1]:
    raise UsageError(f"--spacing: expected fewest and most frames between chunks, as 5,15, received {','.join(texts)!r}.")
  return values


def _whole(text: str) -> int:
  """Returns a whole number of at most six digits, 0 for another text."""
  return int(text) if re.fullmatch(r"\s*\d{1,6}\s*", text) else 0


def _crop_sizes() -> tuple[int, ...]:
  sizes = tuple(_whole(text) for text in _CROPS.value)
  if not sizes or not all(32 <= s <= 256 for s in sizes):
    raise UsageError(f"--crop_sizes: expected sides of 32 to 256 pixels, received {','.join(_CROPS.value)!r}.")
  return sizes


def _difference(name: str, found: Any, wanted: Any) -> str:
  if isinstance(found, list) and isinstance(wanted, list):
    # There may be thousands of groups.
    only = sorted(set(found) ^ set(wanted))
    return f"{name} differ in {', '.join(map(str, only[:5]))}" + (f" and {len(only) - 5} more" if len(only) > 5 else "")
  return f"{name} {found} (expected {wanted})"


def _check_same(checkpoint: checkpoint_lib.Checkpoint, path: pathlib.Path, arguments: dict[str, Any], made_of: dict[str, Any]) -> None:
  """Refuses to go on from a network of other settings or clips: what is held out here may have been trained on there.

  Args:
    checkpoint: what was found.
    path: where.
    arguments: of the network that is asked for.
    made_of: data set, groups and storage that are asked for, as the metadata has them.

  Raises:
    UsageError: naming what differs.
  """
  from tbvis.models import checkpoint as checkpoint_lib

  # Files from before there was a choice do not tell.
  metadata = {"storage": "float32", "sampling": {}, **checkpoint.metadata}
  known = [name for name in made_of if name in metadata]
  built = checkpoint_lib.complete_arguments(checkpoint.architecture, checkpoint.arguments)
  found = {"network": checkpoint.architecture, **{name: built.get(name) for name in arguments}, **{name: metadata[name] for name in known}}
  wanted = {"network": _NETWORK.value, **arguments, **{name: made_of[name] for name in known}}
  # Of a phase that is not asked for, the flags say nothing.
  for phase in _PHASES.value or recipe.PHASES:
    recorded, now = dict(metadata.get("recipe", {}).get(phase, {})), dataclasses.asdict(_phase(phase))
    # What the default was called when VGG-16 was the only network.
    if recorded.get("train_from") == "conv1_1":
      recorded["train_from"] = ""
    found |= {f"{phase}_{name}": value for name, value in recorded.items() if name in now}
    wanted |= {f"{phase}_{name}": value for name, value in now.items() if name in recorded}
  names = [name for name in {**wanted, **found} if found.get(name) != wanted.get(name)]
  if names:
    different = ", ".join(_difference(name, found.get(name), wanted.get(name)) for name in names)
    raise UsageError(f"{path} is of another network: {different}. Choose another --output_dir, or move the file away.")


def _made(make: Callable[[str], checkpoint_lib.Checkpoint], strategy: Any) -> checkpoint_lib.Checkpoint:
  """Makes a network in the number format of --dtype, or in float32 where it cannot be trained in that."""
  from tbvis.models import precision
  from tbvis.training import distribution

  with distribution.scope(strategy):
    try:
      checkpoint = make(precision.resolve_dtype(_DTYPE.value))
    except ValueError as error:
      raise UsageError(f"--network={_NETWORK.value}: {' '.join(str(error).split())[:300]}") from error
    layer = precision.untrainable_layer(checkpoint.model)
    if layer:
      print(f"Trained in float32: in bfloat16 the gradient of {layer}, which sees two frames, is wrong on this processor.")
      checkpoint = make("float32")
  return checkpoint


def _open_or_build(path: pathlib.Path, classes: tuple[str, ...], strategy: Any, **made_of: Any) -> checkpoint_lib.Checkpoint:
  """Returns the network of an earlier run, or a new one with the weights it shall start from.

  Args:
    path: where an earlier run has left it.
    classes: names in the order of the labels.
    strategy: where it lives; None for one device.
    **made_of: metadata: data set, groups and storage.

  Raises:
    UsageError: if the network found is another one, or the start does not fit.
  """
  from tbvis.models import checkpoint as checkpoint_lib
  from tbvis.weights import imagenet, inference

  arguments = _arguments()
  start_paths = [flag_values.required_path(name, "start") for name in _START.value]
  imagenet_path = flag_values.expand_path(_IMAGENET.value, "imagenet_weights")
  if path.exists():
    checkpoint = _made(lambda dtype: checkpoint_lib.load_checkpoint(path, dtype=dtype), strategy)
    _check_same(checkpoint, path, {**arguments, "classes": len(classes)}, made_of)
    if checkpoint.classes != classes:
      raise UsageError(f"{path} is of another network: its classes differ. Choose another --output_dir, or move the file away.")
    for flag, given in (("start", start_paths), ("imagenet_weights", imagenet_path)):
      if given:
        print(f"--{flag} is not used: the training goes on from {path}.")
    return checkpoint
  start = {str(name): checkpoint_lib.load_checkpoint(name) for name in start_paths}
  # The first kernel is that of inputs from which this mean is taken.
  frames = (source for source in start.values() if "appearance" in source.sampling.streams)
  mean = next((source.appearance_mean for source in frames), checkpoint_lib.IMAGENET_MEAN)
  about = {**made_of, "appearance_mean": list(mean)}
  if _NETWORK.value in inference.NETWORKS:
    inference.check_memory(arguments, len(classes), f"--network={_NETWORK.value}", _NETWORK.value)
  checkpoint = _made(lambda dtype: checkpoint_lib.build(_NETWORK.value, arguments, classes, dtype=dtype, **about), strategy)
  if start:
    layers = checkpoint_lib.copy_weights(start, checkpoint)
    print(f"{len(layers)} layers start as in {', '.join(start)}.")
  if imagenet_path:
    layers = imagenet.load_imagenet_vgg16(checkpoint.model, imagenet_path)
    print(f"ImageNet weights set in {len(layers)} layers.")
  return checkpoint


def _open_dataset() -> tuple[reader.PreparedDataset, list[str]]:
  """Returns the prepared set, of the chosen classes, and the names of the others."""
  from tbvis.datasets import reader

  whole = reader.open_dataset(flag_values.required_path(_DATA_DIR.value, "data_dir"), flag_values.required(_DATASET.value, "dataset"))
  if not _CLASSES.value:
    return whole, []
  dataset = whole.of_classes(_CLASSES.value)
  if len(dataset.classes) < 2:
    raise UsageError(f"--classes: expected at least two classes of {whole.name}, received {', '.join(dataset.classes)} alone.")
  return dataset, [name for name in whole.classes if name not in dataset.classes]


def check_flags() -> None:
  """Refuses what can be refused before TensorFlow is loaded, which takes seconds.

  Raises:
    UsageError: naming the flag.
  """
  for phase in _PHASES.value:
    if phase not in recipe.PHASES:
      raise unknown_name("phase", phase, recipe.PHASES, "--phases")
  for phase in recipe.PHASES:
    _phase(phase).parts()
  if _START.value and _IMAGENET.value:
    raise UsageError("Expected --start or --imagenet_weights, received both.")
  _crop_sizes()
  if _SPACING.value is not None:
    _spacing(_SPACING.value)
  catalogue_lib.parse_numbers(_VALIDATION.value, "validation_groups")
  flag_values.existing_path(flag_values.required(_DATA_DIR.value, "data_dir"), "data_dir", "folder")
  flag_values.required(_DATASET.value, "dataset")
  for name in _START.value:
    flag_values.existing_path(name, "start")
  flag_values.existing_path(_IMAGENET.value, "imagenet_weights")
  flag_values.output_folder(flag_values.required(_OUTPUT_DIR.value, "output_dir"), "output_dir")
  flag_values.output_folder(_LOGDIR.value, "logdir")
  flag_values.output_file(_JSON.value, "json")


def main() -> None:
  """Runs the script."""
  check_flags()
  app.load_tensorflow()
  # Of networks, which are Keras'.
  _arguments()
  _sampling()
  output_dir = flag_values.required_path(_OUTPUT_DIR.value, "output_dir")
  from tbvis.training import distribution

  # Before TensorFlow makes a tensor: workers' devices are found when it starts.
  strategy = distribution.make_strategy(_STRATEGY.value)
  if distribution.is_chief(strategy):
    held = f"Another process is training in {output_dir}; wait for it, or give another --output_dir."
    with files.locked(output_dir / ".training.lock", held):
      for part in output_dir.glob(".checkpoint-*.keras"):  # What a killed process has left of one.
        part.unlink()
      _train(output_dir, strategy)
  else:
    _train(output_dir, strategy)


def _train(output_dir: pathlib.Path, strategy: Any) -> None:
  """Trains what is not trained yet, and writes the checkpoint after each phase."""
  from tbvis.datasets import snippets
  from tbvis.models import checkpoint as checkpoint_lib
  from tbvis.training import distribution, train

  chief = distribution.is_chief(strategy)
  logdir = flag_values.expand_path(_LOGDIR.value, "logdir") or output_dir
  dataset, left_out = _open_dataset()
  validation = catalogue_lib.parse_numbers(_VALIDATION.value, "validation_groups") or frozenset()
  groups = set(dataset.groups("train"))
  held_out = sorted(groups & validation)
  train_groups = sorted(groups - validation)
  if not train_groups:
    raise UsageError(f"--validation_groups: {_VALIDATION.value} leaves no group of {dataset.name} to train on; it has {sorted(groups)}.")
  path = output_dir / "checkpoint.keras"
  made_of = {
    "dataset": dataset.name, "left_out_classes": left_out, "train_groups": train_groups, "validation_groups": held_out,
    "storage": _STORAGE.value, **_sampling(),
  }  # fmt: skip
  checkpoint = _open_or_build(path, dataset.classes, strategy, **made_of)
  phases = _PHASES.value or train.phases_of(checkpoint.model)
  for name in phases:
    # Before the first is trained: a layer that the last does not know would be told hours later.
    train.cut_for_phase(checkpoint.model, _phase(name))
  numbers = dict(checkpoint.metadata.get("training", {}))

  started = time.monotonic()
  for name in phases:
    if f"{name}_seconds" in numbers:
      print(f"Phase {name} is finished already.")
      continue
    noise = {stream: flag.value for stream, flag in _NOISE.items()}
    numbers |= train.train_phase(
      checkpoint, dataset, _phase(name),
      train_groups=train_groups, validation_groups=held_out,
      augmentation=snippets.Augmentation(_phase(name).crops, _crop_sizes(), colour=_COLOUR.value, noise=noise),
      output_dir=output_dir, logdir=logdir, seed=_SEED.value, strategy=strategy, storage=_STORAGE.value,
    )  # fmt: skip
    recipes = {**checkpoint.metadata.get("recipe", {}), name: dataclasses.asdict(_phase(name))}
    checkpoint = dataclasses.replace(checkpoint, metadata={**checkpoint.metadata, "training": numbers, "recipe": recipes})
    if chief:
      checkpoint_lib.save_checkpoint(checkpoint, path, _STORAGE.value)
      train.discard_backup(output_dir, _phase(name))
      shown = {k: round(v, 4) for k, v in numbers.items() if k.startswith(("validation", name))}
      print(f"Phase {name}: {json.dumps(shown)}")
  distribution.wait_for_all(strategy)
  if not chief:
    print("Worker finished; the chief has written the checkpoint.")
    return
  numbers["temporal_fraction"] = app.report_temporal_fraction(checkpoint.model)
  numbers["train_seconds"] = sum(v for k, v in numbers.items() if k.endswith("_seconds") and k != "train_seconds")
  numbers["this_run_seconds"] = round(time.monotonic() - started, 1)
  numbers["peak_memory_mib"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
  print(f"Checkpoint: {path}")
  app.report_json(_JSON.value, numbers)


def entry() -> None:
  """Console script."""
  app.run(main)


if __name__ == "__main__":
  entry()
