"""What findings are told by: tables and charts, as text, CSV, one HTML page and a page in TensorBoard."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
import csv
import dataclasses
import html
import io
import math
import os
import pathlib
from typing import Any

from tbvis import events, files
from tbvis.rendering import animation
from tbvis.rendering.charts import Drawing

# Rows of a table on a terminal and in TensorBoard, and on the page: the CSV has all.
_LONGEST, _ON_PAGE = 40, 400
_STYLE = """
:root { color-scheme: light dark; --line: #8886; --quiet: #767676; }
body { font: 15px/1.45 system-ui, sans-serif; max-width: 68rem; margin: 1.5rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; border-bottom: 1px solid var(--line); } h3 { font-size: 1rem; }
table { border-collapse: collapse; font-size: .88rem; }
td, th { padding: .2rem .6rem; border-bottom: 1px solid var(--line); text-align: left; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.scroll { overflow: auto; max-height: 32rem; } .quiet { color: var(--quiet); }
svg { max-width: 100%; height: auto; display: block; margin: .8rem 0; }
thead th { position: sticky; top: 0; background: Canvas; }
@media (prefers-color-scheme: dark) { :root { --quiet: #9a9a9a; } }
"""


@dataclasses.dataclass(frozen=True)
class Table:
  """A table.

  Attributes:
    name: of its file, "fusion_units".
    title: for people.
    columns: heads, with units.
    rows: a value for each column: text, a number, or None where there is none.
    listed: whether its rows are shown outside of page and file.
  """

  name: str
  title: str
  columns: tuple[str, ...]
  rows: tuple[tuple[Any, ...], ...]
  listed: bool = True

  def csv(self) -> bytes:
    """Returns the table as CSV, numbers in full."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(self.columns)
    writer.writerows([["" if _is_none(value) else value for value in row] for row in self.rows])
    return stream.getvalue().encode()

  def text(self, most: int = _LONGEST) -> str:
    """Returns the table in columns, its first `most` rows."""
    rows = [tuple(map(shown, row)) for row in self.rows[:most]]
    widths = [max(map(len, column)) for column in zip(self.columns, *rows, strict=True)]
    numeric = self._numeric()
    lines = []
    for row in (self.columns, *rows):
      cells = [cell.rjust(width) if right else cell.ljust(width) for cell, width, right in zip(row, widths, numeric, strict=True)]
      lines.append("  ".join(cells).rstrip())
    return "\n".join([*lines, *self._rest(most)])

  def markdown(self, most: int = _LONGEST) -> str:
    """Returns the table in Markdown, its first `most` rows."""
    lines = ["| " + " | ".join(map(_escaped, self.columns)) + " |", "|" + "|".join("---" for _ in self.columns) + "|"]
    lines += ["| " + " | ".join(_escaped(shown(value)) for value in row) + " |" for row in self.rows[:most]]
    return "\n".join(lines) + "".join(f"\n\n{line}" for line in self._rest(most))

  def html(self) -> str:
    """Returns the table as HTML."""
    kinds = [' class="number"' if right else "" for right in self._numeric()]
    head = "".join(f"<th scope=col{kind}>{html.escape(name)}</th>" for name, kind in zip(self.columns, kinds, strict=True))
    rows = "".join(
      "<tr>" + "".join(f"<td{kind}>{html.escape(shown(value))}</td>" for value, kind in zip(row, kinds, strict=True)) + "</tr>"
      for row in self.rows[:_ON_PAGE]
    )
    rest = "".join(f"<p class=quiet>{html.escape(line)}</p>" for line in self._rest(_ON_PAGE))
    return f"<div class=scroll><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>{rest}"

  def _numeric(self) -> list[bool]:
    return [bool(self.rows) and all(not isinstance(row[i], str) for row in self.rows) for i in range(len(self.columns))]

  def _rest(self, most: int) -> list[str]:
    left = len(self.rows) - most
    return [f"({left} more rows are in {self.name}.csv)"] if left > 0 else []


@dataclasses.dataclass(frozen=True)
class Finding:
  """One finding.

  Attributes:
    name: short, of its files and tags: "fusion".
    title: the claim that is measured.
    how: how it was measured, in a few sentences.
    said: what came out, a sentence each, with its numbers.
    tables: the numbers.
    charts: by name.
    numbers: flat, for --json.
  """

  name: str
  title: str
  how: str
  said: tuple[str, ...]
  tables: tuple[Table, ...] = ()
  charts: Mapping[str, Drawing] = dataclasses.field(default_factory=dict)
  numbers: Mapping[str, float | None] = dataclasses.field(default_factory=dict)

  def text(self) -> str:
    """Returns the finding for a terminal."""
    tables = (f"{table.title}:\n{table.text()}" for table in self.tables if table.listed)
    return "\n\n".join([f"== {self.title}", self.how, "\n".join(f"- {line}" for line in self.said), *tables]) + "\n"

  def markdown(self) -> str:
    """Returns the finding as a page of the Text tab."""
    tables = (f"**{_escaped(table.title)}**\n\n{table.markdown()}" for table in self.tables if table.listed)
    return "\n\n".join([f"## {_escaped(self.title)}", "\n".join(f"- {_escaped(line)}" for line in self.said), *tables, _escaped(self.how)])

  def html(self) -> str:
    """Returns the finding as a section of the report."""
    said = "".join(f"<li>{html.escape(line)}</li>" for line in self.said)
    charts = "".join(chart.svg() for chart in self.charts.values())
    tables = "".join(f"<h3>{html.escape(table.title)}</h3>{table.html()}" for table in self.tables)
    return f"<section><h2>{html.escape(self.title)}</h2><ul>{said}</ul>{charts}{tables}<p class=quiet>{html.escape(self.how)}</p></section>"


def shown(value: Any) -> str:
  """Returns a value as tables show it.

  >>> [shown(v) for v in (0.12345, 12, None, float("nan"), "f001")]
  ['0.123', '12', '-', '-', 'f001']
  """
  if _is_none(value):
    return "-"
  return f"{value:.3g}" if isinstance(value, float) else str(value)


def _is_none(value: Any) -> bool:
  return value is None or (isinstance(value, float) and math.isnan(value))


def _escaped(text: str) -> str:
  """Returns text that Markdown shows as it is: names of classes and units have underscores, and may have anything."""
  return "".join(f"\\{letter}" if letter in r"\`*_{}[]<>()#+!|~" else letter for letter in text.replace("\n", " "))


def page(title: str, about: Sequence[tuple[str, Any]], findings: Iterable[Finding]) -> str:
  """Returns the report: one HTML page without a script or an address outside of it.

  Args:
    title: its heading.
    about: what it was made with.
    findings: in order.
  """
  sections = "".join(finding.html() for finding in findings)
  settings = "".join(f"<tr><th scope=row>{html.escape(name)}</th><td>{html.escape(shown(value))}</td></tr>" for name, value in about)
  body = f"<h1>{html.escape(title)}</h1>{sections}<section><h2>How it was made</h2><table><tbody>{settings}</tbody></table></section>"
  head = (
    f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{html.escape(title)}</title><style>{_STYLE}</style>'
  )
  return f'<!doctype html><html lang="en"><head>{head}</head><body><main>{body}</main></body></html>\n'


def write_files(folder: str | os.PathLike[str], title: str, about: Sequence[tuple[str, Any]], findings: Sequence[Finding]) -> pathlib.Path:
  """Writes the tables as CSV, the charts as PNG and the report.

  Returns:
    Where the report is.
  """
  folder = pathlib.Path(folder)
  for finding in findings:
    for table in finding.tables:
      files.write_bytes(folder / f"{table.name}.csv", table.csv())
    for name, chart in finding.charts.items():
      files.write_bytes(folder / f"{name}.png", chart.png())
  files.write_bytes(folder / "report.html", page(title, about, findings).encode())
  return folder / "report.html"


def write_events(folder: str | os.PathLike[str], findings: Sequence[Finding]) -> None:
  """Writes a page of the Text tab for each finding, and its charts for the Images tab; a later call adds newer ones."""
  written = events.EventFile(folder)
  try:
    for finding in findings:
      values = [events.text_value(f"analysis/{finding.name}", finding.markdown())]
      for name, chart in finding.charts.items():
        data = chart.png()
        height, width = animation.decode(data).shape[1:3]
        values.append(events.image_value(f"analysis/{finding.name}/{name}", data, width, height, finding.title))
      written.add([(written.step(), values)])
  finally:
    written.close()
