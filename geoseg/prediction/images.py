"""Predict maps of image scenes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from geoseg.geo import raster
from geoseg.geo.tiling import Tiling
from geoseg.maps import folder
from geoseg.maps.folder import JOURNAL, NAME
from geoseg.outputs.claims import check_apart
from geoseg.outputs.lock import alone
from geoseg.prediction.bands import scenes_for, told
from geoseg.prediction.maps import Maps
from geoseg.prediction.network import Engine, TrainedNetwork
from geoseg.prediction.report import PredictionReport
from geoseg.scenes.bands import Bands
from geoseg.scenes.scene import SceneFiles

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
    files = SceneFiles(scenes, bands or Bands())
    found = scenes_for(card, files, resample=network.running.resample)
    check_apart(out, PRODUCTS, found.files)
    product = Maps(network, tiling or card.tiling, engine or Engine())
    others = {"bands": told(found.bands)}
    run = product.begin(out, others, products=PRODUCTS, overwrite=overwrite)
    run.report.refused |= found.refused
    run.make(found.scenes)
    return run.finish(found.scenes, stac=stac)
