"""Turn LiDAR point clouds into rasters of heights, to be used as bands."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from geoseg.commands.run import run
from geoseg.errors import Faults
from geoseg.heights.settings import HeightSettings


@dataclass
class HeightConfig:
    """Turn LAS or LAZ files into rasters: heights above the ground, of the surface, and more."""

    points: Any = None
    """Folder, glob or list of LAS or LAZ files; none = the demo's (geoseg demo lidar=true)."""
    out: str | None = None
    """Folder to write: <layer>/<name>.tif."""
    scenes: Any = None
    """Folder, glob or list of GeoTIFFs whose grids the rasters get; none = each cloud has its own
    raster, as far as it reaches."""
    height: HeightSettings = field(default_factory=HeightSettings)
    overwrite: bool = False
    """Replace an output that was made with other settings."""


def main(cfg: HeightConfig) -> None:
    from geoseg.heights.height import height  # brings scipy, which --help needs not

    points, out, scenes = cfg.points, cfg.out, cfg.scenes
    if points is None and scenes is None:
        points, scenes = "data/demo/lidar", "data/demo/scenes"
        out = out or "data/demo/heights"
    faults = Faults()
    if points is None:
        faults.add("points: none given; set points=<folder, glob or list of LAS or LAZ files>")
    if out is None:
        faults.add("out: none given; set out=<folder>")
    faults.raise_if_any()
    assert out is not None
    print(height(points, out, scenes=scenes, settings=cfg.height, overwrite=cfg.overwrite))


if __name__ == "__main__":
    run("height", HeightConfig, main)
