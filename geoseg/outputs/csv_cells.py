"""Write text cells that spreadsheets do not take for formulas."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

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


def row(values: Iterable[Any]) -> list[Any]:
    """The cells of a row."""
    return [cell(value) for value in values]
