import hashlib
import shutil
from datetime import date, timedelta

import geopandas
import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st

from geoseg.dataset import arrays as pixelarrays
from geoseg.dataset.sample_split import SampleSplit
from geoseg.dataset.samples import SeriesDataset
from geoseg.dataset.settings import SampleSettings
from geoseg.dataset.tiles import check_whole
from geoseg.errors import InputError
from geoseg.geo import raster
from geoseg.geo.grid import Grid
from geoseg.geo.legend import Legend
from geoseg.geo.tiling import Tiling
from geoseg.labels.settings import Labels
from geoseg.parcels.outlines import layers, outlines, overlaps, shape_features
from geoseg.parcels.parcels import read_parcels
from geoseg.parcels.pixel_sets import PixelSets, _Draw, pixel_sets, points_together
from geoseg.parcels.prepare import FromStacks, FromTable, prepare_series
from geoseg.prepare_series import PrepareSeriesConfig, main
from geoseg.scenes.bands import Bands
from geoseg.scenes.calendar import anchor
from geoseg.scenes.stack import first_dates
from geoseg.series.settings import Series
from tests.made.started import run

LEGEND = Legend.parse(
    [
        {"code": 5, "name": "maize", "color": "#ffff00"},
        {"code": 2, "name": "wheat", "color": "#ff0000", "values": ["wheat", 11]},
    ],
    "test",
)
PATTERN = r"S2_(?P<tile>[a-z]+)_(?P<date>\d{8})"
DATES = {"west": (3, 40, 95, 200), "east": (8, 95, 310)}
RANDOM = SampleSplit(val=0.2, test=0.2, by="random")


def grid(left=0.0, height=60, width=80, pixel=10.0):
    transform = Affine(pixel, 0, 500_000 + left, 0, -pixel, 5_000_000)
    return Grid("EPSG:32632", transform, height, width)


GRIDS = {"west": grid(), "east": grid(left=1000)}


def write_image(folder, tile, day, where, dtype="uint16"):
    """Two bands that tell date, row and column; clouded in a corner that moves."""
    row, column = np.mgrid[: where.height, : where.width]
    image = np.stack([1000 + 100 * row + column, np.full(row.shape, day.timetuple().tm_yday)])
    mask = (row + column < 10 * (day.month % 3)).astype(np.uint8)
    name = f"S2_{tile}_{day:%Y%m%d}.tif"
    options = {"dtype": dtype, "count": 2, "nodata": 0, "names": ("place", "day")}
    with raster.create(folder / "images" / name, where, **options) as file:
        file.write(image.astype(dtype), where.window)
    with raster.create(folder / "masks" / name, where, dtype="uint8") as file:
        file.write(mask[None], where.window)
    return image, ~mask.astype(bool)


def write_images(folder, tiles=("west", "east"), dates=DATES, dtypes=None):
    """Images by tile: values (T, 2, H, W) and clear (T, H, W)."""
    made = {}
    for tile in tiles:
        days = [date(2021, 1, 1) + timedelta(n) for n in dates[tile]]
        dtype = (dtypes or {}).get(tile, "uint16")
        both = [write_image(folder, tile, day, GRIDS[tile], dtype) for day in days]
        made[tile] = np.stack([i for i, _ in both]), np.stack([c for _, c in both])
    return made


def squares(where, side=70.0, gap=20.0):
    """Parcels that cover pixels' centres unevenly: their corners lie off the grid."""
    left, bottom, right, top = where.bounds
    xs = np.arange(left + 13, right - side, side + gap)
    ys = np.arange(bottom + 17, top - side, side + gap)
    return [shapely.box(x, y, x + side, y + side) for x in xs for y in ys]


def write_parcels(path, shapes, crs="EPSG:32632", **columns):
    rows = {"id": [f"p{n}" for n in range(len(shapes))]}
    rows["crop"] = [("maize", "wheat")[n % 2] for n in range(len(shapes))]
    table = geopandas.GeoDataFrame(rows | columns, geometry=shapes, crs="EPSG:32632")
    table.to_crs(crs).to_file(path, engine="pyogrio")
    return path


@pytest.fixture(scope="module")
def untouched(tmp_path_factory):
    """Two tiles, apart by 20 pixels, with parcels on both; `.images` of both."""
    folder = tmp_path_factory.mktemp("untouched")
    (folder / "images").mkdir()
    write_images(folder)
    write_parcels(folder / "parcels.gpkg", [s for where in GRIDS.values() for s in squares(where)])
    return folder


@pytest.fixture
def place(untouched, tmp_path):
    """A copy of it for each test."""
    return shutil.copytree(untouched, tmp_path, dirs_exist_ok=True)


def source(place, series=None, labels=None, **options):
    settings = {"path": str(place / "images"), "masks": str(place / "masks"), "pattern": PATTERN}
    series = Series(**settings | (series or {}))
    labels = Labels(**{"path": str(place / "parcels.gpkg"), "field": "crop"} | (labels or {}))
    column = options.pop("column", None)
    return FromStacks.open(series, labels, samples=SampleSettings(**options), column=column)


