"""Tables without labels get a class per sample; columns by name, the same bytes each time."""

import csv
import unicodedata
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from geoseg.dataset.samples import pixels_path, save_array, save_days
from geoseg.dataset.settings import SampleSettings
from geoseg.errors import InputError
from geoseg.outputs.files import read_json
from geoseg.parcels import classify
from geoseg.parcels import predict_table as tablemaps
from geoseg.parcels.observations import TILE
from geoseg.parcels.predict_table import HEADER, predict_table
from geoseg.parcels.table import LongTable
from geoseg.parcels.table_samples import of_table
from geoseg.predict import PredictConfig, TilingChoice, _images, _series
from geoseg.prediction.network import Engine, InferenceSettings
from geoseg.scenes.bands import Bands
from geoseg.series.settings import Series
from tests.made.scenes import LEGEND
from tests.made.series import CARD, ByRed, network

DATES = ("2021-01-05", "2021-02-09", "2021-03-20")
RED = {"a": 100, "b": 300, "c": 200, "d": 155}


def rows(red=RED, dates=DATES, **columns):
    """A row per sample and date, the samples of a date together."""
    made = [{"id": name, "date": day, "nir": 900, "red": value, **columns}
            for day in dates for name, value in red.items()]  # fmt: skip
    return pd.DataFrame(made)


def write(folder, table, name="table.csv"):
    path = folder / name
    table.to_csv(path, index=False) if name.endswith("csv") else table.to_parquet(path)
    return path


def predict(path, by=None, out=None, **options):
    """Predict a table; returns what was said, and the rows of series.csv by id."""
    rooms = {"samples": SampleSettings(), "series": Series(), "bands": Bands()}
    rooms |= {name: options.pop(name) for name in rooms.keys() & options}
    out = out or path.parent / "out"
    said = str(predict_table(by or network(), LongTable(path, **rooms), out, **options))
    with (out / "series.csv").open(encoding="utf-8", newline="") as file:
        read = list(csv.DictReader(file))
    assert tuple(read[0]) == HEADER
    return said, {row["id"]: row for row in read}


def probabilities_of(path, by, folder):
    """Probabilities of the samples of a table, by a network."""
    seen, _, _ = tablemaps._read(tablemaps._as_trained(plain_table(path), by.card), by.card)
    save_array(pixels_path(folder / "w", TILE), seen.values)
    save_days(folder / "w", TILE, seen.days)
    samples = of_table(seen.ids, np.ones(len(seen.ids)))
    return list(classify.Classifier(by).probabilities(folder / "w", samples))


def plain_table(path):
    return LongTable(path, SampleSettings(), Series(), Bands())


def test_each_sample_gets_a_class(tmp_path):
    said, found = predict(write(tmp_path, rows(crop="unknown", note=7.5)))
    assert list(found) == list(RED)
    codes = LEGEND.codes
    assert [row["code"] for row in found.values()] == [str(codes[k]) for k in (0, 2, 1, 1)]
    assert found["b"]["name"] == LEGEND.names[2]
    assert found["b"]["code2"] == str(codes[1])
    assert found["d"]["name2"] == LEGEND.names[0]
    assert found["a"]["clear"] == "3"
    assert all(len(row["confidence"]) == 6 for row in found.values())
    assert "4 samples in" in said
    record = read_json(tmp_path / "out/predict.json")
    assert record["table"]["samples"] == 4
    assert record["settings"]["threshold"] == 0
    assert not (tmp_path / "out/.pixels").exists()


def test_parquet_and_csv_give_the_same_bytes_in_any_order_of_columns(tmp_path):
    table = rows()
    for number, path in enumerate(
        (
            write(tmp_path, table),
            write(tmp_path, table[["red", "date", "nir", "id"]], "other.csv"),
            write(tmp_path, table, "table.parquet"),
        )
    ):
        predict(path, out=tmp_path / str(number))
    first, *others = [(tmp_path / str(n) / "series.csv").read_bytes() for n in range(3)]
    assert others == [first, first]


