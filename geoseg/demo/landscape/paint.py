"""How the ground looks: reflectance (red, green, blue, nir) and heights, painted layer upon layer.

The ground is painted once for all scenes (texture is anchored to it), so that two scenes of one
place differ only in what differs between two flights.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy import ndimage

from geoseg.demo.landscape.ground import PIXEL_M, Ground, Spot
from geoseg.demo.landscape.land import Body, Floats, Landscape, Parcel, Trees
from geoseg.demo.landscape.texture import Image, Textures
from geoseg.geo.grid import Window

# Plausible reflectances of surfaces: red, green, blue, near infrared.
SOIL = (0.175, 0.135, 0.095, 0.235)
GRASS = (0.058, 0.090, 0.042, 0.420)
DRY_GRASS = (0.175, 0.155, 0.090, 0.310)
LITTER = (0.060, 0.055, 0.035, 0.160)
BROADLEAF = (0.040, 0.070, 0.032, 0.460)
CONIFER = (0.026, 0.044, 0.026, 0.250)
LEAF_TINTS = ((0.012, 0.010, 0.000, 0.03), (-0.006, -0.006, 0.003, -0.05))
ASPHALT = (0.125, 0.122, 0.118, 0.140)
WORN_ASPHALT = (0.185, 0.178, 0.165, 0.205)
GRAVEL = (0.235, 0.205, 0.160, 0.290)
CONCRETE = (0.215, 0.205, 0.185, 0.230)
PAINT = (0.420, 0.420, 0.410, 0.430)
WATERS = {
    "river": (0.034, 0.046, 0.034, 0.018),
    "brook": (0.038, 0.044, 0.032, 0.024),
    "lake": (0.018, 0.034, 0.032, 0.009),
}
COLORS = {
    "red": (0.255, 0.118, 0.082, 0.330),
    "orange": (0.330, 0.175, 0.110, 0.400),
    "brown": (0.165, 0.108, 0.082, 0.240),
    "slate": (0.135, 0.135, 0.138, 0.155),
    "anthracite": (0.070, 0.070, 0.074, 0.085),
    "bitumen": (0.160, 0.155, 0.148, 0.175),
    "metal": (0.400, 0.405, 0.405, 0.400),
    "white": (0.520, 0.520, 0.520, 0.500),
    "silver": (0.300, 0.300, 0.310, 0.300),
    "black": (0.045, 0.045, 0.048, 0.050),
    "bluecar": (0.060, 0.090, 0.190, 0.220),
    "redcar": (0.260, 0.050, 0.045, 0.330),
    "panels": (0.032, 0.040, 0.065, 0.060),
}


@dataclass(frozen=True)
class Cover:
    """A crop: plants over soil, in rows."""

    plant: tuple[float, float, float, float]
    share: float
    """Of the soil that plants cover."""
    rows: float
    """How much that share swings from row to gap."""
    period_m: float
    patches: float
    """How much it swings over tens of metres: wet and dry, thick and thin."""


CROPS = {
    "wheat": Cover((0.165, 0.150, 0.075, 0.400), 0.88, 0.05, 1.7, 0.10),
    "barley": Cover((0.270, 0.225, 0.125, 0.385), 0.90, 0.05, 1.7, 0.10),
    "maize": Cover((0.045, 0.082, 0.034, 0.470), 0.52, 0.34, 1.55, 0.20),
    "beet": Cover((0.055, 0.105, 0.042, 0.560), 0.80, 0.16, 1.9, 0.14),
    "potato": Cover((0.062, 0.098, 0.045, 0.450), 0.62, 0.30, 1.7, 0.12),
    "rapeseed": Cover((0.105, 0.125, 0.062, 0.420), 0.92, 0.04, 2.4, 0.08),
    "stubble": Cover((0.270, 0.225, 0.150, 0.340), 0.70, 0.20, 3.4, 0.14),
    "soil": Cover((0.150, 0.125, 0.085, 0.260), 0.20, 0.16, 2.6, 0.16),
}


def paint(land: Landscape, window: Window, textures: Textures) -> Ground:
    """Paint what a window of the landscape shows."""
    ground = Ground(land, window, textures)
    for parcel in land.parcels:
        spot = None if parcel.outline.is_empty else ground.spot(parcel.outline.bounds)
        if spot is not None:
            _parcel(ground, parcel, spot)
    _greens(ground, land)
    for kind, shape in land.waters:
        if found := ground.inside(shape):
            _water(ground, kind, *found)
    for yard in land.yards:
        if found := ground.inside(yard):
            paving = CONCRETE if yard.area > 400 else WORN_ASPHALT
            ground.lay(*found, _mottled(ground, found[0], paving, 0.10))
    _roads(ground, land)
    for body in land.cars:
        _body(ground, body, plain=True)
    if land.trees is not None:
        _trees(ground, land.trees)
    for house in land.houses:
        for body in house.bodies:
            _body(ground, body)
    return ground


def _greens(ground: Ground, land: Landscape) -> None:
    """Banks, villages, gardens, and the floor of woods that do not keep to parcels."""
    lawns = [(shape, 0.05) for shape in (land.bank, *land.villages)] + land.plots
    for shape, dryness in lawns:
        if found := ground.inside(shape):
            dry = np.float32(dryness) + 0.06 * ground.middle[found[0]]
            ground.lay(*found, _meadow(ground, found[0], dry))
    for shape in land.woods:
        if found := ground.inside(shape):
            ground.lay(*found, _mottled(ground, found[0], LITTER, 0.2))


def _mottled(ground: Ground, spot: Spot, color: tuple[float, ...], contrast: float) -> list[Image]:
    texture = 1 + contrast * (0.6 * ground.fine[spot] + 0.6 * ground.middle[spot])
    texture = np.maximum(texture, 0.3)
    return [np.asarray(band * texture, np.float32) for band in color]


def _blend(a: tuple[float, ...], b: tuple[float, ...], share: Image) -> list[Image]:
    return [np.float32(i) + share * np.float32(j - i) for i, j in zip(a, b, strict=True)]


def _meadow(ground: Ground, spot: Spot, dryness: Image | np.float32) -> list[Image]:
    """Grass from fresh (dryness 0) to straw (1): patches of all sizes, no rows."""
    dry = (
        dryness
        + 0.07 * ground.middle[spot]
        + 0.06 * ground.fine[spot]
        - 0.13 * ground.moisture[spot]
    )
    texture = 1 + 0.06 * ground.fine[spot] + 0.03 * ground.middle[spot]
    colors = _blend(GRASS, DRY_GRASS, np.clip(dry, -0.2, 1))
    return [np.maximum(band * texture, 0.01) for band in colors]


def _parcel(ground: Ground, parcel: Parcel, spot: Spot) -> None:
    """A field or meadow: `edge` is the distance to the nearest border, `along` runs across rows."""
    corners = parcel.corners
    steps = np.roll(corners, -1, axis=0) - corners
    lengths = np.hypot(*steps.T)
    normals = np.column_stack([-steps[:, 1], steps[:, 0]]) / lengths[:, None]
    if np.dot(normals[0], corners.mean(axis=0) - corners[0]) < 0:
        normals = -normals
    u, v = ground.u[spot], ground.v[spot]
    edge = np.full(u.shape, np.inf, np.float32)
    for normal, corner in zip(normals.astype(np.float32), corners, strict=True):
        np.minimum(edge, u * normal[0] + v * normal[1] - np.float32(normal @ corner), out=edge)
    mask = edge > 0
    if not mask.any():
        return
    rng = np.random.default_rng(parcel.code)
    across = normals[np.argmax(lengths)].astype(np.float32)
    along = u * across[0] + v * across[1]
    if parcel.use in CROPS:
        colors = _crop(ground, CROPS[parcel.use], (spot, edge, along), rng)
    elif parcel.use == "wood":
        colors = _mottled(ground, spot, LITTER, 0.2)
    else:
        colors = _meadow(ground, spot, _dryness(parcel.use, along, rng))
    tint = rng.normal(1, 0.05) * (1 + rng.normal(0, 0.025, 4))
    ground.lay(spot, mask, [c * np.float32(t) for c, t in zip(colors, tint, strict=True)])
    if parcel.use != "wood":  # an unploughed strip at the border
        strip = mask & (edge < 1.1 + 0.35 * ground.middle[spot])
        ground.lay(spot, strip, _meadow(ground, spot, np.float32(0.25)))


def _dryness(use: str, along: Image, rng: np.random.Generator) -> Image:
    if use == "hay":  # mown: swaths of drying grass, some fields already cleared
        swath = np.sin(along * np.float32(2 * np.pi / rng.uniform(5.5, 7.5)))
        return np.asarray(rng.uniform(0.2, 0.7) + rng.uniform(0.06, 0.2) * swath, np.float32)
    return np.full_like(along, rng.uniform(-0.1, 0.45 if use == "meadow" else 0.3))


def _crop(
    ground: Ground, cover: Cover, place: tuple[Spot, Image, Image], rng: np.random.Generator
) -> list[Image]:
    spot, edge, along = place
    headland = edge < rng.uniform(9, 14)  # where the tractor turns, rows follow the border
    across = np.where(headland, edge, along)
    phase = rng.uniform(0, 1000)
    streaks = ground.textures.streaks
    drill = streaks[((across + phase) * 9).astype(np.int32) % len(streaks)]
    pass_ = streaks[((across + phase) * 1.1).astype(np.int32) % len(streaks)]
    rows = np.sin(across * np.float32(2 * np.pi / cover.period_m))
    share = cover.share + rng.normal(0, 0.05) + cover.rows * rows + 0.05 * drill + 0.05 * pass_
    share += cover.patches * (0.55 * ground.moisture[spot] + 0.35 * ground.middle[spot])
    share += 0.05 * ground.fine[spot]
    lane = np.abs((along + phase) % rng.choice((15.0, 18.0, 21.0)) - 2.0)
    share -= 0.45 * ((np.abs(lane - 0.9) < 0.3) & ~headland)  # tramlines: two wheels
    soil_tone = 1 - 0.10 * ground.moisture[spot] + 0.05 * ground.fine[spot]
    colors = _blend(SOIL, cover.plant, np.clip(share, 0, 1.05))
    bare = np.clip(1 - share, 0, 1)
    ripeness = 0.05 * ground.moisture[spot] + 0.03 * ground.middle[spot] + 0.025 * pass_
    tone = 1 + bare * (soil_tone - 1) - ripeness
    return [band * tone for band in colors]


def _water(ground: Ground, kind: str, spot: Spot, mask: NDArray[np.bool_]) -> None:
    """Water: dark, and darker in near infrared; its bed shines through at the shore."""
    depth = ndimage.gaussian_filter(mask.astype(np.float32), 5)  # 0.5 at the shore, 1 in the middle
    shore = np.clip(1.25 - 1.3 * depth, 0, 1) * (0.5 if kind == "lake" else 0.35)
    colors = _blend(WATERS[kind], (0.11, 0.095, 0.065, 0.09), shore.astype(np.float32))
    ripple = (
        1 + 0.05 * ground.fine[spot] + 0.07 * ground.middle[spot] + 0.06 * ground.moisture[spot]
    )
    ground.lay(spot, mask, [band * ripple for band in colors])


def _roads(ground: Ground, land: Landscape) -> None:
    """Distance to the nearest road line of each kind, then colour by that distance."""
    for kind in ("track", "street", "minor", "main"):
        distance = np.full(ground.height.shape, np.inf, np.float32)
        roads = [road for road in land.roads if road.kind == kind]
        for road in roads:
            _distance(ground, np.array(road.line.coords), road.width_m / 2 + 3, distance)
        if roads:
            _pave(ground, kind, distance, roads[0].width_m / 2)


def _distance(ground: Ground, points: NDArray[np.float64], reach: float, out: Image) -> None:
    """Lower `out` to the distance from a line (N, 2), where that is below `reach`; metres."""
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        bounds = (
            min(x0, x1) - reach,
            min(y0, y1) - reach,
            max(x0, x1) + reach,
            max(y0, y1) + reach,
        )
        spot = ground.spot(bounds)
        if spot is None:
            continue
        x = (ground.x[spot[1]] - x0).astype(np.float32)
        y = (ground.y[spot[0]] - y0).astype(np.float32)[:, None]
        dx, dy = np.float32(x1 - x0), np.float32(y1 - y0)
        t = np.clip((x * dx + y * dy) / (dx * dx + dy * dy), 0, 1)
        np.minimum(out[spot], np.hypot(x - t * dx, y - t * dy), out=out[spot])


def _pave(ground: Ground, kind: str, distance: Image, half: float) -> None:
    rows, columns = np.nonzero(distance < half + 3)
    if not len(rows):
        return
    d = distance[rows, columns]
    fine, middle = ground.fine[rows, columns], ground.middle[rows, columns]
    verge = d < half + 1.2 + 0.5 * middle
    if kind == "street":
        verge &= d < half + 0.9
    green = _blend(GRASS, DRY_GRASS, np.clip(0.3 + 0.15 * middle + 0.1 * fine, 0, 1))
    if kind == "track":
        worn = 1.1 * np.exp(-(((d - 0.85) / 0.5) ** 2)) + 0.15 + 0.18 * middle  # two wheel tracks
        surface = _blend(DRY_GRASS, GRAVEL, np.clip(worn, 0.1, 1))
    else:
        wear = np.clip(0.25 + 0.25 * middle + (0.25 if kind != "main" else 0), 0, 1)
        surface = _blend(ASPHALT, WORN_ASPHALT, wear)
        if kind == "main":
            line = np.clip(1 - np.abs(d) / 0.35, 0, 1) + 0.8 * np.clip(
                1 - np.abs(d - half + 0.3) / 0.3, 0, 1
            )
            surface = [
                s + line * np.float32(0.5 * (p - 0.12)) for s, p in zip(surface, PAINT, strict=True)
            ]
    texture = 1 + 0.045 * fine
    keep = verge | (d < half)
    for band, ink, grass in zip(ground.albedo, surface, green, strict=True):
        color = np.where(d < half, ink * texture, grass * texture)
        band[rows[keep], columns[keep]] = color[keep]


def _trees(ground: Ground, trees: Trees) -> None:
    """Press each crown's shape into the heights, higher ones on top, then colour all at once."""
    crown = np.full(ground.height.shape, -1, np.int32)
    column = np.floor(trees.x / PIXEL_M).astype(int) - ground.window.left
    row = np.floor(trees.y / PIXEL_M).astype(int) - ground.window.top
    radius = np.clip(np.round(trees.radius / PIXEL_M).astype(int), 1, 11)
    h, w = ground.height.shape
    seen = (column > -radius) & (column < w + radius) & (row > -radius) & (row < h + radius)
    for i in np.nonzero(seen)[0]:
        kind = "conifer" if trees.conifer[i] else "broadleaf"
        r, c, k = row[i], column[i], radius[i]
        stamp = ground.textures.stamps[kind][k - 1][i % 8]
        top, left = max(0, r - k), max(0, c - k)
        spot = (slice(top, min(h, r + k + 1)), slice(left, min(w, c + k + 1)))
        part = stamp[top - r + k : spot[0].stop - r + k, left - c + k : spot[1].stop - c + k]
        canopy = part * np.float32(trees.height[i])
        higher = canopy > ground.height[spot]
        np.copyto(ground.height[spot], canopy, where=higher)
        np.copyto(crown[spot], i, where=higher)
    rows, columns = np.nonzero(crown >= 0)
    which = crown[rows, columns]
    depth = ground.height[rows, columns] / trees.height[which]  # low parts see less of the sky
    tone = (0.50 + 0.5 * depth) * (1 + 0.10 * ground.fine[rows, columns])
    leaf = np.where(trees.conifer, np.array(CONIFER)[:, None], np.array(BROADLEAF)[:, None])
    tint = np.array(LEAF_TINTS)[(trees.tint > 0).astype(int)].T * np.abs(trees.tint) * 0.55
    leaf = np.maximum(leaf + tint * np.where(trees.conifer, 0.4, 1), 0.01).astype(np.float32)
    ground.albedo[:, rows, columns] = leaf[:, which] * tone


