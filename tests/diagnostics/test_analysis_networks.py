"""The paper's findings on networks whose fusion is known."""

import dataclasses

import keras
import numpy as np
import pytest

from tbvis import summaries
from tbvis.diagnostics import collection, controls
from tbvis.diagnostics.analysis import fusion, invariance, responses, stimuli
from tbvis.errors import UsageError
from tbvis.maximization.config import MaximizationConfig
from tbvis.models import checkpoint as checkpoint_lib
from tbvis.records import StimulusRecord

CHI, SEEDS = (0.0, 10.0), (0, 1)
CANVAS = 47


@pytest.fixture
def own(checkpoint):
  """The shared network as its own copy, so that its fusion may be changed."""
  copy = controls.untrained(checkpoint, 0)
  for layer in checkpoint.model.layers:
    copy.model.get_layer(layer.name).set_weights(layer.get_weights())
  return copy


def _record(unit, channel, chi, seed, activation=1.0, a_hat=1.0, layer="conv5_fusion"):
  rng = np.random.default_rng([channel, int(chi), seed])
  return StimulusRecord(
    unit=unit, layer=layer, layer_index=0, channel=channel, class_name=None, kappa=1.0, chi=chi, isotropic=False, seed=seed,
    appearance=rng.normal(size=(CANVAS, CANVAS, 3)).astype(np.float32) * 40,
    motion=rng.normal(size=(CANVAS, CANVAS, 10, 2)).astype(np.float32) * 20,
    steps=np.array([0]), history={"activation": np.array([activation])}, activation=activation, a_hat=a_hat,
    config={"layers": [layer], "jitter_pixels": 1},
  )  # fmt: skip


def _stimuli(channels=(0, 1)):
  units = {f"conv5_fusion/f{c + 1:03d}": c for c in channels}
  return {unit: {(chi, seed): _record(unit, c, chi, seed) for chi in CHI for seed in SEEDS} for unit, c in units.items()}


def test_layers_along_a_network_see_time_and_end_at_the_class_units(checkpoint):
  assert invariance.default_layers(checkpoint)[3:5] == ["conv5_3_motion", "conv5_fusion"]
  made = checkpoint_lib.build("c3d", {"chunks": 2, "width": 0.02, "input_size": 32, "fc_units": 4}, ("a", "b"))
  found = invariance.default_layers(made)
  assert len(found) == 8 and found[0] == "conv2a_appearance" and found[-1] == "prediction_appearance"
  made = checkpoint_lib.build("tsn_bn_inception", {"width": 0.02, "input_size": 32}, ("a", "b"))
  found = invariance.default_layers(made)
  assert len(found) == 8 and found[-1] == "prediction_motion" and not any("appearance" in name for name in found)


def test_a_unit_without_the_other_stream_loses_nothing_without_it(own):
  layer = own.model.get_layer("conv5_fusion")
  count = layer.kernel.shape[-1]
  kernel = np.zeros(layer.kernel.shape, np.float32)
  kernel[..., :count, 0] = 1  # f001 reads appearance alone, f002 motion alone, f003 both alike.
  kernel[..., count:, 1] = 1
  kernel[..., :, 2] = 0.5
  layer.kernel.assign(kernel)
  layer.bias.assign(np.zeros(count))
  found = fusion.measure(own, _stimuli((0, 1, 2)), None)
  without = found.stimulus_drops
  assert without["motion"][0] == 0 and without["appearance"][1] == 0
  assert without["appearance"][0] != 0 and without["motion"][1] != 0 and not found.clip_drops
  # A 1x1 fusion adds up what both towers give: the losses of f003 are half of theirs each, over their own sum.
  value = stimuli.Activations(own, "conv5_fusion")
  records = list(_stimuli((2,))["conv5_fusion/f003"].values())
  inputs = stimuli.inputs_of(records)
  both = value(inputs, [2] * 4)
  alone = value(inputs, [0] * 4) + value(inputs, [1] * 4)
  np.testing.assert_allclose(both, alone / 2, rtol=1e-4)


