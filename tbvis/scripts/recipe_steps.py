"""A recipe, one flagfile for every script, as a list of steps: from videos or imported weights to two classes side by side."""

from __future__ import annotations

from collections.abc import Sequence
import dataclasses
import pathlib
import urllib.parse

from absl import flags

from tbvis import datasets, files
from tbvis.datasets import lists
from tbvis.errors import UsageError
from tbvis.scripts.demo_steps import Step

_CLASS_UNIT = "prediction/"


@dataclasses.dataclass(frozen=True)
class Recipe:
  """What the steps need of a flagfile.

  Attributes:
    path: the file.
    dataset_name: name of the data set, as "ucf101".
    flow: how its optical flow is computed, as "tvl1".
    pair: the first two classes among --units, empty where there are fewer.
  """

  path: pathlib.Path
  dataset_name: str
  flow: str
  pair: tuple[str, ...]

  @property
  def name(self) -> str:
    """The file's name without its suffix; runs in the logdir begin with it."""
    return self.path.stem

  @property
  def kind(self) -> str:
    """What tbvis-prepare calls the data set: the one with lists whose name --name begins with, else a folder."""
    return next((name for name in lists.READERS if self.dataset_name.startswith(name)), "folder")

  @property
  def view(self) -> str:
    """The pair as the tab's address has it, empty without one."""
    return f"&p.tbvis.view={urllib.parse.quote('pair:' + '~'.join(self.pair), safe='~')}" if self.pair else ""


@dataclasses.dataclass(frozen=True)
class Plan:
  """The steps of a recipe, and what they leave where.

  Attributes:
    steps: in their order.
    state: file of what is finished.
    checkpoint: the network that is shown.
    predictions: its scores of the test clips.
    evaluation_run: run of the confusions in the logdir.
    stimuli_run: run of the stimuli.
  """

  steps: tuple[Step, ...]
  state: pathlib.Path
  checkpoint: pathlib.Path
  predictions: pathlib.Path
  evaluation_run: str
  stimuli_run: str


def read_recipe(path: pathlib.Path) -> Recipe:
  """Reads a flagfile and those that it names.

  Raises:
    UsageError: if there is none, or it does not say what is prepared by names that files can have.
  """
  if not path.is_file():
    raise UsageError(f"--recipe: expected a flagfile, found none at {path}.")
  try:
    texts = flags.FlagValues().read_flags_from_files([f"--flagfile={path}"])
  except (flags.Error, UnicodeDecodeError) as error:
    raise UsageError(f"--recipe: {path} cannot be read as a flagfile: {error}.") from error
  given = {}
  for text in texts:
    name, _, value = text.lstrip("-").partition("=")
    given[name] = value
  lacking = [f"--{name}" for name in ("name", "flow") if not given.get(name)]
  if lacking:
    raise UsageError(f"--recipe: expected {path} to have {' and '.join(lacking)}, which name the prepared set (as ucf101, tvl1).")
  for name in ("name", "flow"):
    if not files.PART_OF_NAME.fullmatch(given[name]):
      raise UsageError(f"--recipe: {path}: --{name}: expected a part of file names (letters, digits, _ . -), received {given[name]!r}.")
  classes = [unit.removeprefix(_CLASS_UNIT) for unit in given.get("units", "").split(",") if unit.startswith(_CLASS_UNIT)]
  pair = tuple(name for name in classes if name != "*")[:2]
  return Recipe(path, given["name"], given["flow"], pair if len(pair) == 2 else ())


def recipe_steps(
  recipe: Recipe,
  data_dir: pathlib.Path,
  logdir: pathlib.Path,
  *,
  videos: pathlib.Path | None,
  split: int = 1,
  checkpoint: pathlib.Path | None = None,
  imported: Sequence[str] = (),
  weights: Sequence[pathlib.Path] = (),
  start: pathlib.Path | None = None,
) -> Plan:
  """Returns the steps of a recipe. Scripts go on from what they find: no step removes what took hours, but the stimuli of another network.

  Args:
    recipe: the flagfile.
    data_dir: folder for everything but the logdir.
    logdir: folder that TensorBoard shows.
    videos: folder of videos; None where the set is prepared already.
    split: number of the official split.
    checkpoint: a network to show instead of training one.
    imported: flags of tbvis-import for released weights, which are shown instead of training.
    weights: the files that `imported` names.
    start: checkpoint that the training starts from.

  Raises:
    UsageError: if a network is given in two ways.
  """
  if bool(checkpoint) + bool(imported) + bool(start) > 1:
    raise UsageError("Expected one of --checkpoint, --weights and --start, received several.")
  dataset = f"{recipe.dataset_name}_split{split}_{recipe.flow}"
  # What is made of one set by one recipe stands apart from all else: ucf101_split1.flags makes ucf101_split1_tvl1.
  label = dataset if f"{dataset}_".startswith(f"{recipe.name}_") else f"{recipe.name}_{dataset}"
  of_set = (f"--data_dir={data_dir}", f"--dataset={dataset}")
  scores, training = data_dir / f"evaluation_{label}", data_dir / f"training_{label}"
  evaluation_run, stimuli_run = f"{label}_evaluation", f"{label}_stimuli"

  def step(
    name: str, title: str, arguments: Sequence[str], inputs: Sequence[pathlib.Path], *outputs: pathlib.Path, keeps: bool = True
  ) -> Step:
    report = data_dir / "reports" / f"{name}_{label}.json"
    arguments = (f"--flagfile={recipe.path}", *arguments, f"--json={report}")
    return Step(name, title, name, arguments, (*inputs, recipe.path), outputs, report, keeps)

  steps: list[Step] = []
  arguments: tuple[str, ...]
  if videos:
    arguments = (f"--dataset={recipe.kind}", f"--split={split}", f"--videos={videos}", f"--data_dir={data_dir}")
    steps.append(
      step("prepare", "Prepare the clips: frames and optical flow", arguments, (), data_dir / datasets.PREPARED_FOLDER / dataset)
    )
  # The reports of earlier steps stand for what these have made.
  made = tuple(s.report for s in steps if s.report)
  if imported:
    checkpoint = data_dir / f"imported_{label}.keras"
    steps.append(step("import", "Import the weights", (*imported, f"--out={checkpoint}"), weights, checkpoint))
  elif not checkpoint:
    checkpoint = training / "checkpoint.keras"
    arguments = (*of_set, f"--output_dir={training}", *((f"--start={start}",) if start else ()))
    inputs = (*made, *((start,) if start else ()))
    steps.append(step("train", "Train the network: appearance, motion, fusion", arguments, inputs, training))
  network = f"--checkpoint={checkpoint}"
  arguments = (network, *of_set, f"--output_dir={scores}", f"--logdir={logdir}", f"--run={evaluation_run}")
  title = "Score the test clips, and take the statistics of all units"
  steps.append(step("evaluate", title, arguments, (checkpoint, *made), scores, logdir / evaluation_run))
  statistics = scores / "statistics.npz"
  arguments = (network, *of_set, f"--statistics={statistics}", f"--logdir={logdir}", f"--run={stimuli_run}")
  # tbvis-maximize skips what it finds under the same unit and chi, whichever network it is of.
  steps.append(step("maximize", "Find the stimuli", arguments, (checkpoint, statistics), logdir / stimuli_run, keeps=False))
  state = data_dir / f"steps_{label}.json"
  return Plan(tuple(steps), state, checkpoint, scores / "predictions.npz", evaluation_run, stimuli_run)
