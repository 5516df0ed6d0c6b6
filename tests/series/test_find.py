"""Series on disk: files found, dated, grouped by place, masked; Sentinel-2 products; bad input."""

from dataclasses import replace
from datetime import date, datetime, timedelta

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st

from geoseg.errors import InputError
from geoseg.geo.grid import Window
from geoseg.scenes.bands import Bands
from geoseg.series import dates, offset
from geoseg.series.find import find_stacks
from geoseg.series.settings import Series
from geoseg.stac.bands import NOT_CLEAR
from tests.made.scenes import grid, write

DAYS = (date(2020, 1, 10), date(2020, 2, 20), date(2020, 3, 15))
IMAGE = np.arange(1, 2 * 20 * 30 + 1, dtype=np.uint16).reshape(2, 20, 30)


def whole(stack):
    with stack.open() as reader:
        return reader.read(stack.grid.window)


def files(folder, name="S_{:%Y%m%d}.tif", days=DAYS, image=IMAGE, **options):
    for number, day in enumerate(days):
        names = ("a", "b")[: len(image)]
        write(folder / name.format(day), image + np.uint16(number), names=names, **options)
    return str(folder)


def fault(series, bands=None):
    with pytest.raises(InputError) as caught:
        find_stacks(series, bands)
    return str(caught.value)


class TestDates:
    @given(st.datetimes(datetime(1960, 1, 1), datetime(2098, 12, 31)))
    def test_every_form_comes_back(self, when):
        when = when.replace(microsecond=0)
        day = datetime(when.year, when.month, when.day)
        for form in ("%Y%m%d", "%Y-%m-%d", "%Y_%m_%d", "%Y%j", "%Y-%j", "%d.%m.%Y"):
            assert dates.parse(f"{when:{form}}") == day
        for form in (
            "%Y%m%dT%H%M%S",
            "%Y-%m-%dT%H:%M:%S",
            "%Y-%m-%dT%H:%M:%SZ",
            "%Y%m%d_%H%M%S",
            "%Y:%m:%d %H:%M:%S",
        ):
            assert dates.parse(f"{when:{form}}") == when
        for form in ("S2_{:%Y%m%d}.tif", "{:%Y-%m-%d}_T33.tif", "ndvi{:%Y_%m_%d}v2.tif"):
            assert dates.find(form.format(when)) == day
        assert dates.find(f"A{when:%Y%j}.h12.hdf.tif") == day
        assert dates.find(f"CLM_{when:%Y%m%dT%H%M%S}.tif") == when

    @pytest.mark.parametrize("text", ["", "2020", "20201301", "2020-02-30", "2020000", "2021366"])
    def test_what_is_no_date(self, text):
        assert dates.parse(text) is None
        assert dates.find(f"S_{text}.tif") is None

    def test_the_first_date_of_a_name_counts_and_other_numbers_do_not(self):
        name = "LC08_L2SP_193028_20200515_20200820_02_T1.tif"
        assert dates.find(name) == datetime(2020, 5, 15)
        assert dates.find("tile_2020123456_x.tif") is None
        assert dates.find("S_20200515_996612.tif") == datetime(2020, 5, 15)

    def test_lists_and_files_of_dates(self, tmp_path):
        expected = [datetime(2020, 1, 10), datetime(2020, 2, 20)]
        (tmp_path / "timeline").write_text('2020-01-10\n\n"20200220"\n')
        assert dates.listed(str(tmp_path / "timeline")) == expected
        assert dates.listed([20200110, date(2020, 2, 20)]) == expected
        (tmp_path / "wrong").write_text("2020-01-10\nFebruary\nMarch\n")
        with pytest.raises(InputError) as caught:
            dates.listed(tmp_path / "wrong")
        assert len(caught.value.faults) == 2
        assert "line 2: 'February' is not a date" in str(caught.value)
        with pytest.raises(InputError, match="can't be read"):
            dates.listed(str(tmp_path / "nothing"))


def test_settings_that_cannot_be():
    with pytest.raises(InputError) as caught:
        Series(
            pattern="(?P<date>",
            mask_pattern="(?P<day>x)",
            start="May",
            fill="spline",
            step=0,
            min_clear=0,
            offset_from="2022-01-25",
            reference="31-12",
        )
    assert len(caught.value.faults) == 8
    with pytest.raises(InputError, match="the period is empty"):
        Series(start="2020-01-01", end="2020-01-01")
    series = Series(start="20200101", end="2020366")
    assert series.period == (date(2020, 1, 1), date(2020, 12, 31))


def test_bands_settings_of_scenes_are_refused(tmp_path):
    pattern = "(?P<scene>a)(?P<band>b)"
    text = fault(Series(), Bands(pattern=pattern, extra={"height": "dem.tif"}))
    assert "bands.pattern: not for a series; set series.pattern" in text
    assert "bands.extra" in text
    assert "series.path: none given" in text


