"""Find what is to be predicted, with the bands of the model."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Any

from geoseg.errors import Faults, InputError
from geoseg.geo import raster, vrt
from geoseg.geo.raster import SUFFIXES
from geoseg.models.card import ModelCard
from geoseg.models.resample import resampled
from geoseg.scenes.bands import Bands, is_nameless
from geoseg.scenes.scene import Scene, SceneFiles, find_files, find_scenes
from geoseg.stac import sources


def bands_for(card: ModelCard, bands: Bands | None = None, *, of_catalog: bool = False) -> Bands:
    """How the bands of new scenes or series are found: as given, else as in the training.

    of_catalog: whether a catalog says which bands files hold, and under several names.
    Raises: InputError if an added raster of the training is gone and no other is given.
    """
    bands = bands or Bands()
    faults = Faults()
    for name in set(card.extra) - set(bands.extra):
        if not vrt.allows(card.extra[name], os.getcwd()):
            faults.add(
                f"bands.extra.{name}: the model's file names {card.extra[name]}, which lies outside"
                f" this folder and is not read unasked; set bands.extra.{name}=<that, or another>"
            )
            continue
        try:
            find_files(card.extra[name], SUFFIXES, "rasters")
        except InputError:
            faults.add(
                f"bands.extra.{name}: the model was trained with this raster, and it is not at"
                f" {card.extra[name]} any more; set bands.extra.{name}=<file, folder or glob>"
            )
    faults.raise_if_any()
    order = list(bands.order)
    by_name = card.series is not None or bands.pattern is not None
    by_name = by_name or (of_catalog and not any(map(is_nameless, card.bands)))
    if not order and by_name:
        # Files of other bands must neither be missed nor decide on the grid.
        order = list(card.bands)
    return replace(
        bands,
        order=order,
        nodata=card.nodata if bands.nodata is None else bands.nodata,
        partial=card.partial if bands.partial is None else bands.partial,
        extra=dict(card.extra) | dict(bands.extra),
    )


@dataclass(frozen=True)
class FoundScenes:
    """Scenes to predict, and how they were found."""

    scenes: list[Scene]
    refused: dict[str, str]
    """Those with faults by name, and which."""
    bands: Bands
    files: tuple[str, ...]
    """All that are read, of those with faults, too."""


def scenes_for(card: ModelCard, files: SceneFiles, *, resample: bool = False) -> FoundScenes:
    """The scenes of files with the bands of a model.

    resample: read those whose pixels are not of the model's size at that size.
    Raises: InputError if there are none, or an added raster is gone.
    """
    refused: dict[str, InputError] = {}
    catalogs, others = sources.split(files.spec)
    bands = bands_for(card, files.bands, of_catalog=bool(catalogs))
    with raster.environment():
        found = find_scenes(files.spec, bands, refused=refused)
        if resample:
            found = [resampled(scene, card) for scene in found]
    named = find_files(others, SUFFIXES, "rasters") if others else []
    read = tuple(dict.fromkeys([*named, *(path for scene in found for path in scene.inputs)]))
    return FoundScenes(found, {name: str(error) for name, error in refused.items()}, bands, read)


def told(bands: Bands) -> dict[str, Any]:
    """What the settings say of bands, as JSON values: JSON knows no NaN."""
    return bands.named() | {"nodata": None if bands.nodata is None else str(bands.nodata)}
