"""Prepares clips: decodes them, computes their flow and writes a TFDS data set."""

from __future__ import annotations

import pathlib
import re
import resource
import time

from absl import flags

from tbvis import files
from tbvis.datasets import catalogue as catalogue_lib
from tbvis.datasets import flow as flow_lib
from tbvis.datasets import inventory
from tbvis.datasets import lists as lists_lib
from tbvis.errors import UsageError
from tbvis.scripts import app, flag_values

_DATASET = flags.DEFINE_enum(
  "dataset", "folder", ["stage", "ucf101", "hmdb51", "kinetics400", "folder"],
  "What to prepare: the embedded stage set (filmed first), UCF101, HMDB51 or Kinetics-400 by their lists, or any folder of videos.",
)  # fmt: skip
_VIDEOS = flags.DEFINE_string("videos", None, "Folder of videos; may name environment variables. For stage: where its clips are filmed.")
_FRAMES_DIR = flags.DEFINE_string(
  "frames_dir", None,
  "Instead of videos, a folder of a folder of pictures for each clip (a released jpegs_256, or TSN's img_, flow_x_ and flow_y_ files).",
)  # fmt: skip
_FLOW_DIR = flags.DEFINE_string(
  "flow_dir", None,
  "With --frames_dir, the flow that was computed already: the folder of u and v (a released tvl1_flow), or --frames_dir again where "
  "flow lies beside the frames. --flow then only names it.",
)  # fmt: skip
_TFDS = flags.DEFINE_string("tfds", None, "Instead of videos, a TFDS set of UCF101, as ucf101/ucf101_1 (the number is that of --split).")
_TFDS_DIR = flags.DEFINE_string("tfds_dir", None, "Folder of TFDS' sets; its own default otherwise.")
_DOWNLOAD = flags.DEFINE_bool("download", False, "With --tfds, let TFDS download and prepare the set (needs a network and ffmpeg).")
_LISTS = flags.DEFINE_string(
  "lists", None,
  "Folder of lists. ucf101: classInd.txt, trainlist0N.txt, testlist0N.txt, the official ones by default. hmdb51: "
  "<class>_test_split<N>.txt. kinetics400: train.csv, val.csv.",
)  # fmt: skip
_PATTERN = flags.DEFINE_string(
  "clip_pattern", None,
  "For folder, a regular expression for file names without suffix, with (?P<class>...) and (?P<group>...); for videos in no class folder "
  f"it is {catalogue_lib.FLAT_PATTERN} (as daria_walk.avi).",
)  # fmt: skip
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder that takes the prepared data set.")
_NAME = flags.DEFINE_string("name", None, "Name of the data set in the prepared set's name; that of --dataset by default.")
_SPLIT = flags.DEFINE_integer("split", 1, "Number of the official split.", lower_bound=1, upper_bound=3)
_FLOW = flags.DEFINE_enum(
  "flow", None, list(flow_lib.METHODS),
  "Optical flow: dis (fast, the default), tvl1 (the paper's recipes, by OpenCV; 100 times slower, and the default name of flow that is "
  "given) or tvl1_tf (the same flow compiled by TensorFlow, 15 times slower than dis; on a GPU where there is one, with --processes=1).",
)  # fmt: skip
_GROUPS = flags.DEFINE_string("groups", None, "Groups to prepare, as 1-7,12; all by default.")
_ALLOW_MISSING = flags.DEFINE_bool("allow_missing", False, "Go on where clips of the official lists are missing.")
_STRICT = flags.DEFINE_bool("strict", False, "Exit with status 1 if any clip had to be skipped.")
_PROCESSES = flags.DEFINE_integer("processes", None, "Parallel processes; all cores by default.", lower_bound=1, upper_bound=1024)
_RUNNER = flags.DEFINE_string(
  "runner", None,
  "Prepares as an Apache Beam pipeline on this runner (DirectRunner, FlinkRunner, SparkRunner, DataflowRunner, ...); Beam's own flags go "
  "with it, as --direct_num_workers=2. Every worker must reach --data_dir and the videos. Needs the extra, pip install 'tbvis[beam]'.",
)  # fmt: skip
_SEED = flags.DEFINE_integer("stage_seed", 0, "Seed of the stage set.", lower_bound=0)
_SCRIPT = flags.DEFINE_string("stage_script", None, "JSON file of planted causes for the stage set, instead of data/stage/script.json.")
_CLASSES = flags.DEFINE_list("stage_classes", [], "Classes of the stage set to film; all by default.")
_MASKED = flags.DEFINE_bool(
  "stage_mask_action", False, "Film the stage set without actors and props (background, clutter and camera only)."
)
_JSON = app.define_json()
_PATTERN_GROUPS = {"class", "group"}


