"""Suggestions: the unsure first, unlike each other, apart; and what can't be suggested."""

import sqlite3
import xml.etree.ElementTree as ET
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
from affine import Affine

from geoseg.errors import InputError
from geoseg.geo import raster
from geoseg.geo.grid import Grid, Window, transformer
from geoseg.geo.legend import Legend
from geoseg.geo.tiling import Tiling
from geoseg.geo.vector import Layer
from geoseg.maps.landcover import ClassMap
from geoseg.refine import RefineConfig
from geoseg.refinement.suggest import Suggesting, choose, ranked, read_suggestions, suggest
from geoseg.refinement.uncertainty import Windows, read_maps
from tests.made import maps, tiles

SIZE = 32
SETTINGS = Suggesting(size=SIZE, count=4, apart_m=0)


def make(folder, name="a", *, layer="entropy", seed=0, values=None):
    """A map of 4 × 6 windows with a layer beside it. values: (4, 6) of the windows."""
    random = np.random.default_rng(seed)
    values = random.permutation(24).reshape(4, 6) * 4 + 1 if values is None else values
    codes = random.choice(maps.LEGEND.codes, (4, 6)).repeat(SIZE, 0).repeat(SIZE, 1)
    maps.write(folder / f"landcover/{name}.tif", codes.astype(np.uint8))
    wide = np.asarray(values).repeat(SIZE, 0).repeat(SIZE, 1).astype(np.uint8)
    with raster.create(
        folder / f"{layer}/{name}.tif", maps.place(*wide.shape), dtype="uint8", nodata=0
    ) as file:
        file.write(wide, maps.place(*wide.shape).window)
    return values


def read(path):
    layer = Layer(path, columns=("rank", "map", "score", "reason", "top", "left"))
    (found,) = layer.scan()
    return found


def test_the_most_unsure_come_first_if_nothing_else_counts(tmp_path):
    values = make(tmp_path)
    plain = Suggesting(size=SIZE, count=4, apart_m=0, diverse=False)
    suggest(tmp_path, tmp_path / "next.gpkg", settings=plain)
    found = read(tmp_path / "next.gpkg").columns
    wanted = np.argsort(-values.ravel())[:4]
    places = found["top"] // SIZE * 6 + found["left"] // SIZE
    assert places.tolist() == wanted.tolist()
    assert found["rank"].tolist() == [1, 2, 3, 4]
    assert "entropy 93 % in the mean" in found["reason"][0]
    assert "of 24 windows" in found["reason"][0]


def test_low_margins_are_unsure(tmp_path):
    values = make(tmp_path, layer="margin")
    suggest(tmp_path, tmp_path / "next.gpkg", settings=SETTINGS)
    found = read(tmp_path / "next.gpkg").columns
    first = found["top"][0] // SIZE, found["left"][0] // SIZE
    assert values[first] == values.min()
    assert f"margin {values.min()} %" in found["reason"][0]


def test_windows_are_unlike_each_other_and_apart(tmp_path):
    make(tmp_path)
    grid = maps.place(4 * SIZE, 6 * SIZE)
    found = maps.ClassMap.read(tmp_path / "landcover/a.tif")
    places = tuple(Tiling(SIZE, 0).tiles(grid.window))
    likeness = np.zeros((24, 2))
    likeness[5] = 1, 0  # the only one that is unlike the others
    score = np.linspace(60, 50, 24)
    shares = np.zeros((24, 3))
    windows = Windows("entropy", (found,), np.zeros(24, int), places, score, shares, likeness)
    assert choose(windows, Suggesting(size=SIZE, count=2, apart_m=0)) == [0, 5]
    assert choose(windows, Suggesting(size=SIZE, count=2, apart_m=0, diverse=False)) == [0, 1]
    far = choose(windows, Suggesting(size=SIZE, count=24, apart_m=3 * SIZE * 10, diverse=False))
    middles = np.array([[places[n].top, places[n].left] for n in far]) * 10.0
    gaps = np.hypot(*(middles[:, None] - middles[None]).transpose(2, 0, 1))
    assert len(far) > 2
    assert (gaps[~np.eye(len(far), dtype=bool)] >= 3 * SIZE * 10 * 0.99).all()
    assert 0 < len(choose(windows, Suggesting(size=SIZE, count=24))) < 24


