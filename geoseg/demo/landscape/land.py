"""What there is in a landscape: geometries in metres, x east and y south from its corner.

Parcels are straight-edged in a warped plane and so gently curved on the ground, as real ones are:
`Warp` goes both ways, so that field rows follow the field's edges.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from shapely.geometry import LineString, MultiPolygon, Polygon
from shapely.geometry.base import BaseGeometry

Floats = NDArray[np.float64]
MARGIN_M = 70.0
"""The world goes on that far beyond what the scenes show: shadows and crowns reach in."""
ROAD_WIDTHS_M = {"main": 7.0, "minor": 5.0, "street": 4.5, "track": 3.5}
CROPS = ("wheat", "maize", "barley", "stubble", "beet", "soil", "rapeseed", "potato")
MEADOWS = ("meadow", "hay", "pasture")


class Waves:
    """A smooth random field, the sum of plane waves: exact at any point, one product on a grid."""

    def __init__(
        self, rng: np.random.Generator, lengths_m: tuple[float, float], *, count: int = 12
    ) -> None:
        length = np.exp(rng.uniform(math.log(lengths_m[0]), math.log(lengths_m[1]), count))
        angle = rng.uniform(0, 2 * np.pi, count)
        self.kx, self.ky = 2 * np.pi / length * np.array([np.cos(angle), np.sin(angle)])
        self.phase = rng.uniform(0, 2 * np.pi, count)
        self.amplitude = np.sqrt(length / np.sum(length) * 2)  # unit variance, long waves stronger

    def at(self, points: Floats) -> Floats:
        """Values (N,) at points (N, 2)."""
        angle = points[:, :1] * self.kx + points[:, 1:] * self.ky + self.phase
        return np.sin(angle) @ self.amplitude

    def on(self, x: Floats, y: Floats) -> NDArray[np.float32]:
        """Values (len(y), len(x)), float32: sin(a + b) = sin a cos b + cos a sin b."""
        across = x[None] * self.kx[:, None] + self.phase[:, None]
        down = y[:, None] * self.ky
        left = np.hstack([np.cos(down), np.sin(down)]) * np.tile(self.amplitude, 2)
        right = np.vstack([np.sin(across), np.cos(across)])
        return left.astype(np.float32) @ right.astype(np.float32)


class Warp:
    """Ground (metres) to the plane in which parcels have straight edges, and back."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.shifts = Waves(rng, (450, 1100), count=4), Waves(rng, (450, 1100), count=4)
        self.size_m = 17.0
        self.steps = 15
        """Of the inverse: each leaves less than a third of the error."""

    def plane(self, points: Floats) -> Floats:
        return points + self.size_m * np.column_stack([shift.at(points) for shift in self.shifts])

    def ground(self, points: Floats) -> Floats:
        """The inverse of `plane`, by fixed point: the shift changes slowly, so it converges."""
        found = points
        for _ in range(self.steps):
            found = found + points - self.plane(found)
        return found

    def line(self, points: Floats, step_m: float = 12.0) -> Floats:
        """A straight line of the plane, on the ground, with points enough to bend."""
        count = max(2, int(np.hypot(*(points[1] - points[0])) / step_m) + 1)
        return self.ground(points[0] + np.linspace(0, 1, count)[:, None] * (points[1] - points[0]))

    def ring(self, corners: Floats) -> Polygon:
        edges = zip(corners, np.roll(corners, -1, axis=0), strict=True)
        return Polygon(np.vstack([self.line(np.array(edge))[:-1] for edge in edges]))


@dataclass
class Parcel:
    corners: Floats
    """Convex, (N, 2), in the plane of the warp."""
    outline: BaseGeometry
    """On the ground, less what villages and river banks took of it."""
    use: str = "meadow"
    """A crop, a kind of meadow, or wood."""
    code: int = 0
    """Seeds what is particular to this field: tint, rows, tramlines."""


@dataclass
class Road:
    line: LineString
    kind: str
    """main, minor, street (asphalt) or track (gravel)."""

    @property
    def width_m(self) -> float:
        return ROAD_WIDTHS_M[self.kind]


@dataclass
class Body:
    """A box with a roof: a wing of a house, or a car."""

    x: float
    y: float
    angle: float
    """Of the ridge, radians from east to south."""
    length: float
    width: float
    eaves: float
    ridge: float
    """Height of the ridge; equal to the eaves: a flat roof."""
    roof: str
    """Name of its colour."""
    hipped: bool = False
    panels: bool = False

    @property
    def outline(self) -> Polygon:
        along = np.array([math.cos(self.angle), math.sin(self.angle)]) * self.length / 2
        across = np.array([-math.sin(self.angle), math.cos(self.angle)]) * self.width / 2
        centre = np.array([self.x, self.y])
        signs = ((1, 1), (1, -1), (-1, -1), (-1, 1))
        return Polygon([centre + a * along + b * across for a, b in signs])


@dataclass
class House:
    kind: str
    """house, barn or hall."""
    bodies: list[Body]
    outline: BaseGeometry


@dataclass
class Trees:
    """Crowns as columns."""

    x: Floats
    y: Floats
    radius: Floats
    height: Floats
    conifer: NDArray[np.bool_]
    tint: Floats
    """Standard normal: yellowish below 0, bluish above."""


@dataclass
class Landscape:
    width: float
    height: float
    warp: Warp
    moisture: Waves
    parcels: list[Parcel] = field(default_factory=list)
    roads: list[Road] = field(default_factory=list)
    villages: list[Polygon] = field(default_factory=list)
    plots: list[tuple[Polygon, float]] = field(default_factory=list)
    """Gardens and how dry their lawns are."""
    yards: list[Polygon] = field(default_factory=list)
    """Paved ground beside houses."""
    bank: BaseGeometry = field(default_factory=MultiPolygon)
    """The strip of grass along rivers."""
    waters: list[tuple[str, BaseGeometry]] = field(default_factory=list)
    woods: list[BaseGeometry] = field(default_factory=list)
    """Those that do not keep to parcels."""
    hedges: list[LineString] = field(default_factory=list)
    houses: list[House] = field(default_factory=list)
    cars: list[Body] = field(default_factory=list)
    trees: Trees | None = None
    crowns: list[Polygon] = field(default_factory=list)
    """Outlines of trees that stand alone or in rows."""


def blob(centre: Floats, radius: float, rng: np.random.Generator, rough: float = 0.6) -> Polygon:
    """A round shape with bays, none of it farther than `radius` from its centre."""
    angle = np.linspace(0, 2 * np.pi, 90, endpoint=False)
    k = np.arange(1, 8)[:, None]
    waves = np.sin(k * angle + rng.uniform(0, 2 * np.pi, k.shape))
    wave = (rng.normal(0, 1 / k) * waves).sum(axis=0)
    r = radius * (1 - rough * (wave.max() - wave) / max(2.5, np.ptp(wave)))
    return Polygon(centre + r[:, None] * np.column_stack([np.cos(angle), np.sin(angle)]))
