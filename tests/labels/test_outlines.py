"""Windows of scenes in several CRSs, outlined in one: burnt, they are these windows again."""

import geopandas
import numpy as np
import pyproj
import pytest
import shapely
from affine import Affine

from geoseg.dataset.tiles import TILES, Tile, write_tiles
from geoseg.geo.grid import Grid, Window
from geoseg.geo.legend import Legend
from geoseg.labels.find import open_labels
from geoseg.labels.outlines import outlines
from geoseg.labels.settings import Labels
from geoseg.scenes.scene import Scene
from tests.made.tiles import LEGEND

SPLITS = Legend.parse([{"code": 1, "name": "val", "color": "#000000"}], "splits")
PARTS = (Window(0, 0, 40, 128), Window(40, 10, 60, 100), Window(100, 0, 28, 128))


def place(crs: str, longitude: float, latitude: float) -> Grid:
    """Of 128² pixels of 10 m there."""
    to_crs = pyproj.Transformer.from_crs("EPSG:4326", crs, always_xy=True)
    x, y = (round(number) for number in to_crs.transform(longitude, latitude))
    return Grid(crs, Affine(10, 0, x, 0, -10, y), 128, 128)


@pytest.mark.parametrize(
    "other",
    [
        place("EPSG:32632", 8, 60),  # the next zone, in which it lies turned
        place("EPSG:32610", -122, 40),  # where the first zone has stretched to several times
        place("EPSG:32636", 32.5, 0.3),
        place("EPSG:32651", 124, 13),  # where the first zone ends: in degrees
        place("EPSG:3460", 179.995, -17),  # where these begin anew
        place("EPSG:3413", 0, 85),
    ],
    ids=lambda grid: grid.crs,
)
@pytest.mark.parametrize("first", [place("EPSG:32633", 14, 60), place("EPSG:32605", -153, 0)])
def test_tiles_are_their_pixels_on_scenes_of_every_crs(first, other, tmp_path):
    grids = {"a": first, "b": other}
    scenes = tuple(Scene(name, grid, (), ("g",), "uint8") for name, grid in grids.items())
    tiles = [
        Tile(name, split, window, window, (1,) * len(LEGEND))
        for name in grids
        for split, window in zip(("train", "val", "test"), PARTS, strict=True)
    ]
    write_tiles(tmp_path, tiles, scenes, LEGEND)
    labels = Labels(path=str(tmp_path / TILES), field="split", unknown="unlabelled")
    for name, grid in grids.items():
        with open_labels(labels, SPLITS, scenes={name: grid}) as source:
            burnt = source.burn(grid, scene=name) == 1
        expected = np.zeros(burnt.shape, bool)
        expected[PARTS[1].within(grid.window)] = True
        assert (burnt == expected).all()


def test_windows_of_one_crs_keep_four_corners():
    grid = place("EPSG:32633", 14, 60)
    drawn, crs = outlines([(grid, window) for window in PARTS])
    assert crs == grid.crs
    assert shapely.get_num_coordinates(drawn).tolist() == [5, 5, 5]
    assert drawn[0].bounds == grid.bounds_of(PARTS[0])


def test_what_is_drawn_is_what_the_layer_holds(tmp_path):
    first, other = place("EPSG:32633", 14, 60), place("EPSG:32632", 8, 60)
    drawn, crs = outlines([(first, PARTS[0]), (other, PARTS[1])])
    there = geopandas.GeoSeries(drawn, crs=crs).to_crs(other.crs)
    assert there[1].symmetric_difference(shapely.box(*other.bounds_of(PARTS[1]))).area < 50
