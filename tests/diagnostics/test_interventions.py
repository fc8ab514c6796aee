"""Changes of clips by hand-made inputs and NumPy, and their effect on a network's scores."""

import numpy as np
import pytest
import tensorflow as tf

from tbvis.diagnostics import effects, passes
from tbvis.diagnostics.interventions import Blank, BlankRegion, Freeze, FreezeInTime, Mirror, Reverse, Rotate, Shift, Slow
from tbvis.errors import UsageError


def _inputs(height=8, width=8, seed=0):
  rng = np.random.default_rng(seed)
  return {
    "appearance": rng.normal(size=(2, height, width, 3)).astype(np.float32) * 60,
    "motion": rng.normal(size=(2, height, width, 20)).astype(np.float32) * 15,
  }


def _flow(motion):
  return motion.reshape(*motion.shape[:3], -1, 2)


def test_a_quarter_turn_is_exact_and_four_give_the_input_back():
  for size in (7, 8):
    inputs = _inputs(size, size)
    turned = Rotate(90)(inputs)
    np.testing.assert_array_equal(turned["appearance"], np.rot90(inputs["appearance"], axes=(1, 2)))
    u, v = np.moveaxis(np.rot90(_flow(inputs["motion"]), axes=(1, 2)), -1, 0)
    np.testing.assert_array_equal(_flow(turned["motion"]), np.stack([v, -u], axis=-1))
    for _ in range(3):
      turned = Rotate(90)(turned)
    for stream, values in inputs.items():
      np.testing.assert_array_equal(turned[stream], values)
    back = Rotate(-90)(Rotate(90)(inputs))
    np.testing.assert_array_equal(back["motion"], inputs["motion"])


def test_a_level_flow_becomes_steep():
  level = {"appearance": np.zeros((1, 5, 9, 3)), "motion": np.tile([4.0, 0.0], 10) * np.ones((1, 5, 9, 1))}
  for degrees in (90, 30, -45):
    flow = _flow(Rotate(degrees, ("motion",))(level)["motion"])
    # A quarter turn lifts a flow to the right; v counts downwards.
    np.testing.assert_allclose(flow[..., 0], 4 * np.cos(np.deg2rad(degrees)), atol=1e-5)
    np.testing.assert_allclose(flow[..., 1], -4 * np.sin(np.deg2rad(degrees)), atol=1e-5)


def test_a_small_turn_moves_a_point_by_its_angle_and_edges_are_mirrored():
  picture = np.zeros((1, 41, 41, 3), np.float32)
  picture[0, 20, 35] = 1.0
  turned = Rotate(30, ("appearance",))({"appearance": picture})["appearance"][0, ..., 0]
  y, x = np.indices(turned.shape)
  centre = (turned * y).sum() / turned.sum(), (turned * x).sum() / turned.sum()
  np.testing.assert_allclose(centre, (20 - 15 * np.sin(np.pi / 6), 20 + 15 * np.cos(np.pi / 6)), atol=0.1)
  # What lies outside a wide picture is the mirrored picture, never something new.
  wide = np.arange(5.0)[:, None, None] + np.zeros((1, 5, 12, 3))
  corners = Rotate(90, ("appearance",))({"appearance": wide})["appearance"]
  assert set(np.unique(corners)) <= set(np.arange(0, 4.5, 0.5))


def test_a_shift_moves_rows_and_mirrors_what_comes_in():
  inputs = _inputs(height=8)
  up = Shift(0.25)(inputs)
  for stream, values in inputs.items():
    np.testing.assert_array_equal(up[stream][:, :6], values[:, 2:])
    np.testing.assert_array_equal(up[stream][:, 6:], values[:, [6, 5]])
  down = Shift(-0.25, ("motion",))(inputs)
  np.testing.assert_array_equal(down["motion"][:, 2:], inputs["motion"][:, :6])
  assert down["appearance"] is inputs["appearance"]


def test_speed_halves_and_time_stretches():
  inputs = _inputs()
  np.testing.assert_allclose(Slow(0.5)(inputs)["motion"], inputs["motion"] / 2)
  assert Slow(0.5)(inputs)["appearance"] is inputs["appearance"]
  assert Slow(40)(inputs)["motion"].max() == 127 and Slow(40)(inputs)["motion"].min() == -128
  ramp = {"motion": np.repeat(np.arange(10.0), 2) * np.ones((1, 2, 2, 1))}
  stretched = _flow(Slow(0.5, stretch=True)(ramp)["motion"])[0, 0, 0, :, 1]
  np.testing.assert_allclose(stretched, 0.5 * (4.5 + (np.arange(10) - 4.5) / 2))
  faster = _flow(Slow(2, stretch=True)(ramp)["motion"])[0, 0, 0, :, 0]
  np.testing.assert_allclose(faster, 2 * np.clip(4.5 + (np.arange(10) - 4.5) * 2, 0, 9))


