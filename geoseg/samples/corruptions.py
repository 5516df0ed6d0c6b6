"""Make images worse in ways that nature and cameras know, by a strength from 0 to 1.

All work on any number of bands of standardised values. The same seed gives the same haze, clouds
and stripes for every strength, so that a stronger one is the same, only more. Letters in shapes: C
bands, H rows, W columns.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from geoseg.errors import Faults, shown
from geoseg.geo.legend import IGNORED
from geoseg.scenes.bands import BandStatistics

HAZE = 0.7
"""Share of the light that strongest haze scatters in, in the mean of an image."""
SHADE = 0.4
"""Share of an image that lies in shadow."""
DARKENED = 0.85
"""Share of the light that strongest shadow takes."""
SEASON = (0.8, 0.4)
"""Standard deviations by which bands move, and share by which their contrast changes."""
GAIN = 1.5
"""By which strongest over-exposure multiplies, less 1."""
SIGMA = 3.0
"""Pixels: of the strongest blur."""
NOISE = 1.0
"""Standard deviations: of the strongest noise."""
MOVED = 4.0
"""Pixels by which bands lie apart at most."""
TURN = 45.0
"""Degrees of the strongest rotation."""
COARSER = 4.0
"""Times as large as they were are the pixels of the coarsest image."""
STRIPE = 0.75
"""Standard deviations of the offsets of columns at their strongest."""
COVER = 0.6
"""Share of an image under the thickest clouds."""
WORST_JPEG, BEST_JPEG = 5, 95
"""Quality at strength 1 and near 0."""
SOFT = 0.08
"""Share of an image over which the edge of a cloud or shadow fades."""


@dataclass(frozen=True)
class Levels:
    """What is dark and bright in each band, in standardised values; (C, 1, 1) or numbers."""

    dark: Any = -2.0
    bright: Any = 2.0
    high: Any = 4.0
    """The largest value that the sensor gives."""

    @classmethod
    def of(cls, statistics: BandStatistics) -> Levels:
        mean, factor = statistics.scaling()

        def scaled(values: Sequence[float]) -> np.ndarray:
            return ((np.asarray(values, np.float32) - mean) * factor)[:, None, None]

        return cls(scaled(statistics.p2), scaled(statistics.p98), scaled(statistics.high))


@dataclass(frozen=True)
class View:
    """An image, where it is valid, and its labels."""

    image: np.ndarray
    """(C, H, W) float32, standardised, 0 where not valid."""
    valid: np.ndarray
    """(H, W) bool."""
    target: np.ndarray
    """(H, W) uint8, 255 = ignored."""


@dataclass(frozen=True)
class Conditions:
    """What a corruption goes by besides its strength."""

    levels: Levels
    here: np.random.Generator
    """For what differs from image to image."""
    all_over: np.random.Generator
    """For what is the same in all images of a set."""

    @classmethod
    def seeded(cls, levels: Levels, kind: str, seed: int, number: int) -> Conditions:
        """number: of the image."""
        which = zlib.crc32(kind.encode())
        here, all_over = (
            np.random.default_rng([seed, which, *more]) for more in ((1, number), (0,))
        )
        return cls(levels, here, all_over)


Change = Callable[[View, float, Conditions], np.ndarray]
"""(view, strength above 0, conditions) → image (C, H, W) float32; its values outside `valid` do not
count."""


def corrupted(kind: str, view: View, strength: float, conditions: Conditions) -> View:
    """The view, made worse; the arrays given stay as they are. strength: 0 to 1, 0 = as it is."""
    if strength <= 0:
        return view
    if kind == ROTATION:
        return rotated(view, strength, conditions)
    image = CHANGES[kind](view, strength, conditions)
    return replace(view, image=np.where(view.valid, image, np.float32(0)).astype(np.float32))


def haze(view: View, strength: float, at: Conditions) -> np.ndarray:
    """Scattered light: contrast goes, all comes near the bright end; thicker here than there."""
    field = _field(view, at.here)
    veil = np.clip(HAZE * strength * (0.5 + field), 0, 0.95)
    return view.image * (1 - veil) + at.levels.bright * veil


def shadow(view: View, strength: float, at: Conditions) -> np.ndarray:
    """Shadows of clouds or hills over a part of the image."""
    field = _field(view, at.here)
    share = DARKENED * strength * np.clip((field - (1 - SHADE)) / SOFT, 0, 1)
    return view.image * (1 - share) + at.levels.dark * share


def season(view: View, strength: float, at: Conditions) -> np.ndarray:
    """Another date: each band brighter or darker and of another contrast, the same all over."""
    bands = len(view.image)
    offset = SEASON[0] * strength * at.all_over.uniform(-1, 1, bands)
    gain = 1 + SEASON[1] * strength * at.all_over.uniform(-1, 1, bands)
    return view.image * gain[:, None, None] + offset[:, None, None]


def exposure(view: View, strength: float, at: Conditions) -> np.ndarray:
    """Over-exposed: brighter, and cut off where the sensor can't count on."""
    levels = at.levels
    lit = levels.dark + (view.image - levels.dark) * (1 + GAIN * strength)
    return np.minimum(lit, np.maximum(levels.high, view.image))


