"""The wheel, installed in an environment of its own and used outside the checkout."""

import ast
import importlib.metadata
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import textwrap
import zipfile

import pytest

import tbvis

ROOT = pathlib.Path(__file__).resolve().parent.parent
VERBS = ("prepare", "train", "evaluate", "maximize", "demo")
LEFT_OUT = shutil.ignore_patterns(".*", "__pycache__", "build", "dist", "*.egg-info", "demo.*", "work")


def run(*command, cwd, check=True):
  environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
  done = subprocess.run([str(c) for c in command], capture_output=True, text=True, cwd=cwd, env=environment)
  assert not check or done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
  return done


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
  folder = tmp_path_factory.mktemp("wheel")
  # A copy, so that nothing is left in the checkout and nothing left in it gets into the wheel.
  source = folder / "source"
  source.mkdir()
  for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE", "NOTICE", "MANIFEST.in"):
    shutil.copy(ROOT / name, source)
  for name in ("tbvis", "tb_plugin", "data", "flags"):
    shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
  run(sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, source, cwd=folder)
  (path,) = folder.glob("*.whl")
  return path


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory):
  """Folder of a fresh virtual environment with the wheel; its dependencies are those of the running one."""
  folder = tmp_path_factory.mktemp("installed")
  run(sys.executable, "-m", "venv", "--without-pip", folder / "venv", cwd=folder)
  python = folder / "venv" / "bin" / "python"
  run(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", wheel, cwd=folder)
  site = pathlib.Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).stdout.strip())
  # A path in a .pth file comes after the environment's own packages, and .pth files in it are not read: an
  # editable installation of the checkout there is not seen.
  (site / "dependencies.pth").write_text("\n".join(p for p in sys.path if p.endswith("-packages")) + "\n")
  return folder


def inside(environment, code):
  done = run(environment / "venv" / "bin" / "python", "-c", textwrap.dedent(code), cwd=environment)
  return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_the_wheel_has_every_file_and_no_others(wheel):
  names = set(zipfile.ZipFile(wheel).namelist())
  expected = {f"tbvis/{p.relative_to(ROOT)}" for kind in ("data", "flags") for p in (ROOT / kind).rglob("*") if p.is_file()}
  for package in ("tbvis", "tb_plugin"):
    expected |= {str(p.relative_to(ROOT)) for p in (ROOT / package).rglob("*.py")}
  expected |= {str(p.relative_to(ROOT)) for p in (ROOT / "tb_plugin" / "static").rglob("*") if p.is_file()}
  rest = names - expected
  assert expected <= names, sorted(expected - names)
  assert all(re.match(r"tbvis-[\d.]+\.dist-info/", name) for name in rest), sorted(rest)
  assert any(name.endswith("/LICENSE") for name in rest)
  assert any(name.endswith("/NOTICE") for name in rest)


@pytest.mark.slow
def test_the_installed_package_is_used_and_finds_its_files(environment):
  found = inside(
    environment,
    """
    import importlib.metadata, json, tbvis
    from tbvis import resources
    files = [resources.data_path("stage", "script.json"), resources.data_path("ucf101", "classInd.txt"),
             resources.flags_path("stage_prepare.flags")]
    print(json.dumps({"package": tbvis.__file__, "files": [str(f) for f in files], "version": importlib.metadata.version("tbvis")}))
    """,
  )
  for path in (found["package"], *found["files"]):
    assert path.startswith(str(environment)), path
  assert found["version"] == tbvis.__version__


@pytest.mark.slow
@pytest.mark.parametrize("verb", VERBS)
def test_console_scripts_explain_themselves_outside_the_checkout(environment, verb):
  done = run(environment / "venv" / "bin" / f"tbvis-{verb}", "--help", cwd=environment, check=False)
  assert (done.returncode, done.stderr) == (0, "")
  assert f"Usage: tbvis-{verb} " in done.stdout
  assert "--json:" in done.stdout


@pytest.mark.slow
def test_tensorboard_finds_the_plugin_and_serves_its_page(environment):
  found = inside(
    environment,
    """
    import json, os, tempfile, urllib.request
    from tensorboard import program
    board = program.TensorBoard()
    board.configure(argv=[None, "--logdir", tempfile.mkdtemp(), "--port", "0", "--load_fast=false"])
    url = board.launch()
    listing = json.load(urllib.request.urlopen(url + "data/plugins_listing"))
    page = listing["tbvis"]["loading_mechanism"]["module_path"]
    answer = urllib.request.urlopen(url.rstrip("/") + page)
    print(json.dumps({"page": page, "type": answer.headers["Content-Type"], "size": len(answer.read())}), flush=True)
    os._exit(0)
    """,
  )
  assert found["page"].startswith("/data/plugin/tbvis/static/")
  assert "javascript" in found["type"]
  assert found["size"] > 200


def imported_modules():
  """Top-level modules that the library imports, with a file that does."""
  found = {}
  for path in [*(ROOT / "tbvis").rglob("*.py"), *(ROOT / "tb_plugin").rglob("*.py")]:
    for node in ast.walk(ast.parse(path.read_text())):
      if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
      elif isinstance(node, ast.ImportFrom) and node.level == 0:
        names = [node.module]
      else:
        continue
      found.update({name.split(".")[0]: path.relative_to(ROOT) for name in names})
  return {name: path for name, path in found.items() if name not in sys.stdlib_module_names and name not in ("tbvis", "tb_plugin")}


def test_what_is_imported_is_declared_and_the_reverse():
  text = (ROOT / "setup.py").read_text()
  block = re.search(r"REQUIREMENTS = \[\n(.*?)\n\]", text, re.DOTALL).group(1)
  declared = {re.match(r"[A-Za-z0-9_.-]+", name).group().lower() for name in re.findall(r'^\s+"([^"]+)"', block, re.MULTILINE)}
  # The module's name where it is not that of the distribution.
  modules = {
    "absl-py": "absl",
    "opencv-contrib-python-headless": "cv2",
    "pillow": "PIL",
    "protobuf": "google",
    "tensorflow-datasets": "tensorflow_datasets",
  }
  declared_modules = {modules.get(name, name) for name in declared}
  imported = imported_modules()
  # Protocol buffers, Werkzeug and the like are TensorBoard's own interface.
  of_tensorboard = {re.match(r"[A-Za-z0-9_.-]+", r).group().lower() for r in importlib.metadata.requires("tensorboard")}
  of_tensorboard |= {"google"}
  # An extra's module, imported where it is used and not before.
  extras = {"apache_beam": '"beam": ["apache-beam', "torch": '"pytorch": ["safetensors>=0.4", "torch', "safetensors": '"safetensors>='}
  assert all(declaration in text for declaration in extras.values())
  known = declared_modules | set(extras)
  undeclared = {name: str(path) for name, path in imported.items() if name not in known and name.lower() not in of_tensorboard}
  assert not undeclared
  # Needed by tensorflow-datasets, which does not declare it.
  assert declared_modules - {"importlib_resources"} <= set(imported)


def test_every_requirement_has_its_reason_and_none_an_upper_bound():
  text = (ROOT / "setup.py").read_text()
  block = re.search(r"REQUIREMENTS = \[\n(.*?)\n\]", text, re.DOTALL).group(1)
  lines = [line.strip() for line in block.splitlines()]
  for index, line in enumerate(lines):
    if line.startswith('"'):
      assert "# " in line or lines[index - 1].startswith("#"), line
      assert "<" not in line and "==" not in line, line
