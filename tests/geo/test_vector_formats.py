"""Vector files that somebody sent: plain tables of geometries, and nothing that asks elsewhere."""

import json
import sqlite3
import struct
import subprocess
import sys
import zipfile
from contextlib import nullcontext

import geopandas
import pytest
import shapely

from geoseg.dataset.tiles import TILES, Dataset
from geoseg.errors import InputError
from geoseg.geo import vector_formats
from geoseg.geo.vector import Layer
from geoseg.received import sqlite_file

FOREVER = "WITH RECURSIVE a(n) AS (SELECT 1 UNION ALL SELECT n FROM a) SELECT n AS fid, n FROM a"


@pytest.fixture
def server():
    """Address of a web server on this machine, and what it was asked for."""
    call = [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1"]
    with subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        port = run.stdout.readline().partition("port ")[2].split()[0]

        def asked() -> str:
            run.kill()
            return run.stderr.read()

        yield f"http://127.0.0.1:{port}", asked
        run.kill()


@pytest.fixture
def package(tmp_path):
    """A GeoPackage with a layer `field`."""
    frame = geopandas.GeoDataFrame(
        {"class": ["a"]}, geometry=[shapely.box(0, 0, 1, 1)], crs="EPSG:32632"
    )
    frame.to_file(tmp_path / "labels.gpkg", layer="field")
    return tmp_path / "labels.gpkg"


def classes(path, **options) -> list[str]:
    layer = Layer(str(path), columns=("class",), **options)
    return [value for part in layer.scan() for value in part.columns["class"]]


def view(path, name: str, *, listed: bool) -> None:
    """Add a view that never ends; listed: among the layers."""
    with sqlite3.connect(path) as database:
        database.execute(f"CREATE VIEW {name} AS {FOREVER}")
        if listed:
            database.execute(
                "INSERT INTO gpkg_contents (table_name, data_type, identifier, srs_id)"
                f" VALUES ('{name}', 'features', '{name}', 32632)"
            )
            database.execute(
                "INSERT INTO gpkg_geometry_columns VALUES"
                f" ('{name}', 'geom', 'POLYGON', 32632, 0, 0)"
            )
    database.close()


@pytest.mark.parametrize("listed", [True, False])
def test_a_layer_beside_a_view_that_never_ends_is_read(package, listed):
    view(package, "endless", listed=listed)
    assert classes(package) == ["a"]
    assert classes(package, name="field") == ["a"]
    with pytest.raises(InputError, match="endless is a query of the database, not a table"):
        Layer(str(package), name="endless")


@pytest.mark.parametrize("table", ["gpkg_contents", "gpkg_geometry_columns", "rtree_field_geom"])
def test_a_view_in_the_place_of_what_tells_the_layers_is_refused(package, table):
    with sqlite3.connect(package) as database:
        database.execute("PRAGMA writable_schema = ON")
        database.execute(f"ALTER TABLE {table} RENAME TO other")
        database.execute(f"CREATE VIEW {table} AS {FOREVER}")
    database.close()
    with pytest.raises(InputError, match=f"{table} should be a table and is a query"):
        Layer(str(package))


def test_virtual_tables_are_no_layers(package):
    with sqlite3.connect(package) as database:
        database.execute("CREATE VIRTUAL TABLE words USING fts5(a)")
    database.close()
    assert classes(package) == ["a"]
    with pytest.raises(InputError, match="words is a query"):
        Layer(str(package), name="words")


def test_tiles_that_are_a_view_are_no_tiles(tmp_path):
    with sqlite3.connect(tmp_path / TILES) as database:
        database.execute(f"CREATE VIEW tiles AS {FOREVER}")
    database.close()
    with pytest.raises(InputError, match="no table tiles"):
        sqlite_file.select(tmp_path / TILES, "tiles", ("fid",))
    assert Dataset.tiles  # goes through it


def test_a_query_that_takes_too_long_ends(tmp_path):
    sqlite3.connect(tmp_path / "a.db").close()
    with (
        pytest.raises(sqlite3.OperationalError, match="interrupted"),
        sqlite_file.reading(tmp_path / "a.db", patience=0.2) as database,
    ):
        database.execute(f"SELECT count(*) FROM ({FOREVER})").fetchall()


def features(**more) -> str:
    point = {"type": "Polygon", "coordinates": [[[0, 0], [0, 1], [1, 1], [0, 0]]]}
    feature = {"type": "Feature", "properties": {"class": "a"}, "geometry": point}
    return json.dumps({"type": "FeatureCollection", **more, "features": [feature]})


def test_no_server_is_asked_for_what_a_file_says(tmp_path, server):
    address, asked = server
    for name, text in {
        "link.geojson": features(crs={"type": "link", "properties": {"href": address}}),
        "url.geojson": features(crs={"type": "url", "properties": {"url": address}}),
        "schema.gml": '<wfs:FeatureCollection xmlns:wfs="http://www.opengis.net/wfs"'
        ' xmlns:gml="http://www.opengis.net/gml" xmlns:x="http://x"'
        ' xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:schemaLocation="http://x'
        f" {address}/wfs?SERVICE=WFS&amp;VERSION=1.0.0&amp;REQUEST=DescribeFeatureType&amp;TYPENAME"
        '=x:t"><gml:featureMember><x:t fid="1"><x:class>a</x:class><x:g><gml:Point><gml:coordinates'
        ">1,2</gml:coordinates></gml:Point></x:g></x:t></gml:featureMember></wfs:FeatureCollection>",
    }.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(InputError, match="no CRS") if name == "schema.gml" else nullcontext():
            assert classes(tmp_path / name) == ["a"]
    assert "GET" not in asked()


@pytest.mark.parametrize("name", ["labels.geojson", "labels.gml", "labels.kml", "labels.gpkg"])
@pytest.mark.parametrize("lead", ["", "   \n", "<?xml version='1.0'?>\n", '{"a": "'])
def test_descriptions_of_other_sources_are_refused(tmp_path, server, name, lead):
    address, _ = server
    for text in (
        "<OGRVRTDataSource><OGRVRTLayer name='a'><SrcDataSource>/etc/passwd</SrcDataSource>"
        "<SrcSQL>SELECT 1</SrcSQL></OGRVRTLayer></OGRVRTDataSource>",
        f"<OGRWFSDataSource><URL>{address}</URL></OGRWFSDataSource>",
        '{"type": "gdal_streamed_alg", "command_line": "gdal vector pipeline"}',
    ):
        (tmp_path / name).write_text(lead + text)
        with pytest.raises(InputError, match="describes data that lie elsewhere"):
            Layer(str(tmp_path / name))
        with zipfile.ZipFile(tmp_path / "labels.zip", "w") as archive:
            archive.writestr(name, lead + text)
        with pytest.raises(InputError, match="describes data that lie elsewhere"):
            Layer(str(tmp_path / "labels.zip"))
        (tmp_path / "labels.gdb").mkdir(exist_ok=True)
        (tmp_path / "labels.gdb" / name).write_text(lead + text)
        with pytest.raises(InputError, match="describes data that lie elsewhere"):
            Layer(str(tmp_path / "labels.gdb"))


@pytest.mark.parametrize("name", ["a.geojson", "a.gpkg", "a.shp", "a.fgb", "a.kml", "a.gml"])
def test_formats_of_plain_geometries_are_read(tmp_path, name):
    frame = geopandas.GeoDataFrame(
        {"class": ["a"]}, geometry=[shapely.box(0, 0, 1, 1)], crs="EPSG:4326"
    )
    frame.to_file(tmp_path / name)
    assert classes(tmp_path / name) == ["a"]


def test_surfaces_in_space_are_the_polygons_that_they_are_made_of():
    square = shapely.Polygon([(0, 0, 1), (2, 0, 1), (2, 2, 5), (0, 2, 5)])
    plain = bytearray(shapely.to_wkb(shapely.MultiPolygon([square]), flavor="iso"))
    for outer, inner in ((1015, 1003), (1016, 1017)):
        surface = bytearray(plain)
        struct.pack_into("<I", surface, 1, outer)
        struct.pack_into("<I", surface, 10, inner)
        packed = struct.pack("<BII", 1, 1007, 1) + bytes(surface)
        assert vector_formats.flattened(bytes(surface)) == plain
        assert shapely.from_wkb(vector_formats.flattened(packed)).area == 4
    broken = bytes(surface)[:-8]
    assert shapely.from_wkb(vector_formats.flattened(broken), on_invalid="ignore") is None
