"""Which network a script works on: a checkpoint of ours, or any Keras model, adopted as it is read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
import hashlib
import json
import pathlib
import tempfile
from typing import TYPE_CHECKING, Any

from absl import flags

from tbvis import startup
from tbvis.errors import UsageError
from tbvis.scripts import flag_values

if TYPE_CHECKING:
  from tbvis.datasets.reader import PreparedDataset
  from tbvis.models.adoption import InputSettings
  from tbvis.models.checkpoint import Checkpoint

# A flag defined by a function of this module belongs to the script that calls it.
flags.disclaim_key_flags()
_CHECKPOINT_HELP = "The network: a .keras file of tbvis-train or tbvis-import. May name environment variables."


class Network:
  """The flags that name a network, and what they name.

  Args:
    checkpoint_help: of --checkpoint.
  """

  def __init__(self, checkpoint_help: str = _CHECKPOINT_HELP):
    text, several, number = flags.DEFINE_string, flags.DEFINE_list, flags.DEFINE_integer
    self._checkpoint = text("checkpoint", None, checkpoint_help)
    self._model = text("model", None, "Instead of --checkpoint: a Functional or Sequential Keras model (.keras, .h5); docs/YOUR_MODEL.md.")
    self._modules = several(
      "import", [], "Python modules, of the current folder or installed, that register the layers of --model or of a checkpoint made of it."
    )
    scaled = "The model is given scale * x + offset, x being {}; one number{}."
    grey, flow = "a frame minus --appearance_mean", "a flow of which 1 is 40/255 pixel a frame"
    self._of_model: dict[str, flags.FlagHolder[Any]] = {
      "appearance_input": text("appearance_input", None, "Input of --model for pictures, (H, W, 3), or films, (T, H, W, 3)."),
      "video_input": text("video_input", None, "Input of --model for films, (T, H, W, 3)."),
      "motion_input": text("motion_input", None, "Input of --model for flow: (H, W, 2 L), channels u1 v1 u2 v2 ..., or (T, H, W, 2)."),
      "appearance_scale": several("appearance_scale", [], scaled.format(grey, " or three (R, G, B); 1 by default")),
      "appearance_offset": several("appearance_offset", [], scaled.format(grey, " or three; 0 by default")),
      "appearance_mean": several("appearance_mean", [], "What is taken off a frame of 0 to 255: a number or R,G,B; 127.5 by default."),
      "motion_scale": several("motion_scale", [], scaled.format(flow, "; 1 by default")),
      "motion_offset": several("motion_offset", [], scaled.format(flow, "; 0 by default")),
      "model_classes": several("model_classes", [], "Names of its classes in the order of its scores, or a .txt file with one a line."),
      "model_outputs": several("model_outputs", [], "Layers of --model that give its scores; its outputs by default."),
      "model_frames": number("model_frames", None, "Frames of a film, where its input leaves that open; 16 by default.", 2, 1000),
      "model_spacing": number("model_spacing", None, "Frames of a clip from one of a film to the next; 1 by default.", 1, 1000),
      "model_size": number("model_size", None, "Side of its training crop, where inputs leave that open; 224 by default.", 8, 2048),
    }  # fmt: skip

  @property
  def is_given(self) -> bool:
    """Whether a network is named at all."""
    return bool(self._checkpoint.value or self._model.value)

  @property
  def flag(self) -> str:
    """Name of the flag that names it."""
    return "model" if self._model.value else "checkpoint"

  @property
  def modules(self) -> tuple[str, ...]:
    """Modules that other processes import before they read the network."""
    return tuple(self._modules.value)

  def check(self) -> None:
    """Checks what can be checked before TensorFlow is loaded.

    Raises:
      UsageError: for both or neither of --checkpoint and --model, flags of --model without it, or values of another kind.
    """
    if self._checkpoint.value and self._model.value:
      raise UsageError("Expected --checkpoint or --model, received both.")
    if not self.is_given:
      raise UsageError("--checkpoint is required, or --model. See --help.")
    self.refuse_stray()
    if self._model.value:
      self._given()
      self._classes()
    flag_values.existing_path(self._model.value or self._checkpoint.value, self.flag)

  def refuse_stray(self) -> None:
    """Refuses flags of --model without it.

    Raises:
      UsageError: naming the first.
    """
    stray = [name for name, holder in self._of_model.items() if holder.value]
    if stray and not self._model.value:
      raise UsageError(f"--{stray[0]} is for --model, which is not given.")

  def path(self) -> pathlib.Path:
    """Returns the file that --checkpoint or --model names."""
    return flag_values.required_path(self._model.value or self._checkpoint.value, self.flag)

  def open(self, dtype: str) -> Checkpoint:
    """Reads the network.

    Args:
      dtype: Keras dtype policy of a checkpoint; a model of others keeps its own.

    Raises:
      UsageError: if it cannot be read.
    """
    from tbvis.models import checkpoint as checkpoint_lib

    startup.import_modules(self.modules)
    return self._adopted() if self._model.value else checkpoint_lib.load_checkpoint(self.path(), dtype=dtype)

  def saved(self, folder: pathlib.Path | None) -> pathlib.Path:
    """Returns a checkpoint's file that other processes can read: --checkpoint, or --model adopted and kept in `folder`.

    Its name changes with the model and with everything that is said of it, and what is there is not made again. Without a folder it is
    kept as long as this process lasts.
    """
    if not self._model.value:
      return self.path()
    from tbvis import limits
    from tbvis.models import checkpoint as checkpoint_lib

    startup.import_modules(self.modules)
    model = self.path()
    limits.read_file(model, "a Keras model")
    digest = hashlib.sha256(model.read_bytes())
    digest.update(json.dumps({name: holder.value for name, holder in self._of_model.items()} | {"classes": self._classes()}).encode())
    if folder is None:
      self._temporary = tempfile.TemporaryDirectory()
      folder = pathlib.Path(self._temporary.name)
    place = folder / f"{model.stem}_{digest.hexdigest()[:12]}.keras"
    if not place.is_file():
      checkpoint_lib.save_checkpoint(self._adopted(), place)
    return place

  def _adopted(self) -> Checkpoint:
    from tbvis.models import adoption

    chosen, numbers = self._given()
    optional = {
      "input_size": self._of_model["model_size"].value,
      "frames": self._of_model["model_frames"].value,
      "spacing": self._of_model["model_spacing"].value,
      "appearance_mean": numbers["appearance_mean"],
    }
    settings: dict[str, InputSettings] = {}
    for stream, name in chosen.items():
      about = {part: numbers[f"{stream}_{part}"] for part in ("scale", "offset") if numbers[f"{stream}_{part}"] is not None}
      settings[stream] = adoption.InputSettings(name, **about)
    return adoption.adopt(
      self.path(), self._classes(), appearance=settings.get("appearance"), motion=settings.get("motion"),
      outputs=self._of_model["model_outputs"].value, is_film=bool(self._of_model["video_input"].value),
      **{name: value for name, value in optional.items() if value is not None},
    )  # fmt: skip

  def _given(self) -> tuple[dict[str, str | None], dict[str, Any]]:
    """Returns names of inputs by stream, and numbers by flag, None where none are given."""
    values = {name: holder.value for name, holder in self._of_model.items()}
    if values["appearance_input"] and values["video_input"]:
      raise UsageError("--video_input is an --appearance_input that is a film: expected one of them, received both.")
    names = {"appearance": values["appearance_input"] or values["video_input"], "motion": values["motion_input"]}
    numbers: dict[str, Any] = {}
    for flag in ("appearance_scale", "appearance_offset", "appearance_mean", "motion_scale", "motion_offset"):
      found = flag_values.parse_floats(values[flag], flag)
      wanted = (0, 1) if flag.startswith("motion") else (0, 1, 3)
      if len(found) not in wanted:
        raise UsageError(f"--{flag}: expected {' or '.join(map(str, wanted[1:]))} numbers, received {len(found)}.")
      if flag.endswith("_scale") and 0 in found:
        raise UsageError(f"--{flag}: expected numbers other than 0, received {','.join(values[flag])!r}.")
      numbers[flag] = None if not found else found[0] if len(found) == 1 else found
    mean = numbers["appearance_mean"]
    numbers["appearance_mean"] = (mean,) * 3 if isinstance(mean, float) else mean
    # What is said of an input without its name means the only one.
    said = {stream: any(numbers[f"{stream}_{part}"] is not None for part in ("scale", "offset")) for stream in names}
    return {stream: name for stream, name in names.items() if name or said[stream]}, numbers

  def _classes(self) -> Sequence[str]:
    """Returns the names of --model_classes.

    Raises:
      UsageError: if they are in a file that cannot be read, or two are the same.
    """
    given = self._of_model["model_classes"].value
    if len(given) == 1 and given[0].endswith(".txt"):
      path = flag_values.given(flag_values.existing_path(given[0], "model_classes"), "model_classes")
      try:
        given = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
      except (OSError, ValueError) as error:
        raise UsageError(f"--model_classes: expected a text file with a name a line at {path}; {error}.") from error
    if len(set(given)) < len(given):
      raise UsageError(f"--model_classes: expected names that differ, received {max(given, key=given.count)!r} twice.")
    return given


def check_groups(dataset: PreparedDataset, split: str, groups: Iterable[int] | None, flag: str) -> None:
  """Checks that clips of some groups are there, before work on others begins.

  Raises:
    UsageError: if groups are given and none is there.
  """
  if groups is None:
    return
  there = dataset.groups(split)
  if set(groups).isdisjoint(there):
    shown = ", ".join(map(str, there[:20])) + (", ..." if len(there) > 20 else "")
    received = ", ".join(map(str, sorted(groups)[:20]))
    raise UsageError(f"--{flag}: expected groups of the {split} clips of {dataset.name!r} ({shown}), received {received}.")


def open_clips(data_dir: pathlib.Path, name: str, checkpoint: Checkpoint) -> PreparedDataset:
  """Opens a prepared set for a network; of a set with more classes than the network knows, the clips of its own."""
  from tbvis.datasets import reader

  dataset = reader.open_dataset(data_dir, name)
  if not set(checkpoint.classes) < set(dataset.classes):
    return dataset
  print(f"The network knows {len(checkpoint.classes)} of the {len(dataset.classes)} classes of {dataset.name}; the others are left out.")
  return dataset.of_classes(checkpoint.classes)
