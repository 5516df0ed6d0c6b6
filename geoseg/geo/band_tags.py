"""Read nodata, scale, offset and names of bands from a raster's tags.

A number stands for number × scale + offset, in whatever unit the file's maker meant.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from geoseg.errors import InputError

UNTAGGED = (1.0, 0.0)
"""Scale and offset of a file that says nothing of them."""
SHOWN = 3
"""Files, scenes or dates that are named in a message."""


@dataclass(frozen=True)
class BandTags:
    """What files say of one band."""

    nodata: float | None = None
    """None = no value means nodata."""
    scale: float = 1.0
    offset: float = 0.0

    @property
    def pair(self) -> tuple[float, float]:
        """Scale and offset."""
        return self.scale, self.offset

    def to_dict(self) -> dict[str, Any]:
        """JSON values; JSON knows no NaN."""
        nodata = None if self.nodata is None else self.nodata
        if nodata is not None and not math.isfinite(nodata):
            return {"nodata": str(nodata), "scale": self.scale, "offset": self.offset}
        return {"nodata": nodata, "scale": self.scale, "offset": self.offset}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> BandTags:
        nodata = values["nodata"]
        return cls(
            None if nodata is None else float(nodata),
            float(values["scale"]),
            float(values["offset"]),
        )


Change = tuple[float, float]
"""A factor and what is then added: brings numbers of one scale and offset to another."""
NO_CHANGE: Change = (1.0, 0.0)


def change(here: BandTags, there: BandTags) -> Change:
    """What brings numbers tagged as `here` to those tagged as `there`."""
    if same_pair(here, there):
        return NO_CHANGE
    factor = here.scale / there.scale
    add = (here.offset - there.offset) / there.scale
    # -0.1 / 0.0001 is not quite -1000, and tags of 32 bits are not quite 0.0001.
    near = round(add)
    add = float(near) if abs(add - near) < 1e-3 else add
    return 1.0 if math.isclose(factor, 1, rel_tol=1e-6) else factor, add


def same_pair(one: BandTags, two: BandTags) -> bool:
    """Whether scale and offset are the same, but for rounding."""
    return math.isclose(one.scale, two.scale, rel_tol=1e-6) and math.isclose(
        one.offset, two.offset, rel_tol=1e-6, abs_tol=1e-6 * abs(one.scale)
    )


def unknown(one: BandTags, two: BandTags) -> bool:
    """Whether one says scale and offset and the other nothing, so that nobody knows how they fit.

    Offsets of one scale are another matter: there no offset means 0.
    """
    said = [tags.pair != UNTAGGED for tags in (one, two)]
    return said[0] != said[1] and not math.isclose(one.scale, two.scale, rel_tol=1e-6)


def told(tags: BandTags) -> str:
    """Scale and offset, for people."""
    return f"scale {tags.scale:g}, offset {tags.offset:g}"


def usual(found: Sequence[tuple[BandTags, ...]]) -> tuple[BandTags, ...]:
    """Of each band what most say, of what equally many say the offset nearest to 0.

    found: of each scene or file, its bands' tags; all have the same bands.
    """
    made = []
    for column in zip(*found, strict=True):
        # Their rounding differs between drivers, so counts go by what is written of them.
        pairs = Counter(_key(tags) for tags in column)
        best = min(pairs, key=lambda key: (-pairs[key], abs(key[1]), key))
        first = next(tags for tags in column if _key(tags) == best)
        nodatas = Counter(str(tags.nodata) for tags in column if tags.nodata is not None)
        nodata = nodatas.most_common(1)[0][0] if nodatas else None
        made.append(replace(first, nodata=None if nodata is None else float(nodata)))
    return tuple(made)


def changes(
    names: Sequence[str], found: Sequence[tuple[BandTags, ...]], *, what: str
) -> tuple[tuple[BandTags, ...], list[tuple[Change, ...]]]:
    """The usual tags, and for each of N what brings the numbers of its bands to them.

    names, found: N names and the tags of their bands. what: the plural of what is named.
    Raises: InputError if some say a scale and others nothing: how they fit, nobody can know.
    """
    reference = usual(found)
    for place, column in enumerate(zip(*found, strict=True)):
        tagged = [n for n, tags in enumerate(column) if tags.pair != UNTAGGED]
        bare = [n for n, tags in enumerate(column) if tags.pair == UNTAGGED]
        if tagged and bare and unknown(column[tagged[0]], column[bare[0]]):
            raise InputError(
                f"{what} {some(names[n] for n in tagged)} say {told(column[tagged[0]])} of band"
                f" {place + 1}, {some(names[n] for n in bare)} say nothing of scale and offset:"
                " whether their numbers mean the same can't be known; write the same tags into all"
                " (gdal_edit.py -scale … -offset … FILE), or set bands.tags=false if the numbers"
                " are all in one unit as they are"
            )
    made = [
        tuple(change(mine, there) for mine, there in zip(tags, reference, strict=True))
        for tags in found
    ]
    return reference, made


def some(names: Iterable[str]) -> str:
    """The first few names, each once."""
    names = list(dict.fromkeys(names))
    return ", ".join(names[:SHOWN]) + (f" … ({len(names)})" if len(names) > SHOWN else "")


def describe(made: Change) -> str:
    """A change, for people: × 2, + 1000."""
    factor, add = made
    parts = [f"× {factor:g}"] if factor != 1 else []
    if add:
        parts.append(f"{'+' if add > 0 else '−'} {abs(add):g}")
    return ", ".join(parts) or "as they are"


def _key(tags: BandTags) -> tuple[float, float]:
    return float(f"{tags.scale:.6g}"), float(f"{tags.offset:.6g}")
