"""Imports published weights: a file of MatConvNet, Caffe, PyTorch, Keras or NumPy becomes a checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
import functools
import hashlib
import importlib
import inspect
import pathlib
import resource
import time
from types import ModuleType
from typing import TYPE_CHECKING, Any

from absl import flags

from tbvis import weights
from tbvis.errors import UsageError
from tbvis.scripts import app, flag_values
from tbvis.training import recipe
from tbvis.weights import preprocessing

if TYPE_CHECKING:
  from tbvis.weights.source import Source, Target

_STREAMS = ("appearance", "motion")
# Of C3D no weights are published in a form that is read.
_NETWORKS = [name for name in recipe.NETWORKS if name != "c3d"]

_FORMAT = flags.DEFINE_enum("format", None, list(weights.FORMATS), "Format of the weights.")
_MODEL = flags.DEFINE_enum("model", None, _NETWORKS, "The network that takes them; by default the file's layers tell.")
_WEIGHTS = flags.DEFINE_string(
  "weights",
  None,
  "FILE: a whole network or one tower; appearance=FILE,motion=FILE: two base towers into one network. With --format=keras also "
  "'imagenet', fetched by keras.applications.",
)
_PROTOTXT = flags.DEFINE_string(
  "prototxt", None, "With --format=caffe and one file, the network's text form; without it FILE.prototxt is read where it is there."
)
_PREPROCESSING = flags.DEFINE_enum(
  "preprocessing",
  None,
  list(preprocessing.PREPROCESSINGS),
  "What a network of Caffe or PyTorch was trained with; without it the file or its names tell, and the table says what is assumed.",
)
_STREAM = flags.DEFINE_enum("stream", None, list(_STREAMS), "Stream of a base tower; by default its first kernel tells.")
_CROSS_MODALITY = flags.DEFINE_bool(
  "cross_modality", False, "Start the motion tower from the appearance file: first kernel averaged over R, G, B and repeated."
)
_OUT = flags.DEFINE_string("out", None, "The checkpoint that is written: FILE.keras.")
_CLASSES = flags.DEFINE_string(
  "classes", None, "Names of the classes: a file, one a line or as classInd.txt, or a data set such as ucf101. By default the file tells."
)
_FUSION = flags.DEFINE_enum("fusion", None, ["conv1x1", "conv3x3x3"], "Kernel of the fusion; by default the file tells, else conv1x1.")
_WIDTH = flags.DEFINE_float("width", None, "Factor on the channels; by default the file tells.", lower_bound=0.01, upper_bound=4)
_INPUT_SIZE = flags.DEFINE_integer(
  "input_size",
  None,
  "Side of the crop in pixels; by default the file tells, else 224, or 299 for tsn_inception_v3.",
  lower_bound=32,
  upper_bound=2048,
)
_FC_UNITS = flags.DEFINE_integer(
  "fc_units", None, "Channels of fc6 and fc7; by default the file tells, else 4096.", lower_bound=1, upper_bound=65536
)
_CHUNKS = flags.DEFINE_integer(
  "chunks",
  None,
  "Snippets seen together; 1 by default, 5 for st_resnet50 and 11 where it pools over time.",
  lower_bound=1,
  upper_bound=1000,
)
_ALLOW_PARTIAL = flags.DEFINE_bool("allow_partial", False, "Accept tensors that go nowhere and weights that keep their random start.")
_DRY_RUN = flags.DEFINE_bool("dry_run", False, "Show what would go where, and write nothing.")
_JSON = app.define_json()


def _files() -> dict[str | None, pathlib.Path]:
  """Returns the files by stream; by None where the file's stream is not said."""
  text = _WEIGHTS.value
  if not text:
    raise UsageError("--weights is required. See --help.")
  found = flag_values.weight_files(text)
  if _STREAM.value and None not in found:
    raise UsageError("--stream is for one base tower; --weights names the streams already.")
  return {stream or _STREAM.value: flag_values.required_path(name, "weights") for stream, name in found.items()}


def _format() -> ModuleType:
  name = weights.FORMATS[flag_values.required(_FORMAT.value, "format")]
  try:
    return importlib.import_module(name)
  except ModuleNotFoundError as error:
    lacking = f"the package {error.name}" if error.name != name else name
    raise UsageError(f"--format={_FORMAT.value} needs {lacking}: pip install 'tbvis[{_FORMAT.value}]'.") from error


def _reader(module: ModuleType) -> Callable[[pathlib.Path], Source]:
  prototxt = flag_values.expand_path(_PROTOTXT.value, "prototxt")
  return module.read if prototxt is None else functools.partial(module.read, prototxt=prototxt)


