"""Choose and order bands, and scale their values."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from typing import Any

import numpy as np

from geoseg.errors import Faults, InputError
from geoseg.geo.band_tags import UNTAGGED, BandTags
from geoseg.received.keys import NUMERIC

SAMPLE = 2_000_000
"""Pixels per band kept for percentiles; their error is then far below a grey level."""
STRETCHED = 10.0
"""How many times a band's deviation may be what lies between its 2nd and 98th percentile: of normal
numbers it is a quarter, of heights in a town of few houses about 5."""
RARE = 2e-3
"""Share of the pixels that extreme values have at most: more are what the band shows, such as the
few tall buildings of a plain in heights above ground."""
LOUDEST = 3e4
"""Deviations at which the farthest value may lie: half of what numbers of 16 bits hold."""
RGB = (("red", "green", "blue"), ("b04", "b03", "b02"), ("b4", "b3", "b2"))
"""Names, in small letters, of the bands that show natural colours; the latter are Sentinel-2's."""


@dataclass
class Bands:
    """Which bands of the files are used, and what they are called."""

    order: list[str] = field(default_factory=list)
    """Names of the bands to use, in the order of the network's channels; empty = all."""
    names: list[str] = field(default_factory=list)
    """Names of a file's bands, where the file does not say them or says them wrongly."""
    pattern: str | None = None
    """One band per file: regular expression over file names with the groups `scene` and `band`."""
    extra: dict[str, str] = field(default_factory=dict)
    """More one-band rasters, warped onto each scene: {height: <file|folder|glob>}."""
    nodata: Any = field(default=None, metadata=NUMERIC)
    """Value that means nodata, instead of the files' own; `none` = no value does. Rasters of
    `extra` that declare one keep it."""
    partial: bool | None = None
    """Keep pixels of which some bands have no data: the band's mean stands there, which the network
    sees as 0; none = as in the training, and there not: all bands must have data."""
    tags: bool = True
    """Heed the scale and offset that files say of their numbers, where files differ in them."""
    masks: bool = True
    """Take for nodata what the scene classes (scl) that come with STAC items, cubes and .SAFE
    products call cloud, cirrus, shadow, snow or defective."""

    def __post_init__(self) -> None:
        faults = Faults()
        for what in ("order", "names"):
            values = getattr(self, what)
            if len(set(values)) < len(values):
                faults.add(f"bands.{what}={values}: a name appears twice")
        if self.pattern is not None:
            try:
                groups = set(re.compile(self.pattern).groupindex)
            except re.error as error:
                groups = {"scene", "band"}
                faults.add(f"bands.pattern={self.pattern}: not a regular expression ({error})")
            if not {"scene", "band"} <= groups:
                faults.add(
                    f"bands.pattern={self.pattern}: needs the groups (?P<scene>…) and (?P<band>…)"
                )
        if self.nodata is not None and self.nodata != "none":
            try:
                self.nodata = float(self.nodata)
            except ValueError:
                faults.add(f"bands.nodata={self.nodata}: give a number, nan or none")
        faults.raise_if_any()

    def settings(self) -> dict[str, Any]:
        """As JSON values, which know no NaN."""
        is_nan = self.nodata is not None and self.nodata != self.nodata
        return self.named() | ({"nodata": "nan"} if is_nan else {})

    def named(self) -> dict[str, Any]:
        """All settings by name; `masks` only where it is off, or older outputs would be others."""
        every = asdict(self)
        if self.masks:
            del every["masks"]
        return every

    def told(self, tags: BandTags) -> BandTags:
        """What files say of a band, as far as these settings heed it."""
        nodata = tags.nodata
        if self.nodata is not None:
            nodata = None if self.nodata == "none" else float(self.nodata)
        return BandTags(nodata, *(tags.pair if self.tags else UNTAGGED))