def test_folders_with_all_below_globs_and_lists(tmp_path):
    files(tmp_path / "a", days=DAYS[:1])
    files(tmp_path / "b/c", days=DAYS[1:])
    write(tmp_path / "b/.hidden/S_20200401.tif", IMAGE)
    (tmp_path / "timeline").write_text("2020-01-01")
    assert find_stacks(Series(path=str(tmp_path)))[0].dates == DAYS
    assert find_stacks(Series(path=f"{tmp_path}/**/*", masks=None))[0].dates == DAYS
    parts = [str(tmp_path / "a"), tmp_path / "b", tmp_path / "a/S_20200110.tif"]
    stack = find_stacks(Series(path=parts))[0]
    assert (stack.dates, len(stack.paths)) == (DAYS, 3)
    (tmp_path / "empty").mkdir()
    text = fault(Series(path=[str(tmp_path / "empty"), str(tmp_path / "x*")]))
    assert "no rasters" in text
    assert "no such file or folder" in text


@pytest.mark.parametrize("form", ["{:%Y%m%d}", "{:%Y%j}", "{:%Y-%m-%d}", "{:%Y-%m-%dT101500Z}"])
def test_dates_by_pattern_and_by_the_name_alone(tmp_path, form):
    files(tmp_path, f"X12345678_v2_{form}.tif")
    pattern = r"_v2_(?P<date>[\dTZ-]+)\.tif"
    assert find_stacks(Series(path=str(tmp_path), pattern=pattern))[0].dates == DAYS
    assert find_stacks(Series(path=str(tmp_path)))[0].dates == DAYS


def test_dates_by_the_tag(tmp_path):
    for number, day in enumerate(DAYS):
        tags = {"TIFFTAG_DATETIME": f"{day:%Y:%m:%d} 10:00:00"}
        write(tmp_path / f"image{number}.tif", IMAGE, tags=tags)
    assert find_stacks(Series(path=str(tmp_path)))[0].dates == DAYS
    tiles = find_stacks(Series(path=str(tmp_path), pattern="(?P<tile>image)"))
    assert [(stack.name, stack.dates) for stack in tiles] == [("image", DAYS)]


def test_no_date_shows_name_and_pattern(tmp_path):
    files(tmp_path)
    write(tmp_path / "height.tif", IMAGE)
    write(tmp_path / "width.tif", IMAGE)
    text = fault(Series(path=str(tmp_path), pattern=r"S_(?P<date>\d+)"))
    assert text.count("no date") == 2
    assert "height.tif" in text
    assert r"S_(?P<date>\d+)" in text
    text = fault(Series(path=str(tmp_path)))
    assert "no date in the name height.tif (there is no series.pattern)" in text
    text = fault(Series(path=str(tmp_path), pattern=r"(?P<date>[a-z]+)\.tif|S_(?P<tile>\d)"))
    assert "'height', the group date of series.pattern" in text


def test_dated_files_that_the_pattern_leaves_out_are_said(tmp_path):
    files(tmp_path)
    files(tmp_path, "SCL_{:%Y%m%d}.tif")
    stack = find_stacks(Series(path=str(tmp_path), pattern=r"S_(?P<date>\d+)"))[0]
    assert len(stack.paths) == 3
    assert "3 files do not match series.pattern; left out: SCL_20200110.tif" in stack.notes[0]
    assert "matches none of 6 files" in fault(Series(path=str(tmp_path), pattern=r"(?P<date>x)"))


def test_one_file_per_band_and_date(tmp_path):
    pattern = r"(?P<band>[ab])_(?P<date>\d{8})"
    files(tmp_path, "a_{:%Y%m%d}.tif", image=IMAGE[:1])
    files(tmp_path, "b_{:%Y%m%d}.tif", image=IMAGE[1:], days=DAYS[1:])
    stack = find_stacks(Series(path=str(tmp_path), pattern=pattern))[0]
    assert (stack.dates, stack.bands) == (DAYS, ("a", "b"))
    assert stack.notes == (
        f"series {tmp_path.name}: no file for band b on 1 date (2020-01-10); they do not count"
        " (with bands.partial=true they do)",
    )
    assert (whole(stack)[0] == 65535).all()
    stack = find_stacks(Series(path=str(tmp_path), pattern=pattern), Bands(partial=True))[0]
    assert stack.notes[0].endswith("(2020-01-10); it is missing there")
    values = whole(stack)
    assert (values[0, 0] == IMAGE[0]).all()
    assert (values[0, 1] == 65535).all()
    assert (values[1:, 1] == [IMAGE[1], IMAGE[1] + 1]).all()
    only = find_stacks(Series(path=str(tmp_path), pattern=pattern), Bands(order=["b"]))[0]
    assert (only.bands, only.dates) == (("b",), DAYS[1:])
    assert "no band c on any date; the files hold a, b" in fault(
        Series(path=str(tmp_path), pattern=pattern), Bands(order=["c"])
    )
    assert "bands.names" in fault(
        Series(path=str(tmp_path), pattern=pattern), Bands(names=["x", "y"])
    )
    write(tmp_path / "a_20200401.tif", IMAGE)
    assert "2 bands, but (?P<band>…)" in fault(Series(path=str(tmp_path), pattern=pattern))


def test_every_file_must_have_the_groups_of_the_pattern(tmp_path):
    files(tmp_path, "a_{:%Y%m%d}.tif", image=IMAGE[:1])
    files(tmp_path, "{:%Y%m%d}.tif", image=IMAGE[:1])
    text = fault(Series(path=str(tmp_path), pattern=r"^((?P<band>[ab])_)?(?P<date>\d{8})"))
    assert text.count("the group band of series.pattern") == 3