def test_ids_in_any_spelling_keep_their_class(tmp_path):
    apart = unicodedata.normalize("NFD", "Grünland")
    table = rows({apart: 100, "b ": 300, "2.0": 200, "2": 200})
    _, found = predict(write(tmp_path, table))
    codes = LEGEND.codes
    assert {name: row["code"] for name, row in found.items()} == {
        apart: str(codes[0]), "b": str(codes[2]), "2": str(codes[1])
    }  # fmt: skip


def test_no_decision(tmp_path):
    table = rows()
    table.loc[table.id == "b", ["red", "nir"]] = np.nan
    table.loc[(table.id == "c") & (table.date != DATES[0]), ["red", "nir"]] = np.nan
    table.loc[table.id == "a", "date"] = "2020" + table.date.str[4:]
    path = write(tmp_path, table)
    said, found = predict(path, threshold=0.8, series=Series(start="2021-01-01"))
    assert list(found) == list(RED)
    assert {row["name"] for row in found.values()} == {"no decision"}
    assert {row["code"] + row["confidence"] for row in found.values()} == {""}
    assert [row["code2"] for row in found.values()] == [
        *("", ""), *[str(LEGEND.codes[1])] * 2
    ]  # fmt: skip
    assert [row["clear"] for row in found.values()] == ["0", "0", "1", "3"]
    assert float(found["d"]["confidence2"]) < 0.8
    assert "4 samples without decision: 2 never observed" in said


def test_dates_of_a_second_year_are_said(tmp_path):
    both = pd.concat([rows(), rows(dates=[day.replace("2021", "2022") for day in DATES[:2]])])
    said, _ = predict(write(tmp_path, both))
    assert "WARNING" in said
    assert "40% of the dates (2022-01-05 to 2022-02-09) lie outside the part of the year" in said
    assert "series.start=2021-01-01 series.end=2021-05-12" in said


def test_several_networks_are_averaged(tmp_path):
    class Shifted(ByRed):
        def forward(self, *inputs):
            return super().forward(*inputs).roll(1, dims=1) / 2

    path = write(tmp_path, rows())
    filling = replace(CARD, series=replace(CARD.series, fill="linear"))
    members = [network(), replace(network(filling, Shifted()), hash="1" * 16)]
    both = replace(members[0], own_hash=members[0].hash, others=(members[1],))
    given = [np.concatenate(probabilities_of(path, one, tmp_path)) for one in (*members, both)]
    assert np.allclose(given[2], (given[0] + given[1]) / 2, atol=1e-6)
    assert not np.allclose(given[0], given[1], atol=0.1)
    _, found = predict(path, by=both)
    assert [row["code"] for row in found.values()] == [
        str(CARD.legend.codes[k]) for k in given[2].argmax(axis=1)
    ]


def test_many_samples_in_parts_are_the_same(tmp_path, monkeypatch):
    numbers = np.random.default_rng(0).integers(1, 4, 700)
    red = {f"s{n}": 100 * int(number) for n, number in enumerate(numbers)}
    path = write(tmp_path, rows(red))
    _, found = predict(path)
    assert [row["code"] for row in found.values()] == [
        str(LEGEND.codes[number - 1]) for number in numbers
    ]
    monkeypatch.setattr(classify, "AT_ONCE", 64)
    monkeypatch.setattr(tablemaps, "ROWS", 100)
    predict(path, out=tmp_path / "parts")
    whole, parts = ((tmp_path / f / "series.csv").read_bytes() for f in ("out", "parts"))
    assert whole == parts


def test_days_are_counted_as_in_the_training(tmp_path):
    class ByDay(ByRed):
        def forward(self, values, valid, days, shape):
            first = days.where(valid.any(dim=2), 1e6).min(dim=1).values
            return -((first[:, None] - self.values) ** 2)

    def trained(**values):
        return replace(CARD, series=replace(CARD.series, **values))

    card = trained(reference="09-01", first_day=98, last_day=230)
    table = rows({"a": 100}, dates=("2020-12-10", "2021-01-09", "2021-02-08"))
    path = write(tmp_path, table)
    # 10 December is day 100 since 1 September, and day 284 since 1 March.
    _, found = predict(path, by=network(card, ByDay()))
    assert found["a"]["code"] == str(LEGEND.codes[0])
    other = trained(reference="03-01", first_day=284, last_day=410)
    _, found = predict(path, by=network(other, ByDay()), out=tmp_path / "other")
    assert found["a"]["code"] == str(LEGEND.codes[2])


