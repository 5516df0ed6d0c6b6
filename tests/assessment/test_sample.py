"""Samples are drawn from the strata that were asked for, and tell the interpreter nothing."""

import json
import sqlite3
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
import shapely

from geoseg.assessment.sampling.population import Frame, Where
from geoseg.assessment.sampling.sample import plan_sample, sample
from geoseg.assessment.sampling.sample_file import SampleFile
from geoseg.assessment.sampling.settings import Cluster, Sampling
from geoseg.errors import InputError
from geoseg.geo import raster
from geoseg.geo.vector import Layer, write_layer
from geoseg.maps.landcover import ClassMap
from tests.made import maps, tiles


def small(**settings):
    return Sampling(**({"size": 60, "minimum": 15} | settings))


@pytest.fixture
def truth():
    return maps.truth(300, 320)


@pytest.fixture
def found(tmp_path, truth):
    mapped = maps.mistaken(truth, 0.1)
    mapped[:30] = 0
    mapped[100:110, 100:150] = 255
    return maps.write(tmp_path / "map.tif", mapped)


def codes_of(found):
    with raster.Raster(found.path, nodata="none") as file:
        return file.read(found.grid.window)[0][0]


def drawn(tmp_path, found, sampling=None, where=Where(), **options):  # noqa: B008 it is frozen
    sample(Frame(found, where), sampling or small(), tmp_path / "out", **options)
    return SampleFile.read(tmp_path / "out" / "sample.gpkg")


def rows(path, query):
    with closing(sqlite3.connect(path)) as database:
        return database.execute(query).fetchall()


def test_points_lie_in_their_strata_and_know_their_pixel(tmp_path, found):
    made = drawn(tmp_path, found)
    codes = codes_of(found)
    key = made.key
    assert (codes[key.row, key.column] == key.code).all()
    assert (key.stratum == key.code).all()
    assert {part.name for part in made.parts} == {"forest", "field", "building", "no decision"}
    for part in made.parts:
        assert part.pixels == (codes == part.number).sum()
        assert part.hectares == pytest.approx(part.pixels * 0.01, rel=2e-3)
        assert part.n >= 15
    assert made.about["hectares"] == pytest.approx(sum(part.hectares for part in made.parts))
    none = next(part for part in made.parts if part.name == "no decision")
    assert none.code is None or none.code == 255


def test_the_interpreter_sees_no_class(tmp_path, found):
    made = drawn(tmp_path, found, small(double=0.2))
    layer = Layer(made.path, name="points", columns=("id", "x", "y", "twice", "reserve"))
    assert layer.fields == [
        *("id", "order", "x", "y", "reference", "reference2", "sure", "who", "note"),
        *("twice", "reserve"),
    ]
    (features,) = layer.scan()
    key = made.key
    columns, lines = ~found.grid.transform @ (
        shapely.get_x(features.geometries),
        shapely.get_y(features.geometries),
    )
    assert np.array_equal(np.floor(columns), key.column)
    assert np.array_equal(np.floor(lines), key.row)
    # Neither do numbers give it away: strata are mixed along the order.
    main = features.columns["reserve"] == 0
    halves = np.array_split(key.stratum[main], 2)
    assert all({1, 2, 5} <= set(half.tolist()) for half in halves)
    assert features.columns["twice"].sum() == pytest.approx(0.2 * main.sum(), abs=1)
    assert not features.columns["reserve"][: main.sum()].any()


def test_qgis_gets_a_form_with_the_classes(tmp_path, found):
    made = drawn(tmp_path, found)
    styles = dict(rows(made.path, "SELECT f_table_name, styleQML FROM layer_styles"))
    assert set(styles) == {"points", "units"}
    for name in ("forest", "field", "building"):
        assert f'name="{name}" type="QString"' in styles["points"]
    assert 'type="ValueMap"' in styles["points"]
    listed = rows(made.path, "SELECT table_name FROM gpkg_contents WHERE data_type='attributes'")
    # Else GDAL, and so QGIS, does not see it beside the other tables.
    assert {"key", "design", "about", "layer_styles"} == {name for (name,) in listed}


def test_the_same_seed_gives_the_same_bytes_and_another_other_points(tmp_path, found):
    for out, seed in (("a", 0), ("b", 0), ("c", 1)):
        sample(Frame(found), small(), tmp_path / out, seed=seed)
    a, b, c = ((tmp_path / out / "sample.gpkg").read_bytes() for out in "abc")
    assert a == b
    assert a != c


