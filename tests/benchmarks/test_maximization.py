"""benchmarks/maximization.py: its arithmetic, and the script as a user calls it, on narrow networks."""

from __future__ import annotations

import doctest
import json
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest

from benchmarks.peers import common, environments, report
from tbvis.errors import UsageError
from tbvis.models import two_stream
from tests import calls

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "benchmarks" / "maximization.py"


def _macs(model, *inputs):
  """Multiply-adds of every convolution, from the maps that a forward pass really makes."""
  convolutions = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
  maps = keras.Model(model.inputs, [layer.output for layer in convolutions])(list(inputs))
  return sum(int(np.prod(m.shape[1:3])) * int(np.prod(layer.kernel.shape)) for layer, m in zip(convolutions, maps, strict=True))


@pytest.mark.parametrize("module", [common, report])
def test_examples(module):
  assert doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE).failed == 0


def test_multiplications_by_hand():
  # conv1_1: 6 x 6 places, 9 x 3 inputs, 64 outputs; conv1_2: 64 inputs; conv2_1 at 3 x 3 places.
  assert report.tower_macs(6, 3, (1, 1)) == 6 * 6 * 27 * 64
  assert report.tower_macs(6, 3, (2, 1)) == 6 * 6 * 27 * 64 + 6 * 6 * 576 * 64 + 3 * 3 * 576 * 128
  assert report.flops(10) == 40


@pytest.mark.parametrize("canvas", [47, 64])
def test_multiplications_of_the_image_network(canvas):
  net = common.vgg16(common.random_weights(0, 0.1), linear="block4_conv2")
  assert report.image_macs("block4_conv2", canvas, 0.1) == _macs(net, np.zeros((1, canvas, canvas, 3), np.float32))


@pytest.mark.parametrize(("layer", "canvas"), [("conv5_fusion", 223), ("prediction", 224)])
def test_multiplications_of_a_network_of_clips(layer, canvas):
  whole = two_stream.two_stream_fusion_vgg16(7, width=0.02, fc_units=4, base_classifier=False)
  net = keras.Model(whole.inputs, whole.get_layer(layer).output)
  inputs = [np.zeros((1, canvas, canvas, x.shape[-1]), np.float32) for x in net.inputs]
  assert report.network_macs(whole, layer, canvas) == _macs(net, *inputs)


def test_multiplications_are_those_of_every_chunk():
  alone, three = (two_stream.two_stream_fusion_vgg16(7, width=0.02, fc_units=4, input_size=32, chunks=chunks) for chunks in (1, 3))
  assert report.network_macs(three, "conv5_fusion", 32) == 3 * report.network_macs(alone, "conv5_fusion", 32)


@pytest.mark.slow
def test_the_image_network_is_that_of_keras_applications():
  ours, theirs = common.vgg16(common.random_weights(0)), keras.applications.VGG16(weights=None, include_top=False)
  assert [layer.name for layer in ours.layers[1:]] == [layer.name for layer in theirs.layers[1:]]
  assert [w.shape for w in ours.get_weights()] == [w.shape for w in theirs.get_weights()]


def test_a_network_ends_before_the_relu_where_asked():
  weights = common.random_weights(1, 0.1)
  image = common.noise(0, 1, 32, 32, 3)
  linear = keras.ops.convert_to_numpy(common.vgg16(weights, linear="block2_conv2")(image))
  whole = common.vgg16(weights, 32)
  rectified = keras.ops.convert_to_numpy(keras.Model(whole.input, whole.get_layer("block2_conv2").output)(image))
  assert linear.min() < 0
  np.testing.assert_allclose(np.maximum(linear, 0), rectified, rtol=1e-5)


def _timed(seconds, others=None):
  return {"seconds": seconds, "others": others or [0.0] * len(seconds)}


def test_medians_leave_the_first_and_disturbed_steps_out():
  assert report.steady(_timed([9.0, 5.0, 1.0, 2.0, 3.0])) == 2.0
  assert report.steady(_timed([9.0, 5.0])) == 5.0
  assert report.steady(_timed([9.0])) == 9.0
  disturbed = _timed([9.0, 5.0, 1.0, 2.0, 3.0, 30.0, 40.0, 50.0], [0.0, 0.0, 0.0, 0.01, 0.0, 9.0, 9.0, 9.0])
  assert report.steady(disturbed) == 2.0 and report.is_quiet(disturbed)
  # Too few are left to tell: all of them, and that is said.
  hopeless = _timed([9.0, 5.0, 1.0, 2.0, 3.0], [0.0, 0.0, 9.0, 9.0, 0.0])
  assert report.steady(hopeless) == 2.0 and not report.is_quiet(hopeless)
  assert report.overhead_percent(1.1, 1.0) == pytest.approx(10)


def test_what_other_programs_use_is_seen():
  watch = common.Others()
  busy = subprocess.run([sys.executable, "-c", "sum(range(15_000_000))"], check=True)
  assert busy.returncode == 0 and watch.seconds() > 0.1
  sum(range(10_000_000))
  assert watch.seconds() >= 0


def test_ratios_are_theirs_over_ours():
  assert report.ratio(3.0, 1.5) == 2.0
  assert report.ratio(None, 1.0) is None and report.ratio(1.0, None) is None


