"""Say what an image may suffer, and how much of it.

These stand apart from the code that reads them because that code imports torch, and nobody should
wait for torch to see `--help` or a misspelt key.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from geoseg.errors import Faults, shown
from geoseg.samples.corruptions import check_kinds

GRADIENT = ("fgsm", "pgd", "segpgd", "cospgd")
"""Attacks on each image by itself."""
UNIVERSAL, PATCH = "universal", "patch"
ATTACKS = (*GRADIENT, UNIVERSAL, PATCH)
ALL = "all"
"""The attacks on each image by itself, of which the worst counts."""


@dataclass
class StressSettings:
    """What images suffer."""

    kinds: list[str] = field(
        default_factory=lambda: [
            "haze",
            "shadow",
            "season",
            "exposure",
            "blur",
            "jpeg",
            "noise",
            "shift",
            "resolution",
            "stripes",
            "bands",
            "clouds",
            "rotation",
        ]
    )
    """What nature and cameras do: haze, shadow, season, exposure, blur, jpeg, noise, shift (bands
    apart), resolution, stripes, bands (missing ones), clouds, rotation; [] = nothing."""
    strengths: int = 5
    """Steps from the image as it is to the strongest."""
    attacks: list[str] = field(default_factory=list)
    """What somebody does who knows the network: fgsm, pgd, segpgd, cospgd, universal (one change
    for all images), patch; all = the first four. They take far longer than what nature does."""
    epsilon: list[float] = field(default_factory=lambda: [0.01, 0.03, 0.1])
    """Largest change of a value by an attack, in standard deviations of its band."""
    steps: int = 20
    """Of attacks that go step by step: fewer than 20 can be weaker than a single large one."""
    patch: list[float] = field(default_factory=lambda: [0.01, 0.03])
    """Shares of a tile's area that the patch covers."""
    tiles: int = 16
    """Tiles of the split that are looked at, drawn by the seed; 0 = all."""
    seed: int = 0
    """Of the tiles drawn, of noise, clouds and starts of attacks."""

    @property
    def wanted(self) -> tuple[str, ...]:
        """Names of the attacks, each once."""
        named = (GRADIENT if name == ALL else (name,) for name in self.attacks)
        return tuple(dict.fromkeys(name for names in named for name in names))

    def __post_init__(self) -> None:
        faults = Faults()
        faults.attempt(check_kinds, self.kinds)
        for name in self.wanted:
            if name not in ATTACKS:
                options = ", ".join((*ATTACKS, ALL))
                faults.add(f"stress.attacks: {shown(name)} is unknown; choose from {options}")
        faults.at_least(self, "stress.", strengths=1, steps=1, tiles=0, seed=0)
        for value in self.epsilon:
            if not 0 < value < float("inf"):
                faults.add(f"stress.epsilon: {value} must be above 0, in standard deviations")
        for value in self.patch:
            if not 0 < value <= 0.5:
                faults.add(f"stress.patch: {value} must be a share of the area, up to 0.5")
        faults.raise_if_any()
