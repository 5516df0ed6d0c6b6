"""Find the stacks of a series."""

from __future__ import annotations

import numpy as np

from geoseg.errors import Faults
from geoseg.scenes.bands import Bands
from geoseg.scenes.stack import Stack, observed
from geoseg.series import offset
from geoseg.series import units as unitmix
from geoseg.series.assemble import assemble
from geoseg.series.naming import entries_of
from geoseg.series.settings import Series


def find_stacks(series: Series, bands: Bands | None = None) -> list[Stack]:
    """The stacks of a series, one per tile, sorted by name.

    Raises: InputError with all faults of all files.
    """
    bands = bands or Bands()
    faults = Faults()
    for key in ("pattern", "extra"):
        if getattr(bands, key):
            remedy = (
                "set series.pattern with the group (?P<band>…)"
                if key == "pattern"
                else "rasters without a date can't be added to a series"
            )
            faults.add(f"bands.{key}: not for a series; {remedy}")
    if series.path is None:
        faults.add("series.path: none given; set series.path=<folder, glob or list of rasters>")
    faults.raise_if_any()
    found = entries_of(series, bands)
    stacks = assemble(found, series, bands)
    if series.check and not found.products:
        looks = [offset.look(stack) for stack in stacks]
        _check_units(stacks, looks)
        offset.check(stacks, looks)
    return stacks


def _check_units(stacks: list[Stack], looks: list[np.ndarray]) -> None:
    """Raises: InputError if dates, of one stack or of several, are in different units."""
    pairs = list(zip(stacks, looks, strict=True))
    bright = [unitmix.levels(values, ~observed(values)) for _, values in pairs]
    names = [stack.name for stack in stacks for _ in stack.dates]
    dates_ = [day for stack in stacks for day in stack.dates]
    dtype = "float32" if any(stack.dtype == "float32" for stack in stacks) else stacks[0].dtype
    unitmix.check(names, dates_, np.concatenate(bright), dtype)