def test_the_band_may_stand_in_the_path(tmp_path):
    for band in "ab":
        files(tmp_path / band, "{:%Y%j}.tif", image=IMAGE[:1])
    pattern = r"(?P<band>[a-z]+)/(?P<date>\d{7})\.tif"
    stack = find_stacks(Series(path=str(tmp_path), pattern=pattern))[0]
    assert (stack.bands, stack.dates) == (("a", "b"), DAYS)
    text = fault(Series(path=str(tmp_path)))
    assert "2 files on each date" in text
    assert "(?P<band>" in text
    (tmp_path / f"b/{DAYS[0]:%Y%j}.tif").unlink()
    assert "2 files on 2 of 3 dates" in fault(Series(path=str(tmp_path)))


def test_one_file_per_band_with_a_list_of_dates(tmp_path):
    first = np.stack([IMAGE[0] + np.uint16(n) for n in range(3)])
    first[1, 4, 5] = 0
    write(tmp_path / "nir.tif", first)
    write(tmp_path / "red.tif", first + np.uint16(9))
    (tmp_path / "timeline").write_text("\n".join(map(str, DAYS)))
    series = Series(path=str(tmp_path), dates=str(tmp_path / "timeline"))
    stack = find_stacks(series)[0]
    assert (stack.bands, stack.dates, len(stack.paths)) == (("nir", "red"), DAYS, 2)
    assert np.argwhere(whole(stack) == 65535).tolist() == [[1, 0, 4, 5], [1, 1, 4, 5]]
    values = whole(replace(stack, partial=True))
    assert np.argwhere(values == 65535).tolist() == [[1, 0, 4, 5]]
    assert (values[:, 1] == first + 9).all()
    later = find_stacks(Series(path=series.path, dates=series.dates, start="2020-02-01"))[0]
    assert (whole(replace(later, partial=True)) == values[1:]).all()
    assert "1 date outside the period" in later.notes[0]
    text = fault(Series(path=str(tmp_path), dates=["2020-01-10", "2020-02-20"]))
    assert text.count("3 bands, but series.dates gives 2 dates") == 2


def test_bands_that_are_called_by_dates(tmp_path):
    values = np.stack([IMAGE[0] + np.uint16(n) for n in range(3)])
    turned = [DAYS[2], DAYS[0], DAYS[1]]
    write(tmp_path / "ndvi.tif", values, names=[f"ndvi_{day:%Y%m%d}" for day in turned])
    stack = find_stacks(Series(path=str(tmp_path)))[0]
    assert (stack.bands, stack.dates) == (("ndvi",), DAYS)
    assert (whole(stack)[:, 0] == values[[1, 2, 0]]).all()
    text = fault(Series(path=str(tmp_path), dates=list(map(str, DAYS))))
    assert "band 1 is called by the date 2020-03-15, and series.dates gives it 2020-01-10" in text
    given = Series(path=str(tmp_path), dates=list(map(str, turned)))
    assert (whole(find_stacks(given)[0]) == whole(stack)).all()
    write(tmp_path / "red.tif", values, names=("a", "b", "c"))
    assert "red.tif: its bands are not called by one date each" in fault(Series(path=str(tmp_path)))


def test_the_grid_reaches_as_far_as_enough_dates(tmp_path):
    wide = np.arange(1, 2 * 40 * 60 + 1, dtype=np.uint16).reshape(2, 40, 60)
    days = [date(2020, month, 1) for month in range(1, 6)]
    parts = [(10, 20, 20, 20), (0, 0, 30, 40), (5, 0, 25, 50), (0, 10, 40, 40), (0, 10, 30, 30)]
    for day, part in zip(days, parts, strict=True):
        window = Window(*part)
        options = {"names": ("a", "b"), "grid": grid(40, 60).crop(window)}
        rows, columns = slice(window.top, window.bottom), slice(window.left, window.right)
        write(tmp_path / f"{day:%Y%m%d}.tif", wide[:, rows, columns], **options)
    (stack,) = find_stacks(Series(path=str(tmp_path)))
    # Three of five dates reach to row 0 and column 10, and up to row 30 and column 40.
    assert stack.grid.coincides(grid(40, 60).crop(Window(0, 10, 30, 30)))
    assert "footprints differ from date to date" in stack.notes[0]
    values = whole(stack)
    assert (values[3, :, :, :] == wide[:, :30, 10:40]).all()
    assert (values[0, :, 10:, 10:] == wide[:, 10:30, 20:40]).all()
    assert (values[0, :, :10] == 65535).all()
    # Half of them at least, and as many as a decision needs.
    (stack,) = find_stacks(Series(path=str(tmp_path), min_clear=1))
    assert stack.grid.coincides(grid(40, 60).crop(Window(0, 10, 30, 30)))
    (stack,) = find_stacks(Series(path=str(tmp_path), min_clear=5))
    assert stack.grid.coincides(grid(40, 60).crop(Window(10, 20, 20, 20)))


