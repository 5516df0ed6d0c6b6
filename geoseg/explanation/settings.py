"""Say what is to be explained, and how closely."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from geoseg.errors import Faults, shown
from geoseg.received.keys import OPTIONS

BANDS, DATES = "bands", "dates"
OCCLUSION, GRADCAM, GRADIENTS = "occlusion", "gradcam", "gradients"
OF_IMAGES = (BANDS, OCCLUSION, GRADCAM, GRADIENTS)
OF_SERIES = (BANDS, DATES)
BY_GRADIENT = (GRADCAM, GRADIENTS)
KINDS = (BANDS, DATES, OCCLUSION, GRADCAM, GRADIENTS)


@dataclass
class ExplainSettings:
    """What is explained."""

    kinds: list[str] = field(default_factory=list)
    """bands (which ones count), dates (of series), and where the network looks: occlusion, gradcam
    (Seg-Grad-CAM), gradients (integrated gradients); by default all that the network has."""
    classes: list[str] = field(default_factory=list)
    """Names of the classes whose places are explained; by default all that are mapped there."""
    groups: dict[str, Any] = field(default_factory=dict, metadata=OPTIONS)
    """Bands that are shuffled together, as explain.groups.visible=[red,green,blue]: bands that tell
    the same hide each other. By default each band is one; bands that no group names are, too."""
    repeats: int = 5
    """Shuffles, for the mean and its spread."""
    tiles: int = 12
    """Tiles of the split that bands are shuffled among; 0 = all."""
    samples: int = 2000
    """Samples of series that bands and dates are shuffled among; 0 = all."""
    days: int = 30
    """Days of the periods that are shuffled."""
    places: int = 3
    """Tiles whose places are explained, those with the most even mixture of classes."""
    square: int = 32
    """Side in pixels of what occlusion hides."""
    steps: int = 32
    """Of integrated gradients, from the mean of each band to the image."""
    seed: int = 0
    """Of tiles, samples and shuffles."""

    def __post_init__(self) -> None:
        faults = Faults()
        for kind in self.kinds:
            if kind not in KINDS:
                options = ", ".join(KINDS)
                faults.add(f"explain.kinds: {shown(kind)} is unknown; choose from {options}")
        faults.at_least(self, "explain.", repeats=1, days=1, places=1, square=1, steps=1)
        faults.at_least(self, "explain.", tiles=0, samples=0, seed=0)
        for name, bands in self.groups.items():
            if not isinstance(bands, list | tuple) or not bands:
                faults.add(
                    f"explain.groups.{name}={shown(bands)}: give a list of bands, as [red,green]"
                )
        faults.raise_if_any()

    def grouped(self, bands: tuple[str, ...]) -> dict[str, list[int]]:
        """Places of the bands of each group, by its name; of bands in none each alone.

        Raises: InputError for bands that there are not, or that are in two groups.
        """
        faults = Faults()
        made: dict[str, list[int]] = {}
        named: list[str] = []
        for name, members in self.groups.items():
            unknown = [band for band in members if band not in bands]
            if unknown:
                faults.add(
                    f"explain.groups.{name}: no band {', '.join(map(shown, unknown))}; the network"
                    f" has {', '.join(bands)}"
                )
            twice = [band for band in members if band in named]
            if twice:
                faults.add(f"explain.groups.{name}: {', '.join(twice)} is in another group, too")
            named += members
            made[name] = [bands.index(band) for band in members if band in bands]
        faults.raise_if_any()
        return made | {band: [n] for n, band in enumerate(bands) if band not in named}
