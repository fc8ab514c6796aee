"""Virtual environments of the other libraries, made once and kept."""

from __future__ import annotations

from collections.abc import Sequence
import dataclasses
import json
import pathlib
import subprocess
import sys

from tbvis.errors import UsageError


@dataclasses.dataclass(frozen=True)
class Peer:
  """A library that is measured beside ours.

  Attributes:
    name: as its package is called.
    worker: file name of its worker.
    requirements: what pip installs with all that it needs.
    alone: what pip installs by itself.
  """

  name: str
  worker: str
  requirements: tuple[str, ...]
  alone: tuple[str, ...] = ()


PEERS = (
  Peer(
    "xplique",
    "xplique_worker.py",
    (
      "tensorflow-cpu==2.20.0", "keras==3.15.1", "deprecated", "einops", "matplotlib", "opencv-python-headless", "scikit-image<=0.25.2",
      "scikit-learn<=1.7.2", "scipy<=1.15.3", "decorator", "cloudpickle", "dm-tree",
    ),
    # On Linux it asks for TensorFlow with CUDA, gigabytes that nobody needs here.
    ("xplique==2.0.2", "tensorflow-probability==0.25.0", "tf-keras==2.20.1"),
  ),
  Peer("tf-keras-vis", "tf_keras_vis_worker.py", ("tensorflow-cpu==2.20.0", "keras==3.15.1", "tf-keras-vis==0.8.7")),
)  # fmt: skip


def _run(peer: Peer, command: Sequence[str]) -> None:
  done = subprocess.run(command, capture_output=True, text=True, check=False)
  if done.returncode:
    lines = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
    said = next((line for line in lines if line.startswith("ERROR")), lines[-1] if lines else "no reason was given")
    raise UsageError(f"{peer.name} could not be installed: {said.strip()} --nopeers measures without the other libraries.")


def python_of(peer: Peer, cache: pathlib.Path) -> pathlib.Path:
  """Returns the interpreter of a library's environment, which is made where it is not there yet.

  Args:
    peer: the library.
    cache: folder of the environments.

  Raises:
    UsageError: if it cannot be installed, with what pip said.
  """
  folder = cache / peer.name
  python, ready = folder / "bin" / "python", folder / "installed.json"
  wanted = json.dumps([*peer.requirements, *peer.alone])
  if python.exists() and ready.exists() and ready.read_text() == wanted:
    return python
  print(f"Installing {peer.name} in {folder}, once.", file=sys.stderr, flush=True)
  try:
    folder.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise UsageError(f"--cache: expected a folder that can be written, received {str(cache)!r}; {error.strerror}.") from error
  if not python.exists():
    _run(peer, [sys.executable, "-m", "venv", str(folder)])
  pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
  _run(peer, [*pip, *peer.requirements])
  if peer.alone:
    _run(peer, [*pip, "--no-deps", *peer.alone])
  ready.write_text(wanted)
  return python
