"""The made-up Sentinel-2 year: what its files promise, and that its plants keep the seasons."""

import hashlib
from datetime import date
from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from rasterio.features import rasterize

from geoseg.demo import series as demo_series
from geoseg.demo.__main__ import DemoConfig
from geoseg.demo.landscape import farmland, sky, year
from geoseg.demo.landscape.season import PLANTS, canopy, grow
from geoseg.demo.landscape.spectra import BANDS, reflectance, tint
from geoseg.demo.series import TILES, passes, write_series
from geoseg.errors import InputError
from geoseg.geo.legend import Legend

SIZE = 128
LEGEND = Legend.load(Path(__file__).parents[2] / "conf" / "legend" / "crops.yaml")
CROPS = tuple(farmland.SHARES)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    out = tmp_path_factory.mktemp("made") / "series"
    write_series(out, seed=2, size=SIZE)
    return out


@pytest.fixture(scope="module")
def parcels(made):
    return geopandas.read_file(made / "parcels.gpkg")


@pytest.fixture(scope="module")
def scenes(made):
    """Days, images (T, C, h, w), masks (T, h, w) and profile of each tile."""
    found = {}
    for tile in TILES:
        days, images, masks = [], [], []
        for path in sorted((made / "images").glob(f"S2_{tile.name}_*.tif")):
            with rasterio.open(path) as dataset:
                images.append(dataset.read())
                profile = dataset.profile | {"names": dataset.descriptions}
                tag = dataset.tags()["TIFFTAG_DATETIME"]
            with rasterio.open(made / "masks" / path.name.replace("S2", "CLOUD")) as dataset:
                masks.append(dataset.read(1))
                assert dataset.transform == profile["transform"]
                assert dataset.dtypes == ("uint8",)
            days.append(date.fromisoformat(path.stem[-8:]))
            assert tag[:10] == f"{days[-1]:%Y:%m:%d}"
        found[tile.name] = (days, np.array(images), np.array(masks), profile)
    return found


def digests(out: Path) -> dict[str, str]:
    files = (path for path in sorted(out.rglob("*")) if path.is_file())
    return {
        str(path.relative_to(out)): hashlib.sha1(path.read_bytes()).hexdigest() for path in files
    }


# ── files ──────────────────────────────────────────────────────────────────────────────────────


def test_images_are_what_they_promise(scenes):
    assert {name: len(days) for name, (days, *_) in scenes.items()} == {"west": 26, "east": 22}
    for _, images, masks, profile in scenes.values():
        assert images.shape[1:] == (6, SIZE, SIZE)
        assert images.dtype == np.uint16
        assert profile["names"] == BANDS == ("B02", "B03", "B04", "B05", "B08", "B11")
        assert (profile["nodata"], profile["transform"].a, profile["transform"].e) == (0, 10, -10)
        assert profile["crs"].to_epsg() == 32632
        assert set(np.unique(masks)) == {0, 1, 2}
        nothing = images == 0
        assert np.array_equal(nothing.any(axis=1), nothing.all(axis=1))  # 0 is nodata only


def test_dates_are_of_one_year_and_no_tile_has_those_of_another(scenes):
    west, east = (scenes[name][0] for name in ("west", "east"))
    assert {day.year for day in (*west, *east)} == {2023}
    assert not set(west) & set(east)
    for days in (west, east):
        gaps = np.diff([day.toordinal() for day in days])
        assert 5 <= gaps.min() < gaps.max() <= 35


def test_tiles_lie_apart(scenes):
    west, east = (rasterio.transform.array_bounds(SIZE, SIZE, scenes[name][3]["transform"])
                  for name in ("west", "east"))  # fmt: skip
    assert west[2] < east[0]


def test_some_images_end_at_the_edge_of_a_swath(scenes):
    ends = {name: (images[:, 0] == 0).mean(axis=(1, 2)) for name, (_, images, *_) in scenes.items()}
    assert ends["west"].max() == 0
    assert 0 < np.count_nonzero(ends["east"]) < 6
    assert ends["east"].max() < 0.6


def test_the_same_seed_gives_the_same_bytes(made, tmp_path):
    write_series(tmp_path / "again", seed=2, size=SIZE)
    assert digests(tmp_path / "again") == digests(made)


def test_another_seed_gives_another_year(made, tmp_path):
    write_series(tmp_path / "other", seed=5, size=64)
    one, other = digests(made), digests(tmp_path / "other")
    assert not set(one.values()) & set(other.values())


def test_a_second_run_leaves_what_is_there_and_makes_what_is_missing(made):
    before = digests(made)
    images = sorted((made / "images").glob("*.tif"))
    images[3].unlink()
    sorted((made / "masks").glob("*.tif"))[30].unlink()
    (made / "preview" / "east.png").unlink()
    (made / "parcels.gpkg").unlink()
    time = images[5].stat().st_mtime_ns
    write_series(made, seed=2, size=SIZE)
    assert digests(made) == before
    assert images[5].stat().st_mtime_ns == time


