"""Parcels get a class, a style and a map; what is not known is said; nothing is half-written."""

import json
import shutil
import sqlite3
import xml.etree.ElementTree as ElementTree
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from geoseg import evaluate
from geoseg.errors import InputError
from geoseg.geo import raster
from geoseg.geo.layer_styles import qml
from geoseg.labels.settings import Labels
from geoseg.maps import landcover
from geoseg.maps.mosaic import mosaic
from geoseg.outputs.files import read_json
from geoseg.parcels import burn
from geoseg.parcels.classify import Decisions
from geoseg.scenes.bands import Bands
from tests.made import started
from tests.made.scenes import LEGEND
from tests.made.series import (
    CARD,
    CELL,
    GRIDS,
    ByRed,
    classes,
    files_of,
    layer,
    network,
    predict,
    read,
    squares,
    write_images,
    write_parcels,
)

CODES = np.array(LEGEND.codes)
WEST, EAST = (CODES[classes(tile)].ravel() for tile in ("west", "east"))


@pytest.fixture(scope="module")
def untouched(tmp_path_factory):
    """Images and parcels, of which each test gets a copy."""
    folder = write_images(tmp_path_factory.mktemp("untouched"))
    write_parcels(folder / "parcels.gpkg")
    return folder


@pytest.fixture
def place(untouched, tmp_path):
    return shutil.copytree(untouched, tmp_path, dirs_exist_ok=True)


def pixels(path):
    with raster.Raster(path) as file:
        return file.read(file.grid.window)[0][0]


def drawn(tile, code):
    """The map that parcels of these codes give."""
    cells = code.reshape(classes(tile).shape)
    image = cells.repeat(CELL, axis=0).repeat(CELL, axis=1)
    inside = (np.indices(image.shape) % CELL % (CELL - 1) > 0).all(axis=0)
    return np.where(inside, image, 0)


def test_parcels_get_their_class_and_the_maps_show_it(place):
    said = str(predict(place))
    found = layer(place / "maps")
    assert list(found.index) == [f"p{number}" for number in range(len(WEST) + len(EAST))]
    assert (found.code == np.concatenate([WEST, EAST])).all()
    names = {c.code: c.name for c in LEGEND.classes}
    assert list(found.name) == [names[code] for code in found.code]
    assert found.confidence.between(0.9, 1).all()
    assert (found.tile == ["west"] * len(WEST) + ["east"] * len(EAST)).all()
    assert (found.clear == np.repeat([5.0, 4.0], [len(WEST), len(EAST)])).all()
    assert (found.pixels == 20).all()
    for tile, code in (("west", WEST), ("east", EAST)):
        shown = pixels(place / f"maps/landcover/{tile}.tif")
        assert (shown == drawn(tile, code)).all()
        confidence = pixels(place / f"maps/confidence/{tile}.tif")
        assert ((confidence > 0) == (shown > 0)).all()
        assert confidence[shown > 0].min() >= 90
        facts = landcover.ClassMap.read(place / f"maps/landcover/{tile}.tif")
        assert facts.legend == LEGEND
        assert facts.grid.coincides(GRIDS[tile])
        assert facts.tags[landcover.MODEL_TAG] == "0" * 16
    record = read_json(place / "maps/predict.json")
    assert record["model"] == "0" * 16
    assert record["scenes"]["east"]["status"] == "done"
    assert record["scenes"]["east"]["parcels"] == len(EAST)
    assert record["scenes"]["east"]["parcels_per_second"] > 0
    assert f"{len(found)} parcels in" in said
    assert not [path for path in (place / "maps").rglob("*") if path.suffix == ".part"]
    assert not (place / "maps/.pixels").exists()


