"""Geometries on their way to a grid: what is broken is mended, straight edges stay true."""

import numpy as np
import pyproj
import pytest
import shapely

from geoseg.labels.shapes import mend, project, widen

WORLD = (-180.0, -90.0, 180.0, 90.0)


def test_mend_takes_all_apart_and_keeps_areas_and_lines():
    bowtie = shapely.from_wkt("POLYGON ((0 0, 2 2, 2 0, 0 2, 0 0))")
    nested = shapely.from_wkt(
        "GEOMETRYCOLLECTION (POINT (0 0), LINESTRING (0 0, 1 1),"
        " GEOMETRYCOLLECTION (MULTIPOLYGON (((5 5, 6 5, 6 6, 5 5)), ((8 8, 9 8, 9 9, 8 8)))))"
    )
    line = shapely.from_wkt("MULTILINESTRING ((0 0, 1 1), (2 2, 3 3))")
    flat = shapely.from_wkt("POLYGON ((0 0, 4 0, 2 0, 0 0))")
    broken = shapely.from_wkt("POLYGON ((0 0, 1 0, inf 1, 0 0))")
    given = [bowtie, None, nested, line, flat, broken, shapely.Polygon(), shapely.Point(1, 1)]
    parts, index = mend(np.array(given, object))
    assert index.tolist() == [0, 0, 2, 2, 3, 3]
    assert [part.geom_type for part in parts] == 4 * ["Polygon"] + 2 * ["LineString"]
    assert parts[0].area + parts[1].area == pytest.approx(2)


def test_parts_that_overlap_leave_no_hole():
    given = shapely.MultiPolygon([shapely.box(0, 0, 4, 4), shapely.box(2, 2, 6, 6)])
    parts, index = mend(np.array([shapely.box(9, 9, 10, 10), given]))
    assert index.tolist() == [0, 1]
    assert parts[1].equals(shapely.union(*given.geoms))


@pytest.mark.parametrize("pixel", [0.5, 10.0])
def test_long_edges_stay_true_in_another_crs(pixel):
    degrees = shapely.box(9.0, 45.0, 10.5, 46.5)  # its edges bend by kilometres in UTM
    moved, index = project(
        np.array([degrees]), "EPSG:4326", "EPSG:32632", pixel=pixel, within=WORLD
    )
    assert index.tolist() == [0]
    to_utm = pyproj.Transformer.from_crs("EPSG:4326", "EPSG:32632", always_xy=True)
    dense = shapely.get_coordinates(shapely.segmentize(degrees, 0.003))
    course = shapely.points(np.stack(to_utm.transform(*dense.T), axis=1))
    assert shapely.distance(moved[0].boundary, course).max() < pixel / 2
    assert shapely.get_num_coordinates(moved[0]) < 10_000


def test_small_geometries_get_no_vertices():
    house = shapely.box(9.0, 45.0, 9.0002, 45.0001)
    moved, _ = project(np.array([house]), "EPSG:4326", "EPSG:32632", pixel=0.1, within=WORLD)
    assert shapely.get_num_coordinates(moved[0]) == 5


def test_the_same_crs_moves_nothing():
    house = np.array([shapely.box(0, 0, 1, 1)])
    moved, _ = project(house, "EPSG:32632", "EPSG:32632", pixel=1, within=WORLD)
    assert moved is house


def test_the_whole_world_is_cut_to_where_the_crs_is_defined():
    world = np.array([shapely.box(*WORLD), shapely.box(9, 45, 9.1, 45.1)])
    within = (8.0, 44.0, 10.0, 46.0)
    moved, index = project(world, "EPSG:4326", "EPSG:32632", pixel=100, within=within)
    assert index.tolist() == [1, 0]
    spot, south = shapely.Point(500_000, 5_000_000), shapely.Point(500_000, 4_000_000)
    assert shapely.contains(moved[1], spot)
    assert not shapely.contains(moved[1], south)


@pytest.mark.parametrize(
    "crs", ["EPSG:32632", "EPSG:4326", "EPSG:3857", "EPSG:3035", "EPSG:2263", "EPSG:25832"]
)
@pytest.mark.parametrize("bearing", [0, 60, 90])
def test_lines_are_as_wide_in_metres_as_asked_in_any_crs(crs, bearing):
    start = (-73.9, 40.7) if crs == "EPSG:2263" else (9.5, 60.0)
    geod = pyproj.Geod(ellps="GRS80")
    end = geod.fwd(*start, bearing, 200)[:2]
    to_crs = pyproj.Transformer.from_crs("EPSG:4258", crs, always_xy=True)
    line = shapely.LineString(np.stack(to_crs.transform(*np.array([start, end]).T), axis=1))
    wide = widen(np.array([line]), np.array([6.0]), crs)
    x, y = to_crs.transform(*shapely.get_coordinates(wide).T, direction="INVERSE")
    area = abs(geod.polygon_area_perimeter(x, y)[0])
    assert area == pytest.approx(6 * 200 + np.pi * 3**2, rel=0.004)  # round ends


def test_no_lines_stay_no_lines():
    assert len(widen(np.empty(0, object), np.empty(0), "EPSG:4326")) == 0