def test_a_whole_series_is_not_planned_again(made, monkeypatch):
    monkeypatch.setattr(farmland, "make", lambda *_: pytest.fail("planned"))
    write_series(made, seed=2, size=SIZE)


def test_other_settings_are_refused_unless_overwrite(made):
    with pytest.raises(InputError, match=r"other settings \(seed\).*overwrite=true"):
        write_series(made, seed=3, size=SIZE)


@pytest.mark.parametrize("size", [62, 401])
def test_impossible_sizes_are_refused(size, tmp_path):
    with pytest.raises(InputError, match=f"series_size={size}: must be even"):
        write_series(tmp_path, size=size)
    with pytest.raises(InputError, match=f"series_size={size}"):
        DemoConfig(series_size=size)


def test_previews_are_strips(made):
    from matplotlib.image import imread

    for tile in TILES:
        picture = imread(made / "preview" / f"{tile.name}.png")
        assert picture.shape == (SIZE, demo_series.PREVIEWS * (SIZE + 4), 3)
        assert picture.std() > 0.05


# ── parcels ────────────────────────────────────────────────────────────────────────────────────


def test_parcels_are_what_they_promise(parcels):
    assert parcels.crs.to_epsg() == 3035
    assert set(parcels.geom_type) == {"Polygon"}
    assert parcels.is_valid.all()
    assert parcels["id"].is_unique
    assert (parcels.to_crs(32632).area / 1e4 - parcels["area_ha"]).abs().max() < 0.02
    assert parcels["farm"].nunique() >= 4
    assert (parcels.groupby("farm")["tile"].nunique() == 1).all()


def test_parcels_do_not_overlap(parcels):
    shapes = parcels.to_crs(32632).geometry
    assert shapes.area.sum() == pytest.approx(shapes.union_all().area, rel=1e-4)


def test_the_legend_knows_every_crop_and_every_tile_has_all(parcels):
    lookup = LEGEND.lookup()
    for _, here in parcels.groupby("tile"):
        assert set(here["crop"]) == set(CROPS)
    assert {lookup[crop] for crop in CROPS} == set(range(1, 8))


def test_at_full_size_there_are_about_1500_parcels_of_unequal_shares():
    lands = [farmland.make(0, tile.name, 400) for tile in TILES]
    crops = np.concatenate([land.crops for land in lands])
    assert 1350 < len(crops) < 1650
    counts = sorted((crops == crop).sum() for crop in CROPS)
    assert 60 < counts[0] < 0.3 * counts[-1]
    areas = np.concatenate([[shape.area for shape in land.fields] for land in lands]) / 1e4
    assert 1.0 < np.median(areas) < 2.0


def test_pixels_hold_all_of_something():
    land = farmland.make(1, "west", 64)
    np.testing.assert_allclose(land.shares.sum(axis=1), 1, atol=1e-5)
    mixed = land.shares.max(axis=1).toarray() < 0.999
    assert 0.15 < mixed.mean() < 0.75


def test_images_show_the_fields_where_the_parcels_are(parcels, scenes):
    """Neighbouring pixels differ less within parcels than across their borders."""
    _, images, masks, profile = scenes["west"]
    shapes = parcels.to_crs(32632).geometry.buffer(-5)
    pairs = [(shape, i) for i, shape in enumerate(shapes, 1) if not shape.is_empty]
    number = rasterize(pairs, (SIZE, SIZE), transform=profile["transform"], dtype="int32")
    clear = (masks == 0).mean(axis=(1, 2))
    image = images[np.argmax(clear)][4].astype(float)
    a, b = number[:, :-3], number[:, 3:]
    step = np.abs(image[:, 3:] - image[:, :-3])
    within, across = (a == b) & (a > 0), (a != b) & (a > 0) & (b > 0)
    assert np.median(step[across]) > 2 * np.median(step[within])


# ── clouds ─────────────────────────────────────────────────────────────────────────────────────


def test_clouds_in_masks_are_mostly_bright_but_not_always(scenes):
    blue = np.concatenate([images[:, 0].ravel() for _, images, *_ in scenes.values()])
    mask = np.concatenate([masks.ravel() for _, _, masks, _ in scenes.values()])
    bright, seen = blue > 2500, blue > 0
    recall = (bright & (mask == 1)).sum() / bright.sum()
    precision = (bright & (mask == 1)).sum() / ((mask == 1) & seen).sum()
    assert 0.9 < recall < 1
    assert 0.7 < precision < 1
    assert np.median(blue[mask == 2]) < np.median(blue[(mask == 0) & seen])


