"""An output is made, follows inputs that changed, or is one of other settings."""

import json
import os

import pytest

from geoseg.errors import InputError
from geoseg.outputs.claims import claim, fingerprint, follows, is_made, note_made, nothing_to_do
from geoseg.outputs.stamp import stamps

MADE = {"size": (3, 4), "inputs": [["a.tif", 1, 2]]}
CHANGED = MADE | {"inputs": [["a.tif", 1, 3]]}
OTHER = MADE | {"size": (3, 5)}


@pytest.fixture
def out(tmp_path):
    """An output of a command, with one file."""
    claim(tmp_path, MADE, command="stress", products=("a.txt",))
    (tmp_path / "a.txt").write_text("made", encoding="utf-8")
    note_made(tmp_path, stamps(tmp_path, [tmp_path / "a.txt"]), command="stress")
    return tmp_path


def test_an_output_is_made_of_just_its_settings_and_inputs(out):
    assert is_made(out, MADE, command="stress")
    assert not is_made(out, CHANGED, command="stress")
    assert not is_made(out, OTHER, command="stress")
    assert not is_made(out, MADE, command="explain")
    assert not is_made(out, MADE, command="stress", name="b")
    said = str(nothing_to_do("there", out, MADE, command="stress"))
    assert "there: already made of this with these settings; nothing to do" in said
    assert nothing_to_do("there", out, CHANGED, command="stress") is None


def test_what_is_broken_or_was_never_whole_is_not_made(out, tmp_path):
    (out / "a.txt").write_text("changed", encoding="utf-8")
    assert not is_made(out, MADE, command="stress")
    claim(tmp_path / "new", MADE, command="stress", products=("a.txt",))
    assert not is_made(tmp_path / "new", MADE, command="stress")


def test_it_follows_inputs_that_changed_and_no_other_settings(out):
    assert follows(out, MADE, command="stress")
    assert follows(out, CHANGED, command="stress")
    assert not follows(out, OTHER, command="stress")
    assert not follows(out / "none", MADE, command="stress")
    with pytest.raises(InputError, match="other settings \\(size\\)"):
        claim(out, OTHER, command="stress", products=("a.txt",))


@pytest.mark.parametrize(
    ("name", "beside"),
    [
        ("fields.shp", "fields.dbf"),
        ("FIELDS.SHP", "FIELDS.DBF"),
        ("fields.gpkg", "fields.gpkg-wal"),
        ("scene.tif", "scene.tif.msk"),
        ("scene.jp2", "scene.j2w"),
        ("scene.bil", "scene.hdr"),
        ("database.gdb", "database.gdb/a0.gdbtable"),
    ],
)
def test_a_file_is_another_if_what_belongs_to_it_changed(tmp_path, name, beside, monkeypatch):
    monkeypatch.setattr("geoseg.outputs.claims.time.monotonic", iter(range(0, 1000, 100)).__next__)
    path, other = tmp_path / name, tmp_path / beside
    path.mkdir() if path.suffix == ".gdb" else path.write_bytes(b"same")
    before = fingerprint(path)
    other.write_bytes(b"one")
    first = fingerprint(path)
    assert first != before
    assert fingerprint(path) == first
    os.utime(other, ns=(0, 0))
    assert fingerprint(path) != first


def test_notes_of_a_raster_count_if_they_say_what_its_pixels_mean(tmp_path):
    path, notes = tmp_path / "scene.tif", tmp_path / "scene.tif.aux.xml"
    path.write_bytes(b"same")
    before = fingerprint(path)
    band = '<PAMDataset><PAMRasterBand band="1">{}</PAMRasterBand></PAMDataset>'
    notes.write_text(band.format('<Metadata><MDI key="STATISTICS_MAXIMUM">9</MDI></Metadata>'))
    assert fingerprint(path) == before
    notes.write_text(band.format("<NoDataValue>0</NoDataValue>"))
    declared = fingerprint(path)
    assert declared != before
    notes.write_text(band.format("<NoDataValue>9</NoDataValue>"))
    assert fingerprint(path) not in (before, declared)
    place = "<PAMDataset><SRS>EPSG:32632</SRS>{}</PAMDataset>"
    notes.write_text(place.format(""))
    placed = fingerprint(path)
    assert placed != before
    notes.write_text(place.format('<PAMRasterBand band="1"><Histograms/></PAMRasterBand>'))
    assert fingerprint(path) == placed


def test_a_vrt_is_another_if_a_file_that_it_shows_changed(tmp_path):
    path, inner = tmp_path / "scene.vrt", tmp_path / "bands" / "all & one.vrt"
    inner.parent.mkdir()
    source = '<SourceFilename relativeToVRT="1">{}</SourceFilename>'
    path.write_text(source.format("bands/all &amp; one.vrt"))
    inner.write_text(source.format("red.tif"))
    red = inner.with_name("red.tif")
    red.write_bytes(b"one")
    before = fingerprint(path)
    assert fingerprint(path) == before
    red.write_bytes(b"more")
    assert fingerprint(path) != before
    red.unlink()
    assert fingerprint(path) != before


@pytest.mark.parametrize(
    "read",
    [
        {"labels": {"path": "{}/targets"}},
        {"inputs": [["{}/targets/a.tif", 1, 2]]},
        {"zones": "{}/targets/zones.gpkg:name"},
        {"before": "{}/targets/a.tif"},
        {"map": ["{}/targets/a.tif", 1, 2]},
    ],
)
def test_what_is_read_is_never_removed(tmp_path, read):
    (tmp_path / "targets").mkdir()
    for name in ("a.tif", "zones.gpkg"):
        (tmp_path / "targets" / name).write_text("mine", encoding="utf-8")
    settings = json.loads(json.dumps(read).replace("{}", tmp_path.as_posix()))
    options = {"command": "prepare", "products": ("targets",), "overwrite": True}
    with pytest.raises(InputError, match=r"targets.*, which is read, .* overwrite=true would"):
        claim(tmp_path, settings, **options)
    assert len(list((tmp_path / "targets").iterdir())) == 2
    claim(tmp_path, {"labels": str(tmp_path / "elsewhere")}, **options)
    assert not (tmp_path / "targets").exists()
