"""Name the files of a folder of maps, and read the record of what was made."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from geoseg.errors import InputError, shown
from geoseg.geo import raster
from geoseg.geo.grid import Grid
from geoseg.geo.legend import Legend
from geoseg.maps import landcover
from geoseg.maps.layers import BEYOND, CONFIDENCE, LAYERS, NOVELTY
from geoseg.outputs.files import parse_json
from geoseg.scenes.scene import find_files
from geoseg.stac.item import path_of

NAME = "predict.json"
DONE, REFUSED, FAILED = "done", "refused", "failed"
FILES = "files"
"""Key of the stamps of what was written."""
REFIT = "refit"
"""Key that tells that the network has learnt from val, too (fit.refit)."""
NOVEL_SHARE = "novel_share"
"""Key of the share of a scene's pixels that are beyond all that the network knows."""


def journal_of(record: str) -> str:
    """Name of the file beside a record: a line for each scene since that was last written."""
    return f".{Path(record).stem}.journal"


JOURNAL = journal_of(NAME)


def find_maps(maps: Any) -> list[str]:
    """Files of class maps. maps: output folders of predict, folders, globs or files; or a list.

    Raises: InputError if there is none.
    """
    spec = []
    for part in maps if isinstance(maps, (list, tuple)) else [maps]:
        inside = Path(os.path.expanduser(str(part))) / LANDCOVER
        spec.append(str(inside) if inside.is_dir() else str(part))
    return find_files(spec, raster.SUFFIXES, "maps")


def entries(record: dict[str, Any], path: Path) -> dict[str, dict[str, Any]]:
    """What a record says of its scenes. Raises: InputError if that is something else."""
    found = record.get("scenes", {})
    if not isinstance(found, dict) or not all(isinstance(e, dict) for e in found.values()):
        raise InputError(
            f"{path}: not as geoseg.predict writes it (scenes: {shown(found)}); predict anew"
        )
    return found


def _entries(found: Any) -> dict[str, dict[str, Any]]:
    """Entries by scene, of what was read; what is none is left out."""
    if not isinstance(found, dict):
        return {}
    return {name: entry for name, entry in found.items() if isinstance(entry, dict)}


def _journalled(journal: Path) -> dict[str, dict[str, Any]]:
    """What a call that was killed had noted; its last line may be torn."""
    found: dict[str, dict[str, Any]] = {}
    if journal.exists():
        for line in journal.read_text(encoding="utf-8", errors="replace").splitlines():
            with suppress(ValueError):  # what a torn line was of is done again
                found |= _entries(parse_json(line))
    return found


CLEAR = "clear"
"""Folder with the number of clear dates of each pixel, of series."""
LANDCOVER = "landcover"
"""Folder of the class maps; each layer beside them has one of its own name."""
FOLDERS = (LANDCOVER, *LAYERS)
"""All folders of maps that an output may have."""


def map_paths(out: Path, scene: str, layers: Sequence[str] = (CONFIDENCE,)) -> tuple[Path, ...]:
    """Class map of a scene, and the layers beside it."""
    return tuple(out / folder / f"{scene}.tif" for folder in (LANDCOVER, *layers))


def beside_of(path: str | Path, grid: Grid, layer: str) -> Path | None:
    """The layer that lies beside a class map of predict; None without.

    Raises: InputError if what lies there is not on the map's grid.
    """
    path = Path(path)
    beside = path.parent.parent / layer / path.name
    if path.parent.name != LANDCOVER or not beside.exists():
        return None
    check_beside(beside, layer, path, grid)
    return beside


def check_beside(beside: Path, layer: str, path: str | Path, grid: Grid) -> None:
    """Raises: InputError if a raster can't be the layer of a map."""
    facts = raster.info(beside)
    if facts.dtype != "uint8" or not (facts.grid and facts.grid.coincides(grid)):
        raise InputError(
            f"{beside}: not the {layer} of {path}: expected uint8 on the same grid; predict anew"
        )


def novel_share(path: Path) -> float:
    """Share of the pixels with a class that are beyond all that is known, of a novelty raster.

    Raises: InputError if it is damaged.
    """
    seen = novel = 0
    with raster.environment(), raster.Raster(path) as file:
        for window in file.grid.window.blocks(raster.BLOCK):
            rows = file.read(window)[0][0]
            seen += int((rows != LAYERS[NOVELTY].nodata).sum())
            novel += int((rows == BEYOND).sum())
    return novel / max(1, seen)


def write_side_files(
    out: Path, scene: str, legend: Legend, *, layers: Sequence[str], undecided: bool
) -> None:
    """Write what belongs beside the maps of a scene.

    undecided: whether pixels of the class map may be without decision. Raises: InputError.
    """
    codes, *others = map_paths(out, scene, layers)
    landcover.write_side_files(codes, legend, undecided=undecided)
    for name, path in zip(layers, others, strict=True):
        LAYERS[name].write_side_files(path, legend)


def complete(out: Path, scene: str, legend: Legend) -> None:
    """Write what belongs beside the maps of a scene again, if it is gone or empty."""
    codes, *others = map_paths(out, scene, tuple(LAYERS))
    landcover.complete(codes, legend)
    for layer, path in zip(LAYERS.values(), others, strict=True):
        if path.is_file():
            layer.complete(path, legend)


def remove(out: Path, scene: str) -> None:
    """Remove the maps of a scene that are not, or no longer, what the record says."""
    path = map_paths(out, scene)[0]
    for one in (path, *landcover.side_files(path), path_of(path)):
        one.unlink(missing_ok=True)
    remove_layers(out, scene, LAYERS)


def remove_layers(out: Path, scene: str, names: Iterable[str]) -> None:
    """Remove layers of a scene, with what lies beside them."""
    for name in names:
        path = out / name / f"{scene}.tif"
        for one in (path, *LAYERS[name].side_files(path)):
            one.unlink(missing_ok=True)
