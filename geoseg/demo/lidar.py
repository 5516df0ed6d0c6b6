"""Scan the demo's landscape: LiDAR points whose classes are known."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import laspy
import numpy as np
import pyproj
from numpy.typing import NDArray

from geoseg.demo.landscape.ground import PIXEL_M, Ground
from geoseg.demo.landscape.land import Landscape, Waves
from geoseg.outputs.files import replacing

PULSES = 4.0
"""Per m²."""
GROUND, TREE, HOUSE, WATER, NOISE, OTHER = 2, 5, 6, 9, 18, 1
"""Classes of ASPRS."""
RELIEF_M = 7.0
"""Deviation of the terrain's height."""
BASE_M = 310.0
ACCURACY_M = 0.03
THROUGH = 0.45
"""Share of the pulses on trees that reach the ground as well."""
SWALLOWED = 0.8
"""Share of the pulses on water that do not come back."""
LOWEST_TREE_M = 1.0
FLOWN = date(2024, 6, 1)


def terrain(seed: int, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Height (N,) of the bare ground in metres at places in metres from the landscape's corner."""
    waves = Waves(np.random.default_rng([seed, 4711]), (250, 1600))
    return BASE_M + RELIEF_M * waves.at(np.column_stack([x, y]))


def scan(ground: Ground, land: Landscape, *, margin: int, seed: int) -> dict[str, np.ndarray]:
    """Points over a painted window: x, y (metres from the landscape's corner), z, code and more.

    margin: pixels around the window that are left out.
    """
    place = ground.window.top + 100_000, ground.window.left + 100_000  # never negative
    rng = np.random.default_rng([seed, 815, *place])
    kinds = _kinds(ground, land)
    height, width = ground.window.height - 2 * margin, ground.window.width - 2 * margin
    count = int(height * width * PIXEL_M**2 * PULSES)
    down, across = rng.uniform(0, height, count), rng.uniform(0, width, count)
    row, column = down.astype(int) + margin, across.astype(int) + margin
    x, y = ground.x[margin] + (across - 0.5) * PIXEL_M, ground.y[margin] + (down - 0.5) * PIXEL_M
    code, rise = kinds[row, column], ground.height[row, column].astype(float)
    bare = terrain(seed, x, y)
    tree = code == TREE
    rise[tree] = np.maximum(rise[tree] - np.abs(rng.normal(0, 0.4, int(tree.sum()))), 0.3)
    noise = rng.random(count) < 5e-5
    code, rise = np.where(noise, NOISE, code), np.where(noise, rise + rng.uniform(30, 80), rise)
    kept = (code != WATER) | (rng.random(count) > SWALLOWED)
    twice = (code == TREE) & (rng.random(count) < THROUGH)
    light = np.clip(ground.albedo[3][row, column] * 5e4, 0, 65535)
    first = {
        "x": x, "y": y, "z": bare + rise, "code": code, "intensity": light,
        "number": np.ones(count), "returns": np.where(twice, 2, 1),
    }  # fmt: skip
    last = {name: values[twice] for name, values in first.items()}
    last |= {"z": bare[twice], "code": np.full(int(twice.sum()), GROUND)}
    last |= {"number": np.full(int(twice.sum()), 2), "intensity": 0.4 * last["intensity"]}
    points = {k: np.concatenate([first[k][kept], last[k]]) for k in first}
    points["z"] = points["z"] + rng.normal(0, ACCURACY_M, len(points["z"]))
    return points


def _kinds(ground: Ground, land: Landscape) -> NDArray[np.int64]:
    """Class (h, w) of what a pulse meets first."""
    kinds = np.where(ground.height > LOWEST_TREE_M, TREE, OTHER)
    kinds[ground.height <= 0] = GROUND
    for _, shape in land.waters:
        found = ground.inside(shape)
        if found is not None:
            spot, mask = found
            kinds[spot][mask & (ground.height[spot] <= 0)] = WATER
    for house in land.houses:
        found = ground.inside(house.outline)
        if found is not None:
            spot, mask = found
            kinds[spot][mask & (ground.height[spot] > 0)] = HOUSE
    return kinds


def write(
    points: dict[str, np.ndarray], path: Path, *, crs: str, corner: tuple[float, float]
) -> None:
    """Write points as LAZ. corner: east and north of the landscape's upper left corner."""
    header = laspy.LasHeader(point_format=6, version="1.4")
    header.add_crs(pyproj.CRS.from_user_input(crs))
    header.creation_date = FLOWN
    header.offsets = np.array([*corner, 0.0])
    header.scales = np.full(3, 0.001)
    cloud = laspy.LasData(header)
    cloud.x, cloud.y, cloud.z = corner[0] + points["x"], corner[1] - points["y"], points["z"]
    cloud.classification = points["code"].astype(np.uint8)
    cloud.intensity = points["intensity"].astype(np.uint16)
    cloud.return_number = points["number"].astype(np.uint8)
    cloud.number_of_returns = points["returns"].astype(np.uint8)
    with replacing(path) as temporary, temporary.open("wb") as file:
        cloud.write(file, do_compress=True)
