"""scripts/test, scripts/demo and .ci/run, with a Python that only writes down what it was asked."""

import os
import pathlib
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
TOOLS = ("bash", "env", "dirname", "basename", "cat", "sha256sum", "cut", "mkdir")
STUB = """#!/usr/bin/env bash
echo "$*" >>"$CALLS"
case "$*" in
  "-m pytest"*) exit "${PYTEST_STATUS:-0}" ;;
  "-m ruff"*) exit "${RUFF_STATUS:-0}" ;;
  "-m mypy"*) exit "${MYPY_STATUS:-0}" ;;
  "-c import torch") exit "${TORCH_STATUS:-0}" ;;
  "-m pip"*) exit "${PIP_STATUS:-0}" ;;
esac
"""


class Checkout:
  """A folder with the scripts, a stub .venv and a PATH with nothing but what the scripts need."""

  def __init__(self, folder):
    self.folder = folder / "checkout"
    self.bin = folder / "bin"
    self.calls_file = folder / "calls"
    for name in ("scripts", ".ci"):
      shutil.copytree(ROOT / name, self.folder / name)
    for name in ("setup.py", "pyproject.toml"):
      shutil.copy(ROOT / name, self.folder)
    self.bin.mkdir()
    for tool in TOOLS:
      (self.bin / tool).symlink_to(shutil.which(tool))
    self.program(self.bin / "id", "echo 1000")
    self.program(self.bin / "python3", "exit 0")
    self.program(self.folder / ".venv" / "bin" / "python", STUB)
    self.program(self.folder / ".venv" / "bin" / "tbvis-demo", 'echo "demo $* in $PWD" >>"$CALLS"')

  def program(self, path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text if text.startswith("#!") else f"#!/usr/bin/env bash\n{text}\n")
    path.chmod(0o755)

  def call(self, script, *arguments, cwd=None, **variables):
    self.calls_file.write_text("")
    environment = {"PATH": str(self.bin), "CALLS": str(self.calls_file), **variables}
    return subprocess.run(
      [self.folder / script, *arguments], capture_output=True, text=True, env=environment, cwd=cwd or self.folder, stdin=subprocess.DEVNULL
    )

  @property
  def calls(self):
    return self.calls_file.read_text().splitlines()


@pytest.fixture
def checkout(tmp_path):
  return Checkout(tmp_path)


@pytest.fixture
def with_browser(checkout):
  checkout.program(checkout.bin / "chromium", "exit 0")
  return checkout


def test_the_suite_runs_after_installation_and_style(with_browser):
  done = with_browser.call("scripts/test", "-m", "not slow", "tests/test_errors.py")
  assert done.returncode == 0, done.stderr
  installation, *torch, style, layout, types, suite = with_browser.calls
  assert set(torch) == {"-c import torch"}
  assert installation.endswith("--editable .[test]")
  assert (style, layout, types) == ("-m ruff check .", "-m ruff format --check --quiet .", "-m mypy")
  assert suite == "-m pytest -n 2 --dist loadfile --no-loadscope-reorder -m not slow tests/test_errors.py"


def test_pytorch_is_installed_where_it_is_asked_for(with_browser):
  done = with_browser.call("scripts/test", TORCH_STATUS="1")
  assert "SKIPPED: every test that compares with PyTorch" in done.stdout and "TBVIS_TORCH=1" in done.stdout
  assert not any("torch==" in call for call in with_browser.calls)
  for asked in ({"TBVIS_TORCH": "1"}, {"CI": "true"}):
    done = with_browser.call("scripts/test", TORCH_STATUS="1", **asked)
    assert done.returncode == 0 and any("install" in call and "torch==" in call for call in with_browser.calls)


def test_a_second_run_installs_nothing_until_setup_changes(with_browser):
  with_browser.call("scripts/test")
  with_browser.call("scripts/test")
  assert not any("pip" in call for call in with_browser.calls)
  with (with_browser.folder / "setup.py").open("a") as file:
    file.write("# changed\n")
  with_browser.call("scripts/test")
  assert "pip" in with_browser.calls[0]


def test_a_failed_installation_is_not_remembered(with_browser):
  done = with_browser.call("scripts/test", PIP_STATUS="1")
  assert done.returncode == 1
  assert "installation failed" in done.stderr
  assert with_browser.call("scripts/test").returncode == 0
  assert "pip" in with_browser.calls[0]


@pytest.mark.parametrize("status", [1, 5])
def test_the_status_is_that_of_pytest(with_browser, status):
  assert with_browser.call("scripts/test", PYTEST_STATUS=str(status)).returncode == status


@pytest.mark.parametrize("script", ["scripts/test", "scripts/check"])
@pytest.mark.parametrize("failing", ["RUFF_STATUS", "MYPY_STATUS"])
def test_bad_style_and_types_fail_before_the_tests(with_browser, script, failing):
  done = with_browser.call(script, **{failing: "1"})
  assert done.returncode == 1
  assert not any("pytest" in call for call in with_browser.calls)


def test_check_runs_the_fast_tests_alone(checkout):
  done = checkout.call("scripts/check", "tests/test_errors.py", TBVIS_TEST_WORKERS="0")
  assert done.returncode == 0, done.stderr
  _, style, layout, types, tests = checkout.calls
  assert (style, layout, types) == ("-m ruff check .", "-m ruff format --check --quiet .", "-m mypy")
  assert tests == "-m pytest -n 0 --dist loadfile --no-loadscope-reorder -m not slow tests/test_errors.py"


def test_without_a_browser_it_says_what_is_skipped(checkout):
  done = checkout.call("scripts/test")
  assert done.returncode == 0
  assert "SKIPPED: every test marked 'browser'" in done.stdout
  assert "SKIPPED: every test marked 'real'" in done.stdout