def _out() -> pathlib.Path | None:
  out = flag_values.expand_path(_OUT.value, "out")
  if out is None and not _DRY_RUN.value:
    raise UsageError("--out is required (or --dry_run). See --help.")
  if out is not None and out.suffix != ".keras":
    raise UsageError(f"--out: expected a file name that ends in .keras, received {str(out)!r}.")
  return out


def _tower(module: ModuleType, source: Source, stream: str | None) -> tuple[str | None, list[Target]]:
  """Returns the stream of a file, None for a whole network, and what goes where."""
  if stream:
    return stream, module.targets(source, stream)
  from tbvis.weights import inference

  def first_kernels(targets: Sequence[Target], network: str | None) -> dict[str, Target]:
    """Returns the kernels of the first layers by their stream."""
    if network is None:
      return {}
    names = {f"{inference.NETWORKS[network].first}_{name}": name for name in _STREAMS}
    return {names[target.layer]: target for target in targets if target.layer in names and target.weight == "kernel"}

  whole = module.targets(source, None)
  if len(first_kernels(whole, inference.find_network(whole))) == len(_STREAMS):
    return None, whole
  tower = module.targets(source, "appearance")
  first = first_kernels(tower, inference.find_network(tower)).get("appearance")
  if first is None:
    return None, whole
  channels = first.value.shape[-2] if first.value.ndim > 1 else 0
  stream = "motion" if channels > 3 else "appearance"
  print(f"{source.path.name}: a base tower of {stream}, its first kernel takes {channels} channels.")
  return stream, tower if stream == "appearance" else module.targets(source, stream)


def _digest(path: pathlib.Path) -> str:
  digest = hashlib.sha256()
  with path.open("rb") as stream:
    while piece := stream.read(1 << 20):
      digest.update(piece)
  return digest.hexdigest()


def _told(sources: Sequence[Source], key: str) -> Any:
  return next((source.info[key] for source in sources if source.info.get(key)), None)


def _read_parts(paths: Mapping[str | None, pathlib.Path]) -> dict[str | None, tuple[Source, list[Target]]]:
  """Returns the files and what goes where, by stream; None for a whole network.

  Args:
    paths: files by the stream that the user says.
  """
  from tbvis import limits
  from tbvis.weights import inference, transfer

  module = _format()
  if _FORMAT.value == "keras":
    paths = {stream: module.download() if str(path) == "imagenet" else path for stream, path in paths.items()}
  for path in paths.values():
    limits.read_file(path, f"a {_FORMAT.value} file")
  read = _reader(module)
  parts: dict[str | None, tuple[Source, list[Target]]] = {}
  for given, path in paths.items():
    source = read(path)
    if _PREPROCESSING.value:
      source = preprocessing.assume(source, _PREPROCESSING.value)
    if "preprocessing" in source.info:
      print(f"{path.name}: inputs of the network ({source.info['preprocessing']}): {source.info['preprocessing_text']}.")
    stream, targets = _tower(module, source, given)
    parts[stream] = (source, transfer.with_fused_head(targets))
  if _CROSS_MODALITY.value:
    if set(parts) != {"appearance"}:
      raise UsageError(f"--cross_modality: expected one base tower of appearance, received {', '.join(map(str, paths.values()))}.")
    source, targets = parts["appearance"]
    known = inference.NETWORKS[inference.find_network(targets) or "two_stream_fusion_vgg16"]
    motion = transfer.cross_modality(targets, known.first, known.motion_channels, known.mirrored)
    parts["appearance"] = (source, [*targets, *motion])
  return parts


def _chosen_arguments(model: str, told: Mapping[str, Any]) -> dict[str, Any]:
  """Returns the network's arguments: what flags say, then what the files tell, then defaults.

  Raises:
    UsageError: for a flag of which the network knows nothing.
  """
  from tbvis.models import checkpoint as checkpoint_lib

  known = inspect.signature(checkpoint_lib.BUILDERS[model]).parameters
  defaults = {name: known[name].default for name in ("width", "input_size", "fc_units", "fusion") if name in known}
  chosen = {"fusion": _FUSION, "width": _WIDTH, "input_size": _INPUT_SIZE, "fc_units": _FC_UNITS, "chunks": _CHUNKS}
  said = {name: flag.value for name, flag in chosen.items() if flag.value is not None}
  if foreign := next((name for name in said if name not in known), None):
    raise UsageError(f"--{foreign}: {model} has no such argument.")
  return {**defaults, **told, **said}