def test_unknown_shapes_say_nothing(tmp_path):
    class Shaped(ByRed):
        def forward(self, values, valid, days, shape):
            assert (shape == 0).all()
            return super().forward(values, valid, days, shape)

    card = replace(CARD, series=replace(CARD.series, shape_std=(1.0, 1.0, 0.1, 0.1)))
    _, found = predict(write(tmp_path, rows()), by=network(card, Shaped()))
    assert found["a"]["code"] == str(LEGEND.codes[0])


def test_nothing_is_done_twice_and_a_changed_table_is_followed(tmp_path):
    path = write(tmp_path, rows())
    predict(path)
    said, _ = predict(path, by=network(source=Broken()))
    assert "nothing to do" in said
    with pytest.raises(InputError, match=r"other settings \(threshold\)"):
        predict(path, threshold=0.5)
    write(tmp_path, rows(dict.fromkeys(RED, 300)))
    _, found = predict(path)
    assert {row["code"] for row in found.values()} == {str(LEGEND.codes[2])}


def test_broken_classes_are_made_again(tmp_path):
    path = write(tmp_path, rows())
    _, first = predict(path)
    (classes,) = tmp_path.rglob("series.csv")
    for broken in (classes, classes.with_name("predict.json")):
        broken.write_text("")
        said, found = predict(path)
        assert "nothing to do" not in said
        assert found == first
        assert "nothing to do" in predict(path)[0]


class Broken(ByRed):
    def forward(self, *_):
        raise RuntimeError("boom")


def test_broken_off_and_started_again(tmp_path):
    path = write(tmp_path, rows())
    with pytest.raises(RuntimeError, match="boom"):
        predict(path, by=network(source=Broken()))
    assert not (tmp_path / "out/series.csv").exists()
    assert not (tmp_path / "out/.pixels").exists()
    predict(path)
    predict(path, out=tmp_path / "undisturbed")
    first, second = ((tmp_path / f / "series.csv").read_bytes() for f in ("out", "undisturbed"))
    assert first == second


def test_what_does_not_suit(tmp_path):
    with pytest.raises(InputError, match="no column nir; the model wants red, nir"):
        predict(write(tmp_path, rows().rename(columns={"nir": "B08"})))
    with pytest.raises(InputError, match=r"table=.*nowhere\.csv: no such file"):
        predict(tmp_path / "nowhere.csv")
    with pytest.raises(InputError, match=r"samples\.id="):
        predict(write(tmp_path, rows().rename(columns={"id": "name"})))
    bright = rows({name: 40 * value for name, value in RED.items()})
    bright.nir = 40_000
    with pytest.raises(InputError, match="other units"):
        predict(write(tmp_path, bright))
    with pytest.raises(InputError, match=r"threshold=2: must lie in 0\.\.1"):
        predict(write(tmp_path, rows()), threshold=2)
    maps = replace(CARD, series=replace(CARD.series, unit="map"))
    with pytest.raises(InputError, match="unit=map"):
        predict(write(tmp_path, rows()), by=network(maps))
    assert not (tmp_path / "out").exists()


def test_what_a_table_has_no_use_for_is_named(tmp_path):
    given = {"table": "t.csv", "out": str(tmp_path / "out")}
    with pytest.raises(InputError, match="the samples of a table need no outlines"):
        _series(PredictConfig(**given, parcels="p.gpkg"), network())
    with pytest.raises(InputError, match="parcels_layer=one: is for parcels=<file>"):
        _series(PredictConfig(**given, parcels_layer="one"), network())
    for key, value in (("smooth", 3), ("backend", "openvino")):
        by = replace(network(), running=InferenceSettings(**{key: value}))
        with pytest.raises(InputError, match=rf"^predict\.{key}={value}: "):
            _series(PredictConfig(**given), by)


@pytest.mark.parametrize("given", [{"table": "t.csv"}, {"parcels": "p.gpkg"}])
def test_windows_and_engines_are_for_maps(tmp_path, given):
    config = PredictConfig(
        **given, out=str(tmp_path / "out"), series=Series(path=None if "table" in given else "s"),
        tiling=TilingChoice(size=128), engine=Engine(retries=5),
    )  # fmt: skip
    with pytest.raises(InputError) as caught:
        _series(config, network())
    assert [fault.partition(":")[0] for fault in caught.value.faults] == [
        "tiling.size", "engine.retries",
    ]  # fmt: skip


