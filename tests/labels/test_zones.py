import geopandas
import numpy as np
import pytest
import shapely
from affine import Affine

from geoseg.errors import InputError
from geoseg.geo.grid import Grid, Window
from geoseg.labels.zones import Zones

GRID = Grid("EPSG:32633", Affine(10, 0, 500_000, 0, -10, 5_000_000), 60, 80)


def write(path, zones, crs=GRID.crs, **columns):
    """zones: name and window of each feature."""
    table = geopandas.GeoDataFrame(
        {"name": [name for name, _ in zones], **columns},
        geometry=[shapely.box(*GRID.bounds_of(window)) for _, window in zones],
        crs=GRID.crs,
    )
    table.to_crs(crs).to_file(path, driver="GPKG")
    return f"{path}:name"


HALVES = [("west", Window(0, 0, 60, 40)), ("east", Window(0, 40, 60, 40))]


@pytest.mark.parametrize("crs", ["EPSG:32633", "EPSG:4326", "EPSG:3035"])
def test_pixels_belong_to_zones_in_any_crs(tmp_path, crs):
    zones = Zones.open(write(tmp_path / "z.gpkg", HALVES, crs), GRID)
    assert zones.names == ("west", "east")
    burnt = zones.burn(GRID.window)
    assert np.array_equal(burnt, np.repeat([[1, 2]], 60, 0).repeat(40, 1))
    part = Window(13, 35, 9, 12)
    assert np.array_equal(zones.burn(part), burnt[part.within(GRID.window)])
    assert not zones.overlap(GRID.window, burnt).any()


@pytest.mark.parametrize("west", [179.96, -180.04], ids=["to the east", "to the west"])
def test_zones_on_both_sides_of_the_antimeridian(tmp_path, west):
    """A map in degrees goes on where it crosses it; zones are cut there."""
    grid = Grid("EPSG:4326", Affine(0.001, 0, west, 0, -0.001, -17), 60, 80)
    sides = [shapely.box(179, -18, 180, -16), shapely.box(-180, -18, -179, -16)]
    table = geopandas.GeoDataFrame({"name": ["west", "east"]}, geometry=sides, crs=grid.crs)
    table.to_file(tmp_path / "z.gpkg", driver="GPKG")
    zones = Zones.open(f"{tmp_path / 'z.gpkg'}:name", grid)
    assert np.array_equal(zones.burn(grid.window), np.repeat([[1, 2]], 60, 0).repeat(40, 1))


def test_where_zones_overlap_the_first_counts_and_features_of_a_name_are_one(tmp_path):
    parts = [
        ("a", Window(0, 0, 20, 20)),
        ("b", Window(10, 10, 20, 20)),
        ("a", Window(20, 20, 20, 20)),
    ]
    zones = Zones.open(write(tmp_path / "z.gpkg", parts), GRID)
    burnt = zones.burn(GRID.window)
    assert zones.names == ("a", "b")
    assert burnt[15, 15] == 1
    assert burnt[25, 25] == 1
    assert burnt[12, 25] == 2
    assert zones.overlap(GRID.window, burnt).sum() == 200
    assert zones.geometries[0].area == pytest.approx(2 * 200 * 200)


def test_features_that_are_no_zones_are_noted(tmp_path):
    path = tmp_path / "z.gpkg"
    table = geopandas.GeoDataFrame(
        {"name": ["a", None, "b"]},
        geometry=[shapely.box(*GRID.bounds), shapely.box(*GRID.bounds), shapely.Point(0, 0)],
        crs=GRID.crs,
    )
    table.to_file(path, driver="GPKG")
    zones = Zones.open(f"{path}:name", GRID)
    assert zones.names == ("a",)
    assert "1 of 3 features have no name" in zones.notes[0]
    assert "1 of 3 features are no polygons" in zones.notes[1]


def test_numbers_are_names_too(tmp_path):
    given = write(tmp_path / "z.gpkg", HALVES, number=[7.0, 8.5])
    assert Zones.open(given.replace(":name", ":number"), GRID).names == ("7", "8.5")


def test_faults(tmp_path):
    path = tmp_path / "z.gpkg"
    write(path, HALVES)
    with pytest.raises(InputError, match=r"no field; write zones=<file>:<attribute"):
        Zones.open(str(path), GRID)
    with pytest.raises(InputError, match=r"no attribute 'nmae'; did you mean 'name'"):
        Zones.open(f"{path}:nmae", GRID)
    with pytest.raises(InputError, match="no such file"):
        Zones.open(f"{tmp_path}/none.gpkg:name", GRID)
    away = Grid(GRID.crs, Affine(10, 0, 700_000, 0, -10, 5_000_000), 60, 80)
    with pytest.raises(InputError, match="no zone lies on the map; the zones are at longitude 15"):
        Zones.open(f"{path}:name", away)


def test_a_file_of_several_layers_is_told_to_be_one_of_one_layer(tmp_path):
    given = write(tmp_path / "z.gpkg", HALVES)
    table = geopandas.GeoDataFrame({"name": ["a"]}, geometry=[shapely.Point(0, 0)], crs=GRID.crs)
    table.to_file(tmp_path / "z.gpkg", layer="more")
    with pytest.raises(InputError, match=r"2 layers \(z, more\); give a file with the one"):
        Zones.open(given, GRID)
