"""A sample comes back in any state; it is assessed, or refused with the reason."""

import csv
import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import shapely
from affine import Affine

from geoseg.assess import AssessConfig, main
from geoseg.assessment.assess import assess
from geoseg.assessment.cautions import cautions
from geoseg.assessment.estimate import Observations, Sample, Strata
from geoseg.assessment.references import from_labels, read_references
from geoseg.assessment.sampling.population import Frame
from geoseg.assessment.sampling.sample import sample
from geoseg.assessment.sampling.sample_file import SampleFile
from geoseg.assessment.sampling.settings import Cluster, Sampling
from geoseg.assessment.write import PRODUCTS, write
from geoseg.errors import InputError
from geoseg.geo import raster
from geoseg.geo.grid import Grid
from geoseg.geo.legend import LegendSettings
from geoseg.geo.vector import Layer, write_layer
from geoseg.labels.find import open_labels
from geoseg.labels.settings import Labels
from geoseg.labels.zones import Zones
from tests.made import maps

TRUTH = maps.truth(300, 320)
SAMPLING = Sampling(size=200, minimum=40, reserve=0.1)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A map, its truth and a sample of it, which nobody has interpreted yet."""
    folder = tmp_path_factory.mktemp("assess")
    found = maps.write(folder / "map.tif", maps.mistaken(TRUTH, 0.15))
    maps.write(folder / "truth.tif", TRUTH)
    sample(Frame(found), SAMPLING, folder)
    return folder


@pytest.fixture
def path(home, tmp_path):
    """A copy of it, to be filled."""
    return shutil.copy(home / "sample.gpkg", tmp_path / "sample.gpkg")


def truths(file):
    """Id → true code."""
    codes = TRUTH[file.key.row, file.key.column]
    return dict(zip(file.key.id.tolist(), codes.tolist(), strict=True))


def assessed(path, **options):
    file = SampleFile.read(path)
    return assess(file, read_references(file), **options)


@pytest.fixture
def filled(path):
    maps.interpret(path, truths(SampleFile.read(path)))
    return path


def test_areas_are_near_the_truth_and_add_up_to_the_whole(filled):
    made = assessed(filled)
    areas = [c.area for c in made.classes]
    assert sum(a.value for a in areas) == pytest.approx(made.sample.about["hectares"])
    for c, area in zip(made.classes, areas, strict=True):
        true = (c.code == TRUTH).sum() * 0.01
        assert abs(area.value - true) < 3 * area.se + 0.01 * true
    building = made.classes[2]
    assert building.mapped > building.area.high  # counting its pixels is far off
    assert made.counts.sum() == made.done


def test_areas_of_a_small_map_are_shown_with_more_decimals(filled):
    made = assessed(filled)
    area = made.classes[0].area.value
    assert f" {area:.1f} " in str(made.summary())
    about = made.sample.about | {"hectares": 1.7}  # of 0.4 ± 0.0 ha nobody learns a thing
    small = replace(made, sample=replace(made.sample, about=about))
    assert f" {area:.3f} " in str(small.summary())


def test_labels_everywhere_can_be_the_reference(home, path):
    file = SampleFile.read(path)
    labels = open_labels(
        Labels(path=str(home / "truth.tif")), file.legend, scenes={"map": file.grid}
    )
    labels.say_if_among([str(home / "truth.tif")])
    references = from_labels(file, labels, {"path": "truth.tif"})
    expected = [truths(file)[k] for k in file.key.id.tolist()]
    assert (np.array(file.legend.codes)[references.index] == expected).all()
    made = assess(file, references, labels=labels)
    assert any("truth.tif is the map itself" in note for note in made.notes)
    for c in made.classes:
        assert c.labels == pytest.approx((c.code == TRUTH).sum() * 0.01, rel=2e-3)


def test_half_of_the_points_are_a_sample_all_the_same(path):
    file = SampleFile.read(path)
    known = truths(file)
    maps.interpret(path, {k: v for k, v in known.items() if k <= 120})
    made = assessed(path)
    assert made.done == 120
    assert any("still open" in note for note in made.notes)
    assert not any("are empty" in note for note in made.notes)


def test_points_that_were_skipped_are_told_of(path):
    file = SampleFile.read(path)
    known = truths(file)
    maps.interpret(path, {k: v for k, v in known.items() if k % 10})
    assert any(
        "points before the last interpreted one are empty" in n for n in assessed(path).notes
    )


def test_rows_in_another_order_with_other_columns_and_class_names(filled, tmp_path):
    """As an export to another format brings them back."""
    file = SampleFile.read(filled)
    known, names = truths(file), {1: "Forest", 2: " field", 5: "building"}
    order = np.random.default_rng(0).permutation(file.key.id)
    columns, rows = file.key.column[order - 1] + 0.5, file.key.row[order - 1] + 0.5
    other = tmp_path / "back.geojson.gpkg"
    table = {
        "plot": [f"p{k}" for k in order],
        "id": order.astype(float),
        "reference": [names[known[k]] for k in order.tolist()],
        "photo": ["x"] * len(order),
    }
    places = shapely.points(*(file.grid.transform @ (columns, rows)))
    write_layer(other, table, layer="export", geometries=places, crs=file.grid.crs)
    plain = assessed(filled)
    again = assess(file, read_references(file, str(other)))
    assert again.overall == plain.overall
    assert not again.references.warnings
    text = "id;note;reference\n" + "\n".join(f"{k};;{known[k]}" for k in order.tolist())
    (tmp_path / "back.csv").write_text(text)
    assert assess(file, read_references(file, str(tmp_path / "back.csv"))).overall == plain.overall


def test_points_of_somebodys_own_choice_are_left_out(filled, tmp_path):
    file = SampleFile.read(filled)
    lines = [f"{k},{v}" for k, v in truths(file).items()]
    (tmp_path / "more.csv").write_text("id,reference\n" + "\n".join([*lines, "9999,1", ",2"]))
    references = read_references(file, str(tmp_path / "more.csv"))
    assert references.done.sum() == len(lines)
    assert "2 points that the sample did not draw (id 9999)" in references.warnings[0]


def test_points_that_were_moved_are_told_of(filled, tmp_path):
    file = SampleFile.read(filled)
    (features,) = Layer(str(filled), name="points", columns=("id", "reference")).scan()
    places = features.geometries.copy()
    places[6] = shapely.points(shapely.get_x(places[6]) + 30, shapely.get_y(places[6]))
    write_layer(
        tmp_path / "moved.gpkg", dict(features.columns), layer="points",
        geometries=places, crs=file.grid.crs,
    )  # fmt: skip
    references = read_references(file, str(tmp_path / "moved.gpkg"))
    assert "1 point (id 7) moved out of the pixel" in references.warnings[0]
    write_layer(
        tmp_path / "multi.gpkg", dict(features.columns), layer="points",
        geometries=shapely.multipoints(places[:, None]), crs=file.grid.crs,
    )  # fmt: skip
    assert read_references(file, str(tmp_path / "multi.gpkg")).warnings == [
        references.warnings[0].replace("moved.gpkg", "multi.gpkg")
    ]


def test_points_may_come_back_and_maps_may_lie_in_another_crs(home, filled, tmp_path):
    import geopandas

    file, plain = SampleFile.read(filled), assessed(filled)
    points = geopandas.read_file(filled, layer="points").to_crs("EPSG:4326")
    points.to_file(tmp_path / "degrees.gpkg", layer="points")
    references = read_references(file, str(tmp_path / "degrees.gpkg"))
    assert not references.warnings
    assert assess(file, references).overall == plain.overall
    # A map in degrees of pixels a quarter as wide: the nearest one is the pixel that was drawn.
    west, south, east, north = file.grid.bounds_in("EPSG:4326")
    rows, columns = 4 * file.grid.height, 4 * file.grid.width
    step = Affine((east - west) / columns, 0, west, 0, (south - north) / rows, north)
    fine = Grid("EPSG:4326", step, rows, columns)
    with raster.Raster(str(home / "map.tif"), grid=fine, resampling="nearest", nodata=0) as map_:
        codes = map_.codes(fine.window)
    made = assessed(filled, other=maps.write(tmp_path / "degrees.tif", codes, fine))
    assert made.overall.value == pytest.approx(plain.overall.value, abs=0.02)


def test_tables_that_are_no_csv_in_utf_8(filled, tmp_path):
    file = SampleFile.read(filled)
    (tmp_path / "back.csv").write_text("id,reference,note\n1,1,Bäume\n", encoding="cp1252")
    with pytest.raises(InputError, match='save it anew, in spreadsheets as "CSV UTF-8"'):
        read_references(file, str(tmp_path / "back.csv"))
    with pytest.raises(InputError, match="a spreadsheet; save it as CSV in UTF-8"):
        read_references(file, str(tmp_path / "back.xlsx"))


def test_unknown_classes_are_refused_all_at_once(path):
    maps.interpret(path, dict.fromkeys(range(1, 150), 1))
    maps.interpret(path, {3: 9, 5: 0})
    with pytest.raises(InputError) as error:
        assessed(path)
    assert len(error.value.faults) == 2
    assert "'9' at 1 point (id 3) is neither code nor name" in error.value.faults[0]


def test_nothing_interpreted_is_refused(path):
    with pytest.raises(InputError, match="no point is interpreted"):
        assessed(path)


def test_a_stratum_with_one_point_says_what_to_add_and_gives_no_class_away(path):
    file = SampleFile.read(path)
    buildings = file.key.id[file.key.stratum == 5]
    others = [k for k in file.key.id.tolist() if k not in buildings[1:]]
    maps.interpret(path, dict.fromkeys(others, 1))
    with pytest.raises(InputError) as error:
        assessed(path)
    (fault,) = error.value.faults
    assert f"building 1 of {len(buildings)}" in fault
    assert f"at least to point {buildings[1]}" in fault


def test_a_point_twice_in_the_file(filled, tmp_path):
    file = SampleFile.read(filled)
    (tmp_path / "twice.csv").write_text("id,reference\n4,1\n4,2\n")
    with pytest.raises(InputError, match="id 4 appears more than once"):
        read_references(file, str(tmp_path / "twice.csv"))


def test_interpreters_are_measured(filled):
    file = SampleFile.read(filled)
    known = truths(file)
    second = {k: known[k] for k in range(1, 41)} | {1: 2 if known[1] == 1 else 1}
    maps.interpret(filled, second, "reference2")
    maps.interpret(filled, dict.fromkeys(range(1, 6), 3), "sure")
    made = assessed(filled)
    assert (made.interpreters.points, made.interpreters.same) == (40, 39)
    assert made.interpreters.agreement.value == pytest.approx(0.975)
    assert len(made.interpreters.pairs) == 1
    assert any("at 5 of" in note for note in made.notes)


def test_another_map_of_the_same_ground_is_assessed_with_the_same_sample(home, filled, tmp_path):
    """The truth itself is right all over; its codes are others, its names the same."""
    legend = type(maps.LEGEND).parse(
        [
            {"code": 30, "name": "forest", "color": "#33a02c"},
            {"code": 20, "name": "field", "color": "#fdbf6f"},
            {"code": 10, "name": "building", "color": "#e31a1c"},
        ],
        "other",
    )
    codes = np.select([TRUTH == 1, TRUTH == 2], [30, 20], 10).astype(np.uint8)
    other = maps.write(tmp_path / "other.tif", codes, legend=legend)
    made = assessed(filled, other=other)
    assert made.overall.value == 1
    assert made.overall.low < 1
    for c in made.classes:
        assert c.mapped == pytest.approx((c.code == TRUTH).sum() * 0.01, rel=2e-3)
        # Of a map that is right everywhere the area is what it says.
        assert c.with_map.value == pytest.approx(c.mapped)
        assert c.area.margin > 0


def test_a_map_of_another_program_is_assessed_with_its_legend(home, filled, tmp_path):
    with raster.create(tmp_path / "bare.tif", maps.place(300, 320), dtype="uint8") as writer:
        writer.write(TRUTH * 10, maps.place(300, 320).window)
    entries = [{"code": 10 * c.code, "name": c.name, "color": c.color} for c in maps.LEGEND.classes]
    (tmp_path / "legend.yaml").write_text(json.dumps({"classes": entries}), encoding="utf-8")
    legend = LegendSettings(str(tmp_path / "legend.yaml"))
    config = AssessConfig(str(filled), str(tmp_path / "out"), map=str(tmp_path / "bare.tif"))
    with pytest.raises(InputError, match=r"geoseg\.assess\) legend\.path="):
        main(config)
    main(replace(config, legend=legend))
    found = json.loads((tmp_path / "out" / "accuracy.json").read_text(encoding="utf-8"))
    assert found["overall_accuracy"]["value"] == 1
    with pytest.raises(InputError, match="legend: is that of map="):
        replace(config, map=None, legend=legend)


def test_a_map_of_another_place_or_other_classes_is_refused(filled, tmp_path):
    grid = maps.place(50, 50)
    far = type(grid)(grid.crs, grid.transform @ grid.transform.translation(900, 0), 50, 50)
    other = maps.write(tmp_path / "far.tif", maps.truth(50, 50), far)
    with pytest.raises(InputError, match="has no class at any"):
        assessed(filled, other=other)
    legend = type(maps.LEGEND).parse([{"code": 1, "name": "sea", "color": "#0000ff"}], "sea")
    sea = maps.write(tmp_path / "sea.tif", np.ones((300, 320), np.uint8), legend=legend)
    with pytest.raises(InputError, match=r"does not know \(sea\)"):
        assessed(filled, other=sea)


def test_a_map_of_half_the_ground_is_told_of_and_its_own_codes_are_checked(filled, tmp_path):
    codes = TRUTH.copy()
    codes[:, :160] = 0
    made = assessed(filled, other=maps.write(tmp_path / "half.tif", codes))
    assert made.overall.value == 1
    assert made.undecided.value == pytest.approx(0.5, abs=0.12)
    assert any("has nothing at" in note for note in made.notes)
    codes[:, 160:] = 77
    with pytest.raises(InputError, match="holds code 77, which its legend"):
        assessed(filled, other=maps.write(tmp_path / "strange.tif", codes))


@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_tables_come_back_with_blanks_notes_of_several_lines_and_any_separator(
    filled, tmp_path, mark
):
    file = SampleFile.read(filled)
    rows = [f'{i}{mark} "a{mark}b\nc" {mark}{c}' for i, c in truths(file).items()]
    path = tmp_path / "back.csv"
    path.write_text(
        "\n".join([f"id{mark} note{mark} reference", *rows]).replace(' "', '"'), "utf-8"
    )
    found = read_references(file, str(path))
    assert found.done.all()
    path.write_text(f"id{mark}note{mark}reference\n1{mark}a{mark}b{mark}2\n", "utf-8")
    with pytest.raises(InputError, match="row 2 does not have 3 columns"):
        read_references(file, str(path))


def zones_of(path, grid):
    x0, y0, x1, y1 = grid.bounds
    middle = (x0 + x1) / 2
    shapes = np.array([shapely.box(x0, y0, middle, y1), shapely.box(middle, y0, x1, y1)])
    write_layer(path, {"name": ["west", "east"]}, layer="z", geometries=shapes, crs=grid.crs)
    return Zones.open(f"{path}:name", grid, key="by", apart=True)


def test_zones_add_up_to_the_whole(filled, tmp_path):
    file = SampleFile.read(filled)
    made = assessed(filled, zones=zones_of(tmp_path / "zones.gpkg", file.grid))
    assert [zone.name for zone in made.zones] == ["west", "east"]
    assert sum(z.hectares for z in made.zones) == pytest.approx(file.about["hectares"], rel=1e-9)
    for zone in made.zones:
        assert sum(c.area.value for c in zone.classes) == pytest.approx(zone.hectares)
    part = TRUTH[:, :160]
    west = made.zones[0]
    assert west.classes[0].mapped == pytest.approx((part == 1).sum() * 0.01, rel=0.2)
    for c, code in zip(west.classes, (1, 2, 5), strict=True):
        assert abs(c.area.value - (part == code).sum() * 0.01) < 4 * c.area.se
    # Points of the map's own classes are single strata: their accuracy is a plain share.
    key, truth = file.key, TRUTH[file.key.row, file.key.column]
    seen = (key.column < 160) & (key.code == 2)
    entry = next(z for z in made.to_dict()["zones"] if z["name"] == "west")["classes"][1]
    assert entry["users_accuracy"]["value"] == pytest.approx((truth[seen] == 2).mean())
    assert entry["users_accuracy"]["low"] < entry["users_accuracy"]["value"]
    for found in ("producers_accuracy", "f1"):
        assert 0 < entry[found]["low"] < entry[found]["value"] < entry[found]["high"] <= 1


def test_one_zone_of_all_has_the_figures_of_all_and_one_elsewhere_is_named(filled, tmp_path):
    file = SampleFile.read(filled)
    x0, y0, x1, y1 = file.grid.bounds
    shapes = np.array([shapely.box(x0, y0, x1, y1), shapely.box(x1 + 50, y0, x1 + 90, y1)])
    names = {"name": ["all", "far"]}
    write_layer(tmp_path / "z.gpkg", names, layer="z", geometries=shapes, crs=file.grid.crs)
    made = assessed(filled, zones=Zones.open(f"{tmp_path / 'z.gpkg'}:name", file.grid, key="by"))
    (zone,) = made.zones
    assert any("nothing of what was sampled lies in 1 zone (far)" in note for note in made.notes)
    assert "by zone\n" in str(made.summary())
    assert zone.overall == made.overall
    for own, c in zip(zone.classes, made.classes, strict=True):
        assert (own.users, own.producers, own.f1) == (c.users, c.producers, c.f1)
        assert own.area.se == pytest.approx(c.area.se)


def test_a_map_that_changed_since_is_not_measured(tmp_path):
    found = maps.write(tmp_path / "map.tif", maps.mistaken(TRUTH, 0.15))
    sample(Frame(found), SAMPLING, tmp_path / "out")
    path = tmp_path / "out" / "sample.gpkg"
    maps.interpret(path, truths(SampleFile.read(path)))
    zones = zones_of(tmp_path / "zones.gpkg", found.grid)
    maps.write(tmp_path / "map.tif", maps.mistaken(TRUTH, 0.5))
    with pytest.raises(InputError, match="another map than when"):
        assessed(path, zones=zones)


def test_no_decision_has_no_class(tmp_path):
    codes = TRUTH.copy()
    codes[:100] = 255
    found = maps.write(tmp_path / "map.tif", codes)
    sample(Frame(found), Sampling(size=150, minimum=30), tmp_path / "out")
    path = tmp_path / "out" / "sample.gpkg"
    maps.interpret(path, truths(SampleFile.read(path)))
    made = assessed(path)
    assert made.overall.value == 1  # what it decides is right
    assert made.undecided.value == pytest.approx(1 / 3, abs=1e-3)
    assert 0.5 < made.classes[0].producers.value < 0.8
    assert made.counts[-1].sum() > 0


def test_blocks_are_what_varies(tmp_path):
    found = maps.write(tmp_path / "map.tif", maps.mistaken(TRUTH, 0.15))
    settings = Sampling(size=240, minimum=40, design="cluster")
    sample(Frame(found), settings, tmp_path / "out", cluster=Cluster(240, 8))
    path = tmp_path / "out" / "sample.gpkg"
    maps.interpret(path, truths(SampleFile.read(path)))
    made = assessed(path)
    assert made.overall.value == pytest.approx(0.9, abs=0.06)
    assert made.effective > 0
    for c in made.classes:
        assert abs(c.area.value - (c.code == TRUTH).sum() * 0.01) < 4 * c.area.se
    assert any("between blocks" in note for note in made.notes)


def test_a_systematic_sample(tmp_path):
    found = maps.write(tmp_path / "map.tif", maps.mistaken(TRUTH, 0.15))
    sample(Frame(found), Sampling(size=240, minimum=60, design="systematic"), tmp_path / "out")
    path = tmp_path / "out" / "sample.gpkg"
    maps.interpret(path, truths(SampleFile.read(path)))
    made = assessed(path)
    for c in made.classes:
        assert abs(c.area.value - (c.code == TRUTH).sum() * 0.01) < 4 * c.area.se


def test_strata_by_area_only_let_the_map_help(tmp_path):
    found = maps.write(tmp_path / "map.tif", maps.mistaken(TRUTH, 0.05))
    sample(Frame(found), Sampling(size=300, strata="none"), tmp_path / "out")
    path = tmp_path / "out" / "sample.gpkg"
    maps.interpret(path, truths(SampleFile.read(path)))
    for c in assessed(path).classes:
        assert c.with_map.se < 0.7 * c.area.se
        assert abs(c.with_map.value - (c.code == TRUTH).sum() * 0.01) < 4 * c.with_map.se


def test_omissions_that_were_hardly_seen_are_a_caution(filled):
    """Buildings are 4 % of the ground; few of them lie where the map says forest or field."""
    made = assessed(filled)
    assert any(text.startswith("building: seen fewer than 5 times in") for text in made.cautions)


def test_a_caution_of_many_hectares_keeps_its_commas():
    parts = [SimpleNamespace(name=f"class {n}", code=n, units=1000) for n in (1, 2, 3)]
    about = {"design": "random", "hectares": 1e6}
    file = SimpleNamespace(parts=parts, about=about, legend=maps.LEGEND)
    strata, seen = [0] * 40 + [1] * 40 + [2] * 40, [0] * 80 + [2] * 40
    made = Sample(Strata(np.full(3, 1000)), Observations.of_pixels(strata, strata, seen))
    said = next(text for text in cautions(made, file, level=0.95) if text.count("never)") > 1)
    assert "class 1 (33 % of the area: never), class 3 (33 % of the area: never)" in said
    assert "there may still be up to 24 052.5 ha of it" in said


def test_the_folder_holds_what_it_promises(filled, tmp_path):
    out = tmp_path / "report"
    made = assessed(filled)
    text = str(write(made, out, {"sample": str(filled)}))
    assert "overall accuracy" in text
    assert {p.name for p in out.iterdir() if not p.name.startswith(".")} == set(PRODUCTS)
    values = json.loads((out / "accuracy.json").read_text())
    assert values["overall_accuracy"]["value"] == made.overall.value
    page = (out / "report.html").read_text()
    for c in made.classes:
        assert c.name in page
    with (out / "areas.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["area_ha"]) for row in rows] == [c.area.value for c in made.classes]
    (features,) = Layer(str(out / "disagreements.gpkg"), columns=("map_code", "reference")).scan()
    wrong = made.counts.sum() - np.trace(made.counts)
    assert len(features.geometries) == wrong
    assert (features.columns["map_code"] != features.columns["reference"]).all()
    with pytest.raises(InputError, match="other settings"):
        write(made, out, {"sample": "another"})


@pytest.mark.parametrize("name", ["points.gpkg", "nothing.gpkg"])
def test_a_file_that_is_no_sample(tmp_path, name):
    place = np.array([shapely.points(500_000, 5_000_000)])
    write_layer(
        tmp_path / "points.gpkg", {"id": [1]}, layer="points", geometries=place, crs="EPSG:32632"
    )
    with pytest.raises(InputError, match=r"no such file|no table about, design, key"):
        SampleFile.read(tmp_path / name)
