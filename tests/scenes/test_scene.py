"""Scenes: files found, grouped and named; stacked, warped and masked as one image."""

import itertools
import warnings

import numpy as np
import pytest
import rasterio
import rasterio.rpc
from affine import Affine

from geoseg.errors import InputError
from geoseg.geo import raster
from geoseg.geo.grid import Window
from geoseg.scenes import alpha
from geoseg.scenes.bands import Bands
from geoseg.scenes.scene import Scene, find_scenes, fit_bands, match_names, said_of_names
from tests.made.scenes import grid, write

RGB = ("red", "green", "blue")
IMAGE = np.arange(1, 3 * 20 * 30 + 1, dtype=np.uint16).reshape(3, 20, 30)


def read(scene, window=None):
    with scene.open() as reader:
        return reader.read(window or scene.grid.window)


def test_scenes_of_a_folder_a_glob_a_file_and_a_list(tmp_path):
    for name in ("b.tif", "a.TIF", ".hidden.tif"):
        write(tmp_path / name, IMAGE, names=RGB)
    (tmp_path / "notes.txt").write_text("")
    assert [s.name for s in find_scenes(tmp_path)] == ["a", "b"]
    assert [s.name for s in find_scenes(f"{tmp_path}/b*")] == ["b"]
    both = [tmp_path / "b.tif", str(tmp_path / "a.TIF"), tmp_path / "b.tif"]
    assert [s.name for s in find_scenes(both)] == ["b", "a"]
    scene = find_scenes(tmp_path / "b.tif")[0]
    assert (scene.bands, scene.dtype) == (RGB, "uint16")
    image, valid = read(scene)
    assert (image == IMAGE).all()
    assert valid.all()


def test_nothing_to_find(tmp_path):
    for spec, words in (
        (None, "scenes: none given"),
        (tmp_path, "no rasters"),
        (tmp_path / "x*.tif", "no such file or folder"),
    ):
        with pytest.raises(InputError, match=words):
            find_scenes(spec)
    with pytest.raises(InputError) as caught:
        find_scenes([tmp_path / "x.tif", tmp_path / "y.tif"])
    assert len(caught.value.faults) == 2


def test_two_scenes_of_one_name(tmp_path):
    for folder in "ab":
        write(tmp_path / folder / "x.tif", IMAGE)
    with pytest.raises(InputError, match="2 scenes are called x"):
        find_scenes([tmp_path / "a", tmp_path / "b"], refused={})


def test_faults_of_all_files_at_once_or_handed_over(tmp_path):
    write(tmp_path / "good.tif", IMAGE)
    write(
        tmp_path / "nowhere.tif",
        IMAGE,
        grid=grid(20, 30).__class__("", grid(1, 1).transform, 20, 30),
    )
    write(tmp_path / "index.tif", IMAGE[0].astype(np.uint8), names=(), colors={1: (1, 2, 3, 255)})
    (tmp_path / "text.tif").write_text("no raster")
    with pytest.raises(InputError) as caught:
        find_scenes(tmp_path)
    assert len(caught.value.faults) == 3
    refused = {}
    assert [s.name for s in find_scenes(tmp_path, refused=refused)] == ["good"]
    assert "no CRS" in str(refused["nowhere"])
    assert "colour table" in str(refused["index"])
    assert "can't be opened" in str(refused["text"])


def test_band_names_come_from_the_settings_or_the_file(tmp_path):
    path = write(tmp_path / "a.tif", IMAGE, names=RGB)
    assert find_scenes(path, Bands(names=["x", "y", "z"]))[0].bands == ("x", "y", "z")
    with pytest.raises(InputError, match=r"3 bands, but bands\.names gives 2"):
        find_scenes(path, Bands(names=["x", "y"]))
    chosen = find_scenes(path, Bands(order=["blue", "red"]))[0]
    assert (read(chosen)[0] == IMAGE[[2, 0]]).all()
    with pytest.raises(InputError, match="no band nir; it has red, green, blue"):
        find_scenes(path, Bands(order=["red", "nir"]))
    unnamed = write(tmp_path / "b.tif", IMAGE[:2], names=())
    assert find_scenes(unnamed)[0].bands == ("band_1", "band_2")


