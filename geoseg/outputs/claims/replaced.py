"""Keep the output that a command replaces until the new one is whole."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from geoseg.errors import InputError
from geoseg.outputs.files import remove


def note_name(command: str, name: str = "") -> str:
    """Hidden file that says with which settings an output was made."""
    return f".{name and name + '.'}{command}.json"


@dataclass(frozen=True)
class Replaced:
    """An output that another one is to replace: put aside in a hidden folder beside its place."""

    folder: Path
    """Of the output."""
    note: str
    """Name of the note of its settings, which goes with it."""

    @property
    def path(self) -> Path:
        return self.folder / f"{self.note.removesuffix('.json')}.before"

    @property
    def _moving(self) -> Path:
        """What a killed process was moving, here or back."""
        return self.folder / f"{self.path.name}.part"

    def is_there(self) -> bool:
        return self.path.is_dir()

    def take(self, products: Sequence[str]) -> None:
        """Put these files and folders aside, and the note."""
        self._moving.mkdir()
        for name in (*products, self.note):
            if os.path.lexists(self.folder / name):
                os.replace(self.folder / name, self._moving / name)
        os.replace(self._moving, self.path)

    def put_back(self) -> None:
        """Have it in its place again, with its note."""
        remove(self.folder, [self.note])
        os.replace(self.path, self._moving)
        self.mend()

    def mend(self) -> None:
        """Move to its place what a killed process was moving."""
        if not self._moving.is_dir():
            return
        for name in os.listdir(self._moving):
            remove(self.folder, [name])
            os.replace(self._moving / name, self.folder / name)
        self._moving.rmdir()

    def drop(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)


def holds(path: Path) -> bool:
    """Whether a file is there, or a folder that anything lies in."""
    if not path.is_dir() or path.is_symlink():
        return os.path.lexists(path)
    return any(files for _, _, files in os.walk(path))


@contextmanager
def clearing(
    folder: str | Path, products: tuple[str, ...], *, command: str, name: str = ""
) -> Iterator[None]:
    """Have an output whole or as it was: for the block that claims it and makes it.

    If the block ends without any product, what it made is removed, so that the next try, with
    other settings, does not meet it, and what it was to replace is put back. If it ends well, that
    is dropped. If it fails with products there, which a later call goes on with, both are kept.
    name: of the output, where a folder may hold several.
    """
    folder = Path(folder)
    new = not folder.exists()
    before = set(folder.iterdir()) if folder.is_dir() and not name else set()
    replaced = Replaced(folder, note_name(command, name))

    def is_made() -> bool:
        return any(holds(folder / product) for product in products)

    try:
        yield
    except Exception as error:
        if not folder.is_dir():
            raise
        if is_made():
            if replaced.is_there():
                said = f"geoseg {command}: what was there before is kept in {replaced.path} until"
                print(f"{said} the new output is whole", file=sys.stderr)
            raise
        if isinstance(error, InputError) and not name:  # else others may write there meanwhile
            _remove({folder} if new else set(folder.iterdir()) - before - {replaced.path})
        if replaced.is_there():
            replaced.put_back()
        raise
    if replaced.is_there():
        replaced.drop() if is_made() else replaced.put_back()


def _remove(paths: set[Path]) -> None:
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
