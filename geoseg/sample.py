"""Draw sample points of a map for interpretation."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from geoseg.assessment.sampling.population import Frame, Where
from geoseg.assessment.sampling.sample import plan_sample, sample
from geoseg.assessment.sampling.settings import Cluster, Sampling
from geoseg.commands.run import run
from geoseg.errors import Faults, InputError
from geoseg.geo.legend import LegendSettings
from geoseg.maps.landcover import ClassMap


@dataclass
class SampleConfig:
    """Draw points from the strata of a map, for interpretation in QGIS and for geoseg.assess."""

    map: str | None = None
    """GeoTIFF of class codes; none = the demo's."""
    out: str | None = None
    """Folder for sample.gpkg and design.json."""
    maps: str | None = None
    """Output folder of predict, for sample.strata=class_confidence; none = where the map's tag
    leads to."""
    area: Any = None
    """Vector file with the polygons within which points are drawn; none = the whole map."""
    exclude: str | None = None
    """Folder of prepare: its train tiles are left out, as the network knows them."""
    plan: bool = False
    """Only show sizes and allocations, draw nothing."""
    seed: int = 0
    """Another seed, other points."""
    overwrite: bool = False
    """Replace a sample of other settings, as long as none of its points is interpreted."""
    sample: Sampling = field(default_factory=Sampling)
    cluster: Cluster = field(default_factory=Cluster)
    legend: LegendSettings = field(default_factory=LegendSettings)

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise InputError(f"seed={self.seed}: must not be negative")


def main(cfg: SampleConfig) -> None:
    if cfg.map is None:
        area = cfg.area or "data/demo/labelled_area.gpkg"
        out = cfg.out or "reports/demo/sample"
        cfg = replace(cfg, map="maps/demo/landcover.tif", area=area, out=out)
    faults = Faults()
    if cfg.out is None and not cfg.plan:
        faults.add("out: none given; set out=<folder>, or plan=true to draw nothing yet")
    legend = faults.attempt(cfg.legend.load_if_given)
    found = faults.attempt(ClassMap.read, str(cfg.map), legend)
    faults.raise_if_any()
    assert found is not None
    frame = Frame(found, Where(cfg.maps, cfg.area, cfg.exclude))
    if cfg.plan:
        print(plan_sample(frame, cfg.sample, cluster=cfg.cluster))
        return
    made = sample(
        frame,
        cfg.sample,
        str(cfg.out),
        cluster=cfg.cluster,
        seed=cfg.seed,
        overwrite=cfg.overwrite,
    )
    print(made)


if __name__ == "__main__":
    run("sample", SampleConfig, main)
