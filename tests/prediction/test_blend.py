"""Blending: identities, no dependence on panels and batches, weights, memory."""

import re
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from geoseg.errors import InputError
from geoseg.geo.grid import Window
from geoseg.geo.tiling import Tiling
from geoseg.models.device import Device
from geoseg.prediction import blend
from geoseg.prediction.forward import Forward, Member, Scaling
from geoseg.prediction.layers import RowMaker
from geoseg.prediction.panels import Broken, cut
from geoseg.prediction.reader import PanelReader, Strip, batches
from geoseg.scenes.neighbours import HaloReader, OpenScenes, WindowLayout
from geoseg.scenes.scene import Scene, Source
from tests.made.scenes import Constant, Context, Identity, grid, plain

CPU = Device("cpu", "32")


class MemoryScene(Scene):
    """A scene whose pixels lie in memory."""

    def open(self):
        return READERS[self.name]


class MemoryReader:
    block_height = 16

    def __init__(self, image, valid, broken_from=None):
        self.image, self.valid, self.broken_from = image, valid, broken_from
        self.pixels = 0

    def read(self, window):
        whole = Window(0, 0, *self.valid.shape)
        image = np.full((1, window.height, window.width), 0, self.image.dtype)
        valid = np.zeros(image.shape[1:], bool)
        inside = window.intersect(whole)
        if inside:
            if self.broken_from is not None and inside.bottom > self.broken_from:
                raise InputError("damaged")
            image[0][inside.within(window)] = self.image[inside.within(whole)]
            valid[inside.within(window)] = self.valid[inside.within(whole)]
            self.pixels += inside.area
        return image, valid

    def close(self):
        pass


READERS: dict[str, MemoryReader] = {}


def forward(*networks, tta="none"):
    """As prediction makes it, of networks that see values as they are."""
    return Forward([Member(n, Scaling(plain(), CPU.torch)) for n in networks], CPU, tta)


def place_of(scene, tiling):
    """Of a scene that stands alone."""
    return WindowLayout(
        tuple(tiling.starts(scene.grid.height)), tuple(tiling.starts(scene.grid.width))
    )


def scene_of(image, valid=None, *, name="scene", broken_from=None):
    """A scene of (H, W) values."""
    valid = np.ones(image.shape, bool) if valid is None else valid
    READERS[name] = MemoryReader(image, valid, broken_from)
    source = Source((f"{name}.tif",), (1,))
    return MemoryScene(name, grid(*image.shape), (source,), ("gray",), str(image.dtype))


def panels_of(scene, tiling, width):
    """Panels of any width, also ones that `cut` would not choose."""
    whole = cut(scene, place_of(scene, tiling), tiling.size, classes=2, memory=10)[0]
    right = scene.grid.width
    return [
        replace(whole, number=n, left=left, right=min(left + width, right))
        for n, left in enumerate(range(0, right, width))
    ]


def run(scenes, tiling, network, *, classes, width=10**6, batch_size=3):
    """Indices, confidence and valid (3, H, W) by scene, each pixel set once; scenes that broke."""
    panels = [panel for scene in scenes for panel in panels_of(scene, tiling, width)]
    maps = {s.name: np.full((3, s.grid.height, s.grid.width), 99, np.uint8) for s in scenes}
    broken = []

    def emit(rows):
        if isinstance(rows, Broken):
            broken.append(rows.panel.scene.name)
            return
        bottom = rows.top + len(rows.valid)
        place = slice(rows.top, bottom), slice(rows.panel.left, rows.panel.right)
        parts = (rows.indices.numpy(), rows.layers["confidence"].numpy(), rows.valid)
        for whole, part in zip(maps[rows.panel.scene.name], parts, strict=True):
            assert (whole[place] == 99).all()
            whole[place] = part

    stream = batches(panels, batch_size=batch_size)
    blend.run(stream, forward(network), make=RowMaker(classes), emit=emit)
    return maps, broken