def test_some_dates_are_clear_and_some_nothing_but_clouds(scenes):
    for _, _, masks, _ in scenes.values():
        clear = (masks == 0).mean(axis=(1, 2))
        assert (clear > 0.9).sum() >= 3
        assert (clear < 0.1).sum() >= 1
        assert 0.35 < clear.mean() < 0.8


@given(st.integers(0, 50), st.floats(0, 1), st.integers(1, 365))
def test_a_sky_covers_what_it_should(seed, cover, day):
    above = sky.draw(64, cover, day, np.random.default_rng(seed))
    assert above.cloud.min() >= 0
    assert above.cloud.max() <= 1
    assert set(np.unique(above.mask)) <= {0, 1, 2}
    assert (above.cloud > 0.2).mean() <= cover + 0.01


@given(st.integers(0, 200))
def test_every_seed_has_clear_and_cloudy_passes(seed):
    for tile in TILES:
        found = passes(tile, seed)
        assert len({one.day for one in found}) == tile.dates
        assert min(one.clouds for one in found) < 0.01
        assert max(one.clouds for one in found) > 0.95


# ── seasons ────────────────────────────────────────────────────────────────────────────────────


def ndvi(kind: str, days: np.ndarray) -> np.ndarray:
    """Of an average field of a crop on each day, without sky."""
    rng = np.random.default_rng(0)
    stands = grow([kind] * 300, np.zeros(300), rng)
    colors = tint([kind] * 300, np.tile([1.0, 0.0], (300, 1)), rng)
    spectra = [reflectance(canopy(stands, day), colors).mean(axis=0) for day in days]
    red, near = np.array(spectra)[:, [2, 4]].T
    return (near - red) / (near + red)


DAYS = np.arange(1, 366, 5)


@pytest.mark.parametrize(
    ("crop", "first", "last"),
    [
        ("winter wheat", 115, 160),
        ("winter barley", 100, 150),
        ("maize", 190, 245),
        ("sugar beet", 180, 275),
        ("potato", 175, 220),
    ],
)
def test_crops_are_greenest_in_their_months(crop, first, last):
    curve = ndvi(crop, DAYS)
    assert first <= DAYS[np.argmax(curve)] <= last
    assert curve.max() > 0.75
    assert curve.min() < 0.45


def test_winter_crops_are_harvested_when_summer_crops_are_green():
    july, april = np.array([215]), np.array([115])
    for winter in ("winter wheat", "winter barley", "rapeseed"):
        for summer in ("maize", "sugar beet", "potato"):
            assert ndvi(winter, july) < 0.4 < 0.7 < ndvi(summer, july)
            assert ndvi(winter, april) > 0.7 > 0.5 > ndvi(summer, april)


def test_grassland_is_green_all_year():
    assert ndvi("grassland", DAYS).min() > 0.5


def test_rapeseed_blooms_yellow_in_spring():
    rng = np.random.default_rng(0)
    stands = grow(["rapeseed"] * 200, np.zeros(200), rng)
    colors = tint(["rapeseed"] * 200, np.tile([1.0, 0.0], (200, 1)), rng)
    before, bloom = (reflectance(canopy(stands, day), colors).mean(axis=0) for day in (95, 121))
    assert bloom[1] > 1.5 * before[1]
    assert bloom[2] > 1.5 * before[2]
    assert bloom[0] < 1.2 * before[0]


@given(st.sampled_from(sorted(PLANTS)), st.floats(-40, 420), st.floats(0, 1))
def test_reflectance_is_possible_on_any_day(kind, day, drought):
    rng = np.random.default_rng(1)
    stands = grow([kind] * 20, rng.normal(0, 10, 20), rng)
    colors = tint([kind] * 20, np.tile([1.0, 0.0], (20, 1)), rng)
    now = canopy(stands, day, drought=drought)
    values = reflectance(now, colors, wet=0.5)
    assert (now.green >= 0).all()
    assert (now.brown >= 0).all()
    assert (values > 0).all()
    assert (values < 0.8).all()


def test_place_shifts_the_season():
    early, late = (
        canopy(grow(["maize"] * 300, np.full(300, shift), np.random.default_rng(0)), 165).green
        for shift in (-8.0, 8.0)
    )
    assert early.mean() > 1.5 * late.mean()


def test_within_a_field_some_is_ahead_and_some_behind():
    land = farmland.make(1, "west", 64)
    grown = year.make(land, demo_series.climate(TILES[0]), np.random.default_rng(0))
    image = year.ground(grown, 150, wet=0.2)
    largest = np.argmax([shape.area for shape in land.fields])
    inside = (land.shares[:, [largest]].toarray().ravel() > 0.99).reshape(64, 64)
    values = image[4][inside]
    assert 0.005 < values.std() / values.mean() < 0.25


def test_crops_follow_their_shares():
    land = farmland.make(4, "east", 256)
    for crop, share in farmland.SHARES.items():
        assert land.crops.count(crop) / len(land.crops) == pytest.approx(share, abs=0.02)
