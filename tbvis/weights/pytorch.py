"""PyTorch's state dicts: .pth and .pt, and .safetensors, which needs no PyTorch (METHOD 1.7)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
import io
import json
import pathlib
import pickletools
import re
from typing import Any, BinaryIO
import warnings
import zipfile

import numpy as np

from tbvis import limits
from tbvis.errors import UsageError
from tbvis.weights import layouts
from tbvis.weights import preprocessing as preprocessing_lib
from tbvis.weights.layouts import Value
from tbvis.weights.source import Source, Target

_EXPECTED = "a PyTorch state dict (.pth, .pt or .safetensors)"
# A network's pickle or header has some 100 KiB; hostile ones grow by a factor of 100 when they are read.
_MOST_HEADER = 1 << 21
_MOST_DIRECTORY = 1 << 22
# What a checkpoint keeps its state dict under.
_KEYS = ("state_dict", "model_state_dict", "model", "net")
# All that a state dict's pickle calls. torch.load's own list is longer: its bytearray alone allocates what a few bytes ask for.
_CALLS = re.compile(
  r"collections OrderedDict|torch\._utils _rebuild_(tensor|tensor_v2|parameter)|torch\.nn\.parameter Parameter|torch Size"
  r"|torch(\.cuda)? \w+Storage|torch (float\d+|bfloat16|u?int\d+|bool)|torch\.storage (Typed|Untyped)Storage"
)
_WRAPPERS = re.compile(r"(module|base_model|backbone|model|net|encoder)\.")
_STREAMS = {"rgb": "appearance", "spatial": "appearance", "appearance": "appearance"}
_STREAMS |= {"flow": "motion", "temporal": "motion", "motion": "motion"}
_STREAM = re.compile(rf"({'|'.join(_STREAMS)})(_?(net|model|stream|tower))?\.")
# torchvision's VGG-16: places in `features` and in `classifier`.
_FEATURES = dict(zip(map(str, (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)), layouts.CONVOLUTIONS, strict=True))
_CLASSIFIER = {"0": "fc6", "3": "fc7", "6": "prediction"}
_PREPROCESSING = {"vgg16": "torchvision", "bn_inception": "torch_tsn", "inception_v3": "half", "resnet50": "caffe", None: "torchvision"}
_BATCH_NORM = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}
_COUNTER = "num_batches_tracked"
_NUMBERS = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}
_NUMBERS |= {"I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U8": "u1", "BOOL": "?"}


def read(path: pathlib.Path) -> Source:
  """Reads a state dict; of a pickle nothing is run.

  Args:
    path: .pth or .pt (zip or older format), bare or under a key of a checkpoint, or .safetensors.

  Returns:
    Tensors by their names in the file, in PyTorch's layout, bfloat16 as float32; without BatchNorm's counters. info has
    "preprocessing", what is assumed of the network's inputs unless the file says otherwise under that name (a key of
    `preprocessing.PREPROCESSINGS`), "preprocessing_text", the same in words, and "appearance_mean" (R, G, B).

  Raises:
    UsageError: if the file is none, is damaged, calls anything but what builds tensors, or needs PyTorch where there is none.
  """
  path = pathlib.Path(path)
  size = limits.read_file(path, _EXPECTED)
  limits.check_declared(path, "the file", size, size)
  try:
    with path.open("rb") as stream:
      head = stream.read(9)
      if head[8:] == b"{":
        tensors, told = _read_safetensors(path, stream, size)
      else:
        tensors, told = _read_torch(path, stream, head, size)
  except UsageError:
    raise
  except Exception as error:
    # Of whatever kind: the libraries raise a dozen, and each means that the file is wrong.
    raise UsageError(f"{path}: expected {_EXPECTED}, found something else or a damaged one: {_line(error)}.") from error
  tensors = {name: tensor for name, tensor in tensors.items() if not name.endswith(_COUNTER)}
  if not tensors:
    raise UsageError(f"{path}: expected {_EXPECTED}, found one without tensors.")
  # Either tower tells, since both are given the same kind of input.
  network = next(filter(None, (layouts.network_of(parts) for parts in _parts(tensors).values())), None)
  name = told or _PREPROCESSING[network]
  inputs = preprocessing_lib.by_name(name, path)
  info = {"preprocessing": name, "preprocessing_text": inputs.text, "appearance_mean": inputs.appearance_mean}
  return Source(path, "pytorch", tensors, info)


def targets(source: Source, stream: str | None) -> list[Target]:
  """Returns where the tensors of a network go; see `layouts.targets`.

  Args:
    source: what `read` returned.
    stream: of a file of one tower, "appearance" or "motion"; of a file of two, prefixed rgb. and flow. (or spatial. and
      temporal.), the one that is wanted, or None for both.

  Raises:
    UsageError: if the network is none of those known, or a tensor does not fit its layer.
  """
  towers = _parts(source.tensors)
  name = source.info["preprocessing"]
  if set(towers) == {None}:
    return layouts.targets(source.path, towers[None], stream, name)
  if stream is not None and stream not in towers:
    raise UsageError(f"{source.path}: expected a tower for {stream}, found {layouts.shown(source.tensors)}.")
  wanted = [tower for tower in towers if tower and stream in (None, tower)]
  return [target for tower in wanted for target in layouts.targets(source.path, towers[tower], tower, name)]


def _parts(tensors: Mapping[str, np.ndarray]) -> dict[str | None, dict[str, dict[str, Value]]]:
  """Returns tensors by stream (None where names tell none), layer and weight."""
  parts: dict[str | None, dict[str, dict[str, Value]]] = {}
  normalised = {name.removesuffix(".running_mean") for name in tensors if name.endswith(".running_mean")}
  for name, tensor in tensors.items():
    path, _, weight = name.rpartition(".")
    if weight not in _BATCH_NORM:
      continue
    stream, layer = _layer(path)
    if path in normalised:
      weight = _BATCH_NORM[weight]
    elif weight == "weight":
      weight = "kernel"
      tensor = layouts.convolution(tensor) if tensor.ndim == 4 else tensor.T if tensor.ndim == 2 else tensor
    parts.setdefault(stream, {}).setdefault(layer, {})[weight] = Value(tensor, (name,))
  return parts or {None: {}}


def _layer(path: str) -> tuple[str | None, str]:
  """Returns the stream and the layer that a module's path names, without what a network was wrapped in."""
  stream = None
  while True:
    found = _STREAM.match(path)
    if found and stream is None:
      stream = _STREAMS[found[1]]
    elif not (found := _WRAPPERS.match(path)):
      break
    path = path[found.end() :]
  group, _, place = path.rpartition(".")
  layer = {"features": _FEATURES, "classifier": _CLASSIFIER}.get(group, {}).get(place)
  return stream, layer or layouts.published(path)