def _stage(data_dir: pathlib.Path, groups: frozenset[int] | None) -> catalogue_lib.Catalogue:
  """Films the stage set, and catalogues it as UCF101's videos are."""
  from tbvis.datasets.stage import film  # Only this data set needs it.

  folder = flag_values.expand_path(_VIDEOS.value, "videos") or data_dir / ("stage_masked_videos" if _MASKED.value else "stage_videos")
  film.film_stage(
    folder,
    classes=_CLASSES.value or None,
    groups=groups,
    seed=_SEED.value,
    script=flag_values.expand_path(_SCRIPT.value, "stage_script"),
    processes=_PROCESSES.value,
    mask_action=_MASKED.value,
  )
  return film.stage_catalogue(folder, _SPLIT.value, groups)


def check_flags() -> None:
  """Refuses what can be refused before TensorFlow is loaded, which takes seconds.

  Raises:
    UsageError: naming the flag.
  """
  if _NAME.value and not files.PART_OF_NAME.fullmatch(_NAME.value):
    raise UsageError(f"--name: expected letters, digits, '_', '-' and '.', received {_NAME.value!r}.")
  flag_values.check_name(_NAME.value or "", "name")
  dataset = _DATASET.value
  listed = dataset in lists_lib.READERS
  sets = " and ".join(", ".join(lists_lib.READERS).rsplit(", ", 1))
  for name, flag, used, where in (
    ("frames_dir", _FRAMES_DIR, listed, sets),
    ("flow_dir", _FLOW_DIR, listed, sets),
    ("lists", _LISTS, listed, sets),
    ("allow_missing", _ALLOW_MISSING, listed, sets),
    ("tfds", _TFDS, dataset == "ucf101", "ucf101, the set of videos that TFDS has"),
    ("clip_pattern", _PATTERN, dataset == "folder", "folder"),
    ("stage_seed", _SEED, dataset == "stage", "stage"),
    ("stage_script", _SCRIPT, dataset == "stage", "stage"),
    ("stage_classes", _CLASSES, dataset == "stage", "stage"),
    ("stage_mask_action", _MASKED, dataset == "stage", "stage"),
  ):
    if flag.value and not used:
      raise UsageError(f"--{name} is for --dataset={where}; received --dataset={dataset}.")
  if dataset == "folder" and _SPLIT.value != 1:
    raise UsageError(f"--split: a folder has one split, expected 1, received {_SPLIT.value}.")
  for name, flag in (("tfds_dir", _TFDS_DIR), ("download", _DOWNLOAD)):
    if flag.value and not _TFDS.value:
      raise UsageError(f"--{name}: expected --tfds with it, which names the set.")
  if dataset == "stage":
    flag_values.output_folder(_VIDEOS.value, "videos")
  else:
    _check_source()
  if _PATTERN.value:
    try:
      named = set(re.compile(_PATTERN.value).groupindex)
    except re.error as error:
      raise UsageError(f"--clip_pattern: expected a regular expression, received {_PATTERN.value!r} ({error}).") from error
    if not named or not named <= _PATTERN_GROUPS:
      raise UsageError(f"--clip_pattern: expected the groups (?P<class>...), (?P<group>...) or both, received {_PATTERN.value!r}.")
  flag_values.existing_path(_LISTS.value, "lists", "folder")
  flag_values.existing_path(_SCRIPT.value, "stage_script")
  catalogue_lib.parse_numbers(_GROUPS.value, "groups")
  flag_values.output_folder(flag_values.given(_DATA_DIR.value, "data_dir"), "data_dir")
  flag_values.output_file(_JSON.value, "json")


