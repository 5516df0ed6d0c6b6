"""Series out of STAC catalogs that pystac wrote: dates, places, scene classes, offsets."""

from datetime import datetime, timedelta

import numpy as np
import pystac
import pytest

from geoseg.errors import InputError
from geoseg.scenes.bands import Bands
from geoseg.series.find import find_stacks
from geoseg.series.settings import Series
from geoseg.stac.bands import NOT_CLEAR
from tests.made.scenes import grid, write
from tests.made.stac import catalogued, sentinel

FIRST = datetime(2021, 5, 4, 10, 20, 30)
DATES = tuple(FIRST + timedelta(20 * number) for number in range(3))
MISSING = 65535


def item(folder, when, tile="31UFS", classes=4, offset=None, **properties):
    """Red of 1000 and nir of 3000; a date's scene classes are `classes` but in a corner: cloud."""
    name = f"S2_{tile}_{when:%Y%m%d}"
    left = 500_000 + 1000 * (tile != "31UFS")
    shift = 0 if offset is None else round(-offset * 1e4)
    files = {}
    for key, value in (("red", 1000), ("nir", 3000)):
        image = np.full((20, 20), value + shift, np.uint16)
        place = grid(20, 20, pixel=10.0, left=left)
        files[key] = write(folder / "files" / name / f"{key}.tif", image, grid=place)
    scene = np.full((10, 10), classes, np.uint8)
    scene[:2, :2] = 9
    place = grid(10, 10, pixel=20.0, left=left)
    files["scl"] = write(folder / "files" / name / "scl.tif", scene, grid=place)
    made = sentinel(folder, name, when, files, **{"grid:code": f"MGRS-{tile}"} | properties)
    for key in ("red", "nir"):
        (band,) = made.assets[key].extra_fields["bands"]
        band |= {"nodata": 0, "raster:scale": 1e-4, "raster:offset": offset or 0.0}
    return made


def stacks(path, order=("red", "nir"), **options):
    return find_stacks(Series(path=str(path), **options), Bands(order=list(order)))


def whole(stack):
    with stack.open() as reader:
        return reader.read(stack.grid.window)


def test_dates_places_and_clouds_are_those_of_the_items(tmp_path):
    parts = [item(tmp_path, day, tile) for day in DATES for tile in ("31UFS", "31UGS")]
    east, west = stacks(catalogued(tmp_path, parts))
    assert (east.name, west.name) == ("31UFS", "31UGS")
    assert east.dates == tuple(day.date() for day in DATES)
    assert east.bands == ("red", "nir")
    assert east.mask_values == NOT_CLEAR
    values = whole(east)
    assert (values[:, :, :4, :4] == MISSING).all()  # cloud, in pixels of half the size
    assert (values[:, 0, 4:] == 1000).all()
    assert (values[:, 1, 4:] == 3000).all()


def test_clouds_are_ground_where_masks_are_not_heeded(tmp_path):
    path = str(catalogued(tmp_path, [item(tmp_path, day) for day in DATES]))
    (stack,) = find_stacks(Series(path=path), Bands(order=["red", "nir"], masks=False))
    assert stack.masks == stack.mask_values == ()
    assert not any("clouds" in note or "mask" in note for note in stack.notes)
    assert (whole(stack)[:, 0] == 1000).all()


def test_an_offset_that_begins_at_a_date_is_taken_off(tmp_path):
    offsets = (0.0, 0.0, -0.1)
    parts = [item(tmp_path, day, offset=o) for day, o in zip(DATES, offsets, strict=True)]
    (stack,) = stacks(catalogued(tmp_path, parts))
    assert (whole(stack)[:, 0, 10] == 1000).all()
    (stack,) = find_stacks(
        Series(path=str(tmp_path / "catalog.json"), check=False),
        Bands(order=["red"], tags=False),
    )
    assert whole(stack)[:, 0, 10, 10].tolist() == [1000, 1000, 2000]


def test_an_offset_that_the_provider_has_applied_is_not_taken_off_again(tmp_path):
    parts = [item(tmp_path, day) for day in DATES]
    for asset in ("red", "nir"):
        parts[2].assets[asset].extra_fields["bands"][0]["raster:offset"] = -0.1
    parts[2].properties["earthsearch:boa_offset_applied"] = True
    (stack,) = stacks(catalogued(tmp_path, parts))
    assert (whole(stack)[:, 0, 10] == 1000).all()
    assert any("has been applied already (2021-06-13)" in note for note in stack.notes)


def test_masks_that_are_given_count_instead(tmp_path):
    path = catalogued(tmp_path, [item(tmp_path, day) for day in DATES])
    for day in DATES:
        free = np.zeros((20, 20), np.uint8)
        free[19] = 1
        write(tmp_path / "masks" / f"m_{day:%Y%m%d}.tif", free, grid=grid(20, 20, pixel=10.0))
    (stack,) = stacks(path, masks=str(tmp_path / "masks"))
    assert stack.mask_values == ()
    values = whole(stack)
    assert (values[:, :, 19] == MISSING).all()
    assert (values[:, :, :19] != MISSING).all()


def test_masks_of_unknown_meaning_are_named(tmp_path):
    parts = [item(tmp_path, day) for day in DATES]
    for part in parts:
        mask = part.assets.pop("scl")
        part.add_asset("qa_pixel", pystac.Asset(mask.href, roles=["cloud"]))
    path = catalogued(tmp_path, parts)
    (stack,) = stacks(path)
    assert (whole(stack) != MISSING).all()
    assert any(note.startswith("assets qa_pixel would tell clouds") for note in stack.notes)
    write(tmp_path / "masks" / "m_20210504.tif", np.zeros((20, 20), np.uint8), grid=grid(20, 20))
    (stack,) = stacks(path, masks=str(tmp_path / "masks"))
    assert not any("qa_pixel" in note for note in stack.notes)


def test_the_period_is_that_of_the_settings(tmp_path):
    path = catalogued(tmp_path, [item(tmp_path, day) for day in DATES])
    (stack,) = stacks(path, end="2021-06-01")
    assert stack.dates == tuple(day.date() for day in DATES[:2])
    assert any("outside the period left out" in note for note in stack.notes)


def test_the_names_of_esa_are_found_too(tmp_path):
    path = catalogued(tmp_path, [item(tmp_path, day) for day in DATES])
    (stack,) = stacks(path, order=("B04", "B08"))
    assert stack.bands == ("B04", "B08")
    assert (whole(stack)[:, 1, 10] == 3000).all()


def test_places_without_a_name_need_one(tmp_path):
    parts = [item(tmp_path, day, tile) for day in DATES for tile in ("31UFS", "31UGS")]
    for part in parts:
        del part.properties["grid:code"]
    path = catalogued(tmp_path, parts)
    with pytest.raises(InputError, match="lie in different places"):
        stacks(path)
    named = stacks(path, pattern=r"S2_(?P<tile>\w+)_\d+")
    assert [stack.name for stack in named] == ["31UFS", "31UGS"]
    with pytest.raises(InputError, match="finds no tile in its id"):
        stacks(path, pattern=r"(?P<date>\d{8})")


def test_settings_that_contradict_a_catalog(tmp_path):
    path = catalogued(tmp_path, [item(tmp_path, day) for day in DATES])
    with pytest.raises(InputError) as caught:
        find_stacks(Series(path=str(path), dates=["2021-01-01"]), Bands(names=["x", "y"]))
    assert len(caught.value.faults) == 2
    with pytest.raises(InputError, match="give either"):
        find_stacks(Series(path=[str(path), str(tmp_path / "files")]), Bands())
