"""What the shapes of a file's tensors say of the network that they are from, and whose classes it tells apart."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
import dataclasses
import pathlib
from typing import Any

from tbvis import limits, resources
from tbvis.datasets import lists
from tbvis.errors import UsageError, unknown_name
from tbvis.models import tsn, two_stream
from tbvis.weights.source import Target

_CLASS_LIST = "classInd.txt"
_HEADS = ("", "_appearance", "_motion")
_TITLES = {"two_stream_fusion_vgg16": "VGG-16", "st_resnet50": "ResNet-50", "tsn_bn_inception": "BN-Inception",
           "tsn_inception_v3": "Inception-v3"}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Published:
  """What is known of a network whose weights are read.

  Attributes:
    first: name of a tower's first layer, without its stream.
    filters: of some layers at width 1, by name without the stream.
    parameters: of one tower at width 1, for an estimate of memory.
    motion_channels: of its motion input.
    mirrored: see `transfer.cross_modality`.
  """

  first: str
  filters: Mapping[str, int]
  parameters: float
  motion_channels: int
  mirrored: bool = False


# By builder. Of each number of channels that a network has one layer: thin ones round to the same at different widths.
NETWORKS = {
  "two_stream_fusion_vgg16": Published(
    "conv1_1", {f"conv{block}_1": filters for block, _, filters in two_stream.BLOCKS}, 134.7e6, two_stream.MOTION_CHANNELS
  ),
  "st_resnet50": Published(
    "conv1",
    {"conv1": 64, "res3a_branch2b": 128, "res4a_branch2b": 256, "res5a_branch2b": 512, "res4a_branch1": 1024, "res5a_branch1": 2048},
    27e6,
    two_stream.MOTION_CHANNELS,
    mirrored=True,
  ),
  "tsn_bn_inception": Published(
    "conv1_7x7_s2",
    {
      "inception_3a_pool_proj": 32, "conv1_7x7_s2": 64, "inception_3b_3x3": 96, "inception_4b_3x3": 128, "inception_4c_3x3": 160,
      "conv2_3x3": 192, "inception_4a_1x1": 224, "inception_4e_double_3x3_2": 256, "inception_5a_3x3": 320, "inception_5a_1x1": 352,
    },
    11e6,
    tsn.CHANNELS["motion"],
  ),
  "tsn_inception_v3": Published(
    "conv_Conv2D",
    {
      "conv_Conv2D": 32, "mixed_tower_conv_Conv2D": 48, "conv_2_Conv2D": 64, "conv_3_Conv2D": 80, "mixed_tower_1_conv_1_Conv2D": 96,
      "mixed_4_tower_conv_Conv2D": 128, "mixed_5_tower_conv_Conv2D": 160, "conv_4_Conv2D": 192, "mixed_9_conv_Conv2D": 320,
      "mixed_3_conv_Conv2D": 384, "mixed_9_tower_1_conv_Conv2D": 448,
    },
    22e6,
    tsn.CHANNELS["motion"],
  ),
}  # fmt: skip


def find_network(targets: Iterable[Target]) -> str | None:
  """Returns the builder of the network that has the layers of `targets`, None where there is none."""
  layers = {target.layer for target in targets}
  return next((name for name, known in NETWORKS.items() if any(f"{known.first}_{stream}" in layers for stream in two_stream.STREAMS)), None)


def infer_arguments(
  targets: Iterable[Target], where: str, said: Mapping[str, Any], network: str = "two_stream_fusion_vgg16"
) -> dict[str, Any]:
  """Returns the arguments of a network's builder that the kernels tell.

  Args:
    targets: of all files.
    where: the file or files, for the error.
    said: arguments that a file says in words, as the "input_size" and the "dropout" of our own VGG-16: sizes 224 to 255 have the
      same kernels.
    network: its builder.

  Returns:
    "width" and "classes" (a number); of a VGG-16 "input_size", "fc_units", "fusion", "base_classifier" and "dropout", of TSN's networks
    "stream", and what is said of the others, as far as they are told.

  Raises:
    UsageError: if the kernels are those of no such network of any width.
  """
  shapes = {target.layer: target.value.shape for target in targets if target.weight == "kernel" and target.value.ndim in (4, 5)}
  found: dict[str, Any] = {}
  known = NETWORKS[network].filters
  blocks = [(shapes[layer][-1], filters) for name, filters in known.items() for stream in two_stream.STREAMS
            if (layer := f"{name}_{stream}") in shapes]  # fmt: skip
  if blocks:
    widths = [filters / channels for filters, channels in reversed(blocks)]
    # Channels are rounded to 4: between these every width gives the same ones, 4 being what small ones become.
    low = max((filters - 2) / channels if filters > 4 else 0.0 for filters, channels in blocks)
    widths.append((low + min((filters + 2) / channels for filters, channels in blocks)) / 2)
    fitting = (w for w in widths if all(w and two_stream.scaled_channels(channels, w) == filters for filters, channels in blocks))
    found["width"] = next(fitting, None)
    if found["width"] is None:
      raise UsageError(
        f"{where}: expected the channels of a {_TITLES[network]}, {', '.join(map(str, known.values()))} times a width, "
        f"found {[f for f, _ in blocks]}."
      )
  counts = {shapes[f"prediction{suffix}"][-1] for suffix in _HEADS if f"prediction{suffix}" in shapes}
  if len(counts) > 1:
    raise UsageError(f"{where}: expected towers of the same classes, found classifiers of {sorted(counts)} classes.")
  if counts:
    found["classes"] = counts.pop()
  if network == "two_stream_fusion_vgg16":
    return found | _vgg16_arguments(shapes, where, said)
  if network != "st_resnet50":
    streams = [stream for stream in two_stream.STREAMS if f"{NETWORKS[network].first}_{stream}" in shapes]
    found["stream"] = streams[0] if len(streams) == 1 else tsn.BOTH
  return {**found, **said}


def _vgg16_arguments(shapes: Mapping[str, tuple[int, ...]], where: str, said: Mapping[str, Any]) -> dict[str, Any]:
  found: dict[str, Any] = {}
  for suffix in _HEADS:
    fc6, fc7 = shapes.get(f"fc6{suffix}"), shapes.get(f"fc7{suffix}")
    if not fc6:
      continue
    sides, units = {*fc6[:2]}, {fc6[-1], *(fc7[-2:] if fc7 else ())}
    told = {"input_size": 32 * fc6[0], "fc_units": fc6[-1]}
    if len(sides) > 1 or len(units) > 1 or not fc6[0] or any(found.get(key, value) != value for key, value in told.items()):
      raise UsageError(f"{where}: expected fc6 and fc7 of one square size in all towers, found fc6{suffix} {fc6}, fc7{suffix} {fc7}.")
    found |= told
  if "conv5_fusion" in shapes:
    found["fusion"] = "conv3x3x3" if len(shapes["conv5_fusion"]) == 5 else "conv1x1"
    if "fc6_appearance" not in shapes:
      found["base_classifier"] = False  # A fused network has no classifier of the appearance alone (METHOD 1.4).
  if "input_size" in found and said.get("input_size", 0) // 32 == found["input_size"] // 32:
    found["input_size"] = said["input_size"]
  return {**found, "dropout": said["dropout"]} if "dropout" in said else found


def check_memory(arguments: Mapping[str, Any], classes: int, where: str, network: str = "two_stream_fusion_vgg16") -> None:
  """Refuses a network that this machine cannot hold before it is built."""
  if network == "two_stream_fusion_vgg16":
    needed = _vgg16_bytes(arguments, classes)
  else:
    # Channels are 4 at least, so that a thin network is a little larger; both streams, whichever are meant.
    needed = int(4 * 2 * NETWORKS[network].parameters * arguments.get("width", 1.0) ** 2)
  free = limits.available_bytes()
  if needed > free:
    raise UsageError(f"{where}: the network needs {needed / 2**20:,.0f} MiB, and this machine has {free / 2**20:,.0f} MiB free.")


def _vgg16_bytes(arguments: Mapping[str, Any], classes: int) -> int:
  channels, kernels = two_stream.APPEARANCE_CHANNELS, 0
  for _, depth, base in two_stream.BLOCKS:
    filters = two_stream.scaled_channels(base, arguments.get("width", 1.0))
    kernels += 9 * filters * (channels + (depth - 1) * filters)
    channels = filters
  units = arguments.get("fc_units", 4096)
  head = (arguments.get("input_size", 224) // 32) ** 2 * channels * units + units * (units + classes)
  fusion = 2 * channels * channels * (27 if arguments.get("fusion") == "conv3x3x3" else 1)
  return 4 * (2 * kernels + fusion + 3 * head)


def find_classes(flag: str | None, told: Sequence[str] | None, count: int | None) -> tuple[tuple[str, ...], str]:
  """Returns the classes' names and who says so.

  Args:
    flag: value of --classes: a file of names or the name of a data set with official lists.
    told: names that the file tells; they may be those of the data set that it was trained on first.
    count: scores of the file's classifier, None where it has none.

  Raises:
    UsageError: if nobody tells, naming --classes.
  """
  known = {path.parent.name: path for path in sorted(resources.data_path("ucf101").parent.glob(f"*/{_CLASS_LIST}"))}
  if flag:
    if flag in known:
      return lists.read_classes(known[flag]), flag
    path = pathlib.Path(flag).expanduser()
    if not path.is_file():
      raise unknown_name("data set or file of classes", flag, known, "--classes")
    return _read_names(path), str(path)
  if told and count in (None, len(told)):
    return tuple(told), "the file"
  fitting = {name: names for name, path in known.items() if len(names := lists.read_classes(path)) == count}
  if len(fitting) != 1:
    has = f"has {count} scores" if count else "has no classifier"
    raise UsageError(f"--classes is required: the file {has} and names no classes. Expected a file of names or one of {', '.join(known)}.")
  (name,) = fitting
  return fitting[name], f"{name}, by their number; --classes can name others"


def _read_names(path: pathlib.Path) -> tuple[str, ...]:
  """Reads a classInd.txt, or a file of one name a line."""
  try:
    lines = [line.strip() for line in path.read_text().splitlines() if line.strip()]
  except (OSError, UnicodeDecodeError) as error:
    raise UsageError(f"--classes: expected a text file of names at {path}: {error}.") from error
  if lines and all(line.split()[0].isdigit() for line in lines):
    return lists.read_classes(path)
  if not lines or len(set(lines)) < len(lines):
    raise UsageError(f"--classes: expected different names in {path}, one a line, found {len(lines)} of which {len(set(lines))} differ.")
  return tuple(lines)
