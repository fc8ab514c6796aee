"""README and docs say what is so: commands have flags that exist, links lead somewhere, the example runs."""

import contextlib
import importlib
import inspect
import io
import pathlib
import re
import shlex

import pytest

from tests import calls

ROOT = pathlib.Path(__file__).resolve().parent.parent
DOCUMENTS = [*(ROOT / f"{name}.md" for name in ("README", "CONTRIBUTING", "CHANGELOG")), *sorted((ROOT / "docs").glob("*.md"))]
VERBS = ("prepare", "import", "train", "evaluate", "maximize", "explain", "analyze", "figure", "demo", "doctor")
MODULES = {"import": "import_weights"}  # Where the verb is no name of a module.
OF_ABSL = {"flagfile", "undefok", "help", "helpfull", "verbosity"}
OF_TENSORBOARD = {"load_fast"}
OF_BENCHMARKS = {
  name
  for path in (ROOT / "benchmarks").glob("*.py")
  for name in re.findall(r"""(?:DEFINE_\w+\(\s*|add_argument\()"(?:--)?(\w+)\"""", path.read_text())
}


@pytest.fixture(scope="module")
def flags_of():
  """Flag names by verb. A process each, since two scripts define flags of one name."""
  found = {}
  for verb in VERBS:
    module = f"tbvis.scripts.{MODULES.get(verb, verb)}"
    code = f"""
import sys
from absl import flags
import {module}
names = {{flag.name for flag in flags.FLAGS.get_key_flags_for_module("{module}")}}
names |= {{"no" + name for name in names if flags.FLAGS[name].boolean}}
print(" ".join(sorted(names)))
"""
    done = calls.run("-c", code)
    assert done.returncode == 0, done.stderr
    found[verb] = set(done.stdout.split())
  return found


def commands(text):
  """Yields (verb, flag names) of every tbvis-<verb> command in a text; lines ended by a backslash are one."""
  for line in text.replace("\\\n", " ").splitlines():
    # A line of its own, or in backquotes within one.
    for match in re.finditer(r"^[#\s]*tbvis-(\w+)\s+(--.*)|`tbvis-(\w+) (--[^`]*)`", line):
      verb, flags = match.group(1) or match.group(3), match.group(2) or match.group(4)
      yield verb, [w[2:].partition("=")[0] for w in shlex.split(flags) if w.startswith("--")]


def flagfile_names(path):
  return [line[2:].partition("=")[0].strip() for line in path.read_text().splitlines() if line.startswith("--")]


def test_there_are_commands_to_check():
  found = list(commands((ROOT / "README.md").read_text()))
  assert {verb for verb, _ in found} == set(VERBS)


@pytest.mark.slow
@pytest.mark.parametrize("document", [*DOCUMENTS, *sorted((ROOT / "flags").glob("*.flags"))], ids=lambda p: p.name)
def test_every_flag_of_a_written_command_exists(document, flags_of):
  for verb, names in commands(document.read_text()):
    assert verb in flags_of, verb
    assert set(names) <= flags_of[verb] | OF_ABSL, f"tbvis-{verb}: {set(names) - flags_of[verb] - OF_ABSL}"


@pytest.mark.slow
def test_every_flag_that_is_spoken_of_exists(flags_of):
  known = set.union(*flags_of.values()) | OF_ABSL | OF_TENSORBOARD | OF_BENCHMARKS
  for document in DOCUMENTS:
    spoken = set(re.findall(r"`--([\w-]+)", document.read_text()))
    assert spoken <= known, f"{document.name}: {spoken - known}"


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted((ROOT / "flags").glob("stage_*.flags")), ids=lambda p: p.name)
def test_a_flagfile_of_one_script_has_flags_of_that_script(path, flags_of):
  # Its first line says which.
  verb = re.match(r"# tbvis-(\w+):", path.read_text())[1]
  assert set(flagfile_names(path)) <= flags_of[verb] | OF_ABSL


