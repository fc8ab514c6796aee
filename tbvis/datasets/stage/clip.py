"""One clip: the setting of its group, the action of its class, frame by frame."""

from __future__ import annotations

from collections.abc import Iterator
import zlib

import numpy as np

from tbvis.datasets.stage import world as stage_world
from tbvis.datasets.stage.figure import make_cast
from tbvis.datasets.stage.paint import Pen, similarity
from tbvis.datasets.stage.scenes import SCENES
from tbvis.datasets.stage.script import Script

FRAMES = 60
FPS = 25.0
GROUPS = 25
CLIPS = 4


def _rng(seed: int, what: str, *numbers: int) -> np.random.Generator:
  return np.random.default_rng([seed, zlib.crc32(what.encode()), *numbers])


def render_clip(
  script: Script, class_name: str, group: int, clip: int, *, seed: int = 0, mask_action: bool = False
) -> Iterator[np.ndarray]:
  """Yields the frames of one clip, uint8 RGB (240, 320, 3).

  Setting, cast, light and camera are drawn from (seed, group, clip) alone, the action from (seed, class, group, clip), so clips of one
  group and number differ between classes by nothing but the action, its props and what the script plants.

  Args:
    script: what is planted.
    class_name: the action.
    group: 1 to 25.
    clip: 1 to 4.
    seed: of the whole set.
    mask_action: leave actor and props out.
  """
  values = script.sample(class_name, group, clip, seed)
  numbers = {name: value for name, value in values.items() if not isinstance(value, str)}
  scale = numbers["figure_scale"]
  in_group, in_clip = _rng(seed, "group", group), _rng(seed, "clip", group, clip)
  world = stage_world.make_world(numbers, scale, in_group, in_clip)
  camera = stage_world.make_camera(numbers, scale, FRAMES, FPS, in_clip)
  cast = make_cast(_rng(seed, "cast", group), _rng(seed, "tint", group, clip))
  x = stage_world.WIDTH / 2 + _rng(seed, "place", group).normal(0, 12) + in_clip.normal(0, 5)
  y = 68 + scale * 0.25 + in_clip.normal(0, 3)
  mirror = numbers["mirror"] >= 0.5
  scene = None if mask_action else SCENES[class_name](values, cast, _rng(seed, f"scene {class_name}", group, clip))
  for frame in range(FRAMES):
    t = frame / FPS
    image = stage_world.draw_background(world, camera, frame, t)
    if scene is not None:
      to_frame = stage_world.camera_matrix(camera, frame) @ similarity(scale, 0, x, y, mirror=mirror)
      scene.draw(Pen(image, to_frame), t)
    stage_world.draw_foreground(world, image, camera, frame, t)
    yield stage_world.expose(world, image, frame)
