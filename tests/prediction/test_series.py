"""Maps of whole tiles out of dated images: right pixels, nodata where too little is clear."""

import json
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest
import torch

from geoseg.errors import InputError
from geoseg.geo import raster
from geoseg.geo.grid import Window
from geoseg.geo.tiling import Tiling
from geoseg.maps.mosaic import describe, mosaic
from geoseg.models.card import SeriesCard
from geoseg.models.settings import Model
from geoseg.models.view import View
from geoseg.outputs.files import read_json
from geoseg.prediction.network import InferenceSettings
from geoseg.prediction.series import (
    SeriesImages,
    dated_scenes,
    predict_series,
    said_of_images,
    stacks_for,
)
from geoseg.prediction.windows import PixelWindows, unfold
from geoseg.scenes.bands import Bands
from geoseg.scenes.calendar import anchor
from tests.made.scenes import LEGEND, plain, write
from tests.made.series import (
    CARD,
    CELL,
    DATES,
    GRIDS,
    SHAPES,
    ByRed,
    classes,
    files_of,
    network,
    series,
    write_images,
)
from tests.made.stac import checked

BY_PIXEL = replace(CARD, series=replace(CARD.series, unit="pixel"))


def predict(folder, out="maps", card=BY_PIXEL, source=None, **options):
    found, bands = series(folder, **options.pop("series", {})), options.pop("bands", Bands())
    images = SeriesImages.find(card, found, bands)
    return predict_series(network(card, source), images, folder / out, **options)


def read(path):
    with raster.Raster(path) as file:
        return file.read(file.grid.window)[0][0]


def expected(tile):
    codes = np.array(LEGEND.codes)[classes(tile)]
    return codes.repeat(CELL, axis=0).repeat(CELL, axis=1)


@pytest.mark.parametrize("size", [16, 37, 64])
def test_every_pixel_gets_the_class_of_its_series(tmp_path, size):
    report = predict(write_images(tmp_path), tiling=Tiling(size, 0))
    assert sorted(report.done) == ["east", "west"]
    for tile in GRIDS:
        np.testing.assert_array_equal(read(tmp_path / f"maps/landcover/{tile}.tif"), expected(tile))
        counts = read(tmp_path / f"maps/clear/{tile}.tif")
        assert (counts == len(DATES[tile])).all()


def test_pixels_with_too_few_clear_dates_have_no_class(tmp_path):
    red = np.broadcast_to(100 * (classes("east") + 1), (4, *classes("east").shape)).copy()
    red[:3, 0, 0] = 0  # one date is clear
    red[:2, 1, 1] = 0  # two
    predict(write_images(tmp_path, {"east": red}), series={"min_clear": 2})
    codes, counts = (read(tmp_path / f"maps/{what}/east.tif") for what in ("landcover", "clear"))
    assert (counts[:CELL, :CELL] == 1).all()
    assert not codes[:CELL, :CELL].any()
    assert not read(tmp_path / "maps/confidence/east.tif")[:CELL, :CELL].any()
    np.testing.assert_array_equal(codes[CELL:], expected("east")[CELL:])


def test_the_same_bytes_again_and_nothing_twice(tmp_path):
    write_images(tmp_path)
    predict(tmp_path)
    first = files_of(tmp_path / "maps")
    again = predict(tmp_path)
    assert sorted(again.before) == ["east", "west"]
    (tmp_path / "maps/landcover/east.tif").unlink()
    (tmp_path / "maps/clear/west.tif").unlink()
    assert predict(tmp_path).done == ["east"]
    assert files_of(tmp_path / "maps") == first
    record = read_json(tmp_path / "maps/predict.json")["scenes"]
    assert record["west"]["status"] == "done"


def test_counts_of_clear_dates_that_are_broken_are_made_again(tmp_path):
    write_images(tmp_path)
    predict(tmp_path)
    first = files_of(tmp_path / "maps")
    (tmp_path / "maps/clear/east.tif").write_bytes(b"")
    assert sorted(predict(tmp_path).before) == ["east", "west"]
    assert files_of(tmp_path / "maps") == first