def _model(targets: Sequence[Target], sources: Sequence[Source], where: str) -> str:
  """Returns the network: what --model says, which must be what the layers say.

  Raises:
    UsageError: if the files have layers of no network known, or of another.
  """
  from tbvis.models import checkpoint as checkpoint_lib
  from tbvis.weights import inference

  found = inference.find_network(targets)
  if found is None:
    tensors = [name for source in sources for name in source.tensors]
    raise UsageError(
      f"{where}: expected a VGG-16, found no conv1_1 among {len(tensors)} tensors ({', '.join(tensors[:4])}, ...), nor the first layer of "
      f"{', '.join(name for name in checkpoint_lib.BUILDERS if name != 'two_stream_fusion_vgg16')}."
    )
  if _MODEL.value not in (None, found):
    raise UsageError(f"--model={_MODEL.value}: {where} has the layers of {found}.")
  return found


def check_flags() -> None:
  """Refuses what can be refused before TensorFlow is loaded, which takes seconds.

  Raises:
    UsageError: naming the flag.
  """
  paths, out = _files(), _out()
  if not _FORMAT.value:
    raise UsageError(f"--format is required: one of {', '.join(weights.FORMATS)}.")
  for path in paths.values():
    # The one name that is no file: keras.applications fetches it.
    if (_FORMAT.value, str(path)) != ("keras", "imagenet"):
      flag_values.existing_path(str(path), "weights")
  if _PROTOTXT.value and (_FORMAT.value != "caffe" or len(paths) > 1):
    raise UsageError(f"--prototxt: expected --format=caffe and one file, received --format={_FORMAT.value} and {len(paths)} files.")
  flag_values.existing_path(_PROTOTXT.value, "prototxt")
  if _CROSS_MODALITY.value and (_STREAM.value == "motion" or "motion" in paths):
    raise UsageError("--cross_modality: expected one base tower of appearance, received one of motion.")
  if out is not None and not _DRY_RUN.value:
    flag_values.output_file(str(out), "out")
  flag_values.output_file(_JSON.value, "json")


def main() -> None:
  """Runs the script."""
  started = time.monotonic()
  check_flags()
  paths, out = _files(), _out()
  app.load_tensorflow()
  from tbvis.models import checkpoint as checkpoint_lib
  from tbvis.weights import inference, transfer

  parts = _read_parts(paths)
  sources = [source for source, _ in parts.values()]
  where = ", ".join(str(source.path) for source in sources)
  everything = [target for _, targets in parts.values() for target in targets]
  model = _model(everything, sources, where)
  told = inference.infer_arguments(everything, where, _told(sources, "arguments") or {}, model)
  classes, who = inference.find_classes(_CLASSES.value, _told(sources, "classes"), told.pop("classes", None))
  arguments = _chosen_arguments(model, told)
  inference.check_memory(arguments, len(classes), where, model)
  mean = _told([source for stream, (source, _) in parts.items() if stream != "motion"], "appearance_mean") or checkpoint_lib.IMAGENET_MEAN
  origins = [
    {"file": source.path.name, "format": source.format, "stream": stream or "both", "sha256": _digest(source.path)}
    for stream, (source, _) in parts.items()
  ]
  checkpoint = checkpoint_lib.build(model, arguments, classes, appearance_mean=list(mean), sources=origins)

  fitted = [(source, transfer.fitted(targets, checkpoint.model)) for source, targets in parts.values()]
  plan = transfer.make_plan(transfer.weight_shapes(checkpoint.model), fitted)
  print(plan.table())
  print(f"Network: {', '.join(f'{name} {value}' for name, value in checkpoint.arguments.items())} (classes of {who}).")
  plan.check(where, _ALLOW_PARTIAL.value)
  if not _DRY_RUN.value:
    transfer.apply(plan, checkpoint.model)
    checkpoint_lib.save_checkpoint(checkpoint, flag_values.given(out, "out"))
    print(f"Checkpoint: {out}")
    if not _CROSS_MODALITY.value:  # A mean over channels sees no motion yet, as is meant.
      app.report_temporal_fraction(checkpoint.model)
  app.report_json(
    _JSON.value,
    {
      "weights_set": len(plan.targets),
      "weights_missing": len(plan.missing),
      "tensors_unused": len(plan.unused),
      "layers_initialised": len(plan.initialised),
      "seconds": round(time.monotonic() - started, 2),
      "peak_memory_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
      **{name: value for name, value in checkpoint.arguments.items() if value is not None},
    },
  )


def entry() -> None:
  """Console script."""
  app.run(main)


if __name__ == "__main__":
  entry()
