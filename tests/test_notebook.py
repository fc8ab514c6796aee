"""notebooks/tbvis.ipynb, run cell by cell in a process of its own, as a reader would.

Its code is plain Python, so that it is run from its JSON: nbclient with ipykernel would bring some twenty packages for the same code.
"""

from __future__ import annotations

import json
import os
import pathlib
import re
import sys

import pytest

from tests import calls

ROOT = pathlib.Path(__file__).resolve().parent.parent
NOTEBOOK = json.loads((ROOT / "notebooks" / "tbvis.ipynb").read_text())
CELLS = ["".join(cell["source"]) for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]

# What a notebook does with a cell: the value of its last line is shown. Cells come in as JSON.
PROGRAM = """
import ast, json, sys
names = {"__name__": "__main__"}
for number, source in enumerate(json.load(sys.stdin), 1):
  print(f"[{number}]", flush=True)
  tree = ast.parse(source)
  shown = ast.Expression(tree.body.pop().value) if isinstance(tree.body[-1], ast.Expr) else None
  exec(compile(tree, f"<cell {number}>", "exec"), names)
  value = eval(compile(shown, f"<cell {number}>", "eval"), names) if shown else None
  if value is not None:
    print(type(value).__name__, value.size, len(set(value.convert("L").getdata())))
"""


def test_nothing_of_a_run_is_kept_in_it():
  for cell in NOTEBOOK["cells"]:
    assert cell["metadata"] == {}
    assert cell["cell_type"] == "markdown" or (cell["outputs"] == [] and cell["execution_count"] is None)
  assert not [line for source in CELLS for line in source.splitlines() if line.startswith(("%", "!"))]


@pytest.mark.slow
def test_it_runs(tmp_path):
  # Clips that it films go where temporary files go.
  environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]), "TMPDIR": str(tmp_path)}
  done = calls.run("-c", PROGRAM, input=json.dumps(CELLS), cwd=tmp_path, env=environment)
  assert done.returncode == 0, f"{done.stdout}\n{done.stderr[-3000:]}"
  said = done.stdout
  # Every stimulus reaches what clips do; slow ones are slow.
  assert all(float(found) > 1 for found in re.findall(r"([\d.]+) times a_hat", said)) and said.count("times a_hat") == 4
  fast, slow, *_ = (float(found) for found in re.findall(r"change ([\d.]+)", said))
  assert fast > 2 * slow
  # The clip is recognised, and what speaks for its class outweighs the other.
  assert re.search(r"v_PlayingViolin_g01_c\d\d .*\nPlayingViolin ", said), said
  assert float(re.search(r"margin ([\d.-]+)", said)[1]) > 0
  pictures = [(int(w), int(h), int(levels)) for w, h, levels in re.findall(r"Image \((\d+), (\d+)\) (\d+)", said)]
  assert len(pictures) == 3 and all(w > h and levels > 30 for w, h, levels in pictures), pictures
