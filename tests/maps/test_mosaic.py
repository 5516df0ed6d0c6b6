import errno
import json
import os
import re
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.warp import transform as warp_points

from geoseg import mosaic as command
from geoseg.errors import InputError
from geoseg.geo import raster
from geoseg.geo.grid import Grid, Window
from geoseg.geo.legend import Legend
from geoseg.maps import join, landcover
from geoseg.maps.cog import write as cog
from geoseg.maps.cog.pyramid import windows
from geoseg.maps.joint_grid import Placement, joint_grid, parse_crs
from geoseg.maps.mosaic import _find, _read, describe, mosaic, show
from geoseg.mosaic import MosaicConfig
from geoseg.outputs.lock import held
from tests.made import started
from tests.made.stac import checked

LEGEND = Legend.parse(
    [
        {"code": 1, "name": "other", "color": "#d9d9d9"},
        {"code": 2, "name": "bürgel & <co>", "color": "#e31a1c"},
        {"code": 9, "name": "water", "color": "#1f78b4"},
    ],
    "test",
)
UTM = "EPSG:32633"


def grid(top: int, left: int, height: int, width: int, side: float = 0.5, crs: str = UTM) -> Grid:
    """A grid whose corner lies this many of its pixels below and right of a common corner."""
    transform = Affine(side, 0, 500_000 + left * side, 0, -side, 5_000_000 - top * side)
    return Grid(crs, transform, height, width)


@dataclass
class Maps:
    """An output folder of predict."""

    folder: Path

    def add(self, name: str, at: Grid, codes, confidence=None, legend: Legend = LEGEND) -> Path:
        codes = np.broadcast_to(np.asarray(codes, np.uint8), (at.height, at.width))
        path = self.folder / "landcover" / f"{name}.tif"
        layers = [(path, codes)]
        if confidence is not None:
            percent = np.broadcast_to(np.asarray(confidence, np.uint8), codes.shape)
            layers.append((self.folder / "confidence" / f"{name}.tif", percent * (codes > 0)))
        tags = landcover.tags(legend, "abcdef0123456789")
        for where, pixels in layers:
            with raster.create(where, at, dtype="uint8", nodata=0, tags=tags) as writer:
                writer.write(pixels, at.window)
        return path


@pytest.fixture
def maps(tmp_path: Path) -> Maps:
    return Maps(tmp_path / "maps")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "landcover.tif"


def pixels(path: Path) -> np.ndarray:
    with rasterio.open(path) as dataset:
        return dataset.read(1)


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    choice = np.random.default_rng(seed).integers(0, 3, (height, width))
    return np.array(LEGEND.codes, np.uint8)[choice]


