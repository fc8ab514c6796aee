"""Small pieces of work for each verb, and what of them is finished: by that a disturbed run is compared with one that nobody disturbed."""

from __future__ import annotations

from collections.abc import Callable
import dataclasses
import hashlib
import json
import pathlib

import keras
import numpy as np

from tb_plugin import explanations
from tbvis import datasets, summaries
from tbvis.datasets import builder, catalogue, inventory, preparation, workroom
from tbvis.datasets.stage import film
from tbvis.diagnostics import predictions as predictions_lib
from tbvis.models import adoption
from tbvis.models import checkpoint as checkpoint_lib
from tests.datasets.conftest import write_video
from tests.faults.programs import Ended, Programs

CLASSES = ("Left", "Right")
_GROUPS = (1, 2, 8, 9, 23)
_TRAINED = 110
_STEPS, _STATES = 40, 3
_SCORES = np.array([[2.0, 1.0], [1.0, 2.0], [1.0, 2.0], [1.0, 3.0]])


@dataclasses.dataclass(frozen=True)
class State:
  """What a folder of outputs holds.

  Attributes:
    finished: by name of each finished thing a check sum of what it is, or "whole" where two runs may differ.
    progress: how far the work is, in any unit; it never goes back.
  """

  finished: dict[str, str]
  progress: float


@dataclasses.dataclass(frozen=True)
class Work:
  """A piece of work of one verb.

  Attributes:
    name: as people say it.
    verb: the program.
    arguments: of the program, from the folder of outputs.
    began: what it writes when there begins to be something to lose.
    state: reads a folder of outputs. What it cannot read though the program would take it for finished raises.
  """

  name: str
  verb: str
  arguments: Callable[[pathlib.Path], list[str]]
  began: str
  state: Callable[[pathlib.Path], State]


def _digest(*parts: bytes) -> str:
  return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


def _network() -> checkpoint_lib.Checkpoint:
  """Returns a network so small that its searches take no time beside what writes them: one layer a stream, and one for both."""
  keras.utils.set_random_seed(3)
  inputs = [keras.Input((32, 32, channels), name=name) for name, channels in (("picture", 3), ("flow", 20))]
  streams = [keras.layers.Conv2D(4, 5, strides=2, activation="relu", name=f"conv_{x.name}")(x) for x in inputs]
  both = keras.layers.GlobalAveragePooling2D(name="pool")(keras.layers.Concatenate(name="both")(streams))
  model = keras.Model(inputs, keras.layers.Dense(len(CLASSES), name="scores")(both))
  given = {stream: adoption.InputSettings(x.name) for stream, x in zip(("appearance", "motion"), inputs, strict=True)}
  made = adoption.adopt(model, CLASSES, **given)
  return dataclasses.replace(made, metadata={**made.metadata, "validation_groups": [8, 9]})


