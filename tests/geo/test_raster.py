"""Rasters: what is read is what is there, what is written is whole."""

from dataclasses import replace

import numpy as np
import pytest
import rasterio
from affine import Affine

from geoseg.errors import InputError
from geoseg.geo import raster
from geoseg.geo.grid import Grid, Window
from tests.made import cubes
from tests.made.scenes import grid, write

IMAGE = np.arange(1, 2 * 30 * 40 + 1, dtype=np.uint16).reshape(2, 30, 40)


def read(path, window=None, **options):
    with raster.Raster(path, **options) as file:
        return file.read(window or file.grid.window)


def save(path, image, *, mask=None, alpha=False, gcps=None, **profile):
    """Write (C, H, W) by rasterio itself, with what `raster.create` would not write."""
    image = np.asarray(image)
    profile = {"crs": "EPSG:32632", "transform": grid(1, 1).transform} | profile
    count, height, width = image.shape
    shape = {"count": count, "height": height, "width": width, "dtype": image.dtype}
    with rasterio.open(path, "w", driver="GTiff", **shape, **profile) as file:
        if alpha:
            file.colorinterp = [*file.colorinterp[:-1], rasterio.enums.ColorInterp.alpha]
        file.write(image)
        if mask is not None:
            file.write_mask(mask)
        if gcps:
            file.gcps = gcps
    return path


def test_windows_inside_across_and_outside(tmp_path):
    write(tmp_path / "a.tif", IMAGE)
    with raster.Raster(tmp_path / "a.tif") as file:
        assert file.grid == raster.info(tmp_path / "a.tif").grid
        data, valid = file.read(Window(5, 6, 7, 8))
        assert (data == IMAGE[:, 5:12, 6:14]).all()
        assert valid.all()
        data, valid = file.read(Window(-3, 35, 10, 10))
        assert (data[:, 3:, :5] == IMAGE[:, :7, 35:]).all()
        assert valid[3:, :5].all()
        assert valid.sum() == 35
        assert not data[:, ~valid].any()
        data, valid = file.read(Window(100, 100, 4, 5))
        assert data.shape == (2, 4, 5)
        assert not valid.any()
        data, _ = file.read(Window(0, 0, 30, 40), shape=(3, 4))
        assert data.shape == (2, 3, 4)
        data, _ = file.read(Window(0, 0, 2, 2))
        assert data.dtype == np.uint16


def test_nodata_by_value(tmp_path):
    image = IMAGE.copy()
    image[:, 0, 0] = 0
    image[0, 1, 1] = 0
    write(tmp_path / "a.tif", image)
    _, valid = read(tmp_path / "a.tif")
    # A pixel with data in any band is data.
    assert np.argwhere(~valid).tolist() == [[0, 0]]
    assert read(tmp_path / "a.tif", nodata="none")[1].all()
    assert (~read(tmp_path / "a.tif", nodata=float(image[0, 2, 2]), bands=(1,))[1]).sum() == 1


def test_masks_of_single_bands_count(tmp_path):
    path = save(tmp_path / "a.tif", IMAGE)
    masks = np.full(IMAGE.shape, 255, np.uint8)
    masks[1, :9] = 0
    save(f"{path}.msk", masks)
    with rasterio.open(f"{path}.msk", "r+") as file:
        file.update_tags(**{f"INTERNAL_MASK_FLAGS_{i + 1}": "0" for i in range(len(masks))})
    with raster.Raster(path) as file:
        _, holds = file.read_each(file.grid.window)
    assert (holds == (masks > 0)).all()
    moved = replace(file.grid, transform=file.grid.transform @ Affine.translation(0.5, 0))
    with pytest.raises(InputError, match="masks of their own"):
        raster.Raster(path, grid=moved)


@pytest.mark.parametrize("by", [0, 0.5])
def test_nodata_that_is_declared_in_six_digits(tmp_path, by):
    image = np.ones((1, 20, 20), np.float32)
    image[:, :5] = np.finfo(np.float32).min
    save(tmp_path / "a.tif", image, nodata=-3.40282e38)
    own = raster.info(tmp_path / "a.tif").grid
    moved = replace(own, transform=own.transform @ Affine.translation(by, by))
    data, valid = read(tmp_path / "a.tif", grid=moved)
    assert valid[8:15, :-1].all()
    assert not valid[:4].any()
    assert set(data[0][valid]) == {1}


