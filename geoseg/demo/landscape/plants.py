"""What grows where: uses of the parcels, then trees one by one."""

from __future__ import annotations

import numpy as np
import shapely.affinity
from shapely.geometry import LineString, MultiPolygon, Polygon
from shapely.geometry.base import BaseGeometry
from shapely.ops import unary_union

from geoseg.demo.landscape.land import CROPS, MEADOWS, Floats, Landscape, Trees, Waves, blob


def sow(land: Landscape, rng: np.random.Generator) -> None:
    """Uses of the parcels: by rank in smooth fields, so that every world has its share of each."""
    centres = np.array([parcel.outline.centroid.coords[0] for parcel in land.parcels])
    wooded = Waves(rng, (350, 1200)).at(centres) + 0.35 * rng.standard_normal(len(centres))
    settled = unary_union(land.villages)
    shapely.prepare(settled)
    for i, parcel in enumerate(land.parcels):
        if settled.distance(parcel.outline.centroid) < 15 or parcel.outline.intersects(land.bank):
            wooded[i] -= 9
    order = np.argsort(-wooded)
    woods = set(order[: max(1, round(0.17 * len(order)))].tolist())
    wet = land.moisture.at(centres) + 0.5 * rng.standard_normal(len(centres))
    wet += 1.2 * shapely.intersects(land.bank, [p.outline for p in land.parcels])
    open_land = [i for i in np.argsort(-wet).tolist() if i not in woods]
    pastures = set(open_land[: round(0.34 * len(open_land))])
    turn = rng.permutation(len(CROPS))
    claimed = unary_union([settled, land.bank])
    for i, parcel in enumerate(land.parcels):
        parcel.outline = parcel.outline.difference(claimed)
        if i in woods:
            parcel.use = "wood"
        elif i in pastures:
            parcel.use = MEADOWS[parcel.code % len(MEADOWS)]
        else:
            parcel.use = CROPS[turn[int(rng.integers(len(CROPS)))]]
    count = max(1, round(land.width * land.height / 2.2e5))
    fields = [land.parcels[i] for i in open_land]
    for _ in range(count):  # copses and woods that grew over the borders of fields
        corners = land.warp.ground(fields[int(rng.integers(len(fields)))].corners)
        corner = corners[int(rng.integers(len(corners)))]
        size = rng.uniform(14, 60) if rng.random() < 0.8 else rng.uniform(60, 100)
        wood = (
            stretched(blob(corner, size, rng, 0.8), rng)
            .difference(settled.buffer(6))
            .difference(land.bank)
        )
        land.woods += [p for p in getattr(wood, "geoms", [wood]) if p.area > 150]


def plant(land: Landscape, rng: np.random.Generator) -> None:
    """Trees of woods, hedges, gardens and so on, but not on roads, water and houses."""
    woods = [
        (p.outline, p.code % 3) for p in land.parcels if p.use == "wood" and p.outline.area > 1
    ]
    woods += [(shape, int(rng.integers(3))) for shape in land.woods]
    groups = [_stand(shape, kind, rng) for shape, kind in woods]
    groups += [_along(hedge, 2.6, 0.5, (1.3, 2.2), rng) for hedge in land.hedges]
    for plot, _ in land.plots:
        if rng.random() < 0.5:  # a hedge around the garden
            groups.append(_along(plot.exterior, 1.7, 0.2, (0.7, 1.2), rng))
    single = _single_trees(land, rng)
    rows = np.vstack([*groups, single])
    alone = np.arange(len(rows)) >= len(rows) - len(single)
    blocked = [road.line.buffer(road.width_m / 2 + 0.8) for road in land.roads]
    blocked += [shape.buffer(0.3) for _, shape in land.waters]
    blocked += [house.outline.buffer(2.2) for house in land.houses] + land.yards
    solid = unary_union(blocked)
    shapely.prepare(solid)
    free = ~shapely.contains_xy(solid, rows[:, 0], rows[:, 1])
    rows, alone = rows[free], alone[free]
    x, y, radius, height, conifer = rows.T
    tint = rng.standard_normal(len(rows))
    land.trees = Trees(x, y, radius, height, conifer > 0.5, tint)
    discs = shapely.buffer(shapely.points(x, y)[alone], radius[alone], quad_segs=3)
    land.crowns = list(getattr(unary_union(discs), "geoms", []))