class World:
  """Inputs of all verbs, made once, and for each of them the result of a run that nobody disturbs.

  Args:
    folder: takes all of it.
    programs: starts programs.
  """

  def __init__(self, folder: pathlib.Path, programs: Programs):
    self.folder = folder
    self.programs = programs
    self._whole: dict[str, tuple[State, Ended]] = {}
    self._count = 0
    for label, name in enumerate(CLASSES):
      for group in _GROUPS:
        write_video(folder / "videos" / name / f"v_{name}_g{group:02d}_c01.avi", shift=3.0 if label else -3.0, seed=group)
    checkpoint_lib.save_checkpoint(_network(), folder / "net.keras")
    clips = tuple(f"v_{name}_g{group:02d}_c01" for name in CLASSES for group in (1, 2))
    predictions_lib.Predictions(clips, np.array([0, 0, 1, 1]), CLASSES, {"fused": _SCORES}).save(folder / "predictions.npz")

  def fresh(self) -> pathlib.Path:
    """Returns a folder for outputs that nothing is in."""
    self._count += 1
    self.last = self.folder / f"out{self._count:03d}"
    self.last.mkdir()
    return self.last

  def folder_of(self, work: Work) -> pathlib.Path:
    """Returns the folder of the run that nobody disturbed."""
    self.whole(work)
    return self.folder / f"whole_{work.name}"

  def run(self, work: Work, out: pathlib.Path, **how: object) -> Ended:
    """Runs a piece of work into a folder."""
    return self.programs.run(work.verb, work.arguments(out), self.folder / "log.txt", **how)

  def run_twice(self, work: Work, out: pathlib.Path) -> list[Ended]:
    """Runs a piece of work into a folder by two processes at once."""
    return self.programs.run_twice(work.verb, work.arguments(out), self.folder / "log.txt")

  def whole(self, work: Work) -> tuple[State, Ended]:
    """Returns what an undisturbed run leaves, and how it ended."""
    if work.name not in self._whole:
      out = self.folder / f"whole_{work.name}"
      out.mkdir()
      ended = self.run(work, out, began=work.began)
      assert ended.status == 0, ended.log[-3000:]
      self._whole[work.name] = work.state(out), ended
    return self._whole[work.name]

  def data(self) -> pathlib.Path:
    """Returns a folder with the prepared set."""
    folder = self.folder / "data"
    if not folder.exists():
      ended = self.run(self.preparing(), folder)
      assert ended.status == 0, ended.log[-3000:]
    return folder

  def preparing(self) -> Work:
    """Videos into a prepared set: a clip is finished when its encoded file is there."""
    videos = self.folder / "videos"
    found = catalogue.folder_catalogue(inventory.find_videos(videos), videos, dataset="v")

    def state(out: pathlib.Path) -> State:
      room = out / datasets.PREPARING_FOLDER / "v_split1_dis" / "clips"
      final = out / datasets.PREPARED_FOLDER / "v_split1_dis"
      if final.exists():
        # The list has the check sum of each clip's pictures, which were read back from the set.
        rows = preparation._read_csv(final / builder.CURRENT_VERSION / preparation.CLIPS)
        finished = {row["clip"]: row["crc32"] for row in rows} | {"the set": "whole"}
      else:
        finished = {}
        for task in workroom.plan(found.clips, "dis", room):
          if task.is_finished:
            encoded = workroom.read_clip(task.path)
            finished[task.clip.name] = f"{workroom.checksum([getattr(encoded, part) for part in workroom._PARTS]):08x}"
      return State(finished, len(finished))

    def arguments(out: pathlib.Path) -> list[str]:
      return [f"--videos={videos}", "--name=v", f"--data_dir={out}", "--processes=2"]

    return Work("preparing", "prepare", arguments, "Preparing", state)

  def filming(self) -> Work:
    """A class of the stage set, filmed: a clip is finished when the list of clips has it."""

    def state(out: pathlib.Path) -> State:
      root = out / "stage_videos"
      videos = {path.stem: path for path in root.glob("videos/*/v_*.avi")}
      finished = {name: _digest(videos[name].read_bytes()) for name in film._read_manifest(root)}
      return State(finished, len(finished))

    def arguments(out: pathlib.Path) -> list[str]:
      return ["--dataset=stage", "--stage_classes=PlayingViolin", "--groups=1,8", f"--data_dir={out}"]

    return Work("filming", "prepare", arguments, "Filming", state)

  def training(self) -> Work:
    """One phase: it is finished when the checkpoint tells of it, and on the way there its backup is what must not be lost."""
    data = self.data()

    def state(out: pathlib.Path) -> State:
      path, backup = out / "checkpoint.keras", out / "backup_appearance" / "state.npz"
      if path.exists():
        told = checkpoint_lib.load_checkpoint(path).metadata["training"]
        assert {"appearance_loss", "appearance_seconds", "validation_accuracy_appearance"} <= set(told), told
        return State({"the phase": "whole"}, _TRAINED)
      if not backup.exists():
        return State({}, 0)
      with np.load(backup) as stored:
        # The number of updates is the one whole number among the variables.
        return State({}, sum(int(stored[name]) for name in stored.files if stored[name].dtype.kind == "i"))

    def arguments(out: pathlib.Path) -> list[str]:
      return [
        f"--data_dir={data}", "--dataset=v_split1_dis", f"--output_dir={out}", "--network=c3d", "--chunks=2", "--width=0.06",
        "--fc_units=4", "--input_size=32", "--dropout=0", "--dtype=float32", "--validation_groups=9", f"--appearance_steps={_TRAINED}",
        "--appearance_batch_size=1",
      ]  # fmt: skip

    return Work("training", "train", arguments, "appearance training", state)

  def sweeping(self) -> Work:
    """Four stimuli in two batches: one is finished when its event is there; on the way the saved state of its batch counts."""

    def state(out: pathlib.Path) -> State:
      if not (out / "stimuli").is_dir():
        return State({}, 0)
      made = summaries.read_run(out, "stimuli").stimuli
      assert {s.key for s in made} == summaries.finished_stimuli(out, "stimuli")
      finished = {
        f"{s.unit} chi {s.chi:g}": _digest(
          repr(s.activation).encode(), *(np.ascontiguousarray(x).tobytes() for x in (s.appearance, s.motion) if x is not None),
          s.history["activation"].tobytes(), *(x.tobytes() for x in (s.kept.appearance, s.kept.motion) if x is not None),
        )
        for s in made
      }  # fmt: skip
      progress = float(len(finished) * _STEPS)
      for path in summaries.state_folder(out, "stimuli").glob("[!.]*.npz"):
        with np.load(path) as stored:
          progress = max(progress, len(finished) * _STEPS + float(stored["step"]))
      return State(finished, progress)

    def arguments(out: pathlib.Path) -> list[str]:
      return [
        f"--checkpoint={self.folder / 'net.keras'}", f"--logdir={out}", "--dtype=float32", "--units=prediction/*",
        "--chi=0,10", f"--steps={_STEPS}", "--batch_size=2", f"--save_every={_STATES}",
      ]  # fmt: skip

    return Work("sweeping", "maximize", arguments, "Plan:", state)

  def explaining(self) -> Work:
    """One pair: the stimuli of each seed are finished when their file is there, the explanation when its page, numbers and evidence are."""
    data = self.data()

    def state(out: pathlib.Path) -> State:
      finished = {}
      for path in out.glob("[!.]*"):
        if path.suffix == ".npz":
          with np.load(path) as stored:
            finished[path.name] = _digest(*(stored[name].tobytes() for name in sorted(stored.files)))
        elif path.suffix == ".html":
          page = path.read_bytes()
          assert page.rstrip().endswith(b"</html>"), f"{path} is half a page"
          finished[path.name] = _digest(page)
        elif path.suffix == ".json":
          finished[path.name] = _digest(json.dumps(json.loads(path.read_text()), sort_keys=True).encode())
      shown = out / "logs" / "evaluation" / "tbvis" / "explanations" / "0000_0001_fused.json"
      if shown.exists():
        found = explanations.parse(shown.read_bytes(), *CLASSES, "fused")
        finished["evidence"] = _digest(json.dumps(found, sort_keys=True).encode())
      return State(finished, len(finished))

    def arguments(out: pathlib.Path) -> list[str]:
      return [
        f"--checkpoint={self.folder / 'net.keras'}", f"--data_dir={data}", "--dataset=v_split1_dis", "--dtype=float32", "--pair=Left,Right",
        f"--predictions={self.folder / 'predictions.npz'}", f"--output_dir={out}", f"--logdir={out / 'logs'}", "--steps=10", "--seeds=2",
        "--snippets=1", "--permutations=99", "--shown=0", "--chi=0",
      ]  # fmt: skip

    return Work("explaining", "explain", arguments, "stimuli of", state)

  def all(self) -> list[Work]:
    """Returns a piece of work of each verb."""
    return [self.preparing(), self.training(), self.sweeping(), self.explaining()]
