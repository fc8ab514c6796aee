"""A recipe, one flagfile for every script, as a list of steps: from videos or imported weights to two classes side by side."""

from __future__ import annotations

from collections.abc import Sequence
import dataclasses
import pathlib
import urllib.parse

from absl import flags

from tbvis.errors import UsageError
from tbvis.scripts.demo_steps import Step

# What tbvis-prepare calls the data sets whose lists it knows; a recipe's --name begins with one of them.
_KNOWN = ("ucf101", "hmdb51", "kinetics400")
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
    """What tbvis-prepare calls the data set."""
    return next((name for name in _KNOWN if self.dataset_name.startswith(name)), "folder")

  @property
  def view(self) -> str:
    """The pair as the tab's address has it, empty without one."""
    return f"&p.tbvis.view={urllib.parse.quote('pair:' + '~'.join(self.pair), safe='~')}" if self.pair else ""


def read_recipe(path: pathlib.Path) -> Recipe:
  """Reads a flagfile and those that it names.

  Raises:
    UsageError: if there is none, or it does not say what is prepared.
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
  start: pathlib.Path | None = None,
) -> list[Step]:
  """Returns the steps of a recipe. Each script goes on from what it finds, so no step removes what another run has made.

  Args:
    recipe: the flagfile.
    data_dir: folder for everything but the logdir.
    logdir: folder that TensorBoard shows.
    videos: folder of videos; None where the set is prepared already.
    split: number of the official split.
    checkpoint: a network to show instead of training one.
    imported: flags of tbvis-import for released weights, which are shown instead of training.
    start: checkpoint that the training starts from.

  Raises:
    UsageError: if a network is given in two ways.
  """
  if bool(checkpoint) + bool(imported) + bool(start) > 1:
    raise UsageError("Expected one of --checkpoint, --weights and --start, received several.")
  dataset = f"{recipe.dataset_name}_split{split}_{recipe.flow}"
  of_set = (f"--data_dir={data_dir}", f"--dataset={dataset}")
  scores, training = data_dir / "evaluation", data_dir / "training"
  runs = {which: f"{recipe.name}_{which}" for which in ("evaluation", "stimuli")}

  def step(name: str, title: str, arguments: Sequence[str], inputs: Sequence[pathlib.Path], output: pathlib.Path) -> Step:
    report = data_dir / "reports" / f"{name}.json"
    arguments = (f"--flagfile={recipe.path}", *arguments, f"--json={report}")
    return Step(name, title, name, arguments, (*inputs, recipe.path), (output,), report, keeps=True)

  steps = []
  if videos:
    arguments = (f"--dataset={recipe.kind}", f"--split={split}", f"--videos={videos}", f"--data_dir={data_dir}")
    steps.append(step("prepare", "Prepare the clips: frames and optical flow", arguments, (), data_dir / "action_clips" / dataset))
  # The reports of earlier steps stand for what these have made.
  made = tuple(s.report for s in steps)
  if imported:
    checkpoint = data_dir / "imported.keras"
    steps.append(step("import", "Import the weights", (*imported, f"--out={checkpoint}"), (), checkpoint))
  elif not checkpoint:
    checkpoint = training / "checkpoint.keras"
    arguments = (*of_set, f"--output_dir={training}", *((f"--start={start}",) if start else ()))
    steps.append(step("train", "Train the network: appearance, motion, fusion", arguments, made, training))
  network = f"--checkpoint={checkpoint}"
  arguments = (network, *of_set, f"--output_dir={scores}", f"--logdir={logdir}", f"--run={runs['evaluation']}")
  steps.append(step("evaluate", "Score the test clips, and take the statistics of all units", arguments, (checkpoint, *made), scores))
  statistics = scores / "statistics.npz"
  arguments = (network, f"--statistics={statistics}", f"--logdir={logdir}", f"--run={runs['stimuli']}")
  steps.append(step("maximize", "Find the stimuli", arguments, (checkpoint, statistics), logdir / runs["stimuli"]))
  return steps