def test_panels_and_windows_do_not_matter(tmp_path):
    write_images(tmp_path)
    predict(tmp_path, "a", tiling=Tiling(32, 0))
    narrow = replace(network(BY_PIXEL), running=InferenceSettings("cpu", "32", memory=0.06))
    images = SeriesImages.find(BY_PIXEL, series(tmp_path), Bands())
    predict_series(narrow, images, tmp_path / "b", tiling=Tiling(32, 0))
    assert files_of(tmp_path / "a") == files_of(tmp_path / "b")


def test_mosaic_takes_the_maps(tmp_path):
    predict(write_images(tmp_path))
    mosaic(tmp_path / "maps", tmp_path / "all.tif")
    whole = read(tmp_path / "all.tif")
    np.testing.assert_array_equal(whole[: SHAPES["west"][0], : SHAPES["west"][1]], expected("west"))


def test_what_the_network_sees_of_a_window_is_what_it_saw_in_training(tmp_path):
    red = np.broadcast_to(100 * (classes("east") + 1), (4, *classes("east").shape)).copy()
    red[1, 0, 0] = 0
    write_images(tmp_path, {"east": red})
    found = series(tmp_path)
    [scene] = [s for s in dated_scenes(stacks_for(CARD, found), CARD, found) if s.name == "east"]
    assert scene.days == DATES["east"]
    with scene.open() as reader:
        image, _ = reader.read(scene.grid.window)
    windows = torch.from_numpy(scene.see(image, CARD.statistics))[None]
    values, seen, days = unfold(windows, 2)
    assert days.tolist() == [list(DATES["east"])]
    assert not seen[0, 1, :, :CELL, :CELL].any()
    assert seen[0, 0].all()
    np.testing.assert_allclose(values[0, 0, 0, :CELL, :CELL], red[0, 0, 0])


def test_a_filled_series_comes_regular(tmp_path):
    """With gaps filled the network sees the grid of the training, on any dates."""

    class Asks(ByRed):
        def forward(self, values, valid, days, shape):
            assert days.shape[1] == len(card.series.grid)
            assert valid.all()
            return super().forward(values, valid, days, shape)

    card = replace(BY_PIXEL, series=replace(BY_PIXEL.series, fill="linear"), model=Model("tempcnn"))
    predict(write_images(tmp_path), card=card, source=Asks())
    np.testing.assert_array_equal(read(tmp_path / "maps/landcover/east.tif"), expected("east"))


def test_days_go_on_over_new_year(tmp_path):
    write_images(tmp_path)
    found = series(tmp_path, start="2020-12-15")
    scenes = dated_scenes(stacks_for(CARD, found), CARD, found)
    assert [s.days for s in scenes] == [DATES["east"], DATES["west"]]


def test_a_pixel_that_was_never_seen_harms_no_other():
    view = View(BY_PIXEL.statistics, BY_PIXEL.series)
    module = PixelWindows(ByRed(), view, 3)
    windows = torch.full((1, 2 + 2 * 2, 4, 4), torch.nan)
    windows[0, :2] = torch.tensor([5.0, 9.0])[:, None, None]
    windows[0, 2:, 1, 2] = 200.0
    logits = module(windows)
    assert torch.isfinite(logits).all()
    assert logits[0, :, 1, 2].argmax() == 1


def trained(card=BY_PIXEL, **values):
    return replace(card, series=replace(card.series, **values))


def test_nodata_is_that_of_the_training(tmp_path):
    write_images(tmp_path)
    (stack, _) = stacks_for(replace(CARD, nodata=300.0), series(tmp_path))
    assert stack.nodata == 300
    (stack, _) = stacks_for(replace(CARD, nodata=300.0), series(tmp_path), Bands(nodata="none"))
    assert stack.nodata == "none"


