"""Sources: the scenes that a map was made of, found by what the map says of itself."""

from __future__ import annotations

from pathlib import Path

from geoseg.bands import Bands
from geoseg.dataset import Dataset
from geoseg.errors import InputError
from geoseg.landcover import MAPS_TAG, Map
from geoseg.maps import LANDCOVER
from geoseg.output import read_note
from geoseg.record import DONE
from geoseg.record import NAME as RECORD
from geoseg.scene import Scene, find_scenes


def scenes_of(found: Map, dataset: Dataset | None = None) -> tuple[list[Scene], list[str]]:
    """Scenes of a mosaic or of a map of one scene; else those of a data set.

    Returns: the scenes, and notes for people where they can't be found.
    """
    record = _record(found)
    if record is None:
        return ([s for s in dataset.scenes if isinstance(s, Scene)] if dataset else []), []
    try:
        values = read_note(record) or {}
        bands = Bands(**values.get("settings", {}).get("bands", {}))
        done = [entry for entry in values["scenes"].values() if entry.get("status") == DONE]
        paths = [path for entry in done for path in entry["paths"]]
        return find_scenes(paths, bands) if paths else [], []
    except (InputError, KeyError, TypeError) as error:
        return [], [f"no images in the pictures, as {record} leads to none ({error})"]


def _record(found: Map) -> Path | None:
    """What predict noted of the maps, if it is there."""
    folder = Path(found.path).absolute().parent
    if MAPS_TAG in found.tags:
        record = folder / found.tags[MAPS_TAG] / RECORD
    elif folder.name == LANDCOVER:
        record = folder.parent / RECORD
    else:
        return None
    return record if record.is_file() else None
