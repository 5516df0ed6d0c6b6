"""Lattice and halo: windows in common, pixels from beyond the edge, maps that agree."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoseg.geo import raster
from geoseg.geo.grid import Grid, Window
from geoseg.geo.tiling import Tiling
from geoseg.maps.joint_grid import joint_grid
from geoseg.prediction.images import predict
from geoseg.prediction.network import InferenceSettings, TrainedNetwork
from geoseg.scenes.neighbours import HaloReader, OpenScenes, places, wide_enough
from geoseg.scenes.scene import Scene, Source, find_scenes
from tests.made.scenes import CARD, LEGEND, Context, grid, plain, with_bands, write

RUNNING = InferenceSettings("cpu", "32", batch_size=3)


def scene(name: str, place: Grid, dtype: str = "uint8") -> Scene:
    return Scene(name, place, (Source((f"{name}.tif",), (1,)),), ("gray",), dtype, None, (0,))


def part(whole: Grid, top: int, left: int, height: int, width: int) -> Grid:
    return whole.crop(Window(top, left, height, width))


def read(path) -> np.ndarray:
    with raster.Raster(path) as file:
        return file.read(file.grid.window)[0][0]


def network(running=RUNNING, channels=1) -> TrainedNetwork:
    card = CARD if channels == 1 else with_bands(CARD, *"abc"[:channels])
    return TrainedNetwork(card, "0" * 16, Context(3, channels), running)


@given(
    cuts=st.tuples(st.integers(1, 99), st.integers(1, 79)),
    size=st.integers(8, 40),
    share=st.floats(0, 0.5),
)
def test_adjoining_scenes_have_the_windows_of_their_merge(cuts, size, share):
    whole, (down, right) = grid(100, 80), cuts
    parts = [
        scene("a", part(whole, 0, 0, down, right)),
        scene("b", part(whole, 0, right, down, 80 - right)),
        scene("c", part(whole, down, 0, 100 - down, right)),
        scene("d", part(whole, down, right, 100 - down, 80 - right)),
    ]
    tiling = Tiling(size, int(share * size))
    [merge] = places([scene("all", whole)], tiling)
    corners = [(0, 0), (0, right), (down, 0), (down, right)]
    seen = set()
    for one, place, (top, left) in zip(parts, places(parts, tiling), corners, strict=True):
        rows, columns = ({s + at for s in starts} for starts, at in
                         ((place.rows, top), (place.columns, left)))  # fmt: skip
        wanted = {r for r in merge.rows if r + size > top and r < top + one.grid.height}
        assert rows == wanted
        assert columns <= set(merge.columns)
        seen |= {(r, c) for r in rows for c in columns}
        assert {n.scene.name for n in place.neighbours} == {*"abcd"} - {one.name}
    assert seen == {(r, c) for r in merge.rows for c in merge.columns}


def test_who_is_no_neighbour():
    here = grid(50, 50)
    tiling = Tiling(16, 4)
    alone = places([scene("a", here)], tiling)[0]
    others = {
        "far": part(here, 0, 70, 50, 50),
        "other pixels": Grid(here.crs, here.transform @ here.transform.scale(1.1), 50, 50),
        "between pixels": replace(part(here, 0, 50, 50, 50), transform=here.transform
                                  @ here.transform.translation(50.4, 0)),
        "other CRS": replace(here, crs="EPSG:32633"),
        "inside": part(here, 10, 10, 20, 20),
        "the same": here,
    }  # fmt: skip
    for name, other in others.items():
        assert places([scene("a", here), scene("b", other)], tiling)[0] == alone, name
    beside = scene("b", part(here, 0, 50, 50, 50))
    assert places([scene("a", here), beside], tiling)[0].neighbours
    assert places([scene("a", here), beside], tiling, halo=False)[0] == alone
    for other, both in (("uint16", "uint16"), ("int8", "int16"), ("float64", "float32")):
        pair = [scene("a", here), scene("b", beside.grid, other)]
        found = zip(pair, places(pair, tiling), strict=True)
        assert [wide_enough(*one).dtype for one in found] == [both, both]
    assert wide_enough(pair[0], alone) is pair[0]


def test_of_several_dates_the_likest_name_is_the_neighbour():
    left, right = grid(50, 50), part(grid(50, 50), 0, 50, 50, 50)
    names = ["2019_east", "2019_west", "2020_east", "2020_west"]
    scenes = [scene(n, right if "east" in n else left) for n in names]
    found = dict(zip(names, places(scenes, Tiling(16, 4)), strict=True))
    first = {name: place.neighbours[0].scene.name for name, place in found.items()}
    assert first == {
        "2019_east": "2019_west",
        "2019_west": "2019_east",
        "2020_east": "2020_west",
        "2020_west": "2020_east",
    }


def test_many_dates_of_a_place_are_placed_soon():
    """Each of 4,000 has the neighbours of its own date only."""
    whole = grid(100, 100)
    corners = {"nw": (0, 0), "ne": (0, 50), "sw": (50, 0), "se": (50, 50)}
    scenes = [
        scene(f"{name}_{day:04}_x", part(whole, *corner, 50, 50))
        for day in range(1000)
        for name, corner in corners.items()
    ]
    for one, place in zip(scenes, places(scenes, Tiling(32, 8)), strict=True):
        assert {n.scene.name[2:] for n in place.neighbours} == {one.name[2:]}
        assert len(place.neighbours) == 3


def test_thousands_of_scenes_are_placed_soon():
    """A pair-by-pair comparison of 2,500 would take minutes."""
    whole = grid(50 * 64, 50 * 64)
    scenes = [
        scene(f"{i}_{j}", part(whole, 64 * i, 64 * j, 64, 64)) for i in range(50) for j in range(50)
    ]
    found = places(scenes, Tiling(32, 8))
    assert [len(found[number].neighbours) for number in (0, 1, 51)] == [3, 5, 8]


def test_pixels_come_from_the_first_neighbour_that_has_them(tmp_path):
    image = np.random.default_rng(0).integers(1, 256, (60, 90)).astype(np.uint8)
    whole = grid(60, 90)
    hole = image.copy()
    hole[:10, 30:60] = 0
    write(tmp_path / "a.tif", image[:, :30], grid=part(whole, 0, 0, 60, 30))
    write(tmp_path / "b.tif", hole[:, 20:60], grid=part(whole, 0, 20, 60, 40))
    write(tmp_path / "c.tif", image[:, 40:], grid=part(whole, 0, 40, 60, 50))
    scenes = find_scenes(tmp_path)
    [place, *_] = places(scenes, Tiling(32, 8))
    with OpenScenes() as opened:
        reader = HaloReader(scenes[0], place.neighbours, opened)
        window = Window(-5, 10, 40, 60)
        got, seen, valid = reader.read(window)
        inner, *_ = reader.read(Window(0, 0, 60, 30))
    assert (inner[0] == image[:, :30]).all()
    assert not seen[:5].any()
    assert (valid[5:] == (np.arange(10, 70) < 30)).all()
    expected = image[:35, 10:70].copy()
    expected[:10, 20:30] = 0  # a hole that nobody fills
    assert (got[0, 5:] == expected).all()
    assert (seen[5:] == (expected > 0)).all()


@settings(max_examples=15, deadline=None)
@given(
    down=st.integers(5, 95),
    right=st.integers(5, 75),
    size=st.integers(16, 48),
    share=st.floats(0.1, 0.5),
    seed=st.integers(0, 99),
)
def test_maps_of_adjoining_files_are_the_map_of_their_merge(
    tmp_path_factory, down, right, size, share, seed
):
    folder = tmp_path_factory.mktemp("halo")
    whole = grid(100, 80)
    image = np.random.default_rng(seed).integers(1, 256, (100, 80)).astype(np.uint8)
    image[40:50, 20:60] = 0
    tiling = Tiling(size, int(share * size))
    write(folder / "merge.tif", image)
    predict(network(), folder / "merge.tif", folder / "expected", tiling=tiling)
    corners = {"a": (0, 0), "b": (0, right), "c": (down, 0), "d": (down, right)}
    for name, (top, left) in corners.items():
        bottom, end = (100 if top else down), (80 if left else right)
        place = part(whole, top, left, bottom - top, end - left)
        write(folder / "parts" / f"{name}.tif", image[top:bottom, left:end], grid=place)
    report = predict(network(), folder / "parts", folder / "maps", tiling=tiling)
    assert not report.refused
    for kind in ("landcover", "confidence"):
        expected = read(folder / "expected" / kind / "merge.tif")
        for name, (top, left) in corners.items():
            if name in report.done:
                got = read(folder / "maps" / kind / f"{name}.tif")
                there = expected[top : top + got.shape[0], left : left + got.shape[1]]
                assert (got == there).all()


def test_maps_of_files_of_two_types_are_the_map_of_their_merge(tmp_path):
    whole = grid(60, 100)
    image = np.random.default_rng(0).integers(1, 256, (60, 100)).astype(np.uint16)
    image[:, 50:] += 300
    write(tmp_path / "merge.tif", image)
    write(tmp_path / "parts/a.tif", image[:, :50].astype(np.uint8), grid=part(whole, 0, 0, 60, 50))
    write(tmp_path / "parts/b.tif", image[:, 50:], grid=part(whole, 0, 50, 60, 50))
    assert predict(network(), tmp_path / "merge.tif", tmp_path / "expected").done
    assert predict(network(), tmp_path / "parts", tmp_path / "maps").done == ["a", "b"]
    for kind in ("landcover", "confidence"):
        got = [read(tmp_path / "maps" / kind / f"{name}.tif") for name in "ab"]
        assert (np.hstack(got) == read(tmp_path / "expected" / kind / "merge.tif")).all()


def test_without_halo_edges_differ_and_that_is_another_output(tmp_path):
    image = np.random.default_rng(0).integers(1, 256, (60, 100)).astype(np.uint8)
    for name, left in (("a", 0), ("b", 50)):
        place = part(grid(60, 100), 0, left, 60, 50)
        write(tmp_path / "parts" / f"{name}.tif", image[:, left : left + 50], grid=place)
    predict(network(), tmp_path / "parts", tmp_path / "with")
    without = network(replace(RUNNING, halo=False))
    predict(without, tmp_path / "parts", tmp_path / "without")
    a, b = (read(tmp_path / f"{kind}/landcover/a.tif") for kind in ("with", "without"))
    assert (a != b).any()
    with pytest.raises(Exception, match=r"other settings \(halo\)"):
        predict(without, tmp_path / "parts", tmp_path / "with")


def test_a_map_is_made_anew_if_its_neighbour_changed(tmp_path):
    whole = grid(60, 150)
    image = np.random.default_rng(0).integers(1, 256, (60, 150)).astype(np.uint8)
    for name, left in (("a", 0), ("b", 50), ("c", 100)):
        place = part(whole, 0, left, 60, 50)
        write(tmp_path / "parts" / f"{name}.tif", image[:, left : left + 50], grid=place)
    spec = tmp_path / "parts"
    assert predict(network(), spec, tmp_path / "maps").done == ["a", "b", "c"]
    assert predict(network(), spec, tmp_path / "maps").before == ["a", "b", "c"]
    place = part(whole, 0, 100, 60, 50)
    write(tmp_path / "parts/c.tif", 255 - image[:, 100:] // 2, grid=place)
    assert predict(network(), spec, tmp_path / "maps").done == ["b", "c"]
    predict(network(), spec, tmp_path / "fresh")
    for name in "abc":
        paths = [tmp_path / out / f"landcover/{name}.tif" for out in ("maps", "fresh")]
        assert paths[0].read_bytes() == paths[1].read_bytes()


def test_a_neighbour_that_breaks_takes_nobody_with_it(tmp_path):
    from tests.prediction.test_images import corrupt, noise

    whole = grid(900, 1200)
    for name, left in (("a", 0), ("b", 600)):
        place = part(whole, 0, left, 900, 600)
        write(tmp_path / "parts" / f"{name}.tif", noise(900, 600), grid=place)
    corrupt(tmp_path / "parts/b.tif")
    report = predict(network(), tmp_path / "parts", tmp_path / "maps")
    assert (report.done, set(report.failed)) == (["a"], {"b"})


@pytest.mark.real
def test_quarters_of_a_real_raster(tmp_path, real_data):
    """rasterio's own four quarters of one picture, against the mosaic of the four."""
    spec = [real_data / "io_odd" / f"rgb{n}.tif" for n in (1, 2, 3, 4)]
    scenes = find_scenes(spec)
    tiling = Tiling(64, 16)
    for place in places(scenes, tiling):
        assert len(place.neighbours) == 3
    card = with_bands(
        CARD, *scenes[0].bands, pixel_size_m=scenes[0].grid.pixel_size_m, legend=LEGEND,
        statistics=plain(len(scenes[0].bands)),
    )  # fmt: skip
    made = TrainedNetwork(card, "0" * 16, Context(3, len(scenes[0].bands)), RUNNING)
    assert len(predict(made, spec, tmp_path / "maps", tiling=tiling).done) == 4
    whole = joint_grid([one.grid for one in scenes])
    image = np.zeros((len(scenes[0].bands), whole.height, whole.width), np.uint8)
    corners = [whole.offset(one.grid) for one in scenes]
    parts = []
    for one, (top, left) in zip(scenes, corners, strict=True):
        with one.open() as reader:
            data, valid = reader.read(one.grid.window)
        there = image[:, top : top + data.shape[1], left : left + data.shape[2]]
        np.copyto(there, data, where=valid & (there == 0).all(axis=0))
        parts.append(valid)
    write(tmp_path / "merge.tif", image, grid=whole, names=scenes[0].bands)
    predict(made, tmp_path / "merge.tif", tmp_path / "expected", tiling=tiling)
    expected = read(tmp_path / "expected/landcover/merge.tif")
    for one, (top, left), valid in zip(scenes, corners, parts, strict=True):
        got = read(tmp_path / f"maps/landcover/{one.name}.tif")
        there = expected[top : top + got.shape[0], left : left + got.shape[1]]
        assert (got == there)[valid].all()
