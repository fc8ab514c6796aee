"""What each choice of the search does to the stimuli of one network: a sheet of pictures, and a table.

  python benchmarks/study.py --checkpoint=A.keras --statistics=STATISTICS.npz --pictures=FOLDER --json=FILE

Every variant is the configuration of a preset with some constants changed (VARIANTS). For each unit one PNG has a row a variant:
for the smallest and for the largest chi its appearance and some flow frames. The table gives medians by layer: activation
over a_hat, contrast of both inputs, change over time against change over space (METHOD 2.8) at both ends of chi, and seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
import dataclasses
import pathlib
import time
from typing import TYPE_CHECKING, Any

from absl import flags
import numpy as np

from tbvis import files
from tbvis.errors import unknown_name
from tbvis.maximization.config import PRESETS, MaximizationConfig
from tbvis.scripts import app, flag_values

if TYPE_CHECKING:
  from tbvis.maximization.stimulus import Stimulus

# Preset and constants of each variant.
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
  "default": ("default", {}),
  "sum": ("default", {"location": "sum", "target": 0.3}),
  "no_1_over_T": ("default", {"per_frame": False}),
  "balanced_terms": ("default", {"calibrate": False, "data_weight": 1.0, "term_balance": True}),
  "fixed_weight": ("default", {"calibrate": False}),
  "no_input_balance": ("default", {"balance": 0.0}),
  "paper": ("paper", {}),
  "paper_center": ("paper", {"location": "center"}),
  "paper_unbalanced": ("paper", {"term_balance": False}),
  "nnpreimage": ("nnpreimage", {}),
  "half_steps": ("default", {"steps": 60}),
  "fourier": ("default", {"parameterization": "fourier", "decorrelate": True}),
  "zoom_rotation": ("default", {"zoom": 0.1, "rotation": 10.0}),
}

_CHECKPOINT = flags.DEFINE_string("checkpoint", None, "The network.")
_STATISTICS = flags.DEFINE_string("statistics", None, "Its statistics.npz of tbvis-evaluate.")
_UNITS = flags.DEFINE_list(
  "units", ["conv3_3/f001-f002", "conv4_3/f001-f002", "conv5_fusion/f001-f002", "prediction/f001-f002"], "Units, as for tbvis-maximize."
)
_VARIANTS = flags.DEFINE_list("variants", list(VARIANTS), "Variants to try, of VARIANTS.")
_CHI = flags.DEFINE_list("chi", ["0", "10"], "Temporal weights; the smallest and the largest are compared.")
_PICTURES = flags.DEFINE_string("pictures", None, "Folder for a PNG a unit.")
_FRAMES = flags.DEFINE_integer("frames", 3, "Flow frames in a row.", lower_bound=1)
_DTYPE = app.define_dtype("Number format; auto is bfloat16 where the hardware has it.")
_QUICK = flags.DEFINE_bool("quick", False, "The presets alone, a sixth of the steps.")
_JSON = app.define_json()


def _config(name: str) -> MaximizationConfig:
  preset, changed = VARIANTS[name]
  config = dataclasses.replace(MaximizationConfig.preset(preset), **changed)
  return dataclasses.replace(config, steps=max(1, config.steps // 6)) if _QUICK.value else config


def _medians(stimuli: Sequence[Stimulus]) -> dict[str, float]:
  """Returns medians over the units of a layer; those at the ends of chi have the end in their name."""
  low, high = min(s.chi for s in stimuli), max(s.chi for s in stimuli)
  found = {"activation_over_a_hat": np.median([s.activation_over_a_hat for s in stimuli])}
  for stream in stimuli[0].contrasts:
    found[f"contrast_{stream}"] = np.median([s.contrasts[stream] for s in stimuli])
  for end, chi in (("smallest", low), ("largest", high)):
    ratios = [s.temporal_ratio for s in stimuli if s.chi == chi and s.temporal_ratio is not None]
    if ratios:
      found[f"change_{end}_chi"] = np.median(ratios)
  found["seconds_per_stimulus"] = np.median([s.config["seconds"] for s in stimuli])
  return {name: float(value) for name, value in found.items()}


def main() -> None:
  """Runs the study."""
  path, statistics_path = (
    flag_values.required_path(_CHECKPOINT.value, "checkpoint"),
    flag_values.required_path(_STATISTICS.value, "statistics"),
  )
  pictures = flag_values.required_path(_PICTURES.value, "pictures")
  chosen = list(PRESETS) if _QUICK.value else _VARIANTS.value
  for name in chosen:
    if name not in VARIANTS:
      raise unknown_name("variant", name, VARIANTS)
  chi = flag_values.parse_floats(_CHI.value, "chi")
  folder = files.ensure_writable(pictures, "pictures")

  app.load_tensorflow()
  import tbvis
  from tbvis.models import precision
  from tbvis.records import safe_name
  from tbvis.rendering import animation, mosaic

  network = tbvis.load_checkpoint(path, dtype=precision.resolve_dtype(_DTYPE.value))
  rows: dict[str, list[np.ndarray]] = {}
  numbers: dict[str, Any] = {}
  print(f"{'variant':<18}{'layer':<14}{'a/a_hat':>9}{'appearance':>12}{'motion':>8}{'fast':>7}{'slow':>7}{'seconds':>9}   (medians)")
  for name in chosen:
    started = time.monotonic()
    stimuli = tbvis.maximize(network, _UNITS.value, chi=chi, config=_config(name), a_hat=statistics_path)
    by_layer: dict[str, list[Stimulus]] = {}
    strips: dict[str, list[np.ndarray]] = {}
    for stimulus in stimuli:
      if stimulus.error is None:
        by_layer.setdefault(stimulus.target.layer, []).append(stimulus)
        strip = mosaic.stimulus_strip(stimulus.appearance, stimulus.motion, frames=_FRAMES.value)
        strips.setdefault(stimulus.target.name, []).append(strip)
    for unit, pair in strips.items():
      rows.setdefault(unit, []).append(np.concatenate(pair, axis=1))
    for layer, group in by_layer.items():
      found = _medians(group)
      shown = [found.get(k) for k in ("activation_over_a_hat", "contrast_appearance", "contrast_motion", "change_smallest_chi",
                                      "change_largest_chi", "seconds_per_stimulus")]  # fmt: skip
      cells = ["-" if value is None else f"{value:.3g}" for value in shown]
      print(f"{name:<18}{layer:<14}{cells[0]:>9}{cells[1]:>12}{cells[2]:>8}{cells[3]:>7}{cells[4]:>7}{cells[5]:>9}", flush=True)
      numbers |= {f"{name}_{key}_{layer}": value for key, value in found.items()}
    numbers[f"{name}_seconds"] = round(time.monotonic() - started, 1)
    for unit, found_rows in rows.items():
      sheet = mosaic.mosaic(found_rows, columns=1, pad=2)
      files.write_bytes(folder / f"{safe_name(unit)}.png", animation.encode_png(sheet))
  _write_key(folder, chosen)
  app.report_json(_JSON.value, numbers)


def _write_key(folder: pathlib.Path, chosen: Sequence[str]) -> None:
  lines = [
    f"row {index + 1}: {name} = preset {VARIANTS[name][0]} with {VARIANTS[name][1] or 'nothing changed'}"
    for index, name in enumerate(chosen)
  ]
  files.write_bytes(folder / "rows.txt", ("\n".join(lines) + "\n").encode())


if __name__ == "__main__":
  app.run(main)
