"""Farmland as Sentinel-2 sees it: fields of farms, what grows there, and what lies between them.

The plan is `countryside`'s, cut into blocks and fields; a pixel of ten metres then holds a share
of each surface that it meets.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy import sparse
from shapely.geometry import Polygon
from shapely.geometry.base import BaseGeometry
from shapely.ops import unary_union

from geoseg.demo.landscape import countryside
from geoseg.demo.landscape.ground import PIXEL_M, fill
from geoseg.demo.landscape.land import Floats, Landscape, Parcel, Warp, Waves, blob
from geoseg.demo.landscape.plants import stretched

UNIT_M = 1.25
"""Metres of one metre of the plan: fields here are larger than those seen from a plane."""
GSD_M = 10.0
FINE = 4
"""Parts into which a pixel is cut along each side to see what it holds."""
SHARES = {
    "sugar beet": 0.08,
    "potato": 0.05,
    "rapeseed": 0.11,
    "winter barley": 0.13,
    "grassland": 0.21,
    "maize": 0.17,
    "winter wheat": 0.25,
}
"""Of all fields; the crops that choose their ground first, first."""
GROVES = 0.03
"""Share of parcels that are planted with trees."""
FIELD_M2 = 1500.0
"""Land less than this is not declared."""
WOODS, STANDS = 7, 3
"""Woods of a tile, and stands that make one."""
FARM_FIELDS = 24
BUILT = {"red roof": 0.14, "dark roof": 0.10, "hall": 0.01, "asphalt": 0.15, "garden": 0.60}
"""What villages are made of."""
OTHERS = ("garden", "asphalt", "gravel", "river", "lake", "red roof", "dark roof", "hall")


@dataclass(frozen=True)
class Farmland:
    """One tile of farmland; x east and y south in metres from its upper left corner."""

    size: int
    """Height and width in pixels."""
    fields: list[Polygon]
    crops: list[str]
    farms: NDArray[np.int64]
    """Number of the farm that works each field."""
    kinds: list[str]
    """What grows or lies on each surface: the fields first, then woods, then `OTHERS`."""
    places: Floats
    """Centres of the surfaces (N, 2)."""
    shares: sparse.csr_array
    """Of each surface in each pixel (size * size, N)."""


def make(seed: int, name: str, size: int) -> Farmland:
    """Plan a tile of size × size pixels; the same seed and name give the same one."""

    def rng(part: str) -> np.random.Generator:
        return np.random.default_rng([seed, *f"{name} {part}".encode()])

    side = size * GSD_M / UNIT_M
    land = Landscape(side, side, Warp(rng("warp")), Waves(rng("moisture"), (250, 1500)))
    land.warp.steps = 6  # to a centimetre
    countryside.cut(land, rng("cut"))
    countryside.water(land, rng("water"))
    _settle(land, rng("villages"))
    _wood(land, rng("woods"))
    _clear(land)
    sown, farms = _sow(land, rng("crops"))
    outlines, kinds = _surfaces(land, sown, rng("stands"))
    centres = shapely.get_coordinates(shapely.centroid(outlines))
    middle = np.full((len(OTHERS), 2), side / 2)
    return Farmland(
        size=size,
        fields=[shapely.transform(parcel.outline, lambda xy: xy * UNIT_M) for parcel in sown],
        crops=[parcel.use for parcel in sown],
        farms=farms,
        kinds=[*kinds, *OTHERS],
        places=np.vstack([centres, middle]) * UNIT_M,
        shares=_survey(land, outlines, size, rng=rng("survey"), first_wood=len(sown)),
    )


def _settle(land: Landscape, rng: np.random.Generator) -> None:
    """Villages where main roads end, which is where they meet others; farms at fields' corners."""
    ends = [np.array(road.line.coords[0]) for road in land.roads if road.kind != "track"]
    ends = [end for end in ends if 0 < end[0] < land.width and 0 < end[1] < land.height]
    chosen: list[Floats] = []
    for end in ends:
        if all(np.hypot(*(end - other)) > 0.3 * land.width for other in chosen):
            chosen.append(end)
            land.villages.append(blob(end, land.width * rng.uniform(0.035, 0.075), rng))
    for i in rng.integers(0, len(land.parcels), round(land.width * land.height / 2.5e5)):
        place = land.warp.ground(land.parcels[i].corners[:1])[0]
        land.villages.append(blob(place, rng.uniform(22, 45), rng))


