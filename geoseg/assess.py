"""Assess a map with an interpreted sample: accuracy and areas with intervals."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from geoseg.assessment.assess import assess
from geoseg.assessment.references import References, from_labels, read_references
from geoseg.assessment.sampling.sample_file import SampleFile
from geoseg.assessment.write import write
from geoseg.commands.run import run
from geoseg.errors import Faults
from geoseg.geo.legend import LegendSettings
from geoseg.labels.find import open_labels
from geoseg.labels.settings import Labels, given
from geoseg.labels.source import LabelSource
from geoseg.labels.zones import Zones
from geoseg.maps.landcover import ClassMap


@dataclass
class AssessConfig:
    """Estimate a map's accuracy and the areas of its classes from an interpreted sample."""

    sample: str | None = None
    """The sample.gpkg of geoseg.sample; none = the demo's."""
    out: str | None = None
    """Folder for report.html, accuracy.json, areas.csv and more."""
    points: str | None = None
    """File with the filled points, where they came back in one of their own: a vector file or CSV
    with `id` and `reference`."""
    map: str | None = None
    """Another map of the same ground and classes, to be assessed with the same sample; one of
    another program needs `legend.path`."""
    by: str | None = None
    """Zones to report besides: <vector file>:<attribute with the zone's name>."""
    level: float = 0.95
    """Level of the intervals."""
    overwrite: bool = False
    """Replace an assessment of other settings."""
    labels: Labels = field(default_factory=Labels)
    legend: LegendSettings = field(default_factory=LegendSettings)

    def __post_init__(self) -> None:
        faults = Faults()
        if not 0.5 <= self.level < 1:
            faults.add(f"level={self.level}: must be from 0.5 to below 1, as 0.95")
        if self.points is not None and self.labels.path is not None:
            faults.add("points and labels.path: references come from one of them, not both")
        if self.map is None and self.legend.is_given:
            faults.add("legend: is that of map=, which is not given; the sample has its own")
        faults.raise_if_any()


def main(cfg: AssessConfig) -> None:
    if cfg.sample is None:
        cfg = _demo(cfg)
    faults = Faults()
    faults.need(cfg, out="<folder>")
    file = faults.attempt(SampleFile.read, str(cfg.sample))
    faults.raise_if_any()
    assert file is not None
    labels = references = other = None
    with faults.collect():
        legend = cfg.legend.load_if_given()
        other = ClassMap.read(cfg.map, legend) if cfg.map is not None else None
    zones = None
    with faults.collect():
        if cfg.by is not None:
            zones = Zones.open(cfg.by, file.grid, key="by", apart=True)
    with faults.collect():
        labels, references = _references(cfg, file)
    faults.raise_if_any()
    assert references is not None
    made = assess(file, references, other=other, zones=zones, labels=labels, level=cfg.level)
    settings = _settings(cfg)
    print(write(made, str(cfg.out), settings, overwrite=cfg.overwrite))


def _demo(cfg: AssessConfig) -> AssessConfig:
    """The made-up landscape is known: its labels tell the class of every point."""
    labels = cfg.labels
    if labels.path is None and cfg.points is None:
        labels = Labels(path="data/demo/labels.gpkg", field="class", width_field="width_m")
    out = cfg.out or "reports/demo/assessment"
    return replace(cfg, sample="reports/demo/sample/sample.gpkg", out=out, labels=labels)


def _references(cfg: AssessConfig, file: SampleFile) -> tuple[LabelSource | None, References]:
    """Raises: InputError."""
    if cfg.labels.path is None:
        return None, read_references(file, cfg.points)
    scene = Path(str(file.about["map"])).stem
    labels = open_labels(cfg.labels, file.legend, scenes={scene: file.grid})
    labels.say_if_among(str(path) for path in (file.about["map"], cfg.map) if path)
    return labels, from_labels(file, labels, given(cfg.labels))


def _settings(cfg: AssessConfig) -> dict[str, Any]:
    keys = ("sample", "points", "map", "by", "level")
    legend = {"legend": cfg.legend.path} if cfg.legend.path else {}
    return {key: getattr(cfg, key) for key in keys} | {"labels": given(cfg.labels)} | legend


if __name__ == "__main__":
    run("assess", AssessConfig, main)
