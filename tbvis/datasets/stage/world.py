"""The setting of a group: textured backdrops, clutter, things that move by themselves, light and camera; the action never enters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
import dataclasses
import math

import cv2
import numpy as np

from tbvis.datasets.stage.paint import Color, Pen, Sprite, SpriteCanvas, as_color, cloud, hsv, shade, similarity

WIDTH, HEIGHT = 320, 240
MARGIN = 48  # Pixels of backdrop beyond each edge of the frame, for camera and parallax.


@dataclasses.dataclass(frozen=True)
class Mover:
  """A picture that moves by itself: at time t (seconds) it is drawn at `place(t)` = (x, y, degrees) in backdrop pixels."""

  sprite: Sprite
  place: Callable[[float], tuple[float, float, float]]
  scale: float


@dataclasses.dataclass(frozen=True)
class World:
  """All that a clip shows besides actor and props.

  Attributes:
    backdrop: uint8 RGB (HEIGHT + 2 MARGIN, WIDTH + 2 MARGIN, 3).
    panel: a texture that scrolls inside a rectangle of the backdrop (window, screen), uint8 RGB.
    panel_box: left, top, width, height on the backdrop.
    panel_speed: pixels a second, x and y.
    movers: what moves behind the actor.
    front: what moves before the actor.
    gain: light per colour channel.
    vignette: uint8 (HEIGHT, WIDTH, 3).
    noise: uint8 (HEIGHT + 64, WIDTH + 64, 3) sensor noise around `noise_level`.
  """

  backdrop: np.ndarray
  panel: np.ndarray
  panel_box: tuple[int, int, int, int]
  panel_speed: tuple[float, float]
  movers: tuple[Mover, ...]
  front: tuple[Mover, ...]
  gain: np.ndarray
  vignette: np.ndarray
  noise: np.ndarray
  noise_level: int


@dataclasses.dataclass(frozen=True)
class Camera:
  """Camera path of one clip: per frame an offset in pixels and a turn in degrees."""

  offsets: np.ndarray
  turns: np.ndarray
  zooms: np.ndarray


def make_camera(values: Mapping[str, float], scale: float, frames: int, fps: float, rng: np.random.Generator) -> Camera:
  """Returns the camera path: a steady drift plus a shake that remembers where it was."""
  heading = rng.uniform(0, 2 * math.pi)
  seconds = (np.arange(frames) - frames / 2) / fps
  drift = values["camera_drift"] * scale * seconds[:, None] * np.array([math.cos(heading), 0.5 * math.sin(heading)])
  drift = np.clip(drift, -30, 30)
  shake = np.zeros((frames, 3))
  state: np.ndarray = np.zeros(3)
  for k in range(frames):
    state = 0.9 * state + rng.normal(0, 0.42, 3)
    shake[k] = state
  offsets = drift + shake[:, :2] * values["camera_shake"] * scale
  zooms = 1 + rng.uniform(-0.02, 0.02) * seconds / max(1e-6, seconds[-1])
  return Camera(np.clip(offsets, -40, 40), shake[:, 2] * values["camera_shake"] * 12, zooms)


def make_world(values: Mapping[str, float], scale: float, rng: np.random.Generator, clip_rng: np.random.Generator) -> World:
  """Builds the setting of a group (`rng`) as one clip sees it (`clip_rng`: where things stand, how they move)."""
  height, width = HEIGHT + 2 * MARGIN, WIDTH + 2 * MARGIN
  backdrop = _wall(rng, height, width)
  pen = Pen(backdrop, np.eye(3))
  panel, box = _panel(rng, pen, width, height)
  _furniture(rng, pen, width, height)
  for _ in range(int(rng.integers(6, 11))):
    _clutter(rng, pen, width, height)
  backdrop = np.roll(backdrop, int(clip_rng.integers(-4, 5)), axis=1)
  speed = values["backdrop_motion"]
  angle = clip_rng.uniform(0, 2 * math.pi)
  tint = values["backdrop_tint"]
  lightness = rng.uniform(0.85, 1.12) * clip_rng.uniform(0.95, 1.05)
  gain = np.array([1 + 0.22 * tint, 1.0, 1 - 0.22 * tint], np.float32) * lightness
  level = int(rng.integers(2, 6))
  return World(
    backdrop=backdrop,
    panel=panel,
    panel_box=box,
    panel_speed=(60 * speed * math.cos(angle), 40 * speed * math.sin(angle)),
    movers=_movers(rng, clip_rng, speed, scale, width, height),
    front=_front(rng, clip_rng, speed, width, height),
    gain=gain,
    vignette=_vignette(rng),
    noise=clip_rng.integers(0, 2 * level + 1, (HEIGHT + 64, WIDTH + 64, 3)).astype(np.uint8),
    noise_level=level,
  )


def _wall(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
  kind = str(rng.choice(["paper", "bricks", "tiles", "boards", "foliage", "curtain"]))
  base = np.array(hsv(rng.uniform(0, 360), rng.uniform(0.1, 0.45), rng.uniform(0.45, 0.85)), np.float32)
  image = np.empty((height, width, 3), np.float32)
  image[:] = base
  pen_image = image.astype(np.uint8)
  pen = Pen(pen_image, np.eye(3))
  painted = as_color(int(c) for c in base)
  dark = shade(painted, 0.72)
  if kind == "bricks":
    h = int(rng.integers(12, 20))
    for row, y in enumerate(range(0, height, h)):
      pen.line([(0, y), (width, y)], dark)
      for x in range((row % 2) * h, width, 2 * h):
        color = shade(painted, float(rng.uniform(0.85, 1.12)))
        pen.polygon([(x + 1, y + 1), (x + 2 * h - 2, y + 1), (x + 2 * h - 2, y + h - 2), (x + 1, y + h - 2)], color)
  elif kind == "tiles":
    h = int(rng.integers(22, 38))
    for x in range(0, width, h):
      pen.line([(x, 0), (x, height)], dark)
    for y in range(0, height, h):
      pen.line([(0, y), (width, y)], dark)
  elif kind == "boards":
    h = int(rng.integers(18, 32))
    for x in range(0, width, h):
      color = shade(painted, float(rng.uniform(0.8, 1.12)))
      pen.polygon([(x, 0), (x + h - 1, 0), (x + h - 1, height), (x, height)], color, dark)
  elif kind == "curtain":
    fold = 0.78 + 0.22 * np.sin(np.arange(width) * 2 * np.pi / rng.uniform(18, 34) + np.sin(np.arange(width) / 40))
    pen_image[:] = (image * fold[None, :, None]).astype(np.uint8)
  elif kind == "foliage":
    green = np.array(hsv(rng.uniform(70, 150), 0.5, 0.5), np.float32)
    leaves = cloud(rng, (height, width), 14, 3)[:, :, None]
    pen_image[:] = np.clip(green * (1 + 0.8 * leaves), 0, 255).astype(np.uint8)
  else:
    step = int(rng.integers(20, 36))
    motif = shade(painted, float(rng.choice([0.75, 1.2])))
    for row, y in enumerate(range(0, height, step)):
      for x in range((row % 2) * step // 2, width, step):
        pen.ellipse(x, y, step * 0.16, step * 0.28, motif, degrees=30)
  rough = 1 + 0.14 * cloud(rng, (height, width), 60, 5)[:, :, None] + 0.05 * rng.standard_normal((height, width, 1)).astype(np.float32)
  side = np.linspace(rng.uniform(0.8, 1.1), rng.uniform(0.8, 1.1), width, dtype=np.float32)[None, :, None]
  return np.clip(pen_image * rough * side, 0, 255).astype(np.uint8)


def _panel(rng: np.random.Generator, pen: Pen, width: int, height: int) -> tuple[np.ndarray, tuple[int, int, int, int]]:
  w, h = int(rng.integers(70, 120)), int(rng.integers(60, 110))
  x, y = int(rng.integers(MARGIN, width - MARGIN - w)), int(rng.integers(MARGIN - 10, MARGIN + 60))
  frame = hsv(rng.uniform(0, 60), rng.uniform(0, 0.6), rng.uniform(0.15, 0.9))
  pen.polygon([(x - 6, y - 6), (x + w + 5, y - 6), (x + w + 5, y + h + 5), (x - 6, y + h + 5)], frame, shade(frame, 0.5))
  low = np.array(hsv(rng.uniform(0, 360), 0.35, 0.45), np.float32)
  high = np.array(hsv(rng.uniform(0, 360), 0.3, 0.9), np.float32)
  field = cloud(rng, (256, 256), 30, 4)
  # Mirrored both ways, so that it scrolls without a seam.
  field = np.block([[field, field[:, ::-1]], [field[::-1], field[::-1, ::-1]]])[..., None]
  texture = low + (high - low) * np.clip(0.5 + 0.9 * field, 0, 1)
  return np.ascontiguousarray(np.pad(texture.astype(np.uint8), ((0, 160), (0, 160), (0, 0)), mode="wrap")), (x, y, w, h)


def _furniture(rng: np.random.Generator, pen: Pen, width: int, height: int) -> None:
  floor = int(rng.integers(height - 110, height - 60))
  color = hsv(rng.uniform(10, 50), rng.uniform(0.2, 0.55), rng.uniform(0.3, 0.65))
  pen.polygon([(0, floor), (width, floor), (width, height), (0, height)], color)
  for k in range(10):
    x = width * k / 9
    pen.line([(x, floor), (width / 2 + (x - width / 2) * 1.8, height)], shade(color, 0.75))
  for _ in range(int(rng.integers(1, 4))):
    w, h = rng.uniform(50, 110), rng.uniform(50, 130)
    x, top = rng.uniform(0, width - w), floor + 20 - h
    color = hsv(rng.uniform(0, 360), rng.uniform(0.1, 0.6), rng.uniform(0.25, 0.8))
    pen.polygon([(x, top), (x + w, top), (x + w, floor + 24), (x, floor + 24)], color, shade(color, 0.5))
    for k in range(1, int(rng.integers(2, 5))):
      y = top + h * k / 4
      pen.line([(x, y), (x + w, y)], shade(color, 0.55))
      for _ in range(int(rng.integers(2, 6))):
        bx, bw, bh = x + rng.uniform(0, w - 8), rng.uniform(4, 9), rng.uniform(9, 20)
        book = hsv(rng.uniform(0, 360), rng.uniform(0.3, 0.9), rng.uniform(0.3, 0.95))
        pen.polygon([(bx, y - bh), (bx + bw, y - bh), (bx + bw, y), (bx, y)], book)


def _clutter(rng: np.random.Generator, pen: Pen, width: int, height: int) -> None:
  x, y = rng.uniform(10, width - 10), rng.uniform(10, height - 20)
  color: Color = hsv(rng.uniform(0, 360), rng.uniform(0.1, 0.9), rng.uniform(0.2, 0.95))
  edge = shade(color, 0.5)
  local = pen.at(x, y, rng.uniform(0, 360))
  kind = int(rng.integers(6))
  if kind == 0:  # Sticks and rods, so that a thin straight thing alone means nothing.
    length = rng.uniform(25, 90)
    local.limb((0, 0), (length, 0), rng.uniform(2, 5), rng.uniform(2, 5), color, edge)
  elif kind == 1:
    for _ in range(int(rng.integers(1, 6))):
      local.ellipse(rng.uniform(-20, 20), rng.uniform(-10, 10), 6, 6, hsv(rng.uniform(0, 360), 0.7, 0.9), outline=(40, 40, 40))
  elif kind == 2:
    r = rng.uniform(10, 26)
    local.ellipse(0, 0, r, r * rng.uniform(0.4, 1), color, outline=edge)
    local.ellipse(0, 0, r * 0.5, r * 0.4, shade(color, rng.uniform(0.4, 1.5)))
  elif kind == 3:  # Curved wooden-looking bodies.
    local.ellipse(0, 0, rng.uniform(12, 26), rng.uniform(8, 16), hsv(rng.uniform(15, 35), 0.7, rng.uniform(0.3, 0.7)), outline=edge)
  elif kind == 4:
    w, h = rng.uniform(14, 50), rng.uniform(10, 36)
    local.polygon([(-w, -h), (w, -h), (w, h), (-w, h)], color, edge)
    local.polygon([(-w * 0.7, -h * 0.7), (w * 0.7, -h * 0.7), (w * 0.7, h * 0.2), (-w * 0.7, h * 0.2)], shade(color, 1.35))
  else:
    upright = pen.at(x, y)
    for _ in range(7):
      upright.limb((0, 0), (rng.uniform(-24, 24), rng.uniform(-44, -14)), 7, 2, hsv(rng.uniform(80, 150), 0.6, rng.uniform(0.3, 0.6)))
    upright.polygon([(-10, 0), (10, 0), (7, 18), (-7, 18)], (150, 90, 60), (80, 50, 30))


def _passer(rng: np.random.Generator) -> Sprite:
  canvas = SpriteCanvas((-1, -1.3, 1, 3.2), 40)
  skin = shade((228, 180, 145), float(rng.uniform(0.4, 1.05)))
  shirt = hsv(rng.uniform(0, 360), rng.uniform(0.1, 0.8), rng.uniform(0.3, 0.95))
  trousers = hsv(rng.uniform(0, 360), 0.3, rng.uniform(0.2, 0.6))
  pen = canvas.pen
  for side in (-1, 1):
    pen.limb((side * 0.25, 1.9), (side * 0.35, 3.1), 0.5, 0.4, trousers)
    pen.limb((side * 0.65, 0.2), (side * 0.8, 1.5), 0.34, 0.24, shade(shirt, 0.85))
  pen.polygon([(-0.75, 0.05), (0.75, 0.05), (0.55, 2.1), (-0.55, 2.1)], shirt)
  for k in range(6):
    pen.line([(-0.7, 0.2 + 0.3 * k), (0.7, 0.2 + 0.3 * k)], shade(shirt, 0.7))
  pen.ellipse(0, -0.66, 0.4, 0.5, skin)
  pen.ellipse(0, -0.9, 0.42, 0.3, shade((60, 40, 30), float(rng.uniform(0.4, 2.5))))
  canvas.texture(cloud(rng, canvas.mask.shape, 12), 0.2)
  # Duller than the actor, as things in the back are.
  canvas.image[:] = cv2.GaussianBlur(canvas.image, (0, 0), 1.0) // 4 * 3
  return canvas.sprite()


def _movers(
  rng: np.random.Generator, clip_rng: np.random.Generator, speed: float, scale: float, width: int, height: int
) -> tuple[Mover, ...]:
  found = []
  for _ in range(int(rng.integers(1, 4))):
    sprite = _passer(rng)
    size = scale * rng.uniform(0.42, 0.66)
    y = height - MARGIN - size * rng.uniform(2.2, 3.0)
    start, velocity = clip_rng.uniform(0, width), speed * clip_rng.choice([-1, 1]) * clip_rng.uniform(10, 55)
    bob, phase = clip_rng.uniform(1, 4), clip_rng.uniform(0, 6)
    found.append(Mover(sprite, _walk(start, y, velocity, bob, phase, width, size), size))
  canvas = SpriteCanvas((-0.5, -0.1, 0.5, 1.6), 48)
  color = hsv(rng.uniform(0, 360), 0.7, 0.85)
  canvas.pen.limb((0, 0), (0, 1.1), 0.05, 0.05, (60, 60, 60))
  canvas.pen.ellipse(0, 1.25, 0.3, 0.3, color, outline=shade(color, 0.5))
  canvas.pen.ellipse(0, 1.25, 0.15, 0.15, shade(color, 1.5))
  x, rate, size = rng.uniform(MARGIN, width - MARGIN), rng.uniform(0.4, 2.5), rng.uniform(26, 46)
  swing, phase = rng.uniform(8, 35) * min(1.5, speed), clip_rng.uniform(0, 6)
  found.append(Mover(canvas.sprite(), lambda t: (x, MARGIN - 6, swing * math.sin(2 * math.pi * rate * t + phase)), size))
  return tuple(found)


def _walk(
  start: float, y: float, velocity: float, bob: float, phase: float, width: int, size: float
) -> Callable[[float], tuple[float, float, float]]:
  span = width + 4 * size

  def place(t: float) -> tuple[float, float, float]:
    x = (start + velocity * t + 2 * size) % span - 2 * size
    return x, y + bob * math.sin(9 * t + phase), 2 * math.sin(5 * t + phase)

  return place


def _front(rng: np.random.Generator, clip_rng: np.random.Generator, speed: float, width: int, height: int) -> tuple[Mover, ...]:
  """Returns what stands before the actor at the edge of the frame: a plant or a lamp that sways."""
  canvas = SpriteCanvas((-0.8, -1.5, 0.8, 0.3), 48)
  hue = rng.uniform(60, 160)
  for _ in range(9):
    tip = (rng.uniform(-0.7, 0.7), rng.uniform(-1.4, -0.5))
    canvas.pen.limb((0, 0.2), tip, 0.16, 0.05, hsv(hue + rng.uniform(-20, 20), 0.6, rng.uniform(0.25, 0.65)))
  x = MARGIN + (rng.uniform(-6, 26) if rng.random() < 0.5 else WIDTH - rng.uniform(-6, 26))
  y, size = HEIGHT + MARGIN + rng.uniform(0, 18), rng.uniform(40, 66)
  rate, swing, phase = rng.uniform(0.3, 1.6), rng.uniform(3, 12) * min(1.5, speed), clip_rng.uniform(0, 6)
  return (Mover(canvas.sprite(), lambda t: (x, y, swing * math.sin(2 * math.pi * rate * t + phase)), size),)


def _vignette(rng: np.random.Generator) -> np.ndarray:
  y, x = np.mgrid[-1 : 1 : HEIGHT * 1j, -1 : 1 : WIDTH * 1j]
  cx, cy = rng.uniform(-0.5, 0.5), rng.uniform(-0.6, 0.2)
  fall = 1 - rng.uniform(0.08, 0.22) * ((x - cx) ** 2 + (y - cy) ** 2)
  return np.repeat((np.clip(fall, 0.4, 1) * 255).astype(np.uint8)[:, :, None], 3, axis=2)


def camera_matrix(camera: Camera, frame: int, parallax: float = 1.0) -> np.ndarray:
  """Returns the 3x3 map from still frame pixels to pixels of `frame`; distant things move by `parallax` of the camera's offset."""
  about = similarity(camera.zooms[frame], camera.turns[frame], 0, 0)
  dx, dy = camera.offsets[frame] * parallax
  return similarity(1, 0, WIDTH / 2 + dx, HEIGHT / 2 + dy) @ about @ similarity(1, 0, -WIDTH / 2, -HEIGHT / 2)


