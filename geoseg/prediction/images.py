"""Predict maps of image scenes."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from geoseg.errors import Faults, InputError
from geoseg.geo import raster, vrt
from geoseg.geo.raster import SUFFIXES
from geoseg.geo.tiling import Tiling
from geoseg.maps import folder
from geoseg.maps.folder import JOURNAL, NAME
from geoseg.models.card import ModelCard
from geoseg.outputs.claims import claim
from geoseg.outputs.lock import alone
from geoseg.prediction.network import Engine, TrainedNetwork
from geoseg.prediction.plan import PredictionReport, make_maps, note, plan, settings_of
from geoseg.prediction.record import Record
from geoseg.prediction.series import told
from geoseg.scenes.bands import Bands
from geoseg.scenes.scene import find_files, find_scenes

PRODUCTS = (*folder.FOLDERS, NAME, JOURNAL)


@alone("predict", "out")
def predict(
    network: TrainedNetwork,
    scenes: Any,
    out: str | Path,
    *,
    bands: Bands | None = None,
    tiling: Tiling | None = None,
    engine: Engine | None = None,
    overwrite: bool = False,
) -> PredictionReport:
    """Write class maps and confidence of scenes; goes on where an earlier call stopped.

    scenes: folder, glob or list of GeoTIFFs. bands: what the files do not say of their bands.
    tiling: of the windows; by default that of the training. engine: by default this process.
    Scenes that do not suit the model, or can't be read, are reported; the others are done.
    Raises: InputError if there are no scenes, or `out` holds an output of other settings.
    """
    raster.read_once()
    network.check_layers()
    out, card = Path(out), network.card
    tiling = tiling or card.tiling
    refused: dict[str, InputError] = {}
    wanted = bands_for(card, bands)
    with raster.environment():
        found = find_scenes(scenes, wanted, refused=refused)
    settings = settings_of(network, tiling) | {"bands": told(wanted)}
    claim(out, settings, command="predict", products=PRODUCTS, overwrite=overwrite)
    record = Record(out, network.hash, settings, layers=network.running.chosen_layers)
    report = PredictionReport(out, refused={name: str(error) for name, error in refused.items()})
    jobs = plan(found, network, tiling, record, report)
    names = {scene.name for scene in found} | set(refused)
    report.others = [name for name in record.scenes if name not in names]
    note(record, report, found)
    if jobs:
        make_maps(network, jobs, record, report, engine)
    return report


def bands_for(card: ModelCard, bands: Bands | None = None) -> Bands:
    """How the bands of new scenes are found: as given, else as in the training.

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
    wanted = replace(
        bands,
        nodata=card.nodata if bands.nodata is None else bands.nodata,
        partial=card.partial if bands.partial is None else bands.partial,
        extra=dict(card.extra) | dict(bands.extra),
    )
    if bands.pattern is not None and not bands.order:
        # Files of other bands must neither be missed nor decide on the grid.
        wanted = replace(wanted, order=list(card.bands))
    return wanted
