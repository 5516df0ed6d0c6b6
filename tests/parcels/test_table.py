"""Long tables: columns found, dates, gaps, labels; every fault says what and where."""

import numpy as np
import pandas as pd
import pytest

from geoseg.dataset.samples import load_pixels
from geoseg.dataset.settings import SampleSettings
from geoseg.errors import InputError
from geoseg.geo.legend import Legend
from geoseg.labels.settings import Labels
from geoseg.parcels.observations import read_table
from geoseg.parcels.parcels import read_parcels
from geoseg.parcels.table import LongTable
from geoseg.parcels.table_samples import collect_table
from geoseg.scenes.bands import Bands
from geoseg.series.settings import Series

LEGEND = Legend.parse(
    [
        {"code": 2, "name": "wheat", "color": "#ffd700"},
        {"code": 5, "name": "maize", "color": "#228b22", "values": [41]},
    ],
    "test",
)
ROWS = pd.DataFrame(
    {
        "id": ["a", "b", "a", "b", "a"],
        "date": ["2022-03-01", "2022-02-01", "2022-01-15", "2022-05-05", "2022-06-01"],
        "red": [300, 200, 100, 250, 65535],
        "nir": [3000, 2000, 1000, 2500, 4000],
        "label": ["wheat", "41", "wheat", "41", "wheat"],
    }
)


def written(tmp_path, rows=ROWS, name="table.csv"):
    path = tmp_path / name
    rows.to_csv(path, index=False) if name.endswith("csv") else rows.to_parquet(path)
    return path


def table_of(path, **options):
    return LongTable(
        path, **{"samples": SampleSettings(), "series": Series(), "bands": Bands()} | options
    )


def read(path, wanted=(), **options):
    return read_table(table_of(path, **options), wanted=wanted)


def collect(path, folder, labels=None, column=None, **options):
    (folder / "pixels").mkdir(parents=True, exist_ok=True)
    table = table_of(path, **options)
    return collect_table(table, LEGEND, folder, labels=labels or Labels(), column=column)


@pytest.mark.parametrize("name", ["table.csv", "table.parquet"])
def test_rows_become_series_in_order_of_dates(tmp_path, name):
    path = written(tmp_path, name=name)
    table = read(path, wanted=["label"], bands=Bands(partial=True))
    assert list(table.ids) == ["a", "b"]
    assert table.bands == ("red", "nir")
    assert table.reference == "01-15"
    np.testing.assert_array_equal(table.values[0, :, 0], [100, 300, 65535])  # a gap
    np.testing.assert_array_equal(table.values[0, :, 1], [1000, 3000, 4000])
    np.testing.assert_array_equal(table.values[1, :, 1], [2000, 2500, 65535])  # padding
    np.testing.assert_array_equal(table.days[0], [0, 45, 137])
    np.testing.assert_array_equal(table.days[1, :2], [17, 110])
    assert "20.0% of the rows; the bands' mean" in table.notes[0]
    whole = read(path, wanted=["label"])
    np.testing.assert_array_equal(whole.values[0], [[100, 1000], [300, 3000], [65535, 65535]])
    assert "20.0% of the rows; these count as nodata (bands.partial=true" in whole.notes[0]


def test_settings_of_images_are_refused(tmp_path):
    offset = Series(offset=-1000.0, offset_from="2022-01-25")
    with pytest.raises(InputError, match=r"series.offset=-1000.0: is for images") as error:
        read(written(tmp_path), series=offset, bands=Bands(names=["red"]))
    assert len(error.value.faults) == 3