def test_real_numbers_of_many_dates_have_gaps_of_their_own(tmp_path):
    values = np.zeros((3, 20, 30), np.float64)
    values[0, 0], values[1, 1], values[2, 2] = -1.7e308, -1.7e308, 5
    write(tmp_path / "ndvi.tif", values, nodata=-1.7e308)
    stack = find_stacks(Series(path=str(tmp_path), dates=list(map(str, DAYS))))[0]
    read = whole(stack)
    assert stack.dtype == "float32"
    assert np.array_equal(np.isnan(read[:, 0]), values == -1.7e308)
    assert (read[2, 0] == values[2]).all()


def test_tiles_have_their_own_dates_and_masks(tmp_path):
    east = grid(20, 30, left=600_000)
    files(tmp_path / "i", "S_west_{:%Y%m%d}.tif")
    files(tmp_path / "i", "S_east_{:%Y%m%d}.tif", days=DAYS[1:], grid=east)
    cloud = np.ones((20, 30), np.uint8)
    # Neither says which tile it is of: the ground that it shows does.
    write(tmp_path / "m/x_20200220.tif", cloud)
    write(tmp_path / "m/y_20200315.tif", cloud, grid=east)
    pattern = r"S_(?P<tile>[a-z]+)_(?P<date>\d{8})"
    stacks = find_stacks(
        Series(path=str(tmp_path / "i"), pattern=pattern, masks=str(tmp_path / "m"))
    )
    assert [stack.name for stack in stacks] == ["east", "west"]
    assert [stack.dates for stack in stacks] == [DAYS[1:], DAYS]
    clouded = [(whole(stack) == 65535).all(axis=(1, 2, 3)).tolist() for stack in stacks]
    assert clouded == [[False, True], [False, True, False]]
    text = fault(Series(path=str(tmp_path / "i")))
    assert "lie in different places" in text
    assert "(?P<tile>…)" in text


def test_masks_by_tile_name_and_time(tmp_path):
    files(tmp_path / "i", "S_west_{:%Y%m%d}T101500.tif")
    files(tmp_path / "i", "S_east_{:%Y%m%d}T101500.tif")
    for tile, value in (("west", 0), ("east", 1)):
        mask = np.full((20, 30), value, np.uint8)
        files(tmp_path / "m", f"S_{tile}_{{:%Y%m%d}}T101500.tif", image=mask[None])
        if tile == "west":
            write(tmp_path / "m/S_west_20200110T120000.tif", mask + np.uint8(1))
    pattern = r"S_(?P<tile>[a-z]+)_(?P<date>\w+)\.tif"
    series = Series(path=str(tmp_path / "i"), pattern=pattern, masks=str(tmp_path / "m"))
    east, west = find_stacks(series)
    assert all("east" in path for path in east.masks)
    assert len(west.masks) == 3
    assert (whole(west)[0] == IMAGE).all()
    assert any("1 mask without an image" in note for note in east.notes)


def test_a_finer_mask_hides_pixels_of_which_it_hides_a_quarter(tmp_path):
    files(tmp_path / "i")
    fine = np.zeros((60, 90), np.uint8)
    fine[0, 0], fine[3:5, 3:5], fine[-1:, -3:] = 1, 1, 1
    for day in DAYS:
        write(tmp_path / f"m/{day:%Y%m%d}.tif", fine, grid=grid(60, 90, pixel=1 / 3))
    stack = find_stacks(Series(path=str(tmp_path / "i"), masks=str(tmp_path / "m")))[0]
    # A ninth of the first pixel is hidden, four of the second, three of the last.
    assert np.argwhere(whole(stack)[0, 0] == stack.missing).tolist() == [[1, 1], [19, 29]]


def test_masks_in_the_folder_of_the_images(tmp_path):
    files(tmp_path)
    files(tmp_path, "CLM_{:%Y%m%d}.tif", image=np.zeros((1, 20, 30), np.uint8))
    stack = find_stacks(Series(path=str(tmp_path), masks=f"{tmp_path}/CLM_*"))[0]
    assert (len(stack.paths), len(stack.masks)) == (3, 3)
    text = fault(Series(path=f"{tmp_path}/CLM_*", masks=str(tmp_path)))
    assert "nothing but the masks" in text


def test_masks_that_do_not_match(tmp_path):
    images = files(tmp_path / "i")
    cloud = np.ones((1, 20, 30), np.uint8)
    later = tuple(day + timedelta(365) for day in DAYS)
    text = fault(Series(path=images, masks=files(tmp_path / "late", days=later, image=cloud)))
    assert "dates of the images and the masks do not match" in text
    assert "2020-01-10" in text
    assert "2021-01-09" in text
    text = fault(Series(path=images, masks=files(tmp_path / "name", "m{:%b}.tif", image=cloud)))
    assert text.count("no date in the mask's name") == 3
    far = files(tmp_path / "far", image=cloud, grid=grid(20, 30, left=700_000))
    assert "lies elsewhere than the image of its date" in fault(Series(path=images, masks=far))


@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_masks_that_hold_a_probability(tmp_path, dtype):
    images, whole_numbers = files(tmp_path / "i"), dtype == "uint8"
    likely = np.linspace(0, 90 if whole_numbers else 0.9, 600).reshape(1, 20, 30).astype(dtype)
    likely[0, :10] = 0
    masks = tmp_path / "m"
    for day in DAYS:
        write(masks / f"M_{day:%Y%m%d}.tif", likely)
    text = fault(Series(path=images, masks=str(masks)))
    assert "such as a probability of clouds" in text
    assert ("series.mask_values=[…]" in text) == whole_numbers
    if whole_numbers:
        named = Series(path=images, masks=str(masks), mask_values=[*range(60, 101)])
        (stack,) = find_stacks(named)
        assert ((whole(stack)[:, 0] == 65535) == (likely[0] >= 60)).all()


