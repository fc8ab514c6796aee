"""The TFDS builder: one for the stage set and for any folder in UCF101's style."""

from __future__ import annotations

from collections.abc import Iterator
import concurrent.futures
import multiprocessing
import os
import pathlib
from typing import Any

from absl import logging
import numpy as np
import tensorflow_datasets as tfds

from tbvis import progress
from tbvis.datasets import catalogue as catalogue_lib
from tbvis.datasets import decoding
from tbvis.errors import UsageError

BUILDER = "action_clips"
CURRENT_VERSION = "1.0.0"


def dataset_name(dataset: str, split: int, flow: str) -> str:
  """Returns the name of a prepared set, as `ucf101_split1_dis`."""
  return f"{dataset}_split{split}_{flow}"


class ActionClips(tfds.core.GeneratorBasedBuilder):
  """Whole clips as encoded frames and flow, so that a reader decodes only what it samples."""

  name = BUILDER
  VERSION = tfds.core.Version(CURRENT_VERSION)
  RELEASE_NOTES = {CURRENT_VERSION: "First version."}

  def __init__(self, *, catalogue: catalogue_lib.Catalogue, flow: str, processes: int | None = None, **kwargs: Any):
    self.catalogue = catalogue
    self.flow = flow
    self.processes = processes or os.cpu_count() or 1
    self.skipped: list[tuple[str, str]] = []
    self.clipped: list[float] = []
    config = tfds.core.BuilderConfig(
      name=dataset_name(catalogue.dataset, catalogue.split, flow),
      description=f"{catalogue.dataset}, split {catalogue.split}, {flow} flow",
    )
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)  # TFDS warns of every configuration that is not on a list made beforehand.
    try:
      super().__init__(config=config, **kwargs)
    finally:
      logging.set_verbosity(verbosity)

  def _log_download_bytes(self) -> None:
    # TFDS would speak of a download of unknown size; nothing is downloaded.
    print(f"Preparing {self.builder_config.name} in {self.data_dir}")

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
          "label": tfds.features.ClassLabel(names=list(self.catalogue.classes)),
          "group": tfds.features.Scalar(np.int64),
          "frames": tfds.features.Sequence(tfds.features.Image(**picture)),
          "flow_u": tfds.features.Sequence(tfds.features.Image(**grey)),
          "flow_v": tfds.features.Sequence(tfds.features.Image(**grey)),
        }
      ),
      disable_shuffling=False,
    )

  def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[tuple[str, dict[str, Any]]]]:
    """Returns a generator for every split that has clips."""
    del dl_manager
    splits = [s for s in ("train", "test") if any(c.split == s for c in self.catalogue.clips)]
    return {split: self._generate_examples(split) for split in splits}

  def _generate_examples(self, split: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields the encoded clips of a split in order, made by parallel processes."""
    clips = [c for c in self.catalogue.clips if c.split == split]
    jobs = [(i, str(c.path), self.flow) for i, c in enumerate(clips)]
    # Spawned, not forked: TensorFlow's threads do not survive a fork.
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(self.processes, mp_context=context) as pool:
      results = pool.map(decoding.encode_job, jobs, chunksize=1)
      for index, encoded, reason in progress.bar(results, total=len(jobs), description=f"{split} clips", unit="clip"):
        clip = clips[index]
        if encoded is None:
          logging.warning("Skipped %s: it %s.", clip.path, reason)
          self.skipped.append((clip.name, reason))
          continue
        self.clipped.append(encoded.clipped)
        yield (
          clip.name,
          {
            "clip": clip.name,
            "label": clip.label,
            "group": clip.group,
            "frames": encoded.frames,
            "flow_u": encoded.flow_u,
            "flow_v": encoded.flow_v,
          },
        )


def prepare(
  catalogue: catalogue_lib.Catalogue, data_dir: str | pathlib.Path, *, flow: str = "dis", processes: int | None = None
) -> ActionClips:
  """Prepares a catalogue under `data_dir`/action_clips/<name>; a set that is there already is kept.

  TFDS writes under a temporary name and renames, so a reader never meets half a set.

  Raises:
    UsageError: if clips share a name, or none can be read.
  """
  catalogue_lib.check_unique(catalogue.clips)
  tfds.disable_progress_bar()  # Ours shows the clips; TFDS' would interleave with it.
  builder = ActionClips(catalogue=catalogue, flow=flow, processes=processes, data_dir=str(data_dir))
  try:
    builder.download_and_prepare(file_format="tfrecord")
  except Exception as error:
    # TFDS cannot write a split without examples; say whose fault it is.
    reasons = dict(builder.skipped)
    for split in ("train", "test"):
      names = [clip.name for clip in catalogue.clips if clip.split == split]
      if names and all(name in reasons for name in names):
        raise UsageError(f"None of the {len(names)} {split} videos can be used; the first, {names[0]}, {reasons[names[0]]}.") from error
    raise
  return builder
