"""The actions, one module each (or one for twins that share all but a prop); importing this package lists them in SCENES."""

from tbvis.datasets.stage.scenes import billiards, face, playing_cello, playing_tabla, playing_violin
from tbvis.datasets.stage.scenes.base import SCENES, Scene, shown_factors

__all__ = ["SCENES", "Scene", "billiards", "face", "playing_cello", "playing_tabla", "playing_violin", "shown_factors"]