def _read_safetensors(path: pathlib.Path, stream: BinaryIO, size: int) -> tuple[dict[str, np.ndarray], str | None]:
  try:
    import safetensors
  except ImportError as error:
    raise UsageError(f"{path}: reading it needs safetensors. Install it by: pip install 'tbvis[pytorch]'.") from error
  stream.seek(0)
  length = int.from_bytes(stream.read(8), "little")
  if length > min(size - 8, _MOST_HEADER):
    raise UsageError(f"{path}: expected a header of at most {min(size - 8, _MOST_HEADER):,} bytes, its length is given as {length:,}.")
  header = stream.read(length)
  stream.seek(0)
  tensors = {}
  for name, tensor in safetensors.deserialize(stream.read()):  # Checks that the tensors fill the file, and nothing else.
    if tensor["dtype"] not in _NUMBERS:
      raise UsageError(f"{path}: {name!r} has numbers of the type {tensor['dtype']}; expected one of {', '.join(_NUMBERS)}.")
    value = np.frombuffer(tensor["data"], _NUMBERS[tensor["dtype"]]) if tensor["data"] else np.zeros(0, np.float32)
    if tensor["dtype"] == "BF16":  # The upper half of a float32.
      value = (value.astype(np.uint32) << 16).view(np.float32)
    tensors[name] = value.reshape(tensor["shape"])
  told = json.loads(header).get("__metadata__") or {}
  return tensors, told.get("preprocessing")


