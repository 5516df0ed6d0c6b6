"""What counts as data: one rule for one file, a file per band, VRTs and series; partial pixels."""

from dataclasses import replace

import numpy as np
import pytest
import rasterio

from geoseg.dataset.prepare import PrepareSettings, prepare
from geoseg.dataset.split import Split
from geoseg.dataset.tiles import Dataset
from geoseg.geo.grid import Window
from geoseg.geo.legend import Legend
from geoseg.geo.raster import Raster
from geoseg.geo.tiling import Tiling
from geoseg.labels.settings import Labels
from geoseg.models.card import ModelCard
from geoseg.models.suitability import fit
from geoseg.scenes.bands import Bands, BandStatistics, scale
from geoseg.scenes.scene import Scene, find_scenes, harmonize
from geoseg.series.find import find_stacks
from geoseg.series.settings import Series
from geoseg.training.cards import card_of
from tests.made.scenes import CARD, write

NAMES = ("red", "green", "nir")
SIDE = 64
STRIP = (slice(None), slice(0, 16))


def image(dtype="int16", gap=-9999, seed=0):
    """Three bands around 1000, the last with a strip of nodata at its left."""
    random = np.random.default_rng(seed)
    values = random.integers(900, 1100, (3, SIDE, SIDE)).astype(dtype)
    values[2][STRIP] = gap
    return values


def vrt(path, files, nodatas, dtype="Int16"):
    """A VRT of one-band files, each band with nodata of its own."""
    bands = "".join(
        f'<VRTRasterBand dataType="{dtype}" band="{n}"><NoDataValue>{nodata}</NoDataValue>'
        f'<SimpleSource><SourceFilename relativeToVRT="0">{file}</SourceFilename>'
        "<SourceBand>1</SourceBand></SimpleSource></VRTRasterBand>"
        for n, (file, nodata) in enumerate(zip(files, nodatas, strict=True), 1)
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f'<VRTDataset rasterXSize="{SIDE}" rasterYSize="{SIDE}"><SRS>EPSG:32632</SRS>'
        f"<GeoTransform>500000,1,0,5000000,0,-1</GeoTransform>{bands}</VRTDataset>"
    )
    return path


def one_file(folder, dtype):
    path = folder / "a.tif"
    write(path, image(dtype), nodata=-9999, names=NAMES)
    return find_scenes(path)


def file_per_band(folder, dtype):
    for name, band in zip(NAMES, image(dtype), strict=True):
        write(folder / f"a_{name}.tif", band, nodata=-9999)
    bands = Bands(pattern=r"(?P<scene>\w+)_(?P<band>\w+)\.tif", order=list(NAMES))
    return find_scenes(folder, bands)


def virtual(folder, dtype):
    files = []
    for name, band in zip(NAMES, image(dtype), strict=True):
        files.append(write(folder / "parts" / f"{name}.tif", band, nodata=-9999))
    kind = {"int16": "Int16", "float32": "Float32"}[dtype]
    path = vrt(folder / "a.vrt", files, (0, 0, -9999), kind)
    return find_scenes(path, Bands(names=list(NAMES)))


def read(scene):
    with scene.open() as reader:
        return reader.read(scene.grid.window)


@pytest.mark.parametrize("dtype", ["int16", "float32"])
@pytest.mark.parametrize("made", [one_file, file_per_band, virtual])
def test_a_pixel_is_valid_if_all_bands_have_data_however_they_are_stored(tmp_path, made, dtype):
    (scene,) = made(tmp_path, dtype)
    values, valid = read(scene)
    assert not valid[STRIP].any()
    assert valid[:, 16:].all()
    assert (values[:, valid] == image(dtype)[:, valid]).all()


def test_bands_that_nobody_asked_for_do_not_count(tmp_path):
    write(tmp_path / "a.tif", image(), nodata=-9999, names=NAMES)
    (scene,) = find_scenes(tmp_path / "a.tif", Bands(order=["green", "red"]))
    values, valid = read(scene)
    assert valid.all()
    assert (values == image()[[1, 0]]).all()


def test_a_partial_pixel_has_the_mean_which_is_0_after_scaling(tmp_path):
    write(tmp_path / "a.tif", image(), nodata=-9999, names=NAMES)
    (scene,) = find_scenes(tmp_path / "a.tif", Bands(partial=True))
    means = (1000.25, 999.75, 1000.4)
    scene = replace(scene, fill=means)
    values, valid = read(scene)
    assert valid.all()
    assert (values[:2] == image()[:2]).all()
    spread = BandStatistics(means, (57.0,) * 3, *((0.0,) * 3,) * 4)
    assert (scale(values, valid, spread)[2][STRIP] == 0).all()
    assert read(Scene.from_dict(scene.to_dict(tmp_path), tmp_path))[0].tolist() == values.tolist()
    (order,) = (scene.select(["nir", "red"]),)
    assert order.fill == (1000.4, 1000.25)


def test_a_pixel_without_any_band_is_not_valid_even_if_partial_counts(tmp_path):
    values = image()
    values[:, 5] = -9999
    write(tmp_path / "a.tif", values, nodata=-9999, names=NAMES)
    (scene,) = find_scenes(tmp_path / "a.tif", Bands(partial=True))
    valid = read(scene)[1]
    assert not valid[5].any()
    assert valid.sum() == SIDE * (SIDE - 1)


