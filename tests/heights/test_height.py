"""Rasters of heights: made-up clouds whose ground and houses are known."""

import json

import laspy
import numpy as np
import pyproj
import pytest
from affine import Affine

from geoseg.errors import InputError
from geoseg.geo import raster
from geoseg.geo.grid import Grid
from geoseg.heights import cloud as cloud_room
from geoseg.heights import height as height_room
from geoseg.heights.height import height
from geoseg.heights.settings import HeightSettings
from geoseg.scenes.bands import Bands
from geoseg.scenes.scene import find_scenes

EAST, NORTH, SIDE = 500_000.0, 5_300_000.0, 80.0
BOX = (30.0, 25.0, 55.0, 45.0)
"""Left, top, right, bottom of a house of 6 m in metres from the corner."""
LAYERS = ["ndsm", "dsm", "dtm", "density", "intensity", "returns"]


def plane(x, y):
    return 100 + 0.1 * x - 0.03 * y


def points(seed=0, per_m2=20):
    """Points (x, y from the upper left corner, z, code) over a slope of 10 % with a house on it."""
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(0, SIDE, (2, int(SIDE**2 * per_m2)))
    house = (x > BOX[0]) & (x < BOX[2]) & (y > BOX[1]) & (y < BOX[3])
    return x, y, plane(x, y) + 6.0 * house, np.where(house, 6, 2)