def test_probabilities_are_points_by_pixels(tmp_path, found):
    made = drawn(tmp_path, found)
    chances = dict(rows(made.path, "SELECT stratum, probability FROM key"))
    for part in made.parts:
        assert chances[part.number] == pytest.approx(part.n / part.pixels)


def test_a_sample_that_is_there_is_left_alone(tmp_path, found):
    path = tmp_path / "out" / "sample.gpkg"
    sample(Frame(found), small(), tmp_path / "out")
    before = path.read_bytes()
    assert "already drawn" in str(sample(Frame(found), small(), tmp_path / "out"))
    assert path.read_bytes() == before
    with pytest.raises(InputError, match="other settings"):
        sample(Frame(found), small(size=80), tmp_path / "out")
    sample(Frame(found), small(size=80), tmp_path / "out", overwrite=True)
    assert path.read_bytes() != before


def test_work_of_interpreters_is_never_overwritten(tmp_path, found):
    sample(Frame(found), small(), tmp_path / "out")
    path = tmp_path / "out" / "sample.gpkg"
    maps.interpret(path, {1: 1, 2: 1, 3: 5})
    before = path.read_bytes()
    with pytest.raises(InputError, match="3 of its points are interpreted"):
        sample(Frame(found), small(size=80), tmp_path / "out", overwrite=True)
    assert path.read_bytes() == before


def test_a_sample_that_is_being_written_to_is_neither_replaced_nor_called_damaged(
    tmp_path, found, monkeypatch
):
    sample(Frame(found), small(), tmp_path / "out")
    path = tmp_path / "out" / "sample.gpkg"
    before = path.read_bytes()
    connect = sqlite3.connect
    with closing(connect(path, isolation_level=None)) as database:
        database.execute("BEGIN EXCLUSIVE")
        monkeypatch.setattr(sqlite3, "connect", lambda *a, **k: connect(*a, **k, timeout=0))
        with pytest.raises(InputError, match="another program is writing to it"):
            sample(Frame(found), small(size=80), tmp_path / "out", overwrite=True)
        with pytest.raises(InputError, match="another program is writing to it"):
            SampleFile.read(path)
    assert path.read_bytes() == before


def test_a_map_that_does_not_say_what_255_means(tmp_path, found):
    said = "does not say what it means; it counts as no decision"
    assert said in str(plan_sample(Frame(found), small()))
    tags = found.tags | {"GEOSEG_UNDECIDED": "threshold"}
    assert said not in str(plan_sample(Frame(replace(found, tags=tags)), small()))


def test_strata_by_confidence(tmp_path, found):
    """Each class has a part of its least confident tenth."""
    random = np.random.default_rng(0)
    percent = random.integers(1, 101, (300, 320)).astype(np.uint8)
    with raster.create(
        tmp_path / "maps" / "confidence" / "map.tif", found.grid, dtype="uint8", nodata=0
    ) as file:
        file.write(percent, found.grid.window)
    where = Where(maps=str(tmp_path / "maps"))
    made = drawn(tmp_path, found, small(strata="class_confidence"), where=where)
    parts = {part.name: part for part in made.parts}
    for name in ("forest", "field", "building"):
        unsure = parts[f"{name}, unsure"].pixels
        assert unsure / (unsure + parts[name].pixels) == pytest.approx(0.1, abs=0.015)
    key = made.key
    unsure = np.isin(key.stratum, [p.number for p in made.parts if "unsure" in p.name])
    assert percent[key.row, key.column][unsure].max() <= 15
    assert "unsure is a confidence up to" in str(
        plan_sample(Frame(found, where), small(strata="class_confidence"))
    )


def test_strata_by_a_raster_of_another_grid(tmp_path, found):
    halves = np.full((30, 32), 7, np.uint16)
    halves[:, 16:] = 900
    grid = maps.place(30, 32)
    coarse = type(grid)(grid.crs, grid.transform @ grid.transform.scale(10), 30, 32)
    with raster.create(tmp_path / "halves.tif", coarse, dtype="uint16") as file:
        file.write(halves, coarse.window)
    made = drawn(tmp_path, found, small(strata=str(tmp_path / "halves.tif")))
    assert {part.name for part in made.parts} == {"7", "900"}
    of = {part.number: part.name for part in made.parts}
    left = np.array([of[k] == "7" for k in made.key.stratum.tolist()])
    assert np.array_equal(left, made.key.column < 160)


def boxes(path, names, shapes, crs="EPSG:32632"):
    write_layer(path, {"name": names}, layer="zones", geometries=np.array(shapes), crs=crs)
    return f"{path}:name"


