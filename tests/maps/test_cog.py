"""Cloud Optimized GeoTIFFs: what GDAL makes of the same codes, from one pass and any threads."""

import struct
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from geoseg.geo.grid import Grid, Window
from geoseg.geo.legend import Legend
from geoseg.maps import landcover
from geoseg.maps.cog import tiff
from geoseg.maps.cog import write as cog
from geoseg.maps.cog.pyramid import blocks, halve, shapes, windows
from geoseg.maps.cog.write import Running

LEGEND = Legend.parse(
    [{"code": k, "name": f"class {k}", "color": f"#{k:02x}8000"} for k in (1, 2, 7)], "test"
)


def grid(height: int, width: int, crs: str = "EPSG:32633") -> Grid:
    return Grid(crs, Affine(0.5, 0, 500_000, 0, -0.5, 5_000_000), height, width)


def land(height: int, width: int, patch: int = 8, seed: int = 0) -> np.ndarray:
    """Codes with gaps: patches, and single pixels that differ."""
    random = np.random.default_rng(seed)
    codes = np.array([0, 1, 2, 7], np.uint8)
    coarse = codes[random.integers(0, 4, (-(-height // patch), -(-width // patch)))]
    fine = np.kron(coarse, np.ones((patch, patch), np.uint8))[:height, :width]
    single = random.random((height, width)) < 0.05
    return np.where(single, codes[random.integers(0, 4, (height, width))], fine)


def write(path: Path, codes: np.ndarray, running: Running = cog.RUNNING, **options) -> np.ndarray:
    def read(window: Window) -> np.ndarray:
        return codes[window.top : window.bottom, window.left : window.right]

    made = landcover.write(path, grid(*codes.shape), LEGEND, read, running=running, **options)
    return made.pixels


def levels(path: Path) -> list[np.ndarray]:
    """Pixels of the image and its overviews."""
    with rasterio.open(path) as file:
        count = len(file.overviews(1))
        found = [file.read(1)]
    for level in range(count):
        with rasterio.open(path, overview_level=level) as file:
            found.append(file.read(1))
    return found


def by_gdal(path: Path, codes: np.ndarray) -> Path:
    plain, at = path.with_name("plain.tif"), grid(*codes.shape)
    profile = {"dtype": "uint8", "count": 1, "nodata": 0, "crs": at.crs, "transform": at.transform}
    height, width = codes.shape
    with rasterio.open(plain, "w", driver="GTiff", height=height, width=width, **profile) as file:
        file.write(codes, 1)
        file.write_colormap(1, LEGEND.colors())
    options = {"blocksize": 512, "compress": "deflate", "overview_resampling": "mode"}
    rasterio.shutil.copy(plain, path, driver="COG", **options)
    return path


def test_gdal_makes_the_same_overviews_of_the_same_codes(tmp_path):
    codes = land(2048, 5120)
    write(tmp_path / "a.tif", codes)
    found, expected = levels(tmp_path / "a.tif"), levels(by_gdal(tmp_path / "b.tif", codes))
    assert len(found) == len(expected) == 5
    for own, gdals in zip(found, expected, strict=True):
        assert np.array_equal(own, gdals)


def test_all_that_two_by_two_pixels_can_hold_is_halved_as_gdal_does_it(tmp_path):
    quads = np.array(np.meshgrid(*[range(5)] * 4)).reshape(4, -1).T.astype(np.uint8)
    codes = np.zeros((2, 2 * 1024), np.uint8)
    codes[:, : 2 * len(quads)] = quads.reshape(-1, 2, 2).transpose(1, 0, 2).reshape(2, -1)
    expected = levels(by_gdal(tmp_path / "a.tif", codes))[1]
    assert np.array_equal(halve(codes), expected)


@given(
    arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 3))
)
def test_a_mode_is_never_nodata_beside_a_class_and_never_a_code_that_is_not_there(codes):
    half = halve(codes)
    assert half.shape == tuple(-(-side // 2) for side in codes.shape)
    for row, column in np.ndindex(half.shape):
        four = codes[2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
        classes = four[four > 0]
        if classes.size:
            counts = np.bincount(classes)
            assert counts[half[row, column]] == counts.max()
        else:
            assert half[row, column] == 0


@pytest.mark.parametrize("shape", [(1, 1), (512, 512), (513, 511), (2049, 4097), (1, 3000)])
def test_codes_and_counts_of_any_size(tmp_path, shape):
    codes = land(*shape)
    counts = write(tmp_path / "a.tif", codes)
    assert counts.tolist() == np.bincount(codes.ravel(), minlength=256).tolist()
    expected = [codes]
    while max(expected[-1].shape) > 512:
        expected.append(halve(expected[-1]))
    found = levels(tmp_path / "a.tif")
    assert [level.shape for level in found] == shapes(grid(*shape))
    assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))


def test_threads_do_not_change_the_bytes(tmp_path):
    codes = land(4200, 5000)
    written = []
    for threads in (1, 2, 5):
        write(tmp_path / "a.tif", codes, Running(threads=threads))
        written.append((tmp_path / "a.tif").read_bytes())
    assert written[1:] == written[:1] * 2


def structure(path: Path) -> list[dict[int, tuple]]:
    """Offset and tags (number → values) of all directories of a TIFF, classic or big."""
    content = path.read_bytes()
    big = content[2] == 43
    number, entry, pointer = ("<Q", "<HHQ", "<Q") if big else ("<H", "<HHI", "<I")
    formats = {1: "B", 2: "c", 3: "H", 4: "I", 12: "d", 16: "Q"}
    room = struct.calcsize(pointer)
    (place,) = struct.unpack_from(pointer, content, 8 if big else 4)
    directories = []
    while place:
        assert place % 2 == 0
        tags = {0: (place,)}
        (count,) = struct.unpack_from(number, content, place)
        place += struct.calcsize(number)
        for _ in range(count):
            tag, kind, values = struct.unpack_from(entry, content, place)
            place += struct.calcsize(entry)
            assert tag > max(tags)
            size = struct.calcsize(f"<{values}{formats[kind]}")
            at = place if size <= room else struct.unpack_from(pointer, content, place)[0]
            tags[tag] = struct.unpack_from(f"<{values}{formats[kind]}", content, at)
            place += room
        directories.append(tags)
        (place,) = struct.unpack_from(pointer, content, place)
    return directories


@pytest.mark.parametrize("big", [False, True])
def test_the_layout_is_what_gdal_documents(tmp_path, monkeypatch, big):
    if big:
        monkeypatch.setattr(tiff, "CLASSIC_END", 30_000)
    codes = land(1500, 2700)
    codes[:600, :1100] = 0
    write(tmp_path / "a.tif", codes, tags={"A": "ö"})
    content = (tmp_path / "a.tif").read_bytes()
    assert content[:4] == (b"II+\0" if big else b"II*\0")
    assert tiff.GHOST in content[: 16 + len(tiff.GHOST)]
    directories = structure(tmp_path / "a.tif")
    assert [d[257] + d[256] for d in directories] == shapes(grid(1500, 2700))
    assert [d.get(254) for d in directories] == [None, (1,), (1,), (1,)]
    end = max(d[0][0] for d in directories)
    previous = end
    for directory in reversed(directories):
        offsets, sizes = directory[324], directory[325]
        for offset, size in zip(offsets, sizes, strict=True):
            # Row by row, from the smallest overview to the image, with nothing between.
            assert offset > previous
            previous = offset
            block = content[offset : offset + size]
            assert content[offset - 4 : offset] == struct.pack("<I", size)
            assert content[offset + size : offset + size + 4] == block[-4:]
    assert previous + size + 4 == len(content)
    assert directories[0][325][0] < 300  # all nodata
    with Image.open(tmp_path / "a.tif") as picture:  # by libtiff, without GDAL
        assert np.array_equal(np.asarray(picture), codes)
    found = levels(tmp_path / "a.tif")
    assert np.array_equal(found[0], codes)
    with rasterio.open(tmp_path / "a.tif") as file:
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert file.tags()["A"] == "ö"
        assert file.colormap(1)[7] == (7, 0x80, 0, 255)


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:3857", "EPSG:31287", "ESRI:54009"])
def test_any_crs_is_told_as_gdal_tells_it(tmp_path, crs):
    at = grid(20, 30, crs)
    landcover.write(tmp_path / "a.tif", at, LEGEND, lambda _: None)
    with rasterio.open(tmp_path / "a.tif") as file:
        assert file.crs == rasterio.crs.CRS.from_user_input(crs)
        assert file.transform == at.transform
        assert not file.read(1).any()


def test_a_run_that_was_stopped_is_gone_on_with_if_its_key_is_the_same(tmp_path):
    codes = land(4500, 4500)
    write(tmp_path / "whole.tif", codes)
    asked: list[Window] = []

    def read(window: Window) -> np.ndarray:
        if len(asked) == 3:
            raise KeyboardInterrupt
        asked.append(window)
        return codes[window.top : window.bottom, window.left : window.right]

    for key, before in (("a", 0), ("a", 3), ("b", 0)):
        asked.clear()
        running = Running(key=key, threads=1)
        with pytest.raises(KeyboardInterrupt):
            landcover.write(tmp_path / "a.tif", grid(4500, 4500), LEGEND, read, running=running)
        assert asked == windows(codes.shape, cog.SIDE)[before : before + 3]
    write(tmp_path / "a.tif", codes, Running(key="b"))
    assert (tmp_path / "a.tif").read_bytes() == (tmp_path / "whole.tif").read_bytes()


def test_without_a_key_a_run_that_was_stopped_leaves_nothing(tmp_path):
    at = grid(3000, 3000)

    def stop(window: Window) -> np.ndarray:
        if window.top:
            raise KeyboardInterrupt
        return np.ones((window.height, window.width), np.uint8)

    with pytest.raises(KeyboardInterrupt):
        landcover.write(tmp_path / "a.tif", at, LEGEND, stop)
    assert not list(tmp_path.iterdir())


def test_blocks_are_whole_and_filled_up_with_nodata():
    codes = np.ones((600, 520), np.uint8)
    found = blocks(codes)
    assert [block.shape for block in found] == [(512, 512)] * 4
    assert [int(block.sum()) for block in found] == [512 * 512, 512 * 8, 88 * 512, 88 * 8]


@pytest.mark.parametrize(("height", "width"), [(5000, 9000), (1, 1), (2048, 4096)])
def test_windows_partition_a_grid(height, width):
    covered = np.zeros((height, width), np.uint8)
    for window in windows((height, width), cog.SIDE):
        covered[window.within(Window(0, 0, height, width))] += 1
    assert (covered == 1).all()
