"""Series out of Zarr cubes: dates, bands, scene classes."""

from datetime import date

import numpy as np
import pytest

from geoseg.errors import InputError
from geoseg.scenes.bands import Bands
from geoseg.series.find import find_stacks
from geoseg.series.settings import Series
from geoseg.stac.bands import NOT_CLEAR
from tests.made.cubes import DAYS, cube, values, write

MISSING = 65535


def stacks(path, order=("red", "nir"), **options):
    return find_stacks(Series(path=path, check=False, **options), Bands(order=list(order)))


def test_a_cube_is_a_stack_with_its_dates_and_its_clouds(tmp_path):
    made = cube({"nir": values(3) + 5000, "red": values(3)})
    classes = np.full((3, 40, 30), 4, np.uint8)
    classes[:, :2, :2] = 9
    made["SCL"] = (("time", "y", "x"), classes, {"grid_mapping": "spatial_ref"})
    path = write(tmp_path / "alps.zarr", made)
    (stack,) = stacks(path)
    assert stack.name == "alps"
    assert stack.dates == tuple(map(date.fromisoformat, DAYS))
    assert stack.mask_values == NOT_CLEAR
    with stack.open() as reader:
        read = reader.read(stack.grid.window)
    assert (read[:, :, :2, :2] == MISSING).all()
    assert (read[:, 0, 2:] == values(3)[:, 2:]).all()
    assert (read[:, 1, 2:] == values(3)[:, 2:] + 5000).all()
    (cut,) = stacks(path, order=["nir"], start="2021-06-01")
    assert cut.bands == ("nir",)
    assert cut.dates == stack.dates[1:]


def test_a_cube_without_times_is_no_series(tmp_path):
    path = write(tmp_path / "a.zarr", cube({"red": values(1)[0]}, days=()))
    with pytest.raises(InputError, match="no time coordinate; a series needs dates"):
        stacks(path, order=["red"])