def test_bands_are_settings_like_others(tmp_path):
    write_images(tmp_path)
    predict(tmp_path)
    with pytest.raises(InputError, match=r"other settings \(bands"):
        predict(tmp_path, bands=Bands(nodata=200))
    with pytest.raises(InputError, match=r"other settings \(bands"):
        predict(tmp_path, bands=Bands(names=["nir", "red"]))
    predict(tmp_path, bands=Bands(nodata="nan"), overwrite=True)
    assert predict(tmp_path, bands=Bands(nodata="nan")).done == []


@pytest.mark.parametrize("reference", ["01-01", "03-05", "03-10", "09-01"])
@pytest.mark.parametrize("first", [300, -4, 8])
def test_days_are_those_of_the_training_whenever_the_images_begin(tmp_path, reference, first):
    """The anchor of a series that begins some days early or late is not a year away."""
    write_images(tmp_path)
    found = series(tmp_path)
    card = trained(reference=reference, first_day=first, last_day=first + 125)
    for scene in dated_scenes(stacks_for(card, found), card, found):
        zero = scene.stack.dates[0] - timedelta(scene.days[0])
        assert f"{zero:%m-%d}" == reference
        inside = [sum(first <= (day - zero).days - 365 * k <= first + 125
                      for day in scene.stack.dates) for k in (0, 1, -1)]  # fmt: skip
        assert inside[0] == max(inside)


def test_a_few_days_before_the_training_began(tmp_path):
    """Trained from 5 November on, day 308 or -57: predicted from 1 November on."""
    card = trained(first_day=-57, last_day=100)
    usual = date(2019, 11, 1)
    days = [usual + timedelta(n) for n in range(0, 150, 10)]
    assert anchor(usual, "01-01") == date(2019, 1, 1)
    assert card.series.anchor(days, usual) == date(2020, 1, 1)
    other = trained(first_day=300, last_day=460)
    assert other.series.anchor([day + timedelta(5) for day in days], usual) == date(2019, 1, 1)
    # Of anchors as good, the usual one.
    none = trained(first_day=5000, last_day=5100)
    assert none.series.anchor(days, usual) == date(2019, 1, 1)


def test_another_part_of_the_year_is_refused(tmp_path):
    write_images(tmp_path)
    card = trained(first_day=170, last_day=300)
    said = predict(tmp_path, card=card).refused["west"]
    assert "2021-01-09 to 2021-05-11 (days 8 to 130 since 01-01)" in said
    assert "the model saw days 170 to 300 (here 2021-06-20 to 2021-10-28)" in said
    assert "series.start=2021-06-20 series.end=2021-10-29" in said
    near = trained(first_day=94, last_day=300)  # a margin of 30 days: 3 of 5, and 1 of 4
    assert predict(tmp_path, "near", card=near).done == ["west"]


def test_fewest_clear_dates_as_trained_or_as_given(tmp_path):
    write_images(tmp_path)
    found = series(tmp_path)
    stacks = stacks_for(CARD, found)
    for given, expected in ((None, 2), (1, 1), (4, 4)):
        scenes = dated_scenes(stacks, CARD, replace(found, min_clear=given))
        assert {scene.min_clear for scene in scenes} == {expected}


def test_what_only_the_training_decides_is_refused(tmp_path):
    write_images(tmp_path)
    given = {"fill": "linear", "step": 5, "reference": "09-01"}
    with pytest.raises(InputError) as caught:
        predict(tmp_path, series=given)
    assert len(caught.value.faults) == 3
    assert "series.fill=linear: the network decides on it (none, as" in str(caught.value)


def test_images_without_masks_are_said(tmp_path, capsys):
    write_images(tmp_path)
    predict(tmp_path)
    assert "masks" not in capsys.readouterr().err
    predict(tmp_path, "masked", card=trained(masked=True))
    assert "WARNING: the network was trained with masks of clouds" in capsys.readouterr().err


