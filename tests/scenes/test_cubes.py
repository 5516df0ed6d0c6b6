"""Scenes of Zarr cubes: the right pixels, wherever they lie; what is not understood is said."""

import json
import pickle
import subprocess
import sys
import threading
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
import xarray

from geoseg.errors import InputError
from geoseg.geo import raster
from geoseg.geo.cubes import bands as cube_bands
from geoseg.geo.cubes.axes import times_of
from geoseg.geo.grid import Grid, Window
from geoseg.outputs.claims.fingerprint import fingerprint
from geoseg.received.cube_slices import CubeSlice, is_cube, parse
from geoseg.scenes.bands import Bands
from geoseg.scenes.scene import Scene, find_scenes, harmonize
from tests.made.cubes import DAYS, STEP, X, Y, axis, cube, values, write
from tests.scenes.cube_checks import check_refused, check_scenes, read, two


@pytest.mark.parametrize("form", [2, 3])
def test_each_time_is_a_scene_with_the_cube_s_pixels(tmp_path, form):
    path = write(tmp_path / "s2.zarr", two(), form=form, chunks=(2, 16, 7))
    check_scenes(path)


def test_without_time_a_cube_is_one_scene(tmp_path):
    path = write(tmp_path / "a.zarr", cube({"red": values(1)[0]}, days=()))
    (scene,) = find_scenes(path + "/")
    assert scene.name == "a"
    assert (read(scene)[0][0] == values(1)[0]).all()


def test_axes_may_be_stored_in_any_direction_and_order(tmp_path):
    straight = cube({"red": values(3), "nir": values(3)})
    turned = straight.sortby("y").isel(x=slice(None, None, -1)).transpose("x", "time", "y")
    scene = find_scenes(write(tmp_path / "a.zarr", turned, chunks=(7, 1, 16)))[2]
    assert scene.grid.bounds == (X, Y - 40 * STEP, X + 30 * STEP, Y)
    assert (read(scene)[0][0] == values(3)[2]).all()
    assert (read(scene, Window(3, 5, 20, 11))[0][0] == values(3)[2, 3:23, 5:16]).all()


def test_bands_along_a_dimension(tmp_path):
    made = xarray.Dataset(
        {"reflectance": (("band", "y", "x"), values(3), {"grid_mapping": "crs"})},
        coords={
            "band": ["B04", "B03", "B08"], "common_name": ("band", ["red", "green", "nir"]),
            "y": axis(Y, 40, -STEP), "x": axis(X, 30),
        },
    )  # fmt: skip
    made["crs"] = ((), 0, {"spatial_ref": "EPSG:32632"})
    path = write(tmp_path / "a.zarr", made, form=2)
    (scene,) = find_scenes(path, Bands(order=["nir", "B04"]))
    assert (read(scene)[0] == values(3)[[2, 0]]).all()
    assert find_scenes(path)[0].bands == ("red", "green", "nir")
    with pytest.raises(InputError, match="no band blue; it has red, green, nir"):
        find_scenes(path, Bands(order=["blue"]))


def test_fill_values_scales_and_offsets_are_heeded(tmp_path):
    one, two = values(3), values(3)
    one[0, 0, 0], one[0, 1, 1] = 0, 9999
    a = cube({"red": one}, scale_factor=1e-4, add_offset=-0.1, _FillValue=np.uint16(0))
    a.red.attrs["missing_value"] = np.uint16(9999)
    b = cube({"red": two}, scale_factor=2e-4, add_offset=-0.1, _FillValue=np.uint16(0))
    paths = [write(tmp_path / f"{n}.zarr", m) for n, m in (("a", a), ("b", b))]
    scenes = find_scenes(paths)
    _, valid = read(scenes[0])
    assert not valid[0, 0]
    assert not valid[1, 1]
    assert valid.sum() == 40 * 30 - 2
    assert scenes[0].tags[0].pair == pytest.approx((1e-4, -0.1))
    brought = read(harmonize(scenes)[3])[0][0]
    assert np.allclose(brought, two[0] * 2.0)


def test_cubes_are_warped_as_files_are(tmp_path):
    cubed = find_scenes(write(tmp_path / "a.zarr", cube({"red": values(3)})))[0]
    grid = Grid("EPSG:32631", cubed.grid.transform @ cubed.grid.transform.translation(5, 5), 30, 20)
    west = Grid(cubed.grid.crs, grid.transform @ grid.transform.scale(0.7), 30, 20)
    file = tmp_path / "a.tif"
    with raster.create(file, cubed.grid, dtype="uint16") as writer:
        writer.write(values(3)[0], cubed.grid.window)
    for resampling in ("bilinear", "cubic", "nearest"):
        pair = []
        for path in (cubed.paths[0], file):
            with raster.Raster(path, grid=west, resampling=resampling) as opened:
                pair.append(opened.read(Window(2, 3, 20, 15)))
        assert (pair[0][0] == pair[1][0]).all()
        assert pair[0][0].any()


