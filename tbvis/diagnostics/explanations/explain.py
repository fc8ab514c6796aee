"""Explaining a confusion: from stimuli to hypotheses, from hypotheses to tests on clips that made none of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
import dataclasses
import pathlib
from typing import Any

import numpy as np

from tbvis import progress
from tbvis.datasets import reader as reader_lib
from tbvis.datasets.snippets import PUBLISHED_SIZE
from tbvis.diagnostics import passes
from tbvis.diagnostics import probes as probes_lib
from tbvis.diagnostics.explanations import clips as clips_lib
from tbvis.diagnostics.explanations import films, hypotheses, permutations, trials, verdicts
from tbvis.diagnostics.explanations import stimuli as stimuli_lib
from tbvis.diagnostics.explanations.record import Explanation
from tbvis.diagnostics.predictions import Predictions
from tbvis.errors import UsageError, unknown_name
from tbvis.maximization import config as config_lib
from tbvis.models import checkpoint as checkpoint_lib


@dataclasses.dataclass(frozen=True)
class ExplainConfig:
  """How a confusion is explained.

  Attributes:
    chi: temporal weights of the stimuli.
    seeds: of their starts, at least two.
    maximization: constants of the search.
    snippets: snippets a clip.
    permutations: of every test.
    shown: clips of each kind that the page plays.
    layer: where Grad-CAM is taken for them.
  """

  chi: tuple[float, ...] = (10.0, 0.0)
  seeds: tuple[int, ...] = (0, 1, 2, 3)
  maximization: config_lib.MaximizationConfig = dataclasses.field(default_factory=config_lib.MaximizationConfig)
  snippets: int = 3
  permutations: int = permutations.PERMUTATIONS
  shown: int = 4
  layer: str = "conv5_3"


@dataclasses.dataclass(frozen=True)
class Confusion:
  """Which test clips of a class were taken for another, and which were recognised.

  Attributes:
    classes: the clips' class and the one they were taken for.
    tower: whose predictions.
    confused: names of clips.
    right: names of clips.
    total: number of clips of the class.
  """

  classes: tuple[str, str]
  tower: str
  confused: frozenset[str]
  right: frozenset[str]
  total: int


def confusion_of(predictions: Predictions, a: str, b: str, tower: str) -> Confusion:
  """Finds the clips of a class that a tower took for another.

  Raises:
    UsageError: for an unknown class or tower.
  """
  for name in (a, b):
    if name not in predictions.classes:
      raise unknown_name("class", name, predictions.classes)
  predicted = predictions.predicted(tower)
  first, second = (predictions.classes.index(name) for name in (a, b))
  of_class = predictions.labels == first

  def named(chosen: np.ndarray) -> frozenset[str]:
    return frozenset(name for name, is_chosen in zip(predictions.clips, chosen, strict=True) if is_chosen)

  return Confusion((a, b), tower, named(of_class & (predicted == second)), named(of_class & (predicted == first)), int(of_class.sum()))


def explain(
  checkpoint: checkpoint_lib.Checkpoint,
  dataset: reader_lib.ClipSet,
  confusion: Confusion,
  config: ExplainConfig = ExplainConfig(),
  *,
  split: str = "test",
  held_out: tuple[str, Sequence[int] | None] = ("train", None),
  a_hat: Any = None,
  folder: pathlib.Path | None = None,
) -> Explanation:
  """Explains one confusion.

  Args:
    checkpoint: the network.
    dataset: the prepared set that has the clips.
    confusion: which clips.
    config: how.
    split: where the clips are.
    held_out: split and groups of clips that the network was not trained on and that are not tested: they tell how the classes
      differ on each probe.
    a_hat: see `tbvis.maximize`.
    folder: where finished stimuli are kept, so that another call goes on from them.

  Raises:
    UsageError: if there are no clips of a class to learn from.
  """
  a, b = confusion.classes
  labels = [dataset.classes.index(name) for name in (a, b)]
  stimuli = _make_stimuli(checkpoint, confusion, config, a_hat, folder)
  pixel = PUBLISHED_SIZE / checkpoint.input_size
  found = stimuli.measure(probes_lib.PROBES, checkpoint.appearance_mean, pixel)
  probes = (*probes_lib.PROBES, *stimuli.regions(range(len(stimuli.seeds))))[: found.shape[-1]]
  measurer = clips_lib.Measurer(checkpoint, a, b, confusion.tower, probes)

  held_split, groups = held_out

  def held_out_clips() -> Iterator[passes.ClipSnippets]:
    return clips_lib.read(checkpoint, dataset, held_split, labels, groups, config.snippets)

  measurer.learn_usual(held_out_clips())
  learned = clips_lib.measure(held_out_clips(), measurer, f"held-out clips of {a} and {b}")
  sides, usual_sides = _by_class(learned.values, learned.labels, labels), _by_class(learned.usual, learned.labels, labels)
  for name, side in zip((a, b), sides, strict=True):
    if len(side) < 2:
      raise UsageError(f"Expected two held-out clips of {name} or more, found {len(side)} in groups {groups} of {held_split!r}.")
  ranked = hypotheses.rank_hypotheses(probes, found[0], found[1], sides, config.permutations)
  centers, usual_centers = ([permutations.mean_of_known(side) for side in of_both] for of_both in (sides, usual_sides))

  tested = clips_lib.measure(
    clips_lib.read(checkpoint, dataset, split, labels[:1], None, config.snippets, confusion.confused | confusion.right),
    measurer, f"clips of {a}", len(confusion.confused | confusion.right),
  )  # fmt: skip
  order = [probes.index(h.probe) for h in ranked]
  right = clips_lib.read(checkpoint, dataset, split, labels[:1], None, config.snippets, confusion.right)
  # What clips of both classes differ in the other way round foretells nothing.
  moves = {
    h.probe: (centers[0][i], centers[1][i]) for h, i in zip(ranked, order, strict=True) if (centers[1][i] - centers[0][i]) * h.effect > 0
  }
  foretold, always = trials.run(checkpoint, right, (a, b), confusion.tower, moves, config.permutations)
  confused = np.array([name in confusion.confused for name in tested.names], bool)
  trial = verdicts.Trial(
    tuple(ranked), tested.names, tested.groups, confused,
    (
      verdicts.Measurements(tested.values[:, order], (centers[0][order], centers[1][order])),
      verdicts.Measurements(tested.usual[:, order], (usual_centers[0][order], usual_centers[1][order])),
    ),
    {probe.name: test for probe, test in foretold.items()}, config.permutations,
  )  # fmt: skip
  return Explanation(
    classes=(a, b),
    tower=confusion.tower,
    confused=len(confusion.confused),
    total=confusion.total,
    stimuli=stimuli,
    trial=trial,
    judged=trial.judge(),
    interventions=always,
    measured={
      probe.name: {
        f"stimuli of {a}": found[0, ..., i].ravel(),
        f"stimuli of {b}": found[1, ..., i].ravel(),
        f"held-out clips of {a}": sides[0][:, i],
        f"held-out clips of {b}": sides[1][:, i],
        f"test clips taken for {b}": tested.values[confused, i],
        f"test clips known as {a}": tested.values[~confused, i],
      }
      for i, probe in enumerate(probes)
    },
    clips=films.play(checkpoint, dataset, split, labels[0], _shown(confusion, config.shown), confusion.tower, config.layer),
    settings={
      "network": checkpoint.architecture,
      "data set": f"{dataset.name}, split {split}; held-out clips: {held_split}, groups {groups if groups is not None else 'all'}",
      "chi": ", ".join(f"{chi:g}" for chi in config.chi),
      "seeds": ", ".join(map(str, stimuli.seeds)),
      "snippets a clip": config.snippets,
      "permutations": config.permutations,
      "probes": len(probes),
      "search": ", ".join(f"{name}={value}" for name, value in dataclasses.asdict(config.maximization).items()),
    },
  )


def _by_class(values: np.ndarray, labels: np.ndarray, classes: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
  """Returns the rows of clips of the first class and of the second."""
  return values[labels == classes[0]], values[labels == classes[1]]


def _make_stimuli(
  checkpoint: checkpoint_lib.Checkpoint, confusion: Confusion, config: ExplainConfig, a_hat: Any, folder: pathlib.Path | None
) -> stimuli_lib.PairStimuli:
  total = config.maximization.steps * len(config.seeds) * 2 * len(stimuli_lib.OBJECTIVES) * len(config.chi)
  with progress.bar(total=total, description=f"stimuli of {' and '.join(confusion.classes)}", unit="stimulus step") as bar:
    return stimuli_lib.make(
      checkpoint, *confusion.classes, confusion.tower, chi=config.chi, seeds=config.seeds, config=config.maximization, a_hat=a_hat,
      folder=folder, on_step=lambda batch: bar.update(len(batch.rows)),
    )  # fmt: skip


def _shown(confusion: Confusion, count: int) -> list[films.Wanted]:
  a, b = confusion.classes
  confused = [films.Wanted(name, f"taken for {b}", b) for name in sorted(confusion.confused)[:count]]
  return confused + [films.Wanted(name, f"known as {a}", a) for name in sorted(confusion.right)[:count]]
