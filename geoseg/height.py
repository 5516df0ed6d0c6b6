"""Turn LiDAR point clouds into rasters of heights, to be used as bands."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from geoseg.commands.run import run
from geoseg.errors import require
from geoseg.heights.settings import HeightSettings


@dataclass
class HeightConfig:
    """Turn LAS or LAZ files into rasters: heights above the ground, of the surface, and more."""

    points: Any = None
    """Folder, glob or list of LAS or LAZ files; none = the demo's (geoseg demo lidar=true)."""
    out: str | None = None
    """Folder to write: <layer>/<name>.tif, and <layer>.vrt, which joins them."""
    scenes: Any = None
    """Folder, glob or list of GeoTIFFs whose grids the rasters get; none = each cloud has its own
    raster, as far as it reaches."""
    height: HeightSettings = field(default_factory=HeightSettings)
    overwrite: bool = False
    """Replace an output that was made with other settings."""


def main(cfg: HeightConfig) -> None:
    from geoseg.heights.height import height  # brings scipy, which --help needs not

    if cfg.points is None and cfg.scenes is None:
        cfg = replace(cfg, points="data/demo/lidar", scenes="data/demo/scenes")
        cfg = replace(cfg, out=cfg.out or "data/demo/heights")
    require(cfg, points="<folder, glob or list of LAS or LAZ files>", out="<folder>")
    made = height(
        cfg.points, str(cfg.out), scenes=cfg.scenes, settings=cfg.height, overwrite=cfg.overwrite
    )
    print(made)


if __name__ == "__main__":
    run("height", HeightConfig, main)
