import csv
import json
import math
from dataclasses import replace

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine

from geoseg import compare as command
from geoseg.assessment.assess import assess
from geoseg.assessment.references import read_references
from geoseg.assessment.sampling.population import Frame, Population, Where
from geoseg.assessment.sampling.sample import sample as drawn
from geoseg.assessment.sampling.sample_file import SampleFile
from geoseg.assessment.sampling.settings import Sampling
from geoseg.compare import CompareConfig
from geoseg.comparison import strips
from geoseg.comparison.compare import PRODUCTS, compare
from geoseg.comparison.pair import MapPair
from geoseg.comparison.result import Asked
from geoseg.comparison.sankey import sankey
from geoseg.comparison.strips import Reader
from geoseg.comparison.width import Width
from geoseg.errors import InputError
from geoseg.geo import raster
from geoseg.geo.grid import Grid, Window
from geoseg.geo.legend import Legend
from geoseg.labels.zones import Zones
from geoseg.maps import landcover
from geoseg.maps.landcover import ClassMap
from tests.made import maps

NAMES = ("water", "forest", "field & <co>")
LEGEND = Legend.parse(
    [
        {"code": code, "name": name, "color": color}
        for code, name, color in zip(
            (1, 4, 9), NAMES, ("#1f78b4", "#1b7837", "#e6c84c"), strict=True
        )
    ],
    "test",
)
GRID = Grid("EPSG:32633", Affine(10, 0, 500_000, 0, -10, 5_000_000), 60, 80)


def write(path, codes, legend=LEGEND, at=GRID, **more):
    tags = landcover.tags(legend, "0123456789abcdef") | more
    at = replace(at, height=codes.shape[0], width=codes.shape[1])
    with raster.create(path, at, dtype="uint8", nodata=0, tags=tags) as writer:
        writer.write(codes.astype(np.uint8), at.window)
    return path


