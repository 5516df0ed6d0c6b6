import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoseg.errors import InputError
from geoseg.geo.legend import IGNORED, NODATA, UNLABELLED, Legend, LegendSettings, canonical
from geoseg.received.keys import text_yaml

NAMES = st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "Zs")), min_size=1)
NAMES = NAMES.map(str.strip).filter(bool)


@st.composite
def legends(draw) -> Legend:
    codes = draw(st.lists(st.integers(1, 254), min_size=1, max_size=20, unique=True))
    size = {"min_size": len(codes), "max_size": len(codes)}
    # Names are values too, and 1 and 1.0 are one value.
    names = draw(st.lists(NAMES, unique_by=canonical, **size))
    colors = draw(st.lists(st.integers(0, 0xFFFFFF), **size))
    entries = [
        {"code": code, "name": name, "color": f"#{color:06x}"}
        for code, name, color in zip(codes, names, colors, strict=True)
    ]
    return Legend.parse(entries, "made up")


@given(legends())
def test_codes_and_indices_go_round(legend):
    codes = np.array([legend.codes, legend.codes], np.uint8)
    indices = legend.encode(codes)
    assert indices.dtype == np.uint8
    assert indices[0].tolist() == list(range(len(legend)))
    assert np.array_equal(legend.decode(indices), codes)


@given(legends())
def test_what_is_no_class_is_ignored_and_unlabelled(legend):
    strangers = np.array([c for c in range(256) if c not in legend.codes], np.uint8)
    assert {NODATA, UNLABELLED} <= set(strangers.tolist())
    indices = legend.encode(strangers)
    assert (indices == IGNORED).all()
    assert (legend.decode(indices) == UNLABELLED).all()


@given(legends())
def test_dictionary_goes_round(legend):
    assert Legend.from_dict(legend.to_dict()) == legend


@given(legends())
def test_side_files_are_xml_with_names_and_colours(legend):
    names = [e.text or "" for e in ET.fromstring(legend.aux_xml()).iter("Category")]
    assert [names[c.code] for c in legend.classes] == legend.names
    rows = [[f.text for f in row] for row in ET.fromstring(legend.aux_xml()).iter("Row")]
    assert [int(row[0]) for row in rows] == legend.codes
    assert [row[1] for row in rows] == legend.names
    entries = [e.attrib for e in ET.fromstring(legend.qml()).iter("paletteEntry")]
    assert [(int(e["value"]), e["label"], e["color"]) for e in entries] == [
        (c.code, c.name, c.color) for c in legend.classes
    ]
    colors = legend.colors()
    for row in rows:
        assert colors[int(row[0])] == (*map(int, row[2:]), 255)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *((12, "12"), (12.0, "12"), ("12", "12"), (" 12 ", "12"), ("12.0", "12"), ("012", "012")),
        *((np.int16(12), "12"), (np.float32(12), "12"), (12.5, "12.5"), (-3.0, "-3")),
        *((True, "true"), (np.bool_(False), "false"), ("a b", "a b"), ("1.0.0", "1.0.0")),
    ],
)
def test_one_text_for_one_value(value, text):
    assert canonical(value) == text


YAML = """
classes:
  - {code: 1, name: other, color: "#d9d9d9"}
  - {code: 2, name: building, color: "#e31a1c", values: [house, 12]}
  - {code: 7, name: lake, color: blue, values: 7.0}
"""
CSV = """code,name,color,values
1,other,#d9d9d9,
2,building,#E31A1C,house|12
7,lake,#00f,7
"""


@pytest.mark.parametrize(
    ("name", "text"),
    [
        *(("a.yaml", YAML), ("a.csv", CSV), ("a.csv", "\ufeff" + CSV)),
        *(("a.csv", CSV.replace(",", mark) + 3 * mark + "\n") for mark in ";\t"),
    ],
)
def test_files_give_classes_in_burn_order(tmp_path: Path, name, text):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    legend = LegendSettings(path=str(path)).load()
    assert legend.names == ["other", "building", "lake"]
    assert legend.codes == [1, 2, 7]
    assert [c.color for c in legend.classes] == ["#d9d9d9", "#e31a1c", "#0000ff"]
    assert legend.lookup() == {"other": 1, "house": 2, "12": 2, "7": 7}
    assert legend.code_of("lake") == 7


def test_a_name_that_is_no_class():
    legend = Legend.parse([{"code": 1, "name": "other", "color": "red"}], "a.yaml")
    with pytest.raises(InputError, match="class 'lake' is not in the legend; it has other"):
        legend.code_of("lake")


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([{"code": 0, "name": "a", "color": "red"}], r"code 0 is outside 1..254 \(0 means nodata"),
        ([{"code": 255, "name": "a", "color": "red"}], "255 means unlabelled"),
        ([{"code": 256, "name": "a", "color": "red"}], "code 256 is outside"),
        ([{"code": 1.5, "name": "a", "color": "red"}], "code 1.5 is not a whole number"),
        ([{"code": 1, "name": "a", "color": "redd"}], "unknown color 'redd'; write"),
        ([{"code": 1, "name": "a"}], "unknown color"),
        ([{"code": 1, "color": "red"}], "no name"),
        ([{"code": 1, "name": "a", "color": "red", "colour": 1}], "unknown key 'colour'"),
        ([{"code": 1, "name": "a", "color": "red", "values": [True]}], "quote them"),
        ([], "at least one class"),
        ("a", "at least one class"),
        ([5], "expected {code, name, color, values}, got 5"),
    ],
)
def test_faulty_classes(entries, message):
    with pytest.raises(InputError, match=message):
        Legend.parse(entries, "a.yaml")


