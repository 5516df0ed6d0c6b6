"""Note which settings an output was made with, and refuse to mix two."""

from __future__ import annotations

import json
import os
import time
from functools import lru_cache
from pathlib import Path
from typing import Any

from geoseg.errors import InputError
from geoseg.outputs.files import MADE, make_folder, read_note, remove, write_json
from geoseg.outputs.stamp import are_whole
from geoseg.outputs.summary import Summary


def fingerprint(path: str | Path) -> list[Any]:
    """Name, size and time of an input file: enough to see that it was exchanged.

    Of a file on a server the address: it is taken that this tells it.
    """
    if "://" in str(path):
        return [str(path)]
    cube, mark, _ = str(path).rpartition("#")
    is_part = bool(mark) and not os.path.lexists(path)
    if is_part and os.path.isdir(cube):
        # A part of a cube (cube.zarr#red@…): its folder is looked through, once a minute at most.
        return [str(path), *_folder(cube, int(time.monotonic() // 60))]
    stat = os.stat(cube if is_part and os.path.isfile(cube) else path)
    return [str(path), stat.st_size, stat.st_mtime_ns]


@lru_cache(maxsize=64)
def _folder(folder: str, minute: int) -> tuple[int, int]:
    """Bytes of all files of a folder, and the time of the newest."""
    paths = (os.path.join(here, name) for here, _, names in os.walk(folder) for name in names)
    stats = [os.stat(path) for path in paths]
    return sum(s.st_size for s in stats), max((s.st_mtime_ns for s in stats), default=0)


def claim_note(folder: Path, *, command: str, name: str = "") -> Path:
    """Hidden file that says with which settings an output was made."""
    return folder / f".{name and name + '.'}{command}.json"


def claim(
    folder: str | Path,
    settings: dict[str, Any],
    *,
    command: str,
    products: tuple[str, ...],
    overwrite: bool = False,
    name: str = "",
) -> None:
    """Make an output folder, or go on in one that the command made with the same settings.

    `products` are the names that the command writes there: only these count as its output, and
    only these are removed by `overwrite`. `name`: of the output, where a folder may hold several.
    Raises: InputError if there is an output of other settings and `overwrite` is off.
    """
    folder = Path(folder)
    settings = json.loads(json.dumps(settings))
    note = claim_note(folder, command=command, name=name)
    before = read_claim(folder, command=command, name=name)
    if before == settings:
        return
    present = [product for product in products if (folder / product).exists()]
    if present and not overwrite:
        if before is not None:
            why = f"made with other settings ({', '.join(_differences(before, settings))})"
        elif note.exists():
            why = f"whose note of its settings, {note.name}, can't be read"
        else:
            why = f"that geoseg {command} knows nothing of ({', '.join(present)})"
        raise InputError(
            f"{folder / name}: holds an output {why}; choose another one,"
            " or overwrite=true to replace it"
        )
    remove(folder, present)
    make_folder(folder)
    write_json(note, settings)


def rewrite_claim(folder: Path, settings: dict[str, Any], *, command: str) -> None:
    """Note other settings for what an output is from now on."""
    write_json(claim_note(folder, command=command), settings)


def read_claim(folder: str | Path, *, command: str, name: str = "") -> dict[str, Any] | None:
    """The settings that an output was made with; None if nobody knows."""
    found = read_note(claim_note(Path(folder), command=command, name=name))
    return None if found is None else {k: v for k, v in found.items() if k != MADE}


def note_made(folder: Path, stamps: dict[str, str], *, command: str, name: str = "") -> None:
    """Add to the note of an output's settings which files it has, now that all are there."""
    settings = read_claim(folder, command=command, name=name) or {}
    write_json(claim_note(folder, command=command, name=name), settings | {MADE: stamps})


def read_made(folder: Path, *, command: str, name: str = "") -> dict[str, str]:
    """Stamps of an output's files; none if it was never whole."""
    found = (read_note(claim_note(folder, command=command, name=name)) or {}).get(MADE)
    return found if isinstance(found, dict) else {}


def follows(folder: str | Path, settings: dict[str, Any], *, command: str, name: str = "") -> bool:
    """Whether an output was made with these settings, be it of `inputs` that changed since.

    Such an output follows its inputs: to make it anew replaces nothing that somebody wants.
    """
    before = read_claim(folder, command=command, name=name) or {}
    return before | {"inputs": None} == json.loads(json.dumps(settings | {"inputs": None}))


def is_made(folder: Path, settings: dict[str, Any], *, command: str, name: str = "") -> bool:
    """Whether an output was made with just these settings, and all its files are whole."""
    if not is_claimed(folder, settings, command=command, name=name):
        return False
    return are_whole(folder, read_made(folder, command=command, name=name))


def nothing_to_do(
    out: str | Path, folder: Path, settings: dict[str, Any], *, command: str, name: str = ""
) -> Summary | None:
    """What is to be said if `is_made`; None if there is something to do. out: as people know it."""
    if not is_made(folder, settings, command=command, name=name):
        return None
    return Summary.of_note(f"{out}: already made of this with these settings; nothing to do")


def is_claimed(
    folder: str | Path, settings: dict[str, Any], *, command: str, name: str = ""
) -> bool:
    """Whether a folder holds an output that the command made, or began, with these settings."""
    return read_claim(folder, command=command, name=name) == json.loads(json.dumps(settings))


def _differences(a: Any, b: Any, prefix: str = "") -> list[str]:
    if isinstance(a, dict) and isinstance(b, dict):
        names = []
        for key in {**a, **b}:
            names += _differences(a.get(key), b.get(key), f"{prefix}.{key}" if prefix else str(key))
        return names
    return [] if a == b else [prefix]
