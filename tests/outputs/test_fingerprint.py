"""A file is another if it, or what belongs to it and lies beside it, changed."""

import os

import pytest

from geoseg.outputs.claims.fingerprint import fingerprint


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
    monkeypatch.setattr(
        "geoseg.outputs.claims.fingerprint.time.monotonic", iter(range(0, 1000, 100)).__next__
    )
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