def test_the_file_is_styled_and_the_same_each_time(tmp_path):
    make(tmp_path)
    make(tmp_path, "b", seed=1)
    for name in ("one", "two"):
        said = suggest(tmp_path, tmp_path / name / "next.gpkg", settings=SETTINGS)
        assert "Worth a look, by entropy" in str(said)
    one, two = (tmp_path / name / "next.gpkg" for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()
    with closing(sqlite3.connect(one)) as file:
        ((style,),) = file.execute("SELECT styleQML FROM layer_styles").fetchall()
    assert ET.fromstring(style.partition("\n")[2]).find(".//range") is not None
    with pytest.raises(InputError, match="exists"):
        suggest(tmp_path, one, settings=SETTINGS)


def test_maps_of_which_one_lies_beyond_the_crs_of_the_other(tmp_path):
    # Half around the Earth, where the zone of the first has no coordinates.
    places = {"a": Grid("EPSG:32651", Affine(10, 0, 6e5, 0, -10, 1.4e6), 4 * SIZE, 6 * SIZE)}
    places["b"] = replace(places["a"], crs="EPSG:32636")
    random = np.random.default_rng(0)
    for name, grid in places.items():
        for layer in ("landcover", "entropy"):
            codes = random.choice(maps.LEGEND.codes, (grid.height, grid.width)).astype(np.uint8)
            maps.write(tmp_path / f"{layer}/{name}.tif", codes, grid)
    suggest(tmp_path, tmp_path / "next.gpkg", settings=replace(SETTINGS, count=12, diverse=False))
    layer = Layer(tmp_path / "next.gpkg", columns=("map", "top", "left"))
    (found,) = layer.scan()
    assert set(found.columns["map"]) == set(places)
    for shape, name, top, left in zip(found.geometries, *found.columns.values(), strict=True):
        there = transformer(layer.crs, places[name].crs).transform(*shape.centroid.coords[0])
        expected = places[name].transform @ (left + SIZE / 2, top + SIZE / 2)
        assert there == pytest.approx(expected, abs=1)


def test_windows_with_labels_are_left_out(tmp_path):
    made = tiles.make_dataset(tmp_path / "labelled")
    size = tiles.GRID.height, tiles.GRID.width
    codes = np.full(size, 1, np.uint8)
    maps.write(tmp_path / "maps/landcover/s.tif", codes, tiles.GRID)
    maps.write(tmp_path / "maps/entropy/s.tif", codes * 50, tiles.GRID)
    covered = made.tiles("train") + made.tiles("val")
    with pytest.raises(InputError, match=r"no window of 64 pixels is left"):
        suggest(
            tmp_path / "maps", tmp_path / "next.gpkg", settings=Suggesting(size=64),
            dataset=str(made.folder),
        )  # fmt: skip
    assert covered
    east = replace(tiles.GRID, transform=tiles.GRID.transform @ Affine.translation(50, 0))
    for layer, value in (("landcover", 1), ("entropy", 50)):
        maps.write(tmp_path / f"moved/{layer}/s.tif", codes * value, east)
    said = suggest(
        tmp_path / "moved", tmp_path / "next.gpkg", settings=Suggesting(size=40, apart_m=0),
        dataset=str(made.folder),
    )  # fmt: skip
    assert said
    assert set(read(tmp_path / "next.gpkg").columns["left"]) == {160}


def test_classes_go_by_name_whatever_their_order_and_codes(tmp_path):
    make(tmp_path, "a")
    make(tmp_path, "b")  # the same classes in the same windows
    path = tmp_path / "landcover/b.tif"
    with raster.Raster(path) as file:
        codes = file.read(maps.place(4 * SIZE, 6 * SIZE).window)[0][0]
    one, two, *others = maps.LEGEND.classes
    renamed = Legend((replace(two, code=one.code), *others, replace(one, code=two.code)))
    swapped = np.arange(256, dtype=np.uint8)
    swapped[[one.code, two.code]] = two.code, one.code
    maps.write(path, swapped[codes], legend=renamed)
    windows = Windows.of_maps(read_maps(tmp_path), None, SIZE)
    first, second = (windows.shares[windows.of == number] for number in (0, 1))
    assert first.tolist() == second.tolist()
    maps.write(path, codes, legend=Legend((replace(one, name="strange"), two, *others)))
    with pytest.raises(InputError, match=r"b\.tif: has other classes \(.*strange"):
        read_maps(tmp_path)


def test_what_lacks_is_said(tmp_path):
    make(tmp_path)
    with pytest.raises(InputError, match=r"no novelty beside it; all have entropy.*layers="):
        suggest(tmp_path, tmp_path / "n.gpkg", settings=Suggesting(by="novelty"))
    with pytest.raises(InputError, match="expected a GeoPackage"):
        suggest(tmp_path, tmp_path / "n.shp")
    with pytest.raises(InputError) as error:
        Suggesting(by="hope", count=0, size=1, apart_m=-1)
    assert len(error.value.faults) == 4


def test_what_is_written_is_read_again(tmp_path):
    make(tmp_path)
    make(tmp_path, "b", seed=1)
    suggest(tmp_path, tmp_path / "next.gpkg", settings=SETTINGS)
    maps = [ClassMap.read(tmp_path / f"landcover/{name}.tif") for name in "ab"]
    again = read_suggestions(tmp_path / "next.gpkg", maps)
    assert again == ranked(maps, SETTINGS)
    # Those of maps that are not looked at are left out; those of no map, or outside, are faults.
    assert {s.map for s in read_suggestions(tmp_path / "next.gpkg", maps[1:])} == {"b"}
    make(tmp_path / "other", "c")
    others = [ClassMap.read(tmp_path / "other/landcover/c.tif")]
    with pytest.raises(InputError, match="no window of the maps c"):
        read_suggestions(tmp_path / "next.gpkg", others)
    small = replace(maps[0], grid=maps[0].grid.crop(Window(0, 0, SIZE, SIZE)))
    with pytest.raises(InputError, match="lies outside the map a"):
        read_suggestions(tmp_path / "next.gpkg", [small])
    assert RefineConfig(serve=True, suggestions="next.gpkg").suggestions
    with pytest.raises(InputError, match="set serve=true too"):
        RefineConfig(suggestions="next.gpkg")
