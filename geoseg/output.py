"""Outputs that are whole or not there: written beside the final name, renamed at the end."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from geoseg.errors import InputError

_UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)


def partial(path: Path) -> Path:
    """The name under which an output grows; always the same, so that a restart leaves no strays."""
    return path.with_name(f".{path.name}.part")


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a name beside `path` to write to; rename it when the block ends well, else remove it.

    Raises: InputError if the folder can't be made or written, or the disk is full.
    """
    path = Path(path)
    make_folder(path.parent)
    temporary = partial(path)
    try:
        yield temporary
        os.replace(temporary, path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno in _UNWRITABLE:
            raise unwritable(path, error.strerror) from None
        raise


def unwritable(path: str | Path, cause: object) -> InputError:
    """The fault of a file that can't be written to its end."""
    return InputError(f"{path}: can't be written ({cause}); is the disk full? Free some and go on")


def make_folder(path: Path) -> None:
    """Make a folder with its parents. Raises: InputError if it can't be made or written in."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{path}: can't make this folder ({error.strerror}); choose another"
        ) from None
    if not os.access(path, os.W_OK | os.X_OK):
        raise InputError(f"{path}: no right to write in this folder; choose another")


@contextmanager
def clearing(folder: str | Path, products: tuple[str, ...]) -> Iterator[None]:
    """Remove what the block made in a folder, if it ends with a fault before any product is there.

    So that the next try, with other settings, does not meet what remains of this one.
    """
    folder = Path(folder)
    new = not folder.exists()
    before = set(folder.iterdir()) if folder.is_dir() else set()
    try:
        yield
    except InputError:
        if folder.is_dir() and not any((folder / product).exists() for product in products):
            made = {folder} if new else set(folder.iterdir()) - before
            for path in made:
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink(missing_ok=True)
        raise


def write_json(path: str | Path, values: Any) -> None:
    """Write JSON for people and programs: indented, sorted as given, UTF-8."""
    with replacing(path) as temporary:
        text = json.dumps(values, indent=1, ensure_ascii=False, allow_nan=False)
        temporary.write_text(text + "\n", encoding="utf-8")


def parse_json(text: str | bytes) -> Any:
    """Raises: ValueError if it isn't JSON, or nested so deeply that nobody meant it."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def read_json(path: str | Path) -> Any:
    """A JSON object. Raises: InputError if the file is missing or isn't one."""
    path = Path(path)
    try:
        values = parse_json(path.read_text(encoding="utf-8"))
        if not isinstance(values, dict):
            raise ValueError(f"expected an object {{…}}, got a {type(values).__name__}")
        return values
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: can't be read as JSON ({error})") from None


def fingerprint(path: str | Path) -> list[Any]:
    """Name, size and time of an input file: enough to see that it was exchanged."""
    stat = os.stat(path)
    return [str(path), stat.st_size, stat.st_mtime_ns]


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
    before = read_json(note) if note.exists() else None
    if before == settings:
        return
    present = [product for product in products if (folder / product).exists()]
    if present and not overwrite:
        why = (
            f"made with other settings ({', '.join(_differences(before, settings))})"
            if before is not None
            else f"that geoseg {command} knows nothing of ({', '.join(present)})"
        )
        raise InputError(
            f"{folder / name}: holds an output {why}; choose another one,"
            " or overwrite=true to replace it"
        )
    for product in present:
        path = folder / product
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    make_folder(folder)
    write_json(note, settings)


def is_claimed(folder: str | Path, settings: dict[str, Any], *, command: str) -> bool:
    """Whether a folder holds an output that the command made, or began, with these settings."""
    note = claim_note(Path(folder), command=command)
    return note.exists() and read_json(note) == json.loads(json.dumps(settings))


def _differences(a: Any, b: Any, prefix: str = "") -> list[str]:
    if isinstance(a, dict) and isinstance(b, dict):
        names = []
        for key in {**a, **b}:
            names += _differences(a.get(key), b.get(key), f"{prefix}.{key}" if prefix else str(key))
        return names
    return [] if a == b else [prefix]