def _single_trees(land: Landscape, rng: np.random.Generator) -> Floats:
    """Trees (N, 5) of roadsides, shores, gardens and pastures."""
    groups = [np.zeros((0, 5))]
    for road in land.roads:
        if road.kind in ("main", "minor") and rng.random() < 0.35:
            for side in (-1, 1):
                row = road.line.offset_curve(side * (road.width_m / 2 + 3.5))
                groups.append(_along(row, 11, 0.6, (2.4, 3.6), rng))
    for kind, shape in land.waters:
        for ring in _rings(shape.buffer(3.2 if kind != "brook" else 1.6)):
            dense = _along(ring, 5.5, 1.6, (1.6, 3.9), rng)
            groups.append(dense[rng.random(len(dense)) < 0.45])
    groups += [_scatter(village, 260, (1.2, 3.6), rng) for village in land.villages]
    pastures = [parcel for parcel in land.parcels if parcel.use == "pasture"]
    groups += [_scatter(parcel.outline, 2500, (2.2, 4.5), rng) for parcel in pastures]
    return np.vstack(groups)


def _stand(shape: BaseGeometry, kind: int, rng: np.random.Generator) -> Floats:
    """Trees of a wood (N, 5: x, y, radius, height, conifer): 0 broadleaf, 1 conifer, 2 mixed."""
    step = (5.4, 4.3, 4.9)[kind]
    left, top, right, bottom = shape.bounds
    x, y = np.meshgrid(np.arange(left, right, step), np.arange(top, bottom, step * 0.87))
    x[1::2] += step / 2
    jitter = step * (0.42 if kind != 1 else 0.22)
    spots = np.column_stack([x.ravel(), y.ravel()]) + rng.uniform(-jitter, jitter, (x.size, 2))
    shapely.prepare(shape)
    spots = spots[shapely.contains_xy(shape, spots[:, 0], spots[:, 1])]
    n = len(spots)
    conifer = rng.random(n) < (0.03, 0.97, 0.4)[kind]
    radius = np.where(conifer, rng.uniform(1.7, 2.7, n), rng.uniform(2.4, 4.4, n))
    age = rng.uniform(0.6, 1.1)
    height = age * np.where(conifer, rng.uniform(14, 20, n), rng.uniform(9, 17, n))
    return np.column_stack([spots, radius, height, conifer])


def _along(
    line: BaseGeometry,
    step: float,
    jitter: float,
    radii: tuple[float, float],
    rng: np.random.Generator,
) -> Floats:
    if line.is_empty or line.length < step:
        return np.zeros((0, 5))
    at = np.arange(step / 2, line.length, step)
    at = at + rng.uniform(-0.2, 0.2, len(at)) * step
    spots = shapely.get_coordinates(shapely.line_interpolate_point(line, at))
    return _crowns(spots + rng.normal(0, jitter, spots.shape), radii, rng)


def _scatter(
    shape: BaseGeometry, per_m2: float, radii: tuple[float, float], rng: np.random.Generator
) -> Floats:
    if shape.is_empty:
        return np.zeros((0, 5))
    left, top, right, bottom = shape.bounds
    n = int((right - left) * (bottom - top) / per_m2)
    spots = rng.uniform((left, top), (right, bottom), (n, 2))
    return _crowns(spots[shapely.contains_xy(shape, spots[:, 0], spots[:, 1])], radii, rng)


def _crowns(spots: Floats, radii: tuple[float, float], rng: np.random.Generator) -> Floats:
    radius = rng.uniform(*radii, len(spots))
    height = radius * rng.uniform(1.5, 2.6, len(spots))
    return np.column_stack([spots, radius, height, rng.random(len(spots)) < 0.12])


def _rings(shape: BaseGeometry) -> list[LineString]:
    parts = shape.geoms if isinstance(shape, MultiPolygon) else [shape]
    return [LineString(ring.coords) for part in parts for ring in (part.exterior, *part.interiors)]


def stretched(shape: Polygon, rng: np.random.Generator) -> Polygon:
    longer = shapely.affinity.scale(shape, rng.uniform(1.0, 1.9), rng.uniform(0.7, 1.0))
    return shapely.affinity.rotate(longer, rng.uniform(0, 180))
