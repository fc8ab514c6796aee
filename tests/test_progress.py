"""Progress bars say how far, how fast and how long still."""

import io
import re
import sys

from tbvis import progress


class Terminal(io.StringIO):
  def isatty(self):
    return True


def show(monkeypatch, stream, steps=4):
  monkeypatch.setattr(sys, "stderr", stream)
  with progress.bar(total=steps, description="films", unit="clip") as bar:
    for _ in range(steps):
      bar.update()
      bar.refresh()
  return stream.getvalue()


def test_it_shows_count_rate_and_remaining_time(monkeypatch):
  text = show(monkeypatch, Terminal())
  assert re.search(r"films: .*2/4 \[\d\d:\d\d<\d\d:\d\d, +\d+\.\d+clip/s\]", text), text


def test_in_a_log_it_is_plain_text_and_seldom(monkeypatch):
  monkeypatch.setattr(sys, "stderr", io.StringIO())
  with progress.bar(range(1000), description="films") as bar:
    for _ in bar:
      pass
  text = sys.stderr.getvalue()
  assert text.isascii()
  # The first line and the last: 1000 steps take far less than the 15 seconds between two lines.
  assert len([part for part in re.split(r"[\r\n]", text) if part.strip()]) <= 2
  assert "1000/1000" in text