def test_the_common_score_is_one_that_all_reach_that_rose():
  # Ours, another, one that fell, one that stayed off.
  assert report.common_level([[0.1, 4.0, 8.0], [1.0, 2.0, 4.0], [3.0, 1.0], [-2.0, -1.0]]) == pytest.approx(3.6)
  assert report.common_level([[3.0, 1.0]]) is None and report.common_level([]) is None


def test_time_to_a_score():
  assert report.steps_to(2.0, [1, 5], [3.0, 9.0]) == 1.0
  assert report.steps_to(9.0, [1, 5, 9], [1.0, 2.0, 3.0]) is None
  # Reached, but not kept.
  assert report.steps_to(2.0, [1, 5], [3.0, 1.0]) is None
  count = report.steps_to(2.5, [1, 5, 9], [1.0, 2.0, 3.0])
  assert count == pytest.approx(7)
  assert report.seconds_to(count, 10.0, 0.5) == pytest.approx(13)
  assert report.seconds_to(None, 10.0, 0.5) is None


def test_a_table_is_aligned_and_may_be_markdown():
  measured = report.Measured("conv3_3", "tbvis", 47, "bfloat16", 0.01234, 1.5, 900.4, 42.2, 7.04, None, 1.1)
  lines = report.table(report.HEADER, [measured.cells()]).splitlines()
  assert len(lines) == 2 and lines[1].split() == ["conv3_3", "tbvis", "47", "bfloat16", "0.0123", "1.10", "1.5", "900", "42", "7.0", "-"]
  lines = report.table(report.HEADER, [measured.cells()], markdown=True).splitlines()
  assert len(lines) == 3 and len({line.count("|") for line in lines}) == 1 and "---:" in lines[1]


def test_a_clock_stands_still_while_images_are_kept(tmp_path):
  kept = []

  def keep():
    kept.append(len(clock.seconds))
    return np.full((1, 2, 2, 3), len(clock.seconds))

  clock = common.Clock(5, every=3, path=str(tmp_path / "images"), keep=keep)
  for _ in range(5):
    clock.tick()
  assert kept == [1, 4, 5] and len(clock.seconds) == 5
  assert np.load(tmp_path / "images.3.npy").max() == 4


def test_a_library_that_cannot_be_installed_is_one_line(tmp_path):
  folder = tmp_path / "nothing" / "bin"
  folder.mkdir(parents=True)
  # An interpreter that is there, without a package index to ask.
  (folder / "python").write_text('#!/bin/sh\necho "ERROR: no network" >&2\nexit 1\n')
  (folder / "python").chmod(0o755)
  with pytest.raises(UsageError, match="nothing could not be installed: ERROR: no network --nopeers"):
    environments.python_of(environments.Peer("nothing", "none.py", ("none",)), tmp_path)


def test_an_environment_that_is_there_is_used(tmp_path):
  peer = environments.Peer("nothing", "none.py", ("none",), ("alone",))
  folder = tmp_path / "nothing"
  (folder / "bin").mkdir(parents=True)
  (folder / "bin" / "python").touch()
  (folder / "installed.json").write_text(json.dumps(["none", "alone"]))
  assert environments.python_of(peer, tmp_path) == folder / "bin" / "python"


def _run(*arguments):
  # In a checkout that is not installed the project is found all the same.
  environment = {**os.environ, "PYTHONPATH": str(SCRIPT.parents[1])}
  done = calls.run(SCRIPT, *arguments, env=environment)
  assert "Traceback" not in done.stderr, done.stderr[-3000:]
  return done


@pytest.mark.slow
def test_mistakes_are_one_line(tmp_path):
  np.savez(tmp_path / "other.npz", a=1)
  for arguments, expected in (
    (("--works=conv9_9",), "Unknown work 'conv9_9'"),
    (("--cores=4000",), "--cores: expected some of"),
    (("--weights=/nowhere.npz",), "--weights: expected an npz"),
    ((f"--weights={tmp_path / 'other.npz'}",), "has no block1_conv1_W"),
  ):
    done = _run("--nopeers", *arguments)
    assert done.returncode == 2 and expected in done.stderr and len(done.stderr.strip().splitlines()) == 1, done.stderr


@pytest.mark.slow
def test_narrow_networks_are_measured(tmp_path):
  done = _run(
    "--quick",
    "--nopeers",
    "--works=conv3_3,conv5_fusion",
    "--width=0.1",
    "--steps=3",
    "--growth_units=8",
    "--patience=0",
    f"--json={tmp_path / 'out.json'}",
  )
  assert done.returncode == 0, done.stderr[-3000:]
  numbers = json.loads((tmp_path / "out.json").read_text())
  for key in ("ratio_vs_floor_fusion", "overhead_percent", "tbvis_conv3_3_47_seconds_per_unit_iteration", "matmul_float32_gflops"):
    assert np.isfinite(numbers[key]), key
  for key in ("ratio_vs_xplique_conv3_3", "ratio_vs_xplique_conv4_3", "ratio_vs_xplique_conv5_3", "ratio_vs_floor_conv5_3_224"):
    assert numbers[key] is None, key
  assert numbers["has_bfloat16"] in (True, False)
  assert numbers["floor_conv5_fusion_223_peak_memory_mib"] > 100
  assert numbers["memory_growth_units"] == 8
  assert "conv3_3" in done.stdout and "Overhead of a step at conv5_fusion" in done.stdout
