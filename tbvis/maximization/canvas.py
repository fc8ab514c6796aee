"""How large a stimulus is, from what its unit sees."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from tbvis.errors import UsageError
from tbvis.maximization import config as config_lib
from tbvis.models import geometry as geometry_lib

if TYPE_CHECKING:
  from tbvis.maximization.streams import Stream
  from tbvis.models.geometry import LayerGeometry

_LEAST_LOCATIONS = 4
# Up to this field the authors' pictures have twice the receptive field, beyond it 1.1 times (METHOD 2.5).
_SMALL_FIELD = 100
# Beyond pool5 only fc6 and what follows it is left.
_WHOLE_STRIDE = 32
# (N, H, W, C).
_MAP_RANK = 4


def canvas_size(geometry: LayerGeometry, config: config_lib.MaximizationConfig, input_size: int = 224) -> int:
  """Returns the side of a stimulus in pixels.

  An odd number of locations n = field / stride * factor, at least 5, and the largest canvas whose map is still
  n x n: n * stride + stride - 1 (METHOD 2.5). A network trained on small crops has never seen more than these, so
  n is not above a crop's own. Units from fc6 on see a whole crop: for them the canvas is the crop.

  Args:
    geometry: of the layer.
    config: its `canvas` and `canvas_factor` go before the rule.
    input_size: side of the network's training crop.

  Raises:
    UsageError: if `canvas` leaves the layer without a location.

  >>> from tbvis.models.geometry import LayerGeometry
  >>> conv4_3 = LayerGeometry("conv4_3_motion", 512, 92, 8, ("motion",))
  >>> [canvas_size(conv4_3, config_lib.MaximizationConfig(), size) for size in (224, 112)]
  [191, 127]
  """
  stride = None if geometry.stride is None or geometry.stride >= _WHOLE_STRIDE else geometry.stride
  least = stride or input_size
  if config.canvas:
    if config.canvas < least:
      raise UsageError(f"--canvas: expected at least {least} pixels for layer {geometry.name}, received {config.canvas}.")
    return config.canvas
  if stride is None or geometry.field is None or config.whole_canvas:
    return input_size
  factor = config.canvas_factor or (2.0 if geometry.field <= _SMALL_FIELD else 1.1)
  locations = max(round(geometry.field / stride * factor), _LEAST_LOCATIONS)
  if not config.canvas_factor:
    locations = min(locations, input_size // stride)
  locations += 1 - locations % 2
  return locations * stride + stride - 1


def maps_of(place: LayerGeometry, streams: Mapping[str, Stream]) -> int:
  """Returns how many maps a layer makes of a row: a layer over time tells, others have chunks folded into their rows."""
  frames = place.shape[1] if len(place.shape) > _MAP_RANK else max(streams[stream].chunks for stream in place.streams)
  return max(frames or 0, 1)


def bytes_per_row(
  table: Mapping[str, LayerGeometry], layers: tuple[str, ...], canvas: int, value_bytes: int, streams: Mapping[str, Stream]
) -> int:
  """Estimates the memory that one row's values take up to `layers`, forward and backward."""
  names = {stream for layer in layers for stream in table[layer].streams}
  total = 0.0
  for place in geometry_lib.up_to(table, layers):
    if place.stride:
      total += place.channels * (canvas / place.stride) ** 2 * maps_of(place, streams)
  # The ascent itself holds the inputs, their two moments and a few copies in float32.
  inputs = canvas**2 * sum(streams[name].frames * streams[name].components for name in names) * 4 * 8
  return int(total * value_bytes * 1.3 + inputs)