def test_time_is_frozen_and_reversed():
  inputs = _inputs()
  frozen = _flow(FreezeInTime()(inputs)["motion"])
  np.testing.assert_allclose(frozen, np.repeat(_flow(inputs["motion"]).mean(3, keepdims=True), 10, axis=3), rtol=1e-5, atol=1e-5)
  np.testing.assert_array_equal(_flow(Reverse()(inputs)["motion"]), -_flow(inputs["motion"])[..., ::-1, :])
  assert not Freeze()(inputs)["motion"].any() and not Blank("appearance")(inputs)["appearance"].any()
  mirrored = Mirror()(inputs)
  np.testing.assert_array_equal(mirrored["appearance"], inputs["appearance"][:, :, ::-1])
  np.testing.assert_array_equal(_flow(mirrored["motion"]), _flow(inputs["motion"])[:, :, ::-1] * [-1, 1])


def test_a_region_is_blanked_and_the_rest_left_untouched():
  inputs = _inputs(20, 40)
  box = BlankRegion("motion", (0.5, 0.25, 1.0, 0.5), label="hands", edge=0.1)
  found = box(inputs)
  assert box.name == "blank_hands_of_motion" and found["appearance"] is inputs["appearance"]
  inside = np.zeros((20, 40), bool)
  inside[10:, 10:20] = True
  np.testing.assert_array_equal(found["motion"][:, ~inside], inputs["motion"][:, ~inside])
  assert not found["motion"][:, 12:18, 12:18].any()
  # The edge is soft: 2 pixels, half a pixel and one and a half from the border.
  np.testing.assert_allclose(box.mask(20, 40)[15, 9:13], [0, 0.25, 0.75, 1])
  chosen = np.zeros((5, 10), np.float32)
  chosen[0, 0] = 1
  surround = BlankRegion("appearance", (0, 0, 0.2, 0.1), fill="surround", edge=0)(inputs)["appearance"]
  rest = np.ones((20, 40), bool)
  rest[:4, :4] = False
  np.testing.assert_allclose(surround[:, 0, 0], inputs["appearance"][:, rest].mean(1), rtol=1e-4, atol=1e-4)
  np.testing.assert_array_equal(surround[:, rest], inputs["appearance"][:, rest])
  mapped = BlankRegion("appearance", chosen)(inputs)["appearance"]
  np.testing.assert_array_equal(mapped[:, 6:], inputs["appearance"][:, 6:])
  assert not mapped[:, 0, 0].any()


def test_tensors_stay_tensors_and_names_tell_settings_apart():
  inputs = {name: tf.constant(values) for name, values in _inputs().items()}
  changes = [
    Rotate(30), Rotate(30, ("motion",)), Rotate(-30), Slow(0.5), Slow(0.5, stretch=True), Freeze(), FreezeInTime(), Mirror(), Reverse(),
    Shift(0.1), Shift(-0.1), Blank("motion"), Blank("appearance"), BlankRegion("motion", (0, 0, 1, 0.5), "the mouth"),
    BlankRegion("motion", (0, 0, 1, 0.5), fill="surround"),
  ]  # fmt: skip
  for change in changes:
    found = change(inputs)
    assert all(isinstance(values, tf.Tensor) and values.shape == inputs[name].shape for name, values in found.items())
    assert " " not in change.name and len(change.words) > 10 and set(change.streams) <= set(inputs)
  assert len({change.name for change in changes}) == len(changes)
  # They run in a compiled function of inputs of any size as well.
  open_size = tf.TensorSpec([None, None, None, 20], tf.float32)
  for change in (Rotate(90, ("motion",)), Slow(0.5, stretch=True), Reverse()):
    compiled = tf.function(lambda motion, change=change: change({"motion": motion})["motion"], input_signature=[open_size])
    np.testing.assert_allclose(compiled(inputs["motion"]), change(inputs)["motion"], atol=1e-4)


