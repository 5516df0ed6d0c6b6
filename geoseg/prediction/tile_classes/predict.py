"""Write the classes of the tiles of scenes, as a raster and as polygons."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely

from geoseg.errors import Faults, InputError
from geoseg.geo import raster
from geoseg.geo.grid import Grid, Window
from geoseg.geo.layer_styles import qml, write_styled
from geoseg.geo.legend import NODATA, Legend
from geoseg.geo.vector import write_layer
from geoseg.maps import landcover
from geoseg.models.card import ModelCard, find_weights, weights_hash
from geoseg.models.settings import CLASSIFY
from geoseg.outputs.claims import check_apart
from geoseg.outputs.files import make_folder
from geoseg.outputs.lock import alone
from geoseg.outputs.progress import Progress
from geoseg.prediction.bands import scenes_for, told
from geoseg.prediction.driver import Ledger, Output, Prediction
from geoseg.prediction.network import InferenceSettings
from geoseg.prediction.report import PredictionReport
from geoseg.received import tensor_file
from geoseg.scenes.bands import Bands
from geoseg.scenes.dated import AnyScene
from geoseg.scenes.scene import SceneFiles

if TYPE_CHECKING:
    from geoseg.prediction.tile_classes.classify import TileClasses, TilePresence

FOLDER = "tile_classes"
"""Of the rasters and layers, in the output."""
RECORD = "tile_classes.json"
NO_IMAGE = 255
"""In rasters of tiles that may have several classes."""
TILED = ("device", "precision", "batch_size", "resample", "memory", "readers", "halo", "compile")
"""Settings of predictions that tiles heed, or to which they make no difference."""


def is_of_tiles(checkpoint: Any) -> bool:
    """Whether a checkpoint is of a network for whole tiles. Raises: InputError if it is damaged."""
    if isinstance(checkpoint, (list, tuple)):
        return False
    return ModelCard.read(find_weights(checkpoint)).model.name == CLASSIFY


def check_settings(running: InferenceSettings) -> None:
    """Raises: InputError for settings that tiles have no part for."""
    faults, usual = Faults(), InferenceSettings()
    for item in fields(InferenceSettings):
        if item.name not in TILED and getattr(running, item.name) != getattr(usual, item.name):
            faults.add(
                f"predict.{item.name}: of maps of pixels, and this checkpoint gives whole tiles a"
                " class; leave it out"
            )
    faults.raise_if_any()


@alone("predict", "out")
def predict_tiles(
    checkpoint: str | Path,
    scenes: Any,
    out: str | Path,
    *,
    bands: Bands | None = None,
    running: InferenceSettings | None = None,
    overwrite: bool = False,
) -> PredictionReport:
    """Write the classes of the scenes' tiles; goes on where an earlier call stopped.

    scenes, bands: as of `images.predict`.
    Scenes that do not suit the model, or can't be read, are reported; the others are done.
    Raises: InputError if there are no scenes, or `out` holds an output of other settings.
    """
    running = running or InferenceSettings()
    check_settings(running)
    path, out = find_weights(checkpoint), Path(out)
    card, model = ModelCard.read(path), weights_hash(path)
    tensor_file.check(path)
    raster.read_once()
    found = scenes_for(card, SceneFiles(scenes, bands or Bands()), resample=running.resample)
    check_apart(out, (FOLDER,), found.files)
    settings = {
        "model": model, "bands": told(found.bands), "resample": running.resample,
        "tiling": asdict(card.tiling), "precision": running.precision,
    }  # fmt: skip
    output = Output(out, model, settings, (FOLDER, RECORD), record=RECORD, paths=paths_of)
    record = output.take(overwrite=overwrite)
    make_folder(out / FOLDER)
    report = PredictionReport(out, made="classes", folder=FOLDER, record=RECORD)
    report.refused |= found.refused
    run = Prediction(_Tiles(path, card, running, model), record, report)
    run.make(found.scenes)
    return report


@dataclass(frozen=True)
class _Tiles:
    """Classes of scenes' tiles, by a network that gives a whole tile one."""

    path: Path
    card: ModelCard
    running: InferenceSettings
    model: str
    """Hash of the network."""

    def plan(self, scenes: list[AnyScene], run: Prediction) -> list[tuple[AnyScene, str]]:
        """Scenes that are not done, with the stamps of their files."""
        jobs = []
        for scene in scenes:
            stamp = run.record.stamp(scene)
            if run.record.is_done(scene, stamp):
                run.report.before.append(scene.name)
            elif scene.name not in run.report.failed:
                jobs.append((scene, stamp))
        return jobs

    def do(self, jobs: Sequence[tuple[AnyScene, str]], run: Prediction) -> None:
        """Classify the tiles of scenes, one scene after the other."""
        # From here on torch is needed; what could be wrong without it has been said.
        from geoseg.prediction.tile_classes.classify import BATCH, TileClassifier

        running, out = self.running, run.report.out
        batch = running.batch_size or BATCH
        classifier = TileClassifier(
            self.path, self.card, running.device, running.precision, batch
        )  # fmt: skip
        pixels = sum(scene.grid.window.area for scene, _ in jobs)
        begin = time.perf_counter()
        with raster.environment(), Progress(len(jobs), pixels) as progress:
            ledger = Ledger(run, progress, {scene.name: stamp for scene, stamp in jobs})
            for scene, _ in jobs:
                since = time.perf_counter()
                try:
                    facts = self._write(out, scene.name, classifier.classify(scene))
                except InputError as error:
                    self.remove(out, scene.name)
                    ledger.failed(scene, str(error))
                    continue
                run.report.tiles[scene.name] = facts["tiles"]
                ledger.advance(scene.grid.window.area)
                ledger.done(scene, time.perf_counter() - since, **facts)
        run.report.seconds["total"] = time.perf_counter() - begin

    def _write(self, out: Path, scene: str, found: TileClasses | TilePresence) -> dict[str, Any]:
        """Write a scene's files. Returns: tiles of each class and without image, for the record."""
        from geoseg.prediction.tile_classes.classify import TilePresence

        legend = self.card.legend
        if isinstance(found, TilePresence):
            write_presence(out, scene, found, legend)
        else:
            write(out, scene, found, legend, self.model)
        counts = dict(zip(legend.names, found.counts(legend.codes), strict=True))
        return {"tiles": counts, "without_image": int((~found.seen).sum())}

    def remove(self, out: Path, scene: str) -> None:
        path, layer = paths_of(out, scene)
        for one in (path, *landcover.side_files(path), layer):
            one.unlink(missing_ok=True)


