"""Predict maps of image scenes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from geoseg.errors import InputError
from geoseg.geo import raster
from geoseg.geo.tiling import Tiling
from geoseg.maps import folder
from geoseg.maps.folder import JOURNAL, NAME
from geoseg.models.resample import resampled
from geoseg.outputs.claims import claim
from geoseg.outputs.lock import alone
from geoseg.prediction.bands import bands_for, told
from geoseg.prediction.items import describe
from geoseg.prediction.network import Engine, TrainedNetwork
from geoseg.prediction.plan import PredictionReport, map_scenes, settings_of
from geoseg.prediction.record import Record
from geoseg.scenes.bands import Bands
from geoseg.scenes.scene import find_scenes
from geoseg.stac import sources

PRODUCTS = (*folder.FOLDERS, NAME, JOURNAL)


@alone("predict", "out")
def predict(  # noqa: PLR0913 one keyword per key of the command, as notebooks call it
    network: TrainedNetwork,
    scenes: Any,
    out: str | Path,
    *,
    bands: Bands | None = None,
    tiling: Tiling | None = None,
    engine: Engine | None = None,
    overwrite: bool = False,
    stac: bool = False,
) -> PredictionReport:
    """Write class maps and confidence of scenes; goes on where an earlier call stopped.

    scenes: folder, glob or list of GeoTIFFs, or a STAC catalog. bands: what these do not say of
    their bands.
    tiling: of the windows; by default that of the training. engine: by default this process.
    stac: describe each map by a STAC item beside it, too.
    Scenes that do not suit the model, or can't be read, are reported; the others are done.
    Raises: InputError if there are no scenes, or `out` holds an output of other settings.
    """
    raster.read_once()
    network.check_layers()
    out, card = Path(out), network.card
    tiling = tiling or card.tiling
    refused: dict[str, InputError] = {}
    wanted = bands_for(card, bands, of_catalog=bool(sources.split(scenes)[0]))
    with raster.environment():
        found = find_scenes(scenes, wanted, refused=refused)
        if network.running.resample:
            found = [resampled(scene, card) for scene in found]
    settings = settings_of(network, tiling) | {"bands": told(wanted)}
    claim(out, settings, command="predict", products=PRODUCTS, overwrite=overwrite)
    record = Record(out, network.hash, settings, layers=network.running.chosen_layers)
    report = PredictionReport(out, refused={name: str(error) for name, error in refused.items()})
    map_scenes(network, found, tiling, record, report, engine)
    describe(found, record, report, wanted=stac)
    return report