@st.composite
def tilings(draw):
    size = draw(st.integers(8, 24))
    return Tiling(size, draw(st.integers(0, size // 2)))


sides = st.integers(1, 70)
few = settings(max_examples=25, deadline=None)


def random_scene(height, width, *, seed, classes, name="scene"):
    """Values 1..classes, and valid in large and small holes."""
    random = np.random.default_rng(seed)
    image = random.integers(1, classes + 1, (height, width)).astype(np.uint8)
    holes = np.kron(random.random((height // 9 + 1, width // 9 + 1)) < 0.5, np.ones((9, 9), bool))
    valid = holes[:height, :width] & (random.random((height, width)) < 0.9)
    return scene_of(image, valid, name=name), image, valid


@few
@given(
    tiling=tilings(), height=sides, width=sides, seed=st.integers(0, 99), panel=st.integers(1, 40)
)
def test_identity_network_returns_its_input(tiling, height, width, seed, panel):
    scene, image, valid = random_scene(height, width, seed=seed, classes=4)
    maps, _ = run([scene], tiling, Identity(4, first=1), classes=4, width=panel)
    indices, confidence, seen = maps["scene"]
    assert (seen == valid).all()
    assert (indices[valid] == image[valid] - 1).all()
    assert (confidence[valid] >= 25).all()


@few
@given(tiling=tilings(), height=sides, width=sides, classes=st.integers(2, 9))
def test_constant_network_gives_a_constant(tiling, height, width, classes):
    scene = scene_of(np.ones((height, width), np.uint8))
    maps, _ = run([scene], tiling, Constant([0.0] * classes), classes=classes)
    indices, confidence, _ = maps["scene"]
    assert (indices == 0).all()
    assert len(np.unique(confidence)) == 1
    maps, _ = run([scene], tiling, Constant([*[0.0] * (classes - 1), 0.3]), classes=classes)
    assert (maps["scene"][0] == classes - 1).all()


@few
@given(
    tiling=tilings(), height=sides, width=sides, seed=st.integers(0, 99), panel=st.integers(1, 40)
)
def test_panels_and_batches_change_no_byte(tiling, height, width, seed, panel):
    scene, *_ = random_scene(height, width, seed=seed, classes=5)
    expected = run([scene], tiling, Context(4), classes=4)[0]["scene"]
    narrow = run([scene], tiling, Context(4), classes=4, width=panel)[0]["scene"]
    batched = run([scene], tiling, Context(4), classes=4, batch_size=1)[0]["scene"]
    valid = expected[2] == 1
    assert (narrow[:, valid] == expected[:, valid]).all()
    assert (batched[:, valid] == expected[:, valid]).all()


@few
@given(tiling=tilings(), height=sides, width=sides)
def test_blending_is_the_weighted_mean_of_the_windows(tiling, height, width):
    image = np.random.default_rng(0).integers(1, 6, (height, width)).astype(np.uint8)
    network = Context(3)
    maps, _ = run([scene_of(image)], tiling, network, classes=3)
    rows, columns = tiling.starts(height), tiling.starts(width)
    down, across = (blend.weights(tuple(s), tiling.size) for s in (rows, columns))
    size = tiling.size
    total = np.zeros((3, max(height, size), max(width, size)))
    padded = np.zeros(total.shape[1:], np.float32)
    padded[:height, :width] = image
    for i, top in enumerate(rows):
        for j, left in enumerate(columns):
            part = slice(top, top + size), slice(left, left + size)
            window = torch.from_numpy(padded[part])[None, None]
            probabilities = torch.softmax(network(window), 1)[0].double().numpy()
            total[(slice(None), *part)] += probabilities * np.outer(down[i], across[j])
    expected = total[:, :height, :width].max(axis=0)
    assert np.abs(maps["scene"][1] - 100 * expected).max() <= 0.51


@given(tiling=tilings(), length=st.integers(1, 300))
def test_weights_are_positive_sum_to_one_and_fall_only_toward_neighbours(tiling, length):
    starts = tuple(tiling.starts(length))
    weights = blend.weights(starts, tiling.size)
    assert (weights > 0).all()
    total = np.zeros(max(length, tiling.size))
    for start, weight in zip(starts, weights, strict=True):
        total[start : start + tiling.size] += weight
    assert np.allclose(total, 1, atol=1e-6)
    assert weights[0, 0] == 1
    assert weights[-1, -1] == 1
    before = next((b - a for a, b in pairwise(starts)), tiling.size)
    assert (weights[0, :before] == 1).all()


def test_weights_of_windows_that_reach_outside_and_have_other_neighbours():
    weights = blend.weights((-10, 10, 12), 24)
    assert (weights > 0).all()
    assert np.allclose(weights[0, :20], 1)


def test_windows_may_begin_and_end_outside_the_scene():
    """As on a lattice that neighbouring scenes share."""
    scene, image, valid = random_scene(60, 45, seed=1, classes=4)
    panel = panels_of(scene, Tiling(16, 4), 100)[0]
    panel = replace(panel, rows=tuple(range(-5, 60, 12)), columns=tuple(range(-9, 45, 12)))
    got = np.zeros((2, 60, 45), np.uint8)

    def emit(rows):
        got[:, rows.top : rows.top + len(rows.valid)] = rows.indices.numpy(), rows.valid

    stream = batches([panel], batch_size=2)
    blend.run(stream, forward(Identity(4, first=1)), make=RowMaker(4), emit=emit)
    assert (got[1] == valid).all()
    assert (got[0][valid] == image[valid] - 1).all()


def test_windows_without_valid_pixels_are_not_forwarded():
    valid = np.zeros((100, 100), bool)
    valid[50, 50] = True
    network = Context(2)
    scene = scene_of(np.ones((100, 100), np.uint8), valid)
    maps, _ = run([scene], Tiling(20, 0), network, classes=2, batch_size=1)
    assert network.seen == 1
    assert (maps["scene"][2] == valid).all()
    network = Context(2)
    empty = scene_of(np.ones((50, 50), np.uint8), np.zeros((50, 50), bool))
    run([empty], Tiling(20, 4), network, classes=2)
    assert network.seen == 0


def test_windows_of_several_scenes_share_batches():
    scenes = [scene_of(np.full((10, 10), k + 1, np.uint8), name=f"s{k}") for k in range(5)]
    network = Context(5)
    run(scenes, Tiling(16, 4), network, classes=5, batch_size=4)
    assert network.seen == 8
    maps, _ = run(scenes, Tiling(16, 4), Identity(5, first=1), classes=5, batch_size=4)
    assert [set(np.unique(maps[f"s{k}"][0])) for k in range(5)] == [{k} for k in range(5)]


def test_a_scene_that_breaks_leaves_the_others_alone():
    image = np.random.default_rng(0).integers(1, 5, (90, 40)).astype(np.uint8)
    tiling, network = Tiling(16, 4), Context(4)
    expected = run([scene_of(image)], tiling, network, classes=4)[0]["scene"]
    good = [scene_of(image, name=name) for name in "ac"]
    scenes = [good[0], scene_of(image, name="b", broken_from=50), good[1]]
    maps, broken = run(scenes, tiling, network, classes=4, width=20)
    assert broken == ["b", "b"]  # both of its panels, when nobody says that it isn't wanted
    assert (maps["a"] == expected).all()
    assert (maps["c"] == expected).all()


def test_each_pixel_is_read_once_and_memory_does_not_grow_with_the_height():
    held = set()
    for height in (200, 2000):
        scene = scene_of(np.ones((height, 64), np.uint8))
        place = place_of(scene, Tiling(32, 8))
        panel = cut(scene, place, 32, classes=3, memory=1)[0]
        blender = blend.Blender(panel, 3, torch.device("cpu"))
        reader = PanelReader([HaloReader(scene, (), OpenScenes())], [])
        strip = Strip(reader, panel)
        most = 0
        for top in panel.rows:
            strip.advance(top, top + panel.size)
            most = max(most, strip.window(top, 0)[0].base.nbytes)
        held.add((blender.sums.numel(), most))
        assert READERS["scene"].pixels == height * 64
    assert len(held) == 1


def test_cut_keeps_to_the_memory_and_to_whole_blocks():
    scene = scene_of(np.ones((1, 1), np.uint8))
    scene = replace(scene, grid=grid(40_000, 40_000))
    tiling = Tiling(256, 64)
    place = place_of(scene, tiling)
    panels = cut(scene, place, 256, classes=10, memory=0.2)
    assert len(panels) > 1
    assert all(panel.left % 256 == 0 for panel in panels)
    assert [p.right for p in panels[:-1]] == [p.left for p in panels[1:]]
    assert (panels[0].left, panels[-1].right) == (0, 40_000)
    sums = max(4 * 10 * 256 * p.width for p in panels)
    assert sums < 0.2e9
    assert len(cut(scene, place, 256, classes=10, memory=4)) == 1
    with pytest.raises(InputError, match=r"predict\.memory"):
        cut(scene, place, 256, classes=10, memory=0.001)
    # What is said to be enough is.
    with pytest.raises(InputError, match="at least") as refused:
        cut(scene, place, 256, classes=10, memory=0.01)
    least = float(re.search(r"at least ([\d.]+) \(GB\)", str(refused.value))[1])
    assert cut(scene, place, 256, classes=10, memory=least)


def test_by_default_windows_of_many_bands_get_the_memory_that_they_need():
    few = scene_of(np.ones((1, 1), np.uint8))
    few = replace(few, grid=grid(40_000, 40_000))
    place = place_of(few, Tiling(512, 32))
    options = {"classes": 4, "memory": None}
    assert cut(few, place, 512, **options) == cut(few, place, 512, classes=4, memory=1.0)
    many = replace(few, bands=tuple(f"b{n}" for n in range(200)), dtype="float32")
    panels = cut(many, place, 512, **options)
    assert {panel.width for panel in panels[:-1]} == {256}
    with pytest.raises(InputError, match="too little for windows of 512 pixels"):
        cut(many, place, 512, classes=4, memory=1.0)
    most = replace(few, bands=tuple(f"b{n}" for n in range(2000)), dtype="float32")
    with pytest.raises(InputError, match=r"predict\.memory=4: too little"):
        cut(most, place, 512, **options)
