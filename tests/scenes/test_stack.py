"""Stacks: read by windows, merged, masked, shifted; windows, days and anchors."""

from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoseg.errors import InputError
from geoseg.geo.grid import Window
from geoseg.scenes import layers
from geoseg.scenes.calendar import anchor, anchors
from geoseg.scenes.layers import Layer
from geoseg.scenes.stack import MISSING, Stack
from geoseg.series.find import find_stacks
from geoseg.series.settings import Series
from tests.made.scenes import grid, write

DAYS = tuple(date(2020, 1, 1) + timedelta(10 * n) for n in range(4))
VALUES = np.arange(1, 4 * 2 * 20 * 30 + 1, dtype=np.uint16).reshape(4, 2, 20, 30)


def whole(stack, window=None):
    with stack.open() as reader:
        return reader.read(window or stack.grid.window)


def dated(folder, values=VALUES, **options):
    """One file per date, of as many bands as there are."""
    names = tuple("abcdefgh"[: values.shape[1]])
    for day, image in zip(DAYS, values, strict=False):
        write(folder / f"s_{day:%Y%m%d}.tif", image, names=names, **options)
    return folder


def stack_of(folder, **settings):
    return find_stacks(Series(path=str(folder), **settings))[0]


def test_anchor_is_the_last_such_day_up_to_two_months_after_the_start():
    assert anchor(date(2020, 1, 1), "01-01") == date(2020, 1, 1)
    assert anchor(date(2019, 11, 5), "01-01") == date(2020, 1, 1)
    assert anchor(date(2019, 11, 1), "01-01") == date(2019, 1, 1)
    assert anchor(date(2020, 12, 30), "09-01") == date(2020, 9, 1)
    assert anchor(date(2019, 3, 1), "02-29") == date(2019, 2, 28)
    assert anchor(date(2020, 3, 1), "02-29") == date(2020, 2, 29)
    for wrong in ("13-01", "02-30", "2020-01-01", "spring"):
        with pytest.raises(InputError, match="MM-DD"):
            anchor(date(2020, 1, 1), wrong)


@given(st.dates(date(1960, 1, 1), date(2090, 1, 1)), st.dates(date(2019, 1, 1), date(2019, 12, 31)))
def test_a_period_starts_from_60_days_before_to_305_after_its_anchor(start, day):
    found = anchor(start, f"{day:%m-%d}")
    assert (found.month, found.day) == (day.month, day.day)
    assert -60 <= (start - found).days <= 306


def test_seasons_that_begin_at_about_the_same_time_are_counted_alike():
    begins = [date(2019, 10, 30), date(2020, 11, 4)]
    zeros = anchors(begins, "01-01")
    assert zeros == {begins[0]: date(2020, 1, 1), begins[1]: date(2021, 1, 1)}
    months = [date(2020, month, 1) for month in (1, 4, 7)]
    assert anchors(months, "01-01") == dict.fromkeys(months, date(2020, 1, 1))
    assert anchors([], "01-01") == {}


@given(
    st.dates(date(2000, 1, 1), date(2003, 12, 31)),
    st.lists(st.tuples(st.integers(0, 100), st.integers(0, 9)), min_size=1, max_size=8),
)
def test_the_same_calendar_day_has_about_the_same_day_in_all_seasons(first, later):
    begins = [date(2000 + year, first.month, min(first.day, 28)) + timedelta(n)
              for n, year in later]  # fmt: skip
    zeros = anchors(begins, "01-01")
    days = [(begin - zeros[begin]).days for begin in begins]
    assert max(days) - min(days) <= 101
    assert all((zero.month, zero.day) == (1, 1) for zero in zeros.values())


def test_values_of_files_of_all_bands(tmp_path):
    stack = stack_of(dated(tmp_path))
    assert (stack.name, stack.bands, stack.dates) == (tmp_path.name, ("a", "b"), DAYS)
    assert (stack.dtype, stack.missing, len(stack.paths)) == ("uint16", 65535, 4)
    values = whole(stack)
    assert values.dtype == np.uint16
    assert (values == VALUES).all()
    values = whole(stack, Window(15, 25, 10, 10))
    assert (values[..., :5, :5] == VALUES[..., 15:, 25:]).all()
    assert (values[..., 5:, :] == 65535).all()
    assert stack.days(date(2019, 12, 31)).tolist() == [1, 11, 21, 31]
    assert stack.days(DAYS[0]).dtype == np.int16


@pytest.mark.parametrize(
    ("dtype", "kept", "nodata"),
    [
        ("uint8", "uint16", 0),
        ("uint16", "uint16", 0),
        ("int16", "int16", -9999),
        ("uint32", "float32", 0),
        ("int32", "float32", -1),
        ("float32", "float32", np.nan),
        ("float64", "float32", -1.7e308),
    ],
)
def test_only_three_data_types(tmp_path, dtype, kept, nodata):
    values = np.full((3, 1, 20, 30), 7, dtype)
    values[1, 0, 3, 4] = nodata
    stack = stack_of(dated(tmp_path, values, nodata=nodata))
    assert stack.dtype == kept
    read = whole(stack)
    assert read.dtype == kept
    missing = np.isnan(read) if kept == "float32" else read == MISSING[kept]
    assert np.argwhere(missing).tolist() == [[1, 0, 3, 4]]
    assert (read[~missing] == 7).all()