def patches(height: int, width: int, seed: int = 0) -> np.ndarray:
    """As maps are: what is alike lies together, which packs soon."""
    coarse = noise(-(-height // 8), -(-width // 8), seed)
    return coarse.repeat(8, 0).repeat(8, 1)[:height, :width]


def test_the_more_confident_map_wins_and_ties_go_to_the_first_by_name(maps, out):
    sure = np.array([[80, 50, 90, 90]], np.uint8)
    codes = np.array([[2, 2, 2, 0]], np.uint8)
    maps.add("b", grid(0, 0, 1, 4), codes, sure)
    maps.add("a", grid(0, 1, 1, 4), 9, np.array([[50, 60, 60, 60]], np.uint8))
    mosaic(maps.folder, out)
    # 50 against 50 is a tie; nodata never wins.
    assert pixels(out).tolist() == [[2, 9, 2, 9, 9]]


@dataclass
class Layered(Maps):
    """With novelty beside each map."""

    def add_novelty(self, name: str, at: Grid, values) -> None:
        path = self.folder / "novelty" / f"{name}.tif"
        with raster.create(path, at, dtype="uint8", nodata=0) as writer:
            writer.write(np.asarray(values, np.uint8), at.window)


@pytest.fixture
def layered(tmp_path: Path) -> Layered:
    """The codes [[2, 9, 2, 9, 9]] of two maps that overlap."""
    made = Layered(tmp_path / "maps")
    sure = np.array([[80, 50, 90, 90]], np.uint8)
    made.add("b", grid(0, 0, 1, 4), np.array([[2, 2, 2, 0]], np.uint8), sure)
    made.add("a", grid(0, 1, 1, 4), 9, np.array([[50, 60, 60, 60]], np.uint8))
    made.add_novelty("b", grid(0, 0, 1, 4), [[1, 2, 3, 0]])
    made.add_novelty("a", grid(0, 1, 1, 4), [[11, 100, 13, 14]])
    return made


def test_layers_are_joined_pixel_by_pixel_from_the_map_that_gives_the_class(layered, out):
    names = ["novelty", "confidence"]
    said = str(mosaic(layered.folder, out, layers=names))
    said += "".join([*describe(layered.folder, out, names), *show(out)])
    novelty = out.with_name("landcover_novelty.tif")
    assert pixels(out).tolist() == [[2, 9, 2, 9, 9]]
    assert pixels(novelty).tolist() == [[1, 11, 3, 13, 14]]
    assert pixels(out.with_name("landcover_confidence.tif")).tolist() == [[80, 50, 90, 60, 60]]
    assert f"novelty: {novelty}" in said
    assert novelty.with_suffix(".qml").is_file()
    with rasterio.open(novelty) as dataset:
        assert dataset.descriptions[0].startswith("novelty")
        assert dataset.nodata == 0
        assert dataset.colorinterp[0].name == "gray"
    item = json.loads(out.with_name("landcover.stac.json").read_text())
    assert {"novelty", "confidence"} <= set(item["assets"])
    with zipfile.ZipFile(out.with_suffix(".qgz")) as archive:
        project = archive.read("landcover.qgs").decode()
    assert "landcover_novelty.tif" in project
    assert "novelty/a.tif" not in project


def test_layers_are_made_once_and_anew_when_they_changed(layered, out):
    mosaic(layered.folder, out, layers=["novelty"])
    novelty = out.with_name("landcover_novelty.tif")
    first = novelty.stat().st_mtime_ns
    assert "nothing to do" in str(mosaic(layered.folder, out, layers=["novelty"]))
    assert novelty.stat().st_mtime_ns == first
    (layered.folder / "novelty" / "a.tif").unlink()
    layered.add_novelty("a", grid(0, 1, 1, 4), [[5, 5, 5, 5]])
    mosaic(layered.folder, out, layers=["novelty"])
    assert pixels(novelty).tolist() == [[1, 5, 3, 5, 5]]


def test_layers_of_a_mosaic_that_is_made_anew_do_not_stay(layered, out):
    mosaic(layered.folder, out, layers=["novelty", "confidence"])
    mine = out.with_name("landcover_margin.tif")
    mine.write_bytes(b"of somebody else")
    layered.add("a", grid(0, 1, 1, 4), 2, np.array([[50, 60, 60, 60]], np.uint8))
    said = str(mosaic(layered.folder, out, layers=["confidence"]))
    assert not out.with_name("landcover_novelty.tif").exists()
    assert not out.with_name("landcover_novelty.qml").exists()
    assert "landcover_novelty.tif: removed" in said
    assert out.with_name("landcover_confidence.tif").exists()
    assert mine.exists()


def test_layers_that_cannot_be_joined_are_named_before_the_work(layered, out):
    (layered.folder / "novelty" / "a.tif").unlink()
    with pytest.raises(InputError, match=r"a\.tif: has no novelty beside it.*predict\.layers"):
        mosaic(layered.folder, out, layers=["novelty"])
    with pytest.raises(InputError, match="probabilities has a band for each class"):
        mosaic(layered.folder, out, layers=["probabilities"])
    assert not out.exists()


def test_layers_of_an_earlier_mosaic_are_not_joined_as_maps(layered, tmp_path):
    out = layered.folder / "landcover" / "all.tif"
    mosaic(layered.folder, out, layers=["novelty"])
    assert "nothing to do" in str(mosaic(layered.folder, out, layers=["novelty"]))


def test_a_map_without_confidence_loses_against_one_with(maps, out):
    maps.add("a", grid(0, 0, 1, 2), 2)
    maps.add("b", grid(0, 1, 1, 2), 9, 2)
    mosaic(maps.folder, out)
    assert pixels(out).tolist() == [[2, 9, 9]]


def test_aligned_maps_are_copied_exactly_and_gaps_are_nodata(maps, out):
    a, b = noise(90, 70, 1), noise(100, 120, 2)
    a[:20, :20] = 0
    maps.add("a", grid(0, 0, 90, 70), a, 50)
    maps.add("b", grid(130, 40, 100, 120), b, 50)
    said = str(mosaic(maps.folder, out))
    whole = np.zeros((230, 160), np.uint8)
    whole[:90, :70] = a
    whole[130:, 40:] = b
    assert np.array_equal(pixels(out), whole)
    assert "2 copied unchanged, 0 warped" in said
    with rasterio.open(out) as dataset:
        assert dataset.transform == grid(0, 0, 1, 1).transform


def test_any_windows_and_any_number_of_open_files_give_the_same(maps, out, monkeypatch):
    rng = np.random.default_rng(0)
    for number in range(12):
        top, left = rng.integers(0, 100, 2)
        maps.add(
            str(number),
            grid(int(top), int(left), 80, 70),
            noise(80, 70, number),
            rng.integers(1, 101, (80, 70)) if number % 4 else None,
        )
    mosaic(maps.folder, out)
    monkeypatch.setattr(join, "OPEN_MAPS", 2)
    whole = pixels(out)
    parts = _read(_find(maps.folder, out))
    with join.Join(parts, raster.info(out).grid) as joined:
        for window in windows(whole.shape, 40):
            codes = joined.read(window)
            expected = whole[window.top : window.bottom, window.left : window.right]
            assert np.array_equal(np.zeros_like(expected) if codes is None else codes, expected)


def test_a_map_that_the_mosaic_would_replace_is_kept(maps, out):
    first, second = (maps.add(name, grid(0, 4 * i, 4, 4), 1 + i) for i, name in enumerate("ab"))
    before = second.read_bytes()
    with pytest.raises(InputError, match=r"b\.tif: is one of the maps to be joined"):
        mosaic([str(first), str(second)], second, overwrite=True)
    assert second.read_bytes() == before


def test_declared_nodata_of_another_value_is_no_class(maps, out):
    path = maps.add("a", grid(0, 0, 4, 4), [[2, 2, 8, 1]] * 4)
    with rasterio.open(path, "r+") as dataset:
        dataset.nodata = 8
    mosaic(maps.folder, out)
    assert pixels(out).tolist() == [[2, 2, 0, 1]] * 4


def test_a_naive_merge_gives_the_same(maps, out):
    rng = np.random.default_rng(1)
    codes, best = np.zeros((60, 60), np.uint8), np.zeros((60, 60), np.uint8)
    every = np.zeros((60, 60, 256), int)
    for name in "abcde":
        top, left = map(int, rng.integers(0, 30, 2))
        own, sure = noise(30, 30, ord(name)), rng.integers(1, 101, (30, 30)).astype(np.uint8)
        own[rng.random((30, 30)) < 0.2] = 0
        maps.add(name, grid(top, left, 30, 30), own, sure)
        part = (slice(top, top + 30), slice(left, left + 30))
        wins = (own > 0) & (sure > best[part])
        codes[part][wins], best[part][wins] = own[wins], sure[wins]
        every[part] += own[..., None] == np.arange(256)
    maps.add("corners", grid(0, 0, 60, 60), 0, 1)
    said = str(mosaic(maps.folder, out))
    twice, differ = (every[..., 1:].sum(2) > 1).sum(), ((every[..., 1:] > 0).sum(2) > 1).sum()
    assert f"they give different classes to {differ} pixels of {twice} (" in said
    assert np.array_equal(pixels(out), codes)


def test_a_map_in_another_crs_is_warped_to_its_place(maps, out):
    maps.add("a", grid(0, 0, 300, 300), 1, 50)
    # The neighbouring zone, over the eastern third of the first map and beyond.
    (x,), (y,) = warp_points(UTM, "EPSG:32632", [500_100.0], [4_999_990.0])
    other = Grid("EPSG:32632", Affine(0.5, 0, x, 0, -0.5, y), 150, 200)
    maps.add("b", other, 9, 90)
    said = str(mosaic(maps.folder, out))
    assert "1 copied unchanged, 1 warped" in said
    found, at = pixels(out), raster.info(out).grid
    assert at.offset(grid(0, 0, 300, 300)) is not None
    rows, columns = np.mgrid[0 : at.height, 0 : at.width]
    xs, ys = at.transform @ (columns.ravel() + 0.5, rows.ravel() + 0.5)
    xs, ys = warp_points(UTM, "EPSG:32632", xs, ys)
    inner_columns, inner_rows = ~other.transform @ (np.array(xs), np.array(ys))
    depth = np.minimum.reduce([inner_columns, 200 - inner_columns, inner_rows, 150 - inner_rows])
    depth = depth.reshape(found.shape)
    assert (found[depth > 0.3] == 9).all()
    assert (found[depth < -0.3] != 9).all()
    assert (found == 9).sum() == pytest.approx(150 * 200, rel=0.01)


def test_the_crs_of_most_of_the_area_and_the_finest_resolution_are_chosen():
    grids = [grid(0, 0, 100, 100), grid(0, 50, 200, 200, 1.0), grid(0, 0, 90, 90, 3.0, "EPSG:4326")]
    grids[2] = Grid("EPSG:32632", Affine(0.5, 0, 976_000, 0, -0.5, 5_010_000), 100, 100)
    found = joint_grid(grids)
    assert found.crs == UTM
    assert found.resolution == (0.5, 0.5)
    assert found.bounds[:1] + found.bounds[3:] == (500_000, found.bounds[3])


def test_finer_pixels_of_another_crs_are_kept():
    fine = Grid("EPSG:32632", Affine(0.25, 0, 976_000, 0, -0.25, 5_010_000), 100, 100)
    assert joint_grid([grid(0, 0, 100, 100), fine]).resolution == pytest.approx((0.25, 0.25), 0.01)


def test_pixels_lie_where_they_do_in_most_of_the_area():
    odd = Grid(UTM, Affine(0.5, 0, 500_000.2, 0, -0.5, 5_000_000.1), 100, 100)
    many = [grid(10, 10, 80, 80), grid(100, 10, 80, 80)]
    found = joint_grid([odd, *many])
    assert found.offset(odd) is None
    assert all(found.offset(one) is not None for one in many)
    left, bottom, right, top = found.bounds
    assert left <= 500_000.2
    assert top >= 5_000_000.1
    assert (right, bottom) == (500_050.5, 4_999_910.0)


def test_a_map_across_the_antimeridian_is_not_drawn_where_a_crs_is_torn():
    fiji = Grid("EPSG:32760", Affine(10, 0, 818_812, 0, -10, 8_117_998), 128, 128)
    for crs in ("EPSG:4326", "EPSG:3857"):
        with pytest.raises(InputError, match=r"a map \(longitude 179\.9.*180\.0.*EPSG:32760"):
            joint_grid([fiji], crs=crs)
    for crs in ("EPSG:3832", "EPSG:32701", None):
        found = joint_grid([fiji], crs=crs)
        assert (found.height, found.width) == pytest.approx((130, 130), abs=4)
    beside = Grid("EPSG:32760", Affine(10, 0, 800_000, 0, -10, 8_117_998), 128, 128)
    assert joint_grid([beside], crs="EPSG:4326").width == pytest.approx(130, abs=4)


def test_maps_on_both_sides_of_the_antimeridian_are_joined_in_a_crs_that_is_whole_there():
    def at(left, crs="EPSG:4326"):
        return Grid(crs, Affine(1e-4, 0, left, 0, -1e-4, -17), 100, 100)

    for pair in ([at(179.95), at(-180.0)], [at(-178.0), at(177.0)]):
        with pytest.raises(InputError, match=r"both sides of the antimeridian.*EPSG:3832"):
            joint_grid(pair)
        assert joint_grid(pair, crs="EPSG:3832").width < 60_000
    for fine in ([at(179.95), at(180.0)], [at(-1.0), at(1.0)], [at(-180.0)]):
        assert joint_grid(fine).width <= 20_100
    world = Grid("EPSG:4326", Affine(1, 0, -180, 0, -1, 90), 180, 360)
    assert joint_grid([world, world]).width == 360
    assert joint_grid([world.crop(Window(0, 0, 180, 100)), world.crop(Window(0, 260, 180, 100))])


def test_crs_and_resolution_can_be_given(maps, out):
    maps.add("a", grid(0, 0, 200, 200), 2, 50)
    mosaic(maps.folder, out, on=Placement("3857", 2.0))
    found = raster.info(out).grid
    assert found.resolution == (2.0, 2.0)
    assert rasterio.crs.CRS.from_wkt(found.crs).to_epsg() == 3857
    # 100 m of UTM are 141 m of Web Mercator at 45° N.
    assert (pixels(out) == 2).sum() == pytest.approx((141.6 / 2) ** 2, rel=0.03)


def test_a_mosaic_has_the_pixels_of_the_raster_that_it_is_to_be_like(maps, out, tmp_path):
    codes = np.random.default_rng(0).choice([0, 2, 9], (40, 60)).astype(np.uint8)
    maps.add("a", grid(0, 0, 40, 60), codes, 50)
    finer = grid(7, 9, 70, 200, side=0.25)
    like = tmp_path / "scene.tif"
    with raster.create(like, finer, dtype="uint16"):
        pass
    mosaic(maps.folder, out, on=Placement(like=like), layers=["confidence"])
    assert raster.info(out).grid.coincides(finer)
    expected = np.zeros((70, 200), np.uint8)
    rows, columns = (np.arange(70) + 7) // 2, (np.arange(111) + 9) // 2
    expected[:, :111] = codes[np.ix_(rows, columns)]
    assert (pixels(out) == expected).all()
    confidence = pixels(out.with_name(f"{out.stem}_confidence.tif"))
    assert (confidence == 50 * (expected > 0)).all()
    before = out.read_bytes()
    assert "nothing to do" in str(
        mosaic(maps.folder, out, on=Placement(like=like), layers=["confidence"])
    )
    with pytest.raises(InputError, match=r"other settings \(settings.like, inputs\)"):
        mosaic(maps.folder, out)
    mosaic(maps.folder, out, on=Placement(like=like), overwrite=True)
    assert out.read_bytes() == before


def test_a_raster_that_says_no_grid_for_the_mosaic(maps, out, tmp_path):
    maps.add("a", grid(0, 0, 20, 20), 2, 50)
    far = tmp_path / "far.tif"
    with raster.create(far, grid(0, 5000, 20, 20), dtype="uint8"):
        pass
    with pytest.raises(InputError, match="no map lies there"):
        mosaic(maps.folder, out, on=Placement(like=far))
    with pytest.raises(InputError, match="leave out crs and resolution"):
        Placement(like=far, resolution=2.0)
    with pytest.raises(InputError, match=r"none\.tif"):
        mosaic(maps.folder, out, on=Placement(like=tmp_path / "none.tif"))
    assert not out.exists()


def test_a_much_coarser_resolution_takes_the_mode(maps, out):
    codes = np.full((80, 80), 9, np.uint8)
    codes[::4, ::4] = 2  # what the nearest would hit again and again
    codes[1::4, 1::4] = 2
    maps.add("a", grid(0, 0, 80, 80), codes, 50)
    mosaic(maps.folder, out, on=Placement(resolution=2.0))
    assert pixels(out).tolist() == [[9] * 20] * 20


def test_maps_far_apart_are_refused(maps, out):
    maps.add("a", grid(0, 0, 20, 20), 1)
    maps.add("b", grid(2_000_000, 2_000_000, 20, 20), 1)
    with pytest.raises(InputError, match="so far apart"):
        mosaic(maps.folder, out)
    assert not out.exists()


def test_the_file_is_a_cog_with_colours_names_style_and_tags(maps, out):
    maps.add("a", grid(0, 0, 700, 900), noise(700, 900), 50)
    mosaic(maps.folder, out)
    with rasterio.open(out) as dataset:
        assert dataset.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert dataset.block_shapes == [(512, 512)]
        assert dataset.overviews(1) == [2]
        assert dataset.nodata == 0
        assert dataset.colormap(1)[2] == (0xE3, 0x1A, 0x1C, 255)
        tags = dataset.tags()
    assert Legend.from_dict(json.loads(tags["GEOSEG_LEGEND"])) == LEGEND
    assert tags["GEOSEG_MODEL"] == "abcdef0123456789"
    assert tags["GEOSEG_MAPS"] == "maps"
    assert tags["GEOSEG_VERSION"]
    names = out.with_name("landcover.tif.aux.xml").read_text("utf-8")
    assert "<Category>bürgel &amp; &lt;co&gt;</Category>" in names
    assert 'value="9" color="#1f78b4" label="water"' in out.with_suffix(".qml").read_text("utf-8")


def test_overviews_hold_the_mode(maps, out):
    codes = np.full((600, 600), 9, np.uint8)
    codes[::2, ::2] = 2  # a nearest overview would show nothing else
    maps.add("a", grid(0, 0, 600, 600), codes, 50)
    mosaic(maps.folder, out)
    with rasterio.open(out, overview_level=0) as overview:
        assert set(np.unique(overview.read(1))) == {9}


def test_the_same_command_again_does_nothing_and_changed_maps_are_followed(maps, out):
    maps.add("a", grid(0, 0, 20, 20), 1, 50)
    mosaic(maps.folder, out)
    made, stamp = out.read_bytes(), out.stat().st_mtime_ns
    assert "nothing to do" in str(mosaic(maps.folder, out))
    assert out.stat().st_mtime_ns == stamp
    maps.add("b", grid(0, 20, 20, 20), 9, 50)
    mosaic(maps.folder, out)
    assert out.read_bytes() != made
    assert set(np.unique(pixels(out))) == {1, 9}


def test_a_broken_mosaic_is_made_again(maps, out):
    maps.add("a", grid(0, 0, 20, 20), 1, 50)
    mosaic(maps.folder, out)
    made, note = out.read_bytes(), out.with_name(f".{out.name}.mosaic.json")
    for content in (b"", made[:-50], made[:-1] + b"x"):
        out.write_bytes(content)
        assert "nothing to do" not in str(mosaic(maps.folder, out))
        assert out.read_bytes() == made
    out.with_suffix(".qml").write_text("")
    assert "nothing to do" in str(mosaic(maps.folder, out))
    assert "water" in out.with_suffix(".qml").read_text("utf-8")
    note.write_text("")
    with pytest.raises(InputError, match=r"mosaic\.json, can't be read; .*overwrite=true"):
        mosaic(maps.folder, out)
    mosaic(maps.folder, out, overwrite=True)
    assert out.read_bytes() == made
    assert "nothing to do" in str(mosaic(maps.folder, out))


def test_maps_that_are_still_being_written_are_told_of(maps, out):
    maps.add("a", grid(0, 0, 20, 20), 1, 50)
    with held(maps.folder, "predict"):
        assert "geoseg predict (process" in str(mosaic(maps.folder, out))
    with (
        held(out.parent, "mosaic", name=out.name),
        pytest.raises(InputError, match="is writing there"),
    ):
        mosaic(maps.folder, out, overwrite=True)


def test_other_settings_need_overwrite(maps, out):
    maps.add("a", grid(0, 0, 20, 20), 1, 50)
    mosaic(maps.folder, out)
    made = out.read_bytes()
    with pytest.raises(InputError, match=r"other settings \(settings.resolution\).*overwrite=true"):
        mosaic(maps.folder, out, on=Placement(resolution=1.0))
    assert out.read_bytes() == made
    mosaic(maps.folder, out, on=Placement(resolution=1.0), overwrite=True)
    assert pixels(out).shape == (10, 10)


def test_a_foreign_file_is_not_replaced(maps, out):
    maps.add("a", grid(0, 0, 20, 20), 1, 50)
    out.write_text("mine")
    with pytest.raises(InputError, match="knows nothing of"):
        mosaic(maps.folder, out)
    assert out.read_text() == "mine"


def in_a_process(task: str, folder: Path, *more: str) -> dict:
    done = started.run("-m", "tests.jobs.kill_mosaic", task, folder, *more, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def many(maps: Maps) -> Maps:
    """Nine windows to join, overviews that are made of overviews, and one map to be warped."""
    for number in range(9):
        top, left = number // 3 * 1300, number % 3 * 1300
        codes = patches(1500, 1500, number)
        maps.add(f"{number:02}", grid(top, left, 1500, 1500), codes, number + 1)
    maps.add("warped", grid(60, 40, 200, 200, side=0.7), 9, 99)
    return maps


def test_killed_at_random_moments_it_goes_on_and_ends_with_the_same_bytes(many, tmp_path):
    result = in_a_process("kill", tmp_path)
    assert result["phases"] == {"joining": 12, "overviews": 3, "copying": 6, "side files": 3}
    assert result["redone"] == {}
    assert result["wrong"] == []
    assert result["files"] == [
        *(".landcover.tif.mosaic.json", "landcover.qml", "landcover.tif", "landcover.tif.aux.xml"),
    ]


def test_any_number_of_threads_writes_the_same_bytes(many, out, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    written = []
    for threads in (1, 6):
        monkeypatch.setattr(cog, "THREADS", threads)
        path = out.with_name(f"{threads}.tif")
        mosaic(many.folder, path)
        written.append(path.read_bytes())
    assert written[0] == written[1]


@pytest.mark.parametrize("phase", ["joining", "copying"])
def test_ctrl_c_ends_it_soon_and_says_how_to_go_on(many, tmp_path, phase):
    result = in_a_process("interrupt", tmp_path, phase)
    assert result["status"] == 130
    assert result["seconds"] < 2
    assert result["said"] == "geoseg mosaic: stopped; the same command goes on from here\n"
    assert result["left"] == [".landcover.tif.mosaic.json", ".landcover.tif.pack"]
    mosaic(many.folder, tmp_path / "landcover.tif")
    mosaic(many.folder, tmp_path / "undisturbed.tif")
    made, undisturbed = (tmp_path / f"{name}.tif" for name in ("landcover", "undisturbed"))
    assert made.read_bytes() == undisturbed.read_bytes()


def hidden(out: Path) -> list[str]:
    return sorted(path.name for path in out.parent.iterdir() if "landcover" in path.name)


@pytest.mark.parametrize("phase", ["joining", "copying"])
def test_a_full_disk_is_said_and_leaves_nothing_half_written(maps, out, phase):
    resource = pytest.importorskip("resource")
    for number in range(4):
        maps.add(str(number), grid(0, 900 * number, 1000, 1000), noise(1000, 1000, number), 50)
    whole = out.with_name("whole.tif")
    mosaic(maps.folder, whole)
    # The kernel refuses as it does on a full disk; the file is larger than what was joined for it.
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    size = 100_000 if phase == "joining" else whole.stat().st_size - 1
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        with pytest.raises(InputError) as caught:
            mosaic(maps.folder, out)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert str(caught.value) == (
        f"{out}: can't be written (File too large); is the disk full? Free some and go on"
    )
    assert hidden(out) == [".landcover.tif.mosaic.json"]
    mosaic(maps.folder, out)
    assert out.read_bytes() == whole.read_bytes()


def test_a_disk_too_full_for_the_style_leaves_the_mosaic_and_only_that_is_made_up_for(
    maps, out, monkeypatch
):
    maps.add("a", grid(0, 0, 20, 20), 1)
    write_text = Path.write_text

    def full(path, *given, **options):
        if ".qml" in path.name:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write_text(path, *given, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", full)
        with pytest.raises(InputError, match=r"landcover\.qml: can't be written \(No space left"):
            mosaic(maps.folder, out)
    made = out.stat().st_mtime_ns
    mosaic(maps.folder, out)
    assert out.stat().st_mtime_ns == made
    assert hidden(out) == [
        *(".landcover.tif.mosaic.json", "landcover.qml", "landcover.tif", "landcover.tif.aux.xml"),
    ]


LAUNCH = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def test_memory_does_not_grow_with_the_mosaic(tmp_path):
    """A process inherits the peak of the one that starts it: one between them that is small."""
    pytest.importorskip("resource")
    peaks = []
    for side in (3_584, 14_336):
        maps = Maps(tmp_path / str(side))
        for number, (row, column) in enumerate(np.ndindex(7, 7)):
            top, left = ((place + 1) * side // 7 - 300 for place in (row, column))
            maps.add(f"{number:03}", grid(top, left, 300, 300), noise(300, 300), 50)
        maps.add("corner", grid(0, 0, 1, 1), 1, 50)
        out = maps.folder / "landcover.tif"
        command = ["-m", "geoseg.mosaic", f"maps={maps.folder}", f"out={out}"]
        call = [sys.executable, "-c", LAUNCH, sys.executable, *command]
        done = subprocess.run(call, capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout) / (1e6 if sys.platform == "darwin" else 1e3))
        assert raster.info(out).grid.window.area == side**2
    # The pixels alone are 193 MB more.
    assert peaks[1] - peaks[0] < 60


def test_a_failure_leaves_nothing_half_written(maps, out):
    path = maps.add("a", grid(0, 0, 400, 400), noise(400, 400), 50)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 5000] = bytes(5000)
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.tif: can't read rows"):
        mosaic(maps.folder, out)
    assert [p.name for p in out.parent.iterdir() if "landcover.tif" in p.name] == [
        ".landcover.tif.mosaic.json"
    ]


def test_maps_of_other_legends_are_refused(maps, out):
    other = Legend.parse([{"code": 1, "name": "forest", "color": "green"}], "x")
    maps.add("a", grid(0, 0, 20, 20), 1)
    maps.add("b", grid(0, 0, 20, 20), 1, legend=other)
    with pytest.raises(InputError, match=r"b\.tif: its legend \(1 forest\) differs from that of"):
        mosaic(maps.folder, out)
    # Other colours are no other classes: those of the first map are taken.
    recoloured = [c | {"color": "red"} for c in LEGEND.to_dict()["classes"][::-1]]
    maps.add("b", grid(0, 0, 20, 20), 1, legend=Legend.parse(recoloured, "x"))
    mosaic(maps.folder, out)
    assert landcover.ClassMap.read(out).legend == LEGEND


def test_faults_of_all_maps_come_at_once(maps, out):
    at = grid(0, 0, 20, 20)
    folder = maps.folder / "landcover"
    with raster.create(folder / "image.tif", at, dtype="uint16", count=3) as writer:
        writer.write(np.zeros((3, 20, 20), np.uint16), at.window)
    with raster.create(folder / "bare.tif", at, dtype="uint8") as writer:
        writer.write(np.ones((20, 20), np.uint8), at.window)
    with pytest.raises(InputError) as caught:
        mosaic(maps.folder, out)
    assert "bare.tif: no tag GEOSEG_LEGEND" in str(caught.value)
    assert "image.tif: 3 bands of uint16, not a map" in str(caught.value)


def test_a_code_that_the_legend_does_not_know_is_an_error(maps, out):
    maps.add("a", grid(0, 0, 20, 20), 7)
    with pytest.raises(InputError, match="holds code 7"):
        mosaic(maps.folder, out)


def test_confidence_on_another_grid_is_an_error(maps, out):
    maps.add("a", grid(0, 0, 20, 20), 1)
    at = grid(1, 0, 20, 20)
    with raster.create(maps.folder / "confidence" / "a.tif", at, dtype="uint8") as writer:
        writer.write(np.ones((20, 20), np.uint8), at.window)
    with pytest.raises(InputError, match="not the confidence of"):
        mosaic(maps.folder, out)


def test_plain_folders_globs_and_lists_work_and_leave_the_mosaic_itself_out(maps, tmp_path):
    a = maps.add("a", grid(0, 0, 20, 20), 1)
    b = maps.add("b", grid(0, 20, 20, 20), 9)
    for number, spec in enumerate([a.parent, str(a.parent / "*.tif"), [a, b]]):
        out = tmp_path / f"{number}.tif"
        mosaic(spec, out)
        assert pixels(out)[0].tolist() == [1] * 20 + [9] * 20
    inside = a.parent / "whole.tif"
    mosaic(a.parent, inside)
    assert "nothing to do" in str(mosaic(a.parent, inside))


def test_scenes_without_map_are_said(maps, out):
    maps.add("a", grid(0, 0, 20, 20), 1)
    scenes = {"a": {"status": "done"}, "b": {"status": "refused"}}
    (maps.folder / "predict.json").write_text(json.dumps({"scenes": scenes}))
    assert "1 scene has no map: b" in str(mosaic(maps.folder, out))


def test_maps_that_are_left_out_are_no_missing_ones(maps, out):
    a = maps.add("a", grid(0, 0, 20, 20), 1)
    maps.add("c", grid(0, 20, 20, 20), 1)
    scenes = {name: {"status": "done"} for name in ("a", "c")} | {"b": {"status": "failed"}}
    (maps.folder / "predict.json").write_text(json.dumps({"scenes": scenes}))
    said = str(mosaic([str(a)], out))
    assert "1 scene has no map: b;" in said
    assert "1 map of" in said
    assert "not in this mosaic: c" in said


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"crs": "EPSG:1"}, "not a CRS"),
        ({"crs": "EPSG:5773"}, "no system of map coordinates"),
        ({"resolution": -1.0}, "must be above 0"),
        ({"out": "mosaic.png"}, "must end in .tif"),
    ],
)
def test_bad_settings(maps, out, options, message):
    maps.add("a", grid(0, 0, 20, 20), 1)
    given = options.pop("out", out)
    with pytest.raises(InputError, match=message):
        mosaic(maps.folder, given, on=Placement(**options))
    assert not out.exists()


