"""Stimuli as files that need no TensorBoard: PNG, GIF, WebP, MP4 and the values themselves, a folder a stimulus."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
import contextlib
import functools
import importlib
import json
import math
import os
import pathlib
import subprocess
from typing import Any
import zipfile
import zlib

import numpy as np

from tbvis import events, files
from tbvis.errors import UsageError, unknown_name
from tbvis.records import safe_name
from tbvis.rendering.animation import LARGEST_SIDE, encode_gif, encode_png, encode_webp
from tbvis.rendering.appearance import appearance_limits, appearance_to_rgb
from tbvis.rendering.flow_color import flow_to_rgb, motion_frames
from tbvis.rendering.mosaic import mosaic

FORMATS = ("png", "gif", "webp", "mp4", "npz")

# The name of the film that has all streams side by side, and of the entry of values.npz that has the config.
TOGETHER = "together"
CONFIG = "config"

# Browsers slow animations down whose frames are shorter; a longer one would be no film.
_MILLISECONDS = (20, 10_000)
# Small films are enlarged to about this height, and not beyond this width, which every player decodes.
_MP4_HEIGHT = 320
_MP4_WIDTH = 1920


def check_formats(formats: Sequence[str]) -> None:
  """Checks that every format is known and that what writes it works, so that a long search need not end in this error.

  Args:
    formats: names out of `FORMATS`.

  Raises:
    UsageError: if there is none or an unknown one, or for mp4 if the extra "export" (the package imageio-ffmpeg)
      is not installed or its program cannot encode H.264.

  >>> check_formats(["png", "npz"])
  >>> check_formats(["wepb"])
  Traceback (most recent call last):
  tbvis.errors.UsageError: Unknown export format 'wepb'. Nearest: webp.
  """
  if not len(formats):
    raise UsageError(f"Expected at least one export format of {', '.join(FORMATS)}, received none.")
  for name in formats:
    if name not in FORMATS:
      raise unknown_name("export format", name, FORMATS)
  if "mp4" in formats:
    _probe(_ffmpeg())


def _ffmpeg() -> str:
  """Returns the path of the ffmpeg program that comes with imageio-ffmpeg."""
  try:
    return importlib.import_module("imageio_ffmpeg").get_ffmpeg_exe()
  except ImportError as error:
    raise UsageError(
      "Export format 'mp4': expected the package imageio-ffmpeg, found none. Install it by pip install 'tbvis[export]', or leave mp4 out."
    ) from error
  except RuntimeError as error:  # A platform for which its wheel has no program.
    raise UsageError(f"Export format 'mp4': expected imageio-ffmpeg to bring a program, found none; {_one_line(error)}") from error


@functools.cache
def _probe(program: str) -> None:
  """Encodes one black picture to nowhere, once a process: a program named by the user may lack H.264 or not run at all."""
  _encode_h264(program, np.zeros((1, 16, 16, 3), np.uint8), 100, ["-f", "null", "-"])


def _one_line(error: object) -> str:
  return " ".join(str(error).split())


def _encode_h264(program: str, frames: np.ndarray, milliseconds: int, output: list[str]) -> None:
  """Runs `program` on uint8 RGB frames (T, H, W, 3), H and W even."""
  # BT.601 is what decoders take that read no label, and the label says so to those that do. Bit-exact: the same
  # stimulus gives the same file. No B-frames: nothing is early or late where a player ignores edit lists.
  label = "setparams=colorspace=smpte170m:color_primaries=bt709:color_trc=iec61966-2-1:range=tv"
  picture = f"scale=out_color_matrix=bt601:out_range=tv:flags=area+accurate_rnd+full_chroma_inp,format=yuv420p,{label}"
  size = f"{frames.shape[2]}x{frames.shape[1]}"
  command = [program, "-hide_banner", "-loglevel", "error", "-y", "-threads", "1"]
  command += ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", size, "-framerate", f"1000/{milliseconds}", "-i", "-"]
  command += ["-an", "-vf", picture, "-c:v", "libx264", "-crf", "12", "-preset", "medium", "-bf", "0", "-threads", "1"]
  # Once more for old programs, which do not hand the filter's label on to the encoder.
  command += ["-colorspace", "smpte170m", "-color_primaries", "bt709", "-color_trc", "iec61966-2-1", "-color_range", "tv"]
  command += ["-map_metadata", "-1", "-fflags", "+bitexact", "-flags:v", "+bitexact", *output]
  try:
    done = subprocess.run(command, input=np.ascontiguousarray(frames).tobytes(), capture_output=True)
  except OSError as error:
    raise UsageError(f"Export format 'mp4': expected a program at {program}; {error.strerror or error}.") from error
  if done.returncode:
    said = done.stderr.decode(errors="replace").strip().splitlines() or [f"it ended with status {done.returncode}"]
    raise UsageError(f"Export format 'mp4': {program} could not encode H.264 of {size} pixels; {said[0]}")


def _checked(name: str, values: Any) -> np.ndarray:
  """Returns one stream's values as float32 (H, W, frames, components)."""
  values = np.asarray(values)
  if values.ndim != 4 or 0 in values.shape or values.dtype.kind not in "fiub":
    found = f"{values.dtype} {values.shape}"
    raise UsageError(f"Stream {name!r}: expected numbers (H, W, frames, components), none of these 0, received {found}.")
  with np.errstate(over="ignore"):
    values = np.array(values, np.float32, order="C")
  bad = int(np.sum(~np.isfinite(values)))
  if bad:
    raise UsageError(f"Stream {name!r}: expected finite values, found NaN or infinity at {bad} of {values.size}.")
  return values