def made(seed, shape=(60, 80), codes=(1, 4, 9)):
    small = np.random.default_rng(seed).integers(0, len(codes), (shape[0] // 5, shape[1] // 5))
    return np.array(codes, np.uint8)[small].repeat(5, 0).repeat(5, 1)


@pytest.fixture
def before():
    return made(0)


@pytest.fixture
def after():
    return made(1)


def pair_of(folder, before, after, **options):
    one, two = write(folder / "before.tif", before), write(folder / "after.tif", after)
    return MapPair.open(one, two, **options)


def naive(before, after, codes=(1, 4, 9)):
    found = np.zeros((len(codes), len(codes)), int)
    for i, a in enumerate(codes):
        for j, b in enumerate(codes):
            found[i, j] = ((before == a) & (after == b)).sum()
    return found


def pixels(path):
    with rasterio.open(path) as dataset:
        return dataset.read(1)


def test_transitions_are_counted_whatever_the_strips(before, after, tmp_path, monkeypatch):
    after[:3] = 0
    before[10:12, 5:9] = 255
    after[11:14, 5:9] = 255
    before[-1, -1] = 0
    pair = pair_of(tmp_path, before, after)
    for height in (512, 512 // 4):
        monkeypatch.setattr(strips, "HEIGHT", height)
        counts = compare(pair, tmp_path / f"out{height}").counts
        assert np.array_equal(counts.pixels, naive(before, after))
        assert counts.hectares.sum() == pytest.approx(counts.pixels.sum() * 0.01, rel=2e-3)
        left = {why: found[0] for why, found in counts.left_out.items()}
        assert left == {
            "no class in the map before": 1,
            "no class in the map after": 3 * 80,
            "no decision in one of the maps": 4 * 4,
        }
        assert counts.pixels.sum() + sum(left.values()) == before.size


def test_reader_gives_the_same_for_any_height(before, after, tmp_path):
    pair = pair_of(tmp_path, before, after)
    whole = np.concatenate([n for _, n in Reader(pair, confidence=None).read()])
    parts = np.concatenate([n for _, n in Reader(pair, confidence=None, height=7).read()])
    assert np.array_equal(whole, parts)


@pytest.mark.parametrize("codes", [(1, 2, 3), (7, 8, 9), (1, 4, 9)])
def test_codes_that_follow_each_other_give_the_numbers_of_any(codes, tmp_path, monkeypatch):
    legend = Legend.parse(
        [{"code": c, "name": f"class {c}", "color": f"#{c:02x}8000"} for c in codes], "test"
    )
    first, second = (made(seed, codes=(*codes, 0, 255)) for seed in (1, 2))
    # Code 255 is none of either map: it says nothing but that there was no decision.
    tags = {landcover.UNDECIDED_TAG: "a threshold"}
    paths = [
        write(tmp_path / f"{name}.tif", codes_, legend, **tags)
        for name, codes_ in (("before", first), ("after", second))
    ]
    pair = MapPair.open(*paths)
    monkeypatch.setattr(strips, "CHUNK", 200)  # a few rows at once

    def numbers() -> np.ndarray:
        return np.concatenate([n for _, n in Reader(pair, confidence=None).read()])

    quick = numbers()
    monkeypatch.setattr(strips._Run, "of", lambda places: None)
    assert np.array_equal(quick, numbers())
    places = {code: number for number, code in enumerate(codes)}
    of_both = np.isin(first, codes) & np.isin(second, codes)
    pairs = [
        1 + 3 * places[a] + places[b] for a, b in zip(first[of_both], second[of_both], strict=True)
    ]
    assert quick[of_both].tolist() == pairs


def test_map_of_changes_is_a_map_with_names_and_colours(before, after, tmp_path):
    before[0, :5], after[1, :5], after[2, 0] = 255, 0, 255
    compare(pair_of(tmp_path, before, after), tmp_path / "out")
    path = tmp_path / "out" / "change.tif"
    found = ClassMap.read(path)
    names = {c.code: c.name for c in found.legend.classes}
    codes = pixels(path)
    places = {1: 0, 4: 1, 9: 2}
    assert codes[0, 0] == codes[2, 0] == 255
    assert codes[1, 0] == 0
    for row, column in ((10, 10), (33, 71), (59, 0), (5, 40), (20, 20)):
        a, b = before[row, column], after[row, column]
        assert codes[row, column] == 1 + 3 * places[a] + places[b]
        one, two = NAMES[places[a]], NAMES[places[b]]
        said = f"{one} unchanged" if a == b else f"{one} to {two}"
        assert names[codes[row, column]] == said
    assert set(names) == set(np.unique(codes).tolist()) - {0, 255}, "only those that occur"
    with rasterio.open(path) as dataset:
        assert dataset.nodata == 0
        assert dataset.overviews(1) == []
    assert "water to forest" in path.with_suffix(".qml").read_text("utf-8")
    assert 'value="255"' in path.with_suffix(".qml").read_text("utf-8"), "no decision has a style"
    assert (
        "<Category>water unchanged</Category>" in (path.parent / "change.tif.aux.xml").read_text()
    )


def test_areas_of_change_come_from_a_sample_of_the_map_of_changes(before, after, tmp_path):
    counts = compare(pair_of(tmp_path, before, after), tmp_path / "out").counts
    change = ClassMap.read(tmp_path / "out" / "change.tif")
    wanted = f"{NAMES[1]} to {NAMES[0]}"
    settings = Sampling(rare=[wanted], buffer=1, size=300, minimum=20)
    drawn(Frame(change), settings, tmp_path / "sample")
    path = tmp_path / "sample" / "sample.gpkg"
    key = SampleFile.read(path).key
    true = pixels(tmp_path / "out" / "change.tif")[key.row, key.column]
    maps.interpret(path, dict(zip(key.id.tolist(), true.tolist(), strict=True)))
    file = SampleFile.read(path)
    made = assess(file, read_references(file))
    assert any(part.name == f"within 1 px of {wanted}" for part in file.parts)
    found = next(c for c in made.classes if c.name == wanted)
    assert found.area.value == pytest.approx(counts.hectares[1, 0])
    assert made.overall.value == 1


def test_the_same_map_twice(before, tmp_path):
    path = write(tmp_path / "map.tif", before)
    made = compare(MapPair.open(path, path), tmp_path / "out")
    difference = made.difference
    parts = (difference.disagreement, difference.quantity, difference.exchange, difference.shift)
    assert parts == (0, 0, 0, 0)
    assert made.counts.changed == (0, 0.0)
    assert math.isnan(made.counts.thin_share)
    assert made.places == []
    assert "Nothing changed" in (tmp_path / "out" / "change.html").read_text("utf-8")


def test_nothing_changed_is_zero_whatever_areas_add_up_to(tmp_path):
    """Sums of the same areas in another order differ by a hair, which came out as -0.00 ha."""
    names = [{"code": code, "name": str(code), "color": "#000000"} for code in (1, 2, 3, 4)]
    four = Legend.parse(names, "test")
    codes = np.random.default_rng(0).integers(1, 5, (59, 73)).astype(np.uint8)
    path = write(tmp_path / "map.tif", codes, legend=four)
    assert compare(MapPair.open(path, path), tmp_path / "out").counts.changed == (0, 0.0)


def test_classes_renamed_in_a_ring_of_three_are_all_shift(before, tmp_path):
    ring = np.zeros(256, np.uint8)
    ring[[1, 4, 9]] = 4, 9, 1
    # As often each: then no class gains.
    before = np.resize(np.array([1, 4, 9], np.uint8), (60, 80))
    difference = compare(pair_of(tmp_path, before, ring[before]), tmp_path / "out").difference
    assert difference.disagreement == pytest.approx(1)
    assert difference.exchange == 0
    assert difference.quantity == pytest.approx(0, abs=1e-9)
    assert difference.shift == pytest.approx(1)


def test_classes_are_matched_by_name(before, after, tmp_path):
    other = Legend.parse(
        [
            {"code": 2, "name": "field & <co>", "color": "#000000"},
            {"code": 1, "name": "forest", "color": "#000000"},
            {"code": 9, "name": "ice", "color": "#eeeeff"},
        ],
        "other",
    )
    table = np.zeros(256, np.uint8)
    table[[1, 4, 9]] = 9, 1, 2
    one = write(tmp_path / "before.tif", before)
    two = write(tmp_path / "after.tif", table[after], other)
    made = compare(MapPair.open(one, two), tmp_path / "out")
    assert made.pair.names == [*NAMES, "ice"]
    expected = np.zeros((4, 4), int)
    expected[:3, [3, 1, 2]] = naive(before, after)
    assert np.array_equal(made.counts.pixels, expected)
    assert "only the map before has water" in made.notes[0]
    assert "only the map after has ice" in made.notes[1]
    strange = Legend.parse([{"code": 1, "name": "sand", "color": "#000000"}], "s")
    with pytest.raises(InputError, match=r"legends differ: .* no class has the same name in both"):
        MapPair.open(one, write(tmp_path / "s.tif", np.ones((60, 80)), strange))


def test_maps_on_other_pixels_and_in_another_crs(before, tmp_path):
    one = write(tmp_path / "before.tif", before)
    # Twice as fine, on the same ground: the nearest pixel is one of the four.
    fine = replace(GRID, transform=GRID.transform @ Affine.scale(0.5))
    two = write(tmp_path / "fine.tif", before.repeat(2, 0).repeat(2, 1), at=fine)
    made = compare(MapPair.open(one, two), tmp_path / "out")
    assert made.difference.disagreement == 0
    assert any("do not share pixels" in note for note in made.notes)
    assert any("5 m wide, those of the map before 10 m" in note for note in made.notes)
    # Cut out, on the same pixels: nothing is moved, and nothing said.
    part = Window(10, 20, 30, 40)
    three = write(tmp_path / "part.tif", before[part.within(GRID.window)], at=GRID.crop(part))
    made = compare(MapPair.open(one, three), tmp_path / "part")
    assert made.counts.pixels.sum() == part.area
    assert made.difference.disagreement == 0
    assert not made.notes
    with rasterio.open(one) as dataset:
        from rasterio.warp import calculate_default_transform

        transform, width, height = calculate_default_transform(
            dataset.crs, "EPSG:3035", dataset.width, dataset.height, *dataset.bounds
        )
    warped = Grid("EPSG:3035", transform, height, width)
    with raster.Raster(one, grid=warped, resampling="nearest", nodata=0) as file:
        codes = file.read(warped.window)[0][0]
    four = write(tmp_path / "laea.tif", codes, at=warped)
    made = compare(MapPair.open(one, four), tmp_path / "laea")
    assert made.counts.pixels.sum() > 0.95 * before.size
    assert 0 < made.difference.disagreement < 0.2
    assert made.counts.thin_share > 0.5, "edges that moved, not change"


def test_the_floor_that_a_shift_of_a_pixel_sets(before, tmp_path):
    moved = np.roll(before, 1, axis=1)
    moved[:, 0] = before[:, 0]
    counts = compare(pair_of(tmp_path, before, moved), tmp_path / "shift").counts
    assert counts.changed[0] == (moved != before).sum() > 0
    assert counts.thin == pytest.approx(counts.changed)
    changed = before.copy()
    changed[20:30, 30:50] = np.where(before[20:30, 30:50] == 1, 4, 1)
    counts = compare(pair_of(tmp_path, before, changed), tmp_path / "block").counts
    assert counts.changed[0] == 200
    assert counts.thin[0] == 0


@pytest.mark.parametrize("height", [1, 2, 5, 40])
def test_width_does_not_depend_on_strips(height):
    changed = np.random.default_rng(0).random((40, 30)) < 0.6
    squares = np.zeros_like(changed)
    for row in range(39):
        for column in range(29):
            if changed[row : row + 2, column : column + 2].all():
                squares[row : row + 2, column : column + 2] = True
    width, found, seen = Width(30), np.zeros_like(changed), np.zeros_like(changed)
    rows = np.zeros(40, int)
    for top in range(0, 40, height):
        part = changed[top : top + height]
        for window, own, wide in width.add(Window(top, 0, len(part), 30), part):
            found[window.top : window.bottom], seen[window.top : window.bottom] = wide, own
            rows[window.top : window.bottom] += 1
    for window, own, wide in width.rest(40):
        found[window.top : window.bottom], seen[window.top : window.bottom] = wide, own
        rows[window.top : window.bottom] += 1
    assert (rows == 1).all()
    assert np.array_equal(seen, changed)
    assert np.array_equal(found, squares)


def test_changes_below_the_minimum_stay_what_they_were(before, tmp_path):
    before = np.full((60, 80), 1, np.uint8)
    after = before.copy()
    after[5:7, 5:7] = 4  # 400 m²
    after[20:30, 20:40] = 9
    after[25, 41] = 9
    made = compare(pair_of(tmp_path, before, after), tmp_path / "out", asked=Asked(minimum_m2=500))
    assert made.counts.pixels.tolist() == [[4600, 0, 200], [0, 0, 0], [0, 0, 0]]
    assert made.dropped_patches == 2
    assert made.dropped.round(3).tolist() == [[0, 0.04, 0.01], [0, 0, 0], [0, 0, 0]]
    assert np.array_equal(pixels(tmp_path / "out" / "change.tif") == 3, made_block())
    assert "count as unchanged" in (tmp_path / "out" / "change.html").read_text("utf-8")


def made_block():
    found = np.zeros((60, 80), bool)
    found[20:30, 20:40] = True
    return found


def test_more_classes_than_pairs_have_codes(tmp_path):
    legend = Legend.parse(
        [{"code": k, "name": f"class {k}", "color": "#334455"} for k in range(1, 31)], "many"
    )
    rng = np.random.default_rng(0)
    one, two = rng.integers(1, 31, (2, 60, 80))
    one[0, 0], two[0, 1] = 255, 0
    paths = [write(tmp_path / f"{n}.tif", c, legend) for n, c in (("a", one), ("b", two))]
    made = compare(MapPair.open(*paths), tmp_path / "out")
    codes = range(1, 31)
    assert np.array_equal(made.counts.pixels, naive(one, np.where(one == 255, 0, two), codes))
    assert made.codes.other == 254
    assert len(made.codes.legend) == 254
    table = np.zeros((31, 31), np.uint8)
    table[1:, 1:] = made.codes.table
    expected = table[np.where(one == 255, 0, one), two]
    expected[0, 0] = 255
    assert np.array_equal(pixels(tmp_path / "out" / "change.tif"), expected)
    with (tmp_path / "out" / "transitions.csv").open(encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == (made.counts.pixels > 0).sum()


def zones_file(path, boxes, crs=GRID.crs):
    table = geopandas.GeoDataFrame(
        {"name": [name for name, _ in boxes]},
        geometry=[shapely.box(*GRID.bounds_of(window)) for _, window in boxes],
        crs=GRID.crs,
    )
    table.to_crs(crs).to_file(path, driver="GPKG")
    return Zones.open(f"{path}:name", GRID)


@pytest.mark.parametrize("crs", ["EPSG:32633", "EPSG:4326"])
def test_zones_add_up_to_the_whole(before, after, tmp_path, crs):
    boxes = [
        ("north-west", Window(0, 0, 33, 17)),
        ("north-east", Window(0, 17, 33, 63)),
        ("south", Window(33, 0, 27, 80)),
    ]
    zones = zones_file(tmp_path / "zones.gpkg", boxes, crs)
    made = compare(pair_of(tmp_path, before, after), tmp_path / "out", zones=zones)
    counts = made.counts
    np.testing.assert_allclose(counts.zones.sum(axis=0), counts.hectares, rtol=1e-9)
    assert counts.zone_pixels[0].sum() == 0
    for number, (_, window) in enumerate(boxes, 1):
        inside = window.within(GRID.window)
        assert np.array_equal(counts.zone_pixels[number], naive(before[inside], after[inside]))
    table = geopandas.read_file(tmp_path / "out" / "zones.gpkg", layer="zones")
    assert table["zone"].tolist() == [name for name, _ in boxes]
    assert table["changed_ha"].sum() == pytest.approx(counts.changed[1], rel=1e-9)
    assert table["field_co_before_ha"].sum() == pytest.approx(counts.hectares[2].sum())
    assert table["changed_share"].between(0, 1).all()
    entries = json.loads((tmp_path / "out" / "change.json").read_text("utf-8"))["zones"]
    assert [e["name"] for e in entries] == [name for name, _ in boxes]


def test_zones_that_overlap_count_once_and_it_is_said(before, after, tmp_path):
    boxes = [("a", Window(0, 0, 40, 40)), ("b", Window(20, 20, 40, 40))]
    zones = zones_file(tmp_path / "zones.gpkg", boxes)
    made = compare(pair_of(tmp_path, before, after), tmp_path / "out", zones=zones)
    assert made.counts.zone_pixels.sum(axis=(1, 2)).tolist() == [4800 - 2800, 1600, 1200]
    assert made.counts.overlap == pytest.approx(4, rel=2e-3)
    assert any("zones overlap: " in note for note in made.notes)
    entries = json.loads((tmp_path / "out" / "change.json").read_text("utf-8"))["zones"]
    assert entries[-1]["name"] is None


def test_confidence_beside_the_maps(before, after, tmp_path):
    sure = np.full((60, 80), 90, np.uint8)
    paths = []
    for name, codes, column in (("before", before, 0), ("after", after, 10)):
        percent = sure.copy()
        percent[:, column : column + 2] = 40
        paths.append(write(tmp_path / name / "landcover" / "x.tif", codes))
        write(tmp_path / name / "confidence" / "x.tif", percent)
    pair = MapPair.open(*paths, confidence=True)
    made = compare(pair, tmp_path / "out", asked=Asked(confidence=70))
    assert made.counts.left_out["less sure than asked for"][0] == 4 * 60
    assert made.counts.pixels.sum() == 76 * 60
    assert (pixels(tmp_path / "out" / "change.tif")[:, [0, 1, 10, 11]] == 255).all()
    (tmp_path / "after" / "confidence" / "x.tif").unlink()
    with pytest.raises(InputError, match="no confidence beside it, expected"):
        MapPair.open(*paths, confidence=True)


def test_faults_come_together_and_leave_nothing(before, tmp_path):
    with pytest.raises(InputError) as caught:
        command.main(CompareConfig())
    assert len(caught.value.faults) == 3
    with pytest.raises(InputError) as caught:
        CompareConfig(minimum_m2=-1, confidence=120, pictures=-1)
    assert len(caught.value.faults) == 3
    one = write(tmp_path / "a.tif", before)
    away = replace(GRID, transform=Affine(10, 0, 700_000, 0, -10, 5_000_000))
    with pytest.raises(InputError, match=r"do not overlap: .* lies at longitude"):
        MapPair.open(one, write(tmp_path / "away.tif", before, at=away))
    with pytest.raises(InputError) as caught:
        MapPair.open(tmp_path / "none.tif", tmp_path / "nor.tif")
    assert len(caught.value.faults) == 2
    empty = write(tmp_path / "empty.tif", np.zeros((60, 80)))
    with pytest.raises(InputError, match="no pixel has a class in both maps"):
        compare(MapPair.open(one, empty), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    strange = write(tmp_path / "strange.tif", np.full((60, 80), 77))
    with pytest.raises(InputError, match=r"strange\.tif: holds code 77, which its legend"):
        compare(MapPair.open(one, strange), tmp_path / "out")


def test_a_map_without_legend_takes_the_given_one(before, tmp_path):
    one = write(tmp_path / "a.tif", before)
    bare = tmp_path / "bare.tif"
    with raster.create(bare, GRID, dtype="uint8", nodata=0) as writer:
        writer.write(before, GRID.window)
    with pytest.raises(InputError, match="no tag GEOSEG_LEGEND"):
        MapPair.open(one, bare)
    pair = MapPair.open(one, bare, legend=LEGEND)
    assert pair.names == list(NAMES)


def test_what_maps_of_other_programs_do_not_say_is_said(before, tmp_path):
    """What 255 means, which codes a legend lacks, and that maps are bytes."""
    one, after = write(tmp_path / "a.tif", before), before.copy()
    for name, code in (("open", 255), ("strange", 77)):
        after[:3] = code
        with raster.create(tmp_path / f"{name}.tif", GRID, dtype="uint8") as writer:
            writer.write(after, GRID.window)
    made = compare(MapPair.open(one, tmp_path / "open.tif", legend=LEGEND), tmp_path / "out")
    assert any("neither map says what its code 255 means" in note for note in made.notes)
    strange = MapPair.open(one, tmp_path / "strange.tif", legend=LEGEND)
    with pytest.raises(InputError, match=r"does not know; set legend\.path="):
        compare(strange, tmp_path / "none")
    with raster.create(tmp_path / "wide.tif", GRID, dtype="int16", nodata=-1) as writer:
        writer.write(before.astype(np.int16), GRID.window)
    with pytest.raises(InputError, match=r"not a map; .* gdalwarp -ot Byte -dstnodata 0"):
        MapPair.open(one, tmp_path / "wide.tif", legend=LEGEND)


@pytest.mark.parametrize("declared", [255, 15])
def test_nodata_that_another_program_declares_is_no_class(before, tmp_path, declared):
    one, after = write(tmp_path / "a.tif", before), before.copy()
    after[:3] = declared
    with raster.create(tmp_path / "b.tif", GRID, dtype="uint8", nodata=declared) as writer:
        writer.write(after, GRID.window)
    pair = MapPair.open(one, tmp_path / "b.tif", legend=LEGEND)
    left = compare(pair, tmp_path / "out").counts.left_out
    assert {why: found[0] for why, found in left.items()} == {"no class in the map after": 3 * 80}
    frame = Frame(pair.after, Where())
    assert set(np.unique(Population(frame, Sampling()).read(GRID.window)[0])) == {0, 1, 4, 9}


def test_masks_and_classes_that_are_nodata_are_refused(before, tmp_path):
    with raster.create(tmp_path / "a.tif", GRID, dtype="uint8", nodata=4) as writer:
        writer.write(before, GRID.window)
    with pytest.raises(InputError, match="declares 4 as nodata, which is the code of"):
        ClassMap.read(tmp_path / "a.tif", LEGEND)
    masked = write(tmp_path / "b.tif", before)
    with rasterio.open(masked, "r+") as dataset:
        dataset.nodata = None
        dataset.write_mask(np.where(before == 4, 0, 255).astype("uint8"))
    with pytest.raises(InputError, match=r"by an alpha band or a mask.*gdalwarp -dstnodata 0"):
        ClassMap.read(masked)


def test_the_command_from_files_to_files(before, after, tmp_path):
    pair_of(tmp_path, before, after)
    zones_file(tmp_path / "zones.gpkg", [("all", GRID.window)])
    cfg = CompareConfig(
        *(str(tmp_path / "before.tif"), str(tmp_path / "after.tif"), str(tmp_path / "out")),
        zones=f"{tmp_path}/zones.gpkg:name",
    )
    command.main(cfg)
    command.main(cfg)  # the same again is renewed
    assert {p.name for p in (tmp_path / "out").iterdir()} == {".compare.json", *PRODUCTS}
    text = (tmp_path / "out" / "change.html").read_text("utf-8")
    assert "field &amp; &lt;co&gt;" in text
    assert "field & <co>" not in text
    assert "http" not in text
    cfg.minimum_m2 = 5.0
    with pytest.raises(InputError, match=r"other settings \(minimum_m2\)"):
        command.main(cfg)


def test_sankey_draws_what_changed_only():
    areas = np.array([[5.0, 2, 0], [1, 9, 0], [0, 0, 3]])
    drawn = sankey(LEGEND.classes, areas)
    assert drawn.count("<path") == 2
    assert "water to forest: 2 ha" in drawn
    assert sankey(LEGEND.classes, np.diag([1.0, 2, 3])) == ""
