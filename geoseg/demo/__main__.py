"""Write the demo's scenes, labels and series."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from geoseg.commands.run import run
from geoseg.demo import series as demo_series
from geoseg.errors import Faults
from geoseg.outputs.lock import alone

if TYPE_CHECKING:
    import geopandas
    import numpy as np
    from shapely.geometry import Polygon
    from shapely.geometry.base import BaseGeometry

    from geoseg.demo.landscape.camera import Flight
    from geoseg.demo.landscape.land import Landscape
    from geoseg.demo.landscape.texture import Textures
    from geoseg.geo.grid import Grid

CRS = "EPSG:32632"
CORNER = (537_000.0, 5_329_000.0)
"""East and north of the landscape's upper left corner in metres."""
BANDS = ("red", "green", "blue", "nir")
MARGIN = 64
"""Pixels painted around a scene: shadows and crowns reach in from outside."""
WORLD = (3.10, 2.20)
"""Width and height of the landscape in scene sizes."""
ROADS = {"main": "main road", "minor": "minor road", "street": "street", "track": "track"}
WOODS = ("broadleaf", "conifer", "mixed wood")
PRODUCTS = ("scenes", "preview", "lidar", "labels.gpkg", "labelled_area.gpkg")
DRAWING = 1
"""Raised when the same seed gives another picture: outputs of before then count as others."""


@dataclass
class DemoConfig:
    """Make scenes, a Sentinel-2 year and labels of landscapes that do not exist."""

    out: str = "data/demo"
    """Folder to write."""
    seed: int = 0
    """Another seed, another landscape."""
    size: int = 1500
    """Height and width of a scene in pixels of half a metre."""
    lidar: bool = False
    """Also scan the scenes' ground: LiDAR points for geoseg height, in lidar/."""
    series: bool = True
    """Also make a Sentinel-2 year, in series/."""
    series_size: int = 400
    """Height and width of its two tiles in pixels of 10 m."""
    overwrite: bool = False
    """Replace a demo of other settings."""

    def __post_init__(self) -> None:
        faults = Faults()
        if self.size < 256:
            faults.add(
                f"size={self.size}: must be at least 256, or there is no room for all classes"
            )
        faults.attempt(demo_series.check, self.series_size)
        faults.at_least(self, "", seed=0)
        if self.lidar and (find_spec("laspy") is None or find_spec("lazrs") is None):
            faults.add(
                "lidar=true: laspy and lazrs, which write LAZ, are not installed;"
                " pip install 'geoseg[lidar]'"
            )
        faults.raise_if_any()


@dataclass(frozen=True)
class Shot:
    """A scene to take: where, and in what light."""

    name: str
    left: float
    top: float
    """Upper left corner in scene sizes."""
    flight: Flight
    turned: float = 0.0
    """Degrees by which its footprint is turned: corners without data."""


def shots() -> list[Shot]:
    """Two that adjoin, taken in one flight; two that overlap, in different light; one apart."""
    from geoseg.demo.landscape.camera import Flight

    strip = Flight(azimuth=152, elevation=51)
    morning = Flight(azimuth=104, elevation=39, haze=1.25, gain=0.93)
    noon = Flight(azimuth=188, elevation=58, haze=0.85, gain=1.06, blur=0.5)
    evening = Flight(azimuth=238, elevation=45, haze=1.6, gain=1.0, blur=0.65)
    return [
        Shot("north_west", 0.0, 0.0, strip),
        Shot("north_east", 1.0, 0.0, strip),
        Shot("south_west", 0.10, 1.15, morning),
        Shot("south_east", 0.85, 1.10, noon, turned=7),
        Shot("east", 2.05, 0.50, evening, turned=-9),
    ]


