"""Find the scenes that a map was made from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from geoseg.dataset.tiles import Dataset
from geoseg.errors import InputError
from geoseg.geo import vrt
from geoseg.maps.folder import DONE, LANDCOVER, REFIT, entries
from geoseg.maps.folder import NAME as RECORD
from geoseg.maps.landcover import MAPS_TAG, MODEL_TAG, ClassMap
from geoseg.outputs.claims.fingerprint import fingerprint
from geoseg.outputs.files import read_note
from geoseg.received import offline
from geoseg.received.cube_slices import on_disk
from geoseg.scenes.bands import Bands
from geoseg.scenes.scene import Scene, find_scenes


def scenes_of(found: ClassMap, dataset: Dataset | None = None) -> tuple[list[Scene], list[str]]:
    """Scenes of a mosaic or of a map of one scene; else those of a data set.

    Returns: the scenes, and notes for people where they can't be found.
    """
    record = _record(found)
    if record is None:
        return ([s for s in dataset.scenes if isinstance(s, Scene)] if dataset else []), []
    try:
        values = read_note(record) or {}
        settings = values.get("settings", {})
        bands = Bands(**settings.get("bands", {}))
        if "series" in settings:  # whose files may hold one band each, all called alike
            bands = replace(bands, order=[])
        done = [e for e in entries(values, record).values() if e.get("status") == DONE]
        paths = [path for entry in done for path in _followed(entry, record.parent)]
        files = list(dict.fromkeys(map(on_disk, paths)))
        # Items of catalogs, and dates, have a file for each band, of which a picture shows one.
        apart = bands.pattern is None and len(paths) > len(done)
        specs = [[file] for file in files] if apart else [files] * bool(files)
        scenes = [scene for spec in specs for scene in find_scenes(spec, bands)]
        # Of a cube each time is a scene; the maps may be of some of them.
        return [scene for scene in scenes if {*scene.paths} & {*paths, *files}], []
    except (InputError, KeyError, TypeError, ValueError, AttributeError, OSError) as error:
        return [], [f"no images in the pictures, as {record} leads to none ({error})"]


def _followed(entry: dict[str, Any], folder: Path) -> list[str]:
    """The files of a scene, if they lie below the maps' folder or were noted on this machine.

    The maps may have been sent, and their record may name any file; but only who made the maps
    here knows the size and time of the files they were made of.
    """
    noted = {tuple(one) for one in entry.get("inputs", ())}
    paths = [str(path) for path in entry["paths"]]
    for path in paths:
        own = vrt.allows(path, str(folder))
        if not own and (offline.is_remote(path) or tuple(fingerprint(path)) not in noted):
            raise InputError(f"{path} is not the file that the map was made of")
    return paths


def learnt_from(found: ClassMap, split: str) -> list[str]:
    """What is to be said of scores on a split that the map's network has learnt from."""
    record = _record(found)
    values = {} if record is None else read_note(record) or {}
    learnt = ["train"] * (MODEL_TAG in found.tags) + ["val"] * bool(values.get(REFIT))
    if split not in learnt:
        return []
    why = " as well (fit.refit=true)" if split == "val" else ""
    return [
        f"split={split}: the network of this map has learnt from it{why}, and knows its labels"
        " better than other ground, unless it was trained on another data set; test, or the labels"
        " of another place, say how good the map is"
    ]


def _record(found: ClassMap) -> Path | None:
    """What predict noted of the maps, if it is there."""
    folder = Path(found.path).absolute().parent
    if MAPS_TAG in found.tags:
        record = folder / found.tags[MAPS_TAG] / RECORD
    elif folder.name == LANDCOVER:
        record = folder.parent / RECORD
    else:
        return None
    return record if record.is_file() else None