def write(path, x, y, z, code, *, crs="EPSG:32632"):
    header = laspy.LasHeader(point_format=6, version="1.4")
    if crs:
        header.add_crs(pyproj.CRS.from_user_input(crs))
    header.offsets, header.scales = np.array([EAST, NORTH, 0.0]), np.full(3, 0.001)
    cloud = laspy.LasData(header)
    cloud.x, cloud.y, cloud.z = EAST + x, NORTH - y, z
    cloud.classification = np.asarray(code, np.uint8)
    cloud.intensity = np.full(len(x), 700, np.uint16)
    cloud.return_number = cloud.number_of_returns = np.full(len(x), 1, np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    cloud.write(path)
    return path


def read(path):
    """Values (H, W), NaN where there are none, and the grid."""
    with raster.Raster(path) as file:
        values, valid = file.read(file.grid.window)
        return np.where(valid, values[0], np.nan), file.grid


def distance_to_walls(grid):
    """Metres (H, W) of pixel centres to the house's walls, and whether they lie inside."""
    x = grid.transform.c + (np.arange(grid.width) + 0.5) * grid.transform.a - EAST
    y = NORTH - (grid.transform.f + (np.arange(grid.height) + 0.5) * grid.transform.e)
    x, y = np.meshgrid(x, y)
    away = np.maximum.reduce([BOX[0] - x, x - BOX[2], BOX[1] - y, y - BOX[3]])
    return np.abs(away), away < 0


def test_a_house_on_a_slope_has_its_height(tmp_path):
    write(tmp_path / "in" / "a.laz", *points())
    said = height(tmp_path / "in", tmp_path / "out", settings=HeightSettings(LAYERS))
    ndsm, grid = read(tmp_path / "out" / "ndsm" / "a.tif")
    away, inside = distance_to_walls(grid)
    known = np.isfinite(ndsm)
    assert known.mean() > 0.95
    # The highest point of a pixel lies up to half a pixel up the slope: 0.05 m of 10 %.
    off = 0.1 * 0.5 / 2 + 0.03 * 0.5 / 2 + 0.03
    assert np.abs(ndsm - 6)[known & inside & (away > 0.5)].max() < 0.05 + off
    assert abs(np.median(ndsm[known & inside & (away > 0.5)]) - 6) < 0.05
    assert np.abs(ndsm)[known & ~inside & (away > 0.5)].max() < 0.05 + off
    dtm, _ = read(tmp_path / "out" / "dtm" / "a.tif")
    x = (np.arange(grid.width) + 0.5) * grid.transform.a + grid.transform.c - EAST
    y = NORTH - grid.transform.f + (np.arange(grid.height) + 0.5) * -grid.transform.e
    error = np.abs(dtm - plane(*np.meshgrid(x, y)))
    assert error[inside].max() < 0.05, "below the house the slope goes on"
    density, _ = read(tmp_path / "out" / "density" / "a.tif")
    assert abs(np.nanmean(density[5:-5, 5:-5]) - 20) < 0.5
    assert np.nanmax(read(tmp_path / "out" / "intensity" / "a.tif")[0]) == 700
    assert np.nanmin(read(tmp_path / "out" / "returns" / "a.tif")[0]) == 1
    assert "1 raster of each of ndsm" in str(said)


def test_a_cloud_that_is_cut_gives_what_the_whole_gives(tmp_path, monkeypatch):
    x, y, z, code = points()
    write(tmp_path / "whole" / "a.laz", x, y, z, code)
    west = x < 41.3  # through the house
    write(tmp_path / "cut" / "west.laz", x[west], y[west], z[west], code[west])
    write(tmp_path / "cut" / "east.las", x[~west], y[~west], z[~west], code[~west])
    settings = HeightSettings(["ndsm", "dsm", "density"])
    height(tmp_path / "whole", tmp_path / "one", settings=settings)
    monkeypatch.setattr(cloud_room, "CHUNK", 7_001)
    monkeypatch.setattr(height_room, "SIDE", 96)
    height(tmp_path / "cut", tmp_path / "two", settings=settings)
    for layer in settings.layers:
        whole, grid = read(tmp_path / "one" / layer / "a.tif")
        for name in ("west", "east"):
            part, own = read(tmp_path / "two" / layer / f"{name}.tif")
            top, left = grid.offset(own)
            same = whole[top : top + own.height, left : left + own.width]
            np.testing.assert_array_equal(part, same, err_msg=f"{layer} of {name}")
        joined, own = read(tmp_path / "two" / f"{layer}.vrt")
        assert own.coincides(grid)
        np.testing.assert_array_equal(joined, whole, err_msg=f"{layer} of both")
    assert not (tmp_path / "two" / ".points").exists()


def scene(path, *, crs="EPSG:32632", left=EAST + 10.25, side=0.8, size=64):
    grid = Grid(crs, Affine(side, 0, left, 0, -side, NORTH - 10.25), size, size)
    with raster.create(path, grid, dtype="uint8", count=3) as writer:
        writer.write(np.full((3, size, size), 9, np.uint8), grid.window)
    return grid


def test_rasters_on_the_grid_of_a_scene_are_a_band_of_it(tmp_path):
    write(tmp_path / "in" / "a.laz", *points())
    grid = scene(tmp_path / "scenes" / "s.tif")
    height(tmp_path / "in", tmp_path / "out", scenes=tmp_path / "scenes")
    ndsm, own = read(tmp_path / "out" / "ndsm" / "s.tif")
    assert own.coincides(grid)
    assert (tmp_path / "out" / "ndsm.vrt").is_file()
    scene(tmp_path / "scenes" / "t.tif", side=0.9)  # pixels of another size
    height(tmp_path / "in", tmp_path / "apart", scenes=tmp_path / "scenes")
    assert not list((tmp_path / "apart").glob("*.vrt"))
    (tmp_path / "scenes" / "t.tif").unlink()
    away, inside = distance_to_walls(grid)
    assert np.abs(ndsm - 6)[inside & (away > 0.8)].max() < 0.15
    bands = Bands(extra={"height": str(tmp_path / "out" / "ndsm")})
    (found,) = find_scenes(tmp_path / "scenes", bands)
    assert found.bands[-1] == "height"
    with found.open() as reader:
        image, valid = reader.read(grid.window)
    assert valid.all()
    np.testing.assert_array_equal(image[-1], ndsm)


def test_a_call_that_goes_on_makes_what_is_missing(tmp_path):
    x, y, z, code = points(per_m2=6)
    write(tmp_path / "in" / "a.laz", x, y, z, code)
    write(tmp_path / "in" / "b.laz", x + SIDE, y, z, code)
    out = tmp_path / "out"
    height(tmp_path / "in", out)
    first = {name: (out / "ndsm" / name).read_bytes() for name in ("a.tif", "b.tif")}
    kept = (out / "ndsm" / "a.tif").stat().st_mtime_ns
    (out / "ndsm" / "b.tif").unlink()
    (out / ".points" / "0_").mkdir(parents=True)  # of a call that was killed
    height(tmp_path / "in", out)
    assert {name: (out / "ndsm" / name).read_bytes() for name in first} == first
    assert (out / "ndsm" / "a.tif").stat().st_mtime_ns == kept
    record = json.loads((out / "height.json").read_text())
    assert [one["name"] for one in record["sheets"]] == ["a", "b"]
    assert "stays" not in str(height(tmp_path / "in", out))
    (out / "ndsm.vrt").write_text("mine")
    assert f"{out / 'ndsm.vrt'}: is not of this command and stays" in str(
        height(tmp_path / "in", out)
    )
    assert (out / "ndsm.vrt").read_text() == "mine"
    with pytest.raises(InputError, match="made with other settings"):
        height(tmp_path / "in", out, settings=HeightSettings(resolution_m=1.0))


@pytest.mark.parametrize("name", ["a.las", "a.laz"])
def test_a_file_that_is_cut_short_is_said_to_be(tmp_path, name):
    path = write(tmp_path / "in" / name, *points(per_m2=6))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="cut short") as error:
        height(path, tmp_path / "out")
    assert len(error.value.faults) == 1
    assert not list((tmp_path / "out").rglob("*.tif"))
    path.write_bytes(whole[:100])
    with pytest.raises(InputError, match="cut short"):
        height(path, tmp_path / "out")


