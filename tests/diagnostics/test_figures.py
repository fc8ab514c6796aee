"""The figures' parts: which units, which clips, what is said of them, the drawing of the network."""

import dataclasses
import pathlib
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from tbvis import files
from tbvis import units as names
from tbvis.diagnostics import predictions as predictions_lib
from tbvis.diagnostics import statistics as statistics_lib
from tbvis.diagnostics.figures import clips, figure, schematic, stimuli, units
from tbvis.errors import UsageError
from tbvis.maximization import planning
from tbvis.maximization.config import MaximizationConfig

FLAGFILES = sorted((pathlib.Path(__file__).resolve().parents[2] / "flags" / "figures").glob("*.flags"))
# By class the mean responses of units of conv5_fusion; the third answers to two classes, the last hardly to any.
MEANS = np.array([[4.0, 1.0, 3.0, 0.01], [1.0, 5.0, 3.0, 0.0], [1.0, 1.0, 0.0, 0.0]])


@pytest.fixture(scope="module")
def known(checkpoint):
  """Statistics of one clip a class with the responses of MEANS."""
  layer = statistics_lib.LayerStatistics.empty(checkpoint.model.get_layer("conv5_fusion").filters, 3)
  for label, row in enumerate(MEANS):
    values = np.zeros(len(layer.values), np.float32)
    values[: len(row)] = row
    best = {"value": values, "frame": np.zeros(len(values), np.int32), "yx": np.zeros((len(values), 2), np.int32)}
    layer = layer.with_clip(label, label, best, 0.0, 1)
  clips_of = tuple(f"v_{name}" for name in checkpoint.classes)
  return statistics_lib.UnitStatistics(tuple(checkpoint.classes), clips_of, np.arange(3), {"conv5_fusion": layer})


def _choose(text, checkpoint, known=None, by_paper=False, taken=()):
  return units.choose(units.parse_wish(text), checkpoint, known, by_paper, taken)


def test_units_are_chosen_by_class_and_no_unit_twice(checkpoint, known):
  first = _choose("conv5_fusion/f009|Bowing", checkpoint, known)
  assert first.name == "conv5_fusion/f001" and first.classes == ("Bowing",)
  assert first.how == "of 24 units of conv5_fusion the one that answers most to Bowing rather than to other classes (selectivity 0.60)"
  second = _choose("conv5_fusion/Bowing", checkpoint, known, taken={first.name})
  assert second.name == "conv5_fusion/f003" and "its largest mean response is to Brushing" not in second.how
  assert _choose("conv5_fusion/Bowing+Brushing", checkpoint, known).name == "conv5_fusion/f003"
  third = _choose("conv5_fusion/Rolling", checkpoint, known)
  assert "its largest mean response is to" in third.how


def test_the_papers_number_is_for_the_authors_network(checkpoint, known):
  assert _choose("conv5_fusion/f002|Bowing", checkpoint, known, by_paper=True).name == "conv5_fusion/f002"
  assert not units.is_authors(checkpoint)
  theirs = {"width": 1.0, "input_size": 224}
  made = dataclasses.replace(
    checkpoint, classes=tuple(map(str, range(101))), arguments=theirs, metadata={"sources": [{"format": "matconvnet"}]}
  )
  assert units.is_authors(made) and not units.is_authors(dataclasses.replace(made, metadata={"sources": [{"format": "caffe"}]}))


def test_what_a_network_lacks_is_said_in_a_line(checkpoint, known):
  with pytest.raises(units.Lacking, match=r"has no class Bowling \(nearest: Bowing\)"):
    _choose("prediction/Bowling", checkpoint)
  with pytest.raises(units.Lacking, match="no unit statistics to choose a unit of conv5_fusion for Bowing by"):
    _choose("conv5_fusion/Bowing", checkpoint)
  part = _choose("conv5_fusion/Bowing+Archery", checkpoint, known)
  assert part.classes == ("Bowing",) and "the network has no class Archery" in part.how
  rows, notes = figure.choose_units([units.parse_wish(t) for t in ("prediction/Archery", "prediction/Rolling")], figure.Sources(checkpoint))
  assert [row.name for row in rows] == ["prediction/Rolling"] and notes == [
    "The row prediction/Archery is left out: the network has no class Archery."
  ]
  with pytest.raises(UsageError, match="The network has nothing to show here"):
    figure.choose_units([units.parse_wish("prediction/Archery")], figure.Sources(checkpoint))
  with pytest.raises(UsageError, match="Unknown layer 'conv5_fusio'"):
    _choose("conv5_fusio/Bowing", checkpoint, known)