def _check_names(names: Sequence[str]) -> None:
  if not names:
    raise UsageError("Expected at least one stream to export, received none.")
  taken = {TOGETHER: "the film of all streams", CONFIG: "the config"}
  for name in names:
    owner = taken.setdefault(safe_name(name).lower(), f"stream {name!r}")
    if owner != f"stream {name!r}":
      raise UsageError(f"Stream {name!r}: expected a file name of its own, but {safe_name(name)!r} is that of {owner}.")


def draw(values: np.ndarray) -> np.ndarray:
  """Draws one stream by its number of components, under one scale for all its frames.

  Args:
    values: float32 (H, W, frames, components), finite, in network units. 2 components are a flow (u, v), drawn as
      R = u, G = v, B = magnitude with zero in the middle (see `flow_to_rgb`). 3 are a colour and 1 a grey, from the
      smallest value (black) to the largest (white). Any other number is drawn as so many greys under one such map,
      in a square grid in reading order, 2 white pixels between.

  Returns:
    uint8 RGB (frames, H, W, 3), or (frames, rows (H + 2) + 2, columns (W + 2) + 2, 3) for a grid.

  >>> draw(np.zeros((4, 5, 7, 2), np.float32)).shape, draw(np.zeros((4, 5, 7, 20), np.float32)).shape
  ((7, 4, 5, 3), (7, 26, 37, 3))
  """
  peak = float(np.abs(values).max())
  if peak and not 1e-30 < peak < 1e30:  # Sums and quotients of these would leave float32; pictures are relative anyway.
    values = (values / np.float64(peak)).astype(np.float32)
  components = values.shape[-1]
  if components == 2:
    return flow_to_rgb(motion_frames(values))
  limits = appearance_limits(values)
  frames = values.transpose(2, 0, 1, 3)
  if components == 3:
    return np.stack([appearance_to_rgb(frame, limits) for frame in frames])
  greys = [[appearance_to_rgb(np.repeat(frame[..., c, None], 3, axis=-1), limits) for c in range(components)] for frame in frames]
  if components == 1:
    return np.stack([grey for (grey,) in greys])
  return np.stack([mosaic(tiles, columns=math.ceil(math.sqrt(components))) for tiles in greys])