def test_columns_that_may_be_meant_otherwise_are_named(tmp_path):
    mixed = ["masked", "masked", 100, "masked", 200]
    rows = ROWS.assign(QA60=[0, 1024, 0, 0, 1024], swir=mixed, nir=[3000.5, 2000, 65535, 2500, 4])
    table = read(written(tmp_path, rows), wanted=["label"])
    assert table.bands == ("red", "nir", "QA60")
    assert "65535 stands in 1 row of nir among numbers with decimals" in table.notes[0]
    assert "QA60 taken as a band, though called as what tells clouds" in table.notes[-2]
    assert "bands.order=[red,nir]" in table.notes[-2]
    said = "swir left out: 40% of its cells are numbers, others text, such as masked"
    assert said in table.notes[-1]
    for name in ("cloud", "valid"):
        rows = ROWS.assign(**{name: [True, False, False, False, True]})
        table = read(written(tmp_path, rows), wanted=["label"])
        assert table.bands == ("red", "nir")
        assert f"{name} left out, though called as what tells clouds" in table.notes[-1]


@pytest.mark.parametrize(
    "dates",
    [
        ["20220301", "20220201", "20220115", "20220505", "20220601"],
        ["01.03.2022", "01.02.2022", "15.01.2022", "5.5.2022", "1.06.2022"],
    ],
)
def test_dates_without_dashes(tmp_path, dates):
    rows = ROWS.assign(date=dates)
    assert list(read(written(tmp_path, rows)).days[0]) == [0, 45, 137]


def test_collected_samples_know_codes_places_and_groups(tmp_path):
    rows = ROWS.assign(lon=[7.0, 8.0, 7.0, 8.0, 7.0], lat=47.0, farm=[1, 2, 1, 2, 1], year=2022)
    path = written(tmp_path, rows)
    made = collect(
        path, tmp_path / "d", bands=Bands(order=["nir", "red"]),
        samples=SampleSettings(group="farm"), column="year",
    )  # fmt: skip
    assert list(made.samples.code) == [2, 5]
    assert list(made.samples.group) == ["1", "2"]
    assert list(made.samples.fold_by) == ["2022", "2022"]
    assert list(made.samples.x) == [7.0, 8.0]
    assert made.crs == "EPSG:4326"
    assert made.bands == ("nir", "red")
    pixels, days = load_pixels(tmp_path / "d", "table")
    assert pixels.shape == (2, 3, 2)
    assert days.shape == (2, 3)
    assert list(made.samples.clear) == [2, 2]  # one of three dates lacks a band


def test_a_table_without_places_has_none(tmp_path):
    made = collect(written(tmp_path), tmp_path / "d")
    assert made.geometries is None
    assert np.isnan(made.samples.x).all()


def test_periods_of_samples_cut_their_dates_and_count_their_days(tmp_path):
    rows = ROWS.assign(**{"from": "2022-02-15", "to": "2022-06-01"})
    table = read(written(tmp_path, rows), series=Series(end="2022-03-01"))
    assert "series.end=2022-03-01: passed over, as to holds the period" in "".join(table.notes)
    assert table.values.shape[1] == 1
    assert table.reference == "02-15"
    assert [int(days[0]) for days in table.days] == [14, 79]


def test_a_date_twice_keeps_the_first_and_fills_its_gaps(tmp_path):
    more = pd.DataFrame([["a", "2022-06-01", 777, 9, "wheat"]], columns=ROWS.columns)
    table = read(written(tmp_path, pd.concat([ROWS, more])))
    np.testing.assert_array_equal(table.values[0, 2], [777, 4000])
    assert "1 row repeats a sample's date" in table.notes[0]
    assert "1 of them with other values: if they are pixels of one parcel" in table.notes[0]
    table = read(written(tmp_path, pd.concat([ROWS, ROWS])))
    assert table.notes[0].endswith("its gaps are filled")


def test_real_numbers_and_nodata(tmp_path):
    rows = ROWS.assign(red=[0.5, 0.25, -1.0, 0.1, 0.2])
    table = read(written(tmp_path, rows), bands=Bands(order=["red"], nodata=-1))
    assert table.values.dtype == np.float32
    np.testing.assert_array_equal(np.isnan(table.values[0, :, 0]), [True, False, False])