def test_masks_that_tell_what_is_clear(tmp_path):
    images, clear = files(tmp_path / "i"), np.ones((1, 20, 30), np.uint8)
    clear[0, :5] = 0
    for name, bands, said in (
        ("udm2", ("clear", "snow"), "2 bands (clear, snow), a mask has one"),
        ("one", ("clear",), "its band is called clear, so that 0 seems to mean not clear"),
    ):
        for day in DAYS:
            image = np.repeat(clear, len(bands), axis=0)
            write(tmp_path / name / f"{day:%Y%m%d}.tif", image, names=bands)
        assert said in fault(Series(path=images, masks=str(tmp_path / name)))
    for name in ("one", "udm2"):
        named = Series(path=images, masks=str(tmp_path / name), mask_values=[0])
        assert ((whole(find_stacks(named)[0])[:, 0] == 65535) == (clear[0] == 0)).all()
    for day in DAYS:
        write(tmp_path / "mute" / f"{day:%Y%m%d}.tif", clear[0], names=())
    (stack,) = find_stacks(Series(path=images, masks=str(tmp_path / "mute")))
    assert "75% of the masks that were looked at is not 0" in stack.notes[0]


def test_bands_of_files_are_named_chosen_and_must_not_change(tmp_path):
    files(tmp_path)
    chosen = find_stacks(Series(path=str(tmp_path)), Bands(order=["b"]))[0]
    assert (whole(chosen)[0, 0] == IMAGE[1]).all()
    named = find_stacks(Series(path=str(tmp_path)), Bands(names=["x", "y"], order=["y", "x"]))[0]
    assert named.bands == ("y", "x")
    assert (whole(named)[0] == IMAGE[::-1]).all()
    nodata = find_stacks(Series(path=str(tmp_path)), Bands(nodata=1201))[0]
    gaps = [[1, 0, 19, 29], [1, 1, 19, 29], [2, 0, 19, 28], [2, 1, 19, 28]]
    assert np.argwhere(whole(nodata) == 65535).tolist() == gaps
    assert "no band nir" in fault(Series(path=str(tmp_path)), Bands(order=["nir"]))
    write(tmp_path / "S_20200401.tif", IMAGE[:1], names=("a",))
    text = fault(Series(path=str(tmp_path)))
    assert "S_20200401.tif: 1 band (a), but" in text
    assert "has 2 (a, b)" in text
    write(tmp_path / "S_20200401.tif", IMAGE, names=("a", "c"))
    assert "bands must not change between dates" in fault(Series(path=str(tmp_path)))
    write(tmp_path / "S_20200401.tif", IMAGE[::-1], names=("b", "a"))
    stack = find_stacks(Series(path=str(tmp_path)))[0]
    assert stack.bands == ("a", "b")
    assert (whole(stack)[-1] == IMAGE).all()
    assert "1 file with the bands in another order" in stack.notes[0]


def test_a_band_that_is_called_as_what_tells_clouds_is_named(tmp_path):
    files(tmp_path)
    stack = find_stacks(Series(path=str(tmp_path)), Bands(names=["B04", "SCL"]))[0]
    assert "SCL taken as a band, though called as what tells clouds" in stack.notes[0]
    chosen = Bands(names=["B04", "SCL"], order=["B04", "SCL"])
    assert not find_stacks(Series(path=str(tmp_path)), chosen)[0].notes


def test_single_bands_are_named_by_their_description_or_number(tmp_path):
    files(tmp_path / "said", image=IMAGE[:1])
    assert find_stacks(Series(path=str(tmp_path / "said")))[0].bands == ("a",)
    for day in DAYS:
        write(tmp_path / f"mute/{day}.tif", IMAGE[0], names=())
    assert find_stacks(Series(path=str(tmp_path / "mute")))[0].bands == ("band_1",)


def test_period_and_series_of_one_date(tmp_path):
    files(tmp_path)
    stack = find_stacks(Series(path=str(tmp_path), start="2020-01-10", end="2020-03-15"))[0]
    assert stack.dates == DAYS[:2]
    assert "1 date outside the period left out: 2020-03-15" in stack.notes[0]
    text = fault(Series(path=str(tmp_path), start="2020-03-01"))
    assert "one date (2020-03-15), a series needs at least 2" in text
    assert "no date lies in this period" in fault(Series(path=str(tmp_path), start="2021-01-01"))


def test_faults_of_all_files_at_once(tmp_path):
    files(tmp_path)
    (tmp_path / "S_20200401.tif").write_text("no raster")
    write(tmp_path / "S_20200402.tif", IMAGE, grid=replace(grid(20, 30), crs=""))
    text = fault(Series(path=str(tmp_path)))
    assert "can't be opened" in text
    assert "no CRS" in text