def paths_of(out: Path, scene: str) -> tuple[Path, Path]:
    """Raster and layer of a scene."""
    return out / FOLDER / f"{scene}.tif", out / FOLDER / f"{scene}.gpkg"


def write(out: Path, scene: str, found: TileClasses, legend: Legend, model: str) -> None:
    """Write a raster with a pixel for each tile, and a layer with a square for each that has a
    class. Raises: InputError if the folder can't be written."""
    path, layer = paths_of(out, scene)

    def read(window: Window) -> np.ndarray:
        return found.codes[window.top : window.bottom, window.left : window.right]

    landcover.write(path, found.grid, legend, read, tags=landcover.tags(legend, model))
    rows, columns = np.nonzero(found.codes != NODATA)
    codes = found.codes[rows, columns]
    names = dict(zip(legend.codes, legend.names, strict=True))
    values = {
        "code": codes.astype(np.int32),
        "class": [names[int(code)] for code in codes],
        "confidence": found.confidence[rows, columns],
    }
    write_styled(
        layer, values, geometries=_squares(found.grid, rows, columns), crs=found.grid.crs,
        style=qml(legend),
    )  # fmt: skip


def write_presence(out: Path, scene: str, found: TilePresence, legend: Legend) -> None:
    """Write a raster with a band for each class (1 = the tile has it, 0 = it has not, 255 = no
    image), and a layer with a square for each tile that has an image and two columns for each
    class. Raises: InputError if the folder can't be written."""
    path, layer = paths_of(out, scene)
    values = np.where(found.seen, found.there, NO_IMAGE).astype(np.uint8)
    names = tuple(legend.names)
    with raster.create(
        path, found.grid, dtype="uint8", count=len(names), nodata=NO_IMAGE, names=names
    ) as file:
        file.write(values, found.grid.window)
    rows, columns = np.nonzero(found.seen)
    boxes = _squares(found.grid, rows, columns)
    table: dict[str, Any] = {}
    for name, there, p in zip(names, found.there, found.probabilities, strict=True):
        table[f"has_{name}"] = there[rows, columns].astype(np.int32)
        table[f"p_{name}"] = p[rows, columns]
    write_layer(layer, table, layer=layer.stem, geometries=boxes, crs=found.grid.crs)


def _squares(grid: Grid, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """(N,) squares of tiles."""
    boxes = [
        shapely.box(*grid.bounds_of(Window(row, column, 1, 1)))
        for row, column in zip(rows.tolist(), columns.tolist(), strict=True)
    ]
    return np.array(boxes, object)