def test_what_cannot_be_made_is_said_in_a_sentence(tmp_path):
    x, y, z, code = points(per_m2=2)
    bare = write(tmp_path / "bare.laz", x, y, z, code, crs=None)
    with pytest.raises(InputError, match=r"no CRS .* set height\.crs=EPSG"):
        height(bare, tmp_path / "out")
    height(bare, tmp_path / "given", settings=HeightSettings(crs="EPSG:32632"))
    with pytest.raises(InputError, match="no CRS that is known"):
        height(bare, tmp_path / "out", settings=HeightSettings(crs="EPSG:nothing"))
    degrees = write(tmp_path / "degrees.laz", x, y, z, code, crs="EPSG:4326")
    with pytest.raises(InputError, match="in degrees"):
        height(degrees, tmp_path / "out")
    raw = write(tmp_path / "raw.laz", x, y, z, np.ones(len(x)))
    with pytest.raises(InputError, match=r"no point on raw has a class of the ground.*1 \(\d+ p"):
        height(raw, tmp_path / "out")
    height(raw, tmp_path / "surface", settings=HeightSettings(["dsm", "density"]))
    other = write(tmp_path / "other.laz", x, y, z, code, crs="EPSG:32633")
    with pytest.raises(InputError, match="another CRS"):
        height([str(raw), str(other)], tmp_path / "out")
    scene(tmp_path / "far" / "s.tif", left=EAST + 5000)
    with pytest.raises(InputError, match="scene s: none of 1 point clouds covers"):
        height(raw, tmp_path / "out", scenes=tmp_path / "far")
    (tmp_path / "no.laz").write_bytes(b"nothing of the kind")
    with pytest.raises(InputError, match="can't be opened as a point cloud"):
        height(tmp_path / "no.laz", tmp_path / "out")


def test_feet_up_and_another_crs_across_are_brought_to_metres(tmp_path):
    x, y, z, code = points(per_m2=6)
    feet = "EPSG:32632+6360"  # NAVD88 height in US survey feet
    path = write(tmp_path / "in" / "a.laz", x, y, z / (1200 / 3937), code, crs=feet)
    scene(tmp_path / "scenes" / "s.tif")
    height(path, tmp_path / "out", scenes=tmp_path / "scenes", settings=HeightSettings(["dtm"]))
    dtm, grid = read(tmp_path / "out" / "dtm" / "s.tif")
    assert abs(dtm[0, 0] - plane(10.65, 10.65)) < 0.1
    other = Grid("EPSG:25832", grid.transform, grid.height, grid.width)
    with raster.create(tmp_path / "etrs" / "s.tif", other, dtype="uint8") as writer:
        writer.write(np.ones((64, 64), np.uint8), other.window)
    height(path, tmp_path / "etrs_out", scenes=tmp_path / "etrs", settings=HeightSettings(["dtm"]))
    same, _ = read(tmp_path / "etrs_out" / "dtm" / "s.tif")
    np.testing.assert_allclose(same, dtm, atol=0.05)


@pytest.mark.parametrize("keys", [{4099: 9003}, {4096: 6360}, {4096: 5103, 4099: 9003}])
def test_feet_that_only_geotiff_keys_tell_are_brought_to_metres(tmp_path, keys):
    keys = {1024: 1, 3072: 32632} | keys
    rows = [(1, 1, 0, len(keys)), *((key, 0, 1, value) for key, value in keys.items())]
    header = laspy.LasHeader(point_format=1, version="1.2")
    header.vlrs.append(laspy.VLR("LASF_Projection", 34735, "", np.array(rows, "<u2").tobytes()))
    header.vlrs.append(laspy.VLR("LASF_Projection", 34737, "", b"\0"))
    cloud = laspy.LasData(header)
    cloud.x, cloud.y, cloud.z = [EAST], [NORTH], [100.0]
    cloud.write(tmp_path / "a.las")
    found = cloud_room.find_clouds(tmp_path / "a.las")
    (part,) = cloud_room.read(found[0])
    assert part.z[0] == pytest.approx(100 * 1200 / 3937, abs=0.01)
    (said,) = cloud_room.understood(found, "EPSG:32632")
    assert "heights taken to be in units of 0.3048006 m" in said


def test_what_is_odd_of_clouds_is_said(tmp_path):
    x, y, z, code = points(per_m2=2)
    z[0] = 5000  # a bird
    path = write(tmp_path / "a.laz", x, y, z, code)
    said = str(height(path, tmp_path / "out", settings=HeightSettings(crs="EPSG:25832")))
    assert "points higher above the ground than 330 m, mostly noise" in said
    assert "say another CRS than height.crs=EPSG:25832, and their own counts" in said
    (tmp_path / "copy.laz").write_bytes(path.read_bytes())
    with pytest.raises(InputError, match="whose points would count twice"):
        height(tmp_path, tmp_path / "twice")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"layers": ["hight"]}, "choose from ndsm"),
        ({"layers": []}, "choose from ndsm"),
        ({"layers": ["dsm", "dsm"]}, "appears twice"),
        ({"ground": [2], "outlier": [2]}, "can't be both"),
        ({"ground": []}, "need classes of the ground"),
        ({"resolution_m": 0}, "resolution_m"),
        ({"reach_m": 1e4}, "reach_m"),
    ],
)
def test_settings_that_make_no_sense(settings, said):
    with pytest.raises(InputError, match=said):
        HeightSettings(**settings)
