"""Scenes and series of netCDF cubes: the right pixels; what is not understood is said."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from geoseg.errors import InputError
from geoseg.geo import raster
from geoseg.geo.cubes.cube import open_cube
from geoseg.geo.grid import Window
from geoseg.outputs.claims.fingerprint import fingerprint
from geoseg.scenes.bands import Bands
from geoseg.scenes.scene import find_scenes
from geoseg.series.find import find_stacks
from geoseg.series.settings import Series
from tests.made.cubes import STEP, X, Y, cube, values, write, write_netcdf
from tests.scenes.cube_checks import check_refused, check_scenes, read
from tests.scenes.cube_checks import two as two_bands


def two(**more):
    return two_bands("int16", **more)  # netCDF's classic format has no unsigned numbers


@pytest.mark.parametrize(
    ("form", "encoding"),
    [
        ("NETCDF4", {"chunksizes": (2, 16, 7), "zlib": True}),
        ("NETCDF4", {}),
        ("NETCDF3_CLASSIC", {}),
    ],
)
def test_each_time_is_a_scene_with_the_file_s_pixels(tmp_path, form, encoding):
    path = write_netcdf(tmp_path / "s2.nc", two(), form=form, **encoding)
    check_scenes(path)


def test_rows_from_the_south_and_dimensions_in_any_order(tmp_path):
    turned = two().sortby("y").transpose("x", "time", "y")
    scene = find_scenes(write_netcdf(tmp_path / "a.nc", turned))[2]
    assert scene.grid.bounds == (X, Y - 40 * STEP, X + 30 * STEP, Y)
    assert (read(scene, Window(3, 5, 20, 11))[0][1] == values(3)[2, 3:23, 5:16]).all()


def test_large_variables_in_one_piece_are_read_by_rows(tmp_path):
    many = np.arange(600 * 20, dtype="int16").reshape(1, 600, 20)
    path = write_netcdf(tmp_path / "a.nc", cube({"red": many}, days=("2021-05-04",)))
    assert open_cube(path).band("red").chunk == (256, 20)
    (scene,) = find_scenes(path)
    assert (read(scene)[0][0] == many[0]).all()


def test_a_series_has_the_dates_of_the_file(tmp_path):
    paths = write(tmp_path / "a.zarr", two()), write_netcdf(tmp_path / "a.nc", two())
    ((zarr,), (netcdf,)) = (
        find_stacks(Series(path=path, check=False), Bands(order=["red", "nir"])) for path in paths
    )
    assert (netcdf.name, netcdf.dates) == (zarr.name, zarr.dates)


def test_cf_grid_mapping_of_parameters_only(tmp_path):
    made = two()
    for key in ("crs_wkt", "spatial_ref"):
        made.spatial_ref.attrs.pop(key, None)
    assert made.spatial_ref.attrs["grid_mapping_name"] == "transverse_mercator"
    scene = find_scenes(write_netcdf(tmp_path / "a.nc", made))[0]
    assert "Transverse" in scene.grid.crs
    assert scene.grid.bounds == (X, Y - 40 * STEP, X + 30 * STEP, Y)


def test_packed_numbers_fill_values_and_valid_ranges(tmp_path):
    one = values(3).astype("int16")
    one[0, 0, :4] = -9999, -32767, 9000, -5
    made = cube({"red": one}, scale_factor=1e-4, add_offset=-0.1, _FillValue=np.int16(-9999))
    made.red.attrs["valid_range"] = np.array([0, 8000], "int16")
    scene = find_scenes(write_netcdf(tmp_path / "a.nc", made))[0]
    image, valid = read(scene)
    assert valid[0, :5].tolist() == [False, False, False, False, True]
    assert valid.sum() == 40 * 30 - 4
    assert (image[0][valid] == one[0][valid]).all()
    assert scene.tags[0].pair == pytest.approx((1e-4, -0.1))


def test_a_valid_range_in_real_numbers_is_of_what_packed_ones_stand_for(tmp_path):
    made = cube({"red": values(3).astype("int16")}, scale_factor=0.01, valid_max=11.0)
    scene = find_scenes(write_netcdf(tmp_path / "a.nc", made))[0]
    assert (read(scene)[1] == (values(3)[0] <= 1100)).all()


@pytest.mark.parametrize(("kind", "fill"), [("int16", -32767), ("float32", 9.969209968386869e36)])
def test_what_was_never_written_is_nodata_without_a_fill_value(tmp_path, kind, fill):
    one = values(3).astype(kind)
    one[0, 0, 0] = fill
    encoding = {"_FillValue": None}
    scene = find_scenes(write_netcdf(tmp_path / "a.nc", cube({"red": one}), **encoding))[0]
    valid = read(scene)[1]
    assert not valid[0, 0]
    assert valid.sum() == 40 * 30 - 1


def test_a_file_that_changes_is_seen(tmp_path):
    path = write_netcdf(tmp_path / "a.nc", two())
    part = find_scenes(path)[0].paths[0]
    before = fingerprint(part)
    assert before == [part, *fingerprint(path)[1:]]
    write_netcdf(tmp_path / "b.nc", two() + 1)
    Path(tmp_path / "b.nc").replace(path)
    assert fingerprint(part) != before
    with raster.Raster(part) as opened:
        assert opened.read(Window(0, 0, 1, 1))[0][0, 0, 0] == 5002


def classic_of_64_bits(path):
    path.write_bytes(b"CDF\x05" + bytes(64))


def no_netcdf(path):
    path.write_bytes(b"GIF89a")


def cut_off(path):
    write_netcdf(path, two())
    path.write_bytes(path.read_bytes()[:3000])


def in_groups(path):
    two().to_netcdf(path, group="r10m", engine="h5netcdf")


def without_crs(path):
    write_netcdf(path, two(crs=None))


def other_calendar(path):
    made = two().drop_vars("time")
    said = {"units": "days since 2021-01-01", "calendar": "360_day"}
    write_netcdf(path, made.assign_coords(time=("time", [1, 2, 3], said)))


def linked(path):
    write_netcdf(path.with_name("other.nc"), two())
    with h5py.File(path, "w") as file:
        file["red"] = h5py.ExternalLink("other.nc", "red")


def outside(path):
    write_netcdf(path, two())
    with h5py.File(path, "a") as file:
        file.create_dataset("key", (4, 4), "u1", external=[("/etc/hostname", 0, 16)])


def virtual(path):
    write_netcdf(path, two())
    with h5py.File(path, "a") as file:
        layout = h5py.VirtualLayout((3, 40, 30), "i2")
        layout[:] = h5py.VirtualSource("other.nc", "red", (3, 40, 30))
        file.create_virtual_dataset("virtual", layout)


FAULTS = {
    "CDF-5, which is not read; convert it: nccopy": classic_of_64_bits,
    "its first bytes are those of none": no_netcdf,
    "can't be opened as a netCDF file": cut_off,
    "it has groups \\(r10m\\): make one a file of its own": in_groups,
    "no CRS \\(coordinate": without_crs,
    "coordinates of time are no times \\(.*360_day": other_calendar,
    "red: its values are said to be in another file \\(other.nc\\)": linked,
    "key: its values are said to be in another file \\(/etc/hostname\\)": outside,
    "virtual: its values are said to be in another file \\(other.nc\\)": virtual,
}


@pytest.mark.parametrize("message", FAULTS)
@pytest.mark.filterwarnings("ignore:.*360_day:Warning", "ignore:Unable to decode:Warning")
def test_what_is_not_understood_is_said_in_one_sentence(tmp_path, message):
    path = tmp_path / "a.nc"
    FAULTS[message](path)
    check_refused(str(path), message)


def test_without_the_extra_it_is_named(tmp_path, monkeypatch):
    path = write_netcdf(tmp_path / "a.nc", two())
    monkeypatch.setitem(__import__("sys").modules, "h5netcdf", None)
    with pytest.raises(InputError, match=r"install them: pip install 'geoseg\[cube\]'"):
        find_scenes(path)
