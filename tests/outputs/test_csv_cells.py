"""Tables that spreadsheets open without running anything."""

import pytest

from geoseg.outputs.csv_cells import write_csv


def test_a_table_keeps_numbers_and_defuses_formulas(tmp_path):
    rows = [["=name", "share"], ["-a, b", -0.5], ["-0.25", None], ["ö", 3]]
    write_csv(tmp_path / "a.csv", iter(rows))
    text = (tmp_path / "a.csv").read_bytes().decode("utf-8")
    assert text == "'=name,share\n\"'-a, b\",-0.5\n-0.25,\nö,3\n"


def test_a_table_gets_its_name_when_it_is_whole(tmp_path):
    def torn():
        yield ["a"]
        raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        write_csv(tmp_path / "a.csv", torn())
    assert list(tmp_path.iterdir()) == []