def _body(ground: Ground, body: Body, *, plain: bool = False) -> None:
    """A box with its roof, where it rises above what is there; plain: all of one colour."""
    found = ground.spot(shapely.buffer(body.outline, 1).bounds)
    if found is None:
        return
    x, y = ground.x[found[1]] - body.x, (ground.y[found[0]] - body.y)[:, None]
    a = x * math.cos(body.angle) + y * math.sin(body.angle)
    b = y * math.cos(body.angle) - x * math.sin(body.angle)
    to_eaves, to_gable = body.width / 2 - np.abs(b), body.length / 2 - np.abs(a)
    rise = np.minimum(to_eaves, to_gable) if body.hipped else to_eaves
    roof = (body.eaves + (body.ridge - body.eaves) * rise / (body.width / 2)).astype(np.float32)
    mask = (to_eaves > 0) & (to_gable > 0) & (roof > ground.height[found])
    if plain:
        ground.lay(found, mask, np.array(COLORS[body.roof], np.float32))
    else:
        ground.lay(found, mask, _roofing(ground, found, body, b, np.minimum(to_eaves, to_gable)))
    np.copyto(ground.height[found], roof, where=mask)
    if body.panels:
        covered = (b > 0.7) & (to_eaves > 0.9) & (np.abs(a) < body.length * 0.32)
        ground.lay(found, covered & mask, np.array(COLORS["panels"], np.float32))


def _roofing(ground: Ground, spot: Spot, body: Body, across: Floats, edge: Floats) -> list[Image]:
    """Tiles in courses, weathered; on flat roofs a parapet; no two roofs alike."""
    rng = np.random.default_rng(int(abs(body.x) * 7919 + abs(body.y) * 104729))
    tint = rng.normal(1, 0.10) * rng.normal(1, 0.03, 4) * COLORS[body.roof]
    shades = 1 + 0.05 * ground.fine[spot] + 0.05 * ground.middle[spot]
    if body.ridge > body.eaves:
        shades = shades + 0.04 * np.sin(across * (2 * np.pi / 1.3))
    else:
        shades = np.where(edge < 0.6, shades * 1.25, shades)
    return [np.asarray(shades * band, np.float32) for band in tint]