def test_the_second_class_and_no_decision(place):
    red = 100 * (classes("east") + 1)
    red[0, 0] = 155  # nearer to the second class than to the first, but not by much
    write_images(place, {"east": red})
    predict(place, "sure")
    predict(place, "careful", threshold=0.8)
    first, second = (layer(place / name).loc[f"p{len(WEST)}"] for name in ("sure", "careful"))
    assert (first.code, first.code2) == (LEGEND.codes[1], LEGEND.codes[0])
    assert first.name2 == LEGEND.names[0]
    assert first.confidence + first.confidence2 == pytest.approx(1, abs=1e-2)
    assert 0.5 < first.confidence < 0.8
    assert np.isnan(second.code)
    assert np.isnan(second.confidence)
    assert second["name"] == "no decision"
    # The best guess stays to be seen.
    assert (second.code2, second.name2) == (first.code, LEGEND.names[1])
    assert second.confidence2 == first.confidence
    assert pixels(place / "sure/landcover/east.tif")[5, 5] == LEGEND.codes[1]
    # In maps no decision is not no image.
    assert pixels(place / "careful/landcover/east.tif")[5, 5] == 255
    assert pixels(place / "careful/landcover/east.tif")[5, 15] in LEGEND.codes
    confidence = [pixels(place / f"{name}/confidence/east.tif") for name in ("sure", "careful")]
    assert (confidence[0] == confidence[1]).all()
    assert landcover.ClassMap.read(place / "careful/landcover/east.tif").leaves_open
    assert not landcover.ClassMap.read(place / "sure/landcover/east.tif").leaves_open
    others = layer(place / "careful").drop(f"p{len(WEST)}")
    assert (others.code == np.delete(np.concatenate([WEST, EAST]), len(WEST))).all()


def test_too_few_clear_dates_and_none_at_all(place):
    red = np.stack([100 * (classes("east") + 1)] * 4)
    red[1:, 0, 0] = 0  # one clear date
    red[:, 0, 1] = 0
    write_images(place, {"east": red})
    said = str(predict(place))
    found = layer(place / "maps")
    once, never = found.loc[f"p{len(WEST)}"], found.loc[f"p{len(WEST) + 1}"]
    # The training's own limit counts, unless another is given, be it lower.
    assert once["name"] == never["name"] == "no decision"
    assert (once.clear, once.code2, once.pixels) == (1, EAST[0], 20)
    assert (never.clear, never.pixels) == (0, 0)
    assert np.isnan(never.code2)
    assert found.name2.isna().sum() == 1
    assert found.name2.isna()[never.name]
    assert "1 parcel has no clear pixel" in said
    assert "1 parcel has too few clear dates" in said
    predict(place, "once", series={"min_clear": 1})
    predict(place, "often", series={"min_clear": 5})
    assert layer(place / "once").loc[once.name].code == EAST[0]
    assert set(layer(place / "often").code.dropna().index) == {f"p{n}" for n in range(len(WEST))}


def test_parcels_outside_and_without_a_pixel_are_there_too(place):
    west = GRIDS["west"].bounds
    shapes = squares("east")
    # Far more outside than inside; one that the tile's edge cuts; one between pixels' centres.
    outside = [shapely.box(x, 0, x + 50, 50) for x in range(0, 5000, 100)]
    cut = shapely.box(west[0] - 1000, west[3] - 90, west[0] + 90, west[3] - 10)
    thin = shapely.box(west[0] + 16, west[3] - 90, west[0] + 19, west[3] - 10)
    write_parcels(place / "parcels.gpkg", [*outside, *shapes, cut, thin])
    predict(place)
    found = layer(place / "maps")
    assert len(found) == 72
    assert (found.name[:50] == "no decision").all()
    assert (found.pixels[:50] == 0).all()
    assert found.tile[:50].isna().all()
    assert (found.code[50:70] == EAST).all()
    assert (found.code[70:] == WEST[0]).all()


def test_no_parcel_on_the_tiles(place):
    write_parcels(place / "parcels.gpkg", [shapely.box(0, 0, 50, 50)] * 3)
    with pytest.raises(InputError, match="3 of 3 samples outside all tiles"):
        predict(place)
    assert not (place / "maps").exists()


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:3035"])
def test_the_crs_of_the_parcels_is_kept(place, crs):
    write_parcels(place / "parcels.gpkg", crs=crs)
    predict(place)
    found = layer(place / "maps")
    assert found.crs == crs
    assert shapely.equals_exact(
        found.geometry.values, read(place / "parcels.gpkg").geometry, 1e-9
    ).all()
    assert (found.code == np.concatenate([WEST, EAST])).all()
    shown = pixels(place / "maps/landcover/west.tif")
    assert (shown != drawn("west", WEST)).mean() < 0.02


