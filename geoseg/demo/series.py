"""Write a made-up Sentinel-2 year: dated images, cloud masks and declared parcels."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from geoseg.errors import InputError
from geoseg.outputs.lock import alone

if TYPE_CHECKING:
    import numpy as np

    from geoseg.demo.landscape.farmland import Farmland
    from geoseg.demo.landscape.year import Climate
    from geoseg.geo.grid import Grid

CRS = "EPSG:32632"
PRODUCTS = ("images", "masks", "parcels.gpkg", "preview")
DRAWING = 1
"""Raised when the same seed gives another picture: outputs of before then count as others."""
REVISIT = 5
"""Days between two passes of the satellites; tiles of two orbits never share a date."""
PREVIEWS = 6
"""Dates of a preview: the clearest of each two months."""
MISTAKEN = 0.01
"""Share of parcels that were declared as what they are not."""


@dataclass(frozen=True)
class Tile:
    """Where a tile lies, and when it is seen."""

    name: str
    corner: tuple[float, float]
    """East and north of its upper left corner in metres."""
    first: date
    """First pass of the year."""
    dates: int
    """How many of the year's passes there are files of."""
    cut: int = 0
    """Every so manyth image ends within the tile: the edge of a swath; 0: none does."""


TILES = (
    Tile("west", (560_000.0, 5_420_000.0), date(2023, 1, 3), 26),
    Tile("east", (568_000.0, 5_421_000.0), date(2023, 1, 5), 22, cut=6),
)
"""Four kilometres apart, at a size of 400 pixels."""


@dataclass(frozen=True)
class Pass:
    """One date of a tile."""

    day: date
    clouds: float
    """Share of the tile under them."""
    wet: float
    """Soil: 0 dry, 1 after rain."""
    partial: bool
    """Whether the swath ends within the tile."""


@alone("demo", "out")
def write_series(
    out: str | Path, *, seed: int = 0, size: int = 400, overwrite: bool = False
) -> None:
    """Write images/, masks/, parcels.gpkg and preview/; what is there already stays.

    size: height and width of a tile in pixels of 10 m. The same seed and size give the same bytes.
    Raises: InputError if `out` holds a series of other settings, or can't be written.
    """
    from geoseg.outputs.claims import claim

    check(size)
    out = Path(out)
    settings = {"seed": seed, "size": size, "drawing": DRAWING}
    claim(out, settings, command="demo", products=PRODUCTS, overwrite=overwrite)
    images = {tile: _missing(out, tile, passes(tile, seed)) for tile in TILES}
    if any(images.values()) or not (out / "parcels.gpkg").exists():
        from geoseg.demo.landscape import farmland

        lands = {tile: farmland.make(seed, tile.name, size) for tile in TILES}
        if not (out / "parcels.gpkg").exists():
            _write_parcels(lands, seed, out / "parcels.gpkg")
        for tile in TILES:
            _photograph(tile, lands[tile], images[tile], seed=seed, out=out)
    for tile in TILES:
        if not _preview(out, tile).exists():
            _write_preview(out, tile, passes(tile, seed))


def check(size: int) -> None:
    """Raises: InputError if tiles can't be made of that many pixels."""
    if size < 64 or size % 2:
        raise InputError(
            f"series_size={size}: must be even, for bands of 20 m, and at least 64, or there is no"
            " room for all crops"
        )


def passes(tile: Tile, seed: int) -> list[Pass]:
    """The dates of a tile: spread over the year, some clear, some nearly all clouds."""
    import numpy as np

    rng = np.random.default_rng([seed, *f"{tile.name} passes".encode()])
    slots = (date(tile.first.year, 12, 31) - tile.first).days // REVISIT + 1
    edges = np.linspace(0, slots, tile.dates + 1).astype(int)
    chosen = [int(rng.integers(a, b)) for a, b in itertools.pairwise(edges)]
    winter = np.cos(2 * np.pi * (np.array(chosen) * REVISIT - 15) / 365)
    grey = np.argsort(np.argsort(0.7 * winter + rng.standard_normal(tile.dates)))
    clouds = np.minimum(1.06 * ((grey + 0.5) / tile.dates) ** 2.6, 1.0)
    wet = rng.beta(1.2, 1.6, tile.dates)
    return [
        Pass(
            day=tile.first + timedelta(REVISIT * slot),
            clouds=float(clouds[i]),
            wet=float(wet[i]),
            partial=bool(tile.cut) and i % tile.cut == tile.cut // 2,
        )
        for i, slot in enumerate(chosen)
    ]


def image_path(out: Path, tile: Tile, day: date) -> Path:
    return out / "images" / f"S2_{tile.name}_{day:%Y%m%d}.tif"


def mask_path(out: Path, tile: Tile, day: date) -> Path:
    return out / "masks" / f"CLOUD_{tile.name}_{day:%Y%m%d}.tif"


def _preview(out: Path, tile: Tile) -> Path:
    return out / "preview" / f"{tile.name}.png"