@pytest.mark.slow
@pytest.mark.parametrize(
  "path", [p for p in sorted((ROOT / "flags").rglob("*.flags")) if "--undefok=" in p.read_text()], ids=lambda p: p.name
)
def test_a_flagfile_of_several_scripts_has_flags_of_some_script(path, flags_of):
  (pardoned,) = re.findall(r"^--undefok=(.*)$", path.read_text(), re.MULTILINE)
  names = set(flagfile_names(path)) - OF_ABSL
  anyone = set.union(*flags_of.values())
  assert names <= anyone
  assert set(pardoned.split(",")) <= anyone
  # What one script does not know must be pardoned, or that script would refuse the file.
  assert {name for name in names if not all(name in flags_of[v] for v in VERBS if v != "demo")} <= set(pardoned.split(","))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: p.name)
def test_links_lead_somewhere(document):
  targets = [t for t in re.findall(r"\]\(([^)#]+)[^)]*\)", document.read_text()) if not t.startswith("http")]
  assert [t for t in targets if not (document.parent / t).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: p.name)
def test_named_files_of_the_project_exist(document):
  names = re.findall(r"`((?:data|flags|docs|tbvis|tb_plugin|scripts|tests|benchmarks)/[\w./]*)`", document.read_text())
  assert [name for name in names if not (ROOT / name).exists()] == []


def named(path):
  """What a dotted name stands for."""
  parts = path.split(".")
  for length in range(len(parts), 0, -1):
    try:
      found = importlib.import_module(".".join(parts[:length]))
    except ModuleNotFoundError:
      continue
    for part in parts[length:]:
      found = getattr(found, part)
    return found
  raise ModuleNotFoundError(path)


def test_the_index_of_names_is_that_of_the_docstrings():
  import tbvis

  rows = dict(re.findall(r"^\| `(tbvis\.[\w.]+)` \| (.*) \|$", (ROOT / "docs" / "API.md").read_text(), re.MULTILINE))
  assert {name: inspect.getdoc(named(name)).splitlines()[0].replace("|", r"\|") for name in rows} == rows
  assert {f"tbvis.{name}" for name in tbvis.__all__} - {"tbvis.__version__", "tbvis.objectives"} <= set(rows)


def test_the_changelog_speaks_of_this_version():
  import tbvis

  assert re.search(rf"^## \[{re.escape(tbvis.__version__)}\] - \d{{4}}-\d\d-\d\d$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)


def test_pictures_of_documents_are_all_shown_and_small():
  found = ((document, re.findall(r"!\[[^\]]*\]\(([^)]+)\)", document.read_text())) for document in DOCUMENTS)
  shown = {(document.parent / name).resolve() for document, names in found for name in names}
  there = {path for path in (ROOT / "docs" / "images").rglob("*") if path.is_file()}
  assert there == shown
  # In bytes: what every clone carries.
  assert sum(path.stat().st_size for path in there) < 3e6


def test_sections_of_the_method_that_are_cited_exist():
  headings = set(re.findall(r"^#+ (\d+(?:\.\d+)?)", (ROOT / "docs" / "METHOD.md").read_text(), re.MULTILINE))
  cited = set()
  for path in [*(ROOT / "tbvis").rglob("*.py"), *(ROOT / "tb_plugin").rglob("*.py"), *(ROOT / "flags").glob("*.flags")]:
    for run in re.findall(r"METHOD(?:\.md)?(?: section)? (\d[\d., and]*)", path.read_text()):
      cited |= set(re.findall(r"\d+\.\d+|\d+(?!\.\d)", run))
  assert cited
  assert cited <= headings, sorted(cited - headings)


@pytest.mark.slow
def test_the_example_of_the_readme_runs(monkeypatch):
  (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
  monkeypatch.chdir(ROOT)
  output = io.StringIO()
  with contextlib.redirect_stdout(output):
    exec(code, {})
  lines = output.getvalue().splitlines()
  # The side of the training crop twice, colours; ten flow frames of (u, v); an activation.
  pattern = r"prediction/PlayingCello {chi} \((\d+), \1, 3\) \(\1, \1, 10, 2\) [\d.]+$"
  assert re.match(pattern.replace("{chi}", "0.0"), lines[0]), lines[0]
  assert re.match(pattern.replace("{chi}", "10.0"), lines[1]), lines[1]
  assert any(re.match(r"conv5_fusion \d+ 196 16$", line) for line in lines)