def test_a_file_that_describes_some_of_its_bands_is_not_taken_in_another_order(tmp_path):
    for names, said in (
        (("B04", None, "B02"), ("B04", "band_2", "B02")),
        (("B04", "B04", "B02"), ("band_1", "band_2", "B02")),
        ((None, None, None), ("band_1", "band_2", "band_3")),
        (("band_2", None, None), ("band_1", "band_2", "band_3")),
    ):
        path = write(tmp_path / "a.tif", IMAGE, names=names)
        scene = find_scenes(path)[0]
        assert scene.bands == said
        if "B02" in names:
            with pytest.raises(InputError, match="expected 3"):
                fit_bands(scene, ("B02", "B03", "B04"))
    right = find_scenes(write(tmp_path / "a.tif", IMAGE, names=("B02", None, "B04")))[0]
    assert (read(fit_bands(right, ("B02", "B03", "B04")))[0] == IMAGE).all()


def as_rasterio_writes_it(path, image):
    """Four bands of bytes, the last of which GDAL calls alpha."""
    shape = {"count": 4, "height": 20, "width": 30, "dtype": "uint8", "crs": "EPSG:32632"}
    place = grid(1, 1).transform
    with rasterio.open(path, "w", driver="GTiff", transform=place, **shape) as file:
        file.write(image)


def test_a_band_that_is_called_alpha_but_is_data(tmp_path):
    image = np.random.default_rng(0).integers(0, 9, (4, 20, 30)).astype(np.uint8)
    as_rasterio_writes_it(tmp_path / "a.tif", image)
    scene = find_scenes(tmp_path / "a.tif")[0]
    assert scene.bands == RGB
    assert (read(scene)[1] == (image[3] > 0)).all()
    with pytest.raises(InputError, match=r"3 bands .* if what it calls alpha is data, name all"):
        fit_bands(scene, (*RGB, "nir"))
    scene = find_scenes(tmp_path / "a.tif", Bands(names=[*RGB, "nir"]))[0]
    data, valid = read(scene)
    assert (data == image).all()
    assert valid.all()


def test_measurements_that_are_called_alpha_are_a_band_that_nobody_need_name(tmp_path):
    image = np.random.default_rng(0).integers(0, 200, (4, 20, 30)).astype(np.uint8)
    path = tmp_path / "a.tif"
    as_rasterio_writes_it(path, image)
    assert raster.info(path).alpha == 4
    scene = find_scenes(path)[0]
    assert scene.bands == (*RGB, "band_4")
    data, valid = read(scene)
    assert (data == image).all()
    assert valid.all()
    (said,) = alpha.said_of_alpha([("a", str(path), scene.bands)])
    assert said.startswith("a: the band that the file calls alpha holds measurements")
    hidden = find_scenes(path, Bands(names=[*RGB]))[0]
    assert hidden.bands == RGB
    assert (read(hidden)[1] == (image[3] > 0)).all()
    assert not alpha.said_of_alpha([("a", str(path), hidden.bands)])
    image[3, 4:] = 255  # opaque but for a soft edge
    as_rasterio_writes_it(path, image)
    assert find_scenes(path)[0].bands == RGB


def test_one_file_per_band_on_the_finest_grid(tmp_path):
    fine = np.arange(1, 601, dtype=np.uint16).reshape(20, 30)
    coarse = np.full((10, 15), 7, np.uint8)
    write(tmp_path / "S_B08.tif", fine)
    write(tmp_path / "S_B11.tif", coarse, grid=grid(10, 15, pixel=2))
    write(tmp_path / "S_B01.tif", coarse, grid=grid(10, 15, pixel=2))
    bands = Bands(pattern=r"(?P<scene>\w+)_(?P<band>B\d\d)", order=["B11", "B08"])
    scene = find_scenes(tmp_path, bands)[0]
    assert (scene.name, scene.bands, len(scene.paths)) == ("S", ("B11", "B08"), 2)
    assert scene.grid == grid(20, 30).__class__(scene.grid.crs, grid(1, 1).transform, 20, 30)
    image, valid = read(scene)
    assert (image[1] == fine).all()
    assert (image[0] == 7).all()
    assert valid.all()
    image, valid = read(scene, Window(-4, -4, 8, 8))
    assert valid[4:, 4:].all()
    assert valid.sum() == 16


def test_scenes_of_which_some_name_their_bands_are_said(tmp_path):
    write(tmp_path / "a.tif", IMAGE)
    write(tmp_path / "b.tif", IMAGE)
    assert said_of_names(find_scenes(tmp_path)) == []
    write(tmp_path / "c.tif", IMAGE, names=("blue", "green", "red"))
    (note,) = said_of_names(find_scenes(tmp_path))
    assert note.startswith("c: bands called blue, green, red, in a band_1, band_2, band_3: taken")
    named = find_scenes(tmp_path, Bands(names=["r", "g", "b"]))
    assert said_of_names(named) == []


