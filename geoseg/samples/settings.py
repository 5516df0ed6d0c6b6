"""Settings of samples for networks for series.

These stand apart from the code that reads them because that code imports torch, and nobody
should wait for torch to see `--help` or a misspelt key.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from geoseg.errors import Faults
from geoseg.models.settings import FILLS
from geoseg.samples.augment import Augment

LIGHT = Augment(
    flips=True, quarter_turns=True, brightness=0.2, contrast=0.15, band_brightness=0.1,
    band_contrast=0.1,
)  # fmt: skip
"""conf/augment/light.yaml: what a training takes where nobody chose an augmentation."""
STRONG = Augment(
    flips=True, quarter_turns=True, rotation=45, scale=0.25, brightness=0.4, contrast=0.3,
    band_brightness=0.2, band_contrast=0.2, curve=0.3, noise=0.15, blur=1.0, band_dropout=0.1,
    cutout=0.25,
)  # fmt: skip
"""conf/augment/strong.yaml: or this one, where it starts from weights."""
IMAGES, SERIES, WINDOWS = "single images", "series", "windows through time"
"""What a data set holds."""


@dataclass
class SeriesSamples:
    """How series are shown to the network; what is random is so in training only."""

    pixels: int = 64
    """Pixels of a parcel that a training step sees, drawn anew each time."""
    drop_dates: float = 0.2
    """Largest share of a sample's dates that is dropped at random: clouds differ next year."""
    truncate: float = 0.0
    """Share of the samples of which only the dates up to a random day are seen, so that the
    network serves early in the season too."""
    noise: float = 0.05
    """Deviation of the noise added to all values, in deviations of the band."""
    shift_days: int = 0
    """Days by which a whole series is moved at random, at most."""
    fill: str = "auto"
    """none, linear (gaps filled on a regular grid of days), or auto: as the data set was told,
    and linear for a network that needs it (tempcnn)."""
    step: int | None = None
    """Days between the dates of a filled series; by default as the data set was told, 10."""

    def __post_init__(self) -> None:
        faults = Faults()
        faults.at_least(self, "series.", pixels=1, step=1)
        faults.within(self, "[0, 1]", "series.", "drop_dates", "truncate")
        faults.at_least(self, "series.", noise=0, shift_days=0)
        faults.one_of(self, "series.", fill=FILLS)
        faults.raise_if_any()


def without_choice(augment: dict[str, Any], model: dict[str, Any]) -> dict[str, Any]:
    """An augmentation's settings without `auto`, unless it chooses anything: the note of a run of
    before does not have it. model: the network's settings."""
    chooses = augment["auto"] and model.get("weights") is not None
    return augment if chooses else {k: v for k, v in augment.items() if k != "auto"}


def check_variation(augment: Augment, series: SeriesSamples, holds: str) -> None:
    """Raises: InputError for settings that vary other samples than those of a data set.

    holds: IMAGES, SERIES or WINDOWS.
    """
    faults, usual = Faults(), Augment()
    of_images = [item.name for item in fields(Augment) if item.name != "auto" and holds != IMAGES]
    given = [
        f"augment.{name}={value}"
        for name in of_images
        if (value := getattr(augment, name))
        if value not in (getattr(usual, name), getattr(LIGHT, name))
    ]
    if given:
        faults.add(
            f"{', '.join(given)}: of images; series vary as the settings series.* say; leave it out"
        )
    of_series = {
        IMAGES: [item.name for item in fields(SeriesSamples)],
        SERIES: [],
        WINDOWS: ["pixels", "step"],
    }[holds]
    for name in of_series:
        value = getattr(series, name)
        if value and value != getattr(SeriesSamples(), name):
            faults.add(
                f"series.{name}={value}: not of {holds}, which the data set holds; leave it out"
            )
    faults.raise_if_any()