def test_scenes_can_be_kept_in_a_data_set(tmp_path):
    path = write(tmp_path / "in" / "a.zarr", two())
    scene = find_scenes(path)[1]
    folder = tmp_path / "data"
    again = Scene.from_dict(json.loads(json.dumps(scene.to_dict(folder))), folder)
    assert (read(again)[0] == read(scene)[0]).all()
    assert raster.info(scene.paths[0]).block == (40, 30)
    before = fingerprint(scene.paths[0])
    assert before[0] == scene.paths[0]
    assert before[1] > 100


def test_slices_are_closed_by_another_thread_and_read_by_another_process(tmp_path):
    path = find_scenes(write(tmp_path / "a.zarr", two()))[0].paths[0]
    failed = []

    def work():
        try:
            opened.read(Window(0, 0, 4, 4))
            opened.close()
        except BaseException as error:
            failed.append(error)

    with raster.environment():
        opened = raster.Raster(path)
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert not failed
    # One that is left open at the end does not crash it.
    code = (
        "import sys; from geoseg.geo.raster import Raster; from geoseg.geo.grid import Window\n"
        "kept = Raster(sys.argv[1]); print(kept.read(Window(0, 0, 1, 2))[0].tolist())"
    )
    run = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True)
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.strip() == "[[[5001, 5002]], [[1, 2]]]"


def test_names_of_slices():
    part = CubeSlice("a.zarr", ("r+g", "x/y#"), datetime(2021, 5, 4, 1, 2, 3, 500), 2)
    assert str(part) == "a.zarr#r%2Bg+x%2Fy%23@20210504T010203.000500~2"
    assert parse("no such#red") is None


def test_slices_are_named_so_that_they_are_found(tmp_path):
    path = write(tmp_path / "a#b.zarr", two())
    assert is_cube(path)
    assert not is_cube(tmp_path)
    part = CubeSlice(path, ("r+g", "x/y#"), datetime(2021, 5, 4, 1, 2, 3, 500), 2)
    assert parse(str(part)) == part
    gone = CubeSlice(path, ("red",), datetime(2020, 1, 1))
    with pytest.raises(InputError, match="no such time any more"):
        raster.info(str(gone))


def test_times_of_one_day_and_of_one_moment(tmp_path):
    days = ("2021-05-04T10:00:00", "2021-05-04T10:00:00", "2021-05-04T12:00:00")
    scenes = find_scenes(write(tmp_path / "a.zarr", two(days=days)))
    names = [scene.name for scene in scenes]
    assert names == ["a_20210504T100000", "a_20210504T100000_2", "a_20210504T120000"]
    assert [read(scene)[0][1, 0, 0] for scene in scenes] == [1, 1201, 2401]


def test_classes_are_no_bands_unless_they_are_asked_for(tmp_path):
    made = two()
    made["quality"] = (("time", "y", "x"), values(3), made.red.attrs | {"flag_values": [0, 1]})
    path = write(tmp_path / "a.zarr", made)
    assert find_scenes(path)[0].bands == ("nir", "red")
    assert find_scenes(path, Bands(order=["quality"]))[0].bands == ("quality",)


def faulty(**changes):
    made = two()
    for name, change in changes.items():
        made = made.assign_coords({name: change(made[name])})
    return made


CURVED = "longitude"


def curvilinear():
    made = two().drop_vars(["x", "y"])
    return made.assign_coords({CURVED: (("y", "x"), values(1)[0] * 1.0)})


def moved_time():
    return two().drop_vars("time")


def numbered_time():
    return two().assign_coords(time=[20210504, 20210604, 20210704])


def levels():
    return two().rename(time="level").drop_vars("level")


@pytest.mark.parametrize("form", ["%Y%m%d", "%Y-%m-%d"])
def test_times_as_text_may_have_no_dashes(form):
    days = [datetime(2021, 5, 4), datetime(2021, 6, 4), datetime(2021, 7, 4)]
    text = [f"{day:{form}}" for day in days]
    assert list(times_of(two().assign_coords(time=text), "time", "a")) == days
    with pytest.raises(InputError, match="beyond the year 9999"):
        times_of(two().assign_coords(time=["20210504", "20210604", "123456"]), "time", "a")


def other_calendar():
    made = two().drop_vars("time")
    said = {"units": "days since 2021-01-01", "calendar": "360_day"}
    return made.assign_coords(time=("time", [1, 2, 3], said))


def several():
    made = two(crs=None)
    for name, code in (("one", 32632), ("two", 32633)):
        made[name] = ((), 0, {"spatial_ref": f"EPSG:{code}"})
    return made


def round_the_world():
    return two(crs=4326).assign_coords(x=axis(0, 30, 12.0), y=axis(80, 40, -4.0))


def lost_mapping():
    made = two(crs=None)
    made.red.attrs["grid_mapping"] = "gone"
    return made


def km():
    made = two()
    made.x.attrs["units"] = "km"
    return made


