"""One-line errors and the nearest valid names."""

from tbvis.errors import UsageError, nearest, unknown_name

CLASSES = ["Archery", "PlayingCello", "PlayingViolin"]


def test_nearest_ignores_case_and_orders_by_likeness():
  assert nearest("playingcelo", CLASSES)[0] == "PlayingCello"
  assert nearest("playingviolin", CLASSES)[0] == "PlayingViolin"


def test_nearest_of_nothing_alike_is_empty():
  assert nearest("zzz", CLASSES) == []


def test_nearest_returns_at_most_count():
  assert len(nearest("Playing", ["PlayingCello", "PlayingViolin", "PlayingPiano", "PlayingTabla"], count=2)) == 2


def test_unknown_name_says_what_was_received_where_and_what_is_near():
  error = unknown_name("class", "PlayingChello", CLASSES, "the checkpoint demo.keras")
  assert isinstance(error, UsageError)
  text = str(error)
  assert "\n" not in text
  assert text.startswith("Unknown class 'PlayingChello' in the checkpoint demo.keras. Nearest: PlayingCello")


def test_unknown_name_lists_valid_ones_where_none_is_near():
  assert str(unknown_name("class", "zzz", CLASSES)) == "Unknown class 'zzz'. Expected one of: Archery, PlayingCello, PlayingViolin."
  many = [f"Class{i:02d}" for i in range(20)]
  assert str(unknown_name("class", "???", many)).endswith("Class07, ....")
  assert str(unknown_name("class", "zzz", [])).endswith("There are none.")
