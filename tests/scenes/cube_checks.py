"""What Zarr and netCDF cubes have in common: a cube of two bands, and what is read of it."""

import pytest

from geoseg.errors import InputError
from geoseg.geo.grid import Window
from geoseg.scenes.scene import find_scenes
from tests.made.cubes import STEP, X, Y, cube, values


def two(dtype="uint16", **more):
    small = values(3).astype(dtype)
    return cube({"red": small, "nir": small + 5000}, **more)


def read(scene, window=None):
    with scene.open() as reader:
        return reader.read(window or scene.grid.window)


def check_scenes(path):
    """Each time of `two`, written as s2, is a scene with its pixels."""
    scenes = find_scenes(path)
    assert [scene.name for scene in scenes] == ["s2_20210504", "s2_20210604", "s2_20210704"]
    for place, scene in enumerate(scenes):
        assert scene.bands == ("nir", "red")
        assert scene.grid.bounds == (X, Y - 40 * STEP, X + 30 * STEP, Y)
        image, valid = read(scene)
        assert (image[1] == values(3)[place]).all()
        assert (image[0] == values(3)[place] + 5000).all()
        # In Zarr's format 2 a fill value, 0 if nobody says another, means nodata.
        assert valid.all()
    part, _ = read(scenes[1], Window(35, -2, 10, 5))
    assert (part[1][:5, 2:] == values(3)[1, 35:, :3]).all()
    assert not part[1][5:].any()


def check_refused(path, message):
    """In one sentence with the path."""
    with pytest.raises(InputError, match=message) as caught:
        find_scenes(path)
    assert all("\n" not in fault and path in fault for fault in caught.value.faults)
