from __future__ import annotations

import subprocess
import sys

import cv2
import numpy as np
import pytest

from tbvis.datasets import flow
from tbvis.errors import UsageError

# Together they take a good part of a minute.
pytestmark = pytest.mark.slow


def _shifted(u: float, v: float) -> tuple[np.ndarray, np.ndarray]:
  rng = np.random.default_rng(0)
  texture = cv2.GaussianBlur(rng.uniform(0, 255, (200, 240)).astype(np.float32), (0, 0), 2)
  texture = cv2.normalize(texture, None, 0, 255, cv2.NORM_MINMAX)
  move = np.float32([[1, 0, u], [0, 1, v]])
  second = cv2.warpAffine(texture, move, (240, 200), borderMode=cv2.BORDER_REFLECT)
  return texture.astype(np.uint8), second.astype(np.uint8)


# Its first use compiles for seconds.
METHODS = [pytest.param(method, marks=[pytest.mark.slow] * (method == "tvl1_tf")) for method in flow.METHODS]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("motion", [(3.0, 0.0), (0.0, -2.0), (-1.5, 2.5)])
def test_known_motion_keeps_sign_and_axes(method, motion):
  first, second = _shifted(*motion)
  field = flow.compute_flow(first, second, method)
  assert field.shape == (200, 240, 2) and field.dtype == np.float32
  np.testing.assert_allclose(np.median(field[20:-20, 20:-20], axis=(0, 1)), motion, atol=0.15)


def _read_flo(path):
  data = path.read_bytes()
  assert np.frombuffer(data[:4], np.float32)[0] == np.float32(202021.25)
  width, height = np.frombuffer(data[4:12], np.int32)
  return np.frombuffer(data[12:], np.float32).reshape(height, width, 2)


@pytest.fixture(scope="module")
def whale(real_data):
  """The flow of a pair of real frames, by method."""
  first, second = (cv2.cvtColor(cv2.imread(str(real_data / "flow" / f"rubberwhale{i}.png")), cv2.COLOR_BGR2RGB) for i in (1, 2))
  return {method: flow.compute_flow(first, second, method) for method in flow.METHODS}


@pytest.mark.slow
@pytest.mark.real
@pytest.mark.parametrize(("method", "expected"), [("tvl1", 0.16), ("tvl1_tf", 0.16), ("dis", 0.22)])
def test_end_point_error_on_rubber_whale(real_data, whale, method, expected):
  truth = _read_flo(real_data / "flow" / "flow10.flo")
  known = np.all(np.abs(truth) < 1e9, axis=-1)
  error = np.linalg.norm(whale[method] - truth, axis=-1)[known].mean()
  zero = np.linalg.norm(truth, axis=-1)[known].mean()
  assert error <= 1.1 * expected
  assert zero == pytest.approx(1.26, rel=0.02)


@pytest.mark.slow
@pytest.mark.real
def test_difference_from_opencv_on_rubber_whale(whale):
  assert np.linalg.norm(whale["tvl1_tf"] - whale["tvl1"], axis=-1).mean() < 0.02


def test_eight_bit_form_matches_the_published_rule():
  values = np.array([-25.0, -20.0, -0.2, 0.0, 0.2, 20.0, 25.0], np.float32)
  np.testing.assert_array_equal(flow.quantize(values), [0, 0, 126, 128, 129, 255, 255])
  inside = np.linspace(-20, 19.8, 500, dtype=np.float32)
  assert np.abs(flow.dequantize(flow.quantize(inside)) - inside).max() <= 40 / 255


def test_unknown_method_is_refused_with_the_names():
  with pytest.raises(UsageError, match="'tvl2'.*tvl1"):
    flow.compute_flow(np.zeros((8, 8), np.uint8), np.zeros((8, 8), np.uint8), "tvl2")


@pytest.mark.parametrize("method", METHODS)
def test_a_clip_is_its_pairs_in_order(method):
  clip = np.stack([_shifted(step, 0.0)[1] for step in (0.0, 1.0, -1.0)])
  fields = list(flow.compute_flows(clip, method))
  assert len(fields) == 2 and np.median(fields[0][..., 0]) == pytest.approx(1, abs=0.15)
  for field, first, second in zip(fields, clip[:-1], clip[1:], strict=True):
    np.testing.assert_array_equal(field, flow.compute_flow(first, second, method))
  coloured = flow.compute_flows(np.repeat(clip[..., None], 3, axis=-1), method)
  np.testing.assert_array_equal(list(coloured), fields)


@pytest.mark.parametrize("method", flow.METHODS)
def test_one_frame_has_no_flow_and_no_frame_a_wrong_shape(method):
  assert list(flow.compute_flows(np.zeros((1, 32, 32), np.uint8), method)) == []
  with pytest.raises(ValueError, match=r"expected frames \(T, H, W\).*received \(4, 32, 32, 2\)"):
    list(flow.compute_flows(np.zeros((4, 32, 32, 2), np.uint8), method))


def test_small_frames_leave_tvl1_all_its_levels_for_the_next():
  first, second = _shifted(6.0, 0.0)
  flow._tvl1.cache_clear()
  fresh = flow.compute_flow(first, second, "tvl1")
  flow.compute_flow(first[:20, :20], second[:20, :20], "tvl1")
  np.testing.assert_array_equal(flow.compute_flow(first, second, "tvl1"), fresh)


def test_flow_without_tensorflow_loads_none():
  program = """
import sys
import numpy as np
from tbvis.datasets import decoding, flow
frames = np.zeros((2, 64, 64), np.uint8)
for method in ("dis", "tvl1"):
  list(flow.compute_flows(frames, method))
assert "tensorflow" not in sys.modules
"""
  subprocess.run([sys.executable, "-c", program], check=True)
