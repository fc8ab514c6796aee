"""The TFDS builder of all sets of clips."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
import contextlib
import pathlib
from typing import Any

from absl import logging
import numpy as np
import tensorflow_datasets as tfds

from tbvis import datasets
from tbvis.datasets import workroom
from tbvis.errors import UsageError

CURRENT_VERSION = "1.0.0"
SPLITS = ("train", "test")


def dataset_name(dataset: str, split: int, flow: str) -> str:
  """Returns the name of a prepared set, as `ucf101_split1_dis`."""
  return f"{dataset}_split{split}_{flow}"


@contextlib.contextmanager
def quiet() -> Iterator[None]:
  """Keeps TFDS from warning, of its own deprecated calls and of configurations that are on no list made beforehand."""
  verbosity = logging.get_verbosity()
  logging.set_verbosity(logging.ERROR)
  try:
    yield
  finally:
    logging.set_verbosity(verbosity)


class ActionClips(tfds.core.GeneratorBasedBuilder):
  """Whole clips as encoded frames and flow, so that a reader decodes only what it samples."""

  name = datasets.PREPARED_FOLDER
  VERSION = tfds.core.Version(CURRENT_VERSION)
  RELEASE_NOTES = {CURRENT_VERSION: "First version."}

  def __init__(self, *, set_name: str, classes: Sequence[str], tasks: Sequence[workroom.Task], beam: bool = False, **kwargs: Any):
    self.classes = classes
    self.tasks = tasks
    self.beam = beam
    config = tfds.core.BuilderConfig(name=set_name, description=f"{len(tasks)} clips of {len(classes)} classes")
    with quiet():
      super().__init__(config=config, **kwargs)

  def _log_download_bytes(self) -> None:
    # TFDS would speak of a download of unknown size; nothing is downloaded.
    pass

  def _log_download_done(self) -> None:
    pass

  def _info(self) -> tfds.core.DatasetInfo:
    """Describes the examples."""
    picture = {"shape": (None, None, 3), "encoding_format": "jpeg"}
    grey = {"shape": (None, None, 1), "encoding_format": "jpeg"}
    return tfds.core.DatasetInfo(
      builder=self,
      description="Action clips: RGB frames of short side 256 and flow clipped to +-20 pixels a frame, 8 bits.",
      features=tfds.features.FeaturesDict(
        {
          "clip": tfds.features.Text(),
          "label": tfds.features.ClassLabel(names=list(self.classes)),
          "group": tfds.features.Scalar(np.int64),
          "frames": tfds.features.Sequence(tfds.features.Image(**picture)),
          "flow_u": tfds.features.Sequence(tfds.features.Image(**grey)),
          "flow_v": tfds.features.Sequence(tfds.features.Image(**grey)),
        }
      ),
      disable_shuffling=False,
    )

  def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
    """Returns the examples of every split that has clips: a generator, or a Beam collection."""
    del dl_manager
    return {s: self._generate_examples(s) for s in SPLITS if any(t.clip.split == s for t in self.tasks)}

  def _generate_examples(self, split: str) -> Any:
    """Returns the examples of a split, of clips that are encoded already, or are in Beam's workers."""
    tasks = [t for t in self.tasks if t.clip.split == split]
    if not self.beam:
      return (pair for task in tasks for pair in examples(task))
    import apache_beam

    return apache_beam.Create(tasks) | apache_beam.Reshuffle() | apache_beam.FlatMap(examples)


def examples(task: workroom.Task) -> Iterator[tuple[str, dict[str, Any]]]:
  """Yields key and example of a clip, encoding it first where that is not done; nothing for one that cannot be used."""
  if workroom.finish(task):
    return
  clip = task.clip
  try:
    encoded = workroom.read_clip(task.path)
  except workroom.SPOILT as error:
    pathlib.Path(task.path).unlink(missing_ok=True)
    raise UsageError(
      f"{task.path}: the finished clip {clip.name} was spoilt on the disk ({error}) and is removed; give the same command again."
    ) from error
  example = {"clip": clip.name, "label": clip.label, "group": clip.group}
  yield clip.name, example | {"frames": encoded.frames, "flow_u": encoded.flow_u, "flow_v": encoded.flow_v}