def row(pictures: Sequence[np.ndarray], pad: int = 2) -> np.ndarray:
  """Puts pictures of any sizes in one row, their tops level, on white.

  Args:
    pictures: uint8 RGB (H, W, 3) each.
    pad: white pixels between neighbours and around.

  Returns:
    uint8 RGB (largest H + 2 pad, sum of W + pad each + pad, 3).

  >>> row([np.zeros((4, 5, 3), np.uint8), np.zeros((6, 2, 3), np.uint8)]).shape
  (10, 13, 3)
  """
  height = max(len(picture) for picture in pictures)
  cells = [np.pad(p, ((pad, height - len(p) + pad), (pad, 0), (0, 0)), constant_values=255) for p in pictures]
  return np.pad(np.concatenate(cells, axis=1), ((0, 0), (0, pad), (0, 0)), constant_values=255)


def side_by_side(films: Sequence[np.ndarray], chunks: int = 1) -> np.ndarray:
  """Puts films in one row; a shorter film or a still stays on its last frame, in chunks on the last one of each.

  Args:
    films: uint8 RGB (frames, H, W, 3) each, of any sizes and lengths.
    chunks: in which films of more than one frame divide, as many frames each.

  Returns:
    uint8 RGB (most frames, ..., 3), each frame as `row` lays it out.

  >>> side_by_side([np.zeros((1, 4, 5, 3), np.uint8), np.zeros((7, 4, 5, 3), np.uint8)]).shape
  (7, 8, 16, 3)
  """
  length = max(len(film) for film in films)
  return np.stack([row([film[frame_at(t, len(film), length, chunks)] for film in films]) for t in range(length)])


