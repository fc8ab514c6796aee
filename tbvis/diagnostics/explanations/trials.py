"""Interventions on real clips: those that a probe foretells to lower the margin, and a fixed list for every pair."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
import itertools
import math

import numpy as np

from tbvis.diagnostics import effects, passes
from tbvis.diagnostics.explanations import permutations, verdicts
from tbvis.diagnostics.interventions import Blank, BlankRegion, Freeze, FreezeInTime, Intervention, Mirror, Reverse, Rotate, Shift, Slow
from tbvis.diagnostics.probes import Probe, RegionMotion
from tbvis.models import checkpoint as checkpoint_lib
from tbvis.models.sampling import Sampling

# By probe: the stream that is turned, moved, or slowed.
_TURNED = {"steepness of lines": "appearance", "steepness of motion": "motion", "steepness of moving shapes": "motion"}
_MOVED = {"height of structure": "appearance", "height of motion": "motion"}
_PACED = ("speed", "amount of motion")
# Smaller moves would foretell nothing that could be seen; larger changes of speed leave what flow can say.
_LEAST_DEGREES, _LEAST_HEIGHT, _LEAST_PACE, _PACES = 5.0, 0.02, 0.1, (0.1, 4.0)


def always(sampling: Sampling) -> tuple[Intervention, ...]:
  """Returns what is tried on every pair, of the streams that a network sees; a mirror should change nothing, since training mirrors.

  >>> [intervention.name for intervention in always(Sampling(("appearance",), chunks=16))]
  ['blank_appearance', 'freeze_appearance', 'reverse_appearance', 'rotate_90_appearance', 'mirror_appearance']
  """
  streams = sampling.streams
  over_time = streams if sampling.chunks > 1 else tuple(stream for stream in streams if stream == "motion")
  found: list[Intervention] = [Blank(stream) for stream in streams]
  if over_time:
    found += [FreezeInTime() if "motion" in streams else Freeze(over_time), Reverse(over_time)]
  if "motion" in streams:
    found += [Slow(0.5), Slow(2.0)]
  return (*found, *(Rotate(90.0, (stream,)) for stream in streams), Mirror(streams))


def foretold_by(probe: Probe, here: float, there: float) -> tuple[Intervention, ...]:
  """Returns what moves a probe from one value to another; of several the effects are averaged. () where nothing does.

  Args:
    probe: the probe.
    here: its value on clips of the first class.
    there: its value on clips of the second.

  >>> from tbvis.diagnostics import probes
  >>> by_name = {probe.name: probe for probe in probes.PROBES}
  >>> [i.name for i in foretold_by(by_name["steepness of lines"], 80.0, 20.0)]
  ['rotate_60_appearance', 'rotate_-60_appearance']
  >>> foretold_by(by_name["speed"], 2.0, 1.0)[0].name, foretold_by(by_name["redness"], 2.0, 1.0)
  ('speed_0.5', ())
  """
  if not (math.isfinite(here) and math.isfinite(there)):
    return ()
  if probe.name in _TURNED and abs(there - here) >= _LEAST_DEGREES:
    # A probe does not tell left from right: both ways of turning are tried.
    degrees = float(round(abs(there - here)))
    return tuple(Rotate(sign * degrees, (_TURNED[probe.name],)) for sign in (1, -1))
  if probe.name in _MOVED and abs(there - here) >= _LEAST_HEIGHT:
    return (Shift(round(there - here, 2), (_MOVED[probe.name],)),)
  if probe.name in _PACED and here > 0 and abs(math.log(max(there, 1e-6) / here)) >= _LEAST_PACE:
    return (Slow(round(min(max(there / here, _PACES[0]), _PACES[1]), 2)),)
  if probe.name == "temporal frequency" and there < here:
    return (FreezeInTime(),)
  if isinstance(probe, RegionMotion) and there < here:
    return (BlankRegion("motion", probe.mask.astype(np.float32), f"the place {probe.where}"),)
  return ()


def run(
  checkpoint: checkpoint_lib.Checkpoint,
  clips: Iterable[passes.ClipSnippets],
  classes: tuple[str, str],
  tower: str,
  centers: Mapping[Probe, tuple[float, float]],
  count: int = permutations.PERMUTATIONS,
) -> tuple[dict[Probe, verdicts.InterventionTest], tuple[verdicts.InterventionTest, ...]]:
  """Tries interventions on clips of the first class that are recognised.

  Args:
    checkpoint: the network.
    clips: the clips.
    classes: the first class and the second.
    tower: whose scores.
    centers: of each probe its value on clips of the first and of the second class.
    count: permutations of a test.

  Returns:
    By probe the test of what it foretells, where something moves it; and the tests of `always`.
  """
  planned = {probe: foretold_by(probe, *values) for probe, values in centers.items()}
  fixed = always(checkpoint.sampling)
  every = {i.name: i for i in (*itertools.chain.from_iterable(planned.values()), *fixed)}
  groups: list[int] = []

  def passing() -> Iterator[passes.ClipSnippets]:
    for clip in clips:
      groups.append(clip.group)
      yield clip

  iterator = passing()
  first = next(iterator, None)
  if first is None:
    return {}, ()
  effect = effects.effect(checkpoint, itertools.chain([first], iterator), *classes, list(every.values()))
  before = effect.margins(None, tower)

  def test(chosen: tuple[Intervention, ...]) -> verdicts.InterventionTest:
    after = np.mean([effect.margins(intervention.name, tower) for intervention in chosen], axis=0)
    words = chosen[0].words if len(chosen) == 1 else f"{chosen[0].words}, or the other way"
    return verdicts.judge_intervention(words[0].upper() + words[1:], before, after, groups, count)

  return {probe: test(chosen) for probe, chosen in planned.items() if chosen}, tuple(test((i,)) for i in fixed)