def test_wishes_that_mean_nothing_are_refused():
  for text in ("conv5_fusion", "conv5_fusion/", "/f001", "conv5_fusion/Billiards|f001", "conv5_fusion/f001|"):
    with pytest.raises(UsageError, match="--units: expected LAYER/f021"):
      units.parse_wish(text)


def test_clips_taken_for_the_other_class_come_first():
  scores = np.array([[2.0, 0.0], [0.0, 2.0], [0.0, 2.0], [0.0, 3.0]])
  found = predictions_lib.Predictions(("a1", "a2", "a3", "b1"), np.array([0, 0, 0, 1]), ("A", "B"), {"fused": scores})
  names = {"a3": 2, "a2": 1, "a1": 1}
  assert clips.choose_names(names, "A", 1, found, "B") == {"a2": "B"}
  assert clips.choose_names(names, "A", 2, found, "B") == {"a2": "B", "a1": "A"}
  # Of another group rather than the next by name.
  assert clips.choose_names(names, "A", 2, None, None) == {"a1": "", "a3": ""}
  told = figure.confusion_sentences(found, ("A", "B"))
  assert told[0].startswith("A: right 33.3 % (1 of 3;") and "taken for B 66.7 % (2 of 3;" in told[0]
  assert "taken for A 0.0 % (0 of 1;" in told[1]


def test_regions_are_where_one_class_moves_more_and_the_effect_has_its_sign():
  left, right = np.zeros((20, 20, 10, 2), np.float32), np.zeros((20, 20, 10, 2), np.float32)
  left[:, :3], right[:, -3:] = 5.0, 5.0
  masks = clips.regions({"A": [left], "B": [right]})
  assert masks["A"][:, :3].all() and not masks["A"][:, 3:].any() and masks["B"][:, -3:].all()
  share = clips.RegionShare("A", masks["A"], {"A": np.array([0.5, 0.6, 0.7]), "B": np.array([0.1, 0.2, np.nan])})
  assert share.effect == pytest.approx((0.6 - 0.15) / np.sqrt((2 * 0.01 + 0.005) / 3))
  assert "A 60.0 % (3 clips), B 15.0 % (3 clips)" in str(share)


def _description(**more):
  wishes = tuple(map(units.parse_wish, ("prediction/Bowing", "prediction/Rolling")))
  return figure.Description("rows", wishes, (planning.Setting(1.0, 10.0), planning.Setting(1.0, 0.0)), **more)


@pytest.mark.slow
def test_a_figure_with_clips_confusions_and_regions(checkpoint, dataset, tmp_path):
  scores = {"fused": np.eye(3)[[0, 1, 0, 0, 1, 2]]}
  clip_names = tuple(f"v_{name}_g{group:02d}_c01" for group in (1, 2) for name in checkpoint.classes)
  called = predictions_lib.Predictions(clip_names, np.array([0, 1, 2] * 2), checkpoint.classes, scores)
  sources = figure.Sources(checkpoint, predictions=called, dataset=dataset)
  cabinet = stimuli.Cabinet(checkpoint, MaximizationConfig(steps=2, kept_steps=0), None, tmp_path)
  steps = []
  told = _description(clips=("own", "Brushing", "YoYo"), pair=("Rolling", "Bowing"), regions=True)
  made = figure.make(told, sources, cabinet, lambda total: steps.append)
  rows, below = made.blocks
  assert rows.heads[:2] == ("appearance\nkappa = 1, chi = 10", "motion\nkappa = 1, chi = 10\nslowest")
  assert rows.heads[3:] == ("clip", "its flow")
  assert [row.label for row in rows.rows] == ["prediction\nBowing", "prediction\nRolling"]
  # The clip of Rolling that was taken for Bowing comes first.
  assert [cell.below for row in rows.rows for cell in row.cells[3:4]] == ["recognised", "taken for Bowing"]
  assert rows.rows[0].cells[1].moves and 0 <= rows.rows[0].cells[1].still < 10 and " a_hat, " in rows.rows[0].cells[1].below
  assert below.rows[0].label == "sample clips\nBrushing" and any("has no test clips of YoYo" in text for text in made.said)
  assert "Rolling: right 50.0 % (1 of 2;" in " ".join(made.said)
  assert set(made.numbers["regions"]) == {"Rolling", "Bowing"} and made.numbers["stimuli"] == 4
  assert sum(steps) == 2 * 4

  # Another figure of the same stimuli searches none; one more setting searches that alone.
  again = figure.make(_description(), sources, cabinet, lambda total: pytest.fail("searched again"))
  assert (again.blocks[0].rows[0].cells[1].frames == rows.rows[0].cells[1].frames).all()
  more = dataclasses.replace(_description(), settings=(planning.Setting(1.0, 10.0), planning.Setting(5.0, 5.0, True)))
  totals = []
  figure.make(more, sources, cabinet, lambda total: totals.append(total) or steps.append)
  assert totals == [2 * 2]


