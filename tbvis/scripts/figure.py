"""Makes a figure of the paper from any two-stream network: PNG, playing HTML and GIF, with a caption that says what it is made of."""

from __future__ import annotations

import hashlib
import json
import pathlib
import time
from typing import TYPE_CHECKING, Any

from absl import flags

import tbvis
from tbvis import datasets, files, resources
from tbvis.errors import UsageError
from tbvis.maximization import config as config_lib
from tbvis.scripts import app, flag_values, networks

if TYPE_CHECKING:
  from tbvis.diagnostics.figures import figure
  from tbvis.models.checkpoint import Checkpoint

_LAYOUTS = ("rows", "settings", "line", "schematic")

_FIGURE = flags.DEFINE_string("figure", None, "Name of the figure and of its files, as fig11; the flagfiles of flags/figures set it.")
_TITLE = flags.DEFINE_string("title", "", "Its head line.")
_PAPER = flags.DEFINE_string("paper", "", "What the paper's figure shows, for the caption.")
_LAYOUT = flags.DEFINE_enum(
  "layout", "rows", _LAYOUTS,
  "rows: a row of units, a column a setting; settings: a row a setting of one unit; line: everything of a unit in one row; schematic: the "
  "network's own graph.",
)  # fmt: skip
_UNITS = flags.DEFINE_list(
  "units", [],
  "A row each, separated by commas: conv5_fusion/f021|Billiards is the paper's f021 with the authors' weights, and in any other network "
  "the unit that answers most to Billiards rather than to other classes (of two classes: YoYo+Nunchucks); fc6/PlayingFlute is always "
  "chosen so; conv3_3/f001-f025 is a mosaic; prediction/Archery a class.",
)  # fmt: skip
_UNIT_NUMBERS = flags.DEFINE_enum(
  "unit_numbers", "auto", ["auto", "paper", "class"],
  "Whether --units with | means the paper's numbers: auto, with the authors' weights (imported from MatConvNet, 101 classes, width 1).",
)  # fmt: skip
_CHI = flags.DEFINE_list("chi", ["10", "5", "1", "0"], "Temporal weights of the columns, slow ones large.")
_KAPPA = flags.DEFINE_float("kappa", 1.0, "Spatial weight beside them.", lower_bound=0)
_ISOTROPIC = flags.DEFINE_list("isotropic", [], "Columns of kappa = chi, before those of --chi, as 10,5,1.")
_CLIPS = flags.DEFINE_list("clips", [], "Classes of sample clips under the rows; own: each row's class, beside it.")
_CLIPS_EACH = flags.DEFINE_integer("clips_each", 1, "Clips of each class.", lower_bound=1, upper_bound=100)
_PAIR = flags.DEFINE_list("pair", [], "Two classes whose confusions the caption tells; clips taken for the other are shown first.")
_REGIONS = flags.DEFINE_bool("regions", False, "Measure the motion of the pair's clips where their stimuli move.")
_NETWORK = networks.Network("The network; by default the one that comes along (data/demo).")
_STATISTICS = flags.DEFINE_string(
  "statistics", None, "statistics.npz of tbvis-evaluate, by which units are chosen; the network that comes along has its own."
)
_PREDICTIONS = flags.DEFINE_string(
  "predictions", None, "predictions.npz of tbvis-evaluate, which has the confusions; with the network that comes along the demo's, if made."
)
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder given to tbvis-prepare, for sample clips; by default the demo's, if made.")
_DATASET = flags.DEFINE_string("dataset", None, "Name of the prepared set; by default stage_test_split1_dis, the demo's.")
_SPLIT = flags.DEFINE_string("split", "test", "Its split.")
_OUTPUT_DIR = flags.DEFINE_string("output_dir", "figures", "Folder of the figure's files.")
_STIMULI_DIR = flags.DEFINE_string(
  "stimuli_dir", None, "Folder of the stimuli, which figures share; by default stimuli in --output_dir. A second run goes on from there."
)
_STRIP = flags.DEFINE_integer("strip", 1, "Frames of each film of the rows that the PNG shows side by side.", lower_bound=1, upper_bound=10)
_SIDE = flags.DEFINE_integer("side", 128, "Height of a cell of the PNG, pixels.", lower_bound=16, upper_bound=1024)
_SEED = flags.DEFINE_integer("seed", 0, "Seed of the start noise and of the transforms.", lower_bound=0)
_PRESET = flags.DEFINE_enum("preset", "default", config_lib.PRESETS, "Constants of the search, see tbvis-maximize.")
_STEPS = flags.DEFINE_integer("steps", None, "Steps of the search; the preset's by default.", lower_bound=1, upper_bound=10_000_000)
_DTYPE = app.define_dtype("Number format of the network; auto is bfloat16 where the hardware has it.")
_JSON = app.define_json()

