"""Compare two maps of the same ground: what became of what, in hectares."""

from __future__ import annotations

from dataclasses import dataclass, field

from geoseg.commands.run import run
from geoseg.comparison.compare import compare
from geoseg.comparison.pair import MapPair
from geoseg.comparison.result import Asked
from geoseg.errors import require
from geoseg.geo.legend import LegendSettings
from geoseg.labels.zones import Zones


@dataclass
class CompareConfig:
    """Compare two maps: transitions in hectares, a map of changes, a page, all by zone too."""

    before: str | None = None
    """Class map, as geoseg.predict and geoseg.mosaic write it."""
    after: str | None = None
    """Class map of the same ground; on other pixels or in another CRS, the nearest ones count."""
    out: str | None = None
    """Folder for change.tif, change.html, transitions.csv, change.json and zones.gpkg."""
    zones: str | None = None
    """Polygons to count by, as <file>:<attribute with their names>."""
    minimum_m2: float = 0.0
    """Patches of one change that cover fewer square metres count as unchanged."""
    confidence: float | None = None
    """Percent that both maps must be sure of a pixel for it to count, by the confidence beside
    them; none = all count."""
    pictures: int = 6
    """Places of most change that the page shows."""
    overwrite: bool = False
    """Replace a comparison of other settings."""
    legend: LegendSettings = field(default_factory=LegendSettings)

    def __post_init__(self) -> None:
        self.asked()

    def asked(self) -> Asked:
        """What counts as change. Raises: InputError."""
        return Asked(self.minimum_m2, self.confidence, self.pictures)


def main(cfg: CompareConfig) -> None:
    require(cfg, before="<map.tif>", after="<map.tif>", out="<folder>")
    legend = cfg.legend.load_if_given()
    pair = MapPair.open(
        str(cfg.before), str(cfg.after), legend=legend, confidence=cfg.confidence is not None
    )
    zones = Zones.open(cfg.zones, pair.before.grid) if cfg.zones else None
    made = compare(pair, str(cfg.out), zones=zones, asked=cfg.asked(), overwrite=cfg.overwrite)
    print(made.text(str(cfg.out)))


if __name__ == "__main__":
    run("compare", CompareConfig, main)
