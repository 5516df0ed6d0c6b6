"""Stamps tell whole files from broken ones, for copies as well, and let QGIS look."""

import os
import shutil
import sqlite3

import geopandas
import numpy as np
import pytest
import shapely

from geoseg.geo.vector import write_layer
from geoseg.outputs import stamp
from geoseg.outputs.stamp import broken, is_whole, stamp_of, stamps


@pytest.mark.parametrize("size", [0, 1, 100_000, stamp.PART * stamp.PARTS + 12345])
def test_other_files_have_other_stamps(tmp_path, size):
    content = np.random.default_rng(0).integers(0, 256, size, np.uint8).tobytes()
    path = tmp_path / "a.tif"
    path.write_bytes(content)
    known = stamp_of(path)
    shutil.copy(path, tmp_path / "b.tif")
    os.utime(tmp_path / "b.tif", (1e9, 1e9))
    assert is_whole(tmp_path / "b.tif", known)
    for other in (content + b"x", content[:-1], content[:-1] + bytes([content[-1] ^ 1])
                  if content else b"y", b"", bytes(size)):  # fmt: skip
        path.write_bytes(other)
        assert is_whole(path, known) == (other == content)
    path.unlink()
    assert not is_whole(path, known)


def test_broken_files_are_named(tmp_path):
    (tmp_path / "in").mkdir()
    paths = [tmp_path / "in" / name for name in ("a.tif", "b.tif", "a.qml")]
    for path in paths:
        path.write_text(path.name)
    known = stamps(tmp_path, [*paths, tmp_path / "none.tif"])
    assert list(known) == ["in/a.tif", "in/b.tif", "in/a.qml"]
    assert broken(tmp_path, known) == []
    paths[0].unlink()
    paths[1].write_text("c.tif")
    paths[2].write_text("a style of one's own")
    assert broken(tmp_path, known) == ["in/a.tif", "in/b.tif"]
    paths[2].write_text("")
    assert broken(tmp_path, known) == ["in/a.tif", "in/b.tif", "in/a.qml"]


def test_a_geopackage_that_was_looked_at_is_whole(tmp_path):
    path = tmp_path / "tiles.gpkg"
    boxes = np.array([shapely.box(i, 0, i + 1, 1) for i in range(300)])
    write_layer(path, {"n": range(300)}, layer="tiles", geometries=boxes, crs="EPSG:32632")
    known, content = stamp_of(path), path.read_bytes()
    assert known == "300 rows"
    with sqlite3.connect(path) as file:  # as QGIS does
        file.execute("PRAGMA journal_mode=wal")
    file.close()
    assert path.read_bytes() != content
    assert is_whole(path, known)
    for damaged in (b"", content[: len(content) // 2], content[:100] + bytes(len(content) - 100)):
        path.write_bytes(damaged)
        assert not is_whole(path, known)
    path.write_bytes(content)
    frame = geopandas.read_file(path)
    frame[1:].to_file(path, layer="tiles")
    assert not is_whole(path, known)
