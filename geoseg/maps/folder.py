"""Name the files of a folder of maps, and read the record of what was made."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from geoseg.errors import InputError, shown
from geoseg.geo.legend import Legend
from geoseg.maps import landcover
from geoseg.outputs.files import parse_json

NAME = "predict.json"
DONE, REFUSED, FAILED = "done", "refused", "failed"
FILES = "files"
"""Key of the stamps of what was written."""
JOURNAL = ".predict.journal"
"""Beside the record: a line for each scene since it was last written."""


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
            with suppress(ValueError):
                found |= _entries(parse_json(line))
    return found


LANDCOVER, CONFIDENCE = "landcover", "confidence"
"""Folders of an output."""


def map_paths(out: Path, scene: str) -> tuple[Path, Path]:
    """Class map and confidence of a scene."""
    return out / LANDCOVER / f"{scene}.tif", out / CONFIDENCE / f"{scene}.tif"


def complete(out: Path, scene: str, legend: Legend) -> None:
    """Write what belongs beside the maps of a scene again, if it is gone or empty."""
    landcover.complete(map_paths(out, scene)[0], legend)


def remove(out: Path, scene: str) -> None:
    """Remove the maps of a scene that are not, or no longer, what the record says."""
    paths = map_paths(out, scene)
    for path in (*paths, *landcover.side_files(paths[0])):
        path.unlink(missing_ok=True)
