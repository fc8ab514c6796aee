"""What every script does with its flags, errors and interruptions, seen from outside."""

import json
import os
import subprocess
import sys
import textwrap

import pytest

from tbvis.errors import UsageError
from tbvis.scripts import flag_values

PROGRAM = textwrap.dedent('''
    """Does one of several things."""
    from absl import flags
    from tbvis.errors import UsageError
    from tbvis.scripts import app, flag_values

    THINGS = ["print", "usage", "interrupt", "bug", "report", "full", "hdf5", "locked", "memory"]
    WHAT = flags.DEFINE_enum("what", "print", THINGS, "What to do.")
    COUNT = flags.DEFINE_integer("count", 1, "How often.", lower_bound=1)
    JSON = app.define_json()

    def main():
      if WHAT.value == "usage":
        raise UsageError("Expected a folder,\\n   found a file.")
      if WHAT.value == "interrupt":
        raise KeyboardInterrupt
      if WHAT.value == "full":
        raise OSError(28, "No space left on device", "a.npz")
      if WHAT.value == "hdf5":
        raise OSError("Can't write data (file write failed: error message = 'No space left on device')")
      if WHAT.value == "locked":
        raise PermissionError(13, "Permission denied", "a.npz")
      if WHAT.value == "memory":
        raise MemoryError("Unable to allocate 3 GiB")
      if WHAT.value == "bug":
        raise ZeroDivisionError("a bug keeps its traceback")
      app.report_json(JSON.value, {"seconds": 1.5})
      print("done", COUNT.value)

    app.run(main)
''')


@pytest.fixture
def call(tmp_path):
  program = tmp_path / "tbvis-example.py"
  program.write_text(PROGRAM)

  def run(*arguments):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run([sys.executable, program, *arguments], capture_output=True, text=True, env=environment, cwd=tmp_path)

  return run


def assert_one_line(done, line):
  assert done.returncode == 2
  assert done.stderr == f"tbvis-example: error: {line}\n"
  assert done.stdout == ""


def test_it_runs(call):
  done = call("--count=3")
  assert (done.returncode, done.stdout, done.stderr) == (0, "done 3\n", "")


def test_a_usage_error_is_one_line_and_status_2(call):
  assert_one_line(call("--what=usage"), "Expected a folder, found a file.")


def test_a_bug_keeps_its_traceback(call):
  done = call("--what=bug")
  assert done.returncode == 1
  assert "Traceback" in done.stderr
  assert "ZeroDivisionError" in done.stderr


@pytest.mark.parametrize(
  ("what", "told"),
  [
    ("full", "expected room to write for a.npz; No space left on device."),
    ("hdf5", "expected room to write; No space left on device."),
    ("locked", "expected leave to write for a.npz; Permission denied."),
    ("memory", "expected more memory than there is (Unable to allocate 3 GiB)."),
  ],
)
def test_what_the_machine_refuses_is_one_line_and_status_2(call, what, told):
  done = call(f"--what={what}")
  assert done.returncode == 2 and done.stderr.count("\n") == 1
  assert done.stderr.startswith(f"tbvis-example: error: {told} What was finished is kept"), done.stderr


def test_an_unknown_flag_gets_the_nearest(call):
  done = call("--cont=3")
  assert done.returncode == 2
  assert done.stderr.startswith("tbvis-example: error: unknown flag --cont. Nearest: --count")
  assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("argument", ["--count=0", "--count=many", "--what=nothing"])
def test_a_bad_value_is_one_line_that_names_the_flag(call, argument):
  done = call(argument)
  assert done.returncode == 2
  assert done.stderr.count("\n") == 1
  assert argument.split("=")[0].lstrip("-") in done.stderr
  assert "Traceback" not in done.stderr


def test_a_stray_argument_is_refused(call):
  assert_one_line(call("videos"), "expected flags only, received 'videos'. See --help.")


