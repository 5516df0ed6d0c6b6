"""Say how many there are of something, with noun and verb in the right number."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

SINGULAR = {"are": "is", "have": "has", "do": "does", "stand": "stands", "repeat": "repeats"}


def counted(count: int, noun: str, verb: str = "") -> str:
    """`1 scene has`, `2 scenes have`, `0 scenes have`: noun in the singular, verb in the plural.

    >>> counted(1, "scene", "have")
    '1 scene has'
    >>> counted(2, "epoch")
    '2 epochs'
    """
    if count != 1:
        return f"{count} {noun}s {verb}".rstrip()
    return f"1 {noun} {SINGULAR.get(verb, verb)}".rstrip()


def decimals(whole: float) -> int:
    """Decimals of the parts of a whole, so that of a small one (a sheet of some hectares) more is
    shown than 0.0: 1 from 100 on, one more for each power of ten below, at most 4."""
    return min(4, max(1, 3 - math.floor(math.log10(whole)))) if whole > 0 else 1


def spaced(value: float, digits: int = 0) -> str:
    """A number with spaces between its thousands.

    >>> spaced(12345.67, 1)
    '12 345.7'
    """
    return f"{value:,.{digits}f}".replace(",", " ")


def few(names: Sequence[Any], most: int = 5) -> str:
    """The first of many names, and how many more there are.

    >>> few(["a", "b", "c"], 2)
    'a, b and 1 more'
    """
    text = ", ".join(map(str, names[:most]))
    return f"{text} and {len(names) - most} more" if len(names) > most else text


def first(names: Sequence[Any], most: int = 5) -> str:
    """The first of many names, where how many more there are is said elsewhere or no matter.

    >>> first(["a", "b", "c"], 2)
    'a, b …'
    """
    return ", ".join(map(str, names[:most])) + (" …" if len(names) > most else "")
