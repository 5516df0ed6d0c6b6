"""Documents that somebody sent: wrong types, depths, sizes and names end in one sentence."""

import copy
import csv
import json
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from geoseg.dataset.tiles import DESCRIPTION, TILES, Dataset
from geoseg.errors import LONGEST, InputError
from geoseg.evaluation.accuracy import write_confusion_csv
from geoseg.evaluation.sources import _followed
from geoseg.geo import vrt
from geoseg.geo.legend import Legend, composed
from geoseg.maps import landcover
from geoseg.maps.folder import LANDCOVER, NAME
from geoseg.maps.mosaic import _warn_missing
from geoseg.models.card import ModelCard
from geoseg.models.settings import Model
from geoseg.outputs.csv_cells import cell
from geoseg.outputs.files import read_json, write_json
from geoseg.outputs.summary import Summary
from geoseg.prediction.bands import bands_for
from geoseg.prediction.record import Record
from geoseg.received import offline
from geoseg.scenes.bands import Bands
from tests.made.tiles import make_dataset

DEEP = "[" * 100_000


def one_sentence(call, *arguments, match: str = ".") -> str:
    with pytest.raises(InputError, match=match) as told:
        call(*arguments)
    text = str(told.value)
    assert 0 < len(text) < 20_000
    assert not any(ord(c) < 32 and c != "\n" for c in text)
    return text


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    make_dataset(folder)
    return folder / "dataset"


def changed(made, tmp_path, path: str, value):
    """The data set with another value in its description."""
    values = copy.deepcopy(read_json(made / DESCRIPTION))
    *way, last = path.split("/")
    part = values
    for step in way:
        part = part[int(step) if isinstance(part, list) else step]
    part[int(last) if isinstance(part, list) else last] = value
    (tmp_path / DESCRIPTION).write_text(json.dumps(values))
    return tmp_path


@pytest.mark.parametrize(
    ("path", "value"),
    [
        *(("scenes", value) for value in ([], {}, 7, None, [7], [[]])),
        *(("scenes/0/name", value) for value in ("../../a", "a/b", "a\nb", "", 7, None)),
        *(("scenes/0/grid/height", value) for value in (0, -3, "64", 64.5, None, True)),
        *(("scenes/0/grid/crs", value) for value in (7, None, [])),
        *(("scenes/0/grid/transform", value) for value in ([], [1], "x", None, [None] * 6)),
        *(("scenes/0/bands", value) for value in ([7], 7, None)),
        *(("scenes/0/sources", value) for value in (7, [7], [{}], [{"paths": 7, "bands": [1]}])),
        ("scenes/0/sources/0/paths", ["/vsicurl/http://203.0.113.5/a.tif"]),
        ("scenes/0/sources/0/paths", ["http://203.0.113.5/a.tif"]),
        ("scenes/0/sources/0/bands", ["1"]),
        *(("statistics/mean", value) for value in ([], ["x"], 7, None)),
        *(("statistics", value) for value in ({}, [], None, "x")),
        *(("legend", value) for value in ({}, [], None, {"classes": [7]})),
        *(("tiling/size", value) for value in (64.5, "64", None, [], -1)),
        *(("tiling", value) for value in ({"sise": 3}, [], None)),
        *(("pixel_size_m", value) for value in ("1", None, [])),
        *(("settings", value) for value in (7, [], None)),
        *(("unit", value) for value in (7, [], {}, "other")),
        ("reference", 7),
    ],
)
def test_a_description_of_other_types_is_one_sentence(made, tmp_path, path, value):
    one_sentence(Dataset.load, changed(made, tmp_path, path, value))


def test_a_description_that_is_whole_is_read(made):
    assert Dataset.load(made).scenes
    assert Dataset.load(made).tiles("train")


@pytest.mark.parametrize("text", [DEEP, "[]", "7", '"x"', "", "{", "\0", '{"a": 1e', "NaN"])
def test_json_that_is_no_object_is_one_sentence(tmp_path, text):
    (tmp_path / DESCRIPTION).write_text(text)
    one_sentence(Dataset.load, tmp_path, match=DESCRIPTION)
    one_sentence(landcover.parse_legend, text, "a.tif, tag")


@pytest.mark.parametrize("scenes", [7, [], "x", {"a": 7}, {"a": None}])
def test_a_record_of_other_types_is_one_sentence(tmp_path, scenes):
    write_json(tmp_path / NAME, {"scenes": scenes})
    # A damaged note stands in nobody's way: nothing is known to be done.
    assert all(isinstance(entry, dict) for entry in Record(tmp_path, "model", {}).scenes.values())
    (tmp_path / LANDCOVER).mkdir()
    one_sentence(_warn_missing, Summary(), tmp_path, [], match="not as geoseg.predict writes it")


ENTRY = {"code": 1, "name": "a", "color": "#000000"}


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"code": 10**5000}, "not a whole number"),
        ({"code": "9" * 70_000}, "not a whole number"),
        ({"code": 10**40}, "outside 1..254"),
        ({"code": float("inf")}, "not a whole number"),
        ({"code": [1]}, "not a whole number"),
        ({"name": "a\x07b"}, "U+0007"),
        ({"name": "a\x1b[31mb"}, "U+001B"),
        ({"name": "a\x00b"}, "U+0000"),
        ({"name": "a\nb"}, "U+000A"),
        ({"name": "a\ufffeb"}, "U+FFFE"),
        ({"name": "a\ud800b"}, "U+D800"),
        ({"name": "a" * 65_536}, "65536 characters"),
        ({"name": ["a"]}, "no text"),
        ({"name": {}}, "no text"),
        ({"color": "x" * 70_000}, "unknown color"),
        ({"x" * 70_000: 1}, "unknown key"),
    ],
)
def test_classes_that_nothing_can_show_are_refused(more, told):
    text = one_sentence(Legend.parse, [ENTRY | more], "legend")
    assert told in text
    assert len(text) < 1000


