"""A year of plants: how much green, ripe and dead matter stands on each field on a given day.

Green leaf area rises and falls as a double logistic curve (Beck et al. 2006, Remote Sensing of
Environment 100, with the leaf area index in the place of NDVI). Each field has its own days, drawn
about those of its crop: farm, place and luck shift them. Days are days of the year, and may be
fractions. Only numpy.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
NEVER = 1e6
"""A day that does not come."""
CUTS = 5


@dataclass(frozen=True)
class Plant:
    """A crop, or another plant cover, on an average field in an average place."""

    up: float
    """Day on which half of the leaves have come."""
    rise: float
    """Days that scale how slowly they come."""
    peak: float
    """Leaf area index in full leaf."""
    fade: float
    """Day on which half of the leaves have yellowed."""
    fall: float
    """Days that scale how slowly they yellow."""
    harvest: float = NEVER
    winter: float = 0.0
    """Leaf area index in January."""
    rest: float = 0.0
    """Leaf area index after the leaves have yellowed."""
    ripe: float = 0.0
    """Area index of ripe plants, yellow or brown."""
    dead: float = 0.0
    """Area index of dead leaves all year round."""
    litter: float = 0.0
    """Share of the soil that litter or straw covers, all year round."""
    straw: float = 0.0
    """Share of the soil that straw covers after the harvest, until it is tilled."""
    bloom: float = NEVER
    """Middle day of a yellow bloom."""
    spread: float = 5.0
    """Standard deviation of fields' days about those of their farm and place."""
    catch: float = 0.0
    """Share of fields with a catch crop in the winter before."""
    after: tuple[tuple[float, float, float], ...] = ()
    """What may follow the harvest: share of fields, day of half its leaves, leaf area index."""
    thirst: float = 0.3
    """How much it suffers in a dry summer."""


WHEAT_NEXT = ((0.60, 322, 0.5),)
PLANTS = {
    "winter wheat": Plant(
        102, 11, 5.0, 179, 6, 208, winter=0.5, ripe=2.6, straw=0.75, spread=8.0,
        after=((0.45, 258, 2.0), (0.30, 300, 0.8)),
    ),
    "winter barley": Plant(
        94, 11, 4.6, 162, 6, 188, winter=0.8, ripe=2.6, straw=0.75, spread=8.0,
        after=((0.50, 266, 1.9), (0.25, 255, 2.0)),
    ),
    "rapeseed": Plant(
        84, 10, 4.4, 177, 6, 201, winter=1.2, ripe=2.2, straw=0.45, bloom=121, spread=5.0,
        after=((0.35, 238, 0.9), (0.45, 310, 0.6)),
    ),
    "maize": Plant(
        171, 8, 4.2, 260, 9, 268, ripe=1.8, straw=0.25, spread=8.0, catch=0.45, after=WHEAT_NEXT,
    ),
    "sugar beet": Plant(
        160, 8, 4.6, 325, 20, 290, straw=0.05, spread=8.0, catch=0.65, after=((0.35, 330, 0.4),),
    ),
    "potato": Plant(
        158, 7, 4.3, 233, 9, 256, ripe=0.8, straw=0.08, spread=9.0, catch=0.45, after=WHEAT_NEXT,
    ),
    "grassland": Plant(
        98, 12, 4.0, 292, 16, winter=1.3, rest=1.2, dead=0.5, litter=0.6, spread=7.0, thirst=0.7,
    ),
    "broadleaf": Plant(
        118, 6, 5.0, 296, 9, winter=0.5, rest=0.5, dead=1.0, litter=0.5, spread=3.0, thirst=0.1,
    ),
    "conifer": Plant(
        120, 20, 3.0, 300, 20, winter=2.6, rest=2.6, dead=0.8, litter=0.5, spread=3.0, thirst=0.1,
    ),
    "garden": Plant(
        95, 12, 2.6, 295, 16, winter=1.4, rest=1.3, dead=0.6, litter=0.6, spread=5.0, thirst=0.6,
    ),
}  # fmt: skip
MOWN = ((0.40, 128, 38, 5), (0.30, 154, 66, 2), (0.12, 182, 0, 1), (0.18, 0, 0, 0))
"""Ways to use grassland: share of fields, day of the first cut, days between cuts, cuts."""


@dataclass(frozen=True)
class Stands:
    """What stands on each of n fields in this year: arrays (n,), names as in `Plant`."""

    up: Floats
    rise: Floats
    peak: Floats
    fade: Floats
    fall: Floats
    harvest: Floats
    winter: Floats
    rest: Floats
    ripe: Floats
    dead: Floats
    litter: Floats
    straw: Floats
    bloom: Floats
    thirst: Floats
    catch: Floats
    """Leaf area index of what grew in the winter before."""
    tilled: Floats
    """Day on which that, or the straw of the year before, went under."""
    cleared: Floats
    """Day on which the straw of this year went under."""
    next_up: Floats
    next_peak: Floats
    """Leaf area index of what follows, and the day of half of it."""
    cuts: Floats
    """Days on which grass is mown (n, CUTS)."""


@dataclass(frozen=True)
class Canopy:
    """What stands on a day: arrays (n,)."""

    green: Floats
    """Leaf area index."""
    brown: Floats
    """Area index of ripe or dead plants."""
    straw: Floats
    """Share of the soil under straw or litter."""
    bloom: Floats
    """Yellow bloom, 1 = at its height."""