def test_where_parcels_overlap_the_most_confident_is_on_top(place):
    red = 100 * (classes("east") + 1)
    red[0, 1] = red[0, 0] + 60  # as good as the next class, but not quite
    write_images(place, {"east": red})
    first, other = squares("east")[:2]
    _, low, _, high = first.bounds
    sure = shapely.box(first.bounds[0], low, other.bounds[0] + 20, high)
    for number, shapes in enumerate(([sure, other], [other, sure])):
        write_parcels(place / "parcels.gpkg", shapes)
        predict(place, f"maps{number}")
        found = layer(place / f"maps{number}")
        assert found.confidence.nunique() == found.code.nunique() == 2
        shared = pixels(place / f"maps{number}/landcover/east.tif")[5, 12]
        assert shared == found.code.iloc[found.confidence.argmax()]


def test_parcels_show_on_every_tile_that_they_touch(place):
    left, _, _, top = GRIDS["east"].bounds
    write_parcels(place / "parcels.gpkg", [shapely.box(left - 20, top - 90, left + 90, top - 10)])
    predict(place)
    found = layer(place / "maps").iloc[0]
    assert found.tile == "east"
    assert (pixels(place / "maps/landcover/west.tif")[1:9, -2:] == found.code).all()
    assert (pixels(place / "maps/landcover/east.tif")[1:9, :9] == found.code).all()