def test_what_maps_have_no_use_for_is_named(tmp_path):
    wrong = {"threshold": 0.6, "samples": SampleSettings(id="name"), "parcels_layer": "one"}
    out = str(tmp_path / "out")
    images = PredictConfig(scenes=str(tmp_path), out=out, series=Series(step=5), **wrong)
    with pytest.raises(InputError) as caught:
        _images(images, replace(network(), card=replace(CARD, series=None)))
    assert [fault.partition(":")[0] for fault in caught.value.faults] == [
        "samples.id", "parcels_layer", "series.step", "threshold=0.6",
    ]  # fmt: skip
    series = PredictConfig(series=Series(path=str(tmp_path)), out=out, **wrong)
    with pytest.raises(InputError) as caught:
        _series(series, network())
    assert [fault.partition(":")[0] for fault in caught.value.faults] == [
        "samples.id", "parcels_layer", "threshold=0.6",
    ]  # fmt: skip


def test_values_that_are_darker_in_all_bands_are_said(tmp_path):
    # The network saw values around 500, up to 1000.
    seen = replace(CARD.statistics, mean=(500.0, 600.0), p98=(900.0, 950.0), p2=(100.0, 200.0))
    by = network(replace(CARD, statistics=seen))
    table = rows({"a": 480, "b": 610, "c": 900}).assign(nir=800)
    told, _ = predict(write(tmp_path, table), by=by)
    assert "times darker" not in told
    table[["red", "nir"]] //= 6
    told, _ = predict(write(tmp_path, table), by=by, overwrite=True)
    assert "times darker than in the training" in told


def test_what_stands_for_nothing_is_said_in_the_settings(tmp_path):
    table = rows()
    table.loc[(table.id == "a") & (table.date == DATES[0]), "red"] = 9999
    _, found = predict(write(tmp_path, table), bands=Bands(nodata=9999))
    assert found["a"]["code"] == str(LEGEND.codes[0])


def test_the_anchor_is_that_of_the_training_in_each_season(tmp_path):
    class ByDay(ByRed):
        def forward(self, values, valid, days, shape):
            first = days.where(valid.any(dim=2), 1e6).min(dim=1).values
            return -((first[:, None] - self.values) ** 2)

    # Two seasons that begin 31 October and 4 November: day 303 and day -58 by the rule alone.
    early = rows({"a": 100}, dates=("2019-10-31", "2019-12-20", "2020-01-20", "2020-02-20"))
    late = rows({"b": 100}, dates=("2020-11-04", "2020-12-20", "2021-01-20", "2021-02-20"))
    path = write(tmp_path, pd.concat([early, late]))
    for number, (first, last) in enumerate(((-62, 60), (303, 425))):
        card = replace(CARD, series=replace(CARD.series, first_day=first, last_day=last))
        _, found = predict(path, by=network(card, ByDay()), out=tmp_path / str(number))
        code = str(LEGEND.codes[0 if first < 0 else 2])
        assert [row["code"] for row in found.values()] == [code, code]


def test_another_part_of_the_year_and_settings_of_the_training_are_refused(tmp_path):
    path = write(tmp_path, rows())
    late = replace(CARD, series=replace(CARD.series, first_day=170, last_day=300))
    with pytest.raises(InputError, match=r"saw days 170 to 300 .*series\.start=2021-06-20"):
        predict(path, by=network(late))
    with pytest.raises(InputError, match=r"series\.fill=linear: the network decides on it"):
        predict(path, series=Series(fill="linear"))
    assert not (tmp_path / "out").exists()


def test_fewest_clear_dates_as_given_even_if_lower(tmp_path):
    table = rows()
    table = table[(table.id != "a") | (table.date == DATES[0])]
    path = write(tmp_path, table)
    _, found = predict(path)
    assert found["a"]["code"] == ""
    _, found = predict(path, out=tmp_path / "low", series=Series(min_clear=1))
    assert found["a"]["code"] == str(LEGEND.codes[0])
