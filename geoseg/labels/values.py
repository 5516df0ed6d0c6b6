"""Match the values of label files to classes of the legend."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from geoseg.geo.legend import UNLABELLED, canonical
from geoseg.outputs.counted import counted, few, first

SHOWN = 40
"""Values named in a message."""
SPAN = 2**17
"""Whole numbers spread over less than this are counted by a table instead of by sorting."""
Counts = Counter[str | None]


@dataclass(frozen=True)
class Meaning:
    """What the contents of a label file mean."""

    lookup: dict[str, int]
    """Canonical value → code."""
    field: str | None = None
    """Vector: attribute with the value; without it every geometry is `code`."""
    code: int = 1
    skip_unknown: bool = False
    """Values that aren't in `lookup` are unlabelled; else they are a fault."""
    width_m: float | None = None
    """Vector: width of lines in metres."""
    width_field: str | None = None
    """Vector: attribute with a line's width in metres; `width_m` where it holds none."""
    background: int | None = None
    """Raster: code of nodata, and of 0 where `lookup` doesn't have it."""
    encoding: str | None = None
    """Vector: of the text in the attributes; None = as the file says."""
    prefix: str = "labels."
    """How the names of the settings begin in messages."""

    def codes(self, values: np.ndarray) -> tuple[np.ndarray, Counts]:
        """Codes of values of any type and shape: uint8, unknown ones UNLABELLED.

        Returns also how often each unknown value occurs, by its canonical form; None = no value.
        """
        found, inverse, counts = _distinct(values)
        table = np.full(len(found), UNLABELLED, np.uint8)
        unknown: Counts = Counter()
        for place, (value, count) in enumerate(zip(found, counts, strict=True)):
            name = None if value is None else canonical(value)
            if name is not None and name in self.lookup:
                table[place] = self.lookup[name]
            else:
                unknown[name] += int(count)
        return table[inverse], unknown

    def describe(self, unknown: Counts, unit: str) -> str:
        """The sentence, fault or note, on values that the legend doesn't know."""
        parts = [
            f"{value or '(no value)'} ({count} {unit})" for value, count in unknown.most_common()
        ]
        some = counted(len(unknown), "value")
        text = f"{some} that the legend does not know: {few(parts, SHOWN)}"
        if self.skip_unknown:
            return f"{text}; unlabelled"
        add = "Add them to `values` of a class" if any(unknown) else "Give these a class"
        return (
            f"{text}; it knows {first(list(self.lookup), SHOWN)}. {add}, or set"
            f" {self.prefix}unknown=unlabelled to leave them out"
        )


ENCODINGS = ("UTF-8", "CP1252", "ISO-8859-1", "CP1250", "CP1251", "CP850", "CP936", "CP932")
"""What Shapefiles of many years and countries are written in."""


def encoding_hint(unknown: Counts, lookup: Mapping[str, int]) -> str:
    """What to set if unknown values become known when their bytes are read in another encoding."""
    texts = [text for text in unknown if text and not text.isascii()]
    for encoding in ENCODINGS:
        for read_as in ("ISO-8859-1", "CP1252", "UTF-8"):
            for text in texts:
                try:
                    meant = canonical(text.encode(read_as).decode(encoding))
                except UnicodeError:
                    continue
                if meant != text and meant in lookup:
                    return (
                        f"; {text!r} is {meant!r} in another encoding: set"
                        f" labels.encoding={encoding}"
                    )
    if any("\ufffd" in text or "\x80" <= letter <= "\x9f" for text in texts for letter in text):
        return "; the text is in another encoding than the file says: set labels.encoding=…"
    return ""


def _distinct(values: np.ndarray) -> tuple[list[Any], np.ndarray, np.ndarray]:
    """Distinct values, the place of each value among them, and how often each occurs.

    Null (None, NaN, NaT) comes as None.
    """
    if values.dtype.kind == "O":
        places: dict[Any, int] = {}
        inverse = np.array([places.setdefault(_key(v), len(places)) for v in values.flat], int)
        inverse = inverse.reshape(values.shape)
        return list(places), inverse, np.bincount(inverse.ravel(), minlength=len(places))
    if values.dtype.kind in "iu" and values.size:
        low, high = int(values.min()), int(values.max())
        if high - low < SPAN:
            shifted = np.subtract(values, low, dtype=np.int64)
            counts = np.bincount(shifted.ravel())
            found = np.flatnonzero(counts)
            place = np.zeros(len(counts), np.int32)
            place[found] = np.arange(len(found))
            return (found + low).tolist(), place[shifted], counts[found]
    found, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return [_key(value) for value in found], inverse.reshape(values.shape), counts


def _key(value: Any) -> Any:
    if value is None or value != value:  # NaN and NaT differ from themselves
        return None
    return value if isinstance(value, (str, int, float, np.generic)) else str(value)