def make(place, *, split=RANDOM, unit="parcel", overwrite=False, **options):
    opened = source(place, **options)
    folder = place / "dataset"
    summary = prepare_series(opened, LEGEND, folder, unit=unit, split=split, overwrite=overwrite)
    return SeriesDataset.load(folder), str(summary)


def inside(shape, where):
    """Flat numbers of the pixels whose centre lies in a shape."""
    row, column = np.mgrid[: where.height, : where.width] + 0.5
    x, y = where.transform @ (column, row)
    return np.flatnonzero(shapely.contains_xy(shape, x, y))


def digest(folder):
    files = sorted(p for p in folder.rglob("*") if p.is_file() and not p.name.startswith("."))
    return {str(p.relative_to(folder)): hashlib.md5(p.read_bytes()).hexdigest() for p in files}


@pytest.mark.parametrize("crs", ["EPSG:32632", "EPSG:3035", "EPSG:4326"])
@pytest.mark.parametrize("memory", [2**8, 2**30])
def test_values_are_those_of_the_images(tmp_path, monkeypatch, crs, memory):
    monkeypatch.setattr(pixelarrays, "MEMORY", memory * 64)
    images = write_images(tmp_path)
    shapes = [s for where in GRIDS.values() for s in squares(where)]
    write_parcels(tmp_path / "parcels.gpkg", shapes, crs=crs)
    made, _ = make(tmp_path)
    samples = made.samples()
    assert len(samples) == len(shapes)
    shape = {f"p{n}": s for n, s in enumerate(shapes)}
    for row in range(len(samples)):
        tile, name = samples.tile[row], samples.id[row]
        pixel = inside(shape[name], GRIDS[tile])
        pixels, days = made.arrays(tile)
        assert days.tolist() == list(DATES[tile])
        assert pixels.dtype == np.uint16
        values, clear = images[tile]
        expected = np.where(clear[:, None], values, 65535)
        expected = expected.reshape(len(values), 2, -1)[:, :, pixel].transpose(2, 0, 1)
        first = samples.first[row]
        assert samples.pixels[row] == len(pixel)
        assert np.array_equal(pixels[first : first + len(pixel)], expected)
        assert samples.clear[row] == pytest.approx(
            clear.reshape(len(values), -1)[:, pixel].sum(axis=0).mean()
        )
        assert samples.code[row] == (5, 2)[int(name[1:]) % 2]
    assert samples.shape[:, 1] == pytest.approx(np.full(len(samples), 4900), rel=1e-3)
    assert made.reference == "01-01"
    assert made.bands == ("place", "day")


def test_statistics_are_those_of_the_train_split(place):
    made, text = make(place)
    train = made.samples("train")
    rows = []
    for n in range(len(train)):
        pixels, _ = made.arrays(train.tile[n])
        rows.append(pixels[train.first[n] : train.first[n] + train.pixels[n]].reshape(-1, 2))
    values = np.concatenate(rows).astype(float)
    values = values[values[:, 0] < 65535]
    assert made.statistics.mean == pytest.approx(values.mean(axis=0))
    assert made.statistics.high == pytest.approx(values.max(axis=0))
    assert made.days == (3, 310)
    assert "west" in text
    assert "clear" in text
    audit = (place / "dataset" / "audit.csv").read_text().splitlines()
    assert audit[0] == "tile,date,share_clear"
    assert len(audit) == 1 + 4 + 3
    assert "east,2021-11-07," in audit[3]


def test_groups_and_columns(place):
    shapes = [s for where in GRIDS.values() for s in squares(where)]
    farm = [f"f{n // 4}" for n in range(len(shapes))]
    year = [2019 + n % 2 for n in range(len(shapes))]
    write_parcels(place / "parcels.gpkg", shapes, farm=farm, year=year)
    made, _ = make(place, group="farm", column="year")
    samples = made.samples()
    assert set(samples.fold_by) == {"2019", "2020"}
    for name in set(samples.group):
        assert len(set(samples.split[samples.group == name])) == 1
    split = SampleSplit(by="column", column="tile", val=0.2, test=["east"])
    made, _ = make(place, column="tile", split=split, overwrite=True)
    samples = made.samples()
    assert set(samples.tile[samples.split == "test"]) == {"east"}
    split = SampleSplit(by="column", column="year", val=0, test=[2020])
    _, said = make(place, group="farm", column="year", split=split, overwrite=True)
    count = len(set(farm))
    assert (
        f"parts {count} of {count} groups (samples.group) over several splits, such as f0" in said
    )


def test_inner_buffer(place):
    made, _ = make(place, buffer_m=15)
    samples = made.samples()
    shape = {f"p{n}": s for n, s in enumerate(s for w in GRIDS.values() for s in squares(w))}
    for name, tile, pixels in zip(samples.id, samples.tile, samples.pixels, strict=True):
        assert pixels == len(inside(shape[name].buffer(-15), GRIDS[tile]))
    # The features are those of the whole parcel.
    assert samples.shape[:, 0] == pytest.approx(np.full(len(samples), 280), rel=1e-3)


def thin_parcels(place):
    left, _, _, top = GRIDS["west"].bounds
    shapes = squares(GRIDS["west"])[:8]
    thin = [
        shapely.box(left + 302, top - 48, left + 304, top - 11),  # between the centres: 4 pixels
        shapely.box(left + 306, top - 48, left + 308, top - 11),  # the same pixels
        shapely.box(left + 502, top - 58, left + 526, top - 31),  # too thin for the buffer
    ]
    write_parcels(place / "parcels.gpkg", shapes + thin)
    return {f"p{n}": s for n, s in enumerate(shapes + thin)}