def test_files_that_hold_a_band_each_are_no_scenes_of_their_own(tmp_path):
    for name in ("T1_20210501_B02_10m", "T1_20210501_B03_10m", "T2_20210501_B02_10m"):
        write(tmp_path / f"{name}.tif", IMAGE[:1])
    refused = {}
    with pytest.raises(InputError) as caught:
        find_scenes(tmp_path, refused=refused)
    pattern = "(?P<scene>.+?)[_.-]?(?P<band>B02|B03)"
    assert f"set bands.pattern='{pattern}'" in str(caught.value)
    assert "T2" not in str(caught.value)
    assert len(find_scenes(tmp_path, Bands(names=["pan"]))) == 3
    (tmp_path / "T2_20210501_B02_10m.tif").unlink()
    (scene,) = find_scenes(tmp_path, Bands(pattern=pattern))
    assert (scene.name, scene.bands) == ("T1_20210501", ("B02", "B03"))
    # Elsewhere, or with all their bands, they may be called so.
    write(tmp_path / "s/red_field.tif", IMAGE[:1])
    write(tmp_path / "s/green_field.tif", IMAGE[:1], grid=grid(20, 30, left=600_000))
    write(tmp_path / "s/sheet_b1.tif", IMAGE[:1])
    write(tmp_path / "s/sheet_b2.tif", IMAGE[:1], grid=grid(20, 30, left=500_028))
    write(tmp_path / "s/blue_hill.tif", IMAGE)
    write(tmp_path / "s/green_hill.tif", IMAGE)
    assert len(find_scenes(tmp_path / "s")) == 6


def test_the_pattern_that_joins_files_of_a_band_each_tells_b1_from_b11(tmp_path):
    bands = ("B1", "B10", "B11", "B2")
    for scene, band in itertools.product(("LC08", "LC09"), bands):
        write(tmp_path / f"{scene}_{band}.tif", IMAGE[:1])
    with pytest.raises(InputError) as caught:
        find_scenes(tmp_path)
    (fault,) = caught.value.faults
    assert "(1 more group of files may be, too)" in fault
    pattern = fault.split("bands.pattern='")[1].split("'")[0]
    found = find_scenes(tmp_path, Bands(pattern=pattern))
    assert [(s.name, s.bands) for s in found] == [("LC08", bands), ("LC09", bands)]
    for band, year in itertools.product(("red", "nir"), (2020, 2021)):
        write(tmp_path / f"dates/x_{band}_{year}.tif", IMAGE[:1])
    with pytest.raises(InputError, match="join them in one file"):
        find_scenes(tmp_path / "dates")


def test_files_missing_or_too_many_for_a_pattern(tmp_path):
    for name in ("A_B1", "A_B2", "B_B1", "C_B1", "C_B2", "C_B2_copy"):
        write(tmp_path / f"{name}.tif", IMAGE[:1])
    bands = Bands(pattern=r"(?P<scene>[A-Z])_(?P<band>B\d)")
    refused = {}
    assert [s.name for s in find_scenes(tmp_path, bands, refused=refused)] == ["A"]
    assert "no file for band B2" in str(refused["B"])
    assert "2 files for band B2" in str(refused["C"])
    with pytest.raises(InputError) as caught:
        find_scenes(tmp_path, bands)
    assert len(caught.value.faults) == 2
    with pytest.raises(InputError, match="matches none of 6 files"):
        find_scenes(tmp_path, Bands(pattern="(?P<scene>x)(?P<band>y)"))


def test_added_rasters_are_warped_and_joined(tmp_path):
    write(tmp_path / "s/a.tif", IMAGE, names=RGB)
    west, east = np.full((1, 10, 8), 40, np.float32), np.full((1, 10, 10), 50, np.float32)
    write(tmp_path / "dem/w.tif", west, grid=grid(10, 8, pixel=2), nodata=-9999)
    write(tmp_path / "dem/e.tif", east, grid=grid(10, 10, pixel=2, left=500_014), nodata=-9999)
    write(tmp_path / "dem/far.tif", east, grid=grid(10, 10, left=600_000), nodata=-9999)
    scene = find_scenes(tmp_path / "s", Bands(extra={"height": str(tmp_path / "dem")}))[0]
    assert scene.bands == (*RGB, "height")
    assert scene.dtype == "float32"
    assert len(scene.paths) == 3
    image, valid = read(scene)
    assert (image[:3] == IMAGE).all()
    assert (image[3, :, :14] == 40).all()
    assert (image[3, :, 16:] == 50).all()
    assert valid.all()
    far = Bands(extra={"height": str(tmp_path / "dem/far.tif")})
    with pytest.raises(InputError, match=r"none of 1 rasters of bands\.extra\.height covers"):
        find_scenes(tmp_path / "s", far)


