"""Turn a land-cover map into polygons for a GIS."""

from __future__ import annotations

from dataclasses import dataclass, field

from geoseg.commands.run import run
from geoseg.errors import InputError
from geoseg.vectors.settings import VectorSettings


@dataclass
class VectorizeConfig:
    """Turn a map into polygons that share their edges, with areas, confidences and a style."""

    map: str | None = None
    """GeoTIFF of geoseg.mosaic or geoseg.predict; none = the demo's."""
    out: str | None = None
    """File to write: .gpkg, .fgb or .parquet."""
    maps: str | None = None
    """Output folder of predict, for the confidences; none = that which the map comes from."""
    overwrite: bool = False
    """Replace an existing file that was made with other settings."""
    vector: VectorSettings = field(default_factory=VectorSettings)


def main(cfg: VectorizeConfig) -> None:
    from geoseg.vectors.vectorize import vectorize  # brings scipy, which --help needs not

    path, out = cfg.map, cfg.out
    if path is None:
        path, out = "maps/demo/landcover.tif", out or "maps/demo/landcover.gpkg"
    if not out:
        raise InputError("out: none given; set out=<file.gpkg, .fgb or .parquet>")
    print(vectorize(path, out, settings=cfg.vector, maps=cfg.maps, overwrite=cfg.overwrite))


if __name__ == "__main__":
    run("vectorize", VectorizeConfig, main)