def _read_torch(path: pathlib.Path, stream: BinaryIO, head: bytes, size: int) -> tuple[dict[str, np.ndarray], str | None]:
  if not head.startswith((b"PK\3\4", b"\x80")):
    raise UsageError(f"{path}: expected {_EXPECTED}, found neither a zip file nor a pickle nor a header of safetensors.")
  _check_calls(path, _pickles_of_zip(path, size) if head.startswith(b"PK") else _pickles(path, stream))
  try:
    import torch
  except ImportError as error:
    raise UsageError(f"{path}: reading it needs PyTorch. Install it by: pip install 'tbvis[pytorch]', or save as .safetensors.") from error
  with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Of formats that will go; they can be read yet.
    loaded = torch.load(path, map_location="cpu", weights_only=True)
  told = loaded.get("preprocessing") if isinstance(loaded, dict) else None
  for _ in _KEYS:
    inner = next((loaded[key] for key in _KEYS if isinstance(loaded, dict) and isinstance(loaded.get(key), dict)), None)
    loaded = loaded if inner is None else inner
  if not isinstance(loaded, dict):
    raise UsageError(f"{path}: expected {_EXPECTED}, found a {type(loaded).__name__}.")
  tensors = {name: tensor for name, tensor in loaded.items() if isinstance(name, str) and isinstance(tensor, torch.Tensor)}
  limits.check_declared(path, "the sum of its tensors", sum(tensor.numel() * tensor.element_size() for tensor in tensors.values()), size)
  return {name: _array(path, name, tensor) for name, tensor in tensors.items()}, told if isinstance(told, str) else None


def _array(path: pathlib.Path, name: str, tensor: Any) -> np.ndarray:
  tensor = tensor.detach()
  if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
    raise UsageError(f"{path}: {name!r} has the shape {tuple(tensor.shape)}, more than the values stored for it.")
  if tensor.is_complex():
    raise UsageError(f"{path}: expected real numbers in {name!r}, found {tensor.dtype}.")
  return (tensor if str(tensor.dtype) != "torch.bfloat16" else tensor.float()).numpy()


def _pickles_of_zip(path: pathlib.Path, size: int) -> Iterator[BinaryIO]:
  """Yields the pickle of a zip file whose members are plain and no larger than the file."""
  with limits.open_zip(path, _EXPECTED, _MOST_DIRECTORY) as archive:
    members = archive.infolist()
    if any(member.compress_type != zipfile.ZIP_STORED for member in members) or sum(member.file_size for member in members) > size:
      raise UsageError(f"{path}: expected members stored as they are, as PyTorch writes them, found packed ones or larger than the file.")
    for member in members:
      if member.filename.endswith("data.pkl"):
        if member.file_size > _MOST_HEADER:
          raise UsageError(f"{path}: expected a pickle of at most {_MOST_HEADER:,} bytes, it has {member.file_size:,}.")
        yield io.BytesIO(limits.read_member(path, archive, member))


def _pickles(path: pathlib.Path, stream: BinaryIO) -> Iterator[BinaryIO]:
  """Yields the start of a file of the older format, from which its five pickles are to be read one behind the other."""
  stream.seek(0)
  start = io.BytesIO(stream.read(_MOST_HEADER))
  for _ in range(5):  # Magic number, version, machine, state dict, names of the arrays that follow.
    yield start


def _check_calls(path: pathlib.Path, pickles: Iterator[BinaryIO]) -> None:
  """Refuses a pickle that calls anything but what builds tensors; nothing is run for that.

  Raises:
    UsageError: naming what it calls.
  """
  found = False
  for pickled in pickles:
    found = True
    for operation, argument, _ in pickletools.genops(pickled):
      if operation.name == "GLOBAL" and not _CALLS.fullmatch(called := str(argument)):
        raise UsageError(f"{path}: expected {_EXPECTED}, found a pickle that calls {called.replace(' ', '.')!r}; nothing of it was run.")
      if operation.name in ("STACK_GLOBAL", "INST", "OBJ", "EXT1", "EXT2", "EXT4"):
        raise UsageError(f"{path}: expected {_EXPECTED}, found a pickle that calls by {operation.name}; nothing of it was run.")
  if not found:
    raise UsageError(f"{path}: expected {_EXPECTED}, found a zip file without one.")


def _line(error: Exception) -> str:
  return (" ".join(str(error).split()) or type(error).__name__)[:200].rstrip(".")