def _clear(land: Landscape) -> None:
    """Take from the fields what roads, water and villages claim, and a margin."""
    claims = [road.line.buffer(road.width_m / 2 + 1) for road in land.roads]
    claims += [shape.buffer(3) for _, shape in land.waters] + land.villages + land.woods
    tree = shapely.STRtree(claims)
    for parcel in land.parcels:
        near = [claims[i] for i in tree.query(parcel.outline, predicate="intersects")]
        left = shapely.simplify(parcel.outline.difference(shapely.union_all(near)), 0.4)
        parcel.outline = _largest(left.buffer(-1, join_style="mitre"))


def _largest(shape: BaseGeometry) -> BaseGeometry:
    parts = getattr(shape, "geoms", [shape])
    return max(parts, key=lambda part: part.area) if len(parts) else Polygon()


def _wood(land: Landscape, rng: np.random.Generator) -> None:
    """Woods with bays, each of several stands, and a few parcels planted with trees."""
    side = land.width
    spots = rng.uniform(0, side, (200, 2))
    taken = unary_union(land.villages)
    for _ in range(WOODS):
        room = shapely.distance(shapely.points(spots), taken)
        spot = spots[
            int(np.argmax(np.minimum(room, 0.18 * side) + rng.uniform(0, 0.05, 200) * side))
        ]
        size = side * rng.uniform(0.05, 0.10)
        near = [spot + rng.normal(0, 0.4 * size, 2) for _ in range(STANDS - 1)]
        land.woods += [stretched(blob(at, size, rng, 0.8), rng) for at in (spot, *near)]
        taken = taken.union(land.woods[-STANDS])
    for i in rng.integers(0, len(land.parcels), round(GROVES * len(land.parcels))):
        land.parcels[i].use = "wood"


def _centres(parcels: list[Parcel]) -> Floats:
    return np.array([parcel.corners.mean(axis=0) for parcel in parcels])


def _sow(land: Landscape, rng: np.random.Generator) -> tuple[list[Parcel], NDArray[np.int64]]:
    """Farms and their crops: cattle and grass where it is wet, beet and potatoes where it is dry.

    Returns: the parcels that are declared, and the farm of each.
    """
    extent = shapely.box(0, 0, land.width, land.height)
    sown = [
        parcel
        for parcel in land.parcels
        if parcel.use != "wood"
        and parcel.outline.area * UNIT_M**2 > FIELD_M2
        and extent.contains(parcel.outline.representative_point())
    ]
    n, centres = len(sown), _centres(sown)
    farms = _farms(centres, rng)
    wet = land.moisture.at(centres)
    cattle = 0.8 * rng.standard_normal(farms.max() + 1)[farms] + 0.6 * wet
    liking = {
        "grassland": 1.6 * wet + 0.9 * cattle,
        "maize": 0.9 * cattle,
        "sugar beet": -0.8 * wet - 0.6 * cattle,
        "potato": -0.9 * wet - 0.8 * cattle,
    }
    crops = np.full(n, "", object)
    for crop, share in SHARES.items():
        score = np.where(crops == "", liking.get(crop, 0.0) + rng.gumbel(size=n), -np.inf)
        crops[np.argsort(-score)[: max(2, round(share * n))]] = crop
    crops[crops == ""] = crop  # what rounding left
    for parcel, crop in zip(sown, crops.tolist(), strict=True):
        parcel.use = crop
    return sown, farms


