"""Labels: any format, type and CRS on a scene's grid; what is faulty is said, all at once."""

import json
import shutil
import warnings
from pathlib import Path

import geopandas
import numpy as np
import pandas
import pyogrio
import pyproj
import pytest
import rasterio.shutil
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from pyogrio import raw

from geoseg.errors import InputError
from geoseg.geo import extent, raster
from geoseg.geo import vector as vector_room
from geoseg.geo.grid import Grid, Window
from geoseg.geo.legend import UNLABELLED, Legend
from geoseg.labels import vector as vectorfile
from geoseg.labels.find import open_labels
from geoseg.labels.settings import Labels

GRID = Grid("EPSG:32632", Affine(1, 0, 500_000, 0, -1, 6_000_100), 100, 120)
LEGEND = Legend.parse(
    [
        {"code": 1, "name": "grass", "color": "#00ff00", "values": ["grass", "Græs", 10]},
        {"code": 4, "name": "road", "color": "#888888", "values": ["road", 20]},
        {"code": 3, "name": "house", "color": "#ff0000", "values": ["house", 30, "31"]},
        {"code": 9, "name": "rest", "color": "#ffffff", "values": ["rest"]},
    ],
    "test",
)


def box(left, top, right, bottom):
    """A rectangle in pixels of GRID: columns and rows."""
    return shapely.box(500_000 + left, 6_000_100 - bottom, 500_000 + right, 6_000_100 - top)


def line(*points):
    return shapely.LineString([(500_000 + x, 6_000_100 - y) for x, y in points])


