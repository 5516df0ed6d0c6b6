"""Note what a mosaic is made of, so that one that is there is not made again."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from geoseg.geo import raster
from geoseg.outputs.claims import claim, note_made, read_claim, read_made
from geoseg.outputs.claims.fingerprint import fingerprint
from geoseg.outputs.stamp import is_whole, stamps


def relative(path: str | Path, out: Path) -> str:
    """A path as seen from the folder of a mosaic, with forward slashes."""
    return Path(os.path.relpath(path, out.absolute().parent)).as_posix()


def begin(
    out: Path,
    settings: dict[str, Any],
    inputs: Iterable[str],
    *,
    products: tuple[str, ...],
    overwrite: bool,
) -> bool:
    """Note what a file is made of; False if it is already made of just that.

    inputs: files that are joined. products: names of what is written beside it, it among them.
    Raises: InputError if it was made with other settings.
    """
    files = [[relative(path, out), *fingerprint(path)[1:]] for path in inputs]
    wanted = {"settings": settings, "inputs": files}
    before = read_claim(out.parent, command="mosaic", name=out.name) or {}
    if before == wanted and _is_made(out):
        return False
    # Maps that were predicted anew are no other settings: the mosaic follows them.
    follows = before.get("settings") == settings
    claim(
        out.parent,
        wanted,
        command="mosaic",
        products=products,
        overwrite=overwrite or follows,
        name=out.name,
    )
    return True


def _is_made(out: Path) -> bool:
    """Whether an earlier call has made the file, and it is still whole."""
    made = read_made(out.parent, command="mosaic", name=out.name)
    if out.name in made:
        return is_whole(out, made[out.name])
    try:  # that call may have been killed before it could note its end
        raster.check_whole(out)
    except raster.READ_ERRORS:
        return False
    return True


def key(out: Path) -> str:
    """Changes with all that the file is made of: what a run that was killed left is then void."""
    settings = read_claim(out.parent, command="mosaic", name=out.name)
    return hashlib.sha256(json.dumps(settings).encode()).hexdigest()


def note(out: Path) -> None:
    """Note that the file is made, if that is not noted yet."""
    made = stamps(out.parent, [out])
    if read_made(out.parent, command="mosaic", name=out.name) != made:
        note_made(out.parent, made, command="mosaic", name=out.name)
