"""What every flag of every script says to values that are none: one line that names it, before any work is begun."""

from __future__ import annotations

import re

import pytest

from tests.scripts import bad_inputs

SCRIPTS = bad_inputs.modules()


def test_every_script_is_tried():
  assert {"prepare", "train", "evaluate", "maximize", "explain", "analyze", "figure", "demo", "doctor", "import"} == set(SCRIPTS)


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS)
def test_bad_values_are_refused_in_one_line_that_names_the_flag(script):
  answers = bad_inputs.ask(script)
  assert len({answer.flag for answer in answers}) > 3
  wrong = []
  for answer in answers:
    if bad_inputs.expected_to_go_on(answer):
      fits = answer.status == 0
    elif answer.flag:
      fits = answer.is_clear
    else:
      # Of flags that do not go together one is named: any, as the one that lacks.
      fits = answer.is_clear and re.search(r"--[a-z_]+", answer.said)
    if not fits:
      wrong.append((answer.arguments, answer.status, answer.said[-400:]))
  assert not wrong
