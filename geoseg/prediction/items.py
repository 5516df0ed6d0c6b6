"""Describe the maps of a prediction as STAC items beside them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, time
from pathlib import Path

from geoseg.geo import raster
from geoseg.maps.folder import CLEAR, FILES, map_paths
from geoseg.maps.layers import LAYERS
from geoseg.maps.stac_item import write_map_item
from geoseg.prediction.record import Record
from geoseg.prediction.report import PredictionReport
from geoseg.scenes.dated import AnyScene
from geoseg.scenes.scene import Scene
from geoseg.series import dates
from geoseg.stac.item import Times, path_of

KEY = "stac"
"""Of the item's stamp in the record."""
_TIME_TAG = "TIFFTAG_DATETIME"


def describe(
    scenes: Sequence[AnyScene], record: Record, report: PredictionReport, *, wanted: bool
) -> None:
    """Write the items of all maps that are there; of those made anew no older one may stay.

    Raises: InputError if a file can't be read or an item can't be written.
    """
    mapped = {*report.done, *report.before}
    for scene in scenes:
        path = map_paths(report.out, scene.name)[0]
        item = path_of(path)
        if scene.name not in mapped or record.has(scene.name, KEY, item):
            continue
        if wanted:
            counts = report.out / CLEAR / path.name
            write_map_item(
                path,
                times=times_of(scene),
                layers=_layers(record, scene.name),
                counts=counts if scene.dates and counts.is_file() else None,
            )
            record.keep(scene.name, KEY, item)
        else:
            item.unlink(missing_ok=True)
    if wanted:
        record.save()


def times_of(scene: AnyScene) -> Times | None:
    """When the images of a scene were taken: by its dates, its STAC item, the tag of a file, or a
    file's name."""
    if scene.dates:
        return Times.of([datetime.combine(day, time()) for day in scene.dates])
    if isinstance(scene, Scene) and scene.taken is not None:
        return Times.of(scene.taken)
    first = scene.paths[0]
    when = dates.parse(raster.tags(first).get(_TIME_TAG, "")) or dates.find(Path(first).stem)
    return None if when is None else Times.of([when])


def _layers(record: Record, name: str) -> dict[str, Path]:
    """Layers beside a map, by their names."""
    known = record.scenes[name].get(FILES, {})
    out = record.out
    return {
        layer: out / f"{layer}/{name}.tif" for layer in LAYERS if f"{layer}/{name}.tif" in known
    }