def test_the_command_makes_what_is_asked_for_beside_the_mosaic(maps, out, capsys):
    maps.add("a", grid(0, 0, 20, 20), 2, 60)
    asked = {"resolution": 2.0, "layers": ["confidence"], "stac": True, "project": True}
    command.main(MosaicConfig(str(maps.folder), str(out), **asked))
    said = capsys.readouterr().out
    assert "STAC item: " in said
    assert "QGIS project: " in said
    assert pixels(out.with_name("landcover_confidence.tif")).shape == (5, 5)
    assert set(checked(out.with_name("landcover.stac.json")).assets) == {"landcover", "confidence"}


def test_the_command_needs_an_output():
    with pytest.raises(InputError, match="out: none given"):
        command.main(MosaicConfig(maps="somewhere"))


def test_a_number_is_an_epsg_code():
    assert parse_crs("32633") == UTM


def test_no_decision_is_kept_and_any_class_wins_over_it(maps, out):
    tags = landcover.tags(LEGEND, "abcdef0123456789", undecided="threshold 0.6")
    path = maps.add("a", grid(0, 0, 1, 5), [[255, 255, 2, 255, 0]], 99)
    maps.add("b", grid(0, 0, 1, 5), [[9, 0, 9, 255, 255]], 1)
    said = str(mosaic(maps.folder, out))
    # Of a map that does not say what 255 means, it means nothing.
    assert pixels(out).tolist() == [[9, 0, 2, 0, 0]]
    assert "no decision" not in said
    for name in ("a", "b"):
        codes = pixels(path.with_stem(name))
        with raster.create(path.with_stem(name), grid(0, 0, 1, 5), dtype="uint8", nodata=0,
                           tags=tags) as writer:  # fmt: skip
            writer.write(codes, grid(0, 0, 1, 5).window)
    said = str(mosaic(maps.folder, out))
    assert pixels(out).tolist() == [[9, 255, 2, 255, 255]]
    assert "no decision" in said
    assert landcover.ClassMap.read(out).leaves_open
    assert 'label="no decision"' in out.with_suffix(".qml").read_text()


