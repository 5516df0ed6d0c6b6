"""A made-up series data set that tests share: five parcels in two tiles with dates of their own."""

import numpy as np

from geoseg.dataset.samples import Samples, SeriesDataset, save_days, write_samples
from geoseg.geo.legend import Legend
from geoseg.models.card import SeriesCard
from geoseg.scenes.bands import BandStatistics
from geoseg.scenes.stack import MISSING
from tests.made import kept

LEGEND = Legend.parse(
    [
        {"code": 4, "name": "early", "color": "#ffd700"},
        {"code": 9, "name": "late", "color": "#228b22"},
    ],
    "test",
)
STATISTICS = BandStatistics(*((v, v) for v in (0.0, 1.0, 0.0, 100.0, 0.0, 100.0)))
CARD = SeriesCard(
    unit="parcel",
    reference="01-01",
    first_day=3,
    last_day=300,
    fill="none",
    step=10,
    shape_mean=(0.0,) * 4,
    shape_std=(0.0,) * 4,
    min_clear=1,
)


def made_samples(folder):
    """(folder with pixels, samples): tile a of 7 dates with three parcels, b of 5 with two."""
    random = np.random.default_rng(5)
    for tile, pixels, dates in (("a", 9, 7), ("b", 7, 5)):
        values = random.integers(1, 100, (pixels, dates, 2)).astype(np.uint16)
        values[random.random((pixels, dates)) < 0.3] = MISSING["uint16"]
        values[:, 1] = 50
        (folder / "pixels").mkdir(parents=True, exist_ok=True)
        np.save(folder / "pixels" / f"{tile}.npy", values)
        days = np.sort(random.choice(np.arange(3, 300), dates, replace=False))
        save_days(folder, tile, days)
    return folder, samples_of(["a", "a", "a", "b", "b"], [3, 2, 4, 1, 6], [4, 9, 4, 9, 4])


def samples_of(tiles, pixels, codes, split=None):
    tiles, pixels = np.array(tiles, dtype=object), np.array(pixels)
    first = np.concatenate(
        [np.cumsum(pixels[tiles == t]) - pixels[tiles == t] for t in dict.fromkeys(tiles)]
    )
    count = len(tiles)
    names = np.array([f"p{i}" for i in range(count)], dtype=object)
    return Samples(
        id=names,
        tile=tiles,
        split=np.array(split or ["train"] * count, dtype=object),
        code=np.array(codes),
        first=first,
        pixels=pixels,
        group=names,
        fold_by=tiles,
        x=np.arange(count, dtype=float),
        y=np.zeros(count),
        clear=np.full(count, 5.0),
        shape=np.full((count, 4), 2.0),
    )


def made_dataset(folder, unit="parcel", parcels=60, settings=None):
    """Parcels that are bright early or late in the year, in two tiles with dates of their own."""
    kept.write(folder, _write, parcels)
    statistics = BandStatistics((20.0, 60.0), (25.0, 25.0), (0.0, 0.0), (70.0, 90.0), (0.0, 0.0),
                                (90.0, 99.0))  # fmt: skip
    said = {
        "series": {"fill": "none", "step": 10, "min_clear": 2},
        "samples": {"buffer_m": 0.0, "max_pixels": 100},
        "bands": {"nodata": None},
    }
    SeriesDataset(
        folder, unit, ("red", "nir"), "uint16", LEGEND, statistics, (0.0,) * 4, (0.0,) * 4,
        "01-01", (5, 359), 10.0, "EPSG:32632", settings or said,
    ).save()  # fmt: skip
    return SeriesDataset.load(folder)


def _write(folder, parcels):
    random = np.random.default_rng(0)
    tiles = ["a"] * (parcels // 2) + ["b"] * (parcels - parcels // 2)
    pixels = random.integers(1, 5, parcels)
    codes = random.choice([4, 9], parcels)
    split = ["train", "train", "train", "val", "test"] * (parcels // 5)
    samples = samples_of(tiles, pixels, codes, split)
    (folder / "pixels").mkdir(parents=True, exist_ok=True)
    for tile, dates in (("a", 14), ("b", 10)):
        here = samples.tile == tile
        days = np.sort(random.choice(np.arange(5, 360), dates, replace=False))
        peak = np.where(np.repeat(samples.code[here], samples.pixels[here]) == 4, 120, 240)
        curve = 60 * np.exp(-(((days[None] - peak[:, None]) / 40) ** 2))
        values = np.stack([curve, 80 - curve], axis=2) + random.normal(5, 4, (*curve.shape, 2))
        values = np.clip(np.rint(values), 0, 200).astype(np.uint16)
        values[random.random(curve.shape) < 0.3] = MISSING["uint16"]
        np.save(folder / "pixels" / f"{tile}.npy", values)
        save_days(folder, tile, days)
    write_samples(folder, samples, LEGEND)