def blur(view: View, strength: float, at: Conditions) -> np.ndarray:
    """Out of focus."""
    return softened(view.image, view.valid, SIGMA * strength)


def jpeg(view: View, strength: float, at: Conditions) -> np.ndarray:
    """Each band in 8 bits, compressed as a JPEG."""
    import cv2

    quality = round(BEST_JPEG + (WORST_JPEG - BEST_JPEG) * strength)
    made = np.empty_like(view.image)
    for out, band in zip(made, view.image, strict=True):
        seen = band[view.valid]
        low, high = (float(seen.min()), float(seen.max())) if seen.size else (0.0, 1.0)
        span = max(high - low, 1e-6)
        bytes_ = np.clip((band - low) * (255 / span), 0, 255).round().astype(np.uint8)
        _, packed = cv2.imencode(".jpg", bytes_, [cv2.IMWRITE_JPEG_QUALITY, quality])
        decoded: Any = cv2.imdecode(packed, cv2.IMREAD_GRAYSCALE)
        out[...] = decoded * (span / 255) + low
    return made


def noise(view: View, strength: float, at: Conditions) -> np.ndarray:
    """Gaussian noise in every pixel and band."""
    grain = at.here.standard_normal(view.image.shape, dtype=np.float32)
    return view.image + np.float32(NOISE * strength) * grain


def shift(view: View, strength: float, at: Conditions) -> np.ndarray:
    """Bands that do not lie upon each other: each but one moved its own way, the same all over."""
    made = view.image.copy()
    still = int(at.all_over.integers(len(made)))
    angles = at.all_over.uniform(0, 2 * np.pi, len(made))
    for number, angle in enumerate(angles):
        if number != still:
            made[number] = _moved(view.image[number], MOVED * strength, angle)
    return made


def resolution(view: View, strength: float, at: Conditions) -> np.ndarray:
    """Coarser pixels, brought back to the old size."""
    import cv2

    height, width = view.valid.shape
    factor = 1 + (COARSER - 1) * strength
    small = max(1, round(width / factor)), max(1, round(height / factor))

    def there_and_back(band: np.ndarray) -> np.ndarray:
        coarse = cv2.resize(band, small, interpolation=cv2.INTER_AREA)
        return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)

    return _weighted(view.image, view.valid, there_and_back)


def stripes(view: View, strength: float, at: Conditions) -> np.ndarray:
    """Columns of a line scanner that are brighter or darker than they should be, band by band."""
    C, _, W = view.image.shape
    offsets = at.here.standard_normal((C, 1, W), dtype=np.float32)
    return view.image + np.float32(STRIPE * strength) * offsets


def missing(view: View, strength: float, at: Conditions) -> np.ndarray:
    """Bands without content, put to their mean, the same all over; at strength 1 all but one."""
    C = len(view.image)
    gone = at.all_over.permutation(C)[: int(np.ceil(strength * (C - 1) - 1e-9))]
    made = view.image.copy()
    made[gone] = 0
    return made


def clouds(view: View, strength: float, at: Conditions) -> np.ndarray:
    """Clouds over a part of the image; what lies below can't be seen, and counts all the same."""
    field = _field(view, at.here)
    share = np.clip((field - (1 - COVER * strength)) / SOFT, 0, 1)
    return view.image * (1 - share) + (at.levels.bright + 0.5) * share