def _check_source() -> None:
  given = [name for name, flag in (("videos", _VIDEOS), ("frames_dir", _FRAMES_DIR), ("tfds", _TFDS)) if flag.value]
  if len(given) != 1:
    received = " and ".join(f"--{name}" for name in given) or "none"
    raise UsageError(f"Expected one of --videos, --frames_dir or --tfds, received {received}. See --help.")
  if _FLOW_DIR.value and not _FRAMES_DIR.value:
    raise UsageError("--flow_dir: expected --frames_dir with it, which names the frames that the flow belongs to.")
  for name, flag in (("videos", _VIDEOS), ("frames_dir", _FRAMES_DIR), ("flow_dir", _FLOW_DIR)):
    flag_values.existing_path(flag.value, name, "folder")
  if not _DOWNLOAD.value:
    flag_values.existing_path(_TFDS_DIR.value, "tfds_dir", "folder")


def _listed(groups: frozenset[int] | None) -> catalogue_lib.Catalogue:
  """Catalogues a data set by its official lists, from videos, released pictures or TFDS."""
  lists = lists_lib.READERS[_DATASET.value](_SPLIT.value, flag_values.expand_path(_LISTS.value, "lists"))
  if _VIDEOS.value:
    found = inventory.videos_by_name(inventory.find_videos(flag_values.required_path(_VIDEOS.value, "videos")))
  elif _FRAMES_DIR.value:
    found = inventory.pictures_by_name(
      flag_values.required_path(_FRAMES_DIR.value, "frames_dir"), flag_values.expand_path(_FLOW_DIR.value, "flow_dir")
    )
  else:
    keys = {s: [e.names[0] for e in lists.entries if e.split == s] for s in ("train", "test")}
    found = inventory.tfds_by_name(
      flag_values.given(_TFDS.value, "tfds"), keys, flag_values.expand_path(_TFDS_DIR.value, "tfds_dir"), _DOWNLOAD.value
    )
    inventory.check_labels(found, {e.names[0]: e.class_name for e in lists.entries})
  return catalogue_lib.match_lists(lists, found, allow_missing=_ALLOW_MISSING.value, groups=groups)


def _catalogue(data_dir: pathlib.Path, groups: frozenset[int] | None) -> catalogue_lib.Catalogue:
  """Catalogues what the flags name."""
  if _DATASET.value == "stage":
    return _stage(data_dir, groups)
  if _DATASET.value != "folder":
    return _listed(groups)
  root = flag_values.required_path(_VIDEOS.value, "videos")
  return catalogue_lib.folder_catalogue(inventory.find_videos(root), root, pattern=_PATTERN.value, groups=groups)


def main() -> None:
  """Runs the script."""
  check_flags()
  app.load_tensorflow()
  import dataclasses

  from tbvis.datasets import preparation

  started = time.monotonic()
  data_dir = flag_values.required_path(_DATA_DIR.value, "data_dir")
  catalogue = _catalogue(data_dir, catalogue_lib.parse_numbers(_GROUPS.value, "groups"))
  catalogue = dataclasses.replace(catalogue, dataset=_NAME.value or catalogue.dataset)
  found = time.monotonic()
  flow = _FLOW.value or ("tvl1" if _FLOW_DIR.value else "dis")
  made = preparation.prepare(catalogue, data_dir, flow=flow, processes=_PROCESSES.value, runner=_RUNNER.value, beam_flags=app.passed_on())
  if made.existed:
    print(f"{made.name} is prepared already.")
  counts = ", ".join(f"{count} {split}" for split, count in made.counts.items())
  print(f"{made.name}: {len(catalogue.classes)} classes, {counts} clips in {made.folder}; {len(made.skipped)} clips skipped.")
  for clip, reason in made.skipped[:20]:
    print(f"  skipped {clip}: it {reason}")
  if len(made.skipped) > 20:
    print(f"  and {len(made.skipped) - 20} more: {made.folder / preparation.SKIPPED}")
  if catalogue.missing:
    print(f"{len(catalogue.missing)} clips of the lists are missing, the first {catalogue.missing[0]}.")
  memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
  app.report_json(_JSON.value, made.report | {"catalogue_seconds": round(found - started, 1), "peak_memory_mib": round(memory)})
  if _STRICT.value and made.skipped:
    raise SystemExit(1)


def entry() -> None:
  """Console script."""
  app.run(main, passing="runner")


if __name__ == "__main__":
  entry()