def test_parcels_without_a_pixel_get_those_they_touch(place):
    shapes = thin_parcels(place)
    made, text = make(place, buffer_m=15)
    samples = made.samples()
    pixels, _ = made.arrays("west")
    for name in ("p8", "p9"):
        row = int(np.flatnonzero(samples.id == name)[0])
        assert samples.pixels[row] == 4
        first = samples.first[row]
        assert pixels[first : first + 4, -1, 0].tolist() == [1130, 1230, 1330, 1430]
    row = int(np.flatnonzero(samples.id == "p10")[0])
    assert samples.pixels[row] == len(inside(shapes["p10"], GRIDS["west"]))
    assert "2 parcels without a pixel's centre: given the pixels touched: p8, p9" in text
    assert "1 parcel is too thin for samples.buffer_m: the edge is kept: p10" in text
    assert "2 parcels are smaller than a pixel: p8, p9" in text
    assert "no sample lies on this tile" in text


def test_tiny_parcels_can_be_dropped(place):
    thin_parcels(place)
    made, text = make(place, buffer_m=15, tiny="drop")
    assert not {"p8", "p9"} & set(made.samples().id)
    assert "2 parcels without a pixel's centre: left out (samples.tiny=drop): p8, p9" in text


def test_overlapping_parcels_share_pixels(place):
    left, _, _, top = GRIDS["west"].bounds
    shapes = squares(GRIDS["west"])
    shapes += [shapely.box(left + 103, top - 303, left + 303, top - 103)]
    write_parcels(place / "parcels.gpkg", shapes)
    made, text = make(place, max_pixels=0)
    samples = made.samples()
    for name, pixels in zip(samples.id, samples.pixels, strict=True):
        assert pixels == len(inside(shapes[int(name[1:])], GRIDS["west"]))
    assert " of parcels with an overlap of more than 5 %" in text


