"""Corrections: what a person drew over a map, and what must be said of files that are faulty."""

import sqlite3
from contextlib import closing

import numpy as np
import pytest
import shapely

from geoseg.errors import InputError
from geoseg.evaluate import EvaluateConfig, _open
from geoseg.geo.grid import Window
from geoseg.geo.legend import UNLABELLED
from geoseg.geo.vector import Table, write_layers
from geoseg.labels import corrections as corrections_
from geoseg.labels import drawn as drawn_
from geoseg.labels.correction_form import write_form
from geoseg.labels.corrections import Corrections
from geoseg.labels.find import open_labels
from geoseg.labels.settings import Labels
from tests.made import maps

GRID = maps.place(60, 80)
LEFT, TOP, PIXEL = 500_000, 5_000_000, 10


def at(column, row):
    """Map coordinates of a place in pixels."""
    return LEFT + PIXEL * column, TOP - PIXEL * row


def drawn(path, geometries, classes, *, crs=GRID.crs, **columns):
    write_layers(path, {"drawn": Table({"class": classes, **columns}, np.array(geometries), crs)})
    return path


def square(column, row, side):
    return shapely.box(*at(column, row + side), *at(column + side, row))


def test_each_kind_is_burnt_where_it_was_drawn(tmp_path):
    shapes = [
        square(10, 10, 20),
        shapely.LineString([at(0, 40.5), at(79, 40.5)]),
        shapely.Point(at(15.2, 15.9)),
        square(70.1, 5.1, 0.3),  # covers no centre of a pixel, but was drawn
    ]
    path = drawn(tmp_path / "c.gpkg", shapes, ["building", "field", "forest", "5"])
    codes = Corrections.read(path, maps.LEGEND).burn(GRID)
    assert codes[15, 15] == 1  # a point lies over a polygon
    assert (codes[10:30, 10:30] == 5).sum() == 399
    assert (codes[40, :79] == 2).all()
    assert codes[5, 70] == 5
    assert set(np.unique(codes[31:40])) == {0}


def test_all_that_is_in_a_collection_counts(tmp_path):
    inner = shapely.GeometryCollection([shapely.MultiPoint([at(2.5, 2.5), at(4.5, 2.5)])])
    parts = [square(10, 10, 5), shapely.LineString([at(0, 40.5), at(79, 40.5)]), inner]
    path = drawn(tmp_path / "c.gpkg", [shapely.GeometryCollection(parts)], ["field"])
    codes = Corrections.read(path, maps.LEGEND).burn(GRID)
    assert (codes[10:15, 10:15] == 2).all()
    assert (codes[40, :79] == 2).all()
    assert codes[2, 2] == codes[2, 4] == 2
    assert not codes[2, 3]


def test_what_was_drawn_against_each_other_or_has_no_area_is_said(tmp_path, monkeypatch):
    shapes = [
        square(10, 10, 20),
        square(25, 10, 20),  # over the first one, as another class
        square(45, 10, 10),  # beside it
        shapely.Point(at(12.2, 12.2)),  # points lie over polygons
        shapely.Point(at(12.8, 12.8)),
        shapely.LineString([at(0, 40.5), at(79, 40.5)]),
        shapely.LineString([at(7.5, 0), at(7.5, 59)]),  # lines may cross
        shapely.Polygon([at(0, 0), at(9, 9), at(5, 5)]),
    ]
    classes = ["forest", "field", "forest", "field", "building", "forest", "field", "forest"]
    corrections = Corrections.read(drawn(tmp_path / "c.gpkg", shapes, classes), maps.LEGEND)
    assert corrections.notes == [
        f"{tmp_path / 'c.gpkg'}, layer drawn: 1 polygon without an area, left out"
    ]
    (note,) = corrections.check({"a": GRID})
    assert "2 pairs of corrections give the same pixels different classes, those drawn" in note
    assert note.endswith("drawn 1 and drawn 2, drawn 4 and drawn 5")
    monkeypatch.setattr(drawn_, "PAIRS", 1)
    assert corrections.check({"a": GRID}) == [note]
    for module in (drawn_, corrections_):
        monkeypatch.setattr(module, "MOST", 1)  # of millions, no more are sought
    (note,) = corrections.check({"a": GRID})
    assert "at least 1 pair of corrections give" in note


def test_windows_are_parts_of_the_whole(tmp_path):
    random = np.random.default_rng(0)
    points = [shapely.Point(at(*xy)) for xy in random.uniform(0, 60, (30, 2))]
    widths = np.where(random.random(30) < 0.5, 35.0, np.nan)
    path = drawn(
        tmp_path / "c.gpkg", points, random.choice(["forest", "field"], 30), width_m=widths
    )
    corrections = Corrections.read(path, maps.LEGEND)
    whole = corrections.burn(GRID)
    assert (whole > 0).sum() > 60
    for window in (Window(0, 0, 30, 40), Window(13, 7, 20, 31), Window(-5, 50, 20, 60)):
        part = window.intersect(GRID.window)
        assert (corrections.burn(GRID, part) == whole[part.within(GRID.window)]).all()


