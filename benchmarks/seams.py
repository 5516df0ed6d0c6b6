"""Seams in real maps: how much more often classes change where windows meet than elsewhere.

    GEOSEG_REAL_DATA=<folder> python -m benchmarks.seams [--run <folder>] [--scenes …]

The same network sees the same windows; their probabilities become a map in four ways: geoseg's
blending, uniform averaging, hard cuts in the middle of the overlaps, and windows without overlap.
The figure is the share of neighbouring pixels of two classes across the lines where windows begin
or end (for hard cuts: where they were cut), over the same share elsewhere: 1 is a map without
seams. So that what happens to lie on the lines does not count as a seam, each scene is mapped
several times by windows that begin at other pixels; elsewhere are the same pixels in those of the
maps that have no line there ("over all others": all other pixels, ground like any other or not).
The control counts geoseg's map along lines amid its windows, where nothing happens.
To reach: 1.02.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import defaultdict
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks import alone, buildings
from benchmarks.precision import codes
from benchmarks.seam_ratio import Laid, Seams, borders, count, cuts, matched, pooled
from geoseg.geo import raster
from geoseg.geo.grid import Window
from geoseg.geo.legend import NODATA
from geoseg.geo.raster import Raster
from geoseg.geo.tiling import Tiling
from geoseg.outputs.summary import table
from geoseg.prediction.images import predict
from geoseg.prediction.network import InferenceSettings, TrainedNetwork
from geoseg.scenes.bands import scale

SCENES = ("kampala_1", "nairobi_0", "nairobi_1")
"""Those that take several windows each way."""
BATCH = 4
GOLDEN = (5**0.5 - 1) / 2
"""Its multiples spread evenly between 0 and 1 (the additive recurrence of quasi-random numbers)."""
TARGET = 1.02
GEOSEG, CONTROL, UNIFORM = "geoseg's blending", "control: inside windows", "uniform averaging"
CUT, TILED = "hard cuts in the overlaps", "hard cuts, no overlap"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    buildings.add_options(parser, SCENES)
    parser.add_argument("--offsets", type=int, default=16, help="places where the windows begin")
    parser.add_argument("--size", type=int, help="of the windows; by default as trained")
    parser.add_argument("--overlap", type=int, help="of the windows; by default as trained")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    run, scenes = buildings.chosen(parser, options, SCENES)
    network = TrainedNetwork.open(run, InferenceSettings(options.device))
    tiling = network.card.tiling
    if options.size is not None:
        tiling = Tiling(options.size)
    if options.overlap is not None:
        tiling = replace(tiling, overlap=options.overlap)
    same, plain = measure(network, scenes, tiling, options.offsets)
    print(f"{len(scenes)} scenes, {options.offsets} offsets, windows of {tiling.size} pixels that"
          f" share {tiling.overlap}, {alone.machine(alone.device_of(network))}")  # fmt: skip
    print(describe(same, plain))
    return int(not pooled(same[GEOSEG])[0] <= TARGET)


Counts = dict[str, list[Seams]]
"""Of every way to make a map, one for each scene and offset."""


def measure(
    network: TrainedNetwork, scenes: list[Path], tiling: Tiling, offsets: int
) -> tuple[Counts, Counts]:
    """Counts against the same pixels in other maps, and against all other pixels."""
    same: Counts = defaultdict(list)
    plain: Counts = defaultdict(list)
    for path in scenes:
        maps: dict[str, list[Laid]] = defaultdict(list)
        for crop in crops(path, tiling, offsets):
            with tempfile.TemporaryDirectory() as folder:
                for name, laid in map_crop(network, path, crop, tiling, Path(folder)).items():
                    maps[name].append(laid)
        for name, laids in maps.items():
            same[name] += matched(laids)
            plain[name] += [count(*laid) for laid in laids]
    return same, plain


def describe(same: Counts, plain: Counts) -> str:
    """The table of all ways."""
    lines = []
    for name in same:
        total, (ratio, error) = sum(same[name], Seams()), pooled(same[name])
        others, other_error = pooled(plain[name])
        lines.append(
            (name, f"{total.share_across:.3%}", f"{total.share_elsewhere:.3%}", total.pairs_across,
             f"{ratio:.3f} ± {error:.3f}", f"{others:.3f} ± {other_error:.3f}")
        )  # fmt: skip
    head = ("map", "across", "elsewhere", "pairs", "ratio", "over all others")
    return f"{table(head, lines)}\n  to reach by {GEOSEG}: {TARGET}"


def crops(path: Path, tiling: Tiling, offsets: int) -> list[Window]:
    """Parts of a scene, all of one size, that begin at other pixels: down and right in steps.

    They move over one step of the tiling, as far as scenes that are not much larger allow; so do
    all lines, since windows that end with the scene move too.
    """
    whole = raster.info(path).grid
    assert whole is not None
    step = tiling.size - tiling.overlap
    room = (min(step, (side - tiling.size) // 2) for side in (whole.height, whole.width))
    down, right = (max(0, amount) for amount in room)
    # Not along the diagonal, so that rows and columns are moved independently.
    shares = [(i / offsets, i * GOLDEN % 1) for i in range(offsets)]
    return [
        Window(int(down * y), int(right * x), whole.height - down, whole.width - right)
        for y, x in shares
    ]


def map_crop(
    network: TrainedNetwork, path: Path, crop: Window, tiling: Tiling, folder: Path
) -> dict[str, Laid]:
    """Maps of one part of a scene, laid on the whole scene's grid, with their lines."""
    scene, image, valid = cut_out(path, crop, folder)
    predict(network, scene, folder / "maps", tiling=tiling).raise_if_incomplete()
    ours = codes(folder / "maps", scene.stem).astype(np.int16)
    rows, columns = (tiling.starts(side) for side in valid.shape)
    size = tiling.size
    windows = probabilities(network, image, valid, tiling)
    averaged, joined = (combine(windows, rows, columns) for combine in (average, join))
    bare = replace(tiling, overlap=0)
    tops, lefts = (bare.starts(side) for side in valid.shape)
    tiled = join(probabilities(network, image, valid, bare), tops, lefts)
    where = borders(rows, size), borders(columns, size)
    inside = [start + size // 2 for start in rows], [start + size // 2 for start in columns]
    amid = cuts(rows, size), cuts(columns, size)
    grid = raster.info(path).grid
    assert grid is not None
    shape = grid.height, grid.width

    def lay(numbers: np.ndarray, lines: tuple[list[int], list[int]]) -> Laid:
        whole = np.full(shape, NODATA, np.int16)
        part = slice(crop.top, crop.top + crop.height), slice(crop.left, crop.left + crop.width)
        whole[part] = np.where(valid, numbers + 1, NODATA)  # codes or indices: all above nodata
        down, across = lines
        return whole, [line + crop.top for line in down], [line + crop.left for line in across]

    return {
        GEOSEG: lay(ours, where),
        CONTROL: lay(ours, inside),
        UNIFORM: lay(averaged, where),
        CUT: lay(joined, amid),
        TILED: lay(tiled, (cuts(tops, size), cuts(lefts, size))),
    }


def cut_out(path: Path, crop: Window, folder: Path) -> tuple[Path, np.ndarray, np.ndarray]:
    """A scene of its own of a part of a scene; its image (C, H, W) and valid (H, W)."""
    with Raster(path) as file:
        image, valid = file.read(crop)
        facts = raster.info(path)
        names = tuple(name or f"band_{i}" for i, name in enumerate(facts.names, 1))
        scene = folder / "scene.tif"
        with raster.create(
            scene, file.grid.crop(crop), dtype=facts.dtype, count=len(image),
            nodata=facts.nodata, names=names,
        ) as writer:  # fmt: skip
            writer.write(image, Window(0, 0, crop.height, crop.width))
    return scene, image, valid


@torch.inference_mode()
def probabilities(
    network: TrainedNetwork, image: np.ndarray, valid: np.ndarray, tiling: Tiling
) -> list[Tensor]:
    """What the network says of each window, row by row: (K, size, size) float32."""
    device, size = alone.device_of(network), tiling.size
    module = device.place(network.load())
    inputs = torch.from_numpy(scale(image, valid, network.card.statistics))
    places = [(y, x) for y in tiling.starts(len(valid)) for x in tiling.starts(valid.shape[1])]
    found: list[Tensor] = []
    with device.autocast():
        for start in range(0, len(places), BATCH):
            batch = torch.stack(
                [inputs[:, y : y + size, x : x + size] for y, x in places[start : start + BATCH]]
            )
            batch = batch.contiguous(memory_format=torch.channels_last).to(device.torch)
            found += module(batch).float().softmax(dim=1).cpu()
    return found


def average(windows: list[Tensor], rows: list[int], columns: list[int]) -> np.ndarray:
    """Indices (H, W) of the largest sums: every window counts the same."""
    size = windows[0].shape[-1]
    sums = torch.zeros(len(windows[0]), rows[-1] + size, columns[-1] + size)
    places = [(top, left) for top in rows for left in columns]
    for (top, left), window in zip(places, windows, strict=True):
        sums[:, top : top + size, left : left + size] += window
    # By how many windows a sum is divided does not change which class has the largest.
    return sums.argmax(dim=0).numpy()


def join(windows: list[Tensor], rows: list[int], columns: list[int]) -> np.ndarray:
    """Indices (H, W), each of the one window in whose part it lies; cut amid the overlaps."""
    size = windows[0].shape[-1]
    codes = np.zeros((rows[-1] + size, columns[-1] + size), np.int64)
    places = [(down, across) for down in parts(rows, size) for across in parts(columns, size)]
    for (down, across), window in zip(places, windows, strict=True):
        (y, top, bottom), (x, left, right) = down, across
        part = window[:, top - y : bottom - y, left - x : right - x]
        codes[top:bottom, left:right] = part.argmax(dim=0).numpy()
    return codes


def parts(starts: list[int], size: int) -> list[tuple[int, int, int]]:
    """Of each window of an axis: its start, and the start and end of the part that counts."""
    lines = [0, *cuts(starts, size), starts[-1] + size]
    return [(start, *ends) for start, ends in zip(starts, pairwise(lines), strict=True)]


if __name__ == "__main__":
    sys.exit(main())