def _farms(centres: Floats, rng: np.random.Generator) -> NDArray[np.int64]:
    """Which farm works each field: mostly one that is near."""
    count = max(2, round(len(centres) / FARM_FIELDS))
    yards = centres[rng.choice(len(centres), count, replace=False)]
    away = np.hypot(*(centres[:, None] - yards).transpose(2, 0, 1))
    return np.asarray(np.argmin(away * rng.uniform(0.55, 1.0, away.shape), axis=1))


def _surfaces(
    land: Landscape, sown: list[Parcel], rng: np.random.Generator
) -> tuple[list[BaseGeometry], list[str]]:
    """Outlines and kinds of what has a season: fields, then woods."""
    planted = [parcel.outline for parcel in land.parcels if parcel.use == "wood"]
    woods = [shape for shape in planted if not shape.is_empty] + land.woods
    trees = ["conifer" if rng.random() < 0.4 else "broadleaf" for _ in woods]
    return [parcel.outline for parcel in sown] + woods, [parcel.use for parcel in sown] + trees


def _survey(
    land: Landscape,
    outlines: list[BaseGeometry],
    size: int,
    *,
    first_wood: int,
    rng: np.random.Generator,
) -> sparse.csr_array:
    """How much of each surface every pixel holds (size * size, N)."""
    other = {kind: len(outlines) + i for i, kind in enumerate(OTHERS)}
    fine = np.full((size * FINE, size * FINE), other["garden"], np.int32)
    for i, shape in enumerate(outlines):
        _draw(fine, shape, i)
    for hedge in land.hedges:
        _draw(fine, hedge.buffer(2.5), int(rng.integers(first_wood, len(outlines))))
    for road in land.roads:
        kind = "gravel" if road.kind == "track" else "asphalt"
        _draw(fine, road.line.buffer(road.width_m / 2), other[kind])
    houses = _houses(fine.shape, other, rng)
    for village in land.villages:
        _draw(fine, village, houses)
    for kind, shape in land.waters:
        _draw(fine, shape, other["lake" if kind == "lake" else "river"])
    pixel = np.arange(size * FINE) // FINE
    rows = (pixel[:, None] * size + pixel).ravel()
    parts = np.full(rows.size, 1 / FINE**2, np.float32)
    shape = (size * size, len(outlines) + len(OTHERS))
    return sparse.coo_array((parts, (rows, fine.ravel())), shape=shape).tocsr()


def _houses(
    shape: tuple[int, int], other: dict[str, int], rng: np.random.Generator
) -> NDArray[np.int32]:
    """Roofs, yards and gardens, in blocks as large as houses, over a whole tile (h, w)."""
    codes = np.array([other[kind] for kind in BUILT], np.int32)
    size = (shape[0] // 3 + 1, shape[1] // 3 + 1)
    blocks = rng.choice(codes, size, p=list(BUILT.values()))
    return np.kron(blocks, np.ones((3, 3), np.int32))[: shape[0], : shape[1]].astype(np.int32)


def _draw(fine: NDArray[np.int32], shape: BaseGeometry, code: int | NDArray[np.int32]) -> None:
    """Write a code, or an array of them, where the centres of the fine pixels lie in a shape."""
    if shape.is_empty:
        return
    scale = UNIT_M / (GSD_M / FINE)
    left, top, right, bottom = (value * scale for value in shape.bounds)
    rows = slice(max(0, int(top)), min(fine.shape[0], int(bottom) + 2))
    columns = slice(max(0, int(left)), min(fine.shape[1], int(right) + 2))
    if rows.stop <= rows.start or columns.stop <= columns.start:
        return
    origin = ((columns.start + 0.5) * PIXEL_M, (rows.start + 0.5) * PIXEL_M)
    size = (rows.stop - rows.start, columns.stop - columns.start)
    inside = fill(shapely.transform(shape, lambda xy: xy * scale * PIXEL_M), origin, size)
    part = fine[rows, columns]
    part[inside] = code if isinstance(code, int) else code[rows, columns][inside]