class TestProducts:
    """Sentinel-2 L2A folders."""

    BANDS = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")

    def product(self, folder, day, *, baseline="02.13", xml=True, lift=0, tile="T33TWM"):
        number = baseline.replace(".", "")
        time = f"{day:%Y%m%d}T101411"
        path = folder / f"S2A_MSIL2A_{time}_N{number}_R022_{tile}_{day:%Y%m%d}T123456.SAFE"
        images = path / f"GRANULE/L2A_{tile}_A023456_{time}/IMG_DATA"
        for name in (*self.BANDS, "SCL"):
            fine = name in ("B02", "B03", "B04", "B08")
            metres, size = (10, (40, 60)) if fine else (20, (20, 30))
            value = 2000 + lift if name != "SCL" else 4
            image = np.full(size, value, np.uint16 if name != "SCL" else np.uint8)
            if name == "SCL":
                image[5, 6] = 9
            else:
                image[:2, :2] = 0
            file = images / f"R{metres}m/{tile}_{time}_{name}_{metres}m.jp2"
            file.parent.mkdir(parents=True, exist_ok=True)
            options = {"count": 1, "height": size[0], "width": size[1], "dtype": image.dtype}
            place = {"crs": "EPSG:32633", "transform": grid(*size, pixel=metres).transform}
            with rasterio.open(
                file, "w", driver="JP2OpenJPEG", QUALITY=100, REVERSIBLE="YES", **options, **place
            ) as made:
                made.write(image, 1)
        if xml:
            offsets = "".join(
                f'<BOA_ADD_OFFSET band_id="{band}">-1000</BOA_ADD_OFFSET>' for band in range(13)
            )
            (path / "MTD_MSIL2A.xml").write_text(
                '<n1:Level-2A_User_Product xmlns:n1="https://psd-15.sentinel2.eo.esa.int">'
                f"<PROCESSING_BASELINE>{baseline}</PROCESSING_BASELINE>"
                "<BOA_QUANTIFICATION_VALUE>10000</BOA_QUANTIFICATION_VALUE>"
                f"{offsets if baseline >= '04.00' else ''}</n1:Level-2A_User_Product>"
            )
        return path

    def test_a_folder_of_products_with_and_without_the_offset(self, tmp_path):
        self.product(tmp_path / "2021", date(2021, 7, 1))
        self.product(tmp_path / "2022", date(2022, 7, 1), baseline="04.00", lift=1000)
        self.product(tmp_path / "2022", date(2022, 8, 1), baseline="05.09", lift=1000, xml=False)
        (stack,) = find_stacks(Series(path=str(tmp_path)))
        assert (stack.name, stack.bands, stack.dtype) == ("T33TWM", self.BANDS, "uint16")
        assert (stack.grid.height, stack.grid.width) == (40, 60)
        assert stack.mask_values == NOT_CLEAR
        assert any("2 of 3 products have an offset" in note for note in stack.notes)
        values = whole(stack)
        assert values.shape == (3, 10, 40, 60)
        hidden = (values == 65535).all(axis=(0, 1))
        expected = np.zeros((40, 60), bool)
        expected[:4, :4] = True  # nodata in the bands of 20 m
        expected[10:12, 12:14] = True  # cloud
        assert (hidden == expected).all()
        (stack,) = find_stacks(Series(path=str(tmp_path)), Bands(masks=False))
        assert stack.masks == stack.mask_values == ()
        assert (values[:, :, 4:10] == 2000).all()

    def test_one_product_at_a_time_bands_chosen_own_classes(self, tmp_path):
        paths = [str(self.product(tmp_path, date(2021, month, 1))) for month in (6, 7)]
        (stack,) = find_stacks(Series(path=paths, mask_values=[4]), Bands(order=["B11", "B05"]))
        assert (stack.bands, stack.grid.height) == (("B11", "B05"), 20)
        clear = (whole(stack) != 65535).all(axis=(0, 1))
        assert np.argwhere(clear).tolist() == [[5, 6]]
        assert "no file of" not in fault(Series(path=paths), Bands(order=["B99"]))
        assert "needs at least 2" in fault(Series(path=paths[0]))

    def test_the_later_baseline_counts(self, tmp_path):
        for baseline, lift in (("02.13", 0), ("05.00", 1300)):
            self.product(tmp_path, date(2021, 7, 1), baseline=baseline, lift=lift)
        self.product(tmp_path, date(2021, 8, 1))
        (stack,) = find_stacks(Series(path=str(tmp_path)))
        assert whole(stack)[:, 0, 20, 20].tolist() == [2300, 2000]
        assert any("a later baseline" in note for note in stack.notes)

    def test_rasters_beside_products_are_left_out(self, tmp_path):
        for month in (6, 7):
            self.product(tmp_path, date(2021, month, 1))
        write(tmp_path / "height.tif", IMAGE)
        stack = find_stacks(Series(path=str(tmp_path)))[0]
        assert "1 raster beside the .SAFE folders left out: height.tif" in stack.notes[0]

    def test_masks_instead_of_scene_classes(self, tmp_path):
        for month in (6, 7):
            day = date(2021, month, 1)
            self.product(tmp_path / "s", day)
            place = replace(grid(20, 30), crs="EPSG:32633")
            write(tmp_path / f"m/{day}.tif", np.ones((20, 30), np.uint8), grid=place)
        series = Series(path=str(tmp_path / "s"), masks=str(tmp_path / "m"))
        assert "B99" in fault(series, Bands(order=["B99"]))
        stack = find_stacks(series)[0]
        assert stack.mask_values == ()
        assert all(path.endswith(".tif") for path in stack.masks)

    def test_products_that_cannot_be_read(self, tmp_path):
        path = self.product(tmp_path, date(2021, 7, 1))
        (path / "MTD_MSIL2A.xml").write_text("<cut")
        (tmp_path / "S2A_MSIL1C_20210801T101411_N0301_R022_T33TWM_20210801T123456.SAFE").mkdir()
        (tmp_path / "odd.SAFE").mkdir()
        series = Series(path=str(tmp_path), pattern="(?P<date>x)", offset=-1000)
        text = fault(series)
        for words in ("level 1C", "can't be read", "no MTD_MSIL2A.xml", "series.pattern: not for"):
            assert words in text
        assert "series.offset=-1000: leave it out" in text or "say their offset" in text