@pytest.mark.parametrize(
    ("change", "options", "said"),
    [
        ({"id": ["a", None, "a", "b", "a"]}, {}, r"row 2: no id; each row must name its sample"),
        ({"date": "soon"}, {}, r"row 1: date=soon is no date; expected YYYY-MM-DD"),
        ({}, {"samples": SampleSettings(id="plot")}, r"samples.id=plot: no such column; there are"),
        ({}, {"bands": Bands(order=["blue"])}, r"no column blue; it has .*red"),
        ({}, {"series": Series(start="2030-01-01")}, r"no row lies within its period"),
        (
            {"label": ["wheat", "41", "maize", "41", "wheat"]},
            {},
            r"1 sample has more than one label: a",
        ),
        ({"label": "oats"}, {}, r"1 value that the legend does not know \(oats\)"),
        ({"id": ["a", "b", "c", "d", "e"]}, {"labels": Labels(field="label")}, "at least two"),
    ],
)
def test_bad_tables(tmp_path, change, options, said):
    with pytest.raises(InputError, match=said):
        collect(written(tmp_path, ROWS.assign(**change)), tmp_path / "d", **options)


def test_columns_that_are_not_there_are_named(tmp_path):
    with pytest.raises(InputError, match=r"no column for the date; set samples.date="):
        read(written(tmp_path, ROWS.drop(columns="date")))
    wide = pd.DataFrame({"id": ["a", "b"]} | {f"red_{n}": [1, 2] for n in range(900)})
    with pytest.raises(InputError, match="give each date a row of its own") as error:
        read(written(tmp_path, wide))
    assert len(str(error.value)) < 600
    with pytest.raises(InputError, match="no column of numbers"):
        read(written(tmp_path, ROWS.drop(columns=["red", "nir"])))
    with pytest.raises(InputError, match="expected a table"):
        read(tmp_path / "table.xlsx")
    with pytest.raises(InputError, match="no such file"):
        read(tmp_path / "none.csv")


def test_samples_with_other_labels_can_be_left_out(tmp_path):
    rows = ROWS.assign(label=["wheat", "oats", "wheat", "oats", "wheat"])
    made = collect(written(tmp_path, rows), tmp_path / "d", labels=Labels(unknown="unlabelled"))
    assert list(made.samples.id) == ["a"]
    assert "1 sample left out, of 1 other label" in str(made.summary)


def test_samples_that_were_never_observed_are_left_out(tmp_path):
    rows = ROWS.assign(red=np.where(ROWS.id == "b", np.nan, ROWS.red))
    made = collect(written(tmp_path, rows), tmp_path / "d")
    assert list(made.samples.id) == ["a"]
    assert load_pixels(tmp_path / "d", "table")[0].shape[0] == 1
    assert "1 sample never observed: left out: b" in str(made.summary)
    with pytest.raises(InputError, match="no sample has a date on which"):
        collect(written(tmp_path, ROWS.assign(red=np.nan)), tmp_path / "e", bands=Bands(["red"]))


def test_one_name_with_several_periods_is_refused(tmp_path):
    """It would become one series of both years."""
    later = ROWS.assign(date=ROWS.date.str.replace("2022", "2023"))
    rows = [year.assign(**{"from": f"{n}-01-01", "to": f"{n + 1}-01-01"})
            for n, year in ((2022, ROWS), (2023, later))]  # fmt: skip
    with pytest.raises(
        InputError, match=r"2 samples have several periods \(from\): a, b; give each"
    ):
        read(written(tmp_path, pd.concat(rows)))


def test_a_group_that_changes_within_a_sample_is_said(tmp_path):
    rows = ROWS.assign(farm=["f", "g", "f", "g", "h"])
    made = collect(written(tmp_path, rows), tmp_path / "d", samples=SampleSettings(group="farm"))
    assert "farm changes within 1 sample (a); that of the first date counts" in str(made.summary)


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"x": 47.0, "y": 107.0}, "latitudes up to 107, where 90 is the pole: are the columns"),
        ({"x": "7,5", "y": "47,0"}, "column x: '7,5' is no coordinate; write numbers with points"),
    ],
)
def test_places_that_can_not_be_are_refused(tmp_path, columns, said):
    with pytest.raises(InputError, match=said):
        collect(written(tmp_path, ROWS.assign(**columns)), tmp_path / "d")


