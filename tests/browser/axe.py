"""axe-core, which looks for what keeps people out of a page; from npm, for tests alone."""

from __future__ import annotations

import base64
import hashlib
import pathlib
import shutil
import subprocess
import tarfile
from typing import Any

VERSION = "4.14.1"
_SHA512 = "FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ=="
_SECONDS = 120


class MissingError(Exception):
  """axe-core is neither kept from before nor to be had."""


def source(folder: pathlib.Path) -> str:
  """Returns the script, fetched by npm where `folder` does not have it yet.

  Raises:
    MissingError: without npm or without a network.
    AssertionError: if the package is not the one that was looked at.
  """
  path = folder / f"axe-core-{VERSION}.tgz"
  if not path.exists():
    _fetch(folder)
  found = base64.b64encode(hashlib.sha512(path.read_bytes()).digest()).decode()
  assert found == _SHA512, f"{path}: expected a file of sha512 {_SHA512}, found {found}; remove it to fetch it again"
  with tarfile.open(path) as package:
    return package.extractfile("package/axe.min.js").read().decode()


def _fetch(folder: pathlib.Path) -> None:
  npm = shutil.which("npm")
  if npm is None:
    raise MissingError("needs axe-core: expected npm to fetch it with, found none (on Debian: apt-get install npm)")
  command = [npm, "pack", f"axe-core@{VERSION}", "--silent", f"--pack-destination={folder}"]
  try:
    subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, timeout=_SECONDS)
  except (subprocess.SubprocessError, OSError) as error:
    said = str(getattr(error, "stderr", None) or error).strip().splitlines()[-1:]
    raise MissingError(f"needs axe-core: expected npm to fetch version {VERSION}, received {' '.join(said)}") from None


def findings(frame: Any, script: str) -> list[str]:
  """What axe-core finds on the page as it is now, one line an element; empty where all is well."""
  if not frame.evaluate("() => 'axe' in window"):
    frame.evaluate(script)
  found = frame.evaluate("() => axe.run(document, {resultTypes: ['violations']})")
  assert found["passes"], "nothing was looked at"
  return [
    f"{rule['impact']} {rule['id']}: {rule['help']}: {node['target'][0]} {node['html'][:100]}"
    for rule in found["violations"]
    for node in rule["nodes"]
  ]
