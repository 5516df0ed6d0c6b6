"""Tell whether two paths, given at different times and places, name the same file."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MARKS = ":#"
"""Between the name of a file and what is meant of it: FILE:ATTRIBUTE, FILE#PART."""


@dataclass(frozen=True)
class Place:
    """From where paths were given, and the folder of the output that they were given for."""

    working: str
    output: str

    @classmethod
    def now(cls, folder: str | Path) -> Place:
        return cls(os.getcwd(), os.path.realpath(folder))

    @classmethod
    def read(cls, told: Any, here: Place) -> Place:
        """The noted one; `here` in notes of versions that did not say it."""
        try:
            return cls(str(told["working"]), str(told["output"]))
        except (KeyError, TypeError):
            return here

    def of(self, text: str) -> str:
        """The path that a text means, without links."""
        path = os.path.join(self.working, text)
        if not os.path.lexists(path):
            for mark in MARKS:
                file, found, part = path.rpartition(mark)
                if found and os.path.lexists(file):
                    return f"{os.path.realpath(file)}{mark}{part}"
        return os.path.realpath(path)

    def has(self, text: str) -> bool:
        """Whether a text names a file or folder that is there."""
        if not text or "://" in text:
            return False
        path = os.path.join(self.working, text)
        return os.path.lexists(path) or any(
            mark in text and os.path.lexists(path.rpartition(mark)[0]) for mark in MARKS
        )


@dataclass(frozen=True)
class Pair:
    """The place of earlier settings, and that of later ones."""

    then: Place
    here: Place

    def agree(self, before: Any, now: Any, *, named: bool) -> bool:
        """Whether JSON values say the same. named: whether texts among them may name files.

        Texts that are spelt alike do, unless they name two files that are both there.
        """
        if isinstance(before, list) and isinstance(now, list):
            pairs = zip(before, now, strict=False)
            return len(before) == len(now) and all(self.agree(*p, named=named) for p in pairs)
        if isinstance(before, dict) and isinstance(now, dict):
            return before.keys() == now.keys() and all(
                self.agree(before[key], now[key], named=named) for key in now
            )
        if not (isinstance(before, str) and isinstance(now, str)):
            return bool(before == now)
        if before == now:
            two = named and self.then.working != self.here.working
            if not (two and self.then.has(before) and self.here.has(now)):
                return True
            return self.then.of(before) == self.here.of(now) or self._moved(before, now)
        if not before or not now or "://" in before + now:
            return False
        old = self.then.of(before)
        return old == self.here.of(now) or (not os.path.lexists(old) and self._moved(before, now))

    def _moved(self, before: str, now: str) -> bool:
        """Whether a file lies as the other lay, as seen from the output that was moved, or copied,
        together with it."""
        if self.then.output == self.here.output:
            return False
        try:
            old = os.path.relpath(self.then.of(before), self.then.output)
            return old == os.path.relpath(self.here.of(now), self.here.output)
        except ValueError:  # on other drives
            return False