def zero_scale():
    made = two()
    made.red.attrs["scale_factor"] = 0.0
    return made


FAULTS = {
    "no CRS \\(coordinate": lambda: two(crs=None),
    "several CRSs \\(one: WGS 84 / UTM zone 32N, two: WGS 84 / UTM zone 33N\\)": several,
    "grid_mapping is 'gone', which the cube does not hold": lost_mapping,
    "coordinates of x are irregular: .* is 0.5 pixels off": lambda: faulty(
        x=lambda x: x + np.where(np.arange(30) == 7, 5.0, 0)
    ),
    "coordinates of x are not all numbers": lambda: faulty(
        x=lambda x: np.where(np.arange(30) == 7, np.nan, x)
    ),
    "longitude is of each pixel by itself: warp it": curvilinear,
    "dimension time without a coordinate": moved_time,
    "coordinates of time are no times \\(no units.*the first is 20210504": numbered_time,
    "coordinates of time are no times \\(.*360_day": other_calendar,
    "dimension level of 3 is none of y, x, time and band": levels,
    "longitudes from 0 to 360": round_the_world,
    "coordinates of x in km": km,
    "a scale_factor of 0": zero_scale,
    "one coordinate of y does not tell the size of a pixel": lambda: two().isel(y=[0]),
    "without a variable of numbers with y and x": lambda: two().drop_vars(["red", "nir"]),
}


@pytest.mark.parametrize("message", FAULTS)
@pytest.mark.filterwarnings("ignore:.*360_day:Warning", "ignore:Unable to decode:Warning")
def test_what_is_not_understood_is_said_in_one_sentence(tmp_path, message):
    path = write(tmp_path / "a.zarr", FAULTS[message]())
    check_refused(path, message)


def test_geozarr_says_crs_and_transform_as_attributes(tmp_path):
    made = two(crs=None).drop_vars(["x", "y"])
    made.attrs |= {"proj:code": "EPSG:32632", "spatial:transform": [STEP, 0, X, 0, -STEP, Y]}
    scene = find_scenes(write(tmp_path / "a.zarr", made))[0]
    assert scene.grid.bounds == (X, Y - 40 * STEP, X + 30 * STEP, Y)


def test_coordinates_count_where_a_cut_left_an_old_transform(tmp_path):
    made = two()
    made.spatial_ref.attrs["GeoTransform"] = f"{X} {STEP} 0 {Y} 0 {-STEP}"
    scene = find_scenes(write(tmp_path / "a.zarr", made.isel(x=slice(3, None))))[0]
    assert scene.grid.bounds[0] == X + 3 * STEP


def test_a_group_is_given_by_its_path(tmp_path):
    two().to_zarr(tmp_path / "a.zarr", group="r10m", consolidated=False)
    with pytest.raises(InputError, match=r"it has groups \(r10m\): give the path of one"):
        find_scenes(str(tmp_path / "a.zarr"))
    assert find_scenes(str(tmp_path / "a.zarr" / "r10m"))[0].name == "a_r10m_20210504"


class Bomb:
    def __reduce__(self):
        return (Path.touch, (Path("exploded"),))


def test_no_codec_that_runs_programs_is_let_in(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path / "a.zarr", two(), form=2)
    told = Path(path) / "time" / ".zarray"
    said = json.loads(told.read_text()) | {"filters": [{"id": "pickle"}], "dtype": "|O"}
    told.write_text(json.dumps(said))
    for chunk in told.parent.glob("[0-9]*"):
        chunk.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(InputError, match="codec 'pickle', which is not one of those"):
        find_scenes(path)
    assert not Path("exploded").exists()


def test_a_damaged_chunk_is_a_fault_of_its_rows(tmp_path):
    path = write(tmp_path / "a.zarr", two())
    scene = find_scenes(path)[0]
    for chunk in (Path(path) / "red" / "c").rglob("*"):
        if chunk.is_file():
            chunk.write_bytes(b"not what it was")
    with pytest.raises(InputError, match="can't read rows 0"):
        read(scene)


def test_chunks_too_large_to_be_read_are_refused(tmp_path, monkeypatch):
    path = write(tmp_path / "a.zarr", two())
    monkeypatch.setattr(cube_bands, "LARGEST", 1000)
    with pytest.raises(InputError, match="smaller ones"):
        find_scenes(path)


def test_without_xarray_its_name_is_said(tmp_path, monkeypatch):
    path = write(tmp_path / "a.zarr", two())
    monkeypatch.setitem(sys.modules, "xarray", None)
    with pytest.raises(InputError, match=r"pip install 'geoseg\[cube\]'"):
        find_scenes(path)


def test_other_settings_than_a_cube_s_own_are_refused(tmp_path):
    path = write(tmp_path / "a.zarr", two())
    with pytest.raises(InputError, match=r"bands.names: a STAC catalog or a cube names its bands"):
        find_scenes(path, Bands(names=["a", "b"]))
    assert len(DAYS) == len(find_scenes(path))
