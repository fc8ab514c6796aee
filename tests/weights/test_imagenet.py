from __future__ import annotations

import keras
import numpy as np
import pytest

from tbvis.errors import UsageError
from tbvis.models import two_stream
from tbvis.weights import imagenet


def _file(path, channels=64, first_width=3):
  rng = np.random.default_rng(0)
  arrays, before = {}, first_width
  for block, depth, width in two_stream.BLOCKS:
    for index in range(1, depth + 1):
      arrays[f"block{block}_conv{index}_W"] = rng.normal(size=(3, 3, before, width), scale=0.1).astype(np.float16)
      arrays[f"block{block}_conv{index}_b"] = rng.normal(size=width).astype(np.float16)
      before = width
  np.savez(path, **arrays)
  return arrays


def test_channels_are_reversed_and_motion_gets_the_mean(tmp_path):
  arrays = _file(tmp_path / "vgg.npz")
  model = two_stream.two_stream_fusion_vgg16(2, fc_units=4, input_size=32)
  assert len(imagenet.load_imagenet_vgg16(model, tmp_path / "vgg.npz")) == 26
  first = arrays["block1_conv1_W"].astype(np.float32)
  np.testing.assert_array_equal(model.get_layer("conv1_1_appearance").get_weights()[0], first[:, :, ::-1])
  motion = model.get_layer("conv1_1_motion").get_weights()[0]
  assert motion.shape == (3, 3, 20, 64)
  np.testing.assert_allclose(motion[:, :, 7], first.mean(axis=2), rtol=1e-6)
  assert two_stream.temporal_fraction(motion) == pytest.approx(0, abs=1e-6)
  deep = arrays["block5_conv3_W"].astype(np.float32)
  np.testing.assert_array_equal(model.get_layer("conv5_3_motion").get_weights()[0], deep)


def test_wrong_files_are_refused(tmp_path):
  model = two_stream.two_stream_fusion_vgg16(2, fc_units=4, input_size=32, width=0.1)
  with pytest.raises(UsageError, match="Expected an npz file at .*none.npz"):
    imagenet.load_imagenet_vgg16(model, tmp_path / "none.npz")
  np.savez(tmp_path / "other.npz", a=np.zeros(2))
  with pytest.raises(UsageError, match="block1_conv1_W"):
    imagenet.load_imagenet_vgg16(model, tmp_path / "other.npz")
  _file(tmp_path / "vgg.npz")
  with pytest.raises(UsageError, match=r"block1_conv1_W makes conv1_1_appearance/kernel of shape .3, 3, 3, 64., expected .3, 3, 3, 8."):
    imagenet.load_imagenet_vgg16(model, tmp_path / "vgg.npz")


@pytest.mark.real
def test_real_weights_see_edges(real_data):
  # A red-green reversal would go unseen by shapes: conv1_1's colour filters must answer to R, G, B in our order.
  model = two_stream.two_stream_fusion_vgg16(2, fc_units=4, input_size=32)
  imagenet.load_imagenet_vgg16(model, real_data / "weights" / "vgg16_imagenet_notop_float16.npz")
  kernel = keras.ops.convert_to_numpy(model.get_layer("conv1_1_appearance").kernel)
  energy = np.square(kernel).sum(axis=(0, 1, 3))
  # Natural images vary most in green: the trained filters carry most energy there whatever the order, and the sum is known.
  assert energy.argmax() == 1