def test_a_catalog_can_name_the_mosaic(maps, out):
    maps.add("a", grid(0, 0, 9, 7), 2)
    mosaic(maps.folder, out)
    item = out.with_name("landcover.stac.json")
    assert not item.exists()
    assert "STAC item" in str(describe(maps.folder, out))
    assert describe(maps.folder, out) == []
    assert checked(item).properties["proj:shape"] == [9, 7]
    # One of other maps must not lie beside the checksum of the one before.
    maps.add("b", grid(0, 7, 9, 7), 9)
    mosaic(maps.folder, out)
    assert not item.exists()


def test_a_qgis_project_shows_the_mosaic_and_what_lies_beside_its_maps(maps, out):
    maps.add("a", grid(0, 0, 9, 7), 2, 60)
    mosaic(maps.folder, out)
    assert "QGIS project" in str(show(out))
    path = out.with_suffix(".qgz")
    with zipfile.ZipFile(path) as archive:
        text = archive.read("landcover.qgs").decode()
    sources = re.findall("<datasource>(.*?)</datasource>", text)
    assert sources == ["./landcover.tif", "./maps/confidence/a.tif"]
    # Somebody may have added to it.
    path.write_bytes(b"mine")
    assert "is there already" in str(show(out))
    assert path.read_bytes() == b"mine"
    show(out, overwrite=True)
    assert zipfile.is_zipfile(path)