def grow(kinds: list[str], late: Floats, rng: np.random.Generator) -> Stands:
    """Draw a year for each field: its kind of plant, and the days (n,) by which it is late."""
    n = len(kinds)
    plants = [PLANTS[kind] for kind in kinds]

    def typical(name: str) -> Floats:
        return np.array([float(getattr(plant, name)) for plant in plants])

    late = late + typical("spread") * rng.standard_normal(n)
    # A few fields did badly: too wet, too dry, sown too late.
    vigour = np.clip(1.02 + 0.10 * rng.standard_normal(n) - 0.5 * rng.random(n) ** 12, 0.3, 1.3)
    up = typical("up") + late + 2 * rng.standard_normal(n)
    fade = typical("fade") + 0.8 * late + 3.0 * rng.standard_normal(n)
    harvest = typical("harvest") + 0.8 * late + 5.0 * rng.standard_normal(n)
    harvest = np.where(typical("ripe") > 1.5, np.maximum(harvest, fade + 14), harvest)
    next_up, next_peak = _next(plants, harvest, rng)
    return Stands(
        up=up,
        rise=typical("rise") * rng.uniform(0.8, 1.25, n),
        peak=typical("peak") * vigour,
        fade=fade,
        fall=typical("fall") * rng.uniform(0.8, 1.25, n),
        harvest=harvest,
        winter=typical("winter") * np.exp(0.35 * rng.standard_normal(n)),
        rest=typical("rest") * np.exp(0.2 * rng.standard_normal(n)),
        ripe=typical("ripe") * vigour,
        dead=typical("dead") * rng.uniform(0.6, 1.5, n),
        litter=typical("litter") * rng.uniform(0.7, 1.2, n),
        straw=typical("straw") * rng.uniform(0.6, 1.2, n),
        bloom=typical("bloom") + 0.7 * late + 2.5 * rng.standard_normal(n),
        thirst=typical("thirst") * rng.uniform(0.4, 1.6, n),
        catch=(rng.random(n) < typical("catch")) * rng.uniform(0.4, 2.0, n),
        tilled=up - rng.uniform(42, 105, n),
        cleared=harvest + rng.uniform(6, 50, n),
        next_up=next_up,
        next_peak=next_peak,
        cuts=_mow(kinds, late, rng),
    )


def _next(plants: list[Plant], harvest: Floats, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Day and leaf area index of what follows the harvest on each field; 0 where nothing does."""
    up, peak = np.full(len(plants), NEVER), np.zeros(len(plants))
    for i, plant in enumerate(plants):
        chance = rng.random()
        luck, vigour = rng.standard_normal(), rng.uniform(0.4, 1.4)
        for share, day, leaves in plant.after:
            if chance < share:
                up[i], peak[i] = max(day + 9 * luck, harvest[i] + 30), leaves * vigour
                break
            chance -= share
    return up, peak


def _mow(kinds: list[str], late: Floats, rng: np.random.Generator) -> Floats:
    """Days (n, CUTS) on which each field's grass is mown; NEVER where it is not."""
    cuts = np.full((len(kinds), CUTS), NEVER)
    shares = np.cumsum([way[0] for way in MOWN])
    for i, kind in enumerate(kinds):
        _, first, between, count = MOWN[int(np.searchsorted(shares, rng.random() * shares[-1]))]
        days = first + between * np.arange(count) + rng.normal(0, 5, count).cumsum()
        if kind == "grassland":
            cuts[i, :count] = days + late[i]
    return cuts


def canopy(stands: Stands, day: Floats | float, *, drought: float = 0.0) -> Canopy:
    """What stands on each field on a day, or on days of their own (n,).

    drought: of this summer, 0 none, 1 severe.
    """
    risen = _logistic(day, stands.up, stands.rise)
    faded = _logistic(day, stands.fade, stands.fall)
    standing = 1 - _logistic(day, stands.harvest, 0.6)
    growing = 1 - _logistic(day, stands.tilled, 1.5)
    gone = _logistic(day, stands.cleared, 1.0)
    green = stands.winter + (stands.peak - stands.winter) * risen
    green = standing * (green * (1 - faded) + stands.rest * faded)
    dry = drought * stands.thirst * np.exp(-(((day - 205) / 28) ** 2))
    green = green * (1 - dry) * _mown(stands, day)
    brown = standing * (stands.ripe * faded + stands.dead) + 1.2 * dry * standing
    follows = stands.next_peak * _logistic(day, stands.next_up, 8.0)
    before = np.where(stands.winter > 0, 0.0, growing)
    return Canopy(
        green=green + stands.catch * before + follows,
        brown=brown,
        straw=np.clip(stands.litter + stands.straw * (1 - standing) * (1 - gone), 0, 0.95),
        bloom=standing * np.exp(-(((day - stands.bloom) / 10.5) ** 2)),
    )


def _logistic(day: Floats | float, middle: Floats, scale: Floats | float) -> Floats:
    return 1 / (1 + np.exp(-np.clip((day - middle) / scale, -40, 40)))


def _mown(stands: Stands, day: Floats | float) -> Floats:
    """Share of the leaves that stands: little after a cut, most of it three weeks on."""
    day = np.reshape(day, (-1, 1))
    left = np.where(day < stands.cuts, 1.0, 0.18 + 0.82 * _logistic(day, stands.cuts + 16, 4.5))
    return left.min(axis=1)
