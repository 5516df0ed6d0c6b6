"""Print the tables, notes and warnings at a command's end."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from geoseg.outputs.counted import spaced


class Summary:
    """Collects what is to be said; `str()` gives the text, warnings last, where they are seen."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._notes: list[str] = []
        self.warnings: list[str] = []

    @classmethod
    def of_note(cls, text: str) -> Summary:
        """One that says just this."""
        made = cls()
        made.note(text)
        return made

    def table(self, title: str, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """Add a table; numbers are written with spaces between thousands and set right."""
        self._parts.append(f"{title}\n{table(header, rows)}")

    def note(self, text: str) -> None:
        self._notes.append(text)

    def notes(self, texts: Iterable[str]) -> None:
        self._notes.extend(texts)

    def warn(self, text: str) -> None:
        self.warnings.append(text)

    @property
    def said(self) -> list[str]:
        """The notes so far."""
        return list(self._notes)

    def __str__(self) -> str:
        lines = [*self._notes, *(f"WARNING: {text}" for text in self.warnings)]
        return "\n\n".join([*self._parts, "\n".join(lines)]).rstrip()


def table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Aligned columns: the first that holds text to the left, numbers to the right."""
    cells = [[_text(value) for value in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(header, *cells, strict=True)]
    left = [all(_is_text(row[i]) for row in cells) for i in range(len(header))]
    lines = []
    for row in [list(header), ["─" * width for width in widths], *cells]:
        fields = (
            text.ljust(width) if is_left else text.rjust(width)
            for text, width, is_left in zip(row, widths, left, strict=True)
        )
        lines.append("  " + "  ".join(fields).rstrip())
    return "\n".join(lines)


def _text(value: Any) -> str:
    return spaced(value) if isinstance(value, int) else str(value)


def _is_text(text: str) -> bool:
    return not text[:1].isdigit() and not text.startswith("-")