def test_values_are_those_of_the_network_at_the_middle(checkpoint):
  records = list(_stimuli((1,))["conv5_fusion/f002"].values())
  found = stimuli.Activations(checkpoint, "conv5_fusion")(stimuli.inputs_of(records), [1] * 4)
  net = keras.Model(checkpoint.model.inputs, checkpoint.model.get_layer("conv5_fusion").output)
  maps = np.asarray(net([np.stack([r.appearance for r in records]), np.stack([r.motion.reshape(CANVAS, CANVAS, 20) for r in records])]))
  np.testing.assert_allclose(found, maps[:, maps.shape[1] // 2, maps.shape[2] // 2, 1], rtol=1e-4, atol=1e-4)


def test_only_the_fusion_goes_back_to_its_start(checkpoint, own):
  layer = own.model.get_layer("conv5_fusion")
  layer.kernel.assign(np.asarray(layer.kernel) * 3)
  start = controls.initialised_fusion(own)
  assert controls.fusion_change(start.model) == 0 and controls.fusion_change(own.model) == pytest.approx(2)
  count = layer.kernel.shape[-1]
  expected = np.concatenate([0.25 * np.eye(count), 0.75 * np.eye(count)])
  np.testing.assert_allclose(np.asarray(start.model.get_layer("conv5_fusion").kernel)[0, 0], expected)
  assert not np.any(start.model.get_layer("conv5_fusion").bias)
  for name in ("conv4_3_motion", "fc6", "prediction"):
    for a, b in zip(start.model.get_layer(name).get_weights(), own.model.get_layer(name).get_weights(), strict=True):
      np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_identical_pictures_change_by_nothing_and_chi_adds_what_it_does(checkpoint):
  found = _stimuli()
  first = {}
  for unit, of_unit in found.items():
    same = next(iter(of_unit.values())).appearance
    # The picture follows chi and not the start.
    first[unit] = {key: _with(r, same if key[0] == 0 else same[::-1]) for key, r in of_unit.items()}
  measured = fusion.measure(checkpoint, first, None)
  picture = measured.changes["picture"]
  np.testing.assert_allclose(picture["seed"], 0, atol=1e-5)
  assert np.all(picture["chi"] > 0.7) and np.all(measured.added("picture") > 0.7) and measured.told_apart["picture"] == 1
  told = fusion.finding({"trained": measured}, moved=0.32)
  assert "|W - W0| / |W0| = 32.0%" in told.said[0] and set(told.charts) == {"fusion_appearance", "fusion_blanking"}
  assert [row[0] for row in told.tables[0].rows] == list(found) and told.numbers["fusion_trained_units"] == 2
  plain = fusion.measure(checkpoint, found, None)
  both = fusion.finding({"trained": measured, "fusion as initialised": plain}, moved=0.32)
  expected = f"what chi adds to picture {np.median(measured.added('picture') - plain.added('picture')):+.3f} (median of 2 units"
  assert any(line.startswith("trained less fusion as initialised") and expected in line for line in both.said)


def _with(record, appearance):
  return dataclasses.replace(record, appearance=np.ascontiguousarray(appearance))


def test_invariance_is_of_films_from_other_starts(checkpoint):
  found = _stimuli()
  for of_unit in found.values():
    same = of_unit[0.0, 0].motion
    for key, record in of_unit.items():
      # Two starts disagree, chi from one start agrees: only warm starts would call this invariant.
      of_unit[key] = _replace_motion(record, same if key[1] == 0 else -same)
  layer = invariance.measure(checkpoint, found)["conv5_fusion"]
  np.testing.assert_allclose(layer.values["across_chi"], -1, atol=1e-6)
  np.testing.assert_allclose(layer.values["between_starts"], -1, atol=1e-6)
  assert layer.activations.shape == (2, 2) and np.all(layer.values["evenness"] == 1)
  # At one contrast equal films give equal values, however strong they were.
  for of_unit in found.values():
    base = of_unit[0.0, 0]
    for key in of_unit:
      of_unit[key] = _replace_motion(_with(of_unit[key], base.appearance), base.motion * (1 + key[0]))
  even = invariance.measure(checkpoint, found)["conv5_fusion"].values["evenness_at_equal_contrast"]
  np.testing.assert_allclose(even[np.isfinite(even)], 1, rtol=1e-4)
  told = invariance.finding({"trained": {"conv5_fusion": layer}}, {"conv5_fusion": 14})
  assert "no trend can be told of 1 layers" in told.said[0] and any("cannot be told there" in line for line in told.said)
  assert told.tables[0].rows[0][:4] == ("conv5_fusion", 14, "trained", 2)
  worse = dataclasses.replace(layer, values={**layer.values, "evenness_at_equal_contrast": np.array([0.25, 0.5])})
  better = dataclasses.replace(layer, values={**layer.values, "evenness_at_equal_contrast": np.array([0.5, 1.0])})
  told = invariance.finding({"trained": {"conv5_fusion": better}, "motion untrained": {"conv5_fusion": worse}}, {"conv5_fusion": 14})
  assert any("trained less motion untrained" in line and "+0.375 (median of 2 units" in line for line in told.said)


def _replace_motion(record, motion):
  return dataclasses.replace(record, motion=motion)


@pytest.mark.slow
def test_responses_are_those_of_the_statistics_and_go_on_where_they_stopped(checkpoint, dataset, tmp_path):
  layers = ["conv3_3_motion", "conv5_fusion"]
  journal = tmp_path / "responses.progress"
  found = responses.collect(checkpoint, dataset, layers, blanked=["conv5_fusion"], count=3, journal=journal)
  known = collection.collect(checkpoint, dataset, count=3)
  assert sorted(found.clips) == sorted(known.clips) and set(found.groups) == {8, 9}
  for layer in layers:
    np.testing.assert_allclose(found.values[layer].max(axis=0), known.largest(layer), rtol=1e-5)
    means = [found.values[layer][found.labels == label].mean(axis=0) for label in range(3)]
    np.testing.assert_allclose(means, known.class_means(layer), rtol=1e-4)
  assert (
    set(found.without) == {"appearance", "motion"} and found.without["motion"]["conv5_fusion"].shape == found.values["conv5_fusion"].shape
  )
  # The fusion adds: what both blanks leave, less what neither does, is one number a unit, that of two blank inputs.
  rest = sum(found.without[s]["conv5_fusion"] for s in found.without) - found.values["conv5_fusion"]
  middle = np.median(rest, axis=0)
  assert np.mean(np.abs(rest - middle) < 1e-2 * np.abs(found.values["conv5_fusion"]).max()) > 0.5
  lines = journal.read_bytes().splitlines(keepends=True)
  journal.write_bytes(b"".join(lines[:3]) + lines[3][:40])  # Killed inside a line.
  again = responses.collect(checkpoint, dataset, layers, blanked=["conv5_fusion"], count=3, journal=journal)
  assert again.clips == found.clips
  np.testing.assert_array_equal(again.values["conv5_fusion"], found.values["conv5_fusion"])


@pytest.mark.slow
def test_stimuli_are_found_once_and_only_of_one_network(checkpoint, tmp_path):
  units = checkpoint.model.get_layer("conv2_2_motion").kernel.shape[-1]
  a_hat = {"conv2_2_motion": np.full(units, 5.0)}
  study = stimuli.Study("trained", "analysis", checkpoint, ("conv2_2_motion/f001",), CHI, SEEDS, a_hat, MaximizationConfig(steps=3))
  steps = []
  stimuli.search(study, tmp_path, steps.append)
  found = stimuli.read(study, tmp_path)
  assert set(found["conv2_2_motion/f001"]) == {(chi, seed) for chi in CHI for seed in SEEDS} and steps
  steps.clear()
  stimuli.search(study, tmp_path, steps.append)
  assert not steps and len(summaries.read_run(tmp_path, "analysis").stimuli) == 4
  other = stimuli.Study(**{**vars(study), "a_hat": {"conv2_2_motion": np.full(units, 6.0)}})
  with pytest.raises(UsageError, match="another network or other statistics"):
    stimuli.search(other, tmp_path)
  longer = stimuli.Study(**{**vars(study), "config": MaximizationConfig(steps=4)})
  with pytest.raises(UsageError, match="another steps"):
    stimuli.search(longer, tmp_path)