@alone("demo", "out")
def demo(
    out: str | Path,
    *,
    seed: int = 0,
    size: int = 1500,
    lidar: bool = False,
    overwrite: bool = False,
) -> None:
    """Write scenes/, labels.gpkg, labelled_area.gpkg and preview/; what is there already stays.

    lidar: whether to write lidar/, too.
    The same seed and size give the same bytes.
    Raises: InputError if `out` holds a demo of other settings, or can't be written.
    """
    from geoseg.demo.landscape import countryside
    from geoseg.demo.landscape.ground import PIXEL_M
    from geoseg.demo.landscape.texture import Textures
    from geoseg.outputs.claims import claim

    DemoConfig(str(out), seed, size, lidar=lidar)  # checks
    out = Path(out)
    settings = {"seed": seed, "size": size, "drawing": DRAWING}
    claim(out, settings, command="demo", products=PRODUCTS, overwrite=overwrite)
    todo = [
        shot
        for shot in shots()
        if not (_scene(out, shot).exists() and _preview(out, shot).exists())
    ]
    files = [name for name in PRODUCTS if name.endswith(".gpkg") and not (out / name).exists()]
    unscanned = [shot for shot in shots() if lidar and not _cloud(out, shot).exists()]
    if not todo and not files and not unscanned:
        return
    width, height = (side * size * PIXEL_M for side in WORLD)
    land = countryside.make(seed, width, height)
    _write_labels(land, size * PIXEL_M, [out / name for name in files])
    textures = Textures(seed)
    for shot in todo:
        _take(land, shot, textures, size=size, seed=seed, out=out)
    for shot in unscanned:
        _scan(land, shot, textures, size=size, seed=seed, out=out)


def _scene(out: Path, shot: Shot) -> Path:
    return out / "scenes" / f"{shot.name}.tif"


def _preview(out: Path, shot: Shot) -> Path:
    return out / "preview" / f"{shot.name}.png"


def _cloud(out: Path, shot: Shot) -> Path:
    return out / "lidar" / f"{shot.name}.laz"


def _take(
    land: Landscape, shot: Shot, textures: Textures, *, size: int, seed: int, out: Path
) -> None:
    """Paint, photograph and write one scene and its preview."""
    import numpy as np

    from geoseg.demo.landscape.camera import photograph
    from geoseg.demo.landscape.paint import paint
    from geoseg.geo import raster
    from geoseg.geo.grid import Window

    window = Window(round(shot.top * size), round(shot.left * size), size, size)
    ground = paint(land, window.grow(MARGIN), textures)
    noise = np.random.default_rng([seed, *shot.name.encode()])
    image = photograph(ground, shot.flight, noise)[:, MARGIN:-MARGIN, MARGIN:-MARGIN]
    image = np.where(_footprint(size, shot.turned), image, np.uint16(0))
    grid = _world().crop(window)
    _write_preview(image, _preview(out, shot))
    with raster.create(
        _scene(out, shot), grid, dtype="uint16", count=len(BANDS), nodata=0, names=BANDS
    ) as writer:
        writer.write(image, grid.window)


def _scan(
    land: Landscape, shot: Shot, textures: Textures, *, size: int, seed: int, out: Path
) -> None:
    """Scan the ground of one scene and write the points."""
    from geoseg.demo import lidar
    from geoseg.demo.landscape.paint import paint
    from geoseg.geo.grid import Window

    window = Window(round(shot.top * size), round(shot.left * size), size, size)
    ground = paint(land, window.grow(MARGIN), textures)
    points = lidar.scan(ground, land, margin=MARGIN, seed=seed)
    lidar.write(points, _cloud(out, shot), crs=CRS, corner=CORNER)


def _world() -> Grid:
    """The grid whose windows the scenes are; its size is of no account."""
    from affine import Affine

    from geoseg.demo.landscape.ground import PIXEL_M
    from geoseg.geo.grid import Grid

    return Grid(CRS, Affine(PIXEL_M, 0, CORNER[0], 0, -PIXEL_M, CORNER[1]), 1, 1)


def _footprint(size: int, turned: float) -> np.ndarray:
    """Pixels (size, size) that a camera turned by so many degrees has seen; all of them if 0."""
    import numpy as np

    if not turned:
        return np.ones((size, size), bool)
    y, x = (np.mgrid[:size, :size] - (size - 1) / 2) / (size / 2)
    sine, cosine = np.sin(np.radians(turned)), np.cos(np.radians(turned))
    across, down = x * cosine + y * sine, y * cosine - x * sine
    return np.asarray(np.maximum(np.abs(across), np.abs(down)) < 1)


def _write_preview(image: np.ndarray, path: Path) -> None:
    """The scene (4, h, w) as people see it: haze taken off, shadows lifted, 8 bits."""
    import numpy as np
    from matplotlib.image import imsave

    from geoseg.outputs.files import replacing

    sample = image[:3, ::8, ::8]
    sample = sample[:, (sample > 0).all(axis=0)]
    dark = 0.9 * np.percentile(sample, 0.3, axis=1)[:, None, None]
    bright = np.percentile(sample, 98) * 1.25
    shown = np.clip((image[:3] - dark) / (bright - dark), 0, 1) ** 0.62
    pixels = np.round(255 * shown).astype(np.uint8).transpose(1, 2, 0)
    with replacing(path) as temporary:
        imsave(temporary, pixels, format="png", pil_kwargs={"compress_level": 1})