def part_of(grid, top, left, bottom, right):
    x0, y0 = grid.transform @ (left, top)
    x1, y1 = grid.transform @ (right, bottom)
    return shapely.box(x0, y1, x1, y0)


def test_strata_by_zones_in_another_crs(tmp_path, found):
    import geopandas

    grid = found.grid
    shapes = [part_of(grid, 0, 0, 300, 100), part_of(grid, 0, 100, 300, 250)]
    moved = geopandas.GeoSeries(shapes, crs=grid.crs).to_crs("EPSG:4326")
    zones = boxes(tmp_path / "zones.gpkg", ["west", "middle"], list(moved), "EPSG:4326")
    made = drawn(tmp_path, found, small(strata=zones))
    assert {part.name: part.pixels for part in made.parts} == pytest.approx(
        {"west": 270 * 100, "middle": 270 * 150}, rel=0.02
    )
    assert made.key.column.max() < 251
    beyond = [*list(moved), shapely.box(9.5, 45.2, 9.6, 45.3)]
    wide = boxes(tmp_path / "wide.gpkg", ["west", "middle", "far"], beyond, "EPSG:4326")
    said = str(plan_sample(Frame(found), small(strata=wide)))
    assert "no pixel in the map, so no stratum: far" in said
    design = json.loads((tmp_path / "out" / "design.json").read_text())
    assert design["outside"] == pytest.approx(270 * 70, rel=0.02)


def test_zones_that_overlap_are_refused(tmp_path, found):
    shapes = [part_of(found.grid, 0, 0, 300, 100), part_of(found.grid, 0, 90, 300, 250)]
    zones = boxes(tmp_path / "zones.gpkg", ["west", "middle"], shapes)
    with pytest.raises(InputError, match=r"zones overlap, .* by 3,000 pixels"):
        drawn(tmp_path, found, small(strata=zones))
    assert not (tmp_path / "out").exists()


def test_zones_elsewhere_are_refused(tmp_path, found):
    shape = shapely.box(100, 100, 200, 200)
    zones = boxes(tmp_path / "zones.gpkg", ["far"], [shape])
    with pytest.raises(InputError, match="no zone lies on the map"):
        drawn(tmp_path, found, small(strata=zones))


def test_zones_without_a_name_or_an_area(tmp_path, found):
    shapes = [part_of(found.grid, 0, 0, 300, 100), part_of(found.grid, 0, 100, 300, 200)]
    zones = boxes(tmp_path / "zones.gpkg", ["west", " "], shapes)
    said = str(plan_sample(Frame(found), small(strata=zones)))
    assert "1 of 2 features have no name and count to no zone" in said
    line = shapely.LineString([(500_000, 4_999_000), (502_000, 4_999_000)])
    with pytest.raises(InputError, match="zones are polygons"):
        plan_sample(Frame(found), small(strata=boxes(tmp_path / "line.gpkg", ["a"], [line])))


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        (shapely.box(100, 100, 200, 200), r"area=.*: no polygon lies on the map: they are at"),
        (shapely.Point(500_100, 4_999_900), "which cover no pixel; give polygons$"),
        (shapely.LineString([(0, 0), (9, 9)]), "only polygons can bound an area"),
    ],
)
def test_faults_of_an_area_name_no_keys_of_labels(tmp_path, found, shape, words):
    boxes(tmp_path / "area.gpkg", ["a"], [shape])
    frame = Frame(found, Where(area=str(tmp_path / "area.gpkg")))
    with pytest.raises(InputError, match=words):
        plan_sample(frame, small())


def test_a_buffer_around_a_rare_class_is_a_stratum(tmp_path, found):
    made = drawn(tmp_path, found, small(rare="building", buffer=2))
    codes = codes_of(found)
    around = next(part for part in made.parts if part.name.startswith("within 2 px"))
    places = made.key.stratum == around.number
    assert places.any()
    near = np.zeros(codes.shape, bool)
    rows_, columns = np.nonzero(codes == 5)
    for i in range(-2, 3):
        for j in range(-2, 3):
            near[np.clip(rows_ + i, 0, 299), np.clip(columns + j, 0, 319)] = True
    expected = near & (codes != 5) & (codes > 0)
    assert around.pixels == expected.sum()
    assert expected[made.key.row[places], made.key.column[places]].all()


