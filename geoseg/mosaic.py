"""Join maps of many scenes into one land-cover GeoTIFF."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from geoseg.commands.run import run
from geoseg.errors import InputError
from geoseg.maps.joint_grid import Placement
from geoseg.maps.mosaic import describe, mosaic, show


@dataclass
class MosaicConfig:
    """Join maps, with overlaps and gaps and in any CRS, into one Cloud Optimized GeoTIFF."""

    maps: Any = None
    """Output folder of predict, or a folder, glob or list of class maps; none = the demo's."""
    out: str | None = None
    """GeoTIFF to write."""
    crs: str | None = None
    """CRS of the mosaic, as EPSG:…; none = that of most of the mapped area."""
    resolution: float | None = None
    """Side of a pixel in units of the CRS; none = the finest of the maps."""
    like: str | None = None
    """Raster whose pixels the mosaic is to have, one for one, such as a scene that was read at
    another size; in place of crs and resolution."""
    layers: list[str] = field(default_factory=list)
    """Join these rasters beside the maps, too, each into <out>_<layer>.tif: confidence, entropy,
    margin, second, disagreement, novelty; every pixel is of the map that gives its class."""
    stac: bool = False
    """Describe the mosaic for catalogs, too: a STAC item, <name>.stac.json, beside it."""
    project: bool = False
    """Write a QGIS project, <name>.qgz, with the mosaic and the layers beside its maps, such as
    confidence; one that is there stays, unless overwrite=true."""
    overwrite: bool = False
    """Replace an existing file that was made with other settings."""


def main(cfg: MosaicConfig) -> None:
    maps, out = cfg.maps, cfg.out
    if maps is None:
        maps, out = "maps/demo", out or "maps/demo/landcover.tif"
    if out is None:
        raise InputError("out: none given; set out=<file.tif>")
    on = Placement(cfg.crs, cfg.resolution, cfg.like)
    summary = mosaic(maps, out, on=on, layers=cfg.layers, overwrite=cfg.overwrite)
    if cfg.stac:
        summary.notes(describe(maps, out, cfg.layers))
    if cfg.project:
        summary.notes(show(out, overwrite=cfg.overwrite))
    print(summary)


if __name__ == "__main__":
    run("mosaic", MosaicConfig, main)