@pytest.mark.slow
def test_mosaics_and_settings(checkpoint, tmp_path):
  cabinet = stimuli.Cabinet(checkpoint, MaximizationConfig(steps=1, kept_steps=0), None, tmp_path)
  wish = units.parse_wish("conv1_2/f001-f004")
  told = figure.Description("rows", (wish,), (planning.Setting(1.0, 0.0),))
  (block,) = figure.make(told, figure.Sources(checkpoint), cabinet, lambda total: lambda step: None).blocks
  appearance, motion = block.rows[0].cells
  assert block.rows[0].label == "conv1_2\nf001-f004" and appearance.frames.shape[0] == 1 and motion.frames.shape[0] == 10
  assert appearance.frames.shape[1] > 2 * 8
  one = dataclasses.replace(told, layout="settings", units=(units.parse_wish("conv1_2_motion/f001"),))
  (block,) = figure.make(one, figure.Sources(checkpoint), cabinet, lambda total: lambda step: None).blocks
  assert block.heads == ("appearance\nconv1_2_motion/f001", "motion\nconv1_2_motion/f001")
  assert block.rows[0].cells[0].frames is None and block.rows[0].cells[0].alt == "no appearance"


def test_the_drawing_has_every_layer_where_the_streams_are_and_join(checkpoint):
  nodes = {node.name: node for node in schematic.nodes(checkpoint)}
  drawn = {layer.name for layer in checkpoint.model.layers if layer.weights}
  assert drawn <= set(nodes) and not any("relu" in name or "dropout" in name for name in nodes)
  assert {nodes[name].lane for name in ("conv1_1_appearance", "conv5_fusion", "conv1_1_motion")} == {0, 1, 2}
  assert nodes["concat5"].before == ("conv5_3_appearance", "conv5_3_motion")
  assert all(nodes[name].column < node.column for node in nodes.values() for name in node.before)
  assert [(nodes[name].side, nodes[name].channels) for name in ("appearance", "pool1_motion", "conv5_fusion", "fc6", "prediction")] == [
    (64, 3), (32, 4), (4, 24), (1, 8), (1, 3)
  ]  # fmt: skip
  plain, searched = schematic.drawings(checkpoint, "Fig. 2")
  boxes = list(ET.fromstring(searched.svg()).iter("{http://www.w3.org/2000/svg}rect"))
  assert len(boxes) == len(nodes) and len(searched.marks) > len(plain.marks)


@pytest.mark.parametrize("path", FLAGFILES, ids=lambda path: path.stem)
def test_flagfiles_name_what_exists(path, checkpoint):
  lines = dict(line[2:].split("=", 1) for line in path.read_text().splitlines() if line.startswith("--") and "=" in line)
  assert lines["figure"] == path.stem and lines["paper"].endswith(".") and lines["title"].startswith("Fig. ")
  ucf101 = {line.split()[1] for line in (path.parents[2] / "data" / "ucf101" / "classInd.txt").read_text().splitlines() if line}
  layers = names.unit_layers(checkpoint.model)
  wishes = [units.parse_wish(text) for text in lines.get("units", "").split(",") if text]
  assert wishes or lines["layout"] == "schematic"
  for wish in wishes:
    assert wish.layer in layers and set(wish.classes) <= ucf101
  assert set(lines.get("clips", "own").split(",")) | set(lines.get("pair", "own").split(",")) <= ucf101 | {"own"}


def test_all_figures_have_a_flagfile():
  assert [path.stem for path in FLAGFILES] == sorted([*(f"fig{n:02d}" for n in range(1, 15)), "fig07_isotropic", "fig08_isotropic"])


def test_the_appearances_of_chunks_play_beside_their_motion_and_come_back_from_the_cabinet(tmp_path):
  film = np.zeros((4, 4, 2, 3), np.float32)
  film[:, :, 1] = 9.0
  found = stimuli.Found(film[:, :, 1], np.zeros((4, 4, 6, 2), np.float32), 1.0, 0.0, "", film)
  assert found.played()[:, 0, 0, 0].tolist() == [0, 0, 0, 255, 255, 255]
  assert dataclasses.replace(found, motion=None).played().shape == (2, 4, 4, 3)
  assert dataclasses.replace(found, film=None).played().shape == (1, 4, 4, 3)
  assert stimuli.longest([found, dataclasses.replace(found, motion=None)]) == 6 and stimuli.longest([]) == 1
  files.write_npz(tmp_path / "a.npz", numbers=np.array([1.0, 0.0]), error=np.array(""), appearance=film[:, :, 1], film=film)
  np.testing.assert_array_equal(stimuli._read(tmp_path / "a.npz").film, film)