def test_an_observation_counts_if_all_its_bands_have_data_and_zero_is_a_value(tmp_path):
    values = np.zeros((2, 3, 20, 30), np.float32)
    values[0, 1, 2, 3] = np.nan
    values[0, 2, 2, 3] = -1
    values[1, :, 5] = np.nan
    expected = np.where(values == -1, np.nan, values)
    for nodata, name in ((-1, "number"), (np.nan, "nan")):
        stack = stack_of(dated(tmp_path / name, values, nodata=nodata))
        right = expected if nodata == -1 else values
        assert np.array_equal(whole(replace(stack, partial=True)), right, equal_nan=True)
        none = np.broadcast_to(np.isnan(right).any(axis=1, keepdims=True), right.shape)
        assert np.array_equal(whole(stack), np.where(none, np.nan, right), equal_nan=True)


def test_nodata_in_one_band_is_missing_in_all_unless_partial(tmp_path):
    values = VALUES.copy()
    values[0, 0, 0, 0] = 0
    values[0, :, 0, 1] = 0
    stack = stack_of(dated(tmp_path, values))
    read = whole(stack)
    assert (read[0, :, 0, :2] == 65535).all()
    assert (read[0, :, 0, 2:] == VALUES[0, :, 0, 2:]).all()
    partial = whole(replace(stack, partial=True))
    assert partial[0, :, 0, 0].tolist() == [65535, values[0, 1, 0, 0]]
    assert (partial[0, :, 0, 1] == 65535).all()


def test_masks_hide_all_bands_and_values_choose(tmp_path):
    dated(tmp_path / "i")
    classes = np.zeros((20, 30), np.uint8)
    classes[2], classes[3], classes[4] = 1, 2, 9
    for day in DAYS[1:]:
        write(tmp_path / f"m/mask_{day:%Y%m%d}.tif", classes)
    for chosen, rows in (([], [2, 3, 4]), ([2, 9], [3, 4]), ([0], [*range(2), *range(5, 20)])):
        stack = stack_of(tmp_path / "i", masks=str(tmp_path / "m"), mask_values=chosen)
        read = whole(stack)
        assert (read[0] == VALUES[0]).all()
        hidden = (read[1:] == 65535).all(axis=(0, 1, 3))
        assert np.flatnonzero(hidden).tolist() == rows
        assert (read[1:, :, ~hidden] == VALUES[1:, :, ~hidden]).all()
        assert len(stack.masks) == 3
        assert any("no mask for 1 of 4 dates (2020-01-01)" in note for note in stack.notes)


def test_a_coarse_mask_is_not_smoothed_and_a_small_one_hides_what_it_does_not_show(tmp_path):
    dated(tmp_path / "i")
    coarse = np.zeros((8, 10), np.uint8)
    coarse[1, 1] = 4
    for day in DAYS:
        write(tmp_path / f"m/{day:%Y%m%d}.tif", coarse, grid=grid(8, 10, pixel=2))
    hidden = (whole(stack_of(tmp_path / "i", masks=str(tmp_path / "m"))) == 65535).all((0, 1))
    expected = np.ones((20, 30), bool)
    expected[:16, :20] = np.kron(coarse > 0, np.ones((2, 2), bool))
    assert (hidden == expected).all()


def test_the_later_of_two_acquisitions_fills_the_holes_of_the_earlier(tmp_path):
    early, late = VALUES[0].copy(), VALUES[1].copy()
    early[:, 5] = 0
    late[:, :, 7] = 0
    write(tmp_path / "i/s_20200101T120000.tif", late, names=("a", "b"))
    write(tmp_path / "i/s_20200101T100000.tif", early, names=("a", "b"))
    write(tmp_path / "i/s_20200111T100000.tif", VALUES[2], names=("a", "b"))
    cloud = np.zeros((20, 30), np.uint8)
    cloud[9] = 1
    write(tmp_path / "m/c_20200101T100000.tif", cloud)
    write(tmp_path / "m/c_20200101T120000.tif", np.zeros_like(cloud))
    write(tmp_path / "m/c_20200111T100000.tif", cloud)
    stack = stack_of(tmp_path / "i", masks=str(tmp_path / "m"))
    assert stack.dates == DAYS[:2]
    assert "several acquisitions of one day" in stack.notes[0]
    assert "2020-01-01" in stack.notes[0]
    read = whole(stack)
    expected = early.copy()
    expected[:, [5, 9]] = late[:, [5, 9]]
    expected[expected == 0] = 65535
    assert (read[0] == expected).all()
    assert (read[1, :, 9] == 65535).all()


