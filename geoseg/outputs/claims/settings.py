"""Note which settings an output was made with, and refuse to mix two."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from geoseg.errors import InputError
from geoseg.outputs.claims.place import Pair, Place
from geoseg.outputs.files import MADE, make_folder, read_note, remove, write_json
from geoseg.outputs.stamp import are_whole
from geoseg.outputs.summary import Summary

PLACE = "place"
"""Key of a note of settings under which it stands where their paths hold from."""
READ = (
    *("inputs", "labels", "zones", "corrections", "by", "where", "dataset", "parcels", "table"),
    *("map", "maps", "before", "after", "confidence", "sample", "points"),
)
"""Keys of settings that name what a command reads."""
NAMES = re.compile(r"labels\.(?!path\b)")
"""Of those, the ones that name something within it."""


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
    note = claim_note(folder, command=command, name=name)
    others = differences(folder, settings, command=command, name=name)
    if others == []:
        return
    present = [product for product in products if (folder / product).exists()]
    if present and not overwrite:
        if others is not None:
            why = f"made with other settings ({', '.join(others)})"
        elif note.exists():
            why = f"whose note of its settings, {note.name}, can't be read"
        else:
            why = f"that geoseg {command} knows nothing of ({', '.join(present)})"
        raise InputError(
            f"{folder / name}: holds an output {why}; choose another one,"
            " or overwrite=true to replace it"
        )
    _check_kept(folder, present, settings)
    remove(folder, present)
    make_folder(folder)
    write_json(note, _told(folder, settings))


def check_apart(folder: str | Path, products: Iterable[str], files: Iterable[str | Path]) -> None:
    """Raises: InputError if a file that is read lies where a command writes, and removes, its own.

    Other than by `claim`, whose settings name few files, this is asked whatever was made before.
    """
    if name := _within(Path(folder), products, files):
        raise InputError(
            f"{folder}: holds {name}, which is read, under a name that is written there; choose"
            " another output, or move that file"
        )


def _check_kept(folder: Path, products: list[str], settings: dict[str, Any]) -> None:
    """Raises: InputError if an input lies where old products are to be removed."""
    texts = list(_texts([settings.get(key) for key in READ]))
    zones = [text.rpartition(":")[0] for text in texts]  # these are FILE:ATTRIBUTE
    if name := _within(folder, products, (*texts, *filter(None, zones))):
        raise InputError(
            f"{folder}: holds {name}, which is read, under a name that is written there,"
            " and overwrite=true would remove it; choose another output, or move that file"
        )


def _within(
    folder: Path, products: Iterable[str], names: Iterable[str | Path]
) -> str | Path | None:
    """The first of these files that is one of the products of a folder, or lies in one."""
    own = {(folder / product).resolve() for product in products}
    if not any(path.exists() for path in own):
        return None
    for name in names:
        path = Path(name).resolve()
        if name and not own.isdisjoint((path, *path.parents)):
            return name
    return None


def _texts(value: Any) -> Iterator[str]:
    """All texts in JSON values."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, dict)):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _texts(one)


def rewrite_claim(folder: Path, settings: dict[str, Any], *, command: str) -> None:
    """Note other settings for what an output is from now on."""
    write_json(claim_note(folder, command=command), _told(folder, settings))


def _told(folder: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """Settings as they are noted: with the place that their paths hold from, if they name any."""
    here = Place.now(folder)
    named = any(here.has(text) for text in _texts([settings.get(key) for key in READ]))
    return settings | ({PLACE: asdict(here)} if named else {})


def read_claim(folder: str | Path, *, command: str, name: str = "") -> dict[str, Any] | None:
    """The settings that an output was made with; None if nobody knows."""
    found = read_note(claim_note(Path(folder), command=command, name=name))
    return None if found is None else {k: v for k, v in found.items() if k not in (MADE, PLACE)}


def differences(
    folder: str | Path,
    settings: dict[str, Any],
    *,
    command: str,
    name: str = "",
    but: tuple[str, ...] = (),
) -> list[str] | None:
    """Names of the settings in which an output was made with others; None if nobody knows.

    A path is the same however it is spelt, and if it moved together with the output.
    but: settings that are not asked for.
    """
    note = read_note(claim_note(Path(folder), command=command, name=name))
    if note is None:
        return None
    here = Place.now(folder)
    told = json.loads(json.dumps(settings))
    before, now = (
        {key: value for key, value in one.items() if key not in (MADE, PLACE, *but)}
        for one in (note, told)
    )
    return _differences(before, now, Pair(Place.read(note.get(PLACE), here), here))


def noted_inputs(folder: str | Path, *, command: str) -> list[list[Any]]:
    """Fingerprints of the files that an output was made of, with paths that hold from here."""
    note = read_note(claim_note(Path(folder), command=command)) or {}
    here = Place.now(folder)
    then = Place.read(note.get(PLACE), here)
    found = note.get("inputs", [])
    if then.working == here.working:
        return list(found)
    return [[then.of(path) if then.has(path) else path, *rest] for path, *rest in found]


def note_made(folder: Path, stamps: dict[str, str], *, command: str, name: str = "") -> None:
    """Add to the note of an output's settings which files it has, now that all are there."""
    note = claim_note(folder, command=command, name=name)
    write_json(note, (read_note(note) or {}) | {MADE: stamps})


def read_made(folder: Path, *, command: str, name: str = "") -> dict[str, str]:
    """Stamps of an output's files; none if it was never whole."""
    found = (read_note(claim_note(folder, command=command, name=name)) or {}).get(MADE)
    return found if isinstance(found, dict) else {}


def follows(folder: str | Path, settings: dict[str, Any], *, command: str, name: str = "") -> bool:
    """Whether an output was made with these settings, be it of `inputs` that changed since.

    Such an output follows its inputs: to make it anew replaces nothing that somebody wants.
    """
    return differences(folder, settings, command=command, name=name, but=("inputs",)) == []


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
    return differences(folder, settings, command=command, name=name) == []


def _differences(before: Any, now: Any, pair: Pair, key: str = "") -> list[str]:
    """Names of settings that are not the same. key: of these, in which they stand."""
    if not (isinstance(before, dict) and isinstance(now, dict)):
        named = key.partition(".")[0] in READ and not NAMES.match(key)
        return [] if pair.agree(before, now, named=named) else [key]
    names = []
    for one in {**before, **now}:
        inner = f"{key}.{one}" if key else str(one)
        if one in before and one in now:
            names += _differences(before[one], now[one], pair, inner)
        else:
            names.append(inner)
    return names
