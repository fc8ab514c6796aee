import numpy as np
import pytest

from tb_plugin import checks
from tbvis import summaries
from tbvis.diagnostics import top_clips
from tbvis.diagnostics.selectivity import selectivity_index
from tbvis.models.geometry import LayerGeometry
from tbvis.rendering import animation

TABLE = {"conv3": LayerGeometry("conv3", 4, 24, 4, ("motion",)), "fc7": LayerGeometry("fc7", 4, None, None, ("motion",))}


def _described(*clips):
  names = ("clip", "layer", "frame")
  tops = [dict(zip(names, clip, strict=True)) | {"value": 1.0, "x": 3, "y": 4} for clip in clips]
  return {"conv3/f001": {"a_hat": 1.0, "class_means": {}, "top_clips": tops}}


def test_snippets_are_animated_with_the_frame_that_fired_and_the_size_its_place_is_counted_in(dataset, caplog, tmp_path):
  described = _described(("v_Bowing_g08_c01", "conv3", 8), ("v_Rolling_g09_c02", "fc7", 5), ("v_Bowing_g01_c01", "conv3", 5))
  found, pictures = top_clips.with_pictures(top_clips.with_fields(described, TABLE), dataset, input_size=64)
  first, second, other = found["conv3/f001"]["top_clips"]
  # Frames of 300 x 256 pixels, for a network of 64 instead of 224; frame 8 is the sixth of its ten, 3 to 12.
  assert (first["size"], first["fired"], first["frames"], first["field"]) == ([86, 73], 5, 10, 24)
  assert (second["fired"], second["field"]) == (5, None) and len(pictures) == 2
  assert "thumbnail" not in other and other["field"] == 24
  assert "v_Bowing_g01_c01" in caplog.text, "test clips are never looked at"
  shown = animation.decode(pictures[first["thumbnail"]])
  assert shown.shape[1:] == (top_clips.HEIGHT, 2 * round(top_clips.HEIGHT * 300 / 256), 3)
  clip = next(clip for clip in dataset.content["train"] if clip["clip"] == "v_Bowing_g08_c01")
  fired = animation.resize(animation.decode(clip["frames"][8])[0], top_clips.HEIGHT, shown.shape[2] // 2).astype(int)
  differences = [np.abs(frame[:, : shown.shape[2] // 2] - fired).mean() for frame in shown.astype(int)]
  assert len(shown) == 10 and int(np.argmin(differences)) == 5 and differences[5] < 12

  with summaries.StimulusWriter(tmp_path, "stimuli") as writer:
    writer.add_statistics(found, pictures)
    before = writer.statistics()
  assert "error" not in checks.statistics(summaries.events.to_json(before), "it")["conv3/f001"]
  assert (tmp_path / "stimuli/tbvis/clips" / first["thumbnail"]).read_bytes() == pictures[first["thumbnail"]]
  # A later call keeps what is there, and makes no picture twice.
  again = top_clips.kept_pictures(top_clips.with_fields(described, TABLE), before)
  assert again == found and top_clips.with_pictures(again, dataset, 64)[1] == {}


@pytest.mark.parametrize(
  ("means", "expected"),
  [
    ([6.0, 2.0, 1.0], (6 - 1.5) / (6 + 1.5)),
    ([6.0, np.nan, 2.0], 0.5),
    ([3.0, -5.0], 1.0),
    ([-3.0, -5.0], np.nan),
    ([0.0, 0.0], np.nan),
    ([2.0], np.nan),
    ([], np.nan),
  ],
)
def test_selectivity(means, expected):
  np.testing.assert_allclose(selectivity_index(np.array(means)), expected)
  many = np.stack([np.array(means), np.array(means)], axis=-1)
  np.testing.assert_allclose(selectivity_index(many), [expected, expected])
