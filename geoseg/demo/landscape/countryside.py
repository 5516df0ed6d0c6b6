"""How a landscape comes about: cuts that make parcels and roads, then water, and what follows.

Each step draws from its own random stream, so that a change of one leaves the others as they are.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import shapely
from shapely.geometry import LineString, Polygon
from shapely.geometry.base import BaseGeometry
from shapely.ops import unary_union

from geoseg.demo.landscape.land import MARGIN_M, Floats, Landscape, Parcel, Road, Warp, Waves, blob
from geoseg.demo.landscape.plants import plant, sow
from geoseg.demo.landscape.villages import settle


def make(seed: int, width: float, height: float) -> Landscape:
    """Make a landscape of width × height metres; the same seed gives the same one."""
    rng = _streams(seed)
    land = Landscape(width, height, Warp(rng("warp")), Waves(rng("moisture"), (90, 700)))
    cut(land, rng("cut"))
    water(land, rng("water"))
    settle(land, rng("villages"))
    sow(land, rng("uses"))
    plant(land, rng("trees"))
    return land


def _streams(seed: int) -> Callable[[str], np.random.Generator]:
    return lambda name: np.random.default_rng([seed, *name.encode()])


def cut(land: Landscape, rng: np.random.Generator) -> None:
    """Cut the plane into blocks along roads, and the blocks into parcels."""
    far = MARGIN_M + 90
    whole = np.array(
        [
            (-far, -far),
            (land.width + far, -far),
            (land.width + far, land.height + far),
            (-far, land.height + far),
        ]
    )
    blocks: list[Floats] = []
    # Small worlds (tests) get small fields, so that each still has every class.
    scale = min(1.0, math.sqrt(land.width * land.height / 2.0e6))
    queue = [(whole, 0)]
    while queue:
        corners, level = queue.pop(0)
        if _area(corners) < rng.uniform(7e4, 15e4) * scale:
            blocks.append(corners)
            continue
        first, second, chord = _split(corners, _long_axis(corners) + rng.normal(0, 0.12), rng)
        queue += [(first, level + 1), (second, level + 1)]
        kind = "main" if level < 2 else "minor" if level < 5 and rng.random() < 0.7 else "track"
        land.roads.append(Road(LineString(land.warp.line(chord)), kind))
    for block in blocks:
        _cut_block(land, block, rng, scale)


def _cut_block(land: Landscape, block: Floats, rng: np.random.Generator, scale: float) -> None:
    target = rng.uniform(0.6e4, 2.6e4) * scale
    # Half the blocks are strips, as after generations of inheritance; the others are squarish.
    strips = rng.random() < 0.5
    along = _long_axis(block)
    queue = [block]
    while queue:
        corners = queue.pop()
        if _area(corners) < target * rng.uniform(0.8, 1.9):
            code = int(rng.integers(1 << 30))
            land.parcels.append(Parcel(corners, land.warp.ring(corners), code=code))
            continue
        axis = along if strips else _long_axis(corners)
        first, second, chord = _split(corners, axis + rng.normal(0, 0.035), rng)
        queue += [first, second]
        if rng.random() < 0.22:
            hedge = land.warp.line(chord + 0.03 * (chord[::-1] - chord))
            land.hedges.append(LineString(hedge))


def _area(corners: Floats) -> float:
    x, y = corners.T
    return 0.5 * abs(float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))))


def _long_axis(corners: Floats) -> float:
    """Direction of a convex polygon's longest edge, or across it if the polygon is wider so."""
    edges = np.roll(corners, -1, axis=0) - corners
    longest = edges[np.argmax(np.hypot(*edges.T))]
    along = math.atan2(longest[1], longest[0])
    spread = corners @ np.array([math.cos(along), math.sin(along)])
    across = corners @ np.array([-math.sin(along), math.cos(along)])
    return along + math.pi / 2 if np.ptp(across) > np.ptp(spread) else along


def _split(
    corners: Floats, angle: float, rng: np.random.Generator
) -> tuple[Floats, Floats, Floats]:
    """Cut a convex polygon at right angles to `angle`; returns both parts and the cut (2, 2)."""
    normal = np.array([math.cos(angle), math.sin(angle)])
    side = corners @ normal
    level = side.min() + np.ptp(side) * rng.uniform(0.36, 0.64)
    side = side - level
    crossings: list[Floats] = []
    parts: tuple[list[Floats], list[Floats]] = ([], [])
    for i in range(len(corners)):
        a, b = corners[i], corners[(i + 1) % len(corners)]
        parts[int(side[i] > 0)].append(a)
        after = side[(i + 1) % len(corners)]
        if (side[i] > 0) != (after > 0):
            point = a + (b - a) * side[i] / (side[i] - after)
            crossings.append(point)
            parts[0].append(point)
            parts[1].append(point)
    return np.array(parts[0]), np.array(parts[1]), np.array(crossings[:2])


def water(land: Landscape, rng: np.random.Generator) -> None:
    """A river from west to east, a brook that joins it, lakes that keep clear of roads."""
    w, h = land.width, land.height
    x = np.arange(-MARGIN_M - 40, w + MARGIN_M + 40, 6.0)
    bends = Waves(rng, (160, 420), count=6)
    y = h * (0.24 + 0.20 * x / w) + 22 * bends.at(np.column_stack([x, np.full_like(x, 7.0)]))
    river = LineString(np.column_stack([x, y]))
    widths = 7 + 1.3 * Waves(rng, (40, 200), count=6).at(np.column_stack([x, y]))
    land.waters.append(("river", _ribbon(river, widths)))
    mouth = np.array(river.interpolate(river.length * 0.36).coords[0])
    source = np.array([w * 0.05, h + MARGIN_M + 40])
    t = np.linspace(0, 1, max(8, int(h / 8)))[:, None]
    bed = source + (mouth - source) * t
    bed[:, 0] += 16 * np.sin(np.pi * t[:, 0]) * bends.at(bed[:, ::-1])
    brook = LineString(bed)
    land.waters.append(("brook", brook.buffer(1.7)))
    near = unary_union([road.line for road in land.roads] + [river.buffer(12), brook])
    for place in ((0.315, 0.72), (0.80, 0.30), (0.56, 0.86), (0.12, 0.14)):
        lake = _lake(np.array(place) * (w, h), near, rng)
        if lake is not None:
            land.waters.append(("lake", lake))
    land.bank = unary_union([river.buffer(17), brook.buffer(6)])


def _ribbon(line: LineString, half_widths: Floats) -> BaseGeometry:
    pieces = zip(shapely.points(np.array(line.coords)), half_widths, strict=True)
    discs = [point.buffer(max(3.0, float(width))) for point, width in pieces]
    hulls = [unary_union([a, b]).convex_hull for a, b in itertools.pairwise(discs)]
    return unary_union(hulls)


def _lake(place: Floats, others: BaseGeometry, rng: np.random.Generator) -> Polygon | None:
    """A lake near a point, where it is farthest from roads and other water."""
    spots = place + rng.uniform(-130, 130, (60, 2))
    room = shapely.distance(shapely.points(spots), others)
    best = int(np.argmax(room))
    radius = min(float(room[best]) - 22, 75.0)
    return blob(spots[best], radius, rng) if radius > 12 else None
