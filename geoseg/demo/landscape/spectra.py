"""What stands on a field, as the reflectance of Sentinel-2's bands: leaves over soil.

A canopy hides what is under it as far as its leaf area lets light through, band by band: the
visible saturates early, the near infrared late. Only numpy.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from geoseg.demo.landscape.season import Canopy, Floats

BANDS = ("B02", "B03", "B04", "B05", "B08", "B11")
SOIL = np.array((0.068, 0.092, 0.124, 0.150, 0.215, 0.290))
WET = np.array((0.36, 0.38, 0.40, 0.40, 0.42, 0.50))
"""Share of its reflectance that soil loses when it is wet."""
STRAW = np.array((0.098, 0.142, 0.190, 0.228, 0.320, 0.365))
RIPE = np.array((0.072, 0.110, 0.156, 0.196, 0.290, 0.290))
BLOOM = np.array((0.006, 0.052, 0.058, 0.062, 0.015, 0.010))
LEAF = np.array((0.026, 0.054, 0.025, 0.084, 0.470, 0.150))
DIM = np.array((0.95, 0.80, 0.95, 0.65, 0.45, 0.58))
"""Extinction: of the light that comes back from under a canopy, per unit of leaf area index."""
LEAVES = {
    "winter wheat": (1.00, 0.94, 1.00, 0.95, 0.95, 0.98),
    "winter barley": (1.03, 1.04, 1.06, 1.05, 0.97, 1.00),
    "rapeseed": (1.02, 1.05, 1.00, 1.04, 1.06, 1.02),
    "maize": (1.02, 1.03, 1.05, 1.04, 0.93, 0.97),
    "sugar beet": (1.05, 1.18, 1.05, 1.12, 1.14, 1.00),
    "potato": (1.03, 1.08, 1.06, 1.06, 1.04, 1.02),
    "grassland": (1.15, 1.10, 1.25, 1.15, 0.90, 1.18),
    "broadleaf": (0.72, 0.64, 0.70, 0.70, 0.80, 0.78),
    "conifer": (0.60, 0.48, 0.60, 0.42, 0.42, 0.42),
    "garden": (1.20, 1.10, 1.35, 1.15, 0.78, 1.10),
}
"""Leaves of each plant over `LEAF`, band by band."""
BARE = {
    "lake": (0.032, 0.034, 0.020, 0.016, 0.010, 0.006),
    "river": (0.040, 0.050, 0.042, 0.036, 0.026, 0.012),
    "asphalt": (0.105, 0.115, 0.125, 0.130, 0.150, 0.165),
    "gravel": (0.100, 0.130, 0.145, 0.175, 0.260, 0.280),
    "red roof": (0.075, 0.105, 0.205, 0.235, 0.270, 0.300),
    "dark roof": (0.085, 0.092, 0.100, 0.105, 0.125, 0.150),
    "hall": (0.250, 0.260, 0.265, 0.270, 0.280, 0.260),
}
"""Surfaces without a season."""


@dataclass(frozen=True)
class Colors:
    """What each of n fields has of its own: arrays (n, bands)."""

    leaf: Floats
    soil: Floats
    """Dry."""
    ripe: Floats


def tint(kinds: list[str], soil: Floats, rng: np.random.Generator) -> Colors:
    """Draw the colours of fields of these kinds.

    soil: brightness of the place and its redness, (n, 2), about 1 and 0.
    """
    n, count = len(kinds), len(BANDS)
    slope = np.linspace(-1, 1, count)
    leaf = LEAF * np.array([LEAVES[kind] for kind in kinds])
    # Chlorophyll darkens the visible and the red edge together.
    chlorophyll = 0.09 * rng.standard_normal((n, 1)) * np.array((0.6, 1.0, 0.9, 0.9, -0.1, 0.1))
    leaf = leaf * (1 + chlorophyll + 0.035 * rng.standard_normal((n, count)))
    ground = SOIL * soil[:, :1] * (1 + soil[:, 1:] * slope)
    ground = ground * np.exp(0.10 * rng.standard_normal((n, 1)))
    ripe = RIPE * np.exp(
        0.10 * rng.standard_normal((n, 1)) + 0.05 * rng.standard_normal((n, 1)) * slope
    )
    return Colors(leaf, ground, ripe)


def reflectance(canopy: Canopy, colors: Colors, *, wet: float = 0.0) -> Floats:
    """Reflectance of fields (n, bands); wet: the soil, 0 dry, 1 after rain."""
    under = colors.soil * (1 - wet * WET)
    under = under + (STRAW * (1 - 0.4 * wet * WET) - under) * canopy.straw[:, None]
    hidden = 1 - np.exp(-0.6 * canopy.brown[:, None])
    under = under + (colors.ripe - under) * hidden
    through = np.exp(-DIM * canopy.green[:, None])
    return colors.leaf + (under - colors.leaf) * through + BLOOM * canopy.bloom[:, None]