def test_masks_mean_what_they_meant_in_the_training(tmp_path):
    write_images(tmp_path)
    for path in (tmp_path / "images").glob("*.tif"):
        with raster.Raster(path) as image:
            clear = np.ones((image.grid.height, image.grid.width), np.uint8)
            clear[0] = 0
            write(tmp_path / f"masks/{path.name}", clear, grid=image.grid, nodata=None)
    card = trained(CARD, masked=True, mask_values=(0,))
    assert SeriesCard.read(json.loads(json.dumps(card.series.to_dict()))) == card.series

    def found(card, **settings):
        images = SeriesImages.find(
            card, series(tmp_path, masks=str(tmp_path / "masks"), **settings)
        )
        return list(images.stacks[0].mask_values), said_of_images(card, images)

    values, (note,) = found(card)
    assert values == [0]
    assert "none given; [0] counts as not clear in the masks, as in the training" in note
    assert found(card, mask_values=[0]) == ([0], [])
    values, (note,) = found(card, mask_values=[1])
    assert values == [1]
    assert "series.mask_values=[1]: in the training it was [0]" in note
    assert found(trained(CARD, masked=True)) == ([], [])


def test_what_was_decided_by_rule_is_said(tmp_path):
    write_images(tmp_path)
    grid, days = GRIDS["east"], [date(2021, 1, 1) + timedelta(n) for n in DATES["east"]]
    for day in days[1:]:
        clear = np.zeros((grid.height, grid.width), np.uint8)
        write(tmp_path / f"masks/S2_east_{day:%Y%m%d}.tif", clear, grid=grid, nodata=None)
    said = str(predict(tmp_path, series={"masks": str(tmp_path / "masks")}))
    assert f"series east: no mask for 1 of 4 dates ({days[0]}); all is taken as clear" in said
    entry = read_json(tmp_path / "maps/predict.json")["scenes"]["east"]
    assert {"images"} == {Path(path).parent.name for path in entry["paths"]}
    assert {"images", "masks"} == {Path(path).parent.name for path, *_ in entry["inputs"]}


@pytest.mark.parametrize(("trained_at", "now"), [(200, 1200), (1200, 200)])
def test_reflectance_with_an_offset_that_the_training_did_not_have(tmp_path, trained_at, now):
    rng = np.random.default_rng(0)
    for day in DATES["east"]:
        when = date(2021, 1, 1) + timedelta(day)
        image = rng.integers(now, now + 400, (2, 60, 60)).astype(np.uint16)
        write(tmp_path / f"images/S2_east_{when:%Y%m%d}.tif", image, names=("red", "nir"))
    low = replace(CARD.statistics, p2=(float(trained_at),) * 2)
    card = replace(CARD, statistics=low)
    with pytest.raises(InputError, match=f"series.offset={trained_at - now}, or series.check=fal"):
        stacks_for(card, series(tmp_path))
    stacks_for(card, series(tmp_path, check=False))
    stacks_for(card, series(tmp_path, offset=trained_at - now))
    for other in ((float(now),) * 2, (float(trained_at), float(now)), (950.0, 950.0)):
        stacks_for(replace(CARD, statistics=replace(low, p2=other)), series(tmp_path))
    with pytest.raises(InputError, match="Sentinel-2's offset"):
        stacks_for(replace(card, dtype="float32"), series(tmp_path))
    bands = ("blue", "green", "red", "nir")
    for path in (tmp_path / "images").glob("*.tif"):
        with raster.Raster(path) as file:
            real = np.tile(file.read(file.grid.window)[0].astype(np.float32) / 1e4, (2, 1, 1))
        real[:, :2] = np.nan
        write(path, real, names=bands)
    real = replace(plain(4), p2=(trained_at / 1e4,) * 4, p98=(0.2,) * 4)
    added = (trained_at - now) / 1e4
    with pytest.raises(InputError, match=f"series.offset={added}, or series.check=fal"):
        stacks_for(replace(card, bands=bands, dtype="float32", statistics=real), series(tmp_path))
    # Two of them may be indices.
    real = replace(low, p2=(trained_at / 1e4,) * 2, p98=(0.2, 0.2))
    stacks_for(replace(card, dtype="float32", statistics=real), series(tmp_path))
    stacks_for(replace(card, dtype="float32"), series(tmp_path))