def write(path, shapes, *, crs=GRID.crs, layer=None, **columns):
    """Write geometries with attributes; mixed types and None are fine."""
    columns = columns or {"kind": ["grass"] * len(shapes)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        raw.write(
            path,
            np.array(shapely.to_wkb(np.array(shapes, object)), object),
            [
                np.array(v, object if isinstance(v[0], str | None) else None)
                for v in columns.values()
            ],
            list(columns),
            geometry_type="Unknown" if path.suffix != ".shp" else "Polygon",
            crs=crs,
            layer=layer,
            append=path.exists(),
        )
    return str(path)


def burn(path, grid=GRID, legend=LEGEND, **settings):
    """The whole target; of vector files by their attribute `kind`."""
    if not {"field", "name"} & set(settings):
        settings["field"] = "kind"
    return open_labels(Labels(path=path, **settings), legend).burn(grid)


def burn_raster(path, legend=LEGEND, **settings):
    return open_labels(Labels(path=path, **settings), legend).burn(GRID)


def faults(path, legend=LEGEND, scenes=None, **settings):
    with pytest.raises(InputError) as caught:
        open_labels(Labels(path=path, **settings), legend, scenes=scenes)
    return caught.value.faults


def expected(*parts, fill=UNLABELLED):
    """(left, top, right, bottom, code) one after the other."""
    target = np.full((GRID.height, GRID.width), fill, np.uint8)
    for left, top, right, bottom, code in parts:
        target[top:bottom, left:right] = code
    return target


# ── files, values, order ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("suffix", [".gpkg", ".shp", ".geojson", ".fgb"])
def test_every_format_gives_the_same_target(tmp_path, suffix):
    shapes = [box(20, 10, 60, 50), box(0, 0, 30, 30), box(90, 90, 130, 130)]
    crs = GRID.crs
    if suffix == ".geojson":  # which is in degrees by its standard
        crs = "EPSG:4326"
        frame = geopandas.GeoSeries(shapes, crs=GRID.crs).to_crs(crs)
        shapes = list(frame)
    path = write(tmp_path / f"a{suffix}", shapes, crs=crs, kind=["house", "Græs", "road"])
    target = burn(path)
    wanted = expected((0, 0, 30, 30, 1), (20, 10, 60, 50, 3), (90, 90, 120, 100, 4))
    np.testing.assert_array_equal(target, wanted)


def test_a_shapefile_in_latin_letters(tmp_path):
    path = tmp_path / "a.shp"
    raw.write(
        path,
        shapely.to_wkb(np.array([box(0, 0, 10, 10)])),
        [np.array(["Græs"], object)],
        ["kind"],
        geometry_type="Polygon",
        crs=GRID.crs,
        encoding="ISO-8859-1",
    )
    path.with_suffix(".cpg").unlink()
    np.testing.assert_array_equal(burn(str(path)), expected((0, 0, 10, 10, 1)))


@pytest.mark.parametrize("values", [[30, 10, 31], [30.0, 10.0, 31.0], ["30", "10.0", " 31 "]])
def test_numbers_and_text_mean_the_same(tmp_path, values):
    shapes = [box(0, 0, 10, 10), box(10, 0, 20, 10), box(20, 0, 30, 10)]
    path = write(tmp_path / "a.gpkg", shapes, kind=values)
    wanted = expected((0, 0, 10, 10, 3), (10, 0, 20, 10, 1), (20, 0, 30, 10, 3))
    np.testing.assert_array_equal(burn(path), wanted)


def test_the_legend_decides_what_is_on_top_in_several_files_too(tmp_path):
    write(tmp_path / "b.gpkg", [box(0, 0, 50, 50), box(20, 20, 60, 60)], kind=["house", "road"])
    write(tmp_path / "a.gpkg", [box(40, 0, 100, 30), box(0, 0, 5, 5)], kind=["grass", "rest"])
    wanted = expected(
        *((40, 0, 100, 30, 1), (20, 20, 60, 60, 4), (0, 0, 50, 50, 3), (0, 0, 5, 5, 9))
    )
    np.testing.assert_array_equal(burn(str(tmp_path)), wanted)
    both = [str(tmp_path / "a.gpkg"), str(tmp_path / "b.gpkg")]
    np.testing.assert_array_equal(burn(both), wanted)
    np.testing.assert_array_equal(burn(str(tmp_path / "*.gpkg")), wanted)


def test_one_class_of_all_geometries_and_a_condition(tmp_path):
    shapes = [box(0, 0, 10, 10), box(10, 0, 20, 10)]
    path = write(tmp_path / "a.gpkg", shapes, year=[2019, 2021])
    target = burn(path, name="house", where="year >= 2020", background="rest")
    np.testing.assert_array_equal(target, expected((10, 0, 20, 10, 3), fill=9))


def test_the_layer_is_chosen_where_there_are_several(tmp_path):
    write(tmp_path / "a.gpkg", [box(0, 0, 10, 10)], layer="fields", kind=["grass"])
    path = write(tmp_path / "a.gpkg", [box(0, 0, 20, 20)], layer="houses", kind=["house"])
    np.testing.assert_array_equal(burn(path, layer="houses"), expected((0, 0, 20, 20, 3)))
    (fault,) = faults(path, field="kind")
    assert "2 layers (fields, houses); set labels.layer=" in fault
    (fault,) = faults(path, field="kind", layer="house")
    assert "did you mean 'houses'? it has fields, houses" in fault


# ── lines, CRS, touching ───────────────────────────────────────────────────────────────────────


def test_lines_are_as_wide_as_asked_or_as_their_attribute_says(tmp_path):
    shapes = [line((-20, 50), (140, 50)), line((30, -20), (30, 120))]
    path = write(tmp_path / "a.gpkg", shapes, kind=["road", "road"], w=[6.0, np.nan])
    target = burn(path, width_m=4, width_field="w")
    np.testing.assert_array_equal(target, expected((28, 0, 32, 100, 4), (0, 47, 120, 53, 4)))
    text = write(tmp_path / "b.gpkg", shapes, kind=["road", "road"], w=["6", "4.0"])
    np.testing.assert_array_equal(burn(text, width_field="w"), target)


def test_a_wide_line_that_lies_beside_the_window_reaches_in(tmp_path):
    path = write(tmp_path / "a.gpkg", [line((-30, 200), (-30, -100))], kind=["road"])
    source = open_labels(Labels(path=path, field="kind", width_m=70), LEGEND)
    np.testing.assert_array_equal(source.burn(GRID), expected((0, 0, 5, 100, 4)))
    assert (source.burn(GRID, Window(10, 0, 5, 5)) == 4).all()


def test_scenes_in_degrees_and_web_mercator(tmp_path):
    path = write(
        tmp_path / "a.gpkg",
        [box(0, 0, 40, 100), line((60, -50), (60, 150))],
        kind=["grass", "road"],
    )
    for crs in ("EPSG:4326", "EPSG:3857", "EPSG:3035"):
        left, bottom, right, top = GRID.bounds_in(crs)
        size = Affine((right - left) / 240, 0, left, 0, (bottom - top) / 200, top)
        grid = Grid(crs, size, 200, 240)
        target = burn(path, grid, width_m=10)
        assert (target == 1).mean() == pytest.approx(40 / 120, abs=0.02)
        assert (target == 4).mean() == pytest.approx(10 / 120, abs=0.01)
        assert (target[10:-10, 10:70] == 1).all()


def test_all_touched(tmp_path):
    path = write(tmp_path / "a.gpkg", [box(3.6, 3.6, 8.4, 8.4)])
    np.testing.assert_array_equal(burn(path), expected((4, 4, 8, 8, 1)))
    np.testing.assert_array_equal(burn(path, all_touched=True), expected((3, 3, 9, 9, 1)))


# ── background, area, borders, unknown ─────────────────────────────────────────────────────────


def test_background_only_where_labels_are(tmp_path):
    path = write(tmp_path / "a.gpkg", [box(5, 5, 10, 10)])
    far = Grid(GRID.crs, Affine(1, 0, 600_000, 0, -1, 6_000_100), 20, 20)
    source = open_labels(Labels(path=path, field="kind", background="rest"), LEGEND)
    np.testing.assert_array_equal(source.burn(GRID), expected((5, 5, 10, 10, 1), fill=9))
    assert (source.burn(GRID, Window(90, 90, 8, 8)) == 9).all()
    assert (source.burn(far) == UNLABELLED).all()
    assert source.touches(GRID)
    assert not source.touches(far)
    assert source.check({"near": GRID, "far": far}) == ["near"]
    assert source.notes == ["no labels, wholly unlabelled: far"]


def test_outside_the_area_nothing_is_labelled(tmp_path):
    path = write(tmp_path / "a.gpkg", [box(0, 0, 20, 20)])
    area = write(tmp_path / "b.gpkg", [box(10, 10, 50, 50), box(0, 0, 99, 99)], ok=[1, 0])
    settings = {"area": area, "area_where": "ok = 1"}
    np.testing.assert_array_equal(burn(path, **settings), expected((10, 10, 20, 20, 1)))
    target = burn(path, background="rest", **settings)
    np.testing.assert_array_equal(target, expected((10, 10, 50, 50, 9), (10, 10, 20, 20, 1)))


def test_within_the_area_all_is_background_far_from_any_label_too(tmp_path):
    path = write(tmp_path / "a.gpkg", [shapely.box(0, 0, 1, 1)])
    area = write(tmp_path / "b.gpkg", [box(10, 10, 50, 50)])
    source = open_labels(
        Labels(path=path, field="kind", background="rest", area=area), LEGEND, scenes={"a": GRID}
    )
    np.testing.assert_array_equal(source.burn(GRID), expected((10, 10, 50, 50, 9)))


def test_borders_between_classes_are_ignored_not_those_to_unlabelled(tmp_path):
    path = write(
        tmp_path / "a.gpkg", [box(10, 10, 30, 30), box(30, 10, 50, 30)], kind=["grass", "road"]
    )
    wanted = expected((10, 10, 28, 30, 1), (32, 10, 50, 30, 4))
    np.testing.assert_array_equal(burn(path, ignore_border=2), wanted)


def test_unknown_values_are_a_fault_or_unlabelled(tmp_path):
    shapes = [box(i, 0, i + 1, 50) for i in range(6)]
    kinds = ["gras", "gras", None, "house", "gras", "tree"]
    path = write(tmp_path / "a.gpkg", shapes, kind=kinds)
    (fault,) = faults(path, field="kind")
    assert "3 values that the legend does not know: gras (3 ×), " in fault
    assert "(no value) (1 ×)" in fault
    assert "tree (1 ×)" in fault
    assert "labels.unknown=unlabelled" in fault
    source = open_labels(
        Labels(path=path, field="kind", unknown="unlabelled", background="rest"), LEGEND
    )
    wanted = expected((0, 0, 6, 50, UNLABELLED), (3, 0, 4, 50, 3), fill=9)
    np.testing.assert_array_equal(source.burn(GRID), wanted)
    assert "gras (3 ×)" in source.notes[0]


@given(st.integers(0, 2**32 - 1), st.integers(0, 3), st.booleans())
@settings(max_examples=12, deadline=None)
def test_targets_do_not_depend_on_the_windows(many_labels, seed, ignore_border, in_degrees):
    grid = GRID
    if in_degrees:
        left, bottom, right, top = GRID.bounds_in("EPSG:4326")
        step = Affine((right - left) / 100, 0, left, 0, (bottom - top) / 90, top)
        grid = Grid("EPSG:4326", step, 90, 100)
    labels = Labels(
        path=many_labels,
        field="kind",
        width_m=3,
        background="rest",
        ignore_border=ignore_border,
    )
    whole = open_labels(labels, LEGEND).burn(grid)
    source = open_labels(labels, LEGEND)
    random = np.random.default_rng(seed)
    for _ in range(6):
        top, left = random.integers(0, 80, 2)
        window = Window(int(top), int(left), *map(int, random.integers(1, 60, 2)))
        window = window.intersect(grid.window)
        part = source.burn(grid, window)
        np.testing.assert_array_equal(part, whole[window.within(grid.window)])
    assert {1, 3, 9} <= set(np.unique(whole))


@pytest.fixture(scope="module")
def many_labels(tmp_path_factory):
    random = np.random.default_rng(0)
    shapes = [
        shapely.Point(x, y).buffer(r, quad_segs=3)
        for x, y, r in random.uniform((499_990, 5_999_990, 1), (500_130, 6_000_110, 9), (150, 3))
    ]
    shapes += [line(*random.uniform(-10, 130, (3, 2))) for _ in range(10)]
    kinds = random.choice(["grass", "house"], 150).tolist() + ["road"] * 10
    return write(tmp_path_factory.mktemp("many") / "a.gpkg", shapes, kind=kinds)


def test_a_layer_without_an_index_gives_the_same_kept_or_not(tmp_path, many_labels, monkeypatch):
    path = tmp_path / "a.fgb"
    meta, _, wkb, columns = raw.read(many_labels)
    options = {"SPATIAL_INDEX": "NO"}
    raw.write(
        path, wkb, columns, meta["fields"], geometry_type="Unknown", crs=meta["crs"], **options
    )
    labels = Labels(path=str(path), field="kind", width_m=3)
    kept = open_labels(labels, LEGEND)
    monkeypatch.setattr(vector_room, "KEEP", 2000)
    searched = open_labels(labels, LEGEND)
    assert kept.notes == []
    assert "without a spatial index" in searched.notes[0]
    target = burn(many_labels, width_m=3)
    np.testing.assert_array_equal(kept.burn(GRID), target)
    np.testing.assert_array_equal(searched.burn(GRID), target)


def test_a_scan_goes_chunk_by_chunk(many_labels, monkeypatch):
    monkeypatch.setattr(vector_room, "CHUNK", 7)
    sizes = [len(f.geometries) for f in vector_room.Layer(many_labels, columns=("kind",)).scan()]
    assert sizes == 22 * [7] + [6]


# ── several scenes in one session ──────────────────────────────────────────────────────────────


def scene(left, top, height, width, step=1.0):
    """A scene beside GRID: its corner and size in pixels of GRID."""
    corner = Affine(step, 0, 500_000 + left, 0, -step, 6_000_100 - top)
    return Grid(GRID.crs, corner, height, width)


SETS_OF_SCENES = {
    "apart": [scene(0, 0, 96, 96), scene(296, 0, 96, 96), scene(0, 240, 96, 96)],
    "adjacent": [scene(0, 0, 64, 64), scene(64, 0, 320, 320), scene(0, 64, 64, 64)],
    "overlapping": [scene(100, 100, 64, 64), scene(90, 80, 250, 200), scene(0, 0, 400, 400)],
    "shifted and coarser": [scene(0, 0, 50, 50), scene(60.3, 7.6, 90, 90), scene(0, 0, 60, 60, 5)],
}


def cells(side, count=400):
    """Squares that cover all scenes, and their classes."""
    places = [(x, y) for y in range(-40, count, side) for x in range(-40, count, side)]
    kinds = [("grass", "house", "road")[(x + 2 * y) // side % 3] for x, y in places]
    return [box(x, y, x + side, y + side) for x, y in places], kinds


@pytest.fixture(scope="module")
def tiled_labels(tmp_path_factory):
    """Labels without a gap, in several CRSs: {crs: path}."""
    folder = tmp_path_factory.mktemp("tiled")
    shapes, kinds = cells(17)
    whole = box(-5000, -5000, 5000, 5000)  # larger than any scene: cut for each anew
    shapes, kinds = [whole, *shapes[::2]], ["grass", *kinds[::2]]
    paths = {}
    for crs in (GRID.crs, "EPSG:3035", "EPSG:4326"):
        moved = list(geopandas.GeoSeries(shapes, crs=GRID.crs).to_crs(crs))
        paths[crs] = write(folder / f"{crs[5:]}.gpkg", moved, crs=crs, kind=kinds)
    return paths


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("crs", [GRID.crs, "EPSG:3035", "EPSG:4326"])
@pytest.mark.parametrize("scenes", SETS_OF_SCENES.values(), ids=SETS_OF_SCENES.keys())
def test_a_scene_among_others_has_the_target_it_has_alone(tiled_labels, scenes, crs, backwards):
    labels = Labels(path=tiled_labels[crs], field="kind", ignore_border=1)
    session = open_labels(labels, LEGEND)
    for grid in scenes[::-1] if backwards else scenes:
        target = session.burn(grid)
        np.testing.assert_array_equal(target, open_labels(labels, LEGEND).burn(grid))
        assert set(np.unique(target)) - {UNLABELLED} == {1, 3, 4}


@pytest.mark.parametrize("crs", ["EPSG:3035", "EPSG:4326"])
@pytest.mark.parametrize("scenes", SETS_OF_SCENES.values(), ids=SETS_OF_SCENES.keys())
def test_labels_in_another_crs_leave_no_scene_open(tmp_path, scenes, crs):
    shapes, kinds = cells(17)
    straight = write(tmp_path / "a.gpkg", shapes, kind=kinds)
    moved = list(geopandas.GeoSeries(shapes, crs=GRID.crs).to_crs(crs))
    path = write(tmp_path / "b.gpkg", moved, crs=crs, kind=kinds)
    area = Labels(path=path, field="kind", area=path)  # the area's file is read the same way
    session, within = (
        open_labels(Labels(path=path, field="kind"), LEGEND),
        open_labels(area, LEGEND),
    )
    for grid in scenes:
        target = session.burn(grid)
        assert (target == burn(straight, grid)).mean() > 0.99
        assert (target == UNLABELLED).mean() < 0.01
        np.testing.assert_array_equal(within.burn(grid), target)


@given(st.data())
@settings(max_examples=25, deadline=None)
def test_targets_do_not_depend_on_the_scenes_before(tiled_labels, data):
    side, place = st.integers(1, 120), st.integers(0, 300)
    drawn = data.draw(st.lists(st.tuples(place, place, side, side), min_size=2, max_size=4))
    crs = data.draw(st.sampled_from(["EPSG:3035", "EPSG:4326"]))
    labels = Labels(path=tiled_labels[crs], field="kind")
    session = open_labels(labels, LEGEND)
    for grid in [scene(*place) for place in drawn]:
        whole = open_labels(labels, LEGEND).burn(grid)
        assert (whole != UNLABELLED).all()
        top, left = data.draw(st.tuples(st.integers(0, grid.height), st.integers(0, grid.width)))
        for window in (grid.window, Window(top, left, grid.height, grid.width)):
            inside = window.intersect(grid.window)
            if inside:
                part = session.burn(grid, inside)
                np.testing.assert_array_equal(part, whole[inside.within(grid.window)])


@pytest.mark.parametrize("crs", [GRID.crs, "EPSG:3035"])
def test_neighbouring_windows_share_one_read(tiled_labels, crs, monkeypatch):
    reads = []
    read = vector_room.Layer.read
    monkeypatch.setattr(
        vector_room.Layer, "read", lambda layer, bounds: reads.append(1) or read(layer, bounds)
    )
    source = open_labels(Labels(path=tiled_labels[crs], field="kind"), LEGEND)
    first, second = scene(0, 0, 96, 96), scene(296, 0, 96, 96)
    for grid in (first, second, first):
        for top in range(0, 96, 16):
            for left in range(0, 96, 16):
                source.burn(grid, Window(top, left, 16, 16))
    # Where nothing is cut, one read is good for both scenes; else each has its own, and keeps it.
    assert len(reads) == (1 if crs == GRID.crs else 2)


def test_a_window_far_outside_its_scene_is_labelled_too(tiled_labels):
    source = open_labels(Labels(path=tiled_labels["EPSG:3035"], field="kind"), LEGEND)
    grid = scene(100, 100, 8, 8)
    assert (source.burn(grid) != UNLABELLED).all()
    assert (source.burn(grid, Window(-90, -90, 20, 250)) != UNLABELLED).all()


def test_what_is_held_of_many_scenes_stays_small(tiled_labels, monkeypatch):
    monkeypatch.setattr(vectorfile, "HELD", 5 * vectorfile.PAGE)
    labels = Labels(path=tiled_labels["EPSG:4326"], field="kind")
    pages = vectorfile.Pages()
    monkeypatch.setattr("geoseg.labels.find.Pages", lambda: pages)
    source = open_labels(labels, LEGEND)
    for left in range(0, 300, 20):
        source.burn(scene(left, 0, 20, 20))
        assert 1 <= len(pages._held) <= 5


# ── rasters ────────────────────────────────────────────────────────────────────────────────────


def write_raster(path, data, grid, nodata=None):
    with raster.create(path, grid, dtype=str(data.dtype), nodata=nodata) as writer:
        writer.write(data, grid.window)
    return str(path)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32", "float32"])
def test_codes_are_merged_before_the_most_frequent_is_taken(tmp_path, dtype):
    fine = Grid(GRID.crs, GRID.transform @ Affine.scale(0.2), 500, 600)
    data = np.full((500, 600), 10, dtype)
    data[:5, :2], data[:5, 2:4] = 30, 31  # 10 pixels each of the 25 beneath, against 5 of grass
    data[:5, 5:7], data[:5, 7:10] = 30, 20
    path = write_raster(tmp_path / "a.tif", data, fine)
    target = burn_raster(path)
    assert target[0, :3].tolist() == [3, 4, 1]
    assert (target[1:] == 1).all()


def test_rasters_that_are_not_named_as_such(tmp_path):
    data = np.tile(np.array([[10, 20]], np.uint8), (8, 4))
    path = write_raster(tmp_path / "codes.tif", data, GRID.crop(Window(0, 0, 8, 8)))
    for name, driver in (("codes.png", "PNG"), ("codes.asc", "AAIGrid"), ("codes", "ENVI")):
        rasterio.shutil.copy(path, tmp_path / name, driver=driver)
        np.testing.assert_array_equal(
            burn_raster(tmp_path / name)[:8, :8], np.where(data == 10, 1, 4)
        )


def test_a_coarser_raster_in_another_crs(tmp_path):
    left, _, _, top = GRID.bounds_in("EPSG:3035")
    coarse = Grid("EPSG:3035", Affine(10, 0, left - 20, 0, -10, top + 20), 15, 17)
    data = np.full((15, 17), 10, np.uint8)
    data[:, 8:] = 30
    target = burn_raster(write_raster(tmp_path / "a.tif", data, coarse))
    assert set(np.unique(target)) == {1, 3}
    assert (target == 3).mean() == pytest.approx(0.5, abs=0.1)


def test_nodata_and_zero_are_background_if_there_is_one(tmp_path):
    inner = GRID.crop(Window(20, 20, 50, 50))
    data = np.full((50, 50), 10, np.uint8)
    data[0], data[1], data[2] = 0, 99, 77
    path = write_raster(tmp_path / "a.tif", data, inner, nodata=99)
    parts = [(20, 23, 70, 70, 1)]
    np.testing.assert_array_equal(burn_raster(path, unknown="unlabelled"), expected(*parts))
    target = burn_raster(path, unknown="unlabelled", background="rest")
    np.testing.assert_array_equal(target, expected((20, 20, 70, 22, 9), *parts))
    both = Labels(path=path, unknown="unlabelled", background="rest")
    note, _ = open_labels(both, LEGEND, scenes={"a": GRID}).notes
    assert "pixels of 0 (50) and those without data (50) both count" in note
    (fault,) = faults(path)
    assert "1 value that the legend does not know: 77 (50 px)" in fault
    # The part with 77 lies beneath no scene.
    scene = GRID.crop(Window(40, 40, 20, 20))
    assert (open_labels(Labels(path=path), LEGEND, scenes={"a": scene}).burn(scene) == 1).all()


def test_a_nodata_value_that_the_legend_knows_is_a_class(tmp_path):
    path = write_raster(tmp_path / "a.tif", np.full((100, 120), 20, np.int16), GRID, nodata=20)
    assert (burn_raster(path) == 4).all()
    (note,) = open_labels(Labels(path=path), LEGEND, scenes={"a": GRID}).notes
    assert "declares 20 as nodata, which is a value of the legend" in note


def test_a_raster_holds_codes_where_the_legend_has_only_names(tmp_path):
    legend = Legend.parse([{"code": 7, "name": "sea", "color": "#0000ff"}], "test")
    data = np.full((100, 120), 7, np.uint8)
    data[0], data[1] = 255, 0
    target = burn_raster(write_raster(tmp_path / "a.tif", data, GRID, nodata=0), legend=legend)
    assert (target[2:] == 7).all()
    assert (target[:2] == UNLABELLED).all()


@pytest.mark.parametrize("numbered", [False, True])
@pytest.mark.parametrize("how", ["tag", "side file"])
def test_a_raster_that_names_its_values_otherwise(tmp_path, how, numbered):
    theirs = [
        {"code": 1, "name": "house", "color": "red"},
        {"code": 2, "name": "wood", "color": "green"},
    ]
    mine = [
        {"code": 1, "name": "wood", "color": "green"} | ({"values": [1]} if numbered else {}),
        {"code": 2, "name": "house", "color": "red"} | ({"values": [2]} if numbered else {}),
    ]
    legend = Legend.parse(theirs, "test")
    codes = np.array([[1, 1, 2], [1, 2, 2]], np.uint8)
    grid = GRID.crop(Window(0, 0, 2, 3))
    path = write_raster(tmp_path / "a.tif", codes, grid, nodata=None)
    if how == "tag":
        with rasterio.open(path, "r+") as file:
            file.update_tags(GEOSEG_LEGEND=json.dumps(legend.to_dict()))
    else:
        Path(f"{path}.aux.xml").write_text(legend.aux_xml())
    own = Legend.parse(mine, "test")
    with open_labels(Labels(path=str(path)), own) as source:
        burnt = source.burn(grid)
        assert (burnt == (codes if numbered else 3 - codes)).all()
        assert any("calls its values 1 house, 2 wood" in note for note in source.notes)


def test_overlapping_rasters_fill_each_others_gaps(tmp_path):
    a = np.full((100, 120), 10, np.uint8)
    a[:, 60:] = 0
    b = np.full((100, 120), 30, np.uint8)
    b[:50] = 0
    write_raster(tmp_path / "a.tif", a, GRID)
    write_raster(tmp_path / "b.tif", b, GRID)
    wanted = expected((0, 0, 60, 100, 1), (60, 0, 120, 50, 9), (60, 50, 120, 100, 3))
    np.testing.assert_array_equal(burn_raster(str(tmp_path), background="rest"), wanted)


def test_rasters_that_contradict_each_other_are_told_once_a_pixel(tmp_path):
    other = np.full((100, 120), 10, np.uint8)
    other[10:13, :7] = 30
    write_raster(tmp_path / "a.tif", np.full((100, 120), 10, np.uint8), GRID)
    write_raster(tmp_path / "b.tif", other, GRID)
    labels = Labels(path=str(tmp_path), ignore_border=2)
    with open_labels(labels, LEGEND, scenes={"s": GRID}) as source:
        for top in range(0, 100, 11):
            source.burn(GRID, Window(top, 0, min(11, 100 - top), 120))
        (note,) = source.notes
    assert "b.tif overlap and give 21 pixels different classes; those of" in note


def test_a_large_raster_is_read_in_parts(tmp_path, monkeypatch):
    random = np.random.default_rng(0)
    fine = Grid(GRID.crs, GRID.transform @ Affine.scale(0.25), 400, 480)
    data = np.kron(random.choice([10, 20, 30], (80, 96)), np.ones((5, 5))).astype(np.uint8)
    path = write_raster(tmp_path / "a.tif", data, fine)
    whole = burn_raster(path)
    monkeypatch.setattr("geoseg.labels.raster.READ", 3000)
    np.testing.assert_array_equal(burn_raster(path), whole)
    assert len(np.unique(whole)) == 3


# ── by name, and missed scenes ─────────────────────────────────────────────────────────────────


def test_by_name_each_scene_takes_its_own_file(tmp_path):
    write(tmp_path / "a.gpkg", [box(0, 0, 10, 10)])
    write(tmp_path / "b.gpkg", [box(0, 0, 20, 20)], kind=["house"])
    empty = {"crs": GRID.crs, "geometry_type": "Polygon"}
    raw.write(tmp_path / "c.gpkg", np.empty(0, object), [np.empty(0, object)], ["kind"], **empty)
    labels = Labels(path=str(tmp_path), field="kind", match="name", background="rest")
    scenes = dict.fromkeys("abcd", GRID)
    source = open_labels(labels, LEGEND, scenes=scenes)
    np.testing.assert_array_equal(source.burn(GRID, scene="a"), expected((0, 0, 10, 10, 1), fill=9))
    np.testing.assert_array_equal(source.burn(GRID, scene="b"), expected((0, 0, 20, 20, 3), fill=9))
    assert (source.burn(GRID, scene="c") == 9).all()  # somebody looked, and there was nothing
    assert (source.burn(GRID, scene="d") == UNLABELLED).all()
    assert any("unlabelled: d" in note for note in source.notes)
    assert any("c.gpkg: holds no geometry" in note for note in source.notes)
    (fault,) = faults(str(tmp_path), field="kind", match="name", scenes={"x": GRID})
    assert "none is called like a scene" in fault
    assert "labels a, b, c; scenes x" in fault


def test_by_name_two_files_of_one_scene_are_a_fault(tmp_path):
    write(tmp_path / "a.gpkg", [box(0, 0, 10, 10)])
    write(tmp_path / "a.fgb", [box(0, 0, 10, 10)])
    (fault,) = faults(str(tmp_path), field="kind", match="name")
    assert "one scene can't take both" in fault


def test_labels_that_miss_all_scenes(tmp_path):
    far = Grid(GRID.crs, Affine(1, 0, 600_000, 0, -1, 6_000_100), 20, 20)
    path = write(tmp_path / "a.gpkg", [box(0, 0, 10, 10)])
    (fault,) = faults(path, field="kind", scenes={"a": far, "b": far})
    assert "they miss all 2 scenes" in fault
    assert "labels at longitude 9.00000..9.00015" in fault
    swapped = shapely.box(54.1, 9.0, 54.2, 9.1)
    path = write(tmp_path / "b.gpkg", [swapped], crs="EPSG:4326")
    (fault,) = faults(path, field="kind", scenes={"a": GRID})
    assert "x and y look swapped" in fault


def test_labels_in_a_crs_that_is_not_defined_there_lie_elsewhere(tmp_path):
    half = "+proj=ortho +lat_0=54 +lon_0=9 +datum=WGS84"  # half the globe, seen from afar
    path = write(tmp_path / "a.gpkg", [shapely.box(-1000, -1000, 1000, 1000)], crs=half)
    south = Grid("EPSG:32755", Affine(10, 0, 500_000, 0, -10, 6_000_000), 100, 100)
    source = open_labels(Labels(path=path, field="kind", background="rest"), LEGEND)
    assert (source.burn(south) == UNLABELLED).all()
    (fault,) = faults(path, field="kind", scenes={"a": south})
    assert "they miss the scene" in fault
    here = Grid("EPSG:32632", Affine(10, 0, 499_500, 0, -10, 5_983_500), 100, 100)
    assert (source.burn(here) == 1).any()


def test_the_extent_of_all_labels(tmp_path):
    write(tmp_path / "a.gpkg", [box(0, 0, 10, 10)])
    write(tmp_path / "b.gpkg", [box(50, 50, 60, 60)])
    source = open_labels(Labels(path=str(tmp_path), field="kind"), LEGEND)
    assert source.extent_in(GRID.crs) == (500_000, 6_000_040, 500_060, 6_000_100)
    assert len(source.paths) == 2


# ── bad input ──────────────────────────────────────────────────────────────────────────────────


def test_broken_geometries_are_mended_or_left_out_and_counted(tmp_path):
    corner = shapely.Polygon([(500_000, 6_000_100), (500_020, 6_000_080), (500_020, 6_000_100)])
    twist = shapely.transform(
        shapely.from_wkt("POLYGON ((0 0, 20 20, 20 0, 0 20, 0 0))"),
        lambda p: p * (1, -1) + (500_040, 6_000_100),
    )
    both = shapely.GeometryCollection([box(0, 60, 10, 70), line((0, 80), (50, 80))])
    shapes = [corner, twist, None, shapely.Polygon(), both, shapely.MultiPolygon()]
    path = write(tmp_path / "a.gpkg", shapes)
    source = open_labels(Labels(path=path, field="kind"), LEGEND)
    target = source.burn(GRID)
    assert (target[:, 40:60] == 1).sum() == pytest.approx(200, abs=12)
    assert (target[60:] == 1).sum() == 100
    assert [note.split(": ", 1)[1] for note in source.notes] == [
        "3 of 6 empty, null or broken geometries left out",
        "1 of 6 geometries with invalid rings repaired",
        "1 of 6 geometries that are collections, of which only polygons count",
    ]


def test_faults_of_a_file_come_all_at_once(tmp_path):
    path = write(
        tmp_path / "a.gpkg",
        [shapely.Point(500_010, 6_000_090), line((0, 0), (9, 9)), box(0, 0, 9, 9)],
        kind=["grass", "road", "lake"],
    )
    points, lines, unknown = faults(path, field="kind")
    assert "1 of 3 geometries are points" in points
    assert "labels.where" in points
    assert "1 of 1 lines have no width; set labels.width_m=<metres> or labels.width_field" in lines
    assert "lake (1 ×); it knows grass, Græs, 10, road" in unknown
    bad = write(tmp_path / "b.gpkg", [line((0, 0), (9, 9))], kind=["road"], w=["wide"])
    (fault,) = faults([path, bad], field="kind", width_field="w", where="kind = 'road'")[-1:]
    assert "b.gpkg: 1 of 1 lines have no width" in fault


def test_an_area_takes_polygons_only(tmp_path):
    path = write(tmp_path / "a.gpkg", [box(0, 0, 9, 9)])
    area = write(tmp_path / "b.gpkg", [line((0, 0), (9, 9))])
    (fault,) = faults(path, field="kind", area=area)
    assert "b.gpkg: 1 of 1 geometries are lines; only polygons can bound an area" in fault


def test_missing_attributes_layers_and_files(tmp_path):
    path = write(tmp_path / "a.gpkg", [box(0, 0, 9, 9)], Klasse=["grass"], width=[1.0])
    first, second = faults(path, field="klass", width_field="w")
    assert "no attribute 'klass'; did you mean 'Klasse'? it has Klasse, width" in first
    assert "no attribute 'w'; it has Klasse, width" in second
    (fault,) = faults(path)
    assert "which class? Set labels.field=<attribute with the class>, or labels.name" in fault
    (fault,) = faults(str(tmp_path / "none.gpkg"), field="kind")
    assert "no such file" in fault
    (fault,) = faults(None)
    assert "labels: none given" in fault
    (fault,) = faults(path, field="Klasse", where="nonsense ~ 3")
    assert "where: nonsense ~ 3" in fault
    (tmp_path / "empty").mkdir()
    (fault,) = faults(str(tmp_path / "empty"), field="kind")
    assert "no label files" in fault


def test_files_that_are_no_vector_file_or_cut_short(tmp_path):
    text = tmp_path / "a.gpkg"
    text.write_text("no")
    (fault,) = faults(str(text), field="kind")
    assert "can't be opened as a vector file" in fault
    whole = write(tmp_path / "b.fgb", [box(0, 0, 9, 9)] * 300)
    cut = tmp_path / "c.fgb"
    cut.write_bytes(Path(whole).read_bytes()[:20_000])
    (fault,) = faults(str(cut), field="kind")
    assert "c.fgb: can't be " in fault


def test_labels_without_a_crs(tmp_path):
    path = write(tmp_path / "a.gpkg", [box(0, 0, 9, 9)], crs=None)
    (fault,) = faults(path, field="kind")
    assert "a.gpkg: no CRS" in fault
    assert "ogr2ogr -a_srs" in fault


def test_a_table_is_no_layer(tmp_path):
    path = tmp_path / "a.gpkg"
    pyogrio.write_dataframe(pandas.DataFrame({"kind": ["a"]}), path, layer="styles")
    (fault,) = faults(str(path), field="kind")
    assert "no layer with geometries in it, only tables (styles)" in fault
    write(path, [box(0, 0, 9, 9)], layer="kinds", kind=["grass"])
    np.testing.assert_array_equal(burn(str(path)), expected((0, 0, 9, 9, 1)))


def test_classes_that_are_not_in_the_legend(tmp_path):
    path = write(tmp_path / "a.gpkg", [box(0, 0, 9, 9)])
    name, background = faults(path, name="hous", background="sky")
    assert "labels.name=hous" in name
    assert "labels.background=sky" in background
    assert "grass, road, house, rest" in background


def test_rasters_with_faults(tmp_path):
    rgb = tmp_path / "rgb.tif"
    with raster.create(rgb, GRID, dtype="uint8", count=3) as writer:
        writer.write(np.zeros((3, 100, 120), np.uint8), GRID.window)
    (fault,) = faults(str(rgb))
    assert "3 bands; expected one band" in fault
    measured = np.random.default_rng(0).normal(size=(100, 120)).astype(np.float32)
    (fault,) = faults(write_raster(tmp_path / "m.tif", measured, GRID))
    assert "over 1000 values" in fault
    assert "not a measurement" in fault
    path = write_raster(tmp_path / "b.tif", np.full((100, 120), 10, np.uint8), GRID)
    field, width = faults(path, field="kind", width_m=3)
    assert "labels.field=kind: is for vector files" in field
    assert "labels.width_m=3" in width


def test_settings_that_contradict_each_other():
    with pytest.raises(InputError) as caught:
        Labels(
            field="a",
            name="b",
            match="colour",
            unknown="skip",
            width_m=0,
            ignore_border=-1,
            area_layer="x",
        )
    text = str(caught.value)
    assert len(caught.value.faults) == 6
    for words in ("not both", "location, name", "error, unlabelled", "above 0 metres"):
        assert words in text
    assert "labels.area_layer=x: needs labels.area" in text


# ── real labels ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.real
def test_danish_parcels_by_code_and_by_letters(real_data):
    image = raster.info(real_data / "denmark_s2" / "RGB_small.tif")
    path = str(real_data / "denmark_s2" / "marker2016_small.shp")
    entry = {"code": 1, "name": "barley", "color": "#ffff00", "values": ["Vårbyg", 1]}
    legend = Legend.parse([entry], "test")
    options = {"grid": image.grid, "legend": legend, "unknown": "unlabelled"}
    by_letters, by_code = (
        burn(path, field="Afgroede", **options),
        burn(path, field="AfgKode", **options),
    )
    np.testing.assert_array_equal(by_letters, by_code)
    _, _, wkb, _ = raw.read(path, where="AfgKode = 1")
    area = shapely.area(shapely.from_wkb(wkb)).sum()
    assert (by_code == 1).sum() * 100 == pytest.approx(area, rel=0.01)


@pytest.mark.real
def test_buildings_of_kampala_with_their_invalid_ring(real_data):
    image = raster.info(real_data / "buildings" / "kampala_0.tif")
    path = str(real_data / "buildings" / "kampala_buildings.geojson")
    source = open_labels(
        Labels(path=path, name="house", background="rest"), LEGEND, scenes={"a": image.grid}
    )
    assert source.notes == [f"{path}: 1 of 206 geometries with invalid rings repaired"]
    target = source.burn(image.grid)
    assert (target == 3).sum() + (target == 9).sum() == image.grid.window.area
    assert (target == 3).sum() == pytest.approx(38_746, abs=30)


@pytest.mark.real
def test_corine_on_modis(real_data):
    folder = real_data / "po_valley_modis"
    grid = raster.info(folder / "modis_ndvi_2010.tif").grid
    groups = {"urban": (1, 12), "land": (12, 36), "water": (36, 45)}
    legend = Legend.parse(
        [
            {"code": i, "name": name, "color": "#000000", "values": list(range(*span))}
            for i, (name, span) in enumerate(groups.items(), 1)
        ],
        "test",
    )
    target = open_labels(Labels(path=str(folder / "clc_32632.tif")), legend).burn(grid)
    shares = [(target == code).mean() for code in (1, 2, 3, UNLABELLED)]
    assert shares == pytest.approx([0.0255, 0.156, 0.004, 0.814], abs=0.002)


@pytest.mark.real
def test_labels_in_a_folder_of_scenes_are_found_by_name(real_data, tmp_path):
    for file in (real_data / "massachusetts").iterdir():
        shutil.copyfile(file, tmp_path / file.name)
    names = sorted(path.stem for path in tmp_path.glob("*.tif"))
    grids = {name: raster.info(tmp_path / f"{name}.tif").grid for name in names}
    legend = Legend.parse(
        [{"code": 2, "name": "building", "color": "#ff0000", "values": [1]}], "test"
    )
    labels = Labels(path=str(tmp_path), field="class", match="name")
    source = open_labels(labels, legend, scenes=grids)
    counts = [(source.burn(grid, scene=name) == 2).sum() for name, grid in grids.items()]
    assert counts == pytest.approx([60_664, 83_138], abs=50)


def chessboard(grid, side=5):
    """Codes of a grid's squares, and their outlines with their classes."""
    rows, columns = np.mgrid[: grid.height, : grid.width] // side
    codes = np.where((rows + columns) % 2, 3, 1).astype(np.uint8)
    squares = [
        (Window(top, left, side, side), "house" if codes[top, left] == 3 else "grass")
        for top in range(0, grid.height, side)
        for left in range(0, grid.width, side)
    ]
    return codes, [shapely.box(*grid.bounds_of(w)) for w, _ in squares], [k for _, k in squares]


def by_windows(path, grid):
    """As `burn`, cut into windows."""
    source = open_labels(Labels(path=path, field="kind"), LEGEND, scenes={"a": grid})
    target = np.zeros((grid.height, grid.width), np.uint8)
    for top in range(0, grid.height, 7):
        for left in range(0, grid.width, 7):
            window = Window(top, left, 7, 7).intersect(grid.window)
            target[window.within(grid.window)] = source.burn(grid, window)
    return target


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:32760"])
@pytest.mark.parametrize("counted", ["from -180", "from 0"])
def test_labels_on_both_sides_of_the_antimeridian(tmp_path, crs, counted):
    # 20 pixels on each side of it, near Fiji.
    corner = (179.98, -17)
    if crs != "EPSG:4326":
        there = pyproj.Transformer.from_crs("EPSG:4326", crs, always_xy=True)
        corner = (round(there.transform(180 - 1e-9, -17)[0], -2) - 2000, 8_118_000)
    pixel = 1e-3 if crs == "EPSG:4326" else 100
    grid = Grid(crs, Affine(pixel, 0, corner[0], 0, -pixel, corner[1]), 40, 40)
    codes, squares, kinds = chessboard(grid)
    back = pyproj.Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
    moved = shapely.transform(
        shapely.segmentize(np.array(squares), pixel / 2),
        lambda places: np.stack(back.transform(*places.T), axis=1),
    )

    def from_zero(places):
        return np.stack([places[:, 0] % 360, places[:, 1]], axis=1)

    drawn = shapely.transform(moved, from_zero)
    if counted == "from -180":  # cut there, as GeoJSON wants it
        west = shapely.intersection(drawn, shapely.box(179, -20, 180, -10))
        east = shapely.intersection(drawn, shapely.box(180, -20, 181, -10))
        east = shapely.transform(east, lambda places: places - (360, 0))
        both = [(p, k) for part in (west, east) for p, k in zip(part, kinds, strict=True)]
        both = [(p, k) for p, k in both if shapely.area(p) > 0]
        drawn, kinds = [p for p, _ in both], [k for _, k in both]
    path = write(tmp_path / "l.gpkg", drawn, crs="EPSG:4326", kind=kinds)
    assert (burn(path, grid) == codes).all()
    assert (by_windows(path, grid) == codes).all()


@pytest.mark.parametrize("left", [179.98, -180.02])
@pytest.mark.parametrize("counted", ["from -180", "from 0"])
def test_rasters_on_both_sides_of_the_antimeridian(tmp_path, left, counted):
    grid = Grid("EPSG:4326", Affine(1e-3, 0, left, 0, -1e-3, -17), 40, 40)
    codes, _, _ = chessboard(grid)
    values = np.where(codes == 1, 10, 30).astype(np.uint8)
    assert set(np.unique(codes)) == {1, 3}
    parts = {"west.tif": (slice(0, 20), 179.98), "east.tif": (slice(20, 40), -180.0)}
    if counted == "from 0":
        parts = {"both.tif": (slice(0, 40), 179.98)}
    for name, (columns, at) in parts.items():
        data = values[:, columns]
        own = Grid("EPSG:4326", Affine(1e-3, 0, at, 0, -1e-3, -17), *data.shape)
        write_raster(tmp_path / "labels" / name, data, own)
    source = open_labels(Labels(path=str(tmp_path / "labels")), LEGEND, scenes={"a": grid})
    assert source.check({"a": grid}) == ["a"]
    np.testing.assert_array_equal(source.burn(grid), codes)
    np.testing.assert_array_equal(source.burn(grid, Window(3, 15, 9, 17)), codes[3:12, 15:32])


@pytest.mark.parametrize("counted", ["from -180", "from 0"])
def test_rasters_beneath_a_projected_scene_across_the_antimeridian(tmp_path, counted):
    there = pyproj.Transformer.from_crs("EPSG:4326", "EPSG:32760", always_xy=True)
    x, y = there.transform(180 - 1e-9, -17)
    grid = Grid("EPSG:32760", Affine(100, 0, x - 2000, 0, -100, y + 2000), 40, 40)
    for name, at, value in (("west", 179.9, 10), ("east", -180.0, 30)):
        at = at % 360 if counted == "from 0" else at
        own = Grid("EPSG:4326", Affine(1e-3, 0, at, 0, -1e-3, -16.9), 200, 100)
        write_raster(tmp_path / "labels" / f"{name}.tif", np.full((200, 100), value, np.uint8), own)
    target = open_labels(Labels(path=str(tmp_path / "labels")), LEGEND, scenes={"a": grid}).burn(
        grid
    )
    assert (target[:, :18] == 1).all()
    assert (target[:, 22:] == 3).all()
    assert (target > 0).all()


@pytest.mark.parametrize("left", [-20_037_508.34, 20_037_508.34 - 4000])
def test_labels_of_the_whole_world_at_its_edges(tmp_path, left):
    grid = Grid("EPSG:3857", Affine(100, 0, left, 0, -100, 2000), 40, 40)
    halves = [shapely.box(-180, 0, 180, 80), shapely.box(-180, -80, 180, 0)]
    path = write(tmp_path / "l.gpkg", halves, crs="EPSG:4326", kind=["grass", "house"])
    assert (burn(path, grid)[:20] == 1).all()
    assert (burn(path, grid)[20:] == 3).all()
    assert (by_windows(path, grid) == burn(path, grid)).all()


def test_longitudes_from_0_and_from_minus_180_are_the_same(tmp_path):
    grid = Grid("EPSG:4326", Affine(1e-3, 0, 280, 0, -1e-3, 10), 40, 40)
    codes, squares, kinds = chessboard(grid)
    west = shapely.transform(np.array(squares), lambda places: places - (360, 0))
    path = write(tmp_path / "l.gpkg", west, crs="EPSG:4326", kind=kinds)
    assert (by_windows(path, grid) == codes).all()


def test_polygons_that_were_not_cut_at_the_antimeridian_are_named(tmp_path):
    grid = Grid("EPSG:4326", Affine(1e-3, 0, 179.98, 0, -1e-3, -17), 40, 40)
    uncut = shapely.Polygon([(179.99, -17), (-179.99, -17), (-179.99, -17.02), (179.99, -17.02)])
    world = shapely.box(-180, -90, 180, 90)
    shapes = {"uncut.gpkg": [uncut, world], "whole.gpkg": [world, shapely.box(-170, -90, 100, 90)]}
    for name, drawn in shapes.items():
        path = write(tmp_path / name, drawn, crs="EPSG:4326")
        notes = open_labels(Labels(path=path, field="kind"), LEGEND, scenes={"a": grid}).notes
        assert any("1 of 2 polygons reach around the globe" in n for n in notes) == (
            name == "uncut.gpkg"
        )


def test_long_numbers_beside_empty_ones_are_not_taken_for_others(tmp_path):
    path = tmp_path / "l.gpkg"
    shapes = [box(0, 0, 50, 50), box(50, 0, 100, 50), box(0, 60, 50, 100)]
    numbers, empty = np.array([2**53 + 1, 2**53, 0]), np.array([False, False, True])
    raw.write(
        *(path, np.array(shapely.to_wkb(shapes), object), [numbers], ["kind"]),
        field_mask=[empty], geometry_type="Polygon", crs=GRID.crs,
    )  # fmt: skip
    with pytest.raises(InputError, match="kind holds whole numbers of 16 digits and more besides"):
        burn(str(path), unknown="unlabelled")


def test_a_datum_whose_shift_is_unknown_is_said(tmp_path):
    old = pyproj.CRS("+proj=utm +zone=32 +ellps=bessel").to_wkt()  # of no known datum
    shape = shapely.box(400_000, 5_900_000, 600_000, 6_100_000)
    for number, crs in enumerate((old, "EPSG:25832")):
        path = tmp_path / f"{number}.gpkg"
        write(path, [shape], crs=crs)
        with open_labels(
            Labels(path=str(path), field="kind"), LEGEND, scenes={"a": GRID}
        ) as source:
            said = [note for note in source.notes if "has another datum" in note]
        assert len(said) == (crs == old)
    assert extent.datum_error_m(old, GRID.crs, (8.9, 54.1, 9.1, 54.2)) == np.inf