def test_an_interruption_says_that_finished_work_is_kept(call):
  done = call("--what=interrupt")
  assert (done.returncode, done.stderr) == (130, "tbvis-example: interrupted; what was finished is kept.\n")


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_tells_the_purpose_and_every_flag_of_the_script(call, flag):
  done = call(flag)
  assert (done.returncode, done.stderr) == (0, "")
  assert done.stdout.startswith("Does one of several things.\n\nUsage: tbvis-example ")
  for text in ("--what:", "--count: How often.", "(default: '1')", "--json:"):
    assert text in done.stdout
  # Nobody else's.
  assert "--pdb" not in done.stdout


def test_a_flagfile_gives_flags_and_the_command_line_wins(call, tmp_path):
  (tmp_path / "a.flags").write_text("# a comment\n--count=5\n")
  assert call("--flagfile=a.flags").stdout == "done 5\n"
  assert call("--flagfile=a.flags", "--count=6").stdout == "done 6\n"


def test_a_missing_flagfile_is_one_line(call):
  done = call("--flagfile=nowhere.flags")
  assert done.returncode == 2
  assert done.stderr.count("\n") == 1
  assert "nowhere.flags" in done.stderr


def test_numbers_are_written_as_json(call, tmp_path):
  assert call("--json=out/numbers.json").returncode == 0
  assert json.loads((tmp_path / "out" / "numbers.json").read_text()) == {"seconds": 1.5}


def test_json_that_cannot_be_written_is_one_line(call, tmp_path):
  (tmp_path / "blocker").write_text("")
  done = call("--json=blocker/numbers.json")
  assert done.returncode == 2
  assert done.stderr.count("\n") == 1
  assert "blocker" in done.stderr


def test_paths_expand_variables_and_home(monkeypatch):
  monkeypatch.setenv("TBVIS_EXAMPLE", "/somewhere")
  monkeypatch.setenv("HOME", "/home/someone")
  assert str(flag_values.expand_path("$TBVIS_EXAMPLE/videos", "videos")) == "/somewhere/videos"
  assert str(flag_values.expand_path("${TBVIS_EXAMPLE}/videos", "videos")) == "/somewhere/videos"
  assert str(flag_values.expand_path("~/videos", "videos")) == "/home/someone/videos"
  assert flag_values.expand_path(None, "videos") is None


def test_a_variable_that_is_not_set_is_said(monkeypatch):
  monkeypatch.delenv("TBVIS_EXAMPLE", raising=False)
  with pytest.raises(UsageError, match=r"--videos: '\$TBVIS_EXAMPLE/videos' names an environment variable that is not set"):
    flag_values.expand_path("$TBVIS_EXAMPLE/videos", "videos")


def test_a_required_path_is_asked_for():
  with pytest.raises(UsageError, match="--videos is required"):
    flag_values.required_path(None, "videos")


@pytest.mark.slow
def test_tensorflow_loads_in_silence(tmp_path):
  # A process of its own: what is silenced is written by C++ at the first import.
  environment = {k: v for k, v in os.environ.items() if not k.startswith("TF_")} | {"PYTHONPATH": os.pathsep.join(sys.path)}
  code = (
    "from tbvis.scripts import app; app.load_tensorflow(); import tensorflow; print(tensorflow.config.list_physical_devices('CPU') != [])"
  )
  done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=tmp_path)
  assert (done.returncode, done.stdout, done.stderr) == (0, "True\n", "")


def test_what_was_held_back_is_shown_after_a_failure(tmp_path):
  code = textwrap.dedent("""
    import os
    from tbvis import startup
    with startup.held_back():
      os.write(2, b"lost\\n")
    os.write(2, b"between\\n")
    with startup.held_back():
      os.write(2, b"the reason\\n")
      raise ImportError("no library")
  """)
  environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
  done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=tmp_path)
  assert done.stderr.startswith("between\nthe reason\nTraceback")
  assert "lost" not in done.stderr