def test_further_bands_without_names_are_said(tmp_path):
    for day in DATES["east"]:
        when = date(2021, 1, 1) + timedelta(day)
        values = np.stack([np.full((20, 20), value, np.uint16) for value in (100, 200, 300)])
        write(tmp_path / f"images/S2_east_{when:%Y%m%d}.tif", values)
    card = replace(CARD, bands=("band_1", "band_2"))

    def found(**bands):
        images = SeriesImages.find(card, series(tmp_path), Bands(**bands))
        with images.stacks[0].open() as reader:
            return said_of_images(card, images), reader.read(Window(0, 0, 1, 1))[0, :, 0, 0]

    (note,), values = found()
    assert "3 bands, and the network knows 2 that have no names either" in note
    assert values.tolist() == [100, 200]
    assert found(order=["band_1", "band_2"])[0] == []
    said, values = found(names=["blue", "band_1", "band_2"])
    assert (said, values.tolist()) == ([], [200, 300])
    with pytest.raises(InputError, match=r"no band red, nir on any .* band_3; if .*bands\.names="):
        SeriesImages.find(CARD, series(tmp_path))


def test_neither_other_units_nor_empty_ground_look_like_that_offset(tmp_path):
    rng = np.random.default_rng(0)
    card = replace(CARD, statistics=replace(CARD.statistics, p2=(1100.0, 1300.0)))
    for name, factor in (("empty", 1.0), ("units", 1e-4)):
        for day in DATES["east"]:
            when = date(2021, 1, 1) + timedelta(day)
            image = rng.integers(1100, 4000, (2, 60, 60)) * factor
            if name == "empty":
                image[:, :, :30] = 0
            values = image.astype("uint16" if factor == 1 else "float32")
            write(tmp_path / name / f"images/S2_east_{when:%Y%m%d}.tif", values)
        # What is wrong with them is told by those who look at nodata and units.
        stacks_for(replace(card, bands=("band_1", "band_2")), series(tmp_path / name))


def test_what_does_not_suit(tmp_path):
    write_images(tmp_path)
    with pytest.raises(InputError, match="classifies parcels, not pixels: set parcels="):
        predict(tmp_path, card=CARD)
    other = replace(BY_PIXEL, bands=("red", "swir"))
    with pytest.raises(InputError, match="swir"):
        predict(tmp_path, card=other)
    coarse = replace(BY_PIXEL, pixel_size_m=30.0)
    assert "pixels of 10 m, the model saw 30 m" in predict(tmp_path, card=coarse).refused["east"]
    units = predict(
        tmp_path, "units",
        card=replace(BY_PIXEL, statistics=replace(CARD.statistics, high=(1.0, 1.0))),
    )  # fmt: skip
    assert "other units" in units.refused["west"]


def test_items_of_catalogs_tell_the_period_and_name_the_counts(tmp_path):
    predict(write_images(tmp_path), stac=True)

    def days(tile):
        return [date(2021, 1, 1) + timedelta(day) for day in DATES[tile]]

    made = checked(tmp_path / "maps/landcover/east.stac.json")
    assert set(made.assets) == {"landcover", "confidence", "clear"}
    period = made.common_metadata
    assert period.start_datetime.date() == min(days("east"))
    assert period.end_datetime.date() == max(days("east"))
    mosaic(tmp_path / "maps", tmp_path / "all.tif")
    describe(tmp_path / "maps", tmp_path / "all.tif")
    whole = checked(tmp_path / "all.stac.json").common_metadata
    every = [day for tile in DATES for day in days(tile)]
    assert (whole.start_datetime.date(), whole.end_datetime.date()) == (min(every), max(every))