def floors(low, lift, bands=(1.0, 1.3, 2.5, 1.6)):
    """(T, C) of dates with these floors in the darkest band, and this lift."""
    return np.asarray(low, float)[:, None] * bands + np.asarray(lift, float)[:, None]


class TestOffset:
    def test_a_step_and_turns_are_found(self):
        rng = np.random.default_rng(0)
        low = rng.integers(150, 450, 20)
        for lift in (np.arange(20) >= 12, np.arange(20) % 3 == 0):
            high, rest = offset.mixed(floors(low, 1000 * lift))
            assert high.tolist() == np.flatnonzero(lift).tolist()
            assert len(high) + len(rest) == 20

    def test_what_lacks_pixels_or_lies_under_snow_is_left_aside(self):
        values = floors([300] * 10, [0] * 5 + [1000] * 5)
        values[0] = np.nan
        values[1] += 5000
        assert offset.mixed(values)[0].tolist() == [5, 6, 7, 8, 9]

    @given(
        st.integers(0, 2**32 - 1),
        st.integers(4, 60),
        st.floats(0, 0.15),
    )
    def test_series_all_with_or_all_without_pass_whatever_a_few_clouds_do(self, seed, count, share):
        rng = np.random.default_rng(seed)
        low = rng.uniform(100, 500, count)
        cloudy = np.flatnonzero(rng.random(count) < share)[: max(1, count // 6)]
        cloudy = cloudy[cloudy < count - 1]  # at the end they may look like a step
        low[cloudy] += rng.uniform(500, 6000, len(cloudy))
        for lift in (0, 1000):
            assert offset.mixed(floors(low, np.full(count, lift))) is None

    def test_seasons_and_snow_pass(self):
        season = 500 + 700 * np.sin(np.linspace(0, np.pi, 13))
        assert offset.mixed(floors(season, np.zeros(13))) is None
        snow = floors([300] * 10, [0] * 10)
        snow[7:, :3] += 1200
        snow[7:, 3] -= 300
        assert offset.mixed(snow) is None
        assert offset.mixed(np.full((5, 2), np.nan)) is None
        assert offset.mixed(np.zeros((5, 2))) is None

    @pytest.mark.parametrize("unit", [None, 1, 1e-4])
    def test_a_series_that_mixes_them_is_refused_unless_told_otherwise(self, tmp_path, unit):
        rng = np.random.default_rng(1)
        days = [date(2022, 1, 1) + timedelta(5 * n) for n in range(8)]
        for number, day in enumerate(days):
            image = rng.integers(200, 900, (2, 60, 60)) * [[[1]], [[2]]]
            image += 1000 * (number >= 5)
            if unit == 1e-4:  # fewer bands may be indices
                image = np.concatenate([image, image])
            real = (image * (unit or 1)).astype(np.float32)
            real[:, 28:31] = np.nan
            write(tmp_path / f"{day}.tif", image.astype(np.uint16) if unit is None else real)
        text = fault(Series(path=str(tmp_path)))
        added = -0.1 if unit == 1e-4 else -1000
        assert "first 2022-01-26" in text
        assert "first 2022-01-01" in text
        assert f"series.offset={added} series.offset_from=2022-01-26" in text
        assert "series.check=false" in text
        find_stacks(Series(path=str(tmp_path), check=False))
        find_stacks(Series(path=str(tmp_path), offset=added, offset_from="2022-01-26"))
        find_stacks(Series(path=str(tmp_path), end="2022-01-26"))

    @pytest.mark.parametrize("lifts", [(0.3, 0.12, 0.1, 0.3), (0.08, 0.14, 0.1, 0.12), (0.1, 0.1)])
    def test_indices_that_rise_in_spring_pass(self, tmp_path, lifts):
        rng = np.random.default_rng(1)
        for number in range(8):
            lift = np.array(lifts)[:, None, None] * (number >= 5)
            image = rng.uniform(0.02, 0.3, (len(lifts), 60, 60)) + lift
            write(tmp_path / f"2022{number + 1:02}01.tif", image.astype(np.float32))
        (stack,) = find_stacks(Series(path=str(tmp_path)))
        assert stack.dtype == "float32"

    @pytest.mark.parametrize("years", [(2021, 2022), (2022, 2022)])
    def test_tiles_that_differ_by_it_are_refused_together(self, tmp_path, years):
        rng = np.random.default_rng(1)
        for tile, year, lift in zip("ab", years, (0, 1000), strict=True):
            for number in range(8):
                image = rng.integers(200, 900, (2, 60, 60)) * [[[1]], [[2]]] + lift
                day = date(year, 5, 1) + timedelta(5 * number + (tile == "b"))
                write(tmp_path / f"{tile}_{day:%Y%m%d}.tif", image.astype(np.uint16))
        series = Series(path=str(tmp_path), pattern=r"(?P<tile>[ab])_(?P<date>\d{8})")
        text = fault(series)
        assert "series b and a: reflectance with and without" in text
        assert "series.check=false" in text
        assert f"offset_from={years[1]}-05-02" in text
        find_stacks(replace(series, check=False))
        if years[0] < years[1]:
            find_stacks(replace(series, offset=-1000, offset_from="2022-01-01"))

    def test_tiles_of_brighter_ground_pass(self, tmp_path):
        rng = np.random.default_rng(1)
        for tile, bright in (("a", [[[1]], [[2]]]), ("b", [[[4]], [[10]]])):
            for number in range(8):
                image = rng.integers(300, 500, (2, 60, 60)) * bright
                day = date(2021, 5, 1) + timedelta(5 * number)
                write(tmp_path / f"{tile}_{day:%Y%m%d}.tif", image.astype(np.uint16))
        find_stacks(Series(path=str(tmp_path), pattern=r"(?P<tile>[ab])_(?P<date>\d{8})"))


@pytest.mark.real
class TestReal:
    def test_slovenia(self, real_data):
        folder = real_data / "series/slovenia"
        (stack,) = find_stacks(Series(path=str(folder / "ndvi"), masks=str(folder / "cloud")))
        assert (len(stack.dates), len(stack.paths), len(stack.masks)) == (67, 68, 68)
        assert "2015-12-08" in " ".join(stack.notes)
        assert not any("no mask" in note for note in stack.notes)
        clouded = np.isnan(whole(stack)).mean()
        assert 0.3 < clouded < 0.5
        (bare,) = find_stacks(Series(path=str(folder / "ndvi")))
        assert np.isnan(whole(bare)).mean() < clouded

    def test_mato_grosso(self, real_data):
        folder = real_data / "series/mato_grosso"
        (stack,) = find_stacks(Series(path=str(folder), dates=str(folder / "timeline")))
        assert (len(stack.dates), stack.dates[0]) == (137, date(2007, 9, 14))
        assert stack.bands == ("blue", "doy", "evi", "mir", "ndvi", "nir", "red")
        values = whole(stack)
        assert values.shape == (137, 7, 27, 37)
        place = stack.select(["evi"])
        with place.open() as reader:
            assert np.array_equal(
                reader.read(Window(5, 6, 2, 3)), values[:, 2:3, 5:7, 6:9], equal_nan=True
            )
        with rasterio.open(folder / "evi.tif") as file:
            raw = file.read()
        # Where any band has no data, the date does not count; of one band alone its own decide.
        assert np.array_equal(np.isnan(whole(place)[:, 0]), raw == file.nodata)
        assert (np.isnan(values[:, 2]) >= (raw == file.nodata)).all()
        assert np.nanmax(np.abs(values[:, 2] - raw)) < 1e-3

    def test_california(self, real_data):
        pattern = r"(?P<band>[a-z0-9]+)/(?P<date>\d{7})\.tif"
        (stack,) = find_stacks(Series(path=str(real_data / "series/california"), pattern=pattern))
        assert (len(stack.dates), stack.bands) == (13, ("evi2", "gcvi", "kndvi"))
        assert stack.dates[:2] == (date(2020, 1, 1), date(2020, 2, 1))
        assert whole(stack).shape == (13, 3, 100, 100)


SEASON = 300 * np.sin(np.linspace(0, 3, 24))[:, None] * np.array([0.2, 0.6, 1.0])
LEVEL = np.array([900.0, 1300.0, 2400.0])


@pytest.mark.parametrize(
    "lifted",
    [
        range(12, 24),  # from a day on
        range(12),  # until a day
        range(0, 24, 2),  # every other date
        range(3, 24),
    ],
)
@pytest.mark.parametrize("seed", range(5))
def test_an_offset_over_bright_ground_is_told_by_its_jumps(lifted, seed):
    floors = LEVEL + SEASON + np.random.default_rng(seed).normal(0, 15, (24, 3))
    assert offset.jumps(floors) is None
    floors[list(lifted)] += 1000
    high, low = offset.jumps(floors)
    assert {n in lifted for n in high} == {True}
    assert {n in lifted for n in low} == {False}


def test_clouds_snow_and_harvest_are_no_offset():
    """Each lifts the bands, but not all by the same; with clouds on 40 % of the dates, unmasked."""
    alarms = [offset.jumps(_clouded(seed)) is not None for seed in range(200)]
    assert np.mean(alarms) < 0.05


def _clouded(seed):
    random = np.random.default_rng(seed)
    floors = LEVEL + SEASON + random.normal(0, 40, (24, 3))
    clouded = random.random(24) < 0.4
    floors[clouded] += (
        random.uniform(0, 4000, (24, 1))[clouded] * random.uniform(0.7, 1.3, (24, 3))[clouded]
    )
    floors[:4] += [2500, 2400, -300]
    floors[16:] += [300, 500, -900]
    return floors
