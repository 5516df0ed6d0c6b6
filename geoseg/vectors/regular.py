"""Give outlines of buildings square corners."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import shapely

SHORTEST = 2.5
"""Pixels below which a wall counts as noise of the outline."""
LIKE = 0.75
"""Least intersection over union with the outline as it was; else that one is kept."""
GAIN = 0.02
"""By how much a shape of more corners must be the better one to be taken."""


@dataclass(frozen=True)
class _Wall:
    """A side of a building that is parallel to one of its two axes."""

    level: bool
    """Along the first axis."""
    at: float
    """Its place on the other axis."""
    length: float


def squared(polygon: shapely.Polygon, pixel: float) -> shapely.Polygon | None:
    """The polygon with corners of 90 degrees, in metres on a plane; None if none is like it.

    pixel: side of a pixel in metres. The direction is that of the outline's edges, by their
    squared lengths, or of the smallest rectangle around it, whichever fits better.
    """
    simple = polygon.simplify(pixel)
    best, like = None, LIKE
    rectangle = polygon.minimum_rotated_rectangle
    for angle in dict.fromkeys((_direction(rectangle), _direction(simple))):
        made = _rebuilt(simple, angle, pixel)
        if made is None:
            continue
        score = _likeness(made, polygon)
        margin = 0.0 if best is None or _corners(made) <= _corners(best) else GAIN
        if score >= like + margin:
            best, like = made, score
    return best


def _corners(polygon: shapely.Polygon) -> int:
    return int(shapely.get_num_coordinates(polygon))


def _likeness(a: shapely.Polygon, b: shapely.Polygon) -> float:
    """Intersection over union."""
    both = a.intersection(b).area
    return float(both / (a.area + b.area - both))


def _direction(polygon: shapely.Polygon) -> float:
    """Direction of the edges in radians, modulo 90 degrees."""
    dx, dy = np.diff(shapely.get_coordinates(polygon.exterior), axis=0).T
    angle, weight = 4 * np.arctan2(dy, dx), dx**2 + dy**2
    return math.atan2((weight * np.sin(angle)).sum(), (weight * np.cos(angle)).sum()) / 4


def _rebuilt(polygon: shapely.Polygon, angle: float, pixel: float) -> shapely.Polygon | None:
    turn = np.array(((math.cos(angle), math.sin(angle)), (-math.sin(angle), math.cos(angle))))
    rings = []
    for ring in (polygon.exterior, *polygon.interiors):
        corners = _square(shapely.get_coordinates(ring) @ turn.T, SHORTEST * pixel)
        if corners is not None:
            rings.append(corners @ turn)
        elif ring is polygon.exterior or not rings:
            return None  # a hole that is too small to have walls is dropped
    made = shapely.Polygon(rings[0], rings[1:])
    return made if made.is_valid and made.area > 0 else None


def _square(ring: np.ndarray, shortest: float) -> np.ndarray | None:
    """Corners (2N, 2) of a closed ring (M, 2) whose walls are parallel to the axes."""
    walls = _walls(ring)
    while len(walls) > 4:
        extents = [abs(walls[i - 1].at - walls[(i + 1) % len(walls)].at) for i in range(len(walls))]
        index = extents.index(min(extents))
        if extents[index] >= shortest:
            break
        walls = _without(walls, index)
    if len(walls) < 4 or len(walls) % 2:
        return None
    corners = []
    for one, other in zip(walls, [*walls[1:], walls[0]], strict=True):
        corners.append((other.at, one.at) if one.level else (one.at, other.at))
    return np.array(corners)


def _walls(ring: np.ndarray) -> list[_Wall]:
    """Neighbouring edges of about one direction are one wall."""
    moves, middles = np.diff(ring, axis=0), (ring[1:] + ring[:-1]) / 2
    level = np.abs(moves[:, 0]) >= np.abs(moves[:, 1])
    changes = np.flatnonzero(level != np.roll(level, 1))
    if len(changes) < 4:
        return []
    walls = []
    for begin, end in zip(changes, [*changes[1:], changes[0] + len(level)], strict=True):
        index = np.arange(begin, end) % len(level)
        flat = bool(level[begin])
        lengths = np.abs(moves[index, 0 if flat else 1])
        at = np.average(middles[index, 1 if flat else 0], weights=lengths + 1e-12)
        walls.append(_Wall(flat, float(at), float(lengths.sum())))
    return walls


def _without(walls: list[_Wall], index: int) -> list[_Wall]:
    """Leave a wall out: the two beside it, which are parallel, become one."""
    count = len(walls)
    a, b = walls[index - 1], walls[(index + 1) % count]
    total = a.length + b.length
    joined = _Wall(a.level, (a.at * a.length + b.at * b.length) / max(total, 1e-12), total)
    gone = {(index - 1) % count, index, (index + 1) % count}
    rest = [
        walls[(index + 2 + i) % count] for i in range(count) if (index + 2 + i) % count not in gone
    ]
    return [joined, *rest]