def _write_labels(land: Landscape, side_m: float, paths: list[Path]) -> None:
    """Write the label layers named by `paths`; a scene is `side_m` metres wide."""
    import geopandas
    from shapely.geometry import box

    gap = _gap(side_m)
    for path in paths:
        if path.stem == "labels":
            frame = draw_labels(land)
            frame.geometry = frame.geometry.difference(gap)
            frame = frame[~frame.geometry.is_empty]
        else:
            area = box(0, 0, land.width, land.height).difference(gap)
            frame = geopandas.GeoDataFrame({"note": ["labelled"]}, geometry=[area])
        _write_layer(frame, path, "landcover" if path.stem == "labels" else "area")


def draw_labels(land: Landscape) -> geopandas.GeoDataFrame:
    """What a person would draw, in no order: class, geometry (polygon or line), width_m of lines.

    Shapes overlap as they do in land registers: fields and woods go on under roads, gardens under
    houses. Only the legend's burn order says what is on top. Coordinates are the landscape's.
    """
    import geopandas

    rows: list[tuple[str, BaseGeometry, float | None]] = [
        (WOODS[parcel.code % 3] if parcel.use == "wood" else parcel.use, parcel.outline, None)
        for parcel in land.parcels
    ]
    rows += [(ROADS[road.kind], road.line, road.width_m) for road in land.roads]
    rows += [("hedge", line, 4.0) for line in land.hedges]
    rows += [("copse", shape, None) for shape in land.woods]
    rows += [("trees", shape, None) for shape in land.crowns]
    rows += [("garden", shape, None) for shape in land.villages]
    rows += [("meadow", land.bank, None)]
    rows += [(kind, shape, None) for kind, shape in land.waters]
    rows += [("yard", shape, None) for shape in land.yards]
    rows += [(house.kind, house.outline, None) for house in land.houses]
    kinds, shapes, widths = zip(*(row for row in rows if not row[1].is_empty), strict=True)
    return geopandas.GeoDataFrame({"class": kinds, "width_m": widths}, geometry=list(shapes))


def _gap(side_m: float) -> Polygon:
    """Where whoever drew the labels gave up: a corner of south_west."""
    from shapely.geometry import Polygon

    corners = ((0.05, 1.86), (0.30, 1.80), (0.41, 1.98), (0.36, 2.25), (0.05, 2.25))
    return Polygon([(x * side_m, y * side_m) for x, y in corners])


def _write_layer(frame: geopandas.GeoDataFrame, path: Path, layer: str) -> None:
    """Write a layer in the landscape's coordinates."""
    from geoseg.demo.layer import write_layer

    east, north = CORNER
    frame = frame.set_geometry(frame.affine_transform([1, 0, 0, -1, east, north]), crs=CRS)
    write_layer(frame, path, layer)


def main(config: DemoConfig) -> None:
    demo(
        config.out, seed=config.seed, size=config.size, lidar=config.lidar,
        overwrite=config.overwrite,
    )  # fmt: skip
    out, side = Path(config.out), config.size
    print(f"{out / 'scenes'}: {len(shots())} scenes of {side} × {side} px, {', '.join(BANDS)}")
    print(f"{out / 'labels.gpkg'}: polygons, and lines with width_m; attribute class, legend=demo")
    print(f"{out / 'preview'}: pictures of the scenes")
    if config.lidar:
        print(f"{out / 'lidar'}: LiDAR points over each scene, for geoseg height")
    if config.series:
        _make_series(config)


def _make_series(config: DemoConfig) -> None:
    out, side = Path(config.out) / "series", config.series_size
    demo_series.write_series(out, seed=config.seed, size=side, overwrite=config.overwrite)
    counts = " and ".join(f"{tile.dates} of {tile.name}" for tile in demo_series.TILES)
    print(f"{out / 'images'}: {counts}, tiles of {side} × {side} px; clouds in {out / 'masks'}")
    print(f"{out / 'parcels.gpkg'}: declared parcels; attribute crop, legend=crops")
    print(f"{out / 'preview'}: a strip of clear dates of each tile")


if __name__ == "__main__":
    run("demo", DemoConfig, main)