# Where scripts/demo puts what it makes.
_DEMO_DATA, _DEMO_SET = pathlib.Path("demo/data"), "stage_test_split1_dis"
_DEMO_PREDICTIONS = _DEMO_DATA / "evaluation" / "predictions.npz"
_ENDINGS = ("png", "html", "gif", "txt")


def _inputs() -> dict[str, Any]:
  """Returns the files that the figure is made of: what flags name, else what the demo has."""
  demo = not _NETWORK.is_given
  statistics = flag_values.expand_path(_STATISTICS.value, "statistics")
  predictions = flag_values.expand_path(_PREDICTIONS.value, "predictions")
  data_dir = flag_values.expand_path(_DATA_DIR.value, "data_dir")
  dataset = _DATASET.value or (_DEMO_SET if data_dir is None else None)
  if data_dir is None and (_DEMO_DATA / datasets.PREPARED_FOLDER / _DEMO_SET).is_dir():
    data_dir = _DEMO_DATA
  return {
    "checkpoint": resources.data_path("demo", "checkpoint.keras") if demo else _NETWORK.path(),
    "statistics": statistics or (resources.data_path("demo", "statistics.npz") if demo else None),
    "predictions": predictions or (_DEMO_PREDICTIONS if demo and _DEMO_PREDICTIONS.is_file() else None),
    "data_dir": data_dir,
    "dataset": dataset if data_dir is not None else None,
  }


def _fingerprint(inputs: dict[str, Any]) -> str:
  """Returns what changes with any flag that shapes the figure, and with the files that it is made of."""
  digest = hashlib.sha256()
  passing = {"output_dir", "stimuli_dir", "json", "checkpoint", "model", "statistics", "predictions", "data_dir"}
  mine = flags.FLAGS.get_key_flags_for_module(main.__module__)
  digest.update(json.dumps({flag.name: flag.value for flag in mine if flag.name not in passing}, sort_keys=True).encode())
  digest.update(f"{tbvis.__version__} {inputs['data_dir']} {inputs['dataset']}".encode())
  for name in ("checkpoint", "statistics", "predictions"):
    if inputs[name] and inputs[name].is_file():
      digest.update(inputs[name].read_bytes())
  return digest.hexdigest()[:16]


def _description() -> figure.Description:
  from tbvis.diagnostics.figures import figure, units
  from tbvis.maximization import planning

  chi, isotropic = flag_values.parse_floats(_CHI.value, "chi"), flag_values.parse_floats(_ISOTROPIC.value, "isotropic")
  settings = sorted(planning.settings(chi, _KAPPA.value, isotropic), key=lambda setting: not setting.isotropic)
  wishes = tuple(units.parse_wish(text) for text in _UNITS.value)
  return figure.Description(
    _LAYOUT.value, wishes, tuple(settings), tuple(_CLIPS.value), _CLIPS_EACH.value, tuple(_PAIR.value), _REGIONS.value, _STRIP.value
  )