def test_another_crs_finds_the_same_pixel(tmp_path):
    import pyproj

    turn = pyproj.Transformer.from_crs(GRID.crs, "EPSG:4326", always_xy=True)
    point = shapely.Point(*turn.transform(*at(33.5, 21.5)))
    path = drawn(tmp_path / "c.gpkg", [point], ["field"], crs="EPSG:4326")
    codes = Corrections.read(path, maps.LEGEND).burn(GRID)
    assert np.argwhere(codes).tolist() == [[21, 33]]


def test_what_is_wrong_is_said_in_one_sentence_each(tmp_path):
    point = shapely.Point(at(5, 5))
    cases = {
        "not in the legend; it has 1 forest": (["hut"], {}),
        "have no class (feature 1)": ([None], {}),
        "must be metres above 0": (["forest"], {"width_m": [-2.0]}),
    }
    for said, (classes, columns) in cases.items():
        path = drawn(tmp_path / "c.gpkg", [point], classes, **columns)
        with pytest.raises(InputError, match=said.replace("(", r"\(").replace(")", r"\)")) as error:
            Corrections.read(path, maps.LEGEND)
        assert len(error.value.faults) == 1
    write_layers(
        tmp_path / "n.gpkg", {"a": Table({"kind": ["forest"]}, np.array([point]), GRID.crs)}
    )
    with pytest.raises(InputError, match=r"no column `class`.*it has kind"):
        Corrections.read(tmp_path / "n.gpkg", maps.LEGEND)


def test_corrections_outside_are_told_and_all_outside_refused(tmp_path):
    far = shapely.Point(LEFT + 90_000, TOP)
    path = drawn(tmp_path / "c.gpkg", [shapely.Point(at(5, 5)), far], ["field", "field"])
    (note,) = Corrections.read(path, maps.LEGEND).check({"a": GRID}, "maps")
    assert "1 of 2 corrections lie outside the maps" in note
    assert "drawn 2" in note
    path = drawn(tmp_path / "d.gpkg", [far], ["field"])
    with pytest.raises(InputError, match=r"lies outside the maps.*CRS"):
        Corrections.read(path, maps.LEGEND).check({"a": GRID}, "maps")


def test_the_form_is_empty_styled_and_never_replaces_what_was_drawn(tmp_path):
    path = tmp_path / "corrections.gpkg"
    assert write_form(path, maps.LEGEND, GRID.crs)
    with pytest.raises(InputError, match="holds no correction yet"):
        Corrections.read(path, maps.LEGEND)
    with closing(sqlite3.connect(path)) as file:
        kinds = dict(
            file.execute("SELECT table_name, geometry_type_name FROM gpkg_geometry_columns")
        )
        styles = dict(file.execute("SELECT f_table_name, styleQML FROM layer_styles"))
        columns = [row[1] for row in file.execute("PRAGMA table_info(points)")]
    assert kinds == {"polygons": "POLYGON", "lines": "LINESTRING", "points": "POINT"}
    assert {"class", "width_m", "who", "note"} <= set(columns)
    for style in styles.values():
        assert '<Option name="building" type="QString" value="5"/>' in style
    before = path.read_bytes()
    assert not write_form(path, maps.LEGEND, GRID.crs)
    assert path.read_bytes() == before


def test_labels_give_way_to_corrections(tmp_path):
    old = drawn(tmp_path / "old.gpkg", [square(0, 0, 50)], ["forest"])
    new = drawn(tmp_path / "new.gpkg", [square(10, 10, 5)], ["building"])
    labels = Labels(path=str(old), field="class", ignore_border=1)
    with open_labels(labels, maps.LEGEND, scenes={"a": GRID}, corrections=str(new)) as source:
        codes = source.burn(GRID)
        assert str(new) in source.paths
    assert (codes[10:15, 10:15] == 5).all()
    assert (codes == 1).sum() == 50 * 50 - 25


def test_a_map_is_compared_with_corrections_alone(tmp_path):
    codes = np.full((60, 80), 1, np.uint8)
    maps.write(tmp_path / "m.tif", codes, GRID)
    path = drawn(tmp_path / "c.gpkg", [square(10, 10, 5), square(40, 40, 5)], ["building", 1])
    config = EvaluateConfig(map=str(tmp_path / "m.tif"), out="x", corrections=str(path))
    found, truth, _, _ = _open(config)
    seen, _ = truth.read(GRID.window)
    assert (seen != UNLABELLED).sum() == 50
    assert found.legend == maps.LEGEND