def test_each_band_of_a_vrt_has_its_own_nodata_also_where_it_is_warped(tmp_path):
    optical, heights = image()[0], image()[1]
    optical[20:30], heights[40:50] = 0, -9999
    files = [
        write(tmp_path / "o.tif", optical, nodata=0),
        write(tmp_path / "h.tif", heights, nodata=-9999),
    ]
    path = vrt(tmp_path / "a.vrt", files, (0, -9999))
    with Raster(path) as file:
        _, holds = file.read_each(file.grid.window)
        shifted = file.grid.crop(Window(2, 2, 60, 60))
    assert (~holds[0]).any(axis=1).nonzero()[0].tolist() == list(range(20, 30))
    assert (~holds[1]).any(axis=1).nonzero()[0].tolist() == list(range(40, 50))
    moved = replace(shifted, transform=shifted.transform.translation(0.3, 0.2) @ shifted.transform)
    with Raster(path, grid=moved) as file:
        data, holds = file.read_each(file.grid.window)
    # Nothing is mixed of nodata: what holds lies between the values that there are.
    for band, here in zip(data, holds, strict=True):
        assert band[here].min() >= 899
        assert band[here].max() <= 1100
        assert 400 < (~here).sum() < 60 * 12


LEGEND = Legend.parse(
    [
        {"code": 1, "name": "meadow", "color": "#00ff00"},
        {"code": 2, "name": "house", "color": "#ff0000"},
    ],
    "test",
)


def labels(folder):
    """All of the scene is meadow, but for a house in every tile."""
    import geopandas
    import shapely

    meadow = shapely.box(500_000, 5_000_000 - SIDE, 500_000 + SIDE, 5_000_000)
    houses = [
        shapely.box(500_000 + x, 5_000_000 - y - 4, 500_000 + x + 4, 5_000_000 - y)
        for x in range(6, SIDE, 16)
        for y in range(6, SIDE, 16)
    ]
    classes = ["meadow", *["house"] * len(houses)]
    table = geopandas.GeoDataFrame({"class": classes}, geometry=[meadow, *houses], crs=32632)
    table.to_file(folder / "labels.gpkg")
    return Labels(path=str(folder / "labels.gpkg"), field="class")


def prepared(folder, bands):
    scenes = harmonize(find_scenes(folder / "a.tif", bands))
    split = Split(val=0.25, test=0.25, block_m=16)
    said = prepare(
        scenes, labels(folder), LEGEND, folder / "set",
        settings=PrepareSettings(bands=bands, tiling=Tiling(16, 0), split=split),
    )  # fmt: skip
    return Dataset.load(folder / "set"), str(said)


def test_statistics_are_over_real_values_and_no_label_is_where_no_image_is(tmp_path):
    write(tmp_path / "a.tif", image(), nodata=-9999, names=NAMES)
    made, said = prepared(tmp_path, Bands())
    assert min(made.statistics.low) >= 900
    assert made.statistics.mean == pytest.approx((1000,) * 3, abs=5)
    with rasterio.open(made.target("a")) as target:
        codes = target.read(1)
    assert (codes[STRIP] == 0).all()
    assert (codes[:, 16:] > 0).all()
    assert "25.0% of the pixels with data; these count as nodata (bands.partial=true" in said
    card = card_of(made, CARD.model)
    assert not card.partial
    assert [tags.nodata for tags in card.tags] == [-9999] * 3


def test_partial_goes_from_prepare_to_the_card_and_to_prediction(tmp_path):
    write(tmp_path / "a.tif", image(), nodata=-9999, names=NAMES)
    made, said = prepared(tmp_path, Bands(partial=True))
    assert min(made.statistics.low) >= 900
    (scene,) = made.scenes
    assert scene.fill == made.statistics.mean
    with rasterio.open(made.target("a")) as target:
        assert (target.read(1) > 0).all()
    assert "25.0% of the pixels with data; the bands' mean stands there" in said
    card = ModelCard.from_json(card_of(made, CARD.model).to_json())
    assert card.partial
    assert card.tags == made.tags
    from geoseg.prediction.bands import bands_for

    assert bands_for(card).partial
    assert bands_for(card, Bands(partial=False)).partial is False
    (new,) = find_scenes(tmp_path / "a.tif", bands_for(card))
    fitted = fit(new, replace(card, pixel_size_m=1.0))
    values, valid = read(fitted)
    assert valid.all()
    assert (scale(values, valid, made.statistics)[2][STRIP] == 0).all()


def series(folder, **options):
    for day, seed in (("20200101", 0), ("20200201", 1), ("20200301", 2)):
        write(folder / f"s_{day}.tif", image("uint16", 0, seed), nodata=0, names=NAMES, **options)
    return Series(path=str(folder))


def test_series_go_by_the_same_rule(tmp_path):
    found = series(tmp_path / "one")
    for name, place in zip(NAMES, range(3), strict=True):
        for day, seed in (("20200101", 0), ("20200201", 1), ("20200301", 2)):
            band = image("uint16", 0, seed)[place]
            write(tmp_path / "many" / f"s_{name}_{day}.tif", band, nodata=0)
    many = Series(path=str(tmp_path / "many"), pattern=r"s_(?P<band>[a-z]+)_(?P<date>\d+)")
    for settings in (found, many):
        for partial in (False, True):
            (stack,) = find_stacks(settings, Bands(partial=partial, order=list(NAMES)))
            with stack.open() as reader:
                values = reader.read(stack.grid.window)
                assert reader.share_partial() == pytest.approx(0.25)
            missing = values == 65535
            assert missing[:, 2, :, :16].all()
            assert (missing[:, :2, :, :16] == (not partial)).all()
            assert not missing[..., 16:].any()
    (stack,) = find_stacks(found, Bands(order=["red", "green"]))
    with stack.open() as reader:
        assert (reader.read(stack.grid.window) != 65535).all()
