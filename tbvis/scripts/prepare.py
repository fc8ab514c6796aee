"""Prepares clips: decodes them, computes their flow and writes a TFDS data set."""

from __future__ import annotations

import json
import pathlib
import resource
import time

from absl import flags

from tbvis import files
from tbvis.datasets import catalogue as catalogue_lib
from tbvis.scripts import app

_DATASET = flags.DEFINE_enum(
  "dataset", "folder", ["stage", "ucf101", "folder"],
  "What to prepare: the embedded stage set (filmed first), UCF101 by its official lists, or any folder of class folders of videos.",
)  # fmt: skip
_VIDEOS = flags.DEFINE_string("videos", None, "Folder of videos; may name environment variables. For stage: where its clips are filmed.")
_LISTS = flags.DEFINE_string(
  "lists", None, "Folder of classInd.txt, trainlist0N.txt and testlist0N.txt (ucf101); the official ones by default."
)
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder that takes the prepared data set.")
_NAME = flags.DEFINE_string("name", None, "Name of the data set in the prepared set's name; that of --dataset by default.")
_SPLIT = flags.DEFINE_integer("split", 1, "Number of the official split.", lower_bound=1, upper_bound=3)
_FLOW = flags.DEFINE_enum("flow", "dis", ["dis", "tvl1"], "Optical flow: dis (fast) or tvl1 (the paper's recipes; 100 times slower).")
_GROUPS = flags.DEFINE_string("groups", None, "Groups to prepare, as 1-7,12; all by default.")
_ALLOW_MISSING = flags.DEFINE_bool("allow_missing", False, "Go on where clips of the official lists are missing.")
_STRICT = flags.DEFINE_bool("strict", False, "Exit with status 1 if any video had to be skipped.")
_PROCESSES = flags.DEFINE_integer("processes", None, "Parallel processes; all cores by default.", lower_bound=1)
_SEED = flags.DEFINE_integer("stage_seed", 0, "Seed of the stage set.")
_SCRIPT = flags.DEFINE_string("stage_script", None, "JSON file of planted causes for the stage set, instead of data/stage/script.json.")
_CLASSES = flags.DEFINE_list("stage_classes", [], "Classes of the stage set to film; all by default.")
_MASKED = flags.DEFINE_bool(
  "stage_mask_action", False, "Film the stage set without actors and props (background, clutter and camera only)."
)
_JSON = app.define_json()


def _stage(data_dir: pathlib.Path, groups: frozenset[int] | None) -> tuple[pathlib.Path, pathlib.Path]:
  """Films the stage set; returns its folders of videos and of lists."""
  from tbvis.datasets.stage import film  # Only this data set needs it.

  folder = app.expand_path(_VIDEOS.value, "videos") or data_dir / ("stage_masked_videos" if _MASKED.value else "stage_videos")
  script = app.expand_path(_SCRIPT.value, "stage_script")
  film.film_stage(
    folder,
    classes=_CLASSES.value or None,
    groups=groups,
    seed=_SEED.value,
    script=script,
    processes=_PROCESSES.value,
    mask_action=_MASKED.value,
  )
  return folder / "videos", folder / "splits"


def main() -> None:
  """Runs the script."""
  app.load_tensorflow()
  from tbvis.datasets import builder

  started = time.monotonic()
  data_dir = files.ensure_writable(app.required_path(_DATA_DIR.value, "data_dir"), "data_dir")
  groups = catalogue_lib.parse_numbers(_GROUPS.value, "groups")
  if _DATASET.value == "stage":
    videos, lists = _stage(data_dir, groups)
    name = _NAME.value or "stage"
    catalogue = catalogue_lib.ucf101_catalogue(videos, _SPLIT.value, lists=lists, dataset=name, allow_missing=True, groups=groups)
  elif _DATASET.value == "ucf101":
    catalogue = catalogue_lib.ucf101_catalogue(
      app.required_path(_VIDEOS.value, "videos"),
      _SPLIT.value,
      lists=app.expand_path(_LISTS.value, "lists"),
      dataset=_NAME.value or "ucf101",
      allow_missing=_ALLOW_MISSING.value,
      groups=groups,
    )
  else:
    catalogue = catalogue_lib.folder_catalogue(app.required_path(_VIDEOS.value, "videos"), dataset=_NAME.value or "folder", groups=groups)

  filmed = time.monotonic()
  made = builder.prepare(catalogue, data_dir, flow=_FLOW.value, processes=_PROCESSES.value)
  folder = pathlib.Path(made.data_dir)
  report_file = folder / "preparation.json"
  if report_file.is_file() and not made.clipped:
    report = json.loads(report_file.read_text())
    print(f"{made.builder_config.name} is prepared already.")
  else:
    seconds = time.monotonic() - filmed
    report = {
      "clips": len(catalogue.clips) - len(made.skipped),
      "skipped": len(made.skipped),
      "missing": len(catalogue.missing),
      "seconds": round(seconds, 1),
      "film_seconds": round(filmed - started, 1),
      "clips_per_second": round(len(catalogue.clips) / seconds, 3),
      "clipped_fraction": sum(made.clipped) / max(1, len(made.clipped)),
      "megabytes": round(sum(p.stat().st_size for p in folder.iterdir()) / 1e6, 1),
      "peak_memory_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }
    files.write_json(report_file, report)
  counts = ", ".join(f"{info.num_examples} {split}" for split, info in made.info.splits.items())
  print(f"{made.builder_config.name}: {len(catalogue.classes)} classes, {counts} clips in {folder}; {report['skipped']} videos skipped.")
  for clip, reason in made.skipped[:20]:
    print(f"  skipped {clip}: it {reason}")
  app.report_json(_JSON.value, report)
  if _STRICT.value and report["skipped"]:
    raise SystemExit(1)


def entry() -> None:
  """Console script."""
  app.run(main)


if __name__ == "__main__":
  entry()
