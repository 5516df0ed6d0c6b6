"""STAC items: what pystac reads of them, footprints anywhere on Earth, names that they may hold."""

import hashlib
import re
from datetime import datetime

import numpy as np
import pytest
from affine import Affine
from pystac.extensions.classification import ClassificationExtension
from pystac.extensions.file import FileExtension
from pystac.extensions.projection import ProjectionExtension
from pystac.extensions.raster import RasterExtension

from geoseg.geo import raster
from geoseg.geo.grid import Grid
from geoseg.geo.legend import Legend
from geoseg.maps.stac_item import write_map_item
from geoseg.stac import item
from geoseg.stac.item import Times
from tests.made import maps
from tests.made.stac import checked

DAY = Times.of([datetime(2021, 6, 1), datetime(2021, 8, 3)])


@pytest.fixture(scope="module")
def described(tmp_path_factory):
    """A map with confidence, described."""
    folder = tmp_path_factory.mktemp("described")
    path = folder / "landcover" / "a b.tif"
    maps.write(path, maps.truth(40, 60))
    beside = folder / "confidence" / "a b.tif"
    with raster.create(beside, maps.place(40, 60), dtype="uint8", nodata=0) as file:
        file.write(np.full((40, 60), 90, np.uint8), maps.place(40, 60).window)
    return path, write_map_item(path, times=DAY, layers={"confidence": beside})


def test_a_map_is_what_pystac_reads(described):
    _, where = described
    made = checked(where)
    assert (made.id, where.name) == ("a b", "a b.stac.json")
    assert made.datetime is None
    assert made.common_metadata.start_datetime.isoformat() == "2021-06-01T00:00:00+00:00"
    assert made.common_metadata.end_datetime.isoformat() == "2021-08-03T23:59:59+00:00"
    place = ProjectionExtension.ext(made)
    assert (place.code, place.shape) == ("EPSG:32632", [40, 60])
    assert place.transform == [10, 0, 500_000, 0, -10, 5_000_000]
    assert place.bbox == [500_000, 4_999_600, 500_600, 5_000_000]
    codes = made.assets["landcover"]
    (band,) = RasterExtension.ext(codes).bands
    assert (band.nodata, band.data_type, band.spatial_resolution) == (0, "uint8", 10.004002)
    found = {c.value: c for c in ClassificationExtension.ext(codes).classes}
    assert {value: c.name for value, c in found.items()} == {
        0: "nodata", 1: "forest", 2: "field", 5: "building",
    }  # fmt: skip
    assert found[1].color_hint == "33A02C"
    (percent,) = RasterExtension.ext(made.assets["confidence"]).bands
    assert percent.unit == "%"


def test_size_and_checksum_are_those_of_the_file(described):
    path, where = described
    file = FileExtension.ext(checked(where).assets["landcover"])
    assert file.size == path.stat().st_size
    assert file.checksum == "1220" + hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_box_holds_the_outline_that_lies_where_the_map_does(described):
    made = checked(described[1])
    west, south, east, north = made.bbox
    ring = np.array(made.geometry["coordinates"][0])
    assert (ring[0] == ring[-1]).all()
    assert west == pytest.approx(9.0, abs=1e-6)  # the central meridian of zone 32
    assert (ring.min(0).tolist(), ring.max(0).tolist()) == ([west, south], [east, north])
    x, y = ring[:-1].T
    assert (x * np.roll(y, -1) - np.roll(x, -1) * y).sum() > 0  # counterclockwise


def square(crs, left, top, side, pixels=10):
    return Grid(crs, Affine(side, 0, left, 0, -side, top), pixels, pixels)


def test_across_the_180th_meridian_there_are_two_boxes():
    # UTM zone 1 goes on beyond its western edge.
    shape = item.footprint(square("EPSG:32601", 200_000, 6_000_000, 10_000))
    assert shape["type"] == "MultiPolygon"
    assert max(x for x, _ in shape["coordinates"][0][0]) == 180
    assert min(x for x, _ in shape["coordinates"][1][0]) == -180
    west, _, east, _ = item._box(shape)
    assert west > 0 > east


def test_around_a_pole_it_is_the_box():
    shape = item.footprint(square("EPSG:3031", -50_000, 50_000, 10_000))
    ring = np.array(shape["coordinates"][0])
    assert (ring.min(0)[0], ring.max(0)[0], ring.min(0)[1]) == (-180, 180, -90)


def test_a_drawing_has_no_place_on_earth():
    local = 'LOCAL_CS["drawing",UNIT["metre",1]]'
    assert item.footprint(square(local, 0, 0, 1)) is None


def test_a_crs_that_no_authority_knows_is_told_in_full():
    crs = "+proj=laea +lat_0=41 +lon_0=7 +datum=WGS84"
    said = item.crs_of(square(crs, 0, 0, 1))
    assert said["proj:code"] is None
    assert said["proj:wkt2"].startswith("PROJCRS")


def test_unknown_times_are_said_to_be_unknown(tmp_path):
    path = tmp_path / "m.tif"
    maps.write(path, maps.truth(8, 8))
    where = write_map_item(path, times=None, layers={})
    made = checked(where)
    assert made.datetime is not None
    assert "when the images were taken is not known" in made.properties["description"]
    assert Times.read(where) is None


def test_times_are_read_as_they_were_written(described, tmp_path):
    assert Times.read(described[1]) == DAY
    path = tmp_path / "m.tif"
    maps.write(path, maps.truth(8, 8))
    moment = Times.of([datetime(2020, 5, 4, 10, 20, 30)])
    where = write_map_item(path, times=moment, layers={})
    assert checked(where).datetime.isoformat() == "2020-05-04T10:20:30+00:00"
    assert Times.read(where) == moment
    assert Times.read(tmp_path / "none.stac.json") is None


def test_short_names_are_unique_and_plain():
    names = ["bürgel & <co>", "a b", "a_b", "水", "路"]
    legend = Legend.parse(
        [{"code": n, "name": name, "color": "#000000"} for n, name in enumerate(names, 1)], "test"
    )
    made = item.classes_of(legend, undecided=True)
    short = [c["name"] for c in made]
    assert len(set(short)) == len(short) == 6
    assert all(re.fullmatch(r"[0-9A-Za-z_-]+", name) for name in short)
    assert [c["title"] for c in made] == [*names, "no decision"]