def test_points_are_drawn_within_the_area_only(tmp_path, found):
    area = tmp_path / "area.gpkg"
    write_layer(
        area, {"a": [1]}, layer="area", crs=found.grid.crs,
        geometries=np.array([part_of(found.grid, 50, 60, 250, 200)]),
    )  # fmt: skip
    made = drawn(tmp_path, found, where=Where(area=str(area)))
    assert made.key.row.min() >= 50
    assert made.key.row.max() < 250
    assert made.key.column.min() >= 60
    assert made.key.column.max() < 200
    assert sum(part.pixels for part in made.parts) == 200 * 140


def test_tiles_of_the_training_are_left_out(tmp_path):
    dataset = tiles.make_dataset(tmp_path / "made")
    codes = maps.truth(tiles.GRID.height, tiles.GRID.width)
    known = np.zeros(codes.shape, bool)
    for tile in dataset.tiles("train"):
        known[tile.window.within(tiles.GRID.window)] = True
    found = maps.write(tmp_path / "map.tif", codes, tiles.GRID)
    where = Where(exclude=str(dataset.folder))
    made = drawn(tmp_path, found, small(strata="none"), where)
    assert known.any()
    assert sum(part.pixels for part in made.parts) == (~known).sum()
    assert not known[made.key.row, made.key.column].any()
    assert "% of the mapped pixels are not sampled" in str(
        plan_sample(Frame(found, where), small())
    )
    with pytest.raises(InputError, match=r"no dataset\.json"):
        plan_sample(Frame(found, Where(exclude=str(tmp_path / "none"))), small())


def test_blocks(tmp_path, found):
    made = drawn(tmp_path, found, small(design="cluster"), cluster=Cluster(300, 5))
    assert made.about["block"] == [30, 30]
    key = made.key
    blocks, counts = np.unique(key.block, return_counts=True)
    assert counts.max() == 5
    # Those of a block come one after the other, so that none is left half done.
    assert (np.diff(key.block) != 0).sum() == len(blocks) - 1
    assert sum(part.units for part in made.parts) == 9 * 11


def test_the_plan_draws_nothing(tmp_path, found):
    text = str(plan_sample(Frame(found), small()))
    for word in ("[balanced]", "proportional", "equal", "neyman", "building", "standard error"):
        assert word in text
    assert list(tmp_path.iterdir()) == [tmp_path / "map.tif"]


def test_a_target_for_a_rare_class_asks_for_more_points(found):
    few = str(plan_sample(Frame(found), Sampling(target_se=0.05)))
    rare = Sampling(target_se=0.05, target_class="building", target_class_se=0.003)
    many = str(plan_sample(Frame(found), rare))

    def size(text):
        line = next(line for line in text.splitlines() if line.strip().startswith("all"))
        return int(line.split()[-1])

    assert size(many) > 2 * size(few)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"rare": "road", "buffer": 2}, "sample.rare=road"),
        ({"allocation": {"water": 50}}, "'water' is no stratum"),
        ({"expected_accuracy": {"water": 0.5}}, "'water' is no stratum"),
        ({"target_class": "water", "target_class_se": 0.01}, "sample.target_class=water"),
        ({"strata": "nothing.tif"}, "no such file"),
        ({"strata": "class_confidence"}, "no confidence beside it"),
        ({"design": "cluster"}, "cluster.side_m"),
    ],
)
def test_what_the_map_does_not_have_is_refused(tmp_path, found, settings, words):
    with pytest.raises(InputError, match=words):
        drawn(tmp_path, found, small(**settings))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"expected_accuracy": 1.2}, "must be from 0 to 1"),
        ({"allocation": "fair"}, "choose from balanced"),
        ({"allocation": {"field": 1}}, "from 2 on"),
        ({"design": "spiral"}, "choose from random"),
        ({"buffer": 3}, "needs its classes"),
        ({"target_class": "field"}, "give both"),
        ({"target_se": 0}, "must be above 0"),
        ({"size": 2}, "at least 4"),
    ],
)
def test_impossible_settings(settings, words):
    with pytest.raises(InputError, match=words):
        Sampling(**settings)


def test_codes_that_the_legend_does_not_know_are_refused(tmp_path):
    codes = maps.truth(64, 64)
    codes[3, 4] = 9
    found = maps.write(tmp_path / "map.tif", codes)
    with pytest.raises(InputError, match="holds code 9"):
        drawn(tmp_path, found)
    assert not (tmp_path / "out").exists()


def test_a_map_without_pixels_in_the_area(tmp_path):
    codes = np.zeros((64, 64), np.uint8)
    found = maps.write(tmp_path / "map.tif", codes)
    with pytest.raises(InputError, match="no pixel with a class"):
        drawn(tmp_path, found)
    assert isinstance(found, ClassMap)