@pytest.mark.parametrize("nodata", [1.0, "none"])
def test_the_nodata_of_images_is_not_that_of_added_rasters(tmp_path, nodata):
    write(tmp_path / "s/a.tif", IMAGE, names=RGB)
    height = np.full((1, 20, 30), 1, np.float32)  # a metre above the sea
    height[0, 5] = -9999
    write(tmp_path / "dem.tif", height, nodata=-9999)
    bands = Bands(extra={"height": str(tmp_path / "dem.tif")}, nodata=nodata)
    scene = find_scenes(tmp_path / "s", bands)[0]
    for again in (scene, Scene.from_dict(scene.to_dict(tmp_path), tmp_path)):
        _, valid = read(again)
        hidden = np.zeros((20, 30), bool)
        hidden[5] = True
        hidden[0, 0] = nodata != "none"  # the image's first pixel is 1
        assert (valid == ~hidden).all()
    assert scene.tags[3].nodata == -9999


def test_a_file_for_one_band_that_holds_several_is_refused(tmp_path):
    write(tmp_path / "s/a.tif", IMAGE, names=RGB)
    write(tmp_path / "dem.tif", IMAGE[:2].astype(np.float32))
    extra = Bands(extra={"height": str(tmp_path / "dem.tif")})
    with pytest.raises(InputError, match=r"dem\.tif: 2 bands; bands\.extra\.height takes"):
        find_scenes(tmp_path / "s", extra)
    with pytest.raises(InputError, match=r"a\.tif: 3 bands; bands\.pattern takes"):
        find_scenes(tmp_path / "s", Bands(pattern=r"(?P<scene>)(?P<band>a)"))


def test_an_added_raster_that_cannot_be_placed_is_refused(tmp_path):
    write(tmp_path / "s/a.tif", IMAGE, names=RGB)
    for name in ("east", "west"):
        write(tmp_path / f"dem/{name}.tif", np.full((20, 30), 40, np.float32))
    with rasterio.open(tmp_path / "dem/west.tif", "r+") as file:
        file.transform = file.transform @ Affine.rotation(20)
    with pytest.raises(InputError, match=r"west\.tif: rotated"):
        find_scenes(tmp_path / "s", Bands(extra={"height": str(tmp_path / "dem")}))