def test_parcels_are_taken_from_the_tile_that_shows_them(place):
    """Of two tiles of one ground the first, by name, is empty in its left half on most dates."""
    before, _ = make(place)
    where = GRIDS["west"]
    for count, number in enumerate(DATES["west"]):
        path = place / "images" / f"S2_also_{date(2021, 1, 1) + timedelta(number):%Y%m%d}.tif"
        image = np.full((2, where.height, where.width), 3000, np.uint16)
        image[:, :, : where.width // 2 if count else 0] = 0
        with raster.create(
            path, where, dtype="uint16", count=2, nodata=0, names=("place", "day")
        ) as f:
            f.write(image, where.window)
    made, text = make(place, overwrite=True)
    samples, old = made.samples(), before.samples()
    assert sorted(samples.id) == sorted(old.id)
    middle = where.bounds[0] + 10 * where.width / 2
    for row, name in enumerate(samples.id):
        x = samples.x[row]
        shown = "east" if x > where.bounds[2] else "west" if x < middle - 50 else "also"
        assert samples.tile[row] == shown or abs(x - middle) < 50, (name, x)
        if samples.tile[row] == "west":
            (same,) = np.flatnonzero(old.id == name)
            pixels, first, first_before = samples.pixels[row], samples.first[row], old.first[same]
            assert np.array_equal(
                made.arrays("west")[0][first : first + pixels],
                before.arrays("west")[0][first_before : first_before + pixels],
            )
    moved = int((samples.tile == "west").sum())
    assert f"{moved} samples taken from another tile that holds them" in text
    assert "never observed clearly" not in text


def test_rings_that_cross_are_mended(place):
    left, _, _, top = GRIDS["west"].bounds
    corners = [(10, 10), (110, 110), (110, 10), (10, 110)]
    bow = shapely.Polygon([(left + 300 + x, top - y) for x, y in corners])
    write_parcels(place / "parcels.gpkg", [*squares(GRIDS["west"]), bow])
    made, _ = make(place)
    samples = made.samples()
    area = samples.shape[samples.id == f"p{len(samples) - 1}", 1]
    assert area == pytest.approx(5000, rel=1e-3)


def test_draw_is_the_same_whatever_else_is_there(place):
    made, _ = make(place, max_pixels=10)
    samples = made.samples()
    assert (samples.pixels == 10).all()
    kept = {}
    for name, tile, first in zip(samples.id, samples.tile, samples.first, strict=True):
        kept[name] = made.arrays(tile)[0][first : first + 10].copy()
    table = geopandas.read_file(place / "parcels.gpkg").iloc[::-1].iloc[5:]
    table.to_file(place / "parcels.gpkg", engine="pyogrio")
    made, _ = make(place, max_pixels=10, overwrite=True)
    samples = made.samples()
    assert len(samples) == len(kept) - 5
    for name, tile, first in zip(samples.id, samples.tile, samples.first, strict=True):
        assert np.array_equal(made.arrays(tile)[0][first : first + 10], kept[name])


@given(st.lists(st.integers(0, 3), min_size=1, max_size=200), st.integers(1, 9), st.integers(1, 50))
def test_draw_does_not_depend_on_how_pixels_come_in(owners, most, cut):
    owner, pixel = np.array(owners), np.arange(len(owners))
    whole, parts = (_Draw(np.arange(4, dtype=np.uint64), most) for _ in range(2))
    whole.add(owner, pixel)
    for first in range(0, len(owner), cut):
        parts.add(owner[first : first + cut][::-1], pixel[first : first + cut][::-1])
    a, b = whole.result(), parts.result()
    assert np.array_equal(a[0], b[0])
    assert np.array_equal(a[1], b[1])
    counts = np.bincount(owner, minlength=4)
    assert np.bincount(a[0], minlength=4).tolist() == np.minimum(counts, most).tolist()


def test_a_parcel_goes_to_the_tile_that_holds_most_of_it(tmp_path):
    write_images(tmp_path)
    _, _, right, top = GRIDS["west"].bounds
    start = GRIDS["east"].bounds[0]
    shapes = [
        *squares(GRIDS["west"]),
        shapely.box(right - 20, top - 90, start + 60, top - 10),  # more of it in the east
        shapely.box(right - 60, top - 390, start + 20, top - 310),
    ]
    write_parcels(tmp_path / "parcels.gpkg", shapes, crs="EPSG:3035")
    made, _ = make(tmp_path)
    samples = made.samples()
    tile = dict(zip(samples.id, samples.tile, strict=True))
    assert tile[f"p{len(shapes) - 2}"] == "east"
    assert tile[f"p{len(shapes) - 1}"] == "west"


def test_tiles_of_different_types_become_one(tmp_path):
    images = write_images(tmp_path, dtypes={"east": "float32"})
    shapes = [s for where in GRIDS.values() for s in squares(where)]
    write_parcels(tmp_path / "parcels.gpkg", shapes)
    made, _ = make(tmp_path)
    assert made.dtype == "float32"
    samples = made.samples()
    for tile in GRIDS:
        pixels, _ = made.arrays(tile)
        assert pixels.dtype == np.float32
        row = int(np.flatnonzero(samples.tile == tile)[0])
        pixel = inside(shapes[int(samples.id[row][1:])], GRIDS[tile])
        values, clear = images[tile]
        expected = np.where(clear[:, None], values, np.nan).reshape(len(values), 2, -1)
        found = pixels[samples.first[row] : samples.first[row] + samples.pixels[row]]
        assert np.array_equal(found, expected[:, :, pixel].transpose(2, 0, 1), equal_nan=True)


def write_points(path, count=30):
    """Points on both tiles, each for one half of the year."""
    lines = ["longitude,latitude,from,to,label"]
    n = np.arange(count)
    points = shapely.points(500_105 + 20 * n + 1000 * (n % 2), 4_999_995 - 10 * n)
    table = geopandas.GeoSeries(points, crs="EPSG:32632").to_crs("EPSG:4326")
    halves = ("2021-01-01,2021-07-01", "2021-03-01,2022-03-01")
    for n, point in enumerate(table):
        lines.append(f"{point.x:.9f},{point.y:.9f},{halves[n % 3 == 0]},{('maize', '11')[n % 2]}")
    path.write_text("\n".join(lines) + "\n")
    return path


def test_points_with_periods_of_their_own(place):
    images = write_images(place)
    write_points(place / "points.csv")
    labels = {"path": str(place / "points.csv"), "field": None}
    made, _ = make(place, labels=labels, unit="pixel")
    assert made.reference == "01-01"
    samples = made.samples()
    assert len(samples) == 30
    assert (samples.pixels == 1).all()
    for row in range(30):
        n, tile = int(samples.id[row]) - 1, samples.tile[row]
        assert tile == ("west", "east")[n % 2]
        pixels, days = made.arrays(tile)
        assert days.shape == pixels.shape[:2]
        start, end = (60 - 1, 424) if n % 3 == 0 else (0, 181)
        chosen = [k for k, day in enumerate(DATES[tile]) if start <= day < end]
        assert anchor(date(2021, 3, 1), "01-01") == date(2021, 1, 1)
        own = days[samples.first[row]]
        assert own[: len(chosen)].tolist() == [DATES[tile][k] for k in chosen]
        values, clear = images[tile]
        there = values[chosen, :, n, 2 * n + 10]
        there[~clear[chosen, n, 2 * n + 10]] = 65535
        found = pixels[samples.first[row]]
        assert np.array_equal(found[: len(chosen)], there)
        assert (found[len(chosen) :] == 65535).all()


def test_a_stopped_prepare_goes_on_and_ends_with_the_same_bytes(place, monkeypatch):
    make(place)
    before = digest(place / "dataset")
    assert {"pixels/west.npy", "pixels/east.npy", "samples.gpkg", "audit.csv"} <= set(before)
    make(place, buffer_m=1, overwrite=True)

    real, calls = pixelarrays.recoded, []

    def broken(*arguments):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(pixelarrays, "recoded", broken)
    with pytest.raises(KeyboardInterrupt):
        make(place, overwrite=True)
    left = {path.name for path in (place / "dataset" / "pixels").iterdir()}
    assert left == {"east.npy", "east.days.npy", "west.days.npy"}
    assert not (place / "dataset" / "dataset.json").exists()
    make(place)
    assert len(calls) == 3  # the tile that was done is not read again
    assert digest(place / "dataset") == before
    assert "nothing to do" in make(place)[1]


@pytest.mark.parametrize("name", ["pixels/east.npy", "pixels/east.days.npy", "samples.gpkg"])
def test_what_is_broken_is_made_again_and_only_that(place, name):
    make(place)
    folder = place / "dataset"
    before, time = digest(folder), (folder / "pixels/west.npy").stat().st_mtime_ns
    whole = (folder / name).read_bytes()
    for content in (b"", whole[: len(whole) // 2], None):
        (folder / name).write_bytes(content) if content is not None else (folder / name).unlink()
        with pytest.raises(InputError, match=rf"{name}: gone, cut short .*prepare_series again"):
            check_whole(folder, "geoseg.prepare_series")
        assert f"{name}: gone" in make(place)[1]
        assert digest(folder) == before
    (folder / "dataset.json").write_text("")
    make(place)
    assert digest(folder) == before
    assert (folder / "pixels/west.npy").stat().st_mtime_ns == time


def test_other_settings_are_refused_until_overwrite(place):
    make(place)
    with pytest.raises(InputError, match=r"other settings \(samples.buffer_m\).*overwrite=true"):
        make(place, buffer_m=5)
    make(place, buffer_m=5, overwrite=True)


def test_windows_without_parcels_are_not_read(place, monkeypatch):
    from geoseg.scenes.stack import StackReader

    left, _, _, top = GRIDS["west"].bounds
    write_parcels(
        place / "parcels.gpkg",
        [shapely.box(left + 10 + 50 * n, top - 60, left + 50 + 50 * n, top - 20) for n in range(9)],
    )
    seen = []
    read = StackReader.read
    monkeypatch.setattr(
        StackReader, "read", lambda self, window: seen.append(window) or read(self, window)
    )
    monkeypatch.setattr(pixelarrays, "MEMORY", 4 * 2 * 2 * 80 * 10)  # ten rows
    make(place, series={"check": False})
    assert seen
    assert all(window.top < 6 for window in seen)
    assert len(seen) == len(set(seen))


def refused(place, *texts, **options):
    with pytest.raises(InputError) as error:
        make(place, **options)
    for text in texts:
        assert text in str(error.value)
    assert not (place / "dataset").exists()
    return error.value


def test_ids_that_stand_twice(place):
    shapes = squares(GRIDS["west"])
    write_parcels(place / "parcels.gpkg", shapes, key=[n // 2 for n in range(len(shapes))])
    refused(place, "ids stand more than once: 0 (2 times), 1 (2 times)", "samples.id=", id="key")


def test_parcels_outside_all_tiles(place):
    shapes = squares(GRIDS["west"])
    far = [shapely.box(x, 4_900_000, x + 50, 4_900_050) for x in (600_000, 600_100)]
    write_parcels(place / "parcels.gpkg", shapes + far)
    made, text = make(place)
    assert len(made.samples()) == len(shapes)
    names = f"p{len(shapes)}, p{len(shapes) + 1}"
    assert f"WARNING: 2 samples outside all tiles: left out: {names}" in text


def test_all_parcels_outside(place):
    shapes = squares(grid(left=50_000))
    write_parcels(place / "parcels.gpkg", shapes)
    count = len(shapes)
    refused(place, f"{count} of {count} samples outside all tiles (p0, p1", "longitude 9.00")


def test_swapped_coordinates_are_told(place):
    write_points(place / "points.csv")
    labels = {"path": str(place / "points.csv"), "field": None}
    refused(place, "x and y look swapped", labels=labels, x="latitude", y="longitude")


def test_all_faults_of_labels_and_series_at_once(place):
    shapes = squares(GRIDS["west"])
    write_parcels(place / "parcels.gpkg", shapes, key=["same"] * len(shapes))
    error = refused(place, "key", "pattern", id="nokey", series={"pattern": r"(?P<date>x\d+)"})
    assert len(error.faults) >= 2


def test_settings_that_mean_nothing_for_parcels(place):
    labels = {"background": "maize", "ignore_border": 2, "all_touched": True, "match": "name"}
    error = refused(place, "samples.buffer_m", "samples.tiny", labels=labels)
    assert len(error.faults) == 4


def test_lines_and_rasters_are_refused(place):
    lines = [shapely.LineString(shape.exterior.coords) for shape in squares(GRIDS["west"])]
    write_parcels(place / "parcels.gpkg", lines)
    refused(place, "are lines, which hold no pixel")
    for layer in ("one", "two"):
        geopandas.read_file(place / "parcels.gpkg").to_file(place / "layers.gpkg", layer=layer)
    labels = Labels(path=str(place / "layers.gpkg"), name="parcel")
    with pytest.raises(InputError, match=r"2 layers \(one, two\); set parcels_layer=…"):
        read_parcels(labels, prefix="parcels_")
    labels = {"path": str(place / "images" / "S2_west_20210104.tif")}
    refused(place, "a raster; parcels and points come from vector or CSV files", labels=labels)


def test_values_that_the_legend_does_not_know(place):
    shapes = squares(GRIDS["west"])
    write_parcels(place / "parcels.gpkg", shapes, kind=["rice", "wheat"] * (len(shapes) // 2))
    labels = {"field": "kind"}
    refused(place, "rice", "labels.unknown=unlabelled", labels=labels)
    made, text = make(place, labels=labels | {"unknown": "unlabelled"})
    assert len(made.samples()) == len(shapes) // 2
    assert "rice" in text
    assert "class maize of the legend never occurs" in text


def test_a_series_with_one_date(tmp_path):
    write_images(tmp_path, dates={"west": (5,), "east": (8, 95)})
    write_parcels(tmp_path / "parcels.gpkg", squares(GRIDS["west"]))
    refused(tmp_path, "west: one date (2021-01-06)")


def test_tiles_with_other_bands(place):
    opened = source(place)
    west, east = opened.stacks[1], opened.stacks[0]
    opened.stacks = [west, east.select(["day", "place"])]
    with pytest.raises(InputError, match="east: bands day, place, but west has place, day"):
        prepare_series(opened, LEGEND, place / "dataset")
    assert not (place / "dataset").exists()


def test_missing_attributes_and_dates(place):
    refused(place, "no attribute 'farm'", group="farm")
    path = place / "points.csv"
    write_points(path)
    labels = {"path": str(path), "field": None}
    refused(place, "no column 'year' (split.column)", labels=labels, column="year")
    refused(place, "no column 'crop' (labels.field)", labels=labels | {"field": "crop"})
    path.write_text(path.read_text().replace("2021-07-01", "July", 1))
    refused(place, "'July'", "samples.end=", labels=labels)
    path.write_text("a,b,label\n1,2,maize\n")
    refused(place, "no coordinates; set samples.x=<column>", labels=labels)
    path.write_text("x,y,label\n1,2,maize\n1,maize\n")
    refused(place, "line 3 has 2 values, the first one 3 names", labels=labels)
    path.write_text("x,y,label\n1,zwei,maize\n")
    refused(place, "column y, row 1: 'zwei' is no number", labels=labels)
    path.write_text("x,y,label\n500000,5000000,maize\n")
    refused(place, "are no degrees; set samples.crs", labels=labels)


def test_a_period_that_ends_before_it_begins(place):
    path = write_points(place / "points.csv")
    path.write_text(path.read_text().replace("2021-01-01,2021-07-01", "2021-07-01,2021-01-01", 1))
    labels = {"path": str(path), "field": None}
    refused(place, "ends on 2021-01-01, before it begins (2021-07-01)", labels=labels)


def test_series_that_are_too_short_are_counted(place):
    made, text = make(place, series={"min_clear": 4})
    short = made.samples().clear < 4
    assert short.any()
    assert f"WARNING: {short.sum()} samples have fewer clear dates than series.min_clear" in text


def test_samples_that_were_never_seen_are_left_out(place):
    for path in (place / "masks").glob("S2_west_*.tif"):
        mask = np.zeros((1, 60, 80), np.uint8)
        mask[:, :30] = 1
        with raster.create(path, GRIDS["west"], dtype="uint8") as file:
            file.write(mask, GRIDS["west"].window)
    made, text = make(place)
    assert "never observed clearly: left out" in text
    assert (made.samples().clear > 0).all()


def test_shape_features_are_in_metres_on_degrees_too():
    shape = shapely.box(500_100, 4_999_000, 500_300, 4_999_100)
    features = shape_features(outlines(np.array([shape]), "EPSG:32632", grid()), grid())
    assert features[0] == pytest.approx([600, 20_000, 0.03, 1], rel=1e-3)
    west, _, _, north = grid().bounds_in("EPSG:4326")
    degrees = Grid("EPSG:4326", Affine(1e-4, 0, west, 0, -1e-4, north), 80, 80)
    features = shape_features(outlines(np.array([shape]), "EPSG:32632", degrees), degrees)
    assert features[0, :2] == pytest.approx([600, 20_000], rel=5e-3)
    point = outlines(np.array([shapely.Point(500_100, 4_999_000)]), "EPSG:32632", grid())
    assert not shape_features(point, grid()).any()


def test_overlaps_and_layers():
    box = shapely.box
    shapes = [box(0, 0, 10, 10), box(10, 0, 20, 10), box(9.8, 0, 20, 10), box(5, 0, 15, 10)]
    shapes.append(shapely.MultiPolygon([box(0, 20, 5, 25), box(0, 0, 3, 3)]))
    found = outlines(np.array(shapes, object), "EPSG:32632", grid())
    pairs = overlaps(found)
    assert pairs.tolist() == [[0, 3], [0, 4], [1, 2], [1, 3], [2, 3]]
    layer = layers(5, pairs)
    assert layer.tolist() == [0, 0, 1, 2, 1]


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=40))
def test_no_two_of_a_pair_share_a_layer(pairs):
    pairs = np.array([(a, b) for a, b in pairs if a < b], int).reshape(-1, 2)
    layer = layers(10, pairs)
    assert (layer[pairs[:, 0]] != layer[pairs[:, 1]]).all()


def test_points_in_one_pixel_count_once():
    points = shapely.MultiPoint([(500_001, 4_999_999), (500_002, 4_999_998), (500_011, 4_999_999)])
    found = outlines(np.array([points], object), "EPSG:32632", grid())
    ids, layer = np.array(["a"], object), np.zeros(1, int)
    sets = pixel_sets(found, grid(), SampleSettings(), ids=ids, layer=layer)
    assert sets.pixel.tolist() == [0, 1]


def test_points_of_one_pixel_and_period_are_told():
    sets = PixelSets(np.arange(5), np.array([7, 8, 7, 7, 8]), *np.zeros((2, 5), bool))
    found = points_together(sets, np.array([0, 1, 2, 3]), np.array([0, 0, 1, 0, 0]))
    assert found.tolist() == [[0, 3]]


def test_first_dates_of_one_season_are_the_same():
    class Dated:
        def __init__(self, name, *dates):
            self.name, self.dates = name, dates

    stacks = [
        Dated("b", date(2019, 11, 5)),
        Dated("a", date(2019, 10, 30)),
        Dated("c", date(2020, 10, 31)),
    ]
    found = first_dates(stacks)
    assert found == {"a": date(2019, 10, 30), "b": date(2019, 10, 30), "c": date(2020, 10, 31)}


def test_seasons_of_different_years_have_the_same_days(tmp_path):
    (tmp_path / "images").mkdir()
    # West begins 30 October 2019, east 4 November 2020.
    write_images(tmp_path, dates={"west": (-429, -300, -200), "east": (-58, 60, 160)})
    shapes = [s for where in GRIDS.values() for s in squares(where)]
    write_parcels(tmp_path / "parcels.gpkg", shapes)
    made, _ = make(tmp_path)
    assert made.reference == "01-01"
    west, east = (made.arrays(tile)[1].tolist() for tile in ("west", "east"))
    assert west == [-63, 66, 166]
    assert east == [-58, 60, 160]


def test_what_is_none_is_settled_in_what_training_reads(place):
    made, _ = make(place)
    assert made.settings["series"]["min_clear"] == 3
    assert made.settings["masked"] is True
    made, _ = make(place, series={"masks": None, "min_clear": 1}, overwrite=True)
    assert made.settings["series"]["min_clear"] == 1
    assert made.settings["masked"] is False


def test_several_files_in_different_crs(place):
    shapes = squares(GRIDS["west"])
    half = len(shapes) // 2
    (place / "parcels.gpkg").unlink()
    folder = place / "parcels"
    folder.mkdir()
    write_parcels(folder / "a.gpkg", shapes[:half], key=range(half))
    write_parcels(folder / "b.gpkg", shapes[half:], crs="EPSG:4326", key=range(half, len(shapes)))
    parcels = read_parcels(Labels(path=str(folder), field="crop"), SampleSettings(id="key"))
    assert parcels.id.tolist() == [str(n) for n in range(len(shapes))]
    area = shapely.area(parcels.geometry)
    assert area == pytest.approx(np.full(len(shapes), 4900), rel=1e-4)


def test_command(place):
    arguments = [
        f"series.path={place}/images",
        f"series.masks={place}/masks",
        f"'series.pattern=\"{PATTERN}\"'".strip("'"),
        f"labels.path={place}/parcels.gpkg",
        "labels.field=crop",
        f"legend.path={place}/legend.csv",
        f"dataset={place}/dataset",
        "split.by=random",
    ]
    (place / "legend.csv").write_text("code,name,color\n5,maize,red\n")
    call = ["-m", "geoseg.prepare_series", *arguments]
    done = run(*call)
    assert done.returncode == 1
    assert "geoseg prepare_series" in done.stderr
    assert "wheat" in done.stderr
    (place / "legend.csv").write_text("code,name,color\n5,maize,red\n2,wheat,blue\n")
    done = run(*call)
    assert done.returncode == 0, done.stderr
    assert "Samples per class" in done.stdout
    assert SeriesDataset.load(place / "dataset").unit == "parcel"


def test_a_table(tmp_path):
    lines = ["id,date,red,nir,label"]
    for n in range(40):
        days = range(5, 300, 40 + n % 3)
        label = "maize" if n % 2 else "wheat"
        lines += [f"s{n},{date(2020, 1, 1) + timedelta(d)},{d},{n + d},{label}" for d in days]
    (tmp_path / "table.csv").write_text("\n".join(lines) + "\n")
    rooms = (Labels(), Series(), Bands(), SampleSettings())
    opened = FromTable(str(tmp_path / "table.csv"), *rooms)
    prepare_series(opened, LEGEND, tmp_path / "dataset", unit="pixel", split=RANDOM)
    made = SeriesDataset.load(tmp_path / "dataset")
    assert made.bands == ("red", "nir")
    assert len(made.samples()) == 40
    assert made.settings["table"] == str(tmp_path / "table.csv")


def test_one_class_for_all_parcels_and_numbers_for_names(place):
    shapes = squares(GRIDS["west"])
    write_parcels(place / "parcels.gpkg", shapes)
    table = geopandas.read_file(place / "parcels.gpkg").drop(columns="id")
    table.to_file(place / "parcels.gpkg", engine="pyogrio")
    made, _ = make(place, labels={"field": None, "name": "maize", "where": "crop = 'wheat'"})
    samples = made.samples()
    assert set(samples.code) == {5}
    # The numbers of the features in the file, though labels.where leaves every other one out.
    wanted = table.index[table["crop"] == "wheat"] + 1
    assert samples.id.tolist() == [str(fid) for fid in wanted]


def test_a_large_parcel_of_which_little_lies_on_a_tile_counts(place):
    left, _, _, top = GRIDS["west"].bounds
    large = shapely.box(left - 90_000, top - 150, left + 50, top)
    write_parcels(place / "parcels.gpkg", [*squares(GRIDS["west"]), large])
    made, _ = make(place, max_pixels=0)
    samples = made.samples()
    assert samples.pixels[samples.id == f"p{len(samples) - 1}"].tolist() == [75]


def test_a_parcel_that_hardly_reaches_into_a_tile_is_not_thin(place):
    left, _, _, top = GRIDS["west"].bounds
    beyond = shapely.box(left - 300, top - 350, left + 4, top - 250)
    write_parcels(place / "parcels.gpkg", [*squares(GRIDS["west"]), beyond])
    _, text = make(place)
    assert "1 sample outside all tiles" in text
    assert "they got the pixels they touch" not in text


def test_units():
    with pytest.raises(InputError, match="choose from parcel, pixel, map"):
        PrepareSeriesConfig(unit="field")
    with pytest.raises(InputError, match="a table has no images"):
        PrepareSeriesConfig(unit="map", table="t.csv")
    with pytest.raises(InputError, match="no such file"):
        main(PrepareSeriesConfig(table="nowhere.csv"))
    for unit in ("parcel", "pixel"):
        with pytest.raises(InputError, match=r"tiling\.size=256: only unit=map has windows"):
            main(PrepareSeriesConfig(table="nowhere.csv", unit=unit, tiling=Tiling(256)))


def legend(*names):
    entries = [{"code": n + 1, "name": name, "color": "#123456"} for n, name in enumerate(names)]
    return Legend.parse(entries, "test")


def test_slovenia(real_data, tmp_path):
    folder = real_data / "series" / "slovenia"
    series = Series(path=str(folder / "ndvi"), masks=str(folder / "cloud"))
    labels = Labels(path=str(folder / "parcels.gpkg"), field="LULC_NAME", unknown="unlabelled")
    names = ("schrubland", "grassland", "artificial surface", "forest", "cultivated land")
    opened = FromStacks.open(series, labels)
    split = SampleSplit(block_m=200)
    text = str(prepare_series(opened, legend(*names), tmp_path / "dataset", split=split))
    made = SeriesDataset.load(tmp_path / "dataset")
    samples = made.samples()
    assert len(samples) == 82  # of 88: four without a class, two that hardly reach in
    pixels, days = made.arrays(samples.tile[0])
    assert pixels.shape == (samples.pixels.sum(), 67, 1)  # two of 68 on one day
    assert (np.diff(days) > 0).all()
    seen = np.isfinite(pixels[..., 0])
    assert 0.5 < seen.mean() < 0.7  # 40 % are clouded
    assert "legend does not know: (no value) (4 ×)" in text


def test_mato_grosso(real_data, tmp_path):
    folder = real_data / "series" / "mato_grosso"
    bands = ("red", "nir", "mir", "blue", "ndvi", "evi")
    series = Series(
        path=[str(folder / f"{band}.tif") for band in bands],
        pattern=r"(?P<band>[a-z]+)\.tif",
        dates=str(folder / "timeline"),
    )
    names = ("Cotton-fallow", "Forest", "Soybean-cotton", "Soybean-maize", "Soybean-millet")
    opened = FromStacks.open(series, Labels(path=str(folder / "samples.csv")))
    prepare_series(
        opened,
        legend(*names),
        tmp_path / "dataset",
        unit="pixel",
        split=SampleSplit(by="random"),
    )
    made = SeriesDataset.load(tmp_path / "dataset")
    samples = made.samples()
    assert len(samples) == 603
    assert made.reference == "09-01"
    pixels, days = made.arrays(samples.tile[0])
    assert pixels.shape == (603, 23, 6)
    assert days.min() >= 0
    assert days.max() < 366
    assert made.days[1] < 366


def test_a_table_that_can_not_be_used_leaves_nothing_in_the_way(tmp_path):
    """Nor in a folder that was there before."""
    folder = tmp_path / "d"
    folder.mkdir()
    legend = Legend.parse([{"code": 1, "name": "wheat", "color": "#ffd700"}], "test")
    lines = ["id,date,red,label", *(f"s{n},2020-05-01,{n},wheat" for n in range(20))]
    (tmp_path / "one.csv").write_text("\n".join(lines), encoding="utf-8")
    lines += [f"s{n},2020-06-01,{n + 1},wheat" for n in range(20)]
    (tmp_path / "two.csv").write_text("\n".join(lines), encoding="utf-8")
    rooms = (Labels(), Series(), Bands(), SampleSettings())
    with pytest.raises(InputError, match="at least two"):
        prepare_series(FromTable(str(tmp_path / "one.csv"), *rooms), legend, folder)
    assert not list(folder.iterdir())
    summary = prepare_series(FromTable(str(tmp_path / "two.csv"), *rooms), legend, folder)
    assert "split at random" in str(summary)
    assert (folder / "dataset.json").exists()