@pytest.mark.parametrize("name", ["Wald & Wiese <1>", 'a "b"', "été – 草地", "a\u0301", "=1+1"])
def test_names_that_can_be_shown_make_valid_xml(name):
    legend = Legend.parse([ENTRY | {"name": name}], "legend")
    (category,) = ElementTree.fromstring(legend.aux_xml()).findall(".//Category")[1:]
    assert category.text == composed(name)
    (entry,) = ElementTree.fromstring(legend.qml()).findall(".//paletteEntry")
    assert entry.get("label") == composed(name)


@pytest.mark.parametrize(
    "text", ["code,name\n1,a\0b\n", "code,name\n1," + "a" * 200_000, "a,b\n1,2,3\n"]
)
def test_legends_in_csv_that_are_damaged_are_one_sentence(tmp_path, text):
    (tmp_path / "legend.csv").write_text(text)
    one_sentence(Legend.load, tmp_path / "legend.csv")


@pytest.mark.parametrize("value", ["=1+1", "+a", "-a", "@SUM(A1)", "\tx", "=cmd|'/c calc'!A1"])
def test_text_is_no_formula_in_a_csv(tmp_path, value):
    assert cell(value) == f"'{value}"
    write_confusion_csv(tmp_path / "a.csv", np.eye(2, dtype=int), [value, "b"])
    with (tmp_path / "a.csv").open(newline="") as file:
        head, first, _ = csv.reader(file)
    assert head[1:] == [f"'{value}", "b"]
    assert first == [f"'{value}", "1", "0"]


@pytest.mark.parametrize("value", ["-1.5", "+3", "1e-3", "a=b", "", -1.5, 3, None, "-inf"])
def test_numbers_and_plain_text_stay_as_they_are(value):
    assert cell(value) == value


def test_messages_are_cut_and_rule_no_terminal():
    error = InputError("a" * 65_536, "b\x1b]0;title\x07\u202ec")
    assert len(error.faults[0]) < LONGEST + 100
    assert error.faults[1] == r"b\x1b]0;title\x07\x202ec"


def test_tables_of_other_types_are_one_sentence(made, tmp_path):
    import shutil
    import sqlite3

    for column, value in (("top", "x"), ("scene", 7), ("px_1", "x"), ("home_left", 1.5)):
        shutil.copytree(made, tmp_path / column)
        with sqlite3.connect(tmp_path / column / TILES) as database:
            names = [row[1] for row in database.execute("PRAGMA table_info(tiles)")]
            name = column if column in names else next(n for n in names if n.startswith("px_"))
            kept = ", ".join(f"? AS {n}" if n == name else n for n in names)
            database.execute(f"CREATE TABLE other AS SELECT {kept} FROM tiles", (value,))
            for (trigger,) in database.execute(
                "SELECT name FROM sqlite_master WHERE type = 'trigger'"
            ).fetchall():
                database.execute(f'DROP TRIGGER "{trigger}"')
            database.execute("DROP TABLE tiles")
            database.execute("ALTER TABLE other RENAME TO tiles")
        database.close()
        dataset = Dataset.load(tmp_path / column)
        one_sentence(dataset.tiles, "train", match=TILES)


def test_files_of_a_record_are_followed_only_if_it_was_made_here(tmp_path):
    maps = tmp_path / "maps"
    maps.mkdir()
    (maps / "scene.tif").write_bytes(b"a")
    secret = tmp_path / "secret.tif"
    secret.write_bytes(b"b")
    assert _followed({"paths": [str(maps / "scene.tif")]}, maps)
    one_sentence(_followed, {"paths": [str(secret)]}, maps, match="not the file")
    one_sentence(_followed, {"paths": [str(secret)], "inputs": [[str(secret), 1, 7]]}, maps)
    noted = {"paths": [str(secret)], "inputs": [[str(secret), 1, secret.stat().st_mtime_ns]]}
    assert _followed(noted, maps) == [str(secret)]
    one_sentence(_followed, {"paths": ["/vsicurl/http://203.0.113.5/a.tif"]}, maps)


def test_a_raster_that_a_card_names_is_read_below_ones_own_folders_only(tmp_path, monkeypatch):
    from tests.made.scenes import write
    from tests.prediction.test_images import CARD, with_bands

    write(tmp_path / "height.tif", np.ones((1, 4, 4), np.uint8))
    card: ModelCard = with_bands(
        CARD, "gray", "height", extra={"height": str(tmp_path / "height.tif")}
    )
    one_sentence(bands_for, card, match="not read unasked")
    given = Bands(extra={"height": str(tmp_path / "height.tif")})
    assert bands_for(card, given).extra == card.extra
    monkeypatch.setenv(vrt.FOLDERS, "")
    vrt.trust([f"scenes={tmp_path}/*.tif"])
    assert bands_for(card).extra == card.extra


@pytest.mark.parametrize(
    "name", ["tu-hf-hub:evil/net", "local-dir:/tmp/a", "../a", "", "a b", "a\nb"]
)
def test_an_encoder_is_a_name_not_a_place(name):
    one_sentence(Model, "unet", name, match=r"model\.encoder=")
    assert Model("unet", "tu-tf_mobilenetv3_small_minimal_100.in1k").encoder


def test_no_address_comes_out_of_a_file(tmp_path):
    for path in ("/vsicurl/http://a/b", "/vsis3/a/b", "http://a/b", "a\0b"):
        one_sentence(offline.local, path, tmp_path)
    assert offline.local("../a.tif", tmp_path / "b") == str(tmp_path / "a.tif")
    assert offline.local("/data/a.tif", tmp_path) == "/data/a.tif"
