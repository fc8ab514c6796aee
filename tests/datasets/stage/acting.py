"""Clips and bare actions with planted factors, and what is measured in their pixels."""

import numpy as np

from tbvis.datasets.stage import script as stage_script
from tbvis.datasets.stage.clip import render_clip
from tbvis.datasets.stage.figure import make_cast
from tbvis.datasets.stage.paint import Pen, similarity
from tbvis.datasets.stage.scenes import SCENES

SCALE = 60  # Pixels a head.


def planted(class_name, **factors):
  """A script in which one class has constant factors."""
  causes = [
    {"name": k, "classes": [class_name], "stream": "both", "factor": k, "distribution": {class_name: {"constant": v}}}
    for k, v in factors.items()
  ]
  return stage_script.load_script({"classes": [class_name], "causes": causes})


def frames_of(script, class_name, count=60, group=9, clip=1, **settings):
  found = []
  for frame in render_clip(script, class_name, group, clip, **settings):
    found.append(frame)
    if len(found) == count:
      break
  return np.stack(found)


def actor(script, class_name, times, zoom=1):
  """The scene alone on black, without setting, camera and light, with its mask."""
  rng = np.random.default_rng(5)
  scene = SCENES[class_name](script.sample(class_name, 9, 1), make_cast(rng, rng), np.random.default_rng(6))
  pictures = []
  for t in times:
    image, mask = np.zeros((240 * zoom, 320 * zoom, 3), np.uint8), np.zeros((240 * zoom, 320 * zoom), np.uint8)
    scene.draw(Pen(image, similarity(SCALE * zoom, 0, 160 * zoom, 83 * zoom), mask), t)
    pictures.append((image, mask))
  return pictures


def axis_of(points):
  """Direction of a cloud of pixels, degrees above level in (-90, 90]."""
  centred = points - points.mean(axis=0)
  x, y = np.linalg.svd(centred, full_matrices=False)[2][0]
  angle = np.degrees(np.arctan2(-y, x))
  return (angle + 90) % 180 - 90


def pixels_of(image, color, tolerance=3):
  """Places (x, y) of all pixels of a colour."""
  return np.argwhere(np.abs(image.astype(int) - color).max(axis=2) <= tolerance)[:, ::-1]


def track(script, class_name, color, times, tolerance=3):
  """Middle of all pixels of a colour at each time, (n, 2); nan where there are fewer than four."""
  found = [pixels_of(image, color, tolerance) for image, _ in actor(script, class_name, times)]
  return np.array([points.mean(axis=0) if len(points) > 3 else (np.nan, np.nan) for points in found])
