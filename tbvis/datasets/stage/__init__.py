"""The embedded set: real video files of synthetic scenes whose causes are known."""

from tbvis.datasets.stage.film import StageReport, film_stage
from tbvis.datasets.stage.script import load_script

__all__ = ["StageReport", "film_stage", "load_script"]