def frame_at(moment: int, frames: int, length: int, chunks: int = 1) -> int:
  """Returns which of a film's frames is shown at a moment of the longest film beside it.

  >>> [frame_at(moment, 2, 6, chunks=2) for moment in range(6)], [frame_at(moment, 2, 4) for moment in range(4)]
  ([0, 0, 0, 1, 1, 1], [0, 1, 1, 1])
  """
  if frames == 1:
    return 0
  chunk, inside = divmod(moment, length // chunks)
  each = frames // chunks
  return chunk * each + min(inside, each - 1)


def enlarged(frames: np.ndarray) -> np.ndarray:
  """Enlarges small frames for MP4, and completes their sides to even numbers.

  Each pixel becomes a square of k x k of its colour, k even, so that the film is about 320 pixels high (at most 1920
  wide): nothing is interpolated, and H.264's halved colour resolution falls on whole pixels of the stimulus. Where
  there is no room for that, k is 1, and an odd side repeats its last row or column once.

  Args:
    frames: uint8 RGB (T, H, W, 3).

  Returns:
    uint8 RGB (T, k H + (0 or 1), k W + (0 or 1), 3).

  >>> [enlarged(np.zeros((1, h, w, 3), np.uint8)).shape[1:3] for h, w in ((48, 48), (107, 63), (224, 301))]
  [(288, 288), (214, 126), (224, 302)]
  """
  height, width = frames.shape[1:3]
  k = max(1, min(round(_MP4_HEIGHT / height), _MP4_WIDTH // width) // 2 * 2)
  frames = frames.repeat(k, axis=1).repeat(k, axis=2)
  return np.pad(frames, ((0, 0), (0, k * height % 2), (0, k * width % 2), (0, 0)), mode="edge")


@contextlib.contextmanager
def _writing(path: pathlib.Path) -> Iterator[pathlib.Path]:
  try:
    with files.atomic_path(path) as temporary:
      yield temporary
  except OSError as error:  # A full disk, a folder where the file should be.
    raise UsageError(f"Expected to write {path}; {error.strerror or error}.") from error


def _write_picture(path: pathlib.Path, picture: np.ndarray, milliseconds: int) -> None:
  """Writes frames (T, H, W, 3), or for PNG the one picture (H, W, 3), in the format of the path's suffix."""
  kind = path.suffix[1:]
  with _writing(path) as temporary:
    if kind == "mp4":
      # "file:" keeps a folder's name from being read as an option or a protocol.
      output = ["-movflags", "+faststart", "-f", "mp4", f"file:{temporary}"]
      _encode_h264(_ffmpeg(), enlarged(picture), milliseconds, output)
    elif kind == "png":
      temporary.write_bytes(encode_png(picture))
    else:
      film = encode_gif(picture, round(milliseconds / 10) * 10) if kind == "gif" else encode_webp(picture, milliseconds, lossless=True)
      temporary.write_bytes(film)


def _write_values(path: pathlib.Path, values: Mapping[str, np.ndarray], config: Any) -> None:
  # As numpy.savez_compressed does, which however takes names as keywords and so refuses some ("file").
  entries = {**values, CONFIG: np.array(json.dumps(config))}
  with _writing(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
    for name, array in entries.items():
      with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
        np.lib.format.write_array(entry, array, allow_pickle=False)


def export_stimulus(
  folder: str | os.PathLike[str],
  name: str,
  inputs: Mapping[str, np.ndarray],
  config: Mapping[str, Any],
  formats: Sequence[str] = FORMATS,
  milliseconds: int = 150,
  chunks: int = 1,
) -> list[pathlib.Path]:
  """Writes one stimulus into a folder of its own, each file in one step.

  A stream of one frame gives <stream>.png. One of more frames gives <stream>.png, all frames in a row (a row a chunk),
  and the films <stream>.gif, .webp and .mp4; frames that repeat last so much longer. Several
  streams give the same once more under the name "together": side by side, a still one beside every frame of a film
  (and once in the row of the PNG), frames of a chunk beside those of the same chunk. See `draw` for the
  colours. PNG, GIF and WebP have the stimulus' own size, PNG
  and WebP its very colours, GIF one palette of 256 for the film; MP4 is H.264 (yuv420p, made to be played by
  browsers) and is enlarged where it is small, see `enlarged`. "npz" is values.npz, which `read_exported` reads.
  config.json is always written. Files of an earlier export which this one does not write are left as they are.

  Args:
    folder: of all stimuli; made where it is missing.
    name: of the stimulus. Slashes make folders in `folder`, of which each name is made safe (see `safe_name`), so
      that none is outside.
    inputs: float32 (H, W, frames, components) in network units, by stream name.
    config: what made the stimulus. NumPy values become plain ones; NaN and infinity, which JSON lacks, become null.
    formats: names out of `FORMATS`.
    milliseconds: time of each frame, 20 to 10000 (GIF has multiples of 10, the nearest is taken).
    chunks: of a clip in which streams of more than one frame divide, as many frames each.

  Returns:
    The files written: pictures by stream and format, values.npz, config.json.

  Raises:
    UsageError: if a format is unknown or cannot be written (see `check_formats`), a stream has another shape, a
      value that is not finite or the file name of another, the time or the name is none, or a file cannot be written.

  >>> import tempfile
  >>> inputs = {"appearance": np.zeros((8, 8, 1, 3), np.float32), "motion": np.ones((8, 8, 10, 2), np.float32)}
  >>> with tempfile.TemporaryDirectory() as folder:
  ...   paths = export_stimulus(folder, "prediction/PlayingCello/chi=10", inputs, {"seed": 0}, ["png", "webp", "npz"])
  ...   for path in paths:
  ...     print(path.relative_to(folder).as_posix())
  prediction/PlayingCello/chi=10/appearance.png
  prediction/PlayingCello/chi=10/motion.png
  prediction/PlayingCello/chi=10/motion.webp
  prediction/PlayingCello/chi=10/together.png
  prediction/PlayingCello/chi=10/together.webp
  prediction/PlayingCello/chi=10/values.npz
  prediction/PlayingCello/chi=10/config.json
  """
  check_formats(formats)
  least, most = _MILLISECONDS
  if not isinstance(milliseconds, (int, np.integer)) or not least <= milliseconds <= most:
    raise UsageError(f"Expected a whole number of milliseconds a frame from {least} to {most}, received {milliseconds!r}.")
  parts = [safe_name(part) for part in name.split("/") if part]
  if not parts:
    raise UsageError(f"Expected a name for the stimulus to export, received {name!r}.")
  _check_names(list(inputs))
  values = {stream: _checked(stream, array) for stream, array in inputs.items()}
  plain = json.loads(events.to_json(dict(config)))

  target = pathlib.Path(folder).joinpath(*parts)
  films = {stream: draw(array) for stream, array in values.items()}
  odd = next((stream for stream, film in films.items() if len(film) > 1 and len(film) % chunks), None)
  if odd:
    raise UsageError(f"Stream {odd!r}: expected frames in {chunks} equal chunks, received {len(films[odd])}.")
  tiles = {stream: _rows(film, chunks) for stream, film in films.items()}
  if len(films) > 1:
    moving = chunks if any(len(film) > 1 for film in films.values()) else 1
    tiles[TOGETHER] = [[f for film in films.values() for f in _chunk_of(film, chunk, moving)] for chunk in range(moving)]
    films[TOGETHER] = side_by_side(list(films.values()), chunks)
  for stream, film in films.items():
    height, width = film.shape[1:3]
    if len(film) > 1 and max(height, width) > LARGEST_SIDE and not {"gif", "webp", "mp4"}.isdisjoint(formats):
      raise UsageError(
        f"Film {stream!r}: expected at most {LARGEST_SIDE} pixels a side, received {width} x {height}; leave out all but png, npz."
      )
  written = []
  for stream, film in films.items():
    rows = [row(frames) if len(frames) > 1 else frames[0] for frames in tiles[stream]]
    for kind in dict.fromkeys(formats):
      if kind == "npz" or (kind != "png" and len(film) == 1):
        continue
      path = target / f"{safe_name(stream)}.{kind}"
      picture = film if kind != "png" else rows[0] if len(rows) == 1 else mosaic(rows, 1, pad=0)
      _write_picture(path, picture, int(milliseconds))
      written.append(path)
  if "npz" in formats:
    written.append(target / "values.npz")
    _write_values(written[-1], values, plain)
  written.append(target / "config.json")
  with _writing(written[-1]) as temporary:
    temporary.write_text(json.dumps(plain, indent=2) + "\n", encoding="utf-8")
  return written


def _chunk_of(film: np.ndarray, chunk: int, chunks: int) -> np.ndarray:
  """Returns the frames of one chunk; a still one belongs to all."""
  return film if len(film) == 1 else np.split(film, chunks)[chunk]


def _rows(film: np.ndarray, chunks: int) -> list[list[np.ndarray]]:
  """Returns the frames that a PNG has in each of its rows."""
  return [list(_chunk_of(film, chunk, chunks)) for chunk in range(1 if len(film) == 1 else chunks)]


def read_exported(folder: str | os.PathLike[str]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
  """Reads the values.npz of one exported stimulus.

  Args:
    folder: of the stimulus (<folder>/<name> of `export_stimulus`).

  Returns:
    (inputs, config): float32 (H, W, frames, components) by stream name, bit for bit as they were, and the config.

  Raises:
    UsageError: if there is no values.npz, or it is not one that `export_stimulus` wrote.
  """
  path = pathlib.Path(folder) / "values.npz"
  try:
    with np.load(path, allow_pickle=False) as archive:
      inputs = {name: archive[name] for name in archive.files if name != CONFIG}
      return inputs, json.loads(str(archive[CONFIG]))
  except FileNotFoundError as error:
    raise UsageError(f"Expected values.npz of an exported stimulus in {folder}, found none (the format npz writes it).") from error
  except (OSError, ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
    raise UsageError(f"{path}: expected the values of an exported stimulus, found another or a damaged file; {_one_line(error)}") from error