@dataclass(frozen=True)
class BandStatistics:
    """Values per band over the valid pixels of the train split, in the files' units."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    p2: tuple[float, ...]
    """2nd percentile."""
    p98: tuple[float, ...]
    """98th percentile."""
    low: tuple[float, ...]
    """Smallest value."""
    high: tuple[float, ...]
    """Largest value."""

    def to_dict(self) -> dict[str, list[float]]:
        return {name: list(values) for name, values in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: dict[str, Sequence[float]]) -> BandStatistics:
        return cls(**{name: tuple(map(float, v)) for name, v in values.items()})

    @classmethod
    def of(cls, values: Sequence[np.ndarray]) -> BandStatistics:
        """Those of some values of each band (n,), none empty."""
        columns = zip(
            *((v.mean(), v.std(), *np.percentile(v, (2, 98)), v.min(), v.max()) for v in values),
            strict=True,
        )
        return cls(*(tuple(map(float, column)) for column in columns))

    def scaling(self) -> tuple[np.ndarray, np.ndarray]:
        """What is taken off each band, and what it is then multiplied by: (C,) float32 each."""
        return self._scaling

    @cached_property
    def _scaling(self) -> tuple[np.ndarray, np.ndarray]:
        mean, std = np.asarray(self.mean, np.float32), np.asarray(self.std, np.float32)
        # A constant band tells nothing; dividing by its deviation would make it scream.
        return mean, np.where(std > 0, 1 / np.where(std > 0, std, 1), 0).astype(np.float32)

    @classmethod
    def joined(cls, parts: Sequence[BandStatistics]) -> BandStatistics:
        """Of all bands of the parts, one after the other."""
        names = [f.name for f in fields(cls)]
        return cls(**{name: sum((getattr(p, name) for p in parts), ()) for name in names})


class Measure:
    """Gathers BandStatistics window by window in bounded memory (Chan et al. 1983, eq. 2.1).

    Where few values lie so far beyond all others that a network would hardly tell these apart, as
    ships and masts in the power of radar, mean and deviation are of values that are cut off.
    """

    def __init__(self, bands: int, *, seed: int = 0) -> None:
        self.count = 0
        self.stretched: tuple[int, ...] = ()
        """Places of the bands with such values; known once there is a result."""
        self._mean = np.zeros(bands)
        self._m2 = np.zeros(bands)
        self._low = np.full(bands, np.inf)
        self._high = np.full(bands, -np.inf)
        self._sample: list[np.ndarray] = []
        self._share = 1.0
        self._random = np.random.default_rng(seed)

    def add(self, image: np.ndarray, valid: np.ndarray) -> None:
        """Add a window: image (C, H, W), valid (H, W)."""
        pixels = image[:, valid].astype(np.float64)
        count = pixels.shape[1]
        if not count:
            return
        mean = pixels.mean(axis=1)
        total = self.count + count
        delta = mean - self._mean
        self._m2 += ((pixels - mean[:, None]) ** 2).sum(axis=1)
        self._m2 += delta**2 * self.count * count / total
        self._mean += delta * count / total
        self.count = total
        self._low = np.minimum(self._low, pixels.min(axis=1))
        self._high = np.maximum(self._high, pixels.max(axis=1))
        self._keep(pixels)

    def _keep(self, pixels: np.ndarray) -> None:
        """Keep each pixel with one and the same probability, halved whenever there are too many."""
        chosen = self._random.random(pixels.shape[1]) < self._share
        self._sample.append(pixels[:, chosen].astype(np.float32))
        while sum(part.shape[1] for part in self._sample) > SAMPLE:
            whole = np.concatenate(self._sample, axis=1)
            self._sample = [whole[:, self._random.random(whole.shape[1]) < 0.5]]
            self._share /= 2

    def result(self) -> BandStatistics:
        """Raises: InputError if no valid pixel was added."""
        if not self.count:
            raise InputError("no valid pixel in the train tiles; are the scenes all nodata?")
        sample = np.concatenate(self._sample, axis=1)
        p2, p98 = np.percentile(sample, (2, 98), axis=1)
        mean, std = self._mean.copy(), np.sqrt(self._m2 / self.count)
        spread = p98 - p2
        self.stretched = ()
        for band in np.flatnonzero((spread > 0) & (std > STRETCHED * spread)).tolist():
            values = sample[band].astype(np.float64)
            cut = values.clip(p2[band] - spread[band], p98[band] + spread[band])
            if (cut != values).mean() >= RARE:
                continue
            self.stretched += (band,)
            mean[band] = cut.mean()
            far = max(self._high[band] - mean[band], mean[band] - self._low[band])
            std[band] = min(std[band], max(cut.std(), far / LOUDEST))
        columns = (mean, std, p2, p98, self._low, self._high)
        return BandStatistics(*(tuple(float(v) for v in column) for column in columns))


def scale(
    image: np.ndarray,
    valid: np.ndarray,
    statistics: BandStatistics,
    *,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """What the network sees: zero mean and unit deviation per band; 0 where not valid.

    image (C, H, W) of any dtype, valid (H, W) → (C, H, W) float32. out: an array to write it to.
    """
    mean, factor = statistics.scaling()
    scaled = np.empty(image.shape, np.float32) if out is None else out
    # Band by band all passes but the first find the numbers in the processor's cache.
    for made, band, middle, share in zip(scaled, image, mean, factor, strict=True):
        made[...] = band
        made -= middle
        made *= share
    if not valid.all():
        scaled *= valid
    return scaled


def shown_bands(bands: Sequence[str]) -> tuple[str, ...]:
    """Names of the bands that a picture shows as red, green and blue, or of the one in grey.

    Natural colours where the bands are named so, else the first three bands, else the first one.
    """
    by_name = {name.lower(): name for name in bands}
    for wanted in RGB:
        if all(name in by_name for name in wanted):
            return tuple(by_name[name] for name in wanted)
    return tuple(bands[:3]) if len(bands) >= 3 else (bands[0],)


def is_nameless(band: str) -> bool:
    """Whether a band is only numbered (band_1, Band 2 …)."""
    return re.fullmatch(r"(?i)(band|layer|channel)[ _]?\d+", band) is not None


def tells_clouds(band: str) -> bool:
    """Whether a band is called as what tells clouds or defects are: SCL, QA60, cloud_mask …"""
    parts = re.split(r"[^a-z]+", band.lower())
    return not {"scl", "qa", "clm", "clp", "cld", "cldprb", "fmask", "cloud", "clouds"}.isdisjoint(
        parts
    )


def in_order(bands: Sequence[str], names: Sequence[str]) -> bool:
    """Whether bands are taken for `names` as they come: as many, nameless where names differ."""
    return len(bands) == len(names) and all(
        mine == theirs or is_nameless(mine) or is_nameless(theirs)
        for mine, theirs in zip(bands, names, strict=True)
    )


def nominal_range(high: float) -> float:
    """The range that data with this largest value was made for: 1 or a power of two.

    Reflectance 0..1 gives 1, a dark 8-bit image 256, 12-bit data 4096: so a scene in other units
    than the training shows, whatever its dtype, while a dark or a bright one does not.
    """
    if high <= 2:
        return 1.0
    return 2.0 ** max(8, math.ceil(math.log2(high + 1)))