def test_all_faults_come_at_once_and_name_the_class():
    entries = [
        {"code": 1, "name": "a", "color": "red", "values": ["x"]},
        {"code": 1, "name": "b", "color": "red", "values": ["x"]},
        {"code": 2, "name": "a", "color": "red"},
        {"code": 0, "name": "c", "color": "reddish"},
    ]
    with pytest.raises(InputError) as caught:
        Legend.parse(entries, "a.yaml")
    text = str(caught.value)
    assert "a.yaml: code 1 appears 2 times" in text
    assert "a.yaml: name a appears 2 times" in text
    assert "a.yaml: value 'x' is in a and in b" in text
    assert "a.yaml, class 4: code 0 is outside" in text
    assert "a.yaml, class 4: unknown color 'reddish'" in text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("classes: [", "not valid YAML"),
        ("- 1", "expected one key `classes`"),
        ("classes: []\nmore: 1", "got also more"),
        ("\xff", "can't be read as UTF-8"),
    ],
)
def test_faulty_files(tmp_path: Path, text, message):
    path = tmp_path / "a.yaml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=message) as caught:
        Legend.load(path)
    assert str(path) in str(caught.value)


def test_no_file_and_no_legend(tmp_path: Path):
    with pytest.raises(InputError, match="no such legend file"):
        Legend.load(tmp_path / "a.yaml")
    with pytest.raises(InputError, match="none given"):
        LegendSettings().load()


def test_values_and_names_in_yaml_are_text(tmp_path: Path):
    path = tmp_path / "l.yaml"
    path.write_text(
        """classes:
  - {code: 1, name: no, color: red, values: [010, 1_000, 1e3, 2020-01-01, yes, 0x1f, 1.10]}
  - {code: 2, name: 2021, color: blue, values: [12, 12.5, ~x]}
  - {code: 3, name: pasture, color: green, values: []}
  - {code: 4, name: road, color: green, values:}
  - {code: 5, name: rail, color: green, values: 007}
""",
        encoding="utf-8",
    )
    legend = Legend.load(path)
    assert legend.names == ["no", "2021", "pasture", "road", "rail"]
    values = [c.values for c in legend.classes]
    assert values[0] == ("010", "1_000", "1e3", "2020-01-01", "yes", "0x1f", "1.10")
    assert values[1:] == [("12", "12.5", "~x"), ("pasture",), ("road",), ("007",)]
    assert legend.lookup()[canonical(12)] == legend.lookup()[canonical(12.0)] == 2
    assert not {"8", "10", "1000", "31", "7"} & set(legend.meanings())


def test_names_are_equal_in_whichever_form_of_unicode(tmp_path: Path):
    composed, apart = "forêt", "fore\u0302t"
    assert composed != apart
    for here, there in ((composed, apart), (apart, composed)):
        entries = [{"code": 1, "name": "wood", "color": "red", "values": [here]}]
        entries += [{"code": 2, "name": here + " 2", "color": "blue"}]
        legend = Legend.parse(entries, "test")
        assert legend.lookup()[canonical(there)] == 1
        assert legend.code_of(there + " 2") == 2


def test_a_class_s_own_name_is_one_of_its_values_unless_another_claims_it():
    entries = [
        {"code": 1, "name": "a", "color": "red", "values": ["x"]},
        {"code": 2, "name": "b", "color": "red", "values": ["a"]},
        {"code": 3, "name": "7", "color": "red", "values": ["y"]},
    ]
    meanings = Legend.parse(entries, "test").meanings()
    assert meanings == {"x": 1, "a": 2, "b": 2, "y": 3}


def test_csv_values_are_text_and_may_be_empty(tmp_path: Path):
    path = tmp_path / "l.csv"
    path.write_text("code;name;color;values\n1;wood;red;010 | é|\n2;road;blue;\n")
    assert [c.values for c in Legend.load(path).classes] == [("010", "é"), ("road",)]


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("l.csv", "code,name,color,values\n1,wood,red,a,b\n", r"row of '1' has more cells .*\(b\)"),
        ("l.csv", 'code,name,color\n1,"wo\nod",red\n', r"U\+000A"),
        ("l.yaml", YAML + "classes: []\n", "'classes' appears twice"),
        ("l.yaml", YAML.replace("name: lake", "name: lake, name: sea"), "'name' appears twice"),
    ],
)
def test_nothing_of_a_file_is_lost_without_a_word(tmp_path: Path, name, text, told):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=told):
        Legend.load(tmp_path / name)


def test_the_index_of_pandas_is_no_column(tmp_path: Path):
    (tmp_path / "l.csv").write_text(",code,name,color\n0,1,wood,red\n")
    assert Legend.load(tmp_path / "l.csv").names == ["wood"]


def test_a_first_line_of_nothing_is_no_header(tmp_path: Path):
    (tmp_path / "l.csv").write_text("\ncode,name,color\n1,wood,red\n")
    with pytest.raises(InputError, match="more cells than the header"):
        Legend.load(tmp_path / "l.csv")


def test_what_merges_a_mapping_that_merges_another_has_no_key_twice():
    text = "b: &b {a: 1}\nx: {y: &m {<<: *b, a: 2}}\ntop: {<<: *m}\n"
    assert text_yaml(text, "test")["x"]["y"] == {"a": "2"}
    # The other way round: first merged elsewhere, then read by itself.
    text = "b: &b {a: 1}\nx: {<<: &m {<<: *b, a: 2}}\ny: *m\n"
    assert text_yaml(text, "test")["y"] == {"a": "2"}


@pytest.mark.parametrize("values", [[True], ["a", None], [["a"]], {"a": 1}])
def test_values_that_are_no_text_are_refused(values):
    with pytest.raises(InputError):
        Legend.parse([{"code": 1, "name": "a", "color": "red", "values": values}], "test")
