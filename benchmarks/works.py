"""What the benchmark of the search measures: units of layers, and which library finds them at which canvas."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
import dataclasses
from typing import Any

from peers import report

FUSION = "two_stream_fusion_vgg16"
_CHI = (0.0, 1.0, 5.0, 10.0)


@dataclasses.dataclass(frozen=True)
class Work:
  """Units of a layer: of the image network, or of a network of clips, which takes no library but ours.

  Attributes:
    name: in the paper's way of writing.
    layer: name of the layer.
    canvas: side that ours takes for it.
    network: "vgg16", the image network, or a name of `checkpoint.BUILDERS`.
    arguments: what its builder is given beside the classes.
    units: how many units are searched, each with every chi, of a network of clips.
    chi: which.
  """

  name: str
  layer: str
  canvas: int
  network: str = "vgg16"
  arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict, hash=False)
  units: int = 2
  chi: tuple[float, ...] = _CHI

  @property
  def image(self) -> bool:
    """Whether it is of the image network."""
    return self.network == "vgg16"


WORKS = {
  work.name: work
  for work in (
    Work("conv3_3", "block3_conv3", report.natural_canvas(40, 4)),
    Work("conv4_3", "block4_conv3", report.natural_canvas(92, 8)),
    Work("conv5_3", "block5_conv3", report.natural_canvas(196, 16)),
    Work("conv5_fusion", "conv5_fusion", report.natural_canvas(196, 16), FUSION, {"base_classifier": False}),
    Work("prediction", "prediction", 224, FUSION, {"base_classifier": False}),
    Work("st_resnet50", "prediction", 224, "st_resnet50", {"chunks": 5}, 1, (0.0, 10.0)),
    Work("tsn_bn_inception", "prediction_motion", 224, "tsn_bn_inception", {"stream": "motion"}, 1, (0.0, 10.0)),
    Work("tsn_inception_v3", "prediction_motion", 299, "tsn_inception_v3", {"stream": "motion"}, 1, (0.0, 10.0)),
    Work("c3d", "prediction_appearance", 128, "c3d", {}, 1, (0.0, 10.0)),
  )
}


@dataclasses.dataclass(frozen=True)
class Job:
  """One library on one work at one canvas."""

  work: Work
  engine: str
  canvas: int

  @property
  def key(self) -> str:
    """Name in the JSON."""
    return f"{self.engine.replace('-', '_')}_{self.work.name}_{self.canvas}"


def jobs_of(works: Iterable[Work], peers: Sequence[str], quick: bool) -> list[Job]:
  """Returns what is measured, in the order of the tables."""
  jobs = []
  for work in works:
    canvases = [work.canvas]
    if work.image and (not quick or work.name == "conv5_3"):
      canvases.append(224)
    for canvas in canvases:
      jobs.append(Job(work, "tbvis", canvas))
      if not quick or not work.image or canvas == 224:
        jobs.append(Job(work, "floor", canvas))
    if work.image:
      jobs += [Job(work, peer, 224) for peer in peers]
  return jobs