def test_groups_are_groups_and_attributes_are_no_bands(tmp_path):
    made = collect(written(tmp_path, ROWS.assign(group=[1, 2, 1, 2, 1])), tmp_path / "d")
    assert list(made.samples.group) == ["1", "2"]
    assert made.bands == ("red", "nir")
    rows = ROWS.assign(code=[2, 5, 2, 5, 2])
    with pytest.raises(InputError, match=r"code is constant .* bands\.order=\[red,nir\]"):
        collect(written(tmp_path, rows), tmp_path / "e")


def test_names_stay_as_they_are_written(tmp_path):
    path = tmp_path / "t.csv"
    lines = ["id,date,red,label", "007,2022-01-01,5,None", "7,2022-01-01,6,41"]
    lines += ["007,2022-02-01,7,None", "7,2022-02-01,8,41"]
    path.write_text("\n".join(lines), encoding="utf-8")
    legend = Legend.parse(
        [
            {"code": 1, "name": "None", "color": "#000000"},
            {"code": 2, "name": "maize", "color": "#ffffff", "values": [41]},
        ],
        "test",
    )
    (tmp_path / "d" / "pixels").mkdir(parents=True)
    made = collect_table(table_of(path), legend, tmp_path / "d", labels=Labels())
    assert list(made.samples.id) == ["007", "7"]
    assert list(made.samples.code) == [1, 2]


@pytest.mark.parametrize("order", [["red"], []])
def test_what_is_no_number_is_named(tmp_path, order):
    rows = ROWS.assign(red=["1", "2", "cloud", "4", "5"])
    with pytest.raises(InputError, match="row 3: red=cloud is not a number"):
        read(written(tmp_path, rows), bands=Bands(order=order))


def test_metres_are_not_taken_for_degrees(tmp_path):
    rows = ROWS.assign(x=500_000.0, y=5_100_000.0)
    with pytest.raises(InputError, match=r"coordinates up to 5.1e\+06, but samples.crs=EPSG:4326"):
        collect(written(tmp_path, rows), tmp_path / "d")
    with pytest.raises(InputError, match="EPSG:99999: no CRS known"):
        collect(written(tmp_path, rows), tmp_path / "d", samples=SampleSettings(crs="EPSG:99999"))
    samples = SampleSettings(crs="EPSG:32633")
    assert collect(written(tmp_path, rows), tmp_path / "d", samples=samples).crs == "EPSG:32633"


def test_semicolons_and_days_of_the_year(tmp_path):
    ROWS.to_csv(tmp_path / "semi.csv", sep=";", index=False)
    with pytest.raises(InputError, match="parted by semicolons"):
        read(tmp_path / "semi.csv")
    for mark, name in ((";", "semicolons"), ("\t", "tabs")):
        ROWS.assign(red=ROWS.red / 7).to_csv(
            tmp_path / "de.csv", sep=mark, decimal=",", index=False
        )
        with pytest.raises(InputError, match=f"parted by {name}; expected commas, and points"):
            read(tmp_path / "de.csv")
    rows = ROWS.assign(date=[2022060, 2022032, 2022015, 2022125, 2022152])
    assert list(read(written(tmp_path, rows)).days[0]) == [0, 45, 137]


def test_an_empty_cell_does_not_turn_65535_into_data(tmp_path):
    rows = ROWS.assign(red=[300, None, 100, 250, 65535])
    table = read(written(tmp_path, rows))
    assert table.values.dtype == np.uint16
    np.testing.assert_array_equal(table.values[0, :, 0], [100, 300, 65535])