def test_points_and_networks_for_pixels(place):
    shapes = [shape.centroid for shape in squares("west") + squares("east")]
    write_parcels(place / "parcels.gpkg", shapes)
    card = replace(CARD, series=replace(CARD.series, unit="pixel"))
    predict(place, by=network(card))
    found = layer(place / "maps")
    assert (found.code == np.concatenate([WEST, EAST])).all()
    assert (found.pixels == 1).all()
    for tile, code in (("west", WEST), ("east", EAST)):
        shown = pixels(place / f"maps/landcover/{tile}.tif")
        assert (shown[CELL // 2 :: CELL, CELL // 2 :: CELL].ravel() == code).all()
        assert (shown > 0).sum() == len(code)
    assert "SimpleMarker" in (place / "maps/parcels.qml").read_text()


def test_a_network_for_pixels_gives_a_parcel_the_mean_of_its_pixels(place):
    card = replace(CARD, series=replace(CARD.series, unit="pixel", max_pixels=0))
    left, _, _, top = GRIDS["east"].bounds
    # Eight columns of the first class, two of the second.
    write_parcels(place / "parcels.gpkg", [shapely.box(left + 20, top - 90, left + 120, top - 10)])
    predict(place, by=network(card))
    found = layer(place / "maps").iloc[0]
    assert (found.code, found.code2) == (EAST[0], EAST[1])
    assert found.confidence == pytest.approx(0.8, abs=0.01)
    assert found.confidence2 == pytest.approx(0.2, abs=0.01)


def test_days_are_counted_as_in_the_training(place):
    class ByDay(ByRed):
        def forward(self, values, valid, days, shape):
            first = days.where(valid.any(dim=2), 1e6).min(dim=1).values
            return -(((first[:, None] - self.values) / 30) ** 2)

    # 6 January is day 100 since 28 September, and day 300 since 12 March.
    for number, reference in ((0, "09-28"), (2, "03-12")):
        first = 100 * number + 100
        trained = {"reference": reference, "first_day": first - 2, "last_day": first + 130}
        card = replace(CARD, series=replace(CARD.series, **trained))
        predict(place, reference, by=network(card, ByDay()))
        assert (layer(place / reference).code == LEGEND.codes[number]).all()


def test_mosaic_and_evaluate_take_the_maps(place, capsys):
    write_parcels(
        place / "parcels.gpkg",
        crop=[{c.code: c.name for c in LEGEND.classes}[int(c)] for c in (*WEST, *EAST)],
    )
    predict(place)
    mosaic(str(place / "maps"), place / "all.tif")
    whole = pixels(place / "all.tif")
    assert (whole[:, :60] == drawn("west", WEST)).all()
    assert (whole[:40, 60:110] == drawn("east", EAST)).all()
    labels = Labels(path=str(place / "parcels.gpkg"), field="crop")
    asked = evaluate.EvaluateConfig(
        map=str(place / "all.tif"), out=str(place / "report"), labels=labels
    )
    evaluate.main(asked)
    scores = read_json(place / "report/scores.json")
    assert scores["overall_accuracy"] == 1
    # The report shows the images, which the record of the maps leads to.
    assert "no images" not in capsys.readouterr().out


def test_the_style_lies_inside_and_beside(place):
    predict(place)
    with closing(sqlite3.connect(place / "maps/parcels.gpkg")) as database:
        rows = database.execute(
            "SELECT f_table_name, f_geometry_column, useAsDefault, styleQML FROM layer_styles"
        ).fetchall()
        columns = dict(
            database.execute("SELECT table_name, column_name FROM gpkg_geometry_columns")
        )
    assert [row[:3] for row in rows] == [("parcels", columns["parcels"], 1)]
    style = (place / "maps/parcels.qml").read_text()
    assert rows[0][3] == style
    assert styles(style) == {
        **{str(c.code): (c.name, c.color) for c in LEGEND.classes},
        "": ("no decision", "#d9d9d9"),
    }


def styles(text):
    """Value → label and colour of a style's categories."""
    root = ElementTree.fromstring(text.partition("\n")[2])
    assert root.find("renderer-v2").get("attr") == "code"
    colors = {}
    for symbol in root.iter("symbol"):
        (color,) = {o.get("value") for o in symbol.iter("Option") if o.get("name") == "color"} | {
            p.get("v") for p in symbol.iter("prop") if p.get("k") == "color"
        }
        red, green, blue, _ = map(int, color.split(","))
        colors[symbol.get("name")] = f"#{red:02x}{green:02x}{blue:02x}"
    return {
        c.get("value"): (c.get("label"), colors[c.get("symbol")]) for c in root.iter("category")
    }


def test_a_style_escapes_names():
    name = LEGEND.classes[0].name + ' <&> "quoted"'
    legend = replace(LEGEND, classes=(replace(LEGEND.classes[0], name=name), *LEGEND.classes[1:]))
    assert styles(qml(legend))[str(legend.codes[0])][0] == name


def test_the_same_bytes_again_and_nothing_is_done_twice(place):
    predict(place)
    before = files_of(place / "maps")
    times = {p: p.stat().st_mtime_ns for p in (place / "maps").rglob("*.*")}
    assert "nothing to do" in str(predict(place, by=network(source=Broken())))
    assert {p: p.stat().st_mtime_ns for p in (place / "maps").rglob("*.*")} == times
    predict(place, "again")
    assert files_of(place / "again") == before
    (place / "maps/landcover/east.tif").unlink()
    (place / "maps/parcels.gpkg").unlink()
    predict(place)
    assert files_of(place / "maps") == before
    assert (place / "maps/landcover/west.tif").stat().st_mtime_ns in times.values()


@pytest.mark.parametrize(
    "name", ["parcels.gpkg", "parcels.qml", "landcover/east.tif", "landcover/east.qml"]
)
def test_what_is_broken_is_made_again_and_only_that(place, name):
    predict(place)
    before = files_of(place / "maps")
    time = (place / "maps/landcover/west.tif").stat().st_mtime_ns
    (place / "maps" / name).write_bytes(b"")
    predict(place)
    assert files_of(place / "maps") == before
    assert (place / "maps/landcover/west.tif").stat().st_mtime_ns == time
    (place / "maps/predict.json").write_text("{")
    predict(place)
    assert files_of(place / "maps") == before
    assert "nothing to do" in str(predict(place))


class Broken(ByRed):
    def forward(self, *_):
        raise RuntimeError("boom")


def test_what_was_made_of_other_files_is_made_anew(place):
    predict(place)
    red = 100 * (2 - classes("east") + 1)
    write_images(place, {"east": red})
    predict(place)
    assert (layer(place / "maps").code[len(WEST) :] == CODES[2 - classes("east").ravel()]).all()
    parcels = read(place / "parcels.gpkg")
    predict(place, parcels=parcels.take(np.arange(7)))
    assert len(layer(place / "maps")) == 7
    assert (pixels(place / "maps/landcover/east.tif") == 0).all()


def test_an_output_of_other_settings_is_not_touched(place):
    predict(place)
    before = files_of(place / "maps")
    with pytest.raises(InputError, match=r"other settings \(threshold.*overwrite=true"):
        predict(place, threshold=0.9)
    with pytest.raises(InputError, match=r"other settings \(model"):
        predict(place, by=replace(network(), hash="1" * 16))
    assert files_of(place / "maps") == before
    predict(place, by=replace(network(), hash="1" * 16), overwrite=True)
    found = landcover.ClassMap.read(place / "maps/landcover/west.tif")
    assert found.tags[landcover.MODEL_TAG] == "1" * 16


def test_bands_are_settings_like_others(place):
    predict(place)
    with pytest.raises(InputError, match=r"other settings \(bands"):
        predict(place, bands=Bands(names=["nir", "red"]))
    with pytest.raises(InputError, match=r"other settings \(bands"):
        predict(place, bands=Bands(nodata=300))
    predict(place, bands=Bands(nodata="nan"), overwrite=True)
    assert "nothing to do" in str(predict(place, bands=Bands(nodata="nan")))


def test_images_without_masks_and_settings_of_the_training(place):
    masked = network(replace(CARD, series=replace(CARD.series, masked=True)))
    warning = "WARNING: the network was trained with masks"
    assert warning in str(predict(place, by=masked))
    assert warning not in str(predict(place, "maps2"))
    with pytest.raises(InputError, match=r"series\.step=5: the network decides on it \(10,"):
        predict(place, series={"step": 5})


def test_parcels_of_another_part_of_the_year_are_refused(place):
    late = network(replace(CARD, series=replace(CARD.series, first_day=170, last_day=300)))
    with pytest.raises(InputError, match=r"the model saw days 170 to 300 .*series\.start=2021-06"):
        predict(place, by=late)
    # With periods of their own, only these count.
    shapes = squares("west") + squares("east")
    own = network(replace(CARD, series=replace(CARD.series, first_day=80, last_day=130)))
    for end, fits in (("2021-02-20", False), ("2021-12-31", True)):
        start = "2021-02-20" if fits else "2020-12-01"
        columns = {"start": [start] * len(shapes), "end": [end] * len(shapes)}
        write_parcels(place / "parcels.gpkg", shapes, **columns)
        if fits:
            predict(place, by=own)
        else:
            with pytest.raises(InputError, match="the model saw days 80 to 130"):
                predict(place, by=own)
            assert not (place / "maps").exists()


def test_dates_that_the_training_had_not_are_said(place):
    first = network(replace(CARD, series=replace(CARD.series, last_day=40)))
    said = str(predict(place, by=first))
    assert "west: 40% of the dates (2021-04-18 to 2021-05-11) lie outside" in said
    assert "(days 0 to 40 since 01-01, here 2021-01-01 to 2021-02-10)" in said
    assert "series.start=2021-01-01 series.end=2021-02-11" in said
    assert "of the dates" not in str(predict(place, "all"))


def test_parcels_with_periods_are_counted_as_in_the_training(place):
    class ByDay(ByRed):
        def forward(self, values, valid, days, shape):
            first = days.where(valid.any(dim=2), 1e6).min(dim=1).values
            return -(((first[:, None] - self.values) / 30) ** 2)

    # The periods begin 61 days before 1 January: day 306 by the rule alone.
    shapes = squares("west") + squares("east")
    periods = {"start": ["2020-11-01"] * len(shapes), "end": ["2021-12-31"] * len(shapes)}
    write_parcels(place / "parcels.gpkg", shapes, **periods)
    said = str(predict(place, by=network(CARD, ByDay())))
    assert "start and end taken for each sample's period" in said
    assert (layer(place / "maps").code == LEGEND.codes[0]).all()  # days 5 and 8, not 371 and 374


def test_an_error_on_the_way_keeps_what_is_done(place, monkeypatch):
    with pytest.raises(RuntimeError, match="boom"):
        predict(place, by=network(source=Broken()))
    real, made = burn.write_maps, []

    def full(out, name, *given, **options):
        if made:
            raise InputError("west.tif: can't be written; is the disk full?")
        made.append(name)
        real(out, name, *given, **options)

    monkeypatch.setattr("geoseg.parcels.predict.write_maps", full)
    with pytest.raises(InputError, match="disk full"):
        predict(place)
    monkeypatch.undo()
    assert [p.name for p in (place / "maps/landcover").glob("*.tif")] == [f"{made[0]}.tif"]
    # Neither the network nor the finished map is needed again.
    predict(place, by=network(source=Broken()))
    predict(place, "undisturbed")
    assert files_of(place / "maps") == files_of(place / "undisturbed")


def test_killed_anywhere_and_started_again_it_ends_with_the_same_bytes(place):
    done = started.run("-m", "tests.jobs.kill_parcels", place, timeout=200)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["touched"] > 20
    assert result["killed"] == 12
    assert result["wrong"] == []


def test_what_does_not_suit_is_refused_at_once(place):
    card = replace(CARD, bands=("red", "swir"))
    with pytest.raises(InputError, match=r"no .*swir"):
        predict(place, by=network(card))
    coarse = replace(CARD, pixel_size_m=20.0)
    with pytest.raises(InputError, match="pixels of 10 m, the model saw 20 m") as caught:
        predict(place, by=network(coarse))
    assert len(caught.value.faults) == 2
    dark = replace(CARD, statistics=replace(CARD.statistics, high=(60_000.0,) * 2))
    dark = replace(dark, dtype="float32")
    with pytest.raises(InputError, match="other units"):
        predict(place, by=network(dark))
    with pytest.raises(InputError, match=r"threshold=60: must lie in 0\.\.1"):
        predict(place, threshold=60)
    maps = replace(CARD, series=replace(CARD.series, unit="map"))
    with pytest.raises(InputError, match="unit=map"):
        predict(place, by=network(maps))
    assert not (place / "maps").exists()


def test_duplicate_ids_are_refused(place):
    write_parcels(place / "parcels.gpkg", squares("east"), id=["a"] * 2 + ["b"] * 18)
    with pytest.raises(InputError, match=r"ids stand more than once.*samples\.id="):
        predict(place)


def test_a_damaged_image_is_named(place):
    path = next((place / "images").glob("S2_west_*.tif"))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match=path.name):
        predict(place)
    assert not list((place / "maps").rglob("*.tif"))


@given(
    scores=st.lists(st.lists(st.floats(0.01, 1), min_size=3, max_size=3), min_size=1, max_size=9),
    clear=st.integers(0, 4),
    threshold=st.floats(0, 1),
)
def test_decisions(scores, clear, threshold):
    probabilities = np.array(scores) / np.sum(scores, axis=1, keepdims=True)
    made = Decisions.of(
        probabilities, np.full(len(scores), clear), LEGEND, threshold=threshold, min_clear=2
    )
    best = probabilities.max(axis=1)
    decided = made.code > 0
    assert not decided.any() or clear >= 2
    assert (best[decided] >= threshold - 1e-4).all()
    assert (best[~decided] < threshold + 1e-4).all() or clear < 2
    assert (made.code[decided] == CODES[probabilities.argmax(axis=1)][decided]).all()
    assert (made.code2[~decided] == CODES[probabilities.argmax(axis=1)][~decided]).all()
    assert (made.code != made.code2).all()
    assert np.isnan(made.confidence[~decided]).all()
    assert (made.percent[decided] <= 100 * made.confidence[decided] + 1e-6).all()
    assert (made.percent > 0).all()  # a guess has a confidence, too
    assert (made.map_code[decided] == made.code[decided]).all()
    assert (made.map_code[~decided] == 255).all()
    assert (made.confidence2[decided] <= made.confidence[decided]).all()


def test_a_legend_of_one_class_has_no_second():
    legend = replace(LEGEND, classes=LEGEND.classes[:1])
    made = Decisions.of(np.ones((2, 1)), np.ones(2), legend, threshold=1)
    assert made.code.tolist() == [LEGEND.codes[0]] * 2
    assert made.code2.tolist() == [0, 0]
    assert np.isnan(made.confidence2).all()
    assert made.names2(legend) == [None, None]
    assert made.map_code.tolist() == [LEGEND.codes[0]] * 2
    unseen = Decisions.of(np.full((1, 1), np.nan), np.zeros(1), legend)
    assert (unseen.map_code.tolist(), unseen.percent.tolist()) == ([0], [0])