def test_a_scene_that_a_camera_model_places_is_told_how_to_place_it(tmp_path):
    path = write(tmp_path / "a.tif", IMAGE, names=RGB)
    model = rasterio.rpc.RPC(
        *(0.0, 1.0, 54.0, 1.0, [1.0] * 20, [1.0] * 20, 10.0, 10.0),
        *(9.0, 1.0, [1.0] * 20, [1.0] * 20, 15.0, 15.0, 0.0, 0.0),
    )
    profile = {"driver": "GTiff", "count": 3, "height": 20, "width": 30, "dtype": "uint16"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with rasterio.open(path, "w", **profile, rpcs=model) as file:
            file.write(IMAGE)
    with pytest.raises(InputError, match=r"by RPCs .*, not by a transform; orthorectify it first"):
        find_scenes(path)


def test_a_file_that_was_exchanged_is_never_wrapped_into_the_old_type(tmp_path):
    path = write(tmp_path / "a.tif", IMAGE.astype(np.uint8), names=RGB)
    scene = find_scenes(path)[0]
    write(path, IMAGE, names=RGB)
    with pytest.raises(InputError, match="is of uint16, and was of uint8 when it was looked at"):
        scene.open()
    write(path, IMAGE[:2].astype(np.uint8))
    with pytest.raises(InputError, match="no band 3, it has 2; has the file changed"):
        scene.open()


def test_a_pixel_needs_data_in_every_file(tmp_path):
    write(tmp_path / "s/a.tif", IMAGE, names=RGB)
    height = np.full((1, 20, 30), 40, np.float32)
    height[:, 5] = np.nan
    write(tmp_path / "dem.tif", height, nodata=None)
    scene = find_scenes(tmp_path / "s", Bands(extra={"height": str(tmp_path / "dem.tif")}))[0]
    image, valid = read(scene)
    assert np.flatnonzero(~valid.all(axis=1)).tolist() == [5]
    assert np.isfinite(image).all()


def test_wide_types_become_float32(tmp_path):
    write(tmp_path / "a.tif", np.full((1, 9, 9), 1e300), nodata=1e300)
    scene = find_scenes(tmp_path / "a.tif")[0]
    assert scene.dtype == "float32"
    image, valid = read(scene)
    assert image.dtype == np.float32
    assert not image.any()
    assert not valid.any()


def test_nodata_of_the_settings(tmp_path):
    path = write(tmp_path / "a.tif", IMAGE[:1], nodata=None)
    assert read(find_scenes(path)[0])[1].all()
    assert not read(find_scenes(path, Bands(nodata=1))[0])[1][0, 0]
    path = write(tmp_path / "b.tif", IMAGE[:1], nodata=1)
    assert read(find_scenes(path, Bands(nodata="none"))[0])[1].all()


def test_scene_comes_back_from_json_in_a_folder_that_moved(tmp_path):
    write(tmp_path / "old/s/a.tif", IMAGE, names=RGB)
    scene = find_scenes(tmp_path / "old/s")[0].select(["blue"])
    values = scene.to_dict(tmp_path / "old/dataset")
    (tmp_path / "old").rename(tmp_path / "new")
    again = Scene.from_dict(values, tmp_path / "new/dataset")
    assert (read(again)[0] == IMAGE[2]).all()


def test_fit_bands(tmp_path):
    scene = find_scenes(write(tmp_path / "a.tif", IMAGE, names=RGB))[0]
    unnamed = find_scenes(write(tmp_path / "b.tif", IMAGE, names=("Band 1", "Band 2", "Band 3")))[0]
    assert fit_bands(scene, RGB) is scene
    assert (read(fit_bands(scene, ("blue", "green")))[0] == IMAGE[[2, 1]]).all()
    assert fit_bands(unnamed, RGB).bands == RGB
    assert (read(fit_bands(scene, ("band_1", "band_2", "band_3")))[0] == IMAGE).all()
    for names in (("red", "nir"), ("band_1", "band_2"), (*RGB, "nir"), ("blue", "green", "nir")):
        with pytest.raises(InputError, match=rf"a\.tif: 3 bands .*expected {len(names)}"):
            fit_bands(scene, names)
    with pytest.raises(InputError, match=r"b\.tif"):
        fit_bands(unnamed, ("red", "green"))


def test_match_names():
    names = ["1_10", "11_0", "north", "7", "010", "Forêt", "a.b"]
    wanted = ["11_0", "scenes/north.TIF", 7, "Fore\u0302t.tif", "a.b"]
    assert match_names(wanted, names) == (["11_0", "north", "7", "Forêt", "a.b"], [])
    assert match_names([110, "10", "south.tif"], names) == ([], ["110", "10", "south.tif"])
    assert match_names([2297894515, "2297894515"], ["22978945_15"]) == (
        ["22978945_15"],
        ["2297894515"],
    )


@pytest.mark.real
def test_real_corrupt_scene_is_found_and_fails_when_read(real_data):
    scene = find_scenes(real_data / "io_odd" / "corrupt.tif")[0]
    with pytest.raises(InputError, match=r"corrupt\.tif: can't read"):
        read(scene)


@pytest.mark.real
def test_real_folder_of_odd_rasters(real_data):
    refused = {}
    spec = [p for p in (real_data / "io_odd").iterdir() if p.suffix in raster.SUFFIXES]
    spec = [p for p in spec if p.name not in ("RGB.byte.gcp.vrt", "RGB.byte.rpc.vrt")]
    scenes = {s.name: s for s in find_scenes(spec, refused=refused)}
    assert set(refused) == {
        "compdcs",
        "white-gemini-iv",
        "rotated",
        "float",
        "float32",
        "float_nan",
    }
    assert scenes["RGBA.uint16"].bands == ("blue", "green", "red")
    for name, scene in scenes.items():
        if name == "corrupt":
            continue
        image, valid = read(scene, Window(0, 0, 300, 300))
        assert image.shape == (len(scene.bands), 300, 300)
        assert valid.shape == (300, 300)
        assert np.isfinite(image).all()