@pytest.mark.parametrize(("least", "unit"), [(300, 1), (1500, 1), (300, 1e-4), (1500, 1e-4)])
def test_values_with_and_without_the_offset_are_refused(tmp_path, least, unit):
    """Over dark ground and over bright ground; an index beside whole numbers hides nothing."""
    random = np.random.default_rng(0)
    dates = pd.date_range("2021-06-01", periods=12, freq="30D").strftime("%Y-%m-%d")
    rows = pd.DataFrame(
        [(name, day) for day in dates for name in range(60)], columns=["id", "date"]
    )
    bands = ["red", "nir"] if unit == 1 else ["blue", "green", "red", "nir"]
    for band in bands:
        rows[band] = random.integers(least, 2500, len(rows))
        rows[band] = unit * rows[band]
    if unit == 1:
        rows = rows.assign(ndvi=(rows.nir - rows.red) / (rows.nir + rows.red))
    read(written(tmp_path, rows))
    lifted = rows.assign(**{b: rows[b] + 1000 * unit * (rows.date >= "2022-01-25") for b in bands})
    path = written(tmp_path, lifted)
    said = rf"offset of {1000 * unit:g} is mixed: .* on 4 dates \(first 2022-01-27\) .* on 8 others"
    with pytest.raises(InputError, match=said):
        read(path)
    assert read(path, series=Series(check=False)).values.shape[:2] == (60, 12)


@pytest.mark.parametrize("late", [0, 250, 310])
@pytest.mark.parametrize("start", ["2019-10-30", "2019-11-05", "2020-01-01"])
def test_a_sample_whose_first_dates_are_clouded_is_of_the_same_season(tmp_path, start, late):
    """And one of the next year counts its days as this one does."""
    days = np.arange(0, 360, 10)
    begin = np.datetime64(start)
    parts = [
        pd.DataFrame({"id": name, "date": (begin + shift + of).astype(str), "red": of + 1})
        for name, shift, of in (
            ("whole", 0, days), ("late", 0, days[days >= late]), ("again", 0, days),
            ("next", 366, days),
        )
    ]  # fmt: skip
    table = read(written(tmp_path, pd.concat(parts)))
    by_name = {
        name: {int(v): int(d) for v, d in zip(values[:, 0], of, strict=True) if v < 65535}
        for name, values, of in zip(table.ids, table.values, table.days, strict=True)
    }
    assert by_name["late"].items() <= by_name["whole"].items()
    assert all(abs(day - by_name["whole"][v]) <= 2 for v, day in by_name["next"].items())


def test_days_are_those_of_the_clock_whatever_the_time_zones(tmp_path):
    zones = ["T23:30:00+01:00", "T00:30:00+02:00", "T10:00:00Z", "", " 12:00:00.123 +0530"]
    rows = ROWS.assign(date=[day + zone for day, zone in zip(ROWS.date, zones, strict=True)])
    np.testing.assert_array_equal(read(written(tmp_path, rows)).days, read_plain(tmp_path).days)


def read_plain(tmp_path):
    return read(written(tmp_path, name="plain.csv"))


def test_row_numbers_are_no_band(tmp_path):
    ROWS.to_csv(tmp_path / "numbered.csv")
    table = read(tmp_path / "numbered.csv")
    assert table.bands == ("red", "nir")
    assert "numbered.csv: 1 column without a name left out" in table.notes[-1]
    many = pd.concat([ROWS.assign(date=f"2022-0{month}-01") for month in range(1, 6)])
    rows = many.assign(fid=np.arange(len(many)) + 7)
    with pytest.raises(
        InputError, match=r"fid is row numbers, so it is no band.* bands\.order=\[red,nir\]"
    ):
        read(written(tmp_path, rows))
    rows = many.assign(month=pd.to_datetime(many.date).dt.month)
    with pytest.raises(
        InputError, match=r"month is only a part of the date.* bands\.order=\[red,nir\]"
    ):
        read(written(tmp_path, rows))
    dates = pd.to_datetime(many.date)
    whole = (dates - dates.min()).dt.days + 3
    own = (dates - dates.groupby(many.id).transform("min")).dt.days
    for days in (whole, own.astype(float)):
        notes = "\n".join(read(written(tmp_path, many.assign(day=days))).notes)
        assert "day taken as a band, though its values are days from a start" in notes
        assert "bands.order=[red,nir]" in notes


