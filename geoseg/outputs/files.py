"""Write files beside their final name and rename them when they are whole."""

from __future__ import annotations

import errno
import json
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from geoseg.errors import InputError

MADE = "made"
"""Key of a note of settings under which the stamps of the files lie, once all are made."""
_told: set[str] = set()
"""Notes of which it was said that they can't be read."""
_UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)


def partial(path: Path) -> Path:
    """The name under which an output grows; always the same, so that a restart leaves no strays."""
    return path.with_name(f".{path.name}.part")


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a name beside `path` to write to; rename it when the block ends well, else remove it.

    What gets its name has reached the disk.
    Raises: InputError if the folder can't be made or written, or the disk is full.
    """
    path = Path(path)
    make_folder(path.parent)
    temporary = partial(path)
    try:
        yield temporary
        put(temporary, path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno in _UNWRITABLE:
            raise unwritable(path, error.strerror) from None
        raise


def put(temporary: Path, path: Path) -> None:
    """Give a whole file its name, once its bytes are on the disk, and have the name get there too.

    Without this a power cut leaves an empty file under the name of a whole one.
    """
    with temporary.open("rb") as file:
        if os.name == "posix":
            if os.fstat(file.fileno()).st_mode & 0o077 == 0:
                os.fchmod(file.fileno(), _usual_mode(path.parent))
            os.fsync(file.fileno())
    os.replace(temporary, path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Have the names in a folder reach the disk, where the system can."""
    with suppress(OSError):  # Windows, and some network disks, have no such call
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def _usual_mode(folder: Path) -> int:
    """Rights that a new file gets in a folder, by the umask or the folder's own rule.

    Some libraries write files that nobody else may read. The umask itself can only be asked for
    by changing it, which files of other threads would feel.
    """
    tried = folder / f".geoseg.{os.getpid()}.mode"
    number = os.open(tried, os.O_CREAT | os.O_RDWR, 0o666)
    try:
        return os.fstat(number).st_mode & 0o777
    finally:
        os.close(number)
        tried.unlink(missing_ok=True)


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


def parse_json(text: Any) -> Any:
    """Raises: ValueError if it isn't JSON, or nested so deeply that nobody meant it."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except TypeError as error:
        raise ValueError(str(error)) from None


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


def read_note(path: str | Path) -> dict[str, Any] | None:
    """What geoseg noted in a JSON file of its own; None if there is none, or it can't be read.

    A note that a power cut emptied, or that somebody edited, must not be in the way: what it told
    counts as unknown.
    """
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError):
        found = None
    if isinstance(found, dict):
        return found
    if str(path) not in _told:
        _told.add(str(path))
        said = "can't be read, so what it noted counts as unknown"
        print(f"geoseg: {path}: {said}", file=sys.stderr)
    return None


def remove(folder: Path, products: Sequence[str]) -> None:
    """Remove those of a command's products, files and folders, that are there."""
    for product in products:
        path = folder / product
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
