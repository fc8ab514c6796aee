# Sourced by the other scripts: a .venv at the top of the checkout, with the project installed in it.
# PYTHON names another interpreter to make it from (default: python3).

die() {
  printf '%s: %s\n' "$(basename "$0")" "$*" >&2
  exit 1
}

# install_project EXTRAS: makes .venv where it is missing and installs the project, editable, with "" or "[test]".
# What was installed is remembered, so that a second run neither waits for pip nor needs a network.
install_project() {
  local extras=$1 python=${PYTHON:-python3} stamp want
  command -v "$python" >/dev/null || die "expected Python 3.10 or later, found no $python; install it or set PYTHON."
  if [[ ! -x .venv/bin/python ]]; then
    "$python" -c 'import sys; raise SystemExit(sys.version_info < (3, 10))' ||
      die "expected Python 3.10 or later, found $("$python" --version 2>&1); set PYTHON to a later one."
    "$python" -c 'import ensurepip, venv' 2>/dev/null ||
      die "expected Python's venv module, found none for $python (on Debian: apt-get install python3-venv)."
    echo "Making .venv with $("$python" --version 2>&1)"
    "$python" -m venv .venv
  fi
  # The version changes neither the dependencies nor what an editable installation points at; these files do.
  want=$(cat setup.py pyproject.toml | sha256sum | cut -d ' ' -f 1)" $PWD"
  stamp=.venv/tbvis-installed${extras//[\[\]]/-}
  if [[ "$(cat "$stamp" 2>/dev/null)" != "$want" ]]; then
    echo "Installing the project into .venv (TensorFlow is large: several minutes the first time)"
    local quiet=--quiet
    [[ -t 1 ]] && quiet=
    .venv/bin/python -m pip install --disable-pip-version-check $quiet --editable ".$extras" ||
      die "installation failed; see the lines above. Remove .venv to start anew."
    echo "$want" >"$stamp"
  fi
}

# check_code: style, layout (`ruff format .` makes it) and types, as pyproject.toml sets them.
check_code() {
  .venv/bin/python -m ruff check .
  .venv/bin/python -m ruff format --check --quiet . || die "the files above are laid out otherwise: .venv/bin/python -m ruff format ."
  .venv/bin/python -m mypy
}

# run_pytest ARGUMENTS, in place of this shell. A file's tests share what they set up, and so stay with one worker. Files come in order
# of their names: by their number of tests, long ones of few tests would come last and one worker would wait for the other.
# The programs that tests start would compile the project each time where Python is forbidden to keep what it compiled.
run_pytest() {
  unset PYTHONDONTWRITEBYTECODE
  exec .venv/bin/python -m pytest -n "${TBVIS_TEST_WORKERS:-2}" --dist loadfile --no-loadscope-reorder "$@"
}