@pytest.mark.parametrize("nodata", [np.nan, -9999.0, -1.7e308, None])
def test_nodata_of_float_rasters_is_finite_and_not_valid(tmp_path, nodata):
    image = np.ones((2, 20, 20))
    image[:, :5] = np.nan if nodata is None else nodata
    image[0, 10, 10] = image[0, 0, 0]
    image[1, 11, 11] = np.inf
    save(tmp_path / "a.tif", image, nodata=nodata)
    data, valid = read(tmp_path / "a.tif")
    assert (valid == (np.arange(20) >= 5)[:, None]).all()
    assert set(data.flat) == {0, 1}
    assert data[:, 10, 10].tolist() == [0, 1]


def test_nodata_by_alpha_and_by_mask(tmp_path):
    hole = np.full((30, 40), 255, np.uint16)
    hole[:9] = 0
    for count in (1, 2, 3, 4):
        image = np.repeat(IMAGE[:1], count, axis=0)
        alpha = save(tmp_path / f"{count}.tif", np.stack([*image, hole]), alpha=True)
        assert len(raster.info(alpha).bands) == count
        data, valid = read(alpha)
        assert len(data) == count
        assert (valid == (hole > 0)).all()
    masked = save(tmp_path / "mask.tif", IMAGE, mask=hole > 0)
    assert (read(masked)[1] == (hole > 0)).all()


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ({"crs": None}, "no CRS"),
        ({"transform": Affine(1, 0.1, 0, 0.1, -1, 0)}, "rotated"),
        ({"transform": Affine(1, 0, 5, 0, 1, 5)}, "south-up"),
        ({"transform": Affine(-1, 0, 0, 0, -1, 0)}, "mirrored"),
        ({"transform": Affine.identity()}, "no geotransform"),
        ({"crs": "EPSG:4326"}, "counts in degrees, but it lies at x 500000"),
    ],
)
@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_rasters_without_a_north_up_grid(tmp_path, place, words):
    path = save(tmp_path / "a.tif", IMAGE, **place)
    facts = raster.info(path)
    assert facts.grid is None
    with pytest.raises(InputError, match=words) as caught:
        raster.Raster(path)
    assert str(path) in str(caught.value)
    assert "rio " in str(caught.value) or "give it one" in str(caught.value)


def test_a_turn_by_rounding_alone_is_none(tmp_path):
    path = save(tmp_path / "a.tif", IMAGE, transform=Affine(1, 1e-12, 500_000, -1e-12, -1, 5e6))
    grid = raster.info(path).grid
    assert grid is not None
    assert grid.transform == Affine(1, 0, 500_000, 0, -1, 5e6)
    assert (read(path)[0] == IMAGE).all()


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_raster_placed_by_ground_control_points(tmp_path):
    points = [
        rasterio.control.GroundControlPoint(r, c, c + 500_000.0, 5e6 - r)
        for r, c in ((0, 0), (0, 40), (30, 0), (30, 40))
    ]
    path = save(tmp_path / "a.tif", IMAGE, transform=None, gcps=(points, "EPSG:32632"))
    with pytest.raises(InputError, match="4 ground control points"):
        raster.Raster(path)


def test_what_is_no_raster(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        raster.info(tmp_path / "none.tif")
    (tmp_path / "text.tif").write_text("hello")
    with pytest.raises(InputError, match=r"text\.tif: can't be opened as a raster"):
        raster.info(tmp_path / "text.tif")
    (tmp_path / "parcels.gpkg").write_text("hello")
    with pytest.raises(InputError, match=r"does it hold polygons\? .* in landcover/"):
        raster.info(tmp_path / "parcels.gpkg")
    cube = cubes.write_netcdf(tmp_path / "a.nc", cubes.cube({b: cubes.values(3) for b in "rg"}))
    with pytest.raises(InputError, match=r"a\.nc: has no band of its own, but holds r, g; give a"):
        raster.info(cube)
    whole = write(tmp_path / "a.tif", IMAGE).read_bytes()
    (tmp_path / "cut.tif").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"cut\.tif: can't"):
        read(tmp_path / "cut.tif")


def test_warped_onto_a_finer_grid_in_the_same_crs(tmp_path):
    coarse = np.kron(np.arange(1, 13).reshape(3, 4), np.ones((10, 10), int)).astype(np.uint8)
    write(tmp_path / "a.tif", coarse, grid=grid(30, 40, pixel=2))
    fine = grid(60, 80, pixel=1)
    data, valid = read(tmp_path / "a.tif", grid=fine, resampling="nearest")
    assert (data[0] == np.kron(coarse, np.ones((2, 2), int))).all()
    assert valid.all()
    # A grid that reaches beyond the file is not valid there.
    wide = grid(80, 100, pixel=1)
    data, valid = read(tmp_path / "a.tif", grid=wide)
    assert valid[:60, :80].all()
    assert valid.sum() == 60 * 80