def _sources(inputs: dict[str, Any], checkpoint: Checkpoint) -> figure.Sources:
  """Opens what the figure is made of; what was found rather than given is left aside where it is of other classes."""
  from tbvis.diagnostics import predictions as predictions_lib
  from tbvis.diagnostics import statistics
  from tbvis.diagnostics.figures import figure, units

  known = statistics.UnitStatistics.load(inputs["statistics"], classes=checkpoint.classes) if inputs["statistics"] else None
  predictions = None
  if inputs["predictions"]:
    predictions = predictions_lib.Predictions.load(inputs["predictions"])
    if _PREDICTIONS.value:
      predictions_lib.check_classes(checkpoint.classes, "the network", predictions.classes, str(inputs["predictions"]))
    elif predictions.classes != checkpoint.classes:
      predictions = None
  dataset = networks.open_clips(inputs["data_dir"], inputs["dataset"], checkpoint) if inputs["data_dir"] else None
  if dataset is not None and _SPLIT.value not in dataset.splits:
    raise UsageError(f"--split: expected one of {', '.join(dataset.splits)} of {dataset.name}, received {_SPLIT.value!r}.")
  by_paper = {"auto": units.is_authors(checkpoint), "paper": True, "class": False}[_UNIT_NUMBERS.value]
  return figure.Sources(checkpoint, known, predictions, dataset, _SPLIT.value, by_paper)


def _network(inputs: dict[str, Any], checkpoint: Checkpoint, key: str) -> str:
  size = f"{len(checkpoint.classes)} classes, width {checkpoint.arguments.get('width', 1.0):g}, crop {checkpoint.input_size} px"
  origin = "the network that comes along, trained on the synthetic stage set" if not _NETWORK.is_given else inputs["checkpoint"].name
  return f"Network: {origin} ({checkpoint.architecture}, {size}, weights {key[:8]})."


def _search_words(description: figure.Description, config: config_lib.MaximizationConfig) -> str:
  from tbvis.diagnostics.figures import figure

  settings = "; ".join(figure.setting_name(setting).split("\n")[0] for setting in description.settings)
  return (
    f"Stimuli: {settings}; {config.steps} steps, preset {_PRESET.value}, seed {_SEED.value}. Motion is coloured R = u, G = v, B = speed, "
    "each film on its own scale; under a film its activation in parts of a_hat (the unit's largest on held-out clips) and its mean "
    "speed where it moves (averaged by speed), pixels a frame. A still shows the frame in which most moves."
  )


def _make(name: str, inputs: dict[str, Any], folder: pathlib.Path) -> dict[str, Any]:
  """Makes and writes the figure; returns its numbers."""
  app.load_tensorflow()
  import dataclasses

  from tbvis import progress
  from tbvis.diagnostics.figures import figure, schematic, stimuli
  from tbvis.models import checkpoint as checkpoint_lib
  from tbvis.models import precision
  from tbvis.rendering import animation, grid

  title = _TITLE.value or name
  dtype = precision.resolve_dtype(_DTYPE.value)
  checkpoint = _NETWORK.open(dtype) if _NETWORK.is_given else checkpoint_lib.load_checkpoint(inputs["checkpoint"], dtype=dtype)
  base = folder / name
  intro = [f"The paper's figure: {_PAPER.value}"] if _PAPER.value else []
  if _LAYOUT.value == "schematic":
    from tbvis.diagnostics import passes

    drawn = schematic.drawings(checkpoint, title)
    caption = [*intro, "Drawn from the network's own graph.", _network(inputs, checkpoint, passes.network_key(checkpoint))]
    still, moving = drawn[-1].png(), animation.encode_gif([animation.decode(d.png())[0][::2, ::2] for d in drawn], milliseconds=1000)
    page, numbers = grid.page(title, (), caption, [drawn[-1].svg()]), {"stimuli": 0, "seconds_of_search": 0.0}
  else:
    description = _description()
    config = config_lib.MaximizationConfig.preset(_PRESET.value)
    # Kept steps are for the tab's pages.
    config = dataclasses.replace(config, steps=_STEPS.value or config.steps, kept_steps=0)
    sources = _sources(inputs, checkpoint)
    place = flag_values.expand_path(_STIMULI_DIR.value, "stimuli_dir") or folder / "stimuli"
    cabinet = stimuli.Cabinet(checkpoint, config, sources.statistics, place, _SEED.value)

    def begin(steps: int) -> Any:
      bar = progress.bar(total=steps, description=name, unit="step")

      def advance(count: int) -> None:
        bar.update(count)
        if bar.n >= steps:
          bar.close()

      return advance

    made = figure.make(description, sources, cabinet, begin)
    caption = [*intro, *made.said, _search_words(description, config), _network(inputs, checkpoint, cabinet.network)]
    still = animation.encode_png(grid.picture(title, made.blocks, _SIDE.value))
    moving = animation.encode_gif(grid.film(title, made.blocks, min(_SIDE.value, 112)), grid.MILLISECONDS)
    page, numbers = grid.page(title, made.blocks, caption, side=max(_SIDE.value, 128)), made.numbers
  contents = {"png": still, "gif": moving, "html": page.encode(), "txt": ("\n\n".join([title, *caption]) + "\n").encode()}
  for ending, content in contents.items():
    files.write_bytes(base.with_name(f"{base.name}.{ending}"), content)
  print("\n".join(caption))
  return {"figure": name, "title": title, "caption": caption, **numbers}


