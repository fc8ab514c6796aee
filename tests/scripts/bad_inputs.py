"""What every flag of every script says to values that are none. Prints a table: python -m tests.scripts.bad_inputs

Flags are found in absl's registry, so that a new one is tried as well. Each script has a process of its own, in which command lines are
parsed and judged (`app.parse` and the script's `check_flags`) and no work is begun.
"""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import dataclasses
import importlib
import io
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import traceback

from absl import flags
from absl.testing import flagsaver

from tbvis import scripts
from tbvis.errors import UsageError
from tbvis.scripts import app

ROOT = pathlib.Path(__file__).resolve().parents[2]
_UNKNOWN = "no_such_name"
_NUMBERS = {
  "empty": "", "no number": "many", "nan": "nan", "infinite": "inf", "minus infinite": "-inf", "negative": "-3", "zero": "0",
  "huge": "1000000000000000000", "huge, as 1e18": "1e18", "huge, 10**30": str(10**30),
}  # fmt: skip
_WORDS = {
  "empty": "", "control character": "a\x07b", "no UTF-8": "a\udcffb", "unset variable": "$TBVIS_NO_SUCH/x", "unknown": _UNKNOWN,
  "below a file": "blocker/x", "5000 letters": "x" * 5000, "outside": "../../../proc/no/such",
}  # fmt: skip
_LISTS = {"an empty one": "a,,b", "not closed": 'a,"b'}
# What makes a command line of a script whole, and where a flag needs others, for which flags it stands instead.
_NETWORK, _MODEL, _OF_SET = ["--checkpoint=network.keras"], ["--model=network.keras"], ["--data_dir=data", "--dataset=set"]
_OF_MODEL = (
  "model", "appearance_input", "video_input", "motion_input", "appearance_scale", "appearance_offset", "appearance_mean", "motion_scale",
  "motion_offset", "model_classes", "model_outputs", "model_frames", "model_spacing", "model_size",
)  # fmt: skip
BASES: dict[str, list[tuple[list[str], tuple[str, ...]]]] = {
  "prepare": [
    (["--videos=videos", "--data_dir=out"], ()),
    (["--dataset=ucf101", "--frames_dir=videos", "--data_dir=out"], ("frames_dir", "flow_dir", "lists", "allow_missing", "split")),
    (["--dataset=ucf101", "--tfds=ucf101/ucf101_1", "--tfds_dir=data", "--data_dir=out"], ("tfds", "tfds_dir", "download")),
    (["--dataset=stage", "--data_dir=out"], ("stage_seed", "stage_script", "stage_classes", "stage_mask_action")),
  ],
  "train": [([*_OF_SET, "--output_dir=out"], ())],
  "evaluate": [
    ([*_NETWORK, *_OF_SET], ()),
    ([*_MODEL, *_OF_SET], _OF_MODEL),
    (["--predictions=scores.npz", "--normalise"], ("predictions", "lists", "prediction_towers", "prediction_weights", "normalise", "norm")),
  ],
  "maximize": [
    ([*_NETWORK, "--units=fc6/f001", "--logdir=out"], ()),
    ([*_MODEL, "--units=fc6/f001", "--logdir=out"], _OF_MODEL),
    ([*_NETWORK, *_OF_SET, "--statistics=scores.npz", "--units=fc6/f001", "--logdir=out"], ("data_dir", "dataset", "statistics")),
    ([*_NETWORK, "--units=fc6/f001", "--export=out", "--formats=png"], ("export", "formats")),
    ([*_NETWORK, "--units=f001", "--layers=fc6", "--logdir=out"], ("layers",)),
  ],
  "explain": [
    ([*_NETWORK, *_OF_SET, "--pair=A,B", "--logdir=out"], ()),
    ([*_MODEL, *_OF_SET, "--pair=A,B", "--logdir=out"], _OF_MODEL),
    ([*_NETWORK, *_OF_SET, "--top=2", "--logdir=out"], ("top",)),
  ],
  "analyze": [
    ([*_NETWORK, *_OF_SET, "--logdir=out"], ()),
    ([*_MODEL, *_OF_SET, "--logdir=out"], _OF_MODEL),
  ],
  "figure": [
    ([*_NETWORK, *_OF_SET, "--figure=fig", "--units=fc6/f001", "--output_dir=out"], ()),
    ([*_MODEL, *_OF_SET, "--figure=fig", "--units=fc6/f001", "--output_dir=out"], _OF_MODEL),
  ],
  "demo": [
    (["--data_dir=out", "--logdir=out"], ()),
    (["--data_dir=out", "--logdir=out", "--recipe=recipe.flags"], ("recipe", "videos", "split", "checkpoint", "start")),
    (["--data_dir=out", "--logdir=out", "--recipe=recipe.flags", "--weights=scores.npz", "--format=npz"], ("weights", "format")),
  ],
  "doctor": [([], ())],
  "import": [
    (["--weights=scores.npz", "--format=npz", "--out=out/a.keras"], ()),
    (["--weights=scores.npz", "--format=caffe", "--out=out/a.keras"], ("prototxt",)),
  ],
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Answer:
  """What a script says to a command line.

  Attributes:
    script: its verb.
    flag: the flag that is tried; "" of a conflict.
    kind: of the value.
    arguments: the flags that are tried.
    status: 2 if it refuses, 0 if it would go on, 1 for a traceback.
    said: its line, or the traceback.
    may_be_zero: whether the flag is a number within whose bounds zero lies.
  """

  script: str
  flag: str
  kind: str
  arguments: tuple[str, ...]
  status: int
  said: str
  may_be_zero: bool = False

  @property
  def is_clear(self) -> bool:
    """Whether it is refused in one line that names the flag; of a conflict one of those in question, as one that is missing."""
    named = f"--{self.flag}" in self.said
    return self.status == 2 and self.said.startswith(f"tbvis-{self.script}: error: ") and self.said.count("\n") == 1 and named


def modules() -> dict[str, str]:
  """Returns the modules of the scripts by their verbs: those with an entry. Two in one process would define their flags twice."""
  files = sorted(pathlib.Path(scripts.__path__[0]).glob("*.py"))
  return {path.stem.partition("_")[0]: f"{scripts.__name__}.{path.stem}" for path in files if "\ndef entry(" in path.read_text()}


def values(flag: flags.Flag) -> dict[str, str]:
  """Returns values that a flag may be given and hardly anybody can mean, by what they are."""
  parser = flag.parser
  if isinstance(parser, flags.BooleanParser):
    return {"empty": "", "no yes or no": "maybe", "number": "2", "nan": "nan"}
  if isinstance(parser, flags.EnumParser):
    return {"empty": "", "wrong case": parser.enum_values[0].swapcase(), "unknown": _UNKNOWN, "number": "1e18"}
  if isinstance(parser, flags.IntegerParser):
    return {**_NUMBERS, "fraction": "1.5"}
  if isinstance(parser, flags.FloatParser):
    return _NUMBERS
  if isinstance(parser, flags.ListParser):
    return {**_WORDS, **_LISTS, **{kind: text for kind, text in _NUMBERS.items() if text}}
  return _WORDS


def _answer(script: str, module: str, flag: str, kind: str, base: list[str], tried: tuple[str, ...]) -> Answer:
  program = importlib.import_module(module)
  sys.argv[0] = f"tbvis-{script}"
  said = io.StringIO()
  status = 0
  with flagsaver.flagsaver(), contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
    try:
      app.parse([f"tbvis-{script}", *base, *tried], module)
      program.check_flags()
    except SystemExit as error:
      status = int(error.code)
    except UsageError as error:
      # As `app.run` has it.
      status = 2
      said.write(f"tbvis-{script}: error: {' '.join(str(error).split())}\n")
    except BaseException:
      status = 1
      said.write(traceback.format_exc())
  # The next case must not find the folders that this one made.
  shutil.rmtree(_UNKNOWN, ignore_errors=True)
  parser = flags.FLAGS[flag].parser if flag else None
  may_be_zero = isinstance(parser, (flags.FloatParser, flags.IntegerParser)) and not parser.is_outside_bounds(0)
  return Answer(script, flag, kind, tried, status, said.getvalue(), may_be_zero)


CONFLICTS: dict[str, list[list[str]]] = {
  "prepare": [
    ["--videos=videos", "--frames_dir=videos", "--dataset=ucf101", "--data_dir=out"],
    ["--videos=videos", "--tfds=ucf101", "--dataset=ucf101", "--data_dir=out"],
    ["--videos=videos", "--flow_dir=videos", "--dataset=ucf101", "--data_dir=out"],
    ["--videos=videos", "--frames_dir=videos", "--data_dir=out"],
    ["--videos=videos", "--tfds_dir=data", "--data_dir=out"],
    ["--videos=videos", "--download", "--data_dir=out"],
    ["--videos=videos", "--lists=data", "--data_dir=out"],
    ["--videos=videos", "--allow_missing", "--data_dir=out"],
    ["--videos=videos", "--split=2", "--data_dir=out"],
    ["--videos=videos", "--clip_pattern=x", "--dataset=ucf101", "--data_dir=out"],
    ["--videos=videos", "--stage_seed=3", "--data_dir=out"],
    ["--videos=videos", "--stage_mask_action", "--data_dir=out"],
    ["--videos=videos", "--stage_classes=A,B", "--data_dir=out"],
    ["--frames_dir=videos", "--dataset=stage", "--data_dir=out"],
    ["--dataset=ucf101", "--data_dir=out"],
    ["--videos=videos"],
  ],
  "train": [
    [*_OF_SET, "--output_dir=out", "--start=network.keras", "--imagenet_weights=scores.npz"],
    [*_OF_SET, "--output_dir=out", "--motion_optimizer=adam", "--motion_weight_decay=1", "--motion_rates=prediction:1,1"],
    ["--output_dir=out", "--dataset=set"],
    ["--output_dir=out", "--data_dir=data"],
    _OF_SET,
  ],
  "evaluate": [
    [*_NETWORK, *_MODEL, *_OF_SET],
    [*_NETWORK, "--predictions=scores.npz"],
    [*_MODEL, "--predictions=scores.npz"],
    ["--predictions=scores.npz", "--data_dir=data"],
    ["--predictions=scores.npz", "--groups=1"],
    ["--predictions=scores.npz", "--blank=motion"],
    ["--predictions=scores.npz", "--statistics_groups=1"],
    ["--predictions=scores.npz", "--model_size=64"],
    ["--predictions=scores.npz", "--norm=l1"],
    [*_NETWORK, *_OF_SET, "--prediction_towers=motion"],
    [*_NETWORK, *_OF_SET, "--prediction_weights=1"],
    [*_NETWORK, *_OF_SET, "--normalise"],
    [*_NETWORK, *_OF_SET, "--norm=l1"],
    [*_NETWORK, *_OF_SET, "--motion_scale=2"],
    [*_MODEL, *_OF_SET, "--appearance_input=a", "--video_input=b"],
    [*_MODEL, *_OF_SET, "--motion_scale=1,2,3"],
    [*_MODEL, *_OF_SET, "--model_classes=a,b,a"],
    _OF_SET,
    [*_NETWORK, "--dataset=set"],
    [*_NETWORK, "--data_dir=data"],
  ],
  "maximize": [
    [*_NETWORK, *_MODEL, "--units=fc6/f001", "--logdir=out"],
    [*_NETWORK, "--units=fc6/f001"],
    [*_NETWORK, "--logdir=out"],
    [*_NETWORK, "--units=fc6/f001", "--layers=fc6", "--logdir=out"],
    [*_NETWORK, "--units=fc6/f001", "--chi=", "--logdir=out"],
    [*_NETWORK, "--units=fc6/f001", "--pictures=out", "--runner=DirectRunner", "--logdir=out"],
    [*_NETWORK, "--units=fc6/f001", "--export=out", "--runner=DirectRunner"],
    [*_NETWORK, *_OF_SET, "--units=fc6/f001", "--logdir=out"],
    [*_NETWORK, "--data_dir=data", "--statistics=scores.npz", "--units=fc6/f001", "--logdir=out"],
    [*_NETWORK, "--dataset=set", "--statistics=scores.npz", "--units=fc6/f001", "--logdir=out"],
    [*_NETWORK, "--units=fc6/f001", "--decorrelate", "--logdir=out"],
    [*_NETWORK, "--units=fc6/f001", "--decorrelate", "--parameterization=pixels", "--logdir=out"],
    [*_NETWORK, "--units=fc6/f001", "--beta1=1", "--logdir=out"],
    [*_NETWORK, "--units=fc6/f001", "--formats=", "--export=out"],
    [*_NETWORK, "--units=fc6/f001", "--model_frames=4", "--logdir=out"],
  ],
  "explain": [
    [*_NETWORK, *_MODEL, *_OF_SET, "--pair=A,B", "--logdir=out"],
    [*_NETWORK, *_OF_SET, "--pair=A,B", "--top=3", "--logdir=out"],
    [*_NETWORK, *_OF_SET, "--logdir=out"],
    [*_NETWORK, *_OF_SET, "--pair=A,A", "--logdir=out"],
    [*_NETWORK, *_OF_SET, "--pair=A", "--logdir=out"],
    [*_NETWORK, *_OF_SET, "--pair=A,B,C", "--logdir=out"],
    [*_NETWORK, *_OF_SET, "--pair=A,B"],
    [*_NETWORK, *_OF_SET, "--pair=A,B", "--chi=", "--logdir=out"],
    [*_NETWORK, "--data_dir=data", "--pair=A,B", "--logdir=out"],
    [*_NETWORK, "--dataset=set", "--pair=A,B", "--logdir=out"],
    [*_OF_SET, "--pair=A,B", "--logdir=out"],
  ],
  "analyze": [
    [*_NETWORK, *_MODEL, "--logdir=out"],
    [*_NETWORK, "--units=fc6/f001", "--layers=fc6", "--logdir=out"],
    [*_NETWORK, "--units=fc6/f001", "--per_layer=3", "--logdir=out"],
    [*_NETWORK, "--data_dir=data", "--logdir=out"],
    [*_NETWORK, "--dataset=set", "--logdir=out"],
    [*_NETWORK, "--chi=10", "--logdir=out"],
    [*_NETWORK, "--chi=10,10", "--logdir=out"],
    [*_NETWORK, "--seeds=1", "--logdir=out"],
    [*_NETWORK, "--findings=", "--logdir=out"],
    _NETWORK,
  ],
  "figure": [
    [*_NETWORK, *_MODEL, "--figure=fig", "--units=fc6/f001"],
    [*_NETWORK, "--figure=fig"],
    [*_NETWORK, "--units=fc6/f001"],
    [*_NETWORK, "--figure=fig", "--units=fc6/f001,fc6/f002", "--layout=settings"],
    [*_NETWORK, "--figure=fig", "--units=fc6/f001", "--pair=A"],
    [*_NETWORK, "--figure=fig", "--units=fc6/f001", "--pair=A,A"],
    [*_NETWORK, "--figure=fig", "--units=fc6/f001", "--regions"],
    [*_NETWORK, "--figure=fig", "--units=fc6/f001", "--dataset=set"],
    [*_NETWORK, "--figure=fig", "--units=fc6/f001", "--data_dir=data"],
    [*_NETWORK, "--figure=fig", "--units=fc6/f001", "--chi="],
    ["--figure=fig", "--units=fc6/f001", "--model_size=64"],
  ],
  "demo": [
    ["--data_dir=out", "--logdir=out", "--videos=videos"],
    ["--data_dir=out", "--logdir=out", "--split=2"],
    ["--data_dir=out", "--logdir=out", "--checkpoint=network.keras"],
    ["--data_dir=out", "--logdir=out", "--weights=scores.npz", "--format=npz"],
    ["--data_dir=out", "--logdir=out", "--recipe=recipe.flags", "--retrain"],
    ["--data_dir=out", "--logdir=out", "--recipe=recipe.flags", "--weights=scores.npz"],
    ["--data_dir=out", "--logdir=out", "--recipe=recipe.flags", "--format=npz"],
    ["--data_dir=out", "--logdir=out", "--recipe=recipe.flags", "--checkpoint=network.keras", "--start=network.keras"],
    ["--data_dir=out", "--logdir=out", "--recipe=recipe.flags", "--checkpoint=network.keras", "--weights=scores.npz", "--format=npz"],
  ],
  "doctor": [],
  "import": [
    ["--weights=scores.npz", "--format=npz"],
    ["--weights=scores.npz", "--out=out/a.keras"],
    ["--format=npz", "--out=out/a.keras"],
    ["--weights=scores.npz", "--format=npz", "--out=out/a.npz"],
    ["--weights=scores.npz", "--format=npz", "--prototxt=recipe.flags", "--out=out/a.keras"],
    ["--weights=appearance=scores.npz,motion=scores.npz", "--format=caffe", "--prototxt=recipe.flags", "--out=out/a.keras"],
    ["--weights=appearance=scores.npz,motion=scores.npz", "--stream=motion", "--format=npz", "--out=out/a.keras"],
    ["--weights=appearance=scores.npz,appearance=scores.npz", "--format=npz", "--out=out/a.keras"],
    ["--weights=appearance=", "--format=npz", "--out=out/a.keras"],
    ["--weights=scores.npz", "--format=npz", "--stream=motion", "--cross_modality", "--out=out/a.keras"],
  ],
}


# What goes on, since it means something or nobody can judge it before the network and the clips are read, by flag. "zero" of numbers
# that may be it is not listed: a bound of the flag says so.
_NAME = ("unknown", "below a file", "5000 letters", "outside", "unset variable")
_ANY_NAME = (*_NAME, "no number", "nan", "infinite", "minus infinite", "negative", "zero", "huge", "huge, as 1e18", "huge, 10**30")
_FOLDER = ("unknown",)
_SIGNED = ("negative", "zero")
MEANT: dict[str, tuple[str, ...]] = {
  **dict.fromkeys(("export", "json", "logdir", "output_dir", "out", "pictures", "stimuli_dir"), _FOLDER),
  **dict.fromkeys(("appearance_mean", "appearance_offset", "motion_offset"), ("empty", *_SIGNED)),
  **dict.fromkeys(("appearance_scale", "motion_scale"), ("empty", "negative")),
  # Layers and inputs of a network, names of a prepared set and its classes.
  **dict.fromkeys(("appearance_input", "video_input", "motion_input", "layer", "dataset", "host"), _NAME),
  **dict.fromkeys(("appearance_train_from", "motion_train_from", "fusion_train_from"), ("empty", *_NAME)),
  **dict.fromkeys(("import", "model_classes", "model_outputs", "classes", "clips", "layers", "units"), ("empty", *_ANY_NAME)),
  **dict.fromkeys(("appearance_rates", "motion_rates", "fusion_rates", "phases", "validation_groups"), ("empty",)),
  **dict.fromkeys(("prediction_towers", "stage_classes"), ("empty", *_ANY_NAME)),
  "prediction_weights": ("empty", "zero"),
  "chi": ("zero",),
  "isotropic": ("empty", "zero"),
  "pair": ("empty",),
  # Names of what is made, and free text.
  **dict.fromkeys(("run", "evaluation_run"), ("unknown", "below a file", "unset variable")),
  **dict.fromkeys(("figure", "name"), ("unknown",)),
  **dict.fromkeys(("title", "paper"), ("empty", *_NAME)),
  # What Python, TFDS and Beam make of it is told once they are loaded.
  **dict.fromkeys(("runner", "tfds"), _NAME),
  # Of one script alone.
  **dict.fromkeys(("prepare data_dir", "demo data_dir"), _FOLDER),
  **dict.fromkeys(("figure units", "maximize units"), _ANY_NAME),
  **dict.fromkeys(("analyze chi", "doctor logdir", "explain pair", "import out", "prepare dataset"), ()),
  "import classes": _NAME,
  "train start": ("empty",),
}
_NOT_ZERO = ("explain top",)


def expected_to_go_on(answer: Answer) -> bool:
  """Tells whether a script is right to go on."""
  name = f"{answer.script} {answer.flag}"
  if answer.kind == "zero" and answer.flag not in MEANT:
    return answer.may_be_zero and name not in _NOT_ZERO
  return answer.kind == "valid" or answer.kind in MEANT.get(name, MEANT.get(answer.flag, ()))


def _base(script: str, flag: str) -> list[str]:
  """Returns a command line of a script beside which a flag means something, without the flag."""
  chosen = next((base for base, of in BASES[script] if flag in of), BASES[script][0][0])
  # --model_size does not belong to --checkpoint: a base is chosen with care, and never has the flag twice.
  return [argument for argument in chosen if argument.partition("=")[0] != f"--{flag}"]


def _answers(script: str, module: str) -> Iterator[Answer]:
  for base, _ in BASES[script]:
    yield _answer(script, module, "", "valid", base, ())
  for flag in flags.FLAGS.get_key_flags_for_module(module):
    for kind, text in values(flag).items():
      yield _answer(script, module, flag.name, kind, _base(script, flag.name), (f"--{flag.name}={text}",))
  for arguments in CONFLICTS[script]:
    yield _answer(script, module, "", "conflict", [], tuple(arguments))


def _make_files(folder: pathlib.Path) -> None:
  """Makes what the bases name: files without content, which are looked at later."""
  for name in ("videos", "data", "out"):
    (folder / name).mkdir()
  for name in ("network.keras", "scores.npz", "blocker"):
    (folder / name).write_bytes(b"")
  (folder / "recipe.flags").write_text("--name=set\n--flow=dis\n")


def ask(script: str) -> list[Answer]:
  """Returns all answers of one script, from a process of its own in an empty folder."""
  with tempfile.TemporaryDirectory() as folder:
    _make_files(pathlib.Path(folder))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    command = [sys.executable, "-m", "tests.scripts.bad_inputs", script]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return [Answer(**{**row, "arguments": tuple(row["arguments"])}) for row in json.loads(done.stdout)]


def _short(text: str, longest: int) -> str:
  return text if len(text) <= longest else f"{text[: longest - 3]}..."


def table(answers: list[Answer]) -> str:
  """Returns the answers as a table in Markdown."""
  lines = ["| script | given | what it says |", "|---|---|---|"]
  for answer in answers:
    given = ascii(" ".join(_short(argument, 60) for argument in answer.arguments) or "(valid)")[1:-1]
    said = {0: "goes on", 1: answer.said.strip().rpartition("\n")[2]}.get(answer.status, answer.said.partition("error: ")[2].strip())
    said = _short(said, 300).replace("|", r"\|")
    lines.append(f"| {answer.script} | `{given}` | {said} |")
  return "\n".join(lines)


def main() -> None:
  """Prints the table of all scripts; with a script's verb its answers as JSON."""
  found = modules()
  if len(sys.argv) > 1:
    script = sys.argv[1]
    answers = [dataclasses.asdict(answer) for answer in _answers(script, found[script])]
    # Flags are judged before that is waited for.
    assert not {"tensorflow", "keras"} & set(sys.modules)
    json.dump(answers, sys.stdout)
    return
  print(table([answer for script in found for answer in ask(script)]))


if __name__ == "__main__":
  main()
