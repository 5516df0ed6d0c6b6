"""Write the classes of the tiles of scenes, as a raster and as polygons."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
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
from geoseg.models import suitability
from geoseg.models.card import ModelCard, find_weights, weights_hash
from geoseg.models.settings import CLASSIFY
from geoseg.outputs.claims import claim, fingerprint
from geoseg.outputs.counted import counted
from geoseg.outputs.files import make_folder, read_note, write_json
from geoseg.outputs.lock import alone
from geoseg.outputs.stamp import broken, stamps
from geoseg.prediction.bands import scenes_for, told
from geoseg.prediction.network import InferenceSettings
from geoseg.received import offline, tensor_file
from geoseg.scenes.bands import Bands
from geoseg.scenes.dated import AnyScene
from geoseg.scenes.scene import SceneFiles

if TYPE_CHECKING:
    from geoseg.prediction.tile_classes.classify import (
        TileClasses,
        TileClassifier,
        TilePresence,
    )

FOLDER = "tile_classes"
"""Of the rasters and layers, in the output."""
RECORD = "tile_classes.json"
NO_IMAGE = 255
"""In rasters of tiles that may have several classes."""
HEEDED = ("device", "precision", "batch_size", "resample", "memory", "readers", "halo", "compile")
"""Settings of predictions that tiles heed, or to which they make no difference."""


def is_of_tiles(checkpoint: Any) -> bool:
    """Whether a checkpoint is of a network for whole tiles. Raises: InputError if it is damaged."""
    if isinstance(checkpoint, (list, tuple)):
        return False
    return ModelCard.read(find_weights(checkpoint)).model.name == CLASSIFY


@dataclass
class TileReport:
    """What became of the scenes."""

    out: Path
    done: dict[str, list[int]] = field(default_factory=dict)
    """Tiles of each class, by scene."""
    before: list[str] = field(default_factory=list)
    """Those that an earlier call had done."""
    refused: dict[str, str] = field(default_factory=dict)
    """Those without classes, and why."""
    names: tuple[str, ...] = ()

    def __str__(self) -> str:
        total = np.sum([*self.done.values(), [0] * len(self.names)], axis=0)
        classes = ", ".join(f"{name} {n}" for name, n in zip(self.names, total, strict=True) if n)
        text = f"{counted(len(self.done), 'scene')} done"
        if classes:
            text += f", tiles of {classes}"
        if self.before:
            text += f"; {len(self.before)} were done before"
        return f"{text}; rasters and layers: {self.out / FOLDER}"

    def raise_if_incomplete(self) -> None:
        """Raises: InputError if a scene that was asked for has no classes."""
        if self.refused:
            names = ", ".join(list(self.refused)[:5]) + (" …" if len(self.refused) > 5 else "")
            raise InputError(f"scenes without classes: {len(self.refused)} ({names})")


def check_settings(running: InferenceSettings) -> None:
    """Raises: InputError for settings that tiles have no part for."""
    faults, usual = Faults(), InferenceSettings()
    for item in fields(InferenceSettings):
        if item.name not in HEEDED and getattr(running, item.name) != getattr(usual, item.name):
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
) -> TileReport:
    """Write the classes of the scenes' tiles; goes on where an earlier call stopped.

    scenes, bands: as of `images.predict`.
    Scenes that do not suit the model, or can't be read, are reported; the others are done.
    Raises: InputError if there are no scenes, or `out` holds an output of other settings.
    """
    running = running or InferenceSettings()
    check_settings(running)
    path, out = find_weights(checkpoint), Path(out)
    card = ModelCard.read(path)
    tensor_file.check(path)
    raster.read_once()
    found = scenes_for(card, SceneFiles(scenes, bands or Bands()), resample=running.resample)
    settings = {
        "model": weights_hash(path), "bands": told(found.bands), "resample": running.resample,
        "tiling": asdict(card.tiling), "precision": running.precision,
    }  # fmt: skip
    with raster.environment():
        claim(out, settings, command="predict", products=(FOLDER, RECORD), overwrite=overwrite)
        make_folder(out / FOLDER)
        report = TileReport(out, names=tuple(card.legend.names))
        record = _Record(out, settings)
        for name, reason in found.refused.items():
            _refuse(name, reason, record, report)
        _classify(found.scenes, _classifier(path, card, running), record, report)
    return report


def _classifier(path: Path, card: ModelCard, running: InferenceSettings) -> TileClassifier:
    # From here on torch is needed; what could be wrong without it has been said.
    from geoseg.prediction.tile_classes.classify import BATCH, TileClassifier

    batch = running.batch_size or BATCH
    return TileClassifier(path, card, running.device, running.precision, batch)


class _Record:
    """What was made of which files, kept on disk."""

    def __init__(self, out: Path, settings: dict[str, Any]) -> None:
        self._out, self._settings = out, settings
        before = (read_note(out / RECORD) or {}).get("scenes")
        self._scenes: dict[str, Any] = before if isinstance(before, dict) else {}

    def is_done(self, scene: AnyScene) -> bool:
        entry = self._scenes.get(scene.name)
        if not isinstance(entry, dict) or entry.get("inputs") != _inputs(scene):
            return False
        files = entry.get("files")
        return bool(files) and not broken(self._out, files)

    def note(self, name: str, entry: dict[str, Any]) -> None:
        self._scenes[name] = entry
        write_json(self._out / RECORD, {"settings": self._settings, "scenes": self._scenes})


def _inputs(scene: AnyScene) -> list[Any]:
    """Path, size and time of each file; of one on a server its address must do."""
    return [[p] if offline.is_remote(p) else fingerprint(p) for p in scene.paths]


def _classify(
    scenes: Sequence[AnyScene], classifier: TileClassifier, record: _Record, report: TileReport
) -> None:
    from geoseg.prediction.tile_classes.classify import TilePresence

    card, legend = classifier.card, classifier.card.legend
    suitability.say_doubts(scenes, card)
    for scene in scenes:
        if record.is_done(scene):
            report.before.append(scene.name)
            continue
        try:
            suited = suitability.check(scene, card)
            found = classifier.classify(suited.scene)
        except InputError as error:
            _refuse(scene.name, str(error), record, report)
            continue
        for note in suited.notes:
            print(f"geoseg predict: WARNING: {note}", file=sys.stderr)
        if isinstance(found, TilePresence):
            counts = found.there.sum((1, 2)).tolist()
            without = int((~found.seen).sum())
            paths = write_presence(report.out, scene.name, found, legend)
        else:
            counts = [int((found.codes == code).sum()) for code in legend.codes]
            without = int((found.codes == NODATA).sum())
            paths = write(report.out, scene.name, found, legend, weights_hash(classifier.path))
        report.done[scene.name] = counts
        record.note(
            scene.name,
            {
                "status": "done",
                "tiles": dict(zip(legend.names, counts, strict=True)),
                "without_image": without,
                "inputs": _inputs(scene),
                "files": stamps(report.out, paths),
                "notes": list(suited.notes),
            },
        )


def _refuse(name: str, reason: str, record: _Record, report: TileReport) -> None:
    """Say and note that a scene has no classes; those of before would contradict that."""
    print(f"geoseg predict: refused: {reason}", file=sys.stderr)
    path, layer = paths_of(report.out, name)
    for one in (path, *landcover.side_files(path), layer):
        one.unlink(missing_ok=True)
    report.refused[name] = reason
    record.note(name, {"status": "refused", "reason": reason})


def paths_of(out: Path, scene: str) -> tuple[Path, Path]:
    """Raster and layer of a scene."""
    return out / FOLDER / f"{scene}.tif", out / FOLDER / f"{scene}.gpkg"


def write(
    out: Path, scene: str, found: TileClasses, legend: Legend, model: str
) -> tuple[Path, Path]:
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
    return path, layer


def write_presence(out: Path, scene: str, found: TilePresence, legend: Legend) -> tuple[Path, Path]:
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
    return path, layer


def _squares(grid: Grid, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """(N,) squares of tiles."""
    boxes = [
        shapely.box(*grid.bounds_of(Window(row, column, 1, 1)))
        for row, column in zip(rows.tolist(), columns.tolist(), strict=True)
    ]
    return np.array(boxes, object)