def rotated(view: View, strength: float, at: Conditions) -> View:
    """Turned, with its labels."""
    import cv2

    height, width = view.valid.shape
    turn = TURN * strength * (1 if at.here.random() < 0.5 else -1)
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), turn, 1.0)

    def turned(band: np.ndarray, how: int, fill: float) -> np.ndarray:
        return cv2.warpAffine(
            band, matrix, (width, height), flags=how, borderMode=cv2.BORDER_CONSTANT,
            borderValue=fill,
        )  # fmt: skip

    # Valid only where all four pixels are that a value is made of.
    share = turned(view.valid.astype(np.float32), cv2.INTER_LINEAR, 0)
    valid = share > 0.999
    image = np.stack([turned(band, cv2.INTER_LINEAR, 0) for band in view.image])
    target = turned(view.target, cv2.INTER_NEAREST, IGNORED)
    return View(
        np.where(valid, image, np.float32(0)),
        valid,
        np.where(valid, target, np.uint8(IGNORED)),
    )


def softened(image: np.ndarray, valid: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur of (C, H, W), over the valid pixels only."""
    import cv2

    return _weighted(image, valid, lambda band: cv2.GaussianBlur(band, (0, 0), sigma))


def _weighted(
    image: np.ndarray, valid: np.ndarray, filtered: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """A linear filter of each band, to which pixels that are not valid add nothing."""
    if valid.all():
        return np.stack([filtered(np.ascontiguousarray(band)) for band in image])
    weight = valid.astype(np.float32)
    total = np.maximum(filtered(weight), 1e-6)
    return np.stack([filtered(band * weight) / total for band in image])


def _moved(band: np.ndarray, pixels: float, angle: float) -> np.ndarray:
    import cv2

    matrix = np.array([[1, 0, pixels * np.cos(angle)], [0, 1, pixels * np.sin(angle)]], np.float32)
    return cv2.warpAffine(
        band, matrix, band.shape[::-1], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
    )


def _field(view: View, random: np.random.Generator) -> np.ndarray:
    """A smooth field (H, W) float32 whose values are spread evenly over 0 to 1."""
    import cv2

    height, width = view.valid.shape
    coarse = random.standard_normal((7, 7)).astype(np.float32)
    fine = random.standard_normal((19, 19)).astype(np.float32)
    large, small = (
        cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC) for grid in (coarse, fine)
    )
    whole = large + 0.35 * small
    ranks = np.empty(whole.size, np.float32)
    ranks[np.argsort(whole, axis=None)] = np.linspace(0, 1, whole.size, dtype=np.float32)
    return ranks.reshape(height, width)


ROTATION = "rotation"
CHANGES: dict[str, Change] = {
    "haze": haze,
    "shadow": shadow,
    "season": season,
    "exposure": exposure,
    "blur": blur,
    "jpeg": jpeg,
    "noise": noise,
    "shift": shift,
    "resolution": resolution,
    "stripes": stripes,
    "bands": missing,
    "clouds": clouds,
}
KINDS = (*CHANGES, ROTATION)
SEVERAL_BANDS = ("shift", "bands")
"""What a single band can't suffer."""
MEANINGS = {
    "haze": f"scattered light, {HAZE:.0%} of all at strength 1",
    "shadow": f"shadow over {SHADE:.0%} of the image, that takes {DARKENED:.0%} of the light",
    "season": f"each band moved by up to {SEASON[0]:g} standard deviations",
    "exposure": f"{1 + GAIN:g} times as bright, cut off at the sensor's end",
    "blur": f"Gaussian blur of {SIGMA:g} pixels",
    "jpeg": f"8 bits and JPEG, quality {BEST_JPEG} to {WORST_JPEG}",
    "noise": f"Gaussian noise of {NOISE:g} standard deviation",
    "shift": f"bands {MOVED:g} pixels apart",
    "resolution": f"pixels {COARSER:g} times as large",
    "stripes": f"columns off by {STRIPE:g} standard deviations",
    "bands": "bands missing, all but one at strength 1",
    "clouds": f"clouds over {COVER:.0%} of the image; what they hide counts",
    ROTATION: f"image and labels turned by {TURN:g}°",
}
"""What each is at its strongest, for people."""


def check_kinds(kinds: Sequence[Any]) -> None:
    """Raises: InputError for unknown kinds."""
    faults = Faults()
    for kind in kinds:
        if kind not in KINDS:
            faults.add(f"stress.kinds: {shown(kind)} is unknown; choose from {', '.join(KINDS)}")
    faults.raise_if_any()