def check_flags() -> None:
  """Refuses what can be refused before TensorFlow is loaded, which takes seconds.

  Raises:
    UsageError: naming the flag.
  """
  name = _FIGURE.value
  if not name or not files.PART_OF_NAME.fullmatch(name):
    raise UsageError(f"--figure: expected a name such as fig11 (flags/figures/fig11.flags sets it), received {name!r}.")
  flag_values.check_name(name, "figure")
  if _NETWORK.is_given:
    _NETWORK.check()
  else:
    _NETWORK.refuse_stray()
  if _DATASET.value and not _DATA_DIR.value:
    raise UsageError("--data_dir: expected the folder of the prepared set that --dataset names, received none.")
  if _DATA_DIR.value and not _DATASET.value:
    raise UsageError("--dataset: expected the name of a prepared set beside --data_dir, received none.")
  if _LAYOUT.value != "schematic":
    if not _UNITS.value:
      raise UsageError("--units is required, such as --units=prediction/PlayingCello, or --layout=schematic. See --help.")
    if _LAYOUT.value == "settings" and len(_UNITS.value) != 1:
      raise UsageError(f"--units: expected one unit with --layout=settings, received {len(_UNITS.value)}.")
  if not flag_values.parse_floats(_CHI.value, "chi", low=0) + flag_values.parse_floats(_ISOTROPIC.value, "isotropic", low=0):
    raise UsageError("--chi: expected at least one value of --chi or --isotropic, received none.")
  flag_values.check_pair(_PAIR.value)
  if _REGIONS.value and not _PAIR.value:
    raise UsageError("--regions: expected --pair with it, whose clips are measured.")
  flag_values.existing_path(_STATISTICS.value, "statistics")
  flag_values.existing_path(_PREDICTIONS.value, "predictions")
  flag_values.existing_path(_DATA_DIR.value, "data_dir", "folder")
  flag_values.check_split(_SPLIT.value)
  flag_values.output_folder(flag_values.required(_OUTPUT_DIR.value, "output_dir"), "output_dir")
  flag_values.output_folder(_STIMULI_DIR.value, "stimuli_dir")
  flag_values.output_file(_JSON.value, "json")


def main() -> None:
  """Runs the script."""
  check_flags()
  name, folder = flag_values.required(_FIGURE.value, "figure"), flag_values.required_path(_OUTPUT_DIR.value, "output_dir")
  inputs = _inputs()
  told = folder / f"{name}.json"
  fingerprint = _fingerprint(inputs)
  if told.is_file() and all((folder / f"{name}.{ending}").is_file() for ending in _ENDINGS):
    try:
      before = json.loads(told.read_text(encoding="utf-8"))
    except ValueError:
      before = {}
    if before.get("made_of") == fingerprint:
      print(f"{name}: finished by an earlier run in {folder}.")
      app.report_json(_JSON.value, before)
      return
  started = time.monotonic()
  numbers = _make(name, inputs, folder)
  numbers |= {"made_of": fingerprint, "seconds": round(time.monotonic() - started, 1)}
  # Last: it says that the others are whole.
  files.write_json(told, numbers)
  app.report_json(_JSON.value, numbers)
  print(f"{folder / name}.png, .html, .gif: {numbers['stimuli']} stimuli, {numbers['seconds']} s.")


def entry() -> None:
  """Console script."""
  app.run(main)


if __name__ == "__main__":
  entry()