@pytest.mark.parametrize(
  "call, told",
  [
    (lambda: Rotate(30, ("motoin",)), "motion"),
    (lambda: Rotate(30, "motion"), "tuple"),
    (lambda: Rotate(float("nan")), "degrees"),
    (lambda: Slow(-1), "at least 0"),
    (lambda: Shift(1.5), "from -1 to 1"),
    (lambda: Blank("apearance"), "appearance"),
    (lambda: BlankRegion("motion", (0.5, 0, 0.2, 1)), "top < bottom"),
    (lambda: BlankRegion("motion", np.full((3, 3), 2.0)), "0 to 1"),
    (lambda: BlankRegion("motion", (0, 0, 1, 1), fill="men"), "mean"),
    (lambda: Freeze()({"appearance": np.zeros((1, 4, 4, 3))}), "'motion'"),
    (lambda: Freeze()({"motion": np.zeros((4, 4, 20))}), "(N, [chunks,] H, W, channels)"),
  ],
)
def test_mistakes_are_told_in_a_line(call, told):
  with pytest.raises(UsageError) as caught:
    call()
  assert told in str(caught.value) and "\n" not in str(caught.value)


def test_chunks_are_changed_one_by_one_and_change_places_backwards():
  rng = np.random.default_rng(3)
  inputs = {stream: rng.normal(size=(2, 3, 6, 8, channels)).astype(np.float32) for stream, channels in (("appearance", 3), ("motion", 10))}
  for change in (Rotate(90), Rotate(20, ("motion",)), Slow(0.5), Mirror(), Shift(0.2)):
    found = change(inputs)
    for chunk in range(3):
      alone = change({stream: values[:, chunk] for stream, values in inputs.items()})
      for stream, values in alone.items():
        np.testing.assert_allclose(found[stream][:, chunk], values, atol=1e-5)
  # A film of one flow a frame has its change over time between the chunks.
  held = FreezeInTime()(inputs)["motion"]
  mean = inputs["motion"].reshape(2, 3, 6, 8, 5, 2).mean(axis=(1, 4))
  np.testing.assert_allclose(held.reshape(2, 3, 6, 8, 5, 2), np.broadcast_to(mean[:, None, :, :, None], (2, 3, 6, 8, 5, 2)), atol=1e-5)
  both = ("appearance", "motion")
  backwards = Reverse(both)(inputs)
  np.testing.assert_array_equal(backwards["appearance"], inputs["appearance"][:, ::-1])
  for chunk in range(3):
    np.testing.assert_array_equal(_flow(backwards["motion"][:, chunk]), -_flow(inputs["motion"][:, 2 - chunk])[..., ::-1, :])
  frozen = Freeze(both)(inputs)
  np.testing.assert_array_equal(frozen["appearance"], np.repeat(inputs["appearance"][:, 1:2], 3, axis=1))
  assert not frozen["motion"].any()
  assert (Reverse().name, Reverse(both).name, Freeze(("appearance",)).name) == ("reverse", "reverse_appearance_motion", "freeze_appearance")


@pytest.mark.slow
def test_the_effect_on_margins_is_that_of_plain_calls(checkpoint, dataset):
  changes = [Blank("motion"), Rotate(90), Freeze()]
  clips = list(passes.clip_snippets(checkpoint, dataset, "test", count=2, flips=False))[:3]
  found = effects.effect(checkpoint, clips, "Rolling", "Bowing", changes)
  for row, clip in enumerate(clips):
    inputs = clip.inputs
    for change in (None, *changes):
      outputs = checkpoint.model(change(inputs) if change else inputs)
      margins = {tower: np.mean(outputs[f"scores_{tower}"][:, 2] - outputs[f"scores_{tower}"][:, 0]) for tower in ("hybrid", "motion")}
      margins["fused"] = (margins["hybrid"] + margins["motion"]) / 2
      for tower, expected in margins.items():
        assert found.margins(change.name if change else None, tower)[row] == pytest.approx(expected, rel=1e-3, abs=1e-4)
  assert found.before.clips == tuple(clip.clip for clip in clips)
  np.testing.assert_array_equal(found.changes("freeze"), found.changes("blank_motion"))
  np.testing.assert_array_equal(found.changes("blank_motion", "appearance"), [0, 0, 0])
  assert found.mean_change("freeze") == pytest.approx(float(np.mean(found.changes("freeze"))))
  up, down = found.signs("freeze")
  assert (up, down) == (int((found.changes("freeze") > 0).sum()), int((found.changes("freeze") < 0).sum())) and up + down == 3
  with pytest.raises(UsageError, match="freeze"):
    found.changes("freze")
  with pytest.raises(UsageError, match="Rolling"):
    effects.effect(checkpoint, clips, "Roling", "Bowing", changes)
  with pytest.raises(UsageError, match="different names"):
    effects.effect(checkpoint, clips, "Rolling", "Bowing", [Freeze(), Freeze()])
  with pytest.raises(UsageError, match="received none"):
    effects.effect(checkpoint, [], "Rolling", "Bowing", changes)
