"""The actions, one module each (or one for twins that share all but a prop); importing this package lists them in SCENES."""

from tbvis.datasets.stage.scenes import (
  archery,
  baby_crawling,
  billiards,
  face,
  lifting,
  playing_cello,
  playing_flute,
  playing_tabla,
  playing_violin,
  soccer_juggling,
  swinging,
  table_tennis_shot,
  volleyball_spiking,
)
from tbvis.datasets.stage.scenes.base import SCENES, Scene, shown_factors

__all__ = [
  "SCENES",
  "Scene",
  "archery",
  "baby_crawling",
  "billiards",
  "face",
  "lifting",
  "playing_cello",
  "playing_flute",
  "playing_tabla",
  "playing_violin",
  "shown_factors",
  "soccer_juggling",
  "swinging",
  "table_tennis_shot",
  "volleyball_spiking",
]