@pytest.mark.parametrize("how", ["average", "cubic", "nearest"])
def test_alpha_that_was_asked_for_is_warped_as_data(tmp_path, how):
    image = np.random.default_rng(0).integers(0, 255, (4, 30, 40)).astype(np.uint8)
    image[3, :9, :9] = 0  # water in the near infrared, not a hole
    called = save(tmp_path / "a & b.tif", image)
    plain = save(tmp_path / "b.tif", image, photometric="minisblack", ALPHA="no")
    assert (raster.info(called).alpha, raster.info(plain).alpha) == (4, None)
    own = raster.info(plain).grid
    side = 2.0 if how == "average" else 0.5
    corner = own.transform @ Affine.translation(-4.3, -4.3)
    onto = Grid(own.crs, corner @ Affine.scale(side), int(40 / side), int(50 / side))
    data, valid = read(called, bands=(1, 2, 3, 4), grid=onto, resampling=how)
    expected, there = read(plain, bands=(1, 2, 3, 4), grid=onto, resampling=how)
    assert (valid == there).all()
    assert not valid.all()
    assert (data[:, valid] == expected[:, valid]).all()


@pytest.mark.parametrize("kind", ["value", "alpha", "mask", "nan"])
def test_a_warp_keeps_nodata(tmp_path, kind):
    image = np.full((1, 40, 40), 100, np.float32 if kind == "nan" else np.uint8)
    hole = np.zeros((40, 40), bool)
    hole[:20] = True
    if kind == "alpha":
        opaque = np.where(hole, 0, 255).astype(np.uint8)
        save(tmp_path / "a.tif", np.stack([*image, *image, opaque]), alpha=True)
    elif kind == "mask":
        save(tmp_path / "a.tif", image, mask=~hole)
    else:
        nodata = np.nan if kind == "nan" else 7
        image[:, hole] = nodata
        save(tmp_path / "a.tif", image, nodata=nodata)
    # Half a pixel off: read through a warp.
    shifted = grid(40, 40, left=500_000.5)
    data, valid = read(tmp_path / "a.tif", grid=shifted)
    assert not valid[:19].any()
    assert valid[21:, :39].all()
    assert set(data[:, valid].flat) == {100}


def test_warped_from_another_crs_lands_where_it_belongs(tmp_path):
    """A bright square, drawn in degrees, read in metres."""
    here = grid(200, 200, pixel=10)
    west, _, east, north = here.bounds_in("EPSG:4326")
    step = (east - west) / 400
    degrees = Grid("EPSG:4326", Affine(step, 0, west, 0, -step, north), 420, 420)
    center = here.crop(Window(90, 90, 20, 20)).bounds_in("EPSG:4326")
    square = degrees.window_of(center)
    image = np.ones((1, 420, 420), np.uint8)
    image[0][square.within(degrees.window)] = 200
    write(tmp_path / "a.tif", image, grid=degrees)
    data, _ = read(tmp_path / "a.tif", grid=here)
    rows, columns = np.nonzero(data[0] > 100)
    assert abs(rows.mean() - 99.5) < 1
    assert abs(columns.mean() - 99.5) < 1
    assert 17 <= np.ptp(rows) + 1 <= 23


def test_created_rasters_hold_what_they_were_given(tmp_path):
    colors = {0: (0, 0, 0, 0), 1: (255, 0, 0, 255)}
    path = tmp_path / "deep" / "a.tif"
    with raster.create(
        path, grid(300, 300), dtype="uint8", nodata=0, colors=colors, tags={"A": "ö"}
    ) as file:
        file.write(np.ones((300, 300), np.uint8), Window(0, 0, 300, 300))
        assert not path.exists()
    with rasterio.open(path) as made:
        assert made.colormap(1)[1] == (255, 0, 0, 255)
        assert made.block_shapes == [(256, 256)]
        assert made.compression.name == "deflate"
        assert made.nodata == 0
    assert raster.tags(path)["A"] == "ö"
    assert [p.name for p in path.parent.iterdir()] == ["a.tif"]


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_no_band_of_a_created_raster_is_taken_for_alpha(tmp_path, count):
    image = np.ones((count, 20, 20), np.uint8)
    write(tmp_path / "a.tif", image)
    assert raster.info(tmp_path / "a.tif").bands == tuple(range(1, count + 1))