def test_without_a_browser_ci_fails(checkout):
  done = checkout.call(".ci/run", CI="true")
  assert done.returncode == 1
  assert "CI=true needs a browser" in done.stderr
  assert not any("pytest" in call for call in checkout.calls)


def _with_apt(checkout, *packages):
  """Root with an apt-get that knows these packages."""
  checkout.program(checkout.bin / "id", "echo 0")
  (checkout.bin / "cp").symlink_to(shutil.which("cp"))
  known = "".join(f' {name}) cp "$0" {checkout.bin / name} ;;' for name in packages)
  checkout.program(checkout.bin / "apt-get", f'echo "apt-get $*" >>"$CALLS"\nfor name in "$@"; do case $name in{known} esac; done')


def test_root_installs_the_browsers(checkout):
  _with_apt(checkout, "chromium", "firefox-esr")
  done = checkout.call("scripts/test", CI="true")
  assert done.returncode == 0, done.stderr
  for browser in ("chromium", "firefox-esr"):
    assert any(call.startswith("apt-get install") and browser in call for call in checkout.calls)
  assert "SKIPPED: every test marked 'browser'" not in done.stdout and "SKIPPED: every test in Firefox" not in done.stdout


def test_firefox_may_be_missing_but_where_ci_could_install_it(with_browser):
  done = with_browser.call("scripts/test", CI="true")
  assert done.returncode == 0 and "SKIPPED: every test in Firefox" in done.stdout
  assert "SKIPPED: every test with axe-core" in done.stdout, "there is no npm either"
  _with_apt(with_browser)
  done = with_browser.call("scripts/test", CI="true")
  assert done.returncode == 1 and "CI=true needs Firefox" in done.stderr
  assert with_browser.call("scripts/test").returncode == 0


def test_ci_finds_real_data_beside_the_checkout(with_browser):
  with_browser.program(with_browser.folder / ".venv" / "bin" / "python", '#!/usr/bin/env bash\necho "${TBVIS_REAL_DATA:-none}" >>"$CALLS"')
  with_browser.call(".ci/run")
  assert with_browser.calls[-1] == "none"
  real = with_browser.folder.parent / "shared" / "real"
  real.mkdir(parents=True)
  with_browser.call(".ci/run")
  assert with_browser.calls[-1] == str(real)
  with_browser.call(".ci/run", TBVIS_REAL_DATA="/elsewhere")
  assert with_browser.calls[-1] == "/elsewhere"


def test_the_demo_runs_where_the_caller_stands(checkout, tmp_path):
  done = checkout.call("scripts/demo", "--notensorboard", "--logdir=a b", cwd=tmp_path)
  assert done.returncode == 0, done.stderr
  assert checkout.calls[0].endswith("--editable .")
  assert checkout.calls[-1] == f"demo --notensorboard --logdir=a b in {tmp_path}"


def test_the_reference_is_made_where_the_caller_says(checkout, tmp_path):
  done = checkout.call("scripts/docs", "there", cwd=tmp_path)
  assert done.returncode == 0, done.stderr
  assert checkout.calls[0].endswith("--editable .[docs]")
  assert checkout.calls[-1].split() == ["there"]
  assert done.stdout.endswith("\nthere/index.html\n")
  assert checkout.call("scripts/docs").stdout == f"{checkout.folder}/site/index.html\n"


def test_a_missing_python_is_said(checkout):
  shutil.rmtree(checkout.folder / ".venv")
  done = checkout.call("scripts/demo", PYTHON="python4")
  assert done.returncode == 1
  assert done.stderr == "demo: expected Python 3.10 or later, found no python4; install it or set PYTHON.\n"


def test_an_old_python_is_said(checkout):
  shutil.rmtree(checkout.folder / ".venv")
  checkout.program(checkout.bin / "python3", 'if [[ $1 == --version ]]; then echo "Python 3.9.2"; else exit 1; fi')
  done = checkout.call("scripts/demo")
  assert done.returncode == 1
  assert "expected Python 3.10 or later, found Python 3.9.2" in done.stderr


def test_a_missing_venv_module_is_said(checkout):
  shutil.rmtree(checkout.folder / ".venv")
  checkout.program(checkout.bin / "python3", 'case "$*" in *ensurepip*) exit 1 ;; esac')
  done = checkout.call("scripts/demo")
  assert done.returncode == 1
  assert "apt-get install python3-venv" in done.stderr


def test_the_scripts_can_be_run():
  for name in ("scripts/check", "scripts/test", "scripts/demo", ".ci/run"):
    assert os.access(ROOT / name, os.X_OK), name


def test_figures_makes_them_all_and_tells_which_could_not_be(checkout):
  shutil.copytree(ROOT / "flags", checkout.folder / "flags")
  stub = '[[ $1 != */fig05.flags ]] || status=2; echo "figure ${1##*/} ${*:2} in $PWD" >>"$CALLS"; exit "${status:-${ALL:-0}}"'
  checkout.program(checkout.folder / ".venv" / "bin" / "tbvis-figure", stub)
  elsewhere = checkout.folder.parent
  done = checkout.call("scripts/figures", "--output_dir=here", cwd=elsewhere)
  made = [line for line in checkout.calls if line.startswith("figure ")]
  assert done.returncode == 2 and "Not made, for the reasons above: fig05" in done.stderr
  assert len(made) == 16 and made[0] == f"figure fig01.flags --output_dir=here in {elsewhere}"
  # A crash or Ctrl-C ends it at once.
  done = checkout.call("scripts/figures", cwd=elsewhere, ALL="130")
  assert done.returncode == 130 and len([line for line in checkout.calls if line.startswith("figure ")]) == 1
