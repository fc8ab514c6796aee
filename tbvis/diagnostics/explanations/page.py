"""An explanation as one self-contained HTML page: no script, no address outside of it."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
import html
from typing import Any

import numpy as np

from tbvis.diagnostics.explanations import stimuli as stimuli_lib
from tbvis.diagnostics.explanations.record import Explanation
from tbvis.diagnostics.explanations.verdicts import InterventionTest, Judged
from tbvis.rendering import animation
from tbvis.rendering.appearance import appearance_to_rgb
from tbvis.rendering.flow_color import flow_to_rgb, motion_frames

_PLOTTED = 6
_MILLISECONDS = 120
_STYLE = """
:root { color-scheme: light dark; --line: #8886; --a: #1f77b4; --b: #d55e00; --quiet: #767676; }
body { font: 15px/1.45 system-ui, sans-serif; max-width: 68rem; margin: 1.5rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; border-bottom: 1px solid var(--line); }
table { border-collapse: collapse; width: 100%; } td, th { padding: .3rem .5rem; border-bottom: 1px solid var(--line); text-align: left;
  vertical-align: top; }
td.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
td.words { min-width: 18rem; }
.supported { font-weight: 600; color: #1a7f37; } .quiet, .few { color: var(--quiet); } .scroll { overflow-x: auto; }
.row { display: flex; flex-wrap: wrap; gap: .8rem; } figure { margin: 0; }
figcaption { font-size: .8rem; color: var(--quiet); max-width: 15rem; }
img { image-rendering: auto; max-width: 100%; } svg { max-width: 100%; height: auto; } svg text { fill: currentColor; font-size: 11px; }
@media (prefers-color-scheme: dark) { .supported { color: #56d364; } :root { --a: #6cb6ff; --b: #ff9e57; --quiet: #9a9a9a; } }
"""


def page(found: Explanation) -> str:
  """Returns the page: the verdicts, the stimuli playing, plots, clips with where the network looked, and how it was made."""
  a, b = found.classes
  title = f"Why {a} is taken for {b}"
  parts = [
    f"<h1>{_text(title)}</h1><p>{_text(found.summary)}</p>",
    _section("Stimuli", _stimuli(found)),
    _section("Hypotheses and what clips say of them", _hypotheses(found)),
    _section("Values", "".join(_plot(found, judged) for judged in found.judged[:_PLOTTED])),
    _section("Interventions", _interventions(found)),
    _section("Clips, and where the network looked", _clips(found)),
    _section("How it was made", _settings(found.settings)),
  ]
  head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{_text(title)}</title><style>{_STYLE}</style>'
  return f'<!doctype html><html lang="en"><head>{head}</head><body><main>{"".join(parts)}</main></body></html>\n'


def _text(value: Any) -> str:
  return html.escape(str(value))


def _section(title: str, body: str) -> str:
  return f"<section><h2>{_text(title)}</h2>{body}</section>"


def _image(data: bytes, kind: str, alt: str, width: int) -> str:
  return f'<img src="data:image/{kind};base64,{base64.b64encode(data).decode()}" alt="{_text(alt)}" width="{width}">'


def _figure(inside: str, caption: str) -> str:
  return f"<figure>{inside}<figcaption>{_text(caption)}</figcaption></figure>"


def _stimuli(found: Explanation) -> str:
  pair = found.stimuli
  said = (
    f"What excites the scores of each class ({found.tower}), found from noise: by itself, and against the other class. "
    "Motion is coloured R = u, G = v, B = speed, each film on its own scale; large chi is slow."
  )
  rows = []
  for side, name in enumerate(pair.classes):
    for place, way in enumerate(stimuli_lib.OBJECTIVES):
      films = [
        _figure(_stimulus(pair.stimuli[side, place, j, 0], f"{name}, {way}, chi {chi:g}"), f"chi = {chi:g}")
        for j, chi in enumerate(pair.chi)
      ]
      rows.append(f"<h3>{_text(name)}, {_text(way)}</h3><div class=row>{''.join(films)}</div>")
  return f"<p>{_text(said)} One of {len(pair.seeds)} starts is shown.</p>{''.join(rows)}"


def _stimulus(stimulus: stimuli_lib.Found, alt: str) -> str:
  pictures = []
  if stimulus.appearance is not None:
    pictures.append(_image(animation.encode_png(appearance_to_rgb(stimulus.appearance)), "png", f"appearance of {alt}", 168))
  if stimulus.motion is not None:
    frames = flow_to_rgb(motion_frames(stimulus.motion))
    pictures.append(_image(animation.encode_webp(frames, _MILLISECONDS), "webp", f"motion of {alt}", 168))
  return " ".join(pictures)


def _hypotheses(found: Explanation) -> str:
  said = (
    "Those for which most speaks come first. Rank and effect: difference between the stimuli of both classes over the spread across "
    "seeds; p: of that difference, by exchanging the classes start by start. Separation: the same difference between held-out clips of "
    "both classes, weighted by where the network looked, over their spread. Test clips made none of these. Clips: how far confused clips "
    "lie from the right ones, the way that the stimuli say (Hedges' g)."
  )
  rows = [_hypothesis(found, judged) for judged in found.judged]
  rest = f"<details><summary>{len(rows[_PLOTTED:])} more probes</summary>{_table(rows[_PLOTTED:])}</details>" if rows[_PLOTTED:] else ""
  return f"<p>{_text(said)}</p>{_table(rows[:_PLOTTED])}{rest}"


def _hypothesis(found: Explanation, judged: Judged) -> str:
  hypothesis = judged.hypothesis
  kind = {"supported": "supported", "too few clips": "few"}.get(judged.verdict.value, "quiet")
  apart = f"{judged.clips.effect:+.2f}" if np.isfinite(judged.clips.effect) else "-"
  numbers = (f"{hypothesis.effect:+.2f}", f"{hypothesis.p:.2g}", f"{hypothesis.separation:+.2f}", apart)
  return (
    f"<tr><td class=number>{hypothesis.rank}</td><td class=words>{_text(hypothesis.sentence(*found.classes))}</td>"
    f"{''.join(f'<td class=number>{n}</td>' for n in numbers)}"
    f'<td class=words><span class="{kind}">{_text(judged.verdict.value)}</span>. {_text(judged.reason)}</td></tr>'
  )


def _table(rows: list[str]) -> str:
  names = ("rank", "hypothesis", "effect", "p", "separation", "clips", "verdict")
  head = "".join(f"<th scope=col>{name}</th>" for name in names)
  return f"<div class=scroll><table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"


def _plot(found: Explanation, judged: Judged) -> str:
  """Returns a strip chart: one row of points a kind of stimulus or clip."""
  kinds = {kind: np.asarray(values, float) for kind, values in found.measured[judged.hypothesis.probe.name].items()}
  kinds = {kind: values[np.isfinite(values)] for kind, values in kinds.items()}
  everything = np.concatenate([*kinds.values(), [0.0]]) if not any(len(v) for v in kinds.values()) else np.concatenate(list(kinds.values()))
  low, high = float(everything.min()), float(everything.max())
  if low == high:
    low, high = low - 1, high + 1
  left, width, row = 190, 640, 24
  height = row * len(kinds) + 30

  def x(value: float) -> float:
    return left + (width - left - 20) * (value - low) / (high - low)

  marks = []
  for place, (kind, values) in enumerate(kinds.items()):
    y = row * place + row / 2
    colour = "var(--b)" if kind.endswith(found.classes[1]) else "var(--a)" if kind.endswith(found.classes[0]) else "currentColor"
    marks.append(f'<text x="0" y="{y + 4}">{_text(kind)} ({len(values)})</text>')
    marks.append(f'<line x1="{left}" x2="{width - 20}" y1="{y}" y2="{y}" stroke="var(--line)"/>')
    marks += [f'<circle cx="{x(v):.1f}" cy="{y}" r="4" fill="{colour}" fill-opacity="0.45"/>' for v in values]
    if len(values):
      at = x(float(values.mean()))
      marks.append(f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{y - 9}" y2="{y + 9}" stroke="{colour}" stroke-width="2.5"/>')
  bottom = height - 8
  marks.append(f'<text x="{left}" y="{bottom}">{low:.3g}</text><text x="{width - 20}" y="{bottom}" text-anchor="end">{high:.3g}</text>')
  probe = judged.hypothesis.probe
  drawn = f'<svg viewBox="0 0 {width} {height}" width="{width}" role="img" aria-label="{_text(probe.name)}">{"".join(marks)}</svg>'
  return f"<h3>{_text(probe.stream)}: {_text(probe.name)}, {_text(probe.unit)}</h3>{drawn}"


def _interventions(found: Explanation) -> str:
  def row(test: InterventionTest) -> str:
    numbers = (f"{test.clips}", f"{test.before:.2f}", f"{test.change:+.2f}", f"{100 * test.share:.0f} %", f"{test.p:.2g}")
    return f"<tr><td>{_text(test.name)}</td>{''.join(f'<td class=number>{n}</td>' for n in numbers)}</tr>"

  a, b = found.classes
  foretold = {j.intervention.name: j.intervention for j in found.judged if j.intervention}
  said = (
    f"Real clips of {a} that are recognised, changed. The margin is the score of {a} minus that of {b}, before the softmax. First the "
    "interventions that a hypothesis foretells to lower it, then the same list for every pair. p is of a fall, group by group."
  )
  head = "".join(f"<th scope=col>{name}</th>" for name in ("intervention", "clips", "margin", "change", "fell in", "p"))
  rows = "".join(map(row, [*foretold.values(), *(t for t in found.interventions if t.name not in foretold)]))
  return f"<p>{_text(said)}</p><div class=scroll><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"


def _clips(found: Explanation) -> str:
  blocks = []
  for clip in found.clips:
    films = [_figure(_image(data, "webp", f"{what} of {clip.name}", 200), what) for what, data in clip.animations.items()]
    blocks.append(f"<h3>{_text(clip.kind)}: {_text(clip.name)}</h3><div class=row>{''.join(films)}</div>")
  return "".join(blocks) or "<p>No clip was kept.</p>"


def _settings(settings: Mapping[str, Any]) -> str:
  def items() -> Iterable[str]:
    for name, value in settings.items():
      yield f"<tr><th scope=row>{_text(name)}</th><td>{_text(value)}</td></tr>"

  return f"<div class=scroll><table><tbody>{''.join(items())}</tbody></table></div>"