def test_offset_is_added_from_a_day_on_and_never_below_zero(tmp_path):
    dated(tmp_path)
    shifted = whole(stack_of(tmp_path, offset=-1000, offset_from="2020-01-11"))
    assert (shifted[0] == VALUES[0]).all()
    assert (shifted[1:] == np.clip(VALUES[1:].astype(int) - 1000, 0, None)).all()
    assert (whole(stack_of(tmp_path, offset=500)) == VALUES + 500).all()
    half = stack_of(tmp_path, offset=0.5)
    assert half.dtype == "float32"
    assert (whole(half) == VALUES + 0.5).all()


def test_coarse_bands_are_warped_onto_the_grid_of_fine_ones(tmp_path):
    pattern = r"(?P<band>B\d\d)_(?P<date>\d{8})"
    for day in DAYS:
        write(tmp_path / f"B08_{day:%Y%m%d}.tif", VALUES[0, 0])
        ramp = np.arange(100, 1600, 10, dtype=np.uint16).reshape(10, 15)
        write(tmp_path / f"B11_{day:%Y%m%d}.tif", ramp, grid=grid(10, 15, pixel=2))
    stack = stack_of(tmp_path, pattern=pattern)
    assert (stack.grid.height, stack.grid.width) == (20, 30)
    assert any("4 files on another grid" in note for note in stack.notes)
    read = whole(stack)
    assert (read[:, 0] == VALUES[0, 0]).all()
    inner = read[0, 1, 1:-1, 1:-1].astype(int)
    assert (np.diff(inner, axis=0) >= 0).all()
    assert len(np.unique(inner)) > 150  # bilinear
    assert (read != 65535).all()


def test_select_within_and_json(tmp_path):
    stack = stack_of(dated(tmp_path / "old/i"))
    part = stack.select(["b"]).within(DAYS[1], DAYS[3])
    assert (part.dates, part.bands, len(part.layers)) == (DAYS[1:3], ("b",), 2)
    assert (whole(part) == VALUES[1:3, 1:]).all()
    assert (whole(stack.select(["b", "a"])) == VALUES[:, ::-1]).all()
    with pytest.raises(InputError, match="no band nir; it has a, b"):
        stack.select(["a", "nir"])
    with pytest.raises(InputError, match="no date from 2021-01-01"):
        stack.within(date(2021, 1, 1), date(2022, 1, 1))
    values = part.to_dict(tmp_path / "old/dataset")
    (tmp_path / "old").rename(tmp_path / "new")
    again = Stack.from_dict(values, tmp_path / "new/dataset")
    assert replace(again, layers=()) == replace(part, layers=())
    assert (whole(again) == VALUES[1:3, 1:]).all()


def test_files_beyond_the_limit_take_turns(tmp_path, monkeypatch):
    assert 1 <= layers.open_limit() <= layers.OPEN
    monkeypatch.setattr(layers, "OPEN", 2)
    stack = stack_of(dated(tmp_path))
    with stack.open() as reader:
        assert reader._files.most == 2
        for _ in range(2):
            assert (reader.read(stack.grid.window) == VALUES).all()
            assert len(reader._files._open) == 2


def test_a_damaged_file_is_named(tmp_path):
    stack = stack_of(dated(tmp_path))
    path = tmp_path / "s_20200111.tif"
    path.write_bytes(path.read_bytes()[:900])
    with pytest.raises(InputError, match=r"s_20200111\.tif"):
        whole(stack)


@given(
    size=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    block=st.tuples(st.integers(1, 32), st.integers(1, 32)),
    memory=st.integers(1, 20_000),
)
def test_windows_partition_the_grid_within_the_memory(size, block, memory):
    place = grid(*size)
    stack = Stack("s", place, DAYS, ("a", "b"), "uint16", (), block=block)
    seen = np.zeros(size, int)
    pixel = 4 * 2 * 2
    for window in stack.windows(memory):
        seen[window.within(place.window)] += 1
        assert window.area * pixel <= max(memory, pixel)
        if memory >= pixel * min(block[0], size[0]) * min(block[1], size[1]):
            assert window.top % block[0] == 0
            assert window.left % block[1] == 0
    assert (seen == 1).all()


def test_windows_read_what_the_whole_grid_holds(tmp_path):
    stack = replace(stack_of(dated(tmp_path)), block=(8, 8))
    values = np.zeros(VALUES.shape, np.uint16)
    with stack.open() as reader:
        windows = list(reader.stack.windows(8 * 8 * 16))
        for window in windows:
            values[(..., *window.within(stack.grid.window))] = reader.read(window)
    assert len(windows) == 12
    assert (values == VALUES).all()


def test_a_date_without_a_layer_of_a_band_is_missing(tmp_path):
    path = write(tmp_path / "a.tif", VALUES[0, 0])
    place = find_stacks(Series(path=str(dated(tmp_path / "i"))))[0].grid
    layer = Layer(str(path), DAYS[0], (1,), ("a",))
    stack = Stack("s", place, DAYS[:2], ("a", "b"), "uint16", (layer,))
    assert (whole(stack) == 65535).all()  # no date has both bands
    read = whole(replace(stack, partial=True))
    assert (read[0, 0] == VALUES[0, 0]).all()
    assert (read[0, 1] == 65535).all()
    assert (read[1] == 65535).all()