def draw_background(world: World, camera: Camera, frame: int, t: float) -> np.ndarray:
  """Returns a new frame, uint8 (HEIGHT, WIDTH, 3), with all that is behind the actor at time t (seconds)."""
  to_frame = camera_matrix(camera, frame, 0.85) @ similarity(1, 0, -MARGIN, -MARGIN)
  image = cv2.warpAffine(world.backdrop, to_frame[:2], (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
  _draw_panel(world, image, to_frame, t)
  pen = Pen(image, to_frame)
  for mover in world.movers:
    x, y, degrees = mover.place(t)
    pen.at(x, y, degrees, mover.scale).sprite(mover.sprite)
  return image


def _draw_panel(world: World, image: np.ndarray, to_frame: np.ndarray, t: float) -> None:
  x, y, w, h = world.panel_box
  du, dv = (world.panel_speed[0] * t) % 512, (world.panel_speed[1] * t) % 512
  # The scrolled texture is cut with sub-pixel offsets, then laid on the backdrop's rectangle.
  left, top = np.floor(to_frame[:2] @ (x, y, 1)).astype(int)
  left, top, right, bottom = max(left, 0), max(top, 0), min(left + w, WIDTH), min(top + h, HEIGHT)
  if right <= left or bottom <= top:
    return
  offset = np.array([[1.0, 0.0, du], [0.0, 1.0, dv]])
  image[top:bottom, left:right] = cv2.warpAffine(
    world.panel, offset, (int(right - left), int(bottom - top)), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_WRAP
  )


def draw_foreground(world: World, image: np.ndarray, camera: Camera, frame: int, t: float) -> None:
  """Draws what is before the actor, in place."""
  pen = Pen(image, camera_matrix(camera, frame, 1.1) @ similarity(1, 0, -MARGIN, -MARGIN))
  for mover in world.front:
    x, y, degrees = mover.place(t)
    pen.at(x, y, degrees, mover.scale).sprite(mover.sprite)


def expose(world: World, image: np.ndarray, frame: int) -> np.ndarray:
  """Returns the frame as the camera's sensor sees it: light, vignette and noise; uint8 (HEIGHT, WIDTH, 3)."""
  ramp = np.arange(256, dtype=np.float32)[:, None]
  table = np.clip(ramp * world.gain[None, :], 0, 255).astype(np.uint8)[None]
  image = cv2.multiply(cv2.LUT(image, table), world.vignette, scale=1 / 255)
  # Prime steps through the noise: neighbouring frames never share their grain.
  x, y = (frame * 37) % 64, (frame * 23) % 64
  grain = world.noise[y : y + HEIGHT, x : x + WIDTH]
  level = world.noise_level
  return cv2.subtract(cv2.add(image, grain), np.full_like(image, level))