def _missing(out: Path, tile: Tile, all_passes: list[Pass]) -> list[Pass]:
    return [
        one
        for one in all_passes
        if not (image_path(out, tile, one.day).exists() and mask_path(out, tile, one.day).exists())
    ]


def climate(tile: Tile) -> Climate:
    """Spring comes early in the west, on dark loess; late in the east, on pale, dry ground."""
    from geoseg.demo.landscape.year import Climate

    if tile.name == "west":
        return Climate(late=-4, bright=0.92, red=0.0, drought=0.25)
    return Climate(late=5, bright=1.18, red=0.06, drought=0.6)


def grid(tile: Tile, size: int) -> Grid:
    from affine import Affine

    from geoseg.demo.landscape.farmland import GSD_M
    from geoseg.geo.grid import Grid

    east, north = tile.corner
    return Grid(CRS, Affine(GSD_M, 0, east, 0, -GSD_M, north), size, size)


def _photograph(tile: Tile, land: Farmland, todo: list[Pass], *, seed: int, out: Path) -> None:
    """Write the images and masks of the passes to do."""
    import numpy as np

    from geoseg.demo.landscape import sky, year
    from geoseg.demo.landscape.spectra import BANDS
    from geoseg.geo import raster

    if not todo:
        return
    grown = year.make(
        land, climate(tile), np.random.default_rng([seed, *f"{tile.name} year".encode()])
    )
    place = grid(tile, land.size)
    for one in todo:
        # Each date draws from a stream of its own: any order, any restart, the same bytes.
        rng = np.random.default_rng([seed, *f"{tile.name} {one.day}".encode()])
        day = one.day.timetuple().tm_yday
        above = sky.draw(land.size, one.clouds, day, rng)
        image = sky.look(year.ground(grown, day, wet=one.wet), above, rng)
        if one.partial:
            image[:, ~_swath(land.size)] = 0
        tags = {"TIFFTAG_DATETIME": f"{one.day:%Y:%m:%d} 10:30:00"}
        create = partial(raster.create, grid=place, tags=tags)
        with create(mask_path(out, tile, one.day), dtype="uint8", names=("cloud",)) as writer:
            writer.write(above.mask, place.window)
        path = image_path(out, tile, one.day)
        count = len(BANDS)
        with create(path, dtype="uint16", count=count, nodata=0, names=BANDS) as writer:
            writer.write(image, place.window)


def _swath(size: int) -> np.ndarray:
    """Pixels (size, size) that a neighbouring orbit sees."""
    import numpy as np

    y, x = np.mgrid[:size, :size] / size
    return np.asarray(x + 0.25 * y < 0.72)


def _write_preview(out: Path, tile: Tile, all_passes: list[Pass]) -> None:
    """The clearest date of each two months in false colour, side by side."""
    import numpy as np

    from geoseg.geo import raster
    from geoseg.outputs.files import replacing

    panels = []
    for months in range(PREVIEWS):
        span = [p for p in all_passes if (p.day.month - 1) // 2 == months and not p.partial]
        best = min(span, key=lambda one: one.clouds)
        with raster.Raster(image_path(out, tile, best.day), bands=(5, 3, 2)) as image:
            pixels, _ = image.read(image.grid.window)
        white = np.array((5500, 2600, 2200))[:, None, None]
        panel = np.clip(pixels / white, 0, 1) ** 0.8
        panels.append(np.pad(panel, ((0, 0), (0, 0), (0, 4)), constant_values=1))
    strip = np.round(255 * np.concatenate(panels, axis=2)).astype(np.uint8)
    with replacing(_preview(out, tile)) as temporary:
        temporary.write_bytes(raster.png(strip))


def _write_parcels(lands: dict[Tile, Farmland], seed: int, path: Path) -> None:
    """What farms declare, in no order: id, crop, farm, area_ha, tile."""
    import geopandas
    import numpy as np
    import pandas as pd

    from geoseg.demo.layer import write_layer

    frames = []
    for tile, land in lands.items():
        east, north = tile.corner
        shapes = geopandas.GeoSeries(land.fields).affine_transform([1, 0, 0, -1, east, north])
        columns = {
            "crop": land.crops,
            "farm": [f"{tile.name} {farm + 1:02d}" for farm in land.farms],
            "area_ha": shapes.area.div(1e4).round(2),
            "tile": tile.name,
        }
        frames.append(geopandas.GeoDataFrame(columns, geometry=shapes, crs=CRS))
    frame = pd.concat(frames, ignore_index=True)
    rng = np.random.default_rng([seed, *b"declared"])
    wrong = np.flatnonzero(rng.random(len(frame)) < MISTAKEN)
    frame.loc[wrong, "crop"] = frame["crop"].to_numpy()[rng.permutation(wrong)]
    frame = frame.iloc[rng.permutation(len(frame))].reset_index(drop=True)
    frame.insert(0, "id", 10_000 + np.sort(rng.choice(80_000, len(frame), replace=False)))
    write_layer(frame, path, "parcels")