def test_rows_that_end_in_a_comma_are_not_moved_by_a_column(tmp_path):
    plain = read_plain(tmp_path)
    first, *lines = ROWS.to_csv(index=False).splitlines()
    path = tmp_path / "comma.csv"
    for header in (first, f"{first},"):
        path.write_text("\n".join([header, *(f"{line}," for line in lines)]), encoding="utf-8")
        table = read(path)
        assert table.bands == plain.bands
        np.testing.assert_array_equal(table.values, plain.values)
    path.write_text(first, encoding="utf-8")
    with pytest.raises(InputError, match="no rows"):
        read(path)
    path.write_text("\n".join([first, *(f"{line},7" for line in lines)]), encoding="utf-8")
    with pytest.raises(InputError, match="rows have 6 fields, and the first line 5 names"):
        read(path)


def test_numbers_with_commas_are_not_passed_over(tmp_path):
    rows = ROWS.assign(red=["0,3", "0,2", "0,1", "0,25", None])
    with pytest.raises(InputError, match="red=0,3: a comma in a number; write decimal points"):
        read(written(tmp_path, rows))
    assert read(written(tmp_path, rows), bands=Bands(order=["nir"])).bands == ("nir",)


def test_nullable_numbers_of_a_parquet_file(tmp_path):
    rows = ROWS.assign(red=pd.array([300, None, 100, 250, 65535], dtype="Int64"))
    table = read(written(tmp_path, rows, "table.parquet"))
    np.testing.assert_array_equal(table.values[0, :, 0], [100, 300, 65535])
    np.testing.assert_array_equal(table.values[1, :, 0], [65535, 250, 65535])


def test_the_index_of_a_parquet_file_is_a_column(tmp_path):
    path = written(tmp_path, ROWS.set_index("id"), "table.parquet")
    assert read(path).ids.tolist() == ["a", "b"]


@pytest.mark.parametrize(
    "rows",
    [
        ROWS.set_index("id", drop=False),
        ROWS.rename_axis("row"),
        ROWS.iloc[::-1].rename_axis("row"),
        ROWS.set_index(["id", "date"]),
    ],
    ids=["a column too", "row numbers", "row numbers in another order", "two columns"],
)
def test_an_index_adds_no_band_and_no_column_twice(tmp_path, rows):
    table = read(written(tmp_path, rows, "table.parquet"))
    assert table.bands == ("red", "nir")
    assert sorted(table.ids.tolist()) == ["a", "b"]


def test_headers_and_letters_that_can_not_be_read(tmp_path):
    text = ROWS.rename(columns={"nir": "red"}).to_csv(index=False)
    (tmp_path / "twice.csv").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match="red: more than one column of this name"):
        read(tmp_path / "twice.csv")
    text = ROWS.assign(label="Grünland").to_csv(index=False)
    (tmp_path / "windows.csv").write_bytes(text.encode("cp1252"))
    with pytest.raises(InputError, match=r"not UTF-8.* save the table as UTF-8"):
        read(tmp_path / "windows.csv")
    (tmp_path / "excel.csv").write_bytes(text.encode("utf-16"))
    with pytest.raises(InputError, match="the text is UTF-16; save the table as UTF-8"):
        read(tmp_path / "excel.csv")
    ROWS.to_csv(tmp_path / "tabs.csv", sep="\t", index=False)
    with pytest.raises(InputError, match="parted by tabs; expected commas"):
        read(tmp_path / "tabs.csv")


def test_points_of_a_header_with_one_name_twice_are_refused(tmp_path):
    (tmp_path / "p.csv").write_text("id,x,y,crop,crop\n1,11,47,wheat,maize\n", encoding="utf-8")
    with pytest.raises(InputError, match="crop: more than one column of this name"):
        read_parcels(Labels(path=str(tmp_path / "p.csv"), field="crop"))