def test_an_interrupted_writer_leaves_nothing(tmp_path):
    def write_and_stop():
        with raster.create(tmp_path / "a.tif", grid(9, 9), dtype="uint8") as file:
            file.write(np.ones((9, 9), np.uint8), Window(0, 0, 9, 9))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_and_stop()
    assert not list(tmp_path.iterdir())


def test_writing_where_one_may_not(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(InputError, match="choose another"),
        raster.create(tmp_path / "file" / "a.tif", grid(9, 9), dtype="uint8"),
    ):
        pass


@pytest.mark.parametrize("crs", ["EPSG:3857", "EPSG:4326", "ESRI:54009", "+proj=geos +h=35786023"])
def test_any_crs_is_written_and_read_back(tmp_path, crs):
    place = Grid(rasterio.crs.CRS.from_user_input(crs).to_wkt(), Affine(1, 0, 9, 0, -1, 9), 5, 5)
    write(tmp_path / "a.tif", np.ones((5, 5), np.uint8), grid=place)
    assert raster.info(tmp_path / "a.tif").grid.coincides(place)
    assert not list(tmp_path.glob(".*"))


def test_bands_of_different_types(tmp_path):
    write(tmp_path / "a.tif", IMAGE[:1])
    write(tmp_path / "b.tif", (IMAGE[1:] / 16).astype(np.uint8))
    text = "".join(
        f'<VRTRasterBand dataType="{kind}" band="{n}"><SimpleSource><SourceFilename'
        f' relativeToVRT="1">{name}.tif</SourceFilename><SourceBand>1</SourceBand></SimpleSource>'
        "</VRTRasterBand>"
        for n, (name, kind) in enumerate([("a", "UInt16"), ("b", "Byte")], 1)
    )
    place = ", ".join(map(str, grid(1, 1).transform.to_gdal()))
    (tmp_path / "both.vrt").write_text(
        f'<VRTDataset rasterXSize="40" rasterYSize="30"><SRS>EPSG:32632</SRS>'
        f"<GeoTransform>{place}</GeoTransform>{text}</VRTDataset>"
    )
    data, valid = read(tmp_path / "both.vrt")
    assert data.dtype == np.uint16
    assert (data[0] == IMAGE[0]).all()
    assert (data[1] == IMAGE[1] // 16).all()
    assert valid.all()


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "share"),
    [
        ("RGB.byte.tif", 0.6746),
        ("RGB2.byte.tif", 0.6740),
        ("RGBA.byte.tif", 0.6745),
        ("RGBA.uint16.tif", 0.4886),
        ("all-nodata.tif", 0),
        ("alpha.tif", 0.0155),
        ("float_raster_with_nodata.tif", 0.6282),
        ("float_raster_with_extra_nodata.tif", 0.1591),
        ("goes.tif", 0.7831),
        ("test_esri_wkt.tif", 1),
        ("rgb_lzw.tif", 0.6746),
    ],
)
def test_real_valid(real_data, name, share):
    data, valid = read(real_data / "io_odd" / name)
    assert valid.mean() == pytest.approx(share, abs=1e-4)
    assert np.isfinite(data).all()


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("389225main_sw_1965_1024.jpg", "no CRS"),
        ("float.tif", "no CRS"),
        ("rotated.tif", "no CRS"),
        ("RGB.byte.gcp.vrt", "ground control points"),
        ("RGB.byte.rpc.vrt", "placed by RPCs"),
        ("white-gemini-iv.vrt", "ground control points"),
    ],
)
def test_real_rasters_without_a_grid(real_data, name, words):
    with pytest.raises(InputError, match=words):
        raster.Raster(real_data / "io_odd" / name)


@pytest.mark.real
def test_real_corrupt_file_opens_and_fails_when_read(real_data):
    with (
        raster.Raster(real_data / "io_odd" / "corrupt.tif") as file,
        pytest.raises(InputError, match=r"corrupt\.tif: can't read rows .* damaged"),
    ):
        file.read(file.grid.window)


@pytest.mark.real
def test_real_quarters_lie_in_the_whole(real_data):
    """They name their CRS in other words, so that they are warped; no pixel moves by that."""
    whole = raster.info(real_data / "io_odd" / "RGB.byte.tif")
    expected, _ = read(whole.path)
    for name in ("rgb1", "rgb2", "rgb3", "rgb4"):
        path = real_data / "io_odd" / f"{name}.tif"
        data, valid = read(path, grid=whole.grid, resampling="nearest")
        assert valid.sum() > 50_000
        assert (data[:, valid] == expected[:, valid]).all()
