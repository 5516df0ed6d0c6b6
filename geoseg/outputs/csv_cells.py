"""Write tables whose text cells spreadsheets do not take for formulas."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from geoseg.outputs.files import replacing

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def cell(value: Any) -> Any:
    """A value as a cell: text that a spreadsheet would take for a formula gets an apostrophe.

    Source: OWASP, CSV injection. Numbers, negative ones too, stay as they are.
    """
    if not isinstance(value, str) or not value.startswith(_FORMULA):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value


def write_csv(path: str | Path, rows: Iterable[Iterable[Any]], *, end: str = "\n") -> None:
    """Write a table, the header among its rows; None is left empty. end: of lines.

    Raises: InputError if it can't be written.
    """
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator=end)
        for values in rows:
            writer.writerow([cell(value) for value in values])
