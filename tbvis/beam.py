"""Apache Beam's options, for whatever runs as a pipeline."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
import contextlib
from typing import Any

from tbvis.errors import UsageError


def options(runner: str, flags: Sequence[str] = ()) -> Any:
  """Returns the PipelineOptions of a runner.

  Args:
    runner: of Beam: DirectRunner, FlinkRunner, SparkRunner, DataflowRunner, ...
    flags: Beam's own flags, such as --direct_num_workers=2.

  Raises:
    UsageError: if Beam is not installed, or refuses runner or flags.
  """
  try:
    from apache_beam.options import pipeline_options
  except ImportError as error:
    raise UsageError(f"--runner needs Apache Beam ({error}): pip install 'tbvis[beam]'.") from error
  given = [f"--runner={runner}", *flags]
  if runner == "DirectRunner" and not any(flag.startswith("--direct_running_mode") for flag in given):
    # Threads would share one interpreter and one TensorFlow.
    given.append("--direct_running_mode=multi_processing")
  with _refusals(given):
    return pipeline_options.PipelineOptions(given)


def pipeline(runner: str, flags: Sequence[str] = ()) -> Any:
  """Returns an empty pipeline of a runner; arguments and errors as for `options`."""
  parsed = options(runner, flags)
  import apache_beam

  with _refusals([f"--runner={runner}", *flags]):
    return apache_beam.Pipeline(options=parsed)


@contextlib.contextmanager
def _refusals(given: Sequence[str]) -> Iterator[None]:
  try:
    yield
  except (ValueError, SystemExit) as error:
    raise UsageError(f"--runner: Beam refused {' '.join(given)}: {error}") from error
