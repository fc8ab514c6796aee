"""Files that come with the project: class lists, splits, the stage script, the demo checkpoint, flagfiles."""

from __future__ import annotations

import pathlib

from tbvis.errors import UsageError

_PACKAGE = pathlib.Path(__file__).resolve().parent


def _find(kind: str, parts: tuple[str, ...]) -> pathlib.Path:
  # A wheel carries data/ and flags/ inside the package; a checkout has them beside it.
  for root in (_PACKAGE / kind, _PACKAGE.parent / kind):
    path = root.joinpath(*parts)
    if path.exists():
      return path
  raise UsageError(f"Expected {kind}/{'/'.join(parts)} to be installed with tbvis, found nothing. Install the project again.")


def data_path(*parts: str) -> pathlib.Path:
  """Returns a file or folder of data/."""
  return _find("data", parts)


def flags_path(*parts: str) -> pathlib.Path:
  """Returns a file of flags/."""
  return _find("flags", parts)
